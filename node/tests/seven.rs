//! What the registry says reaches seven nodes, and how soon. REG-8, REG-19, SYN-4.
//!
//! Seven real nodes in network namespaces, and an eighth that is stopped throughout: that of the authority of the experts. Keys are
//! revoked, one after the other, each told to another node; in the end one entry retires the certificate authority of all lawyers.
//! The control cuts a node off, which must show.
//!
//! Needs root, `ip` and `nft`; else the tests count as skipped. `BASOCHE_REVOCATIONS` sets how many keys are revoked.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use basoche_node::control::{Answer, ClientError, Request};
use basoche_node::desk::Level;
use basoche_node::effects::now;
use basoche_protocol::id::{CertificateId, MessageId, SubjectId};
use basoche_protocol::message::{Body, Dire};
use basoche_registry::entry::Retirement;
use support::harness::run;
use support::judge::alarms;
use support::lodge::say;
use support::namespaces::{Net, unavailable};
use support::nodes::{Node, Plan, Stage, until};
use support::registrar::{Registrar, import, worth};
use support::{Place, count, ordinary};

/// Name and authority of each node; the last one is stopped.
const NODES: [(&str, &str); 8] = [
    ("court", "justice"),
    ("bar", "barreaux"),
    ("bar-2", "barreaux"),
    ("bar-3", "barreaux"),
    ("bar-4", "barreaux"),
    ("bar-5", "barreaux"),
    ("court-2", "justice"),
    ("company", "experts"),
];
const SEVEN: usize = 7;
const BARS: &str = "barreaux.example";
/// How soon what is revoked is so everywhere.
const SOON: Duration = Duration::from_secs(1);
/// How often a node is asked.
const LOOK: Duration = Duration::from_millis(2);

const TESTS: [(&str, fn()); 3] = [
    (
        "a_revocation_is_everywhere_within_a_second",
        a_revocation_is_everywhere_within_a_second,
    ),
    ("a_node_that_is_cut_off_shows", a_node_that_is_cut_off_shows),
    (
        "one_entry_retires_a_certificate_authority_on_all_nodes",
        one_entry_retires_a_certificate_authority_on_all_nodes,
    ),
];

/// As long as no test has failed in it: to set it up takes longer than a test.
static SCENE: Mutex<Option<Scene>> = Mutex::new(None);

struct Scene {
    stage: Stage,
    net: Net,
    registrar: Registrar,
    /// Who is enrolled and not revoked yet.
    enrolled: Vec<(SubjectId, CertificateId)>,
    place: Place,
}

impl Scene {
    fn enter() -> Self {
        let left = SCENE.lock().unwrap().take();
        left.unwrap_or_else(Self::set)
    }

    fn set() -> Self {
        let begun = Instant::now();
        let place = Place::new();
        let net = Net::make(NODES.len());
        let plan = |(node, (name, authority))| Plan {
            name,
            authority,
            address: net.address(node),
            front: None,
            namespace: Some(net.namespace(node)),
        };
        let plans: Vec<_> = NODES.into_iter().enumerate().map(plan).collect();
        let mut stage = Stage::certified(place.path(), &ordinary(), &plans);
        let registrar = Registrar::open(place.path(), &place.path().join("authorities/barreaux"), BARS);
        // The authority of the experts has no node that runs from here on.
        stage.nodes[SEVEN].stop();
        println!(
            "seven nodes, an eighth stopped: in place after {:.1} s",
            begun.elapsed().as_secs_f64()
        );
        let mut scene = Self {
            stage,
            net,
            registrar,
            enrolled: Vec::new(),
            place,
        };
        scene.enrol(count("BASOCHE_REVOCATIONS", 100, 500) + 1);
        scene
    }

    fn seven(&self) -> &[Node] {
        &self.stage.nodes[..SEVEN]
    }

    /// Enrols so many persons, and waits until every node knows them.
    fn enrol(&mut self, persons: usize) {
        let home = SubjectId::from_hex(&self.stage.nodes[1].id).unwrap();
        let mut entries = Vec::new();
        for _ in 0..persons {
            let (subject, certificate, entry) = self.registrar.enrol(home);
            entries.push(entry);
            self.enrolled.push((subject, certificate));
        }
        import(&self.seven()[0].client(), entries);
        let (last, _) = *self.enrolled.last().unwrap();
        for node in self.seven() {
            until("everybody known everywhere", || {
                (worth(&node.client(), last)? == "valid").then_some(())
            });
        }
    }

    /// Has a node admit entries; how long it took until each of these nodes says of somebody what `seen` looks for. Nothing of a
    /// node that does not within `patience`.
    fn spread(
        &self,
        told: usize,
        entry: String,
        subject: SubjectId,
        seen: &str,
        patience: Duration,
    ) -> Vec<Option<Duration>> {
        let begun = Instant::now();
        scope(|scope| {
            let watch = |node: &Node| {
                let client = node.client();
                scope.spawn(move || {
                    loop {
                        if worth(&client, subject).is_some_and(|worth| worth.starts_with(seen)) {
                            return Some(begun.elapsed());
                        }
                        if begun.elapsed() > patience {
                            return None;
                        }
                        sleep(LOOK);
                    }
                })
            };
            let watches: Vec<_> = self.seven().iter().map(watch).collect();
            import(&self.seven()[told].client(), vec![entry]);
            watches.into_iter().map(|watch| watch.join().unwrap()).collect()
        })
    }

    /// The lawyer of a node lodges a dire there.
    fn dire(&self, node: usize, number: u64) -> Result<MessageId, ClientError> {
        let body = Body::Dire(Dire {
            ext: None,
            number,
            text: format!("Observations {number}"),
            recapitulative: false,
            document: None,
        });
        say(&self.stage, node, body, Level::Deposited)
    }

    fn connected(&self) -> bool {
        self.seven()
            .iter()
            .all(|node| match node.client().ask(&Request::Status) {
                Ok(Answer::Status(status)) => {
                    status.peers.iter().filter(|peer| peer.connected).count() == SEVEN - 1
                }
                _ => false,
            })
    }

    fn leave(self) {
        for node in self.seven() {
            assert_eq!(alarms(&node.log()), Vec::<&str>::new(), "{}", node.name);
        }
        *SCENE.lock().unwrap() = Some(self);
    }
}

/// Of a hundred values so many are not larger.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted[place].as_secs_f64() * 1000.0
}

fn a_revocation_is_everywhere_within_a_second() {
    let mut scene = Scene::enter();
    let mut took = Vec::new();
    let revocations = scene.enrolled.len() - 1;
    for number in 0..revocations {
        let whom = scene.enrolled.pop().unwrap();
        let entry = scene.registrar.revoke(whom);
        let spread = scene.spread(number % SEVEN, entry, whom.0, "revoked", Duration::from_secs(30));
        took.extend(spread.into_iter().map(Option::unwrap));
    }
    took.sort_unstable();
    println!(
        "revocations: {revocations}, each to seven nodes: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        percentile(&took, 50),
        percentile(&took, 99),
        percentile(&took, 100)
    );
    assert_eq!(took.len(), revocations * SEVEN);
    assert!(percentile(&took, 99) < SOON.as_secs_f64() * 1000.0);
    scene.leave();
}

/// Negative control: a node that hears nothing does not know it, and knows it once it hears again.
fn a_node_that_is_cut_off_shows() {
    let mut scene = Scene::enter();
    let last = SEVEN - 1;
    scene.net.cut(&[last]);
    let whom = scene.enrolled.pop().unwrap();
    let entry = scene.registrar.revoke(whom);
    let spread = scene.spread(0, entry, whom.0, "revoked", 2 * SOON);
    assert_eq!(spread[last], None, "{spread:?}");
    assert!(spread[..last].iter().all(Option::is_some), "{spread:?}");
    scene.net.heal();
    until("the node that was cut off knows it", || {
        let worth = worth(&scene.seven()[last].client(), whom.0)?;
        worth.starts_with("revoked").then_some(())
    });
    until("all connected again", || scene.connected().then_some(()));
    scene.leave();
}

fn one_entry_retires_a_certificate_authority_on_all_nodes() {
    let mut scene = Scene::enter();
    let before: Vec<_> = (0..SEVEN).map(|node| scene.dire(node, 1).unwrap()).collect();
    until("the acts of before are everywhere", || {
        let shown = scene.stage.shown();
        let shown = &shown[..SEVEN];
        shown
            .iter()
            .all(|one| one.is_some() && *one == shown[0])
            .then_some(())
    });
    let der = fs::read(scene.place.path().join("ca.der")).unwrap();
    let certificate = CertificateId::new(basoche_protocol::crypto::sha256(&[&der]));
    let registry = scene.registrar.log.replica();
    let authority = registry.entries(BARS).find(|entry| {
        let key = entry.content.key();
        key.is_some_and(|key| key.certificate == certificate)
    });
    let retirement = Retirement {
        certificate,
        invalid_since: None,
    };
    let subject = authority.unwrap().subject.unwrap();
    let entry = scene.registrar.enter(subject, retirement, None);
    let retired = now();
    let lawyer = scene.stage.lawyers[0].subject;
    let begun = Instant::now();
    let spread = scene.spread(
        0,
        entry,
        lawyer,
        "its certificate authority is retired",
        Duration::from_secs(30),
    );
    // Acts that are signed in the same millisecond were signed before.
    until("a later millisecond", || (now() > retired).then_some(()));
    for (node, (name, _)) in NODES[..SEVEN].iter().enumerate() {
        match scene.dire(node, 2) {
            Err(ClientError::Failed(failure)) => assert_eq!(failure.code, "signer-invalid", "{failure:?}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    let refused = begun.elapsed();
    let longest = spread.iter().map(|took| took.unwrap()).max().unwrap();
    println!(
        "retired: known on seven nodes after {:.1} ms, an act refused on each after {:.1} ms",
        longest.as_secs_f64() * 1000.0,
        refused.as_secs_f64() * 1000.0
    );
    assert!(refused < SOON, "{refused:?}");
    // What was done before stays what it was, on every node, and nobody has lost anybody.
    for node in scene.seven() {
        let view = support::nodes::show(&node.client(), scene.stage.dossier).unwrap();
        for message in &before {
            let found = view.messages.iter().find(|one| one.id == *message).unwrap();
            assert_eq!(found.verdict, "effective", "{found:?}");
        }
    }
    assert!(scene.connected());
    scene.leave();
}

fn main() -> ExitCode {
    let outcome = run(&TESTS, unavailable);
    // Nodes and network go now: nothing drops a static.
    drop(SCENE.lock().unwrap().take());
    outcome
}
