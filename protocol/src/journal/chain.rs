//! The replica of one chain, or of one history of a forked one. SPEC §8.1, §8.4.

use std::sync::Arc;

use super::{Branch, ChainId, Entry, HeadRow, Past, SignedHead, Verdict};
use crate::envelope::{Envelope, Sealed};
use crate::error::Untrusted;
use crate::id::{CertificateId, Digest, MessageId};
use crate::message::Message;
use crate::plant::{Bug, planted};
use crate::time::Instant;
use crate::tree::Tree;

/// What a replica remembers of an entry: not its bytes, which the store keeps.
#[derive(Clone, Debug)]
pub struct Record {
    /// The message.
    pub message: MessageId,
    /// SHA-256 of its envelope.
    pub envelope: Digest,
    /// When the writer recorded it.
    pub recorded_at: Instant,
    /// What became of it.
    pub verdict: Verdict,
    /// What it says, as far as we can read it.
    pub content: Content,
    /// Its causal past, itself excluded.
    pub past: Past,
}

/// What an entry's message says.
#[derive(Clone, Debug)]
pub enum Content {
    /// Opened and authentic, under this certificate.
    Authentic(Arc<Message>, CertificateId),
    /// Kept sealed until its key or its signer is known.
    Sealed(Arc<Sealed>),
    /// Opened elsewhere, kept until its signer is known.
    Opened(Arc<Envelope>),
    /// Not at hand: erased, or not in what brought the entry.
    Absent,
    /// Opened, and not authentic: it can never take effect.
    Rejected,
}

/// One chain: its tree, and a record of each entry.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    tree: Tree,
    last: Option<(Digest, Instant)>,
    /// Entries that another branch has as well, and keeps the records of; and which. JRN-13.
    parted: Option<(u64, Branch)>,
    records: Vec<Record>,
    /// The writer's latest head over it.
    head: Option<SignedHead>,
}

impl Chain {
    /// Entries held.
    pub fn size(&self) -> u64 {
        self.base() + self.records.len() as u64
    }

    /// The position from which on entries are this branch's own: 0, unless it parted from another.
    pub fn base(&self) -> u64 {
        self.parted.map_or(0, |(base, _)| base)
    }

    /// The branch that it parted from.
    pub(crate) fn parent(&self) -> Option<Branch> {
        self.parted.map(|(_, parent)| parent)
    }

    /// The entry at `seq`, from [`Self::base`] on.
    pub fn record(&self, seq: u64) -> Option<&Record> {
        self.records
            .get(usize::try_from(seq.checked_sub(self.base())?).ok()?)
    }

    /// The entry at `seq`, to correct its verdict.
    pub(crate) fn record_mut(&mut self, seq: u64) -> Option<&mut Record> {
        let index = seq.checked_sub(self.base())?;
        self.records.get_mut(usize::try_from(index).ok()?)
    }

    /// The records of the positions from `from` to `to`, as far as there are any.
    pub fn records(&self, from: u64, to: u64) -> &[Record] {
        let index = |seq: u64| (seq.saturating_sub(self.base()) as usize).min(self.records.len());
        &self.records[index(from)..index(to).max(index(from))]
    }

    /// Leaf hash of the entry at `seq`.
    pub fn leaf(&self, seq: u64) -> Option<Digest> {
        self.tree.leaf(seq).map(Digest::new)
    }

    /// Leaf hash and recorded instant of the last entry.
    pub fn last(&self) -> Option<(Digest, Instant)> {
        self.last
    }

    /// The writer's latest head over entries that are held.
    pub fn head(&self) -> Option<&SignedHead> {
        self.head.as_ref()
    }

    /// Keeps a head of the writer that covers entries held, if it covers more than the one that is kept.
    pub(crate) fn note_head(&mut self, head: &SignedHead) {
        let size = |head: &SignedHead| head.head().own_row().map_or(0, |row| row.size);
        if self.head.as_ref().is_none_or(|known| size(known) < size(head)) {
            self.head = Some(head.clone());
        }
    }

    /// A branch that parts from this one, `parent`, after `base` entries, the last of which was recorded at `at`.
    pub(crate) fn part(&self, parent: Branch, base: u64, at: Option<Instant>) -> Self {
        let tree: Tree = self.tree.leaves().iter().take(base as usize).copied().collect();
        let leaf = tree.leaves().last().map(|leaf| Digest::new(*leaf));
        Self {
            last: leaf.zip(at),
            tree,
            parted: Some((base, parent)),
            records: Vec::new(),
            head: None,
        }
    }

    /// The Merkle tree over the entries.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The row that a head carries for this chain; `None` while it is empty.
    pub fn row(&self, chain: ChainId) -> Option<HeadRow> {
        let (leaf, _) = self.last?;
        Some(HeadRow {
            chain,
            size: self.size(),
            leaf,
            root: Digest::new(self.tree.root()),
        })
    }

    /// The row of the first `size` entries; `None` where there are not so many, or none.
    pub fn row_at(&self, chain: ChainId, size: u64) -> Option<HeadRow> {
        let leaf = self.leaf(size.checked_sub(1)?)?;
        Some(HeadRow {
            chain,
            size,
            leaf,
            root: Digest::new(self.tree.root_at(size)?),
        })
    }

    /// Whether a peer's row is a prefix of what we hold: hashes, never heights alone.
    pub fn contains(&self, row: &HeadRow) -> bool {
        let same = || self.leaf(row.size - 1) == Some(row.leaf) || planted(Bug::HeightsOnly);
        row.size <= self.size() && row.size > 0 && same()
    }

    /// Checks that `entries` go on from this chain, and end exactly where `row`, signed by the writer, says; gives their
    /// leaf hashes. JRN-5.
    pub(crate) fn check_run(&self, entries: &[&Entry], row: &HeadRow) -> Result<Vec<Digest>, Untrusted> {
        let mismatch = |what| Err(Untrusted::HeadMismatch { what });
        let mut leaves = Vec::with_capacity(entries.len());
        let mut last = self.last;
        let mut tree = self.tree.frontier();
        for (entry, seq) in entries.iter().zip(self.size()..) {
            if entry.chain != row.chain || entry.seq != seq {
                return mismatch("an entry is out of sequence");
            }
            if entry.prev != last.map(|(leaf, _)| leaf) {
                return mismatch("an entry does not follow the one before");
            }
            if last.is_some_and(|(_, at)| entry.recorded_at < at) {
                return mismatch("recorded time runs backwards");
            }
            let leaf = entry.leaf();
            tree.push(*leaf.as_bytes());
            leaves.push(leaf);
            last = Some((leaf, entry.recorded_at));
        }
        if tree.size() != row.size || last.map(|(leaf, _)| leaf) != Some(row.leaf) {
            return mismatch("the head names another last entry");
        }
        if tree.root() != *row.root.as_bytes() {
            return mismatch("the head's tree root differs");
        }
        Ok(leaves)
    }

    /// Appends an entry that [`Self::check_run`] has accepted, or that we have just made; `leaf` is its leaf hash.
    pub(crate) fn push(&mut self, leaf: Digest, record: Record) {
        self.last = Some((leaf, record.recorded_at));
        self.tree.push(*leaf.as_bytes());
        self.records.push(record);
    }
}
