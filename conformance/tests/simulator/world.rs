//! A federation that goes through a plan, and what its users were told meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use basoche_protocol::engine::{Allowance, Event, Quotas, Unproven};
use basoche_protocol::fixture::{Cast, Federation, Network, Rng, Signing, TestRegistry};
use basoche_protocol::id::{DossierId, MessageId};
use basoche_protocol::journal::{ChainId, Citation, HeadRow};
use basoche_protocol::message::{Acceptance, Body, RosterChange};
use basoche_protocol::refusal::Code;
use basoche_protocol::time::{Instant, Span};

use super::acts::{EXPERT, paid};
use super::forger::Forger;
use super::plan::{NODES, Op, Plan, Saying, asks_for_proofs};

/// When the first further lawyer's key is revoked. Everybody knows it from the beginning.
pub(crate) const REVOKED: Instant = Instant::from_seconds(1_790_000_012);
/// When its backdated messages claim to have been signed.
pub(super) const CLAIMED: Instant = Instant::from_seconds(1_790_000_001);
/// Virtual time that a federation has to converge once every fault is over.
const PATIENCE: Span = Span::from_seconds(600);

/// Of a day's allowance: so many at once, and so many more a second.
const fn small(burst: u64, per_second: u64) -> Allowance {
    Allowance {
        burst,
        per_day: per_second * 86_400,
    }
}

/// Quotas so small that honest nodes exceed them now and then.
const SMALL: Quotas = Quotas {
    dossier_entries: small(12, 3),
    dossier_bytes: small(30_000, 8000),
    peer_entries: small(20, 5),
    peer_bytes: small(50_000, 12_000),
    peer_dossiers: small(1, 1),
    person_dossiers: small(2, 1),
};

/// A cast and what everybody knows of it: the same in every run.
pub(crate) struct Company {
    cast: Arc<Cast>,
    registry: TestRegistry,
}

impl Company {
    pub(crate) fn new(signing: Signing) -> Self {
        let cast = Cast::new(NODES, signing);
        let mut registry = cast.registry();
        registry.revoke(&cast.further[0].1, REVOKED);
        registry.delegate_all(&cast.expert, 3);
        Self {
            cast: Arc::new(cast),
            registry,
        }
    }
}

/// Sets a node back to a copy of its disk.
type Restore = Box<dyn FnOnce(&mut Federation)>;

/// Something that a user submitted.
pub(super) struct Said {
    pub(super) node: usize,
    pub(super) envelope: Vec<u8>,
}

/// The federation under test.
pub(crate) struct World {
    pub(crate) federation: Federation,
    pub(crate) dishonest: Vec<usize>,
    /// The dossier of all, and one of court, bar and company, which others enter and leave.
    pub(crate) dossiers: Vec<DossierId>,
    /// By node and dossier: the histories of the chain that a dishonest node writes by hand.
    pub(crate) forgers: BTreeMap<(usize, usize), Vec<Forger>>,
    /// What honest nodes have acknowledged, and which one.
    pub(crate) acknowledged: BTreeMap<MessageId, usize>,
    /// What nobody may ever give effect to.
    pub(crate) unlawful: BTreeSet<MessageId>,
    /// What was lost with a disk before anybody else had it.
    pub(crate) lost: BTreeSet<MessageId>,
    /// The changes of the roster by which a node was to leave the small dossier, and which one.
    pub(crate) removals: Vec<(MessageId, usize)>,
    /// The nodes that were to enter it.
    pub(crate) entered: BTreeSet<usize>,
    /// Nodes that were set back to an old copy.
    pub(crate) restored: BTreeSet<usize>,
    /// The most runs that ever waited at one node for one peer.
    pub(crate) most_waiting: usize,
    pub(crate) histogram: BTreeMap<String, u64>,
    /// The first promise that was broken on the way.
    pub(crate) broken: Option<String>,
    pub(super) said: Vec<Said>,
    backups: BTreeMap<usize, Restore>,
    seen: usize,
    pub(super) counter: u64,
    /// Whether the nodes ask each other for proofs, and how often that was tried.
    asks: bool,
    pub(super) asked: u64,
    pub(super) rng: Rng,
}

impl World {
    /// The federation with both dossiers under way.
    pub(crate) fn new(company: &Company, plan: &Plan) -> Self {
        let federation = Federation::of(Arc::clone(&company.cast), company.registry.clone(), plan.seed);
        let mut it = Self {
            federation,
            dishonest: plan.dishonest.clone(),
            dossiers: Vec::new(),
            forgers: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            unlawful: BTreeSet::new(),
            lost: BTreeSet::new(),
            removals: Vec::new(),
            entered: BTreeSet::new(),
            restored: BTreeSet::new(),
            most_waiting: 0,
            histogram: BTreeMap::new(),
            broken: None,
            said: Vec::new(),
            backups: BTreeMap::new(),
            seen: 0,
            counter: 0,
            asks: asks_for_proofs(plan.seed),
            asked: 0,
            rng: Rng::new(plan.seed ^ 0x5eed),
        };
        let cast = Arc::clone(&company.cast);
        for persons in [cast.participants(), cast.participants()[..3].to_vec()] {
            it.counter += 1;
            let mut order = cast.designation(it.federation.now);
            order.case_number = format!("26/{:05}", it.counter);
            let founding = cast
                .judge
                .say(None, Body::Designation(order), 0, it.federation.now);
            let id = it.federation.deposit(0, &founding).unwrap();
            let dossier = DossierId::from(id);
            it.dossiers.push(dossier);
            it.federation.settle(5000);
            let acceptance = Body::Acceptance(Acceptance {
                ext: None,
                independent: true,
            });
            let roster = Body::RosterChange(RosterChange {
                ext: None,
                add: persons,
                remove: vec![],
            });
            for (actor, body) in [
                (&cast.expert, acceptance),
                (&cast.expert, roster),
                (&cast.clerk, paid(300_000)),
            ] {
                let envelope = actor.say(Some(dossier), body, 1, it.federation.now);
                let node = it.federation.node_of(actor);
                it.federation.deposit(node, &envelope).unwrap();
                it.federation.settle(5000);
            }
        }
        if plan.seed % 3 == 1 {
            it.federation.set_quotas(SMALL);
        }
        it
    }

    /// Whether a node keeps the rules.
    pub(crate) fn is_honest(&self, node: usize) -> bool {
        !self.dishonest.contains(&node)
    }

    /// The honest nodes of a dossier.
    pub(crate) fn honest_members(&self, dossier: usize) -> Vec<usize> {
        let court = self.federation.node(0).dossier(&self.dossiers[dossier]);
        let members = court.map(|held| held.state().nodes()).unwrap_or_default();
        (0..NODES)
            .filter(|node| members.contains(&self.federation.node(*node).node()) && self.is_honest(*node))
            .collect()
    }

    /// Does one thing of a plan.
    pub(crate) fn take(&mut self, pause: u64, op: Op) {
        *self.histogram.entry(op.kind()).or_default() += 1;
        self.pass(Span::from_ms(pause));
        match op {
            Op::Say(dossier, who, saying) => self.say(dossier, who, saying),
            Op::Again(number) if !self.said.is_empty() => {
                let said = &self.said[number % self.said.len()];
                let (node, envelope) = (said.node, said.envelope.clone());
                let _ = self.federation.submit(node, &envelope);
            }
            Op::Again(_) => {}
            Op::Cut(a, b) => self.federation.cut(a, b),
            Op::Join(a, b) => self.federation.connect(a, b),
            Op::Hold(a, b) => self.federation.hold(a, b, true),
            Op::Split(mask) => {
                let inside = |node: usize| mask & (1 << node) != 0;
                for (a, b) in pairs().filter(|(a, b)| inside(*a) != inside(*b)) {
                    self.federation.cut(a, b);
                }
            }
            Op::Heal => self.heal(),
            Op::Crash(node) => self.federation.crash(node),
            Op::Backup(node) => {
                let backup = self.federation.backup(node);
                self.backups.insert(node, Box::new(backup));
            }
            Op::Restore(node) => self.restore(node),
            Op::Skew(node, ms) => self.federation.skew(node, ms),
            Op::Weather(network) => self.federation.network = network,
            Op::Malice(number, malice) => {
                if let Some(node) = self.dishonest.get(number).copied() {
                    self.act_up(node, malice);
                }
            }
            Op::Enter(lawyer) => self.change(lawyer, true),
            Op::Leave(lawyer) => self.change(lawyer, false),
            Op::Barrier(dossier) => self.ask_all(dossier),
            Op::Sign(node, dossier) => self.sign(node, dossier),
            Op::Ask(from, to) => self.ask(from, to),
        }
        self.pass(Span::from_ms(1));
    }

    /// Lets time pass, and notes what was acknowledged and how much waits.
    pub(super) fn pass(&mut self, span: Span) {
        self.federation.run_until(self.federation.now + span);
        for (node, event) in &self.federation.events[self.seen..] {
            if let (Event::Refused { code: Code::Busy, .. }, false) = (event, self.dishonest.contains(node)) {
                *self.histogram.entry("busy".to_owned()).or_default() += 1;
            }
            let said = match event {
                Event::Proven { .. } => Some("proven"),
                Event::Unproven {
                    why: Unproven::Wrong(_),
                    ..
                } => Some("blamed"),
                _ => None,
            };
            if let Some(said) = said {
                *self.histogram.entry(said.to_owned()).or_default() += 1;
            }
            if let (Event::Accepted { message, .. }, false) = (event, self.dishonest.contains(node)) {
                self.acknowledged.insert(*message, *node);
            }
        }
        self.seen = self.federation.events.len();
        for node in 0..NODES {
            let waiting = self.federation.node(node).most_early_runs();
            self.most_waiting = self.most_waiting.max(waiting);
        }
    }

    fn heal(&mut self) {
        for (a, b) in pairs() {
            self.federation.hold(a, b, false);
            self.federation.hold(b, a, false);
        }
        self.federation.connect_all();
    }

    fn restore(&mut self, node: usize) {
        let Some(backup) = self.backups.remove(&node) else {
            return;
        };
        let mut gone = self.federation.on_disk(node);
        backup(&mut self.federation);
        self.restored.insert(node);
        for other in (0..NODES).filter(|other| self.is_honest(*other)) {
            gone = &gone - &self.federation.on_disk(other);
        }
        self.lost.extend(gone);
    }

    /// Everything is over: every wrong is mended and the clock goes on until all agree, or for too long.
    pub(crate) fn finish(&mut self) {
        self.federation.network = Network::default();
        self.federation.withheld.clear();
        (0..NODES).for_each(|node| self.federation.skew(node, 0));
        // Who is a member, the court says.
        self.federation.wake(0, None);
        self.heal();
        self.converge();
        // The keeper of the small dossier's roster hands out with what it records next what it has come to owe. KEY-2.
        let waits = |node: &usize| {
            let held = self.federation.node(*node).dossier(&self.dossiers[1]);
            held.is_some_and(|held| held.pending() > 0)
        };
        if self.honest_members(1).iter().any(waits) {
            self.say(1, EXPERT, Saying::Exhibit);
            self.converge();
        }
        // One order for each chain that can be forked; more are needed only where orders have no effect.
        for _ in 0..2 * NODES {
            if !self.settle() {
                break;
            }
            self.converge();
        }
        // What nobody has touched since a start is judged as it is, and not as its summary says.
        (0..NODES).for_each(|node| self.federation.wake(node, None));
        if self.asks && self.agree() {
            self.ask_everybody();
            // Time has passed: what only a dishonest node had may have come, and what cites it may come now.
            self.converge();
        }
        let slept = self.histogram.entry("slept".to_owned()).or_default();
        *slept += self.federation.slept;
    }

    /// The clock goes on until all agree, or for too long.
    fn converge(&mut self) {
        let end = self.federation.now + PATIENCE;
        while self.federation.now < end && !self.agree() {
            self.pass(Span::from_seconds(5));
            // Whoever cut a connection makes it again, and a dishonest node's own chain comes to an honest one.
            self.heal();
            for ((node, number), forgers) in &self.forgers {
                for forger in forgers {
                    let to = self.honest_members(*number)[0];
                    let held = self.federation.node(to).dossier(&self.dossiers[*number]);
                    let known = forger.entries.iter().zip(0..).take_while(|((leaf, _), seq)| {
                        let (chain, seq, leaf) = (forger.chain, *seq, *leaf);
                        let cited = Citation { chain, seq, leaf };
                        held.is_some_and(|held| held.chains().locate(&cited).is_some())
                    });
                    let runs = forger.runs.iter().skip(known.count()).take(32);
                    forger.send(&mut self.federation, *node, to, runs);
                }
            }
        }
    }

    /// Whether every honest member holds the same.
    pub(crate) fn agree(&self) -> bool {
        self.dossiers.iter().zip(0..).all(|(dossier, number)| {
            let members = self.honest_members(number);
            let held: Vec<_> = members
                .iter()
                .map(|node| self.federation.node(*node).frontier(dossier))
                .collect();
            let whole = self
                .forgers
                .iter()
                .filter(|((_, of), _)| *of == number)
                .all(|(_, forgers)| {
                    // Nobody can take what cites something that was lost with every disk that had it.
                    if !self.is_owed(number, &forgers[0]) {
                        return true;
                    }
                    let on_file = |row: &HeadRow| {
                        held.iter()
                            .all(|rows| rows.as_ref().is_some_and(|rows| rows.contains(row)))
                    };
                    // Of a chain that is forked some histories may never have come to anybody.
                    let rows: Vec<_> = forgers.iter().filter_map(Forger::row).collect();
                    rows.len() > 1 || rows.iter().all(on_file)
                });
            let same = held[0].is_some() && held.windows(2).all(|pair| pair[0] == pair[1]);
            whole && same && self.without_receipt(number).is_none()
        })
    }

    /// An honest member, and another whose latest head, as far as the first has it, does not cover all that it holds.
    pub(crate) fn without_receipt(&self, number: usize) -> Option<(usize, usize)> {
        let members = self.honest_members(number);
        let pairs = members
            .iter()
            .flat_map(|node| members.iter().map(move |other| (*node, *other)));
        pairs.into_iter().find(|(node, other)| {
            let (engine, other) = (self.federation.node(*node), self.federation.node(*other).node());
            let Some(held) = engine.dossier(&self.dossiers[number]) else {
                let mut dormant = engine.dormant();
                let dormant = dormant.find(|summary| summary.dossier() == self.dossiers[number]);
                return dormant.is_none_or(|summary| !summary.receipts().contains(&other));
            };
            let head = held.heads().get(&other);
            let covers =
                |row: &HeadRow| head.is_some_and(|head| head.head().rows_of(&row.chain).contains(row));
            !held.frontier().iter().all(covers)
        })
    }

    /// Whether everything that a dishonest node's own chain cites still exists.
    pub(crate) fn is_owed(&self, number: usize, forger: &Forger) -> bool {
        let court = self.federation.node(0).dossier(&self.dossiers[number]);
        let held = |cited: &Citation| court.is_some_and(|held| held.chains().locate(cited).is_some());
        forger.cited.iter().all(held)
    }

    /// The chains of a node.
    pub(crate) fn is_of(&self, chain: &ChainId, node: usize) -> bool {
        self.federation.node(node).node() == chain.node
    }
}

/// Every pair of nodes.
fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..NODES).flat_map(|a| (a + 1..NODES).map(move |b| (a, b)))
}
