//! Changed bundles, and what a verifier makes of them.

use std::io::Cursor;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use basoche_node::bundle::{Report, Verdict, verify};
use basoche_node::zip::{Archive, Writer};
use basoche_protocol::crypto::sha256;
use basoche_protocol::envelope::{Typ, Unsigned};
use basoche_protocol::fixture::Rng;
use basoche_protocol::id::{Digest, DossierId, SubjectId};
use basoche_protocol::text::hex_encode;
use basoche_protocol::time::Instant;
use basoche_protocol::wire::codec;
use serde::Serialize;

use super::bundle_world::{Who, World};

pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// A bundle and the world that made it.
pub(crate) struct Subject {
    pub(crate) world: World,
    pub(crate) bundle: Vec<u8>,
    pub(crate) files: Files,
}

pub(crate) static SUBJECT: LazyLock<Subject> = LazyLock::new(|| {
    let world = World::assessed("");
    let (bundle, _) = world.export();
    let files = unpack(&bundle);
    Subject { world, bundle, files }
});

/// A changed bundle, and the member that a report must name; none where no member was changed.
pub(crate) struct Case {
    pub(crate) what: String,
    pub(crate) member: Option<String>,
    pub(crate) bundle: Vec<u8>,
}

pub(crate) type Judge<'a> = &'a (dyn Fn(&[u8]) -> Report + Sync);

pub(crate) fn honest(bundle: &[u8]) -> Report {
    verify(Cursor::new(bundle), Some(&SUBJECT.world.anchors), &|_, _| {})
}

pub(crate) fn is_found(case: &Case, report: &Report) -> bool {
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
pub(crate) fn missed(count: usize, case: &(dyn Fn(usize) -> Case + Sync), judge: Judge<'_>) -> Vec<String> {
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

pub(crate) fn unpack(bundle: &[u8]) -> Files {
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

pub(crate) fn pack(files: &Files) -> Vec<u8> {
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
pub(crate) fn pack_signed(files: &Files) -> Vec<u8> {
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
pub(crate) fn offsets(seeded: usize, choose: &dyn Fn(&str) -> bool) -> Vec<(usize, usize)> {
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

pub(crate) fn is_long() -> bool {
    std::env::var_os("BASOCHE_LONG").is_some()
}

/// A different bit for each offset, so that every kind of change of a character occurs.
pub(crate) fn flip(data: &mut [u8], offset: usize) {
    data[offset] ^= 1 << (offset % 8);
}

pub(crate) fn flipped_in_place(member: usize, offset: usize) -> Case {
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

pub(crate) fn flipped_and_packed(member: usize, offset: usize, pack: fn(&Files) -> Vec<u8>) -> Case {
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
pub(crate) fn is_evidence(name: &str) -> bool {
    !matches!(name, "README.txt" | "SHA256SUMS" | "manifest.jws")
}
