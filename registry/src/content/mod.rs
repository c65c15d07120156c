//! Statements: what an entry says, by kind. SPEC §9.2.

use std::fmt;

use basoche_protocol::error::Malformed;
use basoche_protocol::id::{CertificateId, Digest};
use basoche_protocol::jose::Algorithm;
use basoche_protocol::wire::{codec, limits};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

mod attribute;
mod continuation;
mod delegation;
mod holder;
mod office;
mod policy_change;
mod publication;
mod state_root;
mod withdrawal;

pub use attribute::{Attribute, COMPETENCES, Competence};
pub use continuation::{CONTINUATION_PROOF_BYTES, Continuation};
pub use delegation::{DELEGATED_KEYS, Delegated, Delegation};
pub use holder::{
    ADDRESSES, DELAY, Endpoint, Enrolment, Gossip, IdentityProof, Node, OVERLAP, Organisation, Reassociation,
    Renewal,
};
pub use office::{CertificateAuthority, Genesis, Officer, Roots};
pub use policy_change::{POLICY_TEXT_BYTES, PolicyChange};
pub use publication::Publication;
pub use state_root::StateRoot;
pub use withdrawal::{Lifting, Reason, Retirement, Revocation, Suspension, Veto};

/// An enumeration that is a number on the wire and a name on the command line.
macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident, $unknown:literal { $($(#[$item:meta])* $variant:ident = $number:literal $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "u16", into = "u16")]
        pub enum $name { $($(#[$item])* $variant,)+ }

        impl $name {
            /// Each of them, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The number on the wire.
            pub const fn number(self) -> u16 {
                match self { $(Self::$variant => $number,)+ }
            }

            /// The name on the command line and in lists.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The one of a name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }
        }

        impl From<$name> for u16 {
            fn from(one: $name) -> Self {
                one.number()
            }
        }

        impl TryFrom<u16> for $name {
            type Error = &'static str;

            fn try_from(number: u16) -> Result<Self, Self::Error> {
                Self::ALL.iter().copied().find(|one| one.number() == number).ok_or($unknown)
            }
        }
    };
}

use numbered;

macro_rules! contents {
    ($($(#[$doc:meta])* $name:ident = $number:literal $text:literal,)+) => {
        /// The kinds of statement. The numbers are those of the wire and are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "u64", into = "u64")]
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

        impl From<Kind> for u64 {
            fn from(kind: Kind) -> Self {
                kind.number()
            }
        }

        impl TryFrom<u64> for Kind {
            type Error = &'static str;

            fn try_from(number: u64) -> Result<Self, Self::Error> {
                Self::from_number(number).ok_or("unknown kind of entry")
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

            /// Canonical CBOR of the statement, without its kind.
            pub fn encode(&self) -> Vec<u8> {
                match self { $(Self::$name(content) => codec::encode(content),)+ }
            }

            /// Reads a statement of that kind, and holds every field to its range.
            pub fn decode(kind: Kind, bytes: &[u8]) -> Result<Self, Malformed> {
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
    /// A key that enrols in the authority's name.
    Officer = 5 "officer",
    /// A person or node may not sign for a while.
    Suspension = 6 "suspension",
    /// A suspension ends.
    Lifting = 7 "lifting",
    /// A person's next key.
    Renewal = 8 "renewal",
    /// A key for a person who has lost the one before.
    Reassociation = 9 "re-association",
    /// A re-association is stopped.
    Veto = 10 "veto",
    /// Where a node is reached.
    Endpoint = 11 "endpoint",
    /// A certificate authority is believed.
    CertificateAuthority = 12 "certificate-authority",
    /// A certificate authority is no longer believed.
    Retirement = 13 "retirement",
    /// The witnesses have seen the log so far.
    Publication = 14 "publication",
    /// A person is granted roles and competences, or they are withdrawn.
    Attribute = 15 "attribute",
    /// An expert may enrol parties inside of a dossier.
    Delegation = 16 "delegation",
    /// Other witnesses must see the log from now on.
    PolicyChange = 17 "policy-change",
    /// What the log has come to.
    StateRoot = 18 "state-root",
    /// The log goes on under another key.
    Continuation = 19 "continuation",
}

impl Kind {
    /// Whether such an entry is about the log itself, and so about no subject.
    pub const fn is_of_the_log(self) -> bool {
        matches!(
            self,
            Self::Genesis | Self::Publication | Self::PolicyChange | Self::StateRoot | Self::Continuation
        )
    }
}

impl Content {
    /// The key whose certificate goes beside the leaf.
    pub const fn key(&self) -> Option<&KeyRecord> {
        match self {
            Self::Organisation(organisation) => organisation.admin.as_ref(),
            Self::Node(node) => Some(&node.seal),
            Self::Enrolment(enrolment) => Some(&enrolment.key),
            Self::Officer(officer) => Some(&officer.key),
            Self::Renewal(renewal) => Some(&renewal.key),
            Self::Reassociation(reassociation) => Some(&reassociation.key),
            Self::CertificateAuthority(authority) => Some(&authority.key),
            Self::Genesis(_)
            | Self::Revocation(_)
            | Self::Suspension(_)
            | Self::Lifting(_)
            | Self::Veto(_)
            | Self::Endpoint(_)
            | Self::Retirement(_)
            | Self::Publication(_)
            | Self::Attribute(_)
            | Self::Delegation(_)
            | Self::PolicyChange(_)
            | Self::StateRoot(_)
            | Self::Continuation(_) => None,
        }
    }

    /// The certificate that it states or ends.
    pub fn certificate(&self) -> Option<CertificateId> {
        match self {
            Self::Revocation(revocation) => Some(revocation.certificate),
            Self::Retirement(retirement) => Some(retirement.certificate),
            other => other.key().map(|key| key.certificate),
        }
    }

    /// The person's encryption key that it states.
    pub(crate) const fn encryption_spki(&self) -> Option<&ByteBuf> {
        match self {
            Self::Enrolment(enrolment) => enrolment.encryption_spki.as_ref(),
            Self::Renewal(renewal) => renewal.encryption_spki.as_ref(),
            Self::Reassociation(reassociation) => reassociation.encryption_spki.as_ref(),
            _ => None,
        }
    }

    /// The certificate authority by which it says that its certificate was issued.
    pub(crate) const fn issuer(&self) -> Option<&CertificateId> {
        match self {
            Self::Enrolment(enrolment) => enrolment.issuer.as_ref(),
            Self::Renewal(renewal) => renewal.issuer.as_ref(),
            Self::Reassociation(reassociation) => reassociation.issuer.as_ref(),
            _ => None,
        }
    }

    /// SHA-256 of every SubjectPublicKeyInfo that it gives to its subject. REG-7.
    pub fn spkis(&self) -> Vec<Digest> {
        let signs = self.key().map(|key| key.spki_sha256);
        let encryption = match self {
            Self::Node(node) => Some(Digest::of(&[&node.encryption_spki])),
            other => other.encryption_spki().map(|spki| Digest::of(&[spki])),
        };
        let tls = match self {
            Self::Node(node) => Some(node.tls_spki_sha256),
            Self::Endpoint(endpoint) => Some(endpoint.tls_spki_sha256),
            _ => None,
        };
        let gossip = match self {
            Self::Node(node) => node.gossip,
            Self::Endpoint(endpoint) => endpoint.gossip,
            _ => None,
        };
        let gossip = gossip.map(|gossip| gossip.spki_sha256());
        [signs, encryption, tls, gossip].into_iter().flatten().collect()
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

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (5, "officer"),
            (6, "suspension"),
            (7, "lifting"),
            (8, "renewal"),
            (9, "re-association"),
            (10, "veto"),
            (11, "endpoint"),
            (12, "certificate-authority"),
            (13, "retirement"),
            (14, "publication"),
            (15, "attribute"),
            (16, "delegation"),
            (17, "policy-change"),
            (18, "state-root"),
            (19, "continuation"),
        ];
        assert_eq!(kinds, expected);
        assert_eq!(Kind::from_number(20), None);
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
