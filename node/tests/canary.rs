//! What a dossier says is found nowhere in clear: not in a node's files, copies, log, pages, or on stderr. SECURITY.md.
//!
//! Two real nodes carry a dossier whose every text is a canary, a random string that stands nowhere else; one is
//! killed on the way. Whatever they leave is searched for each canary, in several encodings. Of what is for persons only
//! the memory of the nodes is searched too; without `gcore`, or with `BASOCHE_NO_GCORE=1`, that counts as skipped. The
//! rest is in a running node's memory, and its operator may read it anyway (README, *Who can read what*).
#![allow(clippy::unwrap_used)]

#[path = "support/image.rs"]
mod image;
mod office;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use basoche_node::effects::random;
use basoche_protocol::text::{b64url_encode, hex_encode};
use office::Office;
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

/// Standard base64, which differs from base64url in two digits.
fn base64(bytes: &[u8]) -> String {
    b64url_encode(bytes).replace('-', "+").replace('_', "/")
}

/// A canary in each form in which it might be written.
fn forms(canary: &str) -> Vec<(&'static str, Vec<u8>)> {
    let utf16 = |bytes: fn(u16) -> [u8; 2]| canary.encode_utf16().flat_map(bytes).collect::<Vec<_>>();
    let hex = hex_encode(canary.as_bytes());
    let mut forms = vec![
        ("clear", canary.as_bytes().to_vec()),
        ("UTF-16LE", utf16(u16::to_le_bytes)),
        ("UTF-16BE", utf16(u16::to_be_bytes)),
        ("hexadecimal", hex.to_uppercase().into_bytes()),
        ("hexadecimal", hex.into_bytes()),
    ];
    // In base64 it depends on how many bytes precede it, and on its neighbours at both ends.
    for before in 0..3 {
        let padded = [&vec![0; before], canary.as_bytes()].concat();
        let first = (before * 8).div_ceil(6);
        let last = padded.len() * 8 / 6;
        for encoded in [b64url_encode(&padded), base64(&padded)] {
            forms.push(("base64", encoded.as_bytes()[first..last].to_vec()));
        }
    }
    forms
}

/// Looks for many byte strings at once.
struct Search {
    /// What is looked for: which text, in which form.
    wanted: Vec<(String, Vec<u8>)>,
    /// Those that begin with these two bytes.
    by_head: Vec<Vec<usize>>,
}

impl Search {
    fn new(canaries: &[String]) -> Self {
        let mut wanted = Vec::new();
        for (text, canary) in TEXTS.iter().zip(canaries) {
            let named = forms(canary).into_iter();
            wanted.extend(named.map(|(form, bytes)| (format!("{text}, {form}"), bytes)));
        }
        let mut by_head = vec![Vec::new(); 1 << 16];
        for (number, (_, bytes)) in wanted.iter().enumerate() {
            by_head[usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))].push(number);
        }
        Self { wanted, by_head }
    }

    /// What is found in these bytes, each once.
    fn found(&self, bytes: &[u8]) -> Vec<&str> {
        let mut found = Vec::new();
        for (at, pair) in bytes.windows(2).enumerate() {
            for number in &self.by_head[usize::from(u16::from_be_bytes([pair[0], pair[1]]))] {
                let (what, wanted) = &self.wanted[*number];
                if bytes[at..].starts_with(wanted) && !found.contains(&what.as_str()) {
                    found.push(what.as_str());
                }
            }
        }
        found
    }

    /// Nothing is found in any file under a directory; how many there are.
    fn clean(&self, dir: &Path) -> usize {
        let files = files(dir);
        for file in &files {
            // A file that the running node has removed meanwhile holds nothing.
            let bytes = fs::read(file).unwrap_or_default();
            assert_eq!(self.found(&bytes), Vec::<&str>::new(), "{}", file.display());
        }
        files.len()
    }
}

/// Every file under a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

/// Waits until something is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        sleep(Duration::from_millis(50));
    }
}

/// A page of the operator's, whole.
fn page(address: &str, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 "), "{path}");
    answer
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
    let search = Search::new(&canaries);
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
