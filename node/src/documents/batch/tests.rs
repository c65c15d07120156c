//! Every lie about small documents is found and blamed, and costs nobody but its own document.

#![allow(clippy::unwrap_used)]

use basoche_protocol::envelope::EpochKey;
use tokio::time::{Duration, sleep, timeout};

use super::super::{Target, ingest};
use super::*;
use crate::blob::MemoryBlobs;

const DOSSIER: DossierId = DossierId::new([1; 32]);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Honest,
    /// Says that it has not got every second one.
    Lacks,
    OtherBit,
    /// Sends the first two in each other's place.
    Swapped,
    OtherLength,
    /// Announces 4 GiB.
    HugeLength,
    EndsEarly,
    Endless,
    /// Answers with documents that nobody asked for.
    Unrelated,
    /// Breaks off after so many bytes.
    Dies(usize),
}

struct Fake {
    blobs: MemoryBlobs,
    manner: Manner,
    given: Arc<AtomicU64>,
}

struct FakeReply {
    bytes: Vec<u8>,
    at: usize,
    manner: Manner,
    given: Arc<AtomicU64>,
}

impl Source for Fake {
    type Reply = FakeReply;

    async fn ask(&self, request: Request) -> Result<FakeReply, TransferError> {
        let Request::Batch(request) = Request::decode(&request.encode()).unwrap() else {
            panic!("no batch")
        };
        assert_eq!(request.dossier, DOSSIER);
        let mut parts: Vec<Vec<u8>> = Vec::new();
        for (index, root) in request.roots.iter().enumerate() {
            let lacks = self.manner == Manner::Lacks && index % 2 == 1;
            let mut out = BytesMut::new();
            append(&self.blobs, (!lacks).then_some(*root), &mut out);
            parts.push(out.to_vec());
        }
        match self.manner {
            Manner::OtherBit => *parts[1].last_mut().unwrap() ^= 1,
            Manner::Swapped => parts.swap(0, 1),
            Manner::OtherLength => parts[1][3] ^= 1,
            Manner::HugeLength => parts[1][..4].fill(0xff),
            Manner::EndsEarly => parts.last_mut().unwrap().truncate(100),
            Manner::Unrelated => parts.iter_mut().for_each(|part| part[4..].fill(7)),
            _ => {}
        }
        Ok(FakeReply {
            bytes: parts.concat(),
            at: 0,
            manner: self.manner,
            given: Arc::clone(&self.given),
        })
    }
}

impl Reply for FakeReply {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TransferError> {
        if matches!(self.manner, Manner::Dies(after) if self.at >= after) {
            return Err(TransferError::Worker);
        }
        if self.at == self.bytes.len() && self.manner == Manner::Endless {
            sleep(Duration::from_millis(1)).await;
            self.given.fetch_add(buffer.len() as u64, Ordering::SeqCst);
            return Ok(buffer.len());
        }
        let length = buffer.len().min(self.bytes.len() - self.at).min(5_000);
        buffer[..length].copy_from_slice(&self.bytes[self.at..self.at + length]);
        self.at += length;
        self.given.fetch_add(length as u64, Ordering::SeqCst);
        Ok(length)
    }

    fn stop(self) {}
}

/// Documents of these sizes, as they are to be asked for, and who has them.
fn documents(sizes: &[usize]) -> (Vec<(Digest, u64)>, MemoryBlobs) {
    let blobs = MemoryBlobs::new(1 << 30);
    let epoch = EpochKey::new([2; 32]);
    let one = |size: &usize| {
        let target = Target {
            dossier: DOSSIER,
            epoch: &epoch,
            name: "a.txt".into(),
            media_type: "text/plain".into(),
        };
        let plain = vec![9; *size];
        // On a thread of its own: it blocks.
        let taken = std::thread::scope(|scope| {
            let taken = scope.spawn(|| ingest(&blobs, &mut plain.as_slice(), *size as u64, target));
            taken.join().unwrap().unwrap()
        });
        (taken.root, document::ciphertext_len(*size as u64))
    };
    let mut wanted: Vec<_> = sizes.iter().map(one).collect();
    wanted.sort_unstable();
    (wanted, blobs)
}

async fn fetch(manner: Manner, wanted: &[(Digest, u64)], from: &MemoryBlobs, to: &MemoryBlobs) -> Brought {
    let source = Fake {
        blobs: from.clone(),
        manner,
        given: Arc::default(),
    };
    let blobs: Arc<dyn BlobStore> = Arc::new(to.clone());
    let fetched = fetch_batch(blobs, &source, DOSSIER, wanted.to_vec());
    timeout(Duration::from_secs(20), fetched).await.unwrap()
}

fn is_here(wanted: &(Digest, u64), there: &MemoryBlobs, here: &MemoryBlobs) -> bool {
    let content = |blobs: &MemoryBlobs| {
        let blob = blobs.open(wanted.0.as_bytes()).unwrap()?;
        let mut bytes = vec![0; blob.len() as usize];
        blob.read_at(0, &mut bytes).unwrap();
        Some((bytes, blob.outboard().unwrap()))
    };
    content(here).is_some() && content(here) == content(there)
}

#[tokio::test]
async fn small_documents_come_in_one_request_each_whole_under_its_root() {
    let (wanted, there) = documents(&[0, 1, 16_384, 16_384, 65_520]);
    assert!(wanted.iter().all(|(_, bytes)| is_small(*bytes)) && !is_small((64 << 10) + 1));
    let here = MemoryBlobs::new(1 << 30);
    let brought = fetch(Manner::Honest, &wanted, &there, &here).await;
    brought.ended.unwrap();
    assert_eq!(
        brought.received,
        wanted.iter().map(|(_, bytes)| bytes).sum::<u64>()
    );
    assert_eq!(brought.stored.len(), wanted.len());
    assert!(wanted.iter().all(|one| is_here(one, &there, &here)));
}

#[tokio::test]
async fn what_a_source_has_not_got_is_no_lie_and_keeps_nothing_back() {
    let (wanted, there) = documents(&[100; 9]);
    let here = MemoryBlobs::new(1 << 30);
    let brought = fetch(Manner::Lacks, &wanted, &there, &here).await;
    brought.ended.unwrap();
    let got: Vec<_> = wanted.iter().step_by(2).map(|(root, _)| *root).collect();
    assert_eq!(brought.stored, got);
}

#[tokio::test]
async fn each_lie_is_blamed_and_what_was_true_counts() {
    let (wanted, there) = documents(&[1000, 1000, 1000, 1000]);
    for (manner, stored) in [
        (Manner::OtherBit, 3),
        (Manner::Swapped, 2),
        (Manner::OtherLength, 1),
        (Manner::HugeLength, 1),
        (Manner::EndsEarly, 3),
        (Manner::Endless, 4),
        (Manner::Unrelated, 0),
    ] {
        let here = MemoryBlobs::new(1 << 30);
        let brought = fetch(manner, &wanted, &there, &here).await;
        assert!(
            brought.ended.as_ref().is_err_and(TransferError::is_blame),
            "{manner:?} {brought:?}"
        );
        assert_eq!(brought.stored.len(), stored, "{manner:?}");
        let good = wanted.iter().filter(|one| is_here(one, &there, &here)).count();
        assert_eq!((good, here.list().unwrap().len()), (stored, stored), "{manner:?}");
        // The rest comes from elsewhere.
        let rest: Vec<_> = wanted
            .iter()
            .filter(|(root, _)| !brought.stored.contains(root))
            .copied()
            .collect();
        if !rest.is_empty() {
            fetch(Manner::Honest, &rest, &there, &here).await.ended.unwrap();
        }
        assert!(wanted.iter().all(|one| is_here(one, &there, &here)), "{manner:?}");
    }
}

#[tokio::test]
async fn a_source_that_dies_is_no_liar_and_what_came_before_counts() {
    let (wanted, there) = documents(&[20_000; 4]);
    let here = MemoryBlobs::new(1 << 30);
    let brought = fetch(Manner::Dies(50_000), &wanted, &there, &here).await;
    assert!(brought.ended.is_err_and(|error| !error.is_blame()));
    assert_eq!(brought.stored.len(), 2);
}

#[tokio::test]
async fn a_full_disk_is_told_and_stores_nothing_by_halves() {
    let (wanted, there) = documents(&[20_000; 4]);
    let here = MemoryBlobs::new(50_000);
    let brought = fetch(Manner::Honest, &wanted, &there, &here).await;
    assert!(matches!(
        brought.ended,
        Err(TransferError::Blob(BlobError::Full { .. }))
    ));
    assert!(brought.stored.is_empty());
}

#[test]
fn a_long_document_is_not_given_in_a_batch() {
    let (wanted, there) = documents(&[70_000]);
    let mut out = BytesMut::new();
    append(&there, Some(wanted[0].0), &mut out);
    append(&there, None, &mut out);
    append(&there, Some(Digest::new([9; 32])), &mut out);
    assert_eq!(out.as_ref(), [0; 12]);
}
