//! A disk of a test's own that can be filled.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system of its own, unmounted at the end: the store's logs and the reserve that documents leave fit.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn mount(at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256m", "tmpfs"])
            .arg(at)
            .status();
        assert!(
            mounted.unwrap().success(),
            "this test mounts a tmpfs: it needs root"
        );
        Self(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Fills a disk to the last byte.
pub(crate) fn fill(ballast: &Path) {
    let mut filler = File::create(ballast).unwrap();
    for block in [1 << 20, 4096, 1] {
        while filler.write(&vec![0; block]).is_ok_and(|written| written > 0) {}
    }
    // An open file keeps its space even after it is removed.
    drop(filler);
}
