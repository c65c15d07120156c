//! From a well-formed envelope to an authentic message. SPEC §5.3.

use super::{Envelope, Typ, possession};
use crate::directory::{Delegation, Directory, Signer, Status};
use crate::error::{Error, Malformed, Untrusted};
use crate::id::{DossierId, MessageId, SubjectId};
use crate::message::{Body, Message, PartyEnrolment, commitment};
use crate::plant::{Bug, planted};
use crate::role::Role;
use crate::time::{Instant, Span};
use crate::wire::limits;

/// A message whose signature, author and role have been checked. Only [`verify`] makes one.
#[derive(Clone, Debug)]
pub struct Verified {
    envelope: Envelope,
    message: Message,
    signer: Signer,
    contested: Option<&'static str>,
}

impl Verified {
    /// The message's id.
    pub fn id(&self) -> MessageId {
        self.envelope.id()
    }

    /// The message.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The bytes that were signed, with their signature.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Who signed.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Why the act is contested, if the key was later declared compromised since before it. REG-8.
    pub fn contested(&self) -> Option<&'static str> {
        self.contested
    }

    /// When the signer says that it signed.
    pub fn claimed_at(&self) -> Instant {
        self.envelope.header().issued_at
    }
}

/// Verifies a message against the registry as of `at`, the instant at which it was recorded (certified, once it is).
///
/// The checks, in the order of SPEC §5.3: body, claimed time, certificate status, signature, author, role, and of a party's
/// enrolment what it rests on.
pub fn verify(envelope: Envelope, directory: &dyn Directory, at: Instant) -> Result<Verified, Error> {
    let message = Message::decode(envelope.payload())?;
    let header = envelope.header();
    // ENV-13: an earlier claim is recorded as it is, only the future is impossible.
    if header.issued_at > at + Span::from_ms(limits::CLAIM_AHEAD_MS) {
        return Err(Untrusted::ClaimedAhead {
            claimed: header.issued_at,
            now: at,
        }
        .into());
    }
    let certificate = header.certificate;
    let trusted = planted(Bug::TrustClaimedTime).then_some(header.issued_at);
    let (signer, contested) = match directory.status(&certificate, trusted.unwrap_or(at)) {
        Status::Valid(signer) => (signer, None),
        Status::Contested { signer, reason } => (signer, Some(reason)),
        Status::Invalid { reason } => {
            return Err(Untrusted::SignerInvalid {
                certificate,
                at,
                reason,
            }
            .into());
        }
        Status::Undetermined { .. } => return Err(Untrusted::UnknownSigner { certificate }.into()),
    };
    envelope.check(Typ::Message, &signer.key)?;
    // ENV-14: by the instant of record, not by the signer's own claim.
    if !header.algorithm.is_acceptable(at) {
        return Err(Untrusted::BadSignature { certificate }.into());
    }
    // ENV-17: the registry says who the author is, and in which roles.
    if message.author != signer.subject {
        return Err(Untrusted::AuthorMismatch {
            author: message.author,
            subject: signer.subject,
        }
        .into());
    }
    if !signer.roles.contains(&message.role) {
        return Err(Untrusted::RoleNotHeld {
            subject: signer.subject,
            role: message.role,
        }
        .into());
    }
    check_enrolment(&message, directory, at)?;
    Ok(Verified {
        envelope,
        message,
        signer,
        contested,
    })
}

/// PTY-1: who enrols a party may do so in this dossier at `at`, and the party wants the key. Other messages pass.
pub(crate) fn check_enrolment(
    message: &Message,
    directory: &dyn Directory,
    at: Instant,
) -> Result<(), Error> {
    let (Body::PartyEnrolment(enrolment), Some(dossier)) = (&message.body, &message.dossier) else {
        return Ok(());
    };
    check_possession(enrolment, dossier, directory)?;
    let author = message.author;
    let commitment = commitment(&enrolment.delegation_salt, dossier);
    let (reason, open) = match directory.delegation(&author, &commitment, at) {
        Delegation::Granted { keys: 1.. } => return Ok(()),
        Delegation::Granted { keys: 0 } => ("as many keys as were delegated are enrolled", false),
        Delegation::Ended { reason } => (reason, false),
        Delegation::Undetermined { reason } => (reason, true),
    };
    let refused = Untrusted::NotDelegated { author, reason, open };
    Err(refused.into())
}

/// Whoever holds the key wants it in this dossier, as this party.
fn check_possession(
    enrolment: &PartyEnrolment,
    dossier: &DossierId,
    directory: &dyn Directory,
) -> Result<(), Error> {
    let certificate = enrolment.certificate_id();
    let certified = directory.read_certificate(&enrolment.certificate, enrolment.algorithm);
    let certified = certified.ok_or_else(Malformed::bad_value)?;
    let shown = enrolment.shown()?;
    shown.envelope().check(Typ::CoSignature, &certified.key)?;
    let wanted = possession(&PartyEnrolment::place(dossier), &enrolment.subject, &certificate);
    if shown.envelope().header().certificate != certificate || shown.target() != wanted {
        return Err(Untrusted::BadSignature { certificate }.into());
    }
    Ok(())
}

/// Checks that `envelope` was signed as a `typ` by the seal of `node`, whose certificate was valid at `at`, the instant
/// that the payload claims. What is contested passes.
///
/// # Errors
/// `signer-invalid`, `unknown-signer`, `wrong-typ`, `bad-signature`, `author-mismatch`, `role-not-held`, in this order.
pub fn verify_node(
    envelope: &Envelope,
    typ: Typ,
    node: SubjectId,
    at: Instant,
    directory: &dyn Directory,
) -> Result<(), Error> {
    let certificate = envelope.header().certificate;
    let signer = match directory.status(&certificate, at) {
        Status::Valid(signer) | Status::Contested { signer, .. } => signer,
        Status::Invalid { reason } => {
            return Err(Untrusted::SignerInvalid {
                certificate,
                at,
                reason,
            }
            .into());
        }
        Status::Undetermined { .. } => return Err(Untrusted::UnknownSigner { certificate }.into()),
    };
    envelope.check(typ, &signer.key)?;
    let subject = signer.subject;
    if subject != node {
        let author = node;
        return Err(Untrusted::AuthorMismatch { author, subject }.into());
    }
    if !signer.roles.contains(&Role::Node) {
        let role = Role::Node;
        return Err(Untrusted::RoleNotHeld { subject, role }.into());
    }
    Ok(())
}
