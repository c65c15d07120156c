//! The contract of [`Store`], clause by clause, run against every backend.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::{Batch, Durable, Key, MAX_BATCH_BYTES, Store, StoreError};

const A: [u8; 16] = [0xaa; 16];
const B: [u8; 16] = [0xbb; 16];

/// Runs every clause, each on a fresh store from `fresh`.
pub(super) fn check(fresh: &dyn Fn() -> Box<dyn Store>) {
    let clauses: [fn(&dyn Store); 9] = [
        absence_is_no_error,
        the_last_change_of_a_key_counts,
        a_batch_is_applied_whole,
        scans_ascend_and_keep_to_their_bounds,
        family_scans_see_one_family_in_order_and_stop_on_error,
        last_is_the_highest_index_of_the_owner,
        positions_increase_and_an_empty_batch_takes_none,
        a_batch_over_the_limit_changes_nothing,
        concurrent_commits_are_all_kept_and_get_distinct_positions,
    ];
    for clause in clauses {
        clause(fresh().as_ref());
    }
    large_values_come_back_whole(fresh().as_ref());
}

/// What must be found again when a durable store is closed and opened anew.
#[cfg(feature = "rocksdb")]
pub(super) fn check_reopen(open: &dyn Fn() -> Box<dyn Store>) {
    let store = open();
    put(store.as_ref(), key(A, 1), b"kept");
    put(store.as_ref(), key(A, 2), b"old");
    put(store.as_ref(), key(A, 2), b"new");
    put(store.as_ref(), key(A, 3), b"gone");
    delete(store.as_ref(), key(A, 3));
    drop(store);
    let store = open();
    assert_eq!(
        store.scan(1, &A, 0, 10).unwrap(),
        [(1, b"kept".to_vec()), (2, b"new".to_vec())]
    );
    assert_eq!(
        store.durable(),
        Durable::default(),
        "positions count from the opening"
    );
}

pub(super) fn key(owner: [u8; 16], index: u64) -> Key {
    Key {
        family: 1,
        owner,
        index,
    }
}

pub(super) fn put(store: &dyn Store, key: Key, value: &[u8]) -> Durable {
    let mut batch = Batch::default();
    batch.put(key, value.to_vec());
    store.commit(batch).unwrap()
}

fn delete(store: &dyn Store, key: Key) {
    let mut batch = Batch::default();
    batch.delete(key);
    store.commit(batch).unwrap();
}

fn absence_is_no_error(store: &dyn Store) {
    assert_eq!(store.get(&key(A, 0)).unwrap(), None);
    assert_eq!(store.scan(1, &A, 0, 10).unwrap(), []);
    assert_eq!(store.last(1, &A).unwrap(), None);
    store.scan_family(1, &mut |_, _| panic!("no row exists")).unwrap();
    delete(store, key(A, 0));
    assert_eq!(store.get(&key(A, 0)).unwrap(), None);
}

fn the_last_change_of_a_key_counts(store: &dyn Store) {
    put(store, key(A, 0), b"one");
    put(store, key(A, 0), b"");
    assert_eq!(
        store.get(&key(A, 0)).unwrap(),
        Some(Vec::new()),
        "an empty value is a value"
    );
    let mut batch = Batch::default();
    batch.put(key(A, 0), b"two".to_vec());
    batch.delete(key(A, 0));
    batch.put(key(A, 0), b"three".to_vec());
    batch.put(key(A, 1), b"four".to_vec());
    batch.delete(key(A, 1));
    store.commit(batch).unwrap();
    assert_eq!(store.get(&key(A, 0)).unwrap().unwrap(), b"three");
    assert_eq!(store.get(&key(A, 1)).unwrap(), None);
}

fn a_batch_is_applied_whole(store: &dyn Store) {
    const ROUNDS: u8 = 50;
    const ROWS: u64 = 20;
    let write = |round: u8| {
        let mut batch = Batch::default();
        (0..ROWS).for_each(|index| batch.put(key(A, index), vec![round]));
        store.commit(batch).unwrap();
    };
    write(0);
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| (1..=ROUNDS).for_each(write));
        // A scan sees one state: all rows of the same round.
        let mut seen = 0;
        while seen < ROUNDS {
            let rows = store.scan(1, &A, 0, usize::MAX).unwrap();
            assert_eq!(rows.len() as u64, ROWS);
            assert!(
                rows.iter().all(|(_, value)| *value == rows[0].1),
                "a scan saw half a batch"
            );
            assert!(rows[0].1[0] >= seen, "a scan went back");
            seen = rows[0].1[0];
        }
        writer.join().unwrap();
    });
}

fn scans_ascend_and_keep_to_their_bounds(store: &dyn Store) {
    for index in [300, 2, u64::MAX, 1, 255, 256] {
        put(store, key(A, index), &index.to_be_bytes());
    }
    put(store, key(B, 7), b"other owner");
    put(
        store,
        Key {
            family: 2,
            ..key(A, 7)
        },
        b"other family",
    );
    put(
        store,
        Key {
            family: 0,
            ..key(A, 7)
        },
        b"other family",
    );
    let indexes = |from, limit| -> Vec<u64> {
        let rows = store.scan(1, &A, from, limit).unwrap();
        assert!(rows.iter().all(|(index, value)| *value == index.to_be_bytes()));
        rows.into_iter().map(|(index, _)| index).collect()
    };
    assert_eq!(indexes(0, 100), [1, 2, 255, 256, 300, u64::MAX]);
    assert_eq!(indexes(2, 3), [2, 255, 256]);
    assert_eq!(indexes(3, 1), [255]);
    assert_eq!(indexes(301, 9), [u64::MAX]);
    assert_eq!(indexes(u64::MAX, 9), [u64::MAX]);
    assert_eq!(indexes(0, 0), [] as [u64; 0]);
    let edges = [[0; 16], [0xff; 16]];
    for owner in edges {
        put(
            store,
            Key {
                family: 255,
                owner,
                index: u64::MAX,
            },
            b"edge",
        );
        assert_eq!(
            store.scan(255, &owner, 0, 9).unwrap(),
            [(u64::MAX, b"edge".to_vec())]
        );
    }
}

fn family_scans_see_one_family_in_order_and_stop_on_error(store: &dyn Store) {
    let mut expected = BTreeSet::new();
    for family in [0, 1, 2, 255] {
        for owner in [B, A, [0; 16], [0xff; 16]] {
            for index in [9, 0, u64::MAX] {
                let key = Key { family, owner, index };
                put(store, key, &[family]);
                expected.insert(key);
            }
        }
    }
    for family in [0, 1, 2, 255] {
        let mut seen = Vec::new();
        store
            .scan_family(family, &mut |key, value| {
                assert_eq!(value, [family]);
                // The callback may use the store; the scan goes on over the state of the call.
                delete(store, key);
                seen.push(key);
                Ok(())
            })
            .unwrap();
        let expected: Vec<_> = expected
            .iter()
            .filter(|key| key.family == family)
            .copied()
            .collect();
        assert_eq!(seen, expected);
    }
    put(store, key(A, 1), b"");
    put(store, key(A, 2), b"");
    let mut calls = 0;
    let stopped = store.scan_family(1, &mut |_, _| {
        calls += 1;
        Err(StoreError::damaged("planted"))
    });
    assert!(matches!(stopped, Err(StoreError::Damaged { .. })));
    assert_eq!(calls, 1);
}

fn last_is_the_highest_index_of_the_owner(store: &dyn Store) {
    put(store, key(A, 3), b"three");
    put(store, key(A, 256), b"last");
    put(store, key(B, 9), b"other owner");
    assert_eq!(store.last(1, &A).unwrap(), Some((256, b"last".to_vec())));
    put(store, key(A, u64::MAX), b"edge");
    assert_eq!(store.last(1, &A).unwrap(), Some((u64::MAX, b"edge".to_vec())));
    assert_eq!(store.last(1, &[0xcc; 16]).unwrap(), None);
    assert_eq!(store.last(0, &A).unwrap(), None);
    assert_eq!(store.last(2, &A).unwrap(), None);
}

fn positions_increase_and_an_empty_batch_takes_none(store: &dyn Store) {
    assert_eq!(store.durable(), Durable::default());
    let first = put(store, key(A, 0), b"1");
    assert!(first > Durable::default());
    assert_eq!(store.durable(), first);
    assert_eq!(store.commit(Batch::default()).unwrap(), first);
    let second = put(store, key(A, 0), b"1");
    assert!(second > first);
    assert_eq!(store.durable(), second);
}

fn a_batch_over_the_limit_changes_nothing(store: &dyn Store) {
    let mut batch = Batch::default();
    batch.put(key(A, 0), b"small".to_vec());
    batch.put(key(A, 1), vec![0; MAX_BATCH_BYTES]);
    assert!(matches!(store.commit(batch), Err(StoreError::TooLarge { .. })));
    assert_eq!(store.get(&key(A, 0)).unwrap(), None);
    assert_eq!(store.durable(), Durable::default());
}

fn large_values_come_back_whole(store: &dyn Store) {
    let value: Vec<u8> = (0..4 << 20)
        .map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    put(store, key(A, 0), &value);
    assert!(store.get(&key(A, 0)).unwrap().unwrap() == value);
}

fn concurrent_commits_are_all_kept_and_get_distinct_positions(store: &dyn Store) {
    const THREADS: u8 = 8;
    const COMMITS: u64 = 25;
    let positions = Mutex::new(BTreeSet::new());
    std::thread::scope(|threads| {
        for thread in 0..THREADS {
            let positions = &positions;
            threads.spawn(move || {
                let mut before = Durable::default();
                for index in 0..COMMITS {
                    let position = put(store, key([thread; 16], index), &[thread]);
                    assert!(position > before, "a later commit has a higher position");
                    assert!(store.durable() >= position);
                    before = position;
                    positions.lock().unwrap().insert(position);
                }
            });
        }
    });
    assert_eq!(
        positions.lock().unwrap().len() as u64,
        u64::from(THREADS) * COMMITS
    );
    assert_eq!(positions.lock().unwrap().last(), Some(&store.durable()));
    for thread in 0..THREADS {
        let rows = store.scan(1, &[thread; 16], 0, usize::MAX).unwrap();
        assert_eq!(
            rows,
            (0..COMMITS)
                .map(|index| (index, vec![thread]))
                .collect::<Vec<_>>()
        );
    }
}
