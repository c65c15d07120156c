//! Roles and competences that are granted and withdrawn, REG-25.

use basoche_protocol::directory::{Directory, Status};
use basoche_protocol::role::Role;
use basoche_protocol::time::Instant;
use basoche_registry::entry::{Attribute, Competence};
use basoche_registry::{Content, Inadmissible};

use super::kit::{BAR, COMPANY, COURT, Federation, Key, day, enrolment, subject};

fn roles(granted: bool, roles: &[Role], until: Option<Instant>) -> Attribute {
    Attribute {
        granted,
        roles: roles.to_vec(),
        competences: Vec::new(),
        until,
    }
}

fn competence(nomenclature: &str, code: &str) -> Competence {
    Competence {
        nomenclature: nomenclature.to_owned(),
        code: code.to_owned(),
    }
}

fn competences(granted: bool, competences: &[Competence]) -> Attribute {
    Attribute {
        granted,
        roles: Vec::new(),
        competences: competences.to_vec(),
        until: None,
    }
}

/// A clerk of the court: subject and key 50, from day 1 on.
struct Clerk {
    federation: Federation,
    key: Key,
}

impl Clerk {
    fn new() -> Self {
        let (mut federation, key) = (Federation::founded(), Key::new(50));
        let mut entry = federation.next(COURT, Some(50), enrolment(&key, Role::Clerk, 12));
        (entry.issued_at, entry.effective_at) = (day(1), day(1));
        federation.enter(COURT, &entry, key.der()).unwrap();
        Self { federation, key }
    }

    fn state(&mut self, (issued, effective): (u64, u64), attribute: Attribute) -> Result<bool, Inadmissible> {
        let mut entry = self.federation.next(COURT, Some(50), attribute);
        (entry.issued_at, entry.effective_at) = (day(issued), day(effective));
        self.federation.enter(COURT, &entry, &[])
    }

    /// Its roles on each of these days.
    fn roles(&self, days: &[u64]) -> String {
        let on = |at: &u64| match self
            .federation
            .replica
            .status(&self.key.certificate.id(), day(*at))
        {
            Status::Valid(signer) => format!("{:?}", signer.roles),
            other => format!("{other:?}"),
        };
        days.iter().map(on).collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn a_role_is_held_from_its_grant_to_its_withdrawal_or_its_end() {
    let mut clerk = Clerk::new();
    assert_eq!(clerk.state((2, 3), roles(true, &[Role::Judge], None)), Ok(true));
    assert_eq!(clerk.roles(&[2, 3]), "[Clerk] [Judge, Clerk]");
    assert_eq!(
        clerk.state((5, 6), roles(false, &[Role::Judge, Role::Clerk], None)),
        Ok(true)
    );
    assert_eq!(clerk.roles(&[2, 5, 6]), "[Clerk] [Judge, Clerk] []");
    assert_eq!(
        clerk.state((7, 8), roles(true, &[Role::Clerk], Some(day(9)))),
        Ok(true)
    );
    // After its end it is as if it had not been: the one before counts.
    assert_eq!(clerk.roles(&[7, 8, 9, 10]), "[] [Clerk] [Clerk] []");
    let info = clerk.federation.replica.person(&subject(50)).unwrap();
    assert_eq!(info.roles, [Role::Clerk]);
    // Another key of the same person has the same roles.
    assert_eq!(clerk.federation.replica.history(&subject(50)).len(), 4);
}

#[test]
fn a_competence_is_that_of_one_version_of_the_nomenclature() {
    let mut federation = Federation::founded();
    let key = Key::new(60);
    let enrolled = enrolment(&key, Role::Expert, 32);
    federation.add(COMPANY, Some(60), enrolled, key.der()).unwrap();
    let old = [
        competence("2004-02-10", "C-01.10"),
        competence("2004-02-10", "C-01.12"),
    ];
    let new = [competence("2022-12-05", "C-02.01")];
    let mut state = |on: u64, attribute: Attribute| {
        let mut entry = federation.next(COMPANY, Some(60), attribute);
        (entry.issued_at, entry.effective_at) = (day(on), day(on));
        assert_eq!(federation.enter(COMPANY, &entry, &[]), Ok(true));
    };
    state(2, competences(true, &old));
    // The reclassification: one code goes, another version's comes.
    state(5, competences(false, &old[..1]));
    state(5, competences(true, &new));
    state(8, competences(false, &old[1..]));
    let on = |at| federation.replica.competences(&subject(60), day(at));
    assert_eq!(on(1), []);
    assert_eq!(on(4), old);
    assert_eq!(on(5), [old[1].clone(), new[0].clone()]);
    assert_eq!(on(8), new);
    assert_eq!(federation.replica.competences(&subject(61), day(8)), []);
    // What somebody may sign does not hang on what they are listed for.
    let worth = federation.replica.status(&key.certificate.id(), day(8));
    assert!(matches!(worth, Status::Valid(signer) if signer.roles == [Role::Expert]));
}

#[test]
fn what_an_authority_may_not_grant_is_refused() {
    let mut clerk = Clerk::new();
    let foreign = clerk.state((2, 2), roles(true, &[Role::Expert], None));
    let (of, role) = (subject(50), Role::Expert);
    assert_eq!(
        foreign,
        Err(Inadmissible::RoleOutsideProfession { subject: of, role })
    );
    let ended = clerk.state((2, 5), roles(true, &[Role::Judge], Some(day(4))));
    assert_eq!(ended, Err(Inadmissible::Until { until: day(4) }));
    // Of nodes and organisations there is nothing to grant, nor of who is in no log.
    for about in [11, 12, 99] {
        let entry = clerk
            .federation
            .next(COURT, Some(about), roles(true, &[Role::Judge], None));
        let refused = clerk.federation.enter(COURT, &entry, &[]);
        assert!(
            matches!(refused, Err(Inadmissible::SubjectKind { .. })),
            "{about}: {refused:?}"
        );
    }
    // An officer of the log may, another log's may not.
    let (officer, other) = (
        clerk.federation.officer(COURT, 40, 0),
        clerk.federation.officer(BAR, 41, 0),
    );
    let entry = clerk
        .federation
        .next(COURT, Some(50), roles(true, &[Role::Judge], None));
    let refused = clerk.federation.enter_by(&entry, &other, &[], &[]);
    assert!(
        matches!(refused, Err(Inadmissible::UnknownAuthor { .. })),
        "{refused:?}"
    );
    assert_eq!(clerk.federation.enter_by(&entry, &officer, &[], &[]), Ok(true));

    let kind = Content::from(roles(true, &[Role::Judge], None)).kind();
    let many: Vec<_> = (10..43)
        .map(|n| competence("2022-12-05", &n.to_string()))
        .collect();
    for bad in [
        roles(true, &[], None),
        roles(true, &[Role::Clerk, Role::Judge], None),
        roles(true, &[Role::Judge, Role::Judge], None),
        roles(false, &[Role::Judge], Some(day(9))),
        competences(true, &many),
        competences(true, &[many[1].clone(), many[0].clone()]),
        competences(true, &[competence("", "1")]),
        competences(true, &[competence("2022-12-05", "a\nb")]),
    ] {
        let bytes = Content::from(bad.clone()).encode();
        assert!(Content::decode(kind, &bytes).is_err(), "{bad:?}");
    }
    let bytes = Content::from(competences(true, &many[..32])).encode();
    assert!(Content::decode(kind, &bytes).is_ok());
}
