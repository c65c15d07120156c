//! What becomes of a node whose store or documents are damaged and of which there is no backup: `node repair`.
//!
//! Three real nodes. Documents are spoilt, and stores in each way that a disk has of spoiling them; the node does not
//! start or does not verify. Repaired and started, it has everything back from the others, and nobody sees a fork.
//! Repairs are cut short between their steps, too: then the node is as it was, or as it will be.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime};

use basoche_node::control::{Answer, Request};
use basoche_node::desk::StatusView;
use basoche_protocol::id::{Digest, Incarnation, SubjectId};
use serde_json::Value;
use support::disk::{command, documents, files, spoil};
use support::judge::alarms;
use support::load::{Record, SOME, Submitter};
use support::nodes::{Node, Stage, until};
use support::seed::{Dice, seed};
use support::{Place, ordinary, with_faults};

/// Deposits of a batch: some of them are documents.
const DEPOSITS: u64 = 40;

struct Ward {
    stage: Stage,
    record: Record,
    dice: Dice,
    batches: u64,
    place: Place,
}

impl Ward {
    fn open() -> Self {
        let place = Place::new();
        let stage = Stage::set(place.path(), &ordinary());
        let (record, _) = Record::new(&place.path().join("acknowledged"));
        let dice = Dice::new(seed(), 0);
        let mut it = Self {
            stage,
            record,
            dice,
            batches: 0,
            place,
        };
        // The dice may leave a batch without documents.
        while documents(&it.data(0)).len() < 3 {
            it.deposit(0);
            it.deposit(1);
            it.stage.settled();
        }
        it
    }

    /// The lawyer at a node deposits a batch.
    fn deposit(&mut self, node: usize) {
        self.batches += 1;
        let submitter = Submitter {
            name: format!("batch-{}", self.batches),
            node,
            home: self.stage.nodes[node].client(),
            wallet: &self.stage.lawyers[node],
            dossier: self.stage.dossier,
            record: &self.record,
            documents: SOME,
            dice: Dice::new(self.dice.next(), self.batches),
        };
        submitter.submit(DEPOSITS);
    }

    fn data(&self, node: usize) -> PathBuf {
        self.stage.nodes[node].home().join("data")
    }

    fn run(&self, node: usize, verb: &str, rest: &[&str]) -> (i32, Value) {
        let name = self.stage.nodes[node].name;
        command(&ordinary(), "", self.place.path(), name, verb, rest)
    }

    /// `node repair --from-peers`, which must end with this code.
    fn repair(&self, node: usize, rest: &[&str], exit: i32) -> Value {
        let (found, answer) = self.run(node, "repair", &[&["--from-peers"], rest].concat());
        assert_eq!(found, exit, "{answer}");
        answer
    }

    /// A repair that is cut short at `step`.
    fn cut_short(&self, node: usize, step: &str) {
        let name = self.stage.nodes[node].name;
        let rest = ["--from-peers", "--yes"];
        let (exit, answer) = command(&with_faults(), step, self.place.path(), name, "repair", &rest);
        assert_eq!((exit, answer), (-1, Value::Null), "{step}");
    }

    /// It starts on its summaries, and ends with the first who needs what is damaged.
    fn falls(&mut self, node: usize) {
        self.start(node);
        let dossier = self.stage.dossier;
        let asked = self.stage.nodes[node].client().ask(&Request::Dossier { dossier });
        assert!(asked.is_err(), "what is damaged is shown: {asked:?}");
        let answer = self.stage.nodes[node].answer();
        assert!(answer.is_none(), "a damaged node runs: {answer:?}");
        let log = self.stage.nodes[node].log();
        assert!(log.contains("node repair"), "{log}");
    }

    /// It does not start.
    fn is_down(&mut self, node: usize) {
        self.stage.nodes[node].start();
        let answer = self.stage.nodes[node].answer();
        assert!(answer.is_none(), "a damaged node runs: {answer:?}");
    }

    fn start(&mut self, node: usize) {
        self.stage.nodes[node].start();
        self.stage.nodes[node].ready();
    }

    fn status(&self, node: usize) -> StatusView {
        match self.stage.nodes[node].client().ask(&Request::Status) {
            Ok(Answer::Status(status)) => *status,
            other => panic!("{other:?}"),
        }
    }

    /// The hash of the dossier's state.
    fn state(&self, node: usize) -> Digest {
        self.status(node).dossiers[0].state_hash
    }

    /// Under which incarnations a node has written.
    fn lives(&self, node: usize, of: SubjectId) -> BTreeSet<Incarnation> {
        let status = self.status(node);
        let frontier = status.dossiers[0].frontier.iter().map(|row| row.chain);
        frontier
            .filter(|chain| chain.node == of)
            .map(|chain| chain.incarnation)
            .collect()
    }

    /// Everything that was ever acknowledged is on file everywhere, once.
    fn nothing_is_lost(&mut self) {
        let views = self.stage.settled();
        let acknowledged = self.record.acknowledged();
        assert_eq!(acknowledged.len() as u64, self.batches * DEPOSITS);
        assert_eq!(self.stage.findings(&acknowledged, &views), Vec::<String>::new());
    }

    /// Imports the authorities' entries, from their directories.
    fn import(&self, node: usize) {
        let config = format!("{}/node.toml", self.stage.nodes[node].name);
        let done = Command::new(ordinary())
            .args(["annuaire", "import", "--config", &config])
            .args(["justice", "barreaux", "experts"].map(|one| format!("authorities/{one}")))
            .current_dir(self.place.path())
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// How many documents a node has fetched.
    fn fetched(&self, node: usize) -> usize {
        self.stage.nodes[node]
            .log()
            .matches("a document has come")
            .count()
    }
}

/// What is in a data directory: each file with its size and the instant of its last change. The database's own files
/// change with every look into them.
fn listing(data: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let names = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let outside = |path: &PathBuf| !path.starts_with(data.join("store"));
    let described = |path: PathBuf| {
        let found = fs::metadata(&path).unwrap();
        let changed = if found.is_dir() {
            SystemTime::UNIX_EPOCH
        } else {
            found.modified().unwrap()
        };
        (path, (found.len(), changed))
    };
    names.chain(files(data)).filter(outside).map(described).collect()
}

/// The files of a store that end so.
fn stored(data: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = files(&data.join("store"));
    found.retain(|path| path.extension().is_some_and(|extension| extension == end));
    found
}

fn root(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn roots(found: &Value) -> BTreeSet<String> {
    let found = found.as_array().unwrap().iter();
    found
        .map(|one| one["root"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn damaged_documents_are_set_aside_and_come_back() {
    let begun = Instant::now();
    let mut it = Ward::open();
    let data = it.data(0);
    // A node that runs is not repaired.
    let busy = it.repair(0, &["--yes"], 75);
    assert_eq!(busy["error"]["code"], "data-in-use", "{busy}");
    it.stage.nodes[0].stop();

    // A sound node stays as it is.
    let before = listing(&data);
    let sound = it.repair(0, &["--yes"], 0);
    assert_eq!(
        sound.to_string(),
        r#"{"v":1,"done":true,"store":null,"damaged":[],"missing":[],"aside":null}"#
    );
    assert_eq!(listing(&data), before);

    // Three documents go bad: a bit, an end, a tree.
    let all = documents(&data);
    spoil(&all[0]);
    let short = OpenOptions::new().write(true).open(&all[1]).unwrap();
    short.set_len(1000).unwrap();
    fs::remove_file(all[2].with_extension("tree")).unwrap();
    let bad: BTreeSet<_> = all[..3].iter().map(|path| root(path)).collect();
    let (exit, checked) = it.run(0, "verify", &[]);
    assert_eq!((exit, roots(&checked["damaged"])), (65, bad.clone()), "{checked}");

    // Cut short between the two files of the first document, the repair is taken up again.
    it.cut_short(0, "repair-document");
    let repaired = it.repair(0, &[], 0);
    let (again, rest) = (roots(&repaired["missing"]), roots(&repaired["damaged"]));
    assert_eq!((again.len(), rest.len()), (1, 2), "{repaired}");
    assert_eq!(&again | &rest, bad, "{repaired}");
    for one in repaired["damaged"].as_array().unwrap() {
        assert_eq!(one["holders"].as_array().unwrap().len(), 2, "{repaired}");
    }
    // Nothing is deleted: the files are where the answer says.
    let aside = PathBuf::from(repaired["aside"].as_str().unwrap());
    let found: BTreeSet<_> = documents(&aside).iter().map(|path| root(path)).collect();
    assert_eq!(found, rest);
    assert!(all[..3].iter().all(|path| !path.exists()));

    it.start(0);
    it.stage.settled();
    until("the documents again", || {
        all[..3].iter().all(|path| path.exists()).then_some(())
    });
    it.deposit(0);
    it.nothing_is_lost();
    it.stage.nodes[0].stop();
    let (exit, checked) = it.run(0, "verify", &[]);
    assert_eq!(exit, 0, "{checked}");

    // Of a document that nobody else has, the answer says so.
    it.stage.nodes[1..].iter_mut().for_each(Node::stop);
    it.start(0);
    let known = documents(&data);
    while documents(&data).len() == known.len() {
        it.deposit(0);
    }
    it.stage.nodes[0].stop();
    let mut alone = documents(&data);
    alone.retain(|path| !known.contains(path));
    let alone = alone.swap_remove(0);
    spoil(&alone);
    let repaired = it.repair(0, &[], 0);
    assert_eq!(
        repaired["damaged"][0]["root"],
        root(&alone).as_str(),
        "{repaired}"
    );
    assert_eq!(
        repaired["damaged"][0]["holders"],
        Value::Array(vec![]),
        "{repaired}"
    );
    println!("repair: documents, {:.1} s", begun.elapsed().as_secs_f64());
}

/// Spoils the store of a node, each in another way.
fn damage(node: usize, data: &Path) {
    match node {
        // The founder's log.
        0 => spoil(&stored(data, "log")[0]),
        1 => stored(data, "sst").iter().for_each(|path| spoil(path)),
        // All that a database consists of.
        _ => {
            let store = files(&data.join("store"));
            store.iter().for_each(|path| fs::remove_file(path).unwrap());
        }
    }
}

/// What a repaired store's node has back, and how the others took it.
fn is_back(it: &mut Ward, node: usize, before: Digest, of: SubjectId, lives: usize, fetched: usize) {
    it.stage.settled();
    assert_eq!(it.state(node), before);
    assert_eq!(it.fetched(node), fetched, "a sound document was fetched again");
    it.deposit(node);
    it.nothing_is_lost();
    let other = usize::from(node == 0);
    assert_eq!(
        it.lives(other, of).len(),
        lives + 1,
        "no new incarnation, or several"
    );
}

#[test]
fn a_document_that_vanishes_of_a_dossier_at_rest_comes_once_the_dossier_wakes_or_after_a_repair() {
    let mut it = Ward::open();
    it.stage.settled();
    let data = it.data(0);
    let gone = documents(&data).remove(0);
    let vanish = || {
        fs::remove_file(&gone).unwrap();
        fs::remove_file(gone.with_extension("tree")).unwrap();
    };
    let is_back = |what| until(what, || gone.exists().then_some(()));
    let connected = |it: &Ward| {
        until("both peers", || {
            let status = it.status(0);
            let connected = status.peers.iter().filter(|peer| peer.connected).count();
            (connected == 2 && status.reading_back == 0).then_some(())
        });
    };
    it.stage.nodes[0].stop();
    vanish();
    it.start(0);
    connected(&it);
    // Its summary says nothing of files, and nobody has needed more of it.
    assert!(!gone.exists());
    let (client, dossier) = (it.stage.nodes[0].client(), it.stage.dossier);
    client.ask(&Request::Dossier { dossier }).unwrap();
    is_back("the document, once somebody looks at the dossier");

    // After a repair the next start reads everything back, and asks for what is missing by itself.
    it.stage.nodes[0].stop();
    vanish();
    let missing = BTreeSet::from([root(&gone)]);
    let (exit, checked) = it.run(0, "verify", &[]);
    assert_eq!(
        (exit, roots(&checked["missing"])),
        (65, missing.clone()),
        "{checked}"
    );
    let repaired = it.repair(0, &[], 0);
    assert_eq!(roots(&repaired["missing"]), missing, "{repaired}");
    it.start(0);
    is_back("the document after a repair");
    it.nothing_is_lost();
}

#[test]
fn a_damaged_store_is_set_aside_and_everything_comes_back() {
    let begun = Instant::now();
    let mut it = Ward::open();
    for node in 0..3 {
        let (data, of) = (it.data(node), it.status(node).node);
        if node == 1 {
            // What stands in the log comes into sorted files at a start.
            it.stage.nodes[node].stop();
            it.start(node);
            it.stage.settled();
        }
        let (before, lives, fetched) = (it.state(node), it.lives(node, of).len(), it.fetched(node));
        it.stage.nodes[node].stop();
        let key = data.join("keys/witness.key");
        if node == 1 {
            let (exit, made) = it.run(node, "witness", &["--name", "node.example/witness"]);
            assert_eq!((exit, key.is_file()), (0, true), "{made}");
        }
        damage(node, &data);
        let (exit, answer) = it.run(node, "verify", &[]);
        assert_eq!(exit, 73, "{answer}");
        match node {
            1 => it.falls(node),
            _ => it.is_down(node),
        }

        // Without consent nothing happens.
        let listed = listing(&data);
        let found = it.repair(node, &[], 73);
        assert_eq!(
            (&found["done"], &found["aside"]),
            (&Value::Bool(false), &Value::Null),
            "{found}"
        );
        assert!(!found["store"]["what"].as_str().unwrap().is_empty(), "{found}");
        assert_eq!(listing(&data), listed);
        if node == 0 {
            // Cut short with the new store made: the old one is in its place. With the stores exchanged: all is done.
            it.cut_short(node, "repair-made");
            assert_eq!(it.repair(node, &[], 73)["store"], found["store"]);
            it.cut_short(node, "repair-exchanged");
            assert_eq!(it.repair(node, &[], 0)["store"], Value::Null);
        } else {
            let repaired = it.repair(node, &["--yes"], 0);
            assert_eq!(
                (&repaired["done"], &repaired["store"]),
                (&Value::Bool(true), &found["store"])
            );
            let aside = PathBuf::from(repaired["aside"].as_str().unwrap());
            assert_eq!(files(&aside.join("store")).is_empty(), node == 2);
            // A witness that has forgotten what it cosigned is none any more.
            assert_eq!(repaired["witness"] == true, node == 1, "{repaired}");
            assert_eq!(aside.join("witness.key").is_file(), node == 1);
            assert!(!key.exists());
        }
        it.start(node);
        assert_eq!(found["store"]["import"], node == 2, "{found}");
        if node == 2 {
            it.import(node);
        }
        is_back(&mut it, node, before, of, lives, fetched);
        it.stage.nodes[node].stop();
        let (exit, checked) = it.run(node, "verify", &[]);
        assert_eq!(exit, 0, "{checked}");
        it.start(node);
        it.stage.nodes.iter_mut().for_each(Node::connected);
    }
    it.stage.nodes.iter_mut().for_each(Node::stop);
    for node in &it.stage.nodes {
        let log = node.log();
        let mut seen = alarms(&log);
        // That a node lost something is what this is about.
        seen.retain(|line| !line.contains("a member knows more of our chain"));
        // So is that a start on summaries ends with the first who needs what is damaged.
        seen.retain(|line| !line.contains("the store failed: stopping"));
        assert_eq!(seen, Vec::<&str>::new(), "{}", node.name);
    }
    println!("repair: stores, {:.1} s", begun.elapsed().as_secs_f64());
}
