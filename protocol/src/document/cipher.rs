//! Sealing and opening a document as a stream, in the memory of one segment.

use super::{
    Count, DocumentError, DocumentKey, LeafHasher, MAX_BYTES, Outboard, SEGMENT, TAG, ciphertext_len,
};
use crate::crypto::{AeadKey, Sha256};
use crate::tree::Hash;

/// What sealing a document leaves to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Root of the tree over the ciphertext: the name of the document.
    pub root: Hash,
    /// Length of the ciphertext.
    pub ciphertext_bytes: u64,
    /// Ciphertext bytes in every leaf but the last.
    pub leaf_bytes: u64,
    /// The leaf hashes, from which [`check_outboard`](super::check_outboard) makes the [`Outboard`].
    pub leaves: Vec<Hash>,
    /// SHA-256 of the plaintext, for [`plaintext_commitment`](super::plaintext_commitment).
    pub plaintext_sha256: [u8; 32],
}

/// Seals a document of a size known beforehand. Holds less than one segment, and the leaf hashes.
#[derive(Debug)]
pub struct Encryptor {
    binding: Binding,
    cutter: Cutter,
    plaintext: Sha256,
    leaves: LeafHasher,
}

impl Encryptor {
    /// Starts a document of `size` bytes under a key that has sealed nothing before.
    ///
    /// # Errors
    /// [`DocumentError::TooLarge`].
    pub fn new(key: &DocumentKey, size: u64) -> Result<Self, DocumentError> {
        Ok(Self {
            binding: Binding::new(key, size)?,
            cutter: Cutter::new(size, SEGMENT),
            plaintext: Sha256::new(),
            leaves: LeafHasher::new(ciphertext_len(size))?,
        })
    }

    /// Takes the next piece of plaintext, of any length, and appends to `out` the segments that it completes.
    /// Pieces that are whole segments, or several, cost one copy less.
    ///
    /// # Errors
    /// [`DocumentError::TooMany`], and then nothing of the piece is taken.
    pub fn push(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), DocumentError> {
        self.cutter.take(plaintext.len())?;
        self.plaintext.update(plaintext);
        let Self { binding, leaves, .. } = self;
        self.cutter.cut(plaintext, |index, segment| {
            leaves.push(binding.seal(index, segment, out))
        })
    }

    /// Ends the document. Only the empty document still appends something to `out`: its one segment.
    ///
    /// # Errors
    /// [`DocumentError::TooFew`].
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<Sealed, DocumentError> {
        self.cutter.count.finish()?;
        if self.binding.size == 0 {
            self.leaves.push(self.binding.seal(0, &[], out))?;
        }
        let Outboard {
            root,
            ciphertext_bytes,
            leaf_bytes,
            leaves,
        } = self.leaves.finish()?;
        let plaintext_sha256 = self.plaintext.finish();
        Ok(Sealed {
            root,
            ciphertext_bytes,
            leaf_bytes,
            leaves,
            plaintext_sha256,
        })
    }
}

/// Opens a document. Holds less than one segment.
///
/// Every byte that it hands out is authentic and in its place, but only [`finish`](Self::finish) tells that none
/// is missing at the end.
#[derive(Debug)]
pub struct Decryptor {
    binding: Binding,
    cutter: Cutter,
    plaintext: Sha256,
    /// The first segment that did not open: nothing follows it.
    failed: Option<DocumentError>,
}

impl Decryptor {
    /// Starts to open a document whose plaintext has `size` bytes.
    ///
    /// # Errors
    /// [`DocumentError::TooLarge`].
    pub fn new(key: &DocumentKey, size: u64) -> Result<Self, DocumentError> {
        Ok(Self {
            binding: Binding::new(key, size)?,
            cutter: Cutter::new(ciphertext_len(size), SEGMENT + TAG),
            plaintext: Sha256::new(),
            failed: None,
        })
    }

    /// Takes the next piece of ciphertext, of any length, and appends to `out` the plaintext of the segments
    /// that it completes.
    ///
    /// # Errors
    /// [`DocumentError::TooMany`], and then nothing of the piece is taken. [`DocumentError::Segment`], and then
    /// `out` holds what stood before that segment and every later call fails alike.
    pub fn push(&mut self, ciphertext: &[u8], out: &mut Vec<u8>) -> Result<(), DocumentError> {
        self.failed.map_or(Ok(()), Err)?;
        self.cutter.take(ciphertext.len())?;
        let Self {
            binding, plaintext, ..
        } = self;
        let opened = self.cutter.cut(ciphertext, |index, sealed| {
            plaintext.update(binding.open(index, sealed, out)?);
            Ok(())
        });
        self.failed = opened.err();
        opened
    }

    /// Ends the document: SHA-256 of the plaintext.
    ///
    /// # Errors
    /// [`DocumentError::TooFew`], or the error that ended the document before.
    pub fn finish(self) -> Result<[u8; 32], DocumentError> {
        self.failed.map_or(Ok(()), Err)?;
        self.cutter.count.finish()?;
        Ok(self.plaintext.finish())
    }
}

/// Ties each segment to the key, its position and the size of the document.
#[derive(Debug)]
struct Binding {
    key: AeadKey,
    size: u64,
}

impl Binding {
    fn new(key: &DocumentKey, size: u64) -> Result<Self, DocumentError> {
        if size > MAX_BYTES {
            return Err(DocumentError::TooLarge { bytes: size });
        }
        Ok(Self {
            key: AeadKey::new(key.as_bytes()),
            size,
        })
    }

    fn nonce(index: u64) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&index.to_be_bytes());
        nonce
    }

    fn context(&self, index: u64) -> [u8; 35] {
        let mut context = *b"basoche/document/1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        context[18..26].copy_from_slice(&self.size.to_be_bytes());
        context[26..34].copy_from_slice(&index.to_be_bytes());
        context[34] = u8::from(index + 1 == super::segment_count(self.size));
        context
    }

    /// Appends a sealed segment to `out` and returns it.
    fn seal<'a>(&self, index: u64, segment: &[u8], out: &'a mut Vec<u8>) -> &'a [u8] {
        let start = out.len();
        out.reserve(segment.len() + TAG);
        out.extend_from_slice(segment);
        let tag = self
            .key
            .seal_slice(Self::nonce(index), &self.context(index), &mut out[start..]);
        out.extend_from_slice(&tag);
        &out[start..]
    }

    /// Appends the plaintext of a sealed segment to `out` and returns it; `out` is as before after an error.
    fn open<'a>(&self, index: u64, sealed: &[u8], out: &'a mut Vec<u8>) -> Result<&'a [u8], DocumentError> {
        let failed = DocumentError::Segment { index };
        let (segment, tag) = sealed.split_last_chunk::<TAG>().ok_or(failed)?;
        let start = out.len();
        out.extend_from_slice(segment);
        let context = self.context(index);
        if self
            .key
            .open_slice(Self::nonce(index), &context, &mut out[start..], tag)
            .is_err()
        {
            out.truncate(start);
            return Err(failed);
        }
        Ok(&out[start..])
    }
}

/// Cuts a stream of known length in pieces of equal length, the last one shorter. A piece that comes whole is
/// handed on where it stands; one that comes in parts is put together first.
#[derive(Debug)]
struct Cutter {
    count: Count,
    piece_bytes: usize,
    /// Where the piece under way begins.
    start: u64,
    /// What has come of the piece under way.
    pending: Vec<u8>,
}

impl Cutter {
    fn new(total: u64, piece_bytes: usize) -> Self {
        Self {
            count: Count::to(total),
            piece_bytes,
            start: 0,
            pending: Vec::new(),
        }
    }

    /// Announces `more` bytes, to be given to [`cut`](Self::cut).
    fn take(&mut self, more: usize) -> Result<(), DocumentError> {
        self.count.take(more)
    }

    /// Calls `each` with the position and the bytes of every piece that `input` completes.
    fn cut(
        &mut self,
        mut input: &[u8],
        mut each: impl FnMut(u64, &[u8]) -> Result<(), DocumentError>,
    ) -> Result<(), DocumentError> {
        while !input.is_empty() {
            let left = self.count.expected - self.start;
            let length = usize::try_from(left).map_or(self.piece_bytes, |left| left.min(self.piece_bytes));
            let (head, rest) = input.split_at(input.len().min(length - self.pending.len()));
            input = rest;
            let mut piece = head;
            if head.len() < length {
                self.pending.extend_from_slice(head);
                piece = &self.pending;
            }
            if piece.len() < length {
                break;
            }
            each(self.start / self.piece_bytes as u64, piece)?;
            self.start += length as u64;
            self.pending.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::crypto::sha256;
    use crate::text::hex_encode;
    use proptest::prelude::*;

    const MIB: usize = 1 << 20;

    fn key() -> DocumentKey {
        DocumentKey::new(core::array::from_fn(|n| n as u8))
    }

    fn plaintext(size: usize) -> Vec<u8> {
        (0..size).map(|n| (n % 251) as u8).collect()
    }

    fn seal(plaintext: &[u8]) -> (Vec<u8>, Sealed) {
        let mut out = Vec::new();
        let mut encryptor = Encryptor::new(&key(), plaintext.len() as u64).unwrap();
        encryptor.push(plaintext, &mut out).unwrap();
        let sealed = encryptor.finish(&mut out).unwrap();
        (out, sealed)
    }

    fn open(key: &DocumentKey, size: u64, ciphertext: &[u8]) -> Result<(Vec<u8>, [u8; 32]), DocumentError> {
        let mut out = Vec::new();
        let mut decryptor = Decryptor::new(key, size)?;
        decryptor.push(ciphertext, &mut out)?;
        Ok((out, decryptor.finish()?))
    }

    #[test]
    fn a_document_of_any_size_comes_back() {
        for size in [0, 1, 65_535, 65_536, 65_537, MIB - 1, MIB, MIB + 1, 16 * MIB + 5] {
            let plaintext = plaintext(size);
            let (ciphertext, sealed) = seal(&plaintext);
            assert_eq!(ciphertext.len() as u64, ciphertext_len(size as u64));
            assert_eq!(sealed.ciphertext_bytes, ciphertext.len() as u64);
            assert_eq!(sealed.plaintext_sha256, sha256(&[&plaintext]));
            let (opened, digest) = open(&key(), size as u64, &ciphertext).unwrap();
            assert!(opened == plaintext, "{size}");
            assert_eq!(digest, sealed.plaintext_sha256);
        }
    }

    /// Computed apart from this crate, with Python's cryptography and hashlib, under key 00 01 … 1f.
    #[test]
    fn a_document_is_these_bytes() {
        // "abc": 3 bytes of ciphertext, 16 of tag.
        let (ciphertext, sealed) = seal(b"abc");
        assert_eq!(hex_encode(&ciphertext), "6fded6364732985d3ddec3ba7ebce7d25f0159");
        let root = "522a4f61305b2ddc57dada6dee9be482b6c26f8b7868606172a5e8b7d4c2fab2";
        assert_eq!(hex_encode(&sealed.root), root);
        assert_eq!((sealed.leaf_bytes, sealed.leaves), (65_536, vec![sealed.root]));
        // Nothing: the tag of the one empty segment.
        let (ciphertext, sealed) = seal(b"");
        assert_eq!(hex_encode(&ciphertext), "c663d1bd1f3c82bd98a4193127223d8d");
        let root = "3d7213e6fb4e50be798675e0f2ecfeea7cb6e5004788b4ad153b27ad7ee9183e";
        assert_eq!(hex_encode(&sealed.root), root);
        // 65 537 bytes counting modulo 251: two segments, two leaves.
        let (ciphertext, sealed) = seal(&plaintext(65_537));
        let digest = "c4e26c08b4013c17402540361dc73c2a3bcd66f1ceebb0a83fcebde445e3d871";
        assert_eq!(hex_encode(&sha256(&[&ciphertext])), digest);
        let root = "02b3503b72daddefb78cde3e378049f5c3604e7f390d70f369e0b0db4f9b2bf9";
        assert_eq!(
            (hex_encode(&sealed.root).as_str(), sealed.leaves.len()),
            (root, 2)
        );
    }

    #[test]
    fn bytes_short_of_or_over_the_announced_size_are_refused() {
        let mut out = Vec::new();
        let mut encryptor = Encryptor::new(&key(), 3).unwrap();
        assert_eq!(
            encryptor.push(b"abcd", &mut out),
            Err(DocumentError::TooMany { expected: 3 })
        );
        encryptor.push(b"ab", &mut out).unwrap();
        assert_eq!(
            encryptor.push(b"cd", &mut out),
            Err(DocumentError::TooMany { expected: 3 })
        );
        assert_eq!(
            encryptor.finish(&mut out),
            Err(DocumentError::TooFew {
                expected: 3,
                found: 2
            })
        );
        assert!(out.is_empty());

        let too_large = DocumentError::TooLarge { bytes: MAX_BYTES + 1 };
        assert_eq!(Encryptor::new(&key(), MAX_BYTES + 1).unwrap_err(), too_large);
        assert_eq!(Decryptor::new(&key(), MAX_BYTES + 1).unwrap_err(), too_large);
        Encryptor::new(&key(), MAX_BYTES).unwrap();
    }

    #[test]
    fn a_truncated_or_extended_ciphertext_does_not_open() {
        for size in [0, 1, 65_536, 65_537] {
            let (mut ciphertext, _) = seal(&plaintext(size));
            let expected = ciphertext.len() as u64;
            for cut in [1, 16, ciphertext.len()] {
                let found = expected - cut as u64;
                let opened = open(&key(), size as u64, &ciphertext[..found as usize]);
                assert_eq!(opened, Err(DocumentError::TooFew { expected, found }));
            }
            ciphertext.push(0);
            let opened = open(&key(), size as u64, &ciphertext);
            assert_eq!(opened, Err(DocumentError::TooMany { expected }));
        }
    }

    #[test]
    fn segments_do_not_open_elsewhere_or_under_another_key_or_total() {
        const SEALED: usize = SEGMENT + TAG;
        let size = 3 * SEGMENT as u64;
        let (ciphertext, _) = seal(&plaintext(3 * SEGMENT));
        let (first, rest) = ciphertext.split_at(SEALED);
        let (second, third) = rest.split_at(SEALED);

        let refused = |size, ciphertext: &[u8], index| {
            assert_eq!(
                open(&key(), size, ciphertext),
                Err(DocumentError::Segment { index })
            );
        };
        refused(size, &[second, first, third].concat(), 0);
        refused(size, &[first, third, second].concat(), 1);
        refused(size, &[first, first, third].concat(), 1);
        // Complete segments, but of a document of another size.
        refused(2 * SEGMENT as u64, &[first, second].concat(), 0);
        refused(size - 1, &ciphertext[..ciphertext.len() - 1], 0);
        let other = DocumentKey::new([9; 32]);
        assert_eq!(
            open(&other, size, &ciphertext),
            Err(DocumentError::Segment { index: 0 })
        );
    }

    #[test]
    fn after_a_false_segment_nothing_more_is_opened() {
        let size = 2 * SEGMENT + 1;
        let (mut ciphertext, _) = seal(&plaintext(size));
        ciphertext[SEGMENT + TAG] ^= 1;
        let refused = Err(DocumentError::Segment { index: 1 });
        for piece in [1_000, ciphertext.len()] {
            let mut decryptor = Decryptor::new(&key(), size as u64).unwrap();
            let mut out = Vec::new();
            let mut pieces = ciphertext.chunks(piece);
            assert_eq!(
                pieces
                    .find_map(|piece| decryptor.push(piece, &mut out).err())
                    .map_or(Ok(()), Err),
                refused
            );
            assert!(out == plaintext(SEGMENT));
            assert_eq!(decryptor.push(&[0], &mut out), refused);
            assert_eq!(decryptor.finish().map(|_| ()), refused);
            assert_eq!(out.len(), SEGMENT);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_pieces_in_which_bytes_come_do_not_matter(
            size in 0..200_000usize,
            pieces in proptest::collection::vec(1..150_000usize, 1..12),
        ) {
            let plaintext = plaintext(size);
            let (ciphertext, sealed) = seal(&plaintext);

            let mut encryptor = Encryptor::new(&key(), size as u64).unwrap();
            let mut out = Vec::new();
            in_pieces(&plaintext, &pieces, |piece| encryptor.push(piece, &mut out).unwrap());
            prop_assert_eq!(&encryptor.finish(&mut out).unwrap(), &sealed);
            prop_assert!(out == ciphertext);

            let mut decryptor = Decryptor::new(&key(), size as u64).unwrap();
            let mut opened = Vec::new();
            in_pieces(&ciphertext, &pieces, |piece| decryptor.push(piece, &mut opened).unwrap());
            prop_assert_eq!(decryptor.finish().unwrap(), sealed.plaintext_sha256);
            prop_assert!(opened == plaintext);

            let mut hasher = LeafHasher::new(ciphertext.len() as u64).unwrap();
            in_pieces(&ciphertext, &pieces, |piece| hasher.push(piece).unwrap());
            prop_assert_eq!(hasher.finish().unwrap().leaves().to_vec(), sealed.leaves);
        }
    }

    /// Gives `bytes` to `each` in pieces of these lengths, over and over.
    fn in_pieces(mut bytes: &[u8], lengths: &[usize], mut each: impl FnMut(&[u8])) {
        for length in lengths.iter().cycle() {
            let (piece, rest) = bytes.split_at(bytes.len().min(*length));
            each(piece);
            bytes = rest;
            if bytes.is_empty() {
                return;
            }
        }
    }
}
