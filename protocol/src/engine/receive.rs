//! Frames from peers. SPEC §10.4.

use super::peer::EARLY_RUNS;
use super::{Engine, Event, Registry, Row, RunIndex, UnwrapRequest, held};
use crate::dossier::{Received, RunItem};
use crate::envelope::Sealed;
use crate::error::{Error, Malformed, Refused, Untrusted};
use crate::id::{Digest, DossierId, SubjectId};
use crate::jose::{WrapContext, check_wrap};
use crate::journal::{Clock, Entry, SignedHead};
use crate::plant::{Bug, planted};
use crate::time::{Instant, Span};
use crate::wire::frame::{Frame, Frontier, Refusal, RegistryLeaves, Run};
use crate::wire::limits;

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

impl<R: Registry> Engine<R> {
    /// Takes one frame of a peer. Whatever is wrong with it is refused with its code; the connection goes on.
    pub fn handle_frame(&mut self, from: SubjectId, bytes: &[u8], now: Instant) {
        if let Err(error) = self.take_frame(from, bytes, now) {
            let code = error.code();
            let about = Digest::of(&[bytes]);
            let refusal = Frame::Refusal(Refusal {
                code: u64::from(code.number()),
                about,
            });
            self.stage.frames.push((from, refusal.encode()));
            self.events.push_back(Event::Refused { peer: from, code });
        }
    }

    fn take_frame(&mut self, from: SubjectId, bytes: &[u8], now: Instant) -> Result<(), Error> {
        let frame = Frame::decode(bytes)?;
        let joined = self.peers.get(&from).is_some_and(|peer| peer.joined);
        match frame {
            Frame::Hello(hello) => self.handle_hello(from, &hello)?,
            // Nothing counts before the hello.
            _ if !joined => return Err(Malformed::bad_value().into()),
            Frame::RegistryLeaves(leaves) => self.take_leaves(from, leaves)?,
            Frame::Frontier(frontier) => self.take_frontier(from, &frontier, now)?,
            Frame::Run(run) => self.take_runs(from, bytes, run, now)?,
            Frame::Head(head) => self.take_head(from, &head, now)?,
            Frame::Refusal(refusal) => {
                let code = u16::try_from(refusal.code)
                    .ok()
                    .and_then(crate::refusal::Code::from_number);
                if let Some(code) = code {
                    self.events.push_back(Event::Refused { peer: from, code });
                }
            }
        }
        Ok(())
    }

    fn take_leaves(&mut self, from: SubjectId, leaves: RegistryLeaves) -> Result<(), Error> {
        let end = leaves.from + leaves.leaves.len() as u64;
        for (leaf, index) in leaves.leaves.into_iter().zip(leaves.from..) {
            self.import_leaf(&leaves.origin, index, leaf)?;
        }
        if let Some(peer) = self.peers.get_mut(&from) {
            let known = peer.registries.entry(leaves.origin).or_insert(0);
            *known = (*known).max(end);
        }
        Ok(())
    }

    /// A peer says how far it holds a dossier: learns keys, confirms or doubts our own chain, lists what it lacks.
    fn take_frontier(&mut self, from: SubjectId, frontier: &Frontier, now: Instant) -> Result<(), Error> {
        let dossier = frontier.dossier;
        if frontier.rows.len() > limits::FRONTIER_ROWS || frontier.wraps.len() > limits::DOSSIER_NODES {
            return Err(Malformed::bad_value().into());
        }
        let member = self
            .dossiers
            .get(&dossier)
            .map(|held| held.replica.state().nodes().contains(&from));
        // To who is no member, a dossier that we hold and one that we do not look the same.
        if member == Some(false) && !self.awaits_keys(&dossier) {
            return Err(Refused::UnknownDossier { dossier }.into());
        }
        let addressed = frontier.wraps.iter().filter(|wrap| wrap.recipient == self.node);
        let mut keys = 0;
        for wrap in addressed {
            let context = WrapContext {
                dossier,
                epoch: wrap.epoch,
                recipient: self.node,
            };
            let known = self
                .dossiers
                .get(&dossier)
                .is_some_and(|held| held.replica.key(wrap.epoch).is_some());
            if !known && check_wrap(&wrap.jwe, &context).is_ok() {
                self.unwraps.push_back(UnwrapRequest {
                    context,
                    jwe: wrap.jwe.clone(),
                });
                keys += 1;
            }
        }
        if member.is_none() && keys == 0 {
            return Err(Refused::UnknownDossier { dossier }.into());
        }
        // A dossier that is new here begins before the head is taken: no later frame need bring that head again.
        held(&mut self.dossiers, dossier, self.node, self.fresh);
        if let Some(head) = &frontier.head {
            self.take_head(from, head, now)?;
        }
        let held = held(&mut self.dossiers, dossier, self.node, self.fresh);
        for row in frontier.rows.iter().filter(|row| row.chain.node == self.node) {
            let chain = held.replica.chain(&row.chain);
            let size = chain.map_or(0, |chain| chain.size());
            if row.size > size {
                self.events.push_back(Event::RolledBack { dossier });
            }
        }
        held.note_confirmation(from, &frontier.rows);
        let mut known = Clock::default();
        let mut contradicted = Vec::new();
        for row in &frontier.rows {
            match held.replica.chain(&row.chain) {
                // It holds what we hold, or more than we do: either way it needs nothing of that chain.
                Some(chain) if row.size <= chain.size() && !chain.contains(row) => {
                    contradicted.push(row.chain);
                }
                _ => known.raise(row.chain, row.size),
            }
        }
        self.events
            .extend(contradicted.into_iter().map(|chain| Event::Disagreed {
                dossier,
                chain,
                member: from,
            }));
        let ours_is_news = held
            .replica
            .frontier()
            .iter()
            .any(|row| known.size(&row.chain) < row.size);
        let theirs_is_news = known
            .iter()
            .any(|(chain, size)| held.replica.chain(chain).is_none_or(|held| held.size() < size));
        for (run, index) in held.runs.iter().zip(0_u64..) {
            let from_entry = known.size(&run.chain);
            if run.to > from_entry {
                self.stage.backlogs.push(Backlog {
                    peer: from,
                    dossier,
                    run: index,
                    from: from_entry,
                });
                known.raise(run.chain, run.to);
            }
        }
        let first_time = match self.peers.get_mut(&from) {
            Some(peer) => peer.known.insert(dossier, known).is_none(),
            None => false,
        };
        // The other side needs our frontier to know what we lack, unless it has just had it.
        if theirs_is_news && (first_time || !ours_is_news) {
            self.offer_frontier(from, dossier);
        }
        Ok(())
    }

    /// Whether we hold entries of a dossier that we cannot open yet.
    fn awaits_keys(&self, dossier: &DossierId) -> bool {
        self.dossiers
            .get(dossier)
            .is_some_and(|held| held.replica.state().designation().is_none())
    }

    /// Takes a run, then every run that had waited for it.
    fn take_runs(&mut self, from: SubjectId, bytes: &[u8], run: Run, now: Instant) -> Result<(), Error> {
        if !self.take_run(from, run, now)? {
            let Some(peer) = self.peers.get_mut(&from) else {
                return Ok(());
            };
            if peer.early.len() < EARLY_RUNS || planted(Bug::UnboundedBuffer) {
                peer.early.push(bytes.to_vec());
            }
            return Ok(());
        }
        loop {
            let early = match self.peers.get_mut(&from) {
                Some(peer) if !peer.early.is_empty() => std::mem::take(&mut peer.early),
                _ => return Ok(()),
            };
            let waiting = early.len();
            let mut still = Vec::new();
            for bytes in early {
                let taken = match Frame::decode(&bytes)? {
                    Frame::Run(run) => self.take_run(from, run, now)?,
                    _ => true,
                };
                if !taken {
                    still.push(bytes);
                }
            }
            let progress = still.len() < waiting;
            if let Some(peer) = self.peers.get_mut(&from) {
                peer.early = still;
            }
            if !progress {
                return Ok(());
            }
        }
    }

    /// Takes one run; `false` if something that it cites has not come yet.
    fn take_run(&mut self, from: SubjectId, run: Run, now: Instant) -> Result<bool, Error> {
        if run.items.is_empty() || run.items.len() > limits::ENTRIES_PER_FRAME {
            return Err(Malformed::bad_value().into());
        }
        let dossier = run.dossier;
        // A dossier begins with a key: nobody can fill our disk with what we cannot open.
        let Some(held) = self
            .dossiers
            .get_mut(&dossier)
            .filter(|held| held.replica.newest_key().is_some())
        else {
            return Err(Refused::UnknownDossier { dossier }.into());
        };
        let head = SignedHead::verify(&run.head, &self.registry)?;
        check_time(&head, now)?;
        let mut items = Vec::with_capacity(run.items.len());
        for item in &run.items {
            let entry = Entry::decode(&item.entry)?;
            items.push(RunItem {
                entry,
                sealed: Sealed::decode(&item.sealed)?,
            });
        }
        if items.iter().any(|item| item.entry.chain != run.chain) {
            return Err(Untrusted::HeadMismatch {
                what: "an entry of another chain",
            }
            .into());
        }
        // Whoever brings it: a node that lost its store may not have read yet that the bringer is a member. SPEC §10.4.
        let founded = held.replica.state().designation().is_some();
        if founded && !held.replica.state().nodes().contains(&run.chain.node) {
            return Err(Refused::NotParticipant {
                author: run.chain.node,
            }
            .into());
        }
        let size = head.head().row(&run.chain).map_or(0, |row| row.size);
        match held.replica.receive(&items, &head, &self.registry)? {
            Received::Early => return Ok(false),
            Received::Known => {}
            Received::Forked => self.events.push_back(Event::Forked {
                dossier,
                chain: run.chain,
            }),
            Received::Applied { from: first } => {
                let index = held.runs.len() as u64;
                held.runs.push(RunIndex {
                    chain: run.chain,
                    to: size,
                });
                for item in items.into_iter().filter(|item| item.entry.seq >= first) {
                    self.stage.rows.push(Row::Entry { item: Box::new(item) });
                }
                let head = head.encode();
                let (chain, node) = (run.chain, run.chain.node);
                self.stage.rows.push(Row::Run {
                    dossier,
                    index,
                    chain,
                    from: first,
                    to: size,
                    head: head.clone(),
                });
                self.stage.rows.push(Row::Head { dossier, node, head });
                self.stage.to_seal.insert(dossier);
                self.stage.events.push(Event::Changed { dossier });
            }
        }
        if let Some(known) = self
            .peers
            .get_mut(&from)
            .and_then(|peer| peer.known.get_mut(&dossier))
        {
            known.raise(run.chain, size);
        }
        Ok(true)
    }

    /// Takes a head without entries: a receipt.
    fn take_head(&mut self, from: SubjectId, bytes: &[u8], now: Instant) -> Result<(), Error> {
        let head = SignedHead::verify(bytes, &self.registry)?;
        check_time(&head, now)?;
        let dossier = head.head().dossier;
        let Some(held) = self.dossiers.get_mut(&dossier) else {
            return Ok(());
        };
        let members = held.replica.state().nodes();
        if !members.is_empty() && (!members.contains(&from) || !members.contains(&head.head().node)) {
            return Err(Refused::NotParticipant {
                author: head.head().node,
            }
            .into());
        }
        // JRN-10: hashes are compared, never heights alone.
        let contradicted = head.head().rows.iter().filter(|row| {
            held.replica
                .chain(&row.chain)
                .is_some_and(|chain| row.size <= chain.size() && !chain.contains(row))
        });
        for chain in contradicted.map(|row| row.chain) {
            // Only what its own node signed speaks against it.
            let member = head.head().node;
            self.events.push_back(if chain.node == member {
                Event::Forked { dossier, chain }
            } else {
                Event::Disagreed {
                    dossier,
                    chain,
                    member,
                }
            });
        }
        if held.replica.note_head(&head) {
            self.stage.rows.push(Row::Head {
                dossier,
                node: head.head().node,
                head: head.encode(),
            });
            self.stage.events.push(Event::Changed { dossier });
        }
        Ok(())
    }
}

/// JRN-4: no node dates what it signs, and so what it recorded, into the future.
fn check_time(head: &SignedHead, now: Instant) -> Result<(), Untrusted> {
    let claimed = head.head().time;
    if claimed > now + Span::from_ms(limits::CLAIM_AHEAD_MS) {
        return Err(Untrusted::ClaimedAhead { claimed, now });
    }
    Ok(())
}
