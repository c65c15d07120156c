//! What nodes say to each other on a control stream. SPEC §10.2.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{canon, codec, limits};
use crate::error::{Malformed, MalformedKind as Kind};
use crate::id::{Digest, DossierId, Incarnation, SubjectId};
use crate::journal::{ChainId, Citation, EpochWrap, HeadRow, RegistryHead};
use crate::time::Instant;

/// What an item of a run takes beyond its entry and message, at most: a map, two keys, two heads.
const ITEM_OVERHEAD_BYTES: usize = 16;

/// The first frame of each side. SYN-1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Protocol versions it speaks, ascending; the highest common one is used.
    pub versions: Vec<u64>,
    /// Features it has, by number, ascending; unknown ones are ignored.
    pub features: Vec<u64>,
    /// Who it is: the TLS key has already proved it.
    pub node: SubjectId,
    /// Drawn anew at every start: tells a restart from a reconnection.
    pub incarnation: Incarnation,
    /// The registries it holds, and how far.
    pub registries: Vec<RegistryHead>,
    /// Its clock.
    pub time: Instant,
    /// Name and version of the program, for the log.
    pub software: String,
}

/// One leaf of an authority's log with its certificate. REG-4.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryLeaf {
    /// `[envelope, [* co-signature]]`.
    pub leaf: ByteBuf,
    /// The certificate that it enrols, DER; empty when it enrols none.
    pub certificate: ByteBuf,
}

/// Leaves that the other side lacks. SYN-4.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryLeaves {
    /// The log.
    pub origin: String,
    /// The index of the first leaf.
    pub from: u64,
    /// The leaves, in order.
    pub leaves: Vec<RegistryLeaf>,
}

/// Leaves that the sender lacks, of before the snapshot with which it began. SNP-4.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryRequest {
    /// The log.
    pub origin: String,
    /// The index of the first.
    pub from: u64,
}

/// How far a dossier is held, and the keys for the other side. SYN-5.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier {
    /// The dossier.
    pub dossier: DossierId,
    /// Every chain held, ascending.
    pub rows: Vec<HeadRow>,
    /// The key wraps that the journal holds for the receiver.
    pub wraps: Vec<EpochWrap>,
    /// The sender's latest head, if it has signed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<ByteBuf>,
    /// Entries whose message the sender lacks, and knows of no order to erase it. SYN-13.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<Citation>,
    /// The receiver's latest head, if the sender has it at hand. SYN-17.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yours: Option<ByteBuf>,
}

/// An entry and its sealed message; without it, if that is erased. SYN-6, SYN-13.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Canonical bytes of the entry.
    pub entry: ByteBuf,
    /// Canonical bytes of the sealed message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<ByteBuf>,
}

/// A run of one chain's entries, closed by the head that covers them. SYN-6.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The dossier.
    pub dossier: DossierId,
    /// The chain.
    pub chain: ChainId,
    /// The entries, in order.
    pub items: Vec<Item>,
    /// The head, as signed.
    pub head: ByteBuf,
}

/// Something was turned away; the connection goes on. SYN-8.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The code of SPEC §11.
    pub code: u64,
    /// SHA-256 of the frame that was turned away.
    pub about: Digest,
    /// In how many milliseconds more of that dossier is taken. SYN-19.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// The dossier that the frame was about, where `retry_after` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dossier: Option<DossierId>,
}

/// What stands for a dossier as one node holds it, for one other. SYN-14.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DossierDigest {
    /// The dossier.
    pub dossier: DossierId,
    /// Equal on both sides if they hold the same entries and have each other's latest head.
    pub digest: Digest,
}

/// The dossiers that have changed at the sender since the receiver found all equal. SYN-14.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The number of the sender's change up to which the receiver has acknowledged all.
    pub from: u64,
    /// The number of the sender's change up to which this tells all.
    pub to: u64,
    /// The number of the receiver's change up to which the sender has found all equal.
    pub acknowledged: u64,
    /// Ascending by dossier.
    pub digests: Vec<DossierDigest>,
}

/// Asks for a proof that the receiver's latest head covers what the sender holds of a chain. SYN-22.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofRequest {
    /// The dossier.
    pub dossier: DossierId,
    /// Entries of one history of a chain, from its first on: by hash, a height alone would hide a fork.
    pub row: HeadRow,
    /// The position of the entry, among those, whose inclusion is to be shown; without it, that all of them are a beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
}

/// The answer: a row of the head covers what was asked about, and the path leads to its root. SYN-22.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// SHA-256 of the frame that asked.
    pub about: Digest,
    /// The sender's latest head, as signed.
    pub head: ByteBuf,
    /// The inclusion or consistency path, RFC 9162 §2.1.3 and §2.1.4.
    pub path: Vec<Digest>,
    /// Of an inclusion, the leaf hash at the position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf: Option<Digest>,
}

macro_rules! frames {
    ($($code:literal $name:ident($content:ty),)+) => {
        /// A frame: `[kind, content]`. SYN-2.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Frame { $($name($content),)+ }

        impl Frame {
            /// The canonical bytes.
            pub fn encode(&self) -> Vec<u8> {
                let room = self.room();
                match self { $(Self::$name(content) => canon::encode_numbered($code, &codec::encode_in(content, room)),)+ }
            }

            /// Reads the canonical bytes.
            pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
                canon::check(bytes, limits::FRAME_BYTES)?;
                let (kind, content) = canon::numbered(bytes)?;
                match u8::try_from(kind).unwrap_or(u8::MAX) {
                    $($code => Ok(Self::$name(codec::decode(content, limits::FRAME_BYTES)?)),)+
                    _ => Err(Malformed::at(1, Kind::UnknownType)),
                }
            }
        }
    };
}

frames! {
    1_u8 Hello(Hello),
    2_u8 RegistryLeaves(RegistryLeaves),
    3_u8 Frontier(Frontier),
    4_u8 Run(Run),
    5_u8 Head(ByteBuf),
    6_u8 Refusal(Refusal),
    7_u8 Inventory(Inventory),
    8_u8 ProofRequest(ProofRequest),
    9_u8 Proof(Proof),
    10_u8 Checkpoint(ByteBuf),
    11_u8 Equivocation(ByteBuf),
    12_u8 RegistryRequest(RegistryRequest),
}

impl Frame {
    /// Bytes that the content needs, or a little more.
    fn room(&self) -> usize {
        const REST: usize = 512;
        let Self::Run(run) = self else {
            return REST;
        };
        let items = run.items.iter().map(|item| {
            let sealed = item.sealed.as_ref().map_or(0, |sealed| sealed.len());
            item.entry.len() + sealed + ITEM_OVERHEAD_BYTES
        });
        items.sum::<usize>() + run.head.len() + REST
    }
}
