//! What the roots of an authority state: what the log is for, its officers, the certificate authorities that it
//! believes. SPEC §9.2.

use basoche_protocol::id::{CertificateId, Digest};
use basoche_protocol::role::OrganisationKind;
use basoche_protocol::time::Instant;
use serde::{Deserialize, Serialize};

use super::KeyRecord;
use crate::anchor::ROOTS;

/// What the log is for: the same as in the anchors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// The one profession that it enrols.
    pub profession: OrganisationKind,
    /// Whether it exists for tests and demonstrations only.
    pub test: bool,
    /// Its roots; absent where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<Roots>,
    /// SHA-256 of the policy of the anchors, if that one asks for witnesses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Digest>,
}

/// Several root keys, of which some must sign together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roots {
    /// How many must sign; from 1 to their number.
    pub threshold: u64,
    /// Their certificates, ascending; at least two.
    pub certificates: Vec<CertificateId>,
}

impl Genesis {
    pub(super) fn is_in_range(&self) -> bool {
        self.roots.as_ref().is_none_or(|roots| {
            let certificates = &roots.certificates;
            (2..=ROOTS).contains(&certificates.len())
                && (1..=certificates.len() as u64).contains(&roots.threshold)
                && certificates.windows(2).all(|pair| pair[0] < pair[1])
        })
    }
}

/// An officer of the authority (*autorité d'enregistrement*): a key that enrols in its name, for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Officer {
    /// The key.
    pub key: KeyRecord,
    /// How many certificates it may withdraw within an hour by itself. More take a second officer.
    pub revocations_per_hour: u64,
    /// When its office ends.
    pub until: Instant,
}

impl Officer {
    pub(super) const fn is_in_range(&self) -> bool {
        true
    }
}

/// A certificate authority whose certificates persons' keys may have (*autorité de certification*), from the entry's
/// `effective_at` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateAuthority {
    /// Its key, which signs certificates.
    pub key: KeyRecord,
    /// Until when it is believed.
    pub until: Instant,
}

impl CertificateAuthority {
    pub(super) const fn is_in_range(&self) -> bool {
        true
    }
}
