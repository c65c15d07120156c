//! What the entries of all logs say, by whom it is about, and what a certificate is worth at an instant. SPEC §9.4.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use basoche_protocol::directory::Signer;
use basoche_protocol::engine::RegistryRow;
use basoche_protocol::id::{CertificateId, Digest, SubjectId};
use basoche_protocol::jose::{Algorithm, VerifyingKey};
use basoche_protocol::role::{Assurance, Role};
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::wire::codec;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::admission::Admitted;
use crate::anchor::Anchors;
use crate::certificate::Certificate;
use crate::entry::{Content, Entry, Kind, Officer, Reason};
use crate::inadmissible::Holder;
use crate::marks::Marks;
use crate::published::{Effect, Published, Seen};
use crate::shelf::{Shelf, Table, decode, kind};

/// Subjects that were read lately and stay in memory: 1 to 4 KB each.
const SUBJECTS_KEPT: usize = 8192;
/// Certificates and keys of which it stays in memory whose they are: some 100 bytes each.
const HOLDERS_KEPT: usize = 65_536;

/// What the entries of all logs say, by whom it is about.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    subjects: Table<SubjectId, Arc<Subject>>,
    /// Whose a certificate is.
    certificates: Table<CertificateId, SubjectId>,
    /// Whose a key is, by SHA-256 of its SubjectPublicKeyInfo: of a seal, of a person, of encryption or of TLS.
    keys: Table<Digest, SubjectId>,
    /// The keys of the authorities' roots.
    roots: BTreeSet<Digest>,
    /// Certificate authorities, by their certificate.
    issuers: BTreeMap<CertificateId, Issuer>,
    pub(crate) marks: Marks,
    /// Every node.
    pub(crate) nodes: BTreeSet<SubjectId>,
    /// How far each log is published whose witnesses the policy asks for.
    pub(crate) published: BTreeMap<Arc<str>, Published>,
    /// Rows for the shelf of what is in memory, since they were last asked for; `None` without a shelf.
    rows: Option<Vec<RegistryRow>>,
}

/// An organisation, a node, a person, an officer or a certificate authority. Fields are positions in the store: append only.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Subject {
    pub(crate) id: SubjectId,
    pub(crate) origin: Arc<str>,
    /// The kind of the entry that began it.
    pub(crate) kind: Kind,
    /// How many entries are about it.
    pub(crate) entries: u64,
    /// Index of the last one, of whatever kind.
    pub(crate) last: u64,
    /// The entries that state what it is: of its own kind, and for a person renewals and re-associations that were not
    /// vetoed; never empty.
    pub(crate) stated: Vec<Stated>,
    /// The endpoints of a node.
    pub(crate) endpoints: Vec<Stated>,
    certificates: Vec<Held>,
    pub(crate) suspensions: Vec<Suspended>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) attributes: Vec<Attributed>,
}

/// Roles granted or withdrawn by an entry, which may also say so of competences.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Attributed {
    pub(crate) by: Stated,
    pub(crate) granted: bool,
    roles: Vec<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Instant>,
}

/// An entry, by its index, and when what it says takes effect.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Stated {
    pub(crate) index: u64,
    pub(crate) effective_at: Instant,
}

/// From when on a subject is suspended, and the entry that lifts it; the last may have none.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Suspended {
    from: Instant,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lifted: Option<Stated>,
}

/// A certificate and what happened to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    id: CertificateId,
    /// The entry that brought it.
    pub(crate) index: u64,
    not_before: Instant,
    not_after: Instant,
    algorithm: Algorithm,
    spki: ByteBuf,
    /// In the order of the log; the last one in effect counts.
    grants: Vec<Grant>,
    ends: Vec<End>,
    /// The certificate authority that issued it, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<CertificateId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    office: Option<Office>,
    /// The key, once somebody has needed it.
    #[serde(skip)]
    key: OnceLock<Option<Arc<VerifyingKey>>>,
}

/// A certificate, with the subject whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Holding {
    pub(crate) subject: Arc<Subject>,
    place: usize,
}

/// What a certificate may be used for, from an entry on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Grant {
    /// The entry that says so.
    by: Stated,
    pub(crate) node: SubjectId,
    pub(crate) roles: Vec<Role>,
    pub(crate) assurance: Assurance,
}

/// What ends a certificate: a revocation, or another key in its place.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct End {
    by: Stated,
    why: Ending,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    invalid_since: Option<Instant>,
}

/// Why a certificate ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
enum Ending {
    Revoked(Reason),
    Renewed,
    Reassociated,
}

impl Ending {
    const fn words(self) -> &'static str {
        match self {
            Self::Revoked(reason) => reason.revoked(),
            Self::Renewed => "its holder has renewed it",
            Self::Reassociated => "its holder has been given another key",
        }
    }
}

impl From<Ending> for u16 {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Renewed => 0x100,
            Ending::Reassociated => 0x101,
            Ending::Revoked(reason) => reason.number(),
        }
    }
}

impl TryFrom<u16> for Ending {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        match number {
            0x100 => Ok(Self::Renewed),
            0x101 => Ok(Self::Reassociated),
            reason => Reason::try_from(reason).map(Self::Revoked),
        }
    }
}

/// What the key of an officer may do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Office {
    until: Instant,
    revocations_per_hour: u64,
    /// When it withdrew certificates by itself within the hour before the last one, no more than its quota.
    revoked: VecDeque<Instant>,
}

/// A certificate authority that a log states.
#[derive(Clone, Debug)]
pub(crate) struct Issuer {
    pub(crate) certificate: Certificate,
    pub(crate) key: Arc<VerifyingKey>,
    pub(crate) stated: IssuerRecord,
}

/// What is stored of a certificate authority.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct IssuerRecord {
    pub(crate) origin: Arc<str>,
    pub(crate) subject: SubjectId,
    certificate: ByteBuf,
    algorithm: Algorithm,
    /// The entry that states it.
    by: Stated,
    until: Instant,
    /// From when on it is not believed, and since when that is doubted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retired: Option<(Instant, Option<Instant>)>,
}

impl Office {
    fn new(officer: &Officer) -> Self {
        Self {
            until: officer.until,
            revocations_per_hour: officer.revocations_per_hour,
            revoked: VecDeque::new(),
        }
    }

    /// Whether it may withdraw one more certificate by itself at `at`.
    pub(crate) fn may_revoke(&self, at: Instant) -> bool {
        let lately = self.revoked.iter().filter(|when| at.since(**when) < HOUR);
        (lately.count() as u64) < self.revocations_per_hour.min(REVOCATIONS_PER_HOUR)
    }

    fn has_revoked(&mut self, at: Instant) {
        self.revoked.retain(|when| at.since(*when) < HOUR);
        self.revoked.push_back(at);
    }
}

const HOUR: Span = Span::from_seconds(3600);
/// Certificates that an officer may withdraw by itself within an hour, whatever its entry says. REG-13.
const REVOCATIONS_PER_HOUR: u64 = 4096;

impl Known {
    /// What the anchors say. With a shelf, also what that holds.
    pub(crate) fn new(anchors: &Anchors, shelf: Option<&Arc<dyn Shelf>>) -> Self {
        let authorities = anchors.authorities();
        let roots = authorities.iter().flat_map(|authority| authority.roots());
        let published = authorities.iter().filter_map(|authority| {
            let published = authority.published()?;
            Some((authority.shared_origin(), published))
        });
        let mut known = Self {
            subjects: Table::new(kind::SUBJECT, shelf, SUBJECTS_KEPT),
            certificates: Table::new(kind::CERTIFICATE, shelf, HOLDERS_KEPT),
            keys: Table::new(kind::KEY, shelf, HOLDERS_KEPT),
            roots: roots.map(|root| root.certificate.spki_sha256()).collect(),
            issuers: BTreeMap::new(),
            marks: Marks::default(),
            nodes: BTreeSet::new(),
            published: published.collect(),
            rows: shelf.map(|_| Vec::new()),
        };
        if let Some(shelf) = shelf {
            shelf.each(kind::NODE, &mut |id| known.nodes.extend(decode::<SubjectId>(&id)));
            shelf.each(kind::ISSUER, &mut |record| {
                let issuer = decode(&record).and_then(Issuer::read);
                known
                    .issuers
                    .extend(issuer.map(|issuer| (issuer.certificate.id(), issuer)));
            });
            for (origin, published) in &mut known.published {
                for seen in shelf.list(kind::STEP, origin.as_bytes()) {
                    decode(&seen).into_iter().for_each(|seen| published.learn(&seen));
                }
            }
        }
        known
    }

    pub(crate) fn subject(&self, subject: &SubjectId) -> Option<Arc<Subject>> {
        self.subjects.get(subject)
    }

    /// Every subject, in any order.
    pub(crate) fn each_subject(&self, take: impl FnMut(Arc<Subject>)) {
        self.subjects.each(|subject| subject.id, take);
    }

    /// A certificate that some log has enrolled.
    pub(crate) fn certificate(&self, certificate: &CertificateId) -> Option<Holding> {
        let subject = self.subject(&self.certificates.get(certificate)?)?;
        let place = subject
            .certificates
            .iter()
            .position(|held| held.id == *certificate)?;
        Some(Holding { subject, place })
    }

    /// Whose a key is.
    pub(crate) fn holder(&self, spki: &Digest) -> Option<Holder> {
        if self.roots.contains(spki) {
            return Some(Holder::Root);
        }
        self.keys.get(spki).map(Holder::Subject)
    }

    /// A certificate authority that some log states, by its certificate.
    pub(crate) fn issuer(&self, certificate: &CertificateId) -> Option<&Issuer> {
        self.issuers.get(certificate)
    }

    /// Takes in what `admitted`, of log `origin`, states. Cannot fail.
    pub(crate) fn learn(&mut self, origin: &Arc<str>, admitted: &Admitted) {
        let Admitted {
            entry,
            enrolled,
            officer,
            seen,
        } = admitted;
        let Some(id) = entry.subject else {
            self.learn_of_log(origin, entry, seen.as_ref());
            return;
        };
        let (kind, by) = (entry.content.kind(), entry.stated());
        let mut subject = match self.subject(&id) {
            Some(subject) => Subject::clone(&subject),
            None => Subject::new(id, Arc::clone(origin), kind),
        };
        subject.entries += 1;
        subject.last = entry.index;
        if kind == subject.kind || matches!(kind, Kind::Renewal | Kind::Reassociation) {
            subject.stated.push(by);
        }
        for spki in entry.content.spkis() {
            self.keys.put(spki, id);
        }
        match &entry.content {
            Content::Revocation(revocation) => {
                let end = End {
                    by,
                    why: Ending::Revoked(revocation.reason),
                    invalid_since: revocation.invalid_since,
                };
                subject.end(&revocation.certificate, end);
            }
            Content::Suspension(_) => subject.suspensions.push(Suspended {
                from: entry.effective_at,
                lifted: None,
            }),
            Content::Lifting(_) => {
                if let Some(last) = subject.suspensions.last_mut() {
                    last.lifted = Some(by);
                }
            }
            Content::Endpoint(_) => subject.endpoints.push(by),
            Content::Attribute(attribute) => subject.attributes.push(Attributed {
                by,
                granted: attribute.granted,
                roles: attribute.roles.clone(),
                until: attribute.until,
            }),
            Content::Veto(veto) => {
                subject.stated.retain(|stated| stated.index != veto.entry);
                for held in &mut subject.certificates {
                    held.grants.retain(|grant| grant.by.index != veto.entry);
                    held.ends.retain(|end| end.by.index != veto.entry);
                }
            }
            Content::Renewal(renewal) => {
                let by = Stated {
                    effective_at: renewal.until,
                    ..by
                };
                subject.end(&renewal.replaces, End::of(by, Ending::Renewed));
            }
            Content::Reassociation(_) => {
                let ends = subject.certificates.iter_mut().map(|held| &mut held.ends);
                ends.for_each(|ends| ends.push(End::of(by, Ending::Reassociated)));
            }
            Content::Retirement(retirement) => {
                if let Some(issuer) = self.issuers.get_mut(&retirement.certificate) {
                    issuer.stated.retired = Some((entry.effective_at, retirement.invalid_since));
                    let row = issuer.row();
                    self.rows.iter_mut().for_each(|rows| rows.push(row.clone()));
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
            match &entry.content {
                Content::CertificateAuthority(authority) => {
                    let issuer = Issuer {
                        certificate: certificate.clone(),
                        key: Arc::clone(key),
                        stated: IssuerRecord {
                            origin: Arc::clone(origin),
                            subject: id,
                            certificate: ByteBuf::from(certificate.der()),
                            algorithm: key.algorithm(),
                            by,
                            until: authority.until,
                            retired: None,
                        },
                    };
                    self.rows.iter_mut().for_each(|rows| rows.push(issuer.row()));
                    self.issuers.insert(certificate.id(), issuer);
                }
                _ => {
                    self.certificates.put(certificate.id(), id);
                    subject.grant(entry, certificate, key);
                }
            }
        }
        if kind == Kind::Node && self.nodes.insert(id) {
            let row = row(kind::NODE, id.as_bytes(), 0, &id);
            self.rows.iter_mut().for_each(|rows| rows.push(row.clone()));
        }
        self.subjects.put(id, Arc::new(subject));
        self.count_revocation(officer.as_ref(), entry.issued_at);
    }
}

impl Known {
    /// What an entry about the log itself says.
    fn learn_of_log(&mut self, origin: &Arc<str>, entry: &Entry, seen: Option<&Seen>) {
        let Some(published) = self.published.get_mut(origin) else {
            return;
        };
        let Some(seen) = seen else {
            return published.begin(entry.issued_at);
        };
        if let Some(rows) = &mut self.rows {
            rows.push(row(kind::STEP, origin.as_bytes(), published.steps(), seen));
        }
        published.learn(seen);
    }

    /// The officer who answers alone for a revocation has made one more.
    fn count_revocation(&mut self, officer: Option<&CertificateId>, at: Instant) {
        let Some(held) = officer.and_then(|officer| self.certificate(officer)) else {
            return;
        };
        let mut subject = Subject::clone(&held.subject);
        let office = subject.certificates.get_mut(held.place);
        if let Some(office) = office.and_then(|held| held.office.as_mut()) {
            office.has_revoked(at);
        }
        self.subjects.put(subject.id, Arc::new(subject));
    }

    /// What has changed since this was last asked; nothing without a shelf.
    pub(crate) fn poll_rows(&mut self) -> Vec<RegistryRow> {
        let mut rows = self.rows.as_mut().map(std::mem::take).unwrap_or_default();
        self.subjects.poll_rows(&mut rows);
        self.certificates.poll_rows(&mut rows);
        self.keys.poll_rows(&mut rows);
        rows
    }

    /// What was last asked for is on the shelf.
    pub(crate) fn settle(&mut self) {
        self.subjects.settle();
        self.certificates.settle();
        self.keys.settle();
    }

    /// From when on what `stated` of log `origin` grants counts. What it takes away counts from its effect on, whoever has
    /// seen it. REG-21.
    pub(crate) fn effect(&self, origin: &str, stated: Stated) -> Effect {
        let published = self.published.get(origin);
        published.map_or(Effect::From(stated.effective_at), |log| {
            log.effect(stated.index, stated.effective_at)
        })
    }

    /// Of these entries of log `origin` the last that is in effect at `at`.
    pub(crate) fn in_effect(&self, origin: &str, stated: &[Stated], at: Instant) -> Option<Stated> {
        let mut latest = stated.iter().rev();
        let found = latest.find(|stated| self.effect(origin, **stated).at(at) == Some(true));
        found.copied()
    }

    /// Whether `subject` is suspended at `at`; `None` if a lifting that would end it is not published.
    fn is_suspended(&self, subject: &Subject, at: Instant) -> Option<bool> {
        let mut unsure = false;
        for Suspended { lifted, .. } in subject.suspensions.iter().filter(|one| one.from <= at) {
            match lifted.map(|lifted| self.effect(&subject.origin, lifted).at(at)) {
                Some(Some(true)) => {}
                Some(None) => unsure = true,
                Some(Some(false)) | None => return Some(true),
            }
        }
        (!unsure).then_some(false)
    }

    /// Whether certificates that `issuer` issued may be enrolled at `at`.
    pub(crate) fn is_believed(&self, issuer: &Issuer, at: Instant) -> bool {
        let stated = &issuer.stated;
        let retired = stated.retired.is_some_and(|(from, _)| from <= at);
        let counts = self.effect(&stated.origin, stated.by).at(at);
        counts == Some(true) && at <= stated.until && !retired
    }

    /// What the certificate may be used for at `at`, if it is valid then.
    pub(crate) fn signer_at(&self, held: &Holding, at: Instant) -> Option<Signer> {
        match self.standing(held, at) {
            Standing::Valid(signer) => Some(signer),
            Standing::Contested(..) | Standing::Invalid(_) | Standing::Undetermined(_) => None,
        }
    }

    /// What the last grant that counts at `at` says. Where it cannot be told of later ones yet whether they count, and they
    /// say something else, nothing can be told.
    fn granted<'a>(&self, held: &'a Holding, at: Instant) -> Result<Option<&'a Grant>, &'static str> {
        let mut open: Option<&Grant> = None;
        for grant in held.grants.iter().rev() {
            let counts = self.effect(&held.subject.origin, grant.by).at(at);
            if counts == Some(false) {
                continue;
            }
            if open.is_some_and(|later| !later.says_the_same(grant)) {
                break;
            }
            if counts == Some(true) {
                return Ok(Some(grant));
            }
            open = Some(grant);
        }
        match open {
            Some(_) => Err("its enrolment is not published"),
            None => Ok(None),
        }
    }

    /// The roles that who was enrolled with `base` has at `at`. Where the grant of one is not published, nothing can be told.
    fn roles(&self, subject: &Subject, base: &[Role], at: Instant) -> Result<Vec<Role>, &'static str> {
        if subject.attributes.is_empty() {
            return Ok(base.to_vec());
        }
        let named = subject.attributes.iter().flat_map(|attributed| &attributed.roles);
        let named: BTreeSet<Role> = base.iter().chain(named).copied().collect();
        let mut roles = Vec::new();
        for role in named {
            let concerns = |attributed: &Attributed| attributed.roles.contains(&role);
            let held = self.attributed(subject, at, base.contains(&role), concerns);
            if held.ok_or("the grant of a role is not published")? {
                roles.push(role);
            }
        }
        Ok(roles)
    }

    /// Whether what the attributes that `concerns` picks are about is granted at `at`: the last one that counts then says so,
    /// else `base`. `None` if that hangs on a publication.
    pub(crate) fn attributed(
        &self,
        subject: &Subject,
        at: Instant,
        base: bool,
        concerns: impl Fn(&Attributed) -> bool,
    ) -> Option<bool> {
        let (mut open, mut held) = (false, base);
        let latest = subject.attributes.iter().rev();
        for attributed in latest.filter(|attributed| concerns(attributed)) {
            let Attributed {
                by, granted, until, ..
            } = attributed;
            if until.is_some_and(|until| at > until) {
                continue;
            }
            let counts = match granted {
                true => self.effect(&subject.origin, *by).at(at),
                false => Some(by.effective_at <= at),
            };
            match counts {
                Some(true) => {
                    held = *granted;
                    break;
                }
                Some(false) => {}
                None => open = true,
            }
        }
        // An open grant of what is granted anyway changes nothing.
        (held || !open).then_some(held)
    }

    /// The rule of [`Replica::status`](crate::Replica). REG-8.
    pub(crate) fn standing(&self, held: &Holding, at: Instant) -> Standing {
        let issuer = held.issuer.and_then(|issuer| self.issuers.get(&issuer));
        let retired = issuer.and_then(|issuer| issuer.stated.retired);
        if let Some(end) = held.ends.iter().find(|end| end.by.effective_at <= at) {
            return Standing::Invalid(end.why.words());
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
        let grant = match self.granted(held, at) {
            Ok(Some(grant)) => grant,
            Ok(None) => return Standing::Invalid("not yet enrolled"),
            Err(reason) => return Standing::Undetermined(reason),
        };
        let Some(key) = held.key() else {
            return Standing::Invalid("its key cannot be used");
        };
        let roles = match self.roles(&held.subject, &grant.roles, at) {
            Ok(roles) => roles,
            Err(reason) => return Standing::Undetermined(reason),
        };
        let signer = Signer {
            subject: held.subject.id,
            node: grant.node,
            roles,
            assurance: grant.assurance,
            key: Arc::clone(key),
        };
        let since = held.ends.iter().filter_map(|end| end.invalid_since);
        let since = since.chain(retired.and_then(|(_, since)| since)).min();
        if since.is_some_and(|since| since <= at) {
            return Standing::Contested(signer, "declared compromised since before this instant");
        }
        Standing::Valid(signer)
    }
}

impl Subject {
    fn new(id: SubjectId, origin: Arc<str>, kind: Kind) -> Self {
        Self {
            id,
            origin,
            kind,
            entries: 0,
            last: 0,
            stated: Vec::new(),
            endpoints: Vec::new(),
            certificates: Vec::new(),
            suspensions: Vec::new(),
            attributes: Vec::new(),
        }
    }

    /// The roles of an enrolment with `base`, and what attributes have made of them since, in effect or not.
    pub(crate) fn roles_stated(&self, base: &[Role]) -> Vec<Role> {
        let mut roles: BTreeSet<Role> = base.iter().copied().collect();
        for Attributed {
            granted,
            roles: named,
            ..
        } in &self.attributes
        {
            match granted {
                true => roles.extend(named),
                false => roles.retain(|role| !named.contains(role)),
            }
        }
        roles.into_iter().collect()
    }

    /// The certificate that was granted something last, and what.
    pub(crate) fn latest(&self) -> Option<(CertificateId, &Grant)> {
        let latest = |held: &Held| Some(held.grants.last()?.by.index);
        let held = self.certificates.iter().max_by_key(|held| latest(held))?;
        Some((held.id, held.grants.last()?))
    }

    fn end(&mut self, certificate: &CertificateId, end: End) {
        let held = self.certificates.iter_mut().find(|held| held.id == *certificate);
        held.into_iter().for_each(|held| held.ends.push(end.clone()));
    }

    /// The certificate that `entry` brings is held, and means what the entry says from its effect on.
    fn grant(&mut self, entry: &Entry, certificate: &Certificate, key: &Arc<VerifyingKey>) {
        let latest = |held: &Held| {
            let grant = held.grants.last()?;
            Some((grant.node, grant.roles.clone(), grant.assurance))
        };
        let mut office = None;
        let granted = match &entry.content {
            Content::Node(_) => Some((self.id, vec![Role::Node], Assurance::Seal)),
            Content::Enrolment(enrolment) => {
                Some((enrolment.node, enrolment.roles.clone(), enrolment.assurance))
            }
            // What the person is does not change with the key.
            Content::Renewal(renewal) => {
                let old = self.certificates.iter().find(|held| held.id == renewal.replaces);
                old.and_then(latest)
            }
            Content::Reassociation(reassociation) => {
                let old = self.certificates.iter().rev().find_map(latest);
                old.map(|(node, roles, _)| (node, roles, reassociation.assurance))
            }
            // They sign entries of the registry and nothing else.
            Content::Organisation(_) => Some((self.id, Vec::new(), Assurance::Software)),
            Content::Officer(officer) => {
                office = Some(Office::new(officer));
                Some((self.id, Vec::new(), Assurance::Software))
            }
            _ => None,
        };
        let Some((node, roles, assurance)) = granted else {
            return;
        };
        let known = self
            .certificates
            .iter()
            .position(|held| held.id == certificate.id());
        let place = known.unwrap_or_else(|| {
            self.certificates.push(Held::new(entry.index, certificate, key));
            self.certificates.len() - 1
        });
        let held = &mut self.certificates[place];
        // Whose it is once, it stays: enrolling it again without an issuer frees it from no retirement.
        held.issuer = held.issuer.or_else(|| entry.content.issuer().copied());
        held.office = office;
        held.grants.push(Grant {
            by: entry.stated(),
            node,
            roles,
            assurance,
        });
    }
}

impl Grant {
    /// Whether both let the holder do the same.
    fn says_the_same(&self, other: &Self) -> bool {
        (self.node, self.assurance) == (other.node, other.assurance) && self.roles == other.roles
    }
}

impl End {
    const fn of(by: Stated, why: Ending) -> Self {
        Self {
            by,
            why,
            invalid_since: None,
        }
    }
}

impl Held {
    fn new(index: u64, certificate: &Certificate, key: &Arc<VerifyingKey>) -> Self {
        Self {
            id: certificate.id(),
            index,
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            algorithm: key.algorithm(),
            spki: ByteBuf::from(certificate.spki()),
            grants: Vec::new(),
            ends: Vec::new(),
            issuer: None,
            office: None,
            key: OnceLock::from(Some(Arc::clone(key))),
        }
    }

    /// Whether it was ever withdrawn: such a certificate is never enrolled again.
    pub(crate) fn is_revoked(&self) -> bool {
        self.ends.iter().any(|end| matches!(end.why, Ending::Revoked(_)))
    }

    /// The key, whatever it is worth.
    pub(crate) fn key(&self) -> Option<&Arc<VerifyingKey>> {
        let read = || {
            VerifyingKey::from_spki(self.algorithm, &self.spki)
                .ok()
                .map(Arc::new)
        };
        self.key.get_or_init(read).as_ref()
    }

    pub(crate) fn office(&self) -> Option<&Office> {
        self.office.as_ref()
    }
}

impl Deref for Holding {
    type Target = Held;

    fn deref(&self) -> &Held {
        // Unwrap safety: `Known::certificate` found it there, and nobody changes the subject.
        &self.subject.certificates[self.place]
    }
}

impl Issuer {
    fn read(stated: IssuerRecord) -> Option<Self> {
        let certificate = Certificate::from_der(&stated.certificate).ok()?;
        let key = VerifyingKey::from_spki(stated.algorithm, certificate.spki()).ok()?;
        Some(Self {
            certificate,
            key: Arc::new(key),
            stated,
        })
    }

    fn row(&self) -> RegistryRow {
        row(kind::ISSUER, self.certificate.id().as_bytes(), 0, &self.stated)
    }
}

fn row(kind: u8, key: &[u8], index: u64, value: &impl Serialize) -> RegistryRow {
    RegistryRow {
        kind,
        key: key.to_vec(),
        index,
        value: codec::encode(value),
    }
}

/// What a known certificate is worth at an instant.
pub(crate) enum Standing {
    Valid(Signer),
    Contested(Signer, &'static str),
    Invalid(&'static str),
    /// A later publication will tell.
    Undetermined(&'static str),
}
