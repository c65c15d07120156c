//! The memory of a running process, as a file: what an operator, or who breaks into the machine, can read of it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes the memory of `process` into `directory`, and gives the file; `None` where gdb's `gcore` is not there
/// (deploy/setup.sh installs it) or `BASOCHE_NO_GCORE=1` says to go without: then the caller counts itself skipped.
pub(crate) fn of_process(process: u32, directory: &Path) -> Option<PathBuf> {
    if std::env::var("BASOCHE_NO_GCORE").is_ok_and(|value| value == "1") {
        return None;
    }
    let prefix = directory.join("image");
    let process = process.to_string();
    let done = match Command::new("gcore")
        .arg("-o")
        .arg(&prefix)
        .arg(&process)
        .output()
    {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        done => done.unwrap(),
    };
    let image = directory.join(format!("image.{process}"));
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(
        image.exists(),
        "gcore failed: {complaint}; it needs ptrace: set BASOCHE_NO_GCORE=1 to go without memory images"
    );
    Some(image)
}
