//! `basoche document …`

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use basoche_protocol::crypto::Sha256;
use basoche_protocol::document::plaintext_commitment;
use basoche_protocol::id::{Digest, MessageId, SubjectId};
use basoche_protocol::message::{Body, ExhibitDeposit, Opening};
use basoche_protocol::role::Class;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::act::{Act, ActArgs, Lodged, message_id, show, subject_id, tell_waits};
use super::fault::exit;
use super::person::sign;
use super::personal::{Readable, Readers, WithoutKey, seal, tell_members};
use super::{Fault, Output};
use crate::control::Request;
use crate::desk::{Level, WaitView};
use crate::files::{directory_of, sync_dir, unique_name};

/// Lodge and open documents.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Lodge a file as an exhibit: every participant gets it (CPC art. 16, 275).
    Deposit {
        #[command(flatten)]
        act: ActArgs,
        /// What it is; the file's name by default.
        #[arg(long)]
        title: Option<String>,
        /// Its number on your list (bordereau).
        #[arg(long, default_value_t = 1)]
        number: u64,
        #[command(flatten)]
        audience: Audience,
        /// The file.
        file: PathBuf,
    },
    /// Open a document: the opening is signed and dated before the first byte is given out.
    Open {
        #[command(flatten)]
        act: ActArgs,
        /// The message that brought it.
        #[arg(long, value_parser = message_id)]
        deposit: MessageId,
        /// Where to write it; never replaces a file.
        #[arg(long, short)]
        out: PathBuf,
    },
    /// Hand the key of a personal document, which you can open, on to further persons.
    Grant {
        #[command(flatten)]
        act: ActArgs,
        /// The message that brought it.
        #[arg(long, value_parser = message_id)]
        deposit: MessageId,
        /// To whom; may be given several times.
        #[arg(long, required = true, value_name = "PERSON", value_parser = subject_id)]
        to: Vec<SubjectId>,
    },
}

/// For whom a document is.
#[derive(Args)]
pub(super) struct Audience {
    /// member: every member node, and so its operator; personal: persons only, and no node. Member by default, and
    /// personal for health data.
    #[arg(long, value_parser = class)]
    class: Option<Class>,
    /// It is health data (données de santé).
    #[arg(long)]
    health: bool,
    /// Of a personal document: only for this person and yourself, instead of everybody in the roster who has an
    /// encryption key; may be given several times.
    #[arg(long, value_name = "PERSON", value_parser = subject_id)]
    to: Vec<SubjectId>,
}

impl Audience {
    /// The class that was said, else the one that goes with the content.
    fn class(&self) -> Result<Class, Fault> {
        let usual = if self.health {
            Class::Personal
        } else {
            Class::Member
        };
        match self.class.unwrap_or(usual) {
            Class::Member if !self.to.is_empty() => Err(Fault::usage("--to is for a personal document")
                .action("Add --class personal, or leave --to out: every member node gets it.")),
            class => Ok(class),
        }
    }
}

fn class(text: &str) -> Result<Class, String> {
    Class::from_name(text).ok_or_else(|| "a class is member or personal".into())
}

/// The answer to a deposit. DESIGN §12.
#[derive(Serialize)]
struct Deposited {
    v: u64,
    message: MessageId,
    document: Digest,
    bytes: u64,
    level: Level,
    class: Class,
    /// Who can open a personal document.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recipients: Vec<SubjectId>,
    /// Who of the roster cannot, for want of an encryption key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    without_key: Vec<WithoutKey>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waits: Vec<WaitView>,
}

/// The answer to an opening.
#[derive(Serialize)]
struct Opened {
    v: u64,
    opening: MessageId,
    document: Digest,
    bytes: u64,
    file: String,
}

pub(super) fn run(command: Command, output: &Output) -> Result<ExitCode, Fault> {
    match command {
        Command::Deposit {
            act,
            title,
            number,
            audience,
            file,
        } => deposit(&act.open()?, title, number, &audience, &file, output),
        Command::Open { act, deposit, out } => open(&act.open()?, deposit, &out, output),
        Command::Grant { act, deposit, to } => act.open()?.run(output, |act| {
            let readable = Readable::find(act, deposit, None)?;
            readable.grant(act, deposit, &Readers::named(act, &to)?)
        }),
    }
}

fn deposit(
    act: &Act,
    title: Option<String>,
    number: u64,
    audience: &Audience,
    file: &Path,
    output: &Output,
) -> Result<ExitCode, Fault> {
    let class = audience.class()?;
    let mut readers = None;
    let (lodged, document, bytes) = match act.earlier()? {
        Some(lodged) => {
            let message = lodged.message;
            let view = show(&act.client, act.dossier)?;
            let found = view.documents.iter().find(|one| one.deposit == message);
            let found = found.ok_or_else(|| {
                Fault::new(
                    exit::REFUSED,
                    "key-taken",
                    "this key names a message without a document",
                    "--id",
                )
            })?;
            let sha256 = sha256(file)?;
            let commitment = plaintext_commitment(found.plaintext_salt.as_bytes(), &sha256);
            if commitment != *found.plaintext_commitment.as_bytes() {
                let what = format!(
                    "this key names message {message}, which brought {}: another content",
                    found.name
                );
                return Err(
                    Fault::new(exit::REFUSED, "key-taken", what, "--id").action("Choose another key.")
                );
            }
            (lodged, found.root, found.bytes)
        }
        None => {
            let role = act.role()?;
            let document = match class {
                Class::Personal => {
                    let chosen = readers.insert(Readers::choose(act, &audience.to)?);
                    chosen.tell(output);
                    seal(act, file, chosen, output)?
                }
                Class::Member => {
                    if audience.health {
                        tell_members(act, output)?;
                    }
                    act.ingest(file, output)?
                }
            };
            let (root, bytes) = (document.root, document.bytes);
            let title = title.unwrap_or_else(|| document.name.clone());
            let body = Body::ExhibitDeposit(ExhibitDeposit {
                ext: None,
                number,
                title,
                document,
            });
            (act.submit(role, body)?, root, bytes)
        }
    };
    let Lodged {
        message,
        level,
        waits,
        ..
    } = lodged;
    tell_waits(output, &waits);
    output.answer(
        &Deposited {
            v: 1,
            message,
            document,
            bytes,
            level,
            class,
            recipients: readers.as_ref().map(Readers::subjects).unwrap_or_default(),
            without_key: readers.map(|readers| readers.without_key).unwrap_or_default(),
            waits,
        },
        || {
            let level = format!("{level:?}").to_lowercase();
            format!("{} ({bytes} bytes) is {level}: message {message}", file.display())
        },
    );
    Ok(act.waited(level))
}

fn open(act: &Act, deposit: MessageId, out: &Path, output: &Output) -> Result<ExitCode, Fault> {
    let view = show(&act.client, act.dossier)?;
    let document = view
        .documents
        .iter()
        .find(|one| one.deposit == deposit)
        .ok_or_else(|| {
            let message = format!("message {deposit} brought no document to this dossier");
            Fault::new(exit::REFUSED, "unknown-reference", message, "--deposit")
        })?;
    // Who has no key signs no opening.
    let personal = match document.class {
        Class::Member => None,
        Class::Personal => Some(Readable::find(act, deposit, Some(document.root))?),
    };
    let body = Body::Opening(Opening {
        ext: None,
        deposit,
        root: document.root,
        reader: act.wallet.subject,
    });
    let (opening, id) = sign(&act.wallet, act.role()?, Some(act.dossier), body)?;
    let request = Request::Open {
        dossier: act.dossier,
        deposit,
        root: document.root,
        opening,
    };
    let bytes = match personal {
        Some(readable) => readable.save(act, &request, out, output)?,
        None => save(out, |file| {
            let bar = output.bytes(&document.name, document.bytes);
            let done = act.client.download(&request, &mut bar.wrap_write(file));
            bar.finish_and_clear();
            Ok(done?)
        })?,
    };
    let answer = Opened {
        v: 1,
        opening: id,
        document: document.root,
        bytes,
        file: out.display().to_string(),
    };
    output.answer(&answer, || {
        format!("{} opened into {} ({bytes} bytes)", document.name, out.display())
    });
    Ok(ExitCode::SUCCESS)
}

/// SHA-256 of a file.
fn sha256(file: &Path) -> Result<[u8; 32], Fault> {
    let unreadable = |error: std::io::Error| Fault::unreadable(file, &error);
    let mut source = std::fs::File::open(file).map_err(unreadable)?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match source.read(&mut piece).map_err(unreadable)? {
            0 => return Ok(hash.finish()),
            length => hash.update(&piece[..length]),
        }
    }
}

/// Writes a file whole or not at all, and never over another.
pub(super) fn save(
    out: &Path,
    fill: impl FnOnce(&mut std::fs::File) -> Result<u64, Fault>,
) -> Result<u64, Fault> {
    let unwritable = |error: std::io::Error| Fault::unwritable(out, &error);
    if out.exists() {
        return Err(Fault::new(
            exit::CANNOT_WRITE,
            "exists",
            format!("{} exists already", out.display()),
            out.display(),
        )
        .action("Choose another name."));
    }
    let staged = directory_of(out).join(unique_name(".basoche-").map_err(unwritable)?);
    let mut file = std::fs::File::create_new(&staged).map_err(unwritable)?;
    let filled = fill(&mut file).and_then(|bytes| {
        file.flush().and_then(|()| file.sync_all()).map_err(unwritable)?;
        std::fs::hard_link(&staged, out).map_err(unwritable)?;
        Ok(bytes)
    });
    // Whatever happened, only a whole file keeps a name.
    let _ = std::fs::remove_file(&staged);
    let bytes = filled?;
    sync_dir(directory_of(out)).map_err(unwritable)?;
    Ok(bytes)
}
