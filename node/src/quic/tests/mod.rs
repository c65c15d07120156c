//! The transport over real UDP sockets on loopback.

#![allow(clippy::unwrap_used)]

mod admission;
mod bulk;
mod frames;
mod restart;

use std::{
    collections::HashMap,
    io::ErrorKind,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::timeout};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Registry(Mutex<HashMap<[u8; 32], NodeId>>);

impl PeerDirectory for Registry {
    fn node_of_key(&self, spki_sha256: &[u8; 32]) -> Option<NodeId> {
        self.0.lock().unwrap().get(spki_sha256).copied()
    }
}

impl Registry {
    fn of(nodes: &[&Seed]) -> Arc<Self> {
        let registry = Self::default();
        for node in nodes {
            registry.0.lock().unwrap().insert(node.key(), node.id);
        }
        Arc::new(registry)
    }

    fn revoke(&self, id: NodeId) {
        self.0.lock().unwrap().retain(|_, node| *node != id);
    }
}

/// What a node keeps across restarts.
#[derive(Clone)]
struct Seed {
    id: NodeId,
    identity: Identity,
    secrets: Secrets,
}

impl Seed {
    fn new(id: u8) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let identity = Identity::generate("node").unwrap();
        Self {
            id: [id; 16],
            identity,
            secrets: Secrets::generate().unwrap(),
        }
    }

    /// Two nodes, the first with the smaller key hash.
    fn ordered() -> (Self, Self) {
        let (a, b) = (Self::new(1), Self::new(2));
        if a.key() < b.key() { (a, b) } else { (b, a) }
    }

    fn key(&self) -> [u8; 32] {
        self.identity.spki_sha256().unwrap()
    }

    fn node(&self, registry: &Arc<Registry>, options: Options, room: usize) -> Node {
        let (sender, events) = mpsc::channel(room);
        let directory = Arc::clone(registry) as _;
        let endpoint = Endpoint::bind(options, &self.identity, &self.secrets, directory, sender).unwrap();
        Node {
            id: self.id,
            address: endpoint.local_addr().unwrap(),
            endpoint,
            events,
        }
    }

    fn start(&self, registry: &Arc<Registry>) -> Node {
        self.node(registry, options(), 64)
    }

    /// A plain QUIC client with this node's key, to break rules with.
    async fn raw(&self, registry: &Arc<Registry>, target: &Node, alpn: &[u8]) -> Raw {
        let mut tls = tls::client_tls(&self.identity, Arc::clone(registry) as _).unwrap();
        tls.alpn_protocols = vec![alpn.to_vec()];
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
        let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
        let connection = endpoint.connect(target.address, "basoche").unwrap().await;
        Raw {
            connection,
            _endpoint: endpoint,
        }
    }
}

struct Raw {
    connection: Result<quinn::Connection, quinn::ConnectionError>,
    _endpoint: quinn::Endpoint,
}

impl Raw {
    fn connection(&self) -> &quinn::Connection {
        self.connection.as_ref().unwrap()
    }

    /// Says hello and reads the answer.
    async fn hello(&self, lane: u8) -> (quinn::SendStream, quinn::RecvStream) {
        let (mut send, mut recv) = self.connection().open_bi().await.unwrap();
        send.write_all(&[lane, 1, 1, 1, 1, 1, 1, 1, 1]).await.unwrap();
        let mut answer = [0; 9];
        recv.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[0], lane);
        (send, recv)
    }

    async fn closed_with(&self) -> CloseCode {
        match timeout(PATIENCE, self.connection().closed()).await.unwrap() {
            quinn::ConnectionError::ApplicationClosed(close) => {
                CloseCode::from_number(close.error_code.into_inner()).unwrap()
            }
            other => panic!("{other}"),
        }
    }
}

struct Node {
    id: NodeId,
    address: SocketAddr,
    endpoint: Endpoint,
    events: mpsc::Receiver<Event>,
}

impl Node {
    async fn next(&mut self) -> Event {
        timeout(PATIENCE, self.events.recv())
            .await
            .expect("no event")
            .expect("no endpoint")
    }

    async fn dial(&self, peer: &Self, lane: Lane) -> Result<ConnectionId, TransportError> {
        self.endpoint.connect(peer.id, &[peer.address], lane).await
    }

    async fn connected(&mut self) -> ConnectionId {
        match self.next().await {
            Event::Connected { conn, .. } => conn,
            other => panic!("{other:?}"),
        }
    }

    async fn frame(&mut self) -> Bytes {
        match self.next().await {
            Event::Frame { bytes, .. } => bytes,
            other => panic!("{other:?}"),
        }
    }

    /// Skips other events.
    async fn closed(&mut self) -> (ConnectionId, CloseReason) {
        loop {
            if let Event::Closed { conn, reason, .. } = self.next().await {
                return (conn, reason);
            }
        }
    }
}

fn options() -> Options {
    Options {
        socket_buffer: 1 << 20,
        ..Options::default()
    }
}

/// Two nodes that know each other, the first with the smaller key hash.
fn pair() -> (Node, Node) {
    let (a, b) = Seed::ordered();
    let registry = Registry::of(&[&a, &b]);
    (a.start(&registry), b.start(&registry))
}

/// Dials from the first to the second; the names of the connection at each.
async fn connect(a: &mut Node, b: &mut Node, lane: Lane) -> (ConnectionId, ConnectionId) {
    let here = a.dial(b, lane).await.unwrap();
    assert_eq!(a.connected().await, here);
    (here, b.connected().await)
}
