//! What a dossier says is found nowhere in clear: not in a node's files, copies, log, pages, or on stderr. SECURITY.md.
//!
//! Two real nodes carry a dossier whose every text is a canary, a random string that stands nowhere else; one is
//! killed on the way. Whatever they leave is searched for each canary, in several encodings. Of what is for persons only
//! the memory of the nodes is searched too; without `gcore`, or with `BASOCHE_NO_GCORE=1`, that counts as skipped. The
//! rest is in a member's memory, and its operator may read it anyway (README, *Who can read what*); that of a mailbox
//! is searched in `mailbox_memory`.
#![allow(clippy::unwrap_used)]

#[path = "support/image.rs"]
mod image;
mod office;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use basoche_node::effects::random;
use basoche_protocol::text::hex_encode;
use office::Office;
use office::search::{Search, base64, files, forms, page};
use serde_json::Value;

/// How long anything that is awaited may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is hidden, each in a canary of its own.
const TEXTS: [&str; 8] = [
    "bytes of a document",
    "file name",
    "title of an exhibit",
    "text of a dire",
    "head of mission",
    "case number",
    "reason",
    "bytes of a personal document",
];
/// What no node may have even in its memory.
const PERSONAL: usize = 7;

/// Waits until something is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        sleep(Duration::from_millis(50));
    }
}

/// Whether every addressee who has a key has every one of so many documents at their disposal, as a node shows it.
fn all_available(office: &Office, node: &str, dossier: &Value, documents: usize) -> bool {
    let shown = office.show_at(node, dossier).json;
    let list = |value: &Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
    let available = |document: &Value| {
        list(document, "addressees")
            .iter()
            .all(|one| one["available_at"].is_string() || one["waits"]["code"] == "no-key")
    };
    let found = list(&shown, "documents");
    found.len() == documents && found.iter().all(available)
}

/// The clerk lodges health data, which the judge at the same node and the expert at the other one open.
fn lodge_and_open_for_persons(office: &Office, dossier: &Value, title: &str, content: &str) {
    let file = office.root.join("certificat.txt");
    fs::write(&file, content.repeat(10_000)).unwrap();
    let lodged = ["--health", "--title", title, file.to_str().unwrap()];
    let lodged = office
        .act("court", "clerk", ["document", "deposit"], dossier, &lodged)
        .ok();
    assert_eq!(lodged["class"], "personal", "{lodged}");
    until("the personal document at the other node", || {
        all_available(office, "company", dossier, 2)
    });
    for (node, who) in [("court", "judge"), ("company", "expert")] {
        let out = office.root.join(format!("certificat-{who}"));
        let open = [
            "--deposit",
            lodged["message"].as_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ];
        office.act(node, who, ["document", "open"], dossier, &open).ok();
        assert_eq!(fs::read(&out).unwrap(), fs::read(&file).unwrap());
    }
}

/// What is for persons only is not in a node's memory; what is for its operator too is, so the search does see it.
fn look_into_memory(node: &office::Node, office: &Office, canaries: &[String]) {
    let Some(image) = image::of_process(node.process(), &office.root) else {
        println!("skipped: no memory image of a node was searched, for want of gcore");
        return;
    };
    let holds = |canary: &str| {
        let grep = ["--quiet", "--text", "--fixed-strings", canary];
        let done = Command::new("grep").args(grep).arg(&image).status().unwrap();
        assert!(matches!(done.code(), Some(0 | 1)), "{done}");
        done.success()
    };
    assert!(
        !holds(&canaries[PERSONAL]),
        "a node has a personal document in its memory"
    );
    // The negative control: the text of a message, which the node opens for whom it serves.
    assert!(holds(&canaries[2]), "the image is not one of this node");
    fs::remove_file(&image).unwrap();
}

#[test]
fn what_a_dossier_says_is_found_nowhere_in_clear() {
    let canaries: Vec<_> = TEXTS
        .iter()
        .map(|_| format!("canari{}", hex_encode(&random::<16>())))
        .collect();
    let search = Search::new(
        &TEXTS
            .into_iter()
            .zip(canaries.iter().map(String::as_str))
            .collect::<Vec<_>>(),
    );
    let [content, name, title, dire, head, case_number, reason, personal] =
        [0, 1, 2, 3, 4, 5, 6, PERSONAL].map(|n| canaries[n].as_str());
    let mut office = Office::bare();
    office.found_bar();
    let free = || {
        TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string()
    };
    let pages = [free(), free()];
    let udp = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    for ((node, address), pages) in [("court", &office.address), ("company", &udp)]
        .into_iter()
        .zip(&pages)
    {
        // At the level that an operator would choose to look closely.
        let more = format!("log = \"basoche_node=trace,info\"\n[operator]\nlisten = \"{pages}\"\n");
        office.configure(node, address, &more);
    }
    office.furnish();
    let lawyer = office.enrol("lawyer", "lawyer", "barreaux", 1);
    let (court, company) = (office.start(), office.start_node("company"));
    office.import();
    office.import_to("company");

    // Deposit, replication, opening; a refusal and an act with a reason.
    let dossier = office.designate_for(case_number, head);
    let file = office.root.join(format!("{name}.txt"));
    fs::write(&file, content.repeat(10_000)).unwrap();
    let path = file.to_str().unwrap();
    let deposited = office.deposit(&dossier, title, &file).ok();
    until("the document at the other node", || {
        all_available(&office, "company", &dossier, 1)
    });
    let early = office.act(
        "company",
        "expert",
        ["document", "deposit"],
        &dossier,
        &["--title", title, path],
    );
    early.fails(77, "provision-unpaid", "provision", "provision");
    lodge_and_open_for_persons(&office, &dossier, title, personal);
    let out = office.root.join("opened");
    let out = [
        "--deposit",
        deposited["message"].as_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ];
    office
        .act("company", "expert", ["document", "open"], &dossier, &out)
        .ok();
    let everybody = ["--wait", "received"];
    let act = |node: &str, who: &str, verb: &str, rest: &[&str]| {
        let rest = [rest, everybody.as_slice()].concat();
        office.act(node, who, ["dossier", verb], &dossier, &rest).ok()
    };
    act("company", "expert", "accept", &[]);
    act("company", "expert", "add", &["--lawyer", &lawyer]);
    act("court", "clerk", "provision-paid", &["--amount", "3000"]);
    act("company", "lawyer", "dire", &["--text", dire, "--file", path]);
    let declined = office.designate_for(case_number, head);
    until("the other dossier", || {
        office.show_at("company", &declined).exit == 0
    });
    let because = ["--reason", reason, "--wait", "received"];
    office
        .act("company", "expert", ["dossier", "decline"], &declined, &because)
        .ok();

    // The company's node is killed, and catches up with a document that came meanwhile.
    let mut logs = company.kill();
    search.clean(&office.root.join("company/data"));
    office.deposit(&dossier, title, &file).ok();
    let company = office.start_node("company");
    until("all documents everywhere", || {
        ["court", "company"]
            .iter()
            .all(|node| all_available(&office, node, &dossier, 4))
    });
    for node in [&court, &company] {
        look_into_memory(node, &office, &canaries);
    }
    // The nodes themselves can read it all.
    let shown = office.show(&dossier).to_string();
    assert!(shown.contains(case_number) && shown.contains(name), "{shown}");
    let copies = ["court", "company"].map(|node| {
        let (config, copy) = (
            format!("{node}/node.toml"),
            office.root.join(format!("copy-of-{node}")),
        );
        office
            .ask(&[
                "node",
                "backup",
                "--config",
                &config,
                "--to",
                copy.to_str().unwrap(),
            ])
            .ok();
        copy
    });
    for address in &pages {
        for path in ["/metrics", "/readyz", "/livez"] {
            assert_eq!(search.found(&page(address, path)), Vec::<&str>::new(), "{path}");
        }
    }
    office
        .ask(&[
            "export",
            "--config",
            "court/node.toml",
            "--dossier",
            dossier.as_str().unwrap(),
            "--out",
            "preuves.zip",
        ])
        .ok();
    for dir in ["court/data", "company/data"] {
        search.clean(&office.root.join(dir));
    }
    for node in [court, company] {
        let log = node.stop();
        assert!(log.contains("node runs"), "{log}");
        logs.push_str(&log);
    }
    assert_eq!(search.found(logs.as_bytes()), Vec::<&str>::new(), "{logs}");
    let told = office.told.lock().unwrap();
    assert_eq!(search.found(told.as_bytes()), Vec::<&str>::new(), "{told}");
    for dir in ["court/data", "company/data"]
        .map(|dir| office.root.join(dir))
        .iter()
        .chain(&copies)
    {
        assert!(search.clean(dir) > 5, "{}", dir.display());
        assert!(
            ["store", "blobs"]
                .iter()
                .all(|part| !files(&dir.join(part)).is_empty()),
            "{}",
            dir.display()
        );
    }

    // The search does find what is in clear: in the evidence, which is so by its purpose, and in planted files.
    let bundle = search
        .found(&fs::read(office.root.join("preuves.zip")).unwrap())
        .join("\n");
    for text in [0, 1, 2, 3, 4, 5].map(|number| TEXTS[number]) {
        assert!(bundle.contains(text), "{text} is not in the bundle:\n{bundle}");
    }
    // What is for persons only is not even there.
    assert!(!bundle.contains(TEXTS[PERSONAL]), "{bundle}");
    for (text, canary) in TEXTS.iter().zip(&canaries) {
        for (form, bytes) in forms(canary) {
            let planted = [&[0xff; 4099], bytes.as_slice(), &[0xff; 7]].concat();
            assert_eq!(search.found(&planted), [format!("{text}, {form}")]);
        }
        for before in ["", "a", "ab"] {
            let file = office.root.join("planted");
            fs::write(&file, base64(format!("{before}{canary}!").as_bytes())).unwrap();
            assert_eq!(
                search.found(&fs::read(&file).unwrap()),
                [format!("{text}, base64")]
            );
        }
    }
}
