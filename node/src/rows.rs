//! Where the engine's rows stand in the store, and how they are read back at a start.

mod checkpoints;
mod mailbox;
mod registry;
mod snapshot;

pub use mailbox::{KeptParcel, Left, What};
pub use registry::RegistryError;
pub use snapshot::{Begun, SnapshotError};

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use basoche_protocol::dossier::RunItem;
use basoche_protocol::engine::{Engine, Row};
use basoche_protocol::envelope::{EpochKey, Sealed};
use basoche_protocol::id::{Digest, DossierId, Incarnation, MessageId, SubjectId};
use basoche_protocol::journal::{Branch, ChainId, Entry};
use basoche_protocol::wire::frame::{Item, RegistryLeaf, Run};
use basoche_protocol::wire::{canon, codec, limits};
use basoche_registry::Replica;
use serde_bytes::ByteBuf;
use thiserror::Error;

use crate::store::{Batch, REPAIR, StoreError};
use crate::vault::SealedStore;

mod dormant;

const ENTRIES: u8 = 1;
const RUNS: u8 = 2;
const HEADS: u8 = 3;
const KEYS: u8 = 4;
const WRITERS: u8 = 5;
const LEAVES: u8 = 6;
const SUBMISSIONS: u8 = 7;
const COUNTER: u8 = 8;
const SUMMARIES: u8 = 9;
/// Which entry rows may have older values on the disk, which hold an erased message.
const ERASED: u8 = 10;
/// Which documents have been examined.
const EXAMINED: u8 = 11;

/// The latest checkpoint of each log.
const CHECKPOINTS: u8 = 14;
/// What the node, as a witness, has cosigned of each log.
const COSIGNED: u8 = 15;
/// Proofs that logs have contradicted themselves.
const EQUIVOCATIONS: u8 = 16;

/// What the registry keeps beside its leaves: from here on, by kind.
const REGISTRY: u8 = 32;

/// Rows read at once when a range is walked.
const PAGE: usize = 256;
/// What two byte strings in an array have beyond their bytes, at most.
const PAIR_BYTES: usize = 11;
/// The largest row, in bytes: a sealed message and its entry.
const ROW_BYTES: usize = 2 << 20;

/// A node's engine. Its registry is shared with the threads that check signatures ahead.
pub type NodeEngine = Engine<Arc<Replica>>;

/// What the store holds cannot be used.
#[derive(Debug, Error)]
pub enum RowsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row does not hold what its kind holds, or the core refuses it.
    #[error("the store's {what} cannot be read back: {why}: {}", REPAIR)]
    Damaged {
        /// Which row.
        what: String,
        /// Why.
        why: String,
    },
}

/// Dossier, chain, number of its branch, first entry, entry after the last, head.
type StoredRun = (DossierId, ChainId, u64, u64, u64, ByteBuf);
type StoredHead = (DossierId, SubjectId, ByteBuf);
type StoredKey = (DossierId, u64, ByteBuf);
type StoredWriter = (DossierId, Incarnation);
type StoredLeaf = (String, u64, RegistryLeaf);

/// The engine's rows in the store.
#[derive(Clone)]
pub struct Rows {
    store: SealedStore,
    /// Why a row that the registry needed could not be read: what was concluded since is not committed.
    unreadable: Arc<OnceLock<String>>,
}

impl Rows {
    /// Over `store`.
    pub fn new(store: SealedStore) -> Self {
        let unreadable = Arc::default();
        Self { store, unreadable }
    }

    fn branch_owner(&self, dossier: &DossierId, branch: &Branch) -> [u8; 16] {
        self.store.owner(
            ENTRIES,
            &[
                dossier.as_bytes(),
                branch.chain.node.as_bytes(),
                branch.chain.incarnation.as_bytes(),
                &branch.number.to_be_bytes(),
            ],
        )
    }

    fn dossier_owner(&self, family: u8, dossier: &DossierId) -> [u8; 16] {
        self.store.owner(family, &[dossier.as_bytes()])
    }

    /// Adds a row to a commit.
    pub fn put(&self, batch: &mut Batch, row: &Row) -> Result<(), StoreError> {
        match row {
            Row::Entry { branch, item } => {
                let entry = &item.entry;
                // An empty message is one that is erased, or has not come.
                let sealed = item.sealed.as_ref().map(Sealed::encode).unwrap_or_default();
                let value = (ByteBuf::from(entry.encode()), ByteBuf::from(sealed));
                let room = value.0.len() + value.1.len() + PAIR_BYTES;
                let owner = self.branch_owner(&entry.dossier, branch);
                self.store
                    .put(batch, ENTRIES, owner, entry.seq, &codec::encode_in(&value, room))
            }
            Row::Erase { dossier, branch, seq } => {
                let owner = self.branch_owner(dossier, branch);
                let Some(bytes) = self.store.get(ENTRIES, &owner, *seq)? else {
                    return Ok(());
                };
                let (entry, _) = codec::decode::<(ByteBuf, ByteBuf)>(&bytes, ROW_BYTES)
                    .map_err(|error| StoreError::damaged(format!("entry {seq} of a chain ({error})")))?;
                let value = codec::encode(&(entry, ByteBuf::new()));
                self.store.put(batch, ENTRIES, owner, *seq, &value)?;
                self.store.put(batch, ERASED, owner, *seq, &[])
            }
            Row::Run {
                dossier,
                index,
                branch,
                from,
                to,
                head,
            } => {
                let (number, head) = (u64::from(branch.number), ByteBuf::from(head.clone()));
                let value: StoredRun = (*dossier, branch.chain, number, *from, *to, head);
                self.store.put(
                    batch,
                    RUNS,
                    self.dossier_owner(RUNS, dossier),
                    *index,
                    &codec::encode(&value),
                )
            }
            Row::Head { dossier, node, head } => {
                let value: StoredHead = (*dossier, *node, ByteBuf::from(head.clone()));
                let owner = self.store.owner(HEADS, &[dossier.as_bytes(), node.as_bytes()]);
                self.store.put(batch, HEADS, owner, 0, &codec::encode(&value))
            }
            Row::Key { dossier, epoch, key } => {
                let value: StoredKey = (*dossier, *epoch, ByteBuf::from(key.as_bytes().to_vec()));
                self.store.put(
                    batch,
                    KEYS,
                    self.dossier_owner(KEYS, dossier),
                    *epoch,
                    &codec::encode(&value),
                )
            }
            Row::Writer { dossier, incarnation } => {
                let value: StoredWriter = (*dossier, *incarnation);
                self.store.put(
                    batch,
                    WRITERS,
                    self.dossier_owner(WRITERS, dossier),
                    0,
                    &codec::encode(&value),
                )
            }
            Row::Leaf { origin, index, leaf } => {
                let value: StoredLeaf = (origin.clone(), *index, leaf.clone());
                let owner = self.store.owner(LEAVES, &[origin.as_bytes()]);
                self.store
                    .put(batch, LEAVES, owner, *index, &codec::encode(&value))
            }
            Row::Registry(row) => {
                let family = REGISTRY + row.kind;
                let owner = self.store.owner(family, &[&row.key]);
                self.store.put(batch, family, owner, row.index, &row.value)
            }
            Row::Summary { summary } => {
                let owner = self.dossier_owner(SUMMARIES, &summary.dossier());
                self.store.put(batch, SUMMARIES, owner, 0, &summary.encode())
            }
        }
    }

    /// Remembers under which key an author submitted a message: the same key is the same message for ever.
    pub fn put_submission(
        &self,
        batch: &mut Batch,
        author: &SubjectId,
        key: &str,
        dossier: &DossierId,
        message: &MessageId,
    ) -> Result<(), StoreError> {
        let owner = self
            .store
            .owner(SUBMISSIONS, &[author.as_bytes(), key.as_bytes()]);
        self.store.put(
            batch,
            SUBMISSIONS,
            owner,
            0,
            &codec::encode(&(*dossier, *message)),
        )
    }

    /// The message that an author submitted under a key.
    pub fn submission(
        &self,
        author: &SubjectId,
        key: &str,
    ) -> Result<Option<(DossierId, MessageId)>, RowsError> {
        let owner = self
            .store
            .owner(SUBMISSIONS, &[author.as_bytes(), key.as_bytes()]);
        match self.store.get(SUBMISSIONS, &owner, 0)? {
            Some(bytes) => Ok(Some(read(&bytes, "submission key")?)),
            None => Ok(None),
        }
    }

    /// Remembers that a document has been examined, for the message that brought it. CON-1.
    pub fn put_examined(
        &self,
        batch: &mut Batch,
        deposit: &MessageId,
        root: &Digest,
    ) -> Result<(), StoreError> {
        let owner = self.store.owner(EXAMINED, &[deposit.as_bytes(), root.as_bytes()]);
        self.store.put(batch, EXAMINED, owner, 0, &[])
    }

    /// Whether a document has been examined.
    pub fn is_examined(&self, deposit: &MessageId, root: &Digest) -> Result<bool, StoreError> {
        let owner = self.store.owner(EXAMINED, &[deposit.as_bytes(), root.as_bytes()]);
        Ok(self.store.get(EXAMINED, &owner, 0)?.is_some())
    }

    /// Adds the count of commits to a commit.
    pub fn put_counter(&self, batch: &mut Batch, count: u64) -> Result<(), StoreError> {
        let owner = self.store.owner(COUNTER, &[]);
        self.store.put(batch, COUNTER, owner, 0, &count.to_be_bytes())
    }

    /// The count of commits.
    pub fn counter(&self) -> Result<u64, RowsError> {
        let owner = self.store.owner(COUNTER, &[]);
        let bytes = self.store.get(COUNTER, &owner, 0)?;
        Ok(bytes
            .and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)))
            .unwrap_or(0))
    }

    /// Run `index` of a dossier from entry `first` on, as a peer is sent it.
    pub fn run(&self, dossier: DossierId, index: u64, first: u64) -> Result<Option<Run>, RowsError> {
        let Some(bytes) = self.store.get(RUNS, &self.dossier_owner(RUNS, &dossier), index)? else {
            return Ok(None);
        };
        let (_, chain, number, from, to, head): StoredRun = read(&bytes, "run")?;
        let number = u32::try_from(number).map_err(|error| damaged("run", error))?;
        let items = self.items(dossier, &Branch { chain, number }, from.max(first), to)?;
        Ok(Some(Run {
            dossier,
            chain,
            items,
            head,
        }))
    }

    /// Every run of a dossier, in the order applied here.
    fn runs(&self, dossier: DossierId) -> impl Iterator<Item = Result<Run, RowsError>> {
        (0..).map_while(move |index| self.run(dossier, index, 0).transpose())
    }

    /// How many runs of a dossier there are.
    pub fn run_count(&self, dossier: DossierId) -> Result<u64, RowsError> {
        let last = self.store.last(RUNS, &self.dossier_owner(RUNS, &dossier))?;
        Ok(last.map_or(0, |(index, _)| index + 1))
    }

    /// Each node's latest head in a dossier, as signed.
    pub fn heads(&self, dossier: DossierId) -> Result<Vec<Vec<u8>>, RowsError> {
        let heads: Vec<StoredHead> = self.family(HEADS, "head")?;
        Ok(heads
            .into_iter()
            .filter(|(of, ..)| *of == dossier)
            .map(|(.., head)| head.into_vec())
            .collect())
    }

    /// The sealed message of an entry, in whichever history of its chain it stands.
    pub fn sealed(&self, entry: &Entry) -> Result<Option<Sealed>, RowsError> {
        for number in 0..limits::BRANCHES as u32 {
            let chain = entry.chain;
            let owner = self.branch_owner(&entry.dossier, &Branch { chain, number });
            let Some(bytes) = self.store.get(ENTRIES, &owner, entry.seq)? else {
                continue;
            };
            let (_, sealed): (ByteBuf, ByteBuf) = read(&bytes, "entry")?;
            if sealed.is_empty() {
                continue;
            }
            let sealed = Sealed::decode(&sealed).map_err(|error| damaged("sealed message", error))?;
            if sealed.digest() == entry.sealed_digest {
                return Ok(Some(sealed));
            }
        }
        Ok(None)
    }

    fn items(&self, dossier: DossierId, branch: &Branch, from: u64, to: u64) -> Result<Vec<Item>, RowsError> {
        let owner = self.branch_owner(&dossier, branch);
        let mut items = Vec::new();
        let mut next = from;
        while next < to {
            let limit = PAGE.min(usize::try_from(to - next).unwrap_or(PAGE));
            let page = self.store.scan(ENTRIES, &owner, next, limit)?;
            for (seq, bytes) in &page {
                if *seq != next {
                    return Err(damaged("journal", format!("entry {next} of a chain is missing")));
                }
                let [entry, sealed] = canon::check(bytes, ROW_BYTES)
                    .and_then(|()| canon::byte_strings(bytes))
                    .map_err(|error| damaged("entry", error))?;
                let sealed = Some(sealed).filter(|sealed| !sealed.is_empty());
                items.push(Item {
                    entry: ByteBuf::from(entry),
                    sealed: sealed.map(ByteBuf::from),
                });
                next += 1;
            }
            if page.is_empty() {
                return Err(damaged("journal", format!("entry {next} of a chain is missing")));
            }
        }
        Ok(items)
    }

    /// One registry leaf.
    pub fn leaf(&self, origin: &str, index: u64) -> Result<Option<RegistryLeaf>, RowsError> {
        let owner = self.store.owner(LEAVES, &[origin.as_bytes()]);
        let Some(bytes) = self.store.get(LEAVES, &owner, index)? else {
            return Ok(None);
        };
        let (_, _, leaf): StoredLeaf = read(&bytes, "registry leaf")?;
        Ok(Some(leaf))
    }

    /// Every registry leaf, each log in its order.
    pub fn leaves(&self) -> Result<Vec<StoredLeaf>, RowsError> {
        self.family(LEAVES, "registry leaf")
    }

    /// Reads everything back into `engine`, and keeps it in memory, through the doors by which it came. ADM-1.
    pub fn restore(&self, engine: &mut NodeEngine) -> Result<(), RowsError> {
        let writers: Vec<StoredWriter> = self.family(WRITERS, "writer")?;
        let keys: Vec<StoredKey> = self.family(KEYS, "key")?;
        let mut dossiers: BTreeSet<DossierId> = BTreeSet::new();
        for (dossier, incarnation) in writers {
            engine.restore_writer(dossier, incarnation);
            dossiers.insert(dossier);
        }
        for (dossier, epoch, key) in keys {
            let key = <[u8; 32]>::try_from(key.as_slice()).map_err(|_| damaged("key", "not 32 bytes"))?;
            engine.restore_key(dossier, epoch, EpochKey::new(key));
            dossiers.insert(dossier);
        }
        for dossier in dossiers {
            for run in self.runs(dossier) {
                let run = run?;
                let items = run.items.iter().map(run_item).collect::<Result<Vec<_>, _>>()?;
                engine
                    .restore_run(dossier, &items, &run.head)
                    .map_err(|error| damaged("journal", error))?;
            }
        }
        for (dossier, _, head) in self.family::<StoredHead>(HEADS, "head")? {
            engine
                .restore_head(dossier, &head)
                .map_err(|error| damaged("head", error))?;
        }
        Ok(())
    }

    fn family<T: serde::Serialize + serde::de::DeserializeOwned>(
        &self,
        family: u8,
        what: &str,
    ) -> Result<Vec<T>, RowsError> {
        let mut rows = Vec::new();
        let mut failure = None;
        self.store.scan_family(family, &mut |_, bytes| {
            match read(&bytes, what) {
                Ok(row) => rows.push(row),
                Err(error) => failure = Some(error),
            }
            Ok(())
        })?;
        failure.map_or(Ok(rows), Err)
    }

    /// Forgets under which incarnations this node wrote: it goes on under new ones. JRN-6.
    pub fn forget_writers(&self) -> Result<(), RowsError> {
        let mut batch = Batch::default();
        for (dossier, _) in self.family::<StoredWriter>(WRITERS, "writer")? {
            let owner = self.dossier_owner(WRITERS, &dossier);
            self.store.delete(&mut batch, WRITERS, owner, 0);
        }
        Ok(self.commit(batch)?)
    }

    /// Reads the submission keys and the rows of mailboxes, which nothing else that checks a node reads as a whole.
    pub fn check_submissions(&self) -> Result<(), RowsError> {
        self.store.scan_family(SUBMISSIONS, &mut |_, _| Ok(()))?;
        self.parcels()?;
        self.left().map(|_| ())
    }

    /// Destroys what older values of the rows of erased messages are still on the disk, also those that an earlier
    /// process left; how many rows those were. ERA-5.
    pub fn scrub(&self) -> Result<usize, StoreError> {
        let mut rows = Vec::new();
        self.store.scan_family(ERASED, &mut |key, _| {
            rows.push((key.owner, key.index));
            Ok(())
        })?;
        if rows.is_empty() {
            return Ok(0);
        }
        let mut batch = Batch::default();
        for (owner, index) in &rows {
            self.store.scrub(ENTRIES, owner, *index)?;
            self.store.delete(&mut batch, ERASED, *owner, *index);
        }
        self.commit(batch)?;
        Ok(rows.len())
    }

    /// Commits a batch.
    pub fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        match self.unreadable.get() {
            Some(why) => Err(StoreError::damaged(why.clone())),
            None => self.store.commit(batch).map(|_| ()),
        }
    }
}

/// An entry and its message from their stored bytes.
pub fn run_item(item: &Item) -> Result<RunItem, RowsError> {
    let entry = Entry::decode(&item.entry).map_err(|error| damaged("entry", error))?;
    let sealed = item.sealed.as_ref().map(|sealed| Sealed::decode(sealed));
    let sealed = sealed
        .transpose()
        .map_err(|error| damaged("sealed message", error))?;
    Ok(RunItem { entry, sealed })
}

fn read<T: serde::Serialize + serde::de::DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, RowsError> {
    codec::decode(bytes, ROW_BYTES).map_err(|error| damaged(what, error))
}

fn damaged(what: &str, why: impl ToString) -> RowsError {
    RowsError::Damaged {
        what: what.to_owned(),
        why: why.to_string(),
    }
}
