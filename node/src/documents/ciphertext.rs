//! Personal documents at a node: their ciphertext, taken in and given out as it is. SPEC §6.16.

use std::io::{Read, Write};

use basoche_protocol::document::{LeafHasher, Outboard};
use basoche_protocol::id::Digest;

use super::{PIECE, TransferError};
use crate::blob::BlobStore;

/// Takes `bytes` bytes of ciphertext in: hashes and stores them. Gives the root of their tree; durable on return.
/// Blocks.
pub fn keep(blobs: &dyn BlobStore, ciphertext: &mut dyn Read, bytes: u64) -> Result<Digest, TransferError> {
    let mut leaves = LeafHasher::new(bytes)?;
    let mut writer = blobs.create(bytes)?;
    let (mut piece, mut offset) = (vec![0; PIECE], 0);
    while offset < bytes {
        let length = PIECE.min(usize::try_from(bytes - offset).unwrap_or(PIECE));
        ciphertext.read_exact(&mut piece[..length])?;
        leaves.push(&piece[..length])?;
        writer.write_at(offset, &piece[..length])?;
        offset += length as u64;
    }
    let outboard: Outboard = leaves.finish()?;
    writer.finish(outboard.root(), outboard.leaves())?;
    Ok(Digest::new(*outboard.root()))
}

/// Gives a stored ciphertext out as it is. Blocks.
pub fn send(blobs: &dyn BlobStore, root: &Digest, out: &mut dyn Write) -> Result<(), TransferError> {
    let blob = blobs.open(root.as_bytes())?.ok_or(TransferError::Absent)?;
    let (mut piece, mut offset) = (vec![0; PIECE], 0);
    while offset < blob.len() {
        let length = PIECE.min(usize::try_from(blob.len() - offset).unwrap_or(PIECE));
        blob.read_at(offset, &mut piece[..length])?;
        out.write_all(&piece[..length])?;
        offset += length as u64;
    }
    out.flush()?;
    Ok(())
}
