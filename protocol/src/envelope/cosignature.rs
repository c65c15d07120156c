//! Co-signatures: further signatures on what one envelope says, or on what none says yet. SPEC §9.3, REG-9.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Envelope, Typ, Unsigned};
use crate::crypto::sha256;
use crate::error::Malformed;
use crate::id::{CertificateId, MessageId, SubjectId};
use crate::jose::{Signer, VerifyingKey};
use crate::time::Instant;
use crate::wire::{codec, limits};

/// An envelope that says what it co-signs, well formed and not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoSignature {
    envelope: Envelope,
    statement: Statement,
}

/// What a co-signer signs. Keys are positions: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Statement {
    target: MessageId,
    capacity: Capacity,
}

/// What a new key signs to show that its holder wants it: in that log, or dossier ([`inside`]), for that subject. It stays
/// the same whatever is said of the key, and wherever. REG-9.
///
/// [`inside`]: crate::message::PartyEnrolment::place
pub fn possession(place: &str, subject: &SubjectId, certificate: &CertificateId) -> MessageId {
    let what = codec::encode(&("basoche-possession/1", place, subject, certificate));
    MessageId::new(sha256(&[&what]))
}

impl CoSignature {
    /// What `signer` is to sign at `issued_at` about `target`: the id of an envelope, or what [`possession`] gives.
    pub fn draft(signer: &dyn Signer, target: MessageId, capacity: Capacity, issued_at: Instant) -> Unsigned {
        let statement = codec::encode(&Statement { target, capacity });
        Unsigned::new(Typ::CoSignature, signer, issued_at, statement)
    }

    /// Reads what an envelope says.
    pub fn read(envelope: Envelope) -> Result<Self, Malformed> {
        let statement = codec::decode(envelope.payload(), limits::LEAF_BYTES)?;
        Ok(Self { envelope, statement })
    }

    /// The signed envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// [`Envelope::check_ahead`] of it.
    pub fn check_ahead(&mut self, key: &Arc<VerifyingKey>) {
        self.envelope.check_ahead(Typ::CoSignature, key);
    }

    /// What it is about.
    pub fn target(&self) -> MessageId {
        self.statement.target
    }

    /// In which capacity it was given.
    pub fn capacity(&self) -> Capacity {
        self.statement.capacity
    }
}

/// In which capacity somebody co-signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub enum Capacity {
    /// With the key that is enrolled: whoever asks for it holds it.
    Possession,
    /// As the authority's second officer.
    SecondOfficer,
    /// As a further root of the authority.
    Root,
    /// As the holder of a certificate, who asks for what the entry says.
    Holder,
    /// As a root of another authority, which agrees to a policy.
    Authority,
}

impl From<Capacity> for u16 {
    fn from(capacity: Capacity) -> Self {
        match capacity {
            Capacity::Possession => 1,
            Capacity::SecondOfficer => 2,
            Capacity::Root => 3,
            Capacity::Holder => 4,
            Capacity::Authority => 5,
        }
    }
}

impl TryFrom<u16> for Capacity {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        match number {
            1 => Ok(Self::Possession),
            2 => Ok(Self::SecondOfficer),
            3 => Ok(Self::Root),
            4 => Ok(Self::Holder),
            5 => Ok(Self::Authority),
            _ => Err("unknown capacity of a co-signature"),
        }
    }
}
