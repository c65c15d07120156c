//! The desk's part in gossip: what members pass on is judged before it goes on, and what begins here is told. SPEC §10.8.

use basoche_protocol::engine::{Gossiped, Imported};
use basoche_protocol::error::Error;
use basoche_protocol::id::SubjectId;
use basoche_protocol::wire::frame::{Frame, RegistryLeaf, RegistryLeaves};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::Desk;
use crate::effects::now;
use crate::gossip::Verdict;
use crate::operator::With;

/// What waits for the next commit: nothing is told before it is durable here.
#[derive(Default)]
pub(super) struct Uncommitted {
    verdicts: Vec<(oneshot::Sender<Verdict>, Verdict)>,
    frames: Vec<Frame>,
}

impl Desk {
    /// Judges what a member has passed on; the verdict is given once it is durable.
    pub(super) fn take_gossip(&mut self, peer: SubjectId, bytes: &[u8], reply: oneshot::Sender<Verdict>) {
        let verdict = match self.judge(peer, bytes) {
            Ok(true) => Verdict::PassOn,
            Ok(false) => Verdict::Keep,
            Err(error) => {
                self.monitor.meters.refused(With::Peer, error.code());
                tracing::warn!(%peer, code = error.code().name(), "gossip was refused");
                Verdict::Refuse
            }
        };
        self.uncommitted.verdicts.push((reply, verdict));
    }

    fn judge(&mut self, peer: SubjectId, bytes: &[u8]) -> Result<bool, Error> {
        match self.engine.handle_gossip(peer, bytes, now())? {
            Gossiped::News => Ok(true),
            Gossiped::Known => Ok(false),
            Gossiped::Checkpoint(note) => {
                let registry = self.engine.registry();
                self.checkpoints.hear(Some(peer), &note, registry)
            }
            Gossiped::Equivocation(proof) => self.checkpoints.hear_proof(peer, &proof),
        }
    }

    /// Admits an entry of an authority, from a file. If another history gives way to it, it is to be given again.
    pub fn import(&mut self, origin: &str, index: u64, leaf: RegistryLeaf) -> Result<Imported, Error> {
        let told = Frame::RegistryLeaves(RegistryLeaves {
            origin: origin.to_owned(),
            from: index,
            leaves: vec![leaf.clone()],
        });
        let imported = self.engine.import_leaf(origin, index, leaf)?;
        if imported == Imported::News {
            self.uncommitted.frames.push(told);
        }
        Ok(imported)
    }

    /// Has the members told, beside the peers on their control connections, of what is durable here.
    pub(super) fn tell_members(&self, frame: &Frame) {
        self.outside.gossip(Bytes::from(frame.encode()));
    }

    /// Gives what has waited for the commit that has just been made.
    pub(super) fn let_gossip_out(&mut self) {
        let Uncommitted { verdicts, frames } = std::mem::take(&mut self.uncommitted);
        for (reply, verdict) in verdicts {
            // Whoever asked may have stopped.
            let _ = reply.send(verdict);
        }
        frames.iter().for_each(|frame| self.tell_members(frame));
    }
}
