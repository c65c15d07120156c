//! Dossiers at rest, on a virtual clock: what a summary stands for, what wakes them, what equal replicas say. SPEC §8.2, §10.3.
#![allow(clippy::unwrap_used)]

use basoche_protocol::amount::EuroCents;
use basoche_protocol::engine::{Basis, Engine, Summary};
use basoche_protocol::fixture::Federation;
use basoche_protocol::id::{DossierId, Incarnation, SubjectId};
use basoche_protocol::message::{Acceptance, Body, ProvisionPaid};
use basoche_protocol::time::{Instant, Span};

/// A dossier of the court's and the company's nodes (0 and 2), with so many payments, at rest.
fn at_rest(payments: u64) -> (Federation, DossierId) {
    let mut federation = Federation::new(1);
    let order = Body::Designation(federation.cast.designation(federation.now));
    let order = federation.cast.judge.say(None, order, 0, federation.now);
    let dossier = DossierId::from(federation.deposit(0, &order).unwrap());
    federation.settle(5000);
    let (ext, independent) = (None, true);
    let body = Body::Acceptance(Acceptance { ext, independent });
    let accept = federation.cast.expert.say(Some(dossier), body, 1, federation.now);
    federation.deposit(2, &accept).unwrap();
    federation.settle(5000);
    (0..payments).for_each(|number| pay(&mut federation, dossier, number));
    rest(&mut federation);
    (federation, dossier)
}

fn pay(federation: &mut Federation, dossier: DossierId, number: u64) {
    let paid = ProvisionPaid {
        ext: None,
        amount: EuroCents::new(100 + number).unwrap(),
        paid_at: federation.now,
        payer: None,
    };
    let clerk = &federation.cast.clerk;
    let envelope = clerk.say(Some(dossier), Body::ProvisionPaid(paid), 7, federation.now);
    federation.submit(0, &envelope).unwrap();
}

fn rest(federation: &mut Federation) {
    federation.run_until(federation.now + Span::from_seconds(11));
}

fn restart(federation: &mut Federation, node: usize) {
    federation.crash(node);
    assert!(federation.node(node).dormant().count() > 0);
    federation.connect_all();
    federation.run_until(federation.now + Span::from_seconds(1));
}

#[test]
fn a_dossier_at_rest_stays_out_of_memory_and_its_summary_says_what_the_journal_does() {
    let (mut federation, dossier) = at_rest(5);
    let held = federation.node(0).dossier(&dossier).unwrap();
    let before = (
        held.frontier(),
        held.state().hash(),
        held.state().phase(),
        held.entries() as u64,
    );
    restart(&mut federation, 0);
    assert!(federation.node(0).dossier(&dossier).is_none(), "it was read back");
    let summary = federation.node(0).dormant().next().unwrap();
    let after = (
        summary.frontier().to_vec(),
        summary.state_hash(),
        summary.phase(),
        summary.entries(),
    );
    assert_eq!(after, before);
}

#[test]
fn what_is_confirmed_while_it_sleeps_counts_once_it_is_awake_and_opens_no_new_incarnation() {
    let (mut federation, dossier) = at_rest(5);
    let chains = federation.node(0).frontier(&dossier).unwrap().len();
    restart(&mut federation, 0);
    assert!(federation.node(0).is_dormant(&dossier));
    pay(&mut federation, dossier, 50);
    federation.settle(5000);
    let rows = federation.node(0).frontier(&dossier).unwrap();
    assert_eq!(rows.len(), chains, "it opened a new incarnation");
    assert_eq!(federation.node(2).frontier(&dossier).unwrap(), rows);
}

#[test]
fn what_a_peer_has_that_the_summary_does_not_know_wakes_the_dossier_and_comes() {
    let (mut federation, dossier) = at_rest(5);
    federation.cut(0, 2);
    pay(&mut federation, dossier, 60);
    federation.settle(5000);
    restart(&mut federation, 2);
    let rows = federation.node(0).frontier(&dossier).unwrap();
    let other = federation.node(2).dossier(&dossier).unwrap();
    assert_eq!(other.frontier(), rows);
}

#[test]
fn a_summary_of_another_basis_format_or_registry_is_not_used() {
    let (mut federation, dossier) = at_rest(3);
    restart(&mut federation, 0);
    let summary = federation.node(0).dormant().next().unwrap().clone();
    let bytes = summary.encode();
    assert_eq!(Summary::decode(&bytes).unwrap(), summary);
    // The format is the first field: {0: 1, ...}.
    assert_eq!(bytes[1..3], [0, 1]);
    let mut other = bytes.clone();
    other[2] = 2;
    assert!(Summary::decode(&other).is_err());
    assert!(Summary::decode(&bytes[..bytes.len() - 1]).is_err());
    let dormant = |basis: &Basis, registry| {
        let node = federation.node(0).node();
        let mut engine = Engine::new(node, Incarnation::new([9; 16]), "test", registry);
        let stays = engine.restore_dormant(dossier, basis, Some(summary.clone()));
        assert_eq!(engine.poll_wake(), (!stays).then_some(dossier));
        // What a summary does not say, a node that is to go takes for what keeps it, whichever node it is.
        let stranger = SubjectId::new([7; 16]);
        assert_eq!(
            engine.dormant_that_keep(&stranger).next(),
            (!stays).then_some(dossier)
        );
        assert_eq!(engine.dormant_that_keep(&node).next(), Some(dossier));
        stays
    };
    let basis = summary.basis();
    assert!(dormant(basis, federation.registry.clone()));
    let more = |change: fn(&mut Basis)| {
        let mut basis = basis.clone();
        change(&mut basis);
        dormant(&basis, federation.registry.clone())
    };
    assert!(!more(|basis| basis.runs += 1));
    assert!(!more(|basis| basis.last = None));
    assert!(!more(|basis| basis.heads.truncate(1)));
    assert!(!more(|basis| basis.writer = None));
    assert!(!more(|basis| basis.keys.push(9)));
    let mut revoked = federation.registry.clone();
    revoked.revoke(&federation.cast.clerk, Instant::default());
    assert!(!dormant(basis, revoked));
}

/// Equal replicas compare in one frame each way, whatever the length of the journal.
#[test]
fn equal_replicas_of_a_dossier_compare_in_two_kilobytes_and_one_round_trip() {
    let compared = |payments| {
        let (mut federation, dossier) = at_rest(payments);
        let rows = federation.node(0).frontier(&dossier).unwrap();
        assert_eq!(federation.node(2).frontier(&dossier).unwrap(), rows);
        federation.cut(0, 2);
        let before = federation.sent.len();
        federation.connect(0, 2);
        federation.run_until(federation.now + Span::from_seconds(2));
        let between = |(from, to, _): &&(usize, usize, usize)| from + to == 2 && from != to;
        let sent: Vec<_> = federation.sent[before..]
            .iter()
            .filter(between)
            .copied()
            .collect();
        // A hello and a frontier from each.
        assert_eq!(sent.len(), 4, "{sent:?}");
        sent.iter().map(|(.., bytes)| *bytes).max().unwrap()
    };
    let (few, many) = (compared(3), compared(600));
    assert!(many <= 2048 && many <= few + 32, "{few} {many}");
}
