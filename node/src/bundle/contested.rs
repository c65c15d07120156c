//! Contested documents in a bundle: their ciphertext, and the examination made again. SPEC §6.20.

use std::collections::BTreeSet;
use std::io::{Read, Seek};

use basoche_protocol::document::{DocumentKey, LeafHasher};
use basoche_protocol::dossier::{DocumentFact, Replica};
use basoche_protocol::id::Digest;
use basoche_protocol::journal::Content;
use basoche_protocol::message::{Body, Contestation, Examination, Fault};

use super::journal::Journal;
use super::layout::{self, ciphertext_name};
use super::members::Members;
use super::report::{Claims, Verdict};

/// The roots of the documents that some node contests: a bundle has their ciphertext in place of a plaintext.
pub(super) fn roots(replica: &Replica) -> BTreeSet<Digest> {
    let state = replica.state();
    let contested = state.documents().filter(|document| {
        let mut by = state.contested(&document.deposit, &document.reference.root);
        by.next().is_some()
    });
    contested.map(|document| document.reference.root).collect()
}

/// The contestations of a document that have effect, with the nodes that made them.
fn contestations<'a>(
    replica: &'a Replica,
    document: &'a DocumentFact,
) -> impl Iterator<Item = (basoche_protocol::id::SubjectId, &'a Contestation)> {
    let root = document.reference.root;
    replica.records().filter_map(move |(_, _, record)| {
        let Content::Authentic(message, _) = &record.content else {
            return None;
        };
        match &message.body {
            Body::Contestation(said) if (said.deposit, said.root) == (document.deposit, root) => {
                Some((message.author, said))
            }
            _ => None,
        }
    })
}

/// Examines a contested document again, and says of each contestation whether it is founded.
pub(super) fn check<R: Read + Seek>(
    members: &mut Members<'_, R>,
    journal: &Journal,
    document: &DocumentFact,
    facts: &str,
    claims: &mut Claims,
) {
    let (reference, replica) = (&document.reference, &journal.replica);
    let root = reference.root;
    let (id, name) = (format!("document:{root}"), ciphertext_name(&root));
    let Some(size) = members.size(&name) else {
        let what = format!("it is contested, and its bytes are not here; {facts}");
        return claims.undetermined(id, "document-absent", Some(&name), what);
    };
    let key = key_of(members, replica, document, &id, claims);
    let mut examination = Examination::new(reference, size, key.as_ref());
    let mut hasher = LeafHasher::new(size);
    let read = members.stream(&name, &id, claims, &mut |piece| {
        if let Ok(hashing) = &mut hasher
            && let Err(error) = hashing.push(piece)
        {
            hasher = Err(error);
        }
        if let Some(examination) = &mut examination {
            examination.push(piece);
        }
    });
    if !read {
        return;
    }
    let outboard = hasher.and_then(LeafHasher::finish);
    if !outboard.is_ok_and(|outboard| outboard.root() == root.as_bytes()) {
        return claims.contradicted(
            id,
            "other-document",
            &name,
            "not the ciphertext that the message names",
        );
    }
    let Some(examination) = examination else {
        let what = format!("it is contested, and no key to it is here; {facts}");
        return claims.undetermined(id, "other-key", Some(&name), what);
    };
    let found = examination.finish();
    let told = match found {
        None => "it is what its message commits to".to_owned(),
        Some(fault) => format!("it is not what its message commits to: {}", words(fault)),
    };
    let code = found.map_or("ok", |_| "contested");
    claims.add(Verdict::Proved, id, code, Some(&name), format!("{told}; {facts}"));
    for (node, said) in contestations(replica, document) {
        let stated = Fault {
            finding: said.finding,
            segment: said.segment,
        };
        let (code, so) = match found == Some(stated) {
            true => ("founded", "and so it is"),
            false => ("unfounded", "which is not so"),
        };
        let what = format!("node {node} contests it, {}, {so}", words(stated));
        claims.add(
            Verdict::Proved,
            format!("contestation:{root}:{node}"),
            code,
            Some(&name),
            what,
        );
    }
}

/// What the wrapped key opens to: by the wrap key that a contestation gives, or as the bundle has it.
fn key_of<R: Read + Seek>(
    members: &mut Members<'_, R>,
    replica: &Replica,
    document: &DocumentFact,
    id: &str,
    claims: &mut Claims,
) -> Option<DocumentKey> {
    let given = contestations(replica, document).find_map(|(_, said)| {
        let wrap_key = <[u8; 32]>::try_from(said.wrap_key.as_ref()?.as_slice()).ok()?;
        document.reference.unwrap_key(&wrap_key)
    });
    let name = layout::key_name(&document.reference.root);
    if given.is_some() || !members.contains(&name) {
        return given;
    }
    let file = members.read(&name, 65, id, claims)?;
    layout::read_key_file(&file).map(DocumentKey::new)
}

fn words(fault: Fault) -> String {
    match fault.segment {
        Some(segment) => format!("{} {segment}", fault.finding),
        None => fault.finding.to_string(),
    }
}
