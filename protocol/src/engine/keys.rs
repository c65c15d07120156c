//! Keys of a dossier: who mints them, who is handed them, who believes them. SPEC §5.5.

use std::collections::BTreeSet;

use super::{Engine, Event, Fresh, Registry, Row, UnwrapRequest, WrapNeed};
use crate::dossier::{Replica, State};
use crate::envelope::EpochKey;
use crate::error::{Error, Refused};
use crate::id::{DossierId, SubjectId};
use crate::jose::{WrapContext, check_wrap};
use crate::message::{Body, RosterChange};
use crate::time::Instant;
use crate::wire::frame::Frontier;
use crate::wire::limits;

/// A new key, and the number of its epoch.
pub(super) type Epoch = (u64, EpochKey);

/// The nodes of a dossier once a message has its effect.
fn nodes_after(body: &Body, state: &State) -> BTreeSet<SubjectId> {
    match body {
        Body::Designation(order) => BTreeSet::from([order.court_node, order.expert_node]),
        Body::RosterChange(RosterChange { add, remove, .. }) => {
            let stays = state
                .roster()
                .into_iter()
                .filter(|(subject, _)| !remove.contains(subject));
            let stay = stays.map(|(_, member)| member.node);
            stay.chain(add.iter().map(|one| one.node)).collect()
        }
        Body::HandOver(act) => state.nodes_with(&state.movers(&act.person), act.to),
        _ => state.nodes(),
    }
}

impl<R: Registry> Engine<R> {
    /// What the entry of a message has to hand out: every key to each node that joins, a founding node itself included;
    /// and, by the node that keeps the roster, what others lack of later keys and a new key once somebody has the newest
    /// one who is no member any more. KEY-1, KEY-2.
    pub(super) fn keys_to_hand_out(
        &self,
        body: &Body,
        replica: &Replica,
        fresh: &Fresh,
        now: Instant,
    ) -> Result<(Vec<WrapNeed>, Option<Epoch>), Error> {
        let state = replica.state();
        let (before, after) = (state.nodes(), nodes_after(body, state));
        let mut keys: Vec<Epoch> = replica.keys().map(|(epoch, key)| (epoch, key.clone())).collect();
        if keys.is_empty() {
            keys.push((0, fresh.epoch_key.clone()));
        }
        let changes = before != after;
        let leaves = before.iter().any(|node| !after.contains(node));
        let joins = after.iter().any(|node| !before.contains(node));
        // Later epochs are believed of the seats only: what others would hand out is lost. And a seat is handed over where it
        // is: what it recorded before is then no matter of concurrency. SEAT-2.
        let keeps = state.expert_seat() == Some(self.node);
        let later = leaves || (joins && keys.len() > 1);
        let competent = match body {
            Body::HandOver(act) if state.movers(&act.person).len() > 1 => {
                state.court_seat() == Some(self.node)
            }
            Body::HandOver(_) => keeps,
            _ => keeps || !later || state.designation().is_none(),
        };
        if !competent {
            return Err(Refused::NotCompetent { author: self.node }.into());
        }
        // Who leaves with this entry does not make the key that is to keep it out: the next keeper does, with its first one.
        let opens = keeps && after.contains(&self.node) && !replica.key_holders().is_subset(&after);
        let newest = replica.newest_key().map_or(0, |(epoch, _)| epoch);
        let next = opens.then(|| fresh.epoch_key.after(newest));
        let mut wraps = Vec::new();
        for node in &after {
            let known = before.contains(node);
            let lacks = |epoch: u64| !known || (keeps && epoch > 0 && !replica.is_handed(epoch, *node));
            let handed = keys.iter().filter(|(epoch, _)| lacks(*epoch)).chain(&next);
            for (epoch, key) in handed {
                let Some(recipient_spki) = self.registry.encryption_key(node, now) else {
                    let must = !known || next.as_ref().is_some_and(|(opened, _)| opened == epoch);
                    if changes && must {
                        return Err(Refused::RosterConflict { subject: *node }.into());
                    }
                    continue;
                };
                wraps.push(WrapNeed {
                    context: WrapContext {
                        dossier: replica.dossier(),
                        epoch: *epoch,
                        recipient: *node,
                    },
                    key: key.clone(),
                    recipient_spki,
                });
            }
        }
        if wraps.len() > limits::WRAPS && !changes {
            // What does not fit goes with the next entry; a new key goes to all at once.
            let opened = next.as_ref().map(|(epoch, _)| *epoch);
            wraps.sort_by_key(|wrap| Some(wrap.context.epoch) != opened);
            wraps.truncate(limits::WRAPS);
        }
        if let Some(subject) = after.iter().next().filter(|_| wraps.len() > limits::WRAPS) {
            return Err(Refused::RosterConflict { subject: *subject }.into());
        }
        Ok((wraps, next))
    }

    /// The key of epoch 0 may come with a frontier, before anything of the dossier: whether it is the right one shows
    /// when the order opens under it, and until then another may take its place. KEY-5. Gives how many there are.
    pub(super) fn ask_first_key(&mut self, frontier: &Frontier) -> usize {
        let dossier = frontier.dossier;
        let context = WrapContext {
            dossier,
            epoch: 0,
            recipient: self.node,
        };
        let founded = self.dossiers.get(&dossier);
        if founded.is_some_and(|held| held.replica.state().designation().is_some()) {
            return 0;
        }
        let addressed = frontier
            .wraps
            .iter()
            .filter(|wrap| (wrap.epoch, wrap.recipient) == (0, self.node));
        let sound = addressed.filter(|wrap| check_wrap(&wrap.jwe, &context).is_ok());
        let before = self.unwraps.len();
        self.unwraps.extend(sound.map(|wrap| UnwrapRequest {
            context,
            jwe: wrap.jwe.clone(),
        }));
        self.unwraps.len() - before
    }

    /// Asks for a later key that comes with a frontier, if a node of a seat has sealed under it what this node holds: the
    /// entry that hands it over may come after one that is taken only once this is open. KEY-2.
    pub(super) fn ask_missing_keys(&mut self, frontier: &Frontier) {
        let dossier = frontier.dossier;
        let Some(held) = self
            .dossiers
            .get_mut(&dossier)
            .filter(|held| held.replica.pending() > 0)
        else {
            return;
        };
        let missing = held.replica.missing_keys();
        let addressed = frontier.wraps.iter().filter(|wrap| wrap.recipient == self.node);
        for wrap in addressed.filter(|wrap| missing.contains(&wrap.epoch)) {
            let context = WrapContext {
                dossier,
                epoch: wrap.epoch,
                recipient: self.node,
            };
            if check_wrap(&wrap.jwe, &context).is_ok() {
                self.unwraps.push_back(UnwrapRequest {
                    context,
                    jwe: wrap.jwe.clone(),
                });
            }
        }
    }

    /// Asks for the later keys that the journal hands to this node and that it lacks. KEY-2.
    pub(super) fn ask_later_keys(&mut self, dossier: DossierId) {
        let Some(held) = self.dossiers.get_mut(&dossier) else {
            return;
        };
        for (wrap, number) in held.replica.later_keys_for(self.node) {
            let context = WrapContext {
                dossier,
                epoch: wrap.epoch,
                recipient: self.node,
            };
            let news = held.replica.key(wrap.epoch).is_none() && held.asked.insert(number);
            if news && check_wrap(&wrap.jwe, &context).is_ok() {
                self.unwraps.push_back(UnwrapRequest {
                    context,
                    jwe: wrap.jwe.clone(),
                });
            }
        }
    }

    /// Learns an epoch's key: unwrapped from the journal, or read from the store.
    pub fn learn_key(&mut self, dossier: DossierId, epoch: u64, key: EpochKey) {
        if epoch > 0 && !key.is_of(epoch) {
            return;
        }
        let Some(held) = self.dossiers.get_mut(&dossier) else {
            return;
        };
        let founded = held.replica.state().designation().is_some();
        let wanted = match held.replica.key(epoch) {
            None => true,
            Some(known) => epoch == 0 && !founded && known.as_bytes() != key.as_bytes(),
        };
        if wanted {
            held.replica.add_key(epoch, key.clone(), &self.registry);
            if held.brought_by.is_none() {
                self.stage.rows.push(Row::Key { dossier, epoch, key });
                self.stage.events.push(Event::Changed { dossier });
            }
            // Who is a member may show only now.
            held.note_change(&mut self.changes);
            self.ask_later_keys(dossier);
        }
    }
}
