//! `basoche node retire`: what a node that is to go still has to hand over.

use std::process::ExitCode;

use basoche_protocol::id::SubjectId;

use super::act::unexpected;
use super::fault::exit;
use super::{Fault, NodeArgs, Output};
use crate::control::{Answer, Request};
use crate::desk::RetirementView;

/// Says what keeps the node; exit code 0 once it may go, else 75.
pub(super) fn run(node: &NodeArgs, to: Option<SubjectId>, output: &Output) -> Result<ExitCode, Fault> {
    let view = match node.client()?.ask(&Request::Retire { to })? {
        Answer::Retirement(view) => *view,
        _ => return Err(unexpected()),
    };
    output.answer(&view, || describe(&view));
    Ok(match view.retired {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(exit::TRY_AGAIN),
    })
}

fn describe(view: &RetirementView) -> String {
    let mut lines = Vec::new();
    for kept in &view.dossiers {
        lines.push(format!("dossier {} (RG {}):", kept.dossier, kept.case_number));
        for served in &kept.persons {
            let signers: Vec<_> = served.signers.iter().map(ToString::to_string).collect();
            lines.push(format!(
                "  {} {}: to be signed by {}",
                served.role,
                served.person,
                signers.join(" or ")
            ));
            lines.push(format!("    {}", served.command));
        }
        if !kept.covered {
            lines.push(
                "  no other member's head covers all that this node wrote: keep it running and connected"
                    .into(),
            );
        }
    }
    lines.push(match (view.retired, view.to) {
        (true, _) => "no dossier names this node, and others hold all that it wrote: it may go".to_owned(),
        (false, Some(to)) => format!(
            "{} dossiers keep this node, which hands over to {to}",
            view.dossiers.len()
        ),
        (false, None) => format!(
            "{} dossiers keep this node; `--to NODE` says which one takes over",
            view.dossiers.len()
        ),
    });
    lines.join("\n")
}
