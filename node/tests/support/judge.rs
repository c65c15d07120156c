//! Holds what nodes show against what clients were told.

use std::collections::HashMap;

use basoche_node::desk::DossierView;
use basoche_node::wallet::Wallet;

use super::load::Acknowledged;

/// What is wrong: an acknowledged message that a node lacks, has twice or without effect, a key with two messages.
///
/// `complete` says that no key was given up: then there are as many messages of the lawyers as acknowledged keys.
pub(crate) fn findings(
    acknowledged: &[Acknowledged],
    views: &[(&str, &DossierView)],
    lawyers: &[&Wallet],
    complete: bool,
) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, view) in views {
        let mut found: HashMap<_, Vec<&str>> = HashMap::new();
        for message in &view.messages {
            found.entry(message.id).or_default().push(&message.verdict);
        }
        for one in acknowledged {
            let what = match found.get(&one.message).map(Vec::as_slice) {
                Some(["effective"]) => continue,
                None => "is lost".to_owned(),
                Some([verdict]) => format!("is {verdict}"),
                Some(several) => format!("is there {} times", several.len()),
            };
            findings.push(format!("{} ({}) {what} at {name}", one.key, one.message));
        }
        let written = view
            .messages
            .iter()
            .filter(|message| {
                lawyers
                    .iter()
                    .any(|lawyer| message.author == Some(lawyer.subject))
            })
            .count();
        if complete && written > acknowledged.len() {
            findings.push(format!(
                "{written} messages under {} keys at {name}",
                acknowledged.len()
            ));
        }
    }
    findings
}

/// Lines of a node's log that no kill excuses.
pub(crate) fn alarms(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| line.contains("ALARM") || line.contains("panicked") || line.contains(" ERROR "))
        .collect()
}
