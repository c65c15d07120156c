//! `basoche annuaire search`: who is in the registry, as the running node holds it.

use std::process::ExitCode;

use basoche_protocol::id::SubjectId;
use basoche_protocol::role::Role;
use basoche_registry::search::Query;
use clap::Args;
use serde_json::json;

use super::act::unexpected;
use super::annuaire::mark;
use super::values::subject;
use super::{Fault, NodeArgs, Output};
use crate::control::{Answer, Client, Request, SUBJECTS, SubjectView};

/// What is looked for.
#[derive(Args)]
pub(super) struct SearchArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The beginning of a subject's id or of its certificate's SHA-256, or a part of its organisation's name.
    #[arg(value_name = "TEXT", default_value = "")]
    text: String,
    /// A role: judge, clerk, expert, lawyer, party or node.
    #[arg(long, value_parser = role)]
    role: Option<Role>,
    /// A specialty's code, with or without the version of its nomenclature: `C-01.02`, `2022-12-05:C-01.02`.
    #[arg(long, value_name = "CODE")]
    competence: Option<String>,
    /// Served by this node.
    #[arg(long, value_name = "NODE", value_parser = subject)]
    served_by: Option<SubjectId>,
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=SUBJECTS as u64))]
    limit: u64,
}

fn role(text: &str) -> Result<Role, &'static str> {
    Role::from_name(text).ok_or("judge, clerk, expert, lawyer, party or node")
}

/// Who was found.
pub(super) struct Found {
    pub(super) subjects: Vec<SubjectView>,
    /// How many fit besides.
    pub(super) more: u64,
}

/// Asks the node.
pub(super) fn find(client: &Client, query: Query, most: usize) -> Result<Found, Fault> {
    match client.ask(&Request::Search { query, most })? {
        Answer::Subjects { subjects, more } => Ok(Found { subjects, more }),
        _ => Err(unexpected()),
    }
}

impl Found {
    /// A line for each, and how many more there are.
    pub(super) fn describe(&self) -> String {
        let mut lines: Vec<_> = self.subjects.iter().map(line).collect();
        if self.more > 0 {
            lines.push(format!(
                "and {} more: `basoche annuaire search` finds them",
                self.more
            ));
        }
        lines.join("\n")
    }
}

fn line(one: &SubjectView) -> String {
    let (roles, mark) = (one.roles.join(", "), mark(one.test));
    let competent = match one.competences.as_slice() {
        [] => String::new(),
        competences => format!(", competent for {}", competences.join(", ")),
    };
    format!(
        "{} {roles} at {} (node {}){competent}, certificate {} ({}), {}{mark}",
        one.subject, one.organisation, one.node, one.certificate, one.status, one.origin
    )
}

pub(super) fn run(what: SearchArgs, output: &Output) -> Result<ExitCode, Fault> {
    let query = Query {
        text: what.text,
        role: what.role,
        competence: what.competence,
        node: what.served_by,
    };
    // The argument's range fits.
    let most = usize::try_from(what.limit).unwrap_or(SUBJECTS);
    let found = find(&what.node.client()?, query, most)?;
    let answer = json!({ "v": 1, "subjects": found.subjects, "more": found.more });
    output.answer(&answer, || match found.subjects.is_empty() {
        true => "Nobody in the logs that this node holds fits.".to_owned(),
        false => found.describe(),
    });
    Ok(ExitCode::SUCCESS)
}
