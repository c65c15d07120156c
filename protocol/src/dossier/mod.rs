//! The procedure: what a message may do to a dossier, and what it then changes. SPEC §7.
//!
//! [`State::decide`] has no effect and [`State::apply`] cannot fail. A state is a set of facts: applying the same facts
//! in any order, any number of times, gives the same state, so that it never depends on the order of arrival.

mod closing;
mod decide;
mod erasure;
mod keys;
mod parties;
mod quittance;
mod replica;
mod seats;
mod state;
mod verdict;

pub use decide::RULES;
pub use erasure::{Hold, Tombstone};
pub use parties::{Inside, PartyKey};
pub use quittance::{Absence, Answer, Quittance};
pub use replica::{OpenedItem, Received, Replica, RunItem};
pub use state::{
    BarrierFact, Contested, DireFact, DocumentFact, Fact, GapFact, Given, GrantFact, Member, Phase, State,
    Statement,
};
