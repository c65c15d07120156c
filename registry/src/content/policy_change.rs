//! Whose witnesses must see a log from now on. SPEC §9.2, REG-27.

use serde::{Deserialize, Serialize};

use crate::log::Policy;

/// Bytes of a policy that an entry states.
pub const POLICY_TEXT_BYTES: usize = 8 * 1024;

/// Another policy than the anchors', agreed on by the roots of most authorities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyChange {
    /// From 1, higher with each change.
    pub number: u64,
    /// C2SP tlog-policy: it asks for witnesses.
    pub policy: String,
}

impl PolicyChange {
    pub(super) fn is_in_range(&self) -> bool {
        let asks = |text: &str| Policy::parse(text.as_bytes()).is_ok_and(|policy| policy.asks());
        self.number > 0 && self.policy.len() <= POLICY_TEXT_BYTES && asks(&self.policy)
    }
}
