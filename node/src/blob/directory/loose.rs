//! What no message may name: documents that were taken in here and never deposited, and parts.
//!
//! A document is taken in before its message is signed. Until a message is known to name it, the empty file
//! `tmp/<root>.lodged` stands beside it; it is not synced, and a blob that loses it to a power cut stays. A blob that came
//! from peers came because a message names it, and has none.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use basoche_protocol::text::hex_decode;

use super::super::{BlobError, Root};
use super::{FileBlobs, from_io};

/// The kind of the file that stands beside a document until a message names it.
pub(super) const LODGED: &str = "lodged";

/// Notes that a blob is about to be finished which nothing names yet. Two may do so at once: the later counts.
pub(super) fn lodge(set: &FileBlobs, root: &Root) -> Result<(), BlobError> {
    let path = set.beside(root, LODGED);
    let mark = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    let dated = mark.and_then(|mark| mark.set_modified(SystemTime::now()));
    dated.map_err(|error| from_io(&path, error))
}

/// The root that a staged file belongs to; `None` of one that nobody can go on with.
pub(super) fn root_of(path: &Path) -> Option<Root> {
    let kind = path.extension()?.to_str()?;
    let known = ["part", "have", LODGED].contains(&kind);
    let name = path.file_stem()?.to_str().filter(|_| known)?;
    Root::try_from(hex_decode(name)?).ok()
}

/// As [`super::BlobStore::loose`]: by when the file was last written.
pub(super) fn loose(set: &FileBlobs, age: Duration, limit: usize) -> Result<Vec<Root>, BlobError> {
    let staging = set.staging();
    let mut roots = Vec::new();
    for entry in fs::read_dir(&staging).map_err(|error| from_io(&staging, error))? {
        let path = entry.map_err(|error| from_io(&staging, error))?.path();
        let Some(root) = root_of(&path) else { continue };
        // One that is gone meanwhile, or dated ahead, is not old.
        let written = fs::metadata(&path).and_then(|file| file.modified()).ok();
        let old = written
            .and_then(|at| at.elapsed().ok())
            .is_some_and(|since| since >= age);
        if old && !roots.contains(&root) {
            roots.push(root);
        }
        if roots.len() == limit {
            break;
        }
    }
    roots.sort_unstable();
    Ok(roots)
}
