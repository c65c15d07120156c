//! Leaves: an entry as signed, with whatever co-signatures it carries. SPEC §9.2.
//!
//! `leaf = [envelope: bstr, [* co-signature: bstr]]`, canonical. The Merkle tree of a log is over these bytes.

use basoche_protocol::crypto::sha256;
use basoche_protocol::envelope::{Envelope, Typ, Unsigned};
use basoche_protocol::error::{Malformed, MalformedKind};
use basoche_protocol::id::{CertificateId, Digest, MessageId, SubjectId};
use basoche_protocol::jose::Signer;
use basoche_protocol::time::Instant;
use basoche_protocol::tree;
use basoche_protocol::wire::{codec, limits};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::entry::Content;

/// Co-signatures of one leaf.
pub const COSIGNATURES: usize = 8;

/// A leaf, well formed and not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    envelope: Envelope,
    cosignatures: Vec<CoSignature>,
}

impl Leaf {
    /// An entry and its co-signatures.
    pub fn new(envelope: Envelope, cosignatures: Vec<Envelope>) -> Result<Self, Malformed> {
        if cosignatures.len() > COSIGNATURES {
            return Err(too_large());
        }
        let cosignatures = cosignatures
            .into_iter()
            .map(CoSignature::read)
            .collect::<Result<_, _>>()?;
        let leaf = Self {
            envelope,
            cosignatures,
        };
        if leaf.encode().len() > limits::LEAF_BYTES {
            return Err(too_large());
        }
        Ok(leaf)
    }

    /// Reads the canonical bytes, at most [`limits::LEAF_BYTES`]. REG-4.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (envelope, cosignatures): (ByteBuf, Vec<ByteBuf>) = codec::decode(bytes, limits::LEAF_BYTES)?;
        if cosignatures.len() > COSIGNATURES {
            return Err(too_large());
        }
        let cosignatures = cosignatures
            .iter()
            .map(|bytes| CoSignature::read(Envelope::decode(bytes)?));
        Ok(Self {
            envelope: Envelope::decode(&envelope)?,
            cosignatures: cosignatures.collect::<Result<_, _>>()?,
        })
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let cosignatures = self.cosignatures.iter().map(|cosignature| &cosignature.envelope);
        let cosignatures: Vec<_> = cosignatures
            .map(|envelope| ByteBuf::from(envelope.encode()))
            .collect();
        codec::encode(&(ByteBuf::from(self.envelope.encode()), cosignatures))
    }

    /// The entry, as signed.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The co-signatures.
    pub fn cosignatures(&self) -> &[CoSignature] {
        &self.cosignatures
    }
}

/// Leaf hash of the bytes of a leaf, RFC 9162 §2.1.1.
pub fn hash(leaf: &[u8]) -> Digest {
    Digest::new(tree::leaf_hash(leaf))
}

const fn too_large() -> Malformed {
    Malformed {
        offset: 0,
        kind: MalformedKind::TooLarge,
    }
}

/// A further signature on an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoSignature {
    envelope: Envelope,
    statement: Statement,
}

/// What a co-signer signs. Keys are positions: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Statement {
    target: MessageId,
    capacity: Capacity,
}

/// What a new key signs to show that its holder wants it: in that log, for that subject. It stays the same whatever the
/// authority says of the key, and wherever in the log. REG-9.
pub fn possession(origin: &str, subject: &SubjectId, certificate: &CertificateId) -> MessageId {
    let what = codec::encode(&("basoche-possession/1", origin, subject, certificate));
    MessageId::new(sha256(&[&what]))
}

/// What the holder of a certificate signs to ask for an entry that says `content`: in that log, of that subject, as long
/// as `prev` is the last entry about it. REG-9.
pub fn request(origin: &str, subject: &SubjectId, prev: Option<u64>, content: &Content) -> MessageId {
    let (kind, content) = (content.kind().number(), ByteBuf::from(content.encode()));
    let what = codec::encode(&("basoche-request/1", origin, subject, prev, kind, content));
    MessageId::new(sha256(&[&what]))
}

impl CoSignature {
    /// What `signer` is to sign at `issued_at` about `target`: the id of the entry's envelope, or what [`possession`] or
    /// [`request`] give.
    pub fn draft(signer: &dyn Signer, target: MessageId, capacity: Capacity, issued_at: Instant) -> Unsigned {
        let statement = codec::encode(&Statement { target, capacity });
        Unsigned::new(Typ::CoSignature, signer, issued_at, statement)
    }

    fn read(envelope: Envelope) -> Result<Self, Malformed> {
        let statement = codec::decode(envelope.payload(), limits::LEAF_BYTES)?;
        Ok(Self { envelope, statement })
    }

    /// The signed envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// What it is about.
    pub fn target(&self) -> MessageId {
        self.statement.target
    }

    /// In which capacity it was given.
    pub fn capacity(&self) -> Capacity {
        self.statement.capacity
    }
}

/// In which capacity somebody co-signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub enum Capacity {
    /// With the key that the entry enrols: whoever asks for it holds it.
    Possession,
    /// As the authority's second officer.
    SecondOfficer,
    /// As a further root of the authority.
    Root,
    /// As the holder of a certificate, who asks for what the entry says.
    Holder,
}

impl From<Capacity> for u16 {
    fn from(capacity: Capacity) -> Self {
        match capacity {
            Capacity::Possession => 1,
            Capacity::SecondOfficer => 2,
            Capacity::Root => 3,
            Capacity::Holder => 4,
        }
    }
}

impl TryFrom<u16> for Capacity {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        match number {
            1 => Ok(Self::Possession),
            2 => Ok(Self::SecondOfficer),
            3 => Ok(Self::Root),
            4 => Ok(Self::Holder),
            _ => Err("unknown capacity of a co-signature"),
        }
    }
}
