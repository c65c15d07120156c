//! A node without its shell: dossiers, peers and registry, driven from outside. SPEC §8 to §10.
//!
//! The caller feeds it and carries out what it asks for, in this order, as often as it likes:
//!
//! 1. *handle*: [`Engine::handle_connected`], [`Engine::handle_frame`], [`Engine::handle_closed`],
//!    [`Engine::handle_timeout`];
//! 2. *commands*: [`Engine::submit`], [`Engine::import_leaf`], [`Engine::learn_key`];
//! 3. [`Engine::poll_unwrap`], answered with [`Engine::learn_key`];
//! 4. [`Engine::poll_commit`]: make the rows durable, then [`Engine::handle_durable`];
//! 5. [`Engine::poll_sign`]: sign each, then [`Engine::handle_signed`];
//! 6. [`Engine::poll_frame`], [`Engine::poll_leaves_of`], [`Engine::poll_backlog`] and [`Engine::poll_event`]: only what the last durable commit covers comes out.
//!
//! An entry is durable before the head that covers it is signed, and that head is durable before anybody hears of
//! it: two commits an exchange, but each commit serves all that has come in meanwhile. JRN-5, INV-5.

mod ahead;
mod backlog;
mod dormant;
mod erase;
mod gaps;
mod gossip;
mod inventory;
mod keys;
mod leaves;
mod mailbox;
mod peer;
mod proofs;
mod quota;
mod receive;
mod registry;
mod seal;
mod submit;
mod summary;

pub use ahead::{Ahead, Checker};
pub use backlog::Backlog;
pub use gaps::GAP_AFTER;
pub use gossip::Gossiped;
pub use mailbox::{LeftRun, Taken};
pub use proofs::Unproven;
pub use quota::{Allowance, Quotas};
pub use registry::{Imported, Registry, RegistryRow};
pub use submit::{Fresh, Needs, Ticket, WrapNeed};
pub use summary::{Basis, Summary};

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_bytes::ByteBuf;

use crate::dossier::{Received, Replica, RunItem};
use crate::envelope::EpochKey;
use crate::error::{Error, Untrusted};
use crate::id::{Digest, DossierId, Incarnation, MessageId, SubjectId};
use crate::jose::WrapContext;
use crate::journal::{Branch, ChainId, Head, HeadRow, SignedHead};
use crate::message::Gap;
use crate::plant::{Bug, planted};
use crate::refusal::Code;
use crate::time::{Instant, Span};
use crate::wire::frame::{Frame, ProofRequest, RegistryLeaf};
use backlog::Queue;
use dormant::Dormant;
use inventory::Cursor;
use peer::Peer;
use quota::{Account, Used};

/// Something to keep: the caller gives each kind its place in its store.
#[derive(Clone, Debug)]
pub enum Row {
    /// An entry and its sealed message. It is stored again when its message comes later.
    Entry {
        /// The history of its chain that it belongs to.
        branch: Branch,
        /// The entry and the message.
        item: Box<RunItem>,
    },
    /// The message of a stored entry is to be destroyed: the entry stays. ERA-5.
    Erase {
        /// The dossier.
        dossier: DossierId,
        /// The history of the entry's chain.
        branch: Branch,
        /// The entry.
        seq: u64,
    },
    /// Run `index` of a dossier, in the order applied here: a chain's entries up to `to`, closed by `head`.
    Run {
        /// The dossier.
        dossier: DossierId,
        /// Its place in the order, from 0.
        index: u64,
        /// The chain, and which history of it.
        branch: Branch,
        /// The first entry.
        from: u64,
        /// The entry after the last.
        to: u64,
        /// The head, as signed.
        head: Vec<u8>,
    },
    /// A node's latest head in a dossier.
    Head {
        /// The dossier.
        dossier: DossierId,
        /// Whose.
        node: SubjectId,
        /// The head, as signed.
        head: Vec<u8>,
    },
    /// A key of a dossier. Secret.
    Key {
        /// The dossier.
        dossier: DossierId,
        /// The key epoch.
        epoch: u64,
        /// The key.
        key: EpochKey,
    },
    /// The incarnation under which this node writes in a dossier.
    Writer {
        /// The dossier.
        dossier: DossierId,
        /// The incarnation.
        incarnation: Incarnation,
    },
    /// A leaf of an authority's log.
    Leaf {
        /// The log.
        origin: String,
        /// Its index.
        index: u64,
        /// The leaf and its certificate.
        leaf: RegistryLeaf,
    },
    /// What the registry keeps beside its leaves.
    Registry(RegistryRow),
    /// What stands for a dossier at rest at the next start, in place of the one before. Losing it loses time only.
    Summary {
        /// The summary, which names the dossier.
        summary: Box<Summary>,
    },
}

/// Something that happened. What concerns entries comes out only once it is durable and covered by a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A submission is deposited: durable here, under a head.
    Accepted {
        /// Which submission.
        ticket: Ticket,
        /// The dossier.
        dossier: DossierId,
        /// The message.
        message: MessageId,
    },
    /// A submission was turned away; nothing of it is stored.
    Rejected {
        /// Which submission.
        ticket: Ticket,
        /// Why.
        error: Error,
    },
    /// A dossier changed: entries came, or a peer's head did.
    Changed {
        /// Which.
        dossier: DossierId,
    },
    /// A peer and we agree on a version.
    Joined {
        /// Who.
        peer: SubjectId,
    },
    /// Something from a peer was turned away, and counted. The connection goes on.
    Refused {
        /// From whom.
        peer: SubjectId,
        /// Why.
        code: Code,
    },
    /// A peer speaks no version that we speak: close the connection.
    Unusable {
        /// Who.
        peer: SubjectId,
    },
    /// Entries of a registry came.
    RegistryChanged,
    /// A log goes on in another history than the one held here, which is to give way: see [`Engine::replace_registry`].
    /// REG-31.
    OtherHistory {
        /// Which log.
        origin: String,
    },
    /// A peer says what the largest checkpoint of a log is. LOG-12.
    Checkpoint {
        /// Who.
        peer: SubjectId,
        /// A note, not looked at.
        note: ByteBuf,
    },
    /// A peer says that a log has contradicted itself. LOG-14.
    Equivocation {
        /// Who.
        peer: SubjectId,
        /// The proof, not looked at.
        proof: ByteBuf,
    },
    /// Its own node has signed two histories of one chain. Alarm, once for each chain and process.
    Forked {
        /// The dossier.
        dossier: DossierId,
        /// The chain.
        chain: ChainId,
    },
    /// A member says of a chain what we know to be otherwise: it errs or lies, or the chain's node has told it another
    /// history. Alarm, once for each; it proves nothing against the chain's node.
    Disagreed {
        /// The dossier.
        dossier: DossierId,
        /// The chain.
        chain: ChainId,
        /// Who says so.
        member: SubjectId,
    },
    /// Entries that a head names have not come for [`GAP_AFTER`]. Alarm; unless it is `signed` already, the node states it.
    Gap {
        /// The dossier.
        dossier: DossierId,
        /// What the node is to state.
        gap: Gap,
        /// Whether a statement of this node about the chain is open.
        signed: bool,
    },
    /// A node signed under an incarnation after a later one of it had begun. Alarm, once for each node and process.
    LivesTwice {
        /// The dossier.
        dossier: DossierId,
        /// The earlier chain.
        chain: ChainId,
    },
    /// A member has proved what [`Engine::ask_proof`] asked for: its head is kept like any other that it sends.
    Proven {
        /// Who.
        peer: SubjectId,
        /// What was asked.
        request: Box<ProofRequest>,
        /// Its head.
        head: Box<SignedHead>,
        /// The row that covers what was asked about.
        row: HeadRow,
        /// The path to that row's root.
        path: Vec<Digest>,
    },
    /// A member has not proved it; nothing of what it answered is kept.
    Unproven {
        /// Who.
        peer: SubjectId,
        /// What was asked.
        request: Box<ProofRequest>,
        /// Why not.
        why: Unproven,
    },
    /// A member knows more of our chain than we do: this store is older than it was. Alarm.
    RolledBack {
        /// The dossier.
        dossier: DossierId,
    },
}

/// A key to unwrap: an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnwrapRequest {
    /// What the wrap is bound to; names the dossier and the epoch.
    pub context: WrapContext,
    /// Compact JWE.
    pub jwe: String,
}

/// A head to sign: an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignRequest {
    /// The head; sign [`Head::encode`] as a [`crate::envelope::Typ::Head`].
    pub head: Head,
}

/// How often a node compares frontiers with each peer that lags.
const REPAIR_EVERY: Span = Span::from_seconds(5);

/// A node without its shell.
#[derive(Debug)]
pub struct Engine<R> {
    node: SubjectId,
    /// Under which this process writes where the store's own incarnation is not confirmed. JRN-6.
    fresh: Incarnation,
    software: String,
    registry: R,
    /// Whom this node has asked last for leaves that are lacking, and how often it has asked anybody.
    asked: Option<leaves::Asked>,
    asked_times: u64,
    /// Whose leaves of a log alone are taken.
    follows: Option<leaves::Follows>,
    /// How many leaves of each log are durable.
    logs: BTreeMap<String, u64>,
    dossiers: BTreeMap<DossierId, Held>,
    /// Those that are not in memory: in one of the two maps each.
    dormant: BTreeMap<DossierId, Dormant>,
    wakes: VecDeque<DossierId>,
    parked_bytes: usize,
    /// The dossier that was summarised last.
    summarised: DossierId,
    peers: BTreeMap<SubjectId, Peer>,
    /// How many changes of dossiers there have been, and how far each peer and we have told each other of them.
    changes: u64,
    cursors: BTreeMap<SubjectId, Cursor>,
    /// What peers may bring and persons may found, and what they have of late.
    quotas: Quotas,
    accounts: BTreeMap<SubjectId, Account>,
    /// The dossiers of which each peer takes no more now, and until when. SYN-19.
    held_back: BTreeMap<SubjectId, BTreeMap<DossierId, Instant>>,
    founders: BTreeMap<SubjectId, Used>,
    /// How often a wait was drawn.
    jitters: u64,
    next_ticket: u64,
    /// What the next commit will make durable.
    stage: Stage,
    /// What the commit under way makes durable.
    in_flight: Option<Stage>,
    unwraps: VecDeque<UnwrapRequest>,
    signs: VecDeque<SignRequest>,
    frames: VecDeque<(SubjectId, Vec<u8>)>,
    events: VecDeque<Event>,
    next_repair: Instant,
    /// When to compare everything with one random peer, and how often that was done.
    next_comparison: Option<Instant>,
    comparisons: u64,
    /// The registry has changed since the dossiers were judged.
    rejudge: bool,
}

/// A dossier and where our writing of it stands.
#[derive(Debug)]
struct Held {
    replica: Replica,
    /// The chain that we write, and whether its highest position is known to be ours. JRN-6.
    writer: ChainId,
    confirmed: bool,
    /// Whether the store knows under which incarnation we write.
    writer_kept: bool,
    /// The members that know no more of it than we do.
    confirmed_by: BTreeSet<SubjectId>,
    /// The number of our next head in it, if no more is known than the store says.
    next_head: u64,
    /// The store may be older than what we signed: the next number is no less than the clock.
    resumed: bool,
    /// Own entries covered by our last head.
    sealed: u64,
    /// Runs, in the order applied here: what a peer that lacks them is sent. And SHA-256 of the last one's head.
    runs: Vec<RunIndex>,
    last_run: Option<Digest>,
    /// Of what the store's summary was made, and how many periods ago.
    summary_of: Option<Basis>,
    periods: usize,
    /// Submissions that wait for the head that covers them.
    waiting: Vec<(u64, Ticket, MessageId)>,
    /// Of which chains it was told that they are forked, and of which who said what we know to be otherwise.
    alarmed: BTreeSet<(ChainId, Option<SubjectId>)>,
    /// The wraps of later keys that it has asked for, by their place in the journal.
    asked: BTreeSet<usize>,
    /// What heads name and has not come, by chain.
    missing: BTreeMap<ChainId, gaps::Missing>,
    /// The nodes of which it was told that they live twice.
    twice: BTreeSet<SubjectId>,
    /// Who brought it, as long as nothing of it has come but a key: then it is nowhere but in memory. SYN-12.
    brought_by: Option<SubjectId>,
    /// Own entries since our last head, with their bytes, for the runs that the next heads close.
    unsealed: Vec<(RunItem, usize)>,
    /// The number of the last change of what we hold of it, and the digest of the rows since then.
    changed: u64,
    rows_digest: Option<Digest>,
}

/// A run that the store holds.
#[derive(Clone, Copy, Debug)]
struct RunIndex {
    branch: Branch,
    to: u64,
}

/// What waits for a commit: rows, and what may be said once they are durable.
#[derive(Debug, Default)]
struct Stage {
    rows: Vec<Row>,
    frames: Vec<(SubjectId, Vec<u8>)>,
    events: Vec<Event>,
    /// What frontiers ask for.
    backlogs: Vec<(SubjectId, DossierId, Queue)>,
    /// Dossiers of which something new will be durable, and so need a head.
    to_seal: BTreeSet<DossierId>,
    heads: Vec<Head>,
    /// Whether there are leaves of the registry among the rows.
    leaves: bool,
    /// How many of each log are durable once these are.
    logs: BTreeMap<String, u64>,
}

impl Stage {
    fn is_empty(&self) -> bool {
        self.rows.is_empty()
            && self.frames.is_empty()
            && self.events.is_empty()
            && self.backlogs.is_empty()
            && self.to_seal.is_empty()
    }
}

impl<R: Registry> Engine<R> {
    /// A node that holds nothing yet; the `restore_` methods add what its store holds.
    ///
    /// `fresh` is 16 random bytes, drawn anew at every start.
    pub fn new(node: SubjectId, fresh: Incarnation, software: &str, registry: R) -> Self {
        Self {
            node,
            fresh,
            software: software.to_owned(),
            logs: leaves::sizes(&registry),
            registry,
            asked: None,
            asked_times: 0,
            follows: None,
            dossiers: BTreeMap::new(),
            dormant: BTreeMap::new(),
            wakes: VecDeque::new(),
            parked_bytes: 0,
            summarised: DossierId::new([0; 32]),
            peers: BTreeMap::new(),
            changes: 0,
            cursors: BTreeMap::new(),
            quotas: Quotas::default(),
            accounts: BTreeMap::new(),
            held_back: BTreeMap::new(),
            founders: BTreeMap::new(),
            jitters: 0,
            next_ticket: 0,
            stage: Stage::default(),
            in_flight: None,
            unwraps: VecDeque::new(),
            signs: VecDeque::new(),
            frames: VecDeque::new(),
            events: VecDeque::new(),
            next_repair: Instant::default(),
            next_comparison: None,
            comparisons: 0,
            rejudge: false,
        }
    }

    /// This node.
    pub fn node(&self) -> SubjectId {
        self.node
    }

    /// The registry.
    pub fn registry(&self) -> &R {
        &self.registry
    }

    /// A dossier.
    pub fn dossier(&self, dossier: &DossierId) -> Option<&Replica> {
        self.dossiers.get(dossier).map(|held| &held.replica)
    }

    /// Every dossier.
    pub fn dossiers(&self) -> impl Iterator<Item = &Replica> {
        self.dossiers.values().map(|held| &held.replica)
    }

    /// Whether another member's head names more of what this node wrote than it holds: that was lost, and comes back.
    pub fn lacks_own(&self, dossier: &DossierId) -> bool {
        let Some(replica) = self.dossier(dossier) else {
            return false;
        };
        let heads = replica.heads().values().map(|head| head.head());
        let mut ours = heads
            .flat_map(|head| &head.rows)
            .filter(|row| row.chain.node == self.node);
        ours.any(|row| {
            replica
                .chain(&row.chain)
                .is_none_or(|chain| chain.size() < row.size)
        })
    }

    /// The peers with whom a version is agreed.
    pub fn peers(&self) -> impl Iterator<Item = SubjectId> {
        self.peers
            .iter()
            .filter(|(_, peer)| peer.joined)
            .map(|(node, _)| *node)
    }

    /// How many runs wait for what they cite, at the peer with most of them. SYN-10.
    pub fn most_early_runs(&self) -> usize {
        self.peers
            .values()
            .map(|peer| peer.early.len())
            .max()
            .unwrap_or(0)
    }

    /// Whether no commit, signature or frame is under way.
    pub fn is_idle(&self) -> bool {
        self.stage.is_empty()
            && self.in_flight.is_none()
            && self.wakes.is_empty()
            && self.signs.is_empty()
            && self.frames.is_empty()
            && self.peers.values().all(|peer| peer.backlogs.is_empty())
            && self.events.is_empty()
    }

    /// A frame to send, oldest first.
    pub fn poll_frame(&mut self) -> Option<(SubjectId, Vec<u8>)> {
        self.frames.pop_front()
    }

    /// Something that happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// A key to unwrap. Answer with [`Self::learn_key`] before the next frame of any peer.
    pub fn poll_unwrap(&mut self) -> Option<UnwrapRequest> {
        self.unwraps.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Instant {
        self.next_repair
    }

    /// Compares frontiers with the peers that lag behind us. SYN-7.
    pub fn handle_timeout(&mut self, now: Instant) {
        // A clock that is set back must not put repairs off.
        if now < self.next_repair && self.next_repair <= now + REPAIR_EVERY {
            return;
        }
        self.next_repair = now + REPAIR_EVERY;
        for dossier in self.dossiers.keys().copied().collect::<Vec<_>>() {
            self.ask_later_keys(dossier);
        }
        self.resume(now);
        for held in self.dossiers.values_mut() {
            held.look_for_gaps(&mut self.events);
        }
        self.peers.values_mut().for_each(|peer| peer.backlogs.age());
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            self.offer_frontiers(peer);
            self.advance_cursor(peer, now);
        }
        self.compare_at_random(now);
        self.make_up_receipts();
        self.ask_for_leaves(None, now);
        self.summarise(false);
    }

    /// Sends a frame to a peer with whom a version is agreed; to no other.
    pub fn send(&mut self, peer: SubjectId, frame: &Frame) {
        if self.peers.get(&peer).is_some_and(|peer| peer.joined) {
            self.frames.push_back((peer, frame.encode()));
        }
    }

    /// Reads back one run that the store holds, in the order of its index. The same door as for a peer's run. ADM-1.
    pub fn restore_run(&mut self, dossier: DossierId, items: &[RunItem], head: &[u8]) -> Result<(), Error> {
        let head = SignedHead::verify(head, &self.registry)?;
        let (held, registry) = self.restoring(dossier);
        let received = held.replica.receive(items, &head, registry)?;
        let (Received::Applied { branch, .. }, Some(row)) = (received, head.head().own_row()) else {
            let what = "a run does not follow those before it";
            return Err(Untrusted::HeadMismatch { what }.into());
        };
        held.push_run(branch, row.size, &head.encode());
        if branch == Branch::first(held.writer) {
            held.sealed = row.size;
        }
        Ok(())
    }

    /// Reads back a node's latest head.
    pub fn restore_head(&mut self, dossier: DossierId, head: &[u8]) -> Result<(), Error> {
        let head = SignedHead::verify(head, &self.registry)?;
        let (held, _) = self.restoring(dossier);
        held.replica.note_head(&head);
        if head.head().chain() == held.writer {
            held.next_head = head.head().head_no + 1;
            held.resumed = true;
        }
        Ok(())
    }

    /// Reads back a key.
    pub fn restore_key(&mut self, dossier: DossierId, epoch: u64, key: EpochKey) {
        let (held, registry) = self.restoring(dossier);
        held.replica.add_key(epoch, key, registry);
    }

    /// Reads back under which incarnation we wrote; first of all rows of a dossier. It is unconfirmed. JRN-6.
    pub fn restore_writer(&mut self, dossier: DossierId, incarnation: Incarnation) {
        let (held, _) = self.restoring(dossier);
        held.writer.incarnation = incarnation;
        held.confirmed = planted(Bug::NoIncarnationRule);
        held.writer_kept = true;
    }

    /// The dossier that is being read back: dormant until it is whole, or, at a start that reads everything, at once
    /// ours.
    fn restoring(&mut self, dossier: DossierId) -> (&mut Held, &R) {
        let waking = self.dormant.get_mut(&dossier);
        let held = match waking.and_then(|dormant| dormant.waking.as_mut()) {
            Some(waking) => waking,
            None => {
                let held = held(&mut self.dossiers, dossier, self.node, self.fresh);
                held.note_change(&mut self.changes);
                held
            }
        };
        (held, &self.registry)
    }
}

/// The dossier, empty and ours to write under `fresh` if we did not hold it.
fn held(
    dossiers: &mut BTreeMap<DossierId, Held>,
    dossier: DossierId,
    node: SubjectId,
    fresh: Incarnation,
) -> &mut Held {
    dossiers
        .entry(dossier)
        .or_insert_with(|| Held::new(dossier, node, fresh))
}

impl Held {
    fn new(dossier: DossierId, node: SubjectId, fresh: Incarnation) -> Self {
        Self {
            replica: Replica::new(dossier),
            writer: ChainId {
                node,
                incarnation: fresh,
            },
            confirmed: true,
            writer_kept: false,
            confirmed_by: BTreeSet::new(),
            next_head: 0,
            resumed: false,
            sealed: 0,
            runs: Vec::new(),
            last_run: None,
            summary_of: None,
            periods: 0,
            waiting: Vec::new(),
            alarmed: BTreeSet::new(),
            asked: BTreeSet::new(),
            missing: BTreeMap::new(),
            twice: BTreeSet::new(),
            brought_by: None,
            unsealed: Vec::new(),
            changed: 0,
            rows_digest: None,
        }
    }

    /// Notes a run that is about to be durable, or was read back. Gives its index.
    fn push_run(&mut self, branch: Branch, to: u64, head: &[u8]) -> u64 {
        self.runs.push(RunIndex { branch, to });
        self.last_run = Some(Digest::of(&[head]));
        self.runs.len() as u64 - 1
    }
}
