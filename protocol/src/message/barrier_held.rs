//! A node holds all that a barrier names. SPEC §6.23.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, check_ext};
use crate::error::Malformed;
use crate::id::MessageId;

/// A node signs that it holds every entry of a barrier's frontier and every byte of its documents, verified and durable.
/// BAR-3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BarrierHeld {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// The barrier.
    pub barrier: MessageId,
}

impl Content for BarrierHeld {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)
    }
}
