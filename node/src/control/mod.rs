//! The control socket: how the command line, and every later interface, speaks to a running node. SPEC §10.6.
//!
//! One request per connection: a line of JSON, then raw bytes where the request announces some; the answer is a line
//! of JSON, then raw bytes where it announces some. The socket belongs to the node's own user.

mod client;
mod registry;
mod server;

pub use client::{Client, ClientError};
pub use server::{bind, serve};

use std::path::PathBuf;

use basoche_protocol::id::{CertificateId, Digest, DossierId, MessageId, SubjectId};
use basoche_protocol::message::DocumentRef;
use basoche_registry::search::Query;
use serde::{Deserialize, Serialize};

use crate::backup::Copied;
use crate::desk::{DossierView, FrontierView, Level, ProofsView, RetirementView, StatusView, WaitView};

/// The socket's name in the data directory.
pub const SOCKET: &str = "control.sock";
/// Messages or documents of one request, at most.
pub const BATCH: usize = 512;
/// Subjects of one answer, at most.
pub const SUBJECTS: usize = 1000;
/// The longest request or answer line, in bytes.
pub const LINE_BYTES: usize = 8 << 20;

/// What a user asks of the node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the node is.
    Status,
    /// One dossier in full.
    Dossier {
        /// Which.
        dossier: DossierId,
    },
    /// What a milestone or a barrier that is drafted now may name.
    Frontier {
        /// Of which dossier.
        dossier: DossierId,
    },
    /// Have members prove that they hold a message.
    Proofs {
        /// In which dossier.
        dossier: DossierId,
        /// The message.
        message: MessageId,
        /// Whom to ask; every other member if absent.
        at: Option<SubjectId>,
    },
    /// Submit a signed message and wait.
    Submit {
        /// The envelope, base64url.
        envelope: String,
        /// The author's own key for it.
        key: Option<String>,
        /// Until when to wait.
        wait: Level,
        /// For how long, in milliseconds.
        patience_ms: u64,
    },
    /// The message that an author submitted under a key, if there is one.
    Submitted {
        /// The author.
        author: SubjectId,
        /// The key.
        key: String,
        /// Until when to wait.
        wait: Level,
        /// For how long, in milliseconds.
        patience_ms: u64,
    },
    /// Take a document in: `bytes` raw bytes follow.
    Ingest {
        /// For which dossier.
        dossier: DossierId,
        /// Its file name.
        name: String,
        /// Its media type.
        media_type: String,
        /// Plaintext bytes.
        bytes: u64,
    },
    /// Take small documents in: their raw bytes follow, one after the other. All are durable, or none counts.
    IngestMany {
        /// For which dossier.
        dossier: DossierId,
        /// Which: [`BATCH`] of them at most.
        files: Vec<NewDocument>,
    },
    /// Submit signed messages, [`BATCH`] of them at most, and wait for all. Each is taken or refused by itself.
    SubmitMany {
        /// The envelopes, base64url, each with the author's own key for it.
        messages: Vec<(String, Option<String>)>,
        /// Until when to wait.
        wait: Level,
        /// For how long, in milliseconds.
        patience_ms: u64,
    },
    /// Take a document in that is encrypted for persons already: `bytes` raw bytes of ciphertext follow.
    Keep {
        /// For which dossier.
        dossier: DossierId,
        /// Ciphertext bytes.
        bytes: u64,
    },
    /// What the message says of a document, and the wraps of its key for a person.
    Document {
        /// In which dossier.
        dossier: DossierId,
        /// The message that brought it.
        deposit: MessageId,
        /// The document; the message's only one if absent.
        root: Option<Digest>,
        /// For whom.
        reader: SubjectId,
    },
    /// Submit a signed opening, then give the document out: raw bytes follow the answer, of the ciphertext if the
    /// document is personal.
    Open {
        /// For which dossier.
        dossier: DossierId,
        /// The message that brought it.
        deposit: MessageId,
        /// The document.
        root: Digest,
        /// The opening, signed: base64url.
        opening: String,
    },
    /// Admit registry entries, in order.
    Import {
        /// Entry files, base64url.
        entries: Vec<String>,
    },
    /// How far each registry is held.
    Registry,
    /// Leaves of a log that this node holds, as many as an answer takes.
    Leaves {
        /// The log.
        origin: String,
        /// The index of the first.
        from: u64,
    },
    /// What the registry says of those who fit, [`SUBJECTS`] of them at most.
    Search {
        /// What is looked for.
        query: Query,
        /// How many at most.
        most: usize,
    },
    /// What the registry says of each of these, [`SUBJECTS`] of them at most; those whom it does not know are left out.
    Subjects {
        /// Whom.
        of: Vec<SubjectId>,
    },
    /// What the registry has said of somebody, entry by entry.
    History {
        /// Whom.
        subject: SubjectId,
    },
    /// This is the largest checkpoint of a log: the nodes tell each other.
    Tell {
        /// A note.
        checkpoint: String,
    },
    /// Parts of a snapshot of a log, as many as an answer takes.
    Snapshot {
        /// Which log.
        origin: String,
        /// The entry that states its root.
        stated: u64,
        /// A note: a checkpoint that covers it.
        checkpoint: String,
        /// From where on; 0 at the beginning.
        position: u64,
    },
    /// How a log stands: its largest checkpoint, and who has seen it.
    Checkpoint {
        /// Which log.
        origin: String,
    },
    /// Copy the node to a new directory.
    Backup {
        /// Which, absolute.
        to: PathBuf,
    },
    /// What keeps this node in dossiers; from now on it is retiring, if there is a node that takes over.
    Retire {
        /// Which node takes over.
        to: Option<SubjectId>,
    },
    /// The evidence bundle of a dossier: raw bytes follow the answer.
    Export {
        /// Which dossier.
        dossier: DossierId,
    },
}

/// A document to be taken in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewDocument {
    /// Its file name.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Plaintext bytes.
    pub bytes: u64,
}

/// A registry's place in [`Answer::Registry`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RegistryView {
    /// The log's name.
    pub origin: String,
    /// Leaves held.
    pub size: u64,
    /// Root over them.
    pub root: Digest,
    /// How many of them the witnesses have seen, as far as the log says; absent where the policy asks for nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<u64>,
    /// When enough of them had seen its head last, RFC 3339, and what that is worth: `fresh`, `ageing` after a quarter of an hour,
    /// `stale` after a day. LOG-16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<String>,
    /// See `seen_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<String>,
    /// The number of the policy that says whose quorum: 0 for that of the anchors. REG-27.
    #[serde(default)]
    pub policy: u64,
    /// Without which members of the quorum it was last published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
    /// How often the log has gone on under another key.
    pub log_key: usize,
    /// Whether it is proved that the log has signed two histories.
    #[serde(default)]
    pub forked: bool,
    /// The entry that stated the root of its state last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated: Option<u64>,
    /// If it began with a snapshot and was not judged here since: how many entries are still to come, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unjudged: Option<u64>,
}

/// How a log stands, in [`Answer::Checkpoint`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckpointView {
    /// Leaves of the largest checkpoint that is known and whose leaves are held.
    pub size: Option<u64>,
    /// That checkpoint, a note.
    pub note: Option<String>,
    /// Which of the policy's witnesses have seen it.
    pub seen: Vec<SeenView>,
    /// Whether they are the quorum.
    pub enough: bool,
    /// The proof that the log's key in force has signed two histories, base64url, if there is one.
    pub proof: Option<String>,
}

/// A witness that has seen a checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SeenView {
    /// The name of its key.
    pub by: String,
    /// When, RFC 3339, by its own clock.
    pub at: String,
}

/// One entry about somebody, in [`Answer::History`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EntryView {
    /// The log.
    pub origin: String,
    /// Its place there.
    pub index: u64,
    /// What it states, by kind: `enrolment`, `renewal`, …
    pub kind: String,
    /// When it was issued, RFC 3339.
    pub issued_at: String,
    /// When it takes effect, RFC 3339.
    pub effective_at: String,
    /// The certificate that it is about, if any.
    pub certificate: Option<CertificateId>,
    /// What that is worth now: `valid`, or why it is not.
    pub status: Option<String>,
}

/// Somebody in the registry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SubjectView {
    /// Who.
    pub subject: SubjectId,
    /// The roles, or `node`.
    pub roles: Vec<String>,
    /// What they are listed as competent for now, `NOMENCLATURE:CODE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub competences: Vec<String>,
    /// The node that serves them.
    pub node: SubjectId,
    /// Its organisation's name; empty where the registry does not know the node.
    #[serde(default)]
    pub organisation: String,
    /// The latest certificate: what `basoche authority revoke` names.
    pub certificate: CertificateId,
    /// The log that says so.
    pub origin: String,
    /// Index of the last entry about them there.
    pub last: u64,
    /// What that certificate is worth now: `valid`, or why it is not.
    pub status: String,
    /// Whether that authority is for trials only.
    pub test: bool,
    /// A person's encryption key in force now: DER SubjectPublicKeyInfo, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_spki: Option<String>,
    /// Why a person has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_encryption_key: Option<String>,
}

/// A wrap of a personal document's key, and who made it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GivenView {
    /// The message that brought it.
    pub message: MessageId,
    /// Who wrapped it.
    pub author: SubjectId,
    /// The compact JWE.
    pub jwe: String,
}

/// What the node answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Box<StatusView>),
    /// To [`Request::Dossier`].
    Dossier(Box<DossierView>),
    /// To [`Request::Frontier`].
    Frontier(Box<FrontierView>),
    /// To [`Request::Proofs`].
    Proofs(Box<ProofsView>),
    /// To [`Request::Submit`] and [`Request::Submitted`].
    Deposited {
        /// The dossier.
        dossier: DossierId,
        /// The message.
        message: MessageId,
        /// How far it has come.
        level: Level,
        /// If that is not as far as was asked: which nodes lack it, and why.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        waits: Vec<WaitView>,
    },
    /// To [`Request::Submitted`]: there is none.
    Unknown,
    /// To [`Request::Ingest`].
    Ingested(Box<DocumentRef>),
    /// To [`Request::IngestMany`].
    IngestedMany {
        /// The documents, in their order.
        documents: Vec<DocumentRef>,
    },
    /// To [`Request::SubmitMany`].
    DepositedMany {
        /// What became of each, in their order: the message, or why it was refused.
        outcomes: Vec<Result<MessageId, Failure>>,
        /// How far all that are deposited have come.
        level: Level,
        /// If that is not as far as was asked: which nodes lack one of them, and why.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        waits: Vec<WaitView>,
    },
    /// To [`Request::Keep`].
    Kept {
        /// The root of what was stored.
        root: Digest,
    },
    /// To [`Request::Document`].
    Document {
        /// What the message says.
        reference: Box<DocumentRef>,
        /// The wraps for the person, the deposit's first.
        wraps: Vec<GivenView>,
    },
    /// To [`Request::Open`] and [`Request::Export`]: raw bytes follow.
    Bytes {
        /// How many.
        bytes: u64,
    },
    /// To [`Request::Import`].
    Imported {
        /// Entries that were new.
        new: u64,
        /// Entries that were known.
        known: u64,
    },
    /// To [`Request::Registry`].
    Registry {
        /// The logs.
        registries: Vec<RegistryView>,
    },
    /// To [`Request::Leaves`]; none where there are no more.
    Leaves {
        /// Each leaf and the certificate beside it, base64url.
        leaves: Vec<(String, String)>,
    },
    /// To [`Request::Snapshot`].
    Parts {
        /// Each base64url.
        parts: Vec<String>,
        /// What to ask for next; absent after the last.
        next: Option<u64>,
    },
    /// To [`Request::Search`] and [`Request::Subjects`].
    Subjects {
        /// Nodes first, then persons, each ascending by id.
        subjects: Vec<SubjectView>,
        /// How many fit besides.
        more: u64,
    },
    /// To [`Request::History`]; empty where no log is about them.
    History {
        /// In the order of the log.
        entries: Vec<EntryView>,
    },
    /// To [`Request::Tell`].
    Told,
    /// To [`Request::Checkpoint`].
    Checkpoint(Box<CheckpointView>),
    /// To [`Request::Backup`].
    Copied(Copied),
    /// To [`Request::Retire`].
    Retirement(Box<RetirementView>),
    /// It did not go through.
    Failed(Failure),
}

/// Why something did not go through, for people and programs. DESIGN §12.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// A stable code.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// Where.
    #[serde(rename = "where")]
    pub place: String,
    /// What to do.
    pub action: String,
    /// `never`, `after-change` or `later`.
    pub retry: String,
}
