//! Identifiers and digests: fixed-length byte strings that cannot be mistaken for one another. SPEC §4.4.
//!
//! On the wire each is a CBOR byte string of its exact length; in JSON and in logs it is lower-case hexadecimal.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::crypto;
use crate::text;

macro_rules! byte_string {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Wraps `bytes`.
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Reads lower-case hexadecimal of the exact length; `None` for anything else.
            pub fn from_hex(hex: &str) -> Option<Self> {
                Some(Self(text::hex_decode(hex)?.try_into().ok()?))
            }

            /// Lower-case hexadecimal.
            pub fn to_hex(&self) -> String {
                text::hex_encode(&self.0)
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.to_hex())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.serialize_str(&self.to_hex())
                } else {
                    serializer.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!(stringify!($len), " bytes"))
                    }

                    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<$name, E> {
                        bytes.try_into().map($name).map_err(|_| E::invalid_length(bytes.len(), &self))
                    }

                    fn visit_str<E: de::Error>(self, hex: &str) -> Result<$name, E> {
                        $name::from_hex(hex).ok_or_else(|| E::custom("not lower-case hexadecimal of the right length"))
                    }
                }
                if deserializer.is_human_readable() {
                    deserializer.deserialize_str(Visitor)
                } else {
                    deserializer.deserialize_bytes(Visitor)
                }
            }
        }
    };
}

byte_string! {
    /// A SHA-256 digest.
    Digest, 32
}
byte_string! {
    /// A message id: SHA-256 of the JWS signing input, so it never covers the signature. ENV-4.
    MessageId, 32
}
byte_string! {
    /// A dossier (*dossier d'expertise*): the message id of its founding act. ENV-5.
    DossierId, 32
}
byte_string! {
    /// A certificate: SHA-256 of its DER bytes, the value of `x5t#S256`. ENV-7.
    CertificateId, 32
}
byte_string! {
    /// A person, organisation or node in the registry: 16 random bytes, never reused. REG-2.
    SubjectId, 16
}
byte_string! {
    /// One continuous life of a node's store, 16 random bytes. A store that may have been
    /// rolled back opens a new one. JRN-6.
    Incarnation, 16
}
byte_string! {
    /// Random bytes that keep a digest from being guessed.
    Salt, 16
}
byte_string! {
    /// Under what a mailbox keeps parcels for a node of a dossier, for a while. MBX-1.
    MailboxTag, 32
}
byte_string! {
    /// Random bytes from which one item's key is derived. ENV-9.
    KeySalt, 32
}

impl Digest {
    /// SHA-256 of the parts, one after the other.
    pub fn of(parts: &[&[u8]]) -> Self {
        Self(crypto::sha256(parts))
    }
}

impl From<MessageId> for DossierId {
    /// The dossier that this act founds.
    fn from(founding_act: MessageId) -> Self {
        Self(founding_act.0)
    }
}

impl From<DossierId> for MessageId {
    /// The act that founded this dossier.
    fn from(dossier: DossierId) -> Self {
        Self(dossier.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_lower_case_and_of_the_exact_length() {
        let id = SubjectId::new([0xab; 16]);
        assert_eq!(SubjectId::from_hex(&id.to_hex()), Some(id));
        assert_eq!(SubjectId::from_hex(&id.to_hex().to_uppercase()), None);
        assert_eq!(SubjectId::from_hex(&id.to_hex()[2..]), None);
    }

    #[test]
    fn json_carries_hexadecimal_and_cbor_bytes() {
        let id = SubjectId::new([1; 16]);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, "\"01010101010101010101010101010101\"");
        assert_eq!(serde_json::from_str::<SubjectId>(&json).unwrap(), id);
        assert!(serde_json::from_str::<SubjectId>("\"01\"").is_err());
    }
}
