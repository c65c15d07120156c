//! Three nodes in memory that carry one assessment, with real certificates, and what the court's node can export.
#![allow(clippy::unwrap_used, dead_code)]

mod cast;
mod fork;
mod left;
mod line;
mod source;

pub(crate) use cast::Who;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use basoche_node::bundle::{ExportReport, export};
use basoche_node::rows::NodeEngine;
use basoche_protocol::crypto::sha256;
use basoche_protocol::document::{self, DocumentKey, Encryptor};
use basoche_protocol::dossier::RunItem;
use basoche_protocol::engine::{Engine, Fresh, Registry, Row};
use basoche_protocol::envelope::{EpochKey, Typ, Unsigned};
use basoche_protocol::id::{Digest, DossierId, Incarnation, KeySalt, MessageId, Salt, SubjectId};
use basoche_protocol::jose::{self, DecryptionKey, Signer, SoftwareKey};
use basoche_protocol::journal::Branch;
use basoche_protocol::journal::Content::Authentic;
use basoche_protocol::message::{Access, Body, DocumentRef, KeyWrap, Message};
use basoche_protocol::role::{Assurance, OrganisationKind, Role};
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::wire::frame::{Frame, Item, RegistryLeaf, Run as RunFrame};
use basoche_registry::entry::{Content, Enrolment, Node as NodeEntry, Organisation, Reason, Revocation};
use basoche_registry::leaf::{Capacity, CoSignature, possession};
use basoche_registry::{Anchors, Authority, AuthorityLog, Replica};
use serde_bytes::ByteBuf;

use cast::Key;

/// What a node's store holds of the dossier.
#[derive(Default)]
struct Disk {
    items: BTreeMap<(Branch, u64), RunItem>,
    runs: BTreeMap<u64, (Branch, u64, u64, Vec<u8>)>,
    heads: BTreeMap<SubjectId, Vec<u8>>,
}

impl Disk {
    fn write(&mut self, rows: Vec<Row>) {
        for row in rows {
            match row {
                Row::Entry { branch, item } => {
                    self.items.insert((branch, item.entry.seq), *item);
                }
                Row::Run {
                    index,
                    branch,
                    from,
                    to,
                    head,
                    ..
                } => {
                    self.runs.insert(index, (branch, from, to, head));
                }
                Row::Head { node, head, .. } => {
                    self.heads.insert(node, head);
                }
                Row::Erase { branch, seq, .. } => {
                    self.items.get_mut(&(branch, seq)).unwrap().sealed = None;
                }
                Row::Key { .. }
                | Row::Writer { .. }
                | Row::Leaf { .. }
                | Row::Registry(_)
                | Row::Summary { .. } => {}
            }
        }
    }

    fn items(&self, branch: Branch, from: u64, to: u64) -> impl Iterator<Item = &RunItem> {
        (from..to).map(move |seq| &self.items[&(branch, seq)])
    }
}

struct Node {
    engine: NodeEngine,
    disk: Disk,
}

/// Three authorities, three nodes, five persons and one dossier.
pub(crate) struct World {
    pub(crate) anchors: Anchors,
    pub(crate) leaves: Vec<(String, u64, RegistryLeaf)>,
    pub(crate) now: Instant,
    pub(crate) dossier: DossierId,
    keys: Vec<Key>,
    nodes: Vec<Node>,
    logs: Vec<(AuthorityLog, Key)>,
    /// Plaintexts by root: what is taken out is not here.
    pub(crate) documents: BTreeMap<Digest, Vec<u8>>,
    /// Ciphertexts of personal documents, by root.
    pub(crate) ciphertexts: BTreeMap<Digest, Vec<u8>>,
    /// The document whose depositor commits to another plaintext.
    pub(crate) lies_about: Option<&'static str>,
    /// A message that the exporting node cannot open.
    pub(crate) withheld: Option<MessageId>,
    salt: u8,
}

const ORIGINS: [(&str, OrganisationKind); 3] = [
    ("justice.example/annuaire", OrganisationKind::Court),
    ("barreaux.example/annuaire", OrganisationKind::Bar),
    ("experts.example/annuaire", OrganisationKind::ExpertCompany),
];

impl World {
    /// Everybody enrolled, nothing done. `suffix` tells one set of authorities from another.
    pub(crate) fn new(suffix: &str) -> Self {
        let now = Instant::from_seconds(1_790_000_000);
        let keys: Vec<_> = (0..8).map(|_| Key::new()).collect();
        let encryption: Vec<_> = (0..3).map(|_| Key::new()).collect();
        let (mut authorities, mut logs, mut leaves) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (origin, profession)) in ORIGINS.into_iter().enumerate() {
            let root = Key::new();
            let authority =
                Authority::new(&format!("{origin}{suffix}"), profession, &root.der, true).unwrap();
            authorities.push(authority.clone());
            let genesis = authority.genesis();
            let mut log = AuthorityLog::new(authority);
            let mut enrol = |subject: Option<SubjectId>, content: Content, key: Option<&Key>| {
                let salt = Salt::new([leaves.len() as u8; 16]);
                let unsigned = log.draft(&root.signer, subject, content, now, now, salt);
                let signed = unsigned.sign(&root.signer).unwrap();
                let shown = key.map(|Key { signer, .. }| {
                    let wanted = possession(log.origin(), &subject.unwrap(), &signer.certificate());
                    let shown = CoSignature::draft(signer, wanted, Capacity::Possession, now);
                    shown.sign(signer).unwrap()
                });
                let certificate = key.map_or(&[][..], |key| &key.der);
                let (at, leaf) = log
                    .commit(signed, shown.into_iter().collect(), certificate)
                    .unwrap();
                leaves.push((log.origin().to_owned(), at, leaf));
            };
            enrol(None, genesis.into(), None);
            let organisation = SubjectId::new([0xf0 + index as u8; 16]);
            let stated = Organisation {
                kind: profession,
                identifier: "000000000".into(),
                name: "Organisation d'essai".into(),
                admin: None,
            };
            enrol(Some(organisation), stated.into(), None);
            let (node, key) = (Who::NODES[index], &keys[index]);
            let stated = NodeEntry {
                organisation,
                seal: key.record(),
                encryption_spki: encryption[index].spki.clone(),
                tls_spki_sha256: Digest::of(&[b"tls", &key.spki]),
                gossip: None,
                addresses: vec!["127.0.0.1:4433".into()],
            };
            enrol(Some(node.subject()), stated.into(), Some(key));
            for who in Who::PERSONS.into_iter().filter(|who| who.home() == index) {
                let key = &keys[who as usize];
                let stated = Enrolment {
                    key: key.record(),
                    roles: vec![who.role()],
                    node: node.subject(),
                    assurance: Assurance::Software,
                    commitment: None,
                    encryption_spki: None,
                    issuer: None,
                };
                enrol(Some(who.subject()), stated.into(), Some(key));
            }
            logs.push((log, root));
        }
        leaves.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        let anchors = Anchors::new(authorities).unwrap();
        let nodes = Who::NODES.map(|who| {
            let mut registry = Replica::new(anchors.clone());
            for (origin, index, leaf) in &leaves {
                registry.import(origin, *index, leaf, None).unwrap();
            }
            let fresh = Incarnation::new([who as u8; 16]);
            Node {
                engine: Engine::new(who.subject(), fresh, "test", Arc::new(registry)),
                disk: Disk::default(),
            }
        });
        let mut world = Self {
            anchors,
            leaves,
            now,
            dossier: DossierId::new([0; 32]),
            keys: keys.into_iter().chain(encryption).collect(),
            nodes: nodes.into_iter().collect(),
            logs,
            ciphertexts: BTreeMap::new(),
            documents: BTreeMap::new(),
            lies_about: None,
            withheld: None,
            salt: 0,
        };
        for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
            world.nodes[from]
                .engine
                .handle_connected(Who::NODES[to].subject(), now);
        }
        world.settle();
        world
    }

    pub(super) fn seal_document(&mut self, name: &str, plaintext: Vec<u8>) -> DocumentRef {
        let key = Self::document_key(name);
        let mut encryptor = Encryptor::new(&key, plaintext.len() as u64).unwrap();
        let mut out = Vec::new();
        encryptor.push(&plaintext, &mut out).unwrap();
        let sealed = encryptor.finish(&mut out).unwrap();
        let (salt, wrap_salt) = (Salt::new([9; 16]), KeySalt::new(sealed.root));
        let epoch = self.nodes[0]
            .engine
            .dossier(&self.dossier)
            .unwrap()
            .key(0)
            .unwrap();
        let mut reference = DocumentRef {
            root: Digest::new(sealed.root),
            bytes: plaintext.len() as u64,
            media_type: "text/plain".into(),
            name: name.into(),
            key_commitment: Digest::new(document::key_commitment(&key)),
            plaintext_commitment: Digest::new(document::plaintext_commitment(
                salt.as_bytes(),
                &sealed.plaintext_sha256,
            )),
            plaintext_salt: salt,
            access: Access::Members {
                wrapped_key: DocumentRef::wrap_key(&key, epoch, &self.dossier, &wrap_salt),
                wrap_salt,
            },
        };
        if self.lies_about == Some(name) {
            reference.plaintext_commitment = Digest::new([0; 32]);
        }
        self.documents.insert(reference.root, plaintext);
        reference
    }

    /// The same for one person only. The key that signs serves here as the one that reads.
    pub(super) fn seal_personal(&mut self, name: &str, plaintext: &[u8], to: Who) -> DocumentRef {
        let (epoch, dossier) = (self.seal_document(name, plaintext.to_vec()), self.dossier);
        self.documents.remove(&epoch.root);
        let key = Self::document_key(name);
        let mut encryptor = Encryptor::new(&key, plaintext.len() as u64).unwrap();
        let mut ciphertext = Vec::new();
        encryptor.push(plaintext, &mut ciphertext).unwrap();
        encryptor.finish(&mut ciphertext).unwrap();
        self.ciphertexts.insert(epoch.root, ciphertext);
        let spki = &self.keys[to as usize].spki;
        let wrap = KeyWrap::new(&key, &dossier, &epoch.root, to.subject(), spki).unwrap();
        DocumentRef {
            access: Access::Persons(vec![wrap]),
            ..epoch
        }
    }

    fn document_key(name: &str) -> DocumentKey {
        DocumentKey::new(sha256(&[b"document key", name.as_bytes()]))
    }

    /// Opens a key with a person's private key.
    pub(crate) fn open_key(&self, who: Who, wrap: &KeyWrap, root: &Digest) -> Option<DocumentKey> {
        wrap.open(&self.dossier, root, &self.keys[who as usize].pkcs8)
            .ok()
    }

    /// Signs and submits a message at its author's node, and lets everybody have it.
    pub(crate) fn act(&mut self, who: Who, body: Body) -> MessageId {
        self.now = self.now + Span::from_ms(250);
        self.salt += 1;
        let founding = matches!(body, Body::Designation(_));
        let message = Message {
            dossier: (!founding).then_some(self.dossier),
            author: who.subject(),
            role: who.role(),
            assurance: if who.role() == Role::Node {
                Assurance::Seal
            } else {
                Assurance::Software
            },
            class: body.message_type().readers(),
            refs: Vec::new(),
            salt: Salt::new([self.salt; 16]),
            body,
        };
        let signer = &self.keys[who as usize].signer;
        let envelope = Unsigned::new(Typ::Message, signer, self.now, message.encode())
            .sign(signer)
            .unwrap();
        let fresh = Fresh {
            seal_salt: KeySalt::new([self.salt; 32]),
            epoch_key: EpochKey::new([0x5e; 32]),
        };
        let engine = &mut self.nodes[who.home()].engine;
        let needs = engine
            .prepare(&envelope.encode(), &fresh, self.now, &|_| true)
            .unwrap();
        let wraps = needs
            .wraps
            .iter()
            .map(|need| jose::wrap(need.key.as_bytes(), &need.context, &need.recipient_spki).unwrap())
            .collect();
        engine.submit(needs, wraps, &fresh, self.now);
        self.settle();
        envelope.id()
    }

    /// Commits, signs and delivers until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..1000 {
            let mut frames = Vec::new();
            for (index, node) in self.nodes.iter_mut().enumerate() {
                if let Some(rows) = node.engine.poll_commit(self.now) {
                    node.disk.write(rows);
                    node.engine.handle_durable();
                }
                while let Some(request) = node.engine.poll_sign() {
                    let seal = &self.keys[index].signer;
                    let head = Unsigned::new(Typ::Head, seal, self.now, request.head.encode());
                    node.engine.handle_signed(&head.sign(seal).unwrap()).unwrap();
                }
                while node.engine.poll_event().is_some() {}
                while let Some((peer, bytes)) = node.engine.poll_frame() {
                    frames.push((index, peer, bytes));
                }
                for peer in node.engine.peers().collect::<Vec<_>>() {
                    while let Some(bytes) = node.engine.poll_leaves_of(&peer) {
                        frames.push((index, peer, bytes));
                    }
                }
                while let Some(backlog) = node.engine.poll_backlog() {
                    let (branch, from, to, head) = node.disk.runs[&backlog.run].clone();
                    let items = node
                        .disk
                        .items(branch, from.max(backlog.from), to)
                        .map(|item| Item {
                            entry: ByteBuf::from(item.entry.encode()),
                            sealed: item.sealed.as_ref().map(|sealed| ByteBuf::from(sealed.encode())),
                        });
                    let run = RunFrame {
                        dossier: backlog.dossier,
                        chain: branch.chain,
                        items: items.collect(),
                        head: ByteBuf::from(head),
                    };
                    frames.push((index, backlog.peer, Frame::Run(run).encode()));
                }
            }
            if frames.is_empty() && self.nodes.iter().all(|node| node.engine.is_idle()) {
                return;
            }
            for (from, peer, bytes) in frames {
                let to = Who::NODES.iter().position(|who| who.subject() == peer).unwrap();
                let engine = &mut self.nodes[to].engine;
                engine.handle_frame(Who::NODES[from].subject(), &bytes, self.now);
                while let Some(request) = engine.poll_unwrap() {
                    let key = DecryptionKey::from_pkcs8(&self.keys[8 + to].pkcs8).unwrap();
                    let key = key.unwrap(&request.jwe, &request.context).unwrap();
                    engine.learn_key(
                        request.context.dossier,
                        request.context.epoch,
                        EpochKey::new(*key),
                    );
                }
            }
        }
        panic!("the nodes do not settle");
    }

    /// The authority declares, after all the heads, that a key had been in other hands since the beginning.
    pub(crate) fn declare_compromised(&mut self, who: Who) {
        let (log, root) = &mut self.logs[who.home()];
        let revocation = Revocation {
            certificate: self.keys[who as usize].record().certificate,
            invalid_since: Some(Instant::from_seconds(1_790_000_000)),
            reason: Reason::KeyCompromise,
        };
        let (now, salt) = (self.now, Salt::new([0xff; 16]));
        let unsigned = log.draft(&root.signer, Some(who.subject()), revocation, now, now, salt);
        let signed = unsigned.sign(&root.signer).unwrap();
        let (index, leaf) = log.commit(signed, vec![], &[]).unwrap();
        self.leaves.push((log.origin().to_owned(), index, leaf));
        self.leaves.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    }

    /// The dossier as the court's node has it.
    pub(crate) fn replica(&self) -> &basoche_protocol::dossier::Replica {
        self.nodes[0].engine.dossier(&self.dossier).unwrap()
    }

    /// The last and the first message of somebody.
    pub(crate) fn act_of(&self, who: Who) -> (MessageId, MessageId) {
        let replica = self.nodes[0].engine.dossier(&self.dossier).unwrap();
        let theirs = replica.records().filter(
            |(_, _, record)| matches!(&record.content, Authentic(message, _) if message.author == who.subject()),
        );
        let ids: Vec<_> = theirs.map(|(_, _, record)| record.message).collect();
        (*ids.last().unwrap(), ids[0])
    }

    /// The seal key of the exporting node.
    pub(crate) fn seal(&self) -> &SoftwareKey {
        &self.keys[Who::Court as usize].signer
    }

    /// The bundle of the court's node.
    pub(crate) fn export(&self) -> (Vec<u8>, ExportReport) {
        let mut out = Cursor::new(Vec::new());
        let node = Who::Court.subject();
        let report = export(self, &mut out, self.seal(), node, self.now, &|_, _| {}).unwrap();
        (out.into_inner(), report)
    }
}
