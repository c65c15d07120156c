//! What the registry says, as the control socket shows it.

use basoche_protocol::id::SubjectId;
use basoche_protocol::text::b64url_encode;
use basoche_protocol::time::Instant;
use basoche_registry::Replica;
use basoche_registry::entry::Competence;
use basoche_registry::log::Note;

use super::server::failure;
use super::{Answer, CheckpointView, EntryView, RegistryView, SeenView, SubjectView};
use crate::desk::{Desk, worth};
use crate::effects::now;

/// How far each log is held, and who is in them.
pub(super) fn all(desk: &Desk) -> Answer {
    let (registry, at) = (desk.engine().registry(), now());
    let registries = desk.registries().into_iter().map(|head| {
        let published = registry.published(&head.origin);
        RegistryView {
            published: published.map(|(size, _)| size),
            without: published.map_or_else(Vec::new, |(_, without)| without.to_vec()),
            forked: desk.is_log_forked(&head.origin),
            origin: head.origin,
            size: head.size,
            root: head.root,
        }
    });
    let nodes = registry.nodes().map(|info| SubjectView {
        subject: info.node,
        roles: vec!["node".into()],
        competences: Vec::new(),
        node: info.node,
        organisation: info.organisation_name.clone(),
        certificate: info.seal,
        last: registry.last_entry(&info.node).unwrap_or_default(),
        status: worth(registry, &info.seal, at),
        origin: info.origin.clone(),
        test: info.test,
        encryption_spki: None,
        no_encryption_key: None,
    });
    let persons = registry.persons().into_iter().map(|info| {
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
    });
    Answer::Registry {
        registries: registries.collect(),
        subjects: nodes.chain(persons).collect(),
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
        guilty: standing.guilty,
    }))
}
