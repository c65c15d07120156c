//! The desk's share in mailboxes: what is owed to members that are away, what was left for them, what has come.

use std::collections::{BTreeMap, BTreeSet};

use basoche_protocol::document;
use basoche_protocol::dossier::{Replica, Statement};
use basoche_protocol::engine::Taken;
use basoche_protocol::error::Error;
use basoche_protocol::id::{Digest, DossierId, SubjectId};
use basoche_protocol::journal::ChainId;
use basoche_protocol::mailbox::{Address, Listed, Offer, SignedReceipt};
use basoche_protocol::message::DocumentRef;
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::wire::limits;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::oneshot;

use super::Desk;
use crate::config::Mailbox as Settings;
use crate::effects::now;
use crate::mailbox::leaves_per_parcel;
use crate::rows::{Left, Rows, RowsError, What};
use crate::store::{Batch, StoreError};

/// What is handed out at once to be left.
const OWED: usize = 64;

/// Something to leave for a member that is away.
#[derive(Clone, Debug)]
pub struct Owed {
    /// For whom.
    pub address: Address,
    /// What.
    pub what: What,
    /// Where.
    pub mailbox: SubjectId,
}

/// What messages on file say of a document.
pub enum Expected {
    /// One of them brings it.
    Document(Box<DocumentRef>),
    /// The court has erased it. ERA-5.
    Erased,
    /// None has brought it yet.
    NotYet,
}

/// Why a receipt is not kept.
#[derive(Debug, Error)]
pub enum ReceiptError {
    /// It does not verify.
    #[error(transparent)]
    Unsound(#[from] Error),
    /// It is for another parcel, or for somebody else.
    #[error("it is not for what was left")]
    Other,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where and when something was left for a node that is away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeftView {
    /// The mailbox.
    pub mailbox: SubjectId,
    /// When it took it, RFC 3339, by its own clock.
    pub at: String,
    /// Until when it keeps it, RFC 3339.
    pub until: String,
}

/// What this node has left, by dossier and addressee.
#[derive(Default)]
pub struct Outbox(BTreeMap<(DossierId, SubjectId), Vec<Left>>);

impl Outbox {
    /// As the store has it.
    ///
    /// # Errors
    /// That the store cannot be read.
    pub fn read(rows: &Rows) -> Result<Self, RowsError> {
        let mut outbox = Self::default();
        for left in rows.left()? {
            outbox
                .0
                .entry((left.dossier, left.addressee))
                .or_default()
                .push(left);
        }
        Ok(outbox)
    }

    fn of(&self, dossier: &DossierId, addressee: &SubjectId) -> &[Left] {
        self.0.get(&(*dossier, *addressee)).map_or(&[], Vec::as_slice)
    }

    /// Everything that was left in a dossier.
    pub fn of_dossier(&self, dossier: &DossierId) -> impl Iterator<Item = &Left> {
        let (first, last) = (SubjectId::new([0; 16]), SubjectId::new([0xff; 16]));
        self.0
            .range((*dossier, first)..=(*dossier, last))
            .flat_map(|(_, left)| left)
    }
}

/// A run that waits for the commit that makes it durable.
pub(super) type Kept = (oneshot::Sender<Result<Taken, Error>>, Result<Taken, Error>);

impl Desk {
    /// What has to be left at `mailbox` for members that are away, some of it at a time. Dormant dossiers of which
    /// something has to be left wake, and count once they are awake. MBX-6.
    pub fn owed(&mut self, mailbox: SubjectId, settings: &Settings, now: Instant) -> Vec<Owed> {
        let own = self.engine.node();
        let after = Span::from_seconds(settings.after);
        let is_away = |node: &SubjectId| self.away_since(node).is_some_and(|since| since + after <= now);
        let concerned = self.engine.dormant().filter(|summary| {
            let nodes = summary.nodes();
            nodes.contains(&own) && !nodes.contains(&mailbox) && summary.behind().iter().any(is_away)
        });
        let concerned: Vec<_> = concerned.map(|summary| summary.dossier()).take(OWED).collect();
        for dossier in concerned {
            self.engine.wake(dossier);
        }
        let mut owed = Vec::new();
        for replica in self.engine.dossiers() {
            let (dossier, nodes) = (replica.dossier(), replica.state().nodes());
            // A member that is up hands it over itself.
            if !nodes.contains(&own) || nodes.contains(&mailbox) {
                continue;
            }
            for node in nodes.iter().filter(|node| **node != own) {
                let away = self.away_since(node).is_some_and(|since| since + after <= now);
                let Some(address) = self.engine.mailbox_address(&dossier, *node).filter(|_| away) else {
                    continue;
                };
                let left = self.outbox.of(&dossier, node);
                let is_left = |what: &What| {
                    let mut there = left.iter().filter(|one| one.mailbox == mailbox);
                    there.any(|one| one.what == *what && one.kept_until > now)
                };
                let runs = self.engine.lacking(&dossier, node).into_iter().map(What::Run);
                let leaves = self.leaves_owed(&dossier, node, settings);
                for what in runs.chain(leaves).filter(|what| !is_left(what)) {
                    let address = address.clone();
                    owed.push(Owed {
                        address,
                        what,
                        mailbox,
                    });
                    if owed.len() == OWED {
                        return owed;
                    }
                }
            }
        }
        owed
    }

    /// The leaves, parcel by parcel, of small documents that are here and that `node` has not stated to hold.
    fn leaves_owed(&self, dossier: &DossierId, node: &SubjectId, settings: &Settings) -> Vec<What> {
        let Some(replica) = self.engine.dossier(dossier) else {
            return Vec::new();
        };
        // Without a head it may have no key yet.
        if !replica.heads().contains_key(node) {
            return Vec::new();
        }
        let mut owed = Vec::new();
        for fact in replica.state().documents() {
            let (root, bytes) = (
                fact.reference.root,
                document::ciphertext_len(fact.reference.bytes),
            );
            let each = leaves_per_parcel(bytes);
            let fits = fact.reference.bytes <= settings.document_bytes && each > 0;
            let held = replica.state().stated(Statement::Held, fact, node).is_some();
            if fits && !held && self.blobs.contains(root.as_bytes()).unwrap_or(false) {
                let firsts =
                    (0..document::leaf_count(bytes)).step_by(usize::try_from(each).unwrap_or(usize::MAX));
                owed.extend(firsts.map(|first| What::Leaves { root, first }));
            }
        }
        owed.dedup();
        owed
    }

    /// Checks and keeps a receipt. Durable on return.
    ///
    /// # Errors
    /// [`ReceiptError`]; then it counts for nothing.
    pub fn note_left(
        &mut self,
        owed: &Owed,
        offer: &Offer,
        receipt: Vec<u8>,
        now: Instant,
    ) -> Result<(), ReceiptError> {
        let signed = SignedReceipt::verify(&receipt, self.engine.registry())?;
        let said = signed.receipt();
        let for_this = (said.mailbox, said.depositor, said.tag, said.parcel, said.size)
            == (
                owed.mailbox,
                self.engine.node(),
                offer.tag,
                offer.parcel,
                offer.size,
            );
        let ahead = said.accepted_at > now + Span::from_ms(limits::CLAIM_AHEAD_MS);
        if !for_this || ahead || said.kept_until <= now {
            return Err(ReceiptError::Other);
        }
        let left = Left {
            dossier: owed.address.dossier,
            addressee: owed.address.addressee,
            what: owed.what,
            mailbox: owed.mailbox,
            accepted_at: said.accepted_at,
            kept_until: said.kept_until,
            receipt,
        };
        let known = self.outbox.0.entry((left.dossier, left.addressee)).or_default();
        let mut batch = Batch::default();
        self.rows.put_left(&mut batch, &left, known.len() as u64)?;
        self.rows.commit(batch)?;
        known.push(left);
        Ok(())
    }

    /// Which listed parcels are for dossiers of this node, in memory or not.
    pub fn addressed_to_us(&self, listed: &[Listed]) -> Vec<(Listed, Address)> {
        let (addressee, at) = (self.engine.node(), now());
        let awake = self.engine.dossiers();
        let awake = awake.filter_map(|replica| self.engine.mailbox_address(&replica.dossier(), addressee));
        // Their keys are read from the store, and only as long as a tag is not known yet. One that cannot be read says
        // so when its dossier wakes.
        let dormant = self.engine.dormant().filter_map(|summary| {
            let dossier = summary.dossier();
            let key = self.rows.first_key(&dossier).ok().flatten()?;
            Some(Address {
                dossier,
                addressee,
                key,
            })
        });
        let mut unknown: BTreeSet<_> = listed.iter().map(|one| one.tag).collect();
        let mut found = BTreeMap::new();
        for address in awake.chain(dormant) {
            if unknown.is_empty() {
                break;
            }
            for tag in address.tags(at).filter(|tag| unknown.remove(tag)) {
                found.insert(tag, address.clone());
            }
        }
        let ours = listed
            .iter()
            .filter_map(|one| Some((*one, found.get(&one.tag)?.clone())));
        ours.collect()
    }

    /// Takes a run that a mailbox kept; `reply` hears of it once the commit that may hold it is durable.
    pub fn take_kept(
        &mut self,
        mailbox: SubjectId,
        dossier: &DossierId,
        frame: &[u8],
        reply: oneshot::Sender<Result<Taken, Error>>,
    ) {
        let taken = self.engine.take_kept_run(mailbox, dossier, frame, now());
        self.unwrap_keys();
        self.kept.push((reply, taken));
    }

    /// Answers for what the last commit has made durable.
    pub(super) fn answer_kept(&mut self) {
        for (reply, taken) in self.kept.drain(..) {
            let _ = reply.send(taken);
        }
    }

    /// What becomes of leaves of a document of a dossier, by the messages on file.
    pub fn expects(&self, dossier: &DossierId, root: &Digest) -> Expected {
        let Some(state) = self.engine.dossier(dossier).map(Replica::state) else {
            return Expected::NotYet;
        };
        let mut erased = state.tombstones().flat_map(|one| &one.residual.documents);
        match state.documents().find(|fact| fact.reference.root == *root) {
            Some(found) => Expected::Document(Box::new(found.reference.clone())),
            None if erased.any(|document| document.root == *root) => Expected::Erased,
            None => Expected::NotYet,
        }
    }

    /// What this node has left at mailboxes.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Where the run with entry `seq` of a chain was left for a node, and is still kept.
    pub(super) fn left_for(
        &self,
        dossier: &DossierId,
        node: &SubjectId,
        chain: &ChainId,
        seq: u64,
    ) -> Vec<LeftView> {
        let at = now();
        let covers = |left: &&Left| match left.what {
            What::Run(run) => run.chain == *chain && (run.from..run.to).contains(&seq),
            What::Leaves { .. } => false,
        };
        let left = self.outbox.of(dossier, node).iter();
        let kept = left.filter(|left| left.kept_until > at).filter(covers);
        let views: BTreeSet<_> = kept
            .map(|left| LeftView {
                mailbox: left.mailbox,
                at: left.accepted_at.to_string(),
                until: left.kept_until.to_string(),
            })
            .collect();
        views.into_iter().collect()
    }
}
