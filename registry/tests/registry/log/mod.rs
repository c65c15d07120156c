//! The logs' formats, by the examples of C2SP, by two published crates, and by what nobody may be made to believe.

mod ages;
mod equivocation;
pub(crate) mod kit;
mod notes;
mod oracle;
mod policies;
mod proof_files;
mod watches;
mod witnesses;
