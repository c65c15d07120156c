//! The node.

pub mod quic;
