//! Proofs on demand: what a member shows under its head, to whom, and every lie in their place. SPEC SYN-22, SYN-23.
#![allow(clippy::unwrap_used)]

mod stage;

use basoche_protocol::engine::{Engine, Event, Unproven};
use basoche_protocol::envelope::{Envelope, Typ};
use basoche_protocol::fixture::Federation;
use basoche_protocol::id::{Digest, DossierId, Incarnation, SubjectId};
use basoche_protocol::journal::{ChainId, HeadRow};
use basoche_protocol::message::{Body, RosterChange};
use basoche_protocol::plant::{Bug, plant};
use basoche_protocol::refusal::Code;
use basoche_protocol::role::Role;
use basoche_protocol::time::Span;
use basoche_protocol::tree::Tree;
use basoche_protocol::wire::frame::{Frame, Hello, Proof, ProofRequest, Refusal};
use serde_bytes::ByteBuf;
use stage::*;

/// What a node holds of every chain, at every size.
fn rows(federation: &Federation, node: usize, dossier: &DossierId) -> Vec<HeadRow> {
    let replica = federation.node(node).dossier(dossier).unwrap();
    let chains = replica.chains().iter();
    chains
        .flat_map(|(branch, chain)| (1..=chain.size()).filter_map(|size| chain.row_at(branch.chain, size)))
        .collect()
}

fn proven(events: &[(usize, Event)]) -> usize {
    let is_proof = |(_, event): &&(usize, Event)| matches!(event, Event::Proven { .. });
    events.iter().filter(is_proof).count()
}

#[test]
fn a_member_shows_every_entry_and_every_beginning_of_every_chain_that_its_head_covers() {
    let (mut federation, cast, dossier) = under_way(3, 1);
    for number in 0..70 {
        let said = cast.clerk.say(Some(dossier), paid(number + 1), 9, federation.now);
        federation.deposit(0, &said).unwrap();
    }
    federation.settle(5000);
    let mut asked = 0;
    for row in rows(&federation, 2, &dossier) {
        let positions = [0, row.size / 2, row.size - 1].map(Some);
        for position in positions.into_iter().chain([None]) {
            let request = ProofRequest {
                dossier,
                row,
                position,
            };
            federation.overheard = Some(Vec::new());
            federation.ask_proof(2, 1, request).unwrap();
            federation.settle(5000);
            asked += 1;
            let Some((_, event)) = federation.events.last() else {
                panic!("nothing happened");
            };
            let Event::Proven {
                peer,
                request: shown,
                head,
                row: covering,
                path,
            } = event
            else {
                panic!("{event:?}");
            };
            assert_eq!((*peer, **shown), (cast.bar.subject, request));
            assert!(covering.size >= row.size && covering.chain == row.chain && path.len() <= 8);
            assert_eq!(head.head().node, cast.bar.subject);
            // 1 RTT: one frame each way, of 1 to 2 KB.
            let overheard = federation.overheard.take().unwrap();
            let said: Vec<_> = overheard.iter().map(|(from, to, _)| (*from, *to)).collect();
            assert_eq!(said, [(2, 1), (1, 2)]);
            let [question, answer] = [0, 1].map(|index| overheard[index].2.len());
            assert!(question < 200 && answer < 1500, "{question} {answer}");
            // No more than a day's burst; it grows back.
            federation.run_until(federation.now + Span::from_seconds(4));
        }
    }
    assert!(asked > 250 && proven(&federation.events) == asked);
}

/// Frames of the court to somebody else.
fn answers(it: &mut Stage, peer: SubjectId, question: &ProofRequest) -> Vec<Frame> {
    it.frames.clear();
    let frame = Frame::ProofRequest(*question).encode();
    it.engine.handle_frame(peer, &frame, it.now);
    it.work();
    let to_peer = it.frames.iter().filter(|(to, _)| *to == peer);
    to_peer.map(|(_, frame)| frame.clone()).collect()
}

fn refused(frames: &[Frame]) -> Option<Code> {
    match frames {
        [Frame::Refusal(refusal)] => Code::from_number(refusal.code as u16),
        _ => None,
    }
}

/// Of the court's own chain, as the court holds it.
fn question(it: &Stage) -> ProofRequest {
    let row = it.replica().frontier()[0];
    ProofRequest {
        dossier: it.dossier,
        row,
        position: Some(row.size - 1),
    }
}

#[test]
fn to_a_stranger_and_to_who_has_left_a_dossier_that_is_held_looks_like_one_that_is_not() {
    let (mut federation, cast, dossier) = under_way(4, 1);
    let (bar, company, stranger) = (1, 2, 3);
    let row = *rows(&federation, company, &dossier).first().unwrap();
    let asked = ProofRequest {
        dossier,
        row,
        position: Some(0),
    };
    // What the court says to somebody who asks.
    let answer = |federation: &mut Federation, peer, asked| {
        federation.overheard = Some(Vec::new());
        federation.inject(peer, 0, Frame::ProofRequest(asked).encode());
        federation.settle(2000);
        let overheard = federation.overheard.take().unwrap();
        let said = overheard.iter().filter(|(from, to, _)| (*from, *to) == (0, peer));
        let said: Vec<_> = said.map(|(_, _, bytes)| Frame::decode(bytes).unwrap()).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        said
    };
    assert!(matches!(
        answer(&mut federation, bar, asked)[..],
        [Frame::Proof(_)]
    ));
    let remove = cast
        .participants()
        .into_iter()
        .filter(|one| one.node == cast.bar.subject);
    let change = RosterChange {
        ext: None,
        add: vec![],
        remove: remove.map(|one| one.subject).collect(),
    };
    let removal = cast
        .expert
        .say(Some(dossier), Body::RosterChange(change), 9, federation.now);
    federation.deposit(company, &removal).unwrap();
    federation.settle(5000);
    let court = federation.node(0).dossier(&dossier).unwrap();
    assert!(!court.state().nodes().contains(&cast.bar.subject));
    let elsewhere = ProofRequest {
        dossier: DossierId::new([9; 32]),
        ..asked
    };
    for (peer, asked) in [
        (bar, asked),
        (stranger, asked),
        (stranger, elsewhere),
        (company, elsewhere),
    ] {
        let said = answer(&mut federation, peer, asked);
        let alike = Refusal {
            code: 300,
            about: Digest::of(&[&Frame::ProofRequest(asked).encode()]),
            retry_after: None,
            dossier: None,
        };
        assert_eq!(said, [Frame::Refusal(alike)], "{peer}");
    }
    assert!(matches!(
        answer(&mut federation, company, asked)[..],
        [Frame::Proof(_)]
    ));
    // Who has not heard yet that it has left hears this.
    federation.ask_proof(bar, 0, asked).unwrap();
    federation.settle(2000);
    let refused = |(node, event): &(usize, Event)| {
        let refused = Unproven::Refused(Code::UnknownDossier);
        *node == bar && matches!(event, Event::Unproven { why, .. } if *why == refused)
    };
    assert!(federation.events.iter().any(refused));
}

#[test]
fn what_no_head_of_it_covers_has_one_code_whatever_the_reason() {
    let mut it = Stage::at(Situation::InProgress);
    let company = it.cast.company.subject;
    let good = question(&it);
    let row = good.row;
    let other = Digest::new([7; 32]);
    let chain = ChainId {
        incarnation: Incarnation::new([7; 16]),
        ..row.chain
    };
    let wrong = [
        HeadRow { leaf: other, ..row },
        HeadRow { root: other, ..row },
        HeadRow { chain, ..row },
        HeadRow {
            size: row.size + 1,
            ..row
        },
        // Hashes, never heights alone: that leaf stands elsewhere.
        HeadRow {
            size: row.size - 1,
            ..row
        },
    ];
    for row in wrong {
        for position in [Some(0), None] {
            let asked = ProofRequest {
                row,
                position,
                ..good
            };
            let said = answers(&mut it, company, &asked);
            assert_eq!(refused(&said), Some(Code::UnknownReference), "{row:?}");
        }
    }
    // What is held and under no head yet is not covered either.
    let more = it.good();
    it.submit(&more, true).unwrap();
    let longer = question(&it);
    assert_eq!(longer.row.size, row.size + 1);
    let frame = Frame::ProofRequest(longer).encode();
    it.engine.handle_frame(company, &frame, it.now);
    it.frames.clear();
    it.work();
    assert!(
        it.frames
            .iter()
            .any(|(_, frame)| refused(std::slice::from_ref(frame)) == Some(Code::UnknownReference))
    );
    assert!(matches!(
        answers(&mut it, company, &longer)[..],
        [Frame::Proof(_)]
    ));
    // And a question that has no answer is no question.
    for (size, position) in [(0, None), (row.size, Some(row.size)), (row.size, Some(u64::MAX))] {
        let asked = ProofRequest {
            row: HeadRow { size, ..row },
            position,
            ..good
        };
        let said = answers(&mut it, company, &asked);
        assert_eq!(refused(&said), Some(Code::BadValue));
    }
}

#[test]
fn who_asks_for_too_many_is_told_busy_and_asks_again_later() {
    let mut it = Stage::at(Situation::InProgress);
    let company = it.cast.company.subject;
    let asked = question(&it);
    for _ in 0..256 {
        assert!(matches!(answers(&mut it, company, &asked)[..], [Frame::Proof(_)]));
    }
    let said = answers(&mut it, company, &asked);
    assert_eq!(refused(&said), Some(Code::Busy));
    // That is no word about runs of the dossier. SYN-19.
    assert!(matches!(
        &said[..],
        [Frame::Refusal(Refusal {
            retry_after: None,
            dossier: None,
            ..
        })]
    ));
    // Nor does it tell what is held.
    let elsewhere = ProofRequest {
        dossier: DossierId::new([9; 32]),
        ..asked
    };
    assert_eq!(refused(&answers(&mut it, company, &elsewhere)), Some(Code::Busy));
    it.now = it.now + Span::from_seconds(4);
    assert!(matches!(answers(&mut it, company, &asked)[..], [Frame::Proof(_)]));
    assert_eq!(refused(&answers(&mut it, company, &asked)), Some(Code::Busy));
}

/// The court asks the company's node, which the test plays.
struct Asked {
    it: Stage,
    peer: Peer,
    request: ProofRequest,
}

impl Asked {
    fn at_work() -> Self {
        let mut it = Stage::at(Situation::InProgress);
        let mut peer = Peer::new(&it);
        for _ in 0..3 {
            let good = it.good();
            let id = Envelope::decode(&good).unwrap().id();
            assert_eq!(peer.send(&mut it, id, &good), None);
        }
        let request = ProofRequest {
            dossier: it.dossier,
            row: peer.row(),
            position: Some(1),
        };
        Self { it, peer, request }
    }

    fn ask(&mut self) {
        let company = self.it.cast.company.subject;
        self.it.engine.ask_proof(company, self.request).unwrap();
        self.it.work();
        let (to, frame) = self.it.frames.pop().unwrap();
        assert_eq!((to, frame), (company, Frame::ProofRequest(self.request)));
        self.it.events.clear();
    }

    fn about(&self) -> Digest {
        Digest::of(&[&Frame::ProofRequest(self.request).encode()])
    }

    /// What an honest node answers.
    fn honest(&mut self) -> Proof {
        let head = self.peer.next_head(&self.it);
        let size = self.peer.tree.size();
        let path = match self.request.position {
            Some(position) => self.peer.tree.inclusion_path(position, size),
            None => self.peer.tree.consistency_path(self.request.row.size, size),
        };
        let leaf = self
            .request
            .position
            .and_then(|position| self.peer.tree.leaf(position));
        Proof {
            about: self.about(),
            head: ByteBuf::from(self.peer.sign(&head)),
            path: path.unwrap().into_iter().map(Digest::new).collect(),
            leaf: leaf.map(Digest::new),
        }
    }

    /// What the court makes of an answer: what it refuses it with, and the events.
    fn answer(&mut self, proof: Proof) -> (Option<Code>, Vec<Event>) {
        self.it.frames.clear();
        let code = self.it.frame(&Frame::Proof(proof).encode());
        let told = self
            .it
            .frames
            .iter()
            .any(|(_, frame)| matches!(frame, Frame::Refusal(_)));
        assert_eq!(told, code.is_some());
        (code, std::mem::take(&mut self.it.events))
    }
}

/// Spoils an answer.
type Lie = (&'static str, fn(&mut Asked, &mut Proof), Code);

const LIES: &[Lie] = &[
    (
        "a wrong path",
        |_, proof| proof.path[0] = Digest::new([1; 32]),
        Code::HeadMismatch,
    ),
    (
        "a short path",
        |_, proof| proof.path.truncate(1),
        Code::HeadMismatch,
    ),
    (
        "a long path",
        |_, proof| proof.path = vec![Digest::new([1; 32]); 65],
        Code::TooLarge,
    ),
    (
        "64 hashes",
        |_, proof| proof.path = vec![Digest::new([1; 32]); 64],
        Code::HeadMismatch,
    ),
    (
        "another leaf",
        |_, proof| proof.leaf = Some(Digest::new([1; 32])),
        Code::HeadMismatch,
    ),
    (
        "the entry before",
        |it, proof| {
            proof.leaf = it.peer.tree.leaf(0).map(Digest::new);
            proof.path = it
                .peer
                .tree
                .inclusion_path(0, 3)
                .unwrap()
                .into_iter()
                .map(Digest::new)
                .collect();
        },
        Code::HeadMismatch,
    ),
    ("no leaf", |_, proof| proof.leaf = None, Code::BadValue),
    (
        "a consistency path",
        |it, proof| {
            proof.leaf = None;
            proof.path = it
                .peer
                .tree
                .consistency_path(2, 3)
                .unwrap()
                .into_iter()
                .map(Digest::new)
                .collect();
        },
        Code::BadValue,
    ),
    (
        "another chain's row",
        |it, proof| {
            // A tree of the same leaves, in the name of a chain that nobody asked about.
            let mut head = it.peer.next_head(&it.it);
            head.incarnation = Incarnation::new([7; 16]);
            head.rows.retain(|row| row.chain != it.peer.chain);
            let incarnation = head.incarnation;
            let row = it.peer.row();
            head.rows.push(HeadRow {
                chain: ChainId {
                    incarnation,
                    ..row.chain
                },
                ..row
            });
            proof.head = ByteBuf::from(it.peer.sign(&head));
        },
        Code::HeadMismatch,
    ),
    (
        "another dossier's head",
        |it, proof| {
            let mut head = it.peer.next_head(&it.it);
            head.dossier = DossierId::new([9; 32]);
            proof.head = ByteBuf::from(it.peer.sign(&head));
        },
        Code::HeadMismatch,
    ),
    (
        "another node's head",
        |it, proof| {
            let mut head = it.peer.next_head(&it.it);
            let bar = it.it.cast.bar.clone();
            (head.node, head.incarnation) = (bar.subject, Incarnation::new([3; 16]));
            proof.head = ByteBuf::from(sign_head(&bar.key, Typ::Head, &head));
        },
        Code::HeadMismatch,
    ),
    (
        "a head that it did not sign",
        |_, proof| {
            let last = proof.head.len() - 1;
            proof.head[last] ^= 1;
        },
        Code::BadSignature,
    ),
    ("no head", |_, proof| proof.head.clear(), Code::Truncated),
    (
        "a head of tomorrow",
        |it, proof| {
            let mut head = it.peer.next_head(&it.it);
            head.time = head.time + Span::from_seconds(86_400);
            proof.head = ByteBuf::from(it.peer.sign(&head));
        },
        Code::ClaimedAhead,
    ),
];

#[test]
fn every_lie_in_the_place_of_a_proof_is_refused_by_code_and_nothing_of_it_is_kept() {
    for (what, spoil, expected) in LIES {
        let mut it = Asked::at_work();
        let company = it.it.cast.company.subject;
        it.ask();
        let before = (it.it.picture(), it.it.replica().heads()[&company].clone());
        let honest = it.honest();
        let mut lie = honest.clone();
        spoil(&mut it, &mut lie);
        assert_ne!(lie, honest, "{what}");
        let (code, events) = it.answer(lie);
        assert_eq!(code, Some(*expected), "{what}");
        let why = Unproven::Wrong(*expected);
        let request = Box::new(it.request);
        let failed = Event::Unproven {
            peer: company,
            request,
            why,
        };
        assert!(events.contains(&failed), "{what}: {events:?}");
        let after = (it.it.picture(), it.it.replica().heads()[&company].clone());
        assert_eq!(after, before, "{what}");
        // The question is answered: what comes now was not asked for.
        let (code, events) = it.answer(honest);
        assert_eq!(code, Some(Code::BadValue), "{what}");
        assert!(
            !events.iter().any(|event| matches!(event, Event::Proven { .. })),
            "{what}"
        );
        // Asked again, an honest answer counts, and its head is kept.
        it.ask();
        let honest = it.honest();
        let head = honest.head.clone();
        let (code, events) = it.answer(honest);
        assert_eq!(code, None, "{what}");
        assert!(
            events.iter().any(|event| matches!(event, Event::Proven { .. })),
            "{what}"
        );
        assert_eq!(it.it.replica().heads()[&company].encode(), head.to_vec());
    }
}

#[test]
fn the_beginning_of_a_chain_is_shown_and_nothing_else_in_its_place() {
    let mut it = Asked::at_work();
    it.request.row = it
        .it
        .replica()
        .chain(&it.peer.chain)
        .unwrap()
        .row_at(it.peer.chain, 2)
        .unwrap();
    it.request.position = None;
    for spoil in [true, false] {
        it.ask();
        let mut proof = it.honest();
        if spoil {
            proof.path[0] = Digest::new([1; 32]);
        }
        let (code, events) = it.answer(proof);
        assert_eq!(code, spoil.then_some(Code::HeadMismatch));
        assert_eq!(
            events.iter().any(|event| matches!(event, Event::Proven { .. })),
            !spoil
        );
    }
}

#[test]
fn with_the_check_left_out_a_wrong_path_would_pass() {
    let mut it = Asked::at_work();
    it.ask();
    let mut proof = it.honest();
    proof.path.clear();
    plant(Some(Bug::ProofsUnchecked));
    let (code, events) = it.answer(proof);
    plant(None);
    assert_eq!(code, None);
    assert!(events.iter().any(|event| matches!(event, Event::Proven { .. })));
}

#[test]
fn a_leaf_under_its_own_head_that_an_earlier_head_of_it_denies_proves_a_fork() {
    let mut it = Asked::at_work();
    it.request.position = Some(it.peer.row().size - 1);
    it.ask();
    // The same chain with another last entry, and one more.
    let mut leaves: Vec<_> = it.peer.tree.leaves().to_vec();
    *leaves.last_mut().unwrap() = [8; 32];
    leaves.push([9; 32]);
    it.peer.tree = leaves.into_iter().collect::<Tree>();
    let mut proof = it.honest();
    assert_eq!(proof.leaf, Some(Digest::new([8; 32])));
    let (code, events) = it.answer(proof.clone());
    assert_eq!(code, Some(Code::HeadMismatch));
    let fork = events.iter().find_map(|event| match event {
        Event::Unproven {
            why: Unproven::Forked(fork),
            ..
        } => Some(fork),
        _ => None,
    });
    let fork = fork.unwrap();
    assert_eq!(fork.verify(&annuaire()).unwrap(), it.it.cast.company.subject);
    let accused = |event: &Event| matches!(event, Event::Forked { chain, .. } if *chain == it.peer.chain);
    assert!(events.iter().any(accused));
    // Another leaf without a path under that head proves nothing against anybody.
    it.ask();
    proof.leaf = Some(Digest::new([7; 32]));
    let (_, events) = it.answer(proof);
    let wrong = |event: &Event| {
        matches!(
            event,
            Event::Unproven {
                why: Unproven::Wrong(Code::HeadMismatch),
                ..
            }
        )
    };
    assert!(events.iter().any(wrong));
}

#[test]
fn what_a_member_shows_of_anothers_chain_is_a_disagreement_and_no_fork() {
    let mut it = Asked::at_work();
    let own = question(&it.it);
    it.request = own;
    it.ask();
    let leaves = vec![[8; 32]; own.row.size as usize];
    let tree: Tree = leaves.into_iter().collect();
    let mut head = it.peer.next_head(&it.it);
    let row = head
        .rows
        .iter_mut()
        .find(|row| row.chain == own.row.chain)
        .unwrap();
    (row.leaf, row.root) = (Digest::new([8; 32]), Digest::new(tree.root()));
    let position = own.row.size - 1;
    let path = tree.inclusion_path(position, own.row.size).unwrap();
    let lie = Proof {
        about: it.about(),
        head: ByteBuf::from(it.peer.sign(&head)),
        path: path.into_iter().map(Digest::new).collect(),
        leaf: Some(Digest::new([8; 32])),
    };
    let (code, events) = it.answer(lie);
    assert_eq!(code, Some(Code::HeadMismatch));
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Disagreed { .. }))
    );
    assert!(!events.iter().any(|event| matches!(event, Event::Forked { .. })));
}

#[test]
fn so_many_may_be_under_way_to_one_peer_and_each_is_asked_once() {
    let mut it = Asked::at_work();
    let company = it.it.cast.company.subject;
    let chain = it.it.replica().chain(&it.request.row.chain).unwrap();
    let mut rows: Vec<_> = (1..=3)
        .filter_map(|size| chain.row_at(it.peer.chain, size))
        .collect();
    let own = it.it.replica().chains().iter().next().unwrap().1;
    rows.extend((1..=own.size()).filter_map(|size| own.row_at(question(&it.it).row.chain, size)));
    let questions = rows.iter().flat_map(|row| {
        (0..row.size)
            .map(Some)
            .chain([None])
            .map(|position| ProofRequest {
                dossier: it.it.dossier,
                row: *row,
                position,
            })
    });
    let questions: Vec<_> = questions.collect();
    for request in &questions[..16] {
        it.it.engine.ask_proof(company, *request).unwrap();
        it.it.engine.ask_proof(company, *request).unwrap();
    }
    let error = it.it.engine.ask_proof(company, questions[16]).unwrap_err();
    assert_eq!(error.code(), Code::Busy);
    it.it.frames.clear();
    it.it.work();
    assert_eq!(it.it.frames.len(), 16);
    // A refusal is an answer, and makes room.
    it.it.events.clear();
    let refusal = Frame::Refusal(Refusal {
        code: 308,
        about: Digest::of(&[&Frame::ProofRequest(questions[3]).encode()]),
        retry_after: None,
        dossier: None,
    });
    assert_eq!(it.it.frame(&refusal.encode()), None);
    let (request, why) = (Box::new(questions[3]), Unproven::Refused(Code::UnknownReference));
    assert!(it.it.events.contains(&Event::Unproven {
        peer: company,
        request,
        why
    }));
    it.it.engine.ask_proof(company, questions[16]).unwrap();
    // So is the end of the connection, or another one in its place.
    it.it.events.clear();
    it.it.engine.handle_connected(company, it.it.now);
    it.it.work();
    let gone = |event: &&Event| {
        matches!(
            event,
            Event::Unproven {
                why: Unproven::Unreachable,
                ..
            }
        )
    };
    assert_eq!(it.it.events.iter().filter(gone).count(), 16);
    it.it.engine.handle_closed(company);
    it.it.events.clear();
    it.it.engine.ask_proof(company, questions[0]).unwrap();
    it.it.work();
    assert_eq!(it.it.events.iter().filter(gone).count(), 1);
}

#[test]
fn nobody_asks_about_what_it_does_not_hold_itself_nor_who_is_no_member() {
    let mut it = Asked::at_work();
    let company = it.it.cast.company.subject;
    let ask = |it: &mut Asked, peer, request| it.it.engine.ask_proof(peer, request).unwrap_err().code();
    let mut other = it.request;
    other.row.leaf = Digest::new([7; 32]);
    assert_eq!(ask(&mut it, company, other), Code::UnknownReference);
    other = it.request;
    other.position = Some(other.row.size);
    assert_eq!(ask(&mut it, company, other), Code::BadValue);
    other = it.request;
    other.dossier = DossierId::new([9; 32]);
    assert_eq!(ask(&mut it, company, other), Code::UnknownDossier);
    let (stranger, request) = (outsider("bystander", Role::Node).subject, it.request);
    assert_eq!(ask(&mut it, stranger, request), Code::NotParticipant);
}

#[test]
fn a_dossier_at_rest_is_woken_by_a_members_question_and_by_nobody_elses() {
    let (mut federation, cast, dossier) = under_way(4, 1);
    let stranger = 3;
    federation.run_until(federation.now + Span::from_seconds(11));
    federation.crash(0);
    federation.connect_all();
    federation.run_until(federation.now + Span::from_seconds(1));
    assert!(federation.node(0).is_dormant(&dossier));
    let row = *rows(&federation, 2, &dossier).first().unwrap();
    let request = ProofRequest {
        dossier,
        row,
        position: Some(0),
    };
    federation.inject(stranger, 0, Frame::ProofRequest(request).encode());
    federation.settle(2000);
    assert!(federation.node(0).is_dormant(&dossier));
    let unknown = |(node, event): &(usize, Event)| {
        *node == stranger
            && matches!(
                event,
                Event::Refused {
                    code: Code::UnknownDossier,
                    ..
                }
            )
    };
    assert!(federation.events.iter().any(unknown));
    federation.ask_proof(2, 0, request).unwrap();
    federation.settle(2000);
    assert!(!federation.node(0).is_dormant(&dossier));
    assert_eq!(proven(&federation.events), 1);
    assert_eq!(federation.node(0).node(), cast.court.subject);
}

#[test]
fn a_question_for_which_there_is_no_room_until_the_dossier_is_awake_is_told_so() {
    let (mut federation, _, dossier) = under_way(3, 1);
    let row = *rows(&federation, 2, &dossier).first().unwrap();
    federation.run_until(federation.now + Span::from_seconds(11));
    federation.crash(0);
    federation.connect_all();
    federation.run_until(federation.now + Span::from_seconds(1));
    let request = ProofRequest {
        dossier,
        row,
        position: Some(0),
    };
    let summary = federation.node(0).dormant().next().unwrap().clone();
    let (node, peer) = (federation.node(0).node(), federation.node(2).node());
    let registry = federation.registry.clone();
    let mut engine = Engine::new(node, Incarnation::new([9; 16]), "test", registry);
    assert!(engine.restore_dormant(dossier, summary.basis(), Some(summary.clone())));
    engine.handle_connected(peer, federation.now);
    let hello = Frame::Hello(Hello {
        versions: vec![1],
        features: vec![],
        node: peer,
        incarnation: Incarnation::new([8; 16]),
        registries: vec![],
        time: federation.now,
        software: "test".into(),
    });
    engine.handle_frame(peer, &hello.encode(), federation.now);
    for asked in 0..65 {
        assert!(
            engine
                .poll_event()
                .is_none_or(|event| matches!(event, Event::Joined { .. })),
            "{asked}"
        );
        engine.handle_frame(peer, &Frame::ProofRequest(request).encode(), federation.now);
    }
    let busy = Event::Refused {
        peer,
        code: Code::Busy,
    };
    assert_eq!(engine.poll_event(), Some(busy));
    assert_eq!((engine.poll_wake(), engine.poll_wake()), (Some(dossier), None));
}
