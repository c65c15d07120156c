//! Documents taken in and messages signed by hand: a depositor may say of a document what it likes.

use basoche_node::control::{Answer, ClientError, NewDocument, Request};
use basoche_node::desk::Level;
use basoche_node::effects::{now, random};
use basoche_node::wallet::Wallet;
use basoche_protocol::envelope::{Typ, Unsigned};
use basoche_protocol::id::{DossierId, MessageId, Salt};
use basoche_protocol::message::{Body, DocumentRef, ExhibitDeposit, Message};
use basoche_protocol::role::{Assurance, Role};
use basoche_protocol::text::b64url_encode;

use super::nodes::Stage;

/// The court's node takes a document in.
pub(crate) fn ingest(stage: &Stage, bytes: &[u8]) -> DocumentRef {
    let length = bytes.len() as u64;
    let request = Request::Ingest {
        dossier: stage.dossier,
        name: "piece.bin".into(),
        media_type: "application/octet-stream".into(),
        bytes: length,
    };
    let mut bytes = bytes;
    let court = stage.nodes[0].client();
    match court.upload(&request, &mut bytes, length).unwrap() {
        Answer::Ingested(reference) => *reference,
        _ => panic!("an ingestion was answered with something else"),
    }
}

/// The court's node takes small documents in together.
pub(crate) fn ingest_many(stage: &Stage, documents: &[&[u8]]) -> Vec<DocumentRef> {
    let file = |bytes: &&[u8]| NewDocument {
        name: "piece.bin".into(),
        media_type: "application/octet-stream".into(),
        bytes: bytes.len() as u64,
    };
    let request = Request::IngestMany {
        dossier: stage.dossier,
        files: documents.iter().map(file).collect(),
    };
    let bytes = documents.concat();
    let court = stage.nodes[0].client();
    match court
        .upload(&request, &mut bytes.as_slice(), bytes.len() as u64)
        .unwrap()
    {
        Answer::IngestedMany { documents } => documents,
        _ => panic!("an ingestion was answered with something else"),
    }
}

/// The lawyer at the court lodges it, whatever the reference says.
pub(crate) fn lodge(stage: &Stage, document: DocumentRef) -> Result<MessageId, ClientError> {
    let body = Body::ExhibitDeposit(ExhibitDeposit {
        ext: None,
        number: 1,
        title: "Note".into(),
        document,
    });
    say(stage, 0, body, Level::Received)
}

/// The lawyer at that node says something there, and waits until it has reached a level.
pub(crate) fn say(stage: &Stage, node: usize, body: Body, wait: Level) -> Result<MessageId, ClientError> {
    let request = Request::Submit {
        envelope: sign(&stage.lawyers[node], stage.dossier, body),
        key: None,
        wait,
        patience_ms: 60_000,
    };
    match stage.nodes[node].client().ask(&request)? {
        Answer::Deposited { message, .. } => Ok(message),
        _ => panic!("a submission was answered with something else"),
    }
}

/// What a lawyer says in a dossier, as the control socket takes it.
pub(crate) fn sign(wallet: &Wallet, dossier: DossierId, body: Body) -> String {
    let message = Message {
        dossier: Some(dossier),
        author: wallet.subject,
        role: Role::Lawyer,
        assurance: Assurance::Software,
        class: body.message_type().readers(),
        refs: Vec::new(),
        salt: Salt::new(random()),
        body,
    };
    let unsigned = Unsigned::new(Typ::Message, wallet, now(), message.encode());
    b64url_encode(&unsigned.sign(wallet).unwrap().encode())
}
