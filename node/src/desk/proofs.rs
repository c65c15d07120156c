//! Members asked to prove that they hold a message: what their heads cover, checked by the core. SPEC §10.3.

use basoche_protocol::engine::Unproven;
use basoche_protocol::error::{Error, Refused};
use basoche_protocol::id::{Digest, DossierId, MessageId, SubjectId};
use basoche_protocol::journal::{Branch, HeadRow, SignedHead};
use basoche_protocol::text::b64url_encode;
use basoche_protocol::wire::frame::ProofRequest;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::Desk;
use super::forks::ProofView;

/// What one member has proved, or why it has not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProvenView {
    /// The member.
    pub node: SubjectId,
    /// Its organisation's name; empty where the registry does not know the node.
    pub organisation: String,
    /// Whether its head covers the entry: proved, not said.
    pub holds: bool,
    /// The head's number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub head_no: Option<u64>,
    /// When the member signed it, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signed_at: Option<String>,
    /// Entries of the chain that it covers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub size: Option<u64>,
    /// The head as signed, base64url.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub head: Option<String>,
    /// The inclusion path from the entry's leaf hash to the root of the head's row.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub path: Vec<Digest>,
    /// Why nothing is proved: `unreachable`, `no-answer`, `forked`, or a code of SPEC 11.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// Whether that is the member's fault: what it answered is wrong.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub wrong: bool,
    /// The proof that the member signed another history of its own chain.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fork: Option<ProofView>,
}

impl ProvenView {
    /// Nothing is proved, and nobody is to blame.
    fn without(node: SubjectId, organisation: &str, why: &str) -> Self {
        Self {
            node,
            organisation: organisation.to_owned(),
            holds: false,
            head_no: None,
            signed_at: None,
            size: None,
            head: None,
            path: Vec::new(),
            why: Some(why.to_owned()),
            wrong: false,
            fork: None,
        }
    }
}

/// The entry that is asked about, and what members prove of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProofsView {
    /// The node that recorded the message.
    pub of: SubjectId,
    /// The life of that node's store, hexadecimal.
    pub incarnation: String,
    /// The entry's position in that chain.
    pub position: u64,
    /// Its leaf hash.
    pub leaf: Digest,
    /// The members, ascending.
    pub members: Vec<ProvenView>,
}

/// Somebody who waits for a member's proof.
pub(super) struct Asking {
    peer: SubjectId,
    request: ProofRequest,
    reply: oneshot::Sender<ProvenView>,
}

/// A member that has been asked.
pub struct AskedMember {
    node: SubjectId,
    organisation: String,
    answer: oneshot::Receiver<ProvenView>,
}

impl AskedMember {
    /// What it has proved by `until`.
    pub async fn answer(self, until: tokio::time::Instant) -> ProvenView {
        match tokio::time::timeout_at(until, self.answer).await {
            Ok(Ok(view)) => view,
            _ => ProvenView::without(self.node, &self.organisation, "no-answer"),
        }
    }
}

impl Desk {
    /// Asks every other member, or one, to prove that it holds a message; the members of the view come by themselves.
    ///
    /// # Errors
    /// `unknown-dossier`, `unknown-reference` for a message that is not on file here, `not-participant` for a node that is
    /// no other member.
    pub fn ask_proofs(
        &mut self,
        dossier: DossierId,
        message: MessageId,
        at: Option<SubjectId>,
    ) -> Result<(ProofsView, Vec<AskedMember>), Error> {
        let replica = self.engine.dossier(&dossier);
        let replica = replica.ok_or(Refused::UnknownDossier { dossier })?;
        let missing = Refused::UnknownReference { reference: message };
        let found = replica.position(&message).and_then(|(branch, position)| {
            let chain = replica.chains().get(&branch)?;
            Some((branch, position, chain.row_at(branch.chain, position + 1)?))
        });
        let (branch, position, row) = found.ok_or(missing)?;
        let mut members = replica.state().nodes();
        members.remove(&self.engine.node());
        if let Some(author) = at {
            if !members.contains(&author) {
                return Err(Refused::NotParticipant { author }.into());
            }
            members.retain(|node| *node == author);
        }
        let request = ProofRequest {
            dossier,
            row,
            position: Some(position),
        };
        // Who has gone waits no longer: there are no more of them than control connections.
        self.asking.retain(|asking| !asking.reply.is_closed());
        let asked = members.into_iter().map(|node| self.ask_member(node, request));
        let asked = asked.collect();
        Ok((view(branch, &row), asked))
    }

    fn ask_member(&mut self, node: SubjectId, request: ProofRequest) -> AskedMember {
        let (reply, answer) = oneshot::channel();
        let organisation = self.organisation(&node);
        match self.engine.ask_proof(node, request) {
            Ok(()) => self.asking.push(Asking {
                peer: node,
                request,
                reply,
            }),
            Err(error) => {
                let why = error.code().name();
                // The asker may have gone.
                let _ = reply.send(ProvenView::without(node, &organisation, why));
            }
        }
        AskedMember {
            node,
            organisation,
            answer,
        }
    }

    /// A member has proved what it was asked for.
    pub(super) fn proven(
        &mut self,
        peer: SubjectId,
        request: &ProofRequest,
        head: &SignedHead,
        row: &HeadRow,
        path: &[Digest],
    ) {
        let view = ProvenView {
            holds: true,
            head_no: Some(head.head().head_no),
            signed_at: Some(head.head().time.to_string()),
            size: Some(row.size),
            head: Some(b64url_encode(&head.encode())),
            path: path.to_vec(),
            why: None,
            ..ProvenView::without(peer, &self.organisation(&peer), "")
        };
        self.answer_asking(peer, request, &view);
    }

    /// It has not.
    pub(super) fn unproven(&mut self, peer: SubjectId, request: &ProofRequest, why: &Unproven) {
        let (name, wrong) = match why {
            Unproven::Unreachable => ("unreachable", false),
            Unproven::Refused(code) => (code.name(), false),
            Unproven::Wrong(code) => (code.name(), true),
            Unproven::Forked(_) => ("forked", true),
        };
        let fork = match why {
            Unproven::Forked(fork) => Some(ProofView::from(&**fork)),
            Unproven::Unreachable | Unproven::Refused(_) | Unproven::Wrong(_) => None,
        };
        let view = ProvenView {
            wrong,
            fork,
            ..ProvenView::without(peer, &self.organisation(&peer), name)
        };
        self.answer_asking(peer, request, &view);
    }

    fn answer_asking(&mut self, peer: SubjectId, request: &ProofRequest, view: &ProvenView) {
        let asking = std::mem::take(&mut self.asking);
        let (answered, rest) = asking
            .into_iter()
            .partition(|one| one.peer == peer && one.request == *request);
        self.asking = rest;
        let answered: Vec<Asking> = answered;
        for one in answered {
            // The asker may have gone.
            let _ = one.reply.send(view.clone());
        }
    }
}

fn view(branch: Branch, row: &HeadRow) -> ProofsView {
    ProofsView {
        of: branch.chain.node,
        incarnation: branch.chain.incarnation.to_hex(),
        position: row.size - 1,
        leaf: row.leaf,
        members: Vec::new(),
    }
}
