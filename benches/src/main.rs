//! `basoche-benches`: what a node does, measured beside its limits and its peers in the same run.
//!
//! A rate means nothing without the machine that made it, so every row with a target is a ratio: to the disk, to
//! QUIC without anything of ours, to rsync over ssh. Each round measures all of them, one after the other, and the
//! median of the rounds counts. `benches/README.md` states method and machine.

mod document;
mod federation;
mod generator;
mod journal;
mod limits;
mod registry;
mod report;
mod rsync;
mod small;
mod transport;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use report::{Report, Row};

/// What every measurement returns: a value, or the reason why there is none.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Measures a Basoche node beside its limits and its peers.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where the rows go, as a JSON array.
    #[arg(long)]
    output: PathBuf,
    /// Size of the document, in bytes.
    #[arg(long, default_value_t = 1 << 30, value_parser = clap::value_parser!(u64).range(1 << 20..=1 << 40))]
    bytes: u64,
    /// How often everything is measured; medians count.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: u16,
    /// How many documents of 16 KiB are carried beside one of the same bytes; 0 for none.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(0..=100_000))]
    files: u64,
    /// Entries of the journals that a node starts with, and that another catches up with; none are measured with 0.
    #[arg(long, default_value_t = 50_000)]
    entries: u64,
    /// Entries of each dossier.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(3..))]
    dossier_entries: u64,
    /// Leaves the second node without them: a start only, of more than can be caught up with.
    #[arg(long)]
    start_only: bool,
    /// Entries of a generated registry that a node starts with; nothing else is then measured.
    #[arg(long)]
    registry: Option<u64>,
    /// Dossiers whose registry is generated, of all professions; nothing else is then measured.
    #[arg(long, conflicts_with = "registry", value_parser = clap::value_parser!(u64).range(10..=1_000_000))]
    registry_of_dossiers: Option<u64>,
    /// Leaves documents out.
    #[arg(long)]
    journals_only: bool,
    /// The program `basoche`; by default the one beside this program.
    #[arg(long)]
    program: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(report) => {
            eprint!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("basoche-benches: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<Report> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| "a cryptographic provider is installed already")?;
    let output = std::path::absolute(&arguments.output)?;
    let parent = output.parent().ok_or("--output names no file")?;
    std::fs::create_dir_all(parent)?;
    // Beside the answer: the disk that is measured is the one that holds the checkout.
    let place = tempfile::Builder::new().prefix("run").tempdir_in(parent)?;
    let program = copy_of_program(arguments.program.as_deref(), place.path())?;
    let load = load_average();
    if arguments.registry.is_some() || arguments.registry_of_dossiers.is_some() {
        let mut report = Report::default();
        if let Some(entries) = arguments.registry {
            registry::measure(&program, place.path(), entries, &mut report)?;
        }
        if let Some(dossiers) = arguments.registry_of_dossiers {
            registry::of_dossiers(&program, place.path(), dossiers, &mut report)?;
        }
        std::fs::write(&output, report.json()?)?;
        return Ok(report);
    }
    let mut report = if arguments.journals_only {
        Report::default()
    } else {
        judge(arguments, &measure(arguments, place.path(), &program)?, load)
    };
    if arguments.entries > 0 {
        let place = place.path().join("journals");
        std::fs::create_dir(&place)?;
        journals(arguments, &place, &program, &mut report)?;
    }
    std::fs::write(&output, report.json()?)?;
    Ok(report)
}

/// A copy that no build replaces while its nodes run.
fn copy_of_program(given: Option<&Path>, place: &Path) -> Outcome<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("basoche");
    let program = given.map_or(beside, Path::to_owned);
    let copy = place.join("basoche");
    std::fs::copy(&program, &copy).map_err(|error| {
        let path = program.display();
        format!("{path}: {error}: build it with `cargo build --locked -p basoche-node`, or give --program")
    })?;
    Ok(copy)
}

/// Values by name, one per round.
type Samples = BTreeMap<&'static str, Vec<f64>>;

/// What the rounds gave.
struct Measured {
    samples: Samples,
    /// Why a measurement is missing.
    missing: BTreeMap<&'static str, String>,
}

impl Measured {
    fn note(&mut self, name: &'static str, outcome: Outcome<f64>) {
        match outcome {
            Ok(value) => self.samples.entry(name).or_default().push(value),
            Err(error) => {
                self.missing.insert(name, error.to_string());
            }
        }
    }

    fn median(&self, name: &str) -> Option<f64> {
        self.samples.get(name).and_then(|values| median(values))
    }
}

fn measure(arguments: &Arguments, place: &Path, program: &Path) -> Outcome<Measured> {
    let mut measured = Measured {
        samples: Samples::new(),
        missing: BTreeMap::new(),
    };
    let bytes = arguments.bytes;
    let source = place.join("document.bin");
    limits::write_random(&source, bytes)?;
    eprintln!("two nodes are set up");
    let mut pair = federation::Pair::set_up(program, place)?;
    let mut highest = [0; 2];
    let before = pair.reset_peaks()?;
    for round in 1..=arguments.rounds {
        eprintln!("round {round} of {}", arguments.rounds);
        let rate = |seconds: Duration| megabytes(bytes) / seconds.as_secs_f64();
        measured.note("disk", limits::buffered_write(place, bytes).map(rate));
        measured.note("disk-direct", limits::direct_write(place, &source).map(rate));
        measured.note("sha256", limits::sha256(bytes).map(rate));
        measured.note("aes", limits::aes256_gcm(bytes).map(rate));
        measured.note("raw-quinn", transport::plain(bytes).map(rate));
        measured.note("bulk-lane", transport::bulk_lane(bytes).map(rate));
        let one = document::carry(&mut pair, &source, bytes)?;
        measured.note("ingest", Ok(rate(one.ingest)));
        measured.note("transfer", Ok(rate(one.transfer)));
        measured.note("availability", Ok(rate(one.availability)));
        let per_gigabyte = |seconds: f64| seconds * 1000.0 / megabytes(bytes);
        measured.note("cpu-home", Ok(per_gigabyte(one.cpu_seconds[0])));
        measured.note("cpu-other", Ok(per_gigabyte(one.cpu_seconds[1])));
        highest = pair.peaks()?;
        let rsync = rsync::Server::start(place);
        for (name, durable) in [("rsync", false), ("rsync-fsync", true)] {
            let carried = match &rsync {
                Ok(server) => server.carry(&source, durable),
                Err(error) => Err(error.to_string().into()),
            };
            measured.note(name, carried.map(rate));
        }
    }
    if arguments.files > 0 {
        eprintln!("{} small documents", arguments.files);
        let small = small::carry(&mut pair, place, arguments.files, arguments.rounds)?;
        let bytes = arguments.files * small::BYTES;
        let rate = |took: &Duration| megabytes(bytes) / took.as_secs_f64();
        measured.note("small-deposit", Ok(rate(&small.deposit)));
        measured.note("small-arrival", Ok(rate(&small.arrival)));
        measured.note(
            "small-cpu-home",
            Ok(small.cpu_seconds[0] * 1000.0 / megabytes(bytes)),
        );
        measured.note(
            "small-cpu-other",
            Ok(small.cpu_seconds[1] * 1000.0 / megabytes(bytes)),
        );
        small
            .again
            .iter()
            .for_each(|took| measured.note("small-again", Ok(rate(took))));
        small
            .large_again
            .iter()
            .for_each(|took| measured.note("large-again", Ok(rate(took))));
    }
    pair.stop()?;
    for (name, node) in [("memory-home", 0), ("memory-other", 1)] {
        let mebibytes = |kib: u64| kib as f64 / 1024.0;
        measured.note(name, Ok(mebibytes(highest[node])));
        let growth = if node == 0 { "growth-home" } else { "growth-other" };
        measured.note(growth, Ok(mebibytes(highest[node].saturating_sub(before[node]))));
    }
    Ok(measured)
}

/// Starts with many entries, and a catch-up with them.
fn journals(arguments: &Arguments, place: &Path, program: &Path, report: &mut Report) -> Outcome<()> {
    let mut pair = federation::Pair::set_up(program, place)?;
    pair.halt(1)?;
    pair.halt(0)?;
    let Arguments {
        entries,
        dossier_entries,
        ..
    } = *arguments;
    eprintln!("{entries} entries are made");
    let mut workshop = pair.workshop()?;
    let made = workshop.fill(entries, dossier_entries, true)?;
    let signed = workshop.signed()?;
    let load = || load_average().map_or_else(String::new, |load| format!("; load {load}"));
    let what = format!("{made} entries in dossiers of {dossier_entries}");
    let ready = pair.start(0)?.as_secs_f64();
    let title = format!("start to ready, {what}");
    let reason = format!("stopped before, so every dossier is summarised{}", load());
    report.push(Row::plain(&title, ready, "s", &reason).below(3.0));
    pair.halt(0)?;
    pair.workshop()?.fill(0, dossier_entries, false)?;
    let ready = pair.start(0)?.as_secs_f64();
    let title = format!("start to ready without summaries, {what}");
    report.push(Row::plain(
        &title,
        ready,
        "s",
        &format!("they are read back after that{}", load()),
    ));
    let begun = std::time::Instant::now();
    pair.until_status(0, Duration::from_millis(200), |status| {
        (status.reading_back == 0).then_some(())
    })?;
    let title = format!("all read back after ready, {what}");
    report.push(Row::plain(&title, begun.elapsed().as_secs_f64(), "s", &load()));
    if !arguments.start_only {
        let before = signed.verify(made)?;
        let begun = std::time::Instant::now();
        pair.start(1)?;
        pair.until_status(1, Duration::from_millis(10), |status| {
            let held: usize = status.dossiers.iter().map(|dossier| dossier.entries).sum();
            (held as u64 >= made).then_some(())
        })?;
        let caught_up = begun.elapsed().as_secs_f64();
        // The machine is not always as fast: the better of the two is what it can do.
        let verified = signed.verify(made)?.min(before).as_secs_f64();
        let reason = format!(
            "limit: their signatures on all cores; both nodes on this machine, start included{}",
            load()
        );
        report.push(Row::plain(&format!("catch-up, {what}"), caught_up, "s", &reason).at_most(verified, 1.5));
    }
    pair.halt(0)?;
    if !arguments.start_only {
        pair.halt(1)?;
    }
    Ok(())
}

/// The rows, with the targets of a document that goes from node to node.
fn judge(arguments: &Arguments, measured: &Measured, load: Option<f64>) -> Report {
    let mut report = Report::default();
    let size = format!("{} bytes, median of {}", arguments.bytes, arguments.rounds);
    if let Some(load) = load {
        let reason = "runnable processes over the last minute, when the run began";
        report.push(Row::plain("load before the run", load, "processes", reason));
    }
    let spread = |name: &str| match measured.samples.get(name) {
        Some(values) => {
            let all: Vec<String> = values.iter().map(|value| format!("{value:.0}")).collect();
            format!("{size}: {}", all.join(", "))
        }
        None => size.clone(),
    };
    let row = |name: &'static str, title: &str, unit: &str| match measured.median(name) {
        Some(value) => Row::plain(title, value, unit, &spread(name)),
        None => Row::missing(title, unit, measured.missing.get(name).map_or("", String::as_str)),
    };
    for (name, title) in [
        ("disk", "disk, buffered and fdatasync"),
        ("disk-direct", "disk, O_DIRECT"),
        ("sha256", "SHA-256, one core"),
        ("aes", "AES-256-GCM, one core"),
        ("raw-quinn", "raw quinn, loopback, datagrams of 1452"),
        ("bulk-lane", "the node's bulk lane, nothing hashed or stored"),
        ("rsync", "rsync over ssh, not synced"),
        ("rsync-fsync", "rsync over ssh, --fsync"),
    ] {
        report.push(row(name, title, "MB/s"));
    }
    let disk = measured.median("disk");
    let quinn = measured.median("raw-quinn");
    let lower = disk.zip(quinn).map(|(disk, quinn)| disk.min(quinn));
    report.push(
        row(
            "ingest",
            "document: ingest (client to durable at its home node)",
            "MB/s",
        )
        .beside(disk, None, "buffered disk"),
    );
    for (limit, target, what) in [
        (lower, Some(0.9), "the lower of raw quinn and buffered disk"),
        (quinn, None, "raw quinn"),
        (measured.median("rsync"), Some(1.0), "rsync over ssh, not synced"),
        (measured.median("rsync-fsync"), None, "rsync over ssh, --fsync"),
    ] {
        let title = format!("document: transfer (deposited to held) beside {what}");
        report.push(row("transfer", &title, "MB/s").beside(limit, target, what));
    }
    report.push(
        row(
            "availability",
            "document: availability (command to available at the other node)",
            "MB/s",
        )
        .beside(disk.map(|disk| disk / 2.0), None, "half the buffered disk"),
    );
    report.push(row(
        "cpu-home",
        "document: processor time of the home node",
        "s/GB",
    ));
    report.push(row(
        "cpu-other",
        "document: processor time of the other node",
        "s/GB",
    ));
    for (peak, growth, node) in [
        ("memory-home", "growth-home", "home node"),
        ("memory-other", "growth-other", "other node"),
    ] {
        report.push(row(peak, &format!("peak memory of the {node} (VmHWM)"), "MiB"));
        let title = format!("growth of the peak memory of the {node}");
        report.push(row(growth, &title, "MiB").below(64.0));
    }
    if arguments.files > 0 {
        small_rows(arguments, measured, &row, &mut report);
    }
    report
}

/// The rows of the small documents.
fn small_rows(
    arguments: &Arguments,
    measured: &Measured,
    row: &impl Fn(&'static str, &str, &str) -> Row,
    report: &mut Report,
) {
    let many = format!("{} x {} KiB", arguments.files, small::BYTES >> 10);
    let one = "one document of the same bytes, fetched again in the same way";
    let title = format!("{many}: fetched again by the other node, verified and synced");
    let again = row("small-again", &title, "MB/s").beside(measured.median("large-again"), Some(0.5), one);
    report.push(again);
    for (name, what, unit) in [
        (
            "small-deposit",
            "deposit (command to durable at the home node)",
            "MB/s",
        ),
        (
            "small-arrival",
            "arrival (command to stored at the other node)",
            "MB/s",
        ),
        ("small-cpu-home", "processor time of the home node", "s/GB"),
        ("small-cpu-other", "processor time of the other node", "s/GB"),
    ] {
        report.push(row(name, &format!("{many}: {what}"), unit));
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The middle value, or the mean of the two.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len().is_multiple_of(2) {
        Some((sorted[middle - 1] + upper) / 2.0)
    } else {
        Some(upper)
    }
}

fn load_average() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_value_or_the_mean_of_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
