//! `basoche wallet …`: a person's key, in a file that the person keeps.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use basoche_protocol::id::{CertificateId, DossierId, SubjectId};
use basoche_protocol::jose::Signer;
use basoche_protocol::message::PartyEnrolment;
use basoche_protocol::text::b64url_decode;
use basoche_registry::entry::{KeyRecord, Reason, Renewal, Revocation, Veto};
use basoche_registry::{Certificate, Content};
use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde_bytes::ByteBuf;
use serde_json::json;

use super::act::dossier_id;
use super::ask::{Known, check_free, hand_out, write_json};
use super::authority::files::read_certificate;
use super::fault::exit;
use super::person::{PassphraseArgs, PersonArgs};
use super::values::{certificate_id as certificate, reason, subject};
use super::{Fault, NodeArgs, Output, when};
use crate::effects::random;
use crate::files::write_new;
use crate::keys::show_possession;
use crate::wallet::{PersonRequest, Wallet};

/// Make and look at a person's key, and ask its authority for what only its holder may.
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
        /// The authority's log for which it is: the request then proves that the holder wants the key there. No authority enrols
        /// it without; a root of an authority needs none.
        #[arg(long, value_name = "ORIGIN")]
        authority: Option<String>,
        /// Whose it is, if its holder is in the registry already and has lost the key (case 2-B).
        #[arg(long, value_name = "SUBJECT", value_parser = subject, requires = "authority")]
        subject: Option<SubjectId>,
        /// The one dossier for which it is, of a party whom no authority enrols: the request then proves that the holder wants
        /// the key there, and is for the expert (`basoche dossier enrol`).
        #[arg(long, value_parser = dossier_id, conflicts_with = "authority")]
        dossier: Option<DossierId>,
        /// Whose it is, if its holder has had a key in that dossier before.
        #[arg(long, value_name = "SUBJECT", value_parser = subject, requires = "dossier")]
        party: Option<SubjectId>,
        #[command(flatten)]
        passphrase: PassphraseArgs,
    },
    /// Make the next key of the holder of a wallet, and the request with which its authority enrols it (case 2-A).
    Renew {
        #[command(flatten)]
        asks: AskArgs,
        /// Where to write the new wallet, under the same passphrase; an existing file is never replaced.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// What the holder calls it.
        #[arg(long, value_name = "TEXT")]
        label: String,
        /// Until when the old key may still sign, RFC 3339: within 90 days.
        #[arg(long, value_name = "INSTANT")]
        until: String,
    },
    /// Write the request (PKCS #10) with which a certificate authority issues a certificate for the wallet's key.
    CertificateRequest {
        #[command(flatten)]
        person: PersonArgs,
        /// Where to write it, DER.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Take the certificate that a certificate authority issued for the wallet's key, before it is enrolled.
    Certify {
        #[command(flatten)]
        person: PersonArgs,
        /// The certificate, DER or PEM.
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// Where to write the wallet with that certificate, under the same passphrase; an existing file is never replaced.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Where to write the enrolment request.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
        /// The authority's log for which it is.
        #[arg(long, value_name = "ORIGIN")]
        authority: String,
    },
    /// Ask for the withdrawal of a certificate of the wallet's holder, or of whom its organisation answers for.
    Revoke {
        #[command(flatten)]
        asks: AskArgs,
        /// Which: SHA-256 of it, in hexadecimal; the wallet's own if not given.
        #[arg(long, value_name = "HEX", value_parser = certificate, requires = "of")]
        certificate: Option<CertificateId>,
        /// Whose it is, if it is not the wallet's holder's.
        #[arg(long, value_name = "SUBJECT", value_parser = subject, requires = "certificate")]
        of: Option<SubjectId>,
        /// Why: key-compromise, superseded, cessation or role-ended.
        #[arg(long, value_parser = reason)]
        reason: Reason,
        /// Acts from here on become contested. RFC 3339.
        #[arg(long, value_name = "INSTANT")]
        invalid_since: Option<String>,
    },
    /// Object to a key that is about to be given to somebody else in the holder's name (case 2-B).
    Veto {
        #[command(flatten)]
        asks: AskArgs,
        /// The index of the re-association in the log.
        #[arg(long, value_name = "INDEX")]
        entry: u64,
        /// In whose name, if it is not the wallet's holder's.
        #[arg(long, value_name = "SUBJECT", value_parser = subject)]
        of: Option<SubjectId>,
    },
    /// Say whose a wallet is; its passphrase is needed for `--authority` alone.
    Show {
        /// The wallet.
        wallet: PathBuf,
        /// Where to write the enrolment request again.
        #[arg(long, value_name = "FILE")]
        request: Option<PathBuf>,
        /// The authority's log for which the request is. One that has the key already takes it without.
        #[arg(long, value_name = "ORIGIN", requires = "request")]
        authority: Option<String>,
        #[command(flatten)]
        passphrase: PassphraseArgs,
    },
}

/// Who asks, through which node it is known what the log says last, and where the request goes.
#[derive(Args)]
pub(super) struct AskArgs {
    #[command(flatten)]
    person: PersonArgs,
    #[command(flatten)]
    node: NodeArgs,
    /// Where to write the request, for `basoche authority accept`.
    #[arg(long, value_name = "FILE")]
    request: PathBuf,
}

pub(super) fn run(command: Command, output: &Output) -> Result<ExitCode, Fault> {
    match command {
        Command::Create {
            out,
            label,
            request,
            authority,
            subject,
            dossier,
            party,
            passphrase,
        } => {
            check_free(&request)?;
            let whose = |certificate: &CertificateId| {
                let first = dossier.map(|dossier| PartyEnrolment::subject_of(&dossier, certificate));
                subject
                    .or(party)
                    .or(first)
                    .unwrap_or_else(|| SubjectId::new(random()))
            };
            let passphrase = passphrase.read()?;
            let mut enrolment = Wallet::create_for(&out, &label, whose, &passphrase)?;
            let place = authority.or_else(|| dossier.as_ref().map(PartyEnrolment::place));
            if let Some(place) = &place {
                enrolment.possession = Some(prove(&out, &passphrase, place)?);
            }
            write_json(&request, &enrolment)?;
            show(&out, &enrolment, output, || {
                match place {
                Some(_) => format!("Have it enrolled with {}.", request.display()),
                None => "It is for no authority's log (--authority): it can become a root of one, and nothing else.".into(),
            }
            })
        }
        Command::Renew {
            asks,
            out,
            label,
            until,
        } => {
            let until = when::parse(&until)?;
            check_free(&asks.request)?;
            let holder = asks.person.open()?;
            let known = Known::by_node(&asks.node, holder.subject)?;
            let passphrase = asks.person.passphrase()?;
            let made = Wallet::create_for(&out, &label, |_| holder.subject, &passphrase)?;
            let new = Wallet::open(&out, &passphrase)?;
            let unfit = || {
                Fault::new(
                    exit::MALFORMED,
                    "wallet",
                    "its certificate cannot be read",
                    out.display(),
                )
            };
            let der = b64url_decode(&made.certificate).ok_or_else(unfit)?;
            let certificate = Certificate::from_der(&der).map_err(|_| unfit())?;
            let spki = made.encryption_spki.as_deref().and_then(b64url_decode);
            let renewal = Renewal {
                key: KeyRecord {
                    certificate: certificate.id(),
                    spki_sha256: certificate.spki_sha256(),
                    algorithm: new.algorithm(),
                },
                replaces: holder.certificate(),
                until,
                encryption_spki: spki.map(ByteBuf::from),
                issuer: None,
            };
            let possession = show_possession(&new, &new.subject, &known.origin).map_err(Fault::signer)?;
            let mut request = known.ask(&holder, &renewal.into())?;
            request.certificate = made.certificate;
            request.cosignatures.push(possession);
            hand_out(&asks.request, holder.subject, &request, output)
        }
        Command::CertificateRequest { person, out } => {
            let wallet = person.open()?;
            let der = wallet.certificate_request()?;
            write_new(&out, &der, 0o644)
                .map_err(|error| Fault::unwritable(&out, &error).action("Choose another name."))?;
            let answer = json!({ "v": 1, "subject": wallet.subject, "certificate_request": out });
            output.answer(&answer, || {
                format!(
                    "Have a certificate authority issue a certificate from {}, then `basoche wallet certify`.",
                    out.display()
                )
            });
            Ok(ExitCode::SUCCESS)
        }
        Command::Certify {
            person,
            certificate,
            out,
            request,
            authority,
        } => {
            check_free(&request)?;
            let certificate = read_certificate(&certificate)?;
            let passphrase = person.passphrase()?;
            // Whoever cannot open it writes no other.
            person.open()?;
            let mut enrolment = Wallet::certify(&person.wallet, &out, &certificate)?;
            enrolment.possession = Some(prove(&out, &passphrase, &authority)?);
            write_json(&request, &enrolment)?;
            show(&out, &enrolment, output, || {
                format!("Have it enrolled with {}.", request.display())
            })
        }
        Command::Revoke {
            asks,
            certificate,
            of,
            reason,
            invalid_since,
        } => {
            let holder = asks.person.open()?;
            let revocation = Revocation {
                certificate: certificate.unwrap_or_else(|| holder.certificate()),
                invalid_since: invalid_since.as_deref().map(when::parse).transpose()?,
                reason,
            };
            asks.write(&holder, of, &revocation.into(), output)
        }
        Command::Veto { asks, entry, of } => {
            let holder = asks.person.open()?;
            asks.write(&holder, of, &Veto { entry }.into(), output)
        }
        Command::Show {
            wallet,
            request,
            authority,
            passphrase,
        } => {
            let mut enrolment = Wallet::request(&wallet)?;
            if let Some(authority) = authority {
                enrolment.possession = Some(prove(&wallet, &passphrase.read()?, &authority)?);
            }
            if let Some(request) = request {
                write_json(&request, &enrolment)?;
            }
            show(&wallet, &enrolment, output, String::new)
        }
    }
}

/// The proof that the wallet's holder wants its key in that log or dossier.
fn prove(wallet: &Path, passphrase: &SecretString, place: &str) -> Result<String, Fault> {
    let wallet = Wallet::open(wallet, passphrase)?;
    show_possession(&wallet, &wallet.subject, place).map_err(Fault::signer)
}

impl AskArgs {
    /// Writes what `holder` asks for about itself, or about `of`.
    fn write(
        &self,
        holder: &Wallet,
        of: Option<SubjectId>,
        content: &Content,
        output: &Output,
    ) -> Result<ExitCode, Fault> {
        let subject = of.unwrap_or(holder.subject);
        let request = Known::by_node(&self.node, subject)?.ask(holder, content)?;
        hand_out(&self.request, subject, &request, output)
    }
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
