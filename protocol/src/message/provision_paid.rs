//! Notice that the provision is paid in. SPEC §6.5.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, check_ext, require};
use crate::amount::EuroCents;
use crate::error::Malformed;
use crate::id::SubjectId;
use crate::time::Instant;

/// The clerk's notice that the provision is paid in (*avis de consignation*), CPC art. 267 and 269.
///
/// Instalments add up; the operations begin when their sum reaches the provision. DOS-6.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvisionPaid {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// What was paid in.
    pub amount: EuroCents,
    /// The value date at the *régie*.
    pub paid_at: Instant,
    /// Who paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<SubjectId>,
}

impl Content for ProvisionPaid {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        require(self.amount.is_payable())
    }
}
