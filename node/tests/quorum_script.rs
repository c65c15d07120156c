//! `deploy/sample/quorum.sh`: what an authority grants counts once witnesses have seen it, by public commands alone.
#![allow(clippy::unwrap_used)]

mod script;

use script::{play, text};

const NAME: &str = "quorum.sh";

#[test]
fn what_is_enrolled_counts_once_two_professions_have_seen_it() {
    let (output, stdout, stderr) = play(NAME, &text(NAME));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.ends_with("== Done.\n"), "{stdout}");
    let standing: Vec<_> = stdout
        .lines()
        .filter(|line| line.starts_with("registry bar.example ("))
        .collect();
    assert_eq!(standing.len(), 1, "{stdout}");
    let (counts, age) = standing[0].split_once(", head seen ").unwrap();
    assert!(counts.ends_with(" seen by the quorum"), "{standing:?}");
    assert!(age.ends_with(" (fresh)"), "{standing:?}");
}

/// Negative control: under a policy that asks for nobody the lawyer counts at once, and the script says so.
#[test]
fn the_script_notices_what_counts_too_early() {
    let whole = text(NAME);
    let asks = "echo \"quorum professions\"";
    assert_eq!(whole.matches(asks).count(), 1);
    let (output, ..) = play(NAME, &whole.replace(asks, "echo \"quorum none\""));
    assert!(!output.status.success());
}
