//! Every lie of a source is found and blamed, and the document comes from elsewhere.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use basoche_protocol::envelope::EpochKey;
use basoche_protocol::message::DocumentRef;
use tokio::time::sleep;

use super::super::{Target, ingest};
use super::*;
use crate::blob::MemoryBlobs;

const DOSSIER: DossierId = DossierId::new([1; 32]);

/// How a source answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Honest,
    /// Breaks off after so many bytes in all.
    Dies(u64),
    /// Never sends more than so many bytes.
    Hangs(u64),
    /// Waits so many milliseconds before each piece.
    Slow(u64),
    OtherLength,
    OtherCount,
    OtherHashes,
    OtherBit,
    SwappedLeaves,
    EndsEarly,
    Endless,
}

#[derive(Clone)]
struct Fake {
    bytes: Arc<Vec<u8>>,
    hashes: Arc<Vec<[u8; 32]>>,
    manner: Manner,
    /// Bytes of leaves given out.
    given: Arc<AtomicU64>,
}

struct FakeReply {
    rest: Vec<u8>,
    head: usize,
    at: usize,
    from: Fake,
}

impl Source for Fake {
    type Reply = FakeReply;

    async fn ask(&self, request: Request) -> Result<FakeReply, TransferError> {
        let Request::Leaves(request) = request else {
            panic!("a batch")
        };
        let leaf = document::leaf_bytes(self.bytes.len() as u64);
        let at = |leaves: u64| ((leaves * leaf) as usize).min(self.bytes.len());
        let mut leaves = self.bytes[at(request.first_leaf)..at(request.first_leaf + request.leaves)].to_vec();
        let mut hashes = if request.hashes {
            self.hashes.to_vec()
        } else {
            Vec::new()
        };
        let mut length = self.bytes.len() as u64;
        let mut count = hashes.len() as u32;
        match self.manner {
            Manner::OtherLength => length += 1,
            Manner::OtherCount => count += 1,
            Manner::OtherHashes if request.hashes => hashes[0][0] ^= 1,
            Manner::OtherBit if !leaves.is_empty() => *leaves.last_mut().unwrap() ^= 1,
            Manner::SwappedLeaves if leaves.len() >= 2 * leaf as usize => {
                leaves[..2 * leaf as usize].rotate_left(leaf as usize);
            }
            Manner::EndsEarly if !leaves.is_empty() => leaves.truncate(leaves.len() - 1),
            Manner::Endless => leaves.extend([0; 100]),
            _ => {}
        }
        let head = [
            &length.to_be_bytes()[..],
            &count.to_be_bytes(),
            hashes.as_flattened(),
        ]
        .concat();
        Ok(FakeReply {
            head: head.len(),
            rest: [head, leaves].concat(),
            at: 0,
            from: self.clone(),
        })
    }
}

impl Reply for FakeReply {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TransferError> {
        let given = self.from.given.load(Ordering::SeqCst);
        match self.from.manner {
            Manner::Dies(after) if given >= after => return Err(TransferError::Worker),
            Manner::Hangs(after) if given >= after => std::future::pending().await,
            Manner::Slow(pause) => sleep(Duration::from_millis(pause)).await,
            _ => tokio::task::yield_now().await,
        }
        let length = buffer.len().min(self.rest.len() - self.at).min(100_000);
        buffer[..length].copy_from_slice(&self.rest[self.at..self.at + length]);
        let before = self.at.max(self.head);
        self.at += length;
        let leaves = self.at.max(self.head) - before;
        self.from.given.fetch_add(leaves as u64, Ordering::SeqCst);
        Ok(length)
    }

    fn stop(self) {}
}

/// A document of `size` bytes, and who has it.
fn document(size: usize) -> (DocumentRef, Fake) {
    let blobs = MemoryBlobs::new(1 << 30);
    let plain: Vec<u8> = (0..size).map(|byte| (byte / 7) as u8).collect();
    let epoch = EpochKey::new([2; 32]);
    let target = Target {
        dossier: DOSSIER,
        epoch: &epoch,
        name: "a.bin".into(),
        media_type: "application/octet-stream".into(),
    };
    // On a thread of its own: it blocks.
    let reference = std::thread::scope(|scope| {
        let taken = scope.spawn(|| ingest(&blobs, &mut plain.as_slice(), size as u64, target));
        taken.join().unwrap().unwrap()
    });
    let blob = blobs.open(reference.root.as_bytes()).unwrap().unwrap();
    let mut bytes = vec![0; blob.len() as usize];
    blob.read_at(0, &mut bytes).unwrap();
    let fake = Fake {
        bytes: Arc::new(bytes),
        hashes: Arc::new(blob.outboard().unwrap()),
        manner: Manner::Honest,
        given: Arc::default(),
    };
    (reference, fake)
}

impl Fake {
    /// The same document at a source of another manner.
    fn who(&self, manner: Manner) -> Self {
        Self {
            manner,
            given: Arc::default(),
            ..self.clone()
        }
    }

    fn given(&self) -> u64 {
        self.given.load(Ordering::SeqCst)
    }

    fn is_stored(&self, blobs: &MemoryBlobs, reference: &DocumentRef) -> bool {
        let Some(blob) = blobs.open(reference.root.as_bytes()).unwrap() else {
            return false;
        };
        let mut bytes = vec![0; blob.len() as usize];
        blob.read_at(0, &mut bytes).unwrap();
        bytes == *self.bytes && blob.outboard().unwrap() == *self.hashes
    }
}

fn download(blobs: &MemoryBlobs, reference: &DocumentRef) -> Arc<Download> {
    let bytes = document::ciphertext_len(reference.bytes);
    Download::new(blobs, DOSSIER, reference.root, bytes).unwrap()
}

async fn finish(download: Arc<Download>) {
    tokio::task::spawn_blocking(move || download.finish().unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_document_of_any_size_comes_whole_from_one_source() {
    for size in [0, 1, 65_536, 70_000, 3 << 20, 17 << 20] {
        let (reference, source) = document(size);
        let blobs = MemoryBlobs::new(1 << 30);
        let download = download(&blobs, &reference);
        assert!(!download.is_complete());
        Arc::clone(&download).fetch_from(source.clone()).await.unwrap();
        finish(Arc::clone(&download)).await;
        assert!(source.is_stored(&blobs, &reference), "{size}");
        assert_eq!(source.given(), source.bytes.len() as u64, "each byte once");
        assert_eq!(download.fetched(), source.given());
    }
}

#[tokio::test]
async fn a_source_that_lies_is_blamed_and_the_document_comes_from_elsewhere() {
    let (reference, honest) = document(300_000);
    for manner in [
        Manner::OtherLength,
        Manner::OtherCount,
        Manner::OtherHashes,
        Manner::OtherBit,
        Manner::SwappedLeaves,
        Manner::EndsEarly,
        Manner::Endless,
    ] {
        let blobs = MemoryBlobs::new(1 << 30);
        let download = download(&blobs, &reference);
        let lied = Arc::clone(&download).fetch_from(honest.who(manner)).await;
        assert!(
            lied.as_ref().is_err_and(TransferError::is_blame),
            "{manner:?} {lied:?}"
        );
        assert!(!honest.is_stored(&blobs, &reference));
        Arc::clone(&download)
            .fetch_from(honest.who(Manner::Honest))
            .await
            .unwrap();
        finish(download).await;
        assert!(honest.is_stored(&blobs, &reference), "{manner:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_two_sources_of_three_holds_nothing_up() {
    let (reference, honest) = document(40 << 20);
    let blobs = MemoryBlobs::new(1 << 30);
    let download = download(&blobs, &reference);
    let manners = [Manner::Dies(9 << 20), Manner::Hangs(5 << 20), Manner::Slow(1)];
    let sources = manners.map(|manner| honest.who(manner));
    let tasks: Vec<_> = sources
        .iter()
        .map(|source| tokio::spawn(Arc::clone(&download).fetch_from(source.clone())))
        .collect();
    while !download.is_complete() {
        sleep(Duration::from_millis(1)).await;
    }
    tasks.iter().for_each(|task| task.abort());
    finish(Arc::clone(&download)).await;
    assert!(honest.is_stored(&blobs, &reference));
    let given: u64 = sources.iter().map(Fake::given).sum();
    // What the dead had begun and not brought is fetched again, a leaf of it at most with what it had sent.
    assert!(given <= honest.bytes.len() as u64 + (8 << 20), "{given}");
    assert!(sources.iter().all(|source| source.given() > 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_source_leaves_what_it_does_not_manage_to_a_fast_one() {
    let (reference, honest) = document(48 << 20);
    let blobs = MemoryBlobs::new(1 << 30);
    let download = download(&blobs, &reference);
    let (slow, fast) = (honest.who(Manner::Slow(5)), honest.who(Manner::Honest));
    let slowly = tokio::spawn(Arc::clone(&download).fetch_from(slow.clone()));
    while slow.given() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    Arc::clone(&download).fetch_from(fast.clone()).await.unwrap();
    assert!(download.is_complete());
    slowly.abort();
    finish(Arc::clone(&download)).await;
    assert!(honest.is_stored(&blobs, &reference));
    assert!(
        fast.given() > slow.given() * 4,
        "{} {}",
        fast.given(),
        slow.given()
    );
}

#[tokio::test]
async fn a_leaf_that_comes_in_pieces_has_one_writer_and_none_once_it_is_verified() {
    let (reference, honest) = document(150_000);
    let blobs = MemoryBlobs::new(1 << 30);
    let mut fresh = Arc::into_inner(download(&blobs, &reference)).unwrap();
    fresh.piece = 16 << 10;
    let download = Arc::new(fresh);
    let root = reference.root.as_bytes();
    let outboard = document::check_outboard(root, download.bytes, &honest.hashes).unwrap();
    download.outboard.set(outboard).unwrap();
    // What somebody else sends as the beginning of the first leaf, and no more of it.
    let begin = || {
        let (mut fill, drain) = ring(4, 16 << 10);
        let mut piece = fill.wait().unwrap();
        piece.grow(16 << 10).fill(7);
        assert!(fill.pass(0, piece));
        let writing = Arc::clone(&download);
        (fill, std::thread::spawn(move || writing.write(drain)))
    };
    let (fill, writer) = std::thread::scope(|scope| scope.spawn(begin).join().unwrap());
    for _ in 0..5_000 {
        if !download.plan().claimed.is_empty() {
            break;
        }
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(download.plan().claimed.len(), 1);
    let source = || honest.who(Manner::Honest);
    Arc::clone(&download).fetch_from(source()).await.unwrap();
    assert_eq!(download.plan().missing, 1, "the first leaf is another's");
    drop(fill);
    writer.join().unwrap().unwrap();
    Arc::clone(&download).fetch_from(source()).await.unwrap();
    assert!(download.is_complete());
    // The same once more: the leaf is verified, and stays what it is.
    let (fill, writer) = std::thread::scope(|scope| scope.spawn(begin).join().unwrap());
    drop(fill);
    writer.join().unwrap().unwrap();
    finish(download).await;
    assert!(honest.is_stored(&blobs, &reference));
}

#[tokio::test]
async fn what_has_come_is_not_fetched_again() {
    let (reference, honest) = document(20 << 20);
    let all = honest.bytes.len() as u64;
    let blobs = MemoryBlobs::new(1 << 30);
    let first = download(&blobs, &reference);
    let dying = honest.who(Manner::Dies(all * 4 / 10));
    assert!(Arc::clone(&first).fetch_from(dying).await.is_err());
    first.checkpoint().unwrap();
    // What comes after a checkpoint is there after a kill, without a mark.
    let dying = honest.who(Manner::Dies(all * 5 / 10));
    assert!(Arc::clone(&first).fetch_from(dying).await.is_err());
    drop(first);

    let second = download(&blobs, &reference);
    assert!(second.resumed && !second.is_complete());
    let rest = honest.who(Manner::Honest);
    Arc::clone(&second).fetch_from(rest.clone()).await.unwrap();
    finish(second).await;
    assert!(honest.is_stored(&blobs, &reference));
    // Two leaves were cut off in the middle.
    assert!(rest.given() <= all / 10 + (2 << 20), "{} of {all}", rest.given());
}

#[tokio::test]
async fn a_part_that_was_spoilt_on_the_disk_is_not_believed() {
    let (reference, honest) = document(20 << 20);
    let blobs = MemoryBlobs::new(1 << 30);
    let first = download(&blobs, &reference);
    let dying = honest.who(Manner::Dies(6 << 20));
    assert!(Arc::clone(&first).fetch_from(dying).await.is_err());
    first.checkpoint().unwrap();
    // Bytes beyond the marks that are not the document's.
    first.part.write_at(15 << 20, &[7; 1 << 20]).unwrap();
    drop(first);
    let second = download(&blobs, &reference);
    Arc::clone(&second)
        .fetch_from(honest.who(Manner::Honest))
        .await
        .unwrap();
    finish(second).await;
    assert!(honest.is_stored(&blobs, &reference));
}
