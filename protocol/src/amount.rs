//! Money, in euro cents: never a float. SPEC §4.5.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount in euro cents, at most [`EuroCents::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct EuroCents(u64);

impl EuroCents {
    /// Ten thousand million euros: more is a typing error.
    pub const MAX: Self = Self(1_000_000_000_000);

    /// `cents` euro cents, if that is at most [`Self::MAX`].
    pub const fn new(cents: u64) -> Option<Self> {
        if cents <= Self::MAX.0 {
            Some(Self(cents))
        } else {
            None
        }
    }

    /// The number of cents.
    pub const fn cents(self) -> u64 {
        self.0
    }

    /// Whether it is positive and within bounds, whatever made it.
    pub(crate) const fn is_payable(self) -> bool {
        self.0 > 0 && self.0 <= Self::MAX.0
    }

    /// The sum; [`Self::MAX`] if it would exceed it.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0)).min(Self::MAX)
    }
}

impl fmt::Display for EuroCents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02} EUR", self.0 / 100, self.0 % 100)
    }
}
