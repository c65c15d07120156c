//! Documents come whatever happens to those who send and to those who receive them. DESIGN §5, SYN-11.
//!
//! Three real nodes. A source is killed while another node fetches from it: the rest comes from the third. A node is
//! killed when it has nine tenths of a document: it goes on where it was. `BASOCHE_BYTES` sets the size of a document.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use basoche_node::desk::DocumentView;
use support::nodes::{Node, Stage, show, until};
use support::seed::{Dice, seed};
use support::{Place, count, ordinary};

/// A mebibyte.
const MIB: u64 = 1 << 20;
/// What two sources may bring twice at the end of a document: six pieces of a mebibyte on their way, of each.
const TWICE: u64 = 16 * MIB;

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
    let done = Command::new(ordinary())
        .args([
            "document",
            "deposit",
            "--config",
            "court/node.toml",
            "--as",
            "wallets/lawyer-0",
        ])
        .args([
            "--passphrase-file",
            "passphrase",
            "--title",
            "Enregistrement",
            "--dossier",
        ])
        .arg(stage.dossier.to_hex())
        .arg(&path)
        .current_dir(place.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
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
fn logged(node: &Node, what: &str, name: &str) -> u64 {
    let log = node.log();
    let line = log.lines().rev().find(|line| line.contains(what));
    let line = line.unwrap_or_else(|| panic!("{what:?} is not logged: {}", node.last_words()));
    let value = line.split(&format!("{name}=")).nth(1).unwrap();
    value.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_document_comes_from_who_is_left_and_goes_on_after_a_kill() {
    let seed = seed();
    let bytes = count("BASOCHE_BYTES", 200 << 20, 1 << 30) as u64 / MIB * MIB;
    println!("fetch: seed {seed}, {bytes} bytes");
    let (place, mut dice) = (Place::new(), Dice::new(seed, 0));
    let mut stage = Stage::set(place.path(), &ordinary());

    // The company is away; the bar has the document too.
    stage.nodes[2].stop();
    lodge(&place, &stage, bytes, &mut dice);
    held_by(&stage.nodes[0], &stage, 2);
    // It comes back, and its first source is killed in the middle.
    stage.nodes[2].start();
    has_written(&stage.nodes[2], bytes / 3);
    stage.nodes[0].kill();
    stage.nodes[2].ready();
    let begun = Instant::now();
    held_by(&stage.nodes[2], &stage, 3);
    println!(
        "fetch: whole {} ms after its first source was killed",
        begun.elapsed().as_millis()
    );
    let fetched = logged(&stage.nodes[2], "a document has come", "fetched");
    assert!(fetched <= bytes + bytes / 10 + 32 * MIB, "{fetched} of {bytes}");
    stage.nodes[0].start();
    stage.nodes[0].connected();

    // The next one: the bar is away, and killed when it has nine tenths.
    stage.nodes[1].stop();
    lodge(&place, &stage, bytes, &mut dice);
    held_by(&stage.nodes[0], &stage, 2);
    stage.nodes[1].start();
    has_written(&stage.nodes[1], bytes / 10 * 9);
    let process = stage.nodes[1].process();
    stage.nodes[1].freeze();
    let had = written(process).min(bytes);
    stage.nodes[1].kill();
    stage.nodes[1].start();
    stage.nodes[1].ready();
    let document = held_by(&stage.nodes[1], &stage, 3);
    assert_eq!(document.bytes, bytes);
    let missing = logged(&stage.nodes[1], "a document goes on where it was", "missing");
    let fetched = logged(&stage.nodes[1], "a document has come", "fetched");
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
