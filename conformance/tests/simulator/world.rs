//! A federation that goes through a plan, and what its users were told meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use basoche_protocol::amount::EuroCents;
use basoche_protocol::dossier::{DocumentFact, Replica};
use basoche_protocol::engine::Event;
use basoche_protocol::envelope::Envelope;
use basoche_protocol::fixture::{
    Actor, Cast, Federation, Network, Rng, Signing, TestRegistry, document, key_wraps, personal_document,
};
use basoche_protocol::id::{Digest, DossierId, MessageId};
use basoche_protocol::journal::{Chain, ChainId, Citation, Content, HeadRow};
use basoche_protocol::message::{
    Acceptance, Answer, Barrier, BarrierHeld, Body, Dire, Erasure, ExhibitDeposit, Extent, FeeOrder,
    ForkSettled, KeyGrant, LegalHold, MessageType, PreReport, ProvisionPaid, Report, Residual, RosterChange,
};
use basoche_protocol::role::Class;
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::wire::frame::{Frame, Frontier};

use super::forger::Forger;
use super::plan::{Malice, NODES, Op, Plan, Saying};

/// When the first further lawyer's key is revoked. Everybody knows it from the beginning.
pub(crate) const REVOKED: Instant = Instant::from_seconds(1_790_000_012);
/// When its backdated messages claim to have been signed.
const CLAIMED: Instant = Instant::from_seconds(1_790_000_001);
/// The expert, among those who speak.
const EXPERT: usize = 3;
/// Further histories of its chain that a dishonest node goes on with.
const HISTORIES: usize = 3;
/// Virtual time that a federation has to converge once every fault is over.
const PATIENCE: Span = Span::from_seconds(600);

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
        Self {
            cast: Arc::new(cast),
            registry,
        }
    }
}

/// Sets a node back to a copy of its disk.
type Restore = Box<dyn FnOnce(&mut Federation)>;

/// Something that a user submitted.
struct Said {
    node: usize,
    envelope: Vec<u8>,
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
    said: Vec<Said>,
    backups: BTreeMap<usize, Restore>,
    seen: usize,
    counter: u64,
    rng: Rng,
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
        }
        self.pass(Span::from_ms(1));
    }

    /// Lets time pass, and notes what was acknowledged and how much waits.
    fn pass(&mut self, span: Span) {
        self.federation.run_until(self.federation.now + span);
        for (node, event) in &self.federation.events[self.seen..] {
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

    /// The judge says which history counts of a forked chain that the court knows of; false if there is none.
    fn settle(&mut self) -> bool {
        let cast = Arc::clone(&self.federation.cast);
        let unsettled = self.dossiers.iter().find_map(|dossier| {
            let held = self.federation.node(0).dossier(dossier)?;
            let settled = held.state().settled();
            let (chain, _) = held
                .chains()
                .forks()
                .find(|(chain, _)| !settled.contains_key(chain))?;
            let last = |(_, history): (_, &Chain)| {
                let (seq, leaf) = (history.size() - 1, history.last()?.0);
                Some(Citation { chain, seq, leaf })
            };
            Some((
                *dossier,
                held.chains().of(&chain).filter_map(last).collect::<Vec<_>>(),
            ))
        });
        let Some((dossier, histories)) = unsettled else {
            return false;
        };
        let keep = histories[self.rng.below(histories.len() as u64) as usize];
        self.counter += 1;
        let order = Body::ForkSettled(ForkSettled {
            ext: None,
            keep,
            reason: "Deux historiques.".into(),
        });
        let clock = self.federation.clock(0);
        let envelope = cast.judge.say(Some(dossier), order, self.counter as u8, clock);
        self.federation.submit(0, &envelope).is_ok()
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
            whole && held[0].is_some() && held.windows(2).all(|pair| pair[0] == pair[1])
        })
    }

    /// Whether everything that a dishonest node's own chain cites still exists.
    pub(crate) fn is_owed(&self, number: usize, forger: &Forger) -> bool {
        let court = self.federation.node(0).dossier(&self.dossiers[number]);
        let held = |cited: &Citation| court.is_some_and(|held| held.chains().locate(cited).is_some());
        forger.cited.iter().all(held)
    }

    /// Somebody says something to their node.
    fn say(&mut self, dossier: usize, who: usize, saying: Saying) {
        let cast = Arc::clone(&self.federation.cast);
        let mut speakers = vec![
            &cast.claimant_lawyer,
            &cast.defendant_lawyer,
            &cast.party,
            &cast.expert,
            &cast.clerk,
        ];
        speakers.extend(cast.further.iter().map(|(_, lawyer)| lawyer));
        self.counter += 1;
        let number = self.counter;
        let speaker = speakers[who % speakers.len()];
        let node = |actor: &Actor| self.federation.node_of(actor);
        let clock = self.federation.clock(node(speaker));
        let (actor, body, at) = match saying {
            Saying::Exhibit => (speaker, self.brought(dossier, speaker, number), clock),
            Saying::Dire => (speaker, dire(number), clock),
            Saying::Provision if self.rng.below(4) == 0 && self.settle() => return,
            Saying::Provision => (&cast.clerk, paid(number), self.federation.clock(0)),
            Saying::PreReport => {
                let now = self.federation.clock(2);
                let due = now + Span::from_seconds(2);
                let body = PreReport {
                    ext: None,
                    document: document("pre-report"),
                    dires_due: due,
                    closes: None,
                };
                (&cast.expert, Body::PreReport(body), now)
            }
            Saying::Report => (&cast.expert, self.report(dossier), self.federation.clock(2)),
            Saying::Erasure | Saying::Hold => {
                let erases = saying == Saying::Erasure;
                let Some(body) = self.forget_or_keep(dossier, erases) else {
                    return;
                };
                (&cast.clerk, body, self.federation.clock(0))
            }
            Saying::Unlawful => (speaker, order(number), clock),
            Saying::Backdated => (&cast.further[0].1, dire(number), CLAIMED),
        };
        let home = self.federation.node_of(actor);
        let for_persons = match &body {
            Body::KeyGrant(_) => Some("grant"),
            Body::ExhibitDeposit(exhibit) if exhibit.document.class() == Class::Personal => Some("personal"),
            _ => None,
        };
        let envelope = actor.say(Some(self.dossiers[dossier]), body, number as u8, at);
        let forbidden = match saying {
            Saying::Unlawful => true,
            Saying::Backdated => self.federation.clock(home) >= REVOKED,
            _ => false,
        };
        let taken = self.federation.submit(home, &envelope);
        if let Some(kind) = for_persons.filter(|_| taken.is_ok()) {
            *self.histogram.entry(kind.to_owned()).or_default() += 1;
        }
        if forbidden && self.is_honest(home) {
            if taken.is_ok() {
                self.broken
                    .get_or_insert_with(|| format!("authorised: node {home} took {saying:?}"));
            }
            return;
        }
        if !forbidden {
            self.said.push(Said { node: home, envelope });
        }
    }

    /// The expert asks every member of a dossier to sign that it holds what the expert's node has signed for.
    fn ask_all(&mut self, number: usize) {
        let (cast, dossier) = (Arc::clone(&self.federation.cast), self.dossiers[number]);
        let node = self.federation.node(2);
        let Some(replica) = node.dossier(&dossier) else {
            return;
        };
        let Some(head) = replica.heads().get(&node.node()) else {
            return;
        };
        let at = self.federation.clock(2);
        let barrier = Barrier {
            ext: None,
            frontier: head.head().rows.clone(),
            documents: vec![],
            members: replica.state().nodes().into_iter().collect(),
            due: at + Span::from_seconds(60),
        };
        self.counter += 1;
        let salt = self.counter as u8;
        let envelope = cast.expert.say(Some(dossier), Body::Barrier(barrier), salt, at);
        // Refused once the report is in.
        drop(self.federation.submit(2, &envelope));
    }

    /// A node signs the barriers of a dossier that it can sign and has not signed.
    fn sign(&mut self, index: usize, number: usize) {
        let (cast, dossier) = (Arc::clone(&self.federation.cast), self.dossiers[number]);
        let nodes = [&cast.court, &cast.bar, &cast.company];
        let mut nodes = nodes.into_iter().chain(cast.further.iter().map(|(node, _)| node));
        let (Some(actor), Some(replica)) = (nodes.nth(index), self.federation.node(index).dossier(&dossier))
        else {
            return;
        };
        let state = replica.state();
        let asked = state.barriers().keys().filter(|id| {
            let asked = replica
                .barrier(id)
                .filter(|one| one.members.contains(&actor.subject));
            let holds = asked.is_some_and(|one| !replica.contradicts(one) && !replica.lacks_message_of(one));
            holds && state.barrier_held(id, &actor.subject).is_none()
        });
        for barrier in asked.copied().collect::<Vec<_>>() {
            let body = Body::BarrierHeld(BarrierHeld { ext: None, barrier });
            self.counter += 1;
            let at = self.federation.clock(index);
            let envelope = actor.say(Some(dossier), body, self.counter as u8, at);
            if self.federation.submit(index, &envelope).is_ok() {
                *self.histogram.entry("signed".to_owned()).or_default() += 1;
            }
        }
    }

    /// The expert takes a further lawyer into the small dossier, or removes them.
    fn change(&mut self, lawyer: usize, enters: bool) {
        let cast = Arc::clone(&self.federation.cast);
        let subject = cast.further[lawyer].1.subject;
        let mut add = cast.participants();
        add.retain(|one| enters && one.subject == subject);
        let remove = if enters { vec![] } else { vec![subject] };
        let body = Body::RosterChange(RosterChange {
            ext: None,
            add,
            remove,
        });
        self.counter += 1;
        let at = self.federation.clock(2);
        let envelope = cast
            .expert
            .say(Some(self.dossiers[1]), body, self.counter as u8, at);
        if !enters && let Ok(signed) = Envelope::decode(&envelope) {
            self.removals.push((signed.id(), 3 + lawyer));
        }
        if enters {
            self.entered.insert(3 + lawyer);
        }
        // Refused where the expert's node, which may have lost what it knew, knows better.
        let _ = self.federation.submit(2, &envelope);
        self.said.push(Said { node: 2, envelope });
    }

    /// An order about one of the exhibits and dires that the court has on file.
    fn forget_or_keep(&self, dossier: usize, erases: bool) -> Option<Body> {
        let held = self.federation.node(0).dossier(&self.dossiers[dossier])?;
        let messages = held.records().filter_map(|(_, _, record)| match &record.content {
            Content::Authentic(message, _) => Some((record.message, message)),
            _ => None,
        });
        let may = |act| matches!(act, MessageType::ExhibitDeposit | MessageType::Dire);
        let messages: Vec<_> = messages.filter(|(_, one)| may(one.message_type())).collect();
        let (target, message) = *messages.get(self.counter as usize % messages.len().max(1))?;
        let reason = "Pour ordre.".into();
        if erases {
            return Some(Body::Erasure(Erasure {
                ext: None,
                target,
                extent: Extent::Message,
                residual: Residual::of(message),
                reason,
            }));
        }
        let lifts = held.state().holds().next().map(|(hold, _)| hold);
        Some(Body::LegalHold(LegalHold {
            ext: None,
            target: lifts.is_none().then_some(target),
            lifts,
            reason,
        }))
    }

    /// Every third exhibit is for persons; every third saying hands such a one's key on, where the speaker has it.
    fn brought(&self, dossier: usize, speaker: &Actor, number: u64) -> Body {
        let (cast, id) = (&self.federation.cast, self.dossiers[dossier]);
        match number % 3 {
            0 => {
                let mut readers = vec![&cast.expert, &cast.clerk, speaker];
                readers.sort_by_key(|one| one.subject);
                readers.dedup_by_key(|one| one.subject);
                personal(number, &id, &readers)
            }
            1 => {
                let held = self
                    .federation
                    .node(self.federation.node_of(speaker))
                    .dossier(&id);
                let state = held.map(Replica::state);
                let readable = state.and_then(|state| {
                    let is_reader = |document: &&DocumentFact| {
                        let recipients = state.recipients(document);
                        recipients.is_some_and(|recipients| recipients.contains(&speaker.subject))
                    };
                    state.documents().find(is_reader)
                });
                readable.map_or_else(
                    || exhibit(number),
                    |document| grant(document, &id, &[&cast.judge, &cast.party]),
                )
            }
            _ => exhibit(number),
        }
    }

    fn report(&self, dossier: usize) -> Body {
        let held = self.federation.node(2).dossier(&self.dossiers[dossier]);
        let dires = held.map(|held| held.state().dires().keys().copied().collect::<Vec<_>>());
        let answers = dires.unwrap_or_default().into_iter().map(|dire| Answer {
            dire,
            text: "Vu.".into(),
        });
        Body::Report(Report {
            ext: None,
            document: document("report"),
            answers: answers.collect(),
            closes: None,
        })
    }

    /// A dishonest node does its worst.
    fn act_up(&mut self, node: usize, malice: Malice) {
        let number = usize::from(node == 1 && self.rng.below(2) == 0);
        let dossier = self.dossiers[number];
        let cast = Arc::clone(&self.federation.cast);
        let actor = cast.nodes()[node];
        let fresh = self.rng.bytes();
        let mut histories = self.forgers.remove(&(node, number)).unwrap_or_default();
        if histories.is_empty() {
            histories.push(Forger::new(actor, dossier, fresh));
        }
        let mut forger = histories.remove(self.rng.below(histories.len() as u64) as usize);
        let now = self.federation.clock(node);
        self.counter += 1;
        let count = self.counter;
        // Its own user, whose lawful messages it records by hand too.
        let user = match node {
            1 => &cast.claimant_lawyer,
            further => &cast.further[further - 3].1,
        };
        let say = |actor: &Actor, body, at| actor.sign(&actor.message(Some(dossier), body, count as u8), at);
        match malice {
            Malice::Poison => {
                let envelope = say(user, dire(count), now);
                self.unlawful.insert(envelope.id());
                self.record(
                    &mut forger,
                    node,
                    &[(envelope, true), (say(user, exhibit(count), now), false)],
                );
            }
            Malice::Invent => {
                let envelope = match self.rng.below(4) {
                    0 => say(user, order(count), now),
                    1 => user.sign(&user.message(None, order(count), count as u8), now),
                    2 if now >= REVOKED => say(&cast.further[0].1, dire(count), CLAIMED),
                    _ => {
                        let elsewhere = DossierId::new([9; 32]);
                        user.sign(&user.message(Some(elsewhere), dire(count), count as u8), now)
                    }
                };
                self.unlawful.insert(envelope.id());
                self.record(&mut forger, node, &[(envelope, false)]);
            }
            Malice::LieInHead => {
                let rows = self.lies(node, dossier);
                let head = forger.head(rows, now);
                for to in (0..NODES).filter(|to| *to != node) {
                    self.federation
                        .inject(node, to, Frame::Head(head.clone().into()).encode());
                }
            }
            Malice::LieInFrontier => {
                let frontier = Frontier {
                    dossier,
                    rows: self.lies(node, dossier),
                    wraps: vec![],
                    head: None,
                    lacking: vec![],
                };
                for to in (0..NODES).filter(|to| *to != node) {
                    let frame = Frame::Frontier(frontier.clone());
                    self.federation.inject(node, to, frame.encode());
                }
            }
            Malice::Flood => {
                let begun = forger.runs.len();
                let many: Vec<_> = (0..100)
                    .map(|index| {
                        let body = dire(count * 1000 + index);
                        (
                            user.sign(&user.message(Some(dossier), body, index as u8), now),
                            false,
                        )
                    })
                    .collect();
                for (envelope, spoilt) in &many {
                    if let Some(replica) = self.federation.node(node).dossier(&dossier) {
                        forger.record(replica, envelope, *spoilt, now);
                    }
                }
                let to = (node + 1 + self.rng.below(NODES as u64 - 1) as usize) % NODES;
                let late = forger.runs.get(begun + 1..).unwrap_or_default().to_vec();
                forger.send(&mut self.federation, node, to, late.iter());
            }
            Malice::Babble => {
                for to in (0..NODES).filter(|to| *to != node) {
                    let noise: [u8; 64] = self.rng.bytes();
                    self.federation.inject(node, to, noise.to_vec());
                    let frontier = Frontier {
                        dossier: DossierId::new(self.rng.bytes()),
                        rows: vec![],
                        wraps: vec![],
                        head: None,
                        lacking: vec![],
                    };
                    self.federation
                        .inject(node, to, Frame::Frontier(frontier).encode());
                }
            }
            Malice::Equivocate => {
                let size = self.rng.below(forger.entries.len() as u64 + 1) as usize;
                let mut other = forger.part(size);
                // Something brought, and an act that has its place in the order.
                let clerk = |index| say(&cast.clerk, paid(count * 10 + index), now);
                let messages = [(say(user, dire(count), now), false), (clerk(1), false)];
                self.record(&mut forger, node, &messages);
                self.record(&mut other, node, &[(clerk(2), false)]);
                if histories.len() < HISTORIES {
                    histories.push(other);
                }
            }
            Malice::Withhold(mask) => {
                let victims = (0..NODES).filter(|to| mask & (1 << to) != 0);
                self.federation.withheld.extend(victims.map(|to| (node, to)));
            }
            Malice::Deaf => (0..NODES).for_each(|from| self.federation.hold(from, node, true)),
        }
        histories.push(forger);
        self.forgers.insert((node, number), histories);
    }

    /// Records messages by hand, and sends them to a few.
    fn record(&mut self, forger: &mut Forger, node: usize, messages: &[(Envelope, bool)]) {
        let now = self.federation.clock(node);
        let begun = forger.runs.len();
        for (envelope, spoilt) in messages {
            if let Some(replica) = self.federation.node(node).dossier(&forger.dossier) {
                forger.record(replica, envelope, *spoilt, now);
            }
        }
        let runs = forger.runs.get(begun..).unwrap_or_default().to_vec();
        let mask = self.rng.next_u64();
        for to in (0..NODES).filter(|to| *to != node && mask & (1 << to) != 0) {
            forger.send(&mut self.federation, node, to, runs.iter());
        }
    }

    /// Rows that name more of honest chains than there is, and other leaves than they have.
    fn lies(&mut self, node: usize, dossier: DossierId) -> Vec<HeadRow> {
        let rows = self
            .federation
            .node(node)
            .dossier(&dossier)
            .map(|held| held.frontier());
        let mut rows = rows.unwrap_or_default();
        for row in &mut rows {
            match self.rng.below(3) {
                0 => {
                    row.size += self.rng.below(1 << 40);
                    (row.leaf, row.root) = (Digest::new(self.rng.bytes()), Digest::new(self.rng.bytes()));
                }
                1 => row.leaf = Digest::new(self.rng.bytes()),
                _ => {}
            }
        }
        rows
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

fn paid(cents: u64) -> Body {
    Body::ProvisionPaid(ProvisionPaid {
        ext: None,
        amount: EuroCents::new(cents).unwrap(),
        paid_at: Instant::from_ms(0),
        payer: None,
    })
}

fn exhibit(number: u64) -> Body {
    Body::ExhibitDeposit(ExhibitDeposit {
        ext: None,
        number,
        title: "Photographie".into(),
        document: document("exhibit"),
    })
}

fn personal(number: u64, dossier: &DossierId, readers: &[&Actor]) -> Body {
    Body::ExhibitDeposit(ExhibitDeposit {
        ext: None,
        number,
        title: "Certificat".into(),
        document: personal_document("exhibit", dossier, readers),
    })
}

fn grant(document: &DocumentFact, dossier: &DossierId, readers: &[&Actor]) -> Body {
    let (deposit, root) = (document.deposit, document.reference.root);
    Body::KeyGrant(KeyGrant {
        ext: None,
        deposit,
        root,
        wraps: key_wraps(dossier, &root, readers),
    })
}

fn dire(number: u64) -> Body {
    Body::Dire(Dire {
        ext: None,
        number,
        text: "La fissure est antérieure.".into(),
        recapitulative: false,
        document: None,
    })
}

/// A fee order, which only the judge may sign.
fn order(cents: u64) -> Body {
    Body::FeeOrder(FeeOrder {
        ext: None,
        amount: EuroCents::new(cents).unwrap(),
        order: None,
    })
}
