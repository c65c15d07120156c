//! Dossiers on their way back into memory, and who waits for them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use basoche_protocol::error::Refused;
use basoche_protocol::id::DossierId;

use super::{Desk, Input, ROOM, SubmitError};
use crate::effects::now;
use crate::operator::Outcome;
use crate::store::{REPAIR, StoreError};

/// How long the desk reads a dossier back before it looks at what else has come in.
const SLICE: Duration = Duration::from_millis(40);
/// Users' inputs that may wait for dossiers. Those beyond are told at once to try again.
const WAITING: usize = 1024;

/// What is being read back, and who waits.
pub(super) struct Waking {
    /// The dossier that is being read back, and the next of its runs.
    reading: Option<(DossierId, u64)>,
    /// In the order in which they came.
    waiting: VecDeque<Waiting>,
}

impl From<Option<(DossierId, u64)>> for Waking {
    fn from(reading: Option<(DossierId, u64)>) -> Self {
        let waiting = VecDeque::new();
        Self { reading, waiting }
    }
}

struct Waiting {
    dossier: DossierId,
    since: Instant,
    input: Input,
}

impl Desk {
    /// Whether some dossier is on its way back.
    pub(super) fn is_waking(&self) -> bool {
        self.count_waking() > 0
    }

    /// How many dossiers are on their way back.
    pub(super) fn count_waking(&self) -> usize {
        self.engine.wakes() + usize::from(self.waking.reading.is_some())
    }

    /// Has a dossier read back, and takes `input` again once it is, or tells the user that it takes too long.
    pub(super) fn when_awake(&mut self, dossier: DossierId, input: Input) {
        self.engine.wake(dossier);
        if self.waking.waiting.len() >= WAITING {
            return self.refuse(dossier, input);
        }
        self.waking.waiting.push_back(Waiting {
            dossier,
            since: Instant::now(),
            input,
        });
    }

    fn refuse(&self, dossier: DossierId, input: Input) {
        let refused = Refused::Dormant { dossier };
        match input {
            Input::Submit { reply, .. } => {
                self.monitor.meters.submission(Outcome::Busy);
                let _ = reply.send(Err(SubmitError::Refused(refused.into())));
            }
            Input::About { question, .. } => question(Err(SubmitError::Refused(refused.into()))),
            Input::Connected { .. }
            | Input::Closed { .. }
            | Input::Writable { .. }
            | Input::Frame { .. }
            | Input::Gossip { .. }
            | Input::Stored { .. }
            | Input::Examined { .. }
            | Input::Ask(_)
            | Input::Tick
            | Input::Stop => {}
        }
    }

    /// Tells those who have waited for too long, as anybody who finds no room at the desk.
    pub(super) fn refuse_who_waits_too_long(&mut self) {
        let late = |waiting: &Waiting| waiting.since.elapsed() >= ROOM;
        while self.waking.waiting.front().is_some_and(late) {
            if let Some(Waiting { dossier, input, .. }) = self.waking.waiting.pop_front() {
                self.refuse(dossier, input);
            }
        }
    }

    /// Reads back for a moment. What cannot be read back ends the node, as it would have ended its start.
    pub(super) fn read_back(&mut self) -> Result<(), StoreError> {
        let until = Instant::now() + SLICE;
        while Instant::now() < until {
            let next = || Some((self.engine.poll_wake()?, 0));
            let Some((dossier, run)) = self.waking.reading.take().or_else(next) else {
                return Ok(());
            };
            let read = self.rows.restore_dossier(&mut self.engine, dossier, run, until);
            let read = read.map_err(|error| StoreError::Damaged {
                what: error.to_string(),
                action: REPAIR.into(),
            })?;
            match read {
                Some(run) => self.waking.reading = Some((dossier, run)),
                None => self.is_back(dossier),
            }
        }
        Ok(())
    }

    fn is_back(&mut self, dossier: DossierId) {
        self.engine.handle_awake(dossier, now());
        self.unwrap_keys();
        self.settle_documents(dossier);
        for erasing in std::mem::take(&mut self.erasing) {
            self.erase_documents(erasing);
        }
        let waiting = std::mem::take(&mut self.waking.waiting);
        let (served, waiting) = waiting.into_iter().partition(|one| one.dossier == dossier);
        self.waking.waiting = waiting;
        let served: VecDeque<Waiting> = served;
        for one in served {
            self.take(one.input);
        }
    }
}
