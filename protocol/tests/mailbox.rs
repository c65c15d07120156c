//! Runs by way of a mailbox: the same checks, the same outcome, no privilege. SPEC §10.7.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use basoche_protocol::amount::EuroCents;
use basoche_protocol::engine::Taken;
use basoche_protocol::fixture::{Actor, Federation};
use basoche_protocol::id::{Digest, DossierId, SubjectId};
use basoche_protocol::mailbox::{Address, Content, Parcel};
use basoche_protocol::message::{Acceptance, Body, ProvisionPaid};
use basoche_protocol::refusal::Code;
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::wire::frame::Frame;

/// A node that takes no part.
const MAILBOX: SubjectId = SubjectId::new([0x77; 16]);

/// The court's node, the company's, and their dossier, of which both hold everything; then they are apart.
struct Apart {
    federation: Federation,
    dossier: DossierId,
    court: usize,
    company: usize,
    salt: u8,
}

impl Apart {
    fn new(seed: u64) -> Self {
        let mut federation = Federation::new(seed);
        let (court, company) = (
            federation.node_of(&federation.cast.judge),
            federation.node_of(&federation.cast.expert),
        );
        let order = Body::Designation(federation.cast.designation(federation.now));
        let bytes = federation.cast.judge.say(None, order, 1, federation.now);
        let founded = federation.deposit(court, &bytes).unwrap();
        federation.settle(2000);
        let mut apart = Self {
            federation,
            dossier: DossierId::from(founded),
            court,
            company,
            salt: 1,
        };
        let body = Body::Acceptance(Acceptance {
            ext: None,
            independent: true,
        });
        apart.act(|federation| &federation.cast.expert, body);
        apart.federation.settle(2000);
        for other in 0..3 {
            if other != company {
                apart.federation.cut(company, other);
            }
        }
        apart
    }

    fn act(&mut self, who: impl Fn(&Federation) -> &Actor, body: Body) {
        self.salt += 1;
        let actor = who(&self.federation);
        let bytes = actor.say(Some(self.dossier), body, self.salt, self.federation.now);
        let node = self.federation.node_of(actor);
        self.federation.deposit(node, &bytes).unwrap();
    }

    fn pay(&mut self, cents: u64) {
        let body = Body::ProvisionPaid(ProvisionPaid {
            ext: None,
            amount: EuroCents::new(cents).unwrap(),
            paid_at: Instant::from_ms(0),
            payer: None,
        });
        self.act(|federation| &federation.cast.clerk, body);
    }

    fn member(&self, node: usize) -> SubjectId {
        self.federation.node(node).node()
    }

    /// What the court's node leaves for the company's.
    fn left(&self) -> Vec<Vec<u8>> {
        let member = self.member(self.company);
        self.federation.left_for(self.court, self.dossier, &member)
    }

    fn bring(&mut self, frame: &[u8]) -> Result<Taken, Code> {
        let dossier = self.dossier;
        let brought = self.federation.bring(self.company, MAILBOX, &dossier, frame);
        self.federation.settle(500);
        brought.map_err(|error| error.code())
    }

    fn hash(&self, node: usize) -> Digest {
        let held = self.federation.node(node).dossier(&self.dossier);
        held.unwrap().state().hash()
    }
}

#[test]
fn what_a_member_lacks_comes_by_a_mailbox_as_from_a_peer_and_its_head_is_the_receipt() {
    let mut apart = Apart::new(1);
    assert!(apart.left().is_empty(), "it lacks nothing yet");
    for cents in 1..=3 {
        apart.pay(cents);
    }
    let left = apart.left();
    assert_eq!(left.len(), 3);
    // What comes before its time is not kept, and is taken when its time has come.
    assert_eq!(apart.bring(&left[2]), Ok(Taken::Early));
    for frame in &left {
        assert_eq!(apart.bring(frame), Ok(Taken::OnFile));
    }
    assert_eq!(apart.hash(apart.company), apart.hash(apart.court));
    // Again and again: it changes nothing.
    let hash = apart.hash(apart.company);
    assert_eq!(apart.bring(&left[0]), Ok(Taken::OnFile));
    assert_eq!(apart.hash(apart.company), hash);
    // The court's node knows nothing of that until it hears a head.
    assert_eq!(apart.left().len(), 3);
    apart.federation.connect(apart.court, apart.company);
    apart.federation.settle(12_000);
    assert!(apart.left().is_empty());
    // What came is on the disk.
    let company = apart.company;
    apart.federation.crash(company);
    apart.federation.wake(company, None);
    assert_eq!(apart.hash(company), apart.hash(apart.court));
}

#[test]
fn a_mailbox_has_no_privilege() {
    let mut apart = Apart::new(2);
    apart.pay(5);
    let frame = apart.left().remove(0);
    let hash = apart.hash(apart.company);
    let Frame::Run(run) = Frame::decode(&frame).unwrap() else {
        unreachable!("only runs are left")
    };
    let mut other_dossier = run.clone();
    other_dossier.dossier = DossierId::new([9; 32]);
    let mut without_items = run.clone();
    without_items.items.clear();
    let mut spoilt_head = run.clone();
    *spoilt_head.head.last_mut().unwrap() ^= 1;
    let mut other_sealed = run.clone();
    *other_sealed.items[0].sealed.as_mut().unwrap().last_mut().unwrap() ^= 1;
    for (what, bytes, code) in [
        ("a head alone", Frame::Head(run.head).encode(), Code::BadValue),
        (
            "another dossier",
            Frame::Run(other_dossier).encode(),
            Code::BadValue,
        ),
        ("no entries", Frame::Run(without_items).encode(), Code::BadValue),
        (
            "a spoilt head",
            Frame::Run(spoilt_head).encode(),
            Code::BadSignature,
        ),
        (
            "a spoilt seal",
            Frame::Run(other_sealed).encode(),
            Code::HeadMismatch,
        ),
        ("a part of it", frame[..frame.len() - 1].to_vec(), Code::Truncated),
    ] {
        assert_eq!(apart.bring(&bytes), Err(code), "{what}");
        assert_eq!(apart.hash(apart.company), hash, "{what}");
    }
    // Negative control: as it was it is taken.
    assert_eq!(apart.bring(&frame), Ok(Taken::OnFile));
}

#[test]
fn a_dormant_dossier_tells_who_lacks_something_and_wakes_for_what_a_mailbox_kept() {
    let mut apart = Apart::new(4);
    let (court, company, dossier) = (apart.court, apart.company, apart.dossier);
    let member = apart.member(company);
    let sleep = |apart: &mut Apart, node: usize| {
        apart
            .federation
            .run_until(apart.federation.now + Span::from_seconds(21));
        apart.federation.crash(node);
        let mut dormant = apart.federation.node(node).dormant();
        dormant.next().unwrap().behind().clone()
    };
    assert!(sleep(&mut apart, court).is_empty(), "it lacks nothing yet");
    apart.pay(5);
    apart.federation.settle(2000);
    assert_eq!(sleep(&mut apart, court), BTreeSet::from([member]));
    assert!(apart.left().is_empty(), "it is not in memory");
    apart.federation.wake(court, None);
    let left = apart.left();
    assert_eq!(left.len(), 1);
    // Who wakes for it takes it then.
    sleep(&mut apart, company);
    let engine = apart.federation.node(company);
    assert!(engine.is_dormant(&dossier) && engine.mailbox_address(&dossier, member).is_none());
    let mut spoilt = left[0].clone();
    *spoilt.last_mut().unwrap() ^= 1;
    assert_eq!(apart.bring(&spoilt), Err(Code::BadSignature));
    assert!(apart.federation.node(company).is_dormant(&dossier));
    assert_eq!(apart.bring(&left[0]), Ok(Taken::Early));
    assert_eq!(apart.bring(&left[0]), Ok(Taken::OnFile));
    assert_eq!(apart.hash(company), apart.hash(court));
}

#[test]
fn sender_and_addressee_compute_one_tag_and_who_has_no_key_computes_none() {
    let apart = Apart::new(3);
    let member = apart.member(apart.company);
    let of = |node: usize| {
        apart
            .federation
            .node(node)
            .mailbox_address(&apart.dossier, member)
    };
    let (sender, addressee) = (of(apart.court).unwrap(), of(apart.company).unwrap());
    let tag = sender.tag(Address::period(apart.federation.now));
    assert_eq!(addressee.tag(Address::period(apart.federation.now)), tag);
    let parcel = Parcel::seal(&sender, &tag, &Content::Run(vec![1, 2, 3]));
    assert_eq!(
        parcel.open(&addressee, &tag).unwrap(),
        Content::Run(vec![1, 2, 3])
    );
    // The bar's node serves nobody of the dossier.
    assert!(of(3 - apart.court - apart.company).is_none());
}
