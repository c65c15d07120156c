//! The port to the node's database, DESIGN §9: rows that are already opaque when they arrive here.
//!
//! What a row means, and its sealing at rest, is the business of the layers above ([`crate::vault`]).
//! [`MemoryStore`] is for tests, `RocksStore` (feature `rocksdb`) is the embedded default; one contract
//! suite (`contract.rs`) is run against every backend.

#[cfg(test)]
mod contract;
mod memory;
#[cfg(feature = "rocksdb")]
mod rocks;
#[cfg(feature = "rocksdb")]
mod wal;

pub use memory::MemoryStore;
#[cfg(feature = "rocksdb")]
pub use rocks::RocksStore;

use std::path::{Path, PathBuf};

/// Bytes of an encoded [`Key`].
pub const KEY_BYTES: usize = 25;

/// The most bytes one [`Batch`] may carry, keys included (64 MiB). What is larger belongs in blobs.
pub const MAX_BATCH_BYTES: usize = 64 << 20;

/// What an operator is told to do about damage. The one wording, so that it can be looked up.
pub(crate) const REPAIR: &str = "stop the node, then `basoche node restore` a backup; without one, `basoche node repair --from-peers` (deploy/OPERATIONS.md)";

/// The name of a row: a family (a kind of row), its owner (a keyed hash), and a position in the owner's list.
///
/// Keys order by family, then owner, then index, and so do their encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The kind of row.
    pub family: u8,
    /// Whose row it is: opaque to the store.
    pub owner: [u8; 16],
    /// The position among the owner's rows of this family.
    pub index: u64,
}

impl Key {
    /// The fixed encoding: family, owner, index in big-endian order, so that bytes sort as keys do.
    pub fn encode(&self) -> [u8; KEY_BYTES] {
        let mut bytes = [0; KEY_BYTES];
        bytes[0] = self.family;
        bytes[1..17].copy_from_slice(&self.owner);
        bytes[17..].copy_from_slice(&self.index.to_be_bytes());
        bytes
    }

    /// The key with this encoding; `None` for any other length.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (family, rest) = bytes.split_first()?;
        let (owner, index) = rest.split_first_chunk::<16>()?;
        Some(Self {
            family: *family,
            owner: *owner,
            index: u64::from_be_bytes(index.try_into().ok()?),
        })
    }
}

/// Changes that take effect together or not at all. Of several changes to one key the last one counts.
#[derive(Debug, Default)]
pub struct Batch {
    changes: Vec<(Key, Option<Vec<u8>>)>,
    bytes: usize,
}

impl Batch {
    /// Sets the row `key` to `value`, whether it exists or not.
    pub fn put(&mut self, key: Key, value: Vec<u8>) {
        self.bytes += KEY_BYTES + value.len();
        self.changes.push((key, Some(value)));
    }

    /// Removes the row `key`; an absent row stays absent.
    pub fn delete(&mut self, key: Key) {
        self.bytes += KEY_BYTES;
        self.changes.push((key, None));
    }

    /// Whether there is no change at all.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The size of all keys and values so far, to be held against [`MAX_BATCH_BYTES`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Refuses a batch over the limit; every backend asks this first.
    fn check(&self) -> Result<(), StoreError> {
        if self.bytes > MAX_BATCH_BYTES {
            return Err(StoreError::TooLarge { bytes: self.bytes });
        }
        Ok(())
    }
}

/// A position in the order of commits, all of which up to here are on stable storage.
///
/// Positions count from the opening of the store (zero: nothing committed yet) and do not outlive it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Durable(u64);

/// A table of rows with atomic, durable commits. The contract every backend keeps:
///
/// **Durable.** When [`commit`](Self::commit) returns `Ok`, its whole batch is on stable storage
/// (fdatasync), and so is every commit that returned before it. Nothing but `commit` makes anything durable.
/// A row may become *visible* to other threads before it is durable: sign, acknowledge and serve only what
/// lies at or below a [`Durable`] position handed out by `commit` or [`durable`](Self::durable).
///
/// **Atomic.** After a crash, a batch is found whole or not at all. A scan sees one state of the store,
/// that of its call.
///
/// **Order.** Scans go by ascending index, family scans by ascending [`Key`]. Positions are distinct and
/// increase; a commit that begins after another returned gets the higher one. An empty batch commits nothing
/// and returns the present position.
///
/// **Concurrent use.** Every method may be called from any number of threads; calls block until done.
/// Concurrent commits may share one sync, so that many committing threads are cheaper than one. They are
/// independent: their relative order is unspecified until they return.
///
/// **Repetition.** Writing the same rows again is harmless. Absence is `None` or an empty list, never an error.
///
/// **Errors.** [`StoreError::TooLarge`] changed nothing. After any other error of `commit` the batch is not
/// acknowledged, and only reopening tells whether it is there: the caller stops acknowledging and reopens,
/// and never retries on the same store (a failed sync must not be tried again). Reads never change anything.
pub trait Store: Send + Sync {
    /// The value of the row `key`.
    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError>;

    /// At most `limit` rows of one owner, from index `from` on, ascending.
    fn scan(
        &self,
        family: u8,
        owner: &[u8; 16],
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError>;

    /// Hands every row of a family to `each`, ascending, in constant memory; an error of `each` ends the scan.
    fn scan_family(
        &self,
        family: u8,
        each: &mut dyn FnMut(Key, Vec<u8>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// The row of an owner with the highest index.
    fn last(&self, family: u8, owner: &[u8; 16]) -> Result<Option<(u64, Vec<u8>)>, StoreError>;

    /// Applies the batch, makes it durable, and returns its position.
    fn commit(&self, batch: Batch) -> Result<Durable, StoreError>;

    /// The position up to which everything is durable.
    fn durable(&self) -> Durable;

    /// Destroys what the files of the store still hold of earlier values of the row `key`: all that was committed
    /// before the last commit of that row. Slow; what it promises ends with the file system, which may keep the
    /// blocks of deleted files until it needs them.
    fn scrub(&self, key: &Key) -> Result<(), StoreError>;

    /// Writes what is durable at one instant to the new directory `to`, as a store that can be opened there.
    ///
    /// # Errors
    /// [`StoreError::Io`] where a store has no such copies: a database's own tools make them.
    fn checkpoint(&self, to: &Path) -> Result<(), StoreError> {
        Err(StoreError::Io {
            what: format!("this store is not copied to {}: use its own tools", to.display()),
        })
    }
}

/// Why the store cannot do what was asked: always the environment's fault but for `TooLarge`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process, or another store in this one, has the database open.
    #[error("{} is in use: stop the other basoche process that runs on this data directory", path.display())]
    Busy {
        /// The database directory.
        path: PathBuf,
    },
    /// There is no database here.
    #[error("there is no database at {}: check the data directory and that its volume is mounted, or initialise the node", path.display())]
    Missing {
        /// The database directory.
        path: PathBuf,
    },
    /// A database is to be created where one exists.
    #[error("there is already a database at {}: open it, or choose an empty data directory", path.display())]
    Exists {
        /// The database directory.
        path: PathBuf,
    },
    /// The operating system forbids the access.
    #[error("no permission to use {}: give its ownership to the account that runs the node, and mount it writable", path.display())]
    Permission {
        /// The database directory.
        path: PathBuf,
    },
    /// The disk, or the account's quota, is full.
    #[error("the disk that holds {} is full: free some space, then restart the node", path.display())]
    Full {
        /// The database directory.
        path: PathBuf,
    },
    /// Stored bytes are not what was written.
    #[error("{what}: {action}")]
    Damaged {
        /// What is damaged, and where.
        what: String,
        /// What the operator is to do.
        action: String,
    },
    /// A batch over the limit: the caller's mistake, nothing was changed.
    #[error("a commit of {bytes} bytes exceeds the limit of {MAX_BATCH_BYTES}")]
    TooLarge {
        /// The size of the batch.
        bytes: usize,
    },
    /// Any other failure of the disk or the operating system. A failed sync is never retried.
    #[error("{what}: check the disk and the system log, then restart the node")]
    Io {
        /// What failed, in the words of the operating system or the database.
        what: String,
    },
}

impl StoreError {
    /// Damage whose remedy is a backup, or the repair command.
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged {
            what: what.into(),
            action: REPAIR.into(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_family_owner_and_big_endian_index() {
        let key = Key {
            family: 7,
            owner: [0xab; 16],
            index: 0x0102,
        };
        let mut expected = vec![7];
        expected.extend([0xab; 16]);
        expected.extend([0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(key.encode().to_vec(), expected);
        assert_eq!(Key::decode(&expected), Some(key));
        assert_eq!(Key::decode(&expected[..24]), None);
        assert_eq!(Key::decode(&[expected.clone(), vec![0]].concat()), None);
    }

    #[test]
    fn encoded_keys_sort_as_keys_do() {
        let mut keys = Vec::new();
        for family in [0, 1, 255] {
            for owner in [[0; 16], [1; 16], [255; 16]] {
                for index in [0, 255, 256, u64::MAX] {
                    keys.push(Key { family, owner, index });
                }
            }
        }
        assert!(keys.is_sorted());
        assert!(keys.iter().map(Key::encode).is_sorted());
    }

    #[test]
    fn a_batch_counts_keys_and_values() {
        let key = Key {
            family: 0,
            owner: [0; 16],
            index: 0,
        };
        let mut batch = Batch::default();
        assert!(batch.is_empty());
        batch.put(key, vec![0; 10]);
        batch.delete(key);
        assert!(!batch.is_empty());
        assert_eq!(batch.bytes(), 60);
    }
}
