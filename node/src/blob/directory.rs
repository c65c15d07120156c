//! Blobs as files: `ab/ab…` (64 digits) is the ciphertext of root `ab…`, `ab/ab….tree` its outboard.
//!
//! ```text
//! .tree = "BSCHTREE" ‖ ciphertext bytes (8, big-endian) ‖ leaf hashes (32 each) ‖ SHA-256 of all before
//! ```
//!
//! A blob is staged as `tmp/<random>` and `tmp/<random>.tree`; one that comes from peers as in [`parts`]. Of one that was
//! taken in here, `tmp/<root>.lodged` says that no message was known to name it ([`loose`]).
//!
//! To finish: sync the ciphertext, write and sync
//! the tree, rename the tree, rename the ciphertext, sync the directory. What a restart finds: before the
//! last rename, a staged file (removed, unless it is a part) and perhaps a tree without ciphertext (no blob; replaced when the root
//! is finished, removed with it); after it, the blob.
//!
//! Blobs from [`DIRECT_BYTES`] on go past the page cache where the file system allows it: the kernel's copy is then
//! spared, and a large document does not drive everything else out of memory. Space is allocated at once. What
//! does not start or end on a block goes through the cache, on the same file. One fdatasync ends a blob.

mod loose;
mod parts;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use basoche_protocol::text::{hex_decode, hex_encode};

use super::{
    BlobError, BlobPart, BlobReader, BlobStore, BlobWriter, MAX_LEAVES, Root, check_finish, check_range,
};
use crate::buffers::BLOCK;
use crate::disk::{RESERVE_BYTES, Space};
use crate::faults::interrupt;
use crate::files;
use loose::LODGED;
use parts::Part;

/// Blobs of so many bytes are written and read past the page cache (8 MiB).
const DIRECT_BYTES: u64 = 8 << 20;

const MAGIC: &[u8; 8] = b"BSCHTREE";
const HEAD_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// A [`BlobStore`] in one directory. One process at a time may use it: the lock of the database beside it sees
/// to that, so open the database first.
#[derive(Clone)]
pub struct FileBlobs {
    path: PathBuf,
    // Held while the two names of a blob are given, taken or opened, so that they always go together.
    names: Arc<Mutex<()>>,
}

impl FileBlobs {
    /// Opens the set in the directory `path`, making it where its parent exists, and removes what was left staged.
    pub fn open(path: &Path) -> Result<Self, BlobError> {
        let set = Self {
            path: path.into(),
            names: Arc::default(),
        };
        make_dir(path)?;
        let staging = set.staging();
        make_dir(&staging)?;
        for entry in fs::read_dir(&staging).map_err(|error| from_io(&staging, error))? {
            let left_over = entry.map_err(|error| from_io(&staging, error))?.path();
            // What has arrived of a document is not fetched again.
            if loose::root_of(&left_over).is_none() {
                remove_if_there(&left_over)?;
            }
        }
        // All 256 now: no later finish has to sync a directory for a directory.
        for byte in 0..=255 {
            make_dir(&path.join(hex_encode(&[byte])))?;
        }
        sync_dir(path)?;
        sync_dir(files::directory_of(path))?;
        Ok(set)
    }

    fn staging(&self) -> PathBuf {
        self.path.join("tmp")
    }

    /// A staged file that belongs to the blob with this root.
    fn beside(&self, root: &Root, kind: &str) -> PathBuf {
        self.staging().join(format!("{}.{kind}", hex_encode(root)))
    }

    /// The ciphertext's and the tree's path.
    fn paths(&self, root: &Root) -> (PathBuf, PathBuf) {
        let directory = self.path.join(hex_encode(&root[..1]));
        let name = hex_encode(root);
        (directory.join(&name), directory.join(format!("{name}.tree")))
    }

    /// Moves what there is of the blob with this root to the directory `to` of the same file system, laid out as this
    /// one: then it is absent here.
    ///
    /// The ciphertext goes first: a tree alone is no blob.
    pub fn set_aside(&self, root: &Root, to: &Path) -> Result<(), BlobError> {
        let there = Self {
            path: to.into(),
            names: Arc::default(),
        };
        let ((data, tree), (data_there, tree_there)) = (self.paths(root), there.paths(root));
        let directory = files::directory_of(&data_there);
        make_dir(directory)?;
        sync_dir(to)?;
        let names = self.names();
        move_if_there(&data, &data_there)?;
        interrupt("repair-document");
        move_if_there(&tree, &tree_there)?;
        drop(names);
        sync_dir(directory)?;
        sync_dir(files::directory_of(&data))
    }

    fn names(&self) -> MutexGuard<'_, ()> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_space(&self, bytes: u64) -> Result<(), BlobError> {
        let space = Space::of(&self.path).map_err(|error| from_io(&self.path, error))?;
        if space.holds(bytes) {
            return Ok(());
        }
        Err(BlobError::Full {
            path: self.path.clone(),
            needed: bytes.saturating_add(RESERVE_BYTES),
            free: space.free_bytes,
        })
    }
}

impl BlobStore for FileBlobs {
    fn create(&self, ciphertext_bytes: u64) -> Result<Box<dyn BlobWriter>, BlobError> {
        self.check_space(ciphertext_bytes)?;
        let staging = self.staging();
        let name = files::unique_name("").map_err(|error| from_io(&staging, error))?;
        let staged = Staged {
            data: staging.join(&name),
            tree: staging.join(format!("{name}.tree")),
        };
        let body = Body::create(staged.data.clone(), ciphertext_bytes)?;
        Ok(Box::new(Writer {
            set: self.clone(),
            staged,
            body,
            written: 0,
        }))
    }

    fn part(&self, root: &Root, ciphertext_bytes: u64, leaves: u64) -> Result<Box<dyn BlobPart>, BlobError> {
        Ok(Box::new(Part::open(self, root, ciphertext_bytes, leaves)?))
    }

    fn open(&self, root: &Root) -> Result<Option<Box<dyn BlobReader>>, BlobError> {
        let (data_path, tree_path) = self.paths(root);
        let names = self.names();
        let Some(data) = open_if_there(&data_path)? else {
            return Ok(None);
        };
        let tree =
            open_if_there(&tree_path)?.ok_or_else(|| BlobError::damaged(root, "its tree is missing"))?;
        drop(names);
        let mut head = [0; HEAD_BYTES];
        if tree.read_exact_at(&mut head, 0).is_err() || !head.starts_with(MAGIC) {
            return Err(BlobError::damaged(root, "its tree is not one"));
        }
        let [.., a, b, c, d, e, f, g, h] = head;
        let size = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let found = data.metadata().map_err(|error| from_io(&data_path, error))?.len();
        if found != size {
            return Err(BlobError::damaged(
                root,
                &format!("{found} bytes instead of {size}"),
            ));
        }
        let direct = open_direct(&data_path, size, OpenOptions::new().read(true));
        Ok(Some(Box::new(Reader {
            root: *root,
            data_path,
            data,
            direct,
            tree_path,
            tree,
            size,
        })))
    }

    fn contains(&self, root: &Root) -> Result<bool, BlobError> {
        let (data, _) = self.paths(root);
        data.try_exists().map_err(|error| from_io(&data, error))
    }

    fn remove(&self, root: &Root) -> Result<(), BlobError> {
        let (data, tree) = self.paths(root);
        let names = self.names();
        // The ciphertext first: a tree alone is no blob, the other way round would be damage.
        remove_if_there(&data)?;
        remove_if_there(&tree)?;
        drop(names);
        sync_dir(files::directory_of(&data))?;
        for kind in ["have", "part", LODGED] {
            remove_if_there(&self.beside(root, kind))?;
        }
        sync_dir(&self.staging())
    }

    fn loose(&self, age: Duration, limit: usize) -> Result<Vec<Root>, BlobError> {
        loose::loose(self, age, limit)
    }

    fn keep(&self, root: &Root) -> Result<(), BlobError> {
        remove_if_there(&self.beside(root, LODGED))
    }

    fn list(&self) -> Result<Vec<Root>, BlobError> {
        let mut roots = Vec::new();
        for byte in 0..=255 {
            let directory = self.path.join(hex_encode(&[byte]));
            for entry in fs::read_dir(&directory).map_err(|error| from_io(&directory, error))? {
                let name = entry.map_err(|error| from_io(&directory, error))?.file_name();
                let root = name
                    .to_str()
                    .and_then(hex_decode)
                    .and_then(|name| Root::try_from(name).ok());
                roots.extend(root.filter(|root| root[0] == byte));
            }
        }
        roots.sort_unstable();
        Ok(roots)
    }
}

/// The temporary files of a blob, removed when dropped; after a rename there is nothing to remove.
struct Staged {
    data: PathBuf,
    tree: PathBuf,
}

impl Drop for Staged {
    fn drop(&mut self) {
        for path in [&self.data, &self.tree] {
            if let Err(error) = remove_if_there(path) {
                tracing::warn!(%error, "a staged document file stays until the next start");
            }
        }
    }
}

/// The ciphertext of a blob that is not finished.
struct Body {
    path: PathBuf,
    file: File,
    /// The same file, past the page cache.
    direct: Option<File>,
    size: u64,
}

impl Body {
    fn create(path: PathBuf, size: u64) -> Result<Self, BlobError> {
        let file = create_file(&path)?;
        let body = Self::of(path, file, size);
        if body.direct.is_some() {
            allocate(&body.file, size).map_err(|error| body.error(error))?;
        }
        Ok(body)
    }

    /// What an earlier process left; `None` if there is nothing of this size.
    fn reopen(path: PathBuf, size: u64) -> Result<Option<Self>, BlobError> {
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(from_io(&path, error)),
        };
        let found = file.metadata().map_err(|error| from_io(&path, error))?.len();
        Ok((found == size).then(|| Self::of(path, file, size)))
    }

    fn of(path: PathBuf, file: File, size: u64) -> Self {
        let direct = open_direct(&path, size, OpenOptions::new().write(true));
        Self {
            path,
            file,
            direct,
            size,
        }
    }

    /// Writes, and gives the byte after the last.
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<u64, BlobError> {
        let end = check_range(offset, data.len(), self.size)?;
        let blocks = blocks_of(data, offset);
        let direct = past_cache(&self.direct, blocks, |file| {
            file.write_all_at(&data[..blocks], offset)
        });
        let direct = direct.map_err(|error| self.error(error))?;
        self.file
            .write_all_at(&data[direct..], offset + direct as u64)
            .map_err(|error| self.error(error))?;
        Ok(end)
    }

    fn sync(&self) -> Result<(), BlobError> {
        self.file.sync_data().map_err(|error| self.error(error))
    }

    /// Makes bytes and tree durable, the tree in `tree` first, and gives both their names.
    fn publish(
        &self,
        set: &FileBlobs,
        tree: &Path,
        root: &Root,
        outboard: &[[u8; 32]],
    ) -> Result<(), BlobError> {
        self.sync()?;
        write_tree(tree, self.size, outboard).map_err(|error| from_io(tree, error))?;
        let (data_name, tree_name) = set.paths(root);
        let names = set.names();
        fs::rename(tree, &tree_name).map_err(|error| from_io(&tree_name, error))?;
        fs::rename(&self.path, &data_name).map_err(|error| from_io(&data_name, error))?;
        drop(names);
        sync_dir(files::directory_of(&data_name))
    }

    fn error(&self, error: io::Error) -> BlobError {
        from_io(&self.path, error)
    }
}

struct Writer {
    set: FileBlobs,
    staged: Staged,
    body: Body,
    written: u64,
}

impl BlobWriter for Writer {
    fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<(), BlobError> {
        let end = self.body.write_at(offset, data)?;
        if !data.is_empty() {
            self.written = self.written.max(end);
        }
        Ok(())
    }

    fn finish(self: Box<Self>, root: &Root, outboard: &[[u8; 32]]) -> Result<(), BlobError> {
        check_finish(self.body.size, self.written, outboard.len())?;
        loose::lodge(&self.set, root)?;
        self.body.publish(&self.set, &self.staged.tree, root, outboard)
    }
}

struct Reader {
    root: Root,
    data_path: PathBuf,
    data: File,
    /// The same file, past the page cache.
    direct: Option<File>,
    tree_path: PathBuf,
    tree: File,
    size: u64,
}

impl BlobReader for Reader {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlobError> {
        check_range(offset, buf.len(), self.size)?;
        let blocks = blocks_of(buf, offset);
        let past_cache = past_cache(&self.direct, blocks, |file| {
            file.read_exact_at(&mut buf[..blocks], offset)
        });
        past_cache
            .and_then(|direct| {
                self.data
                    .read_exact_at(&mut buf[direct..], offset + direct as u64)
            })
            .map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => BlobError::damaged(&self.root, "cut short since it was opened"),
                _ => from_io(&self.data_path, error),
            })
    }

    fn len(&self) -> u64 {
        self.size
    }

    fn outboard(&self) -> Result<Vec<[u8; 32]>, BlobError> {
        let damaged = || BlobError::damaged(&self.root, "its tree was changed");
        let bytes = self
            .tree
            .metadata()
            .map_err(|error| from_io(&self.tree_path, error))?
            .len();
        let hashes = bytes
            .checked_sub((HEAD_BYTES + HASH_BYTES) as u64)
            .ok_or_else(damaged)?;
        if !hashes.is_multiple_of(HASH_BYTES as u64) || hashes > (MAX_LEAVES * HASH_BYTES) as u64 {
            return Err(damaged());
        }
        let mut tree = vec![0; bytes as usize];
        self.tree
            .read_exact_at(&mut tree, 0)
            .map_err(|error| from_io(&self.tree_path, error))?;
        let (content, sum) = tree.split_at(HEAD_BYTES + hashes as usize);
        if digest::digest(&digest::SHA256, content).as_ref() != sum {
            return Err(damaged());
        }
        let (leaves, _) = content[HEAD_BYTES..].as_chunks();
        Ok(leaves.to_vec())
    }
}

fn write_tree(path: &Path, size: u64, outboard: &[[u8; 32]]) -> io::Result<()> {
    let mut sum = digest::Context::new(&digest::SHA256);
    let mut file = BufWriter::new(
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?,
    );
    for part in [MAGIC.as_slice(), &size.to_be_bytes(), outboard.as_flattened()] {
        sum.update(part);
        file.write_all(part)?;
    }
    file.write_all(sum.finish().as_ref())?;
    file.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_data()
}

fn create_file(path: &Path) -> Result<File, BlobError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.map_err(|error| from_io(path, error))
}

/// The file `path` of a large blob, opened past the page cache; `None` where the file system has no such way.
fn open_direct(path: &Path, size: u64, options: &mut OpenOptions) -> Option<File> {
    let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).ok()?;
    if size < DIRECT_BYTES {
        return None;
    }
    options.custom_flags(flags).open(path).ok()
}

/// How many of the bytes at `offset` can pass the page cache by: whole blocks, in memory as in the file.
fn blocks_of(bytes: &[u8], offset: u64) -> usize {
    let aligned = bytes.as_ptr().align_offset(BLOCK) == 0 && offset.is_multiple_of(BLOCK as u64);
    if aligned {
        bytes.len() - bytes.len() % BLOCK
    } else {
        0
    }
}

/// Moves the first `blocks` bytes past the page cache, and says how many went that way: all or none.
fn past_cache(
    file: &Option<File>,
    blocks: usize,
    transfer: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<usize> {
    match file {
        Some(file) if blocks > 0 => match transfer(file) {
            // A file system that wants larger blocks, or has no such way after all.
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(0),
            done => done.map(|()| blocks),
        },
        _ => Ok(0),
    }
}

/// Takes the space of a blob at once: its file then grows with no write.
fn allocate(file: &File, size: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match fallocate(file, FallocateFlags::empty(), 0, size) {
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(size),
        done => Ok(done?),
    }
}

fn open_if_there(path: &Path) -> Result<Option<File>, BlobError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(from_io(path, error)),
    }
}

fn remove_if_there(path: &Path) -> Result<(), BlobError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(from_io(path, error)),
        _ => Ok(()),
    }
}

fn move_if_there(path: &Path, to: &Path) -> Result<(), BlobError> {
    match fs::rename(path, to) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(from_io(path, error)),
        _ => Ok(()),
    }
}

fn make_dir(path: &Path) -> Result<(), BlobError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(from_io(path, error)),
        _ => Ok(()),
    }
}

fn sync_dir(path: &Path) -> Result<(), BlobError> {
    files::sync_dir(path).map_err(|error| from_io(path, error))
}

fn from_io(path: &Path, source: io::Error) -> BlobError {
    let path = path.to_path_buf();
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => BlobError::Full {
            path,
            needed: 1,
            free: 0,
        },
        ErrorKind::NotFound | ErrorKind::NotADirectory => BlobError::Missing { path },
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => BlobError::Permission { path },
        _ => BlobError::Io { path, source },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::contract::{self, content, leaves, root, store};
    use super::*;

    fn set() -> (tempfile::TempDir, FileBlobs) {
        let dir = tempfile::tempdir().unwrap();
        let set = FileBlobs::open(&dir.path().join("blobs")).unwrap();
        (dir, set)
    }

    /// Files that are staged: not those that say that a finished blob is loose.
    fn staged(set: &FileBlobs) -> usize {
        let files = fs::read_dir(set.staging()).unwrap();
        let names = files.map(|file| file.unwrap().path());
        names
            .filter(|path| path.extension().is_none_or(|kind| kind != LODGED))
            .count()
    }

    fn resize(path: &Path, change: i64) {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        let bytes = file.metadata().unwrap().len();
        file.set_len(bytes.saturating_add_signed(change)).unwrap();
    }

    #[test]
    fn files_keep_the_contract() {
        let dirs = tempfile::tempdir().unwrap();
        contract::check(&|| {
            let name = files::unique_name("").unwrap();
            Box::new(FileBlobs::open(&dirs.path().join(name)).unwrap())
        });
    }

    #[test]
    fn blobs_are_found_again_and_left_over_staging_is_removed() {
        let (_dir, set) = set();
        store(&set, root(0xab), b"bytes");
        let mut writer = set.create(5).unwrap();
        writer.write_at(0, b"bytes").unwrap();
        // As a process that is killed leaves it.
        std::mem::forget(writer);
        assert_eq!(staged(&set), 1);
        let set = FileBlobs::open(&set.path).unwrap();
        assert_eq!(staged(&set), 0);
        assert_eq!(set.list().unwrap(), [root(0xab)]);
        assert_eq!(content(&set, root(0xab)), b"bytes");
        assert!(set.path.join(format!("ab/{}.tree", "ab".repeat(32))).exists());
    }

    #[test]
    fn nothing_stays_staged_after_drop_finish_or_failure() {
        let (_dir, set) = set();
        let mut writer = set.create(5).unwrap();
        writer.write_at(0, b"bytes").unwrap();
        assert_eq!(staged(&set), 1);
        drop(writer);
        assert_eq!(staged(&set), 0);
        store(&set, root(1), b"bytes");
        assert_eq!(staged(&set), 0);
        assert!(set.create(5).unwrap().finish(&root(2), &[]).is_err());
        assert_eq!(staged(&set), 0);
    }

    #[test]
    fn a_file_cut_short_or_grown_is_damage_until_finished_again() {
        let (_dir, set) = set();
        store(&set, root(1), b"bytes");
        let (data, _) = set.paths(&root(1));
        for change in [-1, 2] {
            resize(&data, change);
            let Err(BlobError::Damaged { what, action }) = set.open(&root(1)) else {
                panic!("opened")
            };
            assert!(what.contains(&"01".repeat(32)), "{what}");
            assert!(action.contains("OPERATIONS.md"), "{action}");
        }
        store(&set, root(1), b"bytes");
        let reader = set.open(&root(1)).unwrap().unwrap();
        resize(&data, -1);
        assert!(matches!(
            reader.read_at(0, &mut [0; 5]),
            Err(BlobError::Damaged { .. })
        ));
    }

    #[test]
    fn a_changed_or_missing_tree_is_damage() {
        let (_dir, set) = set();
        store(&set, root(1), b"bytes");
        let (_, tree) = set.paths(&root(1));
        let good = fs::read(&tree).unwrap();
        assert_eq!(good.len(), HEAD_BYTES + 3 * HASH_BYTES + HASH_BYTES);
        let refused = || {
            let outboard = set.open(&root(1)).and_then(|reader| reader.unwrap().outboard());
            assert!(matches!(outboard, Err(BlobError::Damaged { .. })));
        };
        for offset in 0..good.len() {
            let mut changed = good.clone();
            changed[offset] ^= 1;
            fs::write(&tree, &changed).unwrap();
            refused();
        }
        for bytes in [0, 15, 16, 47, 80, good.len() - 1] {
            fs::write(&tree, &good[..bytes]).unwrap();
            refused();
        }
        fs::remove_file(&tree).unwrap();
        refused();
        fs::write(&tree, &good).unwrap();
        assert_eq!(
            set.open(&root(1)).unwrap().unwrap().outboard().unwrap(),
            leaves(&root(1))
        );
    }

    #[test]
    fn what_is_set_aside_is_absent_here_and_whole_there() {
        let (dir, set) = set();
        let to = dir.path().join("aside");
        fs::create_dir(&to).unwrap();
        store(&set, root(1), b"bytes");
        set.set_aside(&root(1), &to).unwrap();
        assert!(!set.contains(&root(1)).unwrap());
        assert!(!set.paths(&root(1)).1.exists());
        let there = FileBlobs::open(&to).unwrap();
        assert_eq!(content(&there, root(1)), b"bytes");
        store(&set, root(1), b"bytes");
        assert_eq!(content(&set, root(1)), b"bytes");
    }

    #[test]
    fn a_full_disk_is_told_apart_and_so_is_a_missing_directory() {
        // /dev/full answers every write with ENOSPC.
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = full.write_all_at(b"bytes", 0).unwrap_err();
        assert!(matches!(
            from_io(Path::new("/data"), error),
            BlobError::Full { .. }
        ));
        let (dir, set) = set();
        let absent = FileBlobs::open(&dir.path().join("absent/blobs"));
        assert!(matches!(absent, Err(BlobError::Missing { .. })));
        fs::remove_dir_all(&set.path).unwrap();
        assert!(matches!(set.create(1), Err(BlobError::Missing { .. })));
        assert!(matches!(set.list(), Err(BlobError::Missing { .. })));
    }
}
