//! The order that designates the expert: a dossier's founding act. SPEC §6.1.

use serde::{Deserialize, Serialize};

use super::{Content, Ext, check_ext, check_long, check_short, require};
use crate::amount::EuroCents;
use crate::error::Malformed;
use crate::id::SubjectId;
use crate::time::Instant;
use crate::wire::limits;

/// Order that designates the expert (*ordonnance de désignation*), CPC art. 232, 264, 265 and 269.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Designation {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// The version of the procedure's rules that this dossier pins. DOS-1.
    pub rules: u64,
    /// The court's case number (*numéro RG*).
    pub case_number: String,
    /// When the decision was given.
    pub decided_at: Instant,
    /// The heads of mission (*chefs de mission*), in order.
    pub heads: Vec<String>,
    /// The supervising judge (*juge chargé du contrôle*), CPC art. 155-1.
    pub judge: SubjectId,
    /// The clerk in charge.
    pub clerk: SubjectId,
    /// The designated expert.
    pub expert: SubjectId,
    /// The court's node, which founds the dossier and mints key epoch 0.
    pub court_node: SubjectId,
    /// The node that serves the expert.
    pub expert_node: SubjectId,
    /// When the report is due (art. 265).
    pub report_due: Instant,
    /// The advance on the expert's fees (*provision*), art. 269.
    pub provision: EuroCents,
    /// When it is to be paid in.
    pub provision_due: Instant,
    /// Who is to pay it.
    pub payers: Vec<SubjectId>,
}

impl Content for Designation {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        check_short(&self.case_number)?;
        self.heads.iter().try_for_each(|head| check_long(head))?;
        require((1..=limits::LIST_ITEMS).contains(&self.heads.len()))?;
        require(self.payers.len() <= limits::DOSSIER_PERSONS)?;
        require(self.provision.is_payable())?;
        require(self.judge != self.expert && self.clerk != self.expert)
    }
}
