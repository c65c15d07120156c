//! Receipts: a mailbox's signed word that it keeps a parcel, and until when. MBX-4.

use serde::{Deserialize, Serialize};

use crate::directory::Directory;
use crate::envelope::{Envelope, Typ, verify_node};
use crate::error::{Error, Incompatible, Malformed};
use crate::id::{Digest, MailboxTag, SubjectId};
use crate::time::Instant;
use crate::wire::{codec, limits};

/// What a mailbox signs once a parcel is durable. Keys are positions: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The format's version, 1.
    pub v: u64,
    /// The mailbox.
    pub mailbox: SubjectId,
    /// Who left the parcel.
    pub depositor: SubjectId,
    /// Under which tag.
    pub tag: MailboxTag,
    /// SHA-256 of the parcel.
    pub parcel: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// When it was taken, by the mailbox's clock.
    pub accepted_at: Instant,
    /// Until when it is kept for the addressee.
    pub kept_until: Instant,
}

impl Receipt {
    /// The format's version.
    pub const VERSION: u64 = 1;

    /// The payload to be signed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a payload, of whatever signature.
    ///
    /// # Errors
    /// Those of the scanner; `version`; `bad-value` for times or a size that cannot be.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let receipt: Self = codec::decode(bytes, limits::PAYLOAD_BYTES)?;
        if receipt.v != Self::VERSION {
            return Err(Incompatible::Version(receipt.v).into());
        }
        let sound = receipt.kept_until > receipt.accepted_at
            && receipt.kept_until <= receipt.accepted_at + super::KEEP
            && (1..=limits::PARCEL_BYTES as u64).contains(&receipt.size);
        if sound {
            Ok(receipt)
        } else {
            Err(Malformed::bad_value().into())
        }
    }
}

/// A receipt whose signature has been checked. It says that a mailbox has the parcel, never that the addressee has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReceipt {
    envelope: Envelope,
    receipt: Receipt,
}

impl SignedReceipt {
    /// Decodes and verifies a receipt: its signer is the mailbox that it names, valid when it took the parcel.
    ///
    /// # Errors
    /// Those of an envelope and of its signature; `version`; `bad-value` for times or a size that cannot be.
    pub fn verify(bytes: &[u8], directory: &dyn Directory) -> Result<Self, Error> {
        let envelope = Envelope::decode(bytes)?;
        let receipt = Receipt::decode(envelope.payload())?;
        let (node, at) = (receipt.mailbox, receipt.accepted_at);
        verify_node(&envelope, Typ::MailboxReceipt, node, at, directory)?;
        Ok(Self { envelope, receipt })
    }

    /// What it says.
    #[must_use]
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// The bytes, as received.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.envelope.encode()
    }
}
