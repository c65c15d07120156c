//! A generated registry: the log of one authority, the same for the same seed, of any length.
//!
//! Where persons are enrolled, of twenty entries eighteen enrol one, one revokes the certificate of a person and one renews
//! another's. An expert takes 23: one that enrols, two renewals, and for each of ten dossiers a delegation and its end. Keys are
//! real points of P-256 and signatures real, so a replica has all the work that it has with a real log; the signatures alone are
//! other ones each time. The certificates are made from one by putting another key in: the authority vouches for them, and nobody
//! looks at their own signatures.

use std::ops::Range;
use std::time::Duration;

use basoche_protocol::crypto::{Ed25519Key, sha256};
use basoche_protocol::envelope::{Typ, Unsigned};
use basoche_protocol::id::{CertificateId, Digest, Salt, SubjectId};
use basoche_protocol::jose::{Algorithm, KeyError, Signer, SoftwareKey};
use basoche_protocol::journal::RegistryHead;
use basoche_protocol::role::{Assurance, OrganisationKind, Role};
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_registry::entry::{
    Delegated, Delegation, Enrolment, Entry, KeyRecord, Reason, Renewal, Revocation, StateRoot,
};
use basoche_registry::leaf::{Capacity, CoSignature, possession, request};
use basoche_registry::log::{Checkpoint, Key as LogKey, KeyKind, Note};
use basoche_registry::{Authority, Certificate, Content, Leaf};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::elliptic_curve::ops::Reduce;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::pkcs8::EncodePrivateKey;
use p256::{AffinePoint, NonZeroScalar, ProjectivePoint, Scalar, U256};
use serde_bytes::ByteBuf;

use crate::Outcome;
use crate::limits::on_all_cores;

/// Whom a log enrols.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trade {
    /// Lawyers, of a bar.
    Lawyers,
    /// Judges and clerks, of a court.
    Judges,
    /// Experts, each with the delegations of ten dossiers.
    Experts,
}

impl Trade {
    fn origin(self) -> &'static str {
        match self {
            Self::Lawyers => "bars.generated.example",
            Self::Judges => "courts.generated.example",
            Self::Experts => "experts.generated.example",
        }
    }

    fn kind(self) -> OrganisationKind {
        match self {
            Self::Lawyers => OrganisationKind::Bar,
            Self::Judges => OrganisationKind::Court,
            Self::Experts => OrganisationKind::ExpertCompany,
        }
    }

    fn role(self) -> Role {
        match self {
            Self::Lawyers => Role::Lawyer,
            Self::Judges => Role::Judge,
            Self::Experts => Role::Expert,
        }
    }
}

/// What an entry is.
enum Made {
    Genesis,
    Enrolment,
    /// Of the certificate that the entry of that index enrols.
    Revocation(u64),
    /// Of the same, about whom the entry at the first index is, after the second.
    Renewal {
        begun: u64,
        prev: u64,
        replaces: u64,
    },
    /// For the dossier of that number, or its end.
    Delegation {
        begun: u64,
        prev: u64,
        dossier: u64,
        granted: bool,
    },
}

/// Entries after which what is entered begins anew.
const PERIOD: u64 = 20;
/// Entries about one expert, those that renew the expert's key, and the dossiers of the others.
pub(crate) const ENTRIES_OF_AN_EXPERT: u64 = 23;
const RENEWALS_OF_AN_EXPERT: [u64; 2] = [7, 15];
pub(crate) const DOSSIERS_OF_AN_EXPERT: u64 = 10;
/// Of these the one that revokes the person of three before it, and the one that renews that of three before.
const REVOKES: u64 = 10;
const RENEWS: u64 = 16;
const BACK: u64 = 3;
/// Bytes of an uncompressed point.
const POINT_BYTES: usize = 65;
/// Bytes of its SubjectPublicKeyInfo.
const SPKI_BYTES: usize = 91;

/// The authority that signs it, and what its certificates are made from.
pub(crate) struct Generator {
    seed: u64,
    trade: Trade,
    root: SoftwareKey,
    authority: Authority,
    log: Ed25519Key,
    template: Vec<u8>,
    /// Where the public key stands in the template.
    place: usize,
    begins: Instant,
}

/// A key and its certificate.
struct Key {
    signing: SigningKey,
    certificate: CertificateId,
}

impl Signer for Key {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Es256
    }

    fn certificate(&self) -> CertificateId {
        self.certificate
    }

    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature: Signature = self.signing.sign(input);
        Ok(signature.to_bytes().to_vec())
    }
}

/// The root, as `rcgen` wants it: it signs its own certificate.
struct Root<'a>(&'a SigningKey, Vec<u8>);

impl rcgen::PublicKeyData for Root<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.1
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Root<'_> {
    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: Signature = self.0.sign(input);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

/// The private key number `index` of a seed; the root has the last.
fn scalar(seed: u64, index: u64) -> Scalar {
    let hash = sha256(&[b"key", &seed.to_be_bytes()]);
    <Scalar as Reduce<U256>>::reduce_bytes(&hash.into()) + Scalar::from(index)
}

fn point(seed: u64, index: u64) -> AffinePoint {
    (ProjectivePoint::GENERATOR * scalar(seed, index)).to_affine()
}

fn certificate_of(der: &[u8]) -> CertificateId {
    CertificateId::new(sha256(&[der]))
}

fn signing_key(scalar: Scalar) -> Outcome<SigningKey> {
    let scalar: Option<NonZeroScalar> = NonZeroScalar::new(scalar).into();
    Ok(SigningKey::from(scalar.ok_or("a key of zero")?))
}

impl Generator {
    /// For the registry of that seed, whose first entry is issued at `begins`.
    pub(crate) fn new(seed: u64, trade: Trade, begins: Instant) -> Outcome<Self> {
        let signing = signing_key(scalar(seed, u64::MAX))?;
        let point = signing.verifying_key().to_encoded_point(false);
        let mut parameters = rcgen::CertificateParams::default();
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2126, 1, 1);
        parameters.serial_number = Some(rcgen::SerialNumber::from(seed));
        let made = parameters.self_signed(&Root(&signing, point.as_bytes().to_vec()))?;
        let template = made.der().to_vec();
        let spki = Certificate::from_der(&template)?.spki().to_vec();
        let point = spki.len() - POINT_BYTES;
        let place = template.windows(spki.len()).position(|part| part == spki);
        let place = place.ok_or("a certificate has its key")? + point;
        // OpenSSL signs faster, and as a node's wallets do.
        let root = SoftwareKey::from_pkcs8(signing.to_pkcs8_der()?.as_bytes(), certificate_of(&template))?;
        let log = Ed25519Key::new(&sha256(&[b"log", &seed.to_be_bytes()]));
        let log_key = LogKey::new(trade.origin(), KeyKind::Log, log.public()).ok_or("a log has a name")?;
        let authority = Authority::new(trade.origin(), trade.kind(), &template, true)?;
        let authority = authority.with_log_key(log_key)?;
        Ok(Self {
            seed,
            trade,
            root,
            authority,
            log,
            template,
            place,
            begins,
        })
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The log's name.
    pub(crate) fn origin(&self) -> &'static str {
        self.trade.origin()
    }

    /// What the entry at `index` is.
    fn made(&self, index: u64) -> Made {
        let place = index % PERIOD;
        match self.trade {
            _ if index == 0 => Made::Genesis,
            Trade::Experts => {
                let place = (index - 1) % ENTRIES_OF_AN_EXPERT;
                let (expert, begun, prev) = (
                    (index - 1) / ENTRIES_OF_AN_EXPERT,
                    index - place,
                    index.saturating_sub(1),
                );
                let renewed = RENEWALS_OF_AN_EXPERT.iter().filter(|renewal| **renewal < place);
                let latest = renewed
                    .clone()
                    .next_back()
                    .map_or(begun, |renewal| begun + renewal);
                if place == 0 {
                    return Made::Enrolment;
                }
                if RENEWALS_OF_AN_EXPERT.contains(&place) {
                    return Made::Renewal {
                        begun,
                        prev,
                        replaces: latest,
                    };
                }
                let step = place - 1 - renewed.count() as u64;
                Made::Delegation {
                    begun,
                    prev,
                    dossier: expert * DOSSIERS_OF_AN_EXPERT + step / 2,
                    granted: step.is_multiple_of(2),
                }
            }
            _ if place == REVOKES => Made::Revocation(index - BACK),
            _ if place == RENEWS => Made::Renewal {
                begun: index - BACK,
                prev: index - BACK,
                replaces: index - BACK,
            },
            _ => Made::Enrolment,
        }
    }

    /// The certificate that entry `index` enrols, if it enrols one.
    pub(crate) fn certificate(&self, index: u64) -> Option<CertificateId> {
        let enrols = matches!(self.made(index), Made::Enrolment | Made::Renewal { .. });
        enrols.then(|| certificate_of(&self.der(&point(self.seed, index))))
    }

    /// The entry that states the root of the log's state, at `index`.
    pub(crate) fn state_root(&self, index: u64, root: Digest) -> Outcome<RegistryLeaf> {
        let issued_at = self.begins + Span::from_seconds(index);
        let entry = Entry {
            origin: self.origin().to_owned(),
            index,
            subject: None,
            prev: None,
            issued_at,
            effective_at: issued_at,
            salt: Salt::new(*self.subject(index).as_bytes()),
            content: StateRoot { root }.into(),
        };
        let unsigned = Unsigned::new(Typ::Registry, &self.root, issued_at, entry.encode());
        let leaf = Leaf::new(unsigned.sign(&self.root)?, Vec::new())?;
        Ok(RegistryLeaf {
            leaf: ByteBuf::from(leaf.encode()),
            certificate: ByteBuf::new(),
        })
    }

    /// The log's word that this is its head.
    pub(crate) fn checkpoint(&self, head: &RegistryHead) -> Outcome<Checkpoint> {
        let mut note = Note::new(Checkpoint::text(head))?;
        let key = self.authority.log_key().ok_or("the log has a key")?;
        let signature = self.log.sign(&key.message(note.text(), self.begins));
        note.add(key.line(&signature, self.begins))?;
        Ok(Checkpoint::open(note, std::slice::from_ref(key))?)
    }

    fn subject(&self, index: u64) -> SubjectId {
        let hash = sha256(&[b"subject", &self.seed.to_be_bytes(), &index.to_be_bytes()]);
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        SubjectId::new(id)
    }

    /// The certificate with that key.
    fn der(&self, point: &AffinePoint) -> Vec<u8> {
        let mut der = self.template.clone();
        let point = point.to_encoded_point(false);
        der[self.place..self.place + POINT_BYTES].copy_from_slice(point.as_bytes());
        der
    }

    fn key(&self, index: u64) -> Outcome<Key> {
        self.key_at(index, &self.der(&point(self.seed, index)))
    }

    /// The same, whose certificate is known already.
    fn key_at(&self, index: u64, der: &[u8]) -> Outcome<Key> {
        Ok(Key {
            signing: signing_key(scalar(self.seed, index))?,
            certificate: certificate_of(der),
        })
    }

    fn record(&self, der: &[u8]) -> KeyRecord {
        let spki = &der[self.place + POINT_BYTES - SPKI_BYTES..self.place + POINT_BYTES];
        KeyRecord {
            certificate: certificate_of(der),
            spki_sha256: Digest::of(&[spki]),
            algorithm: Algorithm::Es256,
        }
    }

    /// The leaf at `index`, whose key is `point`. They may be made in any order.
    fn leaf(&self, index: u64, point: &AffinePoint) -> Outcome<RegistryLeaf> {
        let issued_at = self.begins + Span::from_seconds(index);
        let mut certificate = Vec::new();
        let mut beside = Vec::new();
        let (subject, prev, content): (_, _, Content) = match self.made(index) {
            Made::Genesis => (None, None, self.authority.genesis().into()),
            Made::Revocation(enrolled) => {
                let revocation = Revocation {
                    certificate: self.certificate(enrolled).ok_or("nobody is enrolled there")?,
                    invalid_since: None,
                    reason: Reason::Cessation,
                };
                (Some(self.subject(enrolled)), Some(enrolled), revocation.into())
            }
            Made::Delegation {
                begun,
                prev,
                dossier,
                granted,
            } => {
                let until = issued_at + Span::from_seconds(2 * 365 * 86_400);
                let delegation = Delegation {
                    dossier: Digest::of(&[b"dossier", &self.seed.to_be_bytes(), &dossier.to_be_bytes()]),
                    granted: granted.then_some(Delegated { keys: 20, until }),
                };
                (Some(self.subject(begun)), Some(prev), delegation.into())
            }
            Made::Renewal {
                begun,
                prev,
                replaces,
            } => {
                let (subject, prev) = (Some(self.subject(begun)), Some(prev));
                let (old, new) = (self.key(replaces)?, self.key(index)?);
                certificate = self.der(point);
                let renewal = Renewal {
                    key: self.record(&certificate),
                    replaces: old.certificate,
                    until: issued_at,
                    encryption_spki: None,
                    issuer: None,
                };
                beside = vec![(new, Capacity::Possession), (old, Capacity::Holder)];
                (subject, prev, renewal.into())
            }
            Made::Enrolment => {
                certificate = self.der(point);
                let enrolment = Enrolment {
                    key: self.record(&certificate),
                    roles: vec![self.trade.role()],
                    node: self.subject(0),
                    assurance: Assurance::Software,
                    commitment: Some(Digest::of(&[&index.to_be_bytes()])),
                    encryption_spki: None,
                    issuer: None,
                };
                beside = vec![(self.key_at(index, &certificate)?, Capacity::Possession)];
                (Some(self.subject(index)), None, enrolment.into())
            }
        };
        let entry = Entry {
            origin: self.origin().to_owned(),
            index,
            subject,
            prev,
            issued_at,
            effective_at: issued_at,
            salt: Salt::new(*self.subject(index).as_bytes()),
            content,
        };
        let envelope =
            Unsigned::new(Typ::Registry, &self.root, issued_at, entry.encode()).sign(&self.root)?;
        let mut cosignatures = Vec::new();
        for (key, capacity) in &beside {
            let subject = entry.subject.ok_or("nobody is concerned")?;
            let target = match capacity {
                Capacity::Holder => request(self.origin(), &subject, entry.prev, &entry.content),
                _ => possession(self.origin(), &subject, &key.certificate),
            };
            cosignatures.push(CoSignature::draft(key, target, *capacity, issued_at).sign(key)?);
        }
        Ok(RegistryLeaf {
            leaf: ByteBuf::from(Leaf::new(envelope, cosignatures)?.encode()),
            certificate: ByteBuf::from(certificate),
        })
    }

    /// The leaves `from..to`, made on all cores.
    pub(crate) fn leaves(&self, from: u64, to: u64) -> Outcome<Vec<RegistryLeaf>> {
        let cores = std::thread::available_parallelism()?.get() as u64;
        let share = (to - from).div_ceil(cores).max(1);
        std::thread::scope(|scope| {
            let lane = |core: u64| {
                let from = (from + core * share).min(to);
                scope.spawn(move || self.lane(from, to.min(from + share)))
            };
            let lanes: Vec<_> = (0..cores).map(lane).collect();
            let mut leaves = Vec::new();
            for lane in lanes {
                leaves.extend(lane.join().map_err(|_| "a lane has panicked")??);
            }
            Ok(leaves)
        })
    }

    fn lane(&self, from: u64, to: u64) -> Outcome<Vec<RegistryLeaf>> {
        let first = ProjectivePoint::from(point(self.seed, from));
        let points = std::iter::successors(Some(first), |point| Some(*point + ProjectivePoint::GENERATOR));
        let leaves = (from..to).zip(points);
        leaves
            .map(|(index, point)| self.leaf(index, &point.to_affine()))
            .collect()
    }

    /// How long all cores take to verify so many signatures.
    pub(crate) fn verify(&self, signatures: u64) -> Outcome<Duration> {
        let leaf = self.leaves(1, 2)?.pop().ok_or("no leaf was made")?;
        let leaf = Leaf::decode(&leaf.leaf)?;
        let root = self.authority.roots().first().ok_or("an authority has a root")?;
        on_all_cores(signatures, || {
            leaf.envelope().check(Typ::Registry, &root.key).is_ok()
        })
    }

    /// Signatures in these entries.
    pub(crate) fn signatures(&self, entries: Range<u64>) -> u64 {
        let of = |index| match self.made(index) {
            Made::Genesis | Made::Revocation(_) | Made::Delegation { .. } => 1,
            Made::Enrolment => 2,
            Made::Renewal { .. } => 3,
        };
        entries.map(of).sum()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use basoche_registry::{Anchors, Replica};

    use super::*;

    #[test]
    fn a_generated_registry_is_admitted_and_is_the_same_in_any_order() {
        let begins = Instant::from_seconds(1_800_000_000);
        let generator = |seed| Generator::new(seed, Trade::Lawyers, begins).unwrap();
        let entries = |generator: &Generator, from, to| -> Vec<_> {
            let leaves = generator.leaves(from, to).unwrap().into_iter();
            let entry = |leaf: RegistryLeaf| {
                let payload = Leaf::decode(&leaf.leaf).unwrap().envelope().payload().to_vec();
                (payload, leaf.certificate)
            };
            leaves.map(entry).collect()
        };
        assert_ne!(entries(&generator(8), 5, 9), entries(&generator(7), 5, 9));
        assert_eq!(
            entries(&generator(7), 50, 60)[5..],
            entries(&generator(7), 55, 60)
        );
        let generator = generator(7);
        let anchors = Anchors::new(vec![generator.authority().clone()]).unwrap();
        let mut replica = Replica::new(anchors);
        let leaves = generator.leaves(0, 103).unwrap();
        let mut signatures = 0;
        for (leaf, index) in leaves.iter().zip(0..) {
            assert_eq!(replica.admit(generator.origin(), index, leaf), Ok(true));
            signatures += 1 + Leaf::decode(&leaf.leaf).unwrap().cosignatures().len() as u64;
        }
        assert_eq!(generator.signatures(0..103), signatures);
        let enrolled = (0..103).filter_map(|index| generator.certificate(index));
        assert!(
            enrolled
                .clone()
                .all(|certificate| replica.certificate_der(&certificate).is_some())
        );
        assert_eq!(enrolled.count(), 97);
    }

    #[test]
    fn experts_have_the_delegations_of_ten_dossiers_each() {
        let begins = Instant::from_seconds(1_800_000_000);
        for (trade, entries, enrolled) in [(Trade::Experts, 1 + 2 * 23, 6), (Trade::Judges, 21, 19)] {
            let generator = Generator::new(7, trade, begins).unwrap();
            let anchors = Anchors::new(vec![generator.authority().clone()]).unwrap();
            let mut replica = Replica::new(anchors);
            let mut signatures = 0;
            for (leaf, index) in generator.leaves(0, entries).unwrap().iter().zip(0..) {
                assert_eq!(
                    replica.admit(generator.origin(), index, leaf),
                    Ok(true),
                    "{index}"
                );
                signatures += 1 + Leaf::decode(&leaf.leaf).unwrap().cosignatures().len() as u64;
            }
            assert_eq!(generator.signatures(0..entries), signatures);
            let certificates = (0..entries).filter_map(|index| generator.certificate(index));
            assert_eq!(certificates.count(), enrolled);
            let dossier = |index| match generator.made(index) {
                Made::Delegation { dossier, granted, .. } => granted.then_some(dossier),
                _ => None,
            };
            let dossiers: Vec<_> = (0..entries).filter_map(dossier).collect();
            let expected = if trade == Trade::Experts { 20 } else { 0 };
            assert_eq!(dossiers, (0..expected).collect::<Vec<_>>());
        }
    }
}
