//! Submissions: bare messages from this node's users, and the node's own statements. SPEC §8.7.

use super::keys::Epoch;
use super::{Engine, Event, Held, Registry, Row, held};
use crate::dossier::RunItem;
use crate::envelope::{self, Envelope, EpochKey, Sealed, Verified};
use crate::error::{Error, Refused};
use crate::id::{Digest, DossierId, KeySalt, MessageId, SubjectId};
use crate::jose::WrapContext;
use crate::journal::{Branch, Citation, EpochWrap, HeadRow};
use crate::message::{Body, Message};
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
    /// The epoch that its entry opens, with its key.
    opens: Option<Epoch>,
    verified: Verified,
    dossier: DossierId,
}

/// Random bytes for one submission.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// From which the item's key is derived.
    pub seal_salt: KeySalt,
    /// The key of the epoch that the message opens, if it founds a dossier or a node leaves by it.
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
        let verified = self.verify(envelope, now)?;
        let message = verified.message();
        let founding = matches!(message.body, Body::Designation(_));
        let dossier = match message.dossier {
            Some(dossier) => dossier,
            None => DossierId::from(verified.id()),
        };
        if self.is_dormant(&dossier) {
            return Err(Refused::Dormant { dossier }.into());
        }
        // A message that is on file stays what it is: sending it again is no offence, and no second act.
        let on_file = self
            .dossiers
            .get(&dossier)
            .is_some_and(|held| held.replica.position(&verified.id()).is_some());
        let (mut wraps, mut opens) = (Vec::new(), None);
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
            if founding {
                self.check_founder(message.author, now)?;
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
            (wraps, opens) = self.keys_to_hand_out(&message.body, replica, fresh, now)?;
        }
        Ok(Needs {
            wraps,
            opens,
            verified,
            dossier,
        })
    }

    /// The message, by the registry and by what its dossier says of parties' keys. PTY-3.
    fn verify(&self, envelope: Envelope, now: Instant) -> Result<Verified, Error> {
        let named = Message::decode(envelope.payload())?.dossier;
        let held = named.and_then(|dossier| self.dossiers.get(&dossier));
        match held {
            Some(held) => {
                let inside = held.replica.state().inside(&self.registry);
                envelope::verify(envelope, &inside, now)
            }
            None => envelope::verify(envelope, &self.registry, now),
        }
    }

    /// Records what [`Self::prepare`] has accepted just before. An [`Event::Accepted`] follows once it is deposited.
    ///
    /// `wraps` answer [`Needs::wraps`] one for one.
    pub fn submit(&mut self, needs: Needs, wraps: Vec<String>, fresh: &Fresh, now: Instant) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let Needs {
            wraps: needed,
            opens,
            verified,
            dossier,
        } = needs;
        let (message, mut founder) = (verified.id(), None);
        let held = held(&mut self.dossiers, dossier, self.node, self.fresh);
        if let Some((branch, seq)) = held.replica.position(&message) {
            let event = Event::Accepted {
                ticket,
                dossier,
                message,
            };
            // Its own head may still be on its way: then it is acknowledged with that head, not before.
            if branch == Branch::first(held.writer) && seq >= held.sealed {
                held.waiting.push((seq, ticket, message));
            } else {
                self.stage.events.push(event);
            }
            return ticket;
        }
        if matches!(verified.message().body, Body::Designation(_)) {
            founder = Some(verified.message().author);
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
        let length = entry.encode().len() + sealed.encode().len();
        let sealed = Some(sealed);
        let item = RunItem { entry, sealed };
        held.replica.apply(&item, &self.registry);
        // It counts for what comes after: who leaves may still read that it leaves.
        if let Some((epoch, key)) = opens {
            held.replica.add_key(epoch, key.clone(), &self.registry);
            self.stage.rows.push(Row::Key { dossier, epoch, key });
        }
        held.waiting.push((item.entry.seq, ticket, message));
        held.unsealed.push((item.clone(), length));
        self.stage.rows.push(Row::Entry {
            branch: Branch::first(item.entry.chain),
            item: Box::new(item),
        });
        self.stage.to_seal.insert(dossier);
        self.stage.events.push(Event::Changed { dossier });
        if let Some(author) = founder {
            self.charge_founder(author, now);
        }
        ticket
    }
}

impl Held {
    /// A member says how far it holds our chain. It is ours to go on with once no member knows more of it: what one of
    /// them lacks another may have had from us before this store was set back. JRN-6.
    pub(super) fn note_confirmation(&mut self, member: SubjectId, rows: &[HeadRow]) {
        // Somebody else has written it, too: there is no end of it to go on from.
        if self.replica.chains().fork(&self.writer).is_some() {
            return;
        }
        let ours = self.replica.chain(&self.writer);
        let holds = |row: &HeadRow| ours.is_some_and(|chain| chain.contains(row));
        if !rows.iter().filter(|row| row.chain == self.writer).all(holds) {
            self.confirmed_by.remove(&member);
            return;
        }
        self.confirmed_by.insert(member);
        self.confirm();
        self.confirmed |= planted(Bug::OneMemberConfirms);
    }

    /// Our chain is ours to go on with once every other member has confirmed it. JRN-6.
    pub(super) fn confirm(&mut self) {
        let members = self.replica.state().nodes();
        self.confirmed |= members.len() > 1
            && members
                .iter()
                .all(|node| *node == self.writer.node || self.confirmed_by.contains(node));
    }

    /// Makes sure that the store knows under which incarnation we sign: a head is a signature, too. JRN-6.
    pub(super) fn keep_writer(&mut self, rows: &mut Vec<Row>) {
        if !std::mem::replace(&mut self.writer_kept, true) {
            rows.push(Row::Writer {
                dossier: self.replica.dossier(),
                incarnation: self.writer.incarnation,
            });
        }
    }

    /// Makes sure that we may write: goes on with the confirmed chain, or opens a new incarnation, whose first entry
    /// names the position that it adopts. JRN-6.
    pub(super) fn begin_writing(
        &mut self,
        fresh: crate::id::Incarnation,
        rows: &mut Vec<Row>,
    ) -> Option<Citation> {
        let previous = self.writer;
        if !self.confirmed {
            self.writer.incarnation = fresh;
            (self.next_head, self.sealed, self.confirmed) = (0, 0, true);
            (self.writer_kept, self.resumed) = (false, false);
        }
        self.keep_writer(rows);
        // The first entry of a later incarnation adopts the longest earlier chain of ours.
        let first = self
            .replica
            .chain(&self.writer)
            .is_none_or(|chain| chain.size() == 0);
        let earlier = self
            .replica
            .chains()
            .iter()
            .filter(|(id, _)| id.chain.node == previous.node && id.chain != self.writer);
        let adopted = earlier.max_by_key(|(_, chain)| chain.last().map(|(_, at)| at));
        adopted.filter(|_| first).and_then(|(id, chain)| {
            Some(Citation {
                chain: id.chain,
                seq: chain.size() - 1,
                leaf: chain.last()?.0,
            })
        })
    }
}
