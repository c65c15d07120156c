//! The port through which messages learn who may sign: the registry implements it. SPEC §9.4.

use std::sync::Arc;

use crate::id::{CertificateId, SubjectId};
use crate::jose::VerifyingKey;
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

/// The registry, as messages see it. Implementations answer from verified entries only, and never from a clock:
/// the same entries and arguments always give the same answer.
pub trait Directory {
    /// The status of `certificate` at `at`.
    fn status(&self, certificate: &CertificateId, at: Instant) -> Status;
}

impl<D: Directory> Directory for Arc<D> {
    fn status(&self, certificate: &CertificateId, at: Instant) -> Status {
        self.as_ref().status(certificate, at)
    }
}
