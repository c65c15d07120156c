//! `basoche authority attribute`: roles and competences beyond the enrolment. SPEC §9.3, REG-25.

use std::process::ExitCode;

use basoche_protocol::id::SubjectId;
use basoche_protocol::role::Role;
use basoche_registry::entry::{Attribute, Competence};
use clap::Args;

use super::office::{Office, Statement};
use super::{OfficeArgs, role};
use crate::cli::values::subject;
use crate::cli::{Fault, Output, when};

/// What is granted or withdrawn, and of whom.
#[derive(Args)]
pub(in crate::cli) struct AttributeArgs {
    /// Whom.
    #[arg(long, value_name = "SUBJECT", value_parser = subject)]
    subject: SubjectId,
    /// Grant it; else --withdraw.
    #[arg(long, conflicts_with = "withdraw", required_unless_present = "withdraw")]
    grant: bool,
    /// Withdraw it.
    #[arg(long)]
    withdraw: bool,
    /// A role; once for each: judge, clerk, expert, lawyer or party.
    #[arg(long, value_parser = role, required_unless_present = "competence")]
    role: Vec<Role>,
    /// A specialty, by the version of the nomenclature and the code in it, `2022-12-05:C-01.02`; once for each.
    #[arg(long, value_name = "NOMENCLATURE:CODE", value_parser = competence)]
    competence: Vec<Competence>,
    /// Until when it is granted, RFC 3339; without end if not given.
    #[arg(long, value_name = "INSTANT", conflicts_with = "withdraw")]
    until: Option<String>,
    /// From when, RFC 3339, not earlier than now; now if not given.
    #[arg(long, value_name = "INSTANT")]
    effective_at: Option<String>,
}

fn competence(text: &str) -> Result<Competence, &'static str> {
    let parts = text.split_once(':');
    let parts = parts.filter(|(nomenclature, code)| !nomenclature.is_empty() && !code.is_empty());
    let (nomenclature, code) = parts.ok_or("the nomenclature's version, a colon and the code")?;
    Ok(Competence {
        nomenclature: nomenclature.to_owned(),
        code: code.to_owned(),
    })
}

/// Enters it.
pub(super) fn enter(args: &OfficeArgs, what: AttributeArgs, output: &Output) -> Result<ExitCode, Fault> {
    let instant = |text: Option<String>| text.as_deref().map(when::parse).transpose();
    let (until, effective_at) = (instant(what.until)?, instant(what.effective_at)?);
    let mut attribute = Attribute {
        granted: what.grant,
        roles: what.role,
        competences: what.competence,
        until,
    };
    attribute.roles.sort_unstable();
    attribute.roles.dedup();
    attribute.competences.sort_unstable();
    attribute.competences.dedup();
    let statement = Statement::new(what.subject, attribute).from(effective_at);
    Office::open(args)?.state(statement, output)
}
