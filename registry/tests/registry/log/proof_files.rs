//! Proof files, LOG-8.

use basoche_protocol::tree::{Hash, leaf_hash};
use basoche_registry::log::{InclusionFile, InclusionFileError};

use super::kit::{Holder, ORIGIN, note, tree};

fn file() -> InclusionFile {
    let tree = tree(11, 99);
    InclusionFile {
        extra: Some(b"which certificate".to_vec()),
        index: 6,
        path: tree.inclusion_path(6, 11).unwrap(),
        checkpoint: note(&tree),
    }
}

#[test]
fn a_leaf_is_proved_by_a_text() {
    let (log, leaf) = (Holder::log(ORIGIN).key, tree(11, 99).leaf(6).unwrap());
    for extra in [None, Some(Vec::new()), Some(vec![0xff; 100])] {
        let file = InclusionFile { extra, ..file() };
        let read = InclusionFile::parse(file.encode().as_bytes()).unwrap();
        assert_eq!(read, file);
        assert_eq!(
            read.verify(&leaf, std::slice::from_ref(&log))
                .unwrap()
                .head()
                .size,
            11
        );
    }
    let proves = |file: &InclusionFile, leaf: &Hash| file.verify(leaf, std::slice::from_ref(&log)).is_ok();
    assert!(!proves(&file(), &leaf_hash(b"another")));
    assert!(!proves(&InclusionFile { index: 7, ..file() }, &leaf));
    assert!(!proves(
        &InclusionFile {
            path: file().path[1..].to_vec(),
            ..file()
        },
        &leaf
    ));
    assert!(!proves(
        &InclusionFile {
            checkpoint: note(&tree(11, 3)),
            ..file()
        },
        &leaf
    ));
    assert!(file().verify(&leaf, &[Holder::log("bars.example").key]).is_err());
}

#[test]
fn a_proof_file_is_read_strictly() {
    let good = file().encode();
    let wrong = |from: &str, to: &str| InclusionFile::parse(good.replacen(from, to, 1).as_bytes()).err();
    let line = |line| Some(InclusionFileError::Line { line });
    assert_eq!(wrong("@v1", "@v2"), line(1));
    assert_eq!(wrong("extra d", "extra !"), line(2));
    assert_eq!(wrong("index 6", "index 06"), line(3));
    assert_eq!(wrong("index 6", "size 6"), line(3));
    assert_eq!(wrong("index 6\n", "index 6\nAAAA\n"), line(4));
    assert_eq!(InclusionFile::parse(b"").err(), line(1));
    let bomb = format!(
        "c2sp.org/tlog-proof@v1\nindex 0\n{}",
        "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n".repeat(1000)
    );
    assert_eq!(InclusionFile::parse(bomb.as_bytes()).err(), line(66));
    assert_eq!(
        InclusionFile::parse("a".repeat(1 << 20).as_bytes()).err(),
        line(1)
    );
    assert!(matches!(
        wrong(ORIGIN, "other.example"),
        None | Some(InclusionFileError::Checkpoint(_))
    ));
    assert!(matches!(
        wrong("\u{2014}", "-"),
        Some(InclusionFileError::Checkpoint(_))
    ));
}
