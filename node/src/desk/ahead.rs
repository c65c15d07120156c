//! The signatures of runs are checked on all cores while the desk takes what has come in, in its order.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZero;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use basoche_protocol::engine::{Ahead, Share};
use basoche_protocol::id::SubjectId;

use super::{Desk, Input};
use crate::effects::now;

/// Items that one thread takes at a time.
const SHARE: usize = 16;

impl Desk {
    /// Takes inputs in their order. Runs are checked meanwhile, in the same order, by other threads, and by the desk itself
    /// rather than wait: keys and registry are those of before the first input, and what does not hold under them is
    /// judged in its turn.
    pub(super) fn take_all(&mut self, inputs: Vec<Input>) {
        let runs = inputs.iter().zip(0..).filter_map(|(input, number)| match input {
            Input::Frame { bytes, .. } => Some((number, Ahead::decode(bytes)?)),
            _ => None,
        });
        let mut runs: BTreeMap<usize, Ahead> = runs.collect();
        let checker = self.engine.checker(runs.values());
        let (mut shares, mut out) = (VecDeque::new(), BTreeMap::new());
        for (number, run) in &mut runs {
            let of_run = run.shares(SHARE);
            out.insert(*number, (of_run.len(), Vec::with_capacity(of_run.len())));
            shares.extend(of_run.into_iter().map(|share| (*number, share)));
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
            for (input, number) in inputs.into_iter().zip(0..) {
                while out.get(&number).is_some_and(|(missing, _)| *missing > 0) {
                    let share = checked
                        .try_recv()
                        .ok()
                        .or_else(checked_next)
                        .or_else(|| checked.recv().ok());
                    // Only a thread that panicked keeps one: so does the desk then.
                    let Some((number, share)) = share else { return };
                    if let Some((missing, back)) = out.get_mut(&number) {
                        *missing -= 1;
                        back.push(share);
                    }
                }
                let run = runs.remove(&number).zip(out.remove(&number));
                self.take_one(input, run.map(|(run, (_, back))| (run, back)));
            }
        });
    }

    /// Takes one input; of a run, with its shares, all of them.
    fn take_one(&mut self, input: Input, run: Option<(Ahead, Vec<Share>)>) {
        match (input, run) {
            (Input::Frame { peer, conn, bytes }, Some((mut run, back))) => {
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
