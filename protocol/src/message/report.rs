//! The expert's report. SPEC §6.9.

use serde::{Deserialize, Serialize};

use super::{Content, DocumentRef, Ext, check_ext, check_frontier, check_long, require};
use crate::error::Malformed;
use crate::id::MessageId;
use crate::journal::HeadRow;
use crate::wire::limits;

/// The expert's report (*rapport*), CPC art. 282, with what became of each dire (art. 276 al. 5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// The report.
    pub document: DocumentRef,
    /// One answer for each dire, ascending by its id.
    pub answers: Vec<Answer>,
    /// The frontier that it closes over: what its author's node held when it was drafted. BAR-4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes: Option<Vec<HeadRow>>,
}

/// What the expert made of one dire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Which dire.
    pub dire: MessageId,
    /// The answer.
    pub text: String,
}

impl Content for Report {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        self.closes.as_deref().map_or(Ok(()), check_frontier)?;
        require(self.answers.len() <= limits::LIST_ITEMS)?;
        require(self.answers.windows(2).all(|pair| pair[0].dire < pair[1].dire))?;
        self.answers
            .iter()
            .try_for_each(|answer| check_long(&answer.text))
    }

    fn documents(&self) -> Vec<&DocumentRef> {
        vec![&self.document]
    }
}
