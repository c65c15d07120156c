//! The court orders that something is kept, or lets it go. SPEC §6.19.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, check_ext, check_long, require};
use crate::error::Malformed;
use crate::id::MessageId;

/// The court orders that a message, or the whole dossier, is kept (*conservation*), or lifts such an order. ERA-6.
///
/// As long as a hold stands, nothing that it covers is erased: evidence in a dispute is no data without a purpose,
/// GDPR art. 17 (3) (e).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegalHold {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// What is held; the whole dossier where it is absent and nothing is lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<MessageId>,
    /// The hold that this one lifts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifts: Option<MessageId>,
    /// Why.
    pub reason: String,
}

impl Content for LegalHold {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        require(self.target.is_none() || self.lifts.is_none())?;
        check_long(&self.reason)
    }
}
