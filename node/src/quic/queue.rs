//! Frames waiting for one control connection, bounded in bytes.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::Notify;

use super::{MAX_FRAME, SendError};

/// What a queued frame costs beside its bytes, so that empty-handed frames are bounded too.
const OVERHEAD: usize = 64;
/// Frames up to this size are copied together; larger ones are sent from where they are.
const COPIED: usize = 4 * 1024;
/// One batch stops growing here, in bytes.
const BATCH: usize = 256 * 1024;

/// A bounded queue with many writers and one reader.
pub(super) struct Queue {
    limit: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Bytes>,
    /// Cost of the queued frames and of the batch being written.
    bytes: usize,
    refused: bool,
    closed: bool,
}

/// Frames taken together, encoded.
pub(super) struct Batch {
    /// The bytes to write, in order.
    pub(super) chunks: Vec<Bytes>,
    /// To be handed back to [`Queue::written`].
    pub(super) cost: usize,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Queues a frame, or says why not; never waits.
    pub(super) fn push(&self, frame: Bytes) -> Result<(), SendError> {
        if frame.is_empty() || frame.len() > MAX_FRAME {
            return Err(SendError::Size(frame.len()));
        }
        let mut state = self.state();
        if state.closed {
            return Err(SendError::Closed);
        }
        let bytes = state.bytes + frame.len() + OVERHEAD;
        if bytes > self.limit {
            state.refused = true;
            return Err(SendError::Full);
        }
        state.bytes = bytes;
        state.frames.push_back(frame);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for frames; `None` once the queue is closed and empty.
    pub(super) async fn take(&self) -> Option<Batch> {
        loop {
            {
                let mut state = self.state();
                if !state.frames.is_empty() {
                    return Some(batch(&mut state.frames));
                }
                if state.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Frees what a batch cost. True when a writer that was refused may go on.
    pub(super) fn written(&self, cost: usize) -> bool {
        let mut state = self.state();
        state.bytes -= cost;
        let resumes = state.refused && state.bytes <= self.limit / 2;
        state.refused &= !resumes;
        resumes
    }

    /// Takes no more frames; those queued can still be taken.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn batch(frames: &mut VecDeque<Bytes>) -> Batch {
    let mut batch = Batch {
        chunks: Vec::new(),
        cost: 0,
    };
    let mut copied = BytesMut::new();
    while batch.cost < BATCH
        && let Some(frame) = frames.pop_front()
    {
        batch.cost += frame.len() + OVERHEAD;
        // Truncation: `push` refuses frames over MAX_FRAME.
        copied.put_u32(frame.len() as u32);
        if frame.len() <= COPIED {
            copied.put_slice(&frame);
        } else {
            batch.chunks.push(copied.split().freeze());
            batch.chunks.push(frame);
        }
    }
    if !copied.is_empty() {
        batch.chunks.push(copied.freeze());
    }
    batch
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_out_in_order_with_their_lengths() {
        let queue = Queue::new(2 * MAX_FRAME);
        let large = vec![7; COPIED + 1];
        queue.push(Bytes::from_static(b"a")).unwrap();
        queue.push(Bytes::from(large.clone())).unwrap();
        queue.push(Bytes::from_static(b"bc")).unwrap();
        queue.close();
        let expected = [b"\0\0\0\x01a\0\0\x10\x01".as_slice(), &large, b"\0\0\0\x02bc"].concat();
        assert_eq!(queue.take().await.unwrap().chunks.concat(), expected);
        assert!(queue.take().await.is_none());
        assert_eq!(queue.push(Bytes::from_static(b"d")), Err(SendError::Closed));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_announces_room_once() {
        let queue = Queue::new(2 * (10 + OVERHEAD));
        let frame = Bytes::from_static(&[0; 10]);
        queue.push(frame.clone()).unwrap();
        queue.push(frame.clone()).unwrap();
        assert_eq!(queue.push(frame.clone()), Err(SendError::Full));
        // Taking does not make room: the bytes are still held until they are written.
        let batch = queue.take().await.unwrap();
        assert_eq!(queue.push(frame.clone()), Err(SendError::Full));
        assert!(queue.written(batch.cost));
        queue.push(frame).unwrap();
        let batch = queue.take().await.unwrap();
        assert!(!queue.written(batch.cost));
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        let queue = Queue::new(4 * MAX_FRAME);
        assert_eq!(queue.push(Bytes::new()), Err(SendError::Size(0)));
        let over = MAX_FRAME + 1;
        assert_eq!(queue.push(Bytes::from(vec![0; over])), Err(SendError::Size(over)));
        queue.push(Bytes::from(vec![0; MAX_FRAME])).unwrap();
    }
}
