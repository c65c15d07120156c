//! Why a message or a document is not yet where it is to be, as far as this node knows.

use std::collections::BTreeMap;
use std::fmt;

use basoche_protocol::dossier::{DocumentFact, Replica, Statement};
use basoche_protocol::id::{DossierId, MessageId, SubjectId};
use basoche_protocol::journal::{Need, Record, Verdict};
use basoche_protocol::refusal::Code;
use basoche_protocol::time::Instant;
use serde::{Deserialize, Serialize};

use super::{Desk, LeftView};
use crate::operator::{Fetch, Obstacle};

/// A reason, by its stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wait {
    /// Another node is not connected.
    Unreachable,
    /// It is connected, and its latest head does not cover the message.
    Behind,
    /// It is connected, and takes no more of the dossier from this node now: that would be over its quota.
    Quota,
    /// It has the message, and has not stated that it holds the document.
    Fetching,
    /// This node has not got the document yet.
    FetchingHere,
    /// The node holds the document, and has not stated that the addressee can have it.
    Held,
    /// This node cannot open the message, or the addressee is no recipient of the personal document.
    NoKey,
    /// This node's registry does not know who signed the message.
    UnknownSigner,
    /// The message lies past a fork on which the court has not ordered.
    UnsettledFork,
    /// The message is on file and changes nothing.
    WithoutEffect,
    /// The addressee can have the document, and no opening is on file.
    NotOpened,
}

impl Wait {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::Unreachable,
        Self::Behind,
        Self::Quota,
        Self::Fetching,
        Self::FetchingHere,
        Self::Held,
        Self::NoKey,
        Self::UnknownSigner,
        Self::UnsettledFork,
        Self::WithoutEffect,
        Self::NotOpened,
    ];

    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Behind => "behind",
            Self::Quota => "quota",
            Self::Fetching => "fetching",
            Self::FetchingHere => "fetching-here",
            Self::Held => "held",
            Self::NoKey => "no-key",
            Self::UnknownSigner => "unknown-signer",
            Self::UnsettledFork => "unsettled-fork",
            Self::WithoutEffect => "without-effect",
            Self::NotOpened => "not-opened",
        }
    }
}

/// What a message or a document waits for, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitView {
    /// Why.
    pub code: Wait,
    /// The node at which it waits.
    pub node: SubjectId,
    /// Since when it is so, RFC 3339; absent where this node does not know.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<String>,
    /// When this node tries again at the earliest, RFC 3339, where it waits for that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<String>,
    /// The code of what lies behind it: a refusal's, or what keeps this node from fetching.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// Ciphertext bytes that are here of a document that this node fetches.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes: Option<u64>,
    /// All its ciphertext bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub total_bytes: Option<u64>,
    /// The mailboxes where the message was left for the node.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub left: Vec<LeftView>,
    /// What is so, and what to do.
    pub says: String,
}

/// Code, since when, what is so and what to do: one line.
impl fmt::Display for WaitView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            since,
            until,
            detail,
            bytes,
            total_bytes,
            left,
            says,
            ..
        } = self;
        f.write_str(code.code())?;
        if let Some(detail) = detail {
            write!(f, " ({detail})")?;
        }
        if let Some(since) = since {
            write!(f, " since {since}")?;
        }
        if let Some(until) = until {
            write!(f, " until {until}")?;
        }
        if let (Some(bytes), Some(total_bytes)) = (bytes, total_bytes) {
            write!(f, ", {bytes} of {total_bytes} bytes")?;
        }
        write!(f, ": {says}")?;
        for LeftView { mailbox, at, until } in left {
            write!(f, "; left at {mailbox} at {at}, kept until {until}")?;
        }
        Ok(())
    }
}

/// When peers were last connected. Kept in memory: a restart forgets it.
pub(super) struct Contacts {
    begun: Instant,
    left: BTreeMap<SubjectId, Instant>,
}

impl Contacts {
    /// Of a node that starts.
    pub(super) fn since(begun: Instant) -> Self {
        let left = BTreeMap::new();
        Self { begun, left }
    }

    /// A peer with which a version was agreed has left.
    pub(super) fn left(&mut self, peer: SubjectId, now: Instant) {
        self.left.insert(peer, now);
    }
}

/// How this node stands to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// It is this node, and the fetch of the document in question is so.
    Here(Option<Fetch>),
    /// It is connected, and takes no more of the dossier from this node before then, if there is a time.
    Connected(Option<Instant>),
    /// It was last connected then; never since this node's start, if there is no time.
    Away(Option<Instant>),
}

/// What this node knows.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// What became of a message here.
    Message(Verdict),
    /// Whether another node's latest head covers a message.
    Receipt { node: Reach, covered: bool },
    /// How far a document on file has come to somebody.
    Document {
        node: Reach,
        covered: bool,
        held: Option<Instant>,
        available: Option<Instant>,
        opened: bool,
    },
    /// A personal document on file, of which somebody has no key.
    NoRecipient,
}

/// The reason that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reason {
    wait: Wait,
    since: Option<Instant>,
    until: Option<Instant>,
    fetch: Option<Fetch>,
    refusal: Option<Code>,
    /// Whether it is a person who has no key, and no node.
    personal: bool,
}

impl From<Wait> for Reason {
    fn from(wait: Wait) -> Self {
        Self {
            wait,
            since: None,
            until: None,
            fetch: None,
            refusal: None,
            personal: false,
        }
    }
}

impl Reason {
    fn since(wait: Wait, since: Option<Instant>) -> Self {
        Self { since, ..wait.into() }
    }

    /// Why something is not where it is to be; nothing, if it is.
    fn of(known: Known) -> Option<Self> {
        match known {
            Known::Message(Verdict::Effective) => None,
            Known::Message(Verdict::Pending(Need::Key(_))) => Some(Wait::NoKey.into()),
            Known::Message(Verdict::Pending(Need::Signer(_))) => Some(Wait::UnknownSigner.into()),
            Known::Message(Verdict::Pending(Need::Settlement(_))) => Some(Wait::UnsettledFork.into()),
            // Only a bundle leaves messages out: a node takes an entry with its message.
            Known::Message(Verdict::Pending(Need::Message(_))) => None,
            Known::Message(Verdict::WithoutEffect(code)) => Some(Self {
                refusal: Some(code),
                ..Wait::WithoutEffect.into()
            }),
            Known::NoRecipient => Some(Self {
                personal: true,
                ..Wait::NoKey.into()
            }),
            Known::Document { opened: true, .. } => None,
            Known::Document {
                available: Some(at), ..
            } => Some(Self::since(Wait::NotOpened, Some(at))),
            Known::Receipt { covered: true, .. } => None,
            // What an absent node last said may have changed, so that it is away comes first.
            Known::Receipt {
                node: Reach::Away(left),
                ..
            }
            | Known::Document {
                node: Reach::Away(left),
                ..
            } => Some(Self::since(Wait::Unreachable, left)),
            Known::Receipt {
                node: Reach::Here(_), ..
            } => None,
            Known::Receipt {
                node: Reach::Connected(until),
                covered: false,
            }
            | Known::Document {
                node: Reach::Connected(until),
                covered: false,
                ..
            } => Some(Self {
                until,
                ..until.map_or(Wait::Behind, |_| Wait::Quota).into()
            }),
            Known::Document {
                node: Reach::Here(_) | Reach::Connected(_),
                held: Some(at),
                ..
            } => Some(Self::since(Wait::Held, Some(at))),
            Known::Document {
                node: Reach::Connected(_),
                held: None,
                ..
            } => Some(Wait::Fetching.into()),
            Known::Document {
                node: Reach::Here(fetch),
                held: None,
                ..
            } => Some(Self {
                since: fetch.map(|fetch| fetch.since),
                fetch,
                ..Wait::FetchingHere.into()
            }),
        }
    }

    /// What is so, and what to do: one line, which the code and the time precede.
    fn says(&self, organisation: &str) -> String {
        let it = match organisation {
            "" => "its node".to_owned(),
            name => format!("the node of {name}"),
        };
        match self.wait {
            Wait::Unreachable => {
                let started = match self.since {
                    Some(_) => "",
                    None => " since this node's start",
                };
                format!("{it} is not connected{started}: ask its operator; all goes on once it is back")
            }
            Wait::Behind => format!("{it} has not said that it has the message: wait, or ask its operator"),
            Wait::Quota => {
                format!(
                    "{it} takes no more of this dossier from here until then, over its quota: wait, it goes by itself"
                )
            }
            Wait::Fetching => {
                format!(
                    "{it} has the message and not the document: wait, or ask its operator for `dossier show`"
                )
            }
            Wait::FetchingHere => match self.fetch.and_then(|fetch| fetch.obstacle) {
                Some(obstacle) => format!("{it} fetches it; {}", obstacle.advice()),
                None => format!("{it} fetches it: wait"),
            },
            Wait::Held => format!("{it} holds it and has not made it available: wait, or ask its operator"),
            Wait::NoKey if self.personal => {
                "no key of this personal document is for them: a recipient gives it, `basoche document grant`"
                    .into()
            }
            Wait::NoKey => {
                format!("{it} has no key that opens it: a member hands it over once it is connected")
            }
            Wait::UnknownSigner => {
                format!(
                    "the registry of {it} lacks its signer: `basoche annuaire import` the entries of their authority"
                )
            }
            Wait::UnsettledFork => {
                "its node signed two histories: the court says which counts, `basoche dossier settle-fork`"
                    .into()
            }
            Wait::WithoutEffect => {
                let action = self.refusal.map_or("", Code::action);
                format!("it is on file and changes nothing: {action}")
            }
            Wait::NotOpened => "no opening is on file, which proves nothing".into(),
        }
    }

    fn view(&self, node: SubjectId, organisation: &str) -> WaitView {
        let obstacle = self.fetch.and_then(|fetch| fetch.obstacle);
        let detail = match self.refusal {
            Some(refusal) => Some(refusal.name()),
            None => obstacle.map(Obstacle::code),
        };
        WaitView {
            code: self.wait,
            node,
            since: self.since.map(|since| since.to_string()),
            until: self.until.map(|until| until.to_string()),
            detail: detail.map(str::to_owned),
            bytes: self.fetch.map(|fetch| fetch.bytes),
            total_bytes: self.fetch.map(|fetch| fetch.total_bytes),
            left: Vec::new(),
            says: self.says(organisation),
        }
    }
}

impl Desk {
    /// Why a document is not with an addressee of `node`, or not opened; nothing once it is.
    pub(super) fn document_waits(
        &self,
        replica: &Replica,
        document: &DocumentFact,
        addressee: &SubjectId,
        node: SubjectId,
    ) -> Option<WaitView> {
        let state = replica.state();
        let stated = |statement, who: &SubjectId| state.stated(statement, document, who);
        let here = node == self.engine.node();
        let root = &document.reference.root;
        let reach = match here {
            true => Reach::Here(self.monitor.fetches.get(root)),
            false => self.reach(&node, &replica.dossier()),
        };
        let opened = stated(Statement::Opened, addressee).is_some();
        let recipients = state.recipients(document);
        if !opened && recipients.is_some_and(|recipients| !recipients.contains(addressee)) {
            let reason = Reason::of(Known::NoRecipient);
            return reason.map(|reason| reason.view(node, &self.organisation(&node)));
        }
        let known = Known::Document {
            node: reach,
            covered: here
                || replica
                    .holders(&document.deposit, self.engine.node())
                    .contains(&node),
            held: stated(Statement::Held, &node),
            available: stated(Statement::MadeAvailable, addressee),
            opened,
        };
        Reason::of(known).map(|reason| reason.view(node, &self.organisation(&node)))
    }

    /// What a record waits for here, and which nodes of the dossier lack its message and why.
    pub(super) fn message_waits(&self, replica: &Replica, record: &Record) -> Vec<WaitView> {
        let own = self.engine.node();
        let here = Reason::of(Known::Message(record.verdict)).map(|reason| (own, reason));
        let holders = replica.holders(&record.message, own);
        let others = replica.state().nodes().into_iter().filter(|node| *node != own);
        let lacking = others.filter_map(|node| {
            let known = Known::Receipt {
                node: self.reach(&node, &replica.dossier()),
                covered: holders.contains(&node),
            };
            Reason::of(known).map(|reason| (node, reason))
        });
        let place = replica.position(&record.message);
        let left = |node: &SubjectId| match place {
            Some((branch, seq)) if *node != own => {
                self.left_for(&replica.dossier(), node, &branch.chain, seq)
            }
            _ => Vec::new(),
        };
        let waits = here.into_iter().chain(lacking);
        let view = |(node, reason): (SubjectId, Reason)| WaitView {
            left: left(&node),
            ..reason.view(node, &self.organisation(&node))
        };
        waits.map(view).collect()
    }

    /// The same of a message, by its id.
    pub fn waits(&self, dossier: &DossierId, message: &MessageId) -> Vec<WaitView> {
        let Some(replica) = self.engine.dossier(dossier) else {
            return Vec::new();
        };
        let record = replica
            .position(message)
            .and_then(|(branch, seq)| replica.chains().record(&branch, seq));
        record.map_or_else(Vec::new, |record| self.message_waits(replica, record))
    }

    /// Since when another node is not connected, empty if never since this node's start; `None` if it is.
    pub(super) fn unreachable(&self, node: &SubjectId) -> Option<String> {
        let away = *node != self.engine.node() && !self.is_connected(node);
        away.then(|| {
            self.contacts
                .left
                .get(node)
                .map(Instant::to_string)
                .unwrap_or_default()
        })
    }

    fn is_connected(&self, node: &SubjectId) -> bool {
        self.engine.peers().any(|peer| peer == *node)
    }

    fn reach(&self, node: &SubjectId, dossier: &DossierId) -> Reach {
        match self.is_connected(node) {
            true => Reach::Connected(self.engine.held_back(node, dossier)),
            false => Reach::Away(self.contacts.left.get(node).copied()),
        }
    }

    /// Since when a node is away, as far as this process knows; nothing while it is connected.
    pub(super) fn away_since(&self, node: &SubjectId) -> Option<Instant> {
        let left = self.contacts.left.get(node).copied();
        (!self.is_connected(node)).then(|| left.unwrap_or(self.contacts.begun))
    }

    /// The name of a node's organisation; empty if the registry does not know it.
    pub(super) fn organisation(&self, node: &SubjectId) -> String {
        let info = self.engine.registry().node(node);
        info.map(|info| info.organisation_name).unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use basoche_protocol::id::Incarnation;
    use basoche_protocol::journal::ChainId;

    use super::*;

    const THEN: Instant = Instant::from_seconds(5);
    const FETCH: Fetch = Fetch {
        since: THEN,
        bytes: 40,
        total_bytes: 100,
        obstacle: Some(Obstacle::DiskFull),
    };

    fn receipt(node: Reach, covered: bool) -> Known {
        Known::Receipt { node, covered }
    }

    /// A document that is covered, held, available and opened, up to so many of these.
    fn document(node: Reach, steps: usize) -> Known {
        let done = |step| (steps >= step).then_some(THEN);
        Known::Document {
            node,
            covered: steps >= 1,
            held: done(2),
            available: done(3),
            opened: steps >= 4,
        }
    }

    fn pending(need: Need) -> Known {
        Known::Message(Verdict::Pending(need))
    }

    /// What is known, and what follows.
    fn cases() -> Vec<(Known, Option<Wait>, Option<Instant>)> {
        use Wait::*;
        let id = MessageId::new([1; 32]);
        let chain = ChainId {
            node: SubjectId::new([2; 16]),
            incarnation: Incarnation::new([3; 16]),
        };
        let (here, left) = (Reach::Here(Some(FETCH)), Reach::Away(Some(THEN)));
        let busy = Reach::Connected(Some(THEN));
        vec![
            (Known::Message(Verdict::Effective), None, None),
            (pending(Need::Key(0)), Some(NoKey), None),
            (Known::NoRecipient, Some(NoKey), None),
            (pending(Need::Signer(id)), Some(UnknownSigner), None),
            (pending(Need::Settlement(chain)), Some(UnsettledFork), None),
            (pending(Need::Message(id)), None, None),
            (
                Known::Message(Verdict::WithoutEffect(Code::SetAside)),
                Some(WithoutEffect),
                None,
            ),
            (receipt(left, false), Some(Unreachable), Some(THEN)),
            (receipt(Reach::Away(None), false), Some(Unreachable), None),
            (receipt(Reach::Connected(None), false), Some(Behind), None),
            (receipt(busy, false), Some(Quota), None),
            (receipt(busy, true), None, None),
            (receipt(left, true), None, None),
            (receipt(Reach::Connected(None), true), None, None),
            (document(left, 0), Some(Unreachable), Some(THEN)),
            (document(left, 2), Some(Unreachable), Some(THEN)),
            (document(Reach::Connected(None), 0), Some(Behind), None),
            (document(busy, 0), Some(Quota), None),
            (document(Reach::Connected(None), 1), Some(Fetching), None),
            (document(busy, 1), Some(Fetching), None),
            (document(here, 1), Some(FetchingHere), Some(THEN)),
            (document(Reach::Here(None), 1), Some(FetchingHere), None),
            (document(Reach::Connected(None), 2), Some(Held), Some(THEN)),
            (document(here, 2), Some(Held), Some(THEN)),
            (document(Reach::Connected(None), 3), Some(NotOpened), Some(THEN)),
            // That its node is away takes nothing from what it has stated.
            (document(left, 3), Some(NotOpened), Some(THEN)),
            (document(here, 3), Some(NotOpened), Some(THEN)),
            (document(Reach::Connected(None), 4), None, None),
            (document(left, 4), None, None),
        ]
    }

    #[test]
    fn each_reason_follows_from_what_is_known_and_says_since_when() {
        let mut found: Vec<_> = Vec::new();
        for (known, expected, since) in cases() {
            let reason = Reason::of(known);
            let seen = reason.map(|reason| (reason.wait, reason.since));
            assert_eq!(seen, expected.map(|wait| (wait, since)), "{known:?}");
            found.extend(expected);
        }
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, Wait::ALL);
    }

    #[test]
    fn each_reason_has_a_code_and_one_line_that_says_what_to_do() {
        for (known, _, _) in cases() {
            let Some(reason) = Reason::of(known) else { continue };
            let view = reason.view(SubjectId::new([2; 16]), "Cour (essai)");
            let json = serde_json::to_value(&view).unwrap();
            assert_eq!(json["code"], reason.wait.code());
            assert!(!view.says.contains('\n') && view.says.len() < 200, "{view:?}");
            assert!(
                view.says.contains(": ") || view.says.contains("; ") || reason.wait == Wait::NotOpened,
                "{view:?}"
            );
        }
        let fetching = Reason::of(document(Reach::Here(Some(FETCH)), 1)).unwrap();
        let view = fetching.view(SubjectId::new([2; 16]), "");
        assert_eq!((view.bytes, view.total_bytes), (Some(40), Some(100)));
        assert_eq!(view.detail.as_deref(), Some("disk-full"));
        assert!(view.says.contains("free disk space"), "{view:?}");
        let quota = Reason::of(receipt(Reach::Connected(Some(THEN)), false)).unwrap();
        let view = quota.view(SubjectId::new([2; 16]), "Cour (essai)");
        assert_eq!(view.until.as_deref(), Some("1970-01-01T00:00:05.000Z"));
        let line = view.to_string();
        assert!(
            line.starts_with("quota until 1970-01-01T00:00:05.000Z: the node of Cour (essai) takes no more"),
            "{line}"
        );
        let set_aside = Reason::of(Known::Message(Verdict::WithoutEffect(Code::SetAside))).unwrap();
        assert_eq!(
            set_aside.view(SubjectId::new([2; 16]), "").detail.as_deref(),
            Some("set-aside")
        );
    }

    #[test]
    fn the_operations_page_explains_each_reason_and_each_obstacle_and_no_other() {
        let page = std::fs::read_to_string("../deploy/OPERATIONS.md").unwrap();
        let explained = |head: &str| {
            let (_, table) = page.split_once(head).unwrap();
            let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| `"));
            rows.map(|row| row.split('`').next().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(explained("| `waits` |"), Wait::ALL.map(Wait::code));
        assert_eq!(explained("| `detail` |"), Obstacle::ALL.map(Obstacle::code));
    }
}
