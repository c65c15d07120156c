//! What a peer is sent once, and when again; and runs for which there is no room. SPEC §10.3, §10.4.
#![allow(clippy::unwrap_used)]

mod stage;

use basoche_protocol::envelope::Envelope;
use basoche_protocol::id::Digest;
use basoche_protocol::refusal::Code;
use basoche_protocol::time::Span;
use basoche_protocol::wire::frame::{Frame, Frontier, Refusal};
use stage::*;

/// Runs that wait at most, of one dossier. SYN-10.
const WAITING: usize = 32;

/// The company's node says that it holds nothing of the dossier: how many runs it is sent.
fn ask(it: &mut Stage) -> usize {
    let nothing = Frame::Frontier(Frontier {
        dossier: it.dossier,
        rows: vec![],
        wraps: vec![],
        head: None,
        lacking: vec![],
        yours: None,
    });
    assert_eq!(it.frame(&nothing.encode()), None);
    std::iter::from_fn(|| it.engine.poll_backlog()).count()
}

fn repairs(it: &mut Stage, number: u64) {
    for _ in 0..number {
        it.now = it.now + Span::from_seconds(5);
        it.engine.handle_timeout(it.now);
        it.work();
    }
}

#[test]
fn what_is_under_way_is_not_sent_again_until_it_may_be_lost() {
    let mut it = Stage::at(Situation::InProgress);
    repairs(&mut it, 1);
    let all = it.runs.len();
    assert!(all > 1);
    assert_eq!(ask(&mut it), all);
    // Written before those came, or after: there is no telling.
    assert_eq!(ask(&mut it), 0);
    // What is new since then goes with the next frontier, and nothing else.
    it.act(|cast| &cast.clerk, paid(1));
    assert_eq!(ask(&mut it), 1);
    repairs(&mut it, 11);
    assert_eq!(ask(&mut it), 0);
    // A frontier that brings nothing puts nothing off.
    repairs(&mut it, 1);
    assert_eq!(ask(&mut it), all + 1);
}

#[test]
fn who_turns_something_away_is_sent_again_what_was_under_way() {
    let mut it = Stage::at(Situation::InProgress);
    let all = it.runs.len();
    assert_eq!((ask(&mut it), ask(&mut it)), (all, 0));
    let refusal = Frame::Refusal(Refusal {
        code: u64::from(Code::UnknownSigner.number()),
        about: Digest::of(&[b"a run"]),
        retry_after: None,
        dossier: None,
    });
    it.frame(&refusal.encode());
    assert_eq!((ask(&mut it), ask(&mut it)), (all, 0));
    // A new connection knows nothing of what the one before carried.
    let company = it.cast.company.subject;
    it.engine.handle_closed(company);
    it.engine.handle_connected(company, it.now);
    it.hello(company);
    it.work();
    assert_eq!(ask(&mut it), all);
}

#[test]
fn a_run_for_which_there_is_no_room_is_refused_and_keeps_no_other() {
    let mut it = Stage::at(Situation::InProgress);
    let mut peer = Peer::new(&it);
    let runs: Vec<_> = (0..WAITING + 2)
        .map(|_| {
            let envelope = it.good();
            let id = Envelope::decode(&envelope).unwrap().id();
            let item = peer.record_raw(&it, id, &envelope);
            let head = peer.next_head(&it);
            peer.run(&it, &[item], peer.sign(&head))
        })
        .collect();
    let before = it.replica().entries();
    let (first, early) = runs.split_first().unwrap();
    let (last, kept) = early.split_last().unwrap();
    for run in kept {
        assert_eq!(it.frame(run), None);
    }
    assert_eq!(it.frame(last), Some(Code::Busy));
    let Some((_, Frame::Refusal(refusal))) = it.frames.last() else {
        panic!("it is told nothing");
    };
    // So it sends no run of that dossier for a second, and then comes again. SYN-19.
    assert_eq!(
        (refusal.retry_after, refusal.dossier),
        (Some(1000), Some(it.dossier))
    );
    assert_eq!(refusal.about, Digest::of(&[last]));
    assert_eq!(it.replica().entries(), before);
    assert_eq!(it.frame(first), None);
    assert_eq!(it.replica().entries(), before + WAITING + 1);
    assert_eq!(it.frame(last), None);
    assert_eq!(it.replica().entries(), before + WAITING + 2);
}
