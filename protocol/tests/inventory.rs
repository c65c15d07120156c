//! What nodes tell each other of what they hold: digests, cursors, anti-entropy, own heads, and lies. SPEC §10.3.
#![allow(clippy::unwrap_used)]

mod stage;

use basoche_protocol::fixture::{Actor, Cast, Federation};
use basoche_protocol::id::{Digest, DossierId};
use basoche_protocol::message::{Body, RosterChange};
use basoche_protocol::plant::{Bug, plant};
use basoche_protocol::refusal::Code;
use basoche_protocol::role::Role;
use basoche_protocol::time::Span;
use basoche_protocol::wire::frame::{DossierDigest, Frame, Frontier, Inventory};
use basoche_protocol::wire::limits;
use serde_bytes::ByteBuf;
use stage::*;

/// What stands for a dossier that is not held, or not for the other's eyes.
const NOTHING: Digest = Digest::new([0; 32]);

/// Court, bar and company with one dossier under way; each act goes to its author's own node.
struct Three {
    federation: Federation,
    dossier: DossierId,
    salt: u8,
}

impl Three {
    fn under_way(seed: u64) -> Self {
        let mut federation = Federation::new(seed);
        let now = federation.now;
        let order = Body::Designation(federation.cast.designation(now));
        let founding = federation.cast.judge.say(None, order, 0, now);
        let dossier = DossierId::from(federation.deposit(0, &founding).unwrap());
        let mut it = Self {
            federation,
            dossier,
            salt: 0,
        };
        it.federation.settle(2000);
        it.act(|cast| &cast.expert, accept());
        let add = it.federation.cast.participants();
        let remove = vec![];
        it.act(
            |cast| &cast.expert,
            Body::RosterChange(RosterChange {
                ext: None,
                add,
                remove,
            }),
        );
        it.act(|cast| &cast.clerk, paid(300_000));
        it
    }

    fn act(&mut self, who: impl Fn(&Cast) -> &Actor, body: Body) {
        self.salt += 1;
        let actor = who(&self.federation.cast).clone();
        let node = self.federation.node_of(&actor);
        let at = self.federation.clock(node);
        let envelope = actor.say(Some(self.dossier), body, self.salt, at);
        self.federation.deposit(node, &envelope).unwrap();
        self.federation.settle(2000);
    }

    fn pass(&mut self, seconds: u64) {
        let until = self.federation.now + Span::from_seconds(seconds);
        self.federation.run_until(until);
    }

    fn entries(&self, node: usize) -> u64 {
        let rows = self.federation.node(node).frontier(&self.dossier);
        rows.unwrap_or_default().iter().map(|row| row.size).sum()
    }

    /// What two nodes say to each other while they connect, hellos left out.
    fn overheard(&mut self, a: usize, b: usize) -> Vec<(usize, Frame, usize)> {
        self.federation.overheard = Some(Vec::new());
        self.federation.connect(a, b);
        self.federation.settle(2000);
        let frames = self.federation.overheard.take().unwrap().into_iter();
        let between = frames.filter(|(from, to, _)| [(a, b), (b, a)].contains(&(*from, *to)));
        between
            .map(|(from, _, bytes)| (from, Frame::decode(&bytes).unwrap(), bytes.len()))
            .filter(|(_, frame, _)| !matches!(frame, Frame::Hello(_)))
            .collect()
    }
}

fn is_inventory(frame: &Frame) -> bool {
    matches!(frame, Frame::Inventory(_))
}

#[test]
fn equal_replicas_of_one_dossier_say_so_within_200_bytes_and_one_round() {
    let mut it = Three::under_way(1);
    it.pass(30);
    // Both processes are new to each other: no cursor helps.
    it.federation.crash(1);
    let frames = it.overheard(0, 1);
    assert!(
        frames.iter().all(|(_, frame, _)| is_inventory(frame)),
        "{frames:?}"
    );
    let bytes: usize = frames.iter().map(|(.., bytes)| bytes).sum();
    assert!(bytes < 200, "{bytes}");
    // One digest from each side, and each one's word that it is equal: nobody speaks twice before having heard.
    assert_eq!(
        frames.iter().filter(|(from, ..)| *from == 0).count(),
        2,
        "{frames:?}"
    );
    assert_eq!(frames.len(), 4, "{frames:?}");
    // Who has restarted knows from the digests how far the others hold its chain, and goes on. JRN-6.
    it.federation.connect_all();
    it.pass(1);
    it.act(|cast| &cast.claimant_lawyer, dire(1));
    let replica = it.federation.node(0).dossier(&it.dossier).unwrap();
    let node = it.federation.cast.bar.subject;
    let chains = replica
        .chains()
        .iter()
        .filter(|(branch, _)| branch.chain.node == node);
    assert_eq!(chains.count(), 1);
    let head = replica.heads()[&node].head();
    assert_eq!(
        head.incarnation,
        replica
            .chains()
            .iter()
            .find(|(branch, _)| branch.chain.node == node)
            .unwrap()
            .0
            .chain
            .incarnation
    );
}

#[test]
fn after_a_broken_connection_only_what_has_changed_is_compared() {
    let mut it = Three::under_way(2);
    it.pass(30);
    it.federation.cut(0, 1);
    let frames = it.overheard(0, 1);
    let bytes: usize = frames.iter().map(|(.., bytes)| bytes).sum();
    assert!(bytes < 50, "{bytes}");
    let digests = |frames: &[(usize, Frame, usize)]| -> usize {
        let told = frames.iter().map(|(_, frame, _)| match frame {
            Frame::Inventory(inventory) => inventory.digests.len(),
            _ => 0,
        });
        told.sum()
    };
    assert_eq!(digests(&frames), 0, "{frames:?}");
    // What changed meanwhile is told, and comes over.
    it.federation.cut(0, 1);
    it.act(|cast| &cast.expert, exhibit(3));
    let frames = it.overheard(0, 1);
    assert!(digests(&frames) > 0);
    assert_eq!(it.entries(0), it.entries(1));
    // New runs go at once to who was known to be equal.
    it.pass(30);
    it.federation.cut(0, 1);
    it.federation.connect(0, 1);
    it.federation.settle(2000);
    it.federation.overheard = Some(Vec::new());
    it.act(|cast| &cast.clerk, paid(1));
    let frames = it.federation.overheard.take().unwrap();
    let first = frames
        .iter()
        .find(|(from, to, _)| (*from, *to) == (0, 1))
        .unwrap();
    assert!(matches!(Frame::decode(&first.2), Ok(Frame::Run(_))));
}

/// Poisons what the court and the bar's node believe of each other, while the bar's node has lost entries that its
/// heads had covered: nothing that either signs, stores or was told makes them compare again.
fn poisoned() -> Three {
    let mut it = Three::under_way(3);
    it.federation.cut(1, 2);
    it.pass(30);
    let copy = it.federation.backup(1);
    it.act(|cast| &cast.clerk, exhibit(7));
    it.act(|cast| &cast.clerk, exhibit(8));
    it.pass(30);
    it.federation.network.lost = 1000;
    copy(&mut it.federation);
    assert_eq!(it.entries(1) + 2, it.entries(0));
    it.federation.connect(0, 1);
    it.pass(1);
    it.federation.network.lost = 0;
    for (from, to) in [(0, 1), (1, 0)] {
        // As if it had found everything equal; the numbers are those that the other side has given out.
        let acknowledged = 100;
        let lie = |acknowledged| {
            Frame::Inventory(Inventory {
                from: 0,
                to: acknowledged,
                acknowledged,
                digests: vec![],
            })
        };
        for number in (1..=acknowledged).rev() {
            it.federation.inject(from, to, lie(number).encode());
        }
    }
    it.federation.settle(1000);
    it
}

#[test]
fn a_poisoned_cursor_is_healed_by_comparing_everything_with_a_random_peer() {
    let mut it = poisoned();
    it.pass(240);
    assert_eq!(it.entries(1) + 2, it.entries(0), "something else has healed it");
    it.pass(400);
    assert_eq!(it.entries(1), it.entries(0));
}

/// Negative control: nothing but the comparison with a random peer heals it.
#[test]
fn without_anti_entropy_a_poisoned_cursor_stays() {
    let mut it = poisoned();
    plant(Some(Bug::NoAntiEntropy));
    it.pass(4000);
    plant(None);
    assert_eq!(it.entries(1) + 2, it.entries(0));
}

/// Whether the receipts of the bar's node count after both its store and its clock were set back.
fn counts_after_store_and_clock_were_set_back() -> bool {
    let mut it = Three::under_way(4);
    let (bar, node) = (1, it.federation.cast.bar.subject);
    // From here on its heads are numbered by its clock.
    it.federation.crash(bar);
    it.federation.connect_all();
    it.pass(20);
    it.act(|cast| &cast.clerk, paid(1));
    let copy = it.federation.backup(bar);
    for _ in 0..20 {
        it.act(|cast| &cast.clerk, paid(1));
    }
    it.federation.skew(bar, -200_000);
    copy(&mut it.federation);
    it.federation.connect_all();
    it.pass(20);
    it.act(|cast| &cast.clerk, paid(1));
    it.pass(20);
    let court = it.federation.node(0);
    let replica = court.dossier(&it.dossier).unwrap();
    let head = replica.heads()[&node].head();
    replica
        .frontier()
        .iter()
        .all(|row| head.rows_of(&row.chain).contains(row))
}

#[test]
fn head_numbers_go_on_above_those_that_others_know() {
    assert!(counts_after_store_and_clock_were_set_back());
    // Negative control: who takes nobody's word for its own heads numbers them anew, and they count for nobody.
    plant(Some(Bug::ForgetsOwnHeads));
    assert!(!counts_after_store_and_clock_were_set_back());
    plant(None);
}

#[test]
fn a_head_that_was_lost_on_the_way_comes_with_the_next_repair() {
    let mut it = Three::under_way(5);
    it.pass(10);
    it.federation.network.lost = 1000;
    it.act(|cast| &cast.clerk, paid(1));
    it.federation.network.lost = 0;
    it.pass(15);
    let node = it.federation.cast.bar.subject;
    let replica = it.federation.node(0).dossier(&it.dossier).unwrap();
    let head = replica.heads()[&node].head();
    assert!(
        replica
            .frontier()
            .iter()
            .all(|row| head.rows_of(&row.chain).contains(row))
    );
}

fn inventory(from: u64, to: u64, acknowledged: u64, digests: &[(DossierId, Digest)]) -> Vec<u8> {
    let digests = digests.iter().map(|(dossier, digest)| DossierDigest {
        dossier: *dossier,
        digest: *digest,
    });
    Frame::Inventory(Inventory {
        from,
        to,
        acknowledged,
        digests: digests.collect(),
    })
    .encode()
}

fn number(number: u64) -> DossierId {
    let mut id = [7; 32];
    id[..8].copy_from_slice(&number.to_be_bytes());
    DossierId::new(id)
}

#[test]
fn each_malformed_inventory_is_refused_and_changes_nothing() {
    let digest = Digest::new([1; 32]);
    let many: Vec<_> = (0..=limits::INVENTORY_DIGESTS as u64)
        .map(|n| (number(n), digest))
        .collect();
    let bad = [
        // A cursor further than anything that ever changed here.
        inventory(0, 0, u64::MAX, &[]),
        inventory(0, 0, 1 << 20, &[]),
        inventory(2, 1, 0, &[]),
        // Out of order, twice the same, too many.
        inventory(0, 1, 0, &[(number(2), digest), (number(1), digest)]),
        inventory(0, 1, 0, &[(number(1), digest), (number(1), digest)]),
        inventory(0, 1, 0, &many),
    ];
    for (case, bytes) in bad.iter().enumerate() {
        let mut it = Stage::at(Situation::InProgress);
        let before = it.picture();
        it.frames.clear();
        assert_eq!(it.frame(bytes), Some(Code::BadValue), "{case}");
        assert_eq!(it.picture(), before, "{case}");
        assert!(
            it.frames
                .iter()
                .all(|(_, frame)| matches!(frame, Frame::Refusal(_))),
            "{case}"
        );
        // An honest one on the same connection is taken.
        assert_eq!(it.frame(&inventory(0, 1, 0, &[])), None, "{case}");
    }
}

#[test]
fn a_wrong_digest_only_makes_the_other_side_show_what_it_has() {
    let mut it = Stage::at(Situation::InProgress);
    let before = it.picture();
    it.frames.clear();
    let dossier = it.dossier;
    assert_eq!(
        it.frame(&inventory(0, 9, 0, &[(dossier, Digest::new([1; 32]))])),
        None
    );
    assert_eq!(it.picture(), before);
    let company = it.cast.company.subject;
    assert!(
        matches!(&it.frames[..], [(to, Frame::Frontier(frontier))] if *to == company && frontier.dossier == dossier)
    );
    // It is not acknowledged, and what comes after it is not either.
    it.frames.clear();
    assert_eq!(it.frame(&inventory(9, 10, 0, &[])), None);
    assert!(matches!(&it.frames[..], [(_, Frame::Inventory(answer))] if answer.acknowledged == 0));
}

/// What the court says to a node that is no member and names a dossier: one that the court holds, or none.
fn answer(held: bool, digest: Digest) -> Vec<Frame> {
    let mut it = Stage::at(Situation::InProgress);
    let stranger = outsider("bystander", Role::Node).subject;
    it.engine.handle_connected(stranger, it.now);
    it.hello(stranger);
    let dossier = if held { it.dossier } else { number(3) };
    it.engine
        .handle_frame(stranger, &inventory(0, 1, 0, &[(dossier, digest)]), it.now);
    it.work();
    let frames = it.frames.into_iter().filter(|(to, _)| *to == stranger);
    let frames = frames
        .map(|(_, frame)| frame)
        .filter(|frame| !matches!(frame, Frame::Hello(_)));
    let mut frames: Vec<_> = frames.collect();
    for frame in &mut frames {
        if let Frame::Inventory(told) = frame {
            assert!(
                told.digests
                    .iter()
                    .all(|one| one.digest == NOTHING && one.dossier == dossier)
            );
            told.digests.iter_mut().for_each(|one| one.dossier = number(0));
        }
    }
    frames
}

#[test]
fn a_dossier_of_others_and_one_that_does_not_exist_look_the_same() {
    for digest in [Digest::new([1; 32]), NOTHING] {
        let frames = answer(true, digest);
        assert_eq!(frames, answer(false, digest));
        assert!(frames.iter().all(is_inventory), "{frames:?}");
    }
}

#[test]
fn nobody_brings_back_a_head_that_the_node_has_not_signed() {
    let mut it = Stage::at(Situation::InProgress);
    let mut peer = Peer::new(&it);
    let before = it.picture();
    let of_the_court = it.replica().heads()[&it.cast.court.subject].encode();
    let mut forged = of_the_court.clone();
    *forged.last_mut().unwrap() ^= 1;
    let head = peer.next_head(&it);
    let cases = [
        (forged, Some(Code::BadSignature)),
        // Somebody else's.
        (peer.sign(&head), Some(Code::BadValue)),
        (vec![0], Some(Code::WrongShape)),
        // An old one is true, and no news.
        (of_the_court, None),
    ];
    for (yours, code) in cases {
        let frontier = Frontier {
            dossier: it.dossier,
            rows: it.replica().frontier(),
            wraps: vec![],
            head: None,
            lacking: vec![],
            yours: Some(ByteBuf::from(yours)),
        };
        assert_eq!(it.frame(&Frame::Frontier(frontier).encode()), code);
        assert_eq!(it.picture(), before);
    }
}

#[test]
fn a_second_hello_is_refused() {
    let mut it = Stage::at(Situation::InProgress);
    let company = it.cast.company.subject;
    it.events.clear();
    it.hello(company);
    it.work();
    assert!(it.events.iter().any(|event| matches!(
        event,
        basoche_protocol::engine::Event::Refused {
            code: Code::BadValue,
            ..
        }
    )));
}
