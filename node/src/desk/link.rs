//! What still has to go to one connected peer.

use std::collections::VecDeque;

use basoche_protocol::engine::Backlog;
use basoche_protocol::wire::frame::Frame;
use bytes::Bytes;

use super::Outside;
use crate::quic::ConnectionId;
use crate::rows::Rows;

/// Frames that may wait in memory for one peer; beyond, the connection's own frontier exchange repeats them.
const PENDING: usize = 4096;

/// What a peer lacks.
pub(super) enum Next {
    /// A frame, as it is.
    Frame(Vec<u8>),
    /// A run, which is still in the store.
    Run(Backlog),
}

/// A control connection and its queues.
pub(super) struct Link {
    pub(super) conn: ConnectionId,
    /// The transport's queue is full; it says when it is not.
    pub(super) blocked: bool,
    pending: VecDeque<Bytes>,
}

impl Link {
    pub(super) fn new(conn: ConnectionId) -> Self {
        Self {
            conn,
            blocked: false,
            pending: VecDeque::new(),
        }
    }

    pub(super) fn push(&mut self, frame: Bytes) {
        if self.pending.len() < PENDING {
            self.pending.push_back(frame);
        }
    }

    /// Sends until the transport is full or nothing is left. `next` gives what the peer lacks, read from the store one at a
    /// time, as the peer takes it.
    pub(super) fn pump(
        &mut self,
        rows: &Rows,
        outside: &dyn Outside,
        next: &mut dyn FnMut() -> Option<Next>,
    ) {
        while !self.blocked {
            if let Some(frame) = self.pending.front() {
                if outside.send(self.conn, frame.clone()) {
                    self.pending.pop_front();
                } else {
                    self.blocked = true;
                }
                continue;
            }
            let Backlog {
                dossier, run, from, ..
            } = match next() {
                None => return,
                Some(Next::Frame(frame)) => {
                    self.pending.push_back(Bytes::from(frame));
                    continue;
                }
                Some(Next::Run(backlog)) => backlog,
            };
            match rows.run(dossier, run, from) {
                Ok(Some(run)) => self.pending.push_back(Bytes::from(Frame::Run(run).encode())),
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "a stored run cannot be read"),
            }
        }
    }
}
