//! A replica of every authority's log, and what it answers. SPEC §9.4.
//!
//! It holds admitted entries only, and answers from them alone: which came first by the network, or what the time
//! is now, changes no answer. Leaves stay in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use basoche_protocol::directory::{Directory, Status};
use basoche_protocol::engine::Registry;
use basoche_protocol::error::Error;
use basoche_protocol::id::{CertificateId, Digest, SubjectId};
use basoche_protocol::journal::RegistryHead;
use basoche_protocol::role::{Assurance, OrganisationKind, Role};
use basoche_protocol::time::Instant;
use basoche_protocol::tree::Tree;
use basoche_protocol::wire::frame::RegistryLeaf;

use crate::anchor::{Anchors, Authority};
use crate::entry::{Content, Endpoint, Enrolment, Entry, Kind, Node, Organisation};
use crate::inadmissible::{Holder, Inadmissible};
use crate::known::{Known, Standing, Subject};
use crate::{admission, leaf};

/// Bytes that a leaf and its certificate take on the wire beyond their own, at most: a map, two keys, two heads.
const LEAF_OVERHEAD_BYTES: usize = 9;

/// Every log of the anchors, as far as it is held.
#[derive(Clone, Debug)]
pub struct Replica {
    anchors: Anchors,
    logs: BTreeMap<Arc<str>, Log>,
    known: Known,
}

/// One authority's log.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) authority: Authority,
    pub(crate) entries: Vec<Entry>,
    leaves: Vec<RegistryLeaf>,
    pub(crate) tree: Tree,
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

impl Log {
    pub(crate) fn size(&self) -> u64 {
        self.tree.size()
    }

    fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(index).ok()?)
    }

    fn last_of(&self, indexes: &[usize]) -> Option<&Entry> {
        self.entries.get(*indexes.last()?)
    }
}

impl Replica {
    /// Empty logs of the authorities of `anchors`.
    pub fn new(anchors: Anchors) -> Self {
        let mut known = Known::default();
        let mut logs = BTreeMap::new();
        for authority in anchors.authorities() {
            for root in authority.roots() {
                known.keys.insert(root.certificate.spki_sha256(), Holder::Root);
            }
            let published = authority.published().map(|log| (authority.shared_origin(), log));
            known.published.extend(published);
            let log = Log {
                authority: authority.clone(),
                entries: Vec::new(),
                leaves: Vec::new(),
                tree: Tree::new(),
            };
            logs.insert(authority.shared_origin(), log);
        }
        Self { anchors, logs, known }
    }

    /// The authorities believed.
    pub fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// Checks and admits the leaf at `index`; `false` if it was known. Leaves of one log come in order; the logs
    /// come in any order. [`Registry::import`] is the same under the protocol's errors.
    pub fn admit(&mut self, origin: &str, index: u64, leaf: &RegistryLeaf) -> Result<bool, Inadmissible> {
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
        if let Some(known) = usize::try_from(index)
            .ok()
            .and_then(|index| log.leaves.get(index))
        {
            // The leaf names its certificate, so the leaf alone decides.
            return if known.leaf == leaf.leaf {
                Ok(false)
            } else {
                Err(Inadmissible::Rewritten { index })
            };
        }
        let admitted = admission::judge(&self.known, log, leaf)?;
        self.known
            .learn(log.authority.shared_origin(), log.entries.len(), &admitted);
        log.tree.push(*leaf::hash(&leaf.leaf).as_bytes());
        log.leaves.push(leaf.clone());
        log.entries.push(admitted.entry);
        Ok(true)
    }

    /// Whether the leaf may come next in that log, without admitting it.
    pub fn check(&self, origin: &str, leaf: &RegistryLeaf) -> Result<(), Inadmissible> {
        let unknown = || Inadmissible::UnknownAuthority {
            origin: origin.to_owned(),
        };
        let log = self.logs.get(origin).ok_or_else(unknown)?;
        admission::judge(&self.known, log, leaf).map(|_| ())
    }

    /// The entries of a log, in order; none for an unknown one.
    pub fn entries(&self, origin: &str) -> impl Iterator<Item = &Entry> {
        self.logs.get(origin).into_iter().flat_map(|log| &log.entries)
    }

    /// The entries about `subject`, in the order of its log; none if it is in no log held here.
    pub fn history(&self, subject: &SubjectId) -> impl Iterator<Item = &Entry> {
        let held = self.subject(subject).map(|(log, about)| (log, about.last));
        let chain = std::iter::successors(held.and_then(|(log, last)| log.entry(last)), move |entry| {
            held.and_then(|(log, _)| log.entry(entry.prev?))
        });
        let mut entries: Vec<_> = chain.collect();
        entries.reverse();
        entries.into_iter()
    }

    /// Index of the last entry about `subject` in its log.
    pub fn last_entry(&self, subject: &SubjectId) -> Option<u64> {
        self.known.subjects.get(subject).map(|subject| subject.last)
    }

    /// The tree over the leaves of a log, for proofs.
    pub fn tree(&self, origin: &str) -> Option<&Tree> {
        self.logs.get(origin).map(|log| &log.tree)
    }

    /// What the log of `node` states last of it, whether in effect or not.
    pub fn node(&self, node: &SubjectId) -> Option<NodeInfo> {
        let (log, subject) = self.subject(node)?;
        let last = log.last_of(&subject.stated)?;
        let endpoint = log.last_of(&subject.endpoints);
        let endpoint = endpoint.filter(|endpoint| endpoint.index > last.index);
        self.node_info(node, log, last, endpoint.and_then(endpoint_of))
    }

    /// What is stated of `node` and in effect at `at`; `None` unless its seal is valid (or contested) then.
    pub fn node_at(&self, node: &SubjectId, at: Instant) -> Option<NodeInfo> {
        let (log, stated, endpoint) = self.live_node(node, at)?;
        self.node_info(node, log, stated, endpoint)
    }

    /// Every node, ascending by id, as [`Self::node`] gives it.
    pub fn nodes(&self) -> impl Iterator<Item = NodeInfo> {
        let nodes = self
            .known
            .subjects
            .iter()
            .filter(|(_, subject)| subject.kind == Kind::Node);
        nodes.filter_map(|(node, _)| self.node(node))
    }

    /// What the log of `person` states last of it, whether in effect or not.
    pub fn person(&self, person: &SubjectId) -> Option<PersonInfo> {
        let (log, subject) = self.subject(person)?;
        let enrolled = |index: &usize| enrolment_of(log.entries.get(*index)?);
        let enrolment = subject.stated.iter().rev().find_map(enrolled)?;
        // Renewals and re-associations change the key, and the latter how it is protected.
        let protected = |index: &usize| match &log.entries.get(*index)?.content {
            Content::Enrolment(enrolment) => Some(enrolment.assurance),
            Content::Reassociation(reassociation) => Some(reassociation.assurance),
            _ => None,
        };
        let last = log.last_of(&subject.stated)?;
        Some(PersonInfo {
            person: *person,
            roles: enrolment.roles.clone(),
            node: enrolment.node,
            assurance: subject.stated.iter().rev().find_map(protected)?,
            certificate: last.content.key()?.certificate,
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
        let stated = self
            .in_effect(log, &subject.stated, at)
            .filter(|_| subject.kind == Kind::Enrolment);
        let content = &stated.ok_or("no enrolment of a person is in effect")?.content;
        let certificate = content.key().map(|key| key.certificate);
        let held = certificate.and_then(|certificate| self.known.certificates.get(&certificate));
        match held.map(|held| self.known.standing(held, at)) {
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

    /// Every person, ascending by id, as [`Self::person`] gives it.
    pub fn persons(&self) -> impl Iterator<Item = PersonInfo> {
        let persons = self
            .known
            .subjects
            .iter()
            .filter(|(_, subject)| subject.kind == Kind::Enrolment);
        persons.filter_map(|(person, _)| self.person(person))
    }

    /// The organisation, as its log states it last.
    pub fn organisation(&self, organisation: &SubjectId) -> Option<&Organisation> {
        let (log, subject) = self.subject(organisation)?;
        match &log.last_of(&subject.stated)?.content {
            Content::Organisation(organisation) => Some(organisation),
            _ => None,
        }
    }

    /// The node that shows the TLS key with that SHA-256 at `at`. A node has one TLS key at a time: that of the
    /// last endpoint or statement in effect, of however long ago. `None` unless its seal is valid (or contested) then.
    pub fn node_of_tls_key(&self, spki_sha256: &[u8; 32], at: Instant) -> Option<SubjectId> {
        let spki = Digest::new(*spki_sha256);
        let Holder::Subject(node) = self.known.keys.get(&spki)? else {
            return None;
        };
        let (_, entry, endpoint) = self.live_node(node, at)?;
        let stated = endpoint.map_or(node_of(entry)?.tls_spki_sha256, |endpoint| {
            endpoint.tls_spki_sha256
        });
        (stated == spki).then_some(*node)
    }

    /// The DER bytes of an enrolled certificate.
    pub fn certificate_der(&self, certificate: &CertificateId) -> Option<&[u8]> {
        let held = self.known.certificates.get(certificate)?;
        let leaf = self.logs.get(&held.origin)?.leaves.get(held.index)?;
        Some(&leaf.certificate)
    }

    /// How many entries of a log its witnesses have seen, as far as the log says, and without which members of the quorum;
    /// `None` where the policy asks for nobody.
    pub fn published(&self, origin: &str) -> Option<(u64, &[String])> {
        let published = self.known.published.get(origin)?;
        Some((published.size(), published.without()))
    }

    /// Of these entries of `log` the last that is in effect at `at`.
    fn in_effect<'a>(&self, log: &'a Log, indexes: &[usize], at: Instant) -> Option<&'a Entry> {
        let entries = indexes.iter().rev().filter_map(|index| log.entries.get(*index));
        entries.into_iter().find(|entry| {
            let effect = self
                .known
                .effect(log.authority.origin(), entry.index, entry.effective_at);
            effect.at(at) == Some(true)
        })
    }

    fn subject(&self, subject: &SubjectId) -> Option<(&Log, &Subject)> {
        let subject = self.known.subjects.get(subject)?;
        Some((self.logs.get(&subject.origin)?, subject))
    }

    /// The statement and the endpoint of `node` in effect at `at`, if its seal is valid or contested then. An endpoint
    /// gives way to a statement of the node that is later in the log.
    fn live_node(&self, node: &SubjectId, at: Instant) -> Option<(&Log, &Entry, Option<&Endpoint>)> {
        let (log, subject) = self.subject(node)?;
        let entry = self.in_effect(log, &subject.stated, at)?;
        let seal = self.known.certificates.get(&node_of(entry)?.seal.certificate)?;
        let endpoint = self.in_effect(log, &subject.endpoints, at);
        let endpoint = endpoint.filter(|endpoint| endpoint.index > entry.index);
        match self.known.standing(seal, at) {
            Standing::Valid(_) | Standing::Contested(..) => {
                Some((log, entry, endpoint.and_then(endpoint_of)))
            }
            Standing::Invalid(_) | Standing::Undetermined(_) => None,
        }
    }

    fn node_info(
        &self,
        id: &SubjectId,
        log: &Log,
        entry: &Entry,
        endpoint: Option<&Endpoint>,
    ) -> Option<NodeInfo> {
        let node = node_of(entry)?;
        let organisation = self.organisation(&node.organisation)?;
        let addresses = endpoint.map_or(&node.addresses, |endpoint| &endpoint.addresses);
        Some(NodeInfo {
            node: *id,
            organisation: node.organisation,
            organisation_name: organisation.name.clone(),
            kind: organisation.kind,
            addresses: addresses.clone(),
            tls_spki_sha256: endpoint.map_or(node.tls_spki_sha256, |endpoint| endpoint.tls_spki_sha256),
            seal: node.seal.certificate,
            encryption_spki: node.encryption_spki.clone(),
            origin: log.authority.origin().to_owned(),
            test: log.authority.is_test(),
        })
    }
}

const fn node_of(entry: &Entry) -> Option<&Node> {
    match &entry.content {
        Content::Node(node) => Some(node),
        _ => None,
    }
}

const fn endpoint_of(entry: &Entry) -> Option<&Endpoint> {
    match &entry.content {
        Content::Endpoint(endpoint) => Some(endpoint),
        _ => None,
    }
}

const fn enrolment_of(entry: &Entry) -> Option<&Enrolment> {
    match &entry.content {
        Content::Enrolment(enrolment) => Some(enrolment),
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
        let Some(held) = self.known.certificates.get(certificate) else {
            return Status::Undetermined {
                reason: "the certificate is in no log held here",
            };
        };
        match self.known.standing(held, at) {
            Standing::Valid(signer) => Status::Valid(signer.clone()),
            Standing::Contested(signer, reason) => Status::Contested {
                signer: signer.clone(),
                reason,
            },
            Standing::Invalid(reason) => Status::Invalid { reason },
            Standing::Undetermined(reason) => Status::Undetermined { reason },
        }
    }
}

impl Registry for Replica {
    fn heads(&self) -> Vec<RegistryHead> {
        let head = |log: &Log| RegistryHead {
            origin: log.authority.origin().to_owned(),
            size: log.size(),
            root: Digest::new(log.tree.root()),
        };
        self.logs.values().map(head).collect()
    }

    fn leaves(&self, origin: &str, from: u64, max_bytes: usize) -> Vec<RegistryLeaf> {
        let held = self.logs.get(origin).zip(usize::try_from(from).ok());
        let held = held
            .and_then(|(log, from)| log.leaves.get(from..))
            .unwrap_or_default();
        let mut left = max_bytes;
        let fits = |leaf: &&RegistryLeaf| {
            let bytes = leaf.leaf.len() + leaf.certificate.len() + LEAF_OVERHEAD_BYTES;
            left.checked_sub(bytes).map(|rest| left = rest).is_some()
        };
        held.iter().take_while(fits).cloned().collect()
    }

    fn import(&mut self, origin: &str, index: u64, leaf: &RegistryLeaf) -> Result<bool, Error> {
        self.admit(origin, index, leaf).map_err(Error::from)
    }

    fn encryption_key(&self, node: &SubjectId, at: Instant) -> Option<Vec<u8>> {
        let (_, entry, _) = self.live_node(node, at)?;
        node_of(entry).map(|node| node.encryption_spki.clone())
    }
}
