//! The Merkle tree of journals, the registry and documents: RFC 9162 §2.1 over SHA-256.
//!
//! [`Tree`] keeps every leaf and makes proofs; [`Frontier`] keeps only what the next root needs; the `verify_*`
//! functions need neither. Which leaves a tree holds, and who signed its root, is the business of the caller.

use std::ops::Range;

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

/// A tree that keeps its leaves and the root of every complete subtree: about 64 bytes per leaf. Roots and
/// proofs at any earlier size cost O(log n) hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// `levels[h][i]` is the root over leaves `i · 2^h .. (i + 1) · 2^h`. The lowest level holds the leaves.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// A tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.leaves().len() as u64
    }

    /// The leaf hashes, in order.
    #[must_use]
    pub fn leaves(&self) -> &[Hash] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }

    /// The hash of one leaf.
    #[must_use]
    pub fn leaf(&self, index: u64) -> Option<Hash> {
        self.leaves().get(usize::try_from(index).ok()?).copied()
    }

    /// Appends a leaf, given by its [`leaf_hash`].
    pub fn push(&mut self, leaf_hash: Hash) {
        let mut hash = leaf_hash;
        for height in 0.. {
            if height == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let level = &mut self.levels[height];
            level.push(hash);
            match level.as_slice() {
                [.., left, right] if level.len().is_multiple_of(2) => hash = node_hash(left, right),
                _ => break,
            }
        }
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
        let peaks = heights.map(|height| self.levels[height as usize][((size >> height) - 1) as usize]);
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
            let left = self.levels[height as usize][((end - 1) >> height) as usize];
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
