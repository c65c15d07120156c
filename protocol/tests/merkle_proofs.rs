//! Every proof of every small tree verifies, and none survives the change of one bit.
#![allow(clippy::unwrap_used)]

use basoche_protocol::tree::{
    Frontier, Hash, ProofError, Tree, leaf_hash, verify_consistency, verify_inclusion,
};

const LARGEST: u64 = 130;

fn leaf(index: u64) -> Hash {
    leaf_hash(&index.to_be_bytes())
}

fn tree() -> Tree {
    (0..LARGEST).map(leaf).collect()
}

#[test]
fn every_inclusion_proof_verifies_at_its_own_place_only() {
    let tree = tree();
    let mut proofs = 0;
    for size in 0..=LARGEST {
        let root = tree.root_at(size).unwrap();
        for index in 0..size {
            let path = tree.inclusion_path(index, size).unwrap();
            assert_eq!(
                verify_inclusion(&leaf(index), index, size, &path, &root),
                Ok(()),
                "{index} in {size}"
            );
            assert!(verify_inclusion(&leaf(index + 1), index, size, &path, &root).is_err());
            for other in (0..size).filter(|other| *other != index) {
                assert!(verify_inclusion(&leaf(index), other, size, &path, &root).is_err());
            }
            proofs += 1;
        }
        assert_eq!(tree.inclusion_path(size, size), None);
    }
    assert_eq!(proofs, LARGEST * (LARGEST + 1) / 2);
}

#[test]
fn every_consistency_proof_verifies() {
    let tree = tree();
    for new in 1..=LARGEST {
        let new_root = tree.root_at(new).unwrap();
        assert_eq!(tree.consistency_path(0, new), None);
        for old in 1..=new {
            let old_root = tree.root_at(old).unwrap();
            let path = tree.consistency_path(old, new).unwrap();
            assert_eq!(
                verify_consistency(old, new, &old_root, &new_root, &path),
                Ok(()),
                "{old} to {new}"
            );
            if old != new {
                assert!(
                    verify_consistency(old, new, &new_root, &old_root, &path).is_err(),
                    "{old} to {new}"
                );
            }
        }
    }
}

#[test]
fn a_path_of_another_length_is_refused() {
    let tree = tree();
    let (old, new, index) = (37, 101, 36);
    let [old_root, new_root] = [old, new].map(|size| tree.root_at(size).unwrap());
    let inclusion = tree.inclusion_path(index, new).unwrap();
    let consistency = tree.consistency_path(old, new).unwrap();
    for lengthen in [
        |path: &mut Vec<Hash>| path.push([0; 32]),
        |path: &mut Vec<Hash>| {
            path.pop();
        },
    ] {
        let mut path = inclusion.clone();
        lengthen(&mut path);
        let refused = Err(ProofError::PathLength { hashes: path.len() });
        assert_eq!(
            verify_inclusion(&leaf(index), index, new, &path, &new_root),
            refused
        );
        let mut path = consistency.clone();
        lengthen(&mut path);
        let refused = Err(ProofError::PathLength { hashes: path.len() });
        assert_eq!(verify_consistency(old, new, &old_root, &new_root, &path), refused);
    }
}

#[test]
fn no_proof_survives_the_change_of_one_bit() {
    let tree = tree();
    for (first, second) in [
        (1, 2),
        (2, 3),
        (3, 7),
        (4, 8),
        (6, 8),
        (64, 65),
        (37, 101),
        (128, 130),
        (129, 130),
    ] {
        let [first_root, second_root] = [first, second].map(|size| tree.root_at(size).unwrap());

        // The leaf, the root, then the path.
        let mut proof = vec![leaf(first - 1), second_root];
        proof.extend(tree.inclusion_path(first - 1, second).unwrap());
        each_bit_counts(proof, |proof| {
            verify_inclusion(&proof[0], first - 1, second, &proof[2..], &proof[1])
        });

        // Both roots, then the path.
        let mut proof = vec![first_root, second_root];
        proof.extend(tree.consistency_path(first, second).unwrap());
        each_bit_counts(proof, |proof| {
            verify_consistency(first, second, &proof[0], &proof[1], &proof[2..])
        });
    }
}

fn each_bit_counts(mut proof: Vec<Hash>, verify: impl Fn(&[Hash]) -> Result<(), ProofError>) {
    assert_eq!(verify(&proof), Ok(()));
    for place in 0..proof.len() {
        for bit in 0..256 {
            proof[place][bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                verify(&proof),
                Err(ProofError::RootMismatch),
                "hash {place}, bit {bit}"
            );
            proof[place][bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn the_frontier_has_the_root_of_the_tree_at_every_size() {
    let tree = tree();
    let mut frontier = Frontier::new();
    for size in 0..=LARGEST {
        assert_eq!(frontier.size(), size);
        assert_eq!(frontier.root(), tree.root_at(size).unwrap());
        assert_eq!(frontier.peaks().len() as u32, size.count_ones());
        frontier.push(leaf(size));
    }
}
