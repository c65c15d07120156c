//! What an authority's witnesses have seen of its log. SPEC §9.2, REG-22.

use basoche_protocol::wire::limits;
use serde::{Deserialize, Serialize};

/// A checkpoint of this log under the policy's quorum: what stands before it has been seen by all professions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// The checkpoint, a note: the log's own signature and the witnesses' cosignatures.
    pub checkpoint: String,
}

impl Publication {
    pub(super) const fn is_in_range(&self) -> bool {
        self.checkpoint.len() <= limits::LEAF_BYTES
    }
}
