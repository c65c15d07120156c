//! `protocol ← registry ← node ← benches`, `conformance → protocol, registry`, and nothing that does
//! input or output below `protocol` and `registry`. `ARCHITECTURE.md`, code map.

use serde_json::Value;

use crate::cargo;

/// Each of our crates, and which of the others it may name, as any kind of dependency.
const ALLOWED: [(&str, &[&str]); 5] = [
    ("basoche-protocol", &[]),
    ("basoche-registry", &["basoche-protocol"]),
    ("basoche-node", &["basoche-protocol", "basoche-registry"]),
    (
        "basoche-benches",
        &["basoche-protocol", "basoche-registry", "basoche-node"],
    ),
    ("basoche-conformance", &["basoche-protocol", "basoche-registry"]),
];

/// What a pure crate never reaches, however indirectly: runtimes, sockets, stores, random sources.
const IMPURE: [&str; 15] = [
    "async-std",
    "getrandom",
    "hickory-resolver",
    "hyper",
    "libp2p",
    "mio",
    "quinn",
    "quinn-proto",
    "rand",
    "rocksdb",
    "rustls",
    "smol",
    "socket2",
    "tempfile",
    "tokio",
];

/// The dependencies that one of our crates declares on another, from `cargo metadata --no-deps`.
fn declared(metadata: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut edges = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        for dependency in package["dependencies"].as_array().unwrap() {
            if dependency["path"].is_string() {
                edges.push((text(&package["name"]), text(&dependency["name"])));
            }
        }
    }
    edges
}

/// The edges that the plan does not allow. A crate may name itself (a test feature of its own).
fn against_the_plan(edges: &[(String, String)]) -> Vec<String> {
    let allowed = |from: &str, to: &str| {
        from == to
            || ALLOWED
                .iter()
                .any(|(name, targets)| *name == from && targets.contains(&to))
    };
    let wrong = edges.iter().filter(|(from, to)| !allowed(from, to));
    wrong
        .map(|(from, to)| format!("{from} may not depend on {to}"))
        .collect()
}

/// All that an ordinary build of the package contains, one `name version` a line.
fn below(package: &str) -> String {
    cargo(&[
        "tree", "-p", package, "--edges", "normal", "--prefix", "none", "--locked",
    ])
    .expect_success()
}

/// The impure crates in such a list.
fn impure(tree: &str) -> Vec<&str> {
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    names.filter(|name| IMPURE.contains(name)).collect()
}

#[test]
fn our_crates_depend_on_each_other_in_the_planned_directions_only() {
    let answer = cargo(&["metadata", "--no-deps", "--format-version", "1", "--locked"]).expect_success();
    let metadata: Value = serde_json::from_str(&answer).unwrap();
    let members: Vec<_> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    assert!(
        ALLOWED.iter().all(|(name, _)| members.contains(name)),
        "a planned crate is missing: {members:?}"
    );
    assert!(
        members.iter().all(|m| ALLOWED.iter().any(|(name, _)| name == m)),
        "an unplanned crate: {members:?}"
    );

    let edges = declared(&metadata);
    assert!(
        edges.contains(&("basoche-registry".into(), "basoche-protocol".into())),
        "nothing was read: {edges:?}"
    );
    assert_eq!(against_the_plan(&edges), Vec::<String>::new());
}

#[test]
fn a_planted_dependency_against_the_plan_is_reported() {
    for (from, to) in [
        ("basoche-protocol", "basoche-registry"),
        ("basoche-registry", "basoche-node"),
        ("basoche-conformance", "basoche-node"),
        ("basoche-node", "basoche-benches"),
        ("basoche-newcomer", "basoche-protocol"),
    ] {
        let metadata = serde_json::json!({"packages": [
            {"name": from, "dependencies": [{"name": "serde"}, {"name": to, "path": "/somewhere"}]}
        ]});
        assert_eq!(
            against_the_plan(&declared(&metadata)),
            [format!("{from} may not depend on {to}")]
        );
    }
}

#[test]
fn the_pure_crates_reach_no_runtime_socket_store_or_random_source() {
    for package in ["basoche-protocol", "basoche-registry"] {
        let tree = below(package);
        assert!(
            tree.lines().any(|line| line.starts_with("josekit ")),
            "nothing was read of {package}"
        );
        assert_eq!(impure(&tree), Vec::<&str>::new(), "below {package}");
    }
}

#[test]
fn a_planted_impure_dependency_is_reported() {
    // The node is the control: it has every right to them.
    let tree = below("basoche-node");
    let found = impure(&tree);
    for name in ["tokio", "quinn", "rustls", "rocksdb"] {
        assert!(found.contains(&name), "{name} goes unnoticed");
    }
}
