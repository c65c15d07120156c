//! Heads: what a node stands by. SPEC §8.2.

use serde::{Deserialize, Serialize};

use super::ChainId;
use crate::directory::Directory;
use crate::envelope::{Envelope, Typ, verify_node};
use crate::error::{Error, Incompatible, Malformed};
use crate::id::{Digest, DossierId, Incarnation, SubjectId};
use crate::time::Instant;
use crate::tree::{self, Hash};
use crate::wire::{codec, limits};

/// How far one chain is held. JRN-4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadRow {
    /// Which chain.
    pub chain: ChainId,
    /// Entries held, all from 0; at least 1.
    pub size: u64,
    /// Leaf hash of the last one.
    pub leaf: Digest,
    /// Root of the tree over all of them.
    pub root: Digest,
}

impl HeadRow {
    /// Whether `rows` are as a head has them: ascending by chain, then leaf, each of an entry at least, not too many. JRN-4.
    pub fn are_in_order(rows: &[Self]) -> bool {
        let place = |row: &Self| (row.chain, row.leaf);
        rows.windows(2).all(|pair| place(&pair[0]) < place(&pair[1]))
            && rows.iter().all(|row| row.size > 0)
            && rows.len() <= limits::FRONTIER_ROWS
    }
}

/// How far an authority's log is held. REG-5.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryHead {
    /// The log's name.
    pub origin: String,
    /// Leaves held.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Digest,
}

/// What a node signs after it has made durable all that this covers. JRN-4. Keys are positions: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The format's version, 1.
    pub v: u64,
    /// Ascending among the heads of this node in this dossier and incarnation; higher after a start. JRN-7.
    pub head_no: u64,
    /// The dossier.
    pub dossier: DossierId,
    /// The node.
    pub node: SubjectId,
    /// The life of its store.
    pub incarnation: Incarnation,
    /// Every chain it holds, its own included, ascending by chain, then leaf: a forked one with each history. JRN-13.
    pub rows: Vec<HeadRow>,
    /// The registries it knows, ascending by origin.
    pub registries: Vec<RegistryHead>,
    /// When it signed, by its own clock.
    pub time: Instant,
}

impl Head {
    /// The format's version.
    pub const VERSION: u64 = 1;

    /// The chain that the signer writes.
    pub const fn chain(&self) -> ChainId {
        ChainId {
            node: self.node,
            incarnation: self.incarnation,
        }
    }

    /// How far each history of `chain` is held.
    pub fn rows_of(&self, chain: &ChainId) -> &[HeadRow] {
        let from = self.rows.partition_point(|row| row.chain < *chain);
        let rows = &self.rows[from..];
        &rows[..rows.partition_point(|row| row.chain == *chain)]
    }

    /// How far the signer's own chain goes; of that there is one history only. JRN-13.
    pub fn own_row(&self) -> Option<&HeadRow> {
        self.rows_of(&self.chain()).first()
    }

    /// The row under which `path` shows `leaf` at `position` of a chain, if it shows it under any.
    pub fn row_with(&self, chain: &ChainId, position: u64, leaf: &Digest, path: &[Hash]) -> Option<&HeadRow> {
        let shows = |row: &&HeadRow| {
            let root = row.root.as_bytes();
            tree::verify_inclusion(leaf.as_bytes(), position, row.size, path, root).is_ok()
        };
        self.rows_of(chain).iter().find(shows)
    }

    /// The row of which `path` shows that `beginning` is the beginning, if it shows it of any.
    pub fn row_after(&self, beginning: &HeadRow, path: &[Hash]) -> Option<&HeadRow> {
        let shows = |row: &&HeadRow| {
            let (old, new) = (beginning.root.as_bytes(), row.root.as_bytes());
            tree::verify_consistency(beginning.size, row.size, old, new, path).is_ok()
        };
        self.rows_of(&beginning.chain).iter().find(shows)
    }

    /// The payload to be signed.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let head: Self = codec::decode(bytes, limits::PAYLOAD_BYTES)?;
        if head.v != Self::VERSION {
            return Err(Incompatible::Version(head.v).into());
        }
        let ascending = HeadRow::are_in_order(&head.rows)
            && head.rows_of(&head.chain()).len() <= 1
            && head
                .registries
                .windows(2)
                .all(|pair| pair[0].origin < pair[1].origin);
        if ascending && head.registries.len() <= limits::REGISTRIES {
            Ok(head)
        } else {
            Err(Malformed::bad_value().into())
        }
    }
}

/// A head whose signature has been checked, with the bytes it came in: they are stored and replayed as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    envelope: Envelope,
    head: Head,
}

impl SignedHead {
    /// Decodes and verifies a head. The signer must be the node that the head names, valid at the head's own time.
    pub fn verify(bytes: &[u8], directory: &dyn Directory) -> Result<Self, Error> {
        let envelope = Envelope::decode(bytes)?;
        let head = Head::decode(envelope.payload())?;
        verify_node(&envelope, Typ::Head, head.node, head.time, directory)?;
        Ok(Self { envelope, head })
    }

    /// The head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Whether it counts rather than `known`, of the same node. JRN-7.
    pub fn supersedes(&self, known: &Self) -> bool {
        if known.head.incarnation == self.head.incarnation {
            return known.head.head_no < self.head.head_no;
        }
        known.head.time <= self.head.time
    }

    /// The signed envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The bytes, as received.
    pub fn encode(&self) -> Vec<u8> {
        self.envelope.encode()
    }
}
