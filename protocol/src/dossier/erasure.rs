//! Erasure and legal hold: what the court orders to be forgotten, and what to be kept. SPEC §6.18, §6.19.
//!
//! An erased message is judged by what the order says of it, its [`Residual`], wherever it stands and whoever still has
//! it: so a node that never had it comes to the same state. What the orders themselves are worth hangs on nothing that
//! an order can take away: on the order, on the entries before it, and on the holds among them. ERA-4.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::state::Done;
use super::{Fact, Replica, RunItem, State};
use crate::directory::Directory;
use crate::error::Refused;
use crate::id::{Digest, MessageId};
use crate::journal::{Branch, Citation, Content, Entry, Past, Record, Verdict};
use crate::message::{Body, Erasure, Extent, LegalHold, Message, MessageType, Residual};
use crate::time::Instant;
use crate::wire::limits;

/// What a hold covers. ERA-6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Hold {
    /// When it was recorded.
    pub at: Instant,
    /// The message that it keeps; all of the dossier, if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<MessageId>,
}

/// What stays of an erased message. ERA-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone<'a> {
    /// The message.
    pub target: MessageId,
    /// How much of it is erased.
    pub extent: Extent,
    /// The order.
    pub by: MessageId,
    /// When the order was recorded.
    pub at: Instant,
    /// What it was.
    pub residual: &'a Residual,
}

impl State {
    /// The tombstones, one for each message of which anything is erased.
    pub fn tombstones(&self) -> impl Iterator<Item = Tombstone<'_>> {
        let whole = |target: &MessageId| self.erased.contains_key(&(*target, Extent::Message));
        let erased = self.erased.iter();
        let erased = erased.filter(move |((target, extent), _)| *extent == Extent::Message || !whole(target));
        erased.map(|((target, extent), (done, residual))| Tombstone {
            target: *target,
            extent: *extent,
            by: done.id,
            at: done.at,
            residual,
        })
    }

    /// The order that erased a message, or its documents.
    pub fn erased_by(&self, target: &MessageId) -> Option<Tombstone<'_>> {
        let range = (*target, Extent::Message)..=(*target, Extent::Documents);
        let mut found = self.erased.range(range);
        found
            .next()
            .map(|((target, extent), (done, residual))| Tombstone {
                target: *target,
                extent: *extent,
                by: done.id,
                at: done.at,
                residual,
            })
    }

    /// Whether all that brought these bytes is erased: nobody has to hold them any more. BAR-3.
    pub fn has_erased(&self, root: &Digest) -> bool {
        let names =
            |tombstone: Tombstone<'_>| tombstone.residual.documents.iter().any(|one| one.root == *root);
        self.tombstones().any(names) && !self.documents().any(|one| one.reference.root == *root)
    }

    /// The messages that are erased as a whole, with what they are judged by.
    pub(super) fn residuals(&self) -> BTreeMap<MessageId, Residual> {
        let whole = self
            .erased
            .iter()
            .filter(|((_, extent), _)| *extent == Extent::Message);
        whole
            .map(|((target, _), (_, residual))| (*target, residual.clone()))
            .collect()
    }

    /// The holds that stand, by the message that put them.
    pub fn holds(&self) -> impl Iterator<Item = (MessageId, Hold)> {
        let holds = self.holds.iter();
        holds
            .filter(|(id, _)| !self.lifted.contains_key(id))
            .map(|(id, hold)| (*id, *hold))
    }

    /// Whether a message on file brought the document, erased or not. DOS-4.
    pub(super) fn brought(&self, deposit: &MessageId, root: &Digest) -> bool {
        let document = (*deposit, *root);
        self.documents.contains_key(&document) || self.residual_documents.contains(&document)
    }

    /// ERA-3, ERA-6: nothing is erased twice, and nothing that is held.
    pub(super) fn check_erasure(&self, order: &Erasure) -> Result<(), Refused> {
        let covers = |hold: &Hold| hold.target.is_none_or(|target| target == order.target);
        if let Some((hold, _)) = self.holds().find(|(_, hold)| covers(hold)) {
            return Err(Refused::OnHold { hold });
        }
        match self.erased_by(&order.target) {
            Some(tombstone) if tombstone.extent <= order.extent => Err(Refused::Erased { by: tombstone.by }),
            Some(_) | None => Ok(()),
        }
    }

    /// ERA-6: a lift names a hold that stands.
    pub(super) fn check_hold(&self, order: &LegalHold) -> Result<(), Refused> {
        let Some(lifts) = order.lifts else {
            return Ok(());
        };
        match (self.holds.contains_key(&lifts), self.lifted.get(&lifts)) {
            (false, _) => Err(Refused::UnknownReference { reference: lifts }),
            (true, Some(done)) => Err(Refused::AlreadyDone {
                act: MessageType::LegalHold,
                by: done.id,
            }),
            (true, None) => Ok(()),
        }
    }

    pub(super) fn erase(&mut self, order: &Erasure, done: Done) {
        let stated = (done, order.residual.clone());
        let first = self.erased.entry((order.target, order.extent));
        let first = first.or_insert_with(|| stated.clone());
        // Of two concurrent orders the earlier counts.
        if stated < *first {
            *first = stated;
        }
    }

    pub(super) fn hold(&mut self, order: &LegalHold, done: Done) {
        if let Some(lifts) = order.lifts {
            let first = self.lifted.entry(lifts).or_insert(done);
            *first = (*first).min(done);
        } else {
            let (at, target) = (done.at, order.target);
            let hold = self.holds.entry(done.id).or_insert(Hold { at, target });
            hold.at = hold.at.min(at);
        }
    }

    /// Establishes an erased message by what stays of it: as [`State::apply`] does. ERA-4.
    fn apply_residual(&mut self, id: MessageId, at: Instant, residual: &Residual) {
        self.messages.insert(id, residual.act);
        let documents = residual.documents.iter().map(|document| (id, document.root));
        self.residual_documents.extend(documents);
        if residual.act == MessageType::Dire {
            self.dire(id, residual.author, at);
        }
    }

    /// Establishes an effective record: by its message, or by what stays of it.
    pub(super) fn establish(&mut self, record: &Record, residuals: &BTreeMap<MessageId, Residual>) {
        if record.verdict != Verdict::Effective {
            return;
        }
        match (residuals.get(&record.message), &record.content) {
            (Some(residual), _) => self.apply_residual(record.message, record.recorded_at, residual),
            (None, Content::Authentic(message, _)) => {
                self.apply(&Fact::new(record.message, record.recorded_at, message));
            }
            (None, _) => {}
        }
    }
}

impl Replica {
    /// Whether an order to erase or to keep names an entry of this past, and says of it nothing that we know to be
    /// otherwise. ERA-4.
    pub(super) fn check_target(&self, body: &Body, past: &Past) -> Result<(), Refused> {
        let (target, residual) = match body {
            Body::Erasure(order) => (order.target, Some(&order.residual)),
            Body::LegalHold(LegalHold {
                target: Some(target), ..
            }) => (*target, None),
            _ => return Ok(()),
        };
        let unknown = Refused::UnknownReference { reference: target };
        let within = |(branch, seq): &(Branch, u64)| {
            let number = self.numbers.get(branch);
            number.is_some_and(|number| past.size(*number) > *seq)
        };
        let mut recorded = false;
        for (branch, seq) in self.positions_of(&target).filter(within) {
            recorded = true;
            let content = self.chains.record(&branch, seq).map(|record| &record.content);
            if let (Some(Content::Authentic(message, _)), Some(residual)) = (content, residual)
                && Residual::of(message) != *residual
            {
                return Err(unknown);
            }
        }
        if recorded { Ok(()) } else { Err(unknown) }
    }

    /// What a submission must satisfy besides: this node has the message, and its effect. ERA-3.
    pub(super) fn check_on_file(&self, message: &Message) -> Result<(), Refused> {
        self.check_target(&message.body, &self.held)?;
        let target = match &message.body {
            Body::Erasure(order) => order.target,
            _ => return Ok(()),
        };
        let authentic = |(branch, seq): (Branch, u64)| {
            let record = self.chains.record(&branch, seq);
            record.is_some_and(|record| matches!(record.content, Content::Authentic(..)))
        };
        if self.state.message_type(&target).is_some() && self.positions_of(&target).any(authentic) {
            Ok(())
        } else {
            Err(Refused::UnknownReference { reference: target })
        }
    }

    /// Forgets the messages whose erasure has taken effect, and says which entries' messages those were. `kept` says
    /// whether an entry will be found again after a crash: the order must not be lost when the message is. ERA-5.
    pub(crate) fn forget_erased(&mut self, kept: impl Fn(&Branch, u64) -> bool) -> Vec<(Branch, u64)> {
        let ordered = |target: &MessageId| {
            let tombstone = self.state.erased_by(target);
            tombstone.is_some_and(|tombstone| {
                let mut places = self.positions_of(&tombstone.by);
                places.any(|(branch, seq)| kept(&branch, seq))
            })
        };
        let targets = self.erased.keys().filter(|target| ordered(target));
        let positions: Vec<_> = targets.flat_map(|target| self.positions_of(target)).collect();
        let mut forgotten = Vec::new();
        for (branch, seq) in positions {
            if let Some(record) = self.chains.record_mut(&branch, seq)
                && !matches!(record.content, Content::Absent)
            {
                record.content = Content::Absent;
                forgotten.push((branch, seq));
            }
        }
        forgotten
    }

    /// The entries whose message has not come, and that no order has erased: the first of them. SYN-13.
    pub(crate) fn lacking(&self) -> Vec<Citation> {
        if self.pending == 0 {
            return Vec::new();
        }
        let lacking = self
            .records()
            .filter(|(_, _, record)| matches!(record.verdict, Verdict::Pending(_)))
            .filter(|(_, _, record)| matches!(record.content, Content::Absent));
        let cited = lacking.filter_map(|(branch, seq, _)| {
            let leaf = self.chains.get(&branch)?.leaf(seq)?;
            Some(Citation {
                chain: branch.chain,
                seq,
                leaf,
            })
        });
        cited.take(limits::LACKING).collect()
    }

    /// Where an entry is held whose message has not come, and that no order has erased.
    pub(crate) fn lacks_message(&self, entry: &Entry) -> Option<Branch> {
        if self.pending == 0 || self.erased.contains_key(&entry.message) {
            return None;
        }
        let cited = Citation {
            chain: entry.chain,
            seq: entry.seq,
            leaf: entry.leaf(),
        };
        let owner = self.chains.owner(&self.chains.locate(&cited)?, entry.seq);
        (!self.has_message(&owner, entry.seq)).then_some(owner)
    }

    /// Whether the message of an entry is at hand.
    pub(crate) fn has_message(&self, branch: &Branch, seq: u64) -> bool {
        let record = self.chains.record(branch, seq);
        record.is_some_and(|record| !matches!(record.content, Content::Absent))
    }

    /// Takes the messages of entries that came without them, and says which. Their digests have been checked. SYN-13.
    pub(crate) fn complete(
        &mut self,
        items: &[RunItem],
        directory: &dyn Directory,
    ) -> Vec<(Branch, RunItem)> {
        let mut completed = Vec::new();
        for item in items {
            let Some(sealed) = &item.sealed else { continue };
            let Some(owner) = self.lacks_message(&item.entry) else {
                continue;
            };
            if let Some(record) = self.chains.record_mut(&owner, item.entry.seq) {
                record.content = Content::Sealed(Arc::new(sealed.clone()));
                completed.push((owner, item.clone()));
            }
        }
        if !completed.is_empty() {
            self.judge_again(directory);
        }
        completed
    }
}
