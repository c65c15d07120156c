//! What two heads prove against the node that signed them, and what they never prove. SPEC §8.2, §8.6.
#![allow(clippy::unwrap_used)]

mod stage;

use std::sync::LazyLock;

use basoche_protocol::engine::Event;
use basoche_protocol::envelope::{Envelope, Typ};
use basoche_protocol::fixture::{Cast, TestKey};
use basoche_protocol::id::{Digest, DossierId, Incarnation, MessageId, SubjectId};
use basoche_protocol::journal::{
    BadChain, ChainId, Entry, ForkProof, Head, HeadRow, RegistryHead, SignedHead,
};
use basoche_protocol::plant::{Bug, plant};
use basoche_protocol::refusal::Code;
use basoche_protocol::tree::Tree;
use basoche_protocol::wire::frame::{Frame, Frontier};
use basoche_protocol::wire::limits;
use proptest::prelude::*;
use serde_bytes::ByteBuf;
use stage::*;

/// A registry that knows everybody.
static ANNUAIRE: LazyLock<Annuaire> = LazyLock::new(annuaire);
/// The company's node.
static NODE: LazyLock<SubjectId> = LazyLock::new(|| Cast::default().company.subject);

/// The chain of the company's node.
fn chain() -> ChainId {
    let incarnation = Incarnation::new([2; 16]);
    ChainId {
        node: *NODE,
        incarnation,
    }
}

/// An entry after `prev`; `variant` tells branches apart.
fn entry(seq: u64, prev: Option<Digest>, variant: u8) -> Entry {
    Entry {
        dossier: DossierId::new([4; 32]),
        chain: chain(),
        seq,
        prev,
        deps: vec![],
        recorded_at: START,
        message: MessageId::new([variant; 32]),
        envelope_digest: Digest::new([variant; 32]),
        sealed_digest: Digest::new([variant; 32]),
        wraps: vec![],
        adopts: None,
    }
}

/// A chain of entries and its tree; the entries from `fork` on belong to branch `variant`.
fn branch(size: u64, fork: u64, variant: u8) -> (Vec<Entry>, Tree) {
    let (mut entries, mut tree): (Vec<Entry>, _) = (Vec::new(), Tree::new());
    for seq in 0..size {
        let prev = entries.last().map(Entry::leaf);
        let next = entry(seq, prev, if seq < fork { 0 } else { variant });
        tree.push(*next.leaf().as_bytes());
        entries.push(next);
    }
    (entries, tree)
}

/// A head over the first `size` entries of a tree.
fn head(tree: &Tree, size: u64) -> Head {
    let row = |size: u64| HeadRow {
        chain: chain(),
        size,
        leaf: Digest::new(tree.leaf(size - 1).unwrap()),
        root: Digest::new(tree.root_at(size).unwrap()),
    };
    Head {
        v: Head::VERSION,
        head_no: size,
        dossier: DossierId::new([4; 32]),
        node: chain().node,
        incarnation: chain().incarnation,
        rows: (size > 0).then(|| row(size)).into_iter().collect(),
        registries: vec![],
        time: START,
    }
}

fn signed(head: &Head) -> Vec<u8> {
    sign_head(&TestKey::new("company"), Typ::Head, head)
}

/// The best case that anybody can make of two heads.
fn case(a: (&Tree, u64), b: (&Tree, u64)) -> ForkProof {
    ForkProof {
        a: signed(&head(a.0, a.1)),
        b: signed(&head(b.0, b.1)),
        leaf: Digest::new(b.0.leaf(a.1 - 1).unwrap()),
        path: b.0.inclusion_path(a.1 - 1, b.1).unwrap(),
    }
}

fn holds(proof: &ForkProof) -> bool {
    match proof.verify(&*ANNUAIRE) {
        Ok(node) => {
            assert_eq!(node, chain().node);
            true
        }
        Err(_) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn two_branches_of_one_chain_prove_a_fork(fork in 0..33_u64, beyond in 1..9_u64, more in 0..9_u64) {
        let (size_a, size_b) = (fork + beyond, fork + beyond + more);
        let (a, b) = (branch(size_a, fork, 1).1, branch(size_b, fork, 2).1);
        prop_assert!(holds(&case((&a, size_a), (&b, size_b))));
    }

    #[test]
    fn prefixes_of_one_chain_never_prove_a_fork(size_a in 1..65_u64, more in 0..33_u64, picked in any::<usize>(), cut in 0..7_usize) {
        let size_b = size_a + more;
        let tree = branch(size_b, size_b, 0).1;
        let honest = case((&tree, size_a), (&tree, size_b));
        prop_assert!(!holds(&honest));
        // No other leaf or inner node of the same tree does either, with a path cut as short as one likes.
        let root_at = |size| Digest::new(tree.root_at(size).unwrap());
        let leaves = (0..size_b).map(|index| Digest::new(tree.leaf(index).unwrap()));
        let hashes: Vec<_> = leaves.chain((1..=size_b).map(root_at)).chain(honest.path.iter().map(|hash| Digest::new(*hash))).collect();
        let mut forged = honest;
        forged.leaf = hashes[picked % hashes.len()];
        prop_assert!(!holds(&forged));
        forged.path.drain(..cut.min(forged.path.len()));
        prop_assert!(!holds(&forged));
    }

    #[test]
    fn a_whole_power_of_two_never_proves_a_fork(power in 0..6_u32, more in 0..33_u64) {
        // The root of the first 2^k leaves is an inner node of every longer tree.
        let size_a = 1 << power;
        let size_b = size_a + more;
        let tree = branch(size_b, size_b, 0).1;
        let mut forged = case((&tree, size_a), (&tree, size_b));
        prop_assert!(!holds(&forged));
        forged.leaf = Digest::new(tree.root_at(size_a).unwrap());
        for kept in 0..=forged.path.len() {
            let mut shorter = forged.clone();
            shorter.path.drain(..shorter.path.len() - kept);
            prop_assert!(!holds(&shorter));
        }
    }

    #[test]
    fn neighbours_of_an_honest_chain_never_prove_a_bad_chain(size in 2..40_u64, at in any::<u64>(), other in any::<u64>()) {
        let (entries, tree) = branch(size, size, 0);
        let later = 1 + at % (size - 1);
        let proof = bad_chain(&tree, entries[later as usize].clone());
        prop_assert!(proof.verify(&*ANNUAIRE).is_err());
        // Nor does another earlier leaf: its place is not there.
        let mut forged = proof;
        let elsewhere = other % size;
        forged.earlier = Digest::new(tree.leaf(elsewhere).unwrap());
        forged.paths[0] = tree.inclusion_path(elsewhere, size).unwrap();
        prop_assert!(forged.verify(&*ANNUAIRE).is_err());
    }
}

#[test]
fn a_fork_proof_with_any_field_changed_proves_nothing() {
    let (a, b) = (branch(5, 3, 1).1, branch(9, 3, 2).1);
    let proof = case((&a, 5), (&b, 9));
    assert!(holds(&proof));
    type Change = fn(&mut ForkProof);
    let changes: [Change; 9] = [
        |proof| proof.leaf = Digest::new([0; 32]),
        |proof| proof.path[0][0] ^= 1,
        |proof| {
            let _ = proof.path.pop();
        },
        |proof| proof.path.push([0; 32]),
        |proof| std::mem::swap(&mut proof.a, &mut proof.b),
        |proof| *proof.a.last_mut().unwrap() ^= 1,
        |proof| *proof.b.last_mut().unwrap() ^= 1,
        |proof| proof.a = proof.b.clone(),
        |proof| proof.a.clear(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut changed = proof.clone();
        change(&mut changed);
        assert!(!holds(&changed), "change {number}");
    }
}

#[test]
fn heads_of_two_chains_dossiers_or_signers_prove_nothing() {
    let (a, b) = (branch(5, 3, 1).1, branch(9, 3, 2).1);
    type Change = fn(&mut Head);
    let changes: [Change; 3] = [
        |head| head.dossier = DossierId::new([5; 32]),
        |head| {
            head.incarnation = Incarnation::new([3; 16]);
            head.rows[0].chain.incarnation = head.incarnation;
        },
        |head| head.rows.clear(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut proof = case((&a, 5), (&b, 9));
        let mut other = head(&a, 5);
        change(&mut other);
        proof.a = signed(&other);
        assert!(
            SignedHead::verify(&proof.a, &*ANNUAIRE).is_ok(),
            "change {number}"
        );
        assert!(!holds(&proof), "change {number}");
    }
    // Nobody can be accused under somebody else's signature, nor with what was signed as something else.
    let mut proof = case((&a, 5), (&b, 9));
    proof.a = sign_head(&TestKey::new("bar"), Typ::Head, &head(&a, 5));
    assert!(!holds(&proof));
    proof.a = sign_head(&TestKey::new("company"), Typ::Message, &head(&a, 5));
    assert!(!holds(&proof));
}

/// The case against the entry before `later` in the chain of `tree`.
fn bad_chain(tree: &Tree, later: Entry) -> BadChain {
    let (before, seq) = (later.seq - 1, later.seq);
    BadChain {
        head: signed(&head(tree, tree.size())),
        earlier: Digest::new(tree.leaf(before).unwrap()),
        later,
        paths: [before, seq].map(|index| tree.inclusion_path(index, tree.size()).unwrap()),
    }
}

/// A tree of six entries of which the fourth does not follow the third.
fn broken() -> (Tree, Entry) {
    let (entries, _) = branch(6, 6, 0);
    let mut tree = Tree::new();
    let mut broken = entries[3].clone();
    broken.prev = Some(Digest::new([9; 32]));
    for entry in &entries {
        let entry = if entry.seq == 3 { &broken } else { entry };
        tree.push(*entry.leaf().as_bytes());
    }
    (tree, broken)
}

#[test]
fn a_head_over_an_entry_that_does_not_follow_proves_a_bad_chain() {
    let (tree, later) = broken();
    let proof = bad_chain(&tree, later);
    assert_eq!(proof.verify(&*ANNUAIRE).unwrap(), chain().node);
    type Change = fn(&mut BadChain);
    let changes: [Change; 9] = [
        |proof| proof.earlier = Digest::new([0; 32]),
        |proof| proof.later.prev = Some(proof.earlier),
        |proof| proof.later.prev = Some(Digest::new([8; 32])),
        |proof| proof.later.seq = 4,
        |proof| proof.later.seq = 0,
        |proof| proof.paths.swap(0, 1),
        |proof| proof.paths[0][0][0] ^= 1,
        |proof| {
            let _ = proof.paths[1].pop();
        },
        |proof| *proof.head.last_mut().unwrap() ^= 1,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut changed = proof.clone();
        change(&mut changed);
        assert!(changed.verify(&*ANNUAIRE).is_err(), "change {number}");
    }
}

#[test]
fn heads_keep_to_their_limits() {
    let tree = branch(3, 3, 0).1;
    let verify = |head: &Head| SignedHead::verify(&signed(head), &*ANNUAIRE).map_err(|error| error.code());
    let rows = |count: usize| {
        let row = head(&tree, 3).rows[0];
        let mut rows: Vec<_> = (0..count)
            .map(|number| {
                let mut row = row;
                let mut incarnation = [0; 16];
                incarnation[..8].copy_from_slice(&(number as u64).to_be_bytes());
                row.chain.incarnation = Incarnation::new(incarnation);
                row
            })
            .collect();
        rows.sort_by_key(|row| row.chain);
        rows
    };
    let registries = |count: usize| {
        let head = |number| RegistryHead {
            origin: format!("authority-{number:02}.example"),
            size: 1,
            root: Digest::new([1; 32]),
        };
        (0..count).map(head).collect::<Vec<_>>()
    };
    let good = head(&tree, 3);
    assert!(verify(&good).is_ok());
    assert!(
        verify(&Head {
            rows: rows(limits::FRONTIER_ROWS),
            ..good.clone()
        })
        .is_ok()
    );
    assert!(
        verify(&Head {
            registries: registries(limits::REGISTRIES),
            ..good.clone()
        })
        .is_ok()
    );
    let (mut twice, mut unordered, mut empty) = (rows(2), rows(2), rows(1));
    twice[1] = twice[0];
    unordered.swap(0, 1);
    empty[0].size = 0;
    let mut backwards = registries(2);
    backwards.swap(0, 1);
    for bad in [
        Head {
            rows: rows(limits::FRONTIER_ROWS + 1),
            ..good.clone()
        },
        Head {
            rows: twice,
            ..good.clone()
        },
        Head {
            rows: unordered,
            ..good.clone()
        },
        Head {
            rows: empty,
            ..good.clone()
        },
        Head {
            registries: registries(limits::REGISTRIES + 1),
            ..good.clone()
        },
        Head {
            registries: backwards,
            ..good.clone()
        },
    ] {
        assert_eq!(verify(&bad).map(drop), Err(Code::BadValue));
    }
    assert_eq!(verify(&Head { v: 2, ..good }).map(drop), Err(Code::Version));
}

/// The court holds one entry of the peer's chain; a second history of the same chain has another.
fn forked() -> (Stage, Peer, Peer) {
    let mut it = Stage::at(Situation::InProgress);
    let (mut first, mut second) = (Peer::new(&it), Peer::new(&it));
    let (one, other) = (it.good(), it.good());
    let id = |bytes: &[u8]| Envelope::decode(bytes).unwrap().id();
    assert_eq!(first.send(&mut it, id(&one), &one), None);
    second.record_raw(&it, id(&other), &other);
    assert_eq!((first.row().size, second.row().size), (1, 1));
    assert_ne!(first.row().leaf, second.row().leaf);
    it.events.clear();
    (it, first, second)
}

fn alarm(it: &Stage, chain: ChainId) -> bool {
    let dossier = it.dossier;
    it.events.contains(&Event::Forked { dossier, chain })
}

fn frontier(it: &Stage, rows: Vec<HeadRow>) -> Vec<u8> {
    let dossier = it.dossier;
    Frame::Frontier(Frontier {
        dossier,
        rows,
        wraps: vec![],
        head: None,
        lacking: vec![],
        yours: None,
    })
    .encode()
}

#[test]
fn equal_heights_with_different_entries_raise_the_alarm_and_the_dossier_goes_on() {
    // By a head, by a frontier, and by a run that goes on from the other history.
    let (mut it, _, mut second) = forked();
    let head = second.next_head(&it);
    let bytes = Frame::Head(ByteBuf::from(second.sign(&head))).encode();
    assert_eq!(it.frame(&bytes), None);
    assert!(alarm(&it, second.chain));

    let (mut it, _, second) = forked();
    // What nobody has signed is no proof; nor is what a node signs of another's chain.
    let bytes = frontier(&it, vec![second.row()]);
    assert_eq!(it.frame(&bytes), None);
    assert!(!alarm(&it, second.chain));
    let (dossier, chain, member) = (it.dossier, second.chain, it.cast.company.subject);
    assert!(it.events.contains(&Event::Disagreed {
        dossier,
        chain,
        member
    }));

    let (mut it, mut first, mut second) = forked();
    let before = it.picture();
    let next = it.good();
    let id = Envelope::decode(&next).unwrap().id();
    assert_eq!(second.send(&mut it, id, &next), None);
    assert!(alarm(&it, second.chain));
    assert_eq!(it.picture(), before);
    let third = it.good();
    let id = Envelope::decode(&third).unwrap().id();
    assert_eq!(first.send(&mut it, id, &third), None);
    assert_eq!(it.picture().1, before.1 + 1);
    let fourth = it.good();
    it.deposit(&fourth).unwrap();
}

/// Negative control: what the test above looks for is the comparison of hashes.
#[test]
fn who_compares_heights_only_sees_no_fork() {
    let (mut it, _, mut second) = forked();
    let head = second.next_head(&it);
    let bytes = Frame::Head(ByteBuf::from(second.sign(&head))).encode();
    plant(Some(Bug::HeightsOnly));
    assert_eq!(it.frame(&bytes), None);
    assert!(!alarm(&it, second.chain));
    plant(None);
    assert_eq!(it.frame(&bytes), None);
    assert!(alarm(&it, second.chain));
}

#[test]
fn equal_rows_and_longer_ones_are_no_fork() {
    let (mut it, first, _) = forked();
    let mut longer = first.row();
    longer.size = 2;
    longer.leaf = Digest::new([7; 32]);
    for row in [first.row(), longer] {
        let bytes = frontier(&it, vec![row]);
        assert_eq!(it.frame(&bytes), None);
    }
    assert!(!alarm(&it, first.chain));
}
