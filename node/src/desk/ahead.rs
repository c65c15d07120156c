//! The signatures of runs are checked on all cores before the desk takes what has come in, in its order.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

use basoche_protocol::engine::Ahead;
use basoche_protocol::id::SubjectId;

use super::{Desk, Input};
use crate::effects::now;

/// Items that one thread takes at a time.
const SHARE: usize = 16;

impl Desk {
    /// Takes inputs in their order, after the work on them that can be done ahead.
    pub(super) fn take_all(&mut self, inputs: Vec<Input>) {
        let mut ahead: Vec<_> = self.check_ahead(&inputs).into_iter().rev().collect();
        for input in inputs {
            match (input, ahead.pop().flatten()) {
                (Input::Frame { peer, conn, bytes }, Some(ahead)) => {
                    let peer = SubjectId::new(peer);
                    if self.links.get(&peer).is_some_and(|link| link.conn == conn) {
                        self.engine.handle_ahead(peer, &bytes, Some(ahead), now());
                        self.unwrap_keys();
                    }
                }
                (input, _) => self.take(input),
            }
        }
    }

    /// For each input what was found out about it. The desk works and waits with the others: nothing changes meanwhile.
    fn check_ahead(&self, inputs: &[Input]) -> Vec<Option<Ahead>> {
        let mut ahead: Vec<_> = inputs
            .iter()
            .map(|input| match input {
                Input::Frame { bytes, .. } => Ahead::decode(bytes),
                _ => None,
            })
            .collect();
        let shares: Vec<_> = ahead
            .iter_mut()
            .flatten()
            .flat_map(|ahead| ahead.shares(SHARE))
            .collect();
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let others = cores.min(shares.len()).saturating_sub(1);
        let (engine, shares) = (&self.engine, Mutex::new(shares.into_iter()));
        let next = || shares.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some(share) = next() {
                engine.check_ahead(share);
            }
        };
        thread::scope(|scope| {
            for _ in 0..others {
                // Without another thread the desk does it alone.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        drop(shares);
        ahead
    }
}
