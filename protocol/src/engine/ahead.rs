//! Work on a run that may be done before its turn, on any thread: nothing of it decides anything.
//!
//! A run is decoded, its messages are opened, and their signatures are checked against the registry as it is. What
//! holds is marked in the envelope itself ([`crate::envelope`]), and is not checked again under the same key; whatever
//! does not, or cannot be opened yet, is judged in its turn as if nothing had been done. JRN-12.

use super::{Engine, Registry};
use crate::dossier::RunItem;
use crate::envelope::Sealed;
use crate::error::Error;
use crate::id::DossierId;
use crate::journal::Entry;
use crate::wire::frame::{Frame, Run};

/// The first bytes of a run's frame: an array of two, the number of [`Frame::Run`].
const RUN: [u8; 2] = [0x82, 4];

/// A run, decoded ahead of its turn.
#[derive(Debug)]
pub struct Ahead {
    pub(super) run: Run,
    pub(super) items: Vec<RunItem>,
}

/// Some items of it.
#[derive(Debug)]
pub struct Share<'a> {
    dossier: DossierId,
    items: &'a mut [RunItem],
}

impl Ahead {
    /// Decodes a frame, if it is a run, and a good one.
    pub fn decode(frame: &[u8]) -> Option<Self> {
        if !frame.starts_with(&RUN) {
            return None;
        }
        let Ok(Frame::Run(run)) = Frame::decode(frame) else {
            return None;
        };
        let items = items(&run).ok()?;
        Some(Self { run, items })
    }

    /// Its items, in shares of so many.
    pub fn shares(&mut self, items: usize) -> impl Iterator<Item = Share<'_>> {
        let dossier = self.run.dossier;
        let shares = self.items.chunks_mut(items.max(1));
        shares.map(move |items| Share { dossier, items })
    }
}

impl<R: Registry> Engine<R> {
    /// Opens and checks what it can.
    pub fn check_ahead(&self, share: Share<'_>) {
        let Some(replica) = self.dossier(&share.dossier) else {
            return;
        };
        for RunItem { entry, sealed } in share.items {
            let Some(sealed) = sealed else { continue };
            if let Some(key) = replica.key(sealed.key_epoch()) {
                let at = entry.recorded_at;
                sealed.check_ahead(&share.dossier, entry.message, key, &self.registry, at);
            }
        }
    }
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
