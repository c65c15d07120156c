//! How keys follow each other, and how they end. REG-14 to REG-19.

use super::*;

#[test]
fn a_renewed_key_follows_the_old_one() {
    let mut office = Office::open();
    let new = Key::new(80);
    let renew =
        |office: &Office, days, until| office.entry(LAWYER, days, renewal(&new, &office.lawyer, until));
    let lawyer = Key::new(LAWYER);
    let beside = [(&lawyer, Capacity::Holder), (&new, Capacity::Possession)];
    // Ninety days of overlap and not a millisecond more; and it ends after it began.
    let too_long = day(92) + Span::from_ms(1);
    for until in [too_long, day(1)] {
        let entry = renew(&office, (1, 2), until);
        let refused = office
            .federation
            .enter_by(&entry, &office.officer, &beside, new.der());
        assert_eq!(refused, Err(Inadmissible::Until { until }));
    }
    let entry = renew(&office, (1, 2), day(92));
    let bare = kit::bare_leaf(&entry, &office.officer, &beside[..1], new.der());
    let no_possession = office.federation.admit(BAR, &bare);
    assert!(matches!(no_possession, Err(Inadmissible::NotEntitled { .. })));
    let entry = renew(&office, (1, 2), day(10));
    assert_eq!(
        office
            .federation
            .enter_by(&entry, &office.officer, &beside, new.der()),
        Ok(true)
    );
    let days = [0, 1, 2, 9, 10, 11];
    assert_eq!(office.worth(&office.lawyer, &days), "VVVVII");
    assert_eq!(office.worth(&new, &days), "IIVVVV");
    // The person is who it was.
    let person = office.federation.replica.person(&subject(LAWYER)).unwrap();
    assert_eq!((person.roles, person.node), (vec![Role::Lawyer], subject(NODE)));
    assert_eq!(person.certificate, new.certificate.id());
    // An old key that has ended renews nothing.
    let third = Key::new(81);
    let entry = office.entry(LAWYER, (12, 12), renewal(&third, &office.lawyer, day(13)));
    let by = |holder| [(holder, Capacity::Holder), (&third, Capacity::Possession)];
    let refused = office
        .federation
        .enter_by(&entry, &office.officer, &by(&lawyer), third.der());
    let ended = Inadmissible::CoSignature {
        number: 0,
        what: "who asks has no key in force in this log",
    };
    assert_eq!(refused, Err(ended));
    // Nor does anybody renew another's.
    let entry = office.entry(LAWYER, (12, 12), renewal(&third, &office.admin, day(13)));
    let refused = office
        .federation
        .enter_by(&entry, &office.officer, &by(&new), third.der());
    assert!(matches!(refused, Err(Inadmissible::NotEnrolled { .. })));
}

#[test]
fn a_key_given_anew_waits_three_days_and_ends_the_old_ones() {
    let mut office = Office::open();
    let new = Key::new(80);
    let entry = office.entry(LAWYER, (1, 3), reassociation(&new));
    let soon = Inadmissible::TooSoon {
        effective_at: day(3),
        issued_at: day(1),
    };
    let beside = [
        (&office.second, Capacity::SecondOfficer),
        (&new, Capacity::Possession),
    ];
    assert_eq!(
        office
            .federation
            .enter_by(&entry, &office.officer, &beside, new.der()),
        Err(soon)
    );
    assert_eq!(office.reassociate(&new, (1, 4)), Ok(true));
    let days = [0, 1, 3, 4, 5];
    assert_eq!(office.worth(&office.lawyer, &days), "VVVII");
    assert_eq!(office.worth(&new, &days), "IIIVV");
    let person = office.federation.replica.person(&subject(LAWYER)).unwrap();
    assert_eq!(
        (person.roles, person.assurance),
        (vec![Role::Lawyer], Assurance::Hardware)
    );
    // Too late to object.
    let index = office.federation.size(BAR) - 1;
    let veto = office.entry(LAWYER, (4, 4), Veto { entry: index });
    let refused = office.federation.enter_by(&veto, &root(BAR), &[], &[]);
    assert_eq!(refused, Err(Inadmissible::NothingToVeto { index }));
}

#[test]
fn whoever_still_holds_the_key_stops_another_from_taking_over() {
    let mut office = Office::open();
    let thief = Key::new(80);
    office.reassociate(&thief, (1, 4)).unwrap();
    let index = office.federation.size(BAR) - 1;
    let veto = office.entry(LAWYER, (3, 3), Veto { entry: index });
    assert_eq!(
        office
            .federation
            .enter_by(&veto, &office.officer, &[(&office.lawyer, Capacity::Holder)], &[]),
        Ok(true)
    );
    let days = [0, 3, 4, 500];
    assert_eq!(office.worth(&office.lawyer, &days), "VVVV");
    assert_eq!(office.worth(&thief, &days), "IIII");
    let person = office.federation.replica.person(&subject(LAWYER)).unwrap();
    assert_eq!(person.certificate, office.lawyer.certificate.id());
    // It asks for nothing either, and what was vetoed is not vetoed again.
    let entry = office.entry(LAWYER, (5, 5), revocation(&office.lawyer, None));
    let asks = [(&thief, Capacity::Holder)];
    assert!(
        office
            .federation
            .enter_by(&entry, &office.officer, &asks, &[])
            .is_err()
    );
    for entry in [0, 4, index + 9] {
        let veto = office.entry(LAWYER, (5, 5), Veto { entry });
        let refused =
            office
                .federation
                .enter_by(&veto, &office.officer, &[(&office.lawyer, Capacity::Holder)], &[]);
        assert_eq!(refused, Err(Inadmissible::NothingToVeto { index: entry }));
    }
}

#[test]
fn who_is_suspended_signs_nothing_until_it_is_lifted() {
    let mut office = Office::open();
    let officer = Key::new(60);
    let mut add = |content: Content, days| {
        let entry = office.entry(LAWYER, days, content);
        office.federation.enter_by(&entry, &officer, &[], &[])
    };
    assert_eq!(add(LIFTING.into(), (1, 1)), Err(Inadmissible::NotSuspended));
    assert_eq!(add(SUSPENSION.into(), (1, 2)), Ok(true));
    assert_eq!(
        add(SUSPENSION.into(), (2, 2)),
        Err(Inadmissible::SuspendedAlready)
    );
    assert_eq!(add(LIFTING.into(), (3, 5)), Ok(true));
    assert_eq!(add(SUSPENSION.into(), (6, 7)), Ok(true));
    assert_eq!(office.worth(&office.lawyer, &[1, 2, 4, 5, 6, 7, 500]), "VIIVVII");
    // Organisations are not suspended, and nobody who is in no log.
    let entry = office.entry(ORGANISATION, (8, 8), SUSPENSION);
    let refused = office.federation.enter_by(&entry, &officer, &[], &[]);
    assert!(matches!(
        refused,
        Err(Inadmissible::SubjectKind {
            kind: Kind::Suspension,
            ..
        })
    ));
    let entry = office.entry(99, (8, 8), SUSPENSION);
    let refused = office.federation.enter_by(&entry, &officer, &[], &[]);
    assert!(matches!(
        refused,
        Err(Inadmissible::SubjectKind {
            kind: Kind::Suspension,
            ..
        })
    ));
}

#[test]
fn a_node_says_itself_where_it_is_reached() {
    let mut office = Office::open();
    let seal = Key::new(NODE);
    let node = subject(NODE);
    let mut add = |content: Content, days| {
        let entry = office.entry(NODE, days, content);
        let der = if entry.content.key().is_some() {
            seal.der()
        } else {
            &[]
        };
        let asks = [(&seal, Capacity::Holder)];
        office.federation.enter_by(&entry, &Key::new(60), &asks, der)
    };
    assert_eq!(add(endpoint(160, day(92)).into(), (1, 2)), Ok(true));
    let gossip = Gossip {
        key: [7; 32],
        port: 4434,
    };
    let mut gossips = endpoint(170, day(94));
    gossips.gossip = Some(gossip);
    assert_eq!(add(gossips.into(), (3, 4)), Ok(true));
    let until = day(200);
    assert_eq!(
        add(endpoint(170, until).into(), (5, 5)),
        Err(Inadmissible::Until { until })
    );
    // Another node's TLS key.
    let taken = add(endpoint(111, day(6)).into(), (5, 5));
    assert!(matches!(taken, Err(Inadmissible::KeyTaken { .. })));
    let replica = &office.federation.replica;
    let shows = |key: u8, at| replica.node_of_tls_key(tls(key).as_bytes(), day(at)) == Some(node);
    let shown = |at| [121, 160, 170].map(|key| shows(key, at));
    assert_eq!(shown(1), [true, false, false]);
    assert_eq!(shown(2), [false, true, false]);
    assert_eq!(shown(4), [false, false, true]);
    assert_eq!(
        shown(500),
        [false, false, true],
        "the key stays, the addresses are stale"
    );
    let info = replica.node_at(&node, day(4)).unwrap();
    assert_eq!(
        (info.addresses[0].as_str(), info.tls_spki_sha256),
        ("node.bar.example:4433", tls(170))
    );
    assert_eq!(
        replica.node_at(&node, day(1)).unwrap().addresses,
        ["127.0.0.1:4433"]
    );
    assert_eq!(replica.node(&node).unwrap().tls_spki_sha256, tls(170));
    assert_eq!(replica.node_at(&node, day(3)).unwrap().gossip, None);
    assert_eq!(replica.node_at(&node, day(4)).unwrap().gossip, Some(gossip));
    // Another node does not gossip with this one's key.
    let other = Key::new(190);
    let mut stated = kit::node(ORGANISATION, &other, 191);
    stated.gossip = Some(gossip);
    let entry = office.entry(99, (5, 5), stated.clone());
    let shown = [(&other, Capacity::Possession)];
    let taken = office
        .federation
        .enter_by(&entry, &root(BAR), &shown, other.der());
    assert!(matches!(taken, Err(Inadmissible::KeyTaken { .. })));
    stated.gossip = Some(Gossip {
        key: [8; 32],
        ..gossip
    });
    let entry = office.entry(99, (5, 5), stated);
    let taken = office
        .federation
        .enter_by(&entry, &root(BAR), &shown, other.der());
    assert_eq!(taken, Ok(true));
    // A later statement of the node takes the place of what it said.
    let restated = kit::node(ORGANISATION, &seal, 180);
    let entry = office.entry(NODE, (6, 7), restated);
    office
        .federation
        .enter_by(&entry, &root(BAR), &[], seal.der())
        .unwrap();
    let replica = &office.federation.replica;
    assert_eq!(replica.node_at(&node, day(6)).unwrap().tls_spki_sha256, tls(170));
    assert_eq!(replica.node_at(&node, day(7)).unwrap().tls_spki_sha256, tls(180));
}

#[test]
fn one_leaf_retires_a_whole_certificate_authority() {
    let mut office = Office::open();
    let ca = certificate_authority();
    let root = root(BAR);
    let entry = office.entry(90, (1, 2), ca.statement());
    office
        .federation
        .enter_by(&entry, &root, &[], ca.key.der())
        .unwrap();
    let enrol = |office: &mut Office, n: u8, on, key: &Key| {
        let enrolment = basoche_registry::entry::Enrolment {
            issuer: Some(ca.key.certificate.id()),
            ..enrolment(key, Role::Party, NODE)
        };
        let entry = office.entry(n, (on, on), enrolment);
        office
            .federation
            .enter_by(&entry, &office.officer, &[], key.der())
    };
    let keys: Vec<Key> = (200..210).map(|n| Key::of_ca(n, 90)).collect();
    let not_issued = |key: &Key| {
        Err(Inadmissible::NotIssued {
            certificate: key.certificate.id(),
            issuer: ca.key.certificate.id(),
        })
    };
    assert_eq!(
        enrol(&mut office, 200, 1, &keys[0]),
        not_issued(&keys[0]),
        "not yet believed"
    );
    for (n, key) in (200..).zip(&keys) {
        assert_eq!(enrol(&mut office, n, 3, key), Ok(true));
    }
    // Enrolled again without saying who issued it: it stays that authority's.
    let entry = office.entry(209, (3, 3), enrolment(&keys[9], Role::Party, NODE));
    let again = office
        .federation
        .enter_by(&entry, &office.officer, &[], keys[9].der());
    assert_eq!(again, Ok(true));
    // Issued by somebody else, by itself, and with a signature that is not the authority's.
    for other in [Key::of_ca(220, 91), Key::new(221), Key::issued_by(222, 90)] {
        assert_eq!(enrol(&mut office, 220, 3, &other), not_issued(&other));
    }
    // A certificate that may not issue is no certificate authority.
    let no_ca = CertificateAuthority {
        key: Key::new(93).record(),
        until: day(9),
    };
    let entry = office.entry(93, (3, 3), no_ca);
    let refused = office.federation.enter_by(&entry, &root, &[], Key::new(93).der());
    assert!(matches!(refused, Err(Inadmissible::NotIssued { .. })));

    let retirement = Retirement {
        certificate: ca.key.certificate.id(),
        invalid_since: Some(day(10)),
    };
    let size = office.federation.size(BAR);
    let entry = office.entry(90, (20, 21), retirement);
    office.federation.enter_by(&entry, &root, &[], &[]).unwrap();
    assert_eq!(office.federation.size(BAR), size + 1);
    let days = [2, 3, 9, 10, 20, 21, 500];
    for key in &keys {
        assert_eq!(office.worth(key, &days), "IVVCCII");
    }
    assert_eq!(
        office.worth(&office.lawyer, &days),
        "VVVVVVV",
        "whom the authority vouches for itself"
    );
    // Nobody is enrolled by it any more, and it is retired once.
    let late = Key::of_ca(223, 90);
    assert_eq!(enrol(&mut office, 223, 22, &late), not_issued(&late));
    let again = office.entry(90, (22, 22), retirement);
    let refused = office.federation.enter_by(&again, &root, &[], &[]);
    assert!(matches!(refused, Err(Inadmissible::Revoked { .. })));
    let other = Retirement {
        certificate: office.lawyer.certificate.id(),
        ..retirement
    };
    let entry = office.entry(90, (22, 22), other);
    assert!(matches!(
        office.federation.enter_by(&entry, &root, &[], &[]),
        Err(Inadmissible::NotEnrolled { .. })
    ));
}

#[test]
fn a_decision_may_stand_beside_a_suspension() {
    let mut office = Office::open();
    let suspension = Suspension {
        decision: Some(Digest::of(&[b"decision"])),
    };
    let entry = office.entry(LAWYER, (1, 1), suspension);
    assert_eq!(
        office.federation.enter_by(&entry, &office.officer, &[], &[]),
        Ok(true)
    );
    assert_eq!(
        office.federation.replica.entries(BAR).last().unwrap().content,
        suspension.into()
    );
}
