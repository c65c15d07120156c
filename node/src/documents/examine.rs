//! Examining documents that are held: whether they are what their messages commit to. CON-1.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use basoche_protocol::document::DocumentKey;
use basoche_protocol::envelope::EpochKey;
use basoche_protocol::id::{Digest, DossierId, MessageId};
use basoche_protocol::message::{DocumentRef, Examination, Fault, Finding};
use basoche_protocol::wire::codec;
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

/// Documents that are remembered as taken in; the oldest are forgotten, and examined like any other.
const REMEMBERED: usize = 4096;

/// What this process has itself encrypted: a message that says of it just what came of that says what is so, and the
/// document is not read again.
#[derive(Default)]
pub struct TakenIn {
    references: Mutex<VecDeque<Digest>>,
}

impl TakenIn {
    /// Remembers what came of taking a document in.
    pub fn note(&self, reference: &DocumentRef) {
        let mut references = self.references.lock().unwrap_or_else(PoisonError::into_inner);
        if references.len() == REMEMBERED {
            references.pop_front();
        }
        references.push_back(digest(reference));
    }

    /// Whether a document was taken in as just what `reference` says.
    pub fn is(&self, reference: &DocumentRef) -> bool {
        let references = self.references.lock().unwrap_or_else(PoisonError::into_inner);
        references.contains(&digest(reference))
    }
}

/// SHA-256 of all that a message says of a document.
fn digest(reference: &DocumentRef) -> Digest {
    Digest::of(&[&codec::encode(reference)])
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
        let taken = TakenIn::default();
        taken.note(&reference);
        assert!(taken.is(&reference));
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
        // Whoever was taken in is believed in what came of it, and in nothing else.
        assert!(!taken.is(&lie));
        let mut lie = reference.clone();
        lie.key_commitment = Digest::new([0; 32]);
        let examined = found(&lie, keys()).unwrap();
        assert_eq!(examined.fault.finding, Finding::KeyCommitment);
        // Whoever is given that key sees for himself.
        let opened = lie.unwrap_key(&examined.wrap_key.unwrap()).unwrap();
        assert!(!lie.is_key(&opened) && reference.is_key(&opened));
        assert!(!taken.is(&lie));
        (0..REMEMBERED).for_each(|_| taken.note(&lie));
        assert!(taken.is(&lie) && !taken.is(&reference));
    }
}
