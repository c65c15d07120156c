//! The expert's provisional findings. SPEC §6.8.

use serde::{Deserialize, Serialize};

use super::{Content, DocumentRef, Ext, check_ext};
use crate::error::Malformed;
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
}

impl Content for PreReport {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)
    }

    fn documents(&self) -> Vec<&DocumentRef> {
        vec![&self.document]
    }
}
