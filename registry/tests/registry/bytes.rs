//! Bytes from outside: whatever they are, nothing panics, and one changed bit is never admitted.

use basoche_protocol::engine::Registry;
use basoche_protocol::role::Role;
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_registry::leaf::Capacity;
use basoche_registry::{Anchors, Certificate, Entry, EntryFile, Leaf};
use proptest::prelude::*;

use crate::kit::{BAR, Federation, Key, enrolment, leaf, root};

fn enrolled() -> (Federation, RegistryLeaf) {
    let federation = Federation::founded();
    let key = Key::new(50);
    let entry = federation.next(BAR, Some(50), enrolment(&key, Role::Lawyer, 22));
    let leaf = leaf(&entry, &root(BAR), &[(&key, Capacity::Possession)], key.der());
    (federation, leaf)
}

#[test]
fn one_changed_bit_is_never_admitted() {
    let (mut federation, good) = enrolled();
    let heads = federation.replica.heads();
    for at in 0..good.leaf.len() {
        let mut bad = good.clone();
        bad.leaf[at] ^= 1 << (at % 8);
        assert!(federation.admit(BAR, &bad).is_err(), "leaf byte {at}");
    }
    for at in 0..good.certificate.len() {
        let mut bad = good.clone();
        bad.certificate[at] ^= 1 << (at % 8);
        assert!(federation.admit(BAR, &bad).is_err(), "certificate byte {at}");
    }
    for end in 0..good.leaf.len() {
        let mut bad = good.clone();
        bad.leaf.truncate(end);
        assert!(federation.admit(BAR, &bad).is_err(), "leaf of {end} bytes");
    }
    assert_eq!(federation.replica.heads(), heads);
    assert_eq!(federation.admit(BAR, &good), Ok(true));
}

#[test]
fn a_changed_certificate_never_panics_and_never_verifies() {
    let der = Key::new(50).der().to_vec();
    let algorithm = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    let outer = der.windows(12).rposition(|bytes| bytes == algorithm).unwrap();
    let outer_algorithm = outer..outer + 12;
    for at in 0..der.len() {
        for value in [0x00, 0x7f, 0x80, 0x84, 0xff, der[at] ^ 1] {
            let mut bad = der.clone();
            bad[at] = value;
            let forged = Certificate::from_der(&bad).is_ok_and(|bad| bad.self_signed_key().is_some());
            // The algorithm's outer mention is not signed, and the parser lenient there: ids cover every byte.
            assert!(
                !forged || bad == der || outer_algorithm.contains(&at),
                "byte {at} = {value:#x}"
            );
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Entry::decode(&bytes);
        let _ = EntryFile::decode(&bytes);
        prop_assert!(Leaf::decode(&bytes).is_err());
        prop_assert!(Anchors::parse(&bytes).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_decoded_encodes_to_the_same_bytes(
        at in 0_usize..2000,
        value in any::<u8>(),
    ) {
        let (_, good) = enrolled();
        let file = EntryFile { origin: BAR.to_owned(), index: 3, leaf: good.clone() }.encode();
        for bytes in [file, good.leaf.to_vec(), Leaf::decode(&good.leaf).unwrap().envelope().payload().to_vec()] {
            let mut bytes = bytes;
            let length = bytes.len();
            bytes[at % length] = value;
            if let Ok(file) = EntryFile::decode(&bytes) {
                prop_assert_eq!(file.encode(), bytes.clone());
            }
            if let Ok(leaf) = Leaf::decode(&bytes) {
                prop_assert_eq!(leaf.encode(), bytes.clone());
            }
            if let Ok(entry) = Entry::decode(&bytes) {
                prop_assert_eq!(entry.encode(), bytes);
            }
        }
    }
}
