//! Documents for persons: who is a recipient, who may hand a key on, and what lies are refused. SPEC §5.5, §6.25.
#![allow(clippy::unwrap_used)]

mod stage;

use basoche_protocol::document::{DocumentKey, key_commitment};
use basoche_protocol::dossier::DocumentFact;
use basoche_protocol::error::Malformed;
use basoche_protocol::fixture::{Actor, Cast, document, key_wraps, personal_document};
use basoche_protocol::id::{Digest, DossierId, MessageId, SubjectId};
use basoche_protocol::journal::Verdict;
use basoche_protocol::message::{Access, Body, DocumentRef, ExhibitDeposit, KeyWrap, Message};
use basoche_protocol::refusal::Code;
use basoche_protocol::role::{Class, Role};
use basoche_protocol::wire::limits;
use stage::*;

const DOSSIER: DossierId = DossierId::new([9; 32]);

fn root() -> Digest {
    document("exhibit 1").root
}

fn exhibit_of(document: DocumentRef) -> Message {
    let body = Body::ExhibitDeposit(ExhibitDeposit {
        ext: None,
        number: 1,
        title: "Certificat".into(),
        document,
    });
    Cast::default().party.message(Some(DOSSIER), body, 1)
}

fn for_persons(wraps: Vec<KeyWrap>) -> DocumentRef {
    DocumentRef {
        access: Access::Persons(wraps),
        ..document("exhibit 1")
    }
}

/// The document that a message brought.
fn fact(it: &Stage, deposit: MessageId) -> DocumentFact {
    let document = it
        .replica()
        .state()
        .documents()
        .find(|one| one.deposit == deposit);
    document.unwrap().clone()
}

fn recipients(it: &Stage, deposit: MessageId) -> Vec<SubjectId> {
    let recipients = it.replica().state().recipients(&fact(it, deposit));
    recipients.unwrap().into_iter().collect()
}

fn sorted(actors: &[&Actor]) -> Vec<SubjectId> {
    let mut subjects: Vec<_> = actors.iter().map(|one| one.subject).collect();
    subjects.sort_unstable();
    subjects
}

#[test]
fn a_personal_document_is_for_its_recipients_and_no_node_has_its_key() {
    let mut it = Stage::at(Situation::InProgress);
    let cast = Cast::default();
    let body = personal(&it, 2, &[&cast.judge, &cast.party]);
    let deposit = it.act(|cast| &cast.party, body);
    let fact = fact(&it, deposit);
    assert_eq!(fact.reference.class(), Class::Personal);
    assert_eq!(recipients(&it, deposit), sorted(&[&cast.judge, &cast.party]));
    assert!(it.replica().document_key(&fact.reference).is_none());
    // A document of class member has no list: every member node opens it.
    let member = it.exhibit.unwrap();
    let member = it.replica().state().documents().find(|one| one.deposit == member);
    assert!(it.replica().state().recipients(member.unwrap()).is_none());
}

#[test]
fn who_has_the_key_hands_it_on_and_who_was_granted_may_do_so_too() {
    let mut it = Stage::at(Situation::InProgress);
    let cast = Cast::default();
    let body = personal(&it, 2, &[&cast.judge, &cast.party]);
    let deposit = it.act(|cast| &cast.party, body);
    let root = fact(&it, deposit).reference.root;
    let before = it.picture().0;
    // The expert has no key, and so none to hand on.
    let early = cast.expert.say(
        Some(it.dossier),
        grant(&it, deposit, root, &[&cast.clerk]),
        90,
        it.now,
    );
    assert_eq!(it.submit(&early, true).unwrap_err().code(), Code::NotRecipient);
    assert_eq!(it.picture().0, before);

    let body = grant(&it, deposit, root, &[&cast.expert]);
    let first = it.act(|cast| &cast.judge, body);
    assert_eq!(
        recipients(&it, deposit),
        sorted(&[&cast.judge, &cast.party, &cast.expert])
    );
    let body = grant(&it, deposit, root, &[&cast.clerk, &cast.expert]);
    let second = it.act(|cast| &cast.expert, body);
    // Both wraps for the expert stay, and say who made them: one that does not open hides no other.
    let fact = fact(&it, deposit);
    let mut given: Vec<_> = it
        .replica()
        .state()
        .wraps(&fact, &cast.expert.subject)
        .into_iter()
        .map(|given| (given.message, given.author))
        .collect();
    given.sort_unstable();
    let mut expected = vec![(first, cast.judge.subject), (second, cast.expert.subject)];
    expected.sort_unstable();
    assert_eq!(given, expected);
    // The deposit's own wrap comes first.
    let own = it.replica().state().wraps(&fact, &cast.judge.subject);
    assert_eq!((own[0].message, own[0].author), (deposit, cast.party.subject));
    assert!(
        it.replica()
            .state()
            .wraps(&fact, &cast.defendant_lawyer.subject)
            .is_empty()
    );
}

#[test]
fn a_grant_to_a_stranger_or_of_what_is_not_on_file_is_refused_whatever_brought_it() {
    let mut it = Stage::at(Situation::InProgress);
    let cast = Cast::default();
    let body = personal(&it, 2, &[&cast.party]);
    let deposit = it.act(|cast| &cast.party, body);
    let root = fact(&it, deposit).reference.root;
    let stranger = outsider("bystander", Role::Lawyer);
    for (body, code) in [
        (grant(&it, deposit, root, &[&stranger]), Code::NotParticipant),
        (
            grant(&it, deposit, document("another").root, &[&cast.judge]),
            Code::UnknownReference,
        ),
    ] {
        let envelope = cast.party.say(Some(it.dossier), body, 91, it.now);
        let before = it.picture().0;
        assert_eq!(it.submit(&envelope, true).unwrap_err().code(), code);
        // A dishonest node records it all the same: it stays without effect everywhere.
        let mut peer = Peer::new(&it);
        let id = basoche_protocol::envelope::Envelope::decode(&envelope)
            .unwrap()
            .id();
        peer.send(&mut it, id, &envelope);
        let records = it.replica().records();
        let verdicts: Vec<_> = records
            .filter(|(_, _, record)| record.message == id)
            .map(|(_, _, record)| record.verdict)
            .collect();
        assert_eq!(verdicts, [Verdict::WithoutEffect(code)]);
        assert_eq!(it.picture().0, before);
        it = Stage::at(Situation::InProgress);
        let again = personal(&it, 2, &[&cast.party]);
        assert_eq!(it.act(|cast| &cast.party, again), deposit);
    }
}

#[test]
fn lies_about_wraps_are_malformed() {
    let cast = Cast::default();
    let (judge, party) = (&cast.judge, &cast.party);
    let good = key_wraps(&DOSSIER, &root(), &[judge, party]);
    exhibit_of(for_persons(good.clone())).validate().unwrap();
    let mut descending = good.clone();
    descending.reverse();
    let crowd = |count: usize| -> Vec<KeyWrap> {
        let mut wraps: Vec<_> = (0..count)
            .map(|number| {
                let mut id = [0; 16];
                id[..8].copy_from_slice(&(number as u64).to_be_bytes());
                let someone = Actor {
                    subject: SubjectId::new(id),
                    ..cast.judge.clone()
                };
                key_wraps(&DOSSIER, &root(), &[&someone]).remove(0)
            })
            .collect();
        wraps.sort_unstable();
        wraps
    };
    let renamed = KeyWrap {
        recipient: party.subject,
        ..key_wraps(&DOSSIER, &root(), &[judge]).remove(0)
    };
    let cut = KeyWrap {
        jwe: good[0].jwe.trim_end_matches(|c| c != '.').into(),
        ..good[0].clone()
    };
    for (what, wraps) in [
        ("for nobody", vec![]),
        ("descending", descending),
        ("twice", vec![good[0].clone(), good[0].clone()]),
        ("too many", crowd(limits::DOSSIER_PERSONS + 1)),
        (
            "bound to another root",
            key_wraps(&DOSSIER, &document("other").root, &[judge]),
        ),
        (
            "bound to another dossier",
            key_wraps(&DossierId::new([8; 32]), &root(), &[judge]),
        ),
        ("bound to another recipient", vec![renamed]),
        ("without a tag", vec![cut]),
    ] {
        let lie = exhibit_of(for_persons(wraps));
        assert_eq!(lie.validate(), Err(Malformed::bad_value()), "{what}");
        // So it is for whoever reads it.
        assert_eq!(
            Message::decode(&lie.encode()).unwrap_err().code(),
            Code::BadValue,
            "{what}"
        );
    }
    // As many as a roster may have fit into a message.
    let whole = exhibit_of(for_persons(crowd(limits::DOSSIER_PERSONS)));
    let bytes = whole.encode();
    assert_eq!(Message::decode(&bytes).unwrap(), whole);
    assert!(bytes.len() < limits::PAYLOAD_BYTES, "{}", bytes.len());
}

#[test]
fn a_wrap_opens_for_its_recipient_only_and_the_commitment_tells_a_false_key() {
    use p256::pkcs8::{EncodePrivateKey, EncodePublicKey};
    let secret = |name: &str| {
        let seed = basoche_protocol::crypto::sha256(&[b"encryption key ", name.as_bytes()]);
        let key = p256::ecdsa::SigningKey::from_slice(&seed).unwrap();
        let private = key.to_pkcs8_der().unwrap().as_bytes().to_vec();
        let public = key.verifying_key().to_public_key_der().unwrap().into_vec();
        (public, private)
    };
    let (cast, key) = (Cast::default(), DocumentKey::new([7; 32]));
    let ((judge_spki, judge_key), (_, party_key)) = (secret("judge"), secret("party"));
    let wrap = KeyWrap::new(&key, &DOSSIER, &root(), cast.judge.subject, &judge_spki).unwrap();
    assert!(wrap.jwe.len() <= limits::WRAP_BYTES);
    assert_eq!(wrap.open(&DOSSIER, &root(), &judge_key).unwrap(), key);
    assert!(wrap.open(&DOSSIER, &root(), &party_key).is_err());
    assert!(wrap.open(&DossierId::new([8; 32]), &root(), &judge_key).is_err());
    assert!(wrap.open(&DOSSIER, &document("other").root, &judge_key).is_err());
    let mut reference = personal_document("exhibit 1", &DOSSIER, &[&cast.judge]);
    reference.key_commitment = Digest::new(key_commitment(&key));
    assert!(reference.is_key(&key) && !reference.is_key(&DocumentKey::new([8; 32])));
}
