//! What a person may do beyond the enrolment, and is known to be able to do. SPEC §9.2, REG-25.

use basoche_protocol::role::Role;
use basoche_protocol::time::Instant;
use serde::{Deserialize, Serialize};

use super::holder::is_label;

/// Competences that one entry grants or withdraws, at most.
pub const COMPETENCES: usize = 32;

/// Roles and competences of a person, granted or withdrawn from the entry's `effective_at` on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// Granted; else withdrawn.
    pub granted: bool,
    /// Roles, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Role>,
    /// Competences, ascending, at most [`COMPETENCES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub competences: Vec<Competence>,
    /// Until when what is granted is; absent for what is withdrawn, and where it has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Instant>,
}

/// A specialty under which an expert is listed (*rubrique de la nomenclature des experts*, arrêté du 5 décembre 2022): codes
/// change their meaning from one version of the nomenclature to the next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Competence {
    /// The nomenclature's version, `2022-12-05`.
    pub nomenclature: String,
    /// The code in it, `C-01.02`.
    pub code: String,
}

impl Attribute {
    pub(super) fn is_in_range(&self) -> bool {
        let ascending = self.roles.windows(2).all(|pair| pair[0] < pair[1])
            && self.competences.windows(2).all(|pair| pair[0] < pair[1]);
        let labels = self.competences.iter();
        ascending
            && !(self.roles.is_empty() && self.competences.is_empty())
            && self.competences.len() <= COMPETENCES
            && labels
                .flat_map(|one| [&one.nomenclature, &one.code])
                .all(|text| is_label(text))
            && (self.granted || self.until.is_none())
    }
}
