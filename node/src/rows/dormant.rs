//! A start that reads summaries, and the way of one dossier back into memory.

use std::collections::BTreeMap;
use std::time::Instant;

use basoche_protocol::engine::{Basis, Summary};
use basoche_protocol::envelope::EpochKey;
use basoche_protocol::id::{Digest, DossierId};
use basoche_protocol::journal::SignedHead;

use super::{
    HEADS, KEYS, NodeEngine, RUNS, Rows, RowsError, SUMMARIES, StoredHead, StoredKey, StoredRun,
    StoredWriter, WRITERS, damaged, read, run_item,
};
use crate::store::{Batch, StoreError};

impl Rows {
    /// Tells `engine` of every dossier: it asks for those that no summary stands for, and for the others once they
    /// are needed. Of the journal only the last run of each dossier is read. Gives when this node last signed a head.
    pub fn restore_summaries(
        &self,
        engine: &mut NodeEngine,
    ) -> Result<Option<basoche_protocol::time::Instant>, RowsError> {
        let mut signed = None;
        let mut found: BTreeMap<DossierId, Basis> = BTreeMap::new();
        for (dossier, incarnation) in self.family::<StoredWriter>(WRITERS, "writer")? {
            found.entry(dossier).or_default().writer = Some(incarnation);
        }
        for (dossier, epoch, _) in self.family::<StoredKey>(KEYS, "key")? {
            found.entry(dossier).or_default().keys.push(epoch);
        }
        for (dossier, node, head) in self.family::<StoredHead>(HEADS, "head")? {
            let heads = &mut found.entry(dossier).or_default().heads;
            heads.push((node, Digest::of(&[&head])));
            if node == engine.node() {
                let head =
                    SignedHead::verify(&head, engine.registry()).map_err(|error| damaged("head", error))?;
                signed = signed.max(Some(head.head().time));
            }
        }
        for (dossier, mut basis) in found {
            basis.keys.sort_unstable();
            basis.heads.sort_unstable();
            if let Some((index, bytes)) = self.store.last(RUNS, &self.dossier_owner(RUNS, &dossier))? {
                let (.., head): StoredRun = read(&bytes, "run")?;
                (basis.runs, basis.last) = (index + 1, Some(Digest::of(&[&head])));
            }
            let summary = self.summary(dossier)?;
            if summary.as_ref().is_some_and(|summary| summary.unstated() > 0) {
                engine.restore_dormant(dossier, &basis, summary);
                engine.wake(dossier);
            } else {
                engine.restore_dormant(dossier, &basis, summary);
            }
        }
        Ok(signed)
    }

    /// The summary of a dossier. One that cannot be read is none: the journal says the same, and more.
    fn summary(&self, dossier: DossierId) -> Result<Option<Summary>, RowsError> {
        let stored = self
            .store
            .get(SUMMARIES, &self.dossier_owner(SUMMARIES, &dossier), 0);
        let read = match stored {
            Ok(None) => return Ok(None),
            Ok(Some(bytes)) => Summary::decode(&bytes).ok(),
            Err(StoreError::Damaged { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        if read.is_none() {
            tracing::warn!("a summary cannot be used: its dossier is read back from its journal");
        }
        Ok(read)
    }

    /// The key of epoch 0 of a dossier, whether or not it is in memory.
    pub fn first_key(&self, dossier: &DossierId) -> Result<Option<EpochKey>, RowsError> {
        let stored = self.store.get(KEYS, &self.dossier_owner(KEYS, dossier), 0)?;
        stored
            .map(|bytes| read_key(&bytes).map(|(_, key)| key))
            .transpose()
    }

    /// Reads back a dossier that `engine` has asked for, from run `next` on, until it is whole or the time is up, but
    /// one run at least. Gives the run to go on with; `None` once it is whole, and waits for `handle_awake`.
    pub fn restore_dossier(
        &self,
        engine: &mut NodeEngine,
        dossier: DossierId,
        mut next: u64,
        until: Instant,
    ) -> Result<Option<u64>, RowsError> {
        if next == 0 {
            let writer = self
                .store
                .get(WRITERS, &self.dossier_owner(WRITERS, &dossier), 0)?;
            if let Some(bytes) = writer {
                let (_, incarnation): StoredWriter = read(&bytes, "writer")?;
                engine.restore_writer(dossier, incarnation);
            }
            for (_, bytes) in self
                .store
                .scan(KEYS, &self.dossier_owner(KEYS, &dossier), 0, usize::MAX)?
            {
                let (epoch, key) = read_key(&bytes)?;
                engine.restore_key(dossier, epoch, key);
            }
        }
        while let Some(run) = self.run(dossier, next, 0)? {
            let items = run.items.iter().map(run_item).collect::<Result<Vec<_>, _>>()?;
            engine
                .restore_run(dossier, &items, &run.head)
                .map_err(|error| damaged("journal", error))?;
            next += 1;
            if Instant::now() >= until {
                return Ok(Some(next));
            }
        }
        // Only nodes that the registry knows sign heads that verify.
        let nodes: Vec<_> = engine.registry().nodes().map(|info| info.node).collect();
        for node in nodes {
            let owner = self.store.owner(HEADS, &[dossier.as_bytes(), node.as_bytes()]);
            if let Some(bytes) = self.store.get(HEADS, &owner, 0)? {
                let (.., head): StoredHead = read(&bytes, "head")?;
                engine
                    .restore_head(dossier, &head)
                    .map_err(|error| damaged("head", error))?;
            }
        }
        Ok(None)
    }

    /// Forgets every summary: the next start reads the journals.
    pub fn forget_summaries(&self) -> Result<(), RowsError> {
        let mut batch = Batch::default();
        for (dossier, _) in self.family::<StoredWriter>(WRITERS, "writer")? {
            let owner = self.dossier_owner(SUMMARIES, &dossier);
            self.store.delete(&mut batch, SUMMARIES, owner, 0);
        }
        Ok(self.commit(batch)?)
    }
}

/// An epoch and its key from their stored bytes.
fn read_key(bytes: &[u8]) -> Result<(u64, EpochKey), RowsError> {
    let (_, epoch, key): StoredKey = read(bytes, "key")?;
    let key = <[u8; 32]>::try_from(key.as_slice()).map_err(|_| damaged("key", "not 32 bytes"))?;
    Ok((epoch, EpochKey::new(key)))
}
