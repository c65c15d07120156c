//! The expert's provisional findings. SPEC §6.8.

use serde::{Deserialize, Serialize};

use super::{Content, DocumentRef, Ext, check_ext, check_frontier};
use crate::error::Malformed;
use crate::journal::HeadRow;
use crate::time::Instant;

/// The expert's provisional findings (*pré-rapport*), and until when dires are due, CPC art. 276.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreReport {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// The pre-report.
    pub document: DocumentRef,
    /// The last instant at which a dire is in time.
    pub dires_due: Instant,
    /// The frontier that it closes over: what its author's node held when it was drafted. BAR-4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes: Option<Vec<HeadRow>>,
}

impl Content for PreReport {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        self.closes.as_deref().map_or(Ok(()), check_frontier)
    }

    fn documents(&self) -> Vec<&DocumentRef> {
        vec![&self.document]
    }
}
