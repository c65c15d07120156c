//! Seven nodes come to the same state although the network loses packets or falls apart. SYN-6, SYN-7.
//!
//! Seven real nodes, each in a network namespace, with a lawyer at each who deposits small documents. In the first
//! test every node loses 30 of 100 packets that come to it, in the second three nodes and four do not hear each other
//! for a while. Nothing that was acknowledged may be lost. The third cuts one node off, which the judge must notice.
//!
//! Needs root, `ip` and `nft`. Where namespaces are not allowed, or with `BASOCHE_NO_NETNS=1`, the tests count as
//! skipped. `BASOCHE_DEPOSITS` sets the number of deposits under loss, `BASOCHE_SIDE` that of each node while the
//! network is apart, `BASOCHE_HOLD` for how many seconds it is, `BASOCHE_SEED` the seed, `BASOCHE_LONG=1` the length
//! of a campaign.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use basoche_node::desk::DocumentView;
use support::harness::run;
use support::judge::{alarms, findings};
use support::load::{Acknowledged, Documents, Record};
use support::namespaces::{Net, unavailable};
use support::nodes::{Plan, Stage, show, within};
use support::seed::seed;
use support::{Place, count, ordinary};

/// Name and authority of each node.
const NODES: [(&str, &str); 7] = [
    ("court", "justice"),
    ("bar", "barreaux"),
    ("company", "experts"),
    ("bar-2", "barreaux"),
    ("bar-3", "barreaux"),
    ("bar-4", "barreaux"),
    ("bar-5", "barreaux"),
];
/// Every deposit carries a document.
const SMALL: Documents = Documents {
    once_in: 1,
    bytes: 4096,
};
/// Of a hundred packets, so many are lost on their way into each node.
const LOSS: usize = 30;
/// From the first deposit until all are equal, under loss.
const EQUAL_UNDER_LOSS: Duration = Duration::from_secs(180);
/// From the healing of a partition until all are equal.
const EQUAL_AFTER_HEALING: Duration = Duration::from_secs(15);
/// Patience where nothing is lost, or nothing is to be found.
const SHORT: Duration = Duration::from_secs(5);
/// Patience until every document and every receipt is everywhere.
const EVERYWHERE: Duration = Duration::from_secs(300);

const TESTS: [(&str, fn()); 3] = [
    ("seven_nodes_agree_under_loss", seven_nodes_agree_under_loss),
    ("a_partition_heals", a_partition_heals),
    (
        "a_node_that_is_cut_off_is_noticed",
        a_node_that_is_cut_off_is_noticed,
    ),
];

/// The scene, for as long as no test has failed in it: to set one up takes longer than a test.
static SCENE: Mutex<Option<Scene>> = Mutex::new(None);

/// Seven nodes in namespaces, a dossier with a lawyer at each, and what was acknowledged to their clients.
struct Scene {
    stage: Stage,
    net: Net,
    record: Record,
    seed: u64,
    /// After the nodes and their network: its data stay when a test fails.
    _place: Place,
}

impl Scene {
    /// The scene that the test before has left, or a new one.
    fn enter() -> Self {
        let left = SCENE.lock().unwrap().take();
        left.unwrap_or_else(Self::set)
    }

    fn set() -> Self {
        let (seed, begun) = (seed(), Instant::now());
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
        let stage = Stage::of(place.path(), &ordinary(), &plans);
        let (record, _) = Record::new(&place.path().join("acknowledged"));
        println!(
            "seven nodes: seed {seed}; in place after {:.1} s",
            begun.elapsed().as_secs_f64()
        );
        Self {
            stage,
            net,
            record,
            seed,
            _place: place,
        }
    }

    /// The lawyers at these nodes make so many deposits each, all at once; what was acknowledged.
    fn deposit(&self, nodes: &[usize], each: usize) -> Vec<Acknowledged> {
        self.stage.deposit(&self.record, self.seed, nodes, each, SMALL)
    }

    /// Waits until these nodes show the same state and as many entries, and have `expected` on file.
    ///
    /// # Errors
    /// What is wrong after `patience`: who shows something else than most, what is missing where.
    fn agree(
        &self,
        among: &[usize],
        expected: &[Acknowledged],
        patience: Duration,
    ) -> Result<Duration, Vec<String>> {
        let begun = Instant::now();
        let wrong = || {
            let wrong = self.different(among);
            if wrong.is_empty() {
                self.missing(among, expected)
            } else {
                wrong
            }
        };
        let agreed = within(patience, || wrong().is_empty().then(|| begun.elapsed()));
        agreed.ok_or_else(|| [self.different(among), self.missing(among, expected)].concat())
    }

    /// The nodes that do not show what most of these show.
    fn different(&self, among: &[usize]) -> Vec<String> {
        let shown = self.stage.shown();
        let mut times = HashMap::new();
        for node in among {
            *times.entry(shown[*node]).or_insert(0) += 1;
        }
        let most = times
            .into_iter()
            .max_by_key(|(_, times)| *times)
            .and_then(|(shown, _)| shown);
        let differs = |node: &&usize| shown[**node].is_none() || shown[**node] != most;
        let line = |node: &usize| format!("{} shows {:?}, most {most:?}", NODES[*node].0, shown[*node]);
        among.iter().filter(differs).map(line).collect()
    }

    /// What these nodes do not have on file as it was acknowledged.
    fn missing(&self, among: &[usize], expected: &[Acknowledged]) -> Vec<String> {
        let mut found = Vec::new();
        for node in among {
            let name = NODES[*node].0;
            match show(&self.stage.nodes[*node].client(), self.stage.dossier) {
                Some(view) => found.extend(findings(expected, &[(name, &view)], &[], false)),
                None => found.push(format!("{name} does not show the dossier")),
            }
        }
        found
    }

    /// Whether each node states that it holds all of so many documents.
    fn hold_all(&self, documents: usize) -> bool {
        let views = self.stage.views().unwrap();
        self.stage.nodes.iter().zip(&views).all(|(node, view)| {
            let held = |document: &&DocumentView| document.held.contains_key(&node.id);
            view.documents.iter().filter(held).count() >= documents
        })
    }

    /// Lets everything pass, waits until every document and receipt is everywhere, holds what the nodes show and have
    /// logged against the record, and leaves the scene to the next test.
    fn leave(self) {
        self.net.heal();
        let begun = Instant::now();
        let views = self.stage.settled_within(EVERYWHERE);
        println!(
            "seven nodes: every receipt everywhere {:.1} s later",
            begun.elapsed().as_secs_f64()
        );
        let acknowledged = self.record.acknowledged();
        assert_eq!(self.stage.findings(&acknowledged, &views), Vec::<String>::new());
        assert_eq!(self.record.failures(), Vec::<String>::new());
        for view in &views {
            assert_eq!(view.documents.len(), acknowledged.len());
        }
        for node in &self.stage.nodes {
            assert_eq!(alarms(&node.log()), Vec::<&str>::new(), "{}", node.name);
        }
        *SCENE.lock().unwrap() = Some(self);
    }
}

fn everybody() -> Vec<usize> {
    (0..NODES.len()).collect()
}

fn seven_nodes_agree_under_loss() {
    let each = count("BASOCHE_DEPOSITS", 70, 700).div_ceil(NODES.len());
    let scene = Scene::enter();
    scene.net.lose(LOSS);
    let begun = Instant::now();
    let seconds = || begun.elapsed().as_secs_f64();
    let acknowledged = scene.deposit(&everybody(), each);
    println!(
        "loss: {} deposits acknowledged after {:.1} s",
        acknowledged.len(),
        seconds()
    );
    let left = EQUAL_UNDER_LOSS.saturating_sub(begun.elapsed());
    scene.agree(&everybody(), &acknowledged, left).unwrap();
    println!("loss: all equal after {:.1} s", seconds());
    let counts = scene.net.counts();
    let share = counts.dropped * 100 / counts.seen.max(1);
    println!(
        "loss: {} of {} packets dropped, {share} %",
        counts.dropped, counts.seen
    );
    // The control: the loss is real.
    assert!(share.abs_diff(LOSS as u64) <= 3, "{counts:?}");
    within(EVERYWHERE, || scene.hold_all(acknowledged.len()).then_some(())).unwrap();
    println!("loss: every document everywhere after {:.1} s", seconds());
    scene.leave();
}

fn a_partition_heals() {
    let (each, hold) = (count("BASOCHE_SIDE", 3, 10), count("BASOCHE_HOLD", 8, 20));
    let scene = Scene::enter();
    let (three, four) = ([0, 1, 2], [3, 4, 5, 6]);
    let begun = Instant::now();
    scene.net.cut(&three);
    let (of_three, of_four) = (scene.deposit(&three, each), scene.deposit(&four, each));
    sleep(Duration::from_secs(hold as u64).saturating_sub(begun.elapsed()));
    // Each side goes on alone, and knows nothing of the other.
    scene.agree(&three, &of_three, SHORT).unwrap();
    scene.agree(&four, &of_four, SHORT).unwrap();
    let shown = scene.stage.shown();
    assert_ne!(shown[0], shown[3]);
    assert!(scene.missing(&four, &of_three).len() == four.len() * of_three.len());
    assert!(scene.missing(&three, &of_four).len() == three.len() * of_four.len());
    let (apart, counts) = (begun.elapsed(), scene.net.counts());
    scene.net.heal();
    let all = [of_three, of_four].concat();
    let took = scene.agree(&everybody(), &all, EQUAL_AFTER_HEALING).unwrap();
    println!(
        "partition: {:.1} s apart, {} deposits, {} packets dropped; all equal {:.1} s after healing",
        apart.as_secs_f64(),
        all.len(),
        counts.dropped,
        took.as_secs_f64()
    );
    scene.leave();
}

/// Negative control.
fn a_node_that_is_cut_off_is_noticed() {
    let scene = Scene::enter();
    let (last, name) = (NODES.len() - 1, NODES[NODES.len() - 1].0);
    scene.net.cut(&[last]);
    let acknowledged = scene.deposit(&everybody(), 1);
    let noticed = scene.agree(&everybody(), &acknowledged, SHORT).unwrap_err();
    println!("control: {} lines, first: {}", noticed.len(), noticed[0]);
    assert!(noticed[0].starts_with(&format!("{name} shows ")), "{noticed:?}");
    // The others lack what the one that is cut off has taken, and it lacks all that they have; nothing else.
    let own = acknowledged.iter().filter(|one| one.node == last).count();
    let others = acknowledged.len() - own;
    assert_eq!(noticed.len(), 1 + own * last + others, "{noticed:?}");
    scene.net.heal();
    let took = scene
        .agree(&everybody(), &acknowledged, EQUAL_AFTER_HEALING)
        .unwrap();
    println!("control: all equal {:.1} s after healing", took.as_secs_f64());
    scene.leave();
}

fn main() -> ExitCode {
    let outcome = run(&TESTS, unavailable);
    // Nodes and network go now: nothing drops a static.
    drop(SCENE.lock().unwrap().take());
    outcome
}
