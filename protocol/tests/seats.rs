//! Seats and hand-over: who moves where, who keeps the keys from then on, what counts of what the former node wrote. SPEC §7.4.
#![allow(clippy::unwrap_used)]

mod stage;

use std::sync::Arc;

use basoche_protocol::dossier::Replica;
use basoche_protocol::envelope::Envelope;
use basoche_protocol::error::Error;
use basoche_protocol::fixture::{Actor, Cast, Federation};
use basoche_protocol::id::{DossierId, MessageId, SubjectId};
use basoche_protocol::journal::{Need, Verdict};
use basoche_protocol::message::{Body, HandOver, RosterChange};
use basoche_protocol::refusal::Code;
use basoche_protocol::time::Span;
use stage::*;

/// Court, bar, company, and two further nodes that take no part yet.
struct Five {
    federation: Federation,
    cast: Arc<Cast>,
    dossier: DossierId,
    salt: u8,
}

impl Five {
    fn under_way(seed: u64) -> Self {
        let (federation, cast, dossier) = under_way(5, seed);
        Self {
            federation,
            cast,
            dossier,
            salt: 3,
        }
    }

    fn lodge(&mut self, node: usize, actor: &Actor, body: Body) -> Result<MessageId, Error> {
        self.salt += 1;
        let envelope = actor.say(Some(self.dossier), body, self.salt, self.federation.now);
        self.federation.deposit(node, &envelope)
    }

    fn act_at(&mut self, node: usize, actor: &Actor, body: Body) -> Result<MessageId, Error> {
        let done = self.lodge(node, actor, body);
        self.pass();
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

    fn subject(&self, node: usize) -> SubjectId {
        self.federation.node(node).node()
    }

    fn move_to(&self, person: &Actor, to: usize, previous: Option<MessageId>) -> Body {
        let state = self.replica(0).state();
        Body::HandOver(HandOver {
            ext: None,
            person: person.subject,
            from: state.roster()[&person.subject].node,
            to: self.subject(to),
            previous,
        })
    }

    fn agree(&self, nodes: &[usize]) -> bool {
        let picture = |node: &usize| {
            let replica = self.replica(*node);
            (replica.state().hash(), replica.frontier(), replica.pending())
        };
        let first = picture(&nodes[0]);
        first.2 == 0 && nodes.iter().all(|node| picture(node) == first)
    }

    fn opens(&self, node: usize, message: MessageId) -> bool {
        let (branch, seq) = self.replica(0).position(&message).unwrap();
        let item = self.federation.item(0, self.dossier, branch, seq).unwrap();
        let mut keys = self.replica(node).keys();
        keys.any(|(_, key)| {
            item.sealed
                .as_ref()
                .is_some_and(|sealed| sealed.open(&self.dossier, message, key).is_ok())
        })
    }
}

#[test]
fn the_experts_seat_moves_with_the_expert_and_the_new_node_opens_the_next_epoch() {
    let mut it = Five::under_way(1);
    let cast = Arc::clone(&it.cast);
    let moved = it.move_to(&cast.expert, 3, None);
    let hand_over = it.act_at(2, &cast.expert, moved).unwrap();
    assert!(it.agree(&[0, 1, 3]));
    let state = it.replica(0).state();
    assert_eq!(state.expert_seat(), Some(it.subject(3)));
    assert!(!state.nodes().contains(&it.subject(2)));
    assert_eq!(state.last_hand_over(&cast.expert.subject), Some(hand_over));
    // It has the whole history, and no new key until it speaks: the one that leaves does not make it.
    assert_eq!((it.keys(3), it.keys(2)), (vec![0], vec![0]));
    // The node that left has another member's head for all that it wrote.
    let own = it.replica(2).frontier();
    let own = own.iter().find(|row| row.chain.node == it.subject(2)).unwrap();
    let covered = |node: usize| {
        let head = it.replica(2).heads().get(&it.subject(node)).cloned();
        head.is_some_and(|head| head.head().rows_of(&own.chain).contains(own))
    };
    assert!(covered(0) || covered(1));

    it.act_at(3, &cast.expert, exhibit(1)).unwrap();
    let keys = it.keys(0);
    assert_eq!((keys.len(), keys[1] >> 48), (2, 1));
    assert!([1, 3].iter().all(|node| it.keys(*node) == keys));
    let after = it.act_at(1, &cast.claimant_lawyer, dire(1)).unwrap();
    assert!(it.agree(&[0, 1, 3]));
    assert!(it.opens(3, after) && !it.opens(2, after));
    assert!(it.replica(2).position(&after).is_none());
    // From here on the new node keeps the roster, and whom it adds reads everything.
    let change = RosterChange {
        ext: None,
        add: cast
            .participants()
            .into_iter()
            .filter(|one| one.node == it.subject(4))
            .collect(),
        remove: vec![],
    };
    it.act_at(3, &cast.expert, Body::RosterChange(change)).unwrap();
    assert!(it.agree(&[0, 1, 3, 4]));
    assert_eq!(it.keys(4), keys);
    // It comes back from its disk as it was.
    it.federation.crash(3);
    it.federation.connect_all();
    it.act_at(3, &cast.expert, exhibit(2)).unwrap();
    assert!(it.agree(&[0, 1, 3, 4]));
}

#[test]
fn the_courts_seat_is_one_node_and_whoever_comes_after_several_moves_reads_everything() {
    let mut it = Five::under_way(2);
    let cast = Arc::clone(&it.cast);
    let moved = it.move_to(&cast.judge, 3, None);
    let first = it.act_at(0, &cast.clerk, moved).unwrap();
    let state = it.replica(1).state();
    let roster = state.roster();
    assert_eq!(state.court_seat(), Some(it.subject(3)));
    assert_eq!(roster[&cast.clerk.subject].node, it.subject(3));
    assert_eq!(state.last_hand_over(&cast.clerk.subject), Some(first));
    // The expert's node opens the new epoch with its next entry, whatever that is.
    it.act_at(2, &cast.expert, exhibit(1)).unwrap();
    assert_eq!((it.keys(0).len(), it.keys(3).len()), (1, 2));
    it.act_at(3, &cast.clerk, paid(1)).unwrap();
    // The expert's seat moves under that key: the newcomer gets both, from a seat of which it has read nothing yet.
    let moved = Body::HandOver(HandOver {
        ext: None,
        person: cast.expert.subject,
        from: it.subject(2),
        to: it.subject(4),
        previous: None,
    });
    it.act_at(2, &cast.expert, moved).unwrap();
    it.act_at(4, &cast.expert, exhibit(2)).unwrap();
    it.act_at(1, &cast.claimant_lawyer, dire(1)).unwrap();
    assert!(it.agree(&[1, 3, 4]));
    assert_eq!(it.keys(4).len(), 3);
}

#[test]
fn a_lawyer_moves_by_the_expert_and_its_former_node_gets_no_later_key() {
    let mut it = Five::under_way(3);
    let cast = Arc::clone(&it.cast);
    for (person, salt) in [&cast.party, &cast.claimant_lawyer, &cast.defendant_lawyer]
        .into_iter()
        .zip(0..)
    {
        let moved = it.move_to(person, 3, None);
        it.act_at(2, &cast.expert, moved).unwrap();
        assert_eq!(it.keys(2).len(), if salt < 2 { 1 } else { 2 });
    }
    let after = it.act_at(3, &cast.claimant_lawyer, dire(1)).unwrap();
    assert!(it.agree(&[0, 2, 3]));
    assert_eq!(it.keys(1), [0]);
    assert!(it.opens(3, after) && !it.opens(1, after));
}

#[test]
fn who_may_not_hand_over_is_refused() {
    let mut it = Five::under_way(4);
    let cast = Arc::clone(&it.cast);
    let court = it.move_to(&cast.judge, 3, None);
    let expert = it.move_to(&cast.expert, 3, None);
    let lawyer = it.move_to(&cast.claimant_lawyer, 3, None);
    let with = |spoil: fn(&mut HandOver)| {
        let Body::HandOver(mut act) = expert.clone() else {
            unreachable!()
        };
        spoil(&mut act);
        Body::HandOver(act)
    };
    let stranger = with(|act| act.person = SubjectId::new([9; 16]));
    let elsewhere = with(|act| act.from = SubjectId::new([9; 16]));
    let follows = with(|act| act.previous = Some(MessageId::new([9; 32])));
    let unknown = with(|act| act.to = SubjectId::new([9; 16]));
    for (node, who, body, code) in [
        (2, &cast.expert, court.clone(), Code::NotCompetent),
        (0, &cast.judge, expert.clone(), Code::NotCompetent),
        (0, &cast.clerk, lawyer.clone(), Code::NotCompetent),
        (1, &cast.claimant_lawyer, lawyer, Code::SenderRole),
        (2, &cast.expert, stranger, Code::RosterConflict),
        (2, &cast.expert, elsewhere, Code::RosterConflict),
        (2, &cast.expert, follows, Code::RosterConflict),
        // A node without an encryption key in the registry.
        (2, &cast.expert, unknown, Code::RosterConflict),
        // Its node leaves, so it is recorded where the seat is.
        (1, &cast.expert, expert.clone(), Code::NotCompetent),
        (1, &cast.judge, court.clone(), Code::NotCompetent),
        (2, &cast.judge, court, Code::NotCompetent),
    ] {
        let refused = it.act_at(node, who, body.clone()).unwrap_err();
        assert_eq!(refused.code(), code, "{body:?}");
    }
    it.act_at(2, &cast.expert, expert.clone()).unwrap();
    // Once: the second one starts from where nobody is any more.
    let refused = it.act_at(0, &cast.expert, expert).unwrap_err();
    assert_eq!(refused.code(), Code::RosterConflict);
}

/// What an honest node does not do: each records a move of its own. Whichever comes first, the earlier recorded counts.
#[test]
fn of_two_concurrent_moves_the_earlier_counts_in_either_order_and_what_follows_the_other_does_not() {
    let counts = |turned: bool| {
        let mut it = Stage::at(Situation::InProgress);
        let mut bar = Peer::new(&it);
        (bar.chain.node, bar.seal) = (it.cast.bar.subject, it.cast.bar.key.clone());
        let mut company = Peer::new(&it);
        let (expert, court) = (it.cast.expert.clone(), it.cast.court.subject);
        let move_to = |it: &Stage, to, previous, salt| {
            let body = Body::HandOver(HandOver {
                ext: None,
                person: expert.subject,
                from: it.cast.company.subject,
                to,
                previous,
            });
            let said = expert.say(Some(it.dossier), body, salt, it.now);
            (Envelope::decode(&said).unwrap().id(), said)
        };
        let frame = |it: &mut Stage, peer: &mut Peer, (id, said): &(MessageId, Vec<u8>)| {
            it.now = it.now + Span::from_seconds(1);
            let item = peer.record_raw(it, *id, said);
            let head = peer.next_head(it);
            peer.run(it, &[item], peer.sign(&head))
        };
        let earlier = move_to(&it, court, None, 101);
        let later = move_to(&it, it.cast.bar.subject, None, 102);
        let mut frames = vec![
            frame(&mut it, &mut company, &earlier),
            frame(&mut it, &mut bar, &later),
        ];
        if turned {
            frames.reverse();
        }
        // The bar brings both: it stays a member, whichever counts.
        let bar = it.cast.bar.subject;
        it.engine.handle_connected(bar, it.now);
        it.hello(bar);
        for frame in frames {
            it.engine.handle_frame(bar, &frame, it.now);
            it.work();
        }
        let state = it.replica().state();
        assert_eq!(state.expert_seat(), Some(court));
        assert_eq!(state.last_hand_over(&expert.subject), Some(earlier.0));
        // The other one is on file, and nothing can follow it.
        assert!(state.message_type(&later.0).is_some());
        let (_, follows) = move_to(&it, it.cast.bar.subject, Some(later.0), 103);
        assert_eq!(
            it.submit(&follows, true).unwrap_err().code(),
            Code::RosterConflict
        );
        it.replica().state().hash()
    };
    assert_eq!(counts(false), counts(true));
}

#[test]
fn what_the_former_node_recorded_without_knowing_keeps_its_effect() {
    let mut it = Five::under_way(6);
    let cast = Arc::clone(&it.cast);
    // The bar's persons are moved while its node does not hear of the expert's, and the court hears of both.
    it.federation.cut(1, 2);
    let before = it.lodge(1, &cast.claimant_lawyer, dire(1)).unwrap();
    for person in [&cast.party, &cast.claimant_lawyer, &cast.defendant_lawyer] {
        let moved = it.move_to(person, 3, None);
        it.lodge(2, &cast.expert, moved).unwrap();
    }
    it.federation.connect_all();
    it.pass();
    // A former member's entries are taken of members, and judged by their own past.
    assert!(it.agree(&[0, 2, 3]));
    for node in [0, 2, 3] {
        let state = it.replica(node).state();
        assert!(!state.nodes().contains(&it.subject(1)));
        assert!(state.dires().contains_key(&before));
    }
}

#[test]
fn a_hand_over_has_its_place_in_the_order_of_acts() {
    let mut it = Stage::at(Situation::InProgress);
    let mut peer = Peer::new(&it);
    let mut twin = peer.clone();
    let (one, other) = (it.good(), it.good());
    let id = |bytes: &[u8]| Envelope::decode(bytes).unwrap().id();
    assert_eq!(peer.send(&mut it, id(&one), &one), None);
    assert_eq!(twin.send(&mut it, id(&other), &other), None);
    let act = HandOver {
        ext: None,
        person: it.cast.expert.subject,
        from: it.cast.company.subject,
        to: it.cast.bar.subject,
        previous: None,
    };
    let said = it
        .cast
        .expert
        .say(Some(it.dossier), Body::HandOver(act), 99, it.now);
    assert_eq!(twin.send(&mut it, id(&said), &said), None);
    let (branch, seq) = it.replica().position(&id(&said)).unwrap();
    let verdict = it.replica().chains().record(&branch, seq).unwrap().verdict;
    assert_eq!(verdict, Verdict::Pending(Need::Settlement(twin.chain)));
    assert_eq!(it.replica().state().expert_seat(), Some(it.cast.company.subject));
}
