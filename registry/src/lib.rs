//! Who may sign: authorities' logs, what they admit, and what they say of a key at an instant. SPEC §9.
//!
//! ```text
//! Anchors ──▶ Replica ◀── import: entry files, peers' leaves      AuthorityLog ── draft ──▶ Unsigned
//!               │                                                      ▲                       │ signed outside
//!               └── status(key, instant), nodes, persons                └─────── commit ◀──────┘
//! ```
//! In scope: the anchor file, entries, leaves, admission, replicas, and the building of an authority's own log.
//! Out of scope: files, sockets, clocks and randomness. Instants and salts are arguments, and the authority's
//! signature is made by the caller.

pub mod admission;
pub mod anchor;
mod author;
pub mod authority;
pub mod certificate;
mod content;
pub mod crl;
pub mod entry;
pub mod file;
mod held;
pub mod inadmissible;
mod known;
pub mod leaf;
pub mod log;
pub mod published;
mod read;
mod record;
pub mod replica;
pub mod search;
pub mod shelf;
pub mod snapshot;
pub mod state;
mod x509;

pub use anchor::{AnchorError, Anchors, Authority};
pub use authority::AuthorityLog;
pub use certificate::{Certificate, CertificateError};
pub use crl::{Crl, CrlError};
pub use entry::{Content, Entry};
pub use file::EntryFile;
pub use inadmissible::Inadmissible;
pub use leaf::Leaf;
pub use read::ReadLeaf;
pub use replica::{NodeInfo, PersonInfo, Replica};
pub use shelf::Shelf;
