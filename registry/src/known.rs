//! What the entries of all logs say, by whom it is about, and what a certificate is worth at an instant. SPEC §9.4.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use basoche_protocol::directory::Signer;
use basoche_protocol::id::{CertificateId, Digest, SubjectId};
use basoche_protocol::jose::VerifyingKey;
use basoche_protocol::role::{Assurance, Role};
use basoche_protocol::time::{Instant, Span};

use crate::admission::Admitted;
use crate::certificate::Certificate;
use crate::entry::{Content, Entry, Kind, Officer};
use crate::inadmissible::Holder;
use crate::published::{Effect, Published};

/// What the entries of all logs say, by whom it is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) subjects: BTreeMap<SubjectId, Subject>,
    pub(crate) certificates: BTreeMap<CertificateId, Held>,
    /// By SHA-256 of the SubjectPublicKeyInfo: the key of a seal, of a person, of encryption or of TLS.
    pub(crate) keys: BTreeMap<Digest, Holder>,
    /// Certificate authorities, by their certificate.
    pub(crate) issuers: BTreeMap<CertificateId, Issuer>,
    /// How far each log is published whose witnesses the policy asks for.
    pub(crate) published: BTreeMap<Arc<str>, Published>,
}

/// An organisation, a node, a person, an officer or a certificate authority.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) origin: Arc<str>,
    /// The kind of the entry that began it.
    pub(crate) kind: Kind,
    /// Index of its last entry, of whatever kind.
    pub(crate) last: u64,
    /// Indexes of the entries that state what it is: of its own kind, and for a person renewals and re-associations
    /// that were not vetoed; never empty.
    pub(crate) stated: Vec<usize>,
    /// Indexes of the endpoints of a node.
    pub(crate) endpoints: Vec<usize>,
    pub(crate) certificates: Vec<CertificateId>,
    pub(crate) suspensions: Vec<Suspended>,
}

/// From when on a subject is suspended, and the entry that lifts it, with its effect; the last may have none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suspended {
    from: Instant,
    pub(crate) lifted: Option<(u64, Instant)>,
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
    /// The certificate authority that issued it, if it has one.
    issuer: Option<CertificateId>,
    /// In the order of the log; the last one in effect counts.
    grants: Vec<Grant>,
    ends: Vec<End>,
    pub(crate) office: Option<Office>,
}

#[derive(Clone, Debug)]
struct Grant {
    /// The entry that gave it.
    by: u64,
    effective_at: Instant,
    signer: Signer,
}

/// What ends a certificate: a revocation, or another key in its place.
#[derive(Clone, Debug)]
struct End {
    by: u64,
    effective_at: Instant,
    invalid_since: Option<Instant>,
    is_revocation: bool,
    why: &'static str,
}

/// What the key of an officer may do.
#[derive(Clone, Debug)]
pub(crate) struct Office {
    until: Instant,
    revocations_per_hour: u64,
    /// When it withdrew certificates by itself lately, no more than its quota.
    revoked: VecDeque<Instant>,
}

/// A certificate authority that a log states.
#[derive(Clone, Debug)]
pub(crate) struct Issuer {
    pub(crate) origin: Arc<str>,
    pub(crate) subject: SubjectId,
    pub(crate) certificate: Certificate,
    pub(crate) key: Arc<VerifyingKey>,
    /// The entry that states it.
    by: u64,
    effective_at: Instant,
    until: Instant,
    /// From when on it is not believed, and since when that is doubted.
    pub(crate) retired: Option<(Instant, Option<Instant>)>,
}

impl Office {
    /// Whether it may withdraw one more certificate by itself at `at`.
    pub(crate) fn may_revoke(&self, at: Instant) -> bool {
        let lately = self.revoked.iter().filter(|when| at.since(**when) < HOUR);
        (lately.count() as u64) < self.revocations_per_hour
    }
}

const HOUR: Span = Span::from_seconds(3600);

impl Known {
    /// Takes in what `admitted`, entry `index` of log `origin`, states. Cannot fail.
    pub(crate) fn learn(&mut self, origin: Arc<str>, index: usize, admitted: &Admitted) {
        let Admitted {
            entry,
            enrolled,
            officer,
            seen,
        } = admitted;
        let Some(subject) = entry.subject else {
            if let Some(published) = self.published.get_mut(&origin) {
                match seen {
                    Some(seen) => published.learn(seen),
                    None => published.begin(entry.issued_at),
                }
            }
            return;
        };
        let kind = entry.content.kind();
        let about = self.subjects.entry(subject).or_insert_with(|| Subject {
            origin: Arc::clone(&origin),
            kind,
            last: entry.index,
            stated: Vec::new(),
            endpoints: Vec::new(),
            certificates: Vec::new(),
            suspensions: Vec::new(),
        });
        about.last = entry.index;
        let states = kind == about.kind || matches!(kind, Kind::Renewal | Kind::Reassociation);
        if states {
            about.stated.push(index);
        }
        for spki in entry.content.spkis() {
            self.keys.insert(spki, Holder::Subject(subject));
        }
        match &entry.content {
            Content::Revocation(revocation) => {
                let end = End {
                    by: entry.index,
                    effective_at: entry.effective_at,
                    invalid_since: revocation.invalid_since,
                    is_revocation: true,
                    why: revocation.reason.revoked(),
                };
                self.end(&revocation.certificate, end);
                if let Some(officer) = officer.and_then(|officer| self.certificates.get_mut(&officer)) {
                    officer.has_revoked(entry.issued_at);
                }
            }
            Content::Suspension(_) => about.suspensions.push(Suspended {
                from: entry.effective_at,
                lifted: None,
            }),
            Content::Lifting(_) => {
                if let Some(last) = about.suspensions.last_mut() {
                    last.lifted = Some((entry.index, entry.effective_at));
                }
            }
            Content::Endpoint(_) => about.endpoints.push(index),
            Content::Veto(veto) => {
                about.stated.retain(|stated| *stated as u64 != veto.entry);
                for certificate in about.certificates.clone() {
                    if let Some(held) = self.certificates.get_mut(&certificate) {
                        held.grants.retain(|grant| grant.by != veto.entry);
                        held.ends.retain(|end| end.by != veto.entry);
                    }
                }
            }
            Content::Renewal(renewal) => self.end(
                &renewal.replaces,
                End {
                    by: entry.index,
                    effective_at: renewal.until,
                    invalid_since: None,
                    is_revocation: false,
                    why: "its holder has renewed it",
                },
            ),
            Content::Reassociation(_) => {
                for certificate in about.certificates.clone() {
                    let end = End {
                        by: entry.index,
                        effective_at: entry.effective_at,
                        invalid_since: None,
                        is_revocation: false,
                        why: "its holder has been given another key",
                    };
                    self.end(&certificate, end);
                }
            }
            Content::Retirement(retirement) => {
                if let Some(issuer) = self.issuers.get_mut(&retirement.certificate) {
                    issuer.retired = Some((entry.effective_at, retirement.invalid_since));
                }
            }
            Content::Genesis(_)
            | Content::Organisation(_)
            | Content::Node(_)
            | Content::Enrolment(_)
            | Content::Officer(_)
            | Content::CertificateAuthority(_)
            | Content::Publication(_) => {}
        }
        if let Some((certificate, key)) = enrolled {
            self.grant(&origin, index, entry, subject, certificate, key);
        }
    }

    fn end(&mut self, certificate: &CertificateId, end: End) {
        if let Some(held) = self.certificates.get_mut(certificate) {
            held.ends.push(end);
        }
    }

    /// The certificate that `entry` brings is held, and means what the entry says from its effect on.
    fn grant(
        &mut self,
        origin: &Arc<str>,
        index: usize,
        entry: &Entry,
        subject: SubjectId,
        certificate: &Certificate,
        key: &Arc<VerifyingKey>,
    ) {
        let mut office = None;
        let (node, roles, assurance) = match &entry.content {
            Content::Node(_) => (subject, vec![Role::Node], Assurance::Seal),
            Content::Enrolment(enrolment) => (enrolment.node, enrolment.roles.clone(), enrolment.assurance),
            // What the person is does not change with the key.
            Content::Renewal(renewal) => match self.latest_signer(&renewal.replaces) {
                Some(old) => (old.node, old.roles.clone(), old.assurance),
                None => return,
            },
            Content::Reassociation(reassociation) => match self.latest_of(&subject) {
                Some(old) => (old.node, old.roles.clone(), reassociation.assurance),
                None => return,
            },
            // They sign entries of the registry and nothing else.
            Content::Organisation(_) => (subject, Vec::new(), Assurance::Software),
            Content::Officer(officer) => {
                office = Some(Office::new(officer));
                (subject, Vec::new(), Assurance::Software)
            }
            Content::CertificateAuthority(authority) => {
                let issuer = Issuer {
                    origin: Arc::clone(origin),
                    subject,
                    certificate: certificate.clone(),
                    key: Arc::clone(key),
                    by: entry.index,
                    effective_at: entry.effective_at,
                    until: authority.until,
                    retired: None,
                };
                self.issuers.insert(certificate.id(), issuer);
                return;
            }
            Content::Genesis(_)
            | Content::Revocation(_)
            | Content::Suspension(_)
            | Content::Lifting(_)
            | Content::Veto(_)
            | Content::Endpoint(_)
            | Content::Retirement(_)
            | Content::Publication(_) => return,
        };
        let held = self.certificates.entry(certificate.id()).or_insert_with(|| Held {
            origin: Arc::clone(origin),
            subject,
            index,
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            issuer: None,
            grants: Vec::new(),
            ends: Vec::new(),
            office: None,
        });
        // Whose it is once, it stays: enrolling it again without an issuer frees it from no retirement.
        held.issuer = held.issuer.or_else(|| entry.content.issuer().copied());
        held.office = office;
        let signer = Signer {
            subject,
            node,
            roles,
            assurance,
            key: Arc::clone(key),
        };
        held.grants.push(Grant {
            by: entry.index,
            effective_at: entry.effective_at,
            signer,
        });
        if let Some(about) = self.subjects.get_mut(&subject) {
            let known = about.certificates.contains(&certificate.id());
            about.certificates.extend((!known).then(|| certificate.id()));
        }
    }

    fn latest_signer(&self, certificate: &CertificateId) -> Option<&Signer> {
        Some(&self.certificates.get(certificate)?.grants.last()?.signer)
    }

    /// What the latest key of `subject` was given.
    fn latest_of(&self, subject: &SubjectId) -> Option<&Signer> {
        let certificates = &self.subjects.get(subject)?.certificates;
        certificates
            .iter()
            .rev()
            .find_map(|certificate| self.latest_signer(certificate))
    }

    /// From when on what entry `index` of log `origin` grants counts. What it takes away counts from `effective_at` on,
    /// whoever has seen it. REG-21.
    pub(crate) fn effect(&self, origin: &str, index: u64, effective_at: Instant) -> Effect {
        let published = self.published.get(origin);
        published.map_or(Effect::From(effective_at), |log| log.effect(index, effective_at))
    }

    /// Whether `subject` is suspended at `at`; `None` if a lifting that would end it is not published.
    fn is_suspended(&self, subject: &SubjectId, at: Instant) -> Option<bool> {
        let Some(subject) = self.subjects.get(subject) else {
            return Some(false);
        };
        let mut unsure = false;
        for Suspended { lifted, .. } in subject.suspensions.iter().filter(|one| one.from <= at) {
            let lifted =
                lifted.map(|(by, effective_at)| self.effect(&subject.origin, by, effective_at).at(at));
            match lifted {
                Some(Some(true)) => {}
                Some(None) => unsure = true,
                Some(Some(false)) | None => return Some(true),
            }
        }
        (!unsure).then_some(false)
    }

    /// Whether certificates that `issuer` issued may be enrolled at `at`.
    pub(crate) fn is_believed(&self, issuer: &Issuer, at: Instant) -> bool {
        let retired = issuer.retired.is_some_and(|(from, _)| from <= at);
        let stated = self.effect(&issuer.origin, issuer.by, issuer.effective_at).at(at);
        stated == Some(true) && at <= issuer.until && !retired
    }

    /// What the certificate may be used for at `at`, if it is valid then.
    pub(crate) fn signer_at<'a>(&self, held: &'a Held, at: Instant) -> Option<&'a Signer> {
        match self.standing(held, at) {
            Standing::Valid(signer) => Some(signer),
            Standing::Contested(..) | Standing::Invalid(_) | Standing::Undetermined(_) => None,
        }
    }

    /// What the last grant that counts at `at` says. Where it cannot be told of later ones yet whether they count, and they
    /// say something else, nothing can be told.
    fn granted<'a>(&self, held: &'a Held, at: Instant) -> Result<Option<&'a Signer>, &'static str> {
        let mut open: Option<&Signer> = None;
        for Grant {
            by,
            effective_at,
            signer,
        } in held.grants.iter().rev()
        {
            let counts = self.effect(&held.origin, *by, *effective_at).at(at);
            if counts == Some(false) {
                continue;
            }
            if open.is_some_and(|later| !says_the_same(later, signer)) {
                break;
            }
            if counts == Some(true) {
                return Ok(Some(signer));
            }
            open = Some(signer);
        }
        match open {
            Some(_) => Err("its enrolment is not published"),
            None => Ok(None),
        }
    }

    /// The rule of [`Replica::status`](crate::Replica). REG-8.
    pub(crate) fn standing<'a>(&self, held: &'a Held, at: Instant) -> Standing<'a> {
        let issuer = held.issuer.and_then(|issuer| self.issuers.get(&issuer));
        let retired = issuer.and_then(|issuer| issuer.retired);
        if let Some(end) = held.ends.iter().find(|end| end.effective_at <= at) {
            return Standing::Invalid(end.why);
        }
        if retired.is_some_and(|(from, _)| from <= at) {
            return Standing::Invalid("its certificate authority is retired");
        }
        if at < held.not_before {
            return Standing::Invalid("before the dates of the certificate");
        }
        if at > held.not_after {
            return Standing::Invalid("expired");
        }
        if held.office.as_ref().is_some_and(|office| at > office.until) {
            return Standing::Invalid("the office has ended");
        }
        match self.is_suspended(&held.subject, at) {
            Some(true) => return Standing::Invalid("suspended"),
            Some(false) => {}
            None => return Standing::Undetermined("the lifting of its suspension is not published"),
        }
        let signer = match self.granted(held, at) {
            Ok(Some(signer)) => signer,
            Ok(None) => return Standing::Invalid("not yet enrolled"),
            Err(reason) => return Standing::Undetermined(reason),
        };
        let since = held.ends.iter().filter_map(|end| end.invalid_since);
        let since = since.chain(retired.and_then(|(_, since)| since)).min();
        if since.is_some_and(|since| since <= at) {
            return Standing::Contested(signer, "declared compromised since before this instant");
        }
        Standing::Valid(signer)
    }
}

/// Whether two grants of one certificate let its holder do the same.
fn says_the_same(one: &Signer, other: &Signer) -> bool {
    (one.subject, one.node, one.assurance) == (other.subject, other.node, other.assurance)
        && one.roles == other.roles
}

impl Office {
    fn new(officer: &Officer) -> Self {
        Self {
            until: officer.until,
            revocations_per_hour: officer.revocations_per_hour,
            revoked: VecDeque::new(),
        }
    }
}

impl Held {
    /// Whether it was ever withdrawn: such a certificate is never enrolled again.
    pub(crate) fn is_revoked(&self) -> bool {
        self.ends.iter().any(|end| end.is_revocation)
    }

    /// The key, whatever it is worth.
    pub(crate) fn key(&self) -> Option<&Arc<VerifyingKey>> {
        Some(&self.grants.last()?.signer.key)
    }

    fn has_revoked(&mut self, at: Instant) {
        if let Some(office) = &mut self.office {
            office.revoked.push_back(at);
            while office.revoked.len() as u64 > office.revocations_per_hour {
                office.revoked.pop_front();
            }
        }
    }
}

/// What a known certificate is worth at an instant.
pub(crate) enum Standing<'a> {
    Valid(&'a Signer),
    Contested(&'a Signer, &'static str),
    Invalid(&'static str),
    /// A later publication will tell.
    Undetermined(&'static str),
}
