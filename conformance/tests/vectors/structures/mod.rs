//! Cases of everything that is not a message: envelopes, seals, wraps, the scanner, the journal and frames.

mod envelope;
mod header;
mod journal;
mod keys;
mod mailbox;
mod scanner;
mod signature;

pub(crate) use journal::{entry, head};

use basoche_conformance::vector::{Named, Stage, Vector, What};

use super::cbor::Value::{self, M};
use super::messages::{Context, payload};
use super::world::{EXPERT, ISSUED_AT, header as header_of, id};

/// [`ISSUED_AT`] in milliseconds.
const NOW_MS: u64 = ISSUED_AT * 1000;

/// Cases as they are gathered.
pub(crate) struct Cases(Vec<Named>);

impl Cases {
    /// Adds `group/accept_case`, named `group/case`.
    pub(super) fn accept(&mut self, name: &str, comment: &str, what: What, stage: Stage, bytes: &[u8]) {
        self.add(name, "accept", Vector::new(what, comment, stage, None, bytes));
    }

    /// Adds `group/refuse_case`, named `group/case`.
    pub(super) fn refuse(
        &mut self,
        name: &str,
        comment: &str,
        what: What,
        stage: Stage,
        code: &str,
        bytes: &[u8],
    ) {
        self.add(
            name,
            "refuse",
            Vector::new(what, comment, stage, Some(code), bytes),
        );
    }

    fn add(&mut self, name: &str, outcome: &str, vector: Vector) {
        let (group, case) = name.split_once('/').unwrap();
        self.0.push((format!("{group}/{outcome}_{case}"), vector));
    }
}

/// The acceptance that envelope and seal cases carry.
pub(crate) fn acceptance(context: &Context) -> Vec<u8> {
    let body = M(vec![(1, "independent", Value::Bool(true))]);
    payload(2, &EXPERT, Some(context.dossier), &[], body).encode()
}

/// Its id.
pub(crate) fn acceptance_id(context: &Context) -> [u8; 32] {
    id(&header_of(&EXPERT, "basoche-message"), &acceptance(context))
}

/// Every case.
pub(crate) fn cases(context: &Context) -> Vec<Named> {
    let mut cases = Cases(Vec::new());
    envelope::envelopes(context, &mut cases);
    header::headers(context, &mut cases);
    signature::signatures(context, &mut cases);
    signature::jws(context, &mut cases);
    keys::seals(context, &mut cases);
    keys::wraps(context, &mut cases);
    scanner::scanner(&mut cases);
    journal::journal(context, &mut cases);
    journal::frames(context, &mut cases);
    mailbox::parcels(context, &mut cases);
    mailbox::receipts(&mut cases);
    mailbox::requests(&mut cases);
    cases.0
}

/// Its payload, to be spoilt.
pub(super) fn payload_value(context: &Context) -> Value {
    let body = M(vec![(1, "independent", Value::Bool(true))]);
    payload(2, &EXPERT, Some(context.dossier), &[], body)
}
