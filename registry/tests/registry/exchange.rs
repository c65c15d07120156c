//! Leaves between nodes: when they are sent, and what is checked ahead of their turn. SYN-4.

use std::sync::Arc;

use basoche_protocol::engine::{Checker, Engine, Event, Gossiped, Imported, Registry, Row};
use basoche_protocol::error::Untrusted;
use basoche_protocol::id::{Incarnation, SubjectId};
use basoche_protocol::refusal::Code;
use basoche_protocol::role::Role;
use basoche_protocol::time::Span;
use basoche_protocol::wire::frame::{Frame, Hello, RegistryLeaf, RegistryLeaves, RegistryRequest};
use basoche_protocol::wire::limits;
use basoche_registry::{Entry, Inadmissible, Leaf, Replica};
use serde_bytes::ByteBuf;

use super::kit::{BAR, COMPANY, COURT, Federation, Key, anchors, day, enrolment, revocation, subject};
use super::shelf::MemoryShelf;
use super::snapshots::{Source, begin};

type Node = Engine<Arc<Replica>>;

fn node(n: u8) -> Node {
    let registry = Arc::new(Replica::new(anchors()));
    Engine::new(subject(n), Incarnation::new([n; 16]), "test", registry)
}

/// Carries what both have to say from one to the other, until there is nothing more; the frames with leaves, and how many
/// leaves each has, by their receiver.
fn talk(nodes: &mut [Node; 2]) -> Vec<(SubjectId, usize)> {
    let mut sent = Vec::new();
    loop {
        let mut frames = Vec::new();
        for node in nodes.iter_mut() {
            let from = node.node();
            while node.poll_commit(day(1)).is_some() {
                node.handle_durable();
            }
            frames.extend(std::iter::from_fn(|| node.poll_frame()).map(|(to, frame)| (from, to, frame)));
            for to in node.peers().collect::<Vec<_>>() {
                let leaves = std::iter::from_fn(|| node.poll_leaves_of(&to));
                frames.extend(leaves.map(|frame| (from, to, frame)));
            }
        }
        if frames.is_empty() {
            return sent;
        }
        for (from, to, frame) in frames {
            if let Frame::RegistryLeaves(leaves) = Frame::decode(&frame).unwrap() {
                sent.push((to, leaves.leaves.len()));
            }
            let to = nodes.iter_mut().find(|node| node.node() == to).unwrap();
            to.handle_frame(from, &frame, day(1));
        }
    }
}

/// The logs of three authorities, with so many lawyers.
fn logs(lawyers: u64) -> Vec<(&'static str, RegistryLeaf)> {
    let mut federation = Federation::founded();
    for n in 0..lawyers {
        let (about, key) = (60 + (n % 30) as u8, Key::new(60 + (n % 30) as u8));
        let entry = federation.next(BAR, Some(about), enrolment(&key, Role::Lawyer, 22));
        federation.enter(BAR, &entry, key.der()).unwrap();
    }
    let replica = &federation.replica;
    let logs = [BAR, COMPANY, COURT].into_iter();
    let leaves = logs.flat_map(|origin| {
        let leaves = replica.leaves(origin, 0, usize::MAX).into_iter();
        leaves.map(move |leaf| (origin, leaf))
    });
    leaves.collect()
}

#[test]
fn a_peer_is_sent_what_is_durable_once_and_in_frames_of_bounded_size() {
    let mut nodes = [node(1), node(2)];
    let leaves = logs(1500);
    for (origin, leaf) in &leaves {
        let index = nodes[0].registry().tree(origin).unwrap().size();
        nodes[0].import_leaf(origin, index, leaf.clone()).unwrap();
    }
    nodes[0].handle_connected(subject(2), day(1));
    nodes[1].handle_connected(subject(1), day(1));
    let (_, hello) = nodes[1].poll_frame().unwrap();
    nodes[0].handle_frame(subject(2), &hello, day(1));
    // Nothing of it is durable yet.
    assert_eq!(nodes[0].poll_leaves_of(&subject(2)), None);
    let rows = nodes[0].poll_commit(day(1)).unwrap();
    let kept = rows.iter().filter(|row| matches!(row, Row::Leaf { .. })).count();
    assert_eq!(kept, leaves.len());
    assert_eq!(nodes[0].poll_leaves_of(&subject(2)), None);
    nodes[0].handle_durable();

    let sent = talk(&mut nodes);
    assert_eq!(nodes[0].registry().heads(), nodes[1].registry().heads());
    // 1 509 leaves, in frames of half a mebibyte, and none twice or back.
    assert_eq!(sent.iter().map(|(_, leaves)| leaves).sum::<usize>(), leaves.len());
    assert!(
        sent.len() > 4 && sent.iter().all(|(to, _)| *to == subject(2)),
        "{sent:?}"
    );
    // What comes in later goes on at once; who brought it is not told.
    let more = logs(1501)[1503].1.clone();
    assert_eq!(nodes[1].import_leaf(BAR, 1503, more), Ok(Imported::News));
    assert_eq!(talk(&mut nodes), [(subject(1), 1)]);
    assert_eq!(nodes[0].registry().heads(), nodes[1].registry().heads());
    assert_eq!(talk(&mut nodes), []);
}

/// What a node has asked a peer for of the leaves that it lacks.
fn asked(node: &mut Node) -> Vec<(SubjectId, RegistryRequest)> {
    let frames = std::iter::from_fn(|| node.poll_frame());
    let requests = frames.filter_map(|(to, frame)| match Frame::decode(&frame).unwrap() {
        Frame::RegistryRequest(request) => Some((to, request)),
        _ => None,
    });
    requests.collect()
}

/// The node's rows are durable, its leaves on the shelf.
fn keep(node: &mut Node, shelf: &MemoryShelf) {
    while let Some(rows) = node.poll_commit(day(9)) {
        for row in rows {
            match row {
                Row::Leaf { origin, index, leaf } => shelf.put_leaf(&origin, index, &leaf),
                Row::Registry(row) => shelf.put(row),
                _ => {}
            }
        }
        node.handle_durable();
    }
}

#[test]
fn a_node_that_began_with_a_snapshot_asks_for_what_came_before() {
    let source = Source::new();
    let (shelf, replica) = begin(&source, &source.parts()).unwrap();
    let mut late = Engine::new(subject(1), Incarnation::new([1; 16]), "test", Arc::new(replica));
    // Two peers that have all, of whom one lies, and one that has nothing.
    let whole = source.log.federation.copy().replica;
    let mut honest = Engine::new(
        subject(2),
        Incarnation::new([2; 16]),
        "test",
        Arc::new(whole.clone()),
    );
    let liar = Engine::new(subject(3), Incarnation::new([3; 16]), "test", Arc::new(whole));
    let none = node(4);
    let mut now = day(9);
    for peer in [&honest, &liar, &none] {
        let hello = Frame::Hello(Hello {
            versions: vec![1],
            features: Vec::new(),
            node: peer.node(),
            incarnation: Incarnation::new([9; 16]),
            registries: peer.registry().heads(),
            time: now,
            software: "test".to_owned(),
        });
        late.handle_connected(peer.node(), now);
        late.handle_frame(peer.node(), &hello.encode(), now);
    }
    honest.handle_connected(subject(1), now);
    let (_, hello) = {
        let frames = std::iter::from_fn(|| late.poll_frame());
        frames
            .into_iter()
            .find(|(to, frame)| *to == subject(2) && matches!(Frame::decode(frame), Ok(Frame::Hello(_))))
            .unwrap()
    };
    honest.handle_frame(subject(1), &hello, now);
    let (mut lied, mut rounds) = (0, 0);
    while late.registry().lacking().is_some() {
        rounds += 1;
        assert!(rounds < 200, "{:?}", late.registry().lacking());
        now = now + Span::from_seconds(6);
        late.handle_timeout(now);
        while let Some((to, request)) = asked(&mut late).pop() {
            assert_eq!(request.origin, BAR);
            assert_eq!(Some((BAR.to_owned(), request.from)), late.registry().lacking());
            let frame = if to == subject(2) {
                // The latest request alone is answered.
                honest.handle_frame(subject(1), &Frame::RegistryRequest(request.clone()).encode(), now);
                honest.handle_frame(subject(1), &Frame::RegistryRequest(request).encode(), now);
                honest.poll_leaves_of(&subject(1)).unwrap()
            } else {
                assert_eq!(to, subject(3), "who has nothing is not asked");
                lied += 1;
                let mut leaves = liar.registry().leaves(BAR, request.from, 10_000);
                let last = leaves.len() - 1;
                leaves[last].certificate.push(0);
                let RegistryRequest { origin, from } = request;
                Frame::RegistryLeaves(RegistryLeaves { origin, from, leaves }).encode()
            };
            late.handle_frame(to, &frame, now);
            keep(&mut late, &shelf);
        }
    }
    assert!(lied > 0, "nobody lied");
    let refused = std::iter::from_fn(|| late.poll_event());
    let refused = refused.filter(|event| matches!(event, Event::Refused { peer, .. } if *peer == subject(3)));
    assert_eq!(refused.count(), lied);
    // Nothing of it was news, and nothing is asked for any more.
    now = now + Span::from_seconds(6);
    late.handle_timeout(now);
    assert_eq!(asked(&mut late), []);
    let held = late.registry().leaves(BAR, 0, usize::MAX);
    assert_eq!(held, source.log.federation.replica.leaves(BAR, 0, usize::MAX));
    // The last four came as ever: they are later than the snapshot.
    assert_eq!(held.len(), 305);
}

#[test]
fn what_was_read_ahead_decides_nothing() {
    let mut federation = Federation::founded();
    let officer = federation.officer(BAR, 40, 5);
    let lawyer = Key::new(50);
    let entry = federation.next(BAR, Some(50), enrolment(&lawyer, Role::Lawyer, 22));
    let good = super::kit::leaf(&entry, &officer, &[], lawyer.der());
    let mut bad = good.clone();
    let envelope = Leaf::decode(&good.leaf).unwrap().envelope().encode();
    let starts = good
        .leaf
        .windows(envelope.len())
        .position(|part| part == envelope)
        .unwrap();
    bad.leaf[starts + envelope.len() - 1] ^= 1;

    let gone = federation.next(BAR, Some(40), revocation(&officer, None));
    let late = Entry {
        index: gone.index + 1,
        ..entry
    };
    let late = super::kit::leaf(&late, &officer, &[], lawyer.der());

    // A signature that does not hold is judged as if nobody had read it, in whatever company it comes.
    let size = federation.size(BAR);
    let leaves = [bad, good, late];
    let read = federation.replica.read(BAR, &leaves);
    let [bad_read, good_read, late_read] = <[_; 3]>::try_from(read).unwrap();
    assert!(bad_read.is_some() && good_read.is_some() && late_read.is_some());
    let [bad, good, late] = leaves;
    let refused = federation.replica.import(BAR, size, &bad, bad_read);
    let untrusted = Untrusted::BadSignature {
        certificate: officer.certificate.id(),
    };
    assert_eq!(refused, Err(untrusted.into()));
    // One that holds, by an officer who is revoked before its turn, is judged by the registry of its turn.
    let mut later = federation.copy();
    later.enter(BAR, &gone, &[]).unwrap();
    let refused = later.replica.import(BAR, size + 1, &late, late_read);
    let not_in_force = later.replica.check(BAR, &late).unwrap_err();
    assert!(
        matches!(not_in_force, Inadmissible::NotInForce { .. }),
        "{not_in_force:?}"
    );
    assert_eq!(refused, Err(not_in_force.into()));
    assert_eq!(
        federation.replica.import(BAR, size, &good, good_read),
        Ok(Imported::News)
    );
    // Neither a log that nobody knows nor what is no leaf does any harm.
    let nothing = RegistryLeaf {
        leaf: ByteBuf::from(vec![1, 2, 3]),
        certificate: ByteBuf::from(vec![4]),
    };
    let nothing = [nothing];
    assert!(federation.replica.read("nobody.example", &nothing).is_empty());
    assert!(federation.replica.read(BAR, &nothing)[0].is_none());
}

#[test]
fn frames_with_leaves_are_checked_ahead_and_no_others() {
    let (mut from, to) = (node(1), node(2));
    for (origin, leaf) in logs(0) {
        let index = from.registry().tree(origin).unwrap().size();
        from.import_leaf(origin, index, leaf).unwrap();
    }
    let leaves = from.registry().leaves(BAR, 0, usize::MAX);
    let frame = Frame::RegistryLeaves(RegistryLeaves {
        origin: BAR.to_owned(),
        from: 0,
        leaves,
    });
    let checker: Checker<_> = to.checker(&frame.encode()).unwrap();
    assert!(checker.check(&frame.encode()).is_some());
    assert!(checker.check(&frame.encode()[1..]).is_none());
    assert!(
        to.checker(&Frame::Checkpoint(ByteBuf::from(vec![7])).encode())
            .is_none()
    );
}

#[test]
fn gossip_brings_the_next_entry_of_a_log_and_nothing_else() {
    let (mut node, by) = (node(1), subject(2));
    let frame = |origin: &str, from, leaves: Vec<RegistryLeaf>| {
        let origin = origin.to_owned();
        Frame::RegistryLeaves(RegistryLeaves { origin, from, leaves }).encode()
    };
    let all = logs(3);
    let of = |origin| {
        let leaves = all.iter().filter(move |(of, _)| *of == origin);
        leaves.map(|(_, leaf)| leaf.clone()).collect::<Vec<_>>()
    };
    let bar = of(BAR);
    let one = |index: usize| frame(BAR, index as u64, vec![bar[index].clone()]);
    let mut heard = |bytes: &[u8]| node.handle_gossip(by, bytes, day(1));
    // Before its turn, in its turn, again; whoever says it is connected to nobody.
    assert_eq!(heard(&one(1)), Ok(Gossiped::Known));
    assert_eq!(heard(&one(0)), Ok(Gossiped::News));
    assert_eq!(heard(&one(0)), Ok(Gossiped::Known));
    assert_eq!(heard(&one(1)), Ok(Gossiped::News));
    // What is no one entry, what is none of its log, what a holder has not signed, what is not for passing on.
    let mut forged = bar[2].clone();
    let last = forged.leaf.len() - 1;
    forged.leaf[last] ^= 1;
    let large = Frame::Checkpoint(ByteBuf::from(vec![0; limits::NOTE_BYTES + 1])).encode();
    let huge = vec![0; limits::GOSSIP_BYTES + 1];
    let refused = [
        (frame(BAR, 2, vec![]), Code::BadValue),
        (
            frame(BAR, 2, vec![bar[2].clone(), bar[3].clone()]),
            Code::BadValue,
        ),
        (frame(BAR, 2, vec![bar[3].clone()]), Code::HeadMismatch),
        (frame(BAR, 2, vec![of(COURT)[2].clone()]), Code::UnknownSigner),
        (
            frame("nobody.example", 0, vec![bar[0].clone()]),
            Code::HeadMismatch,
        ),
        (frame(BAR, 2, vec![forged]), Code::BadValue),
        (one(2)[..40].to_vec(), Code::Truncated),
        (large, Code::TooLarge),
        (huge, Code::TooLarge),
        (
            Frame::RegistryRequest(RegistryRequest {
                origin: BAR.to_owned(),
                from: 0,
            })
            .encode(),
            Code::BadValue,
        ),
    ];
    let codes = refused
        .each_ref()
        .map(|(bytes, _)| heard(bytes).map_err(|error| error.code()));
    assert_eq!(codes, refused.each_ref().map(|(_, code)| Err(*code)));
    let note = ByteBuf::from(b"a note".to_vec());
    assert_eq!(
        heard(&Frame::Checkpoint(note.clone()).encode()),
        Ok(Gossiped::Checkpoint(note.clone()))
    );
    assert_eq!(
        heard(&Frame::Equivocation(note.clone()).encode()),
        Ok(Gossiped::Equivocation(note))
    );
    // It goes on in its order, is kept like any other, and nobody is told that it was refused.
    assert_eq!(heard(&one(2)), Ok(Gossiped::News));
    let rows = node.poll_commit(day(1)).unwrap();
    assert_eq!(
        rows.iter().filter(|row| matches!(row, Row::Leaf { .. })).count(),
        3
    );
    node.handle_durable();
    assert_eq!(node.poll_frame(), None);
}
