//! What becomes of a vector's bytes. SPEC §5.3, §13.
//!
//! Accepted bytes must be those that both codecs write again.

use std::fmt;

use basoche_protocol::dossier::State;
use basoche_protocol::envelope::{Envelope, EpochKey, Sealed, verify};
use basoche_protocol::error::{Error, Malformed};
use basoche_protocol::id::{DossierId, MessageId};
use basoche_protocol::jose::{DecryptionKey, WrapContext};
use basoche_protocol::journal::{Entry, SignedHead};
use basoche_protocol::mailbox::{Address, Parcel, Request, SignedReceipt};
use basoche_protocol::message::Message;
use basoche_protocol::refusal::Code;
use basoche_protocol::text::hex_decode;
use basoche_protocol::wire::canon;
use basoche_protocol::wire::frame::Frame;

use crate::fixture::{Fixture, RECEIVED_AT, Registry};
use crate::twin;
use crate::vector::{Stage, Vector, What};

/// How far bytes came, and why not further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// They were accepted, up to this stage.
    Accepted(Stage),
    /// They were refused at this stage.
    Refused(Stage, Code),
    /// They were accepted, but a codec writes other bytes, or cannot read them.
    Differs(&'static str),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted(stage) => write!(f, "accepted at {stage:?}"),
            Self::Refused(stage, code) => write!(f, "{code} at {stage:?}"),
            Self::Differs(codec) => write!(f, "accepted, but {codec} writes other bytes"),
        }
    }
}

/// Judges vectors against one fixture.
#[derive(Debug)]
pub struct Judge {
    registry: Registry,
    dossier: DossierId,
    message: MessageId,
    epoch_key: EpochKey,
    wrap_context: WrapContext,
    wrap_private_key: Vec<u8>,
}

type Judged = Result<Stage, (Stage, Error)>;

impl Judge {
    /// A judge with this fixture; `None` if the fixture holds a key that is none.
    #[must_use]
    pub fn new(fixture: &Fixture) -> Option<Self> {
        Some(Self {
            registry: fixture.registry()?,
            dossier: fixture.dossier,
            message: fixture.message,
            epoch_key: fixture.epoch_key()?,
            wrap_context: fixture.wrap_context(),
            wrap_private_key: hex_decode(&fixture.wrap_private_key)?,
        })
    }

    /// What the vector says should become of its bytes; `None` if it names no refusal code that exists.
    #[must_use]
    pub fn expected(vector: &Vector) -> Option<Outcome> {
        match &vector.code {
            None => Some(Outcome::Accepted(vector.stage)),
            Some(code) => Some(Outcome::Refused(vector.stage, Code::from_name(code)?)),
        }
    }

    /// What becomes of these bytes.
    #[must_use]
    pub fn judge(&self, what: What, bytes: &[u8]) -> Outcome {
        let judged = match what {
            What::Envelope => Envelope::decode(bytes)
                .map_err(outer)
                .and_then(|envelope| self.message(envelope)),
            What::Jws => std::str::from_utf8(bytes)
                .map_or_else(|_| Envelope::from_jws("="), Envelope::from_jws)
                .map_err(outer)
                .and_then(|envelope| self.message(envelope)),
            What::Sealed => self.sealed(bytes),
            What::Wrap => return self.wrap(bytes),
            What::Cbor => canon::check(bytes, 1 << 20)
                .map(|()| Stage::Decode)
                .map_err(|error| (Stage::Decode, error.into())),
            What::Entry => Entry::decode(bytes)
                .map(|_| Stage::Decode)
                .map_err(|error| (Stage::Decode, error.into())),
            What::Head => self.head(bytes),
            What::Frame => Frame::decode(bytes)
                .map(|_| Stage::Decode)
                .map_err(|error| (Stage::Decode, error.into())),
            What::Parcel => self.parcel(bytes),
            What::Receipt => self.receipt(bytes),
            What::Request => Request::decode(bytes)
                .map(|_| Stage::Decode)
                .map_err(|error| (Stage::Decode, error.into())),
        };
        match judged {
            Err((stage, error)) => Outcome::Refused(stage, error.code()),
            Ok(_) if again(what, bytes).as_deref() != Some(bytes) => Outcome::Differs("the first codec"),
            Ok(_) if twin::again(what, bytes).as_deref() != Some(bytes) => {
                Outcome::Differs("the second codec")
            }
            Ok(stage) => Outcome::Accepted(stage),
        }
    }

    fn message(&self, envelope: Envelope) -> Judged {
        Message::decode(envelope.payload()).map_err(|error| (Stage::Payload, error))?;
        let verified =
            verify(envelope, &self.registry, RECEIVED_AT).map_err(|error| (Stage::Signature, error))?;
        let nothing = std::collections::BTreeSet::new();
        match State::default().decide(verified.id(), verified.message(), RECEIVED_AT, &nothing) {
            Ok(_) => Ok(Stage::Decide),
            // On an empty dossier nothing but a designation can be decided.
            Err(error) if error.code() == Code::UnknownDossier => Ok(Stage::Signature),
            Err(error) => Err((Stage::Decide, error)),
        }
    }

    fn head(&self, bytes: &[u8]) -> Judged {
        Envelope::decode(bytes).map_err(outer)?;
        match SignedHead::verify(bytes, &self.registry) {
            Ok(_) => Ok(Stage::Signature),
            Err(error @ (Error::Malformed(_) | Error::Incompatible(_))) => Err((Stage::Payload, error)),
            Err(error) => Err((Stage::Signature, error)),
        }
    }

    fn receipt(&self, bytes: &[u8]) -> Judged {
        Envelope::decode(bytes).map_err(outer)?;
        match SignedReceipt::verify(bytes, &self.registry) {
            Ok(_) => Ok(Stage::Signature),
            Err(error @ (Error::Malformed(_) | Error::Incompatible(_))) => Err((Stage::Payload, error)),
            Err(error) => Err((Stage::Signature, error)),
        }
    }

    fn parcel(&self, bytes: &[u8]) -> Judged {
        let parcel = Parcel::decode(bytes).map_err(|error| (Stage::Decode, error))?;
        let address = Address {
            dossier: self.dossier,
            addressee: self.wrap_context.recipient,
            key: self.epoch_key.clone(),
        };
        let tag = address.tag(Address::period(RECEIVED_AT));
        match parcel.open(&address, &tag) {
            Ok(_) => Ok(Stage::Open),
            Err(error) => Err((Stage::Open, error)),
        }
    }

    fn sealed(&self, bytes: &[u8]) -> Judged {
        let sealed = Sealed::decode(bytes).map_err(|error| (Stage::Decode, error.into()))?;
        match sealed.open(&self.dossier, self.message, &self.epoch_key) {
            Ok(_) => Ok(Stage::Open),
            Err(error) => Err((Stage::Open, error)),
        }
    }

    fn wrap(&self, bytes: &[u8]) -> Outcome {
        let key = DecryptionKey::from_pkcs8(&self.wrap_private_key).ok();
        let wrap = std::str::from_utf8(bytes).ok();
        let opened = wrap.and_then(|wrap| key?.unwrap(wrap, &self.wrap_context).ok());
        match opened {
            Some(key) if *key == *self.epoch_key.as_bytes() => Outcome::Accepted(Stage::Wrap),
            _ => Outcome::Refused(Stage::Wrap, Code::NotOpenable),
        }
    }
}

fn outer(error: Malformed) -> (Stage, Error) {
    let error = Error::from(error);
    let stage = if error.code() == Code::BadHeader {
        Stage::Header
    } else {
        Stage::Decode
    };
    (stage, error)
}

/// The bytes that the first codec writes for what it reads.
fn again(what: What, bytes: &[u8]) -> Option<Vec<u8>> {
    match what {
        What::Envelope | What::Head | What::Receipt => {
            let envelope = Envelope::decode(bytes).ok()?;
            if what == What::Envelope
                && Message::decode(envelope.payload()).ok()?.encode() != envelope.payload()
            {
                return None;
            }
            Some(envelope.encode())
        }
        What::Jws => {
            let envelope = Envelope::from_jws(std::str::from_utf8(bytes).ok()?).ok()?;
            Some(envelope.to_jws().into_bytes())
        }
        What::Sealed => Some(Sealed::decode(bytes).ok()?.encode()),
        What::Entry => Some(Entry::decode(bytes).ok()?.encode()),
        What::Frame => Some(Frame::decode(bytes).ok()?.encode()),
        What::Parcel => Some(Parcel::decode(bytes).ok()?.encode()),
        What::Request => Some(Request::decode(bytes).ok()?.encode()),
        What::Cbor | What::Wrap => Some(bytes.to_vec()),
    }
}
