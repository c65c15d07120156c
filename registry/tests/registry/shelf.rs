//! A shelf in memory, and that a replica on it answers as one that keeps all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use basoche_protocol::directory::Directory;
use basoche_protocol::engine::{Registry, RegistryRow};
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_protocol::wire::limits;
use basoche_registry::shelf::Bare;
use basoche_registry::{Anchors, Authority, Inadmissible, Replica, Shelf};

use super::kit::{BAR, COMPANY, COURT, Federation, Key, anchors, day, enrolment, genesis, root, subject};
use basoche_protocol::role::{OrganisationKind, Role};

type Place = (u8, Vec<u8>, u64);

/// Rows and leaves, as a store keeps them.
#[derive(Debug, Default)]
pub(crate) struct MemoryShelf {
    pub(crate) rows: Mutex<BTreeMap<Place, Vec<u8>>>,
    leaves: Mutex<BTreeMap<(String, u64), RegistryLeaf>>,
}

impl MemoryShelf {
    pub(crate) fn put_leaf(&self, origin: &str, index: u64, leaf: &RegistryLeaf) {
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        leaves.insert((origin.to_owned(), index), leaf.clone());
    }

    pub(crate) fn copy(&self) -> Self {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            rows: Mutex::new(rows.clone()),
            leaves: Mutex::new(leaves.clone()),
        }
    }

    pub(crate) fn put(&self, row: RegistryRow) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.insert((row.kind, row.key, row.index), row.value);
    }

    /// What `replica` has to keep is durable.
    pub(crate) fn commit(&self, replica: &mut Replica) {
        replica.poll_rows().into_iter().for_each(|row| self.put(row));
        self.put(replica.basis());
        replica.settle();
    }
}

impl Shelf for MemoryShelf {
    fn get(&self, kind: u8, key: &[u8], index: u64) -> Option<Vec<u8>> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.get(&(kind, key.to_vec(), index)).cloned()
    }

    fn each(&self, kind: u8, take: &mut dyn FnMut(Vec<u8>)) {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let found = rows.iter().filter(|(place, _)| place.0 == kind);
        found.for_each(|(_, value)| take(value.clone()));
    }

    fn list(&self, kind: u8, key: &[u8], from: u64, limit: usize) -> Vec<(u64, Vec<u8>)> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let found = rows.range((kind, key.to_vec(), from)..=(kind, key.to_vec(), u64::MAX));
        found
            .map(|(place, value)| (place.2, value.clone()))
            .take(limit)
            .collect()
    }

    fn leaf(&self, origin: &str, index: u64) -> Option<RegistryLeaf> {
        let leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        leaves.get(&(origin.to_owned(), index)).cloned()
    }

    fn size(&self, origin: &str) -> u64 {
        let leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        let last = leaves
            .keys()
            .filter(|(of, _)| of == origin)
            .map(|(_, index)| index + 1);
        last.max().unwrap_or(0)
    }
}

/// As a shelf of type `dyn`.
pub(crate) fn shared(shelf: &Arc<MemoryShelf>) -> Arc<dyn Shelf> {
    Arc::clone(shelf) as _
}

/// A bar with so many lawyers, subject and key by their number, on a shelf; commits after every seventh entry.
pub(crate) fn lawyers(count: u8) -> (Arc<MemoryShelf>, Replica, Replica) {
    let shelf = Arc::new(MemoryShelf::default());
    let mut source = Federation::founded();
    for n in 0..count {
        let key = Key::new(50 + n % 40);
        let content = enrolment(&key, Role::Lawyer, 22);
        let entry = source.next(BAR, Some(50 + n % 40), content);
        assert_eq!(source.enter(BAR, &entry, key.der()), Ok(true));
    }
    let mut shelved = Replica::on_shelf(anchors(), &shared(&shelf));
    let mut kept = Replica::new(anchors());
    for origin in [BAR, COMPANY, COURT] {
        for (leaf, index) in source.replica.leaves(origin, 0, usize::MAX).iter().zip(0..) {
            assert_eq!(kept.admit(origin, index, leaf), Ok(true));
            assert_eq!(shelved.admit(origin, index, leaf), Ok(true));
            shelf.put_leaf(origin, index, leaf);
            if index % 7 == 0 {
                shelf.commit(&mut shelved);
            }
        }
    }
    shelf.commit(&mut shelved);
    (shelf, shelved, kept)
}

/// Everything that a replica answers, of what [`lawyers`] enters.
fn answers(replica: &Replica) -> String {
    let keys: Vec<_> = (50..90).map(|n| Key::new(n).certificate).collect();
    let known: Vec<_> = keys
        .iter()
        .map(|key| {
            let worth = replica.status(&key.id(), day(1));
            (format!("{worth:?}"), replica.certificate_der(&key.id()))
        })
        .collect();
    let tree = |origin: &str| {
        let tree = replica.tree(origin).unwrap();
        let sizes = (1..=tree.size()).step_by(5);
        let proofs = sizes.map(|size| (tree.root_at(size), tree.inclusion_path(size / 2, tree.size())));
        proofs.collect::<Vec<_>>()
    };
    let logs: Vec<_> = [BAR, COMPANY, COURT]
        .map(|origin| {
            (
                replica.leaves(origin, 3, usize::MAX),
                replica.entries(origin).collect::<Vec<_>>(),
                tree(origin),
            )
        })
        .into();
    let subjects: Vec<_> = (0..=100)
        .map(|n| {
            (
                replica.history(&subject(n)),
                replica.organisation(&subject(n)),
                replica.node_at(&subject(n), day(1)),
            )
        })
        .collect();
    let nodes: Vec<_> = replica.nodes().collect();
    let heads = replica.heads();
    format!(
        "{heads:?}{known:?}{logs:?}{subjects:?}{nodes:?}{:?}",
        replica.persons()
    )
}

#[test]
fn on_a_shelf_every_answer_is_the_same_and_so_it_is_after_a_restart() {
    // More than a tile, and every lawyer has been enrolled several times over.
    let (shelf, shelved, kept) = lawyers(255);
    assert!(kept.heads()[0].size > 256);
    let expected = answers(&kept);
    assert!(expected.contains("Valid"));
    assert_eq!(answers(&shelved), expected);
    let mut opened = Replica::open(anchors(), &shared(&shelf)).unwrap();
    assert_eq!(answers(&opened), expected);
    // Nothing is left to keep, and it goes on where it was.
    assert_eq!(opened.poll_rows(), []);
    let key = Key::new(99);
    let mut source = Federation {
        replica: opened.clone(),
        shelf,
    }
    .copy();
    let entry = source.next(BAR, Some(99), enrolment(&key, Role::Lawyer, 22));
    assert_eq!(source.enter(BAR, &entry, key.der()), Ok(true));
    let leaf = &source.replica.leaves(BAR, entry.index, usize::MAX)[0];
    let mut kept = kept;
    assert_eq!(kept.admit(BAR, entry.index, leaf), Ok(true));
    assert_eq!(opened.admit(BAR, entry.index, leaf), Ok(true));
    assert_eq!(opened.admit(BAR, entry.index, leaf), Ok(false));
    assert_eq!(answers(&opened), answers(&kept));
    // What is on the shelf is compared too.
    let second = source.replica.leaves(BAR, 1, usize::MAX)[0].clone();
    assert_eq!(opened.admit(BAR, 1, &second), Ok(false));
    let rewritten = Err(Inadmissible::Rewritten { index: 1 });
    assert_eq!(opened.admit(BAR, 1, leaf), rewritten);
}

#[test]
fn what_follows_from_the_leaves_does_not_depend_on_when_it_was_committed() {
    let (shelf, ..) = lawyers(60);
    let bare: Arc<dyn Shelf> = Arc::new(Bare);
    let mut anew = Replica::on_shelf(anchors(), &bare);
    for origin in [COMPANY, COURT, BAR] {
        for index in 0..shelf.size(origin) {
            let leaf = shelf.leaf(origin, index).unwrap();
            assert_eq!(anew.admit(origin, index, &leaf), Ok(true));
        }
    }
    let mut rows = anew.poll_rows();
    rows.push(anew.basis());
    assert!(rows.len() > 100);
    for row in &rows {
        assert_eq!(
            shelf.get(row.kind, &row.key, row.index).as_ref(),
            Some(&row.value)
        );
    }
    let kept = shelf.rows.lock().unwrap_or_else(PoisonError::into_inner).len();
    assert_eq!(kept, rows.len());
}

#[test]
fn a_shelf_of_other_anchors_or_with_something_missing_is_not_opened() {
    let (shelf, ..) = lawyers(255);
    let opens = |anchors: Anchors| Replica::open(anchors, &shared(&shelf)).is_some();
    assert!(opens(anchors()));
    let other = Authority::new(COURT, OrganisationKind::Court, Key::new(7).der(), true);
    let mut authorities = anchors().authorities().to_vec();
    authorities[2] = other.unwrap();
    assert!(!opens(Anchors::new(authorities).unwrap()));
    // The tile of 256 leaves, its root, and the basis; and the last leaf.
    let all = shelf.rows.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let lost = all
        .keys()
        .filter(|(kind, key, _)| *kind == 0 || (*kind == 8 && key == BAR.as_bytes()));
    let lost: Vec<_> = lost.cloned().collect();
    assert_eq!(lost.len(), 2);
    for place in lost {
        let rows = || shelf.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let value = rows().remove(&place).unwrap();
        assert!(!opens(anchors()), "{place:?}");
        rows().insert(place, value);
    }
    assert!(opens(anchors()));
    let last = (BAR.to_owned(), shelf.size(BAR) - 1);
    shelf
        .leaves
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_mut(&last)
        .unwrap()
        .leaf
        .clear();
    assert!(!opens(anchors()));
}

#[test]
fn a_subject_has_no_more_entries_than_there_may_be() {
    let mut federation = Federation::empty();
    federation.add(BAR, None, genesis(BAR), &[]).unwrap();
    let (key, signer) = (Key::new(50), root(BAR));
    let next = |federation: &Federation| federation.next(BAR, Some(50), enrolment(&key, Role::Lawyer, 22));
    let mut replica = Replica::new(anchors());
    let leaf = federation.replica.leaves(BAR, 0, usize::MAX).remove(0);
    replica.admit(BAR, 0, &leaf).unwrap();
    let mut entry = next(&federation);
    for index in 1..=limits::SUBJECT_ENTRIES + 1 {
        entry.index = index;
        entry.prev = (index > 1).then(|| index - 1);
        let leaf = super::kit::leaf(&entry, &signer, &[], key.der());
        let expected = match index > limits::SUBJECT_ENTRIES {
            true => Err(Inadmissible::TooManyEntries { subject: subject(50) }),
            false => Ok(true),
        };
        assert_eq!(replica.admit(BAR, index, &leaf), expected, "{index}");
    }
}
