//! Mailboxes: what this node keeps for members that are away, what it leaves for them elsewhere, and what it collects.
//! SPEC §10.7.
//!
//! `keep` is the store of a mailbox, `serve` answers its clients, `leave` and `collect` are the client's two halves.

mod collect;
mod keep;
mod leave;
mod serve;

pub use keep::Keep;
pub(crate) use leave::leaves_per_parcel;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use basoche_protocol::id::{Digest, SubjectId};
use basoche_protocol::jose::SoftwareKey;
use bytes::Bytes;
use tokio::sync::{Notify, Semaphore};

use crate::config::Mailbox as Settings;
use crate::documents::TransferError;
use crate::quic::{BulkStream, NodeId};

/// Offers that a mailbox carries out at once.
const OFFERS: usize = 4;

/// What the tasks of this module share.
pub struct Mailboxes {
    settings: Settings,
    /// What this node keeps, if it is a mailbox.
    keep: Option<Arc<Keep>>,
    seal: SoftwareKey,
    /// Parcels offered to a mailbox, until it has answered.
    offered: Mutex<BTreeMap<(NodeId, Digest), Bytes>>,
    offers: Semaphore,
    /// A peer has come: it may keep something for us.
    come: Notify,
}

impl Mailboxes {
    /// With these settings, and with what this node keeps itself, if it is a mailbox.
    pub fn new(settings: Settings, keep: Option<Keep>, seal: SoftwareKey) -> Self {
        Self {
            settings,
            keep: keep.map(Arc::new),
            seal,
            offered: Mutex::default(),
            offers: Semaphore::new(OFFERS),
            come: Notify::new(),
        }
    }

    /// A peer is connected.
    pub fn connected(&self, peer: NodeId) {
        if self.settings.mailboxes.contains(&SubjectId::new(peer)) {
            self.come.notify_one();
        }
    }

    /// What this node keeps, if it is a mailbox.
    pub fn keep(&self) -> Option<&Arc<Keep>> {
        self.keep.as_ref()
    }

    fn offered(&self) -> MutexGuard<'_, BTreeMap<(NodeId, Digest), Bytes>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reply of at most `most` bytes, whole.
async fn read_whole(mut reply: BulkStream, most: usize) -> Result<Vec<u8>, TransferError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = reply.read_chunk().await? {
        if bytes.len() + chunk.len() > most {
            return Err(TransferError::Reply("it is too long"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
