//! Dossiers at rest, on a virtual clock: what a summary stands for, what wakes them, what equal replicas say. SPEC §8.2, §10.3.
#![allow(clippy::unwrap_used)]

use basoche_protocol::amount::EuroCents;
use basoche_protocol::engine::{Basis, Engine, Summary};
use basoche_protocol::envelope::{Envelope, Typ, Unsigned};
use basoche_protocol::fixture::{DELEGATION_SALT, Federation, litigant, party_enrolment};
use basoche_protocol::id::{Digest, DossierId, Incarnation, SubjectId};
use basoche_protocol::journal::{Head, SignedHead};
use basoche_protocol::message::{
    Acceptance, Body, KeyRevocation, Participant, ProvisionPaid, RosterChange, commitment,
};
use basoche_protocol::refusal::Code;
use basoche_protocol::role::Role;
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::wire::frame::{DossierDigest, Frame, Frontier, Hello};
use serde_bytes::ByteBuf;

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
    // The format is the first field: {0: 2, ...}.
    assert_eq!(bytes[1..3], [0, 2]);
    let mut other = bytes.clone();
    other[2] = 1;
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
    let mut unknown = federation.registry.clone();
    unknown.forget(&federation.cast.clerk);
    assert!(!dormant(basis, unknown));
}

/// What a party has signed rests on the delegation under which it was enrolled.
#[test]
fn a_summary_is_not_used_under_a_registry_that_says_another_of_a_delegation() {
    let (mut federation, dossier) = at_rest(0);
    let commitment = commitment(&DELEGATION_SALT, &dossier);
    let expert = federation.cast.expert.clone();
    let until = federation.now + Span::from_seconds(1000);
    let for_ever = (Instant::default(), until);
    federation.registry.delegate(&expert, commitment, 1, for_ever);
    for node in [0, 2] {
        restart(&mut federation, node);
    }
    let bar = federation.cast.bar.subject;
    let enrolment = party_enrolment(&dossier, "litigant", "litigant", bar);
    let enrol = expert.say(
        Some(dossier),
        Body::PartyEnrolment(enrolment.clone()),
        9,
        federation.now,
    );
    federation.deposit(2, &enrol).unwrap();
    let enrolled = Envelope::decode(&enrol).unwrap().id();
    let party = litigant(&enrolment, "litigant");
    let joining = Participant {
        subject: party.subject,
        role: Role::Party,
        node: bar,
        represents: None,
    };
    let change = Body::RosterChange(RosterChange {
        ext: None,
        add: vec![joining],
        remove: vec![],
    });
    let join = expert.say(Some(dossier), change, 9, federation.now);
    federation.submit(2, &join).unwrap();
    let revocation = Body::KeyRevocation(KeyRevocation {
        ext: None,
        enrolment: enrolled,
        invalid_since: None,
        reason: "clé perdue".into(),
    });
    let revoke = party.say(Some(dossier), revocation, 9, federation.now);
    federation.submit(2, &revoke).unwrap();
    rest(&mut federation);
    restart(&mut federation, 0);
    let summary = federation.node(0).dormant().next().unwrap().clone();
    let stays = |registry| {
        let node = federation.node(0).node();
        let mut engine = Engine::new(node, Incarnation::new([9; 16]), "test", registry);
        engine.restore_dormant(dossier, summary.basis(), Some(summary.clone()))
    };
    assert!(stays(federation.registry.clone()));
    let mut ended = federation.registry.clone();
    ended.delegate(&expert, commitment, 1, (Instant::default(), Instant::default()));
    assert!(!stays(ended));
}

fn inventories(frames: &[(usize, Frame)]) -> Vec<(usize, DossierDigest)> {
    let told = frames.iter().filter_map(|(from, frame)| match frame {
        Frame::Inventory(inventory) => Some(inventory.digests.iter().map(|one| (*from, *one))),
        _ => None,
    });
    told.flatten().collect()
}

/// What nodes 0 and 2 say to each other when they meet, hellos left out, and how many bytes.
fn overheard(federation: &mut Federation) -> (Vec<(usize, Frame)>, usize) {
    federation.cut(0, 2);
    federation.overheard = Some(Vec::new());
    federation.connect(0, 2);
    federation.run_until(federation.now + Span::from_seconds(1));
    let mut frames = federation.overheard.take().unwrap();
    frames.retain(|(from, to, bytes)| from + to == 2 && from != to && bytes[1] != 1);
    let bytes = frames.iter().map(|(.., bytes)| bytes.len()).sum();
    let frames = frames.into_iter();
    let frames = frames.map(|(from, _, bytes)| (from, Frame::decode(&bytes).unwrap()));
    (frames.collect(), bytes)
}

fn is_inventory((_, frame): &(usize, Frame)) -> bool {
    matches!(frame, Frame::Inventory(_))
}

/// The digest says the same of a dossier in memory and of one for which a summary stands, so equal ones stay at rest;
/// whatever the length of the journal, and without a frontier.
#[test]
fn a_dossier_at_rest_has_the_digest_that_it_has_awake_and_equal_ones_stay_at_rest() {
    let compared = |payments| {
        let (mut federation, dossier) = at_rest(payments);
        let (mut said, mut most) = (Vec::new(), 0);
        // Both awake; one at rest; both; one awake again.
        for (crash, at_rest) in [
            (None, [false, false]),
            (Some(2), [false, true]),
            (Some(0), [true, true]),
        ] {
            if let Some(node) = crash {
                federation.crash(node);
            } else {
                // Who starts anew is told everything again.
                federation.crash(2);
                federation.wake(2, None);
            }
            let (frames, bytes) = overheard(&mut federation);
            assert!(frames.iter().all(is_inventory), "{frames:?}");
            for (node, dormant) in [0, 2].into_iter().zip(at_rest) {
                assert_eq!(federation.node(node).is_dormant(&dossier), dormant, "node {node}");
            }
            let told = inventories(&frames);
            assert!(told.iter().any(|(from, _)| *from == 0) && told.iter().any(|(from, _)| *from == 2));
            said.extend(told);
            most = most.max(bytes);
        }
        federation.wake(0, None);
        said.extend(inventories(&overheard(&mut federation).0));
        assert!(!federation.node(0).is_dormant(&dossier) && federation.node(2).is_dormant(&dossier));
        assert!(said.len() >= 6);
        assert!(
            said.iter()
                .all(|(_, one)| one.dossier == dossier && one.digest == said[0].1.digest)
        );
        assert_ne!(said[0].1.digest, Digest::new([0; 32]));
        most
    };
    let (few, many) = (compared(3), compared(600));
    assert!(many < 200 && many <= few + 8, "{few} {many}");
}

#[test]
fn what_differs_is_offered_from_the_summary_and_wakes_the_dossier_only_where_it_is_wanted() {
    for ahead in [true, false] {
        let (mut federation, dossier) = at_rest(3);
        federation.cut(0, 2);
        // The court's node has more than the company's; the one or the other is at rest when they meet.
        pay(&mut federation, dossier, 60);
        rest(&mut federation);
        let dormant = if ahead { 0 } else { 2 };
        federation.crash(dormant);
        let (frames, _) = overheard(&mut federation);
        // A frontier out of a summary brings no head of the other's: it was at rest when it spoke.
        let offered = frames.iter().find_map(|(from, frame)| match frame {
            Frame::Frontier(frontier) if *from == dormant => Some(frontier.yours.is_none()),
            _ => None,
        });
        assert_eq!(offered, Some(true), "{frames:?}");
        federation.settle(5000);
        let rows = federation.node(0).frontier(&dossier).unwrap();
        assert_eq!(federation.node(2).frontier(&dossier).unwrap(), rows);
        assert!(!federation.node(dormant).is_dormant(&dossier));
    }
}

fn hello(federation: &Federation, node: SubjectId) -> Vec<u8> {
    let hello = Frame::Hello(Hello {
        versions: vec![1],
        features: vec![],
        node,
        incarnation: Incarnation::new([8; 16]),
        registries: vec![],
        time: federation.now,
        software: "test".into(),
    });
    hello.encode()
}

/// What the court's node, with the dossier at rest, answers to a frontier of the company's node, and whether it stays so.
#[test]
fn only_a_frontier_that_says_something_new_wakes_a_dossier() {
    let (mut federation, dossier) = at_rest(3);
    let (court, company) = (federation.node(0).node(), federation.node(2).node());
    let heads = |federation: &Federation| {
        let heads = federation.node(2).dossier(&dossier).unwrap().heads().clone();
        (heads[&court].clone(), heads[&company].clone())
    };
    let (old_ours, old_theirs) = heads(&federation);
    pay(&mut federation, dossier, 60);
    rest(&mut federation);
    let (ours, theirs) = heads(&federation);
    let rows = federation.node(2).frontier(&dossier).unwrap();
    federation.crash(0);
    let summary = federation.node(0).dormant().next().unwrap().clone();
    let later = Head {
        head_no: ours.head().head_no + 1,
        ..ours.head().clone()
    };
    let key = &federation.cast.court.key;
    let later = Unsigned::new(Typ::Head, key, federation.now, later.encode());
    let later = later.sign(key).unwrap().encode();
    let answer = |head: Option<&[u8]>, yours: Option<&[u8]>| {
        let fresh = Incarnation::new([9; 16]);
        let mut engine = Engine::new(court, fresh, "test", federation.registry.clone());
        assert!(engine.restore_dormant(dossier, summary.basis(), Some(summary.clone())));
        engine.handle_connected(company, federation.now);
        let frontier = Frame::Frontier(Frontier {
            dossier,
            rows: rows.clone(),
            wraps: vec![],
            head: head.map(|head| ByteBuf::from(head.to_vec())),
            lacking: vec![],
            yours: yours.map(|head| ByteBuf::from(head.to_vec())),
        });
        engine.handle_frame(company, &hello(&federation, company), federation.now);
        engine.handle_frame(company, &frontier.encode(), federation.now);
        engine.poll_commit(federation.now);
        engine.handle_durable();
        let mut said = Vec::new();
        while let Some((_, bytes)) = engine.poll_frame() {
            match Frame::decode(&bytes).unwrap() {
                Frame::Hello(_) | Frame::Inventory(_) => {}
                other => said.push(other),
            }
        }
        (engine.poll_wake().is_none(), said)
    };
    let bytes = |head: &SignedHead| head.encode();
    let (ours, theirs) = (bytes(&ours), bytes(&theirs));
    let (old_ours, old_theirs) = (bytes(&old_ours), bytes(&old_theirs));
    let told = vec![Frame::Head(ByteBuf::from(ours.clone()))];
    assert_eq!(answer(Some(&theirs), Some(&ours)), (true, vec![]));
    // Who has an older head of ours, or names none, is sent the latest.
    assert_eq!(answer(Some(&theirs), None), (true, told.clone()));
    assert_eq!(answer(Some(&theirs), Some(&old_ours)), (true, told));
    // Who was set back gets its own head once the dossier is awake, and a later one of ours is news.
    assert_eq!(answer(None, Some(&ours)), (false, vec![]));
    assert_eq!(answer(Some(&old_theirs), Some(&ours)), (false, vec![]));
    assert_eq!(answer(Some(&theirs), Some(&later)), (false, vec![]));
    // Nobody makes one up.
    let (stays, said) = answer(Some(&theirs), Some(&theirs));
    assert!(stays && matches!(&said[..], [Frame::Refusal(_)]), "{said:?}");
}

/// A run that finds no room is not under way for its sender any more: it hears so, and comes again. SYN-10, SYN-19.
#[test]
fn a_run_for_which_there_is_no_room_until_its_dossier_is_awake_is_refused() {
    const PARKED: usize = 64;
    let (mut federation, dossier) = at_rest(3);
    let (court, company) = (federation.node(0).node(), federation.node(2).node());
    federation.crash(2);
    let summary = federation.node(2).dormant().next().unwrap().clone();
    federation.connect_all();
    federation.overheard = Some(Vec::new());
    pay(&mut federation, dossier, 60);
    rest(&mut federation);
    let said = federation.overheard.take().unwrap();
    let is_run = |bytes: &[u8]| matches!(Frame::decode(bytes), Ok(Frame::Run(_)));
    let mut runs = said
        .iter()
        .filter(|(from, to, bytes)| (*from, *to) == (0, 2) && is_run(bytes));
    let (.., run) = runs.next().unwrap();
    let fresh = Incarnation::new([9; 16]);
    let mut engine = Engine::new(company, fresh, "test", federation.registry.clone());
    assert!(engine.restore_dormant(dossier, summary.basis(), Some(summary.clone())));
    engine.handle_connected(court, federation.now);
    engine.handle_frame(court, &hello(&federation, court), federation.now);
    for _ in 0..=PARKED {
        engine.handle_frame(court, run, federation.now);
    }
    engine.poll_commit(federation.now);
    engine.handle_durable();
    let frames: Vec<_> = std::iter::from_fn(|| engine.poll_frame()).collect();
    let refusals: Vec<_> = frames
        .iter()
        .filter_map(|(_, bytes)| match Frame::decode(bytes).unwrap() {
            Frame::Refusal(refusal) => Some((refusal.code, refusal.retry_after, refusal.dossier)),
            _ => None,
        })
        .collect();
    let busy = u64::from(Code::Busy.number());
    assert_eq!(refusals, [(busy, Some(1000), Some(dossier))]);
}
