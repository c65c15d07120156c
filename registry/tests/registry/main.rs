//! The registry from outside: formats by their bytes, every refusal by name, status by its table.
#![allow(clippy::unwrap_used)]

mod admission;
mod anchors;
mod attributes;
mod bytes;
mod continuations;
mod crl;
mod delegations;
mod exchange;
mod federations;
mod kit;
mod log;
mod offices;
mod policies;
mod quorum;
mod replicas;
mod search;
mod shelf;
mod snapshots;
mod state;
mod status;
mod vectors;
