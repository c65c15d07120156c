//! Frontiers that messages name: whether they were held, what lies outside of them. SPEC §8.8.

use std::collections::BTreeSet;

use super::Replica;
use crate::error::Refused;
use crate::id::MessageId;
use crate::journal::{Branch, Content, HeadRow, Past, Record, Standing, Verdict};
use crate::message::{Body, MessageType};

/// Milestones that close over a frontier, the last one first.
const MILESTONES: [MessageType; 3] = [
    MessageType::CloseDossier,
    MessageType::Report,
    MessageType::PreReport,
];

impl Replica {
    /// BAR-1: what a message names as held lies within the causal past of its entry.
    pub(super) fn check_frontier(&self, body: &Body, past: &Past) -> Result<(), Refused> {
        let rows = match body {
            Body::Barrier(barrier) => &barrier.frontier,
            _ => body.closes().unwrap_or_default(),
        };
        let unheld = rows.iter().find(|row| !self.lies_within(row, past));
        unheld.map_or(Ok(()), |row| {
            Err(Refused::FrontierUnheld {
                node: row.chain.node,
                size: row.size,
            })
        })
    }

    /// Whether a row, hashes and all, is a beginning of what this past has of its chain.
    fn lies_within(&self, row: &HeadRow, past: &Past) -> bool {
        let Some((branch, last)) = self.branch_of(row).zip(row.size.checked_sub(1)) else {
            return false;
        };
        let owner = self.chains.owner(&branch, last);
        let had = self.numbers.get(&owner).map_or(0, |number| past.size(*number));
        had >= row.size
    }

    /// The history that a row names the beginning of, if we hold it.
    pub(super) fn branch_of(&self, row: &HeadRow) -> Option<Branch> {
        let Standing::Held(branch) = self.chains.standing(row) else {
            return None;
        };
        let root = self.chains.get(&branch)?.tree().root_at(row.size)?;
        (root == *row.root.as_bytes()).then_some(branch)
    }

    /// Dires and exhibits on file that lie outside the frontier that a milestone closes over.
    pub(super) fn outside(&self, body: &Body) -> BTreeSet<MessageId> {
        let Some(rows) = body.closes() else {
            return BTreeSet::new();
        };
        let outside = |id: &&MessageId| !self.is_inside(id, rows);
        self.placed.keys().filter(outside).copied().collect()
    }

    /// Whether a dire or an exhibit stands, at one of its places, within these rows.
    fn is_inside(&self, message: &MessageId, rows: &[HeadRow]) -> bool {
        let within = |(branch, seq): &(Branch, u64)| {
            let of_chain = rows
                .iter()
                .filter(|row| row.chain == branch.chain && row.size > *seq);
            let mut named = of_chain.filter_map(|row| self.branch_of(row));
            named.any(|named| named == *branch || self.chains.shared(&named, branch) > *seq)
        };
        self.placed
            .get(message)
            .is_some_and(|places| places.iter().any(within))
    }

    /// Takes note of a message with effect: of where it stands, or of what it closes over. BAR-4.
    pub(super) fn note_closing(&mut self, record: &Record, place: (Branch, u64)) {
        if record.verdict != Verdict::Effective {
            return;
        }
        let id = record.message;
        // An erased one stands where it stood, whether its message is still at hand or not. ERA-4.
        let (act, closes) = match (self.erased.get(&id), &record.content) {
            (Some(residual), _) => (residual.act, None),
            (None, Content::Authentic(message, _)) => (message.message_type(), message.body.closes()),
            (None, _) => return,
        };
        if matches!(act, MessageType::Dire | MessageType::ExhibitDeposit) {
            self.placed.entry(id).or_default().push(place);
            self.mark(id);
        }
        if let Some(rows) = closes {
            self.closings.insert(id, rows.to_vec());
        }
        if MILESTONES.contains(&act) {
            for one in self.placed.keys().copied().collect::<Vec<_>>() {
                self.mark(one);
            }
        }
    }

    /// Marks a dire or an exhibit as after the last milestone outside of whose frontier it lies.
    fn mark(&mut self, id: MessageId) {
        let milestones = MILESTONES.iter().filter_map(|act| self.state.done(*act));
        let mut closed = milestones.filter_map(|act| Some((act, self.closings.get(&act)?)));
        let after = closed
            .find(|(_, rows)| !self.is_inside(&id, rows))
            .map(|(act, _)| act);
        match after {
            Some(act) => self.state.after.insert(id, act),
            None => self.state.after.remove(&id),
        };
    }
}
