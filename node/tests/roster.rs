//! Who leaves a dossier reads nothing more of it, and who stays reads everything, with real keys and real nodes. KEY-2.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use basoche_protocol::id::MessageId;
use support::judge::alarms;
use support::nodes::{Node, Stage, show, until};
use support::{Place, ordinary};

/// How long nothing has to come to who has left: longer than it takes a node to offer again what a member lacks.
const SILENCE: Duration = Duration::from_secs(7);

/// The lawyer at the court lodges a text, and everybody in the dossier has it.
fn lodge(place: &Place, stage: &Stage, name: &str) -> MessageId {
    fs::write(place.path().join(name), format!("Contenu de {name}.")).unwrap();
    let rest = ["--title", "Note", "--wait", "received", name];
    stage.does(["document", "deposit"], "court", "lawyer-0", &rest)
}

/// What the lawyer at the company's node reads in a document.
fn read(place: &Place, stage: &Stage, deposit: MessageId) -> String {
    let company = stage.nodes[2].client();
    until("the document held by those who stay", || {
        let documents = show(&company, stage.dossier)?.documents;
        let found = documents.iter().find(|one| one.deposit == deposit)?;
        let node = &stage.nodes[2].id;
        found.held.contains_key(node).then_some(())
    });
    let out = format!("{}.txt", &deposit.to_hex()[..8]);
    let _ = fs::remove_file(place.path().join(&out));
    let (id, rest) = (deposit.to_hex(), &out);
    let rest = ["--deposit", &id, "--out", rest];
    let (exit, opened) = stage.tell(["document", "open"], "company", "lawyer-2", &rest);
    assert_eq!(exit, 0, "{opened}");
    fs::read_to_string(place.path().join(&out)).unwrap()
}

#[test]
fn who_leaves_reads_nothing_more_and_who_stays_reads_everything() {
    let place = Place::new();
    let mut stage = Stage::set(place.path(), &ordinary());
    let before = lodge(&place, &stage, "avant");
    let leaver = stage.lawyers[1].subject.to_hex();
    let rest = ["--participant", &leaver, "--wait", "received"];
    stage.does(["dossier", "remove"], "company", "expert", &rest);
    let after = lodge(&place, &stage, "apres");

    assert_eq!(read(&place, &stage, before), "Contenu de avant.");
    assert_eq!(read(&place, &stage, after), "Contenu de apres.");
    // The keys are in the store: a node that starts again reads on.
    stage.nodes[2].stop();
    stage.nodes[2].start();
    stage.nodes.iter_mut().for_each(Node::connected);
    assert_eq!(read(&place, &stage, after), "Contenu de apres.");

    sleep(SILENCE);
    let bar = show(&stage.nodes[1].client(), stage.dossier).unwrap();
    assert!(bar.documents.iter().any(|one| one.deposit == before));
    assert!(
        !bar.messages.iter().any(|one| one.id == after),
        "the bar heard of it"
    );
    // Negative control: the others have it.
    let court = show(&stage.nodes[0].client(), stage.dossier).unwrap();
    assert!(court.messages.iter().any(|one| one.id == after));
    stage.nodes.iter_mut().for_each(Node::stop);
    for node in &stage.nodes {
        assert_eq!(alarms(&node.log()), Vec::<&str>::new(), "{}", node.name);
    }
}
