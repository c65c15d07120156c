//! Barriers at this node: what it can offer one to name, and when it signs. SPEC §6.21, §6.23.

use std::collections::BTreeSet;

use basoche_protocol::dossier::Replica;
use basoche_protocol::id::{Digest, DossierId, SubjectId};
use basoche_protocol::journal::HeadRow;
use basoche_protocol::message::{BarrierHeld, Body};
use serde::{Deserialize, Serialize};

use super::Desk;
use crate::quittance::QuittanceView;

/// What a milestone or a barrier that is drafted now may name: all that this node holds durable.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FrontierView {
    /// The rows of this node's latest head. BAR-1.
    pub rows: Vec<HeadRow>,
    /// The roots of the documents on file within it, ascending.
    pub documents: Vec<Digest>,
    /// The member nodes, ascending.
    pub members: Vec<SubjectId>,
}

impl Desk {
    /// What may be named of a dossier now; `None` if there is no such dossier, or no head of ours.
    pub fn frontier(&self, dossier: &DossierId) -> Option<FrontierView> {
        let replica = self.engine.dossier(dossier)?;
        // A head is signed after all that it covers is durable. JRN-5.
        let head = replica.heads().get(&self.engine.node())?.head();
        let within = |deposit| {
            let place = replica.position(deposit);
            place.is_some_and(|(branch, seq)| head.rows_of(&branch.chain).iter().any(|row| row.size > seq))
        };
        let documents = replica.state().documents().filter(|one| within(&one.deposit));
        let documents: BTreeSet<_> = documents.map(|one| one.reference.root).collect();
        Some(FrontierView {
            rows: head.rows.clone(),
            documents: documents.into_iter().collect(),
            members: replica.state().nodes().into_iter().collect(),
        })
    }

    /// The barriers that this node may sign now and has not signed. BAR-3.
    pub(super) fn barriers_to_sign(&self, replica: &Replica) -> Vec<Body> {
        let (node, state) = (self.engine.node(), replica.state());
        let asked = state
            .barriers()
            .iter()
            .filter(|(id, fact)| fact.members.contains(&node) && state.barrier_held(id, &node).is_none());
        let holds =
            |root: &Digest| state.has_erased(root) || self.blobs.contains(root.as_bytes()).unwrap_or(false);
        let held = asked.filter(|(id, _)| {
            let barrier = replica.barrier(id);
            barrier.is_some_and(|barrier| {
                barrier.documents.iter().all(holds)
                    && !replica.contradicts(barrier)
                    && !replica.lacks_message_of(barrier)
            })
        });
        let bodies = held.map(|(id, _)| {
            Body::BarrierHeld(BarrierHeld {
                ext: None,
                barrier: *id,
            })
        });
        // Who has left states nothing more.
        if state.nodes().contains(&node) {
            bodies.collect()
        } else {
            Vec::new()
        }
    }

    /// The quittances of a dossier, with what this node knows besides of those who have not signed.
    pub(super) fn quittances(&self, replica: &Replica) -> Vec<QuittanceView> {
        let mut views = QuittanceView::all(replica);
        let absent = views.iter_mut().flat_map(|view| &mut view.nodes);
        for one in absent.filter(|one| one.signed_at.is_none()) {
            one.unreachable = self.unreachable(&one.node);
        }
        views
    }
}
