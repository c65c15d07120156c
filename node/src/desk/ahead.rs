//! Runs are decoded and their signatures checked on all cores while the desk takes what came before them, or commits.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use basoche_protocol::engine::{Ahead, Checker};
use basoche_protocol::id::SubjectId;
use basoche_registry::{ReadLeaf, Replica};
use bytes::Bytes;
use tokio::sync::mpsc::Receiver;

use super::{Desk, Input};
use crate::effects::now;

/// Inputs that one turn takes before it commits.
const TURN: usize = 256;
/// Submissions of one turn: their head must fit in one frame with them. JRN-5.
const TURN_BYTES: usize = 512 * 1024;
/// Frames of one turn, in bytes: their rows must fit in one commit, [`crate::store::MAX_BATCH_BYTES`].
const TURN_FRAME_BYTES: usize = 4 << 20;

/// What comes of a check.
type Read = Ahead<ReadLeaf>;

/// A run to check, with what, and where the outcome goes.
struct Job {
    frame: Bytes,
    checker: Checker<Arc<Replica>>,
    done: mpsc::SyncSender<Read>,
}

/// The threads that check runs, in the order in which these came: as many as there are cores.
pub(super) struct Checking {
    jobs: mpsc::Sender<Job>,
}

/// Inputs of one turn, in their order, each run with where its outcome will be.
#[derive(Default)]
pub(super) struct Gathered {
    inputs: VecDeque<(Input, Option<mpsc::Receiver<Read>>)>,
    submitted: usize,
    received: usize,
}

impl Checking {
    pub(super) fn start() -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            let queue = Arc::clone(&queue);
            let next = move || queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let work = move || {
                while let Ok(Job { frame, checker, done }) = next() {
                    if let Some(ahead) = checker.check(&frame) {
                        // A desk that ends waits for nothing more.
                        let _ = done.send(ahead);
                    }
                }
            };
            // Without threads nothing is checked ahead, and the desk does it in each run's turn.
            let _ = thread::Builder::new().name("check".into()).spawn(work);
        }
        Self { jobs }
    }
}

impl Gathered {
    pub(super) fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    fn is_full(&self) -> bool {
        self.inputs.len() >= TURN || self.submitted > TURN_BYTES || self.received > TURN_FRAME_BYTES
    }
}

impl Desk {
    /// Adds an input to those of a turn. The check of a run begins: under the keys and the registry of now; what does
    /// not hold under them is judged in its turn.
    pub(super) fn add(&self, gathered: &mut Gathered, input: Input) {
        let mut ahead = None;
        match &input {
            Input::Submit { envelope, .. } => gathered.submitted += envelope.len(),
            Input::Frame { bytes, .. } => {
                gathered.received += bytes.len();
                if let Some(checker) = self.engine.checker(bytes) {
                    let (done, outcome) = mpsc::sync_channel(1);
                    let frame = bytes.clone();
                    // Without a thread to take it nothing comes out, and the run is judged in its turn.
                    let _ = self.checking.jobs.send(Job { frame, checker, done });
                    ahead = Some(outcome);
                }
            }
            _ => {}
        }
        gathered.inputs.push_back((input, ahead));
    }

    /// Adds what else has come in, up to what one commit should carry.
    pub(super) fn gather(&self, inputs: &mut Receiver<Input>, gathered: &mut Gathered) {
        while !gathered.is_full()
            && let Ok(input) = inputs.try_recv()
        {
            self.add(gathered, input);
        }
    }

    /// Takes the inputs of a turn in their order, and leaves it empty.
    pub(super) fn take_all(&mut self, gathered: &mut Gathered) {
        for (input, ahead) in std::mem::take(gathered).inputs {
            match (input, ahead) {
                (Input::Frame { peer, conn, bytes }, Some(ahead)) => {
                    let peer = SubjectId::new(peer);
                    // Whoever checks it ends without an outcome if it is not well formed.
                    let ahead = ahead.recv().ok();
                    if self.links.get(&peer).is_some_and(|link| link.conn == conn) {
                        self.engine.handle_ahead(peer, &bytes, ahead, now());
                        self.unwrap_keys();
                    }
                }
                (input, _) => self.take(input),
            }
        }
    }
}
