//! The tree over a ciphertext: made from a stream, sent ahead of the bytes, checked leaf by leaf.

use core::mem;
use core::ops::Range;

use super::{Count, DocumentError, leaf_bytes, leaf_count, plaintext_len};
use crate::crypto::Sha256;
use crate::tree::{Hash, root_of};

/// The leaf hashes of a ciphertext, known to lead to its root: at most 512 KiB. A provider sends it first;
/// then every leaf can be checked by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outboard {
    pub(super) root: Hash,
    pub(super) ciphertext_bytes: u64,
    pub(super) leaf_bytes: u64,
    pub(super) leaves: Vec<Hash>,
}

/// Makes an [`Outboard`] of leaf hashes from outside, once they are known to lead to `root`.
///
/// # Errors
/// [`DocumentError::CiphertextLength`], [`DocumentError::LeafCount`] and [`DocumentError::Root`].
pub fn check_outboard(root: &Hash, ciphertext_len: u64, leaves: &[Hash]) -> Result<Outboard, DocumentError> {
    let expected = expected_leaves(ciphertext_len)?;
    let found = leaves.len() as u64;
    if found != expected {
        return Err(DocumentError::LeafCount { expected, found });
    }
    if root_of(leaves) != *root {
        return Err(DocumentError::Root);
    }
    let (leaf_bytes, leaves) = (leaf_bytes(ciphertext_len), leaves.to_vec());
    Ok(Outboard {
        root: *root,
        ciphertext_bytes: ciphertext_len,
        leaf_bytes,
        leaves,
    })
}

impl Outboard {
    /// Root of the tree: the name of the document.
    #[must_use]
    pub fn root(&self) -> &Hash {
        &self.root
    }

    /// Length of the ciphertext.
    #[must_use]
    pub fn ciphertext_bytes(&self) -> u64 {
        self.ciphertext_bytes
    }

    /// Ciphertext bytes in every leaf but the last.
    #[must_use]
    pub fn leaf_bytes(&self) -> u64 {
        self.leaf_bytes
    }

    /// The leaf hashes, as they are sent.
    #[must_use]
    pub fn leaves(&self) -> &[Hash] {
        &self.leaves
    }

    /// The ciphertext bytes of leaf `index`; `None` where there is no such leaf.
    #[must_use]
    pub fn leaf_range(&self, index: u64) -> Option<Range<u64>> {
        if index >= self.leaves.len() as u64 {
            return None;
        }
        let start = index * self.leaf_bytes;
        Some(start..self.ciphertext_bytes.min(start + self.leaf_bytes))
    }

    /// Checks that `bytes` are leaf `index`.
    ///
    /// # Errors
    /// [`DocumentError::NoLeaf`] and [`DocumentError::Leaf`].
    pub fn verify_leaf(&self, index: u64, bytes: &[u8]) -> Result<(), DocumentError> {
        let mut check = self.check_leaf(index)?;
        check.push(bytes)?;
        check.finish()
    }

    /// Starts to check leaf `index`, whose bytes come in parts.
    ///
    /// # Errors
    /// [`DocumentError::NoLeaf`].
    pub fn check_leaf(&self, index: u64) -> Result<LeafCheck, DocumentError> {
        let range = self.leaf_range(index).ok_or(DocumentError::NoLeaf { index })?;
        Ok(LeafCheck {
            index,
            left: range.end - range.start,
            hash: leaf_start(),
            // Unwrap safety: `leaf_range` checked the index.
            expected: self.leaves[index as usize],
        })
    }
}

/// One leaf under check, part by part, in the memory of a hash.
#[derive(Clone, Debug)]
pub struct LeafCheck {
    index: u64,
    left: u64,
    hash: Sha256,
    expected: Hash,
}

impl LeafCheck {
    /// Bytes that are still to come.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Takes the next part.
    ///
    /// # Errors
    /// [`DocumentError::Leaf`] if it goes beyond the leaf.
    pub fn push(&mut self, part: &[u8]) -> Result<(), DocumentError> {
        let index = self.index;
        let left = self.left.checked_sub(part.len() as u64);
        self.left = left.ok_or(DocumentError::Leaf { index })?;
        self.hash.update(part);
        Ok(())
    }

    /// Whether all parts together are the leaf.
    ///
    /// # Errors
    /// [`DocumentError::Leaf`].
    pub fn finish(self) -> Result<(), DocumentError> {
        if self.left != 0 || self.hash.finish() != self.expected {
            return Err(DocumentError::Leaf { index: self.index });
        }
        Ok(())
    }
}

/// Hashes a ciphertext as it passes, in order. Holds the leaf hashes only.
#[derive(Clone, Debug)]
pub struct LeafHasher {
    count: Count,
    leaf_bytes: u64,
    /// The leaf under way and how many bytes it has.
    leaf: Sha256,
    filled: u64,
    leaves: Vec<Hash>,
}

impl LeafHasher {
    /// Starts a ciphertext of this length.
    ///
    /// # Errors
    /// [`DocumentError::CiphertextLength`].
    pub fn new(ciphertext_len: u64) -> Result<Self, DocumentError> {
        let leaves = expected_leaves(ciphertext_len)?;
        Ok(Self {
            count: Count::to(ciphertext_len),
            leaf_bytes: leaf_bytes(ciphertext_len),
            leaf: leaf_start(),
            filled: 0,
            leaves: Vec::with_capacity(leaves as usize),
        })
    }

    /// Takes the next piece of ciphertext, of any length.
    ///
    /// # Errors
    /// [`DocumentError::TooMany`], and then nothing of the piece is taken.
    pub fn push(&mut self, mut ciphertext: &[u8]) -> Result<(), DocumentError> {
        self.count.take(ciphertext.len())?;
        while !ciphertext.is_empty() {
            let room = self.leaf_bytes - self.filled;
            let length = usize::try_from(room).map_or(ciphertext.len(), |room| room.min(ciphertext.len()));
            let (head, rest) = ciphertext.split_at(length);
            ciphertext = rest;
            self.leaf.update(head);
            self.filled += length as u64;
            if self.filled == self.leaf_bytes {
                self.end_leaf();
            }
        }
        Ok(())
    }

    /// Ends the ciphertext.
    ///
    /// # Errors
    /// [`DocumentError::TooFew`].
    pub fn finish(mut self) -> Result<Outboard, DocumentError> {
        self.count.finish()?;
        if self.filled > 0 {
            self.end_leaf();
        }
        Ok(Outboard {
            root: root_of(&self.leaves),
            ciphertext_bytes: self.count.expected,
            leaf_bytes: self.leaf_bytes,
            leaves: self.leaves,
        })
    }

    fn end_leaf(&mut self) {
        self.leaves
            .push(mem::replace(&mut self.leaf, leaf_start()).finish());
        self.filled = 0;
    }
}

/// How many leaves a ciphertext of this length has, if a document can have it: [`super::MAX_LEAVES`] at most.
fn expected_leaves(ciphertext_len: u64) -> Result<u64, DocumentError> {
    match plaintext_len(ciphertext_len) {
        Some(_) => Ok(leaf_count(ciphertext_len)),
        None => Err(DocumentError::CiphertextLength {
            bytes: ciphertext_len,
        }),
    }
}

/// [`leaf_hash`](crate::tree::leaf_hash) before its first byte.
fn leaf_start() -> Sha256 {
    let mut hash = Sha256::new();
    hash.update(&[0]);
    hash
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::document::{MAX_BYTES, ciphertext_len};
    use crate::tree::leaf_hash;

    const LEAF: usize = 65_536;
    /// Three leaves, the last one of 20 bytes: the ciphertext of 2 · 65 536 + 20 - 3 · 16 bytes.
    const LENGTH: usize = 2 * LEAF + 20;

    fn ciphertext() -> Vec<u8> {
        (0..LENGTH).map(|n| (n % 249) as u8).collect()
    }

    fn hashed(ciphertext: &[u8]) -> Outboard {
        let mut hasher = LeafHasher::new(ciphertext.len() as u64).unwrap();
        hasher.push(ciphertext).unwrap();
        hasher.finish().unwrap()
    }

    #[test]
    fn the_leaves_are_those_of_the_tree_module() {
        let ciphertext = ciphertext();
        let outboard = hashed(&ciphertext);
        let leaves: Vec<Hash> = ciphertext.chunks(LEAF).map(leaf_hash).collect();
        assert_eq!(outboard.leaves(), leaves);
        assert_eq!(*outboard.root(), root_of(&leaves));
        assert_eq!(
            check_outboard(outboard.root(), LENGTH as u64, &leaves).unwrap(),
            outboard
        );
    }

    #[test]
    fn each_leaf_is_checked_by_itself_in_any_order() {
        let ciphertext = ciphertext();
        let outboard = hashed(&ciphertext);
        for index in [2, 0, 1] {
            let range = outboard.leaf_range(index).unwrap();
            let bytes = &ciphertext[range.start as usize..range.end as usize];
            outboard.verify_leaf(index, bytes).unwrap();
            let mut check = outboard.check_leaf(index).unwrap();
            bytes.chunks(7).for_each(|part| check.push(part).unwrap());
            assert_eq!(check.left(), 0);
            assert_eq!(check.push(&[0]), Err(DocumentError::Leaf { index }));
            check.finish().unwrap();

            let refused = Err(DocumentError::Leaf { index });
            let mut changed = bytes.to_vec();
            changed[bytes.len() / 2] ^= 1;
            assert_eq!(outboard.verify_leaf(index, &changed), refused);
            assert_eq!(outboard.verify_leaf(index, &bytes[1..]), refused);
            assert_eq!(outboard.verify_leaf(index, &[bytes, &[0]].concat()), refused);
            assert_eq!(outboard.verify_leaf(index, &[]), refused);
            let other = (index + 1) % 3;
            assert_eq!(
                outboard.verify_leaf(other, bytes),
                Err(DocumentError::Leaf { index: other })
            );
        }
        assert_eq!(outboard.leaf_range(2), Some(2 * LEAF as u64..LENGTH as u64));
        assert_eq!(outboard.leaf_range(3), None);
        assert_eq!(
            outboard.verify_leaf(3, &[]),
            Err(DocumentError::NoLeaf { index: 3 })
        );
        assert_eq!(
            outboard.verify_leaf(u64::MAX, &[]),
            Err(DocumentError::NoLeaf { index: u64::MAX })
        );
    }

    #[test]
    fn an_outboard_that_does_not_lead_to_the_root_is_refused() {
        let outboard = hashed(&ciphertext());
        let check = |length, leaves: &[Hash]| check_outboard(outboard.root(), length, leaves).unwrap_err();
        let length = LENGTH as u64;
        let mut changed = outboard.leaves().to_vec();
        changed[1][31] ^= 1;
        assert_eq!(check(length, &changed), DocumentError::Root);
        assert_eq!(
            check(length, &outboard.leaves()[..2]),
            DocumentError::LeafCount {
                expected: 3,
                found: 2
            }
        );
        assert_eq!(
            check(length, &[]),
            DocumentError::LeafCount {
                expected: 3,
                found: 0
            }
        );
        let longer = DocumentError::LeafCount {
            expected: 4,
            found: 3,
        };
        assert_eq!(check(length + LEAF as u64, outboard.leaves()), longer);
    }

    #[test]
    fn a_length_that_no_document_has_is_refused() {
        for bytes in [0, 15, 65_553, ciphertext_len(MAX_BYTES + 1), u64::MAX] {
            let refused = DocumentError::CiphertextLength { bytes };
            assert_eq!(LeafHasher::new(bytes).unwrap_err(), refused);
            assert_eq!(check_outboard(&[0; 32], bytes, &[]).unwrap_err(), refused);
        }
    }

    #[test]
    fn a_stream_of_another_length_is_refused() {
        let mut hasher = LeafHasher::new(20).unwrap();
        hasher.push(&[0; 19]).unwrap();
        assert_eq!(hasher.push(&[0; 2]), Err(DocumentError::TooMany { expected: 20 }));
        let short = hasher.clone().finish();
        assert_eq!(
            short,
            Err(DocumentError::TooFew {
                expected: 20,
                found: 19
            })
        );
        hasher.push(&[0]).unwrap();
        assert_eq!(*hasher.finish().unwrap().root(), leaf_hash(&[0; 20]));
    }
}
