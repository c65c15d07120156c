//! `basoche annuaire snapshot` and `restore`: what the logs have come to, for a new node. SPEC §9.7.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use basoche_protocol::text::b64url_decode;
use basoche_registry::snapshot::MAGIC;
use serde_json::json;

use super::act::unexpected;
use super::document::save;
use super::fault::exit;
use super::{Fault, NodeArgs, Output};
use crate::control::{Answer, Client, RegistryView, Request};
use crate::runtime;

/// Writes the snapshot of every log that has stated its root; a file that is there is left alone.
pub(super) fn write(node: &NodeArgs, out: &Path, output: &Output) -> Result<ExitCode, Fault> {
    let client = node.client()?;
    let Answer::Registry { registries } = client.ask(&Request::Registry)? else {
        return Err(unexpected());
    };
    let logs: Vec<_> = registries
        .iter()
        .filter_map(|one| Some((one, one.stated?)))
        .collect();
    if logs.is_empty() {
        let message = "no log that this node holds has stated the root of its state";
        return Err(Fault::new(exit::REFUSED, "no-snapshot", message, "annuaire")
            .action("Its authority enters it: `basoche authority state-root`, then a publication."));
    }
    let bytes = save(out, |file| {
        let unwritable = |error: std::io::Error| Fault::unwritable(out, &error);
        let mut file = BufWriter::new(file);
        file.write_all(MAGIC).map_err(unwritable)?;
        let mut bytes = MAGIC.len() as u64;
        for (log, stated) in &logs {
            each_part(&client, log, *stated, &mut |part| {
                bytes += 4 + part.len() as u64;
                let length = u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes();
                file.write_all(&length)
                    .and_then(|()| file.write_all(part))
                    .map_err(unwritable)
            })?;
        }
        file.flush().map_err(unwritable)?;
        Ok(bytes)
    })?;
    let stated: Vec<_> = logs
        .iter()
        .map(|(log, stated)| json!({ "origin": log.origin, "size": stated }))
        .collect();
    let answer = json!({ "v": 1, "snapshot": out, "bytes": bytes, "logs": stated });
    output.answer(&answer, || {
        let logs = logs
            .iter()
            .map(|(log, stated)| format!("{} as of its first {stated} entries", log.origin));
        let logs = logs.collect::<Vec<_>>().join(", ");
        format!(
            "{} ({bytes} bytes): {logs}. A new node begins with it: basoche annuaire restore",
            out.display()
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// Every part of the snapshot of one log.
fn each_part(
    client: &Client,
    log: &RegistryView,
    stated: u64,
    take: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let origin = &log.origin;
    let checkpoint = Request::Checkpoint {
        origin: origin.clone(),
    };
    let Answer::Checkpoint(standing) = client.ask(&checkpoint)? else {
        return Err(unexpected());
    };
    let covers = standing.enough && standing.size.is_some_and(|size| size > stated);
    let Some(checkpoint) = standing.note.filter(|_| covers) else {
        let message = format!(
            "entry {stated} of {origin} states its root, and this node knows of no checkpoint under the policy's quorum that covers it"
        );
        let mut fault = Fault::new(exit::TRY_AGAIN, "no-checkpoint", message, origin)
            .action("Have its authority publish the log, and tell a node: `basoche annuaire cosign`.");
        fault.retry = "later".into();
        return Err(fault);
    };
    let mut next = Some(0);
    while let Some(position) = next {
        let request = Request::Snapshot {
            origin: origin.clone(),
            stated,
            checkpoint: checkpoint.clone(),
            position,
        };
        let Answer::Parts { parts, next: after } = client.ask(&request)? else {
            return Err(unexpected());
        };
        for part in &parts {
            take(&b64url_decode(part).ok_or_else(unexpected)?)?;
        }
        next = after;
    }
    Ok(())
}

/// Has a new node's registry begin with that file.
pub(super) fn restore(config: &Path, snapshot: &Path, output: &Output) -> Result<ExitCode, Fault> {
    let file = File::open(snapshot).map_err(|error| Fault::unreadable(snapshot, &error))?;
    let begun = runtime::begin_registry(config, &mut BufReader::with_capacity(1 << 20, file))?;
    let logs: Vec<_> = begun
        .iter()
        .map(|log| json!({ "origin": log.origin, "size": log.size, "root": log.root }))
        .collect();
    output.answer(&json!({ "v": 1, "registries": logs }), || {
        let logs = begun.iter().map(|log| format!("registry {}: {} entries, root {}", log.origin, log.size, log.root));
        let logs = logs.collect::<Vec<_>>().join("\n");
        format!("{logs}\nThe node may start. Its peers bring the entries of before; the start after that judges them.")
    });
    Ok(ExitCode::SUCCESS)
}
