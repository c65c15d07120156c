//! The documents that this node fetches: how far each has come, and what keeps it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use basoche_protocol::id::Digest;
use basoche_protocol::time::Instant;

/// What keeps a document from coming. Of several in one attempt the greatest tells most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// No node that may have it can be reached.
    NoSource,
    /// Each source that could be asked failed, or has not got it.
    SourcesFailed,
    /// The sources give this node no more today.
    Quota,
    /// This node's storage failed.
    Storage,
    /// This node's disk has no room for it.
    DiskFull,
}

impl Obstacle {
    /// Every obstacle.
    pub const ALL: [Self; 5] = [
        Self::NoSource,
        Self::SourcesFailed,
        Self::Quota,
        Self::Storage,
        Self::DiskFull,
    ];

    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoSource => "no-source",
            Self::SourcesFailed => "sources-failed",
            Self::Quota => "quota",
            Self::Storage => "storage",
            Self::DiskFull => "disk-full",
        }
    }

    /// What is so, and what to do.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::NoSource => "no node that may have it can be reached; it comes once one is back",
            Self::SourcesFailed => "no source brought it; it is tried again, look at the log if it lasts",
            Self::Quota => {
                "the nodes that have it send it no more today: wait, or ask their operators to raise limits.daily_bytes_per_peer"
            }
            Self::Storage => "its storage failed: look at its log and at its disk",
            Self::DiskFull => "its disk has no room: free disk space, then it comes by itself",
        }
    }
}

/// A document under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Since when it is wanted.
    pub since: Instant,
    /// Ciphertext bytes of it that are here.
    pub bytes: u64,
    /// All its ciphertext bytes.
    pub total_bytes: u64,
    /// What is in the way, until more has come.
    pub obstacle: Option<Obstacle>,
}

/// Every document that is fetched or waits for it.
#[derive(Default)]
pub struct Fetches {
    by_root: Mutex<BTreeMap<Digest, Fetch>>,
}

impl Fetches {
    /// A document is wanted from now on.
    pub fn begin(&self, root: Digest, total_bytes: u64, now: Instant) {
        let begun = Fetch {
            since: now,
            bytes: 0,
            total_bytes,
            obstacle: None,
        };
        self.lock().insert(root, begun);
    }

    /// So much of it is here.
    pub fn progress(&self, root: &Digest, bytes: u64) {
        if let Some(fetch) = self.lock().get_mut(root) {
            if bytes > fetch.bytes {
                fetch.obstacle = None;
            }
            fetch.bytes = bytes;
        }
    }

    /// An attempt begins: there is room for it, whatever was in the way before.
    pub fn has_room(&self, root: &Digest) {
        if let Some(fetch) = self.lock().get_mut(root) {
            fetch.obstacle = fetch.obstacle.filter(|obstacle| *obstacle < Obstacle::Storage);
        }
    }

    /// It could not be begun, or a source of it failed.
    pub fn failed(&self, root: &Digest, obstacle: Obstacle) {
        if let Some(fetch) = self.lock().get_mut(root) {
            fetch.obstacle = Some(obstacle);
        }
    }

    /// It is here.
    pub fn end(&self, root: &Digest) {
        self.lock().remove(root);
    }

    /// How a document under way is.
    #[must_use]
    pub fn get(&self, root: &Digest) -> Option<Fetch> {
        self.lock().get(root).copied()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, Fetch>> {
        self.by_root.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_obstacle_is_shown_until_more_has_come_and_nothing_is_kept_of_what_is_here() {
        let (fetches, root) = (Fetches::default(), Digest::new([7; 32]));
        fetches.progress(&root, 1);
        fetches.failed(&root, Obstacle::NoSource);
        assert_eq!(fetches.get(&root), None, "nobody wants it");
        fetches.begin(root, 100, Instant::from_ms(5));
        fetches.progress(&root, 40);
        fetches.failed(&root, Obstacle::DiskFull);
        // The next attempt goes on where the last one was.
        fetches.progress(&root, 40);
        let stuck = fetches.get(&root).unwrap();
        assert_eq!((stuck.bytes, stuck.obstacle), (40, Some(Obstacle::DiskFull)));
        fetches.has_room(&root);
        assert_eq!(fetches.get(&root).unwrap().obstacle, None);
        fetches.failed(&root, Obstacle::NoSource);
        fetches.has_room(&root);
        assert_eq!(fetches.get(&root).unwrap().obstacle, Some(Obstacle::NoSource));
        fetches.progress(&root, 41);
        assert_eq!(fetches.get(&root).unwrap().obstacle, None);
        fetches.end(&root);
        assert_eq!(fetches.get(&root), None);
    }
}
