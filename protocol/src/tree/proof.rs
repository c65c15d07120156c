//! Verification of inclusion and consistency proofs, RFC 9162 §2.1.3.2 and §2.1.4.2, step by step, and of proofs about
//! subtrees (draft-ietf-plants-merkle-tree-certs §4).

use std::ops::Range;

use super::{Hash, empty_root, is_subtree, node_hash};

/// The longest path that is looked at: a tree of 2^64 leaves has no longer inclusion path, and a longer
/// consistency path is of no size in use.
pub const MAX_PATH: usize = 64;

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The leaf lies outside the tree.
    #[error("leaf {index} is not in a tree of {size} leaves")]
    OutsideTree {
        /// Position of the leaf, from 0.
        index: u64,
        /// Leaves in the tree.
        size: u64,
    },
    /// The old tree is empty or larger than the new one.
    #[error("a tree of {new_size} leaves cannot be proved to extend one of {old_size}")]
    NotAnExtension {
        /// Leaves in the old tree.
        old_size: u64,
        /// Leaves in the new tree.
        new_size: u64,
    },
    /// Leaves `start..end` are not a subtree: it is empty, or `start` is not a multiple of a power of two that is at
    /// least its size.
    #[error("leaves {start} to {end} are not a subtree")]
    NotASubtree {
        /// Its first leaf.
        start: u64,
        /// The leaf after its last.
        end: u64,
    },
    /// The path has more or fewer hashes than the sizes ask for, or more than [`MAX_PATH`].
    #[error("a path of {hashes} hashes does not fit the sizes")]
    PathLength {
        /// Hashes in the path.
        hashes: usize,
    },
    /// The path leads to another root.
    #[error("the path leads to another root")]
    RootMismatch,
}

/// Checks that the leaf with hash `leaf` stands at `index` of the tree of `size` leaves whose root is `root`.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    path: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutsideTree { index, size });
    }
    let length = ProofError::PathLength { hashes: path.len() };
    if path.len() > MAX_PATH {
        return Err(length);
    }
    let mut walk = Walk {
        node: index,
        last: size - 1,
    };
    let mut hash = *leaf;
    for sibling in path {
        hash = match walk.step().ok_or(length)? {
            Side::Left => node_hash(sibling, &hash),
            Side::Right => node_hash(&hash, sibling),
        };
    }
    if walk.last != 0 {
        return Err(length);
    }
    if hash != *root {
        return Err(ProofError::RootMismatch);
    }
    Ok(())
}

/// Checks that the tree of `old_size` leaves with `old_root` is a prefix of that of `new_size` with `new_root`.
/// Equal sizes take equal roots and an empty path. An empty old tree is refused: it says nothing of the new one.
pub fn verify_consistency(
    old_size: u64,
    new_size: u64,
    old_root: &Hash,
    new_root: &Hash,
    path: &[Hash],
) -> Result<(), ProofError> {
    if old_size == 0 || old_size > new_size {
        return Err(ProofError::NotAnExtension { old_size, new_size });
    }
    verify_part(0..old_size, new_size, old_root, new_root, path)
}

/// Checks that leaf `index` of a tree has hash `leaf`, in the subtree over the leaves of `subtree`, whose root is
/// `root`. Merkle Tree Certificates (draft-ietf-plants-merkle-tree-certs) §4.3.
pub fn verify_subtree_inclusion(
    leaf: &Hash,
    index: u64,
    subtree: Range<u64>,
    path: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    check_subtree(&subtree)?;
    let size = subtree.end - subtree.start;
    let within = index.checked_sub(subtree.start);
    let within = within.ok_or(ProofError::OutsideTree { index, size })?;
    verify_inclusion(leaf, within, size, path, root)
}

/// Checks that the leaves of `subtree`, whose root is `subtree_root`, stand at their places in the tree of `size`
/// leaves whose root is `root`. Merkle Tree Certificates (draft-ietf-plants-merkle-tree-certs) §4.4; with
/// `subtree` from 0 it is a consistency proof of RFC 9162. No leaves, under the root of nothing, stand in every tree.
pub fn verify_subtree_consistency(
    subtree: Range<u64>,
    size: u64,
    subtree_root: &Hash,
    root: &Hash,
    path: &[Hash],
) -> Result<(), ProofError> {
    let is_nothing = subtree.start == subtree.end && *subtree_root == empty_root();
    if subtree.end > size {
        let (old_size, new_size) = (subtree.end, size);
        return Err(ProofError::NotAnExtension { old_size, new_size });
    }
    if is_nothing && path.is_empty() {
        return Ok(());
    }
    check_subtree(&subtree)?;
    verify_part(subtree, size, subtree_root, root, path)
}

/// A subtree begins at a multiple of a power of two that is no less than its size.
fn check_subtree(subtree: &Range<u64>) -> Result<(), ProofError> {
    if is_subtree(subtree) {
        return Ok(());
    }
    let (start, end) = (subtree.start, subtree.end);
    Err(ProofError::NotASubtree { start, end })
}

/// The consistency of a subtree that ends within the tree.
fn verify_part(
    part: Range<u64>,
    size: u64,
    part_root: &Hash,
    root: &Hash,
    path: &[Hash],
) -> Result<(), ProofError> {
    let length = ProofError::PathLength { hashes: path.len() };
    if path.len() > MAX_PATH {
        return Err(length);
    }
    // The first and the last node of the part, and the last of the tree, on one level after another.
    let (mut first, mut last, mut end) = (part.start, part.end - 1, size - 1);
    while first != last && (last == end || last & 1 == 1) {
        (first, last, end) = (first >> 1, last >> 1, end >> 1);
    }
    // A complete part is itself a node of the tree, and not repeated in the path.
    let (start, rest) = match path {
        _ if first == last => (part_root, path),
        [start, rest @ ..] => (start, rest),
        [] => return Err(length),
    };
    let (mut old, mut new) = (*start, *start);
    for sibling in rest {
        if end == 0 {
            return Err(length);
        }
        if last & 1 == 1 || last == end {
            if first < last {
                old = node_hash(sibling, &old);
            }
            new = node_hash(sibling, &new);
            // The last node of a level of odd length has no sibling there: it goes up unchanged.
            while last & 1 == 0 && last != 0 {
                (first, last, end) = (first >> 1, last >> 1, end >> 1);
            }
        } else {
            new = node_hash(&new, sibling);
        }
        (first, last, end) = (first >> 1, last >> 1, end >> 1);
    }
    if end != 0 {
        return Err(length);
    }
    if old != *part_root || new != *root {
        return Err(ProofError::RootMismatch);
    }
    Ok(())
}

/// On which side of the node the sibling stands.
enum Side {
    Left,
    Right,
}

/// The way up from a node to the root: `fn` and `sn` of the RFC.
struct Walk {
    /// Position of the node in its level.
    node: u64,
    /// Position of the last node of that level.
    last: u64,
}

impl Walk {
    fn rise(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }

    /// Joins the node with its sibling and goes to their parent; `None` at the root.
    fn step(&mut self) -> Option<Side> {
        if self.last == 0 {
            return None;
        }
        if self.node & 1 == 0 && self.node != self.last {
            self.rise();
            return Some(Side::Right);
        }
        // The last node of a level of odd length has no sibling there: it goes up unchanged.
        while self.node & 1 == 0 && self.node != 0 {
            self.rise();
        }
        self.rise();
        Some(Side::Left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Hash = [1; 32];

    #[test]
    fn a_path_over_the_bound_is_refused_unread() {
        let path = [[0; 32]; MAX_PATH + 1];
        let refused = Err(ProofError::PathLength { hashes: 65 });
        assert_eq!(verify_inclusion(&ROOT, 0, u64::MAX, &path, &ROOT), refused);
        assert_eq!(verify_consistency(3, u64::MAX, &ROOT, &ROOT, &path), refused);
    }

    #[test]
    fn the_largest_sizes_end_without_overflow() {
        let path = [[0; 32]; MAX_PATH];
        let mismatch = Err(ProofError::RootMismatch);
        assert_eq!(verify_inclusion(&ROOT, 0, u64::MAX, &path, &ROOT), mismatch);
        assert_eq!(
            verify_inclusion(&ROOT, u64::MAX - 1, u64::MAX, &path[..63], &ROOT),
            mismatch
        );
        assert_eq!(
            verify_consistency(1 << 63, u64::MAX, &ROOT, &ROOT, &path[..1]),
            mismatch
        );
    }

    #[test]
    fn equal_trees_take_equal_roots_and_no_path() {
        for size in [1, 2, 3, 4, 7, u64::MAX] {
            assert_eq!(verify_consistency(size, size, &ROOT, &ROOT, &[]), Ok(()));
            assert_eq!(
                verify_consistency(size, size, &ROOT, &[2; 32], &[]),
                Err(ProofError::RootMismatch)
            );
            let refused = Err(ProofError::PathLength { hashes: 1 });
            assert_eq!(verify_consistency(size, size, &ROOT, &ROOT, &[ROOT]), refused);
        }
    }

    #[test]
    fn a_proof_from_the_empty_or_a_larger_tree_is_refused() {
        for (old_size, new_size) in [(0, 0), (0, 5), (6, 5), (u64::MAX, 0)] {
            let refused = Err(ProofError::NotAnExtension { old_size, new_size });
            assert_eq!(verify_consistency(old_size, new_size, &ROOT, &ROOT, &[]), refused);
        }
        let outside = Err(ProofError::OutsideTree { index: 5, size: 5 });
        assert_eq!(verify_inclusion(&ROOT, 5, 5, &[], &ROOT), outside);
    }
}
