//! `basoche wallet …`: a person's key, in a file that the person keeps.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use basoche_protocol::id::CertificateId;
use basoche_protocol::text::b64url_decode;
use basoche_registry::Certificate;
use clap::Subcommand;
use serde_json::json;

use super::fault::exit;
use super::person::PassphraseArgs;
use super::{Fault, Output};
use crate::files::write_new;
use crate::wallet::{PersonRequest, Wallet};

/// Make and look at a person's key.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a key, sealed under a passphrase, and what an authority needs in order to enrol its holder.
    Create {
        /// Where to write the wallet; an existing file is never replaced.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// What the holder calls it. It shows in the certificate: a role name rather than a person's.
        #[arg(long, value_name = "TEXT")]
        label: String,
        /// Where to write the enrolment request.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseArgs,
    },
    /// Say whose a wallet is; its passphrase is not needed.
    Show {
        /// The wallet.
        wallet: PathBuf,
        /// Where to write the enrolment request again.
        #[arg(long, value_name = "FILE")]
        request: Option<PathBuf>,
    },
}

pub(super) fn run(command: Command, output: &Output) -> Result<ExitCode, Fault> {
    match command {
        Command::Create {
            out,
            label,
            request,
            passphrase,
        } => {
            if request.exists() {
                let error = std::io::ErrorKind::AlreadyExists.into();
                return Err(Fault::unwritable(&request, &error).action("Choose another name."));
            }
            let enrolment = Wallet::create(&out, &label, &passphrase.read()?)?;
            write_request(&request, &enrolment)?;
            show(&out, &enrolment, output, || {
                format!("Have it enrolled with {}.", request.display())
            })
        }
        Command::Show { wallet, request } => {
            let enrolment = Wallet::request(&wallet)?;
            if let Some(request) = request {
                write_request(&request, &enrolment)?;
            }
            show(&wallet, &enrolment, output, String::new)
        }
    }
}

fn write_request(path: &Path, enrolment: &PersonRequest) -> Result<(), Fault> {
    let json = serde_json::to_vec_pretty(enrolment).unwrap_or_default();
    write_new(path, &json, 0o644)
        .map_err(|error| Fault::unwritable(path, &error).action("Choose another name."))
}

fn show(
    wallet: &Path,
    request: &PersonRequest,
    output: &Output,
    next: impl FnOnce() -> String,
) -> Result<ExitCode, Fault> {
    let certificate = certificate_id(wallet, &request.certificate)?;
    let subject = request.subject;
    let answer = json!({ "v": 1, "subject": subject, "certificate": certificate });
    output.answer(&answer, || {
        let text = format!("subject {subject}\ncertificate {certificate}\n{}", next());
        text.trim_end().to_owned()
    });
    Ok(ExitCode::SUCCESS)
}

fn certificate_id(wallet: &Path, certificate: &str) -> Result<CertificateId, Fault> {
    let read = b64url_decode(certificate).and_then(|der| Certificate::from_der(&der).ok());
    read.map(|certificate| certificate.id()).ok_or_else(|| {
        let message = format!("{}: its certificate cannot be read", wallet.display());
        Fault::new(exit::MALFORMED, "wallet", message, wallet.display())
    })
}
