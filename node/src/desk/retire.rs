//! A node that is to go: what it still has to hand over, who has to sign that, and whether others have all that it wrote.
//! SPEC §7.4.

use std::path::PathBuf;

use basoche_protocol::dossier::Replica;
use basoche_protocol::id::{DossierId, SubjectId};
use basoche_protocol::role::Role;
use serde::{Deserialize, Serialize};

use super::Desk;

/// Where the node keeps to whom it hands over, beside the high-water hint: the id, hexadecimal.
const FILE: &str = "retiring";

/// `basoche node retire`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RetirementView {
    /// 1.
    pub v: u64,
    /// This node.
    pub node: SubjectId,
    /// The node that takes its persons over, once somebody has said which.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<SubjectId>,
    /// Whether the node may go: no roster names it, and of each dossier another member has all that it wrote.
    pub retired: bool,
    /// The dossiers that keep it.
    pub dossiers: Vec<KeptView>,
}

/// A dossier that keeps a node that is to go.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptView {
    /// Which.
    pub dossier: DossierId,
    /// The court's number.
    pub case_number: String,
    /// Whom the node serves, and who has to hand them over.
    pub persons: Vec<ServedView>,
    /// Whether the latest head of another member covers all that this node wrote.
    pub covered: bool,
}

/// Somebody whom the node serves in a dossier.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServedView {
    /// Who.
    pub person: SubjectId,
    /// In which capacity.
    pub role: Role,
    /// Who signs the hand-over: any of these.
    pub signers: Vec<SubjectId>,
    /// The command that one of them runs at the node that serves them.
    pub command: String,
}

/// A node that is to go, in its status.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RetiringView {
    /// The node that takes its persons over.
    pub to: SubjectId,
    /// Dossiers that still keep it.
    pub dossiers: usize,
}

impl Desk {
    /// What keeps this node; from now on it is `retiring`, if somebody says to which node.
    pub fn retire(&mut self, to: Option<SubjectId>) -> std::io::Result<RetirementView> {
        if let Some(to) = to {
            crate::files::write_atomic(&self.retiring_file(), to.to_hex().as_bytes(), 0o600)?;
        }
        let (node, to) = (self.engine.node(), self.retiring_to());
        let kept = self
            .engine
            .dossiers()
            .filter_map(|replica| kept(replica, node, to));
        let dossiers: Vec<_> = kept.collect();
        Ok(RetirementView {
            v: 1,
            node,
            to,
            retired: dossiers.is_empty() && self.dormant_that_keep().is_empty(),
            dossiers,
        })
    }

    /// The line of the status, while the node is to go and something keeps it.
    pub(super) fn retiring(&self) -> Option<RetiringView> {
        let (node, to) = (self.engine.node(), self.retiring_to()?);
        let kept = self
            .engine
            .dossiers()
            .filter_map(|replica| kept(replica, node, None));
        let dossiers = kept.count() + self.dormant_that_keep().len();
        (dossiers > 0).then_some(RetiringView { to, dossiers })
    }

    /// The dossiers out of memory that may keep this node: what they have of it shows once they are read back.
    pub fn dormant_that_keep(&self) -> Vec<DossierId> {
        let node = self.engine.node();
        self.engine.dormant_that_keep(&node).collect()
    }

    fn retiring_file(&self) -> PathBuf {
        self.hint.with_file_name(FILE)
    }

    fn retiring_to(&self) -> Option<SubjectId> {
        SubjectId::from_hex(std::fs::read_to_string(self.retiring_file()).ok()?.trim())
    }
}

/// What a dossier still has of a node; nothing if it may go as far as this dossier is concerned.
fn kept(replica: &Replica, node: SubjectId, to: Option<SubjectId>) -> Option<KeptView> {
    let (state, covered) = (replica.state(), is_covered(replica, node));
    let roster = state.roster();
    let served = roster.iter().filter(|(_, member)| member.node == node);
    let persons: Vec<_> = served
        .map(|(person, member)| {
            let court = |role| matches!(role, Role::Judge | Role::Clerk);
            let may = |role: Role| match court(member.role) {
                true => court(role),
                false => role == Role::Expert,
            };
            let signers = roster.iter().filter(|(_, other)| may(other.role));
            let to = to.map_or_else(|| "NODE".to_owned(), |to| to.to_hex());
            let dossier = replica.dossier();
            ServedView {
                person: *person,
                role: member.role,
                signers: signers.map(|(signer, _)| *signer).collect(),
                command: format!(
                    "basoche dossier hand-over --as WALLET --dossier {dossier} --person {person} --to {to}"
                ),
            }
        })
        .collect();
    (!persons.is_empty() || !covered).then(|| KeptView {
        dossier: replica.dossier(),
        case_number: state
            .designation()
            .map(|order| order.case_number.clone())
            .unwrap_or_default(),
        persons,
        covered,
    })
}

/// Whether the latest head of one other node covers every chain of this one. SEAT-5.
fn is_covered(replica: &Replica, node: SubjectId) -> bool {
    let chains = replica.chains();
    let own: Vec<_> = chains
        .iter()
        .filter(|(branch, _)| branch.chain.node == node)
        .collect();
    let covers = |head: &basoche_protocol::journal::Head| {
        own.iter()
            .all(|(branch, held)| chains.known_by(branch, head.rows_of(&branch.chain)) >= held.size())
    };
    let mut others = replica.heads().iter().filter(|(other, _)| **other != node);
    own.is_empty() || others.any(|(_, head)| covers(head.head()))
}
