//! `basoche authority delegate`: lets an expert enrol parties inside of a dossier. SPEC §9.3, REG-26.

use std::path::PathBuf;
use std::process::ExitCode;

use basoche_protocol::id::{DossierId, Salt, SubjectId};
use basoche_protocol::message::commitment;
use basoche_registry::entry::{DELEGATED_KEYS, Delegated, Delegation};
use clap::Args;

use super::OfficeArgs;
use super::office::{Office, Statement};
use crate::cli::act::dossier_id;
use crate::cli::parties::DelegationFile;
use crate::cli::values::subject;
use crate::cli::{Fault, Output, when};
use crate::effects::random;

/// What is delegated to whom, or no longer.
#[derive(Args)]
pub(in crate::cli) struct DelegateArgs {
    /// The expert.
    #[arg(long, value_name = "SUBJECT", value_parser = subject, required_unless_present_any = ["prolong", "withdraw"])]
    subject: Option<SubjectId>,
    /// The dossier. The log does not tell which it is.
    #[arg(long, value_parser = dossier_id, required_unless_present_any = ["prolong", "withdraw"])]
    dossier: Option<DossierId>,
    /// Where to write what the expert needs besides: for the expert alone, and for you to prolong or withdraw it.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["prolong", "withdraw"])]
    out: Option<PathBuf>,
    /// State the one of this file again, with another end or number.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["subject", "dossier", "out", "withdraw"])]
    prolong: Option<PathBuf>,
    /// Withdraw the one of this file: the keys enrolled under it end, too.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["subject", "dossier", "out", "until", "keys"])]
    withdraw: Option<PathBuf>,
    /// How many keys at most.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=DELEGATED_KEYS))]
    keys: u64,
    /// Until when, RFC 3339: the keys enrolled under it end then, too.
    #[arg(long, value_name = "INSTANT", required_unless_present = "withdraw")]
    until: Option<String>,
    /// From when, RFC 3339, not earlier than now; now if not given.
    #[arg(long, value_name = "INSTANT")]
    effective_at: Option<String>,
}

/// Enters it.
pub(super) fn enter(args: &OfficeArgs, what: DelegateArgs, output: &Output) -> Result<ExitCode, Fault> {
    let instant = |text: Option<String>| text.as_deref().map(when::parse).transpose();
    let (until, effective_at) = (instant(what.until)?, instant(what.effective_at)?);
    let file = match (what.prolong.or(what.withdraw), what.subject.zip(what.dossier)) {
        (Some(path), _) => DelegationFile::read(&path)?,
        (None, Some((delegate, dossier))) => DelegationFile {
            v: 1,
            delegate,
            dossier,
            salt: Salt::new(random()),
        },
        (None, None) => return Err(Fault::usage("neither a new delegation nor the file of one")),
    };
    let delegation = Delegation {
        dossier: commitment(&file.salt, &file.dossier),
        granted: until.map(|until| Delegated {
            keys: what.keys,
            until,
        }),
    };
    let office = Office::open(args)?;
    if let Some(out) = &what.out {
        file.write(out)?;
    }
    let statement = Statement::new(file.delegate, delegation).from(effective_at);
    let entered = office.state(statement, output);
    if let (Err(_), Some(out)) = (&entered, &what.out) {
        // Without the entry it is worth nothing; that it stays behind if it cannot be removed does no harm.
        let _ = std::fs::remove_file(out);
    }
    entered
}
