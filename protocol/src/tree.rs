//! The Merkle tree of journals, the registry and documents: RFC 9162 §2.1 over SHA-256.
//!
//! [`Tree`] keeps every leaf and makes proofs; [`Frontier`] keeps only what the next root needs; the `verify_*`
//! functions need neither. Which leaves a tree holds, and who signed its root, is the business of the caller.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::crypto::sha256;

mod frontier;
mod proof;

pub use frontier::Frontier;
pub use proof::{
    MAX_PATH, ProofError, verify_consistency, verify_inclusion, verify_subtree_consistency,
    verify_subtree_inclusion,
};

/// A SHA-256 digest: of a leaf, of an inner node or of a whole tree.
pub type Hash = [u8; 32];

/// MTH({d}) = SHA-256(0x00 ‖ d), RFC 9162 §2.1.1.
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Hash {
    sha256(&[&[0], data])
}

/// SHA-256(0x01 ‖ left ‖ right), RFC 9162 §2.1.1.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The root of a tree without leaves: SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Hash {
    sha256(&[])
}

/// The root over `leaves`, without keeping a tree.
#[must_use]
pub fn root_of(leaves: &[Hash]) -> Hash {
    leaves.iter().copied().collect::<Frontier>().root()
}

/// Leaves of a tile: a complete subtree whose leaves a [`Tree`] may leave to somebody else.
pub const TILE_LEAVES: u64 = 1 << TILE_HEIGHT;
const TILE_HEIGHT: u32 = 8;

/// Where the leaves of tiles are that a tree does not keep itself.
pub trait Tiles: fmt::Debug + Send + Sync {
    /// The hashes of leaves `index · TILE_LEAVES ..`, [`TILE_LEAVES`] of them; `None` if they cannot be read.
    fn tile(&self, index: u64) -> Option<Vec<Hash>>;
}

/// A tree that keeps its leaves and the root of every complete subtree: about 64 bytes per leaf. Roots and
/// proofs at any earlier size cost O(log n) hashes.
///
/// One that has [`shelved`](Self::shelve) the leaves of its complete tiles keeps 64 bytes per tile, and reads a tile or two for
/// a proof. If a tile that it needs cannot be read, a root or proof is wrong: whoever reads tiles stops the rest.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// `levels[h][i]` is the root over leaves `i · 2^h .. (i + 1) · 2^h`. The lowest level holds the leaves. Below
    /// [`TILE_HEIGHT`], what is under the first `shelved` tiles is left out.
    levels: Vec<Vec<Hash>>,
    /// Tiles whose leaves are not in memory.
    shelved: u64,
    /// Where those are.
    tiles: Option<Arc<dyn Tiles>>,
}

impl Tree {
    /// A tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A tree of complete tiles, given by the roots of these; their leaves are in `tiles`.
    #[must_use]
    pub fn of_tiles(roots: Vec<Hash>, tiles: Arc<dyn Tiles>) -> Self {
        let mut tree = Self {
            levels: vec![Vec::new(); TILE_HEIGHT as usize],
            shelved: roots.len() as u64,
            tiles: Some(tiles),
        };
        roots.into_iter().for_each(|root| tree.rise(TILE_HEIGHT, root));
        tree
    }

    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shelved * TILE_LEAVES + self.leaves().len() as u64
    }

    /// The leaf hashes in memory, in order: all, unless some are shelved.
    #[must_use]
    pub fn leaves(&self) -> &[Hash] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }

    /// The hash of one leaf.
    #[must_use]
    pub fn leaf(&self, index: u64) -> Option<Hash> {
        (index < self.size()).then(|| self.node(0, index))
    }

    /// Root and leaves of a complete tile whose leaves are in memory.
    #[must_use]
    pub fn tile(&self, index: u64) -> Option<(Hash, &[Hash])> {
        let root = self
            .levels
            .get(TILE_HEIGHT as usize)?
            .get(usize::try_from(index).ok()?)?;
        let start = usize::try_from(index.checked_sub(self.shelved)? * TILE_LEAVES).ok()?;
        Some((*root, self.leaves().get(start..start + TILE_LEAVES as usize)?))
    }

    /// Complete tiles.
    #[must_use]
    pub fn complete_tiles(&self) -> u64 {
        self.size() / TILE_LEAVES
    }

    /// From now on the leaves of the first `count` complete tiles are in `tiles`, and no longer in memory.
    pub fn shelve(&mut self, count: u64, tiles: &Arc<dyn Tiles>) {
        let count = count.min(self.complete_tiles());
        let more = count.saturating_sub(self.shelved);
        for (height, level) in (0..TILE_HEIGHT).zip(&mut self.levels) {
            level.drain(..(more << (TILE_HEIGHT - height)) as usize);
        }
        self.shelved += more;
        self.tiles = Some(Arc::clone(tiles));
    }

    /// Appends a leaf, given by its [`leaf_hash`].
    pub fn push(&mut self, leaf_hash: Hash) {
        self.rise(0, leaf_hash);
    }

    /// Appends the root of a complete subtree of that height, and those of the larger ones that it completes.
    fn rise(&mut self, height: u32, hash: Hash) {
        let mut hash = hash;
        for height in height as usize.. {
            if height == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let level = &mut self.levels[height];
            level.push(hash);
            // What is left out of a level is an even number of hashes.
            match level.as_slice() {
                [.., left, right] if level.len().is_multiple_of(2) => hash = node_hash(left, right),
                _ => break,
            }
        }
    }

    /// The root over leaves `index · 2^height .. (index + 1) · 2^height`, which are all there.
    fn node(&self, height: u32, index: u64) -> Hash {
        let Some(above) = TILE_HEIGHT.checked_sub(height).filter(|above| *above > 0) else {
            return self.levels[height as usize][index as usize];
        };
        if let Some(place) = index.checked_sub(self.shelved << above) {
            return self.levels[height as usize][place as usize];
        }
        let start = ((index << height) % TILE_LEAVES) as usize;
        let tile = self.tiles.as_ref().and_then(|tiles| tiles.tile(index >> above));
        let leaves = tile
            .as_ref()
            .and_then(|tile| tile.get(start..start + (1 << height)));
        leaves.map_or_else(empty_root, root_of)
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.range(0, self.size())
    }

    /// The root over the first `size` leaves; `None` where there are not so many.
    #[must_use]
    pub fn root_at(&self, size: u64) -> Option<Hash> {
        (size <= self.size()).then(|| self.range(0, size))
    }

    /// The same tree without its leaves, to be grown tentatively.
    #[must_use]
    pub fn frontier(&self) -> Frontier {
        let size = self.size();
        let heights = (0..u64::BITS).rev().filter(|height| size >> height & 1 == 1);
        let peaks = heights.map(|height| self.node(height, (size >> height) - 1));
        Frontier::of_peaks(size, peaks.collect())
    }

    /// Proof that leaf `index` is in the tree of the first `size` leaves, RFC 9162 §2.1.3.1. `None` where
    /// there is no such leaf or no such tree.
    #[must_use]
    pub fn inclusion_path(&self, index: u64, size: u64) -> Option<Vec<Hash>> {
        if index >= size || size > self.size() {
            return None;
        }
        let (mut start, mut end, mut path) = (0, size, Vec::new());
        while end - start > 1 {
            let middle = start + left_leaves(end - start);
            if index < middle {
                path.push(self.range(middle, end));
                end = middle;
            } else {
                path.push(self.range(start, middle));
                start = middle;
            }
        }
        path.reverse();
        Some(path)
    }

    /// Proof that the tree of the first `old` leaves is a prefix of that of the first `new`, RFC 9162
    /// §2.1.4.1. Empty where the sizes are equal; `None` where there is no such tree, or where `old` is
    /// zero: the empty tree is a prefix of every tree, which needs no proof and cannot be given one.
    #[must_use]
    pub fn consistency_path(&self, old: u64, new: u64) -> Option<Vec<Hash>> {
        self.subtree_path(0..old, new)
    }

    /// Proof that the leaves of `subtree` stand at their places in the tree of the first `size` leaves,
    /// draft-ietf-plants-merkle-tree-certs §4.4. `None` where there is no such tree, or those leaves are no subtree.
    #[must_use]
    pub fn subtree_path(&self, subtree: Range<u64>, size: u64) -> Option<Vec<Hash>> {
        if !is_subtree(&subtree) || subtree.end > size || size > self.size() {
            return None;
        }
        let (mut start, mut end, mut path) = (0, size, Vec::new());
        // As long as the node is not the part itself, nor begins within it and ends where it ends.
        while subtree.end != end || start < subtree.start {
            let middle = start + left_leaves(end - start);
            if subtree.end <= middle {
                path.push(self.range(middle, end));
                end = middle;
            } else {
                path.push(self.range(start, middle));
                start = middle;
            }
        }
        // The verifier knows the root of the part; any other subtree that ends where it does has to be told.
        if start != subtree.start {
            path.push(self.range(start, end));
        }
        path.reverse();
        Some(path)
    }

    /// The root over the leaves of `subtree`; `None` where they are no subtree, or not all there.
    #[must_use]
    pub fn subtree_root(&self, subtree: Range<u64>) -> Option<Hash> {
        let known = is_subtree(&subtree) && subtree.end <= self.size();
        known.then(|| self.range(subtree.start, subtree.end))
    }

    /// The root over leaves `start..end`, both within the tree, where `start` is a multiple of a power of two
    /// that is at least `end - start`: true of every subtree that RFC 9162 §2.1.1 defines.
    fn range(&self, start: u64, end: u64) -> Hash {
        // From the right, the complete subtrees grow: the set bits of the number of leaves, lowest first.
        let (mut end, mut root) = (end, None);
        while start < end {
            let height = (end - start).trailing_zeros();
            let left = self.node(height, (end - 1) >> height);
            root = Some(root.map_or(left, |right| node_hash(&left, &right)));
            end -= 1 << height;
        }
        root.unwrap_or_else(empty_root)
    }
}

impl FromIterator<Hash> for Tree {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Self {
        let mut tree = Self::new();
        leaves.into_iter().for_each(|leaf| tree.push(leaf));
        tree
    }
}

/// Whether the leaves of `range` can be a subtree: some, from a multiple of a power of two that is at least their number.
fn is_subtree(range: &Range<u64>) -> bool {
    let leaves = range.end.checked_sub(range.start).filter(|leaves| *leaves > 0);
    let span = leaves.and_then(u64::checked_next_power_of_two);
    span.is_some_and(|span| range.start.is_multiple_of(span)) || (range.start == 0 && leaves.is_some())
}

/// The leaves left of the root's cut: the largest power of two below `size`, which is at least 2.
fn left_leaves(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::text::hex_encode;

    #[test]
    fn prefixes_separate_leaves_nodes_and_nothing() {
        // SHA-256 of nothing, of 00, and of 01 ‖ (00 × 64).
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let empty_leaf = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
        assert_eq!(hex_encode(&empty_root()), nothing);
        assert_eq!(hex_encode(&leaf_hash(b"")), empty_leaf);
        assert_eq!(node_hash(&[0; 32], &[0; 32]), sha256(&[&[1], &[0; 64]]));
        assert_eq!(Tree::new().root(), empty_root());
    }

    /// MTH of RFC 9162 §2.1.1, word for word.
    fn defined(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            more => {
                let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
                node_hash(&defined(left), &defined(right))
            }
        }
    }

    #[test]
    fn every_root_is_the_one_the_rfc_defines() {
        let leaves: Vec<Hash> = (0u8..=130).map(|n| leaf_hash(&[n])).collect();
        let tree: Tree = leaves.iter().copied().collect();
        for size in 0..=leaves.len() {
            let expected = defined(&leaves[..size]);
            assert_eq!(tree.root_at(size as u64), Some(expected), "{size}");
            assert_eq!(root_of(&leaves[..size]), expected, "{size}");
            assert_eq!(
                leaves[..size].iter().copied().collect::<Tree>().root(),
                expected,
                "{size}"
            );
        }
        assert_eq!(tree.leaves(), leaves);
        assert_eq!(tree.leaf(130), Some(leaves[130]));
        assert_eq!(tree.leaf(131), None);
    }

    #[test]
    fn a_tree_gives_its_frontier_at_every_size() {
        let mut tree = Tree::new();
        for index in 0_u64..70 {
            assert_eq!(tree.frontier().root(), tree.root());
            assert_eq!(tree.frontier().size(), index);
            tree.push(leaf_hash(&index.to_be_bytes()));
        }
    }

    /// The leaves of a tree, on a shelf.
    #[derive(Debug)]
    struct Shelf(Vec<Hash>);

    impl Tiles for Shelf {
        fn tile(&self, index: u64) -> Option<Vec<Hash>> {
            let start = (index * TILE_LEAVES) as usize;
            Some(self.0.get(start..start + TILE_LEAVES as usize)?.to_vec())
        }
    }

    #[test]
    fn a_tree_that_has_shelved_its_tiles_gives_the_same_roots_and_proofs_and_grows_alike() {
        let leaves: Vec<Hash> = (0_u64..1300).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        let tiles: Arc<dyn Tiles> = Arc::new(Shelf(leaves.clone()));
        let whole: Tree = leaves.iter().copied().collect();
        let mut grown = Tree::new();
        for (count, leaf) in (1_u64..).zip(&leaves) {
            grown.push(*leaf);
            // Late, at once, and of what is not complete.
            if count % 391 == 0 || count == 512 || count == 1281 {
                grown.shelve(count / 200, &tiles);
            }
        }
        assert_eq!(grown.leaves().len(), 1300 - 5 * 256);
        let roots = (0..3).map(|tile| whole.tile(tile).unwrap().0).collect();
        let mut read_back = Tree::of_tiles(roots, Arc::clone(&tiles));
        assert_eq!(read_back.size(), 768);
        leaves[768..].iter().for_each(|leaf| read_back.push(*leaf));
        assert_eq!(read_back.tile(2), None);
        assert_eq!(read_back.tile(3), whole.tile(3));
        assert_eq!(whole.tile(5), None);
        for tree in [&grown, &read_back] {
            assert_eq!(tree.frontier(), whole.frontier());
            for size in (0..=1300).step_by(7) {
                assert_eq!(tree.root_at(size), whole.root_at(size), "{size}");
                let paths = |tree: &Tree| {
                    let index = (size * 31 + 17) % size.max(1);
                    (
                        tree.leaf(index),
                        tree.inclusion_path(index, size),
                        tree.consistency_path(size * 3 / 7, size),
                    )
                };
                assert_eq!(paths(tree), paths(&whole), "{size}");
            }
        }
    }

    #[test]
    fn what_is_not_in_the_tree_has_no_proof() {
        let tree: Tree = (0u8..7).map(|n| leaf_hash(&[n])).collect();
        assert_eq!(tree.root_at(8), None);
        assert_eq!(tree.inclusion_path(7, 7), None);
        assert_eq!(tree.inclusion_path(3, 3), None);
        assert_eq!(tree.inclusion_path(0, 8), None);
        assert_eq!(tree.inclusion_path(u64::MAX, u64::MAX), None);
        assert_eq!(tree.consistency_path(0, 7), None);
        assert_eq!(tree.consistency_path(5, 4), None);
        assert_eq!(tree.consistency_path(5, 8), None);
        assert_eq!(tree.consistency_path(7, 7), Some(vec![]));
        assert_eq!(Tree::new().inclusion_path(0, 0), None);
    }
}
