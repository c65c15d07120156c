//! Frontiers that a person's act names, barriers and their quittances, on the command line.

use std::process::ExitCode;

use basoche_protocol::id::{DossierId, MessageId};
use basoche_protocol::message::{Barrier, Body};
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::wire::limits;
use serde::Serialize;

use super::act::{self, Act, unexpected};
use super::fault::exit;
use super::{Fault, Output};
use crate::control::{Answer, Client, Request};
use crate::desk::FrontierView;
use crate::effects::now;
use crate::quittance::QuittanceView;

/// Until when a barrier expects answers, unless somebody says otherwise.
pub(super) fn in_seven_days() -> Instant {
    now() + Span::from_seconds(7 * 86_400)
}

impl Act {
    /// What the node holds of the dossier, durable: persons sign it, so the node is asked before they do.
    pub(super) fn frontier(&self) -> Result<FrontierView, Fault> {
        let dossier = self.dossier;
        match self.client.ask(&Request::Frontier { dossier })? {
            Answer::Frontier(view) => Ok(*view),
            _ => Err(unexpected()),
        }
    }

    /// A barrier over all that the node holds now.
    pub(super) fn barrier(&self, due: Instant) -> Result<Body, Fault> {
        let FrontierView {
            rows,
            documents,
            members,
        } = self.frontier()?;
        if documents.len() > limits::BARRIER_DOCUMENTS {
            let what = format!(
                "the dossier has {} documents, and a barrier names {} at most",
                documents.len(),
                limits::BARRIER_DOCUMENTS
            );
            return Err(Fault::new(exit::REFUSED, "too-large", what, "dossier"));
        }
        Ok(Body::Barrier(Barrier {
            ext: None,
            frontier: rows,
            documents,
            members,
            due,
        }))
    }
}

/// The answer to `dossier quittance`.
#[derive(Serialize)]
struct Quittances {
    v: u64,
    dossier: DossierId,
    quittances: Vec<QuittanceView>,
}

/// Prints the quittance of one barrier, or of all.
pub(super) fn show(
    client: &Client,
    dossier: DossierId,
    barrier: Option<MessageId>,
    output: &Output,
) -> Result<ExitCode, Fault> {
    let mut quittances = act::show(client, dossier)?.quittances;
    if let Some(barrier) = barrier {
        quittances.retain(|one| one.barrier == barrier);
        if quittances.is_empty() {
            return Err(Fault::usage(format!(
                "{barrier} is no barrier of this dossier: `basoche dossier quittance` without it lists them"
            )));
        }
    }
    let answer = Quittances {
        v: 1,
        dossier,
        quittances,
    };
    output.answer(&answer, || {
        if answer.quittances.is_empty() {
            return "no barrier is on file: `basoche dossier barrier` lodges one".to_owned();
        }
        let each = answer.quittances.iter().map(ToString::to_string);
        each.collect::<Vec<_>>().join("\n")
    });
    Ok(ExitCode::SUCCESS)
}
