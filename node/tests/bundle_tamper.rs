//! Whatever is changed in a bundle is found, and the member that was changed is named. Shown by 2.
//!
//! Three attackers: one who flips bytes of the file; one who repairs the archive around what he changed; and the
//! dishonest exporter, who signs a new manifest over it. `BASOCHE_LONG=1` gives the two latter as many offsets as
//! the first.
#![allow(clippy::unwrap_used)]

mod bundle_world;

use std::io::Cursor;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use basoche_node::bundle::{Claim, Report, Verdict, head_name, verify};
use basoche_node::zip::{Archive, Writer};
use basoche_protocol::crypto::sha256;
use basoche_protocol::envelope::{Typ, Unsigned};
use basoche_protocol::fixture::Rng;
use basoche_protocol::id::{Digest, DossierId, SubjectId};
use basoche_protocol::journal::{Head, SignedHead};
use basoche_protocol::text::hex_encode;
use basoche_protocol::time::Instant;
use basoche_protocol::wire::codec;
use basoche_registry::Replica;
use bundle_world::{Who, World};
use serde::Serialize;

type Files = Vec<(String, Vec<u8>)>;

/// A bundle and the world that made it.
struct Subject {
    world: World,
    bundle: Vec<u8>,
    files: Files,
}

static SUBJECT: LazyLock<Subject> = LazyLock::new(|| {
    let world = World::assessed("");
    let (bundle, _) = world.export();
    let files = unpack(&bundle);
    Subject { world, bundle, files }
});

/// A changed bundle, and the member that a report must name; none where no member was changed.
struct Case {
    what: String,
    member: Option<String>,
    bundle: Vec<u8>,
}

type Judge<'a> = &'a (dyn Fn(&[u8]) -> Report + Sync);

fn honest(bundle: &[u8]) -> Report {
    verify(Cursor::new(bundle), Some(&SUBJECT.world.anchors), &|_, _| {})
}

fn is_found(case: &Case, report: &Report) -> bool {
    let names = |member: &String| {
        let mut doubts = report
            .claims()
            .iter()
            .filter(|claim| claim.verdict != Verdict::Proved);
        doubts.any(|claim| claim.member.as_ref() == Some(member))
    };
    report.exit_code() != 0 && case.member.as_ref().is_none_or(names)
}

/// What `judge` misses of `count` cases, on every core.
fn missed(count: usize, case: &(dyn Fn(usize) -> Case + Sync), judge: Judge<'_>) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let worker = || {
        let mut missed = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return missed;
            }
            let case = case(index);
            let report = judge(&case.bundle);
            if !is_found(&case, &report) {
                missed.push(format!("{}: {}", case.what, report.to_json()));
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    })
}

fn unpack(bundle: &[u8]) -> Files {
    let mut archive = Archive::open(Cursor::new(bundle)).unwrap();
    let names: Vec<_> = archive
        .members()
        .iter()
        .map(|member| member.name.clone())
        .collect();
    let read = |name: String| {
        let data = archive.read(&name, 1 << 30).unwrap();
        (name, data)
    };
    names.into_iter().map(read).collect()
}

fn pack(files: &Files) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    let mut writer = Writer::new(&mut out).unwrap();
    for (name, data) in files {
        writer.add(name, data).unwrap();
    }
    writer.finish().unwrap();
    out.into_inner()
}

/// The manifest as SPEC §12 has it, written apart from the node's own.
#[derive(Serialize)]
struct Manifest {
    v: u64,
    dossier: DossierId,
    node: SubjectId,
    time: Instant,
    members: u64,
    sums: Digest,
}

/// Packs with a list of digests and a manifest that are right: the exporting node's key signs whatever it is given.
fn pack_signed(files: &Files) -> Vec<u8> {
    let world = &SUBJECT.world;
    let listed = |(name, _): &&(String, Vec<u8>)| name != "SHA256SUMS" && name != "manifest.jws";
    let mut files: Files = files.iter().filter(listed).cloned().collect();
    let line = |(name, data): &(String, Vec<u8>)| format!("{}  {name}\n", hex_encode(&sha256(&[data])));
    let sums: String = files.iter().map(line).collect();
    let manifest = Manifest {
        v: 1,
        dossier: world.dossier,
        node: Who::Court.subject(),
        time: world.now,
        members: files.len() as u64,
        sums: Digest::of(&[sums.as_bytes()]),
    };
    let unsigned = Unsigned::new(Typ::Bundle, world.seal(), world.now, codec::encode(&manifest));
    let jws = unsigned.sign(world.seal()).unwrap().to_jws();
    files.push(("SHA256SUMS".into(), sums.into_bytes()));
    files.push(("manifest.jws".into(), jws.into_bytes()));
    pack(&files)
}

/// First, last and `seeded` other offsets of each member that `choose` takes: (member, offset).
fn offsets(seeded: usize, choose: &dyn Fn(&str) -> bool) -> Vec<(usize, usize)> {
    let mut rng = Rng::new(2);
    let mut all = Vec::new();
    for (member, (name, data)) in SUBJECT.files.iter().enumerate() {
        if !choose(name) || data.is_empty() {
            continue;
        }
        let mut of_member = vec![0, data.len() - 1];
        of_member.extend((0..seeded).map(|_| rng.below(data.len() as u64) as usize));
        of_member.sort_unstable();
        of_member.dedup();
        all.extend(of_member.into_iter().map(|offset| (member, offset)));
    }
    all
}

fn is_long() -> bool {
    std::env::var_os("BASOCHE_LONG").is_some()
}

/// A different bit for each offset, so that every kind of change of a character occurs.
fn flip(data: &mut [u8], offset: usize) {
    data[offset] ^= 1 << (offset % 8);
}

fn flipped_in_place(member: usize, offset: usize) -> Case {
    let (name, _) = &SUBJECT.files[member];
    let mut bundle = SUBJECT.bundle.clone();
    let archive = Archive::open(Cursor::new(&SUBJECT.bundle)).unwrap();
    let start = archive.find(name).unwrap().offset as usize;
    flip(&mut bundle, start + offset);
    Case {
        what: format!("byte {offset} of {name}"),
        member: Some(name.clone()),
        bundle,
    }
}

fn flipped_and_packed(member: usize, offset: usize, pack: fn(&Files) -> Vec<u8>) -> Case {
    let mut files = SUBJECT.files.clone();
    let (name, data) = &mut files[member];
    flip(data, offset);
    Case {
        what: format!("byte {offset} of {name}, packed anew"),
        member: Some(name.clone()),
        bundle: pack(&files),
    }
}

/// What a dishonest exporter cannot put right. He can write whatever README he likes.
fn is_evidence(name: &str) -> bool {
    !matches!(name, "README.txt" | "SHA256SUMS" | "manifest.jws")
}

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
        "documents/",
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
