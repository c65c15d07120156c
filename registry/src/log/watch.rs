//! What one node has heard of each log, and its own word as a witness: sans IO. SPEC §9.6, LOG-12 to LOG-14.
//!
//! ```text
//! a checkpoint, from a file or a peer ──hear──▶ News: tell the others        Contradicts: tell the others the proof
//!                                                 │
//!             keep proposal.head() for good ◀──propose (a witness)
//!             then sign, then ──cosigned──▶ News
//! ```
//! A checkpoint is held to the entries that the node holds itself, so no proof need come with it.

use std::collections::BTreeMap;

use basoche_protocol::id::Digest;
use basoche_protocol::journal::RegistryHead;
use basoche_protocol::time::Instant;
use basoche_protocol::tree::Tree;

use super::age::HEARTBEAT;
use super::checkpoint::{Checkpoint, CheckpointError, Merged};
use super::equivocation::{Equivocation, Innocent};
use super::note::{Key, Note, NoteError};
use super::witness::{AddCheckpoint, Refusal, Witness};

/// What a checkpoint was worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The latest, or somebody else has seen the latest: the others should hear of it.
    News,
    /// Those who have seen the latest have seen it again: the others hear of it in their turn. LOG-15.
    Again,
    /// Nothing that was not known.
    Known,
    /// A smaller one than the latest, which whoever said it should hear of.
    Older,
    /// Its entries have not come yet: it is kept until they have.
    Early,
    /// Neither have its entries, nor is its key known: it is kept, since they may state that. The others should not hear of it.
    Unproved,
    /// The log has signed what the entries held here are not. With a proof, if the latest checkpoint is as large: else
    /// whoever said it can make one, from our latest.
    Contradicts(Option<Box<Equivocation>>),
}

/// What a witness may cosign, once its head is kept for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    log: Key,
    checkpoint: Checkpoint,
}

impl Proposal {
    /// The log's key, under which the head is kept.
    pub fn log(&self) -> &Key {
        &self.log
    }

    /// What to keep before signing.
    pub fn head(&self) -> &RegistryHead {
        self.checkpoint.head()
    }

    /// What to sign.
    pub fn text(&self) -> &str {
        self.checkpoint.note().text()
    }
}

/// The checkpoints of every log, as one node has heard of them.
#[derive(Clone, Debug)]
pub struct Watch {
    logs: Vec<Key>,
    /// Those that others have followed.
    former: Vec<Key>,
    cosigners: Vec<Key>,
    /// Of each log the largest that the entries held are.
    latest: BTreeMap<String, Checkpoint>,
    /// Of each log the largest whose entries are still to come.
    early: BTreeMap<String, Checkpoint>,
    /// Of each log one of entries that are still to come, among which may be the one that states its key.
    unknown: BTreeMap<String, Note>,
    /// Logs that have contradicted themselves.
    guilty: BTreeMap<String, Equivocation>,
    /// This node's own key as a witness, and what it has cosigned.
    witness: Option<(Key, Witness)>,
}

impl Watch {
    /// Of these logs, whose checkpoints these may cosign.
    pub fn new(logs: Vec<Key>, cosigners: Vec<Key>) -> Self {
        Self {
            logs,
            former: Vec::new(),
            cosigners,
            latest: BTreeMap::new(),
            early: BTreeMap::new(),
            unknown: BTreeMap::new(),
            guilty: BTreeMap::new(),
            witness: None,
        }
    }

    /// From now on these may cosign, and no others: the logs go by another policy. REG-27.
    pub fn set_cosigners(&mut self, cosigners: Vec<Key>) {
        self.cosigners = cosigners;
    }

    /// From now on the logs sign with these keys, which have followed the others. What was known of a log under the key before is
    /// of no more use: whatever that one has signed, the log goes on. REG-30.
    pub fn set_logs(&mut self, logs: Vec<Key>, former: Vec<Key>) {
        self.former = former;
        let before = std::mem::replace(&mut self.logs, logs);
        for key in self.logs.iter().filter(|key| !before.contains(key)) {
            let origin = key.name();
            self.latest.remove(origin);
            self.early.remove(origin);
            self.guilty.remove(origin);
            if let Some((_, witness)) = &mut self.witness {
                witness.begin_anew(origin);
            }
            let waits = self.unknown.remove(origin);
            let opened = waits.and_then(|note| Checkpoint::open(note, &self.logs).ok());
            let pruned = opened.and_then(|one| one.pruned(&self.logs, &self.cosigners).ok());
            self.early.extend(pruned.map(|one| (origin.to_owned(), one)));
        }
    }

    /// The keys of the logs.
    pub fn logs(&self) -> &[Key] {
        &self.logs
    }

    /// Who may cosign.
    pub fn cosigners(&self) -> &[Key] {
        &self.cosigners
    }

    /// The node is a witness itself, with that key; `witness` has what it cosigned before.
    pub fn with_witness(mut self, key: Key, witness: Witness) -> Self {
        self.witness = Some((key, witness));
        self
    }

    /// The node's own key as a witness.
    pub fn witness(&self) -> Option<&Key> {
        self.witness.as_ref().map(|(key, _)| key)
    }

    /// The latest checkpoint of a log.
    pub fn latest(&self, origin: &str) -> Option<&Checkpoint> {
        self.latest.get(origin)
    }

    /// The latest checkpoint of every log, ascending by origin.
    pub fn all(&self) -> impl Iterator<Item = &Checkpoint> {
        self.latest.values()
    }

    /// The proof that a log has contradicted itself, if there is one.
    pub fn guilt(&self, origin: &str) -> Option<&Equivocation> {
        self.guilty.get(origin)
    }

    /// Every such proof, ascending by origin.
    pub fn guilty(&self) -> impl Iterator<Item = (&str, &Equivocation)> {
        self.guilty.iter().map(|(origin, proof)| (origin.as_str(), proof))
    }

    /// Takes in a checkpoint, whoever brought it. `tree` gives the entries held of a log. Lines of nobody in the policy are
    /// left out, and so are those that do not verify.
    ///
    /// # Errors
    /// It is no checkpoint, or none that one of the logs has signed.
    pub fn hear<'a>(
        &mut self,
        note: &Note,
        tree: impl FnOnce(&str) -> Option<&'a Tree>,
    ) -> Result<Heard, CheckpointError> {
        // Of the latest, and of the one that waits for its entries, only what is new in a copy is looked at.
        let head = Checkpoint::head_of(note.text())?;
        let same = |kept: &&mut Checkpoint| kept.note().text() == note.text();
        if let Some(latest) = self.latest.get_mut(&head.origin).filter(same) {
            return Ok(heard_of(latest.merge(note, &self.cosigners)));
        }
        let empty = Tree::new();
        let tree = tree(&head.origin).unwrap_or(&empty);
        let early = self.early.get_mut(&head.origin).filter(same);
        let checkpoint = match early {
            Some(early) => {
                early.merge(note, &self.cosigners);
                early.clone()
            }
            None => match Checkpoint::open(note.clone(), &self.logs) {
                Ok(checkpoint) => checkpoint.pruned(&self.logs, &self.cosigners)?,
                Err(CheckpointError::Note(NoteError::NotSigned { .. }))
                    if self.is_of_another_key(note, &head, tree) =>
                {
                    let small = head.size <= tree.size();
                    return Ok(if small { Heard::Older } else { Heard::Unproved });
                }
                Err(error) => return Err(error),
            },
        };
        if head.size > tree.size() {
            let kept = self.early.get(&head.origin).map_or(0, |kept| kept.head().size);
            if kept < head.size {
                self.early.insert(head.origin, checkpoint);
            }
            return Ok(Heard::Early);
        }
        if tree.root_at(head.size) != Some(*head.root.as_bytes()) {
            let proof = self.contradiction(&checkpoint, tree);
            return Ok(Heard::Contradicts(proof.map(Box::new)));
        }
        let Some(latest) = self.latest.get_mut(&head.origin) else {
            self.latest.insert(head.origin, checkpoint);
            return Ok(Heard::News);
        };
        // Of one size and over the same entries it would be the same text.
        if head.size < latest.head().size {
            return Ok(Heard::Older);
        }
        *latest = checkpoint;
        Ok(Heard::News)
    }

    /// Whether a checkpoint may be one of the log all the same: under a key that another has followed, or under one that the
    /// entries to come may state. Then it is kept, one of each log.
    fn is_of_another_key(&mut self, note: &Note, head: &RegistryHead, tree: &Tree) -> bool {
        if Checkpoint::open(note.clone(), &self.former).is_ok() {
            return head.size <= tree.size();
        }
        let to_come = head.size > tree.size() && self.logs.iter().any(|key| key.name() == head.origin);
        if to_come {
            self.unknown.insert(head.origin.clone(), note.clone());
        }
        to_come
    }

    /// Hears again what had come before its entries, now that more of them are held.
    pub fn hear_again(&mut self, origin: &str, tree: &Tree) -> Option<Heard> {
        let early = self.early.get(origin)?;
        if early.head().size > tree.size() {
            return None;
        }
        let note = self.early.remove(origin)?.note().clone();
        self.hear(&note, |_| Some(tree)).ok()
    }

    /// The proof that `other` and the latest checkpoint, over the entries in `tree`, are of two histories, if the latter is
    /// as large.
    fn contradiction(&self, other: &Checkpoint, tree: &Tree) -> Option<Equivocation> {
        let latest = self.latest.get(&other.head().origin)?;
        let (small, large) = (other.head().size, latest.head().size);
        let begins = Digest::new(tree.root_at(small)?);
        let path = tree.consistency_path(small, large)?;
        let path = path.into_iter().map(Digest::new).collect();
        (small <= large).then(|| Equivocation::new(other, latest, begins, path))
    }

    /// Takes in the proof that a log has contradicted itself: from then on a witness cosigns it no more. `true` if it was
    /// news; then the others should hear of it.
    ///
    /// # Errors
    /// It proves nothing.
    pub fn accuse(&mut self, proof: Equivocation) -> Result<bool, Innocent> {
        if proof.verify(&self.former).is_ok() {
            return Ok(false);
        }
        let (head, _) = proof.verify(&self.logs)?;
        if self.guilty.contains_key(&head.origin) {
            return Ok(false);
        }
        self.guilty.insert(head.origin, proof);
        Ok(true)
    }

    /// What this node, if it is a witness, may cosign now of a log whose entries are in `tree`: the latest checkpoint, where
    /// it extends all that it has cosigned and the log has not contradicted itself. From then on that is the least.
    ///
    /// # Errors
    /// The checkpoint does not extend what was cosigned: the node has lost entries that it had, or the log is two.
    pub fn propose(&mut self, origin: &str, tree: &Tree) -> Result<Option<Proposal>, Refusal> {
        self.propose_unless(origin, tree, |_| true)
    }

    /// The same, also where this node has cosigned the latest checkpoint, but a heartbeat or more before `now`. LOG-15.
    ///
    /// # Errors
    /// As [`Self::propose`].
    pub fn propose_again(
        &mut self,
        origin: &str,
        tree: &Tree,
        now: Instant,
    ) -> Result<Option<Proposal>, Refusal> {
        self.propose_unless(origin, tree, |seen| now < seen + HEARTBEAT)
    }

    fn propose_unless(
        &mut self,
        origin: &str,
        tree: &Tree,
        is_enough: impl FnOnce(Instant) -> bool,
    ) -> Result<Option<Proposal>, Refusal> {
        let (Some((key, witness)), Some(latest)) = (&mut self.witness, self.latest.get(origin)) else {
            return Ok(None);
        };
        let seen = matches!(latest.note().signed_by(key), Ok(Some(seen)) if is_enough(seen));
        if seen || self.guilty.contains_key(origin) || !self.cosigners.contains(key) {
            return Ok(None);
        }
        let (old, new) = (witness.size(origin), latest.head().size);
        let path = match old {
            0 => Some(Vec::new()),
            _ => tree.consistency_path(old, new),
        };
        let request = AddCheckpoint {
            old,
            path: path.ok_or(Refusal::Inconsistent)?,
            checkpoint: latest.note().clone(),
        };
        let checkpoint = witness.handle_add_checkpoint(&request, &self.logs)?;
        let log = self.logs.iter().find(|key| key.name() == origin).cloned();
        Ok(log.map(|log| Proposal { log, checkpoint }))
    }

    /// The witness has signed a proposal at `at`, to the second. Its line joins the latest checkpoint, if that is still the
    /// one.
    pub fn cosigned(&mut self, proposal: &Proposal, signature: &[u8; 64], at: Instant) -> Heard {
        let Some((key, _)) = &self.witness else {
            return Heard::Known;
        };
        let mut note = proposal.checkpoint.note().clone();
        if note.add(key.line(signature, at)).is_err() {
            return Heard::Known;
        }
        let latest = self.latest.get_mut(&proposal.head().origin);
        latest.map_or(Heard::Known, |latest| {
            heard_of(latest.merge(&note, &self.cosigners))
        })
    }
}

fn heard_of(merged: Merged) -> Heard {
    match merged {
        Merged::Nothing => Heard::Known,
        Merged::LaterTimes => Heard::Again,
        Merged::Witnesses => Heard::News,
    }
}
