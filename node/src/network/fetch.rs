//! Fetching documents from the members that have them.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use basoche_protocol::document::ciphertext_len;
use basoche_protocol::id::{Digest, DossierId, SubjectId};
use basoche_protocol::message::DocumentRef;
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use super::{BACKOFF, Network};
use crate::blob::BlobError;
use crate::desk::{Input, Wanted};
use crate::documents::{DocumentRequest, Download, Reply, Source, TransferError};
use crate::effects::now;
use crate::operator::Obstacle;
use crate::quic::{BulkStream, CloseCode, Lane, NodeId, TransportError};

/// Ciphertext bytes from which a document comes from several sources at once.
const LONG: u64 = 32 << 20;
/// Sources of one document at a time.
const SOURCES: usize = 4;
/// Times that a source which failed is tried again before the whole document waits.
const TRIES: u32 = 3;
/// How often what has come of a document is made durable: so much may have to be looked at again after a power cut.
const CHECKPOINT: Duration = Duration::from_secs(1);

impl Network {
    /// Fetches the documents that the desk wants, a few at once, for as long as it takes.
    pub async fn fetch_all(self, mut wants: mpsc::Receiver<Wanted>) {
        let permits = Arc::new(Semaphore::new(self.transfers.available_permits()));
        while let Some(wanted) = wants.recv().await {
            let (network, permits) = (self.clone(), Arc::clone(&permits));
            tokio::spawn(async move {
                let mut pause = BACKOFF.0;
                let root = wanted.document.reference.root;
                let fetches = &network.desk.monitor().fetches;
                fetches.begin(root, ciphertext_len(wanted.document.reference.bytes), now());
                loop {
                    // What is erased meanwhile is not fetched any more.
                    let wanted_still = network.desk.ask(move |desk| desk.is_on_file(&root)).await;
                    if matches!(wanted_still, Ok(false)) {
                        return network.stored(root).await;
                    }
                    match network.fetch(&wanted, &permits).await {
                        Ok(()) => return network.stored(root).await,
                        Err(error) => {
                            network.desk.monitor().meters.fetch_failed();
                            fetches.failed(&root, obstacle(&error));
                            tracing::debug!(%error, "a document was not fetched");
                        }
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(BACKOFF.1);
                }
            });
        }
    }

    async fn stored(&self, root: Digest) {
        self.desk.monitor().fetches.end(&root);
        // The desk is gone only when the node stops; the next start finds the document where it is.
        let _ = self.desk.send(Input::Stored { root }).await;
    }

    /// Fetches a document from its sources: one after the other if it is short, several at once if it is long.
    async fn fetch(&self, wanted: &Wanted, permits: &Semaphore) -> Result<(), TransferError> {
        // Before anything is taken for it, memory or disk: thousands of documents may be missing.
        let _permit = permits.acquire().await.map_err(|_| TransferError::Worker)?;
        let reference = wanted.document.reference.clone();
        if self.blobs.contains(reference.root.as_bytes())? {
            return Ok(());
        }
        let begun = Instant::now();
        let download = self.download(wanted.dossier, &reference).await?;
        let (fetches, root) = (&self.desk.monitor().fetches, &wanted.document.reference.root);
        fetches.has_room(root);
        let wide = if download.ciphertext_bytes() < LONG {
            1
        } else {
            SOURCES
        };
        let mut waiting: VecDeque<(SubjectId, u32)> =
            wanted.sources.iter().map(|source| (*source, 0)).collect();
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
        Ok(())
    }

    /// What there is of a document, shared by all that bring something of it.
    pub(crate) async fn download(
        &self,
        dossier: DossierId,
        reference: &DocumentRef,
    ) -> Result<Arc<Download>, TransferError> {
        let mut downloads = self.downloads.lock().await;
        downloads.retain(|_, download| download.strong_count() > 0);
        if let Some(download) = downloads.get(&reference.root).and_then(Weak::upgrade) {
            return Ok(download);
        }
        let (blobs, asked) = (Arc::clone(&self.blobs), reference.clone());
        let download = blocking(move || Download::new(blobs.as_ref(), dossier, &asked)).await?;
        downloads.insert(reference.root, Arc::downgrade(&download));
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

    async fn ask(&self, request: DocumentRequest) -> Result<BulkStream, TransferError> {
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
