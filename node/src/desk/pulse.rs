//! What the desk publishes of itself at each round, so that nobody has to wait for it to learn how the node is.

use std::time::{Duration, Instant};

use super::Desk;
use crate::effects::now;
use crate::operator::{Enrolment, Published, Standing};

/// How often the desk publishes what it holds, if counting it takes little.
const PERIOD: Duration = Duration::from_secs(1);
/// At most one part in so many of the desk's time goes into counting.
const SHARE: u32 = 100;

impl Desk {
    /// The end of a round that began at `begun`, and did something or only looked.
    pub(super) fn come_round(&mut self, begun: Instant, worked: bool) {
        let end = Instant::now();
        if worked {
            self.monitor.meters.turned(end - begun);
        }
        if end >= self.publish_due {
            self.monitor.vitals.publish(self.published());
            self.publish_due = Instant::now() + PERIOD.max(end.elapsed() * SHARE);
        }
        self.monitor.vitals.round();
    }

    /// The node's place among the others, by the registry as it is now.
    pub(super) fn standing(&self) -> Standing {
        let (node, registry, at) = (self.engine.node(), self.engine.registry(), now());
        let enrolment = if registry.node_at(&node, at).is_some() {
            Enrolment::Valid
        } else if registry.node(&node).is_some() {
            Enrolment::Ended
        } else {
            Enrolment::Missing
        };
        let valid = |other: &_| *other != node && registry.node_at(other, at).is_some();
        Standing {
            enrolment,
            peers: registry.nodes().filter(|info| valid(&info.node)).count(),
            connected: self.engine.peers().count(),
            registry: self.oldest(),
        }
    }

    fn published(&self) -> Published {
        let (documents, document_bytes) = self.held();
        let mut published = Published {
            standing: self.standing(),
            commits: self.commits,
            dossiers: 0,
            entries: 0,
            pending: 0,
            documents,
            document_bytes,
            wanted: self.wanted.len() as u64,
        };
        for replica in self.engine.dossiers() {
            published.dossiers += 1;
            published.entries += replica.entries() as u64;
            published.pending += replica.pending() as u64;
        }
        for summary in self.engine.dormant() {
            published.dossiers += 1;
            published.entries += summary.entries();
        }
        published
    }
}
