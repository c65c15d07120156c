//! `protocol` and `registry` read no clock, file, socket, environment or random source: clippy refuses the
//! calls, by the `clippy.toml` beside each of them, and `make lint` runs clippy.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use basoche_conformance::checkout;
use serde_json::Value;

use crate::{Answer, cargo, scratch};

/// The clippy command of `deploy/lint.sh`, which `make lint` runs.
const LINT: &str = "cargo clippy --workspace --all-targets --locked -- -D warnings";

/// One call of each kind, with what clippy has to say about it.
const PLANTED: [(&str, &str); 8] = [
    (
        "std::time::SystemTime::now()",
        "disallowed method `std::time::SystemTime::now`",
    ),
    (
        "std::time::Instant::now()",
        "disallowed method `std::time::Instant::now`",
    ),
    (
        "std::fs::read(\"/etc/hostname\")",
        "disallowed method `std::fs::read`",
    ),
    (
        "std::net::UdpSocket::bind(\"[::]:0\")",
        "disallowed type `std::net::UdpSocket`",
    ),
    ("std::env::var(\"HOME\")", "disallowed method `std::env::var`"),
    (
        "std::thread::sleep(std::time::Duration::ZERO)",
        "disallowed method `std::thread::sleep`",
    ),
    (
        "aws_lc_rs::rand::fill(&mut [0])",
        "disallowed method `aws_lc_rs::rand::fill`",
    ),
    (
        "std::collections::HashMap::<u8, u8>::new()",
        "disallowed type `std::collections::HashMap`",
    ),
];

/// A link in `to` for each entry of `from` that is not named: vectors and texts that a test may include.
fn link_others(from: &Path, to: &Path, except: &[&str]) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if !except.iter().any(|name| entry.file_name() == *name) {
            symlink(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A copy of the workspace with `protocol` whole and the code of everything else reduced to nothing: the
/// dependencies keep their features (and are not built again), and only `protocol` is left to be linted.
fn copy_of_the_workspace() -> PathBuf {
    let copy = scratch("purity");
    let members = ["protocol", "registry", "node", "conformance", "benches"];
    let manifests = ["Cargo.toml", "Cargo.lock", "clippy.toml"];
    link_others(
        &checkout(),
        &copy,
        &[&members[..], &manifests, &["target", ".cargo", ".git"]].concat(),
    );
    for file in manifests {
        fs::copy(checkout().join(file), copy.join(file)).unwrap();
    }
    copy_tree(&checkout().join("protocol"), &copy.join("protocol"));

    let answer = cargo(&["metadata", "--no-deps", "--format-version", "1", "--locked"]);
    let metadata: Value = serde_json::from_str(&answer.expect_success()).unwrap();
    let inside = |path: &Path| copy.join(path.strip_prefix(checkout()).unwrap());
    for package in metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|p| p["name"] != "basoche-protocol")
    {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        let (home, copied_home) = (manifest.parent().unwrap(), inside(manifest.parent().unwrap()));
        fs::create_dir_all(&copied_home).unwrap();
        link_others(
            home,
            &copied_home,
            &[
                "Cargo.toml",
                "build.rs",
                "src",
                "tests",
                "benches",
                "examples",
                "peers",
            ],
        );
        fs::copy(manifest, inside(manifest)).unwrap();
        for target in package["targets"].as_array().unwrap() {
            let source = inside(Path::new(target["src_path"].as_str().unwrap()));
            let library = target["kind"]
                .as_array()
                .unwrap()
                .iter()
                .any(|kind| kind == "lib");
            fs::create_dir_all(source.parent().unwrap()).unwrap();
            fs::write(
                source,
                if library {
                    "//! Empty.\n"
                } else {
                    "//! Empty.\nfn main() {}\n"
                },
            )
            .unwrap();
        }
    }
    copy
}

/// What the lint says of the copy. It runs in the checkout, whose compiler settings apply.
fn lint(copy: &Path) -> Answer {
    let manifest = format!("--manifest-path={}", copy.join("Cargo.toml").display());
    let mut arguments: Vec<_> = LINT.split(' ').skip(1).collect();
    arguments.insert(1, &manifest);
    cargo(&arguments)
}

#[test]
fn a_planted_clock_call_in_protocol_fails_the_lint() {
    let copy = copy_of_the_workspace();
    lint(&copy).expect_success();

    let library = copy.join("protocol/src/lib.rs");
    let mut code = fs::read_to_string(&library).unwrap();
    code += "\n/// Planted.\npub fn planted() {\n";
    for (call, _) in PLANTED {
        code += &format!("    let _ = {call};\n");
    }
    fs::write(&library, code + "}\n").unwrap();

    let answer = lint(&copy);
    assert!(!answer.success, "the lint passes: {}", answer.stderr);
    for (call, complaint) in PLANTED {
        assert!(
            answer.stderr.contains(complaint),
            "{call} goes unnoticed: {}",
            answer.stderr
        );
    }
}

#[test]
fn configuration_is_the_same_for_both_pure_crates_and_has_no_exemption() {
    let read = |path: &str| fs::read_to_string(checkout().join(path)).unwrap();
    assert_eq!(read("protocol/clippy.toml"), read("registry/clippy.toml"));
    assert!(read("deploy/lint.sh").contains(LINT));
    assert!(read("Makefile").contains("deploy/lint.sh"));
    for directory in ["protocol/src", "registry/src"] {
        assert_eq!(exemptions(&checkout().join(directory)), Vec::<PathBuf>::new());
    }
}

/// The files that switch the ban off for themselves.
fn exemptions(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(exemptions(&path));
        } else if fs::read_to_string(&path).unwrap().contains("clippy::disallowed_") {
            found.push(path);
        }
    }
    found
}
