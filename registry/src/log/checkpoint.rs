//! Checkpoints (C2SP tlog-checkpoint): what a log says of itself, and who has seen it. SPEC §9.6, LOG-4, LOG-5.

use basoche_protocol::id::Digest;
use basoche_protocol::journal::RegistryHead;
use basoche_protocol::text::{b64_decode, b64_encode};
use basoche_protocol::time::Instant;
use basoche_protocol::tree::{Frontier, empty_root};
use thiserror::Error;

use super::note::{Key, KeyKind, Note, NoteError};
use crate::anchor::is_origin;

/// A note that is no checkpoint, or not one of that log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// The note itself.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text is not an origin, a size and a root on three lines.
    #[error("the text is not an origin, a decimal size and the base64 of a root, and nothing more")]
    Text,
    /// The size is larger than any tree, or zero with another root than that of nothing.
    #[error("no tree of {size} leaves has that root")]
    Impossible {
        /// As written.
        size: u64,
    },
    /// It is of another log.
    #[error("it is a checkpoint of {found}, not of {expected}")]
    OtherLog {
        /// Whose it should be.
        expected: String,
        /// Whose it is.
        found: String,
    },
}

/// A checkpoint that its log has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    head: RegistryHead,
    note: Note,
}

/// When a cosigner saw a checkpoint, by its own clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The cosigner's key.
    pub by: Key,
    /// To the second.
    pub at: Instant,
}

/// What another copy of a checkpoint had that this one lacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Merged {
    /// Nothing.
    Nothing,
    /// The same witnesses have seen it again, later.
    LaterTimes,
    /// Other witnesses have seen it too.
    Witnesses,
}

impl Checkpoint {
    /// The text of the checkpoint of `head`: origin, size, root.
    pub fn text(head: &RegistryHead) -> String {
        format!(
            "{}\n{}\n{}\n",
            head.origin,
            head.size,
            b64_encode(head.root.as_bytes())
        )
    }

    /// Reads the text of a checkpoint. Extension lines, which C2SP advises against, are refused.
    pub fn head_of(text: &str) -> Result<RegistryHead, CheckpointError> {
        let head = || {
            let [origin, size, root] = text
                .strip_suffix('\n')?
                .split('\n')
                .collect::<Vec<_>>()
                .try_into()
                .ok()?;
            let root: [u8; 32] = b64_decode(root)?.try_into().ok()?;
            Some(RegistryHead {
                origin: Some(origin).filter(|origin| is_origin(origin))?.to_owned(),
                size: decimal(size)?,
                root: Digest::new(root),
            })
        };
        let head: RegistryHead = head().ok_or(CheckpointError::Text)?;
        let is_nothing = *head.root.as_bytes() == empty_root();
        if head.size > Frontier::MAX_RESTORED_SIZE || (head.size == 0) != is_nothing {
            return Err(CheckpointError::Impossible { size: head.size });
        }
        Ok(head)
    }

    /// The checkpoint in `note`, if one of `keys` is that of its log and has signed it. The name of a log's key is
    /// the log's origin.
    pub fn open(note: Note, keys: &[Key]) -> Result<Self, CheckpointError> {
        let head = Self::head_of(note.text())?;
        let of_the_log = |key: &&Key| key.kind() == KeyKind::Log && key.name() == head.origin;
        let mut signed = false;
        for key in keys.iter().filter(of_the_log) {
            signed |= note.signed_by(key)?.is_some();
        }
        if !signed {
            let name = head.origin;
            return Err(NoteError::NotSigned { name }.into());
        }
        Ok(Self { head, note })
    }

    /// How far the log goes, by its own word.
    pub fn head(&self) -> &RegistryHead {
        &self.head
    }

    /// The note.
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// Which of `cosigners` have seen it, in their order. One whose line does not verify spoils it.
    pub fn seen_by<'a>(&self, cosigners: impl IntoIterator<Item = &'a Key>) -> Result<Vec<Seen>, NoteError> {
        let mut seen = Vec::new();
        for by in cosigners {
            if let Some(at) = self
                .note
                .signed_by(by)?
                .filter(|_| by.kind() == KeyKind::Cosigner)
            {
                let by = by.clone();
                seen.push(Seen { by, at });
            }
        }
        Ok(seen)
    }

    /// The same checkpoint with the lines of its log and of `cosigners` alone, as far as they verify: what strangers add to
    /// a note takes nobody's place.
    pub fn pruned(&self, keys: &[Key], cosigners: &[Key]) -> Result<Self, CheckpointError> {
        let mut note = Note::new(self.note.text().to_owned())?;
        for key in keys.iter().filter(|key| key.name() == self.head.origin) {
            if let Some(line) = self.note.line_of(key) {
                note.add(line.clone())?;
            }
        }
        let mut pruned = Self::open(note, keys)?;
        pruned.merge(&self.note, cosigners);
        Ok(pruned)
    }

    /// Takes over the lines of `cosigners` from another copy of the same checkpoint: those that this one lacks, and later ones of
    /// the same. Lines that do not verify are left where they are. This one's own lines are taken to be checked: see
    /// [`Self::pruned`].
    pub fn merge<'a>(&mut self, other: &Note, cosigners: impl IntoIterator<Item = &'a Key>) -> Merged {
        let mut merged = Merged::Nothing;
        if other.text() != self.note.text() {
            return merged;
        }
        for key in cosigners {
            let (ours, Some(line)) = (self.note.line_of(key), other.line_of(key)) else {
                continue;
            };
            if ours == Some(line) {
                continue;
            }
            let (Ok(Some(at)), Ok(before)) = (other.signed_by(key), self.note.signed_by(key)) else {
                continue;
            };
            let worth = match before {
                None => Merged::Witnesses,
                Some(before) if before < at => Merged::LaterTimes,
                Some(_) => continue,
            };
            if self.note.add(line.clone()).is_ok() {
                merged = merged.max(worth);
            }
        }
        merged
    }
}

/// A decimal number without sign or leading zeros.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}
