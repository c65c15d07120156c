//! The port to the documents' ciphertext, DESIGN §5 and §9: files named by the root of their hash tree.
//!
//! What the bytes mean, and whether they belong under a root, is checked by the caller while they arrive.
//! [`FileBlobs`] is the embedded default, [`MemoryBlobs`] is for tests; one contract suite (`contract.rs`)
//! is run against both.

#[cfg(test)]
mod contract;
mod directory;
mod memory;

pub use directory::FileBlobs;
pub use memory::MemoryBlobs;

use std::path::PathBuf;
use std::time::Duration;

use basoche_protocol::text::hex_encode;

/// The root of a document's hash tree: the name of its blob.
pub type Root = [u8; 32];

/// The most leaf hashes a blob may have (32 MiB of them): 64 GiB of document at 64 KiB a leaf.
pub const MAX_LEAVES: usize = 1 << 20;

/// A set of blobs, each under its root. The contract every backend keeps:
///
/// **Durable.** When [`BlobWriter::finish`] returns `Ok`, the blob, its outboard and its name are on stable
/// storage. When [`remove`](Self::remove) returns `Ok`, the name is gone for good. Staged bytes are not durable.
///
/// **Atomic.** A blob is there whole, with its outboard, or not at all: never under its name while staged.
/// A writer that is dropped, or whose process ends, leaves nothing behind.
///
/// **Concurrent use.** Any number of threads may use the set, several readers and writers for one root
/// included. A reader keeps reading a blob that is removed or finished anew meanwhile.
///
/// **Repetition.** Finishing a root again replaces the blob (the same bytes, so that damage heals), removing an
/// absent one does nothing; both return `Ok`. Absence is `None` or `false`, never an error.
///
/// **Not checked here.** That bytes and outboard belong to the root: the caller verifies ranges as they arrive.
pub trait BlobStore: Send + Sync {
    /// Begins a blob of exactly `ciphertext_bytes`, staged under a temporary name.
    ///
    /// # Errors
    /// [`BlobError::Full`] at once if the space free now does not hold it and a reserve. Nothing is reserved:
    /// a later write may still find the disk full.
    fn create(&self, ciphertext_bytes: u64) -> Result<Box<dyn BlobWriter>, BlobError>;

    /// The part of a blob of `ciphertext_bytes` in `leaves` leaves that is here of an earlier attempt, or an empty
    /// one. It stays when it is dropped, and over a restart. One user at a time.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    fn part(&self, root: &Root, ciphertext_bytes: u64, leaves: u64) -> Result<Box<dyn BlobPart>, BlobError>;

    /// The blob with this root.
    ///
    /// # Errors
    /// [`BlobError::Damaged`] if its length is not what was finished.
    fn open(&self, root: &Root) -> Result<Option<Box<dyn BlobReader>>, BlobError>;

    /// Whether there is a blob with this root; it may still prove damaged.
    fn contains(&self, root: &Root) -> Result<bool, BlobError>;

    /// Removes the blob with this root, and the part of it that is here. Who still writes to that part cannot finish it.
    fn remove(&self, root: &Root) -> Result<(), BlobError>;

    /// At most `limit` roots of what no message may name, ascending: blobs that were finished by a [`BlobWriter`] and not
    /// kept since, and parts, of which nothing was written for `age`. A restart keeps them in mind.
    fn loose(&self, age: Duration, limit: usize) -> Result<Vec<Root>, BlobError>;

    /// A message names this blob: it is not loose any more. A part stays what it is.
    fn keep(&self, root: &Root) -> Result<(), BlobError>;

    /// The roots of all blobs, ascending.
    fn list(&self) -> Result<Vec<Root>, BlobError>;
}

/// A staged blob. Dropping it removes what was staged.
pub trait BlobWriter: Send {
    /// Writes `data` at `offset`, in any order; writing a range again replaces it.
    ///
    /// # Errors
    /// [`BlobError::OutOfRange`] beyond the announced size; [`BlobError::Full`].
    fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<(), BlobError>;

    /// Makes the blob durable under its root, with the leaf hashes of its tree.
    ///
    /// # Errors
    /// [`BlobError::Incomplete`] if the end was never written, [`BlobError::TooManyLeaves`], [`BlobError::Full`].
    /// On any error the staged blob is gone. A failed sync must not be retried on the same bytes.
    fn finish(self: Box<Self>, root: &Root, outboard: &[[u8; 32]]) -> Result<(), BlobError>;
}

/// A blob that arrives leaf by leaf, in any order, from any number of threads.
pub trait BlobPart: Send + Sync {
    /// Writes `data` at `offset`.
    ///
    /// # Errors
    /// [`BlobError::OutOfRange`]; [`BlobError::Full`].
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlobError>;

    /// Fills `buf` with the bytes from `offset` on: zeros where nothing was written.
    ///
    /// # Errors
    /// [`BlobError::OutOfRange`].
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlobError>;

    /// Whether nothing was here of an earlier attempt. What was may be more than what is marked: bytes that came
    /// after the last checkpoint, as far as they were kept.
    fn is_new(&self) -> bool;

    /// Whether a leaf is marked.
    fn has(&self, leaf: u64) -> bool;

    /// Marks a leaf that is written whole and verified. True if it was not marked before.
    fn mark(&self, leaf: u64) -> bool;

    /// Makes durable what is marked now, then the marks. Bytes come first: a mark never outlives its leaf.
    ///
    /// # Errors
    /// [`BlobError::Full`].
    fn checkpoint(&self) -> Result<(), BlobError>;

    /// Makes the blob durable under its root, as [`BlobWriter::finish`] does; the part is gone, and nothing may be
    /// written to it any more.
    ///
    /// # Errors
    /// [`BlobError::Incomplete`] while a leaf is not marked.
    fn finish(&self, outboard: &[[u8; 32]]) -> Result<(), BlobError>;
}

/// Which leaves of a part are verified.
struct Marks {
    bits: Vec<u8>,
    leaves: u64,
    count: u64,
}

impl Marks {
    fn new(leaves: u64) -> Self {
        Self::of(vec![0; leaves.div_ceil(8) as usize], leaves)
    }

    /// As many leaves as there are; what lies behind them does not count.
    fn of(bits: Vec<u8>, leaves: u64) -> Self {
        let mut marks = Self {
            bits,
            leaves,
            count: 0,
        };
        marks.count = (0..leaves).filter(|leaf| marks.has(*leaf)).count() as u64;
        marks
    }

    fn has(&self, leaf: u64) -> bool {
        let byte = self.bits.get((leaf / 8) as usize).copied().unwrap_or(0);
        leaf < self.leaves && byte >> (leaf % 8) & 1 == 1
    }

    fn mark(&mut self, leaf: u64) -> bool {
        if leaf >= self.leaves || self.has(leaf) {
            return false;
        }
        self.bits[(leaf / 8) as usize] |= 1 << (leaf % 8);
        self.count += 1;
        true
    }

    /// What a part asks before it is finished.
    fn check(&self, size: u64, outboard: usize) -> Result<(), BlobError> {
        let written = if self.count == self.leaves { size } else { 0 };
        check_finish(size, written, outboard)
    }
}

/// A finished blob.
#[allow(clippy::len_without_is_empty)] // a size in bytes, not a collection
pub trait BlobReader: Send + Sync {
    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`BlobError::OutOfRange`] if the blob ends before `buf` does.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlobError>;

    /// The size of the ciphertext, in bytes.
    fn len(&self) -> u64;

    /// The leaf hashes given at [`BlobWriter::finish`].
    ///
    /// # Errors
    /// [`BlobError::Damaged`] if they are not what was written.
    fn outboard(&self) -> Result<Vec<[u8; 32]>, BlobError>;
}

/// Why a blob cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The disk, or the account's quota, is full, or would be.
    #[error("the disk that holds {} is full ({needed} bytes needed, {free} free): free some space, then try again", path.display())]
    Full {
        /// The directory of the blobs.
        path: PathBuf,
        /// What the operation needs, reserve included.
        needed: u64,
        /// What is free.
        free: u64,
    },
    /// The directory is not there.
    #[error("there is no directory {}: check the data directory and that its volume is mounted", path.display())]
    Missing {
        /// The directory or file.
        path: PathBuf,
    },
    /// The operating system forbids the access.
    #[error("no permission to use {}: give its ownership to the account that runs the node, and mount it writable", path.display())]
    Permission {
        /// The directory or file.
        path: PathBuf,
    },
    /// A blob is not what was finished.
    #[error("{what}: {action}")]
    Damaged {
        /// What is damaged, and where.
        what: String,
        /// What the operator is to do.
        action: String,
    },
    /// A range that does not lie in the blob: the caller's mistake.
    #[error("bytes {offset} to {end} do not lie in a blob of {size}")]
    OutOfRange {
        /// The first byte.
        offset: u64,
        /// The byte after the last.
        end: u64,
        /// The size of the blob.
        size: u64,
    },
    /// A blob is finished of which the end was never written: the caller's mistake.
    #[error("a blob of {size} bytes was finished after {written}")]
    Incomplete {
        /// The announced size.
        size: u64,
        /// Where the written bytes end.
        written: u64,
    },
    /// More leaves than [`MAX_LEAVES`]: the caller's mistake.
    #[error("{leaves} leaves exceed the limit of {MAX_LEAVES}")]
    TooManyLeaves {
        /// The number of leaves.
        leaves: usize,
    },
    /// Any other failure of the disk or the operating system.
    #[error("{}: {source}: check the disk and the system log", path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
}

impl BlobError {
    /// Damage to the blob `root`: peers hold the same bytes, so that it can be fetched again.
    fn damaged(root: &Root, what: &str) -> Self {
        Self::Damaged {
            what: format!("the document file {} is damaged ({what})", hex_encode(root)),
            action:
                "stop the node, run `basoche node repair --from-peers`, start again (deploy/OPERATIONS.md)"
                    .into(),
        }
    }
}

/// The end of a range that lies in a blob of `size` bytes.
fn check_range(offset: u64, bytes: usize, size: u64) -> Result<u64, BlobError> {
    let end = offset.saturating_add(bytes as u64);
    if end > size {
        return Err(BlobError::OutOfRange { offset, end, size });
    }
    Ok(end)
}

/// What every backend asks before it finishes.
fn check_finish(size: u64, written: u64, leaves: usize) -> Result<(), BlobError> {
    if written != size {
        return Err(BlobError::Incomplete { size, written });
    }
    if leaves > MAX_LEAVES {
        return Err(BlobError::TooManyLeaves { leaves });
    }
    Ok(())
}
