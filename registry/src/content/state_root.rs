//! What a log has come to, by its own word. SPEC §9.2, REG-28.

use basoche_protocol::id::Digest;
use serde::{Deserialize, Serialize};

/// The root of the log's state, as all entries before this one have made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRoot {
    /// What every replica computes itself.
    pub root: Digest,
}

impl StateRoot {
    pub(super) const fn is_in_range(&self) -> bool {
        true
    }
}
