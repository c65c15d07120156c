//! Three simulated nodes on a virtual clock: the main line, crashes, cuts, restored backups. SPEC §7, §8.
#![allow(clippy::unwrap_used)]

use basoche_protocol::amount::EuroCents;
use basoche_protocol::dossier::Phase;
use basoche_protocol::engine::Event;
use basoche_protocol::error::Error;
use basoche_protocol::fixture::{Actor, Federation, Rng, document};
use basoche_protocol::id::{DossierId, MessageId};
use basoche_protocol::message::{
    Acceptance, Answer, Body, CloseDossier, Dire, ExhibitDeposit, FeeClaim, FeeOrder, PreReport,
    ProvisionPaid, Report, RosterChange,
};
use basoche_protocol::refusal::Code;
use basoche_protocol::time::{Instant, Span};

/// An assessment under way: each act goes to its author's own node.
struct Assessment {
    federation: Federation,
    dossier: Option<DossierId>,
    salt: u8,
}

impl Assessment {
    fn new(seed: u64) -> Self {
        Self {
            federation: Federation::new(seed),
            dossier: None,
            salt: 0,
        }
    }

    fn act(&mut self, who: impl Fn(&Federation) -> &Actor, body: Body) -> Result<MessageId, Error> {
        self.salt = self.salt.wrapping_add(1);
        let now = self.federation.now;
        let actor = who(&self.federation);
        let (index, bytes) = (
            self.federation.node_of(actor),
            actor.say(self.dossier, body, self.salt, now),
        );
        self.federation.deposit(index, &bytes)
    }

    fn found(&mut self) {
        let designation = self.federation.cast.designation(self.federation.now);
        let id = self
            .act(|f| &f.cast.judge, Body::Designation(designation))
            .unwrap();
        self.dossier = Some(DossierId::from(id));
    }

    /// From the designation to the operations under way, with everybody in the roster.
    fn under_way(seed: u64) -> Self {
        let mut it = Self::new(seed);
        it.carry_until_under_way();
        it
    }

    fn carry_until_under_way(&mut self) {
        self.found();
        self.federation.settle(2000);
        self.act(|f| &f.cast.expert, accept()).unwrap();
        let add = self.federation.cast.participants();
        self.act(
            |f| &f.cast.expert,
            Body::RosterChange(RosterChange {
                ext: None,
                add,
                remove: vec![],
            }),
        )
        .unwrap();
        self.federation.settle(2000);
        self.act(|f| &f.cast.clerk, paid(300_000)).unwrap();
        self.federation.settle(2000);
    }

    fn phase(&self, node: usize) -> Phase {
        self.federation
            .node(node)
            .dossier(&self.dossier.unwrap())
            .unwrap()
            .state()
            .phase()
    }

    /// The state's hash on each node; they must agree.
    fn converged(&self) -> bool {
        let dossier = self.dossier.unwrap();
        let hashes: Vec<_> = (0..3)
            .map(|node| {
                self.federation
                    .node(node)
                    .dossier(&dossier)
                    .map(|held| held.state().hash())
            })
            .collect();
        hashes[0].is_some() && hashes.windows(2).all(|pair| pair[0] == pair[1])
    }
}

fn accept() -> Body {
    Body::Acceptance(Acceptance {
        ext: None,
        independent: true,
    })
}

fn paid(cents: u64) -> Body {
    let amount = EuroCents::new(cents).unwrap();
    Body::ProvisionPaid(ProvisionPaid {
        ext: None,
        amount,
        paid_at: Instant::from_ms(0),
        payer: None,
    })
}

fn exhibit(number: u64) -> Body {
    let document = document(&format!("exhibit {number}"));
    Body::ExhibitDeposit(ExhibitDeposit {
        ext: None,
        number,
        title: "Photographie".into(),
        document,
    })
}

fn dire(number: u64) -> Body {
    let text = "La fissure est antérieure.".into();
    Body::Dire(Dire {
        ext: None,
        number,
        text,
        recapitulative: false,
        document: None,
    })
}

#[test]
fn the_main_line_runs_from_the_designation_to_the_fee_order() {
    let mut it = Assessment::under_way(1);
    assert_eq!(
        (0..3).map(|node| it.phase(node)).collect::<Vec<_>>(),
        [Phase::InProgress; 3]
    );
    it.act(|f| &f.cast.claimant_lawyer, exhibit(1)).unwrap();
    it.act(|f| &f.cast.party, exhibit(2)).unwrap();
    it.federation.settle(2000);
    let dires_due = it.federation.now + Span::from_seconds(2);
    it.act(
        |f| &f.cast.expert,
        Body::PreReport(PreReport {
            ext: None,
            document: document("pre-report"),
            dires_due,
            closes: None,
        }),
    )
    .unwrap();
    it.federation.settle(2000);
    let dire = it.act(|f| &f.cast.defendant_lawyer, dire(1)).unwrap();
    it.federation.settle(2000);
    while it.federation.now < dires_due {
        it.federation.step();
    }
    let answers = vec![Answer {
        dire,
        text: "Les relevés l'infirment.".into(),
    }];
    it.act(
        |f| &f.cast.expert,
        Body::Report(Report {
            ext: None,
            document: document("report"),
            answers,
            closes: None,
        }),
    )
    .unwrap();
    let amount = EuroCents::new(280_000).unwrap();
    it.act(
        |f| &f.cast.expert,
        Body::FeeClaim(FeeClaim {
            ext: None,
            amount,
            document: None,
        }),
    )
    .unwrap();
    it.federation.settle(2000);
    it.act(
        |f| &f.cast.judge,
        Body::FeeOrder(FeeOrder {
            ext: None,
            amount,
            order: None,
        }),
    )
    .unwrap();
    it.act(
        |f| &f.cast.clerk,
        Body::CloseDossier(CloseDossier {
            ext: None,
            closes: None,
        }),
    )
    .unwrap();
    it.federation.settle(2000);
    assert_eq!(
        (0..3).map(|node| it.phase(node)).collect::<Vec<_>>(),
        [Phase::Closed; 3]
    );
    assert!(it.converged());
    // Every node has every other's receipt for every message.
    for node in 0..3 {
        let engine = it.federation.node(node);
        let replica = engine.dossier(&it.dossier.unwrap()).unwrap();
        for (_, _, record) in replica.records() {
            assert_eq!(replica.holders(&record.message, engine.node()).len(), 2);
        }
        assert_eq!(replica.pending(), 0);
    }
}

#[test]
fn the_same_seed_gives_the_same_federation() {
    let run = || {
        let it = Assessment::under_way(7);
        let hash = it
            .federation
            .node(0)
            .dossier(&it.dossier.unwrap())
            .unwrap()
            .state()
            .hash();
        (hash, it.federation.now, it.federation.events.len())
    };
    assert_eq!(run(), run());
}

#[test]
fn a_member_that_was_down_catches_up_by_itself() {
    let mut it = Assessment::under_way(2);
    it.federation.crash(1);
    for _ in 0..5 {
        it.act(|f| &f.cast.expert, exhibit(3)).unwrap();
    }
    assert!(!it.converged());
    it.federation.connect(0, 1);
    it.federation.connect(1, 2);
    it.federation.settle(2000);
    assert!(it.converged());
}

#[test]
fn two_nodes_that_never_meet_converge_through_a_third() {
    let mut it = Assessment::under_way(3);
    it.federation.cut(1, 2);
    it.act(|f| &f.cast.expert, exhibit(1)).unwrap();
    it.act(|f| &f.cast.claimant_lawyer, exhibit(2)).unwrap();
    for _ in 0..20_000 {
        it.federation.step();
    }
    assert!(it.converged());
}

#[test]
fn clocks_that_are_set_back_do_not_put_repairs_off() {
    let mut it = Assessment::under_way(5);
    it.federation
        .run_until(it.federation.now + Span::from_seconds(10));
    (0..3).for_each(|node| it.federation.skew(node, -100_000));
    it.federation.network.lost = 1000;
    it.act(|f| &f.cast.expert, exhibit(1)).unwrap();
    it.federation.network.lost = 0;
    assert!(!it.converged());
    it.federation
        .run_until(it.federation.now + Span::from_seconds(12));
    assert!(it.converged());
}

#[test]
fn acknowledged_messages_survive_crashes_and_cuts_in_any_order() {
    for seed in 0..30 {
        let mut it = Assessment::under_way(100 + seed);
        let mut rng = Rng::new(seed);
        let mut acknowledged = Vec::new();
        for number in 0..20 {
            match rng.below(4) {
                0 => it.federation.crash(rng.below(3) as usize),
                1 => it.federation.cut(rng.below(3) as usize, rng.below(3) as usize),
                _ => {}
            }
            for (a, b) in [(0, 1), (0, 2), (1, 2)] {
                if rng.below(2) == 0 {
                    it.federation.connect(a, b);
                }
            }
            for _ in 0..rng.below(30) {
                it.federation.step();
            }
            let id = match rng.below(3) {
                0 => it.act(|f| &f.cast.expert, exhibit(number)),
                1 => it.act(|f| &f.cast.claimant_lawyer, exhibit(number)),
                _ => it.act(|f| &f.cast.party, dire(number)),
            };
            acknowledged.push(id.unwrap());
        }
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            it.federation.cut(a, b);
            it.federation.connect(a, b);
        }
        for _ in 0..12_000 {
            it.federation.step();
        }
        assert!(it.converged(), "seed {seed}");
        for node in 0..3 {
            let replica = it.federation.node(node).dossier(&it.dossier.unwrap()).unwrap();
            for id in &acknowledged {
                let times = replica
                    .records()
                    .filter(|(_, _, record)| record.message == *id)
                    .count();
                assert_eq!(times, 1, "seed {seed} node {node}");
            }
        }
        assert!(
            !it.federation
                .events
                .iter()
                .any(|(_, event)| matches!(event, Event::Forked { .. })),
            "seed {seed}"
        );
    }
}

/// A receipt is a signature under an incarnation, too: the store must know it by then.
#[test]
fn a_member_that_only_gave_receipts_goes_on_under_its_incarnation_after_a_restart() {
    let mut it = Assessment::under_way(3);
    let bar = it.federation.node_of(&it.federation.cast.claimant_lawyer);
    let node = it.federation.cast.bar.subject;
    let lives = |it: &Assessment, at: usize| {
        let replica = it.federation.node(at).dossier(&it.dossier.unwrap()).unwrap();
        let head = replica.heads()[&node].head().incarnation;
        let chains = replica
            .chains()
            .iter()
            .filter(|(branch, _)| branch.chain.node == node);
        (
            head,
            chains
                .map(|(branch, _)| branch.chain.incarnation)
                .collect::<Vec<_>>(),
        )
    };
    let (before, chains) = lives(&it, 0);
    assert!(chains.is_empty());
    for _ in 0..3 {
        it.federation.crash(bar);
        it.federation.connect_all();
        it.federation
            .run_until(it.federation.now + Span::from_seconds(20));
        it.act(|f| &f.cast.claimant_lawyer, dire(it.salt.into())).unwrap();
        it.federation.settle(2000);
    }
    assert_eq!(lives(&it, 0), (before, vec![before]));
    assert!(it.converged());
}

#[test]
fn the_receipts_of_a_store_that_was_set_back_count() {
    let mut it = Assessment::under_way(5);
    let bar = it.federation.node_of(&it.federation.cast.claimant_lawyer);
    let node = it.federation.cast.bar.subject;
    let copy = it.federation.backup(bar);
    for _ in 0..20 {
        it.act(|f| &f.cast.clerk, paid(1)).unwrap();
        it.federation.settle(2000);
    }
    copy(&mut it.federation);
    it.federation.connect_all();
    it.federation
        .run_until(it.federation.now + Span::from_seconds(20));
    let last = it.act(|f| &f.cast.clerk, paid(1)).unwrap();
    it.federation
        .run_until(it.federation.now + Span::from_seconds(20));
    let court = it.federation.node(0);
    let holders = court
        .dossier(&it.dossier.unwrap())
        .unwrap()
        .holders(&last, court.node());
    assert!(holders.contains(&node), "{holders:?}");
}

#[test]
fn a_restored_backup_opens_a_new_incarnation_and_never_forks() {
    let mut it = Assessment::under_way(4);
    it.act(|f| &f.cast.expert, exhibit(1)).unwrap();
    it.federation.settle(2000);
    let restore = it.federation.backup(2);
    let lost = it.act(|f| &f.cast.expert, exhibit(2)).unwrap();
    it.federation.settle(2000);
    restore(&mut it.federation);
    // It must write before any member has told it where its chain stands.
    let after = it.act(|f| &f.cast.expert, exhibit(3)).unwrap();
    it.federation.connect(0, 2);
    it.federation.connect(1, 2);
    it.federation.settle(5000);
    assert!(it.converged());
    for node in 0..3 {
        let replica = it.federation.node(node).dossier(&it.dossier.unwrap()).unwrap();
        assert!(replica.position(&lost).is_some() && replica.position(&after).is_some());
        let company = it.federation.cast.company.subject;
        assert_eq!(
            replica
                .chains()
                .iter()
                .filter(|(branch, _)| branch.chain.node == company)
                .count(),
            2
        );
    }
    assert!(
        !it.federation
            .events
            .iter()
            .any(|(_, event)| matches!(event, Event::Forked { .. }))
    );
    assert!(
        it.federation
            .events
            .iter()
            .any(|(_, event)| matches!(event, Event::RolledBack { .. }))
    );
}

#[test]
fn a_node_that_lost_its_store_gets_everything_back_the_founder_too() {
    for lost in 0..3 {
        let mut it = Assessment::new(13);
        let empty = it.federation.backup(lost);
        it.carry_until_under_way();
        it.act(|f| &f.cast.clerk, exhibit(1)).unwrap();
        it.federation.settle(2000);
        let dossier = it.dossier.unwrap();
        let entries = it.federation.node(0).dossier(&dossier).unwrap().entries();
        empty(&mut it.federation);
        assert!(it.federation.node(lost).dossier(&dossier).is_none());
        it.federation.events.clear();
        it.federation.connect_all();
        while it.federation.node(lost).dossier(&dossier).is_none() {
            it.federation.step();
        }
        // The bar's node has recorded nothing yet.
        assert_eq!(
            it.federation.node(lost).lacks_own(&dossier),
            lost != 1,
            "node {lost}"
        );
        it.federation.settle(5000);
        assert!(!it.federation.node(lost).lacks_own(&dossier), "node {lost}");
        let back = it.federation.node(lost).dossier(&dossier).unwrap();
        assert_eq!((back.entries(), back.pending()), (entries, 0), "node {lost}");
        // It knows again who holds what.
        let node = it.federation.node(lost).node();
        for (_, _, record) in back.records() {
            assert_eq!(back.holders(&record.message, node).len(), 2, "node {lost}");
        }
        assert!(it.converged(), "node {lost}");
        let actors: [fn(&Federation) -> &Actor; 3] =
            [|f| &f.cast.clerk, |f| &f.cast.claimant_lawyer, |f| &f.cast.expert];
        it.act(actors[lost], exhibit(2)).unwrap();
        it.federation.settle(2000);
        assert!(it.converged(), "node {lost}");
        let wrong = |event: &Event| matches!(event, Event::Forked { .. } | Event::Disagreed { .. });
        let events = &it.federation.events;
        assert!(
            !events.iter().any(|(_, event)| wrong(event)),
            "node {lost}: {events:?}"
        );
    }
}

#[test]
fn a_founder_that_lost_its_store_gets_everything_from_a_later_member_alone() {
    let mut it = Assessment::new(14);
    let empty = it.federation.backup(0);
    it.carry_until_under_way();
    it.act(|f| &f.cast.claimant_lawyer, exhibit(1)).unwrap();
    it.federation.settle(2000);
    empty(&mut it.federation);
    it.federation.connect(0, 1);
    it.federation.settle(5000);
    assert!(it.converged());
}

#[test]
fn exhibits_before_the_provision_are_refused_and_leave_no_trace() {
    let mut it = Assessment::new(5);
    it.found();
    it.federation.settle(2000);
    it.act(|f| &f.cast.expert, accept()).unwrap();
    let error = it.act(|f| &f.cast.expert, exhibit(1)).unwrap_err();
    assert_eq!(error.code(), Code::ProvisionUnpaid);
    it.federation.settle(2000);
    let entries = it
        .federation
        .node(2)
        .dossier(&it.dossier.unwrap())
        .unwrap()
        .entries();
    assert_eq!(entries, 2);
}
