//! Changes of the roster: who takes part in the assessment. SPEC §6.4.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, check_ext, require};
use crate::error::Malformed;
use crate::id::SubjectId;
use crate::role::Role;
use crate::wire::limits;

/// The expert adds or removes participants (*rattachement des acteurs*).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterChange {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// Who joins.
    pub add: Vec<Participant>,
    /// Who leaves: no key of a later epoch, and no further act.
    pub remove: Vec<SubjectId>,
}

/// A person in the roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    /// Who.
    pub subject: SubjectId,
    /// In which capacity: lawyer or party, here.
    pub role: Role,
    /// The node that serves them: it becomes a member of the dossier.
    pub node: SubjectId,
    /// The party that a lawyer represents (*constitution*).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub represents: Option<SubjectId>,
}

impl Content for RosterChange {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        let count = self.add.len() + self.remove.len();
        require((1..=limits::DOSSIER_PERSONS).contains(&count))?;
        let fit = |one: &Participant| match one.role {
            Role::Lawyer => true,
            Role::Party => one.represents.is_none(),
            Role::Judge | Role::Clerk | Role::Expert | Role::Node => false,
        };
        require(self.add.iter().all(fit))?;
        let mut subjects: Vec<_> = self
            .add
            .iter()
            .map(|one| one.subject)
            .chain(self.remove.iter().copied())
            .collect();
        subjects.sort_unstable();
        require(subjects.windows(2).all(|pair| pair[0] != pair[1]))
    }
}
