//! Documents for persons, with real wallets and real nodes: who reads them, who does not and is told why, and what
//! becomes of false keys and false contents. SPEC §5.5, §6.16, §6.25.
#![allow(clippy::unwrap_used)]

mod office;

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use basoche_node::control::{Answer, Client, Request};
use basoche_node::desk::Level;
use basoche_node::documents::personal::Sealing;
use basoche_node::effects::now;
use basoche_node::wallet::{PersonRequest, Wallet};
use basoche_protocol::document::{DocumentKey, ciphertext_len, key_commitment};
use basoche_protocol::envelope::{Typ, Unsigned};
use basoche_protocol::id::{Digest, DossierId, MessageId, Salt, SubjectId};
use basoche_protocol::message::{Access, Body, DocumentRef, ExhibitDeposit, KeyGrant, KeyWrap, Message};
use basoche_protocol::role::{Assurance, Role};
use basoche_protocol::text::{b64url_decode, b64url_encode};
use office::{Office, Said};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a node shows something of a document.
fn until(office: &Office, node: &str, dossier: &Value, deposit: &Value, so: impl Fn(&Value) -> bool) {
    let begun = Instant::now();
    loop {
        let shown = office.show_at(node, dossier).json;
        if document(&shown, deposit).is_some_and(&so) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{node}: {shown}");
        sleep(Duration::from_millis(100));
    }
}

fn document<'a>(shown: &'a Value, deposit: &Value) -> Option<&'a Value> {
    shown["documents"]
        .as_array()?
        .iter()
        .find(|one| one["deposit"] == *deposit)
}

fn addressee<'a>(document: &'a Value, person: &str) -> &'a Value {
    let all = document["addressees"].as_array().unwrap();
    all.iter().find(|one| one["subject"] == person).unwrap()
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().cloned().unwrap_or_default();
    list.iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

/// A court and a company of experts, whose node serves a lawyer and a party too; the party has no encryption key yet.
struct Scene {
    office: Office,
    dossier: Value,
    lawyer: String,
    party: String,
    _nodes: [office::Node; 2],
}

impl Scene {
    fn set() -> Self {
        let mut office = Office::bare();
        office.found_bar();
        let address = std::net::UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        office.configure("company", &address, "");
        office.furnish();
        let lawyer = office.enrol("lawyer", "lawyer", "barreaux", 1);
        let made = [
            "wallet",
            "create",
            "--authority",
            "barreaux.example",
            "--out",
            "wallets/party",
            "--label",
            "party",
            "--request",
            "wallets/party.json",
        ];
        let party = office.secret(&made).ok()["subject"].as_str().unwrap().to_owned();
        // As a program without such keys wrote it.
        let whole = fs::read_to_string(office.root.join("wallets/party.json")).unwrap();
        let mut request: Value = serde_json::from_str(&whole).unwrap();
        request
            .as_object_mut()
            .unwrap()
            .remove("encryption_spki")
            .unwrap();
        fs::write(office.root.join("wallets/old.json"), request.to_string()).unwrap();
        let nodes = [office.start(), office.start_node("company")];
        let mut scene = Self {
            office,
            dossier: Value::Null,
            lawyer,
            party,
            _nodes: nodes,
        };
        scene.enrol_party("wallets/old.json");
        scene.dossier = scene.office.designate("26/00007");
        let received = ["--wait", "received"];
        let joined = [
            "--lawyer",
            &scene.lawyer,
            "--party",
            &scene.party,
            "--wait",
            "received",
        ];
        scene
            .act("company", "expert", ["dossier", "accept"], &received)
            .ok();
        scene.act("company", "expert", ["dossier", "add"], &joined).ok();
        let paid = ["--amount", "3000", "--wait", "received"];
        scene
            .act("court", "clerk", ["dossier", "provision-paid"], &paid)
            .ok();
        scene
    }

    fn enrol_party(&self, request: &str) {
        let node = &self.office.nodes[1];
        let person = [
            "authority",
            "person",
            "--dir",
            "authorities/barreaux",
            "--role",
            "party",
            "--node",
            node,
            "--request",
            request,
        ];
        self.office.secret(&person).ok();
        self.office.import();
        self.office.import_to("company");
    }

    fn act(&self, node: &str, who: &str, verb: [&str; 2], rest: &[&str]) -> Said {
        self.office.act(node, who, verb, &self.dossier, rest)
    }

    fn deposit(&self, node: &str, who: &str, name: &str, content: &str, rest: &[&str]) -> Said {
        fs::write(self.office.root.join(name), content).unwrap();
        let rest = [rest, &[name]].concat();
        self.act(node, who, ["document", "deposit"], &rest)
    }

    /// Opens a document into `<who>-<n>`; gives the file's name.
    fn open(&self, node: &str, who: &str, deposit: &Value, out: &str) -> Said {
        let deposit = deposit.as_str().unwrap();
        self.act(
            node,
            who,
            ["document", "open"],
            &["--deposit", deposit, "--out", out],
        )
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.office.root.join(name)).unwrap()
    }

    fn client(&self, node: &str) -> Client {
        Client::new(&self.office.root.join(node).join("data"))
    }

    fn wallet(&self, who: &str) -> Wallet {
        let passphrase = "a passphrase of the tests".to_owned();
        Wallet::open(&self.office.root.join("wallets").join(who), &passphrase.into()).unwrap()
    }

    /// Signs and submits what the command line would never say.
    fn say(&self, node: &str, who: &str, role: Role, body: Body) -> MessageId {
        let wallet = self.wallet(who);
        let message = Message {
            dossier: Some(self.id()),
            author: wallet.subject,
            role,
            assurance: Assurance::Software,
            class: body.message_type().readers(),
            refs: Vec::new(),
            salt: Salt::new(basoche_node::effects::random()),
            body,
        };
        let envelope = Unsigned::new(Typ::Message, &wallet, now(), message.encode())
            .sign(&wallet)
            .unwrap();
        let request = Request::Submit {
            envelope: b64url_encode(&envelope.encode()),
            key: None,
            wait: Level::Received,
            patience_ms: 60_000,
        };
        match self.client(node).ask(&request).unwrap() {
            Answer::Deposited { message, .. } => message,
            other => panic!("{other:?}"),
        }
    }

    fn id(&self) -> DossierId {
        DossierId::from_hex(self.dossier.as_str().unwrap()).unwrap()
    }

    /// The encryption key in somebody's enrolment request.
    fn spki(&self, who: &str) -> Vec<u8> {
        let request: PersonRequest =
            serde_json::from_str(&self.read(&format!("wallets/{who}.json"))).unwrap();
        b64url_decode(&request.encryption_spki.unwrap()).unwrap()
    }
}

#[test]
fn health_data_is_for_the_persons_of_the_roster_and_who_joins_is_handed_the_key() {
    let scene = Scene::set();
    let office = &scene.office;
    let [judge, clerk, expert] = [0, 1, 2].map(|index| office.subjects[index].clone());
    let secret = "Certificat médical d'essai. ".repeat(4000);

    // By default for everybody who has an encryption key, the depositor included; who has none is named.
    let said = scene.deposit(
        "company",
        "expert",
        "certificat.txt",
        &secret,
        &["--health", "--wait", "received"],
    );
    for part in [
        "no operator of a node",
        &scene.party,
        "enrolled without an encryption key",
        "authority person",
    ] {
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }
    let lodged = said.ok();
    assert_eq!(lodged["class"], "personal");
    let mut recipients = strings(&lodged["recipients"]);
    recipients.sort();
    let mut expected = vec![judge.clone(), clerk.clone(), expert.clone(), scene.lawyer.clone()];
    expected.sort();
    assert_eq!(recipients, expected);
    assert_eq!(lodged["without_key"][0]["subject"], *scene.party);
    let deposit = lodged["message"].clone();

    // Who was named and has no key, or is nobody here, is an error; so is --to for member nodes.
    let to = |person: &str, more: &[&str]| {
        let rest = [&["--to", person], more].concat();
        scene.deposit("company", "expert", "certificat.txt", &secret, &rest)
    };
    to(&scene.party, &["--health"]).fails(77, "no-encryption-key", &scene.party, "authority person");
    to(&"0".repeat(32), &["--class", "personal"]).fails(77, "not-participant", "roster", "dossier add");
    to(&judge, &[]).fails(2, "usage", "--to", "--class personal");

    // Its recipients read it, at either node.
    until(office, "court", &scene.dossier, &deposit, |document| {
        addressee(document, &judge)["available_at"].is_string()
    });
    scene.open("court", "judge", &deposit, "judge-1").ok();
    assert_eq!(scene.read("judge-1"), secret);
    scene.open("company", "lawyer", &deposit, "lawyer-1").ok();
    assert_eq!(scene.read("lawyer-1"), secret);

    // Who is no recipient is told so before anything is signed, and shown as such.
    let refused = scene.open("company", "party", &deposit, "party-1");
    refused.fails(77, "no-key", "not among its recipients", "document grant");
    assert!(!office.root.join("party-1").exists());
    let shown = office.show_at("company", &scene.dossier).ok();
    let found = document(&shown, &deposit).unwrap();
    assert_eq!(found["class"], "personal");
    let party = addressee(found, &scene.party);
    assert_eq!(party["waits"]["code"], "no-key", "{party}");
    assert!(
        party["waits"]["says"]
            .as_str()
            .unwrap()
            .contains("document grant"),
        "{party}"
    );
    assert!(
        party["available_at"].is_null() && party["opened_at"].is_null(),
        "{party}"
    );
    assert!(addressee(found, &scene.lawyer)["opened_at"].is_string());

    // Enrolled again, with the key that the wallet has had all along, but the document came before.
    let again = [
        "wallet",
        "show",
        "wallets/party",
        "--request",
        "wallets/again.json",
    ];
    office.ask(&again).ok();
    scene.enrol_party("wallets/again.json");
    scene
        .open("company", "party", &deposit, "party-1")
        .fails(77, "no-key", "recipients", "document grant");

    // A recipient who hands on another key is named, and stands in nobody's way.
    let root = Digest::from_hex(found["root"].as_str().unwrap()).unwrap();
    let party_id = SubjectId::from_hex(&scene.party).unwrap();
    let lie = KeyWrap::new(
        &DocumentKey::new([1; 32]),
        &scene.id(),
        &root,
        party_id,
        &scene.spki("party"),
    )
    .unwrap();
    let lie = Body::KeyGrant(KeyGrant {
        ext: None,
        deposit: MessageId::from_hex(deposit.as_str().unwrap()).unwrap(),
        root,
        wraps: vec![lie],
    });
    let lie = scene.say("company", "expert", Role::Expert, lie).to_hex();
    let refused = scene.open("company", "party", &deposit, "party-1");
    refused.fails(77, "other-key", &expert, "document grant");
    refused.fails(77, "other-key", &lie, "another recipient");
    assert!(!office.root.join("party-1").exists());
    let grant = [
        "--deposit",
        deposit.as_str().unwrap(),
        "--to",
        &scene.party,
        "--wait",
        "received",
    ];
    scene.act("court", "judge", ["document", "grant"], &grant).ok();
    until(office, "company", &scene.dossier, &deposit, |document| {
        addressee(document, &scene.party)["available_at"].is_string()
    });
    scene.open("company", "party", &deposit, "party-1").ok();
    assert_eq!(scene.read("party-1"), secret);

    // Narrower: one person and the depositor. Others can neither open it nor hand it on.
    let narrow = ["--class", "personal", "--to", &judge, "--wait", "received"];
    let narrow = scene
        .deposit("court", "clerk", "note.txt", "Pour le juge.", &narrow)
        .ok();
    let mut recipients = strings(&narrow["recipients"]);
    recipients.sort();
    let mut expected = vec![judge.clone(), clerk];
    expected.sort();
    assert_eq!(recipients, expected);
    let grant = [
        "--deposit",
        narrow["message"].as_str().unwrap(),
        "--to",
        &scene.lawyer,
    ];
    scene
        .act("company", "expert", ["document", "grant"], &grant)
        .fails(77, "no-key", "recipients", "document grant");

    // The evidence has its ciphertext only; what it says its recipients prove.
    let bundle = [
        "export",
        "--config",
        "court/node.toml",
        "--out",
        "preuves.zip",
        "--dossier",
    ];
    office
        .ask(&[&bundle[..], &[scene.dossier.as_str().unwrap()]].concat())
        .ok();
    let bytes = fs::read(office.root.join("preuves.zip")).unwrap();
    assert!(!bytes.windows(18).any(|part| part == &secret.as_bytes()[..18]));
    let claims = |wallet: Option<&str>| {
        let mut line = vec!["verify", "--anchors", "anchors.json", "preuves.zip"];
        line.extend(wallet.iter().flat_map(|wallet| ["--as", wallet]));
        let report = office.secret(&line).ok();
        let claims = report["claims"].as_array().unwrap().clone();
        let texts = claims
            .iter()
            .filter(|claim| claim["id"].as_str().unwrap().starts_with("plaintext:"));
        let mut codes: Vec<_> = texts
            .map(|claim| claim["code"].as_str().unwrap().to_owned())
            .collect();
        codes.sort();
        codes
    };
    assert_eq!(claims(None), ["not-disclosed", "not-disclosed"]);
    assert_eq!(claims(Some("wallets/lawyer")), ["not-disclosed", "ok"]);
    assert_eq!(claims(Some("wallets/judge")), ["ok", "ok"]);

    // Health data for member nodes has to be asked for, and says who can read it.
    let open = scene.deposit(
        "company",
        "expert",
        "radio.txt",
        "x",
        &["--health", "--class", "member"],
    );
    for part in ["operators", "court", "company", "5 persons"] {
        assert!(open.stderr.contains(part), "{part}: {}", open.stderr);
    }
    let open = open.ok();
    assert_eq!(
        (&open["class"], &open["recipients"]),
        (&Value::from("member"), &Value::Null)
    );
    let grant = [
        "--deposit",
        open["message"].as_str().unwrap(),
        "--to",
        &scene.lawyer,
    ];
    scene
        .act("company", "expert", ["document", "grant"], &grant)
        .fails(77, "not-personal", "member nodes", "Nothing to do");

    // A revoked certificate makes nobody a recipient any more.
    let shown = office.ask(&["wallet", "show", "wallets/lawyer"]).ok();
    let certificate = shown["certificate"].as_str().unwrap();
    let revoke = [
        "authority",
        "revoke",
        "--dir",
        "authorities/barreaux",
        "--reason",
        "key-compromise",
        "--certificate",
        certificate,
    ];
    office.secret(&revoke).ok();
    office.import();
    let later = scene
        .deposit("court", "clerk", "suite.txt", "y", &["--health"])
        .ok();
    assert_eq!(later["without_key"][0]["subject"], *scene.lawyer);
    assert!(
        later["without_key"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("revoked"),
        "{later}"
    );
}

#[test]
fn several_files_and_standard_input_are_sealed_as_one_file_is() {
    let scene = Scene::set();
    let office = &scene.office;
    let [judge, clerk, expert] = [0, 1, 2].map(|index| office.subjects[index].clone());
    let names = ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt"];
    // One is longer than those that travel together.
    let content = |name: &str| {
        let times = if name == "c.txt" { 9000 } else { 3 };
        format!("Secret de {name}. ").repeat(times)
    };
    for name in names {
        fs::write(office.root.join(name), content(name)).unwrap();
    }
    let files = |rest: &[&str]| {
        let rest = [rest, &["--id", "pieces", "--wait", "received"], &names].concat();
        scene.act("company", "expert", ["document", "deposit"], &rest)
    };
    // Who cannot be a recipient is an error, before anything is lodged.
    files(&["--to", &scene.party, "--health"]).fails(77, "no-encryption-key", &scene.party, "");
    files(&["--to", &judge]).fails(2, "usage", "--to", "--class personal");
    assert_eq!(
        office.show_at("company", &scene.dossier).ok()["documents"],
        Value::Array(vec![])
    );

    let said = files(&["--health"]);
    for part in ["no operator of a node", &scene.party] {
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }
    let lodged = said.ok();
    assert_eq!(lodged["class"], "personal");
    let sorted = |mut all: Vec<String>| {
        all.sort();
        all
    };
    let everybody = [&judge, &clerk, &expert, &scene.lawyer].map(Clone::clone);
    assert_eq!(sorted(strings(&lodged["recipients"])), sorted(everybody.to_vec()));
    assert_eq!(lodged["without_key"][0]["subject"], *scene.party);
    let again = files(&["--health"]).ok();
    assert_eq!(
        again["documents"], lodged["documents"],
        "under the same key nothing is lodged anew"
    );

    let each = lodged["documents"].as_array().unwrap();
    assert_eq!(each.len(), names.len());
    for (one, name) in each.iter().zip(names) {
        let deposit = &one["message"];
        until(office, "court", &scene.dossier, deposit, |document| {
            document["class"] == "personal" && addressee(document, &judge)["available_at"].is_string()
        });
        let out = format!("judge-{name}");
        scene.open("court", "judge", deposit, &out).ok();
        assert_eq!(scene.read(&out), content(name));
        scene.open("company", "party", deposit, "party-none").fails(
            77,
            "no-key",
            "recipients",
            "document grant",
        );
    }

    // Standard input, for one person and the depositor.
    let piped = content("piped.txt");
    let bytes = piped.len().to_string();
    let rest = [
        "--class", "personal", "--to", &judge, "--wait", "received", "--bytes", &bytes,
    ];
    let rest = [&rest[..], &["--name", "piped.txt", "-"]].concat();
    let lodged = scene.office.act_with(
        &piped,
        "company",
        "expert",
        ["document", "deposit"],
        &scene.dossier,
        &rest,
    );
    let lodged = lodged.ok();
    assert_eq!(lodged["class"], "personal");
    let two = [&judge, &expert].map(Clone::clone);
    assert_eq!(sorted(strings(&lodged["recipients"])), sorted(two.to_vec()));
    let deposit = &lodged["message"];
    until(office, "court", &scene.dossier, deposit, |document| {
        addressee(document, &judge)["available_at"].is_string()
    });
    scene.open("court", "judge", deposit, "judge-piped").ok();
    assert_eq!(scene.read("judge-piped"), piped);
    scene.open("company", "lawyer", deposit, "lawyer-piped").fails(
        77,
        "no-key",
        "recipients",
        "document grant",
    );
    // Fewer bytes than were announced are lodged for nobody.
    let before = office.show_at("company", &scene.dossier).ok()["documents"].clone();
    let rest = [
        "--class",
        "personal",
        "--bytes",
        "1000",
        "--name",
        "short.txt",
        "-",
    ];
    let said = scene.office.act_with(
        "short",
        "company",
        "expert",
        ["document", "deposit"],
        &scene.dossier,
        &rest,
    );
    assert_ne!(said.exit, 0, "{}", said.json);
    assert_eq!(
        office.show_at("company", &scene.dossier).ok()["documents"],
        before
    );
}

#[test]
fn a_reader_hands_out_nothing_that_is_not_what_the_message_commits_to() {
    let scene = Scene::set();
    let judge = SubjectId::from_hex(&scene.office.subjects[0]).unwrap();
    // Two exhibits of the expert: one says another content than it has, one keeps another key than it commits to.
    let lodge = |number: u8, false_key: bool| {
        let (key, content) = (DocumentKey::new([number; 32]), vec![number; 100_000]);
        let bytes = content.len() as u64;
        let mut sealing = Sealing::new(content.as_slice(), bytes, &key).unwrap();
        let request = Request::Keep {
            dossier: scene.id(),
            bytes: ciphertext_len(bytes),
        };
        let client = scene.client("company");
        let Answer::Kept { root } = client
            .upload(&request, &mut sealing, ciphertext_len(bytes))
            .unwrap()
        else {
            panic!("another answer");
        };
        assert_eq!(*root.as_bytes(), sealing.finish().unwrap().root);
        let wrapped = if false_key {
            DocumentKey::new([9; 32])
        } else {
            key.clone()
        };
        let wrap = KeyWrap::new(&wrapped, &scene.id(), &root, judge, &scene.spki("judge")).unwrap();
        let document = DocumentRef {
            root,
            bytes,
            media_type: "text/plain".into(),
            name: "faux.txt".into(),
            key_commitment: Digest::new(key_commitment(&key)),
            plaintext_commitment: Digest::new([7; 32]),
            plaintext_salt: Salt::new([0; 16]),
            access: Access::Persons(vec![wrap]),
        };
        let body = Body::ExhibitDeposit(ExhibitDeposit {
            ext: None,
            number: u64::from(number),
            title: "Faux".into(),
            document,
        });
        Value::from(scene.say("company", "expert", Role::Expert, body).to_hex())
    };
    let available = |deposit: &Value| {
        until(&scene.office, "court", &scene.dossier, deposit, |document| {
            addressee(document, &judge.to_hex())["available_at"].is_string()
        });
    };
    let other_content = lodge(1, false);
    available(&other_content);
    let refused = scene.open("court", "judge", &other_content, "nothing");
    refused.fails(77, "other-document", "nothing was written", "depositor");
    let other_key = lodge(2, true);
    available(&other_key);
    let refused = scene.open("court", "judge", &other_key, "nothing");
    refused.fails(77, "other-key", &scene.office.subjects[2], "document grant");
    assert!(!scene.office.root.join("nothing").exists());
    // The depositor is no recipient of it, and so cannot open what they lodged themselves.
    scene.open("company", "expert", &other_key, "nothing").fails(
        77,
        "no-key",
        "recipients",
        "document grant",
    );
    // A length that no ciphertext has is refused before a byte is taken.
    let request = Request::Keep {
        dossier: scene.id(),
        bytes: 3,
    };
    let refused = scene
        .client("court")
        .upload(&request, &mut [0_u8; 3].as_slice(), 3)
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("no document has a ciphertext of 3 bytes"),
        "{refused}"
    );
}
