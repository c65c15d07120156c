//! Every chain of a dossier, each with its branches. SPEC §8.1, §8.6.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Chain, ChainId, Citation, Entry, ForkProof, HeadRow, Record};
use crate::wire::limits;

/// One history of a chain. An honest node writes one; a replica numbers those that it holds as they come. JRN-13.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Branch {
    /// The chain.
    pub chain: ChainId,
    /// 0 for the one that came first. Numbers mean nothing outside of the replica.
    pub number: u32,
}

impl Branch {
    /// The history of `chain` that came first.
    pub const fn first(chain: ChainId) -> Self {
        Self { chain, number: 0 }
    }
}

/// What a row says of a chain, beside what we hold of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is a beginning of this branch, or all of it.
    Held(Branch),
    /// It may go on from what we hold.
    Ahead,
    /// It is another history than any that we hold.
    Contradicts,
}

/// Every chain of a dossier, as far as one replica holds it.
#[derive(Clone, Debug, Default)]
pub struct Chains {
    branches: BTreeMap<Branch, Chain>,
    /// Where the histories of a forked chain first part.
    forks: BTreeMap<ChainId, u64>,
}

impl Chains {
    /// A branch.
    pub fn get(&self, branch: &Branch) -> Option<&Chain> {
        self.branches.get(branch)
    }

    /// Every branch, ascending by chain and number.
    pub fn iter(&self) -> impl Iterator<Item = (&Branch, &Chain)> {
        self.branches.iter()
    }

    /// The branches of one chain, in the order in which they came.
    pub fn of(&self, chain: &ChainId) -> impl Iterator<Item = (&Branch, &Chain)> {
        let number = |number| Branch {
            chain: *chain,
            number,
        };
        self.branches.range(number(0)..=number(u32::MAX))
    }

    /// How far each branch is held, ascending by chain and leaf. JRN-4.
    pub fn rows(&self) -> Vec<HeadRow> {
        let rows = self.branches.iter();
        let mut rows: Vec<_> = rows
            .filter_map(|(branch, chain)| chain.row(branch.chain))
            .collect();
        rows.sort_by_key(|row| (row.chain, row.leaf));
        rows
    }

    /// The branch that has the entry that a citation names.
    pub fn locate(&self, cited: &Citation) -> Option<Branch> {
        let mut branches = self.of(&cited.chain);
        let found = branches.find(|(_, chain)| chain.leaf(cited.seq) == Some(cited.leaf));
        found.map(|(branch, _)| *branch)
    }

    /// What `row` says, beside what we hold: hashes are compared, never heights alone. JRN-10.
    pub fn standing(&self, row: &HeadRow) -> Standing {
        if let Some((branch, _)) = self.of(&row.chain).find(|(_, chain)| chain.contains(row)) {
            return Standing::Held(*branch);
        }
        let mut branches = self.of(&row.chain).map(|(_, chain)| chain.size()).peekable();
        if branches.peek().is_none() || branches.any(|size| size < row.size) {
            Standing::Ahead
        } else {
            Standing::Contradicts
        }
    }

    /// How many entries two branches of one chain have in common.
    pub fn shared(&self, one: &Branch, other: &Branch) -> u64 {
        if one == other {
            return self.get(one).map_or(0, Chain::size);
        }
        let leaves = |branch| self.get(branch).map_or(&[][..], |held| held.tree().leaves());
        let (one, other) = (leaves(one), leaves(other));
        // An entry names the one before: after the first difference there is nothing but differences.
        let (mut same, mut end) = (0, one.len().min(other.len()));
        while same < end {
            let middle = same + (end - same) / 2;
            if one[middle] == other[middle] {
                same = middle + 1;
            } else {
                end = middle;
            }
        }
        same as u64
    }

    /// How many entries of `branch` somebody with these rows has, as far as the rows tell.
    pub fn known_by(&self, branch: &Branch, rows: &[HeadRow]) -> u64 {
        let size = self.get(branch).map_or(0, Chain::size);
        let of_chain = rows.iter().filter(|row| row.chain == branch.chain);
        let known = of_chain.map(|row| match self.standing(row) {
            Standing::Held(held) => self.shared(branch, &held).min(row.size),
            // It holds more than we do: either way it needs nothing of that branch.
            Standing::Ahead if row.size > size => size,
            Standing::Ahead | Standing::Contradicts => 0,
        });
        known.max().unwrap_or(0)
    }

    /// The branch that a run follows furthest, and how many of its entries that one has. `None` if it follows none.
    pub(crate) fn follow(&self, chain: &ChainId, entries: &[&Entry]) -> Option<(Branch, usize)> {
        let first = entries.first()?;
        let follows = |held: &Chain| match first.seq.checked_sub(1) {
            None => true,
            Some(before) => first.prev.is_some() && held.leaf(before) == first.prev,
        };
        let known = |held: &Chain| {
            let pairs = entries.iter().zip(first.seq..);
            pairs
                .take_while(|(entry, seq)| held.leaf(*seq).is_some_and(|leaf| leaf == entry.leaf()))
                .count()
        };
        self.of(chain)
            .filter(|(_, held)| follows(held))
            .map(|(branch, held)| (*branch, known(held)))
            .max_by_key(|(branch, known)| (*known, Reverse(branch.number)))
    }

    /// Where the histories of a chain first part; `None` while we hold one only.
    pub fn fork(&self, chain: &ChainId) -> Option<u64> {
        self.forks.get(chain).copied()
    }

    /// Every forked chain, ascending, and where its histories first part.
    pub fn forks(&self) -> impl Iterator<Item = (ChainId, u64)> {
        self.forks.iter().map(|(chain, base)| (*chain, *base))
    }

    /// Whether another history of the chain finds room.
    pub(crate) fn has_room(&self, chain: &ChainId) -> bool {
        self.of(chain).count() < limits::BRANCHES
    }

    /// The branch that parts from `from` after `base` entries: not kept yet.
    pub(crate) fn parting(&self, from: &Branch, base: u64) -> Chain {
        let before = base.checked_sub(1).and_then(|seq| self.record(from, seq));
        let at = before.map(|record| record.recorded_at);
        self.get(from)
            .map(|held| held.part(*from, base, at))
            .unwrap_or_default()
    }

    /// Keeps a branch that [`Self::parting`] gave.
    pub(crate) fn part(&mut self, chain: ChainId, parting: Chain) -> Branch {
        let number = self.of(&chain).count() as u32;
        let branch = Branch { chain, number };
        let base = parting.base();
        let fork = self.forks.entry(chain).or_insert(base);
        *fork = (*fork).min(base);
        self.branches.insert(branch, parting);
        branch
    }

    /// The branch that keeps the record of an entry of `branch`: the one that it came with.
    pub(crate) fn owner(&self, branch: &Branch, seq: u64) -> Branch {
        let mut owner = *branch;
        while let Some(parent) = self
            .get(&owner)
            .filter(|held| seq < held.base())
            .and_then(Chain::parent)
        {
            owner = parent;
        }
        owner
    }

    /// The record of an entry.
    pub fn record(&self, branch: &Branch, seq: u64) -> Option<&Record> {
        self.get(&self.owner(branch, seq))?.record(seq)
    }

    /// The branch, to add to it or to correct it: empty, if we held nothing of it.
    pub(crate) fn entry(&mut self, branch: Branch) -> &mut Chain {
        self.branches.entry(branch).or_default()
    }

    /// The record of an entry, to correct its verdict.
    pub(crate) fn record_mut(&mut self, branch: &Branch, seq: u64) -> Option<&mut Record> {
        self.branches.get_mut(branch)?.record_mut(seq)
    }

    /// The proof that a chain's node signed two histories of it. JRN-10.
    pub fn proof(&self, chain: &ChainId) -> Option<ForkProof> {
        let signed = self.of(chain).filter_map(|(branch, held)| {
            let head = held.head()?;
            Some((branch, held, head, head.head().own_row()?.size))
        });
        let signed: Vec<_> = signed.collect();
        let pairs = signed.iter().flat_map(|a| signed.iter().map(move |b| (a, b)));
        pairs
            .filter(|((one, _, _, a), (other, _, _, b))| one != other && a <= b)
            .find(|((one, _, _, a), (other, ..))| self.shared(one, other) < *a)
            .and_then(|((_, _, a, size), (_, held, b, of))| {
                let last = size - 1;
                Some(ForkProof {
                    a: a.encode(),
                    b: b.encode(),
                    leaf: held.leaf(last)?,
                    path: held.tree().inclusion_path(last, *of)?,
                })
            })
    }
}
