//! How a message names a document whose bytes travel apart. SPEC §6.16.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{check_short, require};
use crate::crypto::AeadKey;
use crate::document::{self, DocumentKey};
use crate::envelope::EpochKey;
use crate::error::Malformed;
use crate::id::{Digest, DossierId, KeySalt, Salt};
use crate::text::check_media_type;

/// A document: what its ciphertext is, how it is opened, and what it must contain. DOC-1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRef {
    /// Root of the SHA-256 tree over the ciphertext. DOC-2.
    pub root: Digest,
    /// Plaintext bytes.
    pub bytes: u64,
    /// Media type (RFC 6838).
    pub media_type: String,
    /// File name, without any path.
    pub name: String,
    /// Commitment to the key: nobody can be given another one. DOC-3.
    pub key_commitment: Digest,
    /// Salted commitment to the plaintext: a reader whose bytes differ can show it. DOC-5.
    pub plaintext_commitment: Digest,
    /// The commitment's salt.
    pub plaintext_salt: Salt,
    /// From which, with the epoch key, the wrap's key is derived.
    pub wrap_salt: KeySalt,
    /// The document's key, AES-256-GCM under that key: 48 bytes. DOC-3.
    pub wrapped_key: ByteBuf,
}

/// Bytes of a wrapped document key: 32 and the tag.
const WRAPPED_KEY_BYTES: usize = 48;

impl DocumentRef {
    pub(super) fn validate(&self) -> Result<(), Malformed> {
        check_short(&self.name)?;
        require(!self.name.contains(['/', '\\']) && self.name != "." && self.name != "..")?;
        require(check_media_type(&self.media_type))?;
        require(self.bytes <= document::MAX_BYTES)?;
        require(self.wrapped_key.len() == WRAPPED_KEY_BYTES)
    }

    /// Wraps a document's key under an epoch key. `salt` must be fresh random bytes. DOC-3.
    pub fn wrap_key(key: &DocumentKey, epoch: &EpochKey, dossier: &DossierId, salt: &KeySalt) -> ByteBuf {
        let mut wrapped = key.as_bytes().to_vec();
        wrap_cipher(epoch, dossier, salt).seal_in_place([0; 12], b"", &mut wrapped);
        ByteBuf::from(wrapped)
    }

    /// The document's key, if it opens and is the one committed to. DOC-3.
    pub fn open_key(&self, epoch: &EpochKey, dossier: &DossierId) -> Option<DocumentKey> {
        let wrap_key = epoch.document_wrap_bytes(&self.wrap_salt, dossier);
        self.unwrap_key(&wrap_key).filter(|key| self.is_key(key))
    }

    /// What the wrapped key opens to under the key that wraps it, whether it is the one committed to or not. CON-1.
    pub fn unwrap_key(&self, wrap_key: &[u8; 32]) -> Option<DocumentKey> {
        let mut wrapped = self.wrapped_key.to_vec();
        let cipher = AeadKey::new(wrap_key);
        let opened = cipher.open_in_place([0; 12], b"", &mut wrapped).ok()?;
        Some(DocumentKey::new(<[u8; 32]>::try_from(&*opened).ok()?))
    }

    /// Whether `key` is the one committed to.
    pub fn is_key(&self, key: &DocumentKey) -> bool {
        document::key_commitment(key) == *self.key_commitment.as_bytes()
    }

    /// Whether a plaintext of this SHA-256 is the one committed to. DOC-5.
    pub fn is_plaintext(&self, sha256: &[u8; 32]) -> bool {
        document::plaintext_commitment(self.plaintext_salt.as_bytes(), sha256)
            == *self.plaintext_commitment.as_bytes()
    }
}

fn wrap_cipher(epoch: &EpochKey, dossier: &DossierId, salt: &KeySalt) -> AeadKey {
    epoch.document_wrap_key(salt, dossier)
}
