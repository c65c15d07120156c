//! Who is served how much: a few replies at once, for one peer no more than half of them, and so many bytes a day.
//!
//! A peer that asks for everything at once, or asks and never reads, takes its own turns and nobody else's. What is refused
//! here is refused before it is looked up: it says nothing about what this node has.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::quic::{CloseCode, NodeId};

/// Requests of one peer that wait for their turn, at most.
const WAITING: usize = 32;
/// The time for which a peer's bytes count.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The turns that there are, and who has had how much.
pub struct Serving {
    transfers: usize,
    daily_bytes: u64,
    turns: Arc<Semaphore>,
    /// One for each node that has asked: the transport lets in those of the registry alone.
    peers: Mutex<BTreeMap<NodeId, Served>>,
}

struct Served {
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    since: Instant,
    bytes: Arc<AtomicU64>,
}

/// A peer's turn: it ends when it is dropped.
pub(super) struct Turn {
    bytes: Arc<AtomicU64>,
    _turns: [OwnedSemaphorePermit; 2],
}

impl Turn {
    /// Where what is sent counts.
    pub(super) fn sent(&self) -> &AtomicU64 {
        &self.bytes
    }
}

impl Serving {
    /// So many transfers at once, and so many bytes for one peer within a day.
    pub fn new(transfers: usize, daily_bytes: u64) -> Self {
        Self {
            transfers,
            daily_bytes,
            turns: Arc::new(Semaphore::new(transfers)),
            peers: Mutex::default(),
        }
    }

    /// How many transfers at once.
    pub fn transfers(&self) -> usize {
        self.transfers
    }

    /// Waits for a peer's turn.
    ///
    /// # Errors
    /// [`CloseCode::Quota`] and [`CloseCode::Busy`].
    pub(super) async fn turn(&self, peer: NodeId) -> Result<Turn, CloseCode> {
        self.turn_at(peer, Instant::now()).await
    }

    async fn turn_at(&self, peer: NodeId, now: Instant) -> Result<Turn, CloseCode> {
        let (turns, waiting, bytes) = {
            let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
            let served = peers.entry(peer).or_insert_with(|| Served {
                turns: Arc::new(Semaphore::new(self.transfers.div_ceil(2))),
                waiting: Arc::new(Semaphore::new(WAITING)),
                since: now,
                bytes: Arc::default(),
            });
            if now.saturating_duration_since(served.since) >= DAY {
                (served.since, served.bytes) = (now, Arc::default());
            }
            (
                Arc::clone(&served.turns),
                Arc::clone(&served.waiting),
                Arc::clone(&served.bytes),
            )
        };
        if bytes.load(Ordering::Relaxed) >= self.daily_bytes {
            return Err(CloseCode::Quota);
        }
        let waits = waiting.try_acquire_owned().map_err(|_| CloseCode::Busy)?;
        // Its own first: who has all of its own keeps none of the others' while it waits.
        let own = turns.acquire_owned().await.map_err(|_| CloseCode::Busy)?;
        let all = Arc::clone(&self.turns).acquire_owned().await;
        let all = all.map_err(|_| CloseCode::Busy)?;
        drop(waits);
        Ok(Turn {
            bytes,
            _turns: [own, all],
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const GREEDY: NodeId = [1; 16];
    const OTHER: NodeId = [2; 16];

    #[tokio::test]
    async fn a_peer_that_asks_for_everything_and_reads_nothing_keeps_nobody_out() {
        let serving = Arc::new(Serving::new(4, u64::MAX));
        let held = [
            serving.turn(GREEDY).await.unwrap(),
            serving.turn(GREEDY).await.unwrap(),
        ];
        let waiting: Vec<_> = (0..WAITING)
            .map(|_| {
                let serving = Arc::clone(&serving);
                tokio::spawn(async move { serving.turn(GREEDY).await.map(drop) })
            })
            .collect();
        tokio::task::yield_now().await;
        // More than its turns and its places in the queue there are not: it is told so at once.
        assert_eq!(serving.turn(GREEDY).await.err(), Some(CloseCode::Busy));
        for _ in 0..10 {
            let turns = [
                serving.turn(OTHER).await.unwrap(),
                serving.turn(OTHER).await.unwrap(),
            ];
            assert!(
                timeout(Duration::from_millis(5), serving.turn(OTHER))
                    .await
                    .is_err()
            );
            drop(turns);
        }
        drop(held);
        for one in waiting {
            one.await.unwrap().unwrap();
        }
        assert!(serving.turn(GREEDY).await.is_ok());
        // Where there is one turn at a time, everybody has it in turn.
        let narrow = Serving::new(1, u64::MAX);
        drop(narrow.turn(GREEDY).await.unwrap());
        drop(narrow.turn(OTHER).await.unwrap());
    }

    #[tokio::test]
    async fn a_peer_gets_its_bytes_of_a_day_and_more_on_the_next() {
        let serving = Serving::new(4, 1000);
        for sent in [400, 599, 300] {
            serving
                .turn(GREEDY)
                .await
                .unwrap()
                .sent()
                .fetch_add(sent, Ordering::Relaxed);
        }
        assert_eq!(serving.turn(GREEDY).await.err(), Some(CloseCode::Quota));
        assert!(serving.turn(OTHER).await.is_ok());
        assert!(serving.turn_at(GREEDY, Instant::now() + DAY).await.is_ok());
        assert!(serving.turn(GREEDY).await.is_ok());
    }
}
