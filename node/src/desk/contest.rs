//! Documents that are not what their messages commit to. SPEC §6.20.

use basoche_protocol::dossier::{DocumentFact, Replica};
use basoche_protocol::id::{Digest, DossierId, MessageId, SubjectId};
use basoche_protocol::message::{Body, Contestation, Finding};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{Desk, short};
use crate::documents::{Examined, Unexamined};
use crate::store::{Batch, StoreError};

/// That a node contests a document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContestationView {
    /// The node.
    pub node: SubjectId,
    /// What is not as the message says.
    pub finding: Finding,
    /// The segment that does not open.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub segment: Option<u64>,
    /// When it was recorded, RFC 3339.
    pub at: String,
}

impl Desk {
    /// Has a document that is held examined, unless it has been.
    pub(super) fn examine(&mut self, dossier: DossierId, document: &DocumentFact) {
        let (deposit, root) = (document.deposit, document.reference.root);
        if self.rows.is_examined(&deposit, &root).unwrap_or(false) {
            return;
        }
        let Some(replica) = self.engine.dossier(&dossier) else {
            return;
        };
        self.outside.examine(Unexamined {
            dossier,
            deposit,
            reference: document.reference.clone(),
            keys: replica.keys().map(|(_, key)| key.clone()).collect(),
        });
    }

    /// A document has been examined: once, but for a crash before the next tick. CON-1.
    pub(super) fn examined(&mut self, it: &Unexamined, found: Option<Examined>) {
        let (deposit, root) = (it.deposit, it.reference.root);
        self.examined.push((deposit, root));
        let Some(replica) = self.engine.dossier(&it.dossier) else {
            return;
        };
        let node = self.engine.node();
        let contested = replica.state().contested(&deposit, &root);
        let (own, others): (Vec<_>, Vec<_>) = contested.partition(|(by, ..)| *by == node);
        let Some(Examined { fault, wrap_key }) = found else {
            if !others.is_empty() {
                tracing::warn!(
                    dossier = short(&it.dossier),
                    "a member contests a document that is right here"
                );
            }
            return;
        };
        if own.iter().any(|(_, finding, _)| *finding == fault.finding) {
            return;
        }
        let finding = fault.finding.name();
        tracing::warn!(
            dossier = short(&it.dossier),
            finding,
            "a document is not what its message commits to"
        );
        let said = Contestation {
            ext: None,
            deposit,
            root,
            finding: fault.finding,
            segment: fault.segment,
            wrap_key: wrap_key.map(|key| ByteBuf::from(key.to_vec())),
        };
        self.state(it.dossier, Body::Contestation(said));
    }

    /// Makes durable what has been examined since, if anything was.
    pub(super) fn keep_examined(&mut self) -> Result<(), StoreError> {
        if self.examined.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        for (deposit, root) in self.examined.drain(..) {
            self.rows.put_examined(&mut batch, &deposit, &root)?;
        }
        self.rows.commit(batch)
    }
}

/// Who contests a document.
pub(super) fn contested(replica: &Replica, deposit: &MessageId, root: &Digest) -> Vec<ContestationView> {
    let contested = replica.state().contested(deposit, root);
    let view = contested.map(|(node, finding, contested)| ContestationView {
        node,
        finding,
        segment: contested.segment,
        at: contested.at.to_string(),
    });
    view.collect()
}
