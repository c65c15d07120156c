//! `basoche authority publish`: the log as files, under a checkpoint. SPEC §9.6, LOG-5 and LOG-11.

use std::path::Path;
use std::process::ExitCode;

use basoche_protocol::engine::Registry;
use basoche_protocol::id::Digest;
use basoche_protocol::journal::RegistryHead;
use basoche_registry::log::{Checkpoint, Note};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::files::{bad_request, read_json};
use super::office::Ledger;
use super::{LOG_KEY, OfficeArgs, PUBLIC};
use crate::cli::fault::exit;
use crate::cli::{Fault, Output};
use crate::effects::now;
use crate::files::write_atomic;
use crate::log_key::LogKey;
use crate::published::{self, CHECKPOINT, PublishedError};

/// The file of log key `number`: that of the anchors has 0.
pub(super) fn key_file(number: u64) -> String {
    match number {
        0 => LOG_KEY.to_owned(),
        number => format!("log-{number}.key"),
    }
}

/// Where it stands what that key is about to sign, or has signed, last.
fn signed_file(number: u64) -> String {
    match number {
        0 => "signed.json".to_owned(),
        number => format!("signed-{number}.json"),
    }
}

/// What a log key has signed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    v: u64,
    size: u64,
    root: Digest,
}

/// Makes the key that signs checkpoints, and says so in `authority.json`: new anchors carry it.
pub(super) fn make_key(args: &OfficeArgs, output: &Output) -> Result<ExitCode, Fault> {
    let mut office = Ledger::read(&args.dir)?;
    let (path, public) = (args.dir.join(LOG_KEY), args.dir.join(PUBLIC));
    if office.public.log.is_some() {
        let message = format!("{} has a log key already", office.public.origin);
        return Err(
            Fault::new(exit::CANNOT_WRITE, "not-empty", message, path.display())
                .action("A log keeps its key: anchors that are out name it."),
        );
    }
    let key = LogKey::create(&path, &office.public.origin, &args.passphrase.read()?)?;
    office.public.log = Some(key.to_string());
    let json = serde_json::to_vec_pretty(&office.public).unwrap_or_default();
    write_atomic(&public, &json, 0o644).map_err(|error| Fault::unwritable(&public, &error))?;
    output.answer(
        &json!({ "v": 1, "origin": office.public.origin, "log": key.to_string() }),
        || format!("Log key {key}\nHand out new anchors: `basoche authority anchors`."),
    );
    Ok(ExitCode::SUCCESS)
}

/// Writes the files of the log to `out` and signs its checkpoint.
pub(super) fn publish(args: &OfficeArgs, out: &Path, output: &Output) -> Result<ExitCode, Fault> {
    let office = Ledger::read(&args.dir)?;
    let head = office.log.head();
    let no_key = || {
        let message = format!("{} has no log key", office.public.origin);
        Fault::new(exit::CONFIGURATION, "no-log-key", message, args.dir.display())
            .action("Make one with `basoche authority log-key`, and hand out new anchors.")
    };
    office.public.log.as_ref().ok_or_else(no_key)?;
    let replica = office.log.replica();
    let number = replica.continuations(&office.public.origin).len() as u64;
    let key = LogKey::open(&args.dir.join(key_file(number)), &args.passphrase.read()?)?;
    let tree = office
        .log
        .replica()
        .tree(&office.public.origin)
        .cloned()
        .unwrap_or_default();

    // What was signed last is a prefix of what is signed now, by our own notes and by what is published.
    let noted = args.dir.join(signed_file(number));
    let mut seen: Vec<(RegistryHead, &Path)> = Vec::new();
    if noted.exists() {
        let signed: Signed = read_json(&noted, "the note of what was signed last")?;
        let head = RegistryHead {
            origin: head.origin.clone(),
            size: signed.size,
            root: signed.root,
        };
        seen.push((head, &noted));
    }
    // What a key before has signed is replaced, files and all: its end was given up.
    let before = match published::read_checkpoint(out, &replica.former_log_keys()) {
        Ok(Some(_)) => None,
        _ => published::read_checkpoint(out, std::slice::from_ref(&key.key)).map_err(published_fault)?,
    };
    seen.extend(before.as_ref().map(|before| (before.head().clone(), out)));
    for (old, place) in &seen {
        if tree.root_at(old.size) != Some(*old.root.as_bytes()) {
            let message = format!(
                "{}: a checkpoint of {} entries was signed that this log of {} does not extend",
                place.display(),
                old.size,
                head.size
            );
            return Err(Fault::new(exit::REFUSED, "fork", message, place.display()).action(
                "Nothing was signed. This directory is older than what was published, or another: put the missing entries back \
                 from the published log; two checkpoints that contradict each other would discredit the authority for good.",
            ));
        }
    }

    let from = before.as_ref().map_or(0, |before| before.head().size);
    published::write(out, &office.leaves, &tree, from).map_err(published_fault)?;
    let signed = Signed {
        v: 1,
        size: head.size,
        root: head.root,
    };
    let json = serde_json::to_vec_pretty(&signed).unwrap_or_default();
    write_atomic(&noted, &json, 0o644).map_err(|error| Fault::unwritable(&noted, &error))?;
    let mut note = Note::new(Checkpoint::text(&head)).map_err(|error| bad_request(out, error))?;
    let at = now();
    let line = key.key.line(&key.sign(&key.key.message(note.text(), at)), at);
    note.add(line).map_err(|error| bad_request(out, error))?;
    let path = out.join(CHECKPOINT);
    write_atomic(&path, note.encode().as_bytes(), 0o644).map_err(|error| Fault::unwritable(&path, &error))?;
    let answer = json!({ "v": 1, "origin": head.origin, "size": head.size, "root": head.root, "log": out });
    output.answer(&answer, || {
        format!(
            "{} entries of {} are in {}, root {}. Serve that directory as it is.",
            head.size,
            head.origin,
            out.display(),
            head.root
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with a published log, for a person.
pub(in crate::cli) fn published_fault(error: PublishedError) -> Fault {
    match &error {
        PublishedError::File { path, source } => Fault::unreadable(path, source),
        PublishedError::Contents { path, .. } => {
            let place = path.display();
            Fault::new(exit::REFUSED, "published-log", &error, place).action(
                "Do not use this copy of the log; fetch it again, from the authority or from somebody else.",
            )
        }
    }
}
