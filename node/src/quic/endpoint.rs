//! The endpoint: one UDP socket, the connections on it, and which of them are kept.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use quinn::{AsyncUdpSocket, TokioRuntime};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    BulkStream, CloseCode, ConnectionId, Event, Identity, Lane, NodeId, Options, PeerDirectory, Secrets,
    SendError, TransportError, bulk,
    connection::{Hello, Instance, Link},
    handshake::{accept_all, dial},
    limits::{self, DRAIN, LINGER},
    socket::{self, SteadySocket},
    tls,
};

/// Which of two connections of one lane between the same two nodes stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The one that was there.
    Existing,
    /// The one that has come.
    New,
}

/// Which of two connections stays, so that both nodes decide alike: the one dialled by the node whose key has the
/// smaller SHA-256; of two dialled by the same node, the new one.
///
/// Asked only when both ends of both connections are the same instances, and both may have been dialled at once: a
/// connection of a peer that has restarted, or has lost one that was there for long, replaces what was left of it,
/// whoever dialled.
#[must_use]
pub fn keep(existing_outbound: bool, new_outbound: bool, smaller_here: bool) -> Keep {
    if existing_outbound == new_outbound || new_outbound == smaller_here {
        Keep::New
    } else {
        Keep::Existing
    }
}

/// What an endpoint has met so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Connections now.
    pub connections: usize,
    /// UDP receive errors survived.
    pub receive_errors: u64,
    /// Handshakes that had to prove their address first.
    pub retries: u64,
    /// Handshakes ignored or refused because too many were under way or established.
    pub refused: u64,
    /// Handshakes of others that failed otherwise: no TLS, no known key, too slow.
    pub failed: u64,
}

/// A connection as it is now.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The node at the other end.
    pub peer: NodeId,
    /// Its lane.
    pub lane: Lane,
    /// Its name here.
    pub conn: ConnectionId,
    /// Whether this endpoint dialled it.
    pub outbound: bool,
    /// Where the peer is.
    pub remote: SocketAddr,
    /// Estimated round trip.
    pub round_trip: Duration,
}

/// A QUIC endpoint of a node. Dropped without [`Endpoint::close`], it closes at once and frames may be lost.
pub struct Endpoint {
    shared: Arc<Shared>,
}

impl Endpoint {
    /// Binds the socket and begins to accept, in tasks of the current tokio runtime.
    ///
    /// Events go to `events`; when its reader is slow, connections wait, and the peers' sending stops in turn.
    ///
    /// # Errors
    /// [`TransportError::Bind`], [`TransportError::Options`] or [`TransportError::Identity`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(
        options: Options,
        identity: &Identity,
        secrets: &Secrets,
        directory: Arc<dyn PeerDirectory>,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, TransportError> {
        options.check()?;
        let bound = socket::bind(options.listen, options.socket_buffer);
        let socket = bound.map_err(|source| TransportError::Bind {
            address: options.listen,
            source,
        })?;
        Self::over(Arc::new(socket), options, identity, secrets, directory, events)
    }

    /// As [`Self::bind`], over a given socket.
    pub(super) fn over(
        socket: Arc<dyn AsyncUdpSocket>,
        options: Options,
        identity: &Identity,
        secrets: &Secrets,
        directory: Arc<dyn PeerDirectory>,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, TransportError> {
        options.check()?;
        let mut instance = Instance::default();
        aws_lc_rs::rand::fill(&mut instance).map_err(|_| TransportError::Identity("no randomness".into()))?;
        let key = identity.spki_sha256()?;
        let server =
            limits::server_config(tls::server(identity, Arc::clone(&directory))?, &options, secrets)?;
        let dialler = tls::Dialler::new(identity, Arc::clone(&directory))?;
        let dialled = Arc::new(limits::transport_config(&options, 0)?);
        let socket = Arc::new(SteadySocket::new(socket));
        let endpoint = quinn::Endpoint::new_with_abstract_socket(
            limits::endpoint_config(&options, secrets)?,
            Some(server),
            Arc::clone(&socket) as _,
            Arc::new(TokioRuntime),
        );
        let quinn = endpoint.map_err(|source| TransportError::Bind {
            address: options.listen,
            source,
        })?;
        let shared = Arc::new(Shared {
            quinn,
            options,
            key,
            instance,
            directory,
            dialler,
            dialled,
            events,
            closing: watch::Sender::new(None),
            served: watch::Sender::new(0),
            table: Mutex::default(),
            socket,
            handshakes: AtomicUsize::new(0),
            retries: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        tokio::spawn(accept_all(Arc::clone(&shared)));
        Ok(Self { shared })
    }

    /// Dials `peer` at `addresses`, the best first: each gets a moment's start before the next one is dialled beside
    /// it, and the first that answers is taken. Returns once the peer has answered, just before [`Event::Connected`].
    ///
    /// # Errors
    /// [`TransportError`], of the address that failed last; [`TransportError::NotConnected`] without addresses. On [`TransportError::Duplicate`] the peer's own connection is there or coming.
    pub async fn connect(
        &self,
        peer: NodeId,
        addresses: &[SocketAddr],
        lane: Lane,
    ) -> Result<ConnectionId, TransportError> {
        let shared = &self.shared;
        if !shared.table().dialling.insert((peer, lane)) {
            return Err(TransportError::AlreadyDialling);
        }
        let _dialling = OnDrop(|| {
            shared.table().dialling.remove(&(peer, lane));
        });
        tokio::select! {
            biased;
            _ = shared.closing() => Err(TransportError::Closing),
            dialled = dial(shared, peer, addresses, lane) => dialled,
        }
    }

    /// Queues a frame on a control connection; never waits. `Ok` means neither sent nor received.
    ///
    /// # Errors
    /// [`SendError`]: the frame is not queued.
    pub fn send_frame(&self, conn: ConnectionId, frame: Bytes) -> Result<(), SendError> {
        let link = self.shared.table().links.get(&conn).cloned();
        link.ok_or(SendError::Closed)?.queue.push(frame)
    }

    /// Makes a bulk request of `peer`, over the bulk connection that is there.
    ///
    /// # Errors
    /// [`TransportError::NotConnected`], [`TransportError::Busy`], [`TransportError::RequestTooLarge`] or
    /// [`TransportError::Closed`].
    pub async fn fetch(&self, peer: NodeId, request: Bytes) -> Result<BulkStream, TransportError> {
        let link = {
            let table = self.shared.table();
            table
                .current
                .get(&(peer, Lane::Bulk))
                .and_then(|id| table.links.get(id))
                .cloned()
        };
        let link = link.ok_or(TransportError::NotConnected)?;
        bulk::fetch(&self.shared, &link, &request).await
    }

    /// Closes every connection of `peer` now; queued frames are lost. The peer reads `code` and `reason`.
    ///
    /// After a revocation: change what [`PeerDirectory`] answers first, then call this; a handshake under way
    /// then fails too.
    pub fn close_peer(&self, peer: NodeId, code: CloseCode, reason: &str) {
        for link in self
            .shared
            .table()
            .links
            .values()
            .filter(|link| link.peer == peer)
        {
            link.close(code, reason);
        }
    }

    /// Closes one connection now; queued frames are lost.
    pub fn close_connection(&self, conn: ConnectionId, code: CloseCode, reason: &str) {
        if let Some(link) = self.shared.table().links.get(&conn) {
            link.close(code, reason);
        }
    }

    /// The address the socket is bound to; `None` once the system has lost it.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.shared.quinn.local_addr().ok()
    }

    /// The connections now, in no order.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        let info = |link: &Arc<Link>| ConnectionInfo {
            peer: link.peer,
            lane: link.hello.lane,
            conn: link.id,
            outbound: link.outbound,
            remote: link.connection.remote_address(),
            round_trip: link.connection.rtt(),
        };
        self.shared.table().links.values().map(info).collect()
    }

    /// Counters since the endpoint was bound.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        Stats {
            connections: shared.table().links.len(),
            receive_errors: shared.socket.errors(),
            retries: shared.retries.load(Ordering::Relaxed),
            refused: shared.refused.load(Ordering::Relaxed),
            failed: shared.failed.load(Ordering::Relaxed),
        }
    }

    /// Closes: no new connections, bulk replies cut off, then each control connection once its peer has read every
    /// frame queued here. Takes at most twelve seconds; the second call does nothing.
    ///
    /// Frames that still arrive are delivered while there is room for events, else dropped.
    pub async fn close(&self, code: CloseCode) {
        let shared = &self.shared;
        shared
            .closing
            .send_if_modified(|closing| closing.is_none() && closing.replace(code).is_none());
        shared.quinn.set_server_config(None);
        // Elapsed: what is left is closed below. The sender lives in `shared`, so it is not dropped.
        let _ = timeout(DRAIN, shared.served.subscribe().wait_for(|served| *served == 0)).await;
        shared.quinn.close(code.into(), b"");
        let _ = timeout(LINGER, shared.quinn.wait_idle()).await;
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.quinn.close(CloseCode::Normal.into(), b"");
    }
}

/// What the endpoint's tasks share.
pub(super) struct Shared {
    pub(super) quinn: quinn::Endpoint,
    pub(super) options: Options,
    /// SHA-256 of this node's own SubjectPublicKeyInfo.
    key: [u8; 32],
    pub(super) instance: Instance,
    pub(super) directory: Arc<dyn PeerDirectory>,
    pub(super) dialler: tls::Dialler,
    pub(super) dialled: Arc<quinn::TransportConfig>,
    events: mpsc::Sender<Event>,
    closing: watch::Sender<Option<CloseCode>>,
    /// Connections being accepted or served.
    served: watch::Sender<usize>,
    table: Mutex<Table>,
    socket: Arc<SteadySocket>,
    pub(super) handshakes: AtomicUsize,
    pub(super) retries: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) failed: AtomicU64,
}

#[derive(Default)]
struct Table {
    next: u64,
    links: HashMap<ConnectionId, Arc<Link>>,
    current: HashMap<(NodeId, Lane), ConnectionId>,
    /// Connections dialled by each peer, ready or not.
    inbound: HashMap<NodeId, usize>,
    dialling: HashSet<(NodeId, Lane)>,
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an event to the caller, waiting for room. False when it never will be taken: nobody listens, or the
    /// endpoint is closing and there is no room.
    pub(super) async fn deliver(&self, event: Event) -> bool {
        let event = match self.events.try_send(event) {
            Ok(()) => return true,
            Err(mpsc::error::TrySendError::Closed(_)) => return false,
            Err(mpsc::error::TrySendError::Full(event)) => event,
        };
        tokio::select! {
            sent = self.events.send(event) => sent.is_ok(),
            _ = self.closing() => false,
        }
    }

    /// Tells the caller of a connection, unless another one has taken its place: told of after that one, its end
    /// would be taken for the end of both. False when it is not told.
    pub(super) async fn announce(&self, link: &Link) -> bool {
        let room = tokio::select! {
            room = self.events.reserve() => room,
            _ = self.closing() => return false,
        };
        let Ok(room) = room else { return false };
        // Under the lock of `register`: either this comes before the other one is entered, or it sees that it was.
        let table = self.table();
        if link.is_closed() {
            return false;
        }
        room.send(Event::Connected {
            peer: link.peer,
            lane: link.hello.lane,
            conn: link.id,
            outbound: link.outbound,
        });
        drop(table);
        true
    }

    /// The code the endpoint is closing with, if it is.
    pub(super) fn closing_code(&self) -> Option<CloseCode> {
        *self.closing.borrow()
    }

    /// Waits until the endpoint is closing.
    pub(super) async fn closing(&self) -> CloseCode {
        let mut closing = self.closing.subscribe();
        // The sender lives in `self`, so waiting cannot fail; if it did, closing is the right answer.
        closing
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|code| *code)
            .unwrap_or(CloseCode::Normal)
    }

    /// One of the connections a peer may dial; `None` when all are taken.
    pub(super) fn slot(&self, peer: NodeId) -> Option<impl Drop + '_> {
        let mut table = self.table();
        let count = table.inbound.entry(peer).or_default();
        if *count >= self.options.max_per_peer {
            return None;
        }
        *count += 1;
        drop(table);
        Some(OnDrop(move || {
            let mut table = self.table();
            if let Some(count) = table.inbound.get_mut(&peer) {
                *count -= 1;
                if *count == 0 {
                    table.inbound.remove(&peer);
                }
            }
        }))
    }

    /// Counts a connection among those that [`Endpoint::close`] waits for.
    pub(super) fn serving(self: &Arc<Self>) -> impl Drop + use<> {
        self.served.send_modify(|served| *served += 1);
        let shared = Arc::clone(self);
        OnDrop(move || shared.served.send_modify(|served| *served -= 1))
    }

    /// Enters a connection whose peer has said hello, or says with which code to close it.
    pub(super) fn register(
        &self,
        peer: NodeId,
        key: [u8; 32],
        hello: Hello,
        outbound: bool,
        connection: &quinn::Connection,
    ) -> Result<Arc<Link>, CloseCode> {
        let mut table = self.table();
        // Asked under the lock: either a revocation is seen here, or `close_peer` after it sees the connection.
        if self.directory.node_of_key(&key) != Some(peer) {
            return Err(CloseCode::UnknownPeer);
        }
        if table.links.len() >= self.options.max_connections {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(CloseCode::Busy);
        }
        let place = (peer, hello.lane);
        if let Some(old) = table.current.get(&place).and_then(|id| table.links.get(id)) {
            let same_instance = old.hello.instance == hello.instance;
            // Of connections dialled at once both nodes keep the same. Of one that is settled the peer, which dials
            // again, has seen the end that is not seen here.
            let at_once = same_instance && !old.is_settled();
            if at_once && keep(old.outbound, outbound, self.key < key) == Keep::Existing {
                return Err(CloseCode::Duplicate);
            }
            old.close(
                CloseCode::Duplicate,
                if same_instance {
                    ""
                } else {
                    "the peer has restarted"
                },
            );
        }
        let id = ConnectionId(table.next);
        table.next += 1;
        let link = Arc::new(Link::new(
            id,
            peer,
            hello,
            outbound,
            connection.clone(),
            &self.options,
        ));
        table.links.insert(id, Arc::clone(&link));
        table.current.insert(place, id);
        Ok(link)
    }

    /// Forgets a connection that has ended.
    pub(super) fn remove(&self, link: &Link) {
        let mut table = self.table();
        table.links.remove(&link.id);
        let place = (link.peer, link.hello.lane);
        if table.current.get(&place) == Some(&link.id) {
            table.current.remove(&place);
        }
    }
}

/// Runs a closure when it goes out of scope, whatever ends the scope.
pub(super) struct OnDrop<F: FnMut()>(pub(super) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_keep_the_same_connection() {
        // Two connections, each dialled by the smaller (true) or the larger node, arriving in either order.
        for first_by_smaller in [true, false] {
            for second_by_smaller in [true, false] {
                let at_smaller = keep(first_by_smaller, second_by_smaller, true);
                let at_larger = keep(!first_by_smaller, !second_by_smaller, false);
                assert_eq!(at_smaller, at_larger);
                if first_by_smaller != second_by_smaller {
                    let expected = if first_by_smaller {
                        Keep::Existing
                    } else {
                        Keep::New
                    };
                    assert_eq!(at_smaller, expected);
                }
            }
        }
    }

    #[test]
    fn of_two_in_the_same_direction_the_new_one_is_kept() {
        for (outbound, smaller_here) in [(true, true), (true, false), (false, true), (false, false)] {
            assert_eq!(keep(outbound, outbound, smaller_here), Keep::New);
        }
    }
}
