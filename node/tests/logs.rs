//! What a node's log and files give away: nothing of what a dossier says. SECURITY.md, DESIGN of the vault.
#![allow(clippy::unwrap_used)]

mod office;

use std::fs;
use std::path::{Path, PathBuf};

use office::Office;

/// Texts that stand nowhere else: case number, title, file name, content, head of mission.
const CANARIES: [&str; 4] = [
    "canari-26-48151",
    "canari du titre",
    "canari-fichier",
    "canari au fond du document",
];

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

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn neither_the_log_nor_the_files_nor_the_copies_of_a_node_hold_what_a_dossier_says() {
    let office = Office::furnished();
    // At the level that an operator would choose to look closely.
    office.configure("court", &office.address, "log = \"basoche_node=trace,info\"\n");
    let node = office.start();
    office.import();
    let [case_number, title, name, content] = CANARIES;
    let dossier = office.designate(case_number);
    let file = office.root.join(format!("{name}.txt"));
    fs::write(&file, content.repeat(1000)).unwrap();
    office.deposit(&dossier, title, &file).ok();
    // Refusals are logged as well: the expert's exhibit comes before the provision is paid in.
    let early = office.secret(&[
        "document",
        "deposit",
        "--config",
        "court/node.toml",
        "--as",
        "wallets/expert",
        "--dossier",
        dossier.as_str().unwrap(),
        "--title",
        title,
        file.to_str().unwrap(),
    ]);
    early.fails(77, "provision-unpaid", "provision", "provision");
    // The node itself can read them.
    let shown = office.show(&dossier).to_string();
    assert!(shown.contains(case_number) && shown.contains(name), "{shown}");
    let copy = office.root.join("copy");
    let to = copy.to_str().unwrap();
    office
        .ask(&["node", "backup", "--config", "court/node.toml", "--to", to])
        .ok();
    let log = node.stop();
    assert!(log.contains("node runs"), "{log}");
    let mut stored = files(&office.data());
    assert!(
        stored
            .iter()
            .any(|file| file.starts_with(office.data().join("store")))
    );
    assert!(
        stored
            .iter()
            .any(|file| file.starts_with(office.data().join("blobs")))
    );
    let copied = files(&copy);
    assert!(copied.iter().any(|file| file.ends_with("manifest")) && copied.len() > 5);
    stored.extend(copied);
    for canary in CANARIES {
        assert!(!log.contains(canary), "{canary} is in the log: {log}");
        for file in &stored {
            assert!(
                !contains(&fs::read(file).unwrap(), canary),
                "{canary} is in {}",
                file.display()
            );
        }
    }
}
