//! What the entries of all logs say, by whom it is about, and what a certificate is worth at an instant. SPEC §9.4.

use std::collections::BTreeMap;
use std::sync::Arc;

use basoche_protocol::directory::Signer;
use basoche_protocol::id::{CertificateId, Digest, SubjectId};
use basoche_protocol::role::{Assurance, Role};
use basoche_protocol::time::Instant;

use crate::entry::{Content, Kind, Reason};
use crate::inadmissible::Holder;
use crate::policy::Admitted;

/// What the entries of all logs say, by whom it is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) subjects: BTreeMap<SubjectId, Subject>,
    pub(crate) certificates: BTreeMap<CertificateId, Held>,
    /// By SHA-256 of the SubjectPublicKeyInfo: the key of a seal, of a person, of encryption or of TLS.
    pub(crate) keys: BTreeMap<Digest, Holder>,
}

/// An organisation, a node or a person.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) origin: Arc<str>,
    /// `Organisation`, `Node` or `Enrolment`.
    pub(crate) kind: Kind,
    /// Index of its last entry, a revocation included.
    pub(crate) last: u64,
    /// Indexes of the entries that state it, revocations left out; never empty.
    pub(crate) stated: Vec<usize>,
}

/// A certificate and what happened to it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) origin: Arc<str>,
    pub(crate) subject: SubjectId,
    /// The entry that brought it.
    pub(crate) index: usize,
    not_before: Instant,
    not_after: Instant,
    /// In the order of the log; the last one in effect counts.
    grants: Vec<(Instant, Signer)>,
    pub(crate) revocations: Vec<Withdrawal>,
}

/// A revocation of one certificate.
#[derive(Clone, Debug)]
pub(crate) struct Withdrawal {
    effective_at: Instant,
    invalid_since: Option<Instant>,
    reason: Reason,
}

impl Known {
    /// Takes in what `admitted`, entry `index` of log `origin`, states. Cannot fail.
    pub(crate) fn learn(&mut self, origin: Arc<str>, index: usize, admitted: &Admitted) {
        let Admitted { entry, enrolled } = admitted;
        // The genesis is about nobody.
        let Some(subject) = entry.subject else {
            return;
        };
        let kind = entry.content.kind();
        let about = self.subjects.entry(subject).or_insert_with(|| Subject {
            origin: Arc::clone(&origin),
            kind,
            last: entry.index,
            stated: Vec::new(),
        });
        about.last = entry.index;
        if kind != Kind::Revocation {
            about.stated.push(index);
        }
        for spki in entry.content.spkis() {
            self.keys.insert(spki, Holder::Subject(subject));
        }
        let (node, roles, assurance) = match &entry.content {
            Content::Genesis(_) | Content::Organisation(_) => return,
            Content::Revocation(revocation) => {
                if let Some(held) = self.certificates.get_mut(&revocation.certificate) {
                    held.revocations.push(Withdrawal {
                        effective_at: entry.effective_at,
                        invalid_since: revocation.invalid_since,
                        reason: revocation.reason,
                    });
                }
                return;
            }
            Content::Node(_) => (subject, vec![Role::Node], Assurance::Seal),
            Content::Enrolment(enrolment) => (enrolment.node, enrolment.roles.clone(), enrolment.assurance),
        };
        let Some((certificate, key)) = enrolled else {
            return;
        };
        let held = self.certificates.entry(certificate.id()).or_insert_with(|| Held {
            origin,
            subject,
            index,
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            grants: Vec::new(),
            revocations: Vec::new(),
        });
        let signer = Signer {
            subject,
            node,
            roles,
            assurance,
            key: Arc::clone(key),
        };
        held.grants.push((entry.effective_at, signer));
    }
}

impl Held {
    /// What the certificate may be used for at `at`, if it is valid then.
    pub(crate) fn signer_at(&self, at: Instant) -> Option<&Signer> {
        match self.standing(at) {
            Standing::Valid(signer) => Some(signer),
            Standing::Contested(..) | Standing::Invalid(_) => None,
        }
    }

    /// The rule of [`Replica::status`](crate::Replica). REG-8.
    pub(crate) fn standing(&self, at: Instant) -> Standing<'_> {
        if let Some(withdrawal) = self.revocations.iter().find(|one| one.effective_at <= at) {
            return Standing::Invalid(withdrawal.reason.revoked());
        }
        if at < self.not_before {
            return Standing::Invalid("before the dates of the certificate");
        }
        if at > self.not_after {
            return Standing::Invalid("expired");
        }
        let grant = self
            .grants
            .iter()
            .rev()
            .find(|(effective_at, _)| *effective_at <= at);
        let Some((_, signer)) = grant else {
            return Standing::Invalid("not yet enrolled");
        };
        let contested = |one: &Withdrawal| one.invalid_since.is_some_and(|since| since <= at);
        if self.revocations.iter().any(contested) {
            return Standing::Contested(signer, "declared compromised since before this instant");
        }
        Standing::Valid(signer)
    }
}

/// What a known certificate is worth at an instant.
pub(crate) enum Standing<'a> {
    Valid(&'a Signer),
    Contested(&'a Signer, &'static str),
    Invalid(&'static str),
}
