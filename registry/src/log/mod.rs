//! Transparency logs in the formats of C2SP: what an authority signs about its log, who has seen it, and how it is
//! served and proved. SPEC §9.6.
//!
//! ```text
//! leaves ──▶ tiles, packages ──▶ checkpoint ──signed──▶ note ──cosigned by witnesses──▶ policy: is it enough?
//!                                    │                                                       │
//!                                    └── two that contradict: equivocation      a leaf in it: proof file
//! ```
//! Nothing here knows what an entry says. Signatures are made outside: a [`Key`] says which bytes to sign.

mod age;
mod checkpoint;
mod equivocation;
mod file;
mod gossip;
mod note;
mod policy;
mod tile;
mod watch;
mod witness;

pub use age::{Age, FRESH, HEARTBEAT, STALE, seen_at};
pub use checkpoint::{Checkpoint, CheckpointError, Merged, Seen};
pub use equivocation::{Equivocation, Innocent};
pub use file::{InclusionFile, InclusionFileError};
pub use gossip::{Effect, Gossip};
pub use note::{KEY_NAME_BYTES, Key, KeyKind, NOTE_BYTES, Note, NoteError, NoteSignature, SIGNATURES};
pub use policy::{Agreement, Policy, PolicyError, PolicyFault};
pub use tile::{BundleError, TILE_WIDTH, Tile, bundle, new_tiles, unbundle};
pub use watch::{Heard, Proposal, Watch};
pub use witness::{AddCheckpoint, Refusal, Witness};
