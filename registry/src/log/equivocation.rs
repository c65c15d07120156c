//! Equivocation: two checkpoints that one log has signed and that no append-only log can have. SPEC §9.6, LOG-9.
//!
//! The larger tree is asked for the root over its first leaves, as many as the smaller one has. That this is what it
//! says stands in its own root (a consistency proof); if the smaller checkpoint says something else, the log has signed
//! both. An honest log cannot be accused: its larger tree begins with its smaller one, and a proof of anything else would
//! be a collision of SHA-256.

use basoche_protocol::error::Malformed;
use basoche_protocol::id::Digest;
use basoche_protocol::journal::RegistryHead;
use basoche_protocol::tree::{ProofError, verify_consistency};
use basoche_protocol::wire::codec;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::checkpoint::{Checkpoint, CheckpointError};
use super::note::{Key, NOTE_BYTES, Note, NoteError};

/// Bytes of a proof: two notes, and a path of at most 64 hashes.
const PROOF_BYTES: usize = 2 * NOTE_BYTES + 4096;

/// Why the proof does not show that a log contradicted itself.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Innocent {
    /// A checkpoint is none, or its log has not signed it.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// They are of two logs.
    #[error("the checkpoints are of two logs")]
    TwoLogs,
    /// The larger tree does not begin with the leaves that the proof says.
    #[error("the larger tree does not begin so: {0}")]
    Path(#[from] ProofError),
    /// The larger tree begins with the smaller one.
    #[error("the checkpoints agree")]
    Consistent,
}

impl From<NoteError> for Innocent {
    fn from(error: NoteError) -> Self {
        Self::Checkpoint(error.into())
    }
}

/// What proves to anybody who knows a log's key that the log has signed two histories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equivocation {
    smaller: Note,
    larger: Note,
    /// The root over the first leaves of the larger tree, as many as the smaller one has.
    begins: Digest,
    /// From `begins` to the larger root, RFC 9162 §2.1.4.
    path: Vec<Digest>,
}

/// The proof as encoded. Keys are positions: append only.
#[derive(Serialize, Deserialize)]
struct Parts {
    smaller: String,
    larger: String,
    begins: Digest,
    path: Vec<Digest>,
}

impl Equivocation {
    /// The proof from two checkpoints of one log, `begins` and `path` being how the larger tree begins. It is not
    /// verified.
    pub fn new(smaller: &Checkpoint, larger: &Checkpoint, begins: Digest, path: Vec<Digest>) -> Self {
        Self {
            smaller: smaller.note().clone(),
            larger: larger.note().clone(),
            begins,
            path,
        }
    }

    /// The log that it is about, as the first line of the smaller checkpoint names it.
    pub fn origin(&self) -> &str {
        self.smaller.text().lines().next().unwrap_or_default()
    }

    /// Canonical CBOR.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&Parts {
            smaller: self.smaller.encode(),
            larger: self.larger.encode(),
            begins: self.begins,
            path: self.path.clone(),
        })
    }

    /// Reads the canonical bytes. Nothing is verified.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let parts: Parts = codec::decode(bytes, PROOF_BYTES)?;
        let note = |text: &str| Note::parse(text.as_bytes()).map_err(|_| Malformed::bad_value());
        Ok(Self {
            smaller: note(&parts.smaller)?,
            larger: note(&parts.larger)?,
            begins: parts.begins,
            path: parts.path,
        })
    }

    /// The two heads that one of the log's keys among `keys` has signed and that contradict each other, the smaller
    /// first.
    pub fn verify(&self, keys: &[Key]) -> Result<(RegistryHead, RegistryHead), Innocent> {
        let smaller = Checkpoint::open(self.smaller.clone(), keys)?;
        let larger = Checkpoint::open(self.larger.clone(), keys)?;
        let (smaller, larger) = (smaller.head(), larger.head());
        if smaller.origin != larger.origin {
            return Err(Innocent::TwoLogs);
        }
        let path: Vec<_> = self.path.iter().map(|hash| *hash.as_bytes()).collect();
        verify_consistency(
            smaller.size,
            larger.size,
            self.begins.as_bytes(),
            larger.root.as_bytes(),
            &path,
        )?;
        if self.begins == smaller.root {
            return Err(Innocent::Consistent);
        }
        Ok((smaller.clone(), larger.clone()))
    }
}
