//! Admission: which entry may come next in a log. SPEC §9.3, REG-6 and REG-7.
//!
//! Every replica applies every rule to every leaf, whoever sent it. The rules look at the anchors and at entries
//! already admitted, never at a clock.

use std::sync::Arc;

use basoche_protocol::envelope::Typ;
use basoche_protocol::id::{CertificateId, SubjectId};
use basoche_protocol::jose::VerifyingKey;
use basoche_protocol::role::{OrganisationKind, Role};
use basoche_protocol::wire::frame::RegistryLeaf;

use crate::certificate::Certificate;
use crate::entry::{Content, Entry, KeyRecord, Kind};
use crate::inadmissible::{Holder, Inadmissible};
use crate::known::Known;
use crate::leaf::{Capacity, Leaf};
use crate::replica::Log;

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
