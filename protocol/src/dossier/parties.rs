//! Parties whose keys were enrolled inside of a dossier, and what those are worth. SPEC §6.26, §6.27.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::State;
use crate::directory::{Certified, Delegation, Directory, Signer, Status};
use crate::error::Refused;
use crate::id::{CertificateId, Digest, DossierId, MessageId, SubjectId};
use crate::jose::Algorithm;
use crate::message::{self, Body, KeyRevocation, PartyEnrolment};
use crate::role::Role;
use crate::time::Instant;

/// A key that was enrolled inside of the dossier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PartyKey {
    /// When that was recorded.
    pub at: Instant,
    /// The expert who enrolled it.
    pub by: SubjectId,
    /// Whose it is, and what it may do.
    pub party: PartyEnrolment,
}

/// That such a key was withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Withdrawn {
    pub(super) at: Instant,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) invalid_since: Option<Instant>,
}

/// The registry as one dossier sees it: with the keys that were enrolled inside. PTY-3, PTY-4.
#[derive(Clone, Copy)]
pub struct Inside<'a> {
    /// What the dossier says, as far as it counts for the question.
    pub(super) state: &'a State,
    /// What the registry says.
    pub(super) directory: &'a dyn Directory,
}

impl Directory for Inside<'_> {
    fn status(&self, certificate: &CertificateId, at: Instant) -> Status {
        let found = self.state.party_status(certificate, at, self.directory);
        found.unwrap_or_else(|| self.directory.status(certificate, at))
    }

    fn read_certificate(&self, der: &[u8], algorithm: Algorithm) -> Option<Certified> {
        self.directory.read_certificate(der, algorithm)
    }

    /// How many keys the delegate may still enrol.
    fn delegation(&self, delegate: &SubjectId, commitment: &Digest, at: Instant) -> Delegation {
        match self.directory.delegation(delegate, commitment, at) {
            Delegation::Granted { keys } => Delegation::Granted {
                keys: keys.saturating_sub(self.state.enrolled_by(delegate, commitment)),
            },
            other => other,
        }
    }
}

impl State {
    /// The registry as this dossier sees it.
    pub fn inside<'a>(&'a self, directory: &'a dyn Directory) -> Inside<'a> {
        let state = self;
        Inside { state, directory }
    }

    /// The keys that were enrolled inside, with the message that did it.
    pub fn party_keys(&self) -> impl Iterator<Item = (MessageId, &PartyKey)> {
        self.party_keys.iter().map(|((_, message), key)| (*message, key))
    }

    /// Whether any key was enrolled inside.
    pub(super) fn has_party_keys(&self) -> bool {
        !self.party_keys.is_empty()
    }

    /// Who enrolled a key under which delegation, for each message that did: its status hangs on these.
    pub(crate) fn sponsors(
        &self,
        certificate: &CertificateId,
    ) -> impl Iterator<Item = (MessageId, &PartyKey)> {
        let first = (*certificate, MessageId::new([0; 32]));
        let last = (*certificate, MessageId::new([0xff; 32]));
        let found = self.party_keys.range(first..=last);
        found.map(|((_, message), key)| (*message, key))
    }

    fn withdrawals(&self, certificate: &CertificateId) -> impl Iterator<Item = Withdrawn> {
        let of = |(message, _): (MessageId, &PartyKey)| {
            let first = (message, MessageId::new([0; 32]));
            let last = (message, MessageId::new([0xff; 32]));
            self.withdrawn
                .range(first..=last)
                .map(|(_, withdrawn)| *withdrawn)
        };
        self.sponsors(certificate).flat_map(of)
    }

    /// The key's enrolment: of two for different parties the earliest recorded counts, the lower id breaks a tie.
    fn party_key(&self, certificate: &CertificateId) -> Option<&PartyKey> {
        let first = self
            .sponsors(certificate)
            .min_by_key(|(message, key)| (key.at, *message));
        first.map(|(_, key)| key)
    }

    /// The commitment of the delegation under which a key was enrolled. REG-26.
    pub(crate) fn delegation_of(&self, key: &PartyKey) -> Digest {
        message::commitment(&key.party.delegation_salt, &self.dossier())
    }

    /// The dossier: its founding act has the same id. All zeros before that is on file.
    fn dossier(&self) -> DossierId {
        let founding = self.designations.first_key_value();
        founding.map_or(DossierId::new([0; 32]), |(done, _)| DossierId::from(done.id))
    }

    /// Keys that `delegate` has enrolled under a delegation.
    fn enrolled_by(&self, delegate: &SubjectId, commitment: &Digest) -> u64 {
        let keys = self.party_keys.iter();
        let under = keys.filter(|(_, key)| key.by == *delegate && self.delegation_of(key) == *commitment);
        let distinct: BTreeSet<_> = under.map(|((certificate, _), _)| certificate).collect();
        distinct.len() as u64
    }

    /// What a key that was enrolled inside is worth at `at`; `None` if it was not. PTY-3.
    fn party_status(
        &self,
        certificate: &CertificateId,
        at: Instant,
        directory: &dyn Directory,
    ) -> Option<Status> {
        let enrolled = self.party_key(certificate)?;
        let party = &enrolled.party;
        let invalid = |reason| Some(Status::Invalid { reason });
        if self.withdrawals(certificate).any(|withdrawn| withdrawn.at <= at) {
            return invalid("withdrawn in this dossier");
        }
        let Some(certified) = directory.read_certificate(&party.certificate, party.algorithm) else {
            return invalid("its certificate cannot be used");
        };
        if at < certified.not_before {
            return invalid("before the dates of the certificate");
        }
        if at > certified.not_after {
            return invalid("expired");
        }
        // Whoever else has enrolled the same key of the same party stands in for the first.
        let of_party = self
            .sponsors(certificate)
            .filter(|(_, key)| key.party.subject == party.subject);
        let mut ended = None;
        let mut open = None;
        let mut stands = false;
        for (_, key) in of_party {
            match directory.delegation(&key.by, &self.delegation_of(key), at) {
                Delegation::Granted { .. } => stands = true,
                Delegation::Ended { reason } => ended = Some(reason),
                Delegation::Undetermined { reason } => open = Some(reason),
            }
        }
        if !stands {
            return match (open, ended) {
                (None, Some(reason)) => invalid(reason),
                (open, _) => Some(Status::Undetermined {
                    reason: open.unwrap_or("nobody answers for the key"),
                }),
            };
        }
        let signer = Signer {
            subject: party.subject,
            node: party.node,
            roles: vec![Role::Party],
            assurance: party.assurance,
            key: Arc::new(certified.key),
        };
        let since = self
            .withdrawals(certificate)
            .filter_map(|withdrawn| withdrawn.invalid_since);
        Some(match since.min().is_some_and(|since| since <= at) {
            true => Status::Contested {
                signer,
                reason: "declared compromised since before this instant",
            },
            false => Status::Valid(signer),
        })
    }

    /// The key to which documents for a party are wrapped at `at`: DER SubjectPublicKeyInfo of the last enrolment of a key that
    /// is valid then. `None` for who was not enrolled inside.
    ///
    /// # Errors
    /// Why there is none, in words that a person can act on.
    pub fn party_encryption_key(
        &self,
        party: &SubjectId,
        at: Instant,
        directory: &dyn Directory,
    ) -> Option<Result<Vec<u8>, &'static str>> {
        let of_party = self.party_keys().filter(|(_, key)| key.party.subject == *party);
        let (_, last) = of_party.max_by_key(|(message, key)| (key.at, *message))?;
        let status = self.party_status(&last.party.certificate_id(), at, directory)?;
        Some(match status {
            Status::Valid(_) => {
                let spki = last.party.encryption_spki.as_ref();
                spki.map(|spki| spki.to_vec())
                    .ok_or("enrolled without an encryption key")
            }
            Status::Invalid { reason }
            | Status::Undetermined { reason }
            | Status::Contested { reason, .. } => Err(reason),
        })
    }

    /// PTY-2: a party has the id of its first key, and a key belongs to one party.
    pub(super) fn check_enrolment(&self, enrolment: &PartyEnrolment) -> Result<(), Refused> {
        let (subject, certificate) = (enrolment.subject, enrolment.certificate_id());
        let known = |(_, key): (MessageId, &PartyKey)| key.party.subject == subject;
        let own = PartyEnrolment::subject_of(&self.dossier(), &certificate) == subject
            || self.party_keys().any(known);
        let taken = self
            .party_key(&certificate)
            .is_some_and(|key| key.party.subject != subject);
        match own && !taken {
            true => Ok(()),
            false => Err(Refused::RosterConflict { subject }),
        }
    }

    /// PTY-5: a key is withdrawn by the party whose it is, by the expert or by the court.
    pub(super) fn check_revocation(
        &self,
        author: SubjectId,
        role: Role,
        revocation: &KeyRevocation,
    ) -> Result<(), Refused> {
        let reference = revocation.enrolment;
        let enrolled = self.party_keys().find(|(message, _)| *message == reference);
        let Some((_, key)) = enrolled else {
            return Err(Refused::UnknownReference { reference });
        };
        match role == Role::Party && key.party.subject != author {
            true => Err(Refused::NotCompetent { author }),
            false => Ok(()),
        }
    }

    /// Takes in what a message says of parties' keys.
    pub(super) fn note_keys(&mut self, id: MessageId, at: Instant, by: SubjectId, body: &Body) {
        match body {
            Body::PartyEnrolment(party) => {
                let known = self.party_keys.entry((party.certificate_id(), id));
                let known = known.or_insert_with(|| PartyKey {
                    at,
                    by,
                    party: party.clone(),
                });
                known.at = known.at.min(at);
            }
            Body::KeyRevocation(revocation) => {
                let this = Withdrawn {
                    at,
                    invalid_since: revocation.invalid_since,
                };
                let known = self.withdrawn.entry((revocation.enrolment, id)).or_insert(this);
                *known = (*known).min(this);
            }
            _ => {}
        }
    }
}
