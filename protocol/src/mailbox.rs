//! Mailboxes: a node that is no member of a dossier keeps sealed parcels for a member that is away. SPEC §10.7.
//!
//! Sender and addressee know the dossier's first key, and with it tag and seal; the mailbox knows who leaves and who
//! collects a parcel, how long it is and when, and nothing of what it is about.

mod parcel;
mod receipt;
mod request;

pub use parcel::{Content, Leaves, Parcel};
pub use receipt::{Receipt, SignedReceipt};
pub use request::{Answer, List, Listed, Listing, Offer, Request};

use zeroize::Zeroizing;

use crate::crypto;
use crate::envelope::EpochKey;
use crate::id::{DossierId, MailboxTag, SubjectId};
use crate::time::{Instant, Span};
use crate::wire::number::numbers;

/// How long one tag is used: a mailbox cannot link what it kept in one period to what it kept in another. MBX-1.
pub const PERIOD: Span = Span::from_seconds(7 * 86_400);
/// The longest that a parcel is kept. MBX-3.
pub const KEEP: Span = Span::from_seconds(30 * 86_400);

numbers! {
    /// What a parcel holds; the mailbox knows it, and could tell it by the size.
    Kind {
        /// A run of journal entries.
        Run = 1 "run",
        /// Leaves of a document's ciphertext.
        Leaves = 2 "leaves",
    }
}

/// Who is addressed in which dossier, and the dossier's key of epoch 0, which both sides have had from the start.
#[derive(Clone, Debug)]
pub struct Address {
    /// The dossier.
    pub dossier: DossierId,
    /// The node that is away.
    pub addressee: SubjectId,
    /// The key of epoch 0.
    pub key: EpochKey,
}

impl Address {
    /// The number of the period in which `at` lies. MBX-1.
    #[must_use]
    pub const fn period(at: Instant) -> u64 {
        at.ms() / PERIOD.ms()
    }

    /// The tag under which parcels are left during a period. MBX-1.
    #[must_use]
    pub fn tag(&self, period: u64) -> MailboxTag {
        let key = Zeroizing::new(self.derive(b"basoche/mailbox-tag/1", &[]));
        MailboxTag::new(crypto::hmac_sha256(&key, &[&period.to_be_bytes()]))
    }

    /// Every tag under which something may still be kept at `now`; a sender's clock may be a little ahead.
    pub fn tags(&self, now: Instant) -> impl Iterator<Item = MailboxTag> {
        let (first, last) = (
            Self::period(now - KEEP),
            Self::period(now + Span::from_seconds(3600)),
        );
        (first..=last).map(|period| self.tag(period))
    }

    fn derive(&self, label: &[u8], salt: &[u8]) -> [u8; 32] {
        let info = [label, self.dossier.as_bytes(), self.addressee.as_bytes()];
        crypto::hkdf_sha256(self.key.as_bytes(), salt, &info)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn address(dossier: u8, addressee: u8, key: u8) -> Address {
        Address {
            dossier: DossierId::new([dossier; 32]),
            addressee: SubjectId::new([addressee; 16]),
            key: EpochKey::new([key; 32]),
        }
    }

    #[test]
    fn a_tag_is_one_of_its_dossier_addressee_key_and_period() {
        let tag = address(1, 2, 3).tag(4);
        assert_eq!(address(1, 2, 3).tag(4), tag);
        for other in [
            address(9, 2, 3).tag(4),
            address(1, 9, 3).tag(4),
            address(1, 2, 9).tag(4),
            address(1, 2, 3).tag(9),
        ] {
            assert_ne!(other, tag);
        }
    }

    #[test]
    fn what_may_still_be_kept_is_found_by_one_of_the_tags() {
        let (address, now) = (address(1, 2, 3), Instant::from_seconds(1_800_000_000));
        let tags: Vec<_> = address.tags(now).collect();
        assert!(tags.len() <= 6);
        let left = |at| tags.contains(&address.tag(Address::period(at)));
        assert!(left(now) && left(now - KEEP) && left(now + Span::from_seconds(3600)));
        // Negative control: what was left before that is kept no more.
        assert!(!left(now - KEEP - PERIOD));
    }
}
