//! What the node has heard of logs, and cosigned.

use basoche_protocol::id::Digest;
use basoche_protocol::journal::RegistryHead;
use basoche_protocol::wire::codec;
use basoche_registry::log::{Equivocation, Key, Note};

use super::{CHECKPOINTS, COSIGNED, EQUIVOCATIONS, Rows, RowsError, damaged};
use crate::store::{Batch, StoreError};

/// The log's key, size, root.
type StoredHead = (Key, u64, Digest);

impl Rows {
    /// Keeps for good what the node, as a witness, is about to cosign of the log with that key: before it signs. LOG-10.
    pub fn keep_cosigned(&self, log: &Key, head: &RegistryHead) -> Result<(), StoreError> {
        let value: StoredHead = (log.clone(), head.size, head.root);
        self.keep(COSIGNED, &log.to_string(), &codec::encode(&value))
    }

    /// Keeps the latest checkpoint of a log.
    pub fn keep_checkpoint(&self, origin: &str, note: &Note) -> Result<(), StoreError> {
        self.keep(CHECKPOINTS, origin, &codec::encode(&note.encode()))
    }

    /// Keeps the proof that a log has contradicted itself.
    pub fn keep_equivocation(&self, origin: &str, proof: &Equivocation) -> Result<(), StoreError> {
        self.keep(EQUIVOCATIONS, origin, &proof.encode())
    }

    fn keep(&self, family: u8, owner: &str, value: &[u8]) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        let owner = self.store.owner(family, &[owner.as_bytes()]);
        self.store.put(&mut batch, family, owner, 0, value)?;
        self.commit(batch)
    }

    /// What the node has cosigned of each log, by the log's key.
    pub fn cosigned(&self) -> Result<Vec<(Key, RegistryHead)>, RowsError> {
        let heads = self
            .family::<StoredHead>(COSIGNED, "cosigned checkpoint")?
            .into_iter();
        let head = |(log, size, root): StoredHead| {
            let origin = log.name().to_owned();
            (log, RegistryHead { origin, size, root })
        };
        Ok(heads.map(head).collect())
    }

    /// The latest checkpoints.
    pub fn checkpoints(&self) -> Result<Vec<Note>, RowsError> {
        let notes = self.family::<String>(CHECKPOINTS, "checkpoint")?.into_iter();
        let note = |text: String| Note::parse(text.as_bytes()).map_err(|error| damaged("checkpoint", error));
        notes.map(note).collect()
    }

    /// The proofs that logs have contradicted themselves.
    pub fn equivocations(&self) -> Result<Vec<Equivocation>, RowsError> {
        let mut proofs = Vec::new();
        self.store.scan_family(EQUIVOCATIONS, &mut |_, bytes| {
            proofs.push(bytes);
            Ok(())
        })?;
        let proof =
            |bytes: Vec<u8>| Equivocation::decode(&bytes).map_err(|error| damaged("equivocation", error));
        proofs.into_iter().map(proof).collect()
    }
}
