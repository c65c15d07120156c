//! The status of a key at an instant. REG-8.

use basoche_protocol::directory::{Directory, Status};
use basoche_protocol::engine::Registry;
use basoche_protocol::id::CertificateId;
use basoche_protocol::role::{Assurance, Role};
use basoche_protocol::time::{Instant, Span};
use basoche_registry::Replica;

use crate::kit::{BAR, Federation, Key, day, enrolment, node, revocation, subject, tls};

/// `V` valid, `I` invalid, `C` contested, `U` undetermined.
pub(crate) fn letter(replica: &Replica, certificate: &CertificateId, at: Instant) -> char {
    match replica.status(certificate, at) {
        Status::Valid(_) => 'V',
        Status::Invalid { .. } => 'I',
        Status::Contested { .. } => 'C',
        Status::Undetermined { .. } => 'U',
    }
}

/// One letter for each midnight from day 0 to day 15.
fn line(replica: &Replica, key: &Key) -> String {
    (0..16)
        .map(|at| letter(replica, &key.certificate.id(), day(at)))
        .collect()
}

/// A revocation: issued, in effect, contested since.
type Withdrawal = (u64, u64, Option<u64>);

/// A certificate dated from day 2 to day 13, enrolled (issued on day 1) with effect on `effect`, then withdrawn.
fn enrolled(effect: u64, withdrawals: &[Withdrawal]) -> (Federation, Key) {
    let mut federation = Federation::founded();
    let key = Key::dated(50, (2026, 6, 3), (2026, 6, 14));
    federation.add_on((1, effect), 50, enrolment(&key, Role::Lawyer, 22), key.der());
    for (issued, effective, since) in withdrawals {
        federation.add_on((*issued, *effective), 50, revocation(&key, since.map(day)), &[]);
    }
    (federation, key)
}

#[test]
fn the_golden_table() {
    let table: [(u64, &[Withdrawal], &str); 13] = [
        // effect, revocations, day  0123456789012345
        (1, &[], "IIVVVVVVVVVVVVII"),
        (4, &[], "IIIIVVVVVVVVVVII"),
        (14, &[], "IIIIIIIIIIIIIIII"),
        // Revoked at once, and with notice.
        (1, &[(8, 8, None)], "IIVVVVVVIIIIIIII"),
        (1, &[(6, 8, None)], "IIVVVVVVIIIIIIII"),
        // Contested from within the time of validity, from its start, and from before it.
        (1, &[(8, 8, Some(5))], "IIVVVCCCIIIIIIII"),
        (1, &[(8, 8, Some(2))], "IICCCCCCIIIIIIII"),
        (4, &[(8, 8, Some(0))], "IIIICCCCIIIIIIII"),
        (1, &[(8, 10, Some(9))], "IIVVVVVVVCIIIIII"),
        // Revoked before the enrolment takes effect, and after the certificate has expired.
        (6, &[(4, 4, None)], "IIIIIIIIIIIIIIII"),
        (1, &[(15, 15, Some(12))], "IIVVVVVVVVVVCCII"),
        // A second revocation adds to the first, whichever comes first.
        (1, &[(8, 8, None), (9, 9, Some(5))], "IIVVVCCCIIIIIIII"),
        (1, &[(7, 11, Some(6)), (8, 8, Some(7))], "IIVVVVCCIIIIIIII"),
    ];
    for (effect, withdrawals, expected) in table {
        let (federation, key) = enrolled(effect, withdrawals);
        assert_eq!(
            line(&federation.replica, &key),
            expected,
            "{effect} {withdrawals:?}"
        );
    }
}

#[test]
fn every_boundary_is_kept_to_the_millisecond() {
    let (federation, key) = enrolled(4, &[(10, 10, Some(7))]);
    let id = key.certificate.id();
    let ms = Span::from_ms(1);
    for (at, before, from) in [(4, 'I', 'V'), (7, 'V', 'C'), (10, 'C', 'I')] {
        assert_eq!(letter(&federation.replica, &id, day(at) - ms), before);
        assert_eq!(letter(&federation.replica, &id, day(at)), from);
    }
    let (federation, key) = enrolled(1, &[]);
    let id = key.certificate.id();
    assert_eq!(letter(&federation.replica, &id, day(2) - ms), 'I');
    assert_eq!(letter(&federation.replica, &id, day(13)), 'V');
    assert_eq!(letter(&federation.replica, &id, day(13) + ms), 'I');
}

#[test]
fn later_entries_never_change_an_answer_except_to_contested() {
    let (mut federation, key) = enrolled(1, &[]);
    let before = line(&federation.replica, &key);
    federation.add_on((9, 9), 50, revocation(&key, Some(day(6))), &[]);
    let after = line(&federation.replica, &key);
    for (at, (old, new)) in before.chars().zip(after.chars()).enumerate() {
        assert!(
            old == new || at >= 9 || (at >= 6 && (old, new) == ('V', 'C')),
            "day {at}"
        );
    }
}

#[test]
fn reasons_say_why() {
    let (federation, key) = enrolled(4, &[(8, 8, Some(6))]);
    let reason = |certificate: &CertificateId, at| match federation.replica.status(certificate, day(at)) {
        Status::Valid(_) => "",
        Status::Invalid { reason } | Status::Undetermined { reason } | Status::Contested { reason, .. } => {
            reason
        }
    };
    let id = key.certificate.id();
    assert_eq!(reason(&id, 0), "before the dates of the certificate");
    assert_eq!(reason(&id, 3), "not yet enrolled");
    assert_eq!(reason(&id, 5), "");
    assert_eq!(reason(&id, 6), "declared compromised since before this instant");
    assert_eq!(reason(&id, 8), "revoked: the key is compromised");
    assert_eq!(
        reason(&CertificateId::new([0; 32]), 5),
        "the certificate is in no log held here"
    );
    let (federation, key) = enrolled(4, &[]);
    let status = federation.replica.status(&key.certificate.id(), day(15));
    assert!(matches!(status, Status::Invalid { reason: "expired" }));
}

#[test]
fn the_last_enrolment_in_effect_counts() {
    let (mut federation, key) = enrolled(1, &[]);
    let mut moved = enrolment(&key, Role::Party, 12);
    moved.roles = vec![Role::Lawyer, Role::Party];
    moved.assurance = Assurance::Hosted;
    federation.add_on((5, 8), 50, moved, key.der());
    let signer = |at| match federation.replica.status(&key.certificate.id(), day(at)) {
        Status::Valid(signer) => signer,
        other => panic!("{other:?}"),
    };
    let (early, late) = (signer(7), signer(8));
    assert_eq!((early.subject, late.subject), (subject(50), subject(50)));
    assert_eq!((early.node, late.node), (subject(22), subject(12)));
    assert_eq!(early.roles, [Role::Lawyer]);
    assert_eq!(late.roles, [Role::Lawyer, Role::Party]);
    assert_eq!(
        (early.assurance, late.assurance),
        (Assurance::Software, Assurance::Hosted)
    );
    assert_eq!(early.key.spki(), key.certificate.spki());
    let person = federation.replica.person(&subject(50)).unwrap();
    assert_eq!((person.node, person.assurance), (subject(12), Assurance::Hosted));
}

#[test]
fn a_seal_belongs_to_its_node() {
    let federation = Federation::founded();
    let Status::Valid(signer) = federation.replica.status(&Key::new(22).certificate.id(), day(0)) else {
        panic!("not valid");
    };
    assert_eq!((signer.subject, signer.node), (subject(22), subject(22)));
    assert_eq!(
        (signer.roles, signer.assurance),
        (vec![Role::Node], Assurance::Seal)
    );
}

#[test]
fn a_node_changes_its_keys_on_the_day_that_it_says() {
    let mut federation = Federation::founded();
    let (old, new) = (Key::new(22), Key::new(23));
    federation.add_on((3, 6), 22, node(21, &new, 140), new.der());
    let replica = &federation.replica;
    let by_tls = |keys, at| replica.node_of_tls_key(tls(keys).as_bytes(), day(at));
    assert_eq!((by_tls(121, 5), by_tls(140, 5)), (Some(subject(22)), None));
    assert_eq!((by_tls(121, 6), by_tls(140, 6)), (None, Some(subject(22))));
    assert_eq!(
        replica.node_at(&subject(22), day(5)).unwrap().seal,
        old.certificate.id()
    );
    assert_eq!(
        replica.node_at(&subject(22), day(6)).unwrap().seal,
        new.certificate.id()
    );
    assert_eq!(replica.node(&subject(22)).unwrap().seal, new.certificate.id());
    let encryption = |at| replica.encryption_key(&subject(22), day(at));
    assert_eq!(encryption(5).unwrap(), Key::new(121).certificate.spki());
    assert_eq!(encryption(6).unwrap(), Key::new(140).certificate.spki());
    // Rotation closes nothing: what the old seal signed, and still signs, holds until it is revoked.
    assert_eq!(letter(replica, &old.certificate.id(), day(7)), 'V');
    assert_eq!(letter(replica, &new.certificate.id(), day(5)), 'I');
}

#[test]
fn a_node_whose_seal_is_revoked_is_no_longer_live() {
    let mut federation = Federation::founded();
    federation.add_on((3, 6), 22, revocation(&Key::new(22), Some(day(4))), &[]);
    let replica = &federation.replica;
    let by_tls = |at| replica.node_of_tls_key(tls(121).as_bytes(), day(at));
    assert_eq!((by_tls(5), by_tls(6)), (Some(subject(22)), None));
    assert!(replica.encryption_key(&subject(22), day(5)).is_some());
    assert_eq!(replica.encryption_key(&subject(22), day(6)), None);
    assert_eq!(replica.node_at(&subject(22), day(6)), None);
    assert!(replica.node(&subject(22)).is_some());
    // Only a TLS key opens the door: not the seal, not the encryption key, not a root.
    for other in [Key::new(12), Key::new(111), Key::new(1), Key::new(70)] {
        let digest = other.certificate.spki_sha256();
        assert_eq!(replica.node_of_tls_key(digest.as_bytes(), day(1)), None);
    }
    assert_eq!(federation.size(BAR), 4);
}

/// For each midnight from day 0 to day 15 whether there is a key to which documents for the person are wrapped.
fn key_line(replica: &Replica) -> String {
    (0..16)
        .map(|at| match replica.person_encryption_key(&subject(50), day(at)) {
            Ok(_) => 'K',
            Err(_) => '-',
        })
        .collect()
}

#[test]
fn the_golden_table_of_encryption_keys() {
    let table: [(bool, &[Withdrawal], &str); 6] = [
        // with a key, revocations, day 0123456789012345
        (true, &[], "--KKKKKKKKKKKK--"),
        (false, &[], "----------------"),
        (true, &[(8, 8, None)], "--KKKKKK--------"),
        (true, &[(6, 8, None)], "--KKKKKK--------"),
        // A contested key may be in other hands: no recipient.
        (true, &[(8, 8, Some(5))], "--KKK-----------"),
        (true, &[(8, 10, Some(9))], "--KKKKKKK-------"),
    ];
    for (with_key, withdrawals, expected) in table {
        let mut federation = Federation::founded();
        let key = Key::dated(50, (2026, 6, 3), (2026, 6, 14));
        let mut enrolled = enrolment(&key, Role::Lawyer, 22);
        enrolled.encryption_spki = with_key.then(|| Key::new(51).certificate.spki().to_vec().into());
        federation.add_on((1, 1), 50, enrolled, key.der());
        for (issued, effective, since) in withdrawals {
            federation.add_on((*issued, *effective), 50, revocation(&key, since.map(day)), &[]);
        }
        assert_eq!(
            key_line(&federation.replica),
            expected,
            "{with_key} {withdrawals:?}"
        );
    }
}

#[test]
fn the_encryption_key_of_the_last_enrolment_in_effect_counts_and_reasons_say_why_there_is_none() {
    let mut federation = Federation::founded();
    let key = Key::dated(50, (2026, 6, 3), (2026, 6, 14));
    federation.add_on((1, 1), 50, enrolment(&key, Role::Lawyer, 22), key.der());
    let mut again = enrolment(&key, Role::Lawyer, 22);
    let spki = Key::new(51).certificate.spki().to_vec();
    again.encryption_spki = Some(spki.clone().into());
    federation.add_on((5, 8), 50, again, key.der());
    let key_at = |at| federation.replica.person_encryption_key(&subject(50), day(at));
    assert_eq!(key_at(0), Err("no enrolment of a person is in effect"));
    assert_eq!(key_at(7), Err("enrolled without an encryption key"));
    assert_eq!(key_at(8), Ok(spki));
    assert_eq!(key_at(15), Err("expired"));
    let nobody = federation.replica.person_encryption_key(&subject(77), day(8));
    assert_eq!(nobody, Err("in no log held here"));
    // A node's encryption key is no person's.
    let node = federation.replica.person_encryption_key(&subject(22), day(8));
    assert_eq!(node, Err("no enrolment of a person is in effect"));
}
