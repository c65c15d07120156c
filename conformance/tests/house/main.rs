//! The rules of the house, held by tests: which crate may name which, what `protocol` and `registry` may
//! not call, the least versions in `Cargo.lock`, and the scripts that people and continuous integration start.
//!
//! Each check is a function from what it read to a list of complaints, so that each also has a negative
//! control: fed with a planted fault, it complains.
#![allow(clippy::unwrap_used)]

mod directions;
mod floors;
mod purity;
mod scripts;

use std::path::PathBuf;
use std::process::Command;

use basoche_conformance::checkout;

/// An empty directory of this name in the checkout (the target directory may serve several checkouts). It
/// keeps its place from run to run, so that cargo does not gather the remains of each.
fn scratch(name: &str) -> PathBuf {
    let path = checkout().join("target/house").join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path).unwrap();
    }
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// What a program that has ended left behind.
struct Answer {
    success: bool,
    stdout: String,
    stderr: String,
}

impl Answer {
    fn to(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            success: output.status.success(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Standard output of a program that had to succeed.
    fn expect_success(self) -> String {
        assert!(self.success, "{}\n{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs cargo in the checkout, so that its one `.cargo/config.toml` applies, without the network.
fn cargo(arguments: &[&str]) -> Answer {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Answer::to(
        Command::new(cargo)
            .args(arguments)
            .env("CARGO_NET_OFFLINE", "true")
            .current_dir(checkout()),
    )
}
