//! What a mailbox keeps: files with parcels, a row for each, and how much of either there may be. MBX-3.
//!
//! A parcel counts as kept once its file and then its row are on the disk. A file without a row is removed at the next
//! start; a row without its file is of a store that was put back without its files, and is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use basoche_protocol::id::{Digest, MailboxTag, SubjectId};
use basoche_protocol::mailbox::{List, Listed, Listing, Offer};
use basoche_protocol::refusal::Code;
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::wire::limits;

use crate::config::Mailbox as Settings;
use crate::disk::Space;
use crate::files::write_atomic;
use crate::operator::{Alarm, MailboxView, Monitor, Post};
use crate::rows::{KeptParcel, Rows, RowsError};
use crate::store::{Batch, StoreError};

/// No depositor has more than this fraction of a mailbox, and no tag more than half of that.
const DEPOSITORS_SHARE: u64 = 4;
/// Expired parcels that are removed at once.
const SWEEP: usize = 256;
/// After how long to offer again what found no room, at least and at most.
const RETRY: (Span, Span) = (Span::from_seconds(1), Span::from_seconds(3600));

/// Parcels and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// How many.
    pub parcels: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Use {
    /// Whether another parcel of `bytes` fits within `1 / share` of what there may be.
    fn has_room(self, bytes: u64, settings: &Settings, share: u64) -> bool {
        self.parcels < settings.parcels / share && self.bytes + bytes <= settings.quota / share
    }

    fn add(&mut self, bytes: u64) {
        self.parcels += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, bytes: u64) {
        self.parcels = self.parcels.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Why an offer is not taken, and when to repeat it.
pub(super) type NotKept = (Code, Span);

/// What becomes of an offer.
pub(super) enum Admission {
    /// The parcel is here already.
    Here(KeptParcel),
    /// There is room, which stays reserved for it.
    Room(Reservation),
}

/// Room for one parcel, given back when this is dropped.
pub(super) struct Reservation {
    keep: Arc<Keep>,
    depositor: SubjectId,
    offer: Offer,
}

#[derive(Default)]
struct Held {
    parcels: BTreeMap<Digest, KeptParcel>,
    /// In the order in which an addressee is told of them.
    by_addressee: BTreeSet<(SubjectId, u64, Digest)>,
    by_end: BTreeSet<(Instant, Digest)>,
    next: u64,
    total: Use,
    by_depositor: BTreeMap<SubjectId, Use>,
    by_tag: BTreeMap<MailboxTag, Use>,
    /// On their way here.
    reserved: BTreeSet<Digest>,
    /// The alarm has been raised, and there has not been room since.
    full: bool,
    /// The store has failed: nothing is acknowledged any more.
    failed: bool,
}

impl Held {
    fn count(&mut self, depositor: SubjectId, tag: MailboxTag, bytes: u64) {
        self.total.add(bytes);
        self.by_depositor.entry(depositor).or_default().add(bytes);
        self.by_tag.entry(tag).or_default().add(bytes);
    }

    fn discount(&mut self, depositor: SubjectId, tag: MailboxTag, bytes: u64) {
        self.total.remove(bytes);
        let left = |used: &mut Use| {
            used.remove(bytes);
            used.parcels > 0
        };
        if self
            .by_depositor
            .get_mut(&depositor)
            .is_some_and(|used| !left(used))
        {
            self.by_depositor.remove(&depositor);
        }
        if self.by_tag.get_mut(&tag).is_some_and(|used| !left(used)) {
            self.by_tag.remove(&tag);
        }
    }

    fn insert(&mut self, parcel: KeptParcel) {
        self.next = self.next.max(parcel.number + 1);
        self.by_addressee
            .insert((parcel.addressee, parcel.number, parcel.parcel));
        self.by_end.insert((parcel.kept_until, parcel.parcel));
        self.parcels.insert(parcel.parcel, parcel);
    }

    fn remove(&mut self, digest: &Digest) {
        let Some(parcel) = self.parcels.remove(digest) else {
            return;
        };
        self.by_addressee
            .remove(&(parcel.addressee, parcel.number, parcel.parcel));
        self.by_end.remove(&(parcel.kept_until, parcel.parcel));
        if let Some((depositor, _)) = parcel.depositors.first() {
            self.discount(*depositor, parcel.tag, parcel.size);
        }
    }
}

/// The store of a mailbox.
pub struct Keep {
    rows: Rows,
    dir: PathBuf,
    settings: Settings,
    monitor: Arc<Monitor>,
    held: Mutex<Held>,
}

impl Keep {
    /// Opens the mailbox whose files are in `dir`. Blocks.
    ///
    /// # Errors
    /// That rows or files cannot be read.
    pub fn open(
        rows: Rows,
        dir: PathBuf,
        settings: Settings,
        monitor: Arc<Monitor>,
    ) -> Result<Self, RowsError> {
        let unfit = |error: io::Error| {
            RowsError::Store(StoreError::Io {
                what: format!("{}: {error}", dir.display()),
            })
        };
        fs::create_dir_all(&dir).map_err(unfit)?;
        let mut strays = BTreeSet::new();
        for entry in fs::read_dir(&dir).map_err(unfit)? {
            strays.insert(entry.map_err(unfit)?.file_name());
        }
        let (mut held, mut lost) = (Held::default(), Batch::default());
        let mut count = 0_u64;
        for parcel in rows.parcels()? {
            let name = rows.parcel_file(&parcel.parcel);
            let length = fs::metadata(dir.join(&name)).map(|file| file.len()).ok();
            match parcel
                .depositors
                .first()
                .copied()
                .filter(|_| length == Some(parcel.size))
            {
                Some((depositor, _)) => {
                    strays.remove(std::ffi::OsStr::new(&name));
                    held.count(depositor, parcel.tag, parcel.size);
                    held.insert(parcel);
                }
                None => {
                    rows.forget_parcel(&mut lost, &parcel.parcel);
                    count += 1;
                }
            }
        }
        if count > 0 {
            tracing::error!(
                count,
                "parcels of this mailbox have no file, and are lost: was a backup restored?"
            );
            rows.commit(lost)?;
        }
        for name in strays {
            fs::remove_file(dir.join(name)).map_err(unfit)?;
        }
        let keep = Self {
            rows,
            dir,
            settings,
            monitor,
            held: Mutex::new(held),
        };
        keep.show(&keep.held());
        Ok(keep)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, held: &Held) {
        let Use { parcels, bytes } = held.total;
        self.monitor.meters.kept(parcels, bytes);
        self.monitor.mailbox.set(MailboxView {
            parcels,
            bytes,
            parcels_limit: self.settings.parcels,
            quota: self.settings.quota,
        });
    }

    /// What is kept now, reservations included.
    pub fn used(&self) -> Use {
        self.held().total
    }

    fn path(&self, parcel: &Digest) -> PathBuf {
        self.dir.join(self.rows.parcel_file(parcel))
    }

    /// Whether an offer of `depositor` may be taken, and room for it. Blocks.
    ///
    /// # Errors
    /// `busy` beyond the share of a depositor or tag, or while the same parcel is on its way; `storage-full` when the
    /// mailbox or its disk is full.
    pub(super) fn admit(
        self: &Arc<Self>,
        depositor: SubjectId,
        offer: &Offer,
        now: Instant,
    ) -> Result<Admission, NotKept> {
        let mut held = self.held();
        if held.failed {
            return Err((Code::Stopping, RETRY.1));
        }
        if let Some(parcel) = held.parcels.get(&offer.parcel) {
            // Only who seals for the same addressee under the same tag has the same bytes.
            return match (parcel.tag, parcel.addressee) == (offer.tag, offer.addressee) {
                // It is about to be swept.
                _ if parcel.kept_until <= now => Err((Code::Busy, RETRY.0)),
                true => Ok(Admission::Here(parcel.clone())),
                false => Err((Code::BadValue, RETRY.1)),
            };
        }
        if held.reserved.contains(&offer.parcel) {
            return Err((Code::Busy, RETRY.0));
        }
        let retry = match held.by_end.first() {
            Some((end, _)) => end.since(now).clamp(RETRY.0, RETRY.1),
            None => RETRY.1,
        };
        let settings = &self.settings;
        let disk = Space::of(&self.dir).is_ok_and(|space| space.holds(offer.size));
        if !disk || !held.total.has_room(offer.size, settings, 1) {
            self.monitor.meters.post(Post::Refused);
            if !std::mem::replace(&mut held.full, true) {
                let Use { parcels, bytes } = held.total;
                let about = format_args!("{parcels} parcels, {bytes} bytes are kept");
                Alarm::MailboxFull.raise(&self.monitor.meters, about);
            }
            return Err((Code::StorageFull, retry));
        }
        let used = |used: Option<&Use>| used.copied().unwrap_or_default();
        let of_depositor = used(held.by_depositor.get(&depositor));
        let of_tag = used(held.by_tag.get(&offer.tag));
        if !of_depositor.has_room(offer.size, settings, DEPOSITORS_SHARE)
            || !of_tag.has_room(offer.size, settings, DEPOSITORS_SHARE * 2)
        {
            self.monitor.meters.post(Post::Refused);
            return Err((Code::Busy, retry));
        }
        held.full = false;
        held.reserved.insert(offer.parcel);
        held.count(depositor, offer.tag, offer.size);
        Ok(Admission::Room(Reservation {
            keep: Arc::clone(self),
            depositor,
            offer: offer.clone(),
        }))
    }

    /// Adds a depositor to a parcel that is here; gives it as it is then. Blocks.
    ///
    /// # Errors
    /// That the store failed.
    pub fn leave_again(
        &self,
        parcel: &Digest,
        depositor: SubjectId,
        now: Instant,
    ) -> Result<Option<KeptParcel>, StoreError> {
        let Some(mut kept) = self.held().parcels.get(parcel).cloned() else {
            return Ok(None);
        };
        if kept.depositors.iter().any(|(one, _)| *one == depositor) {
            return Ok(Some(kept));
        }
        // As many as a dossier may have nodes: all of them seal the same.
        if kept.depositors.len() < limits::DOSSIER_NODES {
            kept.depositors.push((depositor, now));
            let mut batch = Batch::default();
            self.rows.put_parcel(&mut batch, &kept)?;
            self.commit(batch)?;
            if let Some(one) = self.held().parcels.get_mut(parcel) {
                *one = kept.clone();
            }
            return Ok(Some(kept));
        }
        Ok(None)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let committed = self.rows.commit(batch);
        if committed.is_err() {
            self.held().failed = true;
        }
        committed
    }

    /// A page of what is kept for `addressee`.
    pub fn list(&self, addressee: SubjectId, list: List) -> Listing {
        let held = self.held();
        let from = (addressee, list.after.saturating_add(1), Digest::new([0; 32]));
        let of = held.by_addressee.range(from..);
        let of = of.take_while(|(one, ..)| *one == addressee);
        let listed = of.filter_map(|(_, number, parcel)| {
            let kept = held.parcels.get(parcel)?;
            Some(Listed {
                number: *number,
                tag: kept.tag,
                kind: kept.kind,
                parcel: *parcel,
                size: kept.size,
            })
        });
        Listing {
            parcels: listed.take(limits::PARCELS_LISTED).collect(),
        }
    }

    /// The bytes of a parcel that is kept for `addressee`: what is kept for another looks like what is not. Blocks.
    ///
    /// # Errors
    /// That its file cannot be read.
    pub fn read(&self, addressee: SubjectId, parcel: &Digest) -> io::Result<Option<Vec<u8>>> {
        let held = self.held();
        if held
            .parcels
            .get(parcel)
            .is_none_or(|kept| kept.addressee != addressee)
        {
            return Ok(None);
        }
        drop(held);
        fs::read(self.path(parcel)).map(Some)
    }

    /// Forgets parcels that their addressee has. What is not kept for it is passed over. Blocks.
    ///
    /// # Errors
    /// That the store failed.
    pub fn forget(&self, addressee: SubjectId, parcels: &[Digest]) -> Result<(), StoreError> {
        let held = self.held();
        let due = parcels.iter().copied().filter(|parcel| {
            let kept = held.parcels.get(parcel);
            kept.is_some_and(|kept| kept.addressee == addressee)
        });
        let due = due.collect();
        drop(held);
        self.drop_parcels(due, Post::Collected)
    }

    /// Removes what has expired, some at a time. Blocks.
    ///
    /// # Errors
    /// That the store failed.
    pub fn sweep(&self, now: Instant) -> Result<(), StoreError> {
        let held = self.held();
        let expired = held.by_end.iter().take_while(|(end, _)| *end <= now);
        let due = expired.map(|(_, parcel)| *parcel).take(SWEEP).collect();
        drop(held);
        self.drop_parcels(due, Post::Expired)
    }

    fn drop_parcels(&self, due: Vec<Digest>, why: Post) -> Result<(), StoreError> {
        if due.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        for parcel in &due {
            self.rows.forget_parcel(&mut batch, parcel);
        }
        self.commit(batch)?;
        let mut held = self.held();
        for parcel in &due {
            held.remove(parcel);
            self.monitor.meters.post(why);
        }
        self.show(&held);
        drop(held);
        for parcel in &due {
            if let Err(error) = fs::remove_file(self.path(parcel)) {
                tracing::warn!(%error, "the file of a parcel cannot be removed; the next start does it");
            }
        }
        Ok(())
    }
}

impl Reservation {
    /// Makes the parcel durable; gives it as it is kept. Its bytes are those offered. Blocks.
    ///
    /// # Errors
    /// That disk or store failed; then it is not kept.
    pub(super) fn store(self, bytes: &[u8], now: Instant) -> io::Result<KeptParcel> {
        let (keep, offer) = (&self.keep, &self.offer);
        let ttl = Span::from_seconds(keep.settings.ttl);
        let path = keep.path(&offer.parcel);
        write_atomic(&path, bytes, 0o600)?;
        let number = {
            let mut held = keep.held();
            held.next = held.next.max(1);
            let number = held.next;
            held.next += 1;
            number
        };
        let parcel = KeptParcel {
            parcel: offer.parcel,
            tag: offer.tag,
            addressee: offer.addressee,
            kind: offer.kind,
            size: offer.size,
            number,
            kept_until: now + Span::from_ms(offer.keep).min(ttl),
            depositors: vec![(self.depositor, now)],
        };
        let mut batch = Batch::default();
        keep.rows
            .put_parcel(&mut batch, &parcel)
            .map_err(io::Error::other)?;
        keep.commit(batch).map_err(io::Error::other)?;
        let mut held = keep.held();
        // It counts as kept now: the reservation that ends gives back as much.
        held.count(self.depositor, offer.tag, offer.size);
        held.insert(parcel.clone());
        keep.monitor.meters.post(Post::Kept);
        keep.show(&held);
        Ok(parcel)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut held = self.keep.held();
        held.reserved.remove(&self.offer.parcel);
        held.discount(self.depositor, self.offer.tag, self.offer.size);
        self.keep.show(&held);
    }
}

#[cfg(test)]
mod tests;
