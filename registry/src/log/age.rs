//! How long ago enough witnesses have seen the head of a log: silence is told from freshness. SPEC §9.6, LOG-16.

use basoche_protocol::time::{Instant, Span};

use super::checkpoint::Seen;
use super::policy::Policy;

/// How often a witness says again what it has seen last, and a node what it has heard. LOG-15.
pub const HEARTBEAT: Span = Span::from_seconds(300);
/// A head that enough witnesses have seen within that time is fresh.
pub const FRESH: Span = Span::from_seconds(15 * 60);
/// A head that not enough have seen for that long is stale.
pub const STALE: Span = Span::from_seconds(24 * 3600);
/// A witness whose clock is further ahead of ours is not believed.
const AHEAD: Span = Span::from_seconds(120);

/// What the time since enough witnesses have seen a head is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Age {
    /// What is not known of the log is not older than a quarter of an hour.
    Fresh,
    /// The log, its witnesses or the way to them are silent, for less than a day.
    Ageing,
    /// They have been for a day: revocations may be missing.
    Stale,
}

impl Age {
    /// At `now`, of a head that enough witnesses had seen at `seen`.
    pub fn of(seen: Instant, now: Instant) -> Self {
        match now.ms().saturating_sub(seen.ms()) {
            ms if ms < FRESH.ms() => Self::Fresh,
            ms if ms < STALE.ms() => Self::Ageing,
            _ => Self::Stale,
        }
    }

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Ageing => "ageing",
            Self::Stale => "stale",
        }
    }
}

/// When enough of those who have seen a head had seen it, by their own clocks: the latest instant at or after which so many have
/// that the policy is met. None if they are not enough, without those whose clock is more than two minutes ahead of `now`.
pub fn seen_at(policy: &Policy, seen: &[Seen], now: Instant) -> Option<Instant> {
    let mut seen: Vec<_> = seen.iter().filter(|seen| seen.at <= now + AHEAD).collect();
    seen.sort_by_key(|seen| std::cmp::Reverse(seen.at));
    let enough = |count: &usize| policy.is_met(seen[..*count].iter().map(|seen| &seen.by));
    let count = (1..=seen.len()).find(enough)?;
    Some(seen[count - 1].at)
}
