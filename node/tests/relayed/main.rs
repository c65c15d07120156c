//! Real nodes, and endpoints of the transport, over links that delay, lose, repeat and reorder. SYN-6, SYN-7.
#![allow(clippy::unwrap_used)]

mod nodes;
mod relay;
#[path = "../support/mod.rs"]
mod support;
mod transport;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test at a time: each measures times.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
