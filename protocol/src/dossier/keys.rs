//! The keys of a dossier as one node has them, and whose word the journal gives for each. SPEC §5.5.

use std::collections::BTreeSet;

use super::Replica;
use crate::document::DocumentKey;
use crate::envelope::EpochKey;
use crate::id::SubjectId;
use crate::journal::{Branch, Content, Entry, EpochWrap, Past};
use crate::message::DocumentRef;

/// A wrap that an entry hands out.
#[derive(Clone, Debug)]
pub(super) struct Handed {
    place: (Branch, u64),
    wrap: EpochWrap,
    /// The entry's node held a seat, in the causal past of the entry. KEY-2.
    believed: bool,
}

impl Replica {
    /// The key of an epoch.
    pub fn key(&self, epoch: u64) -> Option<&EpochKey> {
        self.keys.get(&epoch)
    }

    /// Every key, by epoch.
    pub fn keys(&self) -> impl Iterator<Item = (u64, &EpochKey)> {
        self.keys.iter().map(|(epoch, key)| (*epoch, key))
    }

    /// The newest key that a seat opened, under which new messages are sealed. What others hand out may serve to read.
    pub fn newest_key(&self) -> Option<(u64, &EpochKey)> {
        let mut newest = self.keys.iter().rev();
        let found = newest.find(|(epoch, _)| **epoch == 0 || self.believed(**epoch).next().is_some());
        found.map(|(epoch, key)| (*epoch, key))
    }

    /// The key of a document, wrapped under whichever epoch was the newest when it was taken in.
    pub fn document_key(&self, document: &DocumentRef) -> Option<DocumentKey> {
        let mut keys = self.keys.values().rev();
        keys.find_map(|key| document.open_key(key, &self.dossier))
    }

    /// The wraps of the first key, whoever they are for.
    pub fn first_keys(&self) -> impl Iterator<Item = &EpochWrap> {
        let wraps = self.handed.iter().map(|handed| &handed.wrap);
        wraps.filter(|wrap| wrap.epoch == 0)
    }

    /// The wraps of the first key that the journal hands to `recipient`.
    pub fn first_keys_for(&self, recipient: SubjectId) -> impl Iterator<Item = &EpochWrap> {
        self.first_keys().filter(move |wrap| wrap.recipient == recipient)
    }

    /// The wraps of later keys that nodes of the seats hand to `recipient`, each with its number among all wraps. Nobody
    /// else's are believed. KEY-2.
    pub fn later_keys_for(&self, recipient: SubjectId) -> impl Iterator<Item = (&EpochWrap, usize)> {
        let later = self.handed.iter().zip(0..).filter(move |(handed, _)| {
            handed.believed && handed.wrap.recipient == recipient && handed.wrap.epoch > 0
        });
        later.map(|(handed, number)| (&handed.wrap, number))
    }

    /// The later epochs under which a node has sealed something, while it held a seat, that is held here without its key.
    pub fn missing_keys(&mut self) -> BTreeSet<u64> {
        let seats = self.state.ever_seats();
        let of_seats = self
            .records()
            .filter(|(branch, ..)| seats.contains(&branch.chain.node));
        let sealed = of_seats.filter_map(|(branch, _, record)| match &record.content {
            Content::Sealed(sealed) => Some((sealed.key_epoch(), branch.chain.node, record.past.clone())),
            Content::Authentic(..) | Content::Opened(_) | Content::Absent | Content::Rejected => None,
        });
        let lacking = sealed.filter(|(epoch, ..)| *epoch > 0 && self.key(*epoch).is_none());
        let mut missing = BTreeSet::new();
        for (epoch, node, past) in lacking.collect::<Vec<_>>() {
            if !missing.contains(&epoch) && self.held_seat(node, &past) {
                missing.insert(epoch);
            }
        }
        missing
    }

    fn believed(&self, epoch: u64) -> impl Iterator<Item = &Handed> {
        let of_epoch = self.handed.iter().filter(move |one| one.wrap.epoch == epoch);
        of_epoch.filter(move |one| one.believed || epoch == 0)
    }

    /// Whether the journal hands a key to a node.
    pub(crate) fn is_handed(&self, epoch: u64, node: SubjectId) -> bool {
        self.believed(epoch).any(|one| one.wrap.recipient == node)
    }

    /// The nodes that have the newest key, as far as the journal tells: to whom it was handed, and who handed it out.
    pub(crate) fn key_holders(&self) -> BTreeSet<SubjectId> {
        let newest = self.newest_key().map_or(0, |(epoch, _)| epoch);
        let of_epoch = self.believed(newest);
        of_epoch
            .flat_map(|one| [one.wrap.recipient, one.place.0.chain.node])
            .collect()
    }

    /// Takes note of what an entry hands out. `past` is the entry's; it has not had its effect yet.
    pub(super) fn note_wraps(&mut self, place: (Branch, u64), entry: &Entry, past: &Past) {
        if entry.wraps.is_empty() {
            return;
        }
        let believed = self.held_seat(place.0.chain.node, past);
        let handed = entry.wraps.iter().map(|wrap| Handed {
            place,
            wrap: wrap.clone(),
            believed,
        });
        self.handed.extend(handed);
    }

    /// The same again, of an entry that is judged anew. `next` is the place of its first wrap among all, or beyond.
    pub(super) fn believe_again(&mut self, place: (Branch, u64), past: &Past, next: &mut usize) {
        let of_entry = |one: &Handed| one.place == place;
        if !self.handed.get(*next).is_some_and(of_entry) {
            return;
        }
        let believed = self.held_seat(place.0.chain.node, past);
        while let Some(one) = self.handed.get_mut(*next).filter(|one| of_entry(one)) {
            one.believed = believed;
            *next += 1;
        }
    }

    /// KEY-2: whether a node held the expert's seat or the court's in this past.
    fn held_seat(&mut self, node: SubjectId, past: &Past) -> bool {
        let state = match self.covers_all(past) {
            true => &self.state,
            false => self.state_at(past, node),
        };
        [state.expert_seat(), state.court_seat()].contains(&Some(node))
    }
}
