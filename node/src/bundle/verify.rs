//! Checking a bundle offline, against the authorities that the user believes.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use basoche_protocol::directory::{Directory, Status};
use basoche_protocol::document::{Decryptor, DocumentKey, Encryptor, LeafHasher, Sealed, ciphertext_len};
use basoche_protocol::dossier::{DocumentFact, Replica};
use basoche_protocol::envelope::{Envelope, Typ, verify_node};
use basoche_protocol::error::{Error, Malformed, Untrusted};
use basoche_protocol::id::{Digest, DossierId};
use basoche_protocol::journal::{Content, Record, Verdict as Effect};
use basoche_protocol::message::Extent;
use basoche_protocol::role::Class;
use basoche_registry::{Anchors, Replica as Registry};

use super::journal::{self, Journal};
use super::layout::{self, MANIFEST, Manifest, QUITTANCES, README, SUMMARY, SUMS};
use super::members::Members;
use super::report::{Claims, NOT_DISCLOSED, Reach, Report, Verdict};
use super::timeline::{self, Named};
use super::{ciphertext_name, contested, document_name, key_name, mailbox, quittance_name, registry};
use crate::quittance::QuittanceView;
use crate::zip::{Archive, Member, ZipError};

/// Bytes of the summary; no archive makes us hold more than its own length.
const SUMMARY_BYTES: usize = 1 << 30;

/// Checks `bundle`; `progress` is told bytes done and bytes in all. The report says what was found: this has no
/// other errors, and whatever the file holds it does not panic.
///
/// Without `anchors` the evidence is checked against the authorities that it names itself: contradictions are found,
/// nothing is proved.
pub fn verify<R: Read + Seek>(bundle: R, anchors: Option<&Anchors>, progress: &dyn Fn(u64, u64)) -> Report {
    verify_as(bundle, anchors, &|_, _, _| None, progress)
}

/// Opens the key of a personal document, of this dossier, from one of the wraps on file; nothing for who is no
/// recipient.
pub type Opener<'a> = dyn Fn(&DossierId, &DocumentFact, &Replica) -> Option<DocumentKey> + 'a;

/// The same, by a person who can open personal documents.
pub fn verify_as<R: Read + Seek>(
    mut bundle: R,
    anchors: Option<&Anchors>,
    opener: &Opener<'_>,
    progress: &dyn Fn(u64, u64),
) -> Report {
    let mut claims = Claims::default();
    let refused = match Archive::open(&mut bundle) {
        Ok(archive) => {
            let like_a_bundle = |member: &Member| member.name == README || member.name == MANIFEST;
            if !archive.members().iter().any(like_a_bundle) {
                return Report::malformed("an archive, but not a bundle of Basoche".into());
            }
            claims.proved("archive", None, "every byte outside the members is as it must be");
            None
        }
        Err(error) => Some(error),
    };
    let archive = match refused {
        None => Archive::open(&mut bundle),
        Some(error) => salvage(&mut bundle, &error, &mut claims),
    };
    let whole = claims.failures() == 0;
    match archive {
        Ok(archive) => check(Members::new(archive, whole, progress), anchors, opener, claims),
        Err(error) => Report::malformed(error.to_string()),
    }
}

/// What is whole of a file that is no archive: one that was cut short, or one that was tampered with.
fn salvage<R: Read + Seek>(
    mut bundle: R,
    error: &ZipError,
    claims: &mut Claims,
) -> Result<Archive<R>, ZipError> {
    let first = read_at(&mut bundle, 0, 30 + README.len())?;
    if !first.starts_with(b"PK\x03\x04") || !first.ends_with(README.as_bytes()) {
        return Archive::open(bundle);
    }
    let length = bundle.seek(SeekFrom::End(0))?;
    let members = Archive::salvage(&mut bundle)?.members().to_vec();
    let end = members.last().map_or(0, |last| last.offset + last.size);
    let next = read_at(&mut bundle, end, 30)?;
    if is_cut(&members, length - end, &next) {
        let what = format!("cut short after {} whole members: {error}", members.len());
        claims.undetermined("archive", "truncated", None, what);
    } else {
        let member = match error {
            ZipError::Structure { member, .. } => member.as_deref(),
            _ => None,
        };
        claims.add(
            Verdict::Contradicted,
            "archive",
            "structure",
            member,
            error.to_string(),
        );
    }
    Archive::salvage(bundle)
}

/// Whether `rest` bytes, which begin with `next`, may be the beginning of what a writer puts after `members`.
fn is_cut(members: &[Member], rest: u64, next: &[u8]) -> bool {
    let number = |at: usize| {
        let bytes = next.get(at..at + 4)?;
        Some(u64::from(u32::from_le_bytes(bytes.try_into().ok()?)))
    };
    if members.last().is_some_and(|last| last.name == MANIFEST) {
        // The directory: a header of 46 bytes and a name for each member, and the end record of 22.
        let directory: u64 = members.iter().map(|member| 46 + member.name.len() as u64).sum();
        return rest < directory + 22;
    }
    if !b"PK\x03\x04".starts_with(&next[..next.len().min(4)]) {
        return false;
    }
    // Header, name and data: in Zip64 the size is elsewhere, and larger than this.
    let lengths = number(26).map(|both| (both & 0xffff) + (both >> 16));
    match number(18).zip(lengths) {
        Some((size, lengths)) => rest < 30 + lengths + size,
        None => true,
    }
}

/// Up to `count` bytes at `offset`.
fn read_at(mut file: impl Read + Seek, offset: u64, count: usize) -> Result<Vec<u8>, ZipError> {
    let mut bytes = Vec::with_capacity(count);
    file.seek(SeekFrom::Start(offset))?;
    file.take(count as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check<R: Read + Seek>(
    mut members: Members<'_, R>,
    anchors: Option<&Anchors>,
    opener: &Opener<'_>,
    mut claims: Claims,
) -> Report {
    let sums = members.read_sums(&mut claims);
    members.stream(README, "member", &mut claims, &mut |_| {});
    let (mut anchored, mut reach) = (false, Vec::new());
    if let Some((registry, believed)) = registry::read(&mut members, anchors, &mut claims) {
        anchored = believed;
        let journal = journal::read(&mut members, &registry, &mut claims);
        check_manifest(
            &mut members,
            &registry,
            journal.as_ref(),
            sums.as_deref(),
            &mut claims,
        );
        match journal {
            Some(journal) => {
                reach = claim_chains(&journal, &mut claims);
                claim_forks(&journal, &registry, &mut claims);
                claim_messages(&journal, &registry, &mut claims);
                check_tombstones(&mut members, &journal, &mut claims);
                mailbox::check(&mut members, &registry, &journal, &mut claims);
                check_documents(&mut members, &journal, opener, &mut claims);
                check_quittances(&mut members, &journal, &mut claims);
                check_summary(&mut members, &registry, &journal, &mut claims);
            }
            None => claims.undetermined("journal", "gap", None, "no run of the journal is left"),
        }
    }
    members.finish(&mut claims);
    Report::new(claims.into_vec(), anchored, reach)
}

/// The signature of the exporting node over the list of digests.
fn check_manifest<R: Read + Seek>(
    members: &mut Members<'_, R>,
    registry: &Registry,
    journal: Option<&Journal>,
    sums: Option<&[u8]>,
    claims: &mut Claims,
) {
    let before = claims.failures();
    let Some(jws) = members.read(MANIFEST, layout::JWS_BYTES, "manifest", claims) else {
        return;
    };
    match read_manifest(&jws, registry) {
        Ok(manifest) => {
            let listed = sums.and_then(layout::read_sums_file);
            let same = sums.is_some_and(|sums| Digest::of(&[sums]) == manifest.sums)
                && listed.is_some_and(|listed| listed.len() as u64 == manifest.members);
            if !same {
                let what = "SHA256SUMS is not the list that the exporting node signed";
                claims.contradicted("manifest", "digest", SUMS, what);
            }
            if journal.is_some_and(|journal| journal.replica.dossier() != manifest.dossier) {
                let what = "the exporting node signed the bundle of another dossier";
                claims.contradicted("manifest", "unknown-dossier", MANIFEST, what);
            }
            if claims.failures() == before {
                let (node, time) = (manifest.node, manifest.time);
                let what = format!(
                    "node {node} exported these {} members at {time}",
                    manifest.members
                );
                claims.proved("manifest", Some(MANIFEST), what);
            }
        }
        Err(error @ Error::Untrusted(Untrusted::UnknownSigner { .. })) => {
            let code = error.code().name();
            claims.undetermined("manifest", code, Some(MANIFEST), error.to_string());
        }
        Err(error) => claims.contradicted("manifest", error.code().name(), MANIFEST, error.to_string()),
    }
}

fn read_manifest(jws: &[u8], registry: &Registry) -> Result<Manifest, Error> {
    let text = std::str::from_utf8(jws).map_err(|_| Malformed::bad_value())?;
    let envelope = Envelope::from_jws(text)?;
    let manifest = Manifest::decode(envelope.payload())?;
    if manifest.v != Manifest::VERSION {
        return Err(Malformed::bad_value().into());
    }
    verify_node(&envelope, Typ::Bundle, manifest.node, manifest.time, registry)?;
    Ok(manifest)
}

/// How far each chain is proved: its entries follow each other up to a head that its node signed.
fn claim_chains(journal: &Journal, claims: &mut Claims) -> Vec<Reach> {
    let rows = journal.replica.frontier();
    for row in &rows {
        let what = format!(
            "{} entries of chain {:?} follow each other up to a head that its node signed",
            row.size, row.chain
        );
        claims.proved(format!("journal:{}", row.chain.node), None, what);
    }
    rows.iter()
        .map(|row| Reach {
            node: row.chain.node,
            incarnation: row.chain.incarnation,
            size: row.size,
        })
        .collect()
}

/// Which nodes signed several histories of their chain: evidence against them like any other.
fn claim_forks(journal: &Journal, registry: &Registry, claims: &mut Claims) {
    let (chains, settled) = (journal.replica.chains(), journal.replica.state().settled());
    for (chain, parted_at) in chains.forks() {
        let id = format!("fork:{}", chain.node);
        let proof = chains.proof(&chain).map(|proof| proof.verify(registry));
        let ordered = match settled.get(&chain) {
            Some(kept) => format!(
                "the court lets count what goes up to entry {} ({})",
                kept.seq, kept.leaf
            ),
            None => "the court has not said which counts".to_owned(),
        };
        let what = format!(
            "the node signed {} histories of chain {chain:?}, which part at entry {parted_at}; {ordered}",
            chains.of(&chain).count()
        );
        match proof {
            Some(Ok(_)) => claims.add(Verdict::Proved, id, "fork", None, what),
            Some(Err(_)) | None => claims.undetermined(id, "fork", None, what),
        }
    }
}

/// For each message: who signed it, when it was recorded, what it did, and which nodes' heads cover it.
fn claim_messages(journal: &Journal, registry: &Registry, claims: &mut Claims) {
    let chains = journal.replica.chains();
    for (branch, seq, record) in journal.replica.records() {
        let id = format!("message:{}", record.message);
        let leaf = chains.get(&branch).and_then(|chain| chain.leaf(seq));
        let member = leaf.and_then(|leaf| journal.names.get(&leaf)).map(String::as_str);
        let contested = doubted(journal, record, registry);
        let receipts = journal.receipts.of(&journal.replica, &branch, seq);
        let receipts = receipts
            .iter()
            .map(|one| format!("{} by {}", one.subject, one.at));
        let receipts = receipts.collect::<Vec<_>>().join(", ");
        let what = match &record.content {
            Content::Authentic(message, _) => {
                let act = message.message_type();
                format!("{act}, signed by {} as {}", message.author, message.role)
            }
            Content::Sealed(_) | Content::Opened(_) | Content::Absent | Content::Rejected => {
                match journal.replica.state().erased_by(&record.message) {
                    Some(one) => format!("{}, erased by order {}", one.residual.act, one.by),
                    None => "a message".to_owned(),
                }
            }
        };
        let (node, at) = (branch.chain.node, record.recorded_at);
        let received = if receipts.is_empty() {
            "no other node"
        } else {
            &receipts
        };
        let what = format!("{what}; recorded by node {node} at {at}; received by {received}");
        let (effect, code) = timeline::effect(record);
        match (record.verdict, contested) {
            (Effect::Pending(_), _) => {
                let code = code.unwrap_or("pending");
                claims.undetermined(id, code, member, format!("{what}; {effect}: {code}"));
            }
            (_, Some(reason)) => {
                claims.undetermined(id, "contested", member, format!("{what}; contested: {reason}"));
            }
            (Effect::Effective, None) => claims.proved(id, member, what),
            // That it was recorded and changed nothing is a fact like another.
            (Effect::WithoutEffect(code), None) => {
                let what = format!("{what}; without effect");
                claims.add(Verdict::Proved, id, code.name(), member, what);
            }
        }
    }
}

/// Why a message is contested, if the key that signed it was declared compromised since before it.
fn doubted(journal: &Journal, record: &Record, registry: &Registry) -> Option<&'static str> {
    let Content::Authentic(_, signer) = &record.content else {
        return None;
    };
    let inside = journal.replica.state().inside(registry);
    match inside.status(signer, record.recorded_at) {
        Status::Contested { reason, .. } => Some(reason),
        Status::Valid(_) | Status::Invalid { .. } | Status::Undetermined { .. } => None,
    }
}

/// What stays of each erased message is what the court's order says, byte for byte.
fn check_tombstones<R: Read + Seek>(members: &mut Members<'_, R>, journal: &Journal, claims: &mut Claims) {
    for tombstone in journal.replica.state().tombstones() {
        let (id, name) = (
            format!("erased:{}", tombstone.target),
            layout::tombstone_name(&tombstone.target),
        );
        let Some(found) = members.read(&name, SUMMARY_BYTES, &id, claims) else {
            continue;
        };
        if found == timeline::tombstone(&tombstone) {
            let what = match tombstone.extent {
                Extent::Message => "the message is erased",
                Extent::Documents => "its documents are erased",
            };
            let what = format!("{what}, by order {} at {}", tombstone.by, tombstone.at);
            claims.proved(id, Some(&name), what);
        } else {
            let what = "not what the order says of the erased message";
            claims.contradicted(id, "other-tombstone", &name, what);
        }
    }
}

/// Seals each document again: root, key and plaintext are those that its message commits to.
fn check_documents<R: Read + Seek>(
    members: &mut Members<'_, R>,
    journal: &Journal,
    opener: &Opener<'_>,
    claims: &mut Claims,
) {
    let named = Named::new(&journal.replica);
    // A document that several messages bring is there once, under the name that the first gives it.
    let mut seen: BTreeMap<Digest, (String, Option<(DocumentKey, Sealed)>)> = BTreeMap::new();
    let contested = contested::roots(&journal.replica);
    for document in timeline::documents(&journal.replica) {
        let root = document.reference.root;
        if contested.contains(&root) {
            let facts = named.row(&journal.replica, document).describe();
            contested::check(members, journal, document, &facts, claims);
            continue;
        }
        let id = format!("document:{root}");
        let before = claims.failures();
        if document.reference.class() == Class::Personal && members.contains(&ciphertext_name(&root)) {
            let key = opener(&journal.replica.dossier(), document, &journal.replica);
            let facts = named.row(&journal.replica, document).describe();
            check_personal(members, document, key.as_ref(), &facts, claims);
            continue;
        }
        let (member, sealed) = seen.entry(root).or_insert_with(|| {
            let member = document_name(&root, &document.reference.name);
            let sealed = seal_again(members, document, &member, &id, claims);
            (member, sealed)
        });
        let facts = named.row(&journal.replica, document).describe();
        if !members.contains(member) {
            let what = format!("its bytes are not here; {facts}");
            claims.undetermined(id, "document-absent", Some(member), what);
            continue;
        }
        let Some((key, sealed)) = sealed else {
            continue;
        };
        if !document.reference.is_key(key) {
            let what = "not the key that the message commits to";
            claims.contradicted(&*id, "other-key", &key_name(&root), what);
        } else if sealed.root != *root.as_bytes()
            || !document.reference.is_plaintext(&sealed.plaintext_sha256)
        {
            let what = "not the document that the message commits to";
            claims.contradicted(&*id, "other-document", member, what);
        }
        if claims.failures() == before {
            claims.proved(id, Some(member), facts);
        }
    }
}

/// The ciphertext of a personal document is the one that its message names. What it says only a recipient can show:
/// with a recipient's `key` it is held to the commitments, without it stays undisclosed.
fn check_personal<R: Read + Seek>(
    members: &mut Members<'_, R>,
    document: &DocumentFact,
    key: Option<&DocumentKey>,
    facts: &str,
    claims: &mut Claims,
) {
    let reference = &document.reference;
    let (id, member) = (
        format!("document:{}", reference.root),
        ciphertext_name(&reference.root),
    );
    let key = key.filter(|key| reference.is_key(key));
    let mut leaves = LeafHasher::new(ciphertext_len(reference.bytes)).ok();
    let mut opening = key.and_then(|key| Decryptor::new(key, reference.bytes).ok());
    let mut out = Vec::new();
    let read = members.stream(&member, &id, claims, &mut |piece| {
        leaves = leaves
            .take()
            .and_then(|mut leaves| leaves.push(piece).ok().map(|()| leaves));
        out.clear();
        let open = |mut opening: Decryptor| opening.push(piece, &mut out).ok().map(|()| opening);
        opening = opening.take().and_then(open);
    });
    if !read {
        return;
    }
    let root = leaves.and_then(|leaves| leaves.finish().ok());
    if root.is_none_or(|outboard| outboard.root() != reference.root.as_bytes()) {
        let what = "not the ciphertext that the message names";
        return claims.contradicted(id, "other-document", &member, what);
    }
    claims.proved(id, Some(&member), format!("personal, its ciphertext; {facts}"));
    let id = format!("plaintext:{}", reference.root);
    if key.is_none() {
        let what = "for persons only, and none of them opened it here: what it says is not disclosed";
        return claims.undetermined(id, NOT_DISCLOSED, Some(&member), what);
    }
    match opening.and_then(|opening| opening.finish().ok()) {
        Some(sha256) if reference.is_plaintext(&sha256) => {
            claims.proved(
                id,
                Some(&member),
                "opened by a recipient: what the message commits to",
            );
        }
        _ => {
            let what = "opened by a recipient: not what the message commits to";
            claims.contradicted(id, "other-document", &member, what);
        }
    }
}

/// Reads key and plaintext, and seals the one under the other. `None` when it is already said why not.
fn seal_again<R: Read + Seek>(
    members: &mut Members<'_, R>,
    document: &DocumentFact,
    member: &str,
    id: &str,
    claims: &mut Claims,
) -> Option<(DocumentKey, Sealed)> {
    let key_member = key_name(&document.reference.root);
    if !members.contains(member) {
        return None;
    }
    let key = members.read(&key_member, 65, id, claims);
    let key = key.and_then(|file| {
        let key = layout::read_key_file(&file);
        if key.is_none() {
            let what = "not 64 lower-case hexadecimal digits and a line feed";
            claims.contradicted(id, "malformed", &key_member, what);
        }
        key.map(DocumentKey::new)
    });
    let encryptor = key
        .as_ref()
        .and_then(|key| Encryptor::new(key, document.reference.bytes).ok());
    let mut sealing = encryptor.ok_or(());
    let mut out = Vec::new();
    let read = members.stream(member, id, claims, &mut |piece| {
        out.clear();
        if let Ok(encryptor) = &mut sealing
            && encryptor.push(piece, &mut out).is_err()
        {
            sealing = Err(());
        }
    });
    let key = key.filter(|_| read)?;
    match sealing.and_then(|encryptor| encryptor.finish(&mut out).map_err(drop)) {
        Ok(sealed) => Some((key, sealed)),
        Err(()) => {
            let what = "not as long as the message says";
            claims.contradicted(id, "other-document", member, what);
            None
        }
    }
}

/// Each barrier's quittance is the one that the journal gives, byte for byte.
fn check_quittances<R: Read + Seek>(members: &mut Members<'_, R>, journal: &Journal, claims: &mut Claims) {
    let derived = QuittanceView::all(&journal.replica);
    for quittance in &derived {
        let id = format!("quittance:{}", quittance.barrier);
        let member = quittance_name(&quittance.barrier);
        let before = claims.failures();
        let Some(found) = members.read(&member, layout::QUITTANCE_BYTES, &id, claims) else {
            continue;
        };
        if found != quittance.to_member() {
            let what = "the quittance is not the one that the journal gives";
            claims.contradicted(id, "other-quittance", &member, what);
        } else if claims.failures() == before {
            claims.proved(id, Some(&member), quittance.to_string());
        }
    }
    // Where messages are missing, the barrier may be among them: then nothing can be said of its quittance.
    if journal.replica.pending() > 0 {
        let names: Vec<_> = members.names().map(str::to_owned).collect();
        let strange = |name: &&String| {
            let of = |one: &QuittanceView| quittance_name(&one.barrier) == **name;
            name.starts_with(QUITTANCES) && !derived.iter().any(of)
        };
        for name in names.iter().filter(strange) {
            let what = "its barrier is not among the messages that are here";
            claims.undetermined("quittance", "message-absent", Some(name), what);
        }
    }
}

/// The summary is the one that the evidence gives, byte for byte.
fn check_summary<R: Read + Seek>(
    members: &mut Members<'_, R>,
    registry: &Registry,
    journal: &Journal,
    claims: &mut Claims,
) {
    let Some(found) = members.read(SUMMARY, SUMMARY_BYTES, "summary", claims) else {
        return;
    };
    if found == timeline::summary(&journal.replica, &journal.receipts, registry) {
        claims.proved(
            "summary",
            Some(SUMMARY),
            "the summary is the one that the evidence gives",
        );
    } else {
        let what = "the summary is not the one that the evidence gives";
        claims.contradicted("summary", "other-summary", SUMMARY, what);
    }
}
