//! The *quittance de contradictoire*: who signed that they hold what a barrier names, and why the others did not. SPEC §8.8.

use std::collections::BTreeSet;

use super::{Replica, Statement};
use crate::id::{Digest, MessageId, SubjectId};
use crate::journal::{Content, HeadRow, Verdict};
use crate::message::{Barrier, Body, Message};
use crate::time::Instant;

/// What the journal shows of a barrier: derived, and the same wherever the same entries and heads are held. BAR-5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quittance {
    /// The barrier.
    pub barrier: MessageId,
    /// Who proposed it.
    pub author: SubjectId,
    /// When it was recorded.
    pub at: Instant,
    /// Until when answers are expected.
    pub due: Instant,
    /// Entries of its frontier.
    pub entries: u64,
    /// Documents that it names.
    pub documents: u64,
    /// The member nodes that it asks, ascending, each with its answer.
    pub nodes: Vec<(SubjectId, Answer)>,
}

/// What a node answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It signed, as its journal records at this instant.
    Signed(Instant),
    /// It has not signed, and this is what it had said last.
    Absent(Absence),
}

/// How far a node that has not signed is known to be, by what it signed otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    /// The instant of its latest head; `None` if there is none.
    pub head_at: Option<Instant>,
    /// Entries of the barrier's frontier that this head covers.
    pub entries: u64,
    /// Documents of the barrier that it states to hold, or that are erased.
    pub documents: u64,
}

impl Replica {
    /// A message on file that is authentic.
    pub fn message(&self, id: &MessageId) -> Option<&Message> {
        let (branch, seq) = self.position(id)?;
        match &self.chains.record(&branch, seq)?.content {
            Content::Authentic(message, _) => Some(message),
            _ => None,
        }
    }

    /// What a barrier on file says.
    pub fn barrier(&self, id: &MessageId) -> Option<&Barrier> {
        match &self.message(id)?.body {
            Body::Barrier(barrier) if self.state.barriers().contains_key(id) => Some(barrier),
            _ => None,
        }
    }

    /// The quittance of a barrier on file. BAR-5.
    pub fn quittance(&self, id: &MessageId) -> Option<Quittance> {
        let (barrier, fact) = (self.barrier(id)?, self.state.barriers().get(id)?);
        let answer = |node: &SubjectId| match self.state.barrier_held(id, node) {
            Some(at) => Answer::Signed(at),
            None => Answer::Absent(self.absence(barrier, node)),
        };
        Some(Quittance {
            barrier: *id,
            author: fact.author,
            at: fact.at,
            due: fact.due,
            entries: barrier.frontier.iter().map(|row| row.size).sum(),
            documents: barrier.documents.len() as u64,
            nodes: fact.members.iter().map(|node| (*node, answer(node))).collect(),
        })
    }

    fn absence(&self, barrier: &Barrier, node: &SubjectId) -> Absence {
        let head = self.heads.get(node).map(|head| head.head());
        let covered = |row: &HeadRow| {
            let known = head.zip(self.branch_of(row)).map(|(head, branch)| {
                let rows = head.rows_of(&row.chain);
                self.chains.known_by(&branch, rows).min(row.size)
            });
            known.unwrap_or(0)
        };
        let on_file = self.state.documents();
        let held = on_file.filter(|one| self.state.stated(Statement::Held, one, node).is_some());
        let held: BTreeSet<Digest> = held.map(|one| one.reference.root).collect();
        Absence {
            head_at: head.map(|head| head.time),
            entries: barrier.frontier.iter().map(covered).sum(),
            documents: barrier
                .documents
                .iter()
                .filter(|root| held.contains(root) || self.state.has_erased(root))
                .count() as u64,
        }
    }

    /// Whether the message of an entry that a barrier names has not come: then we do not hold it. BAR-3.
    pub fn lacks_message_of(&self, barrier: &Barrier) -> bool {
        let named = |row: &HeadRow| {
            let Some(branch) = self.branch_of(row) else {
                return true;
            };
            (0..row.size).any(|seq| {
                let owner = self.chains.owner(&branch, seq);
                let record = self.chains.record(&owner, seq);
                record.is_none_or(|record| {
                    let absent = matches!(record.content, Content::Absent);
                    absent && record.verdict != Verdict::Effective
                })
            })
        };
        barrier.frontier.iter().any(named)
    }

    /// Whether we hold, beside what a barrier names of a chain, another history of it that the barrier does not name:
    /// then it is not all that there is, and we do not sign. BAR-3.
    pub fn contradicts(&self, barrier: &Barrier) -> bool {
        let parted = |row: &&HeadRow| {
            let Some(named) = self.branch_of(row) else {
                return true;
            };
            let mut others = self.chains.of(&row.chain).filter(|(branch, held)| {
                held.size() >= row.size && held.leaf(row.size - 1) != Some(row.leaf) && **branch != named
            });
            others.any(|(branch, _)| {
                let shared = self.chains.shared(branch, &named);
                let mut rows = barrier.frontier.iter().filter(|one| one.chain == row.chain);
                !rows.any(|one| one.size > shared && self.branch_of(one) == Some(*branch))
            })
        };
        barrier.frontier.iter().find(parted).is_some()
    }
}
