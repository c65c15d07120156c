//! A node that writes two histories of one chain: both are kept, it is proved, and the dossier goes on. SPEC §8.6.
#![allow(clippy::unwrap_used)]

mod stage;

use basoche_protocol::dossier::{Received, Replica, RunItem};
use basoche_protocol::engine::Event;
use basoche_protocol::envelope::{Envelope, Typ};
use basoche_protocol::id::{Incarnation, MessageId};
use basoche_protocol::journal::{Branch, Citation, Entry, Need, SignedHead, Standing, Verdict};
use basoche_protocol::message::{Body, ForkSettled, Participant, RosterChange};
use basoche_protocol::refusal::Code;
use basoche_protocol::role::Role;
use basoche_protocol::time::Span;
use basoche_protocol::wire::frame::Frame;
use basoche_protocol::wire::limits;
use serde_bytes::ByteBuf;
use stage::*;

fn id_of(envelope: &[u8]) -> MessageId {
    Envelope::decode(envelope).unwrap().id()
}

/// The company's node, which has recorded two dires that everybody has, and a twin of it.
fn twins(it: &mut Stage) -> (Peer, Peer) {
    let mut one = Peer::new(it);
    for number in 10..12 {
        let common = observes(it, number);
        assert_eq!(one.send(it, id_of(&common), &common), None);
    }
    (one.clone(), one)
}

/// A dire of the defendant's lawyer.
fn observes(it: &Stage, number: u64) -> Vec<u8> {
    let lawyer = &it.cast.defendant_lawyer;
    lawyer.say(Some(it.dossier), dire(number), number as u8, it.now)
}

/// The expert lets a further person join.
fn joins(it: &Stage, name: &str) -> Vec<u8> {
    let newcomer = outsider(name, Role::Party);
    let change = RosterChange {
        ext: None,
        add: vec![Participant {
            subject: newcomer.subject,
            role: Role::Party,
            node: it.cast.bar.subject,
            represents: None,
        }],
        remove: vec![],
    };
    let change = Body::RosterChange(change);
    it.cast.expert.say(Some(it.dossier), change, 99, it.now)
}

/// What a peer recorded from position `from` on, under one head.
fn run_from(it: &Stage, peer: &mut Peer, from: usize) -> Vec<u8> {
    let head = peer.next_head(it);
    let signed = peer.sign(&head);
    let items = peer.items[from..].to_vec();
    peer.run(it, &items, signed)
}

fn verdicts(replica: &Replica) -> Vec<(MessageId, Verdict)> {
    let records = replica.records();
    let mut verdicts: Vec<_> = records
        .map(|(_, _, record)| (record.message, record.verdict))
        .collect();
    verdicts.sort_by_key(|(message, _)| *message);
    verdicts
}

fn verdict(replica: &Replica, message: &[u8]) -> Verdict {
    let (branch, seq) = replica.position(&id_of(message)).unwrap();
    replica.chains().record(&branch, seq).unwrap().verdict
}

fn alarms(it: &Stage) -> usize {
    it.events
        .iter()
        .filter(|event| matches!(event, Event::Forked { .. }))
        .count()
}

/// The court's word on a forked chain.
fn settle(keep: Citation) -> Body {
    Body::ForkSettled(ForkSettled {
        ext: None,
        keep,
        reason: "Le nœud a été restauré deux fois.".into(),
    })
}

/// The last entry of a peer, as others cite it.
fn last_of(peer: &Peer) -> Citation {
    let row = peer.row();
    Citation {
        chain: row.chain,
        seq: row.size - 1,
        leaf: row.leaf,
    }
}

/// Two histories that part after two entries, each with a dire and a change of the roster of its own.
struct Fork {
    it: Stage,
    one: Peer,
    other: Peer,
    /// The same node, before it recorded anything.
    blank: Peer,
    dires: [Vec<u8>; 2],
    acts: [Vec<u8>; 2],
}

fn forked() -> Fork {
    let mut it = Stage::at(Situation::InProgress);
    let blank = Peer::new(&it);
    let (mut one, mut other) = twins(&mut it);
    let dires = [observes(&it, 20), observes(&it, 21)];
    let acts = [joins(&it, "first"), joins(&it, "second")];
    for (peer, index) in [(&mut one, 0), (&mut other, 1)] {
        peer.record_raw(&it, id_of(&dires[index]), &dires[index]);
        peer.record_raw(&it, id_of(&acts[index]), &acts[index]);
    }
    let run = run_from(&it, &mut one, 2);
    assert_eq!(it.frame(&run), None);
    assert_eq!(verdict(it.replica(), &acts[0]), Verdict::Effective);
    assert_eq!(alarms(&it), 0);
    // Whoever sends the other history sends it from the beginning: the receiver skips what it has.
    let run = run_from(&it, &mut other, 0);
    assert_eq!(it.frame(&run), None);
    Fork {
        it,
        one,
        other,
        blank,
        dires,
        acts,
    }
}

#[test]
fn both_histories_are_kept_what_was_brought_keeps_its_effect_and_acts_wait() {
    let Fork {
        it,
        one,
        other,
        dires,
        acts,
        ..
    } = forked();
    let (replica, chain) = (it.replica(), one.chain);
    assert_eq!(alarms(&it), 1);
    assert_eq!(replica.chains().fork(&chain), Some(2));
    for peer in [&one, &other] {
        assert!(matches!(
            replica.chains().standing(&peer.row()),
            Standing::Held(_)
        ));
        assert!(replica.frontier().contains(&peer.row()));
    }
    for dire in &dires {
        assert_eq!(verdict(replica, dire), Verdict::Effective);
    }
    for act in &acts {
        assert_eq!(verdict(replica, act), Verdict::Pending(Need::Settlement(chain)));
    }
    // Its own head says so, and a citation names a history by its leaf.
    let own = &replica.heads()[&it.cast.court.subject];
    assert_eq!(own.head().rows_of(&chain).len(), 2);
    let proof = replica.chains().proof(&chain).unwrap();
    assert_eq!(proof.verify(&annuaire()).unwrap(), it.cast.company.subject);
    assert!(replica.chains().proof(&own.head().chain()).is_none());
}

#[test]
fn the_court_says_which_history_counts_and_each_order_of_arrival_gives_the_same() {
    for keep in [0, 1] {
        let Fork {
            mut it,
            one,
            other,
            acts,
            ..
        } = forked();
        let (chain, kept) = (one.chain, [&one, &other][keep]);
        let order = it.act(|cast| &cast.judge, settle(last_of(kept)));
        assert_eq!(verdict(it.replica(), &acts[keep]), Verdict::Effective);
        assert_eq!(
            verdict(it.replica(), &acts[1 - keep]),
            Verdict::WithoutEffect(Code::SetAside)
        );
        assert_eq!(it.replica().state().settled()[&chain], last_of(kept));
        // Once.
        it.now = it.now + Span::from_seconds(1);
        let again = it
            .cast
            .clerk
            .say(Some(it.dossier), settle(last_of(&one)), 7, it.now);
        let error = it.submit(&again, true).unwrap_err();
        assert_eq!(error.code(), Code::AlreadyDone);
        // What comes later in the history that counts is not what the court has seen.
        let mut late = kept.clone();
        let act = joins(&it, "third");
        assert_eq!(late.send(&mut it, id_of(&act), &act), None);
        assert_eq!(
            verdict(it.replica(), &act),
            Verdict::WithoutEffect(Code::SetAside)
        );

        // A replica that hears of the other history first, and one that hears of it last.
        let expected = verdicts(it.replica());
        let runs = |replica: &mut Replica, order: &[usize]| {
            for index in order {
                let (items, head) = &it.runs[*index];
                assert!(!matches!(
                    replica.receive(items, head, it.engine.registry()).unwrap(),
                    Received::Elsewhere | Received::Known
                ));
            }
        };
        let count = it.runs.len();
        let place = |message: MessageId| {
            let has = |(items, _): &(Vec<RunItem>, SignedHead)| {
                items.iter().any(|item| item.entry.message == message)
            };
            it.runs.iter().position(has).unwrap()
        };
        let (first, second) = (place(id_of(&acts[0])), place(id_of(&acts[1])));
        assert_eq!(place(order), second + 1);
        let mut turned: Vec<usize> = (0..count).collect();
        turned.swap(first, second);
        let mut replica = Replica::new(it.dossier);
        replica.add_key(0, it.key.clone(), it.engine.registry());
        runs(&mut replica, &turned);
        assert_eq!(verdicts(&replica), expected);
        assert_eq!(replica.state().hash(), it.replica().state().hash());
        assert_eq!(replica.frontier(), it.replica().frontier());
        // Numbers mean nothing outside of a replica.
        let numbers = |replica: &Replica| replica.position(&id_of(&acts[0])).unwrap().0.number;
        assert_eq!((numbers(it.replica()), numbers(&replica)), (0, 1));
    }
}

#[test]
fn an_order_that_stands_in_the_forked_history_itself_waits_like_any_act() {
    let Fork {
        mut it,
        mut one,
        other,
        acts,
        ..
    } = forked();
    // The judge's word, recorded by the forked node in one of its histories, would let that one count.
    let order = it
        .cast
        .judge
        .say(Some(it.dossier), settle(last_of(&one)), 50, it.now);
    assert_eq!(one.send(&mut it, id_of(&order), &order), None);
    let waits = Verdict::Pending(Need::Settlement(one.chain));
    assert_eq!(verdict(it.replica(), &order), waits);
    assert_eq!(verdict(it.replica(), &acts[0]), waits);
    // Recorded elsewhere, it counts; and the one that waited is set aside with its history.
    it.act(|cast| &cast.judge, settle(last_of(&other)));
    assert_eq!(verdict(it.replica(), &acts[1]), Verdict::Effective);
    assert_eq!(
        verdict(it.replica(), &order),
        Verdict::WithoutEffect(Code::SetAside)
    );
}

#[test]
fn later_entries_go_on_in_either_history_and_cite_them() {
    let Fork {
        mut it,
        mut one,
        mut other,
        ..
    } = forked();
    for (peer, number) in [(&mut one, 30), (&mut other, 31)] {
        let more = observes(&it, number);
        assert_eq!(peer.send(&mut it, id_of(&more), &more), None);
        assert_eq!(verdict(it.replica(), &more), Verdict::Effective);
    }
    let replica = it.replica();
    let sizes: Vec<_> = replica
        .chains()
        .of(&one.chain)
        .map(|(_, held)| (held.base(), held.size()))
        .collect();
    assert_eq!(sizes, [(0, 5), (2, 5)]);
    it.deposit(&it.cast.clerk.say(Some(it.dossier), paid(5), 60, it.now))
        .unwrap();
    let own = it.runs.last().unwrap().0.last().unwrap().entry.clone();
    let cited: Vec<_> = own.deps.iter().filter(|cited| cited.chain == one.chain).collect();
    assert_eq!(cited.len(), 2);
    assert!(cited[0].leaf < cited[1].leaf);
    assert_eq!(Entry::decode(&own.encode()).unwrap(), own);
}

#[test]
fn a_third_history_is_taken_only_once_another_member_stands_by_it() {
    let Fork {
        mut it,
        one,
        blank: mut third,
        ..
    } = forked();
    let before = it.picture();
    // Parts at once from both.
    let said = observes(&it, 40);
    assert_eq!(third.send(&mut it, id_of(&said), &said), Some(Code::ForkedChain));
    assert_eq!(it.picture(), before);
    // The bar's node says that it holds it.
    let bar = it.cast.bar.clone();
    let mut witness = third.next_head(&it);
    (witness.node, witness.incarnation) = (bar.subject, Incarnation::new([3; 16]));
    let signed = sign_head(&bar.key, Typ::Head, &witness);
    let frame = Frame::Head(ByteBuf::from(signed));
    assert_eq!(it.frame(&frame.encode()), None);
    let run = run_from(&it, &mut third, 0);
    assert_eq!(it.frame(&run), None);
    assert_eq!(verdict(it.replica(), &said), Verdict::Effective);
    assert_eq!(it.replica().chains().of(&one.chain).count(), 3);
    assert_eq!(it.replica().chains().fork(&one.chain), Some(0));
}

#[test]
fn there_is_room_for_so_many_histories_and_no_more() {
    let it = Stage::at(Situation::InProgress);
    let mut replica = Replica::new(it.dossier);
    replica.add_key(0, it.key.clone(), it.engine.registry());
    for (items, head) in &it.runs {
        replica.receive(items, head, it.engine.registry()).unwrap();
    }
    let mut chain = None;
    for number in 0..=limits::BRANCHES as u64 {
        let mut peer = Peer::new(&it);
        chain = Some(peer.chain);
        let said = observes(&it, number + 1);
        let item = peer.record_raw(&it, id_of(&said), &said);
        let head = peer.next_head(&it);
        let head = SignedHead::verify(&peer.sign(&head), it.engine.registry()).unwrap();
        let received = replica.receive(&[item], &head, it.engine.registry());
        let full = number == limits::BRANCHES as u64;
        match received {
            Ok(Received::Applied { branch, forked, .. }) if !full => {
                assert_eq!((branch.number, forked), (number as u32, number > 0));
            }
            Err(error) if full => assert_eq!(error.code(), Code::HeadMismatch),
            other => panic!("{number}: {other:?}"),
        }
    }
    let (first, last) = (Branch::first(chain.unwrap()), limits::BRANCHES as u32 - 1);
    assert!(
        replica
            .chains()
            .get(&Branch {
                number: last,
                ..first
            })
            .is_some()
    );
}
