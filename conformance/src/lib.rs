//! Judges an implementation of the protocol from outside. SPEC §13.
//!
//! In scope: the vectors of `conformance/vectors`, a second codec that shares no code with the first, and the tests
//! that hold `SPEC.md` to the code. Out of scope: our node, which is only ever a program to start. INV-9.

pub mod fixture;
pub mod judge;
pub mod report;
pub mod twin;
pub mod vector;

use std::path::{Path, PathBuf};

/// The checkout that this program was built from: vectors and reports stand there.
#[must_use]
pub fn checkout() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}
