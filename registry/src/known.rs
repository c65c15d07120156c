//! What the entries of all logs say, by whom it is about, and what a certificate is worth at an instant. SPEC §9.4.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use basoche_protocol::directory::{Delegation, Signer};
use basoche_protocol::engine::RegistryRow;
use basoche_protocol::id::{CertificateId, Digest, SubjectId};
use basoche_protocol::role::Role;
use basoche_protocol::time::Instant;
use basoche_protocol::wire::codec;
use serde_bytes::ByteBuf;

use crate::admission::Admitted;
use crate::anchor::{Anchors, Authority};
use crate::entry::{Content, Entry, Kind};
use crate::inadmissible::Holder;
use crate::published::{Agreed, Continued, Effect, Published, Seen};
use crate::record::{
    Attributed, End, Ending, Entrusted, Grant, Holding, Issuer, IssuerRecord, Stated, Subject, Suspended,
};
use crate::shelf::{Shelf, Table, decode, kind, row};
use crate::state::{Item, State};

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
    /// Those of the anchors, ascending by origin.
    pub(crate) authorities: Arc<[Authority]>,
    /// The keys of the authorities' roots.
    roots: BTreeSet<Digest>,
    /// Certificate authorities, by their certificate.
    issuers: BTreeMap<CertificateId, Issuer>,
    /// Every node.
    pub(crate) nodes: BTreeSet<SubjectId>,
    /// The state of each log.
    pub(crate) states: BTreeMap<Arc<str>, State>,
    /// How far each log is published whose witnesses the policy asks for.
    pub(crate) published: BTreeMap<Arc<str>, Published>,
    shelf: Option<Arc<dyn Shelf>>,
    /// Rows for the shelf of what is in memory, since they were last asked for; `None` without a shelf.
    rows: Option<Vec<RegistryRow>>,
}

impl Known {
    /// What the anchors say. With a shelf, also what that holds.
    pub(crate) fn new(anchors: &Anchors, shelf: Option<&Arc<dyn Shelf>>) -> Self {
        let authorities = anchors.authorities();
        let roots = authorities.iter().flat_map(|authority| authority.roots());
        let published = authorities.iter().filter_map(|authority| {
            let published = authority.published()?;
            Some((authority.shared_origin(), published))
        });
        let states = authorities.iter().map(|authority| {
            let origin = authority.shared_origin();
            let state = State::new(&origin, shelf);
            (origin, state)
        });
        let mut known = Self {
            states: states.collect(),
            subjects: Table::new(kind::SUBJECT, shelf, SUBJECTS_KEPT),
            certificates: Table::new(kind::CERTIFICATE, shelf, HOLDERS_KEPT),
            keys: Table::new(kind::KEY, shelf, HOLDERS_KEPT),
            roots: roots.map(|root| root.certificate.spki_sha256()).collect(),
            authorities: authorities.into(),
            issuers: BTreeMap::new(),
            nodes: BTreeSet::new(),
            published: published.collect(),
            shelf: shelf.cloned(),
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
                for (_, seen) in shelf.list(kind::STEP, origin.as_bytes(), 0, usize::MAX) {
                    decode(&seen).into_iter().for_each(|seen| published.learn(&seen));
                }
                for (_, agreed) in shelf.list(kind::POLICY, origin.as_bytes(), 0, usize::MAX) {
                    decode(&agreed)
                        .into_iter()
                        .for_each(|agreed| published.agree(&agreed));
                }
                for (_, continued) in shelf.list(kind::CONTINUATION, origin.as_bytes(), 0, usize::MAX) {
                    decode(&continued)
                        .into_iter()
                        .for_each(|continued| published.go_on(&continued));
                }
            }
        }
        known
    }

    pub(crate) fn subject(&self, subject: &SubjectId) -> Option<Arc<Subject>> {
        self.subjects.get(subject)
    }

    /// The record of an item of the state of log `origin`, as it is stored now.
    pub(crate) fn record(&self, origin: &str, item: &Item) -> Option<Vec<u8>> {
        let key = item.key.as_slice();
        match item.kind {
            kind::SUBJECT => {
                let subject = self.subject(&SubjectId::new(key.try_into().ok()?))?;
                Some(codec::encode(&subject))
            }
            kind::ISSUER => {
                let issuer = self.issuers.get(&CertificateId::new(key.try_into().ok()?))?;
                Some(codec::encode(&issuer.stated))
            }
            other => {
                let index = u64::from_be_bytes(key.try_into().ok()?);
                self.shelf.as_ref()?.get(other, origin.as_bytes(), index)
            }
        }
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

    /// Every certificate authority that some log states, ascending by its certificate.
    pub(crate) fn issuers(&self) -> impl Iterator<Item = &Issuer> {
        self.issuers.values()
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
        let before = self.subject(&id);
        let mut subject = match &before {
            Some(subject) => Subject::clone(subject),
            None => Subject::new(id, Arc::clone(origin), kind),
        };
        subject.entries += 1;
        subject.last = entry.index;
        if kind == subject.kind || matches!(kind, Kind::Renewal | Kind::Reassociation) {
            subject.stated.push(by);
        }
        for spki in entry.content.spkis() {
            self.keys.put(spki, id);
            if !subject.keys.contains(&spki) {
                subject.keys.push(spki);
            }
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
            Content::Delegation(says) => subject.delegations.push(Entrusted { by, says: *says }),
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
                if let Some(mut issuer) = self.issuers.get(&retirement.certificate).cloned() {
                    issuer.stated.retired = Some((entry.effective_at, retirement.invalid_since));
                    self.put_issuer(issuer);
                }
            }
            Content::Genesis(_)
            | Content::Organisation(_)
            | Content::Node(_)
            | Content::Enrolment(_)
            | Content::Officer(_)
            | Content::CertificateAuthority(_)
            | Content::Publication(_)
            | Content::PolicyChange(_)
            | Content::StateRoot(_)
            | Content::Continuation(_) => {}
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
                    self.put_issuer(issuer);
                }
                _ => {
                    self.certificates.put(certificate.id(), id);
                    subject.grant(entry, certificate, key);
                }
            }
        }
        if kind == Kind::Node && self.nodes.insert(id) {
            self.keep(row(kind::NODE, id.as_bytes(), 0, &id));
        }
        self.put_subject(before.as_deref(), subject);
        self.count_revocation(officer.as_ref(), entry.issued_at);
    }
}

impl Known {
    /// What an entry about the log itself says.
    fn learn_of_log(&mut self, origin: &Arc<str>, entry: &Entry, seen: Option<&Seen>) {
        if let Content::StateRoot(_) = &entry.content {
            let row = self.states.get_mut(origin).map(|state| state.stated(entry.index));
            row.into_iter().for_each(|row| self.keep(row));
            return;
        }
        let Some(published) = self.published.get_mut(origin) else {
            return;
        };
        let row = if let Content::PolicyChange(change) = &entry.content {
            let agreed = Agreed::new(change, entry.issued_at);
            published.agree(&agreed);
            row(kind::POLICY, origin.as_bytes(), change.number, &agreed)
        } else if let Content::Continuation(next) = &entry.content {
            let continued = Continued::new(entry.index, next.log.clone());
            published.go_on(&continued);
            row(kind::CONTINUATION, origin.as_bytes(), next.number, &continued)
        } else if let Some(seen) = seen {
            let row = row(kind::STEP, origin.as_bytes(), published.steps(), seen);
            published.learn(seen);
            row
        } else {
            return published.begin(entry.issued_at);
        };
        if let Some(state) = self.states.get_mut(origin) {
            state.put(row.kind, &row.index.to_be_bytes(), || None, &row.value);
        }
        self.keep(row);
    }

    /// What is stored of a subject is another now.
    fn put_subject(&mut self, before: Option<&Subject>, subject: Subject) {
        if let Some(state) = self.states.get_mut(&subject.origin) {
            let (before, now) = (|| before.map(codec::encode), codec::encode(&subject));
            state.put(kind::SUBJECT, subject.id.as_bytes(), before, &now);
        }
        self.subjects.put(subject.id, Arc::new(subject));
    }

    /// What is stored of a certificate authority is another now.
    fn put_issuer(&mut self, issuer: Issuer) {
        let id = issuer.certificate.id();
        let row = row(kind::ISSUER, id.as_bytes(), 0, &issuer.stated);
        let before = self.issuers.get(&id).map(|before| codec::encode(&before.stated));
        if let Some(state) = self.states.get_mut(&issuer.stated.origin) {
            state.put(row.kind, &row.key, || before, &row.value);
        }
        self.keep(row);
        self.issuers.insert(id, issuer);
    }

    /// The next rows for the shelf have this one too, if there is a shelf.
    fn keep(&mut self, row: RegistryRow) {
        if let Some(rows) = &mut self.rows {
            rows.push(row);
        }
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
        self.put_subject(Some(&held.subject), subject);
    }

    /// What has changed since this was last asked; nothing without a shelf.
    pub(crate) fn poll_rows(&mut self) -> Vec<RegistryRow> {
        let mut rows = self.rows.as_mut().map(std::mem::take).unwrap_or_default();
        self.subjects.poll_rows(&mut rows);
        self.certificates.poll_rows(&mut rows);
        self.keys.poll_rows(&mut rows);
        let states = self.states.values_mut();
        states.for_each(|state| state.poll_rows(&mut rows));
        rows
    }

    /// What was last asked for is on the shelf.
    pub(crate) fn settle(&mut self) {
        self.subjects.settle();
        self.certificates.settle();
        self.keys.settle();
        self.states.values_mut().for_each(State::settle);
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

    /// What `delegate` may do inside of the dossier of `commitment` at `at`. REG-26.
    pub(crate) fn delegation(&self, delegate: &SubjectId, commitment: &Digest, at: Instant) -> Delegation {
        let reason = "its authority has not delegated it";
        let Some(subject) = self.subject(delegate) else {
            return Delegation::Undetermined { reason };
        };
        let mut open = false;
        let latest = subject.delegations.iter().rev();
        for Entrusted { by, says } in latest.filter(|one| one.says.dossier == *commitment) {
            let Some(granted) = says.granted else {
                if by.effective_at > at {
                    continue;
                }
                return unless(
                    open,
                    Delegation::Ended {
                        reason: "the delegation is withdrawn",
                    },
                );
            };
            match self.effect(&subject.origin, *by).at(at) {
                Some(false) => continue,
                // Another one says the same, perhaps.
                None => {
                    open |= at <= granted.until;
                    continue;
                }
                Some(true) if at > granted.until => {
                    return unless(
                        open,
                        Delegation::Ended {
                            reason: "the delegation has ended",
                        },
                    );
                }
                Some(true) => {}
            }
            let stands = (0..subject.certificates.len()).any(|place| {
                let subject = Arc::clone(&subject);
                let standing = self.standing(&Holding { subject, place }, at);
                matches!(standing, Standing::Valid(_) | Standing::Contested(..))
            });
            return match stands {
                true => Delegation::Granted { keys: granted.keys },
                false => Delegation::Undetermined {
                    reason: "who enrolled the key may not sign",
                },
            };
        }
        unless(open, Delegation::Undetermined { reason })
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

/// What is said, unless a grant whose publication is yet to come may say otherwise.
const fn unless(open: bool, said: Delegation) -> Delegation {
    match open {
        true => Delegation::Undetermined {
            reason: "the delegation is not published",
        },
        false => said,
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
