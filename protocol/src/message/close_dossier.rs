//! The dossier is closed. SPEC §6.12.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, check_ext};
use crate::error::Malformed;

/// The clerk or the judge closes the dossier (*clôture*): only openings and nodes' statements follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseDossier {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
}

impl Content for CloseDossier {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)
    }
}
