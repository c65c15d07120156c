//! `basoche dossier …`
use super::{Fault, Output};
use clap::Subcommand;
use std::process::ExitCode;

/// Carry an assessment.
#[derive(Subcommand)]
pub enum Command {}

pub(super) fn run(command: Command, _output: &Output) -> Result<ExitCode, Fault> {
    match command {}
}
