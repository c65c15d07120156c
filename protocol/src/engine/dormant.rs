//! Dossiers that nobody touches: a summary stands for each, until somebody needs more and it is read back.
//!
//! ```text
//! at rest ──Row::Summary──▶ store ──start: same basis?──▶ dormant ──poll_wake──▶ restore_…, handle_awake ──▶ awake
//! ```
//! A summary says what hello, repair, status and the confirmation of our own chain (JRN-6) need. The journal decides:
//! a summary that was not made of exactly what the store holds of the dossier is not used. Nothing is acknowledged,
//! signed or stored on the word of a summary; the first frame that says anything new wakes the dossier, waits
//! meanwhile, and then goes through the same door as ever.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{Engine, Held, Registry, Row};
use crate::directory::{Directory, Status};
use crate::dossier::{BarrierFact, Phase, Statement};
use crate::error::{Error, Malformed, Refused};
use crate::id::{CertificateId, Digest, DossierId, Incarnation, MessageId, SubjectId};
use crate::journal::{Content, EpochWrap, HeadRow, SignedHead, Verdict};
use crate::plant::{Bug, planted};
use crate::refusal::Code;
use crate::time::Instant;
use crate::wire::frame::{Frame, Frontier};
use crate::wire::{codec, limits};

/// The format of summaries. One of another format is not used.
const FORMAT: u64 = 1;
/// The largest summary, in bytes: a frontier, wraps and a head are bounded by their frames.
const SUMMARY_BYTES: usize = 1 << 20;
/// Frames that may wait for one dossier that is being read back; those beyond are repeated by the peers. SYN-7.
const PARKED_FRAMES: usize = 64;
/// Bytes of frames that may wait for all of them.
const PARKED_BYTES: usize = 16 << 20;
/// What is summarised in one period of repair has so many entries, unless the node stops. A larger dossier is
/// summarised alone, and once in as many periods: a summary takes some time for each entry.
const ENTRIES_PER_PERIOD: usize = 20_000;

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
    format: u64,
    dossier: DossierId,
    basis: Basis,
    rows: Vec<HeadRow>,
    /// The nodes of the dossier, those that ever were, and those whose latest head covers all that we hold.
    nodes: BTreeSet<SubjectId>,
    ever_nodes: BTreeSet<SubjectId>,
    equal: BTreeSet<SubjectId>,
    /// The other members that have signed a head and, as far as we know, lack an entry or a document. MBX-6.
    behind: BTreeSet<SubjectId>,
    /// The wraps of the first key: a member that lost its store learns it from our frontier. KEY-5.
    wraps: Vec<EpochWrap>,
    /// Our latest head, and when it was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    head: Option<(ByteBuf, Instant)>,
    phase: Phase,
    state_hash: Digest,
    entries: u64,
    documents: u64,
    bytes: u64,
    /// Documents of which this node has not stated all that it will have to.
    unstated: u64,
    /// The certificates that its verdicts rest on, and the last instant at which each counts.
    signers: Vec<(CertificateId, Instant)>,
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

    /// Whether it may keep a node that is to go: that serves somebody, or wrote what no other one is known to have. SEAT-5.
    pub fn keeps(&self, node: &SubjectId) -> bool {
        let wrote = self.rows.iter().any(|row| row.chain.node == *node);
        self.nodes.contains(node) || (wrote && self.equal.iter().all(|other| other == node))
    }

    /// Whether the registry says of every signer what it said when the verdicts were formed. REG-8.
    fn is_current(&self, directory: &dyn Directory) -> bool {
        let invalid = |(certificate, at): &(CertificateId, Instant)| {
            matches!(directory.status(certificate, *at), Status::Invalid { .. })
        };
        !self.signers.iter().any(invalid)
    }
}

/// A dossier that is not in memory.
#[derive(Debug)]
pub(super) struct Dormant {
    /// Without one it is on its way back.
    summary: Option<Summary>,
    /// The members that have said since the start that they hold exactly what we do. JRN-6.
    confirmed_by: BTreeSet<SubjectId>,
    /// What has been read back of it, once that has begun.
    pub(super) waking: Option<Box<Held>>,
    /// Frames that wait for it, with their peers.
    parked: Vec<(SubjectId, Vec<u8>)>,
    /// Some found no room.
    missed: bool,
}

impl<R: Registry> Engine<R> {
    /// Takes note of a dossier that the store holds, and of which nothing has been restored: with a summary that was
    /// made of `basis` it stays dormant, else it is to be read back. True if it stays dormant.
    pub fn restore_dormant(&mut self, dossier: DossierId, basis: &Basis, summary: Option<Summary>) -> bool {
        let fits = |summary: &Summary| {
            let same = summary.basis == *basis || planted(Bug::StaleSummaryBelieved);
            same && summary.dossier == dossier && summary.is_current(&self.registry)
        };
        let summary = summary.filter(fits);
        let dormant = Dormant {
            summary,
            confirmed_by: BTreeSet::new(),
            waking: None,
            parked: Vec::new(),
            missed: false,
        };
        let stays = dormant.summary.is_some();
        self.dormant.insert(dossier, dormant);
        if !stays {
            self.wake(dossier);
        }
        stays
    }

    /// Dossiers at rest that are not in memory.
    pub fn dormant(&self) -> impl Iterator<Item = &Summary> {
        self.dormant
            .values()
            .filter_map(|dormant| dormant.summary.as_ref())
    }

    /// Dossiers that are not in memory and may keep a node: as their summaries say, and those that are still to be read
    /// back because none could be used.
    pub fn dormant_that_keep<'a>(&'a self, node: &'a SubjectId) -> impl Iterator<Item = DossierId> + 'a {
        let keeps = |dormant: &Dormant| dormant.summary.as_ref().is_none_or(|one| one.keeps(node));
        let kept = self.dormant.iter().filter(move |(_, dormant)| keeps(dormant));
        kept.map(|(dossier, _)| *dossier)
    }

    /// Whether a dossier is known and not in memory: [`Self::wake`] it.
    pub fn is_dormant(&self, dossier: &DossierId) -> bool {
        self.dormant.contains_key(dossier)
    }

    /// Asks for every dossier that is not in memory to be read back; true if there is none.
    pub fn wake_all(&mut self) -> bool {
        for dossier in self.dormant.keys().copied().collect::<Vec<_>>() {
            self.wake(dossier);
        }
        self.dormant.is_empty()
    }

    /// How many dossiers are to be read back: [`Self::poll_wake`] names them.
    pub fn wakes(&self) -> usize {
        self.wakes.len()
    }

    /// When this node last signed a head, of those that it knows of, and under which incarnation.
    pub fn last_signed(&self) -> Option<(Instant, Incarnation)> {
        let own = |held: &Held| {
            let head = held.replica.heads().get(&self.node)?.head();
            Some((head.time, head.incarnation))
        };
        let dormant = self.dormant().filter_map(Summary::signed);
        self.dossiers.values().filter_map(own).chain(dormant).max()
    }

    /// How far a dossier is held, whether it is in memory or a summary stands for it.
    pub fn frontier(&self, dossier: &DossierId) -> Option<Vec<HeadRow>> {
        let awake = self.dossier(dossier).map(|replica| replica.frontier());
        awake.or_else(|| Some(self.dormant.get(dossier)?.summary.as_ref()?.rows.clone()))
    }

    /// Asks for a dormant dossier to be read back; again changes nothing.
    pub fn wake(&mut self, dossier: DossierId) {
        let (node, fresh) = (self.node, self.fresh);
        if let Some(dormant) = self.dormant.get_mut(&dossier)
            && dormant.waking.is_none()
        {
            dormant.waking = Some(Box::new(Held::new(dossier, node, fresh)));
            self.wakes.push_back(dossier);
        }
    }

    /// A dossier to be read back: its writer, keys, runs and heads through the `restore_` methods, in that order and in
    /// as many steps as the caller likes, then [`Self::handle_awake`].
    pub fn poll_wake(&mut self) -> Option<DossierId> {
        self.wakes.pop_front()
    }

    /// A dossier has been read back: it counts from now on, and what has waited for it is taken.
    pub fn handle_awake(&mut self, dossier: DossierId, now: Instant) {
        let Some(dormant) = self.dormant.remove(&dossier) else {
            return;
        };
        let Some(mut held) = dormant.waking else {
            return;
        };
        held.confirmed_by = dormant.confirmed_by;
        held.confirm();
        self.dossiers.insert(dossier, *held);
        self.ask_later_keys(dossier);
        for (from, bytes) in dormant.parked {
            self.parked_bytes -= bytes.len();
            if self.is_joined(&from) {
                self.handle_frame(from, &bytes, now);
            }
        }
        // Peers that found it without a summary, or were not heard, have not been told how far we hold it.
        if dormant.summary.is_none() || dormant.missed {
            for peer in self.peers().collect::<Vec<_>>() {
                if self.is_node_of(&peer, &dossier) {
                    self.offer_frontier(peer, dossier);
                }
            }
        }
    }

    fn is_joined(&self, peer: &SubjectId) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.joined)
    }

    fn is_node_of(&self, peer: &SubjectId, dossier: &DossierId) -> bool {
        let held = self.dossiers.get(dossier);
        held.is_some_and(|held| held.replica.state().nodes().contains(peer))
    }

    /// The dossiers whose summaries concern a peer: all, or only where it lags.
    pub(super) fn dormant_of(&self, peer: &SubjectId, only_lagging: bool) -> Vec<DossierId> {
        let concerned = |dormant: &Dormant| {
            let summary = dormant.summary.as_ref();
            let equal =
                |summary: &Summary| summary.equal.contains(peer) || dormant.confirmed_by.contains(peer);
            summary.is_some_and(|summary| summary.nodes.contains(peer) && !(only_lagging && equal(summary)))
        };
        let concerned = self.dormant.iter().filter(|(_, dormant)| concerned(dormant));
        concerned.map(|(dossier, _)| *dossier).collect()
    }

    /// Our frontier of a dormant dossier, as a peer is sent it. SYN-5.
    pub(super) fn dormant_frontier(&self, to: &SubjectId, dossier: &DossierId) -> Option<Frontier> {
        let summary = self.dormant.get(dossier)?.summary.as_ref()?;
        let wraps = summary.wraps.iter().filter(|wrap| wrap.recipient == *to);
        Some(Frontier {
            dossier: *dossier,
            rows: summary.rows.clone(),
            wraps: wraps.take(limits::DOSSIER_NODES).cloned().collect(),
            head: summary.head.as_ref().map(|(head, _)| head.clone()),
            // A dossier of which a message is wanting is not summarised.
            lacking: Vec::new(),
        })
    }

    /// What a peer says of a dormant dossier: true if it was that. What says nothing new is taken here; what may say
    /// something new waits until the dossier is awake.
    pub(super) fn take_dormant(
        &mut self,
        from: SubjectId,
        frame: &Frame,
        bytes: &[u8],
    ) -> Result<bool, Error> {
        if self.dormant.is_empty() {
            return Ok(false);
        }
        let head = match frame {
            Frame::Frontier(_) => None,
            // Who did not sign a head of this dossier wakes nobody.
            Frame::Run(run) if self.is_dormant(&run.dossier) => {
                Some(SignedHead::verify(&run.head, &self.registry)?)
            }
            Frame::Head(head) => Some(SignedHead::verify(head, &self.registry)?),
            Frame::Hello(_) | Frame::RegistryLeaves(_) | Frame::Run(_) | Frame::Refusal(_) => {
                return Ok(false);
            }
        };
        let dossier = match (frame, &head) {
            (Frame::Frontier(frontier), _) => frontier.dossier,
            (_, Some(head)) => head.head().dossier,
            (_, None) => return Ok(false),
        };
        let Some(dormant) = self.dormant.get_mut(&dossier) else {
            return Ok(false);
        };
        if let Some(summary) = &dormant.summary {
            let known = |head: &[u8]| {
                let digest = Digest::of(&[head]);
                summary.basis.heads.iter().any(|(_, known)| *known == digest)
            };
            match (frame, &head) {
                (Frame::Frontier(frontier), _) => {
                    if !summary.nodes.contains(&from) {
                        return Err(Refused::UnknownDossier { dossier }.into());
                    }
                    let bounded = frontier.wraps.len() <= limits::DOSSIER_NODES;
                    let head_known = frontier.head.as_ref().is_none_or(|head| known(head));
                    let wants = !frontier.lacking.is_empty();
                    if bounded && head_known && !wants && frontier.rows == summary.rows {
                        dormant.confirmed_by.insert(from);
                        if let Some(peer) = self.peers.get_mut(&from) {
                            peer.told.insert(dossier);
                        }
                        return Ok(true);
                    }
                }
                (Frame::Run(run), Some(head)) => {
                    let member = summary.nodes.contains(&run.chain.node)
                        || (summary.nodes.contains(&from) && summary.ever_nodes.contains(&run.chain.node));
                    if !member || head.head().chain() != run.chain {
                        let author = run.chain.node;
                        return Err(Refused::NotParticipant { author }.into());
                    }
                    if head
                        .head()
                        .own_row()
                        .is_some_and(|row| summary.rows.contains(row))
                    {
                        return Ok(true);
                    }
                }
                (_, Some(head)) => {
                    let author = head.head().node;
                    if !summary.nodes.contains(&from) || !summary.nodes.contains(&author) {
                        return Err(Refused::NotParticipant { author }.into());
                    }
                    if known(&head.encode()) {
                        return Ok(true);
                    }
                }
                (_, None) => {}
            }
        }
        let room = dormant.parked.len() < PARKED_FRAMES && self.parked_bytes + bytes.len() <= PARKED_BYTES;
        if room {
            self.parked_bytes += bytes.len();
            dormant.parked.push((from, bytes.to_vec()));
        } else {
            dormant.missed = true;
        }
        self.wake(dossier);
        Ok(true)
    }

    /// The registry has changed: what rests on a certificate that it no longer vouches for is judged again.
    pub(super) fn wake_where_signers_changed(&mut self) {
        let stale = |dormant: &Dormant| {
            let summary = dormant.summary.as_ref();
            summary.is_some_and(|summary| !summary.is_current(&self.registry))
        };
        let stale = self.dormant.iter().filter(|(_, dormant)| stale(dormant));
        for dossier in stale.map(|(dossier, _)| *dossier).collect::<Vec<_>>() {
            self.wake(dossier);
        }
        for held in self
            .dormant
            .values_mut()
            .filter_map(|dormant| dormant.waking.as_mut())
        {
            held.replica.judge_again(&self.registry);
        }
    }

    /// Summarises the dossiers at rest that have changed since they were summarised: as many as one period has room
    /// for, each in its turn, or all of them, where the node stops.
    pub fn summarise(&mut self, stopping: bool) {
        let mut room = ENTRIES_PER_PERIOD;
        let mut turns: Vec<_> = self.dossiers.keys().copied().collect();
        let first = turns.partition_point(|dossier| *dossier <= self.summarised);
        turns.rotate_left(first);
        for dossier in turns {
            let Some(held) = self.dossiers.get_mut(&dossier) else {
                continue;
            };
            let entries = held.replica.entries();
            held.periods += 1;
            let due = held.periods > entries / ENTRIES_PER_PERIOD && room > 0;
            let basis = held.basis();
            if !(due || stopping) || held.summary_of.as_ref() == Some(&basis) {
                continue;
            }
            if let Some(summary) = held.summary(basis.clone(), self.node) {
                (held.summary_of, held.periods) = (Some(basis), 0);
                let summary = Box::new(summary);
                self.stage.rows.push(Row::Summary { summary });
                self.summarised = dossier;
                room = room.saturating_sub(entries.max(1));
            }
        }
    }
}

impl Held {
    /// What the store holds of it, once everything that is staged is durable.
    fn basis(&self) -> Basis {
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
    fn summary(&self, basis: Basis, node: SubjectId) -> Option<Summary> {
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
        if under_way || open || watched || erases || basis.runs == 0 || state.designation().is_none() {
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
        let mut signers = std::collections::BTreeMap::<CertificateId, Instant>::new();
        for (_, _, record) in replica.records() {
            // What was not authentic may have become so once it is read back under a larger registry.
            let Content::Authentic(_, signer) = &record.content else {
                return None;
            };
            if record.verdict == Verdict::WithoutEffect(Code::SignerInvalid) {
                return None;
            }
            let last = signers.entry(*signer).or_default();
            *last = (*last).max(record.recorded_at);
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
        })
    }
}
