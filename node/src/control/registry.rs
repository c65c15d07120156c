//! What the registry says, as the control socket shows it.

use std::sync::Arc;
use std::time::Duration;

use basoche_protocol::engine::{Imported, Registry};
use basoche_protocol::error::Error;
use basoche_protocol::id::SubjectId;
use basoche_protocol::text::{b64url_decode, b64url_encode};
use basoche_protocol::time::Instant;
use basoche_registry::entry::Competence;
use basoche_registry::log::{Checkpoint, Note};
use basoche_registry::search::Query;
use basoche_registry::{EntryFile, Inadmissible, NodeInfo, PersonInfo, Replica};

use super::server::{failure, of_refusal, of_submit};
use super::{Answer, CheckpointView, EntryView, LINE_BYTES, RegistryView, SUBJECTS, SeenView, SubjectView};
use crate::desk::{Desk, DeskHandle, worth};
use crate::effects::now;

/// How often, and after how long each time, an import is tried again where another history has to give way first.
const GIVES_WAY_TRIES: u32 = 20;
const GIVES_WAY: Duration = Duration::from_millis(100);

/// How far each log is held.
pub(super) fn all(desk: &Desk) -> Answer {
    let registry = desk.engine().registry();
    let registries = desk.registries().into_iter().map(|head| {
        let published = registry.published(&head.origin);
        let age = desk.age(&head.origin);
        RegistryView {
            seen_at: age.map(|(at, _)| at.to_string()),
            age: age.map(|(_, age)| age.name().to_owned()),
            published: published.map(|(size, _)| size),
            policy: registry.policy(&head.origin).map_or(0, |(number, _)| number),
            without: published.map_or_else(Vec::new, |(_, without)| without.to_vec()),
            log_key: registry.continuations(&head.origin).len(),
            forked: desk.is_log_forked(&head.origin),
            stated: registry.stated(&head.origin),
            unjudged: registry.unjudged(&head.origin),
            origin: head.origin,
            size: head.size,
            root: head.root,
        }
    });
    Answer::Registry {
        registries: registries.collect(),
    }
}

/// Leaves of a log from `from` on.
pub(super) fn leaves(registry: &Replica, origin: &str, from: u64) -> Answer {
    let leaves = registry.leaves(origin, from, LINE_BYTES / 2).into_iter();
    let leaves = leaves.map(|leaf| (b64url_encode(&leaf.leaf), b64url_encode(&leaf.certificate)));
    Answer::Leaves {
        leaves: leaves.collect(),
    }
}

/// Parts of a snapshot. May go through all of a log's state: not for the desk's thread.
pub(super) fn snapshot(
    registry: &Replica,
    origin: &str,
    stated: u64,
    checkpoint: &str,
    position: u64,
) -> Answer {
    let note = Note::parse(checkpoint.as_bytes()).map_err(|error| error.to_string());
    let opened =
        note.and_then(|note| Checkpoint::open(note, &registry.log_keys()).map_err(|error| error.to_string()));
    let given = opened.and_then(|checkpoint| {
        let given = registry.snapshot(origin, stated, &checkpoint, position);
        given.map_err(|error| error.to_string())
    });
    match given {
        Ok(given) => Answer::Parts {
            parts: given.parts.iter().map(|part| b64url_encode(part)).collect(),
            next: given.next,
        },
        Err(error) => failure("no-snapshot", error, origin, "Try again in a minute."),
    }
}

/// Those who fit. Goes through the whole registry: not for the desk's thread.
pub(super) fn search(registry: &Replica, query: &Query, most: usize) -> Answer {
    let found = registry.search(query, now(), most.min(SUBJECTS));
    views(registry, &found.subjects, found.more)
}

/// What is said of each of these.
pub(super) fn subjects(registry: &Replica, of: &[SubjectId]) -> Answer {
    let known = &of[..of.len().min(SUBJECTS)];
    views(registry, known, (of.len() - known.len()) as u64)
}

fn views(registry: &Replica, of: &[SubjectId], more: u64) -> Answer {
    let at = now();
    let nodes = of.iter().filter_map(|node| registry.node(node));
    let nodes = nodes.map(|info| node_view(registry, info, at));
    let persons = of.iter().filter_map(|person| registry.person(person));
    let persons = persons.map(|info| person_view(registry, &info, at));
    Answer::Subjects {
        subjects: nodes.chain(persons).collect(),
        more,
    }
}

fn node_view(registry: &Replica, info: NodeInfo, at: Instant) -> SubjectView {
    SubjectView {
        subject: info.node,
        roles: vec!["node".into()],
        competences: Vec::new(),
        node: info.node,
        organisation: info.organisation_name,
        certificate: info.seal,
        last: registry.last_entry(&info.node).unwrap_or_default(),
        status: worth(registry, &info.seal, at),
        origin: info.origin,
        test: info.test,
        encryption_spki: None,
        no_encryption_key: None,
    }
}

fn person_view(registry: &Replica, info: &PersonInfo, at: Instant) -> SubjectView {
    let key = registry.person_encryption_key(&info.person, at);
    SubjectView {
        subject: info.person,
        roles: info.roles.iter().map(|role| role.name().to_owned()).collect(),
        competences: competences(registry, &info.person, at),
        node: info.node,
        organisation: registry
            .node(&info.node)
            .map(|node| node.organisation_name)
            .unwrap_or_default(),
        certificate: info.certificate,
        last: registry.last_entry(&info.person).unwrap_or_default(),
        status: worth(registry, &info.certificate, at),
        origin: info.origin.clone(),
        test: info.test,
        no_encryption_key: key.as_ref().err().map(|&reason| reason.to_owned()),
        encryption_spki: key.ok().map(|spki| b64url_encode(&spki)),
    }
}

/// What a person is listed as competent for, by the version of the nomenclature and the code.
fn competences(registry: &Replica, person: &SubjectId, at: Instant) -> Vec<String> {
    let competences = registry.competences(person, at).into_iter();
    let text = |competence: Competence| format!("{}:{}", competence.nomenclature, competence.code);
    competences.map(text).collect()
}

/// What the registry has said of somebody.
pub(super) fn history(desk: &Desk, subject: &SubjectId) -> Answer {
    let registry = desk.engine().registry();
    let about = registry.history(subject).into_iter().map(|entry| {
        let certificate = entry.content.certificate();
        EntryView {
            origin: entry.origin.clone(),
            index: entry.index,
            kind: entry.content.kind().name().to_owned(),
            issued_at: entry.issued_at.to_string(),
            effective_at: entry.effective_at.to_string(),
            status: certificate.map(|certificate| worth(registry, &certificate, now())),
            certificate,
        }
    });
    Answer::History {
        entries: about.collect(),
    }
}

/// Takes a checkpoint in from a user.
pub(super) fn tell(desk: &mut Desk, checkpoint: &str) -> Answer {
    let told = Note::parse(checkpoint.as_bytes()).map_err(|error| error.to_string());
    match told.and_then(|note| desk.tell_checkpoint(&note).map_err(|error| error.to_string())) {
        Ok(()) => Answer::Told,
        Err(error) => failure(
            "not-a-checkpoint",
            error,
            "checkpoint",
            "Give a checkpoint that a log of this node's anchors has signed.",
        ),
    }
}

/// How a log stands.
pub(super) fn checkpoint(desk: &Desk, origin: &str) -> Answer {
    let standing = desk.checkpoint(origin);
    let seen = standing.seen.iter().map(|seen| SeenView {
        by: seen.by.name().to_owned(),
        at: seen.at.to_string(),
    });
    Answer::Checkpoint(Box::new(CheckpointView {
        size: standing.checkpoint.as_ref().map(|one| one.head().size),
        note: standing.checkpoint.as_ref().map(|one| one.note().encode()),
        seen: seen.collect(),
        enough: standing.enough,
        proof: standing.proof.map(|proof| b64url_encode(&proof)),
    }))
}

/// Has the desk admit entries, from files; where another history has to give way to one, again once it has.
pub(super) async fn import(desk: &DeskHandle, entries: Vec<String>) -> Answer {
    let mut files = Vec::with_capacity(entries.len());
    for (entry, number) in entries.iter().zip(1..) {
        let decoded = b64url_decode(entry).ok_or_else(|| "not base64url".to_owned());
        match decoded.and_then(|bytes| EntryFile::decode(&bytes).map_err(|error| error.to_string())) {
            Ok(file) => files.push(file),
            Err(error) => {
                let place = format!("entry {number} of the import");
                return failure(
                    "malformed",
                    error,
                    &place,
                    "Give files written by `basoche authority`.",
                );
            }
        }
    }
    let files = Arc::new(files);
    let mut tries = 0;
    loop {
        let files = Arc::clone(&files);
        let imported = desk.ask(move |desk| import_all(desk, &files)).await;
        match imported {
            // What is held gives way first; then the same entries are next.
            Ok(Err((.., None))) if tries < GIVES_WAY_TRIES => {
                tries += 1;
                tokio::time::sleep(GIVES_WAY).await;
            }
            Ok(Ok((new, known))) => return Answer::Imported { new, known },
            Ok(Err((origin, index, error))) => {
                let place = format!("entry {index} of {origin}");
                let other = || Inadmissible::OtherHistory { origin, index }.into();
                return of_refusal(&error.unwrap_or_else(other), &place);
            }
            Err(error) => return of_submit(&error),
        }
    }
}

/// Where an import has stopped: log, index, why; no reason where another history has to give way to the entry first.
type Stopped = (String, u64, Option<Error>);

/// How many of these entries are new, and how many were known. Those before a bad one stay.
fn import_all(desk: &mut Desk, files: &[EntryFile]) -> Result<(u64, u64), Stopped> {
    let (mut new, mut known) = (0, 0);
    for EntryFile { origin, index, leaf } in files {
        let stopped = |why| (origin.clone(), *index, why);
        match desk.import(origin, *index, leaf.clone()) {
            Ok(Imported::News | Imported::Filled) => new += 1,
            Ok(Imported::Known) => known += 1,
            Ok(Imported::OtherHistory) => return Err(stopped(None)),
            Err(error) => return Err(stopped(Some(error))),
        }
    }
    Ok((new, known))
}
