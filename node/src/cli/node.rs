//! `basoche node …`

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use basoche_protocol::id::SubjectId;
use basoche_registry::entry::{Endpoint, OVERLAP};
use clap::Subcommand;
use serde_json::json;
use tracing_subscriber::EnvFilter;

use super::ask::Known;
use super::fault::exit;
use super::{Fault, NodeArgs, Output, ask, retire, when};
use crate::check::{self, Checked, Unsound};
use crate::config::Config;
use crate::control::{Answer, ClientError, Request};
use crate::effects::now;
use crate::files::write_atomic;
use crate::keys::NodeRequest;
use crate::repair::{self, BadDocument, Repaired};
use crate::runtime::{self, NodeError};

/// Set up, run and look at a node.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Make the data directory, the keys and an empty store; write what an authority needs to enrol the node.
    Init {
        #[command(flatten)]
        node: NodeArgs,
        /// The log of the authority that is to enrol it: the request proves that the node wants to be there.
        #[arg(long, value_name = "ORIGIN")]
        authority: String,
        /// Where to write the enrolment request.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
    },
    /// Write again what an authority needs to enrol the node.
    Request {
        #[command(flatten)]
        node: NodeArgs,
        /// The log of the authority that is to enrol it.
        #[arg(long, value_name = "ORIGIN")]
        authority: String,
        /// Where to write it.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
    },
    /// Ask the authority to say where the node is reached: at the addresses of its configuration. The node must run.
    Endpoint {
        #[command(flatten)]
        node: NodeArgs,
        /// Until when the addresses are fresh, RFC 3339: within 90 days; in 90 days if not given.
        #[arg(long, value_name = "INSTANT")]
        until: Option<String>,
        /// Where to write the request, for `basoche authority accept`.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
    },
    /// Make the node a witness of the authorities' logs: its key cosigns their checkpoints from its next start on.
    ///
    /// Prints the public half, for the policy of the anchors. The key is in no backup: a node that is restored needs a new one.
    Witness {
        #[command(flatten)]
        node: NodeArgs,
        /// The name of the key, as `court.example/witness`: no space, no '+'.
        #[arg(long)]
        name: String,
    },
    /// Run until SIGTERM or Ctrl-C.
    Run {
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Copy the running node to a new directory: keys (sealed), journal, documents, and a signed and sealed list of them.
    Backup {
        #[command(flatten)]
        node: NodeArgs,
        /// The directory to make. Its disk must survive the loss of the node's own.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Put a copy back, where the data directory is empty or missing. What came after the copy comes back from peers.
    Restore {
        #[command(flatten)]
        node: NodeArgs,
        /// A directory that `node backup` made.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
    },
    /// Verify everything that a node holds which does not run: every row, signature, chain and document.
    Verify {
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Set aside what is damaged of a node that does not run, so that the next start gets it back from its peers.
    ///
    /// Documents at once. A damaged store only with --yes: what nobody else has of it is lost. Nothing is deleted. A
    /// sound node stays as it is. Exit code 73: the store is damaged and --yes was not given.
    Repair {
        #[command(flatten)]
        node: NodeArgs,
        /// From where all comes back: the other members of each dossier. There is no other way yet.
        #[arg(long, required = true)]
        from_peers: bool,
        /// Set a damaged store aside too.
        #[arg(long)]
        yes: bool,
    },
    /// List what a node that is to go still has to hand over, and who has to sign it. Exit code 75 until it may go.
    ///
    /// The node itself signs for nobody: each hand-over is an act of a person of the dossier. With --to the node shows as
    /// `retiring` from now on.
    Retire {
        #[command(flatten)]
        node: NodeArgs,
        /// The node that takes over.
        #[arg(long, value_parser = super::act::subject_id)]
        to: Option<SubjectId>,
    },
    /// Say how the node is: peers, dossiers, refusals.
    Status {
        #[command(flatten)]
        node: NodeArgs,
    },
}

pub(super) fn run(command: Command, output: &Output) -> Result<ExitCode, Fault> {
    match command {
        Command::Init {
            node,
            authority,
            request,
        } => {
            let enrolment = runtime::init(&node.config, &authority)?;
            hand_out(&enrolment, &request, "is set up", output)
        }
        Command::Request {
            node,
            authority,
            request,
        } => {
            let enrolment = runtime::request(&node.config, &authority)?;
            hand_out(&enrolment, &request, "is as it was", output)
        }
        Command::Endpoint { node, until, request } => {
            let until = until.as_deref().map(when::parse).transpose()?;
            ask::check_free(&request)?;
            let (config, keys) = runtime::keys(&node.config)?;
            let known = Known::by_node(&node, keys.node())?;
            let gossip = config.gossip_port().map(|port| keys.gossip(port));
            let endpoint = Endpoint {
                tls_spki_sha256: keys.tls_spki_sha256().map_err(NodeError::from)?,
                addresses: config.addresses,
                // The entry is issued after this instant was read.
                until: until.unwrap_or_else(|| now() + OVERLAP),
                gossip,
            };
            let asked = known.ask(&keys.seal().map_err(NodeError::from)?, &endpoint.into())?;
            ask::hand_out(&request, keys.node(), &asked, output)
        }
        Command::Witness { node, name } => {
            let key = runtime::make_witness(&node.config, &name)?;
            output.answer(&json!({ "v": 1, "witness": key.to_string() }), || {
                format!("{key}\nPut it into the policy of the anchors, as `witness NAME {key}`, then start the node anew.")
            });
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { node } => {
            let config = Config::read(&node.config)?;
            let filter = EnvFilter::try_new(&config.log).map_err(|error| {
                Fault::new(
                    exit::CONFIGURATION,
                    "configuration",
                    format!("log: {error}"),
                    "configuration",
                )
            })?;
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal())
                .init();
            runtime::run(&node.config, |listening| {
                output.note(&format!("ready on udp {listening}"))
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Retire { node, to } => retire::run(&node, to, output),
        Command::Backup { node, to } => {
            let path = std::path::absolute(&to).map_err(|error| Fault::unwritable(&to, &error))?;
            match node.client()?.ask(&Request::Backup { to: path })? {
                Answer::Copied(copied) => {
                    output.answer(&copied, || {
                        format!(
                            "{} holds {} files, {} bytes: all that this node held at {}.",
                            to.display(),
                            copied.files,
                            copied.bytes,
                            copied.made_at
                        )
                    });
                    Ok(ExitCode::SUCCESS)
                }
                _ => Err(unexpected()),
            }
        }
        Command::Restore { node, from } => {
            let copied = runtime::restore(&node.config, &from)?;
            output.answer(&copied, || {
                format!(
                    "Node {} is back as of {} ({} files, {} bytes). Start it: what came later comes from its peers.",
                    copied.node, copied.made_at, copied.files, copied.bytes
                )
            });
            Ok(ExitCode::SUCCESS)
        }
        Command::Verify { node } => {
            let checked = check::check(&node.config)?;
            output.answer(&checked, || describe(&checked));
            Ok(match checked.missing.is_empty() && checked.damaged.is_empty() {
                true => ExitCode::SUCCESS,
                false => ExitCode::from(exit::MALFORMED),
            })
        }
        Command::Repair { node, yes, .. } => {
            let repaired = repair::repair(&node.config, |found| {
                if yes {
                    output.note(&describe_found(found).join("\n"));
                }
                yes
            })?;
            output.answer(&repaired, || describe_repair(&repaired));
            Ok(match repaired.done {
                true => ExitCode::SUCCESS,
                false => ExitCode::from(exit::CANNOT_WRITE),
            })
        }
        Command::Status { node } => match node.client()?.ask(&Request::Status)? {
            Answer::Status(status) => {
                output.answer(&status, || {
                    let mut lines = vec![format!("node {} ({})", status.node, status.version)];
                    lines.extend(status.reasons.iter().map(|reason| format!("not ready: {reason}")));
                    lines.extend(status.notes.iter().map(|note| format!("note: {note}")));
                    for peer in &status.peers {
                        let state = if peer.connected {
                            "connected"
                        } else {
                            "not connected"
                        };
                        lines.push(format!("peer {} {}: {state}", peer.node, peer.organisation));
                    }
                    lines.extend(status.mailbox.map(|kept| {
                        format!(
                            "mailbox: {} of {} parcels, {} of {} bytes",
                            kept.parcels, kept.parcels_limit, kept.bytes, kept.quota
                        )
                    }));
                    for dossier in &status.dossiers {
                        lines.push(format!(
                            "dossier {} {} ({} entries)",
                            dossier.id, dossier.phase, dossier.entries
                        ));
                    }
                    lines.extend(
                        status
                            .refusals
                            .iter()
                            .map(|(code, count)| format!("refused {code}: {count}")),
                    );
                    lines.join("\n")
                });
                Ok(if status.ready {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::from(exit::TRY_AGAIN)
                })
            }
            _ => Err(unexpected()),
        },
    }
}

/// What was verified, and each document that is not as it should be.
fn describe(checked: &Checked) -> String {
    let mut lines = vec![format!(
        "{} dossiers, {} entries ({} wait for a key or a signer), {} documents: {} bytes read and right",
        checked.dossiers, checked.entries, checked.pending, checked.documents, checked.bytes
    )];
    for Unsound {
        dossier,
        root,
        what,
        holders,
    } in checked.missing.iter().chain(&checked.damaged)
    {
        lines.push(format!(
            "dossier {dossier}: document {root}: {what}; {}",
            elsewhere(holders)
        ));
    }
    if !checked.damaged.is_empty() {
        let advice =
            "`basoche node repair --from-peers` sets damaged documents aside: the next start fetches them.";
        lines.push(advice.into());
    }
    lines.join("\n")
}

/// Where else a document is, as far as the journal knows.
fn elsewhere(holders: &BTreeSet<SubjectId>) -> String {
    match holders.len() {
        0 => "only this node had it, as far as its journal knows".into(),
        count => format!("other nodes that hold it: {count}"),
    }
}

/// What is wrong, and what it costs to set it aside.
fn describe_found(repaired: &Repaired) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(store) = &repaired.store {
        lines.push(format!("The store is damaged: {}.", store.what));
        lines.push(
            "An empty one takes its place. Every dossier comes back from its other members. LOST is what was deposited \
             here and not yet transmitted to anybody, and which --id was used for which message."
                .into(),
        );
        let counts = store
            .registry
            .iter()
            .map(|(origin, count)| format!("{origin} {count}"));
        let counts: Vec<_> = counts.collect();
        lines.push(format!("Registry entries carried over: {}.", counts.join(", ")));
        if store.import {
            let advice =
                "They may not be all: start, then `basoche annuaire import` the authorities' entries.";
            lines.push(advice.into());
        }
    }
    for (documents, how) in [(&repaired.damaged, "damaged"), (&repaired.missing, "missing")] {
        for BadDocument { root, what, holders } in documents {
            let holders = holders.as_ref().map_or_else(
                || "the journal that knows who else has it is damaged".into(),
                elsewhere,
            );
            lines.push(format!("Document {root} is {how} ({what}): {holders}."));
        }
    }
    lines
}

/// The same, and what was done.
fn describe_repair(repaired: &Repaired) -> String {
    let mut lines = describe_found(repaired);
    lines.push(match &repaired.aside {
        Some(aside) => format!(
            "What is damaged is now in {}. Start the node: it gets everything back from its peers.",
            aside.display()
        ),
        None if !repaired.done => {
            "Nothing is changed yet. A backup (`basoche node restore`) loses less; --yes does it.".into()
        }
        None if repaired.missing.is_empty() => "Nothing is wrong; nothing was changed.".into(),
        None => "Nothing is damaged; nothing was changed. Start the node: it fetches what is missing.".into(),
    });
    if repaired.witness {
        lines.push(
            "The node is no witness any more, for its store knew what it had cosigned: see \"Witnesses\" in \
             deploy/OPERATIONS.md."
                .into(),
        );
    }
    lines.join("\n")
}

fn unexpected() -> Fault {
    ClientError::Broken("it answered something else".into()).into()
}

fn hand_out(enrolment: &NodeRequest, path: &Path, how: &str, output: &Output) -> Result<ExitCode, Fault> {
    let json = serde_json::to_vec_pretty(enrolment).unwrap_or_default();
    write_atomic(path, &json, 0o644).map_err(|error| Fault::unwritable(path, &error))?;
    output.answer(enrolment, || {
        format!(
            "Node {} {how}. Have it enrolled with {}.",
            enrolment.node,
            path.display()
        )
    });
    Ok(ExitCode::SUCCESS)
}
