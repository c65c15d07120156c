//! Entries: what an authority states. SPEC §9.2.
//!
//! An entry is the payload of an envelope of type [`Typ::Registry`](basoche_protocol::envelope::Typ::Registry).
//! This module says what one contains and how it is encoded; whether a log admits it is the business of
//! [`crate::admission`].

use basoche_protocol::error::{Error, Incompatible, Malformed, MalformedKind};
use basoche_protocol::id::{Salt, SubjectId};
use basoche_protocol::time::Instant;
use basoche_protocol::wire::{codec, limits};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::record::Stated;

pub use crate::content::{
    ADDRESSES, Attribute, COMPETENCES, CONTINUATION_PROOF_BYTES, CertificateAuthority, Competence, Content,
    Continuation, DELAY, DELEGATED_KEYS, Delegated, Delegation, Endpoint, Enrolment, Genesis, Gossip,
    IdentityProof, KeyRecord, Kind, Lifting, Node, OVERLAP, Officer, Organisation, POLICY_TEXT_BYTES,
    PolicyChange, Publication, Reason, Reassociation, Renewal, Retirement, Revocation, Roots, StateRoot,
    Suspension, Veto,
};

/// What one entry of a log states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The log that it belongs to: it is worth nothing in another. REG-6.
    pub origin: String,
    /// Its place in the log.
    pub index: u64,
    /// Whom it is about; absent where it is about the log itself ([`Kind::is_of_the_log`]).
    pub subject: Option<SubjectId>,
    /// Index of the entry before it about the same subject.
    pub prev: Option<u64>,
    /// When the authority issued it; never decreases along a log.
    pub issued_at: Instant,
    /// When it takes effect; never before `issued_at`.
    pub effective_at: Instant,
    /// Random bytes.
    pub salt: Salt,
    /// The statement.
    pub content: Content,
}

/// The entry as encoded. Keys are positions: append only.
#[derive(Serialize, Deserialize)]
struct Payload {
    v: u64,
    origin: String,
    index: u64,
    kind: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<SubjectId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prev: Option<u64>,
    issued_at: Instant,
    effective_at: Instant,
    salt: Salt,
    /// Canonical CBOR of the statement.
    content: ByteBuf,
}

impl Entry {
    /// The entry as its place and effect.
    pub(crate) const fn stated(&self) -> Stated {
        Stated {
            index: self.index,
            effective_at: self.effective_at,
        }
    }

    /// The format's version.
    pub const VERSION: u64 = 1;

    /// The payload to be signed.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&Payload {
            v: Self::VERSION,
            origin: self.origin.clone(),
            index: self.index,
            kind: self.content.kind().number(),
            subject: self.subject,
            prev: self.prev,
            issued_at: self.issued_at,
            effective_at: self.effective_at,
            salt: self.salt,
            content: ByteBuf::from(self.content.encode()),
        })
    }

    /// Reads a payload, and holds every field to its range.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let payload: Payload = codec::decode(bytes, limits::LEAF_BYTES)?;
        if payload.v != Self::VERSION {
            return Err(Incompatible::Version(payload.v).into());
        }
        let Some(kind) = Kind::from_number(payload.kind) else {
            return Err(Malformed {
                offset: 0,
                kind: MalformedKind::UnknownType,
            }
            .into());
        };
        Ok(Self {
            origin: payload.origin,
            index: payload.index,
            subject: payload.subject,
            prev: payload.prev,
            issued_at: payload.issued_at,
            effective_at: payload.effective_at,
            salt: payload.salt,
            content: Content::decode(kind, &payload.content)?,
        })
    }
}
