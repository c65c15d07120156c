//! The court orders that a message, or what it brought, is erased. SPEC §6.18.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, Message, MessageType, check_ext, check_long, require};
use crate::document;
use crate::error::Malformed;
use crate::id::{Digest, MessageId, SubjectId};
use crate::wire::limits;
use crate::wire::number::numbers;

numbers! {
    /// How much of a message an erasure takes. ERA-1.
    Extent {
        /// The message and the documents that it brought.
        Message = 1 "message",
        /// The bytes of the documents that it brought: the message stays.
        Documents = 2 "documents",
    }
}

/// A document of an erased message: neither its key nor its name. ERA-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ErasedDocument {
    /// Root of the tree over its ciphertext.
    pub root: Digest,
    /// Plaintext bytes.
    pub bytes: u64,
}

/// What stays of an erased message: enough to judge whatever refers to it, and nothing that it said. ERA-2.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Residual {
    /// Its type: an exhibit or a dire.
    pub act: MessageType,
    /// Its author.
    pub author: SubjectId,
    /// The documents that it brought, in order.
    pub documents: Vec<ErasedDocument>,
}

impl Residual {
    /// What stays of `message`.
    pub fn of(message: &Message) -> Self {
        let documents = message.body.documents().into_iter();
        let documents = documents.map(|document| ErasedDocument {
            root: document.root,
            bytes: document.bytes,
        });
        Self {
            act: message.message_type(),
            author: message.author,
            documents: documents.collect(),
        }
    }
}

/// The order to erase a message on file (*effacement*), GDPR art. 17. ERA-1.
///
/// It is the court's to give, CPC art. 167: a participant who asks for it asks the court.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// The message.
    pub target: MessageId,
    /// How much of it.
    pub extent: Extent,
    /// What stays of it.
    pub residual: Residual,
    /// Why.
    pub reason: String,
}

impl Content for Erasure {
    fn validate(&self) -> Result<(), Malformed> {
        let residual = &self.residual;
        check_ext(&self.ext)?;
        require(matches!(
            residual.act,
            MessageType::ExhibitDeposit | MessageType::Dire
        ))?;
        require(residual.documents.len() <= limits::LIST_ITEMS)?;
        require(self.extent == Extent::Message || !residual.documents.is_empty())?;
        let sized = |one: &ErasedDocument| one.bytes <= document::MAX_BYTES;
        require(residual.documents.iter().all(sized))?;
        check_long(&self.reason)
    }
}
