//! The dossier is closed. SPEC §6.12.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, check_ext, check_frontier};
use crate::error::Malformed;
use crate::journal::HeadRow;

/// The clerk or the judge closes the dossier (*clôture*): only openings and nodes' statements follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseDossier {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// The frontier that it closes over: what its author's node held when it was drafted. BAR-4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes: Option<Vec<HeadRow>>,
}

impl Content for CloseDossier {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        self.closes.as_deref().map_or(Ok(()), check_frontier)
    }
}
