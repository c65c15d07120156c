//! Entries that come by gossip alone, and who may not gossip: real nodes between which there is no control connection, a member
//! that lies, strangers. GSP-1 to GSP-3.

#![cfg(feature = "p2p")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use basoche_protocol::id::{CertificateId, SubjectId};
use basoche_protocol::text::{b64url_decode, b64url_encode};
use basoche_protocol::wire::frame::{Frame, RegistryLeaves};
use basoche_registry::EntryFile;
use libp2p::futures::StreamExt;
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity};
use libp2p::identity::Keypair;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent, dummy};
use libp2p::{Multiaddr, Swarm, SwarmBuilder};
use serde_bytes::ByteBuf;
use serde_json::Value;
use support::nodes::{Node, until};
use support::registrar::{Registrar, import, worth};
use support::scene::does;
use support::{Place, ordinary};

const NODES: [&str; 4] = ["first", "second", "third", "liar"];
const ORIGIN: &str = "barreaux.example";
const STRANGERS: usize = 1000;
/// Strangers that dial at once.
const AT_ONCE: usize = 50;
/// What so many strangers may cost a node, in KiB.
const ROOM_KIB: u64 = 32 * 1024;

/// Three nodes that only gossip with each other, a fourth of which only the test has the gossip key, and the authority of all.
struct Scene {
    nodes: Vec<Node>,
    /// Where each node gossips.
    ports: Vec<u16>,
    /// The seal of the fourth.
    liar: (SubjectId, CertificateId),
    registrar: Registrar,
    _place: Place,
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

impl Scene {
    fn set(key_of_the_liar: &Keypair) -> Self {
        let place = Place::new();
        let root = place.path();
        fs::write(root.join("passphrase"), "for trials only\n").unwrap();
        let bar = |rest: &[&str]| does(root, &[&["authority"], rest, &["--dir", "bar"]].concat());
        bar(&["init", "--test", "--origin", ORIGIN, "--profession", "bar"]);
        does(root, &["authority", "anchors", "--out", "anchors.json", "bar"]);
        let (mut ports, mut liar) = (Vec::new(), None);
        for name in NODES {
            let (listen, nowhere, gossip) = (free_port(), free_port(), free_port());
            ports.push(gossip);
            let text = format!(
                "data = \"data\"\nlisten = \"127.0.0.1:{listen}\"\naddresses = [\"127.0.0.1:{nowhere}\"]\n\
                 anchors = \"../anchors.json\"\npassphrase_file = \"../passphrase\"\nallow_private_addresses = true\n\
                 [gossip]\nlisten = \"127.0.0.1:{gossip}\"\n"
            );
            fs::create_dir(root.join(name)).unwrap();
            let (config, request) = (format!("{name}/node.toml"), format!("{name}.json"));
            fs::write(root.join(&config), text).unwrap();
            let init = ["node", "init", "--config", &config, "--authority", ORIGIN];
            let made = does(root, &[&init[..], &["--request", &request]].concat());
            if name == "liar" {
                let mut request: Value =
                    serde_json::from_slice(&fs::read(root.join("liar.json")).unwrap()).unwrap();
                let public = key_of_the_liar.public().try_into_ed25519().unwrap();
                request["gossip"]["key"] = b64url_encode(&public.to_bytes()).into();
                fs::write(root.join("liar.json"), request.to_string()).unwrap();
                let seal = b64url_decode(request["seal_certificate"].as_str().unwrap()).unwrap();
                let seal = CertificateId::new(basoche_protocol::crypto::sha256(&[&seal]));
                liar = Some((SubjectId::from_hex(made["node"].as_str().unwrap()).unwrap(), seal));
            }
            let organisation = bar(&["organisation", "--name", name, "--identifier", name]);
            let organisation = organisation["subject"].as_str().unwrap().to_owned();
            bar(&["node", "--organisation", &organisation, "--request", &request]);
        }
        let mut nodes: Vec<_> = NODES[..3]
            .iter()
            .map(|name| Node::at(root, &ordinary(), name, 0))
            .collect();
        for node in &mut nodes {
            node.start();
            node.ready();
            let config = format!("{}/node.toml", node.name);
            does(root, &["annuaire", "import", "--config", &config, "bar"]);
        }
        let registrar = Registrar::open(root, &root.join("bar"), ORIGIN);
        Self {
            nodes,
            ports,
            liar: liar.unwrap(),
            registrar,
            _place: place,
        }
    }

    /// Enrols a lawyer at the first node, and waits until the others know; how long it takes.
    fn enrol(&mut self) -> Duration {
        let (subject, _, entry) = self.registrar.enrol(SubjectId::new([7; 16]));
        let begun = Instant::now();
        import(&self.nodes[0].client(), vec![entry]);
        for node in &self.nodes[1..] {
            until("the entry comes by gossip", || worth(&node.client(), subject));
        }
        begun.elapsed()
    }

    fn address(&self, node: usize) -> Multiaddr {
        format!("/ip4/127.0.0.1/udp/{}/quic-v1", self.ports[node])
            .parse()
            .unwrap()
    }

    /// Frames that a node has refused as gossip.
    fn refused(&self, node: usize) -> usize {
        self.nodes[node].log().matches("gossip was refused").count()
    }

    /// Waits until a node and so many others gossip.
    fn gossiping(&self, node: usize, others: usize) {
        until("members gossip", || {
            let log = self.nodes[node].log();
            let met: BTreeSet<_> = log
                .lines()
                .filter(|line| line.contains("gossips with us"))
                .map(member)
                .collect();
            (met.len() >= others).then_some(())
        });
    }
}

/// Who is named at the end of a line of the log.
fn member(line: &str) -> String {
    line.rsplit("peer=").next().unwrap_or_default().to_owned()
}

fn swarm<B: NetworkBehaviour>(key: Keypair, behaviour: B) -> Swarm<B> {
    SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_quic()
        .with_behaviour(|_| behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build()
}

/// Dials, and waits for the end; whether a connection was ended by the other side.
async fn is_turned_away(address: Multiaddr) -> bool {
    let mut stranger = swarm(Keypair::generate_ed25519(), dummy::Behaviour);
    stranger.dial(address).unwrap();
    let end = async {
        loop {
            match stranger.select_next_some().await {
                SwarmEvent::ConnectionClosed { .. } | SwarmEvent::OutgoingConnectionError { .. } => return,
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), end).await.is_ok()
}

/// Memory of a process, in KiB.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A member as gossipsub has it, connected to the second node.
struct Liar {
    swarm: Swarm<gossipsub::Behaviour>,
    topic: IdentTopic,
}

impl Liar {
    fn new(key: &Keypair, address: Multiaddr) -> Self {
        let signed = MessageAuthenticity::Signed(key.clone());
        let mut gossip: gossipsub::Behaviour =
            gossipsub::Behaviour::new(signed, gossipsub::Config::default()).unwrap();
        let topic = IdentTopic::new("basoche/registry/1");
        gossip.subscribe(&topic).unwrap();
        let mut swarm = swarm(key.clone(), gossip);
        swarm.dial(address).unwrap();
        Self { swarm, topic }
    }

    /// Lives for a while; whether the connection has ended.
    async fn live(&mut self, until: impl Fn(&SwarmEvent<gossipsub::Event>) -> bool) {
        let found = async { while !until(&self.swarm.select_next_some().await) {} };
        tokio::time::timeout(Duration::from_secs(20), found)
            .await
            .expect("within 20 s");
    }

    async fn say(&mut self, frame: Vec<u8>) {
        self.swarm
            .behaviour_mut()
            .publish(self.topic.clone(), frame)
            .unwrap();
        let _ = tokio::time::timeout(Duration::from_millis(500), self.live(|_| false)).await;
    }
}

fn leaf_frame(entry: &str, spoil: bool) -> Vec<u8> {
    let mut file = EntryFile::decode(&b64url_decode(entry).unwrap()).unwrap();
    if spoil {
        let mut leaf = file.leaf.leaf.to_vec();
        let last = leaf.len() - 1;
        leaf[last] ^= 1;
        file.leaf.leaf = ByteBuf::from(leaf);
    }
    let frame = RegistryLeaves {
        origin: file.origin,
        from: file.index,
        leaves: vec![file.leaf],
    };
    Frame::RegistryLeaves(frame).encode()
}

#[test]
fn entries_come_by_gossip_and_nobody_else_is_let_in() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let key = Keypair::generate_ed25519();
    let mut scene = Scene::set(&key);
    (0..3).for_each(|node| scene.gossiping(node, 2));
    // No control connection exists, and yet everybody hears.
    let mut times: Vec<_> = (0..20).map(|_| scene.enrol()).collect();
    times.sort();
    for node in &mut scene.nodes {
        let peers = node.ready().peers;
        assert!(peers.iter().all(|peer| !peer.connected), "{peers:?}");
    }

    // Strangers are turned away, at a bounded cost, and hold nobody up.
    let second = scene.nodes[1].process();
    let before = resident(second);
    let mut turned_away = 0;
    for _ in 0..STRANGERS / AT_ONCE {
        let address = scene.address(1);
        turned_away += runtime.block_on(async {
            let dials: Vec<_> = (0..AT_ONCE)
                .map(|_| tokio::spawn(is_turned_away(address.clone())))
                .collect();
            let mut ended = 0;
            for dial in dials {
                ended += usize::from(dial.await.unwrap());
            }
            ended
        });
        times.push(scene.enrol());
    }
    assert_eq!(turned_away, STRANGERS);
    let grown = resident(second).saturating_sub(before);
    assert!(grown < ROOM_KIB, "{grown} KiB");
    times.sort();
    println!(
        "an entry at two other nodes by gossip: p50 {:.0?}, longest {:.0?}; {STRANGERS} strangers cost {grown} KiB",
        times[times.len() / 2],
        times[times.len() - 1]
    );

    // A member that lies is refused, and after three times not heard; what it has said goes no further.
    let mut liar = runtime.block_on(async { Liar::new(&key, scene.address(1)) });
    runtime.block_on(
        liar.live(|event| matches!(event, SwarmEvent::Behaviour(gossipsub::Event::Subscribed { .. }))),
    );
    let refused = [0, 1, 2].map(|node| scene.refused(node));
    assert_eq!(refused, [0, 0, 0]);
    // The control: what it says is heard as long as it is true.
    let (subject, _, entry) = scene.registrar.enrol(SubjectId::new([7; 16]));
    runtime.block_on(liar.say(leaf_frame(&entry, false)));
    for node in &scene.nodes {
        until("the entry comes by gossip", || worth(&node.client(), subject));
    }
    let (_, _, next) = scene.registrar.enrol(SubjectId::new([7; 16]));
    for lie in [b"nothing".to_vec(), leaf_frame(&next, true), b"at all".to_vec()] {
        runtime.block_on(liar.say(lie));
    }
    until("three lies are refused", || (scene.refused(1) == 3).then_some(()));
    for number in 0..10 {
        runtime.block_on(liar.say(vec![number; 9]));
    }
    assert_eq!([0, 1, 2].map(|node| scene.refused(node)), [0, 3, 0]);

    // Whose key is withdrawn is disconnected.
    import(&scene.nodes[0].client(), vec![next]);
    let withdrawn = scene.registrar.revoke(scene.liar);
    import(&scene.nodes[0].client(), vec![withdrawn]);
    let ended = |event: &SwarmEvent<_>| {
        matches!(
            event,
            SwarmEvent::ConnectionClosed {
                num_established: 0,
                ..
            }
        )
    };
    runtime.block_on(liar.live(ended));
    scene.enrol();
    for node in &mut scene.nodes {
        node.stop();
    }
}
