//! What whoever operates the node sees of it: alarms, conditions, metrics, and the HTTP pages that show them.
//!
//! Parts of the node report into a [`Monitor`] as they work. The pages read it and never ask the desk, so that they
//! answer at once when it does not.

mod alarm;
mod condition;
mod fetches;
mod http;
mod meters;
mod vitals;
mod watch;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use alarm::Alarm;
pub use condition::{Condition, Enrolment, Facts, Standing};
pub use fetches::{Fetch, Fetches, Obstacle};
pub use http::{ListenError, Listener, Pages};
pub use meters::{Direction, Meters, Outcome, Post, With};
pub use vitals::{Published, Vitals};
pub use watch::{watch_disk, watch_queue};

use crate::disk::Space;
use crate::quic::Stats;

/// Where the parts of one node report.
pub struct Monitor {
    /// What is counted.
    pub meters: Meters,
    /// How it is now.
    pub vitals: Vitals,
    /// The documents under way.
    pub fetches: Fetches,
    /// What is kept here for others, if this node is a mailbox.
    pub mailbox: MailboxUse,
}

/// How much a mailbox keeps, and how much it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxView {
    /// Parcels kept.
    pub parcels: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Parcels that may be.
    pub parcels_limit: u64,
    /// Bytes that may be.
    pub quota: u64,
}

/// The latest [`MailboxView`]; none of a node that is no mailbox.
#[derive(Default)]
pub struct MailboxUse(Mutex<Option<MailboxView>>);

impl MailboxUse {
    /// So it is now.
    pub fn set(&self, view: MailboxView) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(view);
    }

    /// How it is.
    #[must_use]
    pub fn get(&self) -> Option<MailboxView> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Monitor {
    /// Of a node that begins; see [`Vitals::new`].
    #[must_use]
    pub fn new(disk_low_percent: u8) -> Self {
        Self {
            meters: Meters::default(),
            vitals: Vitals::new(disk_low_percent),
            fetches: Fetches::default(),
            mailbox: MailboxUse::default(),
        }
    }
}

/// What is looked up at the moment of a scrape.
pub struct Sample {
    /// The conditions that hold.
    pub conditions: Vec<Condition>,
    /// Inputs that wait for the desk.
    pub queued: u64,
    /// Inputs that may.
    pub queue_limit: u64,
    /// How long ago the desk came round.
    pub silence: Duration,
    /// The transport's own counters.
    pub transport: Stats,
    /// The disk, if it can be asked.
    pub space: Option<Space>,
    /// What the desk published, unless it is silent.
    pub published: Option<Published>,
}
