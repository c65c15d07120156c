//! The command line: nouns and verbs, one file per noun. The only owner of `clap`, and the only place that prints.

mod act;
mod annuaire;
mod ask;
mod authority;
mod barrier;
mod bundle;
mod checkpoint;
mod copy;
mod decode;
mod demo;
mod deposits;
mod document;
mod dossier;
mod erasure;
mod fault;
mod node;
mod output;
mod parties;
mod person;
mod personal;
mod proof;
mod retire;
mod search;
mod snapshot;
mod values;
mod wallet;
mod when;

pub use fault::Fault;
pub use output::Output;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Config;
use crate::control::Client;

/// Federated node for French court-ordered expert assessments.
///
/// Exit codes: 0 done or proved, 1 contradicted, 2 usage, 3 undetermined or not anchored, 65 malformed,
/// 69 node unreachable, 73 cannot write, 75 try again, 77 refused, 78 configuration.
#[derive(Parser)]
#[command(name = "basoche", version = crate::VERSION.trim_start_matches("basoche "), propagate_version = true)]
struct Cli {
    /// Print the answer as one line of JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Set up, run and look at a node.
    #[command(subcommand)]
    Node(node::Command),
    /// Carry an assessment: designation, acceptance, dires, report, fees.
    #[command(subcommand)]
    Dossier(dossier::Command),
    /// Lodge and open documents.
    #[command(subcommand)]
    Document(document::Command),
    /// Write a dossier's evidence bundle: all that is needed to check it offline.
    Export(bundle::ExportArgs),
    /// Check an evidence bundle, offline, against trust anchors that you name.
    Verify(bundle::VerifyArgs),
    /// Run three nodes here and carry a whole assessment through them.
    Demo(demo::DemoArgs),
    /// Make and look at a person's key.
    #[command(subcommand)]
    Wallet(wallet::Command),
    /// Keep the log of an authority: a court's, a bar's or a company of experts'.
    #[command(subcommand)]
    Authority(authority::Command),
    /// Import, look at and check the registry (annuaire).
    #[command(subcommand)]
    Annuaire(annuaire::Command),
    /// Read an envelope and say what it holds, or why it is refused.
    Decode(decode::Command),
}

/// Which node to speak to.
#[derive(Args, Clone, Debug)]
pub struct NodeArgs {
    /// The node's configuration file.
    #[arg(
        long,
        global = true,
        default_value = "/etc/basoche/node.toml",
        value_name = "FILE"
    )]
    config: PathBuf,
}

impl NodeArgs {
    /// The running node.
    fn client(&self) -> Result<Client, Fault> {
        Ok(Client::new(&Config::read(&self.config)?.data))
    }
}

/// Parses the arguments, does what they say, and tells how it went.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Who asked for JSON is told of wrong arguments in JSON; help and version stay text.
        Err(error) if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") => {
            let what = error.to_string();
            let what = what
                .trim_start_matches("error: ")
                .split("\n\n")
                .next()
                .unwrap_or_default();
            let fault = Fault::usage(what.trim()).action("Run it with --help instead.");
            return Output::new(true).fault(&fault);
        }
        Err(error) => error.exit(),
    };
    let output = Output::new(cli.json);
    let done = match cli.command {
        Command::Node(command) => node::run(command, &output),
        Command::Dossier(command) => dossier::run(command, &output),
        Command::Document(command) => document::run(command, &output),
        Command::Export(args) => bundle::export(&args, &output),
        Command::Verify(args) => bundle::verify(&args, &output),
        Command::Demo(args) => demo::run(args, &output),
        Command::Wallet(command) => wallet::run(command, &output),
        Command::Authority(command) => authority::run(command, &output),
        Command::Annuaire(command) => annuaire::run(command, &output),
        Command::Decode(command) => decode::run(&command, &output),
    };
    match done {
        Ok(code) => code,
        Err(fault) => output.fault(&fault),
    }
}
