//! What a mailbox is left for a member that is away, and what comes from one. SPEC §10.7.

use std::collections::BTreeMap;

use super::{Engine, Registry};
use crate::error::{Error, Malformed};
use crate::id::{DossierId, SubjectId};
use crate::journal::{Branch, ChainId, SignedHead};
use crate::mailbox::Address;
use crate::time::Instant;
use crate::wire::frame::Frame;

/// A stored run that a member lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftRun {
    /// The index of the run, in the order applied here.
    pub run: u64,
    /// The chain.
    pub chain: ChainId,
    /// The first entry that the member lacks.
    pub from: u64,
    /// The entry after the last.
    pub to: u64,
}

/// What became of a run from a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is on file with the next commit, or was before.
    OnFile,
    /// Something that it cites has not come yet, or the dossier is not in memory: it is not kept.
    Early,
}

impl<R: Registry> Engine<R> {
    /// Under what a mailbox keeps something for `addressee`; nothing without the dossier's first key, or while it is
    /// dormant. MBX-1.
    pub fn mailbox_address(&self, dossier: &DossierId, addressee: SubjectId) -> Option<Address> {
        let key = self.dossiers.get(dossier)?.replica.key(0)?.clone();
        Some(Address {
            dossier: *dossier,
            addressee,
            key,
        })
    }

    /// The stored runs of a dossier that its latest head says that a member lacks, in the order applied here. Nothing of
    /// a member that has never signed a head in it: it may have no key yet. Chains of nodes that have left come from
    /// members only; of a dormant dossier, [`super::Summary::behind`] says who lacks anything. MBX-6.
    pub fn lacking(&self, dossier: &DossierId, member: &SubjectId) -> Vec<LeftRun> {
        let Some(held) = self.dossiers.get(dossier) else {
            return Vec::new();
        };
        let nodes = held.replica.state().nodes();
        let Some(head) = held.replica.heads().get(member) else {
            return Vec::new();
        };
        let chains = held.replica.chains();
        let mut known: BTreeMap<Branch, u64> = BTreeMap::new();
        let mut lacking = Vec::new();
        for (run, index) in held.runs.iter().zip(0_u64..) {
            let chain = run.branch.chain;
            if chain.node == *member || !nodes.contains(&chain.node) {
                continue;
            }
            let known = known
                .entry(run.branch)
                .or_insert_with(|| chains.known_by(&run.branch, &head.head().rows));
            if run.to > *known {
                lacking.push(LeftRun {
                    run: index,
                    chain,
                    from: *known,
                    to: run.to,
                });
                *known = run.to;
            }
        }
        lacking
    }

    /// Takes a run of `dossier` that a mailbox kept, through every check of a run that a peer brings. MBX-5. For a
    /// dormant dossier it comes too early, and wakes it.
    ///
    /// # Errors
    /// As for a peer's frame; `bad-value` for what is no run of this dossier. Nothing of it is kept.
    pub fn take_kept_run(
        &mut self,
        mailbox: SubjectId,
        dossier: &DossierId,
        bytes: &[u8],
        now: Instant,
    ) -> Result<Taken, Error> {
        match Frame::decode(bytes)? {
            Frame::Run(run) if run.dossier == *dossier && self.is_dormant(dossier) => {
                SignedHead::verify(&run.head, &self.registry)?;
                self.wake(*dossier);
                Ok(Taken::Early)
            }
            Frame::Run(run) if run.dossier == *dossier => match self.take_run(mailbox, run, None, now)? {
                true => Ok(Taken::OnFile),
                false => Ok(Taken::Early),
            },
            _ => Err(Malformed::bad_value().into()),
        }
    }
}
