//! Fixed keys, persons and times, and everything that is signed, sealed or wrapped with them.

use basoche_conformance::fixture::{DelegationRow, Fixture, RECEIVED_AT, SignerRow};
use basoche_protocol::crypto::{AeadKey, hkdf_sha256, sha256};
use basoche_protocol::id::{CertificateId, Digest, DossierId, MessageId, SubjectId};
use basoche_protocol::role::{Assurance, Role};
use basoche_protocol::text::{b64url_encode, hex_encode};
use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::{EncodePrivateKey, EncodePublicKey};

use super::cbor::Value;

/// `iat` of every envelope: one minute before the receipt.
pub(crate) const ISSUED_AT: u64 = RECEIVED_AT.seconds() - 60;
/// The key of epoch 0.
pub(crate) const EPOCH_KEY: [u8; 32] = [0x2a; 32];

/// Somebody who signs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Person {
    /// The name, from which the key and the certificate follow.
    pub(crate) name: &'static str,
    /// Every byte of the subject id.
    pub(crate) subject: u8,
    /// Every byte of the node's subject id.
    pub(crate) node: u8,
    /// The role.
    pub(crate) role: u64,
    /// `valid`, `revoked` or `unknown`.
    pub(crate) status: &'static str,
}

const fn person(name: &'static str, subject: u8, node: u8, role: u64, status: &'static str) -> Person {
    Person {
        name,
        subject,
        node,
        role,
        status,
    }
}

pub(crate) const JUDGE: Person = person("judge", 0x11, 0x21, 1, "valid");
pub(crate) const CLERK: Person = person("clerk", 0x12, 0x21, 2, "valid");
pub(crate) const EXPERT: Person = person("expert", 0x13, 0x22, 3, "valid");
pub(crate) const LAWYER: Person = person("lawyer", 0x14, 0x23, 4, "valid");
pub(crate) const PARTY: Person = person("party", 0x15, 0x23, 5, "valid");
pub(crate) const COURT_NODE: Person = person("court node", 0x21, 0x21, 6, "valid");
pub(crate) const EXPERT_NODE: Person = person("expert node", 0x22, 0x22, 6, "valid");
pub(crate) const BAR_NODE: Person = person("bar node", 0x23, 0x23, 6, "valid");
pub(crate) const REVOKED: Person = person("revoked lawyer", 0x16, 0x23, 4, "revoked");
pub(crate) const UNKNOWN: Person = person("unknown lawyer", 0x17, 0x23, 4, "unknown");

/// A party whose key is enrolled inside of the dossier: no registry knows it.
pub(crate) const LITIGANT: Person = person("litigant", 0, 0x23, 5, "unknown");
/// Its self-signed certificate, DER, from 2026 to 2036.
pub(crate) const LITIGANT_CERTIFICATE: &[u8] = include_bytes!("litigant.der");
/// The salt of the delegation in the fixture.
pub(crate) const DELEGATION_SALT: [u8; 16] = [0xd5; 16];

const SIGNERS: [Person; 9] = [
    JUDGE,
    CLERK,
    EXPERT,
    LAWYER,
    PARTY,
    COURT_NODE,
    EXPERT_NODE,
    BAR_NODE,
    REVOKED,
];

impl Person {
    /// The signature key.
    pub(crate) fn key(&self) -> SigningKey {
        let scalar = sha256(&[b"basoche test key ", self.name.as_bytes()]);
        SigningKey::from_slice(&scalar).unwrap()
    }

    /// SHA-256 of the certificate, or of what stands for it.
    pub(crate) fn certificate(&self) -> [u8; 32] {
        match self.name {
            "litigant" => sha256(&[LITIGANT_CERTIFICATE]),
            name => sha256(&[b"basoche test certificate ", name.as_bytes()]),
        }
    }

    /// The subject id.
    pub(crate) fn id(&self) -> [u8; 16] {
        [self.subject; 16]
    }

    fn assurance(&self) -> u64 {
        if self.role == 6 { 4 } else { 2 }
    }

    fn row(&self) -> SignerRow {
        let spki = self.key().verifying_key().to_public_key_der().unwrap();
        SignerRow {
            name: self.name.to_owned(),
            certificate: CertificateId::new(self.certificate()),
            subject: SubjectId::new(self.id()),
            node: SubjectId::new([self.node; 16]),
            roles: vec![Role::from_number(self.role as u16).unwrap()],
            assurance: Assurance::from_number(self.assurance() as u16).unwrap(),
            spki: hex_encode(spki.as_bytes()),
            status: self.status.to_owned(),
        }
    }
}

/// A header of this kind for `signer`, in its one serialisation.
pub(crate) fn header(signer: &Person, typ: &str) -> String {
    let certificate = b64url_encode(&signer.certificate());
    format!(r#"{{"alg":"ES256","cty":"cbor","iat":{ISSUED_AT},"typ":"{typ}","x5t#S256":"{certificate}"}}"#)
}

/// RFC 7515 §5.1.
pub(crate) fn signing_input(header: &str, payload: &[u8]) -> String {
    format!("{}.{}", b64url_encode(header.as_bytes()), b64url_encode(payload))
}

/// The id of what is signed. SPEC ENV-4.
pub(crate) fn id(header: &str, payload: &[u8]) -> [u8; 32] {
    sha256(&[signing_input(header, payload).as_bytes()])
}

/// Raw `R ‖ S`, deterministic (RFC 6979).
pub(crate) fn signature(signer: &Person, header: &str, payload: &[u8]) -> Vec<u8> {
    let signature: Signature = signer.key().sign(signing_input(header, payload).as_bytes());
    signature.to_vec()
}

/// `[protected, payload, signature]`.
pub(crate) fn envelope_of(header: &str, payload: &[u8], signature: &[u8]) -> Vec<u8> {
    let parts = [header.as_bytes(), payload, signature];
    Value::A(parts.iter().map(|part| Value::B(part.to_vec())).collect()).encode()
}

/// The id of the party of a dossier whose first key is the litigant's. SPEC PTY-2.
pub(crate) fn litigant_id(dossier: &[u8; 32]) -> Vec<u8> {
    let (dossier, certificate) = (
        Value::B(dossier.to_vec()),
        Value::B(LITIGANT.certificate().to_vec()),
    );
    let what = Value::A(vec![Value::T("basoche-party/1".to_owned()), dossier, certificate]);
    sha256(&[&what.encode()])[..16].to_vec()
}

/// The litigant's co-signature, in this capacity, that it wants its key in the dossier. SPEC PTY-1.
pub(crate) fn possession(dossier: &[u8; 32], capacity: u64) -> Vec<u8> {
    let what = Value::A(vec![
        Value::T("basoche-possession/1".to_owned()),
        Value::T(format!("dossier/{}", hex_encode(dossier))),
        Value::B(litigant_id(dossier)),
        Value::B(LITIGANT.certificate().to_vec()),
    ]);
    let target = Value::B(sha256(&[&what.encode()]).to_vec());
    let statement = Value::M(vec![(0, "target", target), (1, "capacity", Value::U(capacity))]).encode();
    let header = header(&LITIGANT, "basoche-cosignature");
    envelope_of(&header, &statement, &signature(&LITIGANT, &header, &statement))
}

/// A message's envelope, signed by `signer`.
pub(crate) fn envelope(signer: &Person, payload: &[u8]) -> Vec<u8> {
    let header = header(signer, "basoche-message");
    envelope_of(&header, payload, &signature(signer, &header, payload))
}

/// `[key_epoch, class, salt, ciphertext]` of an envelope announced as `id`. SPEC ENV-9.
pub(crate) fn sealed(dossier: &[u8; 32], id: &[u8; 32], envelope: &[u8]) -> Value {
    let salt = [0x5a; 32];
    let key = hkdf_sha256(&EPOCH_KEY, &salt, &[b"basoche/sealed/1", dossier, id]);
    let mut ciphertext = envelope.to_vec();
    AeadKey::new(&key).seal_in_place([0; 12], &[0; 10], &mut ciphertext);
    Value::A(vec![
        Value::U(0),
        Value::U(0),
        Value::B(salt.to_vec()),
        Value::B(ciphertext),
    ])
}

/// The `apv` of a wrap. SPEC KEY-3.
pub(crate) fn apv(dossier: &[u8; 32], epoch: u64, recipient: &[u8; 16]) -> String {
    b64url_encode(&sha256(&[
        b"basoche/wrap/1",
        dossier,
        &epoch.to_be_bytes(),
        recipient,
    ]))
}

/// The `apv` of a wrap for a person. SPEC KEY-10.
pub(crate) fn person_apv(dossier: &[u8; 32], root: &[u8; 32], recipient: &[u8; 16]) -> String {
    b64url_encode(&sha256(&[b"basoche/person-wrap/1", dossier, root, recipient]))
}

/// A wrap of the epoch key, written without a JOSE library: RFC 7518 §4.6, RFC 3394, RFC 7516 §5.1. `more` are further
/// members of the header.
pub(crate) fn wrap(apv: &str, more: &str) -> String {
    wrap_of(&EPOCH_KEY, apv, more)
}

/// The same of any key.
pub(crate) fn wrap_of(secret: &[u8; 32], apv: &str, more: &str) -> String {
    let (ephemeral, static_key) = (SigningKey::from_slice(&[0x45; 32]).unwrap(), encryption_key());
    let point = ephemeral.verifying_key().to_encoded_point(false);
    let (x, y) = (
        b64url_encode(point.x().unwrap()),
        b64url_encode(point.y().unwrap()),
    );
    let header = format!(
        r#"{{{more}"alg":"ECDH-ES+A256KW","apv":"{apv}","enc":"A256GCM","epk":{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}}}"#
    );
    let shared = agree(&ephemeral, &static_key);
    let party = basoche_protocol::text::b64url_decode(apv).unwrap();
    let algorithm = b"ECDH-ES+A256KW";
    let length = |bytes: &[u8]| (bytes.len() as u32).to_be_bytes();
    let key = sha256(&[
        &1_u32.to_be_bytes(),
        &shared,
        &length(algorithm),
        algorithm,
        &length(b""),
        &length(&party),
        &party,
        &256_u32.to_be_bytes(),
    ]);
    let (content_key, nonce) = ([0xc3; 32], [0x1d; 12]);
    let mut wrapped = [0; 40];
    let kek = openssl::aes::AesKey::new_encrypt(&key).unwrap();
    openssl::aes::wrap_key(&kek, None, &mut wrapped, &content_key).unwrap();
    let header = b64url_encode(header.as_bytes());
    let mut sealed = secret.to_vec();
    AeadKey::new(&content_key).seal_in_place(nonce, header.as_bytes(), &mut sealed);
    let (ciphertext, tag) = sealed.split_at(32);
    let rest = [&wrapped[..], &nonce, ciphertext, tag].map(b64url_encode);
    format!("{header}.{}", rest.join("."))
}

/// The recipient's encryption key.
pub(crate) fn encryption_key() -> SigningKey {
    SigningKey::from_slice(&sha256(&[b"basoche test encryption key"])).unwrap()
}

fn agree(ephemeral: &SigningKey, recipient: &SigningKey) -> Vec<u8> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let mut context = BigNumContext::new().unwrap();
    let public = recipient.verifying_key().to_encoded_point(false);
    let point = EcPoint::from_bytes(&group, public.as_bytes(), &mut context).unwrap();
    let public = PKey::from_ec_key(EcKey::from_public_key(&group, &point).unwrap()).unwrap();
    let private = PKey::private_key_from_pkcs8(ephemeral.to_pkcs8_der().unwrap().as_bytes()).unwrap();
    let mut deriver = openssl::derive::Deriver::new(&private).unwrap();
    deriver.set_peer(&public).unwrap();
    deriver.derive_to_vec().unwrap()
}

/// The fixture file for this dossier; sealed vectors are announced as `message`.
pub(crate) fn fixture(dossier: [u8; 32], message: [u8; 32]) -> Fixture {
    Fixture {
        v: 1,
        received_at: RECEIVED_AT.to_string(),
        dossier: DossierId::new(dossier),
        message: MessageId::new(message),
        epoch_key: hex_encode(&EPOCH_KEY),
        wrap_recipient: SubjectId::new(EXPERT_NODE.id()),
        wrap_private_key: hex_encode(encryption_key().to_pkcs8_der().unwrap().as_bytes()),
        signers: SIGNERS.iter().map(Person::row).collect(),
        delegations: vec![delegation(&EXPERT, &dossier), delegation(&LAWYER, &dossier)],
    }
}

/// What lets somebody enrol two parties of the dossier. SPEC REG-26.
fn delegation(delegate: &Person, dossier: &[u8; 32]) -> DelegationRow {
    let what = Value::A(vec![
        Value::T("basoche-delegation/1".to_owned()),
        Value::B(DELEGATION_SALT.to_vec()),
        Value::B(dossier.to_vec()),
    ]);
    DelegationRow {
        delegate: SubjectId::new(delegate.id()),
        commitment: Digest::new(sha256(&[&what.encode()])),
        keys: 2,
    }
}
