//! `basoche node …`

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use tracing_subscriber::EnvFilter;

use super::fault::exit;
use super::{Fault, NodeArgs, Output};
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
        Command::Status { node } => match node.client()?.ask(&Request::Status)? {
            Answer::Status(status) => {
                output.answer(&status, || {
                    let mut lines = vec![format!("node {} ({})", status.node, status.version)];
                    lines.extend(status.reasons.iter().map(|reason| format!("not ready: {reason}")));
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
            _ => Err(ClientError::Broken("it answered something else".into()).into()),
        },
    }
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
