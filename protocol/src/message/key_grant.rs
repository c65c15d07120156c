//! A recipient hands a personal document's key on. SPEC §6.25.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, KeyWrap, check_ext};
use crate::error::Malformed;
use crate::id::{Digest, MessageId};

/// Somebody who has the key of a personal document wraps it for further persons: those who joined later, or who had
/// no encryption key then. Changes nothing but the record of who was granted; whether a wrap holds the key that the
/// document commits to, only its recipient can tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyGrant {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// The message that brought the document.
    pub deposit: MessageId,
    /// The document's tree root.
    pub root: Digest,
    /// The key for each, ascending by recipient.
    pub wraps: Vec<KeyWrap>,
}

impl Content for KeyGrant {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)
    }

    fn wraps(&self) -> Option<(&Digest, &[KeyWrap])> {
        Some((&self.root, &self.wraps))
    }
}
