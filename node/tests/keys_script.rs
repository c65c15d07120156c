//! `deploy/sample/keys.sh`: how keys follow each other, by public commands alone.
#![allow(clippy::unwrap_used)]

mod script;

use script::{play, text};

const NAME: &str = "keys.sh";

#[test]
fn keys_are_renewed_given_anew_and_withdrawn_by_public_commands() {
    let (output, stdout, stderr) = play(NAME, &text(NAME));
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
            "attribute",
            "attribute",
            "revocation",
            "revocation"
        ]
    );
}

/// Negative control: if the list does not say that the certificate is withdrawn, that is noticed.
#[test]
fn the_script_notices_a_list_that_says_nothing() {
    let whole = text(NAME);
    let revokes = "ca -revoke ";
    assert_eq!(whole.matches(revokes).count(), 1);
    let (output, _, stderr) = play(NAME, &whole.replace(revokes, "echo "));
    assert!(!output.status.success());
    assert!(stderr.contains("was not told of"), "{stderr}");
}

/// Negative control: without the second officer's signature the script fails where it should.
#[test]
fn the_script_notices_what_does_not_go_through() {
    let whole = text(NAME);
    let cosigns = "run authority cosign ";
    assert_eq!(whole.matches(cosigns).count(), 1);
    let (output, _, stderr) = play(NAME, &whole.replace(cosigns, "echo "));
    assert!(!output.status.success());
    assert!(stderr.contains("a second officer"), "{stderr}");
}
