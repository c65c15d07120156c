//! Nodes that ask each other for proofs, and what dishonest ones answer. SPEC §10.3.

use basoche_protocol::engine::{Event, Unproven};
use basoche_protocol::id::Digest;
use basoche_protocol::journal::SignedHead;
use basoche_protocol::refusal::Code;
use basoche_protocol::time::Span;
use basoche_protocol::tree::{verify_consistency, verify_inclusion};
use basoche_protocol::wire::frame::{Frame, Proof, ProofRequest};
use serde_bytes::ByteBuf;

use super::plan::NODES;
use super::world::World;

/// What can be wrong with a proof.
const LIES: u64 = 5;

impl World {
    /// What a node may ask of a chain that it holds: which one and how much of it goes by how often somebody has asked.
    fn question(&mut self, from: usize, number: usize) -> Option<ProofRequest> {
        self.asked += 1;
        let (asked, dossier) = (self.asked, self.dossiers[number]);
        let replica = self.federation.node(from).dossier(&dossier)?;
        let chains: Vec<_> = replica.chains().iter().collect();
        let (branch, chain) = chains.get(asked as usize % chains.len().max(1))?;
        let size = 1 + asked * 7 % chain.size().max(1);
        Some(ProofRequest {
            dossier,
            row: chain.row_at(branch.chain, size)?,
            position: (asked % 4 > 0).then_some(asked % size),
        })
    }

    /// A node asks another one for a proof; a dishonest one may answer before it is asked.
    pub(super) fn ask(&mut self, from: usize, to: usize) {
        let number = usize::from(self.asked % 3 == 2);
        let Some(request) = self.question(from, number).filter(|_| from != to) else {
            return;
        };
        // Refused where not both are members.
        if self.federation.ask_proof(from, to, request).is_err() || self.is_honest(to) {
            return;
        }
        if let Some(lie) = self.lie(from, to, number, &request) {
            self.federation.inject(to, from, Frame::Proof(lie).encode());
        }
    }

    fn lie(&self, from: usize, to: usize, number: usize, request: &ProofRequest) -> Option<Proof> {
        let (asker, liar) = (self.federation.node(from), self.federation.node(to));
        let held = asker.dossier(&request.dossier)?;
        let chains = held.chains().of(&request.row.chain);
        let mut leaves = chains.filter_map(|(_, chain)| chain.leaf(request.position?));
        let kind = self.asked % LIES;
        let signer = if kind == 1 { asker.node() } else { liar.node() };
        let dossier = self.dossiers[if kind == 2 { 1 - number } else { number }];
        let head = liar.dossier(&dossier)?.heads().get(&signer)?.encode();
        let wrong = Digest::new([kind as u8; 32]);
        let leaf = if kind == 4 { Some(wrong) } else { leaves.next() };
        Some(Proof {
            about: Digest::of(&[&Frame::ProofRequest(*request).encode()]),
            head: ByteBuf::from(head),
            path: vec![wrong; if kind == 3 { 65 } else { 1 }],
            leaf: leaf.filter(|_| request.position.is_some()),
        })
    }

    /// Once all agree, each honest member proves to each other one what both hold.
    pub(super) fn ask_everybody(&mut self) {
        // What was lost under way is not asked again on the same connection.
        for a in 0..NODES {
            (a + 1..NODES).for_each(|b| self.federation.cut(a, b));
        }
        self.federation.connect_all();
        self.pass(Span::from_seconds(5));
        let (mut wanted, before) = (Vec::new(), self.federation.events.len());
        for number in 0..self.dossiers.len() {
            let members = self.honest_members(number);
            let pairs = members.iter().flat_map(|a| members.iter().map(move |b| (*a, *b)));
            for (from, to) in pairs.filter(|(a, b)| a != b) {
                if let Some(request) = self.question(from, number)
                    && self.federation.ask_proof(from, to, request).is_ok()
                {
                    wanted.push((from, self.federation.node(to).node(), request));
                }
            }
        }
        self.pass(Span::from_seconds(5));
        let shown: Vec<_> = self.federation.events[before..]
            .iter()
            .filter_map(|(node, event)| match event {
                Event::Proven { peer, request, .. } => Some((*node, *peer, **request)),
                _ => None,
            })
            .collect();
        if let Some((node, peer, request)) = wanted.iter().find(|one| !shown.contains(one)) {
            self.broken
                .get_or_insert_with(|| format!("proofs: {peer} did not prove {request:?} to node {node}"));
        }
    }
}

/// What was taken for a proof is one, to somebody who has nothing but the registry; no honest node is blamed, and who is
/// blamed was told so.
pub(super) fn hold(world: &World) -> Result<(), String> {
    let honest =
        |peer| (0..NODES).any(|node| world.is_honest(node) && world.federation.node(node).node() == peer);
    for (node, event) in &world.federation.events {
        match event {
            Event::Proven {
                peer,
                request,
                head,
                row,
                path,
            } => {
                let fails =
                    |what: &str| Err(format!("proofs: node {node} took {what} of {peer} for a proof"));
                let Ok(head) = SignedHead::verify(&head.encode(), &world.federation.registry) else {
                    return fails("an unsigned head");
                };
                let (head, asked) = (head.head(), &request.row);
                let of_peer = head.node == *peer && head.dossier == request.dossier;
                if !of_peer || !head.rows_of(&asked.chain).contains(row) {
                    return fails("another head");
                }
                let path: Vec<_> = path.iter().map(|hash| *hash.as_bytes()).collect();
                let root = row.root.as_bytes();
                let held = world.federation.node(*node).dossier(&request.dossier);
                let chains = held.into_iter().flat_map(|held| held.chains().of(&asked.chain));
                let mut same =
                    chains.filter(|(_, chain)| chain.row_at(asked.chain, asked.size).as_ref() == Some(asked));
                let proved = match request.position {
                    None => verify_consistency(asked.size, row.size, asked.root.as_bytes(), root, &path),
                    // It may have lost since what it asked about.
                    Some(position) => same
                        .next()
                        .and_then(|(_, chain)| chain.leaf(position))
                        .map_or(Ok(()), |leaf| {
                            verify_inclusion(leaf.as_bytes(), position, row.size, &path, root)
                        }),
                };
                if proved.is_err() {
                    return fails("a wrong path");
                }
            }
            Event::Unproven {
                peer,
                why: Unproven::Wrong(code),
                ..
            } => {
                // Two clocks may be further apart than a head may be dated ahead.
                if honest(*peer) && *code != Code::ClaimedAhead {
                    return Err(format!("proofs: node {node} blames {peer}: {code}"));
                }
                let told = |(other, event): &(usize, Event)| {
                    let (peer, code) = (*peer, *code);
                    other == node && *event == Event::Refused { peer, code }
                };
                if !world.federation.events.iter().any(told) {
                    return Err(format!("proofs: node {node} did not refuse the lie of {peer}"));
                }
            }
            Event::Unproven {
                peer,
                why: Unproven::Forked(_),
                ..
            } if honest(*peer) => return Err(format!("proofs: node {node} accuses {peer}")),
            _ => {}
        }
    }
    Ok(())
}
