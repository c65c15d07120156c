//! The replica of one chain. SPEC §8.1, §8.4.

use std::sync::Arc;

use super::{ChainId, Entry, HeadRow, Past, Verdict};
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
    /// Not at hand: not in the evidence that brought the entry.
    Absent,
    /// Opened, and not authentic: it can never take effect.
    Rejected,
}

/// One chain: its tree, and a record of each entry.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    tree: Tree,
    last: Option<(Digest, Instant)>,
    records: Vec<Record>,
}

impl Chain {
    /// Entries held.
    pub fn size(&self) -> u64 {
        self.records.len() as u64
    }

    /// The entry at `seq`.
    pub fn record(&self, seq: u64) -> Option<&Record> {
        self.records.get(usize::try_from(seq).ok()?)
    }

    /// The entry at `seq`, to correct its verdict.
    pub(crate) fn record_mut(&mut self, seq: u64) -> Option<&mut Record> {
        self.records.get_mut(usize::try_from(seq).ok()?)
    }

    /// Every record, in order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Leaf hash of the entry at `seq`.
    pub fn leaf(&self, seq: u64) -> Option<Digest> {
        self.tree.leaf(seq).map(Digest::new)
    }

    /// Leaf hash and recorded instant of the last entry.
    pub fn last(&self) -> Option<(Digest, Instant)> {
        self.last
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

    /// Checks that `entries` go on from this chain, and end exactly where `row`, signed by the writer, says. JRN-5.
    pub fn check_run(&self, entries: &[Entry], row: &HeadRow) -> Result<(), Untrusted> {
        let mismatch = |what| Err(Untrusted::HeadMismatch { what });
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
            last = Some((leaf, entry.recorded_at));
        }
        if tree.size() != row.size || last.map(|(leaf, _)| leaf) != Some(row.leaf) {
            return mismatch("the head names another last entry");
        }
        if tree.root() != *row.root.as_bytes() {
            return mismatch("the head's tree root differs");
        }
        Ok(())
    }

    /// Appends an entry that [`Self::check_run`] has accepted, or that we have just made.
    pub(crate) fn push(&mut self, entry: &Entry, record: Record) {
        let leaf = entry.leaf();
        self.tree.push(*leaf.as_bytes());
        self.last = Some((leaf, entry.recorded_at));
        self.records.push(record);
    }
}
