//! To be written.

pub mod crypto;
pub mod document;
pub mod text;
pub mod tree;
