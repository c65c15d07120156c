//! `deploy/sample/parties.sh`: parties' keys inside of a dossier, by public commands alone. SPEC §6.26, §6.27, REG-26.
#![allow(clippy::unwrap_used)]

mod script;

use script::{play, text};

const NAME: &str = "parties.sh";

#[test]
fn a_party_whom_no_registry_knows_acts_in_one_dossier_by_delegation() {
    let (output, stdout, stderr) = play(NAME, &text(NAME));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.ends_with("== Done.\n"), "{stdout}");
    let refused: Vec<_> = stdout
        .lines()
        .filter_map(|line| line.strip_prefix("refused: "))
        .collect();
    assert_eq!(
        refused,
        [
            "not-delegated",
            "signer-invalid",
            "not-delegated",
            "signer-invalid"
        ]
    );
    let shown: Vec<_> = stdout
        .lines()
        .filter(|line| line.contains(" is Demandeur, "))
        .collect();
    assert_eq!(shown.len(), 2, "{stdout}");
    assert!(shown[0].ends_with("withdrawn in this dossier"), "{}", shown[0]);
    assert!(shown[1].ends_with("the delegation is withdrawn"), "{}", shown[1]);
    let contested = stdout
        .lines()
        .filter(|line| line.contains("declared compromised"));
    assert_eq!(contested.count(), 1, "{stdout}");
}

/// Negative control: with room for a third key the script fails where it should.
#[test]
fn the_script_notices_a_quota_that_does_not_bind() {
    let whole = text(NAME);
    let quota = "--keys 2 ";
    assert_eq!(whole.matches(quota).count(), 1);
    let (output, _, stderr) = play(NAME, &whole.replace(quota, "--keys 3 "));
    assert!(!output.status.success());
    assert!(stderr.contains("not refused: dossier enrol"), "{stderr}");
}
