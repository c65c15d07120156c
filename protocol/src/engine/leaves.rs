//! What a peer lacks of the authorities' logs: sent as it takes it. SYN-4.

use super::{Engine, Registry};
use crate::error::Error;
use crate::id::SubjectId;
use crate::wire::frame::{Frame, RegistryLeaves};
use crate::wire::limits;

/// Bytes of leaves in one frame.
const LEAVES_BYTES: usize = limits::FRAME_BYTES / 2;

impl<R: Registry> Engine<R> {
    /// The next leaves that a peer lacks of what is durable here, as a frame: to be asked for as the peer takes them.
    pub fn poll_leaves_of(&mut self, peer: &SubjectId) -> Option<Vec<u8>> {
        let peer = self.peers.get_mut(peer).filter(|peer| peer.joined)?;
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
        None
    }

    /// Leaves came.
    pub(super) fn take_leaves(&mut self, from: SubjectId, leaves: RegistryLeaves) -> Result<(), Error> {
        let end = leaves.from + leaves.leaves.len() as u64;
        for (leaf, index) in leaves.leaves.into_iter().zip(leaves.from..) {
            self.import_leaf(&leaves.origin, index, leaf)?;
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
