//! Who may make which entry. REG-3, REG-9, REG-12, REG-13.

mod succession;

use basoche_protocol::envelope::{Envelope, Typ};
use basoche_protocol::id::Digest;
use basoche_protocol::refusal::Code;
use basoche_protocol::role::{Assurance, OrganisationKind, Role};
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_registry::entry::{
    Attribute, CertificateAuthority, Endpoint, Gossip, IdentityProof, Kind, Lifting, Officer, Organisation,
    Reassociation, Renewal, Retirement, Suspension, Veto,
};
use basoche_registry::leaf::{Capacity, CoSignature, possession};
use basoche_registry::{
    AnchorError, Anchors, Authority, CertificateError, Content, Entry, Inadmissible, Leaf, Replica,
};
use serde_bytes::ByteBuf;

use crate::kit::{
    self, BAR, COURT, Federation, Key, authority, day, enrolment, genesis, leaf, revocation, root, sign,
    subject, tls,
};
use crate::status::letter;

const LAWYER: u8 = 50;
const NODE: u8 = 22;
const ORGANISATION: u8 = 21;

/// The federation of the kit, two officers (60, 61) that may withdraw three certificates an hour, an organisation key
/// (62) and a lawyer (50) of node 22, all of day 0.
struct Office {
    federation: Federation,
    officer: Key,
    second: Key,
    admin: Key,
    lawyer: Key,
}

impl Office {
    fn open() -> Self {
        let mut federation = Federation::founded();
        let [officer, second] = [60, 61].map(|n| federation.officer(BAR, n, 3));
        let (admin, lawyer) = (Key::new(62), Key::new(LAWYER));
        let organisation = Organisation {
            admin: Some(admin.record()),
            ..kit::organisation(BAR)
        };
        federation
            .add(BAR, Some(ORGANISATION), organisation, admin.der())
            .unwrap();
        federation
            .add(
                BAR,
                Some(LAWYER),
                enrolment(&lawyer, Role::Lawyer, NODE),
                lawyer.der(),
            )
            .unwrap();
        Self {
            federation,
            officer,
            second,
            admin,
            lawyer,
        }
    }

    /// The next entry, of day `issued` with effect on day `effective`.
    fn entry(&self, about: u8, (issued, effective): (u64, u64), content: impl Into<Content>) -> Entry {
        let mut entry = self.federation.next(BAR, Some(about), content);
        (entry.issued_at, entry.effective_at) = (day(issued), day(effective));
        entry
    }

    /// By two officers, with the possession of the new key.
    fn reassociate(&mut self, new: &Key, days: (u64, u64)) -> Result<bool, Inadmissible> {
        let entry = self.entry(LAWYER, days, reassociation(new));
        let beside = [
            (&self.second, Capacity::SecondOfficer),
            (new, Capacity::Possession),
        ];
        self.federation
            .enter_by(&entry, &self.officer, &beside, new.der())
    }

    /// What the key is worth on each of these days.
    fn worth(&self, key: &Key, days: &[u64]) -> String {
        worth(&self.federation.replica, key, days)
    }
}

fn worth(replica: &Replica, key: &Key, days: &[u64]) -> String {
    let days = days.iter();
    days.map(|at| letter(replica, &key.certificate.id(), day(*at)))
        .collect()
}

fn renewal(new: &Key, old: &Key, until: Instant) -> Renewal {
    Renewal {
        key: new.record(),
        replaces: old.certificate.id(),
        until,
        encryption_spki: None,
        issuer: None,
    }
}

fn reassociation(new: &Key) -> Reassociation {
    Reassociation {
        key: new.record(),
        assurance: Assurance::Hardware,
        identity: IdentityProof::InPerson,
        encryption_spki: None,
        issuer: None,
    }
}

fn endpoint(other_keys: u8, until: Instant) -> Endpoint {
    Endpoint {
        tls_spki_sha256: tls(other_keys),
        gossip: None,
        addresses: vec!["node.bar.example:4433".to_owned()],
        until,
    }
}

const SUSPENSION: Suspension = Suspension { decision: None };
const LIFTING: Lifting = Lifting { decision: None };

/// Each kind of entry, by each kind of author: `+` admitted, `-` not theirs to make. Columns: the root, an officer, two
/// officers, and an officer whom the lawyer asks, the lawyer's organisation, the node's seal. All show possession where a
/// key is new.
#[test]
fn the_golden_table_of_rights() {
    let party = Attribute {
        granted: true,
        roles: vec![Role::Party],
        competences: Vec::new(),
        until: None,
    };
    let new = Key::new(80);
    let ca = certificate_authority();
    let officer = Officer {
        key: new.record(),
        revocations_per_hour: 1,
        until: day(9),
    };
    let renewed = renewal(&new, &Key::new(LAWYER), day(5));
    let seal = Key::new(NODE);
    let lawyer = Key::new(LAWYER);
    let other = Organisation {
        admin: Some(new.record()),
        ..kit::organisation(BAR)
    };
    let rows: [(&str, u8, Content, &Key, &str); 20] = [
        ("organisation", 81, kit::organisation(BAR).into(), &seal, "+++"),
        ("node", 81, kit::node(ORGANISATION, &new, 82).into(), &new, "+++"),
        (
            "enrolment",
            81,
            enrolment(&new, Role::Party, NODE).into(),
            &new,
            "+++",
        ),
        (
            "node, other keys",
            NODE,
            kit::node(ORGANISATION, &new, 82).into(),
            &new,
            "+-+-++",
        ),
        (
            "node, its own keys",
            NODE,
            kit::node(ORGANISATION, &seal, 121).into(),
            &seal,
            "++++++",
        ),
        (
            "organisation, another key",
            ORGANISATION,
            other.into(),
            &new,
            "+-+-+-",
        ),
        (
            "enrolment, another key",
            LAWYER,
            enrolment(&new, Role::Lawyer, NODE).into(),
            &new,
            "+-----",
        ),
        (
            "enrolment, the same key",
            LAWYER,
            enrolment(&Key::new(LAWYER), Role::Party, NODE).into(),
            &lawyer,
            "++++++",
        ),
        ("officer", 81, officer.into(), &new, "+--"),
        ("suspension", LAWYER, SUSPENSION.into(), &seal, "++++++"),
        ("attribute", LAWYER, party.into(), &seal, "++++++"),
        ("lifting", 83, LIFTING.into(), &seal, "+++"),
        (
            "revocation",
            LAWYER,
            revocation(&Key::new(LAWYER), None).into(),
            &seal,
            "++++++",
        ),
        (
            "revocation of a node",
            NODE,
            revocation(&seal, None).into(),
            &seal,
            "+-+-++",
        ),
        (
            "revocation of an officer",
            61,
            revocation(&Key::new(61), None).into(),
            &seal,
            "+-+---",
        ),
        ("renewal", LAWYER, renewed.into(), &new, "---+--"),
        (
            "re-association",
            LAWYER,
            reassociation(&new).into(),
            &new,
            "+-+---",
        ),
        ("veto", 84, Veto { entry: 0 }.into(), &seal, "+--++-"),
        ("endpoint", NODE, endpoint(190, day(5)).into(), &seal, "-----+"),
        ("certificate authority", 81, ca.statement().into(), &ca.key, "+--"),
    ];
    for (name, about, content, new, expected) in rows {
        let kind = content.kind();
        let mut line = String::new();
        for column in 0..expected.len() {
            let mut office = Office::open();
            // Somebody suspended, and somebody who is being given another key.
            let mut about = about;
            let mut content = content.clone();
            if about == 83 {
                let entry = office.entry(LAWYER, (0, 0), SUSPENSION);
                office
                    .federation
                    .enter_by(&entry, &office.officer, &[], &[])
                    .unwrap();
                about = LAWYER;
            }
            if about == 84 {
                office.reassociate(&Key::new(99), (0, 3)).unwrap();
                let entry = office.federation.size(BAR) - 1;
                content = Veto { entry }.into();
                about = LAWYER;
            }
            let days = if kind == Kind::Reassociation {
                (0, 3)
            } else {
                (0, 0)
            };
            let entry = office.entry(about, days, content);
            let root = root(BAR);
            let author = if column == 0 { &root } else { &office.officer };
            let beside = match column {
                2 => vec![(&office.second, Capacity::SecondOfficer)],
                3 => vec![(&office.lawyer, Capacity::Holder)],
                4 => vec![(&office.admin, Capacity::Holder)],
                5 => vec![(&seal, Capacity::Holder)],
                _ => vec![],
            };
            let der = if entry.content.key().is_some() {
                new.der()
            } else {
                &[]
            };
            let leaf = leaf(&entry, author, &beside, der);
            line.push(match office.federation.admit(BAR, &leaf) {
                Ok(_) => '+',
                Err(Inadmissible::NotEntitled { .. }) => '-',
                Err(other) => panic!("{name}, column {column}: {other}"),
            });
        }
        assert_eq!(line, expected, "{name}");
    }
}

/// Nobody's key is enrolled without its holder's wish to have it there, in this log and for this subject: not by the roots
/// either. A key that is stated again needs none, nor does that of a certificate authority. REG-9, REG-12.
#[test]
fn whoever_states_a_new_key_shows_its_possession() {
    let new = Key::new(80);
    let officer = Officer {
        key: new.record(),
        revocations_per_hour: 1,
        until: day(9),
    };
    let admin = Organisation {
        admin: Some(new.record()),
        ..kit::organisation(BAR)
    };
    let stating: [(u8, Content); 5] = [
        (81, admin.into()),
        (81, kit::node(ORGANISATION, &new, 82).into()),
        (81, enrolment(&new, Role::Party, NODE).into()),
        (81, officer.into()),
        (LAWYER, reassociation(&new).into()),
    ];
    for (about, content) in stating {
        let mut office = Office::open();
        let kind = content.kind();
        let entry = office.entry(about, (0, 3), content);
        let shown = |origin: &str, whom: u8, by: &Key| {
            let wanted = possession(origin, &subject(whom), &new.certificate.id());
            let unsigned = CoSignature::draft(by, wanted, Capacity::Possession, day(0));
            unsigned.sign(by).unwrap()
        };
        let envelope = sign(&entry, Typ::Registry, &root(BAR));
        let mut admit = |beside: Vec<Envelope>| {
            let leaf = Leaf::new(envelope.clone(), beside).unwrap();
            let leaf = RegistryLeaf {
                leaf: ByteBuf::from(leaf.encode()),
                certificate: ByteBuf::from(new.der()),
            };
            office.federation.admit(BAR, &leaf)
        };
        let refused = admit(vec![]);
        assert!(
            matches!(
                refused,
                Err(Inadmissible::NotEntitled {
                    what: "the possession of the new key",
                    ..
                })
            ),
            "{kind}: {refused:?}"
        );
        // Somebody else's is replayed: from another log, and of another subject; or shown by somebody else.
        let other = Key::new(99);
        for beside in [
            shown(COURT, about, &new),
            shown(BAR, 90, &new),
            shown(BAR, about, &other),
        ] {
            let refused = admit(vec![beside]);
            assert!(
                matches!(refused, Err(Inadmissible::CoSignature { number: 0, .. })),
                "{kind}: {refused:?}"
            );
        }
        assert_eq!(admit(vec![shown(BAR, about, &new)]), Ok(true), "{kind}");
    }
    let mut office = Office::open();
    let lawyer = Key::new(LAWYER);
    let again = office.entry(LAWYER, (0, 0), enrolment(&lawyer, Role::Party, NODE));
    let bare = kit::bare_leaf(&again, &root(BAR), &[], lawyer.der());
    assert_eq!(office.federation.admit(BAR, &bare), Ok(true));
    let ca = certificate_authority();
    let believed = office.entry(81, (0, 0), ca.statement());
    let bare = kit::bare_leaf(&believed, &root(BAR), &[], ca.key.der());
    assert_eq!(office.federation.admit(BAR, &bare), Ok(true));
}

/// Whoever is no officer signs no entry, whatever it is about.
#[test]
fn only_roots_and_officers_make_entries() {
    let mut office = Office::open();
    for author in [
        &office.lawyer,
        &office.admin,
        &Key::new(NODE),
        &root(COURT),
        &Key::new(99),
    ] {
        let entry = office.entry(LAWYER, (0, 0), revocation(&office.lawyer, None));
        let refused = office.federation.replica.clone().admit(
            BAR,
            office.federation.size(BAR),
            &leaf(&entry, author, &[], &[]),
        );
        let certificate = author.certificate.id();
        assert_eq!(refused, Err(Inadmissible::UnknownAuthor { certificate }));
    }
    // Nor an officer of another authority.
    let foreign = office.federation.officer(COURT, 70, 3);
    let entry = office.entry(LAWYER, (0, 0), SUSPENSION);
    let refused = office.federation.enter_by(&entry, &foreign, &[], &[]);
    assert!(matches!(refused, Err(Inadmissible::UnknownAuthor { .. })));
}

/// Two keys of one officer are not two officers.
#[test]
fn an_officer_is_not_its_own_second() {
    let mut office = Office::open();
    let another = Key::new(64);
    let officer = Officer {
        key: another.record(),
        revocations_per_hour: 3,
        until: day(9),
    };
    let entry = office.entry(60, (0, 0), officer);
    office
        .federation
        .enter_by(&entry, &root(BAR), &[], another.der())
        .unwrap();
    let entry = office.entry(NODE, (0, 0), revocation(&Key::new(NODE), None));
    for (author, second) in [(&office.officer, &another), (&another, &office.officer)] {
        let leaf = leaf(&entry, author, &[(second, Capacity::SecondOfficer)], &[]);
        let refused = office
            .federation
            .replica
            .clone()
            .admit(BAR, office.federation.size(BAR), &leaf);
        assert!(matches!(
            refused,
            Err(Inadmissible::CoSignature { number: 0, .. })
        ));
    }
    let beside = [(&office.second, Capacity::SecondOfficer)];
    assert_eq!(
        office.federation.enter_by(&entry, &another, &beside, &[]),
        Ok(true)
    );
}

/// What somebody asked for is not used for anything else, nor twice.
#[test]
fn a_request_is_good_for_one_entry() {
    let mut office = Office::open();
    let seal = Key::new(NODE);
    let asked = office.entry(NODE, (0, 0), endpoint(160, day(5)));
    let signed = leaf(&asked, &office.officer, &[(&seal, Capacity::Holder)], &[]);
    let consent = Leaf::decode(&signed.leaf).unwrap().cosignatures()[0]
        .envelope()
        .clone();
    let with_consent = |office: &Office, entry: &Entry| RegistryLeaf {
        leaf: Leaf::new(sign(entry, Typ::Registry, &office.officer), vec![consent.clone()])
            .unwrap()
            .encode()
            .into(),
        certificate: ByteBuf::new(),
    };
    let other = office.entry(NODE, (0, 0), endpoint(170, day(5)));
    let about_another = Err(Inadmissible::CoSignature {
        number: 0,
        what: "it is about another entry",
    });
    let leaf = with_consent(&office, &other);
    assert_eq!(office.federation.admit(BAR, &leaf), about_another);
    let leaf = with_consent(&office, &asked);
    assert_eq!(office.federation.admit(BAR, &leaf), Ok(true));
    let again = office.entry(NODE, (0, 0), endpoint(160, day(5)));
    let leaf = with_consent(&office, &again);
    assert_eq!(office.federation.admit(BAR, &leaf), about_another);
}

#[test]
fn some_of_several_roots_sign_together() {
    let roots = [Key::new(2), Key::new(4), Key::new(5)];
    let ders = roots.each_ref().map(Key::der);
    let of = |threshold| Authority::of_roots(BAR, OrganisationKind::Bar, &ders, threshold, true);
    let anchors = Anchors::new(vec![of(2).unwrap(), authority(COURT)]).unwrap();
    // The file says so, and one root is written as ever.
    let read = Anchors::parse(anchors.to_json().as_bytes()).unwrap();
    assert_eq!(read.authority(BAR).unwrap().threshold(), 2);
    assert_eq!(read.authority(BAR).unwrap().roots().len(), 3);
    assert!(!kit::anchors().to_json().contains("threshold"));
    let wrong = AnchorError::Roots {
        origin: BAR.to_owned(),
    };
    assert_eq!(of(0).err(), Some(wrong.clone()));
    assert_eq!(of(4).err(), Some(wrong.clone()));
    let twice = Authority::of_roots(BAR, OrganisationKind::Bar, &[ders[0], ders[0]], 1, true);
    assert_eq!(twice.err(), Some(wrong.clone()));
    let none = Authority::of_roots(BAR, OrganisationKind::Bar, &[], 1, true);
    assert_eq!(none.err(), Some(wrong));
    let bad = Authority::of_roots(BAR, OrganisationKind::Bar, &[ders[0], &[0]], 1, true);
    assert!(matches!(
        bad,
        Err(AnchorError::Certificate {
            error: CertificateError::NotDer,
            ..
        })
    ));

    let mut federation = Federation::under(anchors.clone());
    let mut first = genesis(BAR);
    let unstated = federation.next(BAR, None, first.clone());
    first = anchors.authority(BAR).unwrap().genesis();
    let entry = federation.next(BAR, None, first);
    let further = |key| (key, Capacity::Root);
    let enter =
        |federation: &mut Federation, entry, beside: &[_]| federation.enter_by(entry, &roots[0], beside, &[]);
    assert_eq!(
        enter(&mut federation, &unstated, &[further(&roots[1])]),
        Err(Inadmissible::NotAsAnchored)
    );
    let alone = enter(&mut federation, &entry, &[]).unwrap_err();
    let too_few = Inadmissible::TooFewRoots {
        certificate: roots[0].certificate.id(),
        at: day(0),
        signed: 1,
        needed: 2,
    };
    assert_eq!(alone, too_few);
    assert_eq!(
        basoche_protocol::error::Error::from(alone).code(),
        Code::SignerInvalid
    );
    assert_eq!(enter(&mut federation, &entry, &[further(&roots[2])]), Ok(true));
    let organisation = federation.next(BAR, Some(ORGANISATION), kit::organisation(BAR));
    assert_eq!(enter(&mut federation, &organisation, &[]), Err(too_few));
    assert_eq!(
        enter(
            &mut federation,
            &organisation,
            &[further(&roots[1]), further(&roots[2])]
        ),
        Ok(true)
    );
}

#[test]
fn an_officer_serves_until_its_office_ends() {
    let mut office = Office::open();
    let new = Key::new(80);
    let enrol = |office: &mut Office, on| {
        let entry = office.entry(80, (on, on), enrolment(&new, Role::Party, NODE));
        leaf(&entry, &office.officer, &[], new.der())
    };
    let refused = |on| {
        Err(Inadmissible::NotInForce {
            certificate: Key::new(60).certificate.id(),
            at: day(on),
        })
    };
    let late = enrol(&mut office, 1001);
    assert_eq!(office.federation.admit(BAR, &late), refused(1001));
    // Suspended, and again in office.
    let root = root(BAR);
    let suspend = office.entry(60, (1, 2), SUSPENSION);
    office.federation.enter_by(&suspend, &root, &[], &[]).unwrap();
    let lift = office.entry(60, (1, 4), LIFTING);
    office.federation.enter_by(&lift, &root, &[], &[]).unwrap();
    assert_eq!(
        office.worth(&office.officer, &[0, 1, 2, 3, 4, 1000, 1001]),
        "VVIIVVI"
    );
    let suspended = enrol(&mut office, 3);
    assert_eq!(office.federation.admit(BAR, &suspended), refused(3));
    let again = enrol(&mut office, 4);
    assert_eq!(office.federation.admit(BAR, &again), Ok(true));
    // Withdrawn by the roots.
    let entry = office.entry(60, (5, 5), revocation(&Key::new(60), None));
    office.federation.enter_by(&entry, &root, &[], &[]).unwrap();
    assert_eq!(office.worth(&office.officer, &[4, 5]), "VI");
    // The other by itself.
    let entry = office.entry(61, (5, 5), revocation(&office.second, None));
    let itself = [(&office.second, Capacity::Holder)];
    assert_eq!(
        office.federation.enter_by(&entry, &office.second, &itself, &[]),
        Ok(true)
    );
    // What it enrolled stays.
    assert_eq!(office.worth(&new, &[4, 5, 500]), "VVV");
    // An officer's key is in no role: it signs nothing but entries.
    assert!(matches!(
        basoche_protocol::directory::Directory::status(&office.federation.replica, &office.second.certificate.id(), day(1)),
        basoche_protocol::directory::Status::Valid(signer) if signer.roles.is_empty()
    ));
}

#[test]
fn one_officer_withdraws_no_more_certificates_in_an_hour_than_its_quota() {
    let mut office = Office::open();
    let keys: Vec<Key> = (200..220).map(Key::new).collect();
    for (n, key) in (200..).zip(&keys) {
        let entry = office.entry(n, (0, 0), enrolment(key, Role::Party, NODE));
        office
            .federation
            .enter_by(&entry, &office.officer, &[], key.der())
            .unwrap();
    }
    // Somebody with the officer's key tries them all, five minutes apart.
    let minutes = |n| day(1) + Span::from_seconds(n * 60);
    let revoke = |office: &mut Office, n: usize, at, second: bool| {
        let mut entry = office.entry(200 + n as u8, (1, 1), revocation(&keys[n], None));
        (entry.issued_at, entry.effective_at) = (at, at);
        let beside = [(&office.second, Capacity::SecondOfficer)];
        let beside = if second { &beside[..] } else { &[] };
        office
            .federation
            .enter_by(&entry, &office.officer, beside, &[])
            .is_ok()
    };
    let done: String = (0..15)
        .map(|n| {
            if revoke(&mut office, n, minutes(n as u64 * 5), false) {
                '+'
            } else {
                '-'
            }
        })
        .collect();
    // Three, and then one for each that is an hour old.
    assert_eq!(done, "+++---------+++");
    assert!(!revoke(&mut office, 16, minutes(71), false));
    assert!(
        revoke(&mut office, 16, minutes(71), true),
        "two officers have no quota"
    );
    assert!(!revoke(&mut office, 17, minutes(71), false));
}

struct Ca {
    key: Key,
}

fn certificate_authority() -> Ca {
    Ca { key: Key::ca(90) }
}

impl Ca {
    fn statement(&self) -> CertificateAuthority {
        CertificateAuthority {
            key: self.key.record(),
            until: day(400),
        }
    }
}
