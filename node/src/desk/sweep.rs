//! Removing documents that nothing will ever ask for: taken in here and never deposited, or come half-way for a message that
//! is erased. ARCHITECTURE, *Documents that nobody names*.

use std::time::{Duration, Instant};

use basoche_protocol::dossier::Replica;
use basoche_protocol::id::Digest;
use basoche_protocol::journal::{Content, Verdict};

use super::Desk;

/// How long nothing was written of what is removed: a person has so long to sign the message of a document.
const AGE: Duration = Duration::from_secs(24 * 3600);
/// How often it is looked for.
pub(super) const EVERY: Duration = Duration::from_secs(3600);
/// When it is looked for again, if dossiers had to be read back first.
const AGAIN: Duration = Duration::from_secs(1);
/// What one sweep removes at most.
const MOST: usize = 1024;

impl Desk {
    /// Sweeps, if it is time.
    pub(super) fn sweep_when_due(&mut self) {
        if Instant::now() >= self.sweep_due {
            self.sweep_due = Instant::now() + EVERY;
            self.sweep();
        }
    }

    /// Removes what is old and loose and no journal names. The desk alone takes messages: one that names a document either
    /// came before, and the document stays, or comes after, and is told that the document is missing.
    pub(super) fn sweep(&mut self) {
        // What may still be read, or come back, may name anything.
        let unknown = |replica: &Replica| {
            let unread = |content: &Content| !matches!(content, Content::Authentic(..));
            let mut records = replica.records();
            self.engine.lacks_own(&replica.dossier())
                || records.any(|(.., one)| matches!(one.verdict, Verdict::Pending(_)) && unread(&one.content))
        };
        if self.engine.dossiers().any(unknown) {
            return;
        }
        let loose = match self.blobs.loose(AGE, MOST) {
            Ok(loose) => loose,
            Err(error) => return tracing::warn!(%error, "documents that nobody names are not looked for"),
        };
        // A dossier at rest names documents, too: it is read back first.
        if !loose.is_empty() && !self.engine.wake_all() {
            self.sweep_due = Instant::now() + AGAIN;
            return;
        }
        let mut removed = 0;
        for root in loose {
            let wanted = self.wanted.contains(&Digest::new(root));
            let done = if wanted || self.is_named(&Digest::new(root)) {
                self.blobs.keep(&root)
            } else {
                removed += 1;
                self.blobs.remove(&root)
            };
            if let Err(error) = done {
                tracing::warn!(%error, "a document that nobody names stays");
            }
        }
        if removed > 0 {
            tracing::info!(removed, "documents that nobody names are removed");
        }
    }

    /// Whether any message in any journal brings the document, with or without effect.
    fn is_named(&self, root: &Digest) -> bool {
        let mut records = self.engine.dossiers().flat_map(Replica::records);
        records.any(|(.., record)| match &record.content {
            Content::Authentic(message, _) => {
                let documents = message.body.documents();
                documents.iter().any(|document| document.root == *root)
            }
            Content::Sealed(_) | Content::Opened(_) | Content::Absent | Content::Rejected => false,
        })
    }
}
