//! The blobs of the tests: a map, with a capacity to show what a full disk does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{BlobError, BlobPart, BlobReader, BlobStore, BlobWriter, Marks, Root, check_finish, check_range};

/// A [`BlobStore`] in memory, for tests.
#[derive(Clone)]
pub struct MemoryBlobs {
    blobs: Arc<Mutex<BTreeMap<Root, Arc<Blob>>>>,
    parts: Arc<Mutex<BTreeMap<Root, Arc<Mutex<Kept>>>>>,
    /// What no message may name, and since when.
    loose: Arc<Mutex<BTreeMap<Root, Instant>>>,
    capacity_bytes: u64,
}

struct Blob {
    bytes: Vec<u8>,
    outboard: Vec<[u8; 32]>,
}

/// What stays of a part: its bytes, and the marks of the last checkpoint.
struct Kept {
    bytes: Vec<u8>,
    marks: Vec<u8>,
}

struct Part {
    set: MemoryBlobs,
    root: Root,
    kept: Arc<Mutex<Kept>>,
    is_new: bool,
    marks: Mutex<Marks>,
}

struct Writer {
    set: MemoryBlobs,
    size: u64,
    bytes: Vec<u8>,
}

impl MemoryBlobs {
    /// An empty set that takes `capacity_bytes` of ciphertext in all.
    pub fn new(capacity_bytes: u64) -> Self {
        Self {
            blobs: Arc::default(),
            parts: Arc::default(),
            loose: Arc::default(),
            capacity_bytes,
        }
    }

    fn blobs(&self) -> MutexGuard<'_, BTreeMap<Root, Arc<Blob>>> {
        lock(&self.blobs)
    }

    fn check_space(&self, needed: u64) -> Result<(), BlobError> {
        let used: u64 = self.blobs().values().map(|blob| blob.bytes.len() as u64).sum();
        let free = self.capacity_bytes.saturating_sub(used);
        if needed > free {
            return Err(BlobError::Full {
                path: PathBuf::from("memory"),
                needed,
                free,
            });
        }
        Ok(())
    }
}

impl BlobStore for MemoryBlobs {
    fn create(&self, ciphertext_bytes: u64) -> Result<Box<dyn BlobWriter>, BlobError> {
        self.check_space(ciphertext_bytes)?;
        Ok(Box::new(Writer {
            set: self.clone(),
            size: ciphertext_bytes,
            bytes: Vec::new(),
        }))
    }

    fn part(&self, root: &Root, ciphertext_bytes: u64, leaves: u64) -> Result<Box<dyn BlobPart>, BlobError> {
        self.check_space(ciphertext_bytes)?;
        let mut parts = lock(&self.parts);
        let kept = parts.get(root).filter(|kept| {
            let kept = lock(kept);
            kept.bytes.len() as u64 == ciphertext_bytes && kept.marks.len() as u64 == leaves.div_ceil(8)
        });
        let is_new = kept.is_none();
        let kept = kept.cloned().unwrap_or_else(|| {
            Arc::new(Mutex::new(Kept {
                bytes: vec![0; ciphertext_bytes as usize],
                marks: Marks::new(leaves).bits,
            }))
        });
        parts.insert(*root, Arc::clone(&kept));
        lock(&self.loose).insert(*root, Instant::now());
        let marks = Marks::of(lock(&kept).marks.clone(), leaves);
        Ok(Box::new(Part {
            set: self.clone(),
            root: *root,
            kept,
            is_new,
            marks: Mutex::new(marks),
        }))
    }

    fn open(&self, root: &Root) -> Result<Option<Box<dyn BlobReader>>, BlobError> {
        Ok(self
            .blobs()
            .get(root)
            .map(|blob| Box::new(blob.clone()) as Box<dyn BlobReader>))
    }

    fn contains(&self, root: &Root) -> Result<bool, BlobError> {
        Ok(self.blobs().contains_key(root))
    }

    fn remove(&self, root: &Root) -> Result<(), BlobError> {
        self.blobs().remove(root);
        lock(&self.parts).remove(root);
        lock(&self.loose).remove(root);
        Ok(())
    }

    fn loose(&self, age: Duration, limit: usize) -> Result<Vec<Root>, BlobError> {
        let loose = lock(&self.loose);
        let old = loose.iter().filter(|(_, since)| since.elapsed() >= age);
        Ok(old.map(|(root, _)| *root).take(limit).collect())
    }

    fn keep(&self, root: &Root) -> Result<(), BlobError> {
        if !lock(&self.parts).contains_key(root) {
            lock(&self.loose).remove(root);
        }
        Ok(())
    }

    fn list(&self) -> Result<Vec<Root>, BlobError> {
        Ok(self.blobs().keys().copied().collect())
    }
}

impl BlobWriter for Writer {
    fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<(), BlobError> {
        let end = check_range(offset, data.len(), self.size)?;
        if data.is_empty() {
            return Ok(());
        }
        self.set.check_space(end)?;
        // The capacity bounds both, so that they are positions in memory.
        let (offset, end) = (offset as usize, end as usize);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(data);
        Ok(())
    }

    fn finish(self: Box<Self>, root: &Root, outboard: &[[u8; 32]]) -> Result<(), BlobError> {
        check_finish(self.size, self.bytes.len() as u64, outboard.len())?;
        let Self { set, bytes, .. } = *self;
        set.blobs().insert(
            *root,
            Arc::new(Blob {
                bytes,
                outboard: outboard.to_vec(),
            }),
        );
        lock(&set.loose).insert(*root, Instant::now());
        Ok(())
    }
}

impl BlobPart for Part {
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlobError> {
        let bytes = &mut lock(&self.kept).bytes;
        let end = check_range(offset, data.len(), bytes.len() as u64)?;
        bytes[offset as usize..end as usize].copy_from_slice(data);
        Ok(())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlobError> {
        let bytes = &lock(&self.kept).bytes;
        let end = check_range(offset, buf.len(), bytes.len() as u64)?;
        buf.copy_from_slice(&bytes[offset as usize..end as usize]);
        Ok(())
    }

    fn is_new(&self) -> bool {
        self.is_new
    }

    fn has(&self, leaf: u64) -> bool {
        lock(&self.marks).has(leaf)
    }

    fn mark(&self, leaf: u64) -> bool {
        lock(&self.marks).mark(leaf)
    }

    fn checkpoint(&self) -> Result<(), BlobError> {
        let bits = lock(&self.marks).bits.clone();
        lock(&self.kept).marks = bits;
        Ok(())
    }

    fn finish(&self, outboard: &[[u8; 32]]) -> Result<(), BlobError> {
        let bytes = lock(&self.kept).bytes.clone();
        lock(&self.marks).check(bytes.len() as u64, outboard.len())?;
        let outboard = outboard.to_vec();
        self.set
            .blobs()
            .insert(self.root, Arc::new(Blob { bytes, outboard }));
        lock(&self.set.parts).remove(&self.root);
        lock(&self.set.loose).remove(&self.root);
        Ok(())
    }
}

/// A panic of another thread leaves what is locked whole: every change is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BlobReader for Arc<Blob> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlobError> {
        let end = check_range(offset, buf.len(), self.bytes.len() as u64)?;
        buf.copy_from_slice(&self.bytes[offset as usize..end as usize]);
        Ok(())
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn outboard(&self) -> Result<Vec<[u8; 32]>, BlobError> {
        Ok(self.outboard.clone())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn memory_keeps_the_contract() {
        super::super::contract::check(&|| Box::new(MemoryBlobs::new(64 << 20)));
    }

    #[test]
    fn a_set_that_fills_up_while_writing_is_full() {
        let set = MemoryBlobs::new(100);
        let mut first = set.create(60).unwrap();
        let mut second = set.create(60).unwrap();
        first.write_at(0, &[1; 60]).unwrap();
        first.finish(&[1; 32], &[]).unwrap();
        assert!(matches!(
            second.write_at(0, &[2; 60]),
            Err(BlobError::Full {
                needed: 60,
                free: 40,
                ..
            })
        ));
    }
}
