//! Anchors: the authorities whom the user has decided to believe, with their root certificates. SPEC §9.1.
//!
//! The anchor file is the one thing that is not proved by anything else: it comes out of band.

use std::collections::BTreeSet;
use std::sync::Arc;

use basoche_protocol::id::CertificateId;
use basoche_protocol::jose::VerifyingKey;
use basoche_protocol::role::OrganisationKind;
use basoche_protocol::text::{b64url_decode, b64url_encode};
use basoche_protocol::time::Instant;
use basoche_protocol::wire::limits;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::certificate::{Certificate, CertificateError};
use crate::entry::{Genesis, Roots};
use crate::log::{Key, KeyKind, Policy, PolicyError};
use crate::published::Published;

/// Bytes of an anchor file.
pub const ANCHOR_FILE_BYTES: usize = 256 * 1024;
/// Bytes of an origin.
pub const ORIGIN_BYTES: usize = 128;
/// Roots of one authority.
pub const ROOTS: usize = 9;

/// What is wrong with anchors, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AnchorError {
    /// Not JSON of the form of SPEC §9.1.
    #[error("anchor file, line {line}, column {column}: {message}")]
    Json {
        /// From 1.
        line: usize,
        /// From 1; 0 at the end of a line.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// Larger than [`ANCHOR_FILE_BYTES`].
    #[error("the anchor file is larger than {ANCHOR_FILE_BYTES} bytes")]
    TooLarge,
    /// Another version of the file.
    #[error("version {0} of the anchor file is not known here; this program reads version 1")]
    Version(u64),
    /// No authority, or more than [`limits::REGISTRIES`].
    #[error("the anchors name {0} authorities; from 1 to {max} are possible", max = limits::REGISTRIES)]
    Count(usize),
    /// Not lower-case letters, digits, `-`, `.` and `/`, or of an impossible length.
    #[error("{origin:?} is not an origin: lower-case letters, digits, '-', '.' and '/' only")]
    Origin {
        /// As written.
        origin: String,
    },
    /// Two authorities of one name.
    #[error("two authorities are named {origin}")]
    DuplicateOrigin {
        /// The name.
        origin: String,
    },
    /// The certificate is not base64url without padding.
    #[error("the certificate of {origin} is not base64url without padding")]
    Base64 {
        /// Whose.
        origin: String,
    },
    /// The certificate cannot be read.
    #[error("the certificate of {origin}: {error}")]
    Certificate {
        /// Whose.
        origin: String,
        /// Why.
        error: CertificateError,
    },
    /// A root must be self-signed under ES256.
    #[error("the certificate of {origin} is not self-signed under ES256")]
    NotARoot {
        /// Whose.
        origin: String,
    },
    /// Not a verifier key of a log of that name.
    #[error("the log key of {origin} is not a C2SP verifier key (Ed25519, type 1) named {origin}")]
    LogKey {
        /// Whose.
        origin: String,
    },
    /// The policy cannot be used.
    #[error("the {0}")]
    Policy(PolicyError),
    /// The policy asks for witnesses, and the authority has no log key whose checkpoints they could see.
    #[error("the policy asks for witnesses, and {origin} has no log key")]
    NoLogKey {
        /// Whose.
        origin: String,
    },
    /// All authorities of a federation have one policy.
    #[error("{origin} has another policy than the authorities before it")]
    OtherPolicy {
        /// Whose.
        origin: String,
    },
    /// A root stands twice, there are too many, or the threshold is not from 1 to their number.
    #[error(
        "{origin} has from 1 to {ROOTS} different roots, and a threshold of at least 1 and at most their number"
    )]
    Roots {
        /// Whose.
        origin: String,
    },
}

/// An authority: one profession, one log, and the root keys of which some must sign together.
#[derive(Clone, Debug)]
pub struct Authority {
    origin: Arc<str>,
    profession: OrganisationKind,
    /// Ascending by certificate; never empty.
    roots: Vec<Root>,
    threshold: usize,
    log_key: Option<Key>,
    /// Whose witnesses must have seen what it grants; `None` if it is nobody.
    policy: Option<Arc<Policy>>,
    test: bool,
}

/// A root certificate and its key.
#[derive(Clone, Debug)]
pub struct Root {
    /// Self-signed under ES256.
    pub certificate: Certificate,
    /// The key in it.
    pub key: Arc<VerifyingKey>,
}

impl Root {
    /// Whether its certificate covers `at`.
    pub fn covers(&self, at: Instant) -> bool {
        (self.certificate.not_before()..=self.certificate.not_after()).contains(&at)
    }
}

impl Authority {
    /// The authority of that name, with one root; `certificate` is its DER. `test` marks one that stands for nobody.
    pub fn new(
        origin: &str,
        profession: OrganisationKind,
        certificate: &[u8],
        test: bool,
    ) -> Result<Self, AnchorError> {
        Self::of_roots(origin, profession, &[certificate], 1, test)
    }

    /// The authority of that name, `threshold` of whose roots sign together; `certificates` are their DER.
    pub fn of_roots(
        origin: &str,
        profession: OrganisationKind,
        certificates: &[&[u8]],
        threshold: usize,
        test: bool,
    ) -> Result<Self, AnchorError> {
        let owned = || origin.to_owned();
        if !is_origin(origin) {
            return Err(AnchorError::Origin { origin: owned() });
        }
        let root = |der: &&[u8]| {
            let certificate = Certificate::from_der(der).map_err(|error| AnchorError::Certificate {
                origin: owned(),
                error,
            })?;
            let key = certificate
                .self_signed_key()
                .ok_or_else(|| AnchorError::NotARoot { origin: owned() })?;
            let key = Arc::new(key);
            Ok(Root { certificate, key })
        };
        let mut roots = certificates.iter().map(root).collect::<Result<Vec<_>, _>>()?;
        roots.sort_by_key(|root| root.certificate.id());
        let keys: BTreeSet<_> = roots.iter().map(|root| root.certificate.spki_sha256()).collect();
        if keys.len() != roots.len() || roots.len() > ROOTS || !(1..=roots.len()).contains(&threshold) {
            return Err(AnchorError::Roots { origin: owned() });
        }
        Ok(Self {
            origin: origin.into(),
            profession,
            roots,
            threshold,
            log_key: None,
            policy: None,
            test,
        })
    }

    /// The same authority, whose log is signed with `key`: one of the log's name.
    pub fn with_log_key(mut self, key: Key) -> Result<Self, AnchorError> {
        if key.kind() != KeyKind::Log || key.name() != &*self.origin {
            let origin = self.origin().to_owned();
            return Err(AnchorError::LogKey { origin });
        }
        self.log_key = Some(key);
        Ok(self)
    }

    /// The same authority, under a policy. Where that one asks for witnesses, the authority has a log key. REG-21.
    pub fn with_policy(mut self, policy: Arc<Policy>) -> Result<Self, AnchorError> {
        let asks = policy.asks();
        if asks && self.log_key.is_none() {
            let origin = self.origin().to_owned();
            return Err(AnchorError::NoLogKey { origin });
        }
        self.policy = Some(policy).filter(|_| asks);
        Ok(self)
    }

    /// The name of its log.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The one profession that it enrols.
    pub fn profession(&self) -> OrganisationKind {
        self.profession
    }

    /// Its roots, ascending by certificate; one at least.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// How many of its roots sign together.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// The root of that certificate.
    pub fn root(&self, certificate: &CertificateId) -> Option<&Root> {
        self.roots
            .iter()
            .find(|root| root.certificate.id() == *certificate)
    }

    /// What its genesis says: of its roots, nothing where it has one; of the policy, nothing where that asks for nobody.
    pub fn genesis(&self) -> Genesis {
        let roots = || Roots {
            threshold: self.threshold as u64,
            certificates: self.roots.iter().map(|root| root.certificate.id()).collect(),
        };
        Genesis {
            profession: self.profession,
            test: self.test,
            roots: (self.roots.len() > 1).then(roots),
            policy: self.policy.as_ref().map(|policy| policy.digest()),
        }
    }

    /// The key that signs the checkpoints of its log, if it publishes one.
    pub fn log_key(&self) -> Option<&Key> {
        self.log_key.as_ref()
    }

    /// Whose witnesses must have seen what it grants; `None` if it is nobody (*quorum d'essai*).
    pub fn policy(&self) -> Option<&Arc<Policy>> {
        self.policy.as_ref()
    }

    /// Its log, of which nothing is published yet; `None` where nobody need have seen it.
    pub(crate) fn published(&self) -> Option<Published> {
        Some(Published::new(self.policy.clone()?, self.log_key.clone()?))
    }

    /// Whether it exists for tests and demonstrations only.
    pub fn is_test(&self) -> bool {
        self.test
    }

    pub(crate) fn shared_origin(&self) -> Arc<str> {
        Arc::clone(&self.origin)
    }
}

/// The authorities believed, ascending by origin.
#[derive(Clone, Debug)]
pub struct Anchors {
    authorities: Vec<Authority>,
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    v: u64,
    authorities: Vec<Row>,
    /// C2SP tlog-policy: which witnesses must have seen what the authorities grant. Nobody, if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    origin: String,
    profession: OrganisationKind,
    certificate: String,
    /// Its other roots, if it has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    further_roots: Vec<String>,
    /// How many sign together; 1 if it is not said.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    threshold: usize,
    /// The verifier key of its log's checkpoints (C2SP `vkey`), if it publishes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    test: bool,
}

const fn one() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so.
const fn is_one(threshold: &usize) -> bool {
    *threshold == 1
}

impl Anchors {
    /// These authorities, whose origins must differ.
    pub fn new(mut authorities: Vec<Authority>) -> Result<Self, AnchorError> {
        if !(1..=limits::REGISTRIES).contains(&authorities.len()) {
            return Err(AnchorError::Count(authorities.len()));
        }
        authorities.sort_by(|a, b| a.origin.cmp(&b.origin));
        if let Some(pair) = authorities
            .windows(2)
            .find(|pair| pair[0].origin == pair[1].origin)
        {
            let origin = pair[0].origin().to_owned();
            return Err(AnchorError::DuplicateOrigin { origin });
        }
        let policy = authorities[0].policy.as_deref();
        if let Some(other) = authorities.iter().find(|one| one.policy.as_deref() != policy) {
            let origin = other.origin().to_owned();
            return Err(AnchorError::OtherPolicy { origin });
        }
        Ok(Self { authorities })
    }

    pub(crate) fn only(authority: Authority) -> Self {
        Self {
            authorities: vec![authority],
        }
    }

    /// Reads an anchor file: `{"v":1,"authorities":[{"origin","profession","certificate","further_roots"?,"threshold"?,
    /// "log"?,"test"}],"policy"?}`, certificates in base64url, no other member anywhere.
    pub fn parse(json: &[u8]) -> Result<Self, AnchorError> {
        if json.len() > ANCHOR_FILE_BYTES {
            return Err(AnchorError::TooLarge);
        }
        let file: File = serde_json::from_slice(json).map_err(|error| AnchorError::Json {
            line: error.line(),
            column: error.column(),
            message: error.to_string(),
        })?;
        if file.v != 1 {
            return Err(AnchorError::Version(file.v));
        }
        let policy = file.policy.map(|text| Policy::parse(text.as_bytes()));
        let policy = policy.transpose().map_err(AnchorError::Policy)?.map(Arc::new);
        let read = |row: Row| {
            let texts = [row.certificate].into_iter().chain(row.further_roots);
            let decoded: Option<Vec<_>> = texts.map(|text| b64url_decode(&text)).collect();
            let Some(certificates) = decoded else {
                return Err(AnchorError::Base64 { origin: row.origin });
            };
            let certificates: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
            let authority = Authority::of_roots(
                &row.origin,
                row.profession,
                &certificates,
                row.threshold,
                row.test,
            )?;
            let authority = match row.log {
                None => authority,
                Some(vkey) => {
                    let origin = row.origin;
                    let key = Key::parse(&vkey).ok_or(AnchorError::LogKey { origin })?;
                    authority.with_log_key(key)?
                }
            };
            match &policy {
                None => Ok(authority),
                Some(policy) => authority.with_policy(Arc::clone(policy)),
            }
        };
        Self::new(file.authorities.into_iter().map(read).collect::<Result<_, _>>()?)
    }

    /// The anchor file.
    pub fn to_json(&self) -> String {
        let row = |authority: &Authority| {
            let roots = authority.roots.iter();
            let mut certificates = roots.map(|root| b64url_encode(root.certificate.der()));
            Row {
                origin: authority.origin().to_owned(),
                profession: authority.profession,
                certificate: certificates.next().unwrap_or_default(),
                further_roots: certificates.collect(),
                threshold: authority.threshold,
                log: authority.log_key.as_ref().map(Key::to_string),
                test: authority.test,
            }
        };
        let file = File {
            v: 1,
            authorities: self.authorities.iter().map(row).collect(),
            policy: self.policy().map(|policy| policy.text().to_owned()),
        };
        // Unwrap safety: text, numbers and booleans in memory.
        #[allow(clippy::expect_used)]
        let mut json = serde_json::to_string_pretty(&file).expect("encoding to memory");
        json.push('\n');
        json
    }

    /// The authorities, ascending by origin.
    pub fn authorities(&self) -> &[Authority] {
        &self.authorities
    }

    /// Whose witnesses must have seen what the authorities grant; `None` if it is nobody (*quorum d'essai*).
    pub fn policy(&self) -> Option<&Policy> {
        self.authorities.first()?.policy.as_deref()
    }

    /// The authority of that name.
    pub fn authority(&self, origin: &str) -> Option<&Authority> {
        self.authorities
            .iter()
            .find(|authority| authority.origin() == origin)
    }
}

pub(crate) fn is_origin(text: &str) -> bool {
    (1..=ORIGIN_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'/'))
}
