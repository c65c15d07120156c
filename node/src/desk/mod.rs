//! The desk: the one thread that owns engine, store and keys, and through which every message passes.
//!
//! It takes what has come in, lets the engine decide, makes everything durable in one commit, and only then lets
//! anything out. While one commit runs the next inputs gather, so that a busy node pays one sync for many messages.
//! A commit that fails ends the node: it cannot know what the disk holds, and it has acknowledged nothing of it.

mod ages;
mod ahead;
mod barriers;
mod checkpoints;
mod contest;
mod erase;
mod forks;
mod gaps;
mod gossip;
mod handle;
mod history;
mod link;
mod mailbox;
mod parties;
mod proofs;
mod pulse;
mod retire;
mod statements;
mod sweep;
mod view;
mod waits;
mod waking;

pub use barriers::FrontierView;
pub use contest::ContestationView;
pub use erase::{ErasedView, HoldView, TombstoneView};
pub use forks::{ForkView, ProofView};
pub use gaps::GapView;
pub use handle::DeskHandle;
use handle::ROOM;
pub use mailbox::{Expected, LeftView, Outbox, Owed, ReceiptError};
pub use parties::PartyView;
pub(crate) use parties::worth;
pub use proofs::{AskedMember, ProofsView, ProvenView};
pub use retire::{KeptView, RetirementView, RetiringView, ServedView};
pub use view::{Addressee, DocumentView, DossierView, MessageView, ParticipantView, PeerView, StatusView};
pub use waits::{Wait, WaitView};

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use basoche_protocol::engine::{Event, Fresh, Needs, Registry, Row, Ticket, WrapNeed};
use basoche_protocol::envelope::{EpochKey, Typ, Unsigned};
use basoche_protocol::error::{Error, Refused};
use basoche_protocol::id::{Digest, DossierId, KeySalt, MessageId, SubjectId};
use basoche_protocol::jose::{self, DecryptionKey, SoftwareKey};
use basoche_protocol::message::Body;
use basoche_protocol::refusal::Code;
use basoche_registry::Replica;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::blob::BlobStore;
use crate::documents::{Examined, Unexamined, Want};
use crate::effects::{now, random};
use crate::gossip::Verdict;
use crate::keys::NodeKeys;
use crate::operator::{Alarm, Monitor, Outcome, With};
use crate::quic::{CloseCode, ConnectionId, NodeId};
use crate::rows::{NodeEngine, Rows, RowsError};
use crate::store::{Batch, StoreError};
use ages::Ages;
use ahead::{Checking, Gathered};
pub use checkpoints::{Checkpoints, Standing};
use gossip::Uncommitted;
use link::{Link, Next};
use statements::Settled;
use waits::Contacts;
use waking::Waking;

/// How far a message has come. SPEC §8.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Durable at this node, under a head.
    Deposited,
    /// Durable at one other organisation at least, by its own signed head.
    Transmitted,
    /// Durable at every node of the dossier.
    Received,
}

/// A deposited message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deposited {
    /// The dossier.
    pub dossier: DossierId,
    /// The message.
    pub message: MessageId,
}

/// Why a submission did not go through.
#[derive(Debug, Error)]
pub enum SubmitError {
    /// The message was refused; nothing is stored.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The author used this key for another message.
    #[error("the key {0:?} already names another message of this author")]
    KeyTaken(String),
    /// The author's message with this key is on its way to the disk.
    #[error("the message with the key {0:?} is being deposited")]
    KeyInFlight(String),
    /// A key could not be wrapped.
    #[error("a key could not be wrapped: {0}")]
    Wrap(jose::KeyError),
    /// The desk has no room or is stopping.
    #[error("the node is busy or stopping")]
    Unavailable(Code),
    /// The store could not be read.
    #[error(transparent)]
    Rows(#[from] RowsError),
}

/// What comes in.
pub enum Input {
    /// A control connection is up.
    Connected {
        /// With whom.
        peer: NodeId,
        /// Which.
        conn: ConnectionId,
    },
    /// A control connection is gone.
    Closed {
        /// With whom.
        peer: NodeId,
        /// Which.
        conn: ConnectionId,
    },
    /// A peer's queue has room again.
    Writable {
        /// Whose.
        peer: NodeId,
    },
    /// A frame of a peer.
    Frame {
        /// Whose.
        peer: NodeId,
        /// On which connection.
        conn: ConnectionId,
        /// The frame.
        bytes: Bytes,
    },
    /// Something that a member has passed on by gossip.
    Gossip {
        /// Who.
        peer: NodeId,
        /// The frame.
        bytes: Bytes,
        /// Where the verdict goes.
        reply: oneshot::Sender<Verdict>,
    },
    /// A signed message of a user.
    Submit {
        /// The envelope.
        envelope: Vec<u8>,
        /// The author's own key for it: the same key is the same message.
        key: Option<String>,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Deposited, SubmitError>>,
    },
    /// All bytes of some documents are stored here.
    Stored {
        /// The documents' roots.
        roots: Vec<Digest>,
    },
    /// A document has been examined.
    Examined {
        /// Which.
        document: Box<Unexamined>,
        /// What is wrong with it.
        found: Option<Examined>,
    },
    /// Something to look up or to do at the desk.
    Ask(Box<dyn FnOnce(&mut Desk) + Send>),
    /// The same about one dossier, which must be in memory: an error if that takes too long.
    About {
        /// Which.
        dossier: DossierId,
        /// What to do with the desk, or with the error.
        question: Question,
    },
    /// Time passes.
    Tick,
    /// Finish what is under way, then end.
    Stop,
}

/// Something to do at the desk, or to be told that it cannot be done.
pub type Question = Box<dyn FnOnce(Result<&mut Desk, SubmitError>) + Send>;

/// Where the desk's effects go.
pub trait Outside: Send {
    /// Queues a frame; `false` when the connection's queue is full, and nothing was queued.
    fn send(&self, conn: ConnectionId, frame: Bytes) -> bool;
    /// Closes the connections of a peer.
    fn dismiss(&self, peer: SubjectId, code: CloseCode);
    /// Asks for a document; `false` if too many are awaited: then it is asked for again once some have come.
    fn want(&self, want: Want) -> bool;
    /// Has a document that is held examined; an [`Input::Examined`] follows.
    fn examine(&self, document: Unexamined);
    /// Has everybody who gossips told a frame, if this node gossips.
    fn gossip(&self, frame: Bytes);
    /// The registry has changed: keys and addresses may be others.
    fn registry_changed(&self, registry: &Replica);
}

/// A submission that waits for its head.
struct Waiting {
    reply: oneshot::Sender<Result<Deposited, SubmitError>>,
}

/// Somebody waits until a message has reached a level.
struct Watcher {
    dossier: DossierId,
    message: MessageId,
    level: Level,
    reply: oneshot::Sender<Level>,
}

/// How long after its start a node waits for what it has lost of its own entries.
const AWAITS_OWN: Duration = Duration::from_secs(60);

/// The desk.
pub struct Desk {
    engine: NodeEngine,
    rows: Rows,
    blobs: Arc<dyn BlobStore>,
    seal: SoftwareKey,
    decryption: DecryptionKey,
    keys: NodeKeys,
    outside: Box<dyn Outside>,
    links: BTreeMap<SubjectId, Link>,
    contacts: Contacts,
    waiting: BTreeMap<Ticket, Waiting>,
    watchers: Vec<Watcher>,
    asking: Vec<proofs::Asking>,
    /// Submission keys whose entries the next commit stores.
    submissions: Vec<(SubjectId, String, Deposited)>,
    /// Submission keys to be stored with the next commit, which holds the head over their entries: an entry without
    /// a head is forgotten at a restart, and a key that outlived it would vouch for nothing.
    sealing: Vec<(SubjectId, String, Deposited)>,
    settled: BTreeMap<DossierId, Settled>,
    waking: Waking,
    wanted: BTreeSet<Digest>,
    /// Dossiers with erased documents, which wait until all others are in memory.
    erasing: BTreeSet<DossierId>,
    /// The documents examined since that was last made durable, and whether it is time for that.
    examined: Vec<(MessageId, Digest)>,
    examined_due: bool,
    /// When to look again for documents that nobody names.
    sweep_due: Instant,
    monitor: Arc<Monitor>,
    /// When to publish again what the desk holds.
    publish_due: Instant,
    /// Until when nothing is stated of dossiers of which own entries are still on their way back.
    awaits_own: Option<Instant>,
    commits: u64,
    hint: PathBuf,
    hinted: u64,
    /// Logs of which what is held here has to give way.
    other_histories: BTreeSet<String>,
    stopping: bool,
    /// The registry has changed since the network was told.
    registry_news: bool,
    /// What was left at mailboxes.
    outbox: Outbox,
    /// Runs from mailboxes that the next commit holds.
    kept: Vec<mailbox::Kept>,
    checking: Checking,
    checkpoints: Checkpoints,
    uncommitted: Uncommitted,
    ages: Ages,
}

/// What a desk is made of.
pub struct Parts {
    /// The engine, with everything restored.
    pub engine: NodeEngine,
    /// Its store.
    pub rows: Rows,
    /// The documents.
    pub blobs: Arc<dyn BlobStore>,
    /// The node's keys.
    pub keys: NodeKeys,
    /// The seal, opened.
    pub seal: SoftwareKey,
    /// The encryption key, opened.
    pub decryption: DecryptionKey,
    /// Where effects go.
    pub outside: Box<dyn Outside>,
    /// Where it reports.
    pub monitor: Arc<Monitor>,
    /// The high-water hint: a file outside the store.
    pub hint: PathBuf,
    /// Commits so far.
    pub commits: u64,
    /// What was left at mailboxes.
    pub outbox: Outbox,
    /// The dossier that has been read back in part, and the next of its runs.
    pub reading: Option<(DossierId, u64)>,
    /// What the node has heard of the authorities' logs.
    pub checkpoints: Checkpoints,
}

impl Desk {
    /// Sets up the desk.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            engine,
            rows,
            blobs,
            keys,
            seal,
            decryption,
            outside,
            monitor,
            hint,
            commits,
            outbox,
            reading,
            checkpoints,
        } = parts;
        Self {
            engine,
            rows,
            blobs,
            seal,
            decryption,
            keys,
            outside,
            links: BTreeMap::new(),
            contacts: Contacts::since(now()),
            waiting: BTreeMap::new(),
            watchers: Vec::new(),
            asking: Vec::new(),
            submissions: Vec::new(),
            sealing: Vec::new(),
            settled: BTreeMap::new(),
            waking: Waking::from(reading),
            wanted: BTreeSet::new(),
            erasing: BTreeSet::new(),
            examined: Vec::new(),
            examined_due: false,
            sweep_due: Instant::now(),
            monitor,
            publish_due: Instant::now(),
            awaits_own: Some(Instant::now() + AWAITS_OWN),
            commits,
            hint,
            hinted: 0,
            other_histories: BTreeSet::new(),
            stopping: false,
            registry_news: false,
            outbox,
            kept: Vec::new(),
            checking: Checking::start(),
            checkpoints,
            uncommitted: Uncommitted::default(),
            ages: Ages::default(),
        }
    }

    /// Works until told to stop, or until the store fails.
    pub fn run(mut self, mut inputs: mpsc::Receiver<Input>) -> Result<(), StoreError> {
        self.outside.registry_changed(self.engine.registry());
        self.scrub()?;
        self.settle_all();
        let mut gathered = Gathered::default();
        while !self.stopping {
            if gathered.is_empty() {
                let first = match self.is_waking() {
                    false => inputs.blocking_recv(),
                    true => inputs.try_recv().ok(),
                };
                if first.is_none() && inputs.is_closed() {
                    break;
                }
                first.into_iter().for_each(|input| self.add(&mut gathered, input));
            }
            loop {
                let begun = Instant::now();
                self.gather(&mut inputs, &mut gathered);
                self.take_all(&mut gathered);
                // The next turn's runs are checked while this one is committed.
                self.gather(&mut inputs, &mut gathered);
                let worked = self.turn()?;
                self.come_round(begun, worked);
                self.read_back()?;
                if !worked {
                    break;
                }
            }
        }
        self.engine.summarise(true);
        while self.turn()? {}
        self.write_hint();
        Ok(())
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Connected { peer, conn } => {
                let peer = SubjectId::new(peer);
                self.links.insert(peer, Link::new(conn));
                self.engine.handle_connected(peer, now());
            }
            Input::Closed { peer, conn } => {
                let peer = SubjectId::new(peer);
                if self.links.get(&peer).is_some_and(|link| link.conn == conn) {
                    self.links.remove(&peer);
                    if self.engine.peers().any(|joined| joined == peer) {
                        self.contacts.left(peer, now());
                    }
                    self.engine.handle_closed(peer);
                }
            }
            Input::Writable { peer } => {
                if let Some(link) = self.links.get_mut(&SubjectId::new(peer)) {
                    link.blocked = false;
                }
            }
            Input::Frame { peer, conn, bytes } => {
                let peer = SubjectId::new(peer);
                if self.links.get(&peer).is_some_and(|link| link.conn == conn) {
                    self.engine.handle_frame(peer, &bytes, now());
                    self.unwrap_keys();
                }
            }
            Input::Gossip { peer, bytes, reply } => self.take_gossip(SubjectId::new(peer), &bytes, reply),
            Input::Submit { envelope, key, reply } => self.submit(envelope, key, reply),
            Input::Stored { roots } => self.documents_stored(&roots),
            Input::Examined { document, found } => self.examined(&document, found),
            Input::Ask(question) => question(self),
            Input::About { dossier, question } if self.engine.is_dormant(&dossier) => {
                self.when_awake(dossier, Input::About { dossier, question });
            }
            Input::About { question, .. } => question(Ok(self)),
            Input::Tick => {
                self.engine.handle_timeout(now());
                self.unwrap_keys();
                if std::mem::take(&mut self.registry_news) {
                    self.outside.registry_changed(self.engine.registry());
                }
                self.mind_ages();
                self.await_own_no_longer();
                self.refuse_who_waits_too_long();
                self.write_hint();
                self.examined_due = true;
                self.sweep_when_due();
            }
            Input::Stop => self.stopping = true,
        }
    }

    /// Opens the key wraps that the core asks for: it never sees a private key.
    fn unwrap_keys(&mut self) {
        while let Some(request) = self.engine.poll_unwrap() {
            match self.decryption.unwrap(&request.jwe, &request.context) {
                Ok(key) => {
                    let context = request.context;
                    self.engine
                        .learn_key(context.dossier, context.epoch, EpochKey::new(*key));
                }
                Err(error) => tracing::warn!(%error, "a key wrap does not open"),
            }
        }
    }

    fn submit(
        &mut self,
        envelope: Vec<u8>,
        key: Option<String>,
        reply: oneshot::Sender<Result<Deposited, SubmitError>>,
    ) {
        match self.try_submit(&envelope, key.clone()) {
            Err(SubmitError::Refused(Error::Refused(Refused::Dormant { dossier }))) => {
                self.when_awake(dossier, Input::Submit { envelope, key, reply });
            }
            Ok((_, deposited)) if crate::faults::acknowledge_before_commit() => {
                let _ = reply.send(Ok(deposited));
            }
            Ok((ticket, _)) => {
                self.waiting.insert(ticket, Waiting { reply });
            }
            Err(error) => {
                if let SubmitError::Refused(refused) = &error {
                    self.monitor.meters.submission(Outcome::Refused);
                    self.monitor.meters.refused(With::User, refused.code());
                    tracing::info!(code = refused.code().name(), "a submission was refused");
                } else {
                    self.monitor.meters.submission(Outcome::Failed);
                }
                // The asker may have gone; the refusal is counted all the same.
                let _ = reply.send(Err(error));
            }
        }
    }

    fn try_submit(
        &mut self,
        envelope: &[u8],
        key: Option<String>,
    ) -> Result<(Ticket, Deposited), SubmitError> {
        let at = now();
        let fresh = Fresh {
            seal_salt: KeySalt::new(random()),
            epoch_key: EpochKey::new(random()),
        };
        let blobs = &self.blobs;
        let stored = |root: &Digest| blobs.contains(root.as_bytes()).unwrap_or(false);
        let needs = self.engine.prepare(envelope, &fresh, at, &stored)?;
        let deposited = Deposited {
            dossier: needs.dossier(),
            message: needs.message(),
        };
        if let Some(key) = key {
            let author = needs.author();
            let earlier = self
                .submissions
                .iter()
                .chain(&self.sealing)
                .find(|(who, used, _)| *who == author && *used == key);
            let earlier = match earlier {
                Some((_, _, earlier)) if *earlier != deposited => return Err(SubmitError::KeyInFlight(key)),
                Some((_, _, earlier)) => Some(*earlier),
                None => self
                    .rows
                    .submission(&author, &key)?
                    .map(|(dossier, message)| Deposited { dossier, message }),
            };
            match earlier {
                Some(earlier) if earlier != deposited => return Err(SubmitError::KeyTaken(key)),
                Some(_) => {}
                None => {
                    let replica = self.engine.dossier(&deposited.dossier);
                    let on_file =
                        replica.is_some_and(|replica| replica.position(&deposited.message).is_some());
                    let keys = if on_file {
                        &mut self.sealing
                    } else {
                        &mut self.submissions
                    };
                    keys.push((author, key, deposited));
                }
            }
        }
        let wraps = wraps(&needs).map_err(SubmitError::Wrap)?;
        Ok((self.engine.submit(needs, wraps, &fresh, at), deposited))
    }

    /// One round: commit, sign, let out. True if there may be more.
    fn turn(&mut self) -> Result<bool, StoreError> {
        let mut worked = false;
        if let Some(rows) = self.engine.poll_commit(now()) {
            worked = true;
            self.commit(&rows)?;
            self.engine.handle_durable();
        }
        while let Some(request) = self.engine.poll_sign() {
            worked = true;
            let unsigned = Unsigned::new(Typ::Head, &self.seal, request.head.time, request.head.encode());
            let signed = unsigned.sign(&self.seal).map_err(|error| StoreError::Io {
                what: error.to_string(),
            })?;
            if let Err(error) = self.engine.handle_signed(&signed) {
                // Our own registry entry does not (or no longer) vouch for our seal: nothing can be acknowledged.
                tracing::error!(%error, "our own head does not verify; is this node enrolled and not revoked?");
            }
        }
        self.let_out();
        worked |= self.give_way()?;
        worked |= self.mind_checkpoints()?;
        if std::mem::take(&mut self.examined_due) {
            self.keep_examined()?;
        }
        Ok(worked)
    }

    fn commit(&mut self, rows: &[Row]) -> Result<(), StoreError> {
        let begun = std::mem::take(&mut self.submissions);
        let submissions = std::mem::replace(&mut self.sealing, begun);
        if rows.is_empty() && submissions.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        for row in rows {
            self.rows.put(&mut batch, row)?;
        }
        for (author, key, deposited) in &submissions {
            self.rows
                .put_submission(&mut batch, author, key, &deposited.dossier, &deposited.message)?;
        }
        self.commits += 1;
        self.rows.put_counter(&mut batch, self.commits)?;
        let begun = Instant::now();
        self.rows.commit(batch)?;
        self.monitor.meters.committed(begun.elapsed());
        if rows.iter().any(|row| matches!(row, Row::Erase { .. })) {
            self.scrub()?;
        }
        Ok(())
    }

    /// Hands out what the last commit has allowed.
    fn let_out(&mut self) {
        self.answer_kept();
        self.let_gossip_out();
        let mut changed = BTreeSet::new();
        while let Some(event) = self.engine.poll_event() {
            match event {
                Event::Accepted {
                    ticket,
                    dossier,
                    message,
                } => {
                    if let Some(waiting) = self.waiting.remove(&ticket) {
                        self.monitor.meters.submission(Outcome::Accepted);
                        let _ = waiting.reply.send(Ok(Deposited { dossier, message }));
                    }
                    changed.insert(dossier);
                }
                Event::Rejected { ticket, error } => {
                    if let Some(waiting) = self.waiting.remove(&ticket) {
                        self.monitor.meters.submission(Outcome::Refused);
                        self.monitor.meters.refused(With::User, error.code());
                        let _ = waiting.reply.send(Err(error.into()));
                    }
                }
                Event::Changed { dossier } => {
                    changed.insert(dossier);
                }
                Event::Joined { peer } => {
                    tracing::info!(%peer, "peer joined");
                    self.checkpoints.joined(peer);
                }
                Event::Checkpoint { peer, note } => self.checkpoints.note(peer, note),
                Event::Equivocation { peer, proof } => self.checkpoints.proof(peer, proof),
                Event::Refused { peer, code } => {
                    self.monitor.meters.refused(With::Peer, code);
                    tracing::warn!(%peer, code = code.name(), "a frame was refused");
                }
                Event::Unusable { peer } => {
                    tracing::warn!(%peer, "peer speaks no common version, or is not who it says");
                    self.outside.dismiss(peer, CloseCode::Protocol);
                }
                // Peers are told first, the revoked one included; its connections close at the next tick.
                Event::RegistryChanged => {
                    self.registry_news = true;
                    self.checkpoints.entries();
                }
                Event::OtherHistory { origin } => {
                    self.other_histories.insert(origin);
                }
                Event::Forked { dossier, chain } => {
                    let about = format_args!("dossier {}, {chain:?}", short(&dossier));
                    Alarm::ChainForked.raise(&self.monitor.meters, about);
                }
                Event::Disagreed {
                    dossier,
                    chain,
                    member,
                } => {
                    let about = format_args!("dossier {}, {chain:?}, member {member}", short(&dossier));
                    Alarm::ChainDisputed.raise(&self.monitor.meters, about);
                }
                Event::Gap { dossier, gap, signed } => {
                    let about = format_args!(
                        "dossier {}, {:?}: {} of {} entries, named by node {}",
                        short(&dossier),
                        gap.chain,
                        gap.held,
                        gap.named,
                        gap.named_by
                    );
                    Alarm::Gap.raise(&self.monitor.meters, about);
                    if !signed {
                        self.state(dossier, Body::Gap(gap));
                    }
                }
                Event::LivesTwice { dossier, chain } => {
                    let about = format_args!("dossier {}, {chain:?}", short(&dossier));
                    Alarm::LivesTwice.raise(&self.monitor.meters, about);
                }
                Event::Proven {
                    peer,
                    request,
                    head,
                    row,
                    path,
                } => self.proven(peer, &request, &head, &row, &path),
                Event::Unproven { peer, request, why } => self.unproven(peer, &request, &why),
                Event::RolledBack { dossier } => {
                    let about = format_args!("dossier {}; was a backup restored?", short(&dossier));
                    Alarm::OwnChainBehind.raise(&self.monitor.meters, about);
                }
            }
        }
        while let Some((peer, frame)) = self.engine.poll_frame() {
            if let Some(link) = self.links.get_mut(&peer) {
                link.push(Bytes::from(frame));
            }
        }
        for (peer, link) in &mut self.links {
            // Who signs comes before what is signed.
            let mut next = || {
                let leaves = self.engine.poll_leaves_of(peer).map(Next::Frame);
                leaves.or_else(|| self.engine.poll_backlog_of(peer).map(Next::Run))
            };
            link.pump(&self.rows, self.outside.as_ref(), &mut next);
        }
        for dossier in changed {
            self.settle_documents(dossier);
            self.notify(dossier);
        }
    }

    /// The level that a message on file has reached.
    pub fn level(&self, dossier: &DossierId, message: &MessageId) -> Option<Level> {
        let replica = self.engine.dossier(dossier)?;
        replica.position(message)?;
        let holders: BTreeSet<_> = replica.holders(message, self.engine.node()).into_iter().collect();
        let others: BTreeSet<_> = replica
            .state()
            .nodes()
            .into_iter()
            .filter(|node| *node != self.engine.node())
            .collect();
        Some(if others.is_subset(&holders) {
            Level::Received
        } else if holders.is_empty() {
            Level::Deposited
        } else {
            Level::Transmitted
        })
    }

    /// Answers `reply` once the message has reached `level`.
    pub fn watch(&mut self, deposited: Deposited, level: Level, reply: oneshot::Sender<Level>) {
        let Deposited { dossier, message } = deposited;
        self.watchers.push(Watcher {
            dossier,
            message,
            level,
            reply,
        });
        self.notify(dossier);
    }

    fn notify(&mut self, dossier: DossierId) {
        let watchers = std::mem::take(&mut self.watchers);
        for watcher in watchers {
            if watcher.reply.is_closed() {
                continue;
            }
            let reached = (watcher.dossier == dossier)
                .then(|| self.level(&dossier, &watcher.message))
                .flatten();
            match reached.filter(|reached| *reached >= watcher.level) {
                Some(reached) => {
                    let _ = watcher.reply.send(reached);
                }
                None => self.watchers.push(watcher),
            }
        }
    }

    /// Notes how far the store is, outside the store: an older store than the note has been rolled back. JRN-6.
    fn write_hint(&mut self) {
        if self.commits > self.hinted {
            self.hinted = self.commits;
            // A hint: it is neither synced nor needed, it only makes the alarm come at once.
            if let Err(error) = std::fs::write(&self.hint, self.commits.to_string()) {
                tracing::warn!(%error, "cannot write the high-water hint");
            }
        }
    }

    /// The engine, for questions.
    pub fn engine(&self) -> &NodeEngine {
        &self.engine
    }

    /// The engine, to import registry leaves.
    pub fn engine_mut(&mut self) -> &mut NodeEngine {
        &mut self.engine
    }

    /// The documents.
    pub fn blobs(&self) -> Arc<dyn BlobStore> {
        Arc::clone(&self.blobs)
    }

    /// The node's seal, opened anew.
    pub fn seal(&self) -> Result<SoftwareKey, crate::keys::KeysError> {
        self.keys.seal()
    }

    /// The store's rows, for questions.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// How far each registry is held.
    pub fn registries(&self) -> Vec<basoche_protocol::journal::RegistryHead> {
        self.engine.registry().heads()
    }
}

/// Makes the wraps that a message's entry needs.
fn wraps(needs: &Needs) -> Result<Vec<String>, jose::KeyError> {
    let wrap = |need: &WrapNeed| jose::wrap(need.key.as_bytes(), &need.context, &need.recipient_spki);
    needs.wraps.iter().map(wrap).collect()
}

/// A dossier in a log: enough to tell two apart, too little to find one.
fn short(dossier: &DossierId) -> String {
    let hex = dossier.to_hex();
    hex[..8].to_owned()
}
