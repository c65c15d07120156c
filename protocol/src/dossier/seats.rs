//! Who takes part, which node serves whom, and which nodes hold the seats. SPEC §7.4.

use std::collections::{BTreeMap, BTreeSet};

use super::state::Follows;
use super::{Member, State};
use crate::error::Refused;
use crate::id::{MessageId, SubjectId};
use crate::message::HandOver;
use crate::role::Role;
use crate::wire::limits;

impl State {
    /// Everybody in the roster, whom the order names included, each with the node that serves them now.
    pub fn roster(&self) -> BTreeMap<SubjectId, Member> {
        let mut roster = BTreeMap::new();
        let member = |role, node| Member {
            role,
            node,
            represents: None,
        };
        if let Some((order, court, expert)) = self
            .designation()
            .zip(self.court_seat())
            .zip(self.expert_seat())
            .map(|((order, court), expert)| (order, court, expert))
        {
            roster.insert(order.judge, member(Role::Judge, court));
            roster.insert(order.clerk, member(Role::Clerk, court));
            roster.insert(order.expert, member(Role::Expert, expert));
        }
        let added = self
            .added
            .iter()
            .filter(|(subject, _)| !self.removed.contains(subject));
        roster.extend(added.map(|(subject, added)| {
            let (node, _) = self.follow(&[*subject], added.node);
            let member = Member {
                node,
                ..added.clone()
            };
            (*subject, member)
        }));
        roster
    }

    /// The node that holds the court's seat: it serves the judge and the clerk. SEAT-1.
    pub fn court_seat(&self) -> Option<SubjectId> {
        let order = self.designation()?;
        Some(self.follow(&[order.judge, order.clerk], order.court_node).0)
    }

    /// The node that holds the expert's seat, and so keeps the roster and opens key epochs. SEAT-1.
    pub fn expert_seat(&self) -> Option<SubjectId> {
        let order = self.designation()?;
        Some(self.follow(&[order.expert], order.expert_node).0)
    }

    /// The last hand-over of somebody that counts. SEAT-3.
    pub fn last_hand_over(&self, person: &SubjectId) -> Option<MessageId> {
        self.follow(&self.movers(person), SubjectId::new([0; 16])).1
    }

    /// Those who move with a person: the judge and the clerk share the court's seat.
    pub fn movers(&self, person: &SubjectId) -> Vec<SubjectId> {
        match self.designation() {
            Some(order) if [order.judge, order.clerk].contains(person) => vec![order.judge, order.clerk],
            _ => vec![*person],
        }
    }

    /// Where the hand-overs of these persons lead from `node`: each names the one that it follows; of two that follow the
    /// same one the earliest recorded counts, the lower id breaks a tie. SEAT-3.
    fn follow(&self, persons: &[SubjectId], mut node: SubjectId) -> (SubjectId, Option<MessageId>) {
        let mut last = None;
        // It ends: a message cannot follow one whose id depends on its own.
        loop {
            let next = persons
                .iter()
                .filter_map(|person| self.handed_over.get(&(*person, Follows(last))));
            match next.min() {
                Some((done, to)) => (node, last) = (*to, Some(done.id)),
                None => return (node, last),
            }
        }
    }

    /// The nodes that hold a seat or held one. KEY-2.
    pub(super) fn ever_seats(&self) -> BTreeSet<SubjectId> {
        let Some(order) = self.designation() else {
            return BTreeSet::new();
        };
        let seated = [order.judge, order.clerk, order.expert];
        let moved = self.handed_over.iter();
        let moved = moved.filter(|((person, _), _)| seated.contains(person));
        let mut nodes: BTreeSet<_> = moved.map(|(_, (_, to))| *to).collect();
        nodes.extend([order.court_node, order.expert_node]);
        nodes
    }

    /// The nodes that replicate the dossier: those that serve somebody of the roster.
    pub fn nodes(&self) -> BTreeSet<SubjectId> {
        self.roster().into_values().map(|member| member.node).collect()
    }

    /// The nodes that replicate the dossier or did: also those whose last person has left.
    pub fn ever_nodes(&self) -> BTreeSet<SubjectId> {
        let mut nodes = self.nodes();
        nodes.extend(self.added.values().map(|member| member.node));
        nodes.extend(self.handed_over.values().map(|(_, to)| *to));
        let founders = self.designation();
        nodes.extend(
            founders
                .into_iter()
                .flat_map(|order| [order.court_node, order.expert_node]),
        );
        nodes
    }

    /// The nodes once these persons are served by `to`.
    pub fn nodes_with(&self, movers: &[SubjectId], to: SubjectId) -> BTreeSet<SubjectId> {
        let place = |(subject, member): (SubjectId, Member)| match movers.contains(&subject) {
            true => to,
            false => member.node,
        };
        self.roster().into_iter().map(place).collect()
    }

    /// SEAT-2: who may hand whom over, from where that person is, after the hand-over that brought them there.
    pub(super) fn check_hand_over(
        &self,
        author: SubjectId,
        role: Role,
        act: &HandOver,
    ) -> Result<(), Refused> {
        let conflict = Refused::RosterConflict { subject: act.person };
        let Some(member) = self.roster().remove(&act.person) else {
            return Err(conflict);
        };
        let courts = matches!(member.role, Role::Judge | Role::Clerk);
        if courts != matches!(role, Role::Judge | Role::Clerk) {
            return Err(Refused::NotCompetent { author });
        }
        let stands = member.node == act.from && self.last_hand_over(&act.person) == act.previous;
        let nodes = self.nodes_with(&self.movers(&act.person), act.to);
        match stands && nodes.len() <= limits::DOSSIER_NODES {
            true => Ok(()),
            false => Err(conflict),
        }
    }
}
