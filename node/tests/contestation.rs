//! A depositor lies about a document: every node that holds it says so, and the dossier goes on, with real nodes. CON-1.

#![allow(clippy::unwrap_used)]

mod support;

use basoche_protocol::id::Digest;
use basoche_protocol::message::Finding;
use support::lodge::{ingest, lodge};
use support::nodes::{Node, Stage, until};
use support::{Place, ordinary};

#[test]
fn a_lie_about_a_document_is_contested_by_all_who_hold_it_and_stops_nothing() {
    let place = Place::new();
    let mut stage = Stage::set(place.path(), &ordinary());
    let honest = lodge(&stage, ingest(&stage, &[7; 100_000])).unwrap();
    let mut lie = ingest(&stage, &[9; 100_000]);
    lie.plaintext_commitment = Digest::new([0; 32]);
    let plaintext = lodge(&stage, lie).unwrap();
    let mut lie = ingest(&stage, &[11; 100]);
    lie.key_commitment = Digest::new([0; 32]);
    let key = lodge(&stage, lie).unwrap();

    let views = until("every contestation at every node", || {
        let views = stage.views()?;
        let told = |deposit, finding| {
            views.iter().all(|view| {
                let document = view.documents.iter().find(|one| one.deposit == deposit);
                let contested = document.map(|one| one.contested.as_slice()).unwrap_or_default();
                contested.len() == 3 && contested.iter().all(|one| one.finding == finding)
            })
        };
        let all = told(plaintext, Finding::PlaintextCommitment) && told(key, Finding::KeyCommitment);
        all.then_some(views)
    });
    for view in &views {
        for document in &view.documents {
            // That they hold it they say all the same, and of what is right nobody says anything.
            assert_eq!(document.held.len(), 3);
            assert_eq!(document.deposit == honest, document.contested.is_empty());
        }
    }
    // All agree, and a restart examines nothing again.
    let entries: Vec<_> = stage.settled().iter().map(|view| view.messages.len()).collect();
    stage.nodes.iter_mut().for_each(Node::stop);
    stage.nodes.iter_mut().for_each(Node::start);
    stage.nodes.iter_mut().for_each(Node::connected);
    lodge(&stage, ingest(&stage, b"after")).unwrap();
    let later: Vec<_> = stage.settled().iter().map(|view| view.messages.len()).collect();
    // The deposit, and at each node that it holds it and has made it available.
    assert!(
        later
            .iter()
            .zip(&entries)
            .all(|(later, before)| (1..=7).contains(&(later - before)))
    );

    // What lies does not keep the rest from being exported and proved.
    let (dossier, out) = (stage.dossier.to_hex(), "preuves.zip");
    let export = [
        "export",
        "--config",
        "bar/node.toml",
        "--dossier",
        &dossier,
        "--out",
        out,
    ];
    assert_eq!(stage.ran(&export).0, 0);
    let (exit, report) = stage.ran(&["verify", "--json", "--anchors", "anchors.json", out]);
    assert_eq!(exit, 0, "{report}");
    assert_eq!(report.matches("\"founded\"").count(), 6, "{report}");
    assert!(!report.contains("\"unfounded\""), "{report}");
    stage.nodes.iter_mut().for_each(Node::stop);
}
