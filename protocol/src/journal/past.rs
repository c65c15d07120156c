//! What lies before something: sizes of chains.

use std::collections::BTreeMap;

use super::ChainId;

/// How much of each chain somebody has: sizes by chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock(BTreeMap<ChainId, u64>);

impl Clock {
    /// Entries of `chain`.
    pub fn size(&self, chain: &ChainId) -> u64 {
        self.0.get(chain).copied().unwrap_or(0)
    }

    /// Adds the first `size` entries of `chain`.
    pub fn raise(&mut self, chain: ChainId, size: u64) {
        let known = self.0.entry(chain).or_insert(0);
        *known = (*known).max(size);
    }

    /// Chains and sizes, ascending by chain.
    pub fn iter(&self) -> impl Iterator<Item = (&ChainId, u64)> {
        self.0.iter().map(|(chain, size)| (chain, *size))
    }
}

/// How much of each chain lies in the causal past of an entry: sizes by the chains' numbers in one replica.
///
/// Every entry held has one, and every restart of a node begins a chain: numbers keep it small.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past(Box<[u64]>);

impl Past {
    /// Entries of the chain with this number.
    pub fn size(&self, number: usize) -> u64 {
        self.0.get(number).copied().unwrap_or(0)
    }

    /// Sizes, by number.
    pub fn sizes(&self) -> &[u64] {
        &self.0
    }

    /// Entries of all chains.
    pub fn entries(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Whether another past lies within this one.
    pub fn covers(&self, other: &Self) -> bool {
        other
            .0
            .iter()
            .enumerate()
            .all(|(number, size)| self.size(number) >= *size)
    }

    /// Adds the first `size` entries of a chain.
    pub fn raise(&mut self, number: usize, size: u64) {
        self.grow(number + 1);
        self.0[number] = self.0[number].max(size);
    }

    /// Adds another past.
    pub fn join(&mut self, other: &Self) {
        self.grow(other.0.len());
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine = (*mine).max(*theirs);
        }
    }

    fn grow(&mut self, chains: usize) {
        if self.0.len() < chains {
            let mut sizes = std::mem::take(&mut self.0).into_vec();
            sizes.resize(chains, 0);
            self.0 = sizes.into_boxed_slice();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(sizes: &[u64]) -> Past {
        Past(sizes.into())
    }

    #[test]
    fn a_past_covers_what_was_joined_to_it_and_nothing_else() {
        let mut joined = past(&[3, 0, 1]);
        joined.join(&past(&[1, 2]));
        joined.raise(4, 7);
        assert_eq!(joined, past(&[3, 2, 1, 0, 7]));
        assert!(joined.covers(&past(&[3, 2])) && joined.covers(&past(&[0, 0, 1, 0, 7, 0])));
        assert!(!joined.covers(&past(&[4])) && !joined.covers(&past(&[0, 0, 0, 0, 0, 1])));
        assert_eq!((joined.entries(), joined.size(3), joined.size(9)), (13, 0, 0));
        joined.raise(0, 2);
        assert_eq!(joined.size(0), 3);
    }
}
