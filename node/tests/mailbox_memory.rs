//! What a mailbox keeps is nowhere in clear at the mailbox: not in its files, log and pages, nor in its memory.
//!
//! Without `gcore`, or with `BASOCHE_NO_GCORE=1`, the memory counts as skipped.
#![allow(clippy::unwrap_used)]

#[path = "support/image.rs"]
mod image;
mod office;

use std::fs;

use basoche_node::effects::random;
use basoche_protocol::text::hex_encode;
use office::post::{Post, until};
use office::search::{Search, page};

/// What is hidden, each in a canary of its own.
const TEXTS: [&str; 5] = [
    "bytes of a document",
    "file name",
    "title",
    "case number",
    "text of a reason",
];

/// The memory of a process; `None` where no image can be taken.
fn memory(post: &Post, process: u32) -> Option<Vec<u8>> {
    let file = image::of_process(process, &post.office.root)?;
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    Some(bytes)
}

#[test]
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
    let images = [&mailbox, &court].map(|node| memory(&post, node.process()));
    match &images {
        [Some(of_mailbox), Some(of_court)] => {
            assert_eq!(search.found(of_mailbox), Vec::<&str>::new());
            // The search does find: a member has the case number in its memory, and the mailbox its own arguments.
            let found = search.found(of_court);
            assert!(found.iter().any(|found| found.starts_with("case number")));
            let own = Search::new(&[("its configuration", "mailbox/node.toml")]);
            assert!(!own.found(of_mailbox).is_empty());
        }
        _ => println!("skipped: no memory image of a mailbox was searched, for want of gcore"),
    }
    drop(images);
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
    company.stop();
}
