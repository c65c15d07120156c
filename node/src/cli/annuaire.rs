//! `basoche annuaire …`: the registry as this node holds it, and the entry files that authorities hand out.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use basoche_protocol::engine::Registry;
use basoche_protocol::error::Error;
use basoche_protocol::id::SubjectId;
use basoche_protocol::refusal::Retry;
use basoche_protocol::text::b64url_encode;
use basoche_registry::file::FILE_BYTES;
use basoche_registry::search::Query;
use basoche_registry::{Anchors, EntryFile, Inadmissible, Replica};
use clap::Subcommand;
use serde_json::json;

use super::authority::publish::published_fault;
use super::checkpoint::{cosign, fork_proof};
use super::copy::export;
use super::fault::exit;
use super::search::{self, SearchArgs};
use super::snapshot;
use super::values::subject;
use super::{Fault, NodeArgs, Output};
use crate::config::Config;
use crate::control::{Answer, ClientError, EntryView, RegistryView, Request, SUBJECTS};
use crate::published::{self, CHECKPOINT};

/// Bytes of entries in one request to the node.
const BATCH_BYTES: usize = 4 << 20;
/// What is written wherever an authority for trials shows.
const TEST_MARK: &str = "autorité d'essai";
/// What is written where no witness need have seen what counts. REG-21.
const TRIAL_QUORUM: &str = "quorum d'essai";

/// Import, look at and check the registry (*annuaire*).
#[derive(Subcommand)]
pub(super) enum Command {
    /// Have the running node admit entries.
    Import {
        #[command(flatten)]
        node: NodeArgs,
        /// Entry files, directories of them, authorities' directories, or published logs.
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Say how far the running node holds each log, and who is in them: a thousand at most, nodes first.
    Show {
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Find nodes and persons: all that is given must fit.
    Search {
        #[command(flatten)]
        what: SearchArgs,
    },
    /// Tell the nodes of a log's checkpoint, wait for the policy's witnesses, and put their lines into its file.
    ///
    /// Exit code 75: too few have seen it within the time; the file has those who have.
    Cosign {
        #[command(flatten)]
        node: NodeArgs,
        /// The file `checkpoint` that `basoche authority publish` wrote.
        #[arg(value_name = "FILE")]
        checkpoint: PathBuf,
        /// For how long to wait, in seconds.
        #[arg(long, default_value_t = 60, value_name = "SECONDS")]
        wait: u64,
    },
    /// Say what the registry has said of somebody, entry by entry.
    History {
        #[command(flatten)]
        node: NodeArgs,
        /// Whom.
        #[arg(value_name = "SUBJECT", value_parser = subject)]
        subject: SubjectId,
    },
    /// Write a log as this node holds it, up to the largest checkpoint that it knows, as files that any web server serves.
    Export {
        #[command(flatten)]
        node: NodeArgs,
        /// The log.
        #[arg(long)]
        origin: String,
        /// The new directory.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Write the proof that the key of a log has signed two histories: anybody who knows that key can check it.
    ForkProof {
        #[command(flatten)]
        node: NodeArgs,
        /// The log.
        #[arg(long)]
        origin: String,
        /// The new file.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Write what the logs have come to, each as of the entry that stated it last: a new node may begin with that.
    Snapshot {
        #[command(flatten)]
        node: NodeArgs,
        /// The new file.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Have the registry of a new node, which does not run yet, begin with a snapshot instead of the first entries.
    ///
    /// It holds under the anchors and the witnesses of their policy, or nothing of it is taken. The entries of before come
    /// from the peers afterwards, and are judged at the next start: only then is the node a witness.
    Restore {
        #[command(flatten)]
        node: NodeArgs,
        /// What `basoche annuaire snapshot` wrote.
        #[arg(value_name = "FILE")]
        snapshot: PathBuf,
    },
    /// Verify entries against the anchors, without a node: every signature and every rule of admission.
    Verify {
        /// The anchor file.
        #[arg(long, value_name = "FILE")]
        anchors: PathBuf,
        /// Entry files, directories of them, authorities' directories, or published logs: whole logs.
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
}

pub(super) fn run(command: Command, output: &Output) -> Result<ExitCode, Fault> {
    match command {
        Command::Import { node, paths } => import(&node, &paths, output),
        Command::Show { node } => show(&node, output),
        Command::Search { what } => search::run(what, output),
        Command::Cosign {
            node,
            checkpoint,
            wait,
        } => cosign(&node, &checkpoint, Duration::from_secs(wait), output),
        Command::History { node, subject } => history(&node, subject, output),
        Command::Export { node, origin, out } => export(&node, &origin, &out, output),
        Command::ForkProof { node, origin, out } => fork_proof(&node, &origin, &out, output),
        Command::Snapshot { node, out } => snapshot::write(&node, &out, output),
        Command::Restore { node, snapshot } => snapshot::restore(&node.config, &snapshot, output),
        Command::Verify { anchors, paths } => verify(&anchors, &paths, output),
    }
}

fn import(node: &NodeArgs, paths: &[PathBuf], output: &Output) -> Result<ExitCode, Fault> {
    let client = node.client()?;
    let found = read_any(paths, || anchors(&Config::read(&node.config)?.anchors))?;
    let (mut new, mut known) = (0, 0);
    let encoded: Vec<String> = found
        .iter()
        .map(|found| b64url_encode(&found.file.encode()))
        .collect();
    for (batch, files) in batches(&encoded, &found) {
        let request = Request::Import {
            entries: batch.to_vec(),
        };
        match client.ask(&request) {
            Ok(Answer::Imported { new: n, known: k }) => (new, known) = (new + n, known + k),
            Ok(_) => return Err(ClientError::Broken("it answered something else".into()).into()),
            Err(error) => return Err(named(error, files)),
        }
    }
    output.answer(&json!({ "v": 1, "new": new, "known": known }), || {
        format!("{new} entries are new, {known} were known.")
    });
    Ok(ExitCode::SUCCESS)
}

/// Slices of `encoded`, each within [`BATCH_BYTES`] with its quotes and commas, and the files that they come from.
fn batches<'a>(encoded: &'a [String], found: &'a [Found]) -> Vec<(&'a [String], &'a [Found])> {
    // The request line has a head and a tail of some 40 bytes.
    const LINE: usize = BATCH_BYTES - 64;
    let (mut cuts, mut bytes) = (vec![0], 0);
    for (place, entry) in encoded.iter().enumerate() {
        bytes += entry.len() + 3;
        if bytes > LINE {
            cuts.push(place);
            bytes = entry.len() + 3;
        }
    }
    cuts.push(encoded.len());
    cuts.dedup();
    cuts.windows(2)
        .map(|cut| (&encoded[cut[0]..cut[1]], &found[cut[0]..cut[1]]))
        .collect()
}

/// The node's refusal, with the file that it is about.
fn named(error: ClientError, files: &[Found]) -> Fault {
    let mut fault = Fault::from(error);
    let about =
        |found: &&Found| fault.place == format!("entry {} of {}", found.file.index, found.file.origin);
    if let Some(found) = files.iter().find(about) {
        fault.message = format!("{} ({}): {}", found.path.display(), fault.place, fault.message);
        fault.place = found.path.display().to_string();
    }
    fault
}

fn show(node: &NodeArgs, output: &Output) -> Result<ExitCode, Fault> {
    let anchors = anchors(&Config::read(&node.config)?.anchors)?;
    let client = node.client()?;
    let Answer::Registry { registries } = client.ask(&Request::Registry)? else {
        return Err(ClientError::Broken("it answered something else".into()).into());
    };
    let found = search::find(&client, Query::default(), SUBJECTS)?;
    let is_test = |origin: &str| anchors.authority(origin).is_some_and(|one| one.is_test());
    let rows: Vec<_> = registries
        .iter()
        .map(|one| {
            json!({
                "origin": one.origin, "size": one.size, "root": one.root, "test": is_test(&one.origin),
                "published": one.published, "policy": one.policy, "without": one.without, "forked": one.forked, "log_key": one.log_key,
                "stated": one.stated, "unjudged": one.unjudged, "seen_at": one.seen_at, "age": one.age,
            })
        })
        .collect();
    output.answer(
        &json!({ "v": 1, "registries": rows, "subjects": found.subjects, "more": found.more }),
        || {
            let mut lines = Vec::new();
            for one in &registries {
                let mark = mark(is_test(&one.origin));
                lines.push(format!(
                    "registry {}{mark}: {} entries, root {}, {}",
                    one.origin,
                    one.size,
                    one.root,
                    seen(one)
                ));
            }
            lines.push(found.describe());
            lines.join("\n")
        },
    );
    Ok(ExitCode::SUCCESS)
}

/// What is written after whatever an authority for trials says.
pub(super) fn mark(test: bool) -> String {
    match test {
        true => format!(" ({TEST_MARK})"),
        false => String::new(),
    }
}

/// Who has seen a log, in words.
fn seen(one: &RegistryView) -> String {
    let mut words = match one.published {
        None => TRIAL_QUORUM.to_owned(),
        Some(published) if one.policy > 0 => {
            format!("{published} seen by the quorum of policy {}", one.policy)
        }
        Some(published) => format!("{published} seen by the quorum"),
    };
    if !one.without.is_empty() {
        words += &format!(" without {}", one.without.join(", "));
    }
    if let (Some(at), Some(age)) = (&one.seen_at, &one.age) {
        words += &format!(", head seen {at} ({age})");
    }
    if one.log_key > 0 {
        words += &format!(", under log key {}", one.log_key);
    }
    match one.unjudged {
        None => {}
        Some(0) => words += ", begun with a snapshot: judged at the next start, when every log is complete",
        Some(lacking) => {
            words += &format!(", begun with a snapshot: {lacking} entries of before still to come")
        }
    }
    if one.forked {
        words += ", PROVED TO HAVE SIGNED TWO HISTORIES";
    }
    words
}

fn history(node: &NodeArgs, subject: SubjectId, output: &Output) -> Result<ExitCode, Fault> {
    let Answer::History { entries } = node.client()?.ask(&Request::History { subject })? else {
        return Err(ClientError::Broken("it answered something else".into()).into());
    };
    output.answer(&json!({ "v": 1, "subject": subject, "entries": entries }), || {
        let line = |entry: &EntryView| {
            let worth = entry.certificate.map_or_else(String::new, |certificate| {
                format!(
                    ", certificate {certificate}: {}",
                    entry.status.as_deref().unwrap_or_default()
                )
            });
            let from = if entry.effective_at == entry.issued_at {
                String::new()
            } else {
                format!(", in effect from {}", entry.effective_at)
            };
            format!(
                "{} {} {}{from}, {}{worth}",
                entry.index, entry.kind, entry.issued_at, entry.origin
            )
        };
        if entries.is_empty() {
            return format!("No log that this node holds is about {subject}.");
        }
        entries.iter().map(line).collect::<Vec<_>>().join("\n")
    });
    Ok(ExitCode::SUCCESS)
}

fn verify(anchors_file: &Path, paths: &[PathBuf], output: &Output) -> Result<ExitCode, Fault> {
    let found = read_any(paths, || anchors(anchors_file))?;
    let replica = admit(anchors(anchors_file)?, &found)?;
    let heads = replica.heads();
    let is_test = |origin: &str| {
        replica
            .anchors()
            .authority(origin)
            .is_some_and(|one| one.is_test())
    };
    let rows: Vec<_> = heads
        .iter()
        .map(|head| json!({ "origin": head.origin, "size": head.size, "root": head.root, "test": is_test(&head.origin) }))
        .collect();
    output.answer(&json!({ "v": 1, "registries": rows }), || {
        let line = |origin: &str, size: u64| {
            let mark = mark(is_test(origin));
            format!("registry {origin}{mark}: {size} entries, all admissible")
        };
        let lines: Vec<_> = heads.iter().map(|head| line(&head.origin, head.size)).collect();
        lines.join("\n")
    });
    Ok(ExitCode::SUCCESS)
}

/// Reads an anchor file.
pub(super) fn anchors(path: &Path) -> Result<Anchors, Fault> {
    let bytes = std::fs::read(path).map_err(|error| Fault::unreadable(path, &error))?;
    Anchors::parse(&bytes).map_err(|error| {
        let message = format!("{}: {error}", path.display());
        Fault::new(exit::MALFORMED, "anchors", message, path.display())
    })
}

/// An entry, and the file that it was read from.
pub(super) struct Found {
    /// Which file.
    pub(super) path: PathBuf,
    /// What it holds.
    pub(super) file: EntryFile,
}

/// Reads entry files as [`read`] does, and whole logs from directories in which they are published: signed by keys of
/// `anchors`, which are read where they are needed.
fn read_any(paths: &[PathBuf], anchors: impl Fn() -> Result<Anchors, Fault>) -> Result<Vec<Found>, Fault> {
    let (published, others): (Vec<_>, Vec<_>) = paths
        .iter()
        .cloned()
        .partition(|path| path.join(CHECKPOINT).exists());
    let mut found = read(&others)?;
    for dir in published {
        let anchors = anchors()?;
        let keys = anchors
            .authorities()
            .iter()
            .filter_map(|authority| authority.log_key().cloned());
        let log = published::read(&dir, &keys.collect::<Vec<_>>()).map_err(published_fault)?;
        let entries = log.entries.into_iter();
        found.extend(entries.map(|file| Found {
            path: dir.clone(),
            file,
        }));
    }
    found.sort_by(|a, b| (&a.file.origin, a.file.index).cmp(&(&b.file.origin, b.file.index)));
    Ok(found)
}

/// Reads the entry files at `paths` (files, directories of `*.entry`, authorities' directories), ascending by log and
/// index. One entry given twice is taken once; two that contradict each other are an error that names both.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Found>, Fault> {
    let mut found: Vec<Found> = Vec::new();
    for path in paths {
        for path in files_at(path)? {
            let file = read_file(&path)?;
            found.push(Found { path, file });
        }
    }
    found.sort_by(|a, b| (&a.file.origin, a.file.index).cmp(&(&b.file.origin, b.file.index)));
    for pair in found.windows(2) {
        let [one, other] = [&pair[0], &pair[1]];
        let (origin, index) = (&one.file.origin, one.file.index);
        let same_place = (origin, index) == (&other.file.origin, other.file.index);
        if same_place && one.file != other.file {
            let (a, b) = (one.path.display(), other.path.display());
            let message = format!("{a} and {b} are two different entries {index} of {origin}");
            return Err(Fault::new(exit::REFUSED, "duplicate-entry", message, a).action(
                "Keep the one that the authority published; if it published both, it rewrote its log.",
            ));
        }
    }
    found.dedup_by(|a, b| a.file == b.file);
    Ok(found)
}

/// The entry files that `path` stands for.
fn files_at(path: &Path) -> Result<Vec<PathBuf>, Fault> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| Fault::unreadable(&path, &error)
    };
    if !std::fs::metadata(path).map_err(unreadable(path))?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = path.join("entries");
    let directory = if entries.is_dir() { &entries } else { path };
    let mut files = Vec::new();
    for item in std::fs::read_dir(directory).map_err(unreadable(directory))? {
        let file = item.map_err(unreadable(directory))?.path();
        if file.extension().is_some_and(|extension| extension == "entry") {
            files.push(file);
        }
    }
    if files.is_empty() {
        let message = format!("{} holds no entry files (*.entry)", directory.display());
        return Err(
            Fault::new(exit::USAGE, "no-entries", message, directory.display())
                .action("Give the directory of an authority, or of its entry files."),
        );
    }
    Ok(files)
}

fn read_file(path: &Path) -> Result<EntryFile, Fault> {
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path);
    opened
        .and_then(|file| file.take(FILE_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| Fault::unreadable(path, &error))?;
    EntryFile::decode(&bytes).map_err(|error| {
        let code = Error::from(error).code();
        let message = format!("{}: not an entry file: {error}", path.display());
        Fault::new(exit::MALFORMED, code.name(), message, path.display())
            .action("Give files written by `basoche authority`; ask the authority for this one again.")
    })
}

/// A fresh replica of the anchors' logs that has admitted `found`, which starts at each log's first entry.
pub(super) fn admit(anchors: Anchors, found: &[Found]) -> Result<Replica, Fault> {
    let mut replica = Replica::new(anchors);
    for one in found {
        let EntryFile { origin, index, leaf } = &one.file;
        replica
            .admit(origin, *index, leaf)
            .map_err(|error| inadmissible(one, &error))?;
    }
    Ok(replica)
}

/// What is wrong with an entry, with its file.
pub(super) fn inadmissible(found: &Found, error: &Inadmissible) -> Fault {
    let (path, EntryFile { origin, index, .. }) = (&found.path, &found.file);
    if let Inadmissible::WrongIndex { expected, .. } = error {
        let missing = path.with_file_name(file_name(*expected));
        let message = format!("{} is missing: {error} of {origin}", missing.display());
        return Fault::new(exit::REFUSED, "missing-entry", message, missing.display()).action(
            "Give every entry of the log, from the first one; ask the authority for those that are missing.",
        );
    }
    let action = match error {
        Inadmissible::UnknownAuthority { .. } => {
            "Leave this authority's entries out, or have it added to the anchors."
        }
        _ => "Do not use this file; ask the authority for it again.",
    };
    refusal(
        error,
        format!("{} (entry {index} of {origin}): {error}", path.display()),
        path.display(),
    )
    .action(action)
}

/// An inadmissible entry as a fault: malformed or refused, under its wire code.
pub(super) fn refusal(error: &Inadmissible, message: String, place: impl ToString) -> Fault {
    let error = Error::from(error.clone());
    let exit = match &error {
        Error::Malformed(_) | Error::Incompatible(_) => exit::MALFORMED,
        Error::Untrusted(_) | Error::Refused(_) => exit::REFUSED,
    };
    let mut fault = Fault::new(exit, error.code().name(), message, place);
    fault.retry = match error.code().retry() {
        Retry::Never => "never",
        Retry::AfterChange => "after-change",
        Retry::Later => "later",
    }
    .into();
    fault
}

/// The name of entry `index` in an authority's directory.
pub(super) fn file_name(index: u64) -> String {
    format!("{index:08}.entry")
}
