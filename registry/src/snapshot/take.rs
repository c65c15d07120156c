//! A snapshot on its way in: every part is held to the checkpoint before anything of it is handed on.

use std::collections::BTreeSet;

use basoche_protocol::engine::{RegistryRow, Row};
use basoche_protocol::error::Malformed;
use basoche_protocol::id::{Digest, SubjectId};
use basoche_protocol::journal::RegistryHead;
use basoche_protocol::tree::{Frontier, Hash, TILE_LEAVES, root_of, verify_consistency};
use basoche_protocol::wire::frame::RegistryLeaf;
use thiserror::Error;

use super::{Carried, Head, Part, Record, Stored};
use crate::anchor::Anchors;
use crate::entry::{Content, Kind};
use crate::held::Lacking;
use crate::leaf;
use crate::log::{Checkpoint, Note};
use crate::record::{Issuer, Subject};
use crate::replica::node_of;
use crate::shelf::{decode, kind, row};
use crate::state::{Bucket, Item, place_of, root_over};

/// Bytes of all leaves in a snapshot, and of the certificates beside them: they wait in memory, and fit in one commit. SNP-1.
const CARRIED_BYTES: usize = 48 << 20;

/// Why a snapshot is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// A part is not what the format says, or not where it belongs.
    #[error("part {part}: {what}")]
    Part {
        /// Which, from 1.
        part: u64,
        /// What is wrong with it.
        what: String,
    },
    /// It ends too early.
    #[error("it ends after part {after}, before all of {origin} has come")]
    Truncated {
        /// How many there were.
        after: u64,
        /// The log that is cut.
        origin: String,
    },
    /// There is nothing in it.
    #[error("it has no log")]
    Empty,
}

/// Takes the parts of a snapshot in their order.
#[derive(Debug)]
pub struct Taking<'a> {
    anchors: &'a Anchors,
    parts: u64,
    log: Option<Log>,
    /// Leaves that go with what was taken: to be stored at the end.
    leaves: Vec<Row>,
    /// Their bytes, with those of what states the roots.
    bytes: usize,
    stated: Vec<(String, u64, RegistryLeaf)>,
}

/// What of one log has come.
#[derive(Debug)]
struct Log {
    head: Head,
    covered: RegistryHead,
    tree: Frontier,
    /// The tile to which the next leaves belong, and its first index.
    tile: (u64, Vec<Hash>),
    /// The leaves that have come, and the organisations that those name as who runs a node.
    carried: BTreeSet<u64>,
    run_nodes: BTreeSet<SubjectId>,
    /// Buckets that are still to come, the next one last; `None` until the entry that states the root has come.
    to_come: Option<Vec<(u16, Hash)>>,
}

/// What a snapshot leaves: to be kept with the rows that were handed on before.
#[derive(Debug)]
pub struct Taken {
    /// Leaves.
    pub leaves: Vec<Row>,
    /// The entries that state the roots: to be admitted next, each in its log.
    pub stated: Vec<(String, u64, RegistryLeaf)>,
}

impl<'a> Taking<'a> {
    /// Of logs of these anchors.
    pub const fn new(anchors: &'a Anchors) -> Self {
        Self {
            anchors,
            parts: 0,
            log: None,
            leaves: Vec::new(),
            bytes: 0,
            stated: Vec::new(),
        }
    }

    /// Takes the next part; gives the rows that come of it.
    ///
    /// # Errors
    /// It does not belong to a snapshot that the quorum has seen: nothing of the whole is to be kept.
    pub fn part(&mut self, bytes: &[u8]) -> Result<Vec<RegistryRow>, Refused> {
        self.parts += 1;
        let part = Part::decode(bytes).map_err(|error: Malformed| self.refuse(error.to_string()))?;
        let taken = match (part, &mut self.log) {
            (Part::Head(head), _) => return self.begin(head).map(|()| Vec::new()),
            (Part::Tile(tile), Some(log)) => log.take_tile(&tile),
            (Part::Leaf(carried), Some(log)) => {
                self.bytes += carried.leaf.leaf.len() + carried.leaf.certificate.len();
                let stated = match self.bytes {
                    0..=CARRIED_BYTES => log.take_leaf(&carried),
                    _ => Err(format!("its leaves have more than {CARRIED_BYTES} bytes")),
                };
                stated.map(|states_the_root| {
                    let Carried { index, leaf } = carried;
                    let origin = log.head.origin.clone();
                    if !states_the_root {
                        self.leaves.push(Row::Leaf { origin, index, leaf });
                        return Vec::new();
                    }
                    let lacking = Lacking::before(index).row(&origin);
                    self.stated.push((origin, index, leaf));
                    vec![lacking]
                })
            }
            (Part::Bucket(bucket), Some(log)) => log.take_bucket(bucket),
            (_, None) => Err("before the head of a log".to_owned()),
        };
        taken.map_err(|what| self.refuse(what))
    }

    /// There are no more parts.
    ///
    /// # Errors
    /// It is not complete.
    pub fn finish(self) -> Result<Taken, Refused> {
        self.check_complete()?;
        if self.stated.is_empty() {
            return Err(Refused::Empty);
        }
        Ok(Taken {
            leaves: self.leaves,
            stated: self.stated,
        })
    }

    fn refuse(&self, what: String) -> Refused {
        let part = self.parts;
        Refused::Part { part, what }
    }

    fn check_complete(&self) -> Result<(), Refused> {
        let open = self.log.as_ref();
        let open = open.filter(|log| log.to_come.as_ref().is_none_or(|to_come| !to_come.is_empty()));
        match open {
            Some(log) => Err(Refused::Truncated {
                after: self.parts,
                origin: log.head.origin.clone(),
            }),
            None => Ok(()),
        }
    }

    fn begin(&mut self, head: Head) -> Result<(), Refused> {
        self.check_complete()?;
        if self.stated.iter().any(|(origin, ..)| *origin == head.origin) {
            return Err(self.refuse(format!("{} comes twice", head.origin)));
        }
        let covered = covered(self.anchors, &head).map_err(|what| self.refuse(what))?;
        self.log = Some(Log {
            head,
            covered,
            tree: Frontier::new(),
            tile: (0, Vec::new()),
            carried: BTreeSet::new(),
            run_nodes: BTreeSet::new(),
            to_come: None,
        });
        Ok(())
    }
}

/// The checkpoint of a head, if the policy's quorum has seen it.
fn covered(anchors: &Anchors, head: &Head) -> Result<RegistryHead, String> {
    let origin = &head.origin;
    let authority = anchors.authority(origin);
    let authority = authority.ok_or_else(|| format!("no anchor names an authority {origin}"))?;
    let key = authority.log_key();
    let key = key
        .ok_or_else(|| format!("the anchors name no log key of {origin}: nothing proves a snapshot of it"))?;
    let note = Note::parse(head.checkpoint.as_bytes()).map_err(|error| error.to_string())?;
    let checkpoint = Checkpoint::open(note, std::slice::from_ref(key)).map_err(|error| error.to_string())?;
    if *checkpoint.head().origin != *origin {
        return Err(format!("its checkpoint is not one of {origin}"));
    }
    if let Some(policy) = authority.policy() {
        let seen = checkpoint.seen_by(policy.witnesses());
        let seen = seen.map_err(|error| error.to_string())?;
        if !policy.is_met(seen.iter().map(|seen| &seen.by)) {
            return Err(format!(
                "the witnesses who have cosigned the checkpoint of {origin} are not the quorum of the anchors"
            ));
        }
    }
    if head.size == 0 || head.listed().is_none() {
        return Err("its buckets are not in order".to_owned());
    }
    Ok(checkpoint.head().clone())
}

impl Log {
    fn rows_key(&self) -> &[u8] {
        self.head.origin.as_bytes()
    }

    fn take_tile(&mut self, tile: &[u8]) -> Result<Vec<RegistryRow>, String> {
        let (hashes, rest) = tile.as_chunks::<32>();
        let (first, index) = (self.tree.size(), self.tree.size() / TILE_LEAVES);
        let fits = first % TILE_LEAVES == 0 && first + TILE_LEAVES <= self.head.size;
        if !fits || !rest.is_empty() || hashes.len() as u64 != TILE_LEAVES {
            return Err("a tile that does not come next".to_owned());
        }
        hashes.iter().for_each(|hash| self.tree.push(*hash));
        self.tile = (first, hashes.to_vec());
        let rows = [
            (kind::TILE, tile.to_vec()),
            (kind::TILE_ROOT, root_of(hashes).to_vec()),
        ];
        let key = self.rows_key();
        let rows = rows.map(|(kind, value)| RegistryRow {
            kind,
            key: key.to_vec(),
            index,
            value,
        });
        Ok(rows.into())
    }

    /// Whether it is the entry that states the root.
    fn take_leaf(&mut self, carried: &Carried) -> Result<bool, String> {
        let Carried { index, leaf } = carried;
        let hash = *leaf::hash(&leaf.leaf).as_bytes();
        let belongs = match index.checked_sub(self.tree.size()) {
            None => {
                let place = index
                    .checked_sub(self.tile.0)
                    .and_then(|place| usize::try_from(place).ok());
                place.and_then(|place| self.tile.1.get(place)) == Some(&hash)
            }
            // Those beyond the last complete tile come one by one.
            Some(0) => {
                let size = self.head.size;
                self.tree.push(hash);
                *index <= size && size - index <= size % TILE_LEAVES
            }
            Some(_) => false,
        };
        let ascends = self.carried.last().is_none_or(|last| last < index);
        if !belongs || !ascends || !leaf::is_beside(leaf) {
            return Err(format!(
                "leaf {index} of {} is not the one of its tree that comes next",
                self.head.origin
            ));
        }
        if *index < self.head.size {
            self.carried.insert(*index);
            let node = leaf::entry(leaf).and_then(node_of);
            self.run_nodes.extend(node.map(|node| node.organisation));
            return Ok(false);
        }
        self.check_root(leaf)?;
        Ok(true)
    }

    /// The entry that states the root is in the checkpoint's tree, and states that of the buckets.
    fn check_root(&mut self, leaf: &RegistryLeaf) -> Result<(), String> {
        let path: Vec<Hash> = self.head.path.iter().map(|hash| *hash.as_bytes()).collect();
        let (size, root, covered) = (self.tree.size(), self.tree.root(), &self.covered);
        let proved = verify_consistency(size, covered.size, &root, covered.root.as_bytes(), &path);
        proved.map_err(|error| {
            format!(
                "its leaves are not those of the checkpoint of {}: {error}",
                covered.origin
            )
        })?;
        let stated = match leaf::entry(leaf).map(|entry| entry.content) {
            Some(Content::StateRoot(stated)) => stated.root,
            _ => return Err(format!("entry {} states no root", self.head.size)),
        };
        let buckets = self.head.listed().unwrap_or_default();
        if Digest::new(root_over(buckets.iter().copied())) != stated {
            let index = self.head.size;
            return Err(format!(
                "its buckets do not make the root that entry {index} of {} states",
                covered.origin
            ));
        }
        self.to_come = Some(buckets.into_iter().rev().collect());
        Ok(())
    }

    fn take_bucket(&mut self, bucket: Stored) -> Result<Vec<RegistryRow>, String> {
        let expected = self.to_come.as_mut().and_then(Vec::pop);
        let number = bucket.number;
        let refused = || {
            format!(
                "bucket {number} of {} is not what the log's root says",
                self.head.origin
            )
        };
        let items: Vec<_> = bucket.records.iter().map(Record::item).collect();
        let found = Bucket::of(items);
        if expected.map(|(number, hash)| (u64::from(number), hash)) != Some((number, found.hash())) {
            return Err(refused());
        }
        let mut rows = vec![row(kind::BUCKET, self.rows_key(), number, &found)];
        for record in &bucket.records {
            let here = u64::from(u16::from_be_bytes(place_of(record.kind, &record.key))) == number;
            let of = here.then(|| self.rows_of(record)).flatten();
            rows.extend(of.ok_or_else(refused)?);
        }
        Ok(rows)
    }

    /// What is kept of a record; `None` if it is none of this log.
    fn rows_of(&self, record: &Record) -> Option<Vec<RegistryRow>> {
        let (kind, key, bytes) = (record.kind, record.key.as_slice(), record.record.as_slice());
        let origin = self.head.origin.as_str();
        let kept = |key: &[u8], index| RegistryRow {
            kind,
            key: key.to_vec(),
            index,
            value: bytes.to_vec(),
        };
        match kind {
            kind::SUBJECT => {
                let subject: Subject = decode(bytes)?;
                let id = subject.id;
                if id.as_bytes() != key || *subject.origin != *origin {
                    return None;
                }
                // Without these no node would be found.
                let needed = subject.stated.iter().chain(&subject.endpoints);
                let is_node = subject.kind == Kind::Node;
                let needed = needed.filter(|_| is_node || self.run_nodes.contains(&id));
                if !needed
                    .into_iter()
                    .all(|stated| self.carried.contains(&stated.index))
                {
                    return None;
                }
                let certificates = subject.certificates.iter();
                let certificates =
                    certificates.map(|held| row(kind::CERTIFICATE, held.id.as_bytes(), 0, &id));
                let keys = subject
                    .keys
                    .iter()
                    .map(|spki| row(kind::KEY, spki.as_bytes(), 0, &id));
                let node = is_node.then(|| row(kind::NODE, id.as_bytes(), 0, &id));
                Some(
                    [kept(key, 0)]
                        .into_iter()
                        .chain(certificates)
                        .chain(keys)
                        .chain(node)
                        .collect(),
                )
            }
            kind::ISSUER => {
                let issuer = Issuer::read(decode(bytes)?)?;
                let is_its = issuer.certificate.id().as_bytes() == key && *issuer.stated.origin == *origin;
                is_its.then(|| vec![kept(key, 0)])
            }
            kind::STEP | kind::POLICY => {
                let index = u64::from_be_bytes(key.try_into().ok()?);
                Some(vec![kept(origin.as_bytes(), index)])
            }
            _ => None,
        }
    }
}

impl Record {
    fn item(&self) -> Item {
        Item {
            kind: self.kind,
            key: self.key.clone(),
            record: Digest::of(&[&self.record]),
        }
    }
}
