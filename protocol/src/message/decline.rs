//! The expert declines the mission. SPEC §6.3.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, check_ext, check_long};
use crate::error::Malformed;

/// The expert declines the mission, CPC art. 267; the judge then designates another (art. 235).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decline {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// Why.
    pub reason: String,
}

impl Content for Decline {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        check_long(&self.reason)
    }
}
