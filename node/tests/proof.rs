//! `basoche dossier proof` between real nodes: who proves that they hold a message, and what is said of the others. SPEC §10.3.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use basoche_node::desk::ProofsView;
use basoche_protocol::envelope::Envelope;
use basoche_protocol::id::{Incarnation, MessageId, SubjectId};
use basoche_protocol::journal::{ChainId, Head};
use basoche_protocol::text::b64url_decode;
use basoche_protocol::wire::{codec, limits};
use serde_json::Value;
use support::nodes::{Node, Stage, until};
use support::{Place, ordinary, with_faults};

struct Scene {
    stage: Stage,
    _place: Place,
}

impl Scene {
    fn set(program: &Path) -> Self {
        let place = Place::new();
        let stage = Stage::set(place.path(), program);
        Self { stage, _place: place }
    }

    /// A dire of the lawyer at a node.
    fn dire(&self, node: usize, wait: &str) -> MessageId {
        let (name, who) = (self.stage.nodes[node].name, format!("lawyer-{node}"));
        let rest = ["--text", "La fissure est antérieure.", "--wait", wait];
        self.stage.does(["dossier", "dire"], name, &who, &rest)
    }

    fn line(&self, node: &str, message: &MessageId, rest: &[&str]) -> (i32, String) {
        let config = format!("{node}/node.toml");
        let (dossier, message) = (self.stage.dossier.to_hex(), message.to_hex());
        let line = ["dossier", "proof", "--config", &config, "--dossier", &dossier];
        self.stage
            .ran(&[&line[..], &["--message", &message], rest].concat())
    }

    /// Exit code and answer of `dossier proof --json`.
    fn proof(&self, node: &str, message: &MessageId, rest: &[&str]) -> (i32, Value) {
        let (exit, said) = self.line(node, message, &[rest, &["--json"]].concat());
        (exit, serde_json::from_str(said.lines().last().unwrap()).unwrap())
    }
}

/// What is said of a node.
fn of<'a>(answer: &'a Value, node: &Node) -> &'a Value {
    let members = answer["members"].as_array().unwrap();
    members.iter().find(|one| one["node"] == *node.id).unwrap()
}

/// Whether the head of each answer leads to the entry by its path: with nothing but the answer.
fn check(answer: &Value) {
    let view: ProofsView = serde_json::from_value(answer.clone()).unwrap();
    let chain = ChainId {
        node: view.of,
        incarnation: Incarnation::from_hex(&view.incarnation).unwrap(),
    };
    for member in view.members {
        let envelope = Envelope::decode(&b64url_decode(&member.head.unwrap()).unwrap()).unwrap();
        let head: Head = codec::decode(envelope.payload(), limits::PAYLOAD_BYTES).unwrap();
        assert_eq!((head.node, Some(head.head_no)), (member.node, member.head_no));
        let path: Vec<_> = member.path.iter().map(|hash| *hash.as_bytes()).collect();
        let row = head.row_with(&chain, view.position, &view.leaf, &path);
        assert_eq!(row.map(|row| row.size), member.size);
        assert!(member.size.unwrap() > view.position);
    }
}

#[test]
fn each_member_proves_that_it_holds_a_message_and_who_cannot_is_named_with_the_reason() {
    let mut it = Scene::set(&ordinary());
    let dire = it.dire(1, "received");
    let (exit, answer) = it.proof("court", &dire, &[]);
    assert_eq!(exit, 0, "{answer}");
    assert_eq!(answer["members"].as_array().unwrap().len(), 2);
    assert_eq!(answer["of"], *it.stage.nodes[1].id);
    check(&answer);
    let (bar, company) = (it.stage.nodes[1].id.clone(), it.stage.nodes[2].id.clone());
    let (exit, only) = it.proof("court", &dire, &["--at", &company]);
    assert_eq!((exit, only["members"].as_array().unwrap().len()), (0, 1));
    check(&only);
    let (exit, said) = it.line("court", &dire, &[]);
    assert_eq!(exit, 0);
    assert_eq!(said.matches("holds it; its head ").count(), 2, "{said}");
    assert!(said.contains(&format!("of the chain of node {bar}")), "{said}");

    // What is wrong with the question is said.
    let nothing = MessageId::new([9; 32]);
    let stranger = SubjectId::new([9; 16]).to_hex();
    for (message, rest, code) in [
        (&nothing, &[][..], "unknown-reference"),
        (&dire, &["--at", &stranger][..], "not-participant"),
    ] {
        let (exit, answer) = it.proof("court", message, rest);
        assert_eq!(
            (exit, answer["error"]["code"].as_str()),
            (77, Some(code)),
            "{answer}"
        );
    }

    // Who is connected and says nothing is not waited for longer than ten seconds.
    it.stage.nodes[2].freeze();
    let late = it.dire(0, "deposited");
    let (exit, answer) = it.proof("court", &late, &["--at", &company]);
    it.stage.nodes[2].thaw();
    assert_eq!(exit, 75, "{answer}");
    assert_eq!(of(&answer, &it.stage.nodes[2])["why"], "no-answer", "{answer}");
    // Who is away is named, and the others prove it all the same.
    it.stage.nodes[1].stop();
    until("the company's proof", || {
        let (exit, answer) = it.proof("court", &late, &["--at", &company]);
        (exit == 0).then(|| check(&answer))
    });
    until("the bar's absence", || {
        let (exit, answer) = it.proof("court", &late, &[]);
        let absent = of(&answer, &it.stage.nodes[1]);
        (absent["why"] == "unreachable" && exit == 75).then(|| {
            assert_eq!(absent["holds"], false);
            assert_eq!(of(&answer, &it.stage.nodes[2])["holds"], true, "{answer}");
        })
    });
    // Back, with the dossier at rest: the question wakes it.
    it.stage.nodes[1].start();
    it.stage.nodes[1].connected();
    until("everybody's proof", || {
        let (exit, answer) = it.proof("court", &late, &[]);
        (exit == 0).then(|| check(&answer))
    });
}

#[test]
fn a_member_whose_answer_proves_nothing_is_blamed() {
    let mut it = Scene::set(&ordinary());
    let dire = it.dire(1, "received");
    it.stage.nodes[2].stop();
    it.stage.nodes[2].become_program(&with_faults(), "proof-lies");
    it.stage.nodes[2].start();
    it.stage.nodes[2].connected();
    // The court may not know yet that the company is back.
    let (exit, answer) = until("an answer of the company", || {
        let (exit, answer) = it.proof("court", &dire, &[]);
        let away = of(&answer, &it.stage.nodes[2])["why"] == "unreachable";
        (!away).then_some((exit, answer))
    });
    assert_eq!(exit, 77, "{answer}");
    let (bar, company) = (of(&answer, &it.stage.nodes[1]), of(&answer, &it.stage.nodes[2]));
    assert_eq!((&bar["holds"], &company["holds"]), (&true.into(), &false.into()));
    assert_eq!(
        (&company["why"], &company["wrong"]),
        (&"head-mismatch".into(), &true.into())
    );
    let (_, said) = it.line("court", &dire, &[]);
    assert!(
        said.contains("WRONG: its answer does not prove it (head-mismatch)"),
        "{said}"
    );
    let log = it.stage.nodes[0].log();
    assert!(
        log.contains("a frame was refused") && log.contains("head-mismatch"),
        "{log}"
    );
}
