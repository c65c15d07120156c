//! A node that begins with a snapshot: at work at once, complete soon, a judge of its own at the next start. SNP-1 to SNP-5.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use basoche_node::control::{Answer, Client, RegistryView, Request};
use basoche_protocol::id::{CertificateId, SubjectId};
use serde_json::Value;
use support::nodes::{Node, until};
use support::registrar::{Registrar, import, worth};
use support::{Place, ordinary};

const NODES: [&str; 2] = ["first", "late"];
const ORIGIN: &str = "barreaux.example";
/// Entries in one request of a client.
const AT_ONCE: usize = 500;

/// A bar, its node `first` that has all entries, and `late`, which is enrolled and has none; both are witnesses, and one is enough.
struct Scene {
    registrar: Registrar,
    persons: Vec<(SubjectId, CertificateId)>,
    first: Node,
    late: Node,
    place: Place,
}

/// Runs a public command; its exit code, and what it said as JSON or in words.
fn basoche(root: &Path, arguments: &[&str]) -> (i32, Value, String) {
    let mut command = Command::new(ordinary());
    command.args(arguments).arg("--json").current_dir(root);
    command.env("BASOCHE_PASSPHRASE", "for trials only");
    let done = command.stdin(Stdio::null()).output().unwrap();
    let said = serde_json::from_slice(&done.stdout).unwrap_or(Value::Null);
    let words = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    (done.status.code().unwrap_or(-1), said, words)
}

/// The same where it must go well.
fn does(root: &Path, arguments: &[&str]) -> Value {
    let (code, said, words) = basoche(root, arguments);
    assert_eq!(code, 0, "{arguments:?}: {words}{said}");
    said
}

/// Which witnesses have seen the largest checkpoint that a node knows.
fn seen(client: &Client) -> Vec<String> {
    let origin = ORIGIN.to_owned();
    match client.ask(&Request::Checkpoint { origin }) {
        Ok(Answer::Checkpoint(standing)) => standing.seen.into_iter().map(|seen| seen.by).collect(),
        other => panic!("{other:?}"),
    }
}

/// How a node holds the log.
fn view(client: &Client) -> RegistryView {
    match client.ask(&Request::Registry) {
        Ok(Answer::Registry { registries }) => {
            registries.into_iter().find(|one| one.origin == ORIGIN).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

impl Scene {
    /// `persons` are enrolled, every third one's key is revoked; then the log states its root, and is published.
    fn set(persons: usize) -> Self {
        let place = Place::new();
        let root = place.path();
        fs::write(root.join("passphrase"), "for trials only\n").unwrap();
        let office = ["--dir", "bar"];
        let bar = |rest: &[&str]| does(root, &[&["authority"], rest, &office[..]].concat());
        let mut policy = String::new();
        for name in NODES {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = socket.local_addr().unwrap();
            let text = format!(
                "data = \"data\"\nlisten = \"{address}\"\naddresses = [\"{address}\"]\nanchors = \"../anchors.json\"\n\
                 passphrase_file = \"../passphrase\"\nallow_private_addresses = true\n"
            );
            fs::create_dir(root.join(name)).unwrap();
            let (config, request) = (format!("{name}/node.toml"), format!("{name}.json"));
            fs::write(root.join(&config), text).unwrap();
            let init = [
                "node",
                "init",
                "--config",
                &config,
                "--authority",
                ORIGIN,
                "--request",
                &request,
            ];
            does(root, &init);
            let made = does(root, &["node", "witness", "--config", &config, "--name", name]);
            policy += &format!("witness {name} {}\n", made["witness"].as_str().unwrap());
        }
        policy += &format!("group either any {} {}\nquorum either\n", NODES[0], NODES[1]);
        fs::write(root.join("policy"), policy).unwrap();
        bar(&[
            "init",
            "--test",
            "--origin",
            ORIGIN,
            "--profession",
            "bar",
            "--policy",
            "policy",
        ]);
        does(root, &["authority", "anchors", "--out", "anchors.json", "bar"]);
        for name in NODES {
            let organisation = bar(&["organisation", "--name", name, "--identifier", name]);
            let organisation = organisation["subject"].as_str().unwrap().to_owned();
            bar(&[
                "node",
                "--organisation",
                &organisation,
                "--request",
                &format!("{name}.json"),
            ]);
        }
        let mut first = Node::at(root, &ordinary(), "first", 1);
        first.start();
        first.ready();
        let import_all = ["annuaire", "import", "--config", "first/node.toml", "bar"];
        does(root, &import_all);
        let mut registrar = Registrar::open(root, &root.join("bar"), ORIGIN);
        let home = SubjectId::new([7; 16]);
        let (mut enrolled, mut entries) = (Vec::new(), Vec::new());
        for number in 0..persons {
            let (subject, certificate, entry) = registrar.enrol(home);
            entries.push(entry);
            enrolled.push((subject, certificate));
            if number % 3 == 0 {
                entries.push(registrar.revoke((subject, certificate)));
            }
        }
        for some in entries.chunks(AT_ONCE) {
            import(&first.client(), some.to_vec());
        }
        // Nobody has stated anything; then nobody has seen it.
        let snapshot = [
            "annuaire",
            "snapshot",
            "--config",
            "first/node.toml",
            "--out",
            "early",
        ];
        assert_eq!(basoche(root, &snapshot).0, 77);
        let publish = || {
            bar(&["publish", "--out", "log"]);
            let cosign = [
                "annuaire",
                "cosign",
                "--config",
                "first/node.toml",
                "log/checkpoint",
            ];
            does(root, &cosign);
            bar(&["publication", "--checkpoint", "log/checkpoint"]);
            does(root, &import_all);
        };
        publish();
        bar(&["state-root"]);
        does(root, &import_all);
        assert_eq!(basoche(root, &snapshot).0, 75);
        publish();
        Self {
            registrar: Registrar::open(root, &root.join("bar"), ORIGIN),
            persons: enrolled,
            first,
            late: Node::at(root, &ordinary(), "late", 1),
            place,
        }
    }

    fn restore(&self, snapshot: &str) -> (i32, Value, String) {
        let arguments = ["annuaire", "restore", "--config", "late/node.toml", snapshot];
        basoche(self.place.path(), &arguments)
    }

    fn snapshot(&self) {
        let arguments = [
            "annuaire",
            "snapshot",
            "--config",
            "first/node.toml",
            "--out",
            "snapshot",
        ];
        does(self.place.path(), &arguments);
    }
}

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
