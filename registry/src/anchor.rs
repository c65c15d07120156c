//! Anchors: the authorities whom the user has decided to believe, with their root certificates. SPEC §9.1.
//!
//! The anchor file is the one thing that is not proved by anything else: it comes out of band.

use std::sync::Arc;

use basoche_protocol::jose::VerifyingKey;
use basoche_protocol::role::OrganisationKind;
use basoche_protocol::text::{b64url_decode, b64url_encode};
use basoche_protocol::wire::limits;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::certificate::{Certificate, CertificateError};

/// Bytes of an anchor file.
pub const ANCHOR_FILE_BYTES: usize = 256 * 1024;
/// Bytes of an origin.
pub const ORIGIN_BYTES: usize = 128;

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
}

/// An authority: one profession, one root key, one log.
#[derive(Clone, Debug)]
pub struct Authority {
    origin: Arc<str>,
    profession: OrganisationKind,
    certificate: Certificate,
    key: Arc<VerifyingKey>,
    test: bool,
}

impl Authority {
    /// The authority of that name; `certificate` is the DER of its root. `test` marks one that stands for nobody.
    pub fn new(
        origin: &str,
        profession: OrganisationKind,
        certificate: &[u8],
        test: bool,
    ) -> Result<Self, AnchorError> {
        let owned = || origin.to_owned();
        if !is_origin(origin) {
            return Err(AnchorError::Origin { origin: owned() });
        }
        let certificate = Certificate::from_der(certificate).map_err(|error| AnchorError::Certificate {
            origin: owned(),
            error,
        })?;
        let key = certificate
            .self_signed_key()
            .ok_or_else(|| AnchorError::NotARoot { origin: owned() })?;
        Ok(Self {
            origin: origin.into(),
            profession,
            certificate,
            key: Arc::new(key),
            test,
        })
    }

    /// The name of its log.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The one profession that it enrols.
    pub fn profession(&self) -> OrganisationKind {
        self.profession
    }

    /// Its root.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The root's key.
    pub fn key(&self) -> &VerifyingKey {
        &self.key
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
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    origin: String,
    profession: OrganisationKind,
    certificate: String,
    test: bool,
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
        Ok(Self { authorities })
    }

    pub(crate) fn only(authority: Authority) -> Self {
        Self {
            authorities: vec![authority],
        }
    }

    /// Reads an anchor file: `{"v":1,"authorities":[{"origin","profession","certificate","test"}]}`, the
    /// certificate in base64url, no other member anywhere.
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
        let read = |row: Row| {
            let Some(certificate) = b64url_decode(&row.certificate) else {
                return Err(AnchorError::Base64 { origin: row.origin });
            };
            Authority::new(&row.origin, row.profession, &certificate, row.test)
        };
        Self::new(file.authorities.into_iter().map(read).collect::<Result<_, _>>()?)
    }

    /// The anchor file.
    pub fn to_json(&self) -> String {
        let row = |authority: &Authority| Row {
            origin: authority.origin().to_owned(),
            profession: authority.profession,
            certificate: b64url_encode(authority.certificate.der()),
            test: authority.test,
        };
        let file = File {
            v: 1,
            authorities: self.authorities.iter().map(row).collect(),
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
