//! Who is enrolled: organisations, nodes and persons, their keys, and how these follow each other. SPEC §9.2.

use basoche_protocol::id::{CertificateId, Digest, SubjectId};
use basoche_protocol::jose::{Algorithm, is_p256_spki};
use basoche_protocol::role::{Assurance, OrganisationKind, Role};
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::wire::limits;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::KeyRecord;

/// Addresses of one node.
pub const ADDRESSES: usize = 8;
/// How long an old key may sign beside its successor, and an endpoint stand, at most.
pub const OVERLAP: Span = Span::from_seconds(90 * 86_400);
/// How long a re-association waits for objections, at least.
pub const DELAY: Span = Span::from_seconds(72 * 3600);

/// A court, bar or company of experts (*juridiction, barreau, compagnie d'experts*). No personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organisation {
    /// What it is.
    pub kind: OrganisationKind,
    /// SIREN number or court code.
    pub identifier: String,
    /// Its name.
    pub name: String,
    /// The key that speaks for it: withdraws its nodes' certificates and those of whom they serve, and objects to
    /// re-associations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<KeyRecord>,
}

impl Organisation {
    pub(super) fn is_in_range(&self) -> bool {
        is_label(&self.identifier) && is_label(&self.name)
    }
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
    /// Where it gossips, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gossip: Option<Gossip>,
}

impl Node {
    pub(super) fn is_in_range(&self) -> bool {
        let encryption = Digest::of(&[&self.encryption_spki]);
        let (seal, tls) = (self.seal.spki_sha256, self.tls_spki_sha256);
        self.seal.algorithm == Algorithm::Es256
            && seal != encryption
            && seal != tls
            && tls != encryption
            && is_p256_spki(&self.encryption_spki)
            && are_addresses(&self.addresses)
            && self.gossip.as_ref().is_none_or(Gossip::is_in_range)
    }
}

/// Where a node gossips, at the hosts of its addresses, and the key that it shows there. GSP-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gossip {
    /// Its Ed25519 public key.
    #[serde(with = "serde_bytes")]
    pub key: [u8; 32],
    /// The UDP port, from 1.
    pub port: u16,
}

impl Gossip {
    /// What stands before an Ed25519 key in a SubjectPublicKeyInfo. RFC 8410 §4.
    const SPKI: [u8; 12] = [
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];

    fn is_in_range(&self) -> bool {
        self.port != 0
    }

    /// SHA-256 of the SubjectPublicKeyInfo of its key.
    pub(super) fn spki_sha256(&self) -> Digest {
        Digest::of(&[&Self::SPKI, &self.key])
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
    /// The certificate authority that issued the key's certificate: one that this log states. Absent where the
    /// authority itself vouches for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<CertificateId>,
}

impl Enrolment {
    pub(super) fn is_in_range(&self) -> bool {
        is_encryption_key(self.encryption_spki.as_ref(), &self.key)
            && !self.roles.is_empty()
            && self.roles.windows(2).all(|pair| pair[0] < pair[1])
            && self.assurance != Assurance::Seal
    }
}

/// A person's next key (*renouvellement*, case 2-A of OPALEXE's procedure): signed with the one before, which ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// The new key.
    pub key: KeyRecord,
    /// The certificate that it follows.
    pub replaces: CertificateId,
    /// Until when the old key may still sign: not before the effect, nor more than [`OVERLAP`] after it.
    pub until: Instant,
    /// As in an enrolment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_spki: Option<ByteBuf>,
    /// As in an enrolment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<CertificateId>,
}

impl Renewal {
    pub(super) fn is_in_range(&self) -> bool {
        is_encryption_key(self.encryption_spki.as_ref(), &self.key)
    }
}

/// A key for a person who has lost the one before (*ré-association*, case 2-B of OPALEXE's procedure). All earlier keys
/// end when it takes effect, [`DELAY`] after it was issued at the earliest; until then any of them may object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reassociation {
    /// The new key.
    pub key: KeyRecord,
    /// How the key is protected; never the organisation's seal.
    pub assurance: Assurance,
    /// How the officers made sure of who asked.
    pub identity: IdentityProof,
    /// As in an enrolment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_spki: Option<ByteBuf>,
    /// As in an enrolment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<CertificateId>,
}

impl Reassociation {
    pub(super) fn is_in_range(&self) -> bool {
        is_encryption_key(self.encryption_spki.as_ref(), &self.key) && self.assurance != Assurance::Seal
    }
}

/// Where a node is reached and what it shows in TLS, by its own word: it replaces what its [`Node`] entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// SHA-256 of the SubjectPublicKeyInfo that it shows in TLS.
    pub tls_spki_sha256: Digest,
    /// Where it listens, `host:port`, the best first; at most [`ADDRESSES`].
    pub addresses: Vec<String>,
    /// Until when that is so: at most [`OVERLAP`] after the effect.
    pub until: Instant,
    /// Where it gossips, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gossip: Option<Gossip>,
}

impl Endpoint {
    pub(super) fn is_in_range(&self) -> bool {
        are_addresses(&self.addresses) && self.gossip.as_ref().is_none_or(Gossip::is_in_range)
    }
}

super::numbered! {
    /// How officers made sure of who asked for a new key.
    IdentityProof, "unknown proof of identity" {
        /// The person came, with an identity document.
        InPerson = 1 "in-person",
        /// The person showed an identity document at a distance, to both officers.
        Remote = 2 "remote",
        /// The person's organisation attests it in writing.
        Organisation = 3 "organisation",
    }
}
/// A short text without control characters.
pub(super) fn is_label(text: &str) -> bool {
    (1..=limits::SHORT_TEXT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Another key than the one that signs, if there is one.
fn is_encryption_key(spki: Option<&ByteBuf>, signs: &KeyRecord) -> bool {
    spki.is_none_or(|spki| Digest::of(&[spki]) != signs.spki_sha256 && is_p256_spki(spki))
}

fn are_addresses(addresses: &[String]) -> bool {
    addresses.len() <= ADDRESSES && addresses.iter().all(|address| is_address(address))
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
}
