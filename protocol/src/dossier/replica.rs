//! A dossier as one node holds it: every chain, the verdict on every entry, and the state they add up to. SPEC §8.4.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Fact, State};
use crate::directory::{Directory, Status};
use crate::envelope::{self, Envelope, EpochKey, Sealed, Verified};
use crate::error::{Error, Refused, Untrusted};
use crate::id::{CertificateId, Digest, DossierId, MessageId, SubjectId};
use crate::journal::{
    Chain, ChainId, Citation, Content, Entry, EpochWrap, HeadRow, Need, Past, Record, SignedHead, Verdict,
};
use crate::message::{Body, Message};
use crate::plant::{Bug, planted};
use crate::refusal::Code;
use crate::time::Instant;

/// An entry with its sealed message, as they travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunItem {
    /// The entry.
    pub entry: Entry,
    /// The message that it records.
    pub sealed: Sealed,
}

/// An entry with its opened message, as an evidence bundle carries them: nothing in it is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedItem {
    /// The entry.
    pub entry: Entry,
    /// The message that it records, where it is at hand.
    pub envelope: Option<Envelope>,
}

/// What an entry says of its message.
#[derive(Clone, Copy)]
struct Recorded {
    node: SubjectId,
    message: MessageId,
    envelope: Digest,
    at: Instant,
}

impl Recorded {
    fn of(entry: &Entry) -> Self {
        Self {
            node: entry.chain.node,
            message: entry.message,
            envelope: entry.envelope_digest,
            at: entry.recorded_at,
        }
    }
}

/// What became of a run of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The entries from this position on were new, and are now held.
    Applied {
        /// The first new position.
        from: u64,
    },
    /// Every entry was held already.
    Known,
    /// An earlier entry of this chain, or one that it cites, has not come yet.
    Early,
    /// The head contradicts what we hold of the same chain: a fork. JRN-10.
    Forked,
}

/// A dossier as one node holds it.
#[derive(Clone, Debug)]
pub struct Replica {
    dossier: DossierId,
    chains: BTreeMap<ChainId, Chain>,
    /// The numbers that pasts know the chains by: the order in which they came.
    numbers: BTreeMap<ChainId, usize>,
    held: Past,
    state: State,
    positions: BTreeMap<MessageId, (ChainId, u64)>,
    /// Positions in the order in which they were applied here: a causal order.
    order: Vec<(ChainId, u64)>,
    keys: BTreeMap<u64, EpochKey>,
    heads: BTreeMap<SubjectId, SignedHead>,
    wraps: Vec<EpochWrap>,
    pending: usize,
    /// For each node, the past of one of its latest entries and the state of that past.
    views: BTreeMap<SubjectId, View>,
}

/// What a node knew when it recorded an entry: the next entry of its chain knows that and a little more.
#[derive(Clone, Debug, Default)]
struct View {
    past: Past,
    state: State,
}

impl Replica {
    /// An empty replica of `dossier`.
    pub fn new(dossier: DossierId) -> Self {
        Self {
            dossier,
            chains: BTreeMap::new(),
            numbers: BTreeMap::new(),
            held: Past::default(),
            state: State::default(),
            positions: BTreeMap::new(),
            order: Vec::new(),
            keys: BTreeMap::new(),
            heads: BTreeMap::new(),
            wraps: Vec::new(),
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

    /// A chain that we hold something of.
    pub fn chain(&self, chain: &ChainId) -> Option<&Chain> {
        self.chains.get(chain)
    }

    /// Every chain.
    pub fn chains(&self) -> &BTreeMap<ChainId, Chain> {
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
    pub fn records(&self) -> impl Iterator<Item = (ChainId, u64, &Record)> {
        self.order
            .iter()
            .filter_map(|(chain, seq)| Some((*chain, *seq, self.chains.get(chain)?.record(*seq)?)))
    }

    /// Where a message is on file.
    pub fn position(&self, message: &MessageId) -> Option<(ChainId, u64)> {
        self.positions.get(message).copied()
    }

    /// How far each chain is held: what a head says. JRN-4.
    pub fn frontier(&self) -> Vec<HeadRow> {
        self.chains
            .iter()
            .filter_map(|(id, chain)| chain.row(*id))
            .collect()
    }

    /// The latest head of each node.
    pub fn heads(&self) -> &BTreeMap<SubjectId, SignedHead> {
        &self.heads
    }

    /// The key of an epoch.
    pub fn key(&self, epoch: u64) -> Option<&EpochKey> {
        self.keys.get(&epoch)
    }

    /// Every key, by epoch.
    pub fn keys(&self) -> impl Iterator<Item = (u64, &EpochKey)> {
        self.keys.iter().map(|(epoch, key)| (*epoch, key))
    }

    /// The newest key, under which new messages are sealed.
    pub fn newest_key(&self) -> Option<(u64, &EpochKey)> {
        self.keys.last_key_value().map(|(epoch, key)| (*epoch, key))
    }

    /// The key wraps that the journal hands to `recipient`.
    pub fn wraps_for(&self, recipient: SubjectId) -> impl Iterator<Item = &EpochWrap> {
        self.wraps.iter().filter(move |wrap| wrap.recipient == recipient)
    }

    /// The nodes other than `node` that hold a message, by their own latest heads. The level *transmitted* is one
    /// of them, *received* all that the roster names. SPEC §8.5.
    pub fn holders(&self, message: &MessageId, node: SubjectId) -> Vec<SubjectId> {
        let Some((chain, seq)) = self.position(message) else {
            return Vec::new();
        };
        let covers = |head: &SignedHead| head.head().row(&chain).is_some_and(|row| row.size > seq);
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
        self.state.decide(verified.id(), message, now)
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
        let own = self.chains.get(&chain);
        let last = own.and_then(Chain::last);
        let cited = self.past_of_next(&chain);
        let fresh = |(id, other): (&ChainId, &Chain)| {
            let leaf = other.last()?.0;
            let news = *id != chain && other.size() > cited.size(*self.numbers.get(id)?);
            news.then_some(Citation {
                chain: *id,
                seq: other.size() - 1,
                leaf,
            })
        };
        Entry {
            dossier: self.dossier,
            chain,
            seq: own.map_or(0, Chain::size),
            prev: last.map(|(leaf, _)| leaf),
            deps: self.chains.iter().filter_map(fresh).collect(),
            recorded_at: last.map_or(now, |(_, at)| at.max(now)),
            message: envelope.id(),
            envelope_digest: envelope.digest(),
            sealed_digest: sealed.digest(),
            wraps,
            adopts,
        }
    }

    /// The past that the next entry of `chain` has before it cites anything new.
    fn past_of_next(&self, chain: &ChainId) -> Past {
        let last = self.chains.get(chain).map_or(0, Chain::size);
        last.checked_sub(1)
            .and_then(|seq| self.past_with(chain, seq))
            .unwrap_or_default()
    }

    /// The past of an entry that we hold, and the entry itself.
    fn past_with(&self, chain: &ChainId, seq: u64) -> Option<Past> {
        let mut past = self.chains.get(chain)?.record(seq)?.past.clone();
        past.raise(*self.numbers.get(chain)?, seq + 1);
        Some(past)
    }

    /// The causal past of `entry`; `None` while we lack some of what it cites.
    fn past(&self, entry: &Entry) -> Option<Past> {
        let mut past = self.past_of_next(&entry.chain);
        for cited in entry.deps.iter().chain(&entry.adopts) {
            if self.chains.get(&cited.chain)?.leaf(cited.seq) != Some(cited.leaf) {
                return None;
            }
            past.join(&self.past_with(&cited.chain, cited.seq)?);
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
        if items
            .iter()
            .any(|item| item.sealed.digest() != item.entry.sealed_digest)
        {
            return mismatch("a sealed message is not the one recorded");
        }
        let entries: Vec<_> = items.iter().map(|item| item.entry.clone()).collect();
        let content = |index: usize| Content::Sealed(Arc::new(items[index].sealed.clone()));
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
        let entries: Vec<_> = items.iter().map(|item| item.entry.clone()).collect();
        let content = |index: usize| match &items[index].envelope {
            Some(envelope) => Content::Opened(Arc::new(envelope.clone())),
            None => Content::Absent,
        };
        self.take_run(&entries, &content, head, directory)
    }

    /// The one door: `content` gives what is at hand of each entry's message, held to the entry already.
    fn take_run(
        &mut self,
        entries: &[Entry],
        content: &dyn Fn(usize) -> Content,
        head: &SignedHead,
        directory: &dyn Directory,
    ) -> Result<Received, Error> {
        let Some(first) = entries.first() else {
            return Ok(Received::Known);
        };
        let id = first.chain;
        if head.head().dossier != self.dossier || entries.iter().any(|entry| entry.dossier != self.dossier) {
            return mismatch("another dossier");
        }
        if head.head().chain() != id {
            return mismatch("another chain");
        }
        let Some(row) = head.head().row(&id) else {
            return mismatch("the head has no entries");
        };
        let chain = self.chains.entry(id).or_default();
        if row.size <= chain.size() {
            let same =
                chain.contains(row) && chain.tree().root_at(row.size).map(Digest::new) == Some(row.root);
            let same = same || planted(Bug::HeightsOnly);
            return Ok(if same { Received::Known } else { Received::Forked });
        }
        let from = chain.size();
        let known = entries.iter().take_while(|entry| entry.seq < from).count();
        let news = &entries[known..];
        if news.first().is_none_or(|entry| entry.seq > from) {
            return Ok(Received::Early);
        }
        if let Err(error) = chain.check_run(news, row) {
            // A well-signed head that does not follow what we hold of its chain contradicts an earlier head.
            let follows = news.first().map(|entry| entry.prev) == Some(chain.last().map(|(leaf, _)| leaf));
            return if follows {
                Err(error.into())
            } else {
                Ok(Received::Forked)
            };
        }
        if entries
            .last()
            .is_some_and(|entry| entry.recorded_at > head.head().time)
        {
            return mismatch("an entry is recorded after its head was signed");
        }
        // Citations must be held before any effect: all entries, or none.
        if !self.citations_held(news) {
            return Ok(Received::Early);
        }
        if planted(Bug::PoisonBlocksQueue)
            && (known..entries.len()).any(|index| self.is_poison(&entries[index], content(index), directory))
        {
            return mismatch("a message is not authentic");
        }
        for (entry, index) in news.iter().zip(known..) {
            self.record(entry, content(index), directory);
        }
        self.note_head(head);
        Ok(Received::Applied { from })
    }

    /// Whether an entry's message can never take effect.
    fn is_poison(&self, entry: &Entry, content: Content, directory: &dyn Directory) -> bool {
        let Content::Sealed(sealed) = content else {
            return false;
        };
        let key = self.keys.get(&sealed.key_epoch());
        let opened = key.map(|key| sealed.open(&self.dossier, entry.message, key));
        let verdict = opened.map(|opened| authentic(opened, Recorded::of(entry), directory));
        matches!(verdict, Some(Err(Verdict::WithoutEffect(_))))
    }

    fn citations_held(&self, entries: &[Entry]) -> bool {
        entries
            .iter()
            .flat_map(|entry| entry.deps.iter().chain(&entry.adopts))
            .all(|cited| {
                self.chains
                    .get(&cited.chain)
                    .and_then(|chain| chain.leaf(cited.seq))
                    == Some(cited.leaf)
            })
    }

    /// Appends an entry whose place has been checked, with its verdict. Cannot fail.
    pub(crate) fn apply(&mut self, item: &RunItem, directory: &dyn Directory) {
        let sealed = Content::Sealed(Arc::new(item.sealed.clone()));
        self.record(&item.entry, sealed, directory);
    }

    fn record(&mut self, entry: &Entry, content: Content, directory: &dyn Directory) {
        let past = self.past(entry).unwrap_or_default();
        let newest = self.numbers.len();
        let number = *self.numbers.entry(entry.chain).or_insert(newest);
        self.wraps.extend(entry.wraps.iter().cloned());
        let recorded = Recorded::of(entry);
        let (verdict, content) = self.judge(recorded, &past, content, directory);
        let record = Record {
            message: entry.message,
            envelope: entry.envelope_digest,
            recorded_at: entry.recorded_at,
            verdict,
            content,
            past,
        };
        self.settle(&record);
        self.held.raise(number, entry.seq + 1);
        self.positions
            .entry(entry.message)
            .or_insert((entry.chain, entry.seq));
        self.order.push((entry.chain, entry.seq));
        self.chains.entry(entry.chain).or_default().push(entry, record);
    }

    /// Adds a judged record's effect to the state.
    fn settle(&mut self, record: &Record) {
        match (&record.verdict, &record.content) {
            (Verdict::Effective, Content::Authentic(message, _)) => {
                self.state
                    .apply(&Fact::new(record.message, record.recorded_at, message));
            }
            (Verdict::Pending(_), _) => self.pending += 1,
            _ => {}
        }
    }

    /// The verdict on a message with this past. JRN-12.
    fn judge(
        &mut self,
        recorded: Recorded,
        past: &Past,
        content: Content,
        directory: &dyn Directory,
    ) -> (Verdict, Content) {
        let Recorded {
            node,
            message: id,
            at,
            ..
        } = recorded;
        let (message, signer) = match content {
            Content::Rejected => {
                return (Verdict::WithoutEffect(Code::BadSignature), content);
            }
            // A revocation that has come since, and took effect before this was recorded, undoes it. REG-8.
            Content::Authentic(message, signer) => {
                if let Status::Invalid { .. } = directory.status(&signer, at) {
                    let verdict = Verdict::WithoutEffect(Code::SignerInvalid);
                    return (verdict, Content::Authentic(message, signer));
                }
                (message, signer)
            }
            Content::Absent => return (Verdict::Pending(Need::Message(id)), content),
            Content::Sealed(sealed) => {
                let Some(key) = self.keys.get(&sealed.key_epoch()) else {
                    return (
                        Verdict::Pending(Need::Key(sealed.key_epoch())),
                        Content::Sealed(sealed),
                    );
                };
                let opened = sealed.open(&self.dossier, id, key);
                match authentic(opened, recorded, directory) {
                    Ok(authentic) => authentic,
                    Err(verdict @ Verdict::Pending(_)) => return (verdict, Content::Sealed(sealed)),
                    Err(verdict) => return (verdict, Content::Rejected),
                }
            }
            Content::Opened(envelope) => match authentic(Ok((*envelope).clone()), recorded, directory) {
                Ok(authentic) => authentic,
                Err(verdict @ Verdict::Pending(_)) => return (verdict, Content::Opened(envelope)),
                Err(verdict) => return (verdict, Content::Rejected),
            },
        };
        let lawful = match &message.body {
            // The founding act names the dossier by its own id.
            Body::Designation(_) if DossierId::from(id) != self.dossier => Err(Refused::UnknownDossier {
                dossier: self.dossier,
            }
            .into()),
            Body::Designation(_) => self.state.decide(id, &message, at),
            _ if message.dossier != Some(self.dossier) => Err(Refused::UnknownDossier {
                dossier: self.dossier,
            }
            .into()),
            _ if self.covers_all(past) => self.state.decide(id, &message, at),
            _ => self.state_at(past, node).decide(id, &message, at),
        };
        match lawful {
            Ok(_) => (Verdict::Effective, Content::Authentic(message, signer)),
            Err(error) => (
                Verdict::WithoutEffect(error.code()),
                Content::Authentic(message, signer),
            ),
        }
    }

    /// Whether everything held lies in this past: then the state is the past's own.
    fn covers_all(&self, past: &Past) -> bool {
        past.covers(&self.held)
    }

    /// The state that the effective messages of a past add up to. `node` recorded the entry whose past it is.
    ///
    /// What was built for an earlier entry is built on, the node's own first: facts join in any order, so each is
    /// applied once per node and not once per entry.
    fn state_at(&mut self, past: &Past, node: SubjectId) -> &State {
        let own = self.views.remove(&node).filter(|view| past.covers(&view.past));
        let mut view = own.unwrap_or_else(|| {
            let others = self.views.values().filter(|view| past.covers(&view.past));
            others
                .max_by_key(|view| view.past.entries())
                .cloned()
                .unwrap_or_default()
        });
        for (chain, number) in &self.numbers {
            let records = self.chains.get(chain).map_or(&[][..], Chain::records);
            let range = view.past.size(*number) as usize..past.size(*number) as usize;
            for record in records.get(range).unwrap_or_default() {
                if let (Verdict::Effective, Content::Authentic(message, _)) =
                    (&record.verdict, &record.content)
                {
                    view.state
                        .apply(&Fact::new(record.message, record.recorded_at, message));
                }
            }
        }
        view.past = past.clone();
        &self.views.entry(node).insert_entry(view).into_mut().state
    }

    /// Learns an epoch's key, and judges again what waited for it.
    pub fn add_key(&mut self, epoch: u64, key: EpochKey, directory: &dyn Directory) {
        self.keys.insert(epoch, key);
        if self.pending > 0 {
            self.judge_again(directory);
        }
    }

    /// Judges everything again in causal order: a key or a registry entry has come. True if the state is another.
    pub fn judge_again(&mut self, directory: &dyn Directory) -> bool {
        let order = std::mem::take(&mut self.order);
        let before = std::mem::take(&mut self.state);
        self.views.clear();
        self.held = Past::default();
        self.pending = 0;
        for (chain, seq) in order {
            let Some(mut record) = self.chains.get(&chain).and_then(|held| held.record(seq)).cloned() else {
                continue;
            };
            // What was not authentic never becomes so.
            if !matches!(record.content, Content::Rejected) {
                let content = record.content.clone();
                let recorded = Recorded {
                    node: chain.node,
                    message: record.message,
                    envelope: record.envelope,
                    at: record.recorded_at,
                };
                (record.verdict, record.content) = self.judge(recorded, &record.past, content, directory);
            }
            self.settle(&record);
            if let Some(number) = self.numbers.get(&chain) {
                self.held.raise(*number, seq + 1);
            }
            self.order.push((chain, seq));
            if let Some(slot) = self.chains.get_mut(&chain).and_then(|held| held.record_mut(seq)) {
                *slot = record;
            }
        }
        self.state != before
    }

    /// Keeps a node's head if it is later than the one we have. True if it was news.
    pub fn note_head(&mut self, head: &SignedHead) -> bool {
        let (node, incarnation) = (head.head().node, head.head().incarnation);
        let later = self.heads.get(&node).is_none_or(|known| {
            let known = known.head();
            if known.incarnation == incarnation {
                known.head_no < head.head().head_no
            } else {
                known.time <= head.head().time
            }
        });
        if later {
            self.heads.insert(node, head.clone());
        }
        later
    }
}

/// The message of an opened envelope, or the verdict on one that cannot be believed (yet).
fn authentic(
    opened: Result<Envelope, Error>,
    recorded: Recorded,
    directory: &dyn Directory,
) -> Result<(Arc<Message>, CertificateId), Verdict> {
    // A second valid signature over the same message would have the same id: the entry says which one it records.
    let exact = opened.and_then(|envelope| match envelope.digest() == recorded.envelope {
        true => Ok(envelope),
        false => Err(Untrusted::IdMismatch {
            expected: recorded.message,
            found: envelope.id(),
        }
        .into()),
    });
    match exact.and_then(|envelope| envelope::verify(envelope, directory, recorded.at)) {
        Ok(verified) => Ok((
            Arc::new(verified.message().clone()),
            verified.envelope().header().certificate,
        )),
        Err(Error::Untrusted(Untrusted::UnknownSigner { .. })) => {
            Err(Verdict::Pending(Need::Signer(recorded.message)))
        }
        Err(error) => Err(Verdict::WithoutEffect(error.code())),
    }
}

fn mismatch<T>(what: &'static str) -> Result<T, Error> {
    Err(Untrusted::HeadMismatch { what }.into())
}
