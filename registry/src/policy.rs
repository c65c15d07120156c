//! Admission: which entry may come next in a log. SPEC §9.3, REG-6 and REG-7.
//!
//! Every replica applies every rule to every leaf, whoever sent it. The rules look at the anchors and at entries
//! already admitted, never at a clock.

use std::sync::Arc;

use basoche_protocol::envelope::Typ;
use basoche_protocol::error::{Error, Incompatible, Malformed, Untrusted};
use basoche_protocol::id::{CertificateId, SubjectId};
use basoche_protocol::jose::VerifyingKey;
use basoche_protocol::role::{OrganisationKind, Role};
use basoche_protocol::time::Instant;
use basoche_protocol::wire::frame::RegistryLeaf;
use thiserror::Error;

use crate::certificate::{Certificate, CertificateError};
use crate::entry::{Content, Entry, KeyRecord, Kind};
use crate::leaf::{Capacity, Leaf};
use crate::replica::{Known, Log};

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
    /// Not signed under the authority's root.
    #[error("signed under certificate {certificate}, which is not the authority's root")]
    NotTheRoot {
        /// The certificate named by the header.
        certificate: CertificateId,
    },
    /// The root's certificate did not cover the instant of issue.
    #[error("issued at {at}, outside the dates of root certificate {certificate}")]
    RootNotInForce {
        /// The root's certificate.
        certificate: CertificateId,
        /// When the entry was issued.
        at: Instant,
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
            I::NotTheRoot { certificate } => Untrusted::UnknownSigner { certificate }.into(),
            I::RootNotInForce { certificate, at } => Untrusted::SignerInvalid {
                certificate,
                at,
                reason: "outside the dates of the root's certificate",
            }
            .into(),
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
            | I::SignedAtOther { .. }
            | I::InvalidSince { .. }
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

/// A leaf that may be appended. Only [`judge`] makes one.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) entry: Entry,
    /// The certificate and key that it enrols.
    pub(crate) enrolled: Option<(Certificate, Arc<VerifyingKey>)>,
}

/// The roles that an authority of `profession` enrols. REG-7.
pub const fn roles_of(profession: OrganisationKind) -> &'static [Role] {
    match profession {
        OrganisationKind::Court => &[Role::Judge, Role::Clerk],
        OrganisationKind::Bar => &[Role::Lawyer, Role::Party],
        OrganisationKind::ExpertCompany => &[Role::Expert],
    }
}

/// Holds the leaf that would come next in `log` to every rule.
pub(crate) fn judge(known: &Known, log: &Log, next: &RegistryLeaf) -> Result<Admitted, Inadmissible> {
    let leaf = Leaf::decode(&next.leaf)?;
    let entry = authentic(log, &leaf)?;
    check_place(log, &entry)?;
    check_dates(log, &entry, &leaf)?;
    check_subject(known, log, &entry)?;
    check_content(known, log, &entry)?;
    let enrolled = enrolled(known, &entry, &next.certificate)?;
    let key = enrolled
        .as_ref()
        .map(|(certificate, key)| (certificate.id(), &**key));
    check_cosignatures(known, log, &entry, &leaf, key)?;
    Ok(Admitted { entry, enrolled })
}

/// The entry, signed by the root.
fn authentic(log: &Log, leaf: &Leaf) -> Result<Entry, Inadmissible> {
    let envelope = leaf.envelope();
    let certificate = envelope.header().certificate;
    if certificate != log.authority.certificate().id() {
        return Err(Inadmissible::NotTheRoot { certificate });
    }
    envelope
        .check(Typ::Registry, log.authority.key())
        .map_err(Inadmissible::Signature)?;
    Ok(Entry::decode(envelope.payload())?)
}

fn check_place(log: &Log, entry: &Entry) -> Result<(), Inadmissible> {
    let (index, kind) = (entry.index, entry.content.kind());
    if entry.origin != log.authority.origin() || index != log.size() {
        let origin = entry.origin.clone();
        return Err(Inadmissible::Elsewhere { origin, index });
    }
    if (kind == Kind::Genesis) != (index == 0) {
        return Err(Inadmissible::Genesis { kind, index });
    }
    Ok(())
}

fn check_dates(log: &Log, entry: &Entry, leaf: &Leaf) -> Result<(), Inadmissible> {
    let (issued_at, effective_at) = (entry.issued_at, entry.effective_at);
    let signed_at = leaf.envelope().header().issued_at;
    if signed_at.seconds() != issued_at.seconds() {
        return Err(Inadmissible::SignedAtOther { issued_at, signed_at });
    }
    let root = log.authority.certificate();
    if !(root.not_before()..=root.not_after()).contains(&issued_at) {
        return Err(Inadmissible::RootNotInForce {
            certificate: root.id(),
            at: issued_at,
        });
    }
    if let Some(previous) = log
        .entries
        .last()
        .map(|last| last.issued_at)
        .filter(|last| issued_at < *last)
    {
        return Err(Inadmissible::IssuedEarlier { issued_at, previous });
    }
    if effective_at < issued_at {
        return Err(Inadmissible::Retroactive {
            effective_at,
            issued_at,
        });
    }
    Ok(())
}

/// The subject is this log's, and its history goes on where it ended.
fn check_subject(known: &Known, log: &Log, entry: &Entry) -> Result<(), Inadmissible> {
    let kind = entry.content.kind();
    if entry.subject.is_none() != (kind == Kind::Genesis) {
        return Err(Inadmissible::Subject);
    }
    let held = entry
        .subject
        .and_then(|subject| Some((subject, known.subjects.get(&subject)?)));
    if let Some((subject, held)) = held {
        if *held.origin != *log.authority.origin() {
            return Err(Inadmissible::ForeignSubject { subject });
        }
        if kind != Kind::Revocation && kind != held.kind {
            return Err(Inadmissible::SubjectKind { subject, kind });
        }
    }
    let expected = held.map(|(_, held)| held.last);
    if entry.prev != expected {
        return Err(Inadmissible::Prev {
            expected,
            found: entry.prev,
        });
    }
    Ok(())
}

fn check_content(known: &Known, log: &Log, entry: &Entry) -> Result<(), Inadmissible> {
    let profession = log.authority.profession();
    let kind_in_log = |subject: &SubjectId| {
        let held = known.subjects.get(subject)?;
        (*held.origin == *log.authority.origin()).then_some(held.kind)
    };
    match &entry.content {
        Content::Genesis(genesis) => {
            if genesis.profession != profession || genesis.test != log.authority.is_test() {
                return Err(Inadmissible::NotAsAnchored);
            }
        }
        Content::Organisation(organisation) => {
            let kind = organisation.kind;
            if kind != profession {
                return Err(Inadmissible::Profession { profession, kind });
            }
        }
        Content::Node(node) => {
            let organisation = node.organisation;
            if kind_in_log(&organisation) != Some(Kind::Organisation) {
                return Err(Inadmissible::UnknownOrganisation { organisation });
            }
        }
        Content::Enrolment(enrolment) => {
            let foreign = |role: &&Role| !roles_of(profession).contains(role);
            if let (Some(role), Some(subject)) = (enrolment.roles.iter().find(foreign), entry.subject) {
                return Err(Inadmissible::RoleOutsideProfession { subject, role: *role });
            }
            // The node of another log may come later: only this log's own statements can be contradicted.
            let node = enrolment.node;
            if kind_in_log(&node).is_some_and(|kind| kind != Kind::Node) || entry.subject == Some(node) {
                return Err(Inadmissible::NotANode { node });
            }
        }
        Content::Revocation(revocation) => {
            let certificate = revocation.certificate;
            let holder = known.certificates.get(&certificate).map(|held| held.subject);
            if holder.is_none() || holder != entry.subject {
                return Err(Inadmissible::NotEnrolled { certificate });
            }
            if let Some(since) = revocation
                .invalid_since
                .filter(|since| *since >= entry.effective_at)
            {
                return Err(Inadmissible::InvalidSince { since });
            }
        }
    }
    Ok(())
}

/// The certificate beside the leaf is the one that the entry names, and its keys are nobody else's.
fn enrolled(
    known: &Known,
    entry: &Entry,
    der: &[u8],
) -> Result<Option<(Certificate, Arc<VerifyingKey>)>, Inadmissible> {
    let Some(record) = entry.content.key() else {
        return if der.is_empty() {
            Ok(None)
        } else {
            Err(Inadmissible::CertificateBeside)
        };
    };
    if der.is_empty() {
        return Err(Inadmissible::CertificateBeside);
    }
    let certificate = Certificate::from_der(der)?;
    let key = described(record, &certificate)?;
    for spki in entry.content.spkis() {
        let holder = match known.keys.get(&spki) {
            Some(holder) => *holder,
            None => continue,
        };
        if Some(holder) != entry.subject.map(Holder::Subject) {
            return Err(Inadmissible::KeyTaken { holder });
        }
    }
    let held = known.certificates.get(&certificate.id());
    if held.is_some_and(|held| !held.revocations.is_empty()) {
        return Err(Inadmissible::Revoked {
            certificate: certificate.id(),
            at: entry.issued_at,
        });
    }
    Ok(Some((certificate, Arc::new(key))))
}

/// The key that `record` describes, taken from `certificate`.
fn described(record: &KeyRecord, certificate: &Certificate) -> Result<VerifyingKey, Inadmissible> {
    let found = certificate.id();
    if found != record.certificate {
        let named = record.certificate;
        return Err(Inadmissible::OtherCertificate { named, found });
    }
    let other = Inadmissible::OtherKey { certificate: found };
    if certificate.spki_sha256() != record.spki_sha256 {
        return Err(other);
    }
    VerifyingKey::from_spki(record.algorithm, certificate.spki()).map_err(|_| other)
}

/// Co-signatures are not demanded, but what is there must hold. REG-9.
fn check_cosignatures(
    known: &Known,
    log: &Log,
    entry: &Entry,
    leaf: &Leaf,
    enrolled: Option<(CertificateId, &VerifyingKey)>,
) -> Result<(), Inadmissible> {
    for (number, cosignature) in leaf.cosignatures().iter().enumerate() {
        let bad = |what| Inadmissible::CoSignature { number, what };
        let certificate = cosignature.envelope().header().certificate;
        if cosignature.target() != leaf.envelope().id() {
            return Err(bad("it is about another entry"));
        }
        let earlier = leaf.cosignatures()[..number].iter();
        if earlier
            .map(|other| other.envelope().header().certificate)
            .any(|other| other == certificate)
        {
            return Err(bad("the same key has co-signed already"));
        }
        let signature = match cosignature.capacity() {
            Capacity::Possession => {
                let key = enrolled.filter(|(id, _)| *id == certificate);
                let (_, key) =
                    key.ok_or_else(|| bad("possession is shown with the key that the entry enrols"))?;
                cosignature.envelope().check(Typ::CoSignature, key)
            }
            Capacity::SecondOfficer => {
                let held = known.certificates.get(&certificate);
                let held = held.filter(|held| *held.origin == *log.authority.origin());
                let signer = held.and_then(|held| held.signer_at(entry.issued_at));
                let signer =
                    signer.ok_or_else(|| bad("the second officer has no key in force in this log"))?;
                cosignature.envelope().check(Typ::CoSignature, &signer.key)
            }
        };
        signature.map_err(|_| bad("the signature does not verify"))?;
    }
    Ok(())
}
