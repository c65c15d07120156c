//! What a node hears of logs, what it cosigns, and how a log that lies is found out. LOG-12 to LOG-14.

use basoche_protocol::id::Digest;
use basoche_protocol::tree::Tree;
use basoche_registry::log::{
    Checkpoint, CheckpointError, Effect, Equivocation, Gossip, Heard, KeyKind, Note, Refusal, Watch, Witness,
};
use proptest::prelude::*;

use super::kit::{Holder, ORIGIN, note, second, tree};

fn witnesses() -> [Holder; 3] {
    [1, 2, 3].map(Holder::witness)
}

fn watch() -> Watch {
    let cosigners = witnesses().map(|witness| witness.key);
    Watch::new(vec![Holder::log(ORIGIN).key], cosigners.to_vec())
}

fn hear(watch: &mut Watch, note: &Note, held: &Tree) -> Heard {
    watch.hear(note, |_| Some(held)).unwrap()
}

fn signers(checkpoint: &Checkpoint) -> Vec<String> {
    let lines = checkpoint.note().signatures().iter();
    lines.map(|line| line.name().to_owned()).collect()
}

#[test]
fn the_largest_counts_and_cosignatures_gather() {
    let [one, other, _] = witnesses();
    let (held, mut watch) = (tree(8, 9), watch());
    assert!(watch.latest(ORIGIN).is_none());
    assert_eq!(hear(&mut watch, &note(&tree(5, 9)), &held), Heard::News);
    assert_eq!(hear(&mut watch, &note(&tree(5, 9)), &held), Heard::Known);
    assert_eq!(hear(&mut watch, &note(&tree(3, 9)), &held), Heard::Older);
    let (mut first, mut second_copy) = (note(&tree(8, 9)), note(&tree(8, 9)));
    one.sign(&mut first, second(1));
    other.sign(&mut second_copy, second(2));
    assert_eq!(hear(&mut watch, &first, &held), Heard::News);
    assert_eq!(hear(&mut watch, &second_copy, &held), Heard::News);
    assert_eq!(hear(&mut watch, &second_copy, &held), Heard::Known);
    let latest = watch.latest(ORIGIN).unwrap();
    assert_eq!(latest.head().size, 8);
    assert_eq!(signers(latest), [ORIGIN, one.key.name(), other.key.name()]);
    assert_eq!(watch.all().count(), 1);
}

#[test]
fn what_strangers_write_on_a_note_takes_no_place() {
    let (held, mut watch) = (tree(8, 9), watch());
    let mut crowded = note(&held);
    for seed in 20..35 {
        Holder::witness(seed).sign(&mut crowded, second(1));
    }
    assert_eq!(crowded.signatures().len(), 16);
    assert_eq!(hear(&mut watch, &crowded, &held), Heard::News);
    assert_eq!(signers(watch.latest(ORIGIN).unwrap()), [ORIGIN]);
    // A line in a witness's name that is not its own is left out as well.
    let [one, ..] = witnesses();
    let mut forged = note(&held);
    let signature = one.secret.sign(b"something else");
    forged.add(one.key.line(&signature, second(1))).unwrap();
    assert_eq!(hear(&mut watch, &forged, &held), Heard::Known);
    // What the log has not signed is no checkpoint of it.
    let unsigned = Note::new(note(&tree(7, 9)).text().to_owned()).unwrap();
    let refused = watch.hear(&unsigned, |_| Some(&held));
    assert!(matches!(refused, Err(CheckpointError::Note(_))));
}

#[test]
fn a_checkpoint_waits_for_its_entries() {
    let [one, ..] = witnesses();
    let mut watch = watch();
    let (mut large, held) = (note(&tree(8, 9)), tree(5, 9));
    assert_eq!(watch.hear(&note(&held), |_| None).unwrap(), Heard::Early);
    assert_eq!(hear(&mut watch, &large, &held), Heard::Early);
    one.sign(&mut large, second(1));
    assert_eq!(hear(&mut watch, &large, &held), Heard::Early);
    assert_eq!(watch.hear_again(ORIGIN, &tree(7, 9)), None);
    assert!(watch.latest(ORIGIN).is_none());
    assert_eq!(watch.hear_again(ORIGIN, &tree(9, 9)), Some(Heard::News));
    assert_eq!(signers(watch.latest(ORIGIN).unwrap()), [ORIGIN, one.key.name()]);
    assert_eq!(watch.hear_again(ORIGIN, &tree(9, 9)), None);
}

/// Two nodes hold two histories, which the log has signed both: whoever has heard the larger checkpoint of its own
/// proves it, and the other believes the proof.
#[test]
fn two_histories_are_found_out_from_either_side() {
    let (ours, theirs) = (tree(8, 9), tree(9, 4));
    let (mut one, mut other) = (watch(), watch());
    assert_eq!(hear(&mut one, &note(&ours), &ours), Heard::News);
    assert_eq!(hear(&mut other, &note(&theirs), &theirs), Heard::News);
    // We hold fewer leaves than they have signed: nothing to say yet. With more we see that it is not ours.
    assert_eq!(hear(&mut one, &note(&theirs), &ours), Heard::Early);
    assert_eq!(
        one.hear_again(ORIGIN, &tree(10, 99)),
        Some(Heard::Contradicts(None))
    );
    let Heard::Contradicts(Some(proof)) = hear(&mut other, &note(&ours), &theirs) else {
        panic!("it was not found out")
    };
    let proof = Equivocation::decode(&proof.encode()).unwrap();
    for watch in [&mut one, &mut other] {
        assert_eq!(watch.accuse(proof.clone()), Ok(true));
        assert_eq!(watch.accuse(proof.clone()), Ok(false));
        assert_eq!(watch.guilt(ORIGIN), Some(&proof));
        assert_eq!(watch.guilty().count(), 1);
    }
    // As large as each other.
    let mut third = watch();
    assert_eq!(hear(&mut third, &note(&ours), &ours), Heard::News);
    let Heard::Contradicts(Some(proof)) = hear(&mut third, &note(&tree(8, 3)), &ours) else {
        panic!("it was not found out")
    };
    assert_eq!(third.accuse(*proof), Ok(true));
    // What proves nothing accuses nobody.
    let (small, large) = (tree(4, 9), tree(8, 9));
    let open = |tree: &Tree| Checkpoint::open(note(tree), &[Holder::log(ORIGIN).key]).unwrap();
    let path = large.consistency_path(4, 8).unwrap();
    let path = path.into_iter().map(Digest::new).collect();
    let idle = Equivocation::new(&open(&small), &open(&large), Digest::new(small.root()), path);
    assert!(watch().accuse(idle).is_err());
}

#[test]
fn a_witness_cosigns_what_extends_all_that_it_cosigned() {
    let [one, ..] = witnesses();
    let mut watch = watch().with_witness(one.key.clone(), Witness::new());
    let held = tree(9, 99);
    assert_eq!(watch.propose(ORIGIN, &held), Ok(None));
    let cosign = |watch: &mut Watch, at: u64| {
        let proposal = watch.propose(ORIGIN, &held).unwrap()?;
        let signature = one.secret.sign(&one.key.message(proposal.text(), second(at)));
        Some((
            proposal.head().size,
            watch.cosigned(&proposal, &signature, second(at)),
        ))
    };
    assert_eq!(hear(&mut watch, &note(&tree(5, 99)), &held), Heard::News);
    assert_eq!(cosign(&mut watch, 1), Some((5, Heard::News)));
    assert_eq!(cosign(&mut watch, 2), None);
    assert_eq!(hear(&mut watch, &note(&tree(9, 99)), &held), Heard::News);
    // Kept and not signed, before a restart: it may be signed after it.
    let kept = watch.propose(ORIGIN, &held).unwrap().unwrap();
    let mut again = Witness::new();
    again.restore(kept.head().clone());
    let mut restarted = self::watch().with_witness(one.key.clone(), again);
    assert_eq!(hear(&mut restarted, &note(&tree(9, 99)), &held), Heard::News);
    assert_eq!(cosign(&mut restarted, 3), Some((9, Heard::News)));
    assert_eq!(
        signers(restarted.latest(ORIGIN).unwrap()),
        [ORIGIN, one.key.name()]
    );
    // The store of an older day, with the note of what was signed since: nothing smaller is cosigned, nor another history.
    let mut older = Witness::new();
    older.restore(kept.head().clone());
    let mut restored = self::watch().with_witness(one.key.clone(), older.clone());
    let few = tree(6, 99);
    assert_eq!(hear(&mut restored, &note(&few), &few), Heard::News);
    assert_eq!(restored.propose(ORIGIN, &few), Err(Refusal::Inconsistent));
    let mut elsewhere = self::watch().with_witness(one.key.clone(), older);
    let other = tree(12, 3);
    assert_eq!(hear(&mut elsewhere, &note(&other), &other), Heard::News);
    assert_eq!(elsewhere.propose(ORIGIN, &other), Err(Refusal::Inconsistent));
}

#[test]
fn a_log_that_contradicted_itself_is_cosigned_no_more_and_nobody_outside_the_policy_cosigns() {
    let [one, ..] = witnesses();
    let held = tree(9, 99);
    let mut watch = watch().with_witness(one.key, Witness::new());
    assert_eq!(hear(&mut watch, &note(&held), &held), Heard::News);
    let Heard::Contradicts(Some(proof)) = hear(&mut watch, &note(&tree(7, 3)), &held) else {
        panic!("it was not found out")
    };
    watch.accuse(*proof).unwrap();
    assert_eq!(watch.propose(ORIGIN, &held), Ok(None));
    let mut stranger = self::watch().with_witness(Holder::witness(9).key, Witness::new());
    assert_eq!(hear(&mut stranger, &note(&held), &held), Heard::News);
    assert_eq!(stranger.propose(ORIGIN, &held), Ok(None));
}

/// Whoever repeats what contradicts us is answered each time, and raises one alarm; none once it is proved.
#[test]
fn a_doubt_is_said_once() {
    let held = tree(8, 99);
    let tell = |gossip: &mut Gossip, tree: &Tree| {
        let from = Some(basoche_protocol::id::SubjectId::new([7; 16]));
        let text = note(tree).encode();
        gossip
            .handle_note(from, text.as_bytes(), |_| Some(&held))
            .unwrap();
        let effects = std::iter::from_fn(|| gossip.poll_effect());
        let names = effects.map(|effect| match effect {
            Effect::Spread { .. } => "spread",
            Effect::Repeat { .. } => "repeat",
            Effect::Answer { .. } => "answer",
            Effect::Doubt { .. } => "doubt",
            Effect::Accuse { .. } => "accuse",
            Effect::Cosign(_) => "cosign",
        });
        names.collect::<Vec<_>>()
    };
    let mut gossip = Gossip::new(watch());
    assert_eq!(tell(&mut gossip, &tree(3, 99)), ["spread"]);
    assert_eq!(tell(&mut gossip, &tree(7, 4)), ["doubt", "answer"]);
    assert_eq!(tell(&mut gossip, &tree(7, 4)), ["answer"]);
    assert_eq!(tell(&mut gossip, &tree(8, 99)), ["spread"]);
    assert_eq!(tell(&mut gossip, &tree(7, 4)), ["accuse"]);
    assert_eq!(tell(&mut gossip, &tree(7, 4)), [""; 0]);
}

/// What nobody known has signed is kept, in case its key is yet to come, and not passed on.
#[test]
fn only_what_a_log_has_signed_is_passed_on() {
    let held = tree(5, 99);
    let mut gossip = Gossip::new(watch());
    let mut is_news = |note: &Note| {
        let news = gossip.handle_note(None, note.encode().as_bytes(), |_| Some(&held));
        (news.unwrap(), std::iter::from_fn(|| gossip.poll_effect()).count())
    };
    let other = Holder::new(ORIGIN, KeyKind::Log, 77);
    let mut unproved = Note::new(note(&tree(9, 99)).text().to_owned()).unwrap();
    other.sign(&mut unproved, second(1));
    assert_eq!(is_news(&unproved), (false, 0));
    assert_eq!(
        is_news(&note(&tree(8, 99))),
        (true, 0),
        "signed, and its entries are to come"
    );
    assert_eq!(is_news(&note(&held)), (true, 1));
    assert_eq!(is_news(&note(&held)), (false, 0));
    assert_eq!(is_news(&note(&tree(3, 99))), (false, 0));
}

/// What a log is under another key has nothing to do with what it was: neither the proof against it, nor what a witness cosigned.
#[test]
fn a_log_that_goes_on_under_another_key_is_heard_and_cosigned_again() {
    let [one, ..] = witnesses();
    let (held, next) = (tree(9, 99), Holder::new(ORIGIN, KeyKind::Log, 77));
    let mut watch = watch().with_witness(one.key, Witness::new());
    assert_eq!(hear(&mut watch, &note(&held), &held), Heard::News);
    assert_eq!(watch.propose(ORIGIN, &held).unwrap().unwrap().head().size, 9);
    let Heard::Contradicts(Some(proof)) = hear(&mut watch, &note(&tree(7, 3)), &held) else {
        panic!("it was not found out")
    };
    watch.accuse(*proof.clone()).unwrap();

    // It goes on from six entries. Who has not heard of the key keeps one checkpoint of more entries than it holds.
    let goes_on = tree(8, 6);
    let under = |tree: &Tree, by: &Holder| {
        let mut note = Note::new(note(tree).text().to_owned()).unwrap();
        by.sign(&mut note, second(1));
        note
    };
    let small = watch.hear(&under(&goes_on, &next), |_| Some(&held));
    assert!(matches!(small, Err(CheckpointError::Note(_))), "{small:?}");
    let six = tree(6, 99);
    assert_eq!(hear(&mut watch, &under(&goes_on, &next), &six), Heard::Unproved);
    let elsewhere = Holder::new("nobody.example", KeyKind::Log, 77);
    let stranger = watch.hear(&under(&goes_on, &elsewhere), |_| Some(&six));
    assert_eq!(stranger, Ok(Heard::Unproved));
    assert_eq!(hear(&mut watch, &under(&goes_on, &next), &six), Heard::Unproved);
    watch.set_logs(vec![next.key.clone()], vec![Holder::log(ORIGIN).key]);
    assert!(watch.latest(ORIGIN).is_none() && watch.guilt(ORIGIN).is_none());
    assert_eq!(watch.hear_again(ORIGIN, &goes_on), Some(Heard::News));
    let proposal = watch.propose(ORIGIN, &goes_on).unwrap().unwrap();
    assert_eq!((proposal.head().size, proposal.log()), (8, &next.key));

    // Who has not heard of it says the old: that is answered, and accuses nobody.
    assert_eq!(hear(&mut watch, &note(&tree(5, 99)), &goes_on), Heard::Older);
    let larger = watch.hear(&note(&tree(20, 99)), |_| Some(&goes_on));
    assert!(matches!(larger, Err(CheckpointError::Note(_))), "{larger:?}");
    assert_eq!(watch.accuse(*proof), Ok(false));
    assert!(watch.guilt(ORIGIN).is_none());
    // Under the new key it can contradict itself as any other.
    let Heard::Contradicts(Some(proof)) = hear(&mut watch, &under(&tree(8, 3), &next), &goes_on) else {
        panic!("it was not found out")
    };
    assert_eq!(watch.accuse(*proof), Ok(true));
}

proptest! {
    /// Whatever checkpoints of an honest log come, in whatever order, as its entries come: no contradiction.
    #[test]
    fn an_honest_log_is_never_accused(sizes in prop::collection::vec((1_u64..40, 1_u64..40), 1..40)) {
        let mut watch = watch();
        for (signed, held) in sizes {
            let heard = hear(&mut watch, &note(&tree(signed, 99)), &tree(held, 99));
            prop_assert!(!matches!(heard, Heard::Contradicts(_)));
        }
        prop_assert_eq!(watch.guilty().count(), 0);
    }
}
