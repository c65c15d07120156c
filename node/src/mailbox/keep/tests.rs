//! A mailbox's store alone: shares, expiry, who may collect, and what a restart finds.
#![allow(clippy::unwrap_used)]

use basoche_protocol::mailbox::Kind;

use super::*;
use crate::store::MemoryStore;
use crate::vault::{SealedStore, StorageKey};

const NOW: Instant = Instant::from_seconds(1_800_000_000);
const BYTES: usize = 5000;

struct Place {
    dir: tempfile::TempDir,
    rows: Rows,
    monitor: Arc<Monitor>,
    settings: Settings,
}

impl Place {
    /// Room for so many parcels.
    fn new(parcels: u64) -> Self {
        let store = Arc::new(MemoryStore::new());
        Self {
            dir: tempfile::tempdir().unwrap(),
            rows: Rows::new(SealedStore::new(store, StorageKey::from_bytes([3; 32]))),
            monitor: Arc::new(Monitor::new(5)),
            settings: Settings {
                serve: true,
                parcels,
                ..Settings::default()
            },
        }
    }

    fn open(&self) -> Arc<Keep> {
        let (rows, dir) = (self.rows.clone(), self.dir.path().join("mailbox"));
        Arc::new(Keep::open(rows, dir, self.settings.clone(), Arc::clone(&self.monitor)).unwrap())
    }

    fn files(&self) -> usize {
        fs::read_dir(self.dir.path().join("mailbox")).unwrap().count()
    }
}

fn who(number: u8) -> SubjectId {
    SubjectId::new([number; 16])
}

fn parcel(number: u16) -> Vec<u8> {
    number.to_be_bytes().repeat(BYTES / 2)
}

fn offer(number: u16, tag: u8) -> Offer {
    Offer {
        tag: MailboxTag::new([tag; 32]),
        addressee: who(9),
        kind: Kind::Run,
        parcel: Digest::of(&[&parcel(number)]),
        size: BYTES as u64,
        keep: 60_000,
    }
}

fn leave(keep: &Arc<Keep>, depositor: u8, number: u16, tag: u8) -> Result<KeptParcel, Code> {
    match keep.admit(who(depositor), &offer(number, tag), NOW) {
        Ok(Admission::Room(room)) => Ok(room.store(&parcel(number), NOW).unwrap()),
        Ok(Admission::Here(kept)) => Ok(kept),
        Err((code, retry)) => {
            assert!(retry > Span::from_ms(0));
            Err(code)
        }
    }
}

#[test]
fn no_tag_no_depositor_and_not_all_of_them_have_more_than_their_share() {
    let place = Place::new(16);
    let keep = place.open();
    // Two under one tag, four of one depositor, sixteen in all.
    let mut number = 0;
    for depositor in 1..=4 {
        for tag in 0..2 {
            for _ in 0..2 {
                number += 1;
                leave(&keep, depositor, number, depositor * 10 + tag).unwrap();
            }
            let beyond = leave(&keep, 5, 1000, depositor * 10 + tag);
            assert_eq!(
                beyond,
                Err(if number < 16 {
                    Code::Busy
                } else {
                    Code::StorageFull
                })
            );
        }
        if number < 16 {
            assert_eq!(leave(&keep, depositor, 1000, 99), Err(Code::Busy));
        }
    }
    assert_eq!(leave(&keep, 5, 1000, 99), Err(Code::StorageFull));
    assert_eq!(place.monitor.meters.alarms(Alarm::MailboxFull), 1);
    assert_eq!(keep.used().parcels, 16);
    // What is there already needs no room, whoever brings it.
    assert!(leave(&keep, 5, 1, 10).is_ok());
    // Room that is given back is room again.
    keep.forget(who(9), &[offer(1, 10).parcel]).unwrap();
    assert!(leave(&keep, 5, 1000, 99).is_ok());
}

#[test]
fn bytes_are_bounded_like_parcels() {
    let mut place = Place::new(1000);
    place.settings.quota = 8 * BYTES as u64;
    let keep = place.open();
    leave(&keep, 1, 1, 1).unwrap();
    assert_eq!(leave(&keep, 1, 2, 1), Err(Code::Busy));
    leave(&keep, 1, 2, 2).unwrap();
    assert_eq!(leave(&keep, 1, 3, 3), Err(Code::Busy));
    assert_eq!(keep.used().bytes, 2 * BYTES as u64);
}

#[test]
fn room_that_is_reserved_is_given_back_and_counts_meanwhile() {
    let place = Place::new(8);
    let keep = place.open();
    let room = keep.admit(who(1), &offer(1, 1), NOW).ok().unwrap();
    assert!(matches!(
        keep.admit(who(1), &offer(2, 1), NOW),
        Err((Code::Busy, _))
    ));
    assert!(matches!(
        keep.admit(who(2), &offer(1, 1), NOW),
        Err((Code::Busy, _))
    ));
    drop(room);
    assert_eq!(keep.used(), Use::default());
    assert!(leave(&keep, 1, 2, 1).is_ok());
}

#[test]
fn only_the_addressee_finds_a_parcel_and_what_is_anothers_looks_like_what_is_not() {
    let place = Place::new(100);
    let keep = place.open();
    let kept = leave(&keep, 1, 1, 1).unwrap();
    let listed = |node| keep.list(who(node), List { after: 0 }).parcels;
    assert_eq!(listed(9).len(), 1);
    assert!(listed(1).is_empty() && listed(8).is_empty());
    assert_eq!(keep.read(who(9), &kept.parcel).unwrap(), Some(parcel(1)));
    // The depositor, another node, and a parcel that does not exist: one answer.
    let absent = Digest::new([7; 32]);
    for answer in [
        keep.read(who(1), &kept.parcel),
        keep.read(who(8), &kept.parcel),
        keep.read(who(8), &absent),
        keep.read(who(9), &absent),
    ] {
        assert_eq!(answer.unwrap(), None);
    }
    keep.forget(who(8), &[kept.parcel, absent]).unwrap();
    assert_eq!(listed(9).len(), 1, "who is not the addressee removes nothing");
    keep.forget(who(9), &[kept.parcel]).unwrap();
    assert!(listed(9).is_empty() && place.files() == 0);
}

#[test]
fn what_nobody_collects_goes_when_its_time_is_over() {
    let mut place = Place::new(100);
    place.settings.ttl = 30;
    let keep = place.open();
    let kept = leave(&keep, 1, 1, 1).unwrap();
    assert_eq!(
        kept.kept_until,
        NOW + Span::from_seconds(30),
        "the mailbox's own bound"
    );
    keep.sweep(NOW + Span::from_ms(29_999)).unwrap();
    assert_eq!(keep.used().parcels, 1);
    keep.sweep(NOW + Span::from_seconds(30)).unwrap();
    assert_eq!((keep.used(), place.files()), (Use::default(), 0));
    assert!(place.rows.parcels().unwrap().is_empty());
}

#[test]
fn a_listing_goes_on_where_the_page_before_ended() {
    let place = Place::new(100_000);
    let keep = place.open();
    let count = limits::PARCELS_LISTED as u16 + 3;
    for number in 0..count {
        leave(&keep, 1, number, (number / 100) as u8).unwrap();
    }
    let page = keep.list(who(9), List { after: 0 });
    assert_eq!(page.parcels.len(), limits::PARCELS_LISTED);
    let rest = keep.list(
        who(9),
        List {
            after: page.parcels.last().unwrap().number,
        },
    );
    assert_eq!(rest.parcels.len(), 3);
    assert_eq!(Listing::decode(&page.encode(), 0), Ok(page));
}

#[test]
fn a_restart_finds_what_was_kept_and_clears_away_what_was_not() {
    let place = Place::new(100);
    let keep = place.open();
    let (first, second) = (leave(&keep, 1, 1, 1).unwrap(), leave(&keep, 1, 2, 2).unwrap());
    assert!(keep.leave_again(&first.parcel, who(2), NOW).unwrap().is_some());
    drop(keep);
    // Of the second the file is gone; of a third there is nothing but the file.
    fs::remove_file(
        place
            .dir
            .path()
            .join("mailbox")
            .join(place.rows.parcel_file(&second.parcel)),
    )
    .unwrap();
    fs::write(place.dir.path().join("mailbox/stray"), b"stray").unwrap();
    let keep = place.open();
    assert_eq!((keep.used().parcels, place.files()), (1, 1));
    assert_eq!(keep.read(who(9), &first.parcel).unwrap(), Some(parcel(1)));
    assert_eq!(keep.read(who(9), &second.parcel).unwrap(), None);
    let again = keep
        .leave_again(&first.parcel, who(2), NOW + Span::from_ms(1))
        .unwrap()
        .unwrap();
    assert_eq!(again.depositors, [(who(1), NOW), (who(2), NOW)]);
    // A number is not used again.
    assert!(leave(&keep, 1, 3, 3).unwrap().number > first.number);
}
