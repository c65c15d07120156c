//! What dishonest nodes do.

use std::sync::Arc;

use basoche_protocol::envelope::Envelope;
use basoche_protocol::fixture::Actor;
use basoche_protocol::id::{Digest, DossierId};
use basoche_protocol::journal::HeadRow;
use basoche_protocol::wire::frame::{DossierDigest, Frame, Frontier, Inventory};

use super::acts::{dire, exhibit, order, paid};
use super::forger::Forger;
use super::plan::{Malice, NODES};
use super::world::{CLAIMED, REVOKED, World};

/// Further histories of its chain that a dishonest node goes on with.
const HISTORIES: usize = 3;

impl World {
    /// A dishonest node does its worst.
    pub(super) fn act_up(&mut self, node: usize, malice: Malice) {
        let number = usize::from(node == 1 && self.rng.below(2) == 0);
        let dossier = self.dossiers[number];
        let cast = Arc::clone(&self.federation.cast);
        let actor = cast.nodes()[node];
        let fresh = self.rng.bytes();
        let mut histories = self.forgers.remove(&(node, number)).unwrap_or_default();
        if histories.is_empty() {
            histories.push(Forger::new(actor, dossier, fresh));
        }
        let mut forger = histories.remove(self.rng.below(histories.len() as u64) as usize);
        let now = self.federation.clock(node);
        self.counter += 1;
        let count = self.counter;
        // Its own user, whose lawful messages it records by hand too.
        let user = match node {
            1 => &cast.claimant_lawyer,
            further => &cast.further[further - 3].1,
        };
        let say = |actor: &Actor, body, at| actor.sign(&actor.message(Some(dossier), body, count as u8), at);
        match malice {
            Malice::Poison => {
                let envelope = say(user, dire(count), now);
                self.unlawful.insert(envelope.id());
                self.record(
                    &mut forger,
                    node,
                    &[(envelope, true), (say(user, exhibit(count), now), false)],
                );
            }
            Malice::Invent => {
                let envelope = match self.rng.below(4) {
                    0 => say(user, order(count), now),
                    1 => user.sign(&user.message(None, order(count), count as u8), now),
                    2 if now >= REVOKED => say(&cast.further[0].1, dire(count), CLAIMED),
                    _ => {
                        let elsewhere = DossierId::new([9; 32]);
                        user.sign(&user.message(Some(elsewhere), dire(count), count as u8), now)
                    }
                };
                self.unlawful.insert(envelope.id());
                self.record(&mut forger, node, &[(envelope, false)]);
            }
            Malice::LieInHead => {
                let rows = self.lies(node, dossier);
                let head = forger.head(rows, now);
                for to in (0..NODES).filter(|to| *to != node) {
                    self.federation
                        .inject(node, to, Frame::Head(head.clone().into()).encode());
                }
            }
            Malice::LieInFrontier => {
                let frontier = Frontier {
                    dossier,
                    rows: self.lies(node, dossier),
                    wraps: vec![],
                    head: None,
                    lacking: vec![],
                    yours: None,
                };
                // And that everything is known, and something else held.
                let digest = Digest::of(&[&count.to_be_bytes()]);
                let lie = |acknowledged| Inventory {
                    from: count,
                    to: count + 1,
                    acknowledged,
                    digests: vec![DossierDigest { dossier, digest }],
                };
                for to in (0..NODES).filter(|to| *to != node) {
                    let frame = Frame::Frontier(frontier.clone());
                    self.federation.inject(node, to, frame.encode());
                    for acknowledged in [count, u64::MAX] {
                        let frame = Frame::Inventory(lie(acknowledged));
                        self.federation.inject(node, to, frame.encode());
                    }
                }
            }
            Malice::Flood => {
                let begun = forger.runs.len();
                let many: Vec<_> = (0..100)
                    .map(|index| {
                        let body = dire(count * 1000 + index);
                        (
                            user.sign(&user.message(Some(dossier), body, index as u8), now),
                            false,
                        )
                    })
                    .collect();
                for (envelope, spoilt) in &many {
                    if let Some(replica) = self.federation.node(node).dossier(&dossier) {
                        forger.record(replica, envelope, *spoilt, now);
                    }
                }
                let to = (node + 1 + self.rng.below(NODES as u64 - 1) as usize) % NODES;
                let late = forger.runs.get(begun + 1..).unwrap_or_default().to_vec();
                forger.send(&mut self.federation, node, to, late.iter());
            }
            Malice::Babble => {
                for to in (0..NODES).filter(|to| *to != node) {
                    let noise: [u8; 64] = self.rng.bytes();
                    self.federation.inject(node, to, noise.to_vec());
                    let frontier = Frontier {
                        dossier: DossierId::new(self.rng.bytes()),
                        rows: vec![],
                        wraps: vec![],
                        head: None,
                        lacking: vec![],
                        yours: None,
                    };
                    self.federation
                        .inject(node, to, Frame::Frontier(frontier).encode());
                }
            }
            Malice::Equivocate => {
                let size = self.rng.below(forger.entries.len() as u64 + 1) as usize;
                let mut other = forger.part(size);
                // Something brought, and an act that has its place in the order.
                let clerk = |index| say(&cast.clerk, paid(count * 10 + index), now);
                let messages = [(say(user, dire(count), now), false), (clerk(1), false)];
                self.record(&mut forger, node, &messages);
                self.record(&mut other, node, &[(clerk(2), false)]);
                if histories.len() < HISTORIES {
                    histories.push(other);
                }
            }
            Malice::Withhold(mask) => {
                let victims = (0..NODES).filter(|to| mask & (1 << to) != 0);
                self.federation.withheld.extend(victims.map(|to| (node, to)));
            }
            Malice::Deaf => (0..NODES).for_each(|from| self.federation.hold(from, node, true)),
        }
        histories.push(forger);
        self.forgers.insert((node, number), histories);
    }

    /// Records messages by hand, and sends them to a few.
    fn record(&mut self, forger: &mut Forger, node: usize, messages: &[(Envelope, bool)]) {
        let now = self.federation.clock(node);
        let begun = forger.runs.len();
        for (envelope, spoilt) in messages {
            if let Some(replica) = self.federation.node(node).dossier(&forger.dossier) {
                forger.record(replica, envelope, *spoilt, now);
            }
        }
        let runs = forger.runs.get(begun..).unwrap_or_default().to_vec();
        let mask = self.rng.next_u64();
        for to in (0..NODES).filter(|to| *to != node && mask & (1 << to) != 0) {
            forger.send(&mut self.federation, node, to, runs.iter());
        }
    }

    /// Rows that name more of honest chains than there is, and other leaves than they have.
    fn lies(&mut self, node: usize, dossier: DossierId) -> Vec<HeadRow> {
        let rows = self
            .federation
            .node(node)
            .dossier(&dossier)
            .map(|held| held.frontier());
        let mut rows = rows.unwrap_or_default();
        for row in &mut rows {
            match self.rng.below(3) {
                0 => {
                    row.size += self.rng.below(1 << 40);
                    (row.leaf, row.root) = (Digest::new(self.rng.bytes()), Digest::new(self.rng.bytes()));
                }
                1 => row.leaf = Digest::new(self.rng.bytes()),
                _ => {}
            }
        }
        rows
    }
}
