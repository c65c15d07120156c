//! The order that fixes the fees. SPEC §6.11.

use serde::{Deserialize, Serialize};

use super::{Content, DocumentRef, Ext, check_ext, require};
use crate::amount::EuroCents;
use crate::error::Malformed;

/// The judge fixes the fees (*ordonnance de taxe*), CPC art. 284.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeeOrder {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// What the expert is owed.
    pub amount: EuroCents,
    /// The order itself, as a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<DocumentRef>,
}

impl Content for FeeOrder {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        require(self.amount.is_payable())
    }

    fn documents(&self) -> Vec<&DocumentRef> {
        self.order.iter().collect()
    }
}
