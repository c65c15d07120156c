//! `basoche dossier proof`: which members prove that they hold a message.

use std::process::ExitCode;

use basoche_protocol::id::{DossierId, MessageId, SubjectId};
use clap::Args;
use serde::Serialize;

use super::act::{dossier_id, message_id, subject_id, unexpected};
use super::fault::exit;
use super::{Fault, NodeArgs, Output};
use crate::control::{Answer, Request};
use crate::desk::{ProofsView, ProvenView};

/// Which message, and who is asked.
#[derive(Args)]
pub(super) struct ProofArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The dossier.
    #[arg(long, value_parser = dossier_id)]
    dossier: DossierId,
    /// The message.
    #[arg(long, value_parser = message_id, value_name = "ID")]
    message: MessageId,
    /// The node to ask; every other member by default.
    #[arg(long, value_parser = subject_id, value_name = "NODE")]
    at: Option<SubjectId>,
}

/// The answer to `dossier proof`.
#[derive(Serialize)]
struct Proofs {
    v: u64,
    dossier: DossierId,
    message: MessageId,
    #[serde(flatten)]
    proofs: ProofsView,
}

/// Asks, and prints who proved what.
pub(super) fn ask(args: &ProofArgs, output: &Output) -> Result<ExitCode, Fault> {
    let (dossier, message, at) = (args.dossier, args.message, args.at);
    let request = Request::Proofs { dossier, message, at };
    let proofs = match args.node.client()?.ask(&request)? {
        Answer::Proofs(view) => *view,
        _ => return Err(unexpected()),
    };
    let members = &proofs.members;
    let code = if members.iter().all(|one| one.holds) {
        ExitCode::SUCCESS
    } else if members.iter().any(|one| one.wrong) {
        ExitCode::from(exit::REFUSED)
    } else {
        ExitCode::from(exit::TRY_AGAIN)
    };
    let answer = Proofs {
        v: 1,
        dossier,
        message,
        proofs,
    };
    output.answer(&answer, || describe(&answer));
    Ok(code)
}

fn describe(answer: &Proofs) -> String {
    let proofs = &answer.proofs;
    let mut lines = vec![format!(
        "message {}: entry {} of the chain of node {}, incarnation {}",
        answer.message, proofs.position, proofs.of, proofs.incarnation
    )];
    if proofs.members.is_empty() {
        lines.push("  no other node is a member of the dossier".into());
    }
    lines.extend(proofs.members.iter().map(|one| {
        let name = match one.organisation.as_str() {
            "" => one.node.to_string(),
            name => format!("{name} ({})", one.node),
        };
        format!("  {name}: {}", in_words(one))
    }));
    lines.join("\n")
}

fn in_words(one: &ProvenView) -> String {
    let facts = one.head_no.zip(one.signed_at.as_deref()).zip(one.size);
    if let Some(((head_no, signed_at), size)) = facts {
        return format!(
            "holds it; its head {head_no}, signed {signed_at}, covers {size} entries of that chain"
        );
    }
    match one.why.as_deref().unwrap_or_default() {
        "unreachable" => "not connected; ask again once it is".into(),
        "no-answer" => "no answer in time; ask again later".into(),
        "unknown-reference" => {
            "its latest head does not cover it: it does not hold it, or has not said so yet".into()
        }
        "busy" => "too many proofs are asked of it; try again in a moment".into(),
        "forked" => {
            "WRONG: it signed another entry there too; that is the proof of a fork, which --json prints"
                .into()
        }
        code if one.wrong => format!("WRONG: its answer does not prove it ({code})"),
        code => format!("it refuses to answer ({code})"),
    }
}
