//! A registry of many entries: a start with it, what it takes of memory, look-ups, and a node that was away.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use basoche_node::config::Config;
use basoche_node::effects::now;
use basoche_node::rows::Rows;
use basoche_node::store::{Batch, RocksStore, Store};
use basoche_node::vault::{self, SealedStore, StorageKey};
use basoche_protocol::directory::{Directory, Status};
use basoche_protocol::engine::{Registry, Row};
use basoche_protocol::id::CertificateId;
use basoche_protocol::time::Span;
use basoche_protocol::tree::Tree;
use basoche_registry::snapshot::MAGIC;
use basoche_registry::{Anchors, Replica};

use crate::Outcome;
use crate::federation::Pair;
use crate::generator::{DOSSIERS_OF_AN_EXPERT, ENTRIES_OF_AN_EXPERT, Generator, Trade};
use crate::report::{Report, Row as Line};

/// What a node that was away for a week lacks of three authorities of two million entries in ten years each.
const WEEK: u64 = 11_500;
/// Entries up to which another node catches up with all.
const CAUGHT_UP: u64 = 200_000;
/// Entries up to which a snapshot is made: here it is held in memory.
const SNAPSHOT: u64 = 2_000_000;
/// Entries between two commits.
const BURST: u64 = 2048;
/// Certificates that are looked up again and again.
const HOT: usize = 4096;
/// Look-ups of one measurement.
const LOOK_UPS: usize = 200_000;

/// The registry in the store of a node that is stopped.
struct Shelf {
    rows: Rows,
    registry: Replica,
}

impl Shelf {
    fn open(config: &Path) -> Outcome<Self> {
        let read = Config::read(config)?;
        let storage = vault::open(&read.data, &read.passphrase(config)?)?;
        let store: Arc<dyn Store> = Arc::new(RocksStore::open(&read.data.join("store"))?);
        let rows = Rows::new(SealedStore::new(store, storage));
        let registry = rows.registry(Anchors::parse(&fs::read(&read.anchors)?)?)?;
        Ok(Self { rows, registry })
    }

    /// Admits entries until there are `to`; how long that took on this thread, without making them.
    fn fill(&mut self, generator: &Generator, to: u64) -> Outcome<Duration> {
        let mut took = Duration::ZERO;
        loop {
            let from = self
                .registry
                .tree(generator.origin())
                .map_or(0, |tree| tree.size());
            if from >= to {
                return Ok(took);
            }
            let leaves = generator.leaves(from, to.min(from + BURST))?;
            let begun = Instant::now();
            let mut batch = Batch::default();
            for (leaf, index) in leaves.into_iter().zip(from..) {
                self.registry.admit(generator.origin(), index, &leaf)?;
                let origin = generator.origin().to_owned();
                self.rows.put(&mut batch, &Row::Leaf { origin, index, leaf })?;
            }
            for row in self.registry.poll_rows() {
                self.rows.put(&mut batch, &Row::Registry(row))?;
            }
            self.rows.commit(batch)?;
            self.registry.settle();
            took += begun.elapsed();
        }
    }

    /// Nanoseconds that one look-up takes of these certificates.
    fn look_up(&self, certificates: &[CertificateId]) -> Outcome<f64> {
        let at = now();
        let begun = Instant::now();
        for certificate in certificates {
            if matches!(
                black_box(self.registry.status(certificate, at)),
                Status::Undetermined { .. }
            ) {
                return Err(format!("{certificate} is not in the registry").into());
            }
        }
        Ok(begun.elapsed().as_nanos() as f64 / certificates.len() as f64)
    }
}

/// Two nodes that are stopped, and believe the authorities of the generators besides.
fn pair_that_believes(program: &Path, place: &Path, generators: &[Generator]) -> Outcome<Pair> {
    let mut pair = Pair::set_up(program, place)?;
    pair.halt(0)?;
    pair.halt(1)?;
    let anchors = pair.anchors();
    let believed = Anchors::parse(&fs::read(&anchors)?)?;
    let mut authorities = believed.authorities().to_vec();
    authorities.extend(generators.iter().map(|generator| generator.authority().clone()));
    fs::write(&anchors, Anchors::new(authorities)?.to_json())?;
    Ok(pair)
}

/// Measures the registry that so many dossiers bring about in ten years: of every hundred thousand dossiers eighty thousand lawyers
/// with four entries each, a tenth as many experts as dossiers, forty thousand entries of courts.
pub(crate) fn of_dossiers(program: &Path, place: &Path, dossiers: u64, report: &mut Report) -> Outcome<()> {
    let experts = dossiers.div_ceil(DOSSIERS_OF_AN_EXPERT);
    let logs = [
        (Trade::Lawyers, dossiers * 16 / 5),
        (Trade::Judges, dossiers * 2 / 5),
        (Trade::Experts, 1 + experts * ENTRIES_OF_AN_EXPERT),
    ];
    let most = logs.iter().map(|(_, entries)| *entries).max().unwrap_or(0);
    let begins = now() - Span::from_seconds(most + 86_400);
    let generators: Outcome<Vec<_>> = (1..)
        .zip(logs)
        .map(|(seed, (trade, _))| Generator::new(seed, trade, begins))
        .collect();
    let generators = generators?;
    let mut pair = pair_that_believes(program, place, &generators)?;
    let mut shelf = Shelf::open(&pair.config(0))?;
    for (generator, (_, entries)) in generators.iter().zip(logs) {
        shelf.fill(generator, entries)?;
    }
    let what = format!("registry of {dossiers} dossiers");
    let leaves: u64 = shelf.registry.sizes().map(|(_, size)| size).sum();
    drop(shelf);
    let title = format!("{what}: leaves of all logs");
    let row = Line::plain(
        &title,
        leaves as f64,
        "leaves",
        "delegations and their ends included",
    );
    report.push(row.below(dossiers as f64 * 10.0));
    start(&mut pair, &what, report)?;
    pair.halt(0)
}

/// How soon a node is ready with what it holds, and what it takes of memory.
fn start(pair: &mut Pair, what: &str, report: &mut Report) -> Outcome<()> {
    let ready = pair.start(0)?.as_secs_f64();
    report.push(Line::plain(&format!("{what}: start to ready"), ready, "s", "").below(3.0));
    std::thread::sleep(Duration::from_secs(2));
    let (resident, peak) = pair.memory(0)?;
    let mib = |kib: u64| kib as f64 / 1024.0;
    report.push(
        Line::plain(
            &format!("{what}: resident memory, two seconds after that"),
            mib(resident),
            "MiB",
            "200 MB are 190.7 MiB",
        )
        .below(190.7),
    );
    report.push(Line::plain(
        &format!("{what}: peak memory of the start"),
        mib(peak),
        "MiB",
        "",
    ));
    Ok(())
}

/// Measures a registry of `entries` entries beside the nodes' own.
pub(crate) fn measure(program: &Path, place: &Path, entries: u64, report: &mut Report) -> Outcome<()> {
    let begins = now() - Span::from_seconds(entries + WEEK + 86_400);
    let generator = Generator::new(1, Trade::Lawyers, begins)?;
    let mut pair = pair_that_believes(program, place, std::slice::from_ref(&generator))?;

    let config = pair.config(0);
    let mut shelf = Shelf::open(&config)?;
    let took = shelf.fill(&generator, entries)?;
    let what = format!("registry of {entries} entries");
    let rate = entries as f64 / took.as_secs_f64();
    report.push(Line::plain(
        &format!("{what}: admitted and committed by one thread"),
        rate,
        "entries/s",
        "no signature checked ahead",
    ));
    look_ups(&shelf, &generator, entries, &what, report)?;
    if entries <= SNAPSHOT {
        snapshot(&shelf, &generator, entries, place, &what, report)?;
    }
    drop(shelf);

    start(&mut pair, &what, report)?;
    if entries > CAUGHT_UP {
        return pair.halt(0);
    }
    let title = format!("{what}: another node catches up with all of it");
    catch_up(&mut pair, &generator, 0, entries, &title, report)?;
    pair.halt(1)?;
    pair.halt(0)?;
    Shelf::open(&config)?.fill(&generator, entries + WEEK)?;
    pair.start(0)?;
    let title = format!("{what}: a node that was away for {WEEK} more is current");
    catch_up(&mut pair, &generator, entries, entries + WEEK, &title, report)?;
    pair.stop()
}

/// From the start of the other node until it holds `to` entries, of which it has `from`, beside all cores verifying the
/// signatures of those between.
fn catch_up(
    pair: &mut Pair,
    generator: &Generator,
    from: u64,
    to: u64,
    title: &str,
    report: &mut Report,
) -> Outcome<()> {
    let signatures = generator.signatures(from..to);
    let before = generator.verify(signatures)?;
    let begun = Instant::now();
    pair.start(1)?;
    pair.until_status(1, Duration::from_millis(10), |status| {
        (status.registry.get(generator.origin()) == Some(&to)).then_some(())
    })?;
    let took = begun.elapsed().as_secs_f64();
    let least = before.min(generator.verify(signatures)?).as_secs_f64();
    let reason = format!("start of the program included; {signatures} signatures");
    report.push(Line::plain(title, took, "s", &reason).at_most(least, 1.3));
    Ok(())
}

/// What a snapshot is, and how soon a store without any entry has taken it.
fn snapshot(
    shelf: &Shelf,
    generator: &Generator,
    entries: u64,
    place: &Path,
    what: &str,
    report: &mut Report,
) -> Outcome<()> {
    let (mut registry, origin) = (shelf.registry.clone(), generator.origin());
    let root = registry.state_root(origin).ok_or("no such log")?;
    registry.admit(origin, entries, &generator.state_root(entries, root)?)?;
    let head = registry.heads().into_iter().find(|head| head.origin == origin);
    let checkpoint = generator.checkpoint(&head.ok_or("no such log")?)?;
    let begun = Instant::now();
    let mut file = MAGIC.to_vec();
    let mut next = Some(0);
    while let Some(position) = next {
        let given = registry.snapshot(origin, entries, &checkpoint, position)?;
        for part in &given.parts {
            file.extend_from_slice(&u32::try_from(part.len())?.to_be_bytes());
            file.extend_from_slice(part);
        }
        next = given.next;
    }
    let took = begun.elapsed().as_secs_f64();
    report.push(Line::plain(
        &format!("{what}: a snapshot is made"),
        took,
        "s",
        "in memory",
    ));
    let mib = file.len() as f64 / f64::from(1 << 20);
    report.push(Line::plain(&format!("{what}: the snapshot"), mib, "MiB", ""));

    let late = place.join("late");
    let store: Arc<dyn Store> = Arc::new(RocksStore::create(&late)?);
    let rows = Rows::new(SealedStore::new(store, StorageKey::from_bytes([7; 32])));
    let begun = Instant::now();
    rows.begin_registry(registry.anchors(), &mut file.as_slice())?;
    let late = rows.registry(registry.anchors().clone())?;
    let took = begun.elapsed().as_secs_f64();
    let root = |registry: &Replica| registry.tree(origin).map(Tree::root);
    if root(&late) != root(&registry) {
        return Err("a registry that began with a snapshot is another".into());
    }
    let certificate = generator.certificate(1).ok_or("nobody is enrolled there")?;
    let says = |registry: &Replica| format!("{:?}", registry.status(&certificate, now()));
    if says(&late) != says(&registry) {
        return Err("a registry that began with a snapshot says something else".into());
    }
    let title = format!("{what}: a store without entries has taken the snapshot, and is open");
    report.push(Line::plain(&title, took, "s", ""));
    Ok(())
}

/// How long look-ups take: of what was looked up lately, and of anything.
fn look_ups(
    shelf: &Shelf,
    generator: &Generator,
    entries: u64,
    what: &str,
    report: &mut Report,
) -> Outcome<()> {
    // A permutation of sorts: every step far from the one before.
    let step = (entries / 2 + 1) | 1;
    let any = (1..=LOOK_UPS as u64).filter_map(|n| generator.certificate(n.wrapping_mul(step) % entries));
    let any: Vec<_> = any.collect();
    let hot: Vec<_> = any[..HOT.min(any.len())].to_vec();
    let cold = shelf.look_up(&any)?;
    shelf.look_up(&hot)?;
    let again: Vec<_> = hot.iter().cycle().take(LOOK_UPS).copied().collect();
    let warm = shelf.look_up(&again)?;
    let title = format!("{what}: look-up, of {} certificates", hot.len());
    report.push(Line::plain(&title, warm, "ns", "again and again").below(2000.0));
    report.push(Line::plain(
        &format!("{what}: look-up, of any certificate"),
        cold,
        "ns",
        "each another one, from the store",
    ));
    Ok(())
}
