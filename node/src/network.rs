//! The network: carries frames between transport and desk, keeps peers connected, answers who asks for documents.
//! `fetch` asks for them.

mod fetch;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use basoche_protocol::id::{Digest, SubjectId};
use basoche_protocol::mailbox;
use basoche_registry::Replica;
use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::{Instant, timeout};

use crate::blob::BlobStore;
use crate::desk::{DeskHandle, Input, Outside, Wanted};
use crate::documents::{self, DocumentRequest, Download, TransferError};
use crate::effects::{now, random};
use crate::mailbox::Mailboxes;
use crate::operator::{Direction, Monitor};
use crate::quic::{
    BulkError, BulkReply, CloseCode, ConnectionId, Endpoint, Event, Lane, NodeId, PeerDirectory, SendError,
    TransportError,
};

/// The first and the longest pause between two attempts to reach a peer.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Documents that may wait to be fetched.
const WANTED: usize = 65_536;
/// Time for the name of a peer to resolve.
const RESOLVE: Duration = Duration::from_secs(5);

/// The live view of the registry that the transport asks: which key belongs to which node, and where nodes listen.
#[derive(Default)]
pub struct Phonebook {
    entries: RwLock<Entries>,
}

#[derive(Default)]
struct Entries {
    keys: BTreeMap<[u8; 32], NodeId>,
    addresses: BTreeMap<NodeId, Vec<String>>,
}

impl Phonebook {
    /// Takes the registry as it is now; gives the nodes whose key is no longer good.
    fn update(&self, registry: &Replica, own: SubjectId) -> Vec<NodeId> {
        let mut fresh = Entries::default();
        for info in registry.nodes().filter(|info| info.node != own) {
            let key = *info.tls_spki_sha256.as_bytes();
            if registry.node_of_tls_key(&key, now()) == Some(info.node) {
                fresh.keys.insert(key, *info.node.as_bytes());
                fresh
                    .addresses
                    .insert(*info.node.as_bytes(), info.addresses.clone());
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
            .addresses
            .keys()
            .copied()
            .collect()
    }

    fn addresses(&self, node: &NodeId) -> Vec<String> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.addresses.get(node).cloned().unwrap_or_default()
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
    wanted: mpsc::Sender<Wanted>,
    redial: Arc<Notify>,
    monitor: Arc<Monitor>,
}

impl Outside for NetworkOutside {
    fn send(&self, conn: ConnectionId, frame: Bytes) -> bool {
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

    fn dismiss(&self, peer: SubjectId, revoked: bool) {
        let code = if revoked {
            CloseCode::Revoked
        } else {
            CloseCode::Protocol
        };
        self.endpoint.close_peer(*peer.as_bytes(), code, "");
    }

    fn want(&self, wanted: Wanted) {
        if self.wanted.try_send(wanted).is_err() {
            tracing::error!("too many documents are awaited; the next start asks again");
        }
    }

    fn registry_changed(&self, registry: &Replica) {
        for gone in self.phonebook.update(registry, self.own) {
            self.endpoint.close_peer(gone, CloseCode::Revoked, "");
        }
        self.redial.notify_one();
    }
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
    transfers: Arc<Semaphore>,
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
        transfers: usize,
        mailboxes: Mailboxes,
    ) -> (Self, NetworkOutside, mpsc::Receiver<Wanted>) {
        let endpoint = Arc::new(endpoint);
        let redial = Arc::new(Notify::new());
        let (wanted, wants) = mpsc::channel(WANTED);
        let outside = NetworkOutside {
            endpoint: Arc::clone(&endpoint),
            phonebook: Arc::clone(&phonebook),
            own,
            wanted,
            redial: Arc::clone(&redial),
            monitor: Arc::clone(desk.monitor()),
        };
        let network = Self {
            endpoint,
            phonebook,
            desk,
            blobs,
            own,
            allow_private,
            transfers: Arc::new(Semaphore::new(transfers)),
            redial,
            connected: Arc::default(),
            mailboxes: Arc::new(mailboxes),
            downloads: Arc::default(),
        };
        (network, outside, wants)
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

    /// Sends a document to a member that asks for it.
    fn answer(self, peer: NodeId, request: Bytes, reply: BulkReply) {
        tokio::spawn(async move {
            let Some(request) = DocumentRequest::decode(&request) else {
                return match mailbox::Request::decode(&request) {
                    Ok(request) => self.answer_mailbox(peer, request, reply).await,
                    Err(_) => reply.reset(CloseCode::Protocol),
                };
            };
            let Ok(_permit) = self.transfers.acquire().await else {
                return;
            };
            let (dossier, root, asker) = (request.dossier, request.root, SubjectId::new(peer));
            // To who is no member, a document that we have and one that we have not look the same.
            let entitled = self.desk.ask(move |desk| {
                let state = desk.engine().dossier(&dossier).map(|replica| replica.state());
                state.is_some_and(|state| {
                    state.nodes().contains(&asker) && state.documents().any(|one| one.reference.root == root)
                })
            });
            let blob = match entitled.await {
                Ok(true) => self.blobs.open(root.as_bytes()),
                _ => return reply.reset(CloseCode::Aborted),
            };
            match blob {
                Ok(Some(blob)) => {
                    match documents::serve(blob, &request, reply).await {
                        Ok(()) => {}
                        // The peer has it from elsewhere by now.
                        Err(TransferError::Stream(error @ BulkError::Reset(_))) => {
                            tracing::debug!(%error, "a peer wants no more of a document");
                        }
                        Err(error) => tracing::warn!(%error, "a document was not sent whole"),
                    }
                }
                Ok(None) => reply.reset(CloseCode::Aborted),
                Err(error) => {
                    tracing::error!(%error, "a stored document cannot be read");
                    reply.reset(CloseCode::Aborted);
                }
            }
        });
    }

    /// Keeps a control connection to every node of the registry, with capped and spread pauses.
    pub async fn dial(self) {
        let mut pauses: BTreeMap<NodeId, (Instant, Duration)> = BTreeMap::new();
        loop {
            let connected = self.connected().clone();
            for node in self
                .phonebook
                .nodes()
                .into_iter()
                .filter(|node| !connected.contains_key(node))
            {
                let due = pauses.get(&node).is_none_or(|(due, _)| *due <= Instant::now());
                if !due {
                    continue;
                }
                let reached = self.connect(node, Lane::Control).await;
                let pause = pauses
                    .get(&node)
                    .map_or(BACKOFF.0, |(_, pause)| (*pause * 2).min(BACKOFF.1));
                match reached {
                    Ok(()) | Err(TransportError::Duplicate | TransportError::AlreadyDialling) => {
                        pauses.remove(&node);
                    }
                    Err(error) => {
                        tracing::debug!(peer = %SubjectId::new(node), %error, "peer not reached");
                        let spread = u32::from(random::<1>()[0]);
                        pauses.insert(node, (Instant::now() + pause * (256 + spread) / 512, pause));
                    }
                }
            }
            let _ = timeout(BACKOFF.0, self.redial.notified()).await;
            let connected = self.connected().clone();
            pauses.retain(|node, _| !connected.contains_key(node));
        }
    }

    /// Tries each address of a node.
    async fn connect(&self, node: NodeId, lane: Lane) -> Result<(), TransportError> {
        let mut last = TransportError::NotConnected;
        for address in self.phonebook.addresses(&node) {
            let Ok(Ok(resolved)) = timeout(RESOLVE, tokio::net::lookup_host(&address)).await else {
                continue;
            };
            for address in resolved.filter(|address| self.allow_private || is_public(address)) {
                match self.endpoint.connect(node, address, lane).await {
                    Ok(_) => return Ok(()),
                    Err(error @ (TransportError::Duplicate | TransportError::AlreadyDialling)) => {
                        return Err(error);
                    }
                    Err(error) => last = error,
                }
            }
        }
        Err(last)
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

/// Whether an address may be dialled without leave: no loopback, no private or link-local range.
fn is_public(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            !(ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_broadcast()
                || shared)
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(mapped) => is_public(&SocketAddr::new(IpAddr::V4(mapped), address.port())),
            None => {
                !(ip.is_loopback()
                    || ip.is_unspecified()
                    || ip.is_multicast()
                    || ip.is_unique_local()
                    || ip.is_unicast_link_local())
            }
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn private_ranges_are_not_dialled_without_leave() {
        for private in [
            "127.0.0.1:1",
            "10.0.0.1:1",
            "192.168.1.1:1",
            "169.254.169.254:1",
            "100.64.0.1:1",
            "0.0.0.0:1",
        ] {
            assert!(!is_public(&private.parse().unwrap()), "{private}");
        }
        for private in [
            "[::1]:1",
            "[fe80::1]:1",
            "[fc00::1]:1",
            "[::ffff:10.0.0.1]:1",
            "[::]:1",
        ] {
            assert!(!is_public(&private.parse().unwrap()), "{private}");
        }
        for public in ["93.184.215.14:1", "[2001:4860::1]:1"] {
            assert!(is_public(&public.parse().unwrap()), "{public}");
        }
    }
}
