//! One real engine, the court's, and a peer that the test writes by hand: it may be as dishonest as it likes.
#![allow(dead_code)] // Each test program uses its part.

use std::sync::Arc;

use basoche_protocol::amount::EuroCents;
use basoche_protocol::crypto::{self, AeadKey};
use basoche_protocol::directory::{Certified, Delegation, Directory, Status};
use basoche_protocol::dossier::{Replica, RunItem};
use basoche_protocol::engine::{Engine, Event, Fresh, Imported, Registry, Row};
use basoche_protocol::envelope::{EpochKey, Sealed, Typ, Unsigned};
use basoche_protocol::error::Error;
use basoche_protocol::fixture::{
    Actor, Cast, Federation, Signing, TestKey, TestRegistry, document, key_wraps, party_enrolment,
    personal_document,
};
use basoche_protocol::id::{CertificateId, Digest, DossierId, Incarnation, KeySalt, MessageId, SubjectId};
use basoche_protocol::jose::Algorithm;
use basoche_protocol::journal::{ChainId, EpochWrap, Head, HeadRow, RegistryHead, SignedHead, Verdict};
use basoche_protocol::message::{
    Acceptance, Answer, Body, Dire, ExhibitDeposit, KeyGrant, PartyEnrolment, PreReport, ProvisionPaid,
    Report, RosterChange,
};
use basoche_protocol::refusal::Code;
use basoche_protocol::role::{Assurance, Class, Role};
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::tree::Tree;
use basoche_protocol::wire::frame::{Frame, Hello, Item, RegistryLeaf, Run};
use basoche_protocol::wire::{codec, limits};
use serde_bytes::ByteBuf;

/// See [`Annuaire`].
pub(crate) const DELEGATIONS: &str = "delegations";

/// When every scenario begins.
pub(crate) const START: Instant = Instant::from_seconds(1_790_000_000);

/// A registry whose "leaves" revoke the party's key from the second `index` on; those of the log [`DELEGATIONS`] let the expert
/// enrol parties: a commitment, how many, from when and until when.
#[derive(Clone)]
pub(crate) struct Annuaire(pub(crate) TestRegistry);

impl Directory for Annuaire {
    fn status(&self, certificate: &CertificateId, at: Instant) -> Status {
        self.0.status(certificate, at)
    }

    fn read_certificate(&self, der: &[u8], algorithm: Algorithm) -> Option<Certified> {
        self.0.read_certificate(der, algorithm)
    }

    fn delegation(&self, delegate: &SubjectId, commitment: &Digest, at: Instant) -> Delegation {
        self.0.delegation(delegate, commitment, at)
    }
}

impl Registry for Annuaire {
    type Read = ();

    fn heads(&self) -> Vec<RegistryHead> {
        Vec::new()
    }

    fn leaves(&self, _origin: &str, _from: u64, _max_bytes: usize) -> Vec<RegistryLeaf> {
        Vec::new()
    }

    fn import(
        &mut self,
        origin: &str,
        index: u64,
        leaf: &RegistryLeaf,
        _: Option<()>,
    ) -> Result<Imported, Error> {
        let cast = Cast::default();
        if origin == DELEGATIONS {
            let (commitment, keys, from, until) = codec::decode(&leaf.leaf, limits::LEAF_BYTES)?;
            self.0.delegate(&cast.expert, commitment, keys, (from, until));
        } else {
            self.0.revoke(&cast.party, Instant::from_seconds(index));
        }
        Ok(Imported::News)
    }

    fn encryption_key(&self, node: &SubjectId, at: Instant) -> Option<Vec<u8>> {
        self.0.encryption_key(node, at)
    }
}

/// A further actor, whom no roster names.
pub(crate) fn outsider(name: &str, role: Role) -> Actor {
    let name = format!("{name} {role}");
    let digest = crypto::sha256(&[b"test outsider ", name.as_bytes()]);
    let subject = SubjectId::new(digest[..16].try_into().unwrap());
    let node = if role == Role::Node {
        subject
    } else {
        Cast::default().bar.subject
    };
    Actor {
        subject,
        node,
        role,
        assurance: Assurance::Software,
        key: TestKey::new(&name),
    }
}

/// Everybody, an enrolled lawyer and node who take no part, and a lawyer and node whose keys were revoked.
pub(crate) fn annuaire() -> Annuaire {
    let mut registry = Cast::default().registry();
    for role in [Role::Lawyer, Role::Node] {
        registry.enrol(&outsider("bystander", role));
        let revoked = outsider("revoked", role);
        registry.enrol(&revoked);
        registry.revoke(&revoked, START);
    }
    Annuaire(registry)
}

/// How far the assessment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Situation {
    /// The order is on file.
    Designated,
    /// Accepted, the roster is complete, nothing is paid.
    Setup,
    /// The provision is paid in; an exhibit and a dire are on file.
    InProgress,
    /// The pre-report is out; dires are due for another ten minutes.
    PreReport,
    /// The same, after the time for dires.
    DiresOver,
}

/// A dossier at the court's node, whose engine is the real one.
pub(crate) struct Stage {
    pub(crate) cast: Cast,
    pub(crate) engine: Engine<Annuaire>,
    pub(crate) now: Instant,
    pub(crate) dossier: DossierId,
    pub(crate) key: EpochKey,
    /// Every run that the court holds, in its order.
    pub(crate) runs: Vec<(Vec<RunItem>, SignedHead)>,
    loose: Vec<RunItem>,
    pub(crate) events: Vec<Event>,
    pub(crate) frames: Vec<(SubjectId, Frame)>,
    pub(crate) exhibit: Option<MessageId>,
    pub(crate) dire: Option<MessageId>,
    salt: u8,
}

impl Stage {
    /// The court's node with a dossier as far as `situation`; the company's node is connected.
    pub(crate) fn at(situation: Situation) -> Self {
        let cast = Cast::default();
        let engine = Engine::new(cast.court.subject, Incarnation::new([1; 16]), "stage", annuaire());
        let mut it = Self {
            engine,
            now: START,
            dossier: DossierId::new([0; 32]),
            key: EpochKey::new([42; 32]),
            runs: Vec::new(),
            loose: Vec::new(),
            events: Vec::new(),
            frames: Vec::new(),
            exhibit: None,
            dire: None,
            salt: 0,
            cast,
        };
        let order = Body::Designation(it.cast.designation(it.now));
        let founding = it.cast.judge.say(None, order, 1, it.now);
        it.dossier = DossierId::from(it.deposit(&founding).unwrap());
        if situation >= Situation::Setup {
            it.act(|cast| &cast.expert, accept());
            let add = it.cast.participants();
            let change = RosterChange {
                ext: None,
                add,
                remove: vec![],
            };
            it.act(|cast| &cast.expert, Body::RosterChange(change));
        }
        if situation >= Situation::InProgress {
            it.act(|cast| &cast.clerk, paid(300_000));
            it.exhibit = Some(it.act(|cast| &cast.party, exhibit(1)));
            it.dire = Some(it.act(|cast| &cast.defendant_lawyer, dire(1)));
        }
        if situation >= Situation::PreReport {
            let dires_due = it.now + Span::from_seconds(600);
            it.act(|cast| &cast.expert, pre_report(dires_due));
        }
        if situation >= Situation::DiresOver {
            it.now = it.now + Span::from_seconds(3600);
        }
        let peer = it.cast.company.subject;
        it.engine.handle_connected(peer, it.now);
        it.hello(peer);
        it.work();
        (it.events, it.frames) = (Vec::new(), Vec::new());
        it
    }

    /// A peer says hello.
    pub(crate) fn hello(&mut self, peer: SubjectId) {
        let hello = Frame::Hello(Hello {
            versions: vec![1],
            features: vec![],
            node: peer,
            incarnation: Incarnation::new([2; 16]),
            registries: vec![],
            time: self.now,
            software: "peer".into(),
        });
        self.engine.handle_frame(peer, &hello.encode(), self.now);
    }

    fn fresh(&mut self) -> Fresh {
        self.salt += 1;
        Fresh {
            seal_salt: KeySalt::new([self.salt; 32]),
            epoch_key: self.key.clone(),
        }
    }

    /// Submits through the one door; `stored` says which documents the node has.
    pub(crate) fn submit(&mut self, envelope: &[u8], stored: bool) -> Result<MessageId, Error> {
        let fresh = self.fresh();
        let needs = self.engine.prepare(envelope, &fresh, self.now, &|_| stored)?;
        let (id, wraps) = (needs.message(), vec![String::new(); needs.wraps.len()]);
        self.engine.submit(needs, wraps, &fresh, self.now);
        Ok(id)
    }

    /// Submits, and waits until the message is acknowledged.
    pub(crate) fn deposit(&mut self, envelope: &[u8]) -> Result<MessageId, Error> {
        let id = self.submit(envelope, true)?;
        self.work();
        let acknowledged = |event: &Event| matches!(event, Event::Accepted { message, .. } if *message == id);
        assert!(self.events.iter().any(acknowledged), "{id} is not acknowledged");
        Ok(id)
    }

    /// A lawful act of somebody, which must be accepted.
    pub(crate) fn act(&mut self, who: impl Fn(&Cast) -> &Actor, body: Body) -> MessageId {
        self.salt += 1;
        let envelope = who(&self.cast).say(Some(self.dossier), body, self.salt, self.now);
        self.deposit(&envelope).unwrap()
    }

    /// A message that is lawful in every situation: one more instalment.
    pub(crate) fn good(&mut self) -> Vec<u8> {
        self.salt += 1;
        self.cast
            .clerk
            .say(Some(self.dossier), paid(1), self.salt, self.now)
    }

    /// Commits, signs and lets speak until nothing is left to do; gives the rows that were committed.
    pub(crate) fn work(&mut self) -> Vec<Row> {
        let mut all = Vec::new();
        while let Some(rows) = self.engine.poll_commit(self.now) {
            self.engine.handle_durable();
            while let Some(request) = self.engine.poll_sign() {
                let seal = &self.cast.court.key;
                let head = Unsigned::new(Typ::Head, seal, self.now, request.head.encode());
                self.engine.handle_signed(&head.sign(seal).unwrap()).unwrap();
            }
            all.extend(rows);
        }
        while let Some(event) = self.engine.poll_event() {
            self.events.push(event);
        }
        while let Some((peer, bytes)) = self.engine.poll_frame() {
            self.frames.push((peer, Frame::decode(&bytes).unwrap()));
        }
        self.keep_runs(&all);
        all
    }

    /// An entry's row comes a commit before the row of the run that closes it.
    fn keep_runs(&mut self, rows: &[Row]) {
        for row in rows {
            match row {
                Row::Entry { item, .. } => self.loose.push((**item).clone()),
                Row::Run {
                    branch,
                    from,
                    to,
                    head,
                    ..
                } => {
                    let head = SignedHead::verify(head, self.engine.registry()).unwrap();
                    let seqs = *from..*to;
                    let within =
                        |item: &RunItem| item.entry.chain == branch.chain && seqs.contains(&item.entry.seq);
                    let (items, rest) = self.loose.drain(..).partition(within);
                    self.loose = rest;
                    self.runs.push((items, head));
                }
                _ => {}
            }
        }
    }

    /// The court's replica.
    pub(crate) fn replica(&self) -> &Replica {
        self.engine.dossier(&self.dossier).unwrap()
    }

    /// What a refusal must not change: the state's hash, the entries held, what is pending.
    pub(crate) fn picture(&self) -> (Digest, usize, usize) {
        let replica = self.replica();
        (replica.state().hash(), replica.entries(), replica.pending())
    }

    /// A frame from the company's node, and what came of it.
    pub(crate) fn frame(&mut self, bytes: &[u8]) -> Option<Code> {
        let peer = self.cast.company.subject;
        let before = self.events.len();
        self.engine.handle_frame(peer, bytes, self.now);
        self.work();
        self.events[before..].iter().find_map(|event| match event {
            Event::Refused { peer: from, code } if *from == peer => Some(*code),
            _ => None,
        })
    }
}

/// Seals any bytes as message `id`: what an honest node never does. ENV-8, ENV-9.
pub(crate) fn seal_raw(dossier: &DossierId, id: MessageId, key: &EpochKey, bytes: &[u8]) -> Sealed {
    let salt = KeySalt::new([77; 32]);
    let info: [&[u8]; 3] = [b"basoche/sealed/1", dossier.as_bytes(), id.as_bytes()];
    let item_key = AeadKey::new(&crypto::hkdf_sha256(key.as_bytes(), salt.as_bytes(), &info));
    let mut ciphertext = bytes.to_vec();
    // Epoch 0, class member: ten zero bytes.
    item_key.seal_in_place([0; 12], &[0; 10], &mut ciphertext);
    let parts = (0_u64, Class::Member, salt, ByteBuf::from(ciphertext));
    Sealed::decode(&codec::encode(&parts)).unwrap()
}

/// The company's node, played by the test: it records what it likes and signs what it likes.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) seal: TestKey,
    pub(crate) chain: ChainId,
    pub(crate) replica: Replica,
    pub(crate) items: Vec<RunItem>,
    pub(crate) tree: Tree,
    /// What its next entry hands out.
    pub(crate) wraps: Vec<EpochWrap>,
    head_no: u64,
}

impl Peer {
    /// The company's node, which holds what the court has recorded so far.
    pub(crate) fn new(stage: &Stage) -> Self {
        let incarnation = Incarnation::new([2; 16]);
        let node = stage.cast.company.subject;
        let mut replica = Replica::new(stage.dossier);
        replica.add_key(0, stage.key.clone(), stage.engine.registry());
        for (items, head) in &stage.runs {
            replica.receive(items, head, stage.engine.registry()).unwrap();
        }
        Self {
            seal: TestKey::new("company"),
            chain: ChainId { node, incarnation },
            replica,
            items: Vec::new(),
            tree: Tree::new(),
            wraps: Vec::new(),
            head_no: 0,
        }
    }

    /// Records bytes as message `id`, whatever they are.
    pub(crate) fn record_raw(&mut self, stage: &Stage, id: MessageId, bytes: &[u8]) -> RunItem {
        let sealed = seal_raw(&stage.dossier, id, &stage.key, bytes);
        self.record_sealed(stage, id, Digest::of(&[bytes]), sealed)
    }

    /// Records a sealed message as message `id`, under the digest of an envelope.
    pub(crate) fn record_sealed(
        &mut self,
        stage: &Stage,
        id: MessageId,
        envelope: Digest,
        sealed: Sealed,
    ) -> RunItem {
        let cast = &stage.cast;
        let any = cast
            .clerk
            .sign(&cast.clerk.message(Some(stage.dossier), paid(1), 0), stage.now);
        let mut entry = self.replica.draft(
            self.chain,
            &any,
            &sealed,
            stage.now,
            std::mem::take(&mut self.wraps),
            None,
        );
        (entry.message, entry.envelope_digest) = (id, envelope);
        entry.seq = self.tree.size();
        entry.prev = self.items.last().map(|item| item.entry.leaf());
        self.tree.push(*entry.leaf().as_bytes());
        let item = RunItem {
            entry,
            sealed: Some(sealed),
        };
        self.items.push(item.clone());
        item
    }

    /// The row of its own chain.
    pub(crate) fn row(&self) -> HeadRow {
        HeadRow {
            chain: self.chain,
            size: self.tree.size(),
            leaf: Digest::new(self.tree.leaf(self.tree.size() - 1).unwrap()),
            root: Digest::new(self.tree.root()),
        }
    }

    /// Its next head, over its chain and what it holds of the court's.
    pub(crate) fn next_head(&mut self, stage: &Stage) -> Head {
        let mut rows = self.replica.frontier();
        rows.retain(|row| row.chain != self.chain);
        if self.tree.size() > 0 {
            rows.push(self.row());
        }
        rows.sort_by_key(|row| row.chain);
        self.head_no += 1;
        Head {
            v: Head::VERSION,
            head_no: self.head_no - 1,
            dossier: stage.dossier,
            node: self.chain.node,
            incarnation: self.chain.incarnation,
            rows,
            registries: vec![],
            time: stage.now,
        }
    }

    /// Signs a head as a head.
    pub(crate) fn sign(&self, head: &Head) -> Vec<u8> {
        sign_head(&self.seal, Typ::Head, head)
    }

    /// A frame with `items` under `head`.
    pub(crate) fn run(&self, stage: &Stage, items: &[RunItem], head: Vec<u8>) -> Vec<u8> {
        let items = items.iter().map(|item| Item {
            entry: ByteBuf::from(item.entry.encode()),
            sealed: item.sealed.as_ref().map(|sealed| ByteBuf::from(sealed.encode())),
        });
        let run = Run {
            dossier: stage.dossier,
            chain: self.chain,
            items: items.collect(),
            head: ByteBuf::from(head),
        };
        Frame::Run(run).encode()
    }

    /// Records an envelope as it is, and sends it as an honest node would.
    pub(crate) fn send(&mut self, stage: &mut Stage, id: MessageId, envelope: &[u8]) -> Option<Code> {
        let item = self.record_raw(stage, id, envelope);
        let head = self.next_head(stage);
        let frame = self.run(stage, &[item], self.sign(&head));
        stage.frame(&frame)
    }
}

/// The verdict of the court's node on entry `seq` of the peer's chain.
pub(crate) fn verdict(it: &Stage, peer: &Peer, seq: u64) -> Verdict {
    it.replica()
        .chain(&peer.chain)
        .unwrap()
        .record(seq)
        .unwrap()
        .verdict
}

/// Signs a head as a `typ` with any key.
pub(crate) fn sign_head(key: &TestKey, typ: Typ, head: &Head) -> Vec<u8> {
    Unsigned::new(typ, key, head.time, head.encode())
        .sign(key)
        .unwrap()
        .encode()
}

pub(crate) fn accept() -> Body {
    Body::Acceptance(Acceptance {
        ext: None,
        independent: true,
    })
}

pub(crate) fn paid(cents: u64) -> Body {
    Body::ProvisionPaid(ProvisionPaid {
        ext: None,
        amount: EuroCents::new(cents).unwrap(),
        paid_at: START,
        payer: None,
    })
}

pub(crate) fn exhibit(number: u64) -> Body {
    let document = document(&format!("exhibit {number}"));
    Body::ExhibitDeposit(ExhibitDeposit {
        ext: None,
        number,
        title: "Photographie".into(),
        document,
    })
}

/// An exhibit for these persons only.
pub(crate) fn personal(stage: &Stage, number: u64, recipients: &[&Actor]) -> Body {
    let document = personal_document(&format!("exhibit {number}"), &stage.dossier, recipients);
    Body::ExhibitDeposit(ExhibitDeposit {
        ext: None,
        number,
        title: "Certificat médical".into(),
        document,
    })
}

/// The key of a personal document, handed on.
pub(crate) fn grant(stage: &Stage, deposit: MessageId, root: Digest, recipients: &[&Actor]) -> Body {
    Body::KeyGrant(KeyGrant {
        ext: None,
        deposit,
        root,
        wraps: key_wraps(&stage.dossier, &root, recipients),
    })
}

pub(crate) fn dire(number: u64) -> Body {
    let text = "La fissure est antérieure.".into();
    Body::Dire(Dire {
        ext: None,
        number,
        text,
        recapitulative: false,
        document: None,
    })
}

pub(crate) fn pre_report(dires_due: Instant) -> Body {
    Body::PreReport(PreReport {
        ext: None,
        document: document("pre-report"),
        dires_due,
        closes: None,
    })
}

pub(crate) fn report(dires: &[MessageId]) -> Body {
    let mut dires = dires.to_vec();
    dires.sort_unstable();
    let answers = dires.into_iter().map(|dire| Answer {
        dire,
        text: "Les relevés l'infirment.".into(),
    });
    Body::Report(Report {
        ext: None,
        document: document("report"),
        answers: answers.collect(),
        closes: None,
    })
}

/// A federation of so many nodes, and a dossier under way of court, bar and company; its acts have the salts 0 to 3.
pub(crate) fn under_way(nodes: usize, seed: u64) -> (Federation, Arc<Cast>, DossierId) {
    let cast = Arc::new(Cast::new(nodes, Signing::StandIn));
    let mut federation = Federation::of(Arc::clone(&cast), cast.registry(), seed);
    let order = Body::Designation(cast.designation(federation.now));
    let founding = cast.judge.say(None, order, 0, federation.now);
    let dossier = DossierId::from(federation.deposit(0, &founding).unwrap());
    federation.settle(5000);
    let mut add = cast.participants();
    add.retain(|one| {
        [&cast.court, &cast.bar, &cast.company]
            .map(|node| node.subject)
            .contains(&one.node)
    });
    let change = RosterChange {
        ext: None,
        add,
        remove: vec![],
    };
    let acts = [
        (&cast.expert, accept()),
        (&cast.expert, Body::RosterChange(change)),
        (&cast.clerk, paid(300_000)),
    ];
    for ((who, body), salt) in acts.into_iter().zip(1..) {
        let node = federation.node_of(who);
        let said = who.say(Some(dossier), body, salt, federation.now);
        federation.deposit(node, &said).unwrap();
        federation.settle(5000);
    }
    (federation, cast, dossier)
}

/// The key of a name, wanted in the dossier by whoever has the first key of `holder` there.
pub(crate) fn enrolment(dossier: &DossierId, holder: &str, name: &str) -> PartyEnrolment {
    party_enrolment(dossier, holder, name, Cast::default().bar.subject)
}
