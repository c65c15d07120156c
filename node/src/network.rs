//! The network: carries frames between transport and desk, keeps peers connected, answers who asks for documents.
//! `dial` keeps the connections, `fetch` asks for documents, `serving` says who is served how much.

mod dial;
mod fetch;
mod serving;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use basoche_protocol::id::{Digest, SubjectId};
use basoche_protocol::mailbox;
use basoche_protocol::time::Instant;
use basoche_registry::Replica;
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use crate::blob::BlobStore;
use crate::desk::{DeskHandle, Input, Outside};
use crate::discovery::{Discovery, Wanted};
use crate::documents::{self, Download, Request, TakenIn, TransferError, Unexamined, Want};
use crate::effects::now;
use crate::gossip::{Gossip, Member};
use crate::mailbox::Mailboxes;
use crate::operator::{Direction, Monitor};
use crate::quic::{
    BulkError, BulkReply, CloseCode, ConnectionId, Endpoint, Event, Lane, NodeId, PeerDirectory, SendError,
};

#[cfg(feature = "p2p")]
pub(crate) use dial::{is_public, lookup};
pub use serving::Serving;

/// The first and the longest pause between two attempts to reach a peer.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Documents that may wait to be fetched, and as many again that wait for room among them.
const WANTED: usize = 32_768;
/// Documents that may wait to be examined.
const UNEXAMINED: usize = 65_536;

/// The live view of the registry that the transport asks: which key belongs to which node, and where nodes listen.
#[derive(Default)]
pub struct Phonebook {
    entries: RwLock<Entries>,
}

#[derive(Default)]
struct Entries {
    keys: BTreeMap<[u8; 32], NodeId>,
    contacts: BTreeMap<NodeId, Contact>,
    gossips: Vec<Member>,
}

/// Where the registry says that a node is.
#[derive(Clone)]
struct Contact {
    wanted: Wanted,
    /// Until when that is fresh; for good if not given.
    fresh_until: Option<Instant>,
}

impl Phonebook {
    /// Takes the registry as it is now; gives the nodes whose key is no longer good.
    fn update(&self, registry: &Replica, own: SubjectId) -> Vec<NodeId> {
        let mut fresh = Entries::default();
        for info in registry.nodes().filter(|info| info.node != own) {
            let key = *info.tls_spki_sha256.as_bytes();
            if registry.node_of_tls_key(&key, now()) == Some(info.node) {
                fresh.keys.insert(key, *info.node.as_bytes());
                let gossips = Member::of(&info);
                let contact = Contact {
                    wanted: Wanted {
                        node: info.node,
                        tls_spki_sha256: info.tls_spki_sha256,
                        addresses: info.addresses,
                    },
                    fresh_until: info.fresh_until,
                };
                fresh.contacts.insert(*info.node.as_bytes(), contact);
                fresh.gossips.extend(gossips);
            }
        }
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let gone = entries
            .keys
            .iter()
            .filter(|(key, _)| !fresh.keys.contains_key(*key))
            .map(|(_, node)| *node)
            .collect();
        *entries = fresh;
        gone
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.entries
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contacts
            .keys()
            .copied()
            .collect()
    }

    fn gossips(&self) -> Vec<Member> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.gossips.clone()
    }

    fn contact(&self, node: &NodeId) -> Option<Contact> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.contacts.get(node).cloned()
    }
}

impl PeerDirectory for Phonebook {
    fn node_of_key(&self, spki_sha256: &[u8; 32]) -> Option<NodeId> {
        self.entries
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .keys
            .get(spki_sha256)
            .copied()
    }
}

/// What the desk sees of the network.
pub struct NetworkOutside {
    endpoint: Arc<Endpoint>,
    phonebook: Arc<Phonebook>,
    own: SubjectId,
    wanted: mpsc::Sender<Want>,
    unexamined: mpsc::Sender<Unexamined>,
    redial: Arc<Notify>,
    monitor: Arc<Monitor>,
    gossip: Option<Gossip>,
}

impl Outside for NetworkOutside {
    fn send(&self, conn: ConnectionId, frame: Bytes) -> bool {
        let frame = crate::faults::spoil_proof(frame);
        let bytes = frame.len();
        match self.endpoint.send_frame(conn, frame) {
            Err(SendError::Full) => false,
            Ok(()) => {
                self.monitor.meters.frame(Direction::Out, bytes);
                true
            }
            Err(SendError::Closed) => true,
            Err(error @ SendError::Size(_)) => {
                tracing::error!(%error, "a frame of ours cannot be sent");
                true
            }
        }
    }

    fn dismiss(&self, peer: SubjectId, code: CloseCode) {
        self.endpoint.close_peer(*peer.as_bytes(), code, "");
    }

    fn want(&self, want: Want) -> bool {
        self.wanted.try_send(want).is_ok()
    }

    fn examine(&self, document: Unexamined) {
        if self.unexamined.try_send(document).is_err() {
            tracing::warn!("too many documents wait to be examined; the next start examines them");
        }
    }

    fn gossip(&self, frame: Bytes) {
        if let Some(gossip) = &self.gossip {
            gossip.tell(frame);
        }
    }

    fn registry_changed(&self, registry: &Replica) {
        for gone in self.phonebook.update(registry, self.own) {
            self.endpoint.close_peer(gone, CloseCode::Revoked, "");
        }
        if let Some(gossip) = &self.gossip {
            gossip.set_members(self.phonebook.gossips());
        }
        self.redial.notify_one();
    }
}

/// What the desk has asked for.
pub struct Work {
    /// Documents to fetch.
    pub wants: mpsc::Receiver<Want>,
    /// Documents to examine.
    pub examinations: mpsc::Receiver<Unexamined>,
}

/// Everything that the tasks of this module share.
#[derive(Clone)]
pub struct Network {
    endpoint: Arc<Endpoint>,
    phonebook: Arc<Phonebook>,
    desk: DeskHandle,
    blobs: Arc<dyn BlobStore>,
    own: SubjectId,
    allow_private: bool,
    discovery: Option<Arc<Discovery>>,
    serving: Arc<Serving>,
    redial: Arc<Notify>,
    connected: Arc<Mutex<BTreeMap<NodeId, ConnectionId>>>,
    mailboxes: Arc<Mailboxes>,
    /// The documents of which something comes now: each has one part on the disk, whoever brings it.
    downloads: Arc<tokio::sync::Mutex<BTreeMap<Digest, Weak<Download>>>>,
}

impl Network {
    /// Sets the network up, and what the desk will see of it.
    #[allow(clippy::too_many_arguments)] // one caller, which has them all
    pub fn new(
        endpoint: Endpoint,
        phonebook: Arc<Phonebook>,
        desk: DeskHandle,
        blobs: Arc<dyn BlobStore>,
        own: SubjectId,
        allow_private: bool,
        discovery: Option<Discovery>,
        gossip: Option<Gossip>,
        serving: Serving,
        mailboxes: Mailboxes,
    ) -> (Self, NetworkOutside, Work) {
        let endpoint = Arc::new(endpoint);
        let redial = Arc::new(Notify::new());
        let (wanted, wants) = mpsc::channel(WANTED);
        let (unexamined, examinations) = mpsc::channel(UNEXAMINED);
        let outside = NetworkOutside {
            endpoint: Arc::clone(&endpoint),
            phonebook: Arc::clone(&phonebook),
            own,
            wanted,
            unexamined,
            redial: Arc::clone(&redial),
            monitor: Arc::clone(desk.monitor()),
            gossip,
        };
        let network = Self {
            endpoint,
            phonebook,
            desk,
            blobs,
            own,
            allow_private,
            discovery: discovery.map(Arc::new),
            serving: Arc::new(serving),
            redial,
            connected: Arc::default(),
            mailboxes: Arc::new(mailboxes),
            downloads: Arc::default(),
        };
        let work = Work { wants, examinations };
        (network, outside, work)
    }

    /// Examines the documents that the desk has come to hold, one at a time, but for those that were taken in just as
    /// their messages say. CON-1.
    pub async fn examine_all(self, mut examinations: mpsc::Receiver<Unexamined>, taken: Arc<TakenIn>) {
        while let Some(document) = examinations.recv().await {
            let (blobs, taken) = (Arc::clone(&self.blobs), Arc::clone(&taken));
            let done = tokio::task::spawn_blocking(move || {
                let found = match taken.is(&document.reference) {
                    true => Ok(None),
                    false => documents::examine(blobs.as_ref(), &document),
                };
                (document, found)
            });
            let (document, found) = match done.await {
                Ok((document, Ok(found))) => (Box::new(document), found),
                Ok((_, Err(error))) => {
                    tracing::warn!(%error, "a document was not examined; the next start tries again");
                    continue;
                }
                Err(_) => continue,
            };
            if self.desk.send(Input::Examined { document, found }).await.is_err() {
                return;
            }
        }
    }

    /// The transport, to close it.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Carries the transport's events to the desk. A slow desk slows the peers down.
    pub async fn carry(self, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            let input = match event {
                Event::Connected {
                    peer,
                    lane: Lane::Control,
                    conn,
                    ..
                } => {
                    self.connected().insert(peer, conn);
                    self.mailboxes.connected(peer);
                    Input::Connected { peer, conn }
                }
                Event::Closed {
                    peer,
                    lane: Lane::Control,
                    conn,
                    reason,
                } => {
                    tracing::info!(peer = %SubjectId::new(peer), %reason, "peer left");
                    // A connection that another one has replaced ends after the other has begun.
                    let mut connected = self.connected();
                    if connected.get(&peer) == Some(&conn) {
                        connected.remove(&peer);
                        self.redial.notify_one();
                    }
                    drop(connected);
                    Input::Closed { peer, conn }
                }
                Event::Frame { peer, conn, bytes } => {
                    self.desk.monitor().meters.frame(Direction::In, bytes.len());
                    Input::Frame { peer, conn, bytes }
                }
                Event::Writable { peer, .. } => Input::Writable { peer },
                Event::BulkRequest {
                    peer, request, reply, ..
                } => {
                    self.clone().answer(peer, request, reply);
                    continue;
                }
                Event::Connected { lane: Lane::Bulk, .. } | Event::Closed { lane: Lane::Bulk, .. } => {
                    continue;
                }
            };
            if self.desk.send(input).await.is_err() {
                return;
            }
        }
    }

    fn connected(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, ConnectionId>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a member that asks for documents.
    fn answer(self, peer: NodeId, request: Bytes, reply: BulkReply) {
        tokio::spawn(async move {
            let Some(request) = Request::decode(&request) else {
                return match mailbox::Request::decode(&request) {
                    Ok(request) => self.answer_mailbox(peer, request, reply).await,
                    Err(_) => reply.reset(CloseCode::Protocol),
                };
            };
            // Whether there is time for it comes before all that could tell what is here.
            let turn = match self.serving.turn(peer).await {
                Ok(turn) => turn,
                Err(code) => return reply.reset(code),
            };
            match self.serve(peer, request, reply, turn.sent()).await {
                Ok(()) => {}
                // The peer has it from elsewhere by now.
                Err(TransferError::Stream(error @ BulkError::Reset(_))) => {
                    tracing::debug!(%error, "a peer wants no more of a document");
                }
                Err(error) => tracing::warn!(%error, "a document was not sent whole"),
            }
        });
    }

    /// Gives what a member is entitled to, and counts it.
    async fn serve(
        &self,
        peer: NodeId,
        request: Request,
        reply: BulkReply,
        sent: &AtomicU64,
    ) -> Result<(), TransferError> {
        let (dossier, asker) = (request.dossier(), SubjectId::new(peer));
        let roots = match &request {
            Request::Leaves(request) => vec![request.root],
            Request::Batch(request) => request.roots.clone(),
        };
        // To who is no member, a document that we have and one that we have not look the same.
        let entitled = self
            .desk
            .ask_about(dossier, move |desk| desk.on_file(&dossier, &asker, roots))
            .await;
        let Ok(Some(on_file)) = entitled else {
            reply.reset(CloseCode::NotGiven);
            return Ok(());
        };
        let blob = match (&request, &on_file[..]) {
            (Request::Batch(_), _) => {
                return documents::serve_batch(Arc::clone(&self.blobs), on_file, reply, sent).await;
            }
            (Request::Leaves(_), [Some(root)]) => self.blobs.open(root.as_bytes()),
            (Request::Leaves(_), _) => Ok(None),
        };
        let blob = blob.unwrap_or_else(|error| {
            tracing::error!(%error, "a stored document cannot be read");
            None
        });
        match (blob, &request) {
            (Some(blob), Request::Leaves(request)) => documents::serve(blob, request, reply, sent).await,
            _ => {
                reply.reset(CloseCode::NotGiven);
                Ok(())
            }
        }
    }

    /// This node.
    pub fn own(&self) -> SubjectId {
        self.own
    }

    /// Mailboxes, this node's own included.
    pub(crate) fn mailboxes(&self) -> &Mailboxes {
        &self.mailboxes
    }

    /// The desk.
    pub(crate) fn desk(&self) -> &DeskHandle {
        &self.desk
    }

    /// The documents.
    pub(crate) fn blobs(&self) -> &Arc<dyn BlobStore> {
        &self.blobs
    }
}
