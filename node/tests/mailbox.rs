//! Who is away finds in a mailbox what was sent meanwhile, even if its sender is away by then. MBX-1 to MBX-7.
//!
//! A court's node (the sender), a company's node (the addressee), both members of a dossier; and a third node, which is
//! no member and serves as their mailbox. All three are real processes.
#![allow(clippy::unwrap_used)]

mod office;
mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use basoche_node::effects::random;
use office::post::{Post, until};

/// The mailbox as another program than the one under test.
struct Other(Child);

impl Other {
    fn start(post: &Post, program: &PathBuf, fault: &str) -> Self {
        let log = fs::File::create(post.office.root.join("other.log")).unwrap();
        let child = Command::new(program)
            .args(["node", "run", "--config", "mailbox/node.toml"])
            .env("BASOCHE_FAULT", fault)
            .current_dir(&post.office.root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn who_was_away_gets_everything_while_its_sender_is_away() {
    let post = Post::new("");
    let [court, company, mailbox] = post.start();
    let dossier = post.dossier("26/00001");
    company.stop();

    // Messages first: then both are equal, to the hash of the state.
    post.office.pay(&dossier, 1).ok();
    post.office.pay(&dossier, 2).ok();
    until("both messages left", || {
        let left = post.left(&dossier);
        left.len() >= 2 && left.iter().all(|count| *count == 1)
    });
    // Killed at once after that: nothing that was acknowledged is lost.
    mailbox.kill();
    let kept = fs::read_dir(post.office.root.join("mailbox/data/mailbox"))
        .unwrap()
        .count() as u64;
    assert!(kept >= 1);
    let mailbox = post.office.start_node("mailbox");
    assert_eq!(post.kept(), kept);
    // A restart of the sender forgets no receipt and repeats nothing.
    court.stop();
    let court = post.office.start_node("court");
    until("the receipts after the restart", || {
        let left = post.left(&dossier);
        left.len() >= 2 && left.iter().all(|count| *count == 1)
    });
    sleep(Duration::from_secs(4));
    assert_eq!(post.kept(), kept);
    assert_eq!(post.left(&dossier).iter().filter(|count| **count != 1).count(), 0);
    // It is neither transmitted nor received: the mailbox's word is no receipt of the addressee's.
    let pending = post
        .messages("court", &dossier)
        .into_iter()
        .filter(|(_, level)| level == "deposited");
    assert!(pending.count() >= 2);
    let waited = post.office.act(
        "court",
        "clerk",
        ["dossier", "provision-paid"],
        &dossier,
        &["--amount", "1", "--wait", "transmitted", "--patience", "4"],
    );
    assert_eq!(waited.exit, 75, "{waited:?}");
    until("the third message left", || {
        post.left(&dossier).iter().all(|count| *count == 1)
    });

    let (hash, sent) = (post.state_hash("court"), post.messages("court", &dossier));
    // The evidence of the sending verifies, and says no more than the mailbox said.
    let export = [
        "export",
        "--config",
        "court/node.toml",
        "--dossier",
        dossier.as_str().unwrap(),
        "--out",
        "a.zip",
    ];
    post.office.ask(&export).ok();
    let report = post
        .office
        .ask(&["verify", "--anchors", "anchors.json", "a.zip"])
        .ok();
    let claims = report["claims"].as_array().unwrap();
    let deposits = claims
        .iter()
        .filter(|claim| claim["id"] == "mailbox" && claim["verdict"] == "proved");
    let deposits: Vec<_> = deposits.map(|claim| claim.to_string()).collect();
    assert!(deposits.len() >= 2, "{report}");
    assert!(
        deposits
            .iter()
            .all(|one| one.contains(&post.mailbox) && one.contains(&post.office.nodes[1]))
    );
    court.stop();

    let company = post.office.start_node("company");
    until("everything at the company", || post.state_hash("company") == hash);
    let came = post.messages("company", &dossier);
    assert!(
        sent.iter()
            .all(|(id, _)| came.iter().any(|(found, _)| found == id))
    );
    until("the mailbox is empty", || post.kept() == 0);

    // Now the sender comes back, learns it, and leaves a document of several parcels when the other is away again.
    let court = post.office.start_node("court");
    until("received", || {
        post.messages("court", &dossier)
            .iter()
            .all(|(_, level)| level == "received")
    });
    company.stop();
    let file = post.office.root.join("rapport.bin");
    let plain: Vec<u8> = (0..5_300_000_u32 / 32).flat_map(|_| random::<32>()).collect();
    fs::write(&file, &plain).unwrap();
    // Meanwhile the mailbox is away too, and the sender restarts: the dossier is not in its memory until it wakes to
    // be left.
    mailbox.stop();
    let deposited = post.office.deposit(&dossier, "Ordonnance", &file).ok();
    assert!(!court.stop().contains("ALARM"));
    let court = post.office.start_node("court");
    until("an attempt in vain", || {
        court.logged("nothing is left at a mailbox") > 0
    });
    let mailbox = post.office.start_node("mailbox");
    // Runs come first, then the document's leaves in their order.
    let kept = post.office.root.join("mailbox/data/mailbox");
    let bytes = || {
        let files = fs::read_dir(&kept).unwrap().map(|file| file.unwrap().metadata());
        files.map(|file| file.map_or(0, |file| file.len())).sum::<u64>()
    };
    until("all of the document left", || bytes() > plain.len() as u64);
    court.stop();
    let company = post.office.start_node("company");
    let out = post.office.root.join("opened");
    let message = deposited["message"].as_str().unwrap();
    let open = ["--deposit", message, "--out", out.to_str().unwrap()];
    until("the document opened", || {
        let opened = post
            .office
            .act("company", "expert", ["document", "open"], &dossier, &open);
        opened.exit == 0
    });
    assert_eq!(fs::read(&out).unwrap(), plain);

    let court = post.office.start_node("court");
    until("all received in the end", || {
        let messages = post.messages("court", &dossier);
        messages.iter().all(|(_, level)| level == "received")
            && post.state_hash("court") == post.state_hash("company")
    });
    until("the mailbox is empty again", || post.kept() == 0);
    assert_eq!(post.metric("basoche_mailbox_parcels_kept"), 0);
    assert!(post.metric("basoche_mailbox_parcels_total{outcome=\"collected\"}") >= 4);
    for node in [court, company, mailbox] {
        let log = node.stop();
        assert!(!log.contains("ALARM"), "{log}");
    }
}

#[test]
fn a_full_mailbox_refuses_and_what_expires_is_gone() {
    // Eight parcels in all: two of one depositor, one under one tag.
    let post = Post::new("parcels = 8\nttl = 3");
    let [court, company, mailbox] = post.start();
    let dossier = post.dossier("26/00001");
    company.stop();
    post.office.pay(&dossier, 1).ok();
    until("the first one kept", || post.kept() == 1);
    post.office.pay(&dossier, 2).ok();
    let refused = "basoche_mailbox_parcels_total{outcome=\"refused\"}";
    until("one kept, one refused", || {
        post.kept() == 1 && post.metric(refused) > 0
    });
    until("one expired", || {
        post.metric("basoche_mailbox_parcels_total{outcome=\"expired\"}") > 0
    });
    // Negative control: a label of a metric is never a tag or a node.
    let metrics = post.metrics();
    assert!(
        !metrics.contains(&post.office.nodes[1]) && !metrics.contains(&post.mailbox),
        "{metrics}"
    );
    let log = court.stop();
    assert!(log.contains("a mailbox took no parcel"), "{log}");
    // With its sender gone, what is left goes, and the addressee finds nothing.
    until("nothing kept", || post.kept() == 0);
    let company = post.office.start_node("company");
    sleep(Duration::from_secs(3));
    let came = post.messages("company", &dossier).len();
    let court = post.office.start_node("court");
    until("the rest from the sender itself", || {
        post.messages("company", &dossier).len() > came
    });
    for node in [court, company, mailbox] {
        node.stop();
    }
}

#[test]
fn what_is_over_the_addressees_quota_stays_at_the_mailbox_and_comes_later() {
    let post = Post::new("");
    let [court, company, mailbox] = post.start();
    let dossier = post.dossier("26/00001");
    company.stop();
    for number in 1..=5 {
        post.office.pay(&dossier, number).ok();
        until("left", || post.kept() == number as u64);
    }
    let hash = post.state_hash("court");
    court.stop();
    // Of one peer it takes two entries a day, and the mailbox counts as one.
    let messages = || post.messages("company", &dossier).len();
    post.configure_member(1, "[limits]\ndossier_entries_per_day = 2\n");
    let company = post.office.start_node("company");
    until("two taken and released", || post.kept() == 3);
    let came = messages();
    // It looks at the others again and again, and each time they stay. Nobody is blamed for that.
    let stays = || company.logged("a run stays at a mailbox");
    let before = stays();
    until("the others looked at again", || stays() >= before + 9);
    assert_eq!((post.kept(), messages()), (3, came));
    let log = company.stop();
    assert!(
        log.contains("a run stays at a mailbox") && log.contains("busy"),
        "{log}"
    );
    assert!(!log.contains("a mailbox sent something else"), "{log}");
    post.configure_member(1, "");
    let company = post.office.start_node("company");
    until("everything at the company", || post.state_hash("company") == hash);
    assert_eq!(messages(), came + 3);
    until("the mailbox is empty", || post.kept() == 0);
    for node in [company, mailbox] {
        node.stop();
    }
}

#[test]
fn a_lying_mailbox_is_blamed_and_nothing_of_what_it_sends_is_kept() {
    let program = support::with_faults();
    let post = Post::new("");
    let [court, company, mailbox] = post.start();
    let dossier = post.dossier("26/00001");
    company.stop();
    for number in 1..=3 {
        post.office.pay(&dossier, number).ok();
        until("left", || post.kept() >= number as u64);
    }
    let hash = post.state_hash("court");
    court.stop();
    mailbox.stop();
    for (fault, code) in [
        ("mailbox-garbage", "id-mismatch"),
        ("mailbox-truncates", "truncated"),
        ("mailbox-endless", "too-large"),
        ("mailbox-swaps", "id-mismatch"),
        ("mailbox-forges", "not-openable"),
    ] {
        let other = Other::start(&post, &program, fault);
        let company = post.office.start_node("company");
        let before = post.messages("company", &dossier);
        until(fault, || {
            post.status("company")["refusals"][code].as_u64().unwrap_or(0) > 0
        });
        sleep(Duration::from_secs(2));
        assert_eq!(post.messages("company", &dossier), before, "{fault}");
        assert_ne!(post.state_hash("company"), hash, "{fault}");
        let log = company.stop();
        assert!(
            log.contains("a mailbox sent something else than it should"),
            "{fault}: {log}"
        );
        drop(other);
    }
    // What it sends again is known, and changes nothing. Negative control: it is the same mailbox, and now it is good.
    let other = Other::start(&post, &program, "mailbox-repeats");
    let company = post.office.start_node("company");
    until("everything at the company", || post.state_hash("company") == hash);
    sleep(Duration::from_secs(4));
    assert_eq!(post.state_hash("company"), hash);
    assert!(
        post.status("company")["refusals"]
            .as_object()
            .is_none_or(|codes| codes.is_empty())
    );
    company.stop();
    drop(other);
}
