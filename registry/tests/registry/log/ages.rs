//! Heartbeats, and what the silence of witnesses is worth. LOG-15, LOG-16.

use basoche_protocol::id::SubjectId;
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::tree::Tree;
use basoche_registry::log::{
    Age, Effect, FRESH, Gossip, HEARTBEAT, Merged, Policy, STALE, Watch, Witness, seen_at,
};

use super::kit::{Holder, ORIGIN, checkpoint, note, second, tree};

/// A node that has heard of the log, as a witness or not.
fn node(own: Option<&Holder>, held: &Tree) -> Gossip {
    let cosigners = [1, 2].map(|seed| Holder::witness(seed).key).to_vec();
    let mut watch = Watch::new(vec![Holder::log(ORIGIN).key], cosigners);
    if let Some(own) = own {
        watch = watch.with_witness(own.key.clone(), Witness::new());
    }
    let mut gossip = Gossip::new(watch);
    let head = note(held).encode();
    gossip.handle_note(None, head.as_bytes(), |_| Some(held)).unwrap();
    gossip
}

/// Does what is to be done, at `at`; what was said on, and whether it was to be told at once or in its turn.
fn act(gossip: &mut Gossip, own: &Holder, at: Instant) -> Vec<(&'static str, Vec<u8>)> {
    let mut said = Vec::new();
    while let Some(effect) = gossip.poll_effect() {
        let latest = gossip
            .watch()
            .latest(ORIGIN)
            .unwrap()
            .note()
            .encode()
            .into_bytes();
        match effect {
            Effect::Spread { .. } => said.push(("spread", latest)),
            Effect::Repeat { .. } => said.push(("repeat", latest)),
            Effect::Cosign(proposal) => {
                let signature = own.secret.sign(&own.key.message(proposal.text(), at));
                gossip.handle_cosigned(&proposal, &signature, at);
            }
            other => panic!("{other:?}"),
        }
    }
    said
}

fn words(said: &[(&'static str, Vec<u8>)]) -> Vec<&'static str> {
    said.iter().map(|(word, _)| *word).collect()
}

#[test]
fn a_witness_says_again_what_it_sees_and_a_node_what_it_hears_once_a_heartbeat() {
    let (own, held) = (Holder::witness(1), tree(8, 9));
    let (mut witness, mut other) = (node(Some(&own), &held), node(None, &held));
    let beat = |gossip: &mut Gossip, at| gossip.handle_timeout(at, |_| Some(&held));
    let after = |n: u64| second(n) + HEARTBEAT;
    // The checkpoint, then the cosignature.
    let said = act(&mut witness, &own, second(1));
    assert_eq!(words(&said), ["spread", "spread"]);
    let first = said[1].1.clone();
    beat(&mut witness, second(2));
    assert_eq!(
        words(&act(&mut witness, &own, second(2))),
        [""; 0],
        "seen a second ago"
    );
    beat(&mut witness, after(1));
    assert_eq!(
        words(&act(&mut witness, &own, after(1))),
        [""; 0],
        "not this one's turn yet"
    );
    beat(&mut witness, after(2));
    let said = act(&mut witness, &own, after(2));
    assert_eq!(words(&said), ["spread"]);
    let again = said[0].1.clone();

    // Whoever hears it keeps the later time; it goes on in its turn, and once.
    act(&mut other, &own, second(1));
    beat(&mut other, second(1));
    let peer = Some(SubjectId::new([7; 16]));
    let hear = |gossip: &mut Gossip, note: &[u8]| {
        gossip.handle_note(peer, note, |_| Some(&held)).unwrap();
    };
    hear(&mut other, &first);
    assert_eq!(words(&act(&mut other, &own, second(2))), ["spread"]);
    for _ in 0..3 {
        hear(&mut other, &again);
        assert_eq!(words(&act(&mut other, &own, after(2))), [""; 0]);
    }
    let at = |gossip: &Gossip| {
        let latest = gossip.watch().latest(ORIGIN).unwrap();
        latest.seen_by([&own.key]).unwrap()[0].at
    };
    assert_eq!(at(&other), after(2));
    beat(&mut other, after(2));
    assert_eq!(words(&act(&mut other, &own, after(2))), ["repeat"]);
    beat(&mut other, after(2) + HEARTBEAT);
    assert_eq!(words(&act(&mut other, &own, after(2))), [""; 0]);
    // An older copy takes nothing back.
    hear(&mut other, &first);
    assert_eq!(at(&other), after(2));
    // A clock that was set back by a year does not stop it.
    beat(&mut witness, second(0) - Span::from_seconds(365 * 86_400));
    beat(&mut witness, after(3) + HEARTBEAT);
    assert_eq!(words(&act(&mut witness, &own, after(3) + HEARTBEAT)), ["spread"]);
}

#[test]
fn a_later_time_takes_the_place_of_an_earlier_one_if_it_verifies() {
    let own = Holder::witness(1);
    let keys = [own.key.clone()];
    let mut held = checkpoint(&tree(4, 9));
    let copy = |at| {
        let mut copy = note(&tree(4, 9));
        own.sign(&mut copy, second(at));
        copy
    };
    assert_eq!(held.merge(&copy(5), &keys), Merged::Witnesses);
    assert_eq!(held.merge(&copy(4), &keys), Merged::Nothing);
    let mut forged = note(&tree(4, 9));
    forged.add(own.key.line(&[7; 64], second(9))).unwrap();
    assert_eq!(held.merge(&forged, &keys), Merged::Nothing);
    assert_eq!(held.seen_by(&keys).unwrap()[0].at, second(5));
    assert_eq!(held.merge(&copy(6), &keys), Merged::LaterTimes);
    assert_eq!(held.seen_by(&keys).unwrap()[0].at, second(6));
}

#[test]
fn a_head_is_as_old_as_what_enough_witnesses_say() {
    let holders = [1, 2, 3].map(Holder::witness);
    let lines: Vec<_> = holders
        .iter()
        .map(|holder| format!("witness {} {}\n", holder.key.name(), holder.key))
        .collect();
    let names: Vec<_> = holders
        .iter()
        .map(|holder| holder.key.name().to_owned())
        .collect();
    let text = format!("{}group two 2 {}\nquorum two\n", lines.concat(), names.join(" "));
    let policy = Policy::parse(text.as_bytes()).unwrap();
    let keys = holders.each_ref().map(|holder| holder.key.clone());
    let now = second(10_000);
    let says = |times: [Option<u64>; 3]| {
        let mut head = note(&tree(4, 9));
        for (holder, at) in holders.iter().zip(times) {
            if let Some(at) = at {
                holder.sign(&mut head, second(at));
            }
        }
        let mut held = checkpoint(&tree(4, 9));
        held.merge(&head, &keys);
        seen_at(&policy, &held.seen_by(&keys).unwrap(), now)
    };
    assert_eq!(says([None, None, None]), None);
    assert_eq!(says([Some(9000), None, None]), None);
    assert_eq!(says([Some(9000), Some(8000), None]), Some(second(8000)));
    assert_eq!(says([Some(9000), Some(8000), Some(8500)]), Some(second(8500)));
    // Two of three, one of whom is a year ahead: not believed. Within two minutes it is.
    assert_eq!(says([Some(40_000_000), Some(8000), None]), None);
    assert_eq!(
        says([Some(40_000_000), Some(8000), Some(7000)]),
        Some(second(7000))
    );
    assert_eq!(says([Some(10_120), Some(8000), None]), Some(second(8000)));
    assert_eq!(says([Some(10_121), Some(8000), None]), None);
}

#[test]
fn the_verdict_changes_after_a_quarter_of_an_hour_and_after_a_day() {
    let age = |after: Span| Age::of(second(0), second(0) + after);
    let second = Span::from_ms(1);
    let before = |span: Span| Span::from_ms(span.ms() - second.ms());
    assert_eq!(age(Span::from_ms(0)), Age::Fresh);
    assert_eq!((age(before(FRESH)), age(FRESH)), (Age::Fresh, Age::Ageing));
    assert_eq!((age(before(STALE)), age(STALE)), (Age::Ageing, Age::Stale));
    assert_eq!((FRESH.ms(), STALE.ms()), (900_000, 86_400_000));
    assert_eq!(
        [Age::Fresh, Age::Ageing, Age::Stale].map(Age::name),
        ["fresh", "ageing", "stale"]
    );
    // A clock that was set back.
    assert_eq!(Age::of(super::kit::second(9), super::kit::second(8)), Age::Fresh);
}
