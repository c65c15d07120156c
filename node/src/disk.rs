//! Room on the disk that holds the data directory.

use std::io;
use std::path::Path;

/// Space that documents leave free, so that the journal can go on when they have filled the disk (64 MiB).
pub const RESERVE_BYTES: u64 = 64 << 20;

/// How much room a disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this account may still write.
    pub free_bytes: u64,
    /// Bytes of the whole file system.
    pub size_bytes: u64,
}

impl Space {
    /// The disk that holds `path`.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn of(path: &Path) -> io::Result<Self> {
        let disk = rustix::fs::statvfs(path)?;
        Ok(Self {
            free_bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
            size_bytes: disk.f_blocks.saturating_mul(disk.f_frsize),
        })
    }

    /// Whether a document of `bytes` fits and leaves the reserve.
    #[must_use]
    pub fn holds(&self, bytes: u64) -> bool {
        bytes.saturating_add(RESERVE_BYTES) <= self.free_bytes
    }

    /// The free bytes below which the disk counts as nearly full: `percent` of it, and never less than the reserve.
    #[must_use]
    pub fn low_bytes(&self, percent: u8) -> u64 {
        (self.size_bytes / 100 * u64::from(percent)).max(RESERVE_BYTES)
    }
}
