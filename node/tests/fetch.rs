//! Documents come whatever happens to those who send and to those who receive them. SYN-11, SYN-20.
//!
//! Four real nodes. Two sources are killed while another node fetches from three: the rest comes from the third. A node is
//! killed when it has nine tenths of a document: it goes on where it was. `BASOCHE_BYTES` sets the size of a document.
//! Hundreds of small ones come together, over a kill of who fetches them.

#![allow(clippy::unwrap_used)]

mod support;

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::Write;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use basoche_node::desk::DocumentView;
use serde_json::Value;
use support::nodes::{Node, Plan, Stage, show, three, until, within};
use support::seed::{Dice, seed};
use support::{Place, count, ordinary, with_faults};

/// A mebibyte.
const MIB: u64 = 1 << 20;
/// What three sources may bring twice at the end of a document: six pieces of a mebibyte on their way, of each.
const TWICE: u64 = 24 * MIB;

/// A court, two bars and a company of experts.
fn four() -> Vec<Plan> {
    let mut plans = three();
    plans.push(Plan {
        name: "second",
        authority: "barreaux",
        address: UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .unwrap(),
        front: None,
        namespace: None,
    });
    plans
}

/// The lawyer at the court runs `document deposit`.
fn deposit(place: &Place, stage: &Stage, arguments: &[&str], path: &Path) -> Value {
    let done = Command::new(ordinary())
        .args([
            "document",
            "deposit",
            "--json",
            "--config",
            "court/node.toml",
            "--as",
            "wallets/lawyer-0",
        ])
        .args(["--passphrase-file", "passphrase", "--dossier"])
        .arg(stage.dossier.to_hex())
        .args(arguments)
        .arg(path)
        .current_dir(place.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

/// The lawyer at the court lodges a file of random bytes.
fn lodge(place: &Place, stage: &Stage, bytes: u64, dice: &mut Dice) {
    let path = place.path().join("large.bin");
    let mut file = File::create(&path).unwrap();
    let block = dice.bytes(MIB as usize);
    for number in 0..bytes / MIB {
        // No two leaves are alike, whatever the key makes of them.
        file.write_all(&number.to_le_bytes()).unwrap();
        file.write_all(&block[8..]).unwrap();
    }
    deposit(place, stage, &["--title", "Enregistrement"], &path);
    fs::remove_file(&path).unwrap();
}

/// The dossier's last document as a node shows it, once so many nodes hold it.
fn held_by(node: &Node, stage: &Stage, nodes: usize) -> DocumentView {
    until("a document held", || {
        let document = show(&node.client(), stage.dossier)?.documents.pop()?;
        (document.held.len() == nodes).then_some(document)
    })
}

/// Bytes that a process has given to write so far: what it logs and keeps besides is little.
fn written(process: u32) -> u64 {
    let counters = fs::read_to_string(format!("/proc/{process}/io")).unwrap();
    let line = counters.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.unwrap().parse().unwrap()
}

/// Waits until a node has written so much since it was started; how much it was then.
fn has_written(node: &Node, bytes: u64) -> u64 {
    let (process, begun) = (node.process(), Instant::now());
    loop {
        let now = written(process);
        if now >= bytes {
            return now;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{now} of {bytes}");
        sleep(Duration::from_micros(500));
    }
}

/// The number after `name=` in the last line of a node's log that contains `what`.
fn logged<T: FromStr<Err: Debug>>(node: &Node, what: &str, name: &str) -> T {
    let log = node.log();
    let line = log.lines().rev().find(|line| line.contains(what));
    let line = line.unwrap_or_else(|| panic!("{what:?} is not logged: {}", node.last_words()));
    let value = line.split(&format!("{name}=")).nth(1).unwrap();
    value.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_document_comes_from_who_is_left_and_goes_on_after_a_kill() {
    let seed = seed();
    let bytes = count("BASOCHE_BYTES", 200 << 20, 1 << 30) as u64 / MIB * MIB;
    println!("fetch: seed {seed}, {bytes} bytes");
    let (place, mut dice) = (Place::new(), Dice::new(seed, 0));
    let mut stage = Stage::of(place.path(), &ordinary(), &four());

    // The company is away; both bars have the document too.
    stage.nodes[2].stop();
    lodge(&place, &stage, bytes, &mut dice);
    held_by(&stage.nodes[0], &stage, 3);
    // It comes back, and two of its three sources are killed one after the other.
    stage.nodes[2].start();
    has_written(&stage.nodes[2], bytes / 4);
    stage.nodes[0].kill();
    has_written(&stage.nodes[2], bytes / 2);
    stage.nodes[3].kill();
    stage.nodes[2].ready();
    let begun = Instant::now();
    held_by(&stage.nodes[2], &stage, 4);
    println!(
        "fetch: whole {} ms after two of its three sources were killed",
        begun.elapsed().as_millis()
    );
    let fetched: u64 = logged(&stage.nodes[2], "a document has come", "fetched");
    assert!(fetched <= bytes + bytes / 10 + 48 * MIB, "{fetched} of {bytes}");
    stage.nodes[0].start();
    stage.nodes[3].start();
    stage.nodes.iter_mut().for_each(Node::connected);

    // The next one: the bar is away, and killed when it has nine tenths.
    stage.nodes[1].stop();
    lodge(&place, &stage, bytes, &mut dice);
    held_by(&stage.nodes[0], &stage, 3);
    stage.nodes[1].start();
    has_written(&stage.nodes[1], bytes / 10 * 9);
    let process = stage.nodes[1].process();
    stage.nodes[1].freeze();
    let had = written(process).min(bytes);
    stage.nodes[1].kill();
    stage.nodes[1].start();
    stage.nodes[1].ready();
    let document = held_by(&stage.nodes[1], &stage, 4);
    assert_eq!(document.bytes, bytes);
    let missing: u64 = logged(&stage.nodes[1], "a document goes on where it was", "missing");
    let fetched: u64 = logged(&stage.nodes[1], "a document has come", "fetched");
    let again = had.saturating_sub(bytes - missing.min(bytes));
    println!("fetch: killed with {had} of {bytes}; {missing} missing then, {fetched} fetched, {again} again");
    // What a source has sent and the disk has not yet taken is asked of the other one too.
    assert!(
        missing < bytes / 4 && fetched <= missing + TWICE,
        "{missing} {fetched}"
    );
    assert!(
        again <= bytes / 100 + 2 * MIB,
        "{again} bytes were written and are fetched again"
    );
    stage.nodes.iter_mut().for_each(Node::stop);
}

/// Rates that are imposed on each stream of a source, so that the machine's own speed does not matter.
#[test]
fn two_slow_sources_beside_a_fast_one_do_not_hold_a_document_up() {
    let (faulty, place) = (with_faults(), Place::new());
    let (mut dice, bytes) = (Dice::new(seed(), 1), 96 * MIB);
    let mut stage = Stage::of(place.path(), &ordinary(), &four());
    stage.nodes[2].stop();
    lodge(&place, &stage, bytes, &mut dice);
    held_by(&stage.nodes[0], &stage, 3);
    for (source, fault) in [(0, "throttle=24e6"), (1, "throttle=4e6"), (3, "throttle=4e6")] {
        stage.nodes[source].stop();
        stage.nodes[source].become_program(&faulty, fault);
    }
    let whole = |node: &Node| -> f64 { logged(node, "a document has come", "seconds") };

    // From the fast one alone.
    stage.nodes[0].start();
    stage.nodes[2].start();
    all_held(&stage.nodes[2], &stage, 1);
    let alone = whole(&stage.nodes[2]);
    // From all three.
    stage.nodes[2].stop();
    stage.nodes[1].start();
    stage.nodes[3].start();
    lodge(&place, &stage, bytes, &mut dice);
    held_by(&stage.nodes[0], &stage, 3);
    stage.nodes[2].start();
    all_held(&stage.nodes[2], &stage, 2);
    let together = whole(&stage.nodes[2]);
    println!(
        "fetch: {bytes} bytes in {alone:.2} s from a source, in {together:.2} s with two of a sixth of its rate"
    );
    assert!(together <= alone, "{together} {alone}");
    stage.nodes.iter_mut().for_each(Node::stop);
}

/// Waits until a node shows that all nodes hold so many documents.
fn all_held(node: &Node, stage: &Stage, count: usize) {
    let found = within(Duration::from_secs(120), || {
        let documents = show(&node.client(), stage.dossier)?.documents;
        let held = documents.iter().all(|one| one.held.len() == stage.nodes.len());
        (held && documents.len() == count).then_some(())
    });
    assert!(
        found.is_some(),
        "not every document is held by all; {}",
        node.last_words()
    );
}

#[test]
fn hundreds_of_small_documents_come_together_and_go_on_after_a_kill() {
    let seed = seed();
    println!("fetch: seed {seed}");
    let (place, mut dice) = (Place::new(), Dice::new(seed, 1));
    let mut stage = Stage::set(place.path(), &ordinary());
    let count = count("BASOCHE_FILES", 1500, 10_000);
    let files = place.path().join("files");
    fs::create_dir(&files).unwrap();
    let plain: Vec<_> = (0..count).map(|_| dice.bytes(16 << 10)).collect();
    for (number, bytes) in plain.iter().enumerate() {
        fs::write(files.join(format!("{number:05}.bin")), bytes).unwrap();
    }
    // One that is too long for a batch, and one that is empty.
    fs::write(files.join("long.bin"), dice.bytes(200_000)).unwrap();
    fs::write(files.join("none.bin"), b"").unwrap();

    // The company fetches while they are lodged, and is killed in the middle.
    let mut company = stage.nodes.remove(2);
    let lodged = std::thread::scope(|scope| {
        let lodging = scope.spawn(|| deposit(&place, &stage, &["--id", "pieces", "--number", "7"], &files));
        until("some documents at the company", || {
            company.log().contains("documents have come").then_some(())
        });
        company.kill();
        lodging.join().unwrap()
    });
    company.start();
    company.ready();
    stage.nodes.push(company);
    assert_eq!(lodged["documents"].as_array().unwrap().len(), count + 2);
    for node in &stage.nodes {
        all_held(node, &stage, count + 2);
    }
    // Few messages state it.
    let view = show(&stage.nodes[0].client(), stage.dossier).unwrap();
    let statements = view
        .messages
        .iter()
        .filter(|message| matches!(message.message_type.as_deref(), Some("held" | "made-available")));
    let statements = statements.count();
    println!("fetch: {statements} statements of {count} documents at three nodes");
    assert!(statements > 0 && statements < count / 2, "{statements}");
    // What was lodged is not lodged again, and another content under its key is refused.
    let again = deposit(&place, &stage, &["--id", "pieces", "--number", "7"], &files);
    assert_eq!(again["documents"], lodged["documents"]);
    // A restart finds them where they are, and gives them out.
    stage.nodes[2].stop();
    stage.nodes[2].start();
    stage.nodes[2].ready();
    let one = lodged["documents"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "00003.bin")
        .unwrap();
    let out = place.path().join("out.bin");
    let opened = Command::new(ordinary())
        .args([
            "document",
            "open",
            "--config",
            "company/node.toml",
            "--as",
            "wallets/lawyer-2",
        ])
        .args([
            "--passphrase-file",
            "passphrase",
            "--dossier",
            &stage.dossier.to_hex(),
        ])
        .args(["--deposit", one["message"].as_str().unwrap(), "--out"])
        .arg(&out)
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(
        opened.status.success(),
        "{}",
        String::from_utf8_lossy(&opened.stderr)
    );
    assert_eq!(fs::read(&out).unwrap(), plain[3]);
    stage.nodes.iter_mut().for_each(Node::stop);
}
