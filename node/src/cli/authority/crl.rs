//! `basoche authority crl`: a certificate authority's revocation list beside the log, and what the log lacks of it. SPEC §9.4.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use basoche_registry::crl::{CRL_BYTES, Difference, Missing};
use basoche_registry::{Crl, CrlError};
use clap::Args;
use serde_json::json;

use super::OfficeArgs;
use super::files::bad_request;
use super::office::{Ledger, Office, Statement};
use crate::cli::fault::exit;
use crate::cli::{Fault, Output};
use crate::effects::now;

/// Lines of one kind that are printed; the rest is counted.
const SHOWN: usize = 50;

/// Which list, and whether to act on it.
#[derive(Args)]
pub(in crate::cli) struct CrlArgs {
    /// The list, DER or PEM, as its certificate authority publishes it.
    #[arg(long, value_name = "FILE")]
    list: PathBuf,
    /// Enter the revocations that the log lacks; without it nothing is written, and no key is asked for.
    #[arg(long)]
    enter: bool,
}

pub(super) fn compare(args: &OfficeArgs, what: &CrlArgs, output: &Output) -> Result<ExitCode, Fault> {
    if args.draft.is_some() {
        let what = "it makes entries, no drafts: what takes a second officer is withdrawn with `authority revoke --draft`";
        return Err(Fault::usage(what));
    }
    let mut office = None;
    let ledger = match what.enter {
        true => &mut office.insert(Office::open(args)?).ledger,
        false => &mut Ledger::read(&args.dir)?,
    };
    let at = now();
    let origin = ledger.log.origin().to_owned();
    let bytes = read(&what.list)?;
    let crl = Crl::read(&bytes, ledger.log.replica(), &origin, at);
    let crl = crl.map_err(|error| refused(&what.list, &error))?;
    let difference = crl.beside(ledger.log.replica());
    let mut entered = Vec::new();
    let mut stopped = None;
    if let Some(office) = &mut office {
        for missing in &difference.missing {
            match enter(office, missing) {
                Ok(index) => entered.extend(index),
                Err(fault) => {
                    stopped = Some(fault);
                    break;
                }
            }
        }
    }
    if let Some(mut fault) = stopped {
        let (done, all) = (entered.len(), difference.missing.len());
        fault.message = format!(
            "{done} of {all} revocations were entered, then: {}",
            fault.message
        );
        return Err(fault.action(
            "What was entered stays. Go on in an hour, or have a second officer sign: `basoche authority revoke --draft`.",
        ));
    }
    let stale = crl.is_stale(at);
    tell(&crl, &difference, &entered, stale, output);
    Ok(match difference.missing.len() > entered.len() {
        true => ExitCode::from(exit::CONTRADICTED),
        false if stale => ExitCode::from(exit::UNDETERMINED),
        false => ExitCode::SUCCESS,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path);
    let read = opened.and_then(|file| file.take(CRL_BYTES as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| Fault::unreadable(path, &error))?;
    Ok(bytes)
}

fn refused(path: &Path, error: &CrlError) -> Fault {
    let fault = bad_request(path, error);
    match error {
        CrlError::Unknown { .. } => {
            fault.action("State it first: `basoche authority certificate-authority`.")
        }
        CrlError::Future { .. } => fault.action("Set this machine's clock, then try again."),
        _ => fault.action("Fetch the whole list anew from its certificate authority."),
    }
}

/// Enters what the log lacks; `None` for a certificate on hold, which is for an officer to decide.
fn enter(office: &mut Office, missing: &Missing) -> Result<Option<u64>, Fault> {
    let Some(revocation) = missing.revocation(now()) else {
        return Ok(None);
    };
    let draft = office.sign(Statement::new(missing.subject, revocation))?;
    Ok(Some(office.ledger.enter(draft)?.index))
}

fn tell(crl: &Crl, difference: &Difference, entered: &[u64], stale: bool, output: &Output) {
    let Difference {
        missing,
        agreed,
        strangers,
        unlisted,
    } = difference;
    let row = |one: &Missing| {
        json!({
            "certificate": one.certificate, "subject": one.subject, "since": one.listed.since.to_string(),
            "reason": one.listed.reason.map(|reason| reason.name()),
        })
    };
    let answer = json!({
        "v": 1, "certificate_authority": crl.issuer, "this_update": crl.this_update.to_string(),
        "next_update": crl.next_update.map(|next| next.to_string()), "stale": stale, "listed": crl.len(),
        "missing": missing.iter().map(row).collect::<Vec<_>>(), "agreed": agreed, "strangers": strangers,
        "unlisted": unlisted, "entered": entered,
    });
    output.answer(&answer, || {
        let mut lines = vec![format!(
            "The list of {} of {}: {} certificates, of which {strangers} are not enrolled here and {agreed} are withdrawn here \
             too.",
            crl.issuer,
            crl.this_update,
            crl.len()
        )];
        if let Some(next) = crl.next_update.filter(|_| stale) {
            lines.push(format!("It is out of date: the next one was due at {next}."));
        }
        for one in missing.iter().take(SHOWN) {
            let (certificate, subject, since) = (one.certificate, one.subject, one.listed.since);
            let what = one.listed.reason.map_or("on hold", |reason| reason.name());
            lines.push(format!("withdrawn there, in force here: {certificate} of {subject}, {what} since {since}"));
        }
        if missing.len() > SHOWN {
            lines.push(format!("and {} more", missing.len() - SHOWN));
        }
        if !unlisted.is_empty() {
            lines.push(format!("{} are withdrawn here and not listed there.", unlisted.len()));
        }
        let on_hold = missing.iter().filter(|one| one.listed.reason.is_none()).count();
        let open = missing.len() - entered.len();
        lines.push(match (open, entered.len()) {
            (0, 0) => "The log lacks nothing of it.".into(),
            (0, n) => format!("{n} revocations are entered. Have the nodes import them."),
            (open, n) => format!(
                "{n} revocations are entered, {open} certificates are still in force here. Enter what is missing with --enter; \
                 whose certificate is on hold ({on_hold}) is suspended with `basoche authority suspend`."
            ),
        });
        lines.join("\n")
    });
}
