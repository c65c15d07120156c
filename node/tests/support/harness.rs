//! Runs tests that a machine may not allow, and prints what the ordinary harness prints.
//!
//! What is not allowed counts as skipped, never as passed: the ordinary harness cannot say that at run time.

use std::process::ExitCode;
use std::{env, panic};

/// The `main` of a test program with `harness = false`. `skip` says why nothing can be run here, if so.
pub(crate) fn run(tests: &[(&str, fn())], skip: impl FnOnce() -> Option<String>) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let filters: Vec<_> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(*filter));
    let chosen: Vec<_> = tests.iter().filter(|(name, _)| wanted(name)).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }

    println!("\nrunning {} tests", chosen.len());
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let reason = skip();
    for (name, test) in &chosen {
        if let Some(reason) = &reason {
            println!("test {name} ... ignored, {reason}");
            skipped += 1;
            continue;
        }
        let outcome = panic::catch_unwind(test);
        println!(
            "test {name} ... {}",
            if outcome.is_ok() { "ok" } else { "FAILED" }
        );
        *(if outcome.is_ok() { &mut passed } else { &mut failed }) += 1;
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; {skipped} ignored; 0 measured; {} filtered out\n",
        tests.len() - chosen.len()
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whether this variable is set to 1; the reason for skipping that it gives.
pub(crate) fn set(variable: &str) -> Option<String> {
    let set = env::var(variable).is_ok_and(|value| value == "1");
    set.then(|| format!("{variable} is set"))
}
