//! What the node itself states about documents: that it holds them, and for whom it keeps them ready. SPEC §8.3.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use basoche_protocol::document::ciphertext_len;
use basoche_protocol::dossier::{DocumentFact, Replica, State, Statement};
use basoche_protocol::engine::Fresh;
use basoche_protocol::envelope::{EpochKey, Typ, Unsigned};
use basoche_protocol::id::{Digest, DossierId, KeySalt, MessageId, Salt, SubjectId};
use basoche_protocol::message::{Body, Held, MadeAvailable, Message, Stated};
use basoche_protocol::role::{Assurance, Role};
use basoche_protocol::wire::limits;

use super::Desk;
use crate::documents::Want;
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

    /// All bytes of some documents have come, or they are awaited no more.
    pub(super) fn documents_stored(&mut self, roots: &[Digest]) {
        let roots: BTreeSet<_> = roots.iter().copied().collect();
        self.wanted.retain(|root| !roots.contains(root));
        self.settled.values_mut().for_each(|settled| {
            settled.gone.retain(|(_, gone)| !roots.contains(gone));
        });
        let concerned = |replica: &Replica| {
            let state = replica.state();
            let mut erased = state.tombstones().flat_map(|one| &one.residual.documents);
            state
                .documents()
                .any(|document| roots.contains(&document.reference.root))
                || erased.any(|document| roots.contains(&document.root))
        };
        let dossiers: Vec<_> = self
            .engine
            .dossiers()
            .filter(|replica| concerned(replica))
            .map(Replica::dossier)
            .collect();
        for dossier in dossiers {
            self.settle_documents(dossier);
        }
    }

    /// Who says that it holds each of these documents: dossier, deposit and root. `None` for one that is not on file any
    /// more: it was erased.
    pub fn holders(
        &self,
        documents: &[(DossierId, MessageId, Digest)],
    ) -> Vec<(Digest, Option<BTreeSet<SubjectId>>)> {
        let mut nodes = BTreeMap::new();
        let mut found = Vec::with_capacity(documents.len());
        for (dossier, deposit, root) in documents {
            let Some(replica) = self.engine.dossier(dossier) else {
                continue;
            };
            let state = replica.state();
            let nodes = nodes.entry(*dossier).or_insert_with(|| state.nodes());
            let holders = state.document(deposit, root).map(|document| {
                let holds = |node: &&SubjectId| state.stated(Statement::Held, document, node).is_some();
                nodes.iter().filter(holds).copied().collect()
            });
            found.push((*root, holders));
        }
        found
    }

    /// Which of these documents are on file in a dossier, in their order; `None` if `asker` is no member of it.
    pub fn on_file(
        &self,
        dossier: &DossierId,
        asker: &SubjectId,
        roots: Vec<Digest>,
    ) -> Option<Vec<Option<Digest>>> {
        let state = self.engine.dossier(dossier)?.state();
        if !state.nodes().contains(asker) {
            return None;
        }
        let asked: BTreeSet<_> = roots.iter().copied().collect();
        let documents = state.documents().map(|document| document.reference.root);
        let here: BTreeSet<_> = documents.filter(|root| asked.contains(root)).collect();
        Some(
            roots
                .into_iter()
                .map(|root| Some(root).filter(|root| here.contains(root)))
                .collect(),
        )
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
        // Ascending, as the documents are.
        let (mut held, mut stated, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
        let mut available: BTreeMap<Vec<SubjectId>, Vec<Stated>> = BTreeMap::new();
        for document in state.documents() {
            let (deposit, root) = (document.deposit, document.reference.root);
            if settled.documents.contains(&(deposit, root)) || self.wanted.contains(&root) {
                continue;
            }
            if !self.blobs.contains(root.as_bytes()).unwrap_or(false) {
                wanted.push(document);
                continue;
            }
            settled.documents.insert((deposit, root));
            held.push(document.clone());
            settled.bytes += document.reference.bytes;
            if state.stated(Statement::Held, document, &node).is_none() {
                stated.push(Stated { deposit, root });
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
                available
                    .entry(addressees)
                    .or_default()
                    .push(Stated { deposit, root });
            }
        }
        let mut bodies = statements(stated, available);
        bodies.extend(self.barriers_to_sign(replica));
        let wants = wants(state, dossier, node, &wanted);
        for want in wants {
            let root = want.root;
            if !self.outside.want(want) {
                tracing::warn!("many documents are awaited; more are asked for once some have come");
                break;
            }
            self.wanted.insert(root);
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

/// Documents to be asked for, the depositor's node first of those that may have them.
fn wants(state: &State, dossier: DossierId, own: SubjectId, documents: &[&DocumentFact]) -> Vec<Want> {
    if documents.is_empty() {
        return Vec::new();
    }
    let (roster, nodes) = (state.roster(), state.nodes());
    let mut by_first: BTreeMap<Option<SubjectId>, Arc<[SubjectId]>> = BTreeMap::new();
    let want = |document: &&DocumentFact| {
        let first = roster.get(&document.author).map(|member| member.node);
        let first = first.filter(|node| *node != own);
        let sources = by_first.entry(first).or_insert_with(|| {
            let others = nodes.iter().filter(|node| **node != own && Some(**node) != first);
            first.iter().chain(others).copied().collect()
        });
        Want {
            dossier,
            deposit: document.deposit,
            root: document.reference.root,
            bytes: ciphertext_len(document.reference.bytes),
            sources: Arc::clone(sources),
        }
    };
    documents.iter().map(want).collect()
}

/// What is to be stated, in as few messages as may be.
fn statements(held: Vec<Stated>, available: BTreeMap<Vec<SubjectId>, Vec<Stated>>) -> Vec<Body> {
    let mut bodies = Vec::new();
    for documents in held.chunks(limits::LIST_ITEMS) {
        if let [Stated { deposit, root }, more @ ..] = documents {
            bodies.push(Body::Held(Held {
                ext: None,
                deposit: *deposit,
                root: *root,
                more: more.to_vec(),
            }));
        }
    }
    for (addressees, documents) in &available {
        for documents in documents.chunks(limits::LIST_ITEMS) {
            if let [Stated { deposit, root }, more @ ..] = documents {
                bodies.push(Body::MadeAvailable(MadeAvailable {
                    ext: None,
                    deposit: *deposit,
                    root: *root,
                    addressees: addressees.clone(),
                    more: more.to_vec(),
                }));
            }
        }
    }
    bodies
}
