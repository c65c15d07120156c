//! What the node's parts say of how they are, for whoever asks: nobody waits for the desk to learn it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Condition, Facts, Standing};
use crate::disk::Space;

/// A desk that has not come round for so long is silent. It is woken every 250 ms.
const SILENT: Duration = Duration::from_secs(2);
/// One that has not for so long is taken for dead: a restart may help then, and would not where a disk is slow.
const DEAD: Duration = Duration::from_secs(15);
/// A queue that is found full for so long is too full: a user's act waits as long before it is turned away.
const FULL: Duration = Duration::from_secs(10);

/// What the desk publishes of what it holds.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// The node's place among the others.
    pub standing: Standing,
    /// Commits of the store so far.
    pub commits: u64,
    /// Dossiers held.
    pub dossiers: u64,
    /// Journal entries held.
    pub entries: u64,
    /// Entries that wait for a key or a signer.
    pub pending: u64,
    /// Documents on file that are held here.
    pub documents: u64,
    /// Their plaintext bytes.
    pub document_bytes: u64,
    /// Documents that are to be fetched.
    pub wanted: u64,
}

/// The state of one process.
pub struct Vitals {
    started: Instant,
    /// When the desk last came round: milliseconds after `started`.
    round_ms: AtomicU64,
    published: Mutex<Option<Published>>,
    space: Mutex<Option<Space>>,
    full_since: Mutex<Option<Instant>>,
    stopping: AtomicBool,
    disk_low_percent: u8,
}

impl Vitals {
    /// Of a node that begins. Below `disk_low_percent` free its disk counts as nearly full.
    #[must_use]
    pub fn new(disk_low_percent: u8) -> Self {
        Self {
            started: Instant::now(),
            round_ms: AtomicU64::new(0),
            published: Mutex::default(),
            space: Mutex::default(),
            full_since: Mutex::default(),
            stopping: AtomicBool::new(false),
            disk_low_percent,
        }
    }

    /// The desk has come round.
    pub fn round(&self) {
        let since = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.round_ms.store(since, Ordering::Relaxed);
    }

    /// How long ago the desk came round.
    #[must_use]
    pub fn silence(&self) -> Duration {
        let round = Duration::from_millis(self.round_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(round)
    }

    /// Whether the desk has come round lately, or the node has only just begun.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.silence() < DEAD
    }

    /// Takes what the desk publishes.
    pub fn publish(&self, published: Published) {
        *lock(&self.published) = Some(published);
    }

    /// What the desk last published; nothing while it is silent, because it would be out of date.
    #[must_use]
    pub fn published(&self) -> Option<Published> {
        (self.silence() < SILENT)
            .then(|| *lock(&self.published))
            .flatten()
    }

    /// The disk has this much room, or cannot be asked.
    pub fn disk(&self, space: Option<Space>) {
        *lock(&self.space) = space;
    }

    /// The room of the disk, as last seen.
    #[must_use]
    pub fn space(&self) -> Option<Space> {
        *lock(&self.space)
    }

    /// The percentage of the disk below which it counts as nearly full.
    #[must_use]
    pub fn disk_low_percent(&self) -> u8 {
        self.disk_low_percent
    }

    /// The desk's queue was found full, or not.
    pub fn queue(&self, full: bool) {
        let mut since = lock(&self.full_since);
        *since = full.then(|| since.unwrap_or_else(Instant::now));
    }

    /// The node has been told to stop.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The conditions that hold, given what the desk says of itself: nothing if it is silent.
    #[must_use]
    pub fn conditions(&self, standing: Option<Standing>) -> Vec<Condition> {
        let full_since = *lock(&self.full_since);
        let facts = Facts {
            standing,
            stopping: self.stopping.load(Ordering::Relaxed),
            overloaded: full_since.is_some_and(|since| since.elapsed() >= FULL),
            space: self.space(),
            disk_low_percent: self.disk_low_percent,
        };
        facts.conditions()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::operator::Enrolment;

    const STANDING: Standing = Standing {
        enrolment: Enrolment::Valid,
        peers: 0,
        connected: 0,
        registry: None,
    };

    fn earlier(by: Duration) -> Instant {
        Instant::now().checked_sub(by).unwrap()
    }

    #[test]
    fn what_a_silent_desk_published_is_not_shown_any_more() {
        let mut vitals = Vitals::new(5);
        assert!(vitals.published().is_none(), "nothing is published yet");
        vitals.publish(Published {
            standing: STANDING,
            commits: 1,
            dossiers: 1,
            entries: 1,
            pending: 0,
            documents: 0,
            document_bytes: 0,
            wanted: 0,
        });
        vitals.round();
        assert_eq!(vitals.published().unwrap().commits, 1);
        vitals.started = earlier(SILENT);
        assert!(vitals.published().is_none() && vitals.alive());
        vitals.started = earlier(DEAD);
        assert!(!vitals.alive());
        vitals.round();
        assert!(vitals.published().is_some() && vitals.alive());
    }

    #[test]
    fn a_queue_is_too_full_once_it_has_been_full_without_a_break() {
        let vitals = Vitals::new(5);
        vitals.queue(true);
        assert_eq!(vitals.conditions(Some(STANDING)), []);
        *vitals.full_since.lock().unwrap() = Some(earlier(FULL));
        vitals.queue(true);
        assert_eq!(vitals.conditions(Some(STANDING)), [Condition::Overloaded]);
        vitals.queue(false);
        vitals.queue(true);
        assert_eq!(vitals.conditions(Some(STANDING)), []);
    }
}
