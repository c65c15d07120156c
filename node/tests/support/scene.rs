//! A bar whose log has a policy, and its two nodes, both witnesses, of whom one is enough.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};

use basoche_node::control::{Answer, Client, RegistryView, Request};
use basoche_protocol::id::{CertificateId, SubjectId};
use serde_json::Value;

use super::nodes::Node;
use super::registrar::{Registrar, import};
use super::{Place, ordinary};

pub(crate) const NODES: [&str; 2] = ["first", "late"];
pub(crate) const ORIGIN: &str = "barreaux.example";
/// Entries in one request of a client.
pub(crate) const AT_ONCE: usize = 500;

/// A bar, its node `first` that has all entries, and `late`, which is enrolled and has none; both are witnesses, and one is enough.
pub(crate) struct Scene {
    pub(crate) registrar: Registrar,
    pub(crate) persons: Vec<(SubjectId, CertificateId)>,
    pub(crate) first: Node,
    pub(crate) late: Node,
    pub(crate) place: Place,
}

/// Runs a public command; its exit code, and what it said as JSON or in words.
pub(crate) fn basoche(root: &Path, arguments: &[&str]) -> (i32, Value, String) {
    let mut command = Command::new(ordinary());
    command.args(arguments).arg("--json").current_dir(root);
    command.env("BASOCHE_PASSPHRASE", "for trials only");
    let done = command.stdin(Stdio::null()).output().unwrap();
    let said = serde_json::from_slice(&done.stdout).unwrap_or(Value::Null);
    let words = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    (done.status.code().unwrap_or(-1), said, words)
}

/// The same where it must go well.
pub(crate) fn does(root: &Path, arguments: &[&str]) -> Value {
    let (code, said, words) = basoche(root, arguments);
    assert_eq!(code, 0, "{arguments:?}: {words}{said}");
    said
}

/// Which witnesses have seen the largest checkpoint that a node knows.
pub(crate) fn seen(client: &Client) -> Vec<String> {
    let origin = ORIGIN.to_owned();
    match client.ask(&Request::Checkpoint { origin }) {
        Ok(Answer::Checkpoint(standing)) => standing.seen.into_iter().map(|seen| seen.by).collect(),
        other => panic!("{other:?}"),
    }
}

/// How a node holds the log.
pub(crate) fn view(client: &Client) -> RegistryView {
    match client.ask(&Request::Registry) {
        Ok(Answer::Registry { registries }) => {
            registries.into_iter().find(|one| one.origin == ORIGIN).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

impl Scene {
    /// `persons` are enrolled, every third one's key is revoked; then the log states its root, and is published.
    pub(crate) fn set(persons: usize) -> Self {
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

    pub(crate) fn restore(&self, snapshot: &str) -> (i32, Value, String) {
        let arguments = ["annuaire", "restore", "--config", "late/node.toml", snapshot];
        basoche(self.place.path(), &arguments)
    }

    pub(crate) fn snapshot(&self) {
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
