//! `basoche annuaire export`: a copy of a log, as the running node holds it. SPEC §9.6, LOG-11.

use std::path::Path;
use std::process::ExitCode;

use basoche_protocol::text::b64url_decode;
use basoche_protocol::tree::{Tree, leaf_hash};
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_registry::log::{Checkpoint, Note};
use serde_bytes::ByteBuf;
use serde_json::json;

use super::act::unexpected;
use super::authority::publish::published_fault;
use super::fault::exit;
use super::{Fault, NodeArgs, Output};
use crate::control::{Answer, Client, Request};
use crate::files::write_atomic;
use crate::published::{self, CHECKPOINT};

/// Writes the log up to the largest checkpoint that the node knows; a directory that is there is left alone.
pub(super) fn export(node: &NodeArgs, origin: &str, out: &Path, output: &Output) -> Result<ExitCode, Fault> {
    if out.exists() {
        let error = std::io::ErrorKind::AlreadyExists.into();
        return Err(Fault::unwritable(out, &error).action("Choose another name."));
    }
    let client = node.client()?;
    let origin = origin.to_owned();
    let Answer::Checkpoint(standing) = client.ask(&Request::Checkpoint {
        origin: origin.clone(),
    })?
    else {
        return Err(unexpected());
    };
    let none = || {
        let message = format!("this node knows of no checkpoint of {origin} whose entries it holds");
        Fault::new(exit::REFUSED, "no-checkpoint", message, &origin)
            .action("Have its authority publish the log, and tell a node: `basoche annuaire cosign`.")
    };
    let text = standing.note.ok_or_else(none)?;
    let head = Note::parse(text.as_bytes())
        .ok()
        .and_then(|note| Checkpoint::head_of(note.text()).ok());
    let head = head.ok_or_else(unexpected)?;
    let leaves = leaves(&client, &origin, head.size)?;
    let mut tree = Tree::new();
    leaves.iter().for_each(|leaf| tree.push(leaf_hash(&leaf.leaf)));
    if tree.size() != head.size || tree.root() != *head.root.as_bytes() {
        let message = format!("the entries of {origin} that the node holds are not those of its checkpoint");
        return Err(Fault::new(exit::REFUSED, "registry-rewritten", message, &origin)
            .action("Verify the node's store: `basoche node verify`."));
    }
    published::write(out, &leaves, &tree, 0).map_err(published_fault)?;
    let checkpoint = out.join(CHECKPOINT);
    write_atomic(&checkpoint, text.as_bytes(), 0o644)
        .map_err(|error| Fault::unwritable(&checkpoint, &error))?;
    let answer = json!({ "v": 1, "origin": origin, "size": head.size, "root": head.root, "log": out });
    output.answer(&answer, || {
        format!(
            "{}: {} entries of {origin}, root {}",
            out.display(),
            head.size,
            head.root
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// The first `size` leaves of a log, or as many as the node has.
fn leaves(client: &Client, origin: &str, size: u64) -> Result<Vec<RegistryLeaf>, Fault> {
    let mut found: Vec<RegistryLeaf> = Vec::new();
    while (found.len() as u64) < size {
        let request = Request::Leaves {
            origin: origin.to_owned(),
            from: found.len() as u64,
        };
        let Answer::Leaves { leaves } = client.ask(&request)? else {
            return Err(unexpected());
        };
        if leaves.is_empty() {
            break;
        }
        for (leaf, certificate) in &leaves {
            let bytes = |text| b64url_decode(text).map(ByteBuf::from);
            let (leaf, certificate) = bytes(leaf).zip(bytes(certificate)).ok_or_else(unexpected)?;
            found.push(RegistryLeaf { leaf, certificate });
        }
    }
    found.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    Ok(found)
}
