//! A log goes on under another key, after two histories under the one before or without: whose word it takes, and who gives
//! way. REG-30, REG-31.

use std::sync::Arc;

use basoche_protocol::engine::{Engine, Event, Imported, Registry};
use basoche_protocol::envelope::{Envelope, Typ};
use basoche_protocol::id::{Digest, Incarnation};
use basoche_protocol::journal::RegistryHead;
use basoche_protocol::refusal::Code;
use basoche_protocol::role::Role;
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_registry::entry::{CONTINUATION_PROOF_BYTES, Continuation};
use basoche_registry::leaf::{Capacity, CoSignature, consent};
use basoche_registry::log::{Checkpoint, Equivocation, KeyKind, Note};
use basoche_registry::snapshot::NotGiven;
use basoche_registry::{Inadmissible, Leaf, Replica};
use serde_bytes::ByteBuf;

use crate::kit::{BAR, COMPANY, COURT, Federation, Key, day, enrolment, root, sign, subject};
use crate::log::kit::Holder;
use crate::quorum::Log;
use crate::status::letter;

const NODE: u8 = 22;
/// Entries that are published, and that publication.
const COMMON: u64 = 5;

/// The key number `n` of the bar's log; that of the anchors has 0.
fn log_key(n: u8) -> Holder {
    match n {
        0 => Holder::log(BAR),
        n => Holder::new(BAR, KeyKind::Log, 200 + n),
    }
}

fn head(replica: &Replica) -> RegistryHead {
    let mut heads = replica.heads().into_iter();
    heads.find(|head| head.origin == BAR).unwrap()
}

/// The checkpoint of what `replica` holds, under log key `n`, seen by one witness of each profession on `at`.
fn note(replica: &Replica, n: u8, at: Instant) -> Note {
    let mut note = Note::new(Checkpoint::text(&head(replica))).unwrap();
    log_key(n).sign(&mut note, at);
    for seed in [1, 3, 5] {
        Holder::witness(seed).sign(&mut note, at);
    }
    note
}

fn checkpoint(replica: &Replica, n: u8) -> Checkpoint {
    Checkpoint::open(note(replica, n, day(2)), &[log_key(n).key]).unwrap()
}

/// Enters what witnesses have seen of the log.
fn publish(federation: &mut Federation, n: u8, at: Instant) -> Result<bool, Inadmissible> {
    let checkpoint = note(&federation.replica, n, at).encode();
    let mut entry = federation.next(BAR, None, basoche_registry::entry::Publication { checkpoint });
    (entry.issued_at, entry.effective_at) = (at, at);
    federation.enter(BAR, &entry, &[])
}

/// The proof that log key `n` has signed the history of both.
fn proof(smaller: &Replica, larger: &Replica, n: u8) -> Equivocation {
    let (small, tree) = (head(smaller).size, larger.tree(BAR).unwrap());
    let begins = Digest::new(tree.root_at(small).unwrap());
    let path = tree.consistency_path(small, tree.size()).unwrap();
    let path = path.into_iter().map(Digest::new).collect();
    Equivocation::new(&checkpoint(smaller, n), &checkpoint(larger, n), begins, path)
}

/// One history up to a publication, and two beyond: one of a lawyer, 60, and one of two others, 62 and 63.
struct Forked {
    common: Federation,
    one: Federation,
    other: Federation,
}

impl Forked {
    fn new() -> Self {
        let mut log = Log::new();
        log.publish(day(1), day(1)).unwrap();
        let common = log.federation;
        assert_eq!(common.size(BAR), COMMON);
        let with = |people: &[u8]| {
            let mut federation = common.copy();
            for n in people {
                let key = Key::new(*n);
                federation.add_on((2, 2), *n, enrolment(&key, Role::Lawyer, NODE), key.der());
            }
            federation
        };
        let (one, other) = (with(&[60]), with(&[62, 63]));
        Self { common, one, other }
    }

    fn proof(&self) -> ByteBuf {
        ByteBuf::from(proof(&self.one.replica, &self.other.replica, 0).encode())
    }

    /// What the authority says that nobody holds anything against.
    fn next(&self) -> Continuation {
        Continuation {
            number: 1,
            log: log_key(1).key,
            root: head(&self.common.replica).root,
            proof: Some(self.proof()),
        }
    }
}

/// What a root of somebody signs who agrees that the bar's log goes on so from entry `index`.
fn agree(federation: &Federation, by: &Key, index: u64, next: &Continuation) -> Envelope {
    let policy = federation.replica.anchors().policy().unwrap();
    let target = consent(&policy.digest(), BAR, index, next);
    let unsigned = CoSignature::draft(by, target, Capacity::Authority, day(0));
    unsigned.sign(by).unwrap()
}

/// The entry on day 3, signed by `author`, with these beside.
fn leaf(federation: &Federation, next: &Continuation, author: &Key, beside: Vec<Envelope>) -> RegistryLeaf {
    let mut entry = federation.next(BAR, None, next.clone());
    (entry.issued_at, entry.effective_at) = (day(3), day(3));
    let leaf = Leaf::new(sign(&entry, Typ::Registry, author), beside).unwrap();
    RegistryLeaf {
        leaf: ByteBuf::from(leaf.encode()),
        certificate: ByteBuf::new(),
    }
}

/// The same as the bar and the court say it.
fn agreed(federation: &Federation, next: &Continuation) -> RegistryLeaf {
    let beside = agree(federation, &root(COURT), federation.size(BAR), next);
    leaf(federation, next, &root(BAR), vec![beside])
}

#[test]
fn a_log_goes_on_under_another_key_and_nothing_under_the_one_before_counts() {
    let Forked { mut common, .. } = Forked::new();
    let next = Forked::new().next();
    let before = common.replica.state_root(BAR);
    let leaf = agreed(&common, &next);
    assert_eq!(common.admit(BAR, &leaf), Ok(true));
    assert_ne!(common.replica.state_root(BAR), before);
    // The other logs keep theirs.
    let keys = common.replica.log_keys();
    let expected = [log_key(1).key, Holder::log(COMPANY).key, Holder::log(COURT).key];
    assert_eq!(keys, expected);
    assert_eq!(common.replica.former_log_keys(), [log_key(0).key]);
    assert_eq!(common.replica.continuations(BAR), [COMMON]);

    let key = Key::new(60);
    common.add_on((4, 4), 60, enrolment(&key, Role::Lawyer, NODE), key.der());
    let refused = publish(&mut common, 0, day(4)).unwrap_err();
    assert!(refused.to_string().contains("not signed"), "{refused}");
    assert_eq!(letter(&common.replica, &key.certificate.id(), day(4)), 'U');
    assert_eq!(publish(&mut common, 1, day(4)), Ok(true));
    assert_eq!(letter(&common.replica, &key.certificate.id(), day(4)), 'V');
    // So it is for who reads it back, and for who takes in the entries.
    let again = common.copy().replica;
    assert_eq!(again.log_keys(), expected);
    assert_eq!(again.state_root(BAR), common.replica.state_root(BAR));
    let mut fresh = Replica::new(common.replica.anchors().clone());
    for (leaf, index) in common.replica.leaves(BAR, 0, usize::MAX).iter().zip(0..) {
        assert_eq!(fresh.admit(BAR, index, leaf), Ok(true));
    }
    assert_eq!(fresh.log_keys(), expected);
    // Under the anchors' key a snapshot of it proves nothing.
    let head = checkpoint(&common.replica, 1);
    let state = common.replica.state_root(BAR).unwrap();
    let stated = basoche_registry::entry::StateRoot { root: state };
    common.add(BAR, None, stated, &[]).unwrap();
    let index = common.replica.stated(BAR).unwrap();
    let given = common.replica.snapshot(BAR, index, &head, 0);
    assert!(matches!(given, Err(NotGiven::Unfit(..))), "{given:?}");

    // Once more, without anybody having signed two histories: a key is given up.
    let third = Continuation {
        number: 2,
        log: log_key(2).key,
        root: self::head(&common.replica).root,
        proof: None,
    };
    let mut entry = common.next(BAR, None, third.clone());
    (entry.issued_at, entry.effective_at) = (day(5), day(5));
    let beside = agree(&common, &root(COMPANY), common.size(BAR), &third);
    let leaf = Leaf::new(sign(&entry, Typ::Registry, &root(BAR)), vec![beside]).unwrap();
    let leaf = RegistryLeaf {
        leaf: ByteBuf::from(leaf.encode()),
        certificate: ByteBuf::new(),
    };
    assert_eq!(common.admit(BAR, &leaf), Ok(true));
    assert_eq!(common.replica.former_log_keys().len(), 2);
    assert_eq!(publish(&mut common, 2, day(6)), Ok(true));
}

#[test]
fn what_most_authorities_have_not_agreed_to_is_refused() {
    let forked = Forked::new();
    let mut common = forked.common.copy();
    let next = forked.next();
    let mut refused = |author: &Key, beside: Vec<Envelope>| {
        let leaf = leaf(&forked.common, &next, author, beside);
        common.admit(BAR, &leaf).unwrap_err()
    };
    let alone = refused(&root(BAR), vec![]);
    assert!(
        matches!(&alone, Inadmissible::NotEntitled { what, .. } if *what == "the roots of most authorities"),
        "{alone:?}"
    );
    // To another place, another key, another federation.
    let court = root(COURT);
    let other = Continuation {
        log: log_key(2).key,
        ..next.clone()
    };
    let elsewhere = consent(&Digest::new([9; 32]), BAR, COMMON, &next);
    let unsigned = CoSignature::draft(&court, elsewhere, Capacity::Authority, day(0));
    let wrong = [
        agree(&forked.common, &court, COMMON + 1, &next),
        agree(&forked.common, &court, COMMON, &other),
        unsigned.sign(&court).unwrap(),
    ];
    for beside in wrong {
        let what = "it agrees to something else";
        let expected = Inadmissible::CoSignature { number: 0, what };
        assert_eq!(refused(&root(BAR), vec![beside]), expected);
    }
    // Its own root is no other authority's, and a stranger is none.
    for by in [root(BAR), Key::new(99)] {
        let beside = agree(&forked.common, &by, COMMON, &next);
        let error = refused(&root(BAR), vec![beside]);
        assert!(
            matches!(error, Inadmissible::CoSignature { number: 0, .. }),
            "{error:?}"
        );
    }
}

#[test]
fn a_continuation_that_does_not_follow_is_refused() {
    let forked = Forked::new();
    let good = forked.next();
    let refused = |next: Continuation| {
        let mut federation = forked.common.copy();
        let leaf = agreed(&federation, &next);
        federation.admit(BAR, &leaf).unwrap_err()
    };
    let witness = Holder::new(BAR, KeyKind::Log, 1).key;
    let innocent = proof(&forked.common.replica, &forked.one.replica, 0).encode();
    let of_another_key = proof(&forked.one.replica, &forked.other.replica, 1).encode();
    let with = |change: &dyn Fn(&mut Continuation)| {
        let mut next = good.clone();
        change(&mut next);
        next
    };
    let unproved = "the proof does not show that the key before has signed two histories";
    let cases = [
        (with(&|next| next.number = 2), "its number is not the next one"),
        (
            with(&|next| next.log = Holder::log(COURT).key),
            "the key is not named as the log",
        ),
        (
            with(&|next| next.log = log_key(0).key),
            "the log has had that key before",
        ),
        (with(&|next| next.log = witness.clone()), "a witness has that key"),
        (
            with(&|next| next.proof = Some(ByteBuf::from(innocent.clone()))),
            unproved,
        ),
        (
            with(&|next| next.proof = Some(ByteBuf::from(of_another_key.clone()))),
            unproved,
        ),
        (
            with(&|next| (next.root, next.proof) = (head(&forked.one.replica).root, None)),
            "it goes on from other entries than those before it",
        ),
    ];
    for (next, expected) in cases {
        let error = refused(next);
        assert_eq!(error, Inadmissible::NotContinued { what: expected });
        assert_eq!(
            basoche_protocol::error::Error::from(error).code(),
            Code::HeadMismatch
        );
    }
    let malformed = [
        with(&|next| next.number = 0),
        with(&|next| next.log = Holder::witness(9).key),
        with(&|next| next.proof = Some(ByteBuf::from(b"nothing"))),
        with(&|next| next.proof = Some(ByteBuf::from(vec![0; CONTINUATION_PROOF_BYTES + 1]))),
    ];
    for next in malformed {
        let error = refused(next);
        assert!(matches!(error, Inadmissible::Malformed(_)), "{error:?}");
    }
    assert_eq!(
        forked.common.copy().admit(BAR, &agreed(&forked.common, &good)),
        Ok(true)
    );
}

/// Where nobody need see anything, nobody can tell which history counts: such anchors are for trials.
#[test]
fn a_federation_without_witnesses_has_no_continuation() {
    let mut federation = Federation::founded();
    let refused = federation.add(BAR, None, Forked::new().next(), &[]);
    assert!(
        matches!(refused, Err(Inadmissible::NotPublished { .. })),
        "{refused:?}"
    );
}

#[test]
fn who_holds_another_history_gives_way_as_far_as_nothing_is_published_in_it() {
    let forked = Forked::new();
    let leaf = agreed(&forked.common, &forked.next());
    let other = |replica: &Replica, index: u64, leaf: &RegistryLeaf| replica.clone().admit(BAR, index, leaf);
    let origin = BAR.to_owned();
    let gives_way = Err(Inadmissible::OtherHistory {
        origin,
        index: COMMON,
    });
    for held in [&forked.one, &forked.other] {
        assert_eq!(other(&held.replica, COMMON, &leaf), gives_way);
        let registry: &mut Replica = &mut held.replica.clone();
        assert_eq!(
            registry.import(BAR, COMMON, &leaf, None),
            Ok(Imported::OtherHistory)
        );
        // Nothing has become of it yet.
        assert_eq!(registry.heads(), held.replica.heads());
    }
    // As many entries as stand before it, and others.
    let longer = {
        let mut federation = forked.one.copy();
        publish(&mut federation, 0, day(2)).unwrap();
        federation
    };
    let next = Continuation {
        root: head(&longer.replica).root,
        ..forked.next()
    };
    let after = agreed(&longer, &next);
    assert_eq!(longer.size(BAR), forked.other.size(BAR));
    let index = longer.size(BAR);
    let origin = BAR.to_owned();
    let gives_way = Err(Inadmissible::OtherHistory { origin, index });
    assert_eq!(other(&forked.other.replica, index, &after), gives_way);
    assert_eq!(other(&longer.replica, index, &after), Ok(true));
    // What is published stays: here that is more than stands before the first continuation.
    assert_eq!(longer.replica.published(BAR).unwrap().0, COMMON + 1);
    let rewritten = Err(Inadmissible::Rewritten { index: COMMON });
    assert_eq!(other(&longer.replica, COMMON, &leaf), rewritten);

    // Nothing gives way without the proof, nor before what too few have agreed to.
    let unproved = Continuation {
        proof: None,
        ..forked.next()
    };
    let alone = self::leaf(&forked.common, &forked.next(), &root(BAR), vec![]);
    for leaf in [agreed(&forked.common, &unproved), alone] {
        assert_eq!(other(&forked.one.replica, COMMON, &leaf), rewritten);
    }
    // Nor before one that is given where it does not stand: whoever lacks entries is no other history.
    for index in [0, 3, COMMON - 1] {
        let behind = up_to(&forked.common.replica, index);
        let error = other(&behind, index, &leaf).unwrap_err();
        assert!(matches!(error, Inadmissible::Elsewhere { .. }), "{error:?}");
        let known = other(&forked.common.replica, index, &leaf);
        assert_eq!(known, Err(Inadmissible::Rewritten { index }));
    }
    // Nor before one that follows what is held here, and is wrong otherwise.
    let mut early = forked.common.next(BAR, None, forked.next());
    (early.issued_at, early.effective_at) = (day(0), day(0));
    let beside = agree(&forked.common, &root(COURT), COMMON, &forked.next());
    let early = Leaf::new(sign(&early, Typ::Registry, &root(BAR)), vec![beside]).unwrap();
    let early = RegistryLeaf {
        leaf: ByteBuf::from(early.encode()),
        certificate: ByteBuf::new(),
    };
    let error = other(&forked.common.replica, COMMON, &early).unwrap_err();
    assert!(matches!(error, Inadmissible::IssuedEarlier { .. }), "{error:?}");

    // Who is on the right one goes on, and hears it again without harm.
    let mut right = forked.common.copy();
    assert_eq!(right.admit(BAR, &leaf), Ok(true));
    assert_eq!(right.replica.admit(BAR, COMMON, &leaf), Ok(false));
}

type Node = Engine<Arc<Replica>>;

const NOBODY: [usize; 0] = [];

fn node(n: u8, replica: &Replica) -> Node {
    let registry = Arc::new(replica.clone());
    let mut node = Engine::new(subject(n), Incarnation::new([n; 16]), "test", registry);
    node.replace_registry(Arc::new(replica.clone()));
    node
}

/// What `replica` has of the first `size` entries, as a store is read back.
fn up_to(replica: &Replica, size: u64) -> Replica {
    let mut fresh = Replica::new(replica.anchors().clone());
    let leaves = replica.leaves(BAR, 0, usize::MAX);
    for (leaf, index) in leaves.iter().zip(0..size) {
        fresh.admit(BAR, index, leaf).unwrap();
    }
    fresh
}

/// Carries what the nodes have to say until there is nothing more, but for frames that `lost` names by sender and receiver.
/// Gives who is to give way.
fn talk(nodes: &mut [Node], now: Instant, lost: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut give_way = Vec::new();
    loop {
        let mut frames = Vec::new();
        for (from, node) in nodes.iter_mut().enumerate() {
            while node.poll_commit(now).is_some() {
                node.handle_durable();
            }
            let told = std::iter::from_fn(|| node.poll_event());
            give_way.extend(
                told.filter(|event| matches!(event, Event::OtherHistory { .. }))
                    .map(|_| from),
            );
            frames.extend(std::iter::from_fn(|| node.poll_frame()).map(|(to, frame)| (from, to, frame)));
            for to in node.peers().collect::<Vec<_>>() {
                let leaves = std::iter::from_fn(|| node.poll_leaves_of(&to));
                frames.extend(leaves.map(|frame| (from, to, frame)));
            }
        }
        if frames.is_empty() {
            return give_way;
        }
        for (from, to, frame) in frames {
            let at = nodes.iter().position(|node| node.node() == to).unwrap();
            if !lost(from, at) {
                let sender = nodes[from].node();
                nodes[at].handle_frame(sender, &frame, now);
            }
        }
    }
}

/// All nodes meet anew.
fn meet(nodes: &mut [Node], now: Instant) {
    let ids: Vec<_> = nodes.iter().map(Engine::node).collect();
    for node in nodes.iter_mut() {
        for id in ids.iter().filter(|id| **id != node.node()).collect::<Vec<_>>() {
            node.handle_closed(*id);
            node.handle_connected(*id, now);
        }
    }
}

/// One node has the history that goes on; two hold the other one, of whom one hears late that it is none.
#[test]
fn nodes_on_another_history_come_back_one_after_the_other() {
    let forked = Forked::new();
    let mut right = forked.common.copy();
    let leaf = agreed(&forked.common, &forked.next());
    right.admit(BAR, &leaf).unwrap();
    let other = &forked.other.replica;
    let mut nodes = [node(1, &right.replica), node(2, other), node(3, other)];
    meet(&mut nodes, day(4));
    let of_third = |from, to| (from, to) == (0, 2);
    assert_eq!(talk(&mut nodes, day(4), of_third), [1]);
    // It goes back as far as nothing is published, and meets the others anew. The third still has what it brought before.
    let published = other.published(BAR).unwrap().0;
    nodes[1].replace_registry(Arc::new(up_to(other, published)));
    meet(&mut nodes, day(4));
    let third_first = |from, to| of_third(from, to) || (from, to) == (0, 1);
    assert_eq!(talk(&mut nodes, day(4), third_first), NOBODY);
    assert_eq!(
        head(nodes[1].registry()).size,
        published,
        "it listens to the first alone"
    );
    // With the first it goes on; and the third hears of it from the second.
    meet(&mut nodes, day(4));
    assert_eq!(talk(&mut nodes, day(4), of_third), [2]);
    assert_eq!(nodes[1].registry().heads(), nodes[0].registry().heads());
    nodes[2].replace_registry(Arc::new(up_to(other, published)));
    meet(&mut nodes, day(4));
    assert_eq!(talk(&mut nodes, day(4), |_, _| false), NOBODY);
    for node in &nodes {
        assert_eq!(node.registry().heads(), nodes[0].registry().heads());
        assert_eq!(node.registry().log_keys()[0], log_key(1).key);
    }

    // If who told it is gone, it listens to all again after a minute: what they bring gives way once more.
    let mut nodes = [node(1, &right.replica), node(2, other), node(3, other)];
    meet(&mut nodes, day(4));
    assert_eq!(talk(&mut nodes, day(4), of_third), [1]);
    nodes[1].replace_registry(Arc::new(up_to(other, published)));
    let later = day(4) + Span::from_seconds(60);
    meet(&mut nodes, later);
    assert_eq!(talk(&mut nodes, later, third_first), NOBODY);
    assert_eq!(head(nodes[1].registry()).size, head(other).size);
    meet(&mut nodes, later);
    assert_eq!(talk(&mut nodes, later, of_third), [1]);
}
