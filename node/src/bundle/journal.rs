//! The journal of a bundle: runs taken through the protocol's one door, every head held against what they gave.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use basoche_protocol::dossier::{OpenedItem, Received, Replica};
use basoche_protocol::envelope::Envelope;
use basoche_protocol::error::{Error, Untrusted};
use basoche_protocol::id::{Digest, MessageId};
use basoche_protocol::journal::{Entry, HeadRow, RegistryHead, SignedHead, Standing as Stands};
use basoche_protocol::wire::limits;
use basoche_registry::Replica as Registry;

use super::Run;
use super::layout::{self, head_name, message_name, run_name};
use super::members::Members;
use super::report::Claims;
use super::timeline::Receipts;

/// Which member holds the message of an entry: the first signature seen of a message has the plain name.
#[derive(Debug, Default)]
pub(super) struct MessageNames(BTreeMap<MessageId, Digest>);

impl MessageNames {
    pub(super) fn name(&mut self, entry: &Entry) -> String {
        let first = self.0.entry(entry.message).or_insert(entry.envelope_digest);
        let other = (*first != entry.envelope_digest).then_some(&entry.envelope_digest);
        message_name(&entry.message, other)
    }
}

/// What a verified head says, and which member says it.
struct Standing {
    member: String,
    rows: Vec<HeadRow>,
    registries: Vec<RegistryHead>,
}

/// The journal, as far as the evidence gives it.
pub(super) struct Journal {
    pub(super) replica: Replica,
    pub(super) receipts: Receipts,
    /// The member of each entry's message, by leaf hash.
    pub(super) names: BTreeMap<Digest, String>,
    heads: Vec<Standing>,
}

/// Reads runs and heads. `None` where not even a first run is readable: then no dossier is known.
pub(super) fn read<R: Read + Seek>(
    members: &mut Members<'_, R>,
    registry: &Registry,
    claims: &mut Claims,
) -> Option<Journal> {
    let mut journal: Option<Journal> = None;
    let mut names = MessageNames::default();
    let mut index = 0;
    while members.contains(&run_name(index)) || (index == 0 && members.is_whole()) {
        let name = run_name(index);
        index += 1;
        let Some(bytes) = members.read(&name, layout::RUN_BYTES, "journal", claims) else {
            continue;
        };
        match decode(&bytes) {
            Ok((run, entries)) => {
                let dossier = entries[0].dossier;
                let journal = journal.get_or_insert_with(|| Journal::new(Replica::new(dossier)));
                journal.take_run(&name, &run, entries, &mut names, members, registry, claims);
            }
            Err(error) => claims.contradicted("journal", error.code().name(), &name, error.to_string()),
        }
    }
    let mut journal = journal?;
    journal.read_heads(members, registry, claims);
    journal.compare_heads(registry, claims);
    Some(journal)
}

/// A run and its entries, of which there is at least one.
pub(super) fn decode(bytes: &[u8]) -> Result<(Run, Vec<Entry>), Error> {
    let run = Run::decode(bytes)?;
    let entries = run.entries.iter().map(|entry| Entry::decode(entry));
    let entries: Vec<_> = entries.collect::<Result<_, _>>()?;
    if entries.is_empty() || entries.iter().any(|entry| entry.chain != run.chain) {
        let what = "a run without entries, or with those of another chain";
        return Err(Untrusted::HeadMismatch { what }.into());
    }
    Ok((run, entries))
}

impl Journal {
    pub(super) fn new(replica: Replica) -> Self {
        Self {
            replica,
            receipts: Receipts::default(),
            names: BTreeMap::new(),
            heads: Vec::new(),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn take_run<R: Read + Seek>(
        &mut self,
        member: &str,
        run: &Run,
        entries: Vec<Entry>,
        names: &mut MessageNames,
        members: &mut Members<'_, R>,
        registry: &Registry,
        claims: &mut Claims,
    ) {
        let id = format!("journal:{}", run.chain.node);
        let head = match SignedHead::verify(&run.head, registry) {
            Ok(head) => head,
            Err(error) => return disbelieve(claims, id, member, &error),
        };
        let mut items = Vec::with_capacity(entries.len());
        for entry in entries {
            let name = names.name(&entry);
            let envelope = read_message(members, &name, &entry, claims);
            self.names.insert(entry.leaf(), name);
            items.push(OpenedItem { entry, envelope });
        }
        // What a node would refuse from a peer: the journal of somebody who is no member. With messages missing,
        // who is a member is not known.
        let founded = self.replica.state().designation().is_some() && self.replica.pending() == 0;
        let node = run.chain.node;
        if founded
            && self.replica.chain(&run.chain).is_none()
            && !self.replica.state().nodes().contains(&node)
        {
            let what = format!("{node} is no member of the dossier");
            claims.contradicted(id, "not-participant", member, what);
            return;
        }
        match self.replica.receive_opened(&items, &head, registry) {
            Ok(Received::Applied { .. }) => self.note(member, &head),
            Ok(Received::Known) => {
                claims.contradicted(
                    id,
                    "head-mismatch",
                    member,
                    "the run adds nothing to those before it",
                );
            }
            Ok(Received::Early) => {
                let what = "an entry before it, or one that it cites, is not in the runs before it";
                claims.undetermined(id, "gap", Some(member), what);
            }
            Ok(Received::Elsewhere) => {
                let what = "it goes on from a history of the chain that is not in the runs before it";
                claims.undetermined(id, "gap", Some(member), what);
            }
            Err(error) => disbelieve(claims, id, member, &error),
        }
    }

    /// Keeps what a verified head says.
    fn note(&mut self, member: &str, head: &SignedHead) {
        self.receipts.note(head.head());
        self.heads.push(Standing {
            member: member.to_owned(),
            rows: head.head().rows.clone(),
            registries: head.head().registries.clone(),
        });
    }

    fn read_heads<R: Read + Seek>(
        &mut self,
        members: &mut Members<'_, R>,
        registry: &Registry,
        claims: &mut Claims,
    ) {
        let names: Vec<_> = members
            .names()
            .filter(|name| name.starts_with("heads/"))
            .map(str::to_owned)
            .collect();
        for name in names {
            let before = claims.failures();
            let Some(bytes) = members.read(&name, limits::ENVELOPE_BYTES, "head", claims) else {
                continue;
            };
            let head = match SignedHead::verify(&bytes, registry) {
                Ok(head) => head,
                Err(error) => {
                    disbelieve(claims, "head".into(), &name, &error);
                    continue;
                }
            };
            let (node, dossier) = (head.head().node, head.head().dossier);
            let id = format!("head:{node}");
            if name != head_name(&node) || dossier != self.replica.dossier() {
                let what = "the head of another node or dossier than its name states";
                claims.contradicted(id, "head-mismatch", &name, what);
                continue;
            }
            self.note(&name, &head);
            self.replica.note_head(&head);
            if claims.failures() == before {
                let rows = head.head().rows.iter();
                let covered: u64 = rows.map(|row| row.size).sum();
                let what = format!(
                    "{node} stood by {covered} entries at {}: its receipt",
                    head.head().time
                );
                claims.proved(id, Some(&name), what);
            }
        }
    }

    /// Every row of every head is a beginning of what the runs give, and the registry is one that the heads saw.
    fn compare_heads(&self, registry: &Registry, claims: &mut Claims) {
        let mut gaps = BTreeMap::new();
        let mut logs = BTreeMap::new();
        for head in &self.heads {
            for row in &head.rows {
                let chains = self.replica.chains();
                let root = |branch| {
                    let chain = chains.get(branch);
                    chain
                        .and_then(|chain| chain.tree().root_at(row.size))
                        .map(Digest::new)
                };
                match chains.standing(row) {
                    Stands::Held(branch) if root(&branch) == Some(row.root) => {}
                    Stands::Ahead => {
                        let held = chains.of(&row.chain).map(|(_, chain)| chain.size()).max();
                        let held = held.unwrap_or(0);
                        let gap = gaps.entry(row.chain).or_insert((row.size, held, &head.member));
                        if row.size > gap.0 {
                            *gap = (row.size, held, &head.member);
                        }
                    }
                    Stands::Held(_) | Stands::Contradicts => {
                        let id = format!("journal:{}", row.chain.node);
                        let what = "this head covers another history of the chain than the runs";
                        claims.contradicted(id, "fork", &head.member, what);
                    }
                }
            }
            for log in &head.registries {
                // A log that the exporting node does not know signs for nobody in this bundle.
                let Some(tree) = registry.tree(&log.origin) else {
                    continue;
                };
                let id = format!("registry:{}", log.origin);
                if log.size > tree.size() {
                    let gap = logs
                        .entry(id)
                        .or_insert_with(|| (log.size, tree.size(), &head.member));
                    gap.0 = gap.0.max(log.size);
                } else if tree.root_at(log.size).map(Digest::new) != Some(log.root) {
                    let what = "this head saw another history of the log than the bundle's";
                    claims.contradicted(id, "fork", &head.member, what);
                }
            }
        }
        for (chain, (size, held, member)) in gaps {
            let what = format!(
                "entries {held} to {} of chain {chain:?} exist and are not here",
                size - 1
            );
            claims.undetermined(format!("journal:{}", chain.node), "gap", Some(member), what);
        }
        for (id, (size, held, member)) in logs {
            let what = format!("entries {held} to {} of the log exist and are not here", size - 1);
            claims.undetermined(id, "gap", Some(member), what);
        }
    }
}

/// The message that `entry` records. One that is not what the entry says is as good as absent.
fn read_message<R: Read + Seek>(
    members: &mut Members<'_, R>,
    name: &str,
    entry: &Entry,
    claims: &mut Claims,
) -> Option<Envelope> {
    if !members.contains(name) {
        return None;
    }
    let id = format!("message:{}", entry.message);
    let bytes = members.read(name, layout::JWS_BYTES, &id, claims)?;
    let text = std::str::from_utf8(&bytes).ok();
    let envelope = text.map(Envelope::from_jws).and_then(Result::ok);
    let Some(envelope) = envelope else {
        claims.contradicted(id, "malformed", name, "not a compact JWS of the one form");
        return None;
    };
    if envelope.id() != entry.message || envelope.digest() != entry.envelope_digest {
        let what = "not the message whose digest the journal records";
        claims.contradicted(id, "id-mismatch", name, what);
        return None;
    }
    Some(envelope)
}

/// A signer whom the registry does not know proves nothing; anything else contradicts.
fn disbelieve(claims: &mut Claims, id: String, member: &str, error: &Error) {
    let code = error.code().name();
    match error {
        Error::Untrusted(Untrusted::UnknownSigner { .. }) => {
            claims.undetermined(id, code, Some(member), error.to_string());
        }
        _ => claims.contradicted(id, code, member, error.to_string()),
    }
}
