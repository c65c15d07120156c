//! A replica of every authority's log, and what it answers. SPEC §9.4.
//!
//! It holds admitted entries only, and answers from them alone: which came first by the network, or what the time
//! is now, changes no answer. With a [`Shelf`] only what is not durable yet stays in memory, and what was looked up lately.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use basoche_protocol::directory::{Certified, Delegation, Directory, Status};
use basoche_protocol::engine::{Imported, Registry, RegistryRow};
use basoche_protocol::error::Error;
use basoche_protocol::id::{CertificateId, Digest, SubjectId};
use basoche_protocol::jose::{Algorithm, VerifyingKey};
use basoche_protocol::journal::RegistryHead;
use basoche_protocol::role::{Assurance, OrganisationKind, Role};
use basoche_protocol::time::Instant;
use basoche_protocol::tree::Tree;
use basoche_protocol::wire::frame::RegistryLeaf;

use crate::admission;
use crate::anchor::{Anchors, Authority};
use crate::certificate::{self, Certificate};
use crate::crl::Issued;
use crate::entry::{Competence, Content, Endpoint, Entry, Gossip, Kind, Node, Organisation};
use crate::held::Log;
use crate::inadmissible::{Holder, Inadmissible};
use crate::known::{Known, Standing};
use crate::log::{Key, Policy};
use crate::published::Published;
use crate::read::{ReadLeaf, read_ahead};
use crate::record::{Attributed, Stated, Subject};
use crate::shelf::{Shelf, kind};
use crate::state::State;

/// Every log of the anchors, as far as it is held.
#[derive(Clone, Debug)]
pub struct Replica {
    anchors: Anchors,
    logs: BTreeMap<Arc<str>, Log>,
    pub(crate) known: Known,
}

/// What the registry says of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// The node.
    pub node: SubjectId,
    /// Who runs it.
    pub organisation: SubjectId,
    /// The name of who runs it.
    pub organisation_name: String,
    /// What its organisation is.
    pub kind: OrganisationKind,
    /// Where it listens, `host:port`, the best first.
    pub addresses: Vec<String>,
    /// Where it gossips, if it does. GSP-1.
    pub gossip: Option<Gossip>,
    /// Until when that is fresh, if its endpoint says so. REG-17.
    pub fresh_until: Option<Instant>,
    /// SHA-256 of the SubjectPublicKeyInfo that it shows in TLS.
    pub tls_spki_sha256: Digest,
    /// The certificate of its seal.
    pub seal: CertificateId,
    /// DER SubjectPublicKeyInfo of its encryption key.
    pub encryption_spki: Vec<u8>,
    /// The log that says so.
    pub origin: String,
    /// Whether its authority exists for tests and demonstrations only.
    pub test: bool,
}

/// What the registry says of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonInfo {
    /// The person.
    pub person: SubjectId,
    /// The roles that it may take.
    pub roles: Vec<Role>,
    /// The home node.
    pub node: SubjectId,
    /// How the key is protected.
    pub assurance: Assurance,
    /// The latest certificate.
    pub certificate: CertificateId,
    /// The log that says so.
    pub origin: String,
    /// Whether its authority exists for tests and demonstrations only.
    pub test: bool,
}

impl Replica {
    /// Empty logs of the authorities of `anchors`, in memory.
    pub fn new(anchors: Anchors) -> Self {
        let known = Known::new(&anchors, None);
        Self::of(anchors, known, |authority| Log::new(authority, None))
    }

    /// Empty logs of the authorities of `anchors`, of which only what is not durable yet stays in memory, and what was looked
    /// up lately. The shelf has no row. Once every leaf in it is admitted, [`Self::basis`] joins the rows.
    pub fn on_shelf(anchors: Anchors, shelf: &Arc<dyn Shelf>) -> Self {
        let known = Known::new(&anchors, Some(shelf));
        Self::of(anchors, known, |authority| Log::new(authority, Some(shelf)))
    }

    /// What is on the shelf, without admitting it again. `None` if that was made under other anchors or in another form, is not
    /// complete, or does not hold together, or if all that came before a snapshot is there now: then every leaf has to be admitted anew.
    pub fn open(anchors: Anchors, shelf: &Arc<dyn Shelf>) -> Option<Self> {
        if shelf.get(kind::BASIS, &[], 0)? != basis(&anchors) {
            return None;
        }
        let logs = anchors.authorities().iter();
        let logs: Option<Vec<_>> = logs.map(|authority| Log::open(authority, shelf)).collect();
        let logs = logs?;
        let complete = logs.iter().all(|log| log.lacks().is_none());
        if complete && logs.iter().any(|log| log.unjudged().is_some()) {
            return None;
        }
        let mut known = Known::new(&anchors, Some(shelf));
        for log in logs.iter().filter(|log| log.size() > 0) {
            if let Some(published) = known.published.get_mut(log.authority.origin()) {
                published.begin(log.entry(0)?.issued_at);
            }
        }
        let mut logs = logs.into_iter();
        // Both are in the order of the anchors.
        Some(Self::of(anchors, known, |authority| {
            logs.next().unwrap_or_else(|| Log::new(authority, Some(shelf)))
        }))
    }

    fn of(anchors: Anchors, known: Known, mut log: impl FnMut(&Authority) -> Log) -> Self {
        let authorities = anchors.authorities().iter();
        let logs = authorities.map(|authority| (authority.shared_origin(), log(authority)));
        Self {
            logs: logs.collect(),
            anchors,
            known,
        }
    }

    /// The row that says that the shelf is complete, under these anchors.
    pub fn basis(&self) -> RegistryRow {
        RegistryRow {
            kind: kind::BASIS,
            key: Vec::new(),
            index: 0,
            value: basis(&self.anchors),
        }
    }

    /// The authorities believed.
    pub fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// Checks and admits the leaf at `index`; `false` if it was known. Leaves of one log come in order; the logs
    /// come in any order. [`Registry::import`] is the same under the protocol's errors.
    pub fn admit(&mut self, origin: &str, index: u64, leaf: &RegistryLeaf) -> Result<bool, Inadmissible> {
        self.admit_read(origin, index, leaf, None)
    }

    /// The same; `read` is what [`Registry::read`] gave of it, if it did.
    fn admit_read(
        &mut self,
        origin: &str,
        index: u64,
        leaf: &RegistryLeaf,
        read: Option<ReadLeaf>,
    ) -> Result<bool, Inadmissible> {
        let Some(log) = self.logs.get_mut(origin) else {
            let origin = origin.to_owned();
            return Err(Inadmissible::UnknownAuthority { origin });
        };
        let expected = log.size();
        if index > expected {
            return Err(Inadmissible::WrongIndex {
                expected,
                found: index,
            });
        }
        // What stands here may be of a history before which it gives way.
        let gives_way = |why| match admission::gives_way(&self.known, log, index, leaf) {
            Ok(true) => {
                let origin = origin.to_owned();
                Inadmissible::OtherHistory { origin, index }
            }
            _ => why,
        };
        if index < expected {
            // The leaf names its certificate, so the leaf alone decides.
            return match log.leaf(index) {
                Some(known) if known.leaf == leaf.leaf => Ok(false),
                None if log.unjudged().is_some() && log.is_leaf(index, leaf) => {
                    let lacked = log.lacks() == Some(index);
                    if lacked {
                        log.fill();
                    }
                    Ok(lacked)
                }
                _ => Err(gives_way(Inadmissible::Rewritten { index })),
            };
        }
        let read = read.map_or_else(|| ReadLeaf::of(leaf), Ok)?;
        let hash = read.hash;
        let admitted = admission::judge(&self.known, log, read).map_err(gives_way)?;
        self.known.learn(&log.authority.shared_origin(), &admitted);
        log.push(leaf.clone(), &hash, admitted.entry.issued_at);
        Ok(true)
    }

    /// Of a log that began with a snapshot and was not judged here since: how many entries are still to come, at most. SNP-5.
    pub fn unjudged(&self, origin: &str) -> Option<u64> {
        self.logs.get(origin)?.unjudged()
    }

    pub(crate) fn log(&self, origin: &str) -> Option<&Log> {
        self.logs.get(origin)
    }

    /// Whether the leaf may come next in that log, without admitting it.
    pub fn check(&self, origin: &str, leaf: &RegistryLeaf) -> Result<(), Inadmissible> {
        let unknown = || Inadmissible::UnknownAuthority {
            origin: origin.to_owned(),
        };
        let log = self.logs.get(origin).ok_or_else(unknown)?;
        admission::judge(&self.known, log, ReadLeaf::of(leaf)?).map(|_| ())
    }

    /// The entries of a log, in order; none for an unknown one.
    pub fn entries(&self, origin: &str) -> impl Iterator<Item = Entry> {
        let log = self.logs.get(origin).into_iter();
        log.flat_map(|log| (0..log.size()).filter_map(|index| log.entry(index)))
    }

    /// The entries about `subject`, in the order of its log; none if it is in no log held here.
    pub fn history(&self, subject: &SubjectId) -> Vec<Entry> {
        let Some((log, subject)) = self.subject(subject) else {
            return Vec::new();
        };
        let last = log.entry(subject.last);
        let mut entries: Vec<_> = std::iter::successors(last, |entry| log.entry(entry.prev?)).collect();
        entries.reverse();
        entries
    }

    /// Index of the last entry about `subject` in its log.
    pub fn last_entry(&self, subject: &SubjectId) -> Option<u64> {
        self.known.subject(subject).map(|subject| subject.last)
    }

    /// How many leaves of each log are held, ascending by origin.
    pub fn sizes(&self) -> impl Iterator<Item = (String, u64)> {
        self.logs
            .iter()
            .map(|(origin, log)| (origin.to_string(), log.size()))
    }

    /// The tree over the leaves of a log, for proofs.
    pub fn tree(&self, origin: &str) -> Option<&Tree> {
        self.logs.get(origin).map(|log| &log.tree)
    }

    /// The root of a log's state, as its entries have made it. REG-28.
    pub fn state_root(&self, origin: &str) -> Option<Digest> {
        self.known.states.get(origin).map(State::root)
    }

    /// What the log of `node` states last of it, whether in effect or not.
    pub fn node(&self, node: &SubjectId) -> Option<NodeInfo> {
        let (log, subject) = self.subject(node)?;
        let last = log.entry(subject.stated.last()?.index)?;
        let endpoint = subject.endpoints.last();
        let endpoint = endpoint.filter(|endpoint| endpoint.index > last.index);
        let endpoint = endpoint.and_then(|endpoint| endpoint_of(log, endpoint.index));
        self.node_info(node, log, node_of(last)?, endpoint)
    }

    /// What is stated of `node` and in effect at `at`; `None` unless its seal is valid (or contested) then.
    pub fn node_at(&self, node: &SubjectId, at: Instant) -> Option<NodeInfo> {
        let (subject, stated, endpoint) = self.live_node(node, at)?;
        self.node_info(node, self.logs.get(&subject.origin)?, stated, endpoint)
    }

    /// Every node, ascending by id, as [`Self::node`] gives it.
    pub fn nodes(&self) -> impl Iterator<Item = NodeInfo> {
        self.known.nodes.iter().filter_map(|node| self.node(node))
    }

    /// What the log of `person` states last of it, whether in effect or not.
    pub fn person(&self, person: &SubjectId) -> Option<PersonInfo> {
        let (log, subject) = self.subject(person)?;
        let (certificate, latest) = subject.latest().filter(|_| subject.kind == Kind::Enrolment)?;
        Some(PersonInfo {
            person: *person,
            roles: subject.roles_stated(&latest.roles),
            node: latest.node,
            assurance: latest.assurance,
            certificate,
            origin: log.authority.origin().to_owned(),
            test: log.authority.is_test(),
        })
    }

    /// The key to which documents for `person` are wrapped at `at`: DER SubjectPublicKeyInfo. REG-20: that of the last
    /// statement of the person's key in effect, as long as its certificate is valid; a contested one may be in other
    /// hands.
    ///
    /// # Errors
    /// Why there is none, in words that a person can act on.
    pub fn person_encryption_key(&self, person: &SubjectId, at: Instant) -> Result<Vec<u8>, &'static str> {
        let (log, subject) = self.subject(person).ok_or("in no log held here")?;
        let stated = self.known.in_effect(&subject.origin, &subject.stated, at);
        let stated = stated.filter(|_| subject.kind == Kind::Enrolment);
        let entry = stated.and_then(|stated| log.entry(stated.index));
        let content = entry.ok_or("no enrolment of a person is in effect")?.content;
        let certificate = content.key().map(|key| key.certificate);
        let held = certificate.and_then(|certificate| self.known.certificate(&certificate));
        match held.map(|held| self.known.standing(&held, at)) {
            Some(Standing::Valid(_)) => {}
            Some(
                Standing::Contested(_, reason) | Standing::Invalid(reason) | Standing::Undetermined(reason),
            ) => {
                return Err(reason);
            }
            None => return Err("the certificate is in no log held here"),
        }
        let spki = content.encryption_spki();
        spki.map(|spki| spki.to_vec())
            .ok_or("enrolled without an encryption key")
    }

    /// What `person` is listed as competent for at `at`, ascending; nothing of which the grant is not published.
    pub fn competences(&self, person: &SubjectId, at: Instant) -> Vec<Competence> {
        let Some((log, subject)) = self.subject(person) else {
            return Vec::new();
        };
        let named = |index: u64| match log.entry(index)?.content {
            Content::Attribute(attribute) => Some(attribute.competences),
            _ => None,
        };
        let stated = subject.attributes.iter();
        let stated: BTreeMap<_, _> = stated
            .map(|attributed| {
                (
                    attributed.by.index,
                    named(attributed.by.index).unwrap_or_default(),
                )
            })
            .collect();
        let all: BTreeSet<_> = stated.values().flatten().cloned().collect();
        let holds = |competence: &Competence| {
            let concerns = |attributed: &Attributed| {
                let named = stated.get(&attributed.by.index);
                named.is_some_and(|named| named.contains(competence))
            };
            self.known.attributed(&subject, at, false, concerns) == Some(true)
        };
        all.into_iter().filter(holds).collect()
    }

    /// Every person, ascending by id, as [`Self::person`] gives it. Goes through the whole shelf.
    pub fn persons(&self) -> Vec<PersonInfo> {
        let mut persons = BTreeSet::new();
        self.known.each_subject(|subject| {
            persons.extend((subject.kind == Kind::Enrolment).then_some(subject.id));
        });
        persons.iter().filter_map(|person| self.person(person)).collect()
    }

    /// The organisation, as its log states it last.
    pub fn organisation(&self, organisation: &SubjectId) -> Option<Organisation> {
        let (log, subject) = self.subject(organisation)?;
        match log.entry(subject.stated.last()?.index)?.content {
            Content::Organisation(organisation) => Some(organisation),
            _ => None,
        }
    }

    /// The node that shows the TLS key with that SHA-256 at `at`. A node has one TLS key at a time: that of the
    /// last endpoint or statement in effect, of however long ago. `None` unless its seal is valid (or contested) then.
    pub fn node_of_tls_key(&self, spki_sha256: &[u8; 32], at: Instant) -> Option<SubjectId> {
        let spki = Digest::new(*spki_sha256);
        let Holder::Subject(node) = self.known.holder(&spki)? else {
            return None;
        };
        let (_, stated, endpoint) = self.live_node(&node, at)?;
        let shown = endpoint.map_or(stated.tls_spki_sha256, |endpoint| endpoint.tls_spki_sha256);
        (shown == spki).then_some(node)
    }

    /// The DER bytes of an enrolled certificate.
    pub fn certificate_der(&self, certificate: &CertificateId) -> Option<Vec<u8>> {
        let held = self.known.certificate(certificate)?;
        let leaf = self.logs.get(&held.subject.origin)?.leaf(held.index)?;
        Some(leaf.certificate.into_vec())
    }

    /// The certificate authorities that log `origin` states, believed or not, with their keys.
    pub(crate) fn issuers(&self, origin: &str) -> impl Iterator<Item = (&Certificate, &VerifyingKey)> {
        let stated = self.known.issuers();
        let stated = stated.filter(move |issuer| *issuer.stated.origin == *origin);
        stated.map(|issuer| (&issuer.certificate, &*issuer.key))
    }

    /// The certificate authority that log `origin` believes at `at` and that issued `certificate`. REG-18.
    pub fn issuer_of(&self, origin: &str, certificate: &Certificate, at: Instant) -> Option<CertificateId> {
        let believed = self.known.issuers();
        let mut believed =
            believed.filter(|issuer| *issuer.stated.origin == *origin && self.known.is_believed(issuer, at));
        let issued = believed.find(|issuer| certificate.is_issued_by(&issuer.certificate, &issuer.key));
        issued.map(|issuer| issuer.certificate.id())
    }

    /// Every certificate of that certificate authority that a log has enrolled, in any order. Goes through the whole shelf.
    pub(crate) fn issued_by(&self, issuer: &CertificateId, mut take: impl FnMut(Issued)) {
        let mut found = Vec::new();
        self.known.each_subject(|subject| {
            let of_it = subject.certificates.iter();
            let of_it = of_it.filter(|held| held.issuer.as_ref() == Some(issuer));
            let suspended = subject
                .suspensions
                .last()
                .is_some_and(|last| last.lifted.is_none());
            let origin = &subject.origin;
            found.extend(of_it.map(|held| {
                let issued = Issued {
                    certificate: held.id,
                    subject: subject.id,
                    serial: Vec::new(),
                    revoked: held.is_revoked(),
                    suspended,
                };
                (Arc::clone(origin), held.index, issued)
            }));
        });
        // The shelf is not asked while it is gone through.
        for (origin, index, mut issued) in found {
            let leaf = self.logs.get(&origin).and_then(|log| log.leaf(index));
            let certificate = leaf.and_then(|leaf| Certificate::from_der(&leaf.certificate).ok());
            issued.serial = certificate.map(|read| read.serial()).unwrap_or_default();
            take(issued);
        }
    }

    /// How many entries of a log its witnesses have seen, as far as the log says, and without which members of the quorum;
    /// `None` where the policy asks for nobody.
    pub fn published(&self, origin: &str) -> Option<(u64, &[String])> {
        let published = self.known.published.get(origin)?;
        Some((published.size(), published.without()))
    }

    /// When a log was last published, as far as it says itself; if never, when it began. `None` where the policy asks for nobody.
    pub fn published_at(&self, origin: &str) -> Option<Instant> {
        self.known.published.get(origin)?.at()
    }

    /// The policy that log `origin` goes by, and its number: 0 for that of the anchors. `None` where nobody need have seen what
    /// counts. REG-27.
    pub fn policy(&self, origin: &str) -> Option<(u64, &Policy)> {
        self.known.published.get(origin).map(Published::policy)
    }

    /// The keys of the logs' checkpoints that are in force, each of one log. REG-30.
    pub fn log_keys(&self) -> Vec<Key> {
        let authorities = self.anchors.authorities().iter();
        let keys = authorities.filter_map(|one| match self.known.published.get(one.origin()) {
            Some(published) => Some(published.log_key()),
            None => one.log_key(),
        });
        keys.cloned().collect()
    }

    /// The keys of the logs' checkpoints that others have followed.
    pub fn former_log_keys(&self) -> Vec<Key> {
        let published = self.known.published.values();
        let former = published.flat_map(Published::former_keys);
        former.map(|(key, _)| key.clone()).collect()
    }

    /// The witnesses of the policies that the logs go by, each once.
    pub fn witnesses(&self) -> Vec<Key> {
        let published = self.known.published.values();
        let keys = published.flat_map(|published| published.policy().1.witnesses());
        let mut witnesses = Vec::new();
        for key in keys {
            if !witnesses.contains(key) {
                witnesses.push(key.clone());
            }
        }
        witnesses
    }

    fn subject(&self, subject: &SubjectId) -> Option<(&Log, Arc<Subject>)> {
        let subject = self.known.subject(subject)?;
        Some((self.logs.get(&subject.origin)?, subject))
    }

    /// The statement and the endpoint of `node` in effect at `at`, if its seal is valid or contested then. An endpoint
    /// gives way to a statement of the node that is later in the log.
    fn live_node(&self, node: &SubjectId, at: Instant) -> Option<(Arc<Subject>, Node, Option<Endpoint>)> {
        let (log, subject) = self.subject(node)?;
        let in_effect = |stated: &[Stated]| self.known.in_effect(&subject.origin, stated, at);
        let stated = in_effect(&subject.stated)?;
        let endpoint = in_effect(&subject.endpoints).filter(|endpoint| endpoint.index > stated.index);
        let node = node_of(log.entry(stated.index)?)?;
        let seal = self.known.certificate(&node.seal.certificate)?;
        match self.known.standing(&seal, at) {
            Standing::Valid(_) | Standing::Contested(..) => {
                let endpoint = endpoint.and_then(|endpoint| endpoint_of(log, endpoint.index));
                Some((subject, node, endpoint))
            }
            Standing::Invalid(_) | Standing::Undetermined(_) => None,
        }
    }

    fn node_info(
        &self,
        id: &SubjectId,
        log: &Log,
        node: Node,
        endpoint: Option<Endpoint>,
    ) -> Option<NodeInfo> {
        let organisation = self.organisation(&node.organisation)?;
        let (addresses, tls_spki_sha256, fresh_until, gossip) = match endpoint {
            Some(Endpoint {
                addresses,
                tls_spki_sha256,
                until,
                gossip,
            }) => (addresses, tls_spki_sha256, Some(until), gossip),
            None => (node.addresses, node.tls_spki_sha256, None, node.gossip),
        };
        Some(NodeInfo {
            node: *id,
            organisation: node.organisation,
            organisation_name: organisation.name,
            kind: organisation.kind,
            addresses,
            gossip,
            fresh_until,
            tls_spki_sha256,
            seal: node.seal.certificate,
            encryption_spki: node.encryption_spki,
            origin: log.authority.origin().to_owned(),
            test: log.authority.is_test(),
        })
    }
}

/// What the shelf is made of: the anchors, and the form of its records.
fn basis(anchors: &Anchors) -> Vec<u8> {
    let form = Digest::of(&[b"basoche-records/2", anchors.to_json().as_bytes()]);
    form.as_bytes().to_vec()
}

pub(crate) fn node_of(entry: Entry) -> Option<Node> {
    match entry.content {
        Content::Node(node) => Some(node),
        _ => None,
    }
}

fn endpoint_of(log: &Log, index: u64) -> Option<Endpoint> {
    match log.entry(index)?.content {
        Content::Endpoint(endpoint) => Some(endpoint),
        _ => None,
    }
}

impl Directory for Replica {
    /// REG-8. No entry takes effect before it was issued, so an answer for `at` depends on entries issued by then,
    /// with one exception: a later revocation may mark it contested, through `invalid_since`. In this order:
    ///
    /// 1. a certificate in no log: undetermined;
    /// 2. a revocation in effect at `at`: invalid;
    /// 3. `at` outside the certificate's dates: invalid;
    /// 4. no enrolment in effect at `at`: invalid; of several, the last in the log counts. If a publication that is still to
    ///    come may put one in effect then: undetermined, REG-21;
    /// 5. a revocation not yet in effect at `at`, but with `invalid_since` at or before it: contested;
    /// 6. otherwise valid.
    fn status(&self, certificate: &CertificateId, at: Instant) -> Status {
        let Some(held) = self.known.certificate(certificate) else {
            return Status::Undetermined {
                reason: "the certificate is in no log held here",
            };
        };
        match self.known.standing(&held, at) {
            Standing::Valid(signer) => Status::Valid(signer),
            Standing::Contested(signer, reason) => Status::Contested { signer, reason },
            Standing::Invalid(reason) => Status::Invalid { reason },
            Standing::Undetermined(reason) => Status::Undetermined { reason },
        }
    }

    fn read_certificate(&self, der: &[u8], algorithm: Algorithm) -> Option<Certified> {
        certificate::read(der, algorithm)
    }

    fn delegation(&self, delegate: &SubjectId, commitment: &Digest, at: Instant) -> Delegation {
        self.known.delegation(delegate, commitment, at)
    }
}

impl Registry for Replica {
    type Read = ReadLeaf;

    fn heads(&self) -> Vec<RegistryHead> {
        let head = |log: &Log| RegistryHead {
            origin: log.authority.origin().to_owned(),
            size: log.size(),
            root: Digest::new(log.tree.root()),
        };
        self.logs.values().map(head).collect()
    }

    fn leaves(&self, origin: &str, from: u64, max_bytes: usize) -> Vec<RegistryLeaf> {
        let log = self.logs.get(origin);
        log.map_or_else(Vec::new, |log| log.leaves(from, max_bytes))
    }

    fn import(
        &mut self,
        origin: &str,
        index: u64,
        leaf: &RegistryLeaf,
        read: Option<ReadLeaf>,
    ) -> Result<Imported, Error> {
        let size = self.logs.get(origin).map_or(0, Log::size);
        match self.admit_read(origin, index, leaf, read) {
            Ok(true) if index < size => Ok(Imported::Filled),
            Ok(true) => Ok(Imported::News),
            Ok(false) => Ok(Imported::Known),
            Err(Inadmissible::OtherHistory { .. }) => Ok(Imported::OtherHistory),
            Err(why) => Err(why.into()),
        }
    }

    fn lacking(&self) -> Option<(String, u64)> {
        let lacking = |(origin, log): (&Arc<str>, &Log)| Some((origin.to_string(), log.lacks()?));
        self.logs.iter().find_map(lacking)
    }

    fn continuations(&self, origin: &str) -> Vec<u64> {
        let published = self.known.published.get(origin).into_iter();
        let former = published.flat_map(Published::former_keys);
        former.map(|(_, index)| *index).collect()
    }

    fn encryption_key(&self, node: &SubjectId, at: Instant) -> Option<Vec<u8>> {
        let (_, node, _) = self.live_node(node, at)?;
        Some(node.encryption_spki)
    }

    fn read(&self, origin: &str, leaves: &[RegistryLeaf]) -> Vec<Option<ReadLeaf>> {
        // What is filled in is not judged yet.
        let log = self.logs.get(origin).filter(|log| log.lacks().is_none());
        log.map_or_else(Vec::new, |log| read_ahead(&self.known, log, leaves))
    }

    fn poll_rows(&mut self) -> Vec<RegistryRow> {
        let mut rows = self.known.poll_rows();
        self.logs.values_mut().for_each(|log| log.poll_rows(&mut rows));
        rows
    }

    fn settle(&mut self) {
        self.known.settle();
        self.logs.values_mut().for_each(Log::settle);
    }
}
