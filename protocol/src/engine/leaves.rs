//! What a peer lacks of the authorities' logs: sent as it takes it. SYN-4.

use super::peer::Peer;
use super::{Engine, Registry};
use crate::error::Error;
use crate::id::SubjectId;
use crate::time::{Instant, Span};
use crate::wire::frame::{Frame, RegistryLeaves, RegistryRequest};
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

impl<R: Registry> Engine<R> {
    /// The next leaves that a peer lacks of what is durable here, as a frame: to be asked for as the peer takes them.
    pub fn poll_leaves_of(&mut self, id: &SubjectId) -> Option<Vec<u8>> {
        let peer = self.peers.get_mut(id).filter(|peer| peer.joined)?;
        for (origin, size) in &self.logs {
            let from = peer.registries.get(origin).copied().unwrap_or(0);
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
            let frame = Frame::RegistryLeaves(RegistryLeaves {
                origin: origin.clone(),
                from,
                leaves,
            });
            return Some(frame.encode());
        }
        self.poll_request_of(id)
    }

    /// The answer to what a peer asked for last, as a frame; none if it is not held here.
    fn poll_request_of(&mut self, peer: &SubjectId) -> Option<Vec<u8>> {
        let asked = self.peers.get_mut(peer)?.wants.take()?;
        let durable = self.logs.get(&asked.origin).copied().unwrap_or(0);
        let mut leaves = self.registry.leaves(&asked.origin, asked.from, LEAVES_BYTES);
        leaves.truncate(usize::try_from(durable.saturating_sub(asked.from)).unwrap_or(usize::MAX));
        let RegistryRequest { origin, from } = asked;
        let leaves =
            Some(RegistryLeaves { origin, from, leaves }).filter(|answer| !answer.leaves.is_empty())?;
        Some(Frame::RegistryLeaves(leaves).encode())
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

    /// Leaves came.
    pub(super) fn take_leaves(
        &mut self,
        from: SubjectId,
        leaves: RegistryLeaves,
        now: Instant,
    ) -> Result<(), Error> {
        let end = leaves.from + leaves.leaves.len() as u64;
        let lacking = self.registry.lacking();
        for (leaf, index) in leaves.leaves.into_iter().zip(leaves.from..) {
            self.import_leaf(&leaves.origin, index, leaf)?;
        }
        let asked = self.asked.as_ref().is_some_and(|asked| asked.peer == from);
        if asked && lacking != self.registry.lacking() {
            self.ask_for_leaves(Some(from), now);
        }
        if let Some(peer) = self.peers.get_mut(&from) {
            let known = peer.registries.entry(leaves.origin).or_insert(0);
            *known = (*known).max(end);
        }
        Ok(())
    }
}

/// How many leaves of each log a registry has, without logs that it has none of.
pub(super) fn sizes(registry: &impl Registry) -> std::collections::BTreeMap<String, u64> {
    let heads = registry.heads().into_iter().filter(|head| head.size > 0);
    heads.map(|head| (head.origin, head.size)).collect()
}
