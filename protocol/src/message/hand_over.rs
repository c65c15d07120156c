//! A person moves to another node. SPEC §6.22.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, check_ext, require};
use crate::error::Malformed;
use crate::id::{MessageId, SubjectId};

/// A person of the roster is served by another node from here on, and whatever seat they hold goes along. SEAT-2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// Who moves; the judge and the clerk move together.
    pub person: SubjectId,
    /// The node that serves them now.
    pub from: SubjectId,
    /// The node that serves them from here on: it becomes a member.
    pub to: SubjectId,
    /// The hand-over of this person that it follows; absent in the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<MessageId>,
}

impl Content for HandOver {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        require(self.from != self.to)
    }
}
