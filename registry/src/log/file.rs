//! Proof files (C2SP tlog-proof): that a leaf is in a log, in one text that anybody checks offline. SPEC §9.6, LOG-8.

use basoche_protocol::text::{b64_decode, b64_encode};
use basoche_protocol::tree::{Hash, ProofError, verify_inclusion};
use thiserror::Error;

use super::checkpoint::{Checkpoint, CheckpointError, decimal};
use super::note::{Key, NOTE_BYTES, Note, NoteError};

/// The first line.
const MAGIC: &str = "c2sp.org/tlog-proof@v1";
/// Hashes of a path, as in an `add-checkpoint` request.
const PATH: usize = 63;
/// Bytes of what an application adds.
const EXTRA_BYTES: usize = 64 * 1024;

/// A proof file that proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InclusionFileError {
    /// Not the lines of a proof file; the number is that of the first that is not, from 1.
    #[error("line {line} is not that of a proof file ({MAGIC})")]
    Line {
        /// Which.
        line: usize,
    },
    /// The checkpoint in it.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The path does not lead from the leaf to the root.
    #[error(transparent)]
    Path(#[from] ProofError),
}

impl From<NoteError> for InclusionFileError {
    fn from(error: NoteError) -> Self {
        Self::Checkpoint(error.into())
    }
}

/// A leaf's place in a log, the path from it, and the note to whose root the path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionFile {
    /// What the application adds; it is not covered by any signature.
    pub extra: Option<Vec<u8>>,
    /// The leaf's place, from 0.
    pub index: u64,
    /// From the leaf's sibling to the root's child.
    pub path: Vec<Hash>,
    /// The checkpoint, with the lines of all who signed it.
    pub checkpoint: Note,
}

impl InclusionFile {
    /// The file's text.
    pub fn encode(&self) -> String {
        let mut text = format!("{MAGIC}\n");
        if let Some(extra) = &self.extra {
            text += &format!("extra {}\n", b64_encode(extra));
        }
        text += &format!("index {}\n", self.index);
        for hash in &self.path {
            text += &format!("{}\n", b64_encode(hash));
        }
        text + "\n" + &self.checkpoint.encode()
    }

    /// Reads a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, InclusionFileError> {
        let mut reader = Lines { line: 0, rest: bytes };
        if reader.next()? != MAGIC {
            return Err(reader.fault());
        }
        let mut line = reader.next()?;
        let mut extra = None;
        if let Some(base64) = line.strip_prefix("extra ") {
            extra = Some(
                b64_decode(base64)
                    .filter(|extra| extra.len() <= EXTRA_BYTES)
                    .ok_or_else(|| reader.fault())?,
            );
            line = reader.next()?;
        }
        let index = line
            .strip_prefix("index ")
            .and_then(decimal)
            .ok_or_else(|| reader.fault())?;
        let mut path = Vec::new();
        loop {
            match reader.next()? {
                "" => break,
                _ if path.len() == PATH => return Err(reader.fault()),
                line => {
                    let hash = b64_decode(line).and_then(|bytes| bytes.try_into().ok());
                    path.push(hash.ok_or_else(|| reader.fault())?);
                }
            }
        }
        Ok(Self {
            extra,
            index,
            path,
            checkpoint: Note::parse(reader.rest)?,
        })
    }

    /// The checkpoint in which the leaf with hash `leaf` stands, signed by one of `logs`. Who has seen it is the
    /// caller's to ask.
    pub fn verify(&self, leaf: &Hash, logs: &[Key]) -> Result<Checkpoint, InclusionFileError> {
        let checkpoint = Checkpoint::open(self.checkpoint.clone(), logs)?;
        let head = checkpoint.head();
        verify_inclusion(leaf, self.index, head.size, &self.path, head.root.as_bytes())?;
        Ok(checkpoint)
    }
}

/// Lines of at most as many bytes as the largest that a file may have.
struct Lines<'a> {
    line: usize,
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a str, InclusionFileError> {
        self.line += 1;
        let within = &self.rest[..self.rest.len().min(EXTRA_BYTES * 4 / 3 + NOTE_BYTES)];
        let end = within
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or_else(|| self.fault())?;
        let line = str::from_utf8(&within[..end]).map_err(|_| self.fault())?;
        self.rest = &self.rest[end + 1..];
        Ok(line)
    }

    /// The line read last is not what it should be.
    const fn fault(&self) -> InclusionFileError {
        InclusionFileError::Line { line: self.line }
    }
}
