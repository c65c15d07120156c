//! `basoche demo`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::fault::exit;
use super::{Fault, Output};
use crate::demo;

/// How to run the demonstration.
#[derive(Args)]
pub(super) struct DemoArgs {
    /// Stop at the end, even on a terminal.
    #[arg(long)]
    once: bool,
    /// Keep everything in this directory, which must not exist or be empty.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Lodge this file too.
    #[arg(long, value_name = "FILE")]
    exhibit: Vec<PathBuf>,
}

pub(super) fn run(args: DemoArgs, output: &Output) -> Result<ExitCode, Fault> {
    let options = demo::Options {
        once: args.once || output.is_json(),
        keep: args.keep,
        exhibits: args.exhibit,
    };
    let summary = demo::run(&options).map_err(|error| Fault::new(70, "demo", error, "demo"))?;
    output.answer(&summary, || {
        let outcome = if summary.ok {
            "Tout s'est passé comme annoncé."
        } else {
            "Quelque chose a manqué."
        };
        format!(
            "{outcome}\n{}",
            serde_json::to_string(&summary).unwrap_or_default()
        )
    });
    Ok(if summary.ok && summary.verified {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit::CONTRADICTED)
    })
}
