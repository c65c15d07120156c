//! The promises, held to a world whose plan is over. Each is checked from outside, with what the nodes stored and
//! signed, and not with what they say of themselves.

use std::collections::{BTreeMap, BTreeSet};

use basoche_protocol::dossier::Replica;
use basoche_protocol::engine::Event;
use basoche_protocol::fixture::Rng;
use basoche_protocol::id::{Digest, MessageId};
use basoche_protocol::journal::{Branch, HeadRow, Record, SignedHead, Verdict};
use basoche_protocol::tree::verify_inclusion;

use super::forger::Forger;
use super::plan::NODES;
use super::proofs;
use super::world::World;

/// Runs of one peer that may wait at a node. SYN-10.
const EARLY_RUNS: usize = 64;
/// Entries of which the receipts are verified, per dossier.
const SAMPLE: u64 = 12;

/// The first promise that is broken, in words.
pub(crate) fn judge(world: &World) -> Result<(), String> {
    if let Some(broken) = &world.broken {
        return Err(broken.clone());
    }
    bounded(world)?;
    patient(world)?;
    if let Some(node) = (0..NODES).find(|node| world.federation.misled(*node)) {
        return Err(format!(
            "at rest: node {node} had a summary that is not its journal's"
        ));
    }
    no_honest_fork(world)?;
    proofs::hold(world)?;
    confined(world)?;
    for number in 0..world.dossiers.len() {
        convergent(world, number)?;
        forgotten(world, number)?;
        unique(world, number)?;
        causal_and_authorised(world, number)?;
        evidence_verifies(world, number)?;
        forks_are_proved(world, number)?;
        barriers_are_held(world, number)?;
    }
    durable(world)
}

fn replica(world: &World, node: usize, number: usize) -> Result<&Replica, String> {
    let dossier = world.federation.node(node).dossier(&world.dossiers[number]);
    dossier.ok_or_else(|| format!("convergent: node {node} does not know dossier {number}"))
}

fn bounded(world: &World) -> Result<(), String> {
    match world.most_waiting {
        ..=EARLY_RUNS => Ok(()),
        most => Err(format!("bounded: {most} runs of one peer waited")),
    }
}

/// Who was told by a peer to wait with a dossier sent it no stored run of that before. SYN-19.
fn patient(world: &World) -> Result<(), String> {
    let mut impatient = world.federation.impatient.iter();
    match impatient.find(|(node, _)| world.is_honest(*node)) {
        None => Ok(()),
        Some((node, peer)) => Err(format!(
            "patient: node {node} did not wait as node {peer} had said"
        )),
    }
}

/// Honest nodes never signed two histories, and nobody says that they did.
fn no_honest_fork(world: &World) -> Result<(), String> {
    let forked = world
        .federation
        .forked
        .iter()
        .find(|(node, _)| world.is_honest(*node));
    if let Some((node, seq)) = forked {
        return Err(format!("no fork: node {node} signed two entries {seq}"));
    }
    for (node, event) in &world.federation.events {
        if let Event::Forked { chain, .. } = event
            && (0..NODES).any(|other| world.is_honest(other) && world.is_of(chain, other))
        {
            return Err(format!("no fork: node {node} accuses an honest one"));
        }
    }
    Ok(())
}

/// Who never was in a dossier has nothing of it, and who has left has no key of what came after. KEY-2.
fn confined(world: &World) -> Result<(), String> {
    let court = replica(world, 0, 1)?;
    let held = |node: usize| world.federation.node(node).dossier(&world.dossiers[1]);
    let ever = court.state().ever_nodes();
    // Who was let in by what every other member has lost since, with its disk, keeps what it was given.
    let outside =
        |node: &usize| !ever.contains(&world.federation.node(*node).node()) && !world.entered.contains(node);
    if let Some(node) = (0..NODES).filter(outside).find(|node| held(*node).is_some()) {
        return Err(format!("confined: node {node} has the small dossier"));
    }
    for (message, node) in &world.removals {
        let effective = |(_, _, record): &(_, _, &Record)| {
            record.message == *message && record.verdict == Verdict::Effective
        };
        let Some((branch, seq, _)) = court.records().find(effective) else {
            continue;
        };
        if court
            .state()
            .nodes()
            .contains(&world.federation.node(*node).node())
        {
            return Err(format!("confined: node {node} has left, and is a member"));
        }
        let newest = court.newest_key().map(|(epoch, _)| epoch);
        let Some(epoch) = newest.filter(|epoch| held(*node).is_some_and(|held| held.key(*epoch).is_some()))
        else {
            continue;
        };
        // They have the newest key: then the keeper has recorded nothing since it knew both why they had it and that they left.
        let left = world.federation.node(*node).node();
        let hands = |(branch, seq, _): &(Branch, u64, &Record)| {
            let item = world.federation.item(0, world.dossiers[1], *branch, *seq);
            let mut wraps = item.iter().flat_map(|item| &item.entry.wraps);
            wraps.any(|wrap| wrap.epoch == epoch && wrap.recipient == left)
        };
        let handed = court.records().filter(hands);
        let handed: Vec<_> = handed
            .filter_map(|(branch, seq, _)| court.past_with(&branch, seq))
            .collect();
        let after = court.past_with(&branch, seq);
        let late = |(other, at, record): &(Branch, u64, &Record)| {
            let knows = (*other, *at) == (branch, seq) || after.iter().any(|after| record.past.covers(after));
            knows && handed.iter().all(|handed| record.past.covers(handed))
        };
        let keeper = court.state().expert_seat();
        let mut keepers = court
            .records()
            .filter(|(branch, ..)| Some(branch.chain.node) == keeper);
        if let Some((_, at, _)) = keepers.find(late) {
            return Err(format!(
                "confined: node {node} has left, and no key epoch began with the keeper's entry {at}"
            ));
        }
    }
    Ok(())
}

fn convergent(world: &World, number: usize) -> Result<(), String> {
    let members = world.honest_members(number);
    let first = replica(world, members[0], number)?;
    for node in &members {
        let other = replica(world, *node, number)?;
        let differ = |what| {
            Err(format!(
                "convergent: nodes {} and {node} differ in {what} of {number}",
                members[0]
            ))
        };
        if other.frontier() != first.frontier() {
            return differ("entries");
        }
        if other.state().hash() != first.state().hash() {
            return differ("state");
        }
        if other.pending() > 0 {
            return Err(format!("convergent: node {node} still waits for something"));
        }
    }
    if let Some((node, other)) = world.without_receipt(number) {
        return Err(format!(
            "received: the latest head of node {other} that node {node} has does not cover all of {number}"
        ));
    }
    // One bad item blocks nothing behind it: what a dishonest node recorded is on file everywhere.
    for ((node, _), forgers) in world.forgers.iter().filter(|((_, of), _)| *of == number) {
        let rows: Vec<_> = forgers.iter().filter_map(Forger::row).collect();
        let on_file = |row: &&HeadRow| first.frontier().contains(row);
        let owed = rows.len() == 1 && world.is_owed(number, &forgers[0]);
        if owed && !rows.iter().all(|row| on_file(&row)) {
            return Err(format!(
                "convergent: what node {node} recorded by hand is not on file"
            ));
        }
    }
    Ok(())
}

/// What is erased is on no honest member's disk, and all else is.
fn forgotten(world: &World, number: usize) -> Result<(), String> {
    for node in world.honest_members(number) {
        let replica = replica(world, node, number)?;
        for (branch, seq, record) in replica.records() {
            let tombstone = replica.state().erased_by(&record.message);
            let item = world.federation.item(node, replica.dossier(), branch, seq);
            let there = item.is_some_and(|item| item.sealed.is_some());
            if there == tombstone.is_some() {
                let message = record.message;
                let what = if there { "still has" } else { "has lost" };
                return Err(format!("forgotten: node {node} {what} {message}"));
            }
        }
    }
    Ok(())
}

/// Who signed two histories is proved to have, at every member, to anybody who has the registry; nobody else is.
fn forks_are_proved(world: &World, number: usize) -> Result<(), String> {
    for node in world.honest_members(number) {
        let chains = replica(world, node, number)?.chains();
        for (chain, _) in chains.forks() {
            let proof = chains.proof(&chain).ok_or("fork: there is no proof of one")?;
            match proof.verify(&world.federation.registry) {
                Ok(guilty) if guilty == chain.node => {}
                other => return Err(format!("fork: the proof of one says {other:?}")),
            }
        }
    }
    Ok(())
}

fn unique(world: &World, number: usize) -> Result<(), String> {
    for node in world.honest_members(number) {
        let mut times: BTreeMap<MessageId, u64> = BTreeMap::new();
        for (branch, _, record) in replica(world, node, number)?.records() {
            let writer = (0..NODES).find(|other| world.is_of(&branch.chain, *other));
            // A node that was set back may have to record a message again, and a forger may copy one.
            if writer.is_some_and(|other| world.is_honest(other) && !world.restored.contains(&other)) {
                *times.entry(record.message).or_default() += 1;
            }
        }
        if let Some((message, times)) = times.iter().find(|(_, times)| **times > 1) {
            return Err(format!(
                "unique: {message} is on file {times} times at node {node}"
            ));
        }
    }
    Ok(())
}

/// Whatever its dossier, an acknowledged message is on file at the court, and so at every honest member.
fn durable(world: &World) -> Result<(), String> {
    let mut known = world.lost.clone();
    for number in 0..world.dossiers.len() {
        known.extend(
            replica(world, 0, number)?
                .records()
                .map(|(_, _, record)| record.message),
        );
    }
    // Who has left, or was let in by what the others have lost, keeps what nobody takes from it any more.
    for node in &world.entered {
        let apart = world.federation.node(*node).dossier(&world.dossiers[1]);
        known.extend(
            apart
                .into_iter()
                .flat_map(Replica::records)
                .map(|(_, _, record)| record.message),
        );
    }
    let mut acknowledged = world.acknowledged.iter();
    let gone = acknowledged.find(|(message, _)| !known.contains(message));
    gone.map_or(Ok(()), |(message, node)| {
        Err(format!(
            "durable: {message}, acknowledged by node {node}, is nowhere"
        ))
    })
}

/// Every entry comes after what it cites, and only lawful acts have effect.
fn causal_and_authorised(world: &World, number: usize) -> Result<(), String> {
    for node in world.honest_members(number) {
        let replica = replica(world, node, number)?;
        let mut applied = BTreeSet::new();
        for (branch, seq, record) in replica.records() {
            let item = world.federation.item(node, replica.dossier(), branch, seq);
            let Some(entry) = item.map(|item| &item.entry) else {
                return Err(format!(
                    "durable: node {node} has an entry that is not on its disk"
                ));
            };
            let mut before = entry.deps.iter().map(|cited| cited.leaf).chain(entry.prev);
            if entry.seq != seq || !before.all(|leaf| applied.contains(&leaf)) {
                return Err(format!(
                    "causal: node {node} applied an entry before what it cites"
                ));
            }
            applied.insert(entry.leaf());
            if record.verdict == Verdict::Effective && world.unlawful.contains(&record.message) {
                return Err(format!(
                    "authorised: {} has effect at node {node}",
                    record.message
                ));
            }
        }
    }
    Ok(())
}

/// What an honest member has signed that it holds of a barrier, it holds. BAR-3.
fn barriers_are_held(world: &World, number: usize) -> Result<(), String> {
    let court = replica(world, 0, number)?;
    for node in world.honest_members(number) {
        let (own, id) = (replica(world, node, number)?, world.federation.node(node).node());
        for message in court.state().barriers().keys() {
            let signed = court.state().barrier_held(message, &id).is_some();
            // Another history that has come since is no fault of theirs.
            let lacks = |barrier| own.lacks_message_of(barrier);
            if signed && court.barrier(message).is_none_or(lacks) {
                return Err(format!(
                    "contradictoire: node {node} signed {message}, and does not hold it"
                ));
            }
        }
    }
    Ok(())
}

/// The receipts of some entries hold for somebody who has nothing but the registry.
fn evidence_verifies(world: &World, number: usize) -> Result<(), String> {
    let node = world.honest_members(number)[0];
    let replica = replica(world, node, number)?;
    let positions: Vec<_> = replica.records().map(|(branch, seq, _)| (branch, seq)).collect();
    let mut rng = Rng::new(positions.len() as u64);
    for _ in 0..SAMPLE {
        let (branch, seq) = positions[rng.below(positions.len() as u64) as usize];
        let held = replica.chains().get(&branch).ok_or("evidence: a chain is gone")?;
        let leaf = held.leaf(seq).ok_or("evidence: a leaf is gone")?;
        for head in replica.heads().values() {
            let head = SignedHead::verify(&head.encode(), &world.federation.registry)
                .map_err(|error| format!("evidence: a head does not verify: {error}"))?;
            let rows = head.head().rows_of(&branch.chain).iter();
            let Some(row) = rows.into_iter().find(|row| row.size > seq && held.contains(row)) else {
                continue;
            };
            let path = held.tree().inclusion_path(seq, row.size).unwrap_or_default();
            let proved = verify_inclusion(leaf.as_bytes(), seq, row.size, &path, row.root.as_bytes());
            // What a dishonest node signs of others proves nothing, and is not expected to.
            let signer = (0..NODES).find(|other| world.federation.node(*other).node() == head.head().node);
            if proved.is_err() && signer.is_some_and(|signer| world.is_honest(signer)) {
                return Err(format!("evidence: the receipt of {seq} does not hold"));
            }
        }
    }
    Ok(())
}

/// What a run leaves, to tell two runs apart.
pub(crate) fn picture(world: &World) -> (Vec<Digest>, usize, u64) {
    let hashes = world.dossiers.iter().filter_map(|dossier| {
        let held = world.federation.node(0).dossier(dossier)?;
        Some(held.state().hash())
    });
    (
        hashes.collect(),
        world.federation.events.len(),
        world.federation.heads,
    )
}
