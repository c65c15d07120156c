//! Everything that a node holds, verified anew: rows, signatures, chains, documents.

use std::collections::BTreeSet;
use std::path::Path;

use basoche_protocol::document::check_outboard;
use basoche_protocol::dossier::Statement;
use basoche_protocol::id::{Digest, DossierId, SubjectId};
use serde::Serialize;

use crate::blob::BlobStore;
use crate::rows::NodeEngine;
use crate::runtime::{self, NodeError, Opened};

/// Bytes of a document that are read at a time.
const PIECE: u64 = 1 << 20;

/// A document that is not here, or is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unsound {
    /// In which dossier.
    pub dossier: DossierId,
    /// Which document.
    pub root: Digest,
    /// What is wrong with it.
    pub what: String,
    /// The other nodes that have stated that they hold it.
    pub holders: BTreeSet<SubjectId>,
}

/// What a node holds, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Dossiers.
    pub dossiers: u64,
    /// Entries in their journals, each in its chain under a head that verifies.
    pub entries: u64,
    /// Entries that wait for a key or a signer: theirs is the only message that could not be verified.
    pub pending: u64,
    /// Documents on file.
    pub documents: u64,
    /// Bytes of them that were read and are right.
    pub bytes: u64,
    /// Documents that are not here: another member may have them.
    pub missing: Vec<Unsound>,
    /// Documents that are here and not what they should be.
    pub damaged: Vec<Unsound>,
}

/// Verifies everything in the data directory of a node that does not run.
///
/// # Errors
/// The first thing that is wrong with keys, store or journal; what is wrong with documents is in the answer.
pub fn check(config: &Path) -> Result<Checked, NodeError> {
    check_opened(&runtime::open(config)?)
}

/// The same, of a node that is open.
pub(crate) fn check_opened(opened: &Opened) -> Result<Checked, NodeError> {
    opened.rows.check_submissions()?;
    let mut checked = Checked::default();
    let mut seen = BTreeSet::new();
    for replica in opened.engine.dossiers() {
        checked.dossiers += 1;
        checked.entries += replica.entries() as u64;
        checked.pending += replica.pending() as u64;
        for fact in replica.state().documents() {
            let root = fact.reference.root;
            if !seen.insert(root) {
                continue;
            }
            checked.documents += 1;
            let unsound = |what| Unsound {
                dossier: replica.dossier(),
                root,
                what,
                holders: holders(&opened.engine, &root),
            };
            match read(&opened.blobs, &root) {
                Ok(Some(bytes)) => checked.bytes += bytes,
                Ok(None) => checked.missing.push(unsound("it is not here".into())),
                Err(what) => checked.damaged.push(unsound(what)),
            }
        }
    }
    Ok(checked)
}

/// The other nodes that have stated, in any dossier, that they hold a document.
fn holders(engine: &NodeEngine, root: &Digest) -> BTreeSet<SubjectId> {
    let mut holders = BTreeSet::new();
    for state in engine.dossiers().map(|replica| replica.state()) {
        let nodes = state.nodes();
        for document in state
            .documents()
            .filter(|document| document.reference.root == *root)
        {
            let states = |node: &&SubjectId| state.stated(Statement::Held, document, node).is_some();
            holders.extend(nodes.iter().filter(states));
        }
    }
    holders.remove(&engine.node());
    holders
}

/// Reads a document against its tree, and its tree against its root; how many bytes it has.
pub(crate) fn read(blobs: &dyn BlobStore, root: &Digest) -> Result<Option<u64>, String> {
    let Some(blob) = blobs.open(root.as_bytes()).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let leaves = blob.outboard().map_err(|error| error.to_string())?;
    let tree = check_outboard(root.as_bytes(), blob.len(), &leaves).map_err(|error| error.to_string())?;
    let mut piece = vec![0; PIECE as usize];
    for index in 0..leaves.len() as u64 {
        let mut leaf = tree.check_leaf(index).map_err(|error| error.to_string())?;
        let mut offset = index * tree.leaf_bytes();
        while leaf.left() > 0 {
            let bytes = leaf.left().min(PIECE) as usize;
            let read = blob.read_at(offset, &mut piece[..bytes]);
            read.map_err(|error| error.to_string())?;
            leaf.push(&piece[..bytes]).map_err(|error| error.to_string())?;
            offset += bytes as u64;
        }
        leaf.finish().map_err(|error| format!("leaf {index}: {error}"))?;
    }
    Ok(Some(blob.len()))
}
