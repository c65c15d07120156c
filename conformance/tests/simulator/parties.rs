//! Litigants whom no registry knows: the expert enrols them, they speak, and their keys are withdrawn.

use std::sync::Arc;

use basoche_protocol::fixture::{Actor, litigant, party_enrolment};
use basoche_protocol::message::{Body, KeyRevocation, Participant, RosterChange};
use basoche_protocol::role::Role;

use super::acts::dire;
use super::plan::NODES;
use super::world::{Said, World};

/// The keys of two litigants; the second one has lost one.
const KEYS: [(&str, &str); 3] = [
    ("tenant", "tenant"),
    ("owner", "owner"),
    ("owner", "owner's second"),
];

impl World {
    /// What comes next in the life of one of the keys, as the nodes know it.
    pub(super) fn litigate(&mut self, dossier: usize, number: u64) {
        let cast = Arc::clone(&self.federation.cast);
        let id = self.dossiers[dossier];
        let (holder, name) = KEYS[number as usize % KEYS.len()];
        let enrolment = party_enrolment(&id, holder, name, cast.bar.subject);
        let party = litigant(&enrolment, name);
        match (number / 3) % 6 {
            0 | 1 => {
                self.put(
                    "enrolled",
                    2,
                    &cast.expert,
                    dossier,
                    Body::PartyEnrolment(enrolment),
                );
                let joining = Participant {
                    subject: party.subject,
                    role: Role::Party,
                    node: party.node,
                    represents: None,
                };
                let body = Body::RosterChange(RosterChange {
                    ext: None,
                    add: vec![joining],
                    remove: vec![],
                });
                self.put("joined", 2, &cast.expert, dossier, body);
            }
            // Anybody may hand it in, whether or not they have heard of the key.
            2..=4 => self.put(
                "by a party",
                number as usize % NODES,
                &party,
                dossier,
                dire(number),
            ),
            _ => {
                let node = self.federation.node(0);
                let held = node.dossier(&id);
                let known = held.and_then(|held| held.state().party_keys().next());
                let Some((enrolment, key)) = known else {
                    return;
                };
                let body = Body::KeyRevocation(KeyRevocation {
                    ext: None,
                    enrolment,
                    invalid_since: number.is_multiple_of(2).then_some(key.at),
                    reason: "Téléphone volé.".into(),
                });
                self.put("withdrawn", 0, &cast.clerk, dossier, body);
            }
        }
    }

    /// Somebody hands in what a node may refuse; if it does not, it is counted and may be sent again.
    fn put(&mut self, kind: &str, node: usize, actor: &Actor, dossier: usize, body: Body) {
        let clock = self.federation.clock(node);
        let envelope = actor.say(Some(self.dossiers[dossier]), body, self.counter as u8, clock);
        if self.federation.submit(node, &envelope).is_ok() {
            *self.histogram.entry(kind.to_owned()).or_default() += 1;
            self.said.push(Said { node, envelope });
        }
    }
}
