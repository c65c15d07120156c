//! Snapshots: the state of a log as it stated the root last, for a node that begins without the entries before. SPEC §9.7.
//!
//! ```text
//! head ▶ tile, leaves in it ▶ … ▶ last leaves ▶ the entry that states the root ▶ bucket ▶ bucket ▶ …    head of the next log ▶ …
//!  │                                                 │                               │
//!  checkpoint under the quorum ◀── is in its tree ───┘ ◀────── makes its root ────────┘
//! ```
//! So nobody need be believed who hands one on. Whoever takes one believes the quorum that what came before was admissible,
//! until it has the entries themselves.

use basoche_protocol::error::Malformed;
use basoche_protocol::id::Digest;
use basoche_protocol::tree::Hash;
use basoche_protocol::wire::codec;
use basoche_protocol::wire::frame::RegistryLeaf;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

mod give;
mod take;

pub use give::{Given, NotGiven};
pub use take::{Refused, Taken, Taking};

/// What a snapshot file begins with.
pub const MAGIC: &[u8] = b"basoche-snapshot/1\n";
/// Bytes of a part, its kind included. SNP-1.
pub const PART_BYTES: usize = 4 << 20;

/// What a snapshot consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Head(Head),
    Tile(ByteBuf),
    Leaf(Carried),
    Bucket(Stored),
}

/// Of which log, and what the rest is held to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) origin: String,
    /// Entries whose state it is: the index of the one that states the root.
    pub(crate) size: u64,
    /// A note, of that entry and perhaps more.
    pub(crate) checkpoint: String,
    /// That the tree that ends with that entry is a prefix of the checkpoint's.
    pub(crate) path: Vec<Digest>,
    /// The buckets that are not empty, ascending: number in two bytes, leaf hash.
    pub(crate) buckets: ByteBuf,
}

/// Bytes of a bucket in a head.
const LISTED_BYTES: usize = 2 + 32;

impl Head {
    fn list(hashes: &[(u16, Hash)]) -> ByteBuf {
        let listed = hashes
            .iter()
            .map(|(number, hash)| [&number.to_be_bytes()[..], hash].concat());
        ByteBuf::from(listed.collect::<Vec<_>>().concat())
    }

    /// The buckets listed; `None` if they are not in order.
    fn listed(&self) -> Option<Vec<(u16, Hash)>> {
        let (listed, rest) = self.buckets.as_chunks::<LISTED_BYTES>();
        let read = |listed: &[u8; LISTED_BYTES]| {
            let hash = listed[2..].try_into().ok()?;
            Some((u16::from_be_bytes([listed[0], listed[1]]), hash))
        };
        let listed: Option<Vec<(u16, Hash)>> = listed.iter().map(read).collect();
        let ascending = |listed: &[(u16, Hash)]| listed.windows(2).all(|pair| pair[0].0 < pair[1].0);
        listed.filter(|listed| rest.is_empty() && ascending(listed))
    }
}

/// A leaf that a node cannot do without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Carried {
    pub(crate) index: u64,
    pub(crate) leaf: RegistryLeaf,
}

/// A bucket, with the records themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) number: u64,
    pub(crate) records: Vec<Record>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) kind: u8,
    pub(crate) key: ByteBuf,
    pub(crate) record: ByteBuf,
}

impl Part {
    /// Its kind in one byte, and canonical CBOR.
    fn encode(&self) -> Vec<u8> {
        let (kind, mut content) = match self {
            Self::Head(head) => (1, codec::encode(head)),
            Self::Tile(tile) => (2, codec::encode(tile)),
            Self::Leaf(leaf) => (3, codec::encode(leaf)),
            Self::Bucket(bucket) => (4, codec::encode(bucket)),
        };
        content.insert(0, kind);
        content
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        fn content<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
            codec::decode(bytes, PART_BYTES)
        }
        match bytes.split_first() {
            Some((1, rest)) => content(rest).map(Self::Head),
            Some((2, rest)) => content(rest).map(Self::Tile),
            Some((3, rest)) => content(rest).map(Self::Leaf),
            Some((4, rest)) => content(rest).map(Self::Bucket),
            _ => Err(Malformed::bad_value()),
        }
    }
}
