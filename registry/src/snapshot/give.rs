//! A snapshot of what a replica holds, part by part.

use std::collections::BTreeSet;

use basoche_protocol::engine::Registry;
use basoche_protocol::id::Digest;
use basoche_protocol::tree::TILE_LEAVES;
use serde_bytes::ByteBuf;
use thiserror::Error;

use super::{Carried, Head, PART_BYTES, Part, Record, Stored};
use crate::held::Log;
use crate::log::Checkpoint;
use crate::replica::{Replica, node_of};
use crate::state::{BUCKETS, Item, State};

/// Bytes that are given at once, and one tile or bucket more.
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
        if !self.continuations(origin).is_empty() {
            let why = "it goes on under another key than the anchors name: a new node takes all its entries";
            return Err(NotGiven::Unfit(origin.to_owned(), why));
        }
        if log.unjudged().is_some() {
            let why = "this node began with a snapshot itself and has not judged its entries yet";
            return Err(NotGiven::Unfit(origin.to_owned(), why));
        }
        // One position for the head, one for each complete tile and for what is beyond, one for each bucket.
        let buckets = 1 + stated / TILE_LEAVES + 1;
        let Some(first) = position.checked_sub(buckets) else {
            let Some(tile) = position.checked_sub(1) else {
                let head = self.head(log, state, stated, checkpoint)?;
                return given(origin, vec![Part::Head(head)], Some(1));
            };
            let (parts, next) = self.tiles(log, stated, tile);
            return given(origin, parts, Some(1 + next));
        };
        let (mut parts, mut bytes) = (Vec::new(), 0);
        for number in first..BUCKETS {
            if bytes >= BYTES_AT_ONCE {
                return given(origin, parts, Some(buckets + number));
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

    /// Tiles from `tile` on, each followed by the leaves that go with it, and the number of the next.
    fn tiles(&self, log: &Log, stated: u64, mut tile: u64) -> (Vec<Part>, u64) {
        let carried = self.carried(log, stated);
        let (mut parts, mut bytes) = (Vec::new(), 0);
        while tile <= stated / TILE_LEAVES && bytes < BYTES_AT_ONCE {
            let leaves = tile * TILE_LEAVES..(tile + 1) * TILE_LEAVES;
            if leaves.end <= stated {
                let hashes = leaves.clone().filter_map(|index| log.tree.leaf(index));
                let hashes = hashes.collect::<Vec<_>>().concat();
                bytes += hashes.len();
                parts.push(Part::Tile(ByteBuf::from(hashes)));
            }
            for &index in carried.range(leaves) {
                let leaf = log.leaf(index);
                bytes += leaf
                    .as_ref()
                    .map_or(0, |leaf| leaf.leaf.len() + leaf.certificate.len());
                parts.extend(leaf.map(|leaf| Part::Leaf(Carried { index, leaf })));
            }
            tile += 1;
        }
        (parts, tile)
    }

    /// Leaves that a node cannot do without: the first, what is stated of nodes and of who runs them, and the last, from
    /// the last complete tile on and one at least before the entry that states the root.
    fn carried(&self, log: &Log, stated: u64) -> BTreeSet<u64> {
        let origin = log.authority.origin();
        let mut carried: BTreeSet<u64> = (stated - stated % TILE_LEAVES..=stated).collect();
        carried.insert(0);
        carried.extend(stated.checked_sub(1));
        for node in &self.known.nodes {
            let Some(subject) = self.known.subject(node).filter(|node| *node.origin == *origin) else {
                continue;
            };
            let statements = || subject.stated.iter().chain(&subject.endpoints);
            let nodes = statements().map(|stated| stated.index);
            let organisations = subject.stated.iter().filter_map(|stated| {
                let organisation = node_of(log.entry(stated.index)?)?.organisation;
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
