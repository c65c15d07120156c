//! The journal of a dossier: one hash chain per writer, sealed by signed heads. SPEC §8.
//!
//! An entry says that a node recorded a message; a head says that the node stands by its chain so far and by all that
//! it holds of the others'. The head is the receipt: an entry counts for nothing until a verified head covers it.

mod chain;
mod chains;
mod entry;
mod fork;
mod head;
mod past;

pub use chain::{Chain, Content, Record};
pub use chains::{Branch, Chains, Standing};
pub use entry::{ChainId, Citation, Entry, EpochWrap};
pub use fork::{BadChain, ForkProof};
pub use head::{Head, HeadRow, RegistryHead, SignedHead};
pub use past::{Clock, Past};

use serde::{Deserialize, Serialize};

use crate::id::MessageId;
use crate::refusal::Code;

/// What becomes of an entry's message: a pure function of the entry, its causal past, the registry as of its
/// recorded instant, and the histories of its chain with what the court ordered of them. JRN-12, JRN-14.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The message takes effect.
    Effective,
    /// It is on file, and changes nothing.
    WithoutEffect(Code),
    /// It waits for a key, a registry entry, or an order of the court.
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
    /// An order of the court that says which history of its chain counts. JRN-14.
    Settlement(ChainId),
}
