//! Entries that heads prove and that do not come, and a node that lives twice. SPEC §6.24, §8.6.
#![allow(clippy::unwrap_used)]

mod stage;

use basoche_protocol::engine::{Event, GAP_AFTER};
use basoche_protocol::envelope::Envelope;
use basoche_protocol::fixture::Federation;
use basoche_protocol::id::Incarnation;
use basoche_protocol::journal::ChainId;
use basoche_protocol::message::Gap;
use basoche_protocol::time::Span;
use basoche_protocol::tree::Tree;
use stage::*;

/// Seconds after which whatever is a gap has been told of.
const LONG: u64 = 2 * GAP_AFTER.ms() / 1000;

fn pass(federation: &mut Federation, seconds: u64) {
    federation.run_until(federation.now + Span::from_seconds(seconds));
}

/// The gaps that nodes were told of: at which node, whether it was signed already.
fn told(federation: &Federation) -> Vec<(usize, Gap, bool)> {
    let gap = |(node, event): &(usize, Event)| match event {
        Event::Gap { gap, signed, .. } => Some((*node, gap.clone(), *signed)),
        _ => None,
    };
    federation.events.iter().filter_map(gap).collect()
}

#[test]
fn what_a_node_withholds_is_a_gap_that_the_others_sign_within_the_time() {
    let (mut federation, cast, dossier) = under_way(3, 1);
    federation.withheld.extend([(1, 0), (1, 2)]);
    let said = cast
        .claimant_lawyer
        .say(Some(dossier), dire(1), 50, federation.now);
    federation.deposit(1, &said).unwrap();
    // Nothing before the time is up: it may be under way.
    pass(&mut federation, GAP_AFTER.ms() / 1000 - 6);
    assert_eq!(told(&federation), []);
    pass(&mut federation, 20);
    let bar = cast.bar.subject;
    let gaps: Vec<_> = {
        let state = federation.node(0).dossier(&dossier).unwrap().state();
        let gaps = state.gaps();
        gaps.map(|(node, chain, named, fact)| (node, chain.node, named, fact.held, fact.named_by))
            .collect()
    };
    assert_eq!(gaps.len(), 2, "{gaps:?}");
    for node in [cast.court.subject, cast.company.subject] {
        assert!(gaps.contains(&(node, bar, 1, 0, bar)), "{gaps:?}");
    }
    // One open gap for a chain, whatever else is withheld and however long.
    for salt in 51..54 {
        let said = cast.party.say(Some(dossier), dire(2), salt, federation.now);
        federation.deposit(1, &said).unwrap();
        pass(&mut federation, LONG);
    }
    let count = |federation: &Federation| {
        let state = federation.node(2).dossier(&dossier).unwrap().state();
        state.gaps().count()
    };
    assert_eq!(count(&federation), 2);
    assert!(told(&federation).iter().filter(|(.., signed)| !signed).count() == 2);
    // When the entries come the gap is closed: the frontier says it, and nothing more is signed.
    federation.withheld.clear();
    pass(&mut federation, 30);
    let hashes: Vec<_> = (0..3)
        .map(|node| federation.node(node).dossier(&dossier).unwrap().state().hash())
        .collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]));
    let replica = federation.node(0).dossier(&dossier).unwrap();
    let bars = replica
        .frontier()
        .into_iter()
        .find(|row| row.chain.node == bar)
        .unwrap();
    assert!(bars.size >= 4);
    pass(&mut federation, LONG);
    assert_eq!(count(&federation), 2);
    // Another one later is a gap of its own.
    federation.withheld.extend([(1, 0), (1, 2)]);
    let said = cast.party.say(Some(dossier), dire(3), 60, federation.now);
    federation.deposit(1, &said).unwrap();
    pass(&mut federation, LONG);
    assert_eq!(
        federation
            .node(0)
            .dossier(&dossier)
            .unwrap()
            .state()
            .gaps()
            .count(),
        4
    );
}

#[test]
fn entries_in_flight_clocks_that_jump_and_nodes_that_are_away_make_no_gap() {
    let (mut federation, cast, dossier) = under_way(3, 2);
    // Slow entries, every few seconds, for minutes.
    for salt in 50..100 {
        let said = cast.party.say(Some(dossier), dire(1), salt, federation.now);
        federation.deposit(1, &said).unwrap();
        pass(&mut federation, 7);
    }
    (0..3).for_each(|node| federation.skew(node, 400_000));
    pass(&mut federation, 30);
    (0..3).for_each(|node| federation.skew(node, 0));
    pass(&mut federation, 30);
    federation.cut(1, 0);
    federation.cut(1, 2);
    let said = cast.party.say(Some(dossier), dire(1), 120, federation.now);
    federation.deposit(1, &said).unwrap();
    pass(&mut federation, LONG);
    federation.connect_all();
    pass(&mut federation, 30);
    assert_eq!(told(&federation), []);
}

#[test]
fn a_liar_fills_no_more_than_its_own_share() {
    let mut it = Stage::at(Situation::InProgress);
    let mut peer = Peer::new(&it);
    let bar = it.cast.bar.subject;
    let mut head = peer.next_head(&it);
    for number in 0..100_u8 {
        let chain = ChainId {
            node: bar,
            incarnation: Incarnation::new([100 + number; 16]),
        };
        let mut row = it.replica().frontier()[0];
        (row.chain, row.size) = (chain, 1000);
        head.rows.push(row);
    }
    head.rows.sort_by_key(|row| (row.chain, row.leaf));
    let frame = basoche_protocol::wire::frame::Frame::Head(peer.sign(&head).into());
    assert_eq!(it.frame(&frame.encode()), None);
    for _ in 0..LONG / 5 {
        it.now = it.now + Span::from_seconds(5);
        it.engine.handle_timeout(it.now);
        it.work();
    }
    let gaps = it
        .events
        .iter()
        .filter(|event| matches!(event, Event::Gap { .. }));
    assert_eq!(gaps.count(), 8);
}

#[test]
fn a_node_that_signs_under_two_incarnations_raises_an_alarm_and_one_that_was_restored_does_not() {
    let twice = |alternate: bool| {
        let mut it = Stage::at(Situation::InProgress);
        let mut first = Peer::new(&it);
        let say = |it: &mut Stage, peer: &mut Peer| {
            it.now = it.now + Span::from_seconds(1);
            let good = it.good();
            let id = Envelope::decode(&good).unwrap().id();
            assert_eq!(peer.send(it, id, &good), None);
        };
        say(&mut it, &mut first);
        // Its store is restored elsewhere: a new incarnation begins.
        let mut second = Peer::new(&it);
        second.chain.incarnation = Incarnation::new([3; 16]);
        second.tree = Tree::new();
        say(&mut it, &mut second);
        say(&mut it, &mut second);
        if alternate {
            // And the first process is still there.
            say(&mut it, &mut first);
            say(&mut it, &mut second);
            say(&mut it, &mut first);
        }
        let twice = it
            .events
            .iter()
            .filter(|event| matches!(event, Event::LivesTwice { .. }));
        twice.count()
    };
    assert_eq!((twice(false), twice(true)), (0, 1));
}

#[test]
fn a_dossier_in_which_something_does_not_come_is_not_put_to_rest() {
    let (mut federation, cast, dossier) = under_way(3, 7);
    federation.withheld.extend([(1, 0), (1, 2)]);
    let said = cast
        .claimant_lawyer
        .say(Some(dossier), dire(1), 50, federation.now);
    federation.deposit(1, &said).unwrap();
    for comes in [false, true] {
        if comes {
            federation.withheld.clear();
        }
        pass(&mut federation, LONG);
        federation.crash(0);
        assert_eq!(federation.node(0).dormant().count() == 1, comes);
        federation.wake(0, Some(dossier));
        federation.connect_all();
    }
}
