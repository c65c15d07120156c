//! Leaves: an entry as signed, with whatever co-signatures it carries. SPEC §9.2.
//!
//! `leaf = [envelope: bstr, [* co-signature: bstr]]`, canonical. The Merkle tree of a log is over these bytes.

use std::sync::Arc;

use basoche_protocol::crypto::sha256;
use basoche_protocol::envelope::{Envelope, Typ};
use basoche_protocol::error::{Malformed, MalformedKind};
use basoche_protocol::id::{CertificateId, Digest, MessageId, SubjectId};
use basoche_protocol::jose::VerifyingKey;
use basoche_protocol::tree;
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_protocol::wire::{codec, limits};
use serde_bytes::ByteBuf;

pub use basoche_protocol::envelope::{Capacity, CoSignature, possession};

use crate::entry::{Content, Continuation, Entry, PolicyChange};

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
        let cosignatures = self.cosignatures.iter().map(CoSignature::envelope);
        let cosignatures: Vec<_> = cosignatures
            .map(|envelope| ByteBuf::from(envelope.encode()))
            .collect();
        codec::encode(&(ByteBuf::from(self.envelope.encode()), cosignatures))
    }

    /// The entry, as signed.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Checks the signatures of which there is a `key`, so that those that hold need not be checked again under it.
    pub(crate) fn check_ahead(&mut self, key: impl Fn(&CertificateId) -> Option<Arc<VerifyingKey>>) {
        if let Some(key) = key(&self.envelope.header().certificate) {
            self.envelope.check_ahead(Typ::Registry, &key);
        }
        for cosignature in &mut self.cosignatures {
            if let Some(key) = key(&cosignature.envelope().header().certificate) {
                cosignature.check_ahead(&key);
            }
        }
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

/// What a leaf says.
pub(crate) fn entry(leaf: &RegistryLeaf) -> Option<Entry> {
    let leaf = Leaf::decode(&leaf.leaf).ok()?;
    Entry::decode(leaf.envelope().payload()).ok()
}

/// Whether what stands beside a leaf is the certificate that it names. REG-4.
pub(crate) fn is_beside(leaf: &RegistryLeaf) -> bool {
    let named = entry(leaf).map(|entry| entry.content.key().map(|key| key.certificate));
    match named {
        Some(Some(certificate)) => Digest::of(&[&leaf.certificate]).as_bytes() == certificate.as_bytes(),
        Some(None) => leaf.certificate.is_empty(),
        None => false,
    }
}

const fn too_large() -> Malformed {
    Malformed {
        offset: 0,
        kind: MalformedKind::TooLarge,
    }
}

/// What the holder of a certificate signs to ask for an entry that says `content`: in that log, of that subject, as long
/// as `prev` is the last entry about it. REG-9.
pub fn request(origin: &str, subject: &SubjectId, prev: Option<u64>, content: &Content) -> MessageId {
    let (kind, content) = (content.kind().number(), ByteBuf::from(content.encode()));
    let what = codec::encode(&("basoche-request/1", origin, subject, prev, kind, content));
    MessageId::new(sha256(&[&what]))
}

/// What the roots of an authority sign to agree to a policy, in all logs of the federation whose anchors have the policy with
/// that digest. REG-27.
pub fn agreement(anchored: &Digest, change: &PolicyChange) -> MessageId {
    let what = codec::encode(&("basoche-policy/1", anchored, change.number, &change.policy));
    MessageId::new(sha256(&[&what]))
}

/// What they sign to agree that a log goes on from entry `index` as `next` says. REG-30.
pub fn consent(anchored: &Digest, origin: &str, index: u64, next: &Continuation) -> MessageId {
    let what = codec::encode(&("basoche-continuation/1", anchored, origin, index, next));
    MessageId::new(sha256(&[&what]))
}
