//! A snapshot of what a replica holds, part by part.

use basoche_protocol::id::Digest;
use basoche_protocol::tree::TILE_LEAVES;
use serde_bytes::ByteBuf;
use thiserror::Error;

use super::{Carried, Head, PART_BYTES, Part, Record, Stored};
use crate::held::Log;
use crate::log::Checkpoint;
use crate::replica::Replica;
use crate::state::{BUCKETS, Item, State};

/// Tiles that are given at once: 256 KB, and the leaves in them.
const TILES_AT_ONCE: u64 = 32;
/// Bytes of buckets that are given at once, and one bucket more.
const BYTES_AT_ONCE: usize = 1 << 20;

/// Some parts of a snapshot, and where the next begin; the last have no next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// At most [`PART_BYTES`] bytes each.
    pub parts: Vec<Vec<u8>>,
    /// What to ask for next.
    pub next: Option<u64>,
}

/// Why there is no snapshot of a log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotGiven {
    /// The anchors name no such log.
    #[error("no anchor names an authority {0}")]
    Unknown(String),
    /// The log has never stated its root.
    #[error("{0} has not stated the root of its state yet (basoche authority state-root)")]
    NeverStated(String),
    /// The log has stated its root anew meanwhile.
    #[error("{0} has stated the root of its state anew meanwhile: begin again")]
    Moved(String),
    /// No checkpoint that covers the statement has been met yet.
    #[error(
        "entry {index} of {origin} states its root: no checkpoint under the policy's quorum covers that yet"
    )]
    NotSeen {
        /// The log.
        origin: String,
        /// The entry.
        index: u64,
    },
    /// What there is of it cannot be given.
    #[error("{0}: {1}")]
    Unfit(String, &'static str),
}

impl Replica {
    /// Index of the entry that stated the root of a log's state last.
    pub fn stated(&self, origin: &str) -> Option<u64> {
        self.known.states.get(origin)?.stated_at()
    }

    /// Parts of the snapshot of log `origin` as of the entry that stated its root, `stated`, from `position` on, where 0 is
    /// the beginning. `checkpoint` covers that entry.
    ///
    /// # Errors
    /// There is none, or none of that entry any more.
    pub fn snapshot(
        &self,
        origin: &str,
        stated: u64,
        checkpoint: &Checkpoint,
        position: u64,
    ) -> Result<Given, NotGiven> {
        let found = (self.log(origin), self.known.states.get(origin));
        let (Some(log), Some(state)) = found else {
            return Err(NotGiven::Unknown(origin.to_owned()));
        };
        match state.stated_at() {
            None => return Err(NotGiven::NeverStated(origin.to_owned())),
            Some(index) if index != stated => return Err(NotGiven::Moved(origin.to_owned())),
            Some(_) => {}
        }
        if log.unjudged().is_some() {
            let why = "this node began with a snapshot itself and has not judged its entries yet";
            return Err(NotGiven::Unfit(origin.to_owned(), why));
        }
        // Complete tiles, and what is beyond them with the entry itself.
        let groups = (stated / TILE_LEAVES + 1).div_ceil(TILES_AT_ONCE);
        if position == 0 {
            let head = self.head(log, state, stated, checkpoint)?;
            return given(origin, vec![Part::Head(head)], Some(1));
        }
        if let Some(group) = position.checked_sub(1).filter(|group| *group < groups) {
            let tiles = group * TILES_AT_ONCE..(group + 1) * TILES_AT_ONCE;
            return given(origin, self.tiles(log, stated, tiles), Some(position + 1));
        }
        let first = position - 1 - groups;
        let (mut parts, mut bytes) = (Vec::new(), 0);
        for number in first..BUCKETS {
            if bytes >= BYTES_AT_ONCE {
                return given(origin, parts, Some(number + 1 + groups));
            }
            let place = (number as u16).to_be_bytes();
            let records = state.as_stated(place).into_iter().map(|(item, before)| {
                let record = before.or_else(|| self.known.record(origin, &item).map(ByteBuf::from))?;
                bytes += record.len();
                let Item { kind, key, .. } = item;
                Some(Record { kind, key, record })
            });
            let records: Option<Vec<_>> = records.collect();
            let gone = || NotGiven::Unfit(origin.to_owned(), "a record is not on disk yet: try again");
            let records = records.ok_or_else(gone)?;
            if !records.is_empty() {
                parts.push(Part::Bucket(Stored { number, records }));
            }
        }
        given(origin, parts, None)
    }

    fn head(&self, log: &Log, state: &State, stated: u64, checkpoint: &Checkpoint) -> Result<Head, NotGiven> {
        let (origin, covered) = (log.authority.origin(), checkpoint.head());
        let path = log.tree.consistency_path(stated + 1, covered.size);
        let path = path
            .filter(|_| *covered.origin == *origin)
            .ok_or_else(|| NotGiven::NotSeen {
                origin: origin.to_owned(),
                index: stated,
            })?;
        Ok(Head {
            origin: origin.to_owned(),
            size: stated,
            checkpoint: checkpoint.note().encode(),
            path: path.into_iter().map(Digest::new).collect(),
            buckets: Head::list(&state.hashes_as_stated()),
        })
    }

    /// Tiles, each followed by the leaves that go with it.
    fn tiles(&self, log: &Log, stated: u64, tiles: std::ops::Range<u64>) -> Vec<Part> {
        let carried = self.carried(log, stated);
        let mut parts = Vec::new();
        for tile in tiles {
            let leaves = tile * TILE_LEAVES..(tile + 1) * TILE_LEAVES;
            if leaves.end <= stated {
                let hashes = leaves.clone().filter_map(|index| log.tree.leaf(index));
                parts.push(Part::Tile(ByteBuf::from(hashes.collect::<Vec<_>>().concat())));
            }
            let here = carried.range(leaves);
            parts.extend(here.filter_map(|&index| {
                let leaf = log.leaf(index)?;
                Some(Part::Leaf(Carried { index, leaf }))
            }));
        }
        parts
    }

    /// Leaves that a node cannot do without: the first, what is stated of nodes and of who runs them, and the last, from
    /// the last complete tile on and one at least before the entry that states the root.
    fn carried(&self, log: &Log, stated: u64) -> std::collections::BTreeSet<u64> {
        let origin = log.authority.origin();
        let mut carried: std::collections::BTreeSet<u64> = (stated - stated % TILE_LEAVES..=stated).collect();
        carried.insert(0);
        carried.extend(stated.checked_sub(1));
        for node in &self.known.nodes {
            let Some(subject) = self.known.subject(node).filter(|node| *node.origin == *origin) else {
                continue;
            };
            let statements = || subject.stated.iter().chain(&subject.endpoints);
            let nodes = statements().map(|stated| stated.index);
            let organisations = subject.stated.iter().filter_map(|stated| {
                let organisation = crate::replica::node_of(log.entry(stated.index)?)?.organisation;
                self.known.subject(&organisation)
            });
            let organisations = organisations.flat_map(|subject| {
                subject
                    .stated
                    .iter()
                    .map(|stated| stated.index)
                    .collect::<Vec<_>>()
            });
            carried.extend(nodes.chain(organisations).filter(|index| *index < stated));
        }
        carried
    }
}

fn given(origin: &str, parts: Vec<Part>, next: Option<u64>) -> Result<Given, NotGiven> {
    let parts: Vec<_> = parts.iter().map(Part::encode).collect();
    if parts.iter().any(|part| part.len() > PART_BYTES) {
        let why = "what stands together in its state is more than a snapshot takes";
        return Err(NotGiven::Unfit(origin.to_owned(), why));
    }
    Ok(Given { parts, next })
}
