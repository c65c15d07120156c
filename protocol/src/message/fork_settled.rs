//! The court says which history of a forked chain counts. SPEC §6.17.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, check_ext, check_long};
use crate::error::Malformed;
use crate::journal::Citation;

/// The court's order on a node that signed two histories of its chain: the acts of one of them count, up to a position.
///
/// It is the court's to say, CPC art. 167 (the judge who controls the measure settles its difficulties). DOS-12, JRN-14.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkSettled {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// The last position, of the history that counts, whose acts keep their effect.
    pub keep: Citation,
    /// Why.
    pub reason: String,
}

impl Content for ForkSettled {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        check_long(&self.reason)
    }
}
