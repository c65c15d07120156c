//! The node's end of the control socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use basoche_protocol::document::{DocumentError, ciphertext_len, plaintext_len};
use basoche_protocol::dossier::DocumentFact;
use basoche_protocol::envelope::EpochKey;
use basoche_protocol::error::{Error, Refused};
use basoche_protocol::id::{Digest, DossierId, MessageId, SubjectId};
use basoche_protocol::message::{Body, Message};
use basoche_protocol::refusal::{Code, Retry};
use basoche_protocol::role::Class;
use basoche_protocol::text::b64url_decode;
use basoche_registry::Replica;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Answer, BATCH, Failure, GivenView, LINE_BYTES, NewDocument, Request, SOCKET, registry};
use crate::backup::{BackupError, Original};
use crate::blob::{BlobError, BlobStore};
use crate::config::Limits;
use crate::desk::{Deposited, Desk, DeskHandle, Level, SubmitError};
use crate::documents::{
    BATCH_BYTES, SMALL_BYTES, TakenIn, Target, TransferError, give_out, ingest, ingest_small, keep, send,
};

/// Time for a request line to arrive.
const REQUEST: Duration = Duration::from_secs(30);
/// Time for members to prove what they are asked for.
const PROOFS: Duration = Duration::from_secs(10);
/// The longest wait for a level.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What serving a request needs.
#[derive(Clone)]
struct Server {
    desk: DeskHandle,
    blobs: Arc<dyn BlobStore>,
    taken: Arc<TakenIn>,
    original: Arc<Original>,
    document_bytes: u64,
    scratch: Arc<Path>,
}

/// Makes the socket in `data`: from then on commands find it, and wait until it is served.
pub fn bind(data: &Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    let path = data.join(SOCKET);
    // The store's lock is ours: a socket that is there was left by a killed process.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the socket of `data` until the listener fails.
pub async fn serve(
    listener: UnixListener,
    data: &Path,
    desk: DeskHandle,
    blobs: Arc<dyn BlobStore>,
    taken: Arc<TakenIn>,
    original: Original,
    limits: &Limits,
) -> std::io::Result<()> {
    let server = Server {
        desk,
        blobs,
        taken,
        original: Arc::new(original),
        document_bytes: limits.document_bytes,
        scratch: Arc::from(data),
    };
    let permits = Arc::new(Semaphore::new(limits.control_connections));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return Ok(());
        };
        let (stream, _) = listener.accept().await?;
        let server = server.clone();
        let counted = server.desk.monitor().meters.control_connection();
        tokio::spawn(async move {
            if let Err(error) = server.handle(stream).await {
                tracing::debug!(%error, "a control connection ended early");
            }
            drop((permit, counted));
        });
    }
}

impl Server {
    async fn handle(self, stream: UnixStream) -> std::io::Result<()> {
        let mut reader = BufReader::with_capacity(64 * 1024, stream);
        let mut line = Vec::new();
        let limit = LINE_BYTES as u64 + 1;
        let read = timeout(REQUEST, (&mut reader).take(limit).read_until(b'\n', &mut line)).await;
        let request = match read {
            Ok(Ok(0)) => return Ok(()),
            Ok(Ok(length)) if length <= LINE_BYTES => serde_json::from_slice::<Request>(&line),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(_)) => {
                let refused = failure(
                    "too-large",
                    format!("a request line is at most {LINE_BYTES} bytes"),
                    "control request",
                    "Give fewer entries at a time, or a smaller message.",
                );
                return answer(&mut reader, &refused).await;
            }
            Err(_) => {
                let refused = failure(
                    "timeout",
                    format!("no whole request line came in {} s", REQUEST.as_secs()),
                    "control request",
                    "End a request with a newline.",
                );
                return answer(&mut reader, &refused).await;
            }
        };
        let request = match request {
            Ok(request) => request,
            Err(error) => {
                let failure = failure(
                    "bad-request",
                    error,
                    "control request",
                    "Use the program of the node's own version.",
                );
                return answer(&mut reader, &failure).await;
            }
        };
        match request {
            Request::Ingest {
                dossier,
                name,
                media_type,
                bytes,
            } => self.take_in(reader, dossier, name, media_type, bytes).await,
            Request::IngestMany { dossier, files } => self.take_in_many(reader, dossier, files).await,
            Request::Keep { dossier, bytes } => self.keep(reader, dossier, bytes).await,
            Request::Open {
                dossier,
                deposit,
                root,
                opening,
            } => self.open(reader, dossier, deposit, root, &opening).await,
            Request::Export { dossier } => self.export(reader, dossier).await,
            other => {
                let reply = self.reply(other).await;
                answer(&mut reader, &reply).await
            }
        }
    }

    /// Asks the registry as it is now, while the desk goes on.
    async fn look_up(
        &self,
        question: impl FnOnce(&Replica) -> Answer + Send + 'static,
    ) -> Result<Answer, SubmitError> {
        let registry = self.desk.ask(|desk| Arc::clone(desk.engine().registry())).await?;
        let answered = spawn_blocking(move || question(&registry)).await;
        answered.map_err(|_| SubmitError::Unavailable(Code::Stopping))
    }

    async fn reply(&self, request: Request) -> Answer {
        let answered = match request {
            Request::Status => {
                self.desk
                    .ask(|desk| Answer::Status(Box::new(desk.status())))
                    .await
            }
            Request::Dossier { dossier } => {
                self.desk
                    .ask_about(dossier, move |desk| show(desk, &dossier))
                    .await
            }
            Request::Frontier { dossier } => {
                self.desk
                    .ask_about(dossier, move |desk| frontier(desk, &dossier))
                    .await
            }
            Request::Proofs { dossier, message, at } => self.prove(dossier, message, at).await,
            Request::Retire { to } => self.retire(to).await,
            Request::Registry => self.desk.ask(|desk| registry::all(desk)).await,
            Request::Leaves { origin, from } => {
                self.look_up(move |known| registry::leaves(known, &origin, from))
                    .await
            }
            Request::Snapshot {
                origin,
                stated,
                checkpoint,
                position,
            } => {
                let parts =
                    move |known: &Replica| registry::snapshot(known, &origin, stated, &checkpoint, position);
                self.look_up(parts).await
            }
            Request::Search { query, most } => {
                self.look_up(move |known| registry::search(known, &query, most))
                    .await
            }
            Request::Subjects { of } => self.look_up(move |known| registry::subjects(known, &of)).await,
            Request::History { subject } => {
                self.desk.ask(move |desk| registry::history(desk, &subject)).await
            }
            Request::Document {
                dossier,
                deposit,
                root,
                reader,
            } => {
                let asked = move |desk: &mut Desk| document(desk, &dossier, &deposit, root, &reader);
                self.desk.ask_about(dossier, asked).await
            }
            Request::Submitted {
                author,
                key,
                wait,
                patience_ms,
            } => {
                return self.submitted(author, &key, wait, patience_ms).await;
            }
            Request::Submit {
                envelope,
                key,
                wait,
                patience_ms,
            } => {
                return self.submit(&envelope, key, wait, patience_ms).await;
            }
            Request::SubmitMany {
                messages,
                wait,
                patience_ms,
            } => {
                return self.submit_many(messages, wait, patience_ms).await;
            }
            Request::Tell { checkpoint } => {
                self.desk.ask(move |desk| registry::tell(desk, &checkpoint)).await
            }
            Request::Checkpoint { origin } => {
                self.desk
                    .ask(move |desk| registry::checkpoint(desk, &origin))
                    .await
            }
            Request::Import { entries } => return registry::import(&self.desk, entries).await,
            Request::Backup { to } => return self.back_up(to).await,
            Request::Ingest { .. }
            | Request::IngestMany { .. }
            | Request::Keep { .. }
            | Request::Open { .. }
            | Request::Export { .. } => {
                return failure(
                    "bad-request",
                    "raw bytes are not possible here",
                    "control request",
                    "",
                );
            }
        };
        answered.unwrap_or_else(|error| of_submit(&error))
    }

    /// Asks members, and waits for them all together.
    async fn prove(
        &self,
        dossier: DossierId,
        message: MessageId,
        at: Option<SubjectId>,
    ) -> Result<Answer, SubmitError> {
        let asked = self
            .desk
            .ask_about(dossier, move |desk| desk.ask_proofs(dossier, message, at));
        let (mut view, members) = match asked.await? {
            Ok(asked) => asked,
            Err(error) => return Ok(of_refusal(&error, "dossier")),
        };
        let until = tokio::time::Instant::now() + PROOFS;
        for member in members {
            view.members.push(member.answer(until).await);
        }
        Ok(Answer::Proofs(Box::new(view)))
    }

    async fn submitted(&self, author: SubjectId, key: &str, wait: Level, patience_ms: u64) -> Answer {
        let key = key.to_owned();
        match self
            .desk
            .ask(move |desk| desk.rows().submission(&author, &key))
            .await
        {
            Ok(Ok(Some((dossier, message)))) => {
                self.wait(Deposited { dossier, message }, wait, patience_ms).await
            }
            Ok(Ok(None)) => Answer::Unknown,
            Ok(Err(error)) => of_submit(&SubmitError::Rows(error)),
            Err(error) => of_submit(&error),
        }
    }

    /// Waits for a level, and says which one is reached, and what keeps the message if it is a lower one.
    async fn wait(&self, deposited: Deposited, wait: Level, patience_ms: u64) -> Answer {
        let Deposited { dossier, message } = deposited;
        let patience = Duration::from_millis(patience_ms).min(PATIENCE);
        let level = match self.desk.wait(deposited, wait, patience).await {
            Ok(level) => level,
            Err(error) => return of_submit(&error),
        };
        let waits = match level >= wait {
            true => Ok(Vec::new()),
            false => {
                self.desk
                    .ask_about(dossier, move |desk| desk.waits(&dossier, &message))
                    .await
            }
        };
        match waits {
            Ok(waits) => Answer::Deposited {
                dossier,
                message,
                level,
                waits,
            },
            Err(error) => of_submit(&error),
        }
    }

    async fn submit(&self, envelope: &str, key: Option<String>, wait: Level, patience_ms: u64) -> Answer {
        let Some(envelope) = b64url_decode(envelope) else {
            return failure("bad-request", "the envelope is not base64url", "envelope", "");
        };
        match self.desk.submit(envelope, key).await {
            Ok(deposited) => self.wait(deposited, wait, patience_ms).await,
            Err(error) => of_submit(&error),
        }
    }

    /// Submits all at once, so that they share commits.
    async fn submit_many(
        &self,
        messages: Vec<(String, Option<String>)>,
        wait: Level,
        patience_ms: u64,
    ) -> Answer {
        if messages.len() > BATCH {
            let what = format!(
                "{} messages at once are over the limit of {BATCH}",
                messages.len()
            );
            return failure("too-large", what, "control request", "Submit fewer at a time.");
        }
        let mut submissions = Vec::new();
        for (envelope, key) in messages {
            let desk = self.desk.clone();
            submissions.push(tokio::spawn(async move {
                let malformed = || failure("bad-request", "the envelope is not base64url", "envelope", "");
                let envelope = b64url_decode(&envelope).ok_or_else(malformed)?;
                desk.submit(envelope, key)
                    .await
                    .map_err(|error| of_submit(&error))
            }));
        }
        let (mut outcomes, mut deposited) = (Vec::new(), Vec::new());
        for submission in submissions {
            let outcome = submission
                .await
                .unwrap_or_else(|error| Err(failure("internal", error, "node", "Look at the node's log.")));
            outcomes.push(match outcome {
                Ok(one) => {
                    deposited.push(one);
                    Ok(one.message)
                }
                Err(Answer::Failed(failure)) => Err(failure),
                Err(other) => return other,
            });
        }
        let (mut level, mut waits) = (wait, Vec::new());
        // Deposited is what each of them is by now.
        if wait > Level::Deposited {
            let until = tokio::time::Instant::now() + Duration::from_millis(patience_ms).min(PATIENCE);
            for one in deposited {
                let left = until.saturating_duration_since(tokio::time::Instant::now());
                match self.wait(one, wait, left.as_millis() as u64).await {
                    Answer::Deposited {
                        level: reached,
                        waits: why,
                        ..
                    } => {
                        level = level.min(reached);
                        if waits.is_empty() {
                            waits = why;
                        }
                    }
                    other => return other,
                }
                if level < wait {
                    break;
                }
            }
        }
        Answer::DepositedMany {
            outcomes,
            level,
            waits,
        }
    }

    async fn take_in(
        self,
        mut reader: BufReader<UnixStream>,
        dossier: DossierId,
        name: String,
        media_type: String,
        bytes: u64,
    ) -> std::io::Result<()> {
        if bytes > self.document_bytes {
            return answer(&mut reader, &self.too_large(bytes, &name)).await;
        }
        let key = match self.newest_key(dossier).await {
            Ok(key) => key,
            Err(refused) => return answer(&mut reader, &refused).await,
        };
        let (blobs, taken_in) = (self.blobs, self.taken);
        let (buffered, mut stream) = into_blocking(reader)?;
        let done = spawn_blocking(move || -> std::io::Result<()> {
            let target = Target {
                dossier,
                epoch: &key,
                name,
                media_type,
            };
            let taken = ingest(
                blobs.as_ref(),
                &mut Read::chain(buffered.as_slice(), &stream),
                bytes,
                target,
            );
            let reply = match taken {
                Ok(reference) => {
                    taken_in.note(&reference);
                    Answer::Ingested(Box::new(reference))
                }
                Err(error) => of_transfer(&error),
            };
            write_line(&mut stream, &reply)
        });
        done.await.map_err(std::io::Error::other)?
    }

    async fn take_in_many(
        self,
        mut reader: BufReader<UnixStream>,
        dossier: DossierId,
        files: Vec<NewDocument>,
    ) -> std::io::Result<()> {
        let bytes = files
            .iter()
            .fold(0, |sum: u64, file| sum.saturating_add(file.bytes));
        let long = files
            .iter()
            .any(|file| file.bytes > SMALL_BYTES.min(self.document_bytes));
        if files.len() > BATCH || bytes > BATCH_BYTES || long {
            let what = format!(
                "{} documents of {bytes} bytes are no batch: at most {BATCH}, {BATCH_BYTES} bytes, {SMALL_BYTES} each",
                files.len()
            );
            let refused = failure(
                "too-large",
                what,
                "control request",
                "Give long documents one by one.",
            );
            return answer(&mut reader, &refused).await;
        }
        let key = match self.newest_key(dossier).await {
            Ok(key) => key,
            Err(refused) => return answer(&mut reader, &refused).await,
        };
        let (blobs, taken_in) = (self.blobs, self.taken);
        let (buffered, mut stream) = into_blocking(reader)?;
        let done = spawn_blocking(move || -> std::io::Result<()> {
            let target = |file: NewDocument| {
                let (name, media_type) = (file.name, file.media_type);
                let target = Target {
                    dossier,
                    epoch: &key,
                    name,
                    media_type,
                };
                (file.bytes, target)
            };
            let targets = files.into_iter().map(target).collect();
            let mut source = std::io::BufReader::new(Read::chain(buffered.as_slice(), &stream));
            let reply = match ingest_small(blobs.as_ref(), &mut source, targets) {
                Ok(documents) => {
                    documents.iter().for_each(|reference| taken_in.note(reference));
                    Answer::IngestedMany { documents }
                }
                Err(error) => of_transfer(&error),
            };
            write_line(&mut stream, &reply)
        });
        done.await.map_err(std::io::Error::other)?
    }

    /// The key under which documents of a dossier are lodged now, or the answer that there is none.
    async fn newest_key(&self, dossier: DossierId) -> Result<EpochKey, Answer> {
        let key = self.desk.ask_about(dossier, move |desk| {
            let replica = desk.engine().dossier(&dossier)?;
            replica.newest_key().map(|(_, key)| key.clone())
        });
        match key.await {
            Ok(Some(key)) => Ok(key),
            Ok(None) => Err(unknown_dossier(&dossier)),
            Err(error) => Err(of_submit(&error)),
        }
    }

    fn too_large(&self, bytes: u64, place: &str) -> Answer {
        let limit = self.document_bytes;
        failure(
            "too-large",
            format!("{bytes} bytes are over this node's limit of {limit}"),
            place,
            "Split the document, or ask the node's operator to raise limits.document_bytes.",
        )
    }

    /// Takes ciphertext in: neither key nor plaintext ever reach this process.
    async fn keep(
        self,
        mut reader: BufReader<UnixStream>,
        dossier: DossierId,
        bytes: u64,
    ) -> std::io::Result<()> {
        match plaintext_len(bytes) {
            Some(plaintext) if plaintext > self.document_bytes => {
                return answer(&mut reader, &self.too_large(plaintext, "document")).await;
            }
            Some(_) => {}
            None => {
                let error = DocumentError::CiphertextLength { bytes };
                return answer(&mut reader, &of_transfer(&error.into())).await;
            }
        }
        let known = self
            .desk
            .ask_about(dossier, move |desk| desk.engine().dossier(&dossier).is_some());
        match known.await {
            Ok(true) => {}
            Ok(false) => return answer(&mut reader, &unknown_dossier(&dossier)).await,
            Err(error) => return answer(&mut reader, &of_submit(&error)).await,
        }
        let blobs = Arc::clone(&self.blobs);
        let (buffered, mut stream) = into_blocking(reader)?;
        let done = spawn_blocking(move || -> std::io::Result<()> {
            let mut source = Read::chain(buffered.as_slice(), &stream);
            let reply = match keep(blobs.as_ref(), &mut source, bytes) {
                Ok(root) => Answer::Kept { root },
                Err(error) => of_transfer(&error),
            };
            write_line(&mut stream, &reply)
        });
        done.await.map_err(std::io::Error::other)?
    }

    async fn open(
        self,
        mut reader: BufReader<UnixStream>,
        dossier: DossierId,
        deposit: MessageId,
        root: Digest,
        opening: &str,
    ) -> std::io::Result<()> {
        let found = self.desk.ask_about(dossier, move |desk| {
            let replica = desk.engine().dossier(&dossier)?;
            let document = replica.state().document(&deposit, &root)?;
            let key = replica.document_key(&document.reference);
            Some((document.reference.clone(), key))
        });
        let (reference, key) = match found.await {
            Ok(Some((reference, key))) if key.is_some() || reference.class() == Class::Personal => {
                (reference, key)
            }
            Ok(Some(_)) => return answer(&mut reader, &of_transfer(&TransferError::Key)).await,
            Ok(None) => return answer(&mut reader, &unknown_dossier(&dossier)).await,
            Err(error) => return answer(&mut reader, &of_submit(&error)).await,
        };
        if !self.blobs.contains(root.as_bytes()).unwrap_or(false) {
            return answer(&mut reader, &of_transfer(&TransferError::Absent)).await;
        }
        // The opening is on file, durable, before the first byte is given out: its date is certain.
        let opened = match b64url_decode(opening).filter(|bytes| is_opening(bytes, &deposit, &root)) {
            Some(envelope) => self.desk.submit(envelope, None).await,
            None => {
                let refused = failure(
                    "bad-request",
                    "the opening is not one of this document",
                    "opening",
                    "",
                );
                return answer(&mut reader, &refused).await;
            }
        };
        if let Err(error) = opened {
            return answer(&mut reader, &of_submit(&error)).await;
        }
        let blobs = Arc::clone(&self.blobs);
        let (_, mut stream) = into_blocking(reader)?;
        let done = spawn_blocking(move || -> std::io::Result<()> {
            let bytes = match &key {
                Some(_) => reference.bytes,
                None => ciphertext_len(reference.bytes),
            };
            write_line(&mut stream, &Answer::Bytes { bytes })?;
            let given = match &key {
                Some(key) => give_out(blobs.as_ref(), &reference, key, &mut stream),
                None => send(blobs.as_ref(), &reference.root, &mut stream),
            };
            given.map_err(std::io::Error::other)
        });
        done.await.map_err(std::io::Error::other)?
    }

    /// Reads back first what may keep the node: whom it serves there, and who signs, no summary says.
    async fn retire(&self, to: Option<SubjectId>) -> Result<Answer, SubmitError> {
        for dossier in self.desk.ask(|desk| desk.dormant_that_keep()).await? {
            self.desk.ask_about(dossier, |_| ()).await?;
        }
        self.desk.ask(move |desk| retire(desk, to)).await
    }

    async fn back_up(&self, to: PathBuf) -> Answer {
        let original = Arc::clone(&self.original);
        match spawn_blocking(move || original.copy(&to)).await {
            Ok(Ok(copied)) => Answer::Copied(copied),
            Ok(Err(error @ (BackupError::Exists { .. } | BackupError::Inside { .. }))) => {
                failure("cannot-write", error, "--to", "")
            }
            Ok(Err(error)) => failure(
                "cannot-write",
                error,
                "--to",
                "Nothing is left of the copy. Name a directory that the node's own account may write to, with enough room.",
            ),
            Err(error) => failure("internal", error, "node", "Look at the node's log."),
        }
    }

    async fn export(self, mut reader: BufReader<UnixStream>, dossier: DossierId) -> std::io::Result<()> {
        if let Ok(Some((origin, entries))) = self.desk.ask(|desk| desk.lacks_entries()).await {
            let message = format!(
                "this node began with a snapshot and lacks {entries} entries of {origin}: a bundle needs them"
            );
            let failed = Failure {
                code: "registry-incomplete".into(),
                message,
                place: origin,
                action: "The peers send them: `basoche annuaire show` counts what is left.".into(),
                retry: "later".into(),
            };
            return answer(&mut reader, &Answer::Failed(failed)).await;
        }
        let snapshot = self.desk.ask_about(dossier, move |desk| desk.snapshot(&dossier));
        let snapshot = match snapshot.await {
            Ok(Some(Ok(snapshot))) => snapshot,
            Ok(Some(Err(error))) => {
                return answer(
                    &mut reader,
                    &failure("store", error, "node", "Look at the node's log."),
                )
                .await;
            }
            Ok(None) => return answer(&mut reader, &unknown_dossier(&dossier)).await,
            Err(error) => return answer(&mut reader, &of_submit(&error)).await,
        };
        let scratch = Arc::clone(&self.scratch);
        let (_, mut stream) = into_blocking(reader)?;
        let done = spawn_blocking(move || -> std::io::Result<()> {
            match snapshot.export(&scratch) {
                Ok((mut file, _)) => {
                    let bytes = file.metadata()?.len();
                    write_line(&mut stream, &Answer::Bytes { bytes })?;
                    std::io::copy(&mut file, &mut stream).map(|_| ())
                }
                Err(error) => write_line(
                    &mut stream,
                    &failure(
                        "export",
                        error,
                        "bundle",
                        "Free some disk space, or look at the node's log.",
                    ),
                ),
            }
        });
        done.await.map_err(std::io::Error::other)?
    }
}

/// Whether an envelope is an opening of just this document: nothing else is let in by this way.
fn is_opening(envelope: &[u8], deposit: &MessageId, root: &Digest) -> bool {
    let message = basoche_protocol::envelope::Envelope::decode(envelope).ok();
    let message = message.and_then(|envelope| Message::decode(envelope.payload()).ok());
    matches!(message.map(|message| message.body), Some(Body::Opening(one)) if one.deposit == *deposit && one.root == *root)
}

fn retire(desk: &mut Desk, to: Option<SubjectId>) -> Answer {
    match desk.retire(to) {
        Ok(view) => Answer::Retirement(Box::new(view)),
        Err(error) => failure(
            "cannot-write",
            error,
            "the data directory",
            "Free disk space, or see to the directory's permissions.",
        ),
    }
}

fn frontier(desk: &Desk, dossier: &DossierId) -> Answer {
    desk.frontier(dossier).map_or_else(
        || unknown_dossier(dossier),
        |view| Answer::Frontier(Box::new(view)),
    )
}

fn show(desk: &Desk, dossier: &DossierId) -> Answer {
    desk.show(dossier).map_or_else(
        || unknown_dossier(dossier),
        |view| Answer::Dossier(Box::new(view)),
    )
}

fn document(
    desk: &Desk,
    dossier: &DossierId,
    deposit: &MessageId,
    root: Option<Digest>,
    reader: &SubjectId,
) -> Answer {
    let Some(replica) = desk.engine().dossier(dossier) else {
        return unknown_dossier(dossier);
    };
    let state = replica.state();
    let is_it =
        |one: &&DocumentFact| one.deposit == *deposit && root.is_none_or(|root| one.reference.root == root);
    let Some(document) = state.documents().find(is_it) else {
        let reference = *deposit;
        return of_refusal(&Refused::UnknownReference { reference }.into(), "--deposit");
    };
    let wraps = state.wraps(document, reader).into_iter().map(|given| GivenView {
        message: given.message,
        author: given.author,
        jwe: given.jwe.to_owned(),
    });
    Answer::Document {
        reference: Box::new(document.reference.clone()),
        wraps: wraps.collect(),
    }
}

fn into_blocking(reader: BufReader<UnixStream>) -> std::io::Result<(Vec<u8>, StdStream)> {
    let buffered = reader.buffer().to_vec();
    let stream = reader.into_inner().into_std()?;
    stream.set_nonblocking(false)?;
    Ok((buffered, stream))
}

fn line(answer: &Answer) -> std::io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    Ok(line)
}

async fn answer(reader: &mut BufReader<UnixStream>, answer: &Answer) -> std::io::Result<()> {
    reader.get_mut().write_all(&line(answer)?).await
}

fn write_line(stream: &mut StdStream, answer: &Answer) -> std::io::Result<()> {
    stream.write_all(&line(answer)?)
}

pub(super) fn failure(code: &str, message: impl ToString, place: &str, action: &str) -> Answer {
    Answer::Failed(Failure {
        code: code.into(),
        message: message.to_string(),
        place: place.into(),
        action: action.into(),
        retry: "never".into(),
    })
}

fn unknown_dossier(dossier: &DossierId) -> Answer {
    let error = Refused::UnknownDossier { dossier: *dossier };
    of_refusal(&error.into(), "dossier")
}

pub(super) fn of_refusal(error: &Error, place: &str) -> Answer {
    of_code(error.code(), &error.to_string(), place)
}

fn of_code(code: Code, message: &str, place: &str) -> Answer {
    let retry = match code.retry() {
        Retry::Never => "never",
        Retry::AfterChange => "after-change",
        Retry::Later => "later",
    };
    Answer::Failed(Failure {
        code: code.name().into(),
        message: message.into(),
        place: place.into(),
        action: code.action().into(),
        retry: retry.into(),
    })
}

pub(super) fn of_submit(error: &SubmitError) -> Answer {
    match error {
        SubmitError::Refused(refused) => of_refusal(refused, "message"),
        SubmitError::Unavailable(code) => of_code(*code, &error.to_string(), "node"),
        SubmitError::KeyInFlight(_) => of_code(Code::Busy, &error.to_string(), "--id"),
        SubmitError::KeyTaken(_) => failure(
            "key-taken",
            error,
            "--id",
            "Choose another key for another message.",
        ),
        SubmitError::Wrap(_) => failure(
            "wrap",
            error,
            "registry",
            "The recipient's encryption key in the registry is unusable: have the node enrolled again.",
        ),
        SubmitError::Rows(_) => failure("store", error, "node", "Look at the node's log."),
    }
}

fn of_transfer(error: &TransferError) -> Answer {
    match error {
        TransferError::Absent => of_code(Code::DocumentMissing, &error.to_string(), "document"),
        TransferError::Blob(BlobError::Full { .. }) => of_code(Code::StorageFull, &error.to_string(), "node"),
        _ => failure("document", error, "document", "Look at the node's log."),
    }
}
