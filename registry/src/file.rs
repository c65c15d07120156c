//! Entry files: how an offline authority hands a leaf to the nodes. SPEC §9.5.

use basoche_protocol::error::{Malformed, MalformedKind};
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_protocol::wire::{codec, limits};
use serde_bytes::ByteBuf;

use crate::anchor::ORIGIN_BYTES;

/// The first item of every entry file.
pub const MAGIC: &str = "basoche-entry/1";
/// Bytes of an entry file.
pub const FILE_BYTES: usize = limits::LEAF_BYTES + limits::CERTIFICATE_BYTES + ORIGIN_BYTES + 64;

/// One leaf with its place: `["basoche-entry/1", origin, index, leaf, certificate]`, canonical CBOR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryFile {
    /// The log.
    pub origin: String,
    /// The leaf's place in it.
    pub index: u64,
    /// The leaf and the certificate that it enrols.
    pub leaf: RegistryLeaf,
}

/// The array in the file.
type Parts = (String, String, u64, ByteBuf, ByteBuf);

impl EntryFile {
    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let Self { origin, index, leaf } = self;
        codec::encode(&(MAGIC, origin, index, &leaf.leaf, &leaf.certificate))
    }

    /// Reads a file's bytes. What the leaf says is not looked at.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (magic, origin, index, leaf, certificate): Parts = codec::decode(bytes, FILE_BYTES)?;
        if magic != MAGIC {
            return Err(Malformed {
                offset: 1,
                kind: MalformedKind::UnknownType,
            });
        }
        Ok(Self {
            origin,
            index,
            leaf: RegistryLeaf { leaf, certificate },
        })
    }
}
