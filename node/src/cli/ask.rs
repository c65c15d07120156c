//! What the holder of an enrolled key asks of its authority: the request, and what it has to know for that. REG-9.

use std::path::Path;
use std::process::ExitCode;

use basoche_protocol::id::SubjectId;
use basoche_protocol::jose::Signer;
use basoche_protocol::text::b64url_encode;
use basoche_registry::Content;
use basoche_registry::leaf::{Capacity, CoSignature, request};
use serde::Serialize;
use serde_json::json;

use super::act::subjects;
use super::fault::exit;
use super::{Fault, NodeArgs, Output};
use crate::effects::now;
use crate::files::write_new;
use crate::wallet::HolderRequest;

/// What the registry says last of somebody, as the node holds it.
pub(super) struct Known {
    subject: SubjectId,
    pub(super) origin: String,
    last: u64,
}

impl Known {
    pub(super) fn by_node(node: &NodeArgs, subject: SubjectId) -> Result<Self, Fault> {
        let known = subjects(&node.client()?, [subject])?.pop();
        let known = known.ok_or_else(|| {
            let message = format!("{subject} is in no log that the node holds");
            Fault::new(exit::REFUSED, "unknown-subject", message, subject)
                .action("Have the entries of its authority imported, or ask at another node.")
        })?;
        Ok(Self {
            subject,
            origin: known.origin,
            last: known.last,
        })
    }

    /// The request that the log say `content`, signed by `holder`.
    pub(super) fn ask(&self, holder: &dyn Signer, content: &Content) -> Result<HolderRequest, Fault> {
        let prev = Some(self.last);
        let target = request(&self.origin, &self.subject, prev, content);
        let asked = CoSignature::draft(holder, target, Capacity::Holder, now()).sign(holder);
        Ok(HolderRequest {
            v: 1,
            origin: self.origin.clone(),
            subject: self.subject,
            prev,
            kind: content.kind().number(),
            content: b64url_encode(&content.encode()),
            certificate: String::new(),
            cosignatures: vec![b64url_encode(&asked.map_err(Fault::signer)?.encode())],
        })
    }
}

/// Writes what `subject` asks for, and says what to do with it.
pub(super) fn hand_out(
    path: &Path,
    subject: SubjectId,
    request: &HolderRequest,
    output: &Output,
) -> Result<ExitCode, Fault> {
    write_json(path, request)?;
    let answer = json!({ "v": 1, "subject": subject, "request": path });
    output.answer(&answer, || {
        format!(
            "Have it entered by the authority: `basoche authority accept --request {}`.",
            path.display()
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// Refuses early what [`write_json`] would refuse late.
pub(super) fn check_free(path: &Path) -> Result<(), Fault> {
    if !path.exists() {
        return Ok(());
    }
    let error = std::io::ErrorKind::AlreadyExists.into();
    Err(Fault::unwritable(path, &error).action("Choose another name."))
}

/// Writes a new file; never replaces one.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Fault> {
    let json = serde_json::to_vec_pretty(value).unwrap_or_default();
    write_new(path, &json, 0o644)
        .map_err(|error| Fault::unwritable(path, &error).action("Choose another name."))
}
