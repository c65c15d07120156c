//! A node that begins with a snapshot: at work at once, complete soon, a judge of its own at the next start. SNP-1 to SNP-5.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::time::Instant;

use support::nodes::until;
use support::registrar::{import, worth};
use support::scene::{NODES, Scene, basoche, does, seen, view};

#[test]
fn a_new_node_is_at_work_at_once_and_complete_soon() {
    let mut scene = Scene::set(2000);
    let root = scene.place.path().to_owned();
    scene.snapshot();
    let entries = view(&scene.first.client()).stated.unwrap() + 1;
    let begun = Instant::now();
    let (code, said, words) = scene.restore("snapshot");
    assert_eq!(code, 0, "{words}");
    assert_eq!(said["registries"][0]["size"], entries);
    // Nobody brings anything for now.
    scene.first.freeze();
    scene.late.start();
    scene.late.ready();
    let client = scene.late.client();
    // Whom it has never seen an entry of, and who was withdrawn.
    let says = |number: usize| worth(&client, scene.persons[number].0).unwrap();
    assert!(says(0).starts_with("revoked"), "{}", says(0));
    assert_eq!((says(1), says(1999)), ("valid".to_owned(), "valid".to_owned()));
    let at_work = begun.elapsed();
    assert!(view(&client).unjudged.is_some_and(|lacking| lacking > 0));
    // Evidence takes every entry.
    let export = [
        "export",
        "--config",
        "late/node.toml",
        "--dossier",
        &"0".repeat(64),
        "--out",
        "bundle",
    ];
    let (code, _, words) = basoche(&root, &export);
    assert_eq!(code, 75, "{words}");
    assert!(
        words.contains("lacks ") && !root.join("bundle").exists(),
        "{words}"
    );
    scene.first.thaw();
    // It is killed while the entries of before come, and goes on where it was.
    scene.late.connected();
    scene.late.kill();
    scene.late.start();
    scene.late.connected();
    until("all entries of before are there", || {
        (view(&scene.late.client()).unjudged == Some(0)).then_some(())
    });
    let complete = begun.elapsed();
    // Of what it has not judged itself it is no witness, though the policy names it.
    until("it hears of the checkpoint", || {
        (seen(&scene.late.client()) == ["first"]).then_some(())
    });
    // What is new meanwhile comes as ever.
    let withdrawn = scene.persons[1];
    let entry = scene.registrar.revoke(withdrawn);
    import(&scene.first.client(), vec![entry]);
    until("a revocation comes", || {
        worth(&scene.late.client(), withdrawn.0)?
            .starts_with("revoked")
            .then_some(())
    });
    // It gives no snapshot before it has judged what it holds; the next start judges all.
    let give = [
        "annuaire",
        "snapshot",
        "--config",
        "late/node.toml",
        "--out",
        "second",
    ];
    let (code, _, words) = basoche(&root, &give);
    assert_eq!(code, 77, "{words}");
    assert!(words.contains("has not judged its entries yet"), "{words}");
    scene.late.stop();
    let begun = Instant::now();
    scene.late.start();
    scene.late.ready();
    let judged = begun.elapsed();
    let (late, first) = (view(&scene.late.client()), view(&scene.first.client()));
    assert_eq!(
        (late.unjudged, late.root, late.size),
        (None, first.root, first.size)
    );
    assert_eq!(late.stated, first.stated);
    until("it is a witness", || {
        (seen(&scene.first.client()) == NODES).then_some(())
    });
    does(&root, &give);
    println!(
        "{entries} entries: at work after {:.2} s, complete after {:.2} s (one kill), judged by a start of {:.2} s",
        at_work.as_secs_f64(),
        complete.as_secs_f64(),
        judged.as_secs_f64()
    );
    scene.late.stop();
    does(&root, &["node", "verify", "--config", "late/node.toml"]);
    scene.first.stop();
}

#[test]
fn what_is_no_snapshot_leaves_nothing_and_says_why() {
    let mut scene = Scene::set(300);
    let root = scene.place.path().to_owned();
    scene.snapshot();
    let whole = fs::read(root.join("snapshot")).unwrap();
    let mut cases = Vec::new();
    // A byte of a record, near the end; half of it; another file; nothing.
    let mut other = whole.clone();
    let place = other.len() - 40;
    other[place] ^= 1;
    cases.push((other, 1, "is not what the log's root says"));
    cases.push((whole[..whole.len() / 2].to_vec(), 65, "it ends within a part"));
    cases.push((b"not one".to_vec(), 65, "it does not begin like one"));
    cases.push((whole[..19].to_vec(), 1, "it has no log"));
    for (bytes, expected, why) in cases {
        fs::write(root.join("other"), bytes).unwrap();
        let (code, _, words) = scene.restore("other");
        assert_eq!(code, expected, "{words}");
        assert!(words.contains(why), "{words}");
        assert!(words.contains("Nothing of it was kept"), "{words}");
    }
    let (code, _, words) = scene.restore("absent");
    assert_eq!(code, 2, "{words}");
    // A file that is there is left alone; so is a node that has entries, and one that runs.
    let (code, ..) = basoche(
        &root,
        &[
            "annuaire",
            "snapshot",
            "--config",
            "first/node.toml",
            "--out",
            "other",
        ],
    );
    assert_eq!(code, 73);
    let (code, ..) = basoche(
        &root,
        &["annuaire", "restore", "--config", "first/node.toml", "snapshot"],
    );
    assert_eq!(code, 75);
    assert_eq!(scene.restore("snapshot").0, 0);
    let (code, _, words) = scene.restore("snapshot");
    assert_eq!(code, 77, "{words}");
    assert!(words.contains("holds entries already"), "{words}");
    scene.first.stop();
}
