//! The demonstration, as `make demo` runs it, and what outsiders rely on about its outcome.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn basoche(arguments: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_basoche")).args(arguments).current_dir(directory).output().unwrap()
}

fn last_line(output: &Output) -> Value {
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    serde_json::from_str(stdout.lines().last().unwrap_or_default()).unwrap_or(Value::Null)
}

#[test]
fn three_nodes_carry_an_assessment_and_leave_a_proof_that_stands_alone() {
    let place = tempfile::tempdir().unwrap();
    let extra = place.path().join("une pièce.txt");
    std::fs::write(&extra, "pièce ajoutée").unwrap();
    let extra = extra.display().to_string();
    let done = basoche(&["demo", "--once", "--json", "--exhibit", &extra], place.path());
    let summary = last_line(&done);
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{summary}\n{told}");
    assert_eq!((&summary["ok"], &summary["verified"]), (&Value::Bool(true), &Value::Bool(true)), "{summary}");
    assert_eq!(summary["nodes"], 3);
    assert!(summary["documents"].as_u64().unwrap() >= 10 && summary["bytes"].as_u64().unwrap() > 256_000_000);
    assert_eq!(summary["receipts"].as_u64(), summary["messages"].as_u64().map(|messages| messages * 2));
    // Bundle and anchors stay, at absolute paths; a fresh process proves the one against the other.
    let (bundle, anchors) = (summary["bundle"].as_str().unwrap(), summary["anchors"].as_str().unwrap());
    assert!(Path::new(bundle).is_absolute() && Path::new(anchors).is_absolute());
    let verified = basoche(&["verify", "--json", "--anchors", anchors, bundle], place.path());
    assert_eq!(verified.status.code(), Some(0));
    assert_eq!(last_line(&verified)["verdict"], "proved");
    // Without anchors nothing is proved.
    assert_eq!(basoche(&["verify", "--json", bundle], place.path()).status.code(), Some(3));
    // Nor under other authorities, however alike.
    let passphrase = place.path().join("passphrase");
    std::fs::write(&passphrase, "other\n").unwrap();
    let passphrase = passphrase.display().to_string();
    for (name, profession) in [("justice", "court"), ("barreaux", "bar"), ("experts", "expert-company")] {
        let origin = format!("{name}.example");
        let arguments = ["authority", "init", "--dir", name, "--origin", &origin, "--profession", profession, "--test"];
        let made = basoche(&[&arguments[..], &["--passphrase-file", &passphrase]].concat(), place.path());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let others = ["authority", "anchors", "--out", "others.json", "justice", "barreaux", "experts"];
    assert!(basoche(&others, place.path()).status.success());
    let refused = basoche(&["verify", "--json", "--anchors", "others.json", bundle], place.path());
    assert!(matches!(refused.status.code(), Some(1 | 3)), "{}", last_line(&refused));
}

#[test]
fn a_directory_that_holds_something_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("precious"), "x").unwrap();
    let refused = basoche(&["demo", "--once", "--json", "--keep", "."], place.path());
    assert!(!refused.status.success());
    let message = last_line(&refused)["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("not empty"), "{message}");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
}
