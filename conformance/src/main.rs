//! `basoche-conformance`: runs the vectors. SPEC §13.3.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use basoche_conformance::checkout;
use basoche_conformance::fixture::Fixture;
use basoche_conformance::judge::Judge;
use basoche_conformance::report::Report;
use basoche_conformance::vector::read_all;

const USAGE: &str = "usage: basoche-conformance vectors [--vectors DIR] [--out FILE]";

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() != Some("vectors") {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    let mut vectors = checkout().join("conformance/vectors");
    let mut out = checkout().join("target/conformance/report.json");
    while let Some(option) = arguments.next() {
        match (option.as_str(), arguments.next()) {
            ("--vectors", Some(path)) => vectors = PathBuf::from(path),
            ("--out", Some(path)) => out = PathBuf::from(path),
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    run(&vectors, &out)
}

fn run(folder: &Path, out: &Path) -> ExitCode {
    let judge = match Fixture::read(folder) {
        Ok(fixture) => Judge::new(&fixture),
        Err(error) => {
            eprintln!("{}: {error}; name the folder with --vectors", folder.display());
            return ExitCode::from(65);
        }
    };
    let (judge, vectors) = match (judge, read_all(folder)) {
        (Some(judge), Ok(vectors)) => (judge, vectors),
        (None, _) => {
            eprintln!("fixture.json holds a key that is none");
            return ExitCode::from(65);
        }
        (_, Err(error)) => {
            eprintln!("{error}");
            return ExitCode::from(65);
        }
    };
    let report = Report::of(&judge, &vectors);
    for case in report.cases.iter().filter(|case| !case.passed) {
        eprintln!(
            "FAILED {}: expected {}, found {}",
            case.name, case.expected, case.found
        );
    }
    // Unwrap safety: strings, numbers and booleans only.
    let json = serde_json::to_string_pretty(&report).unwrap_or_default();
    let written = out
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(out, json + "\n"));
    if let Err(error) = written {
        eprintln!("{}: {error}; name another file with --out", out.display());
        return ExitCode::from(73);
    }
    println!("{} passed, {} failed", report.passed, report.failed);
    // No vectors at all prove nothing.
    ExitCode::from(u8::from(report.failed > 0 || report.passed == 0))
}
