//! Statements: what an entry says, by kind. SPEC §9.2.

use std::fmt;

use basoche_protocol::error::Malformed;
use basoche_protocol::id::{CertificateId, Digest, SubjectId};
use basoche_protocol::jose::{Algorithm, VerifyingKey};
use basoche_protocol::role::{Assurance, OrganisationKind, Role};
use basoche_protocol::time::Instant;
use basoche_protocol::wire::{codec, limits};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Addresses of one node.
pub const ADDRESSES: usize = 8;

macro_rules! contents {
    ($($(#[$doc:meta])* $name:ident = $number:literal $text:literal,)+) => {
        /// The kinds of statement. The numbers are those of the wire and are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $name,)+ }

        impl Kind {
            /// Every kind, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The number on the wire.
            pub const fn number(self) -> u64 {
                match self { $(Self::$name => $number,)+ }
            }

            /// The kind of a number on the wire.
            pub const fn from_number(number: u64) -> Option<Self> {
                match number { $($number => Some(Self::$name),)+ _ => None }
            }

            /// The name in JSON and in lists.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }

        /// A statement.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Content { $($(#[$doc])* $name($name),)+ }

        impl Content {
            /// Its kind.
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$name(_) => Kind::$name,)+ }
            }

            pub(crate) fn encode(&self) -> Vec<u8> {
                match self { $(Self::$name(content) => codec::encode(content),)+ }
            }

            pub(crate) fn decode(kind: Kind, bytes: &[u8]) -> Result<Self, Malformed> {
                match kind {
                    $(Kind::$name => {
                        let content: $name = codec::decode(bytes, limits::LEAF_BYTES)?;
                        if content.is_in_range() { Ok(Self::$name(content)) } else { Err(Malformed::bad_value()) }
                    })+
                }
            }
        }

        $(impl From<$name> for Content {
            fn from(content: $name) -> Self {
                Self::$name(content)
            }
        })+
    };
}

contents! {
    /// The first entry of a log, and only that one.
    Genesis = 0 "genesis",
    /// An organisation exists.
    Organisation = 1 "organisation",
    /// A node serves an organisation: its keys and addresses, replacing what was stated before.
    Node = 2 "node",
    /// A person's key.
    Enrolment = 3 "enrolment",
    /// A certificate is withdrawn.
    Revocation = 4 "revocation",
}

impl Content {
    /// The key whose certificate goes beside the leaf.
    pub const fn key(&self) -> Option<&KeyRecord> {
        match self {
            Self::Node(node) => Some(&node.seal),
            Self::Enrolment(enrolment) => Some(&enrolment.key),
            Self::Genesis(_) | Self::Organisation(_) | Self::Revocation(_) => None,
        }
    }

    /// SHA-256 of every SubjectPublicKeyInfo that it gives to its subject. REG-7.
    pub fn spkis(&self) -> Vec<Digest> {
        match self {
            Self::Node(node) => vec![
                node.seal.spki_sha256,
                Digest::of(&[&node.encryption_spki]),
                node.tls_spki_sha256,
            ],
            Self::Enrolment(enrolment) => {
                let encryption = enrolment.encryption_spki.as_ref();
                let encryption = encryption.map(|spki| Digest::of(&[spki]));
                [enrolment.key.spki_sha256]
                    .into_iter()
                    .chain(encryption)
                    .collect()
            }
            Self::Genesis(_) | Self::Organisation(_) | Self::Revocation(_) => Vec::new(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the log is for: the same as in the anchors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// The one profession that it enrols.
    pub profession: OrganisationKind,
    /// Whether it exists for tests and demonstrations only.
    pub test: bool,
}

impl Genesis {
    const fn is_in_range(&self) -> bool {
        true
    }
}

/// A court, bar or company of experts (*juridiction, barreau, compagnie d'experts*). No personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organisation {
    /// What it is.
    pub kind: OrganisationKind,
    /// SIREN number or court code.
    pub identifier: String,
    /// Its name.
    pub name: String,
}

impl Organisation {
    fn is_in_range(&self) -> bool {
        is_label(&self.identifier) && is_label(&self.name)
    }
}

/// A key as a log knows it. The certificate itself travels beside the leaf. REG-4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// SHA-256 of the certificate, `x5t#S256`.
    pub certificate: CertificateId,
    /// SHA-256 of the DER SubjectPublicKeyInfo.
    pub spki_sha256: Digest,
    /// The one algorithm that it signs with.
    pub algorithm: Algorithm,
}

/// A node. Its seal key, its encryption key and its TLS key are three different keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The organisation that runs it.
    pub organisation: SubjectId,
    /// The key that seals its heads, always ES256.
    pub seal: KeyRecord,
    /// DER SubjectPublicKeyInfo of the P-256 key to which dossier keys are wrapped.
    #[serde(with = "serde_bytes")]
    pub encryption_spki: Vec<u8>,
    /// SHA-256 of the SubjectPublicKeyInfo that it shows in TLS.
    pub tls_spki_sha256: Digest,
    /// Where it listens, `host:port`, the best first; at most [`ADDRESSES`].
    pub addresses: Vec<String>,
}

impl Node {
    fn is_in_range(&self) -> bool {
        let encryption = Digest::of(&[&self.encryption_spki]);
        let (seal, tls) = (self.seal.spki_sha256, self.tls_spki_sha256);
        self.seal.algorithm == Algorithm::Es256
            && seal != encryption
            && seal != tls
            && tls != encryption
            && is_p256_spki(&self.encryption_spki)
            && self.addresses.len() <= ADDRESSES
            && self.addresses.iter().all(|address| is_address(address))
    }
}

/// A person's key, the roles it may be used in, and the node that serves the person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The key.
    pub key: KeyRecord,
    /// Roles, ascending, at least one.
    pub roles: Vec<Role>,
    /// The home node; it may be enrolled in another log, and later.
    pub node: SubjectId,
    /// How the key is protected; never the organisation's seal.
    pub assurance: Assurance,
    /// Salted digest of the person's name and contact, which are kept beside the log and can be erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<Digest>,
    /// DER SubjectPublicKeyInfo of the P-256 key to which personal documents' keys are wrapped: another key than
    /// [`Self::key`]. Who has none is nobody's recipient. REG-20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_spki: Option<ByteBuf>,
}

impl Enrolment {
    fn is_in_range(&self) -> bool {
        let is_apart = |spki: &ByteBuf| Digest::of(&[spki]) != self.key.spki_sha256 && is_p256_spki(spki);
        self.encryption_spki.as_ref().is_none_or(is_apart)
            && !self.roles.is_empty()
            && self.roles.windows(2).all(|pair| pair[0] < pair[1])
            && self.assurance != Assurance::Seal
    }
}

/// A certificate is withdrawn from the entry's `effective_at` on, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Which.
    pub certificate: CertificateId,
    /// Acts from here to `effective_at` become contested: the key may have been in other hands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_since: Option<Instant>,
    /// Why.
    pub reason: Reason,
}

impl Revocation {
    const fn is_in_range(&self) -> bool {
        true
    }
}

/// Why a certificate is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub enum Reason {
    /// The key was lost, stolen or broken.
    KeyCompromise,
    /// Another key takes its place.
    Superseded,
    /// The organisation or node ceases.
    Cessation,
    /// The person no longer has the role.
    RoleEnded,
}

impl Reason {
    /// Every reason, in the order of its number.
    pub const ALL: &'static [Self] = &[
        Self::KeyCompromise,
        Self::Superseded,
        Self::Cessation,
        Self::RoleEnded,
    ];

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        match self {
            Self::KeyCompromise => 1,
            Self::Superseded => 2,
            Self::Cessation => 3,
            Self::RoleEnded => 4,
        }
    }

    /// The name on the command line and in lists.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeyCompromise => "key-compromise",
            Self::Superseded => "superseded",
            Self::Cessation => "cessation",
            Self::RoleEnded => "role-ended",
        }
    }

    /// The reason of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.name() == name)
    }

    /// What [`Status::Invalid`](basoche_protocol::directory::Status::Invalid) says from the effect on.
    pub(crate) const fn revoked(self) -> &'static str {
        match self {
            Self::KeyCompromise => "revoked: the key is compromised",
            Self::Superseded => "revoked: superseded by another key",
            Self::Cessation => "revoked: the organisation or node has ceased",
            Self::RoleEnded => "revoked: the role has ended",
        }
    }
}

impl From<Reason> for u16 {
    fn from(reason: Reason) -> Self {
        reason.number()
    }
}

impl TryFrom<u16> for Reason {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        let found = Self::ALL.iter().copied().find(|reason| reason.number() == number);
        found.ok_or("unknown reason of revocation")
    }
}

/// A short text without control characters.
fn is_label(text: &str) -> bool {
    (1..=limits::SHORT_TEXT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// `host:port`: a host name, an IPv4 address or an IPv6 address in brackets; a port from 1, without leading zeros.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            (1..=253).contains(&host.len())
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        }
    };
    host && port
        .parse::<u16>()
        .is_ok_and(|number| number != 0 && number.to_string() == port)
}

/// An uncompressed point on P-256, in the one DER form of RFC 5480.
fn is_p256_spki(spki: &[u8]) -> bool {
    const BYTES: usize = 91;
    spki.len() == BYTES && VerifyingKey::from_spki(Algorithm::Es256, spki).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_a_host_and_a_port() {
        for good in ["node.court.example:4433", "127.0.0.1:1", "[::1]:65535"] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "host",
            ":1",
            "host:",
            "host:0",
            "host:01",
            "host:+1",
            "host:65536",
            "::1:4433",
            "[::1]",
            "[::g]:1",
            "a b:1",
            "h\u{e9}:1",
            "http://host:1",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
        assert!(!is_address(&format!("{}:1", "a".repeat(254))));
    }

    #[test]
    fn kinds_and_reasons_keep_their_numbers() {
        let kinds: Vec<_> = Kind::ALL
            .iter()
            .map(|kind| (kind.number(), kind.name()))
            .collect();
        let expected = [
            (0, "genesis"),
            (1, "organisation"),
            (2, "node"),
            (3, "enrolment"),
            (4, "revocation"),
        ];
        assert_eq!(kinds, expected);
        assert_eq!(Kind::from_number(5), None);
        let reasons: Vec<_> = Reason::ALL
            .iter()
            .map(|reason| (reason.number(), reason.name()))
            .collect();
        let expected = [
            (1, "key-compromise"),
            (2, "superseded"),
            (3, "cessation"),
            (4, "role-ended"),
        ];
        assert_eq!(reasons, expected);
        assert!(Reason::try_from(0).is_err());
    }
}
