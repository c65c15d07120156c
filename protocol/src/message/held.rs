//! A node holds a document. SPEC §6.13.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, check_ext, require};
use crate::error::Malformed;
use crate::id::{Digest, MessageId};
use crate::wire::limits;

/// A document on file, as a statement names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stated {
    /// The message that brought it.
    pub deposit: MessageId,
    /// Its tree root.
    pub root: Digest,
}

impl Stated {
    /// Refuses more documents than a list may have, and those that do not ascend from the first.
    pub(super) fn check(first: Self, more: &[Self]) -> Result<(), Malformed> {
        require(more.len() <= limits::LIST_ITEMS)?;
        require(more.first().is_none_or(|next| first < *next))?;
        require(more.windows(2).all(|pair| pair[0] < pair[1]))
    }
}

/// A node states that it holds every byte of one document or of several, verified and durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// The message that brought the document.
    pub deposit: MessageId,
    /// The document's tree root.
    pub root: Digest,
    /// Further documents, ascending, after the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<Stated>,
}

impl Held {
    /// All documents that it names.
    pub fn stated(&self) -> impl Iterator<Item = Stated> {
        let (deposit, root) = (self.deposit, self.root);
        std::iter::once(Stated { deposit, root }).chain(self.more.iter().copied())
    }
}

impl Content for Held {
    fn validate(&self) -> Result<(), Malformed> {
        let (deposit, root) = (self.deposit, self.root);
        check_ext(&self.ext)?;
        Stated::check(Stated { deposit, root }, &self.more)
    }
}
