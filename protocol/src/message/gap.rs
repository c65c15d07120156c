//! A node lacks entries that others name. SPEC §6.24.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, check_ext, require};
use crate::error::Malformed;
use crate::id::{Digest, SubjectId};
use crate::journal::ChainId;

/// A node states that entries of a chain do not come, although a head names them. GAP-1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// The chain.
    pub chain: ChainId,
    /// Entries of it that the author holds, all from 0.
    pub held: u64,
    /// Entries of it that exist by the head that names them.
    pub named: u64,
    /// Leaf hash of the last one named.
    pub leaf: Digest,
    /// The node whose head names them.
    pub named_by: SubjectId,
}

impl Content for Gap {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        require(self.named > self.held)
    }
}
