//! `basoche annuaire cosign`: has the nodes tell each other of a checkpoint, and gathers what the policy's witnesses say
//! of it. SPEC §9.6, LOG-12 and LOG-13.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use basoche_protocol::text::b64url_decode;
use basoche_registry::log::{Checkpoint, Note};
use serde_json::json;

use super::fault::exit;
use super::{Fault, NodeArgs, Output};
use crate::control::{Answer, CheckpointView, ClientError, Request};
use crate::files::{write_atomic, write_new};

/// Writes the proof that a log's key in force has signed two histories, as the running node holds it. LOG-9.
pub(super) fn fork_proof(
    node: &NodeArgs,
    origin: &str,
    out: &Path,
    output: &Output,
) -> Result<ExitCode, Fault> {
    let origin = origin.to_owned();
    let standing = stands(node.client()?.ask(&Request::Checkpoint {
        origin: origin.clone(),
    })?)?;
    let proof = standing.proof.as_deref().and_then(b64url_decode);
    let Some(proof) = proof else {
        let message = format!("nobody has proved to this node that {origin} has signed two histories");
        return Err(Fault::new(exit::REFUSED, "no-proof", message, &origin)
            .action("`basoche annuaire show` says of which log that is proved; ask another node."));
    };
    write_new(out, &proof, 0o644).map_err(|error| Fault::unwritable(out, &error))?;
    output.answer(&json!({ "v": 1, "origin": origin, "proof": out }), || {
        format!(
            "That {origin} has signed two histories stands in {}, for anybody who knows its key.",
            out.display()
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// Between two looks at what has come in.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Tells the running node of the checkpoint in `file`, waits until the policy's witnesses have seen it, and puts their
/// lines beside the log's in the same file.
pub(super) fn cosign(
    node: &NodeArgs,
    file: &Path,
    patience: Duration,
    output: &Output,
) -> Result<ExitCode, Fault> {
    let bytes = std::fs::read(file).map_err(|error| Fault::unreadable(file, &error))?;
    let no_checkpoint = |error: &dyn std::fmt::Display| {
        let message = format!("{}: {error}", file.display());
        Fault::new(exit::MALFORMED, "not-a-checkpoint", message, file.display())
            .action("Give the file `checkpoint` that `basoche authority publish` writes.")
    };
    let note = Note::parse(&bytes).map_err(|error| no_checkpoint(&error))?;
    let head = Checkpoint::head_of(note.text()).map_err(|error| no_checkpoint(&error))?;
    let client = node.client()?;
    let tell = Request::Tell {
        checkpoint: note.encode(),
    };
    client.ask(&tell)?;
    let until = Instant::now() + patience;
    let standing = loop {
        let standing = stands(client.ask(&Request::Checkpoint {
            origin: head.origin.clone(),
        })?)?;
        let is_it = standing.size == Some(head.size);
        let beyond = standing.size.is_some_and(|size| size > head.size);
        if (is_it && standing.enough) || beyond || standing.proof.is_some() || Instant::now() >= until {
            break standing;
        }
        std::thread::sleep(LOOK_EVERY);
    };
    if standing.proof.is_some() {
        let message = format!(
            "{} has signed two histories; no witness cosigns it any more",
            head.origin
        );
        return Err(Fault::new(exit::REFUSED, "log-forked", message, file.display())
            .action("Every node holds the proof. See \"log-forked\" in deploy/OPERATIONS.md."));
    }
    if standing.size.is_some_and(|size| size > head.size) {
        let message = format!("the nodes know a later checkpoint of {} already", head.origin);
        return Err(
            Fault::new(exit::REFUSED, "not-the-latest", message, file.display())
                .action("Publish the log again, and have that checkpoint cosigned."),
        );
    }
    let text = standing.note.filter(|_| standing.size == Some(head.size));
    let Some(text) = text else {
        let message = format!(
            "the node holds fewer than the {} entries of {} that the checkpoint is about",
            head.size, head.origin
        );
        let mut fault = Fault::new(exit::TRY_AGAIN, "entries-missing", message, file.display())
            .action("Import the log there (`basoche annuaire import`), then try again.");
        fault.retry = "later".into();
        return Err(fault);
    };
    write_atomic(file, text.as_bytes(), 0o644).map_err(|error| Fault::unwritable(file, &error))?;
    let answer = json!({ "v": 1, "origin": head.origin, "size": head.size, "seen": standing.seen, "enough": standing.enough });
    output.answer(&answer, || {
        let seen = standing
            .seen
            .iter()
            .map(|seen| format!("seen by {} at {}", seen.by, seen.at));
        let verdict = match standing.enough {
            true => "That is the quorum: enter it with `basoche authority publication`.",
            false => "That is no quorum yet: try again when more witnesses are up.",
        };
        let lines: Vec<_> = seen.chain([verdict.to_owned()]).collect();
        lines.join("\n")
    });
    Ok(match standing.enough {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(exit::TRY_AGAIN),
    })
}

fn stands(answer: Answer) -> Result<CheckpointView, Fault> {
    match answer {
        Answer::Checkpoint(view) => Ok(*view),
        _ => Err(ClientError::Broken("it answered something else".into()).into()),
    }
}
