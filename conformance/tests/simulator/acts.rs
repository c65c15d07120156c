//! What honest persons and nodes say.

use std::sync::Arc;

use basoche_protocol::amount::EuroCents;
use basoche_protocol::dossier::{DocumentFact, Replica};
use basoche_protocol::envelope::Envelope;
use basoche_protocol::fixture::{Actor, document, key_wraps, personal_document};
use basoche_protocol::id::DossierId;
use basoche_protocol::journal::{Chain, Citation, Content};
use basoche_protocol::message::{
    Answer, Barrier, BarrierHeld, Body, Dire, Erasure, ExhibitDeposit, Extent, FeeOrder, ForkSettled,
    KeyGrant, LegalHold, MessageType, PreReport, ProvisionPaid, Report, Residual, RosterChange,
};
use basoche_protocol::role::Class;
use basoche_protocol::time::{Instant, Span};

use super::plan::Saying;
use super::world::{CLAIMED, REVOKED, Said, World};

/// The expert, among those who speak.
pub(super) const EXPERT: usize = 3;

impl World {
    /// The judge says which history counts of a forked chain that the court knows of; false if there is none.
    pub(super) fn settle(&mut self) -> bool {
        let cast = Arc::clone(&self.federation.cast);
        let unsettled = self.dossiers.iter().find_map(|dossier| {
            let held = self.federation.node(0).dossier(dossier)?;
            let settled = held.state().settled();
            let (chain, _) = held
                .chains()
                .forks()
                .find(|(chain, _)| !settled.contains_key(chain))?;
            let last = |(_, history): (_, &Chain)| {
                let (seq, leaf) = (history.size() - 1, history.last()?.0);
                Some(Citation { chain, seq, leaf })
            };
            Some((
                *dossier,
                held.chains().of(&chain).filter_map(last).collect::<Vec<_>>(),
            ))
        });
        let Some((dossier, histories)) = unsettled else {
            return false;
        };
        let keep = histories[self.rng.below(histories.len() as u64) as usize];
        self.counter += 1;
        let order = Body::ForkSettled(ForkSettled {
            ext: None,
            keep,
            reason: "Deux historiques.".into(),
        });
        let clock = self.federation.clock(0);
        let envelope = cast.judge.say(Some(dossier), order, self.counter as u8, clock);
        self.federation.submit(0, &envelope).is_ok()
    }

    /// Somebody says something to their node.
    pub(super) fn say(&mut self, dossier: usize, who: usize, saying: Saying) {
        let cast = Arc::clone(&self.federation.cast);
        let mut speakers = vec![
            &cast.claimant_lawyer,
            &cast.defendant_lawyer,
            &cast.party,
            &cast.expert,
            &cast.clerk,
        ];
        speakers.extend(cast.further.iter().map(|(_, lawyer)| lawyer));
        self.counter += 1;
        let number = self.counter;
        let speaker = speakers[who % speakers.len()];
        let node = |actor: &Actor| self.federation.node_of(actor);
        let clock = self.federation.clock(node(speaker));
        let (actor, body, at) = match saying {
            Saying::Exhibit => (speaker, self.brought(dossier, speaker, number), clock),
            Saying::Dire if number.is_multiple_of(4) => return self.litigate(dossier, number / 4),
            Saying::Dire => (speaker, dire(number), clock),
            Saying::Provision if self.rng.below(4) == 0 && self.settle() => return,
            Saying::Provision => (&cast.clerk, paid(number), self.federation.clock(0)),
            Saying::PreReport => {
                let now = self.federation.clock(2);
                let due = now + Span::from_seconds(2);
                let body = PreReport {
                    ext: None,
                    document: document("pre-report"),
                    dires_due: due,
                    closes: None,
                };
                (&cast.expert, Body::PreReport(body), now)
            }
            Saying::Report => (&cast.expert, self.report(dossier), self.federation.clock(2)),
            Saying::Erasure | Saying::Hold => {
                let erases = saying == Saying::Erasure;
                let Some(body) = self.forget_or_keep(dossier, erases) else {
                    return;
                };
                (&cast.clerk, body, self.federation.clock(0))
            }
            Saying::Unlawful => (speaker, order(number), clock),
            Saying::Backdated => (&cast.further[0].1, dire(number), CLAIMED),
        };
        let home = self.federation.node_of(actor);
        let for_persons = match &body {
            Body::KeyGrant(_) => Some("grant"),
            Body::ExhibitDeposit(exhibit) if exhibit.document.class() == Class::Personal => Some("personal"),
            _ => None,
        };
        let envelope = actor.say(Some(self.dossiers[dossier]), body, number as u8, at);
        let forbidden = match saying {
            Saying::Unlawful => true,
            Saying::Backdated => self.federation.clock(home) >= REVOKED,
            _ => false,
        };
        let taken = self.federation.submit(home, &envelope);
        if let Some(kind) = for_persons.filter(|_| taken.is_ok()) {
            *self.histogram.entry(kind.to_owned()).or_default() += 1;
        }
        if forbidden && self.is_honest(home) {
            if taken.is_ok() {
                self.broken
                    .get_or_insert_with(|| format!("authorised: node {home} took {saying:?}"));
            }
            return;
        }
        if !forbidden {
            self.said.push(Said { node: home, envelope });
        }
    }

    /// The expert asks every member of a dossier to sign that it holds what the expert's node has signed for.
    pub(super) fn ask_all(&mut self, number: usize) {
        let (cast, dossier) = (Arc::clone(&self.federation.cast), self.dossiers[number]);
        let node = self.federation.node(2);
        let Some(replica) = node.dossier(&dossier) else {
            return;
        };
        let Some(head) = replica.heads().get(&node.node()) else {
            return;
        };
        let at = self.federation.clock(2);
        let barrier = Barrier {
            ext: None,
            frontier: head.head().rows.clone(),
            documents: vec![],
            members: replica.state().nodes().into_iter().collect(),
            due: at + Span::from_seconds(60),
        };
        self.counter += 1;
        let salt = self.counter as u8;
        let envelope = cast.expert.say(Some(dossier), Body::Barrier(barrier), salt, at);
        // Refused once the report is in.
        drop(self.federation.submit(2, &envelope));
    }

    /// A node signs the barriers of a dossier that it can sign and has not signed.
    pub(super) fn sign(&mut self, index: usize, number: usize) {
        let (cast, dossier) = (Arc::clone(&self.federation.cast), self.dossiers[number]);
        let nodes = [&cast.court, &cast.bar, &cast.company];
        let mut nodes = nodes.into_iter().chain(cast.further.iter().map(|(node, _)| node));
        let (Some(actor), Some(replica)) = (nodes.nth(index), self.federation.node(index).dossier(&dossier))
        else {
            return;
        };
        let state = replica.state();
        let asked = state.barriers().keys().filter(|id| {
            let asked = replica
                .barrier(id)
                .filter(|one| one.members.contains(&actor.subject));
            let holds = asked.is_some_and(|one| !replica.contradicts(one) && !replica.lacks_message_of(one));
            holds && state.barrier_held(id, &actor.subject).is_none()
        });
        for barrier in asked.copied().collect::<Vec<_>>() {
            let body = Body::BarrierHeld(BarrierHeld { ext: None, barrier });
            self.counter += 1;
            let at = self.federation.clock(index);
            let envelope = actor.say(Some(dossier), body, self.counter as u8, at);
            if self.federation.submit(index, &envelope).is_ok() {
                *self.histogram.entry("signed".to_owned()).or_default() += 1;
            }
        }
    }

    /// The expert takes a further lawyer into the small dossier, or removes them.
    pub(super) fn change(&mut self, lawyer: usize, enters: bool) {
        let cast = Arc::clone(&self.federation.cast);
        let subject = cast.further[lawyer].1.subject;
        let mut add = cast.participants();
        add.retain(|one| enters && one.subject == subject);
        let remove = if enters { vec![] } else { vec![subject] };
        let body = Body::RosterChange(RosterChange {
            ext: None,
            add,
            remove,
        });
        self.counter += 1;
        let at = self.federation.clock(2);
        let envelope = cast
            .expert
            .say(Some(self.dossiers[1]), body, self.counter as u8, at);
        if !enters && let Ok(signed) = Envelope::decode(&envelope) {
            self.removals.push((signed.id(), 3 + lawyer));
        }
        if enters {
            self.entered.insert(3 + lawyer);
        }
        // Refused where the expert's node, which may have lost what it knew, knows better.
        let _ = self.federation.submit(2, &envelope);
        self.said.push(Said { node: 2, envelope });
    }

    /// An order about one of the exhibits and dires that the court has on file.
    fn forget_or_keep(&self, dossier: usize, erases: bool) -> Option<Body> {
        let held = self.federation.node(0).dossier(&self.dossiers[dossier])?;
        let messages = held.records().filter_map(|(_, _, record)| match &record.content {
            Content::Authentic(message, _) => Some((record.message, message)),
            _ => None,
        });
        let may = |act| matches!(act, MessageType::ExhibitDeposit | MessageType::Dire);
        let messages: Vec<_> = messages.filter(|(_, one)| may(one.message_type())).collect();
        let (target, message) = *messages.get(self.counter as usize % messages.len().max(1))?;
        let reason = "Pour ordre.".into();
        if erases {
            return Some(Body::Erasure(Erasure {
                ext: None,
                target,
                extent: Extent::Message,
                residual: Residual::of(message),
                reason,
            }));
        }
        let lifts = held.state().holds().next().map(|(hold, _)| hold);
        Some(Body::LegalHold(LegalHold {
            ext: None,
            target: lifts.is_none().then_some(target),
            lifts,
            reason,
        }))
    }

    /// Every third exhibit is for persons; every third saying hands such a one's key on, where the speaker has it.
    fn brought(&self, dossier: usize, speaker: &Actor, number: u64) -> Body {
        let (cast, id) = (&self.federation.cast, self.dossiers[dossier]);
        match number % 3 {
            0 => {
                let mut readers = vec![&cast.expert, &cast.clerk, speaker];
                readers.sort_by_key(|one| one.subject);
                readers.dedup_by_key(|one| one.subject);
                personal(number, &id, &readers)
            }
            1 => {
                let held = self
                    .federation
                    .node(self.federation.node_of(speaker))
                    .dossier(&id);
                let state = held.map(Replica::state);
                let readable = state.and_then(|state| {
                    let is_reader = |document: &&DocumentFact| {
                        let recipients = state.recipients(document);
                        recipients.is_some_and(|recipients| recipients.contains(&speaker.subject))
                    };
                    state.documents().find(is_reader)
                });
                readable.map_or_else(
                    || exhibit(number),
                    |document| grant(document, &id, &[&cast.judge, &cast.party]),
                )
            }
            _ => exhibit(number),
        }
    }

    fn report(&self, dossier: usize) -> Body {
        let held = self.federation.node(2).dossier(&self.dossiers[dossier]);
        let dires = held.map(|held| held.state().dires().keys().copied().collect::<Vec<_>>());
        let answers = dires.unwrap_or_default().into_iter().map(|dire| Answer {
            dire,
            text: "Vu.".into(),
        });
        Body::Report(Report {
            ext: None,
            document: document("report"),
            answers: answers.collect(),
            closes: None,
        })
    }
}

pub(super) fn paid(cents: u64) -> Body {
    Body::ProvisionPaid(ProvisionPaid {
        ext: None,
        amount: EuroCents::new(cents).unwrap(),
        paid_at: Instant::from_ms(0),
        payer: None,
    })
}

pub(super) fn exhibit(number: u64) -> Body {
    Body::ExhibitDeposit(ExhibitDeposit {
        ext: None,
        number,
        title: "Photographie".into(),
        document: document("exhibit"),
    })
}

fn personal(number: u64, dossier: &DossierId, readers: &[&Actor]) -> Body {
    Body::ExhibitDeposit(ExhibitDeposit {
        ext: None,
        number,
        title: "Certificat".into(),
        document: personal_document("exhibit", dossier, readers),
    })
}

fn grant(document: &DocumentFact, dossier: &DossierId, readers: &[&Actor]) -> Body {
    let (deposit, root) = (document.deposit, document.reference.root);
    Body::KeyGrant(KeyGrant {
        ext: None,
        deposit,
        root,
        wraps: key_wraps(dossier, &root, readers),
    })
}

pub(super) fn dire(number: u64) -> Body {
    Body::Dire(Dire {
        ext: None,
        number,
        text: "La fissure est antérieure.".into(),
        recapitulative: false,
        document: None,
    })
}

/// A fee order, which only the judge may sign.
pub(super) fn order(cents: u64) -> Body {
    Body::FeeOrder(FeeOrder {
        ext: None,
        amount: EuroCents::new(cents).unwrap(),
        order: None,
    })
}
