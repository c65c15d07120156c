//! What the witnesses have seen of a log, by what the log itself says of it: what an authority grants counts from then
//! on. SPEC §9.3, REG-21 to REG-23, REG-27.
//!
//! Everything here follows from admitted entries: which checkpoints a replica has met besides changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use basoche_protocol::plant::{Bug, planted};
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::tree::Tree;
use serde::{Deserialize, Serialize};

use crate::entry::{Continuation, PolicyChange, Publication};
use crate::inadmissible::Inadmissible;
use crate::log::{Agreement, Checkpoint, Key, Note, Policy};

/// For how long a profession is silent before the others decide without it. REG-23.
pub const SILENCE: Span = Span::from_seconds(72 * 3600);
/// How far a witness's clock may be ahead of whoever enters what it has seen.
pub const CLOCK_AHEAD: Span = Span::from_seconds(120);

/// From when on what an entry grants counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// From this instant on.
    From(Instant),
    /// The witnesses have not seen it, as far as the log says: before this instant it does not count, after it nobody can
    /// tell yet.
    NotBefore(Instant),
}

impl Effect {
    /// Whether it counts at `at`; `None` if that will be known later.
    pub(crate) fn at(self, at: Instant) -> Option<bool> {
        match self {
            Self::From(from) => Some(from <= at),
            Self::NotBefore(from) if at < from => Some(false),
            Self::NotBefore(_) => None,
        }
    }
}

/// What one entry adds to what is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    size: u64,
    at: Instant,
    /// Which witnesses have seen it.
    by: Vec<Key>,
    without: Vec<String>,
}

/// Another policy that a log goes by, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Agreed {
    number: u64,
    policy: String,
    since: Instant,
}

impl Agreed {
    pub(crate) fn new(change: &PolicyChange, since: Instant) -> Self {
        Self {
            number: change.number,
            policy: change.policy.clone(),
            since,
        }
    }
}

/// Another key under which a log goes on, and from which entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Continued {
    index: u64,
    log: Key,
}

impl Continued {
    pub(crate) const fn new(index: u64, log: Key) -> Self {
        Self { index, log }
    }
}

/// How far a log is published.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    policy: Arc<Policy>,
    /// 0 for that of the anchors.
    number: u64,
    /// The log's key in force.
    log_key: Key,
    /// Those before it, and the entry that put the next one in its place.
    former: Vec<(Key, u64)>,
    /// Sizes and instants, both ascending.
    steps: Vec<(u64, Instant)>,
    /// When each witness was last seen to see anything.
    seen: BTreeMap<Key, Instant>,
    /// When the log began, or the policy in force: from then on a witness that has seen nothing is silent.
    began: Option<Instant>,
    /// Members of the quorum without which the last step was made.
    without: Vec<String>,
}

impl Published {
    pub(crate) fn new(policy: Arc<Policy>, log_key: Key) -> Self {
        Self {
            policy,
            number: 0,
            log_key,
            former: Vec::new(),
            steps: Vec::new(),
            seen: BTreeMap::new(),
            began: None,
            without: Vec::new(),
        }
    }

    /// The genesis was issued at `at`.
    pub(crate) fn begin(&mut self, at: Instant) {
        if self.number == 0 {
            self.began = Some(at);
        }
    }

    /// When the log was last published; if never, when it began or took its policy.
    pub(crate) fn at(&self) -> Option<Instant> {
        self.steps.last().map(|(_, at)| *at).or(self.began)
    }

    /// The policy in force, and its number: 0 for that of the anchors.
    pub(crate) fn policy(&self) -> (u64, &Policy) {
        (self.number, &self.policy)
    }

    /// From here on the log goes by another policy. REG-27.
    pub(crate) fn agree(&mut self, agreed: &Agreed) {
        if let Ok(policy) = Policy::parse(agreed.policy.as_bytes()) {
            self.policy = Arc::new(policy);
            self.number = agreed.number;
            self.began = Some(agreed.since);
        }
    }

    /// From here on the log goes by another key. REG-30.
    pub(crate) fn go_on(&mut self, continued: &Continued) {
        let before = std::mem::replace(&mut self.log_key, continued.log.clone());
        self.former.push((before, continued.index));
    }

    /// The key of the log's checkpoints.
    pub(crate) const fn log_key(&self) -> &Key {
        &self.log_key
    }

    /// The keys before it, and the entry that put the next one in the place of each.
    pub(crate) fn former_keys(&self) -> &[(Key, u64)] {
        &self.former
    }

    /// Whether the log may go on as `next` says, wherever that stands. REG-30.
    pub(crate) fn check_continuation(&self, next: &Continuation) -> Result<(), Inadmissible> {
        let not = |what| Err(Inadmissible::NotContinued { what });
        if next.number != self.former.len() as u64 + 1 {
            return not("its number is not the next one");
        }
        if next.log.name() != self.log_key.name() {
            return not("the key is not named as the log");
        }
        let mut used = self.former.iter().map(|(key, _)| key).chain([&self.log_key]);
        if used.any(|key| key.public() == next.log.public()) {
            return not("the log has had that key before");
        }
        let mut witnesses = self.policy.witnesses();
        if witnesses.any(|key| key.public() == next.log.public()) {
            return not("a witness has that key");
        }
        if next.proof.is_some() && !self.is_proved(next) {
            return not("the proof does not show that the key before has signed two histories");
        }
        Ok(())
    }

    /// Whether it has the proof that the key in force has signed two histories.
    pub(crate) fn is_proved(&self, next: &Continuation) -> bool {
        let proof = next.equivocation();
        proof.is_some_and(|proof| proof.verify(std::slice::from_ref(&self.log_key)).is_ok())
    }

    /// Entries that the witnesses have seen, by the last entry that says so.
    pub(crate) fn size(&self) -> u64 {
        self.steps.last().map_or(0, |(size, _)| *size)
    }

    /// How many publications there were.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.len() as u64
    }

    /// Members of the quorum without which it was last published.
    pub(crate) fn without(&self) -> &[String] {
        &self.without
    }

    /// From when on what entry `index` grants counts, if it says that it takes effect at `effective_at`.
    pub(crate) fn effect(&self, index: u64, effective_at: Instant) -> Effect {
        let covers = self.steps.partition_point(|(size, _)| *size <= index);
        match self.steps.get(covers) {
            Some((_, at)) => Effect::From(effective_at.max(*at)),
            None => {
                let last = self.steps.last().map(|(_, at)| *at);
                Effect::NotBefore(last.map_or(effective_at, |last| effective_at.max(last)))
            }
        }
    }

    /// Holds a publication, issued at `issued_at` as the next entry of the log with that tree, to what the log is and to
    /// the policy. REG-22, REG-23.
    pub(crate) fn judge(
        &self,
        publication: &Publication,
        tree: &Tree,
        issued_at: Instant,
    ) -> Result<Seen, Inadmissible> {
        let bad = |what: String| Inadmissible::NotPublished { what };
        let note = Note::parse(publication.checkpoint.as_bytes()).map_err(|error| bad(error.to_string()))?;
        let keys = std::slice::from_ref(&self.log_key);
        let checkpoint = Checkpoint::open(note, keys).map_err(|error| bad(error.to_string()))?;
        let head = checkpoint.head();
        if head.size <= self.size() || tree.root_at(head.size) != Some(*head.root.as_bytes()) {
            let (size, before) = (head.size, self.size());
            return Err(bad(format!(
                "a checkpoint of {size} entries is not one of this log beyond the first {before}"
            )));
        }
        let seen = checkpoint.seen_by(self.policy.witnesses());
        let seen = seen.map_err(|error| bad(error.to_string()))?;
        let mut instants: Vec<_> = seen.iter().map(|seen| seen.at).collect();
        instants.sort_unstable();
        let Some(median) = instants.get(instants.len() / 2).copied() else {
            return Err(bad("no witness of the policy has seen it".into()));
        };
        if median > issued_at + CLOCK_AHEAD {
            return Err(bad(format!(
                "the witnesses say that they saw it at {median}, later than {issued_at}"
            )));
        }
        let at = self.steps.last().map_or(median, |(_, last)| median.max(*last));
        let silent = |key: &Key| {
            let last = self.seen.get(key).copied().or(self.began);
            last.is_some_and(|last| at.since(last) >= SILENCE)
        };
        let by: Vec<_> = seen.into_iter().map(|seen| seen.by).collect();
        let without = match self.policy.agreement(&by, &silent) {
            Agreement::Quorum => Vec::new(),
            Agreement::Without(members) => members,
            Agreement::TooFew if planted(Bug::NoQuorum) => Vec::new(),
            Agreement::TooFew => return Err(bad("the witnesses that have seen it are no quorum".into())),
        };
        Ok(Seen {
            size: head.size,
            at,
            by,
            without,
        })
    }

    /// Takes in what [`Self::judge`] has found good.
    pub(crate) fn learn(&mut self, seen: &Seen) {
        self.steps.push((seen.size, seen.at));
        for key in &seen.by {
            self.seen.insert(key.clone(), seen.at);
        }
        self.without.clone_from(&seen.without);
    }
}
