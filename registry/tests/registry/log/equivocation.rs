//! A log that signs two histories is caught, and no honest one is accused. LOG-9.

use basoche_protocol::id::Digest;
use basoche_protocol::tree::Tree;
use basoche_registry::log::{Equivocation, Innocent};
use proptest::prelude::*;

use super::kit::{Holder, ORIGIN, checkpoint, tree};

/// What the holder of `larger` publishes against the checkpoint of `smaller`.
fn accuse(smaller: &Tree, larger: &Tree) -> Equivocation {
    let begins = Digest::new(larger.root_at(smaller.size()).unwrap());
    let path = larger.consistency_path(smaller.size(), larger.size()).unwrap();
    let path = path.into_iter().map(Digest::new).collect();
    Equivocation::new(&checkpoint(smaller), &checkpoint(larger), begins, path)
}

#[test]
fn two_histories_of_any_sizes_are_proved() {
    let keys = [Holder::log(ORIGIN).key];
    for smaller in 1..24 {
        for larger in smaller..24 {
            for parted in 0..smaller {
                let proof = accuse(&tree(smaller, parted), &tree(larger, larger));
                let proof = Equivocation::decode(&proof.encode()).unwrap();
                let (one, other) = proof.verify(&keys).unwrap();
                assert_eq!((one.size, other.size), (smaller, larger));
            }
        }
    }
}

#[test]
fn an_honest_log_is_not_accused() {
    let keys = [Holder::log(ORIGIN).key];
    for smaller in 1..24 {
        for larger in smaller..24 {
            let proof = accuse(&tree(smaller, 99), &tree(larger, 99));
            assert_eq!(
                proof.verify(&keys),
                Err(Innocent::Consistent),
                "{smaller} {larger}"
            );
        }
    }
    // Nor by checkpoints that it did not sign.
    let proof = accuse(&tree(4, 0), &tree(8, 8));
    assert!(proof.verify(&[Holder::log("bars.example").key]).is_err());
    assert!(proof.verify(&[]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever stands for the beginning and the path: of two checkpoints that agree nothing is proved.
    #[test]
    fn no_crafted_path_frames_an_honest_log(
        smaller in 1_u64..70, more in 0_u64..70, begins in 0_u64..70,
        cut in 0_usize..8, extra in prop::collection::vec(any::<[u8; 32]>(), 0..3), swap in any::<bool>(), flip in 0_usize..300,
    ) {
        let (first, second) = (tree(smaller, 999), tree(smaller + more, 999));
        let honest = second.consistency_path(smaller, smaller + more).unwrap();
        let mut path: Vec<_> = honest.into_iter().map(Digest::new).collect();
        path.truncate(path.len().saturating_sub(cut));
        path.extend(extra.into_iter().map(Digest::new));
        if let Some(hash) = path.get_mut(flip / 32) {
            let mut bytes = *hash.as_bytes();
            bytes[flip % 32] ^= 1;
            *hash = Digest::new(bytes);
        }
        let roots = [second.root_at(begins.min(smaller + more)).unwrap(), tree(begins, 0).root(), second.root()];
        let keys = [Holder::log(ORIGIN).key];
        for root in roots {
            let (a, b) = if swap { (&second, &first) } else { (&first, &second) };
            let proof = Equivocation::new(&checkpoint(a), &checkpoint(b), Digest::new(root), path.clone());
            prop_assert!(proof.verify(&keys).is_err());
        }
    }
}
