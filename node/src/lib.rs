//! The node.

pub mod files;
pub mod store;
pub mod vault;
