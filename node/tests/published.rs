//! A log as files: what `authority publish` writes, what is read back, and what is noticed. LOG-5, LOG-7, LOG-11.
#![allow(clippy::unwrap_used)]

mod office;

use std::fs;
use std::path::{Path, PathBuf};

use basoche_node::certificate::{self, Generated};
use basoche_node::published::{self, CHECKPOINT, PublishedError};
use basoche_protocol::crypto::{Ed25519Key, sha256};
use basoche_protocol::id::{CertificateId, Salt, SubjectId};
use basoche_protocol::jose::SoftwareKey;
use basoche_protocol::role::OrganisationKind;
use basoche_protocol::time::Instant;
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_registry::entry::Organisation;
use basoche_registry::leaf::{Capacity, CoSignature, possession};
use basoche_registry::log::{Checkpoint, Key, KeyKind, Note};
use basoche_registry::{Anchors, Authority, AuthorityLog, Content, Replica};

use office::Office;

const ORIGIN: &str = "bars.example";

/// An authority that publishes in a directory of its own.
struct Publisher {
    authority: Authority,
    root: SoftwareKey,
    log: AuthorityLog,
    leaves: Vec<RegistryLeaf>,
    secret: Ed25519Key,
    key: Key,
    dir: tempfile::TempDir,
}

impl Publisher {
    fn new() -> Self {
        let made = certificate::generate("root").unwrap();
        let id = CertificateId::new(sha256(&[&made.certificate_der]));
        let root = SoftwareKey::from_pkcs8(&made.private_key_pkcs8, id).unwrap();
        let secret = Ed25519Key::new(&[7; 32]);
        let key = Key::new(ORIGIN, KeyKind::Log, secret.public()).unwrap();
        let authority = Authority::new(ORIGIN, OrganisationKind::Bar, &made.certificate_der, true).unwrap();
        let authority = authority.with_log_key(key.clone()).unwrap();
        let log = AuthorityLog::new(authority.clone());
        let mut publisher = Self {
            authority,
            root,
            log,
            leaves: Vec::new(),
            secret,
            key,
            dir: tempfile::tempdir().unwrap(),
        };
        let genesis = publisher.authority.genesis();
        publisher.state(None, genesis.into(), None);
        publisher
    }

    fn state(&mut self, subject: Option<SubjectId>, content: Content, made: Option<&Generated>) {
        let at = Instant::from_seconds(1_790_000_000);
        let shown = made.map(|made| {
            let key = SoftwareKey::from_pkcs8(&made.private_key_pkcs8, made.id()).unwrap();
            let wanted = possession(ORIGIN, &subject.unwrap(), &made.id());
            let shown = CoSignature::draft(&key, wanted, Capacity::Possession, at);
            shown.sign(&key).unwrap()
        });
        let certificate = made.map_or(&[][..], |made| &made.certificate_der);
        let salt = Salt::new([0; 16]);
        let unsigned = self.log.draft(&self.root, subject, content, at, at, salt);
        let signed = unsigned.sign(&self.root).unwrap();
        let shown = shown.into_iter().collect();
        let (_, leaf) = self.log.commit(signed, shown, certificate).unwrap();
        self.leaves.push(leaf);
    }

    /// More organisations, every fifth with a key that speaks for it.
    fn grow(&mut self, to: usize) {
        while self.leaves.len() < to {
            let n = self.leaves.len();
            let made = n
                .is_multiple_of(5)
                .then(|| certificate::generate("admin").unwrap());
            let admin = made.as_ref().map(|made| {
                let certificate = basoche_registry::Certificate::from_der(&made.certificate_der).unwrap();
                basoche_registry::entry::KeyRecord {
                    certificate: certificate.id(),
                    spki_sha256: certificate.spki_sha256(),
                    algorithm: basoche_protocol::jose::Algorithm::Es256,
                }
            });
            let organisation = Organisation {
                kind: OrganisationKind::Bar,
                identifier: n.to_string(),
                name: "Barreau d'essai".to_owned(),
                admin,
            };
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(n as u64).to_be_bytes());
            self.state(Some(SubjectId::new(id)), organisation.into(), made.as_ref());
        }
    }

    fn publish(&self, old: u64) {
        let tree = self.log.replica().tree(ORIGIN).unwrap();
        published::write(self.dir.path(), &self.leaves, tree, old).unwrap();
        let mut note = Note::new(Checkpoint::text(&self.log.head())).unwrap();
        let at = Instant::default();
        let line = self
            .key
            .line(&self.secret.sign(&self.key.message(note.text(), at)), at);
        note.add(line).unwrap();
        fs::write(self.dir.path().join(CHECKPOINT), note.encode()).unwrap();
    }

    fn read(&self) -> Result<published::Published, PublishedError> {
        published::read(self.dir.path(), std::slice::from_ref(&self.key))
    }
}

/// Every file below `dir`.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn a_log_that_grows_is_read_back_whole_at_every_size() {
    let mut publisher = Publisher::new();
    let mut old = 0;
    for size in [1, 2, 255, 256, 257, 512, 600] {
        publisher.grow(size);
        publisher.publish(old);
        old = size as u64;
        let log = publisher.read().unwrap();
        assert_eq!(log.checkpoint.head(), &publisher.log.head());
        let leaves: Vec<_> = log.entries.iter().map(|entry| entry.leaf.clone()).collect();
        assert_eq!(leaves, publisher.leaves);
    }
    // What was read is admissible, from nothing.
    let mut replica = Replica::new(Anchors::new(vec![publisher.authority.clone()]).unwrap());
    for entry in publisher.read().unwrap().entries {
        assert_eq!(replica.admit(&entry.origin, entry.index, &entry.leaf), Ok(true));
    }
    // The files are those that C2SP names.
    let paths = [
        "tile/0/000",
        "tile/0/001",
        "tile/0/002.p/88",
        "tile/1/000.p/2",
        "tile/entries/002.p/88",
    ];
    for path in paths {
        assert!(publisher.dir.path().join(path).is_file(), "{path}");
    }
    // Fuller files take the place of those that a growing log no longer keeps.
    fs::remove_file(publisher.dir.path().join("tile/entries/001.p/1")).unwrap();
    assert!(publisher.read().is_ok());
    // Nobody else's key opens it.
    let other = Key::new(ORIGIN, KeyKind::Log, Ed25519Key::new(&[8; 32]).public()).unwrap();
    assert!(published::read(publisher.dir.path(), &[other]).is_err());
}

#[test]
fn one_byte_changed_anywhere_is_noticed_and_the_file_is_named() {
    let mut publisher = Publisher::new();
    publisher.grow(270);
    publisher.publish(0);
    let mut paths = Vec::new();
    files(publisher.dir.path(), &mut paths);
    assert!(paths.len() > 50);
    for (n, path) in paths.iter().enumerate() {
        let good = fs::read(path).unwrap();
        let mut bad = good.clone();
        let place = n * 7919 % bad.len();
        bad[place] ^= 0x20;
        fs::write(path, &bad).unwrap();
        let error = publisher.read().unwrap_err();
        // A changed leaf may name a certificate that is not there: that is where it is noticed first.
        let named =
            error.path() == path || path.to_string_lossy().contains("entries") || path.ends_with(CHECKPOINT);
        assert!(named, "{error}");
        fs::remove_file(path).unwrap();
        assert!(publisher.read().is_err(), "{} is missing", path.display());
        fs::write(path, &good).unwrap();
    }
    assert!(publisher.read().is_ok());
}

#[test]
fn an_authority_publishes_and_a_directory_put_back_signs_nothing() {
    let office = Office::bare();
    let at = |path: &str| office.root.join(path);
    let log = ["--dir", "authorities/justice"];
    let publish = || office.secret(&[&["authority", "publish", "--out", "log"], log.as_slice()].concat());
    let state = |name| {
        let organisation = ["authority", "organisation", "--name", name, "--identifier", name];
        office.secret(&[organisation.as_slice(), &log].concat()).ok();
    };
    publish().fails(78, "no-log-key", "justice.example", "log-key");
    let made = office
        .secret(&[&["authority", "log-key"], log.as_slice()].concat())
        .ok();
    let again = office.secret(&[&["authority", "log-key"], log.as_slice()].concat());
    again.fails(73, "not-empty", "justice.example", "keeps its key");
    // Anchors of before do not have the key, those of now do.
    state("un");
    assert_eq!(publish().ok()["size"], 2);
    let check = |anchors: &str| office.ask(&["annuaire", "verify", "--anchors", anchors, "log"]);
    check("anchors.json").fails(77, "published-log", "checkpoint", "fetch it again");
    let anchors = ["authority", "anchors", "--out", "new.json", "authorities/justice"];
    office.ask(&anchors).ok();
    let written = fs::read_to_string(at("new.json")).unwrap();
    assert!(written.contains(made["log"].as_str().unwrap()), "{written}");
    assert_eq!(check("new.json").ok()["registries"][0]["size"], 2);

    // The directory is backed up, goes on, and is put back.
    let copy = |from: &str, to: &str| {
        let done = std::process::Command::new("cp")
            .arg("-a")
            .args([at(from), at(to)])
            .status();
        assert!(done.unwrap().success());
    };
    copy("authorities/justice", "backup");
    state("deux");
    state("trois");
    assert_eq!(publish().ok()["size"], 4);
    fs::rename(at("authorities/justice"), at("lost")).unwrap();
    fs::rename(at("backup"), at("authorities/justice")).unwrap();
    publish().fails(77, "fork", "4 entries", "Nothing was signed");
    // Another entry in the place of the lost one makes it no better.
    state("autre");
    state("encore");
    state("plus");
    let before = fs::read(at("log/checkpoint")).unwrap();
    publish().fails(77, "fork", "4 entries", "Nothing was signed");
    assert_eq!(fs::read(at("log/checkpoint")).unwrap(), before);
    // What was noted before it was signed holds where nothing is published.
    fs::remove_dir_all(at("authorities/justice")).unwrap();
    fs::rename(at("lost"), at("authorities/justice")).unwrap();
    fs::remove_file(at("authorities/justice/entries/00000003.entry")).unwrap();
    fs::remove_dir_all(at("log")).unwrap();
    publish().fails(77, "fork", "signed.json", "Nothing was signed");
}
