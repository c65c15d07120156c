//! Proofs on demand: a member shows that its own head covers what another one holds of a chain. SPEC §10.3.
//!
//! The proof of receipt (JRN-7's head, its row, a path) without the journal: for a dispute, or for who audits one entry of many.

use serde_bytes::ByteBuf;

use super::peer::Peer;
use super::receive::check_time;
use super::{Engine, Event, Registry};
use crate::dossier::Replica;
use crate::error::{Error, Malformed, MalformedKind, Refused, Untrusted};
use crate::id::{Digest, SubjectId};
use crate::journal::{ForkProof, HeadRow, SignedHead, Standing};
use crate::plant::{Bug, planted};
use crate::refusal::Code;
use crate::time::Instant;
use crate::tree::{Hash, MAX_PATH};
use crate::wire::frame::{Frame, Proof, ProofRequest};

/// Proofs that may be asked of one peer and not given yet. SYN-23.
const ASKED: usize = 16;

/// Why a member has not proved what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// It is not connected, or no longer.
    Unreachable,
    /// It turned the question away: `unknown-reference` says that no head of it covers that. Or it is no member any longer.
    Refused(Code),
    /// Its answer is wrong, and it was told so.
    Wrong(Code),
    /// Its answer shows another entry there, under its own head: of its own chain, and it signed this one too. JRN-10.
    Forked(Box<ForkProof>),
}

impl<R: Registry> Engine<R> {
    /// Asks a member to prove that its latest head covers entries that we hold. [`Event::Proven`] or
    /// [`Event::Unproven`] follows; asking again before that changes nothing.
    ///
    /// # Errors
    /// `unknown-dossier` and `not-participant` if not both of us are members, `unknown-reference` for entries that we do
    /// not hold ourselves, `bad-value` for a position that is not among them, `busy` while 16 are under way to that member.
    pub fn ask_proof(&mut self, peer: SubjectId, request: ProofRequest) -> Result<(), Error> {
        check_shape(&request)?;
        let dossier = request.dossier;
        let held = self.dossiers.get(&dossier);
        let held = held.ok_or(Refused::UnknownDossier { dossier })?;
        if !held.is_shared(&self.node, &peer) {
            return Err(Refused::NotParticipant { author: peer }.into());
        }
        expected(&held.replica, &request).ok_or_else(|| not_covered(&request))?;
        let Some(connected) = self.peers.get_mut(&peer).filter(|peer| peer.joined) else {
            self.give_up(peer, request, Unproven::Unreachable);
            return Ok(());
        };
        let frame = Frame::ProofRequest(request).encode();
        let about = Digest::of(&[&frame]);
        if connected.asked.contains_key(&about) {
            return Ok(());
        }
        if connected.asked.len() >= ASKED {
            return Err(Refused::TooManyProofs.into());
        }
        connected.asked.insert(about, request);
        self.stage.frames.push((peer, frame));
        Ok(())
    }

    /// A connection is over: what was asked on it is not answered on another one.
    pub(super) fn ask_no_longer(&mut self, peer: SubjectId, gone: Option<Peer>) {
        for request in gone.into_iter().flat_map(|gone| gone.asked.into_values()) {
            self.give_up(peer, request, Unproven::Unreachable);
        }
    }

    fn give_up(&mut self, peer: SubjectId, request: ProofRequest, why: Unproven) {
        let request = Box::new(request);
        self.events.push_back(Event::Unproven { peer, request, why });
    }

    /// A peer asks for a proof. To who is no member, a dossier that is held and one that is not look the same.
    pub(super) fn take_proof_request(
        &mut self,
        from: SubjectId,
        request: &ProofRequest,
        bytes: &[u8],
        now: Instant,
    ) -> Result<(), Error> {
        check_shape(request)?;
        self.charge_proof(from, now)?;
        let dossier = request.dossier;
        let held = self.dossiers.get(&dossier);
        let held = held.filter(|held| held.is_shared(&self.node, &from));
        let held = held.ok_or(Refused::UnknownDossier { dossier })?;
        let proof = prove(&held.replica, &self.node, request, Digest::of(&[bytes]));
        let proof = proof.ok_or_else(|| not_covered(request))?;
        self.stage.frames.push((from, Frame::Proof(proof).encode()));
        Ok(())
    }

    /// A peer turns a frame away: true if that was a question of ours.
    pub(super) fn take_no_proof(&mut self, from: SubjectId, about: &Digest, code: Option<Code>) -> bool {
        let asked = self.peers.get_mut(&from);
        let Some(request) = asked.and_then(|peer| peer.asked.remove(about)) else {
            return false;
        };
        let why = code.map_or(Unproven::Wrong(Code::BadValue), Unproven::Refused);
        self.give_up(from, request, why);
        true
    }

    /// A peer gives a proof, or what it calls one.
    pub(super) fn take_proof(&mut self, from: SubjectId, proof: &Proof, now: Instant) -> Result<(), Error> {
        let asked = self.peers.get_mut(&from);
        let request = asked.and_then(|peer| peer.asked.remove(&proof.about));
        let request = request.ok_or(Malformed::bad_value())?;
        if !self.is_shared_with(&from, &request.dossier) {
            self.give_up(from, request, Unproven::Refused(Code::NotParticipant));
            return Ok(());
        }
        let path: Vec<_> = proof.path.iter().map(|hash| *hash.as_bytes()).collect();
        let checked = self.check_proof(from, &request, proof, &path, now);
        let taken = checked.and_then(|shown| {
            self.take_head(from, &proof.head, now)?;
            Ok(shown)
        });
        match taken {
            Ok((head, row)) => {
                // With the commit that keeps the head.
                self.stage.events.push(Event::Proven {
                    peer: from,
                    request: Box::new(request),
                    head: Box::new(head),
                    row,
                    path: proof.path.clone(),
                });
                Ok(())
            }
            Err(error) => {
                let fork = self.contradiction(from, &request, proof, path);
                let wrong = Unproven::Wrong(error.code());
                let why = fork.map_or(wrong, |fork| Unproven::Forked(Box::new(fork)));
                self.give_up(from, request, why);
                Err(error)
            }
        }
    }

    /// The head and its row, if they show what was asked.
    fn check_proof(
        &self,
        from: SubjectId,
        request: &ProofRequest,
        proof: &Proof,
        path: &[Hash],
        now: Instant,
    ) -> Result<(SignedHead, HeadRow), Error> {
        if path.len() > MAX_PATH {
            return Err(Malformed::at(0, MalformedKind::TooLarge).into());
        }
        if proof.leaf.is_some() != request.position.is_some() {
            return Err(Malformed::bad_value().into());
        }
        let signed = SignedHead::verify(&proof.head, &self.registry)?;
        check_time(&signed, now)?;
        let fails = |what| Err(Untrusted::HeadMismatch { what }.into());
        let head = signed.head();
        if head.node != from {
            return fails("the head is another node's");
        }
        if head.dossier != request.dossier {
            return fails("the head is of another dossier");
        }
        let held = self.dossiers.get(&request.dossier);
        let expected = held.and_then(|held| expected(&held.replica, request));
        let chain = &request.row.chain;
        let row = match request.position.zip(proof.leaf) {
            Some((position, leaf)) => head
                .row_with(chain, position, &leaf, path)
                .filter(|_| expected == Some(leaf)),
            None => head.row_after(&request.row, path),
        };
        let unchecked = || head.rows.first().filter(|_| planted(Bug::ProofsUnchecked));
        match row.or_else(unchecked).copied() {
            Some(row) => Ok((signed, row)),
            None => fails("the path does not lead from what was asked about to a row of the head"),
        }
    }

    /// What an answer shows against the peer: another entry than ours, under a head of its own. If that is where another head
    /// of the same chain ends, the two are the proof of a fork.
    fn contradiction(
        &mut self,
        from: SubjectId,
        request: &ProofRequest,
        proof: &Proof,
        path: Vec<Hash>,
    ) -> Option<ForkProof> {
        let (position, leaf) = request.position.zip(proof.leaf)?;
        let head = SignedHead::verify(&proof.head, &self.registry).ok()?;
        let (head, chain) = (head.head(), request.row.chain);
        let held = self.dossiers.get_mut(&request.dossier)?;
        let expected = expected(&held.replica, request)?;
        let ours = head.node == from && head.dossier == request.dossier && path.len() <= MAX_PATH;
        if !ours || leaf == expected || head.row_with(&chain, position, &leaf, &path).is_none() {
            return None;
        }
        if chain.node != from {
            // Only what its own node signed speaks against it.
            held.alarm(chain, Some(from), &mut self.events);
            return None;
        }
        let ends_there = |a: &&SignedHead| {
            let own = a.head().own_row().filter(|_| a.head().chain() == chain);
            own.is_some_and(|row| row.size == position + 1 && row.leaf != leaf)
        };
        let histories = held.replica.chains().of(&chain);
        let heads = histories.filter_map(|(_, history)| history.head());
        let heads: Vec<_> = heads.chain(held.replica.heads().get(&from)).collect();
        let fork = ForkProof {
            a: heads.into_iter().find(ends_there)?.encode(),
            b: proof.head.to_vec(),
            leaf,
            path,
        };
        fork.verify(&self.registry).ok()?;
        held.alarm(chain, None, &mut self.events);
        Some(fork)
    }
}

fn check_shape(request: &ProofRequest) -> Result<(), Malformed> {
    let within = request
        .position
        .is_none_or(|position| position < request.row.size);
    if within && request.row.size > 0 {
        Ok(())
    } else {
        Err(Malformed::bad_value())
    }
}

fn not_covered(request: &ProofRequest) -> Error {
    let (node, size) = (request.row.chain.node, request.row.size);
    Refused::NotCovered { node, size }.into()
}

/// The leaf that we hold where a request asks, of the last entry if it asks about all; `None` if we do not hold its row.
fn expected(replica: &Replica, request: &ProofRequest) -> Option<Digest> {
    let row = &request.row;
    let Standing::Held(branch) = replica.chains().standing(row) else {
        return None;
    };
    let chain = replica.chains().get(&branch)?;
    let last = row.size.checked_sub(1)?;
    (chain.row_at(row.chain, row.size)? == *row).then_some(())?;
    chain.leaf(request.position.unwrap_or(last))
}

/// What a node's latest head shows of a request, if it covers it.
fn prove(replica: &Replica, node: &SubjectId, request: &ProofRequest, about: Digest) -> Option<Proof> {
    let signed = replica.heads().get(node)?;
    let (asked, chains) = (&request.row, replica.chains());
    let rows = signed.head().rows_of(&asked.chain).iter();
    rows.filter(|row| row.size >= asked.size).find_map(|row| {
        let Standing::Held(branch) = chains.standing(row) else {
            return None;
        };
        let chain = chains.get(&branch)?;
        (chain.row_at(asked.chain, asked.size)? == *asked).then_some(())?;
        let path = match request.position {
            Some(position) => chain.tree().inclusion_path(position, row.size)?,
            None => chain.tree().consistency_path(asked.size, row.size)?,
        };
        let leaf = request.position.map(|position| chain.leaf(position));
        Some(Proof {
            about,
            head: ByteBuf::from(signed.encode()),
            path: path.into_iter().map(Digest::new).collect(),
            leaf: leaf.flatten(),
        })
    })
}
