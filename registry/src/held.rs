//! One authority's log, as far as a replica holds it: its tree, and its leaves until they are on the shelf.

use std::collections::VecDeque;
use std::sync::Arc;

use basoche_protocol::engine::RegistryRow;
use basoche_protocol::id::Digest;
use basoche_protocol::time::Instant;
use basoche_protocol::tree::{Hash, TILE_LEAVES, Tiles, Tree};
use basoche_protocol::wire::frame::RegistryLeaf;
use serde::{Deserialize, Serialize};

use crate::anchor::Authority;
use crate::entry::Entry;
use crate::leaf;
use crate::shelf::{Shelf, decode, kind, row};

/// Bytes that a leaf and its certificate take on the wire beyond their own, at most: a map, two keys, two heads.
const LEAF_OVERHEAD_BYTES: usize = 9;

/// One authority's log.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) authority: Authority,
    pub(crate) tree: Tree,
    /// When the last entry was issued.
    pub(crate) issued_at: Option<Instant>,
    /// The leaves that are in memory: the last ones; all, without a shelf.
    leaves: VecDeque<RegistryLeaf>,
    /// How many leaves there were when rows were last asked for, and complete tiles.
    staged: (u64, u64),
    shelf: Option<Arc<Tray>>,
    /// Leaves before a snapshot that are still to come, now and when rows were last asked for.
    lacking: Option<Lacking>,
    lacked: Option<Lacking>,
}

/// Of the first `until` leaves those from `next` on are still to come; some of them may be there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lacking {
    next: u64,
    until: u64,
}

impl Lacking {
    /// All before `until`.
    pub(crate) const fn before(until: u64) -> Self {
        Self { next: 0, until }
    }

    pub(crate) const fn is_open(self) -> bool {
        self.next < self.until
    }

    pub(crate) fn row(&self, origin: &str) -> RegistryRow {
        row(kind::LACKING, origin.as_bytes(), 0, self)
    }
}

/// The part of a shelf that is one log's.
#[derive(Debug)]
struct Tray {
    shelf: Arc<dyn Shelf>,
    origin: Arc<str>,
}

impl Tiles for Tray {
    fn tile(&self, index: u64) -> Option<Vec<Hash>> {
        let bytes = self.shelf.get(kind::TILE, self.origin.as_bytes(), index)?;
        let (hashes, rest) = bytes.as_chunks();
        (rest.is_empty() && hashes.len() as u64 == TILE_LEAVES).then(|| hashes.to_vec())
    }
}

impl Log {
    /// The empty log of `authority`, whose leaves will be on the shelf, if there is one.
    pub(crate) fn new(authority: &Authority, shelf: Option<&Arc<dyn Shelf>>) -> Self {
        let tray = |shelf: &Arc<dyn Shelf>| Tray {
            shelf: Arc::clone(shelf),
            origin: authority.shared_origin(),
        };
        Self {
            authority: authority.clone(),
            tree: Tree::new(),
            issued_at: None,
            leaves: VecDeque::new(),
            staged: (0, 0),
            shelf: shelf.map(tray).map(Arc::new),
            lacking: None,
            lacked: None,
        }
    }

    /// The log as it is on the shelf; `None` if that does not hold together.
    pub(crate) fn open(authority: &Authority, shelf: &Arc<dyn Shelf>) -> Option<Self> {
        let origin = authority.origin();
        let mut log = Self::new(authority, Some(shelf));
        let (size, tray) = (shelf.size(origin), log.shelf.clone()?);
        let roots = shelf
            .list(kind::TILE_ROOT, origin.as_bytes(), 0, usize::MAX)
            .into_iter();
        let roots: Option<Vec<Hash>> = roots.map(|(_, root)| root.try_into().ok()).collect();
        let roots = roots.filter(|roots| roots.len() as u64 == size / TILE_LEAVES)?;
        log.staged = (size, roots.len() as u64);
        log.tree = Tree::of_tiles(roots, tray);
        for index in log.tree.size()..size {
            let leaf = shelf.leaf(origin, index)?;
            log.tree.push(*leaf::hash(&leaf.leaf).as_bytes());
        }
        if let Some(last) = size.checked_sub(1) {
            log.issued_at = Some(log.entry(last)?.issued_at);
        }
        let lacking = shelf.get(kind::LACKING, origin.as_bytes(), 0);
        log.lacking = lacking.and_then(|bytes| decode(&bytes));
        log.lacked = log.lacking;
        log.pass_what_is_there();
        Some(log)
    }

    pub(crate) fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The next leaf before a snapshot that is still to come, if one is.
    pub(crate) fn lacks(&self) -> Option<u64> {
        let lacking = self.lacking.filter(|lacking| lacking.is_open());
        lacking.map(|lacking| lacking.next)
    }

    /// If it began with a snapshot, and its entries have not been judged here since: how many are still to come, at most.
    pub(crate) fn unjudged(&self) -> Option<u64> {
        self.lacking.map(|lacking| lacking.until - lacking.next)
    }

    /// Whether `leaf` is the one at `index` of the tree, with what belongs beside it.
    pub(crate) fn is_leaf(&self, index: u64, leaf: &RegistryLeaf) -> bool {
        self.tree.leaf(index) == Some(*leaf::hash(&leaf.leaf).as_bytes()) && leaf::is_beside(leaf)
    }

    /// The leaf that it [lacks](Self::lacks) has come.
    pub(crate) fn fill(&mut self) {
        if let Some(lacking) = &mut self.lacking {
            lacking.next += 1;
        }
        self.pass_what_is_there();
    }

    fn pass_what_is_there(&mut self) {
        while let Some(next) = self.lacks().filter(|next| self.leaf(*next).is_some()) {
            self.lacking = self.lacking.map(|lacking| Lacking {
                next: next + 1,
                ..lacking
            });
        }
    }

    /// Appends an admitted leaf.
    pub(crate) fn push(&mut self, leaf: RegistryLeaf, hash: &Digest, issued_at: Instant) {
        self.tree.push(*hash.as_bytes());
        self.leaves.push_back(leaf);
        self.issued_at = Some(issued_at);
    }

    pub(crate) fn leaf(&self, index: u64) -> Option<RegistryLeaf> {
        let first = self.size() - self.leaves.len() as u64;
        if index < first {
            let tray = self.shelf.as_ref()?;
            return tray.shelf.leaf(&tray.origin, index);
        }
        self.leaves.get(usize::try_from(index - first).ok()?).cloned()
    }

    pub(crate) fn entry(&self, index: u64) -> Option<Entry> {
        leaf::entry(&self.leaf(index)?)
    }

    /// Leaves from `from` on, as many as fit in `max_bytes`.
    pub(crate) fn leaves(&self, from: u64, max_bytes: usize) -> Vec<RegistryLeaf> {
        let mut left = max_bytes;
        let fits = |leaf: &RegistryLeaf| {
            let bytes = leaf.leaf.len() + leaf.certificate.len() + LEAF_OVERHEAD_BYTES;
            left.checked_sub(bytes).map(|rest| left = rest).is_some()
        };
        let leaves = (from..self.size()).map_while(|index| self.leaf(index));
        leaves.take_while(fits).collect()
    }

    /// The tiles that have become complete since this was last asked.
    pub(crate) fn poll_rows(&mut self, rows: &mut Vec<RegistryRow>) {
        let Some(tray) = &self.shelf else { return };
        let (_, tiles) = self.staged;
        for index in tiles..self.tree.complete_tiles() {
            let Some((root, leaves)) = self.tree.tile(index) else {
                break;
            };
            for (kind, value) in [(kind::TILE, leaves.concat()), (kind::TILE_ROOT, root.to_vec())] {
                rows.push(RegistryRow {
                    kind,
                    key: tray.origin.as_bytes().to_vec(),
                    index,
                    value,
                });
            }
        }
        self.staged = (self.size(), self.tree.complete_tiles());
        if let Some(lacking) = self.lacking.filter(|_| self.lacking != self.lacked) {
            self.lacked = self.lacking;
            rows.push(lacking.row(self.authority.origin()));
        }
    }

    /// What was there when rows were last asked for is on the shelf, the leaves too.
    pub(crate) fn settle(&mut self) {
        let Some(tray) = &self.shelf else { return };
        let (size, tiles) = self.staged;
        let kept = usize::try_from(self.size() - size).unwrap_or(usize::MAX);
        self.leaves.drain(..self.leaves.len().saturating_sub(kept));
        let tray: Arc<dyn Tiles> = Arc::clone(tray) as _;
        self.tree.shelve(tiles, &tray);
    }
}
