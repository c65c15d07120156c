//! Who holds what, a digest for each dossier: cursors, comparison, anti-entropy, own heads. SPEC §10.3.
//!
//! Both sides number the changes of what they hold and tell each other of those that the other has not acknowledged. A
//! cursor lives as long as both processes do: after a start everything is compared, because every own chain has to be
//! confirmed by every member anyway (JRN-6), and so no cursor outlives a store that is set back.

use serde_bytes::ByteBuf;

use super::dormant::Dormant;
use super::{Engine, Held, Registry, Row};
use crate::crypto::sha256;
use crate::error::{Error, Malformed};
use crate::id::{Digest, DossierId, Incarnation, SubjectId};
use crate::journal::{Citation, HeadRow, SignedHead};
use crate::plant::{Bug, planted};
use crate::time::{Instant, Span};
use crate::wire::frame::{DossierDigest, Frame, Frontier, Inventory};
use crate::wire::{codec, limits};

/// How often everything shared with one random peer is compared, whatever the cursors say. SYN-16.
const ANTI_ENTROPY: Span = Span::from_seconds(300);
/// After so long a peer is told again what it has not acknowledged.
const TELL_AGAIN: Span = Span::from_seconds(60);
/// Peers of which a cursor is kept while they are not connected; beyond, everything is compared with those.
const CURSORS: usize = 4096;
/// What stands for a dossier that is not held, or not for the other's eyes.
const NOTHING: Digest = Digest::new([0; 32]);

/// How far a peer and we have told each other of changes, in the life of both processes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    /// The life of the peer's process.
    instance: Incarnation,
    /// Our change up to which the peer found all equal.
    acknowledged: u64,
    /// The peer's change up to which we found all equal.
    seen: u64,
}

/// Part of what has changed: all of it after one number, up to another.
#[derive(Debug, PartialEq, Eq)]
struct Page<'a> {
    from: u64,
    to: u64,
    dossiers: &'a [(u64, DossierId)],
}

/// The pages that tell of `changed`, ascending by number, between two numbers; one at least.
fn pages(from: u64, to: u64, changed: &[(u64, DossierId)], most: usize) -> Vec<Page<'_>> {
    let (mut begin, mut rest, mut pages) = (from, changed, Vec::new());
    while rest.len() > most {
        let (dossiers, later) = rest.split_at(most);
        let to = dossiers.last().map_or(begin, |(number, _)| *number);
        pages.push(Page {
            from: begin,
            to,
            dossiers,
        });
        (begin, rest) = (to, later);
    }
    pages.push(Page {
        from: begin,
        to,
        dossiers: rest,
    });
    pages
}

impl<R: Registry> Engine<R> {
    /// A peer has said hello: tells it of every dossier of which it is a member that has changed since it last found
    /// all equal, of all if it or we have started since. SYN-14.
    pub(super) fn greet(&mut self, peer: SubjectId, instance: Incarnation, now: Instant) {
        if self.cursors.len() >= CURSORS {
            let peers = &self.peers;
            self.cursors.retain(|known, _| peers.contains_key(known));
        }
        let fresh = Cursor {
            instance,
            acknowledged: 0,
            seen: 0,
        };
        let cursor = self.cursors.entry(peer).or_insert(fresh);
        if cursor.instance != instance {
            *cursor = fresh;
            // What it had no room for, its process before this one had none for.
            self.held_back.remove(&peer);
        }
        let from = cursor.acknowledged;
        let known: Vec<_> = self
            .shared_with(&peer)
            .filter(|(changed, _)| *changed <= from)
            .collect();
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.told.extend(known.into_iter().map(|(_, dossier)| dossier));
        }
        self.tell(peer, from, now);
    }

    /// The dossiers of which the peer and we are members, each with the number of its last change.
    fn shared_with(&self, peer: &SubjectId) -> impl Iterator<Item = (u64, DossierId)> {
        let awake = self
            .dossiers
            .iter()
            .filter(|(_, held)| held.is_shared(&self.node, peer))
            .map(|(dossier, held)| (held.changed, *dossier));
        let dormant = self
            .dormant
            .iter()
            .filter(|(_, dormant)| dormant.shared(&self.node, peer).is_some())
            .map(|(dossier, dormant)| (dormant.changed, *dossier));
        awake.chain(dormant)
    }

    /// Whether a dossier is held of which the peer and we are members.
    pub(super) fn is_shared_with(&self, peer: &SubjectId, dossier: &DossierId) -> bool {
        let (held, dormant) = (self.dossiers.get(dossier), self.dormant.get(dossier));
        held.is_some_and(|held| held.is_shared(&self.node, peer))
            || dormant.is_some_and(|dormant| dormant.shared(&self.node, peer).is_some())
    }

    /// Sends the digests of what has changed after `from`, in pages that each tell of all changes up to a number.
    fn tell(&mut self, to: SubjectId, from: u64, now: Instant) {
        let mut changed: Vec<_> = self
            .shared_with(&to)
            .filter(|(number, _)| *number > from)
            .collect();
        changed.sort_unstable();
        for page in pages(from, self.changes, &changed, limits::INVENTORY_DIGESTS) {
            let digests = page
                .dossiers
                .iter()
                .map(|(_, dossier)| self.digest_for(&to, *dossier));
            let digests = digests.collect();
            self.say(to, page.from, page.to, digests);
        }
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.sent = (self.changes, now);
        }
    }

    fn say(&mut self, to: SubjectId, from: u64, end: u64, mut digests: Vec<DossierDigest>) {
        digests.sort_unstable_by_key(|one| one.dossier);
        let acknowledged = self.cursors.get(&to).map_or(0, |cursor| cursor.seen);
        let frame = Frame::Inventory(Inventory {
            from,
            to: end,
            acknowledged,
            digests,
        });
        self.stage.frames.push((to, frame.encode()));
    }

    /// What stands for a dossier between us and a peer: [`NOTHING`] if we do not hold it or it is not a member, which
    /// look the same. Of a dormant dossier its summary says it; one that is being read back for want of one counts as
    /// not held, so that the peer's frontier comes and waits for it.
    fn digest_for(&mut self, peer: &SubjectId, dossier: DossierId) -> DossierDigest {
        let node = self.node;
        let digest = match self.dossiers.get_mut(&dossier) {
            Some(held) => held
                .is_shared(&node, peer)
                .then(|| held.digest_between(&node, peer)),
            None => self
                .dormant
                .get_mut(&dossier)
                .and_then(|dormant| dormant.digest_between(&node, peer)),
        };
        DossierDigest {
            dossier,
            digest: digest.unwrap_or(NOTHING),
        }
    }

    /// A peer says what has changed at its side. What is equal is done, and says how far the peer holds our own chain
    /// (JRN-6); of what differs it is sent our frontier. SYN-14.
    pub(super) fn take_inventory(&mut self, from: SubjectId, inventory: &Inventory) -> Result<(), Error> {
        let Some(mut cursor) = self.cursors.get(&from).copied() else {
            return Ok(());
        };
        let digests = &inventory.digests;
        let ordered = digests.windows(2).all(|pair| pair[0].dossier < pair[1].dossier);
        let bounded = digests.len() <= limits::INVENTORY_DIGESTS && inventory.acknowledged <= self.changes;
        if !ordered || !bounded || inventory.from > inventory.to {
            return Err(Malformed::bad_value().into());
        }
        if inventory.acknowledged < cursor.acknowledged
            && let Some(peer) = self.peers.get_mut(&from)
        {
            // It knows less than we thought: it is told again with the next repair, and not sooner.
            peer.sent.0 = 0;
        }
        cursor.acknowledged = inventory.acknowledged;
        let (mut unknown, mut differing) = (Vec::new(), Vec::new());
        for theirs in digests {
            let ours = self.digest_for(&from, theirs.dossier);
            match ours.digest {
                NOTHING if theirs.digest != NOTHING => unknown.push(ours),
                digest if digest != theirs.digest => differing.push(theirs.dossier),
                NOTHING => {}
                _ => self.note_equal(from, theirs.dossier),
            }
        }
        let equal = unknown.is_empty() && differing.is_empty();
        let seen = cursor.seen;
        if equal && inventory.from <= seen {
            cursor.seen = seen.max(inventory.to);
        }
        self.cursors.insert(from, cursor);
        for dossier in differing {
            self.offer_frontier(from, dossier);
        }
        // It learns what we have acknowledged, where that is news to it, and of what we hold nothing.
        if cursor.seen > seen || inventory.from > seen || !unknown.is_empty() {
            self.say(from, cursor.acknowledged, cursor.acknowledged, unknown);
        }
        Ok(())
    }

    /// A peer holds of a dossier exactly what we hold.
    pub(super) fn note_equal(&mut self, peer: SubjectId, dossier: DossierId) {
        if let Some(dormant) = self.dormant.get_mut(&dossier) {
            dormant.note_confirmation(peer);
        }
        if let Some(held) = self.dossiers.get_mut(&dossier) {
            let rows = held.durable_frontier();
            held.note_confirmation(peer, &rows);
        }
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.told.insert(dossier);
        }
    }

    /// Tells a peer of what has changed since it last found all equal, once its heads cover all of that: what they do
    /// not cover is the business of SYN-7.
    pub(super) fn advance_cursor(&mut self, to: SubjectId, now: Instant) {
        let (Some(cursor), Some(peer)) = (self.cursors.get(&to), self.peers.get(&to)) else {
            return;
        };
        let (sent, at) = peer.sent;
        let told = sent == self.changes && now < at + TELL_AGAIN && at <= now;
        if !peer.joined || cursor.acknowledged == self.changes || told {
            return;
        }
        let from = cursor.acknowledged;
        let node = self.node;
        let mut awake = self.dossiers.values().filter(|held| held.changed > from);
        let mut dormant = self.dormant.values().filter(|dormant| dormant.changed > from);
        let lags = awake.any(|held| held.is_shared(&node, &to) && !held.is_equal_at(&to))
            || dormant.any(|dormant| dormant.shared(&node, &to).is_some() && dormant.is_behind(&to));
        if !lags {
            self.tell(to, from, now);
        }
    }

    /// Compares everything with one random peer, whatever the cursors say. SYN-16.
    pub(super) fn compare_at_random(&mut self, now: Instant) {
        let due = *self.next_comparison.get_or_insert(now + ANTI_ENTROPY);
        // A clock that is set back must not put it off.
        if now < due && due <= now + ANTI_ENTROPY {
            return;
        }
        self.next_comparison = Some(now + ANTI_ENTROPY);
        let joined: Vec<_> = self.peers().collect();
        if joined.is_empty() || planted(Bug::NoAntiEntropy) {
            return;
        }
        self.comparisons += 1;
        let drawn = self.draw(b"basoche/anti-entropy/1", self.comparisons);
        let peer = joined[(drawn % joined.len() as u64) as usize];
        self.tell(peer, 0, now);
    }

    /// A number drawn from the randomness that the process was given at its start: the same for the same `number`.
    pub(super) fn draw(&self, purpose: &[u8], number: u64) -> u64 {
        let digest = sha256(&[purpose, self.fresh.as_bytes(), &number.to_be_bytes()]);
        digest[..8]
            .iter()
            .fold(0, |drawn, byte| drawn << 8 | u64::from(*byte))
    }

    /// The head of ours that a frontier brings back, verified: nobody can make one up.
    pub(super) fn own_head(&self, frontier: &Frontier) -> Result<Option<SignedHead>, Error> {
        let Some(bytes) = &frontier.yours else {
            return Ok(None);
        };
        let head = SignedHead::verify(bytes, &self.registry)?;
        if head.head().node != self.node || head.head().dossier != frontier.dossier {
            return Err(Malformed::bad_value().into());
        }
        Ok(Some(head))
    }

    /// Whether a frontier brings back a later head of ours than the one that we have.
    pub(super) fn brings_later(&self, frontier: &Frontier, ours: Option<&[u8]>) -> Result<bool, Error> {
        let yours = frontier.yours.as_deref().map(Vec::as_slice);
        if yours.is_none() || yours == ours {
            return Ok(false);
        }
        let ours = ours.and_then(|ours| SignedHead::verify(ours, &self.registry).ok());
        let head = self.own_head(frontier)?;
        Ok(head.is_some_and(|head| ours.is_none_or(|ours| head.supersedes(&ours))))
    }

    /// A member has a head of ours that may be later than those that our store knows: what we sign next is later. SYN-17.
    pub(super) fn take_own_head(&mut self, dossier: DossierId, head: Option<SignedHead>) {
        let (Some(held), Some(signed)) = (self.dossiers.get_mut(&dossier), head) else {
            return;
        };
        let head = signed.head();
        if planted(Bug::ForgetsOwnHeads) {
            return;
        }
        if head.chain() == held.writer {
            held.next_head = held.next_head.max(head.head_no.saturating_add(1));
        }
        if !held.replica.note_head(&signed) || held.brought_by.is_some() {
            return;
        }
        self.stage.rows.push(Row::Head {
            dossier,
            node: self.node,
            head: signed.encode(),
        });
        // What we have signed since the store was set back counts for nobody: it is signed again, above.
        if held.confirmed {
            self.stage.to_seal.insert(dossier);
        }
    }

    /// Sends our latest head to a member that named another one, or none.
    pub(super) fn offer_head(&mut self, to: SubjectId, dossier: DossierId, named: Option<&[u8]>) {
        if !self.is_shared_with(&to, &dossier) {
            return;
        }
        let head = match self.dossiers.get(&dossier) {
            Some(held) => held.replica.heads().get(&self.node).map(SignedHead::encode),
            None => {
                let dormant = self.dormant.get(&dossier);
                dormant.and_then(Dormant::own_head).map(<[u8]>::to_vec)
            }
        };
        if let Some(head) = head.filter(|head| named != Some(head.as_slice())) {
            self.stage
                .frames
                .push((to, Frame::Head(ByteBuf::from(head)).encode()));
        }
    }
}

impl Held {
    /// What we hold of it is no longer what others were told of.
    pub(super) fn note_change(&mut self, changes: &mut u64) {
        *changes += 1;
        self.changed = *changes;
        self.rows_digest = None;
    }

    /// Whether two nodes are members both. Who has left is told nothing, and tells nothing.
    pub(super) fn is_shared(&self, node: &SubjectId, peer: &SubjectId) -> bool {
        let nodes = self.replica.state().nodes();
        nodes.contains(node) && nodes.contains(peer)
    }

    /// What stands for it between two members. SYN-15.
    fn digest_between(&mut self, one: &SubjectId, other: &SubjectId) -> Digest {
        let rows = match self.rows_digest {
            Some(rows) => rows,
            None => rows_digest(&self.durable_frontier()),
        };
        self.rows_digest = Some(rows);
        let head = |node| {
            let head = self.replica.heads().get(node);
            head.map(|head| Digest::of(&[&head.encode()]))
        };
        let heads = [head(one.min(other)), head(one.max(other))];
        digest(rows, &self.replica.lacking(), heads)
    }
}

/// SHA-256 of the rows of a frontier.
pub(super) fn rows_digest(rows: &[HeadRow]) -> Digest {
    Digest::of(&[&codec::encode(&rows)])
}

/// What stands for a dossier between two members: the entries that are held, those of them whose message is wanting, and
/// the latest head of the one and the other that is held. SYN-15.
pub(super) fn digest(rows: Digest, lacking: &[Citation], heads: [Option<Digest>; 2]) -> Digest {
    let lacking = match lacking {
        [] => NOTHING,
        lacking => Digest::of(&[&codec::encode(&lacking)]),
    };
    let [lesser, greater] = heads.map(|head| head.unwrap_or(NOTHING));
    let parts = [rows, lacking, lesser, greater];
    Digest::of(&parts.each_ref().map(|part| part.as_bytes().as_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_tell_of_every_change_once_and_follow_each_other() {
        let changed: Vec<_> = (1..=10)
            .map(|n: u64| (3 * n, DossierId::new([n as u8; 32])))
            .collect();
        for most in 1..=11 {
            let pages = pages(2, 40, &changed, most);
            assert_eq!(pages.len(), 10_usize.div_ceil(most));
            assert_eq!((pages[0].from, pages[pages.len() - 1].to), (2, 40));
            assert!(pages.windows(2).all(|pair| pair[0].to == pair[1].from));
            for page in &pages {
                let within = |(number, _): &(u64, DossierId)| page.from < *number && *number <= page.to;
                assert!(page.dossiers.iter().all(within) && page.dossiers.len() <= most);
            }
            let told: Vec<_> = pages.iter().flat_map(|page| page.dossiers).copied().collect();
            assert_eq!(told, changed);
        }
        // Who has nothing to tell says up to where that is so.
        assert_eq!(
            pages(5, 9, &[], 4),
            [Page {
                from: 5,
                to: 9,
                dossiers: &[]
            }]
        );
    }
}
