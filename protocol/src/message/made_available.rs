//! A node makes a document available. SPEC §6.14.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, Stated, check_ext, require};
use crate::error::Malformed;
use crate::id::{Digest, MessageId, SubjectId};
use crate::wire::limits;

/// A node makes one document or several available to those it serves (*mise à disposition*), CPC art. 748-3;
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
    /// Further documents, ascending, after the first: to the same addressees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<Stated>,
}

impl MadeAvailable {
    /// All documents that it names.
    pub fn stated(&self) -> impl Iterator<Item = Stated> {
        let (deposit, root) = (self.deposit, self.root);
        std::iter::once(Stated { deposit, root }).chain(self.more.iter().copied())
    }
}

impl Content for MadeAvailable {
    fn validate(&self) -> Result<(), Malformed> {
        let (deposit, root) = (self.deposit, self.root);
        check_ext(&self.ext)?;
        Stated::check(Stated { deposit, root }, &self.more)?;
        require((1..=limits::DOSSIER_PERSONS).contains(&self.addressees.len()))?;
        require(self.addressees.windows(2).all(|pair| pair[0] < pair[1]))
    }
}
