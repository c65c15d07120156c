//! Who acts, and their keys.

use basoche_protocol::crypto::sha256;
use basoche_protocol::id::{CertificateId, Digest, SubjectId};
use basoche_protocol::jose::{Algorithm, SoftwareKey};
use basoche_protocol::role::Role;
use basoche_registry::entry::KeyRecord;

/// A key with its certificate.
pub(crate) struct Key {
    pub(crate) signer: SoftwareKey,
    pub(crate) der: Vec<u8>,
    pub(crate) spki: Vec<u8>,
    pub(crate) pkcs8: Vec<u8>,
}

impl Key {
    pub(crate) fn new() -> Self {
        let pair = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&pair).unwrap();
        let der = certificate.der().to_vec();
        let pkcs8 = pair.serialize_der();
        let id = CertificateId::new(sha256(&[&der]));
        Self {
            signer: SoftwareKey::from_pkcs8(&pkcs8, id).unwrap(),
            spki: rcgen::PublicKeyData::subject_public_key_info(&pair),
            der,
            pkcs8,
        }
    }

    pub(crate) fn record(&self) -> KeyRecord {
        KeyRecord {
            certificate: CertificateId::new(sha256(&[&self.der])),
            spki_sha256: Digest::of(&[&self.spki]),
            algorithm: Algorithm::Es256,
        }
    }
}

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Court,
    Bar,
    Company,
    Judge,
    Clerk,
    Expert,
    Lawyer,
    Party,
}

impl Who {
    pub(crate) const NODES: [Self; 3] = [Self::Court, Self::Bar, Self::Company];
    pub(crate) const PERSONS: [Self; 5] = [Self::Judge, Self::Clerk, Self::Expert, Self::Lawyer, Self::Party];

    pub(crate) fn subject(self) -> SubjectId {
        SubjectId::new([1 + self as u8; 16])
    }

    pub(crate) fn role(self) -> Role {
        match self {
            Self::Court | Self::Bar | Self::Company => Role::Node,
            Self::Judge => Role::Judge,
            Self::Clerk => Role::Clerk,
            Self::Expert => Role::Expert,
            Self::Lawyer => Role::Lawyer,
            Self::Party => Role::Party,
        }
    }

    /// Index of the node that serves them, and of the authority that enrols them.
    pub(crate) fn home(self) -> usize {
        match self {
            Self::Court | Self::Judge | Self::Clerk => 0,
            Self::Bar | Self::Lawyer | Self::Party => 1,
            Self::Company | Self::Expert => 2,
        }
    }
}
