//! A witness (C2SP tlog-witness): remembers the largest tree of each log, and cosigns what extends it. SPEC §9.6,
//! LOG-10.
//!
//! ```text
//! let cosign = witness.handle_add_checkpoint(&request, &log_keys)?;   // checked, and remembered
//! // keep cosign.head() for good, then sign, then answer: never in another order
//! ```

use std::collections::BTreeMap;

use basoche_protocol::id::Digest;
use basoche_protocol::journal::RegistryHead;
use basoche_protocol::text::{b64_decode, b64_encode};
use basoche_protocol::tree::{Hash, verify_consistency};
use thiserror::Error;

use super::checkpoint::{Checkpoint, CheckpointError, decimal};
use super::note::{Key, NOTE_BYTES, Note};

/// Hashes of a request.
const PATH: usize = 63;
/// Bytes of a request.
const REQUEST_BYTES: usize = NOTE_BYTES + 64 * 48;

/// Why a witness does not cosign. The numbers are the HTTP status codes of C2SP.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// 400: the request cannot be read, or `old` is larger than the checkpoint.
    #[error("not a request to add a checkpoint")]
    BadRequest,
    /// 404: the witness knows no such log.
    #[error("the log is not known here")]
    UnknownLog,
    /// 403: the log has not signed the checkpoint.
    #[error(transparent)]
    Unsigned(CheckpointError),
    /// 409: the witness has seen another size than the one from which the proof starts.
    #[error("the largest checkpoint seen has {size} leaves")]
    Conflict {
        /// The size seen.
        size: u64,
    },
    /// 422: the checkpoint does not extend what was seen.
    #[error("the checkpoint does not extend the one seen")]
    Inconsistent,
}

impl Refusal {
    /// The HTTP status code.
    pub const fn status(&self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::UnknownLog => 404,
            Self::Unsigned(_) => 403,
            Self::Conflict { .. } => 409,
            Self::Inconsistent => 422,
        }
    }
}

/// What a log asks of a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness saw last, as far as the log knows.
    pub old: u64,
    /// From there to the checkpoint.
    pub path: Vec<Hash>,
    /// The checkpoint, signed by its log.
    pub checkpoint: Note,
}

impl AddCheckpoint {
    /// The request's body.
    pub fn encode(&self) -> String {
        let path: String = self.path.iter().map(|hash| b64_encode(hash) + "\n").collect();
        format!("old {}\n{path}\n{}", self.old, self.checkpoint.encode())
    }

    /// Reads a body.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let body = str::from_utf8(body)
            .ok()
            .filter(|body| body.len() <= REQUEST_BYTES)?;
        let (lines, checkpoint) = body.split_once("\n\n")?;
        let mut lines = lines.split('\n');
        let old = lines.next()?.strip_prefix("old ").and_then(decimal)?;
        let path: Vec<Hash> = lines
            .map(|line| b64_decode(line)?.try_into().ok())
            .collect::<Option<_>>()?;
        let checkpoint = Note::parse(checkpoint.as_bytes()).ok()?;
        (path.len() <= PATH).then_some(Self {
            old,
            path,
            checkpoint,
        })
    }
}

/// The largest checkpoint of each log that this witness has cosigned.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    seen: BTreeMap<String, (u64, Digest)>,
}

impl Witness {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes back what it had seen before a restart.
    pub fn restore(&mut self, head: RegistryHead) {
        self.seen.insert(head.origin, (head.size, head.root));
    }

    /// The log goes on under another key, as if it were another one: of the one before nothing more is cosigned. REG-30.
    pub fn begin_anew(&mut self, origin: &str) {
        self.seen.remove(origin);
    }

    /// The largest size seen of a log; 0 where nothing was.
    pub fn size(&self, origin: &str) -> u64 {
        self.seen.get(origin).map_or(0, |(size, _)| *size)
    }

    /// Checks `request`, and remembers its checkpoint as seen. `logs` are the keys of the logs that it watches. The
    /// caller keeps the head for good before it signs; if it cannot, the witness must end.
    pub fn handle_add_checkpoint(
        &mut self,
        request: &AddCheckpoint,
        logs: &[Key],
    ) -> Result<Checkpoint, Refusal> {
        let head = Checkpoint::head_of(request.checkpoint.text()).map_err(|error| match error {
            CheckpointError::Impossible { .. } => Refusal::Inconsistent,
            _ => Refusal::BadRequest,
        })?;
        if !logs.iter().any(|key| key.name() == head.origin) {
            return Err(Refusal::UnknownLog);
        }
        let checkpoint = Checkpoint::open(request.checkpoint.clone(), logs).map_err(Refusal::Unsigned)?;
        if request.old > head.size {
            return Err(Refusal::BadRequest);
        }
        let seen = self.seen.get(&head.origin);
        let size = seen.map_or(0, |(size, _)| *size);
        if request.old != size {
            return Err(Refusal::Conflict { size });
        }
        let extends = match seen.filter(|(size, _)| *size > 0) {
            None => request.path.is_empty(),
            Some((size, root)) => {
                let (old, new) = (root.as_bytes(), head.root.as_bytes());
                verify_consistency(*size, head.size, old, new, &request.path).is_ok()
            }
        };
        if !extends {
            return Err(Refusal::Inconsistent);
        }
        self.restore(head);
        Ok(checkpoint)
    }
}
