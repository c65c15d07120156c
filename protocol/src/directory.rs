//! The port through which messages learn who may sign: the registry implements it. SPEC §9.4.

use std::sync::Arc;

use crate::id::{CertificateId, Digest, SubjectId};
use crate::jose::{Algorithm, VerifyingKey};
use crate::role::{Assurance, Role};
use crate::time::Instant;

/// Who holds a certificate, as the registry attests it at an instant.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The person or node.
    pub subject: SubjectId,
    /// The node that serves this person; a node serves itself.
    pub node: SubjectId,
    /// The roles that it may take.
    pub roles: Vec<Role>,
    /// How the key is protected.
    pub assurance: Assurance,
    /// The key and its one algorithm.
    pub key: Arc<VerifyingKey>,
}

/// What the registry says of a certificate at an instant. REG-8.
#[derive(Clone, Debug)]
pub enum Status {
    /// It was enrolled, inside its dates, and not revoked.
    Valid(Signer),
    /// It was not: revoked, expired, or not yet in force.
    Invalid {
        /// Why, in words that a report can print.
        reason: &'static str,
    },
    /// The registry does not know enough (yet).
    Undetermined {
        /// What is missing.
        reason: &'static str,
    },
    /// It counted as valid then, and was later declared compromised since before that instant.
    Contested {
        /// The holder.
        signer: Signer,
        /// Why.
        reason: &'static str,
    },
}

/// What a certificate says of a key.
#[derive(Clone, Debug)]
pub struct Certified {
    /// The key, under the algorithm that was asked for.
    pub key: VerifyingKey,
    /// The first instant of its validity.
    pub not_before: Instant,
    /// The last instant of its validity.
    pub not_after: Instant,
}

/// What the registry says of somebody's right to enrol parties inside of a dossier. REG-26.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delegation {
    /// It was delegated.
    Granted {
        /// Keys that may be enrolled, at most.
        keys: u64,
    },
    /// It was, and is no longer.
    Ended {
        /// Why, in words that a report can print.
        reason: &'static str,
    },
    /// The registry does not know enough (yet).
    Undetermined {
        /// What is missing.
        reason: &'static str,
    },
}

/// The registry, as messages see it. Implementations answer from verified entries only, and never from a clock:
/// the same entries and arguments always give the same answer.
pub trait Directory {
    /// The status of `certificate` at `at`.
    fn status(&self, certificate: &CertificateId, at: Instant) -> Status;

    /// Reads a certificate that a message brings, whoever issued it; `None` for one that cannot be used with `algorithm`.
    fn read_certificate(&self, der: &[u8], algorithm: Algorithm) -> Option<Certified>;

    /// What `delegate` may do at `at` inside of the dossier to which `commitment` commits.
    fn delegation(&self, delegate: &SubjectId, commitment: &Digest, at: Instant) -> Delegation;
}

impl<D: Directory> Directory for Arc<D> {
    fn status(&self, certificate: &CertificateId, at: Instant) -> Status {
        self.as_ref().status(certificate, at)
    }

    fn read_certificate(&self, der: &[u8], algorithm: Algorithm) -> Option<Certified> {
        self.as_ref().read_certificate(der, algorithm)
    }

    fn delegation(&self, delegate: &SubjectId, commitment: &Digest, at: Instant) -> Delegation {
        self.as_ref().delegation(delegate, commitment, at)
    }
}
