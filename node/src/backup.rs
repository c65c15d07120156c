//! Copies of a node: made while it runs, held against their manifest before they are put back. JRN-6.
//!
//! ```text
//! COPY/manifest   the list of everything else, signed by the node's seal, sealed under its storage key
//!      vault.json, keys/node.key, store/, blobs/      as in the data directory
//! ```
//! The store's copy is of one instant, and is taken first: every document that it names was there before. Documents
//! are named by what they hold and never change, so a copy on the same disk shares them, and the manifest gives the
//! others' digests only. A copy is made under another name and gets its own when it is whole.
//!
//! What is put back has lost what came later, and must not sign that again: it goes on under new incarnations.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use basoche_protocol::crypto::Sha256;
use basoche_protocol::id::{Digest, SubjectId};
use basoche_protocol::jose::{Signer, SoftwareKey};
use basoche_protocol::time::Instant;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::effects::now;
use crate::files::{directory_of, sync_dir, unique_name, write_new};
use crate::keys::{KeysError, NodeKeys};
use crate::rows::{Rows, RowsError};
use crate::store::{Store, StoreError};
use crate::vault::{self, SealedStore, StorageKey, VaultError};

/// What the manifest is sealed and signed as.
const PURPOSE: &str = "basoche/1 backup";
/// The manifest's name.
const MANIFEST: &str = "manifest";
/// Where documents are: files that are named by what they hold.
const BLOBS: &str = "blobs";
/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// Why a copy cannot be made or put back.
#[derive(Debug, Error)]
pub enum BackupError {
    /// There is something where the copy is to be.
    #[error("{} exists already: name a directory that does not", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// The copy would be part of what is copied.
    #[error("{} lies in the data directory: name a directory outside of it", path.display())]
    Inside {
        /// Where.
        path: PathBuf,
    },
    /// There is a node where one is to be put back.
    #[error("{} is not empty: move it away first; nothing of it was touched", path.display())]
    Occupied {
        /// The data directory.
        path: PathBuf,
    },
    /// The copy is not what was made.
    #[error("{}: {what}; nothing was put back: take another copy", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Files {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The seal refused to sign.
    #[error("the manifest cannot be signed: {0}")]
    Seal(String),
    /// The storage key cannot be opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The node's keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The store cannot be copied or opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store cannot be read back.
    #[error(transparent)]
    Rows(#[from] RowsError),
}

/// What was copied or put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// Whose.
    pub node: SubjectId,
    /// The instant of the copy.
    pub made_at: Instant,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A file of the copy.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    path: String,
    bytes: u64,
    /// Absent for a document, whose name says what it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<Digest>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    v: u32,
    node: SubjectId,
    made_at: Instant,
    software: String,
    files: Vec<Listed>,
}

impl Manifest {
    fn copied(&self) -> Copied {
        Copied {
            node: self.node,
            made_at: self.made_at,
            files: self.files.len() as u64,
            bytes: self.files.iter().map(|file| file.bytes).sum(),
        }
    }
}

/// A running node, as far as a copy needs it.
pub struct Original {
    data: PathBuf,
    node: SubjectId,
    seal: SoftwareKey,
    storage: StorageKey,
    store: Arc<dyn Store>,
}

impl Original {
    /// The node whose data directory is `data`.
    ///
    /// # Errors
    /// That its seal cannot be used.
    pub fn new(
        data: PathBuf,
        keys: &NodeKeys,
        storage: StorageKey,
        store: Arc<dyn Store>,
    ) -> Result<Self, KeysError> {
        Ok(Self {
            data,
            node: keys.node(),
            seal: keys.seal()?,
            storage,
            store,
        })
    }

    /// Makes a copy: the new directory `to`, which appears when it is whole. Takes as long as the copying does.
    ///
    /// # Errors
    /// Nothing is left behind.
    pub fn copy(&self, to: &Path) -> Result<Copied, BackupError> {
        if fs::symlink_metadata(to).is_ok() {
            return Err(BackupError::Exists { path: to.into() });
        }
        let parent = directory_of(to)
            .canonicalize()
            .map_err(failed(directory_of(to)))?;
        if parent.starts_with(self.data.canonicalize().map_err(failed(&self.data))?) {
            return Err(BackupError::Inside { path: to.into() });
        }
        staged(to, |stage| self.fill(stage))
    }

    fn fill(&self, stage: &Path) -> Result<Copied, BackupError> {
        let made_at = now();
        self.store.checkpoint(&stage.join("store"))?;
        let mut files = Vec::new();
        for path in files_under(&stage.join("store"))? {
            files.push(listed(stage, &path, true)?);
        }
        for name in ["vault.json", "keys/node.key"] {
            let (from, target) = (self.data.join(name), stage.join(name));
            fs::create_dir_all(directory_of(&target)).map_err(failed(&target))?;
            fs::copy(&from, &target).map_err(failed(&from))?;
            files.push(listed(stage, &target, true)?);
        }
        let blobs = self.data.join(BLOBS);
        for path in files_under(&blobs)? {
            let name = path.strip_prefix(&blobs).unwrap_or(&path);
            // What has not wholly come is nobody's yet.
            if name.starts_with("tmp") {
                continue;
            }
            let target = stage.join(BLOBS).join(name);
            fs::create_dir_all(directory_of(&target)).map_err(failed(&target))?;
            if fs::hard_link(&path, &target).is_err() {
                fs::copy(&path, &target).map_err(failed(&path))?;
            }
            files.push(listed(stage, &target, false)?);
        }
        let manifest = Manifest {
            v: 1,
            node: self.node,
            made_at,
            software: crate::VERSION.into(),
            files,
        };
        let json = serde_json::to_vec(&manifest).map_err(|error| BackupError::Seal(error.to_string()))?;
        let signature = self.seal.sign(&[PURPOSE.as_bytes(), &json].concat());
        let signature = signature.map_err(|error| BackupError::Seal(error.to_string()))?;
        let sealed = self.storage.seal_file(PURPOSE, &[signature, json].concat())?;
        let path = stage.join(MANIFEST);
        write_new(&path, &sealed, 0o600).map_err(failed(&path))?;
        Ok(manifest.copied())
    }
}

/// Puts the copy `from` back as the data directory `data`, which does not exist or is empty.
///
/// Every file is held against the manifest. The node writes under new incarnations from then on. JRN-6.
///
/// # Errors
/// Nothing is put back, and `from` is as it was.
pub fn put_back(
    from: &Path,
    data: &Path,
    passphrase: &secrecy::SecretString,
    open: impl FnOnce(&Path) -> Result<Arc<dyn Store>, StoreError>,
) -> Result<Copied, BackupError> {
    let empty = match fs::read_dir(data) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if !empty {
        return Err(BackupError::Occupied { path: data.into() });
    }
    let storage = vault::open(from, passphrase)?;
    let keys = NodeKeys::open(from, &storage)?;
    let manifest = read_manifest(from, &storage, &keys)?;
    staged(data, |stage| {
        for file in &manifest.files {
            put(from, stage, file)?;
        }
        fs::create_dir_all(stage.join(BLOBS)).map_err(failed(stage))?;
        let rows = Rows::new(SealedStore::new(open(&stage.join("store"))?, storage));
        rows.forget_writers()?;
        Ok(manifest.copied())
    })
}

fn read_manifest(from: &Path, storage: &StorageKey, keys: &NodeKeys) -> Result<Manifest, BackupError> {
    let path = from.join(MANIFEST);
    let damaged = |what: &str| BackupError::Damaged {
        path: path.clone(),
        what: what.into(),
    };
    let sealed = fs::read(&path).map_err(failed(&path))?;
    let opened = storage
        .open_file(PURPOSE, sealed)
        .map_err(|_| damaged("it is not this node's, or was changed"))?;
    let (signature, json) = opened
        .split_at_checked(64)
        .ok_or_else(|| damaged("it is too short"))?;
    let signed = [PURPOSE.as_bytes(), json].concat();
    keys.check_seal(&signed, signature)
        .map_err(|_| damaged("its signature is not the node's"))?;
    let manifest: Manifest = serde_json::from_slice(json).map_err(|error| damaged(&error.to_string()))?;
    match manifest.v {
        1 => Ok(manifest),
        _ => Err(damaged("it was made by a newer version")),
    }
}

/// Copies one file, and holds it against the manifest.
fn put(from: &Path, stage: &Path, file: &Listed) -> Result<(), BackupError> {
    let (source, target) = (from.join(&file.path), stage.join(&file.path));
    fs::create_dir_all(directory_of(&target)).map_err(failed(&target))?;
    let mut reader = File::open(&source).map_err(failed(&source))?;
    let mut writer = File::create_new(&target).map_err(failed(&target))?;
    let found = digest(&mut reader, &mut writer).map_err(failed(&source))?;
    writer.sync_all().map_err(failed(&target))?;
    let what = match file.sha256 {
        _ if found.0 != file.bytes => format!("it has {} bytes, and had {}", found.0, file.bytes),
        Some(sha256) if sha256 != found.1 => "it is not what was copied".into(),
        _ => return Ok(()),
    };
    Err(BackupError::Damaged { path: source, what })
}

/// Copies to the end; bytes and digest.
fn digest(reader: &mut impl Read, writer: &mut impl Write) -> io::Result<(u64, Digest)> {
    let (mut hash, mut bytes, mut piece) = (Sha256::new(), 0, vec![0; PIECE]);
    loop {
        match reader.read(&mut piece)? {
            0 => return Ok((bytes, Digest::new(hash.finish()))),
            read => {
                hash.update(&piece[..read]);
                writer.write_all(&piece[..read])?;
                bytes += read as u64;
            }
        }
    }
}

/// A file of the copy in `stage`, durable.
fn listed(stage: &Path, path: &Path, whole: bool) -> Result<Listed, BackupError> {
    let mut file = File::open(path).map_err(failed(path))?;
    let bytes = file.metadata().map_err(failed(path))?.len();
    let digest = whole.then(|| digest(&mut file, &mut io::sink()));
    let sha256 = digest
        .transpose()
        .map_err(failed(path))?
        .map(|(_, sha256)| sha256);
    file.sync_all().map_err(failed(path))?;
    let name = path.strip_prefix(stage).unwrap_or(path);
    let path = name.to_str().ok_or_else(|| BackupError::Damaged {
        path: path.into(),
        what: "its name is no text".into(),
    })?;
    Ok(Listed {
        path: path.to_owned(),
        bytes,
        sha256,
    })
}

/// Makes the directory `path` by `fill`, which writes to one of another name beside it.
fn staged<T>(path: &Path, fill: impl FnOnce(&Path) -> Result<T, BackupError>) -> Result<T, BackupError> {
    let parent = directory_of(path);
    let stage = parent.join(unique_name(".copy-").map_err(failed(parent))?);
    fs::create_dir(&stage).map_err(failed(&stage))?;
    let filled = fill(&stage).and_then(|done| {
        for directory in directories_under(&stage)? {
            sync_dir(&directory).map_err(failed(&directory))?;
        }
        fs::rename(&stage, path).map_err(failed(path))?;
        sync_dir(parent).map_err(failed(parent))?;
        Ok(done)
    });
    if filled.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_dir_all(&stage);
    }
    filled
}

fn files_under(path: &Path) -> Result<Vec<PathBuf>, BackupError> {
    under(path).map(|(files, _)| files)
}

fn directories_under(path: &Path) -> Result<Vec<PathBuf>, BackupError> {
    under(path).map(|(_, directories)| directories)
}

/// Every file below a directory, and every directory, itself included; each ascending.
fn under(path: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), BackupError> {
    let (mut files, mut directories, mut next) = (Vec::new(), Vec::new(), vec![path.to_owned()]);
    while let Some(directory) = next.pop() {
        for entry in fs::read_dir(&directory).map_err(failed(&directory))? {
            let entry = entry.map_err(failed(&directory))?;
            match entry.file_type().map_err(failed(&directory))?.is_dir() {
                true => next.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
        directories.push(directory);
    }
    files.sort();
    directories.sort();
    Ok((files, directories))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> BackupError + use<> {
    let path = path.to_owned();
    move |source| BackupError::Files { path, source }
}
