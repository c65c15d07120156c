//! The Basoche node: the shell around the pure core, and the only crate with input and output.
//!
//! ```text
//! cli ──control socket──▶ control ──▶ desk (engine, store) ◀── network ◀──QUIC── peers
//!                                      └─▶ documents (blobs) ◀───────────┘
//! ```

pub mod backup;
pub mod blob;
pub mod buffers;
pub mod bundle;
pub mod certificate;
pub mod check;
pub mod cli;
pub mod config;
pub mod control;
pub mod demo;
pub mod desk;
pub mod discovery;
pub mod disk;
pub mod documents;
pub mod effects;
pub mod evidence;
pub mod faults;
pub mod files;
pub mod gossip;
pub mod keys;
pub mod log_key;
pub mod mailbox;
pub mod network;
pub mod operator;
pub mod published;
pub mod quic;
pub mod quittance;
pub mod repair;
pub mod rows;
pub mod runtime;
pub mod store;
pub mod vault;
pub mod wallet;
pub mod witness_key;
pub mod zip;

/// Name and version of this program, with the planted faults that it can carry.
pub const VERSION: &str = if faults::PRESENT {
    concat!("basoche ", env!("CARGO_PKG_VERSION"), " (faults)")
} else {
    concat!("basoche ", env!("CARGO_PKG_VERSION"))
};
