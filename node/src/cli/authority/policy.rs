//! `basoche authority agree` and `policy`: other witnesses in the place of those of the anchors. SPEC §9.3, REG-27.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use basoche_protocol::envelope::Envelope;
use basoche_protocol::text::b64url_encode;
use basoche_registry::Anchors;
use basoche_registry::entry::PolicyChange;
use basoche_registry::leaf::{Capacity, CoSignature, agreement};
use basoche_registry::log::Policy;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::files::{bad_request, check_version, envelopes, read_json};
use super::found::read_policy;
use super::office::{Office, Statement};
use super::{ANCHORS, OfficeArgs};
use crate::cli::fault::exit;
use crate::cli::{Fault, Output, annuaire, ask};
use crate::effects::now;
use crate::files::write_atomic;

/// Which policy, of which federation.
#[derive(Args)]
pub(in crate::cli) struct PolicyArgs {
    /// The federation's anchor file.
    #[arg(long, value_name = "FILE")]
    anchors: PathBuf,
    /// The policy (C2SP tlog-policy), at most 8 KiB.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Its number: higher than that of any before it.
    #[arg(long, value_name = "NUMBER")]
    number: u64,
}

/// What `agree` writes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Agreed {
    v: u64,
    /// The log whose root agrees.
    origin: String,
    number: u64,
    policy: String,
    /// The signature, base64url.
    cosignature: String,
}

impl PolicyArgs {
    fn read(&self) -> Result<(Anchors, PolicyChange), Fault> {
        let anchors = annuaire::anchors(&self.anchors)?;
        let policy = read_policy(&self.policy)?;
        let asks = Policy::parse(policy.as_bytes()).is_ok_and(|policy| policy.asks());
        if !asks {
            let what = "it asks for no witness: a federation that has witnesses does not go back to none";
            return Err(bad_request(&self.policy, what));
        }
        let number = self.number;
        Ok((anchors, PolicyChange { number, policy }))
    }
}

/// Signs, as a root of an authority, that it agrees to a policy, for the logs of the others.
pub(super) fn agree(
    args: &OfficeArgs,
    what: &PolicyArgs,
    out: &Path,
    output: &Output,
) -> Result<ExitCode, Fault> {
    ask::check_free(out)?;
    let (anchors, change) = what.read()?;
    let office = Office::open(args)?;
    let anchored = anchors.policy().map(|policy| policy.digest());
    let anchored = anchored.ok_or_else(|| {
        bad_request(
            &what.anchors,
            "these anchors have no policy that asks for witnesses",
        )
    })?;
    let target = agreement(&anchored, &change);
    let unsigned = CoSignature::draft(&office.wallet, target, Capacity::Authority, now());
    let signed = unsigned.sign(&office.wallet).map_err(Fault::signer)?;
    let agreed = Agreed {
        v: 1,
        origin: office.ledger.log.origin().to_owned(),
        number: change.number,
        policy: change.policy,
        cosignature: b64url_encode(&signed.encode()),
    };
    ask::write_json(out, &agreed)?;
    let answer = json!({ "v": 1, "origin": agreed.origin, "number": agreed.number, "agreed": out });
    output.answer(&answer, || {
        format!(
            "{} agrees to policy {}. Hand {} to the other authorities, for `basoche authority policy --agreed`.",
            agreed.origin,
            agreed.number,
            out.display()
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// Enters a policy to which most authorities agree.
pub(super) fn enter(
    args: &OfficeArgs,
    what: &PolicyArgs,
    agreed: &[PathBuf],
    output: &Output,
) -> Result<ExitCode, Fault> {
    let (anchors, change) = what.read()?;
    let mut cosignatures: Vec<Envelope> = Vec::new();
    for path in agreed {
        let file: Agreed = read_json(path, "an authority's agreement to a policy")?;
        check_version(file.v, path)?;
        if (file.number, &file.policy) != (change.number, &change.policy) {
            let what = format!(
                "{} agrees to policy {}, or to another text",
                file.origin, file.number
            );
            return Err(bad_request(path, what));
        }
        cosignatures.extend(envelopes(&[file.cosignature], path)?);
    }
    let mut office = Office::open(args)?;
    office.ledger = office.ledger.among(&anchors)?;
    let draft = office.sign(Statement::of_the_log(change).asked_by(cosignatures))?;
    office.check(&draft)?;
    // Before the entry: with it the log cannot be read without the roots that have agreed.
    let path = args.dir.join(ANCHORS);
    write_atomic(&path, anchors.to_json().as_bytes(), 0o644)
        .map_err(|error| Fault::unwritable(&path, &error))?;
    office.put(draft, output)
}

/// The anchors of another federation than the authority's.
pub(super) fn other_federation(path: &Path, origin: &str) -> Fault {
    let message = format!(
        "{}: these anchors do not have {origin} as its directory has it",
        path.display()
    );
    Fault::new(exit::CONFIGURATION, "other-anchors", message, path.display())
        .action("Give the anchor file of the federation that this authority belongs to.")
}
