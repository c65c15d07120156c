//! Least versions in `Cargo.lock`. Below each of them a published vulnerability, or a defect that we ran
//! into, is within reach of a peer. `deny.toml` asks the advisory database for more; this needs no network.

use basoche_conformance::checkout;
use toml::{Table, Value};

type Version = (u64, u64, u64);

/// Whether a crate has to be in the lock file, or is only looked at once something brings it in.
#[derive(PartialEq)]
enum Presence {
    Needed,
    Optional,
}
use Presence::{Needed, Optional};

/// Crate, least version, whether it must be there, and what the version mends.
const FLOORS: [(&str, Version, Presence, &str); 14] = [
    (
        "quinn-proto",
        (0, 11, 18),
        Needed,
        "RUSTSEC-2026-0037, RUSTSEC-2026-0185; .17 stalls large transfers",
    ),
    (
        "openssl",
        (0, 10, 80),
        Needed,
        "CVE-2026-41676, -41677, -41678 (key unwrapping, which josekit calls), -41681",
    ),
    (
        "rustls-webpki",
        (0, 103, 13),
        Needed,
        "RUSTSEC-2026-0049, -0098, -0099, -0104 (panic on a CRL)",
    ),
    ("aws-lc-sys", (0, 39, 0), Needed, "RUSTSEC-2026-0044 to -0048"),
    (
        "rustls",
        (0, 23, 18),
        Needed,
        "RUSTSEC-2024-0399 (panic on a fragmented hello)",
    ),
    (
        "bytes",
        (1, 11, 1),
        Needed,
        "RUSTSEC-2026-0007 (overflow in reserve)",
    ),
    (
        "time",
        (0, 3, 47),
        Optional,
        "RUSTSEC-2026-0009 (stack exhaustion)",
    ),
    (
        "hickory-proto",
        (0, 26, 1),
        Optional,
        "RUSTSEC-2026-0118 to -0120",
    ),
    ("hickory-net", (0, 26, 1), Optional, "RUSTSEC-2026-0118 to -0120"),
    (
        "libp2p-gossipsub",
        (0, 50, 1),
        Needed,
        "GHSA-gc42-3jg7-rxr2, GHSA-xqmp-fxgv-xvq5 (remote panics)",
    ),
    ("crossbeam-epoch", (0, 9, 20), Optional, "RUSTSEC-2026-0204"),
    (
        "yamux",
        (0, 13, 10),
        Optional,
        "GHSA-4w32-2493-32g7, GHSA-vxx9-2994-q338",
    ),
    (
        "h2",
        (0, 4, 16),
        Optional,
        "RUSTSEC-2026-0258 (empty DATA frames without bound)",
    ),
    (
        "serde_cbor_2",
        (0, 13, 0),
        Needed,
        "the version whose codec the vectors were made with",
    ),
];

/// Crates that never enter, and why.
const BANNED: [(&str, &str); 2] = [
    (
        "serde_cbor",
        "archived, RUSTSEC-2021-0127: its maintained fork serde_cbor_2 has the same API",
    ),
    (
        "rsa",
        "RUSTSEC-2023-0071 (timing) is mended in no version: RSA goes through openssl or aws-lc-rs",
    ),
];

/// How the lock file marks what comes from a package registry: not from Git, and not from elsewhere.
const REGISTRY: &str = "registry+";

/// `1.2.3` or `1.2.3+zstd.1.5`; a pre-release counts as what comes before everything.
fn version(text: &str) -> Version {
    let release = text.split('+').next().unwrap();
    let numbers: Option<Vec<u64>> = release.split('.').map(|part| part.parse().ok()).collect();
    match numbers.as_deref() {
        Some([major, minor, patch]) => (*major, *minor, *patch),
        _ => (0, 0, 0),
    }
}

/// What is wrong with a lock file, one sentence each.
fn complaints(lock: &Table) -> Vec<String> {
    let field =
        |package: &Value, name: &str| package.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let packages = lock["package"].as_array().unwrap();
    let mut found = Vec::new();
    for (name, floor, presence, why) in &FLOORS {
        let versions: Vec<_> = packages
            .iter()
            .filter(|p| field(p, "name") == *name)
            .map(|p| field(p, "version"))
            .collect();
        if versions.is_empty() && *presence == Needed {
            found.push(format!("{name} is gone: its floor guards nothing any more"));
        }
        for old in versions.iter().filter(|text| version(text) < *floor) {
            let (major, minor, patch) = floor;
            found.push(format!(
                "{name} {old} is older than {major}.{minor}.{patch}: {why}"
            ));
        }
    }
    for package in packages {
        let (name, source) = (field(package, "name"), field(package, "source"));
        found.extend(
            BANNED
                .iter()
                .filter(|(banned, _)| *banned == name)
                .map(|(_, why)| format!("{name} is banned: {why}")),
        );
        if !source.is_empty() && !source.starts_with(REGISTRY) {
            found.push(format!("{name} comes from {source}, not from a package registry"));
        }
    }
    found
}

#[test]
fn the_lock_file_is_at_or_above_every_floor() {
    let lock: Table = std::fs::read_to_string(checkout().join("Cargo.lock"))
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(complaints(&lock), Vec::<String>::new());
}

#[test]
fn each_crate_below_its_floor_is_reported() {
    for (name, (major, minor, patch), _, _) in &FLOORS {
        let old = match (minor, patch) {
            (_, 1..) => format!("{major}.{minor}.{}", patch - 1),
            (_, 0) => format!("{major}.{}.99", minor - 1),
        };
        let prerelease = format!("{major}.{minor}.{patch}-rc.1");
        for text in [old, prerelease] {
            let lock = format!("[[package]]\nname = \"{name}\"\nversion = \"{text}\"\n")
                .parse()
                .unwrap();
            let expected = format!("{name} {text} is older than {major}.{minor}.{patch}: ");
            assert!(
                complaints(&lock).iter().any(|c| c.starts_with(&expected)),
                "{name} {text} passes"
            );
        }
    }
}

#[test]
fn banned_crates_foreign_sources_and_lost_floors_are_reported() {
    let lock = "[[package]]\nname = \"serde_cbor\"\nversion = \"0.11.2\"\n\
                [[package]]\nname = \"rsa\"\nversion = \"0.9.10\"\n\
                [[package]]\nname = \"stray\"\nversion = \"1.0.0\"\nsource = \"git+https://example.org/stray#0123\"\n";
    let found = complaints(&lock.parse().unwrap()).join("\n");
    for expected in [
        "serde_cbor is banned",
        "rsa is banned",
        "stray comes from git+",
        "quinn-proto is gone",
    ] {
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

#[test]
fn the_floors_and_bans_here_are_those_of_deny_toml() {
    let deny: Table = std::fs::read_to_string(checkout().join("deny.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let banned: Vec<_> = deny["bans"]["deny"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| b["crate"].as_str().unwrap())
        .collect();
    assert!(BANNED.iter().all(|(name, _)| banned.contains(name)), "{banned:?}");
    assert_eq!(deny["sources"]["unknown-git"].as_str(), Some("deny"));
    assert_eq!(deny["sources"]["unknown-registry"].as_str(), Some("deny"));
}
