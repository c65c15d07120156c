//! What a peer may bring and a person may found, what waits for whom, and in which turn. SPEC SYN-6, SYN-18, SYN-19.
#![allow(clippy::unwrap_used)]

mod stage;

use basoche_protocol::engine::{Allowance, Event, Quotas};
use basoche_protocol::envelope::Envelope;
use basoche_protocol::fixture::{Actor, Cast, Federation};
use basoche_protocol::id::{Digest, DossierId, MessageId};
use basoche_protocol::message::{Body, RosterChange};
use basoche_protocol::refusal::Code;
use basoche_protocol::time::Span;
use basoche_protocol::wire::frame::{Frame, Refusal};
use stage::*;

fn id_of(bytes: &[u8]) -> MessageId {
    Envelope::decode(bytes).unwrap().id()
}

/// So many at once, and one more every second.
fn few(burst: u64) -> Allowance {
    Allowance {
        burst,
        per_day: 86_400,
    }
}

fn refusal(it: &Stage) -> Refusal {
    let mut refusals = it.frames.iter().filter_map(|(_, frame)| match frame {
        Frame::Refusal(refusal) => Some(refusal.clone()),
        _ => None,
    });
    refusals.next_back().unwrap()
}

#[test]
fn one_entry_more_than_the_quota_is_refused_and_changes_nothing() {
    let all = Quotas::default();
    for quotas in [
        Quotas {
            dossier_entries: few(3),
            ..all
        },
        Quotas {
            peer_entries: few(3),
            ..all
        },
    ] {
        let mut it = Stage::at(Situation::InProgress);
        it.engine.set_quotas(quotas);
        let mut peer = Peer::new(&it);
        for _ in 0..3 {
            let good = it.good();
            assert_eq!(peer.send(&mut it, id_of(&good), &good), None);
        }
        let before = it.picture();
        let good = it.good();
        let item = peer.record_raw(&it, id_of(&good), &good);
        let head = peer.next_head(&it);
        let run = peer.run(&it, &[item], peer.sign(&head));
        assert_eq!(it.frame(&run), Some(Code::Busy));
        assert_eq!(it.picture(), before);
        let refused = refusal(&it);
        assert_eq!(refused.about, Digest::of(&[&run]));
        assert_eq!(
            (refused.retry_after, refused.dossier),
            (Some(1000), Some(it.dossier))
        );
        // What is known already is no reason to refuse anything.
        let (items, head) = (peer.items[..3].to_vec(), peer.next_head(&it));
        let known = peer.run(&it, &items, peer.sign(&head));
        assert_ne!(it.frame(&known), Some(Code::Busy));
        // The same bytes are taken as soon as was said.
        it.now = it.now + Span::from_seconds(1);
        assert_eq!(it.frame(&run), None);
        assert_eq!(it.picture().1, before.1 + 1);
        // A new connection is no new quota.
        let company = it.cast.company.subject;
        it.engine.handle_closed(company);
        it.engine.handle_connected(company, it.now);
        it.hello(company);
        let good = it.good();
        assert_eq!(peer.send(&mut it, id_of(&good), &good), Some(Code::Busy));
    }
}

#[test]
fn bytes_count_like_entries() {
    let mut it = Stage::at(Situation::InProgress);
    let bytes = Allowance {
        burst: 2000,
        per_day: 86_400_000,
    };
    it.engine.set_quotas(Quotas {
        dossier_bytes: bytes,
        ..Quotas::default()
    });
    let mut peer = Peer::new(&it);
    let mut taken = 0;
    let code = loop {
        let good = it.good();
        match peer.send(&mut it, id_of(&good), &good) {
            None => taken += 1,
            code => break code,
        }
    };
    assert_eq!(code, Some(Code::Busy));
    assert!((1..10).contains(&taken), "{taken}");
}

#[test]
fn a_person_founds_so_many_dossiers_a_day_and_no_more() {
    let mut it = Stage::at(Situation::Designated);
    it.engine.set_quotas(Quotas {
        person_dossiers: few(3),
        ..Quotas::default()
    });
    let order = |it: &Stage, salt| {
        let order = Body::Designation(it.cast.designation(it.now));
        it.cast.judge.say(None, order, salt, it.now)
    };
    // The judge has founded one already.
    for salt in [100, 101] {
        let founding = order(&it, salt);
        it.deposit(&founding).unwrap();
    }
    let (count, founding) = (it.engine.dossiers().count(), order(&it, 102));
    assert_eq!(
        it.submit(&founding, true).map_err(|error| error.code()),
        Err(Code::Busy)
    );
    assert_eq!(it.engine.dossiers().count(), count);
    // Other acts of the same person go on, and the next day there is room again.
    it.act(|cast| &cast.expert, accept());
    it.now = it.now + Span::from_seconds(1);
    let founding = order(&it, 103);
    it.deposit(&founding).unwrap();
}

/// Court, bar and company with two dossiers under way.
struct Two {
    federation: Federation,
    dossiers: [DossierId; 2],
    salt: u8,
}

impl Two {
    fn under_way(seed: u64) -> Self {
        let mut it = Self {
            federation: Federation::new(seed),
            dossiers: [DossierId::new([0; 32]); 2],
            salt: 0,
        };
        for number in 0..2 {
            let now = it.federation.now;
            let mut order = it.federation.cast.designation(now);
            order.case_number = format!("26/{number:05}");
            let founding = it
                .federation
                .cast
                .judge
                .say(None, Body::Designation(order), number as u8, now);
            it.dossiers[number] = DossierId::from(it.federation.deposit(0, &founding).unwrap());
            it.federation.settle(2000);
            it.act(number, |cast| &cast.expert, accept());
            let add = it.federation.cast.participants();
            let change = RosterChange {
                ext: None,
                add,
                remove: vec![],
            };
            it.act(number, |cast| &cast.expert, Body::RosterChange(change));
            it.act(number, |cast| &cast.clerk, paid(300_000));
            it.pass(10);
        }
        it
    }

    fn say(&mut self, dossier: usize, who: impl Fn(&Cast) -> &Actor, body: Body) -> (usize, Vec<u8>) {
        self.salt = self.salt.wrapping_add(1);
        let actor = who(&self.federation.cast).clone();
        let node = self.federation.node_of(&actor);
        let at = self.federation.clock(node);
        (node, actor.say(Some(self.dossiers[dossier]), body, self.salt, at))
    }

    fn act(&mut self, dossier: usize, who: impl Fn(&Cast) -> &Actor, body: Body) -> MessageId {
        let (node, envelope) = self.say(dossier, who, body);
        self.federation.deposit(node, &envelope).unwrap()
    }

    fn pass(&mut self, seconds: u64) {
        let until = self.federation.now + Span::from_seconds(seconds);
        self.federation.run_until(until);
    }

    fn entries(&self, node: usize, dossier: usize) -> usize {
        let rows = self.federation.node(node).frontier(&self.dossiers[dossier]);
        let sizes = rows.unwrap_or_default().into_iter().map(|row| row.size as usize);
        sizes.sum()
    }

    fn has(&self, node: usize, dossier: usize, message: &MessageId) -> bool {
        let held = self.federation.node(node).dossier(&self.dossiers[dossier]);
        held.is_some_and(|held| held.position(message).is_some())
    }
}

#[test]
fn a_dossier_over_its_quota_is_held_back_comes_again_by_itself_and_delays_no_other() {
    let mut it = Two::under_way(1);
    it.pass(30);
    it.federation.set_quotas(Quotas {
        dossier_entries: Allowance {
            burst: 8,
            per_day: 8640,
        },
        ..Quotas::default()
    });
    it.federation.cut(1, 2);
    for _ in 0..25 {
        it.act(0, |cast| &cast.clerk, paid(1));
    }
    it.pass(1);
    assert!(it.entries(1, 0) < it.entries(0, 0));
    let busy = |it: &Two| {
        let refused = |event: &Event| matches!(event, Event::Refused { code: Code::Busy, .. });
        it.federation
            .events
            .iter()
            .filter(|(node, event)| *node == 1 && refused(event))
            .count()
    };
    assert!(busy(&it) > 0);
    // Who was told to wait waits, and other dossiers do not.
    it.pass(1);
    let told = busy(&it);
    let other = it.act(1, |cast| &cast.clerk, paid(1));
    it.pass(1);
    assert!(it.has(1, 1, &other));
    it.pass(14);
    assert_eq!(busy(&it), told);
    // And then it comes again by itself.
    it.pass(400);
    assert_eq!(it.entries(1, 0), it.entries(0, 0));
    assert!(
        it.federation
            .events
            .iter()
            .all(|(_, event)| !matches!(event, Event::Forked { .. }))
    );
}

#[test]
fn who_is_told_to_wait_waits_through_a_new_connection_and_no_longer_than_the_peers_process_lives() {
    let mut it = Two::under_way(4);
    it.pass(30);
    it.federation.set_quotas(Quotas {
        dossier_entries: Allowance {
            burst: 8,
            per_day: 24,
        },
        ..Quotas::default()
    });
    it.federation.cut(1, 2);
    for _ in 0..25 {
        it.act(0, |cast| &cast.clerk, paid(1));
    }
    it.pass(2);
    let held_back = |it: &Two| {
        let court = it.federation.node(0);
        court.held_back(&it.federation.node(1).node(), &it.dossiers[0])
    };
    let until = held_back(&it).unwrap();
    assert!(until > it.federation.now + Span::from_seconds(1800));
    let runs = |it: &mut Two| {
        let sent = it.federation.overheard.replace(Vec::new()).unwrap_or_default();
        let runs = sent.iter().filter(|(from, to, bytes)| {
            (*from, *to) == (0, 1) && matches!(Frame::decode(bytes), Ok(Frame::Run(_)))
        });
        runs.count()
    };
    // The same process, connected again: it still has no room, and is sent nothing that it would refuse.
    runs(&mut it);
    it.federation.cut(0, 1);
    it.pass(1);
    it.federation.connect(0, 1);
    it.act(0, |cast| &cast.clerk, paid(1));
    it.pass(600);
    assert_eq!(held_back(&it), Some(until));
    assert_eq!(runs(&mut it), 0);
    // What its next process has room for, nobody can know: it is sent what it lacks.
    it.federation.set_quotas(Quotas::default());
    it.federation.crash(1);
    it.federation.connect(0, 1);
    it.pass(60);
    assert_eq!(held_back(&it), None);
    assert!(runs(&mut it) > 0);
    assert_eq!(it.entries(1, 0), it.entries(0, 0));
}

#[test]
fn a_long_backlog_delays_no_other_dossier() {
    const ENTRIES: usize = 10_000;
    let mut it = Two::under_way(2);
    it.pass(30);
    it.federation.window = 8;
    it.federation.crash(1);
    it.federation.cut(0, 2);
    for number in 0..ENTRIES {
        let (node, envelope) = it.say(0, |cast| &cast.clerk, paid(1 + number as u64));
        it.federation.submit(node, &envelope).unwrap();
        if number % 25 == 24 {
            it.federation.step();
        }
    }
    it.pass(1);
    let lag = it.entries(0, 0) - it.entries(1, 0);
    assert_eq!(lag, ENTRIES);
    // One act before the two meet, which goes with a backlog too, and one after, which goes at once.
    let before = it.act(1, |cast| &cast.clerk, paid(1));
    it.federation.connect(0, 1);
    while it.entries(0, 0) - it.entries(1, 0) > ENTRIES - 100 {
        it.federation.step();
    }
    let after = it.act(1, |cast| &cast.clerk, paid(2));
    for _ in 0..60 {
        it.federation.step();
    }
    assert!(it.has(1, 1, &before) && it.has(1, 1, &after));
    let left = it.entries(0, 0) - it.entries(1, 0);
    assert!(left > ENTRIES / 2, "only {left} entries lag");
    it.pass(120);
    assert_eq!(it.entries(0, 0), it.entries(1, 0));
    // A catch-up of so many is within every default.
    let busy = |event: &Event| matches!(event, Event::Refused { code: Code::Busy, .. });
    assert!(it.federation.events.iter().all(|(_, event)| !busy(event)));
}

#[test]
fn who_is_told_to_wait_by_a_stranger_or_for_ever_waits_no_longer_than_it_has_to() {
    let mut it = Two::under_way(3);
    it.pass(30);
    it.federation.cut(1, 2);
    let busy = |dossier, retry_after| {
        Frame::Refusal(Refusal {
            code: u64::from(Code::Busy.number()),
            about: Digest::new([0; 32]),
            retry_after: Some(retry_after),
            dossier: Some(dossier),
        })
        .encode()
    };
    // Of a dossier that it does not share, or of none: nothing comes of it.
    it.federation
        .inject(1, 0, busy(DossierId::new([5; 32]), u64::MAX));
    let dossier = it.dossiers[0];
    it.federation.inject(1, 0, busy(dossier, u64::MAX));
    it.federation.settle(2000);
    let late = it.act(0, |cast| &cast.clerk, paid(1));
    it.pass(3500);
    assert!(!it.has(1, 0, &late));
    it.pass(1100);
    assert!(it.has(1, 0, &late));
}
