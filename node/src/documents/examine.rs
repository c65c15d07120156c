//! Examining documents that are held: whether they are what their messages commit to. CON-1.

use basoche_protocol::document::DocumentKey;
use basoche_protocol::envelope::EpochKey;
use basoche_protocol::id::{DossierId, MessageId};
use basoche_protocol::message::{DocumentRef, Examination, Fault, Finding};
use zeroize::Zeroizing;

use super::{PIECE, TransferError};
use crate::blob::BlobStore;

/// A document that is held and has not been examined.
pub struct Unexamined {
    /// The dossier.
    pub dossier: DossierId,
    /// The message that brought it.
    pub deposit: MessageId,
    /// What the message says of it.
    pub reference: DocumentRef,
    /// The dossier's keys.
    pub keys: Vec<EpochKey>,
}

/// What an examination found.
pub struct Examined {
    /// What is wrong.
    pub fault: Fault,
    /// Of a key that is not the one committed to: the key that opens it.
    pub wrap_key: Option<Zeroizing<[u8; 32]>>,
}

/// Examines a document, in constant memory: it is read once, decrypted and hashed. `None` if it is as it should be, or
/// if no key at hand opens its own. Blocks.
///
/// # Errors
/// [`TransferError::Absent`] and what the blob store says.
pub fn examine(blobs: &dyn BlobStore, it: &Unexamined) -> Result<Option<Examined>, TransferError> {
    let reference = &it.reference;
    let blob = blobs
        .open(reference.root.as_bytes())?
        .ok_or(TransferError::Absent)?;
    let wrap_keys = it
        .keys
        .iter()
        .filter_map(|key| reference.wrap_key_of(key, &it.dossier));
    let opened: Option<(Zeroizing<[u8; 32]>, DocumentKey)> = wrap_keys
        .map(Zeroizing::new)
        .find_map(|wrap_key| reference.unwrap_key(&wrap_key).map(|key| (wrap_key, key)));
    let key = opened.as_ref().map(|(_, key)| key);
    let Some(mut examination) = Examination::new(reference, blob.len(), key) else {
        return Ok(None);
    };
    let mut piece = vec![0; PIECE];
    let mut offset = 0;
    while offset < blob.len() && examination.is_open() {
        let length = PIECE.min(usize::try_from(blob.len() - offset).unwrap_or(PIECE));
        blob.read_at(offset, &mut piece[..length])?;
        examination.push(&piece[..length]);
        offset += length as u64;
    }
    Ok(examination.finish().map(|fault| Examined {
        fault,
        wrap_key: opened
            .map(|(wrap_key, _)| wrap_key)
            .filter(|_| fault.finding == Finding::KeyCommitment),
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Target, ingest};
    use super::*;
    use crate::blob::MemoryBlobs;
    use basoche_protocol::id::Digest;

    #[test]
    fn what_is_taken_in_is_as_it_should_be_and_a_lie_about_it_is_found() {
        let (blobs, epoch) = (MemoryBlobs::new(1 << 24), EpochKey::new([2; 32]));
        let plain: Vec<u8> = (0..PIECE + 70_000).map(|byte| byte as u8).collect();
        let target = Target {
            dossier: DossierId::new([1; 32]),
            epoch: &epoch,
            name: "note.txt".into(),
            media_type: "text/plain".into(),
        };
        let reference = ingest(&blobs, &mut plain.as_slice(), plain.len() as u64, target).unwrap();
        let found = |reference: &DocumentRef, keys: Vec<EpochKey>| {
            let it = Unexamined {
                dossier: DossierId::new([1; 32]),
                deposit: MessageId::new([3; 32]),
                reference: reference.clone(),
                keys,
            };
            examine(&blobs, &it).unwrap()
        };
        let keys = || vec![EpochKey::new([9; 32]), epoch.clone()];
        assert!(found(&reference, keys()).is_none());
        assert!(
            found(&reference, vec![]).is_none(),
            "without a key nothing is said"
        );
        let mut lie = reference.clone();
        lie.plaintext_commitment = Digest::new([0; 32]);
        let finding = found(&lie, keys()).unwrap().fault.finding;
        assert_eq!(finding, Finding::PlaintextCommitment);
        let mut lie = reference.clone();
        lie.key_commitment = Digest::new([0; 32]);
        let examined = found(&lie, keys()).unwrap();
        assert_eq!(examined.fault.finding, Finding::KeyCommitment);
        // Whoever is given that key sees for himself.
        let opened = lie.unwrap_key(&examined.wrap_key.unwrap()).unwrap();
        assert!(!lie.is_key(&opened) && reference.is_key(&opened));
    }
}
