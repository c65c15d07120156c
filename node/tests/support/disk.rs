//! What lies in data directories, what is done to it, and the commands about a node that does not run.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Exit code and answer of `basoche node VERB` about the node `name`, under a planted fault or none.
pub(crate) fn command(
    program: &Path,
    fault: &str,
    place: &Path,
    name: &str,
    verb: &str,
    rest: &[&str],
) -> (i32, Value) {
    let config = format!("{name}/node.toml");
    let done = Command::new(program)
        .args(["node", verb, "--config", &config, "--json"])
        .args(rest)
        .env("BASOCHE_FAULT", fault)
        .current_dir(place)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let answer = serde_json::from_str(said.lines().last().unwrap_or("null"));
    (done.status.code().unwrap_or(-1), answer.unwrap_or_default())
}

/// The files below a directory.
pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

/// The ciphertext files of documents.
pub(crate) fn documents(data: &Path) -> Vec<PathBuf> {
    let mut found = files(&data.join("blobs"));
    found.retain(|path| path.extension().is_none());
    found
}

/// Changes one byte in the middle of a file that other names may share.
pub(crate) fn spoil(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::remove_file(path).unwrap();
    fs::write(path, &bytes).unwrap();
    let middle = bytes.len() as u64 / 2;
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[bytes[middle as usize] ^ 1], middle).unwrap();
}
