//! How long nobody has vouched for what is held of each log: words, a note and an alarm. SPEC LOG-15, LOG-16.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use basoche_protocol::time;
use basoche_registry::log::{Age, seen_at};

use super::Desk;
use crate::effects::now;
use crate::operator::Alarm;

/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// When enough witnesses of each log had seen its head last, of those logs whose policy asks for any.
#[derive(Default)]
pub(super) struct Ages {
    due: Option<Instant>,
    logs: BTreeMap<String, (time::Instant, Age)>,
}

impl Desk {
    /// Time passes: heartbeats go out, ages are looked at.
    pub(super) fn mind_ages(&mut self) {
        let ages = &mut self.ages;
        if ages.due.is_some_and(|due| Instant::now() < due) {
            return;
        }
        ages.due = Some(Instant::now() + LOOK);
        let (registry, at) = (self.engine.registry(), now());
        self.checkpoints.beat(at, registry);
        let asks = |(origin, _): (String, u64)| Some((registry.published_at(&origin)?, origin));
        let logs: Vec<_> = registry.sizes().filter_map(asks).collect();
        for (published, origin) in logs {
            let standing = self.checkpoint(&origin);
            let policy = self.engine.registry().policy(&origin).map(|(_, policy)| policy);
            let seen = policy.and_then(|policy| seen_at(policy, &standing.seen, at));
            let before = self.ages.logs.get(&origin).copied();
            let known = before.map_or(published, |(known, _)| known.max(published));
            let known = seen.map_or(known, |seen| known.max(seen));
            let age = Age::of(known, at);
            if age == Age::Stale && before.is_none_or(|(_, age)| age != Age::Stale) {
                let about = format_args!("log {origin}, since {known}");
                Alarm::LogSilent.raise(&self.monitor.meters, about);
            }
            self.ages.logs.insert(origin, (known, age));
        }
    }

    /// When enough witnesses of a log had seen its head last, and what that is worth; nothing where the policy asks for nobody.
    pub fn age(&self, origin: &str) -> Option<(time::Instant, Age)> {
        self.ages.logs.get(origin).copied()
    }

    /// The greatest age of all logs.
    pub(super) fn oldest(&self) -> Option<Age> {
        self.ages.logs.values().map(|(_, age)| *age).max()
    }
}
