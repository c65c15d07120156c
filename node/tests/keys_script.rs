//! `deploy/sample/keys.sh`: how keys follow each other, by public commands alone.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

fn play(script: &str) -> Output {
    let place = tempfile::tempdir().unwrap();
    let output = Command::new("bash")
        .args(["-c", script, "keys.sh"])
        .arg(place.path().join("keys"))
        .env("BASOCHE", env!("CARGO_BIN_EXE_basoche"))
        .env_remove("BASOCHE_PASSPHRASE")
        .output();
    output.unwrap()
}

fn script() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/sample/keys.sh");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn keys_are_renewed_given_anew_and_withdrawn_by_public_commands() {
    let output = play(&script());
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.ends_with("== Done.\n"), "{stdout}");
    // The history of the lawyer, in order.
    let kinds: Vec<_> = stdout
        .lines()
        .filter_map(|line| line.split_once(", bar.example")?.0.split(' ').nth(1))
        .collect();
    assert_eq!(
        kinds,
        [
            "enrolment",
            "renewal",
            "re-association",
            "veto",
            "suspension",
            "lifting",
            "revocation",
            "revocation"
        ]
    );
}

/// Negative control: without the second officer's signature the script fails where it should.
#[test]
fn the_script_notices_what_does_not_go_through() {
    let whole = script();
    let cosigns = "run authority cosign ";
    assert_eq!(whole.matches(cosigns).count(), 1);
    let output = play(&whole.replace(cosigns, "echo "));
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("a second officer"), "{stderr}");
}
