//! The vectors of transparency-dev/merkle: inclusion, consistency and both for subtrees, 518 cases, of which 36 are
//! accepted.
//!
//! The files stand beside the checkout, in `../shared/vectors/merkle/testdata`, or under `$BASOCHE_VECTORS`.
//! Without them the tests count as skipped, never as passed; hence a harness of our own, which prints what the
//! ordinary one prints. A `$BASOCHE_VECTORS` that leads nowhere is a failure.
#![allow(clippy::unwrap_used)]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, panic};

use basoche_conformance::checkout;
use basoche_protocol::text::b64url_decode;
use basoche_protocol::tree::{
    Hash, verify_consistency, verify_inclusion, verify_subtree_consistency, verify_subtree_inclusion,
};
use serde_json::Value;

const CASES: usize = 518;
const ACCEPTED: usize = 36;

/// A named test over the cases.
type Test = (&'static str, fn(&[Case]));

const TESTS: [Test; 2] = [
    (
        "all_518_vectors_end_as_they_should",
        all_518_vectors_end_as_they_should,
    ),
    ("a_false_expectation_is_found", a_false_expectation_is_found),
];

fn all_518_vectors_end_as_they_should(cases: &[Case]) {
    assert_eq!(cases.len(), CASES);
    assert_eq!(surprises(cases), Vec::<&str>::new());
    // Both outcomes occur.
    assert_eq!(cases.iter().filter(|case| case.accepted).count(), ACCEPTED);
}

/// Negative control: whichever expectation is turned round, that case and no other is reported.
fn a_false_expectation_is_found(cases: &[Case]) {
    let mut cases = cases.to_vec();
    for place in 0..cases.len() {
        cases[place].accepted ^= true;
        assert_eq!(surprises(&cases), [cases[place].name.as_str()]);
        cases[place].accepted ^= true;
    }
}

/// The names of the cases that do not end as they should.
fn surprises(cases: &[Case]) -> Vec<&str> {
    let wrong = cases.iter().filter(|case| case.proof.verify() != case.accepted);
    wrong.map(|case| case.name.as_str()).collect()
}

#[derive(Clone)]
struct Case {
    name: String,
    proof: Proof,
    accepted: bool,
}

#[derive(Clone)]
enum Proof {
    Inclusion {
        leaf: Option<Hash>,
        index: u64,
        size: u64,
        root: Option<Hash>,
        path: Vec<Hash>,
    },
    Consistency {
        sizes: [u64; 2],
        roots: [Option<Hash>; 2],
        path: Vec<Hash>,
    },
    SubtreeInclusion {
        leaf: Option<Hash>,
        index: u64,
        subtree: Range<u64>,
        root: Option<Hash>,
        path: Vec<Hash>,
    },
    SubtreeConsistency {
        subtree: Range<u64>,
        size: u64,
        roots: [Option<Hash>; 2],
        path: Vec<Hash>,
    },
}

impl Proof {
    fn verify(&self) -> bool {
        match self {
            Self::Inclusion {
                leaf: Some(leaf),
                index,
                size,
                root: Some(root),
                path,
            } => verify_inclusion(leaf, *index, *size, path, root).is_ok(),
            Self::Consistency {
                sizes: [old, new],
                roots: [Some(old_root), Some(new_root)],
                path,
            } => verify_consistency(*old, *new, old_root, new_root, path).is_ok(),
            Self::SubtreeInclusion {
                leaf: Some(leaf),
                index,
                subtree,
                root: Some(root),
                path,
            } => verify_subtree_inclusion(leaf, *index, subtree.clone(), path, root).is_ok(),
            Self::SubtreeConsistency {
                subtree,
                size,
                roots: [Some(subtree_root), Some(root)],
                path,
            } => verify_subtree_consistency(subtree.clone(), *size, subtree_root, root, path).is_ok(),
            // No value of our types stands for a hash that is not there.
            Self::Inclusion { .. }
            | Self::Consistency { .. }
            | Self::SubtreeInclusion { .. }
            | Self::SubtreeConsistency { .. } => false,
        }
    }
}

/// Some vectors hold less than a hash. Nothing at all cannot be expressed, and is `None`. The words "don't care
/// 1" and "2" are filled up with zeros, which keeps them equal or different as they were.
fn hash(value: &Value) -> Option<Hash> {
    let bytes = bytes(value);
    (!bytes.is_empty()).then(|| filled(&bytes))
}

/// A hash of the path that is not there is filled up as well, so that the verifier is put to the test.
fn path(value: &Value) -> Vec<Hash> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .map(|hash| filled(&bytes(hash)))
        .collect()
}

fn filled(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash[..bytes.len()].copy_from_slice(bytes);
    hash
}

/// The vectors use base64 with padding.
fn bytes(value: &Value) -> Vec<u8> {
    let text = value
        .as_str()
        .unwrap()
        .trim_end_matches('=')
        .replace('+', "-")
        .replace('/', "_");
    b64url_decode(&text).unwrap()
}

fn case(name: String, vector: &Value) -> Case {
    let number = |field: &str| vector[field].as_u64().unwrap();
    let roots = || [hash(&vector["root1"]), hash(&vector["root2"])];
    let subtree = || number("start")..number("end");
    let has = |field: &str| vector.get(field).is_some();
    let proof = if has("leafIdx") && has("start") {
        Proof::SubtreeInclusion {
            leaf: hash(&vector["leafHash"]),
            index: number("leafIdx"),
            subtree: subtree(),
            root: hash(&vector["root"]),
            path: path(&vector["proof"]),
        }
    } else if has("start") {
        Proof::SubtreeConsistency {
            subtree: subtree(),
            size: number("size"),
            roots: roots(),
            path: path(&vector["proof"]),
        }
    } else if has("leafIdx") {
        Proof::Inclusion {
            leaf: hash(&vector["leafHash"]),
            index: number("leafIdx"),
            size: number("treeSize"),
            root: hash(&vector["root"]),
            path: path(&vector["proof"]),
        }
    } else {
        Proof::Consistency {
            sizes: [number("size1"), number("size2")],
            roots: roots(),
            path: path(&vector["proof"]),
        }
    };
    Case {
        name,
        proof,
        accepted: !vector["wantErr"].as_bool().unwrap(),
    }
}

/// Every file below `folder`, as a case named by its path.
fn read(folder: &Path, cases: &mut Vec<Case>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, cases);
        } else {
            let vector = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            cases.push(case(path.display().to_string(), &vector));
        }
    }
}

/// The folder with the vectors, or why there is none.
fn folder() -> Result<PathBuf, String> {
    let beside = checkout().join("../shared/vectors");
    let named = env::var_os("BASOCHE_VECTORS").map(PathBuf::from);
    let folder = named.as_ref().unwrap_or(&beside).join("merkle/testdata");
    match (folder.is_dir(), named) {
        (true, _) => Ok(folder),
        (false, None) => Err(format!("no vectors in {}", folder.display())),
        (false, Some(_)) => panic!("BASOCHE_VECTORS is set, but there is no {}", folder.display()),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(*filter));
    let tests: Vec<Test> = TESTS.into_iter().filter(|(name, _)| wanted(name)).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }

    println!("\nrunning {} tests", tests.len());
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    match folder() {
        Err(reason) => {
            for (name, _) in &tests {
                println!("test {name} ... ignored, {reason}");
                skipped += 1;
            }
        }
        Ok(folder) => {
            let mut cases = Vec::new();
            read(&folder, &mut cases);
            for (name, test) in &tests {
                let outcome = panic::catch_unwind(|| test(&cases));
                println!(
                    "test {name} ... {}",
                    if outcome.is_ok() { "ok" } else { "FAILED" }
                );
                *(if outcome.is_ok() { &mut passed } else { &mut failed }) += 1;
            }
        }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; {skipped} ignored; 0 measured; {} filtered out\n",
        TESTS.len() - tests.len()
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
