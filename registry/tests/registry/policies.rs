//! Other witnesses in the place of those of the anchors: whose word it takes, and what counts under whom. REG-27.

use basoche_protocol::envelope::{Envelope, Typ};
use basoche_protocol::id::Digest;
use basoche_protocol::refusal::Code;
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_registry::entry::{POLICY_TEXT_BYTES, PolicyChange, Suspension};
use basoche_registry::leaf::{Capacity, CoSignature, agreement};
use basoche_registry::published::SILENCE;
use basoche_registry::{Inadmissible, Leaf};
use serde_bytes::ByteBuf;

use crate::kit::{BAR, COMPANY, COURT, Federation, Key, day, genesis, root, sign};
use crate::log::kit::Holder;
use crate::quorum::Log;

/// Of three witnesses that the anchors do not know any two.
fn change(number: u64) -> PolicyChange {
    let lines = [7, 8, 9].map(|seed| format!("witness w{seed} {}\n", Holder::witness(seed).key));
    let policy = format!("{}group two 2 w7 w8 w9\nquorum two\n", lines.concat());
    PolicyChange { number, policy }
}

/// What a root of somebody signs who agrees to `change` in the federation of `log`.
fn agree(log: &Log, by: &Key, change: &PolicyChange) -> Envelope {
    let policy = log.federation.replica.anchors().policy().unwrap();
    let target = agreement(&policy.digest(), change);
    let unsigned = CoSignature::draft(by, target, Capacity::Authority, day(0));
    unsigned.sign(by).unwrap()
}

/// Enters `change` at `at`, signed by `author`, with these beside.
fn enter(
    log: &mut Log,
    change: PolicyChange,
    at: Instant,
    author: &Key,
    beside: Vec<Envelope>,
) -> Result<bool, Inadmissible> {
    let mut entry = log.federation.next(BAR, None, change);
    (entry.issued_at, entry.effective_at) = (at, at);
    let leaf = Leaf::new(sign(&entry, Typ::Registry, author), beside).unwrap();
    let leaf = RegistryLeaf {
        leaf: ByteBuf::from(leaf.encode()),
        certificate: ByteBuf::new(),
    };
    log.federation.admit(BAR, &leaf)
}

/// The log as it is, seen by these at `at`, entered then.
fn publish(log: &mut Log, seeds: &[u8], at: Instant) -> Result<bool, Inadmissible> {
    let mut note = log.checkpoint(&log.head(), &[]);
    for seed in seeds {
        Holder::witness(*seed).sign(&mut note, at);
    }
    log.enter(&note.encode(), at)
}

#[test]
fn most_authorities_put_other_witnesses_in_force() {
    let mut log = Log::new();
    log.publish(day(1), day(1)).unwrap();
    assert_eq!(log.federation.replica.policy(BAR).unwrap().0, 0);
    let first = change(1);
    let beside = vec![agree(&log, &root(COURT), &first)];
    assert_eq!(
        enter(&mut log, first.clone(), day(2), &root(BAR), beside),
        Ok(true)
    );
    let (number, policy) = log.federation.replica.policy(BAR).unwrap();
    assert_eq!((number, policy.text()), (1, first.policy.as_str()));
    // The other logs go by the anchors' until they enter it themselves; so all witnesses matter.
    assert_eq!(log.federation.replica.policy(COURT).unwrap().0, 0);
    assert_eq!(log.federation.replica.witnesses().len(), 6 + 3);

    // Those of before are nobody now, and one of the new ones is not two.
    let before = publish(&mut log, &[1, 3, 5], day(3)).unwrap_err().to_string();
    assert!(before.contains("no witness of the policy"), "{before}");
    let one = publish(&mut log, &[7], day(3)).unwrap_err().to_string();
    assert!(one.contains("no quorum"), "{one}");
    assert_eq!(publish(&mut log, &[7, 9], day(3)), Ok(true));

    // A later one follows, whatever numbers lie between, and none that is as old or older.
    let third = change(3);
    let beside = |log: &Log, change: &PolicyChange| vec![agree(log, &root(COMPANY), change)];
    let agreed = beside(&log, &third);
    assert_eq!(enter(&mut log, third, day(4), &root(BAR), agreed), Ok(true));
    for number in [1, 2, 3] {
        let old = change(number);
        let agreed = beside(&log, &old);
        let refused = enter(&mut log, old, day(5), &root(BAR), agreed).unwrap_err();
        assert_eq!(refused, Inadmissible::OldPolicy { number, in_force: 3 });
        let code = basoche_protocol::error::Error::from(refused).code();
        assert_eq!(code, Code::HeadMismatch);
    }
    assert_eq!(log.federation.copy().replica.policy(BAR).unwrap().0, 3);
}

#[test]
fn what_most_authorities_have_not_agreed_to_is_refused() {
    let mut log = Log::new();
    let wanted = change(1);
    let mut refused = |author: &Key, beside: Vec<Envelope>| {
        enter(&mut log, wanted.clone(), day(2), author, beside).unwrap_err()
    };
    let log_ = Log::new();
    let agree = |by: &Key, change: &PolicyChange| agree(&log_, by, change);
    let not_entitled = |error: Inadmissible| match error {
        Inadmissible::NotEntitled { what, .. } => what,
        other => panic!("{other:?}"),
    };
    // The log's own root alone, of three authorities.
    assert_eq!(
        not_entitled(refused(&root(BAR), vec![])),
        "the roots of most authorities"
    );
    let bad = |error: Inadmissible| match error {
        Inadmissible::CoSignature { number, what } => (number, what),
        other => panic!("{other:?}"),
    };
    // Its own root is no other authority's; nor is a stranger; nobody agrees twice.
    let stranger = "it is not by a root of another authority in force";
    for by in [root(BAR), Key::new(99)] {
        assert_eq!(bad(refused(&root(BAR), vec![agree(&by, &wanted)])), (0, stranger));
    }
    let court = agree(&root(COURT), &wanted);
    let twice = vec![court.clone(), court.clone()];
    assert_eq!(
        bad(refused(&root(BAR), twice)),
        (1, "the same key has signed already")
    );
    // To another number, to another text.
    let other = PolicyChange {
        policy: format!("{}\n# and more\n", wanted.policy),
        ..wanted.clone()
    };
    for other in [change(2), other] {
        let beside = vec![agree(&root(COURT), &other)];
        assert_eq!(
            bad(refused(&root(BAR), beside)),
            (0, "it agrees to something else")
        );
    }
    // An officer makes none, whoever agrees.
    let officer = log.federation.officer(BAR, 60, 3);
    log.publish(day(1), day(1)).unwrap();
    let error = enter(&mut log, wanted.clone(), day(2), &officer, vec![court.clone()]).unwrap_err();
    assert_eq!(not_entitled(error), "the roots of most authorities");
    // Agreement to a policy stands beside nothing else.
    let mut entry = log.federation.next(BAR, Some(50), Suspension { decision: None });
    (entry.issued_at, entry.effective_at) = (day(2), day(2));
    let leaf = Leaf::new(sign(&entry, Typ::Registry, &root(BAR)), vec![court]).unwrap();
    let leaf = RegistryLeaf {
        leaf: ByteBuf::from(leaf.encode()),
        certificate: ByteBuf::new(),
    };
    let error = log.federation.admit(BAR, &leaf).unwrap_err();
    assert_eq!(bad(error), (0, "nothing is agreed to here"));
    assert_eq!(log.federation.replica.policy(BAR).unwrap().0, 0);
}

#[test]
fn what_is_no_policy_that_asks_for_witnesses_is_malformed() {
    let mut log = Log::new();
    let good = change(1);
    let texts = [
        "quorum none\n".to_owned(),
        "quorum nobody\n".to_owned(),
        String::new(),
        format!("{}#{}\n", good.policy, "x".repeat(POLICY_TEXT_BYTES)),
    ];
    let bad = texts.map(|policy| PolicyChange { number: 1, policy });
    for change in bad.into_iter().chain([PolicyChange { number: 0, ..good }]) {
        let beside = vec![agree(&log, &root(COURT), &change)];
        let refused = enter(&mut log, change, day(2), &root(BAR), beside);
        assert!(matches!(refused, Err(Inadmissible::Malformed(_))), "{refused:?}");
    }
}

/// Where nobody need see anything, there is nothing to change: such anchors are for trials.
#[test]
fn a_federation_without_witnesses_has_no_policy_to_change() {
    let mut federation = Federation::empty();
    federation.add(BAR, None, genesis(BAR), &[]).unwrap();
    assert_eq!(federation.replica.policy(BAR), None);
    let refused = federation.add(BAR, None, change(1), &[]);
    assert!(
        matches!(refused, Err(Inadmissible::NotPublished { .. })),
        "{refused:?}"
    );
}

/// A witness that is new has not been silent since the log began.
#[test]
fn silence_is_counted_from_the_change_on() {
    let mut log = Log::new();
    log.publish(day(1), day(1)).unwrap();
    let lines = [1, 7, 8].map(|seed| format!("witness w{seed} {}\n", Holder::witness(seed).key));
    let policy = format!("{}group all all w1 w7 w8\nquorum all\n", lines.concat());
    let wanted = PolicyChange { number: 1, policy };
    let beside = vec![agree(&log, &root(COURT), &wanted)];
    let since = day(9);
    assert_eq!(enter(&mut log, wanted, since, &root(BAR), beside), Ok(true));
    let early = since + SILENCE - Span::from_seconds(1);
    let few = publish(&mut log, &[1, 7], early).unwrap_err().to_string();
    assert!(few.contains("no quorum"), "{few}");
    assert_eq!(publish(&mut log, &[1, 7], since + SILENCE), Ok(true));
    let (_, without) = log.federation.replica.published(BAR).unwrap();
    assert_eq!(without, ["w8"]);
}

/// Somebody else's federation has agreed to the same text under the same number: that is not ours.
#[test]
fn agreement_is_good_in_one_federation() {
    let mut log = Log::new();
    let wanted = change(1);
    let elsewhere = agreement(&Digest::new([9; 32]), &wanted);
    let by = root(COURT);
    let unsigned = CoSignature::draft(&by, elsewhere, Capacity::Authority, day(0));
    let beside = vec![unsigned.sign(&by).unwrap()];
    let refused = enter(&mut log, wanted, day(2), &root(BAR), beside);
    let what = "it agrees to something else";
    assert_eq!(refused, Err(Inadmissible::CoSignature { number: 0, what }));
}
