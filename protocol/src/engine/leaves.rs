//! What a peer lacks of the authorities' logs: sent as it takes it. SYN-4.

use std::collections::BTreeMap;

use super::peer::Peer;
use super::{Engine, Event, Imported, Registry, Row};
use crate::error::Error;
use crate::id::SubjectId;
use crate::time::{Instant, Span};
use crate::wire::frame::{Frame, RegistryLeaf, RegistryLeaves, RegistryRequest};
use crate::wire::limits;

/// Bytes of leaves in one frame.
const LEAVES_BYTES: usize = limits::FRAME_BYTES / 2;
/// After that long without leaves that were asked for, another peer is asked. SNP-4.
const ANSWER: Span = Span::from_seconds(5);

/// Whom this node has asked for leaves, and until when it waits for them.
#[derive(Debug)]
pub(super) struct Asked {
    peer: SubjectId,
    until: Instant,
}

/// For how long a node whose history of a log has given way takes its leaves from nobody but who told it. REG-31.
const FOLLOWED: Span = Span::from_seconds(60);

/// The peer whose leaves of a log are taken, and nobody else's, until the log has gone on: the others may still hold what has
/// given way here.
#[derive(Debug)]
pub(super) struct Follows {
    origin: String,
    peer: SubjectId,
    until: Instant,
    /// Continuations of the log that are held.
    held: usize,
}

impl<R: Registry> Engine<R> {
    /// The next leaves that a peer lacks of what is durable here, as a frame: to be asked for as the peer takes them.
    pub fn poll_leaves_of(&mut self, id: &SubjectId) -> Option<Vec<u8>> {
        let peer = self.peers.get_mut(id).filter(|peer| peer.joined)?;
        for (origin, size) in &self.logs {
            let from = peer.registries.get(origin).copied().unwrap_or(0);
            // It has something where the log goes on under another key; whether it has that, nobody says.
            let told = peer.continued.entry(origin.clone()).or_insert(0);
            let continuations = self.registry.continuations(origin).into_iter();
            let mut untold = continuations.filter(|index| (*told..*size.min(&from)).contains(index));
            if let Some(index) = untold.next() {
                *told = index + 1;
                let mut leaves = self.registry.leaves(origin, index, LEAVES_BYTES);
                leaves.truncate(1);
                return Some(frame_of(origin, index, leaves));
            }
            let Some(lacking) = size.checked_sub(from).filter(|lacking| *lacking > 0) else {
                continue;
            };
            let mut leaves = self.registry.leaves(origin, from, LEAVES_BYTES);
            leaves.truncate(usize::try_from(lacking).unwrap_or(usize::MAX));
            if leaves.is_empty() {
                continue;
            }
            let sent = from + leaves.len() as u64;
            peer.registries.insert(origin.clone(), sent);
            peer.continued.insert(origin.clone(), sent);
            return Some(frame_of(origin, from, leaves));
        }
        self.poll_request_of(id)
    }

    /// The answer to what a peer asked for last, as a frame; none if it is not held here.
    fn poll_request_of(&mut self, peer: &SubjectId) -> Option<Vec<u8>> {
        let asked = self.peers.get_mut(peer)?.wants.take()?;
        let durable = self.logs.get(&asked.origin).copied().unwrap_or(0);
        let mut leaves = self.registry.leaves(&asked.origin, asked.from, LEAVES_BYTES);
        leaves.truncate(usize::try_from(durable.saturating_sub(asked.from)).unwrap_or(usize::MAX));
        (!leaves.is_empty()).then(|| frame_of(&asked.origin, asked.from, leaves))
    }

    /// A peer asks for leaves: they go as it takes them, those that it asked for last.
    pub(super) fn take_request(&mut self, from: SubjectId, request: RegistryRequest) {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.wants = Some(request);
        }
    }

    /// Asks for leaves that are lacking: the peer that has just brought some, else one at random that has as many, and another
    /// one if nothing has come for a while.
    pub(super) fn ask_for_leaves(&mut self, brought_by: Option<SubjectId>, now: Instant) {
        let Some((origin, from)) = self.registry.lacking() else {
            return;
        };
        let waits = self
            .asked
            .as_ref()
            .filter(|asked| now < asked.until && asked.until <= now + ANSWER);
        if brought_by.is_none() && waits.is_some() {
            return;
        }
        let has = |peer: &Peer| peer.joined && peer.registries.get(&origin).is_some_and(|size| *size > from);
        let able: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| has(peer))
            .map(|(id, _)| *id)
            .collect();
        if able.is_empty() {
            return;
        }
        self.asked_times += 1;
        let drawn = self.draw(b"basoche/leaves/1", self.asked_times) % able.len() as u64;
        let peer = brought_by.unwrap_or(able[drawn as usize]);
        self.asked = Some(Asked {
            peer,
            until: now + ANSWER,
        });
        self.send(peer, &Frame::RegistryRequest(RegistryRequest { origin, from }));
    }

    /// Leaves came, and what was read of them ahead. True if one of them was news.
    pub(super) fn take_leaves(
        &mut self,
        from: SubjectId,
        leaves: RegistryLeaves,
        read: Vec<Option<R::Read>>,
        now: Instant,
    ) -> Result<bool, Error> {
        let end = leaves.from + leaves.leaves.len() as u64;
        let held = self.registry.continuations(&leaves.origin).len();
        let of_the_log = self.follows.as_ref();
        if let Some(follows) = of_the_log.filter(|follows| follows.origin == leaves.origin) {
            if follows.held != held || now >= follows.until {
                self.follows = None;
            } else if follows.peer != from {
                return Ok(false);
            }
        }
        let lacking = self.registry.lacking();
        let mut news = false;
        let mut read = read.into_iter();
        for (leaf, index) in leaves.leaves.into_iter().zip(leaves.from..) {
            match self.import_read(&leaves.origin, index, leaf, read.next().flatten())? {
                Imported::News => news = true,
                Imported::Known | Imported::Filled => {}
                Imported::OtherHistory => {
                    self.follows = Some(Follows {
                        origin: leaves.origin,
                        peer: from,
                        until: now + FOLLOWED,
                        held,
                    });
                    return Ok(false);
                }
            }
        }
        let asked = self.asked.as_ref().is_some_and(|asked| asked.peer == from);
        if asked && lacking != self.registry.lacking() {
            self.ask_for_leaves(Some(from), now);
        }
        if let Some(peer) = self.peers.get_mut(&from) {
            for known in [&mut peer.registries, &mut peer.continued] {
                let known = known.entry(leaves.origin.clone()).or_insert(0);
                *known = (*known).max(end);
            }
        }
        Ok(news)
    }

    /// Admits a leaf of an authority's log, from a file or a peer.
    pub fn import_leaf(&mut self, origin: &str, index: u64, leaf: RegistryLeaf) -> Result<Imported, Error> {
        self.import_read(origin, index, leaf, None)
    }

    fn import_read(
        &mut self,
        origin: &str,
        index: u64,
        leaf: RegistryLeaf,
        read: Option<R::Read>,
    ) -> Result<Imported, Error> {
        let imported = self.registry.import(origin, index, &leaf, read)?;
        match imported {
            Imported::Known => {}
            Imported::OtherHistory => {
                let origin = origin.to_owned();
                self.events.push_back(Event::OtherHistory { origin });
            }
            Imported::News | Imported::Filled => {
                if imported == Imported::News {
                    self.rejudge = true;
                    self.stage.events.push(Event::RegistryChanged);
                }
                self.stage.leaves = true;
                self.stage.rows.push(Row::Leaf {
                    origin: origin.to_owned(),
                    index,
                    leaf,
                });
            }
        }
        Ok(imported)
    }

    /// The registry is another one, all of it durable: a history has given way. What is not durable of the one before is
    /// dropped; peers are to be connected anew, for they take this node to have more than it has.
    pub fn replace_registry(&mut self, registry: R) {
        self.stage.rows.retain(|row| !matches!(row, Row::Leaf { .. }));
        self.stage.leaves = false;
        self.logs = sizes(&registry);
        self.registry = registry;
        self.rejudge = true;
        self.events.push_back(Event::RegistryChanged);
    }
}

fn frame_of(origin: &str, from: u64, leaves: Vec<RegistryLeaf>) -> Vec<u8> {
    let origin = origin.to_owned();
    Frame::RegistryLeaves(RegistryLeaves { origin, from, leaves }).encode()
}

/// How many leaves of each log a registry has, without logs that it has none of.
pub(super) fn sizes(registry: &impl Registry) -> BTreeMap<String, u64> {
    let heads = registry.heads().into_iter().filter(|head| head.size > 0);
    heads.map(|head| (head.origin, head.size)).collect()
}
