//! Work on a run, or on leaves of the registry, that may be done before its turn, on any thread: nothing of it decides anything.
//!
//! A run is decoded, its messages are opened, and their signatures are checked against the registry as it is. What
//! holds is marked in the envelope itself ([`crate::envelope`]), and is not checked again under the same key; whatever
//! does not, or cannot be opened yet, is judged in its turn as if nothing had been done. JRN-12.

use super::{Engine, Registry};
use crate::dossier::{Replica, RunItem};
use crate::envelope::{EpochKey, Sealed};
use crate::error::Error;
use crate::id::DossierId;
use crate::journal::Entry;
use crate::wire::frame::{Frame, RegistryLeaves, Run};

/// What was decoded and checked ahead of its turn.
#[derive(Debug)]
pub enum Ahead<L> {
    /// A run, with its items.
    Run(Run, Vec<RunItem>),
    /// Leaves of an authority's log, and what [`Registry::read`] gave of them.
    Leaves(RegistryLeaves, Vec<Option<L>>),
}

/// What is known of keys and signers at an instant: enough to check a run while the engine goes on with others.
#[derive(Clone, Debug)]
pub struct Checker<R> {
    registry: R,
    keys: Vec<(u64, EpochKey)>,
}

impl<R: Registry + Clone> Engine<R> {
    /// What it takes to check this frame, if it is a run or has leaves. A registry that is cheap to clone makes this cheap.
    pub fn checker(&self, frame: &[u8]) -> Option<Checker<R>> {
        let dossier = dossier_of(frame);
        if dossier.is_none() && !has_leaves(frame) {
            return None;
        }
        let replica = dossier.and_then(|dossier| self.dossier(&dossier));
        let keys = replica.into_iter().flat_map(Replica::keys);
        Some(Checker {
            registry: self.registry.clone(),
            keys: keys.map(|(epoch, key)| (epoch, key.clone())).collect(),
        })
    }
}

impl<R: Registry> Checker<R> {
    /// Decodes the frame for which this was made, opens its messages and checks what it can; nothing of one that is not
    /// well formed.
    pub fn check(&self, frame: &[u8]) -> Option<Ahead<R::Read>> {
        let run = match Frame::decode(frame).ok()? {
            Frame::Run(run) => run,
            Frame::RegistryLeaves(leaves) => {
                let read = self.registry.read(&leaves.origin, &leaves.leaves);
                return Some(Ahead::Leaves(leaves, read));
            }
            _ => return None,
        };
        let mut items = items(&run).ok()?;
        for RunItem { entry, sealed } in &mut items {
            let Some(sealed) = sealed else { continue };
            let mut keys = self.keys.iter();
            if let Some((_, key)) = keys.find(|(epoch, _)| *epoch == sealed.key_epoch()) {
                sealed.check_ahead(
                    &run.dossier,
                    entry.message,
                    key,
                    &self.registry,
                    entry.recorded_at,
                );
            }
        }
        Some(Ahead::Run(run, items))
    }
}

/// The dossier of a run, read without decoding the frame: an array of two, the number of [`Frame::Run`], a byte string of
/// any length, and in it a map of four that begins with the dossier.
fn dossier_of(frame: &[u8]) -> Option<DossierId> {
    let [0x82, 4, head @ 0x58..=0x5a, rest @ ..] = frame else {
        return None;
    };
    let run = rest.get(1 << (head - 0x58)..)?;
    let dossier = run.strip_prefix(&[0xa4, 0, 0x58, 32])?.first_chunk()?;
    Some(DossierId::new(*dossier))
}

/// Whether a frame is [`Frame::RegistryLeaves`].
fn has_leaves(frame: &[u8]) -> bool {
    matches!(frame, [0x82, 2, ..])
}

/// The items of a run, decoded.
pub(super) fn items(run: &Run) -> Result<Vec<RunItem>, Error> {
    let item = |item: &crate::wire::frame::Item| {
        let entry = Entry::decode(&item.entry)?;
        let sealed = item.sealed.as_ref().map(|sealed| Sealed::decode(sealed));
        let sealed = sealed.transpose()?;
        Ok(RunItem { entry, sealed })
    };
    run.items.iter().map(item).collect()
}

#[cfg(test)]
mod tests {
    use serde_bytes::ByteBuf;

    use super::*;
    use crate::id::{Incarnation, SubjectId};
    use crate::journal::ChainId;

    #[test]
    fn the_dossier_of_a_run_of_any_length_is_read_and_of_no_other_frame() {
        let dossier = DossierId::new([7; 32]);
        for length in [0, 100, 300, 70_000] {
            let run = Run {
                dossier,
                chain: ChainId {
                    node: SubjectId::new([1; 16]),
                    incarnation: Incarnation::new([2; 16]),
                },
                items: Vec::new(),
                head: ByteBuf::from(vec![0; length]),
            };
            let frame = Frame::Run(run).encode();
            assert_eq!(dossier_of(&frame), Some(dossier), "{length}");
            assert_eq!(dossier_of(&frame[..39]), None);
        }
        let head = Frame::Head(ByteBuf::from(vec![7; 100])).encode();
        assert_eq!(dossier_of(&head), None);
    }
}
