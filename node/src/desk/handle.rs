//! What the rest of the node holds of the desk: a queue with an end, and who finds it full is told so.

use std::sync::Arc;
use std::time::Duration;

use basoche_protocol::error::Refused;
use basoche_protocol::id::DossierId;
use basoche_protocol::refusal::Code;
use tokio::sync::{mpsc, oneshot};

use super::{Deposited, Desk, Input, Level, Question, SubmitError};
use crate::operator::{Monitor, Outcome};

/// How long a user's input waits for room in the desk's queue, or for its dossier.
pub(super) const ROOM: Duration = Duration::from_secs(10);

/// The handle through which everything else speaks to the desk.
#[derive(Clone)]
pub struct DeskHandle {
    inputs: mpsc::Sender<Input>,
    /// How long a user's input waits for room.
    room: Duration,
    monitor: Arc<Monitor>,
}

impl DeskHandle {
    /// A handle and the queue behind it.
    pub fn new(bound: usize, monitor: Arc<Monitor>) -> (Self, mpsc::Receiver<Input>) {
        let (inputs, receiver) = mpsc::channel(bound);
        let handle = Self {
            inputs,
            room: ROOM,
            monitor,
        };
        (handle, receiver)
    }

    /// Where the node's parts report.
    pub fn monitor(&self) -> &Arc<Monitor> {
        &self.monitor
    }

    /// How many inputs wait, and how many may.
    pub fn queue(&self) -> (usize, usize) {
        let limit = self.inputs.max_capacity();
        (limit - self.inputs.capacity(), limit)
    }

    /// Sends an input, waiting for room: this is how back-pressure reaches the peers.
    pub async fn send(&self, input: Input) -> Result<(), SubmitError> {
        self.inputs
            .send(input)
            .await
            .map_err(|_| SubmitError::Unavailable(Code::Stopping))
    }

    /// Sends an input of a user, who is told that the node is busy rather than left waiting.
    async fn send_or_busy(&self, input: Input) -> Result<(), SubmitError> {
        let sent = tokio::time::timeout(self.room, self.send(input)).await;
        sent.unwrap_or(Err(SubmitError::Unavailable(Code::Busy)))
    }

    /// Asks something of the desk.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Desk) -> T + Send + 'static,
    ) -> Result<T, SubmitError> {
        let (reply, answer) = oneshot::channel();
        let ask = Input::Ask(Box::new(move |desk| {
            let _ = reply.send(question(desk));
        }));
        self.send_or_busy(ask).await?;
        answer.await.map_err(|_| SubmitError::Unavailable(Code::Stopping))
    }

    /// Asks something about a dossier, which is read back first if it is not in memory.
    pub async fn ask_about<T: Send + 'static>(
        &self,
        dossier: DossierId,
        question: impl FnOnce(&mut Desk) -> T + Send + 'static,
    ) -> Result<T, SubmitError> {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |desk| {
            let _ = reply.send(desk.map(question));
        });
        self.send_or_busy(Input::About { dossier, question }).await?;
        answer
            .await
            .map_err(|_| SubmitError::Unavailable(Code::Stopping))?
    }

    /// Submits a message, and waits until it is deposited.
    pub async fn submit(&self, envelope: Vec<u8>, key: Option<String>) -> Result<Deposited, SubmitError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.send_or_busy(Input::Submit { envelope, key, reply }).await;
        if matches!(sent, Err(SubmitError::Unavailable(Code::Busy))) {
            self.monitor.meters.submission(Outcome::Busy);
        }
        sent?;
        answer
            .await
            .map_err(|_| SubmitError::Unavailable(Code::Stopping))?
    }

    /// Waits until a message has reached a level, or the time is up; gives the level that it has.
    pub async fn wait(
        &self,
        deposited: Deposited,
        level: Level,
        patience: Duration,
    ) -> Result<Level, SubmitError> {
        if crate::faults::acknowledge_before_commit() {
            return Ok(Level::Deposited);
        }
        let (reply, answer) = oneshot::channel();
        self.ask_about(deposited.dossier, move |desk| desk.watch(deposited, level, reply))
            .await?;
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(reached)) => Ok(reached),
            _ => {
                let reached = self
                    .ask_about(deposited.dossier, move |desk| {
                        desk.level(&deposited.dossier, &deposited.message)
                    })
                    .await?;
                // What is not on file has reached no level, whoever says that it was submitted.
                let reference = deposited.message;
                reached.ok_or_else(|| SubmitError::Refused(Refused::UnknownReference { reference }.into()))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_finds_no_room_is_told_that_the_node_is_busy_and_later_that_it_stops() {
        let (mut desk, inputs) = DeskHandle::new(1, Arc::new(Monitor::new(5)));
        desk.room = Duration::from_millis(20);
        desk.send(Input::Tick).await.unwrap();
        let full = desk.submit(Vec::new(), None).await;
        assert!(
            matches!(full, Err(SubmitError::Unavailable(Code::Busy))),
            "{full:?}"
        );
        assert!(matches!(
            desk.ask(|_| ()).await,
            Err(SubmitError::Unavailable(Code::Busy))
        ));
        drop(inputs);
        let gone = desk.submit(Vec::new(), None).await;
        assert!(
            matches!(gone, Err(SubmitError::Unavailable(Code::Stopping))),
            "{gone:?}"
        );
    }
}
