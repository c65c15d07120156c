//! The scripts behind the `Makefile`: what `make test` answers when something is wrong, and what
//! `deploy/setup.sh` says when it cannot do its work, each run on a copy with programs of ours on its `PATH`;
//! and the systemd unit.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use basoche_conformance::checkout;

use crate::{Answer, scratch};

/// The programs of the system that the scripts use.
const SYSTEM: [&str; 17] = [
    "awk", "bash", "chmod", "cmp", "cp", "cut", "dirname", "env", "head", "mkdir", "printf", "rm", "sed",
    "sort", "tail", "tee", "tr",
];

fn script(path: &Path, body: &str) {
    fs::write(path, format!("#!/bin/bash\n{body}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A checkout with nothing but `deploy/` and the root manifest, and a `PATH` with nothing but the programs of
/// the system that the scripts use and those given here.
fn bare_checkout(name: &str, programs: &[(&str, &str)]) -> PathBuf {
    let root = scratch(name);
    for directory in ["deploy", "bin"] {
        fs::create_dir(root.join(directory)).unwrap();
    }
    for file in [
        "deploy/setup.sh",
        "deploy/test.sh",
        "deploy/python-requirements.txt",
        "Cargo.toml",
    ] {
        fs::copy(checkout().join(file), root.join(file)).unwrap();
    }
    script(&root.join("deploy/lint.sh"), "exit 0");
    for program in SYSTEM {
        let found = ["/usr/bin", "/bin"].map(|directory| Path::new(directory).join(program));
        symlink(
            found.iter().find(|path| path.exists()).unwrap(),
            root.join("bin").join(program),
        )
        .unwrap();
    }
    for (program, body) in programs {
        script(&root.join("bin").join(program), body);
    }
    root
}

fn run(root: &Path, file: &str) -> Answer {
    let mut command = Command::new("/bin/bash");
    command
        .arg(root.join(file))
        .env_clear()
        .env("PATH", root.join("bin"))
        .env("HOME", root);
    Answer::to(&mut command)
}

/// The last line of `make test`, and whether it succeeded, when cargo prints this and ends with this code.
fn verdict(name: &str, cargo_prints: &str, cargo_code: u8) -> (String, bool) {
    let root = bare_checkout(
        name,
        &[("cargo", &format!("printf '{cargo_prints}'\nexit {cargo_code}"))],
    );
    let answer = run(&root, "deploy/test.sh");
    (answer.stdout.lines().last().unwrap().to_owned(), answer.success)
}

const FINE: &str =
    "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\\n";
const BAD: &str =
    "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\\n";

#[test]
fn the_last_line_of_make_test_sums_all_test_programs() {
    assert_eq!(
        verdict("sum", &format!("{FINE}noise\\n{FINE}"), 0),
        ("24 passed, 0 failed, 2 skipped".into(), true)
    );
    assert_eq!(
        verdict("sum", &format!("{FINE}{BAD}"), 101),
        ("15 passed, 2 failed, 1 skipped".into(), false)
    );
}

#[test]
fn make_test_fails_when_cargo_fails_although_no_test_did() {
    assert_eq!(
        verdict("cargo-fails", FINE, 101),
        ("12 passed, 1 failed, 1 skipped".into(), false)
    );
}

#[test]
fn make_test_fails_when_a_test_failed_although_cargo_did_not() {
    assert_eq!(
        verdict("cargo-lies", BAD, 0),
        ("3 passed, 2 failed, 0 skipped".into(), false)
    );
}

#[test]
fn make_test_fails_when_nothing_ran() {
    assert_eq!(
        verdict("nothing-ran", "Finished\\n", 0),
        ("0 passed, 1 failed, 0 skipped".into(), false)
    );
}

#[test]
fn make_test_fails_on_the_lints_before_any_test() {
    let root = bare_checkout("lints-fail", &[("cargo", "echo cargo was started; exit 0")]);
    script(&root.join("deploy/lint.sh"), "exit 1");
    let answer = run(&root, "deploy/test.sh");
    assert!(
        !answer.success && !answer.stdout.contains("cargo was started"),
        "{}",
        answer.stdout
    );
    assert!(
        answer.stdout.ends_with("\n0 passed, 1 failed, 0 skipped\n"),
        "{}",
        answer.stdout
    );
}

/// What setup says on a machine without compiler, with these programs; it must not call it ready.
fn setup_says(name: &str, programs: &[(&str, &str)]) -> String {
    let root = bare_checkout(name, programs);
    let answer = run(&root, "deploy/setup.sh");
    assert!(!answer.success, "{}", answer.stderr);
    assert!(
        answer.stderr.contains("missing: g++ (package build-essential)"),
        "{}",
        answer.stderr
    );
    answer.stderr
}

const RUST: [(&str, &str); 2] = [("cargo", "exit 0"), ("rustc", "echo 'rustc 1.999.0 (planted)'")];

#[test]
fn setup_says_that_rust_is_missing_or_too_old_and_where_to_get_it() {
    let said = setup_says("no-rust", &[]);
    assert!(
        said.contains("Rust 1.95 or later is needed and is not here"),
        "{said}"
    );
    assert!(said.contains("https://sh.rustup.rs"), "{said}");

    let said = setup_says(
        "old-rust",
        &[("cargo", "exit 0"), ("rustc", "echo 'rustc 1.63.0 (planted)'")],
    );
    assert!(
        said.contains("Rust 1.95 or later is needed, here is 1.63.0"),
        "{said}"
    );
    assert!(!setup_says("new-rust", &RUST).contains("Rust 1.95"));
}

#[test]
fn setup_says_that_the_system_has_no_apt() {
    let said = setup_says("no-apt", &RUST);
    assert!(
        said.contains("not a Debian-like system") && said.contains("build-essential"),
        "{said}"
    );
}

#[test]
fn setup_says_that_it_is_neither_root_nor_has_sudo() {
    let person = [("id", "echo 1000"), ("apt-get", "exit 0")];
    let said = setup_says("no-sudo", &[&RUST[..], &person].concat());
    assert!(said.contains("neither root nor sudo"), "{said}");
    assert!(
        said.contains("apt-get install --no-install-recommends") && said.contains("build-essential"),
        "{said}"
    );

    let refused = setup_says(
        "sudo-refuses",
        &[&RUST[..], &person, &[("sudo", "exit 1")]].concat(),
    );
    assert!(refused.contains("sudo refused"), "{refused}");
}

#[test]
fn setup_says_that_there_is_no_network() {
    // Not root, so that the planted sudo stands between the script and the system.
    let person = [("id", "echo 1000"), ("sudo", "exit 0"), ("apt-get", "exit 0")];
    let sudo = "case \"$*\" in *' update') echo 'Could not resolve host'; exit 100 ;; esac";
    let said = setup_says("no-network", &[&RUST[..], &person, &[("sudo", sudo)]].concat());
    assert!(
        said.contains("Could not resolve host") && said.contains("apt-get update failed: no network"),
        "{said}"
    );
}

#[test]
fn every_script_is_well_formed_and_stops_at_errors() {
    let mut files: Vec<PathBuf> = fs::read_dir(checkout().join("deploy"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sh"));
    files.push(checkout().join(".ci/run"));
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        Answer::to(Command::new("bash").arg("-n").arg(&file)).expect_success();
        assert!(
            fs::read_to_string(&file)
                .unwrap()
                .contains("\nset -euo pipefail\n"),
            "{}",
            file.display()
        );
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o111,
            0o111,
            "{}",
            file.display()
        );
    }
}

#[test]
fn the_systemd_unit_starts_the_node_without_privileges_and_without_session_keys_on_disk() {
    let unit = fs::read_to_string(checkout().join("deploy/basoche.service")).unwrap();
    for line in [
        "ExecStart=/usr/bin/basoche node run --config /etc/basoche/node.toml",
        "LoadCredential=passphrase:/etc/basoche/passphrase",
        "UnsetEnvironment=SSLKEYLOGFILE",
        "DynamicUser=yes",
        "StateDirectory=basoche basoche-backup",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "MemoryDenyWriteExecute=yes",
        "UMask=0077",
        "LimitCORE=0",
    ] {
        assert!(unit.lines().any(|l| l == line), "{line} is not in the unit");
    }
}
