//! Who held, was given and opened what, and when: derived from the journal alone.

use std::collections::{BTreeMap, BTreeSet};

use basoche_protocol::dossier::{DocumentFact, Phase, Replica, Statement, Tombstone};
use basoche_protocol::id::{Digest, DossierId, Incarnation, MessageId, SubjectId};
use basoche_protocol::journal::{Branch, ChainId, Content, Head, HeadRow, Need, Record, Verdict};
use basoche_protocol::message::{Body, ErasedDocument, Extent, Finding, MessageType, Stated};
use basoche_protocol::role::{Class, Role};
use basoche_protocol::time::Instant;
use basoche_registry::Replica as Registry;
use serde::Serialize;

/// By which instant each node had stood by how much of each chain, by all heads of the evidence.
#[derive(Debug, Default)]
pub(super) struct Receipts(BTreeMap<(ChainId, SubjectId), Vec<(HeadRow, Instant)>>);

impl Receipts {
    pub(super) fn note(&mut self, head: &Head) {
        for row in &head.rows {
            let known = self.0.entry((row.chain, head.node)).or_default();
            // A head that covers no more, and is no earlier, tells nothing new.
            let mut last = known.iter().rev().take(2);
            if !last.any(|(known, time)| known.leaf == row.leaf && *time <= head.time) {
                known.push((*row, head.time));
            }
        }
    }

    /// The nodes other than the writer that hold entry `seq` of a branch, with the earliest head that says so.
    pub(super) fn of(&self, replica: &Replica, branch: &Branch, seq: u64) -> Vec<Dated> {
        let (chains, chain) = (replica.chains(), branch.chain);
        let (first, last) = (SubjectId::new([0; 16]), SubjectId::new([0xff; 16]));
        let nodes = self.0.range((chain, first)..=(chain, last));
        let others = nodes.filter(|((_, node), _)| *node != chain.node);
        let forked = chains.fork(&chain).is_some();
        let covers = |row: &HeadRow| row.size > seq && (!forked || chains.known_by(branch, &[*row]) > seq);
        let earliest = |heads: &[(HeadRow, Instant)]| {
            let covering = heads.iter().filter(|(row, _)| covers(row));
            covering.map(|(_, time)| *time).min()
        };
        others
            .filter_map(|((_, node), heads)| {
                Some(Dated {
                    subject: *node,
                    at: earliest(heads)?.to_string(),
                })
            })
            .collect()
    }
}

/// Somebody, and since when.
#[derive(Debug, Serialize)]
pub(super) struct Dated {
    pub(super) subject: SubjectId,
    /// RFC 3339.
    pub(super) at: String,
}

/// `summary.json`.
#[derive(Debug, Serialize)]
struct Summary {
    v: u64,
    dossier: DossierId,
    phase: Phase,
    state_hash: Digest,
    authorities: Vec<AuthorityRow>,
    frontier: Vec<FrontierRow>,
    roster: Vec<RosterRow>,
    messages: Vec<MessageRow>,
    documents: Vec<DocumentRow>,
}

#[derive(Debug, Serialize)]
struct AuthorityRow {
    origin: String,
    test: bool,
    entries: u64,
}

#[derive(Debug, Serialize)]
struct FrontierRow {
    node: SubjectId,
    incarnation: Incarnation,
    size: u64,
    root: Digest,
}

#[derive(Debug, Serialize)]
struct RosterRow {
    subject: SubjectId,
    role: Role,
    node: SubjectId,
}

/// `erased/….json`: what stays of an erased message. SPEC §6.18.
#[derive(Debug, Serialize)]
struct TombstoneRow<'a> {
    v: u64,
    message: MessageId,
    erased: Extent,
    #[serde(rename = "type")]
    message_type: MessageType,
    author: SubjectId,
    documents: &'a [ErasedDocument],
    order: MessageId,
    ordered_at: String,
}

#[derive(Debug, Serialize)]
struct MessageRow {
    id: MessageId,
    #[serde(rename = "type")]
    message_type: Option<MessageType>,
    author: Option<SubjectId>,
    role: Option<Role>,
    recorded_by: SubjectId,
    recorded_at: String,
    effect: &'static str,
    code: Option<&'static str>,
    /// The milestone outside of whose frontier it lies. BAR-4.
    after: Option<MessageId>,
    /// The order that erased it.
    #[serde(skip_serializing_if = "Option::is_none")]
    erased_by: Option<MessageId>,
    received_by: Vec<Dated>,
}

/// A document, with the three facts that are never merged: deposited, available, opened. SPEC §8.3.
#[derive(Debug, Serialize)]
pub(super) struct DocumentRow {
    root: Digest,
    name: String,
    media_type: String,
    bytes: u64,
    class: Class,
    deposit: MessageId,
    author: SubjectId,
    deposited_at: String,
    held: Vec<Dated>,
    addressees: Vec<AddresseeRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contested: Vec<ContestedRow>,
}

#[derive(Debug, Serialize)]
struct ContestedRow {
    node: SubjectId,
    finding: Finding,
    segment: Option<u64>,
    at: String,
}

#[derive(Debug, Serialize)]
struct AddresseeRow {
    subject: SubjectId,
    available_at: Option<String>,
    opened_at: Option<String>,
}

/// Whether a message took effect, in a word, and the code if it did not.
pub(super) fn effect(record: &Record) -> (&'static str, Option<&'static str>) {
    match record.verdict {
        Verdict::Effective => ("effective", None),
        Verdict::WithoutEffect(code) => ("without-effect", Some(code.name())),
        Verdict::Pending(Need::Key(_) | Need::Message(_)) => ("pending", Some("message-absent")),
        Verdict::Pending(Need::Signer(_)) => ("pending", Some("unknown-signer")),
        Verdict::Pending(Need::Settlement(_)) => ("pending", Some("fork-unsettled")),
    }
}

/// The documents on file, in the order of their deposit; the first of several deposits of one document first.
pub(super) fn documents(replica: &Replica) -> Vec<&DocumentFact> {
    let mut documents: Vec<_> = replica.state().documents().collect();
    documents.sort_by_key(|document| (document.deposited_at, document.deposit, document.reference.root));
    documents
}

/// Whom the messages of each document name: also those who have left the roster since.
#[derive(Debug, Default)]
pub(super) struct Named {
    holders: BTreeMap<(MessageId, Digest), BTreeSet<SubjectId>>,
    readers: BTreeMap<(MessageId, Digest), BTreeSet<SubjectId>>,
}

impl Named {
    pub(super) fn new(replica: &Replica) -> Self {
        let mut named = Self::default();
        for (_, _, record) in replica.records() {
            let Content::Authentic(message, _) = &record.content else {
                continue;
            };
            match &message.body {
                Body::Held(held) => {
                    for Stated { deposit, root } in held.stated() {
                        let holders = named.holders.entry((deposit, root)).or_default();
                        holders.insert(message.author);
                    }
                }
                Body::MadeAvailable(made) => {
                    for Stated { deposit, root } in made.stated() {
                        let readers = named.readers.entry((deposit, root)).or_default();
                        readers.extend(&made.addressees);
                    }
                }
                Body::Opening(opening) => {
                    let readers = named.readers.entry((opening.deposit, opening.root)).or_default();
                    readers.insert(opening.reader);
                }
                Body::Designation(_)
                | Body::Acceptance(_)
                | Body::Decline(_)
                | Body::RosterChange(_)
                | Body::ProvisionPaid(_)
                | Body::ExhibitDeposit(_)
                | Body::Dire(_)
                | Body::PreReport(_)
                | Body::Report(_)
                | Body::FeeClaim(_)
                | Body::FeeOrder(_)
                | Body::CloseDossier(_)
                | Body::ForkSettled(_)
                | Body::Erasure(_)
                | Body::LegalHold(_)
                | Body::Contestation(_)
                | Body::KeyGrant(_)
                | Body::Barrier(_)
                | Body::BarrierHeld(_)
                | Body::Gap(_)
                | Body::PartyEnrolment(_)
                | Body::KeyRevocation(_)
                | Body::HandOver(_) => {}
            }
        }
        named
    }

    /// What is known of one document.
    pub(super) fn row(&self, replica: &Replica, document: &DocumentFact) -> DocumentRow {
        let state = replica.state();
        let key = (document.deposit, document.reference.root);
        let stated = |statement, who: &SubjectId| {
            let at = state.stated(statement, document, who)?;
            Some(at.to_string())
        };
        let held = self.holders.get(&key).into_iter().flatten().filter_map(|node| {
            let at = stated(Statement::Held, node)?;
            Some(Dated { subject: *node, at })
        });
        let mut readers = self.readers.get(&key).cloned().unwrap_or_default();
        readers.extend(state.roster().into_keys());
        let addressees = readers.into_iter().map(|subject| AddresseeRow {
            subject,
            available_at: stated(Statement::MadeAvailable, &subject),
            opened_at: stated(Statement::Opened, &subject),
        });
        let reference = &document.reference;
        let contested = state.contested(&document.deposit, &reference.root);
        let contested = contested.map(|(node, finding, contested)| ContestedRow {
            node,
            finding,
            segment: contested.segment,
            at: contested.at.to_string(),
        });
        DocumentRow {
            root: reference.root,
            name: reference.name.clone(),
            media_type: reference.media_type.clone(),
            bytes: reference.bytes,
            class: reference.class(),
            deposit: document.deposit,
            author: document.author,
            deposited_at: document.deposited_at.to_string(),
            held: held.collect(),
            addressees: addressees.collect(),
            contested: contested.collect(),
        }
    }
}

impl DocumentRow {
    /// The dated facts in a sentence, for a report.
    pub(super) fn describe(&self) -> String {
        let dated = |all: &[Dated]| match all {
            [] => "nobody".to_owned(),
            all => {
                let each = all.iter().map(|one| format!("{} at {}", one.subject, one.at));
                each.collect::<Vec<_>>().join(", ")
            }
        };
        let facts = |fact: fn(&AddresseeRow) -> Option<&String>| {
            let dated_ones = self.addressees.iter().filter_map(|one| {
                Some(Dated {
                    subject: one.subject,
                    at: fact(one)?.clone(),
                })
            });
            dated(&dated_ones.collect::<Vec<_>>())
        };
        format!(
            "{}, {} bytes, deposited at {} by {}; held by {}; made available to {}; opened by {}",
            self.name,
            self.bytes,
            self.deposited_at,
            self.author,
            dated(&self.held),
            facts(|one| one.available_at.as_ref()),
            facts(|one| one.opened_at.as_ref()),
        )
    }
}

/// The bytes of a tombstone's member: a function of the journal alone.
pub(super) fn tombstone(tombstone: &Tombstone<'_>) -> Vec<u8> {
    let row = TombstoneRow {
        v: 1,
        message: tombstone.target,
        erased: tombstone.extent,
        message_type: tombstone.residual.act,
        author: tombstone.residual.author,
        documents: &tombstone.residual.documents,
        order: tombstone.by,
        ordered_at: tombstone.at.to_string(),
    };
    to_json(&row)
}

/// The bytes of `summary.json`: a function of the journal and the registry. Byte for byte the same wherever it is
/// derived; version 1 of it never changes.
pub(super) fn summary(replica: &Replica, receipts: &Receipts, registry: &Registry) -> Vec<u8> {
    let state = replica.state();
    let named = Named::new(replica);
    let authorities = registry.anchors().authorities().iter();
    let frontier = replica.frontier().into_iter();
    let messages = replica
        .records()
        .map(|(branch, seq, record)| message_row(replica, branch, seq, record, receipts));
    let summary = Summary {
        v: 1,
        dossier: replica.dossier(),
        phase: state.phase(),
        state_hash: state.hash(),
        authorities: authorities
            .map(|authority| AuthorityRow {
                origin: authority.origin().to_owned(),
                test: authority.is_test(),
                entries: registry.tree(authority.origin()).map_or(0, |tree| tree.size()),
            })
            .collect(),
        frontier: frontier
            .map(|row| FrontierRow {
                node: row.chain.node,
                incarnation: row.chain.incarnation,
                size: row.size,
                root: row.root,
            })
            .collect(),
        roster: state
            .roster()
            .into_iter()
            .map(|(subject, member)| RosterRow {
                subject,
                role: member.role,
                node: member.node,
            })
            .collect(),
        messages: messages.collect(),
        documents: documents(replica)
            .into_iter()
            .map(|document| named.row(replica, document))
            .collect(),
    };
    to_json(&summary)
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    // Unwrap safety: texts and numbers in memory.
    #[allow(clippy::expect_used)]
    let mut json = serde_json::to_vec_pretty(value).expect("encoding to memory");
    json.push(b'\n');
    json
}

fn message_row(
    replica: &Replica,
    branch: Branch,
    seq: u64,
    record: &Record,
    receipts: &Receipts,
) -> MessageRow {
    let message = match &record.content {
        Content::Authentic(message, _) => Some(message),
        Content::Sealed(_) | Content::Opened(_) | Content::Absent | Content::Rejected => None,
    };
    let (effect, code) = effect(record);
    let tombstone = replica.state().erased_by(&record.message);
    let tombstone = tombstone.filter(|one| one.extent == Extent::Message);
    let residual = tombstone.map(|one| one.residual);
    MessageRow {
        id: record.message,
        message_type: message
            .map(|message| message.message_type())
            .or_else(|| residual.map(|residual| residual.act)),
        author: message
            .map(|message| message.author)
            .or_else(|| residual.map(|residual| residual.author)),
        role: message.map(|message| message.role),
        recorded_by: branch.chain.node,
        recorded_at: record.recorded_at.to_string(),
        effect,
        code,
        after: replica.state().after(&record.message),
        erased_by: tombstone.map(|one| one.by),
        received_by: receipts.of(replica, &branch, seq),
    }
}
