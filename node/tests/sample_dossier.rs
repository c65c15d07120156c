//! The sample dossier of the demo holds real files: intact, and opened by independent libraries.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::digest::{SHA256, digest};

/// The checkout, seen from where cargo runs the tests of this package.
fn checkout() -> &'static Path {
    Path::new("..")
}

fn dossier() -> PathBuf {
    checkout().join("deploy/sample/dossier")
}

#[test]
fn every_file_of_the_sample_dossier_has_its_recorded_digest() {
    let sums = std::fs::read_to_string(dossier().join("SHA256SUMS")).unwrap();
    let mut listed = BTreeSet::from(["README.md", "SHA256SUMS", "make"].map(str::to_owned));
    for line in sums.lines() {
        let (expected, name) = line.split_once("  ").unwrap();
        let bytes = std::fs::read(dossier().join(name)).unwrap();
        let hex: String = digest(&SHA256, &bytes)
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hex, expected, "{name}");
        listed.insert(name.to_owned());
    }

    let entries = std::fs::read_dir(dossier()).unwrap();
    let present: BTreeSet<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(present, listed);
}

#[test]
fn independent_libraries_open_every_file_of_the_sample_dossier() {
    let venv = checkout().join("target/venv/bin/python");
    let python = if venv.exists() {
        venv
    } else {
        PathBuf::from("python3")
    };
    let checker = checkout().join("node/tests/sample_dossier.py");

    let output = Command::new(&python).arg(checker).arg(dossier()).output();

    let output = output.unwrap_or_else(|error| panic!("{}: {error}: run `make setup`", python.display()));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "6 files opened");
}
