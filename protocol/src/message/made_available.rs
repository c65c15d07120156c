//! A node makes a document available. SPEC §6.14.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, check_ext, require};
use crate::error::Malformed;
use crate::id::{Digest, MessageId, SubjectId};
use crate::wire::limits;

/// A node makes a document available to those it serves (*mise à disposition*), CPC art. 748-3;
/// ContentConsignment in the terms of ETSI EN 319 522.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeAvailable {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// The message that brought the document.
    pub deposit: MessageId,
    /// The document's tree root.
    pub root: Digest,
    /// To whom, ascending: the persons of the roster whom this node serves.
    pub addressees: Vec<SubjectId>,
}

impl Content for MadeAvailable {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        require((1..=limits::DOSSIER_PERSONS).contains(&self.addressees.len()))?;
        require(self.addressees.windows(2).all(|pair| pair[0] < pair[1]))
    }
}
