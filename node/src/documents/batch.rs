//! Many small documents in one request, and durable with one sync. SYN-20.
//!
//! A document of a few kilobytes costs more in requests, tasks and syncs than in bytes. So small ones, of one leaf each,
//! are asked for by the hundred; what arrives is checked one by one, and what is whole is stored in one go. Whatever
//! goes wrong with one of them, the others count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use basoche_protocol::document::{self, check_outboard};
use basoche_protocol::id::{Digest, DossierId};
use bytes::{BufMut, Bytes, BytesMut};

use super::download::{Reply, Source, read_exact};
use super::request::{BatchRequest, Request};
use super::{PIECE, TransferError};
use crate::blob::{BlobError, BlobStore};
use crate::quic::BulkReply;

/// Ciphertext bytes of one batch, at most: what one of them takes in memory.
pub const BATCH_BYTES: u64 = 8 << 20;

/// Whether a document of so many ciphertext bytes travels in batches.
pub fn is_small(ciphertext_bytes: u64) -> bool {
    document::leaf_count(ciphertext_bytes) == 1
}

/// What one batch brought.
#[derive(Debug)]
pub struct Brought {
    /// Whole, verified and durable.
    pub stored: Vec<Digest>,
    /// Ciphertext bytes received, whatever they were.
    pub received: u64,
    /// How it ended: what is neither stored nor blamed on an error the source does not give.
    pub ended: Result<(), TransferError>,
}

/// Fetches small documents, each with its ciphertext's length, from one source.
pub async fn fetch_batch(
    blobs: Arc<dyn BlobStore>,
    source: &impl Source,
    dossier: DossierId,
    mut documents: Vec<(Digest, u64)>,
) -> Brought {
    documents.sort_unstable();
    let mut arrived = Vec::with_capacity(documents.len());
    let read = read_batch(source, dossier, &documents, &mut arrived).await;
    let received = arrived.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    // Hashing and syncing are no work for the thread that reads the sockets.
    let stored = tokio::task::spawn_blocking(move || store(blobs.as_ref(), &arrived)).await;
    let (stored, checked) = match stored.map_err(|_| TransferError::Worker) {
        Ok(Ok(checked)) => checked,
        Ok(Err(error)) => (Vec::new(), Err(error.into())),
        Err(error) => (Vec::new(), Err(error)),
    };
    Brought {
        stored,
        received,
        ended: checked.and(read),
    }
}

async fn read_batch(
    source: &impl Source,
    dossier: DossierId,
    documents: &[(Digest, u64)],
    arrived: &mut Vec<(Digest, Bytes)>,
) -> Result<(), TransferError> {
    let roots = documents.iter().map(|(root, _)| *root).collect();
    let request = Request::Batch(BatchRequest { v: 1, dossier, roots });
    let mut reply = source.ask(request).await?;
    for (root, expected) in documents {
        let mut length = [0; 4];
        read_exact(&mut reply, &mut length).await?;
        match u64::from(u32::from_be_bytes(length)) {
            0 => {}
            length if length == *expected => {
                let mut bytes = BytesMut::zeroed(length as usize);
                read_exact(&mut reply, &mut bytes).await?;
                arrived.push((*root, bytes.freeze()));
            }
            _ => {
                reply.stop();
                return Err(TransferError::Reply("its length differs"));
            }
        }
    }
    match reply.read(&mut [0]).await? {
        0 => Ok(()),
        _ => {
            reply.stop();
            Err(TransferError::Reply("it is too long"))
        }
    }
}

/// What is stored, and the first error of what is not what its root says.
type Checked = (Vec<Digest>, Result<(), TransferError>);

fn store(blobs: &dyn BlobStore, arrived: &[(Digest, Bytes)]) -> Result<Checked, BlobError> {
    let mut checked = Ok(());
    let mut good = Vec::with_capacity(arrived.len());
    for (root, bytes) in arrived {
        let root = root.as_bytes();
        let tree = check_outboard(root, bytes.len() as u64, &[*root]);
        match tree.and_then(|tree| tree.verify_leaf(0, bytes)) {
            Ok(()) => good.push((*root, bytes.as_ref())),
            Err(error) => checked = checked.and_then(|()| Err(error.into())),
        }
    }
    blobs.store_small(&good, true)?;
    Ok((good.iter().map(|(root, _)| Digest::new(*root)).collect(), checked))
}

/// Answers with the documents of `roots`, in that order: length and ciphertext of each, a length of 0 for one that is
/// not given. `sent` counts what goes out.
pub async fn serve_batch(
    blobs: Arc<dyn BlobStore>,
    roots: Vec<Option<Digest>>,
    mut reply: BulkReply,
    sent: &AtomicU64,
) -> Result<(), TransferError> {
    let mut left = roots.into_iter();
    loop {
        // A mebibyte, or a little more, at a time: quinn keeps what the peer has not acknowledged, up to its window.
        let (blobs, mut piece) = (Arc::clone(&blobs), BytesMut::with_capacity(PIECE + (PIECE >> 3)));
        let filled = tokio::task::spawn_blocking(move || {
            while piece.len() < PIECE
                && let Some(root) = left.next()
            {
                append(blobs.as_ref(), root, &mut piece);
            }
            (piece, left)
        });
        let (piece, rest) = filled.await.map_err(|_| TransferError::Worker)?;
        if piece.is_empty() {
            reply.finish()?;
            return Ok(());
        }
        left = rest;
        crate::faults::throttle(piece.len()).await;
        sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        reply.write_chunk(piece.freeze()).await?;
    }
}

/// Appends length and ciphertext of a document. One that cannot be read keeps none of the others back.
fn append(blobs: &dyn BlobStore, root: Option<Digest>, out: &mut BytesMut) {
    let read = || -> Result<Option<Vec<u8>>, BlobError> {
        let Some(root) = root else { return Ok(None) };
        let Some(blob) = blobs.open(root.as_bytes())?.filter(|blob| is_small(blob.len())) else {
            return Ok(None);
        };
        let mut bytes = vec![0; blob.len() as usize];
        blob.read_at(0, &mut bytes)?;
        Ok(Some(bytes))
    };
    let bytes = read().unwrap_or_else(|error| {
        tracing::error!(%error, "a stored document cannot be read");
        None
    });
    let bytes = bytes.unwrap_or_default();
    // Truncation: at most a leaf.
    out.put_u32(bytes.len() as u32);
    out.put_slice(&bytes);
}

#[cfg(test)]
mod tests;
