//! To be written.

pub mod crypto;
pub mod text;
