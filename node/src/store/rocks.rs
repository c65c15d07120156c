//! The embedded default: RocksDB. No other module names the crate.
//!
//! **Durability.** Every commit is one write batch with `sync = true`: RocksDB appends it to its write-ahead
//! log and calls fdatasync before the write returns. Group commit is RocksDB's own: of the threads that write
//! at the same time one leads, appends all their batches and syncs once for all, so that threads, not a queue
//! of ours, share the scarce syncs. Only with the fault `no-sync` (feature `faults`) is the sync left out.
//!
//! **Damage.** [`super::wal`] reads the logs before RocksDB does. A torn last record of the last log was never
//! acknowledged: it is cut off here, and reported. All other damage stops the open, before anything is rewritten.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, CompactOptions, DB, DBCompressionType,
    DBRecoveryMode, ErrorKind, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::wal::{self, Tail};
use super::{Batch, Durable, KEY_BYTES, Key, Store, StoreError};
use crate::files;

/// Memory for rows not yet in sorted files: two write buffers of this size.
const WRITE_BUFFER_BYTES: usize = 32 << 20;
/// The part of a write buffer that says which keys are not in it.
const MEMTABLE_BLOOM: f64 = 0.02;
/// What a change takes of a write batch beside its value: its key, a tag and two lengths.
const CHANGE_BYTES: usize = KEY_BYTES + 16;
/// Memory for blocks read from sorted files.
const BLOCK_CACHE_BYTES: usize = 32 << 20;
/// Logs are replayed at every start: their total size bounds its duration.
const MAX_WAL_BYTES: u64 = 64 << 20;
/// RocksDB's own log of events (`LOG`): files of this size, this many.
const INFO_LOG_BYTES: usize = 1 << 20;
const INFO_LOG_FILES: usize = 4;
const MAX_OPEN_FILES: i32 = 256;

/// A [`Store`] in one RocksDB database, which one process at a time may have open.
pub struct RocksStore {
    path: PathBuf,
    db: DB,
    /// The directory, which nobody else may repair or open meanwhile.
    _lock: File,
    write: WriteOptions,
    commits: AtomicU64,
}

impl RocksStore {
    /// Makes a new, empty database in the directory `path`, whose parent exists, and opens it.
    ///
    /// A creation that was cut short may be repeated.
    ///
    /// # Errors
    /// [`StoreError::Exists`] where there is a database already; [`StoreError::Missing`] without the parent.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(from_io(path, &error)),
            _ if holds_database(path)? => return Err(StoreError::Exists { path: path.into() }),
            _ => {}
        }
        let mut options = options();
        options.create_if_missing(true);
        let store = Self::start(path, &options, sync_wanted())?;
        files::sync_dir(files::directory_of(path)).map_err(|error| from_io(path, &error))?;
        Ok(store)
    }

    /// Opens the database in the directory `path`; it never makes one, so that a volume that is not mounted
    /// does not look like a node without a past.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Busy`], [`StoreError::Permission`], [`StoreError::Full`], or
    /// [`StoreError::Damaged`] for anything but a torn last record.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !holds_database(path)? {
            return Err(StoreError::Missing { path: path.into() });
        }
        Self::start(path, &options(), sync_wanted())
    }

    /// Locks a damaged database for as long as the file lives, and opens for reading what can still be read of it:
    /// nothing says that it is all. Nothing is changed; `None` if nothing can be read.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Permission`].
    pub fn salvage(path: &Path) -> Result<(File, Option<Self>), StoreError> {
        let lock = lock(path)?;
        let mut options = options();
        options.set_paranoid_checks(false);
        options.set_track_and_verify_wals_in_manifest(false);
        options.set_wal_recovery_mode(DBRecoveryMode::SkipAnyCorruptedRecord);
        let db = DB::open_for_read_only(&options, path, false);
        let shared = lock.try_clone().map_err(|error| from_io(path, &error))?;
        let store = db.ok().map(|db| Self {
            path: path.into(),
            db,
            _lock: shared,
            write: WriteOptions::default(),
            commits: AtomicU64::new(0),
        });
        Ok((lock, store))
    }

    fn start(path: &Path, options: &Options, sync: bool) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        if let Some((log, offset, bytes)) = inspect_logs(path)? {
            cut(&log, offset).map_err(|error| from_io(&log, &error))?;
            tracing::warn!(log = %log.display(), offset, bytes, "dropped a torn last record, never acknowledged");
        }
        let db = DB::open(options, path).map_err(|error| from_rocks(path, error.as_ref(), &error.kind()))?;
        let mut write = WriteOptions::default();
        write.set_sync(sync);
        Ok(Self {
            path: path.into(),
            db,
            _lock: lock,
            write,
            commits: AtomicU64::new(0),
        })
    }

    fn error(&self, error: &rocksdb::Error) -> StoreError {
        from_rocks(&self.path, error.as_ref(), &error.kind())
    }

    /// Rows from `first` to `last`, both included, in the order of `mode`.
    fn rows(
        &self,
        first: Key,
        last: Key,
        mode: IteratorMode<'_>,
    ) -> impl Iterator<Item = Result<(Key, Vec<u8>), StoreError>> {
        let mut bounds = ReadOptions::default();
        bounds.set_iterate_lower_bound(first.encode());
        // The bound is exclusive: the shortest byte string after `last`.
        bounds.set_iterate_upper_bound([last.encode().as_slice(), &[0]].concat());
        self.db.iterator_opt(mode, bounds).map(|row| {
            let (key, value) = row.map_err(|error| self.error(&error))?;
            let key = Key::decode(&key).ok_or_else(|| {
                StoreError::damaged(format!(
                    "{} holds a key of {} bytes",
                    self.path.display(),
                    key.len()
                ))
            })?;
            Ok((key, value.into_vec()))
        })
    }
}

impl Store for RocksStore {
    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get(key.encode()).map_err(|error| self.error(&error))
    }

    fn scan(
        &self,
        family: u8,
        owner: &[u8; 16],
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let first = Key {
            family,
            owner: *owner,
            index: from,
        };
        let rows = self.rows(
            first,
            Key {
                index: u64::MAX,
                ..first
            },
            IteratorMode::Start,
        );
        rows.take(limit)
            .map(|row| row.map(|(key, value)| (key.index, value)))
            .collect()
    }

    fn scan_family(
        &self,
        family: u8,
        each: &mut dyn FnMut(Key, Vec<u8>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let first = Key {
            family,
            owner: [0; 16],
            index: 0,
        };
        let last = Key {
            family,
            owner: [0xff; 16],
            index: u64::MAX,
        };
        for row in self.rows(first, last, IteratorMode::Start) {
            let (key, value) = row?;
            each(key, value)?;
        }
        Ok(())
    }

    fn last(&self, family: u8, owner: &[u8; 16]) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        let first = Key {
            family,
            owner: *owner,
            index: 0,
        };
        let row = self
            .rows(
                first,
                Key {
                    index: u64::MAX,
                    ..first
                },
                IteratorMode::End,
            )
            .next();
        Ok(row.transpose()?.map(|(key, value)| (key.index, value)))
    }

    fn commit(&self, batch: Batch) -> Result<Durable, StoreError> {
        batch.check()?;
        if batch.is_empty() {
            return Ok(self.durable());
        }
        // In one piece from the start: as it grows it is copied, to pages that the system clears first.
        let values = batch.changes.iter();
        let values = values.map(|(_, value)| CHANGE_BYTES + value.as_ref().map_or(0, Vec::len));
        let mut write = WriteBatch::with_capacity_bytes(values.sum());
        for (key, value) in batch.changes {
            match value {
                Some(value) => write.put(key.encode(), value),
                None => write.delete(key.encode()),
            }
        }
        self.db
            .write_opt(write, &self.write)
            .map_err(|error| self.error(&error))?;
        // Counted after the sync: every position up to this one was durable before it was given.
        Ok(Durable(self.commits.fetch_add(1, Ordering::SeqCst) + 1))
    }

    fn durable(&self) -> Durable {
        Durable(self.commits.load(Ordering::SeqCst))
    }

    fn scrub(&self, key: &Key) -> Result<(), StoreError> {
        // The value in memory goes to a sorted file, and the log that had it is removed; then every sorted file that
        // may hold an earlier value is written anew without it, the lowest ones included.
        self.db.flush().map_err(|error| self.error(&error))?;
        let mut compaction = CompactOptions::default();
        compaction.set_exclusive_manual_compaction(true);
        compaction.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        let bound = key.encode();
        self.db.compact_range_opt(Some(&bound), Some(&bound), &compaction);
        Ok(())
    }

    fn checkpoint(&self, to: &Path) -> Result<(), StoreError> {
        let made = Checkpoint::new(&self.db).and_then(|checkpoint| checkpoint.create_checkpoint(to));
        made.map_err(|error| self.error(&error))
    }
}

fn options() -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
    table.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_max_total_wal_size(MAX_WAL_BYTES);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_max_open_files(MAX_OPEN_FILES);
    // Most look-ups of a registry's import are of what is not there.
    options.set_memtable_whole_key_filtering(true);
    options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM);
    // Values are ciphertext and keys are hashes: nothing to compress.
    options.set_compression_type(DBCompressionType::None);
    options.set_max_log_file_size(INFO_LOG_BYTES);
    options.set_keep_log_file_num(INFO_LOG_FILES);
    options.set_stats_dump_period_sec(0);
    // Sorted files are written back as they grow, so that a large sync does not stall the small ones.
    options.set_bytes_per_sync(1 << 20);
    options
}

/// The lock of a directory: one process at a time.
fn lock(path: &Path) -> Result<File, StoreError> {
    let lock = File::open(path).map_err(|error| from_io(path, &error))?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => StoreError::Busy { path: path.into() },
        TryLockError::Error(error) => from_io(path, &error),
    })?;
    Ok(lock)
}

/// Whether commits are to be synced: always, but for the planted fault `no-sync`.
fn sync_wanted() -> bool {
    #[cfg(feature = "faults")]
    return !std::env::var("BASOCHE_FAULT").is_ok_and(|faults| faults.contains("no-sync"));
    #[cfg(not(feature = "faults"))]
    true
}

/// Whether the directory `path` holds a database, judged by its files: `CURRENT`, which is the root, at least
/// one log, because there is always one in use, and sorted files once a write buffer was full.
fn holds_database(path: &Path) -> Result<bool, StoreError> {
    let (mut root, mut logs, mut tables) = (false, false, false);
    for entry in fs::read_dir(path).map_err(|error| from_io(path, &error))? {
        let name = entry.map_err(|error| from_io(path, &error))?.file_name();
        let name = name.to_string_lossy();
        root |= name == "CURRENT";
        logs |= name.ends_with(".log");
        tables |= name.ends_with(".sst");
    }
    match (root, logs, tables) {
        (true, true, _) => Ok(true),
        // Nothing, or a creation that was cut short: the root comes before the first log.
        (_, false, false) => Ok(false),
        (false, _, _) => Err(StoreError::damaged(format!(
            "{} has lost its file CURRENT",
            path.display()
        ))),
        (true, false, true) => Err(StoreError::damaged(format!(
            "{} has lost its write-ahead logs",
            path.display()
        ))),
    }
}

/// Ends a log where its torn record begins: RocksDB drops some such records and refuses others.
fn cut(log: &Path, offset: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(log)?;
    file.set_len(offset)?;
    file.sync_all()
}

/// Reads every log ahead of RocksDB and returns the torn end of the last one: log, offset, bytes that will be dropped.
fn inspect_logs(path: &Path) -> Result<Option<(PathBuf, u64, u64)>, StoreError> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| from_io(path, &error))? {
        let log = entry.map_err(|error| from_io(path, &error))?.path();
        if log.extension().is_some_and(|extension| extension == "log") {
            logs.push(log);
        }
    }
    // Their names are numbers, ascending, with leading zeros.
    logs.sort_by_key(|log| (log.as_os_str().len(), log.clone()));
    let mut torn: Option<(PathBuf, u64, u64)> = None;
    for log in logs {
        let damaged = |log: &Path, offset: u64| {
            let what = format!(
                "the write-ahead log {} is damaged at byte {offset}",
                log.display()
            );
            Err(StoreError::damaged(what))
        };
        let bytes = fs::metadata(&log).map_or(0, |found| found.len());
        // What stands in a later log was written once the end of this one was durable.
        if let Some((earlier, offset, _)) = torn.as_ref().filter(|_| bytes > 0) {
            return damaged(earlier, *offset);
        }
        match File::open(&log).and_then(wal::inspect) {
            Ok(Tail::Whole) => {}
            Ok(Tail::Torn { offset, bytes }) => torn = Some((log, offset, bytes)),
            Ok(Tail::Damaged { offset }) => return damaged(&log, offset),
            // The process that has the database open may remove a log under us; RocksDB will say that it is busy.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(from_io(path, &error)),
        }
    }
    Ok(torn)
}

fn from_io(path: &Path, error: &io::Error) -> StoreError {
    let path = path.to_path_buf();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => StoreError::Missing { path },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::Permission { path }
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { path },
        _ => StoreError::Io {
            what: format!("{}: {error}", path.display()),
        },
    }
}

/// RocksDB passes the operating system's error on as text only, in the C locale.
fn from_rocks(path: &Path, message: &str, kind: &ErrorKind) -> StoreError {
    let has = |text: &str| message.contains(text);
    let path = path.to_path_buf();
    if has("No space left on device") || has("Disk quota exceeded") {
        StoreError::Full { path }
    } else if has("LOCK: Resource temporarily unavailable") || has("LOCK: No locks available") {
        StoreError::Busy { path }
    } else if has("Permission denied") || has("Read-only file system") {
        StoreError::Permission { path }
    } else if *kind == ErrorKind::Corruption || has("No such file or directory") {
        StoreError::damaged(format!(
            "the database at {} is damaged ({message})",
            path.display()
        ))
    } else {
        StoreError::Io {
            what: format!("the database at {} failed ({message})", path.display()),
        }
    }
}

// A key of another length would break the bounds of `rows`.
const _: () = assert!(KEY_BYTES == 25);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::contract::{self, key, put};
    use super::*;
    use std::os::unix::fs::FileExt;

    const A: [u8; 16] = [0xaa; 16];

    #[test]
    fn what_is_scrubbed_is_in_no_file_wherever_it_had_come() {
        let dir = tempfile::tempdir().unwrap();
        let store = RocksStore::create(&dir.path().join("db")).unwrap();
        let canary = |row: u8| format!("canary of row {row:03}, which stands nowhere else").into_bytes();
        let holders = |row: u8| {
            let files = fs::read_dir(&store.path).unwrap();
            let bytes = files.map(|file| fs::read(file.unwrap().path()).unwrap_or_default());
            let wanted = canary(row);
            bytes
                .filter(|bytes| bytes.windows(wanted.len()).any(|window| window == wanted))
                .count()
        };
        // In the lowest sorted file, in one above it, and in the log only.
        for row in 0..3 {
            put(&store, key(A, u64::from(row)), &canary(row));
            if row < 2 {
                store.db.flush().unwrap();
            }
            if row == 0 {
                store.db.compact_range(None::<&[u8]>, None::<&[u8]>);
            }
        }
        for row in 0..3 {
            put(&store, key(A, u64::from(row)), b"gone");
            assert!(
                holders(row) > 0,
                "row {row} is still on the disk when it is written anew"
            );
        }
        for row in 0..3_u8 {
            store.scrub(&key(A, u64::from(row))).unwrap();
        }
        assert_eq!([0, 1, 2].map(holders), [0; 3]);
        assert_eq!(store.get(&key(A, 2)).unwrap().unwrap(), b"gone");
    }

    /// A copy of the database of `store`, as a power cut after the last commit would leave it.
    fn power_cut(store: &RocksStore) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("db");
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(&store.path).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        (dir, copy)
    }

    fn log_of(path: &Path) -> PathBuf {
        let logs = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        logs.filter(|path| path.extension().is_some_and(|e| e == "log"))
            .max()
            .unwrap()
    }

    fn three_rows() -> (tempfile::TempDir, RocksStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = RocksStore::create(&dir.path().join("db")).unwrap();
        for index in 0..3 {
            put(&store, key(A, index), &[7; 100]);
        }
        (dir, store)
    }

    fn indexes(store: &RocksStore) -> Vec<u64> {
        store
            .scan(1, &A, 0, 10)
            .unwrap()
            .into_iter()
            .map(|(index, _)| index)
            .collect()
    }

    #[test]
    fn rocks_keeps_the_contract() {
        let dirs = tempfile::tempdir().unwrap();
        let count = AtomicU64::new(0);
        contract::check(&|| {
            let name = count.fetch_add(1, Ordering::SeqCst).to_string();
            Box::new(RocksStore::create(&dirs.path().join(name)).unwrap())
        });
    }

    #[test]
    fn rows_survive_closing_and_opening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        drop(RocksStore::create(&path).unwrap());
        contract::check_reopen(&|| Box::new(RocksStore::open(&path).unwrap()));
    }

    #[test]
    fn committed_rows_survive_a_process_that_never_closes() {
        let (_dir, store) = three_rows();
        let (_copy, path) = power_cut(&store);
        assert_eq!(indexes(&RocksStore::open(&path).unwrap()), [0, 1, 2]);
    }

    #[test]
    fn a_torn_last_record_is_dropped_wherever_it_tears() {
        let (_dir, store) = three_rows();
        let whole = fs::metadata(log_of(&store.path)).unwrap().len();
        for lost in [1, 60, 130] {
            let (_copy, path) = power_cut(&store);
            let log = OpenOptions::new().write(true).open(log_of(&path)).unwrap();
            log.set_len(whole - lost).unwrap();
            let (_, offset, bytes) = inspect_logs(&path).unwrap().unwrap();
            assert_eq!(offset + bytes, whole - lost, "the torn bytes reach the end");
            let reopened = RocksStore::open(&path).unwrap();
            assert_eq!(indexes(&reopened), [0, 1], "{lost} bytes lost");
            put(&reopened, key(A, 9), b"after");
            drop(reopened);
            assert_eq!(indexes(&RocksStore::open(&path).unwrap()), [0, 1, 9]);
        }
    }

    #[test]
    fn a_last_record_with_pages_that_never_reached_the_disk_is_dropped() {
        let (_dir, store) = three_rows();
        let before = fs::metadata(log_of(&store.path)).unwrap().len();
        put(&store, key(A, 3), &[7; 20_000]);
        let whole = fs::metadata(log_of(&store.path)).unwrap().len();
        for hole in [before.next_multiple_of(4096)..whole, 8192..12_288] {
            let (_copy, path) = power_cut(&store);
            let log = OpenOptions::new().write(true).open(log_of(&path)).unwrap();
            let zeros = vec![0; (hole.end - hole.start) as usize];
            log.write_all_at(&zeros, hole.start).unwrap();
            let reopened = RocksStore::open(&path).unwrap();
            assert_eq!(indexes(&reopened), [0, 1, 2], "{hole:?}");
            put(&reopened, key(A, 9), b"after");
            drop(reopened);
            assert_eq!(indexes(&RocksStore::open(&path).unwrap()), [0, 1, 2, 9]);
        }
    }

    #[test]
    fn an_end_that_looks_torn_in_a_log_before_the_last_is_damage_and_stays_as_it_is() {
        let (_dir, store) = three_rows();
        let (_copy, path) = power_cut(&store);
        let log = log_of(&path);
        let whole = fs::metadata(&log).unwrap().len();
        fs::copy(&log, path.join("999999.log")).unwrap();
        OpenOptions::new()
            .write(true)
            .open(&log)
            .unwrap()
            .set_len(whole - 1)
            .unwrap();
        let error = RocksStore::open(&path).err();
        assert!(matches!(error, Some(StoreError::Damaged { .. })), "{error:?}");
        assert_eq!(fs::metadata(&log).unwrap().len(), whole - 1);
    }

    #[test]
    fn a_flipped_bit_in_any_byte_of_a_log_stops_the_open() {
        let (_dir, store) = three_rows();
        let bytes = fs::read(log_of(&store.path)).unwrap();
        let last = bytes.len() as u64 / 3 * 2;
        // The last record's length is excepted: longer than the file, it looks like a torn one.
        for offset in (0..last + 4).chain([last + 6, bytes.len() as u64 - 1]).step_by(5) {
            for bit in [0, 2, 7] {
                let (_copy, path) = power_cut(&store);
                let log = OpenOptions::new().write(true).open(log_of(&path)).unwrap();
                log.write_all_at(&[bytes[offset as usize] ^ 1 << bit], offset)
                    .unwrap();
                let error = RocksStore::open(&path).err();
                let Some(StoreError::Damaged { what, action }) = error else {
                    panic!("byte {offset}, bit {bit}: {error:?}");
                };
                assert!(what.contains(&path.display().to_string()), "{what}");
                assert!(action.contains("OPERATIONS.md"), "{action}");
                assert_eq!(
                    fs::read(log_of(&path)).unwrap().len(),
                    bytes.len(),
                    "the log was rewritten"
                );
            }
        }
    }

    #[test]
    fn what_a_damaged_database_still_holds_can_be_read_under_its_lock_and_changes_nothing() {
        let (_dir, store) = three_rows();
        let (_copy, path) = power_cut(&store);
        let log = log_of(&path);
        let mut bytes = fs::read(&log).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&log, &bytes).unwrap();
        let (lock, readable) = RocksStore::salvage(&path).unwrap();
        let rows = indexes(&readable.unwrap());
        assert!(rows.starts_with(&[0]) && !rows.contains(&1), "{rows:?}");
        assert_eq!(fs::read(&log).unwrap(), bytes);
        let busy = |error| matches!(error, Some(StoreError::Busy { .. }));
        assert!(busy(RocksStore::open(&path).err()) && busy(RocksStore::salvage(&path).err()));
        drop(lock);
        fs::remove_file(path.join("CURRENT")).unwrap();
        assert!(RocksStore::salvage(&path).unwrap().1.is_none());
        assert!(busy(RocksStore::salvage(&store.path).err()), "it is open");
    }

    #[test]
    fn a_missing_sorted_file_stops_the_open() {
        let (_dir, store) = three_rows();
        store.db.flush().unwrap();
        let (_copy, path) = power_cut(&store);
        let files = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
        let sorted = files
            .filter(|path| path.extension().is_some_and(|e| e == "sst"))
            .max()
            .unwrap();
        fs::remove_file(sorted).unwrap();
        assert!(matches!(RocksStore::open(&path), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn a_lost_current_file_is_damage_and_not_an_empty_store() {
        let (_dir, store) = three_rows();
        for _with_log_then_with_sorted_file in 0..2 {
            let (_copy, path) = power_cut(&store);
            fs::remove_file(path.join("CURRENT")).unwrap();
            assert!(matches!(RocksStore::open(&path), Err(StoreError::Damaged { .. })));
            assert!(matches!(
                RocksStore::create(&path),
                Err(StoreError::Damaged { .. })
            ));
            store.db.flush().unwrap();
        }
    }

    #[test]
    fn a_lost_log_stops_the_open() {
        let (_dir, store) = three_rows();
        let (_copy, path) = power_cut(&store);
        fs::remove_file(log_of(&path)).unwrap();
        assert!(
            matches!(RocksStore::open(&path), Err(StoreError::Missing { .. })),
            "nothing else was there"
        );
        store.db.flush().unwrap();
        put(&store, key(A, 3), b"in the new log");
        let (_copy, path) = power_cut(&store);
        fs::remove_file(log_of(&path)).unwrap();
        assert!(matches!(RocksStore::open(&path), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn a_second_opening_is_refused_with_the_path() {
        let (_dir, store) = three_rows();
        let Err(error) = RocksStore::open(&store.path) else {
            panic!("opened twice")
        };
        assert!(matches!(&error, StoreError::Busy { path } if *path == store.path));
        assert!(error.to_string().contains("stop the other"), "{error}");
    }

    #[test]
    fn opening_makes_nothing_and_creating_replaces_nothing() {
        let (dir, store) = three_rows();
        assert!(matches!(
            RocksStore::create(&store.path),
            Err(StoreError::Exists { .. })
        ));
        let absent = dir.path().join("absent");
        assert!(matches!(
            RocksStore::open(&absent),
            Err(StoreError::Missing { .. })
        ));
        assert!(!absent.exists());
        assert!(matches!(
            RocksStore::create(&absent.join("db")),
            Err(StoreError::Missing { .. })
        ));
        fs::create_dir(&absent).unwrap();
        assert!(matches!(
            RocksStore::open(&absent),
            Err(StoreError::Missing { .. })
        ));
        RocksStore::create(&absent).unwrap();
    }

    #[test]
    fn errors_of_the_operating_system_are_told_apart() {
        let error = |message: &str, kind| from_rocks(Path::new("/d"), message, &kind);
        let full = "IO error: No space left on device: While appending to file: /d/000004.log: No space left on device";
        assert!(matches!(error(full, ErrorKind::IOError), StoreError::Full { .. }));
        let denied = "IO error: While lock file: /d/LOCK: Permission denied";
        assert!(matches!(
            error(denied, ErrorKind::IOError),
            StoreError::Permission { .. }
        ));
        let sync = "IO error: While fdatasync: /d/000004.log: Input/output error";
        assert!(
            matches!(error(sync, ErrorKind::IOError), StoreError::Io { what } if what.contains("fdatasync"))
        );
        let gone = "IO error: No such file or directory: While open a file for random read: /d/000009.sst";
        assert!(matches!(
            error(gone, ErrorKind::IOError),
            StoreError::Damaged { .. }
        ));
    }
}
