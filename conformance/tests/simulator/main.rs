//! Whole federations under seeded faults and dishonest members, on a virtual clock. SPEC §8, §10.
//!
//! A seed is a plan, a plan is a list of values, and a run of it is always the same: `BASOCHE_SEED=n` runs one and
//! prints its plan. `BASOCHE_SEEDS` says how many to run, `BASOCHE_LONG=1` runs 10 000. Every twentieth seed has real
//! signatures; the others have digests in their place, and all other checks.

#![allow(clippy::unwrap_used)]

mod acts;
mod forger;
mod malice;
mod oracle;
mod parties;
mod plan;
mod proofs;
mod world;

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use basoche_protocol::fixture::Signing;
use basoche_protocol::plant::{Bug, plant};
use plan::{FAULTS, Plan};
use world::{Company, World};

/// Seeds within which a planted bug must be found.
const FOUND_WITHIN: u64 = 2000;
/// One seed in so many has real signatures.
const REAL: u64 = 20;

/// Seeds that failed once, and what they found.
const SCENARIOS: &[(u64, &str)] = &[
    (
        0,
        "a member's false row of an honest node's chain was taken for that node's fork",
    ),
    (
        22,
        "a node that joined was kept out by an entry of one that had joined under a key that it lacked",
    ),
    (
        26,
        "a node that ended between a commit and its receipt never gave that receipt",
    ),
    (
        34,
        "who was let in by what all others have lost since was taken for an intruder",
    ),
    (
        35,
        "a message on file twice had the date of the record that came last",
    ),
    (
        947,
        "a node that was set back went on at the word of a member that lagged",
    ),
    (
        8410,
        "judged as it was after the proofs, and not as what had come meanwhile let it become",
    ),
];

struct Casts {
    real: Company,
    stand_in: Company,
}

impl Casts {
    fn new() -> Self {
        Self {
            real: Company::new(Signing::Real),
            stand_in: Company::new(Signing::StandIn),
        }
    }

    fn of(&self, seed: u64) -> &Company {
        if seed.is_multiple_of(REAL) {
            &self.real
        } else {
            &self.stand_in
        }
    }
}

/// What a seed came to: the world at its end, or the promise that was broken.
fn run(casts: &Casts, seed: u64, hasty: bool) -> (World, Result<(), String>) {
    let plan = Plan::of(seed);
    let mut world = World::new(casts.of(seed), &plan);
    world.federation.hasty = hasty;
    for (pause, op) in &plan.ops {
        world.take(*pause, *op);
    }
    world.finish();
    let verdict = oracle::judge(&world);
    (world, verdict)
}

/// The same; a panic is a broken promise too.
fn outcome(casts: &Casts, seed: u64, hasty: bool) -> Result<BTreeMap<String, u64>, String> {
    match catch_unwind(AssertUnwindSafe(|| run(casts, seed, hasty))) {
        Ok((world, Ok(()))) => Ok(world.histogram),
        Ok((world, Err(broken))) => Err(format!("{broken}; dishonest: {:?}", world.dishonest)),
        Err(_) => Err("a node panicked".to_owned()),
    }
}

/// Whether a campaign is wanted.
fn long() -> bool {
    std::env::var_os("BASOCHE_LONG").is_some()
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {value}")),
    )
}

/// Runs seeds on every processor until one fails or all are done; the failures, and what was done in all.
fn search(
    seeds: Range<u64>,
    bug: Option<Bug>,
    hasty: bool,
    first_only: bool,
) -> (Vec<(u64, String)>, BTreeMap<String, u64>) {
    let casts = Casts::new();
    let next = AtomicU64::new(seeds.start);
    let failures = Mutex::new(Vec::new());
    let done: Mutex<BTreeMap<String, u64>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                plant(bug);
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || (first_only && !failures.lock().unwrap().is_empty()) {
                        return;
                    }
                    match outcome(&casts, seed, hasty) {
                        Ok(histogram) => {
                            let mut done = done.lock().unwrap();
                            for (kind, times) in histogram {
                                *done.entry(kind).or_default() += times;
                            }
                        }
                        Err(broken) => failures.lock().unwrap().push((seed, broken)),
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    (failures, done.into_inner().unwrap())
}

#[test]
fn every_seed_keeps_every_promise() {
    if let Some(seed) = number("BASOCHE_SEED") {
        println!("{:#?}", Plan::of(seed));
        run(&Casts::new(), seed, false).1.unwrap();
        return;
    }
    let seeds = number("BASOCHE_SEEDS").unwrap_or_else(|| if long() { 10_000 } else { 100 });
    let (failures, done) = search(0..seeds, None, false, false);
    println!("simulator: {seeds} seeds, {} failed; {done:?}", failures.len());
    let parties = ["enrolled", "joined", "by a party", "withdrawn"];
    assert!(
        seeds < 100 || parties.iter().all(|act| done.contains_key(*act)),
        "no party was enrolled, spoke or lost its key"
    );
    assert!(
        seeds < 100 || done.contains_key("busy"),
        "no quota was ever exceeded"
    );
    assert!(
        seeds < 100 || (done.contains_key("proven") && done.contains_key("blamed")),
        "nobody proved anything, or nobody lied"
    );
    assert!(
        failures.is_empty(),
        "{} of {seeds}: {:?}",
        failures.len(),
        &failures[..failures.len().min(20)]
    );
}

#[test]
fn what_failed_once_does_not_fail_again() {
    let casts = Casts::new();
    for (seed, what) in SCENARIOS {
        assert_eq!(
            outcome(&casts, *seed, false).map(|_| ()),
            Ok(()),
            "{seed}: {what}"
        );
    }
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    let casts = Casts::new();
    for seed in [0, 1, 7] {
        assert_eq!(Plan::of(seed), Plan::of(seed));
        let pictures = [0; 2].map(|_| oracle::picture(&run(&casts, seed, false).0));
        assert_eq!(pictures[0], pictures[1], "{seed}");
    }
}

#[test]
fn a_seed_that_fails_fails_alike_every_time() {
    let casts = Casts::new();
    plant(Some(Bug::OneMemberConfirms));
    let outcomes = [0; 2].map(|_| outcome(&casts, 947, false).unwrap_err());
    plant(None);
    assert_eq!(outcomes[0], outcomes[1]);
}

#[test]
fn one_seed_in_twenty_has_real_signatures_and_one_in_three_changes_the_roster() {
    let casts = Casts::new();
    let real = (0..1000).filter(|seed| std::ptr::eq(casts.of(*seed), &casts.real));
    assert!(real.count() >= 50);
    let kinds = |seed| {
        Plan::of(seed)
            .ops
            .into_iter()
            .map(|(_, op)| op.kind())
            .collect::<Vec<_>>()
    };
    let changes = |seed: &u64| {
        ["enter", "leave"]
            .iter()
            .all(|kind| kinds(*seed).iter().any(|one| one == kind))
    };
    assert!((0..1000).filter(changes).count() >= 300);
    assert!((0..1000_u64).any(|seed| seed.is_multiple_of(REAL) && changes(&seed)));
}

#[test]
fn every_plan_has_its_faults() {
    for seed in 0..500 {
        let plan = Plan::of(seed);
        assert!(plan.ops.len() >= 200);
        assert!(plan.ops.iter().filter(|(_, op)| op.is_fault()).count() >= FAULTS);
    }
}

/// Runs seeds with a bug in the engine, or in the stores, until one notices: from the first seed on in a long run,
/// otherwise from one shortly before that which is known to.
fn must_be_found(name: &str, bug: Option<Bug>, hasty: bool, shortly_before: u64) {
    let first = if long() { 0 } else { shortly_before };
    let (failures, _) = search(first..FOUND_WITHIN, bug, hasty, true);
    let (seed, broken) = failures
        .first()
        .unwrap_or_else(|| panic!("{name} is not found in {FOUND_WITHIN} seeds"));
    println!("simulator: {name} is found by seed {seed}: {broken}");
}

#[test]
fn acknowledging_before_the_commit_is_found() {
    must_be_found("acknowledging before the commit", None, true, 0);
}

#[test]
fn writing_on_without_confirmation_is_found() {
    let bug = Some(Bug::NoIncarnationRule);
    must_be_found("writing on without confirmation", bug, false, 0);
}

#[test]
fn writing_on_at_one_members_word_is_found() {
    must_be_found("one member's word", Some(Bug::OneMemberConfirms), false, 945);
}

#[test]
fn trusting_claimed_time_is_found() {
    must_be_found("trusting claimed time", Some(Bug::TrustClaimedTime), false, 0);
}

#[test]
fn judging_a_party_by_what_came_since_is_found() {
    let bug = Some(Bug::PartiesOfNow);
    must_be_found("judging a party by what came since", bug, false, 0);
}

#[test]
fn poison_that_blocks_the_queue_is_found() {
    let bug = Some(Bug::PoisonBlocksQueue);
    must_be_found("poison that blocks the queue", bug, false, 0);
}

#[test]
fn judging_what_is_erased_by_what_is_left_is_found() {
    must_be_found(
        "judging what is erased by what is left",
        Some(Bug::NoResidual),
        false,
        0,
    );
}

#[test]
fn a_buffer_without_a_bound_is_found() {
    must_be_found("a buffer without a bound", Some(Bug::UnboundedBuffer), false, 0);
}

#[test]
fn sending_on_before_the_peer_takes_more_is_found() {
    let bug = Some(Bug::NeverHoldsBack);
    must_be_found("sending on before the peer takes more", bug, false, 0);
}

#[test]
fn comparing_heights_only_is_found() {
    must_be_found("comparing heights only", Some(Bug::HeightsOnly), false, 0);
}

#[test]
fn taking_anything_for_a_proof_is_found() {
    let bug = Some(Bug::ProofsUnchecked);
    must_be_found("taking anything for a proof", bug, false, 0);
}

#[test]
fn believing_a_stale_summary_is_found() {
    let bug = Some(Bug::StaleSummaryBelieved);
    must_be_found("believing a stale summary", bug, false, 0);
}
