//! Node processes whose every datagram goes through the relay.

use std::net::{SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::support::judge::{alarms, findings};
use super::support::load::{Acknowledged, Documents, Record};
use super::support::nodes::{Plan, Stage, show, within};
use super::support::relay::{Faults, Relay};
use super::support::seed::seed;
use super::support::{Place, count, ordinary};

const NODES: [(&str, &str); 7] = [
    ("court", "justice"),
    ("bar", "barreaux"),
    ("company", "experts"),
    ("bar-2", "barreaux"),
    ("bar-3", "barreaux"),
    ("bar-4", "barreaux"),
    ("bar-5", "barreaux"),
];
/// A poor link, and not a rare one: a mobile network, or a radio link that is shared by many.
const POOR: Faults = Faults {
    delay_ms: 50,
    jitter_ms: 20,
    lost: 20,
    repeated: 10,
    overtaken: 50,
    rate: 0,
};
/// Few messages carry a small document.
const FEW: Documents = Documents {
    once_in: 4,
    bytes: 20_000,
};
/// Dires alone.
const NONE: Documents = Documents {
    once_in: usize::MAX,
    bytes: 0,
};
/// From the healing of a link until all are equal.
const EQUAL_AFTER_HEALING: Duration = Duration::from_secs(15);
/// From an acknowledgement until another node has the act, at 1 Mbit/s beside a document under way that fills the
/// queue (half a second of it): what most acts take.
const BESIDE_A_TRANSFER: Duration = Duration::from_secs(2);
/// What the worst of them takes: a full queue drops any datagram, and three in a row are sent again after 1.2 s, 2.4 s
/// and 4.8 s. Behind the document it would take 25 s.
const BESIDE_A_TRANSFER_AT_MOST: Duration = Duration::from_secs(10);
/// Patience until every document and every receipt is everywhere.
const EVERYWHERE: Duration = Duration::from_secs(240);

struct Scene {
    stage: Stage,
    relay: Relay,
    record: Record,
    seed: u64,
    /// After the nodes: its data stay when a test fails.
    place: Place,
}

impl Scene {
    /// So many nodes with a dossier in progress, over links on which nothing happens yet.
    fn set(nodes: usize) -> Self {
        let (seed, place) = (seed(), Place::new());
        let bound: Vec<_> = (0..nodes)
            .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        let addresses: Vec<SocketAddr> = bound.iter().map(|one| one.local_addr().unwrap()).collect();
        drop(bound);
        let relay = Relay::new(seed, &addresses);
        let plan = |(node, (name, authority))| Plan {
            name,
            authority,
            address: addresses[node],
            front: Some(relay.front(node)),
            namespace: None,
        };
        let plans: Vec<_> = NODES.into_iter().take(nodes).enumerate().map(plan).collect();
        let stage = Stage::of(place.path(), &ordinary(), &plans);
        let (record, _) = Record::new(&place.path().join("acknowledged"));
        println!("{nodes} nodes: seed {seed}");
        Self {
            stage,
            relay,
            record,
            seed,
            place,
        }
    }

    fn everybody(&self) -> Vec<usize> {
        (0..self.stage.nodes.len()).collect()
    }

    fn deposit(&self, nodes: &[usize], each: usize, documents: Documents) -> Vec<Acknowledged> {
        self.stage
            .deposit(&self.record, self.seed, nodes, each, documents)
    }

    /// Waits until all show the same state and everything is everywhere, and holds it against what was acknowledged.
    fn settle(&self) {
        let views = self.stage.settled_within(EVERYWHERE);
        let acknowledged = self.record.acknowledged();
        assert_eq!(self.stage.findings(&acknowledged, &views), Vec::<String>::new());
        assert_eq!(self.record.failures(), Vec::<String>::new());
        for node in &self.stage.nodes {
            assert_eq!(alarms(&node.log()), Vec::<&str>::new(), "{}", node.name);
        }
    }

    /// What a node lacks of what was acknowledged.
    fn missing(&self, node: usize, expected: &[Acknowledged]) -> usize {
        let name = self.stage.nodes[node].name;
        show(&self.stage.nodes[node].client(), self.stage.dossier).map_or(expected.len(), |view| {
            findings(expected, &[(name, &view)], &[], false).len()
        })
    }

    fn end(mut self) {
        self.stage.nodes.iter_mut().for_each(|node| node.kill());
        drop(self.place);
    }
}

/// SYN-6, SYN-7.
#[test]
fn nodes_agree_over_poor_links_and_no_copy_doubles_an_act() {
    let _alone = super::alone();
    let scene = Scene::set(count("BASOCHE_NODES", 3, 7));
    scene.relay.set_all(POOR);
    let (begun, before) = (Instant::now(), scene.relay.all_counts());
    let everybody = scene.everybody();
    scene.deposit(&everybody, count("BASOCHE_DEPOSITS", 8, 40), FEW);
    for (node, kib) in [(1, 256), (0, count("BASOCHE_KIB", 1024, 5120))] {
        let documents = Documents {
            once_in: 1,
            bytes: kib << 10,
        };
        scene.deposit(&[node], 1, documents);
    }
    scene.settle();
    println!(
        "poor links: all equal, and every document everywhere, after {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    // The control: the faults are real.
    let after = scene.relay.all_counts();
    let seen = after.seen - before.seen;
    println!("poor links: {seen} datagrams; {after:?}");
    for (name, times, thousandths) in [
        ("lost", after.lost, POOR.lost),
        ("repeated", after.repeated, POOR.repeated),
        ("overtaken", after.overtaken, POOR.overtaken),
    ] {
        let share = times * 1000 / seen;
        assert!(
            share > thousandths / 4 && share < thousandths * 2,
            "{name}: {share} of 1000"
        );
    }
    // Now every third datagram comes twice.
    scene.relay.set_all(Faults {
        repeated: 333,
        ..Faults::default()
    });
    scene.deposit(&everybody, 4, FEW);
    scene.settle();
    let now = scene.relay.all_counts();
    let share = (now.repeated - after.repeated) * 1000 / (now.seen - after.seen);
    assert!(share > 200 && share < 500, "{share} of 1000");
    scene.end();
}

/// SYN-7. Nobody hears the court, which hears everybody.
#[test]
fn a_one_way_partition_heals() {
    let _alone = super::alone();
    let scene = Scene::set(3);
    let link = Faults {
        delay_ms: 10,
        ..Faults::default()
    };
    scene.relay.set_all(link);
    // Shorter and longer than a connection takes to be given up.
    for hold in [7, count("BASOCHE_HOLD", 13, 25)] {
        let begun = Instant::now();
        for other in [1, 2] {
            scene.relay.set(0, other, Faults::DEAD);
        }
        let of_court = scene.deposit(&[0], 2, NONE);
        let of_others = scene.deposit(&[1, 2], 2, NONE);
        sleep(Duration::from_secs(hold as u64).saturating_sub(begun.elapsed()));
        for other in [1, 2] {
            assert_eq!(scene.missing(other, &of_court), of_court.len());
            assert_eq!(scene.missing(other, &of_others), 0);
        }
        let (apart, lost) = (begun.elapsed(), scene.relay.counts(0, 1).lost);
        assert!(lost > 0);
        scene.relay.set_all(link);
        let healed = Instant::now();
        let all = [of_court, of_others].concat();
        let equal = || {
            let shown = scene.stage.shown();
            let alike = shown[0].is_some() && shown.iter().all(|one| *one == shown[0]);
            (alike && (0..3).all(|node| scene.missing(node, &all) == 0)).then(|| healed.elapsed())
        };
        let took = within(EQUAL_AFTER_HEALING, equal);
        println!("one way: {apart:.1?} apart, {lost} datagrams lost; all equal after {took:.1?}");
        assert!(took.is_some(), "not equal {EQUAL_AFTER_HEALING:?} after healing");
    }
    scene.settle();
    scene.end();
}

/// SYN-11. Acts have a connection of their own, beside which documents travel.
#[test]
fn a_document_under_way_does_not_hold_up_acts() {
    let _alone = super::alone();
    let scene = Scene::set(3);
    let narrow = Faults {
        delay_ms: 25,
        rate: 1_000_000,
        ..Faults::default()
    };
    for other in [1, 2] {
        scene.relay.set(0, other, narrow);
    }
    let document = Documents {
        once_in: 1,
        bytes: 3 << 20,
    };
    let begun = Instant::now();
    scene.deposit(&[0], 1, document);
    let mut delays = Vec::new();
    for _ in 0..5 {
        sleep(Duration::from_secs(1));
        let act = scene.deposit(&[0], 1, NONE);
        let told = Instant::now();
        let came = within(EVERYWHERE, || {
            (scene.missing(1, &act) == 0).then(|| told.elapsed())
        });
        delays.push(came.unwrap());
    }
    // The control: the document is still under way, and at this rate.
    let view = show(&scene.stage.nodes[1].client(), scene.stage.dossier).unwrap();
    let held = &view.documents.last().unwrap().held;
    assert!(
        !held.contains_key(&scene.stage.nodes[1].id),
        "the document has come already"
    );
    println!("beside a document: acts came after {delays:.2?}");
    delays.sort();
    assert!(delays[delays.len() / 2] <= BESIDE_A_TRANSFER, "{delays:?}");
    assert!(
        delays.iter().all(|delay| *delay <= BESIDE_A_TRANSFER_AT_MOST),
        "{delays:?}"
    );
    scene.settle();
    let took = begun.elapsed();
    println!(
        "beside a document: 3 MiB after {took:.1?}; {:?}",
        scene.relay.counts(0, 1)
    );
    assert!(took >= Duration::from_secs(25), "{took:?}: no rate");
    scene.end();
}
