//! What an authority grants counts once its witnesses have seen it; what it takes away counts at once. REG-21 to REG-23.

use std::sync::Arc;

use basoche_protocol::directory::{Directory, Status};
use basoche_protocol::engine::Registry;
use basoche_protocol::id::{Digest, SubjectId};
use basoche_protocol::journal::RegistryHead;
use basoche_protocol::refusal::Code;
use basoche_protocol::role::Role;
use basoche_protocol::time::{Instant, Span};
use basoche_registry::entry::{Attribute, Lifting, Publication, Suspension};
use basoche_registry::log::{Checkpoint, KeyKind, Note, Policy};
use basoche_registry::published::{CLOCK_AHEAD, SILENCE};
use basoche_registry::{AnchorError, Anchors, Inadmissible};

use crate::kit::{
    BAR, COMPANY, COURT, Federation, Key, authority, day, enrolment, genesis, node, organisation, revocation,
    subject, tls,
};
use crate::log::kit::Holder;
use crate::status::letter;

const LAWYER: u8 = 50;
const NODE: u8 = 22;
const ORGANISATION: u8 = 21;

/// Two witnesses of each of three professions, of which one each must have seen what is granted.
struct Witnesses([Holder; 6]);

impl Witnesses {
    fn new() -> Self {
        Self([1, 2, 3, 4, 5, 6].map(Holder::witness))
    }

    fn policy(&self) -> String {
        let names = ["c1", "c2", "b1", "b2", "e1", "e2"];
        let lines = names.iter().zip(&self.0);
        let lines = lines.map(|(name, witness)| format!("witness {name} {}\n", witness.key));
        let witnesses: String = lines.collect();
        format!(
            "{witnesses}group courts any c1 c2\ngroup bars any b1 b2\ngroup companies any e1 e2\n\
             group all all courts bars companies\nquorum all\n"
        )
    }

    fn anchors(&self) -> Anchors {
        let policy = Arc::new(Policy::parse(self.policy().as_bytes()).unwrap());
        let with = |origin| {
            let keyed = authority(origin).with_log_key(Holder::log(origin).key).unwrap();
            keyed.with_policy(Arc::clone(&policy)).unwrap()
        };
        Anchors::new([COURT, BAR, COMPANY].map(with).to_vec()).unwrap()
    }
}

/// A log, the bar's where nothing else is said, from genesis (day 0) to an organisation and its node (day 0) and a person
/// (day 1), under witnesses who have seen nothing.
pub(crate) struct Log {
    pub(crate) federation: Federation,
    origin: &'static str,
    witnesses: Witnesses,
    lawyer: Key,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self::of(BAR, LAWYER, Role::Lawyer)
    }

    pub(crate) fn of(origin: &'static str, person: u8, role: Role) -> Self {
        let witnesses = Witnesses::new();
        let anchors = witnesses.anchors();
        let genesis = anchors.authority(origin).unwrap().genesis();
        let mut federation = Federation::under(anchors);
        federation.add(origin, None, genesis, &[]).unwrap();
        let organisation = organisation(origin);
        federation
            .add(origin, Some(ORGANISATION), organisation, &[])
            .unwrap();
        let seal = Key::new(NODE);
        let node = node(ORGANISATION, &seal, NODE + 100);
        federation.add(origin, Some(NODE), node, seal.der()).unwrap();
        let key = Key::new(person);
        let mut entry = federation.next(origin, Some(person), enrolment(&key, role, NODE));
        (entry.issued_at, entry.effective_at) = (day(1), day(1));
        assert_eq!(federation.enter(origin, &entry, key.der()), Ok(true));
        Self {
            federation,
            origin,
            witnesses,
            lawyer: key,
        }
    }

    pub(crate) fn head(&self) -> RegistryHead {
        let mut heads = self.federation.replica.heads().into_iter();
        heads.find(|head| head.origin == self.origin).unwrap()
    }

    /// The checkpoint of `head`, signed by the log, and cosigned by each of these witnesses at its instant.
    pub(crate) fn checkpoint(&self, head: &RegistryHead, seen: &[(usize, Instant)]) -> Note {
        let mut note = Note::new(Checkpoint::text(head)).unwrap();
        Holder::log(self.origin).sign(&mut note, day(0));
        for (witness, at) in seen {
            self.witnesses.0[*witness].sign(&mut note, *at);
        }
        note
    }

    /// Enters a note as what is published, at `at`.
    pub(crate) fn enter(&mut self, note: &str, at: Instant) -> Result<bool, Inadmissible> {
        let checkpoint = note.to_owned();
        let mut entry = self
            .federation
            .next(self.origin, None, Publication { checkpoint });
        (entry.issued_at, entry.effective_at) = (at, at);
        self.federation.enter(self.origin, &entry, &[])
    }

    /// The log as it is now, seen by one witness of each profession on `seen`, entered on `entered`.
    pub(crate) fn publish(&mut self, seen: Instant, entered: Instant) -> Result<bool, Inadmissible> {
        let by = [0, 2, 4].map(|witness| (witness, seen));
        let note = self.checkpoint(&self.head(), &by);
        self.enter(&note.encode(), entered)
    }

    /// One letter for each midnight from day 0 to day 9.
    fn line(&self) -> String {
        let certificate = self.lawyer.certificate.id();
        let letters = (0..10).map(|at| letter(&self.federation.replica, &certificate, day(at)));
        letters.collect()
    }
}

fn why(result: Result<bool, Inadmissible>) -> String {
    match result {
        Err(Inadmissible::NotPublished { what }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_granted_counts_once_the_witnesses_have_seen_it() {
    let mut log = Log::new();
    let replica = |log: &Log| log.federation.copy().replica;
    // Nobody can say of the days after the enrolment; of those before it, all can.
    assert_eq!(log.line(), "IUUUUUUUUU");
    assert_eq!(
        replica(&log).node_of_tls_key(tls(NODE + 100).as_bytes(), day(5)),
        None
    );
    assert_eq!(replica(&log).published(BAR), Some((0, &[][..])));
    // Seen on day 3, said on day 4.
    assert_eq!(log.publish(day(3), day(4)), Ok(true));
    assert_eq!(log.line(), "IIIVVVVVVV");
    assert_eq!(replica(&log).published(BAR), Some((4, &[][..])));
    let node = SubjectId::new([NODE; 16]);
    assert_eq!(subject(NODE), node);
    let shown = tls(NODE + 100);
    assert_eq!(replica(&log).node_of_tls_key(shown.as_bytes(), day(2)), None);
    assert_eq!(
        replica(&log).node_of_tls_key(shown.as_bytes(), day(3)),
        Some(node)
    );
    // What is granted later counts later: of a checkpoint without it nothing follows.
    let other = Key::new(51);
    log.federation
        .add_on((5, 5), 51, enrolment(&other, Role::Lawyer, NODE), other.der());
    let status = |log: &Log, at| letter(&log.federation.replica, &other.certificate.id(), at);
    assert_eq!([4, 5, 6].map(|at| status(&log, day(at))), ['I', 'U', 'U']);
    // Witnesses' clocks that go back do not put anything earlier than what was before it.
    assert_eq!(log.publish(day(2), day(6)), Ok(true));
    assert_eq!([2, 4, 5].map(|at| status(&log, day(at))), ['I', 'I', 'V']);
}

/// What is stated anew and says the same of a key leaves it as it was; what says something else leaves it open.
#[test]
fn what_is_stated_anew_waits_without_taking_anything_away() {
    let mut log = Log::new();
    log.publish(day(1), day(1)).unwrap();
    let seal = Key::new(NODE);
    let mut elsewhere = node(ORGANISATION, &seal, NODE + 100);
    elsewhere.addresses = vec!["127.0.0.1:5555".to_owned()];
    log.federation.add_on((2, 2), NODE, elsewhere, seal.der());
    let at = |log: &Log, at| {
        let info = log.federation.replica.node_at(&subject(NODE), at);
        info.map(|info| info.addresses)
    };
    let [before, after] = ["127.0.0.1:4433", "127.0.0.1:5555"].map(|one| Some(vec![one.to_owned()]));
    assert_eq!(at(&log, day(3)), before);
    assert_eq!(
        letter(&log.federation.replica, &seal.certificate.id(), day(3)),
        'V'
    );
    // A person's other role is another matter.
    let mut both = enrolment(&log.lawyer, Role::Lawyer, NODE);
    both.roles.push(Role::Party);
    both.roles.sort();
    let der = log.lawyer.der().to_vec();
    log.federation.add_on((2, 2), LAWYER, both, &der);
    assert_eq!(log.line(), "IVUUUUUUUU");
    log.publish(day(4), day(4)).unwrap();
    assert_eq!(log.line(), "IVVVVVVVVV");
    assert_eq!([3, 4].map(|day_| at(&log, day(day_))), [before, after]);
}

#[test]
fn what_is_taken_away_counts_at_once_and_what_is_given_back_does_not() {
    let mut log = Log::new();
    log.publish(day(1), day(1)).unwrap();
    assert_eq!(log.line(), "IVVVVVVVVV");
    let decision = None;
    log.federation
        .add_on((3, 3), LAWYER, Suspension { decision }, &[]);
    assert_eq!(log.line(), "IVVIIIIIII");
    log.federation.add_on((5, 5), LAWYER, Lifting { decision }, &[]);
    assert_eq!(log.line(), "IVVIIUUUUU");
    log.publish(day(6), day(6)).unwrap();
    assert_eq!(log.line(), "IVVIIIVVVV");
    let withdrawn = revocation(&log.lawyer, None);
    log.federation.add_on((8, 8), LAWYER, withdrawn, &[]);
    assert_eq!(log.line(), "IVVIIIVVII");
}

#[test]
fn a_further_role_waits_for_the_witnesses_and_one_that_is_withdrawn_does_not() {
    let attribute = |granted, role| Attribute {
        granted,
        roles: vec![role],
        competences: Vec::new(),
        until: None,
    };
    let mut log = Log::new();
    log.publish(day(1), day(1)).unwrap();
    // What the lawyer has anyway changes nothing; what it has not, hangs on the witnesses.
    log.federation
        .add_on((2, 2), LAWYER, attribute(true, Role::Lawyer), &[]);
    assert_eq!(log.line(), "IVVVVVVVVV");
    log.federation
        .add_on((3, 4), LAWYER, attribute(true, Role::Party), &[]);
    assert_eq!(log.line(), "IVVVUUUUUU");
    log.publish(day(6), day(6)).unwrap();
    assert_eq!(log.line(), "IVVVVVVVVV");
    let roles = |log: &Log, at| match log.federation.replica.status(&log.lawyer.certificate.id(), at) {
        Status::Valid(signer) => signer.roles,
        other => panic!("{other:?}"),
    };
    assert_eq!(roles(&log, day(5)), [Role::Lawyer]);
    assert_eq!(roles(&log, day(6)), [Role::Lawyer, Role::Party]);
    log.federation
        .add_on((7, 8), LAWYER, attribute(false, Role::Party), &[]);
    assert_eq!(roles(&log, day(8)), [Role::Lawyer]);
    // Granted again, it is open whether it is held: by the word of the authority alone it is not.
    log.federation
        .add_on((9, 9), LAWYER, attribute(true, Role::Party), &[]);
    assert_eq!(log.line(), "IVVVVVVVVU");
}

#[test]
fn an_officer_acts_once_published_and_may_enter_what_publishes_it() {
    let mut log = Log::new();
    log.publish(day(1), day(1)).unwrap();
    let officer = log.federation.officer(BAR, 60, 3);
    let other = Key::new(51);
    let enrol = |log: &mut Log, at: Instant| {
        let mut entry = log
            .federation
            .next(BAR, Some(51), enrolment(&other, Role::Lawyer, NODE));
        (entry.issued_at, entry.effective_at) = (at, at);
        log.federation.enter_by(&entry, &officer, &[], other.der())
    };
    let early = enrol(&mut log, day(2));
    assert!(matches!(early, Err(Inadmissible::NotInForce { .. })), "{early:?}");

    let by = [0, 2, 4].map(|witness| (witness, day(3)));
    let checkpoint = log.checkpoint(&log.head(), &by).encode();
    let mut entry = log.federation.next(BAR, None, Publication { checkpoint });
    (entry.issued_at, entry.effective_at) = (day(3), day(3));
    assert_eq!(log.federation.enter_by(&entry, &officer, &[], &[]), Ok(true));
    assert_eq!(enrol(&mut log, day(3)), Ok(true));
}

#[test]
fn what_is_no_checkpoint_of_the_log_under_the_quorum_publishes_nothing() {
    let mut log = Log::new();
    let at = day(2);
    let all = [0, 2, 4].map(|witness| (witness, at));
    let head = log.head();
    let refused = |log: &mut Log, note: &Note| {
        let before = log.head();
        let error = log.enter(&note.encode(), at).unwrap_err();
        assert_eq!(log.head(), before);
        assert_eq!(
            basoche_protocol::error::Error::from(error.clone()).code(),
            Code::HeadMismatch
        );
        why(Err(error))
    };
    // Two of three professions, one of which twice; and nobody at all.
    let few = log.checkpoint(&head, &[(0, at), (1, at), (2, at)]);
    assert!(refused(&mut log, &few).contains("no quorum"));
    let alone = log.checkpoint(&head, &[]);
    assert!(refused(&mut log, &alone).contains("no witness"));
    // A stranger's cosignature is nobody's.
    let mut strange = alone;
    Holder::witness(9).sign(&mut strange, at);
    assert!(refused(&mut log, &strange).contains("no witness"));
    // Other contents, more leaves than there are, none, another log.
    let other = |size, root: u8| RegistryHead {
        origin: BAR.to_owned(),
        size,
        root: Digest::new([root; 32]),
    };
    for head in [other(4, 7), other(5, 7), other(1, 7)] {
        let note = log.checkpoint(&head, &all);
        assert!(refused(&mut log, &note).contains("not one of this log"));
    }
    let foreign = RegistryHead {
        origin: COURT.to_owned(),
        ..head
    };
    let foreign = log.checkpoint(&foreign, &all);
    assert!(refused(&mut log, &foreign).contains("has not signed"));
    // The log itself has not signed.
    let mut unsigned = Note::new(Checkpoint::text(&head)).unwrap();
    for witness in [0, 2, 4] {
        log.witnesses.0[witness].sign(&mut unsigned, at);
    }
    assert!(refused(&mut log, &unsigned).contains("has not signed"));
    // A witness's line that does not verify spoils it.
    let wrong = Holder::new(log.witnesses.0[1].key.name(), KeyKind::Cosigner, 2);
    let mut spoilt = log.checkpoint(&head, &all);
    let signature = wrong.secret.sign(b"something else");
    spoilt.add(wrong.key.line(&signature, at)).unwrap();
    assert!(refused(&mut log, &spoilt).contains("does not verify"));
    // Not a note.
    assert!(why(log.enter("three\nlines\nof nothing\n", at)).contains("note"));
    // Seen in the future.
    let ahead = at + CLOCK_AHEAD;
    let future = log.checkpoint(
        &head,
        &[0, 2, 4].map(|witness| (witness, ahead + Span::from_seconds(1))),
    );
    assert!(refused(&mut log, &future).contains("later than"));
    assert_eq!(log.line(), "IUUUUUUUUU");
    // And the same, right, on the very bound; the second time there is nothing new in it.
    let right = log.checkpoint(&head, &[0, 2, 4].map(|witness| (witness, ahead)));
    assert_eq!(log.enter(&right.encode(), at), Ok(true));
    assert!(refused(&mut log, &right).contains("not one of this log beyond"));
}

#[test]
fn two_clocks_of_six_do_not_matter() {
    let year = Span::from_seconds(365 * 86_400);
    let steady = [2, 3, 4, 5].map(|witness| (witness, day(3)));
    for wrong in [
        [(0, day(3) + year), (1, day(3) + year)],
        [(0, day(3) - year), (1, day(3) - year)],
        [(0, day(3) - year), (1, day(3) + year)],
    ] {
        let mut log = Log::new();
        let note = log.checkpoint(&log.head(), &[steady.as_slice(), &wrong].concat());
        assert_eq!(log.enter(&note.encode(), day(4)), Ok(true));
        assert_eq!(log.line(), "IIIVVVVVVV");
    }
}

#[test]
fn a_profession_that_is_silent_for_long_is_done_without_and_it_shows() {
    let mut log = Log::new();
    log.publish(day(1), day(1)).unwrap();
    let without = |log: &Log, of: &[usize], at: Instant| {
        let by: Vec<_> = of.iter().map(|witness| (*witness, at)).collect();
        log.checkpoint(&log.head(), &by).encode()
    };
    let (soon, late) = (day(1) + SILENCE - Span::from_seconds(1), day(1) + SILENCE);
    let early = without(&log, &[0, 2], soon);
    assert!(why(log.enter(&early, soon)).contains("no quorum"));
    // One of three is away; of two of three the third is no majority.
    let two_away = without(&log, &[0], late);
    assert!(why(log.enter(&two_away, late)).contains("no quorum"));
    let marked = without(&log, &[0, 2], late);
    assert_eq!(log.enter(&marked, late), Ok(true));
    let companies = ["companies".to_owned()];
    assert_eq!(log.federation.replica.published(BAR), Some((5, &companies[..])));
    // It is back: the mark goes, and its silence begins anew.
    log.publish(day(6), day(6)).unwrap();
    assert_eq!(log.federation.replica.published(BAR), Some((6, &[][..])));
    let again = without(&log, &[0, 2], day(6) + Span::from_seconds(3600));
    assert!(why(log.enter(&again, day(7))).contains("no quorum"));
}

#[test]
fn silence_is_counted_from_the_genesis_to_the_millisecond_also_after_a_restart() {
    let witnesses = Witnesses::new();
    let mut log = Log {
        origin: BAR,
        federation: Federation::under(witnesses.anchors()),
        witnesses,
        lawyer: Key::new(LAWYER),
    };
    let genesis = log.federation.replica.anchors().authority(BAR).unwrap().genesis();
    let mut entry = log.federation.next(BAR, None, genesis);
    let begun = day(0) + Span::from_ms(500);
    (entry.issued_at, entry.effective_at) = (begun, begun);
    // It is read back from its shelf right after.
    log.federation.enter(BAR, &entry, &[]).unwrap();
    let enter = |log: &mut Log, at: Instant| {
        let note = log.checkpoint(&log.head(), &[(0, at), (2, at)]).encode();
        log.enter(&note, at)
    };
    let due = day(0) + SILENCE;
    assert!(why(enter(&mut log, due)).contains("no quorum"));
    assert_eq!(enter(&mut log, due + Span::from_seconds(1)), Ok(true));
}

#[test]
fn the_policy_stands_in_the_anchors_and_in_every_genesis() {
    let witnesses = Witnesses::new();
    let anchors = witnesses.anchors();
    let read = Anchors::parse(anchors.to_json().as_bytes()).unwrap();
    assert_eq!(read.to_json(), anchors.to_json());
    assert_eq!(read.policy().unwrap().text(), witnesses.policy());
    let policy = Arc::new(Policy::parse(witnesses.policy().as_bytes()).unwrap());

    // A log that nobody can see.
    let keyless = authority(BAR).with_policy(Arc::clone(&policy)).err();
    let origin = BAR.to_owned();
    assert_eq!(keyless, Some(AnchorError::NoLogKey { origin }));
    // One authority under it, another not.
    let under = anchors.authority(BAR).unwrap().clone();
    let mixed = Anchors::new(vec![under, authority(COURT)]).err();
    let court = COURT.to_owned();
    assert_eq!(mixed, Some(AnchorError::OtherPolicy { origin: court }));
    let bad = anchors.to_json().replace("quorum all", "quorum some");
    assert!(matches!(
        Anchors::parse(bad.as_bytes()),
        Err(AnchorError::Policy(_))
    ));

    // `quorum none` asks for nobody: as if it were not said.
    let nobody = Arc::new(Policy::parse(b"quorum none\n").unwrap());
    let free = authority(BAR).with_policy(nobody).unwrap();
    assert_eq!(free.genesis(), genesis(BAR));
    let mut federation = Federation::under(Anchors::new(vec![free]).unwrap());
    // A genesis that was signed for other anchors is not taken under these.
    let stated = anchors.authority(BAR).unwrap().genesis();
    assert_eq!(stated.policy, Some(policy.digest()));
    assert_eq!(
        federation.add(BAR, None, stated.clone(), &[]),
        Err(Inadmissible::NotAsAnchored)
    );
    let mut under = Federation::under(anchors);
    assert_eq!(
        under.add(BAR, None, genesis(BAR), &[]),
        Err(Inadmissible::NotAsAnchored)
    );
    assert_eq!(under.add(BAR, None, stated, &[]), Ok(true));
    // Nothing is published where nobody need have seen anything.
    federation.add(BAR, None, genesis(BAR), &[]).unwrap();
    assert_eq!(federation.replica.published(BAR), None);
    let publication = Publication {
        checkpoint: String::new(),
    };
    let needless = federation.add(BAR, None, publication, &[]);
    assert!(why(needless).contains("no witness"));
}
