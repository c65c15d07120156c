//! Fetching a document: from several nodes at once, and going on with what an earlier attempt left. SYN-11.
//!
//! The leaves that are missing are a plan that the sources share. Each takes a run of leaves, and the next one when
//! it is done, so that a fast source brings more. When nothing is left to take, an idle source takes half of the
//! longest run that another one still has to bring, and in the end the last leaves of all: no source, however slow or
//! dead, holds a document up. Every leaf is checked against the tree before it is marked, so it does not matter who
//! brought it; a source that brings something else is left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use basoche_protocol::document::{self, LeafCheck, Outboard};
use basoche_protocol::id::{Digest, DossierId};
use basoche_protocol::message::DocumentRef;

use super::{DocumentRequest, PIECE, PIECES, TransferError};
use crate::blob::{BlobPart, BlobStore};
use crate::buffers::{Drain, Fill, ring};

/// Bytes of the first run that a source is asked for.
const FIRST_RUN: u64 = 16 << 20;
/// Bytes of any run, at most: what a source that dies had to bring is fetched from others.
const LONGEST_RUN: u64 = 256 << 20;
/// Seconds that a run should take at the rate of the one before.
const RUN_SECONDS: f64 = 0.5;

/// A node that may have a document.
pub trait Source: Send + Sync {
    /// Its answer.
    type Reply: Reply;

    /// Asks it.
    ///
    /// # Errors
    /// That it cannot be reached.
    fn ask(
        &self,
        request: DocumentRequest,
    ) -> impl Future<Output = Result<Self::Reply, TransferError>> + Send;
}

/// An answer, as it arrives.
pub trait Reply: Send {
    /// Fills the beginning of `buffer` with the next bytes and says how many; 0 at the end.
    ///
    /// # Errors
    /// That it broke off.
    fn read(&mut self, buffer: &mut [u8]) -> impl Future<Output = Result<usize, TransferError>> + Send;

    /// No more of it is wanted.
    fn stop(self);
}

/// A document that is being fetched.
pub struct Download {
    dossier: DossierId,
    root: Digest,
    bytes: u64,
    leaf_bytes: u64,
    leaves: u64,
    /// Bytes read at a time: a leaf, or a whole fraction of a large one, so that no piece holds bytes of two.
    piece: usize,
    part: Box<dyn BlobPart>,
    /// Whether an earlier attempt left something.
    resumed: bool,
    /// Bytes of leaves that sources have sent.
    fetched: AtomicU64,
    /// The leaf hashes, once a source has sent those that lead to the root.
    outboard: OnceLock<Outboard>,
    plan: Mutex<Plan>,
    /// Held for reading by who writes. Whether the document has its name, and nothing may be written any more.
    writing: RwLock<bool>,
}

/// Who brings which leaves.
struct Plan {
    /// Leaves that nobody brings, ascending.
    open: VecDeque<Range<u64>>,
    /// What each run under way has still to bring.
    under_way: BTreeMap<u64, Range<u64>>,
    runs: u64,
    /// Leaves that are not verified.
    missing: u64,
    /// Leaves verified since the last checkpoint.
    unsaved: u64,
    /// Leaves that are being written piece by piece.
    claimed: BTreeSet<u64>,
}

/// A leaf that arrives.
struct Arriving<'a> {
    download: &'a Download,
    index: u64,
    check: LeafCheck,
    /// Whether its bytes go to the disk.
    may_write: bool,
    claimed: bool,
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        if self.claimed {
            let mut plan = self.download.plan();
            plan.claimed.remove(&self.index);
            if !self.download.part.has(self.index) {
                plan.open.push_front(self.index..self.index + 1);
            }
        }
    }
}

/// A run of leaves that one source brings.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    id: u64,
    leaves: Range<u64>,
}

impl Download {
    /// Goes on with what there is of a document. Blocks.
    ///
    /// # Errors
    /// [`TransferError::Blob`], if there is no room for it.
    pub fn new(
        blobs: &dyn BlobStore,
        dossier: DossierId,
        reference: &DocumentRef,
    ) -> Result<Arc<Self>, TransferError> {
        let bytes = document::ciphertext_len(reference.bytes);
        let (leaf_bytes, leaves) = (document::leaf_bytes(bytes), document::leaf_count(bytes));
        let part = blobs.part(reference.root.as_bytes(), bytes, leaves)?;
        let open = ranges(0..leaves, |leaf| !part.has(leaf));
        let missing = open.iter().map(|range| range.end - range.start).sum();
        Ok(Arc::new(Self {
            dossier,
            root: reference.root,
            bytes,
            leaf_bytes,
            leaves,
            piece: usize::try_from(leaf_bytes).map_or(PIECE, |leaf| leaf.min(PIECE)),
            resumed: !part.is_new(),
            part,
            fetched: AtomicU64::new(0),
            outboard: OnceLock::new(),
            plan: Mutex::new(Plan {
                open,
                under_way: BTreeMap::new(),
                runs: 0,
                missing,
                unsaved: 0,
                claimed: BTreeSet::new(),
            }),
            writing: RwLock::default(),
        }))
    }

    /// Length of the ciphertext.
    pub fn ciphertext_bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of leaves that sources have sent so far, what was sent twice or given up included.
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Ciphertext bytes that are here and verified.
    pub fn verified_bytes(&self) -> u64 {
        (self.leaves - self.plan().missing)
            .saturating_mul(self.leaf_bytes)
            .min(self.bytes)
    }

    /// Whether every leaf is here.
    pub fn is_complete(&self) -> bool {
        self.plan().missing == 0
    }

    /// Makes durable what has come since the last checkpoint. Blocks.
    ///
    /// # Errors
    /// [`TransferError::Blob`].
    pub fn checkpoint(&self) -> Result<(), TransferError> {
        if std::mem::take(&mut self.plan().unsaved) > 0 {
            self.part.checkpoint()?;
        }
        Ok(())
    }

    /// Ends the attempt: once nobody writes any more, what has come is made durable for the next one. Blocks.
    ///
    /// # Errors
    /// [`TransferError::Blob`].
    pub fn leave(&self) -> Result<(), TransferError> {
        let finished = self.writing.write().unwrap_or_else(PoisonError::into_inner);
        if *finished { Ok(()) } else { self.checkpoint() }
    }

    /// Makes the document durable under its root. Blocks.
    ///
    /// # Errors
    /// [`TransferError::Blob`], and while something is missing.
    pub fn finish(&self) -> Result<(), TransferError> {
        // A source that was given up may have a piece on its way to the disk.
        let mut finished = self.writing.write().unwrap_or_else(PoisonError::into_inner);
        if !*finished {
            self.part.finish(self.outboard()?.leaves())?;
            *finished = true;
        }
        Ok(())
    }

    /// Takes whole leaves, from `first` on, that came by another way: checked and marked like those of a source. Blocks.
    ///
    /// # Errors
    /// [`TransferError::Document`] for the first that is none; those before it stay.
    pub fn bring(&self, hashes: &[[u8; 32]], first: u64, leaves: &[u8]) -> Result<(), TransferError> {
        let outboard = document::check_outboard(self.root.as_bytes(), self.bytes, hashes)?;
        let leaf_bytes = usize::try_from(self.leaf_bytes).map_err(|_| TransferError::Worker)?;
        let finished = self.writing.read().unwrap_or_else(PoisonError::into_inner);
        for (leaf, index) in leaves.chunks(leaf_bytes).zip(first..) {
            outboard.verify_leaf(index, leaf)?;
            // What a source writes piece by piece is left to it.
            if *finished || self.part.has(index) || self.plan().claimed.contains(&index) {
                continue;
            }
            self.part.write_at(index * self.leaf_bytes, leaf)?;
            self.brought(index);
        }
        // A source may have sent the same.
        let _ = self.outboard.set(outboard);
        Ok(())
    }

    /// Fetches from one source until nothing is missing.
    ///
    /// # Errors
    /// The source failed. [`TransferError::is_blame`] tells whether it lied.
    pub async fn fetch_from(self: Arc<Self>, source: impl Source) -> Result<(), TransferError> {
        if self.resumed && self.outboard.get().is_none() {
            let mut reply = self.ask(&source, 0..0, true).await?;
            self.expect_end(&mut reply).await?;
            let download = Arc::clone(&self);
            let recovered = tokio::task::spawn_blocking(move || download.recover());
            recovered.await.map_err(|_| TransferError::Worker)??;
        }
        let most = (PIECES * (PIECE / self.piece)) as u64;
        let pieces = self.bytes.div_ceil(self.piece as u64).min(most);
        let (mut fill, drain) = ring(pieces as usize, self.piece);
        let download = Arc::clone(&self);
        let writer = tokio::task::spawn_blocking(move || download.write(drain));
        let read = self.fetch_runs(&source, &mut fill).await;
        drop(fill);
        // A writer that fails ends the reading too: what it says comes first.
        writer.await.map_err(|_| TransferError::Worker)?.and(read)
    }

    async fn fetch_runs(&self, source: &impl Source, fill: &mut Fill) -> Result<(), TransferError> {
        let mut bytes = FIRST_RUN;
        while let Some(run) = self.take(bytes) {
            let begun = Instant::now();
            let fetched = self.fetch_run(source, &run, fill).await;
            // What is still on its way to the disk counts as brought.
            let written = fill.flush().await;
            self.put_back(run.id);
            let read = fetched?;
            if !written {
                break;
            }
            let rate = read as f64 / begun.elapsed().as_secs_f64().max(1e-3);
            bytes = ((rate * RUN_SECONDS) as u64).clamp(FIRST_RUN / 4, LONGEST_RUN);
        }
        Ok(())
    }

    /// Reads one run, or as much of it as no other source has taken over; the bytes read.
    async fn fetch_run(
        &self,
        source: &impl Source,
        run: &Run,
        fill: &mut Fill,
    ) -> Result<u64, TransferError> {
        let hashes = self.outboard.get().is_none();
        let mut reply = self.ask(source, run.leaves.clone(), hashes).await?;
        let start = run.leaves.start * self.leaf_bytes;
        let end = (run.leaves.end * self.leaf_bytes).min(self.bytes);
        let mut offset = start;
        while offset < end {
            if offset.is_multiple_of(self.leaf_bytes) && self.is_taken_over(run.id, offset / self.leaf_bytes)
            {
                reply.stop();
                return Ok(offset - start);
            }
            let Some(mut buffer) = fill.next().await else {
                return Ok(offset - start); // the writer has failed, and says why
            };
            let wanted = usize::try_from(end - offset).map_or(self.piece, |left| left.min(self.piece));
            while buffer.len() < wanted {
                let filled = buffer.len();
                let read = reply.read(buffer.grow(wanted - filled)).await;
                buffer.truncate(filled + read.as_ref().map_or(0, |read| *read));
                match read {
                    Ok(more @ 1..) => {
                        self.fetched.fetch_add(more as u64, Ordering::Relaxed);
                    }
                    ended => {
                        fill.keep(buffer);
                        return Err(ended.err().unwrap_or(TransferError::Reply("it ends early")));
                    }
                }
            }
            if !fill.pass(offset, buffer) {
                return Ok(offset - start);
            }
            offset += wanted as u64;
        }
        self.expect_end(&mut reply).await?;
        Ok(end - start)
    }

    /// Asks for some leaves, and reads what comes before them.
    async fn ask<S: Source>(
        &self,
        source: &S,
        leaves: Range<u64>,
        hashes: bool,
    ) -> Result<S::Reply, TransferError> {
        let mut reply = source
            .ask(DocumentRequest {
                v: 1,
                dossier: self.dossier,
                root: self.root,
                first_leaf: leaves.start,
                leaves: leaves.end - leaves.start,
                hashes,
            })
            .await?;
        let mut head = [0; 12];
        read_exact(&mut reply, &mut head).await?;
        let [a, b, c, d, e, f, g, h, count @ ..] = head;
        let (bytes, count) = (
            u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            u32::from_be_bytes(count),
        );
        if bytes != self.bytes || u64::from(count) != if hashes { self.leaves } else { 0 } {
            reply.stop();
            return Err(TransferError::Reply("its length differs"));
        }
        if hashes {
            // At most 512 KiB: the count is that of a document of the announced size.
            let mut hashes = vec![0; count as usize * 32];
            read_exact(&mut reply, &mut hashes).await?;
            let (hashes, _) = hashes.as_chunks();
            let outboard = document::check_outboard(self.root.as_bytes(), self.bytes, hashes)?;
            // Another source may have sent the same.
            let _ = self.outboard.set(outboard);
        }
        Ok(reply)
    }

    async fn expect_end(&self, reply: &mut impl Reply) -> Result<(), TransferError> {
        match reply.read(&mut [0]).await? {
            0 => Ok(()),
            _ => Err(TransferError::Reply("it is too long")),
        }
    }

    /// Checks leaf by leaf what arrives, writes and marks it. Blocks.
    fn write(&self, mut pieces: Drain) -> Result<(), TransferError> {
        let _writing = self.writing.read().unwrap_or_else(PoisonError::into_inner);
        let mut under_way: Option<Arriving<'_>> = None;
        while let Some((offset, piece)) = pieces.wait() {
            // A run may end in the middle of a leaf: what begins a leaf begins it anew.
            if offset.is_multiple_of(self.leaf_bytes) {
                drop(under_way.take());
                under_way = Some(self.arriving(offset / self.leaf_bytes)?);
            }
            let mut leaf = under_way.take().ok_or(TransferError::Worker)?;
            leaf.check.push(piece.as_ref())?;
            let whole = leaf.check.left() == 0;
            if whole {
                leaf.check.clone().finish()?;
            }
            if leaf.may_write {
                self.part.write_at(offset, piece.as_ref())?;
            }
            match whole {
                true if leaf.may_write => self.brought(leaf.index),
                true => {}
                false => under_way = Some(leaf),
            }
            pieces.give_back(piece);
        }
        Ok(())
    }

    /// A leaf whose first bytes have come. One that comes in pieces is written before it is verified: only by one
    /// source at a time, and never over one that is verified.
    fn arriving(&self, index: u64) -> Result<Arriving<'_>, TransferError> {
        let check = self.outboard()?.check_leaf(index)?;
        let in_pieces = check.left() > self.piece as u64;
        let may_write = !in_pieces || {
            let mut plan = self.plan();
            !self.part.has(index) && plan.claimed.insert(index)
        };
        Ok(Arriving {
            download: self,
            index,
            check,
            may_write,
            claimed: in_pieces && may_write,
        })
    }

    /// Marks what was written whole after the last checkpoint of an earlier attempt. Blocks.
    fn recover(&self) -> Result<(), TransferError> {
        let mut piece = vec![0; self.piece];
        let unmarked = ranges(0..self.leaves, |leaf| !self.part.has(leaf));
        for leaf in unmarked.into_iter().flatten() {
            let mut check = self.outboard()?.check_leaf(leaf)?;
            let mut offset = leaf * self.leaf_bytes;
            // Where nothing was written there are zeros, and no ciphertext begins with so many.
            let first = usize::try_from(check.left()).map_or(16, |left| left.min(16));
            self.part.read_at(offset, &mut piece[..first])?;
            if piece[..first].iter().all(|byte| *byte == 0) {
                continue;
            }
            while check.left() > 0 {
                let length = usize::try_from(check.left()).map_or(piece.len(), |left| left.min(piece.len()));
                self.part.read_at(offset, &mut piece[..length])?;
                check.push(&piece[..length])?;
                offset += length as u64;
            }
            if check.finish().is_ok() {
                self.brought(leaf);
            }
        }
        let mut plan = self.plan();
        let open = std::mem::take(&mut plan.open);
        plan.open = open
            .into_iter()
            .flat_map(|range| ranges(range, |leaf| !self.part.has(leaf)))
            .collect();
        tracing::info!(
            bytes = self.bytes,
            missing = plan.missing * self.leaf_bytes,
            "a document goes on where it was"
        );
        drop(plan);
        Ok(())
    }

    fn outboard(&self) -> Result<&Outboard, TransferError> {
        self.outboard.get().ok_or(TransferError::Worker)
    }

    fn brought(&self, leaf: u64) {
        let mut plan = self.plan();
        if self.part.mark(leaf) {
            plan.missing -= 1;
            plan.unsaved += 1;
        }
        for run in plan.under_way.values_mut() {
            if run.start == leaf {
                run.start += 1;
            }
        }
    }

    /// A run of about so many bytes; `None` when nothing is missing.
    fn take(&self, bytes: u64) -> Option<Run> {
        let most = (bytes / self.leaf_bytes).max(1);
        let mut plan = self.plan();
        let leaves = match plan.open.pop_front() {
            Some(mut range) if range.end - range.start > most => {
                let first = range.start..range.start + most;
                range.start += most;
                plan.open.push_front(range);
                first
            }
            Some(range) => range,
            None => {
                // Half of the longest run, from its end; of a single leaf, the leaf once more, unless somebody is
                // writing it.
                let Plan {
                    under_way, claimed, ..
                } = &mut *plan;
                let longest = under_way
                    .values_mut()
                    .filter(|run| run.end > run.start + 1 || !claimed.contains(&run.start))
                    .max_by_key(|run| run.end.saturating_sub(run.start))
                    .filter(|run| run.start < run.end)?;
                let half = (longest.end - longest.start).div_ceil(2);
                let taken = longest.end - half..longest.end;
                if longest.end - longest.start > 1 {
                    longest.end -= half;
                }
                taken
            }
        };
        plan.runs += 1;
        let id = plan.runs;
        plan.under_way.insert(id, leaves.clone());
        Some(Run { id, leaves })
    }

    /// Whether another source brings a leaf of a run by now.
    fn is_taken_over(&self, run: u64, leaf: u64) -> bool {
        self.plan()
            .under_way
            .get(&run)
            .is_none_or(|left| leaf >= left.end)
    }

    /// Ends a run: what it has not brought is open again.
    fn put_back(&self, run: u64) {
        let mut plan = self.plan();
        if let Some(left) = plan.under_way.remove(&run) {
            // A leaf that somebody is writing is theirs, and open again when they give it up.
            let open = ranges(left, |leaf| !self.part.has(leaf) && !plan.claimed.contains(&leaf));
            for range in open.into_iter().rev() {
                plan.open.push_front(range);
            }
        }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_exact(reply: &mut impl Reply, buffer: &mut [u8]) -> Result<(), TransferError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reply.read(&mut buffer[filled..]).await? {
            0 => return Err(TransferError::Reply("it ends early")),
            read => filled += read,
        }
    }
    Ok(())
}

/// The runs of leaves within `range` that `wanted` names.
fn ranges(range: Range<u64>, wanted: impl Fn(u64) -> bool) -> VecDeque<Range<u64>> {
    let mut found: VecDeque<Range<u64>> = VecDeque::new();
    for leaf in range.filter(|leaf| wanted(*leaf)) {
        match found.back_mut() {
            Some(last) if last.end == leaf => last.end += 1,
            _ => found.push_back(leaf..leaf + 1),
        }
    }
    found
}

#[cfg(test)]
mod tests;
