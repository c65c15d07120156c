//! What a log has come to, by its own word and by everybody's own reckoning. REG-28; attacks 21 and 22.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use basoche_protocol::crypto::sha256;
use basoche_protocol::error::Error;
use basoche_protocol::id::Digest;
use basoche_protocol::refusal::Code;
use basoche_protocol::role::Role;
use basoche_protocol::tree::{leaf_hash, root_of};
use basoche_registry::entry::{StateRoot, Suspension};
use basoche_registry::{Inadmissible, Replica};

use crate::kit::{BAR, COMPANY, COURT, Federation, Key, anchors, enrolment, genesis, leaf, revocation, root};
use crate::shelf::{lawyers, shared};

/// `{0: kind, 1: key, 2: record}`, by hand.
fn item(kind: u8, key: &[u8], record: &[u8; 32]) -> Vec<u8> {
    let key_length = match key.len() as u8 {
        short @ 0..24 => vec![0x40 + short],
        long => vec![0x58, long],
    };
    [
        &[0xa3, 0x00, kind, 0x01],
        &*key_length,
        key,
        &[0x02, 0x58, 0x20],
        record,
    ]
    .concat()
}

/// The root by the words of the SPEC, of the records that are on a shelf of which the bar alone has any.
fn reckoned(federation: &mut Federation) -> Digest {
    federation.shelf.commit(&mut federation.replica);
    let rows = federation
        .shelf
        .rows
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    type Items = BTreeMap<(u8, Vec<u8>), [u8; 32]>;
    let mut buckets: BTreeMap<u16, Items> = BTreeMap::new();
    for ((kind, key, index), record) in rows.iter() {
        let key = match kind {
            1 | 4 => key.clone(),
            6 | 9 => index.to_be_bytes().to_vec(),
            _ => continue,
        };
        let place = sha256(&[&[*kind], &key]);
        let bucket = buckets.entry(u16::from_be_bytes([place[0], place[1]]));
        bucket.or_default().insert((*kind, key), sha256(&[record]));
    }
    let leaves: Vec<_> = (0..=u16::MAX)
        .map(|number| {
            let items = buckets.get(&number).into_iter().flatten();
            let items: Vec<_> = items
                .map(|((kind, key), record)| item(*kind, key, record))
                .collect();
            // An array; bigger ones do not come up here.
            leaf_hash(&[vec![0x80 + items.len() as u8], items.concat()].concat())
        })
        .collect();
    Digest::new(root_of(&leaves))
}

/// The code of a refusal.
fn code(refused: Inadmissible) -> Code {
    Error::from(refused).code()
}

#[test]
fn every_replica_reckons_the_same_root_whenever_it_committed_and_restarted() {
    let (shelf, shelved, kept) = lawyers(120);
    let opened = Replica::open(anchors(), &shared(&shelf)).unwrap();
    let found = [&shelved, &kept, &opened].map(|replica| replica.state_root(BAR));
    assert_eq!(found, [kept.state_root(BAR); 3]);
    let empty = Federation::empty();
    assert_ne!(kept.state_root(BAR), empty.replica.state_root(BAR));
    assert_ne!(kept.state_root(BAR), kept.state_root(COURT));
    assert_eq!(kept.state_root("nobody.example"), None);
}

#[test]
fn the_root_is_what_the_specification_says() {
    let mut federation = Federation::empty();
    let empty = federation.replica.state_root(BAR);
    assert_eq!(empty, Some(reckoned(&mut federation)));
    federation.add(BAR, None, genesis(BAR), &[]).unwrap();
    for n in 50..60 {
        let key = Key::new(n);
        let content = enrolment(&key, Role::Lawyer, 22);
        federation.add(BAR, Some(n), content, key.der()).unwrap();
        // Asked in between, it is carried on; else it is reckoned from what is on the shelf.
        if n % 3 == 0 {
            let found = federation.replica.state_root(BAR);
            assert_eq!(found, Some(reckoned(&mut federation)));
        }
    }
    let found = reckoned(&mut federation);
    assert_eq!(federation.copy().replica.state_root(BAR), Some(found));
    assert_eq!(federation.replica.state_root(BAR), Some(found));
}

#[test]
fn a_log_that_states_another_root_goes_no_further() {
    let mut federation = Federation::founded();
    let key = Key::new(50);
    federation
        .add(BAR, Some(50), enrolment(&key, Role::Lawyer, 22), key.der())
        .unwrap();
    let before = federation.replica.state_root(BAR).unwrap();
    let state = |root| StateRoot { root };
    // Another log's, that of a moment ago, and none.
    let of_court = federation.replica.state_root(COURT).unwrap();
    federation
        .add(BAR, Some(50), Suspension { decision: None }, &[])
        .unwrap();
    let found = federation.replica.state_root(BAR).unwrap();
    for other in [of_court, before, Digest::new([0; 32])] {
        let refused = federation.add(BAR, None, state(other), &[]).unwrap_err();
        assert_eq!(refused, Inadmissible::OtherState { found });
        assert_eq!(code(refused), Code::HeadMismatch);
    }
    // To state it changes nothing of it.
    federation.add(BAR, None, state(found), &[]).unwrap();
    federation.add(BAR, None, state(found), &[]).unwrap();
    assert_eq!(federation.replica.state_root(BAR), Some(found));
    federation
        .add(BAR, Some(50), revocation(&key, None), &[])
        .unwrap();
    assert_ne!(federation.replica.state_root(BAR), Some(found));
}

#[test]
fn an_officer_states_it_and_nobody_else_but_a_root() {
    let mut federation = Federation::founded();
    let officer = federation.officer(COMPANY, 60, 10);
    let root_now = |federation: &Federation| StateRoot {
        root: federation.replica.state_root(COMPANY).unwrap(),
    };
    let entry = federation.next(COMPANY, None, root_now(&federation));
    assert_eq!(
        federation.admit(COMPANY, &leaf(&entry, &officer, &[], &[])),
        Ok(true)
    );
    let entry = federation.next(COMPANY, None, root_now(&federation));
    let refused = federation
        .admit(COMPANY, &leaf(&entry, &root(BAR), &[], &[]))
        .unwrap_err();
    assert_eq!(code(refused), Code::UnknownSigner);
    let about = federation.next(COMPANY, Some(60), root_now(&federation));
    let refused = federation
        .admit(COMPANY, &leaf(&about, &officer, &[], &[]))
        .unwrap_err();
    assert_eq!(refused, Inadmissible::Subject);
}
