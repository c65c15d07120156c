//! Leaving at mailboxes what members that are away lack. MBX-6.

use std::collections::BTreeMap;
use std::sync::Arc;

use basoche_protocol::document;
use basoche_protocol::mailbox::{Address, Answer, Content, Leaves, Offer, Parcel, Request};
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::wire::frame::Frame;
use basoche_protocol::wire::limits;
use bytes::Bytes;
use serde_bytes::ByteBuf;
use tokio::time::sleep;

use super::read_whole;
use crate::blob::BlobStore;
use crate::desk::Owed;
use crate::effects::now;
use crate::network::Network;
use crate::rows::{Rows, What};

/// Ciphertext bytes of a document in one parcel, unless a single leaf is longer.
pub(crate) const LEAVES_BYTES: u64 = 2 << 20;
/// Bytes of an answer.
const ANSWER_BYTES: usize = 64 * 1024;

/// How many leaves of a document of this ciphertext length go into one parcel; none, if not even one does.
pub(crate) fn leaves_per_parcel(ciphertext_len: u64) -> u64 {
    LEAVES_BYTES / document::leaf_bytes(ciphertext_len)
}

impl Network {
    /// Leaves what is owed to members that are away, for as long as the node lives.
    pub async fn leave_parcels(self, rows: Rows) {
        let every = std::time::Duration::from_secs(self.mailboxes().settings.every);
        // Which mailbox wants to be left alone until when.
        let mut full: BTreeMap<_, Instant> = BTreeMap::new();
        loop {
            full.retain(|_, until| *until > now());
            for mailbox in self.mailboxes().settings.mailboxes.clone() {
                while !full.contains_key(&mailbox) && mailbox != self.own() {
                    let settings = self.mailboxes().settings.clone();
                    let owed = self
                        .desk()
                        .ask(move |desk| desk.owed(mailbox, &settings, now()))
                        .await;
                    let owed = owed.unwrap_or_default();
                    if owed.is_empty() {
                        break;
                    }
                    for one in owed {
                        match self.leave(&rows, one).await {
                            Ok(None) => {}
                            Ok(Some(retry_after)) => {
                                full.insert(mailbox, now() + retry_after);
                                break;
                            }
                            Err(error) => {
                                tracing::debug!(%mailbox, error, "nothing is left at a mailbox");
                                full.insert(
                                    mailbox,
                                    now() + Span::from_seconds(self.mailboxes().settings.every),
                                );
                                break;
                            }
                        }
                    }
                }
            }
            sleep(every).await;
        }
    }

    /// Leaves one thing, and keeps the receipt; after how long to come again, if it was not taken.
    async fn leave(&self, rows: &Rows, owed: Owed) -> Result<Option<Span>, String> {
        let Owed {
            address,
            what,
            mailbox,
        } = owed.clone();
        let (rows, blobs) = (rows.clone(), Arc::clone(self.blobs()));
        let tag = address.tag(Address::period(now()));
        let sealed = tokio::task::spawn_blocking(move || {
            let content = content(&rows, blobs.as_ref(), &address, &what)?;
            Ok::<_, String>((content.kind(), Parcel::seal(&address, &tag, &content).encode()))
        });
        let (kind, bytes) = sealed.await.map_err(|error| error.to_string())??;
        let offer = Offer {
            tag,
            addressee: owed.address.addressee,
            kind,
            parcel: basoche_protocol::id::Digest::of(&[&bytes]),
            size: bytes.len() as u64,
            keep: Span::from_seconds(self.mailboxes().settings.ttl).ms(),
        };
        let key = (*mailbox.as_bytes(), offer.parcel);
        self.mailboxes().offered().insert(key, Bytes::from(bytes));
        let request = Bytes::from(Request::Offer(offer.clone()).encode());
        let asked = match self.ask(*mailbox.as_bytes(), request).await {
            Ok(reply) => read_whole(reply, ANSWER_BYTES).await,
            Err(error) => Err(error),
        };
        self.mailboxes().offered().remove(&key);
        let answer = asked.map_err(|error| error.to_string())?;
        match Answer::decode(&answer).map_err(|error| error.to_string())? {
            Answer::Refused { code, retry_after } => {
                tracing::info!(%mailbox, code = code.name(), retry_ms = retry_after.ms(), "a mailbox took no parcel");
                Ok(Some(retry_after.max(Span::from_seconds(1))))
            }
            Answer::Kept(receipt) => {
                let noted = self
                    .desk()
                    .ask(move |desk| desk.note_left(&owed, &offer, receipt, now()));
                match noted.await.map_err(|error| error.to_string())? {
                    Ok(()) => Ok(None),
                    Err(error) => {
                        tracing::warn!(%mailbox, %error, "a mailbox gave a receipt that is none");
                        Ok(Some(Span::from_seconds(self.mailboxes().settings.every)))
                    }
                }
            }
        }
    }
}

/// What a parcel is to hold. Blocks.
fn content(rows: &Rows, blobs: &dyn BlobStore, address: &Address, what: &What) -> Result<Content, String> {
    match what {
        What::Run(left) => {
            let run = rows.run(address.dossier, left.run, left.from);
            let run = run
                .map_err(|error| error.to_string())?
                .ok_or("a run is missing")?;
            Ok(Content::Run(Frame::Run(run).encode()))
        }
        What::Leaves { root, first } => {
            let blob = blobs.open(root.as_bytes()).map_err(|error| error.to_string())?;
            let blob = blob.ok_or("a document is missing")?;
            let leaf_bytes = document::leaf_bytes(blob.len());
            let start = (first * leaf_bytes).min(blob.len());
            let end = (start + leaves_per_parcel(blob.len()) * leaf_bytes).min(blob.len());
            let mut ciphertext = vec![0; usize::try_from(end - start).unwrap_or(limits::PARCEL_BYTES)];
            blob.read_at(start, &mut ciphertext)
                .map_err(|error| error.to_string())?;
            let hashes = blob.outboard().map_err(|error| error.to_string())?.concat();
            Ok(Content::Leaves(Leaves {
                root: *root,
                first: *first,
                hashes: ByteBuf::from(hashes),
                ciphertext: ByteBuf::from(ciphertext),
            }))
        }
    }
}
