//! Frontiers that messages name: barriers, who signs them, and what milestones close over. SPEC §6.21, §6.23, §8.8.
#![allow(clippy::unwrap_used)]

mod stage;

use std::collections::BTreeSet;
use std::sync::Arc;

use basoche_protocol::dossier::{Absence, Answer, Replica};
use basoche_protocol::envelope::Envelope;
use basoche_protocol::error::Error;
use basoche_protocol::fixture::{Actor, Cast, Federation, document};
use basoche_protocol::id::{Digest, DossierId, Incarnation, MessageId, SubjectId};
use basoche_protocol::journal::{ChainId, HeadRow, Verdict};
use basoche_protocol::message::{
    Barrier, BarrierHeld, Body, Erasure, Extent, Held, Participant, Residual, RosterChange, Stated,
};
use basoche_protocol::refusal::Code;
use basoche_protocol::time::{Instant, Span};
use stage::*;

/// Court, bar and company, with a dossier under way.
struct Three {
    federation: Federation,
    cast: Arc<Cast>,
    dossier: DossierId,
    salt: u8,
}

impl Three {
    fn under_way(seed: u64) -> Self {
        let (federation, cast, dossier) = under_way(3, seed);
        Self {
            federation,
            cast,
            dossier,
            salt: 3,
        }
    }

    /// Lodges an act; others may not have it yet.
    fn lodge(&mut self, actor: &Actor, body: Body) -> Result<MessageId, Error> {
        self.salt += 1;
        let node = self.federation.node_of(actor);
        let envelope = actor.say(Some(self.dossier), body, self.salt, self.federation.now);
        self.federation.deposit(node, &envelope)
    }

    fn act(&mut self, actor: &Actor, body: Body) -> Result<MessageId, Error> {
        let done = self.lodge(actor, body);
        self.federation.settle(5000);
        done
    }

    fn replica(&self, node: usize) -> &Replica {
        self.federation.node(node).dossier(&self.dossier).unwrap()
    }

    /// A barrier over all that a node holds.
    fn barrier(&self, node: usize) -> Barrier {
        let replica = self.replica(node);
        let roots: BTreeSet<_> = replica
            .state()
            .documents()
            .map(|one| one.reference.root)
            .collect();
        Barrier {
            ext: None,
            frontier: replica.frontier(),
            documents: roots.into_iter().collect(),
            members: replica.state().nodes().into_iter().collect(),
            due: self.federation.now + Span::from_seconds(60),
        }
    }

    fn agree(&self) -> bool {
        let picture = |node| (self.replica(node).state().hash(), self.replica(node).pending());
        (0..3).all(|node| picture(node) == picture(0))
    }

    /// A pre-report that closes over what the company's node holds, with dires due in ten seconds; then they are over.
    fn pre_report(&mut self) -> (MessageId, Instant) {
        let due = self.federation.now + Span::from_seconds(10);
        let Body::PreReport(mut body) = pre_report(due) else {
            unreachable!()
        };
        body.closes = Some(self.replica(2).frontier());
        let cast = Arc::clone(&self.cast);
        (self.act(&cast.expert, Body::PreReport(body)).unwrap(), due)
    }

    fn until(&mut self, instant: Instant) {
        while self.federation.now < instant {
            self.federation.step();
        }
    }
}

fn closing(answers: &[MessageId], closes: Vec<HeadRow>) -> Body {
    let Body::Report(mut body) = report(answers) else {
        unreachable!()
    };
    body.closes = Some(closes);
    Body::Report(body)
}

#[test]
fn a_quittance_lists_who_signed_and_how_far_the_others_had_come() {
    let mut it = Three::under_way(1);
    let cast = Arc::clone(&it.cast);
    let first = it.act(&cast.claimant_lawyer, exhibit(1)).unwrap();
    let third = it.act(&cast.claimant_lawyer, exhibit(3)).unwrap();
    // The bar is away from here on.
    it.federation.cut(1, 0);
    it.federation.cut(1, 2);
    it.lodge(&cast.expert, exhibit(2)).unwrap();
    let barrier = it.barrier(2);
    let (entries, due) = (barrier.frontier.iter().map(|row| row.size).sum(), barrier.due);
    let id = it.lodge(&cast.expert, Body::Barrier(barrier)).unwrap();
    it.federation.run_until(it.federation.now + Span::from_seconds(1));
    let held = Body::BarrierHeld(BarrierHeld {
        ext: None,
        barrier: id,
    });
    it.lodge(&cast.court, held.clone()).unwrap();
    // One statement of both that it holds: each of them counts.
    let mut both = [(first, "exhibit 1"), (third, "exhibit 3")].map(|(deposit, name)| Stated {
        deposit,
        root: document(name).root,
    });
    both.sort_unstable();
    let stated = Body::Held(Held {
        ext: None,
        deposit: both[0].deposit,
        root: both[0].root,
        more: vec![both[1]],
    });
    it.lodge(&cast.bar, stated).unwrap();

    let quittance = it.replica(0).quittance(&id).unwrap();
    assert_eq!(
        (quittance.entries, quittance.documents, quittance.due),
        (entries, 3, due)
    );
    let of = |node: &Actor| {
        quittance
            .nodes
            .iter()
            .find(|(one, _)| *one == node.subject)
            .unwrap()
            .1
    };
    assert!(matches!(of(&cast.court), Answer::Signed(_)));
    let absent = |answer| match answer {
        Answer::Absent(Absence { head_at, entries, .. }) => (head_at.is_some(), entries),
        Answer::Signed(_) => panic!("it signed"),
    };
    // The company proposed it and has not signed; the bar lacks the second exhibit.
    assert_eq!(absent(of(&cast.company)), (true, entries));
    assert_eq!(absent(of(&cast.bar)), (true, entries - 1));

    it.federation.connect_all();
    it.federation
        .run_until(it.federation.now + Span::from_seconds(10));
    let answer = it.replica(0).quittance(&id).unwrap().nodes;
    let bar = answer.iter().find(|(one, _)| *one == cast.bar.subject).unwrap().1;
    let Answer::Absent(absence) = bar else { panic!() };
    assert_eq!((absence.entries, absence.documents), (entries, 2));
    it.act(&cast.bar, held.clone()).unwrap();
    it.act(&cast.company, held).unwrap();
    assert!(it.agree());
    for node in 0..3 {
        let quittance = it.replica(node).quittance(&id).unwrap();
        let signed = |(_, answer): &(SubjectId, Answer)| matches!(answer, Answer::Signed(_));
        assert!(quittance.nodes.iter().all(signed));
    }
}

#[test]
fn a_barrier_asks_all_members_and_no_others() {
    let mut it = Three::under_way(2);
    let cast = Arc::clone(&it.cast);
    for spoil in [
        (|members| members.truncate(2)) as fn(&mut Vec<SubjectId>),
        |members| {
            members.push(SubjectId::new([0xff; 16]));
        },
    ] {
        let mut barrier = it.barrier(2);
        spoil(&mut barrier.members);
        let refused = it.act(&cast.expert, Body::Barrier(barrier)).unwrap_err();
        assert_eq!(refused.code(), Code::RosterConflict);
    }
    // A lawyer proposes none, and nobody signs one that is not on file.
    let barrier = Body::Barrier(it.barrier(1));
    let refused = it.act(&cast.claimant_lawyer, barrier).unwrap_err();
    assert_eq!(refused.code(), Code::SenderRole);
    let strange = BarrierHeld {
        ext: None,
        barrier: MessageId::new([7; 32]),
    };
    let refused = it.act(&cast.bar, Body::BarrierHeld(strange)).unwrap_err();
    assert_eq!(refused.code(), Code::UnknownReference);
}

/// Frontiers that were not held: each differs from a real one in one thing.
fn unheld(rows: &[HeadRow]) -> Vec<Vec<HeadRow>> {
    let with = |spoil: fn(&mut HeadRow)| {
        let mut rows = rows.to_vec();
        rows.first_mut().map(spoil);
        rows
    };
    let stranger = ChainId {
        node: SubjectId::new([0xee; 16]),
        incarnation: Incarnation::new([0xee; 16]),
    };
    let mut more = rows.to_vec();
    more.push(HeadRow {
        chain: stranger,
        ..rows[0]
    });
    more.sort_by_key(|row| row.chain);
    vec![
        with(|row| row.size += 1),
        with(|row| row.leaf = Digest::new([7; 32])),
        with(|row| row.root = Digest::new([7; 32])),
        more,
    ]
}

#[test]
fn a_frontier_that_was_not_held_cannot_be_named() {
    let mut it = Three::under_way(3);
    let cast = Arc::clone(&it.cast);
    let real = it.barrier(2);
    for frontier in unheld(&real.frontier) {
        let barrier = Body::Barrier(Barrier {
            frontier: frontier.clone(),
            ..real.clone()
        });
        let refused = it.act(&cast.expert, barrier).unwrap_err();
        assert_eq!(refused.code(), Code::FrontierUnheld);
        let Body::PreReport(mut body) = pre_report(it.federation.now) else {
            unreachable!()
        };
        body.closes = Some(frontier);
        let refused = it.act(&cast.expert, Body::PreReport(body)).unwrap_err();
        assert_eq!(refused.code(), Code::FrontierUnheld);
    }
    it.act(&cast.expert, Body::Barrier(real)).unwrap();
}

/// What one node held is not what another one had when it recorded the message: the causal past decides, on every node
/// alike, whatever they hold by then.
#[test]
fn a_frontier_is_judged_by_the_past_of_its_entry() {
    let mut it = Stage::at(Situation::InProgress);
    let mut peer = Peer::new(&it);
    let expert = it.cast.expert.clone();
    let had: Vec<HeadRow> = peer.replica.frontier();
    let members: Vec<_> = it.replica().state().nodes().into_iter().collect();
    // The court goes on; the company has not heard of it.
    it.act(|cast| &cast.clerk, paid(7));
    let later = it.replica().frontier();
    let said = |it: &Stage, frontier: Vec<HeadRow>, salt| {
        let barrier = Barrier {
            ext: None,
            frontier,
            documents: vec![],
            members: members.clone(),
            due: it.now,
        };
        expert.say(Some(it.dossier), Body::Barrier(barrier), salt, it.now)
    };
    let mut verdicts = Vec::new();
    for (frontier, seq) in [(later.clone(), 0), (had, 1)] {
        let envelope = said(&it, frontier, 100 + seq as u8);
        let id = Envelope::decode(&envelope).unwrap().id();
        assert_eq!(peer.send(&mut it, id, &envelope), None);
        let chain = it.replica().chain(&peer.chain).unwrap();
        verdicts.push(chain.record(seq).unwrap().verdict);
    }
    assert_eq!(
        verdicts,
        [Verdict::WithoutEffect(Code::FrontierUnheld), Verdict::Effective]
    );
    // The same message at the court, which has it.
    let envelope = said(&it, later, 110);
    it.deposit(&envelope).unwrap();
}

#[test]
fn a_dire_that_the_expert_could_not_know_needs_no_answer_and_is_marked() {
    let mut it = Three::under_way(4);
    let cast = Arc::clone(&it.cast);
    let before = it.act(&cast.claimant_lawyer, exhibit(1)).unwrap();
    let (pre_report, due) = it.pre_report();
    let known = it.act(&cast.claimant_lawyer, dire(1)).unwrap();
    it.until(due);
    // The bar is away: its dire and the report are concurrent.
    it.federation.cut(1, 0);
    it.federation.cut(1, 2);
    let unknown = it.lodge(&cast.defendant_lawyer, dire(2)).unwrap();
    let closes = it.replica(2).frontier();
    let refused = it.lodge(&cast.expert, closing(&[], closes.clone())).unwrap_err();
    assert_eq!(refused.code(), Code::DireUnanswered);
    let report = it.lodge(&cast.expert, closing(&[known], closes)).unwrap();
    it.federation.connect_all();
    it.federation
        .run_until(it.federation.now + Span::from_seconds(10));
    assert!(it.agree());
    for node in 0..3 {
        let state = it.replica(node).state();
        assert!(state.dires().contains_key(&unknown));
        let after = [before, known, unknown].map(|one| state.after(&one));
        assert_eq!(after, [None, Some(pre_report), Some(report)]);
    }
    // The marks are the same from the disk.
    let hash = it.replica(1).state().hash();
    it.federation.crash(1);
    it.federation.wake(1, Some(it.dossier));
    assert_eq!(it.replica(1).state().hash(), hash);
}

#[test]
fn a_dire_in_time_is_answered_whatever_frontier_the_report_names() {
    let mut it = Three::under_way(5);
    let cast = Arc::clone(&it.cast);
    let (_, due) = it.pre_report();
    let early = it.replica(2).frontier();
    let in_time = it.act(&cast.claimant_lawyer, dire(1)).unwrap();
    it.until(due + Span::from_seconds(1));
    let late = it.act(&cast.claimant_lawyer, dire(2)).unwrap();
    let all = it.replica(2).frontier();
    for (answers, closes) in [
        (vec![], early.clone()),
        (vec![late], early.clone()),
        (vec![in_time], all),
    ] {
        let refused = it.act(&cast.expert, closing(&answers, closes)).unwrap_err();
        assert_eq!(refused.code(), Code::DireUnanswered);
    }
    // Without a frontier every dire on file is answered, as there is none that it could lie outside of.
    let refused = it.act(&cast.expert, report(&[in_time])).unwrap_err();
    assert_eq!(refused.code(), Code::DireUnanswered);
    let filed = it.act(&cast.expert, closing(&[in_time], early)).unwrap();
    assert!(it.agree());
    let state = it.replica(0).state();
    assert_eq!(
        (state.after(&late), state.after(&in_time)),
        (Some(filed), Some(filed))
    );
}

#[test]
fn who_holds_another_history_than_those_named_does_not_sign() {
    let mut it = Stage::at(Situation::InProgress);
    let mut peer = Peer::new(&it);
    let mut twin = peer.clone();
    let (one, other) = (it.good(), it.good());
    let id = |bytes: &[u8]| Envelope::decode(bytes).unwrap().id();
    assert_eq!(peer.send(&mut it, id(&one), &one), None);
    let frontier = it.replica().frontier();
    let barrier = |it: &Stage, frontier| Barrier {
        ext: None,
        frontier,
        documents: vec![],
        members: it.replica().state().nodes().into_iter().collect(),
        due: it.now,
    };
    let before = barrier(&it, frontier);
    assert!(!it.replica().contradicts(&before));
    assert_eq!(twin.send(&mut it, id(&other), &other), None);
    assert!(
        it.replica().contradicts(&before),
        "a second history, which it does not name"
    );
    // One that names both, or what they share, does not contradict.
    let both = barrier(&it, it.replica().frontier());
    assert!(!it.replica().contradicts(&both));
    let mut shared = before;
    shared.frontier.retain(|row| row.chain != peer.chain);
    assert!(!it.replica().contradicts(&shared));
}

#[test]
fn who_has_left_is_asked_no_more_and_who_joined_later_is_not_in_it() {
    let mut it = Three::under_way(6);
    let cast = Arc::clone(&it.cast);
    let barrier = it.barrier(2);
    let id = it.act(&cast.expert, Body::Barrier(barrier)).unwrap();
    let gone = [&cast.party, &cast.claimant_lawyer, &cast.defendant_lawyer];
    let change = RosterChange {
        ext: None,
        add: Vec::<Participant>::new(),
        remove: gone.map(|one| one.subject).to_vec(),
    };
    it.act(&cast.expert, Body::RosterChange(change)).unwrap();
    // It was asked, and stays in that quittance.
    assert_eq!(it.replica(0).quittance(&id).unwrap().nodes.len(), 3);
    let after = it.barrier(2);
    assert_eq!(after.members.len(), 2);
    let id = it.act(&cast.expert, Body::Barrier(after)).unwrap();
    assert_eq!(it.replica(0).quittance(&id).unwrap().nodes.len(), 2);
}

#[test]
fn a_dossier_in_which_a_node_has_a_barrier_to_sign_is_not_put_to_rest() {
    let mut it = Three::under_way(7);
    let cast = Arc::clone(&it.cast);
    let barrier = it.barrier(2);
    let barrier = it.act(&cast.expert, Body::Barrier(barrier)).unwrap();
    for signed in [false, true] {
        it.until(it.federation.now + Span::from_seconds(60));
        it.federation.crash(1);
        let rests = it.federation.node(1).dormant().count() == 1;
        assert_eq!(rests, signed);
        it.federation.wake(1, Some(it.dossier));
        it.federation.connect_all();
        it.until(it.federation.now + Span::from_seconds(10));
        if !signed {
            let held = BarrierHeld { ext: None, barrier };
            it.act(&cast.bar, Body::BarrierHeld(held)).unwrap();
        }
    }
}

#[test]
fn what_is_erased_keeps_its_mark_and_nobody_has_to_hold_its_documents() {
    let mut it = Three::under_way(8);
    let cast = Arc::clone(&it.cast);
    let (pre_report, _) = it.pre_report();
    let late = it.act(&cast.claimant_lawyer, dire(1)).unwrap();
    let exhibit = it.act(&cast.claimant_lawyer, exhibit(1)).unwrap();
    let barrier = it.barrier(2);
    let mut documents = it.replica(2).state().documents();
    let root = documents
        .find(|one| one.deposit == exhibit)
        .unwrap()
        .reference
        .root;
    drop(documents);
    let barrier = it.act(&cast.expert, Body::Barrier(barrier)).unwrap();
    let documents = |it: &Three| -> Vec<u64> {
        let quittance = it.replica(1).quittance(&barrier).unwrap();
        let nodes = quittance.nodes.into_iter();
        nodes
            .map(|(_, answer)| match answer {
                Answer::Absent(absence) => absence.documents,
                Answer::Signed(_) => unreachable!("nobody has signed"),
            })
            .collect()
    };
    assert_eq!(documents(&it), [0, 0, 0]);
    assert!(!it.replica(1).state().has_erased(&root));
    for target in [late, exhibit] {
        let residual = Residual::of(it.replica(0).message(&target).unwrap());
        let order = Erasure {
            ext: None,
            target,
            extent: Extent::Message,
            residual,
            reason: "It names a child.".into(),
        };
        it.act(&cast.clerk, Body::Erasure(order)).unwrap();
    }
    assert!(it.replica(1).message(&late).is_none());
    assert!(it.replica(1).state().has_erased(&root));
    assert_eq!(documents(&it), [1, 1, 1]);
    // As they stand, and formed anew from a disk that has the messages no more.
    let hash = it.replica(0).state().hash();
    it.federation.crash(1);
    it.federation.wake(1, Some(it.dossier));
    for node in 0..3 {
        let state = it.replica(node).state();
        let after = [late, exhibit].map(|one| state.after(&one));
        assert_eq!(after, [Some(pre_report), Some(pre_report)]);
        assert_eq!(state.hash(), hash);
    }
}
