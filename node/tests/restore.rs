//! Copies of a running node, and what becomes of a node that is put back from one. JRN-6.
//!
//! A drill: 100 deposits, a copy, 100 more, the data directory is wiped and the copy put back, 100 more. Nobody may
//! lack any of the 300 or have one twice, and nobody may see a fork; in every second drill the peers are away while
//! the last 100 are signed. `BASOCHE_DRILLS` says how many.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;
use support::disk::{command, documents, files, spoil};
use support::judge::alarms;
use support::load::{Record, SOME, Submitter};
use support::nodes::{Node, Stage};
use support::seed::{Dice, seed};
use support::{Place, count, ordinary};

/// Deposits of each third of a drill.
const DEPOSITS: u64 = 100;
/// Drills of one federation: its dossier grows by 300 messages with each.
const DRILLS_OF_A_STAGE: usize = 5;

/// Exit code and answer of a command about the court's node.
fn node(place: &Place, verb: &str, rest: &[&str]) -> (i32, Value) {
    command(&ordinary(), "", place.path(), "court", verb, rest)
}

fn succeeds(place: &Place, verb: &str, rest: &[&str]) -> Value {
    let (exit, answer) = node(place, verb, rest);
    assert_eq!(exit, 0, "{verb} {rest:?}: {answer}");
    answer
}

/// A command that must fail with this code, naming `what`.
fn fails(place: &Place, verb: &str, rest: &[&str], exit: i32, what: &str) {
    let (found, answer) = node(place, verb, rest);
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(
        found == exit && message.contains(what),
        "{verb} {rest:?}: {found} {answer}"
    );
}

struct Drills {
    place: Place,
    stage: Stage,
    record: Record,
    dice: Dice,
    batches: u64,
}

impl Drills {
    fn begin(seed: u64) -> Self {
        let place = Place::new();
        let stage = Stage::set(place.path(), &ordinary());
        let (record, _) = Record::new(&place.path().join("acknowledged"));
        Self {
            stage,
            record,
            dice: Dice::new(seed, 0),
            batches: 0,
            place,
        }
    }

    /// The lawyer at the court deposits a batch.
    fn deposit(&mut self) {
        self.batches += 1;
        let court = &self.stage.nodes[0];
        let submitter = Submitter {
            name: format!("batch-{}", self.batches),
            node: 0,
            home: court.client(),
            wallet: &self.stage.lawyers[0],
            dossier: self.stage.dossier,
            record: &self.record,
            documents: SOME,
            dice: Dice::new(self.dice.next(), self.batches),
        };
        submitter.submit(DEPOSITS);
    }

    fn data(&self) -> PathBuf {
        self.stage.nodes[0].home().join("data")
    }

    /// One drill; whether the peers are away while the last deposits are signed.
    fn drill(&mut self, alone: bool) {
        self.deposit();
        let copy = format!("copy-{}", self.batches);
        let copied = succeeds(&self.place, "backup", &["--to", &copy]);
        assert!(copied["files"].as_u64().unwrap() > 5, "{copied}");
        self.deposit();
        self.stage.settled();
        self.stage.nodes[0].kill();
        if alone {
            self.stage.nodes[1..].iter_mut().for_each(Node::stop);
        }
        fs::remove_dir_all(self.data()).unwrap();
        let back = succeeds(&self.place, "restore", &["--from", &copy]);
        assert_eq!(back, copied);
        self.stage.nodes[0].start();
        self.stage.nodes[0].ready();
        self.deposit();
        if alone {
            self.stage.nodes[1..].iter_mut().for_each(Node::start);
        }
        self.stage.nodes.iter_mut().for_each(Node::connected);
        let views = self.stage.settled();
        let acknowledged = self.record.acknowledged();
        assert_eq!(acknowledged.len() as u64, self.batches * DEPOSITS);
        assert_eq!(self.stage.findings(&acknowledged, &views), Vec::<String>::new());
        fs::remove_dir_all(self.place.path().join(copy)).unwrap();
    }

    /// Nobody has seen a fork, and what the court holds verifies.
    fn end(&mut self) {
        self.stage.nodes.iter_mut().for_each(Node::stop);
        for node in &self.stage.nodes {
            let log = node.log();
            let mut seen = alarms(&log);
            // That the court lost something is what the drill is about.
            seen.retain(|line| !line.contains("a member knows more of our chain"));
            assert_eq!(seen, Vec::<&str>::new(), "{}", node.name);
        }
        let checked = succeeds(&self.place, "verify", &[]);
        assert_eq!(checked["dossiers"], 1, "{checked}");
        assert!(
            checked["entries"].as_u64().unwrap() >= self.batches * DEPOSITS,
            "{checked}"
        );
        assert!(checked["bytes"].as_u64().unwrap() > 0, "{checked}");
    }
}

#[test]
fn a_node_that_is_put_back_loses_nothing_that_a_peer_has_and_never_forks() {
    let (drills, seed, begun) = (count("BASOCHE_DRILLS", 2, 50), seed(), Instant::now());
    println!("restore: seed {seed}, {drills} drills");
    let mut done = 0;
    while done < drills {
        let mut it = Drills::begin(seed + done as u64);
        for _ in 0..DRILLS_OF_A_STAGE.min(drills - done) {
            it.drill(done % 2 == 1);
            done += 1;
        }
        it.end();
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "restore: {done} drills of {} deposits, none lost, none twice, no fork; {seconds:.1} s",
        3 * DEPOSITS
    );
}

#[test]
fn bad_copies_and_places_are_named_and_change_nothing() {
    let mut it = Drills::begin(7);
    it.deposit();
    it.stage.settled();
    let place = &it.place;
    succeeds(place, "backup", &["--to", "copy"]);
    // A copy is new, outside of the data, and of a node that runs.
    fails(place, "backup", &["--to", "copy"], 73, "copy exists already");
    fails(
        place,
        "backup",
        &["--to", "court/data/copy"],
        73,
        "data directory",
    );
    fails(place, "backup", &["--to", "nowhere/copy"], 73, "nowhere");
    fails(place, "verify", &[], 75, "court/data");
    fails(place, "restore", &["--from", "copy"], 73, "is not empty");
    it.stage.nodes[0].stop();
    fails(place, "backup", &["--to", "other"], 69, "");
    assert!(!place.path().join("other").exists());

    // What was changed, lost or added to since is not put back.
    let (data, kept) = (it.data(), place.path().join("kept"));
    fs::rename(&data, &kept).unwrap();
    let copy = place.path().join("copy");
    let blob = documents(&copy).swap_remove(0);
    let store = files(&copy.join("store"));
    let sorted = store
        .iter()
        .find(|path| path.extension().is_some_and(|end| end == "sst"))
        .unwrap();
    for path in [sorted.clone(), copy.join("keys/node.key"), copy.join("manifest")] {
        let whole = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        spoil(&path);
        let exit = if name == "node.key" { 78 } else { 65 };
        let what = if name == "node.key" { "node keys" } else { &name };
        fails(place, "restore", &["--from", "copy"], exit, what);
        fs::write(&path, whole).unwrap();
    }
    let whole = fs::read(&blob).unwrap();
    fs::remove_file(&blob).unwrap();
    fails(
        place,
        "restore",
        &["--from", "copy"],
        73,
        blob.file_name().unwrap().to_str().unwrap(),
    );
    File::create(&blob).unwrap();
    fails(place, "restore", &["--from", "copy"], 65, "has 0 bytes");
    fs::write(&blob, whole).unwrap();
    fs::write(place.path().join("passphrase"), "another one\n").unwrap();
    fails(place, "restore", &["--from", "copy"], 78, "passphrase");
    fs::write(place.path().join("passphrase"), "for trials only\n").unwrap();
    assert!(!data.exists());
    let left = files(&it.stage.nodes[0].home());
    assert!(
        left.iter().all(|path| !path.to_string_lossy().contains(".copy-")),
        "{left:?}"
    );

    // A sound copy is; and then a document that goes bad or is lost is found.
    succeeds(place, "restore", &["--from", "copy"]);
    succeeds(place, "verify", &[]);
    let documents = documents(&data);
    spoil(&documents[0]);
    fs::remove_file(&documents[1]).unwrap();
    let (exit, checked) = node(place, "verify", &[]);
    assert_eq!(exit, 65, "{checked}");
    let root = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(
        checked["damaged"][0]["root"],
        root(&documents[0]).as_str(),
        "{checked}"
    );
    assert_eq!(
        checked["missing"][0]["root"],
        root(&documents[1]).as_str(),
        "{checked}"
    );
    it.stage.nodes[1..].iter_mut().for_each(Node::stop);
}
