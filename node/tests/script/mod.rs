//! Plays a script of `deploy/sample` with the program that was built.

use std::path::Path;
use std::process::{Command, Output};

/// The text of the script of that name.
pub(crate) fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/sample")
        .join(name);
    std::fs::read_to_string(path).unwrap()
}

/// Plays `script` in a new directory; how it ended, and what it wrote on standard output and standard error.
pub(crate) fn play(name: &str, script: &str) -> (Output, String, String) {
    let place = tempfile::tempdir().unwrap();
    let output = Command::new("bash")
        .args(["-c", script, name])
        .arg(place.path().join("play"))
        .env("BASOCHE", env!("CARGO_BIN_EXE_basoche"))
        .env_remove("BASOCHE_PASSPHRASE")
        .output()
        .unwrap();
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    (output, stdout, stderr)
}
