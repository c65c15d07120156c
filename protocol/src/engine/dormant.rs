//! Dossiers that nobody touches: a summary stands for each, until somebody needs more and it is read back.
//!
//! ```text
//! at rest ──Row::Summary──▶ store ──start: same basis?──▶ dormant ──poll_wake──▶ restore_…, handle_awake ──▶ awake
//! ```
//! A summary says what hello, repair, status and the confirmation of our own chain (JRN-6) need. The journal decides:
//! a summary that was not made of exactly what the store holds of the dossier is not used. Nothing is acknowledged,
//! signed or stored on the word of a summary; the first frame that says anything new wakes the dossier, waits
//! meanwhile, and then goes through the same door as ever.

use std::collections::BTreeSet;

use super::{Basis, Engine, Held, Registry, Row, Summary, inventory};
use crate::error::{Error, Refused};
use crate::id::{Digest, DossierId, Incarnation, SubjectId};
use crate::journal::{HeadRow, SignedHead};
use crate::plant::{Bug, planted};
use crate::time::Instant;
use crate::wire::frame::{Frame, Frontier};
use crate::wire::limits;

/// Frames that may wait for one dossier that is being read back; those beyond are repeated by the peers. SYN-7.
const PARKED_FRAMES: usize = 64;
/// Bytes of frames that may wait for all of them.
const PARKED_BYTES: usize = 16 << 20;
/// What is summarised in one period of repair has so many entries, unless the node stops. A larger dossier is
/// summarised alone, and once in as many periods: a summary takes some time for each entry.
const ENTRIES_PER_PERIOD: usize = 20_000;

/// A dossier that is not in memory.
#[derive(Debug)]
pub(super) struct Dormant {
    /// Without one it is on its way back.
    summary: Option<Summary>,
    /// The number of its last change, which is when it was found in the store, and the digest of its rows.
    pub(super) changed: u64,
    rows_digest: Option<Digest>,
    /// The members that have said since the start that they hold exactly what we do. JRN-6.
    confirmed_by: BTreeSet<SubjectId>,
    /// What has been read back of it, once that has begun.
    pub(super) waking: Option<Box<Held>>,
    /// Frames that wait for it, with their peers.
    parked: Vec<(SubjectId, Vec<u8>)>,
    /// Some found no room.
    missed: bool,
}

impl Dormant {
    /// Its summary, if two nodes are members both.
    pub(super) fn shared(&self, one: &SubjectId, other: &SubjectId) -> Option<&Summary> {
        let summary = self.summary.as_ref();
        summary.filter(|summary| summary.is_shared(one, other))
    }

    /// Whether a peer, as far as we know, does not hold all of it.
    pub(super) fn is_behind(&self, peer: &SubjectId) -> bool {
        let equal = |summary: &Summary| summary.equal.contains(peer) || self.confirmed_by.contains(peer);
        self.summary.as_ref().is_some_and(|summary| !equal(summary))
    }

    /// What stands for it between two members: the same as if it were awake. Nothing is wanting of what is at rest.
    pub(super) fn digest_between(&mut self, one: &SubjectId, other: &SubjectId) -> Option<Digest> {
        let known = self.rows_digest;
        let summary = self.shared(one, other)?;
        let rows = known.unwrap_or_else(|| inventory::rows_digest(&summary.rows));
        let head = |node| summary.head_of(node);
        let digest = inventory::digest(rows, &[], [head(one.min(other)), head(one.max(other))]);
        self.rows_digest = Some(rows);
        Some(digest)
    }

    /// A member has said that it holds exactly what we do. JRN-6.
    pub(super) fn note_confirmation(&mut self, peer: SubjectId) {
        self.confirmed_by.insert(peer);
    }

    /// Keeps a frame until it is awake; false if there is no room.
    fn park(&mut self, from: SubjectId, bytes: &[u8], all: &mut usize) -> bool {
        let room = self.parked.len() < PARKED_FRAMES && *all + bytes.len() <= PARKED_BYTES;
        if room {
            *all += bytes.len();
            self.parked.push((from, bytes.to_vec()));
        }
        room
    }

    /// Our latest head.
    pub(super) fn own_head(&self) -> Option<&[u8]> {
        self.summary.as_ref()?.own_head()
    }
}

impl<R: Registry> Engine<R> {
    /// Takes note of a dossier that the store holds, and of which nothing has been restored: with a summary that was
    /// made of `basis` it stays dormant, else it is to be read back. True if it stays dormant.
    pub fn restore_dormant(&mut self, dossier: DossierId, basis: &Basis, summary: Option<Summary>) -> bool {
        let fits = |summary: &Summary| {
            let same = summary.basis == *basis || planted(Bug::StaleSummaryBelieved);
            same && summary.dossier == dossier && summary.is_current(&self.registry)
        };
        let summary = summary.filter(fits);
        self.changes += 1;
        let dormant = Dormant {
            summary,
            changed: self.changes,
            rows_digest: None,
            confirmed_by: BTreeSet::new(),
            waking: None,
            parked: Vec::new(),
            missed: false,
        };
        let stays = dormant.summary.is_some();
        self.dormant.insert(dossier, dormant);
        if !stays {
            self.wake(dossier);
        }
        stays
    }

    /// Dossiers at rest that are not in memory.
    pub fn dormant(&self) -> impl Iterator<Item = &Summary> {
        self.dormant
            .values()
            .filter_map(|dormant| dormant.summary.as_ref())
    }

    /// Dossiers that are not in memory and may keep a node: as their summaries say, and those that are still to be read
    /// back because none could be used.
    pub fn dormant_that_keep<'a>(&'a self, node: &'a SubjectId) -> impl Iterator<Item = DossierId> + 'a {
        let keeps = |dormant: &Dormant| dormant.summary.as_ref().is_none_or(|one| one.keeps(node));
        let kept = self.dormant.iter().filter(move |(_, dormant)| keeps(dormant));
        kept.map(|(dossier, _)| *dossier)
    }

    /// Whether a dossier is known and not in memory: [`Self::wake`] it.
    pub fn is_dormant(&self, dossier: &DossierId) -> bool {
        self.dormant.contains_key(dossier)
    }

    /// Asks for every dossier that is not in memory to be read back; true if there is none.
    pub fn wake_all(&mut self) -> bool {
        for dossier in self.dormant.keys().copied().collect::<Vec<_>>() {
            self.wake(dossier);
        }
        self.dormant.is_empty()
    }

    /// How many dossiers are to be read back: [`Self::poll_wake`] names them.
    pub fn wakes(&self) -> usize {
        self.wakes.len()
    }

    /// When this node last signed a head, of those that it knows of, and under which incarnation.
    pub fn last_signed(&self) -> Option<(Instant, Incarnation)> {
        let own = |held: &Held| {
            let head = held.replica.heads().get(&self.node)?.head();
            Some((head.time, head.incarnation))
        };
        let dormant = self.dormant().filter_map(Summary::signed);
        self.dossiers.values().filter_map(own).chain(dormant).max()
    }

    /// How far a dossier is held, whether it is in memory or a summary stands for it.
    pub fn frontier(&self, dossier: &DossierId) -> Option<Vec<HeadRow>> {
        let awake = self.dossier(dossier).map(|replica| replica.frontier());
        awake.or_else(|| Some(self.dormant.get(dossier)?.summary.as_ref()?.rows.clone()))
    }

    /// Asks for a dormant dossier to be read back; again changes nothing.
    pub fn wake(&mut self, dossier: DossierId) {
        let (node, fresh) = (self.node, self.fresh);
        if let Some(dormant) = self.dormant.get_mut(&dossier)
            && dormant.waking.is_none()
        {
            dormant.waking = Some(Box::new(Held::new(dossier, node, fresh)));
            self.wakes.push_back(dossier);
        }
    }

    /// A dossier to be read back: its writer, keys, runs and heads through the `restore_` methods, in that order and in
    /// as many steps as the caller likes, then [`Self::handle_awake`].
    pub fn poll_wake(&mut self) -> Option<DossierId> {
        self.wakes.pop_front()
    }

    /// A dossier has been read back: it counts from now on, and what has waited for it is taken.
    pub fn handle_awake(&mut self, dossier: DossierId, now: Instant) {
        let Some(dormant) = self.dormant.remove(&dossier) else {
            return;
        };
        let Some(mut held) = dormant.waking else {
            return;
        };
        held.confirmed_by = dormant.confirmed_by;
        held.confirm();
        // Verdicts may be others, and so who is a member: it is compared again.
        held.note_change(&mut self.changes);
        self.dossiers.insert(dossier, *held);
        self.ask_later_keys(dossier);
        for (from, bytes) in dormant.parked {
            self.parked_bytes -= bytes.len();
            if self.is_joined(&from) {
                self.handle_frame(from, &bytes, now);
            }
        }
        // Peers that found it without a summary, or were not heard, have not been told how far we hold it.
        if dormant.summary.is_none() || dormant.missed {
            for peer in self.peers().collect::<Vec<_>>() {
                if self.is_node_of(&peer, &dossier) {
                    self.offer_frontier(peer, dossier);
                }
            }
        }
    }

    fn is_joined(&self, peer: &SubjectId) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.joined)
    }

    fn is_node_of(&self, peer: &SubjectId, dossier: &DossierId) -> bool {
        let held = self.dossiers.get(dossier);
        held.is_some_and(|held| held.replica.state().nodes().contains(peer))
    }

    /// The dormant dossiers of which a peer is a member and lags.
    pub(super) fn dormant_behind(&self, peer: &SubjectId) -> Vec<DossierId> {
        let behind = |dormant: &Dormant| dormant.shared(peer, peer).is_some() && dormant.is_behind(peer);
        let behind = self.dormant.iter().filter(|(_, dormant)| behind(dormant));
        behind.map(|(dossier, _)| *dossier).collect()
    }

    /// Our frontier of a dormant dossier, as a peer is sent it. SYN-5.
    pub(super) fn dormant_frontier(&self, to: &SubjectId, dossier: &DossierId) -> Option<Frontier> {
        let summary = self.dormant.get(dossier)?.summary.as_ref()?;
        let wraps = summary.wraps.iter().filter(|wrap| wrap.recipient == *to);
        Some(Frontier {
            dossier: *dossier,
            rows: summary.rows.clone(),
            wraps: wraps.take(limits::DOSSIER_NODES).cloned().collect(),
            head: summary.head.as_ref().map(|(head, _)| head.clone()),
            // A dossier of which a message is wanting is not summarised.
            lacking: Vec::new(),
            // Others' heads are not in summaries: who wants its own back names another one, and wakes the dossier.
            yours: None,
        })
    }

    /// What a peer says of a dormant dossier: true if it was that. What says nothing new is taken here; what may say
    /// something new waits until the dossier is awake.
    pub(super) fn take_dormant(
        &mut self,
        from: SubjectId,
        frame: &Frame,
        bytes: &[u8],
    ) -> Result<bool, Error> {
        if self.dormant.is_empty() {
            return Ok(false);
        }
        if let Frame::ProofRequest(request) = frame {
            return self.park_question(from, request.dossier, bytes);
        }
        let head = match frame {
            Frame::Frontier(_) => None,
            // Who did not sign a head of this dossier wakes nobody.
            Frame::Run(run) if self.is_dormant(&run.dossier) => {
                Some(SignedHead::verify(&run.head, &self.registry)?)
            }
            Frame::Head(head) => Some(SignedHead::verify(head, &self.registry)?),
            Frame::Hello(_)
            | Frame::RegistryLeaves(_)
            | Frame::RegistryRequest(_)
            | Frame::Run(_)
            | Frame::Refusal(_)
            | Frame::Inventory(_)
            | Frame::ProofRequest(_)
            | Frame::Proof(_)
            | Frame::Checkpoint(_)
            | Frame::Equivocation(_) => return Ok(false),
        };
        let dossier = match (frame, &head) {
            (Frame::Frontier(frontier), _) => frontier.dossier,
            (_, Some(head)) => head.head().dossier,
            (_, None) => return Ok(false),
        };
        let Some(dormant) = self.dormant.get(&dossier) else {
            return Ok(false);
        };
        let brings_later = match frame {
            Frame::Frontier(frontier) => self.brings_later(frontier, dormant.own_head())?,
            _ => false,
        };
        let Some(dormant) = self.dormant.get_mut(&dossier) else {
            return Ok(false);
        };
        if let Some(summary) = &dormant.summary {
            let known = |head: &[u8]| {
                let digest = Digest::of(&[head]);
                summary.basis.heads.iter().any(|(_, known)| *known == digest)
            };
            match (frame, &head) {
                (Frame::Frontier(frontier), _) => {
                    if !summary.nodes.contains(&from) {
                        return Err(Refused::UnknownDossier { dossier }.into());
                    }
                    let bounded = frontier.wraps.len() <= limits::DOSSIER_NODES;
                    let head = frontier.head.as_ref().map(|head| Digest::of(&[head]));
                    let same = frontier.rows == summary.rows && head == summary.head_of(&from);
                    let wants = !frontier.lacking.is_empty();
                    if bounded && same && !wants && !brings_later {
                        self.note_equal(from, dossier);
                        self.offer_head(from, dossier, frontier.yours.as_deref().map(Vec::as_slice));
                        return Ok(true);
                    }
                }
                (Frame::Run(run), Some(head)) => {
                    let member = summary.nodes.contains(&run.chain.node)
                        || (summary.nodes.contains(&from) && summary.ever_nodes.contains(&run.chain.node));
                    if !member || head.head().chain() != run.chain {
                        let author = run.chain.node;
                        return Err(Refused::NotParticipant { author }.into());
                    }
                    if head
                        .head()
                        .own_row()
                        .is_some_and(|row| summary.rows.contains(row))
                    {
                        return Ok(true);
                    }
                }
                (_, Some(head)) => {
                    let author = head.head().node;
                    if !summary.nodes.contains(&from) || !summary.nodes.contains(&author) {
                        return Err(Refused::NotParticipant { author }.into());
                    }
                    if known(&head.encode()) {
                        return Ok(true);
                    }
                }
                (_, None) => {}
            }
        }
        let parked = dormant.park(from, bytes, &mut self.parked_bytes);
        dormant.missed |= !parked;
        self.wake(dossier);
        match frame {
            Frame::Run(_) if !parked => Err(Refused::NoRoom { dossier }.into()),
            _ => Ok(true),
        }
    }

    /// A question of a member about a dormant dossier waits until it is awake; nobody repeats one for which there is no
    /// room. True if the dossier is dormant.
    fn park_question(&mut self, from: SubjectId, dossier: DossierId, bytes: &[u8]) -> Result<bool, Error> {
        let Some(dormant) = self.dormant.get_mut(&dossier) else {
            return Ok(false);
        };
        let summary = dormant.summary.as_ref();
        if summary.is_some_and(|summary| !summary.is_shared(&self.node, &from)) {
            return Err(Refused::UnknownDossier { dossier }.into());
        }
        let parked = dormant.park(from, bytes, &mut self.parked_bytes);
        self.wake(dossier);
        if parked {
            Ok(true)
        } else {
            Err(Refused::Dormant { dossier }.into())
        }
    }

    /// The registry has changed: what rests on a certificate that it no longer vouches for is judged again.
    pub(super) fn wake_where_signers_changed(&mut self) {
        let stale = |dormant: &Dormant| {
            let summary = dormant.summary.as_ref();
            summary.is_some_and(|summary| !summary.is_current(&self.registry))
        };
        let stale = self.dormant.iter().filter(|(_, dormant)| stale(dormant));
        for dossier in stale.map(|(dossier, _)| *dossier).collect::<Vec<_>>() {
            self.wake(dossier);
        }
        for held in self
            .dormant
            .values_mut()
            .filter_map(|dormant| dormant.waking.as_mut())
        {
            held.replica.judge_again(&self.registry);
        }
    }

    /// Summarises the dossiers at rest that have changed since they were summarised: as many as one period has room
    /// for, each in its turn, or all of them, where the node stops.
    pub fn summarise(&mut self, stopping: bool) {
        let mut room = ENTRIES_PER_PERIOD;
        let mut turns: Vec<_> = self.dossiers.keys().copied().collect();
        let first = turns.partition_point(|dossier| *dossier <= self.summarised);
        turns.rotate_left(first);
        for dossier in turns {
            let Some(held) = self.dossiers.get_mut(&dossier) else {
                continue;
            };
            let entries = held.replica.entries();
            held.periods += 1;
            let due = held.periods > entries / ENTRIES_PER_PERIOD && room > 0;
            let basis = held.basis();
            if !(due || stopping) || held.summary_of.as_ref() == Some(&basis) {
                continue;
            }
            if let Some(summary) = held.summary(basis.clone(), self.node) {
                (held.summary_of, held.periods) = (Some(basis), 0);
                let summary = Box::new(summary);
                self.stage.rows.push(Row::Summary { summary });
                self.summarised = dossier;
                room = room.saturating_sub(entries.max(1));
            }
        }
    }
}
