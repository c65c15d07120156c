//! To be written.

pub mod crypto;
pub mod text;
pub mod tree;
