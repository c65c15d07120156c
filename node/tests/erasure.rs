//! What the court has erased is in no file of any node any more, and all that is left is proved, with real nodes. ERA-5.
//!
//! What the nodes store is opaque, also to this test: it takes the rows as they lie in the store, and each document as its
//! ciphertext, and looks for those bytes afterwards in every file of every node.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use basoche_node::store::{RocksStore, Store};
use support::disk::{command, documents, files};
use support::judge::alarms;
use support::nodes::{Node, Stage, show, until};
use support::{Place, ordinary};

/// The family of the journal's entries in the store.
const ENTRIES: u8 = 1;

/// What a stopped node has stored of the journal: each row as it lies on the disk.
fn rows(data: &Path) -> Vec<Vec<u8>> {
    let store = RocksStore::open(&data.join("store")).unwrap();
    let mut rows = Vec::new();
    let mut each = |_, row: Vec<u8>| {
        rows.push(row);
        Ok(())
    };
    store.scan_family(ENTRIES, &mut each).unwrap();
    rows
}

/// Which of these byte strings stand in some file of a directory, judged by three pieces of each: a log cuts what it
/// holds in blocks, but not three times within one row.
fn found(data: &Path, wanted: &[Vec<u8>]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    for file in files(data) {
        let bytes = fs::read(&file).unwrap();
        let within = |piece: &[u8]| bytes.windows(piece.len()).any(|window| window == piece);
        for (row, at) in wanted.iter().zip(0..) {
            let piece = (row.len() / 3).min(24);
            if row
                .chunks_exact(row.len() / 3)
                .any(|third| within(&third[..piece]))
            {
                found.insert(at);
            }
        }
    }
    found
}

#[test]
fn what_is_erased_is_in_no_file_of_any_node_and_the_rest_is_proved() {
    let place = Place::new();
    let mut stage = Stage::set(place.path(), &ordinary());
    let lodge = |stage: &Stage, name: &str| {
        fs::write(place.path().join(name), format!("Contenu de {name}.")).unwrap();
        let rest = ["--title", "Note", "--wait", "received", name];
        stage.does(["document", "deposit"], "court", "lawyer-0", &rest)
    };
    let (kept, erased) = (lodge(&stage, "garde"), lodge(&stage, "efface"));
    let said = ["--text", "Ce que nul ne doit plus lire.", "--wait", "received"];
    let dire = stage.does(["dossier", "dire"], "court", "lawyer-0", &said);
    stage.settled();
    until("the documents everywhere", || {
        let views = stage.views()?;
        let held =
            |view: &basoche_node::desk::DossierView| view.documents.iter().all(|one| one.held.len() == 3);
        views.iter().all(held).then_some(())
    });
    let copy = place.path().join("copie");
    let to = ["--to", copy.to_str().unwrap()];
    assert_eq!(command(&ordinary(), "", place.path(), "bar", "backup", &to).0, 0);

    // What lies on the disks now, rows and documents.
    stage.nodes.iter_mut().for_each(Node::stop);
    let before: Vec<_> = stage
        .nodes
        .iter()
        .map(|node| rows(&node.home().join("data")))
        .collect();
    let blobs: Vec<_> = documents(&stage.nodes[0].home().join("data"));
    let blobs: Vec<_> = blobs.iter().map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(blobs.len(), 2);
    for (node, rows) in stage.nodes.iter().zip(&before) {
        let data = node.home().join("data");
        assert_eq!(found(&data, rows).len(), rows.len(), "the search finds every row");
        assert_eq!(found(&data, &blobs).len(), 2);
    }
    stage.nodes.iter_mut().for_each(Node::start);
    stage.nodes.iter_mut().for_each(Node::connected);

    // Held, it stays; released, it goes; and only the court may say so.
    let (target, other) = (erased.to_hex(), dire.to_hex());
    let because = ["--reason", "Secret médical."];
    let hold = ["--message", &target, because[0], because[1], "--wait", "received"];
    let hold = stage.does(["dossier", "hold"], "court", "judge", &hold);
    let erase = ["--message", &target, because[0], because[1], "--wait", "received"];
    let (exit, answer) = stage.tell(["dossier", "erase"], "court", "clerk", &erase);
    assert_eq!(
        (exit, answer["error"]["code"].as_str()),
        (77, Some("on-hold")),
        "{answer}"
    );
    let held = show(&stage.nodes[2].client(), stage.dossier).unwrap().holds;
    assert_eq!((held.len(), held[0].id), (1, hold));
    let hold = hold.to_hex();
    let release = ["--hold", &hold, because[0], because[1]];
    stage.does(["dossier", "release"], "court", "judge", &release);
    let (exit, answer) = stage.tell(["dossier", "erase"], "company", "expert", &erase);
    assert_eq!(
        (exit, answer["error"]["code"].as_str()),
        (77, Some("sender-role")),
        "{answer}"
    );
    let order = stage.does(["dossier", "erase"], "court", "clerk", &erase);
    // The company's node is killed as soon as it has the order.
    stage.nodes[2].kill();
    stage.nodes[2].start();
    let erase = ["--message", &other, because[0], because[1]];
    stage.does(["dossier", "erase"], "court", "clerk", &erase);
    stage.nodes.iter_mut().for_each(Node::connected);
    let views = stage.settled();
    for view in &views {
        let gone: Vec<_> = view.erased.iter().map(|one| one.id).collect();
        assert!(gone.contains(&erased) && gone.contains(&dire) && gone.len() == 2);
        assert!(view.erased.iter().any(|one| (one.id, one.by) == (erased, order)));
        assert_eq!(view.documents.len(), 1);
        assert_eq!(view.documents[0].deposit, kept);
        let stays = view.messages.iter().find(|one| one.id == dire).unwrap();
        assert_eq!(
            (stays.message_type.as_deref(), stays.verdict.as_str()),
            (Some("dire"), "effective")
        );
    }
    let show_json = stage.nodes[1].client();
    assert!(
        !serde_json::to_string(&show(&show_json, stage.dossier))
            .unwrap()
            .contains("efface")
    );
    until("every document of it gone", || {
        let left = |node: &Node| documents(&node.home().join("data")).len();
        stage.nodes.iter().all(|node| left(node) == 1).then_some(())
    });
    let bundle = place.path().join("preuves.zip");
    let dossier = stage.dossier.to_hex();
    let config = ["--config", "bar/node.toml", "--dossier", &dossier];
    let out = ["--out", bundle.to_str().unwrap()];
    assert_eq!(stage.ran(&[&["export"][..], &config, &out].concat()).0, 0);

    // No file has it any more, and every other row is where it was.
    stage.nodes.iter_mut().for_each(Node::stop);
    for (node, rows) in stage.nodes.iter().zip(&before) {
        let data = node.home().join("data");
        let left = found(&data, rows);
        assert_eq!(
            left.len(),
            rows.len() - 2,
            "node {}: two rows are gone",
            node.name
        );
        assert_eq!(found(&data, &blobs).len(), 1, "node {}", node.name);
        let (exit, checked) = command(&ordinary(), "", place.path(), node.name, "verify", &[]);
        assert_eq!(exit, 0, "{checked}");
        assert_eq!(checked["pending"], 0, "{checked}");
        let (exit, repaired) = command(
            &ordinary(),
            "",
            place.path(),
            node.name,
            "repair",
            &["--from-peers"],
        );
        assert_eq!(exit, 0, "{repaired}");
    }

    // The copy keeps it, and who is put back from the copy erases it again when the peers tell.
    let bar = stage.nodes[1].home().join("data");
    assert_eq!(found(&copy, &before[1]).len(), before[1].len());
    fs::remove_dir_all(&bar).unwrap();
    let from = ["--from", copy.to_str().unwrap()];
    assert_eq!(
        command(&ordinary(), "", place.path(), "bar", "restore", &from).0,
        0
    );
    assert_eq!(documents(&bar).len(), 2);
    stage.nodes.iter_mut().for_each(Node::start);
    stage.nodes.iter_mut().for_each(Node::connected);
    stage.settled();
    until("the document gone again", || {
        (documents(&bar).len() == 1).then_some(())
    });
    stage.nodes[1].stop();
    assert_eq!(found(&bar, &before[1]).len(), before[1].len() - 2);
    stage.nodes[0].stop();
    stage.nodes[2].stop();
    for node in &stage.nodes {
        let log = node.log();
        for line in log.lines().filter(|line| line.contains("destroyed in the store")) {
            println!("{}: {line}", node.name);
        }
        let alarms: Vec<_> = alarms(&log)
            .into_iter()
            .filter(|line| !line.contains("behind"))
            .collect();
        assert!(
            node.name == "bar" || alarms.is_empty(),
            "{}: {alarms:?}",
            node.name
        );
    }
    let (exit, report) = stage.ran(&[
        "verify",
        "--json",
        bundle.to_str().unwrap(),
        "--anchors",
        "anchors.json",
    ]);
    assert_eq!(exit, 0, "{report}");
    for id in [erased, dire] {
        assert!(report.contains(&format!("erased:{id}")), "{report}");
    }
}
