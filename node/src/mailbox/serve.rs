//! Answers to what is asked of a mailbox, and to a mailbox that fetches what it was offered. MBX-3 to MBX-5.

use std::sync::Arc;
use std::time::Duration;

use basoche_protocol::envelope::{Typ, Unsigned};
use basoche_protocol::id::{Digest, SubjectId};
use basoche_protocol::mailbox::{Answer, Offer, Receipt, Request};
use basoche_protocol::refusal::Code;
use basoche_protocol::time::Span;
use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::keep::{Admission, Keep, NotKept};
use super::{Mailboxes, read_whole};
use crate::effects::now;
use crate::faults;
use crate::network::Network;
use crate::quic::{BulkError, BulkReply, CloseCode, NodeId};
use crate::rows::KeptParcel;

/// How often expired parcels are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// Within how long an offered parcel comes.
const FETCH: Duration = Duration::from_secs(120);
/// After how long to offer again what failed here.
const RETRY: Span = Span::from_seconds(60);

impl Network {
    /// Answers a request about mailboxes.
    pub(crate) async fn answer_mailbox(self, peer: NodeId, request: Request, mut reply: BulkReply) {
        let asker = SubjectId::new(peer);
        let keep = self.mailboxes().keep().cloned();
        let answer = match (request, keep) {
            (Request::Fetch(parcel), keep) => self.parcel_for(peer, parcel, keep).await,
            (Request::Offer(offer), Some(keep)) => Some(self.take_offer(asker, offer, &keep).await.encode()),
            (Request::List(list), Some(keep)) => {
                let mut listing = keep.list(asker, list);
                faults::forge_listing(&mut listing, |parcel| keep.read(asker, parcel).ok().flatten());
                Some(listing.encode())
            }
            (Request::Taken(parcels), Some(keep)) => {
                let forgotten = tokio::task::spawn_blocking(move || match faults::mailbox_repeats() {
                    true => Ok(()),
                    false => keep.forget(asker, &parcels),
                });
                matches!(forgotten.await, Ok(Ok(()))).then(Vec::new)
            }
            // Who is no mailbox keeps nothing for anybody.
            (Request::Offer(_) | Request::List(_) | Request::Taken(_), None) => None,
        };
        let Some(answer) = answer else {
            return reply.reset(CloseCode::Aborted);
        };
        let sent = match reply.write_chunk(Bytes::from(answer)).await {
            Ok(()) => reply.finish(),
            Err(error) => Err(error),
        };
        if let Err(error @ (BulkError::Closed(_) | BulkError::Stalled)) = sent {
            tracing::debug!(peer = %asker, %error, "an answer about a mailbox was not taken");
        }
    }

    /// A parcel that was offered to `peer`, or that is kept for it.
    async fn parcel_for(&self, peer: NodeId, parcel: Digest, keep: Option<Arc<Keep>>) -> Option<Vec<u8>> {
        let offered = self.mailboxes().offered().get(&(peer, parcel)).cloned();
        if let Some(bytes) = offered {
            return Some(bytes.to_vec());
        }
        let keep = keep?;
        let asker = SubjectId::new(peer);
        let read = tokio::task::spawn_blocking(move || {
            faults::forge_parcel(&parcel, |parcel| keep.read(asker, parcel))
        });
        match read.await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => {
                tracing::error!(%error, "a parcel that is kept cannot be read");
                None
            }
            Err(_) => None,
        }
    }

    /// Fetches what is offered, keeps it, and gives the receipt.
    async fn take_offer(&self, depositor: SubjectId, offer: Offer, keep: &Arc<Keep>) -> Answer {
        let refused = |(code, retry_after): NotKept| Answer::Refused { code, retry_after };
        let busy = (Code::Busy, Span::from_seconds(1));
        if depositor == offer.addressee {
            return refused((Code::BadValue, RETRY));
        }
        let Ok(_permit) = self.mailboxes().offers.try_acquire() else {
            return refused(busy);
        };
        let parcel = match keep.admit(depositor, &offer, now()) {
            Err(not_kept) => return refused(not_kept),
            Ok(Admission::Here(parcel)) => {
                let (keep, digest) = (Arc::clone(keep), parcel.parcel);
                let again = move || keep.leave_again(&digest, depositor, now());
                match tokio::task::spawn_blocking(again).await {
                    Ok(Ok(Some(parcel))) => parcel,
                    Ok(Ok(None)) => return refused(busy),
                    Ok(Err(_)) | Err(_) => return refused((Code::Stopping, RETRY)),
                }
            }
            Ok(Admission::Room(room)) => {
                let bytes = match timeout(FETCH, self.fetch_offered(depositor, &offer)).await {
                    Ok(Ok(bytes)) => bytes,
                    Ok(Err(code)) => return refused((code, RETRY)),
                    Err(_) => return refused(busy),
                };
                match tokio::task::spawn_blocking(move || room.store(&bytes, now())).await {
                    Ok(Ok(parcel)) => parcel,
                    Ok(Err(error)) => {
                        tracing::error!(%error, "a parcel cannot be kept");
                        return refused((Code::StorageFull, RETRY));
                    }
                    Err(_) => return refused(busy),
                }
            }
        };
        match self.mailboxes().receipt(&parcel, depositor, self.own()) {
            Some(receipt) => Answer::Kept(receipt),
            None => refused((Code::Stopping, RETRY)),
        }
    }

    async fn fetch_offered(&self, depositor: SubjectId, offer: &Offer) -> Result<Vec<u8>, Code> {
        let request = Bytes::from(Request::Fetch(offer.parcel).encode());
        let most = usize::try_from(offer.size).unwrap_or(usize::MAX);
        let bytes = match self.ask(*depositor.as_bytes(), request).await {
            Ok(reply) => read_whole(reply, most).await,
            Err(error) => Err(error),
        };
        let bytes = bytes.map_err(|error| {
            tracing::debug!(peer = %depositor, %error, "an offered parcel did not come");
            Code::Busy
        })?;
        if bytes.len() as u64 == offer.size && Digest::of(&[&bytes]) == offer.parcel {
            Ok(bytes)
        } else {
            tracing::warn!(peer = %depositor, "a peer sent something else than the parcel that it offered");
            Err(Code::IdMismatch)
        }
    }

    /// Removes expired parcels for as long as the node lives, if it is a mailbox.
    pub async fn sweep_mailbox(self) {
        let Some(keep) = self.mailboxes().keep().cloned() else {
            return;
        };
        loop {
            let swept = Arc::clone(&keep);
            let swept = tokio::task::spawn_blocking(move || swept.sweep(now())).await;
            if let Ok(Err(error)) = swept {
                tracing::error!(%error, "expired parcels cannot be removed");
            }
            sleep(SWEEP).await;
        }
    }
}

impl Mailboxes {
    /// What this node signs of a parcel that it keeps.
    fn receipt(&self, parcel: &KeptParcel, depositor: SubjectId, own: SubjectId) -> Option<Vec<u8>> {
        let (_, accepted_at) = *parcel.depositors.iter().find(|(one, _)| *one == depositor)?;
        let receipt = Receipt {
            v: Receipt::VERSION,
            mailbox: own,
            depositor,
            tag: parcel.tag,
            parcel: parcel.parcel,
            size: parcel.size,
            accepted_at,
            kept_until: parcel.kept_until,
        };
        let unsigned = Unsigned::new(Typ::MailboxReceipt, &self.seal, accepted_at, receipt.encode());
        match unsigned.sign(&self.seal) {
            Ok(envelope) => Some(envelope.encode()),
            Err(_) => {
                tracing::error!("the seal does not sign");
                None
            }
        }
    }
}
