//! What is damaged is set aside and comes back from the other members: for a node of which there is no backup.
//!
//! ```text
//! DATA/damaged-TIME/blobs/ab/ROOT, ROOT.tree   documents that are not what their roots say
//!                  /store/                     a store that does not open, or cannot be read back
//! ```
//! Nothing is deleted. Documents go first, each on its own: where one is missing, the next start fetches it. A new
//! store is made whole in the new directory, then the two stores change places in one step, so that whatever
//! interrupts leaves the old one or the new one. The new one holds the registry, as far as it can still be read. It
//! knows no incarnation of this node, which writes under new ones from then on. JRN-6.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use basoche_protocol::engine::{Registry, Row};
use basoche_protocol::id::{Digest, SubjectId};
use basoche_registry::Replica;
use serde::Serialize;

use crate::blob::{BlobStore, FileBlobs};
use crate::check::{self, Unsound};
use crate::config::Config;
use crate::effects::now;
use crate::faults::interrupt;
use crate::files::{exchange, sync_dir};
use crate::rows::{Rows, RowsError};
use crate::runtime::{self, NodeError};
use crate::store::{Batch, StoreError};
use crate::vault::{self, SealedStore};
use crate::witness_key::WitnessKey;

/// Bytes of registry leaves that one commit carries over.
const COMMIT_BYTES: usize = 8 << 20;

/// What was wrong with a node, and what was done about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repaired {
    /// 1.
    pub v: u64,
    /// False where all this is only found: a store is not set aside without consent, and then nothing is.
    pub done: bool,
    /// What is wrong with the store, if anything.
    pub store: Option<BadStore>,
    /// Documents that are not what they should be: set aside.
    pub damaged: Vec<BadDocument>,
    /// Documents that are not here. Unknown, and so none, with a damaged store.
    pub missing: Vec<BadDocument>,
    /// Where what was set aside is.
    pub aside: Option<PathBuf>,
    /// Whether the node was a witness of the authorities' logs, and with its store has lost what it cosigned: it is none any
    /// more. LOG-13.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub witness: bool,
}

/// A store that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadStore {
    /// What is wrong with it.
    pub what: String,
    /// Registry entries that the new one has from it, by authority.
    pub registry: BTreeMap<String, u64>,
    /// Whether the authorities' entries have to be imported anew: some could not be read, or there are none.
    pub import: bool,
}

/// A document that is not here, or is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadDocument {
    /// Which.
    pub root: Digest,
    /// What is wrong with it.
    pub what: String,
    /// The other nodes that have stated that they hold it; absent where the journal cannot be read.
    pub holders: Option<BTreeSet<SubjectId>>,
}

impl From<Unsound> for BadDocument {
    fn from(unsound: Unsound) -> Self {
        Self {
            root: unsound.root,
            what: unsound.what,
            holders: Some(unsound.holders),
        }
    }
}

/// Verifies everything that a node holds which does not run, and sets aside what is damaged.
///
/// `consent` is asked before a store is set aside, with what was found: what it held and nobody else has is lost.
///
/// # Errors
/// What cannot be repaired in this way (keys, vault, configuration, a store in use or that is not there), or that
/// the disk fails. Documents may have been set aside by then; the store is the old one.
pub fn repair(path: &Path, consent: impl FnOnce(&Repaired) -> bool) -> Result<Repaired, NodeError> {
    runtime::keep_private();
    let opened = runtime::open(path);
    let error = match opened.and_then(|opened| Ok((check::check_opened(&opened)?, opened))) {
        Ok((checked, opened)) => {
            let mut repaired = Repaired {
                v: 1,
                done: true,
                store: None,
                damaged: checked.damaged.into_iter().map(Into::into).collect(),
                missing: checked.missing.into_iter().map(Into::into).collect(),
                aside: None,
                witness: false,
            };
            // At rest a dossier lacks no document: those that do must be looked at by the next start.
            if !(repaired.damaged.is_empty() && repaired.missing.is_empty()) {
                opened.rows.forget_summaries()?;
            }
            if !repaired.damaged.is_empty() {
                let aside = Aside::make(&opened.config.data)?;
                aside.take_documents(&opened.blobs, &repaired.damaged)?;
                repaired.aside = Some(aside.path);
            }
            return Ok(repaired);
        }
        Err(error) => error,
    };
    match damage(&error) {
        Some(what) => replace_store(&Config::read(path)?, path, what, consent),
        None => Err(error),
    }
}

/// What is wrong with the store, if that is what the error says.
fn damage(error: &NodeError) -> Option<String> {
    match error {
        NodeError::Store(StoreError::Damaged { what, .. })
        | NodeError::Rows(RowsError::Store(StoreError::Damaged { what, .. })) => Some(what.clone()),
        // Its directory is there, else the lock is not: a volume that is not mounted has none.
        NodeError::Store(StoreError::Missing { path }) => {
            Some(format!("there is no database at {}", path.display()))
        }
        NodeError::Rows(RowsError::Damaged { what, why }) => {
            Some(format!("the store's {what} cannot be read back: {why}"))
        }
        _ => None,
    }
}

/// Sets a damaged store and every damaged document aside, and puts a new store in its place.
fn replace_store(
    config: &Config,
    path: &Path,
    what: String,
    consent: impl FnOnce(&Repaired) -> bool,
) -> Result<Repaired, NodeError> {
    let store = config.data.join("store");
    let storage = vault::open(&config.data, &config.passphrase(path)?)?;
    let (_lock, readable) = runtime::salvage_store(&store)?;
    let mut registry = runtime::empty_registry(config)?;
    let read = readable.is_some_and(|readable| {
        let rows = Rows::new(SealedStore::new(readable, storage.clone()));
        read_registry(&mut registry, &rows)
    });
    let heads = registry.heads();
    // No journal says which documents there should be: each that is here is held against its name.
    let blobs = FileBlobs::open(&config.data.join("blobs"))?;
    let mut damaged = Vec::new();
    for root in blobs.list()? {
        let root = Digest::new(root);
        if let Err(what) = check::read(&blobs, &root) {
            let holders = None;
            damaged.push(BadDocument { root, what, holders });
        }
    }
    let mut repaired = Repaired {
        v: 1,
        done: false,
        store: Some(BadStore {
            what,
            import: !read || heads.iter().any(|head| head.size == 0),
            registry: heads.into_iter().map(|head| (head.origin, head.size)).collect(),
        }),
        damaged,
        missing: Vec::new(),
        aside: None,
        witness: WitnessKey::path(&config.data).exists(),
    };
    if !consent(&repaired) {
        return Ok(repaired);
    }
    let aside = Aside::make(&config.data)?;
    aside.take_documents(&blobs, &repaired.damaged)?;
    if repaired.witness {
        aside.take_witness(&config.data)?;
    }
    let commits = runtime::noted_commits(&config.data.join("high-water")).unwrap_or(0);
    aside.take_store(&store, |new| {
        let rows = Rows::new(SealedStore::new(runtime::create_store(new)?, storage));
        write_registry(&registry, &rows, commits)
    })?;
    repaired.aside = Some(aside.path);
    repaired.done = true;
    Ok(repaired)
}

/// Admits each log's leaves up to the first that cannot be read or does not hold; false if there is one such.
fn read_registry(registry: &mut Replica, rows: &Rows) -> bool {
    let mut whole = true;
    for head in registry.heads() {
        let origin = head.origin;
        for index in 0.. {
            match rows.leaf(&origin, index) {
                Ok(Some(leaf)) if registry.admit(&origin, index, &leaf).is_ok() => {}
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => {
                    whole = false;
                    break;
                }
            }
        }
    }
    whole
}

/// Writes every leaf, and the count of commits that the old store had come to: the new one is no older. JRN-6.
fn write_registry(registry: &Replica, rows: &Rows, commits: u64) -> Result<(), NodeError> {
    let mut batch = Batch::default();
    rows.put_counter(&mut batch, commits)?;
    rows.commit(batch)?;
    for head in registry.heads() {
        let mut index = 0;
        while index < head.size {
            let mut batch = Batch::default();
            for leaf in registry.leaves(&head.origin, index, COMMIT_BYTES) {
                let origin = head.origin.clone();
                rows.put(&mut batch, &Row::Leaf { origin, index, leaf })?;
                index += 1;
            }
            rows.commit(batch)?;
        }
    }
    Ok(())
}

/// The directory for what is damaged.
struct Aside {
    path: PathBuf,
}

impl Aside {
    /// Makes the directory, named by the instant.
    fn make(data: &Path) -> Result<Self, NodeError> {
        // A colon would make a path look like another machine's to rsync and scp.
        let path = data.join(format!("damaged-{}", now().to_string().replace(':', "")));
        let path = std::path::absolute(&path).map_err(files(&path))?;
        let made = fs::create_dir(&path).and_then(|()| sync_dir(data));
        made.map_err(files(&path))?;
        Ok(Self { path })
    }

    fn take_documents(&self, blobs: &FileBlobs, damaged: &[BadDocument]) -> Result<(), NodeError> {
        let to = self.path.join("blobs");
        if !damaged.is_empty() {
            let made = fs::create_dir(&to).and_then(|()| sync_dir(&self.path));
            made.map_err(files(&to))?;
        }
        for document in damaged {
            blobs.set_aside(document.root.as_bytes(), &to)?;
        }
        Ok(())
    }

    /// Takes the key with which the node cosigned what its store has forgotten: before the store, so that no start finds the
    /// one without the other.
    fn take_witness(&self, data: &Path) -> Result<(), NodeError> {
        let key = WitnessKey::path(data);
        let to = self.path.join("witness.key");
        let taken = fs::rename(&key, &to).and_then(|()| sync_dir(&self.path));
        taken
            .and_then(|()| sync_dir(&data.join("keys")))
            .map_err(files(&key))
    }

    /// Takes the store, in exchange for one that `fill` makes.
    fn take_store(
        &self,
        store: &Path,
        fill: impl FnOnce(&Path) -> Result<(), NodeError>,
    ) -> Result<(), NodeError> {
        let new = self.path.join("store");
        let exchanged = fill(&new).and_then(|()| {
            sync_dir(&self.path).map_err(files(&self.path))?;
            interrupt("repair-made");
            exchange(&new, store).map_err(files(store))
        });
        if exchanged.is_err() {
            // The first error is the one to report; what could not be removed is a store that holds nothing.
            let _ = fs::remove_dir_all(&new).and_then(|()| fs::remove_dir(&self.path));
        }
        interrupt("repair-exchanged");
        exchanged
    }
}

fn files(path: &Path) -> impl FnOnce(io::Error) -> NodeError + use<> {
    let path = path.to_owned();
    move |source| NodeError::Files { path, source }
}
