//! Documents: taken in, sent to peers, fetched from them, given out. SPEC §6.16, §10.5.
//!
//! This file takes in and gives out; `request` is what nodes ask each other, `serve` sends, `download` fetches, `batch` does both
//! with many small ones at once, and `plan` says what is fetched next, and from whom. What persons have encrypted for
//! persons is taken in and given out as it is by `ciphertext`; `personal` is their end of it, outside the node.
//!
//! Memory is constant whatever the size: pieces of a mebibyte, a handful under way. Reading, hashing and writing are
//! threads of their own between which the pieces go round. A piece is checked against the document's tree before
//! it counts, and the document exists once every byte of it is on the disk.

mod batch;
mod ciphertext;
mod download;
mod examine;
pub mod personal;
mod plan;
mod request;
mod serve;

pub use batch::{BATCH_BYTES, Brought, fetch_batch, is_small, serve_batch};
pub use ciphertext::{keep, send};
pub use download::{Download, Reply, Source};
pub use examine::{Examined, TakenIn, Unexamined, examine};
pub use plan::{Job, Plan, Want};
pub use request::{BatchRequest, DocumentRequest, Request};
pub use serve::serve;

use std::io::{self, Read, Write};
use std::thread;

use basoche_protocol::document::{self, Decryptor, DocumentError, DocumentKey, Encryptor};
use basoche_protocol::envelope::EpochKey;
use basoche_protocol::id::{Digest, DossierId, KeySalt, Salt};
use basoche_protocol::message::{Access, DocumentRef};
use thiserror::Error;

use crate::blob::{BlobError, BlobStore, BlobWriter};
use crate::buffers::{Drain, Fill, ring};
use crate::effects::random;
use crate::quic::{BulkError, TransportError};

/// Bytes handled at a time.
const PIECE: usize = 1 << 20;
/// Pieces under way between two threads, or between the network and the disk.
const PIECES: usize = 6;

/// Plaintext bytes of a document that is taken in and travels with others: of so many its ciphertext is one leaf.
pub const SMALL_BYTES: u64 = 65_520;

/// A document could not be taken in, sent, fetched or given out.
#[derive(Debug, Error)]
pub enum TransferError {
    /// The blob store failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The bytes are not what they should be.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The stream failed.
    #[error(transparent)]
    Stream(#[from] BulkError),
    /// The other end of a local stream failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The provider sent something else than was asked.
    #[error("the provider's reply is not the document: {0}")]
    Reply(&'static str),
    /// A peer that may have the document cannot be reached.
    #[error("its node cannot be reached: {0}")]
    Unreachable(TransportError),
    /// The key that the message carries is not the one that it commits to.
    #[error("the document's key does not open it")]
    Key,
    /// The blob is not here.
    #[error("the document is not stored here yet")]
    Absent,
    /// A worker thread ended early.
    #[error("a worker stopped")]
    Worker,
}

impl TransferError {
    /// Whether the other end lied: what it sent is not the document, or not what was asked.
    pub fn is_blame(&self) -> bool {
        matches!(self, Self::Document(_) | Self::Reply(_))
    }
}

/// What a document becomes part of.
pub struct Target<'a> {
    /// The dossier.
    pub dossier: DossierId,
    /// The key under which the document's own key is wrapped.
    pub epoch: &'a EpochKey,
    /// Its file name.
    pub name: String,
    /// Its media type.
    pub media_type: String,
}

/// Takes `bytes` bytes of plaintext in: encrypts, hashes, stores. Durable on return. Blocks.
pub fn ingest(
    blobs: &dyn BlobStore,
    plaintext: &mut (dyn Read + Send),
    bytes: u64,
    target: Target<'_>,
) -> Result<DocumentRef, TransferError> {
    let key = DocumentKey::new(random());
    let encryptor = Encryptor::new(&key, bytes)?;
    let writer = blobs.create(document::ciphertext_len(bytes))?;
    let (plain, to_seal) = ring(PIECES, PIECE);
    let (sealed, to_write) = ring(PIECES, PIECE);
    let (done, writer) = thread::scope(|scope| {
        let reading = scope.spawn(move || read_plaintext(plaintext, bytes, plain));
        let writing = scope.spawn(move || write_sealed(writer, to_write));
        let done = seal(encryptor, to_seal, sealed);
        // The threads end when the rings do. What went wrong first is told: a reader that fails ends the others.
        let (read, written) = (reading.join(), writing.join());
        read.map_err(|_| TransferError::Worker)??;
        let writer = written.map_err(|_| TransferError::Worker)??;
        Ok::<_, TransferError>((done?, writer))
    })?;
    writer.finish(&done.root, &done.leaves)?;
    Ok(reference(&key, bytes, &done, target))
}

/// Takes small documents in, whose plaintexts of so many bytes follow each other: all durable on return, with one sync. Blocks.
pub fn ingest_small(
    blobs: &dyn BlobStore,
    plaintexts: &mut dyn Read,
    targets: Vec<(u64, Target<'_>)>,
) -> Result<Vec<DocumentRef>, TransferError> {
    let (mut references, mut ciphertexts) = (Vec::new(), Vec::new());
    let mut plain = vec![0; SMALL_BYTES as usize];
    for (bytes, target) in targets {
        let room = usize::try_from(bytes)
            .ok()
            .and_then(|bytes| plain.get_mut(..bytes));
        let room = room.ok_or(TransferError::Reply("it is too long"))?;
        plaintexts.read_exact(room)?;
        let key = DocumentKey::new(random());
        let mut encryptor = Encryptor::new(&key, bytes)?;
        let mut ciphertext = Vec::with_capacity(room.len() + 64);
        encryptor.push(room, &mut ciphertext)?;
        let done = encryptor.finish(&mut ciphertext)?;
        ciphertexts.push((done.root, ciphertext));
        references.push(reference(&key, bytes, &done, target));
    }
    let ciphertexts: Vec<_> = ciphertexts
        .iter()
        .map(|(root, bytes)| (*root, bytes.as_slice()))
        .collect();
    blobs.store_small(&ciphertexts, false)?;
    Ok(references)
}

/// How a message names a document that is stored.
fn reference(key: &DocumentKey, bytes: u64, done: &document::Sealed, target: Target<'_>) -> DocumentRef {
    let (plaintext_salt, wrap_salt) = (Salt::new(random()), KeySalt::new(random()));
    DocumentRef {
        root: Digest::new(done.root),
        bytes,
        media_type: target.media_type,
        name: target.name,
        key_commitment: Digest::new(document::key_commitment(key)),
        plaintext_commitment: Digest::new(document::plaintext_commitment(
            plaintext_salt.as_bytes(),
            &done.plaintext_sha256,
        )),
        plaintext_salt,
        access: Access::Members {
            wrapped_key: DocumentRef::wrap_key(key, target.epoch, &target.dossier, &wrap_salt),
            wrap_salt,
        },
    }
}

/// Reads `left` bytes, piece by piece.
fn read_plaintext(plaintext: &mut (dyn Read + Send), mut left: u64, mut pieces: Fill) -> io::Result<()> {
    while left > 0
        && let Some(mut piece) = pieces.wait()
    {
        let room = piece.grow(usize::try_from(left).unwrap_or(PIECE).min(PIECE));
        plaintext.read_exact(room)?;
        left -= room.len() as u64;
        if !pieces.pass(0, piece) {
            break;
        }
    }
    Ok(())
}

/// Encrypts and hashes piece by piece.
fn seal(
    mut encryptor: Encryptor,
    mut plain: Drain,
    mut sealed: Fill,
) -> Result<document::Sealed, TransferError> {
    let mut ciphertext = Vec::with_capacity(PIECE + PIECE / 1024);
    let mut piece = sealed.wait().ok_or(TransferError::Worker)?;
    let mut offset = 0;
    let mut pass = |ciphertext: &mut Vec<u8>| -> Result<(), TransferError> {
        let mut rest = ciphertext.as_slice();
        while !rest.is_empty() {
            rest = &rest[piece.append(rest)..];
            if piece.is_full() {
                let next = sealed.wait().ok_or(TransferError::Worker)?;
                sealed.pass(offset, std::mem::replace(&mut piece, next));
                offset += PIECE as u64;
            }
        }
        ciphertext.clear();
        Ok(())
    };
    while let Some((_, read)) = plain.wait() {
        encryptor.push(read.as_ref(), &mut ciphertext)?;
        plain.give_back(read);
        pass(&mut ciphertext)?;
    }
    let done = encryptor.finish(&mut ciphertext)?;
    pass(&mut ciphertext)?;
    sealed.pass(offset, piece);
    Ok(done)
}

/// Writes piece after piece.
fn write_sealed(
    mut writer: Box<dyn BlobWriter>,
    mut pieces: Drain,
) -> Result<Box<dyn BlobWriter>, BlobError> {
    while let Some((offset, piece)) = pieces.wait() {
        writer.write_at(offset, piece.as_ref())?;
        pieces.give_back(piece);
    }
    Ok(writer)
}

/// Gives a stored document out in clear, and checks it against its commitments. Blocks.
pub fn give_out(
    blobs: &dyn BlobStore,
    reference: &DocumentRef,
    key: &DocumentKey,
    out: &mut dyn Write,
) -> Result<(), TransferError> {
    let blob = blobs
        .open(reference.root.as_bytes())?
        .ok_or(TransferError::Absent)?;
    let mut decryptor = Decryptor::new(key, reference.bytes)?;
    let (mut piece, mut plain) = (vec![0; PIECE], Vec::with_capacity(PIECE));
    let mut offset = 0;
    while offset < blob.len() {
        let length = PIECE.min(usize::try_from(blob.len() - offset).unwrap_or(PIECE));
        blob.read_at(offset, &mut piece[..length])?;
        decryptor.push(&piece[..length], &mut plain)?;
        out.write_all(&plain)?;
        plain.clear();
        offset += length as u64;
    }
    let sha256 = decryptor.finish()?;
    out.flush()?;
    if reference.is_plaintext(&sha256) {
        Ok(())
    } else {
        Err(TransferError::Reply("the plaintext is not the one committed to"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::blob::MemoryBlobs;

    fn target(epoch: &EpochKey) -> Target<'_> {
        let dossier = DossierId::new([1; 32]);
        Target {
            dossier,
            epoch,
            name: "note.txt".into(),
            media_type: "text/plain".into(),
        }
    }

    #[test]
    fn what_is_taken_in_is_given_out_again() {
        let (blobs, epoch) = (MemoryBlobs::new(1 << 24), EpochKey::new([2; 32]));
        for size in [0, 1, 70_000, PIECE + 3] {
            let plain: Vec<u8> = (0..size).map(|byte| byte as u8).collect();
            let reference = ingest(&blobs, &mut plain.as_slice(), size as u64, target(&epoch)).unwrap();
            let key = reference.open_key(&epoch, &DossierId::new([1; 32])).unwrap();
            let mut out = Vec::new();
            give_out(&blobs, &reference, &key, &mut out).unwrap();
            assert_eq!(out, plain);
            // Another epoch's key, or another dossier, opens nothing.
            assert!(
                reference
                    .open_key(&EpochKey::new([3; 32]), &DossierId::new([1; 32]))
                    .is_none()
            );
            assert!(reference.open_key(&epoch, &DossierId::new([9; 32])).is_none());
        }
    }

    #[test]
    fn small_documents_are_taken_in_together_and_given_out_one_by_one() {
        let (blobs, epoch) = (MemoryBlobs::new(1 << 24), EpochKey::new([2; 32]));
        assert!(
            is_small(document::ciphertext_len(SMALL_BYTES))
                && !is_small(document::ciphertext_len(SMALL_BYTES + 1))
        );
        let sizes = [0, 7, 20_000, SMALL_BYTES];
        let plain: Vec<u8> = (0..sizes.iter().sum())
            .map(|byte: u64| (byte / 3) as u8)
            .collect();
        let targets = || sizes.iter().map(|size| (*size, target(&epoch))).collect();
        let references = ingest_small(&blobs, &mut plain.as_slice(), targets()).unwrap();
        let mut out = Vec::new();
        for (reference, size) in references.iter().zip(sizes) {
            assert_eq!(reference.bytes, size);
            let key = reference.open_key(&epoch, &DossierId::new([1; 32])).unwrap();
            give_out(&blobs, reference, &key, &mut out).unwrap();
        }
        assert_eq!(out, plain);
        // What ends early, or is too long, leaves nothing.
        let empty = MemoryBlobs::new(1 << 24);
        assert!(ingest_small(&empty, &mut &plain[1..], targets()).is_err());
        let long = vec![(SMALL_BYTES + 1, target(&epoch))];
        assert!(ingest_small(&empty, &mut plain.as_slice(), long).is_err());
        assert!(empty.list().unwrap().is_empty());
    }

    #[test]
    fn a_file_shorter_than_announced_leaves_nothing() {
        let (blobs, epoch) = (MemoryBlobs::new(1 << 20), EpochKey::new([2; 32]));
        assert!(ingest(&blobs, &mut [0_u8; 10].as_slice(), 11, target(&epoch)).is_err());
        assert!(blobs.list().unwrap().is_empty());
    }
}
