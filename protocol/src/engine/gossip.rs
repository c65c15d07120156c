//! What comes by gossip, whoever has passed it on. SPEC §10.8.

use serde_bytes::ByteBuf;

use super::{Engine, Registry};
use crate::error::{Error, Malformed, MalformedKind};
use crate::id::SubjectId;
use crate::time::Instant;
use crate::wire::frame::Frame;
use crate::wire::limits;

/// What a frame was worth that came by gossip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gossiped {
    /// An entry that was not held: the others should have it, once it is durable here.
    News,
    /// An entry that is held, or that comes in its turn on a control connection.
    Known,
    /// A checkpoint, to be looked at.
    Checkpoint(ByteBuf),
    /// The proof that a log has contradicted itself, to be looked at.
    Equivocation(ByteBuf),
}

impl<R: Registry> Engine<R> {
    /// Takes a frame that `from` has passed on, whether that is connected or not. GSP-3.
    ///
    /// # Errors
    /// It is too large, or malformed; it is not one of the frames that are passed on, or has more than one leaf; the leaf is not
    /// admitted.
    pub fn handle_gossip(&mut self, from: SubjectId, bytes: &[u8], now: Instant) -> Result<Gossiped, Error> {
        check_length(bytes, limits::GOSSIP_BYTES)?;
        match Frame::decode(bytes)? {
            Frame::RegistryLeaves(leaves) if leaves.leaves.len() == 1 => {
                let heads = self.registry.heads();
                let held = heads.iter().find(|head| head.origin == leaves.origin);
                if leaves.from > held.map_or(0, |held| held.size) {
                    return Ok(Gossiped::Known);
                }
                Ok(match self.take_leaves(from, leaves, Vec::new(), now)? {
                    true => Gossiped::News,
                    false => Gossiped::Known,
                })
            }
            Frame::Checkpoint(note) => {
                check_length(&note, limits::NOTE_BYTES)?;
                Ok(Gossiped::Checkpoint(note))
            }
            Frame::Equivocation(proof) => {
                check_length(&proof, 3 * limits::NOTE_BYTES)?;
                Ok(Gossiped::Equivocation(proof))
            }
            _ => Err(Malformed::bad_value().into()),
        }
    }
}

/// Refuses what is longer than it may be.
pub(super) fn check_length(bytes: &[u8], most: usize) -> Result<(), Malformed> {
    match bytes.len() > most {
        true => Err(Malformed::at(0, MalformedKind::TooLarge)),
        false => Ok(()),
    }
}
