//! What an expert may enrol inside of a dossier, by delegation. REG-26.

use std::collections::{BTreeMap, BTreeSet};

use basoche_protocol::directory::{Delegation as Answer, Directory};
use basoche_protocol::engine::Registry;
use basoche_protocol::id::{Digest, DossierId, Salt};
use basoche_protocol::message::commitment;
use basoche_protocol::role::Role;
use basoche_protocol::time::Instant;
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_registry::entry::{Delegated, Delegation, Lifting, Reason, Revocation, Suspension};
use basoche_registry::{Content, Entry, Inadmissible, Leaf};

use super::kit::{BAR, COMPANY, Federation, Key, day, enrolment, subject};
use super::quorum::Log;

const EXPERT: u8 = 60;

fn of(dossier: u8) -> Digest {
    commitment(&Salt::new([dossier; 16]), &DossierId::new([dossier; 32]))
}

fn grant(dossier: u8, keys: u64, until: Instant) -> Delegation {
    let granted = Some(Delegated { keys, until });
    let dossier = of(dossier);
    Delegation { dossier, granted }
}

fn withdrawal(dossier: u8) -> Delegation {
    Delegation {
        granted: None,
        ..grant(dossier, 1, day(0))
    }
}

/// A federation with an expert from day 1 on.
fn with_expert() -> (Federation, Key) {
    let (mut federation, key) = (Federation::founded(), Key::new(EXPERT));
    let enrolled = enrolment(&key, Role::Expert, 32);
    federation
        .add(COMPANY, Some(EXPERT), enrolled, key.der())
        .unwrap();
    (federation, key)
}

fn state(federation: &mut Federation, (issued, effective): (u64, u64), content: impl Into<Content>) {
    let mut entry = federation.next(COMPANY, Some(EXPERT), content);
    (entry.issued_at, entry.effective_at) = (day(issued), day(effective));
    assert_eq!(federation.enter(COMPANY, &entry, &[]), Ok(true));
}

/// `2`: so many keys; `e`: ended; `?`: undetermined; on each of these days.
fn on(federation: &Federation, dossier: u8, days: &[u64]) -> String {
    let answer = |at: &u64| match federation
        .replica
        .delegation(&subject(EXPERT), &of(dossier), day(*at))
    {
        Answer::Granted { keys } => keys.to_string(),
        Answer::Ended { .. } => "e".to_owned(),
        Answer::Undetermined { .. } => "?".to_owned(),
    };
    days.iter().map(answer).collect()
}

#[test]
fn a_delegation_counts_from_its_effect_to_its_end_or_withdrawal_and_for_one_dossier() {
    let (mut federation, _) = with_expert();
    state(&mut federation, (3, 4), grant(1, 2, day(9)));
    assert_eq!(on(&federation, 1, &[3, 4, 9, 10]), "?22e");
    assert_eq!(on(&federation, 2, &[3, 4, 9, 10]), "????");
    let other = federation.replica.delegation(&subject(61), &of(1), day(5));
    assert!(matches!(other, Answer::Undetermined { .. }), "{other:?}");
    // It is prolonged, then withdrawn.
    state(&mut federation, (6, 8), grant(1, 5, day(20)));
    assert_eq!(on(&federation, 1, &[4, 7, 8, 10, 21]), "2255e");
    state(&mut federation, (11, 12), withdrawal(1));
    assert_eq!(on(&federation, 1, &[4, 11, 12, 21]), "25ee");
    // And granted anew.
    state(&mut federation, (13, 14), grant(1, 1, day(15)));
    assert_eq!(on(&federation, 1, &[12, 13, 14, 16]), "ee1e");
}

#[test]
fn it_waits_while_the_expert_may_not_sign() {
    let (mut federation, key) = with_expert();
    state(&mut federation, (3, 3), grant(1, 2, day(30)));
    state(&mut federation, (5, 5), Suspension { decision: None });
    state(&mut federation, (7, 7), Lifting { decision: None });
    assert_eq!(on(&federation, 1, &[4, 5, 6, 7]), "2??2");
    let struck_off = Revocation {
        certificate: key.certificate.id(),
        invalid_since: None,
        reason: Reason::RoleEnded,
    };
    state(&mut federation, (9, 9), struck_off);
    assert_eq!(on(&federation, 1, &[8, 9, 31]), "2?e");
}

#[test]
fn it_counts_once_the_witnesses_have_seen_it_and_ends_at_once() {
    let mut log = Log::of(COMPANY, EXPERT, Role::Expert);
    log.publish(day(2), day(2)).unwrap();
    state(&mut log.federation, (3, 4), grant(1, 2, day(20)));
    assert_eq!(on(&log.federation, 1, &[3, 4, 9]), "???");
    log.publish(day(5), day(6)).unwrap();
    assert_eq!(on(&log.federation, 1, &[4, 5, 9]), "?22");
    // Prolonged, it goes on meanwhile; after its old end nobody can tell.
    state(&mut log.federation, (7, 8), grant(1, 3, day(30)));
    assert_eq!(on(&log.federation, 1, &[8, 20, 21, 31]), "22?e");
    state(&mut log.federation, (9, 10), withdrawal(1));
    assert_eq!(on(&log.federation, 1, &[9, 10, 21]), "2ee");
    // Granted anew, it waits again.
    state(&mut log.federation, (11, 12), grant(1, 4, day(30)));
    assert_eq!(on(&log.federation, 1, &[11, 12]), "e?");
    log.publish(day(13), day(13)).unwrap();
    assert_eq!(on(&log.federation, 1, &[12, 13]), "e4");
}

#[test]
fn what_cannot_be_delegated_is_refused() {
    let (mut federation, _) = with_expert();
    // A bar has no expert, and a node enrols nobody.
    let lawyer = Key::new(50);
    let enrolled = enrolment(&lawyer, Role::Lawyer, 22);
    federation.add(BAR, Some(50), enrolled, lawyer.der()).unwrap();
    let entry = federation.next(BAR, Some(50), grant(1, 2, day(9)));
    let refused = federation.enter(BAR, &entry, &[]);
    assert!(
        matches!(refused, Err(Inadmissible::RoleOutsideProfession { .. })),
        "{refused:?}"
    );
    let entry = federation.next(COMPANY, Some(32), grant(1, 2, day(9)));
    let refused = federation.enter(COMPANY, &entry, &[]);
    assert!(
        matches!(refused, Err(Inadmissible::SubjectKind { .. })),
        "{refused:?}"
    );
    let mut entry = federation.next(COMPANY, Some(EXPERT), grant(1, 2, day(4)));
    (entry.issued_at, entry.effective_at) = (day(3), day(5));
    let refused = federation.enter(COMPANY, &entry, &[]);
    assert_eq!(refused, Err(Inadmissible::Until { until: day(4) }));
    // An officer of the log may, another log's may not.
    let (officer, other) = (federation.officer(COMPANY, 40, 0), federation.officer(BAR, 41, 0));
    let entry = federation.next(COMPANY, Some(EXPERT), grant(1, 2, day(9)));
    let refused = federation.enter_by(&entry, &other, &[], &[]);
    assert!(
        matches!(refused, Err(Inadmissible::UnknownAuthor { .. })),
        "{refused:?}"
    );
    assert_eq!(federation.enter_by(&entry, &officer, &[], &[]), Ok(true));
    let kind = Content::from(withdrawal(1)).kind();
    for keys in [0, 201] {
        let bytes = Content::from(grant(1, keys, day(9))).encode();
        assert!(Content::decode(kind, &bytes).is_err(), "{keys}");
    }
    let bytes = Content::from(grant(1, 200, day(9))).encode();
    assert!(Content::decode(kind, &bytes).is_ok());
}

/// Two experts are let into each of thirty dossiers, with a salt of its own for each delegation or, wrongly, one for each dossier.
/// How many groups of two to four entries have more in common than chance gives: what all of one expert have in common stands in
/// more of them.
fn groups_in_common(one_salt: bool) -> usize {
    let (mut federation, _) = with_expert();
    let other = Key::new(EXPERT + 1);
    let enrolled = enrolment(&other, Role::Expert, 32);
    federation
        .add(COMPANY, Some(EXPERT + 1), enrolled, other.der())
        .unwrap();
    for dossier in 0..30_u8 {
        for expert in [EXPERT, EXPERT + 1] {
            let mut salt = [dossier; 16];
            salt[15] = if one_salt { 0 } else { expert };
            let granted = Some(Delegated {
                keys: 5,
                until: day(90),
            });
            let commitment = commitment(&Salt::new(salt), &DossierId::new([dossier + 100; 32]));
            let content = Delegation {
                dossier: commitment,
                granted,
            };
            let entry = federation.next(COMPANY, Some(expert), content);
            let of_entry = Digest::of(&[&[dossier, expert]]);
            let salt = Salt::new(*of_entry.as_bytes().first_chunk().unwrap());
            let entry = Entry { salt, ..entry };
            assert_eq!(federation.enter(COMPANY, &entry, &[]), Ok(true));
        }
    }
    // From here on all numbers in them are as long.
    let leaves = federation.replica.leaves(COMPANY, 28, usize::MAX);
    let payload = |leaf: &RegistryLeaf| Leaf::decode(&leaf.leaf).unwrap().envelope().payload().to_vec();
    let entries: Vec<Vec<u8>> = leaves.iter().map(payload).collect();
    assert!(entries.len() > 30);
    let mut seen: BTreeMap<&[u8], BTreeSet<usize>> = BTreeMap::new();
    for (number, entry) in entries.iter().enumerate() {
        let names = |id: u8| entry.windows(32).any(|part| part == [id; 32]);
        assert!(!(100..130).any(names), "entry {number} names a dossier");
        for run in entry.windows(16) {
            seen.entry(run).or_default().insert(number);
        }
    }
    let mut shared: BTreeMap<&BTreeSet<usize>, usize> = BTreeMap::new();
    for among in seen.values().filter(|among| (2..5).contains(&among.len())) {
        *shared.entry(among).or_default() += 1;
    }
    // A byte or two of random ones may be the same by chance.
    shared.values().filter(|runs| **runs > 4).count()
}

/// Nobody learns from the registry who litigates: what it says of two experts of one dossier, and of two dossiers of one expert,
/// has nothing in common but the expert. Attack 27.
#[test]
fn entries_about_one_dossier_have_nothing_in_common() {
    assert_eq!(groups_in_common(false), 0);
    // The control: the same commitment in two entries shows.
    assert!(groups_in_common(true) > 15);
}
