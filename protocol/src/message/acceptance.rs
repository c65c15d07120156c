//! The expert accepts the mission. SPEC §6.2.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, check_ext, require};
use crate::error::Malformed;

/// The expert accepts the mission, CPC art. 267, and declares that nothing stands against it (art. 234-235).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// The declaration of independence. An acceptance without it does not exist.
    pub independent: bool,
}

impl Content for Acceptance {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        require(self.independent)
    }
}
