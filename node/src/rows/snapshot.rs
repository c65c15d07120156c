//! A registry that begins with a snapshot: read from a file, held to the anchors, stored. SPEC §9.7.

use std::io::{self, Read};

use basoche_protocol::engine::{Registry, RegistryRow, Row};
use basoche_protocol::id::Digest;
use basoche_registry::snapshot::{MAGIC, PART_BYTES, Refused, Taking};
use basoche_registry::{Anchors, Inadmissible, Replica};

use super::registry::{COMMIT_BYTES, RegistryError};
use super::{LEAVES, Rows, RowsError};
use crate::store::{Batch, StoreError};

/// A snapshot is not taken; nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The store cannot be read or written.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The file cannot be read.
    #[error("the snapshot cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is no snapshot.
    #[error("not a snapshot of a registry: {0}")]
    Foreign(&'static str),
    /// It is not one that the quorum of the anchors vouches for.
    #[error("the snapshot does not hold: {0}")]
    Refused(#[from] Refused),
    /// An entry in it may not stand where it does.
    #[error("the snapshot does not hold: entry {index} of {origin}: {why}")]
    Inadmissible {
        /// The log.
        origin: String,
        /// Its index.
        index: u64,
        /// Why not.
        why: Inadmissible,
    },
    /// It makes no registry that can be opened.
    #[error("the snapshot does not hold: a registry made of it does not open")]
    DoesNotOpen,
    /// The node has a registry already.
    #[error("this node holds entries already: a registry begins with a snapshot or not at all")]
    NotEmpty,
}

impl From<StoreError> for SnapshotError {
    fn from(error: StoreError) -> Self {
        Self::Rows(error.into())
    }
}

/// A log that began with a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The log.
    pub origin: String,
    /// Entries that it has from now on.
    pub size: u64,
    /// Their root.
    pub root: Digest,
}

impl Rows {
    /// Has the registry, which has no entry yet, begin with a snapshot. Gives how far each log goes.
    ///
    /// # Errors
    /// It does not hold under the anchors, or cannot be read or stored: the registry is empty as before.
    pub fn begin_registry(
        &self,
        anchors: &Anchors,
        from: &mut dyn Read,
    ) -> Result<Vec<Begun>, SnapshotError> {
        for authority in anchors.authorities() {
            let owner = self.store.owner(LEAVES, &[authority.origin().as_bytes()]);
            if self.store.last(LEAVES, &owner)?.is_some() {
                return Err(SnapshotError::NotEmpty);
            }
        }
        let taken = self.take_snapshot(anchors, from);
        if taken.is_err() {
            self.forget_leaves()?;
            self.forget_shelf()?;
        }
        taken
    }

    fn take_snapshot(&self, anchors: &Anchors, from: &mut dyn Read) -> Result<Vec<Begun>, SnapshotError> {
        // What an earlier attempt that was cut short has left.
        self.forget_shelf()?;
        let (mut taking, mut rows, mut bytes) = (Taking::new(anchors), Vec::new(), 0);
        let mut magic = [0; MAGIC.len()];
        let begins = from.read_exact(&mut magic);
        if begins.is_err() || magic != MAGIC {
            return Err(SnapshotError::Foreign("it does not begin like one"));
        }
        while let Some(part) = next_part(from)? {
            let of_part = taking.part(&part)?;
            bytes += of_part
                .iter()
                .map(|row: &RegistryRow| row.value.len())
                .sum::<usize>();
            rows.extend(of_part);
            if bytes >= COMMIT_BYTES {
                self.put_registry(std::mem::take(&mut rows))?;
                bytes = 0;
            }
        }
        let taken = taking.finish()?;
        self.put_registry(rows)?;
        // One commit: with the basis the registry is there, without it the next start forgets the rows.
        let mut batch = Batch::default();
        let basis = Row::Registry(Replica::new(anchors.clone()).basis());
        for row in [basis].into_iter().chain(taken.leaves) {
            self.put(&mut batch, &row)?;
        }
        self.commit(batch)?;

        let mut replica = self.registry(anchors.clone()).map_err(|error| match error {
            RegistryError::Rows(error) => error.into(),
            RegistryError::Inadmissible { origin, index, why } => {
                SnapshotError::Inadmissible { origin, index, why }
            }
            RegistryError::Incomplete => SnapshotError::DoesNotOpen,
        })?;
        let mut batch = Batch::default();
        for (origin, index, leaf) in taken.stated {
            let admitted = replica.admit(&origin, index, &leaf);
            admitted.map_err(|why| SnapshotError::Inadmissible {
                origin: origin.clone(),
                index,
                why,
            })?;
            self.put(&mut batch, &Row::Leaf { origin, index, leaf })?;
        }
        for row in replica.poll_rows() {
            self.put(&mut batch, &Row::Registry(row))?;
        }
        self.commit(batch)?;
        let begun = replica.heads().into_iter().filter(|head| head.size > 0);
        Ok(begun
            .map(|head| Begun {
                origin: head.origin,
                size: head.size,
                root: head.root,
            })
            .collect())
    }

    fn forget_leaves(&self) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        self.store.scan_family(LEAVES, &mut |key, _| {
            self.store.delete(&mut batch, key.family, key.owner, key.index);
            Ok(())
        })?;
        self.commit(batch)
    }
}

/// The next part of the file, after its length; `None` at its end.
fn next_part(from: &mut dyn Read) -> Result<Option<Vec<u8>>, SnapshotError> {
    let mut length = [0; 4];
    let first = from.read(&mut length)?;
    if first == 0 {
        return Ok(None);
    }
    let cut = |_| SnapshotError::Foreign("it ends within a part");
    // Unwrap safety: no more was read than there is room for.
    from.read_exact(&mut length[first..]).map_err(cut)?;
    let bytes = u32::from_be_bytes(length) as usize;
    if bytes > PART_BYTES {
        return Err(SnapshotError::Foreign("one of its parts is too long"));
    }
    let mut part = vec![0; bytes];
    from.read_exact(&mut part).map_err(cut)?;
    Ok(Some(part))
}
