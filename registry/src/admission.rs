//! Admission: which entry may come next in a log. SPEC §9.3, REG-6 to REG-19.
//!
//! Every replica applies every rule to every leaf, whoever sent it. The rules look at the anchors and at entries
//! already admitted, never at a clock.

use std::sync::Arc;

use basoche_protocol::envelope::Typ;
use basoche_protocol::id::{CertificateId, SubjectId};
use basoche_protocol::jose::VerifyingKey;
use basoche_protocol::role::{OrganisationKind, Role};
use basoche_protocol::time::Instant;
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_protocol::wire::limits;

use crate::author::{Author, Cosigners};
use crate::certificate::{Certificate, CertificateError};
use crate::entry::{Content, DELAY, Entry, KeyRecord, Kind, OVERLAP};
use crate::held::Log;
use crate::inadmissible::{Holder, Inadmissible};
use crate::known::Known;
use crate::leaf::Leaf;
use crate::published::Seen;
use crate::read::ReadLeaf;
use crate::record::Subject;
use crate::shelf::kind;
use crate::state::State;

/// A leaf that may be appended. Only [`judge`] makes one.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) entry: Entry,
    /// The certificate and key that it enrols.
    pub(crate) enrolled: Option<(Certificate, Arc<VerifyingKey>)>,
    /// The officer who answers alone for a revocation.
    pub(crate) officer: Option<CertificateId>,
    /// What it publishes.
    pub(crate) seen: Option<Seen>,
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
pub(crate) fn judge(known: &Known, log: &Log, next: ReadLeaf) -> Result<Admitted, Inadmissible> {
    let leaf = next.leaf;
    let (author, key) = Author::find(known, log, &leaf)?;
    let signature = leaf.envelope().check(Typ::Registry, &key);
    signature.map_err(Inadmissible::Signature)?;
    let entry = next.entry?;
    check_place(log, &entry)?;
    check_dates(log, &entry, &leaf)?;
    author.check_in_force(known, &entry)?;
    check_subject(known, log, &entry)?;
    check_content(known, log, &entry)?;
    let seen = published(known, log, &entry)?;
    let enrolled = enrolled(known, &entry, next.certificate, next.key)?;
    let key = enrolled
        .as_ref()
        .map(|(certificate, key)| (certificate.id(), key));
    let cosigners = Cosigners::check(known, log, &entry, &leaf, key)?;
    let officer = author.check_right(known, log, &entry, &cosigners)?;
    Ok(Admitted {
        entry,
        enrolled,
        officer,
        seen,
    })
}

/// Whether `next`, which does not fit at `index` of what is held of `log`, is a continuation before which that gives way: it stands
/// there, other leaves stand there or before it, most authorities
/// agree to it, the key before it is proved to have signed two histories, and all that is published here stays. REG-31.
pub(crate) fn gives_way(
    known: &Known,
    log: &Log,
    index: u64,
    next: &RegistryLeaf,
) -> Result<bool, Inadmissible> {
    let leaf = Leaf::decode(&next.leaf)?;
    let entry = Entry::decode(leaf.envelope().payload())?;
    let (Content::Continuation(next), Some(published)) =
        (&entry.content, known.published.get(log.authority.origin()))
    else {
        return Ok(false);
    };
    let (author, key) = Author::find(known, log, &leaf)?;
    let signature = leaf.envelope().check(Typ::Registry, &key);
    signature.map_err(Inadmissible::Signature)?;
    author.check_in_force(known, &entry)?;
    published.check_continuation(next)?;
    let cosigners = Cosigners::check(known, log, &entry, &leaf, None)?;
    author.check_right(known, log, &entry, &cosigners)?;
    let stands_there = entry.origin == log.authority.origin() && entry.index == index;
    let others = index < log.size() || log.tree.root() != *next.root.as_bytes();
    Ok(stands_there && others && index >= published.size() && published.is_proved(next))
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
    if let Some(previous) = log.issued_at.filter(|last| issued_at < *last) {
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
    if entry.subject.is_none() != kind.is_of_the_log() {
        return Err(Inadmissible::Subject);
    }
    let held = entry
        .subject
        .and_then(|subject| Some((subject, known.subject(&subject)?)));
    if let Some((subject, held)) = &held {
        let subject = *subject;
        if *held.origin != *log.authority.origin() {
            return Err(Inadmissible::ForeignSubject { subject });
        }
        if !is_about(kind, held.kind) {
            return Err(Inadmissible::SubjectKind { subject, kind });
        }
        if held.entries >= limits::SUBJECT_ENTRIES {
            return Err(Inadmissible::TooManyEntries { subject });
        }
    } else if let Some(subject) = entry.subject {
        if !begins(kind) {
            return Err(Inadmissible::SubjectKind { subject, kind });
        }
        let state = known.states.get(log.authority.origin());
        if state.is_some_and(|state| !state.has_room(kind::SUBJECT, subject.as_bytes())) {
            return Err(Inadmissible::Crowded { subject });
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

/// Whether an entry of this kind may be the first about its subject.
const fn begins(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Organisation | Kind::Node | Kind::Enrolment | Kind::Officer | Kind::CertificateAuthority
    )
}

/// Whether an entry of this kind may be about somebody who began as `subject`.
fn is_about(kind: Kind, subject: Kind) -> bool {
    match kind {
        Kind::Revocation => subject != Kind::CertificateAuthority,
        Kind::Suspension | Kind::Lifting => matches!(subject, Kind::Enrolment | Kind::Node | Kind::Officer),
        Kind::Renewal | Kind::Reassociation | Kind::Veto | Kind::Attribute | Kind::Delegation => {
            subject == Kind::Enrolment
        }
        Kind::Endpoint => subject == Kind::Node,
        Kind::Retirement => subject == Kind::CertificateAuthority,
        Kind::Genesis
        | Kind::Organisation
        | Kind::Node
        | Kind::Enrolment
        | Kind::Officer
        | Kind::CertificateAuthority
        | Kind::Publication
        | Kind::PolicyChange
        | Kind::StateRoot
        | Kind::Continuation => kind == subject,
    }
}

fn check_content(known: &Known, log: &Log, entry: &Entry) -> Result<(), Inadmissible> {
    let profession = log.authority.profession();
    let kind_in_log = |subject: &SubjectId| {
        let held = known.subject(subject)?;
        (*held.origin == *log.authority.origin()).then_some(held.kind)
    };
    match &entry.content {
        Content::Genesis(genesis) => {
            if *genesis != log.authority.genesis() {
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
        Content::Attribute(attribute) => {
            check_roles(profession, entry, &attribute.roles)?;
            if let Some(until) = attribute.until.filter(|until| *until < entry.effective_at) {
                return Err(Inadmissible::Until { until });
            }
        }
        // Experts are a company's, and nobody else has anything to delegate to.
        Content::Delegation(delegation) => {
            if let Some(subject) = entry
                .subject
                .filter(|_| profession != OrganisationKind::ExpertCompany)
            {
                let role = Role::Party;
                return Err(Inadmissible::RoleOutsideProfession { subject, role });
            }
            let until = delegation.granted.map(|granted| granted.until);
            if let Some(until) = until.filter(|until| *until < entry.effective_at) {
                return Err(Inadmissible::Until { until });
            }
        }
        Content::Enrolment(enrolment) => {
            check_roles(profession, entry, &enrolment.roles)?;
            // The node of another log may come later: only this log's own statements can be contradicted.
            let node = enrolment.node;
            if kind_in_log(&node).is_some_and(|kind| kind != Kind::Node) || entry.subject == Some(node) {
                return Err(Inadmissible::NotANode { node });
            }
        }
        Content::Revocation(revocation) => {
            let certificate = revocation.certificate;
            let holder = known.certificate(&certificate).map(|held| held.subject.id);
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
        Content::Renewal(renewal) => {
            let certificate = renewal.replaces;
            let held = known.certificate(&certificate);
            if held.map(|held| held.subject.id) != entry.subject {
                return Err(Inadmissible::NotEnrolled { certificate });
            }
            check_until(entry, renewal.until)?;
        }
        Content::Endpoint(endpoint) => check_until(entry, endpoint.until)?,
        Content::Reassociation(_) => {
            if entry.effective_at < entry.issued_at + DELAY {
                let (effective_at, issued_at) = (entry.effective_at, entry.issued_at);
                return Err(Inadmissible::TooSoon {
                    effective_at,
                    issued_at,
                });
            }
        }
        Content::Veto(veto) => {
            let about = entry.subject.and_then(|subject| known.subject(&subject));
            let open = about.and_then(|about| about.reassociated_by(veto.entry));
            if open.is_none_or(|effective_at| effective_at <= entry.issued_at) {
                return Err(Inadmissible::NothingToVeto { index: veto.entry });
            }
        }
        Content::Lifting(_) => {
            let suspended = entry.subject.is_some_and(|subject| {
                let known = known.subject(&subject);
                known.is_some_and(|known| known.suspensions.last().is_some_and(|last| last.lifted.is_none()))
            });
            if !suspended {
                return Err(Inadmissible::NotSuspended);
            }
        }
        Content::Suspension(_) => {
            let known = entry.subject.and_then(|subject| known.subject(&subject));
            let open = |known: &Subject| known.suspensions.last().is_some_and(|last| last.lifted.is_none());
            if known.is_some_and(|known| open(&known)) {
                return Err(Inadmissible::SuspendedAlready);
            }
        }
        Content::Retirement(retirement) => {
            let certificate = retirement.certificate;
            let issuer = known.issuer(&certificate).map(|issuer| &issuer.stated);
            if issuer.map(|issuer| issuer.subject) != entry.subject {
                return Err(Inadmissible::NotEnrolled { certificate });
            }
            if issuer.is_some_and(|issuer| issuer.retired.is_some()) {
                return Err(Inadmissible::Revoked {
                    certificate,
                    at: entry.issued_at,
                });
            }
            if let Some(since) = retirement
                .invalid_since
                .filter(|since| *since >= entry.effective_at)
            {
                return Err(Inadmissible::InvalidSince { since });
            }
        }
        Content::PolicyChange(change) => {
            let published = known.published.get(log.authority.origin());
            let published = published.ok_or_else(|| Inadmissible::NotPublished {
                what: "the policy of the anchors asks for no witness".into(),
            })?;
            let (in_force, _) = published.policy();
            if change.number <= in_force {
                let number = change.number;
                return Err(Inadmissible::OldPolicy { number, in_force });
            }
        }
        Content::Continuation(next) => {
            let published = known.published.get(log.authority.origin());
            let published = published.ok_or_else(|| Inadmissible::NotPublished {
                what: "the policy of the anchors asks for no witness".into(),
            })?;
            published.check_continuation(next)?;
            if log.tree.root() != *next.root.as_bytes() {
                let what = "it goes on from other entries than those before it";
                return Err(Inadmissible::NotContinued { what });
            }
        }
        Content::StateRoot(stated) => {
            let state = known.states.get(log.authority.origin());
            if let Some(found) = state.map(State::root).filter(|found| *found != stated.root) {
                return Err(Inadmissible::OtherState { found });
            }
        }
        // What they may say is said by who may say it, and by the key or the checkpoint in them.
        Content::Officer(_) | Content::CertificateAuthority(_) | Content::Publication(_) => {}
    }
    Ok(())
}

/// An authority gives the roles of its own profession. REG-7.
fn check_roles(profession: OrganisationKind, entry: &Entry, roles: &[Role]) -> Result<(), Inadmissible> {
    let foreign = |role: &&Role| !roles_of(profession).contains(role);
    match (roles.iter().find(foreign), entry.subject) {
        (Some(role), Some(subject)) => Err(Inadmissible::RoleOutsideProfession { subject, role: *role }),
        _ => Ok(()),
    }
}

/// What the entry publishes: where the policy asks for witnesses, and they have seen it.
fn published(known: &Known, log: &Log, entry: &Entry) -> Result<Option<Seen>, Inadmissible> {
    let Content::Publication(publication) = &entry.content else {
        return Ok(None);
    };
    let published = known.published.get(log.authority.origin());
    let published = published.ok_or_else(|| Inadmissible::NotPublished {
        what: "the policy of the anchors asks for no witness".into(),
    })?;
    published.judge(publication, &log.tree, entry.issued_at).map(Some)
}

/// What overlaps or stands for a while ends within [`OVERLAP`] of its effect, and not before it.
fn check_until(entry: &Entry, until: Instant) -> Result<(), Inadmissible> {
    if (entry.effective_at..=entry.effective_at + OVERLAP).contains(&until) {
        return Ok(());
    }
    Err(Inadmissible::Until { until })
}

/// The certificate beside the leaf is the one that the entry names, and its keys are nobody else's.
fn enrolled(
    known: &Known,
    entry: &Entry,
    beside: Option<Result<Certificate, CertificateError>>,
    key: Option<Arc<VerifyingKey>>,
) -> Result<Option<(Certificate, Arc<VerifyingKey>)>, Inadmissible> {
    for spki in entry.content.spkis() {
        let Some(holder) = known.holder(&spki) else {
            continue;
        };
        if Some(holder) != entry.subject.map(Holder::Subject) {
            return Err(Inadmissible::KeyTaken { holder });
        }
    }
    let (record, certificate) = match (entry.content.key(), beside) {
        (Some(record), Some(certificate)) => (record, certificate?),
        (None, None) => return Ok(None),
        _ => return Err(Inadmissible::CertificateBeside),
    };
    check_described(record, &certificate)?;
    let id = certificate.id();
    let key = key.ok_or(Inadmissible::OtherKey { certificate: id })?;
    check_issue(known, entry, &certificate)?;
    let held = known.certificate(&certificate.id());
    if held.is_some_and(|held| held.is_revoked()) {
        return Err(Inadmissible::Revoked {
            certificate: certificate.id(),
            at: entry.issued_at,
        });
    }
    Ok(Some((certificate, key)))
}

/// `record` describes `certificate`, and the key in it.
fn check_described(record: &KeyRecord, certificate: &Certificate) -> Result<(), Inadmissible> {
    let found = certificate.id();
    if found != record.certificate {
        let named = record.certificate;
        return Err(Inadmissible::OtherCertificate { named, found });
    }
    if certificate.spki_sha256() != record.spki_sha256 {
        return Err(Inadmissible::OtherKey { certificate: found });
    }
    Ok(())
}

/// The certificate authority that the entry names has issued the certificate and is believed; one that is stated may
/// issue.
fn check_issue(known: &Known, entry: &Entry, certificate: &Certificate) -> Result<(), Inadmissible> {
    let not_issued = |issuer| {
        Err(Inadmissible::NotIssued {
            certificate: certificate.id(),
            issuer,
        })
    };
    if matches!(entry.content, Content::CertificateAuthority(_)) && !certificate.may_issue() {
        return not_issued(certificate.id());
    }
    let Some(named) = entry.content.issuer() else {
        return Ok(());
    };
    let issuer = known.issuer(named);
    let issuer = issuer.filter(|issuer| *issuer.stated.origin == *entry.origin);
    let issued = issuer.filter(|issuer| known.is_believed(issuer, entry.issued_at));
    if !issued.is_some_and(|issuer| certificate.is_issued_by(&issuer.certificate, &issuer.key)) {
        return not_issued(*named);
    }
    Ok(())
}
