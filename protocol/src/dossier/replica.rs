//! A dossier as one node holds it: every chain, the verdict on every entry, and the state they add up to. SPEC §8.4.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::keys::Handed;
use super::verdict::{Recorded, View};
use super::{Fact, State};
use crate::directory::Directory;
use crate::envelope::{Envelope, EpochKey, Sealed, Verified};
use crate::error::{Error, Refused, Untrusted};
use crate::id::{Digest, DossierId, MessageId, SubjectId};
use crate::journal::{
    Branch, Chain, ChainId, Chains, Citation, Content, Entry, EpochWrap, HeadRow, Past, Record, SignedHead,
    Standing,
};
use crate::message::Residual;
use crate::plant::{Bug, planted};
use crate::time::Instant;

/// An entry with its sealed message, as they travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunItem {
    /// The entry.
    pub entry: Entry,
    /// The message that it records: absent once it is erased, or as long as it has not come.
    pub sealed: Option<Sealed>,
}

impl RunItem {
    /// Whether the message, if it is there, is the one that the entry records.
    fn is_whole(&self) -> bool {
        let sealed = self.sealed.as_ref();
        sealed.is_none_or(|sealed| sealed.digest() == self.entry.sealed_digest)
    }

    fn content(&self) -> Content {
        let sealed = self.sealed.clone().map(Arc::new);
        sealed.map_or(Content::Absent, Content::Sealed)
    }
}

/// An entry with its opened message, as an evidence bundle carries them: nothing in it is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedItem {
    /// The entry.
    pub entry: Entry,
    /// The message that it records, where it is at hand.
    pub envelope: Option<Envelope>,
}

/// What became of a run of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The entries from this position on were new, and are now held.
    Applied {
        /// The history that they belong to.
        branch: Branch,
        /// The first new position.
        from: u64,
        /// They begin another history than those held before: the chain's node has forked. JRN-10.
        forked: bool,
    },
    /// Every entry was held already.
    Known,
    /// An earlier entry of this chain, or one that it cites, has not come yet.
    Early,
    /// They go on from another history than any that we hold, which has not come yet: a fork. JRN-10.
    Elsewhere,
}

/// A dossier as one node holds it.
#[derive(Clone, Debug)]
pub struct Replica {
    pub(super) dossier: DossierId,
    pub(super) chains: Chains,
    /// The numbers that pasts know the branches by: the order in which they came.
    pub(super) numbers: BTreeMap<Branch, usize>,
    pub(super) held: Past,
    pub(super) state: State,
    /// What the verdicts take the court to have ordered of forked chains. JRN-14.
    pub(super) settled: BTreeMap<ChainId, Citation>,
    /// The messages that the verdicts take to be erased, and what those are judged by. ERA-4.
    pub(super) erased: BTreeMap<MessageId, Residual>,
    pub(super) positions: BTreeMap<MessageId, (Branch, u64)>,
    /// Where each dire and exhibit that takes effect stands: as often as it is on file. BAR-4.
    pub(super) placed: BTreeMap<MessageId, Vec<(Branch, u64)>>,
    /// The frontiers that milestones with effect close over.
    pub(super) closings: BTreeMap<MessageId, Vec<HeadRow>>,
    /// Where else a message is on file.
    pub(super) repeats: BTreeMap<MessageId, Vec<(Branch, u64)>>,
    /// Positions in the order in which they were applied here: a causal order.
    pub(super) order: Vec<(Branch, u64)>,
    pub(super) keys: BTreeMap<u64, EpochKey>,
    pub(super) heads: BTreeMap<SubjectId, SignedHead>,
    /// What entries hand out, in the order in which they were applied.
    pub(super) handed: Vec<Handed>,
    pub(super) pending: usize,
    /// For each node, the past of one of its latest entries and the state of that past.
    pub(super) views: BTreeMap<SubjectId, View>,
}

impl Replica {
    /// An empty replica of `dossier`.
    pub fn new(dossier: DossierId) -> Self {
        Self {
            dossier,
            chains: Chains::default(),
            numbers: BTreeMap::new(),
            held: Past::default(),
            state: State::default(),
            settled: BTreeMap::new(),
            erased: BTreeMap::new(),
            positions: BTreeMap::new(),
            placed: BTreeMap::new(),
            closings: BTreeMap::new(),
            repeats: BTreeMap::new(),
            order: Vec::new(),
            keys: BTreeMap::new(),
            heads: BTreeMap::new(),
            handed: Vec::new(),
            pending: 0,
            views: BTreeMap::new(),
        }
    }

    /// The dossier.
    pub fn dossier(&self) -> DossierId {
        self.dossier
    }

    /// The state that the effective messages add up to.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The history of a chain that came first.
    pub fn chain(&self, chain: &ChainId) -> Option<&Chain> {
        self.chains.get(&Branch::first(*chain))
    }

    /// Every chain, with each of its histories.
    pub fn chains(&self) -> &Chains {
        &self.chains
    }

    /// Entries held, of all chains.
    pub fn entries(&self) -> usize {
        self.order.len()
    }

    /// Entries that wait for a key or a signer.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Records in a causal order.
    pub fn records(&self) -> impl Iterator<Item = (Branch, u64, &Record)> {
        self.order
            .iter()
            .filter_map(|(branch, seq)| Some((*branch, *seq, self.chains.record(branch, *seq)?)))
    }

    /// How far each history of each chain is held: what a head says. JRN-4.
    pub fn frontier(&self) -> Vec<HeadRow> {
        self.chains.rows()
    }

    /// Where a message is on file.
    pub fn position(&self, message: &MessageId) -> Option<(Branch, u64)> {
        self.positions.get(message).copied()
    }

    /// Every place where a message is on file.
    pub fn positions_of(&self, message: &MessageId) -> impl Iterator<Item = (Branch, u64)> {
        let repeats = self.repeats.get(message).into_iter().flatten().copied();
        self.position(message).into_iter().chain(repeats)
    }

    /// The latest head of each node.
    pub fn heads(&self) -> &BTreeMap<SubjectId, SignedHead> {
        &self.heads
    }

    /// The nodes other than `node` that hold a message, by their own latest heads. The level *transmitted* is one
    /// of them, *received* all that the roster names. SPEC §8.5.
    pub fn holders(&self, message: &MessageId, node: SubjectId) -> Vec<SubjectId> {
        let Some((branch, seq)) = self.position(message) else {
            return Vec::new();
        };
        let covers =
            |head: &SignedHead| self.chains.known_by(&branch, head.head().rows_of(&branch.chain)) > seq;
        self.heads
            .iter()
            .filter(|(holder, head)| **holder != node && covers(head))
            .map(|(holder, _)| *holder)
            .collect()
    }

    /// Whether a submission is authentic and lawful on top of all that we hold. ADM-3.
    pub fn admit(&self, verified: &Verified, now: Instant) -> Result<Fact, Error> {
        let message = verified.message();
        if message.dossier.is_some_and(|dossier| dossier != self.dossier) {
            return Err(Refused::UnknownDossier {
                dossier: self.dossier,
            }
            .into());
        }
        let outside = self.outside(&message.body);
        let fact = self.state.decide(verified.id(), message, now, &outside)?;
        self.check_frontier(&message.body, &self.held)?;
        self.check_on_file(message)?;
        Ok(fact)
    }

    /// The entry with which `chain` would record a message now. `adopts` only for a chain's first entry.
    pub fn draft(
        &self,
        chain: ChainId,
        envelope: &Envelope,
        sealed: &Sealed,
        now: Instant,
        wraps: Vec<EpochWrap>,
        adopts: Option<Citation>,
    ) -> Entry {
        let branch = Branch::first(chain);
        let own = self.chains.get(&branch);
        let last = own.and_then(Chain::last);
        let cited = self.past_of_next(&branch);
        let fresh = |(id, other): (&Branch, &Chain)| {
            let leaf = other.last()?.0;
            let news = id.chain != chain && other.size() > cited.size(*self.numbers.get(id)?);
            news.then_some(Citation {
                chain: id.chain,
                seq: other.size() - 1,
                leaf,
            })
        };
        let mut deps: Vec<_> = self.chains.iter().filter_map(fresh).collect();
        deps.sort_by_key(|cited| (cited.chain, cited.leaf));
        Entry {
            dossier: self.dossier,
            chain,
            seq: own.map_or(0, Chain::size),
            prev: last.map(|(leaf, _)| leaf),
            deps,
            recorded_at: last.map_or(now, |(_, at)| at.max(now)),
            message: envelope.id(),
            envelope_digest: envelope.digest(),
            sealed_digest: sealed.digest(),
            wraps,
            adopts,
        }
    }

    /// The past that the next entry of a branch has before it cites anything new.
    fn past_of_next(&self, branch: &Branch) -> Past {
        let last = self.chains.get(branch).map_or(0, Chain::size);
        last.checked_sub(1)
            .and_then(|seq| self.past_with(branch, seq))
            .unwrap_or_default()
    }

    /// The past of an entry that we hold, and the entry itself.
    pub fn past_with(&self, branch: &Branch, seq: u64) -> Option<Past> {
        let owner = self.chains.owner(branch, seq);
        let mut past = self.chains.record(&owner, seq)?.past.clone();
        past.raise(*self.numbers.get(&owner)?, seq + 1);
        Some(past)
    }

    /// The causal past of the next entry of a branch; `None` while we lack some of what it cites.
    fn past(&self, branch: &Branch, entry: &Entry) -> Option<Past> {
        let mut past = self.past_of_next(branch);
        for cited in entry.deps.iter().chain(&entry.adopts) {
            past.join(&self.past_with(&self.chains.locate(cited)?, cited.seq)?);
        }
        Some(past)
    }

    /// Takes a run of one chain that a verified head closes: whatever brought it, peer, import or restore. ADM-1.
    pub fn receive(
        &mut self,
        items: &[RunItem],
        head: &SignedHead,
        directory: &dyn Directory,
    ) -> Result<Received, Error> {
        if !items.iter().all(RunItem::is_whole) {
            return mismatch("a sealed message is not the one recorded");
        }
        let entries: Vec<_> = items.iter().map(|item| &item.entry).collect();
        let content = |index: usize| items[index].content();
        self.take_run(&entries, &content, head, directory)
    }

    /// Takes a run whose messages come opened, from an evidence bundle. What is sealed in none of them is checked
    /// as in [`Self::receive`]; a message that is not at hand leaves its entry pending. ADM-1.
    pub fn receive_opened(
        &mut self,
        items: &[OpenedItem],
        head: &SignedHead,
        directory: &dyn Directory,
    ) -> Result<Received, Error> {
        let recorded = |item: &OpenedItem| match &item.envelope {
            Some(envelope) => {
                envelope.id() == item.entry.message && envelope.digest() == item.entry.envelope_digest
            }
            None => true,
        };
        if !items.iter().all(recorded) {
            return mismatch("a message is not the one recorded");
        }
        let entries: Vec<_> = items.iter().map(|item| &item.entry).collect();
        let content = |index: usize| match &items[index].envelope {
            Some(envelope) => Content::Opened(Arc::new(envelope.clone())),
            None => Content::Absent,
        };
        self.take_run(&entries, &content, head, directory)
    }

    /// The one door: `content` gives what is at hand of each entry's message, held to the entry already.
    fn take_run(
        &mut self,
        entries: &[&Entry],
        content: &dyn Fn(usize) -> Content,
        head: &SignedHead,
        directory: &dyn Directory,
    ) -> Result<Received, Error> {
        let Some(first) = entries.first().copied() else {
            return Ok(Received::Known);
        };
        let id = first.chain;
        if head.head().dossier != self.dossier || entries.iter().any(|entry| entry.dossier != self.dossier) {
            return mismatch("another dossier");
        }
        if head.head().chain() != id {
            return mismatch("another chain");
        }
        let Some(row) = head.head().own_row() else {
            return mismatch("the head has no entries");
        };
        if planted(Bug::HeightsOnly) && self.chain(&id).is_some_and(|chain| row.size <= chain.size()) {
            return Ok(Received::Known);
        }
        let empty = Chain::default();
        let (held, known) = match self.chains.follow(&id, entries) {
            Some((branch, known)) => (branch, known),
            None if first.seq == 0 && first.prev.is_none() => (Branch::first(id), 0),
            None => {
                let parted = self.chains.of(&id).any(|(_, chain)| chain.size() >= first.seq);
                return Ok(if parted {
                    Received::Elsewhere
                } else {
                    Received::Early
                });
            }
        };
        let news = &entries[known..];
        let from = first.seq + known as u64;
        let chain = self.chains.get(&held).unwrap_or(&empty);
        if news.is_empty() {
            let root = chain.tree().root_at(row.size).map(Digest::new);
            return match chain.contains(row) && root == Some(row.root) {
                true => Ok(Received::Known),
                false => mismatch("the head covers other entries than these"),
            };
        }
        let forked = chain.size() > from;
        if forked && !self.chains.has_room(&id) {
            return mismatch("the chain has too many histories");
        }
        let parting = forked.then(|| self.chains.parting(&held, from));
        let leaves = parting.as_ref().unwrap_or(chain).check_run(news, row)?;
        if entries
            .last()
            .is_some_and(|entry| entry.recorded_at > head.head().time)
        {
            return mismatch("an entry is recorded after its head was signed");
        }
        // Citations must be held before any effect: all entries, or none.
        let mut cited = news
            .iter()
            .flat_map(|entry| entry.deps.iter().chain(&entry.adopts));
        if !cited.all(|cited| self.chains.locate(cited).is_some()) {
            return Ok(Received::Early);
        }
        if planted(Bug::PoisonBlocksQueue)
            && (known..entries.len())
                .any(|index| self.is_poison(held, entries[index], content(index), directory))
        {
            return mismatch("a message is not authentic");
        }
        let branch = parting.map_or(held, |parting| self.chains.part(id, parting));
        for ((entry, leaf), index) in news.iter().zip(leaves).zip(known..) {
            self.record(branch, entry, leaf, content(index), directory);
        }
        self.note_head(head);
        // What a fork, or an order of the court, changes may lie before what has just come. JRN-14.
        if forked || !self.is_stable() || self.ends_settlement(&id, from..row.size) {
            self.judge_again(directory);
        }
        Ok(Received::Applied { branch, from, forked })
    }

    /// How many of a run's entries are held already.
    pub(crate) fn known_of(&self, items: &[RunItem]) -> usize {
        let Some(first) = items.first() else {
            return 0;
        };
        let entries: Vec<_> = items.iter().map(|item| &item.entry).collect();
        let followed = self.chains.follow(&first.entry.chain, &entries);
        followed.map_or(0, |(_, known)| known)
    }

    /// Whether a run begins a third history of its chain, which no other member's head covers: its node could make up
    /// any number of them. JRN-13.
    pub(crate) fn is_strange(&self, items: &[RunItem], head: &SignedHead) -> bool {
        let chain = head.head().chain();
        if self.chains.fork(&chain).is_none() {
            return false;
        }
        let entries: Vec<_> = items.iter().map(|item| &item.entry).collect();
        let Some((held, known)) = self.chains.follow(&chain, &entries) else {
            return false;
        };
        let (Some(held), Some(first), Some(last)) = (self.chains.get(&held), entries.first(), entries.last())
        else {
            return false;
        };
        let begins = known < entries.len() && held.size() > first.seq + known as u64;
        let covers = |row: &HeadRow| {
            row.size > last.seq + 1 || entries[known..].iter().any(|entry| entry.leaf() == row.leaf)
        };
        let others = self.heads.iter().filter(|(node, _)| **node != chain.node);
        let unknown = |row: &&HeadRow| !matches!(self.chains.standing(row), Standing::Held(_));
        let mut rows = others
            .flat_map(|(_, head)| head.head().rows_of(&chain))
            .filter(unknown);
        begins && !rows.any(covers)
    }

    /// Appends an entry whose place has been checked, with its verdict. Cannot fail.
    pub(crate) fn apply(&mut self, item: &RunItem, directory: &dyn Directory) {
        let branch = Branch::first(item.entry.chain);
        self.record(branch, &item.entry, item.entry.leaf(), item.content(), directory);
        if !self.is_stable() {
            self.judge_again(directory);
        }
    }

    fn record(
        &mut self,
        branch: Branch,
        entry: &Entry,
        leaf: Digest,
        content: Content,
        directory: &dyn Directory,
    ) {
        let newest = self.numbers.len();
        let number = *self.numbers.entry(branch).or_insert(newest);
        let past = self.past(&branch, entry).unwrap_or_default();
        let recorded = Recorded::of(branch, entry);
        let (verdict, content) = self.judge(recorded, &past, content, directory);
        let record = Record {
            message: entry.message,
            envelope: entry.envelope_digest,
            recorded_at: entry.recorded_at,
            verdict,
            content,
            past,
        };
        self.note_wraps((branch, entry.seq), entry, &record.past);
        self.take_effect(&record, (branch, entry.seq));
        self.held.raise(number, entry.seq + 1);
        let place = (branch, entry.seq);
        if *self.positions.entry(entry.message).or_insert(place) != place {
            self.repeats.entry(entry.message).or_default().push(place);
        }
        self.order.push((branch, entry.seq));
        self.chains.entry(branch).push(leaf, record);
    }

    /// Keeps a node's head if it is later than the one we have. True if it was news.
    pub fn note_head(&mut self, head: &SignedHead) -> bool {
        let node = head.head().node;
        if let Some(row) = head.head().own_row()
            && let Standing::Held(branch) = self.chains.standing(row)
        {
            self.chains.entry(branch).note_head(head);
        }
        let known = self.heads.get(&node);
        let later = known.is_none_or(|known| head.supersedes(known));
        if later {
            self.heads.insert(node, head.clone());
        }
        later
    }
}

fn mismatch<T>(what: &'static str) -> Result<T, Error> {
    Err(Untrusted::HeadMismatch { what }.into())
}
