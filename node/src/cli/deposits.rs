//! `basoche document deposit` of many files: small ones together, each with a message of its own.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use basoche_protocol::id::{Digest, MessageId, SubjectId};
use basoche_protocol::message::{Body, DocumentRef, ExhibitDeposit};
use basoche_protocol::role::{Class, Role};
use serde::Serialize;

use super::act::{Act, Lodging, media_type, name_of, show, tell_waits, unexpected};
use super::document::{Audience, same_content, sha256};
use super::person::sign;
use super::personal::{Readers, WithoutKey, seal};
use super::{Fault, Output};
use crate::control::{Answer, BATCH, ClientError, LINE_BYTES, NewDocument, Request};
use crate::desk::{DossierView, Level, WaitView};
use crate::documents::{BATCH_BYTES, SMALL_BYTES};

/// The answer to a deposit of many files.
#[derive(Serialize)]
struct Deposited {
    v: u64,
    documents: Vec<One>,
    bytes: u64,
    level: Level,
    class: Class,
    /// Who can open personal documents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recipients: Vec<SubjectId>,
    /// Who of the roster cannot, for want of an encryption key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    without_key: Vec<WithoutKey>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waits: Vec<WaitView>,
}

#[derive(Serialize)]
struct One {
    number: u64,
    name: String,
    message: MessageId,
    document: Digest,
    bytes: u64,
}

/// A file to be lodged.
struct Piece<'a> {
    path: &'a Path,
    name: String,
    number: u64,
    bytes: u64,
}

/// Bytes of the envelopes that are submitted together, about: half of what a request may be.
const ENVELOPES: usize = LINE_BYTES / 2;

pub(super) fn deposit(
    act: &Act,
    number: u64,
    audience: &Audience,
    given: &[PathBuf],
    output: &Output,
) -> Result<ExitCode, Fault> {
    let class = audience.class()?;
    let paths = files_of(given)?;
    let mut pieces = Vec::new();
    for (path, number) in paths.iter().zip(number..) {
        let metadata = std::fs::metadata(path).map_err(|error| Fault::unreadable(path, &error))?;
        if !metadata.is_file() {
            return Err(Fault::usage(format!("{} is not a file", path.display())));
        }
        let (name, bytes) = (name_of(path)?.to_owned(), metadata.len());
        pieces.push(Piece {
            path,
            name,
            number,
            bytes,
        });
    }
    let mut lodging = Deposit {
        act,
        role: act.role()?,
        output,
        view: None,
        done: Deposited {
            v: 1,
            documents: Vec::new(),
            bytes: 0,
            level: act.patience().0,
            class,
            recipients: Vec::new(),
            without_key: Vec::new(),
            waits: Vec::new(),
        },
    };
    let mut due = Vec::new();
    for piece in pieces {
        if !lodging.is_lodged(&piece)? {
            due.push(piece);
        }
    }
    if !due.is_empty() {
        match audience.readers(act, output)? {
            Some(readers) => lodging.seal_all(due, readers)?,
            None => lodging.lodge_all(due)?,
        }
    }
    let mut done = lodging.done;
    done.documents.sort_by_key(|one| one.number);
    tell_waits(output, &done.waits);
    output.answer(&done, || {
        let level = format!("{:?}", done.level).to_lowercase();
        format!(
            "{} documents ({} bytes) are {level}",
            done.documents.len(),
            done.bytes
        )
    });
    Ok(act.waited(done.level))
}

/// The files given, and those that lie in the directories given, by name.
fn files_of(given: &[PathBuf]) -> Result<Vec<PathBuf>, Fault> {
    let mut files = Vec::new();
    for path in given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unreadable = |error: std::io::Error| Fault::unreadable(path, &error);
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?.path();
            if entry.is_file() {
                inside.push(entry);
            }
        }
        inside.sort_unstable();
        files.extend(inside);
    }
    if files.is_empty() {
        return Err(Fault::usage("there is no file in what was named"));
    }
    Ok(files)
}

/// A deposit under way.
struct Deposit<'a> {
    act: &'a Act,
    role: Role,
    output: &'a Output,
    /// The dossier, once it is needed.
    view: Option<DossierView>,
    done: Deposited,
}

impl Deposit<'_> {
    /// Whether an earlier attempt has lodged a file under its key; it is the same file then.
    fn is_lodged(&mut self, piece: &Piece<'_>) -> Result<bool, Fault> {
        let Some(key) = self.act.key_of(&piece.name) else {
            return Ok(false);
        };
        let Some(message) = self.act.lodged_under(&key)? else {
            return Ok(false);
        };
        let view = match self.view.take() {
            Some(view) if view.documents.iter().any(|one| one.deposit == message) => view,
            _ => show(&self.act.client, self.act.dossier)?,
        };
        let view = self.view.insert(view);
        let found = view.documents.iter().find(|one| one.deposit == message);
        let found = found
            .ok_or_else(|| Fault::usage(format!("the key {key:?} names a message without a document")))?;
        same_content(found, &sha256(piece.path)?)?;
        self.done.documents.push(One {
            number: piece.number,
            name: piece.name.clone(),
            message,
            document: found.root,
            bytes: found.bytes,
        });
        self.done.bytes += found.bytes;
        Ok(true)
    }

    /// Encrypts each file for the readers, as a single one is, and submits their messages together.
    fn seal_all(&mut self, pieces: Vec<Piece<'_>>, readers: Readers) -> Result<(), Fault> {
        let (mut batch, mut documents) = (Vec::new(), Vec::new());
        for piece in pieces {
            documents.push(seal(self.act, Lodging::of(piece.path)?, &readers, self.output)?);
            batch.push(piece);
            if batch.len() == BATCH {
                self.submit(std::mem::take(&mut batch), std::mem::take(&mut documents))?;
            }
        }
        self.submit(batch, documents)?;
        self.done.recipients = readers.subjects();
        self.done.without_key = readers.without_key;
        Ok(())
    }

    /// Takes files in for the members: small ones together, each long one by itself.
    fn lodge_all(&mut self, pieces: Vec<Piece<'_>>) -> Result<(), Fault> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for piece in pieces {
            if piece.bytes > SMALL_BYTES {
                let document = self.act.ingest(piece.path, self.output)?;
                self.submit(vec![piece], vec![document])?;
                continue;
            }
            if batch.len() == BATCH || bytes + piece.bytes > BATCH_BYTES {
                self.lodge(std::mem::take(&mut batch))?;
                bytes = 0;
            }
            bytes += piece.bytes;
            batch.push(piece);
        }
        self.lodge(batch)
    }

    /// Takes small files in with one request, and submits their messages with another.
    fn lodge(&mut self, batch: Vec<Piece<'_>>) -> Result<(), Fault> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut plain = Vec::new();
        let mut files = Vec::new();
        for piece in &batch {
            let unreadable = |error: std::io::Error| Fault::unreadable(piece.path, &error);
            let before = plain.len();
            let mut file = std::fs::File::open(piece.path)
                .map_err(unreadable)?
                .take(piece.bytes + 1);
            file.read_to_end(&mut plain).map_err(unreadable)?;
            if (plain.len() - before) as u64 != piece.bytes {
                return Err(Fault::usage(format!(
                    "{} changes while it is read",
                    piece.path.display()
                )));
            }
            files.push(NewDocument {
                name: piece.name.clone(),
                media_type: media_type(piece.path).to_owned(),
                bytes: piece.bytes,
            });
        }
        let request = Request::IngestMany {
            dossier: self.act.dossier,
            files,
        };
        let bytes = plain.len() as u64;
        let answer = self.act.client.upload(&request, &mut plain.as_slice(), bytes)?;
        let Answer::IngestedMany { documents } = answer else {
            return Err(unexpected());
        };
        self.submit(batch, documents)
    }

    fn submit(&mut self, pieces: Vec<Piece<'_>>, documents: Vec<DocumentRef>) -> Result<(), Fault> {
        if pieces.len() != documents.len() {
            return Err(unexpected());
        }
        let (mut messages, mut named, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (piece, document) in pieces.into_iter().zip(documents) {
            let one = (piece.number, piece.name.clone(), document.root, document.bytes);
            let key = self.act.key_of(&piece.name);
            let body = Body::ExhibitDeposit(ExhibitDeposit {
                ext: None,
                number: piece.number,
                title: piece.name,
                document,
            });
            let (envelope, _) = sign(&self.act.wallet, self.role, Some(self.act.dossier), body)?;
            if bytes + envelope.len() > ENVELOPES {
                self.submit_signed(std::mem::take(&mut messages), std::mem::take(&mut named))?;
                bytes = 0;
            }
            bytes += envelope.len();
            messages.push((envelope, key));
            named.push(one);
        }
        self.submit_signed(messages, named)
    }

    fn submit_signed(
        &mut self,
        messages: Vec<(String, Option<String>)>,
        named: Vec<(u64, String, Digest, u64)>,
    ) -> Result<(), Fault> {
        if messages.is_empty() {
            return Ok(());
        }
        let (wait, patience_ms) = self.act.patience();
        let request = Request::SubmitMany {
            messages,
            wait,
            patience_ms,
        };
        let Answer::DepositedMany {
            outcomes,
            level,
            waits,
        } = self.act.client.ask(&request)?
        else {
            return Err(unexpected());
        };
        let mut refused = None;
        for ((number, name, document, bytes), outcome) in named.into_iter().zip(outcomes) {
            match outcome {
                Ok(message) => {
                    self.done.bytes += bytes;
                    self.done.documents.push(One {
                        number,
                        name,
                        message,
                        document,
                        bytes,
                    });
                }
                Err(failure) => refused = refused.or(Some((name, failure))),
            }
        }
        self.done.level = self.done.level.min(level);
        if self.done.waits.is_empty() {
            self.done.waits = waits;
        }
        let Some((name, mut failure)) = refused else {
            return Ok(());
        };
        let lodged = self.done.documents.len();
        self.output.note(&format!(
            "{lodged} documents are lodged; the rest is not, from {name} on"
        ));
        failure.message = format!("{name}: {}", failure.message);
        Err(ClientError::Failed(failure).into())
    }
}
