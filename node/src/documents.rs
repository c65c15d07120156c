//! Documents: taken in, sent to peers, fetched from them, given out. SPEC §6.16, §10.5.
//!
//! Memory is constant whatever the size: pieces of a mebibyte, a handful under way. A piece is checked against the
//! document's tree before it counts, and the document exists once every byte of it is on the disk.

use std::io::{self, Read, Write};
use std::sync::Arc;

use basoche_protocol::document::{self, Decryptor, DocumentError, DocumentKey, Encryptor, Outboard};
use basoche_protocol::envelope::EpochKey;
use basoche_protocol::id::{Digest, DossierId, KeySalt, Salt};
use basoche_protocol::message::DocumentRef;
use basoche_protocol::wire::codec;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::blob::{BlobError, BlobReader, BlobStore};
use crate::effects::random;
use crate::quic::{BulkError, BulkReply, BulkStream, CloseCode};

/// Bytes handled at a time.
const PIECE: usize = 1 << 20;
/// Pieces under way between the network and the disk.
const PIECES: usize = 8;

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

/// What a node asks another: some leaves of a document of a dossier that both are members of. SYN-11.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRequest {
    /// 1.
    pub v: u64,
    /// The dossier.
    pub dossier: DossierId,
    /// The document.
    pub root: Digest,
    /// The first leaf wanted.
    pub first_leaf: u64,
    /// How many, at most.
    pub leaves: u64,
}

impl DocumentRequest {
    /// The whole document.
    pub fn whole(dossier: DossierId, root: Digest) -> Self {
        Self {
            v: 1,
            dossier,
            root,
            first_leaf: 0,
            leaves: u64::from(u32::MAX),
        }
    }

    /// The bytes of the request.
    pub fn encode(&self) -> Bytes {
        Bytes::from(codec::encode(self))
    }

    /// Reads a request; `None` if it is malformed or of another version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        codec::decode::<Self>(bytes, 1024)
            .ok()
            .filter(|request| request.v == 1)
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
    plaintext: &mut dyn Read,
    bytes: u64,
    target: Target<'_>,
) -> Result<DocumentRef, TransferError> {
    let key = DocumentKey::new(random());
    let mut encryptor = Encryptor::new(&key, bytes)?;
    let mut writer = blobs.create(document::ciphertext_len(bytes))?;
    let (mut piece, mut sealed) = (vec![0; PIECE], Vec::with_capacity(PIECE + PIECE / 1024));
    let (mut left, mut offset) = (bytes, 0);
    while left > 0 {
        let length = PIECE.min(usize::try_from(left).unwrap_or(PIECE));
        plaintext.read_exact(&mut piece[..length])?;
        encryptor.push(&piece[..length], &mut sealed)?;
        writer.write_at(offset, &sealed)?;
        offset += sealed.len() as u64;
        sealed.clear();
        left -= length as u64;
    }
    let done = encryptor.finish(&mut sealed)?;
    writer.write_at(offset, &sealed)?;
    writer.finish(&done.root, &done.leaves)?;
    let (plaintext_salt, wrap_salt) = (Salt::new(random()), KeySalt::new(random()));
    Ok(DocumentRef {
        root: Digest::new(done.root),
        bytes,
        media_type: target.media_type,
        name: target.name,
        key_commitment: Digest::new(document::key_commitment(&key)),
        plaintext_commitment: Digest::new(document::plaintext_commitment(
            plaintext_salt.as_bytes(),
            &done.plaintext_sha256,
        )),
        plaintext_salt,
        wrapped_key: DocumentRef::wrap_key(&key, target.epoch, &target.dossier, &wrap_salt),
        wrap_salt,
    })
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

/// Answers a peer's request: length, leaf hashes, then the ciphertext of the leaves asked for. SYN-11.
pub async fn serve(
    blob: Box<dyn BlobReader>,
    request: &DocumentRequest,
    mut reply: BulkReply,
) -> Result<(), TransferError> {
    let outboard = blob.outboard()?;
    let total = blob.len();
    let leaf_bytes = document::leaf_bytes(total);
    let start = request.first_leaf.saturating_mul(leaf_bytes).min(total);
    let end = request
        .first_leaf
        .saturating_add(request.leaves)
        .saturating_mul(leaf_bytes)
        .min(total);
    let mut head = Vec::with_capacity(12 + outboard.len() * 32);
    head.extend(total.to_be_bytes());
    head.extend((outboard.len() as u32).to_be_bytes());
    head.extend(outboard.iter().flatten());
    reply.write_chunk(Bytes::from(head)).await?;
    let (pieces, mut ready) = mpsc::channel::<Result<Bytes, BlobError>>(PIECES);
    let reader = tokio::task::spawn_blocking(move || {
        let mut offset = start;
        while offset < end {
            let length = PIECE.min(usize::try_from(end - offset).unwrap_or(PIECE));
            let mut piece = vec![0; length];
            let read = blob.read_at(offset, &mut piece).map(|()| Bytes::from(piece));
            let failed = read.is_err();
            if pieces.blocking_send(read).is_err() || failed {
                return;
            }
            offset += length as u64;
        }
    });
    while let Some(piece) = ready.recv().await {
        reply.write_chunk(piece?).await?;
    }
    reader.await.map_err(|_| TransferError::Worker)?;
    reply.finish()?;
    Ok(())
}

/// Receives a whole document and stores it: every leaf is checked on arrival. Durable on return.
pub async fn receive(
    blobs: Arc<dyn BlobStore>,
    reference: &DocumentRef,
    mut stream: BulkStream,
) -> Result<(), TransferError> {
    let mut head = [0; 12];
    read_exact(&mut stream, &mut head).await?;
    let (length, count) = head.split_at(8);
    let total = u64::from_be_bytes(length.try_into().map_err(|_| TransferError::Reply("its head"))?);
    let count = u32::from_be_bytes(count.try_into().map_err(|_| TransferError::Reply("its head"))?);
    if total != document::ciphertext_len(reference.bytes) || u64::from(count) != document::leaf_count(total) {
        stream.stop(CloseCode::Protocol);
        return Err(TransferError::Reply("its length differs"));
    }
    let mut leaves = vec![0; count as usize * 32];
    read_exact(&mut stream, &mut leaves).await?;
    let leaves: Vec<[u8; 32]> = leaves.chunks_exact(32).map(hash).collect();
    let outboard = document::check_outboard(reference.root.as_bytes(), total, &leaves)?;
    let (pieces, ready) = mpsc::channel::<Bytes>(PIECES * 8);
    let root = *reference.root.as_bytes();
    let writer = tokio::task::spawn_blocking(move || write_checked(blobs.as_ref(), &root, &outboard, ready));
    loop {
        match stream.read_chunk().await {
            Ok(Some(chunk)) => {
                if pieces.send(chunk).await.is_err() {
                    break; // the writer has failed, and says why
                }
            }
            Ok(None) => break,
            Err(error) => {
                drop(pieces);
                let _ = writer.await;
                return Err(error.into());
            }
        }
    }
    drop(pieces);
    writer.await.map_err(|_| TransferError::Worker)?
}

/// Hashes leaf by leaf what arrives, writes it, and makes it durable at the end.
fn write_checked(
    blobs: &dyn BlobStore,
    root: &[u8; 32],
    outboard: &Outboard,
    mut ready: mpsc::Receiver<Bytes>,
) -> Result<(), TransferError> {
    let mut writer = blobs.create(outboard.ciphertext_bytes())?;
    let (mut leaf, mut offset) = (0_u64, 0_u64);
    // A leaf is gathered, checked, then written at once: nothing unchecked reaches the disk, and a datagram's worth
    // of bytes is no system call of its own.
    let mut gathered: Vec<u8> = Vec::new();
    while let Some(mut chunk) = ready.blocking_recv() {
        while !chunk.is_empty() {
            let range = outboard
                .leaf_range(leaf)
                .ok_or(TransferError::Reply("it is too long"))?;
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let part = chunk.split_to(chunk.len().min(length - gathered.len()));
            gathered.extend_from_slice(&part);
            if gathered.len() == length {
                outboard.verify_leaf(leaf, &gathered)?;
                writer.write_at(offset, &gathered)?;
                offset += gathered.len() as u64;
                gathered.clear();
                leaf += 1;
            }
        }
    }
    if offset != outboard.ciphertext_bytes() {
        return Err(TransferError::Reply("it ends early"));
    }
    writer.finish(root, outboard.leaves())?;
    Ok(())
}

fn hash(leaf: &[u8]) -> [u8; 32] {
    let mut array = [0; 32];
    array.copy_from_slice(leaf);
    array
}

async fn read_exact(stream: &mut BulkStream, buffer: &mut [u8]) -> Result<(), TransferError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Err(TransferError::Reply("it ends early")),
            read => filled += read,
        }
    }
    Ok(())
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
    fn a_file_shorter_than_announced_leaves_nothing() {
        let (blobs, epoch) = (MemoryBlobs::new(1 << 20), EpochKey::new([2; 32]));
        assert!(ingest(&blobs, &mut [0_u8; 10].as_slice(), 11, target(&epoch)).is_err());
        assert!(blobs.list().unwrap().is_empty());
    }
}
