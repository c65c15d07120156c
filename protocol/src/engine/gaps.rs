//! Entries that others prove and that do not come, and nodes that live twice. SPEC §6.24, §8.6.

use std::collections::VecDeque;

use super::{Event, Held, REPAIR_EVERY};
use crate::id::{Digest, SubjectId};
use crate::journal::{Branch, Chain, ChainId, Head, Standing};
use crate::message::Gap;
use crate::time::{Instant, Span};

/// How long entries that a head names may be missing before it is a gap: so many rounds of [`super::Engine::handle_timeout`],
/// in each of which the frontier that asks for them went out. A clock that jumps makes none. GAP-1.
pub const GAP_AFTER: Span = Span::from_seconds(300);
/// Chains of a dossier of which one member's heads may name what does not come: a liar fills its own share only.
const NAMED_BY_ONE: usize = 8;

/// What is missing of one chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missing {
    named: u64,
    leaf: Digest,
    by: SubjectId,
    /// Entries held when it was last looked at.
    held: u64,
    /// Rounds without another entry of the chain.
    rounds: u64,
}

impl Held {
    /// How many entries of a chain, of whichever history, are held.
    fn held_of(&self, chain: &ChainId) -> u64 {
        let sizes = self.replica.chains().of(chain).map(|(_, held)| held.size());
        sizes.max().unwrap_or(0)
    }

    /// Takes note of what a member's head names and we lack, of chains of members other than ourselves.
    pub(super) fn note_missing(&mut self, head: &Head) {
        let state = self.replica.state();
        if head.node == self.writer.node || !state.nodes().contains(&head.node) {
            return;
        }
        let ever = state.ever_nodes();
        let mut room =
            NAMED_BY_ONE.saturating_sub(self.missing.values().filter(|one| one.by == head.node).count());
        for row in &head.rows {
            let chain = row.chain;
            let ours = chain.node == self.writer.node || !ever.contains(&chain.node);
            if ours || room == 0 || self.missing.contains_key(&chain) {
                continue;
            }
            if self.replica.chains().standing(row) == Standing::Ahead {
                room -= 1;
                let missing = Missing {
                    named: row.size,
                    leaf: row.leaf,
                    by: head.node,
                    held: self.held_of(&chain),
                    rounds: 0,
                };
                self.missing.insert(chain, missing);
            }
        }
    }

    /// Whether a head names entries of others that have not come, so that the rounds are to be counted. GAP-1.
    pub(super) fn lacks_what_is_named(&self) -> bool {
        let ever = self.replica.state().ever_nodes();
        let others = |node: &SubjectId| *node != self.writer.node && ever.contains(node);
        let ahead = |head: &Head| {
            let mut rows = head.rows.iter().filter(|row| others(&row.chain.node));
            rows.any(|row| self.replica.chains().standing(row) == Standing::Ahead)
        };
        let mut heads = self.replica.heads().values();
        !self.missing.is_empty() || heads.any(|head| ahead(head.head()))
    }

    /// One more round without what is missing: what has been missing for [`GAP_AFTER`] is a gap.
    pub(super) fn look_for_gaps(&mut self, events: &mut VecDeque<Event>) {
        let heads: Vec<_> = self
            .replica
            .heads()
            .values()
            .map(|head| head.head().clone())
            .collect();
        let mut missing = std::mem::take(&mut self.missing);
        missing.retain(|chain, one| {
            let held = self.held_of(chain);
            one.rounds = if held > one.held { 0 } else { one.rounds + 1 };
            one.held = held;
            held < one.named
        });
        self.missing = missing;
        for head in &heads {
            self.note_missing(head);
        }
        let due = GAP_AFTER.ms() / REPAIR_EVERY.ms();
        let (dossier, node) = (self.replica.dossier(), self.writer.node);
        for (chain, one) in self.missing.iter().filter(|(_, one)| one.rounds == due) {
            let open = |named: u64| named > one.held;
            let signed = self.replica.state().gaps_of(&node, chain).any(open);
            let gap = Gap {
                ext: None,
                chain: *chain,
                held: one.held,
                named: one.named,
                leaf: one.leaf,
                named_by: one.by,
            };
            events.push_back(Event::Gap { dossier, gap, signed });
        }
    }

    /// Raises the alarm, once, if a node signed under an earlier incarnation after a later one of it had begun. JRN-15.
    pub(super) fn check_lives(&mut self, head: &Head, events: &mut VecDeque<Event>) {
        let (node, chains) = (head.node, self.replica.chains());
        if self.twice.contains(&node) {
            return;
        }
        let began = |held: &Chain| held.record(0).map(|first| first.recorded_at);
        let lives = chains
            .iter()
            .filter(|(branch, _)| branch.chain.node == node && branch.number == 0);
        let lives: Vec<_> = lives
            .filter_map(|(branch, held)| Some((*branch, began(held)?, held)))
            .collect();
        let signed = |branch: &Branch, held: &Chain| -> Option<Instant> {
            let latest = self.replica.heads().get(&node).map(|head| head.head());
            let latest = latest.filter(|latest| latest.chain() == branch.chain);
            let this = Some(head).filter(|head| head.chain() == branch.chain);
            let covering = held.head().map(|head| head.head());
            [latest, this, covering]
                .into_iter()
                .flatten()
                .map(|head| head.time)
                .max()
        };
        let outlived = lives.iter().find(|(branch, start, held)| {
            let mut later = lives.iter().filter(|(_, other, _)| other > start);
            later.any(|(_, other, _)| signed(branch, held).is_some_and(|time| time > *other))
        });
        if let Some((branch, ..)) = outlived {
            let (dossier, chain) = (self.replica.dossier(), branch.chain);
            events.push_back(Event::LivesTwice { dossier, chain });
            self.twice.insert(node);
        }
    }
}
