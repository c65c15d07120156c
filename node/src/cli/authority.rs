//! `basoche authority …`: an authority's log, kept offline in a directory. SPEC §9.5.
//!
//! ```text
//! DIR/authority.wallet   the root key, sealed under its passphrase
//! DIR/authority.json     the public part, for the anchors
//! DIR/entries/00000000.entry …   the log, one file for each entry: what nodes import
//! ```

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use basoche_protocol::crypto::sha256;
use basoche_protocol::id::{CertificateId, Salt, SubjectId};
use basoche_protocol::jose::Algorithm;
use basoche_protocol::role::{Assurance, OrganisationKind, Role};
use basoche_protocol::text::b64url_decode;
use basoche_protocol::time::Instant;
use basoche_registry::entry::{Enrolment, Genesis, KeyRecord, Node, Organisation, Reason, Revocation};
use basoche_registry::policy::roles_of;
use basoche_registry::{Anchors, Authority, AuthorityLog, Certificate, Content, EntryFile, Inadmissible};
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use serde_json::json;

use super::annuaire;
use super::fault::exit;
use super::person::PassphraseArgs;
use super::{Fault, Output, when};
use crate::effects::{now, random};
use crate::files::{write_atomic, write_new};
use crate::keys::NodeRequest;
use crate::wallet::{PersonRequest, Wallet};

/// Bytes of a request or of `authority.json`.
const JSON_BYTES: u64 = 64 * 1024;
const WALLET: &str = "authority.wallet";
const PUBLIC: &str = "authority.json";
const ENTRIES: &str = "entries";

/// Keep the log of an authority: a court's, a bar's or a company of experts'.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Make an authority: its root key, its public part, the first entry of its log.
    Init {
        #[command(flatten)]
        office: OfficeArgs,
        /// The name of its log: lower-case letters, digits, '-', '.' and '/'.
        #[arg(long)]
        origin: String,
        /// The one profession that it enrols: court, bar or expert-company.
        #[arg(long, value_parser = profession)]
        profession: OrganisationKind,
        /// It exists for trials and demonstrations, and is marked wherever it shows.
        #[arg(long)]
        test: bool,
    },
    /// Write the anchor file of these authorities.
    Anchors {
        /// Where to write it.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The authorities' directories.
        #[arg(required = true, value_name = "DIR")]
        dirs: Vec<PathBuf>,
    },
    /// State an organisation of the authority's profession.
    Organisation {
        #[command(flatten)]
        office: OfficeArgs,
        /// Its name.
        #[arg(long)]
        name: String,
        /// SIREN number or court code.
        #[arg(long)]
        identifier: String,
    },
    /// Enrol an organisation's node, from what `basoche node init` wrote.
    Node {
        #[command(flatten)]
        office: OfficeArgs,
        /// The organisation that runs it.
        #[arg(long, value_name = "SUBJECT", value_parser = subject)]
        organisation: SubjectId,
        /// The node's request.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
    },
    /// Enrol a person, from what `basoche wallet create` wrote.
    Person {
        #[command(flatten)]
        office: OfficeArgs,
        /// The person's request.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
        /// A role that the person may act in: judge, clerk, expert, lawyer or party.
        #[arg(long, required = true, num_args = 1.., value_name = "ROLE", value_parser = role)]
        role: Vec<Role>,
        /// The node that serves the person, of whichever authority.
        #[arg(long, value_name = "SUBJECT", value_parser = subject)]
        node: SubjectId,
        /// How the key is protected: software, hardware or hosted.
        #[arg(long, default_value = "software", value_parser = assurance)]
        assurance: Assurance,
    },
    /// Withdraw a certificate, for good.
    Revoke {
        #[command(flatten)]
        office: OfficeArgs,
        /// Which: SHA-256 of it, in hexadecimal.
        #[arg(long, value_name = "HEX", value_parser = certificate_id)]
        certificate: CertificateId,
        /// Why: key-compromise, superseded, cessation or role-ended.
        #[arg(long, value_parser = reason)]
        reason: Reason,
        /// From when, RFC 3339, not earlier than now; now if not given.
        #[arg(long, value_name = "INSTANT")]
        effective_at: Option<String>,
        /// Acts from here on become contested: the key may have been in other hands. RFC 3339.
        #[arg(long, value_name = "INSTANT")]
        invalid_since: Option<String>,
    },
}

/// Which authority, and the passphrase of its root key.
#[derive(Args)]
pub(super) struct OfficeArgs {
    /// The authority's directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

fn profession(text: &str) -> Result<OrganisationKind, &'static str> {
    OrganisationKind::from_name(text).ok_or("court, bar or expert-company")
}

fn role(text: &str) -> Result<Role, &'static str> {
    let role = Role::from_name(text).filter(|role| *role != Role::Node);
    role.ok_or("judge, clerk, expert, lawyer or party")
}

fn assurance(text: &str) -> Result<Assurance, &'static str> {
    let assurance = Assurance::from_name(text).filter(|assurance| *assurance != Assurance::Seal);
    assurance.ok_or("software, hardware or hosted")
}

fn reason(text: &str) -> Result<Reason, &'static str> {
    Reason::from_name(text).ok_or("key-compromise, superseded, cessation or role-ended")
}

fn subject(text: &str) -> Result<SubjectId, &'static str> {
    SubjectId::from_hex(text).ok_or("a subject is 32 lower-case hexadecimal digits")
}

fn certificate_id(text: &str) -> Result<CertificateId, &'static str> {
    CertificateId::from_hex(text).ok_or("a certificate's SHA-256 is 64 lower-case hexadecimal digits")
}

pub(super) fn run(command: Command, output: &Output) -> Result<ExitCode, Fault> {
    match command {
        Command::Init {
            office,
            origin,
            profession,
            test,
        } => init(&office, &origin, profession, test, output),
        Command::Anchors { out, dirs } => anchors(&out, &dirs, output),
        Command::Organisation {
            office: args,
            name,
            identifier,
        } => {
            let office = Office::open(&args)?;
            let kind = office.public.profession;
            let organisation = Organisation {
                kind,
                identifier,
                name,
            };
            let subject = SubjectId::new(random());
            let statement = Statement::new(subject, organisation);
            office.state(statement)?.tell(output)
        }
        Command::Node {
            office: args,
            organisation,
            request: path,
        } => {
            let office = Office::open(&args)?;
            let request: NodeRequest = read_json(&path, "a node's enrolment request")?;
            check_version(request.v, &path)?;
            let (seal, der) = key(&request.seal_certificate, &path)?;
            let unfit = || bad_request(&path, "encryption_spki is not base64url");
            let node = Node {
                organisation,
                seal,
                encryption_spki: b64url_decode(&request.encryption_spki).ok_or_else(unfit)?,
                tls_spki_sha256: request.tls_spki_sha256,
                addresses: request.addresses,
            };
            let statement = Statement::new(request.node, node).beside(der);
            office.state(statement)?.tell(output)
        }
        Command::Person {
            office: args,
            request: path,
            role: mut roles,
            node,
            assurance,
        } => {
            let office = Office::open(&args)?;
            let request: PersonRequest = read_json(&path, "a person's enrolment request")?;
            check_version(request.v, &path)?;
            let (key, der) = key(&request.certificate, &path)?;
            let unfit = || bad_request(&path, "the encryption key is not base64url");
            let decode = |spki: &String| b64url_decode(spki).map(ByteBuf::from).ok_or_else(unfit);
            let encryption_spki = request.encryption_spki.as_ref().map(decode).transpose()?;
            roles.sort_unstable();
            roles.dedup();
            let enrolment = Enrolment {
                key,
                roles,
                node,
                assurance,
                commitment: None,
                encryption_spki,
            };
            let statement = Statement::new(request.subject, enrolment).beside(der);
            office.state(statement)?.tell(output)
        }
        Command::Revoke {
            office: args,
            certificate,
            reason,
            effective_at,
            invalid_since,
        } => {
            let instant = |text: Option<String>| text.as_deref().map(when::parse).transpose();
            let (effective_at, invalid_since) = (instant(effective_at)?, instant(invalid_since)?);
            let office = Office::open(&args)?;
            let revocation = Revocation {
                certificate,
                invalid_since,
                reason,
            };
            let mut statement = Statement::new(office.holder(&certificate)?, revocation);
            statement.effective_at = effective_at;
            office.state(statement)?.tell(output)
        }
    }
}

/// `authority.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Public {
    v: u64,
    origin: String,
    profession: OrganisationKind,
    test: bool,
    /// The root certificate, DER, base64url.
    certificate: String,
}

impl Public {
    fn read(dir: &Path) -> Result<Self, Fault> {
        let path = dir.join(PUBLIC);
        let public: Self = read_json(&path, "an authority's public part")?;
        check_version(public.v, &path)?;
        Ok(public)
    }

    fn authority(&self, dir: &Path) -> Result<Authority, Fault> {
        let path = dir.join(PUBLIC);
        let der = b64url_decode(&self.certificate);
        let der = der.ok_or_else(|| bad_request(&path, "the certificate is not base64url"))?;
        Authority::new(&self.origin, self.profession, &der, self.test)
            .map_err(|error| bad_request(&path, error))
    }
}

/// What is to be stated of somebody.
struct Statement {
    subject: Option<SubjectId>,
    content: Content,
    effective_at: Option<Instant>,
    certificate: Vec<u8>,
}

impl Statement {
    fn new(subject: SubjectId, content: impl Into<Content>) -> Self {
        Self {
            subject: Some(subject),
            content: content.into(),
            effective_at: None,
            certificate: Vec::new(),
        }
    }

    fn beside(mut self, certificate: Vec<u8>) -> Self {
        self.certificate = certificate;
        self
    }
}

/// An authority's directory, its root key and its whole log, checked.
struct Office {
    dir: PathBuf,
    public: Public,
    wallet: Wallet,
    log: AuthorityLog,
}

impl Office {
    fn open(args: &OfficeArgs) -> Result<Self, Fault> {
        let dir = args.dir.clone();
        let public = Public::read(&dir)?;
        let mut log = AuthorityLog::new(public.authority(&dir)?);
        for found in annuaire::read(&[dir.join(ENTRIES)])? {
            let (expected, EntryFile { origin, index, leaf }) = (log.size(), &found.file);
            let replayed = if origin != log.origin() {
                let origin = origin.clone();
                Err(Inadmissible::UnknownAuthority { origin })
            } else if *index != expected {
                let found = *index;
                Err(Inadmissible::WrongIndex { expected, found })
            } else {
                log.replay(leaf)
            };
            replayed.map_err(|error| annuaire::inadmissible(&found, &error))?;
        }
        let wallet = Wallet::open(&dir.join(WALLET), &args.passphrase.read()?)?;
        Ok(Self {
            dir,
            public,
            wallet,
            log,
        })
    }

    /// Whom the log enrolled a certificate for.
    fn holder(&self, certificate: &CertificateId) -> Result<SubjectId, Fault> {
        let enrols = |content: &Content| content.key().is_some_and(|key| key.certificate == *certificate);
        let mut entries = self.log.replica().entries(self.log.origin());
        let entry = entries.find(|entry| enrols(&entry.content));
        entry.and_then(|entry| entry.subject).ok_or_else(|| {
            let message = format!("{} never enrolled certificate {certificate}", self.log.origin());
            Fault::new(exit::REFUSED, "unknown-certificate", message, "--certificate")
                .action("Look for it with `basoche annuaire show`, or in the log of another authority.")
        })
    }

    /// Signs the next entry and writes its file.
    fn state(mut self, statement: Statement) -> Result<Stated, Fault> {
        let Statement {
            subject,
            content,
            effective_at,
            certificate,
        } = statement;
        let issued_at = now();
        let effective_at = effective_at.unwrap_or(issued_at);
        let salt = Salt::new(random());
        let unsigned = self
            .log
            .draft(&self.wallet, subject, content, issued_at, effective_at, salt);
        let signed = unsigned
            .sign(&self.wallet)
            .map_err(|error| Fault::new(exit::CONFIGURATION, "signer", error, "wallet"))?;
        let enrolled = (!certificate.is_empty()).then(|| CertificateId::new(sha256(&[&certificate])));
        let committed = self.log.commit(signed, Vec::new(), &certificate);
        let (index, leaf) = committed.map_err(|error| self.refused(&error))?;
        let origin = self.log.origin().to_owned();
        let entry = self.dir.join(ENTRIES).join(annuaire::file_name(index));
        let file = EntryFile { origin, index, leaf };
        write_new(&entry, &file.encode(), 0o644).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                let message = format!("{}: another command has just written it", entry.display());
                let mut fault = Fault::new(exit::TRY_AGAIN, "busy", message, entry.display())
                    .action("Try again: the statement gets the next place in the log.");
                fault.retry = "later".into();
                fault
            }
            _ => Fault::unwritable(&entry, &error),
        })?;
        Ok(Stated {
            subject,
            certificate: enrolled,
            entry,
            index,
        })
    }

    fn refused(&self, error: &Inadmissible) -> Fault {
        let action = match error {
            Inadmissible::RoleOutsideProfession { .. } => {
                let profession = self.public.profession;
                let roles: Vec<_> = roles_of(profession).iter().map(|role| role.name()).collect();
                format!(
                    "Nothing was written. An authority for a {profession} enrols: {}.",
                    roles.join(", ")
                )
            }
            Inadmissible::IssuedEarlier { .. } => {
                "Nothing was written. Set this machine's clock, then try again.".into()
            }
            _ => "Nothing was written. Correct what is said above, then try again.".into(),
        };
        let message = format!("entry {} of {}: {error}", self.log.size(), self.log.origin());
        annuaire::refusal(error, message, self.dir.display()).action(action)
    }
}

/// An entry that was written.
struct Stated {
    subject: Option<SubjectId>,
    /// What `authority revoke` wants to know the key by.
    certificate: Option<CertificateId>,
    entry: PathBuf,
    index: u64,
}

impl Stated {
    fn tell(&self, output: &Output) -> Result<ExitCode, Fault> {
        let Self {
            subject,
            certificate,
            entry,
            index,
        } = self;
        let answer =
            json!({ "v": 1, "subject": subject, "certificate": certificate, "entry": entry, "index": index });
        output.answer(&answer, || {
            let subject = subject.map_or_else(String::new, |subject| format!("subject {subject}\n"));
            let certificate =
                certificate.map_or_else(String::new, |certificate| format!("certificate {certificate}\n"));
            format!(
                "{subject}{certificate}Entry {index} is in {}. Have the nodes import it.",
                entry.display()
            )
        });
        Ok(ExitCode::SUCCESS)
    }
}

fn init(
    args: &OfficeArgs,
    origin: &str,
    profession: OrganisationKind,
    test: bool,
    output: &Output,
) -> Result<ExitCode, Fault> {
    let dir = &args.dir;
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| Fault::unwritable(&path, &error)
    };
    let passphrase = args.passphrase.read()?;
    std::fs::create_dir_all(dir).map_err(unwritable(dir))?;
    if std::fs::read_dir(dir).map_err(unwritable(dir))?.next().is_some() {
        let message = format!("{} is not empty", dir.display());
        return Err(
            Fault::new(exit::CANNOT_WRITE, "not-empty", message, dir.display())
                .action("Choose a new directory: an authority is never replaced."),
        );
    }
    let request = Wallet::create(&dir.join(WALLET), origin, &passphrase)?;
    let public = Public {
        v: 1,
        origin: origin.to_owned(),
        profession,
        test,
        certificate: request.certificate,
    };
    let authority = public.authority(dir).inspect_err(|_| {
        // The origin is impossible: leave the directory as it was found. What cannot be removed does no harm.
        let _ = std::fs::remove_file(dir.join(WALLET));
    })?;
    let entries = dir.join(ENTRIES);
    std::fs::create_dir(&entries).map_err(unwritable(&entries))?;
    let certificate = authority.certificate().id();
    let office = Office {
        dir: dir.clone(),
        wallet: Wallet::open(&dir.join(WALLET), &passphrase)?,
        log: AuthorityLog::new(authority),
        public,
    };
    let json = serde_json::to_vec_pretty(&office.public).unwrap_or_default();
    let stated = office.state(Statement {
        subject: None,
        content: Genesis { profession, test }.into(),
        effective_at: None,
        certificate: Vec::new(),
    })?;
    // Last: without it the directory is no authority's.
    let path = dir.join(PUBLIC);
    write_new(&path, &json, 0o644).map_err(unwritable(&path))?;
    let Stated { entry, index, .. } = &stated;
    let answer =
        json!({ "v": 1, "origin": origin, "certificate": certificate, "entry": entry, "index": index });
    output.answer(&answer, || {
        format!(
            "The authority {origin} is in {}. Keep {WALLET} offline; publish {PUBLIC} and {ENTRIES}.",
            dir.display()
        )
    });
    Ok(ExitCode::SUCCESS)
}

fn anchors(out: &Path, dirs: &[PathBuf], output: &Output) -> Result<ExitCode, Fault> {
    let mut authorities: Vec<Authority> = Vec::new();
    for (place, dir) in dirs.iter().enumerate() {
        let authority = Public::read(dir)?.authority(dir)?;
        let earlier = authorities
            .iter()
            .position(|one| one.origin() == authority.origin());
        if let Some(earlier) = earlier {
            let (one, other) = (dirs[earlier].display(), dirs[place].display());
            let message = format!(
                "{one} and {other} are both authorities named {}",
                authority.origin()
            );
            return Err(Fault::new(exit::USAGE, "duplicate-authority", message, other)
                .action("Give each authority once."));
        }
        authorities.push(authority);
    }
    let anchors = Anchors::new(authorities).map_err(Fault::usage)?;
    write_atomic(out, anchors.to_json().as_bytes(), 0o644).map_err(|error| Fault::unwritable(out, &error))?;
    let row = |one: &Authority| {
        let certificate = one.certificate().id();
        json!({ "origin": one.origin(), "profession": one.profession(), "test": one.is_test(), "certificate": certificate })
    };
    let rows: Vec<_> = anchors.authorities().iter().map(row).collect();
    output.answer(&json!({ "v": 1, "anchors": out, "authorities": rows }), || {
        format!("{} authorities are in {}.", rows.len(), out.display())
    });
    Ok(ExitCode::SUCCESS)
}

/// The key of a request's certificate, which its holder signed with it, and the certificate's DER bytes.
fn key(certificate: &str, path: &Path) -> Result<(KeyRecord, Vec<u8>), Fault> {
    let der =
        b64url_decode(certificate).ok_or_else(|| bad_request(path, "the certificate is not base64url"))?;
    let certificate = Certificate::from_der(&der).map_err(|error| bad_request(path, error))?;
    if certificate.self_signed_key().is_none() {
        let what = "the certificate is not self-signed under ES256, so possession of the key is not shown";
        return Err(bad_request(path, what));
    }
    let record = KeyRecord {
        certificate: certificate.id(),
        spki_sha256: certificate.spki_sha256(),
        algorithm: Algorithm::Es256,
    };
    Ok((record, der))
}

fn read_json<T: DeserializeOwned>(path: &Path, what: &str) -> Result<T, Fault> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path);
    opened
        .and_then(|file| file.take(JSON_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| Fault::unreadable(path, &error))?;
    if bytes.len() as u64 > JSON_BYTES {
        return Err(bad_request(
            path,
            format!("larger than {JSON_BYTES} bytes: not {what}"),
        ));
    }
    serde_json::from_slice(&bytes).map_err(|error| bad_request(path, format!("not {what}: {error}")))
}

fn check_version(version: u64, path: &Path) -> Result<(), Fault> {
    if version == 1 {
        Ok(())
    } else {
        Err(bad_request(
            path,
            format!("version {version} is not known here; this program reads version 1"),
        ))
    }
}

fn bad_request(path: &Path, what: impl ToString) -> Fault {
    let message = format!("{}: {}", path.display(), what.to_string());
    Fault::new(exit::MALFORMED, "malformed", message, path.display())
        .action("Have the file written again by the program that it comes from.")
}
