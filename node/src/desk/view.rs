//! What the desk shows of itself: status and dossiers, as JSON for people and programs.

use std::collections::BTreeMap;

use basoche_protocol::dossier::{Phase, Replica, Statement};
use basoche_protocol::id::{Digest, DossierId, MessageId, Salt, SubjectId};
use basoche_protocol::journal::{Content, HeadRow, Verdict};
use basoche_protocol::role::{Class, Role};
use serde::{Deserialize, Serialize};

use super::contest::{ContestationView, contested};
use super::erase::{HoldView, TombstoneView, orders};
use super::forks::{ForkView, forks};
use super::gaps::{GapView, gaps};
use super::parties::{PartyView, parties};
use super::{Desk, Level, RetiringView, WaitView};
use crate::effects::now;
use crate::operator::{Condition, MailboxView};
use crate::quittance::QuittanceView;

/// A connected peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerView {
    /// Its id.
    pub node: SubjectId,
    /// Its organisation, from the registry.
    pub organisation: String,
    /// Whether a version is agreed with it now.
    pub connected: bool,
}

/// One dossier in the status.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DossierStatus {
    /// Its id.
    pub id: DossierId,
    /// Where it stands.
    pub phase: Phase,
    /// SHA-256 of its canonical state.
    pub state_hash: Digest,
    /// Journal entries held.
    pub entries: usize,
    /// How far each chain is held.
    pub frontier: Vec<HeadRow>,
    /// Entries that wait for a key or a signer.
    pub quarantined: usize,
}

/// `basoche node status --json`. DESIGN §12.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusView {
    /// 1.
    pub v: u64,
    /// This node.
    pub node: SubjectId,
    /// The program.
    pub version: String,
    /// Whether it takes its users' acts.
    pub ready: bool,
    /// Why not, if not: `CODE: what is so, and what to do`.
    pub reasons: Vec<String>,
    /// What its operator should know besides, in the same form.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Commits so far: grows for as long as the store lives.
    pub commits: u64,
    /// The store's life, as of the newest chain written.
    pub incarnation: Option<String>,
    /// The other nodes of the registry.
    pub peers: Vec<PeerView>,
    /// How many entries of each authority's log are held.
    #[serde(default)]
    pub registry: BTreeMap<String, u64>,
    /// The dossiers held, without those that are being read back.
    pub dossiers: Vec<DossierStatus>,
    /// To which node this one hands over, as long as something keeps it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retiring: Option<RetiringView>,
    /// How many are being read back from the store: the node takes acts in them once they are.
    #[serde(default)]
    pub reading_back: usize,
    /// What was refused, by code.
    pub refusals: BTreeMap<String, u64>,
    /// What is kept here for others, if this node is a mailbox.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mailbox: Option<MailboxView>,
}

/// Somebody in the roster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ParticipantView {
    /// Who.
    pub subject: SubjectId,
    /// In which capacity.
    pub role: Role,
    /// The node that serves them.
    pub node: SubjectId,
    /// That node's organisation.
    pub organisation: String,
    /// The hand-over that brought them to that node.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hand_over: Option<MessageId>,
}

/// A message on file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MessageView {
    /// Its id.
    pub id: MessageId,
    /// Its type; absent while it cannot be opened.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message_type: Option<String>,
    /// Its author; absent while it cannot be opened.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub author: Option<SubjectId>,
    /// When its node recorded it, RFC 3339.
    pub recorded_at: String,
    /// What became of it: `effective`, `pending` or the code of what kept it without effect.
    pub verdict: String,
    /// The milestone outside of whose frontier it lies: it came after what that closed. BAR-4.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<MessageId>,
    /// How far it has come.
    pub level: Level,
    /// Why it has no effect here, and which nodes of the dossier lack it and why.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub waits: Vec<WaitView>,
}

/// When somebody was given and opened a document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Addressee {
    /// Who.
    pub subject: SubjectId,
    /// In which capacity.
    pub role: Role,
    /// *Mise à disposition*, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub available_at: Option<String>,
    /// *Ouverture*, RFC 3339. Its absence proves nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub opened_at: Option<String>,
    /// Why the next of these has not come; nothing once it is opened.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waits: Option<WaitView>,
}

/// A document on file and its dated facts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DocumentView {
    /// The message that brought it.
    pub deposit: MessageId,
    /// Its root.
    pub root: Digest,
    /// Its file name.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Plaintext bytes.
    pub bytes: u64,
    /// Who can open it: the member nodes, or persons only.
    pub class: Class,
    /// Salted commitment to the plaintext. DOC-5.
    pub plaintext_commitment: Digest,
    /// Its salt.
    pub plaintext_salt: Salt,
    /// *Dépôt*, RFC 3339.
    pub deposited_at: String,
    /// The nodes that state that they hold it, and since when.
    pub held: BTreeMap<String, String>,
    /// Everybody in the roster.
    pub addressees: Vec<Addressee>,
    /// The nodes that state that it is not what its message commits to.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub contested: Vec<ContestationView>,
}

/// `basoche dossier show --json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DossierView {
    /// 1.
    pub v: u64,
    /// Its id.
    pub dossier: DossierId,
    /// The court's number.
    pub case_number: String,
    /// Where it stands.
    pub phase: Phase,
    /// Until when dires are due, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dires_due: Option<String>,
    /// The dires on file.
    pub dires: Vec<MessageId>,
    /// The roster.
    pub participants: Vec<ParticipantView>,
    /// The keys of parties that were enrolled in it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub parties: Vec<PartyView>,
    /// The messages, in a causal order.
    pub messages: Vec<MessageView>,
    /// The documents.
    pub documents: Vec<DocumentView>,
    /// The chains of which their nodes signed several histories.
    pub forks: Vec<ForkView>,
    /// What nodes stated that did not come to them.
    #[serde(default)]
    pub gaps: Vec<GapView>,
    /// The barriers, and who signed that they hold them.
    #[serde(default)]
    pub quittances: Vec<QuittanceView>,
    /// What is erased, by order of the court.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub erased: Vec<TombstoneView>,
    /// What is held, by order of the court.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub holds: Vec<HoldView>,
}

impl Desk {
    /// The status.
    pub fn status(&self) -> StatusView {
        let node = self.engine.node();
        let registry = self.engine.registry();
        let conditions = self.monitor.vitals.conditions(Some(self.standing()));
        let (reasons, notes): (Vec<_>, Vec<_>) = conditions.iter().partition(|one| one.is_reason());
        let lines = |conditions: Vec<Condition>| conditions.iter().map(Condition::to_string).collect();
        let connected: Vec<_> = self.engine.peers().collect();
        let peers = registry
            .nodes()
            .filter(|info| info.node != node)
            .map(|info| PeerView {
                node: info.node,
                organisation: info.organisation_name.clone(),
                connected: connected.contains(&info.node),
            });
        let dossiers = self.engine.dossiers().map(|replica| DossierStatus {
            id: replica.dossier(),
            phase: replica.state().phase(),
            state_hash: replica.state().hash(),
            entries: replica.entries(),
            frontier: replica.frontier(),
            quarantined: replica.pending(),
        });
        let dormant = self.engine.dormant().map(|summary| DossierStatus {
            id: summary.dossier(),
            phase: summary.phase(),
            state_hash: summary.state_hash(),
            entries: usize::try_from(summary.entries()).unwrap_or(usize::MAX),
            frontier: summary.frontier().to_vec(),
            quarantined: 0,
        });
        let mut dossiers: Vec<_> = dossiers.chain(dormant).collect();
        dossiers.sort_by_key(|dossier| dossier.id);
        StatusView {
            v: 1,
            node,
            version: crate::VERSION.into(),
            ready: reasons.is_empty(),
            reasons: lines(reasons),
            notes: lines(notes),
            commits: self.commits,
            incarnation: self
                .engine
                .last_signed()
                .map(|(_, incarnation)| incarnation.to_hex()),
            peers: peers.collect(),
            registry: registry.sizes().collect(),
            dossiers,
            retiring: self.retiring(),
            reading_back: self.count_waking(),
            refusals: self.monitor.meters.refusals(),
            mailbox: self.monitor.mailbox.get(),
        }
    }

    /// One dossier in full.
    pub fn show(&self, dossier: &DossierId) -> Option<DossierView> {
        let replica = self.engine.dossier(dossier)?;
        let state = replica.state();
        let participants = state
            .roster()
            .into_iter()
            .map(|(subject, member)| ParticipantView {
                subject,
                role: member.role,
                organisation: self.organisation(&member.node),
                node: member.node,
                hand_over: state.last_hand_over(&subject),
            });
        let (erased, holds) = orders(replica);
        Some(DossierView {
            v: 1,
            dossier: *dossier,
            case_number: state
                .designation()
                .map(|order| order.case_number.clone())
                .unwrap_or_default(),
            phase: state.phase(),
            dires_due: state.dires_due().map(|due| due.to_string()),
            dires: state.dires().keys().copied().collect(),
            participants: participants.collect(),
            parties: parties(replica, self.engine.registry(), now()),
            messages: self.messages(replica),
            documents: self.documents(replica),
            forks: forks(replica),
            gaps: gaps(replica, self.engine.node()),
            quittances: self.quittances(replica),
            erased,
            holds,
        })
    }

    fn messages(&self, replica: &Replica) -> Vec<MessageView> {
        let view = |record: &basoche_protocol::journal::Record| {
            let opened = match &record.content {
                Content::Authentic(message, _) => {
                    Some((message.message_type().name().to_owned(), message.author))
                }
                // Of an erased one the order tells.
                Content::Sealed(_) | Content::Opened(_) | Content::Absent | Content::Rejected => replica
                    .state()
                    .erased_by(&record.message)
                    .filter(|_| record.verdict == Verdict::Effective)
                    .map(|one| (one.residual.act.name().to_owned(), one.residual.author)),
            };
            MessageView {
                id: record.message,
                author: opened.as_ref().map(|(_, author)| *author),
                message_type: opened.map(|(name, _)| name),
                recorded_at: record.recorded_at.to_string(),
                verdict: match record.verdict {
                    Verdict::Effective => "effective".into(),
                    Verdict::WithoutEffect(code) => code.name().into(),
                    Verdict::Pending(_) => "pending".into(),
                },
                after: replica.state().after(&record.message),
                level: self
                    .level(&replica.dossier(), &record.message)
                    .unwrap_or(Level::Deposited),
                waits: self.message_waits(replica, record),
            }
        };
        replica.records().map(|(_, _, record)| view(record)).collect()
    }

    fn documents(&self, replica: &Replica) -> Vec<DocumentView> {
        let state = replica.state();
        let (roster, nodes) = (state.roster(), state.nodes());
        let mut documents: Vec<_> = state.documents().collect();
        documents.sort_by_key(|document| (document.deposited_at, document.deposit));
        let view = |document: &&basoche_protocol::dossier::DocumentFact| {
            let stated =
                |statement, who: &SubjectId| state.stated(statement, document, who).map(|at| at.to_string());
            let held = nodes
                .iter()
                .filter_map(|node| Some((node.to_hex(), stated(Statement::Held, node)?)));
            let addressees = roster.iter().map(|(subject, member)| Addressee {
                subject: *subject,
                role: member.role,
                available_at: stated(Statement::MadeAvailable, subject),
                opened_at: stated(Statement::Opened, subject),
                waits: self.document_waits(replica, document, subject, member.node),
            });
            DocumentView {
                deposit: document.deposit,
                root: document.reference.root,
                name: document.reference.name.clone(),
                media_type: document.reference.media_type.clone(),
                bytes: document.reference.bytes,
                class: document.reference.class(),
                plaintext_commitment: document.reference.plaintext_commitment,
                plaintext_salt: document.reference.plaintext_salt,
                deposited_at: document.deposited_at.to_string(),
                held: held.collect(),
                addressees: addressees.collect(),
                contested: contested(replica, &document.deposit, &document.reference.root),
            }
        };
        documents.iter().map(view).collect()
    }
}
