//! The journal of a dossier: one hash chain per writer, sealed by signed heads. SPEC §8.
//!
//! An entry says that a node recorded a message; a head says that the node stands by its chain so far and by all that
//! it holds of the others'. The head is the receipt: an entry counts for nothing until a verified head covers it.

mod chain;
mod entry;
mod fork;
mod head;
mod past;

pub use chain::{Chain, Content, Record};
pub use entry::{ChainId, Citation, Entry, EpochWrap};
pub use fork::{BadChain, ForkProof};
pub use head::{Head, HeadRow, RegistryHead, SignedHead};
pub use past::{Clock, Past};

use serde::{Deserialize, Serialize};

use crate::id::MessageId;
use crate::refusal::Code;

/// What becomes of an entry's message: a pure function of the entry, its causal past and the registry as of its
/// recorded instant. JRN-12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The message takes effect.
    Effective,
    /// It is on file, and changes nothing.
    WithoutEffect(Code),
    /// It waits for a key or for a registry entry.
    Pending(Need),
}

/// What a pending entry waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// The key of this epoch.
    Key(u64),
    /// The registry entry of the signer of this message.
    Signer(MessageId),
    /// The message itself, which is not at hand.
    Message(MessageId),
}
