//! Why a message or a document is late, as real nodes say it: each reason is provoked once. OPERATIONS, *Look*.
#![allow(clippy::unwrap_used)]

mod office;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use basoche_node::config::read_passphrase;
use basoche_node::desk::Wait;
use basoche_node::disk::Space;
use basoche_node::effects;
use basoche_node::keys::NodeKeys;
use basoche_node::rows::Rows;
use basoche_node::store::{Batch, RocksStore};
use basoche_node::vault::{self, SealedStore};
use basoche_protocol::dossier::RunItem;
use basoche_protocol::engine::{Engine, Registry as _, Row};
use basoche_protocol::envelope::{Sealed, Typ, Unsigned};
use basoche_protocol::id::{Digest, DossierId, Incarnation, KeySalt};
use basoche_protocol::journal::{Branch, Head};
use basoche_protocol::role::Class;
use basoche_protocol::tree::Tree;
use basoche_registry::{Anchors, Replica};
use office::disk::SmallDisk;
use office::{Node, Office};
use serde_json::Value;

/// How long anything that is awaited may take: a peer that died counts as connected for 30 s.
const PATIENCE: Duration = Duration::from_secs(90);
/// Exit code of a level not reached in time.
const TRY_AGAIN: i32 = 75;

/// What each of the tests below provokes, and checks that it did.
const DISK: [Wait; 3] = [Wait::Fetching, Wait::FetchingHere, Wait::NotOpened];
const PEERS: [Wait; 4] = [Wait::UnknownSigner, Wait::Held, Wait::Behind, Wait::Unreachable];
const KEY: [Wait; 1] = [Wait::NoKey];
const QUOTA: [Wait; 1] = [Wait::Quota];
const FORK: [Wait; 2] = [Wait::UnsettledFork, Wait::WithoutEffect];

/// The reasons that no test provokes.
fn unprovoked(tests: &[&[Wait]]) -> Vec<Wait> {
    let provoked: BTreeSet<_> = tests.iter().copied().flatten().copied().collect();
    let all = Wait::ALL.into_iter();
    all.filter(|wait| !provoked.contains(wait)).collect()
}

#[test]
fn no_reason_is_left_out() {
    assert_eq!(unprovoked(&[&DISK, &PEERS, &KEY, &QUOTA, &FORK]), []);
    // The count notices a reason without a test.
    assert_eq!(unprovoked(&[&DISK, &PEERS, &QUOTA, &FORK]), KEY);
}

/// Two real nodes, and the reasons that they have given.
struct Pair {
    office: Office,
    /// Where the company's node listens.
    company: String,
    seen: RefCell<BTreeSet<Wait>>,
}

impl Pair {
    /// Configured, and not yet enrolled.
    fn bare() -> Self {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let pair = Self {
            office: Office::bare(),
            company: udp.to_string(),
            seen: RefCell::default(),
        };
        pair.configure_company("");
        pair
    }

    /// The company's configuration, with more lines at its end.
    fn configure_company(&self, more: &str) {
        self.office.configure("company", &self.company, more);
    }

    /// Starts a node, and gives it the registry.
    fn start(&self, name: &str) -> Node {
        let node = self.office.start_node(name);
        self.office.import_to(name);
        node
    }

    /// Waits until `node` gives this reason, and for it `detail` if there is one, where `find` looks; gives it.
    fn expect(
        &self,
        node: &str,
        dossier: &Value,
        code: Wait,
        detail: Option<&str>,
        find: impl Fn(&Value) -> Vec<Value>,
    ) -> Value {
        let is = |wait: &Value| {
            wait["code"] == code.code() && detail.is_none_or(|detail| wait["detail"] == detail)
        };
        let found = self.until(node, dossier, code.code(), |view| find(view).into_iter().find(is));
        assert!(found["says"].as_str().unwrap().len() > 20, "{found}");
        assert_eq!(found["node"].as_str().unwrap().len(), 32, "{found}");
        self.seen.borrow_mut().insert(code);
        found
    }

    fn until<T>(&self, node: &str, dossier: &Value, what: &str, found: impl Fn(&Value) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            let said = self.office.show_at(node, dossier);
            if let Some(found) = found(&said.json) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "in vain at {node}: {what}: {said:?}");
            sleep(Duration::from_millis(100));
        }
    }

    /// Writes a file to lodge.
    fn file(&self, name: &str) -> String {
        fs::write(self.office.root.join(name), name.repeat(100)).unwrap();
        name.to_owned()
    }

    /// The clerk lodges a document at the court; gives its message.
    fn lodge(&self, dossier: &Value, name: &str) -> Value {
        let file = self.file(name);
        self.office.deposit(dossier, name, Path::new(&file)).ok()["message"].clone()
    }

    fn expert(&self) -> &str {
        &self.office.subjects[2]
    }

    /// What the test is to have seen.
    fn has_seen(&self, planned: &[Wait]) {
        assert_eq!(*self.seen.borrow(), planned.iter().copied().collect());
    }

    /// The text of `dossier show`, for people.
    fn text(&self, node: &str, dossier: &Value) -> String {
        let config = format!("{node}/node.toml");
        let shown = Command::new(env!("CARGO_BIN_EXE_basoche"))
            .args(["dossier", "show", "--config", &config, "--dossier"])
            .arg(dossier.as_str().unwrap())
            .current_dir(&self.office.root)
            .output()
            .unwrap();
        String::from_utf8(shown.stdout).unwrap()
    }
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

/// What a document waits for with an addressee.
fn of_addressee(deposit: &Value, addressee: &str) -> impl Fn(&Value) -> Vec<Value> {
    move |view| {
        let document = list(view, "documents").find(|one| one["deposit"] == *deposit);
        let addressees = document.into_iter().flat_map(|one| list(one, "addressees"));
        let mine = addressees.filter(|one| one["subject"] == addressee);
        mine.map(|one| one["waits"].clone())
            .filter(Value::is_object)
            .collect()
    }
}

/// What a message waits for.
fn of_message(message: &Value) -> impl Fn(&Value) -> Vec<Value> {
    move |view| {
        let mine = list(view, "messages").filter(|one| one["id"] == *message);
        mine.flat_map(|one| list(one, "waits")).cloned().collect()
    }
}

/// Leaves less room on a disk than documents must.
fn leave_no_room(ballast: &Path) {
    let free = Space::of(ballast.parent().unwrap()).unwrap().free_bytes;
    let block = vec![0; 1 << 20];
    let mut file = File::create(ballast).unwrap();
    for _ in 0..(free >> 20).saturating_sub(40) {
        file.write_all(&block).unwrap();
    }
}

#[test]
fn a_receiver_without_room_and_a_source_that_is_gone_are_told_until_the_document_is_opened() {
    let mut pair = Pair::bare();
    let data = pair.office.root.join("company/data");
    let _disk = SmallDisk::mount(&data);
    pair.office.furnish();
    let (court, company) = (pair.start("court"), pair.start("company"));
    let dossier = pair.office.designate("26/00000");
    let expert = pair.expert().to_owned();
    let first = pair.lodge(&dossier, "ordonnance.txt");
    pair.expect(
        "court",
        &dossier,
        Wait::NotOpened,
        None,
        of_addressee(&first, &expert),
    );

    // The company's disk has room for its journal and for no document.
    leave_no_room(&data.join("ballast"));
    let second = pair.lodge(&dossier, "annexe.txt");
    let of_second = || of_addressee(&second, &expert);
    pair.expect("court", &dossier, Wait::Fetching, None, of_second());
    let full = pair.expect(
        "company",
        &dossier,
        Wait::FetchingHere,
        Some("disk-full"),
        of_second(),
    );
    assert!(
        full["says"].as_str().unwrap().contains("free disk space"),
        "{full}"
    );
    assert!(full["since"].is_string() && full["bytes"] == 0, "{full}");
    assert!(full["total_bytes"].as_u64().unwrap() >= 1000, "{full}");
    let text = pair.text("company", &dossier);
    assert!(
        text.contains("\n           fetching-here (disk-full) since "),
        "{text}"
    );

    // There is room again, and nobody to fetch it from.
    court.stop();
    fs::remove_file(data.join("ballast")).unwrap();
    pair.expect(
        "company",
        &dossier,
        Wait::FetchingHere,
        Some("no-source"),
        of_second(),
    );
    let court = pair.office.start_node("court");
    let available = pair.expect("company", &dossier, Wait::NotOpened, None, of_second());
    assert!(available["since"].is_string(), "{available}");

    // Once it is opened it waits for nothing, at either node.
    let out = ["--deposit", second.as_str().unwrap(), "--out", "opened.txt"];
    pair.office
        .act("company", "expert", ["document", "open"], &dossier, &out)
        .ok();
    for node in ["company", "court"] {
        pair.until(node, &dossier, "nothing", |view| {
            of_second()(view).is_empty().then_some(())
        });
    }
    pair.has_seen(&DISK);
    court.stop();
    company.stop();
}

#[test]
fn a_stranger_and_a_peer_that_freezes_and_dies_are_told() {
    let mut pair = Pair::bare();
    pair.office.furnish();
    let court = pair.start("court");
    let dossier = pair.office.designate("26/00000");
    let order = pair.lodge(&dossier, "ordonnance.txt");
    // Never met: it says so, and not since when.
    let away = pair.expect("court", &dossier, Wait::Unreachable, None, of_message(&order));
    assert!(away["since"].is_null(), "{away}");
    assert!(
        away["says"].as_str().unwrap().contains("since this node's start"),
        "{away}"
    );

    // Only the company believes the bar's authority.
    pair.office.found_bar();
    let own = pair.office.enrol("lawyer", "lawyer", "barreaux", 1);
    let other = pair.office.enrol("other", "lawyer", "barreaux", 0);
    let company = pair.start("company");
    let expert = pair.expert().to_owned();
    pair.until("company", &dossier, "the order available", |view| {
        let waits = of_addressee(&order, &expert)(view);
        (waits.first()?["code"] == "not-opened").then_some(())
    });
    let everybody = ["--wait", "received"];
    let act = |who: &str, verb: [&str; 2], rest: &[&str]| {
        let node = if who == "clerk" { "court" } else { "company" };
        pair.office.act(node, who, verb, &dossier, rest)
    };
    act("expert", ["dossier", "accept"], &everybody).ok();
    act(
        "expert",
        ["dossier", "add"],
        &[&["--lawyer", &own], everybody.as_slice()].concat(),
    )
    .ok();
    act(
        "clerk",
        ["dossier", "provision-paid"],
        &[&["--amount", "3000"], everybody.as_slice()].concat(),
    )
    .ok();
    let piece = pair.file("piece.txt");
    let strange = act(
        "lawyer",
        ["document", "deposit"],
        &[&[piece.as_str()], everybody.as_slice()].concat(),
    );
    let strange = strange.ok()["message"].clone();
    pair.expect("court", &dossier, Wait::UnknownSigner, None, of_message(&strange));

    // The court's node hangs: what it holds it has said, what comes now it does not hear.
    court.freeze();
    let brief = ["--lawyer", &other, "--wait", "received", "--patience", "2"];
    let late = pair
        .office
        .act("company", "expert", ["dossier", "add"], &dossier, &brief);
    assert_eq!(late.exit, TRY_AGAIN, "{late:?}");
    let told: Vec<_> = list(&late.json, "waits")
        .map(|wait| (&wait["code"], &wait["node"]))
        .collect();
    assert_eq!(
        told,
        [(
            &Value::from("behind"),
            &Value::from(pair.office.nodes[0].as_str())
        )]
    );
    let change = late.json["message"].clone();
    pair.expect("company", &dossier, Wait::Behind, None, of_message(&change));
    let held = pair.expect(
        "company",
        &dossier,
        Wait::Held,
        None,
        of_addressee(&order, &other),
    );
    assert!(held["since"].is_string(), "{held}");

    // It dies: a while later its peer knows.
    court.kill();
    let away = pair.expect(
        "company",
        &dossier,
        Wait::Unreachable,
        None,
        of_addressee(&order, &other),
    );
    assert!(away["since"].is_string(), "{away}");
    pair.expect("company", &dossier, Wait::Unreachable, None, of_message(&change));
    let text = pair.text("company", &dossier);
    assert!(text.contains("\n           unreachable since "), "{text}");
    assert!(
        text.contains("the node of court is not connected: ask its operator"),
        "{text}"
    );
    pair.has_seen(&PEERS);
    company.stop();
}

/// Takes the key of a dossier out of the store of a node that is stopped.
fn lose_key(office: &Office, data: &Path, dossier: &Value) {
    /// The family of keys, `rows::KEYS`.
    const KEYS: u8 = 4;
    let passphrase = read_passphrase(&office.root.join("passphrase")).unwrap();
    let storage = vault::open(data, &passphrase).unwrap();
    let store = Arc::new(RocksStore::open(&data.join("store")).unwrap());
    let rows = SealedStore::new(store, storage);
    let dossier = DossierId::from_hex(dossier.as_str().unwrap()).unwrap();
    let owner = rows.owner(KEYS, &[dossier.as_bytes()]);
    assert!(
        rows.get(KEYS, &owner, 0).unwrap().is_some(),
        "there is no key to lose"
    );
    let mut batch = Batch::default();
    rows.delete(&mut batch, KEYS, owner, 0);
    rows.commit(batch).unwrap();
}

#[test]
fn a_node_that_lost_a_key_says_so_until_a_member_hands_it_over() {
    let mut pair = Pair::bare();
    pair.office.furnish();
    let (court, company) = (pair.start("court"), pair.start("company"));
    let dossier = pair.office.designate("26/00000");
    let order = pair.lodge(&dossier, "ordonnance.txt");
    let is_available = |view: &Value| {
        let waits = of_addressee(&order, pair.expert())(view);
        (waits.first()?["code"] == "not-opened").then_some(())
    };
    pair.until("company", &dossier, "the order available", is_available);
    court.stop();
    company.stop();
    lose_key(&pair.office, &pair.office.data(), &dossier);
    let court = pair.office.start_node("court");
    let wait = pair.expect("court", &dossier, Wait::NoKey, None, of_message(&order));
    assert_eq!(wait["node"], pair.office.nodes[0].as_str());
    let company = pair.office.start_node("company");
    pair.until("court", &dossier, "the order available again", is_available);
    pair.has_seen(&KEY);
    court.stop();
    company.stop();
}

#[test]
fn a_peer_over_whose_quota_a_message_is_says_until_when_it_takes_no_more() {
    let mut pair = Pair::bare();
    pair.office.furnish();
    pair.configure_company("[limits]\ndossier_entries_per_day = 4\n");
    let (court, company) = (pair.start("court"), pair.start("company"));
    let dossier = pair.office.designate("26/00000");
    let paid: Vec<_> = (0..6)
        .map(|number| pair.office.pay(&dossier, number).ok()["message"].clone())
        .collect();
    let last = paid.last().unwrap();
    let wait = pair.expect("court", &dossier, Wait::Quota, None, of_message(last));
    assert_eq!(wait["node"], pair.office.nodes[1].as_str());
    // A quarter of four a day is more than the hour that a peer is believed, and that may be a quarter longer.
    let until: jiff::Timestamp = wait["until"].as_str().unwrap().parse().unwrap();
    let minutes = until.duration_since(jiff::Timestamp::now()).as_secs() / 60;
    assert!((55..=75).contains(&minutes), "{wait}");
    let text = pair.text("court", &dossier);
    assert!(text.contains("\n  quota until "), "{text}");
    // An operator who gives it more room starts it again, and everything comes.
    company.stop();
    pair.configure_company("");
    let company = pair.office.start_node("company");
    pair.until("court", &dossier, "everything received", |view| {
        of_message(last)(view).is_empty().then_some(())
    });
    pair.has_seen(&QUOTA);
    court.stop();
    company.stop();
}

/// Records at the company's node, which is stopped, something under its own signatures that is no message: what an
/// honest node never does. Gives its id.
fn record_no_message(office: &Office, dossier: DossierId) -> Value {
    let data = office.root.join("company/data");
    let passphrase = read_passphrase(&office.root.join("passphrase")).unwrap();
    let storage = vault::open(&data, &passphrase).unwrap();
    let keys = NodeKeys::open(&data, &storage).unwrap();
    let store = Arc::new(RocksStore::open(&data.join("store")).unwrap());
    let rows = Rows::new(SealedStore::new(store, storage));
    let anchors = fs::read(office.root.join("anchors.json")).unwrap();
    let mut registry = Replica::new(Anchors::parse(&anchors).unwrap());
    for (origin, index, leaf) in rows.leaves().unwrap() {
        registry.import(&origin, index, &leaf, None).unwrap();
    }
    let mut engine = Engine::new(keys.node(), Incarnation::new([7; 16]), "test", Arc::new(registry));
    rows.restore(&mut engine).unwrap();

    let replica = engine.dossier(&dossier).unwrap();
    let (seal, now) = (keys.seal().unwrap(), effects::now());
    let envelope = Unsigned::new(Typ::Message, &seal, now, b"no message".to_vec())
        .sign(&seal)
        .unwrap();
    let (epoch, key) = replica.newest_key().unwrap();
    let sealed = Sealed::seal(
        &envelope,
        &dossier,
        Class::Member,
        epoch,
        key,
        KeySalt::new([7; 32]),
    );
    let mut frontier = replica.frontier();
    let own = frontier
        .iter_mut()
        .find(|row| row.chain.node == keys.node())
        .unwrap();
    let entry = replica.draft(own.chain, &envelope, &sealed, now, vec![], None);
    let chain = replica.chain(&own.chain).unwrap();
    let mut tree: Tree = (0..entry.seq)
        .map(|seq| *chain.leaf(seq).unwrap().as_bytes())
        .collect();
    tree.push(*entry.leaf().as_bytes());
    (own.size, own.leaf, own.root) = (tree.size(), entry.leaf(), Digest::new(tree.root()));
    let (branch, to) = (Branch::first(own.chain), own.size);
    let head = Head {
        v: Head::VERSION,
        head_no: now.ms(),
        dossier,
        node: keys.node(),
        incarnation: own.chain.incarnation,
        rows: frontier,
        registries: vec![],
        time: now,
    };
    let head = Unsigned::new(Typ::Head, &seal, now, head.encode())
        .sign(&seal)
        .unwrap()
        .encode();
    let mut batch = Batch::default();
    let run = Row::Run {
        dossier,
        index: rows.run_count(dossier).unwrap(),
        branch,
        from: to - 1,
        to,
        head: head.clone(),
    };
    let item = Box::new(RunItem {
        entry,
        sealed: Some(sealed),
    });
    let node = keys.node();
    for row in [
        Row::Entry { branch, item },
        run,
        Row::Head { dossier, node, head },
    ] {
        rows.put(&mut batch, &row).unwrap();
    }
    rows.commit(batch).unwrap();
    envelope.id().to_hex().into()
}

#[test]
fn an_entry_that_records_no_message_is_quarantined_under_its_code_and_holds_up_nothing() {
    let mut pair = Pair::bare();
    pair.office.furnish();
    let (court, company) = (pair.start("court"), pair.start("company"));
    let dossier = pair.office.designate("26/00000");
    let order = pair.lodge(&dossier, "ordonnance.txt");
    pair.until("court", &dossier, "the company's word", |view| {
        let waits = of_addressee(&order, pair.expert())(view);
        (waits.first()?["code"] == "not-opened").then_some(())
    });
    company.stop();
    let id = DossierId::from_hex(dossier.as_str().unwrap()).unwrap();
    let poison = record_no_message(&pair.office, id);
    let company = pair.office.start_node("company");
    for node in ["company", "court"] {
        let wait = pair.expect(node, &dossier, Wait::WithoutEffect, None, of_message(&poison));
        assert_eq!(wait["detail"], "truncated", "{wait}");
        let here = pair.office.nodes[usize::from(node == "company")].as_str();
        assert_eq!(wait["node"], here);
    }
    // What the same node records after it counts.
    let accepted = pair.office.act(
        "company",
        "expert",
        ["dossier", "accept"],
        &dossier,
        &["--wait", "received"],
    );
    assert_eq!(accepted.exit, 0, "{accepted:?}");
    for node in [court, company] {
        assert!(!node.stop().contains("panicked"));
    }
}

/// Copies a directory of a node that is stopped.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

#[test]
fn acts_past_a_fork_wait_for_the_court_and_those_set_aside_have_no_effect() {
    let mut pair = Pair::bare();
    pair.office.furnish();
    let (court, company) = (pair.start("court"), pair.start("company"));
    let dossier = pair.office.designate("26/00000");
    let pay = |number| pair.office.pay(&dossier, number).ok()["message"].clone();
    let paid = pay(0);
    let settled = |node: &str| {
        pair.until(node, &dossier, "everything everywhere", |view| {
            let levels: Vec<_> = list(view, "messages")
                .map(|one| one["level"] == "received")
                .collect();
            (levels.len() >= 2 && levels.iter().all(|received| *received)).then_some(())
        });
    };
    settled("court");
    settled("company");
    // A copy of the court's disk, which nobody may ever start again.
    court.stop();
    let (data, older, newer) = (
        pair.office.data(),
        pair.office.root.join("older"),
        pair.office.root.join("newer"),
    );
    copy(&data, &older);
    let court = pair.office.start();
    settled("court");
    // What the court signs now, nobody else hears.
    company.stop();
    let unheard = pay(1);
    court.stop();
    fs::rename(&data, &newer).unwrap();
    copy(&older, &data);
    let (company, court) = (pair.office.start_node("company"), pair.office.start());
    settled("court");
    let heard = pay(2);
    settled("court");
    court.stop();
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&newer, &data).unwrap();
    let court = pair.office.start();
    for message in [&unheard, &heard] {
        pair.expect(
            "company",
            &dossier,
            Wait::UnsettledFork,
            None,
            of_message(message),
        );
    }
    // The court lets the history count that its member has heard.
    let shown = pair.office.show_at("company", &dossier).ok();
    let position = |message: &Value| list(&shown, "messages").position(|one| one["id"] == *message);
    assert!(position(&paid) < position(&heard));
    let histories: Vec<_> = list(&shown["forks"][0], "histories")
        .map(|last| last["leaf"].clone())
        .collect();
    assert_eq!(histories.len(), 2, "{shown}");
    let keep = histories[0].as_str().unwrap();
    let order = [
        "--keep",
        keep,
        "--reason",
        "Copie d'un disque",
        "--wait",
        "received",
    ];
    pair.office
        .act("court", "judge", ["dossier", "settle-fork"], &dossier, &order)
        .ok();
    let aside = pair.expect(
        "company",
        &dossier,
        Wait::WithoutEffect,
        Some("set-aside"),
        of_message(&unheard),
    );
    assert_eq!(aside["node"], pair.office.nodes[1].as_str());
    pair.until("company", &dossier, "the other takes effect", |view| {
        of_message(&heard)(view).is_empty().then_some(())
    });
    pair.has_seen(&FORK);
    court.stop();
    company.stop();
}
