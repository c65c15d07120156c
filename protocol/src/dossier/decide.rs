//! Whether an authentic message is lawful. SPEC §7.3.

use std::collections::BTreeSet;

use super::{DireFact, Fact, Phase, State};
use crate::error::{Error, Incompatible, Refused};
use crate::id::{DossierId, MessageId, SubjectId};
use crate::message::{
    Body, Contestation, KeyGrant, Message, MessageType, Opening, Report, RosterChange, Stated,
};
use crate::role::Role;
use crate::time::Instant;
use crate::wire::limits;

/// The version of the procedure's rules that this crate knows. DOS-1.
pub const RULES: u64 = 1;

impl State {
    /// What `message`, recorded at `at`, would change; or why it may not.
    ///
    /// Its signature, author and role have been checked. `self` is its causal past; `outside` are the dires that lie
    /// outside the frontier that the message names, if it names one. BAR-4.
    pub fn decide(
        &self,
        id: MessageId,
        message: &Message,
        at: Instant,
        outside: &BTreeSet<MessageId>,
    ) -> Result<Fact, Error> {
        let act = message.message_type();
        // DOS-2: the table says which roles send what.
        if !act.senders().contains(&message.role) {
            return Err(Refused::SenderRole {
                role: message.role,
                act,
            }
            .into());
        }
        if let Body::Designation(designation) = &message.body {
            if designation.rules != RULES {
                return Err(Incompatible::Rules(designation.rules).into());
            }
            // DOS-3: the order names its judge and its clerk; one of them signs it.
            self.require_author(message.author, &[designation.judge, designation.clerk])?;
        } else {
            let dossier = message.dossier.unwrap_or(DossierId::new([0; 32]));
            if self.designation().is_none() {
                return Err(Refused::UnknownDossier { dossier }.into());
            }
            self.check_participant(message)?;
            self.check_references(message)?;
            self.check_phase(act, message.role)?;
            self.check_guards(message, at, outside)?;
        }
        Ok(Fact::new(id, at, message))
    }

    /// DOS-3: only participants act, in the role that the roster gives them; nodes act for themselves.
    fn check_participant(&self, message: &Message) -> Result<(), Refused> {
        let author = message.author;
        let held = match message.role {
            Role::Node => self.nodes().contains(&author),
            role => self
                .roster()
                .get(&author)
                .is_some_and(|member| member.role == role),
        };
        if held {
            return Ok(());
        }
        // Somebody of another role in the same dossier is not competent; a stranger is no participant.
        let known = self.roster().contains_key(&author);
        Err(if known {
            Refused::NotCompetent { author }
        } else {
            Refused::NotParticipant { author }
        })
    }

    /// DOS-4: what a message refers to is on file, and of the right kind.
    fn check_references(&self, message: &Message) -> Result<(), Refused> {
        let barrier = match &message.body {
            Body::BarrierHeld(held) if !self.barriers.contains_key(&held.barrier) => Some(held.barrier),
            _ => None,
        };
        let missing = message.refs.iter().find(|id| self.message_type(id).is_none());
        let absent = |document: &Stated| !self.brought(&document.deposit, &document.root);
        let missing = missing.copied().or(barrier);
        let document = match &message.body {
            Body::Held(held) => held.stated().find(absent),
            Body::MadeAvailable(made) => made.stated().find(absent),
            Body::Opening(Opening { deposit, root, .. })
            | Body::KeyGrant(KeyGrant { deposit, root, .. })
            | Body::Contestation(Contestation { deposit, root, .. }) => {
                let (deposit, root) = (*deposit, *root);
                Some(Stated { deposit, root }).filter(absent)
            }
            Body::Designation(_)
            | Body::Acceptance(_)
            | Body::Decline(_)
            | Body::RosterChange(_)
            | Body::ProvisionPaid(_)
            | Body::ExhibitDeposit(_)
            | Body::Dire(_)
            | Body::PreReport(_)
            | Body::Report(_)
            | Body::FeeClaim(_)
            | Body::FeeOrder(_)
            | Body::CloseDossier(_)
            | Body::ForkSettled(_)
            | Body::Erasure(_)
            | Body::LegalHold(_)
            | Body::Barrier(_)
            | Body::BarrierHeld(_)
            | Body::Gap(_)
            | Body::PartyEnrolment(_)
            | Body::KeyRevocation(_)
            | Body::HandOver(_) => None,
        };
        let missing = missing.or_else(|| document.map(|document| document.deposit));
        missing.map_or(Ok(()), |reference| Err(Refused::UnknownReference { reference }))
    }

    /// DOS-5: each act has its phases; a once-only act is done once.
    fn check_phase(&self, act: MessageType, role: Role) -> Result<(), Refused> {
        let phase = self.phase();
        if let Some(by) = self.done(act) {
            return Err(Refused::AlreadyDone { act, by });
        }
        let open: &[Phase] = match act {
            MessageType::Designation => &[],
            MessageType::Acceptance | MessageType::Decline => &[Phase::Designated],
            MessageType::RosterChange => &[Phase::Setup, Phase::InProgress, Phase::PreReport],
            MessageType::ProvisionPaid => &[
                Phase::Designated,
                Phase::Setup,
                Phase::InProgress,
                Phase::PreReport,
            ],
            // DOS-6, CPC art. 268: what the court has on file may be consulted before the expert accepts.
            MessageType::ExhibitDeposit if matches!(role, Role::Judge | Role::Clerk) => &[
                Phase::Designated,
                Phase::Setup,
                Phase::InProgress,
                Phase::PreReport,
            ],
            MessageType::ExhibitDeposit => {
                // DOS-6, CPC art. 267: the operations begin once the provision is paid in.
                if matches!(phase, Phase::Designated | Phase::Setup) {
                    return Err(Refused::ProvisionUnpaid);
                }
                &[Phase::InProgress, Phase::PreReport]
            }
            MessageType::Dire => &[Phase::InProgress, Phase::PreReport],
            MessageType::PreReport => &[Phase::InProgress],
            MessageType::Report => &[Phase::PreReport],
            // As long as there is something that a party may still do.
            MessageType::PartyEnrolment => &[
                Phase::Setup,
                Phase::InProgress,
                Phase::PreReport,
                Phase::ReportFiled,
                Phase::FeeAssessment,
                Phase::FeesFixed,
            ],
            MessageType::FeeClaim => &[Phase::ReportFiled],
            MessageType::FeeOrder => &[Phase::FeeAssessment],
            MessageType::CloseDossier => &[Phase::FeesFixed, Phase::Declined],
            MessageType::ForkSettled
            | MessageType::Erasure
            | MessageType::LegalHold
            | MessageType::Held
            | MessageType::MadeAvailable
            | MessageType::Opening
            | MessageType::Contestation
            | MessageType::KeyGrant
            | MessageType::Barrier
            | MessageType::BarrierHeld
            | MessageType::Gap
            | MessageType::KeyRevocation
            | MessageType::HandOver => Phase::ALL,
        };
        if open.contains(&phase) {
            Ok(())
        } else {
            Err(Refused::WrongPhase { act, phase })
        }
    }

    /// What the body itself must satisfy against the file.
    fn check_guards(
        &self,
        message: &Message,
        at: Instant,
        outside: &BTreeSet<MessageId>,
    ) -> Result<(), Refused> {
        self.check_recipients(&message.body)?;
        match &message.body {
            Body::KeyGrant(grant) => {
                // DOS-30: who has no key has none to hand on.
                let author = message.author;
                let known = self.document(&grant.deposit, &grant.root);
                let is_recipient = known
                    .and_then(|document| self.recipients(document))
                    .is_some_and(|recipients| recipients.contains(&author));
                let root = grant.root;
                is_recipient
                    .then_some(())
                    .ok_or(Refused::NotRecipient { author, root })
            }
            Body::RosterChange(change) => self.check_roster_change(change),
            Body::PartyEnrolment(enrolment) => self.check_enrolment(enrolment),
            Body::KeyRevocation(revocation) => {
                self.check_revocation(message.author, message.role, revocation)
            }
            Body::Report(report) => self.check_report(report, at, outside),
            // BAR-2: it asks those who are members, and all of them.
            Body::Barrier(barrier) => {
                let nodes = self.nodes();
                let named = barrier.members.iter().copied().collect();
                let other = nodes.symmetric_difference(&named).next();
                other.map_or(Ok(()), |node| Err(Refused::RosterConflict { subject: *node }))
            }
            Body::HandOver(act) => self.check_hand_over(message.author, message.role, act),
            Body::Opening(opening) => self.check_reader(message, opening.reader),
            Body::MadeAvailable(made) => {
                // DOS-7: a node speaks for those whom it serves, and for nobody else.
                let roster = self.roster();
                let stranger = made
                    .addressees
                    .iter()
                    .find(|one| roster.get(one).is_none_or(|member| member.node != message.author));
                stranger.map_or(Ok(()), |author| Err(Refused::NotParticipant { author: *author }))
            }
            // DOS-12: the court settles each fork once.
            Body::ForkSettled(order) => match self.settled.get(&order.keep.chain) {
                Some((done, _)) => Err(Refused::AlreadyDone {
                    act: MessageType::ForkSettled,
                    by: done.id,
                }),
                None => Ok(()),
            },
            Body::Erasure(order) => self.check_erasure(order),
            Body::LegalHold(order) => self.check_hold(order),
            // DOS-9, CPC art. 276: the expert need not take a late dire into account, unless a serious cause is
            // shown. Lateness is the expert's to weigh, so it is recorded, never refused.
            Body::Dire(_)
            | Body::Designation(_)
            | Body::Acceptance(_)
            | Body::Decline(_)
            | Body::ProvisionPaid(_)
            | Body::ExhibitDeposit(_)
            | Body::PreReport(_)
            | Body::FeeClaim(_)
            | Body::FeeOrder(_)
            | Body::CloseDossier(_)
            | Body::Held(_)
            | Body::Contestation(_)
            | Body::BarrierHeld(_)
            | Body::Gap(_) => Ok(()),
        }
    }

    /// DOS-30: a personal document is for persons of the roster.
    fn check_recipients(&self, body: &Body) -> Result<(), Refused> {
        let wraps = body.wraps();
        if wraps.is_empty() {
            return Ok(());
        }
        let roster = self.roster();
        let mut recipients = wraps
            .iter()
            .flat_map(|(_, wraps)| wraps.iter())
            .map(|wrap| wrap.recipient);
        let stranger = recipients.find(|one| !roster.contains_key(one));
        stranger.map_or(Ok(()), |author| Err(Refused::NotParticipant { author }))
    }

    /// DOS-10: nobody joins twice or returns after leaving; the persons whom the order names stay.
    fn check_roster_change(&self, change: &RosterChange) -> Result<(), Refused> {
        let roster = self.roster();
        let added = change.add.iter().map(|one| one.subject);
        let twice = added
            .clone()
            .find(|subject| roster.contains_key(subject) || self.removed.contains(subject));
        let absent = change
            .remove
            .iter()
            .copied()
            .find(|subject| !self.added.contains_key(subject) || self.removed.contains(subject));
        let joining: BTreeSet<SubjectId> = added.collect();
        let unrepresented = change.add.iter().filter_map(|one| one.represents).find(|party| {
            let party_on_file = roster.get(party).is_some_and(|member| member.role == Role::Party);
            let party_joins = joining.contains(party)
                && change
                    .add
                    .iter()
                    .any(|one| one.subject == *party && one.role == Role::Party);
            !party_on_file && !party_joins
        });
        let mut nodes = self.nodes();
        nodes.extend(change.add.iter().map(|one| one.node));
        // DOS-20: an entry must be able to carry a key wrap for each joining node.
        let crowded =
            roster.len() + change.add.len() > limits::DOSSIER_PERSONS || nodes.len() > limits::DOSSIER_NODES;
        let crowd = crowded
            .then(|| change.add.first().map(|one| one.subject))
            .flatten();
        match twice.or(absent).or(unrepresented).or(crowd) {
            Some(subject) => Err(Refused::RosterConflict { subject }),
            None => Ok(()),
        }
    }

    /// DOS-11, CPC art. 276: the report comes after the time for dires, and answers each one on file that lies within the
    /// frontier that it closes over, or that was recorded in time: leaving it out of the frontier is no way round it.
    fn check_report(
        &self,
        report: &Report,
        at: Instant,
        outside: &BTreeSet<MessageId>,
    ) -> Result<(), Refused> {
        let due = self.dires_due();
        if let Some(until) = due.filter(|until| at < *until) {
            return Err(Refused::DiresStillDue { until });
        }
        let answered: BTreeSet<_> = report.answers.iter().map(|answer| answer.dire).collect();
        if let Some(reference) = answered.iter().find(|dire| !self.dires.contains_key(dire)) {
            return Err(Refused::UnknownReference {
                reference: *reference,
            });
        }
        let in_time = |dire: &DireFact| due.is_some_and(|due| dire.at <= due);
        let counts = |(id, dire): &(&MessageId, &DireFact)| !outside.contains(*id) || in_time(dire);
        let to_answer: Vec<_> = self.dires.iter().filter(counts).map(|(id, _)| id).collect();
        match to_answer.iter().find(|dire| !answered.contains(**dire)) {
            Some(first) => Err(Refused::DireUnanswered {
                answered: answered.len(),
                due: to_answer.len(),
                first: **first,
            }),
            None => Ok(()),
        }
    }

    /// DOS-8: an opening is signed by the reader, or by the node that serves a reader without a key.
    fn check_reader(&self, message: &Message, reader: SubjectId) -> Result<(), Refused> {
        let served = || {
            self.roster()
                .get(&reader)
                .is_some_and(|member| member.node == message.author)
        };
        let allowed = if message.role == Role::Node {
            served()
        } else {
            reader == message.author
        };
        if allowed {
            Ok(())
        } else {
            Err(Refused::NotCompetent {
                author: message.author,
            })
        }
    }

    fn require_author(&self, author: SubjectId, allowed: &[SubjectId]) -> Result<(), Refused> {
        if allowed.contains(&author) {
            Ok(())
        } else {
            Err(Refused::NotCompetent { author })
        }
    }
}
