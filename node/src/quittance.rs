//! The *quittance de contradictoire* as people and programs see it: in `dossier show`, and in an evidence bundle. SPEC §8.8.

use std::fmt;

use basoche_protocol::dossier::{Absence, Answer, Quittance, Replica};
use basoche_protocol::id::{DossierId, MessageId, SubjectId};
use serde::{Deserialize, Serialize};

/// Who signed that they hold what a barrier names, and how far the others had come. A function of the journal, but for
/// [`Answered::unreachable`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuittanceView {
    /// 1.
    pub v: u64,
    /// The dossier.
    pub dossier: DossierId,
    /// The message that proposed it.
    pub barrier: MessageId,
    /// Who proposed it.
    pub author: SubjectId,
    /// When it was recorded, RFC 3339.
    pub recorded_at: String,
    /// Until when answers are expected, RFC 3339.
    pub due: String,
    /// Entries of its frontier.
    pub entries: u64,
    /// Documents that it names.
    pub documents: u64,
    /// Whether every node that it asks has signed.
    pub complete: bool,
    /// The nodes that it asks, ascending.
    pub nodes: Vec<Answered>,
}

/// Why a node has not signed, as far as its journal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// No head of it is known.
    NoHead,
    /// Its latest head does not cover every entry of the frontier.
    Entries,
    /// It does not state that it holds every document.
    Documents,
    /// It has all of it by what it signed otherwise.
    Signature,
}

/// A node's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Which node.
    pub node: SubjectId,
    /// When it signed, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signed_at: Option<String>,
    /// What it lacks, if it has not signed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lacks: Option<Lack>,
    /// The instant of its latest head, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub head_at: Option<String>,
    /// Entries of the frontier that its latest head covers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub entries: Option<u64>,
    /// Documents of the barrier that it states to hold.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub documents: Option<u64>,
    /// Since when the node that shows this has no connection to it, RFC 3339; empty where it has had none since its start.
    /// What the journal does not show: in no bundle.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unreachable: Option<String>,
    /// All of it in words.
    pub says: String,
}

impl QuittanceView {
    /// The quittance of a barrier on file.
    #[must_use]
    pub fn of(replica: &Replica, barrier: &MessageId) -> Option<Self> {
        let quittance = replica.quittance(barrier)?;
        let signed = |(_, answer): &(SubjectId, Answer)| matches!(answer, Answer::Signed(_));
        Some(Self {
            v: 1,
            dossier: replica.dossier(),
            barrier: *barrier,
            author: quittance.author,
            recorded_at: quittance.at.to_string(),
            due: quittance.due.to_string(),
            entries: quittance.entries,
            documents: quittance.documents,
            complete: quittance.nodes.iter().all(signed),
            nodes: quittance
                .nodes
                .iter()
                .map(|(node, answer)| Answered::of(*node, *answer, &quittance))
                .collect(),
        })
    }

    /// The quittances of all barriers on file, the earliest recorded first.
    #[must_use]
    pub fn all(replica: &Replica) -> Vec<Self> {
        let mut barriers: Vec<_> = replica.state().barriers().iter().collect();
        barriers.sort_by_key(|(id, fact)| (fact.at, **id));
        let views = barriers.into_iter().filter_map(|(id, _)| Self::of(replica, id));
        views.collect()
    }

    /// The bytes of its member in a bundle.
    #[must_use]
    pub fn to_member(&self) -> Vec<u8> {
        // Unwrap safety: texts and numbers in memory.
        #[allow(clippy::expect_used)]
        let mut json = serde_json::to_vec_pretty(self).expect("encoding to memory");
        json.push(b'\n');
        json
    }
}

impl Answered {
    fn of(node: SubjectId, answer: Answer, quittance: &Quittance) -> Self {
        let view = Self {
            node,
            signed_at: None,
            lacks: None,
            head_at: None,
            entries: None,
            documents: None,
            unreachable: None,
            says: String::new(),
        };
        match answer {
            Answer::Signed(at) => {
                let late = if at > quittance.due {
                    ", after the time set"
                } else {
                    ""
                };
                Self {
                    signed_at: Some(at.to_string()),
                    says: format!("signed at {at}{late}"),
                    ..view
                }
            }
            Answer::Absent(absence) => {
                let (lacks, says) = explain(absence, quittance);
                Self {
                    lacks: Some(lacks),
                    head_at: absence.head_at.map(|at| at.to_string()),
                    entries: Some(absence.entries),
                    documents: Some(absence.documents),
                    says,
                    ..view
                }
            }
        }
    }
}

/// What a node that has not signed is known to lack, by its own journal.
fn explain(absence: Absence, quittance: &Quittance) -> (Lack, String) {
    let Some(at) = absence.head_at else {
        return (Lack::NoHead, "not signed: no head of it is known".into());
    };
    let (entries, documents) = (quittance.entries, quittance.documents);
    if absence.entries < entries {
        let held = absence.entries;
        let says = format!("not signed: its latest head, of {at}, holds {held} of {entries} entries");
        return (Lack::Entries, says);
    }
    let entries = format!("its latest head, of {at}, holds all {entries} entries");
    if absence.documents < documents {
        let held = absence.documents;
        let says = format!("not signed: {entries}; it states to hold {held} of {documents} documents");
        return (Lack::Documents, says);
    }
    let says = format!("not signed: {entries}, and it states to hold all {documents} documents");
    (Lack::Signature, says)
}

/// A line for the barrier, and one for each node.
impl fmt::Display for QuittanceView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            barrier,
            recorded_at,
            due,
            entries,
            documents,
            ..
        } = self;
        let signed = self.nodes.iter().filter(|one| one.signed_at.is_some()).count();
        write!(
            f,
            "barrier {barrier} of {recorded_at}: {signed} of {} nodes sign that they hold {entries} entries and \
             {documents} documents (expected until {due})",
            self.nodes.len()
        )?;
        for one in &self.nodes {
            write!(f, "\n  node {}: {}", one.node, one.says)?;
            match one.unreachable.as_deref() {
                None => {}
                Some("") => write!(f, "; not connected since this node's start")?,
                Some(since) => write!(f, "; not connected since {since}")?,
            }
        }
        Ok(())
    }
}
