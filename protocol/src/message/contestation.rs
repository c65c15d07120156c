//! A node contests a document: its bytes are there, and are not what the message commits to. SPEC §6.20.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{Content, Ext, check_ext, require};
use crate::error::Malformed;
use crate::id::{Digest, MessageId};
use crate::wire::number::numbers;

numbers! {
    /// What of a document is not as its message says. CON-1.
    Finding {
        /// The wrapped key opens, and is not the one committed to.
        KeyCommitment = 1 "key-commitment",
        /// A segment does not open under the key committed to.
        Segment = 2 "segment",
        /// The plaintext is not the one committed to.
        PlaintextCommitment = 3 "plaintext-commitment",
        /// The ciphertext is not as long as that of a plaintext of the stated length.
        Length = 4 "length",
    }
}

/// Bytes of the key under which a document's key is wrapped.
const WRAP_KEY_BYTES: usize = 32;

/// A node that holds every byte of a document states that it is not the one that its message promises
/// (*contestation*). Every member can see for itself: it has the same bytes. CON-1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contestation {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// The message that brought the document.
    pub deposit: MessageId,
    /// The document's tree root.
    pub root: Digest,
    /// What is not so.
    pub finding: Finding,
    /// Of [`Finding::Segment`]: the first segment that does not open, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<u64>,
    /// Of [`Finding::KeyCommitment`]: the key under which the wrapped key opens, derived for this document alone, so that
    /// it shows nothing else of the epoch. DOC-3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrap_key: Option<ByteBuf>,
}

impl Content for Contestation {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        require(self.segment.is_some() == (self.finding == Finding::Segment))?;
        let wrap_key = self.wrap_key.as_ref().map(|key| key.len());
        let expected = (self.finding == Finding::KeyCommitment).then_some(WRAP_KEY_BYTES);
        require(wrap_key == expected)
    }
}
