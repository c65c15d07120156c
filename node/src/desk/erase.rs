//! What an erasure destroys at this node besides the message, and what it shows of it. SPEC §6.18, §6.19.

use std::collections::BTreeSet;
use std::time::Instant;

use basoche_protocol::dossier::Replica;
use basoche_protocol::id::{Digest, DossierId, MessageId, SubjectId};
use basoche_protocol::message::{ErasedDocument, Extent};
use serde::{Deserialize, Serialize};

use super::{Desk, short};
use crate::store::StoreError;

/// What stays of an erased message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TombstoneView {
    /// The message.
    pub id: MessageId,
    /// Whether all of it is erased, or its documents only.
    pub extent: Extent,
    /// Its type.
    pub message_type: String,
    /// Its author.
    pub author: SubjectId,
    /// The documents that it brought.
    pub documents: Vec<ErasedView>,
    /// The order that erased it.
    pub by: MessageId,
    /// When the order was recorded, RFC 3339.
    pub erased_at: String,
}

/// An erased document.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ErasedView {
    /// Its root.
    pub root: Digest,
    /// Plaintext bytes.
    pub bytes: u64,
}

/// A hold that stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HoldView {
    /// The message that put it.
    pub id: MessageId,
    /// What it keeps; the whole dossier, if absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<MessageId>,
    /// Since when, RFC 3339.
    pub since: String,
}

impl ErasedView {
    fn of(document: &ErasedDocument) -> Self {
        let ErasedDocument { root, bytes } = *document;
        Self { root, bytes }
    }
}

impl Desk {
    /// Destroys what the store still has of erased messages. ERA-5.
    pub(super) fn scrub(&self) -> Result<(), StoreError> {
        let begun = Instant::now();
        let rows = self.rows.scrub()?;
        if rows > 0 {
            let took = begun.elapsed();
            tracing::info!(rows, ?took, "erased messages are destroyed in the store");
        }
        Ok(())
    }

    /// Destroys the bytes of a dossier's erased documents, unless another message on file brings the same. What
    /// cannot be removed now is tried again when anything changes, and at the next start. ERA-5.
    pub(super) fn erase_documents(&mut self, dossier: DossierId) {
        let Some(replica) = self.engine.dossier(&dossier) else {
            return;
        };
        let settled = self.settled.entry(dossier).or_default();
        let tombstones = replica.state().tombstones();
        let erased = tombstones.flat_map(|one| {
            let documents = one.residual.documents.iter();
            documents.map(move |document| (one.target, document.root))
        });
        let due: BTreeSet<_> = erased.filter(|one| !settled.gone.contains(one)).collect();
        // A dossier at rest may bring the same document: it is read back first, and each that is back comes here again.
        if !due.is_empty() && !self.engine.wake_all() {
            self.erasing.insert(dossier);
            return;
        }
        for (target, root) in due {
            if self.is_on_file(&root) {
                continue;
            }
            self.wanted.remove(&root);
            match self.blobs.remove(root.as_bytes()) {
                Ok(()) => {
                    let settled = self.settled.entry(dossier).or_default();
                    settled.gone.insert((target, root));
                    tracing::info!(dossier = short(&dossier), "an erased document is destroyed");
                }
                Err(error) => tracing::error!(%error, "an erased document is not destroyed yet"),
            }
        }
    }

    /// Whether a message on file brings this document, in whichever dossier.
    pub(crate) fn is_on_file(&self, root: &Digest) -> bool {
        let mut states = self.engine.dossiers().map(Replica::state);
        states.any(|state| {
            let mut documents = state.documents();
            documents.any(|document| document.reference.root == *root)
        })
    }
}

/// What is erased, and what is held, in one dossier.
pub(super) fn orders(replica: &Replica) -> (Vec<TombstoneView>, Vec<HoldView>) {
    let tombstones = replica.state().tombstones().map(|one| TombstoneView {
        id: one.target,
        extent: one.extent,
        message_type: one.residual.act.name().to_owned(),
        author: one.residual.author,
        documents: one.residual.documents.iter().map(ErasedView::of).collect(),
        by: one.by,
        erased_at: one.at.to_string(),
    });
    let holds = replica.state().holds().map(|(id, hold)| HoldView {
        id,
        target: hold.target,
        since: hold.at.to_string(),
    });
    (tombstones.collect(), holds.collect())
}
