//! Documents that nobody names are removed once they are old, and none that a journal names ever is, with real nodes.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use basoche_node::control::ClientError;
use basoche_protocol::id::Digest;
use support::lodge::{ingest, lodge};
use support::nodes::{Node, Stage, until};
use support::{Place, ordinary};

/// Makes a staged file of a document look so old.
fn age(data: &Path, root: &Digest, kind: &str, hours: u64) {
    let path = data.join(format!("blobs/tmp/{root}.{kind}"));
    let file = File::options().append(true).create(true).open(path).unwrap();
    let at = SystemTime::now() - Duration::from_secs(hours * 3600);
    file.set_modified(at).unwrap();
}

#[test]
fn what_is_old_and_named_by_no_journal_goes_and_everything_else_stays() {
    let place = Place::new();
    let mut stage = Stage::set(place.path(), &ordinary());
    let data = stage.nodes[0].home().join("data");
    let here = |root: &Digest| {
        data.join(format!("blobs/{}/{root}", &root.to_hex()[..2]))
            .exists()
    };
    let named = ingest(&stage, b"its message comes at once");
    let (forgotten, young, late) = (
        ingest(&stage, b"its message never comes"),
        ingest(&stage, b"its message may still come"),
        ingest(&stage, b"its message comes after the sweep"),
    );
    lodge(&stage, named.clone()).unwrap();
    until("the deposited document is not loose", || {
        let loose = data.join(format!("blobs/tmp/{}.lodged", named.root)).exists();
        (!loose).then_some(())
    });
    stage.nodes[0].stop();
    // A crash between the commit of a message and the note that its document is named leaves the file.
    age(&data, &named.root, "lodged", 48);
    age(&data, &forgotten.root, "lodged", 25);
    age(&data, &young.root, "lodged", 23);
    age(&data, &late.root, "lodged", 25);
    // Parts of documents that no message names: one is old.
    let (old_part, young_part) = (Digest::new([1; 32]), Digest::new([2; 32]));
    age(&data, &old_part, "part", 25);
    age(&data, &young_part, "part", 1);
    let part = |root: &Digest| data.join(format!("blobs/tmp/{root}.part")).exists();
    stage.nodes[0].start();
    stage.nodes.iter_mut().for_each(Node::connected);
    until("the sweep", || {
        (!here(&forgotten.root) && !part(&old_part)).then_some(())
    });
    assert!(here(&named.root) && here(&young.root) && part(&young_part));
    // Whoever signs too late is told, and may lodge it again; who signs in time loses nothing.
    match lodge(&stage, late) {
        Err(ClientError::Failed(failure)) => assert_eq!(failure.code, "document-missing"),
        other => panic!("{:?}", other.map_err(|error| error.to_string())),
    }
    let young_root = young.root;
    lodge(&stage, young).unwrap();
    stage.nodes[0].kill();
    stage.nodes[0].start();
    stage.nodes.iter_mut().for_each(Node::connected);
    assert!(here(&young_root) && here(&named.root));
    assert_eq!(fs::read_dir(data.join("blobs/tmp")).unwrap().count(), 1);
    stage.nodes.iter_mut().for_each(Node::stop);
}
