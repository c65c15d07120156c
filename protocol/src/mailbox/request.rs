//! What is asked of a mailbox, and of who leaves a parcel there. MBX-3, MBX-5.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::Kind;
use crate::error::{Malformed, MalformedKind};
use crate::id::{Digest, MailboxTag, SubjectId};
use crate::refusal::Code;
use crate::time::Span;
use crate::wire::{codec, limits};

/// Bytes of a request; a list of digests is the longest.
const REQUEST_BYTES: usize = 16 * 1024;
/// Bytes of an answer or of a listing.
const ANSWER_BYTES: usize = 64 * 1024;

/// A parcel that may be fetched from who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Under which tag it is to be kept.
    pub tag: MailboxTag,
    /// The node that may collect it.
    pub addressee: SubjectId,
    /// What it holds.
    pub kind: Kind,
    /// SHA-256 of the parcel.
    pub parcel: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// For how long it should be kept, in milliseconds.
    pub keep: u64,
}

/// Asks what is kept for who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Beyond this number.
    pub after: u64,
}

/// A parcel that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its number at this mailbox; later ones have higher ones.
    pub number: u64,
    /// Under which tag.
    pub tag: MailboxTag,
    /// What it holds.
    pub kind: Kind,
    /// SHA-256 of the parcel.
    pub parcel: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// A page of what is kept for who asked, ascending by number. An empty one is the last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// At most [`limits::PARCELS_LISTED`].
    pub parcels: Vec<Listed>,
}

impl Listing {
    /// The reply's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// Those of the scanner; `bad-value` where numbers do not ascend from beyond `after`, or a size cannot be.
    pub fn decode(bytes: &[u8], after: u64) -> Result<Self, Malformed> {
        let listing: Self = codec::decode(bytes, ANSWER_BYTES)?;
        let mut last = after;
        let sound = listing.parcels.len() <= limits::PARCELS_LISTED
            && listing.parcels.iter().all(|one| {
                let ascends = one.number > last;
                last = one.number;
                ascends && one.size <= limits::PARCEL_BYTES as u64
            });
        if sound {
            Ok(listing)
        } else {
            Err(Malformed::bad_value())
        }
    }
}

/// A request about mailboxes, on a bulk stream of its own: `[kind, content]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Keep this parcel. The mailbox fetches it on a stream of its own, then answers with an [`Answer`].
    Offer(Offer),
    /// Send the parcel of this digest: one that you keep for me, or that you have offered me. The reply is its bytes.
    Fetch(Digest),
    /// What do you keep for me? The reply is a [`Listing`].
    List(List),
    /// These are safe here: keep them no longer. The reply ends, without bytes, once they are forgotten.
    Taken(Vec<Digest>),
}

impl Request {
    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, content) = match self {
            Self::Offer(offer) => (1_u64, codec::encode(offer)),
            Self::Fetch(parcel) => (2, codec::encode(parcel)),
            Self::List(list) => (3, codec::encode(list)),
            Self::Taken(parcels) => (4, codec::encode(parcels)),
        };
        codec::encode(&(kind, ByteBuf::from(content)))
    }

    /// Reads a request.
    ///
    /// # Errors
    /// Those of the scanner; `unknown-type`; `bad-value` for a size or a list that cannot be.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (kind, content): (u64, ByteBuf) = codec::decode(bytes, REQUEST_BYTES)?;
        let request = match kind {
            1 => Self::Offer(codec::decode(&content, REQUEST_BYTES)?),
            2 => Self::Fetch(codec::decode(&content, REQUEST_BYTES)?),
            3 => Self::List(codec::decode(&content, REQUEST_BYTES)?),
            4 => Self::Taken(codec::decode(&content, REQUEST_BYTES)?),
            _ => return Err(Malformed::at(1, MalformedKind::UnknownType)),
        };
        let sound = match &request {
            Self::Offer(offer) => {
                (1..=limits::PARCEL_BYTES as u64).contains(&offer.size) && offer.keep <= super::KEEP.ms()
            }
            Self::Taken(parcels) => parcels.len() <= limits::PARCELS_LISTED,
            Self::Fetch(_) | Self::List(_) => true,
        };
        if sound {
            Ok(request)
        } else {
            Err(Malformed::bad_value())
        }
    }
}

/// What a mailbox answers to an offer: `[1, receipt]` or `[2, refusal]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is kept: the receipt, as signed.
    Kept(Vec<u8>),
    /// It is not.
    Refused {
        /// Why.
        code: Code,
        /// After how long to offer it again.
        retry_after: Span,
    },
}

/// Code; milliseconds after which to offer again.
#[derive(Serialize, Deserialize)]
struct NotKept {
    code: Code,
    retry_after: u64,
}

impl Answer {
    /// The reply's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, content) = match self {
            Self::Kept(receipt) => (1_u64, receipt.clone()),
            Self::Refused { code, retry_after } => {
                let retry_after = retry_after.ms();
                let code = *code;
                (2, codec::encode(&NotKept { code, retry_after }))
            }
        };
        codec::encode(&(kind, ByteBuf::from(content)))
    }

    /// Reads a reply. The receipt is not looked at.
    ///
    /// # Errors
    /// Those of the scanner; `unknown-type`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (kind, content): (u64, ByteBuf) = codec::decode(bytes, ANSWER_BYTES)?;
        match kind {
            1 => Ok(Self::Kept(content.into_vec())),
            2 => {
                let NotKept { code, retry_after } = codec::decode(&content, ANSWER_BYTES)?;
                let retry_after = Span::from_ms(retry_after.min(super::KEEP.ms()));
                Ok(Self::Refused { code, retry_after })
            }
            _ => Err(Malformed::at(1, MalformedKind::UnknownType)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_are_read_as_they_were_written() {
        let parcel = Digest::new([1; 32]);
        let offer = Offer {
            tag: MailboxTag::new([2; 32]),
            addressee: SubjectId::new([3; 16]),
            kind: Kind::Leaves,
            parcel,
            size: 5000,
            keep: 1000,
        };
        for request in [
            Request::Offer(offer.clone()),
            Request::Fetch(parcel),
            Request::List(List { after: 7 }),
            Request::Taken(vec![parcel; limits::PARCELS_LISTED]),
        ] {
            assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        let retry_after = Span::from_seconds(60);
        let code = Code::StorageFull;
        for answer in [Answer::Kept(vec![1, 2]), Answer::Refused { code, retry_after }] {
            assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        }
        let too_large = Offer {
            size: limits::PARCEL_BYTES as u64 + 1,
            ..offer
        };
        let too_long = Offer {
            keep: super::super::KEEP.ms() + 1,
            ..offer
        };
        for bad in [
            Request::Offer(too_large),
            Request::Offer(too_long),
            Request::Taken(vec![parcel; limits::PARCELS_LISTED + 1]),
        ] {
            assert_eq!(Request::decode(&bad.encode()), Err(Malformed::bad_value()));
        }
        assert!(Request::decode(&codec::encode(&(9_u64, ByteBuf::new()))).is_err());
    }

    #[test]
    fn a_listing_ascends_from_beyond_what_was_asked_and_ends() {
        let listed = |number| Listed {
            number,
            tag: MailboxTag::new([2; 32]),
            kind: Kind::Run,
            parcel: Digest::new([1; 32]),
            size: 5000,
        };
        let listing = |numbers: &[u64]| Listing {
            parcels: numbers.iter().copied().map(listed).collect(),
        };
        let full: Vec<u64> = (1..=limits::PARCELS_LISTED as u64).collect();
        for good in [&[][..], &[8], &[8, 10]] {
            assert!(Listing::decode(&listing(good).encode(), 7).is_ok());
        }
        assert!(Listing::decode(&listing(&full).encode(), 0).is_ok());
        let over: Vec<u64> = (1..=limits::PARCELS_LISTED as u64 + 1).collect();
        for (bad, after) in [(&[7][..], 7), (&[9, 8], 7), (&[8, 8], 7), (&over, 0)] {
            assert!(Listing::decode(&listing(bad).encode(), after).is_err());
        }
    }
}
