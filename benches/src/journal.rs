//! Many entries: how long a start takes, and how long another node takes to catch up.
//!
//! A store is filled in process, through the doors of the engine and with the keys of a node and of persons that the
//! public commands have made; the program then runs on it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use basoche_node::config::Config;
use basoche_node::effects::{now, random};
use basoche_node::keys::NodeKeys;
use basoche_node::rows::{NodeEngine, Rows};
use basoche_node::store::{Batch, RocksStore, Store};
use basoche_node::vault::{self, SealedStore};
use basoche_node::wallet::Wallet;
use basoche_protocol::amount::EuroCents;
use basoche_protocol::directory::{Directory, Status};
use basoche_protocol::engine::{Allowance, Engine, Event, Fresh, Quotas};
use basoche_protocol::envelope::{Envelope, EpochKey, Typ, Unsigned};
use basoche_protocol::id::{DossierId, Incarnation, KeySalt, Salt, SubjectId};
use basoche_protocol::jose;
use basoche_protocol::message::{Acceptance, Body, Designation, Message, ProvisionPaid};
use basoche_protocol::role::{Assurance, Role};
use basoche_protocol::time::Span;
use basoche_registry::Anchors;

use crate::Outcome;
use crate::limits::on_all_cores;

/// Messages between two commits.
const BURST: u64 = 250;
/// Messages of a dossier that are not payments: the order, the acceptance.
const OPENING: u64 = 2;

/// A node's store, open in this process.
pub(crate) struct Workshop {
    engine: NodeEngine,
    rows: Rows,
    seal: jose::SoftwareKey,
    judge: Wallet,
    clerk: Wallet,
    expert: Wallet,
    expert_node: SubjectId,
    paid: Option<Envelope>,
    commits: u64,
}

impl Workshop {
    /// Opens the store of the node that `config` describes; the wallets are in `wallets`.
    pub(crate) fn open(config: &Path, wallets: &Path, expert_node: SubjectId) -> Outcome<Self> {
        let read = Config::read(config)?;
        let secret = read.passphrase(config)?;
        let storage = vault::open(&read.data, &secret)?;
        let keys = NodeKeys::open(&read.data, &storage)?;
        let store: Arc<dyn Store> = Arc::new(RocksStore::open(&read.data.join("store"))?);
        let rows = Rows::new(SealedStore::new(store, storage));
        let anchors = std::fs::read(&read.anchors)?;
        let registry = rows.registry(Anchors::parse(&anchors)?)?;
        let mut engine = Engine::new(
            keys.node(),
            Incarnation::new(random()),
            "bench",
            Arc::new(registry),
        );
        // One person orders more assessments here than anybody does in a day.
        engine.set_quotas(Quotas {
            person_dossiers: Allowance::a_day(u64::MAX >> 1),
            ..Quotas::default()
        });
        rows.restore(&mut engine)?;
        let wallet = |name: &str| Wallet::open(&wallets.join(name), &secret);
        Ok(Self {
            commits: rows.counter()?,
            seal: keys.seal()?,
            judge: wallet("judge")?,
            clerk: wallet("clerk")?,
            expert: wallet("expert")?,
            expert_node,
            paid: None,
            engine,
            rows,
        })
    }

    /// Adds dossiers of so many entries each, until there are `entries` in all; leaves the store as a stop does.
    pub(crate) fn fill(&mut self, entries: u64, per_dossier: u64, summarised: bool) -> Outcome<u64> {
        let mut made = 0;
        while made < entries {
            let at = now();
            let order = Designation {
                ext: None,
                rules: basoche_protocol::dossier::RULES,
                case_number: format!("26/{made:05}"),
                decided_at: at,
                heads: vec!["Mesurer".into()],
                judge: self.judge.subject,
                clerk: self.clerk.subject,
                expert: self.expert.subject,
                court_node: self.engine.node(),
                expert_node: self.expert_node,
                report_due: at + Span::from_seconds(180 * 86_400),
                provision: EuroCents::new(300_000).ok_or("an amount")?,
                provision_due: at + Span::from_seconds(60 * 86_400),
                payers: Vec::new(),
            };
            let dossier = Some(self.say(Role::Judge, None, Body::Designation(order))?);
            self.turn()?;
            let (ext, independent) = (None, true);
            self.say(
                Role::Expert,
                dossier,
                Body::Acceptance(Acceptance { ext, independent }),
            )?;
            for number in OPENING..per_dossier {
                let paid = ProvisionPaid {
                    ext: None,
                    amount: EuroCents::new(1).ok_or("an amount")?,
                    paid_at: at,
                    payer: None,
                };
                self.say(Role::Clerk, dossier, Body::ProvisionPaid(paid))?;
                if number % BURST == 0 {
                    self.turn()?;
                }
            }
            self.turn()?;
            made += per_dossier;
        }
        if summarised {
            self.engine.summarise(true);
            self.turn()?;
        } else {
            self.rows.forget_summaries()?;
        }
        Ok(made)
    }

    fn say(&mut self, role: Role, dossier: Option<DossierId>, body: Body) -> Outcome<DossierId> {
        let author = match role {
            Role::Judge => &self.judge,
            Role::Clerk => &self.clerk,
            _ => &self.expert,
        };
        let at = now();
        let message = Message {
            dossier,
            author: author.subject,
            role,
            assurance: Assurance::Software,
            class: body.message_type().readers(),
            refs: Vec::new(),
            salt: Salt::new(random()),
            body,
        };
        let envelope = Unsigned::new(Typ::Message, author, at, message.encode()).sign(author)?;
        let fresh = Fresh {
            seal_salt: KeySalt::new(random()),
            epoch_key: EpochKey::new(random()),
        };
        let needs = self.engine.prepare(&envelope.encode(), &fresh, at, &|_| true)?;
        let wraps = needs.wraps.iter();
        let wraps = wraps
            .map(|need| jose::wrap(need.key.as_bytes(), &need.context, &need.recipient_spki))
            .collect::<Result<_, _>>()?;
        let dossier = needs.dossier();
        self.engine.submit(needs, wraps, &fresh, at);
        if role == Role::Clerk {
            self.paid = Some(envelope);
        }
        Ok(dossier)
    }

    fn turn(&mut self) -> Outcome<()> {
        while let Some(rows) = self.engine.poll_commit(now()) {
            let mut batch = Batch::default();
            for row in &rows {
                self.rows.put(&mut batch, row)?;
            }
            self.commits += 1;
            self.rows.put_counter(&mut batch, self.commits)?;
            self.rows.commit(batch)?;
            self.engine.handle_durable();
            while let Some(request) = self.engine.poll_sign() {
                let head = Unsigned::new(Typ::Head, &self.seal, request.head.time, request.head.encode());
                self.engine.handle_signed(&head.sign(&self.seal)?)?;
            }
        }
        while let Some(event) = self.engine.poll_event() {
            if let Event::Rejected { error, .. } = event {
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// A message, and the key of who signed it.
    pub(crate) fn signed(self) -> Outcome<Signed> {
        let envelope = self.paid.ok_or("nothing was signed")?;
        let registry = self.engine.registry();
        match registry.status(&envelope.header().certificate, now()) {
            Status::Valid(signer) => Ok(Signed {
                envelope,
                key: signer.key,
            }),
            _ => Err("the signer is not valid".into()),
        }
    }
}

/// A message, and the key of who signed it.
pub(crate) struct Signed {
    envelope: Envelope,
    key: Arc<jose::VerifyingKey>,
}

impl Signed {
    /// How long so many signatures like it take on all cores.
    pub(crate) fn verify(&self, signatures: u64) -> Outcome<Duration> {
        on_all_cores(signatures, || {
            self.envelope.check(Typ::Message, &self.key).is_ok()
        })
    }
}
