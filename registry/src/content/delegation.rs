//! That an expert may enrol parties inside of a dossier. SPEC §9.2, REG-26.

use basoche_protocol::id::Digest;
use basoche_protocol::time::Instant;
use serde::{Deserialize, Serialize};

/// Keys that one delegation lets enrol, at most.
pub const DELEGATED_KEYS: u64 = 200;

/// The right of an expert to enrol the keys of parties inside of one dossier (*délégation d'enrôlement*), from the entry's
/// `effective_at` on; or its withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// What commits to the dossier: [`commitment`](basoche_protocol::message::commitment).
    pub dossier: Digest,
    /// How far it goes; absent where it is withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Delegated>,
}

/// How far a delegation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegated {
    /// Keys, from 1 to [`DELEGATED_KEYS`].
    pub keys: u64,
    /// Until when: they end with it.
    pub until: Instant,
}

impl Delegation {
    pub(super) fn is_in_range(&self) -> bool {
        self.granted
            .is_none_or(|granted| (1..=DELEGATED_KEYS).contains(&granted.keys))
    }
}
