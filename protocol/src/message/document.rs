//! How a message names a document whose bytes travel apart. SPEC §6.16.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{KeyWrap, check_short, require};
use crate::crypto::AeadKey;
use crate::document::{self, DocumentKey};
use crate::envelope::EpochKey;
use crate::error::Malformed;
use crate::id::{Digest, DossierId, KeySalt, Salt};
use crate::role::Class;
use crate::text::check_media_type;

/// A document: what its ciphertext is, how it is opened, and what it must contain. DOC-1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
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
    /// Who is given the key.
    pub access: Access,
}

/// Who is given the key of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Class `member`: every member node, through the dossier's epoch key. DOC-3.
    Members {
        /// From which, with the epoch key, the wrap's key is derived.
        wrap_salt: KeySalt,
        /// The document's key, AES-256-GCM under that key: 48 bytes.
        wrapped_key: ByteBuf,
    },
    /// Class `personal`: these persons, and no node. Ascending by recipient. DOC-20.
    Persons(Vec<KeyWrap>),
}

impl Access {
    /// The class that it is.
    pub const fn class(&self) -> Class {
        match self {
            Self::Members { .. } => Class::Member,
            Self::Persons(_) => Class::Personal,
        }
    }
}

/// [`DocumentRef`] on the wire. Keys are positions: append only.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    root: Digest,
    bytes: u64,
    media_type: String,
    name: String,
    key_commitment: Digest,
    plaintext_commitment: Digest,
    plaintext_salt: Salt,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wrap_salt: Option<KeySalt>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wrapped_key: Option<ByteBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wraps: Option<Vec<KeyWrap>>,
}

impl TryFrom<Fields> for DocumentRef {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, &'static str> {
        let access = match (fields.wrap_salt, fields.wrapped_key, fields.wraps) {
            (Some(wrap_salt), Some(wrapped_key), None) => Access::Members {
                wrap_salt,
                wrapped_key,
            },
            (None, None, Some(wraps)) => Access::Persons(wraps),
            _ => return Err("a document has either a wrapped key and its salt, or wraps for persons"),
        };
        Ok(Self {
            root: fields.root,
            bytes: fields.bytes,
            media_type: fields.media_type,
            name: fields.name,
            key_commitment: fields.key_commitment,
            plaintext_commitment: fields.plaintext_commitment,
            plaintext_salt: fields.plaintext_salt,
            access,
        })
    }
}

impl From<DocumentRef> for Fields {
    fn from(document: DocumentRef) -> Self {
        let (wrap_salt, wrapped_key, wraps) = match document.access {
            Access::Members {
                wrap_salt,
                wrapped_key,
            } => (Some(wrap_salt), Some(wrapped_key), None),
            Access::Persons(wraps) => (None, None, Some(wraps)),
        };
        Self {
            root: document.root,
            bytes: document.bytes,
            media_type: document.media_type,
            name: document.name,
            key_commitment: document.key_commitment,
            plaintext_commitment: document.plaintext_commitment,
            plaintext_salt: document.plaintext_salt,
            wrap_salt,
            wrapped_key,
            wraps,
        }
    }
}

/// Bytes of a wrapped document key: 32 and the tag.
const WRAPPED_KEY_BYTES: usize = 48;

impl DocumentRef {
    pub(super) fn validate(&self) -> Result<(), Malformed> {
        check_short(&self.name)?;
        require(!self.name.contains(['/', '\\']) && self.name != "." && self.name != "..")?;
        require(check_media_type(&self.media_type))?;
        require(self.bytes <= document::MAX_BYTES)?;
        match &self.access {
            Access::Members { wrapped_key, .. } => require(wrapped_key.len() == WRAPPED_KEY_BYTES),
            // The message knows the dossier to which they are bound, and checks them.
            Access::Persons(_) => Ok(()),
        }
    }

    /// The wraps for persons, and the root that they are bound to; none of a document for member nodes.
    pub fn wraps(&self) -> Option<(&Digest, &[KeyWrap])> {
        match &self.access {
            Access::Members { .. } => None,
            Access::Persons(wraps) => Some((&self.root, wraps)),
        }
    }

    /// For whom its key is wrapped; [`Class::Member`] is for every member node.
    pub const fn class(&self) -> Class {
        self.access.class()
    }

    /// Wraps a document's key under an epoch key. `salt` must be fresh random bytes. DOC-3.
    pub fn wrap_key(key: &DocumentKey, epoch: &EpochKey, dossier: &DossierId, salt: &KeySalt) -> ByteBuf {
        let mut wrapped = key.as_bytes().to_vec();
        wrap_cipher(epoch, dossier, salt).seal_in_place([0; 12], b"", &mut wrapped);
        ByteBuf::from(wrapped)
    }

    /// The document's key, if it is for member nodes, opens and is the one committed to. DOC-3.
    pub fn open_key(&self, epoch: &EpochKey, dossier: &DossierId) -> Option<DocumentKey> {
        let wrap_key = self.wrap_key_of(epoch, dossier)?;
        self.unwrap_key(&wrap_key).filter(|key| self.is_key(key))
    }

    /// The key that wraps its own under an epoch key; nothing for a document for persons. DOC-3.
    pub fn wrap_key_of(&self, epoch: &EpochKey, dossier: &DossierId) -> Option<[u8; 32]> {
        match &self.access {
            Access::Members { wrap_salt, .. } => Some(epoch.document_wrap_bytes(wrap_salt, dossier)),
            Access::Persons(_) => None,
        }
    }

    /// What the wrapped key opens to under the key that wraps it, whether it is the one committed to or not; nothing of
    /// a document for persons. CON-1.
    pub fn unwrap_key(&self, wrap_key: &[u8; 32]) -> Option<DocumentKey> {
        let Access::Members { wrapped_key, .. } = &self.access else {
            return None;
        };
        let mut wrapped = wrapped_key.to_vec();
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
