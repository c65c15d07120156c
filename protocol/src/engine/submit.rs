//! Submissions: bare messages from this node's users, and the node's own statements. SPEC §8.7.

use super::{Engine, Event, Held, Registry, Row, held};
use crate::dossier::RunItem;
use crate::envelope::{self, Envelope, EpochKey, Sealed, Verified};
use crate::error::{Error, Refused};
use crate::id::{Digest, DossierId, KeySalt, MessageId, SubjectId};
use crate::jose::WrapContext;
use crate::journal::{Citation, EpochWrap, HeadRow};
use crate::message::Body;
use crate::plant::{Bug, planted};
use crate::time::Instant;

/// Names a submission in the events that answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// A key to be wrapped before a submission can be recorded: an effect.
#[derive(Clone, Debug)]
pub struct WrapNeed {
    /// What the wrap is bound to.
    pub context: WrapContext,
    /// The key.
    pub key: EpochKey,
    /// DER SubjectPublicKeyInfo of the recipient's encryption key.
    pub recipient_spki: Vec<u8>,
}

/// What [`Engine::submit`] needs for a message that [`Engine::prepare`] has accepted.
#[derive(Debug)]
pub struct Needs {
    /// The wraps to make, in order.
    pub wraps: Vec<WrapNeed>,
    verified: Verified,
    dossier: DossierId,
}

/// Random bytes for one submission.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// From which the item's key is derived.
    pub seal_salt: KeySalt,
    /// The key of epoch 0, used only if the message founds a dossier.
    pub epoch_key: EpochKey,
}

impl Needs {
    /// The dossier that the message belongs to, or founds.
    pub fn dossier(&self) -> DossierId {
        self.dossier
    }

    /// The message.
    pub fn message(&self) -> MessageId {
        self.verified.id()
    }

    /// Its author.
    pub fn author(&self) -> SubjectId {
        self.verified.message().author
    }
}

impl<R: Registry> Engine<R> {
    /// Decodes, verifies and decides a message, and says which wraps its entry needs. Nothing changes. ADM-1 to ADM-5.
    ///
    /// `stored` says whether this node holds all bytes of a document: none may be announced without them. DOC-4.
    pub fn prepare(
        &self,
        envelope: &[u8],
        fresh: &Fresh,
        now: Instant,
        stored: &dyn Fn(&Digest) -> bool,
    ) -> Result<Needs, Error> {
        let envelope = Envelope::decode(envelope)?;
        let verified = envelope::verify(envelope, &self.registry, now)?;
        let message = verified.message();
        let founding = matches!(message.body, Body::Designation(_));
        let dossier = match message.dossier {
            Some(dossier) => dossier,
            None => DossierId::from(verified.id()),
        };
        // A message that is on file stays what it is: sending it again is no offence, and no second act.
        let on_file = self
            .dossiers
            .get(&dossier)
            .is_some_and(|held| held.replica.position(&verified.id()).is_some());
        let mut wraps = Vec::new();
        if !on_file {
            let empty = crate::dossier::Replica::new(dossier);
            let replica = match self.dossiers.get(&dossier) {
                Some(held) => &held.replica,
                None if founding => &empty,
                None => return Err(Refused::UnknownDossier { dossier }.into()),
            };
            if replica.newest_key().is_none() && !founding {
                return Err(Refused::UnknownDossier { dossier }.into());
            }
            replica.admit(&verified, now)?;
            let missing = message
                .body
                .documents()
                .into_iter()
                .map(|document| document.root)
                .find(|root| !stored(root));
            if let Some(root) = missing {
                return Err(Refused::DocumentMissing { root }.into());
            }
            let key = replica
                .newest_key()
                .map_or((0, &fresh.epoch_key), |newest| newest);
            for node in Self::joining_nodes(&message.body, replica) {
                let Some(recipient_spki) = self.registry.encryption_key(&node, now) else {
                    return Err(Refused::RosterConflict { subject: node }.into());
                };
                let context = WrapContext {
                    dossier,
                    epoch: key.0,
                    recipient: node,
                };
                wraps.push(WrapNeed {
                    context,
                    key: key.1.clone(),
                    recipient_spki,
                });
            }
        }
        Ok(Needs {
            wraps,
            verified,
            dossier,
        })
    }

    /// The nodes that a message brings into the dossier: a founding node itself too, so that it learns the key again
    /// from any member if it loses its store. KEY-1.
    fn joining_nodes(body: &Body, replica: &crate::dossier::Replica) -> Vec<SubjectId> {
        let mut nodes: Vec<SubjectId> = match body {
            Body::Designation(designation) => vec![designation.court_node, designation.expert_node],
            Body::RosterChange(change) => change.add.iter().map(|one| one.node).collect(),
            _ => Vec::new(),
        };
        let members = replica.state().nodes();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.retain(|node| !members.contains(node));
        nodes
    }

    /// Records what [`Self::prepare`] has accepted just before. An [`Event::Accepted`] follows once it is deposited.
    ///
    /// `wraps` answer [`Needs::wraps`] one for one.
    pub fn submit(&mut self, needs: Needs, wraps: Vec<String>, fresh: &Fresh, now: Instant) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let Needs {
            wraps: needed,
            verified,
            dossier,
        } = needs;
        let message = verified.id();
        let held = held(&mut self.dossiers, dossier, self.node, self.fresh);
        if let Some((chain, seq)) = held.replica.position(&message) {
            let event = Event::Accepted {
                ticket,
                dossier,
                message,
            };
            // Its own head may still be on its way: then it is acknowledged with that head, not before.
            if chain == held.writer && seq >= held.sealed {
                held.waiting.push((seq, ticket, message));
            } else {
                self.stage.events.push(event);
            }
            return ticket;
        }
        if held.replica.newest_key().is_none() {
            held.replica.add_key(0, fresh.epoch_key.clone(), &self.registry);
            self.stage.rows.push(Row::Key {
                dossier,
                epoch: 0,
                key: fresh.epoch_key.clone(),
            });
        }
        let adopts = held.begin_writing(self.fresh, &mut self.stage.rows);
        // Unwrap safety: a key was there, or has just been added.
        #[allow(clippy::expect_used)]
        let (epoch, key) = held
            .replica
            .newest_key()
            .expect("a dossier that is written has a key");
        let class = verified.message().class;
        let sealed = Sealed::seal(verified.envelope(), &dossier, class, epoch, key, fresh.seal_salt);
        let wraps = needed
            .into_iter()
            .zip(wraps)
            .map(|(need, jwe)| EpochWrap {
                epoch: need.context.epoch,
                recipient: need.context.recipient,
                jwe,
            })
            .collect();
        let entry = held
            .replica
            .draft(held.writer, verified.envelope(), &sealed, now, wraps, adopts);
        let item = RunItem { entry, sealed };
        held.replica.apply(&item, &self.registry);
        held.waiting.push((item.entry.seq, ticket, message));
        let length = item.entry.encode().len() + item.sealed.encode().len();
        held.unsealed.push((item.clone(), length));
        self.stage.rows.push(Row::Entry { item: Box::new(item) });
        self.stage.to_seal.insert(dossier);
        self.stage.events.push(Event::Changed { dossier });
        ticket
    }
}

impl Held {
    /// A member says how far it holds our chain. It is ours to go on with once no member knows more of it: what one of
    /// them lacks another may have had from us before this store was set back. JRN-6.
    pub(super) fn note_confirmation(&mut self, member: SubjectId, rows: &[HeadRow]) {
        let ours = self.replica.chain(&self.writer);
        let holds = |row: &HeadRow| ours.is_some_and(|chain| chain.contains(row));
        if !rows.iter().filter(|row| row.chain == self.writer).all(holds) {
            return;
        }
        self.confirmed_by.insert(member);
        let members = self.replica.state().nodes();
        self.confirmed |= members.len() > 1
            && members
                .iter()
                .all(|node| *node == self.writer.node || self.confirmed_by.contains(node));
        self.confirmed |= planted(Bug::OneMemberConfirms);
    }

    /// Makes sure that we may write: goes on with the confirmed chain, or opens a new incarnation, whose first entry
    /// names the position that it adopts. JRN-6.
    pub(super) fn begin_writing(
        &mut self,
        fresh: crate::id::Incarnation,
        rows: &mut Vec<Row>,
    ) -> Option<Citation> {
        let dossier = self.replica.dossier();
        let previous = self.writer;
        if !self.confirmed {
            self.writer.incarnation = fresh;
            (self.next_head, self.sealed, self.confirmed) = (0, 0, true);
            rows.push(Row::Writer {
                dossier,
                incarnation: fresh,
            });
        } else if self.next_head == 0 && self.replica.chain(&self.writer).is_none() {
            rows.push(Row::Writer {
                dossier,
                incarnation: self.writer.incarnation,
            });
        }
        // The first entry of a later incarnation adopts the longest earlier chain of ours.
        let first = self
            .replica
            .chain(&self.writer)
            .is_none_or(|chain| chain.size() == 0);
        let earlier = self
            .replica
            .chains()
            .iter()
            .filter(|(id, chain)| id.node == previous.node && **id != self.writer && chain.size() > 0);
        let adopted = earlier.max_by_key(|(_, chain)| chain.last().map(|(_, at)| at));
        adopted.filter(|_| first).and_then(|(id, chain)| {
            Some(Citation {
                chain: *id,
                seq: chain.size() - 1,
                leaf: chain.last()?.0,
            })
        })
    }
}
