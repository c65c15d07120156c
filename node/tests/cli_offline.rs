//! The commands that need no running node, and the import into one, on the real program.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use basoche_node::wallet::Wallet;
use basoche_protocol::envelope::{Envelope, Typ, Unsigned};
use basoche_protocol::fixture::Cast;
use basoche_protocol::jose::Signer;
use basoche_protocol::message::{Body, Message};
use basoche_protocol::role::{Class, Role};
use basoche_protocol::text::hex_encode;
use basoche_protocol::time::Instant;
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;

const PASSPHRASE: &str = "a passphrase for trials";
/// 2026-06-01.
const AT: Instant = Instant::from_seconds(1_780_272_000);

/// What a run of the program left.
struct Ran {
    exit: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    /// The answer: the last line of stdout, as JSON.
    fn answer(&self) -> Value {
        let line = self.stdout.lines().last();
        let line = line.unwrap_or_else(|| panic!("no answer; stderr: {}", self.stderr));
        let answer: Value = serde_json::from_str(line).unwrap();
        assert_eq!(answer["v"], 1);
        answer
    }
}

/// A directory in which the program runs.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_basoche"));
        command.current_dir(self.0.path()).args(args);
        command.env("BASOCHE_PASSPHRASE", PASSPHRASE);
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.feed(args, b"")
    }

    fn feed(&self, args: &[&str], input: &[u8]) -> Ran {
        finish(self.command(args), input)
    }

    /// Runs with `--json` what must go through.
    fn json(&self, args: &[&str]) -> Value {
        let ran = self.run(&[&["--json"], args].concat());
        assert_eq!(ran.exit, 0, "{args:?}: {}{}", ran.stdout, ran.stderr);
        ran.answer()
    }

    /// Runs, with `--json` and without, what must not go through; gives the error.
    fn fail(&self, exit: i32, args: &[&str]) -> Value {
        let ran = self.run(&[&["--json"], args].concat());
        let error = error(&ran, exit);
        let text = self.run(args);
        assert_eq!((text.exit, text.stdout.as_str()), (exit, ""), "{args:?}");
        assert!(text.stderr.contains(error["message"].as_str().unwrap()));
        error
    }

    /// Makes an authority with an empty log.
    fn init(&self, name: &str, profession: &str) -> Value {
        let origin = format!("{name}.trial");
        let who = ["--dir", name, "--origin", &origin, "--profession", profession];
        self.json(&[&["authority", "init", "--test"], who.as_slice()].concat())
    }

    /// An authority with one organisation; the organisation's id.
    fn authority(&self, name: &str, profession: &str) -> String {
        let made = self.init(name, profession);
        assert_eq!(
            (&made["origin"], &made["index"]),
            (&format!("{name}.trial").into(), &0.into())
        );
        let stated = self.json(&organisation(name, "Organisation d'essai"));
        assert_eq!(stated["index"], 1);
        text(&stated["subject"])
    }

    /// A node's data directory, made and enrolled; the node's id.
    fn node(&self, name: &str, organisation: &str) -> String {
        let config = format!("{name}.toml");
        let toml = format!(
            "data = \"{name}-data\"\nlisten = \"127.0.0.1:0\"\naddresses = [\"127.0.0.1:4433\"]\n\
             anchors = \"anchors.json\"\npassphrase_file = \"passphrase\"\nallow_private_addresses = true\n"
        );
        std::fs::write(self.path(&config), toml).unwrap();
        std::fs::write(self.path("passphrase"), "a passphrase for the node\n").unwrap();
        let request = format!("{name}-node.json");
        let origin = format!("{name}.trial");
        let ask = |verb, request: &str| {
            let line = ["node", verb, "--config", &config, "--authority", &origin];
            let mut said = self.json(&[&line[..], &["--request", request]].concat());
            // No two signatures are the same.
            assert!(said.as_object_mut().unwrap().remove("possession").is_some());
            said
        };
        let made = ask("init", &request);
        // A request that was lost is written again, the same.
        let again = format!("{name}-again.json");
        assert_eq!(ask("request", &again), made);
        let enrolled = self.json(&enrol_node(name, organisation, &again));
        assert_eq!(enrolled["subject"], made["node"]);
        text(&enrolled["subject"])
    }

    /// A wallet and its request, `NAME.wallet` and `NAME.json`.
    fn wallet(&self, authority: &str, name: &str) -> Value {
        let (wallet, request) = (format!("{name}.wallet"), format!("{name}.json"));
        let files = ["--out", &wallet, "--label", name, "--request", &request];
        let origin = format!("{authority}.trial");
        self.json(&[&["wallet", "create", "--authority", &origin], files.as_slice()].concat())
    }

    fn entries(&self, authority: &str) -> usize {
        let entries = std::fs::read_dir(self.path(authority).join("entries"));
        entries.unwrap().count()
    }

    /// A court with a node and a judge, and the anchors that name it; the node's id.
    fn court(&self) -> String {
        let organisation = self.authority("court", "court");
        let node = self.node("court", &organisation);
        self.wallet("court", "judge");
        self.json(&person("court", "judge.json", "judge", &node));
        self.json(&["authority", "anchors", "--out", "anchors.json", "court"]);
        node
    }

    /// What the holder of `judge.wallet` signs as a `typ`.
    fn signed(&self, typ: Typ) -> Envelope {
        let wallet = Wallet::open(&self.path("judge.wallet"), &SecretString::from(PASSPHRASE)).unwrap();
        let cast = Cast::default();
        let mut message = designation(&cast);
        message.author = wallet.subject;
        Unsigned::new(typ, &wallet, basoche_node::effects::now(), message.encode())
            .sign(&wallet)
            .unwrap()
    }
}

fn organisation<'a>(authority: &'a str, name: &'a str) -> [&'a str; 8] {
    let [verb, what, dir] = ["authority", "organisation", "--dir"];
    [
        verb,
        what,
        dir,
        authority,
        "--name",
        name,
        "--identifier",
        "000000000",
    ]
}

fn enrol_node<'a>(authority: &'a str, organisation: &'a str, request: &'a str) -> [&'a str; 8] {
    let [verb, what, dir] = ["authority", "node", "--dir"];
    [
        verb,
        what,
        dir,
        authority,
        "--organisation",
        organisation,
        "--request",
        request,
    ]
}

fn person<'a>(authority: &'a str, request: &'a str, role: &'a str, node: &'a str) -> [&'a str; 10] {
    let [verb, what, dir] = ["authority", "person", "--dir"];
    [
        verb,
        what,
        dir,
        authority,
        "--request",
        request,
        "--role",
        role,
        "--node",
        node,
    ]
}

fn revoke<'a>(authority: &'a str, certificate: &'a str, reason: &'a str) -> [&'a str; 8] {
    let [verb, what, dir] = ["authority", "revoke", "--dir"];
    [
        verb,
        what,
        dir,
        authority,
        "--certificate",
        certificate,
        "--reason",
        reason,
    ]
}

fn designation(cast: &Cast) -> Message {
    cast.judge
        .message(None, Body::Designation(cast.designation(AT)), 1)
}

fn finish(mut command: Command, input: &[u8]) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses before it has read everything closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input);
    let done = child.wait_with_output().unwrap();
    Ran {
        exit: done.status.code().unwrap(),
        stdout: String::from_utf8(done.stdout).unwrap(),
        stderr: String::from_utf8(done.stderr).unwrap(),
    }
}

/// The error of a run with `--json`, which has all its members and says what to do.
fn error(ran: &Ran, exit: i32) -> Value {
    assert_eq!(ran.exit, exit, "{}{}", ran.stdout, ran.stderr);
    let error = ran.answer()["error"].clone();
    let members: BTreeSet<_> = error.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = BTreeSet::from(["code", "message", "where", "action", "retry"]);
    assert_eq!(members, expected);
    assert!(error.as_object().unwrap().values().all(Value::is_string));
    let retry = error["retry"].as_str().unwrap();
    assert!(["never", "after-change", "later"].contains(&retry));
    error
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn says(error: &Value, code: &str, parts: &[&str]) {
    assert_eq!(error["code"], code, "{error}");
    let message = error["message"].as_str().unwrap();
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

/// Changes a letter of what an entry file says, under the same signature.
fn tamper(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let at = bytes.windows(5).position(|five| five == b"essai").unwrap();
    bytes[at] = b'E';
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn three_authorities_enrol_nodes_and_persons_offline() {
    let place = Place::new();
    let authorities = [
        ("court", "court", ["judge", "clerk"]),
        ("bar", "bar", ["lawyer", "party"]),
        ("company", "expert-company", ["expert", "expert"]),
    ];
    for (name, profession, roles) in authorities {
        let organisation = place.authority(name, profession);
        let node = place.node(name, &organisation);
        for (number, role) in roles.into_iter().enumerate() {
            let holder = format!("{role}-{number}");
            let made = place.wallet(name, &holder);
            let shown = place.json(&["wallet", "show", &format!("{holder}.wallet")]);
            assert_eq!(shown["subject"], made["subject"]);
            assert_eq!(shown["certificate"], made["certificate"]);
            let enrolled = place.json(&person(name, &format!("{holder}.json"), role, &node));
            assert_eq!(enrolled["subject"], made["subject"]);
            assert_eq!(enrolled["index"], 3 + number);
            assert!(place.path(enrolled["entry"].as_str().unwrap()).is_file());
        }
    }
    let anchors = ["authority", "anchors", "--out", "anchors.json"];
    let anchors = place.json(&[anchors.as_slice(), &["court", "bar", "company"]].concat());
    assert_eq!(anchors["authorities"].as_array().unwrap().len(), 3);

    let check = ["annuaire", "verify", "--anchors", "anchors.json"];
    let check = [check.as_slice(), &["court", "bar", "company/entries"]].concat();
    let checked = place.json(&check);
    let registries = checked["registries"].as_array().unwrap();
    let origins: Vec<_> = registries.iter().map(|one| text(&one["origin"])).collect();
    assert_eq!(origins, ["bar.trial", "company.trial", "court.trial"]);
    let whole = |one: &Value| one["size"] == 5 && one["test"] == true;
    assert!(registries.iter().all(whole));
    assert!(place.run(&check).stdout.contains("autorité d'essai"));
    // One entry given twice is one entry.
    let twice = [check.as_slice(), &["court/entries/00000002.entry"]].concat();
    assert_eq!(place.json(&twice), checked);

    // A judge's key is withdrawn: the log goes on, and holds.
    let certificate = text(&place.json(&["wallet", "show", "judge-0.wallet"])["certificate"]);
    let withdraw = revoke("court", &certificate, "key-compromise");
    let since = ["--invalid-since", "2026-01-01T00:00:00+01:00"];
    assert_eq!(place.json(&[withdraw.as_slice(), &since].concat())["index"], 5);
    let again = place.fail(77, &person("court", "judge-0.json", "judge", &"0".repeat(32)));
    says(
        &again,
        "signer-invalid",
        &["entry 6 of court.trial", "is revoked"],
    );
    assert_eq!(place.json(&check)["registries"][2]["size"], 6);
}

#[test]
fn a_log_that_was_changed_is_refused_with_the_file_named() {
    let place = Place::new();
    place.authority("court", "court");
    for name in ["un", "deux"] {
        place.json(&organisation("court", name));
    }
    place.json(&["authority", "anchors", "--out", "anchors.json", "court"]);
    let check = ["annuaire", "verify", "--anchors", "anchors.json", "court"];
    let state = organisation("court", "trois");
    place.json(&check);

    let (file, aside) = (place.path("court/entries/00000001.entry"), place.path("aside"));
    std::fs::rename(&file, &aside).unwrap();
    for args in [check.as_slice(), &state] {
        let error = place.fail(77, args);
        let part = "court/entries/00000001.entry is missing";
        says(&error, "missing-entry", &[part]);
        assert_eq!(error["where"], "court/entries/00000001.entry");
    }
    assert_eq!(place.entries("court"), 3);

    std::fs::copy(&aside, &file).unwrap();
    tamper(&file);
    for args in [check.as_slice(), &state] {
        let part = "court/entries/00000001.entry (entry 1 of court.trial)";
        says(&place.fail(77, args), "bad-signature", &[part, "signature"]);
    }
    assert_eq!(place.entries("court"), 4);

    let both = place.fail(77, &[check.as_slice(), &["aside"]].concat());
    let part = "two different entries 1 of court.trial";
    says(
        &both,
        "duplicate-entry",
        &["aside", "court/entries/00000001.entry", part],
    );

    std::fs::write(&file, b"not an entry").unwrap();
    let malformed = place.fail(65, &check);
    assert_eq!(malformed["where"], "court/entries/00000001.entry");
    let nowhere = ["annuaire", "verify", "--anchors", "anchors.json", "nowhere"];
    says(&place.fail(2, &nowhere), "unreadable", &["nowhere"]);
}

#[test]
fn an_authority_that_is_not_anchored_is_refused() {
    let place = Place::new();
    place.authority("court", "court");
    place.authority("bar", "bar");
    place.json(&["authority", "anchors", "--out", "anchors.json", "bar"]);
    let error = place.fail(77, &["annuaire", "verify", "--anchors", "anchors.json", "court"]);
    let part = "no anchor names an authority court.trial";
    says(&error, "head-mismatch", &[part]);
    // Nor can two of one name be anchored, or one take the place of another.
    let twice = place.fail(2, &["authority", "anchors", "--out", "again.json", "bar", "bar"]);
    says(&twice, "duplicate-authority", &["bar.trial"]);
    assert!(!place.path("again.json").exists());
    let init = ["authority", "init", "--profession", "bar"];
    let full = [init.as_slice(), &["--dir", "bar", "--origin", "other"]].concat();
    says(&place.fail(73, &full), "not-empty", &["bar is not empty"]);
    let bad = [init.as_slice(), &["--dir", "bad", "--origin", "Bad Name"]].concat();
    says(&place.fail(65, &bad), "malformed", &["is not an origin"]);
}

#[test]
fn a_wrong_passphrase_opens_nothing_and_writes_nothing() {
    let place = Place::new();
    place.authority("court", "court");
    std::fs::write(place.path("wrong"), "another\n").unwrap();
    let state = organisation("court", "un");
    let error = place.fail(78, &[state.as_slice(), &["--passphrase-file", "wrong"]].concat());
    let parts = ["court/authority.wallet", "wrong passphrase"];
    says(&error, "wrong-passphrase", &parts);

    let mut command = place.command(&[&["--json"], state.as_slice()].concat());
    command.env_remove("BASOCHE_PASSPHRASE");
    let none = self::error(&finish(command, b""), 78);
    says(&none, "no-passphrase", &["no passphrase"]);
    assert_eq!(place.entries("court"), 2);

    place.wallet("court", "judge");
    let before = std::fs::read(place.path("judge.wallet")).unwrap();
    let again = ["wallet", "create", "--out", "judge.wallet", "--label", "x"];
    let again = [again.as_slice(), &["--request", "new.json"]].concat();
    says(&place.fail(78, &again), "wallet", &["judge.wallet"]);
    assert_eq!(std::fs::read(place.path("judge.wallet")).unwrap(), before);
    assert!(!place.path("new.json").exists());
}

#[test]
fn an_authority_enrols_within_its_profession_only() {
    let place = Place::new();
    let node = place.court();
    place.wallet("court", "expert");
    let error = place.fail(77, &person("court", "expert.json", "expert", &node));
    let parts = ["entry 4 of court.trial", "cannot enrol", "as expert"];
    says(&error, "role-not-held", &parts);
    assert!(error["action"].as_str().unwrap().contains("judge, clerk"));
    // The judge's key is not given to another subject, and requests are read strictly.
    let request = std::fs::read(place.path("judge.json")).unwrap();
    let mut request: Value = serde_json::from_slice(&request).unwrap();
    request["subject"] = "0".repeat(32).into();
    std::fs::write(place.path("stolen.json"), request.to_string()).unwrap();
    let stolen = place.fail(77, &person("court", "stolen.json", "clerk", &node));
    says(&stolen, "head-mismatch", &["a key of this entry belongs to"]);
    // Nor is one enrolled whose holder has not asked for it, in this log.
    let alone = [
        "wallet",
        "create",
        "--out",
        "alone.wallet",
        "--label",
        "x",
        "--request",
        "alone.json",
    ];
    place.json(&alone);
    let unasked = place.fail(65, &person("court", "alone.json", "clerk", &node));
    says(&unasked, "malformed", &["alone.json", "wants it in a log"]);
    let whole = [
        "wallet",
        "show",
        "alone.wallet",
        "--request",
        "whole.json",
        "--authority",
        "court.trial",
    ];
    place.json(&whole);
    place.json(&person("court", "whole.json", "clerk", &node));
    place.wallet("bar", "elsewhere");
    let elsewhere = place.fail(65, &person("court", "elsewhere.json", "clerk", &node));
    says(&elsewhere, "bad-value", &["possession is shown for another log"]);
    request["more"] = 1.into();
    std::fs::write(place.path("more.json"), request.to_string()).unwrap();
    let more = place.fail(65, &person("court", "more.json", "clerk", &node));
    says(&more, "malformed", &["more.json", "more"]);
    let foreign = place.fail(77, &enrol_node("court", &node, "court-node.json"));
    says(&foreign, "head-mismatch", &["is not enrolled"]);
    let unknown = "0".repeat(64);
    let unknown = revoke("court", &unknown, "superseded");
    says(
        &place.fail(77, &unknown),
        "unknown-certificate",
        &["never enrolled"],
    );
    let late = [unknown.as_slice(), &["--effective-at", "tomorrow"]].concat();
    says(&place.fail(2, &late), "usage", &["tomorrow"]);
    assert_eq!(place.entries("court"), 5);
}

/// Decodes from stdin, as raw bytes, and gives the exit code and the report.
fn decode(place: &Place, args: &[&str], input: &[u8]) -> (i32, Value) {
    let ran = place.feed(&[&["--json", "decode"], args, &["-"]].concat(), input);
    (ran.exit, ran.answer())
}

#[test]
fn a_good_envelope_is_decoded_in_each_of_its_forms() {
    let place = Place::new();
    let cast = Cast::default();
    let message = designation(&cast);
    let envelope = cast.judge.sign(&message, AT);
    let bytes = envelope.encode();
    let jws = envelope.to_jws();
    let hex = hex_encode(&bytes);
    let forms: [(&[&str], &[u8]); 3] = [(&[], &bytes), (&["--hex"], hex.as_bytes()), (&[], jws.as_bytes())];
    for (args, input) in forms {
        let (exit, report) = decode(&place, args, input);
        assert_eq!((exit, &report["stage"]), (0, &"body".into()));
        assert_eq!(report["code"], Value::Null);
        assert_eq!(report["id"], envelope.id().to_hex());
        assert_eq!(report["type"], "designation");
        assert_eq!(report["header"]["alg"], "ES256");
        assert_eq!(report["header"]["iat"], "2026-06-01T00:00:00.000Z");
        let certificate = cast.judge.key.certificate().to_hex();
        assert_eq!(report["header"]["certificate"], certificate);
        assert_eq!(report["message"]["author"], cast.judge.subject.to_hex());
        assert_eq!(report["message"]["body"], message.body.to_json());
    }
    let part = |report: &Value, name: &str| {
        let place = |member: &str| usize::try_from(report["parts"][name][member].as_u64().unwrap()).unwrap();
        place("offset")..place("offset") + place("bytes")
    };
    let (_, report) = decode(&place, &[], &bytes);
    assert_eq!(bytes[part(&report, "header")], envelope.header().encode());
    assert_eq!(&bytes[part(&report, "payload")], envelope.payload());
    assert_eq!(part(&report, "signature"), bytes.len() - 64..bytes.len());
    let (_, report) = decode(&place, &[], jws.as_bytes());
    for (name, text) in ["header", "payload", "signature"].into_iter().zip(jws.split('.')) {
        assert_eq!(&jws[part(&report, name)], text);
    }
    let shown = place.feed(&["decode", "-"], &bytes);
    assert_eq!(shown.exit, 0);
    assert!(shown.stdout.starts_with("stage body\n"));
}

#[test]
fn a_bad_envelope_stops_at_its_stage() {
    let place = Place::new();
    let cast = Cast::default();
    let good = cast.judge.sign(&designation(&cast), AT).encode();
    // The payload begins with its map's head, key 0 and `v`, key 1 and the type.
    let payload = designation(&cast).encode();
    assert_eq!(payload[1..5], [0, 1, 1, 1]);
    let with = |place: usize, value: u8| {
        let mut other = payload.clone();
        other[place] = value;
        resigned(&cast, other)
    };
    let mut personal = designation(&cast);
    personal.class = Class::Personal;
    let mut header = good.clone();
    let at = header.windows(4).position(|four| four == b"cbor").unwrap();
    header[at..at + 4].copy_from_slice(b"json");
    let trailing = [good.as_slice(), &[0]].concat();
    let indefinite = [&[0x9f], &good[1..], &[0xff]].concat();
    let cases = [
        ("bytes", "truncated", good[..good.len() - 1].to_vec()),
        ("bytes", "trailing-bytes", trailing),
        ("bytes", "not-canonical", indefinite),
        ("bytes", "too-large", vec![0; 600_000]),
        ("canonical", "wrong-shape", vec![0x82, 0x41, 0, 0x41, 0]),
        ("envelope", "bad-header", header),
        ("header", "version", with(2, 2)),
        ("header", "unknown-type", with(4, 20)),
        ("header", "bad-value", cast.judge.sign(&personal, AT).encode()),
    ];
    for (stage, code, bytes) in cases {
        let (exit, report) = decode(&place, &[], &bytes);
        let found = (exit, &report["stage"], &report["code"]);
        assert_eq!(found, (65, &stage.into(), &code.into()));
        let refused = match Envelope::decode(&bytes) {
            Err(malformed) => malformed.into(),
            Ok(envelope) => Message::decode(envelope.payload()).unwrap_err(),
        };
        assert_eq!(refused.code().name(), code);
        assert_eq!(report["message"], Value::Null);
    }
    for (args, input) in [
        (["--hex"].as_slice(), "8g"),
        (&[], "a.b!.c"),
        (&[], "e30.e30.e30"),
    ] {
        let (exit, report) = decode(&place, args, input.as_bytes());
        assert_eq!((exit, report["code"].is_string()), (65, true), "{input}");
    }
    assert_eq!(place.run(&["decode", "nowhere"]).exit, 2);
}

/// The judge's signature on other payload bytes.
fn resigned(cast: &Cast, payload: Vec<u8>) -> Vec<u8> {
    let key = &cast.judge.key;
    let unsigned = Unsigned::new(Typ::Message, key, AT, payload);
    unsigned.sign(key).unwrap().encode()
}

#[test]
fn a_signature_is_verified_against_the_entries() {
    let place = Place::new();
    place.court();
    let trust = ["--anchors", "anchors.json", "--entries", "court"];
    let good = place.signed(Typ::Message);
    let (exit, report) = decode(&place, &trust, &good.encode());
    assert_eq!((exit, &report["stage"]), (0, &"verified".into()), "{report}");
    assert_eq!(report["message"]["role"], Role::Judge.name());

    let mut forged = good.encode();
    *forged.last_mut().unwrap() ^= 1;
    let other = place.signed(Typ::Head).encode();
    let cast = Cast::default();
    let stranger = cast.judge.sign(&designation(&cast), AT).encode();
    let cases = [
        (forged, "bad-signature"),
        (other, "wrong-typ"),
        (stranger, "unknown-signer"),
    ];
    for (bytes, code) in cases {
        assert_eq!(decode(&place, &[], &bytes).0, 0);
        let (exit, report) = decode(&place, &trust, &bytes);
        let found = (exit, &report["stage"], &report["code"]);
        assert_eq!(found, (77, &"body".into(), &code.into()));
    }
    // As of an earlier receipt, it was signed in the future. ENV-13.
    let early = [trust.as_slice(), &["--at", "2026-01-01T00:00:00Z"]].concat();
    let (exit, report) = decode(&place, &early, &good.encode());
    assert_eq!((exit, &report["code"]), (77, &"claimed-ahead".into()));
}

/// A running node, stopped with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to stop.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_running_node_imports_entries_once() {
    let place = Place::new();
    place.court();
    let config = ["--config", "court.toml"];
    let import = |path| [&["annuaire", "import"], config.as_slice(), &[path]].concat();
    let down = place.fail(69, &import("court"));
    assert_eq!(
        (&down["code"], &down["retry"]),
        (&"unreachable".into(), &"later".into())
    );

    let mut node = place.command(&[&["node", "run"], config.as_slice()].concat());
    let mut node = Running(node.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
    let mut lines = BufReader::new(node.0.stderr.take().unwrap()).lines();
    let ready = lines.find(|line| line.as_ref().unwrap().starts_with("ready on udp"));
    assert!(ready.is_some());
    // Its log goes on: read it, so that it never waits for us.
    std::thread::spawn(move || lines.for_each(drop));

    // The second entry is bad: its file is named.
    let bad = place.path("bad");
    std::fs::create_dir(&bad).unwrap();
    for name in ["00000000.entry", "00000001.entry"] {
        std::fs::copy(place.path("court/entries").join(name), bad.join(name)).unwrap();
    }
    tamper(&bad.join("00000001.entry"));
    let refused = place.fail(77, &import("bad"));
    says(&refused, "bad-signature", &["bad/00000001.entry", "signature"]);
    assert_eq!(refused["where"], "bad/00000001.entry");

    // The entry before it was taken.
    let imported = place.json(&import("court"));
    assert_eq!((&imported["new"], &imported["known"]), (&3.into(), &1.into()));
    let imported = place.json(&import("court/entries/00000003.entry"));
    assert_eq!((&imported["new"], &imported["known"]), (&0.into(), &1.into()));

    let show = [&["annuaire", "show"], config.as_slice()].concat();
    let shown = place.json(&show);
    assert_eq!(shown["registries"][0]["size"], 4);
    assert_eq!(shown["registries"][0]["test"], true);
    let subjects = shown["subjects"].as_array().unwrap();
    let roles: Vec<_> = subjects.iter().map(|one| text(&one["roles"][0])).collect();
    assert_eq!(roles, ["node", "judge"]);
    // Whom a certificate belongs to, and where, is said in the words that `authority revoke` takes.
    assert!(
        subjects
            .iter()
            .all(|one| one["organisation"] == "Organisation d'essai"),
        "{subjects:?}"
    );
    assert_eq!(text(&subjects[0]["certificate"]).len(), 64);
    assert!(place.run(&show).stdout.contains("autorité d'essai"));
}
