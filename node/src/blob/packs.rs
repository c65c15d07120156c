//! Packs: many small blobs in one file, so that they cost one sync and not several each.
//!
//! ```text
//! packs/<random>.pack = "BSCHPACK" ‖ number of blobs (8, big-endian) ‖ root and length (32 + 8) of each
//!                  ‖ SHA-256 of all before ‖ the ciphertexts, in that order
//! ```
//!
//! Each blob has one leaf, whose hash is its root: there is no tree beside it. A pack is staged, synced and renamed,
//! and never changed afterwards, because backups share its file: to remove a blob the pack is written anew without it and
//! takes the old one's name. Which blob is in which pack is kept in memory, and read from the heads at the start.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;

use super::{BlobError, BlobReader, Root, check_range};
use crate::files;

const MAGIC: &[u8; 8] = b"BSCHPACK";
const SUM_BYTES: usize = 32;
const HEAD_BYTES: usize = 16;
const ROW_BYTES: usize = 40;
/// Blobs of one pack, at most.
pub(super) const PACK_BLOBS: usize = 1024;

/// The packs of one directory.
pub(super) struct Packs {
    directory: PathBuf,
    /// Held while a blob is read or removed.
    index: Mutex<BTreeMap<Root, Place>>,
    /// Held while packs are written, so that no blob is in two of them: it would outlive its removal. The packs whose heads
    /// are damaged.
    writing: Mutex<Vec<Arc<PathBuf>>>,
}

/// Where a blob is.
struct Place {
    pack: Arc<PathBuf>,
    offset: u64,
    length: usize,
}

/// A small blob: it is in memory as long as somebody reads it.
struct Small {
    root: Root,
    bytes: Vec<u8>,
}

impl Packs {
    /// Reads the heads of all packs. One that is damaged is passed over: its blobs are absent, and it stays until a blob is
    /// removed.
    pub(super) fn open(directory: PathBuf) -> io::Result<Self> {
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let (mut index, mut damaged) = (BTreeMap::new(), Vec::new());
        for entry in fs::read_dir(&directory)? {
            let path = Arc::new(entry?.path());
            match read_head(&path)? {
                Some(rows) => enter(&mut index, &path, &rows),
                None => {
                    tracing::error!(
                        pack = %path.display(),
                        "a pack of documents is damaged: what it held is fetched from the other members"
                    );
                    damaged.push(path);
                }
            }
        }
        Ok(Self {
            directory,
            index: Mutex::new(index),
            writing: Mutex::new(damaged),
        })
    }

    pub(super) fn contains(&self, root: &Root) -> bool {
        self.index().contains_key(root)
    }

    pub(super) fn roots(&self) -> Vec<Root> {
        self.index().keys().copied().collect()
    }

    /// The blob with this root; an error of the kind `UnexpectedEof` if its pack was cut short.
    pub(super) fn read(&self, root: &Root) -> io::Result<Option<Box<dyn BlobReader>>> {
        let index = self.index();
        let Some(place) = index.get(root) else {
            return Ok(None);
        };
        let mut bytes = vec![0; place.length];
        File::open(place.pack.as_ref())?.read_exact_at(&mut bytes, place.offset)?;
        Ok(Some(Box::new(Small { root: *root, bytes })))
    }

    /// Makes blobs durable in one new pack, staged in `staging`; those that are in another one stay there.
    pub(super) fn store(&self, staging: &Path, blobs: &[(Root, &[u8])]) -> io::Result<()> {
        let _alone = self.writing();
        let new: BTreeMap<Root, &[u8]> = blobs
            .iter()
            .copied()
            .filter(|(root, _)| !self.contains(root))
            .collect();
        let blobs: Vec<_> = new.into_iter().collect();
        if blobs.is_empty() {
            return Ok(());
        }
        let name = format!("{}.pack", files::unique_name("")?);
        let path = Arc::new(self.directory.join(name));
        let rows = write(staging, &path, &blobs)?;
        enter(&mut self.index(), &path, &rows);
        Ok(())
    }

    /// Removes a blob, if it is in a pack: the pack is written anew without it. Nobody can tell what is in a pack whose head
    /// is damaged: what has to be gone may be in it, so it goes.
    pub(super) fn remove(&self, staging: &Path, root: &Root) -> io::Result<()> {
        let mut damaged = self.writing();
        while let Some(path) = damaged.last() {
            fs::remove_file(path.as_ref())?;
            files::sync_dir(&self.directory)?;
            tracing::warn!(pack = %path.display(), "a damaged pack of documents is removed");
            damaged.pop();
        }
        let mut index = self.index();
        let Some(path) = index.get(root).map(|place| Arc::clone(&place.pack)) else {
            return Ok(());
        };
        let bytes = fs::read(path.as_ref())?;
        let left: Vec<(Root, &[u8])> = index
            .iter()
            .filter(|(other, place)| *other != root && place.pack == path)
            .filter_map(|(other, place)| {
                let start = usize::try_from(place.offset).ok()?;
                Some((*other, bytes.get(start..start + place.length)?))
            })
            .collect();
        let rows = if left.is_empty() {
            fs::remove_file(path.as_ref())?;
            files::sync_dir(&self.directory)?;
            Rows::new()
        } else {
            write(staging, &path, &left)?
        };
        // Also what the pack has lost is not in it any more.
        index.retain(|_, place| place.pack != path);
        enter(&mut index, &path, &rows);
        Ok(())
    }

    fn writing(&self) -> MutexGuard<'_, Vec<Arc<PathBuf>>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self) -> MutexGuard<'_, BTreeMap<Root, Place>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlobReader for Small {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlobError> {
        let end = check_range(offset, buf.len(), self.len())?;
        buf.copy_from_slice(&self.bytes[offset as usize..end as usize]);
        Ok(())
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn outboard(&self) -> Result<Vec<[u8; 32]>, BlobError> {
        Ok(vec![self.root])
    }
}

/// Root and length of each blob of a pack.
type Rows = Vec<(Root, usize)>;

fn enter(index: &mut BTreeMap<Root, Place>, path: &Arc<PathBuf>, rows: &Rows) {
    let mut offset = (HEAD_BYTES + rows.len() * ROW_BYTES + SUM_BYTES) as u64;
    for (root, length) in rows {
        let place = Place {
            pack: Arc::clone(path),
            offset,
            length: *length,
        };
        index.insert(*root, place);
        offset += *length as u64;
    }
}

/// Writes a pack and gives it its name, over an older one of the same.
fn write(staging: &Path, path: &Path, blobs: &[(Root, &[u8])]) -> io::Result<Rows> {
    let staged = staging.join(files::unique_name("")?);
    let written = write_staged(&staged, path, blobs);
    if written.is_err() {
        // It has no name yet, or is gone already.
        let _ = fs::remove_file(&staged);
    }
    written
}

fn write_staged(staged: &Path, path: &Path, blobs: &[(Root, &[u8])]) -> io::Result<Rows> {
    let mut head = Vec::with_capacity(HEAD_BYTES + blobs.len() * ROW_BYTES + SUM_BYTES);
    head.extend_from_slice(MAGIC);
    head.extend((blobs.len() as u64).to_be_bytes());
    for (root, bytes) in blobs {
        head.extend_from_slice(root);
        head.extend((bytes.len() as u64).to_be_bytes());
    }
    let sum = digest::digest(&digest::SHA256, &head);
    head.extend_from_slice(sum.as_ref());
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(staged)?;
    let mut out = io::BufWriter::with_capacity(1 << 20, file);
    out.write_all(&head)?;
    for (_, bytes) in blobs {
        out.write_all(bytes)?;
    }
    out.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_data()?;
    fs::rename(staged, path)?;
    files::sync_dir(files::directory_of(path))?;
    Ok(blobs.iter().map(|(root, bytes)| (*root, bytes.len())).collect())
}

/// The rows of a pack; `None` if its head is not what was written.
fn read_head(path: &Path) -> io::Result<Option<Rows>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut head = vec![0; HEAD_BYTES];
    if length < (HEAD_BYTES + SUM_BYTES) as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut head, 0)?;
    let [.., a, b, c, d, e, f, g, h] = head[..] else {
        return Ok(None);
    };
    let count = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let rest = count.saturating_mul(ROW_BYTES as u64) + SUM_BYTES as u64;
    if !head.starts_with(MAGIC) || count > PACK_BLOBS as u64 || HEAD_BYTES as u64 + rest > length {
        return Ok(None);
    }
    head.resize(HEAD_BYTES + rest as usize, 0);
    file.read_exact_at(&mut head[HEAD_BYTES..], HEAD_BYTES as u64)?;
    let (content, sum) = head.split_at(head.len() - SUM_BYTES);
    if digest::digest(&digest::SHA256, content).as_ref() != sum {
        return Ok(None);
    }
    let (rows, _) = content[HEAD_BYTES..].as_chunks::<ROW_BYTES>();
    let row = |row: &[u8; ROW_BYTES]| {
        let (root, length) = row.split_first_chunk::<32>()?;
        let length = u64::from_be_bytes(length.try_into().ok()?);
        Some((*root, usize::try_from(length).ok()?))
    };
    Ok(rows.iter().map(row).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn root(byte: u8) -> Root {
        [byte; 32]
    }

    fn content(packs: &Packs, byte: u8) -> Option<Vec<u8>> {
        let reader = packs.read(&root(byte)).unwrap()?;
        let mut bytes = vec![0; reader.len() as usize];
        reader.read_at(0, &mut bytes).unwrap();
        Some(bytes)
    }

    fn files_in(directory: &Path) -> Vec<PathBuf> {
        fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    }

    #[test]
    fn a_pack_is_found_again_and_a_removed_blob_is_gone_from_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let (directory, staging) = (dir.path().join("packs"), dir.path());
        let packs = Packs::open(directory.clone()).unwrap();
        packs
            .store(staging, &[(root(1), b"one"), (root(2), b"two"), (root(3), b"")])
            .unwrap();
        let packs = Packs::open(directory.clone()).unwrap();
        assert_eq!(packs.roots(), [root(1), root(2), root(3)]);
        packs
            .store(staging, &[(root(1), b"one"), (root(3), b"")])
            .unwrap();
        // A backup has a second name for the file: it stays what it was.
        let [pack] = &files_in(&directory)[..] else {
            panic!("one pack")
        };
        let backup = dir.path().join("backup");
        fs::hard_link(pack, &backup).unwrap();
        let before = fs::read(&backup).unwrap();
        packs.remove(staging, &root(1)).unwrap();
        packs.remove(staging, &root(9)).unwrap();
        assert_eq!(fs::read(&backup).unwrap(), before);
        assert!(!fs::read(pack).unwrap().windows(3).any(|three| three == b"one"));
        for packs in [&packs, &Packs::open(directory.clone()).unwrap()] {
            assert_eq!(
                [1, 2, 3].map(|byte| content(packs, byte)),
                [None, Some(b"two".to_vec()), Some(Vec::new())]
            );
        }
        packs.remove(staging, &root(2)).unwrap();
        packs.remove(staging, &root(3)).unwrap();
        assert!(files_in(&directory).is_empty() && packs.roots().is_empty());
    }

    #[test]
    fn a_damaged_head_hides_its_own_pack_only() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("packs");
        let packs = Packs::open(directory.clone()).unwrap();
        packs
            .store(dir.path(), &[(root(1), b"one"), (root(2), b"two")])
            .unwrap();
        let [pack] = &files_in(&directory)[..] else {
            panic!("one pack")
        };
        let good = fs::read(pack).unwrap();
        packs.store(dir.path(), &[(root(7), b"seven")]).unwrap();
        let roots = || Packs::open(directory.clone()).unwrap().roots();
        for offset in 0..HEAD_BYTES + 2 * ROW_BYTES + SUM_BYTES {
            let mut changed = good.clone();
            changed[offset] ^= 1;
            fs::write(pack, &changed).unwrap();
            assert_eq!(roots(), [root(7)], "{offset}");
        }
        for length in [0, 15, 16, 47, 80, 127] {
            fs::write(pack, &good[..length]).unwrap();
            assert_eq!(roots(), [root(7)], "{length}");
        }
        // Cut short behind its head: the rest of it is there.
        fs::write(pack, &good[..good.len() - 1]).unwrap();
        let packs = Packs::open(directory.clone()).unwrap();
        assert_eq!(content(&packs, 1).unwrap(), b"one");
        assert_eq!(
            packs.read(&root(2)).err().unwrap().kind(),
            ErrorKind::UnexpectedEof
        );
        // What is lost is absent once the pack is written anew, and the pack goes with the last that it has.
        packs.remove(dir.path(), &root(1)).unwrap();
        assert_eq!(packs.roots(), [root(7)]);
        assert_eq!(files_in(&directory).len(), 1);
    }

    #[test]
    fn what_may_be_in_a_pack_that_cannot_be_read_is_gone_once_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("packs");
        let packs = Packs::open(directory.clone()).unwrap();
        packs
            .store(dir.path(), &[(root(1), b"one"), (root(2), b"two")])
            .unwrap();
        let [pack] = &files_in(&directory)[..] else {
            panic!("one pack")
        };
        let mut bytes = fs::read(pack).unwrap();
        bytes[20] ^= 1;
        fs::write(pack, &bytes).unwrap();
        let packs = Packs::open(directory.clone()).unwrap();
        // They have come again.
        packs
            .store(dir.path(), &[(root(1), b"one"), (root(2), b"two")])
            .unwrap();
        assert_eq!(files_in(&directory).len(), 2);
        packs.remove(dir.path(), &root(1)).unwrap();
        let [left] = &files_in(&directory)[..] else {
            panic!("one pack")
        };
        assert!(!fs::read(left).unwrap().windows(3).any(|three| three == b"one"));
        assert_eq!(content(&packs, 2).unwrap(), b"two");
    }
}
