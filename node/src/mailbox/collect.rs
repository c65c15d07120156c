//! Collecting what mailboxes keep for this node. MBX-5.
//!
//! What a mailbox sends is believed in nothing: its digest, its seal and then everything that is checked of a peer's
//! run or leaves. A parcel is given back only once what was in it is on the disk here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use basoche_protocol::document::{DocumentError, ciphertext_len};
use basoche_protocol::engine::Taken;
use basoche_protocol::error::{Error, Malformed};
use basoche_protocol::id::{Digest, SubjectId};
use basoche_protocol::mailbox::{Address, Content, Kind, Leaves, List, Listed, Listing, Parcel, Request};
use basoche_protocol::refusal::Code;
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::wire::limits;
use bytes::Bytes;
use tokio::time::timeout;

use super::read_whole;
use crate::desk::{Expected, Input};
use crate::documents::TransferError;
use crate::effects::now;
use crate::network::Network;
use crate::operator::With;

/// Bytes of a listing.
const LISTING_BYTES: usize = 64 * 1024;
/// Pages of a listing that are read in one round.
const PAGES: usize = 64;
/// Parcels that were no good and are left alone for a while.
const BAD: usize = 4096;
/// For how many rounds: a mailbox may have been mended.
const ROUNDS: u64 = 10;

/// What became of a parcel.
enum Fate {
    /// What it holds is on the disk.
    Safe,
    /// It is of use later.
    Later,
}

/// Why a parcel is no good.
enum Fault {
    /// The mailbox could not be reached, or the disk failed: the next round tries again.
    Ours(String),
    /// It is not what it should be, by this code.
    Blame(Code),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Blame(error.code())
    }
}

impl From<TransferError> for Fault {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Document(DocumentError::LeafCount { .. } | DocumentError::NoLeaf { .. }) => {
                Self::Blame(Code::BadValue)
            }
            TransferError::Document(_) => Self::Blame(Code::IdMismatch),
            TransferError::Reply(_) => Self::Blame(Code::TooLarge),
            other => Self::Ours(other.to_string()),
        }
    }
}

impl Network {
    /// Collects at every start of a connection to a mailbox, and as often as configured.
    pub async fn collect_parcels(self) {
        let every = Duration::from_secs(self.mailboxes().settings.every);
        let mut bad = BTreeMap::new();
        loop {
            for mailbox in self.mailboxes().settings.mailboxes.clone() {
                if mailbox == self.own() {
                    continue;
                }
                if let Err(Fault::Ours(error)) = self.collect(mailbox, &mut bad).await {
                    tracing::debug!(%mailbox, error, "nothing is collected from a mailbox");
                }
            }
            // Whether it is time or a mailbox has come does not matter.
            let _ = timeout(every, self.mailboxes().come.notified()).await;
        }
    }

    async fn collect(&self, mailbox: SubjectId, bad: &mut BTreeMap<Digest, Instant>) -> Result<(), Fault> {
        let mut listed = self
            .listed(mailbox)
            .await
            .inspect_err(|fault| self.blame(mailbox, fault))?;
        bad.retain(|_, until| *until > now());
        listed.retain(|one| !bad.contains_key(&one.parcel));
        if listed.is_empty() {
            return Ok(());
        }
        let ours = self.desk().ask(move |desk| desk.addressed_to_us(&listed)).await;
        let mut waiting = ours.map_err(|error| Fault::Ours(error.to_string()))?;
        // Runs first: they bring the messages that name the documents.
        waiting.sort_by_key(|(listed, _)| (listed.kind, listed.number));
        loop {
            let (mut later, mut safe) = (Vec::new(), Vec::new());
            let count = waiting.len();
            for (listed, address) in waiting {
                match self.collect_one(mailbox, &listed, &address).await {
                    Ok(Fate::Safe) => safe.push(listed.parcel),
                    Ok(Fate::Later) => later.push((listed, address)),
                    Err(fault @ Fault::Blame(_)) => {
                        self.blame(mailbox, &fault);
                        if bad.len() < BAD {
                            let pause = Span::from_seconds(self.mailboxes().settings.every * ROUNDS);
                            bad.insert(listed.parcel, now() + pause);
                        }
                    }
                    Err(ours) => {
                        self.taken(mailbox, safe).await?;
                        return Err(ours);
                    }
                }
            }
            let progress = !safe.is_empty();
            if progress {
                tracing::info!(%mailbox, parcels = safe.len(), "parcels were collected");
            }
            self.taken(mailbox, safe).await?;
            if !progress || later.is_empty() || later.len() == count {
                return Ok(());
            }
            waiting = later;
        }
    }

    fn blame(&self, mailbox: SubjectId, fault: &Fault) {
        if let Fault::Blame(code) = fault {
            self.desk().monitor().meters.refused(With::Peer, *code);
            tracing::warn!(%mailbox, code = code.name(), "a mailbox sent something else than it should");
        }
    }

    /// Everything that a mailbox keeps for us.
    async fn listed(&self, mailbox: SubjectId) -> Result<Vec<Listed>, Fault> {
        let mut listed: Vec<Listed> = Vec::new();
        for _ in 0..PAGES {
            let after = listed.last().map_or(0, |one| one.number);
            let page = self
                .ask_mailbox(mailbox, Request::List(List { after }), LISTING_BYTES)
                .await?;
            let page = Listing::decode(&page, after).map_err(Error::from)?;
            if page.parcels.is_empty() {
                break;
            }
            listed.extend(page.parcels);
        }
        Ok(listed)
    }

    async fn ask_mailbox(&self, mailbox: SubjectId, request: Request, most: usize) -> Result<Vec<u8>, Fault> {
        let reply = self
            .ask(*mailbox.as_bytes(), Bytes::from(request.encode()))
            .await?;
        Ok(read_whole(reply, most).await?)
    }

    /// Tells a mailbox what it need not keep any more.
    async fn taken(&self, mailbox: SubjectId, parcels: Vec<Digest>) -> Result<(), Fault> {
        for some in parcels.chunks(limits::PARCELS_LISTED) {
            self.ask_mailbox(mailbox, Request::Taken(some.to_vec()), 0)
                .await?;
        }
        Ok(())
    }

    async fn collect_one(
        &self,
        mailbox: SubjectId,
        listed: &Listed,
        address: &Address,
    ) -> Result<Fate, Fault> {
        let size = usize::try_from(listed.size)
            .unwrap_or(usize::MAX)
            .min(limits::PARCEL_BYTES);
        let bytes = self
            .ask_mailbox(mailbox, Request::Fetch(listed.parcel), size)
            .await?;
        if bytes.len() < size {
            return Err(Fault::Blame(Code::Truncated));
        }
        if Digest::of(&[&bytes]) != listed.parcel {
            return Err(Fault::Blame(Code::IdMismatch));
        }
        let content = Parcel::decode(&bytes)?.open(address, &listed.tag)?;
        match (content, listed.kind) {
            (Content::Run(frame), Kind::Run) => self.collect_run(mailbox, address, frame).await,
            (Content::Leaves(leaves), Kind::Leaves) => self.collect_leaves(address, leaves).await,
            _ => Err(Error::from(Malformed::bad_value()).into()),
        }
    }

    async fn collect_run(
        &self,
        mailbox: SubjectId,
        address: &Address,
        frame: Vec<u8>,
    ) -> Result<Fate, Fault> {
        let dossier = address.dossier;
        let (reply, answer) = tokio::sync::oneshot::channel();
        let asked = self
            .desk()
            .ask_about(dossier, move |desk| {
                desk.take_kept(mailbox, &dossier, &frame, reply)
            })
            .await;
        asked.map_err(|error| Fault::Ours(error.to_string()))?;
        match answer.await.map_err(|error| Fault::Ours(error.to_string()))? {
            Ok(Taken::OnFile) => Ok(Fate::Safe),
            Ok(Taken::Early) => Ok(Fate::Later),
            // It may be good for something once the registry or the dossier has changed.
            Err(error @ (Error::Refused(_) | Error::Incompatible(_))) => {
                tracing::debug!(%mailbox, code = error.code().name(), "a run stays at a mailbox");
                Ok(Fate::Later)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Puts leaves where an attempt to fetch the document puts them, so that peers send the rest.
    async fn collect_leaves(&self, address: &Address, leaves: Leaves) -> Result<Fate, Fault> {
        let (dossier, root) = (address.dossier, leaves.root);
        let found = self
            .desk()
            .ask_about(dossier, move |desk| desk.expects(&dossier, &root))
            .await;
        let reference = match found.map_err(|error| Fault::Ours(error.to_string()))? {
            Expected::Document(reference) => reference,
            Expected::Erased => return Ok(Fate::Safe),
            Expected::NotYet => return Ok(Fate::Later),
        };
        if self
            .blobs()
            .contains(root.as_bytes())
            .map_err(TransferError::from)?
        {
            return Ok(Fate::Safe);
        }
        let bytes = ciphertext_len(reference.bytes);
        let download = self.download(dossier, root, bytes).await?;
        let brought = Arc::clone(&download);
        let whole = tokio::task::spawn_blocking(move || {
            let (hashes, rest) = leaves.hashes.as_chunks::<32>();
            if !rest.is_empty() {
                return Err(TransferError::Document(DocumentError::Root));
            }
            brought.bring(hashes, leaves.first, &leaves.ciphertext)?;
            brought.leave()?;
            if brought.is_complete() {
                brought.finish()?;
                return Ok(true);
            }
            Ok(false)
        });
        let whole = whole.await.map_err(|error| Fault::Ours(error.to_string()))??;
        if whole {
            tracing::info!("a document has come from a mailbox");
        }
        let meanwhile = self.desk().ask(move |desk| desk.expects(&dossier, &root)).await;
        // What was erased meanwhile goes again, also a part of it.
        if whole || matches!(meanwhile, Ok(Expected::Erased)) {
            // The desk is gone only when the node stops; the next start finds the document where it is.
            let _ = self.desk().send(Input::Stored { roots: vec![root] }).await;
        }
        Ok(Fate::Safe)
    }
}
