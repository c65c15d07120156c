//! Bytes: the canonical CBOR subset, its codec, every limit, and the frames of a conversation. SPEC §4.

pub mod canon;
pub mod codec;
pub mod frame;
pub mod limits;
pub mod number;
