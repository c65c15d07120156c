//! Parcels: what is left at a mailbox, sealed for its addressee. MBX-2.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

use super::{Address, Kind};
use crate::crypto::{self, AeadKey};
use crate::error::{Error, Malformed, MalformedKind, Untrusted};
use crate::id::{Digest, KeySalt, MailboxTag, SubjectId};
use crate::wire::{codec, limits};

/// The smallest content after padding, in bytes.
const SMALLEST: usize = 4096;
/// Marks the end of the content; zeros follow.
const END: u8 = 0x80;

/// What a parcel holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The bytes of a run frame (10.2).
    Run(Vec<u8>),
    /// Leaves of a document.
    Leaves(Leaves),
}

/// Some leaves of a document's ciphertext, with the hashes that lead to its root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaves {
    /// The document.
    pub root: Digest,
    /// The first leaf.
    pub first: u64,
    /// All leaf hashes of the document, 32 bytes each.
    pub hashes: ByteBuf,
    /// Ciphertext of the leaves, one after the other.
    pub ciphertext: ByteBuf,
}

/// `[kind, addressee, bytes]`.
type Plain = (Kind, SubjectId, ByteBuf);

/// `[1, salt, ciphertext]`: a parcel as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Parts", into = "Parts")]
pub struct Parcel {
    version: u64,
    salt: KeySalt,
    ciphertext: Vec<u8>,
}

type Parts = (u64, KeySalt, ByteBuf);

impl From<Parts> for Parcel {
    fn from((version, salt, ciphertext): Parts) -> Self {
        Self {
            version,
            salt,
            ciphertext: ciphertext.into_vec(),
        }
    }
}

impl From<Parcel> for Parts {
    fn from(parcel: Parcel) -> Self {
        (parcel.version, parcel.salt, ByteBuf::from(parcel.ciphertext))
    }
}

impl Content {
    /// Which kind it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Run(_) => Kind::Run,
            Self::Leaves(_) => Kind::Leaves,
        }
    }

    fn plain(&self, addressee: SubjectId) -> Vec<u8> {
        let bytes = match self {
            Self::Run(frame) => frame.clone(),
            Self::Leaves(leaves) => codec::encode(leaves),
        };
        let mut plain = codec::encode(&(self.kind(), addressee, ByteBuf::from(bytes)));
        plain.push(END);
        plain.resize(padded(plain.len()), 0);
        plain
    }

    /// Content and addressee from the bytes that were sealed.
    fn read(plain: &[u8]) -> Result<(SubjectId, Self), Malformed> {
        let end = plain.iter().rposition(|byte| *byte != 0);
        let content = match end {
            Some(end) if plain[end] == END && padded(end + 1) == plain.len() => &plain[..end],
            _ => return Err(Malformed::bad_value()),
        };
        let (kind, addressee, bytes): Plain = codec::decode(content, limits::PARCEL_BYTES)?;
        let content = match kind {
            Kind::Run => Self::Run(bytes.into_vec()),
            Kind::Leaves => Self::Leaves(codec::decode(&bytes, limits::PARCEL_BYTES)?),
        };
        Ok((addressee, content))
    }
}

/// The length to which `length` bytes are padded: at most an eighth more, and few different ones (Padmé).
fn padded(length: usize) -> usize {
    let length = length.max(SMALLEST);
    let bits = usize::BITS - 1 - length.leading_zeros();
    let kept = u32::BITS - bits.leading_zeros();
    let mask = (1_usize << (bits - kept)) - 1;
    (length + mask) & !mask
}

impl Parcel {
    const VERSION: u64 = 1;

    /// Seals `content` for an addressee, to be left under `tag`. The same content under the same tag is the same
    /// parcel whoever seals it, so that it is kept once. MBX-2.
    #[must_use]
    pub fn seal(address: &Address, tag: &MailboxTag, content: &Content) -> Self {
        let mut ciphertext = content.plain(address.addressee);
        let key = Zeroizing::new(address.derive(b"basoche/mailbox-salt/1", &[]));
        let salt = KeySalt::new(crypto::hmac_sha256(&key, &[tag.as_bytes(), &ciphertext]));
        AeadKey::new(&Self::key(address, &salt)).seal_in_place([0; 12], tag.as_bytes(), &mut ciphertext);
        Self {
            version: Self::VERSION,
            salt,
            ciphertext,
        }
    }

    fn key(address: &Address, salt: &KeySalt) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(address.derive(b"basoche/mailbox-parcel/1", salt.as_bytes()))
    }

    /// The key of this parcel alone: who is shown it reads the parcel and nothing else.
    #[must_use]
    pub fn own_key(&self, address: &Address) -> Zeroizing<[u8; 32]> {
        Self::key(address, &self.salt)
    }

    /// Opens what was kept under `tag` for the addressee.
    ///
    /// # Errors
    /// `not-openable`; those of the scanner, and `bad-value`, where what was sealed is no content for this addressee.
    pub fn open(&self, address: &Address, tag: &MailboxTag) -> Result<Content, Error> {
        let (addressee, content) = self.open_with(&self.own_key(address), tag)?;
        if addressee == address.addressee {
            Ok(content)
        } else {
            Err(Malformed::bad_value().into())
        }
    }

    /// Opens it with its own key: for whom it is, and what it holds.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(&self, key: &[u8; 32], tag: &MailboxTag) -> Result<(SubjectId, Content), Error> {
        let mut plain = self.ciphertext.clone();
        let opened = AeadKey::new(key)
            .open_in_place([0; 12], tag.as_bytes(), &mut plain)
            .map_err(|_| Untrusted::NotOpenable {
                digest: self.digest(),
            })?;
        Ok(Content::read(opened)?)
    }

    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads the canonical bytes.
    ///
    /// # Errors
    /// Those of the scanner; `version`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let parcel: Self = codec::decode(bytes, limits::PARCEL_BYTES)?;
        if parcel.version != Self::VERSION {
            return Err(crate::error::Incompatible::Version(parcel.version).into());
        }
        if parcel.ciphertext.len() < SMALLEST + crypto::TAG_BYTES {
            return Err(Malformed::at(0, MalformedKind::BadValue).into());
        }
        Ok(parcel)
    }

    /// SHA-256 of [`Self::encode`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&[&self.encode()])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::envelope::EpochKey;
    use crate::id::DossierId;
    use crate::refusal::Code;

    fn address() -> Address {
        Address {
            dossier: DossierId::new([1; 32]),
            addressee: SubjectId::new([2; 16]),
            key: EpochKey::new([3; 32]),
        }
    }

    fn run(bytes: usize) -> Content {
        Content::Run(vec![7; bytes])
    }

    #[test]
    fn what_is_sealed_opens_for_its_addressee_under_its_tag_and_for_nobody_else() {
        let (address, content) = (address(), run(10));
        let tag = address.tag(5);
        let parcel = Parcel::decode(&Parcel::seal(&address, &tag, &content).encode()).unwrap();
        assert_eq!(parcel.open(&address, &tag).unwrap(), content);
        assert_eq!(
            parcel.open_with(&parcel.own_key(&address), &tag).unwrap(),
            (address.addressee, content)
        );
        let mut spoilt = parcel.clone();
        spoilt.ciphertext[9] ^= 1;
        let other = |change: fn(&mut Address)| {
            let mut other = address.clone();
            change(&mut other);
            parcel.open(&other, &tag)
        };
        for refused in [
            spoilt.open(&address, &tag),
            parcel.open(&address, &address.tag(6)),
            other(|one| one.addressee = SubjectId::new([9; 16])),
            other(|one| one.dossier = DossierId::new([9; 32])),
            other(|one| one.key = EpochKey::new([9; 32])),
        ] {
            assert_eq!(refused.unwrap_err().code(), Code::NotOpenable);
        }
    }

    #[test]
    fn the_same_content_is_the_same_parcel_under_one_tag_and_shares_no_key_with_another() {
        let (address, content) = (address(), run(10));
        let seal = |period| Parcel::seal(&address, &address.tag(period), &content);
        assert_eq!(seal(1), seal(1));
        assert_ne!(seal(1).salt, seal(2).salt);
        assert_ne!(
            seal(1).salt,
            Parcel::seal(&address, &address.tag(1), &run(11)).salt
        );
    }

    #[test]
    fn lengths_fall_into_few_classes_and_grow_by_an_eighth_at_most() {
        let mut classes = std::collections::BTreeSet::new();
        for length in (1..1_000_000).step_by(97) {
            let padded = padded(length);
            assert!(
                padded >= length && padded <= (length + length / 8).max(SMALLEST),
                "{length}"
            );
            assert_eq!(super::padded(padded), padded);
            classes.insert(padded);
        }
        assert!(classes.len() < 200, "{}", classes.len());
        let sealed = |bytes| {
            Parcel::seal(&address(), &address().tag(1), &run(bytes))
                .encode()
                .len()
        };
        assert_eq!(sealed(1), sealed(3000));
    }

    #[test]
    fn padding_has_one_form() {
        let good = run(10).plain(SubjectId::new([2; 16]));
        assert!(Content::read(&good).is_ok());
        for spoilt in [
            good[..good.len() - 1].to_vec(),
            [good.as_slice(), &[0]].concat(),
            vec![0; SMALLEST],
            [&good[..good.len() - 1], &[1]].concat(),
            Vec::new(),
        ] {
            assert!(Content::read(&spoilt).is_err());
        }
    }
}
