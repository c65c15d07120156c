//! Replicas agree whatever the order, and an authority builds what they admit.

use basoche_protocol::directory::{Directory, Status};
use basoche_protocol::engine::{Imported, Registry};
use basoche_protocol::id::{Digest, Salt};
use basoche_protocol::role::{OrganisationKind, Role};
use basoche_protocol::tree;
use basoche_protocol::wire::codec;
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_registry::entry::Kind;
use basoche_registry::leaf::{Capacity, CoSignature, possession};
use basoche_registry::{AuthorityLog, Content, EntryFile, Inadmissible, Replica};
use proptest::prelude::*;

use crate::kit::{
    BAR, COMPANY, COURT, Federation, Key, anchors, authority, day, enrolment, genesis, organisation,
    revocation, root, subject, tls,
};

/// The foundation, a judge, a lawyer served by the court's node, an expert, and the lawyer's revocation.
fn sample() -> Federation {
    let mut federation = Federation::founded();
    let keys = [40, 41, 42].map(Key::new);
    federation
        .add(
            COURT,
            Some(40),
            enrolment(&keys[0], Role::Judge, 12),
            keys[0].der(),
        )
        .unwrap();
    federation
        .add(
            BAR,
            Some(41),
            enrolment(&keys[1], Role::Lawyer, 12),
            keys[1].der(),
        )
        .unwrap();
    federation
        .add(
            COMPANY,
            Some(42),
            enrolment(&keys[2], Role::Expert, 32),
            keys[2].der(),
        )
        .unwrap();
    federation.add_on((9, 9), 41, revocation(&keys[1], Some(day(5))), &[]);
    federation
}

fn all_leaves(replica: &Replica) -> Vec<(&'static str, Vec<RegistryLeaf>)> {
    [COURT, BAR, COMPANY]
        .map(|origin| (origin, replica.leaves(origin, 0, usize::MAX)))
        .to_vec()
}

/// All that a replica answers about the sample.
fn answers(replica: &Replica) -> String {
    let statuses = [40, 41, 42, 12, 22, 32].map(Key::new).map(|key| {
        [0, 4, 5, 9].map(|at| match replica.status(&key.certificate.id(), day(at)) {
            Status::Valid(signer) | Status::Contested { signer, .. } => format!("{signer:?}"),
            Status::Invalid { reason } | Status::Undetermined { reason } => reason.to_owned(),
        })
    });
    let nodes: Vec<_> = replica.nodes().collect();
    let persons: Vec<_> = replica.persons();
    format!("{:?} {statuses:?} {nodes:?} {persons:?}", replica.heads())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn logs_may_be_imported_in_any_order_of_each_other(turns in prop::collection::vec(0_usize..3, 60)) {
        let sample = sample();
        let logs = all_leaves(&sample.replica);
        let mut replica = Replica::new(anchors());
        let mut next = [0; 3];
        // Whatever the turns leave over comes at the end.
        for turn in turns.into_iter().chain((0..3).flat_map(|log| [log; 8])) {
            let (origin, leaves) = &logs[turn];
            if let Some(leaf) = leaves.get(next[turn]) {
                prop_assert_eq!(replica.admit(origin, next[turn] as u64, leaf), Ok(true));
                next[turn] += 1;
            }
        }
        prop_assert_eq!(answers(&replica), answers(&sample.replica));
    }
}

#[test]
fn a_second_import_changes_nothing() {
    let mut federation = sample();
    let before = answers(&federation.replica);
    for (origin, leaves) in all_leaves(&federation.replica) {
        for (index, leaf) in leaves.iter().enumerate() {
            assert_eq!(
                federation.replica.import(origin, index as u64, leaf, None),
                Ok(Imported::Known)
            );
        }
    }
    assert_eq!(answers(&federation.replica), before);
}

#[test]
fn heads_are_roots_over_the_leaves_ascending_by_origin() {
    let replica = sample().replica;
    let heads = replica.heads();
    let origins: Vec<_> = heads.iter().map(|head| head.origin.as_str()).collect();
    assert_eq!(origins, [BAR, COMPANY, COURT]);
    for head in heads {
        let leaves = replica.leaves(&head.origin, 0, usize::MAX);
        let hashes: Vec<_> = leaves.iter().map(|leaf| tree::leaf_hash(&leaf.leaf)).collect();
        assert_eq!(
            (head.size, head.root),
            (leaves.len() as u64, Digest::new(tree::root_of(&hashes)))
        );
        assert_eq!(replica.tree(&head.origin).unwrap().leaves(), hashes);
    }
}

#[test]
fn leaves_are_given_as_far_as_they_fit() {
    let replica = sample().replica;
    let all = replica.leaves(BAR, 0, usize::MAX);
    assert_eq!(all.len(), 5);
    // What counts as fitting is never less than what the leaves take on the wire.
    assert!(
        all.iter()
            .all(|leaf| codec::encode(leaf).len() <= leaf.leaf.len() + leaf.certificate.len() + 9)
    );
    assert_eq!(replica.leaves(BAR, 3, usize::MAX), all[3..]);
    let bytes = |leaf: &RegistryLeaf| leaf.leaf.len() + leaf.certificate.len() + 9;
    let two = bytes(&all[0]) + bytes(&all[1]);
    assert_eq!(replica.leaves(BAR, 0, two), all[..2]);
    assert_eq!(replica.leaves(BAR, 0, two - 1), all[..1]);
    assert_eq!(replica.leaves(BAR, 0, 0), []);
    assert_eq!(replica.leaves(BAR, 5, usize::MAX), []);
    assert_eq!(replica.leaves(BAR, u64::MAX, usize::MAX), []);
    assert_eq!(replica.leaves("else.example", 0, usize::MAX), []);
}

#[test]
fn look_ups_say_what_the_logs_state() {
    let replica = sample().replica;
    let node = replica.node(&subject(12)).unwrap();
    assert_eq!(
        (node.node, node.organisation, node.kind),
        (subject(12), subject(11), OrganisationKind::Court)
    );
    assert_eq!(node.organisation_name, "Test organisation of justice.example");
    assert_eq!((node.origin.as_str(), node.test), (COURT, true));
    assert_eq!(
        (node.addresses, node.tls_spki_sha256),
        (vec!["127.0.0.1:4433".to_owned()], tls(111))
    );
    assert_eq!(node.seal, Key::new(12).certificate.id());
    assert_eq!(node.encryption_spki, Key::new(111).certificate.spki());
    assert_eq!(
        replica.nodes().map(|node| node.node).collect::<Vec<_>>(),
        [12, 22, 32].map(subject)
    );

    let person = replica.person(&subject(41)).unwrap();
    assert_eq!((person.roles, person.node), (vec![Role::Lawyer], subject(12)));
    assert_eq!((person.origin.as_str(), person.test), (BAR, true));
    assert_eq!(person.certificate, Key::new(41).certificate.id());
    assert_eq!(
        replica.certificate_der(&person.certificate),
        Some(Key::new(41).der().to_vec())
    );
    assert_eq!(
        replica
            .persons()
            .into_iter()
            .map(|person| person.person)
            .collect::<Vec<_>>(),
        [40, 41, 42].map(subject)
    );

    assert_eq!(replica.organisation(&subject(31)), Some(organisation(COMPANY)));
    assert!(replica.node(&subject(41)).is_none() && replica.node(&subject(99)).is_none());
    assert!(replica.person(&subject(12)).is_none() && replica.organisation(&subject(12)).is_none());
    assert!(replica.certificate_der(&root(BAR).certificate.id()).is_none());
    let kinds: Vec<_> = replica.entries(BAR).map(|entry| entry.content.kind()).collect();
    let expected = [
        Kind::Genesis,
        Kind::Organisation,
        Kind::Node,
        Kind::Enrolment,
        Kind::Revocation,
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn an_authority_builds_a_log_that_replicas_admit() {
    let root = root(BAR);
    let mut log = AuthorityLog::new(authority(BAR));
    let mut files = Vec::new();
    let key = Key::new(41);
    let steps: [(Option<u8>, Content, &[u8]); 4] = [
        (None, genesis(BAR).into(), &[]),
        (Some(21), organisation(BAR).into(), &[]),
        (Some(41), enrolment(&key, Role::Lawyer, 12).into(), key.der()),
        (Some(41), revocation(&key, None).into(), &[]),
    ];
    for (number, (about, content, certificate)) in steps.into_iter().enumerate() {
        let at = day(number as u64);
        let unsigned = log.draft(&root, about.map(subject), content, at, at, Salt::new([1; 16]));
        let envelope = unsigned.sign(&root).unwrap();
        let wanted = possession(BAR, &subject(41), &key.certificate.id());
        let shown = CoSignature::draft(&key, wanted, Capacity::Possession, at).sign(&key);
        let beside = if certificate.is_empty() {
            vec![]
        } else {
            vec![shown.unwrap()]
        };
        let (index, leaf) = log.commit(envelope, beside, certificate).unwrap();
        assert_eq!(index, number as u64);
        let origin = log.origin().to_owned();
        files.push(EntryFile { origin, index, leaf }.encode());
    }
    // What it wrote it can read back, and go on.
    let mut again = AuthorityLog::new(authority(BAR));
    let mut replica = Replica::new(anchors());
    for file in files {
        let file = EntryFile::decode(&file).unwrap();
        assert_eq!(replica.admit(&file.origin, file.index, &file.leaf), Ok(true));
        again.replay(&file.leaf).unwrap();
    }
    assert_eq!(again.head(), log.head());
    assert!(replica.heads().contains(&log.head()));
    assert_eq!(log.replica().last_entry(&subject(41)), Some(3));

    // A refused entry leaves the log as it was.
    let unsigned = log.draft(&root, None, genesis(BAR), day(9), day(9), Salt::new([1; 16]));
    let refused = log.commit(unsigned.sign(&root).unwrap(), vec![], &[]);
    assert!(matches!(refused, Err(Inadmissible::Genesis { index: 4, .. })));
    assert_eq!(again.head(), log.head());
}
