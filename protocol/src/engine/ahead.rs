//! Work on a run that may be done before its turn, on any thread: nothing of it decides anything.
//!
//! A run is decoded, its messages are opened, and their signatures are checked against the registry as it is. What
//! holds is marked in the envelope itself ([`crate::envelope`]), and is not checked again under the same key; whatever
//! does not, or cannot be opened yet, is judged in its turn as if nothing had been done. JRN-12.

use std::collections::BTreeMap;

use super::{Engine, Registry};
use crate::directory::Directory;
use crate::dossier::RunItem;
use crate::envelope::{EpochKey, Sealed};
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

/// Some items of a run, on their way to another thread and back.
#[derive(Debug)]
pub struct Share {
    dossier: DossierId,
    /// Where they stand in the run.
    first: usize,
    items: Vec<RunItem>,
}

/// What is known of keys and signers at an instant: enough to open and check while the engine goes on with other runs.
#[derive(Clone, Debug)]
pub struct Checker<R> {
    registry: R,
    keys: BTreeMap<(DossierId, u64), EpochKey>,
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

    /// Takes its items out, in shares of so many; each is to be [put back](Self::put).
    pub fn shares(&mut self, items: usize) -> Vec<Share> {
        let (mut shares, mut rest) = (Vec::new(), std::mem::take(&mut self.items));
        let mut first = 0;
        while !rest.is_empty() {
            let later = rest.split_off(rest.len().min(items.max(1)));
            let items = std::mem::replace(&mut rest, later);
            let dossier = self.run.dossier;
            let count = items.len();
            shares.push(Share {
                dossier,
                first,
                items,
            });
            first += count;
        }
        shares
    }

    /// Puts shares back, all of them, in whatever order they come.
    pub fn put(&mut self, mut shares: Vec<Share>) {
        shares.sort_unstable_by_key(|share| share.first);
        self.items = shares.into_iter().flat_map(|share| share.items).collect();
    }
}

impl<R: Registry + Clone> Engine<R> {
    /// What it takes to check these runs. A registry that is cheap to clone makes this cheap.
    pub fn checker<'a>(&self, runs: impl IntoIterator<Item = &'a Ahead>) -> Checker<R> {
        let mut keys = BTreeMap::new();
        for Ahead { run, .. } in runs {
            if let Some(replica) = self.dossier(&run.dossier) {
                let of_dossier = replica
                    .keys()
                    .map(|(epoch, key)| ((run.dossier, epoch), key.clone()));
                keys.extend(of_dossier);
            }
        }
        let registry = self.registry.clone();
        Checker { registry, keys }
    }
}

impl<R: Directory> Checker<R> {
    /// Opens and checks what it can.
    pub fn check(&self, share: &mut Share) {
        for RunItem { entry, sealed } in &mut share.items {
            let Some(sealed) = sealed else { continue };
            if let Some(key) = self.keys.get(&(share.dossier, sealed.key_epoch())) {
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
