//! Checkpoints of the authorities' logs: what peers and users say of them, what is told on, and this node's own word as a
//! witness. SPEC §9.6, LOG-12 to LOG-14.

use std::collections::VecDeque;

use basoche_protocol::engine::Registry;
use basoche_protocol::error::Error;
use basoche_protocol::id::SubjectId;
use basoche_protocol::time::Instant;
use basoche_protocol::wire::frame::Frame;
use basoche_registry::Replica;
use basoche_registry::log::{
    Checkpoint, CheckpointError, Effect, Gossip, Note, Policy, Seen, Watch, Witness,
};
use serde_bytes::ByteBuf;

use super::Desk;
use crate::effects::now;
use crate::operator::Alarm;
use crate::rows::{Rows, RowsError};
use crate::store::StoreError;
use crate::witness_key::WitnessKey;

/// Frames that wait for the next turn, at most: peers tell each other again when they meet again.
const INBOX: usize = 1024;

/// The checkpoints that this node has heard of.
pub struct Checkpoints {
    gossip: Gossip,
    witness: Option<WitnessKey>,
    inbox: VecDeque<Told>,
}

/// What the next turn looks at.
enum Told {
    /// Somebody says that this is the largest checkpoint of a log: a peer, or a user of this node.
    Note(Option<SubjectId>, ByteBuf),
    /// A peer says that a log has contradicted itself.
    Proof(SubjectId, ByteBuf),
    /// More entries of the logs are held.
    Entries,
    /// A peer is there.
    Joined(SubjectId),
}

/// How a log stands, for people.
pub struct Standing {
    /// Its largest checkpoint, if one is known.
    pub checkpoint: Option<Checkpoint>,
    /// Who has seen it, of the policy's witnesses, and when.
    pub seen: Vec<Seen>,
    /// Whether they are the quorum of the policy.
    pub enough: bool,
    /// The proof that the log has contradicted itself, encoded, if there is one.
    pub proof: Option<Vec<u8>>,
}

impl Checkpoints {
    /// What the store remembers, under these anchors and the entries in `registry`; `witness` is the node's own key.
    ///
    /// # Errors
    /// A row cannot be read back.
    pub fn open(registry: &Replica, rows: &Rows, witness: Option<WitnessKey>) -> Result<Self, RowsError> {
        let cosigners = registry.witnesses();
        let logs = registry.log_keys();
        let mut watch = Watch::new(logs.clone(), cosigners.clone());
        watch.set_logs(logs.clone(), registry.former_log_keys());
        if let Some(witness) = &witness {
            let mut seen = Witness::new();
            let cosigned = rows.cosigned()?.into_iter();
            let in_force = cosigned.filter(|(log, _)| logs.contains(log));
            in_force.for_each(|(_, head)| seen.restore(head));
            watch = watch.with_witness(witness.key.clone(), seen);
            if !cosigners.contains(&witness.key) {
                tracing::warn!(key = %witness.key, "this node's witness key is in no policy that a log goes by: it cosigns nothing until it is");
            }
        }
        // What does not hold under the anchors of today is of no use and does no harm.
        for note in rows.checkpoints()? {
            let _ = watch.hear(&note, |origin| registry.tree(origin));
        }
        for proof in rows.equivocations()? {
            let _ = watch.accuse(proof);
        }
        let inbox = VecDeque::from([Told::Entries]);
        let gossip = Gossip::new(watch);
        Ok(Self {
            gossip,
            witness,
            inbox,
        })
    }

    /// Somebody has said something of a log.
    fn tell(&mut self, told: Told) {
        if self.inbox.len() < INBOX {
            self.inbox.push_back(told);
        }
    }

    /// Looks at a checkpoint. True if it was news.
    ///
    /// # Errors
    /// As [`Gossip::handle_note`].
    pub(super) fn hear(
        &mut self,
        from: Option<SubjectId>,
        note: &[u8],
        registry: &Replica,
    ) -> Result<bool, Error> {
        self.gossip
            .handle_note(from, note, |origin| registry.tree(origin))
    }

    /// Looks at the proof that a log has contradicted itself. True if it was news.
    ///
    /// # Errors
    /// As [`Gossip::handle_proof`].
    pub(super) fn hear_proof(&mut self, from: SubjectId, proof: &[u8]) -> Result<bool, Error> {
        self.gossip.handle_proof(Some(from), proof)
    }

    /// Time passes.
    pub(super) fn beat(&mut self, now: Instant, registry: &Replica) {
        self.gossip.handle_timeout(now, |origin| registry.tree(origin));
    }

    /// A peer has sent a checkpoint.
    pub(super) fn note(&mut self, peer: SubjectId, note: ByteBuf) {
        self.tell(Told::Note(Some(peer), note));
    }

    /// A peer has sent the proof that a log has contradicted itself.
    pub(super) fn proof(&mut self, peer: SubjectId, proof: ByteBuf) {
        self.tell(Told::Proof(peer, proof));
    }

    /// Entries of a log have come.
    pub(super) fn entries(&mut self) {
        if !self.inbox.iter().any(|told| matches!(told, Told::Entries)) {
            self.inbox.push_back(Told::Entries);
        }
    }

    /// A peer has joined.
    pub(super) fn joined(&mut self, peer: SubjectId) {
        self.inbox.push_back(Told::Joined(peer));
    }
}

impl Desk {
    /// A user says that this is the largest checkpoint of a log: the next turn tells the others.
    ///
    /// # Errors
    /// It is no checkpoint that a log of the anchors has signed.
    pub fn tell_checkpoint(&mut self, note: &Note) -> Result<(), CheckpointError> {
        Checkpoint::open(note.clone(), &self.engine.registry().log_keys())?;
        self.checkpoints
            .tell(Told::Note(None, ByteBuf::from(note.encode().into_bytes())));
        Ok(())
    }

    /// Whether it is proved that a log has signed two histories.
    pub fn is_log_forked(&self, origin: &str) -> bool {
        self.checkpoints.gossip.watch().guilt(origin).is_some()
    }

    /// How a log stands.
    pub fn checkpoint(&self, origin: &str) -> Standing {
        let watch = self.checkpoints.gossip.watch();
        let policy = self.engine.registry().policy(origin).map(|(_, policy)| policy);
        let checkpoint = watch.latest(origin).cloned();
        let cosigners: Vec<_> = policy.into_iter().flat_map(Policy::witnesses).collect();
        let seen = checkpoint
            .as_ref()
            .and_then(|one| one.seen_by(cosigners.iter().copied()).ok());
        let seen = seen.unwrap_or_default();
        let enough = |policy: &Policy| policy.is_met(seen.iter().map(|seen| &seen.by));
        Standing {
            enough: checkpoint.is_some() && policy.is_none_or(enough),
            proof: watch.guilt(origin).map(|proof| proof.encode()),
            checkpoint,
            seen,
        }
    }

    /// Looks at what has come in of checkpoints, and does what follows from it. True if there was anything.
    pub(super) fn mind_checkpoints(&mut self) -> Result<bool, StoreError> {
        let mut worked = false;
        loop {
            while let Some(effect) = self.checkpoints.gossip.poll_effect() {
                worked = true;
                self.carry_out(effect)?;
            }
            let Some(told) = self.checkpoints.inbox.pop_front() else {
                return Ok(worked);
            };
            worked = true;
            self.take_in(told);
        }
    }

    fn take_in(&mut self, told: Told) {
        let registry = self.engine.registry();
        let (from, frame, taken) = match told {
            Told::Note(from, note) => {
                let taken = self.checkpoints.hear(from, &note, registry);
                (from, Frame::Checkpoint(note), taken)
            }
            Told::Proof(peer, proof) => {
                let taken = self.checkpoints.hear_proof(peer, &proof);
                (Some(peer), Frame::Equivocation(proof), taken)
            }
            Told::Entries => {
                let gossip = &mut self.checkpoints.gossip;
                let witnesses = registry.witnesses();
                if gossip.watch().cosigners() != witnesses {
                    gossip.set_cosigners(witnesses);
                }
                let logs = registry.log_keys();
                if gossip.watch().logs() != logs {
                    gossip.set_logs(logs, registry.former_log_keys());
                }
                for head in registry.heads() {
                    if let Some(tree) = registry.tree(&head.origin) {
                        gossip.handle_entries(&head.origin, tree);
                    }
                }
                return;
            }
            Told::Joined(peer) => return self.tell_all(peer),
        };
        if let (Err(error), Some(peer)) = (taken, from) {
            self.engine.turn_away(peer, &frame, &error);
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), StoreError> {
        let watch = self.checkpoints.gossip.watch();
        match effect {
            Effect::Spread { origin, but } => {
                if let Some(latest) = watch.latest(&origin) {
                    self.rows.keep_checkpoint(&origin, latest.note())?;
                    let frame = checkpoint_frame(latest);
                    self.broadcast(but, &frame);
                    if but.is_none() {
                        self.tell_members(&frame);
                    }
                }
            }
            Effect::Repeat { origin } => {
                if let Some(latest) = watch.latest(&origin) {
                    self.rows.keep_checkpoint(&origin, latest.note())?;
                    let frame = checkpoint_frame(latest);
                    self.broadcast(None, &frame);
                }
            }
            Effect::Answer { origin, to } => {
                if let Some(latest) = watch.latest(&origin) {
                    let frame = checkpoint_frame(latest);
                    self.engine.send(to, &frame);
                }
            }
            Effect::Doubt { origin } => {
                let about = format_args!("log {origin}");
                Alarm::LogDisputed.raise(&self.monitor.meters, about);
            }
            Effect::Accuse { origin, but } => {
                if let Some(proof) = watch.guilt(&origin) {
                    self.rows.keep_equivocation(&origin, proof)?;
                    let frame = Frame::Equivocation(ByteBuf::from(proof.encode()));
                    let about = format_args!("log {origin}");
                    Alarm::LogForked.raise(&self.monitor.meters, about);
                    self.broadcast(but, &frame);
                    if but.is_none() {
                        self.tell_members(&frame);
                    }
                }
            }
            Effect::Cosign(proposal) => {
                // What it has not judged itself, a witness does not vouch for. SNP-5.
                let judged = self.engine.registry().unjudged(&proposal.head().origin).is_none();
                if let Some(witness) = self.checkpoints.witness.as_ref().filter(|_| judged) {
                    self.rows.keep_cosigned(proposal.log(), proposal.head())?;
                    let at = now();
                    let signature = witness.cosign(proposal.text(), at);
                    self.checkpoints.gossip.handle_cosigned(&proposal, &signature, at);
                }
            }
        }
        Ok(())
    }

    /// Tells a peer all that this node has heard.
    fn tell_all(&mut self, peer: SubjectId) {
        let watch = self.checkpoints.gossip.watch();
        let proofs = watch.guilty().map(|(_, proof)| proof.encode());
        let proofs = proofs.map(|proof| Frame::Equivocation(ByteBuf::from(proof)));
        let frames: Vec<_> = proofs.chain(watch.all().map(checkpoint_frame)).collect();
        for frame in frames {
            self.engine.send(peer, &frame);
        }
    }

    fn broadcast(&mut self, from: Option<SubjectId>, frame: &Frame) {
        let others = self.engine.peers().filter(|peer| Some(*peer) != from);
        for peer in others.collect::<Vec<_>>() {
            self.engine.send(peer, frame);
        }
    }
}

fn checkpoint_frame(checkpoint: &Checkpoint) -> Frame {
    Frame::Checkpoint(ByteBuf::from(checkpoint.note().encode().into_bytes()))
}
