//! Whether a document is the one that its message commits to. SPEC §6.20.

use super::{DocumentRef, Finding};
use crate::document::{self, Decryptor, DocumentError, DocumentKey};

/// What is wrong with a document. CON-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub finding: Finding,
    /// Of [`Finding::Segment`]: which.
    pub segment: Option<u64>,
}

impl Fault {
    const fn of(finding: Finding) -> Self {
        Self {
            finding,
            segment: None,
        }
    }
}

/// A document under examination, in the memory of a segment. Its ciphertext, known to be that of its root, is pushed in
/// order. CON-1.
#[derive(Debug)]
pub struct Examination {
    reference: DocumentRef,
    opening: Result<Decryptor, Fault>,
    plaintext: Vec<u8>,
}

impl Examination {
    /// Begins with what the wrapped key opens to, if it opens. `None` where without it nothing can be said.
    pub fn new(reference: &DocumentRef, ciphertext_bytes: u64, key: Option<&DocumentKey>) -> Option<Self> {
        let opening = if ciphertext_bytes != document::ciphertext_len(reference.bytes) {
            Err(Fault::of(Finding::Length))
        } else if !reference.is_key(key?) {
            Err(Fault::of(Finding::KeyCommitment))
        } else {
            Decryptor::new(key?, reference.bytes).map_err(|_| Fault::of(Finding::Length))
        };
        Some(Self {
            reference: reference.clone(),
            opening,
            plaintext: Vec::new(),
        })
    }

    /// Whether more of the ciphertext can still tell something.
    pub fn is_open(&self) -> bool {
        self.opening.is_ok()
    }

    /// Takes the next piece of the ciphertext, of any length.
    pub fn push(&mut self, ciphertext: &[u8]) {
        let Ok(decryptor) = &mut self.opening else {
            return;
        };
        self.plaintext.clear();
        match decryptor.push(ciphertext, &mut self.plaintext) {
            Ok(()) => {}
            Err(DocumentError::Segment { index }) => {
                self.opening = Err(Fault {
                    finding: Finding::Segment,
                    segment: Some(index),
                });
            }
            Err(_) => self.opening = Err(Fault::of(Finding::Length)),
        }
    }

    /// Ends it: `None` if the document is what its message commits to.
    pub fn finish(self) -> Option<Fault> {
        match self.opening.map(Decryptor::finish) {
            Ok(Ok(sha256)) if self.reference.is_plaintext(&sha256) => None,
            Ok(Ok(_)) => Some(Fault::of(Finding::PlaintextCommitment)),
            Ok(Err(_)) => Some(Fault::of(Finding::Length)),
            Err(fault) => Some(fault),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::document::{Encryptor, SEGMENT, key_commitment, plaintext_commitment};
    use crate::envelope::EpochKey;
    use crate::id::{Digest, DossierId, KeySalt, Salt};
    use crate::message::Access;

    const DOSSIER: DossierId = DossierId::new([1; 32]);

    fn sealed(plaintext: &[u8]) -> (DocumentRef, Vec<u8>, EpochKey) {
        let (key, epoch) = (DocumentKey::new([7; 32]), EpochKey::new([8; 32]));
        let (salt, wrap_salt) = (Salt::new([3; 16]), KeySalt::new([4; 32]));
        let mut ciphertext = Vec::new();
        let mut encryptor = Encryptor::new(&key, plaintext.len() as u64).unwrap();
        encryptor.push(plaintext, &mut ciphertext).unwrap();
        let done = encryptor.finish(&mut ciphertext).unwrap();
        let commitment = plaintext_commitment(salt.as_bytes(), &done.plaintext_sha256);
        let reference = DocumentRef {
            root: Digest::new(done.root),
            bytes: plaintext.len() as u64,
            media_type: "text/plain".into(),
            name: "note.txt".into(),
            key_commitment: Digest::new(key_commitment(&key)),
            plaintext_commitment: Digest::new(commitment),
            plaintext_salt: salt,
            access: Access::Members {
                wrap_salt,
                wrapped_key: DocumentRef::wrap_key(&key, &epoch, &DOSSIER, &wrap_salt),
            },
        };
        (reference, ciphertext, epoch)
    }

    fn examined(reference: &DocumentRef, ciphertext: &[u8], epoch: &EpochKey) -> Option<Fault> {
        let wrap_key = reference.wrap_key_of(epoch, &DOSSIER).unwrap();
        let key = reference.unwrap_key(&wrap_key);
        let mut examination = Examination::new(reference, ciphertext.len() as u64, key.as_ref()).unwrap();
        for piece in ciphertext.chunks(10_007) {
            examination.push(piece);
            assert!(
                examination.plaintext.capacity() <= 4 * SEGMENT,
                "in constant memory"
            );
        }
        examination.finish()
    }

    #[test]
    fn each_lie_about_a_document_is_found_and_the_truth_is_not_contested() {
        let plaintext: Vec<u8> = (0..3 * SEGMENT + 5).map(|byte| byte as u8).collect();
        let (honest, ciphertext, epoch) = sealed(&plaintext);
        assert_eq!(examined(&honest, &ciphertext, &epoch), None);

        let mut other_key = honest.clone();
        let wrap_salt = KeySalt::new([4; 32]);
        let wrapped_key = DocumentRef::wrap_key(&DocumentKey::new([9; 32]), &epoch, &DOSSIER, &wrap_salt);
        other_key.access = Access::Members {
            wrap_salt,
            wrapped_key,
        };
        let found = examined(&other_key, &ciphertext, &epoch);
        assert_eq!(found, Some(Fault::of(Finding::KeyCommitment)));

        // Two keys for one ciphertext: some segments open under one, the others under the other.
        let mut two_keys = ciphertext.clone();
        two_keys[2 * (SEGMENT + 16) + 100] ^= 1;
        let found = examined(&honest, &two_keys, &epoch).unwrap();
        assert_eq!((found.finding, found.segment), (Finding::Segment, Some(2)));

        let mut other_plaintext = honest.clone();
        other_plaintext.plaintext_commitment = Digest::new([0; 32]);
        let found = examined(&other_plaintext, &ciphertext, &epoch);
        assert_eq!(found, Some(Fault::of(Finding::PlaintextCommitment)));

        for bytes in [0, honest.bytes - 1, honest.bytes + 1] {
            let other_length = DocumentRef {
                bytes,
                ..honest.clone()
            };
            let found = examined(&other_length, &ciphertext, &epoch);
            assert_eq!(found, Some(Fault::of(Finding::Length)), "{bytes}");
        }
    }

    #[test]
    fn without_its_key_a_document_of_the_right_length_is_not_judged() {
        let (reference, ciphertext, _) = sealed(b"text");
        assert!(Examination::new(&reference, ciphertext.len() as u64, None).is_none());
        let longer = Examination::new(&reference, ciphertext.len() as u64 + 1, None).unwrap();
        assert!(!longer.is_open());
        assert_eq!(longer.finish(), Some(Fault::of(Finding::Length)));
    }
}
