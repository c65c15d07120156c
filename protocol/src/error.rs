//! Errors by whose fault it is. SPEC §11.
//!
//! [`Malformed`] (the bytes), [`Untrusted`] (signature or certificate), [`Refused`] (authentic, but against the
//! procedure) and [`Incompatible`] (version). [`Error::code`] maps each to its one wire code.

use thiserror::Error;

use crate::dossier::Phase;
use crate::id::{CertificateId, Digest, DossierId, MessageId, SubjectId};
use crate::message::MessageType;
use crate::refusal::Code;
use crate::role::Role;
use crate::time::{Instant, Span};

/// What is wrong with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedKind {
    /// The bytes end too early, or a length exceeds what is left.
    Truncated,
    /// Well-formed CBOR, but not the one encoding of its value.
    NotCanonical,
    /// Nested deeper than [`crate::wire::limits::DEPTH`].
    TooDeep,
    /// Larger than the limit of its kind.
    TooLarge,
    /// Something follows the value.
    TrailingBytes,
    /// A field is missing, unknown or of another type.
    WrongShape,
    /// The protected header is not the fixed serialisation of ENV-6.
    BadHeader,
    /// No message has this type number.
    UnknownType,
    /// A field is outside its range.
    BadValue,
}

/// The bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("malformed at byte {offset}: {kind:?}")]
pub struct Malformed {
    /// Where, in bytes from the start of the structure.
    pub offset: usize,
    /// What.
    pub kind: MalformedKind,
}

impl Malformed {
    pub(crate) const fn at(offset: usize, kind: MalformedKind) -> Self {
        Self { offset, kind }
    }

    /// A field outside its range; bodies do not know their offset.
    pub const fn bad_value() -> Self {
        Self::at(0, MalformedKind::BadValue)
    }
}

/// The bytes are well formed, and cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Untrusted {
    /// The payload's author is not the subject of the certificate.
    #[error("the message names author {author}, its certificate belongs to {subject}")]
    AuthorMismatch {
        /// Whom the payload names.
        author: SubjectId,
        /// Whom the registry names.
        subject: SubjectId,
    },
    /// The signature does not verify.
    #[error("the signature does not verify under certificate {certificate}")]
    BadSignature {
        /// The certificate named by the header.
        certificate: CertificateId,
    },
    /// The claimed time lies too far after the receipt. ENV-13.
    #[error("signed at {claimed}, which is after {now}; check both clocks")]
    ClaimedAhead {
        /// The header's `iat`.
        claimed: Instant,
        /// When it was received.
        now: Instant,
    },
    /// A head or an entry contradicts what it covers.
    #[error("the head does not cover these entries: {what}")]
    HeadMismatch {
        /// Which check failed.
        what: &'static str,
    },
    /// After opening, the id differs from the one announced. ENV-8.
    #[error("the opened message is {found}, announced as {expected}")]
    IdMismatch {
        /// The id in the journal entry.
        expected: MessageId,
        /// The id of what was opened.
        found: MessageId,
    },
    /// No authority lets the author enrol parties in this dossier. PTY-1.
    #[error("{author} may not enrol parties in this dossier: {reason}")]
    NotDelegated {
        /// Who tried.
        author: SubjectId,
        /// The registry's reason.
        reason: &'static str,
        /// The registry may say otherwise once it knows more.
        open: bool,
    },
    /// The seal does not open under the dossier's key. ENV-9.
    #[error("the sealed message {digest} does not open under its key epoch")]
    NotOpenable {
        /// Digest of the sealed bytes.
        digest: Digest,
    },
    /// The registry does not attest the role that the message claims.
    #[error("{subject} does not hold the role {role} in the registry")]
    RoleNotHeld {
        /// Who.
        subject: SubjectId,
        /// The claimed role.
        role: Role,
    },
    /// The certificate was revoked, expired or not yet valid at that instant.
    #[error("certificate {certificate} was not valid at {at}: {reason}")]
    SignerInvalid {
        /// Which certificate.
        certificate: CertificateId,
        /// The instant asked for.
        at: Instant,
        /// The registry's reason.
        reason: &'static str,
    },
    /// The registry does not know the certificate (yet).
    #[error("certificate {certificate} is not in the registry; import the authority's entries")]
    UnknownSigner {
        /// Which certificate.
        certificate: CertificateId,
    },
    /// Signed as another kind of structure. ENV-6.
    #[error("signed as another kind of structure")]
    WrongTyp,
}

/// Authentic, and against the procedure. SPEC §7.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// A once-only act is there already.
    #[error("a {act} is already on file: message {by}")]
    AlreadyDone {
        /// Which act.
        act: MessageType,
        /// The message that did it.
        by: MessageId,
    },
    /// Not every dire that the expert had received has its answer. DOS-11, CPC art. 276.
    #[error("the report answers {answered} of {due} dires; dire {first} has no answer")]
    DireUnanswered {
        /// Answers given.
        answered: usize,
        /// Dires to answer.
        due: usize,
        /// One that lacks its answer.
        first: MessageId,
    },
    /// The time for dires is still running. DOS-11.
    #[error("dires are due until {until}")]
    DiresStillDue {
        /// The end set by the pre-report.
        until: Instant,
    },
    /// The document's bytes are not stored at this node. DOC-4.
    #[error("document {root} is not stored here; deposit its bytes first")]
    DocumentMissing {
        /// The document's tree root.
        root: Digest,
    },
    /// The dossier is being read back from the store: the message is taken once it is.
    #[error("dossier {dossier} is being read back from the store; try again in a moment")]
    Dormant {
        /// Which.
        dossier: DossierId,
    },
    /// The message is erased already. ERA-3.
    #[error("it is erased already, by order {by}")]
    Erased {
        /// The order.
        by: MessageId,
    },
    /// A legal hold covers what is to be erased. ERA-6.
    #[error("hold {hold} stands: nothing that it covers is erased")]
    OnHold {
        /// The message that put the hold.
        hold: MessageId,
    },
    /// The act belongs to somebody else. DOS-3.
    #[error("{author} is not the person designated for this act")]
    NotCompetent {
        /// Who tried.
        author: SubjectId,
    },
    /// The author is not in the dossier's roster.
    #[error("{author} is not in the roster of this dossier")]
    NotParticipant {
        /// Who tried.
        author: SubjectId,
    },
    /// Only who has a personal document's key can hand it on. DOS-30.
    #[error("{author} is no recipient of document {root}")]
    NotRecipient {
        /// Who tried.
        author: SubjectId,
        /// The document's tree root.
        root: Digest,
    },
    /// Exhibits travel only once the provision is paid in. DOS-6, CPC art. 267.
    #[error("exhibit lodged before the provision was paid in")]
    ProvisionUnpaid,
    /// The roster change contradicts the roster. DOS-10.
    #[error("the roster change contradicts the roster at {subject}")]
    RosterConflict {
        /// At whom.
        subject: SubjectId,
    },
    /// The chain is forked, and no other member's head covers this history of it. JRN-13.
    #[error(
        "the chain of node {node} has several histories; a further one is taken once another member holds it"
    )]
    ForkedChain {
        /// Whose chain.
        node: SubjectId,
    },
    /// The frontier that a message names is not within the causal past of its entry. BAR-1.
    #[error(
        "the frontier names {size} entries of node {node}, which were not held where the message was recorded"
    )]
    FrontierUnheld {
        /// Whose chain.
        node: SubjectId,
        /// How many of its entries are named.
        size: u64,
    },
    /// No message of that type may come from that role. DOS-2.
    #[error("the role {role} may not send a {act}")]
    SenderRole {
        /// The sender's role.
        role: Role,
        /// The message type.
        act: MessageType,
    },
    /// Nothing that this node has signed a head over is that beginning of a chain. SYN-22.
    #[error("no head of this node covers these {size} entries of node {node}")]
    NotCovered {
        /// Whose chain.
        node: SubjectId,
        /// How many of its entries were asked about.
        size: u64,
    },
    /// As many runs wait here for what they cite, or for their dossier to be read back, as there is room for. SYN-10.
    #[error("there is no room for more runs of dossier {dossier} that wait; send it again later")]
    NoRoom {
        /// Of which dossier.
        dossier: DossierId,
    },
    /// A peer has brought as much as it may for now. SYN-18.
    #[error("{peer} has brought as much as it may for now; more after {} s", retry_after.ms() / 1000)]
    OverQuota {
        /// Which peer.
        peer: SubjectId,
        /// The dossier of which it brought more.
        dossier: DossierId,
        /// How long it is to wait.
        retry_after: Span,
    },
    /// A person has founded as many dossiers at this node as one may for now. SYN-18.
    #[error("{author} has founded as many dossiers here as one person may for now; another one after {} s", retry_after.ms() / 1000)]
    TooManyFounded {
        /// Who.
        author: SubjectId,
        /// How long to wait.
        retry_after: Span,
    },
    /// A peer asks for more proofs than it may for now, or has been asked for as many as may be under way. SYN-23.
    #[error("too many proofs are asked of one node at once; try again in a moment")]
    TooManyProofs,
    /// A peer has brought keys of too many dossiers of which nothing has come yet. SYN-12.
    #[error("{peer} has begun too many dossiers of which nothing has come yet")]
    TooMuchBegun {
        /// Which peer.
        peer: SubjectId,
    },
    /// The node has no dossier of that id, or does not say.
    #[error("no dossier {dossier} here")]
    UnknownDossier {
        /// Which.
        dossier: DossierId,
    },
    /// The message refers to another that is not on file.
    #[error("message {reference} is not on file in this dossier")]
    UnknownReference {
        /// Which.
        reference: MessageId,
    },
    /// The act has no place in this phase. SPEC §7.2.
    #[error("a {act} has no place while the dossier is {phase}")]
    WrongPhase {
        /// Which act.
        act: MessageType,
        /// The phase the dossier is in.
        phase: Phase,
    },
}

/// Another version than ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Incompatible {
    /// The payload's `v` is not one we speak.
    #[error("message version {0} is not supported")]
    Version(u64),
    /// The dossier pins rules that we do not know.
    #[error("the dossier's rules, version {0}, are not known here")]
    Rules(u64),
}

/// Why something was turned away, whatever brought it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// Whose fault: the encoder.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Whose fault: the signer, or who forwarded it.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// Whose fault: the procedure says no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Nobody's fault: versions differ.
    #[error(transparent)]
    Incompatible(#[from] Incompatible),
}

impl Error {
    /// The wire code, total over every cause. SPEC §11.
    pub const fn code(&self) -> Code {
        match self {
            Self::Malformed(malformed) => match malformed.kind {
                MalformedKind::Truncated => Code::Truncated,
                MalformedKind::NotCanonical => Code::NotCanonical,
                MalformedKind::TooDeep => Code::TooDeep,
                MalformedKind::TooLarge => Code::TooLarge,
                MalformedKind::TrailingBytes => Code::TrailingBytes,
                MalformedKind::WrongShape => Code::WrongShape,
                MalformedKind::BadHeader => Code::BadHeader,
                MalformedKind::UnknownType => Code::UnknownType,
                MalformedKind::BadValue => Code::BadValue,
            },
            Self::Untrusted(untrusted) => match untrusted {
                Untrusted::AuthorMismatch { .. } => Code::AuthorMismatch,
                Untrusted::BadSignature { .. } => Code::BadSignature,
                Untrusted::ClaimedAhead { .. } => Code::ClaimedAhead,
                Untrusted::HeadMismatch { .. } => Code::HeadMismatch,
                Untrusted::IdMismatch { .. } => Code::IdMismatch,
                Untrusted::NotDelegated { .. } => Code::NotDelegated,
                Untrusted::NotOpenable { .. } => Code::NotOpenable,
                Untrusted::RoleNotHeld { .. } => Code::RoleNotHeld,
                Untrusted::SignerInvalid { .. } => Code::SignerInvalid,
                Untrusted::UnknownSigner { .. } => Code::UnknownSigner,
                Untrusted::WrongTyp => Code::WrongTyp,
            },
            Self::Refused(refused) => match refused {
                Refused::AlreadyDone { .. } => Code::AlreadyDone,
                Refused::DireUnanswered { .. } => Code::DireUnanswered,
                Refused::DiresStillDue { .. } => Code::DiresStillDue,
                Refused::DocumentMissing { .. } => Code::DocumentMissing,
                Refused::Dormant { .. } => Code::Busy,
                Refused::Erased { .. } => Code::Erased,
                Refused::ForkedChain { .. } => Code::ForkedChain,
                Refused::FrontierUnheld { .. } => Code::FrontierUnheld,
                Refused::NotCompetent { .. } => Code::NotCompetent,
                Refused::NotParticipant { .. } => Code::NotParticipant,
                Refused::NotRecipient { .. } => Code::NotRecipient,
                Refused::OnHold { .. } => Code::OnHold,
                Refused::ProvisionUnpaid => Code::ProvisionUnpaid,
                Refused::RosterConflict { .. } => Code::RosterConflict,
                Refused::SenderRole { .. } => Code::SenderRole,
                Refused::TooMuchBegun { .. }
                | Refused::NoRoom { .. }
                | Refused::OverQuota { .. }
                | Refused::TooManyFounded { .. }
                | Refused::TooManyProofs => Code::Busy,
                Refused::UnknownDossier { .. } => Code::UnknownDossier,
                Refused::NotCovered { .. } | Refused::UnknownReference { .. } => Code::UnknownReference,
                Refused::WrongPhase { .. } => Code::WrongPhase,
            },
            Self::Incompatible(Incompatible::Version(_)) => Code::Version,
            Self::Incompatible(Incompatible::Rules(_)) => Code::Rules,
        }
    }
}
