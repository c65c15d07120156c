//! The format of documents at rest and on the wire.
//!
//! A document is encrypted once, under a key of its own, in segments bound to their position and to the total.
//! A Merkle tree over the **ciphertext** lets anyone, with or without the key, check each range as it arrives,
//! in any order and from any source.
//!
//! ```text
//! plaintext   = segment 0 ‖ segment 1 ‖ …         65 536 bytes each, the last one 1 to 65 536;
//!                                                 a document of 0 bytes is one empty segment
//! sealed[i]   = AES-256-GCM(key, nonce, aad, segment i) ‖ tag of 16 bytes
//!   nonce     = 00 00 00 00 ‖ i                                     i, size: 8 bytes, big-endian
//!   aad       = "basoche/document/1" ‖ size ‖ i ‖ last              last: 01 for the last segment, else 00
//! ciphertext  = sealed[0] ‖ sealed[1] ‖ …
//! root        = RFC 9162 §2.1.1 over ciphertext cut in leaves of `leaf_bytes`, the last one shorter
//! ```
//!
//! This module cuts, seals, opens and hashes. Where the bytes come from and go to is the business of the node.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::crypto::{TAG_BYTES, sha256};

mod cipher;
mod outboard;

pub use cipher::{Decryptor, Encryptor, Sealed};
pub use outboard::{LeafCheck, LeafHasher, Outboard, check_outboard};

/// Plaintext bytes in every segment but the last.
pub const SEGMENT: usize = 65_536;
/// Bytes that sealing adds to a segment.
pub const TAG: usize = TAG_BYTES;
/// The largest document: 1 TiB. One key then encrypts 2^36 blocks at most, far below what AES-GCM allows.
pub const MAX_BYTES: u64 = 1 << 40;
/// No document has more leaves. Their hashes, the outboard, take 512 KiB at most.
pub const MAX_LEAVES: u64 = 16_384;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Why bytes are not the document that was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The announced size is over [`MAX_BYTES`].
    #[error("a document of {bytes} bytes is over the limit of {MAX_BYTES}")]
    TooLarge {
        /// The announced plaintext size.
        bytes: u64,
    },
    /// No document has a ciphertext of this length.
    #[error("no document has a ciphertext of {bytes} bytes")]
    CiphertextLength {
        /// The announced ciphertext length.
        bytes: u64,
    },
    /// More bytes came than were announced.
    #[error("more than the announced {expected} bytes")]
    TooMany {
        /// Bytes announced.
        expected: u64,
    },
    /// The bytes ended early.
    #[error("{found} bytes instead of the announced {expected}")]
    TooFew {
        /// Bytes announced.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// A segment was not sealed under this key, at this place, for a document of this size.
    #[error("segment {index} does not open")]
    Segment {
        /// Position of the segment, from 0.
        index: u64,
    },
    /// The list of leaf hashes has the wrong length for the document.
    #[error("{found} leaf hashes instead of {expected}")]
    LeafCount {
        /// Leaves of a ciphertext of this length.
        expected: u64,
        /// Hashes that came.
        found: u64,
    },
    /// The leaf hashes lead to another root.
    #[error("the leaf hashes lead to another root")]
    Root,
    /// The document has no such leaf.
    #[error("there is no leaf {index}")]
    NoLeaf {
        /// Position asked for, from 0.
        index: u64,
    },
    /// The bytes are not those of this leaf.
    #[error("the bytes are not those of leaf {index}")]
    Leaf {
        /// Position of the leaf, from 0.
        index: u64,
    },
}

/// The key of one document, erased from memory when dropped. Segment nonces are counters, so **a key seals one
/// document, once**: a second one under the same key would show both.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct DocumentKey([u8; 32]);

impl DocumentKey {
    /// A new key from 32 random bytes, or one received in a message.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key itself, to be wrapped for its readers.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DocumentKey(..)")
    }
}

/// What the message says of the key, so that all readers know they were given the same one:
/// SHA-256("basoche/document-key/1" ‖ key). AES-GCM by itself does not commit to its key.
#[must_use]
pub fn key_commitment(key: &DocumentKey) -> [u8; 32] {
    sha256(&[b"basoche/document-key/1", key.as_bytes()])
}

/// What the message says of the plaintext: SHA-256("basoche/plaintext/1" ‖ salt ‖ SHA-256(plaintext)). The salt,
/// random and kept with the key, hides from others whether this is a document they know.
#[must_use]
pub fn plaintext_commitment(salt: &[u8; 16], plaintext_sha256: &[u8; 32]) -> [u8; 32] {
    sha256(&[b"basoche/plaintext/1", salt, plaintext_sha256])
}

/// How many segments a plaintext of `size` bytes is cut in: at least one.
#[must_use]
pub fn segment_count(size: u64) -> u64 {
    size.div_ceil(SEGMENT as u64).max(1)
}

/// The length of the ciphertext of a plaintext of `size` bytes. Exact up to [`MAX_BYTES`] and far beyond; it
/// stops at `u64::MAX`.
#[must_use]
pub fn ciphertext_len(size: u64) -> u64 {
    // The product is below 2^53.
    size.saturating_add(segment_count(size) * TAG as u64)
}

/// The size of the plaintext whose ciphertext has this length; `None` where there is none within [`MAX_BYTES`].
#[must_use]
pub fn plaintext_len(ciphertext_bytes: u64) -> Option<u64> {
    let segments = ciphertext_bytes.div_ceil((SEGMENT + TAG) as u64);
    let size = ciphertext_bytes.checked_sub(segments * TAG as u64)?;
    (size <= MAX_BYTES && ciphertext_len(size) == ciphertext_bytes).then_some(size)
}

/// The leaf size of a ciphertext: 64 KiB below 16 MiB, 1 MiB below 16 GiB, and from there the smallest power
/// of two that keeps the number of leaves below 16 384.
#[must_use]
pub fn leaf_bytes(ciphertext_len: u64) -> u64 {
    if ciphertext_len < 16 * MIB {
        64 * KIB
    } else if ciphertext_len < 16 * GIB {
        MIB
    } else {
        // 16 383 leaves or fewer.
        ciphertext_len.div_ceil(MAX_LEAVES - 1).next_power_of_two()
    }
}

/// How many leaves a ciphertext has: at least one.
#[must_use]
pub fn leaf_count(ciphertext_len: u64) -> u64 {
    ciphertext_len.div_ceil(leaf_bytes(ciphertext_len)).max(1)
}

/// Counts bytes against an announced total.
#[derive(Clone, Copy, Debug)]
struct Count {
    expected: u64,
    found: u64,
}

impl Count {
    fn to(expected: u64) -> Self {
        Self { expected, found: 0 }
    }

    /// Takes `more` bytes, or refuses them and leaves the count as it was.
    fn take(&mut self, more: usize) -> Result<(), DocumentError> {
        if more as u64 > self.expected - self.found {
            return Err(DocumentError::TooMany {
                expected: self.expected,
            });
        }
        self.found += more as u64;
        Ok(())
    }

    fn finish(self) -> Result<(), DocumentError> {
        let Self { expected, found } = self;
        if found == expected {
            Ok(())
        } else {
            Err(DocumentError::TooFew { expected, found })
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::text::hex_encode;

    #[test]
    fn every_segment_costs_a_tag_and_there_is_always_one() {
        for (size, ciphertext) in [
            (0, 16),
            (1, 17),
            (65_535, 65_551),
            (65_536, 65_552),
            (65_537, 65_569),
            (3 * 65_536, 3 * 65_552),
            (MAX_BYTES, (1 << 40) + (1 << 28)),
        ] {
            assert_eq!(ciphertext_len(size), ciphertext);
            assert_eq!(plaintext_len(ciphertext), Some(size));
        }
        assert_eq!(ciphertext_len(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_length_that_no_plaintext_gives_is_not_one_of_a_ciphertext() {
        // A second segment holds at least one byte, and so takes at least 17.
        let none = (0..16)
            .chain(65_553..65_569)
            .chain([ciphertext_len(MAX_BYTES + 1), u64::MAX]);
        for bytes in none {
            assert_eq!(plaintext_len(bytes), None, "{bytes}");
        }
        assert_eq!(plaintext_len(65_569), Some(65_537));
    }

    #[test]
    fn leaves_grow_with_the_document() {
        for (ciphertext, leaf, leaves) in [
            (0, 64 * KIB, 1),
            (16, 64 * KIB, 1),
            (64 * KIB, 64 * KIB, 1),
            (64 * KIB + 1, 64 * KIB, 2),
            (16 * MIB - 1, 64 * KIB, 256),
            (16 * MIB, MIB, 16),
            (16 * GIB - 1, MIB, MAX_LEAVES),
            (16 * GIB, 2 * MIB, 8_192),
            (16_383 * 2 * MIB, 2 * MIB, 16_383),
            (16_383 * 2 * MIB + 1, 4 * MIB, 8_192),
            (32 * GIB, 4 * MIB, 8_192),
            (ciphertext_len(MAX_BYTES), 128 * MIB, 8_194),
            (u64::MAX, 1 << 51, 8_192),
        ] {
            assert_eq!(
                (leaf_bytes(ciphertext), leaf_count(ciphertext)),
                (leaf, leaves),
                "{ciphertext}"
            );
        }
    }

    #[test]
    fn a_key_does_not_show_when_printed() {
        assert_eq!(format!("{:?}", DocumentKey::new([1; 32])), "DocumentKey(..)");
    }

    /// Computed apart from this crate, with Python's hashlib, from a key and digest of 01, a salt of 02.
    #[test]
    fn commitments_are_these_bytes() {
        let key = key_commitment(&DocumentKey::new([1; 32]));
        assert_eq!(
            hex_encode(&key),
            "5eac46c4fa22a1a912d5d9d6ee580814e1958ef11d4a233eb3330d73d181d70f"
        );
        let plaintext = plaintext_commitment(&[2; 16], &[1; 32]);
        assert_eq!(
            hex_encode(&plaintext),
            "5c54ac60d167c3c6a9a2159d30841b957bcd062f48576512c9801b747f23a2d2"
        );
    }
}
