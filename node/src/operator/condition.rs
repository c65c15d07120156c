//! How a node is: what keeps it from taking its users' acts, and what its operator should know.
//!
//! `ready` means one thing: an act that a user lodges now is taken. A condition that prevents it is a *reason*, any
//! other a *note*: a node whose peers are all away is ready, because it takes, signs and keeps, and they catch up.
//! That a journal is not confirmed is neither; such a node opens a new incarnation as soon as it has to sign (JRN-6).

use std::fmt;

use basoche_registry::log::Age;

use crate::disk::{RESERVE_BYTES, Space};

/// Whether the registry vouches for this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enrolment {
    /// No registry names it.
    Missing,
    /// A registry names it, and vouches for it no longer, or not yet.
    Ended,
    /// It is enrolled.
    Valid,
}

/// What the desk knows of the node's place among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the registry vouches for it.
    pub enrolment: Enrolment,
    /// Other nodes that the registry vouches for.
    pub peers: usize,
    /// Those with which a version is agreed now.
    pub connected: usize,
    /// How old what is held of the authorities' logs may be, at the worst; nothing where no witness is asked for.
    pub registry: Option<Age>,
}

/// What the conditions follow from.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Nothing while the desk is silent.
    pub standing: Option<Standing>,
    /// The node has been told to stop.
    pub stopping: bool,
    /// The desk's queue has been full for too long.
    pub overloaded: bool,
    /// Nothing if the disk cannot be asked.
    pub space: Option<Space>,
    /// The percentage of the disk below which it counts as nearly full.
    pub disk_low_percent: u8,
}

/// Something about a node that a person or a program may have to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// The desk does not answer.
    DeskSilent,
    /// No registry names the node.
    NotEnrolled,
    /// The registry no longer vouches for it, or not yet.
    Revoked,
    /// It has been told to stop.
    Stopping,
    /// The disk has less room than documents must leave.
    DiskFull,
    /// The desk's queue stays full.
    Overloaded,
    /// The registry names other nodes, and none is connected.
    NoPeer,
    /// The disk is nearly full.
    DiskLow,
    /// Too few witnesses have seen the head of a log lately. LOG-16.
    RegistryAgeing,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Self; 9] = [
        Self::DeskSilent,
        Self::NotEnrolled,
        Self::Revoked,
        Self::Stopping,
        Self::DiskFull,
        Self::Overloaded,
        Self::NoPeer,
        Self::DiskLow,
        Self::RegistryAgeing,
    ];

    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::DeskSilent => "desk-silent",
            Self::NotEnrolled => "not-enrolled",
            Self::Revoked => "revoked",
            Self::Stopping => "stopping",
            Self::DiskFull => "disk-full",
            Self::Overloaded => "overloaded",
            Self::NoPeer => "no-peer",
            Self::DiskLow => "disk-low",
            Self::RegistryAgeing => "registry-ageing",
        }
    }

    /// Whether it keeps the node from taking its users' acts: a reason. Else it is a note.
    #[must_use]
    pub const fn is_reason(self) -> bool {
        match self {
            Self::DeskSilent
            | Self::NotEnrolled
            | Self::Revoked
            | Self::Stopping
            | Self::DiskFull
            | Self::Overloaded => true,
            Self::NoPeer | Self::DiskLow | Self::RegistryAgeing => false,
        }
    }

    /// What is so, and what to do.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::DeskSilent => {
                "the node's one worker has not come round for 2 s: look at the disk and at the log; restart the node if it lasts"
            }
            Self::NotEnrolled => {
                "this node is not in the registry: have it enrolled, then `basoche annuaire import`"
            }
            Self::Revoked => {
                "the registry does not vouch for this node now: ask your authority, then `basoche annuaire import` its entries"
            }
            Self::Stopping => "the node was told to stop: wait for its next start",
            Self::DiskFull => "less than 64 MiB are free and documents are refused: free disk space",
            Self::Overloaded => {
                "the queue of the node's one worker has been full for 10 s and users are told to try again: look at the disk's speed and at who sends so much"
            }
            Self::NoPeer => {
                "the registry names other nodes and none is connected: check the network, the UDP port and the firewall; acts are taken, and go out once a peer is there"
            }
            Self::DiskLow => "the disk is nearly full: free space before documents are refused",
            Self::RegistryAgeing => {
                "for a quarter of an hour or more too few witnesses have said that they see the head of a log: `basoche annuaire show` names it; check the connection to its witnesses; what was withdrawn since may be missing here"
            }
        }
    }
}

/// Code, what is so, what to do: one line.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.advice())
    }
}

impl Facts {
    /// The conditions that hold, reasons first.
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition> {
        let enrolment = self.standing.map(|standing| standing.enrolment);
        let alone = |standing: Standing| standing.peers > 0 && standing.connected == 0;
        let free_below = |bound: fn(&Self, &Space) -> u64| {
            self.space
                .is_some_and(|space| space.free_bytes < bound(self, &space))
        };
        let full = free_below(|_, _| RESERVE_BYTES);
        let low = free_below(|facts, space| space.low_bytes(facts.disk_low_percent));
        let holds = |condition: &Condition| match condition {
            Condition::DeskSilent => self.standing.is_none(),
            Condition::NotEnrolled => enrolment == Some(Enrolment::Missing),
            Condition::Revoked => enrolment == Some(Enrolment::Ended),
            Condition::Stopping => self.stopping,
            Condition::DiskFull => full,
            Condition::Overloaded => self.overloaded,
            Condition::NoPeer => self.standing.is_some_and(alone),
            Condition::DiskLow => low && !full,
            Condition::RegistryAgeing => {
                let age = self.standing.and_then(|standing| standing.registry);
                age.is_some_and(|age| age > Age::Fresh)
            }
        };
        Condition::ALL.into_iter().filter(holds).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const WELL: Facts = Facts {
        standing: Some(Standing {
            enrolment: Enrolment::Valid,
            peers: 2,
            connected: 1,
            registry: Some(Age::Fresh),
        }),
        stopping: false,
        overloaded: false,
        space: Some(Space {
            free_bytes: 500 << 30,
            size_bytes: 1000 << 30,
        }),
        disk_low_percent: 5,
    };

    fn standing(enrolment: Enrolment, peers: usize, connected: usize) -> Facts {
        let standing = Some(Standing {
            enrolment,
            peers,
            connected,
            registry: None,
        });
        Facts { standing, ..WELL }
    }

    fn aged(age: Age) -> Facts {
        let standing = WELL.standing.map(|standing| Standing {
            registry: Some(age),
            ..standing
        });
        Facts { standing, ..WELL }
    }

    fn free(free_bytes: u64, size_bytes: u64) -> Facts {
        let space = Some(Space {
            free_bytes,
            size_bytes,
        });
        Facts { space, ..WELL }
    }

    #[test]
    fn each_fact_has_its_condition_and_a_node_that_is_well_has_none() {
        use Condition::*;
        let cases = [
            (WELL, vec![]),
            (Facts { space: None, ..WELL }, vec![]),
            (
                Facts {
                    standing: None,
                    ..WELL
                },
                vec![DeskSilent],
            ),
            (standing(Enrolment::Missing, 0, 0), vec![NotEnrolled]),
            (standing(Enrolment::Ended, 2, 2), vec![Revoked]),
            (standing(Enrolment::Valid, 0, 0), vec![]),
            (standing(Enrolment::Valid, 2, 0), vec![NoPeer]),
            (aged(Age::Ageing), vec![RegistryAgeing]),
            (aged(Age::Stale), vec![RegistryAgeing]),
            (
                Facts {
                    stopping: true,
                    ..WELL
                },
                vec![Stopping],
            ),
            (
                Facts {
                    overloaded: true,
                    ..WELL
                },
                vec![Overloaded],
            ),
            (free((50 << 30) - 1, 1000 << 30), vec![DiskLow]),
            (free(50 << 30, 1000 << 30), vec![]),
            (free((64 << 20) - 1, 1000 << 30), vec![DiskFull]),
            // On a small disk the reserve is more than a twentieth.
            (free((64 << 20) - 1, 256 << 20), vec![DiskFull]),
            (free(64 << 20, 256 << 20), vec![]),
        ];
        for (facts, expected) in cases {
            assert_eq!(facts.conditions(), expected, "{facts:?}");
        }
    }

    #[test]
    fn only_what_keeps_users_acts_out_is_a_reason() {
        let notes: Vec<_> = Condition::ALL
            .into_iter()
            .filter(|one| !one.is_reason())
            .collect();
        assert_eq!(
            notes,
            [Condition::NoPeer, Condition::DiskLow, Condition::RegistryAgeing]
        );
    }

    #[test]
    fn the_operations_page_explains_each_condition_and_no_other() {
        let page = std::fs::read_to_string("../deploy/OPERATIONS.md").unwrap();
        let (_, table) = page.split_once("| Code | Ready? |").unwrap();
        let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| `"));
        let explained: Vec<_> = rows
            .map(|row| {
                row.split('|')
                    .take(2)
                    .map(|cell| cell.trim().trim_end_matches('`'))
                    .collect::<Vec<_>>()
            })
            .collect();
        let known = Condition::ALL.map(|one| vec![one.code(), if one.is_reason() { "no" } else { "yes" }]);
        assert_eq!(explained, known);
    }
}
