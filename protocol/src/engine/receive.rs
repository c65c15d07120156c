//! Frames from peers. SPEC §10.4.

use std::collections::{BTreeMap, VecDeque};

use super::ahead::{self, Ahead};
use super::backlog::Queue;
use super::gossip::check_length;
use super::quota::{Cost, SHORTEST_WAIT, charge};
use super::{Engine, Event, Held, Registry, Row, held};
use crate::dossier::{Received, RunItem};
use crate::error::{Error, Malformed, Refused, Untrusted};
use crate::id::{Digest, DossierId, SubjectId};
use crate::journal::{Branch, ChainId, SignedHead, Standing};
use crate::time::{Instant, Span};
use crate::wire::frame::{Frame, Frontier, Refusal, Run};
use crate::wire::limits;

/// Dossiers of which one peer has brought a key and nothing else yet. SYN-12.
const BEGUN: usize = 256;
/// Entries of a dossier whose order is not known to be good. SYN-12.
const UNFOUNDED_ENTRIES: usize = 64;

impl<R: Registry> Engine<R> {
    /// Takes one frame of a peer. Whatever is wrong with it is refused with its code; the connection goes on.
    pub fn handle_frame(&mut self, from: SubjectId, bytes: &[u8], now: Instant) {
        self.handle_ahead(from, bytes, None, now);
    }

    /// The same of a frame on which work has been done ahead.
    pub fn handle_ahead(
        &mut self,
        from: SubjectId,
        bytes: &[u8],
        ahead: Option<Ahead<R::Read>>,
        now: Instant,
    ) {
        if let Err(error) = self.take_frame(from, bytes, ahead, now) {
            self.refuse(from, bytes, &error);
        }
    }

    /// Turns away what came in a frame that has been passed on, as [`Event::Checkpoint`] or [`Event::Equivocation`].
    pub fn turn_away(&mut self, from: SubjectId, frame: &Frame, error: &Error) {
        self.refuse(from, &frame.encode(), error);
    }

    fn refuse(&mut self, from: SubjectId, bytes: &[u8], error: &Error) {
        let code = error.code();
        let (retry_after, dossier) = match error {
            Error::Refused(Refused::OverQuota {
                dossier, retry_after, ..
            }) => (Some(retry_after.ms()), Some(*dossier)),
            Error::Refused(Refused::NoRoom { dossier }) => (Some(SHORTEST_WAIT.ms()), Some(*dossier)),
            _ => (None, None),
        };
        let refusal = Frame::Refusal(Refusal {
            code: u64::from(code.number()),
            about: Digest::of(&[bytes]),
            retry_after,
            dossier,
        });
        self.stage.frames.push((from, refusal.encode()));
        self.events.push_back(Event::Refused { peer: from, code });
    }

    fn take_frame(
        &mut self,
        from: SubjectId,
        bytes: &[u8],
        ahead: Option<Ahead<R::Read>>,
        now: Instant,
    ) -> Result<(), Error> {
        let (frame, items, read) = match ahead {
            Some(Ahead::Run(run, items)) => (Frame::Run(run), Some(items), Vec::new()),
            Some(Ahead::Leaves(leaves, read)) => (Frame::RegistryLeaves(leaves), None, read),
            None => (Frame::decode(bytes)?, None, Vec::new()),
        };
        let joined = self.peers.get(&from).is_some_and(|peer| peer.joined);
        match frame {
            Frame::Hello(hello) => self.handle_hello(from, &hello, now)?,
            // Nothing counts before the hello.
            _ if !joined => return Err(Malformed::bad_value().into()),
            _ if self.take_dormant(from, &frame, bytes)? => {}
            Frame::RegistryLeaves(leaves) => {
                self.take_leaves(from, leaves, read, now)?;
            }
            Frame::RegistryRequest(request) => self.take_request(from, request),
            Frame::Frontier(frontier) => self.take_frontier(from, &frontier, now)?,
            Frame::Run(run) => self.take_runs(from, bytes, run, items, now)?,
            Frame::Head(head) => self.take_head(from, &head, now)?,
            Frame::Inventory(inventory) => self.take_inventory(from, &inventory)?,
            Frame::ProofRequest(request) => self.take_proof_request(from, &request, bytes, now)?,
            Frame::Proof(proof) => self.take_proof(from, &proof, now)?,
            Frame::Checkpoint(note) => {
                check_length(&note, limits::NOTE_BYTES)?;
                self.events.push_back(Event::Checkpoint { peer: from, note });
            }
            Frame::Equivocation(proof) => {
                check_length(&proof, 3 * limits::NOTE_BYTES)?;
                self.events.push_back(Event::Equivocation { peer: from, proof });
            }
            Frame::Refusal(refusal) => {
                let code = u16::try_from(refusal.code)
                    .ok()
                    .and_then(crate::refusal::Code::from_number);
                if code == Some(crate::refusal::Code::Busy) {
                    self.hold_back(from, &refusal, now);
                }
                if !self.take_no_proof(from, &refusal.about, code) {
                    if let Some(peer) = self.peers.get_mut(&from) {
                        peer.backlogs.doubt();
                    }
                    self.events
                        .extend(code.map(|code| Event::Refused { peer: from, code }));
                }
            }
        }
        Ok(())
    }

    /// A peer says how far it holds a dossier: learns keys, confirms or doubts our own chain, lists what it lacks.
    fn take_frontier(&mut self, from: SubjectId, frontier: &Frontier, now: Instant) -> Result<(), Error> {
        let dossier = frontier.dossier;
        if frontier.rows.len() > limits::FRONTIER_ROWS
            || frontier.wraps.len() > limits::DOSSIER_NODES
            || frontier.lacking.len() > limits::LACKING
        {
            return Err(Malformed::bad_value().into());
        }
        let own = self.own_head(frontier)?;
        let member = self
            .dossiers
            .get(&dossier)
            .map(|held| held.replica.state().nodes().contains(&from));
        // To who is no member, a dossier that we hold and one that we do not look the same.
        if member == Some(false) && !self.awaits_keys(&dossier) {
            return Err(Refused::UnknownDossier { dossier }.into());
        }
        let keys = self.ask_first_key(frontier);
        if member.is_none() && keys == 0 {
            return Err(Refused::UnknownDossier { dossier }.into());
        }
        // A dossier that is new here begins before the head is taken: no later frame need bring that head again.
        if member.is_none() {
            let begun = self
                .dossiers
                .values()
                .filter(|held| held.brought_by == Some(from));
            if begun.count() >= BEGUN {
                return Err(Refused::TooMuchBegun { peer: from }.into());
            }
            held(&mut self.dossiers, dossier, self.node, self.fresh).brought_by = Some(from);
        }
        self.ask_missing_keys(frontier);
        if let Some(head) = &frontier.head {
            self.take_head(from, head, now)?;
        }
        self.take_own_head(dossier, own);
        let held = held(&mut self.dossiers, dossier, self.node, self.fresh);
        for row in frontier.rows.iter().filter(|row| row.chain.node == self.node) {
            let chain = held.replica.chain(&row.chain);
            let size = chain.map_or(0, |chain| chain.size());
            if row.size > size {
                self.events.push_back(Event::RolledBack { dossier });
            }
        }
        held.note_confirmation(from, &frontier.rows);
        let chains = held.replica.chains();
        let standing: Vec<_> = frontier
            .rows
            .iter()
            .map(|row| (row.chain, chains.standing(row)))
            .collect();
        let theirs_is_news = standing
            .iter()
            .any(|(_, standing)| !matches!(standing, Standing::Held(_)));
        let mut known: BTreeMap<Branch, u64> = BTreeMap::new();
        for (branch, _) in chains.iter() {
            known.insert(*branch, chains.known_by(branch, &frontier.rows));
        }
        let ours_is_news = chains.iter().any(|(branch, chain)| known[branch] < chain.size());
        let wanted = held.bring(&frontier.lacking);
        if ours_is_news || !wanted.is_empty() {
            let queue = Queue::new(known, held.runs.len(), wanted);
            self.stage.backlogs.push((from, dossier, queue));
        }
        for (chain, _) in standing
            .iter()
            .filter(|(_, standing)| *standing == Standing::Contradicts)
        {
            held.alarm(*chain, Some(from), &mut self.events);
        }
        let first_time = match self.peers.get_mut(&from) {
            Some(peer) => peer.told.insert(dossier),
            None => false,
        };
        // The other side needs our frontier to know what we lack, unless it has just had it.
        // And who names another head of its own than the latest that we have, to know that one. SYN-17.
        let latest = held.replica.heads().get(&from).map(SignedHead::encode);
        let superseded = latest.as_deref() != frontier.head.as_deref().map(Vec::as_slice);
        if superseded || (theirs_is_news && (first_time || !ours_is_news)) {
            self.offer_frontier(from, dossier);
        } else {
            self.offer_head(from, dossier, frontier.yours.as_deref().map(Vec::as_slice));
        }
        Ok(())
    }

    /// Whether we hold entries of a dossier that we cannot open yet.
    fn awaits_keys(&self, dossier: &DossierId) -> bool {
        self.dossiers
            .get(dossier)
            .is_some_and(|held| held.replica.state().designation().is_none())
    }

    /// Takes a run, then every run that had waited for it. What is wrong with one of those is its own affair.
    fn take_runs(
        &mut self,
        from: SubjectId,
        bytes: &[u8],
        run: Run,
        items: Option<Vec<RunItem>>,
        now: Instant,
    ) -> Result<(), Error> {
        let dossier = run.dossier;
        if !self.take_run(from, run, items, now)? {
            let peer = self.peers.get_mut(&from);
            return if peer.is_none_or(|peer| peer.keep_early(dossier, bytes)) {
                Ok(())
            } else {
                Err(Refused::NoRoom { dossier }.into())
            };
        }
        loop {
            let early = match self.peers.get_mut(&from) {
                Some(peer) if !peer.early.is_empty() => std::mem::take(&mut peer.early),
                _ => return Ok(()),
            };
            let waiting = early.len();
            let mut still = Vec::new();
            for (dossier, bytes) in early {
                let taken = match Frame::decode(&bytes) {
                    Ok(Frame::Run(run)) => self.take_run(from, run, None, now),
                    _ => Ok(true),
                };
                match taken {
                    Ok(true) => {}
                    Ok(false) => still.push((dossier, bytes)),
                    Err(error) => self.refuse(from, &bytes, &error),
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
    pub(super) fn take_run(
        &mut self,
        from: SubjectId,
        run: Run,
        items: Option<Vec<RunItem>>,
        now: Instant,
    ) -> Result<bool, Error> {
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
        let items = match items {
            Some(items) => items,
            None => ahead::items(&run)?,
        };
        if items.iter().any(|item| item.entry.chain != run.chain) {
            return Err(Untrusted::HeadMismatch {
                what: "an entry of another chain",
            }
            .into());
        }
        // Whoever brings it: a node that lost its store may not have read yet that the bringer is a member. SPEC §10.4.
        let founded = held.replica.state().designation().is_some();
        let state = held.replica.state();
        let nodes = state.nodes();
        // Of a node that has left, what a member holds is taken, and nothing more from itself.
        let taken = nodes.contains(&run.chain.node)
            || (nodes.contains(&from) && state.ever_nodes().contains(&run.chain.node));
        if founded && !taken {
            return Err(Refused::NotParticipant {
                author: run.chain.node,
            }
            .into());
        }
        if !founded && !held.is_founding(&items)? {
            return Ok(false);
        }
        if held.replica.is_strange(&items, &head) {
            return Err(Refused::ForkedChain { node: run.chain.node }.into());
        }
        let sizes = run.items.iter().map(|item| {
            let message = item.sealed.as_ref().map_or(0, |sealed| sealed.len());
            (item.entry.len() + message) as u64
        });
        let sizes: Vec<u64> = sizes.collect();
        // What is known already costs nothing, but for messages that were wanting: only a peer that repeats itself is
        // told so late.
        let known = held.replica.known_of(&items).min(items.len());
        let wanted = items.iter().zip(&sizes).take(known).filter(|(item, _)| {
            let comes = item.sealed.is_some();
            comes && held.replica.lacks_message(&item.entry).is_some()
        });
        let wanted = wanted.map(|(_, size)| size).sum();
        let new = Cost {
            entries: (items.len() - known) as u64,
            bytes: sizes.iter().skip(known).sum(),
            begins: held.brought_by.is_some(),
        };
        let all = Cost {
            bytes: new.bytes + wanted,
            ..new
        };
        self.check_quota(from, dossier, all, now)?;
        let Some(held) = self.dossiers.get_mut(&dossier) else {
            return Ok(true);
        };
        let received = held.replica.receive(&items, &head, &self.registry)?;
        let completed = held.replica.complete(&items, &self.registry);
        if !completed.is_empty() {
            held.note_change(&mut self.changes);
            let messages = Cost {
                entries: 0,
                bytes: wanted,
                begins: false,
            };
            charge(&mut self.accounts, from, dossier, messages, now);
        }
        for (branch, item) in completed {
            let item = Box::new(item);
            self.stage.rows.push(Row::Entry { branch, item });
            self.stage.events.push(Event::Changed { dossier });
        }
        match received {
            Received::Early => {
                held.note_missing(head.head());
                return Ok(false);
            }
            Received::Elsewhere => {
                held.alarm(run.chain, None, &mut self.events);
                return Ok(false);
            }
            Received::Known => {}
            Received::Applied {
                branch,
                from: first,
                forked,
            } => {
                if forked {
                    held.alarm(run.chain, None, &mut self.events);
                }
                held.check_lives(head.head(), &mut self.events);
                let to = head.head().own_row().map_or(first, |row| row.size);
                for item in items.into_iter().filter(|item| item.entry.seq >= first) {
                    let item = Box::new(item);
                    self.stage.rows.push(Row::Entry { branch, item });
                }
                let head = head.encode();
                let index = held.push_run(branch, to, &head);
                let node = run.chain.node;
                // A receipt that came before the run may be later than its head.
                let latest = held.replica.heads().get(&node);
                let latest = latest.map_or_else(|| head.clone(), |latest| latest.encode());
                self.stage.rows.push(Row::Run {
                    dossier,
                    index,
                    branch,
                    from: first,
                    to,
                    head,
                });
                self.stage.rows.push(Row::Head {
                    dossier,
                    node,
                    head: latest,
                });
                if held.brought_by.take().is_some() {
                    held.keep(&mut self.stage.rows);
                }
                held.note_change(&mut self.changes);
                self.stage.to_seal.insert(dossier);
                self.stage.events.push(Event::Changed { dossier });
                charge(&mut self.accounts, from, dossier, new, now);
                self.ask_later_keys(dossier);
            }
        }
        Ok(true)
    }

    /// Takes a head without entries: a receipt.
    pub(super) fn take_head(&mut self, from: SubjectId, bytes: &[u8], now: Instant) -> Result<(), Error> {
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
        let chains = held.replica.chains();
        let rows = head.head().rows.iter();
        let contradicted: Vec<_> = rows
            .filter(|row| chains.standing(row) == Standing::Contradicts)
            .map(|row| row.chain)
            .collect();
        for chain in contradicted {
            // Only what its own node signed speaks against it.
            let member = head.head().node;
            held.alarm(chain, (chain.node != member).then_some(member), &mut self.events);
        }
        held.check_lives(head.head(), &mut self.events);
        if held.replica.note_head(&head) && held.brought_by.is_none() {
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

impl Held {
    /// Whether a run may come before the order is known to be good: only what begins with the order itself, which
    /// opens, and no more than a little after it. SYN-12.
    fn is_founding(&self, items: &[RunItem]) -> Result<bool, Error> {
        let dossier = self.replica.dossier();
        if self.replica.entries() >= UNFOUNDED_ENTRIES {
            return Err(Refused::UnknownDossier { dossier }.into());
        }
        let order = items
            .iter()
            .find(|item| DossierId::from(item.entry.message) == dossier);
        let Some(order) = order else {
            return Ok(self.replica.entries() > 0);
        };
        let sealed = order.sealed.as_ref();
        let key = sealed.and_then(|sealed| self.replica.key(sealed.key_epoch()));
        let (Some(sealed), Some(key)) = (sealed, key) else {
            return Err(Refused::UnknownDossier { dossier }.into());
        };
        sealed.open(&dossier, order.entry.message, key)?;
        Ok(true)
    }

    /// Keeps what it was known by while nothing of it had come.
    fn keep(&self, rows: &mut Vec<Row>) {
        let dossier = self.replica.dossier();
        rows.extend(self.replica.keys().map(|(epoch, key)| Row::Key {
            dossier,
            epoch,
            key: key.clone(),
        }));
        rows.extend(self.replica.heads().iter().map(|(node, head)| Row::Head {
            dossier,
            node: *node,
            head: head.encode(),
        }));
    }

    /// Raises the alarm about a chain, once: its node forked, or a member says of it what we know to be otherwise.
    pub(super) fn alarm(&mut self, chain: ChainId, member: Option<SubjectId>, events: &mut VecDeque<Event>) {
        if self.alarmed.insert((chain, member)) {
            let dossier = self.replica.dossier();
            events.push_back(match member {
                None => Event::Forked { dossier, chain },
                Some(member) => Event::Disagreed {
                    dossier,
                    chain,
                    member,
                },
            });
        }
    }
}

/// JRN-4: no node dates what it signs, and so what it recorded, into the future.
pub(super) fn check_time(head: &SignedHead, now: Instant) -> Result<(), Untrusted> {
    let claimed = head.head().time;
    if claimed > now + Span::from_ms(limits::CLAIM_AHEAD_MS) {
        return Err(Untrusted::ClaimedAhead { claimed, now });
    }
    Ok(())
}
