//! Judges an implementation of the protocol from outside. SPEC §13.
//!
//! In scope: the vectors of `conformance/vectors`, a second codec that shares no code with the first, and the tests
//! that hold `SPEC.md` to the code. Out of scope: our node, which is only ever a program to start. INV-9.

pub mod fixture;
pub mod judge;
pub mod report;
pub mod twin;
pub mod vector;

use std::env;
use std::path::{Path, PathBuf};

/// The checkout that cargo runs this program in, else the current directory: vectors and reports stand there.
///
/// Asked at run time: a target directory may serve several checkouts, and cargo then takes the program that one
/// of them built for the other's.
#[must_use]
pub fn checkout() -> PathBuf {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    manifest
        .as_deref()
        .and_then(Path::parent)
        .unwrap_or_else(|| Path::new("."))
        .to_path_buf()
}
