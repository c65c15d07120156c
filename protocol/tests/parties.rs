//! Parties whose keys are enrolled inside of the dossier: who may enrol them, what their keys are worth, and for how long.
//! SPEC §6.26, §6.27, PTY-1 to PTY-5.
#![allow(clippy::unwrap_used)]

mod stage;

use basoche_protocol::directory::{Directory, Status};
use basoche_protocol::dossier::{Received, Replica};
use basoche_protocol::envelope::{Capacity, CoSignature, possession};
use basoche_protocol::fixture::{Actor, DELEGATION_SALT, TestKey, litigant};
use basoche_protocol::id::{DossierId, Incarnation, MessageId, Salt};
use basoche_protocol::jose::Signer;
use basoche_protocol::journal::{Need, Verdict};
use basoche_protocol::message::{Body, KeyRevocation, Participant, PartyEnrolment, RosterChange, commitment};
use basoche_protocol::refusal::Code;
use basoche_protocol::role::{Assurance, Role};
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::wire::codec;
use basoche_protocol::wire::frame::RegistryLeaf;
use serde_bytes::ByteBuf;
use stage::*;

fn after(seconds: u64) -> Instant {
    START + Span::from_seconds(seconds)
}

/// A leaf by which the expert may enrol so many parties of the dossier within a time.
fn delegation(dossier: &DossierId, keys: u64, (from, until): (Instant, Instant)) -> RegistryLeaf {
    let commitment = commitment(&DELEGATION_SALT, dossier);
    RegistryLeaf {
        leaf: ByteBuf::from(codec::encode(&(commitment, keys, from, until))),
        certificate: ByteBuf::new(),
    }
}

/// A stage on which the operations are under way, and the expert may enrol so many parties for a thousand seconds.
fn delegated(keys: u64) -> Stage {
    let mut it = Stage::at(Situation::InProgress);
    let leaf = delegation(&it.dossier, keys, (START, after(1000)));
    it.engine.import_leaf(DELEGATIONS, 0, leaf).unwrap();
    it
}

/// The party whose first key has that name; it signs with the key of another.
fn party(it: &Stage, holder: &str, name: &str) -> Actor {
    litigant(&enrolment(&it.dossier, holder, name), name)
}

fn enrol(it: &mut Stage, enrolment: PartyEnrolment) -> Result<MessageId, Code> {
    let body = Body::PartyEnrolment(enrolment);
    let envelope = it.cast.expert.say(Some(it.dossier), body, 100, it.now);
    it.deposit(&envelope).map_err(|error| error.code())
}

fn say(it: &mut Stage, who: &Actor, body: Body) -> Result<MessageId, Code> {
    let envelope = who.say(Some(it.dossier), body, 101, it.now);
    it.deposit(&envelope).map_err(|error| error.code())
}

fn join(who: &Actor) -> Body {
    let joining = Participant {
        subject: who.subject,
        role: Role::Party,
        node: who.node,
        represents: None,
    };
    Body::RosterChange(RosterChange {
        ext: None,
        add: vec![joining],
        remove: vec![],
    })
}

fn revocation(enrolment: MessageId, invalid_since: Option<Instant>) -> Body {
    Body::KeyRevocation(KeyRevocation {
        ext: None,
        enrolment,
        invalid_since,
        reason: "clé perdue".into(),
    })
}

/// A stage with one party enrolled and in the roster.
fn joined() -> (Stage, Actor, MessageId) {
    let mut it = delegated(2);
    let first = enrolment(&it.dossier, "litigant", "litigant");
    let enrolled = enrol(&mut it, first).unwrap();
    let litigant = party(&it, "litigant", "litigant");
    it.act(|cast| &cast.expert, join(&litigant));
    (it, litigant, enrolled)
}

#[test]
fn a_party_acts_with_the_key_that_the_expert_has_enrolled_and_in_this_dossier_only() {
    let mut it = delegated(2);
    let litigant = party(&it, "litigant", "litigant");
    // Nobody knows the key yet; then it is known, but its holder takes no part yet.
    assert_eq!(say(&mut it, &litigant, dire(1)), Err(Code::UnknownSigner));
    let first = enrolment(&it.dossier, "litigant", "litigant");
    enrol(&mut it, first).unwrap();
    assert_eq!(say(&mut it, &litigant, dire(1)), Err(Code::NotParticipant));
    it.act(|cast| &cast.expert, join(&litigant));
    let dires = it.replica().state().dires().len();
    say(&mut it, &litigant, dire(1)).unwrap();
    assert_eq!(it.replica().state().dires().len(), dires + 1);
    // A party, and nothing else.
    let lawyer = Actor {
        role: Role::Lawyer,
        ..litigant.clone()
    };
    assert_eq!(say(&mut it, &lawyer, dire(2)), Err(Code::RoleNotHeld));
    // Outside of the dossier the key is nobody's.
    let outside = it.engine.registry().status(&litigant.key.certificate(), it.now);
    assert!(matches!(outside, Status::Undetermined { .. }));
    let inside = it.replica().state();
    let key = inside.party_encryption_key(&litigant.subject, it.now, it.engine.registry());
    assert_eq!(key.unwrap().unwrap(), litigant.key.spki());
    assert_eq!(
        inside.party_encryption_key(&it.cast.party.subject, it.now, it.engine.registry()),
        None
    );
}

#[test]
fn who_may_enrol_which_parties_is_what_the_authority_has_delegated() {
    // Attack 14: without a delegation, under that of another dossier, beyond the quota, after the end, by somebody else.
    let mut it = Stage::at(Situation::InProgress);
    let of = |it: &Stage, name: &str| enrolment(&it.dossier, name, name);
    let first = of(&it, "first");
    assert_eq!(enrol(&mut it, first.clone()), Err(Code::NotDelegated));
    let elsewhere = delegation(&DossierId::new([9; 32]), 2, (START, after(1000)));
    it.engine.import_leaf(DELEGATIONS, 0, elsewhere).unwrap();
    assert_eq!(enrol(&mut it, first.clone()), Err(Code::NotDelegated));

    let mut it = delegated(2);
    enrol(&mut it, first.clone()).unwrap();
    let other_salt = PartyEnrolment {
        delegation_salt: Salt::new([6; 16]),
        ..of(&it, "second")
    };
    assert_eq!(enrol(&mut it, other_salt), Err(Code::NotDelegated));
    let second = of(&it, "second");
    enrol(&mut it, second).unwrap();
    let third = of(&it, "third");
    assert_eq!(enrol(&mut it, third), Err(Code::NotDelegated));

    let mut it = delegated(2);
    it.now = after(1001);
    assert_eq!(enrol(&mut it, first), Err(Code::NotDelegated));

    // A party hands nothing on, and a lawyer enrols nobody.
    let (mut it, litigant, _) = joined();
    let body = |it: &Stage| Body::PartyEnrolment(of(it, "third"));
    let nested = body(&it);
    assert_eq!(say(&mut it, &litigant, nested.clone()), Err(Code::NotDelegated));
    let lawyer = it.cast.claimant_lawyer.clone();
    assert_eq!(say(&mut it, &lawyer, nested), Err(Code::NotDelegated));
}

#[test]
fn a_key_is_enrolled_for_whoever_shows_to_hold_it_and_under_nobody_elses_name() {
    let mut it = delegated(9);
    let good = enrolment(&it.dossier, "litigant", "litigant");
    let other = enrolment(&it.dossier, "litigant", "other");
    let elsewhere = enrolment(&DossierId::new([9; 32]), "litigant", "litigant");
    let lies = [
        // Shown with another key, for another dossier, as somebody else, of another certificate.
        (
            Code::BadSignature,
            PartyEnrolment {
                possession: other.possession.clone(),
                ..good.clone()
            },
        ),
        (
            Code::BadSignature,
            PartyEnrolment {
                possession: elsewhere.possession,
                ..good.clone()
            },
        ),
        (
            Code::BadSignature,
            PartyEnrolment {
                subject: it.cast.party.subject,
                ..good.clone()
            },
        ),
        (
            Code::BadSignature,
            PartyEnrolment {
                certificate: other.certificate.clone(),
                ..good.clone()
            },
        ),
        (
            Code::BadValue,
            PartyEnrolment {
                certificate: ByteBuf::from(*b"no certificate"),
                ..good.clone()
            },
        ),
        (
            Code::BadValue,
            PartyEnrolment {
                assurance: Assurance::Seal,
                ..good.clone()
            },
        ),
        (
            Code::BadValue,
            PartyEnrolment {
                possession: ByteBuf::from(*b"nothing"),
                ..good.clone()
            },
        ),
        (
            Code::BadValue,
            PartyEnrolment {
                name: String::new(),
                ..good.clone()
            },
        ),
        (
            Code::BadValue,
            PartyEnrolment {
                encryption_spki: Some(ByteBuf::from([1; 91])),
                ..good.clone()
            },
        ),
        // A key of its own, in the name of somebody who has never had one here.
        (Code::RosterConflict, other.clone()),
    ];
    for (code, lie) in lies {
        assert_eq!(enrol(&mut it, lie.clone()), Err(code), "{lie:?}");
    }
    // The name of who is in the registry cannot be taken: it is the digest of no certificate.
    let shown = |subject| {
        let key = TestKey::new("litigant");
        let wanted = possession(&PartyEnrolment::place(&it.dossier), &subject, &key.certificate());
        let shown = CoSignature::draft(&key, wanted, Capacity::Possession, START);
        ByteBuf::from(shown.sign(&key).unwrap().encode())
    };
    let subject = it.cast.party.subject;
    let taken = PartyEnrolment {
        subject,
        possession: shown(subject),
        ..good.clone()
    };
    assert_eq!(enrol(&mut it, taken), Err(Code::RosterConflict));
    enrol(&mut it, good).unwrap();
    // Who has a key here may be given another; a key that somebody has is given to nobody else.
    enrol(&mut it, other).unwrap();
    let stolen = enrolment(&it.dossier, "other", "other");
    assert_eq!(enrol(&mut it, stolen), Err(Code::RosterConflict));
}

#[test]
fn a_withdrawn_key_signs_no_more_and_what_it_signed_before_stays_or_is_contested() {
    let (mut it, litigant, enrolled) = joined();
    it.now = after(10);
    say(&mut it, &litigant, dire(1)).unwrap();
    let dires = it.replica().state().dires().len();
    // Another party may not, and nothing else can be withdrawn.
    let party = it.cast.party.clone();
    assert_eq!(
        say(&mut it, &party, revocation(enrolled, None)),
        Err(Code::NotCompetent)
    );
    let unknown = revocation(it.dire.unwrap(), None);
    assert_eq!(say(&mut it, &litigant, unknown), Err(Code::UnknownReference));
    it.now = after(20);
    say(&mut it, &litigant, revocation(enrolled, Some(after(5)))).unwrap();
    it.now = after(30);
    assert_eq!(say(&mut it, &litigant, dire(2)), Err(Code::SignerInvalid));
    let state = it.replica().state();
    assert_eq!(state.dires().len(), dires);
    let worth = |at| {
        state
            .inside(it.engine.registry())
            .status(&litigant.key.certificate(), at)
    };
    assert!(matches!(worth(after(1)), Status::Valid(_)));
    assert!(matches!(worth(after(10)), Status::Contested { .. }));
    assert!(matches!(worth(after(20)), Status::Invalid { .. }));
    assert!(
        state
            .party_encryption_key(&litigant.subject, after(30), it.engine.registry())
            .unwrap()
            .is_err()
    );
    // The expert gives the party another key.
    let next = enrolment(&it.dossier, "litigant", "next");
    enrol(&mut it, next).unwrap();
    let again = self::party(&it, "litigant", "next");
    say(&mut it, &again, dire(2)).unwrap();
    // The court and the expert may withdraw as well.
    for who in [it.cast.clerk.clone(), it.cast.expert.clone()] {
        let body = revocation(enrolled, None);
        say(&mut it, &who, body).unwrap();
    }
}

#[test]
fn keys_end_with_the_delegation() {
    let (mut it, litigant, _) = joined();
    it.now = after(1000);
    say(&mut it, &litigant, dire(1)).unwrap();
    it.now = after(1001);
    assert_eq!(say(&mut it, &litigant, dire(2)), Err(Code::SignerInvalid));
    // The authority prolongs it.
    let leaf = delegation(&it.dossier, 2, (START, after(5000)));
    it.engine.import_leaf(DELEGATIONS, 1, leaf).unwrap();
    say(&mut it, &litigant, dire(2)).unwrap();
}

#[test]
fn verdicts_follow_from_the_past_and_the_registry_whatever_came_first() {
    let (mut it, litigant, _) = joined();
    it.now = after(10);
    say(&mut it, &litigant, dire(1)).unwrap();
    let effective = it.picture().0;
    let with = it.engine.registry().clone();
    let fill = |directory: &Annuaire| {
        let mut replica = Replica::new(it.dossier);
        replica.add_key(0, it.key.clone(), directory);
        for (items, head) in &it.runs {
            let taken = replica.receive(items, head, directory).unwrap();
            assert!(matches!(taken, Received::Applied { .. }));
        }
        replica
    };
    assert_eq!(fill(&with).state().hash(), effective);
    // Without the delegation the enrolment waits, and so does what rests on it.
    let mut learns = fill(&annuaire());
    assert_eq!(learns.pending(), 2);
    let untouched = learns.state().hash();
    assert_ne!(untouched, effective);
    assert!(learns.judge_again(&with));
    assert_eq!((learns.state().hash(), learns.pending()), (effective, 0));
    assert!(learns.judge_again(&annuaire()));
    assert_eq!((learns.state().hash(), learns.pending()), (untouched, 2));
    // It was withdrawn before the party was enrolled, as comes to light later.
    let mut ended = annuaire();
    let commitment = commitment(&DELEGATION_SALT, &it.dossier);
    ended
        .0
        .delegate(&it.cast.expert, commitment, 2, (START + Span::from_ms(0), START));
    let mut learns = fill(&with);
    assert!(learns.judge_again(&ended));
    let verdicts: Vec<_> = learns.records().map(|(_, _, record)| record.verdict).collect();
    let invalid = Verdict::WithoutEffect(Code::SignerInvalid);
    assert_eq!(
        verdicts.iter().filter(|verdict| **verdict == invalid).count(),
        1,
        "{verdicts:?}"
    );
}

#[test]
fn an_entry_is_judged_by_the_keys_that_its_own_past_knows() {
    let mut it = delegated(2);
    let litigant = party(&it, "litigant", "litigant");
    // The company's node knows of no enrolment, and records an act of the party all the same.
    let mut early = Peer::new(&it);
    let first = enrolment(&it.dossier, "litigant", "litigant");
    enrol(&mut it, first).unwrap();
    it.act(|cast| &cast.expert, join(&litigant));
    let act = litigant.sign(&litigant.message(Some(it.dossier), dire(1), 1), it.now);
    early.send(&mut it, act.id(), &act.encode());
    assert_eq!(verdict(&it, &early, 0), Verdict::Pending(Need::Signer(act.id())));
    // Once it holds the enrolment, its entries count.
    let mut informed = Peer::new(&it);
    informed.chain.incarnation = Incarnation::new([3; 16]);
    let act = litigant.sign(&litigant.message(Some(it.dossier), dire(2), 2), it.now);
    informed.send(&mut it, act.id(), &act.encode());
    assert_eq!(verdict(&it, &informed, 0), Verdict::Effective);
}
