//! The store of the tests: a sorted map. What is committed lives as long as the value does.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Batch, Durable, Key, Store, StoreError};

/// A [`Store`] in memory, for tests. Nothing is durable beyond the value itself; everything else of the
/// contract holds, and a failure of the next commit can be planted to see what the caller does.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<Key, Vec<u8>>,
    commits: u64,
    planted: Option<StoreError>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the next commit, and only that one, fail with `error` and change nothing.
    pub fn fail_next_commit(&self, error: StoreError) {
        self.state().planted = Some(error);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic of another thread leaves the map whole: every change is one call of the map.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn owned_by(family: u8, owner: &[u8; 16], from: u64) -> RangeInclusive<Key> {
    Key {
        family,
        owner: *owner,
        index: from,
    }..=Key {
        family,
        owner: *owner,
        index: u64::MAX,
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state().rows.get(key).cloned())
    }

    fn scan(
        &self,
        family: u8,
        owner: &[u8; 16],
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let state = self.state();
        let rows = state.rows.range(owned_by(family, owner, from)).take(limit);
        Ok(rows.map(|(key, value)| (key.index, value.clone())).collect())
    }

    fn scan_family(
        &self,
        family: u8,
        each: &mut dyn FnMut(Key, Vec<u8>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let all = *owned_by(family, &[0; 16], 0).start()..=*owned_by(family, &[0xff; 16], 0).end();
        // Copied, so that `each` may use the store and sees the state of the call.
        let rows: Vec<_> = self
            .state()
            .rows
            .range(all)
            .map(|(key, value)| (*key, value.clone()))
            .collect();
        rows.into_iter().try_for_each(|(key, value)| each(key, value))
    }

    fn last(&self, family: u8, owner: &[u8; 16]) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        let state = self.state();
        let last = state.rows.range(owned_by(family, owner, 0)).next_back();
        Ok(last.map(|(key, value)| (key.index, value.clone())))
    }

    fn commit(&self, batch: Batch) -> Result<Durable, StoreError> {
        batch.check()?;
        let mut state = self.state();
        if batch.is_empty() {
            return Ok(Durable(state.commits));
        }
        if let Some(error) = state.planted.take() {
            return Err(error);
        }
        for (key, value) in batch.changes {
            match value {
                Some(value) => state.rows.insert(key, value),
                None => state.rows.remove(&key),
            };
        }
        state.commits += 1;
        Ok(Durable(state.commits))
    }

    fn durable(&self) -> Durable {
        Durable(self.state().commits)
    }

    fn scrub(&self, _: &Key) -> Result<(), StoreError> {
        // There are no earlier values.
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn memory_keeps_the_contract() {
        super::super::contract::check(&|| Box::new(MemoryStore::new()));
    }

    #[test]
    fn a_planted_failure_hits_one_commit_and_changes_nothing() {
        let store = MemoryStore::new();
        let key = Key {
            family: 1,
            owner: [1; 16],
            index: 0,
        };
        let batch = || {
            let mut batch = Batch::default();
            batch.put(key, b"v".to_vec());
            batch
        };
        store.fail_next_commit(StoreError::Full { path: "/data".into() });
        assert!(matches!(store.commit(batch()), Err(StoreError::Full { .. })));
        assert_eq!(store.get(&key).unwrap(), None);
        assert_eq!(store.durable(), Durable::default());
        assert_eq!(store.commit(batch()).unwrap(), Durable(1));
        assert_eq!(store.get(&key).unwrap().unwrap(), b"v");
    }
}
