//! Where a replica keeps what does not stay in memory: the port, and the records that go through it.
//!
//! ```text
//! admit ──▶ changed ──poll_rows──▶ staged ──settle (they are durable)──▶ read lately ◀── Shelf::get
//! ```
//! A look-up goes from left to right, so that it sees every entry that was admitted, durable or not. What is not on the
//! shelf is in memory, and what is in memory has a bound once it is durable. A replica without a shelf keeps all.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use basoche_protocol::engine::RegistryRow;
use basoche_protocol::wire::codec;
use basoche_protocol::wire::frame::RegistryLeaf;
use quick_cache::sync::Cache;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of a record: of a subject with all its keys and offices.
const RECORD_BYTES: usize = 1 << 20;

/// Rows as they were when [`Registry::settle`](basoche_protocol::engine::Registry::settle) last said that they are durable, or
/// later. What cannot be read is absent: whoever implements this sees to it that nothing is concluded from that for good.
pub trait Shelf: fmt::Debug + Send + Sync {
    /// The value of a row.
    fn get(&self, kind: u8, key: &[u8], index: u64) -> Option<Vec<u8>>;

    /// Every value of rows of one kind, in any order. `take` asks nothing of the shelf, which may be locked.
    fn each(&self, kind: u8, take: &mut dyn FnMut(Vec<u8>));

    /// The values of the rows of one kind and key, ascending by index.
    fn list(&self, kind: u8, key: &[u8]) -> Vec<Vec<u8>>;

    /// One leaf of a log.
    fn leaf(&self, origin: &str, index: u64) -> Option<RegistryLeaf>;

    /// How many leaves of a log there are.
    fn size(&self, origin: &str) -> u64;
}

/// A shelf that nothing is ever put on.
#[derive(Clone, Copy, Debug)]
pub struct Bare;

impl Shelf for Bare {
    fn get(&self, _: u8, _: &[u8], _: u64) -> Option<Vec<u8>> {
        None
    }

    fn each(&self, _: u8, _: &mut dyn FnMut(Vec<u8>)) {}

    fn list(&self, _: u8, _: &[u8]) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn leaf(&self, _: &str, _: u64) -> Option<RegistryLeaf> {
        None
    }

    fn size(&self, _: &str) -> u64 {
        0
    }
}

/// The kinds of row. The numbers are those of the store.
pub(crate) mod kind {
    /// Of what the others were made: the anchors and the form of the records.
    pub(crate) const BASIS: u8 = 0;
    pub(crate) const SUBJECT: u8 = 1;
    /// Whose a certificate is.
    pub(crate) const CERTIFICATE: u8 = 2;
    /// Whose a key is.
    pub(crate) const KEY: u8 = 3;
    /// A certificate authority.
    pub(crate) const ISSUER: u8 = 4;
    /// The id of a node.
    pub(crate) const NODE: u8 = 5;
    /// What a publication added.
    pub(crate) const STEP: u8 = 6;
    /// The leaves of a complete tile.
    pub(crate) const TILE: u8 = 7;
    /// The root of a complete tile.
    pub(crate) const TILE_ROOT: u8 = 8;
    /// Another policy than the anchors', by its number.
    pub(crate) const POLICY: u8 = 9;
}

/// Every kind of row: what a store forgets before all leaves are judged anew.
pub const KINDS: std::ops::RangeInclusive<u8> = kind::BASIS..=kind::POLICY;

/// Records by their key.
#[derive(Clone, Debug)]
pub(crate) struct Table<K, V> {
    kind: u8,
    changed: BTreeMap<K, V>,
    staged: BTreeMap<K, V>,
    shelved: Option<Shelved<K, V>>,
}

/// What is on the shelf, and what of it was read lately.
#[derive(Clone, Debug)]
struct Shelved<K, V> {
    shelf: Arc<dyn Shelf>,
    lately: Arc<Lately<K, V>>,
}

/// What was read lately, so many at most.
struct Lately<K, V>(Cache<K, V>);

impl<K, V> fmt::Debug for Lately<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lately")
    }
}

impl<K, V> Table<K, V>
where
    K: AsRef<[u8]> + Copy + Ord + Hash,
    V: Clone + Serialize + DeserializeOwned,
{
    /// In memory; of those on a shelf, `kept` that were read lately.
    pub(crate) fn new(kind: u8, shelf: Option<&Arc<dyn Shelf>>, kept: usize) -> Self {
        let lately = || Arc::new(Lately(Cache::new(kept)));
        Self {
            kind,
            changed: BTreeMap::new(),
            staged: BTreeMap::new(),
            shelved: shelf.map(|shelf| Shelved {
                shelf: Arc::clone(shelf),
                lately: lately(),
            }),
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let in_memory = self.changed.get(key).or_else(|| self.staged.get(key));
        if let Some(value) = in_memory {
            return Some(value.clone());
        }
        let Shelved { shelf, lately } = self.shelved.as_ref()?;
        // What is put there meanwhile, by `settle`, is not replaced by the older value that was read.
        let read = || decode(&shelf.get(self.kind, key.as_ref(), 0)?);
        lately.0.get_or_insert_with(key, || read().ok_or(())).ok()
    }

    pub(crate) fn put(&mut self, key: K, value: V) {
        self.changed.insert(key, value);
    }

    /// Every value, each once; `key` gives that of a value.
    pub(crate) fn each(&self, key: impl Fn(&V) -> K, mut take: impl FnMut(V)) {
        let in_memory = |key: &K| self.changed.contains_key(key) || self.staged.contains_key(key);
        if let Some(Shelved { shelf, .. }) = &self.shelved {
            shelf.each(self.kind, &mut |bytes| {
                let value = decode(&bytes).filter(|value| !in_memory(&key(value)));
                value.into_iter().for_each(&mut take);
            });
        }
        let staged = self.staged.iter();
        let staged = staged.filter(|(key, _)| !self.changed.contains_key(key));
        let values = staged.chain(&self.changed).map(|(_, value)| value.clone());
        values.for_each(take);
    }

    /// The rows of what has changed since the last time; none without a shelf.
    pub(crate) fn poll_rows(&mut self, rows: &mut Vec<RegistryRow>) {
        if self.shelved.is_none() {
            return;
        }
        let changed = std::mem::take(&mut self.changed);
        rows.extend(changed.iter().map(|(key, value)| RegistryRow {
            kind: self.kind,
            key: key.as_ref().to_vec(),
            index: 0,
            value: codec::encode(value),
        }));
        self.staged.extend(changed);
    }

    /// The rows of the last time are durable.
    pub(crate) fn settle(&mut self) {
        if let Some(Shelved { lately, .. }) = &self.shelved {
            for (key, value) in std::mem::take(&mut self.staged) {
                lately.0.insert(key, value);
            }
        }
    }
}

/// Reads a record back; `None` if it is none.
pub(crate) fn decode<V: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<V> {
    codec::decode(bytes, RECORD_BYTES).ok()
}
