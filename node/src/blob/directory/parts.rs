//! Blobs that come from peers: `tmp/<root>.part`, with `tmp/<root>.have`, the leaves that were verified and synced at the
//! last checkpoint.
//!
//! ```text
//! .have = "BSCHHAVE" ‖ ciphertext bytes (8, big-endian) ‖ one bit a leaf, lowest first ‖ SHA-256 of all before
//! ```

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;

use super::super::{BlobError, BlobPart, Marks, Root, check_range};
use super::{Body, FileBlobs, HASH_BYTES, allocate, from_io, remove_if_there};
use crate::files;

const MARKS_MAGIC: &[u8; 8] = b"BSCHHAVE";

/// A blob that comes from peers, leaf by leaf.
pub(super) struct Part {
    set: FileBlobs,
    root: Root,
    body: Body,
    tree: PathBuf,
    marks_path: PathBuf,
    is_new: bool,
    marks: Mutex<Marks>,
}

impl Part {
    /// What is here of an earlier attempt, or an empty part.
    pub(super) fn open(
        set: &FileBlobs,
        root: &Root,
        ciphertext_bytes: u64,
        leaves: u64,
    ) -> Result<Self, BlobError> {
        let [data, marks_path, tree] = ["part", "have", "tree"].map(|kind| set.beside(root, kind));
        let found = Body::reopen(data.clone(), ciphertext_bytes)?;
        let is_new = found.is_none();
        let (body, marks) = match found {
            Some(body) => {
                let marks = read_marks(&marks_path, ciphertext_bytes, leaves);
                (body, marks.unwrap_or_else(|| Marks::new(leaves)))
            }
            // The marks first: they never stand beside bytes that are not theirs.
            None => {
                remove_if_there(&marks_path)?;
                remove_if_there(&data)?;
                set.check_space(ciphertext_bytes)?;
                let body = Body::create(data, ciphertext_bytes)?;
                // As long as it will be, however much has come when the process ends.
                allocate(&body.file, ciphertext_bytes).map_err(|error| body.error(error))?;
                (body, Marks::new(leaves))
            }
        };
        Ok(Self {
            set: set.clone(),
            root: *root,
            body,
            tree,
            marks_path,
            is_new,
            marks: Mutex::new(marks),
        })
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlobPart for Part {
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlobError> {
        self.body.write_at(offset, data).map(|_| ())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlobError> {
        check_range(offset, buf.len(), self.body.size)?;
        self.body
            .file
            .read_exact_at(buf, offset)
            .map_err(|error| self.body.error(error))
    }

    fn is_new(&self) -> bool {
        self.is_new
    }

    fn has(&self, leaf: u64) -> bool {
        self.marks().has(leaf)
    }

    fn mark(&self, leaf: u64) -> bool {
        self.marks().mark(leaf)
    }

    fn checkpoint(&self) -> Result<(), BlobError> {
        let bits = self.marks().bits.clone();
        self.body.sync()?;
        let mut bytes = [MARKS_MAGIC.as_slice(), &self.body.size.to_be_bytes(), &bits].concat();
        bytes.extend_from_slice(digest::digest(&digest::SHA256, &bytes).as_ref());
        files::write_atomic(&self.marks_path, &bytes, 0o600).map_err(|error| from_io(&self.marks_path, error))
    }

    fn finish(&self, outboard: &[[u8; 32]]) -> Result<(), BlobError> {
        self.marks().check(self.body.size, outboard.len())?;
        remove_if_there(&self.tree)?;
        self.body.publish(&self.set, &self.tree, &self.root, outboard)?;
        remove_if_there(&self.marks_path)
    }
}

/// The marks of a part; `None` if they are not there or not whole, and then the leaves count as not verified.
fn read_marks(path: &Path, size: u64, leaves: u64) -> Option<Marks> {
    let bytes = fs::read(path).ok()?;
    let (content, sum) = bytes.split_at_checked(bytes.len().checked_sub(HASH_BYTES)?)?;
    let bits = content
        .strip_prefix(MARKS_MAGIC.as_slice())?
        .strip_prefix(size.to_be_bytes().as_slice())?;
    let whole = digest::digest(&digest::SHA256, content).as_ref() == sum;
    (whole && bits.len() as u64 == leaves.div_ceil(8)).then(|| Marks::of(bits.to_vec(), leaves))
}
