//! A milestone's proposal that every member hold the same. SPEC §6.21.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, check_ext, check_frontier, require};
use crate::error::Malformed;
use crate::id::{Digest, SubjectId};
use crate::journal::HeadRow;
use crate::time::Instant;
use crate::wire::limits;

/// A seat proposes that every member sign that it holds this much: entries and documents. From the signatures follows the
/// *quittance de contradictoire*, CPC art. 16. No step of the procedure waits for it. BAR-2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Barrier {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// The entries, as the rows of a head, ascending by chain, then leaf. BAR-1.
    pub frontier: Vec<HeadRow>,
    /// The roots of the documents, ascending.
    pub documents: Vec<Digest>,
    /// The member nodes that are asked, ascending.
    pub members: Vec<SubjectId>,
    /// Until when an answer is expected.
    pub due: Instant,
}

impl Content for Barrier {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        check_frontier(&self.frontier)?;
        require(self.documents.len() <= limits::BARRIER_DOCUMENTS)?;
        require(self.documents.windows(2).all(|pair| pair[0] < pair[1]))?;
        require((1..=limits::DOSSIER_NODES).contains(&self.members.len()))?;
        require(self.members.windows(2).all(|pair| pair[0] < pair[1]))
    }
}
