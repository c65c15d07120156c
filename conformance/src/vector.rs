//! Vectors: one case in one JSON file. SPEC §13.1.

use std::path::{Path, PathBuf};
use std::{fs, io};

use basoche_protocol::text::{hex_decode, hex_encode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What the bytes of a vector are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// An envelope whose `typ` is a message.
    Envelope,
    /// A compact JWS, ASCII.
    Jws,
    /// A sealed envelope.
    Sealed,
    /// A key wrap: a compact JWE, ASCII.
    Wrap,
    /// Any CBOR, for the scanner alone.
    Cbor,
    /// A journal entry.
    Entry,
    /// An envelope whose `typ` is a head.
    Head,
    /// A frame.
    Frame,
    /// A parcel at a mailbox.
    Parcel,
    /// An envelope whose `typ` is a mailbox's receipt.
    Receipt,
    /// A request about mailboxes.
    Request,
}

/// How far bytes came. SPEC §13.1 says which checks each stage holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Canonical and of the right outer shape.
    Decode,
    /// The protected header.
    Header,
    /// The payload and its body.
    Payload,
    /// Claimed time, certificate, signature, author, role.
    Signature,
    /// The procedure, on an empty dossier.
    Decide,
    /// The seal.
    Open,
    /// The key wrap.
    Wrap,
}

/// One case: bytes, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// The format of this file, 1.
    pub v: u64,
    /// What the bytes are.
    pub what: What,
    /// What the case shows.
    pub comment: String,
    /// The stage that they reach, or at which they are refused.
    pub stage: Stage,
    /// The refusal; absent if they are accepted.
    pub code: Option<String>,
    /// The bytes, in lower-case hexadecimal.
    pub bytes: String,
}

impl Vector {
    /// A case of these bytes.
    #[must_use]
    pub fn new(what: What, comment: &str, stage: Stage, code: Option<&str>, bytes: &[u8]) -> Self {
        Self {
            v: 1,
            what,
            comment: comment.to_owned(),
            stage,
            code: code.map(str::to_owned),
            bytes: hex_encode(bytes),
        }
    }

    /// The bytes; `None` if they are not lower-case hexadecimal.
    #[must_use]
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        hex_decode(&self.bytes)
    }

    /// The file's text.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Unwrap safety: strings and numbers only.
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        text + "\n"
    }
}

/// A vector and the name of its file, `group/accept_x` or `group/refuse_x`.
pub type Named = (String, Vector);

/// Why the vectors cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The folder or a file cannot be read.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is not a vector.
    #[error("{path} is not a vector: {error}")]
    Json {
        /// Which.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
}

/// Every vector below `folder`, ascending by name.
///
/// # Errors
/// [`ReadError`], for the first file that cannot be read.
pub fn read_all(folder: &Path) -> Result<Vec<Named>, ReadError> {
    let mut vectors = Vec::new();
    for group in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        for path in entries(&group)? {
            let text = fs::read_to_string(&path).map_err(|error| file_error(&path, error))?;
            let vector = serde_json::from_str(&text).map_err(|error| ReadError::Json {
                path: path.clone(),
                error,
            })?;
            let name = path.strip_prefix(folder).unwrap_or(&path).with_extension("");
            vectors.push((name.to_string_lossy().into_owned(), vector));
        }
    }
    vectors.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(vectors)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let list = fs::read_dir(folder).map_err(|error| file_error(folder, error))?;
    list.map(|entry| Ok(entry.map_err(|error| file_error(folder, error))?.path()))
        .collect()
}

fn file_error(path: &Path, error: io::Error) -> ReadError {
    ReadError::File {
        path: path.to_path_buf(),
        error,
    }
}
