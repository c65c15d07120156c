//! The expert's claim for fees. SPEC §6.10.

use serde::{Deserialize, Serialize};

use super::{Content, DocumentRef, Ext, check_ext, require};
use crate::amount::EuroCents;
use crate::error::Malformed;

/// The expert's claim for fees (*demande de rémunération*), sent to every party, CPC art. 282 al. 5.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeeClaim {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// What the expert asks.
    pub amount: EuroCents,
    /// The statement of fees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentRef>,
}

impl Content for FeeClaim {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        require(self.amount.is_payable())
    }

    fn documents(&self) -> Vec<&DocumentRef> {
        self.document.iter().collect()
    }
}
