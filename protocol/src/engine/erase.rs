//! Destroying what is erased, and bringing to peers what they lack. SPEC §6.18, §10.3.

use std::collections::BTreeMap;

use super::{Engine, Held, Registry, Row};
use crate::journal::{Branch, Citation, Entry};

impl<R: Registry> Engine<R> {
    /// Stages the destruction of every message whose erasure has taken effect: in the commit that stores the order, or
    /// in the first one after a start, where an earlier process did not come so far. ERA-5.
    pub(super) fn erase(&mut self) {
        for (dossier, held) in &mut self.dossiers {
            // An entry of ours without a head is forgotten at a restart.
            let (own, sealed) = (Branch::first(held.writer), held.sealed);
            let kept = |branch: &Branch, seq: u64| *branch != own || seq < sealed;
            for (branch, seq) in held.replica.forget_erased(kept) {
                let place = |entry: &Entry| (entry.dossier, entry.chain, entry.seq);
                let here = (*dossier, branch.chain, seq);
                for (item, _) in held.unsealed.iter_mut().filter(|_| branch == own) {
                    if place(&item.entry) == here {
                        item.sealed = None;
                    }
                }
                let mut staged = false;
                for row in &mut self.stage.rows {
                    if let Row::Entry { branch: of, item } = row
                        && *of == branch
                        && place(&item.entry) == here
                    {
                        (item.sealed, staged) = (None, true);
                    }
                }
                if !staged {
                    let dossier = *dossier;
                    self.stage.rows.push(Row::Erase { dossier, branch, seq });
                }
            }
        }
    }
}

impl Held {
    /// The stored runs that have the messages which a peer lacks and we do not, each with the first such entry. SYN-13.
    pub(super) fn bring(&self, lacking: &[Citation]) -> BTreeMap<u64, u64> {
        let mut wanted = BTreeMap::new();
        for cited in lacking {
            let chains = self.replica.chains();
            let Some(found) = chains.locate(cited) else {
                continue;
            };
            let branch = chains.owner(&found, cited.seq);
            let runs = self.runs.iter().zip(0_u64..);
            let mut of_branch = runs.filter(|(run, _)| run.branch == branch);
            let run = of_branch.find(|(run, _)| run.to > cited.seq);
            if let Some((_, run)) = run.filter(|_| self.replica.has_message(&branch, cited.seq)) {
                let from = wanted.entry(run).or_insert(cited.seq);
                *from = cited.seq.min(*from);
            }
        }
        wanted
    }
}
