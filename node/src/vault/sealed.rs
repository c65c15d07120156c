//! Rows sealed at rest: the typed layer between the node and its [`Store`].

use std::sync::Arc;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::{Label, SEAL_BYTES, StorageKey, open_sealed, seal};
use crate::store::{Batch, Durable, Key, Store, StoreError};

/// A [`Store`] whose rows are opaque to whoever holds the disk. The contract of [`Store`] holds unchanged.
///
/// Owners are keyed hashes. A value is AES-256-GCM under a key of its own row, derived from the storage key
/// and the row's [`Key`], with a random nonce: the bound of 2^32 random nonces (NIST SP 800-38D §8.3) is then
/// one per row and never reached. The row's key is also the associated data. A value that was changed, or
/// moved to another row, is [`StoreError::Damaged`]; an older value of the same row is not detected here.
#[derive(Clone)]
pub struct SealedStore {
    store: Arc<dyn Store>,
    names: hmac::Key,
    values: hmac::Key,
}

impl SealedStore {
    /// The rows of `store` under `key`.
    pub fn new(store: Arc<dyn Store>, key: StorageKey) -> Self {
        let hmac_key = |label| hmac::Key::new(hmac::HMAC_SHA256, key.derive(label).as_ref());
        Self {
            store,
            names: hmac_key(Label::RowNames),
            values: hmac_key(Label::RowValue),
        }
    }

    /// The store below, to damage it.
    #[cfg(test)]
    pub(crate) fn raw(&self) -> &dyn Store {
        &*self.store
    }

    /// The owner that `parts` name: the first 16 bytes of a keyed hash of the family and of each part with its length.
    pub fn owner(&self, family: u8, parts: &[&[u8]]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.names);
        context.update(&[family]);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut owner = [0; 16];
        owner.copy_from_slice(&context.sign().as_ref()[..16]);
        owner
    }

    /// Adds to `batch` the row with this value, sealed.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the random source fails; the batch is then unchanged.
    pub fn put(
        &self,
        batch: &mut Batch,
        family: u8,
        owner: [u8; 16],
        index: u64,
        plaintext: &[u8],
    ) -> Result<(), StoreError> {
        let key = Key { family, owner, index };
        let sealed = seal(&self.row_key(&key), &key.encode(), plaintext);
        let sealed = sealed.ok_or_else(|| StoreError::Io {
            what: "sealing a row failed".into(),
        })?;
        batch.put(key, sealed);
        Ok(())
    }

    /// Adds to `batch` the removal of a row.
    pub fn delete(&self, batch: &mut Batch, family: u8, owner: [u8; 16], index: u64) {
        batch.delete(Key { family, owner, index });
    }

    /// The value of a row.
    pub fn get(&self, family: u8, owner: &[u8; 16], index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let key = Key {
            family,
            owner: *owner,
            index,
        };
        self.store
            .get(&key)?
            .map(|sealed| self.open(&key, sealed))
            .transpose()
    }

    /// As [`Store::scan`].
    pub fn scan(
        &self,
        family: u8,
        owner: &[u8; 16],
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let rows = self.store.scan(family, owner, from, limit)?.into_iter();
        rows.map(|(index, sealed)| {
            Ok((
                index,
                self.open(
                    &Key {
                        family,
                        owner: *owner,
                        index,
                    },
                    sealed,
                )?,
            ))
        })
        .collect()
    }

    /// As [`Store::scan_family`].
    pub fn scan_family(
        &self,
        family: u8,
        each: &mut dyn FnMut(Key, Vec<u8>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.store
            .scan_family(family, &mut |key, sealed| each(key, self.open(&key, sealed)?))
    }

    /// As [`Store::last`].
    pub fn last(&self, family: u8, owner: &[u8; 16]) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        let Some((index, sealed)) = self.store.last(family, owner)? else {
            return Ok(None);
        };
        Ok(Some((
            index,
            self.open(
                &Key {
                    family,
                    owner: *owner,
                    index,
                },
                sealed,
            )?,
        )))
    }

    /// As [`Store::commit`].
    pub fn commit(&self, batch: Batch) -> Result<Durable, StoreError> {
        self.store.commit(batch)
    }

    /// As [`Store::scrub`].
    pub fn scrub(&self, family: u8, owner: &[u8; 16], index: u64) -> Result<(), StoreError> {
        let owner = *owner;
        self.store.scrub(&Key { family, owner, index })
    }

    /// As [`Store::durable`].
    pub fn durable(&self) -> Durable {
        self.store.durable()
    }

    fn open(&self, key: &Key, sealed: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let bytes = sealed.len();
        open_sealed(&self.row_key(key), &key.encode(), sealed).ok_or_else(|| {
            let Key { family, index, .. } = key;
            let short = if bytes < SEAL_BYTES { ", too short" } else { "" };
            StoreError::damaged(format!(
                "row {index} of family {family} ({bytes} bytes{short}) does not open under the storage key"
            ))
        })
    }

    fn row_key(&self, key: &Key) -> Zeroizing<[u8; 32]> {
        let mut row_key = Zeroizing::new([0; 32]);
        row_key.copy_from_slice(hmac::sign(&self.values, &key.encode()).as_ref());
        row_key
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn sealed_store() -> (Arc<MemoryStore>, SealedStore) {
        let store = Arc::new(MemoryStore::new());
        (
            store.clone(),
            SealedStore::new(store, StorageKey::from_bytes([3; 32])),
        )
    }

    fn put(store: &SealedStore, owner: [u8; 16], index: u64, value: &[u8]) {
        let mut batch = Batch::default();
        store.put(&mut batch, 1, owner, index, value).unwrap();
        store.commit(batch).unwrap();
    }

    #[test]
    fn what_is_put_comes_back_and_is_not_on_disk() {
        let (raw, store) = sealed_store();
        let owner = store.owner(1, &[b"dossier"]);
        put(&store, owner, 1, b"first words");
        put(&store, owner, 2, b"");
        assert_eq!(store.get(1, &owner, 1).unwrap().unwrap(), b"first words");
        assert_eq!(store.get(1, &owner, 3).unwrap(), None);
        let rows = [(1, b"first words".to_vec()), (2, Vec::new())];
        assert_eq!(store.scan(1, &owner, 0, 9).unwrap(), rows);
        assert_eq!(store.last(1, &owner).unwrap(), Some(rows[1].clone()));
        let mut seen = Vec::new();
        store
            .scan_family(1, &mut |key, value| {
                seen.push((key.index, value));
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, rows);
        let on_disk = raw
            .get(&Key {
                family: 1,
                owner,
                index: 1,
            })
            .unwrap()
            .unwrap();
        assert_eq!(on_disk.len(), 11 + SEAL_BYTES);
        assert!(!on_disk.windows(5).any(|window| window == b"words"));
        let mut batch = Batch::default();
        store.delete(&mut batch, 1, owner, 1);
        assert_eq!(store.commit(batch).unwrap(), store.durable());
        assert_eq!(store.get(1, &owner, 1).unwrap(), None);
    }

    #[test]
    fn a_changed_or_moved_value_is_damage() {
        let (raw, store) = sealed_store();
        let owner = store.owner(1, &[b"dossier"]);
        put(&store, owner, 1, b"value");
        let key = Key {
            family: 1,
            owner,
            index: 1,
        };
        let good = raw.get(&key).unwrap().unwrap();
        let replace = |key: Key, value: Vec<u8>| {
            let mut batch = Batch::default();
            batch.put(key, value);
            raw.commit(batch).unwrap();
        };
        let damaged = |key: Key| {
            let error = store.get(key.family, &key.owner, key.index).unwrap_err();
            assert!(error.to_string().contains("OPERATIONS.md"), "{error}");
            assert!(matches!(error, StoreError::Damaged { .. }));
        };
        for other in [
            Key { index: 2, ..key },
            Key { family: 2, ..key },
            Key {
                owner: store.owner(1, &[b"other"]),
                ..key
            },
        ] {
            replace(other, good.clone());
            damaged(other);
        }
        for offset in 0..good.len() {
            let mut changed = good.clone();
            changed[offset] ^= 0x80;
            replace(key, changed);
            damaged(key);
        }
        replace(key, good[..SEAL_BYTES - 1].to_vec());
        damaged(key);
        assert!(matches!(
            store.scan(1, &owner, 0, 9),
            Err(StoreError::Damaged { .. })
        ));
        assert!(matches!(store.last(1, &owner), Err(StoreError::Damaged { .. })));
        assert!(matches!(
            store.scan_family(1, &mut |_, _| Ok(())),
            Err(StoreError::Damaged { .. })
        ));
    }

    #[test]
    fn owners_depend_on_key_family_and_the_division_into_parts() {
        let (raw, store) = sealed_store();
        let other_key = SealedStore::new(raw, StorageKey::from_bytes([4; 32]));
        let owners = [
            store.owner(1, &[b"ab", b"c"]),
            store.owner(1, &[b"a", b"bc"]),
            store.owner(1, &[b"abc"]),
            store.owner(1, &[b"abc", b""]),
            store.owner(1, &[]),
            store.owner(2, &[b"abc"]),
            other_key.owner(1, &[b"abc"]),
        ];
        for (i, owner) in owners.iter().enumerate() {
            assert!(!owners[..i].contains(owner), "{i}");
        }
        assert_eq!(store.owner(1, &[b"abc"]), owners[2]);
    }
}
