//! Finding people and nodes in the registry by what it says of them. For operators; nothing in the protocol asks this.

use std::collections::BTreeSet;

use basoche_protocol::id::SubjectId;
use basoche_protocol::role::Role;
use basoche_protocol::time::Instant;
use serde::{Deserialize, Serialize};

use crate::entry::{Competence, Kind};
use crate::record::Subject;
use crate::replica::Replica;

/// What is looked for: all that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// The beginning of a subject id or of the latest certificate's SHA-256, in hexadecimal; or a part of the name of the
    /// organisation by whose node they are served, in capitals or not.
    #[serde(default)]
    pub text: String,
    /// A role that is stated of them; [`Role::Node`] for nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// A code of the nomenclature, with or without its version before it, `2022-12-05:C-01.02`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub competence: Option<String>,
    /// The node that serves them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<SubjectId>,
}

/// Who was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Nodes first, then persons, each ascending by id: the first of them.
    pub subjects: Vec<SubjectId>,
    /// How many others.
    pub more: u64,
}

impl Replica {
    /// The first `most` of the nodes and persons that fit, with what they are listed for at `at`. Goes through the whole shelf.
    pub fn search(&self, query: &Query, at: Instant, most: usize) -> Found {
        let text = query.text.to_lowercase();
        let named = self.nodes();
        let named = named.filter(|node| node.organisation_name.to_lowercase().contains(&text));
        let search = Search {
            query,
            named: named.map(|node| node.node).collect(),
            text: &text,
        };
        // Nothing is asked of the shelf while it is gone through: what somebody is listed for is seen to afterwards.
        let mut least = Least::new(most);
        let mut listed = Vec::new();
        self.known.each_subject(|subject| {
            if !search.fits(&subject) {
                return;
            }
            match query.competence {
                None => least.take(subject.kind, subject.id),
                Some(_) if subject.attributes.is_empty() => {}
                Some(_) => listed.push(subject.id),
            }
        });
        let code = query.competence.as_deref().unwrap_or_default();
        for subject in listed {
            let listed = self.competences(&subject, at);
            if listed.iter().any(|one| is_of(one, code)) {
                least.take(Kind::Enrolment, subject);
            }
        }
        Found {
            more: least.fit - least.ids.len() as u64,
            subjects: least.ids.into_iter().map(|(_, id)| id).collect(),
        }
    }
}

/// The first of those that fit: nodes before persons, the least ids.
struct Least {
    most: usize,
    ids: BTreeSet<(bool, SubjectId)>,
    /// How many fit.
    fit: u64,
}

impl Least {
    const fn new(most: usize) -> Self {
        Self {
            most,
            ids: BTreeSet::new(),
            fit: 0,
        }
    }

    fn take(&mut self, kind: Kind, id: SubjectId) {
        self.fit += 1;
        self.ids.insert((kind != Kind::Node, id));
        if self.ids.len() > self.most {
            self.ids.pop_last();
        }
    }
}

struct Search<'a> {
    query: &'a Query,
    /// In small letters.
    text: &'a str,
    /// The nodes of organisations of whose names it is a part.
    named: BTreeSet<SubjectId>,
}

impl Search<'_> {
    /// Whether all fits that the subject's own record tells.
    fn fits(&self, subject: &Subject) -> bool {
        let Some((certificate, latest)) = subject.latest() else {
            return false;
        };
        let roles = match subject.kind {
            Kind::Node => vec![Role::Node],
            Kind::Enrolment => subject.roles_stated(&latest.roles),
            _ => return false,
        };
        let Query { role, node, .. } = self.query;
        role.is_none_or(|role| roles.contains(&role))
            && node.is_none_or(|node| latest.node == node)
            && (self.text.is_empty()
                || subject.id.to_hex().starts_with(self.text)
                || certificate.to_hex().starts_with(self.text)
                || self.named.contains(&latest.node))
    }
}

/// Whether it has that code, of whichever version unless one is named.
fn is_of(competence: &Competence, code: &str) -> bool {
    match code.split_once(':') {
        Some((version, code)) => {
            (competence.nomenclature.as_str(), competence.code.as_str()) == (version, code)
        }
        None => competence.code == code,
    }
}
