//! A key that was enrolled inside of the dossier is withdrawn. SPEC §6.27.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, check_ext, check_short};
use crate::error::Malformed;
use crate::id::MessageId;
use crate::time::Instant;

/// The party itself, the expert or the court withdraws a key that was enrolled inside of the dossier (*révocation*), for good:
/// what is recorded later is not the party's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRevocation {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// The message that enrolled it.
    pub enrolment: MessageId,
    /// Acts from here to the revocation become contested: the key may have been in other hands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_since: Option<Instant>,
    /// Why.
    pub reason: String,
}

impl Content for KeyRevocation {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        check_short(&self.reason)
    }
}
