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

use crate::held::Lacking;

/// Bytes of a record: of a subject with all its keys and offices, of what stands together in a bucket.
const RECORD_BYTES: usize = 16 << 20;

/// Rows as they were when [`Registry::settle`](basoche_protocol::engine::Registry::settle) last said that they are durable, or
/// later. What cannot be read is absent: whoever implements this sees to it that nothing is concluded from that for good.
pub trait Shelf: fmt::Debug + Send + Sync {
    /// The value of a row.
    fn get(&self, kind: u8, key: &[u8], index: u64) -> Option<Vec<u8>>;

    /// Every value of rows of one kind, in any order. `take` asks nothing of the shelf, which may be locked.
    fn each(&self, kind: u8, take: &mut dyn FnMut(Vec<u8>));

    /// At most `limit` rows of one kind and key, from index `from` on, ascending.
    fn list(&self, kind: u8, key: &[u8], from: u64, limit: usize) -> Vec<(u64, Vec<u8>)>;

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

    fn list(&self, _: u8, _: &[u8], _: u64, _: usize) -> Vec<(u64, Vec<u8>)> {
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
    /// Of a log's state the items that stand together.
    pub(crate) const BUCKET: u8 = 10;
    /// Which entry of a log stated the root of its state last.
    pub(crate) const STATED: u8 = 11;
    /// Which leaves of a log are still to come that were there before a snapshot.
    pub(crate) const LACKING: u8 = 12;
    /// Under which other key than the anchors' a log goes on, by its number.
    pub(crate) const CONTINUATION: u8 = 13;
}

/// Every kind of row: what a store forgets before all leaves are judged anew.
pub const KINDS: std::ops::RangeInclusive<u8> = kind::BASIS..=kind::CONTINUATION;

/// Whether leaves of before a snapshot are still to come; `None` if nothing on the shelf began with one.
pub fn lacks_leaves(shelf: &dyn Shelf) -> Option<bool> {
    shelf.get(kind::BASIS, &[], 0)?;
    let mut lacks = None;
    shelf.each(kind::LACKING, &mut |bytes| {
        let open = decode::<Lacking>(&bytes).is_some_and(Lacking::is_open);
        lacks = Some(open || lacks == Some(true));
    });
    lacks
}

/// Records by their key.
#[derive(Clone, Debug)]
pub(crate) struct Table<K, V> {
    kind: u8,
    /// The log whose they are, where the key is a place in it.
    origin: Option<Arc<str>>,
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
            origin: None,
            changed: BTreeMap::new(),
            staged: BTreeMap::new(),
            shelved: shelf.map(|shelf| Shelved {
                shelf: Arc::clone(shelf),
                lately: lately(),
            }),
        }
    }

    /// The same of the rows of one log, whose keys are their places: a big-endian number.
    pub(crate) fn of_log(kind: u8, origin: &Arc<str>, shelf: Option<&Arc<dyn Shelf>>, kept: usize) -> Self {
        Self {
            origin: Some(Arc::clone(origin)),
            ..Self::new(kind, shelf, kept)
        }
    }

    /// Key and index of the row.
    fn place<'a>(&'a self, key: &'a K) -> (&'a [u8], u64) {
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        match &self.origin {
            Some(origin) => (origin.as_bytes(), number(key.as_ref())),
            None => (key.as_ref(), 0),
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let in_memory = self.changed.get(key).or_else(|| self.staged.get(key));
        if let Some(value) = in_memory {
            return Some(value.clone());
        }
        let Shelved { shelf, lately } = self.shelved.as_ref()?;
        // What is put there meanwhile, by `settle`, is not replaced by the older value that was read.
        let read = || {
            let (owner, index) = self.place(key);
            decode(&shelf.get(self.kind, owner, index)?)
        };
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
        rows.extend(changed.iter().map(|(key, value)| {
            let (owner, index) = self.place(key);
            row(self.kind, owner, index, value)
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

impl<V: Clone + Serialize + DeserializeOwned> Table<[u8; 2], V> {
    /// Every value of a log, each once; so many at once are read from the shelf.
    pub(crate) fn each_of_log(&self, at_once: usize, mut take: impl FnMut([u8; 2], &V)) {
        if let (Some(Shelved { shelf, .. }), Some(origin)) = (&self.shelved, &self.origin) {
            let mut next = Some(0);
            while let Some(from) = next {
                let rows = shelf.list(self.kind, origin.as_bytes(), from, at_once);
                next = rows.last().map(|(last, _)| last + 1);
                for (index, bytes) in rows {
                    let key = u16::try_from(index).unwrap_or(u16::MAX).to_be_bytes();
                    let in_memory = self.changed.contains_key(&key) || self.staged.contains_key(&key);
                    let value = decode(&bytes).filter(|_| !in_memory);
                    value.iter().for_each(|value| take(key, value));
                }
            }
        }
        let staged = self.staged.iter();
        let staged = staged.filter(|(key, _)| !self.changed.contains_key(*key));
        staged
            .chain(&self.changed)
            .for_each(|(key, value)| take(*key, value));
    }
}

pub(crate) fn row(kind: u8, key: &[u8], index: u64, value: &impl Serialize) -> RegistryRow {
    RegistryRow {
        kind,
        key: key.to_vec(),
        index,
        value: codec::encode(value),
    }
}

/// Reads a record back; `None` if it is none.
pub(crate) fn decode<V: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<V> {
    codec::decode(bytes, RECORD_BYTES).ok()
}
