//! Journal entries. SPEC §8.1.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Malformed;
use crate::id::{Digest, DossierId, Incarnation, MessageId, SubjectId};
use crate::time::Instant;
use crate::tree;
use crate::wire::{codec, limits};

/// One writer's chain: a node in one life of its store. JRN-1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChainId {
    /// The writer.
    pub node: SubjectId,
    /// The life of its store.
    pub incarnation: Incarnation,
}

impl fmt::Debug for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.incarnation)
    }
}

/// A position of a chain. JRN-3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Citation {
    /// Which chain.
    pub chain: ChainId,
    /// Which entry.
    pub seq: u64,
    /// Its leaf hash: citing a height alone would hide a fork.
    pub leaf: Digest,
}

/// An epoch key wrapped for one node. KEY-3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochWrap {
    /// The key epoch.
    pub epoch: u64,
    /// Who can open it.
    pub recipient: SubjectId,
    /// Compact JWE.
    pub jwe: String,
}

/// A node recorded a message. JRN-2. Keys are positions: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The dossier.
    pub dossier: DossierId,
    /// The chain.
    pub chain: ChainId,
    /// The position in the chain, from 0.
    pub seq: u64,
    /// Leaf hash of the entry before, absent at 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<Digest>,
    /// What the writer verified of other chains since its entry before.
    pub deps: Vec<Citation>,
    /// When the node recorded it; never before its entry before.
    pub recorded_at: Instant,
    /// The message.
    pub message: MessageId,
    /// SHA-256 of its envelope, signature included.
    pub envelope_digest: Digest,
    /// SHA-256 of its sealed form.
    pub sealed_digest: Digest,
    /// Key wraps that this entry hands out.
    pub wraps: Vec<EpochWrap>,
    /// At position 0 of a later incarnation: the position of the earlier one that it goes on from. JRN-6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopts: Option<Citation>,
}

impl Entry {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads the canonical bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let entry: Self = codec::decode(bytes, limits::ENTRY_BYTES)?;
        let place = |dep: &Citation| (dep.chain, dep.leaf);
        let ordered = entry
            .deps
            .windows(2)
            .all(|pair| place(&pair[0]) < place(&pair[1]));
        let foreign = entry.deps.iter().all(|dep| dep.chain != entry.chain);
        let rooted = (entry.seq == 0) == entry.prev.is_none() && (entry.seq == 0 || entry.adopts.is_none());
        let bounded = entry.deps.len() <= limits::DEPS && entry.wraps.len() <= limits::WRAPS;
        if ordered && foreign && rooted && bounded {
            Ok(entry)
        } else {
            Err(Malformed::bad_value())
        }
    }

    /// Leaf hash of the canonical bytes (RFC 9162 §2.1.1).
    pub fn leaf(&self) -> Digest {
        Digest::new(tree::leaf_hash(&self.encode()))
    }
}
