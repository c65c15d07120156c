//! A node holds a document. SPEC §6.13.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, check_ext};
use crate::error::Malformed;
use crate::id::{Digest, MessageId};

/// A node states that it holds every byte of a document, verified and durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// The message that brought the document.
    pub deposit: MessageId,
    /// The document's tree root.
    pub root: Digest,
}

impl Content for Held {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)
    }
}
