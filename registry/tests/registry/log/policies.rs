//! Trust policies, LOG-6.

use std::fmt::Write as _;

use basoche_registry::log::{Key, Policy, PolicyError, PolicyFault};

use super::kit::{Holder, ORIGIN};

/// Three professions of three witnesses, two of each: the policy that nodes start with.
fn three_professions() -> String {
    let mut text = format!("# who must have seen it\nlog {}\n\n", Holder::log(ORIGIN).key);
    for n in 1..=9 {
        writeln!(
            text,
            "witness w{n}\t{} https://w{n}.example/",
            Holder::witness(n).key
        )
        .unwrap();
    }
    text + "group courts 2 w1 w2 w3\n group bars 2 w4 w5 w6 \ngroup companies 2 w7 w8 w9\n\
        group all-of-them all courts bars companies\nquorum all-of-them\n"
}

#[test]
fn two_of_three_in_each_profession_are_enough_and_no_others() {
    let policy = Policy::parse(three_professions().as_bytes()).unwrap();
    assert_eq!(policy.logs(), [Holder::log(ORIGIN).key]);
    let witnesses: Vec<&Key> = policy.witnesses().collect();
    assert_eq!(witnesses.len(), 9);
    for chosen in 0_u32..512 {
        let seen = (0..9).filter(|place| chosen >> place & 1 == 1);
        let enough = [0b111, 0b111_000, 0b111_000_000]
            .iter()
            .all(|group| (chosen & group).count_ones() >= 2);
        assert_eq!(
            policy.is_met(seen.map(|place| witnesses[place])),
            enough,
            "{chosen:b}"
        );
    }
    // A stranger counts for nobody.
    assert!(!policy.is_met(&[Holder::witness(10).key]));
}

#[test]
fn a_policy_may_ask_for_one_or_for_nobody() {
    let (one, other) = (Holder::witness(1).key, Holder::witness(2).key);
    let single = Policy::parse(format!("witness w {one}\nquorum w").as_bytes()).unwrap();
    assert!(single.is_met([&one]) && !single.is_met([&other]));
    let any = format!("witness w {one}\nwitness v {other}\ngroup g any w v\nquorum g");
    let any = Policy::parse(any.as_bytes()).unwrap();
    assert!(any.is_met(&[other]) && !any.is_met(&[]));
    assert!(Policy::parse(b"quorum none").unwrap().is_met(&[]));
}

#[test]
fn what_is_wrong_with_a_policy_is_said_with_its_line() {
    let (one, two) = (Holder::witness(1).key, Holder::witness(2).key);
    let log = Holder::log(ORIGIN).key;
    let named = |name: &str| name.to_owned();
    let renamed = Key::new("other.example", one.kind(), *one.public()).unwrap();
    let threshold = |text: &str| PolicyFault::Threshold {
        threshold: named(text),
    };
    let cases = [
        (format!("witness w {one}"), 0, PolicyFault::Quorum),
        ("quorum none\nquorum none".to_owned(), 2, PolicyFault::Quorum),
        (
            "quorum w".to_owned(),
            1,
            PolicyFault::UnknownName { name: named("w") },
        ),
        ("\n\nwitness w".to_owned(), 3, PolicyFault::Line),
        ("group g any".to_owned(), 1, PolicyFault::Line),
        (
            format!("witness w {log}"),
            1,
            PolicyFault::Key {
                vkey: log.to_string(),
            },
        ),
        (
            format!("log {one}"),
            1,
            PolicyFault::Key {
                vkey: one.to_string(),
            },
        ),
        (
            format!("log {log}\nlog {log}"),
            2,
            PolicyFault::DuplicateKey { name: named(ORIGIN) },
        ),
        (
            format!("witness w {one}\nwitness v {renamed}"),
            2,
            PolicyFault::DuplicateKey {
                name: named("other.example"),
            },
        ),
        (
            format!("witness w {one}\nwitness w {two}"),
            2,
            PolicyFault::NameTaken { name: named("w") },
        ),
        (
            format!("witness none {one}"),
            1,
            PolicyFault::NameTaken { name: named("none") },
        ),
        (
            format!("witness w {one}\ngroup g any w w"),
            2,
            PolicyFault::MemberTwice { name: named("w") },
        ),
        (
            format!("witness w {one}\ngroup g any w\ngroup h any w"),
            3,
            PolicyFault::MemberTwice { name: named("w") },
        ),
        (
            "group g any g".to_owned(),
            1,
            PolicyFault::UnknownName { name: named("g") },
        ),
        (format!("witness w {one}\ngroup g none w"), 2, threshold("none")),
        (format!("witness w {one}\ngroup g 0 w"), 2, threshold("0")),
        (format!("witness w {one}\ngroup g 2 w"), 2, threshold("2")),
        (format!("witness w {one}\ngroup g 01 w"), 2, threshold("01")),
        ("quorum none\r\n".to_owned(), 1, PolicyFault::NotText),
        ("#".repeat(65 * 1024), 0, PolicyFault::TooLarge),
    ];
    for (text, line, fault) in cases {
        let short = &text[..text.len().min(80)];
        assert_eq!(
            Policy::parse(text.as_bytes()),
            Err(PolicyError { line, fault }),
            "{short}"
        );
    }
    assert!(Policy::parse(b"\xff").is_err());
    let mut many = String::new();
    for n in 1..=33 {
        writeln!(many, "witness w{n} {}", Holder::witness(n).key).unwrap();
    }
    let error = PolicyError {
        line: 33,
        fault: PolicyFault::TooLarge,
    };
    assert_eq!(Policy::parse((many + "quorum none").as_bytes()), Err(error));
}
