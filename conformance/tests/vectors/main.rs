//! The vectors: written by this test, run against both codecs, and the run itself put to the test.
//!
//! `BASOCHE_BLESS=1 cargo test -p basoche-conformance --test vectors` rewrites the files and the examples of
//! `SPEC.md`; otherwise a file that differs is a failure. Everything is deterministic: fixed keys, salts and times,
//! signatures after RFC 6979. Expected outcomes are stated here, never taken from a run.
#![allow(clippy::unwrap_used)]

mod cbor;
mod kinds;
mod messages;
mod structures;
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use basoche_conformance::checkout;
use basoche_conformance::fixture::Fixture;
use basoche_conformance::judge::{Judge, Outcome};
use basoche_conformance::report::Report;
use basoche_conformance::vector::{Named, Stage, read_all};
use basoche_protocol::message::{Message, MessageType};

fn folder() -> PathBuf {
    checkout().join("conformance/vectors")
}

fn all() -> (Fixture, Vec<Named>) {
    let context = kinds::context();
    let mut vectors = structures::cases(&context);
    vectors.extend(
        kinds::kinds(&context)
            .iter()
            .flat_map(|kind| kind.cases(&context)),
    );
    vectors.sort_by(|(one, _), (other, _)| one.cmp(other));
    let fixture = world::fixture(context.dossier, structures::acceptance_id(&context));
    (fixture, vectors)
}

/// `SPEC.md` with each example in its place.
fn with_examples(spec: &str) -> String {
    let context = kinds::context();
    let mut examples = vec![
        ("entry", structures::entry(&context).dump("entry")),
        ("head", structures::head(&context).dump("head")),
    ];
    for kind in kinds::kinds(&context) {
        examples.push((kind.name, kind.example(&context).dump("payload")));
    }
    let mut text = spec.to_owned();
    for (name, hex) in examples {
        let mark = format!("<!-- example {name} -->\n```hex\n");
        let start = text
            .find(&mark)
            .unwrap_or_else(|| panic!("SPEC.md has no place for {name}"))
            + mark.len();
        let end = start + text[start..].find("```").unwrap();
        text.replace_range(start..end, &hex);
    }
    text
}

#[test]
fn files_and_examples_are_those_of_the_generator() {
    let (fixture, vectors) = all();
    let names: BTreeSet<_> = vectors.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), vectors.len(), "two cases of one name");
    let fixture = serde_json::to_string_pretty(&fixture).unwrap() + "\n";
    let spec_path = checkout().join("SPEC.md");
    let spec = fs::read_to_string(&spec_path).unwrap();
    if std::env::var_os("BASOCHE_BLESS").is_some() {
        let _ = fs::remove_dir_all(folder());
        for (name, vector) in &vectors {
            let path = folder().join(name).with_extension("json");
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vector.to_json()).unwrap();
        }
        fs::write(folder().join("fixture.json"), fixture).unwrap();
        fs::write(spec_path, with_examples(&spec)).unwrap();
        return;
    }
    assert_eq!(
        fs::read_to_string(folder().join("fixture.json")).unwrap(),
        fixture
    );
    let written = read_all(&folder()).unwrap();
    let on_disk: BTreeSet<_> = written.iter().map(|(name, _)| name).collect();
    assert_eq!(on_disk, names);
    for (written, made) in written.iter().zip(&vectors) {
        assert_eq!(
            written, made,
            "{}: run with BASOCHE_BLESS=1 if this is meant",
            made.0
        );
    }
    assert!(
        spec == with_examples(&spec),
        "an example of SPEC.md differs: run with BASOCHE_BLESS=1 if this is meant"
    );
}

#[test]
fn every_vector_ends_as_it_says_in_both_codecs() {
    let (fixture, vectors) = all();
    let report = Report::of(&Judge::new(&fixture).unwrap(), &vectors);
    let failed: Vec<_> = report.cases.iter().filter(|case| !case.passed).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(report.passed > 250, "{}", report.passed);
}

/// Negative control: five expectations turned round, each in its own way; these five and no others are reported.
#[test]
fn false_expectations_are_found() {
    let (fixture, mut vectors) = all();
    let judge = Judge::new(&fixture).unwrap();
    let place = |vectors: &[Named], name: &str| vectors.iter().position(|(found, _)| found == name).unwrap();
    let mut expected = Vec::new();
    let mut spoil = |name: &str, change: &dyn Fn(&mut Named)| {
        let place = place(&vectors, name);
        change(&mut vectors[place]);
        expected.push(vectors[place].0.clone());
    };
    spoil("dire/accept_minimal", &|(_, vector)| {
        vector.code = Some("bad-value".to_owned())
    });
    spoil("dire/refuse_text_empty", &|(_, vector)| {
        vector.code = Some("wrong-shape".to_owned())
    });
    spoil("envelope/refuse_header_crit", &|(_, vector)| {
        vector.stage = Stage::Payload
    });
    spoil("held/accept_full", &|(_, vector)| {
        let end = vector.bytes.len() - 2;
        vector.bytes.replace_range(end.., "00");
    });
    spoil("wrap/refuse_zip", &|(name, vector)| {
        *name = "wrap/accept_zip".to_owned();
        vector.code = None;
    });
    let report = Report::of(&judge, &vectors);
    let found: BTreeSet<_> = report.failures().collect();
    assert_eq!(found, expected.iter().map(String::as_str).collect());
    assert_eq!(report.failed, 5);
}

#[test]
fn every_message_type_has_vectors_and_an_example_that_decodes_to_it() {
    let (_, vectors) = all();
    let context = kinds::context();
    let kinds = kinds::kinds(&context);
    assert_eq!(kinds.len(), MessageType::ALL.len());
    for (message_type, kind) in MessageType::ALL.iter().zip(&kinds) {
        assert_eq!(
            (u64::from(message_type.number()), message_type.name()),
            (kind.code, kind.name)
        );
        let message = Message::decode(&kind.example(&context).encode()).unwrap();
        assert_eq!(message.message_type(), *message_type);
        for outcome in ["accept_", "refuse_"] {
            let prefix = format!("{}/{outcome}", kind.name);
            let count = vectors
                .iter()
                .filter(|(name, _)| name.starts_with(&prefix))
                .count();
            assert!(
                count >= if outcome == "accept_" { 2 } else { 8 },
                "{prefix} {count}"
            );
        }
    }
}

/// Negative control for the second codec: it refuses or rewrites what it does not know.
#[test]
fn the_second_codec_does_not_agree_with_everything() {
    let (_, vectors) = all();
    let unknown = vectors
        .iter()
        .find(|(name, _)| name == "dire/refuse_unknown_key")
        .unwrap();
    let bytes = unknown.1.to_bytes().unwrap();
    assert_ne!(
        basoche_conformance::twin::again(unknown.1.what, &bytes),
        Some(bytes)
    );
}

#[test]
fn outcomes_print_as_a_person_reads_them() {
    assert_eq!(Outcome::Accepted(Stage::Open).to_string(), "accepted at Open");
}
