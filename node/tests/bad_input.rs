//! Bad input and bad places: an error that says what to do, and a node that goes on. SPEC §11, DESIGN of exit codes.
#![allow(clippy::unwrap_used)]

mod office;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use office::disk::{SmallDisk, fill};
use office::{Office, Said};
use serde_json::{Value, json};

const CONFIGURATION: i32 = 78;
const CANNOT_WRITE: i32 = 73;
const TRY_AGAIN: i32 = 75;
const UNREACHABLE: i32 = 69;

/// An office whose court has been initialised, and nothing more.
fn initialised() -> Office {
    let office = Office::bare();
    init(&office).ok();
    office
}

fn init(office: &Office) -> Said {
    office.ask(&[
        "node",
        "init",
        "--config",
        "court/node.toml",
        "--authority",
        "justice.example",
        "--request",
        "court/request.json",
    ])
}

#[test]
fn a_trust_anchor_that_anchors_nothing_is_named() {
    let office = initialised();
    let dns = "[dns]\nserver = \"127.0.0.1:9\"\ntrust_anchor = \"root.key\"\n";
    office.configure("court", &office.address, dns);
    let action = "take the line out";
    office
        .run()
        .fails(CONFIGURATION, "configuration", "court/root.key", action);
    fs::write(office.root.join("court/root.key"), "; nothing\n").unwrap();
    office
        .run()
        .fails(CONFIGURATION, "configuration", "no DNSKEY line", action);
}

#[test]
fn a_configuration_that_is_missing_or_wrong_is_named_with_its_key() {
    let office = Office::bare();
    let missing = office.ask(&["node", "run", "--config", "elsewhere.toml"]);
    missing.fails(CONFIGURATION, "configuration", "elsewhere.toml", "--config");
    for (more, key) in [
        ("lisen = 1\n", "lisen"),
        ("[limits]\nqueues = 1\n", "queues"),
        ("[limits]\nqueue = 0\n", "limits"),
    ] {
        office.configure("court", &office.address, more);
        office.run().fails(CONFIGURATION, "configuration", key, "Correct");
        init(&office).fails(CONFIGURATION, "configuration", key, "Correct");
    }
    office.configure("court", "nowhere", "");
    office
        .run()
        .fails(CONFIGURATION, "configuration", "listen", "Correct");
    assert!(!office.data().exists());
}

#[test]
fn a_data_directory_that_is_missing_or_taken_is_named() {
    let office = Office::bare();
    let data = office.data();
    office
        .run()
        .fails(CONFIGURATION, "configuration", "court/data", "basoche node init");
    init(&office).ok();
    let vault = fs::read(data.join("vault.json")).unwrap();
    init(&office).fails(
        CONFIGURATION,
        "vault",
        "vault.json",
        "choose an empty data directory",
    );
    assert_eq!(fs::read(data.join("vault.json")).unwrap(), vault);
    let status = office.ask(&["node", "status", "--config", "court/node.toml"]);
    status.fails(UNREACHABLE, "unreachable", "control.sock", "basoche node run");
    // The volume with the store is not mounted.
    fs::rename(data.join("store"), data.join("elsewhere")).unwrap();
    office.run().fails(CANNOT_WRITE, "store", "store", "is mounted");
}

#[test]
fn a_passphrase_that_is_missing_empty_or_wrong_opens_nothing() {
    let office = initialised();
    fs::write(office.root.join("passphrase"), "another passphrase\n").unwrap();
    office
        .run()
        .fails(CONFIGURATION, "vault", "vault.json", "passphrase");
    fs::write(office.root.join("passphrase"), "\n").unwrap();
    office
        .run()
        .fails(CONFIGURATION, "configuration", "passphrase", "first line");
    fs::remove_file(office.root.join("passphrase")).unwrap();
    office
        .run()
        .fails(CONFIGURATION, "configuration", "passphrase", "Correct");
    let config = office.root.join("court/node.toml");
    let text = fs::read_to_string(&config)
        .unwrap()
        .replace("passphrase_file = \"../passphrase\"\n", "");
    fs::write(config, text).unwrap();
    office
        .run()
        .fails(CONFIGURATION, "configuration", "node.toml", "passphrase_file");
}

#[test]
fn a_damaged_vault_or_missing_keys_ask_for_the_backup() {
    let office = initialised();
    let vault = office.data().join("vault.json");
    let whole = fs::read(&vault).unwrap();
    for damaged in [&b"{"[..], b"", &whole[..whole.len() / 2]] {
        fs::write(&vault, damaged).unwrap();
        office
            .run()
            .fails(CONFIGURATION, "vault", "vault.json", "restore it from a backup");
    }
    fs::remove_file(&vault).unwrap();
    office
        .run()
        .fails(CONFIGURATION, "vault", "vault.json", "is mounted");
    fs::write(&vault, whole).unwrap();
    fs::rename(office.data().join("keys"), office.data().join("elsewhere")).unwrap();
    office
        .run()
        .fails(CONFIGURATION, "configuration", "keys", "backup");
}

#[test]
fn anchors_that_are_missing_or_malformed_are_named() {
    let office = initialised();
    let anchors = office.root.join("anchors.json");
    for bad in ["{", "{\"v\":1,\"authorities\":[]}"] {
        fs::write(&anchors, bad).unwrap();
        office.run().fails(
            CONFIGURATION,
            "configuration",
            "anchors.json",
            "basoche authority anchors",
        );
    }
    fs::remove_file(&anchors).unwrap();
    office.run().fails(
        CONFIGURATION,
        "configuration",
        "anchors.json",
        "basoche authority anchors",
    );
}

#[test]
fn a_port_or_a_data_directory_in_use_is_named_and_its_user_goes_on() {
    let office = initialised();
    let taken = UdpSocket::bind(&office.address).unwrap();
    office
        .run()
        .fails(CONFIGURATION, "transport", &office.address, "Stop what listens");
    drop(taken);
    let node = office.start();
    let second = office.run();
    second.fails(
        TRY_AGAIN,
        "data-in-use",
        "store",
        "stop the other basoche process",
    );
    assert_eq!(second.json["error"]["retry"], "later");
    office.status();
    node.stop();
}

#[test]
fn where_a_node_cannot_gossip_is_said() {
    let office = initialised();
    let config = office.root.join("court/node.toml");
    let before = fs::read_to_string(&config).unwrap();
    let gossip =
        |listen: &str| fs::write(&config, format!("{before}[gossip]\nlisten = \"{listen}\"\n")).unwrap();
    gossip("127.0.0.1:0");
    office
        .run()
        .fails(CONFIGURATION, "configuration", "gossip.port", "Correct");
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    gossip(&address);
    office
        .run()
        .fails(CONFIGURATION, "configuration", &address, "take `[gossip]` out");
    drop(taken);
    office.run_with(&[("SSLKEYLOGFILE", "keys.log")]).fails(
        CONFIGURATION,
        "configuration",
        "SSLKEYLOGFILE",
        "unset it",
    );
    assert!(!office.root.join("keys.log").exists());
}

#[test]
fn a_clock_that_is_far_off_stops_the_node_before_it_signs_anything() {
    let office = Office::furnished();
    office
        .run_at("2020-01-01 00:00:00")
        .fails(CONFIGURATION, "clock", "2020-01-01", "timedatectl");
    let node = office.start();
    office.import();
    office.designate("26/00000");
    node.stop();
    // Plausible, and long before what this node has signed.
    office
        .run_at("2026-02-01 00:00:00")
        .fails(CONFIGURATION, "clock", "2026-0", "timedatectl");
}

/// Sends raw bytes to the control socket, and gives the answer's line, or nothing if it was closed.
fn raw(office: &Office, bytes: &[u8]) -> Option<Value> {
    let mut stream = UnixStream::connect(office.data().join("control.sock")).unwrap();
    // A node that has heard enough closes while we still write.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    (!answer.is_empty()).then(|| serde_json::from_str(answer.lines().next().unwrap()).unwrap())
}

fn line(request: &Value) -> Vec<u8> {
    format!("{request}\n").into_bytes()
}

#[test]
fn malformed_requests_are_answered_or_closed_and_the_node_goes_on() {
    let office = Office::furnished();
    let node = office.start();
    office.import();
    let dossier = office.designate("26/00000");
    let before = office.show(&dossier);
    let submit = |envelope: &str| {
        line(
            &json!({ "verb": "submit", "envelope": envelope, "key": null, "wait": "deposited", "patience_ms": 1000 }),
        )
    };
    let ingest = |bytes: u64| {
        line(
            &json!({ "verb": "ingest", "dossier": dossier, "name": "a.txt", "media_type": "text/plain", "bytes": bytes }),
        )
    };
    let cases: [(Vec<u8>, &str); 12] = [
        (b"GET / HTTP/1.1\r\n".to_vec(), "bad-request"),
        (b"\n".to_vec(), "bad-request"),
        (vec![0xff, 0xfe, b'\n'], "bad-request"),
        (line(&json!({ "verb": "explode" })), "bad-request"),
        (line(&json!({ "verb": "dossier" })), "bad-request"),
        (
            line(&json!({ "verb": "dossier", "dossier": "00" })),
            "bad-request",
        ),
        (
            line(&json!({ "verb": "dossier", "dossier": "00".repeat(32) })),
            "unknown-dossier",
        ),
        (submit("not base64url!"), "bad-request"),
        (submit("AAAA"), "trailing-bytes"),
        (submit("gA"), "wrong-shape"),
        (line(&json!({ "verb": "import", "entries": ["!"] })), "malformed"),
        (ingest(1 << 41), "too-large"),
    ];
    for (bytes, code) in cases {
        let answer = raw(&office, &bytes).unwrap();
        assert_eq!(
            (&answer["answer"], &answer["code"]),
            (&json!("failed"), &json!(code)),
            "{answer}"
        );
        assert!(!answer["message"].as_str().unwrap().is_empty(), "{answer}");
    }
    // Too long: said so. Nothing at all: closed without a word.
    let long = raw(&office, &vec![b'x'; (8 << 20) + 2]).unwrap();
    assert_eq!(long["code"], "too-large", "{long}");
    assert_eq!(raw(&office, b""), None);
    // An upload that ends early leaves nothing.
    let blobs = names(&office.data().join("blobs"));
    let cut = raw(&office, &[ingest(1_000_000), vec![7; 1000]].concat());
    assert!(cut.is_none_or(|answer| answer["answer"] == "failed"));
    assert_eq!(names(&office.data().join("blobs")), blobs);
    // Nor do datagrams that are no QUIC.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in [&[][..], &[0xff; 1200], b"GET / HTTP/1.1\r\n\r\n", &[0xc0; 64]] {
        socket.send_to(datagram, &office.address).unwrap();
    }
    assert_eq!(office.show(&dossier), before);
    let file = office.root.join("piece.txt");
    fs::write(&file, "a document").unwrap();
    office.deposit(&dossier, "Ordonnance", &file).ok();
    // Refusals of messages are counted.
    assert_eq!(office.status()["refusals"]["wrong-shape"], 1);
    node.stop();
}

/// The names and sizes of the files of a directory, at any depth.
fn names(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            found.extend(names(&entry.path()));
        } else {
            found.push((entry.path(), metadata.len()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_full_disk_acknowledges_nothing_and_works_again_once_there_is_space() {
    let mut office = Office::bare();
    let _disk = SmallDisk::mount(&office.data());
    office.furnish();
    let node = office.start();
    office.import();
    let dossier = office.designate("26/00000");
    let (before, blobs) = (office.show(&dossier), names(&office.data().join("blobs")));
    // A document that does not fit.
    let large = office.root.join("large.bin");
    File::create(&large).unwrap().set_len(400 << 20).unwrap();
    let refused = office.deposit(&dossier, "Photographies", &large);
    refused.fails(TRY_AGAIN, "storage-full", "blobs", "free disk space");
    assert_eq!(
        (office.show(&dossier), names(&office.data().join("blobs"))),
        (before.clone(), blobs.clone())
    );
    // Not one byte left: the smallest document does not fit either, and what is on file can be read.
    let ballast = office.data().join("ballast");
    fill(&ballast);
    let small = office.root.join("small.txt");
    fs::write(&small, "a document").unwrap();
    let refused = office.deposit(&dossier, "Ordonnance", &small);
    refused.fails(TRY_AGAIN, "storage-full", "blobs", "free disk space");
    assert_eq!(
        (office.show(&dossier), names(&office.data().join("blobs"))),
        (before.clone(), blobs)
    );
    node.stop();
    // It starts again as it was, and takes documents once there is space.
    let node = office.start();
    assert_eq!(office.show(&dossier), before);
    fs::remove_file(&ballast).unwrap();
    office.deposit(&dossier, "Ordonnance", &small).ok();
    assert_eq!(office.show(&dossier)["documents"].as_array().unwrap().len(), 1);
    node.stop();
}

#[test]
fn a_journal_that_finds_the_disk_full_stops_the_node_and_what_was_acknowledged_stays() {
    let mut office = Office::bare();
    let _disk = SmallDisk::mount(&office.data());
    office.furnish();
    let node = office.start();
    office.import();
    let dossier = office.designate("26/00000");
    // A journal that is open has room of its own; the next one finds none.
    node.stop();
    let ballast = office.data().join("ballast");
    fill(&ballast);
    office
        .run()
        .fails(CANNOT_WRITE, "disk-full", "store", "free some space");
    // Room to start, and for a few acts.
    let room = fs::metadata(&ballast).unwrap().len() - (96 << 10);
    File::options()
        .write(true)
        .open(&ballast)
        .unwrap()
        .set_len(room)
        .unwrap();
    let node = office.start();
    let mut acknowledged = Vec::new();
    let failed = loop {
        assert!(acknowledged.len() < 400, "the disk is not full");
        let said = office.pay(&dossier, acknowledged.len());
        match said.exit {
            0 => acknowledged.push(said.json["message"].clone()),
            _ => break said,
        }
    };
    assert!([UNREACHABLE, TRY_AGAIN].contains(&failed.exit), "{failed:?}");
    assert_eq!(failed.json["error"]["retry"], "later", "{failed:?}");
    let ended = node.end();
    ended.fails(CANNOT_WRITE, "disk-full", "store", "free some space");
    fs::remove_file(&ballast).unwrap();
    let node = office.start();
    // The same key again: whatever the failed attempt left, it is on file once.
    acknowledged.push(office.pay(&dossier, acknowledged.len()).ok()["message"].clone());
    let shown = office.show(&dossier);
    let on_file = shown["messages"].as_array().unwrap().iter().map(|one| &one["id"]);
    let paid: Vec<_> = on_file.filter(|id| acknowledged.contains(id)).collect();
    assert_eq!(paid.len(), acknowledged.len());
    assert_eq!(
        shown["messages"].as_array().unwrap().len(),
        acknowledged.len() + 1
    );
    node.stop();
}
