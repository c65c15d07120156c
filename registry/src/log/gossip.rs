//! What a node does about what it hears of logs: whom it tells, what it keeps, what it signs. Sans IO. SPEC §9.6, LOG-12 to
//! LOG-14.
//!
//! ```text
//! handle_note, handle_proof, handle_entries ──▶ poll_effect ──▶ keep, tell, sign ──handle_cosigned──▶ poll_effect …
//! ```

use std::collections::{BTreeSet, VecDeque};

use basoche_protocol::error::{Error, Malformed, Untrusted};
use basoche_protocol::id::SubjectId;
use basoche_protocol::time::Instant;
use basoche_protocol::tree::Tree;

use super::age::HEARTBEAT;
use super::checkpoint::Checkpoint;
use super::equivocation::Equivocation;
use super::note::Key;
use super::note::Note;
use super::watch::{Heard, Proposal, Watch};

/// Something to be done, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Keep the latest checkpoint of a log, and tell it to every peer but one.
    Spread {
        /// Which log.
        origin: String,
        /// Who has said it.
        but: Option<SubjectId>,
    },
    /// Keep the latest checkpoint of a log, and tell it to every peer: those who have seen it have seen it again. LOG-15.
    Repeat {
        /// Which log.
        origin: String,
    },
    /// Tell one peer the latest checkpoint of a log.
    Answer {
        /// Which log.
        origin: String,
        /// Whom.
        to: SubjectId,
    },
    /// Raise the alarm: the log has signed what the entries held here are not, or these lack what this node cosigned. It is
    /// not proved yet. Once for each log and process.
    Doubt {
        /// Which log.
        origin: String,
    },
    /// Raise the alarm, keep the proof that a log has contradicted itself, and tell it to every peer but one.
    Accuse {
        /// Which log.
        origin: String,
        /// Who has said it.
        but: Option<SubjectId>,
    },
    /// Keep [`Proposal::head`] for good, then sign [`Proposal::text`] with the witness's key, then give the signature to
    /// [`Gossip::handle_cosigned`]: never in another order. LOG-10.
    Cosign(Box<Proposal>),
}

/// A node's part in what nodes tell each other of logs.
#[derive(Clone, Debug)]
pub struct Gossip {
    watch: Watch,
    effects: VecDeque<Effect>,
    doubted: BTreeSet<String>,
    /// Logs whose latest checkpoint was seen again since this node said it last.
    again: BTreeSet<String>,
    /// When this node repeats what it knows.
    beat: Instant,
}

impl Gossip {
    /// From what is known.
    pub fn new(watch: Watch) -> Self {
        Self {
            watch,
            effects: VecDeque::new(),
            doubted: BTreeSet::new(),
            again: BTreeSet::new(),
            beat: Instant::from_seconds(0),
        }
    }

    /// What is known.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// From now on these may cosign, and no others. REG-27.
    pub fn set_cosigners(&mut self, cosigners: Vec<Key>) {
        self.watch.set_cosigners(cosigners);
    }

    /// From now on the logs sign with these keys, which have followed the others. REG-30.
    pub fn set_logs(&mut self, logs: Vec<Key>, former: Vec<Key>) {
        let before = self.watch.logs();
        let went_on = logs.iter().filter(|key| !before.contains(key));
        went_on.for_each(|key| {
            self.doubted.remove(key.name());
        });
        self.watch.set_logs(logs, former);
    }

    /// The next thing to be done.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Somebody, a peer or a user of this node, says that this is the largest checkpoint of a log. `tree` gives the entries
    /// held of one. True if it was news to this node.
    ///
    /// # Errors
    /// `bad-value`: it is no checkpoint. `head-mismatch`: no log of the anchors has signed it.
    pub fn handle_note<'a>(
        &mut self,
        from: Option<SubjectId>,
        note: &[u8],
        tree: impl Fn(&str) -> Option<&'a Tree>,
    ) -> Result<bool, Error> {
        let note = Note::parse(note).map_err(|_| Malformed::bad_value())?;
        let head = Checkpoint::head_of(note.text()).map_err(|_| Malformed::bad_value())?;
        let heard = self
            .watch
            .hear(&note, &tree)
            .map_err(|_| Untrusted::HeadMismatch {
                what: "no log of the anchors has signed this checkpoint",
            })?;
        let news = matches!(heard, Heard::News | Heard::Early);
        self.act(from, &head.origin, heard, tree(&head.origin));
        Ok(news)
    }

    /// Time passes. At each heartbeat a witness says again what it has seen last, and every node what it has heard. LOG-15.
    pub fn handle_timeout<'a>(&mut self, now: Instant, tree: impl Fn(&str) -> Option<&'a Tree>) {
        // A clock that was set back does not silence it.
        if now < self.beat && self.beat <= now + HEARTBEAT {
            return;
        }
        self.beat = now + HEARTBEAT;
        let origins: Vec<_> = self.watch.all().map(|one| one.head().origin.clone()).collect();
        for origin in origins {
            let Some(tree) = tree(&origin) else { continue };
            match self.watch.propose_again(&origin, tree, now) {
                // Once it is signed, everybody is told.
                Ok(Some(proposal)) => self.effects.push_back(Effect::Cosign(Box::new(proposal))),
                Ok(None) if self.again.remove(&origin) => {
                    self.effects.push_back(Effect::Repeat { origin });
                }
                Ok(None) => {}
                Err(_) => self.doubt(&origin),
            }
        }
    }

    /// More entries of a log are held: what had come before them is looked at.
    pub fn handle_entries(&mut self, origin: &str, tree: &Tree) {
        let heard = self.watch.hear_again(origin, tree);
        self.act(None, origin, heard.unwrap_or(Heard::Known), Some(tree));
    }

    /// Somebody says that a log has contradicted itself. True if that was news to this node.
    ///
    /// # Errors
    /// `bad-value` and the like: it is no proof. `head-mismatch`: it proves nothing.
    pub fn handle_proof(&mut self, from: Option<SubjectId>, proof: &[u8]) -> Result<bool, Error> {
        let proof = Equivocation::decode(proof)?;
        let origin = proof.origin().to_owned();
        let news = self.watch.accuse(proof).map_err(|_| Untrusted::HeadMismatch {
            what: "it does not prove that a log of the anchors contradicted itself",
        })?;
        if news {
            self.effects.push_back(Effect::Accuse { origin, but: from });
        }
        Ok(news)
    }

    /// What was proposed is kept for good, and signed at `at`.
    pub fn handle_cosigned(&mut self, proposal: &Proposal, signature: &[u8; 64], at: Instant) {
        let heard = self.watch.cosigned(proposal, signature, at);
        let origin = proposal.head().origin.clone();
        if matches!(heard, Heard::News | Heard::Again) {
            self.again.remove(&origin);
            self.effects.push_back(Effect::Spread { origin, but: None });
        }
    }

    fn act(&mut self, from: Option<SubjectId>, origin: &str, heard: Heard, tree: Option<&Tree>) {
        let owned = || origin.to_owned();
        let tell_ours = from.filter(|_| self.watch.latest(origin).is_some());
        let answer = tell_ours.map(|to| Effect::Answer { origin: owned(), to });
        match heard {
            Heard::Known | Heard::Early | Heard::Unproved => {}
            Heard::Again => {
                self.again.insert(owned());
            }
            Heard::News => self.effects.push_back(Effect::Spread {
                origin: owned(),
                but: from,
            }),
            Heard::Older => self.effects.extend(answer),
            Heard::Contradicts(Some(proof)) => {
                // It holds: it was made from two checkpoints that the log has signed.
                if let Ok(true) = self.watch.accuse(*proof) {
                    let origin = owned();
                    self.effects.push_back(Effect::Accuse { origin, but: None });
                }
            }
            // Who holds the larger history can make the proof from ours.
            Heard::Contradicts(None) => {
                self.doubt(origin);
                self.effects.extend(answer);
            }
        }
        match tree.map(|tree| self.watch.propose(origin, tree)) {
            Some(Ok(Some(proposal))) => self.effects.push_back(Effect::Cosign(Box::new(proposal))),
            Some(Err(_)) => self.doubt(origin),
            Some(Ok(None)) | None => {}
        }
    }

    fn doubt(&mut self, origin: &str) {
        let origin = origin.to_owned();
        if self.watch.guilt(&origin).is_none() && self.doubted.insert(origin.clone()) {
            self.effects.push_back(Effect::Doubt { origin });
        }
    }
}
