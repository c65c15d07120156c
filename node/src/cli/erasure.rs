//! `basoche dossier erase`, `hold`, `release`: what the court has erased and kept, and how it shows.

use basoche_protocol::id::MessageId;
use basoche_protocol::message::{Body, ErasedDocument, Erasure, Extent, LegalHold, MessageType, Residual};

use super::Fault;
use crate::desk::DossierView;

/// The order to erase a message of the dossier that the node shows.
pub(super) fn erase(
    view: &DossierView,
    target: MessageId,
    extent: Extent,
    reason: String,
) -> Result<Body, Fault> {
    let found = view.messages.iter().find(|message| message.id == target);
    let known = found.and_then(|message| Some((message.message_type.as_deref()?, message.author?)));
    let Some((act, author)) = known else {
        let what =
            "the node has no such message: `basoche dossier show --json` lists those on file, with their ids";
        return Err(Fault::usage(what));
    };
    let act = MessageType::from_name(act).filter(|act| {
        let may = [MessageType::ExhibitDeposit, MessageType::Dire];
        may.contains(act)
    });
    let Some(act) = act else {
        let what = "only an exhibit or a dire is erased: an act of the procedure stays";
        return Err(Fault::usage(what));
    };
    // After its documents are erased, the order to do so still knows them.
    let erased = view.erased.iter().filter(|one| one.id == target);
    let erased = erased.flat_map(|one| one.documents.iter().map(|one| (one.root, one.bytes)));
    let brought = view.documents.iter().filter(|one| one.deposit == target);
    let documents = brought.map(|one| (one.root, one.bytes)).chain(erased);
    let documents = documents.map(|(root, bytes)| ErasedDocument { root, bytes });
    Ok(Body::Erasure(Erasure {
        ext: None,
        target,
        extent,
        residual: Residual {
            act,
            author,
            documents: documents.collect(),
        },
        reason,
    }))
}

/// The order to hold a message or the dossier, or to lift a hold.
pub(super) fn hold(target: Option<MessageId>, lifts: Option<MessageId>, reason: String) -> Body {
    Body::LegalHold(LegalHold {
        ext: None,
        target,
        lifts,
        reason,
    })
}

/// Tombstones and holds in words.
pub(super) fn describe(view: &DossierView) -> Vec<String> {
    let erased = view.erased.iter().map(|one| {
        let what = match one.extent {
            Extent::Message => "is erased",
            Extent::Documents => "stays, its documents are erased",
        };
        let (kind, id) = (&one.message_type, one.id);
        format!("{}  {kind} {id} {what}, by order {}", one.erased_at, one.by)
    });
    let holds = view.holds.iter().map(|one| {
        let what = match one.target {
            Some(target) => format!("message {target}"),
            None => "the dossier".to_owned(),
        };
        format!("{}  nothing of {what} may be erased: hold {}", one.since, one.id)
    });
    erased.chain(holds).collect()
}
