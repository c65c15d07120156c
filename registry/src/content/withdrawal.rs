//! What an authority takes back: certificates for good, persons for a while. SPEC §9.2.

use basoche_protocol::id::{CertificateId, Digest};
use basoche_protocol::time::Instant;
use serde::{Deserialize, Serialize};

/// A certificate is withdrawn from the entry's `effective_at` on, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Which.
    pub certificate: CertificateId,
    /// Acts from here to `effective_at` become contested: the key may have been in other hands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_since: Option<Instant>,
    /// Why.
    pub reason: Reason,
}

impl Revocation {
    pub(super) const fn is_in_range(&self) -> bool {
        true
    }
}

super::numbered! {
    /// Why a certificate is withdrawn.
    Reason, "unknown reason of revocation" {
        /// The key was lost, stolen or broken.
        KeyCompromise = 1 "key-compromise",
        /// Another key takes its place.
        Superseded = 2 "superseded",
        /// The organisation or node ceases.
        Cessation = 3 "cessation",
        /// The person no longer has the role.
        RoleEnded = 4 "role-ended",
    }
}

impl Reason {
    /// What [`Status::Invalid`](basoche_protocol::directory::Status::Invalid) says from the effect on.
    pub(crate) const fn revoked(self) -> &'static str {
        match self {
            Self::KeyCompromise => "revoked: the key is compromised",
            Self::Superseded => "revoked: superseded by another key",
            Self::Cessation => "revoked: the organisation or node has ceased",
            Self::RoleEnded => "revoked: the role has ended",
        }
    }
}

/// A person or node may not sign from the entry's `effective_at` on, until it is lifted (*suspension, omission*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// SHA-256 of the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Digest>,
}

/// The subject's suspension ends at the entry's `effective_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifting {
    /// SHA-256 of the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Digest>,
}

/// A re-association of the same subject that has not yet taken effect never will: somebody else had asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veto {
    /// Index of the re-association.
    pub entry: u64,
}

/// A certificate authority is no longer believed: what it certified is worth nothing from the entry's `effective_at` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retirement {
    /// Its certificate.
    pub certificate: CertificateId,
    /// Acts from here to `effective_at` become contested: the authority may have certified others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_since: Option<Instant>,
}

macro_rules! always_in_range {
    ($($name:ident),+) => {
        $(impl $name {
            pub(super) const fn is_in_range(&self) -> bool {
                true
            }
        })+
    };
}

always_in_range!(Suspension, Lifting, Veto, Retirement);
