//! Why an entry is not admitted, and what the protocol makes of it. SPEC §9.3, §11.

use basoche_protocol::error::{Error, Incompatible, Malformed, Untrusted};
use basoche_protocol::id::{CertificateId, Digest, SubjectId};
use basoche_protocol::role::{OrganisationKind, Role};
use basoche_protocol::time::Instant;
use basoche_protocol::wire::limits;
use thiserror::Error;

use crate::certificate::CertificateError;
use crate::entry::Kind;
use crate::state::BUCKET_ITEMS;

/// Why an entry is not admitted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Inadmissible {
    /// The bytes of the leaf or of the entry.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Another version of the entry format.
    #[error(transparent)]
    Incompatible(#[from] Incompatible),
    /// The root's signature does not verify, or was made on another kind of structure.
    #[error(transparent)]
    Signature(Untrusted),
    /// No anchor has that origin.
    #[error("no anchor names an authority {origin}")]
    UnknownAuthority {
        /// The log asked for.
        origin: String,
    },
    /// An entry before this one is missing.
    #[error("entry {expected} must come before entry {found}")]
    WrongIndex {
        /// The next index.
        expected: u64,
        /// The index given.
        found: u64,
    },
    /// Another leaf is known at that index: somebody rewrote the log. Alarm.
    #[error("another leaf is known at index {index}: the log was rewritten")]
    Rewritten {
        /// Where.
        index: u64,
    },
    /// Signed under a certificate that is neither a root of the authority nor of its log.
    #[error(
        "signed under certificate {certificate}, which is neither a root of the authority nor in its log"
    )]
    UnknownAuthor {
        /// The certificate named by the header.
        certificate: CertificateId,
    },
    /// The author's certificate was not in force at the instant of issue.
    #[error("issued at {at}, when certificate {certificate} was not in force")]
    NotInForce {
        /// The author's certificate.
        certificate: CertificateId,
        /// When the entry was issued.
        at: Instant,
    },
    /// Whoever signed may not make such an entry alone, or at all. REG-12.
    #[error("a {kind} entry takes {what}")]
    NotEntitled {
        /// Who signed.
        certificate: CertificateId,
        /// When the entry was issued.
        at: Instant,
        /// What it is.
        kind: Kind,
        /// Whose signature it takes.
        what: &'static str,
    },
    /// Fewer roots have signed than the anchors demand.
    #[error("{signed} of the authority's roots have signed, {needed} must")]
    TooFewRoots {
        /// The one that signed the entry.
        certificate: CertificateId,
        /// When the entry was issued.
        at: Instant,
        /// How many have.
        signed: usize,
        /// How many must.
        needed: usize,
    },
    /// A re-association takes effect before its delay is over. REG-14.
    #[error("takes effect at {effective_at}, less than 72 hours after it was issued at {issued_at}")]
    TooSoon {
        /// The effect.
        effective_at: Instant,
        /// The issue.
        issued_at: Instant,
    },
    /// An old key would sign beside its successor, or an endpoint stand, for longer than 90 days.
    #[error("until {until}, which is not within 90 days after the effect")]
    Until {
        /// The entry's end.
        until: Instant,
    },
    /// The index is not that of a re-association of the subject that is still to take effect.
    #[error("entry {index} is not a re-association of this subject that is still to take effect")]
    NothingToVeto {
        /// As written.
        index: u64,
    },
    /// It publishes nothing: not a checkpoint of this log under the policy's quorum. REG-22.
    #[error("nothing is published: {what}")]
    NotPublished {
        /// Why.
        what: String,
    },
    /// The subject is not suspended.
    #[error("the subject is not suspended")]
    NotSuspended,
    /// The subject is suspended already.
    #[error("the subject is suspended already")]
    SuspendedAlready,
    /// The certificate was not issued by the authority that the entry names, or that one is not believed, or may not issue.
    #[error(
        "certificate {certificate} was not issued by a certificate authority {issuer} that this log believes"
    )]
    NotIssued {
        /// The certificate.
        certificate: CertificateId,
        /// The authority that the entry names.
        issuer: CertificateId,
    },
    /// The entry names another log or index than the one it is given for. REG-6.
    #[error("the entry belongs to index {index} of {origin}")]
    Elsewhere {
        /// The log that it names.
        origin: String,
        /// The index that it names.
        index: u64,
    },
    /// The header's `iat` is not the second of `issued_at`.
    #[error("issued at {issued_at}, but signed at {signed_at}")]
    SignedAtOther {
        /// The entry's date.
        issued_at: Instant,
        /// The header's.
        signed_at: Instant,
    },
    /// Issued before the previous entry.
    #[error("issued at {issued_at}, before the previous entry, of {previous}")]
    IssuedEarlier {
        /// The entry's date.
        issued_at: Instant,
        /// The previous entry's.
        previous: Instant,
    },
    /// Takes effect before it was issued: the past is changed by no entry. REG-8.
    #[error("takes effect at {effective_at}, before it was issued at {issued_at}")]
    Retroactive {
        /// The effect.
        effective_at: Instant,
        /// The issue.
        issued_at: Instant,
    },
    /// The genesis is the first entry and no other.
    #[error("a {kind} at index {index}: the genesis comes first, and once")]
    Genesis {
        /// What it is.
        kind: Kind,
        /// Where.
        index: u64,
    },
    /// The genesis contradicts the anchors.
    #[error("the genesis states another profession or test mark than the anchors")]
    NotAsAnchored,
    /// A subject is missing, or given in the genesis.
    #[error("an entry has a subject, the genesis has none")]
    Subject,
    /// `prev` is not the subject's last entry.
    #[error("the subject's last entry is {expected:?}, the entry names {found:?}")]
    Prev {
        /// Index of the subject's last entry in this log.
        expected: Option<u64>,
        /// The entry's `prev`.
        found: Option<u64>,
    },
    /// The subject belongs to another authority's log.
    #[error("{subject} belongs to another log")]
    ForeignSubject {
        /// Whom.
        subject: SubjectId,
    },
    /// The subject is something else: an organisation, a node and a person never turn into each other.
    #[error("{subject} is known as something other than this {kind} needs")]
    SubjectKind {
        /// Whom.
        subject: SubjectId,
        /// What the entry states.
        kind: Kind,
    },
    /// The authority does not enrol such organisations.
    #[error("an authority for a {profession} cannot enrol a {kind}")]
    Profession {
        /// The authority's.
        profession: OrganisationKind,
        /// The entry's.
        kind: OrganisationKind,
    },
    /// The authority does not enrol such persons.
    #[error("this authority cannot enrol {subject} as {role}")]
    RoleOutsideProfession {
        /// Whom.
        subject: SubjectId,
        /// As what.
        role: Role,
    },
    /// The node's organisation is not enrolled in this log.
    #[error("organisation {organisation} is not enrolled in this log")]
    UnknownOrganisation {
        /// Which.
        organisation: SubjectId,
    },
    /// The home node is known in this log, as something else than a node.
    #[error("{node} is not a node")]
    NotANode {
        /// Which.
        node: SubjectId,
    },
    /// The certificate that the entry enrols is not beside it, or one is beside an entry that enrols none.
    #[error("the certificate beside the leaf is missing or not called for")]
    CertificateBeside,
    /// The certificate cannot be read, or its dates are not a period.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The certificate beside the leaf is not the one that the entry names.
    #[error("the certificate beside the leaf is {found}, the entry names {named}")]
    OtherCertificate {
        /// What the entry says.
        named: CertificateId,
        /// What was given.
        found: CertificateId,
    },
    /// The certificate's key is not the one that the entry names, or does not fit its algorithm.
    #[error("the key of certificate {certificate} is not the one that the entry describes")]
    OtherKey {
        /// The certificate.
        certificate: CertificateId,
    },
    /// The key belongs to somebody else already, in whichever log. REG-7.
    #[error("a key of this entry belongs to {holder}")]
    KeyTaken {
        /// Who holds it; absent for an authority's root.
        holder: Holder,
    },
    /// A revoked certificate is never enrolled again.
    #[error("certificate {certificate} is revoked")]
    Revoked {
        /// Which.
        certificate: CertificateId,
        /// When the entry was issued.
        at: Instant,
    },
    /// As many entries as there may be are about the subject. REG-24.
    #[error("{} entries are about {subject}, and no more may be", limits::SUBJECT_ENTRIES)]
    TooManyEntries {
        /// Whom.
        subject: SubjectId,
    },
    /// The revocation names a certificate that this log never enrolled for that subject.
    #[error("this log never enrolled certificate {certificate} for that subject")]
    NotEnrolled {
        /// Which.
        certificate: CertificateId,
    },
    /// `invalid_since` is not before the effect of the revocation.
    #[error("contested since {since}, which is not before the revocation's effect")]
    InvalidSince {
        /// The entry's `invalid_since`.
        since: Instant,
    },
    /// The policy in force is as new, or newer. REG-27.
    #[error("policy {number} does not follow policy {in_force}, which is in force")]
    OldPolicy {
        /// That of the entry.
        number: u64,
        /// That of the log.
        in_force: u64,
    },
    /// The log does not go on so under another key. REG-30.
    #[error("the log does not go on so: {what}")]
    NotContinued {
        /// Why.
        what: &'static str,
    },
    /// The log goes on otherwise than what is held of it from some entry on, which is to give way. REG-31.
    #[error(
        "entry {index} goes on in another history of {origin} than the one held here, of which nothing stays but what is published"
    )]
    OtherHistory {
        /// The log.
        origin: String,
        /// The entry.
        index: u64,
    },
    /// The root that it states is not that of the log's state. REG-28.
    #[error("it states another root than the entries before it come to, {found}")]
    OtherState {
        /// What they come to.
        found: Digest,
    },
    /// As many subjects as may stand together in the log's state do. REG-28.
    #[error("{BUCKET_ITEMS} other subjects stand where {subject} would: draw another id")]
    Crowded {
        /// The subject.
        subject: SubjectId,
    },
    /// A co-signature is about another entry, by the wrong key, given twice or out of place.
    #[error("co-signature {number}: {what}")]
    CoSignature {
        /// Which, from 0.
        number: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// To whom a key belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// An authority: the key is a root.
    Root,
    /// Somebody in a log.
    Subject(SubjectId),
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root => f.write_str("an authority"),
            Self::Subject(subject) => write!(f, "{subject}"),
        }
    }
}

impl From<Error> for Inadmissible {
    /// What decoding an entry can say.
    fn from(error: Error) -> Self {
        match error {
            Error::Malformed(malformed) => Self::Malformed(malformed),
            Error::Incompatible(incompatible) => Self::Incompatible(incompatible),
            Error::Untrusted(untrusted) => Self::Signature(untrusted),
            Error::Refused(_) => Self::Malformed(Malformed::bad_value()),
        }
    }
}

impl From<Inadmissible> for Error {
    /// The protocol's family and, through it, the wire code. SPEC §11.
    fn from(inadmissible: Inadmissible) -> Self {
        use Inadmissible as I;
        let contradiction = |what| Untrusted::HeadMismatch { what }.into();
        match inadmissible {
            I::Malformed(malformed) => malformed.into(),
            I::Incompatible(incompatible) => incompatible.into(),
            I::Signature(untrusted) => untrusted.into(),
            I::UnknownAuthor { certificate } => Untrusted::UnknownSigner { certificate }.into(),
            I::NotInForce { certificate, at } => Untrusted::SignerInvalid {
                certificate,
                at,
                reason: "its author's certificate was not in force",
            }
            .into(),
            I::NotEntitled {
                certificate,
                at,
                what,
                ..
            } => Untrusted::SignerInvalid {
                certificate,
                at,
                reason: what,
            }
            .into(),
            I::TooFewRoots { certificate, at, .. } => Untrusted::SignerInvalid {
                certificate,
                at,
                reason: "too few of the authority's roots have signed",
            }
            .into(),
            I::NothingToVeto { .. } => contradiction("no such re-association is still to take effect"),
            I::NotPublished { .. } => contradiction("not a checkpoint of this log under the policy's quorum"),
            I::OtherState { .. } => contradiction("not the root of what the entries before it come to"),
            I::NotContinued { what } => contradiction(what),
            I::OtherHistory { .. } => {
                contradiction("the log goes on in another history than the one held here")
            }
            I::OldPolicy { .. } => contradiction("a policy as new is in force"),
            I::NotSuspended => contradiction("the subject is not suspended"),
            I::SuspendedAlready => contradiction("the subject is suspended already"),
            I::NotIssued { certificate, .. } => Untrusted::UnknownSigner { certificate }.into(),
            I::Revoked { certificate, at } => Untrusted::SignerInvalid {
                certificate,
                at,
                reason: "revoked before it was enrolled again",
            }
            .into(),
            I::RoleOutsideProfession { subject, role } => Untrusted::RoleNotHeld { subject, role }.into(),
            I::NotEnrolled { certificate } => Untrusted::UnknownSigner { certificate }.into(),
            I::Subject
            | I::CertificateBeside
            | I::Certificate(_)
            | I::OtherCertificate { .. }
            | I::OtherKey { .. }
            | I::Retroactive { .. }
            | I::TooSoon { .. }
            | I::Until { .. }
            | I::SignedAtOther { .. }
            | I::InvalidSince { .. }
            | I::TooManyEntries { .. }
            | I::Crowded { .. }
            | I::CoSignature { .. } => Malformed::bad_value().into(),
            I::UnknownAuthority { .. } => contradiction("no anchor names this authority"),
            I::WrongIndex { .. } => contradiction("an earlier entry of this log is missing"),
            I::Rewritten { .. } => contradiction("another leaf is known at this index"),
            I::Elsewhere { .. } => contradiction("the entry belongs to another place"),
            I::IssuedEarlier { .. } => contradiction("issued before the previous entry"),
            I::Genesis { .. } => contradiction("the genesis comes first, and once"),
            I::NotAsAnchored => contradiction("the genesis contradicts the anchors"),
            I::Prev { .. } => contradiction("prev is not the subject's last entry"),
            I::ForeignSubject { .. } => contradiction("the subject belongs to another log"),
            I::SubjectKind { .. } => contradiction("the subject is something else"),
            I::Profession { .. } => contradiction("outside the authority's profession"),
            I::UnknownOrganisation { .. } => contradiction("the organisation is not enrolled"),
            I::NotANode { .. } => contradiction("the home node is not a node"),
            I::KeyTaken { .. } => contradiction("the key belongs to somebody else"),
        }
    }
}
