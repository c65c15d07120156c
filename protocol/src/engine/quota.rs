//! How much a peer may bring, and when a peer may be sent more. SPEC §10.4.
//!
//! What an honest peer brings after an absence cannot be told from a flood by its speed: both come as fast as they are
//! verified. What tells them apart is the amount. So there is no limit of speed, but a day's amount that may come at
//! once and grows back over a day: a hostile member fills so much of a disk and no more, a lagging honest one is never
//! slowed down.

use std::collections::BTreeMap;

use super::{Engine, Registry};
use crate::error::Refused;
use crate::id::{DossierId, SubjectId};
use crate::time::{Instant, Span};
use crate::wire::frame::Refusal;

/// Milliseconds of a day.
const DAY: u128 = 86_400_000;
/// The longest that a peer is told to wait, and the longest that one is believed, before it comes again by itself.
const LONGEST_WAIT: Span = Span::from_seconds(3600);
/// The shortest.
pub(super) const SHORTEST_WAIT: Span = Span::from_seconds(1);

/// Proofs that one peer is given: each costs a few hashes and the bytes of a head. SYN-23.
const PROOFS: Allowance = Allowance {
    burst: 256,
    per_day: 25_000,
};

/// A token bucket: so much at once, and so much in a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// What may come at once.
    pub burst: u64,
    /// What grows back in a day, evenly.
    pub per_day: u64,
}

impl Allowance {
    /// A day's amount, all of which may come at once.
    pub const fn a_day(amount: u64) -> Self {
        Self {
            burst: amount,
            per_day: amount,
        }
    }
}

/// What peers may bring and persons may found. SYN-18.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// New entries of one dossier from one peer.
    pub dossier_entries: Allowance,
    /// Their bytes, entries and sealed messages.
    pub dossier_bytes: Allowance,
    /// New entries of all dossiers from one peer.
    pub peer_entries: Allowance,
    /// Their bytes.
    pub peer_bytes: Allowance,
    /// Dossiers new to this node from one peer.
    pub peer_dossiers: Allowance,
    /// Dossiers that one person founds at this node.
    pub person_dossiers: Allowance,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            dossier_entries: Allowance::a_day(250_000),
            dossier_bytes: Allowance::a_day(4 << 30),
            peer_entries: Allowance::a_day(2_000_000),
            peer_bytes: Allowance::a_day(32 << 30),
            peer_dossiers: Allowance::a_day(20_000),
            person_dossiers: Allowance::a_day(1000),
        }
    }
}

/// What is used of an allowance, in units of 1 / [`DAY`]. Nothing is kept of one of which nothing is used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    amount: u128,
    at: Instant,
}

impl Used {
    fn refill(&mut self, allowance: Allowance, now: Instant) {
        let passed = u128::from(now.since(self.at).ms());
        self.amount = self.amount.saturating_sub(passed * u128::from(allowance.per_day));
        self.at = now;
    }

    /// How long until `cost` may be taken. What costs more than may ever come at once may come when all is there.
    /// And where it may not, until a quarter of the burst may: who comes again brings more than one run.
    fn wait(&self, allowance: Allowance, cost: u64) -> Span {
        if cost == 0 {
            return Span::default();
        }
        match self.wait_for(allowance, cost) {
            wait if wait == Span::default() => wait,
            wait => wait.max(self.wait_for(allowance, allowance.burst / 4)),
        }
    }

    fn wait_for(&self, allowance: Allowance, cost: u64) -> Span {
        let over = self.amount + u128::from(cost.min(allowance.burst)) * DAY;
        let over = over.saturating_sub(u128::from(allowance.burst) * DAY);
        let ms = over.div_ceil(u128::from(allowance.per_day.max(1)));
        Span::from_ms(u64::try_from(ms).unwrap_or(u64::MAX))
    }

    fn take(&mut self, cost: u64) {
        self.amount += u128::from(cost) * DAY;
    }
}

/// What one peer has brought of late.
#[derive(Debug, Default)]
pub(super) struct Account {
    entries: Used,
    bytes: Used,
    begun: Used,
    proofs: Used,
    dossiers: BTreeMap<DossierId, (Used, Used)>,
}

/// What a run would add.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// Nothing of its dossier had come before.
    pub(super) begins: bool,
}

impl Account {
    fn refill(&mut self, quotas: &Quotas, now: Instant) {
        self.entries.refill(quotas.peer_entries, now);
        self.bytes.refill(quotas.peer_bytes, now);
        self.begun.refill(quotas.peer_dossiers, now);
        self.proofs.refill(PROOFS, now);
        self.dossiers.retain(|_, (entries, bytes)| {
            entries.refill(quotas.dossier_entries, now);
            bytes.refill(quotas.dossier_bytes, now);
            entries.amount > 0 || bytes.amount > 0
        });
    }

    fn is_unused(&self) -> bool {
        let all = [&self.entries, &self.bytes, &self.begun, &self.proofs];
        self.dossiers.is_empty() && all.iter().all(|used| used.amount == 0)
    }

    fn wait(&self, quotas: &Quotas, dossier: &DossierId, cost: Cost) -> Span {
        let (entries, bytes) = self.dossiers.get(dossier).copied().unwrap_or_default();
        let waits = [
            self.entries.wait(quotas.peer_entries, cost.entries),
            self.bytes.wait(quotas.peer_bytes, cost.bytes),
            self.begun.wait(quotas.peer_dossiers, u64::from(cost.begins)),
            entries.wait(quotas.dossier_entries, cost.entries),
            bytes.wait(quotas.dossier_bytes, cost.bytes),
        ];
        waits.into_iter().max().unwrap_or_default()
    }
}

impl<R: Registry> Engine<R> {
    /// Sets what peers may bring and persons may found; the default is for an office of any size.
    pub fn set_quotas(&mut self, quotas: Quotas) {
        self.quotas = quotas;
    }

    /// Whether a peer may bring so much now; nothing is charged. SYN-18.
    pub(super) fn check_quota(
        &mut self,
        peer: SubjectId,
        dossier: DossierId,
        cost: Cost,
        now: Instant,
    ) -> Result<(), Refused> {
        let account = self.accounts.entry(peer).or_default();
        account.refill(&self.quotas, now);
        let wait = account.wait(&self.quotas, &dossier, cost);
        if wait == Span::default() {
            return Ok(());
        }
        let retry_after = wait.max(SHORTEST_WAIT).min(LONGEST_WAIT);
        Err(Refused::OverQuota {
            peer,
            dossier,
            retry_after,
        })
    }

    /// Charges a peer that asks for a proof, if it may have one now. SYN-23.
    pub(super) fn charge_proof(&mut self, peer: SubjectId, now: Instant) -> Result<(), Refused> {
        let account = self.accounts.entry(peer).or_default();
        account.proofs.refill(PROOFS, now);
        if account.proofs.wait_for(PROOFS, 1) > Span::default() {
            return Err(Refused::TooManyProofs);
        }
        account.proofs.take(1);
        Ok(())
    }

    /// Whether a person may found another dossier here.
    pub(super) fn check_founder(&self, author: SubjectId, now: Instant) -> Result<(), Refused> {
        let mut used = self.founders.get(&author).copied().unwrap_or_default();
        used.refill(self.quotas.person_dossiers, now);
        match used.wait(self.quotas.person_dossiers, 1) {
            wait if wait == Span::default() => Ok(()),
            retry_after => Err(Refused::TooManyFounded { author, retry_after }),
        }
    }

    /// A person has founded a dossier here.
    pub(super) fn charge_founder(&mut self, author: SubjectId, now: Instant) {
        let used = self.founders.entry(author).or_default();
        used.refill(self.quotas.person_dossiers, now);
        used.take(1);
    }

    /// Forgets what has grown back, and comes again with what was held back for long enough. SYN-19.
    pub(super) fn resume(&mut self, now: Instant) {
        let quotas = self.quotas;
        self.accounts.retain(|_, account| {
            account.refill(&quotas, now);
            !account.is_unused()
        });
        self.founders.retain(|_, used| {
            used.refill(quotas.person_dossiers, now);
            used.amount > 0
        });
        let mut due = Vec::new();
        self.held_back.retain(|peer, dossiers| {
            dossiers.retain(|dossier, until| {
                // A clock that is set back must not put it off.
                let over = now >= *until || *until > now + LONGEST_WAIT + LONGEST_WAIT;
                if over {
                    due.push((*peer, *dossier));
                }
                !over
            });
            !dossiers.is_empty()
        });
        for (peer, dossier) in due {
            self.offer_frontier(peer, dossier);
        }
    }

    /// A peer has no room for more of a dossier: it is sent no run of it for so long, and a little longer, so that not
    /// everybody comes again at once. What else there is for that peer goes on. SYN-19.
    pub(super) fn hold_back(&mut self, peer: SubjectId, refusal: &Refusal, now: Instant) {
        let (Some(ms), Some(dossier)) = (refusal.retry_after, refusal.dossier) else {
            return;
        };
        if !self.is_shared_with(&peer, &dossier) {
            return;
        }
        self.jitters += 1;
        let wait = Span::from_ms(ms).max(SHORTEST_WAIT).min(LONGEST_WAIT);
        let jitter = self.draw(b"basoche/jitter/1", self.jitters) % (wait.ms() / 4 + 1);
        let until = now + wait + Span::from_ms(jitter);
        self.held_back.entry(peer).or_default().insert(dossier, until);
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.told.remove(&dossier);
            peer.backlogs.drop(&dossier);
        }
    }

    /// Until when a peer is sent no more of a dossier, because it said that it has no room for more now. SYN-19.
    pub fn held_back(&self, peer: &SubjectId, dossier: &DossierId) -> Option<Instant> {
        self.held_back.get(peer)?.get(dossier).copied()
    }
}

/// Charges what a peer has brought that was new.
pub(super) fn charge(
    accounts: &mut BTreeMap<SubjectId, Account>,
    peer: SubjectId,
    dossier: DossierId,
    cost: Cost,
    now: Instant,
) {
    let account = accounts.entry(peer).or_default();
    let (mut entries, mut bytes) = account.dossiers.get(&dossier).copied().unwrap_or_default();
    (entries.at, bytes.at) = (now, now);
    entries.take(cost.entries);
    bytes.take(cost.bytes);
    account.dossiers.insert(dossier, (entries, bytes));
    account.entries.take(cost.entries);
    account.bytes.take(cost.bytes);
    account.begun.take(u64::from(cost.begins));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_grows_back_evenly_and_never_beyond_the_burst() {
        let allowance = Allowance {
            burst: 10,
            per_day: 86_400,
        };
        let (mut used, start) = (Used::default(), Instant::from_seconds(1000));
        used.refill(allowance, start);
        for _ in 0..10 {
            assert_eq!(used.wait(allowance, 1), Span::default());
            used.take(1);
        }
        assert_eq!(used.wait(allowance, 1), Span::from_seconds(2));
        assert_eq!(used.wait(allowance, 4), Span::from_seconds(4));
        // More than may ever come at once comes when all is there.
        assert_eq!(used.wait(allowance, 400), Span::from_seconds(10));
        // Nothing is always taken.
        used.take(400);
        assert_eq!(used.wait(allowance, 0), Span::default());
        used.amount -= 400 * DAY;
        used.refill(allowance, start + Span::from_seconds(4));
        assert_eq!(used.wait(allowance, 4), Span::default());
        assert_eq!(used.wait(allowance, 5), Span::from_seconds(1));
        // A clock that is set back gives nothing, and takes nothing.
        used.refill(allowance, Instant::from_seconds(0));
        assert_eq!(used.wait(allowance, 5), Span::from_seconds(1));
        used.refill(allowance, start + Span::from_seconds(86_400));
        assert_eq!(used.amount, 0);
    }

    #[test]
    fn a_catch_up_of_100_000_entries_is_within_every_default() {
        let quotas = Quotas::default();
        let mut account = Account::default();
        let dossier = DossierId::new([1; 32]);
        let now = Instant::from_seconds(1_790_000_000);
        let run = Cost {
            entries: 256,
            bytes: 768 << 10,
            begins: false,
        };
        account.refill(&quotas, now);
        for _ in 0..100_000 / 256 + 1 {
            assert_eq!(account.wait(&quotas, &dossier, run), Span::default());
            account.entries.take(run.entries);
            account.bytes.take(run.bytes);
            let (entries, bytes) = account.dossiers.entry(dossier).or_default();
            (entries.at, bytes.at) = (now, now);
            entries.take(run.entries);
            bytes.take(run.bytes);
        }
    }
}
