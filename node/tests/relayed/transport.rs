//! Two endpoints of the transport, without nodes around them, over a bad link.

// Each test has a runtime of its own: the lock is held across its waits on purpose.
#![allow(clippy::await_holding_lock)]

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use basoche_node::quic::{
    ConnectionId, Endpoint, Event, Identity, Lane, NodeId, Options, PeerDirectory, Secrets,
};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::support::count;
use super::support::relay::{Faults, Relay};

struct Registry(HashMap<[u8; 32], NodeId>);

impl PeerDirectory for Registry {
    fn node_of_key(&self, spki_sha256: &[u8; 32]) -> Option<NodeId> {
        self.0.get(spki_sha256).copied()
    }
}

/// Two endpoints, and the relay through which they dial each other.
struct Pair {
    relay: Relay,
    ends: Vec<(Endpoint, mpsc::Receiver<Event>)>,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let identities = [0; 2].map(|_| Identity::generate("node").unwrap());
        let keys = identities.each_ref().map(|one| one.spki_sha256().unwrap());
        let registry = Arc::new(Registry(keys.into_iter().zip([[0; 16], [1; 16]]).collect()));
        let address = |_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.local_addr().unwrap()
        };
        let addresses: [SocketAddr; 2] = [0, 1].map(address);
        let relay = Relay::new(seed, &addresses);
        let end = |(identity, listen): (&Identity, SocketAddr)| {
            let (sender, events) = mpsc::channel(64);
            let options = Options {
                listen,
                ..Options::default()
            };
            let secrets = Secrets::generate().unwrap();
            let directory = Arc::clone(&registry) as _;
            let endpoint = Endpoint::bind(options, identity, &secrets, directory, sender).unwrap();
            (endpoint, events)
        };
        Self {
            relay,
            ends: identities.iter().zip(addresses).map(end).collect(),
        }
    }

    async fn connect(&self, lane: Lane) -> ConnectionId {
        let front = [self.relay.front(1)];
        self.ends[0].0.connect([1; 16], &front, lane).await.unwrap()
    }
}

/// Round trips of 50 ms, and of a thousand datagrams so many lost each way.
fn lossy(lost: u64) -> Faults {
    Faults {
        delay_ms: 25,
        jitter_ms: 5,
        lost,
        repeated: 10,
        overtaken: 10,
        rate: 0,
    }
}

/// SYN-6. Long frames pass, and the connection beside them that says nothing is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn frames_pass_although_three_of_ten_datagrams_are_lost() {
    let _alone = super::alone();
    let frames = count("BASOCHE_FRAMES", 6, 60);
    let mut pair = Pair::new(7);
    let control = pair.connect(Lane::Control).await;
    pair.connect(Lane::Bulk).await;
    pair.relay.set_all(lossy(300));
    let begun = Instant::now();
    let frame = Bytes::from(vec![7; 64 * 1024]);
    for _ in 0..frames {
        pair.ends[0].0.send_frame(control, frame.clone()).unwrap();
    }
    let mut came = 0;
    while came < frames {
        let event = timeout(Duration::from_secs(120), pair.ends[1].1.recv()).await;
        match event.expect("no frame within two minutes").unwrap() {
            Event::Frame { bytes, .. } if bytes == frame => came += 1,
            Event::Connected { .. } => {}
            other => panic!("after {came} frames and {:?}: {other:?}", begun.elapsed()),
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let rate = (frames * frame.len()) as f64 / seconds / 1024.0;
    println!(
        "transport: {frames} frames in {seconds:.1} s, {rate:.1} KiB/s; {:?}",
        pair.relay.all_counts()
    );
    assert_eq!(pair.ends[0].0.connections().len(), 2);
    assert_eq!(pair.ends[1].0.connections().len(), 2);
}

/// How long a document of so many bytes takes from one end to the other.
async fn transfer(pair: &mut Pair, bytes: usize) -> Duration {
    let begun = Instant::now();
    let (asking, answering) = pair.ends.split_at_mut(1);
    let serve = async {
        loop {
            if let Event::BulkRequest { mut reply, .. } = answering[0].1.recv().await.unwrap() {
                let chunk = Bytes::from(vec![7; 64 * 1024]);
                for _ in 0..bytes / chunk.len() {
                    reply.write_chunk(chunk.clone()).await.unwrap();
                }
                return reply.finish().unwrap();
            }
        }
    };
    let read = async {
        let mut stream = asking[0]
            .0
            .fetch([1; 16], Bytes::from_static(b"?"))
            .await
            .unwrap();
        let mut came = 0;
        while let Some(chunk) = stream.read_chunk().await.unwrap() {
            came += chunk.len();
        }
        assert_eq!(came, bytes);
    };
    tokio::join!(serve, read);
    begun.elapsed()
}

/// What the choice of congestion control and thresholds in `quic::limits` rests on.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_document_takes_no_longer_than_stated_over_a_link_that_loses_or_reorders() {
    let _alone = super::alone();
    let reordering = Faults {
        jitter_ms: 20,
        overtaken: 50,
        ..lossy(0)
    };
    for (name, faults, bound) in [
        ("one in twenty lost", lossy(50), 90.0),
        ("one in twenty overtaken", reordering, 25.0),
    ] {
        for seed in 0..count("BASOCHE_TRANSFERS", 1, 5) as u64 {
            let mut pair = Pair::new(seed);
            pair.connect(Lane::Bulk).await;
            pair.relay.set_all(faults);
            let seconds = transfer(&mut pair, 5 << 20).await.as_secs_f64();
            println!("transport: 5 MiB at 50 ms, {name}: {seconds:.1} s");
            assert!(seconds < bound, "{name}: {seconds} s");
        }
    }
}
