//! A registry that begins with a snapshot, and what is no snapshot of it. SPEC §9.7; attack 21.

use std::sync::{Arc, PoisonError};

use basoche_protocol::directory::Directory;
use basoche_protocol::engine::{Registry, Row};
use basoche_protocol::id::SubjectId;
use basoche_protocol::journal::RegistryHead;
use basoche_protocol::role::Role;
use basoche_protocol::wire::codec;
use basoche_registry::entry::{Endpoint, Lifting, StateRoot, Suspension};
use basoche_registry::log::Checkpoint;
use basoche_registry::snapshot::{NotGiven, PART_BYTES, Refused, Taking};
use basoche_registry::state::BUCKETS;
use basoche_registry::{Inadmissible, Replica, Shelf};
use cddl_cat::validate_cbor_bytes;

use crate::kit::{BAR, COURT, Key, day, enrolment, revocation, subject, tls};
use crate::quorum::Log;
use crate::shelf::{MemoryShelf, shared};

/// Entries of the bar's log before it states its root: more than a tile.
const BEFORE: u64 = 300;

/// The bar's log with [`BEFORE`] entries, the one that states its root, and some that change what was stated; a checkpoint
/// that a quorum has seen.
pub(crate) struct Source {
    pub(crate) log: Log,
    stated: u64,
    checkpoint: Checkpoint,
}

impl Source {
    pub(crate) fn new() -> Self {
        let mut log = Log::new();
        log.publish(day(1), day(1)).unwrap();
        while log.head().size < BEFORE {
            let n = 60 + (log.head().size % 60) as u8;
            let key = Key::new(n);
            log.federation
                .add_on((2, 2), n, enrolment(&key, Role::Lawyer, 22), key.der());
        }
        let root = log.federation.replica.state_root(BAR).unwrap();
        log.federation.add(BAR, None, StateRoot { root }, &[]).unwrap();
        // Whom nobody knew then, who has another standing now, and who had and is as before.
        let key = Key::new(130);
        log.federation
            .add_on((3, 3), 130, enrolment(&key, Role::Lawyer, 22), key.der());
        log.federation
            .add_on((3, 3), 61, revocation(&Key::new(61), None), &[]);
        log.federation
            .add_on((3, 3), 62, Suspension { decision: None }, &[]);
        log.federation.add_on((3, 3), 62, Lifting { decision: None }, &[]);
        let seen = [0, 2, 4].map(|witness| (witness, day(4)));
        let note = log.checkpoint(&log.head(), &seen);
        let key = log.federation.replica.anchors().authority(BAR).unwrap().log_key();
        let checkpoint = Checkpoint::open(note, std::slice::from_ref(key.unwrap())).unwrap();
        Self {
            log,
            stated: BEFORE,
            checkpoint,
        }
    }

    fn replica(&self) -> &Replica {
        &self.log.federation.replica
    }

    /// The whole snapshot.
    pub(crate) fn parts(&self) -> Vec<Vec<u8>> {
        let (mut parts, mut position) = (Vec::new(), Some(0));
        while let Some(at) = position {
            let given = self
                .replica()
                .snapshot(BAR, self.stated, &self.checkpoint, at)
                .unwrap();
            parts.extend(given.parts);
            position = given.next;
        }
        parts
    }
}

/// Why a snapshot does not become a registry.
#[derive(Debug)]
#[expect(dead_code, reason = "shown where a test fails")]
pub(crate) enum Failed {
    Refused(Refused),
    DoesNotOpen,
    Inadmissible(Inadmissible),
}

/// A registry that begins with these parts.
pub(crate) fn begin(source: &Source, parts: &[Vec<u8>]) -> Result<(Arc<MemoryShelf>, Replica), Failed> {
    let anchors = source.replica().anchors().clone();
    let shelf = Arc::new(MemoryShelf::default());
    let mut taking = Taking::new(&anchors);
    for part in parts {
        let rows = taking.part(part).map_err(Failed::Refused)?;
        rows.into_iter().for_each(|row| shelf.put(row));
    }
    let taken = taking.finish().map_err(Failed::Refused)?;
    for row in taken.leaves {
        let Row::Leaf { origin, index, leaf } = row else {
            panic!("{row:?}");
        };
        shelf.put_leaf(&origin, index, &leaf);
    }
    shelf.put(Replica::new(anchors.clone()).basis());
    let mut replica = Replica::open(anchors, &shared(&shelf)).ok_or(Failed::DoesNotOpen)?;
    for (origin, index, leaf) in taken.stated {
        let admitted = replica.admit(&origin, index, &leaf);
        assert!(admitted.map_err(Failed::Inadmissible)?);
        shelf.put_leaf(&origin, index, &leaf);
    }
    shelf.commit(&mut replica);
    Ok((shelf, replica))
}

/// Has `replica` admit the entries of the source from `from` on.
fn follow(source: &Source, shelf: &Arc<MemoryShelf>, replica: &mut Replica, from: u64) {
    for (leaf, index) in source.replica().leaves(BAR, from, usize::MAX).iter().zip(from..) {
        replica.admit(BAR, index, leaf).unwrap();
        shelf.put_leaf(BAR, index, leaf);
    }
    shelf.commit(replica);
}

/// What a replica says of everybody whom the source has.
fn says(replica: &Replica) -> String {
    let people = (50..135).map(|n| {
        let certificate = Key::new(n).certificate.id();
        let worth = [0, 2, 3, 5].map(|at| replica.status(&certificate, day(at)));
        (
            worth,
            replica.last_entry(&subject(n)),
            replica.person(&subject(n)),
        )
    });
    let people: Vec<_> = people.collect();
    let nodes: Vec<_> = replica.nodes().collect();
    let shown = replica.node_of_tls_key(tls(122).as_bytes(), day(5));
    format!(
        "{:?}{people:?}{nodes:?}{shown:?}{:?}",
        replica.heads(),
        replica.published(BAR)
    )
}

#[test]
fn a_node_that_begins_with_a_snapshot_says_what_the_others_say() {
    let source = Source::new();
    assert_eq!(source.replica().stated(BAR), Some(BEFORE));
    let parts = source.parts();
    let (shelf, mut replica) = begin(&source, &parts).unwrap();
    assert!(replica.unjudged(BAR).is_some());
    assert_eq!(replica.heads()[0].size, BEFORE + 1);
    // What came after the statement comes as ever.
    follow(&source, &shelf, &mut replica, BEFORE + 1);
    assert_eq!(says(&replica), says(source.replica()));
    assert_eq!(replica.state_root(BAR), source.replica().state_root(BAR));
    assert!(says(&replica).contains("Valid") && says(&replica).contains("revoked"));
    let opened = Replica::open(source.replica().anchors().clone(), &shared(&shelf)).unwrap();
    assert_eq!(says(&opened), says(source.replica()));
    assert!(opened.unjudged(BAR).is_some());
    // It lacks most leaves, and gives no snapshot itself before it has judged them.
    assert_eq!(opened.leaves(BAR, 5, usize::MAX), []);
    let given = opened.snapshot(BAR, BEFORE, &source.checkpoint, 0);
    assert!(matches!(given, Err(NotGiven::Unfit(..))), "{given:?}");
}

/// The rules of annex C.
fn rules() -> String {
    let spec = include_str!("../../../SPEC.md");
    let (_, annex) = spec.split_once("## Annex C ").unwrap();
    let (_, block) = annex.split_once("```cddl\n").unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

#[test]
fn every_part_and_record_is_what_the_specification_says() {
    #[derive(serde::Deserialize, serde::Serialize)]
    struct Bucket {
        number: u64,
        records: Vec<Record>,
    }
    #[derive(serde::Deserialize, serde::Serialize)]
    struct Record {
        kind: u8,
        key: serde_bytes::ByteBuf,
        record: serde_bytes::ByteBuf,
    }
    let rules = rules();
    let fits = |rule: &str, bytes: &[u8]| validate_cbor_bytes(rule, &rules, bytes).is_ok();
    let mut records = [0; 10];
    for part in Source::new().parts() {
        let (kind, content) = part.split_first().unwrap();
        match kind {
            1 => assert!(fits("snapshot-head", content)),
            2 => assert_eq!(content.len(), 3 + 256 * 32),
            3 => assert!(fits("snapshot-leaf", content)),
            _ => assert!(fits("snapshot-bucket", content)),
        }
        if *kind != 4 {
            continue;
        }
        let bucket: Bucket = codec::decode(content, PART_BYTES).unwrap();
        assert!(bucket.number < BUCKETS);
        for Record { kind, record, .. } in bucket.records {
            let rule = match kind {
                1 => "subject-record",
                4 => "issuer-record",
                6 => "publication-record",
                _ => "policy-record",
            };
            assert!(fits(rule, &record), "{rule}");
            assert!(!fits("bucket", &record));
            records[usize::from(kind)] += 1;
        }
    }
    // Sixty lawyers, who was there before, and one publication.
    assert_eq!((records[1], records[6]), (63, 1));
}

#[test]
fn what_came_before_is_filled_in_and_judged_at_the_next_start() {
    let source = Source::new();
    let anchors = source.replica().anchors().clone();
    let (shelf, mut replica) = begin(&source, &source.parts()).unwrap();
    let before = source.replica().leaves(BAR, 0, usize::MAX);
    // Carried: the genesis, who runs the node, the node, and all beyond the last complete tile.
    assert_eq!(replica.lacking(), Some((BAR.to_owned(), 3)));
    for (leaf, index) in before.iter().zip(0..BEFORE) {
        let carried = !(3..256).contains(&index);
        let other = &before[index as usize / 2];
        if !carried && index != 5 {
            // Another leaf, one without its certificate, one that is not its turn.
            let lie = replica.admit(BAR, index, other);
            assert_eq!(lie, Err(Inadmissible::Rewritten { index }), "{index}");
            let mut bare = leaf.clone();
            bare.certificate.push(0);
            let lie = replica.admit(BAR, index, &bare);
            assert_eq!(lie, Err(Inadmissible::Rewritten { index }), "{index}");
            let later = replica.admit(BAR, 255, &before[255]);
            assert_eq!(later, Ok(index == 255));
        }
        let filled = replica.admit(BAR, index, leaf);
        assert_eq!(filled, Ok(!carried && index != 255), "{index}");
        if !carried {
            shelf.put_leaf(BAR, index, leaf);
        }
        if index % 10 == 0 {
            shelf.commit(&mut replica);
            let opened = Replica::open(anchors.clone(), &shared(&shelf));
            assert_eq!(opened.is_none(), replica.lacking().is_none(), "{index}");
            replica = opened.unwrap_or(replica);
        }
    }
    assert_eq!(replica.lacking(), None);
    shelf.commit(&mut replica);
    assert!(replica.unjudged(BAR).is_some());
    // A start finds that it is time, and judges all.
    assert!(Replica::open(anchors.clone(), &shared(&shelf)).is_none());
    let anew = Arc::new(MemoryShelf::default());
    let mut judged = Replica::on_shelf(anchors, &shared(&anew));
    for index in 0..shelf.size(BAR) {
        judged
            .admit(BAR, index, &shelf.leaf(BAR, index).unwrap())
            .unwrap();
    }
    assert_eq!(judged.unjudged(BAR), None);
    assert_eq!(judged.state_root(BAR), replica.state_root(BAR));
}

#[test]
fn one_wrong_byte_anywhere_and_nothing_begins() {
    let source = Source::new();
    let parts = source.parts();
    assert!(begin(&source, &parts).is_ok());
    for (at, part) in parts.iter().enumerate() {
        // Of a long part some bytes, of its beginning each.
        let places = (0..part.len()).filter(|place| *place < 8 || place % (part.len() / 16 + 1) == 3);
        for place in places {
            let mut wrong = parts.clone();
            wrong[at][place] ^= 1;
            assert!(begin(&source, &wrong).is_err(), "part {at}, byte {place}");
        }
    }
}

#[test]
fn what_is_left_out_repeated_or_moved_is_found() {
    let source = Source::new();
    let parts = source.parts();
    for at in 0..parts.len() {
        let mut wrong = parts.clone();
        wrong.remove(at);
        assert!(begin(&source, &wrong).is_err(), "without part {at}");
        let mut wrong = parts.clone();
        wrong.insert(at, parts[at].clone());
        assert!(begin(&source, &wrong).is_err(), "part {at} twice");
        let cut = begin(&source, &parts[..at]);
        let cut = cut.err().unwrap();
        assert!(
            matches!(cut, Failed::Refused(Refused::Truncated { .. } | Refused::Empty)),
            "{cut:?}"
        );
    }
}

#[test]
fn a_snapshot_stands_by_the_quorum_of_the_anchors() {
    let source = Source::new();
    let head = source.log.head();
    let with = |head: &RegistryHead, witnesses: &[usize]| {
        let seen: Vec<_> = witnesses.iter().map(|witness| (*witness, day(4))).collect();
        let note = source.log.checkpoint(head, &seen);
        let key = source.replica().anchors().authority(BAR).unwrap().log_key();
        Checkpoint::open(note, std::slice::from_ref(key.unwrap())).unwrap()
    };
    let given = |checkpoint: &Checkpoint| source.replica().snapshot(BAR, BEFORE, checkpoint, 0);
    // One of two professions only; nobody.
    for witnesses in [&[0, 1, 2][..], &[]] {
        let mut parts = source.parts();
        parts[0] = given(&with(&head, witnesses)).unwrap().parts.remove(0);
        let refused = begin(&source, &parts).err().unwrap();
        assert!(
            format!("{refused:?}").contains("are not the quorum"),
            "{refused:?}"
        );
    }
    // A checkpoint of the log as it was before it stated the root proves nothing.
    let early = RegistryHead {
        size: BEFORE,
        root: basoche_protocol::id::Digest::new(source.replica().tree(BAR).unwrap().root_at(BEFORE).unwrap()),
        ..head
    };
    let not_seen = given(&with(&early, &[0, 2, 4]));
    assert!(matches!(not_seen, Err(NotGiven::NotSeen { .. })), "{not_seen:?}");
    // One of a log that has stated nothing, of another statement, of nobody's log.
    let replica = source.replica();
    let given = |origin, stated| replica.snapshot(origin, stated, &source.checkpoint, 0);
    assert!(matches!(given(COURT, BEFORE), Err(NotGiven::NeverStated(_))));
    assert!(matches!(given(BAR, BEFORE - 1), Err(NotGiven::Moved(_))));
    assert!(matches!(given("x", BEFORE), Err(NotGiven::Unknown(_))));
    // Without a log key nothing proves anything.
    let anchors = crate::kit::anchors();
    let refused = Taking::new(&anchors).part(&source.parts()[0]).unwrap_err();
    assert!(
        refused.to_string().contains("no log key of bars.example"),
        "{refused}"
    );
}

#[test]
fn the_next_statement_replaces_the_one_before() {
    let mut source = Source::new();
    let first = source.parts();
    let federation = &mut source.log.federation;
    let root = federation.replica.state_root(BAR).unwrap();
    let mut entry = federation.next(BAR, None, StateRoot { root });
    (entry.issued_at, entry.effective_at) = (day(4), day(4));
    source.stated = entry.index;
    assert_eq!(federation.enter(BAR, &entry, &[]), Ok(true));
    let endpoint = Endpoint {
        tls_spki_sha256: tls(122),
        gossip: None,
        addresses: vec!["10.0.0.1:1".to_owned()],
        until: day(20),
    };
    // Not by the node itself: refused, and no harm done.
    assert!(federation.add(BAR, Some(22), endpoint, &[]).is_err());
    let seen = [1, 3, 5].map(|witness| (witness, day(4)));
    let note = source.log.checkpoint(&source.log.head(), &seen);
    let key = source
        .replica()
        .anchors()
        .authority(BAR)
        .unwrap()
        .log_key()
        .cloned();
    source.checkpoint = Checkpoint::open(note, std::slice::from_ref(&key.unwrap())).unwrap();
    let second = source.parts();
    assert_ne!(first, second);
    let (_, replica) = begin(&source, &second).unwrap();
    assert_eq!(says(&replica), says(source.replica()));
    assert!(replica.person(&SubjectId::new([130; 16])).is_some());
    // The first one is as good as ever.
    assert!(begin(&source, &first).is_ok());
    let rows = source
        .log
        .federation
        .shelf
        .rows
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .len();
    assert!(rows > 100);
}
