//! The registry in the store: every leaf, and the shelf from which a replica answers without having all in memory.

use std::sync::Arc;

use basoche_protocol::engine::{Registry, RegistryRow, Row};
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_registry::shelf::{self, Bare, Shelf};
use basoche_registry::{Anchors, Inadmissible, Replica};

use super::{LEAVES, REGISTRY, Rows, RowsError, StoredLeaf, damaged, read};
use crate::store::{Batch, StoreError};

/// Rows written at once when leaves are admitted anew, in bytes.
pub(super) const COMMIT_BYTES: usize = 8 << 20;
/// Rows removed at once.
const REMOVED: usize = 4096;

/// What the store holds of the registry cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It cannot be read or written.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// A leaf does not hold under the anchors of today.
    #[error("entry {index} of {origin}, imported earlier, does not hold under them: {why}")]
    Inadmissible {
        /// The log.
        origin: String,
        /// Its index.
        index: u64,
        /// Why not.
        why: Inadmissible,
    },
    /// It began with a snapshot, under other anchors or another version of this program, and lacks entries.
    #[error(
        "this registry began with a snapshot and lacks entries of before: until it has them it opens only under the anchors, and by the version of this program, under which it began; go back to those, or make the node anew"
    )]
    Incomplete,
}

impl From<StoreError> for RegistryError {
    fn from(error: StoreError) -> Self {
        Self::Rows(error.into())
    }
}

/// The rows of the registry, as a replica reads them. A row that cannot be read stops the next commit of these [`Rows`].
#[derive(Clone)]
struct Registered(Rows);

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registered")
    }
}

impl Registered {
    fn or_stop<T>(&self, read: Result<T, RowsError>) -> Option<T> {
        let why = match read {
            Ok(value) => return Some(value),
            Err(error) => error.to_string(),
        };
        tracing::error!(why, "the registry cannot be read: nothing more is committed");
        let _ = self.0.unreadable.set(why);
        None
    }
}

impl Shelf for Registered {
    fn get(&self, kind: u8, key: &[u8], index: u64) -> Option<Vec<u8>> {
        let (rows, family) = (&self.0.store, REGISTRY + kind);
        let value = rows.get(family, &rows.owner(family, &[key]), index);
        self.or_stop(value.map_err(Into::into)).flatten()
    }

    fn each(&self, kind: u8, take: &mut dyn FnMut(Vec<u8>)) {
        let scanned = self.0.store.scan_family(REGISTRY + kind, &mut |_, value| {
            take(value);
            Ok(())
        });
        self.or_stop(scanned.map_err(Into::into));
    }

    fn list(&self, kind: u8, key: &[u8], from: u64, limit: usize) -> Vec<(u64, Vec<u8>)> {
        let (rows, family) = (&self.0.store, REGISTRY + kind);
        let found = rows.scan(family, &rows.owner(family, &[key]), from, limit);
        self.or_stop(found.map_err(Into::into)).unwrap_or_default()
    }

    fn leaf(&self, origin: &str, index: u64) -> Option<RegistryLeaf> {
        self.or_stop(self.0.leaf(origin, index)).flatten()
    }

    fn size(&self, origin: &str) -> u64 {
        let rows = &self.0.store;
        let last = rows.last(LEAVES, &rows.owner(LEAVES, &[origin.as_bytes()]));
        let last = self.or_stop(last.map_err(Into::into)).flatten();
        last.map_or(0, |(index, _)| index + 1)
    }
}

impl Rows {
    /// The registry as it was left, ready at once. Where the anchors, or the form of the rows, are others than then, or the
    /// last attempt was cut short, every leaf is admitted anew.
    pub fn registry(&self, anchors: Anchors) -> Result<Replica, RegistryError> {
        let shelf: Arc<dyn Shelf> = Arc::new(Registered(self.clone()));
        let found = Replica::open(anchors.clone(), &shelf);
        if let Some(why) = self.unreadable.get() {
            return Err(damaged("registry", why).into());
        }
        if let Some(replica) = found {
            return Ok(replica);
        }
        let basis = Replica::new(anchors.clone()).basis();
        let same = shelf.get(basis.kind, &basis.key, basis.index) == Some(basis.value);
        if !same && shelf::lacks_leaves(&*shelf) == Some(true) {
            return Err(RegistryError::Incomplete);
        }
        self.forget_shelf()?;
        let mut replica = Replica::on_shelf(anchors, &shelf);
        let mut admitted = 0;
        self.each_leaf(&mut |(origin, index, leaf)| {
            admit(&mut replica, &origin, index, &leaf)?;
            admitted += leaf.leaf.len() + leaf.certificate.len();
            if admitted >= COMMIT_BYTES {
                admitted = 0;
                self.put_registry(replica.poll_rows())?;
                replica.settle();
            }
            Ok(())
        })?;
        let mut rows = replica.poll_rows();
        rows.push(replica.basis());
        self.put_registry(rows)?;
        replica.settle();
        Ok(replica)
    }

    /// Admits every leaf anew, in memory, and holds the shelf to what comes of that.
    pub fn registry_verified(&self, anchors: Anchors) -> Result<Replica, RegistryError> {
        let shelf = Registered(self.clone());
        // After a snapshot, what the entries say cannot be told before all are there.
        let begun = shelf::lacks_leaves(&shelf).is_some();
        let opened = begun.then(|| {
            let shelf: Arc<dyn Shelf> = Arc::new(shelf.clone());
            Replica::open(anchors.clone(), &shelf)
        });
        if let Some(replica) = opened.flatten() {
            return Ok(replica);
        }
        let bare: Arc<dyn Shelf> = Arc::new(Bare);
        let mut replica = Replica::on_shelf(anchors, &bare);
        self.each_leaf(&mut |(origin, index, leaf)| admit(&mut replica, &origin, index, &leaf))?;
        let (basis, rows) = (replica.basis(), replica.poll_rows());
        // One of other anchors, or that began with a snapshot, is made anew by the next start.
        if !begun && shelf.get(basis.kind, &basis.key, basis.index).as_ref() == Some(&basis.value) {
            for row in &rows {
                let found = shelf.get(row.kind, &row.key, row.index);
                if found.as_ref() != Some(&row.value) {
                    let why = format!(
                        "a row of kind {} is not what the authorities' entries say",
                        row.kind
                    );
                    return Err(damaged("registry", why).into());
                }
            }
        }
        Ok(replica)
    }

    fn each_leaf(
        &self,
        take: &mut dyn FnMut(StoredLeaf) -> Result<(), RegistryError>,
    ) -> Result<(), RegistryError> {
        let mut failure = None;
        let scanned = self.store.scan_family(LEAVES, &mut |_, bytes| {
            let taken = read(&bytes, "registry leaf")
                .map_err(Into::into)
                .and_then(&mut *take);
            taken.map_err(|error| {
                failure = Some(error);
                StoreError::damaged("registry leaf")
            })
        });
        failure.map_or_else(|| scanned.map_err(Into::into), Err)
    }

    pub(super) fn put_registry(&self, rows: Vec<RegistryRow>) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for row in rows {
            self.put(&mut batch, &Row::Registry(row))?;
        }
        self.commit(batch)
    }

    /// Removes the leaves of a log from `size` on, the last first, and all that follows from leaves: the next [`Self::registry`]
    /// admits those that stay anew, also where this was cut short.
    pub fn set_back(&self, origin: &str, size: u64) -> Result<(), StoreError> {
        let basis = *shelf::KINDS.start();
        let mut batch = Batch::default();
        let owner = self.store.owner(REGISTRY + basis, &[&[]]);
        self.store.delete(&mut batch, REGISTRY + basis, owner, 0);
        self.commit(batch)?;
        let owner = self.store.owner(LEAVES, &[origin.as_bytes()]);
        while let Some((last, _)) = self.store.last(LEAVES, &owner)? {
            if last < size {
                break;
            }
            let from = size.max((last + 1).saturating_sub(REMOVED as u64));
            let mut batch = Batch::default();
            (from..=last).for_each(|index| self.store.delete(&mut batch, LEAVES, owner, index));
            self.commit(batch)?;
        }
        self.forget_shelf()
    }

    /// Removes all that follows from the leaves.
    pub(super) fn forget_shelf(&self) -> Result<(), StoreError> {
        for kind in shelf::KINDS {
            let mut batch = Batch::default();
            let mut removed = 0;
            self.store.scan_family(REGISTRY + kind, &mut |key, _| {
                self.store.delete(&mut batch, key.family, key.owner, key.index);
                removed += 1;
                match removed % REMOVED {
                    0 => self.commit(std::mem::take(&mut batch)),
                    _ => Ok(()),
                }
            })?;
            self.commit(batch)?;
        }
        Ok(())
    }
}

fn admit(replica: &mut Replica, origin: &str, index: u64, leaf: &RegistryLeaf) -> Result<(), RegistryError> {
    let admitted = replica.admit(origin, index, leaf);
    admitted.map(|_| ()).map_err(|why| RegistryError::Inadmissible {
        origin: origin.to_owned(),
        index,
        why,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use basoche_protocol::crypto::sha256;
    use basoche_protocol::id::{CertificateId, Salt, SubjectId};
    use basoche_protocol::jose::SoftwareKey;
    use basoche_protocol::role::OrganisationKind;
    use basoche_protocol::time::Instant;
    use basoche_registry::entry::{Content, Organisation};
    use basoche_registry::{Authority, AuthorityLog};

    use super::*;
    use crate::certificate;
    use crate::store::MemoryStore;
    use crate::vault::{SealedStore, StorageKey};

    const ORIGIN: &str = "bars.example";
    const ENTRIES: u8 = 20;
    /// A record for each organisation, the bucket in which it stands alone, and the basis.
    const ROWS: usize = 2 * (ENTRIES as usize - 1) + 1;

    /// Rows with a log of [`ENTRIES`] entries, whose shelf is still to be made, and the anchors.
    fn stored() -> (Rows, Anchors) {
        let made = certificate::generate("root").unwrap();
        let id = CertificateId::new(sha256(&[&made.certificate_der]));
        let root = SoftwareKey::from_pkcs8(&made.private_key_pkcs8, id).unwrap();
        let authority = Authority::new(ORIGIN, OrganisationKind::Bar, &made.certificate_der, true).unwrap();
        let mut log = AuthorityLog::new(authority.clone());
        let store = SealedStore::new(Arc::new(MemoryStore::new()), StorageKey::from_bytes([3; 32]));
        let rows = Rows::new(store);
        for n in 0..ENTRIES {
            let (subject, content): (_, Content) = match n {
                0 => (None, authority.genesis().into()),
                n => {
                    let organisation = Organisation {
                        kind: OrganisationKind::Bar,
                        identifier: n.to_string(),
                        name: "Barreau d'essai".to_owned(),
                        admin: None,
                    };
                    (Some(SubjectId::new([n; 16])), organisation.into())
                }
            };
            let at = Instant::from_seconds(1_790_000_000);
            let unsigned = log.draft(&root, subject, content, at, at, Salt::new([n; 16]));
            let (index, leaf) = log.commit(unsigned.sign(&root).unwrap(), vec![], &[]).unwrap();
            let mut batch = Batch::default();
            let origin = ORIGIN.to_owned();
            rows.put(&mut batch, &Row::Leaf { origin, index, leaf }).unwrap();
            rows.commit(batch).unwrap();
        }
        (rows, Anchors::new(vec![authority]).unwrap())
    }

    fn count(rows: &Rows) -> usize {
        let mut count = 0;
        for kind in shelf::KINDS {
            let each = &mut |_, _| {
                count += 1;
                Ok(())
            };
            rows.store.scan_family(REGISTRY + kind, each).unwrap();
        }
        count
    }

    #[test]
    fn the_first_start_makes_the_shelf_and_the_next_ones_open_it() {
        let (rows, anchors) = stored();
        assert_eq!(count(&rows), 0);
        let made = rows.registry(anchors.clone()).unwrap();
        assert_eq!(count(&rows), ROWS);
        let opened = rows.registry(anchors.clone()).unwrap();
        assert_eq!(made.heads(), opened.heads());
        let organisation = opened.organisation(&SubjectId::new([7; 16])).unwrap();
        assert_eq!(organisation.identifier, "7");
        assert_eq!(rows.registry_verified(anchors).unwrap().heads(), opened.heads());
    }

    /// As many entries as before are left, whatever was cut short.
    #[test]
    fn a_log_that_is_set_back_is_admitted_anew_as_far_as_it_is_left() {
        let size = |registry: &Replica| registry.heads()[0].size;
        let seventh = SubjectId::new([7; 16]);
        let (rows, anchors) = stored();
        rows.registry(anchors.clone()).unwrap();
        rows.set_back(ORIGIN, 7).unwrap();
        assert_eq!(count(&rows), 0);
        let left = rows.registry(anchors.clone()).unwrap();
        assert_eq!(size(&left), 7);
        assert_eq!(left.organisation(&seventh), None);
        assert!(left.organisation(&SubjectId::new([6; 16])).is_some());
        assert_eq!(size(&rows.registry(anchors.clone()).unwrap()), 7);
        // Nothing is beyond, and another log is not there: nothing happens to the leaves.
        rows.set_back(ORIGIN, 7).unwrap();
        rows.set_back("nobody.example", 0).unwrap();
        assert_eq!(size(&rows.registry(anchors).unwrap()), 7);

        // Cut short: the basis is gone, and one leaf of those that were to go.
        let (rows, anchors) = stored();
        rows.registry(anchors.clone()).unwrap();
        let mut batch = Batch::default();
        let owner = |family, key: &[u8]| rows.store.owner(family, &[key]);
        let (basis, last) = (REGISTRY + shelf::KINDS.start(), u64::from(ENTRIES) - 1);
        rows.store.delete(&mut batch, basis, owner(basis, &[]), 0);
        let leaves = owner(LEAVES, ORIGIN.as_bytes());
        rows.store.delete(&mut batch, LEAVES, leaves, last);
        rows.commit(batch).unwrap();
        assert_eq!(size(&rows.registry(anchors).unwrap()), last);
    }

    #[test]
    fn what_was_made_under_other_anchors_is_made_anew_and_what_they_refuse_is_named() {
        let (rows, anchors) = stored();
        rows.registry(anchors.clone()).unwrap();
        // As a start that was cut short leaves it: rows, and no basis; one of them of nothing that is in a log.
        let (basis, mut batch) = (shelf::KINDS.start(), Batch::default());
        let owner = rows.store.owner(REGISTRY + basis, &[&[]]);
        rows.store.delete(&mut batch, REGISTRY + basis, owner, 0);
        let stray = RegistryRow {
            kind: 3,
            key: vec![9; 32],
            index: 0,
            value: vec![0x40],
        };
        rows.put(&mut batch, &Row::Registry(stray)).unwrap();
        rows.commit(batch).unwrap();
        assert_eq!(count(&rows), ROWS);
        rows.registry(anchors).unwrap();
        assert_eq!(count(&rows), ROWS);

        let other = certificate::generate("root").unwrap();
        let other = Authority::new(ORIGIN, OrganisationKind::Bar, &other.certificate_der, true).unwrap();
        let other = Anchors::new(vec![other]).unwrap();
        for opened in [rows.registry(other.clone()), rows.registry_verified(other)] {
            let refused = opened.err().map(|error| error.to_string()).unwrap();
            assert!(
                refused.starts_with("entry 0 of bars.example, imported earlier"),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_row_that_is_not_what_the_entries_say_is_found_by_who_verifies() {
        let (rows, anchors) = stored();
        let made = rows.registry(anchors.clone()).unwrap();
        let bare: Arc<dyn Shelf> = Arc::new(Bare);
        let mut anew = Replica::on_shelf(anchors.clone(), &bare);
        for (leaf, index) in made.leaves(ORIGIN, 0, usize::MAX).iter().zip(0..) {
            anew.admit(ORIGIN, index, leaf).unwrap();
        }
        let mut row = anew.poll_rows().pop().unwrap();
        let last = row.value.len() - 1;
        row.value[last] ^= 1;
        rows.put_registry(vec![row]).unwrap();
        let error = rows
            .registry_verified(anchors)
            .err()
            .map(|error| error.to_string());
        assert!(
            error
                .unwrap()
                .contains("is not what the authorities' entries say")
        );
    }

    #[test]
    fn a_row_that_cannot_be_read_stops_what_comes_after() {
        let (rows, anchors) = stored();
        let mut registry = rows.registry(anchors.clone()).unwrap();
        // Its key is right and its seal is not: another row's value.
        let organisation = |n: u8| {
            let owner = rows.store.owner(REGISTRY + 1, &[&[n; 16]]);
            crate::store::Key {
                family: REGISTRY + 1,
                owner,
                index: 0,
            }
        };
        let raw = rows.store.raw();
        let mut batch = Batch::default();
        batch.put(organisation(7), raw.get(&organisation(8)).unwrap().unwrap());
        raw.commit(batch).unwrap();
        // What it has in memory it need not read.
        assert!(registry.organisation(&SubjectId::new([7; 16])).is_some());
        registry = rows.registry(anchors).unwrap();
        assert!(registry.organisation(&SubjectId::new([6; 16])).is_some());
        rows.commit(Batch::default()).unwrap();
        assert_eq!(registry.organisation(&SubjectId::new([7; 16])), None);
        let error = rows.commit(Batch::default()).unwrap_err().to_string();
        assert!(error.contains("does not open under the storage key"), "{error}");
    }
}
