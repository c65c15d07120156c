//! The signatures of runs are checked on all cores while the desk takes what has come in, in its order.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use basoche_protocol::engine::{Ahead, Share};
use basoche_protocol::id::SubjectId;

use super::{Desk, Input};
use crate::effects::now;

/// Items that one thread takes at a time.
const SHARE: usize = 16;

/// A run whose shares are out.
struct Out {
    run: Ahead,
    /// Shares that are not back yet.
    missing: usize,
    back: Vec<Share>,
}

impl Desk {
    /// Takes inputs in their order. Runs are checked meanwhile, in the same order, by other threads, and by the desk itself
    /// rather than wait: keys and registry are those of before the first input, and what does not hold under them is
    /// judged in its turn.
    pub(super) fn take_all(&mut self, inputs: Vec<Input>) {
        let mut runs: Vec<_> = inputs
            .iter()
            .map(|input| match input {
                Input::Frame { bytes, .. } => Ahead::decode(bytes),
                _ => None,
            })
            .collect();
        let checker = self.engine.checker(runs.iter().flatten());
        let mut shares = VecDeque::new();
        let mut out: Vec<Option<Out>> = Vec::with_capacity(runs.len());
        for (number, run) in runs.drain(..).enumerate() {
            out.push(run.map(|mut run| {
                let of_run = run.shares(SHARE);
                let missing = of_run.len();
                shares.extend(of_run.into_iter().map(|share| (number, share)));
                Out {
                    run,
                    missing,
                    back: Vec::with_capacity(missing),
                }
            }));
        }
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let others = cores.min(shares.len()).saturating_sub(1);
        let shares = Mutex::new(shares);
        let checked_next = || {
            let next = shares.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            next.map(|(number, mut share)| {
                checker.check(&mut share);
                (number, share)
            })
        };
        let (done, checked) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..others {
                let done = done.clone();
                let work = move || {
                    while let Some(share) = checked_next() {
                        // The desk waits for all of them.
                        let _ = done.send(share);
                    }
                };
                // Without another thread the desk does it alone.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            drop(done);
            for (number, input) in inputs.into_iter().enumerate() {
                while out
                    .get(number)
                    .is_some_and(|out| out.as_ref().is_some_and(|out| out.missing > 0))
                {
                    let share = checked
                        .try_recv()
                        .ok()
                        .or_else(checked_next)
                        .or_else(|| checked.recv().ok());
                    let Some((number, share)) = share else { break };
                    if let Some(Some(of_run)) = out.get_mut(number) {
                        of_run.missing -= 1;
                        of_run.back.push(share);
                    }
                }
                let run = out.get_mut(number).and_then(Option::take);
                self.take_one(input, run);
            }
        });
    }

    fn take_one(&mut self, input: Input, run: Option<Out>) {
        match (input, run) {
            // A share whose thread is gone is read again from the frame.
            (
                Input::Frame { peer, conn, bytes },
                Some(Out {
                    mut run,
                    missing: 0,
                    back,
                }),
            ) => {
                let peer = SubjectId::new(peer);
                if self.links.get(&peer).is_some_and(|link| link.conn == conn) {
                    run.put(back);
                    self.engine.handle_ahead(peer, &bytes, Some(run), now());
                    self.unwrap_keys();
                }
            }
            (input, _) => self.take(input),
        }
    }
}
