//! `basoche node …`

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use tracing_subscriber::EnvFilter;

use super::fault::exit;
use super::{Fault, NodeArgs, Output};
use crate::check::{self, Checked, Unsound};
use crate::config::Config;
use crate::control::{Answer, ClientError, Request};
use crate::files::write_atomic;
use crate::keys::NodeRequest;
use crate::runtime;

/// Set up, run and look at a node.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Make the data directory, the keys and an empty store; write what an authority needs to enrol the node.
    Init {
        #[command(flatten)]
        node: NodeArgs,
        /// Where to write the enrolment request.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
    },
    /// Write again what an authority needs to enrol the node: after a change of its addresses, or when it was lost.
    Request {
        #[command(flatten)]
        node: NodeArgs,
        /// Where to write it.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
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
    /// Say how the node is: peers, dossiers, refusals.
    Status {
        #[command(flatten)]
        node: NodeArgs,
    },
}

pub(super) fn run(command: Command, output: &Output) -> Result<ExitCode, Fault> {
    match command {
        Command::Init { node, request } => {
            let enrolment = runtime::init(&node.config)?;
            hand_out(&enrolment, &request, "is set up", output)
        }
        Command::Request { node, request } => {
            let enrolment = runtime::request(&node.config)?;
            hand_out(&enrolment, &request, "is as it was", output)
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
    for (unsound, advice) in
        (checked.missing.iter().map(|one| (one, ""))).chain(checked.damaged.iter().map(|one| {
            (
                one,
                "; remove its files, they are fetched again at the next start",
            )
        }))
    {
        let Unsound { dossier, root, what } = unsound;
        lines.push(format!("dossier {dossier}: document {root}: {what}{advice}"));
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
