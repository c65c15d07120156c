//! What a message means: the pure core of Basoche.
//!
//! ```text
//! bytes ─▶ decode ─▶ open ─▶ verify ─▶ decide ─▶ commit (durable) ─▶ apply ─▶ acknowledge
//!          wire     envelope  envelope  dossier   the caller's store   dossier   journal head
//! ```
//! In scope: encoding, envelopes, messages, the journal, the procedure and the conversation between nodes.
//! Out of scope: clocks, randomness, files, sockets. `now` and random bytes are arguments; signatures to make and
//! rows to store are handed out (`poll_*`) and their results taken back (`handle_*`).

pub mod amount;
pub mod crypto;
pub mod directory;
pub mod document;
pub mod dossier;
pub mod engine;
pub mod envelope;
pub mod error;
#[cfg(feature = "test-util")]
pub mod fixture;
pub mod id;
pub mod jose;
pub mod journal;
pub mod mailbox;
pub mod message;
pub mod plant;
pub mod refusal;
pub mod role;
pub mod text;
pub mod time;
pub mod tree;
pub mod wire;
