//! What stands for a dossier at rest, and of what it was made. SPEC §8.2, §10.3.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::Held;
use crate::directory::{Delegation, Directory, Status};
use crate::dossier::{BarrierFact, Phase, Statement};
use crate::error::Malformed;
use crate::id::{CertificateId, Digest, DossierId, Incarnation, MessageId, SubjectId};
use crate::journal::{Content, EpochWrap, HeadRow, Verdict};
use crate::refusal::Code;
use crate::time::Instant;
use crate::wire::codec;

/// The format of summaries. One of another format is not used.
const FORMAT: u64 = 2;
/// The largest summary, in bytes: a frontier, wraps and a head are bounded by their frames.
const SUMMARY_BYTES: usize = 1 << 20;

/// What a store holds of a dossier, as far as it tells whether a summary was made of the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// Runs.
    pub runs: u64,
    /// SHA-256 of the head that closes the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Digest>,
    /// SHA-256 of each node's latest head, ascending by node.
    pub heads: Vec<(SubjectId, Digest)>,
    /// Under which incarnation this node writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<Incarnation>,
    /// The epochs whose keys it has, ascending.
    pub keys: Vec<u64>,
}

/// What a node needs of a dossier at rest. Keys are positions; another format has another number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub(super) format: u64,
    pub(super) dossier: DossierId,
    pub(super) basis: Basis,
    pub(super) rows: Vec<HeadRow>,
    /// The nodes of the dossier, those that ever were, and those whose latest head covers all that we hold.
    pub(super) nodes: BTreeSet<SubjectId>,
    pub(super) ever_nodes: BTreeSet<SubjectId>,
    pub(super) equal: BTreeSet<SubjectId>,
    /// The other members that have signed a head and, as far as we know, lack an entry or a document. MBX-6.
    pub(super) behind: BTreeSet<SubjectId>,
    /// The wraps of the first key: a member that lost its store learns it from our frontier. KEY-5.
    pub(super) wraps: Vec<EpochWrap>,
    /// Our latest head, and when it was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) head: Option<(ByteBuf, Instant)>,
    pub(super) phase: Phase,
    pub(super) state_hash: Digest,
    pub(super) entries: u64,
    pub(super) documents: u64,
    pub(super) bytes: u64,
    /// Documents of which this node has not stated all that it will have to.
    pub(super) unstated: u64,
    /// The certificates that its verdicts rest on, and the last instant at which each counts.
    pub(super) signers: Vec<(CertificateId, Instant)>,
    /// The delegations that they rest on, and the last instant at which each counts. PTY-3.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) delegations: Vec<(SubjectId, Digest, Instant)>,
}

impl Summary {
    /// The bytes for the store.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads what the store has; an error only says that there is no summary to use.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let summary: Self = codec::decode(bytes, SUMMARY_BYTES)?;
        match summary.format {
            FORMAT => Ok(summary),
            _ => Err(Malformed::bad_value()),
        }
    }

    /// What it was made of.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }

    /// The dossier.
    pub fn dossier(&self) -> DossierId {
        self.dossier
    }

    /// How far each chain is held.
    pub fn frontier(&self) -> &[HeadRow] {
        &self.rows
    }

    /// The nodes of the dossier.
    pub fn nodes(&self) -> &BTreeSet<SubjectId> {
        &self.nodes
    }

    /// The other members that have signed a head and, as far as this node knows, lack an entry or a document. MBX-6.
    pub fn behind(&self) -> &BTreeSet<SubjectId> {
        &self.behind
    }

    /// The nodes whose latest head covers all that is held.
    pub fn receipts(&self) -> &BTreeSet<SubjectId> {
        &self.equal
    }

    /// Where the assessment stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// SHA-256 of the canonical state. SYN-9.
    pub fn state_hash(&self) -> Digest {
        self.state_hash
    }

    /// Entries held, none of which waits for anything.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Documents that this node has stated to hold, and their plaintext bytes.
    pub fn documents(&self) -> (u64, u64) {
        (self.documents, self.bytes)
    }

    /// Documents of which this node has not stated all that it will have to: it lacks them, or has just got them.
    pub fn unstated(&self) -> u64 {
        self.unstated
    }

    /// When this node signed its latest head, and under which incarnation it writes.
    pub fn signed(&self) -> Option<(Instant, Incarnation)> {
        self.head.as_ref().map(|(_, at)| *at).zip(self.basis.writer)
    }

    /// Whether two nodes are members both. Who has left is told nothing, and tells nothing.
    pub(super) fn is_shared(&self, one: &SubjectId, other: &SubjectId) -> bool {
        self.nodes.contains(one) && self.nodes.contains(other)
    }

    /// SHA-256 of a node's latest head.
    pub(super) fn head_of(&self, node: &SubjectId) -> Option<Digest> {
        let heads = &self.basis.heads;
        let found = heads.iter().find(|(signer, _)| signer == node);
        found.map(|(_, digest)| *digest)
    }

    /// Our latest head, as we signed it.
    pub(super) fn own_head(&self) -> Option<&[u8]> {
        self.head.as_ref().map(|(head, _)| head.as_slice())
    }

    /// Whether it may keep a node that is to go: that serves somebody, or wrote what no other one is known to have. SEAT-5.
    pub fn keeps(&self, node: &SubjectId) -> bool {
        let wrote = self.rows.iter().any(|row| row.chain.node == *node);
        self.nodes.contains(node) || (wrote && self.equal.iter().all(|other| other == node))
    }

    /// Whether the registry says of every signer what it said when the verdicts were formed: that it may sign. REG-8, PTY-3.
    pub(super) fn is_current(&self, directory: &dyn Directory) -> bool {
        let signs = |(certificate, at): &(CertificateId, Instant)| {
            let status = directory.status(certificate, *at);
            matches!(status, Status::Valid(_) | Status::Contested { .. })
        };
        let granted = |(delegate, commitment, at): &(SubjectId, Digest, Instant)| {
            let delegation = directory.delegation(delegate, commitment, *at);
            matches!(delegation, Delegation::Granted { .. })
        };
        self.signers.iter().all(signs) && self.delegations.iter().all(granted)
    }
}

impl Held {
    /// What the store holds of it, once everything that is staged is durable.
    pub(super) fn basis(&self) -> Basis {
        let heads = self.replica.heads().iter();
        Basis {
            runs: self.runs.len() as u64,
            last: self.last_run,
            heads: heads
                .map(|(node, head)| (*node, Digest::of(&[&head.encode()])))
                .collect(),
            writer: self.writer_kept.then_some(self.writer.incarnation),
            keys: self.replica.keys().map(|(epoch, _)| epoch).collect(),
        }
    }

    /// The summary of a dossier at rest; `None` while any of it waits, or any verdict may become another.
    pub(super) fn summary(&self, basis: Basis, node: SubjectId) -> Option<Summary> {
        let (replica, state) = (&self.replica, self.replica.state());
        let under_way = !self.unsealed.is_empty() || !self.waiting.is_empty() || self.brought_by.is_some();
        let open = replica.pending() > 0 || replica.chains().forks().next().is_some();
        let asked = |(id, fact): (&MessageId, &BarrierFact)| {
            fact.members.contains(&node) && state.barrier_held(id, &node).is_none()
        };
        // A node that has left signs no barrier.
        let unsigned = state.nodes().contains(&node) && state.barriers().iter().any(asked);
        let watched = unsigned || self.lacks_what_is_named();
        // What an erasure destroys beside the message is looked after where the journal is in memory.
        let erases = state.tombstones().next().is_some();
        // A receipt that is owed is signed where the journal is in memory. SYN-17.
        let owes = state.nodes().contains(&node) && !self.is_equal_at(&node);
        if under_way || open || watched || erases || owes || basis.runs == 0 || state.designation().is_none()
        {
            return None;
        }
        let roster = state.roster();
        let served: Vec<_> = roster.iter().filter(|(_, member)| member.node == node).collect();
        let (mut documents, mut bytes, mut unstated) = (0, 0, 0);
        for document in state.documents() {
            let available = |who| state.stated(Statement::MadeAvailable, document, who).is_some();
            if state.stated(Statement::Held, document, &node).is_some() {
                documents += 1;
                bytes += document.reference.bytes;
                unstated += u64::from(!served.iter().all(|(who, _)| available(who)));
            } else {
                unstated += 1;
            }
        }
        let mut signers = BTreeMap::<CertificateId, Instant>::new();
        let mut delegations = BTreeMap::<(SubjectId, Digest), Instant>::new();
        for (_, _, record) in replica.records() {
            // What was not authentic may have become so once it is read back under a larger registry.
            let Content::Authentic(_, signer) = &record.content else {
                return None;
            };
            if record.verdict == Verdict::WithoutEffect(Code::SignerInvalid) {
                return None;
            }
            // Of a key that was enrolled inside the registry says nothing but what was delegated.
            if state.sponsors(signer).next().is_none() {
                let last = signers.entry(*signer).or_default();
                *last = (*last).max(record.recorded_at);
            }
            let enrolled = state
                .party_keys()
                .filter(|(message, _)| *message == record.message);
            for (_, key) in state.sponsors(signer).chain(enrolled) {
                let last = delegations.entry((key.by, state.delegation_of(key))).or_default();
                *last = (*last).max(record.recorded_at);
            }
        }
        let heads = replica.heads();
        let equal: BTreeSet<_> = heads
            .keys()
            .filter(|peer| self.is_equal_at(peer))
            .copied()
            .collect();
        let nodes = state.nodes();
        let lacks_document = |peer: &SubjectId| {
            let mut documents = state.documents();
            documents.any(|document| state.stated(Statement::Held, document, peer).is_none())
        };
        let behind = heads.keys().filter(|peer| {
            let other = **peer != node && nodes.contains(peer);
            other && (!equal.contains(peer) || lacks_document(peer))
        });
        let behind = behind.copied().collect();
        let own = heads.get(&node);
        Some(Summary {
            format: FORMAT,
            dossier: replica.dossier(),
            basis,
            rows: replica.frontier(),
            nodes,
            ever_nodes: state.ever_nodes(),
            equal,
            behind,
            wraps: replica.first_keys().cloned().collect(),
            head: own.map(|head| (ByteBuf::from(head.encode()), head.head().time)),
            phase: state.phase(),
            state_hash: state.hash(),
            entries: replica.entries() as u64,
            documents,
            bytes,
            unstated,
            signers: signers.into_iter().collect(),
            delegations: delegations
                .into_iter()
                .map(|((delegate, commitment), at)| (delegate, commitment, at))
                .collect(),
        })
    }
}
