//! What is known of a dossier. SPEC §7.2.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};

use super::erasure::Hold;
use super::parties::{PartyKey, Withdrawn};
use crate::amount::EuroCents;
use crate::id::{CertificateId, Digest, MessageId, SubjectId};
use crate::journal::{ChainId, Citation};
use crate::message::{
    Body, Designation, DocumentRef, Extent, Finding, Message, MessageType, Participant, Residual, Stated,
};
use crate::role::Role;
use crate::time::Instant;
use crate::wire::codec;
use crate::wire::number::numbers;

numbers! {
    /// Where an assessment stands. Derived from the facts, never stored. SPEC §7.2.
    Phase {
        /// The expert is designated and has not answered (*désignée*).
        Designated = 1 "designated",
        /// Accepted; the provision is awaited (*en création*).
        Setup = 2 "setup",
        /// The operations are under way (*en cours*).
        InProgress = 3 "in-progress",
        /// The pre-report is out and dires are awaited (*pré-rapport diffusé*).
        PreReport = 4 "pre-report",
        /// The report is filed (*conclusions*).
        ReportFiled = 5 "report-filed",
        /// The expert has claimed fees (*taxation*).
        FeeAssessment = 6 "fee-assessment",
        /// The judge has fixed the fees (*taxe rendue*).
        FeesFixed = 7 "fees-fixed",
        /// The dossier is closed (*clos*).
        Closed = 8 "closed",
        /// The expert has declined (*refusée*).
        Declined = 9 "declined",
    }
}

/// One thing that an effective message established.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The message.
    pub id: MessageId,
    /// When its node recorded it.
    pub at: Instant,
    /// Its author.
    pub author: SubjectId,
    /// What it says.
    pub body: Body,
}

impl Fact {
    /// What `message`, recorded at `at`, establishes.
    pub fn new(id: MessageId, at: Instant, message: &Message) -> Self {
        Self {
            id,
            at,
            author: message.author,
            body: message.body.clone(),
        }
    }
}

/// An act that is done once: the earliest recorded counts, the id breaks a tie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Done {
    pub(super) at: Instant,
    pub(super) id: MessageId,
}

/// A participant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Member {
    /// In which capacity.
    pub role: Role,
    /// The node that serves them.
    pub node: SubjectId,
    /// The party that a lawyer represents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub represents: Option<SubjectId>,
}

/// A dire on file. DOS-9.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DireFact {
    /// Who observes.
    pub author: SubjectId,
    /// When it was recorded.
    pub at: Instant,
}

/// A document on file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DocumentFact {
    /// The message that brought it.
    pub deposit: MessageId,
    /// When that was recorded: the *date de dépôt*.
    pub deposited_at: Instant,
    /// Who brought it.
    pub author: SubjectId,
    /// What it is.
    pub reference: DocumentRef,
}

/// A personal document's key, handed on to somebody by a message other than the deposit. DOS-30.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrantFact {
    /// Who handed it on.
    pub author: SubjectId,
    /// The compact JWE.
    pub jwe: String,
}

/// A wrap of a document's key for somebody, and who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given<'a> {
    /// The message that brought it: the deposit, or a grant.
    pub message: MessageId,
    /// Who wrapped it.
    pub author: SubjectId,
    /// The compact JWE.
    pub jwe: &'a str,
}

numbers! {
    /// A dated fact about a document and somebody: the three are never merged. SPEC §8.3.
    Statement {
        /// A node holds it.
        Held = 1 "held",
        /// It is at the disposal of somebody (*mise à disposition*).
        MadeAvailable = 2 "made-available",
        /// Somebody opened it (*ouverture*).
        Opened = 3 "opened",
    }
}

/// The hand-over that another one follows, if any; encoded as an array, as there is no null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Follows(pub(super) Option<MessageId>);

impl Serialize for Follows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

/// A barrier on file. BAR-2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BarrierFact {
    /// Who proposed it.
    pub author: SubjectId,
    /// When it was recorded.
    pub at: Instant,
    /// Until when answers are expected.
    pub due: Instant,
    /// The member nodes that are asked.
    pub members: Vec<SubjectId>,
}

/// Entries that did not come to a node, by its own word. GAP-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GapFact {
    /// When it was recorded.
    pub at: Instant,
    /// Entries that the node held then.
    pub held: u64,
    /// Leaf hash of the last entry named.
    pub leaf: Digest,
    /// The node whose head names it.
    pub named_by: SubjectId,
}

/// That a node contests a document. CON-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Contested {
    /// When it was recorded.
    pub at: Instant,
    /// The segment that does not open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<u64>,
}

/// The facts of a dossier, joined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct State {
    #[serde(serialize_with = "pairs")]
    pub(super) designations: BTreeMap<Done, Designation>,
    #[serde(serialize_with = "pairs")]
    pub(super) done: BTreeMap<MessageType, Done>,
    #[serde(serialize_with = "pairs")]
    pub(super) added: BTreeMap<SubjectId, Member>,
    pub(super) removed: BTreeSet<SubjectId>,
    #[serde(serialize_with = "pairs")]
    pub(super) paid: BTreeMap<MessageId, EuroCents>,
    /// The sum of these: asked for at every act.
    #[serde(skip)]
    paid_in: EuroCents,
    #[serde(serialize_with = "pairs")]
    pub(super) dires: BTreeMap<MessageId, DireFact>,
    #[serde(serialize_with = "pairs")]
    pub(super) dires_due: BTreeMap<MessageId, Instant>,
    #[serde(serialize_with = "pairs")]
    pub(super) documents: BTreeMap<(MessageId, Digest), DocumentFact>,
    #[serde(serialize_with = "pairs")]
    pub(super) statements: BTreeMap<(Statement, MessageId, Digest, SubjectId), Instant>,
    #[serde(serialize_with = "pairs")]
    pub(super) messages: BTreeMap<MessageId, MessageType>,
    #[serde(serialize_with = "pairs")]
    pub(super) settled: BTreeMap<ChainId, (Done, Citation)>,
    /// By deposit, root, recipient and message: two grants to one person are two facts.
    #[serde(serialize_with = "pairs")]
    pub(super) grants: BTreeMap<(MessageId, Digest, SubjectId, MessageId), GrantFact>,
    #[serde(serialize_with = "pairs")]
    pub(super) erased: BTreeMap<(MessageId, Extent), (Done, Residual)>,
    /// The documents of messages that are established by what stays of them: statements name these wherever they stand,
    /// also before the order. ERA-4.
    #[serde(skip)]
    pub(super) residual_documents: BTreeSet<(MessageId, Digest)>,
    #[serde(serialize_with = "pairs")]
    pub(super) holds: BTreeMap<MessageId, Hold>,
    #[serde(serialize_with = "pairs")]
    pub(super) lifted: BTreeMap<MessageId, Done>,
    #[serde(serialize_with = "pairs")]
    pub(super) contested: BTreeMap<(MessageId, Digest, SubjectId, Finding), Contested>,
    #[serde(serialize_with = "pairs")]
    pub(super) barriers: BTreeMap<MessageId, BarrierFact>,
    /// Which node signed that it holds a barrier, and when.
    #[serde(serialize_with = "pairs")]
    pub(super) barriers_held: BTreeMap<(MessageId, SubjectId), Instant>,
    /// Dires and exhibits that lie outside the frontier of a milestone, with the last such milestone. The replica, which
    /// knows where they stand, keeps it. BAR-4.
    #[serde(serialize_with = "pairs")]
    pub(super) after: BTreeMap<MessageId, MessageId>,
    /// By node, chain and number of entries named.
    #[serde(serialize_with = "pairs")]
    pub(super) gaps: BTreeMap<(SubjectId, ChainId, u64), GapFact>,
    /// Who moved where, by person and the hand-over that it follows. SEAT-3.
    #[serde(serialize_with = "pairs")]
    pub(super) handed_over: BTreeMap<(SubjectId, Follows), (Done, SubjectId)>,
    /// Keys that were enrolled inside, by certificate and message: two experts may answer for one key.
    #[serde(serialize_with = "pairs")]
    pub(super) party_keys: BTreeMap<(CertificateId, MessageId), PartyKey>,
    /// By enrolment and revocation.
    #[serde(serialize_with = "pairs")]
    pub(super) withdrawn: BTreeMap<(MessageId, MessageId), Withdrawn>,
}

/// A map as an array of `[key, value]`: our encoding has unsigned keys only.
fn pairs<K: Serialize, V: Serialize, S: Serializer>(
    map: &BTreeMap<K, V>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(map.iter())
}

impl State {
    /// Where the assessment stands.
    pub fn phase(&self) -> Phase {
        let reached = [
            (MessageType::CloseDossier, Phase::Closed),
            (MessageType::Decline, Phase::Declined),
            (MessageType::FeeOrder, Phase::FeesFixed),
            (MessageType::FeeClaim, Phase::FeeAssessment),
            (MessageType::Report, Phase::ReportFiled),
            (MessageType::PreReport, Phase::PreReport),
        ];
        match reached.iter().find(|(act, _)| self.done.contains_key(act)) {
            Some((_, phase)) => *phase,
            None if !self.done.contains_key(&MessageType::Acceptance) => Phase::Designated,
            None if self.is_provision_paid() => Phase::InProgress,
            None => Phase::Setup,
        }
    }

    /// The founding act; `None` only before it has been applied.
    pub fn designation(&self) -> Option<&Designation> {
        self.designations
            .first_key_value()
            .map(|(_, designation)| designation)
    }

    /// Whether instalments reach the provision. DOS-6.
    pub fn is_provision_paid(&self) -> bool {
        self.designation()
            .is_some_and(|designation| self.paid_in >= designation.provision)
    }

    /// The message that did a once-only act.
    pub fn done(&self, act: MessageType) -> Option<MessageId> {
        self.done.get(&act).map(|done| done.id)
    }

    /// Until when dires are due, once the pre-report has said so.
    pub fn dires_due(&self) -> Option<Instant> {
        self.done(MessageType::PreReport)
            .and_then(|id| self.dires_due.get(&id).copied())
    }

    /// The last position that the court lets count, of each forked chain on which it has ordered. JRN-14.
    pub fn settled(&self) -> BTreeMap<ChainId, Citation> {
        let orders = self.settled.iter();
        orders.map(|(chain, (_, keep))| (*chain, *keep)).collect()
    }

    /// The dires on file, by message.
    pub fn dires(&self) -> &BTreeMap<MessageId, DireFact> {
        &self.dires
    }

    /// The documents on file, by message and root: not those that are erased.
    pub fn documents(&self) -> impl Iterator<Item = &DocumentFact> {
        let documents = self.documents.values();
        documents.filter(|document| self.erased_by(&document.deposit).is_none())
    }

    /// The document `root` that `deposit` brought, unless it is erased.
    pub fn document(&self, deposit: &MessageId, root: &Digest) -> Option<&DocumentFact> {
        let document = self.documents.get(&(*deposit, *root));
        document.filter(|_| self.erased_by(deposit).is_none())
    }

    /// For whom a document's key is wrapped, grants included; nothing for a document of class `member`, which every
    /// member node opens. DOC-20.
    pub fn recipients(&self, document: &DocumentFact) -> Option<BTreeSet<SubjectId>> {
        let (_, wraps) = document.reference.wraps()?;
        let mut recipients: BTreeSet<_> = wraps.iter().map(|wrap| wrap.recipient).collect();
        recipients.extend(self.grants_of(document).map(|(who, ..)| who));
        Some(recipients)
    }

    /// The wraps of a personal document's key for `who`: the deposit's first, then those of grants.
    pub fn wraps<'a>(&'a self, document: &'a DocumentFact, who: &SubjectId) -> Vec<Given<'a>> {
        let wraps = document.reference.wraps().map_or(&[][..], |(_, wraps)| wraps);
        let brought = wraps.iter().filter(|wrap| wrap.recipient == *who);
        let brought = brought.map(|wrap| Given {
            message: document.deposit,
            author: document.author,
            jwe: &wrap.jwe,
        });
        let granted = self.grants_of(document).filter(|(one, ..)| one == who);
        let granted = granted.map(|(_, message, grant)| Given {
            message,
            author: grant.author,
            jwe: &grant.jwe,
        });
        brought.chain(granted).collect()
    }

    /// How many grants are on file.
    pub fn grant_count(&self) -> usize {
        self.grants.len()
    }

    /// Recipient, message and wrap of each grant of a document's key.
    fn grants_of(&self, document: &DocumentFact) -> impl Iterator<Item = (SubjectId, MessageId, &GrantFact)> {
        let (deposit, root) = (document.deposit, document.reference.root);
        let first = (deposit, root, SubjectId::new([0; 16]), MessageId::new([0; 32]));
        let grants = self.grants.range(first..);
        let grants = grants.take_while(move |((one, other, ..), _)| (*one, *other) == (deposit, root));
        grants.map(|((_, _, who, message), grant)| (*who, *message, grant))
    }

    /// When `who` first held, was given or opened the document; for [`Statement::Held`], `who` is a node.
    pub fn stated(&self, statement: Statement, document: &DocumentFact, who: &SubjectId) -> Option<Instant> {
        self.statements
            .get(&(statement, document.deposit, document.reference.root, *who))
            .copied()
    }

    /// The barriers on file, by message.
    pub fn barriers(&self) -> &BTreeMap<MessageId, BarrierFact> {
        &self.barriers
    }

    /// When `node` signed that it holds all that a barrier names.
    pub fn barrier_held(&self, barrier: &MessageId, node: &SubjectId) -> Option<Instant> {
        self.barriers_held.get(&(*barrier, *node)).copied()
    }

    /// What nodes stated that did not come to them: node, chain, entries named, and the rest.
    pub fn gaps(&self) -> impl Iterator<Item = (SubjectId, ChainId, u64, &GapFact)> {
        let gaps = self.gaps.iter();
        gaps.map(|((node, chain, named), fact)| (*node, *chain, *named, fact))
    }

    /// How many entries of a chain `node` stated to exist and not to have, each time.
    pub fn gaps_of(&self, node: &SubjectId, chain: &ChainId) -> impl Iterator<Item = u64> {
        let of_both = self.gaps.range((*node, *chain, 0)..=(*node, *chain, u64::MAX));
        of_both.map(|((_, _, named), _)| *named)
    }

    /// The last milestone outside of whose frontier a dire or an exhibit lies. BAR-4.
    pub fn after(&self, message: &MessageId) -> Option<MessageId> {
        self.after.get(message).copied()
    }

    /// Who contests the document, for what.
    pub fn contested(
        &self,
        deposit: &MessageId,
        root: &Digest,
    ) -> impl Iterator<Item = (SubjectId, Finding, Contested)> {
        let first = (*deposit, *root, SubjectId::new([0; 16]), Finding::KeyCommitment);
        let last = (*deposit, *root, SubjectId::new([0xff; 16]), Finding::Length);
        let contested = self.contested.range(first..=last);
        contested.map(|((_, _, node, finding), contested)| (*node, *finding, *contested))
    }

    /// The type of a message on file.
    pub fn message_type(&self, id: &MessageId) -> Option<MessageType> {
        self.messages.get(id).copied()
    }

    /// Establishes `fact`. Commutative, associative and idempotent, also where one message is on file twice, recorded
    /// at two instants: the earliest counts. Cannot fail.
    pub fn apply(&mut self, fact: &Fact) {
        let message_type = fact.body.message_type();
        self.messages.insert(fact.id, message_type);
        for reference in fact.body.documents() {
            let document = DocumentFact {
                deposit: fact.id,
                deposited_at: fact.at,
                author: fact.author,
                reference: reference.clone(),
            };
            let known = self.documents.entry((fact.id, reference.root));
            let known = known.or_insert(document);
            known.deposited_at = known.deposited_at.min(fact.at);
        }
        let done = Done {
            at: fact.at,
            id: fact.id,
        };
        match &fact.body {
            Body::Designation(designation) => {
                self.designations.insert(done, designation.clone());
            }
            Body::RosterChange(change) => {
                for Participant {
                    subject,
                    role,
                    node,
                    represents,
                } in &change.add
                {
                    let member = Member {
                        role: *role,
                        node: *node,
                        represents: *represents,
                    };
                    // Of two concurrent additions the lesser one counts.
                    let known = self.added.entry(*subject).or_insert_with(|| member.clone());
                    *known = member.min(known.clone());
                }
                self.removed.extend(&change.remove);
            }
            Body::ProvisionPaid(paid) => {
                if self.paid.insert(fact.id, paid.amount).is_none() {
                    self.paid_in = self.paid_in.plus(paid.amount);
                }
            }
            Body::Dire(_) => self.dire(fact.id, fact.author, fact.at),
            Body::PreReport(pre_report) => {
                self.dires_due.insert(fact.id, pre_report.dires_due);
                self.do_once(message_type, done);
            }
            Body::Acceptance(_)
            | Body::Decline(_)
            | Body::Report(_)
            | Body::FeeClaim(_)
            | Body::FeeOrder(_)
            | Body::CloseDossier(_) => self.do_once(message_type, done),
            Body::ForkSettled(order) => {
                // Of two concurrent orders the earlier counts.
                let first = self.settled.entry(order.keep.chain).or_insert((done, order.keep));
                *first = (*first).min((done, order.keep));
            }
            Body::Held(held) => {
                for document in held.stated() {
                    self.state(Statement::Held, document, fact.author, fact.at);
                }
            }
            Body::MadeAvailable(made) => {
                for document in made.stated() {
                    for addressee in &made.addressees {
                        self.state(Statement::MadeAvailable, document, *addressee, fact.at);
                    }
                }
            }
            Body::Opening(opening) => {
                let (deposit, root) = (opening.deposit, opening.root);
                self.state(
                    Statement::Opened,
                    Stated { deposit, root },
                    opening.reader,
                    fact.at,
                );
            }
            Body::Barrier(barrier) => {
                let (author, at, due) = (fact.author, fact.at, barrier.due);
                let known = self.barriers.entry(fact.id).or_insert_with(|| BarrierFact {
                    author,
                    at,
                    due,
                    members: barrier.members.clone(),
                });
                known.at = known.at.min(at);
            }
            Body::BarrierHeld(held) => {
                let known = self.barriers_held.entry((held.barrier, fact.author));
                let known = known.or_insert(fact.at);
                *known = (*known).min(fact.at);
            }
            Body::HandOver(act) => {
                let this = (done, act.to);
                let known = self
                    .handed_over
                    .entry((act.person, Follows(act.previous)))
                    .or_insert(this);
                *known = (*known).min(this);
            }
            Body::Gap(gap) => {
                let stated = GapFact {
                    at: fact.at,
                    held: gap.held,
                    leaf: gap.leaf,
                    named_by: gap.named_by,
                };
                let known = self.gaps.entry((fact.author, gap.chain, gap.named));
                let known = known.or_insert(stated);
                *known = (*known).min(stated);
            }
            Body::KeyGrant(grant) => {
                for wrap in &grant.wraps {
                    let key = (grant.deposit, grant.root, wrap.recipient, fact.id);
                    self.grants.entry(key).or_insert_with(|| GrantFact {
                        author: fact.author,
                        jwe: wrap.jwe.clone(),
                    });
                }
            }
            Body::Erasure(order) => self.erase(order, done),
            Body::LegalHold(order) => self.hold(order, done),
            Body::Contestation(said) => {
                let (at, segment) = (fact.at, said.segment);
                let place = (said.deposit, said.root, fact.author, said.finding);
                let known = self.contested.entry(place).or_insert(Contested { at, segment });
                *known = (*known).min(Contested { at, segment });
            }
            Body::PartyEnrolment(_) | Body::KeyRevocation(_) => {
                self.note_keys(fact.id, fact.at, fact.author, &fact.body);
            }
            Body::ExhibitDeposit(_) => {}
        }
    }

    pub(super) fn dire(&mut self, id: MessageId, author: SubjectId, at: Instant) {
        let known = self.dires.entry(id).or_insert(DireFact { author, at });
        known.at = known.at.min(at);
    }

    fn do_once(&mut self, act: MessageType, done: Done) {
        let earliest = self.done.entry(act).or_insert(done);
        *earliest = (*earliest).min(done);
    }

    fn state(&mut self, statement: Statement, document: Stated, who: SubjectId, at: Instant) {
        let Stated { deposit, root } = document;
        let earliest = self
            .statements
            .entry((statement, deposit, root, who))
            .or_insert(at);
        *earliest = (*earliest).min(at);
    }

    /// SHA-256 of the canonical encoding: equal on every node that holds the same entries. SYN-9.
    pub fn hash(&self) -> Digest {
        Digest::of(&[&codec::encode(self)])
    }
}
