//! Keys of a dossier: who leaves gets no later one, who joins gets all, and whose word is taken for them. SPEC §5.5.
#![allow(clippy::unwrap_used)]

mod stage;

use std::sync::Arc;

use basoche_protocol::dossier::Replica;
use basoche_protocol::envelope::{Envelope, EpochKey};
use basoche_protocol::error::Error;
use basoche_protocol::fixture::{Actor, Cast, Federation, Signing, fake_wrap};
use basoche_protocol::id::{DossierId, MessageId, SubjectId};
use basoche_protocol::jose::WrapContext;
use basoche_protocol::journal::EpochWrap;
use basoche_protocol::message::{Body, RosterChange};
use basoche_protocol::refusal::Code;
use basoche_protocol::time::Span;
use basoche_protocol::wire::frame::{Frame, Frontier};
use stage::*;

/// Court, bar, company, and two further bars, of which the second takes no part yet.
struct Five {
    federation: Federation,
    dossier: DossierId,
    salt: u8,
}

fn change(add: &[&Actor], remove: &[&Actor]) -> Body {
    let cast = Cast::new(6, Signing::StandIn);
    let participants = cast.participants().into_iter();
    let joins = |subject: &SubjectId| add.iter().any(|actor| actor.subject == *subject);
    Body::RosterChange(RosterChange {
        ext: None,
        add: participants.filter(|one| joins(&one.subject)).collect(),
        remove: remove.iter().map(|actor| actor.subject).collect(),
    })
}

impl Five {
    fn under_way() -> Self {
        Self::of(5)
    }

    /// The same with so many nodes.
    fn of(nodes: usize) -> Self {
        let cast = Arc::new(Cast::new(nodes, Signing::StandIn));
        let federation = Federation::of(Arc::clone(&cast), cast.registry(), 7);
        let mut it = Self {
            federation,
            dossier: DossierId::new([0; 32]),
            salt: 0,
        };
        let order = Body::Designation(cast.designation(it.federation.now));
        let founding = cast.judge.say(None, order, 0, it.federation.now);
        it.dossier = DossierId::from(it.federation.deposit(0, &founding).unwrap());
        it.federation.settle(5000);
        it.act(&cast.expert, accept()).unwrap();
        let lawyers = [
            &cast.party,
            &cast.claimant_lawyer,
            &cast.defendant_lawyer,
            &cast.further[0].1,
        ];
        it.act(&cast.expert, change(&lawyers, &[])).unwrap();
        it.act(&cast.clerk, paid(300_000)).unwrap();
        it
    }

    fn act(&mut self, actor: &Actor, body: Body) -> Result<MessageId, Error> {
        let node = self.federation.node_of(actor);
        self.act_at(node, actor, body)
    }

    fn act_at(&mut self, node: usize, actor: &Actor, body: Body) -> Result<MessageId, Error> {
        self.salt += 1;
        let dossier = (self.dossier != DossierId::new([0; 32])).then_some(self.dossier);
        let envelope = actor.say(dossier, body, self.salt, self.federation.now);
        let done = self.federation.deposit(node, &envelope);
        self.federation.settle(5000);
        done
    }

    /// Long enough for repairs.
    fn pass(&mut self) {
        self.federation
            .run_until(self.federation.now + Span::from_seconds(20));
    }

    fn replica(&self, node: usize) -> &Replica {
        self.federation.node(node).dossier(&self.dossier).unwrap()
    }

    fn keys(&self, node: usize) -> Vec<u64> {
        self.replica(node).keys().map(|(epoch, _)| epoch).collect()
    }

    fn agree(&self, nodes: &[usize]) -> bool {
        let picture = |node: &usize| {
            let replica = self.replica(*node);
            (replica.state().hash(), replica.frontier(), replica.pending())
        };
        let first = picture(&nodes[0]);
        first.2 == 0 && nodes.iter().all(|node| picture(node) == first)
    }

    /// Whether a node's keys open a message, as the court has it on its disk.
    fn opens(&self, node: usize, message: MessageId) -> bool {
        let (branch, seq) = self.replica(0).position(&message).unwrap();
        let item = self.federation.item(0, self.dossier, branch, seq).unwrap();
        let sealed = item.sealed.as_ref().unwrap();
        let mut keys = self.replica(node).keys();
        keys.any(|(_, key)| sealed.open(&self.dossier, message, key).is_ok())
    }
}

#[test]
fn who_leaves_gets_no_later_key_and_who_stays_goes_on() {
    let mut it = Five::under_way();
    let cast = Arc::clone(&it.federation.cast);
    assert!(it.agree(&[0, 1, 2, 3]));
    assert_eq!(it.keys(3), [0]);
    let before = it.act(&cast.claimant_lawyer, dire(1)).unwrap();
    // The bar is out of reach when it happens, and the company loses power right after.
    it.federation.cut(1, 2);
    it.federation.cut(1, 0);
    it.federation.cut(1, 3);
    let removal = it.act(&cast.expert, change(&[], &[&cast.further[0].1])).unwrap();
    it.federation.crash(2);
    it.federation.connect_all();
    it.pass();
    let after = it.act(&cast.claimant_lawyer, dire(2)).unwrap();

    assert!(it.agree(&[0, 1, 2]));
    let epochs = it.keys(0);
    assert_eq!((epochs.len(), epochs[1] >> 48), (2, 1));
    assert!([1, 2].iter().all(|node| it.keys(*node) == epochs));
    assert_eq!(it.replica(0).state().nodes().len(), 3);
    // Who left could read everything until then, and that it left, and nothing more.
    assert_eq!(it.keys(3), [0]);
    assert!(it.opens(3, before) && it.opens(3, removal));
    assert!(it.opens(1, after) && !it.opens(3, after));
    assert!(it.replica(3).position(&after).is_none());
}

#[test]
fn who_joins_later_gets_every_key_and_the_whole_history() {
    let mut it = Five::under_way();
    let cast = Arc::clone(&it.federation.cast);
    let (leaver, joiner) = (&cast.further[0].1, &cast.further[1].1);
    // Before it left it said something, of which nobody but the court has heard so far.
    it.federation.cut(3, 1);
    it.federation.cut(3, 2);
    let late = it.act(leaver, dire(1)).unwrap();
    it.act(&cast.expert, change(&[], &[leaver])).unwrap();
    it.act(&cast.expert, change(&[joiner], &[])).unwrap();
    it.act(joiner, dire(2)).unwrap();
    it.pass();
    assert!(it.agree(&[0, 1, 2, 4]));
    assert_eq!(it.keys(4), it.keys(2));
    assert_eq!(it.keys(4).len(), 2);
    assert!(it.replica(4).position(&late).is_some());
    // The next one to leave takes the key that the first never had.
    it.act(&cast.expert, change(&[], &[joiner])).unwrap();
    assert_eq!((it.keys(1).len(), it.keys(4).len()), (3, 2));
    assert!(it.agree(&[0, 1, 2]));
}

/// The joiner takes nothing of a node of which it cannot read that it is a member, and its keys come after that.
#[test]
fn who_joins_is_not_kept_out_by_who_joined_under_a_key_that_it_lacks() {
    let mut it = Five::of(6);
    let cast = Arc::clone(&it.federation.cast);
    it.act(&cast.expert, change(&[], &[&cast.further[0].1])).unwrap();
    it.act(&cast.expert, change(&[&cast.further[1].1], &[])).unwrap();
    it.act(&cast.further[1].1, dire(1)).unwrap();
    it.act(&cast.expert, change(&[&cast.further[2].1], &[])).unwrap();
    it.pass();
    assert!(it.agree(&[0, 1, 2, 4, 5]));
    assert_eq!(it.keys(5), it.keys(2));
    assert_eq!(it.keys(3), [0]);
}

#[test]
fn a_removal_is_for_the_node_that_keeps_the_roster() {
    let mut it = Five::under_way();
    let cast = Arc::clone(&it.federation.cast);
    let elsewhere = it.act_at(1, &cast.expert, change(&[], &[&cast.further[0].1]));
    assert_eq!(elsewhere.unwrap_err().code(), Code::NotCompetent);
    // A person who leaves while another of the same node stays takes no key along, wherever it is recorded.
    it.act_at(1, &cast.expert, change(&[], &[&cast.defendant_lawyer]))
        .unwrap();
    assert_eq!(it.keys(2), [0]);
    assert!(it.agree(&[0, 1, 2, 3]));
}

#[test]
fn a_wrong_first_key_gives_way_until_the_order_has_opened() {
    let mut it = Five::under_way();
    let cast = Arc::clone(&it.federation.cast);
    let (mallory, victim) = (3, 4);
    let wrong = |it: &Five| {
        let context = WrapContext {
            dossier: it.dossier,
            epoch: 0,
            recipient: cast.further[1].0.subject,
        };
        let wrap = EpochWrap {
            epoch: 0,
            recipient: context.recipient,
            jwe: fake_wrap(&context, &[66; 32]),
        };
        let frontier = Frontier {
            dossier: it.dossier,
            rows: vec![],
            wraps: vec![wrap],
            head: None,
            lacking: vec![],
            yours: None,
        };
        Frame::Frontier(frontier).encode()
    };
    let bytes = wrong(&it);
    it.federation.inject(mallory, victim, bytes);
    it.federation.settle(1000);
    assert_eq!(it.keys(victim), [0]);
    // What the others send does not open under it, until one of them brings the right one.
    it.act(&cast.expert, change(&[&cast.further[1].1], &[])).unwrap();
    it.pass();
    assert!(it.agree(&[0, 1, 2, 3, victim]));
    // From then on the key stays.
    let bytes = wrong(&it);
    it.federation.inject(mallory, victim, bytes);
    it.pass();
    it.federation.crash(victim);
    it.federation.connect_all();
    it.act(&cast.further[1].1, dire(9)).unwrap();
    assert!(it.agree(&[0, 1, 2, 3, victim]));
}

/// Records a message with a later key for the court, and says whether the court asks for it.
fn hands_out(node: impl Fn(&Cast) -> &Actor, spoil: impl Fn(&mut EpochWrap)) -> bool {
    let mut it = Stage::at(Situation::InProgress);
    let mut peer = Peer::new(&it);
    let writer = node(&it.cast).clone();
    (peer.chain.node, peer.seal) = (writer.subject, writer.key);
    let (epoch, key) = EpochKey::new([9; 32]).after(0);
    let context = WrapContext {
        dossier: it.dossier,
        epoch,
        recipient: it.cast.court.subject,
    };
    let mut wrap = EpochWrap {
        epoch,
        recipient: context.recipient,
        jwe: fake_wrap(&context, key.as_bytes()),
    };
    spoil(&mut wrap);
    peer.wraps.push(wrap);
    let good = it.good();
    let id = Envelope::decode(&good).unwrap().id();
    assert_eq!(peer.send(&mut it, id, &good), None);
    it.engine.poll_unwrap().is_some()
}

#[test]
fn later_keys_are_believed_of_the_node_that_keeps_the_roster_and_in_their_one_form() {
    assert!(hands_out(|cast| &cast.company, |_| ()));
    assert!(!hands_out(|cast| &cast.bar, |_| ()));
    assert!(!hands_out(
        |cast| &cast.company,
        |wrap| wrap.recipient = SubjectId::new([1; 16])
    ));
    assert!(!hands_out(|cast| &cast.company, |wrap| wrap.epoch += 1));
    assert!(!hands_out(|cast| &cast.company, |wrap| wrap.jwe.push('A')));
    // No two keys go by one number.
    let (epoch, key) = EpochKey::new([9; 32]).after(0);
    assert!(key.is_of(epoch) && !EpochKey::new([8; 32]).is_of(epoch));
    let (later, _) = EpochKey::new([8; 32]).after(epoch);
    assert!(later > epoch && later >> 48 == 2);
    let mut it = Stage::at(Situation::InProgress);
    it.engine.learn_key(it.dossier, epoch, EpochKey::new([8; 32]));
    assert_eq!(it.replica().keys().count(), 1);
    it.engine.learn_key(it.dossier, epoch, key);
    assert_eq!(it.replica().keys().count(), 2);
}

/// A frontier of a dossier that nobody knows, with a key to it.
fn begins(dossier: DossierId, recipient: SubjectId) -> Vec<u8> {
    let context = WrapContext {
        dossier,
        epoch: 0,
        recipient,
    };
    let wrap = EpochWrap {
        epoch: 0,
        recipient,
        jwe: fake_wrap(&context, &[5; 32]),
    };
    let frontier = Frontier {
        dossier,
        rows: vec![],
        wraps: vec![wrap],
        head: None,
        lacking: vec![],
        yours: None,
    };
    Frame::Frontier(frontier).encode()
}

#[test]
fn keys_to_dossiers_that_never_come_reach_no_disk_and_have_a_bound() {
    let mut it = Stage::at(Situation::InProgress);
    let court = it.cast.court.subject;
    let number = |number: u64| {
        let mut id = [7; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        DossierId::new(id)
    };
    let mut refused = 0;
    for n in 0..300 {
        let code = it.frame(&begins(number(n), court));
        while let Some(request) = it.engine.poll_unwrap() {
            let context = request.context;
            it.engine
                .learn_key(context.dossier, context.epoch, EpochKey::new([5; 32]));
        }
        assert!(it.work().is_empty(), "{n} is written");
        assert!([None, Some(Code::Busy)].contains(&code), "{code:?}");
        refused += usize::from(code.is_some());
    }
    assert_eq!(refused, 300 - 256);
    assert_eq!(it.engine.dossiers().count(), 1 + 256);
    // With the connection they go.
    let peer = it.cast.company.subject;
    it.engine.handle_closed(peer);
    assert_eq!(it.engine.dossiers().count(), 1);
}

#[test]
fn a_dossier_begins_with_an_order_that_opens() {
    let mut it = Stage::at(Situation::InProgress);
    let (court, dossier) = (it.cast.court.subject, DossierId::new([7; 32]));
    let mut peer = Peer::new(&it);
    let good = it.good();
    let id = Envelope::decode(&good).unwrap().id();
    peer.record_raw(&it, id, &good);
    // What begins with something else waits; what calls itself the order and does not open is refused.
    for (message, expected) in [
        (id, None),
        (MessageId::new(*dossier.as_bytes()), Some(Code::NotOpenable)),
    ] {
        assert_eq!(it.frame(&begins(dossier, court)), None);
        while let Some(request) = it.engine.poll_unwrap() {
            let context = request.context;
            it.engine
                .learn_key(context.dossier, context.epoch, EpochKey::new([5; 32]));
        }
        let mut item = peer.items[0].clone();
        (item.entry.dossier, item.entry.message) = (dossier, message);
        let mut head = peer.next_head(&it);
        head.dossier = dossier;
        let mut tree = basoche_protocol::tree::Tree::new();
        tree.push(*item.entry.leaf().as_bytes());
        head.rows.retain(|row| row.chain == peer.chain);
        head.rows[0].leaf = item.entry.leaf();
        head.rows[0].root = basoche_protocol::id::Digest::new(tree.root());
        let mut frame = match Frame::decode(&peer.run(&it, &[item], peer.sign(&head))).unwrap() {
            Frame::Run(run) => run,
            other => panic!("{other:?}"),
        };
        frame.dossier = dossier;
        assert_eq!(it.frame(&Frame::Run(frame).encode()), expected);
        assert_eq!(it.engine.dossier(&dossier).unwrap().entries(), 0);
    }
}

#[test]
fn a_node_that_was_away_for_the_founding_of_many_dossiers_gets_them_all() {
    let mut it = Five::under_way();
    let cast = Arc::clone(&it.federation.cast);
    for other in 0..5 {
        it.federation.cut(2, other);
    }
    for number in 0..600 {
        let mut order = cast.designation(it.federation.now);
        order.case_number = format!("26/{number:05}");
        let founding = cast
            .judge
            .say(None, Body::Designation(order), 0, it.federation.now);
        it.federation.deposit(0, &founding).unwrap();
    }
    it.federation.connect_all();
    for _ in 0..3 {
        it.pass();
    }
    let held = it.federation.node(2).dossiers();
    assert_eq!(
        held.filter(|one| one.state().designation().is_some()).count(),
        601
    );
}
