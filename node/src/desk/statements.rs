//! What the node itself states about documents: that it holds them, and for whom it keeps them ready. SPEC §8.3.

use std::collections::BTreeSet;
use std::time::Instant;

use basoche_protocol::dossier::{DocumentFact, Statement};
use basoche_protocol::engine::Fresh;
use basoche_protocol::envelope::{EpochKey, Typ, Unsigned};
use basoche_protocol::id::{Digest, DossierId, KeySalt, MessageId, Salt, SubjectId};
use basoche_protocol::message::{Body, Held, MadeAvailable, Message};
use basoche_protocol::role::{Assurance, Role};

use super::{Desk, Wanted};
use crate::effects::{now, random};

/// The documents of a dossier of which all that this node has to state is stated, for so many persons and as many
/// grants of keys.
#[derive(Default)]
pub(super) struct Settled {
    persons: usize,
    grants: usize,
    documents: BTreeSet<(MessageId, Digest)>,
    /// Their plaintext bytes.
    bytes: u64,
    /// The erased documents that are seen to be gone.
    pub(super) gone: BTreeSet<(MessageId, Digest)>,
}

impl Desk {
    /// How many documents on file are held here, and their plaintext bytes; in two dossiers one counts twice.
    pub(super) fn held(&self) -> (u64, u64) {
        let count = |(documents, bytes), settled: &Settled| {
            (documents + settled.documents.len() as u64, bytes + settled.bytes)
        };
        let awake = self.settled.values().fold((0, 0), count);
        self.engine.dormant().fold(awake, |(documents, bytes), summary| {
            let (more, of_bytes) = summary.documents();
            (documents + more, bytes + of_bytes)
        })
    }

    /// All bytes of a document have come.
    pub(super) fn document_stored(&mut self, root: &Digest) {
        self.wanted.remove(root);
        self.settled.values_mut().for_each(|settled| {
            settled.gone.retain(|(_, gone)| gone != root);
        });
        let concerned = |replica: &basoche_protocol::dossier::Replica| {
            let state = replica.state();
            let mut erased = state.tombstones().flat_map(|one| &one.residual.documents);
            state.documents().any(|document| document.reference.root == *root)
                || erased.any(|document| document.root == *root)
        };
        let dossiers: Vec<_> = self
            .engine
            .dossiers()
            .filter(|replica| concerned(replica))
            .map(|replica| replica.dossier())
            .collect();
        for dossier in dossiers {
            self.settle_documents(dossier);
        }
    }

    /// States what has become true of a dossier's documents, and asks for those that are missing.
    pub(super) fn settle_documents(&mut self, dossier: DossierId) {
        self.erase_documents(dossier);
        // What it stated before it lost its store is on its way: it need not state that again.
        if self.awaits_own.is_some() && self.engine.lacks_own(&dossier) {
            return;
        }
        let Some(replica) = self.engine.dossier(&dossier) else {
            return;
        };
        let state = replica.state();
        let settled = self.settled.entry(dossier).or_default();
        let (persons, grants) = (state.roster().len(), state.grant_count());
        if (settled.persons, settled.grants) != (persons, grants) {
            *settled = Settled {
                persons,
                grants,
                gone: std::mem::take(&mut settled.gone),
                ..Settled::default()
            };
        }
        let node = self.engine.node();
        let served: Vec<_> = state
            .roster()
            .into_iter()
            .filter(|(_, member)| member.node == node)
            .map(|(subject, _)| subject)
            .collect();
        let (mut bodies, mut wanted, mut held) = (Vec::new(), Vec::new(), Vec::new());
        for document in state.documents() {
            let (deposit, root) = (document.deposit, document.reference.root);
            if settled.documents.contains(&(deposit, root)) {
                continue;
            }
            if !self.blobs.contains(root.as_bytes()).unwrap_or(false) {
                wanted.push(document.clone());
                continue;
            }
            settled.documents.insert((deposit, root));
            held.push(document.clone());
            settled.bytes += document.reference.bytes;
            if state.stated(Statement::Held, document, &node).is_none() {
                bodies.push(Body::Held(Held {
                    ext: None,
                    deposit,
                    root,
                }));
            }
            // What somebody has no key for is not at their disposal: it is once a recipient has handed the key on.
            let recipients = state.recipients(document);
            let addressees: Vec<SubjectId> = served
                .iter()
                .filter(|one| {
                    recipients
                        .as_ref()
                        .is_none_or(|recipients| recipients.contains(one))
                })
                .filter(|one| state.stated(Statement::MadeAvailable, document, one).is_none())
                .copied()
                .collect();
            if !addressees.is_empty() {
                bodies.push(Body::MadeAvailable(MadeAvailable {
                    ext: None,
                    deposit,
                    root,
                    addressees,
                }));
            }
        }
        bodies.extend(self.barriers_to_sign(replica));
        for document in wanted {
            self.want(dossier, document);
        }
        for document in held {
            // It is not loose any more; if it cannot be noted now, the next sweep does.
            let _ = self.blobs.keep(document.reference.root.as_bytes());
            self.examine(dossier, &document);
        }
        for body in bodies {
            self.state(dossier, body);
        }
    }

    /// Does without what has not come back by now: whoever claims it falsely must not keep this node silent.
    pub(super) fn await_own_no_longer(&mut self) {
        if self.awaits_own.is_some_and(|bound| Instant::now() >= bound) {
            self.awaits_own = None;
            self.settle_all();
        }
    }

    /// [`Self::settle_documents`] of every dossier.
    pub(super) fn settle_all(&mut self) {
        let dossiers: Vec<_> = self.engine.dossiers().map(|replica| replica.dossier()).collect();
        for dossier in dossiers {
            self.settle_documents(dossier);
        }
    }

    /// Asks the nodes that may have a document for it, the depositor's first.
    fn want(&mut self, dossier: DossierId, document: DocumentFact) {
        if !self.wanted.insert(document.reference.root) {
            return;
        }
        let Some(replica) = self.engine.dossier(&dossier) else {
            return;
        };
        let state = replica.state();
        let roster = state.roster();
        let first = roster.get(&document.author).map(|member| member.node);
        let mut sources: Vec<_> = first.into_iter().collect();
        sources.extend(state.nodes().into_iter().filter(|node| Some(*node) != first));
        sources.retain(|node| *node != self.engine.node());
        self.outside.want(Wanted {
            dossier,
            document,
            sources,
        });
    }

    /// Signs and submits a statement of this node, through the same door as everybody's messages.
    pub(super) fn state(&mut self, dossier: DossierId, body: Body) {
        let message = Message {
            dossier: Some(dossier),
            author: self.engine.node(),
            role: Role::Node,
            assurance: Assurance::Seal,
            class: body.message_type().readers(),
            refs: Vec::new(),
            salt: Salt::new(random()),
            body,
        };
        let at = now();
        let fresh = Fresh {
            seal_salt: KeySalt::new(random()),
            epoch_key: EpochKey::new(random()),
        };
        let signed = Unsigned::new(Typ::Message, &self.seal, at, message.encode()).sign(&self.seal);
        let Ok(envelope) = signed else {
            tracing::error!("the seal does not sign");
            return;
        };
        match self.engine.prepare(&envelope.encode(), &fresh, at, &|_| true) {
            // The keeper of the roster hands out with its next entry what others lack. KEY-2.
            Ok(needs) => match super::wraps(&needs) {
                Ok(wraps) => {
                    self.engine.submit(needs, wraps, &fresh, at);
                }
                Err(error) => tracing::error!(%error, "a key could not be wrapped"),
            },
            Err(error) => tracing::warn!(code = error.code().name(), "our own statement was refused"),
        }
    }
}
