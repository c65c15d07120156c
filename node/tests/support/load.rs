//! Clients that never give up a key, and the record of what was acknowledged to them.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::sleep;
use std::time::Duration;

use basoche_node::control::{Answer, Client, ClientError, Request};
use basoche_node::desk::Level;
use basoche_node::wallet::Wallet;
use basoche_protocol::id::{DossierId, MessageId};
use basoche_protocol::message::{Body, Dire, ExhibitDeposit};

use super::lodge::sign;
use super::nodes::PATIENCE;
use super::seed::Dice;

/// Clients at each node: so many submissions may wait for one commit.
pub(crate) const CLIENTS: usize = 4;
/// What every dire says: no log may repeat it.
pub(crate) const TEXT: &str = "Observations sur les désordres";
/// A few documents among many dires.
pub(crate) const SOME: Documents = Documents {
    once_in: 10,
    bytes: 20_000,
};
/// The pause between two messages of a client, in microseconds: a federation under load, but not one whose dossier
/// grows so fast that what is measured is the reading of it.
const PAUSE_US: (u64, u64) = (150_000, 900_000);
/// Before a key is tried again at a node that was not there.
const AGAIN: Duration = Duration::from_millis(5);
/// No node.
const NOBODY: usize = usize::MAX;

/// A message that a node has acknowledged.
#[derive(Clone)]
pub(crate) struct Acknowledged {
    pub(crate) key: String,
    pub(crate) message: MessageId,
    pub(crate) node: usize,
}

/// The clients' own record, outside the nodes: in memory, and in a file that is synced before the next message.
pub(crate) struct Record {
    file: Mutex<File>,
    acknowledged: Mutex<Vec<Acknowledged>>,
    failures: Mutex<Vec<String>>,
    tries: AtomicU64,
    stop: AtomicBool,
    abandoned: AtomicBool,
    hurried: AtomicUsize,
    heard: Sender<usize>,
}

impl Record {
    /// A new record in `path`, and where it tells of each acknowledgement: the node's number.
    pub(crate) fn new(path: &Path) -> (Self, Acknowledgements) {
        Self::following(path, None)
    }

    /// A record that goes on from an earlier one.
    pub(crate) fn following(path: &Path, earlier: Option<Self>) -> (Self, Acknowledgements) {
        let (heard, hear) = channel();
        let record = Self {
            file: Mutex::new(File::options().create(true).append(true).open(path).unwrap()),
            acknowledged: earlier.map(|earlier| earlier.acknowledged).unwrap_or_default(),
            failures: Mutex::default(),
            tries: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            hurried: AtomicUsize::new(NOBODY),
            heard,
        };
        (record, Acknowledgements(hear))
    }

    fn note(&self, one: Acknowledged) {
        // The killer waits for this: first it, then the disk.
        let _ = self.heard.send(one.node);
        let mut file = self.file.lock().unwrap();
        writeln!(file, "{} {} {}", one.node, one.key, one.message).unwrap();
        file.sync_data().unwrap();
        self.acknowledged.lock().unwrap().push(one);
    }

    /// Everything acknowledged so far.
    pub(crate) fn acknowledged(&self) -> Vec<Acknowledged> {
        self.acknowledged.lock().unwrap().clone()
    }

    /// Refusals that no try will change: there must be none.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap().clone()
    }

    /// Tries that were not answered.
    pub(crate) fn retried(&self) -> u64 {
        self.tries.load(Ordering::SeqCst)
    }

    /// The clients of this node leave out their pauses.
    pub(crate) fn hurry(&self, node: Option<usize>) {
        self.hurried.store(node.unwrap_or(NOBODY), Ordering::SeqCst);
    }

    /// The clients finish the keys that they have begun, and end.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// From here on a client ends at the first try that fails, with its key unfinished.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// Tells of each acknowledgement as it arrives.
pub(crate) struct Acknowledgements(Receiver<usize>);

impl Acknowledgements {
    /// Waits for the next one from a node.
    pub(crate) fn next_of(&self, node: usize) {
        while self.0.try_recv().is_ok() {}
        loop {
            match self.0.recv_timeout(PATIENCE) {
                Ok(from) if from == node => return,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("node {node} has acknowledged nothing in {PATIENCE:?}")
                }
            }
        }
    }
}

/// Which messages of a client carry documents.
#[derive(Clone, Copy)]
pub(crate) struct Documents {
    /// One message in so many, by chance.
    pub(crate) once_in: usize,
    /// Bytes of each.
    pub(crate) bytes: usize,
}

/// A client of one node, who acts as one lawyer.
pub(crate) struct Submitter<'a> {
    pub(crate) name: String,
    pub(crate) node: usize,
    pub(crate) home: Client,
    pub(crate) wallet: &'a Wallet,
    pub(crate) dossier: DossierId,
    pub(crate) record: &'a Record,
    pub(crate) documents: Documents,
    pub(crate) dice: Dice,
}

impl Submitter<'_> {
    /// Submits message after message until told to stop.
    pub(crate) fn run(mut self) {
        let mut number = 0;
        while !self.record.stopped() {
            number += 1;
            if !self.one(number) {
                return;
            }
            if self.record.hurried.load(Ordering::SeqCst) != self.node {
                sleep(self.dice.between_us(PAUSE_US.0, PAUSE_US.1));
            }
        }
    }

    /// Submits so many messages, without pauses.
    pub(crate) fn submit(mut self, count: u64) {
        for number in 1..=count {
            assert!(self.one(number), "{:?}", self.record.failures());
        }
    }

    /// Submits one message; whether it was acknowledged.
    fn one(&mut self, number: u64) -> bool {
        let key = format!("{}-{number}", self.name);
        match self.deposit(&key, number) {
            Ok(None) => false,
            Ok(Some(message)) => {
                self.record.note(Acknowledged {
                    key,
                    message,
                    node: self.node,
                });
                true
            }
            Err(failure) => {
                let mut failures = self.record.failures.lock().unwrap();
                failures.push(format!("{key}: {failure}"));
                false
            }
        }
    }

    /// Tries one key until it is acknowledged, as `basoche dossier dire --id KEY` does when it is run again.
    fn deposit(&mut self, key: &str, number: u64) -> Result<Option<MessageId>, String> {
        let document = self
            .dice
            .once_in(self.documents.once_in)
            .then(|| self.dice.bytes(self.documents.bytes));
        let mut again = false;
        loop {
            match self.attempt(key, number, document.as_deref(), again) {
                Ok(message) => return Ok(Some(message)),
                // The disk is gone: whatever the node says of it, nothing was acknowledged.
                Err(_) if self.record.abandoned.load(Ordering::SeqCst) => return Ok(None),
                Err(ClientError::Failed(failure)) if failure.retry != "later" => {
                    return Err(format!("{} ({})", failure.message, failure.code));
                }
                Err(_) => {
                    self.record.tries.fetch_add(1, Ordering::SeqCst);
                    sleep(AGAIN);
                }
            }
            again = true;
        }
    }

    fn attempt(
        &self,
        key: &str,
        number: u64,
        document: Option<&[u8]>,
        again: bool,
    ) -> Result<MessageId, ClientError> {
        if again {
            let earlier = Request::Submitted {
                author: self.wallet.subject,
                key: key.to_owned(),
                wait: Level::Deposited,
                patience_ms: 2000,
            };
            if let Answer::Deposited { message, .. } = self.home.ask(&earlier)? {
                return Ok(message);
            }
        }
        let body = match document {
            None => Body::Dire(Dire {
                ext: None,
                number,
                text: format!("{TEXT} {key}"),
                recapitulative: false,
                document: None,
            }),
            Some(bytes) => {
                let request = Request::Ingest {
                    dossier: self.dossier,
                    name: format!("{key}.bin"),
                    media_type: "application/octet-stream".into(),
                    bytes: bytes.len() as u64,
                };
                let length = bytes.len() as u64;
                let Answer::Ingested(reference) = self.home.upload(&request, &mut &*bytes, length)? else {
                    panic!("an ingestion was answered with something else");
                };
                Body::ExhibitDeposit(ExhibitDeposit {
                    ext: None,
                    number,
                    title: key.to_owned(),
                    document: *reference,
                })
            }
        };
        let request = Request::Submit {
            envelope: sign(self.wallet, self.dossier, body),
            key: Some(key.to_owned()),
            wait: Level::Deposited,
            patience_ms: 2000,
        };
        match self.home.ask(&request)? {
            Answer::Deposited { message, .. } => Ok(message),
            _ => panic!("a submission was answered with something else"),
        }
    }
}
