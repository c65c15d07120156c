//! Every refusal of admission, provoked; and what is admitted. REG-4, REG-6, REG-7, REG-9.

use basoche_protocol::engine::{Imported, Registry};
use basoche_protocol::envelope::Typ;
use basoche_protocol::error::{Error, Incompatible, Malformed, MalformedKind, Untrusted};
use basoche_protocol::id::{CertificateId, Digest, MessageId};
use basoche_protocol::jose::Algorithm;
use basoche_protocol::refusal::Code;
use basoche_protocol::role::{Assurance, OrganisationKind, Role};
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_registry::entry::{Gossip, Kind, Node};
use basoche_registry::inadmissible::Holder;
use basoche_registry::leaf::{Capacity, CoSignature};
use basoche_registry::{CertificateError, Content, Entry, Inadmissible, Leaf};
use serde_bytes::ByteBuf;

use crate::kit::{
    self, BAR, COMPANY, COURT, Federation, Key, day, enrolment, leaf, revocation, root, subject,
};

/// Who co-signs, and as what.
type Cosigner<'a> = (&'a Key, Capacity);

/// Admission refuses with `expected`, changes nothing, and the protocol's door gives `code`.
fn assert_refused(
    federation: &mut Federation,
    origin: &str,
    leaf: &RegistryLeaf,
    expected: Inadmissible,
    code: Code,
) {
    let (heads, index) = (federation.replica.heads(), federation.size(origin));
    assert_eq!(federation.replica.admit(origin, index, leaf), Err(expected));
    let error = federation.replica.import(origin, index, leaf, None).unwrap_err();
    assert_eq!(error.code(), code);
    assert_eq!(federation.replica.heads(), heads);
}

/// The next entry of the bar, changed by `change` and signed by its root, is refused.
fn refused(
    about: u8,
    content: impl Into<Content>,
    certificate: &[u8],
    change: impl FnOnce(&mut Entry),
    expected: Inadmissible,
    code: Code,
) {
    let mut federation = Federation::founded();
    let mut entry = federation.next(BAR, Some(about), content);
    change(&mut entry);
    let leaf = leaf(&entry, &root(BAR), &[], certificate);
    assert_refused(&mut federation, BAR, &leaf, expected, code);
}

fn lawyer() -> (Key, basoche_registry::entry::Enrolment) {
    let key = Key::new(50);
    let enrolment = enrolment(&key, Role::Lawyer, 22);
    (key, enrolment)
}

/// The enrolment of a lawyer, changed by `change`, is refused.
fn lawyer_refused(change: impl FnOnce(&mut Entry), expected: Inadmissible, code: Code) {
    let (key, enrolment) = lawyer();
    refused(50, enrolment, key.der(), change, expected, code);
}

const BAD_VALUE: Inadmissible = Inadmissible::Malformed(Malformed::bad_value());

#[test]
fn each_authority_enrols_its_own_roles_and_no_others() {
    for origin in [COURT, BAR, COMPANY] {
        for (number, role) in Role::ALL.iter().enumerate() {
            let mut federation = Federation::founded();
            let key = Key::new(50 + number as u8);
            let added = federation.add(origin, Some(50), enrolment(&key, *role, 22), key.der());
            let own = match role {
                Role::Judge | Role::Clerk => origin == COURT,
                Role::Lawyer | Role::Party => origin == BAR,
                Role::Expert => origin == COMPANY,
                Role::Node => false,
            };
            let expected = Inadmissible::RoleOutsideProfession {
                subject: subject(50),
                role: *role,
            };
            assert_eq!(
                added,
                if own { Ok(true) } else { Err(expected) },
                "{origin} {role}"
            );
        }
    }
}

#[test]
fn a_role_outside_the_profession_is_refused_among_others_too() {
    let (key, mut enrolment) = lawyer();
    enrolment.roles = vec![Role::Expert, Role::Lawyer];
    let expected = Inadmissible::RoleOutsideProfession {
        subject: subject(50),
        role: Role::Expert,
    };
    refused(50, enrolment, key.der(), |_| (), expected, Code::RoleNotHeld);
}

#[test]
fn a_person_may_be_served_by_a_node_that_is_not_known_yet() {
    let (key, mut enrolment) = lawyer();
    enrolment.node = subject(99);
    let mut federation = Federation::founded();
    assert_eq!(federation.add(BAR, Some(50), enrolment, key.der()), Ok(true));
}

#[test]
fn a_certificate_of_some_issuer_may_be_enrolled() {
    let key = Key::issued_by(50, 60);
    assert!(key.certificate.self_signed_key().is_none());
    let mut federation = Federation::founded();
    let enrolment = enrolment(&key, Role::Lawyer, 22);
    assert_eq!(federation.add(BAR, Some(50), enrolment, key.der()), Ok(true));
}

#[test]
fn bytes_that_are_no_leaf_are_malformed() {
    let mut federation = Federation::founded();
    let bytes = |leaf: &[u8]| RegistryLeaf {
        leaf: ByteBuf::from(leaf),
        certificate: ByteBuf::new(),
    };
    for (leaf, kind, code) in [
        (vec![], MalformedKind::Truncated, Code::Truncated),
        (vec![0; 17_000], MalformedKind::TooLarge, Code::TooLarge),
        (
            vec![0x82, 0x40, 0x80, 0x00],
            MalformedKind::TrailingBytes,
            Code::TrailingBytes,
        ),
    ] {
        let found = federation.admit(BAR, &bytes(&leaf)).unwrap_err();
        assert!(matches!(&found, Inadmissible::Malformed(malformed) if malformed.kind == kind));
        assert_refused(&mut federation, BAR, &bytes(&leaf), found, code);
    }
}

#[test]
fn another_version_is_incompatible_and_an_unknown_kind_malformed() {
    let mut federation = Federation::founded();
    let entry = federation.next(BAR, Some(21), kit::organisation(BAR));
    // The payload opens with a map of ten pairs: 0 → v, 1 → origin, 2 → index, 3 → kind.
    let payload = entry.encode();
    let kind_at = 1 + 2 + 1 + 1 + BAR.len() + 2 + 1;
    assert_eq!((payload[2], payload[kind_at]), (1, 1));
    for (at, value, expected, code) in [
        (
            2,
            2,
            Inadmissible::Incompatible(Incompatible::Version(2)),
            Code::Version,
        ),
        (
            kind_at,
            23, // the largest of one byte, and no kind yet
            Inadmissible::Malformed(Malformed {
                offset: 0,
                kind: MalformedKind::UnknownType,
            }),
            Code::UnknownType,
        ),
    ] {
        let mut forged = payload.clone();
        forged[at] = value;
        let unsigned =
            basoche_protocol::envelope::Unsigned::new(Typ::Registry, &root(BAR), entry.issued_at, forged);
        let envelope = unsigned.sign(&root(BAR)).unwrap();
        let leaf = RegistryLeaf {
            leaf: ByteBuf::from(Leaf::new(envelope, vec![]).unwrap().encode()),
            certificate: ByteBuf::new(),
        };
        assert_refused(&mut federation, BAR, &leaf, expected, code);
    }
}

#[test]
fn only_the_root_signs_and_only_as_a_registry_entry() {
    let mut federation = Federation::founded();
    let entry = federation.next(BAR, Some(21), kit::organisation(BAR));
    let other = leaf(&entry, &root(COURT), &[], &[]);
    let certificate = root(COURT).certificate.id();
    let expected = Inadmissible::UnknownAuthor { certificate };
    assert_refused(&mut federation, BAR, &other, expected, Code::UnknownSigner);

    // Under the root's name, by another key.
    let pretender = Key::with_certificate(9, root(BAR).der());
    let forged = leaf(&entry, &pretender, &[], &[]);
    let certificate = root(BAR).certificate.id();
    let expected = Inadmissible::Signature(Untrusted::BadSignature { certificate });
    assert_refused(&mut federation, BAR, &forged, expected, Code::BadSignature);

    let envelope = kit::sign(&entry, Typ::Message, &root(BAR));
    let message = RegistryLeaf {
        leaf: ByteBuf::from(Leaf::new(envelope, vec![]).unwrap().encode()),
        certificate: ByteBuf::new(),
    };
    let expected = Inadmissible::Signature(Untrusted::WrongTyp);
    assert_refused(&mut federation, BAR, &message, expected, Code::WrongTyp);
}

#[test]
fn an_authority_without_an_anchor_is_unknown() {
    let mut federation = Federation::founded();
    let entry = federation.next(BAR, Some(21), kit::organisation(BAR));
    let leaf = leaf(&entry, &root(BAR), &[], &[]);
    let expected = Inadmissible::UnknownAuthority {
        origin: "else.example".to_owned(),
    };
    assert_refused(
        &mut federation,
        "else.example",
        &leaf,
        expected,
        Code::HeadMismatch,
    );
}

#[test]
fn leaves_come_in_order_and_again_without_effect() {
    let mut federation = Federation::founded();
    let entry = federation.next(BAR, Some(21), kit::organisation(BAR));
    let (signed, size) = (leaf(&entry, &root(BAR), &[], &[]), federation.size(BAR));
    let gap = Inadmissible::WrongIndex {
        expected: size,
        found: size + 1,
    };
    assert_eq!(federation.replica.admit(BAR, size + 1, &signed), Err(gap));
    assert!(federation.replica.admit(BAR, u64::MAX, &signed).is_err());
    assert_eq!(federation.replica.admit(BAR, size, &signed), Ok(true));
    let heads = federation.replica.heads();
    assert_eq!(federation.replica.admit(BAR, size, &signed), Ok(false));
    assert_eq!(
        federation.replica.import(BAR, size, &signed, None),
        Ok(Imported::Known)
    );

    let mut other = entry;
    other.salt = basoche_protocol::id::Salt::new([0xff; 16]);
    let rewritten = leaf(&other, &root(BAR), &[], &[]);
    let expected = Inadmissible::Rewritten { index: size };
    assert_eq!(federation.replica.admit(BAR, size, &rewritten), Err(expected));
    assert_eq!(federation.replica.heads(), heads);
}

#[test]
fn an_entry_is_worth_nothing_in_another_place() {
    let elsewhere = |origin: &str, index| Inadmissible::Elsewhere {
        origin: origin.to_owned(),
        index,
    };
    lawyer_refused(|entry| entry.index = 4, elsewhere(BAR, 4), Code::HeadMismatch);
    lawyer_refused(
        |entry| entry.origin = COURT.to_owned(),
        elsewhere(COURT, 3),
        Code::HeadMismatch,
    );
}

#[test]
fn the_genesis_comes_first_and_once_and_is_as_anchored() {
    let again = Inadmissible::Genesis {
        kind: Kind::Genesis,
        index: 3,
    };
    let no_subject = |entry: &mut Entry| entry.subject = None;
    refused(50, kit::genesis(BAR), &[], no_subject, again, Code::HeadMismatch);

    let mut federation = Federation::empty();
    let early = federation.next(BAR, Some(21), kit::organisation(BAR));
    let early = leaf(&early, &root(BAR), &[], &[]);
    let expected = Inadmissible::Genesis {
        kind: Kind::Organisation,
        index: 0,
    };
    assert_refused(&mut federation, BAR, &early, expected, Code::HeadMismatch);

    let mut real = kit::genesis(BAR);
    real.test = false;
    for genesis in [kit::genesis(COURT), real] {
        let entry = federation.next(BAR, None, genesis);
        let leaf = leaf(&entry, &root(BAR), &[], &[]);
        assert_refused(
            &mut federation,
            BAR,
            &leaf,
            Inadmissible::NotAsAnchored,
            Code::HeadMismatch,
        );
    }
    let entry = federation.next(BAR, Some(21), kit::genesis(BAR));
    let leaf = leaf(&entry, &root(BAR), &[], &[]);
    assert_refused(&mut federation, BAR, &leaf, Inadmissible::Subject, Code::BadValue);
}

#[test]
fn dates_of_issue_never_decrease_and_no_entry_changes_the_past() {
    let before = day(0) - Span::from_ms(1);
    let expected = Inadmissible::IssuedEarlier {
        issued_at: before,
        previous: day(0),
    };
    let change = |entry: &mut Entry| (entry.issued_at, entry.effective_at) = (before, before);
    lawyer_refused(change, expected, Code::HeadMismatch);

    let expected = Inadmissible::Retroactive {
        effective_at: before,
        issued_at: day(0),
    };
    lawyer_refused(|entry| entry.effective_at = before, expected, Code::BadValue);
}

#[test]
fn the_header_and_the_entry_agree_on_the_second_of_issue() {
    let mut federation = Federation::founded();
    let (key, enrolment) = lawyer();
    let entry = federation.next(BAR, Some(50), enrolment);
    let signed_at = day(0) + Span::from_seconds(1);
    let unsigned =
        basoche_protocol::envelope::Unsigned::new(Typ::Registry, &root(BAR), signed_at, entry.encode());
    let leaf = RegistryLeaf {
        leaf: ByteBuf::from(
            Leaf::new(unsigned.sign(&root(BAR)).unwrap(), vec![])
                .unwrap()
                .encode(),
        ),
        certificate: ByteBuf::from(key.der()),
    };
    let expected = Inadmissible::SignedAtOther {
        issued_at: day(0),
        signed_at,
    };
    assert_refused(&mut federation, BAR, &leaf, expected, Code::BadValue);
}

#[test]
fn the_root_signs_within_the_dates_of_its_certificate() {
    let at = Instant::from_seconds(2_051_222_401); // one second into 2035
    let expected = Inadmissible::NotInForce {
        certificate: root(BAR).certificate.id(),
        at,
    };
    let change = |entry: &mut Entry| (entry.issued_at, entry.effective_at) = (at, at);
    lawyer_refused(change, expected, Code::SignerInvalid);
}

#[test]
fn an_entry_goes_on_from_the_last_of_its_subject() {
    lawyer_refused(
        |entry| entry.subject = None,
        Inadmissible::Subject,
        Code::BadValue,
    );
    let first = Inadmissible::Prev {
        expected: None,
        found: Some(2),
    };
    lawyer_refused(|entry| entry.prev = Some(2), first, Code::HeadMismatch);
    for found in [None, Some(0)] {
        let expected = Inadmissible::Prev {
            expected: Some(1),
            found,
        };
        let change = |entry: &mut Entry| entry.prev = found;
        refused(
            21,
            kit::organisation(BAR),
            &[],
            change,
            expected,
            Code::HeadMismatch,
        );
    }
}

#[test]
fn a_subject_stays_in_its_log_and_what_it_is() {
    let expected = Inadmissible::ForeignSubject { subject: subject(12) };
    lawyer_refused(
        |entry| entry.subject = Some(subject(12)),
        expected,
        Code::HeadMismatch,
    );
    let expected = Inadmissible::SubjectKind {
        subject: subject(22),
        kind: Kind::Enrolment,
    };
    let change = |entry: &mut Entry| (entry.subject, entry.prev) = (Some(subject(22)), Some(2));
    lawyer_refused(change, expected, Code::HeadMismatch);
}

#[test]
fn an_organisation_is_of_its_authoritys_profession() {
    let expected = Inadmissible::Profession {
        profession: OrganisationKind::Bar,
        kind: OrganisationKind::Court,
    };
    refused(
        50,
        kit::organisation(COURT),
        &[],
        |_| (),
        expected,
        Code::HeadMismatch,
    );
}

#[test]
fn a_nodes_organisation_is_enrolled_before_in_the_same_log() {
    let seal = Key::new(50);
    for organisation in [99, 11, 22] {
        let expected = Inadmissible::UnknownOrganisation {
            organisation: subject(organisation),
        };
        let node = kit::node(organisation, &seal, 51);
        refused(50, node, seal.der(), |_| (), expected, Code::HeadMismatch);
    }
}

#[test]
fn what_this_log_knows_as_something_else_is_no_home_node() {
    for node in [21, 50] {
        let key = Key::new(50);
        let expected = Inadmissible::NotANode { node: subject(node) };
        let enrolment = enrolment(&key, Role::Lawyer, node);
        refused(50, enrolment, key.der(), |_| (), expected, Code::HeadMismatch);
    }
}

#[test]
fn a_certificate_lies_beside_what_enrols_one_and_nothing_else() {
    let (key, enrolment) = lawyer();
    let missing = Inadmissible::CertificateBeside;
    refused(50, enrolment, &[], |_| (), missing.clone(), Code::BadValue);
    refused(
        21,
        kit::organisation(BAR),
        key.der(),
        |_| (),
        missing,
        Code::BadValue,
    );
}

#[test]
fn the_certificate_is_the_one_that_the_entry_describes() {
    let (key, enrolment) = lawyer();
    let other = Key::new(51);
    let expected = Inadmissible::OtherCertificate {
        named: key.certificate.id(),
        found: other.certificate.id(),
    };
    refused(
        50,
        enrolment.clone(),
        other.der(),
        |_| (),
        expected,
        Code::BadValue,
    );

    let certificate = key.certificate.id();
    let mut wrong_spki = enrolment.clone();
    wrong_spki.key.spki_sha256 = Digest::new([7; 32]);
    let mut wrong_algorithm = enrolment.clone();
    wrong_algorithm.key.algorithm = Algorithm::Ps256;
    for enrolment in [wrong_spki, wrong_algorithm] {
        let expected = Inadmissible::OtherKey { certificate };
        refused(50, enrolment, key.der(), |_| (), expected, Code::BadValue);
    }

    let not_der = Inadmissible::Certificate(CertificateError::NotDer);
    refused(
        50,
        enrolment.clone(),
        &key.der()[1..],
        |_| (),
        not_der.clone(),
        Code::BadValue,
    );
    let trailing = [key.der(), &[0]].concat();
    refused(50, enrolment.clone(), &trailing, |_| (), not_der, Code::BadValue);
    let large = Inadmissible::Certificate(CertificateError::TooLarge);
    refused(50, enrolment, &[0x30; 8193], |_| (), large, Code::BadValue);
}

#[test]
fn a_certificates_dates_are_a_period() {
    let (key, mut enrolment) = lawyer();
    // The same certificate with its two dates exchanged: its own signature is not looked at.
    let mut der = key.der().to_vec();
    let at = der
        .windows(15)
        .position(|bytes| bytes == b"\x17\x0d250101000000Z")
        .unwrap();
    der[at..at + 30].rotate_left(15);
    enrolment.key.certificate = CertificateId::new(*Digest::of(&[&der]).as_bytes());
    let expected = Inadmissible::Certificate(CertificateError::Dates);
    refused(50, enrolment, &der, |_| (), expected, Code::BadValue);
}

#[test]
fn one_key_belongs_to_one_subject_in_all_logs() {
    // Seal, encryption and TLS of the court's node, and a root: the bar's log may enrol none of them.
    for (seed, holder) in [
        (12, Holder::Subject(subject(12))),
        (111, Holder::Subject(subject(12))),
        (112, Holder::Subject(subject(12))),
        (22, Holder::Subject(subject(22))),
        (3, Holder::Root),
    ] {
        let key = Key::issued_by(seed, 60);
        let expected = Inadmissible::KeyTaken { holder };
        let enrolment = enrolment(&key, Role::Lawyer, 22);
        refused(50, enrolment, key.der(), |_| (), expected, Code::HeadMismatch);
    }
    let seal = Key::new(50);
    let expected = Inadmissible::KeyTaken {
        holder: Holder::Subject(subject(12)),
    };
    let node = kit::node(21, &seal, 111);
    refused(50, node, seal.der(), |_| (), expected, Code::HeadMismatch);
    // Nor may a person read with another's key: REG-20.
    let expected = Inadmissible::KeyTaken {
        holder: Holder::Subject(subject(12)),
    };
    let mut reader = enrolment(&seal, Role::Lawyer, 22);
    reader.encryption_spki = Some(Key::new(111).certificate.spki().to_vec().into());
    refused(50, reader, seal.der(), |_| (), expected, Code::HeadMismatch);
}

#[test]
fn a_revocation_names_a_certificate_of_its_subject_in_its_log() {
    let unknown = Key::new(70);
    for (key, about) in [(&unknown, 22), (&Key::new(12), 22), (&Key::new(22), 21)] {
        let expected = Inadmissible::NotEnrolled {
            certificate: key.certificate.id(),
        };
        let content = revocation(key, None);
        refused(about, content, &[], |_| (), expected, Code::UnknownSigner);
    }
    // The right subject and certificate, but another authority's: the subject is foreign.
    let expected = Inadmissible::ForeignSubject { subject: subject(12) };
    let content = revocation(&Key::new(12), None);
    refused(12, content, &[], |_| (), expected, Code::HeadMismatch);
}

#[test]
fn a_revocation_contests_only_what_came_before_it() {
    let expected = Inadmissible::InvalidSince { since: day(0) };
    let content = revocation(&Key::new(22), Some(day(0)));
    refused(22, content, &[], |_| (), expected, Code::BadValue);
}

#[test]
fn a_revoked_certificate_is_never_enrolled_again() {
    let mut federation = Federation::founded();
    let seal = Key::new(22);
    federation
        .add(BAR, Some(22), revocation(&seal, None), &[])
        .unwrap();
    let entry = federation.next(BAR, Some(22), kit::node(21, &seal, 121));
    let again = leaf(&entry, &root(BAR), &[], seal.der());
    let expected = Inadmissible::Revoked {
        certificate: seal.certificate.id(),
        at: day(0),
    };
    assert_refused(&mut federation, BAR, &again, expected, Code::SignerInvalid);
}

#[test]
fn fields_are_held_to_their_ranges() {
    let (key, enrolment) = lawyer();
    let with = |change: &dyn Fn(&mut basoche_registry::entry::Enrolment)| {
        let mut changed = enrolment.clone();
        change(&mut changed);
        changed
    };
    for changed in [
        with(&|enrolment| enrolment.roles = vec![]),
        with(&|enrolment| enrolment.roles = vec![Role::Party, Role::Lawyer]),
        with(&|enrolment| enrolment.roles = vec![Role::Lawyer, Role::Lawyer]),
        with(&|enrolment| enrolment.assurance = Assurance::Seal),
    ] {
        refused(50, changed, key.der(), |_| (), BAD_VALUE, Code::BadValue);
    }
    for name in ["", "two\nlines", &"x".repeat(257)] {
        let mut named = kit::organisation(BAR);
        named.name = name.to_owned();
        refused(21, named, &[], |_| (), BAD_VALUE, Code::BadValue);
        let mut identified = kit::organisation(BAR);
        identified.identifier = name.to_owned();
        refused(21, identified, &[], |_| (), BAD_VALUE, Code::BadValue);
    }
    let node = kit::node(21, &key, 51);
    let with = |change: &dyn Fn(&mut Node)| {
        let mut changed = node.clone();
        change(&mut changed);
        changed
    };
    for changed in [
        with(&|node| node.seal.algorithm = Algorithm::Es384),
        with(&|node| node.encryption_spki = vec![]),
        with(&|node| node.encryption_spki[90] ^= 1), // not on the curve
        with(&|node| node.encryption_spki.push(0)),
        with(&|node| node.encryption_spki = key.certificate.spki().to_vec()),
        with(&|node| node.tls_spki_sha256 = node.seal.spki_sha256),
        with(&|node| node.tls_spki_sha256 = Digest::of(&[&node.encryption_spki])),
        with(&|node| node.addresses = vec!["nowhere".to_owned()]),
        with(&|node| node.addresses = vec!["a:1".to_owned(); 9]),
        with(&|node| {
            node.gossip = Some(Gossip {
                key: [1; 32],
                port: 0,
            })
        }),
    ] {
        refused(50, changed, key.der(), |_| (), BAD_VALUE, Code::BadValue);
    }
    let reading = |spki: Vec<u8>| {
        let mut reader = kit::enrolment(&key, Role::Lawyer, 22);
        reader.encryption_spki = Some(spki.into());
        reader
    };
    let good = Key::new(51).certificate.spki().to_vec();
    let off_curve = [&good[..90], &[good[90] ^ 1]].concat();
    for spki in [
        vec![],
        off_curve,
        [&good[..], &[0]].concat(),
        key.certificate.spki().to_vec(),
    ] {
        refused(50, reading(spki), key.der(), |_| (), BAD_VALUE, Code::BadValue);
    }
}

#[test]
fn cosignatures_that_hold_are_admitted() {
    let mut federation = Federation::founded();
    let (key, enrolment) = lawyer();
    let entry = federation.next(BAR, Some(50), enrolment);
    let officer = federation.officer(BAR, 60, 9);
    let entry = Entry {
        index: federation.size(BAR),
        ..entry
    };
    let cosigners = [(&key, Capacity::Possession), (&officer, Capacity::SecondOfficer)];
    let leaf = leaf(&entry, &root(BAR), &cosigners, key.der());
    assert_eq!(Leaf::decode(&leaf.leaf).unwrap().cosignatures().len(), 2);
    assert_eq!(federation.admit(BAR, &leaf), Ok(true));
}

#[test]
fn cosignatures_that_do_not_hold_are_refused() {
    let mut federation = Federation::founded();
    let (key, enrolment) = lawyer();
    let (officer, foreign) = (federation.officer(BAR, 60, 9), federation.officer(COURT, 61, 9));
    let (seal, stranger) = (Key::new(22), Key::new(70));
    let entry = federation.next(BAR, Some(50), enrolment);
    let pretender = Key::with_certificate(71, key.der());
    let possession = "possession is shown with the key that the entry states";
    let in_force = "the second officer is not another one, in office in this log";
    let twice = "the same key has signed already";
    let cases: [(&[Cosigner<'_>], usize, &'static str); 9] = [
        (&[(&seal, Capacity::SecondOfficer)], 0, in_force),
        (&[(&root(BAR), Capacity::Root)], 0, twice),
        (
            &[(&root(COURT), Capacity::Root)],
            0,
            "it is not by a root of the authority in force",
        ),
        (&[(&officer, Capacity::Possession)], 0, possession),
        (&[(&stranger, Capacity::SecondOfficer)], 0, in_force),
        (&[(&foreign, Capacity::SecondOfficer)], 0, in_force),
        (&[(&key, Capacity::SecondOfficer)], 0, in_force),
        (
            &[(&pretender, Capacity::Possession)],
            0,
            "the signature does not verify",
        ),
        (
            &[
                (&officer, Capacity::SecondOfficer),
                (&officer, Capacity::SecondOfficer),
            ],
            1,
            twice,
        ),
    ];
    for (cosigners, number, what) in cases {
        let leaf = leaf(&entry, &root(BAR), cosigners, key.der());
        let expected = Inadmissible::CoSignature { number, what };
        assert_refused(&mut federation, BAR, &leaf, expected, Code::BadValue);
    }
    let envelope = kit::sign(&entry, Typ::Registry, &root(BAR));
    let other = CoSignature::draft(&key, MessageId::new([0; 32]), Capacity::Possession, day(0));
    let leaf = RegistryLeaf {
        leaf: ByteBuf::from(
            Leaf::new(envelope.clone(), vec![other.sign(&key).unwrap()])
                .unwrap()
                .encode(),
        ),
        certificate: ByteBuf::from(key.der()),
    };
    let expected = Inadmissible::CoSignature {
        number: 0,
        what: "possession is shown for another log or another subject",
    };
    assert_refused(&mut federation, BAR, &leaf, expected, Code::BadValue);

    let one = CoSignature::draft(&key, envelope.id(), Capacity::Possession, day(0))
        .sign(&key)
        .unwrap();
    let nine = Leaf::new(envelope, vec![one; 9]).unwrap_err();
    assert_eq!(nine.kind, MalformedKind::TooLarge);
}

#[test]
fn an_error_of_another_family_never_hides_an_inadmissible_entry() {
    let refused = Error::from(Untrusted::WrongTyp);
    assert_eq!(
        Inadmissible::from(refused),
        Inadmissible::Signature(Untrusted::WrongTyp)
    );
}
