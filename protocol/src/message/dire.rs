//! Written statements of a party (*dires*). SPEC §6.7.
//!
//! This module says what a dire contains and how it is encoded. Whether one may be sent at a given moment is the
//! business of [`crate::dossier`].

use serde::{Deserialize, Serialize};

use super::{Content, DocumentRef, Ext, check_ext, check_long};
use crate::error::Malformed;

/// Written observations of a party (*dire*), CPC art. 276.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dire {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// Its number among the author's dires.
    pub number: u64,
    /// The observations, or their summary when a document carries them.
    pub text: String,
    /// Whether it recalls all earlier ones (*dire récapitulatif*): what it leaves out is abandoned (art. 276 al. 4).
    pub recapitulative: bool,
    /// The dire as a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentRef>,
}

impl Content for Dire {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        check_long(&self.text)
    }

    fn documents(&self) -> Vec<&DocumentRef> {
        self.document.iter().collect()
    }
}
