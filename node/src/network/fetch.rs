//! Fetching documents from the members that have them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use basoche_protocol::id::{Digest, DossierId, SubjectId};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until};

use super::{BACKOFF, Network, WANTED};
use crate::blob::BlobError;
use crate::desk::Input;
use crate::documents::{
    Brought, Download, Job, Plan, Reply, Request, Source, TransferError, Want, fetch_batch,
};
use crate::effects::now;
use crate::operator::Obstacle;
use crate::quic::{BulkError, BulkStream, CloseCode, Lane, NodeId, TransportError};

/// Ciphertext bytes from which a document comes from several sources at once.
const LONG: u64 = 32 << 20;
/// Sources of one document at a time.
const SOURCES: usize = 4;
/// Times that a source which failed is tried again before the whole document waits.
const TRIES: u32 = 3;
/// How often what has come of a document is made durable: so much may have to be looked at again after a power cut.
const CHECKPOINT: Duration = Duration::from_secs(1);
/// How often it is asked who holds what is wanted.
const HOLDERS: Duration = Duration::from_secs(1);

/// What became of a job.
struct Ended {
    job: Job,
    took: Duration,
    outcome: Result<Brought, TransferError>,
}

impl Network {
    /// Fetches the documents that the desk wants, a few jobs at once, for as long as it takes.
    pub async fn fetch_all(self, mut wants: mpsc::Receiver<Want>) {
        let most = self.serving.transfers();
        let mut plan = Plan::new(self.own, most);
        let mut jobs = JoinSet::new();
        let mut holders_due = Instant::now();
        loop {
            // What has come at once is planned at once. Who wants more than there is room for waits in the queue.
            while plan.len() < WANTED
                && let Ok(want) = wants.try_recv()
            {
                self.add(&mut plan, want);
            }
            if !plan.is_empty() && Instant::now() >= holders_due {
                self.ask_holders(&mut plan).await;
                holders_due = Instant::now() + HOLDERS;
            }
            while jobs.len() < most
                && let Some(job) = plan.next(Instant::now().into_std())
            {
                jobs.spawn(self.clone().carry_out(job));
            }
            let due = plan.due(Instant::now().into_std());
            let due = due.map_or_else(|| Instant::now() + HOLDERS, Instant::from_std);
            tokio::select! {
                Some(ended) = jobs.join_next(), if !jobs.is_empty() => {
                    // A job never panics itself: what it does runs on a task of its own.
                    if let Ok(ended) = ended {
                        self.take(&mut plan, ended).await;
                    }
                }
                want = wants.recv(), if plan.len() < WANTED => match want {
                    Some(want) => self.add(&mut plan, want),
                    None => return,
                },
                () = sleep_until(due), if !plan.is_empty() => {}
            }
        }
    }

    fn add(&self, plan: &mut Plan, want: Want) {
        self.desk.monitor().fetches.begin(want.root, want.bytes, now());
        plan.add(want, Instant::now().into_std());
    }

    async fn ask_holders(&self, plan: &mut Plan) {
        let candidates = plan.candidates();
        let asked = self.desk.ask(move |desk| desk.holders(&candidates)).await;
        let mut gone = Vec::new();
        // A desk that is busy or stopping says nothing: then it stays as it was known.
        for (root, holders) in asked.unwrap_or_default() {
            match holders {
                Some(holders) => plan.held(&root, holders),
                None => {
                    plan.forget(&root);
                    self.desk.monitor().fetches.end(&root);
                    gone.push(root);
                }
            }
        }
        if !gone.is_empty() {
            // Another dossier may want the same document: the desk asks for it anew.
            let _ = self.desk.send(Input::Stored { roots: gone }).await;
        }
    }

    async fn carry_out(self, job: Job) -> Ended {
        let begun = Instant::now();
        let work = match job.clone() {
            Job::Batch {
                dossier,
                source,
                documents,
            } => tokio::spawn(self.fetch_small(dossier, source, documents)),
            Job::One {
                dossier,
                root,
                bytes,
                sources,
            } => tokio::spawn(self.fetch_one(dossier, root, bytes, sources)),
        };
        let outcome = work.await.unwrap_or(Err(TransferError::Worker));
        Ended {
            job,
            took: begun.elapsed(),
            outcome,
        }
    }

    /// Tells plan, desk and operator what became of a job.
    async fn take(&self, plan: &mut Plan, ended: Ended) {
        let Ended { job, took, outcome } = ended;
        let at = Instant::now().into_std();
        let monitor = self.desk.monitor();
        let mut lacking: BTreeSet<Digest> = match &job {
            Job::Batch { documents, .. } => documents.iter().map(|(root, _)| *root).collect(),
            Job::One { root, .. } => BTreeSet::from([*root]),
        };
        let (stored, received, result) = match outcome {
            Ok(brought) => (brought.stored, brought.received, brought.ended),
            Err(error) => (Vec::new(), 0, Err(error)),
        };
        for root in &stored {
            lacking.remove(root);
            monitor.fetches.end(root);
        }
        if let Job::Batch { source, .. } = &job {
            monitor.meters.fetched(received);
            match &result {
                Err(error) if error.is_blame() => {
                    tracing::warn!(peer = %source, %error, "a peer sent something else than the documents");
                    plan.blamed(source, at);
                }
                Err(TransferError::Blob(_) | TransferError::Worker) => {}
                Err(error) => {
                    tracing::debug!(peer = %source, %error, "a source of documents failed");
                    plan.refused(source, at);
                }
                Ok(()) => plan.measured(source, received, took),
            }
            if !stored.is_empty() {
                let (documents, seconds) = (stored.len(), took.as_secs_f64());
                tracing::info!(documents, bytes = received, seconds, "documents have come");
            }
        }
        if !lacking.is_empty() {
            monitor.meters.fetch_failed();
            let obstacle = result.as_ref().err().map_or(Obstacle::SourcesFailed, obstacle);
            lacking
                .iter()
                .for_each(|root| monitor.fetches.failed(root, obstacle));
            if let Err(error) = result {
                tracing::debug!(%error, "a document was not fetched");
            }
        }
        plan.ended(&job, &lacking, at);
        if !stored.is_empty() {
            // The desk is gone only when the node stops; the next start finds the documents where they are.
            let _ = self.desk.send(Input::Stored { roots: stored }).await;
        }
    }

    /// Fetches small documents from one source, those that are here already left out.
    async fn fetch_small(
        self,
        dossier: DossierId,
        source: SubjectId,
        documents: Vec<(Digest, u64)>,
    ) -> Result<Brought, TransferError> {
        let (mut here, mut wanted) = (Vec::new(), Vec::new());
        for (root, bytes) in documents {
            match self.blobs.contains(root.as_bytes())? {
                true => here.push(root),
                false => wanted.push((root, bytes)),
            }
        }
        if wanted.is_empty() {
            return Ok(Brought {
                stored: here,
                received: 0,
                ended: Ok(()),
            });
        }
        let peer = PeerSource {
            network: self.clone(),
            node: source,
        };
        let mut brought = fetch_batch(Arc::clone(&self.blobs), &peer, dossier, wanted).await;
        brought.stored.extend(here);
        Ok(brought)
    }

    /// Fetches a document from its sources: one after the other if it is short, several at once if it is long.
    async fn fetch_one(
        self,
        dossier: DossierId,
        root: Digest,
        bytes: u64,
        sources: Vec<SubjectId>,
    ) -> Result<Brought, TransferError> {
        let whole = Brought {
            stored: vec![root],
            received: 0,
            ended: Ok(()),
        };
        if self.blobs.contains(root.as_bytes())? {
            return Ok(whole);
        }
        let begun = Instant::now();
        let download = self.download(dossier, root, bytes).await?;
        let (fetches, root) = (&self.desk.monitor().fetches, &root);
        fetches.has_room(root);
        let wide = if bytes < LONG { 1 } else { SOURCES };
        let mut waiting: VecDeque<(SubjectId, u32)> = sources.into_iter().map(|source| (source, 0)).collect();
        let mut sources = JoinSet::new();
        let mut checkpoint = interval(CHECKPOINT);
        let mut last = None;
        while !download.is_complete() {
            while sources.len() < wide
                && let Some((node, failures)) = waiting.pop_front()
            {
                let source = PeerSource {
                    network: self.clone(),
                    node,
                };
                let download = Arc::clone(&download);
                sources.spawn(async move {
                    sleep(BACKOFF.0 * failures).await;
                    (node, failures, download.fetch_from(source).await)
                });
            }
            tokio::select! {
                ended = sources.join_next() => match ended {
                    None => break,
                    Some(Ok((_, _, Ok(())))) => {}
                    Some(Ok((node, failures, Err(error)))) => {
                        if error.is_blame() {
                            tracing::warn!(peer = %node, %error, "a peer sent something else than the document");
                        } else {
                            tracing::debug!(peer = %node, %error, "a source of a document failed");
                            if failures < TRIES {
                                waiting.push_back((node, failures + 1));
                            }
                        }
                        // An attempt may take long: each source may be silent for a while.
                        let told = telling(last, error);
                        fetches.failed(root, obstacle(&told));
                        last = Some(told);
                    }
                    Some(Err(_)) => last = Some(telling(last, TransferError::Worker)),
                },
                _ = checkpoint.tick() => {
                    let here = download.verified_bytes();
                    fetches.progress(root, here);
                    let download = Arc::clone(&download);
                    if let Err(error) = blocking(move || download.checkpoint()).await {
                        last = Some(telling(last, error));
                        break;
                    }
                }
            }
        }
        // A source that has nothing more to bring may hang.
        sources.shutdown().await;
        if !download.is_complete() {
            blocking(move || download.leave()).await?;
            return Err(last.unwrap_or(TransferError::Absent));
        }
        let (bytes, fetched) = (download.ciphertext_bytes(), download.fetched());
        blocking(move || download.finish()).await?;
        let seconds = begun.elapsed().as_secs_f64();
        self.desk.monitor().meters.fetched(fetched);
        tracing::info!(bytes, fetched, seconds, "a document has come");
        Ok(whole)
    }

    /// What there is of a document of `bytes` ciphertext bytes, shared by all that bring something of it.
    pub(crate) async fn download(
        &self,
        dossier: DossierId,
        root: Digest,
        bytes: u64,
    ) -> Result<Arc<Download>, TransferError> {
        let mut downloads = self.downloads.lock().await;
        downloads.retain(|_, download| download.strong_count() > 0);
        if let Some(download) = downloads.get(&root).and_then(Weak::upgrade) {
            return Ok(download);
        }
        let blobs = Arc::clone(&self.blobs);
        let download = blocking(move || Download::new(blobs.as_ref(), dossier, root, bytes)).await?;
        downloads.insert(root, Arc::downgrade(&download));
        Ok(download)
    }

    /// Asks a peer on its bulk connection, which is dialled if there is none.
    pub(crate) async fn ask(&self, peer: NodeId, request: Bytes) -> Result<BulkStream, TransferError> {
        match self.endpoint.fetch(peer, request.clone()).await {
            Err(TransportError::NotConnected) => {
                match self.connect(peer, Lane::Bulk).await {
                    Ok(()) | Err(TransportError::Duplicate | TransportError::AlreadyDialling) => {}
                    Err(error) => return Err(TransferError::Unreachable(error)),
                }
                self.endpoint.fetch(peer, request).await
            }
            asked => asked,
        }
        .map_err(TransferError::Unreachable)
    }
}

/// What an error tells of a document that does not come.
fn obstacle(error: &TransferError) -> Obstacle {
    match error {
        TransferError::Blob(BlobError::Full { .. }) => Obstacle::DiskFull,
        TransferError::Blob(_) | TransferError::Worker => Obstacle::Storage,
        TransferError::Unreachable(_) => Obstacle::NoSource,
        TransferError::Stream(BulkError::Reset(code)) if *code == CloseCode::Quota as u64 => Obstacle::Quota,
        TransferError::Document(_)
        | TransferError::Stream(_)
        | TransferError::Io(_)
        | TransferError::Reply(_)
        | TransferError::Key
        | TransferError::Absent => Obstacle::SourcesFailed,
    }
}

/// Of two errors of one attempt the one that tells more, of two alike the later.
fn telling(earlier: Option<TransferError>, later: TransferError) -> TransferError {
    earlier
        .filter(|earlier| obstacle(earlier) > obstacle(&later))
        .unwrap_or(later)
}

/// Runs what blocks on a thread where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TransferError> + Send + 'static,
) -> Result<T, TransferError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| TransferError::Worker)?
}

/// A member that may have a document.
struct PeerSource {
    network: Network,
    node: SubjectId,
}

impl Source for PeerSource {
    type Reply = BulkStream;

    async fn ask(&self, request: Request) -> Result<BulkStream, TransferError> {
        self.network.ask(*self.node.as_bytes(), request.encode()).await
    }
}

impl Reply for BulkStream {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TransferError> {
        Ok(Self::read(self, buffer).await?)
    }

    fn stop(self) {
        Self::stop(self, CloseCode::Aborted);
    }
}
