//! What each peer lacks, a queue for each dossier, in turn. SYN-6.

use std::collections::{BTreeMap, VecDeque};

use super::{Engine, Registry, RunIndex};
use crate::id::{DossierId, SubjectId};
use crate::journal::Branch;
use crate::plant::{Bug, planted};

/// A peer lacks these: what the shell reads from the store and sends. SYN-6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// To whom.
    pub peer: SubjectId,
    /// Of which dossier.
    pub dossier: DossierId,
    /// The index of the run.
    pub run: u64,
    /// The first entry that the peer lacks.
    pub from: u64,
}

/// How far a peer holds a dossier, and which of our runs have been looked at: the runs themselves are not listed.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    known: BTreeMap<Branch, u64>,
    next: usize,
    end: usize,
    /// Runs with messages that it wants of entries that it has, each with the first of those. SYN-13.
    wanted: BTreeMap<u64, u64>,
    /// Whether anything of it has been sent.
    begun: bool,
}

/// Repairs, of [`super::REPAIR_EVERY`], after which a peer that says that it lacks what it was sent is believed.
const UNDER_WAY: u32 = 12;

/// How far a peer holds a dossier once it has taken what it was sent of it, and for how many repairs that is believed.
#[derive(Clone, Debug)]
struct Sent {
    known: BTreeMap<Branch, u64>,
    repairs: u32,
}

impl Queue {
    /// What a peer lacks that knows so much, of the first `end` runs, and those that it wants.
    pub(super) fn new(known: BTreeMap<Branch, u64>, end: usize, wanted: BTreeMap<u64, u64>) -> Self {
        Self {
            known,
            next: 0,
            end,
            wanted,
            begun: false,
        }
    }

    /// The next run that it lacks, and the first entry of that.
    fn next(&mut self, runs: &[RunIndex]) -> Option<(u64, u64)> {
        if let Some(wanted) = self.wanted.pop_first() {
            return Some(wanted);
        }
        while self.next < self.end {
            let index = self.next;
            self.next += 1;
            let run = runs.get(index)?;
            let known = self.known.entry(run.branch).or_insert(0);
            if run.to > *known {
                self.begun = true;
                let from = std::mem::replace(known, run.to);
                return Some((index as u64, from));
            }
        }
        None
    }
}

/// The queues of one peer: one for each dossier that it lacks something of, at most, each in its turn.
#[derive(Debug, Default)]
pub(super) struct Backlogs {
    queues: BTreeMap<DossierId, Queue>,
    turns: VecDeque<DossierId>,
    sent: BTreeMap<DossierId, Sent>,
}

impl Backlogs {
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Adds what a frontier asks for. What an earlier one asked for is not sent again while it is being sent or under
    /// way: a frontier may have been written before that came.
    fn add(&mut self, dossier: DossierId, mut asked: Queue) {
        if let Some(queue) = self.queues.get_mut(&dossier) {
            queue.end = queue.end.max(asked.end);
            raise(&mut queue.known, &asked.known);
            for (run, from) in asked.wanted {
                let wanted = queue.wanted.entry(run).or_insert(from);
                *wanted = from.min(*wanted);
            }
            return;
        }
        if let Some(sent) = self.sent.get(&dossier) {
            raise(&mut asked.known, &sent.known);
        }
        self.queues.insert(dossier, asked);
        self.turns.push_back(dossier);
    }

    /// A queue is empty: what it brought is under way.
    fn end(&mut self, dossier: DossierId) {
        if let Some(Queue {
            known, begun: true, ..
        }) = self.queues.remove(&dossier)
        {
            let repairs = UNDER_WAY;
            self.sent.insert(dossier, Sent { known, repairs });
        }
    }

    /// A repair has passed: what has been under way for long may be lost.
    pub(super) fn age(&mut self) {
        self.sent.retain(|_, sent| {
            sent.repairs -= 1;
            sent.repairs > 0
        });
    }

    /// The peer has turned something away: what was under way may be just that.
    pub(super) fn doubt(&mut self) {
        self.sent.clear();
    }

    /// Forgets what is under way of a dossier.
    pub(super) fn drop(&mut self, dossier: &DossierId) {
        self.queues.remove(dossier);
        self.sent.remove(dossier);
        self.turns.retain(|other| other != dossier);
    }
}

/// Raises what is known of each history to what another one knows of it.
fn raise(known: &mut BTreeMap<Branch, u64>, other: &BTreeMap<Branch, u64>) {
    for (branch, size) in other {
        let known = known.entry(*branch).or_insert(0);
        *known = (*size).max(*known);
    }
}

impl<R: Registry> Engine<R> {
    /// A stored run that some peer lacks: read it from the store and send it as a [`crate::wire::frame::Frame::Run`].
    pub fn poll_backlog(&mut self) -> Option<Backlog> {
        let peers: Vec<_> = self.peers.keys().copied().collect();
        peers.iter().find_map(|peer| self.poll_backlog_of(peer))
    }

    /// A stored run that a peer lacks, of one dossier after the other: to be asked for as the peer takes them.
    pub fn poll_backlog_of(&mut self, peer: &SubjectId) -> Option<Backlog> {
        let backlogs = &mut self.peers.get_mut(peer)?.backlogs;
        while let Some(dossier) = backlogs.turns.pop_front() {
            let runs = self.dossiers.get(&dossier).map_or(&[][..], |held| &held.runs);
            let next = backlogs
                .queues
                .get_mut(&dossier)
                .and_then(|queue| queue.next(runs));
            let Some((run, from)) = next else {
                backlogs.end(dossier);
                continue;
            };
            backlogs.turns.push_back(dossier);
            return Some(Backlog {
                peer: *peer,
                dossier,
                run,
                from,
            });
        }
        None
    }

    /// What frontiers ask for that came before the last commit, but for dossiers of which the peer takes no more now.
    /// Those it may have refused meanwhile. SYN-19.
    pub(super) fn release_backlogs(&mut self, asked: Vec<(SubjectId, DossierId, Queue)>) {
        for (peer, dossier, queue) in asked {
            if self.held_back(&peer, &dossier).is_some() && !planted(Bug::NeverHoldsBack) {
                continue;
            }
            if let Some(peer) = self.peers.get_mut(&peer) {
                peer.backlogs.add(dossier, queue);
            }
        }
    }
}
