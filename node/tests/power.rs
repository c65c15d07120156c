//! Nothing that was acknowledged is lost when the power fails. DESIGN §9, issue "Shown by" 3.
//!
//! The court's data directory is an ext4 file system in a file. While its node works alone, so that its own disk is
//! all that counts, the node is stopped and the file system shut down as a power cut would (`support/powercut.py`),
//! the node killed, the file system unmounted and mounted again, which replays its journal, and the node started on
//! what is there. The same harness catches a program that does not sync.
//!
//! Needs root and loop devices. With `BASOCHE_NO_MOUNT=1` the tests count as skipped. `BASOCHE_CUTS` sets the number
//! of cuts, `BASOCHE_SEED` the seed, `BASOCHE_LONG=1` the length of a campaign.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::{scope, sleep};
use std::time::Instant;

use support::harness::{run, set};
use support::judge::{alarms, findings};
use support::load::{CLIENTS, Record, SOME, Submitter};
use support::nodes::{Node, Stage, show};
use support::seed::{Dice, seed};
use support::{Place, count, ordinary, with_faults};

/// Bytes of the file system: the store's logs and buffers, with room.
const IMAGE_BYTES: u64 = 512 << 20;
/// From the first acknowledgement to the cut, in microseconds.
const CUT_US: (u64, u64) = (50_000, 900_000);
/// Acknowledgements that a cut must have seen on average, or it has shown nothing.
const ACKNOWLEDGED_PER_CUT: usize = 5;
/// Cuts after which a program that does not sync must have been caught.
const CONTROL_CUTS: usize = 10;

const TESTS: [(&str, fn()); 2] = [
    ("power_cuts", power_cuts),
    (
        "a_node_that_does_not_sync_is_caught",
        a_node_that_does_not_sync_is_caught,
    ),
];

/// A file system in a file.
struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    fn make(root: &Path, mount: &Path) -> Self {
        let image = root.join("disk");
        fs::File::create_new(&image)
            .and_then(|file| file.set_len(IMAGE_BYTES))
            .unwrap();
        command("mkfs.ext4", &["-q".as_ref(), image.as_ref()]);
        fs::create_dir_all(mount).unwrap();
        let disk = Self {
            image,
            mount: mount.to_owned(),
        };
        disk.mount();
        disk
    }

    fn mount(&self) {
        command(
            "mount",
            &[
                "-o".as_ref(),
                "loop".as_ref(),
                self.image.as_ref(),
                self.mount.as_ref(),
            ],
        );
    }

    /// Stops the process and shuts the file system down.
    fn cut(&self, process: u32) {
        let script = Path::new("tests/support/powercut.py");
        let process = process.to_string();
        command("python3", &[script, self.mount.as_ref(), process.as_ref()]);
    }

    fn unmount(&self) {
        command("umount", &[self.mount.as_ref()]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A failed test may have left it mounted, and busy for a moment more: a lazy unmount always succeeds.
        let _ = Command::new("umount").arg("--lazy").arg(&self.mount).output();
    }
}

fn command(name: &str, arguments: &[&Path]) {
    let done = Command::new(name).args(arguments).output();
    let done = done
        .unwrap_or_else(|error| panic!("{name}: {error}; set BASOCHE_NO_MOUNT=1 to go without power cuts"));
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "{name} failed: {complaint}; power cuts need root, loop devices and ext4: set BASOCHE_NO_MOUNT=1 to go without"
    );
}

/// A court on its own disk, alone; the two others stopped once the dossier was in progress.
struct Court {
    stage: Stage,
    disk: Disk,
    place: Place,
}

impl Court {
    fn set() -> Self {
        let place = Place::new();
        let disk = Disk::make(place.path(), &place.path().join("court/data"));
        let mut stage = Stage::set(place.path(), &ordinary());
        stage.nodes.iter_mut().for_each(Node::stop);
        Self { stage, disk, place }
    }

    /// Starts the court's node, lets the clients work, cuts the power at a random moment, and brings the disk back.
    fn cut(&mut self, seed: u64, cut: usize, dice: &mut Dice, record: &mut Option<Record>) -> Record {
        let (path, earlier) = (self.place.path().join("acknowledged"), record.take());
        let (record, heard) = Record::following(&path, earlier);
        let Stage {
            nodes,
            lawyers,
            dossier,
        } = &mut self.stage;
        let court = &mut nodes[0];
        court.start();
        court.ready();
        scope(|scope| {
            for client in 0..CLIENTS {
                let submitter = Submitter {
                    name: format!("0.{cut}.{client}"),
                    node: 0,
                    home: court.client(),
                    wallet: &lawyers[0],
                    dossier: *dossier,
                    record: &record,
                    documents: SOME,
                    dice: Dice::new(seed, (cut * CLIENTS + client + 1) as u64),
                };
                scope.spawn(move || submitter.run());
            }
            record.hurry(Some(0));
            heard.next_of(0);
            sleep(dice.between_us(CUT_US.0, CUT_US.1));
            // Nobody will be there any more to finish a key.
            record.abandon();
            self.disk.cut(court.process());
            court.kill();
            record.stop();
        });
        self.disk.unmount();
        self.disk.mount();
        record
    }

    /// What the court's node shows after a start, against the record; a node that does not start has lost it all.
    fn findings(&mut self, record: &Record) -> Vec<String> {
        let court = &mut self.stage.nodes[0];
        court.start();
        if court.answer().is_none() {
            return vec![format!(
                "everything is lost: the node does not start: {}",
                court.last_words()
            )];
        }
        let Some(view) = show(&court.client(), self.stage.dossier) else {
            return vec!["everything is lost: the dossier is unknown".into()];
        };
        findings(&record.acknowledged(), &[("court", &view)], &[], false)
    }
}

fn power_cuts() {
    let (cuts, seed, began) = (count("BASOCHE_CUTS", 3, 50), seed(), Instant::now());
    println!("power cuts: seed {seed}, {cuts} cuts");
    let (mut court, mut dice) = (Court::set(), Dice::new(seed, 0));
    // What makes the control's program leave out the sync changes nothing in the ordinary one.
    court.stage.nodes[0].become_program(&ordinary(), "no-sync");
    let mut record = None;
    for cut in 0..cuts {
        let after = court.cut(seed, cut, &mut dice, &mut record);
        assert_eq!(court.findings(&after), Vec::<String>::new(), "after cut {cut}");
        assert_eq!(after.failures(), Vec::<String>::new());
        court.stage.nodes[0].kill();
        record = Some(after);
    }
    let acknowledged = record.unwrap().acknowledged();
    println!(
        "power cuts: {cuts} cuts, {} acknowledged, none lost; {:.1} s",
        acknowledged.len(),
        began.elapsed().as_secs_f64()
    );
    // The others, who were away, get all of it.
    court.stage.nodes.iter_mut().for_each(Node::start);
    court.stage.nodes.iter_mut().for_each(Node::connected);
    let views = court.stage.settled();
    let named: Vec<_> = court
        .stage
        .nodes
        .iter()
        .map(|node| node.name)
        .zip(&views)
        .collect();
    assert_eq!(findings(&acknowledged, &named, &[], false), Vec::<String>::new());
    for node in &court.stage.nodes[1..] {
        assert_eq!(alarms(&node.log()), Vec::<&str>::new(), "{}", node.name);
    }
    assert!(
        acknowledged.len() >= cuts * ACKNOWLEDGED_PER_CUT,
        "{}",
        acknowledged.len()
    );
    court.stage.nodes.iter_mut().for_each(Node::stop);
    court.disk.unmount();
}

/// Negative control.
fn a_node_that_does_not_sync_is_caught() {
    let (seed, began) = (seed(), Instant::now());
    println!("control: seed {seed}, no sync");
    let (mut court, mut dice) = (Court::set(), Dice::new(seed, 0));
    court.stage.nodes[0].become_program(&with_faults(), "no-sync");
    let mut record = None;
    for cut in 0..CONTROL_CUTS {
        let after = court.cut(seed, cut, &mut dice, &mut record);
        let caught = court.findings(&after);
        court.stage.nodes[0].kill();
        if caught.iter().any(|finding| finding.contains("is lost")) {
            println!(
                "control: caught at cut {}, {} of {} acknowledged lost, {:.1} s; first: {}",
                cut + 1,
                caught.len(),
                after.acknowledged().len(),
                began.elapsed().as_secs_f64(),
                caught[0]
            );
            court.disk.unmount();
            return;
        }
        record = Some(after);
    }
    panic!("not caught in {CONTROL_CUTS} cuts");
}

fn main() -> ExitCode {
    run(&TESTS, || set("BASOCHE_NO_MOUNT"))
}
