//! The compact form of a tree: enough to append to it and to know its root, in at most 64 hashes.

use super::{Hash, empty_root, node_hash};

/// The roots of the complete subtrees into which a tree's leaves fall, one for each set bit of its size, the
/// largest first. A push costs one hash on average.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The largest size a frontier is restored at, so that no push can overflow.
    pub const MAX_RESTORED_SIZE: u64 = 1 << 62;

    /// The frontier of a tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Restores a frontier from its [`size`](Self::size) and [`peaks`](Self::peaks). `None` where the number
    /// of peaks is not that of the set bits of `size`, or `size` is over [`Self::MAX_RESTORED_SIZE`]. That
    /// the peaks are the right ones shows in the root alone.
    #[must_use]
    pub fn from_peaks(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        let fits = size <= Self::MAX_RESTORED_SIZE && peaks.len() == size.count_ones() as usize;
        fits.then_some(Self { size, peaks })
    }

    pub(super) fn of_peaks(size: u64, peaks: Vec<Hash>) -> Self {
        Self { size, peaks }
    }

    /// Appends a leaf, given by its [`leaf_hash`](super::leaf_hash).
    pub fn push(&mut self, leaf_hash: Hash) {
        let complete = self.size.trailing_ones() as usize;
        let kept = self.peaks.len() - complete;
        let hash = self
            .peaks
            .drain(kept..)
            .rev()
            .fold(leaf_hash, |right, left| node_hash(&left, &right));
        self.peaks.push(hash);
        self.size += 1;
    }

    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, the largest first.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        let joined = self
            .peaks
            .iter()
            .rev()
            .copied()
            .reduce(|right, left| node_hash(&left, &right));
        joined.unwrap_or_else(empty_root)
    }
}

impl FromIterator<Hash> for Frontier {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Self {
        let mut frontier = Self::new();
        leaves.into_iter().for_each(|leaf| frontier.push(leaf));
        frontier
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tree::leaf_hash;

    #[test]
    fn a_restored_frontier_goes_on_as_the_first() {
        let mut frontier = Frontier::new();
        for n in 0u8..=130 {
            let mut restored = Frontier::from_peaks(frontier.size(), frontier.peaks().to_vec()).unwrap();
            assert_eq!(restored, frontier);
            restored.push(leaf_hash(&[n]));
            frontier.push(leaf_hash(&[n]));
            assert_eq!(restored.root(), frontier.root());
        }
        assert_eq!(frontier.size(), 131);
    }

    #[test]
    fn peaks_that_do_not_fit_the_size_are_refused() {
        assert_eq!(Frontier::from_peaks(0, vec![[0; 32]]), None);
        assert_eq!(Frontier::from_peaks(3, vec![[0; 32]]), None);
        assert_eq!(Frontier::from_peaks(4, vec![[0; 32]; 2]), None);
        assert_eq!(Frontier::from_peaks(u64::MAX, vec![[0; 32]; 64]), None);
        let mut largest = Frontier::from_peaks(Frontier::MAX_RESTORED_SIZE, vec![[0; 32]]).unwrap();
        largest.push([1; 32]);
        assert_eq!(largest.root(), node_hash(&[0; 32], &[1; 32]));
    }
}
