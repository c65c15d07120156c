//! The rows of mailboxes: what this node keeps for others, and what it has left with others.

use basoche_protocol::engine::LeftRun;
use basoche_protocol::id::{Digest, DossierId, MailboxTag, SubjectId};
use basoche_protocol::journal::ChainId;
use basoche_protocol::mailbox::Kind;
use basoche_protocol::text::hex_encode;
use basoche_protocol::time::Instant;
use basoche_protocol::wire::codec;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{Rows, RowsError};
use crate::store::{Batch, StoreError};

const PARCELS: u8 = 12;
const OUTBOX: u8 = 13;

/// A parcel that this node keeps for another one. Its bytes are a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptParcel {
    /// SHA-256 of its bytes.
    pub parcel: Digest,
    /// Under which tag.
    pub tag: MailboxTag,
    /// Who may collect it.
    pub addressee: SubjectId,
    /// What it holds.
    pub kind: Kind,
    /// Its length in bytes.
    pub size: u64,
    /// Its number here.
    pub number: u64,
    /// Until when it is kept.
    pub kept_until: Instant,
    /// Who left it, and when; the first one's share it takes.
    pub depositors: Vec<(SubjectId, Instant)>,
}

/// What was left for an addressee: a run, or leaves of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A stored run.
    Run(LeftRun),
    /// The leaves of a document from this one on.
    Leaves {
        /// The document.
        root: Digest,
        /// The first leaf.
        first: u64,
    },
}

/// What was left for whom, and the mailbox's word for it.
#[derive(Clone, Debug)]
pub struct Left {
    /// In which dossier.
    pub dossier: DossierId,
    /// For whom.
    pub addressee: SubjectId,
    /// What.
    pub what: What,
    /// Where.
    pub mailbox: SubjectId,
    /// When the mailbox took it.
    pub accepted_at: Instant,
    /// Until when it keeps it.
    pub kept_until: Instant,
    /// Its receipt, as signed.
    pub receipt: Vec<u8>,
}

/// Index, chain, first entry, entry after the last.
type StoredRun = (u64, ChainId, u64, u64);

/// [`Left`] in the store: either a run or leaves.
#[derive(Serialize, Deserialize)]
struct StoredLeft {
    dossier: DossierId,
    addressee: SubjectId,
    mailbox: SubjectId,
    accepted_at: Instant,
    kept_until: Instant,
    receipt: ByteBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<StoredRun>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leaves: Option<(Digest, u64)>,
}

impl Rows {
    /// The file's name of a parcel: whoever reads the directory learns no digest.
    pub fn parcel_file(&self, parcel: &Digest) -> String {
        hex_encode(&self.store.owner(PARCELS, &[parcel.as_bytes()]))
    }

    /// Adds a parcel that is kept to a commit.
    pub fn put_parcel(&self, batch: &mut Batch, parcel: &KeptParcel) -> Result<(), StoreError> {
        let owner = self.store.owner(PARCELS, &[parcel.parcel.as_bytes()]);
        self.store.put(batch, PARCELS, owner, 0, &codec::encode(parcel))
    }

    /// Adds to a commit that a parcel is kept no more.
    pub fn forget_parcel(&self, batch: &mut Batch, parcel: &Digest) {
        let owner = self.store.owner(PARCELS, &[parcel.as_bytes()]);
        self.store.delete(batch, PARCELS, owner, 0);
    }

    /// Every parcel that is kept.
    pub fn parcels(&self) -> Result<Vec<KeptParcel>, RowsError> {
        self.family(PARCELS, "kept parcel")
    }

    /// Adds what was left, the `number`th for its addressee in its dossier, to a commit.
    pub fn put_left(&self, batch: &mut Batch, left: &Left, number: u64) -> Result<(), StoreError> {
        let parts: [&[u8]; 2] = [left.dossier.as_bytes(), left.addressee.as_bytes()];
        let stored = StoredLeft {
            dossier: left.dossier,
            addressee: left.addressee,
            mailbox: left.mailbox,
            accepted_at: left.accepted_at,
            kept_until: left.kept_until,
            receipt: ByteBuf::from(left.receipt.clone()),
            run: match left.what {
                What::Run(run) => Some((run.run, run.chain, run.from, run.to)),
                What::Leaves { .. } => None,
            },
            leaves: match left.what {
                What::Run(_) => None,
                What::Leaves { root, first } => Some((root, first)),
            },
        };
        let owner = self.store.owner(OUTBOX, &parts);
        self.store
            .put(batch, OUTBOX, owner, number, &codec::encode(&stored))
    }

    /// Everything that was left, in its order for each addressee of a dossier.
    pub fn left(&self) -> Result<Vec<Left>, RowsError> {
        let stored = self.family::<StoredLeft>(OUTBOX, "outbox")?;
        let read = |one: StoredLeft| {
            let what = match (one.run, one.leaves) {
                (Some((run, chain, from, to)), None) => What::Run(LeftRun { run, chain, from, to }),
                (None, Some((root, first))) => What::Leaves { root, first },
                _ => return Err(super::damaged("outbox", "neither a run nor leaves")),
            };
            Ok(Left {
                dossier: one.dossier,
                addressee: one.addressee,
                what,
                mailbox: one.mailbox,
                accepted_at: one.accepted_at,
                kept_until: one.kept_until,
                receipt: one.receipt.into_vec(),
            })
        };
        stored.into_iter().map(read).collect()
    }
}
