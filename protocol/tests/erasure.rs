//! What the court orders to be erased is gone everywhere and judged alike everywhere; what it holds stays. SPEC §6.18,
//! §6.19.
#![allow(clippy::unwrap_used)]

mod stage;

use std::sync::Arc;

use basoche_protocol::dossier::{Replica, RunItem, Statement};
use basoche_protocol::engine::{Row, Taken};
use basoche_protocol::envelope::Envelope;
use basoche_protocol::error::Error;
use basoche_protocol::fixture::{Actor, Cast, Federation, Signing, document};
use basoche_protocol::id::{Digest, DossierId, MessageId, SubjectId};
use basoche_protocol::journal::{Content, Need, Verdict};
use basoche_protocol::message::{
    Body, Erasure, Extent, Held, LegalHold, MessageType, Residual, RosterChange, Stated,
};
use basoche_protocol::refusal::Code;
use basoche_protocol::time::Span;
use basoche_protocol::wire::frame::Frame;
use stage::*;

fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> Code {
    result.unwrap_err().code()
}

fn erase(target: MessageId, extent: Extent, residual: Residual) -> Body {
    Body::Erasure(Erasure {
        ext: None,
        target,
        extent,
        residual,
        reason: "Données de santé d'un tiers.".into(),
    })
}

fn hold(target: Option<MessageId>) -> Body {
    Body::LegalHold(LegalHold {
        ext: None,
        target,
        lifts: None,
        reason: "Appel en cours.".into(),
    })
}

fn lift(hold: MessageId) -> Body {
    Body::LegalHold(LegalHold {
        ext: None,
        target: None,
        lifts: Some(hold),
        reason: "Affaire terminée.".into(),
    })
}

/// What stays of a message that a replica has.
fn residual(replica: &Replica, target: &MessageId) -> Residual {
    let (branch, seq) = replica.position(target).unwrap();
    match &replica.chains().record(&branch, seq).unwrap().content {
        Content::Authentic(message, _) => Residual::of(message),
        other => panic!("{other:?}"),
    }
}

fn verdict(replica: &Replica, message: &MessageId) -> Verdict {
    let (branch, seq) = replica.position(message).unwrap();
    replica.chains().record(&branch, seq).unwrap().verdict
}

/// Court, bar, company and a further bar, with a dire and an exhibit on file; a fifth node takes no part yet.
struct Five {
    federation: Federation,
    dossier: DossierId,
    salt: u8,
    dire: MessageId,
    exhibit: MessageId,
}

fn change(add: &[&Actor]) -> Body {
    let cast = Cast::new(5, Signing::StandIn);
    let participants = cast.participants().into_iter();
    let joins = |subject: &SubjectId| add.iter().any(|actor| actor.subject == *subject);
    Body::RosterChange(RosterChange {
        ext: None,
        add: participants.filter(|one| joins(&one.subject)).collect(),
        remove: vec![],
    })
}

impl Five {
    fn under_way() -> Self {
        let cast = Arc::new(Cast::new(5, Signing::StandIn));
        let federation = Federation::of(Arc::clone(&cast), cast.registry(), 11);
        let none = MessageId::new([0; 32]);
        let mut it = Self {
            federation,
            dossier: DossierId::new([0; 32]),
            salt: 0,
            dire: none,
            exhibit: none,
        };
        let order = Body::Designation(cast.designation(it.federation.now));
        let founding = cast.judge.say(None, order, 0, it.federation.now);
        it.dossier = DossierId::from(it.federation.deposit(0, &founding).unwrap());
        it.federation.settle(5000);
        it.act(&cast.expert, accept()).unwrap();
        let lawyers = [
            &cast.party,
            &cast.claimant_lawyer,
            &cast.defendant_lawyer,
            &cast.further[0].1,
        ];
        it.act(&cast.expert, change(&lawyers)).unwrap();
        it.act(&cast.clerk, paid(300_000)).unwrap();
        it.exhibit = it.act(&cast.party, exhibit(1)).unwrap();
        it.dire = it.act(&cast.defendant_lawyer, dire(1)).unwrap();
        it
    }

    fn say(&mut self, actor: &Actor, body: Body) -> Vec<u8> {
        self.salt += 1;
        actor.say(Some(self.dossier), body, self.salt, self.federation.now)
    }

    fn act(&mut self, actor: &Actor, body: Body) -> Result<MessageId, Error> {
        let node = self.federation.node_of(actor);
        let envelope = self.say(actor, body);
        let done = self.federation.deposit(node, &envelope);
        self.federation.settle(5000);
        done
    }

    fn erase(&mut self, target: MessageId) -> Result<MessageId, Error> {
        let cast = Arc::clone(&self.federation.cast);
        let residual = residual(self.replica(0), &target);
        self.act(&cast.clerk, erase(target, Extent::Message, residual))
    }

    fn pass(&mut self) {
        self.federation
            .run_until(self.federation.now + Span::from_seconds(20));
    }

    fn replica(&self, node: usize) -> &Replica {
        self.federation.node(node).dossier(&self.dossier).unwrap()
    }

    fn agree(&self, nodes: &[usize]) -> bool {
        let picture = |node: &usize| {
            let replica = self.replica(*node);
            let mut verdicts: Vec<_> = replica
                .records()
                .map(|(.., one)| (one.message, one.verdict))
                .collect();
            verdicts.sort_by_key(|(message, _)| *message);
            (
                replica.state().hash(),
                replica.frontier(),
                replica.pending(),
                verdicts,
            )
        };
        let first = picture(&nodes[0]);
        first.2 == 0 && nodes.iter().all(|node| picture(node) == first)
    }

    /// Whether a node has the message, on its disk and in memory; its entry it has for ever.
    fn has(&self, node: usize, message: &MessageId) -> bool {
        let replica = self.replica(node);
        let (branch, seq) = replica.position(message).unwrap();
        let item = self.federation.item(node, self.dossier, branch, seq).unwrap();
        let known = &replica.chains().record(&branch, seq).unwrap().content;
        assert_eq!(item.entry.message, *message);
        assert_eq!(item.sealed.is_some(), !matches!(known, Content::Absent));
        item.sealed.is_some()
    }
}

#[test]
fn what_is_erased_is_gone_from_every_node_and_its_tombstone_stays() {
    let mut it = Five::under_way();
    let (dire, exhibit) = (it.dire, it.exhibit);
    let root = it.replica(0).state().documents().next().unwrap().reference.root;
    assert!((0..4).all(|node| it.has(node, &dire) && it.has(node, &exhibit)));
    let orders = [it.erase(dire).unwrap(), it.erase(exhibit).unwrap()];
    assert!(it.agree(&[0, 1, 2, 3]));
    for node in 0..4 {
        assert!(!it.has(node, &dire) && !it.has(node, &exhibit));
        let state = it.replica(node).state();
        assert_eq!(state.message_type(&dire), Some(MessageType::Dire));
        assert_eq!(state.message_type(&exhibit), Some(MessageType::ExhibitDeposit));
        assert_eq!(state.documents().count(), 0);
        let tombstone = state.erased_by(&exhibit).unwrap();
        assert_eq!(
            (tombstone.by, tombstone.residual.documents[0].root),
            (orders[1], root)
        );
        assert_eq!(state.tombstones().count(), 2);
        // An erased dire was made all the same: the report has to say what became of it. DOS-11.
        assert!(state.dires().contains_key(&dire));
        assert_eq!(verdict(it.replica(node), &dire), Verdict::Effective);
    }
    // It stays so over a restart.
    for node in 0..4 {
        it.federation.crash(node);
    }
    it.federation.connect_all();
    it.pass();
    assert!(it.agree(&[0, 1, 2, 3]) && !it.has(2, &dire));
}

#[test]
fn what_is_left_at_a_mailbox_after_an_erasure_is_without_the_message_and_what_was_left_before_does_no_harm() {
    for with_what_was_left_before in [false, true] {
        let mut it = Five::under_way();
        let cast = Arc::clone(&it.federation.cast);
        let (away, dossier) = (2, it.dossier);
        let member = it.federation.node(away).node();
        (0..5)
            .filter(|other| *other != away)
            .for_each(|other| it.federation.cut(away, other));
        let target = it.act(&cast.defendant_lawyer, dire(2)).unwrap();
        let before = it.federation.left_for(0, dossier, &member);
        it.erase(target).unwrap();
        let after = it.federation.left_for(0, dossier, &member);
        let messages = |frames: &[Vec<u8>]| {
            let runs = frames.iter().map(|bytes| match Frame::decode(bytes) {
                Ok(Frame::Run(run)) => run.items,
                other => panic!("{other:?}"),
            });
            runs.flatten().filter(|item| item.sealed.is_some()).count()
        };
        assert_eq!(
            (messages(&before), messages(&after)),
            (1, 1),
            "the dire; the order"
        );
        let left = match with_what_was_left_before {
            true => [before, after].concat(),
            false => after,
        };
        for frame in &left {
            let mailbox = SubjectId::new([0x77; 16]);
            let taken = it.federation.bring(away, mailbox, &dossier, frame);
            assert_eq!(taken.unwrap(), Taken::OnFile);
            it.federation.settle(500);
        }
        assert!(it.agree(&[0, 1, 2, 3]) && !it.has(away, &target));
    }
}

#[test]
fn who_joins_later_never_has_the_message_and_comes_to_the_same_state() {
    let mut it = Five::under_way();
    let cast = Arc::clone(&it.federation.cast);
    let (dire, exhibit) = (it.dire, it.exhibit);
    let root = it.replica(0).state().documents().next().unwrap().reference.root;
    // What was said of both before they were erased, and of another exhibit, which stays, in the same statement.
    let bar = cast.bar.clone();
    let stays = it.act(&cast.party, stage::exhibit(2)).unwrap();
    let stays_root = document("exhibit 2").root;
    let both = || {
        let mut both = [(exhibit, root), (stays, stays_root)].map(|(deposit, root)| Stated { deposit, root });
        both.sort_unstable();
        let [Stated { deposit, root }, more] = both;
        let (ext, more) = (None, vec![more]);
        Body::Held(Held {
            ext,
            deposit,
            root,
            more,
        })
    };
    it.act(&bar, both()).unwrap();
    let due = it.federation.now + Span::from_seconds(1);
    it.act(&cast.expert, pre_report(due)).unwrap();
    it.erase(dire).unwrap();
    it.erase(exhibit).unwrap();
    it.act(&cast.expert, change(&[&cast.further[1].1])).unwrap();
    it.pass();
    assert!(it.agree(&[0, 1, 2, 3, 4]));
    assert!(!it.has(4, &dire) && !it.has(4, &exhibit));
    // And what refers to them afterwards is judged alike, too.
    it.act(&cast.further[1].0.clone(), both()).unwrap();
    assert_eq!(refused(it.act(&cast.expert, report(&[]))), Code::DireUnanswered);
    it.act(&cast.expert, report(&[dire])).unwrap();
    it.pass();
    assert!(it.agree(&[0, 1, 2, 3, 4]));
    // What was said of both keeps its effect, and counts for the other one, whenever it was said.
    let state = it.replica(4).state();
    let document = state.document(&stays, &stays_root).unwrap();
    for node in [&bar, &cast.further[1].0] {
        assert!(state.stated(Statement::Held, document, &node.subject).is_some());
    }
    assert!(state.document(&exhibit, &root).is_none());
}

#[test]
fn who_was_away_or_lost_power_or_restored_a_backup_erases_when_the_order_comes() {
    let mut it = Five::under_way();
    let (dire, exhibit) = (it.dire, it.exhibit);
    let backup = it.federation.backup(2);
    for other in 0..4 {
        it.federation.cut(1, other);
    }
    it.erase(dire).unwrap();
    assert!(it.has(1, &dire) && !it.has(2, &dire));
    backup(&mut it.federation);
    it.federation.wake(2, None);
    assert!(it.has(2, &dire));
    it.federation.connect_all();
    it.pass();
    assert!(it.agree(&[0, 1, 2, 3]) && (0..4).all(|node| !it.has(node, &dire)));
    // A crash at any moment of it.
    let cast = Arc::clone(&it.federation.cast);
    let residual = residual(it.replica(0), &exhibit);
    let order = it.say(&cast.clerk, erase(exhibit, Extent::Message, residual));
    it.federation.submit(0, &order).unwrap();
    for moment in 0..40 {
        it.federation.step();
        it.federation.crash(moment % 4);
        it.federation.wake(moment % 4, None);
        it.federation.connect_all();
    }
    (0..4).for_each(|node| it.federation.wake(node, None));
    if it
        .replica(0)
        .position(&Envelope::decode(&order).unwrap().id())
        .is_none()
    {
        it.federation.submit(0, &order).unwrap();
    }
    it.pass();
    assert!(it.agree(&[0, 1, 2, 3]) && (0..4).all(|node| !it.has(node, &exhibit)));
}

#[test]
fn the_documents_alone_may_be_erased_and_the_message_later() {
    let mut it = Five::under_way();
    let cast = Arc::clone(&it.federation.cast);
    let (exhibit, dire) = (it.exhibit, it.dire);
    let stays = residual(it.replica(0), &exhibit);
    it.act(&cast.judge, erase(exhibit, Extent::Documents, stays.clone()))
        .unwrap();
    assert!(it.agree(&[0, 1, 2, 3]) && it.has(3, &exhibit));
    assert_eq!(it.replica(3).state().documents().count(), 0);
    assert_eq!(
        it.replica(3).state().erased_by(&exhibit).unwrap().extent,
        Extent::Documents
    );
    let again = erase(exhibit, Extent::Documents, stays.clone());
    assert_eq!(refused(it.act(&cast.judge, again)), Code::Erased);
    it.erase(exhibit).unwrap();
    assert!(it.agree(&[0, 1, 2, 3]) && !it.has(3, &exhibit));
    // A message is erased once, and what brings no document has none to erase.
    for extent in [Extent::Message, Extent::Documents] {
        let again = erase(exhibit, extent, stays.clone());
        assert!(matches!(
            refused(it.act(&cast.judge, again)),
            Code::Erased | Code::UnknownReference
        ));
    }
    let none = residual(it.replica(0), &dire);
    assert_eq!(
        refused(it.act(&cast.judge, erase(dire, Extent::Documents, none))),
        Code::BadValue
    );
}

#[test]
fn only_the_court_erases_exhibits_and_dires_that_are_on_file_as_it_says() {
    let mut it = Five::under_way();
    let cast = Arc::clone(&it.federation.cast);
    let (exhibit, dire) = (it.exhibit, it.dire);
    let (of_exhibit, of_dire) = (residual(it.replica(0), &exhibit), residual(it.replica(0), &dire));
    let order = erase(dire, Extent::Message, of_dire.clone());
    assert_eq!(refused(it.act(&cast.expert, order.clone())), Code::SenderRole);
    assert_eq!(refused(it.act(&cast.defendant_lawyer, order)), Code::SenderRole);
    // Another message's residual, an unknown message, and an act that is neither.
    let wrong = erase(dire, Extent::Message, of_exhibit);
    assert_eq!(refused(it.act(&cast.clerk, wrong)), Code::UnknownReference);
    let nothing = erase(MessageId::new([7; 32]), Extent::Message, of_dire.clone());
    assert_eq!(refused(it.act(&cast.clerk, nothing)), Code::UnknownReference);
    let order = MessageId::new(*it.dossier.as_bytes());
    let founding = erase(order, Extent::Message, of_dire.clone());
    assert_eq!(refused(it.act(&cast.clerk, founding)), Code::UnknownReference);
    let act = MessageType::Report;
    let report = erase(dire, Extent::Message, Residual { act, ..of_dire });
    assert_eq!(refused(it.act(&cast.clerk, report)), Code::BadValue);
    assert!((0..4).all(|node| it.has(node, &dire) && it.has(node, &exhibit)));
}

#[test]
fn nothing_is_erased_while_a_hold_covers_it() {
    let mut it = Five::under_way();
    let cast = Arc::clone(&it.federation.cast);
    let (dire, exhibit) = (it.dire, it.exhibit);
    let one = it.act(&cast.judge, hold(Some(dire))).unwrap();
    let all = it.act(&cast.clerk, hold(None)).unwrap();
    assert_eq!(it.replica(1).state().holds().count(), 2);
    assert_eq!(refused(it.erase(dire)), Code::OnHold);
    assert_eq!(refused(it.erase(exhibit)), Code::OnHold);
    it.act(&cast.judge, lift(all)).unwrap();
    // The other still stands; what it does not cover may go.
    assert_eq!(refused(it.erase(dire)), Code::OnHold);
    it.erase(exhibit).unwrap();
    it.act(&cast.clerk, lift(one)).unwrap();
    it.erase(dire).unwrap();
    assert!(it.agree(&[0, 1, 2, 3]) && !it.has(2, &dire));
    // A lift names a hold that stands; a hold, a message on file.
    assert_eq!(refused(it.act(&cast.judge, lift(one))), Code::AlreadyDone);
    assert_eq!(refused(it.act(&cast.judge, lift(dire))), Code::UnknownReference);
    let nothing = hold(Some(MessageId::new([7; 32])));
    assert_eq!(refused(it.act(&cast.judge, nothing)), Code::UnknownReference);
    assert_eq!(refused(it.act(&cast.expert, hold(None))), Code::SenderRole);
    assert_eq!(it.replica(1).state().holds().count(), 0);
}

#[test]
fn of_a_hold_and_an_erasure_that_did_not_know_of_each_other_both_count() {
    let mut it = Stage::at(Situation::InProgress);
    let dire = it.dire.unwrap();
    let stays = residual(it.replica(), &dire);
    let mut peer = Peer::new(&it);
    // The company's node has seen the dire; the hold it has not.
    it.act(|cast| &cast.judge, hold(Some(dire)));
    let order = it
        .cast
        .clerk
        .say(Some(it.dossier), erase(dire, Extent::Message, stays), 90, it.now);
    let id = Envelope::decode(&order).unwrap().id();
    assert_eq!(peer.send(&mut it, id, &order), None);
    assert_eq!(verdict(it.replica(), &id), Verdict::Effective);
    assert_eq!(it.replica().state().holds().count(), 1);
}

/// A run of a peer from which the message of the item `bare` is missing.
fn without(it: &Stage, peer: &mut Peer, items: &[RunItem], bare: usize) -> Vec<u8> {
    let mut items = items.to_vec();
    items[bare].sealed = None;
    let head = peer.next_head(it);
    peer.run(it, &items, peer.sign(&head))
}

fn lacking(it: &Stage) -> usize {
    let frames = it.frames.iter().rev();
    let mut frontiers = frames.filter_map(|(_, frame)| match frame {
        Frame::Frontier(frontier) => Some(frontier.lacking.len()),
        _ => None,
    });
    frontiers.next().unwrap_or(0)
}

#[test]
fn an_item_without_its_message_waits_blocks_nothing_and_is_asked_for() {
    let mut it = Stage::at(Situation::InProgress);
    let mut peer = Peer::new(&it);
    let (first, second) = (it.good(), it.good());
    let ids = [&first, &second].map(|one| Envelope::decode(one).unwrap().id());
    peer.record_raw(&it, ids[0], &first);
    peer.record_raw(&it, ids[1], &second);
    let items = peer.items.clone();
    let run = without(&it, &mut peer, &items, 0);
    assert_eq!(it.frame(&run), None);
    assert_eq!(
        verdict(it.replica(), &ids[0]),
        Verdict::Pending(Need::Message(ids[0]))
    );
    assert_eq!(verdict(it.replica(), &ids[1]), Verdict::Effective);
    // It is asked for at each repair.
    it.now = it.now + Span::from_seconds(6);
    it.engine.handle_timeout(it.now);
    it.work();
    assert_eq!(lacking(&it), 1);
    // Another message than the one recorded does not take its place.
    let mut wrong = items.clone();
    wrong[0].sealed = items[1].sealed.clone();
    let head = peer.next_head(&it);
    let run = peer.run(&it, &wrong, peer.sign(&head));
    assert_eq!(it.frame(&run), Some(Code::HeadMismatch));
    assert_eq!(it.replica().pending(), 1);
    // Whoever has it brings it, and it is stored.
    let head = peer.next_head(&it);
    let run = peer.run(&it, &items, peer.sign(&head));
    let peer = it.cast.company.subject;
    it.engine.handle_frame(peer, &run, it.now);
    let rows = it.work();
    let stored = |row: &Row| matches!(row, Row::Entry { item, .. } if **item == items[0]);
    assert!(rows.iter().any(stored));
    assert_eq!(verdict(it.replica(), &ids[0]), Verdict::Effective);
    assert_eq!(it.replica().pending(), 0);
    it.frames.clear();
    it.now = it.now + Span::from_seconds(6);
    it.engine.handle_timeout(it.now);
    it.work();
    assert_eq!(lacking(&it), 0);
}

#[test]
fn a_message_that_a_peer_lacks_is_brought_to_it() {
    let mut it = Five::under_way();
    let dire = it.dire;
    let (branch, seq) = it.replica(2).position(&dire).unwrap();
    it.federation.strip(2, it.dossier, branch, seq);
    it.federation.crash(2);
    it.federation.wake(2, None);
    assert_eq!(it.replica(2).pending(), 1);
    it.federation.connect_all();
    it.pass();
    assert!(it.agree(&[0, 1, 2, 3]) && it.has(2, &dire));
}

/// What two nodes hold is not equal as long as one wants a message: it is asked for at once, not at the next repair.
#[test]
fn who_wants_a_message_is_not_equal_to_who_has_it() {
    let mut it = Five::under_way();
    it.pass();
    let dire = it.dire;
    let (branch, seq) = it.replica(2).position(&dire).unwrap();
    let rows = it.replica(2).frontier();
    it.federation.strip(2, it.dossier, branch, seq);
    it.federation.crash(2);
    it.federation.wake(2, None);
    assert_eq!(it.replica(0).frontier(), rows);
    assert_eq!(it.replica(2).frontier(), rows);
    it.federation.overheard = Some(Vec::new());
    it.federation.connect(0, 2);
    it.federation.run_until(it.federation.now + Span::from_seconds(1));
    let frames = it.federation.overheard.take().unwrap();
    let digests = |node: usize| {
        let said = frames.iter().filter(|(from, ..)| *from == node);
        let told = said.filter_map(|(.., bytes)| match Frame::decode(bytes).unwrap() {
            Frame::Inventory(inventory) => inventory.digests.first().map(|one| one.digest),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    let (has, wants) = (digests(0), digests(2));
    assert!(!has.is_empty() && !wants.is_empty() && has[0] != wants[0]);
    assert!(it.has(2, &dire) && it.replica(2).pending() == 0);
}

#[test]
fn the_order_resolves_what_came_without_its_message_whichever_comes_first() {
    for order_first in [false, true] {
        let mut it = Stage::at(Situation::InProgress);
        let mut peer = Peer::new(&it);
        let lawyer = &it.cast.defendant_lawyer;
        let said = lawyer.say(Some(it.dossier), dire(9), 50, it.now);
        let id = Envelope::decode(&said).unwrap().id();
        let stays = Residual::of(&lawyer.message(Some(it.dossier), dire(9), 50));
        let order = erase(id, Extent::Message, stays);
        let order = it.cast.clerk.say(Some(it.dossier), order, 51, it.now);
        let by = Envelope::decode(&order).unwrap().id();
        peer.record_raw(&it, id, &said);
        if order_first {
            peer.record_raw(&it, by, &order);
            let items = peer.items.clone();
            let run = without(&it, &mut peer, &items, 0);
            assert_eq!(it.frame(&run), None);
        } else {
            let items = peer.items.clone();
            let run = without(&it, &mut peer, &items, 0);
            assert_eq!(it.frame(&run), None);
            assert_eq!(it.replica().pending(), 1);
            assert_eq!(peer.send(&mut it, by, &order), None);
        }
        assert_eq!(verdict(it.replica(), &by), Verdict::Effective);
        assert_eq!(verdict(it.replica(), &id), Verdict::Effective);
        assert!(it.replica().state().dires().contains_key(&id));
        assert_eq!(it.replica().pending(), 0);
        // Who brings the message now brings nothing: it is never stored again.
        let head = peer.next_head(&it);
        let run = peer.run(&it, &peer.items, peer.sign(&head));
        let node = it.cast.company.subject;
        it.engine.handle_frame(node, &run, it.now);
        let rows = it.work();
        let kept = |row: &Row| matches!(row, Row::Entry { item, .. } if item.sealed.is_some());
        assert!(!rows.iter().any(kept));
    }
}

#[test]
fn a_message_recorded_again_after_its_erasure_is_not_stored() {
    let mut it = Stage::at(Situation::InProgress);
    let dire = it.dire.unwrap();
    let (items, _) = it
        .runs
        .iter()
        .find(|(items, _)| items.iter().any(|one| one.entry.message == dire))
        .unwrap();
    let (item, key) = (
        items.iter().find(|one| one.entry.message == dire).unwrap(),
        &it.key,
    );
    let envelope = item
        .sealed
        .as_ref()
        .unwrap()
        .open(&it.dossier, dire, key)
        .unwrap();
    let stays = residual(it.replica(), &dire);
    it.act(|cast| &cast.clerk, erase(dire, Extent::Message, stays));
    // Its author sends it again: it is on file, and no second act. ADM-5.
    assert_eq!(it.deposit(&envelope.encode()).unwrap(), dire);
    // Another node, which knows nothing of the order, records it.
    let mut peer = Peer::new(&it);
    let item = peer.record_raw(&it, dire, &envelope.encode());
    let head = peer.next_head(&it);
    let run = peer.run(&it, &[item], peer.sign(&head));
    let node = it.cast.company.subject;
    it.engine.handle_frame(node, &run, it.now);
    let rows = it.work();
    let entries: Vec<_> = rows
        .iter()
        .filter_map(|row| match row {
            Row::Entry { item, .. } => Some(item),
            _ => None,
        })
        .collect();
    assert!(entries.len() == 1 && entries[0].sealed.is_none());
}

#[test]
fn an_order_that_says_of_a_message_what_is_not_so_destroys_nothing() {
    let mut it = Stage::at(Situation::InProgress);
    let (dire, exhibit) = (it.dire.unwrap(), it.exhibit.unwrap());
    let wrong = residual(it.replica(), &exhibit);
    let before = it.picture().0;
    let mut peer = Peer::new(&it);
    let order = erase(dire, Extent::Message, wrong);
    let order = it.cast.clerk.say(Some(it.dossier), order, 77, it.now);
    let id = Envelope::decode(&order).unwrap().id();
    assert_eq!(peer.send(&mut it, id, &order), None);
    assert_eq!(
        verdict(it.replica(), &id),
        Verdict::WithoutEffect(Code::UnknownReference)
    );
    assert_eq!(it.picture().0, before);
    assert_eq!(residual(it.replica(), &dire).act, MessageType::Dire);
}

/// Every way to give a replica the same runs: in each order that their citations allow, with and without the message.
#[test]
fn no_order_of_arrival_and_no_message_that_was_never_seen_changes_the_state() {
    let mut it = Stage::at(Situation::InProgress);
    let (dire, exhibit) = (it.dire.unwrap(), it.exhibit.unwrap());
    let mut peer = Peer::new(&it);
    let stays = [dire, exhibit].map(|id| residual(it.replica(), &id));
    it.act(|cast| &cast.clerk, erase(dire, Extent::Message, stays[0].clone()));
    // Concurrent with it, at another node: the same order again, and what refers to the dire.
    let order = erase(dire, Extent::Message, stays[0].clone());
    let order = it.cast.judge.say(Some(it.dossier), order, 60, it.now);
    assert_eq!(
        peer.send(&mut it, Envelope::decode(&order).unwrap().id(), &order),
        None
    );
    it.act(
        |cast| &cast.clerk,
        erase(exhibit, Extent::Message, stays[1].clone()),
    );
    let expected = it.picture();
    assert_eq!(it.replica().state().tombstones().count(), 2);
    let registry = it.engine.registry().clone();
    let mut hashes: Vec<Digest> = Vec::new();
    for stripped in [false, true] {
        for rotated in 0..it.runs.len() {
            let mut replica = Replica::new(it.dossier);
            replica.add_key(0, it.key.clone(), &registry);
            let mut waiting: Vec<_> = it.runs.clone();
            waiting.rotate_left(rotated);
            for _ in 0..=waiting.len() {
                for (items, head) in &waiting {
                    let mut items = items.clone();
                    for item in &mut items {
                        let erased = [dire, exhibit].contains(&item.entry.message);
                        item.sealed = item.sealed.take().filter(|_| !(erased && stripped));
                    }
                    let _ = replica.receive(&items, head, &registry).unwrap();
                }
            }
            assert_eq!(replica.entries(), expected.1);
            assert_eq!(replica.pending(), 0);
            hashes.push(replica.state().hash());
        }
    }
    assert!(hashes.iter().all(|hash| *hash == expected.0));
}
