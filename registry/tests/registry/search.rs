//! Finding people and nodes.

use basoche_protocol::id::SubjectId;
use basoche_protocol::role::Role;
use basoche_registry::entry::{Attribute, Competence};
use basoche_registry::search::Query;

use super::kit::{BAR, COMPANY, COURT, Federation, Key, day, enrolment, subject};

/// Two judges at the court's node, two lawyers at the bar's, and an expert with a specialty.
fn peopled() -> Federation {
    let mut federation = Federation::founded();
    for (origin, seed, role, node) in [
        (COURT, 50, Role::Judge, 12),
        (COURT, 51, Role::Judge, 12),
        (BAR, 60, Role::Lawyer, 22),
        (BAR, 61, Role::Lawyer, 22),
        (COMPANY, 70, Role::Expert, 32),
    ] {
        let key = Key::new(seed);
        let enrolled = enrolment(&key, role, node);
        federation.add(origin, Some(seed), enrolled, key.der()).unwrap();
    }
    let mut entry = federation.next(
        COMPANY,
        Some(70),
        Attribute {
            granted: true,
            roles: Vec::new(),
            competences: vec![Competence {
                nomenclature: "2022-12-05".to_owned(),
                code: "C-01.02".to_owned(),
            }],
            until: None,
        },
    );
    (entry.issued_at, entry.effective_at) = (day(2), day(2));
    assert_eq!(federation.enter(COMPANY, &entry, &[]), Ok(true));
    federation
}

fn found(federation: &Federation, query: Query) -> Vec<SubjectId> {
    let found = federation.replica.search(&query, day(3), 100);
    assert_eq!(found.more, 0);
    found.subjects
}

#[test]
fn all_that_is_given_must_fit() {
    let federation = peopled();
    let of = |seeds: &[u8]| {
        let mut subjects: Vec<_> = seeds.iter().map(|seed| subject(*seed)).collect();
        subjects.sort_unstable();
        subjects
    };
    let text = |text: &str| Query {
        text: text.to_owned(),
        ..Query::default()
    };
    let role = |role| Query {
        role: Some(role),
        ..Query::default()
    };
    let competence = |code: &str| Query {
        competence: Some(code.to_owned()),
        ..Query::default()
    };
    let node = |seed| Query {
        node: Some(subject(seed)),
        ..Query::default()
    };
    assert_eq!(found(&federation, role(Role::Judge)), of(&[50, 51]));
    assert_eq!(found(&federation, role(Role::Node)), of(&[12, 22, 32]));
    assert_eq!(found(&federation, Query::default()).len(), 8);
    assert_eq!(found(&federation, node(22)), of(&[22, 60, 61]));
    assert_eq!(found(&federation, text(&subject(60).to_hex()[..6])), of(&[60]));
    let certificate = Key::new(61).certificate.id().to_hex();
    assert_eq!(
        found(&federation, text(&certificate[..10].to_uppercase())),
        of(&[61])
    );
    // "Test organisation of ORIGIN".
    let bars = format!("organisation OF {BAR}");
    assert_eq!(found(&federation, text(&bars)), of(&[22, 60, 61]));
    assert_eq!(found(&federation, text("nobody")), of(&[]));
    for code in ["C-01.02", "2022-12-05:C-01.02"] {
        assert_eq!(found(&federation, competence(code)), of(&[70]), "{code}");
    }
    for code in ["C-01", "2004-02-10:C-01.02", ""] {
        assert_eq!(found(&federation, competence(code)), of(&[]), "{code}");
    }
    let both = Query {
        role: Some(Role::Lawyer),
        ..text(&bars)
    };
    assert_eq!(found(&federation, both), of(&[60, 61]));
    let neither = Query {
        role: Some(Role::Judge),
        ..text(&bars)
    };
    assert_eq!(found(&federation, neither), of(&[]));
}

#[test]
fn of_many_the_nodes_and_the_least_are_given_and_the_others_counted() {
    let mut federation = peopled();
    // A person whose id is less than any node's comes after the nodes all the same.
    let key = Key::new(90);
    let enrolled = enrolment(&key, Role::Lawyer, 22);
    federation.add(BAR, Some(1), enrolled, key.der()).unwrap();
    let all = found(&federation, Query::default());
    assert_eq!(all[..4], [12, 22, 32, 1].map(subject));
    for most in [0, 1, 5, 9, 10] {
        let some = federation.replica.search(&Query::default(), day(3), most);
        assert_eq!(some.subjects, all[..most.min(9)]);
        assert_eq!(some.more, 9 - some.subjects.len() as u64);
    }
}
