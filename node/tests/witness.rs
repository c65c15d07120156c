//! A witness and what it says: in one order, for good, and how old it is. LOG-10, LOG-13, LOG-16.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;

use basoche_node::config::read_passphrase;
use basoche_node::control::{Answer, Client, Request};
use basoche_node::effects::now;
use basoche_node::log_key::LogKey;
use basoche_protocol::id::{Digest, SubjectId};
use basoche_protocol::journal::RegistryHead;
use basoche_protocol::tree::Tree;
use basoche_registry::log::{Checkpoint, Note};
use support::nodes::{Node, until};
use support::ordinary;
use support::registrar::import;
use support::scene::{ORIGIN, Scene, does, view};

/// Checkpoints that are told at once.
const AT_ONCE: u64 = 64;

/// The log's word that its first `size` entries are those of `tree`.
fn signed(key: &LogKey, tree: &Tree, size: u64) -> String {
    let head = RegistryHead {
        origin: ORIGIN.to_owned(),
        size,
        root: Digest::new(tree.root_at(size).unwrap()),
    };
    let mut note = Note::new(Checkpoint::text(&head)).unwrap();
    let signature = key.sign(&key.key.message(note.text(), now()));
    note.add(key.key.line(&signature, now())).unwrap();
    note.encode()
}

fn tell(client: &Client, checkpoint: &str) {
    let checkpoint = checkpoint.to_owned();
    let told = client.ask(&Request::Tell { checkpoint }).unwrap();
    assert!(matches!(told, Answer::Told), "{told:?}");
}

/// The largest checkpoint that the node knows, and whether it has cosigned it.
fn latest(client: &Client) -> (u64, bool) {
    let origin = ORIGIN.to_owned();
    match client.ask(&Request::Checkpoint { origin }) {
        Ok(Answer::Checkpoint(standing)) => {
            let own = standing.seen.iter().any(|seen| seen.by == "first");
            (standing.size.unwrap(), own)
        }
        other => panic!("{other:?}"),
    }
}

/// Whatever order they come in, each cosignature is of a larger tree than the one before, also after a kill. The control is a
/// checkpoint of another history of the same size, which is never cosigned.
#[test]
fn checkpoints_that_come_at_once_are_cosigned_in_one_order() {
    let mut scene = Scene::set(3);
    let root = scene.place.path().to_owned();
    let passphrase = read_passphrase(&root.join("passphrase")).unwrap();
    let key = LogKey::open(&root.join("bar/log.key"), &passphrase).unwrap();
    let before = scene.registrar.log.size();
    let home = SubjectId::new([7; 16]);
    let entries = (0..2 * AT_ONCE).map(|_| scene.registrar.enrol(home).2).collect();
    import(&scene.first.client(), entries);
    let tree = scene.registrar.log.replica().tree(ORIGIN).unwrap();
    let all = |from: u64| (1..=AT_ONCE).map(move |n| from + n);
    let burst = |client: &Client, from: u64| {
        let done = AtomicBool::new(false);
        scope(|scope| {
            let watches = scope.spawn(|| {
                let mut sizes = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let (size, own) = latest(client);
                    sizes.extend(own.then_some(size));
                }
                sizes
            });
            // Odd ones twice: what is said again changes nothing.
            let tellers: Vec<_> = all(from)
                .map(|size| (size, signed(&key, tree, size)))
                .map(|(size, note)| scope.spawn(move || (0..1 + size % 2).for_each(|_| tell(client, &note))))
                .collect();
            for teller in tellers {
                teller.join().unwrap();
            }
            until("the largest is cosigned", || {
                (latest(client) == (from + AT_ONCE, true)).then_some(())
            });
            done.store(true, Ordering::Relaxed);
            watches.join().unwrap()
        })
    };
    let sizes = burst(&scene.first.client(), before);
    assert!(sizes.is_sorted(), "{sizes:?}");
    scene.first.kill();
    scene.first.start();
    scene.first.ready();
    assert_eq!(latest(&scene.first.client()), (before + AT_ONCE, true));
    let sizes = burst(&scene.first.client(), before + AT_ONCE);
    assert!(sizes.is_sorted(), "{sizes:?}");
    // Smaller ones come once more, and one of another history as large as all.
    let end = before + 2 * AT_ONCE;
    for size in all(before) {
        tell(&scene.first.client(), &signed(&key, tree, size));
    }
    let other: Tree = (0..end)
        .map(|leaf| *Digest::of(&[&leaf.to_be_bytes()]).as_bytes())
        .collect();
    tell(&scene.first.client(), &signed(&key, &other, end));
    until("the contradiction is proved", || {
        view(&scene.first.client()).forked.then_some(())
    });
    assert_eq!(latest(&scene.first.client()), (end, true));
    assert!(scene.first.log().contains("log-forked"));
    scene.first.stop();
}

/// What somebody sees to whom nobody speaks any more: the same log, older and older. LOG-16.
#[test]
fn a_node_that_is_cut_off_says_how_old_its_registry_is() {
    let mut scene = Scene::set(3);
    let root = scene.place.path().to_owned();
    // It is a witness, and one is enough: alone it is fresh.
    let shown = |node: &mut Node| {
        let client = node.client();
        let age = until("the age of the log is known", || view(&client).age);
        (
            age,
            node.ready()
                .notes
                .iter()
                .any(|note| note.starts_with("registry-ageing: ")),
        )
    };
    assert_eq!(shown(&mut scene.first), ("fresh".to_owned(), false));
    // The other is none any more, and hears of the log from a file alone.
    fs::remove_file(root.join("late/data/keys/witness.key")).unwrap();
    scene.first.freeze();
    for (ahead, age, noted, alarmed) in [
        ("+0s", "fresh", false, false),
        ("+20m", "ageing", true, false),
        ("+25h", "stale", true, true),
    ] {
        let program = root.join("ahead");
        let text = format!(
            "#!/bin/sh\nexport FAKETIME={ahead} FAKETIME_DONT_FAKE_MONOTONIC=1\n\
             LD_PRELOAD=$(faketime -f +0s printenv LD_PRELOAD) exec {} \"$@\"\n",
            ordinary().display()
        );
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        scene.late.become_program(&program, "");
        scene.late.start();
        scene.late.ready();
        let import_all = ["annuaire", "import", "--config", "late/node.toml", "bar"];
        does(&root, &import_all);
        assert_eq!(shown(&mut scene.late), (age.to_owned(), noted), "{ahead}");
        let alarms = scene.late.log().matches("log-silent").count();
        assert_eq!(alarms > 0, alarmed, "{ahead}");
        scene.late.stop();
    }
    scene.first.thaw();
    scene.first.stop();
}
