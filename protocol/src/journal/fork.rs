//! Transferable proofs that a node contradicted itself. SPEC §8.6.

use super::{Entry, SignedHead};
use crate::directory::Directory;
use crate::error::{Error, Untrusted};
use crate::id::{Digest, SubjectId};
use crate::tree;

/// Two heads of one chain that no single chain can satisfy. JRN-10.
///
/// `b` holds at least as many entries as `a`; the leaf of `b` at `a`'s last position is not `a`'s last entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkProof {
    /// The shorter head, as received.
    pub a: Vec<u8>,
    /// The head that contradicts it, as received.
    pub b: Vec<u8>,
    /// The leaf that `b` has at `a`'s last position.
    pub leaf: Digest,
    /// Its inclusion path in `b` (RFC 9162 §2.1.3).
    pub path: Vec<tree::Hash>,
}

impl ForkProof {
    /// The node that forked, if the proof holds.
    pub fn verify(&self, directory: &dyn Directory) -> Result<SubjectId, Error> {
        let (a, b) = (
            SignedHead::verify(&self.a, directory)?,
            SignedHead::verify(&self.b, directory)?,
        );
        let (a, b) = (a.head(), b.head());
        let fails = |what| Err(Untrusted::HeadMismatch { what }.into());
        if a.chain() != b.chain() || a.dossier != b.dossier {
            return fails("the heads are of different chains");
        }
        let (Some(row_a), Some(row_b)) = (a.own_row(), b.own_row()) else {
            return fails("a head without entries proves nothing");
        };
        if row_b.size < row_a.size || self.leaf == row_a.leaf {
            return fails("the heads do not contradict each other");
        }
        let index = row_a.size - 1;
        match tree::verify_inclusion(
            self.leaf.as_bytes(),
            index,
            row_b.size,
            &self.path,
            row_b.root.as_bytes(),
        ) {
            Ok(()) => Ok(a.node),
            Err(_) => fails("the leaf is not in the longer head"),
        }
    }
}

/// A head that covers two neighbouring entries of which the later does not follow the earlier. JRN-11.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadChain {
    /// The head, as received.
    pub head: Vec<u8>,
    /// The earlier entry's leaf hash.
    pub earlier: Digest,
    /// The later entry, whole: its `prev` is what disagrees.
    pub later: Entry,
    /// Inclusion paths of both.
    pub paths: [Vec<tree::Hash>; 2],
}

impl BadChain {
    /// The node that signed it, if the proof holds.
    pub fn verify(&self, directory: &dyn Directory) -> Result<SubjectId, Error> {
        let head = SignedHead::verify(&self.head, directory)?;
        let head = head.head();
        let fails = |what| Err(Untrusted::HeadMismatch { what }.into());
        let Some(row) = head.own_row() else {
            return fails("a head without entries proves nothing");
        };
        let Some(before) = self.later.seq.checked_sub(1) else {
            return fails("the first entry has none before it");
        };
        if self.later.prev == Some(self.earlier) {
            return fails("the later entry follows the earlier");
        }
        let leaves = [(self.earlier, before), (self.later.leaf(), self.later.seq)];
        for ((leaf, index), path) in leaves.iter().zip(&self.paths) {
            if tree::verify_inclusion(leaf.as_bytes(), *index, row.size, path, row.root.as_bytes()).is_err() {
                return fails("a leaf is not under the head");
            }
        }
        Ok(head.node)
    }
}
