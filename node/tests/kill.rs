//! Nothing that was acknowledged is lost or doubled when nodes are killed. DESIGN §9, issue "Shown by" 3.
//!
//! Three real nodes work for clients that keep their own record and never give up a key. A killer, driven by a seed,
//! takes one node after the other with SIGKILL: half of the time at a random moment, half of the time within 2 ms
//! of an acknowledgement; sometimes while the two others are frozen, so that its own disk alone counts. In the
//! end every acknowledged message is on file at every node exactly once. The same harness catches a program that
//! acknowledges before it commits.
//!
//! `BASOCHE_KILLS` sets the number of kills, `BASOCHE_SEED` the seed, `BASOCHE_LONG=1` the length of a campaign.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use support::judge::{alarms, findings};
use support::load::{Acknowledgements, CLIENTS, Record, SOME, Submitter};
use support::nodes::{Node, Stage};
use support::seed::{Dice, seed};
use support::{Place, count, ordinary, version, with_faults};

/// Acknowledgements that a campaign must have seen for each kill, or it has shown nothing.
const ACKNOWLEDGED_PER_KILL: usize = 5;
/// Kills after which a program that acknowledges before it commits must have been caught.
const CONTROL_KILLS: usize = 60;
/// A killed node is connected again: half of the times within the first, always within the second.
const CONNECTED: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));

/// What a campaign counts.
#[derive(Default)]
struct Tally {
    kills: [usize; 3],
    alone: usize,
    upon_acknowledgement: usize,
    /// From the start of a process until it is connected with both peers.
    connected: Vec<Duration>,
}

/// Kills, starts again, and goes on until `enough` is told so many kills, or says so.
fn campaign(
    nodes: &mut [Node],
    kills: usize,
    dice: &mut Dice,
    record: &Record,
    heard: &Acknowledgements,
    mut enough: impl FnMut(&Node) -> bool,
) -> Tally {
    let mut tally = Tally::default();
    let mut order = [0; 3];
    for kill in 0..kills {
        if kill % 3 == 0 {
            order = dice.order();
        }
        let victim = order[kill % 3];
        let others = [(victim + 1) % 3, (victim + 2) % 3];
        let alone = dice.once_in(3);
        let upon_acknowledgement = kill % 2 == 1;
        if alone {
            others.iter().for_each(|other| nodes[*other].freeze());
        }
        if upon_acknowledgement {
            record.hurry(Some(victim));
            heard.next_of(victim);
            sleep(dice.between_us(0, 2_000));
        } else {
            sleep(dice.between_us(5_000, 300_000));
        }
        nodes[victim].kill();
        record.hurry(None);
        tally.kills[victim] += 1;
        tally.alone += usize::from(alone);
        tally.upon_acknowledgement += usize::from(upon_acknowledgement);

        let started = Instant::now();
        nodes[victim].start();
        nodes[victim].ready();
        if enough(&nodes[victim]) {
            others.iter().for_each(|other| nodes[*other].thaw());
            break;
        }
        if alone {
            others.iter().for_each(|other| nodes[*other].thaw());
        }
        // Every second time the next kill may find it still shaking hands or catching up.
        if dice.once_in(2) {
            nodes[victim].connected();
            if !alone {
                tally.connected.push(started.elapsed());
            }
        }
    }
    tally
}

/// The clients of all nodes, for as long as `meanwhile` lasts.
fn under_load<T>(
    stage: &mut Stage,
    record: &Record,
    seed: u64,
    meanwhile: impl FnOnce(&mut [Node]) -> T,
) -> T {
    let Stage {
        nodes,
        lawyers,
        dossier,
    } = stage;
    scope(|scope| {
        for (node, wallet) in lawyers.iter().enumerate() {
            for client in 0..CLIENTS {
                let submitter = Submitter {
                    name: format!("{node}.{client}"),
                    node,
                    home: nodes[node].client(),
                    wallet,
                    dossier: *dossier,
                    record,
                    documents: SOME,
                    dice: Dice::new(seed, (node * CLIENTS + client + 1) as u64),
                };
                scope.spawn(move || submitter.run());
            }
        }
        // However it ends, the clients end too: a scope waits for them.
        let stop = Stop(record);
        let done = meanwhile(nodes);
        drop(stop);
        done
    })
}

/// Stops the clients when dropped.
struct Stop<'a>(&'a Record);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[test]
fn kills() {
    let (kills, seed, began) = (count("BASOCHE_KILLS", 9, 200), seed(), Instant::now());
    println!("kills: seed {seed}, {kills} kills");
    let root = Place::new();
    let mut stage = Stage::set(root.path(), &ordinary());
    // What makes the control's program acknowledge too early changes nothing in the ordinary one.
    for node in &mut stage.nodes {
        node.become_program(&ordinary(), "ack-before-commit");
    }
    let (record, heard) = Record::new(&root.path().join("acknowledged"));
    let mut dice = Dice::new(seed, 0);

    let mut tally = under_load(&mut stage, &record, seed, |nodes| {
        campaign(nodes, kills, &mut dice, &record, &heard, |_| false)
    });
    assert_eq!(record.failures(), Vec::<String>::new());
    let views = stage.settled();

    let acknowledged = record.acknowledged();
    let (median, longest) = (median(&mut tally.connected), tally.connected.last().copied());
    let longest = longest.unwrap_or_default();
    println!(
        "kills: {:?} per node, {} upon an acknowledgement, {} alone; {} acknowledged {:?}, {} tries without an answer; \
         connected again in {} ms (median), {} ms (longest of {}); {:.1} s",
        tally.kills,
        tally.upon_acknowledgement,
        tally.alone,
        acknowledged.len(),
        per_node(&acknowledged),
        record.retried(),
        median.as_millis(),
        longest.as_millis(),
        tally.connected.len(),
        began.elapsed().as_secs_f64()
    );
    assert_eq!(stage.findings(&acknowledged, &views), Vec::<String>::new());
    for node in &stage.nodes {
        assert_eq!(alarms(&node.log()), Vec::<&str>::new(), "{}", node.name);
        assert!(
            !node.log().contains(support::load::TEXT),
            "{}: what a dire says is logged",
            node.name
        );
    }
    assert!(
        acknowledged.len() >= kills * ACKNOWLEDGED_PER_KILL,
        "{}",
        acknowledged.len()
    );
    assert!(
        kills < 3 || tally.kills.iter().all(|kills| *kills > 0),
        "{:?}",
        tally.kills
    );
    if !tally.connected.is_empty() {
        assert!(
            median < CONNECTED.0 && longest < CONNECTED.1,
            "{median:?} {longest:?}"
        );
    }
    stage.nodes.iter_mut().for_each(Node::stop);
}

fn per_node(acknowledged: &[support::load::Acknowledged]) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    for one in acknowledged {
        *counts.entry(one.node).or_default() += 1;
    }
    counts
}

/// Negative control.
#[test]
fn a_node_that_acknowledges_before_it_commits_is_caught() {
    let (seed, began) = (seed(), Instant::now());
    println!("control: seed {seed}, acknowledge before commit");
    let root = Place::new();
    let mut stage = Stage::set(root.path(), &ordinary());
    for node in &mut stage.nodes {
        node.stop();
        node.become_program(&with_faults(), "ack-before-commit");
        node.start();
    }
    stage.nodes.iter_mut().for_each(Node::connected);
    let (record, heard) = Record::new(&root.path().join("acknowledged"));
    let mut dice = Dice::new(seed, 0);
    let dossier = stage.dossier;
    let mut suspects = Vec::new();

    let tally = under_load(&mut stage, &record, seed, |nodes| {
        campaign(nodes, CONTROL_KILLS, &mut dice, &record, &heard, |victim| {
            // What the victim had acknowledged and does not show is lost, unless its peers have it: judged below.
            let known = record.acknowledged();
            let Some(view) = support::nodes::show(&victim.client(), dossier) else {
                return false;
            };
            suspects = findings(&known, &[(victim.name, &view)], &[], false)
                .into_iter()
                .filter(|finding| finding.contains("is lost") && of(victim, finding))
                .collect();
            !suspects.is_empty()
        })
    });
    let views = stage.settled();
    let named: Vec<_> = stage.nodes.iter().map(|node| node.name).zip(&views).collect();
    let caught = findings(&record.acknowledged(), &named, &[], false);
    println!(
        "control: {} lost at once after {:?} kills, {} findings in the end, {} acknowledged, {:.1} s",
        suspects.len(),
        tally.kills,
        caught.len(),
        record.acknowledged().len(),
        began.elapsed().as_secs_f64()
    );
    assert!(
        caught.iter().any(|finding| finding.contains("is lost")),
        "not caught: {caught:?}"
    );
}

/// Whether a finding is about a message of this node's clients.
fn of(node: &Node, finding: &str) -> bool {
    let place = ["court", "bar", "company"]
        .iter()
        .position(|name| *name == node.name);
    place.is_some_and(|place| finding.starts_with(&format!("{place}.")))
}

#[test]
fn the_ordinary_program_has_no_faults() {
    let said = version(&ordinary());
    assert!(!said.contains("faults"), "{said}");
    let program = std::fs::read(ordinary()).unwrap();
    let absent = |word: &str| {
        !program
            .windows(word.len())
            .any(|window| window == word.as_bytes())
    };
    assert!(absent("BASOCHE_FAULT") && absent("ack-before-commit") && absent("no-sync"));
    assert!(!absent("BASOCHE_PASSPHRASE"), "the search finds what is there");
}
