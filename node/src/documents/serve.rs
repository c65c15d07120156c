//! Sending a document to a peer. SYN-11.

use std::sync::atomic::{AtomicU64, Ordering};

use basoche_protocol::document;
use bytes::Bytes;

use super::{DocumentRequest, PIECE, TransferError};
use crate::blob::{BlobError, BlobReader};
use crate::buffers::{Fill, ring};
use crate::quic::BulkReply;

/// Pieces under way: quinn keeps what the peer has not acknowledged, up to its send window.
const PIECES: usize = 20;

/// Answers a peer's request: length, leaf hashes if it wants them, then the ciphertext of the leaves asked for.
/// `sent` counts what goes out.
pub async fn serve(
    blob: Box<dyn BlobReader>,
    request: &DocumentRequest,
    mut reply: BulkReply,
    sent: &AtomicU64,
) -> Result<(), TransferError> {
    let total = blob.len();
    let outboard = if request.hashes {
        blob.outboard()?
    } else {
        Vec::new()
    };
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
    sent.fetch_add(head.len() as u64, Ordering::Relaxed);
    reply.write_chunk(Bytes::from(head)).await?;
    // A short document, or the end of one, needs no more buffers than it fills.
    let pieces =
        usize::try_from((end - start).div_ceil(PIECE as u64)).map_or(PIECES, |count| count.min(PIECES));
    let (fill, mut pieces) = ring(pieces.max(1), PIECE);
    let reader = tokio::task::spawn_blocking(move || read(blob.as_ref(), start, end, fill));
    while let Some((_, piece)) = pieces.next().await {
        crate::faults::throttle(piece.len()).await;
        sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        reply.write_chunk(pieces.lend(piece)).await?;
    }
    reader.await.map_err(|_| TransferError::Worker)??;
    reply.finish()?;
    Ok(())
}

/// Reads the bytes from `offset` to `end`, piece by piece.
fn read(blob: &dyn BlobReader, mut offset: u64, end: u64, mut pieces: Fill) -> Result<(), BlobError> {
    while offset < end
        && let Some(mut piece) = pieces.wait()
    {
        let room = piece.grow(usize::try_from(end - offset).unwrap_or(PIECE).min(PIECE));
        blob.read_at(offset, room)?;
        let at = offset;
        offset += room.len() as u64;
        if !pieces.pass(at, piece) {
            break;
        }
    }
    Ok(())
}
