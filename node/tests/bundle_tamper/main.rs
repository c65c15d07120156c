//! Whatever is changed in a bundle is found, and the member that was changed is named. Shown by 2.
//!
//! Three attackers: one who flips bytes of the file; one who repairs the archive around what he changed; and the
//! dishonest exporter, who signs a new manifest over it. `BASOCHE_LONG=1` gives the two latter as many offsets as
//! the first.
#![allow(clippy::unwrap_used)]

#[path = "../bundle_world/mod.rs"]
mod bundle_world;
mod harness;

use std::io::Cursor;

use basoche_node::bundle::{Claim, Report, Verdict, head_name};
use basoche_node::zip::Archive;
use basoche_protocol::envelope::{Typ, Unsigned};
use basoche_protocol::id::{Digest, DossierId};
use basoche_protocol::journal::{Head, SignedHead};
use basoche_registry::Replica;
use bundle_world::Who;
use harness::{
    Case, SUBJECT, flip, flipped_and_packed, flipped_in_place, honest, is_evidence, is_long, missed, offsets,
    pack, pack_signed, unpack,
};

#[test]
fn the_untouched_bundle_is_proved_however_it_is_packed() {
    assert_eq!(honest(&SUBJECT.bundle).exit_code(), 0);
    assert_eq!(pack(&SUBJECT.files), SUBJECT.bundle);
    let again = honest(&pack_signed(&SUBJECT.files));
    assert_eq!(again.exit_code(), 0, "{}", again.to_json());
}

#[test]
fn every_flipped_byte_of_every_member_is_found_and_the_member_named() {
    let offsets = offsets(64, &|_| true);
    let case = |index: usize| flipped_in_place(offsets[index].0, offsets[index].1);
    assert_eq!(missed(offsets.len(), &case, &honest), Vec::<String>::new());
}

#[test]
fn a_change_under_a_repaired_archive_is_found_and_the_member_named() {
    let offsets = offsets(if is_long() { 64 } else { 2 }, &|_| true);
    let case = |index: usize| flipped_and_packed(offsets[index].0, offsets[index].1, pack);
    assert_eq!(missed(offsets.len(), &case, &honest), Vec::<String>::new());
}

#[test]
fn a_change_under_a_manifest_signed_anew_is_found_and_the_member_named() {
    let offsets = offsets(if is_long() { 64 } else { 8 }, &is_evidence);
    let case = |index: usize| flipped_and_packed(offsets[index].0, offsets[index].1, pack_signed);
    assert_eq!(missed(offsets.len(), &case, &honest), Vec::<String>::new());
}

/// The harness itself: a verifier that never looks at one kind of member must be caught.
#[test]
fn a_verifier_that_ignores_a_kind_of_member_is_caught() {
    for kind in [
        "registry/",
        "journal/",
        "heads/",
        "messages/",
        "mailbox/",
        "documents/",
        "quittances/",
        "summary.json",
    ] {
        let blind = |bundle: &[u8]| {
            let mut files = unpack(bundle);
            for ((name, data), (_, original)) in files.iter_mut().zip(&SUBJECT.files) {
                if name.starts_with(kind) {
                    data.clone_from(original);
                }
            }
            honest(&pack_signed(&files))
        };
        let offsets = offsets(0, &|name| name.starts_with(kind));
        let count = offsets.len().min(8);
        let case = |index: usize| flipped_and_packed(offsets[index].0, offsets[index].1, pack_signed);
        assert_eq!(missed(count, &case, &blind).len(), count, "{kind}");
    }
}

#[test]
fn every_changed_byte_outside_the_members_is_found() {
    let archive = Archive::open(Cursor::new(&SUBJECT.bundle)).unwrap();
    let mut data = vec![false; SUBJECT.bundle.len()];
    for member in archive.members() {
        data[member.offset as usize..(member.offset + member.size) as usize].fill(true);
    }
    let structure: Vec<_> = (0..data.len()).filter(|at| !data[*at]).collect();
    // A prime, so that each field of a header has its turn.
    let step = if is_long() { 1 } else { 23 };
    let case = |index: usize| {
        let offset = structure[index * step];
        let mut bundle = SUBJECT.bundle.clone();
        flip(&mut bundle, offset);
        Case {
            what: format!("byte {offset} of the archive"),
            member: None,
            bundle,
        }
    };
    assert_eq!(
        missed(structure.len() / step, &case, &honest),
        Vec::<String>::new()
    );
}

#[test]
fn members_added_removed_renamed_and_swapped_are_found_and_named() {
    let files = &SUBJECT.files;
    let count = files.len();
    let case = |index: usize| {
        let (member, change) = (index % count, index / count);
        let mut files = files.clone();
        let name = files[member].0.clone();
        let next = (member + 1) % count;
        let (what, named) = match change {
            0 => {
                files.insert(member, ("documents/note.txt".into(), b"Bonjour".to_vec()));
                ("one added before", "documents/note.txt".to_owned())
            }
            1 => {
                files.remove(member);
                ("removed", name.clone())
            }
            2 => {
                files[member].0 = format!("{name}.bak");
                ("renamed", name.clone())
            }
            _ => {
                let data = files[member].1.clone();
                files[member].1 = std::mem::replace(&mut files[next].1, data);
                ("data exchanged with the next", name.clone())
            }
        };
        Case {
            what: format!("{name}: {what}"),
            member: Some(named),
            bundle: pack(&files),
        }
    };
    assert_eq!(missed(4 * count, &case, &honest), Vec::<String>::new());

    // Two whole members at each other's place: whichever is named first.
    let case = |index: usize| {
        let mut files = files.clone();
        files.swap(index, index + 1);
        Case {
            what: format!("{} swapped with the next", files[index].0),
            member: None,
            bundle: pack(&files),
        }
    };
    assert_eq!(missed(count - 1, &case, &honest), Vec::<String>::new());
}

#[test]
fn bytes_before_and_after_are_found() {
    let bundle = &SUBJECT.bundle;
    let end = &bundle[bundle.len() - 22..];
    for extra in [&[0][..], b"PK\x05\x06", end, bundle] {
        for changed in [[extra, bundle].concat(), [bundle, extra].concat()] {
            assert_ne!(honest(&changed).exit_code(), 0);
        }
    }
}

/// A dishonest exporter leaves something out and signs that nothing was: heads, messages and logs tell.
#[test]
fn what_a_dishonest_exporter_leaves_out_is_missed() {
    let without = |choose: &dyn Fn(&str) -> bool| {
        let mut files = SUBJECT.files.clone();
        let last = files.iter().rposition(|(name, _)| choose(name)).unwrap();
        let (name, _) = files.remove(last);
        (name, honest(&pack_signed(&files)))
    };
    for (kind, code, exit) in [
        // A head covers entries that are not here, and the summary lists them.
        ("journal/", "gap", 1),
        // The summary shows what that node had received.
        ("heads/", "other-summary", 1),
        ("messages/", "message-absent", 1),
        // A head saw entries that are not here; the summary counts them.
        ("registry/justice.example/annuaire/", "gap", 1),
        ("registry/certificates/", "missing", 1),
        ("documents/", "document-absent", 3),
        ("quittances/", "missing", 1),
        ("summary.json", "missing", 1),
        ("README.txt", "missing", 1),
    ] {
        let (name, report) = without(&|name| name.starts_with(kind) && !name.ends_with("/key"));
        let json = report.to_json();
        assert_eq!(report.exit_code(), exit, "{name}: {json}");
        let told = report.claims().iter().any(|claim| claim.code == code);
        assert!(told, "{name}: {json}");
    }
}

/// The exporting node may sign whatever head it likes: one that contradicts its own runs is a second history, one
/// that covers more is a gap.
#[test]
fn a_head_that_the_runs_do_not_bear_out_is_told() {
    let (world, member) = (&SUBJECT.world, head_name(&Who::Court.subject()));
    let original = &SUBJECT.files.iter().find(|(name, _)| *name == member).unwrap().1;
    let mut registry = Replica::new(world.anchors.clone());
    for (origin, index, leaf) in &world.leaves {
        registry.admit(origin, *index, leaf).unwrap();
    }
    let honest_head = SignedHead::verify(original, &registry).unwrap();
    let with = |change: &dyn Fn(&mut Head)| {
        let mut head = honest_head.head().clone();
        change(&mut head);
        let unsigned = Unsigned::new(Typ::Head, world.seal(), world.now, head.encode());
        let mut files = SUBJECT.files.clone();
        let slot = files.iter_mut().find(|(name, _)| *name == member).unwrap();
        slot.1 = unsigned.sign(world.seal()).unwrap().encode();
        honest(&pack_signed(&files))
    };
    let codes = |report: &Report| {
        let named = |claim: &&Claim| claim.member.as_ref() == Some(&member);
        let doubted = |claim: &&Claim| claim.verdict != Verdict::Proved;
        let all = report.claims().iter().filter(named).filter(doubted);
        all.map(|claim| (claim.verdict, claim.code)).collect::<Vec<_>>()
    };

    let report = with(&|head| head.rows[1].root = Digest::new([7; 32]));
    assert_eq!(codes(&report), [(Verdict::Contradicted, "fork")]);
    let report = with(&|head| head.rows[1].leaf = Digest::new([7; 32]));
    assert_eq!(codes(&report), [(Verdict::Contradicted, "fork")]);
    let report = with(&|head| head.registries[0].root = Digest::new([7; 32]));
    assert_eq!(codes(&report), [(Verdict::Contradicted, "fork")]);
    let report = with(&|head| head.rows[1].size += 3);
    assert_eq!(codes(&report), [(Verdict::Undetermined, "gap")]);
    let report = with(&|head| head.dossier = DossierId::new([7; 32]));
    assert_eq!(codes(&report), [(Verdict::Contradicted, "head-mismatch")]);
    assert!(codes(&with(&|_| ())).is_empty());
}

#[test]
fn a_truncated_bundle_says_what_it_is_complete_to() {
    let bundle = &SUBJECT.bundle;
    let whole: Vec<_> = honest(bundle).complete_to().to_vec();
    let mut reached = Vec::new();
    for cut in 0..40 {
        let length = bundle.len() * cut / 40;
        let report = honest(&bundle[..length]);
        if length < 40 {
            assert_eq!(report.exit_code(), 65);
            continue;
        }
        assert_eq!(report.exit_code(), 3, "{length}: {}", report.to_json());
        let truncated = |claim: &Claim| claim.code == "truncated" && claim.verdict == Verdict::Undetermined;
        assert!(report.claims().iter().any(truncated));
        for reach in report.complete_to() {
            let all = whole.iter().find(|all| all.node == reach.node).unwrap();
            assert!(reach.size <= all.size);
        }
        reached.push(report.complete_to().iter().map(|reach| reach.size).sum::<u64>());
    }
    // The further the file goes, the more it proves, up to all.
    assert!(reached.is_sorted());
    assert_eq!(reached.first(), Some(&0));
    assert_eq!(reached.last(), Some(&whole.iter().map(|reach| reach.size).sum()));
    // The directory alone is cut: everything is there, and yet not the file that was exported.
    for cut in 1..40 {
        let report = honest(&bundle[..bundle.len() - cut]);
        assert_eq!(report.exit_code(), 3, "{}", report.to_json());
        assert_eq!(report.complete_to(), whole);
    }
}
