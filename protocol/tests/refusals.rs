//! Every refusal code that a message or a frame can meet, provoked through the one door. SPEC §11, ADM-1, JRN-12.
#![allow(clippy::unwrap_used)]

mod stage;

use std::collections::BTreeSet;

use basoche_protocol::amount::EuroCents;
use basoche_protocol::dossier::{Fact, Received, Replica, RunItem, State};
use basoche_protocol::engine::Row;
use basoche_protocol::envelope::{Envelope, Sealed, Typ, Unsigned};
use basoche_protocol::fixture::{Actor, Cast, document, key_wraps};
use basoche_protocol::id::{Digest, DossierId, MessageId, SubjectId};
use basoche_protocol::journal::{ChainId, Head, HeadRow, Need, SignedHead, Verdict};
use basoche_protocol::message::{
    Barrier, Body, CloseDossier, Decline, FeeClaim, FeeOrder, Held, KeyGrant, KeyRevocation, MadeAvailable,
    Opening, Participant, RosterChange, Stated,
};
use basoche_protocol::refusal::Code;
use basoche_protocol::role::Role;
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::tree::Tree;
use basoche_protocol::wire::codec;
use basoche_protocol::wire::frame::{Frame, RegistryLeaf, Run};
use basoche_protocol::wire::limits;
use proptest::prelude::*;
use serde_bytes::ByteBuf;
use stage::*;

/// What no message can provoke: the state of the node's own process. `node/tests/bad_input.rs` has them.
const OF_THE_SHELL: [Code; 3] = [Code::Busy, Code::Stopping, Code::StorageFull];
/// What only an entry can bring about: a submission is not sealed.
const OF_ENTRIES: [Code; 2] = [Code::IdMismatch, Code::NotOpenable];
/// What only a chain with several histories can bring about. `forks.rs` has them.
const OF_FORKS: [Code; 2] = [Code::SetAside, Code::ForkedChain];
/// What only an order to erase can bring about. `erasure.rs` has them.
const OF_ERASURES: [Code; 2] = [Code::OnHold, Code::Erased];
/// What only a run of entries can bring about.
const OF_RUNS: [Code; 1] = [Code::HeadMismatch];

/// A message and why it is refused.
struct Bad {
    code: Code,
    situation: Situation,
    bytes: fn(&Stage) -> Vec<u8>,
    recorded: Recorded,
}

/// What becomes of the message if a dishonest node records it all the same. JRN-12.
#[derive(Clone, Copy)]
enum Recorded {
    /// It stays without effect, for the reason for which it would have been refused.
    SameCode,
    /// It stays without effect, for another reason.
    As(Code),
    /// It waits for the registry entry of its signer.
    Waits,
    /// It takes effect: what was wrong concerned the node that it was submitted to, not the procedure.
    Effective,
    /// No entry can carry it.
    TooLarge,
}

fn say(stage: &Stage, who: &Actor, body: Body) -> Vec<u8> {
    who.say(Some(stage.dossier), body, 200, stage.now)
}

/// A dire of the party, well formed and lawful while the operations are under way.
fn lawful(stage: &Stage) -> Vec<u8> {
    say(stage, &stage.cast.party, dire(2))
}

/// The same with one byte of the payload changed, and signed as it stands.
fn patched(stage: &Stage, offset: usize, from: u8, to: u8) -> Vec<u8> {
    let party = &stage.cast.party;
    let mut payload = party.message(Some(stage.dossier), dire(2), 200).encode();
    assert_eq!(payload[offset], from);
    payload[offset] = to;
    Unsigned::new(Typ::Message, &party.key, stage.now, payload)
        .sign(&party.key)
        .unwrap()
        .encode()
}

/// Everything that may be wrong with a message, by code.
const MESSAGES: &[Bad] = {
    use Situation::{Designated, DiresOver, InProgress, PreReport, Setup};
    const fn bad(code: Code, situation: Situation, bytes: fn(&Stage) -> Vec<u8>) -> Bad {
        recorded(code, situation, Recorded::SameCode, bytes)
    }
    const fn recorded(
        code: Code,
        situation: Situation,
        recorded: Recorded,
        bytes: fn(&Stage) -> Vec<u8>,
    ) -> Bad {
        Bad {
            code,
            situation,
            bytes,
            recorded,
        }
    }
    &[
        bad(Code::Truncated, InProgress, |it| {
            let mut bytes = lawful(it);
            bytes.pop();
            bytes
        }),
        // A head of two bytes where one is enough.
        bad(Code::NotCanonical, InProgress, |it| {
            [&[0x98, 0x03], &lawful(it)[1..]].concat()
        }),
        bad(Code::TooDeep, InProgress, |_| {
            [vec![0x81; limits::DEPTH + 1], vec![0]].concat()
        }),
        recorded(Code::TooLarge, InProgress, Recorded::TooLarge, |it| {
            let padding = codec::encode(&ByteBuf::from(vec![0; limits::ENVELOPE_BYTES]));
            [&lawful(it)[..], &padding].concat()
        }),
        bad(Code::TrailingBytes, InProgress, |it| {
            [&lawful(it)[..], &[0]].concat()
        }),
        bad(Code::WrongShape, InProgress, |_| {
            codec::encode(&(1_u64, 2_u64, 3_u64))
        }),
        bad(Code::BadHeader, InProgress, |_| {
            let parts = [&br#"{"alg":"none"}"#[..], b"payload", b"signature"];
            codec::encode(&parts.map(|part| ByteBuf::from(part.to_vec())))
        }),
        bad(Code::UnknownType, InProgress, |it| patched(it, 4, 7, 23)),
        bad(Code::BadValue, InProgress, |it| {
            let mut message = it.cast.party.message(Some(it.dossier), dire(2), 200);
            message.refs = vec![MessageId::new([2; 32]), MessageId::new([1; 32])];
            it.cast.party.sign(&message, it.now).encode()
        }),
        recorded(Code::UnknownSigner, InProgress, Recorded::Waits, |it| {
            say(it, &outsider("stranger", Role::Lawyer), dire(2))
        }),
        bad(Code::BadSignature, InProgress, |it| {
            let mut bytes = lawful(it);
            *bytes.last_mut().unwrap() ^= 1;
            bytes
        }),
        bad(Code::SignerInvalid, InProgress, |it| {
            say(it, &outsider("revoked", Role::Lawyer), dire(2))
        }),
        bad(Code::WrongTyp, InProgress, |it| {
            let party = &it.cast.party;
            let payload = party.message(Some(it.dossier), dire(2), 200).encode();
            Unsigned::new(Typ::CoSignature, &party.key, it.now, payload)
                .sign(&party.key)
                .unwrap()
                .encode()
        }),
        bad(Code::ClaimedAhead, InProgress, |it| {
            let ahead = it.now + Span::from_ms(limits::CLAIM_AHEAD_MS) + Span::from_seconds(1);
            it.cast.party.say(Some(it.dossier), dire(2), 200, ahead)
        }),
        bad(Code::AuthorMismatch, InProgress, |it| {
            let mut message = it.cast.party.message(Some(it.dossier), dire(2), 200);
            message.author = it.cast.claimant_lawyer.subject;
            it.cast.party.sign(&message, it.now).encode()
        }),
        bad(Code::RoleNotHeld, InProgress, |it| {
            let mut message = it.cast.party.message(Some(it.dossier), dire(2), 200);
            message.role = Role::Lawyer;
            it.cast.party.sign(&message, it.now).encode()
        }),
        recorded(Code::NotDelegated, InProgress, Recorded::Waits, |it| {
            let body = enrolment(&it.dossier, "litigant", "litigant");
            say(it, &it.cast.expert, Body::PartyEnrolment(body))
        }),
        bad(Code::UnknownDossier, InProgress, |it| {
            it.cast
                .party
                .say(Some(DossierId::new([9; 32])), dire(2), 200, it.now)
        }),
        bad(Code::NotParticipant, InProgress, |it| {
            say(it, &outsider("bystander", Role::Lawyer), dire(2))
        }),
        bad(Code::SenderRole, InProgress, |it| {
            say(it, &it.cast.expert, dire(2))
        }),
        bad(Code::WrongPhase, Designated, |it| {
            let amount = euros(1);
            say(
                it,
                &it.cast.expert,
                Body::FeeClaim(FeeClaim {
                    ext: None,
                    amount,
                    document: None,
                }),
            )
        }),
        bad(Code::ProvisionUnpaid, Setup, |it| {
            say(it, &it.cast.party, exhibit(2))
        }),
        bad(Code::AlreadyDone, Setup, |it| say(it, &it.cast.expert, accept())),
        bad(Code::DiresStillDue, PreReport, |it| {
            say(it, &it.cast.expert, report(&[it.dire.unwrap()]))
        }),
        bad(Code::DireUnanswered, DiresOver, |it| {
            say(it, &it.cast.expert, report(&[]))
        }),
        bad(Code::UnknownReference, InProgress, |it| {
            let mut message = it.cast.party.message(Some(it.dossier), dire(2), 200);
            message.refs = vec![MessageId::new([3; 32])];
            it.cast.party.sign(&message, it.now).encode()
        }),
        recorded(Code::DocumentMissing, InProgress, Recorded::Effective, |it| {
            say(it, &it.cast.party, exhibit(2))
        }),
        // The party reports that its lawyer has opened an exhibit.
        bad(Code::NotCompetent, InProgress, |it| {
            let root = document("exhibit 1").root;
            let (deposit, reader) = (it.exhibit.unwrap(), it.cast.claimant_lawyer.subject);
            say(
                it,
                &it.cast.party,
                Body::Opening(Opening {
                    ext: None,
                    deposit,
                    root,
                    reader,
                }),
            )
        }),
        bad(Code::RosterConflict, InProgress, |it| {
            let add = it.cast.participants();
            say(
                it,
                &it.cast.expert,
                Body::RosterChange(RosterChange {
                    ext: None,
                    add,
                    remove: vec![],
                }),
            )
        }),
        bad(Code::FrontierUnheld, InProgress, |it| {
            let mut frontier = it.replica().frontier();
            frontier[0].size += 1;
            let barrier = Barrier {
                ext: None,
                frontier,
                documents: vec![],
                members: it.replica().state().nodes().into_iter().collect(),
                due: it.now,
            };
            say(it, &it.cast.expert, Body::Barrier(barrier))
        }),
        bad(Code::Version, InProgress, |it| patched(it, 2, 1, 2)),
        recorded(
            Code::Rules,
            InProgress,
            Recorded::As(Code::UnknownDossier),
            |it| {
                let mut order = it.cast.designation(it.now);
                order.rules = 2;
                it.cast.judge.say(None, Body::Designation(order), 200, it.now)
            },
        ),
        // The clerk hands on the key of a document that is for member nodes.
        bad(Code::NotRecipient, InProgress, |it| {
            let (deposit, root) = (it.exhibit.unwrap(), document("exhibit 1").root);
            say(it, &it.cast.clerk, grant(it, deposit, root, &[&it.cast.judge]))
        }),
        // Second causes of the same codes.
        bad(Code::NotParticipant, InProgress, |it| {
            say(
                it,
                &it.cast.party,
                personal(it, 2, &[&outsider("bystander", Role::Lawyer)]),
            )
        }),
        bad(Code::NotParticipant, InProgress, |it| {
            let (deposit, root) = (it.exhibit.unwrap(), document("exhibit 1").root);
            let addressees = vec![it.cast.judge.subject];
            let made = MadeAvailable {
                ext: None,
                deposit,
                root,
                addressees,
                more: Vec::new(),
            };
            say(it, &it.cast.bar, Body::MadeAvailable(made))
        }),
        bad(Code::UnknownReference, DiresOver, |it| {
            say(
                it,
                &it.cast.expert,
                report(&[it.dire.unwrap(), MessageId::new([3; 32])]),
            )
        }),
        bad(Code::UnknownReference, InProgress, |it| {
            let (deposit, root) = (it.exhibit.unwrap(), Digest::of(&[b"another document"]));
            say(
                it,
                &it.cast.bar,
                Body::Held(Held {
                    ext: None,
                    deposit,
                    root,
                    more: Vec::new(),
                }),
            )
        }),
        // Of several documents that one statement names each must be on file.
        bad(Code::UnknownReference, InProgress, |it| {
            let (deposit, root) = (it.exhibit.unwrap(), document("exhibit 1").root);
            let absent = Stated {
                deposit: MessageId::new([0xff; 32]),
                root,
            };
            say(
                it,
                &it.cast.bar,
                Body::Held(Held {
                    ext: None,
                    deposit,
                    root,
                    more: vec![absent],
                }),
            )
        }),
        bad(Code::RosterConflict, InProgress, |it| {
            let remove = vec![it.cast.judge.subject];
            say(
                it,
                &it.cast.expert,
                Body::RosterChange(RosterChange {
                    ext: None,
                    add: vec![],
                    remove,
                }),
            )
        }),
        bad(Code::RosterConflict, InProgress, |it| {
            let lawyer = Participant {
                subject: SubjectId::new([5; 16]),
                role: Role::Lawyer,
                node: it.cast.bar.subject,
                represents: Some(it.cast.expert.subject),
            };
            say(
                it,
                &it.cast.expert,
                Body::RosterChange(RosterChange {
                    ext: None,
                    add: vec![lawyer],
                    remove: vec![],
                }),
            )
        }),
        // A node without an encryption key in the registry cannot be given the dossier's key.
        recorded(Code::RosterConflict, InProgress, Recorded::Effective, |it| {
            let lawyer = Participant {
                subject: SubjectId::new([5; 16]),
                role: Role::Lawyer,
                node: SubjectId::new([6; 16]),
                represents: None,
            };
            say(
                it,
                &it.cast.expert,
                Body::RosterChange(RosterChange {
                    ext: None,
                    add: vec![lawyer],
                    remove: vec![],
                }),
            )
        }),
        recorded(
            Code::NotCompetent,
            InProgress,
            Recorded::As(Code::UnknownDossier),
            |it| {
                let mut order = it.cast.designation(it.now);
                order.judge = it.cast.claimant_lawyer.subject;
                it.cast.judge.say(None, Body::Designation(order), 200, it.now)
            },
        ),
        bad(Code::WrongPhase, InProgress, |it| {
            let amount = euros(1);
            say(
                it,
                &it.cast.judge,
                Body::FeeOrder(FeeOrder {
                    ext: None,
                    amount,
                    order: None,
                }),
            )
        }),
        bad(Code::WrongPhase, InProgress, |it| {
            say(
                it,
                &it.cast.clerk,
                Body::CloseDossier(CloseDossier {
                    ext: None,
                    closes: None,
                }),
            )
        }),
        bad(Code::WrongPhase, InProgress, |it| {
            say(it, &it.cast.expert, report(&[]))
        }),
    ]
};

fn euros(cents: u64) -> EuroCents {
    EuroCents::new(cents).unwrap()
}

fn has_entry(rows: &[Row]) -> bool {
    rows.iter().any(|row| matches!(row, Row::Entry { .. }))
}

#[test]
fn each_bad_submission_is_refused_with_its_code_and_changes_nothing() {
    for (number, bad) in MESSAGES.iter().enumerate() {
        let mut it = Stage::at(bad.situation);
        let (bytes, before) = ((bad.bytes)(&it), it.picture());
        let stored = bad.code != Code::DocumentMissing;
        let refused = it.submit(&bytes, stored).map_err(|error| error.code());
        assert_eq!(refused, Err(bad.code), "message {number}");
        assert!(!has_entry(&it.work()), "message {number}");
        assert_eq!(it.picture(), before, "message {number}");
        // The node goes on: the next message is taken.
        let good = it.good();
        it.deposit(&good).unwrap();
        assert_eq!(it.replica().entries(), before.1 + 1, "message {number}");
    }
}

/// The id that an entry gives to these bytes.
fn id_of(bytes: &[u8]) -> MessageId {
    Envelope::decode(bytes).map_or(MessageId::new([1; 32]), |envelope| envelope.id())
}

#[test]
fn a_bad_message_that_a_dishonest_node_has_recorded_is_kept_without_effect_and_its_chain_goes_on() {
    for (number, bad) in MESSAGES.iter().enumerate() {
        let mut it = Stage::at(bad.situation);
        let (mut peer, bytes, before) = (Peer::new(&it), (bad.bytes)(&it), it.picture());
        let id = id_of(&bytes);
        let expected = match bad.recorded {
            Recorded::SameCode => Verdict::WithoutEffect(bad.code),
            Recorded::As(code) => Verdict::WithoutEffect(code),
            Recorded::Waits => Verdict::Pending(Need::Signer(id)),
            Recorded::Effective => Verdict::Effective,
            Recorded::TooLarge => continue,
        };
        assert_eq!(peer.send(&mut it, id, &bytes), None, "message {number}");
        assert_eq!(verdict(&it, &peer, 0), expected, "message {number}");
        let (state, entries, _) = it.picture();
        assert_eq!(entries, before.1 + 1, "message {number}");
        assert_eq!(
            state == before.0,
            expected != Verdict::Effective,
            "message {number}"
        );
        let good = it.good();
        assert_eq!(peer.send(&mut it, id_of(&good), &good), None, "message {number}");
        assert_eq!(verdict(&it, &peer, 1), Verdict::Effective, "message {number}");
    }
}

#[test]
fn an_entry_whose_seal_hides_another_envelope_or_nothing_is_kept_without_effect() {
    let announced = MessageId::new([1; 32]);
    type Forgery = fn(&Stage, MessageId) -> (MessageId, Digest, Sealed);
    let recorded: [(Code, Forgery); 3] = [
        // The message opens, and is not the one announced.
        (Code::IdMismatch, |it, announced| {
            let bytes = lawful(it);
            (
                announced,
                Digest::of(&[&bytes]),
                seal_raw(&it.dossier, announced, &it.key, &bytes),
            )
        }),
        // It is, under another signature than the entry's digest covers.
        (Code::IdMismatch, |it, _| {
            let bytes = lawful(it);
            let id = id_of(&bytes);
            (
                id,
                Digest::of(&[b"another signature"]),
                seal_raw(&it.dossier, id, &it.key, &bytes),
            )
        }),
        // It was sealed for another dossier.
        (Code::NotOpenable, |it, announced| {
            let (bytes, other) = (lawful(it), DossierId::new([9; 32]));
            (
                announced,
                Digest::of(&[&bytes]),
                seal_raw(&other, announced, &it.key, &bytes),
            )
        }),
    ];
    for (code, make) in recorded {
        assert!(OF_ENTRIES.contains(&code));
        let mut it = Stage::at(Situation::InProgress);
        let (mut peer, before) = (Peer::new(&it), it.picture());
        let (id, digest, sealed) = make(&it, announced);
        let item = peer.record_sealed(&it, id, digest, sealed);
        let head = peer.next_head(&it);
        let frame = peer.run(&it, &[item], peer.sign(&head));
        assert_eq!(it.frame(&frame), None);
        assert_eq!(verdict(&it, &peer, 0), Verdict::WithoutEffect(code));
        assert_eq!((it.picture().0, it.picture().1), (before.0, before.1 + 1));
        let good = it.good();
        peer.send(&mut it, id_of(&good), &good);
        assert_eq!(verdict(&it, &peer, 1), Verdict::Effective);
    }
}

/// A frame and why it is refused.
struct BadFrame {
    code: Code,
    bytes: fn(&mut Stage, &mut Peer) -> Vec<u8>,
}

/// A run of one lawful entry, under a head that `change` has spoilt.
fn spoilt(it: &mut Stage, peer: &mut Peer, change: impl Fn(&mut Head, &Stage)) -> Vec<u8> {
    let good = it.good();
    let item = peer.record_raw(it, id_of(&good), &good);
    let mut head = peer.next_head(it);
    change(&mut head, it);
    peer.run(it, &[item], peer.sign(&head))
}

fn head_frame(head: Vec<u8>) -> Vec<u8> {
    Frame::Head(ByteBuf::from(head)).encode()
}

fn honest_head(it: &mut Stage, peer: &mut Peer) -> Head {
    let good = it.good();
    peer.record_raw(it, id_of(&good), &good);
    peer.next_head(it)
}

/// A head that another node or person has signed in its own name.
fn head_of(it: &mut Stage, peer: &mut Peer, actor: &Actor) -> Vec<u8> {
    let mut head = honest_head(it, peer);
    head.node = actor.subject;
    head_frame(sign_head(&actor.key, Typ::Head, &head))
}

/// Everything that may be wrong with a frame, by code.
const FRAMES: &[BadFrame] = {
    const fn bad(code: Code, bytes: fn(&mut Stage, &mut Peer) -> Vec<u8>) -> BadFrame {
        BadFrame { code, bytes }
    }
    &[
        bad(Code::Truncated, |it, peer| {
            let mut bytes = spoilt(it, peer, |_, _| {});
            bytes.pop();
            bytes
        }),
        bad(Code::Truncated, |_, _| Vec::new()),
        // An array of indefinite length.
        bad(Code::NotCanonical, |_, _| vec![0x9f, 0xff]),
        bad(Code::TrailingBytes, |_, _| b"GET / HTTP/1.1".to_vec()),
        bad(Code::TooDeep, |_, _| {
            [vec![0x81; limits::DEPTH + 1], vec![0]].concat()
        }),
        bad(Code::TooLarge, |_, _| vec![0; limits::FRAME_BYTES + 1]),
        bad(Code::TrailingBytes, |it, peer| {
            [&spoilt(it, peer, |_, _| {})[..], &[0]].concat()
        }),
        bad(Code::WrongShape, |_, _| codec::encode(&1_u64)),
        bad(Code::UnknownType, |_, _| codec::encode(&(99_u64, ByteBuf::new()))),
        bad(Code::BadValue, |it, peer| {
            let head = honest_head(it, peer);
            peer.run(it, &[], peer.sign(&head))
        }),
        bad(Code::BadHeader, |_, _| {
            let parts = [&b"{}"[..], b"payload", b"signature"];
            head_frame(codec::encode(&parts.map(|part| ByteBuf::from(part.to_vec()))))
        }),
        bad(Code::UnknownSigner, |it, peer| {
            head_of(it, peer, &outsider("stranger", Role::Node))
        }),
        bad(Code::BadSignature, |it, peer| {
            let head = honest_head(it, peer);
            let mut bytes = peer.sign(&head);
            *bytes.last_mut().unwrap() ^= 1;
            head_frame(bytes)
        }),
        bad(Code::SignerInvalid, |it, peer| {
            head_of(it, peer, &outsider("revoked", Role::Node))
        }),
        bad(Code::WrongTyp, |it, peer| {
            let head = honest_head(it, peer);
            head_frame(sign_head(&peer.seal, Typ::Message, &head))
        }),
        bad(Code::ClaimedAhead, |it, peer| {
            spoilt(it, peer, |head, it| {
                head.time = it.now + Span::from_ms(limits::CLAIM_AHEAD_MS + 1)
            })
        }),
        bad(Code::AuthorMismatch, |it, peer| {
            let head = honest_head(it, peer);
            head_frame(sign_head(&it.cast.bar.key, Typ::Head, &head))
        }),
        bad(Code::RoleNotHeld, |it, peer| {
            let lawyer = outsider("bystander", Role::Lawyer);
            head_of(it, peer, &lawyer)
        }),
        bad(Code::NotParticipant, |it, peer| {
            head_of(it, peer, &outsider("bystander", Role::Node))
        }),
        bad(Code::UnknownDossier, |it, peer| {
            let head = honest_head(it, peer);
            let dossier = DossierId::new([9; 32]);
            let Frame::Run(run) = Frame::decode(&peer.run(it, &peer.items, peer.sign(&head))).unwrap() else {
                panic!("a run");
            };
            Frame::Run(Run { dossier, ..run }).encode()
        }),
        bad(Code::HeadMismatch, |it, peer| {
            let other = Digest::of(&[b"another tree"]);
            let chain = peer.chain;
            spoilt(it, peer, move |head, _| own(head, chain).root = other)
        }),
        bad(Code::HeadMismatch, |it, peer| {
            let other = Digest::of(&[b"another leaf"]);
            let chain = peer.chain;
            spoilt(it, peer, move |head, _| own(head, chain).leaf = other)
        }),
        bad(Code::HeadMismatch, |it, peer| {
            let chain = peer.chain;
            spoilt(it, peer, move |head, _| own(head, chain).size += 1)
        }),
        bad(Code::HeadMismatch, |it, peer| {
            let chain = peer.chain;
            spoilt(it, peer, move |head, _| {
                head.rows.retain(|row| row.chain != chain)
            })
        }),
        bad(Code::HeadMismatch, |it, peer| {
            spoilt(it, peer, |head, _| head.dossier = DossierId::new([9; 32]))
        }),
        // An entry of another dossier, which a head of this one covers.
        bad(Code::HeadMismatch, |it, peer| {
            let good = it.good();
            let mut item = peer.record_raw(it, id_of(&good), &good);
            item.entry.dossier = DossierId::new([9; 32]);
            peer.tree = Tree::new();
            peer.tree.push(*item.entry.leaf().as_bytes());
            let head = peer.next_head(it);
            peer.run(it, &[item], peer.sign(&head))
        }),
        // The head is older than what it covers.
        bad(Code::HeadMismatch, |it, peer| {
            spoilt(it, peer, |head, it| head.time = it.now - Span::from_seconds(1))
        }),
        // The sealed message is not the one whose digest the entry holds.
        bad(Code::HeadMismatch, |it, peer| {
            let head = honest_head(it, peer);
            let mut item = peer.items[0].clone();
            item.sealed = Some(seal_raw(&it.dossier, item.entry.message, &it.key, b"another"));
            peer.run(it, &[item], peer.sign(&head))
        }),
        bad(Code::Version, |it, peer| spoilt(it, peer, |head, _| head.v = 2)),
        bad(Code::BadValue, |it, peer| {
            let chain = peer.chain;
            spoilt(it, peer, move |head, _| own(head, chain).size = 0)
        }),
    ]
};

fn own(head: &mut Head, chain: ChainId) -> &mut HeadRow {
    head.rows.iter_mut().find(|row| row.chain == chain).unwrap()
}

#[test]
fn each_bad_frame_is_refused_with_its_code_changes_nothing_and_the_connection_goes_on() {
    for (number, bad) in FRAMES.iter().enumerate() {
        let mut it = Stage::at(Situation::InProgress);
        let mut dishonest = Peer::new(&it);
        let bytes = (bad.bytes)(&mut it, &mut dishonest);
        let before = it.picture();
        let sender = it.cast.company.subject;
        it.engine.handle_frame(sender, &bytes, it.now);
        assert!(!has_entry(&it.work()), "frame {number}");
        assert_eq!(it.picture(), before, "frame {number}");
        // The sender learns the code, and of which frame.
        let refusals: Vec<_> = it
            .frames
            .iter()
            .filter_map(|(to, frame)| match frame {
                Frame::Refusal(refusal) if *to == sender => Some((refusal.code, refusal.about)),
                _ => None,
            })
            .collect();
        let expected = (u64::from(bad.code.number()), Digest::of(&[&bytes]));
        assert_eq!(refusals, [expected], "frame {number}");
        // An honest run on the same connection is taken.
        let (mut honest, good) = (Peer::new(&it), it.good());
        assert_eq!(honest.send(&mut it, id_of(&good), &good), None, "frame {number}");
        assert_eq!(verdict(&it, &honest, 0), Verdict::Effective, "frame {number}");
    }
}

#[test]
fn nothing_counts_before_the_hello() {
    let mut it = Stage::at(Situation::InProgress);
    let (mut peer, good) = (Peer::new(&it), it.good());
    let company = it.cast.company.subject;
    it.engine.handle_connected(company, it.now);
    let before = it.picture();
    assert_eq!(peer.send(&mut it, id_of(&good), &good), Some(Code::BadValue));
    assert_eq!(it.picture(), before);
    it.hello(company);
    let mut peer = Peer::new(&it);
    assert_eq!(peer.send(&mut it, id_of(&good), &good), None);
    assert_eq!(it.picture().1, before.1 + 1);
}

#[test]
fn every_code_that_a_message_can_meet_is_provoked_here() {
    let messages = MESSAGES.iter().map(|bad| bad.code);
    let frames = FRAMES.iter().map(|bad| bad.code);
    let provoked: BTreeSet<_> = messages.clone().chain(OF_ENTRIES).chain(frames.clone()).collect();
    let expected: BTreeSet<_> = Code::ALL
        .iter()
        .copied()
        .filter(|code| {
            !OF_THE_SHELL.contains(code) && !OF_FORKS.contains(code) && !OF_ERASURES.contains(code)
        })
        .collect();
    assert_eq!(provoked, expected);
    // What a person can be told is provoked by a submission, and not only between nodes.
    let only_between_nodes: BTreeSet<_> = expected
        .iter()
        .copied()
        .filter(|code| !messages.clone().any(|one| one == *code))
        .collect();
    assert_eq!(
        only_between_nodes,
        OF_ENTRIES.into_iter().chain(OF_RUNS).collect()
    );
}

#[test]
fn a_message_sent_twice_is_one_message() {
    let mut it = Stage::at(Situation::InProgress);
    let message = lawful(&it);
    let id = it.deposit(&message).unwrap();
    let before = it.picture();
    it.events.clear();
    assert_eq!(it.deposit(&message), Ok(id));
    assert_eq!(it.picture(), before);
    // Another node has recorded it too: two entries, one message, one effect.
    let mut peer = Peer::new(&it);
    assert_eq!(peer.send(&mut it, id, &message), None);
    assert_eq!((it.picture().0, it.picture().1), (before.0, before.1 + 1));
    assert_eq!(it.replica().state().dires().len(), 2);
}

#[test]
fn a_dire_after_its_date_is_taken_and_dated() {
    let mut it = Stage::at(Situation::DiresOver);
    let due = it.replica().state().dires_due().unwrap();
    assert!(it.now > due);
    let late = it.act(|cast| &cast.party, dire(2));
    assert!(it.replica().state().dires()[&late].at > due);
    // Recorded elsewhere after the date, it takes effect as well.
    let (mut peer, other) = (Peer::new(&it), say(&it, &it.cast.claimant_lawyer, dire(3)));
    peer.send(&mut it, id_of(&other), &other);
    assert_eq!(verdict(&it, &peer, 0), Verdict::Effective);
    assert_eq!(it.replica().state().dires().len(), 3);
}

#[test]
fn a_revocation_that_comes_late_withdraws_the_act_on_every_node_whatever_came_first() {
    let mut it = Stage::at(Situation::InProgress);
    let mut peer = Peer::new(&it);
    let untouched = it.picture().0;
    it.now = START + Span::from_seconds(100);
    // Two nodes record acts of the party, neither knowing of the other; the expert opens what one of them brought.
    let deposit = it.act(|cast| &cast.party, exhibit(2));
    let (root, reader) = (document("exhibit 2").root, it.cast.expert.subject);
    it.act(
        |cast| &cast.expert,
        Body::Opening(Opening {
            ext: None,
            deposit,
            root,
            reader,
        }),
    );
    let statement = lawful(&it);
    peer.send(&mut it, id_of(&statement), &statement);
    assert_eq!(verdict(&it, &peer, 0), Verdict::Effective);
    let effective = it.picture().0;
    assert_ne!(effective, untouched);

    let leaf = RegistryLeaf {
        leaf: ByteBuf::new(),
        certificate: ByteBuf::new(),
    };
    let revoked_at = (START + Span::from_seconds(50)).seconds();
    it.engine.import_leaf("test", revoked_at, leaf).unwrap();
    it.work();
    // What the party did before stays; what it did since, and what hung on that, is withdrawn.
    assert_eq!(
        verdict(&it, &peer, 0),
        Verdict::WithoutEffect(Code::SignerInvalid)
    );
    assert_eq!(it.picture().0, untouched);
    assert!(
        it.replica()
            .state()
            .document(&it.exhibit.unwrap(), &document("exhibit 1").root)
            .is_some()
    );

    let mut knows = annuaire();
    knows.0.revoke(&it.cast.party, START + Span::from_seconds(50));
    let fill = |directory: &Annuaire, runs: &[&(Vec<RunItem>, SignedHead)]| {
        let mut replica = Replica::new(it.dossier);
        replica.add_key(0, it.key.clone(), directory);
        for (items, head) in runs {
            let taken = replica.receive(items, head, directory).unwrap();
            assert!(matches!(taken, Received::Applied { .. }));
        }
        replica
    };
    let before: Vec<_> = it
        .runs
        .iter()
        .filter(|(items, _)| items[0].entry.recorded_at == START)
        .collect();
    let after: Vec<_> = it
        .runs
        .iter()
        .filter(|(items, _)| items[0].entry.recorded_at != START)
        .collect();
    assert_eq!(after.len(), 3);
    let reordered = [after[2], after[0], after[1]];
    for since in [[after[0], after[1], after[2]], reordered] {
        let runs = [before.as_slice(), &since].concat();
        assert_eq!(fill(&knows, &runs).state().hash(), untouched);
        let mut learns = fill(&annuaire(), &runs);
        assert_eq!(learns.state().hash(), effective);
        assert!(learns.judge_again(&knows));
        assert_eq!(learns.state().hash(), untouched);
        // And the other way: what came before the entry that lets its signer sign is no worse for it.
        let mut learns = fill(&knows, &runs);
        assert!(learns.judge_again(&annuaire()));
        assert_eq!(learns.state().hash(), effective);
    }
}

fn granted(deposit: MessageId, root: Digest, to: &Actor) -> Body {
    Body::KeyGrant(KeyGrant {
        ext: None,
        deposit,
        root,
        wraps: key_wraps(&DossierId::new([0; 32]), &root, &[to]),
    })
}

fn enrolled(name: &str) -> Body {
    Body::PartyEnrolment(enrolment(&DossierId::new([0; 32]), name, name))
}

fn withdrawn(enrolment: MessageId, invalid_since: Option<Instant>) -> Body {
    Body::KeyRevocation(KeyRevocation {
        ext: None,
        enrolment,
        invalid_since,
        reason: "perte".into(),
    })
}

/// Facts of a whole assessment, acts done twice and a decline beside an acceptance included.
fn facts() -> Vec<Fact> {
    let cast = Cast::default();
    let amount = euros(280_000);
    let id = |number: u8| MessageId::new([number; 32]);
    let root = document("exhibit 1").root;
    let change = |add, remove| {
        Body::RosterChange(RosterChange {
            ext: None,
            add,
            remove,
        })
    };
    let bodies = vec![
        (&cast.judge, Body::Designation(cast.designation(START))),
        (
            &cast.clerk,
            Body::Designation(cast.designation(START + Span::from_seconds(1))),
        ),
        (&cast.expert, accept()),
        (&cast.expert, accept()),
        (
            &cast.expert,
            Body::Decline(Decline {
                ext: None,
                reason: "Empêchement".into(),
            }),
        ),
        (&cast.expert, change(cast.participants(), vec![])),
        (&cast.expert, change(vec![], vec![cast.party.subject])),
        (&cast.clerk, paid(100_000)),
        (&cast.clerk, paid(200_000)),
        (&cast.party, exhibit(1)),
        (
            &cast.bar,
            Body::Held(Held {
                ext: None,
                deposit: id(9),
                root,
                more: Vec::new(),
            }),
        ),
        (
            &cast.bar,
            Body::Held(Held {
                ext: None,
                deposit: id(9),
                root,
                more: Vec::new(),
            }),
        ),
        (&cast.defendant_lawyer, dire(1)),
        (&cast.expert, pre_report(START + Span::from_seconds(60))),
        (&cast.expert, pre_report(START + Span::from_seconds(90))),
        (&cast.expert, report(&[id(12)])),
        (
            &cast.expert,
            Body::FeeClaim(FeeClaim {
                ext: None,
                amount,
                document: None,
            }),
        ),
        (
            &cast.judge,
            Body::FeeOrder(FeeOrder {
                ext: None,
                amount,
                order: None,
            }),
        ),
        (&cast.party, granted(id(9), root, &cast.judge)),
        (&cast.judge, granted(id(9), root, &cast.judge)),
        (&cast.expert, enrolled("litigant")),
        (&cast.expert, enrolled("litigant")),
        (&cast.clerk, withdrawn(id(20), None)),
        (&cast.clerk, withdrawn(id(20), Some(START))),
    ];
    let fact = |(number, (author, body)): (u8, (&Actor, Body))| Fact {
        id: id(number),
        // Some at the same instant: then the id decides.
        at: START + Span::from_seconds(u64::from(number) / 2),
        author: author.subject,
        body,
    };
    (0..).zip(bodies).map(fact).collect()
}

fn state_of(facts: &[Fact]) -> State {
    let mut state = State::default();
    facts.iter().for_each(|fact| state.apply(fact));
    state
}

proptest! {
    #[test]
    fn the_same_facts_give_the_same_state_in_any_order_and_number(
        shuffled in Just(facts()).prop_shuffle(),
        again in proptest::collection::vec(0..24_usize, 0..10),
    ) {
        let mut repeated = shuffled.clone();
        repeated.extend(again.into_iter().map(|index| shuffled[index].clone()));
        prop_assert_eq!(state_of(&repeated).hash(), state_of(&facts()).hash());
        // Every fact counts: without the first payment the state is another.
        let without: Vec<_> = shuffled.into_iter().filter(|fact| fact.id != MessageId::new([7; 32])).collect();
        prop_assert_ne!(state_of(&without).hash(), state_of(&facts()).hash());
    }
}
