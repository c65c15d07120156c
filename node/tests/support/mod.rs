//! What the kill and the power-cut harness share: real node processes, clients with their own record, the judge.
//!
//! Everything is set up with the public commands; the load speaks to the control sockets, as the command line
//! does, with wallets that are opened once.
// Each test program uses its own part.
#![allow(dead_code)]

pub(crate) mod disk;
pub(crate) mod harness;
pub(crate) mod judge;
pub(crate) mod load;
pub(crate) mod lodge;
pub(crate) mod namespaces;
pub(crate) mod nodes;
pub(crate) mod registrar;
pub(crate) mod relay;
pub(crate) mod scene;
pub(crate) mod seed;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The program under test, or the one that `BASOCHE_PROGRAM` names.
pub(crate) fn ordinary() -> PathBuf {
    std::env::var_os("BASOCHE_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_basoche").into(), PathBuf::from)
}

/// The same program with the planted faults, for the negative controls; builds it where it is not up to date.
///
/// `BASOCHE_FAULTS_PROGRAM` names one that is built already.
pub(crate) fn with_faults() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let program = std::env::var_os("BASOCHE_FAULTS_PROGRAM").map_or_else(build, PathBuf::from);
        let version = version(&program);
        assert!(version.contains("(faults)"), "{} is {version}", program.display());
        program
    });
    program.clone()
}

fn build() -> PathBuf {
    // The whole workspace is selected, as in `make test`: a narrower choice has other features, and builds
    // every dependency a second time.
    let built = Command::new(env!("CARGO"))
        .args(["build", "--workspace", "--locked", "--quiet"])
        .args(["--bin", "basoche-faults", "--features", "basoche-node/faults"])
        .current_dir("..")
        .status()
        .unwrap();
    assert!(built.success(), "basoche-faults cannot be built");
    ordinary().with_file_name("basoche-faults")
}

/// What a program says that it is.
pub(crate) fn version(program: &Path) -> String {
    let said = Command::new(program).arg("--version").output().unwrap();
    String::from_utf8(said.stdout).unwrap()
}

/// A count for `make test`, a larger one for `make long`, or the one that the variable `name` gives.
pub(crate) fn count(name: &str, small: usize, long: usize) -> usize {
    let given = std::env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}"))
    });
    let long_run = std::env::var("BASOCHE_LONG").is_ok_and(|value| value == "1");
    given.unwrap_or(if long_run { long } else { small })
}

/// A directory for one run; it stays when the run fails, so that data and logs can be looked at.
pub(crate) struct Place(Option<tempfile::TempDir>);

impl Place {
    pub(crate) fn new() -> Self {
        Self(Some(tempfile::tempdir().unwrap()))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.as_ref().unwrap().path()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(directory) = self.0.take().filter(|_| std::thread::panicking()) {
            println!("data and logs stay in {}", directory.keep().display());
        }
    }
}
