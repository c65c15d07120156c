//! Real nodes at a barrier: who is down is listed with what it lacks, signs by itself when it is back, and the bundle says
//! the same. SPEC §6.21, §6.23, §8.8.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use basoche_node::config::read_passphrase;
use basoche_node::control::{Answer, Request};
use basoche_node::desk::Level;
use basoche_node::effects::now;
use basoche_node::wallet::Wallet;
use basoche_protocol::envelope::{Typ, Unsigned};
use basoche_protocol::id::{Digest, MessageId, Salt};
use basoche_protocol::message::{Barrier, Body, Message};
use basoche_protocol::role::{Assurance, Role};
use basoche_protocol::text::b64url_encode;
use basoche_protocol::time::Instant;
use serde_json::Value;
use support::nodes::{Node, Stage, until};
use support::{Place, ordinary};

/// Runs a command in the place of the nodes; exit code and answer.
fn run(place: &Place, line: &[&str]) -> (i32, Value) {
    let done = Command::new(ordinary())
        .args(line)
        .arg("--json")
        .current_dir(place.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let answer = serde_json::from_str(said.lines().last().unwrap_or_default()).unwrap_or_default();
    (done.status.code().unwrap(), answer)
}

struct Scene {
    place: Place,
    stage: Stage,
}

impl Scene {
    fn set() -> Self {
        let place = Place::new();
        let stage = Stage::set(place.path(), &ordinary());
        Self { place, stage }
    }

    fn act(&self, node: &str, who: &str, line: [&str; 2], rest: &[&str]) -> Value {
        let (config, wallet) = (format!("{node}/node.toml"), format!("wallets/{who}"));
        let dossier = self.stage.dossier.to_hex();
        let common = ["--config", &config, "--as", &wallet, "--dossier", &dossier];
        let secret = ["--passphrase-file", "passphrase"];
        let (exit, answer) = run(&self.place, &[line.as_slice(), &common, &secret, rest].concat());
        assert_eq!(exit, 0, "{line:?}: {answer}");
        answer
    }

    /// Signs a body with somebody's wallet and lodges it at a node, whatever the commands would make of it.
    fn submit(&self, node: usize, who: &str, role: Role, body: Body) -> MessageId {
        let place = self.place.path();
        let passphrase = read_passphrase(&place.join("passphrase")).unwrap();
        let wallet = Wallet::open(&place.join(format!("wallets/{who}")), &passphrase).unwrap();
        let message = Message {
            dossier: Some(self.stage.dossier),
            author: wallet.subject,
            role,
            assurance: Assurance::Software,
            class: body.message_type().readers(),
            refs: vec![],
            salt: Salt::new([7; 16]),
            body,
        };
        let unsigned = Unsigned::new(Typ::Message, &wallet, now(), message.encode());
        let request = Request::Submit {
            envelope: b64url_encode(&unsigned.sign(&wallet).unwrap().encode()),
            key: None,
            wait: Level::Received,
            patience_ms: 60_000,
        };
        match self.stage.nodes[node].client().ask(&request).unwrap() {
            Answer::Deposited {
                message,
                level: Level::Received,
                ..
            } => message,
            other => panic!("{other:?}"),
        }
    }

    fn quittance(&self, node: &str, barrier: &str) -> Value {
        let (config, dossier) = (format!("{node}/node.toml"), self.stage.dossier.to_hex());
        let line = [
            "dossier",
            "quittance",
            "--config",
            &config,
            "--dossier",
            &dossier,
            barrier,
        ];
        let (exit, answer) = run(&self.place, &line);
        assert_eq!(exit, 0, "{answer}");
        answer["quittances"][0].clone()
    }

    fn verified(&self, node: &str, name: &str) -> Vec<Value> {
        let (config, dossier) = (format!("{node}/node.toml"), self.stage.dossier.to_hex());
        let export = [
            "export",
            "--config",
            &config,
            "--dossier",
            &dossier,
            "--out",
            name,
        ];
        assert_eq!(run(&self.place, &export).0, 0);
        let (exit, report) = run(&self.place, &["verify", "--anchors", "anchors.json", name]);
        assert_eq!(exit, 0, "{report}");
        let claims = report["claims"].as_array().unwrap().iter();
        let about = |claim: &&Value| claim["id"].as_str().unwrap().starts_with("quittance:");
        claims.filter(about).cloned().collect()
    }
}

fn of<'a>(quittance: &'a Value, node: &Node) -> &'a Value {
    let nodes = quittance["nodes"].as_array().unwrap();
    nodes.iter().find(|one| one["node"] == *node.id).unwrap()
}

#[test]
fn who_is_down_at_a_barrier_is_listed_with_the_reason_and_signs_when_back() {
    let mut it = Scene::set();
    fs::write(it.place.path().join("piece.txt"), "Une pièce.").unwrap();
    it.stage.nodes[1].stop();
    let title = ["--title", "Pièce", "piece.txt"];
    it.act("court", "clerk", ["document", "deposit"], &title);
    fs::write(it.place.path().join("pre-rapport.txt"), "Provisoire.").unwrap();
    // The milestone makes its barrier by itself, and says so.
    let milestone = [
        "--dires-due",
        "2099-01-31T00:00:00Z",
        "--id",
        "pre",
        "pre-rapport.txt",
    ];
    let made = it.act("company", "expert", ["dossier", "pre-report"], &milestone);
    let barrier = made["barrier"].as_str().unwrap().to_owned();
    // The same key is the same act, and the same barrier.
    let again = it.act("company", "expert", ["dossier", "pre-report"], &milestone);
    assert_eq!(again["barrier"], made["barrier"]);
    assert_eq!(again["message"], made["message"]);

    let (court, bar) = (&it.stage.nodes[0], &it.stage.nodes[1]);
    until("the signatures of those who are up", || {
        let quittance = it.quittance("court", &barrier);
        let signed = |node| of(&quittance, node)["signed_at"].is_string();
        (signed(court) && signed(&it.stage.nodes[2])).then_some(())
    });
    let quittance = it.quittance("court", &barrier);
    let absent = of(&quittance, bar);
    assert_eq!(
        (&absent["lacks"], &quittance["complete"]),
        (&"entries".into(), &false.into())
    );
    assert!(
        absent["entries"].as_u64() < quittance["entries"].as_u64(),
        "{absent}"
    );
    assert!(
        absent["head_at"].is_string() && absent["unreachable"].is_string(),
        "{absent}"
    );
    assert!(
        absent["says"]
            .as_str()
            .unwrap()
            .contains("not signed: its latest head")
    );
    // The evidence says the same, and is proved all the same: no step waits for the bar.
    let claims = it.verified("court", "absent.zip");
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0]["verdict"], "proved");
    assert!(
        claims[0]["reason"].as_str().unwrap().contains("2 of 3 nodes"),
        "{claims:?}"
    );
    assert!(
        !claims[0]["reason"].as_str().unwrap().contains("not connected"),
        "{claims:?}"
    );

    it.stage.nodes[1].start();
    it.stage.nodes.iter_mut().for_each(Node::connected);
    let barrier = made["barrier"].as_str().unwrap();
    until("the signature of who is back", || {
        let complete = |node| it.quittance(node, barrier)["complete"] == true;
        ["court", "bar", "company"]
            .into_iter()
            .all(complete)
            .then_some(())
    });
    let views = it.stage.settled();
    assert!(views.iter().all(|view| view.quittances == views[0].quittances));
    assert!(views[0].messages.iter().all(|one| one.level == Level::Received));
    let claims = it.verified("bar", "signed.zip");
    assert!(
        claims[0]["reason"].as_str().unwrap().contains("3 of 3 nodes"),
        "{claims:?}"
    );
    // A dire after the pre-report is marked as after what it closed.
    let dire = it.act("bar", "lawyer-1", ["dossier", "dire"], &["--text", "Tardif."]);
    let (config, dossier) = ("bar/node.toml", it.stage.dossier.to_hex());
    let (_, view) = run(
        &it.place,
        &["dossier", "show", "--config", config, "--dossier", &dossier],
    );
    let messages = view["messages"].as_array().unwrap();
    let marked = messages.iter().find(|one| one["id"] == dire["message"]).unwrap();
    assert_eq!(marked["after"], made["message"]);
}

#[test]
fn a_seat_proposes_a_barrier_whenever_it_likes_and_nobody_signs_one_whose_documents_are_not_there() {
    let it = Scene::set();
    let first = it.act(
        "court",
        "judge",
        ["dossier", "barrier"],
        &["--due", "2099-01-31T00:00:00Z"],
    );
    let id = first["message"].as_str().unwrap();
    until("everybody's signature", || {
        (it.quittance("bar", id)["complete"] == true).then_some(())
    });
    assert_eq!(it.quittance("bar", id)["due"], "2099-01-31T00:00:00.000Z");
    // One that names a document which nobody has is signed by nobody.
    let Ok(Answer::Frontier(held)) = it.stage.nodes[0].client().ask(&Request::Frontier {
        dossier: it.stage.dossier,
    }) else {
        panic!("no frontier")
    };
    let missing = Digest::of(&[b"a document that nobody has"]);
    let body = Body::Barrier(Barrier {
        ext: None,
        frontier: held.rows,
        documents: vec![missing],
        members: held.members,
        due: Instant::from_seconds(1),
    });
    let strange = it.submit(0, "judge", Role::Judge, body);
    sleep(Duration::from_secs(3));
    let quittance = it.quittance("court", &strange.to_hex());
    for node in quittance["nodes"].as_array().unwrap() {
        assert_eq!(node["lacks"], "documents", "{node}");
        assert!(
            node["says"].as_str().unwrap().contains("0 of 1 documents"),
            "{node}"
        );
    }
    assert_eq!(quittance["nodes"].as_array().unwrap().len(), 3);
    // A barrier that is not there is said.
    let (config, dossier) = ("bar/node.toml", it.stage.dossier.to_hex());
    let line = [
        "dossier",
        "quittance",
        "--config",
        config,
        "--dossier",
        &dossier,
        &dossier,
    ];
    let (exit, answer) = run(&it.place, &line);
    assert_eq!(
        (exit, answer["error"]["code"].as_str()),
        (2, Some("usage")),
        "{answer}"
    );
}
