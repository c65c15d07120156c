//! What a mailbox keeps is nowhere in clear at the mailbox: not in its files, log and pages, nor in its memory.
//!
//! The memory image is taken by gdb's `gcore`. `BASOCHE_NO_GCORE=1` leaves it out, where a process may not look into
//! another one: then all of it counts as skipped.
#![allow(clippy::unwrap_used)]

mod office;
mod support;

use std::fs;
use std::process::{Command, ExitCode};

use basoche_node::effects::random;
use basoche_protocol::text::hex_encode;
use office::post::{Post, until};
use office::search::{Search, page};
use support::harness;

/// What is hidden, each in a canary of its own.
const TEXTS: [&str; 5] = [
    "bytes of a document",
    "file name",
    "title",
    "case number",
    "text of a reason",
];

fn main() -> ExitCode {
    harness::run(
        &[(
            "a_mailbox_has_nothing_in_clear",
            a_mailbox_has_nothing_in_clear as fn(),
        )],
        || harness::set("BASOCHE_NO_GCORE"),
    )
}

/// The memory of a process.
fn image(post: &Post, process: u32) -> Vec<u8> {
    let stem = post.office.root.join("image");
    let taken = Command::new("gcore")
        .arg("-o")
        .arg(&stem)
        .arg(process.to_string())
        .output();
    let taken = taken.expect("gcore is missing: run deploy/setup.sh, or apt-get install gdb");
    let file = stem.with_file_name(format!("image.{process}"));
    let bytes = fs::read(&file).unwrap_or_else(|_| {
        let said = String::from_utf8_lossy(&taken.stderr);
        panic!("gcore: {said}; where it is not allowed, BASOCHE_NO_GCORE=1 skips this")
    });
    fs::remove_file(&file).unwrap();
    bytes
}

fn a_mailbox_has_nothing_in_clear() {
    let canaries = TEXTS.map(|_| format!("canari{}", hex_encode(&random::<16>())));
    let named: Vec<_> = TEXTS
        .into_iter()
        .zip(canaries.iter().map(String::as_str))
        .collect();
    let search = Search::new(&named);
    let [content, name, title, case_number, reason] = [0, 1, 2, 3, 4].map(|place| canaries[place].as_str());
    let post = Post::new("");
    let [court, company, mailbox] = post.start();
    let dossier = post.dossier(case_number);
    let declined = post.office.designate("26/00002");
    until("the other dossier", || {
        post.office.show_at("company", &declined).exit == 0
    });
    company.stop();
    let file = post.office.root.join(format!("{name}.txt"));
    fs::write(&file, content.repeat(10_000)).unwrap();
    post.office.deposit(&dossier, title, &file).ok();
    post.office.pay(&dossier, 1).ok();
    // A run at least, and a document.
    until("parcels at the mailbox", || post.kept() >= 2);
    let (of_mailbox, of_court) = (image(&post, mailbox.process()), image(&post, court.process()));
    assert_eq!(search.found(&of_mailbox), Vec::<&str>::new());
    assert_eq!(search.found(&page(&post.pages, "/metrics")), Vec::<&str>::new());
    let log = mailbox.stop();
    assert!(log.contains("node runs"), "{log}");
    assert_eq!(search.found(log.as_bytes()), Vec::<&str>::new());
    assert!(search.clean(&post.office.root.join("mailbox/data")) > 5);
    // Both directions in one: what the addressee leaves in its turn is no clearer.
    court.stop();
    let (company, mailbox) = (
        post.office.start_node("company"),
        post.office.start_node("mailbox"),
    );
    until("everything at the company", || {
        post.messages("company", &dossier).len() > 3 && post.office.show_at("company", &dossier).exit == 0
    });
    let because = ["--reason", reason];
    post.office
        .act("company", "expert", ["dossier", "decline"], &declined, &because)
        .ok();
    until("what the company left", || post.kept() >= 1);
    let log = mailbox.stop();
    assert_eq!(search.found(log.as_bytes()), Vec::<&str>::new());
    assert!(search.clean(&post.office.root.join("mailbox/data")) > 5);

    // The search does find: a member has the case number in its memory, and the mailbox its own arguments.
    assert!(
        search
            .found(&of_court)
            .iter()
            .any(|found| found.starts_with("case number"))
    );
    let own = Search::new(&[("its configuration", "mailbox/node.toml")]);
    assert!(!own.found(&of_mailbox).is_empty());
    company.stop();
}
