//! A real node hands its dossier over and goes: it says who has to sign what, its persons act on at the new node, and it is
//! not called retired before another one has all that it wrote. SPEC §7.4.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::net::UdpSocket;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::judge::alarms;
use support::nodes::{Node, Plan, Stage, three, until};
use support::{Place, ordinary};

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

fn act(place: &Place, stage: &Stage, node: &str, who: &str, line: [&str; 2], rest: &[&str]) -> Value {
    let (config, wallet) = (format!("{node}/node.toml"), format!("wallets/{who}"));
    let dossier = stage.dossier.to_hex();
    let common = ["--config", &config, "--as", &wallet, "--dossier", &dossier];
    let secret = ["--passphrase-file", "passphrase"];
    let (exit, answer) = run(place, &[line.as_slice(), &common, &secret, rest].concat());
    assert_eq!(exit, 0, "{line:?} {rest:?}: {answer}");
    answer
}

#[test]
fn a_node_that_goes_hands_its_dossier_over_and_the_new_one_keeps_the_roster() {
    let place = Place::new();
    let mut plans = three();
    plans.push(Plan {
        name: "second",
        authority: "experts",
        address: UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .unwrap(),
        front: None,
        namespace: None,
    });
    let mut stage = Stage::of(place.path(), &ordinary(), &plans);
    let second = stage.nodes[3].id.clone();
    let retire = ["node", "retire", "--config", "company/node.toml"];

    let (exit, listed) = run(&place, &retire);
    assert_eq!((exit, &listed["retired"]), (75, &false.into()), "{listed}");
    assert!(listed["to"].is_null() && status(&place)["retiring"].is_null());
    let (_, listed) = run(&place, &[retire.as_slice(), &["--to", &second]].concat());
    let persons = listed["dossiers"][0]["persons"].as_array().unwrap().clone();
    assert_eq!(persons.len(), 2, "the expert and a lawyer: {listed}");
    assert_eq!(status(&place)["retiring"]["to"], *second);
    let expert = persons.iter().find(|one| one["role"] == "expert").unwrap();
    for one in &persons {
        assert_eq!(one["signers"][0], expert["person"]);
        let command = one["command"].as_str().unwrap();
        assert!(
            command.starts_with("basoche dossier hand-over --as WALLET"),
            "{command}"
        );
        assert!(command.ends_with(&format!("--to {second}")), "{command}");
    }
    // The expert signs both, the lawyer's first.
    let lawyer = persons.iter().find(|one| one["role"] == "lawyer").unwrap();
    for one in [lawyer, expert] {
        let rest = ["--person", one["person"].as_str().unwrap(), "--to", &second];
        act(
            &place,
            &stage,
            "company",
            "expert",
            ["dossier", "hand-over"],
            &rest,
        );
    }
    until("the receipt for all that it wrote", || {
        let (exit, view) = run(&place, &retire);
        (exit == 0 && view["retired"] == true).then_some(())
    });
    assert!(status(&place)["retiring"].is_null());

    // The expert acts on at the new node, and whoever stays reads it; the new node opens the next epoch.
    fs::write(place.path().join("note.txt"), "Après le départ.").unwrap();
    let rest = ["--title", "Note", "--wait", "received", "note.txt"];
    let note = act(&place, &stage, "second", "expert", ["document", "deposit"], &rest);
    let gone = stage.nodes.remove(2);
    let deposit = note["message"].as_str().unwrap();
    let held = |view: &basoche_node::desk::DossierView| {
        let note = view.documents.iter().find(|one| one.deposit.to_hex() == deposit);
        note.is_some_and(|note| note.held.len() == 3)
    };
    until("the note at all who stay", || {
        stage.views().filter(|views| views.iter().all(held)).map(|_| ())
    });
    let open = ["--deposit", deposit, "--out", "opened.txt"];
    act(&place, &stage, "bar", "lawyer-1", ["document", "open"], &open);
    assert_eq!(
        fs::read_to_string(place.path().join("opened.txt")).unwrap(),
        "Après le départ."
    );
    let view = support::nodes::show(&gone.client(), stage.dossier).unwrap();
    assert!(
        view.messages.iter().all(|one| one.id.to_hex() != deposit),
        "who left heard of it"
    );
    let mut gone = gone;
    gone.stop();
    stage.nodes.iter_mut().for_each(Node::stop);
    for node in stage.nodes.iter().chain([&gone]) {
        assert_eq!(alarms(&node.log()), Vec::<&str>::new(), "{}", node.name);
    }
}

fn status(place: &Place) -> Value {
    run(place, &["node", "status", "--config", "company/node.toml"]).1
}
