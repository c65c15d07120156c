//! The root of an authority, at work without the start of a program for each entry.

use std::fs;
use std::path::{Path, PathBuf};

use basoche_node::certificate::generate;
use basoche_node::config::read_passphrase;
use basoche_node::control::{Answer, Client, Request};
use basoche_node::effects::{now, random};
use basoche_node::wallet::Wallet;
use basoche_protocol::envelope::{Capacity, CoSignature, Envelope, possession};
use basoche_protocol::id::{CertificateId, Digest, Salt, SubjectId};
use basoche_protocol::jose::{Algorithm, Signer, SoftwareKey};
use basoche_protocol::role::{Assurance, Role};
use basoche_protocol::text::b64url_encode;
use basoche_registry::entry::{Enrolment, KeyRecord, Reason, Revocation};
use basoche_registry::{Anchors, AuthorityLog, Content, EntryFile};

/// The root of one of the authorities of `anchors.json`.
pub(crate) struct Registrar {
    pub(crate) log: AuthorityLog,
    root: Wallet,
    /// Where its entries are.
    entries: PathBuf,
}

impl Registrar {
    /// That of the authority `origin`, which is kept in `dir`; the anchors and the passphrase are in `root`.
    pub(crate) fn open(root: &Path, dir: &Path, origin: &str) -> Self {
        let anchors = Anchors::parse(&fs::read(root.join("anchors.json")).unwrap()).unwrap();
        let mut log = AuthorityLog::new(anchors.authority(origin).unwrap().clone());
        let entries = dir.join("entries");
        let mut files: Vec<_> = fs::read_dir(&entries)
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        files.sort();
        for file in files {
            let file = EntryFile::decode(&fs::read(file).unwrap()).unwrap();
            log.replay(&file.leaf).unwrap();
        }
        let passphrase = read_passphrase(&root.join("passphrase")).unwrap();
        let root = Wallet::open(&dir.join("authority.wallet"), &passphrase).unwrap();
        Self { log, root, entries }
    }

    /// The entry that says so, as a file that nodes import; it is in the authority's directory too.
    pub(crate) fn enter(
        &mut self,
        subject: SubjectId,
        content: impl Into<Content>,
        key: Option<(&SoftwareKey, &[u8])>,
    ) -> String {
        let (at, origin) = (now(), self.log.origin().to_owned());
        let unsigned = self
            .log
            .draft(&self.root, Some(subject), content, at, at, Salt::new(random()));
        let shown: Option<Envelope> = key.map(|(key, _)| {
            let wanted = possession(&origin, &subject, &key.certificate());
            let shown = CoSignature::draft(key, wanted, Capacity::Possession, at);
            shown.sign(key).unwrap()
        });
        let certificate = key.map_or(&[][..], |(_, der)| der);
        let signed = unsigned.sign(&self.root).unwrap();
        let (index, leaf) = self
            .log
            .commit(signed, shown.into_iter().collect(), certificate)
            .unwrap();
        let file = EntryFile { origin, index, leaf }.encode();
        fs::write(self.entries.join(format!("{index:08}.entry")), &file).unwrap();
        b64url_encode(&file)
    }

    /// A lawyer whose home is `node`: who, the certificate, and the entry.
    pub(crate) fn enrol(&mut self, node: SubjectId) -> (SubjectId, CertificateId, String) {
        let made = generate("lawyer").unwrap();
        let key = SoftwareKey::from_pkcs8(&made.private_key_pkcs8, made.id()).unwrap();
        let subject = SubjectId::new(random());
        let enrolment = Enrolment {
            key: KeyRecord {
                certificate: made.id(),
                spki_sha256: Digest::of(&[&made.spki]),
                algorithm: Algorithm::Es256,
            },
            roles: vec![Role::Lawyer],
            node,
            assurance: Assurance::Software,
            commitment: None,
            encryption_spki: None,
            issuer: None,
        };
        let entry = self.enter(subject, enrolment, Some((&key, &made.certificate_der[..])));
        (subject, made.id(), entry)
    }

    pub(crate) fn revoke(&mut self, (subject, certificate): (SubjectId, CertificateId)) -> String {
        let revocation = Revocation {
            certificate,
            invalid_since: None,
            reason: Reason::Cessation,
        };
        self.enter(subject, revocation, None)
    }
}

/// Has a node admit these.
pub(crate) fn import(client: &Client, entries: Vec<String>) {
    let said = client.ask(&Request::Import { entries }).unwrap();
    assert!(matches!(said, Answer::Imported { .. }), "{said:?}");
}

/// What the latest certificate of somebody is worth at a node; nothing where the node does not know them.
pub(crate) fn worth(client: &Client, subject: SubjectId) -> Option<String> {
    match client.ask(&Request::Subjects { of: vec![subject] }) {
        Ok(Answer::Subjects { mut subjects, .. }) => subjects.pop().map(|one| one.status),
        other => panic!("{other:?}"),
    }
}
