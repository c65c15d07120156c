//! Envelopes: what every signed structure looks like. SPEC §5.
//!
//! ```text
//! Unsigned ──sign──▶ Envelope ──verify──▶ Verified<Message>
//!                      │  ▲
//!                    seal open
//!                      ▼  │
//!                     Sealed            the only form on wire and disk
//! ```
//! The signing input is that of RFC 7515; the bytes received are the bytes verified, stored and forwarded.

mod cosignature;
mod header;
mod sealed;
mod verify;

pub use cosignature::{Capacity, CoSignature, possession};
pub use header::{Header, Typ};
pub use sealed::{EpochKey, Sealed};
pub(crate) use verify::check_enrolment;
pub use verify::{Verified, verify, verify_node};

use std::sync::Arc;

use crate::crypto;
use crate::error::{Malformed, MalformedKind as Kind, Untrusted};
use crate::id::{Digest, MessageId};
use crate::jose::{KeyError, Signer, VerifyingKey};
use crate::text::{b64url_decode, b64url_encode};
use crate::time::Instant;
use crate::wire::{canon, limits};

/// A header and a payload that wait for their signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsigned {
    protected: Vec<u8>,
    payload: Vec<u8>,
}

impl Unsigned {
    /// What `signer` is to sign at `issued_at` as a `typ`.
    pub fn new(typ: Typ, signer: &dyn Signer, issued_at: Instant, payload: Vec<u8>) -> Self {
        let header = Header {
            algorithm: signer.algorithm(),
            issued_at: Instant::from_seconds(issued_at.seconds()),
            typ,
            certificate: signer.certificate(),
        };
        Self {
            protected: header.encode(),
            payload,
        }
    }

    /// The JWS signing input: `BASE64URL(protected) "." BASE64URL(payload)`. RFC 7515 §5.1.
    pub fn signing_input(&self) -> Vec<u8> {
        signing_input(&self.protected, &self.payload)
    }

    /// The id that the signed message will have. ENV-4.
    pub fn id(&self) -> MessageId {
        MessageId::new(crypto::sha256(&[&self.signing_input()]))
    }

    /// Asks `signer` for the signature. An effect: called by the node and by tests.
    pub fn sign(self, signer: &dyn Signer) -> Result<Envelope, KeyError> {
        let signature = signer.sign(&self.signing_input())?;
        Envelope::from_parts(self.protected, self.payload, signature).map_err(|_| KeyError::Unfit)
    }
}

fn signing_input(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut input = String::with_capacity((protected.len() + payload.len()) * 4 / 3 + 8);
    input.push_str(&b64url_encode(protected));
    input.push('.');
    input.push_str(&b64url_encode(payload));
    input.into_bytes()
}

/// A signed structure, well formed and not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    protected: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
    header: Header,
    id: MessageId,
    found_good: FoundGood,
}

/// Under which key, and as what, a signature has been checked and found good: only [`Envelope::check_ahead`] says so.
/// It is no part of what an envelope is.
#[derive(Clone, Debug, Default)]
struct FoundGood(Option<(Typ, Arc<VerifyingKey>)>);

impl PartialEq for FoundGood {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for FoundGood {}

impl Envelope {
    /// Reads `[protected, payload, signature]`. ENV-1, ENV-2, ENV-6, ENV-10.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        canon::check(bytes, limits::ENVELOPE_BYTES)?;
        let [protected, payload, signature] = canon::byte_strings(bytes)?;
        Self::from_parts(protected.to_vec(), payload.to_vec(), signature.to_vec())
    }

    fn from_parts(protected: Vec<u8>, payload: Vec<u8>, signature: Vec<u8>) -> Result<Self, Malformed> {
        let sized = protected.len() <= limits::HEADER_BYTES
            && payload.len() <= limits::PAYLOAD_BYTES
            && (1..=limits::SIGNATURE_BYTES).contains(&signature.len());
        if !sized {
            return Err(Malformed::at(0, Kind::TooLarge));
        }
        let header = Header::decode(&protected)?;
        let id = MessageId::new(crypto::sha256(&[&signing_input(&protected, &payload)]));
        Ok(Self {
            protected,
            payload,
            signature,
            header,
            id,
            found_good: FoundGood::default(),
        })
    }

    /// The canonical bytes `[protected, payload, signature]`.
    pub fn encode(&self) -> Vec<u8> {
        let parts = [&self.protected, &self.payload, &self.signature];
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 5).sum::<usize>() + 1);
        bytes.push(0x83);
        for part in parts {
            canon::push_bytes(&mut bytes, part);
        }
        bytes
    }

    /// SHA-256 of the signing input: it does not depend on the signature. ENV-4.
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// SHA-256 of [`Self::encode`], signature included.
    pub fn digest(&self) -> Digest {
        Digest::of(&[&self.encode()])
    }

    /// The parsed protected header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The payload bytes, as signed.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Checks that this was signed as a `typ` by `key`. The header's algorithm must be the key's one.
    pub fn check(&self, typ: Typ, key: &VerifyingKey) -> Result<(), Untrusted> {
        let bad = Untrusted::BadSignature {
            certificate: self.header.certificate,
        };
        if self.header.typ != typ {
            return Err(Untrusted::WrongTyp);
        }
        let algorithm = self.header.algorithm;
        if algorithm != key.algorithm() || !algorithm.is_acceptable(self.header.issued_at) {
            return Err(bad);
        }
        // Checked before, on another thread: the same bytes, as the same, under the same key.
        let same = |(as_typ, by): &(Typ, Arc<VerifyingKey>)| *as_typ == typ && by.is_same(key);
        if self.found_good.0.as_ref().is_some_and(same) {
            return Ok(());
        }
        key.verify(&signing_input(&self.protected, &self.payload), &self.signature)
            .map_err(|_| bad)
    }

    /// [`Self::check`], so that it need not be done again under the same key. A bad one is left for then.
    pub fn check_ahead(&mut self, typ: Typ, key: &Arc<VerifyingKey>) {
        if self.check(typ, key).is_ok() {
            self.found_good = FoundGood(Some((typ, Arc::clone(key))));
        }
    }

    /// The standard compact JWS of the same signature (JAdES B-B). RFC 7515 §7.1.
    pub fn to_jws(&self) -> String {
        let parts = [&self.protected, &self.payload, &self.signature];
        parts.map(|part| b64url_encode(part)).join(".")
    }

    /// Reads a compact JWS back.
    pub fn from_jws(jws: &str) -> Result<Self, Malformed> {
        let mut parts = jws.split('.').map(b64url_decode);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Some(protected)), Some(Some(payload)), Some(Some(signature)), None) => {
                Self::from_parts(protected, payload, signature)
            }
            _ => Err(Malformed::at(0, Kind::WrongShape)),
        }
    }
}
