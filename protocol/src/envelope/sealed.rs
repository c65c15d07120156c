//! Sealed envelopes: the only form of a message on wire and disk. SPEC §5.4.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_bytes::{ByteBuf, Bytes};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Envelope, Typ};
use crate::crypto::{self, AeadKey};
use crate::directory::{Directory, Status};
use crate::error::{Error, Malformed, MalformedKind, Untrusted};
use crate::id::{Digest, DossierId, KeySalt, MessageId};
use crate::role::Class;
use crate::time::Instant;
use crate::wire::{codec, limits};

/// What a sealed envelope has beyond its ciphertext, at most: an array, an epoch, a class, a salt, the lengths.
const OVERHEAD_BYTES: usize = 64;
/// Bits of an epoch's number that are of its key's digest.
const DIGEST_BITS: u32 = 48;

/// The symmetric key of one epoch of a dossier. KEY-1.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct EpochKey([u8; 32]);

impl EpochKey {
    /// Wraps 32 random bytes.
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The bytes, for wrapping and for storage under the node's own key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key as the one of the epoch after `epoch`, with that epoch's number: one more in the upper 16 bits, 48 bits
    /// of the key's digest below, so that no two keys go by one number. KEY-2.
    #[must_use]
    pub fn after(&self, epoch: u64) -> (u64, Self) {
        let next = (epoch >> DIGEST_BITS) + 1;
        (next << DIGEST_BITS | self.digest_bits(), self.clone())
    }

    /// Whether it is the key of a later epoch of this number. KEY-2.
    pub fn is_of(&self, epoch: u64) -> bool {
        epoch & ((1 << DIGEST_BITS) - 1) == self.digest_bits()
    }

    fn digest_bits(&self) -> u64 {
        let digest = crypto::sha256(&[b"basoche/epoch/1", &self.0]);
        let bits = digest[..6]
            .iter()
            .fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        bits & ((1 << DIGEST_BITS) - 1)
    }

    /// The key of one item: no two items share one, so the nonce may be constant. ENV-9.
    fn item_key(&self, salt: &KeySalt, dossier: &DossierId, id: &MessageId) -> AeadKey {
        let info: [&[u8]; 3] = [b"basoche/sealed/1", dossier.as_bytes(), id.as_bytes()];
        AeadKey::new(&crypto::hkdf_sha256(&self.0, salt.as_bytes(), &info))
    }

    /// A key that wraps one document's key: bound to the dossier and to the document's salt. DOC-3.
    pub fn document_wrap_key(&self, salt: &KeySalt, dossier: &DossierId) -> AeadKey {
        AeadKey::new(&self.document_wrap_bytes(salt, dossier))
    }

    /// The bytes of [`Self::document_wrap_key`]: whoever has them opens that document's key, and nothing else. CON-1.
    pub fn document_wrap_bytes(&self, salt: &KeySalt, dossier: &DossierId) -> [u8; 32] {
        let info: [&[u8]; 2] = [b"basoche/document-wrap/1", dossier.as_bytes()];
        crypto::hkdf_sha256(&self.0, salt.as_bytes(), &info)
    }
}

impl fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EpochKey(redacted)")
    }
}

/// `[key_epoch, class, salt32, AES-256-GCM(Envelope)]`. ENV-8.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Parts")]
pub struct Sealed {
    key_epoch: u64,
    class: Class,
    salt: KeySalt,
    ciphertext: Arc<Vec<u8>>,
    opened: Opened,
}

/// What came out under which key, if it was opened ahead of its turn: no part of what is sealed.
#[derive(Clone, Default)]
struct Opened(Option<Arc<(DossierId, EpochKey, Envelope)>>);

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Opened" } else { "-" })
    }
}

impl PartialEq for Opened {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Opened {}

/// The array on the wire.
type Parts = (u64, Class, KeySalt, ByteBuf);

impl From<Parts> for Sealed {
    fn from((key_epoch, class, salt, ciphertext): Parts) -> Self {
        Self {
            key_epoch,
            class,
            salt,
            ciphertext: Arc::new(ciphertext.into_vec()),
            opened: Opened::default(),
        }
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ciphertext = Bytes::new(&self.ciphertext);
        (self.key_epoch, self.class, self.salt, ciphertext).serialize(serializer)
    }
}

impl Sealed {
    /// Seals `envelope` under the key of `key_epoch`; `salt` must be fresh random bytes.
    pub fn seal(
        envelope: &Envelope,
        dossier: &DossierId,
        class: Class,
        key_epoch: u64,
        key: &EpochKey,
        salt: KeySalt,
    ) -> Self {
        let mut ciphertext = envelope.encode();
        let aad = additional_data(key_epoch, class);
        key.item_key(&salt, dossier, &envelope.id())
            .seal_in_place([0; 12], &aad, &mut ciphertext);
        Self {
            key_epoch,
            class,
            salt,
            ciphertext: Arc::new(ciphertext),
            opened: Opened::default(),
        }
    }

    /// Opens it and checks the signature in it as of `at`, so that neither need be done again: pure, for any thread.
    /// What cannot be opened or is not known to be good stays as it is, for [`Self::open`] and
    /// [`super::verify`] to judge in their turn.
    pub fn check_ahead(
        &mut self,
        dossier: &DossierId,
        id: MessageId,
        key: &EpochKey,
        directory: &dyn Directory,
        at: Instant,
    ) {
        let Ok(mut envelope) = self.open(dossier, id, key) else {
            return;
        };
        if let Status::Valid(signer) | Status::Contested { signer, .. } =
            directory.status(&envelope.header().certificate, at)
        {
            envelope.check_ahead(Typ::Message, &signer.key);
        }
        self.opened = Opened(Some(Arc::new((*dossier, key.clone(), envelope))));
    }

    /// Opens what is announced as message `id` of `dossier`, and holds it to that id. ENV-8, ENV-9.
    pub fn open(&self, dossier: &DossierId, id: MessageId, key: &EpochKey) -> Result<Envelope, Error> {
        if let Some((of, under, envelope)) = self.opened.0.as_deref()
            && (of, envelope.id(), under.as_bytes()) == (dossier, id, key.as_bytes())
        {
            return Ok(envelope.clone());
        }
        let mut plaintext = self.ciphertext.to_vec();
        let aad = additional_data(self.key_epoch, self.class);
        let opened = key
            .item_key(&self.salt, dossier, &id)
            .open_in_place([0; 12], &aad, &mut plaintext)
            .map_err(|_| Untrusted::NotOpenable {
                digest: self.digest(),
            })?;
        let envelope = Envelope::decode(opened)?;
        if envelope.id() != id {
            return Err(Untrusted::IdMismatch {
                expected: id,
                found: envelope.id(),
            }
            .into());
        }
        Ok(envelope)
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode_in(self, self.ciphertext.len() + OVERHEAD_BYTES)
    }

    /// Reads the canonical bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let sealed: Self = codec::decode(bytes, limits::SEALED_BYTES)?;
        if sealed.ciphertext.len() > limits::ENVELOPE_BYTES + 16 {
            return Err(Malformed::at(0, MalformedKind::TooLarge));
        }
        Ok(sealed)
    }

    /// SHA-256 of [`Self::encode`].
    pub fn digest(&self) -> Digest {
        Digest::of(&[&self.encode()])
    }

    /// Which key opens it.
    pub fn key_epoch(&self) -> u64 {
        self.key_epoch
    }

    /// For which readers it is.
    pub fn class(&self) -> Class {
        self.class
    }
}

/// What the seal authenticates besides the envelope.
fn additional_data(key_epoch: u64, class: Class) -> [u8; 10] {
    let mut data = [0; 10];
    data[..8].copy_from_slice(&key_epoch.to_be_bytes());
    data[8..].copy_from_slice(&class.number().to_be_bytes());
    data
}
