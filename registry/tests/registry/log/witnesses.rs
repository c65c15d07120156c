//! Witnesses, LOG-10.

use basoche_protocol::tree::Tree;
use basoche_registry::log::{AddCheckpoint, Key, Note, Refusal, Witness};

use super::kit::{Holder, ORIGIN, note, tree};

fn request(old: u64, tree: &Tree) -> AddCheckpoint {
    let path = if old == 0 {
        Vec::new()
    } else {
        tree.consistency_path(old, tree.size()).unwrap_or_default()
    };
    AddCheckpoint {
        old,
        path,
        checkpoint: note(tree),
    }
}

fn keys() -> [Key; 1] {
    [Holder::log(ORIGIN).key]
}

fn add(witness: &mut Witness, request: &AddCheckpoint) -> Result<u64, u16> {
    let read = AddCheckpoint::parse(request.encode().as_bytes()).ok_or(400_u16)?;
    assert_eq!(&read, request);
    let added = witness.handle_add_checkpoint(&read, &keys());
    added
        .map(|checkpoint| checkpoint.head().size)
        .map_err(|refusal| refusal.status())
}

#[test]
fn what_extends_the_largest_tree_seen_is_cosigned_and_nothing_else() {
    let mut witness = Witness::new();
    assert_eq!(add(&mut witness, &request(1, &tree(5, 9))), Err(409));
    assert_eq!(add(&mut witness, &request(0, &tree(5, 9))), Ok(5));
    assert_eq!(add(&mut witness, &request(5, &tree(5, 9))), Ok(5));
    assert_eq!(add(&mut witness, &request(5, &tree(8, 9))), Ok(8));
    // Another history, from the size seen and from before it.
    assert_eq!(add(&mut witness, &request(8, &tree(9, 3))), Err(422));
    assert_eq!(add(&mut witness, &request(5, &tree(9, 9))), Err(409));
    assert_eq!(add(&mut witness, &request(0, &tree(9, 3))), Err(409));
    assert_eq!(add(&mut witness, &request(8, &tree(8, 3))), Err(422));
    assert_eq!(add(&mut witness, &request(8, &tree(5, 9))), Err(400));
    // A path where there is none to give, and one that is cut short.
    let mut with_path = request(8, &tree(9, 9));
    with_path.path.pop();
    assert_eq!(add(&mut witness, &with_path), Err(422));
    assert_eq!(witness.size(ORIGIN), 8);
}

#[test]
fn a_log_that_is_unknown_or_has_not_signed_is_refused() {
    let mut witness = Witness::new();
    let unknown = witness.handle_add_checkpoint(&request(0, &tree(1, 9)), &[]);
    assert_eq!(unknown, Err(Refusal::UnknownLog));
    let mut unsigned = request(0, &tree(1, 9));
    unsigned.checkpoint = Note::new(unsigned.checkpoint.text().to_owned()).unwrap();
    Holder::witness(4).sign(&mut unsigned.checkpoint, super::kit::second(1));
    assert_eq!(add(&mut witness, &unsigned), Err(403));
    assert_eq!(witness.size(ORIGIN), 0);
}

#[test]
fn a_size_seen_never_decreases_whatever_the_order_of_requests() {
    let mut witness = Witness::new();
    let mut largest = 0;
    for n in 0..200_u64 {
        // Requests prepared against any size seen so far.
        let (old, size) = (n * 7 % 20, n * 11 % 60);
        if let Ok(size) = add(&mut witness, &request(old, &tree(size, 999))) {
            assert!(size >= largest);
            largest = size;
        }
        assert_eq!(witness.size(ORIGIN), largest);
    }
    assert!(largest > 10);
    // After a restart it goes on where it was.
    let mut restarted = Witness::new();
    let seen = witness
        .handle_add_checkpoint(&request(largest, &tree(largest, 999)), &keys())
        .unwrap();
    restarted.restore(seen.head().clone());
    assert_eq!(add(&mut restarted, &request(0, &tree(1, 999))), Err(409));
}

#[test]
fn a_request_has_one_text() {
    let good = request(5, &tree(8, 9)).encode();
    assert!(AddCheckpoint::parse(good.as_bytes()).is_some());
    for bad in [
        String::new(),
        good.replacen("old 5", "old 05", 1),
        good.replacen("old 5", "old", 1),
        good.replacen("old 5\n", "old 5\nAAAA\n", 1),
        good.replacen("\n\n", "\n", 1),
        format!(
            "old 5\n{}\n{}",
            "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n".repeat(64),
            note(&tree(8, 9)).encode()
        ),
    ] {
        assert_eq!(AddCheckpoint::parse(bad.as_bytes()), None, "{bad}");
    }
}
