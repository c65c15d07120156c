//! The contract of [`BlobStore`], clause by clause, run against every backend.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::{BlobError, BlobStore, MAX_LEAVES, Root};
use crate::buffers::Aligned;

/// Runs every clause, each on a fresh set from `fresh`.
pub(super) fn check(fresh: &dyn Fn() -> Box<dyn BlobStore>) {
    let clauses: [fn(&dyn BlobStore); 12] = [
        absence_is_no_error,
        what_is_written_in_any_order_comes_back,
        a_large_blob_comes_back_however_its_bytes_lie_in_memory,
        a_blob_is_invisible_until_finished_and_gone_when_dropped,
        finishing_and_removing_may_be_repeated,
        a_reader_outlives_removal_and_replacement,
        empty_blobs_exist,
        ranges_outside_the_blob_are_refused,
        an_incomplete_blob_is_not_finished,
        a_part_stays_with_its_checkpoint_until_it_is_finished,
        what_no_message_names_is_loose_until_it_is_kept_or_removed,
        too_large_a_blob_is_refused_before_it_is_written,
    ];
    for clause in clauses {
        clause(fresh().as_ref());
    }
    several_threads_may_finish_the_same_and_other_roots(fresh().as_ref());
}

pub(super) fn root(byte: u8) -> Root {
    [byte; 32]
}

pub(super) fn store(set: &dyn BlobStore, root: Root, bytes: &[u8]) {
    let mut writer = set.create(bytes.len() as u64).unwrap();
    writer.write_at(0, bytes).unwrap();
    writer.finish(&root, &leaves(&root)).unwrap();
}

pub(super) fn leaves(root: &Root) -> Vec<[u8; 32]> {
    vec![*root, [0; 32], [0xff; 32]]
}

pub(super) fn content(set: &dyn BlobStore, root: Root) -> Vec<u8> {
    let reader = set.open(&root).unwrap().unwrap();
    let mut bytes = vec![0; reader.len() as usize];
    reader.read_at(0, &mut bytes).unwrap();
    bytes
}

fn absence_is_no_error(set: &dyn BlobStore) {
    assert!(set.open(&root(1)).unwrap().is_none());
    assert!(!set.contains(&root(1)).unwrap());
    assert!(set.list().unwrap().is_empty());
    set.remove(&root(1)).unwrap();
}

fn a_part_stays_with_its_checkpoint_until_it_is_finished(set: &dyn BlobStore) {
    let bytes: Vec<u8> = (0..200_000_u32).map(|i| (i % 239) as u8).collect();
    let size = bytes.len() as u64;
    let leaf = |index: usize| &bytes[index << 16..((index + 1) << 16).min(bytes.len())];
    let part = || set.part(&root(3), size, 4).unwrap();
    let first = part();
    assert!(first.is_new());
    for index in [3, 1] {
        first.write_at((index << 16) as u64, leaf(index)).unwrap();
        assert!(first.mark(index as u64) && !first.mark(index as u64));
    }
    first.checkpoint().unwrap();
    first.write_at(0, leaf(0)).unwrap();
    first.mark(0);
    assert!(!first.mark(4), "there is no fifth leaf");
    assert!(first.write_at(size, &[0]).is_err());
    drop(first);

    let second = part();
    assert!(!second.is_new());
    assert_eq!(
        [1, 3, 2, 4].map(|leaf| second.has(leaf)),
        [true, true, false, false]
    );
    let mut read = vec![1; 1 << 16];
    second.read_at(1 << 16, &mut read).unwrap();
    assert_eq!(read, leaf(1));
    second.read_at(2 << 16, &mut read).unwrap();
    assert_eq!(read, vec![0; 1 << 16], "nothing was written there");
    assert!(!set.contains(&root(3)).unwrap() && set.list().unwrap().is_empty());
    assert!(matches!(
        second.finish(&leaves(&root(3))),
        Err(BlobError::Incomplete { .. })
    ));

    let third = part();
    for index in [0, 2] {
        third.write_at((index << 16) as u64, leaf(index)).unwrap();
        third.mark(index as u64);
    }
    third.finish(&leaves(&root(3))).unwrap();
    assert_eq!(content(set, root(3)), bytes);
    // What was finished, and what has another size, begins anew.
    assert!(!part().has(1) && set.part(&root(4), size, 4).unwrap().is_new());
    let other = set.part(&root(3), size - 1, 4).unwrap();
    assert!((0..4).all(|leaf| !other.has(leaf)));
}

fn what_no_message_names_is_loose_until_it_is_kept_or_removed(set: &dyn BlobStore) {
    let loose = |age| set.loose(age, 9).unwrap();
    store(set, root(5), b"five");
    store(set, root(6), b"six");
    drop(set.part(&root(7), 100, 1).unwrap());
    assert_eq!(loose(Duration::ZERO), [root(5), root(6), root(7)]);
    assert_eq!(set.loose(Duration::ZERO, 2).unwrap().len(), 2);
    assert!(loose(Duration::from_secs(3600)).is_empty(), "none is old");
    set.keep(&root(5)).unwrap();
    set.keep(&root(7)).unwrap();
    assert_eq!(loose(Duration::ZERO), [root(6), root(7)]);
    set.remove(&root(6)).unwrap();
    set.remove(&root(7)).unwrap();
    assert!(loose(Duration::ZERO).is_empty());
    assert!(set.part(&root(7), 100, 1).unwrap().is_new(), "the part is gone");
    assert_eq!(content(set, root(5)), b"five");
    for number in 5..8 {
        set.remove(&root(number)).unwrap();
    }
}

fn a_large_blob_comes_back_however_its_bytes_lie_in_memory(set: &dyn BlobStore) {
    // Whole blocks in aligned memory may go another way to the disk than the rest: each range both ways.
    let bytes: Vec<u8> = (0..9_500_017_u32).map(|i| (i % 241) as u8).collect();
    let mut writer = set.create(bytes.len() as u64).unwrap();
    let mut piece = Aligned::new(1 << 20);
    for (index, part) in bytes.chunks(1 << 20).enumerate() {
        let offset = (index << 20) as u64;
        if index % 3 == 2 {
            writer.write_at(offset, part).unwrap();
        } else {
            piece.truncate(0);
            piece.append(part);
            writer.write_at(offset, piece.as_ref()).unwrap();
        }
    }
    writer.finish(&root(1), &leaves(&root(1))).unwrap();
    assert_eq!(content(set, root(1)), bytes);
    let reader = set.open(&root(1)).unwrap().unwrap();
    for offset in [
        0,
        4096,
        4097,
        bytes.len() - (1 << 20),
        bytes.len() - 5000,
        bytes.len() - 1,
    ] {
        piece.truncate(0);
        let room = piece.grow(bytes.len() - offset);
        reader.read_at(offset as u64, room).unwrap();
        assert_eq!(room, &bytes[offset..offset + room.len()], "{offset}");
    }
    piece.truncate(0);
    assert!(matches!(
        reader.read_at(bytes.len() as u64 - 4096, piece.grow(8192)),
        Err(BlobError::OutOfRange { .. })
    ));
}

fn what_is_written_in_any_order_comes_back(set: &dyn BlobStore) {
    let bytes: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    let mut writer = set.create(bytes.len() as u64).unwrap();
    writer.write_at(0, &[9; 10]).unwrap();
    for start in [200_000, 100_000, 0] {
        writer
            .write_at(start as u64, &bytes[start..start + 100_000])
            .unwrap();
    }
    writer.finish(&root(0xab), &leaves(&root(0xab))).unwrap();
    assert!(content(set, root(0xab)) == bytes);
    let reader = set.open(&root(0xab)).unwrap().unwrap();
    assert_eq!(reader.len(), 300_000);
    assert_eq!(reader.outboard().unwrap(), leaves(&root(0xab)));
    let mut part = [0; 1000];
    reader.read_at(99_500, &mut part).unwrap();
    assert_eq!(part, bytes[99_500..100_500]);
    store(set, root(2), b"second");
    assert_eq!(set.list().unwrap(), [root(2), root(0xab)]);
}

fn a_blob_is_invisible_until_finished_and_gone_when_dropped(set: &dyn BlobStore) {
    let mut writer = set.create(5).unwrap();
    writer.write_at(0, b"bytes").unwrap();
    assert!(set.list().unwrap().is_empty());
    drop(writer);
    assert!(set.list().unwrap().is_empty());
}

fn finishing_and_removing_may_be_repeated(set: &dyn BlobStore) {
    store(set, root(1), b"bytes");
    store(set, root(1), b"bytes");
    assert_eq!(set.list().unwrap(), [root(1)]);
    assert_eq!(content(set, root(1)), b"bytes");
    set.remove(&root(1)).unwrap();
    set.remove(&root(1)).unwrap();
    assert!(!set.contains(&root(1)).unwrap());
    assert!(set.open(&root(1)).unwrap().is_none());
    store(set, root(1), b"again");
    assert_eq!(content(set, root(1)), b"again");
}

fn a_reader_outlives_removal_and_replacement(set: &dyn BlobStore) {
    store(set, root(1), b"bytes");
    let reader = set.open(&root(1)).unwrap().unwrap();
    store(set, root(1), b"bytes");
    set.remove(&root(1)).unwrap();
    let mut bytes = [0; 5];
    reader.read_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"bytes");
    assert_eq!(reader.outboard().unwrap(), leaves(&root(1)));
}

fn empty_blobs_exist(set: &dyn BlobStore) {
    set.create(0).unwrap().finish(&root(1), &[]).unwrap();
    let reader = set.open(&root(1)).unwrap().unwrap();
    assert_eq!(reader.len(), 0);
    assert!(reader.outboard().unwrap().is_empty());
    reader.read_at(0, &mut []).unwrap();
}

fn ranges_outside_the_blob_are_refused(set: &dyn BlobStore) {
    let mut writer = set.create(5).unwrap();
    for (offset, data) in [
        (0, b"123456".as_slice()),
        (5, b"1"),
        (u64::MAX, b"1"),
        (u64::MAX, b""),
    ] {
        assert!(matches!(
            writer.write_at(offset, data),
            Err(BlobError::OutOfRange { size: 5, .. })
        ));
    }
    writer.write_at(5, b"").unwrap();
    writer.write_at(0, b"bytes").unwrap();
    writer.finish(&root(1), &[]).unwrap();
    let reader = set.open(&root(1)).unwrap().unwrap();
    for (offset, bytes) in [(0, 6), (4, 2), (6, 0), (u64::MAX, 1)] {
        let read = reader.read_at(offset, &mut vec![0; bytes]);
        assert!(
            matches!(read, Err(BlobError::OutOfRange { size: 5, .. })),
            "{offset}"
        );
    }
}

fn an_incomplete_blob_is_not_finished(set: &dyn BlobStore) {
    let mut writer = set.create(5).unwrap();
    writer.write_at(0, b"byte").unwrap();
    let finished = writer.finish(&root(1), &[]);
    assert!(matches!(
        finished,
        Err(BlobError::Incomplete { size: 5, written: 4 })
    ));
    let leaves = vec![[0; 32]; MAX_LEAVES + 1];
    let finished = set.create(0).unwrap().finish(&root(1), &leaves);
    assert!(matches!(finished, Err(BlobError::TooManyLeaves { .. })));
    assert!(set.list().unwrap().is_empty());
}

fn too_large_a_blob_is_refused_before_it_is_written(set: &dyn BlobStore) {
    for size in [1 << 60, u64::MAX] {
        let Err(error) = set.create(size) else {
            panic!("{size} bytes accepted")
        };
        assert!(matches!(error, BlobError::Full { needed, free, .. } if needed >= size && free < size));
    }
}

fn several_threads_may_finish_the_same_and_other_roots(set: &dyn BlobStore) {
    std::thread::scope(|threads| {
        for thread in 0..8_u8 {
            threads.spawn(move || {
                for round in 0..4 {
                    store(set, root(round), &[round; 5000]);
                    assert_eq!(content(set, root(round)), [round; 5000]);
                    store(set, root(100 + thread), &[thread; 5000]);
                    // Finished, removed and opened at the same time: there or not, never by halves.
                    store(set, root(200), &[200; 50]);
                    if let Some(reader) = set.open(&root(200)).unwrap() {
                        assert_eq!(reader.outboard().unwrap(), leaves(&root(200)));
                    }
                    set.remove(&root(200)).unwrap();
                }
            });
        }
    });
    assert_eq!(
        set.list().unwrap(),
        (0..4).chain(100..108).map(root).collect::<Vec<_>>()
    );
}
