//! Deterministic keys and a small federation to test with. Days are counted from 2026-06-01.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use basoche_protocol::engine::Registry;
use basoche_protocol::envelope::{Envelope, Typ, Unsigned};
use basoche_protocol::id::{CertificateId, Digest, Salt, SubjectId};
use basoche_protocol::jose::{Algorithm, KeyError, Signer};
use basoche_protocol::role::{Assurance, OrganisationKind, Role};
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::tree::Tree;
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_registry::entry::{
    Enrolment, Genesis, KeyRecord, Node, Officer, Organisation, Reason, Revocation,
};
use basoche_registry::leaf::{Capacity, CoSignature, possession, request};
use basoche_registry::{Anchors, Authority, Certificate, Content, Entry, Inadmissible, Leaf, Replica};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use serde_bytes::ByteBuf;

use super::shelf::{MemoryShelf, shared};

/// Midnight of day `n`, from 2026-06-01.
pub(crate) fn day(n: u64) -> Instant {
    Instant::from_seconds(1_780_272_000) + Span::from_seconds(n * 86_400)
}

pub(crate) fn subject(n: u8) -> SubjectId {
    SubjectId::new([n; 16])
}

/// A P-256 key made from one byte, signing as RFC 6979 has it.
pub(crate) struct Key {
    signing: SigningKey,
    pub(crate) certificate: Certificate,
}

/// The same key as `rcgen` wants it.
struct CertificateKey<'a>(&'a SigningKey, Vec<u8>);

impl rcgen::PublicKeyData for CertificateKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.1
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for CertificateKey<'_> {
    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: Signature = self.0.sign(input);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32].into()).unwrap()
}

fn certificate_key(signing: &SigningKey) -> CertificateKey<'_> {
    let point = signing.verifying_key().to_encoded_point(false);
    CertificateKey(signing, point.as_bytes().to_vec())
}

fn ca(seed: u8) -> rcgen::CertificateParams {
    let mut parameters = rcgen::CertificateParams::default();
    let name = format!("certificate authority {seed}");
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.key_usages = vec![
        rcgen::KeyUsagePurpose::KeyCertSign,
        rcgen::KeyUsagePurpose::CrlSign,
    ];
    parameters.not_before = rcgen::date_time_ymd(2025, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2035, 1, 1);
    parameters
}

impl Key {
    /// Self-signed, in force for ten years around the tests.
    pub(crate) fn new(seed: u8) -> Self {
        Self::dated(seed, (2025, 1, 1), (2035, 1, 1))
    }

    /// Self-signed, in force between these two midnights.
    pub(crate) fn dated(seed: u8, from: (i32, u8, u8), to: (i32, u8, u8)) -> Self {
        let signing = signing_key(seed);
        let mut parameters = rcgen::CertificateParams::default();
        parameters.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        parameters.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
        let certificate = parameters.self_signed(&certificate_key(&signing)).unwrap();
        Self::with_certificate(seed, certificate.der())
    }

    /// Issued by the key made from `issuer`.
    pub(crate) fn issued_by(seed: u8, issuer: u8) -> Self {
        let (signing, above) = (signing_key(seed), signing_key(issuer));
        let mut parameters = rcgen::CertificateParams::default();
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, "issuer");
        let issuer = rcgen::Issuer::new(parameters, certificate_key(&above));
        let parameters = rcgen::CertificateParams::default();
        let certificate = parameters.signed_by(&certificate_key(&signing), &issuer).unwrap();
        Self::with_certificate(seed, certificate.der())
    }

    /// A certificate authority, named after its key.
    pub(crate) fn ca(seed: u8) -> Self {
        let certificate = ca(seed)
            .self_signed(&certificate_key(&signing_key(seed)))
            .unwrap();
        Self::with_certificate(seed, certificate.der())
    }

    /// Issued by the certificate authority of that key.
    pub(crate) fn of_ca(seed: u8, above: u8) -> Self {
        let (signing, above_key) = (signing_key(seed), signing_key(above));
        let issuer = rcgen::Issuer::new(ca(above), certificate_key(&above_key));
        let mut parameters = rcgen::CertificateParams::default();
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2035, 1, 1);
        parameters.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        let certificate = parameters.signed_by(&certificate_key(&signing), &issuer).unwrap();
        Self::with_certificate(seed, certificate.der())
    }

    /// The revocation list of the certificate authority of that key.
    pub(crate) fn crl(seed: u8, list: rcgen::CertificateRevocationListParams) -> Vec<u8> {
        let key = signing_key(seed);
        let issuer = rcgen::Issuer::new(ca(seed), certificate_key(&key));
        list.signed_by(&issuer).unwrap().der().to_vec()
    }

    /// With that certificate, which need not be this key's.
    pub(crate) fn with_certificate(seed: u8, der: &[u8]) -> Self {
        Self {
            signing: signing_key(seed),
            certificate: Certificate::from_der(der).unwrap(),
        }
    }

    pub(crate) fn record(&self) -> KeyRecord {
        KeyRecord {
            certificate: self.certificate.id(),
            spki_sha256: self.certificate.spki_sha256(),
            algorithm: Algorithm::Es256,
        }
    }

    pub(crate) fn der(&self) -> &[u8] {
        self.certificate.der()
    }
}

impl Signer for Key {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Es256
    }

    fn certificate(&self) -> CertificateId {
        self.certificate.id()
    }

    fn sign(&self, signing_input: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature: Signature = self.signing.sign(signing_input);
        Ok(signature.to_bytes().to_vec())
    }
}

pub(crate) const COURT: &str = "justice.example";
pub(crate) const BAR: &str = "bars.example";
pub(crate) const COMPANY: &str = "experts.example";

/// The root key of an authority.
pub(crate) fn root(origin: &str) -> Key {
    Key::new(match origin {
        COURT => 1,
        BAR => 2,
        _ => 3,
    })
}

pub(crate) fn profession(origin: &str) -> OrganisationKind {
    match origin {
        COURT => OrganisationKind::Court,
        BAR => OrganisationKind::Bar,
        _ => OrganisationKind::ExpertCompany,
    }
}

pub(crate) fn authority(origin: &str) -> Authority {
    Authority::new(origin, profession(origin), root(origin).der(), true).unwrap()
}

pub(crate) fn anchors() -> Anchors {
    Anchors::new([COURT, BAR, COMPANY].map(authority).to_vec()).unwrap()
}

pub(crate) fn genesis(origin: &str) -> Genesis {
    authority(origin).genesis()
}

pub(crate) fn organisation(origin: &str) -> Organisation {
    Organisation {
        kind: profession(origin),
        identifier: "000000000".to_owned(),
        name: format!("Test organisation of {origin}"),
        admin: None,
    }
}

/// A node of organisation `organisation` sealing with `seal`; its other keys come from the next two seeds.
pub(crate) fn node(organisation: u8, seal: &Key, other_keys: u8) -> Node {
    Node {
        organisation: subject(organisation),
        seal: seal.record(),
        encryption_spki: Key::new(other_keys).certificate.spki().to_vec(),
        tls_spki_sha256: tls(other_keys),
        gossip: None,
        addresses: vec!["127.0.0.1:4433".to_owned()],
    }
}

/// The TLS key of such a node.
pub(crate) fn tls(other_keys: u8) -> Digest {
    Key::new(other_keys + 1).certificate.spki_sha256()
}

pub(crate) fn enrolment(key: &Key, role: Role, node: u8) -> Enrolment {
    Enrolment {
        key: key.record(),
        roles: vec![role],
        node: subject(node),
        assurance: Assurance::Software,
        commitment: None,
        encryption_spki: None,
        issuer: None,
    }
}

pub(crate) fn revocation(key: &Key, invalid_since: Option<Instant>) -> Revocation {
    Revocation {
        certificate: key.certificate.id(),
        invalid_since,
        reason: Reason::KeyCompromise,
    }
}

/// The key of a certificate that is one of these.
fn key_of(der: &[u8]) -> Option<Key> {
    static SEEDS: LazyLock<BTreeMap<Vec<u8>, u8>> = LazyLock::new(|| {
        let point = |seed| certificate_key(&signing_key(seed)).1;
        (1..u8::MAX).map(|seed| (point(seed), seed)).collect()
    });
    let certificate = Certificate::from_der(der).ok()?;
    let point = certificate.spki().split_at_checked(26)?.1;
    SEEDS.get(point).map(|seed| Key::with_certificate(*seed, der))
}

/// Signs `entry` as `signer`, and co-signs it: each what its capacity is about. The possession of a key that it states is
/// shown, whoever else signs.
pub(crate) fn leaf(
    entry: &Entry,
    signer: &Key,
    cosigners: &[(&Key, Capacity)],
    certificate: &[u8],
) -> RegistryLeaf {
    let shown = cosigners
        .iter()
        .any(|(_, capacity)| *capacity == Capacity::Possession);
    let key = entry
        .content
        .key()
        .filter(|_| !shown)
        .and_then(|_| key_of(certificate));
    let mut cosigners = cosigners.to_vec();
    cosigners.extend(key.as_ref().map(|key| (key, Capacity::Possession)));
    bare_leaf(entry, signer, &cosigners, certificate)
}

/// The same, by these alone.
pub(crate) fn bare_leaf(
    entry: &Entry,
    signer: &Key,
    cosigners: &[(&Key, Capacity)],
    certificate: &[u8],
) -> RegistryLeaf {
    let envelope = sign(entry, Typ::Registry, signer);
    let cosignatures = cosigners.iter().map(|(key, capacity)| {
        let subject = entry.subject.unwrap_or_else(|| subject(0));
        let target = match capacity {
            // What agrees to a policy is about no entry: `policies` signs it.
            Capacity::SecondOfficer | Capacity::Root | Capacity::Authority => envelope.id(),
            Capacity::Possession => possession(&entry.origin, &subject, &key.certificate()),
            Capacity::Holder => request(&entry.origin, &subject, entry.prev, &entry.content),
        };
        let unsigned = CoSignature::draft(*key, target, *capacity, entry.issued_at);
        unsigned.sign(*key).unwrap()
    });
    let leaf = Leaf::new(envelope.clone(), cosignatures.collect()).unwrap();
    RegistryLeaf {
        leaf: ByteBuf::from(leaf.encode()),
        certificate: ByteBuf::from(certificate),
    }
}

pub(crate) fn sign(entry: &Entry, typ: Typ, signer: &Key) -> Envelope {
    let unsigned = Unsigned::new(typ, signer, entry.issued_at, entry.encode());
    unsigned.sign(signer).unwrap()
}

/// A replica that one adds entries to, signed by the right root. All that it holds is on a shelf after each entry, and after
/// every other one it is read back from there.
pub(crate) struct Federation {
    pub(crate) replica: Replica,
    pub(crate) shelf: Arc<MemoryShelf>,
}

impl Federation {
    pub(crate) fn empty() -> Self {
        Self::under(anchors())
    }

    pub(crate) fn under(anchors: Anchors) -> Self {
        let shelf = Arc::new(MemoryShelf::default());
        let replica = Replica::on_shelf(anchors, &shared(&shelf));
        Self { replica, shelf }
    }

    /// As it is now, whatever becomes of the first.
    pub(crate) fn copy(&self) -> Self {
        let shelf = Arc::new(self.shelf.copy());
        let replica = match self.replica.heads().iter().all(|head| head.size == 0) {
            true => Replica::on_shelf(self.replica.anchors().clone(), &shared(&shelf)),
            false => Replica::open(self.replica.anchors().clone(), &shared(&shelf)).unwrap(),
        };
        Self { replica, shelf }
    }

    /// Of each authority the genesis, an organisation and its node, all of day 0: subjects 11, 12 for the court,
    /// 21, 22 for the bar, 31, 32 for the company; the seal of node n is the key n.
    pub(crate) fn founded() -> Self {
        let mut federation = Self::empty();
        for (origin, first) in [(COURT, 11), (BAR, 21), (COMPANY, 31)] {
            federation.add(origin, None, genesis(origin), &[]).unwrap();
            federation
                .add(origin, Some(first), organisation(origin), &[])
                .unwrap();
            let seal = Key::new(first + 1);
            let node = node(first, &seal, first + 100);
            federation.add(origin, Some(first + 1), node, seal.der()).unwrap();
        }
        federation
    }

    pub(crate) fn size(&self, origin: &str) -> u64 {
        self.replica.tree(origin).map_or(0, Tree::size)
    }

    /// The entry that may come next, of day 0 or of the day of the last one, whichever is later.
    pub(crate) fn next(&self, origin: &str, about: Option<u8>, content: impl Into<Content>) -> Entry {
        let index = self.size(origin);
        let last = index.checked_sub(1).and_then(|last| {
            let leaf = self.replica.leaves(origin, last, usize::MAX).pop()?;
            Some(Leaf::decode(&leaf.leaf).unwrap().envelope().payload().to_vec())
        });
        let last = last.map(|payload| Entry::decode(&payload).unwrap());
        let issued_at = last.map_or_else(|| day(0), |last| last.issued_at);
        Entry {
            origin: origin.to_owned(),
            index,
            subject: about.map(subject),
            prev: about.and_then(|about| self.replica.last_entry(&subject(about))),
            issued_at,
            effective_at: issued_at,
            salt: Salt::new([index as u8; 16]),
            content: content.into(),
        }
    }

    pub(crate) fn admit(&mut self, origin: &str, leaf: &RegistryLeaf) -> Result<bool, Inadmissible> {
        let index = self.size(origin);
        // Read ahead of its turn or in it, the same comes of it.
        let [mut ahead, mut in_turn] = [self.replica.clone(), self.replica.clone()];
        let read = ahead.read(origin, std::slice::from_ref(leaf)).pop().flatten();
        let ahead = ahead.import(origin, index, leaf, read);
        assert_eq!(ahead, in_turn.import(origin, index, leaf, None));
        let admitted = self.replica.admit(origin, index, leaf);
        if admitted == Ok(true) {
            self.shelf.put_leaf(origin, index, leaf);
            self.shelf.commit(&mut self.replica);
            if index.is_multiple_of(2) {
                let anchors = self.replica.anchors().clone();
                self.replica = Replica::open(anchors, &shared(&self.shelf)).unwrap();
            }
        }
        admitted
    }

    /// An officer of that authority, subject and key `n`, until day 1000.
    pub(crate) fn officer(&mut self, origin: &str, n: u8, revocations_per_hour: u64) -> Key {
        let key = Key::new(n);
        let officer = Officer {
            key: key.record(),
            revocations_per_hour,
            until: day(1000),
        };
        self.add(origin, Some(n), officer, key.der()).unwrap();
        key
    }

    /// Signs `entry` by whom one likes, with co-signatures, and admits it.
    pub(crate) fn enter_by(
        &mut self,
        entry: &Entry,
        signer: &Key,
        cosigners: &[(&Key, Capacity)],
        certificate: &[u8],
    ) -> Result<bool, Inadmissible> {
        self.admit(&entry.origin, &leaf(entry, signer, cosigners, certificate))
    }

    /// Signs `entry` by the root of `origin` and admits it.
    pub(crate) fn enter(
        &mut self,
        origin: &str,
        entry: &Entry,
        certificate: &[u8],
    ) -> Result<bool, Inadmissible> {
        self.admit(origin, &leaf(entry, &root(origin), &[], certificate))
    }

    pub(crate) fn add(
        &mut self,
        origin: &str,
        about: Option<u8>,
        content: impl Into<Content>,
        certificate: &[u8],
    ) -> Result<bool, Inadmissible> {
        let entry = self.next(origin, about, content);
        self.enter(origin, &entry, certificate)
    }

    /// Adds an entry issued on one day with effect on another.
    pub(crate) fn add_on(
        &mut self,
        (issued, effective): (u64, u64),
        about: u8,
        content: impl Into<Content>,
        certificate: &[u8],
    ) {
        let mut entry = self.next(BAR, Some(about), content);
        (entry.issued_at, entry.effective_at) = (day(issued), day(effective));
        assert_eq!(self.enter(BAR, &entry, certificate), Ok(true));
    }
}
