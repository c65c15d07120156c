//! What every act of a person has in common: who, in which dossier, in which role, until which level.

use std::path::Path;
use std::process::ExitCode;

use basoche_protocol::id::{DossierId, MessageId, SubjectId};
use basoche_protocol::message::{Body, DocumentRef};
use basoche_protocol::role::Role;
use basoche_protocol::time::Instant;
use clap::Args;
use serde::Serialize;

use super::fault::exit;
use super::person::{PersonArgs, sign};
use super::{Fault, NodeArgs, Output, when};
use crate::control::{Answer, Client, ClientError, Request, SubjectView};
use crate::desk::{DossierView, Level, WaitView};
use crate::wallet::Wallet;

/// Until when to wait for an act.
#[derive(Args, Clone, Debug)]
pub(super) struct WaitArgs {
    /// Wait until the message is deposited here, transmitted to one other organisation, or received by all.
    #[arg(long, value_enum, default_value_t = Level::Deposited)]
    wait: Level,
    /// For at most so many seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    patience: u64,
}

/// Who acts in which dossier.
#[derive(Args, Clone, Debug)]
pub(super) struct ActArgs {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    person: PersonArgs,
    #[command(flatten)]
    wait: WaitArgs,
    /// The dossier.
    #[arg(long, value_parser = dossier_id)]
    dossier: DossierId,
    /// Your own key for this act: the same key is the same message, however often you try.
    #[arg(long, value_name = "KEY")]
    id: Option<String>,
}

/// The answer to an act.
#[derive(Serialize)]
pub(super) struct Done {
    v: u64,
    dossier: DossierId,
    message: MessageId,
    level: Level,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waits: Vec<WaitView>,
    /// The barrier that this milestone made.
    #[serde(skip_serializing_if = "Option::is_none")]
    barrier: Option<MessageId>,
}

/// What became of a lodged message.
pub(super) struct Lodged {
    pub(super) dossier: DossierId,
    pub(super) message: MessageId,
    pub(super) level: Level,
    /// What keeps it from the level that was asked.
    pub(super) waits: Vec<WaitView>,
}

impl Lodged {
    /// From the node's answer.
    fn of(answer: Answer) -> Result<Self, Fault> {
        match answer {
            Answer::Deposited {
                dossier,
                message,
                level,
                waits,
            } => Ok(Self {
                dossier,
                message,
                level,
                waits,
            }),
            _ => Err(unexpected()),
        }
    }
}

/// A file, or what comes on standard input, that somebody is about to lodge.
pub(super) struct Lodging {
    pub(super) source: Box<dyn std::io::Read>,
    pub(super) name: String,
    pub(super) media_type: &'static str,
    pub(super) bytes: u64,
}

impl Lodging {
    pub(super) fn of(file: &Path) -> Result<Self, Fault> {
        let unreadable = |error| Fault::unreadable(file, &error);
        let source = std::fs::File::open(file).map_err(unreadable)?;
        let metadata = source.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(Fault::usage(format!("{} is not a file", file.display())));
        }
        Ok(Self {
            source: Box::new(source),
            name: name_of(file)?.to_owned(),
            media_type: media_type(file),
            bytes: metadata.len(),
        })
    }

    /// The next `bytes` bytes of standard input, under a name.
    pub(super) fn stdin(name: &str, bytes: u64) -> Self {
        Self {
            source: Box::new(std::io::stdin().lock()),
            name: name.to_owned(),
            media_type: media_type(Path::new(name)),
            bytes,
        }
    }
}

/// A person about to act.
pub(super) struct Act {
    pub(super) client: Client,
    pub(super) wallet: Wallet,
    pub(super) dossier: DossierId,
    wait: WaitArgs,
    key: Option<String>,
}

impl ActArgs {
    pub(super) fn open(&self) -> Result<Act, Fault> {
        Ok(Act {
            client: self.node.client()?,
            wallet: self.person.open()?,
            dossier: self.dossier,
            wait: self.wait.clone(),
            key: self.id.clone(),
        })
    }
}

impl Act {
    /// The message that was sent under this key before, if there is one.
    pub(super) fn earlier(&self) -> Result<Option<Lodged>, Fault> {
        self.earlier_under(self.key.clone(), &self.wait)
    }

    fn earlier_under(&self, key: Option<String>, wait: &WaitArgs) -> Result<Option<Lodged>, Fault> {
        let Some(key) = key else {
            return Ok(None);
        };
        let request = Request::Submitted {
            author: self.wallet.subject,
            key,
            wait: wait.wait,
            patience_ms: wait.patience * 1000,
        };
        match self.client.ask(&request)? {
            Answer::Unknown => Ok(None),
            answer => Lodged::of(answer).map(Some),
        }
    }

    /// The message that was sent under `key`, if there is one, however far it has come.
    pub(super) fn lodged_under(&self, key: &str) -> Result<Option<MessageId>, Fault> {
        let wait = WaitArgs {
            wait: Level::Deposited,
            ..self.wait.clone()
        };
        let earlier = self.earlier_under(Some(key.to_owned()), &wait)?;
        Ok(earlier.map(|lodged| lodged.message))
    }

    /// The author's own key for one of several files.
    pub(super) fn key_of(&self, name: &str) -> Option<String> {
        self.key.as_ref().map(|key| format!("{key}/{name}"))
    }

    /// Until which level to wait, and how long, in milliseconds.
    pub(super) fn patience(&self) -> (Level, u64) {
        (self.wait.wait, self.wait.patience * 1000)
    }

    /// Takes a file in for this dossier.
    pub(super) fn ingest(&self, file: &Path, output: &Output) -> Result<DocumentRef, Fault> {
        self.take_in(Lodging::of(file)?, output)
    }

    /// Takes in for this dossier what somebody is about to lodge.
    pub(super) fn take_in(&self, lodging: Lodging, output: &Output) -> Result<DocumentRef, Fault> {
        let Lodging {
            source,
            name,
            media_type,
            bytes,
        } = lodging;
        let bar = output.bytes(&name, bytes);
        let request = Request::Ingest {
            dossier: self.dossier,
            name,
            media_type: media_type.to_owned(),
            bytes,
        };
        let answer = self.client.upload(&request, &mut bar.wrap_read(source), bytes);
        bar.finish_and_clear();
        match answer? {
            Answer::Ingested(reference) => Ok(*reference),
            _ => Err(unexpected()),
        }
    }

    /// The role that the dossier's roster gives this person.
    pub(super) fn role(&self) -> Result<Role, Fault> {
        let view = show(&self.client, self.dossier)?;
        let role = view
            .participants
            .iter()
            .find(|one| one.subject == self.wallet.subject)
            .map(|one| one.role);
        role.ok_or_else(|| {
            let message = format!("{} is not in the roster of this dossier", self.wallet.subject);
            Fault::new(exit::REFUSED, "not-participant", message, "dossier")
                .action("Have the expert add you: `basoche dossier add`.")
        })
    }

    /// Signs and submits, waits, and gives what became of it.
    pub(super) fn submit(&self, role: Role, body: Body) -> Result<Lodged, Fault> {
        let (envelope, _) = sign(&self.wallet, role, Some(self.dossier), body)?;
        submit(&self.client, envelope, self.key.clone(), &self.wait)
    }

    /// Acts, and prints the answer.
    pub(super) fn run(
        &self,
        output: &Output,
        body: impl FnOnce(&Self) -> Result<Body, Fault>,
    ) -> Result<ExitCode, Fault> {
        let lodged = match self.earlier()? {
            Some(earlier) => earlier,
            None => self.submit(self.role()?, body(self)?)?,
        };
        self.tell(output, lodged)
    }

    /// The same of a milestone: a barrier follows it, so that its quittance can be had. That the barrier could not be
    /// lodged takes nothing from the act, and is said.
    pub(super) fn run_milestone(
        &self,
        output: &Output,
        body: impl FnOnce(&Self) -> Result<Body, Fault>,
    ) -> Result<ExitCode, Fault> {
        let role = self.role()?;
        let lodged = match self.earlier()? {
            Some(earlier) => earlier,
            None => self.submit(role, body(self)?)?,
        };
        let barrier = self.make_barrier(role);
        if let Err(fault) = &barrier {
            let what = "the act is lodged, but no barrier: lodge one with `basoche dossier barrier`";
            output.note(&format!("{what} ({})", fault.message));
        }
        done(output, lodged, self.wait.wait, barrier.ok())
    }

    /// Lodges the barrier of a milestone, once for the author's key of the act.
    fn make_barrier(&self, role: Role) -> Result<MessageId, Fault> {
        self.also("barrier", role, || self.barrier(super::barrier::in_seven_days()))
    }

    /// Lodges what follows from the act, once for the author's key of it.
    pub(super) fn also(
        &self,
        what: &str,
        role: Role,
        body: impl FnOnce() -> Result<Body, Fault>,
    ) -> Result<MessageId, Fault> {
        let key = self.key.as_ref().map(|key| format!("{key}/{what}"));
        let wait = WaitArgs {
            wait: Level::Deposited,
            ..self.wait.clone()
        };
        if let Some(earlier) = self.earlier_under(key.clone(), &wait)? {
            return Ok(earlier.message);
        }
        let (envelope, _) = sign(&self.wallet, role, Some(self.dossier), body()?)?;
        Ok(submit(&self.client, envelope, key, &wait)?.message)
    }

    /// Prints what became of the act.
    pub(super) fn tell(&self, output: &Output, lodged: Lodged) -> Result<ExitCode, Fault> {
        done(output, lodged, self.wait.wait, None)
    }

    /// The exit code of a wait: 75 when the level was not reached in time.
    pub(super) fn waited(&self, level: Level) -> ExitCode {
        if level >= self.wait.wait {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(exit::TRY_AGAIN)
        }
    }
}

/// Submits a signed message.
pub(super) fn submit(
    client: &Client,
    envelope: String,
    key: Option<String>,
    wait: &WaitArgs,
) -> Result<Lodged, Fault> {
    let request = Request::Submit {
        envelope,
        key,
        wait: wait.wait,
        patience_ms: wait.patience * 1000,
    };
    Lodged::of(client.ask(&request)?)
}

/// Says on stderr what keeps a message from the level that was asked; JSON answers hold it.
pub(super) fn tell_waits(output: &Output, waits: &[WaitView]) {
    if !output.is_json() {
        waits.iter().for_each(|wait| output.note(&wait.to_string()));
    }
}

/// Prints what became of an act.
fn done(
    output: &Output,
    lodged: Lodged,
    wanted: Level,
    barrier: Option<MessageId>,
) -> Result<ExitCode, Fault> {
    let Lodged {
        dossier,
        message,
        level,
        waits,
    } = lodged;
    tell_waits(output, &waits);
    output.answer(
        &Done {
            v: 1,
            dossier,
            message,
            level,
            waits,
            barrier,
        },
        || {
            let level = format!("{level:?}").to_lowercase();
            let made = barrier.map(|barrier| format!("\nbarrier {barrier}: each node signs once it holds all of it (`basoche dossier quittance`)"));
            format!("message {message} of dossier {dossier}: {level}{}", made.unwrap_or_default())
        },
    );
    Ok(if level >= wanted {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit::TRY_AGAIN)
    })
}

/// Submits a founding act and prints the answer.
pub(super) fn found(
    client: &Client,
    envelope: String,
    wait: &WaitArgs,
    output: &Output,
) -> Result<ExitCode, Fault> {
    done(output, submit(client, envelope, None, wait)?, wait.wait, None)
}

/// A dossier in full.
pub(super) fn show(client: &Client, dossier: DossierId) -> Result<DossierView, Fault> {
    match client.ask(&Request::Dossier { dossier })? {
        Answer::Dossier(view) => Ok(*view),
        _ => Err(unexpected()),
    }
}

/// What the node's registry says of each of these; those whom it does not know are left out.
pub(super) fn subjects(
    client: &Client,
    of: impl IntoIterator<Item = SubjectId>,
) -> Result<Vec<SubjectView>, Fault> {
    let of = of.into_iter().collect();
    match client.ask(&Request::Subjects { of })? {
        Answer::Subjects { subjects, .. } => Ok(subjects),
        _ => Err(unexpected()),
    }
}

/// Somebody whom the registry must know.
pub(super) fn subject(known: &[SubjectView], who: SubjectId) -> Result<&SubjectView, Fault> {
    known.iter().find(|one| one.subject == who).ok_or_else(|| {
        Fault::new(
            exit::REFUSED,
            "unknown-subject",
            format!("{who} is not in this node's registry"),
            "arguments",
        )
        .action("Import the authority's newest entries: `basoche annuaire import`.")
    })
}

pub(super) fn unexpected() -> Fault {
    ClientError::Broken("it answered something else; is it of the same version?".into()).into()
}

pub(super) fn dossier_id(text: &str) -> Result<DossierId, String> {
    DossierId::from_hex(text).ok_or_else(|| "a dossier id is 64 lower-case hexadecimal digits".into())
}

pub(super) fn message_id(text: &str) -> Result<MessageId, String> {
    MessageId::from_hex(text).ok_or_else(|| "a message id is 64 lower-case hexadecimal digits".into())
}

pub(super) fn subject_id(text: &str) -> Result<SubjectId, String> {
    SubjectId::from_hex(text).ok_or_else(|| "a subject id is 32 lower-case hexadecimal digits".into())
}

/// An instant on the command line.
pub(super) fn instant(text: &str) -> Result<Instant, String> {
    when::parse(text).map_err(|fault| fault.message)
}

/// A file's name, as a document takes it.
pub(super) fn name_of(file: &Path) -> Result<&str, Fault> {
    let name = file.file_name().and_then(|name| name.to_str());
    name.ok_or_else(|| Fault::usage(format!("{}: its name is not UTF-8", file.display())))
}

/// The media type that a file's name suggests (RFC 6838); anything is accepted.
pub(super) fn media_type(file: &Path) -> &'static str {
    let extension = file
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "pdf" => "application/pdf",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "tif" | "tiff" => "image/tiff",
        "txt" => "text/plain",
        "csv" => "text/csv",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "odt" => "application/vnd.oasis.opendocument.text",
        "ods" => "application/vnd.oasis.opendocument.spreadsheet",
        "zip" => "application/zip",
        "mp4" => "video/mp4",
        "eml" => "message/rfc822",
        _ => "application/octet-stream",
    }
}
