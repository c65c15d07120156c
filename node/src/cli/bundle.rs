//! `basoche export` and `basoche verify`.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use basoche_protocol::document::DocumentKey;
use basoche_protocol::dossier::{DocumentFact, Replica};
use basoche_protocol::id::DossierId;
use basoche_protocol::message::KeyWrap;
use basoche_registry::Anchors;
use clap::Args;
use serde::Serialize;

use super::act::dossier_id;
use super::document::save;
use super::fault::exit;
use super::person::PassphraseArgs;
use super::{Fault, NodeArgs, Output};
use crate::bundle::{self, Report, Verdict};
use crate::control::Request;
use crate::wallet::Wallet;

/// What to export.
#[derive(Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The dossier.
    #[arg(long, value_parser = dossier_id)]
    dossier: DossierId,
    /// Where to write the bundle; never replaces a file.
    #[arg(long, short)]
    out: PathBuf,
}

/// What to check.
#[derive(Args)]
pub(super) struct VerifyArgs {
    /// The trust anchors, from a source that you trust. Without them nothing is proved (exit code 3).
    #[arg(long, value_name = "FILE")]
    anchors: Option<PathBuf>,
    /// The wallet of a recipient of personal documents, which are then opened for the verification; nothing of them is
    /// written anywhere. Without it what they say is not disclosed.
    #[arg(long = "as", value_name = "WALLET")]
    wallet: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// The bundle.
    bundle: PathBuf,
}

#[derive(Serialize)]
struct Exported {
    v: u64,
    dossier: DossierId,
    bundle: String,
    bytes: u64,
}

pub(super) fn export(args: &ExportArgs, output: &Output) -> Result<ExitCode, Fault> {
    let client = args.node.client()?;
    let request = Request::Export {
        dossier: args.dossier,
    };
    let bytes = save(&args.out, |file| Ok(client.download(&request, file)?))?;
    let answer = Exported {
        v: 1,
        dossier: args.dossier,
        bundle: args.out.display().to_string(),
        bytes,
    };
    output.answer(&answer, || {
        format!(
            "{} ({bytes} bytes) holds the evidence. Check it: basoche verify --anchors ANCHORS {}",
            answer.bundle, answer.bundle
        )
    });
    Ok(ExitCode::SUCCESS)
}

pub(super) fn verify(args: &VerifyArgs, output: &Output) -> Result<ExitCode, Fault> {
    let anchors = match &args.anchors {
        Some(path) => {
            let bytes = std::fs::read(path).map_err(|error| Fault::unreadable(path, &error))?;
            let parsed = Anchors::parse(&bytes).map_err(|error| {
                Fault::new(
                    exit::MALFORMED,
                    "anchors",
                    format!("{}: {error}", path.display()),
                    path.display(),
                )
            });
            Some(parsed?)
        }
        None => None,
    };
    let file = File::open(&args.bundle).map_err(|error| Fault::unreadable(&args.bundle, &error))?;
    let size = file
        .metadata()
        .map_err(|error| Fault::unreadable(&args.bundle, &error))?
        .len();
    let bar = output.bytes("verifying", size);
    let wallet = args.wallet.as_ref();
    let wallet = wallet.map(|path| Ok::<_, Fault>(Wallet::open(path, &args.passphrase.read()?)?));
    let wallet = wallet.transpose()?;
    let report = bundle::verify_as(
        BufReader::with_capacity(1 << 20, file),
        anchors.as_ref(),
        &|dossier, document, replica| open_key(wallet.as_ref()?, dossier, document, replica),
        &|done, total| {
            bar.set_length(total);
            bar.set_position(done);
        },
    );
    bar.finish_and_clear();
    output.answer(&report, || describe(&report, args.anchors.is_some()));
    Ok(ExitCode::from(report.exit_code()))
}

/// The key of a personal document, as far as one of the wraps for the wallet's holder is the one committed to.
fn open_key(
    wallet: &Wallet,
    dossier: &DossierId,
    document: &DocumentFact,
    replica: &Replica,
) -> Option<DocumentKey> {
    let wraps = replica.state().wraps(document, &wallet.subject);
    let mut keys = wraps.into_iter().filter_map(|given| {
        let wrap = KeyWrap {
            recipient: wallet.subject,
            jwe: given.jwe.to_owned(),
        };
        wallet.open_key(&wrap, dossier, &document.reference.root).ok()
    });
    keys.find(|key| document.reference.is_key(key))
}

/// The verdict in words: everything that is not proved, then the verdict.
fn describe(report: &Report, anchors_given: bool) -> String {
    let claims = report.claims();
    let proved = claims
        .iter()
        .filter(|claim| claim.verdict == Verdict::Proved)
        .count();
    let mut lines: Vec<_> = claims
        .iter()
        .filter(|claim| claim.verdict != Verdict::Proved)
        .map(|claim| {
            let member = claim.member.as_deref().unwrap_or("-");
            let verdict = match claim.verdict {
                Verdict::Proved => "proved",
                Verdict::Undetermined => "undetermined",
                Verdict::Contradicted => "CONTRADICTED",
            };
            format!(
                "{verdict}: {} [{}] in {member}: {}",
                claim.id, claim.code, claim.reason
            )
        })
        .collect();
    for reach in report.complete_to() {
        lines.push(format!("complete to entry {} of node {}", reach.size, reach.node));
    }
    lines.push(format!("{proved} of {} claims hold", claims.len()));
    let undisclosed = report.undisclosed();
    if undisclosed > 0 {
        lines.push(format!(
            "what {undisclosed} personal documents say is NOT DISCLOSED: only a recipient can show it, with --as WALLET"
        ));
    }
    lines.push(match report.verdict() {
        Verdict::Proved => "PROVED against the given anchors".into(),
        Verdict::Undetermined if !anchors_given => "NOT PROVED: give the trust anchors with --anchors".into(),
        Verdict::Undetermined => "UNDETERMINED: the evidence is not complete".into(),
        Verdict::Contradicted => "CONTRADICTED: the evidence does not hold together".into(),
    });
    lines.join("\n")
}
