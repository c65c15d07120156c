//! The key of a personal document, wrapped for one person. SPEC §5.5.

use serde::{Deserialize, Serialize};

use super::require;
use crate::document::DocumentKey;
use crate::error::Malformed;
use crate::id::{Digest, DossierId, SubjectId};
use crate::jose::{self, DecryptionKey, DocumentWrapContext, KeyError};
use crate::wire::limits;

/// A document's key for one person: only the holder of the private half of that person's encryption key opens it.
/// KEY-10.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyWrap {
    /// For whom.
    pub recipient: SubjectId,
    /// The compact JWE.
    pub jwe: String,
}

impl KeyWrap {
    /// Wraps `key` of the document `root` for a person whose P-256 encryption key is `spki` (DER
    /// SubjectPublicKeyInfo). An effect: draws randomness inside OpenSSL.
    ///
    /// # Errors
    /// [`KeyError::Unfit`] where `spki` is no such key.
    pub fn new(
        key: &DocumentKey,
        dossier: &DossierId,
        root: &Digest,
        recipient: SubjectId,
        spki: &[u8],
    ) -> Result<Self, KeyError> {
        let context = context(dossier, root, recipient);
        let jwe = jose::wrap(key.as_bytes(), &context, spki)?;
        Ok(Self { recipient, jwe })
    }

    /// The key, with the recipient's private encryption key (DER PKCS#8). Whether it is the one committed to is not
    /// looked at: [`DocumentRef::is_key`](super::DocumentRef::is_key).
    ///
    /// # Errors
    /// [`KeyError::Mismatch`] where the wrap does not open.
    pub fn open(
        &self,
        dossier: &DossierId,
        root: &Digest,
        private_pkcs8: &[u8],
    ) -> Result<DocumentKey, KeyError> {
        let context = context(dossier, root, self.recipient);
        let key = DecryptionKey::from_pkcs8(private_pkcs8)?.unwrap(&self.jwe, &context)?;
        Ok(DocumentKey::new(*key))
    }
}

fn context(dossier: &DossierId, root: &Digest, recipient: SubjectId) -> DocumentWrapContext {
    DocumentWrapContext {
        dossier: *dossier,
        root: *root,
        recipient,
    }
}

/// Refuses what nobody could open: no recipient, too many, out of order, or a wrap of another form or context. What
/// a wrap holds only its recipient can tell. KEY-10, KEY-11.
pub(super) fn check(wraps: &[KeyWrap], dossier: &DossierId, root: &Digest) -> Result<(), Malformed> {
    require((1..=limits::DOSSIER_PERSONS).contains(&wraps.len()))?;
    require(wraps.windows(2).all(|pair| pair[0].recipient < pair[1].recipient))?;
    let fits = |wrap: &KeyWrap| jose::check_wrap(&wrap.jwe, &context(dossier, root, wrap.recipient)).is_ok();
    require(wraps.iter().all(fits))
}
