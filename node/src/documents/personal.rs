//! Personal documents at a person's end: encrypted before they reach a node, opened after they have left it.
//!
//! Both directions are streams, in the memory of one piece whatever the size.

use std::io::{self, Read, Write};

use basoche_protocol::document::{Decryptor, DocumentError, DocumentKey, Encryptor, Sealed};

use super::PIECE;

/// Reads a plaintext of a known length as its ciphertext.
pub struct Sealing<R> {
    plaintext: R,
    left: u64,
    encryptor: Option<Encryptor>,
    sealed: Option<Sealed>,
    piece: Vec<u8>,
    out: Vec<u8>,
    given: usize,
}

impl<R: Read> Sealing<R> {
    /// `key` must have sealed nothing before; `plaintext` gives `bytes` bytes or fails.
    ///
    /// # Errors
    /// [`DocumentError::TooLarge`].
    pub fn new(plaintext: R, bytes: u64, key: &DocumentKey) -> Result<Self, DocumentError> {
        Ok(Self {
            plaintext,
            left: bytes,
            encryptor: Some(Encryptor::new(key, bytes)?),
            sealed: None,
            piece: vec![0; PIECE],
            out: Vec::with_capacity(PIECE + PIECE / 1024),
            given: 0,
        })
    }

    /// What is to be said of the document, once all of the ciphertext was read.
    pub fn finish(self) -> Option<Sealed> {
        self.sealed
    }

    /// Seals the next piece; at the end there is none.
    fn refill(&mut self) -> io::Result<()> {
        self.out.clear();
        self.given = 0;
        while self.out.is_empty() {
            let Some(encryptor) = &mut self.encryptor else {
                return Ok(());
            };
            let length = PIECE.min(usize::try_from(self.left).unwrap_or(PIECE));
            let piece = &mut self.piece[..length];
            self.plaintext.read_exact(piece)?;
            encryptor.push(piece, &mut self.out).map_err(io::Error::other)?;
            self.left -= length as u64;
            if self.left == 0
                && let Some(encryptor) = self.encryptor.take()
            {
                self.sealed = Some(encryptor.finish(&mut self.out).map_err(io::Error::other)?);
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Sealing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.out.len() {
            self.refill()?;
        }
        let length = buffer.len().min(self.out.len() - self.given);
        buffer[..length].copy_from_slice(&self.out[self.given..self.given + length]);
        self.given += length;
        Ok(length)
    }
}

/// Takes a ciphertext, and writes its plaintext on. Every byte that it writes is authentic and in its place; only
/// [`Self::finish`] tells that none is missing.
pub struct Unsealing<W> {
    decryptor: Decryptor,
    plaintext: W,
    out: Vec<u8>,
    failed: Option<DocumentError>,
}

impl<W: Write> Unsealing<W> {
    /// A document whose plaintext has `bytes` bytes, into `plaintext`.
    ///
    /// # Errors
    /// [`DocumentError::TooLarge`].
    pub fn new(plaintext: W, bytes: u64, key: &DocumentKey) -> Result<Self, DocumentError> {
        Ok(Self {
            decryptor: Decryptor::new(key, bytes)?,
            plaintext,
            out: Vec::with_capacity(PIECE),
            failed: None,
        })
    }

    /// What of the ciphertext was not the document's, if anything was.
    pub fn failed(&self) -> Option<DocumentError> {
        self.failed
    }

    /// SHA-256 of the whole plaintext.
    ///
    /// # Errors
    /// [`DocumentError::TooFew`], or what failed before.
    pub fn finish(self) -> Result<[u8; 32], DocumentError> {
        self.decryptor.finish()
    }
}

impl<W: Write> Write for Unsealing<W> {
    fn write(&mut self, ciphertext: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.decryptor.push(ciphertext, &mut self.out) {
            self.failed = Some(error);
            return Err(io::Error::other(error));
        }
        self.plaintext.write_all(&self.out)?;
        self.out.clear();
        Ok(ciphertext.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.plaintext.flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use basoche_protocol::crypto::sha256;
    use basoche_protocol::document::ciphertext_len;

    use super::*;
    use crate::blob::{BlobStore, MemoryBlobs};
    use crate::documents::{keep, send};

    #[test]
    fn what_a_person_seals_and_a_node_keeps_another_person_opens() {
        let blobs = MemoryBlobs::new(1 << 24);
        for size in [0, 1, 65_536, 70_000, PIECE + 3] {
            let plain: Vec<u8> = (0..size).map(|byte| byte as u8).collect();
            let key = DocumentKey::new([size as u8; 32]);
            let mut sealing = Sealing::new(plain.as_slice(), size as u64, &key).unwrap();
            let root = keep(&blobs, &mut sealing, ciphertext_len(size as u64)).unwrap();
            let sealed = sealing.finish().unwrap();
            assert_eq!(*root.as_bytes(), sealed.root);
            assert_eq!(sealed.plaintext_sha256, sha256(&[&plain]));
            let mut opened = Vec::new();
            let mut unsealing = Unsealing::new(&mut opened, size as u64, &key).unwrap();
            send(&blobs, &root, &mut unsealing).unwrap();
            assert_eq!(unsealing.finish().unwrap(), sha256(&[&plain]));
            assert_eq!(opened, plain);
            // Under another key nothing comes out.
            let mut nothing = Vec::new();
            let mut other = Unsealing::new(&mut nothing, size as u64, &DocumentKey::new([255; 32])).unwrap();
            assert!(send(&blobs, &root, &mut other).is_err());
            assert_eq!(other.failed(), Some(DocumentError::Segment { index: 0 }));
            assert!(nothing.is_empty());
        }
    }

    #[test]
    fn a_plaintext_that_ends_early_leaves_nothing_at_the_node() {
        let blobs = MemoryBlobs::new(1 << 20);
        let mut sealing = Sealing::new([0_u8; 10].as_slice(), 11, &DocumentKey::new([1; 32])).unwrap();
        assert!(keep(&blobs, &mut sealing, ciphertext_len(11)).is_err());
        assert!(sealing.finish().is_none());
        assert!(blobs.list().unwrap().is_empty());
    }
}
