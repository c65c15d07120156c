//! Messages: one table says which exist, who sends them, who reads them and how they are dated. SPEC §6.
//!
//! Codec, `basoche decode`, metrics and SPEC's annex follow from the table; exhaustive matches in [`crate::dossier`]
//! stop the build until a new message has its procedure.

mod acceptance;
mod barrier;
mod barrier_held;
mod close_dossier;
mod contestation;
mod decline;
mod designation;
mod dire;
mod document;
mod erasure;
mod examination;
mod exhibit_deposit;
mod fee_claim;
mod fee_order;
mod fork_settled;
mod gap;
mod hand_over;
mod held;
mod key_grant;
mod key_revocation;
mod key_wrap;
mod legal_hold;
mod made_available;
mod opening;
mod party_enrolment;
mod pre_report;
mod provision_paid;
mod report;
mod roster_change;

pub use acceptance::Acceptance;
pub use barrier::Barrier;
pub use barrier_held::BarrierHeld;
pub use close_dossier::CloseDossier;
pub use contestation::{Contestation, Finding};
pub use decline::Decline;
pub use designation::Designation;
pub use dire::Dire;
pub use document::{Access, DocumentRef};
pub use erasure::{ErasedDocument, Erasure, Extent, Residual};
pub use examination::{Examination, Fault};
pub use exhibit_deposit::ExhibitDeposit;
pub use fee_claim::FeeClaim;
pub use fee_order::FeeOrder;
pub use fork_settled::ForkSettled;
pub use gap::Gap;
pub use hand_over::HandOver;
pub use held::{Held, Stated};
pub use key_grant::KeyGrant;
pub use key_revocation::KeyRevocation;
pub use key_wrap::KeyWrap;
pub use legal_hold::LegalHold;
pub use made_available::MadeAvailable;
pub use opening::Opening;
pub use party_enrolment::{PartyEnrolment, commitment};
pub use pre_report::PreReport;
pub use provision_paid::ProvisionPaid;
pub use report::{Answer, Report};
pub use roster_change::{Participant, RosterChange};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::error::{Error, Incompatible, Malformed, MalformedKind as Kind};
use crate::id::{Digest, DossierId, MessageId, Salt, SubjectId};
use crate::journal::HeadRow;
use crate::role::{Assurance, Class, Role};
use crate::wire::{canon, codec, limits};

/// The payload version that this crate speaks.
pub const VERSION: u64 = 1;

/// Which instants a message of some type needs. SPEC §8.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampPolicy {
    /// A token of its own at once: a deadline hangs on it.
    Sync,
    /// The node's next window.
    Batch,
    /// None beyond the journal's own order.
    None,
}

/// A body's local validity: what can be said of it without knowing any dossier.
trait Content {
    /// Refuses values outside their range.
    fn validate(&self) -> Result<(), Malformed>;

    /// The documents that it brings.
    fn documents(&self) -> Vec<&DocumentRef> {
        Vec::new()
    }

    /// The wraps of a document's key that it hands out by itself, and the document's root.
    fn wraps(&self) -> Option<(&Digest, &[KeyWrap])> {
        None
    }
}

macro_rules! messages {
    ($($(#[$doc:meta])* $code:literal $name:ident $label:literal, from [$($role:ident),+], readers $readers:ident, timestamp $policy:ident, section $section:literal;)+) => {
        crate::wire::number::numbers! {
            /// The type of a message. SPEC annex A.
            MessageType { $($(#[$doc])* $name = $code $label,)+ }
        }

        impl MessageType {
            /// The roles that may send it.
            pub const fn senders(self) -> &'static [Role] {
                match self { $(Self::$name => &[$(Role::$role),+],)+ }
            }

            /// The class under which it is sealed.
            pub const fn readers(self) -> Class {
                match self { $(Self::$name => Class::$readers,)+ }
            }

            /// How it is dated.
            pub const fn timestamp_policy(self) -> TimestampPolicy {
                match self { $(Self::$name => TimestampPolicy::$policy,)+ }
            }

            /// Its section of SPEC.md.
            pub const fn section(self) -> &'static str {
                match self { $(Self::$name => $section,)+ }
            }
        }

        /// The content of a message, by type.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Body { $($name($name),)+ }

        impl Body {
            /// Its type.
            pub const fn message_type(&self) -> MessageType {
                match self { $(Self::$name(_) => MessageType::$name,)+ }
            }

            /// The documents that it brings, in order.
            pub fn documents(&self) -> Vec<&DocumentRef> {
                match self { $(Self::$name(body) => body.documents(),)+ }
            }

            fn validate(&self) -> Result<(), Malformed> {
                match self { $(Self::$name(body) => body.validate(),)+ }
            }

            /// The wraps of documents' keys for persons that it hands out, and the root of each one's document.
            pub fn wraps(&self) -> Vec<(&Digest, &[KeyWrap])> {
                let brought = self.documents().into_iter().filter_map(DocumentRef::wraps);
                let granted = match self { $(Self::$name(body) => body.wraps(),)+ };
                brought.chain(granted).collect()
            }

            /// The content as JSON, for people and tools.
            pub fn to_json(&self) -> serde_json::Value {
                // Unwrap safety: bodies have string keys and no map of their own that could fail.
                match self { $(Self::$name(body) => serde_json::to_value(body).unwrap_or_default(),)+ }
            }
        }

        impl Message {
            /// The payload bytes to be signed.
            pub fn encode(&self) -> Vec<u8> {
                match &self.body { $(Body::$name(body) => codec::encode(&self.payload(body)),)+ }
            }

            fn decode_body(message_type: MessageType, bytes: &[u8]) -> Result<Self, Malformed> {
                match message_type {
                    $(MessageType::$name => {
                        let payload: Payload<$name> = codec::decode(bytes, limits::PAYLOAD_BYTES)?;
                        Ok(Self {
                            dossier: payload.dossier,
                            author: payload.author,
                            role: payload.role,
                            assurance: payload.assurance,
                            class: payload.class,
                            refs: payload.refs,
                            salt: payload.salt,
                            body: Body::$name(payload.body),
                        })
                    })+
                }
            }
        }
    };
}

messages! {
    /// Order that designates the expert (*ordonnance de désignation*), CPC art. 264-265. Founds the dossier.
    1 Designation "designation", from [Judge, Clerk], readers Member, timestamp Sync, section "6.1";
    /// The expert accepts the mission, CPC art. 267.
    2 Acceptance "acceptance", from [Expert], readers Member, timestamp Batch, section "6.2";
    /// The expert declines the mission, CPC art. 267.
    3 Decline "decline", from [Expert], readers Member, timestamp Batch, section "6.3";
    /// The expert adds or removes participants (*rattachement des acteurs*).
    4 RosterChange "roster-change", from [Expert], readers Member, timestamp Batch, section "6.4";
    /// The clerk's notice that the provision is paid in (*avis de consignation*), CPC art. 267, 269.
    5 ProvisionPaid "provision-paid", from [Clerk], readers Member, timestamp Sync, section "6.5";
    /// An exhibit (*pièce*) is lodged, CPC art. 275; by the court, the order and the files of art. 268.
    6 ExhibitDeposit "exhibit-deposit", from [Judge, Clerk, Lawyer, Party, Expert], readers Member, timestamp Sync, section "6.6";
    /// Written observations of a party (*dire*), CPC art. 276.
    7 Dire "dire", from [Lawyer, Party], readers Member, timestamp Sync, section "6.7";
    /// The expert's provisional findings (*pré-rapport*), with the date until which dires are due, CPC art. 276.
    8 PreReport "pre-report", from [Expert], readers Member, timestamp Sync, section "6.8";
    /// The expert's report (*rapport*), with its answer to each dire, CPC art. 276, 282.
    9 Report "report", from [Expert], readers Member, timestamp Sync, section "6.9";
    /// The expert's claim for fees (*demande de rémunération*), CPC art. 282.
    10 FeeClaim "fee-claim", from [Expert], readers Member, timestamp Sync, section "6.10";
    /// The judge fixes the fees (*ordonnance de taxe*), CPC art. 284.
    11 FeeOrder "fee-order", from [Judge], readers Member, timestamp Sync, section "6.11";
    /// The clerk or the judge closes the dossier (*clôture*).
    12 CloseDossier "close-dossier", from [Judge, Clerk], readers Member, timestamp Batch, section "6.12";
    /// The court says which history of a forked chain counts, CPC art. 167.
    13 ForkSettled "fork-settled", from [Judge, Clerk], readers Member, timestamp Sync, section "6.17";
    /// The court orders that an exhibit or a dire, or its documents, are erased (*effacement*), GDPR art. 17.
    14 Erasure "erasure", from [Judge, Clerk], readers Member, timestamp Sync, section "6.18";
    /// The court orders that a message or the whole dossier is kept (*conservation*), or lifts such an order.
    15 LegalHold "legal-hold", from [Judge, Clerk], readers Member, timestamp Sync, section "6.19";
    /// A seat proposes that every member sign what it holds, for the *quittance de contradictoire*, CPC art. 16.
    16 Barrier "barrier", from [Judge, Clerk, Expert], readers Member, timestamp Sync, section "6.21";
    /// A person moves to another node, with whatever seat they hold.
    17 HandOver "hand-over", from [Judge, Clerk, Expert], readers Member, timestamp Batch, section "6.22";
    /// The expert enrols a party's key inside of the dossier, by delegation of an authority.
    18 PartyEnrolment "party-enrolment", from [Expert], readers Member, timestamp Batch, section "6.26";
    /// A key that was enrolled inside of the dossier is withdrawn (*révocation*).
    19 KeyRevocation "key-revocation", from [Judge, Clerk, Expert, Party], readers Member, timestamp Batch, section "6.27";
    /// A node holds all bytes of a document durably (*date de dépôt* at that node).
    32 Held "held", from [Node], readers Member, timestamp Batch, section "6.13";
    /// A node makes a document available to those it serves (*mise à disposition*), CPC art. 748-3.
    33 MadeAvailable "made-available", from [Node], readers Member, timestamp Batch, section "6.14";
    /// Somebody opened a document (*ouverture*), arrêté of 14 June 2017 art. 2.
    34 Opening "opening", from [Judge, Clerk, Expert, Lawyer, Party, Node], readers Member, timestamp Sync, section "6.15";
    /// A node contests a document that it holds: it is not what its message commits to (*contestation*).
    35 Contestation "contestation", from [Node], readers Member, timestamp Batch, section "6.20";
    /// A node holds all that a barrier names.
    36 BarrierHeld "barrier-held", from [Node], readers Member, timestamp Batch, section "6.23";
    /// Entries that a head names do not come to a node.
    37 Gap "gap", from [Node], readers Member, timestamp Batch, section "6.24";
    /// A recipient of a personal document hands its key on to further persons.
    38 KeyGrant "key-grant", from [Judge, Clerk, Expert, Lawyer, Party], readers Member, timestamp Batch, section "6.25";
}

impl Body {
    /// The frontier that a milestone closes over: what its author had when it was drafted. BAR-4.
    pub fn closes(&self) -> Option<&[HeadRow]> {
        match self {
            Self::PreReport(act) => act.closes.as_deref(),
            Self::Report(act) => act.closes.as_deref(),
            Self::CloseDossier(act) => act.closes.as_deref(),
            _ => None,
        }
    }
}

impl MessageType {
    /// Whether it has a place in the order of acts, which a fork of its chain puts in doubt. What is merely brought or
    /// stated keeps its effect, in whichever history it stands; so does what cannot be undone, and what guards against
    /// it. JRN-14, ERA-4.
    pub const fn is_ordered(self) -> bool {
        match self {
            Self::Acceptance
            | Self::Decline
            | Self::RosterChange
            | Self::ProvisionPaid
            | Self::PreReport
            | Self::Report
            | Self::FeeClaim
            | Self::FeeOrder
            | Self::CloseDossier
            | Self::ForkSettled
            | Self::HandOver => true,
            Self::Designation
            | Self::ExhibitDeposit
            | Self::Dire
            | Self::Erasure
            | Self::LegalHold
            | Self::Held
            | Self::MadeAvailable
            | Self::Opening
            | Self::Contestation
            | Self::KeyGrant
            | Self::Barrier
            | Self::BarrierHeld
            | Self::Gap
            | Self::PartyEnrolment
            | Self::KeyRevocation => false,
        }
    }
}

/// The payload of a message, whatever its body. SPEC §5.1. Keys are positions: append only.
#[derive(Serialize, Deserialize)]
struct Payload<B> {
    v: u64,
    message_type: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dossier: Option<DossierId>,
    author: SubjectId,
    role: Role,
    assurance: Assurance,
    class: Class,
    refs: Vec<MessageId>,
    salt: Salt,
    body: B,
}

/// What a person or a node says, before or after the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The dossier; absent in its founding act, whose own id names it. ENV-5.
    pub dossier: Option<DossierId>,
    /// Who says it.
    pub author: SubjectId,
    /// In which capacity.
    pub role: Role,
    /// How the author was identified.
    pub assurance: Assurance,
    /// For which readers.
    pub class: Class,
    /// The messages that it answers or follows, ascending.
    pub refs: Vec<MessageId>,
    /// Random, so that equal contents have different ids and no id can be guessed. ENV-3.
    pub salt: Salt,
    /// What it says.
    pub body: Body,
}

impl Message {
    /// Its type.
    pub const fn message_type(&self) -> MessageType {
        self.body.message_type()
    }

    /// Reads a payload: scanner, version, type, body, local validity.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        canon::check(bytes, limits::PAYLOAD_BYTES)?;
        let envelope: Payload<IgnoredAny> = codec::peek(bytes)?;
        if envelope.v != VERSION {
            return Err(Incompatible::Version(envelope.v).into());
        }
        let message_type = u16::try_from(envelope.message_type)
            .ok()
            .and_then(MessageType::from_number);
        let message_type = message_type.ok_or(Malformed::at(0, Kind::UnknownType))?;
        let message = Self::decode_body(message_type, bytes)?;
        message.validate()?;
        Ok(message)
    }

    /// Refuses what no dossier could accept. ENV-5, ENV-11, ENV-12, ENV-16; the body's own section says the rest.
    pub fn validate(&self) -> Result<(), Malformed> {
        let founding = matches!(self.body, Body::Designation(_));
        let ascending = self.refs.windows(2).all(|pair| pair[0] < pair[1]);
        if founding == self.dossier.is_some() || !ascending || self.refs.len() > limits::REFS {
            return Err(Malformed::bad_value());
        }
        if self.class != self.message_type().readers() {
            return Err(Malformed::bad_value());
        }
        // ERA-4: what they are worth hangs on nothing that may be erased.
        let bare = matches!(self.body, Body::Erasure(_) | Body::LegalHold(_));
        if bare && !self.refs.is_empty() {
            return Err(Malformed::bad_value());
        }
        self.body
            .documents()
            .into_iter()
            .try_for_each(DocumentRef::validate)?;
        for (root, wraps) in self.body.wraps() {
            // A wrap is bound to its dossier, and the founding act has none yet.
            let dossier = self.dossier.as_ref().ok_or_else(Malformed::bad_value)?;
            key_wrap::check(wraps, dossier, root)?;
        }
        self.body.validate()
    }

    fn payload<'a, B>(&self, body: &'a B) -> Payload<&'a B> {
        Payload {
            v: VERSION,
            message_type: u64::from(self.message_type().number()),
            dossier: self.dossier,
            author: self.author,
            role: self.role,
            assurance: self.assurance,
            class: self.class,
            refs: self.refs.clone(),
            salt: self.salt,
            body,
        }
    }
}

/// A body's one non-critical extension: a canonical map that we keep as bytes and never interpret. ENV-15.
pub type Ext = Option<ByteBuf>;

/// Holds when the extension is a canonical map of modest size.
fn check_ext(ext: &Ext) -> Result<(), Malformed> {
    match ext {
        None => Ok(()),
        Some(bytes) => {
            canon::check(bytes, limits::LONG_TEXT_BYTES)?;
            let is_map = bytes.first().is_some_and(|head| head >> 5 == 5);
            if is_map {
                Ok(())
            } else {
                Err(Malformed::bad_value())
            }
        }
    }
}

/// A text of 1 to [`limits::SHORT_TEXT_BYTES`] bytes, without control characters.
fn check_short(text: &str) -> Result<(), Malformed> {
    let fits = !text.is_empty() && text.len() <= limits::SHORT_TEXT_BYTES;
    if fits && !text.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(Malformed::bad_value())
    }
}

/// A text of 1 to [`limits::LONG_TEXT_BYTES`] bytes; of the control characters only line feed and tab.
fn check_long(text: &str) -> Result<(), Malformed> {
    let fits = !text.is_empty() && text.len() <= limits::LONG_TEXT_BYTES;
    let clean = !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
    if fits && clean {
        Ok(())
    } else {
        Err(Malformed::bad_value())
    }
}

/// A frontier that a body names: rows as a head has them. BAR-1.
fn check_frontier(rows: &[HeadRow]) -> Result<(), Malformed> {
    require(!rows.is_empty() && HeadRow::are_in_order(rows))
}

/// `Ok` when the condition holds.
fn require(condition: bool) -> Result<(), Malformed> {
    if condition {
        Ok(())
    } else {
        Err(Malformed::bad_value())
    }
}
