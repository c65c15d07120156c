//! An authority's directory: its public part, its log, and how the next entry comes into it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use basoche_protocol::crypto::sha256;
use basoche_protocol::envelope::Envelope;
use basoche_protocol::id::{CertificateId, Salt, SubjectId};
use basoche_protocol::role::OrganisationKind;
use basoche_protocol::text::{b64url_decode, b64url_encode};
use basoche_protocol::time::Instant;
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_registry::admission::roles_of;
use basoche_registry::log::{Key, Policy};
use basoche_registry::{Anchors, Authority, AuthorityLog, Content, Entry, EntryFile, Inadmissible};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::files::{bad_request, check_version, envelopes, read_json};
use super::policy::other_federation;
use super::{ANCHORS, ENTRIES, OfficeArgs, PUBLIC, WALLET};
use crate::cli::fault::exit;
use crate::cli::{Fault, Output, annuaire};
use crate::effects::{now, random};
use crate::files::{write_atomic, write_new};
use crate::wallet::Wallet;

/// `authority.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Public {
    pub(super) v: u64,
    pub(super) origin: String,
    pub(super) profession: OrganisationKind,
    pub(super) test: bool,
    /// The root certificate, DER, base64url.
    pub(super) certificate: String,
    /// The other roots, if it has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) further_roots: Vec<String>,
    /// How many roots sign together; 1 if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) threshold: Option<usize>,
    /// The verifier key of its log, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) log: Option<String>,
    /// The federation's policy, if it asks for witnesses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) policy: Option<String>,
}

impl Public {
    pub(super) fn read(dir: &Path) -> Result<Self, Fault> {
        let path = dir.join(PUBLIC);
        let public: Self = read_json(&path, "an authority's public part")?;
        check_version(public.v, &path)?;
        Ok(public)
    }

    pub(super) fn authority(&self, dir: &Path) -> Result<Authority, Fault> {
        let path = dir.join(PUBLIC);
        let texts = [&self.certificate].into_iter().chain(&self.further_roots);
        let ders: Option<Vec<_>> = texts.map(|text| b64url_decode(text)).collect();
        let ders = ders.ok_or_else(|| bad_request(&path, "a certificate is not base64url"))?;
        let ders: Vec<&[u8]> = ders.iter().map(Vec::as_slice).collect();
        let threshold = self.threshold.unwrap_or(1);
        let authority = Authority::of_roots(&self.origin, self.profession, &ders, threshold, self.test)
            .map_err(|error| bad_request(&path, error))?;
        let bad = |error| bad_request(&path, error);
        let authority = match &self.log {
            None => authority,
            Some(vkey) => {
                let key = Key::parse(vkey);
                let key = key.ok_or_else(|| bad_request(&path, "the log key is not a verifier key"))?;
                authority.with_log_key(key).map_err(bad)?
            }
        };
        let Some(policy) = &self.policy else {
            return Ok(authority);
        };
        let policy = Policy::parse(policy.as_bytes()).map_err(|error| bad_request(&path, error))?;
        authority.with_policy(Arc::new(policy)).map_err(bad)
    }
}

/// What is to be stated of somebody.
pub(super) struct Statement {
    subject: Option<SubjectId>,
    content: Content,
    effective_at: Option<Instant>,
    certificate: Vec<u8>,
    /// Of those who asked for it.
    cosignatures: Vec<Envelope>,
}

impl Statement {
    pub(super) fn new(subject: SubjectId, content: impl Into<Content>) -> Self {
        Self {
            subject: Some(subject),
            ..Self::of_the_log(content)
        }
    }

    /// About nobody.
    pub(super) fn of_the_log(content: impl Into<Content>) -> Self {
        Self {
            subject: None,
            content: content.into(),
            effective_at: None,
            certificate: Vec::new(),
            cosignatures: Vec::new(),
        }
    }

    pub(super) fn beside(mut self, certificate: Vec<u8>) -> Self {
        self.certificate = certificate;
        self
    }

    pub(super) fn asked_by(mut self, cosignatures: Vec<Envelope>) -> Self {
        self.cosignatures = cosignatures;
        self
    }

    pub(super) fn from(mut self, effective_at: Option<Instant>) -> Self {
        self.effective_at = effective_at;
        self
    }
}

/// An authority's directory and its whole log, checked.
pub(super) struct Ledger {
    pub(super) dir: PathBuf,
    pub(super) public: Public,
    pub(super) log: AuthorityLog,
    /// What the log consists of.
    pub(super) leaves: Vec<RegistryLeaf>,
}

/// The same, and the key of whoever acts for the authority.
pub(super) struct Office {
    pub(super) ledger: Ledger,
    pub(super) wallet: Wallet,
    /// Where to write what others must still sign, instead of the entry.
    pub(super) draft: Option<PathBuf>,
}

impl Office {
    pub(super) fn open(args: &OfficeArgs) -> Result<Self, Fault> {
        let ledger = Ledger::read(&args.dir)?;
        let wallet = args.officer.clone().unwrap_or_else(|| args.dir.join(WALLET));
        let wallet = Wallet::open(&wallet, &args.passphrase.read()?)?;
        let draft = args.draft.clone();
        Ok(Self {
            ledger,
            wallet,
            draft,
        })
    }

    /// Signs the next entry and writes its file, or the draft of it.
    pub(super) fn state(self, statement: Statement, output: &Output) -> Result<ExitCode, Fault> {
        let draft = self.sign(statement)?;
        self.put(draft, output)
    }

    /// Whether [`Self::put`] would take it. Nothing is written.
    pub(super) fn check(&self, draft: &Draft) -> Result<(), Fault> {
        if self.draft.is_some() {
            return self.ledger.check(draft);
        }
        let log = &self.ledger.log;
        log.check(&draft.envelope, &draft.cosignatures, &draft.certificate)
            .map_err(|error| self.ledger.refused(&error))
    }

    /// Writes the file of the entry, or of the draft of it.
    pub(super) fn put(mut self, draft: Draft, output: &Output) -> Result<ExitCode, Fault> {
        let Some(path) = &self.draft else {
            return self.ledger.enter(draft)?.tell(output);
        };
        self.ledger.check(&draft)?;
        draft.write(path)?;
        output.answer(&json!({ "v": 1, "draft": path }), || {
            format!(
                "The entry is not made yet: {} waits for further signatures (`basoche authority cosign`), then for \
                 `basoche authority enter`.",
                path.display()
            )
        });
        Ok(ExitCode::SUCCESS)
    }

    /// The next entry, signed.
    pub(super) fn sign(&self, statement: Statement) -> Result<Draft, Fault> {
        let issued_at = now();
        let effective_at = statement.effective_at.unwrap_or(issued_at);
        let salt = Salt::new(random());
        let (subject, content) = (statement.subject, statement.content);
        let log = &self.ledger.log;
        let unsigned = log.draft(&self.wallet, subject, content, issued_at, effective_at, salt);
        Ok(Draft {
            envelope: unsigned.sign(&self.wallet).map_err(Fault::signer)?,
            cosignatures: statement.cosignatures,
            certificate: statement.certificate,
        })
    }
}

impl Ledger {
    pub(super) fn read(dir: &Path) -> Result<Self, Fault> {
        let public = Public::read(dir)?;
        let authority = public.authority(dir)?;
        let anchors = dir.join(ANCHORS);
        let mut log = match anchors.exists() {
            true => among(annuaire::anchors(&anchors)?, &authority)
                .ok_or_else(|| other_federation(&anchors, authority.origin()))?,
            false => AuthorityLog::new(authority),
        };
        let mut leaves = Vec::new();
        // Before its first entry is entered, a log that several roots begin has none.
        let entries = dir.join(ENTRIES);
        let is_empty = std::fs::read_dir(&entries).is_ok_and(|mut found| found.next().is_none());
        let found = if is_empty {
            Vec::new()
        } else {
            annuaire::read(&[entries])?
        };
        for found in found {
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
            leaves.push(found.file.leaf);
        }
        Ok(Self {
            dir: dir.to_owned(),
            public,
            log,
            leaves,
        })
    }

    /// The same log among the other authorities of `anchors`, whose roots may agree to a policy. REG-27.
    pub(super) fn among(self, anchors: &Anchors) -> Result<Self, Fault> {
        let authority = self.public.authority(&self.dir)?;
        let log = among(anchors.clone(), &authority);
        let mut log = log.ok_or_else(|| other_federation(&self.dir.join(ANCHORS), authority.origin()))?;
        for leaf in &self.leaves {
            log.replay(leaf).map_err(|error| self.refused(&error))?;
        }
        Ok(Self { log, ..self })
    }

    /// Whether a draft would be admitted, were it signed by all who must. Who has signed so far may be too few: that is what
    /// a draft is for. All else is wrong already.
    pub(super) fn check(&self, draft: &Draft) -> Result<(), Fault> {
        let Draft {
            envelope,
            cosignatures,
            certificate,
        } = draft;
        match self.log.check(envelope, cosignatures, certificate) {
            Ok(()) | Err(Inadmissible::NotEntitled { .. } | Inadmissible::TooFewRoots { .. }) => Ok(()),
            Err(error) => Err(self.refused(&error)),
        }
    }

    /// The last entry about somebody.
    pub(super) fn last(&self, subject: &SubjectId) -> Option<u64> {
        self.log.replica().last_entry(subject)
    }

    /// Whom the log enrolled a certificate for.
    pub(super) fn holder(&self, certificate: &CertificateId) -> Result<SubjectId, Fault> {
        let enrols = |content: &Content| content.key().is_some_and(|key| key.certificate == *certificate);
        let mut entries = self.log.replica().entries(self.log.origin());
        let entry = entries.find(|entry| enrols(&entry.content));
        entry.and_then(|entry| entry.subject).ok_or_else(|| {
            let message = format!("{} never enrolled certificate {certificate}", self.log.origin());
            Fault::new(exit::REFUSED, "unknown-certificate", message, "--certificate")
                .action("Look for it with `basoche annuaire show`, or in the log of another authority.")
        })
    }

    /// Admits the entry and writes its file.
    pub(super) fn enter(&mut self, draft: Draft) -> Result<Stated, Fault> {
        let Draft {
            envelope,
            cosignatures,
            certificate,
        } = draft;
        let entry = Entry::decode(envelope.payload());
        let subject = entry.ok().and_then(|entry| entry.subject);
        let enrolled = (!certificate.is_empty()).then(|| CertificateId::new(sha256(&[&certificate])));
        let committed = self.log.commit(envelope, cosignatures, &certificate);
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

    pub(super) fn refused(&self, error: &Inadmissible) -> Fault {
        let action = match error {
            Inadmissible::RoleOutsideProfession { .. } => {
                let profession = self.public.profession;
                let roles: Vec<_> = roles_of(profession).iter().map(|role| role.name()).collect();
                format!(
                    "Nothing was written. An authority for a {profession} enrols: {}.",
                    roles.join(", ")
                )
            }
            Inadmissible::NotEntitled {
                what: "the roots of most authorities",
                ..
            } => "Nothing was written. Have more of the other authorities agree, at their own machines (`basoche authority agree` to a \
                  policy, `consent` to another log key), and give the files that they hand you."
                .into(),
            Inadmissible::NotEntitled { .. } | Inadmissible::TooFewRoots { .. } => {
                "Nothing was written. Write it with --draft FILE, have the others sign that with `basoche authority \
                 cosign`, then enter it."
                    .into()
            }
            Inadmissible::Elsewhere { .. } | Inadmissible::Prev { .. } => {
                "Nothing was written. The log has gone on since this was signed: have it signed again.".into()
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

/// The log of `authority` among those of `anchors`; `None` where these have it otherwise than it is.
fn among(anchors: Anchors, authority: &Authority) -> Option<AuthorityLog> {
    let said = anchors.authority(authority.origin())?;
    let roots = |one: &Authority| {
        one.roots()
            .iter()
            .map(|root| root.certificate.id())
            .collect::<Vec<_>>()
    };
    let same = said.genesis() == authority.genesis()
        && roots(said) == roots(authority)
        && said.log_key() == authority.log_key();
    same.then(|| AuthorityLog::among(anchors, authority.origin()))
        .flatten()
}

/// An entry that was written.
pub(super) struct Stated {
    subject: Option<SubjectId>,
    /// What `authority revoke` wants to know the key by.
    certificate: Option<CertificateId>,
    pub(super) entry: PathBuf,
    pub(super) index: u64,
}

impl Stated {
    pub(super) fn tell(&self, output: &Output) -> Result<ExitCode, Fault> {
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

/// A signed entry that others may still have to sign.
pub(super) struct Draft {
    pub(super) envelope: Envelope,
    pub(super) cosignatures: Vec<Envelope>,
    pub(super) certificate: Vec<u8>,
}

/// Its file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DraftFile {
    v: u64,
    /// The signed entry, base64url, like the others.
    envelope: String,
    cosignatures: Vec<String>,
    certificate: String,
}

impl Draft {
    pub(super) fn read(path: &Path) -> Result<Self, Fault> {
        let file: DraftFile = read_json(path, "the draft of an entry")?;
        check_version(file.v, path)?;
        let certificate = b64url_decode(&file.certificate);
        let mut envelope = envelopes(std::slice::from_ref(&file.envelope), path)?;
        Ok(Self {
            envelope: envelope.remove(0),
            cosignatures: envelopes(&file.cosignatures, path)?,
            certificate: certificate.ok_or_else(|| bad_request(path, "the certificate is not base64url"))?,
        })
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Fault> {
        let file = DraftFile {
            v: 1,
            envelope: b64url_encode(&self.envelope.encode()),
            cosignatures: self
                .cosignatures
                .iter()
                .map(|one| b64url_encode(&one.encode()))
                .collect(),
            certificate: b64url_encode(&self.certificate),
        };
        let json = serde_json::to_vec_pretty(&file).unwrap_or_default();
        write_atomic(path, &json, 0o644).map_err(|error| Fault::unwritable(path, &error))
    }
}
