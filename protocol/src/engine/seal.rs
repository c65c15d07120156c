//! Commits and heads: the order in which things become durable, signed and known. SPEC §8.2.

use serde_bytes::ByteBuf;

use super::{Engine, Event, Held, Registry, Row, SignRequest, leaves};
use crate::envelope::Envelope;
use crate::error::Error;
use crate::id::DossierId;
use crate::journal::{Branch, Head, RegistryHead, SignedHead};
use crate::time::Instant;
use crate::wire::frame::{Frame, Item, Run};
use crate::wire::limits;

/// Bytes of entries and messages in one run: with heads and the run's own head they stay within a frame.
const RUN_BYTES: usize = limits::FRAME_BYTES * 3 / 4;

impl<R: Registry> Engine<R> {
    /// The rows of the next commit, if there is one and none is under way. They are atomic: all or none.
    ///
    /// The heads that the commit will allow are fixed here, so that they cover nothing that comes in meanwhile.
    pub fn poll_commit(&mut self, now: Instant) -> Option<Vec<Row>> {
        if self.in_flight.is_some() {
            return None;
        }
        if std::mem::take(&mut self.rejudge) {
            self.wake_where_signers_changed();
            for (dossier, held) in &mut self.dossiers {
                if held.replica.judge_again(&self.registry) {
                    self.stage.events.push(Event::Changed { dossier: *dossier });
                    held.note_change(&mut self.changes);
                }
            }
        }
        self.erase();
        if self.stage.is_empty() {
            return None;
        }
        let mut stage = std::mem::take(&mut self.stage);
        let registries = self.registry.heads();
        for dossier in std::mem::take(&mut stage.to_seal) {
            if let Some(held) = self.dossiers.get_mut(&dossier) {
                held.begin_head(self.fresh, &mut stage.rows);
                for size in held.run_ends() {
                    stage.heads.push(held.next_head(dossier, size, &registries, now));
                }
            }
        }
        let mut rows = std::mem::take(&mut stage.rows);
        if stage.leaves {
            rows.extend(self.registry.poll_rows().into_iter().map(Row::Registry));
            stage.logs = leaves::sizes(&self.registry);
        }
        self.in_flight = Some(stage);
        Some(rows)
    }

    /// Asks for a head where the latest one does not cover what is held: the process may have ended between the commit
    /// of a run and that of its receipt.
    pub(super) fn make_up_receipts(&mut self) {
        let node = self.node;
        let due = self.dossiers.iter().filter(|(_, held)| {
            let ours = held.confirmed && held.unsealed.is_empty() && held.brought_by.is_none();
            ours && !held.is_equal_at(&node) && held.replica.state().nodes().contains(&node)
        });
        self.stage.to_seal.extend(due.map(|(dossier, _)| *dossier));
    }

    /// The commit is durable: what waited for it may be said, and its heads may be signed.
    pub fn handle_durable(&mut self) {
        let Some(stage) = self.in_flight.take() else {
            return;
        };
        if stage.leaves {
            self.registry.settle();
            self.logs = stage.logs;
        }
        self.frames.extend(stage.frames);
        self.release_backlogs(stage.backlogs);
        self.events.extend(stage.events);
        self.signs
            .extend(stage.heads.into_iter().map(|head| SignRequest { head }));
    }

    /// A head to sign, oldest first.
    pub fn poll_sign(&mut self) -> Option<SignRequest> {
        self.signs.pop_front()
    }

    /// Takes a signed head. The next commit makes it durable; only then do peers and users hear of it.
    pub fn handle_signed(&mut self, envelope: &Envelope) -> Result<(), Error> {
        let signed = SignedHead::verify(&envelope.encode(), &self.registry)?;
        let head = signed.head();
        let dossier = head.dossier;
        let Some(held) = self.dossiers.get_mut(&dossier) else {
            return Ok(());
        };
        held.replica.note_head(&signed);
        held.note_change(&mut self.changes);
        let bytes = signed.encode();
        self.stage.rows.push(Row::Head {
            dossier,
            node: self.node,
            head: bytes.clone(),
        });
        let size = head.own_row().map_or(0, |row| row.size);
        let frame = if size > held.sealed {
            let covered = held
                .unsealed
                .iter()
                .take_while(|(item, _)| item.entry.seq < size)
                .count();
            let items: Vec<_> = held.unsealed.drain(..covered).collect();
            let branch = Branch::first(held.writer);
            let index = held.push_run(branch, size, &bytes);
            self.stage.rows.push(Row::Run {
                dossier,
                index,
                branch,
                from: held.sealed,
                to: size,
                head: bytes.clone(),
            });
            held.sealed = size;
            let items = items.iter().map(|(item, _)| Item {
                entry: ByteBuf::from(item.entry.encode()),
                sealed: item.sealed.as_ref().map(|sealed| ByteBuf::from(sealed.encode())),
            });
            Frame::Run(Run {
                dossier,
                chain: held.writer,
                items: items.collect(),
                head: ByteBuf::from(bytes),
            })
        } else {
            Frame::Head(ByteBuf::from(bytes))
        };
        let (done, waiting): (Vec<_>, Vec<_>) = held.waiting.drain(..).partition(|(seq, ..)| *seq < size);
        held.waiting = waiting;
        let accepted = done.into_iter().map(|(_, ticket, message)| Event::Accepted {
            ticket,
            dossier,
            message,
        });
        self.stage.events.extend(accepted);
        self.tell_members(dossier, &frame);
        Ok(())
    }

    /// Sends a frame to every connected member that knows the dossier up to here; the others get it with a frontier.
    fn tell_members(&mut self, dossier: DossierId, frame: &Frame) {
        let Some(held) = self.dossiers.get(&dossier) else {
            return;
        };
        let (members, ever) = (held.replica.state().nodes(), held.replica.state().ever_nodes());
        let (bytes, is_run) = (frame.encode(), matches!(frame, Frame::Run(_)));
        let mut newcomers = Vec::new();
        for (node, peer) in self
            .peers
            .iter_mut()
            .filter(|(node, peer)| peer.joined && members.contains(node))
        {
            let held_back = self.held_back.get(node);
            let held_back = held_back.is_some_and(|dossiers| dossiers.contains_key(&dossier));
            if held_back && is_run {
                continue;
            }
            if held_back || peer.told.contains(&dossier) {
                self.stage.frames.push((*node, bytes.clone()));
            } else {
                newcomers.push(*node);
            }
        }
        // Who has just left is sent one head: its receipt for all that it wrote. SEAT-5.
        if let Frame::Head(_) = frame {
            let left = self
                .peers
                .iter_mut()
                .filter(|(node, peer)| peer.joined && ever.contains(node) && !members.contains(node));
            for (node, peer) in left.filter(|(_, peer)| peer.told.contains(&dossier)) {
                if peer.seen_off.insert(dossier) {
                    self.stage.frames.push((*node, bytes.clone()));
                }
            }
        }
        for node in newcomers {
            self.offer_frontier(node, dossier);
        }
    }
}

impl Held {
    /// A head is a signature too: an unconfirmed incarnation may not make one. JRN-6.
    fn begin_head(&mut self, fresh: crate::id::Incarnation, rows: &mut Vec<Row>) {
        if self.confirmed {
            self.keep_writer(rows);
        } else {
            self.begin_writing(fresh, rows);
        }
    }

    /// The sizes of our chain at which heads are due: every run fits in one frame with its head. JRN-5, SYN-3.
    fn run_ends(&self) -> Vec<u64> {
        let (mut ends, mut entries, mut bytes) = (Vec::new(), 0, 0);
        for (item, length) in &self.unsealed {
            if entries == limits::ENTRIES_PER_FRAME || bytes + length > RUN_BYTES {
                ends.push(item.entry.seq);
                (entries, bytes) = (0, 0);
            }
            entries += 1;
            bytes += length;
        }
        ends.push(self.replica.chain(&self.writer).map_or(0, |chain| chain.size()));
        ends
    }

    /// What we stand by once the rows staged so far are durable, with our own chain up to `size`.
    fn next_head(
        &mut self,
        dossier: DossierId,
        size: u64,
        registries: &[RegistryHead],
        now: Instant,
    ) -> Head {
        // What was signed before a store was set back must not be taken for later. JRN-7.
        if std::mem::take(&mut self.resumed) {
            self.next_head = self.next_head.max(now.ms());
        }
        let head_no = self.next_head;
        self.next_head += 1;
        let mut rows = self.replica.frontier();
        let own = self.replica.chain(&self.writer);
        // Others take no head of another incarnation that is dated before the one that they have. JRN-7.
        let latest = self.replica.heads().get(&self.writer.node);
        let signed = latest.map(|head| head.head().time);
        let recorded = own.and_then(|chain| chain.last()).map(|(_, at)| at);
        let cut = own.and_then(|chain| chain.row_at(self.writer, size));
        let place = rows.partition_point(|row| row.chain < self.writer);
        rows.retain(|row| row.chain != self.writer);
        rows.splice(place..place, cut);
        Head {
            v: Head::VERSION,
            head_no,
            dossier,
            node: self.writer.node,
            incarnation: self.writer.incarnation,
            rows,
            registries: registries.to_vec(),
            time: recorded.max(signed).map_or(now, |at| at.max(now)),
        }
    }
}
