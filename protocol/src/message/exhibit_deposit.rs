//! Exhibits. SPEC §6.6.

use serde::{Deserialize, Serialize};

use super::{Content, DocumentRef, Ext, check_ext, check_short};
use crate::error::Malformed;

/// An exhibit (*pièce*) is lodged, CPC art. 275: every participant gets it at one instant (art. 16).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExhibitDeposit {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// Its number on the depositor's list (*bordereau*).
    pub number: u64,
    /// What it is.
    pub title: String,
    /// The document.
    pub document: DocumentRef,
}

impl Content for ExhibitDeposit {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        check_short(&self.title)
    }

    fn documents(&self) -> Vec<&DocumentRef> {
        vec![&self.document]
    }
}
