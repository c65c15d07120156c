//! What the plan chooses, and that it never stops choosing while something can be fetched.

#![allow(clippy::unwrap_used)]

use super::*;

const MIB: u64 = 1 << 20;

fn node(number: u8) -> SubjectId {
    SubjectId::new([number; 16])
}

fn root(number: u16) -> Digest {
    Digest::of(&[&number.to_be_bytes()])
}

fn dossier() -> DossierId {
    DossierId::new([1; 32])
}

fn want(number: u16, bytes: u64, sources: &[u8]) -> Want {
    Want {
        dossier: dossier(),
        deposit: MessageId::new([2; 32]),
        root: root(number),
        bytes,
        sources: sources.iter().map(|one| node(*one)).collect(),
    }
}

fn holders(nodes: &[u8]) -> BTreeSet<SubjectId> {
    nodes.iter().map(|one| node(*one)).collect()
}

/// A plan of node 0 for `count` documents of 16 KiB that nodes 1, 2 and 3 may have.
fn small(count: u16, jobs: usize, now: Instant) -> Plan {
    let mut plan = Plan::new(node(0), jobs);
    (0..count).for_each(|number| plan.add(want(number, 16_400, &[1, 2, 3]), now));
    plan
}

fn batch(job: Option<Job>) -> (SubjectId, Vec<Digest>) {
    match job {
        Some(Job::Batch {
            source, documents, ..
        }) => (source, documents.into_iter().map(|(root, _)| root).collect()),
        other => panic!("{other:?}"),
    }
}

fn done(plan: &mut Plan, job: &Job, now: Instant) {
    plan.ended(job, &BTreeSet::new(), now);
}

#[test]
fn the_documents_that_the_fewest_hold_come_first() {
    let now = Instant::now();
    let mut plan = small(300, 4, now);
    for number in 0..300 {
        let all: &[u8] = if number % 3 == 0 { &[1] } else { &[1, 2, 3] };
        plan.held(&root(number), holders(all));
    }
    let (source, first) = batch(plan.next(now));
    assert_eq!(source, node(1));
    let rare: BTreeSet<_> = (0..300).step_by(3).map(root).collect();
    assert!(first.len() > 50 && first.iter().all(|root| rare.contains(root)));
}

#[test]
fn two_nodes_begin_with_other_documents() {
    let now = Instant::now();
    let first = |own: u8| {
        let mut plan = Plan::new(node(own), 4);
        (0..1000).for_each(|number| plan.add(want(number, 16_400, &[1, 2, 3]), now));
        batch(plan.next(now)).1.into_iter().collect::<BTreeSet<_>>()
    };
    let (one, other) = (first(8), first(9));
    assert_eq!(one, first(8), "the order is a node's own, and stays");
    assert!(one.intersection(&other).count() < one.len() / 2);
}

#[test]
fn of_those_that_hold_a_document_the_fastest_is_asked_and_for_as_much_as_it_brings() {
    let now = Instant::now();
    let mut plan = small(4000, 16, now);
    for number in 0..4000 {
        plan.held(&root(number), holders(&[2, 3]));
    }
    let second = Duration::from_secs(1);
    for (source, rate) in [(1, 90 * MIB), (2, MIB), (3, 8 * MIB)] {
        plan.measured(&node(source), rate, second);
    }
    // Node 1 is the fastest and does not say that it holds any. Two jobs each: no source is asked for more.
    let jobs: Vec<_> = std::iter::from_fn(|| plan.next(now)).collect();
    let asked: Vec<_> = jobs
        .iter()
        .map(|job| match job {
            Job::Batch {
                source, documents, ..
            } => {
                let bytes = documents.iter().map(|(_, bytes)| bytes).sum::<u64>();
                (*source, bytes.div_ceil(MIB >> 2))
            }
            Job::One { .. } => panic!("{job:?}"),
        })
        .collect();
    let expected = [(3, 16), (3, 16), (2, 2), (2, 2)];
    assert_eq!(asked, expected.map(|(source, quarters)| (node(source), quarters)));
    done(&mut plan, &jobs[0], now);
    assert_eq!(batch(plan.next(now)).0, node(3));
}

#[test]
fn a_batch_that_is_not_full_waits_for_the_one_before_it() {
    let now = Instant::now();
    let mut plan = Plan::new(node(0), 4);
    plan.add(want(0, 16_400, &[1]), now);
    let first = plan.next(now).unwrap();
    (1..30).for_each(|number| plan.add(want(number, 16_400, &[1]), now));
    assert_eq!(plan.next(now), None);
    done(&mut plan, &first, now);
    assert_eq!(batch(plan.next(now)).1.len(), 29);
    assert_eq!(plan.len(), 29);
}

#[test]
fn who_has_not_got_it_is_not_asked_again_before_the_others() {
    let begun = Instant::now();
    let mut plan = small(1, 4, begun);
    let mut asked = Vec::new();
    for _ in 0..3 {
        let job = plan.next(begun).unwrap();
        plan.ended(&job, &BTreeSet::from([root(0)]), begun);
        asked.push(batch(Some(job)).0);
    }
    asked.sort_unstable();
    assert_eq!(asked, [1, 2, 3].map(node));
    // Then all wait, each time longer, and never for ever.
    assert_eq!(plan.next(begun), None);
    let due = plan.due(begun).unwrap();
    assert!(due > begun && plan.next(due).is_some());
}

#[test]
fn a_source_that_lies_or_has_no_time_is_left_alone_and_the_others_are_asked() {
    let now = Instant::now();
    let mut plan = small(3, 4, now);
    plan.measured(&node(1), 100 * MIB, Duration::from_secs(1));
    plan.blamed(&node(2), now);
    plan.blamed(&node(3), now);
    assert_eq!(batch(plan.next(now)).0, node(1));
    let mut plan = small(3, 4, now);
    (1..=3).for_each(|source| plan.refused(&node(source), now));
    assert_eq!(plan.next(now), None);
    let due = plan.due(now).unwrap();
    assert!(due <= now + PAUSE.0 && plan.next(due).is_some());
    // It waits longer each time.
    let mut plan = small(3, 4, now);
    (0..20).for_each(|_| (1..=3).for_each(|source| plan.refused(&node(source), now)));
    assert_eq!(plan.due(now), Some(now + PAUSE.1));
}

#[test]
fn long_documents_leave_a_job_for_small_ones_and_go_to_their_holders_first() {
    let now = Instant::now();
    let mut plan = Plan::new(node(0), 3);
    (0..5).for_each(|number| plan.add(want(number, 100 * MIB, &[1, 2, 3]), now));
    plan.measured(&node(3), 100 * MIB, Duration::from_secs(1));
    plan.measured(&node(2), 10 * MIB, Duration::from_secs(1));
    (0..5).for_each(|number| plan.held(&root(number), holders(&[2, 3])));
    for _ in 0..2 {
        let Some(Job::One { sources, .. }) = plan.next(now) else {
            panic!("no long one")
        };
        assert_eq!(sources, [3, 2, 1].map(node));
    }
    assert_eq!(plan.next(now), None);
    plan.add(want(9, 70, &[1]), now);
    let small = plan.next(now).unwrap();
    assert_eq!(batch(Some(small.clone())).1, [root(9)]);
    done(&mut plan, &small, now);
    assert_eq!((plan.next(now), plan.len()), (None, 5));
    // One job at once: everything has its turn.
    let mut alone = Plan::new(node(0), 1);
    alone.add(want(1, 100 * MIB, &[1]), now);
    assert!(matches!(alone.next(now), Some(Job::One { .. })));
}

#[test]
fn thirty_nodes_have_a_deposit_from_each_other() {
    // Each round every node does one batch; what it then has, the others know in the next round.
    let now = Instant::now();
    let (nodes, documents) = (29_u8, 1000_u16);
    let all: Vec<u8> = (0..=nodes).collect();
    let mut have: BTreeMap<SubjectId, BTreeSet<Digest>> = BTreeMap::new();
    have.insert(node(0), (0..documents).map(root).collect());
    let mut plans: BTreeMap<SubjectId, Plan> = BTreeMap::new();
    for own in 1..=nodes {
        let mut plan = Plan::new(node(own), 4);
        let sources: Vec<u8> = all.iter().copied().filter(|one| *one != own).collect();
        (0..documents).for_each(|number| plan.add(want(number, 16_400, &sources), now));
        plans.insert(node(own), plan);
    }
    let (mut from_depositor, mut in_all) = (0, 0);
    while !plans.values().all(Plan::is_empty) {
        let known = have.clone();
        for (own, plan) in &mut plans {
            for (_, _, root) in plan.candidates() {
                let holders = known.iter().filter(|(_, has)| has.contains(&root));
                plan.held(&root, holders.map(|(node, _)| *node).collect());
            }
            let Some(job) = plan.next(now) else { continue };
            done(plan, &job, now);
            let (source, roots) = batch(Some(job));
            plan.measured(&source, MIB, Duration::from_millis(100));
            assert!(roots.iter().all(|root| known[&source].contains(root)));
            in_all += roots.len();
            from_depositor += if source == node(0) { roots.len() } else { 0 };
            have.entry(*own).or_default().extend(roots);
        }
    }
    assert_eq!(in_all, usize::from(nodes) * usize::from(documents));
    println!("{from_depositor} of {in_all} from the depositor");
    assert!(from_depositor < in_all / 2, "{from_depositor} of {in_all}");
}
