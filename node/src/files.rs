//! Small files that must be whole or absent: keys, the vault, address files.
//!
//! A file is written under a temporary name in the same directory, synced, given its name, and the
//! directory is synced. After a power cut there is the old content or the new one, never a part.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use basoche_protocol::text::hex_encode;

/// Writes `bytes` to `path` with exactly the permission bits `mode`, replacing what is there.
///
/// On return the content and the name are on stable storage. On an error the former file is untouched.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    stage(path, bytes, mode, |staged| fs::rename(staged, path))
}

/// Like [`write_atomic`], but fails with [`io::ErrorKind::AlreadyExists`] where `path` exists.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    stage(path, bytes, mode, |staged| {
        // A link, unlike a rename, never replaces.
        fs::hard_link(staged, path)?;
        fs::remove_file(staged)
    })
}

/// Makes the names in the directory `path` durable (creations, renames, removals).
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Lets two directories of one file system change places in one step, durably: never is one name missing.
pub fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS) => Err(io::Error::other(
            "this file system cannot exchange two directories: move the data directory to ext4, XFS or Btrfs",
        )),
        done => Ok(done?),
    }?;
    sync_dir(directory_of(a))?;
    sync_dir(directory_of(b))
}

/// The directory that holds the name `path`: "." for a bare name.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A file name that no other writer uses: `prefix`, then 16 random bytes in hexadecimal.
pub(crate) fn unique_name(prefix: &str) -> io::Result<String> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("the random source failed"))?;
    Ok(format!("{prefix}{}", hex_encode(&random)))
}

fn stage(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    place: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let directory = directory_of(path);
    let staged: PathBuf = directory.join(unique_name(".tmp-")?);
    let written = write_synced(&staged, bytes, mode).and_then(|()| place(&staged));
    if written.is_err() {
        // The first error is the one to report; a left-over temporary file does no harm.
        let _ = fs::remove_file(&staged);
    }
    written?;
    sync_dir(directory)
}

fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // Created for the owner alone, then widened: the content is never readable before its mode is set.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_written_file_replaces_the_old_one_and_has_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_atomic(&path, b"old", 0o600).unwrap();
        write_atomic(&path, b"new", 0o640).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(names(dir.path()), ["key"]);
    }

    #[test]
    fn a_new_file_never_replaces_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_new(&path, b"first", 0o600).unwrap();
        let error = write_new(&path, b"second", 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(names(dir.path()), ["key"]);
    }

    #[test]
    fn exchanged_directories_have_each_others_names() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir(&a).unwrap();
        assert_eq!(exchange(&a, &b).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::create_dir(&b).unwrap();
        fs::write(a.join("file"), b"of a").unwrap();
        exchange(&a, &b).unwrap();
        assert_eq!((names(&a), names(&b)), (vec![], vec!["file".to_owned()]));
    }

    #[test]
    fn a_missing_directory_is_an_error_and_not_created() {
        let dir = tempfile::tempdir().unwrap();
        let error = write_atomic(&dir.path().join("absent/key"), b"x", 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(names(dir.path()).is_empty());
    }
}
