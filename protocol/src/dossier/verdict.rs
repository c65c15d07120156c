//! What becomes of each entry of a replica, and of all again when something they rest on changes. SPEC §8.4, §8.6.

use std::ops::Range;
use std::sync::Arc;

use super::{Inside, Replica, State};
use crate::directory::{Directory, Status};
use crate::envelope::{self, Envelope, EpochKey};
use crate::error::{Error, Refused, Untrusted};
use crate::id::{CertificateId, Digest, DossierId, MessageId, SubjectId};
use crate::journal::{Branch, ChainId, Content, Entry, Need, Past, Record, Verdict};
use crate::message::{Body, Message};
use crate::plant::{Bug, planted};
use crate::refusal::Code;
use crate::time::Instant;

/// How often verdicts are formed again, at most, until they agree with the orders of the court that take effect.
const SETTLEMENT_ROUNDS: usize = 8;

/// What an entry says of its message.
#[derive(Clone, Copy)]
pub(super) struct Recorded {
    branch: Branch,
    seq: u64,
    message: MessageId,
    envelope: Digest,
    at: Instant,
}

impl Recorded {
    pub(super) fn of(branch: Branch, entry: &Entry) -> Self {
        Self {
            branch,
            seq: entry.seq,
            message: entry.message,
            envelope: entry.envelope_digest,
            at: entry.recorded_at,
        }
    }
}

/// What a node knew when it recorded an entry: the next entry of its chain knows that and a little more.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    past: Past,
    state: State,
}

impl Replica {
    /// Whether an entry's message can never take effect.
    pub(super) fn is_poison(
        &self,
        branch: Branch,
        entry: &Entry,
        content: Content,
        directory: &dyn Directory,
    ) -> bool {
        let Content::Sealed(sealed) = content else {
            return false;
        };
        let key = self.keys.get(&sealed.key_epoch());
        let opened = key.map(|key| sealed.open(&self.dossier, entry.message, key));
        let verdict = opened.map(|opened| authentic(opened, Recorded::of(branch, entry), directory));
        matches!(verdict, Some(Err(Verdict::WithoutEffect(_))))
    }

    /// Adds a judged record's effect to the state.
    pub(super) fn take_effect(&mut self, record: &Record, place: (Branch, u64)) {
        self.state.establish(record, &self.erased);
        self.note_closing(record, place);
        self.pending += usize::from(matches!(record.verdict, Verdict::Pending(_)));
    }

    /// The verdict on a message with this past. JRN-12.
    pub(super) fn judge(
        &mut self,
        recorded: Recorded,
        past: &Past,
        content: Content,
        directory: &dyn Directory,
    ) -> (Verdict, Content) {
        let Recorded {
            branch,
            seq,
            message: id,
            at,
            ..
        } = recorded;
        // ERA-4: an erased message is what the order says of it, whoever still has it.
        if self.erased.contains_key(&id) && !planted(Bug::NoResidual) {
            return (Verdict::Effective, content);
        }
        let (message, signer) = match self.authenticate(recorded, past, content, directory) {
            Ok(found) => found,
            Err(kept) => return kept,
        };
        let outside = self.outside(&message.body);
        let lawful = match &message.body {
            // The founding act names the dossier by its own id.
            Body::Designation(_) if DossierId::from(id) != self.dossier => Err(Refused::UnknownDossier {
                dossier: self.dossier,
            }
            .into()),
            Body::Designation(_) => self.state.decide(id, &message, at, &outside),
            _ if message.dossier != Some(self.dossier) => Err(Refused::UnknownDossier {
                dossier: self.dossier,
            }
            .into()),
            _ if self.covers_all(past) => self.state.decide(id, &message, at, &outside),
            _ => self
                .state_at(past, branch.chain.node)
                .decide(id, &message, at, &outside),
        };
        let lawful = lawful.and_then(|_| Ok(self.check_frontier(&message.body, past)?));
        let lawful = lawful.and_then(|_| Ok(self.check_target(&message.body, past)?));
        let verdict = match lawful {
            Ok(()) if message.message_type().is_ordered() => self.in_order(&branch, seq),
            Ok(()) => Verdict::Effective,
            Err(error) => Verdict::WithoutEffect(error.code()),
        };
        (verdict, Content::Authentic(message, signer))
    }

    /// The message and the certificate that signed it; or the verdict on what cannot be believed (yet), and what is kept of
    /// it. What was enrolled inside of the dossier counts as far as the entry's past knows it. PTY-3.
    fn authenticate(
        &mut self,
        recorded: Recorded,
        past: &Past,
        content: Content,
        directory: &dyn Directory,
    ) -> Result<(Arc<Message>, CertificateId), (Verdict, Content)> {
        let id = recorded.message;
        let (opened, content) = match content {
            // What has come since may undo it: a revocation that took effect before this was recorded. REG-8.
            Content::Authentic(message, signer) => {
                let inside = self.inside(recorded.branch, past, directory);
                return match still_authentic(&message, &signer, recorded, &inside) {
                    Ok(()) => Ok((message, signer)),
                    Err(verdict) => Err((verdict, Content::Authentic(message, signer))),
                };
            }
            Content::Rejected => return Err((Verdict::WithoutEffect(Code::BadSignature), content)),
            Content::Absent => return Err((Verdict::Pending(Need::Message(id)), content)),
            Content::Opened(envelope) => (Ok((*envelope).clone()), Content::Opened(envelope)),
            Content::Sealed(sealed) => {
                let epoch = sealed.key_epoch();
                let Some(key) = self.keys.get(&epoch) else {
                    return Err((Verdict::Pending(Need::Key(epoch)), Content::Sealed(sealed)));
                };
                (sealed.open(&self.dossier, id, key), Content::Sealed(sealed))
            }
        };
        let inside = self.inside(recorded.branch, past, directory);
        authentic(opened, recorded, &inside).map_err(|verdict| {
            // It is kept as it is as long as another key may yet open it, or the registry say otherwise.
            let kept = if may_change(verdict) {
                content
            } else {
                Content::Rejected
            };
            (verdict, kept)
        })
    }

    /// The registry, and what this past of an entry of `branch` says of parties' keys.
    fn inside<'a>(&'a mut self, branch: Branch, past: &Past, directory: &'a dyn Directory) -> Inside<'a> {
        let of_past = self.state.has_party_keys() && !planted(Bug::PartiesOfNow);
        let state = match of_past && !self.covers_all(past) {
            true => self.state_at(past, branch.chain.node),
            false => &self.state,
        };
        Inside { state, directory }
    }

    /// The verdict on a lawful act that has its place in the order of its chain: past a fork it waits for the court's
    /// word on which history counts, and keeps its effect only there. JRN-14.
    fn in_order(&self, branch: &Branch, seq: u64) -> Verdict {
        let chain = branch.chain;
        if self.chains.fork(&chain).is_none_or(|fork| seq < fork) {
            return Verdict::Effective;
        }
        let Some(kept) = self.settled.get(&chain) else {
            return Verdict::Pending(Need::Settlement(chain));
        };
        let counts = self
            .chains
            .locate(kept)
            .is_some_and(|last| seq <= kept.seq && self.chains.shared(&last, branch) > seq);
        match counts {
            true => Verdict::Effective,
            false => Verdict::WithoutEffect(Code::SetAside),
        }
    }

    /// Whether the verdicts rest on what the court has ordered of forked chains.
    fn is_settled(&self) -> bool {
        self.state.settled() == self.settled
    }

    /// Whether the verdicts rest on what the court has ordered to be erased.
    fn is_erased(&self) -> bool {
        self.state.residuals() == self.erased
    }

    /// Whether the verdicts rest on all that the court has ordered of what lies before its orders.
    pub(super) fn is_stable(&self) -> bool {
        self.is_settled() && self.is_erased()
    }

    /// Whether one of these positions is the last that the court lets count.
    pub(super) fn ends_settlement(&self, chain: &ChainId, positions: Range<u64>) -> bool {
        let kept = self.settled.get(chain);
        kept.is_some_and(|kept| positions.contains(&kept.seq))
    }

    /// Whether everything held lies in this past: then the state is the past's own.
    pub(super) fn covers_all(&self, past: &Past) -> bool {
        past.covers(&self.held)
    }

    /// The state that the effective messages of a past add up to. `node` recorded the entry whose past it is.
    ///
    /// What was built for an earlier entry is built on, the node's own first: facts join in any order, so each is
    /// applied once per node and not once per entry.
    pub(super) fn state_at(&mut self, past: &Past, node: SubjectId) -> &State {
        let own = self.views.remove(&node).filter(|view| past.covers(&view.past));
        let mut view = own.unwrap_or_else(|| {
            let others = self.views.values().filter(|view| past.covers(&view.past));
            others
                .max_by_key(|view| view.past.entries())
                .cloned()
                .unwrap_or_default()
        });
        for (branch, number) in &self.numbers {
            let news = (view.past.size(*number), past.size(*number));
            let records = self.chains.get(branch).map(|held| held.records(news.0, news.1));
            for record in records.unwrap_or_default() {
                view.state.establish(record, &self.erased);
            }
        }
        view.past = past.clone();
        &self.views.entry(node).insert_entry(view).into_mut().state
    }

    /// Learns an epoch's key, and judges again what waited for it.
    pub fn add_key(&mut self, epoch: u64, key: EpochKey, directory: &dyn Directory) {
        let replaced = self.keys.insert(epoch, key).is_some();
        if self.pending > 0 || replaced {
            self.judge_again(directory);
        }
    }

    /// Judges everything again in causal order: a key, a registry entry or another history has come. True if the state
    /// is another.
    ///
    /// What the court orders of a chain counts for what is recorded before the order, too: again from none, until the
    /// orders that take effect are those that were taken to. JRN-14. Erasures are found first, in the same way: they hang
    /// on no fork. ERA-4.
    pub fn judge_again(&mut self, directory: &dyn Directory) -> bool {
        let before = self.state.clone();
        self.settled.clear();
        self.erased.clear();
        self.judge_all(directory);
        for _ in 0..SETTLEMENT_ROUNDS {
            if self.is_erased() {
                break;
            }
            self.erased = self.state.residuals();
            self.judge_all(directory);
        }
        for _ in 0..SETTLEMENT_ROUNDS {
            if self.is_settled() {
                break;
            }
            self.settled = self.state.settled();
            self.judge_all(directory);
        }
        self.state != before
    }

    fn judge_all(&mut self, directory: &dyn Directory) {
        let order = std::mem::take(&mut self.order);
        self.state = State::default();
        self.views.clear();
        self.placed.clear();
        self.closings.clear();
        let mut next_wrap = 0;
        self.held = Past::default();
        self.pending = 0;
        for (branch, seq) in order {
            let Some(mut record) = self.chains.record(&branch, seq).cloned() else {
                continue;
            };
            // What can never become authentic stays as it is; an order to erase it counts all the same.
            let erased = self.erased.contains_key(&record.message) || record.verdict == Verdict::Effective;
            if erased || !matches!(record.content, Content::Rejected) {
                let content = record.content.clone();
                let recorded = Recorded {
                    branch,
                    seq,
                    message: record.message,
                    envelope: record.envelope,
                    at: record.recorded_at,
                };
                (record.verdict, record.content) = self.judge(recorded, &record.past, content, directory);
            }
            self.believe_again((branch, seq), &record.past, &mut next_wrap);
            self.take_effect(&record, (branch, seq));
            if let Some(number) = self.numbers.get(&branch) {
                self.held.raise(*number, seq + 1);
            }
            self.order.push((branch, seq));
            if let Some(slot) = self.chains.record_mut(&branch, seq) {
                *slot = record;
            }
        }
    }
}

/// Whether a verdict on what is not authentic may become another: a key may come, or an entry of the registry that lets the
/// signer sign, or act in that role, as of an instant that is past.
const fn may_change(verdict: Verdict) -> bool {
    let Verdict::WithoutEffect(code) = verdict else {
        return true;
    };
    matches!(
        code,
        Code::NotOpenable | Code::SignerInvalid | Code::RoleNotHeld | Code::NotDelegated
    )
}

/// The message of an opened envelope, or the verdict on one that cannot be believed (yet).
fn authentic(
    opened: Result<Envelope, Error>,
    recorded: Recorded,
    directory: &dyn Directory,
) -> Result<(Arc<Message>, CertificateId), Verdict> {
    // A second valid signature over the same message would have the same id: the entry says which one it records.
    let exact = opened.and_then(|envelope| match envelope.digest() == recorded.envelope {
        true => Ok(envelope),
        false => Err(Untrusted::IdMismatch {
            expected: recorded.message,
            found: envelope.id(),
        }
        .into()),
    });
    let verified = exact.and_then(|envelope| envelope::verify(envelope, directory, recorded.at));
    let verified = verified.map_err(|error| doubt(&error, recorded.message))?;
    Ok((
        Arc::new(verified.message().clone()),
        verified.envelope().header().certificate,
    ))
}

/// The verdict on a message that was authentic, if what the registry says now undoes it.
fn still_authentic(
    message: &Message,
    signer: &CertificateId,
    recorded: Recorded,
    directory: &dyn Directory,
) -> Result<(), Verdict> {
    match directory.status(signer, recorded.at) {
        Status::Valid(_) | Status::Contested { .. } => {}
        Status::Invalid { .. } => return Err(Verdict::WithoutEffect(Code::SignerInvalid)),
        Status::Undetermined { .. } => return Err(Verdict::Pending(Need::Signer(recorded.message))),
    }
    envelope::check_enrolment(message, directory, recorded.at)
        .map_err(|error| doubt(&error, recorded.message))
}

/// The verdict on what is not authentic: what the registry may yet tell is waited for.
fn doubt(error: &Error, message: MessageId) -> Verdict {
    match error {
        Error::Untrusted(Untrusted::UnknownSigner { .. } | Untrusted::NotDelegated { open: true, .. }) => {
            Verdict::Pending(Need::Signer(message))
        }
        error => Verdict::WithoutEffect(error.code()),
    }
}
