//! The state of a log: all that its entries have come to, as a tree whose root the log states and every replica computes
//! itself. SPEC §9.7, REG-28, REG-29.
//!
//! ```text
//! what is stored of a subject, a certificate authority, a publication, a policy   = an item
//! the items whose SHA-256 begins with the same two bytes                          = a bucket
//! 65 536 buckets, empty ones too, as the leaves of one tree (RFC 9162)            = the root
//! ```
//! Beside each bucket stands what its items were when the root was last stated, as far as they are others since: so a
//! replica that goes on can still give a snapshot of then.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use basoche_protocol::crypto::sha256;
use basoche_protocol::engine::RegistryRow;
use basoche_protocol::id::Digest;
use basoche_protocol::tree::{Hash, leaf_hash, root_of};
use basoche_protocol::wire::codec;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::shelf::{Shelf, Table, kind, row};

/// Leaves of the tree.
pub const BUCKETS: u64 = 1 << 16;
/// Items of a bucket: some 150 are in one of a log of ten million subjects, whose ids are random. REG-28.
pub const BUCKET_ITEMS: usize = 4096;

/// Hashes that are kept and summed up together.
const PAGE: usize = 256;
/// Buckets that were read lately and stay in memory: 1 to 10 KB each.
const BUCKETS_KEPT: usize = 1024;
/// Buckets that are read from the shelf at once.
const READ_AT_ONCE: usize = 1024;

/// Which bucket, in two bytes, the higher first.
pub(crate) type Place = [u8; 2];

/// Something of which the state is made: the SHA-256 of a stored record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) kind: u8,
    pub(crate) key: ByteBuf,
    pub(crate) record: Digest,
}

/// What an item was when the root was last stated: its record, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Before {
    kind: u8,
    key: ByteBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<ByteBuf>,
}

/// Items that stand together, and what they were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bucket {
    /// Ascending by kind and key.
    items: Vec<Item>,
    /// As of which statement of the root `before` is, by its index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    as_of: Option<u64>,
    before: Vec<Before>,
}

/// The state of one log.
#[derive(Clone, Debug)]
pub(crate) struct State {
    origin: Arc<str>,
    buckets: Table<Place, Arc<Bucket>>,
    /// Index of the entry that stated the root last.
    stated: Option<u64>,
    /// The hashes of all buckets, once somebody has asked for the root.
    pages: OnceLock<Pages>,
}

/// The hashes of all buckets, [`PAGE`] by [`PAGE`]; a page of empty buckets alone is left out.
#[derive(Clone, Debug)]
struct Pages(Vec<Option<Page>>);

#[derive(Clone, Debug)]
struct Page {
    hashes: Arc<[Hash; PAGE]>,
    root: OnceLock<Hash>,
}

/// The bucket of an item.
pub(crate) fn place_of(kind: u8, key: &[u8]) -> Place {
    let [high, low, ..] = sha256(&[&[kind], key]);
    [high, low]
}

/// The root over buckets with these leaf hashes, and empty ones.
pub(crate) fn root_over(hashes: impl IntoIterator<Item = (u16, Hash)>) -> Hash {
    let mut pages = Pages::default();
    for (number, hash) in hashes {
        pages.set(number.to_be_bytes(), hash);
    }
    pages.root()
}

/// The leaf hash of a bucket with these items.
fn hash_of(items: &[Item]) -> Hash {
    leaf_hash(&codec::encode(&items))
}

impl Bucket {
    /// These items, and nothing of before.
    pub(crate) fn of(items: Vec<Item>) -> Self {
        Self {
            items,
            ..Self::default()
        }
    }

    /// Its leaf hash.
    pub(crate) fn hash(&self) -> Hash {
        hash_of(&self.items)
    }

    /// The items as of entry `stated`, with the records of those that are others since.
    fn as_of(&self, stated: Option<u64>) -> Vec<(Item, Option<ByteBuf>)> {
        let before = self.before.iter().filter(|_| self.as_of == stated);
        let before: BTreeMap<_, _> = before
            .map(|before| ((before.kind, before.key.as_slice()), &before.record))
            .collect();
        let items = self.items.iter().filter_map(|item| {
            let record = match before.get(&(item.kind, item.key.as_slice())) {
                None => return Some((item.clone(), None)),
                Some(record) => record.as_ref()?,
            };
            let item = Item {
                record: Digest::of(&[record]),
                ..item.clone()
            };
            Some((item, Some(record.clone())))
        });
        items.collect()
    }

    fn find(&self, kind: u8, key: &[u8]) -> Result<usize, usize> {
        let by = |item: &Item| (item.kind, item.key.as_slice()).cmp(&(kind, key));
        self.items.binary_search_by(by)
    }

    /// Remembers what the item is, unless that was done since `stated`.
    fn remember(&mut self, stated: u64, kind: u8, key: &[u8], record: impl FnOnce() -> Option<Vec<u8>>) {
        if self.as_of != Some(stated) {
            (self.as_of, self.before) = (Some(stated), Vec::new());
        }
        let known = |before: &Before| (before.kind, before.key.as_slice()) == (kind, key);
        if !self.before.iter().any(known) {
            self.before.push(Before {
                kind,
                key: ByteBuf::from(key),
                record: record().map(ByteBuf::from),
            });
        }
    }

    fn set(&mut self, kind: u8, key: &[u8], record: Digest) {
        match self.find(kind, key) {
            Ok(at) => self.items[at].record = record,
            Err(at) => {
                let key = ByteBuf::from(key);
                self.items.insert(at, Item { kind, key, record });
            }
        }
    }
}

impl State {
    /// That of an empty log; with a shelf, that of what stands there.
    pub(crate) fn new(origin: &Arc<str>, shelf: Option<&Arc<dyn Shelf>>) -> Self {
        let stated = shelf.and_then(|shelf| shelf.get(kind::STATED, origin.as_bytes(), 0));
        Self {
            origin: Arc::clone(origin),
            buckets: Table::of_log(kind::BUCKET, origin, shelf, BUCKETS_KEPT),
            stated: stated.and_then(|bytes| crate::shelf::decode(&bytes)),
            pages: OnceLock::new(),
        }
    }

    /// The root was stated by entry `index`.
    pub(crate) fn stated(&mut self, index: u64) -> RegistryRow {
        self.stated = Some(index);
        row(kind::STATED, self.origin.as_bytes(), 0, &index)
    }

    /// The record under `key` is `now`; `before` gives what it was.
    pub(crate) fn put(&mut self, kind: u8, key: &[u8], before: impl FnOnce() -> Option<Vec<u8>>, now: &[u8]) {
        let place = place_of(kind, key);
        let mut bucket = self.buckets.get(&place).unwrap_or_default();
        let changed = Arc::make_mut(&mut bucket);
        if let Some(stated) = self.stated {
            changed.remember(stated, kind, key, before);
        }
        changed.set(kind, key, Digest::of(&[now]));
        if let Some(pages) = self.pages.get_mut() {
            pages.set(place, changed.hash());
        }
        self.buckets.put(place, bucket);
    }

    /// Whether the bucket has room for the item, if it is another one.
    pub(crate) fn has_room(&self, kind: u8, key: &[u8]) -> bool {
        let bucket = self.buckets.get(&place_of(kind, key));
        bucket.is_none_or(|bucket| bucket.items.len() < BUCKET_ITEMS || bucket.find(kind, key).is_ok())
    }

    /// The root over all buckets. The first time since the start it reads them all.
    pub(crate) fn root(&self) -> Digest {
        let pages = self.pages.get_or_init(|| {
            let mut pages = Pages::default();
            let each = |place: Place, bucket: &Arc<Bucket>| pages.set(place, bucket.hash());
            self.buckets.each_of_log(READ_AT_ONCE, each);
            pages
        });
        Digest::new(pages.root())
    }

    /// Index of the entry that stated the root last.
    pub(crate) const fn stated_at(&self) -> Option<u64> {
        self.stated
    }

    /// The items of a bucket when the root was last stated, with the records of those that are others since.
    pub(crate) fn as_stated(&self, place: Place) -> Vec<(Item, Option<ByteBuf>)> {
        let bucket = self.buckets.get(&place);
        bucket.map_or_else(Vec::new, |bucket| bucket.as_of(self.stated))
    }

    /// The leaf hashes of the buckets that were not empty when the root was last stated, ascending.
    pub(crate) fn hashes_as_stated(&self) -> Vec<(u16, Hash)> {
        let mut hashes = BTreeMap::new();
        self.buckets.each_of_log(READ_AT_ONCE, |place, bucket| {
            let items = bucket.as_of(self.stated).into_iter().map(|(item, _)| item);
            let items: Vec<_> = items.collect();
            if !items.is_empty() {
                hashes.insert(u16::from_be_bytes(place), hash_of(&items));
            }
        });
        hashes.into_iter().collect()
    }

    pub(crate) fn poll_rows(&mut self, rows: &mut Vec<RegistryRow>) {
        self.buckets.poll_rows(rows);
    }

    pub(crate) fn settle(&mut self) {
        self.buckets.settle();
    }
}

impl Default for Pages {
    fn default() -> Self {
        Self(vec![None; BUCKETS as usize / PAGE])
    }
}

impl Pages {
    fn set(&mut self, place: Place, hash: Hash) {
        let number = usize::from(u16::from_be_bytes(place));
        let page = self.0[number / PAGE].get_or_insert_with(|| Page {
            hashes: Arc::new([hash_of(&[]); PAGE]),
            root: OnceLock::new(),
        });
        Arc::make_mut(&mut page.hashes)[number % PAGE] = hash;
        page.root = OnceLock::new();
    }

    fn root(&self) -> Hash {
        let empty = root_of(&[hash_of(&[]); PAGE]);
        let roots = self.0.iter().map(|page| match page {
            Some(page) => *page.root.get_or_init(|| root_of(&*page.hashes)),
            None => empty,
        });
        root_of(&roots.collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use basoche_protocol::error::Error;
    use basoche_protocol::id::SubjectId;
    use basoche_protocol::refusal::Code;

    use super::*;
    use crate::inadmissible::Inadmissible;

    #[test]
    fn a_bucket_takes_so_many_items_and_no_more() {
        let mut state = State::new(&"a.example".into(), None);
        let (known, new) = ([1; 16], [2; 16]);
        let item = |number: usize| Item {
            kind: kind::SUBJECT,
            key: match number {
                0 => ByteBuf::from(known),
                number => ByteBuf::from((number as u64).to_be_bytes()),
            },
            record: Digest::new([0; 32]),
        };
        for (count, room) in [(BUCKET_ITEMS - 1, true), (BUCKET_ITEMS, false)] {
            for key in [known, new] {
                let mut items: Vec<_> = (0..count).map(item).collect();
                items.sort_by(|one, other| one.key.cmp(&other.key));
                let place = place_of(kind::SUBJECT, &key);
                state.buckets.put(place, Arc::new(Bucket::of(items)));
            }
            // Who stands there stays, whatever more is said of it.
            assert!(state.has_room(kind::SUBJECT, &known));
            assert_eq!(state.has_room(kind::SUBJECT, &new), room);
        }
        let subject = SubjectId::new(new);
        assert_eq!(
            Error::from(Inadmissible::Crowded { subject }).code(),
            Code::BadValue
        );
    }
}
