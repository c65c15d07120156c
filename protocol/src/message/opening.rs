//! Somebody opened a document. SPEC §6.15.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, check_ext};
use crate::error::Malformed;
use crate::id::{Digest, MessageId, SubjectId};

/// Somebody opened a document (*ouverture*), arrêté of 14 June 2017 art. 2; ContentHandover in the terms of
/// ETSI EN 319 522. The person signs it, or the node for a person without a key. Its absence proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// The message that brought the document.
    pub deposit: MessageId,
    /// The document's tree root.
    pub root: Digest,
    /// Who opened it: the author, unless the author is a node.
    pub reader: SubjectId,
}

impl Content for Opening {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)
    }
}
