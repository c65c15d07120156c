//! Documents taken in and messages signed by hand: a depositor may say of a document what it likes.

use basoche_node::control::{Answer, ClientError, Request};
use basoche_node::desk::Level;
use basoche_node::effects::{now, random};
use basoche_protocol::envelope::{Typ, Unsigned};
use basoche_protocol::id::{MessageId, Salt};
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

/// The lawyer at the court lodges it, whatever the reference says.
pub(crate) fn lodge(stage: &Stage, document: DocumentRef) -> Result<MessageId, ClientError> {
    let wallet = &stage.lawyers[0];
    let body = Body::ExhibitDeposit(ExhibitDeposit {
        ext: None,
        number: 1,
        title: "Note".into(),
        document,
    });
    let message = Message {
        dossier: Some(stage.dossier),
        author: wallet.subject,
        role: Role::Lawyer,
        assurance: Assurance::Software,
        class: body.message_type().readers(),
        refs: Vec::new(),
        salt: Salt::new(random()),
        body,
    };
    let unsigned = Unsigned::new(Typ::Message, wallet, now(), message.encode());
    let request = Request::Submit {
        envelope: b64url_encode(&unsigned.sign(wallet).unwrap().encode()),
        key: None,
        wait: Level::Received,
        patience_ms: 60_000,
    };
    match stage.nodes[0].client().ask(&request)? {
        Answer::Deposited { message, .. } => Ok(message),
        _ => panic!("a submission was answered with something else"),
    }
}
