//! The node.

pub mod blob;
pub mod bundle;
pub mod files;
pub mod store;
pub mod vault;
pub mod zip;
