//! Reaching the other nodes: whom to dial when, and at which of its addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use basoche_protocol::id::SubjectId;
use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{BACKOFF, Network};
use crate::effects::{now, random};
use crate::quic::{Lane, NodeId, TransportError};

/// Nodes that are dialled at once: who does not answer holds up nobody else.
const DIALS: usize = 8;
/// Addresses of one node that are dialled at most, however many its names resolve to.
const TRIED: usize = 8;
/// Time for the name of a peer to resolve.
const RESOLVE: Duration = Duration::from_secs(5);

impl Network {
    /// Keeps a control connection to every node of the registry.
    pub async fn dial(self) {
        let mut schedule = Schedule::default();
        let mut attempts = JoinSet::new();
        loop {
            let nodes = self.phonebook.nodes().into_iter();
            let connected = self.connected().clone();
            let apart = nodes.filter(|node| !connected.contains_key(node));
            for node in schedule.next(apart, Instant::now()) {
                let network = self.clone();
                attempts.spawn(async move { (node, network.connect(node, Lane::Control).await) });
            }
            tokio::select! {
                Some(ended) = attempts.join_next() => match ended {
                    Ok((node, reached)) => {
                        if let Err(error) = reached {
                            tracing::debug!(peer = %SubjectId::new(node), %error, "peer not reached");
                        }
                        schedule.ended(node, Instant::now(), random::<1>()[0]);
                    }
                    // A panic, which the runtime has reported; whom it dialled is not told.
                    Err(_) => schedule.under_way.clear(),
                },
                () = sleep(BACKOFF.0) => {}
                () = self.redial.notified() => {}
            }
        }
    }

    /// Dials a node at the addresses that the registry has of it; if they are out of date, at those that the DNS proves before.
    pub(super) async fn connect(&self, node: NodeId, lane: Lane) -> Result<(), TransportError> {
        let contact = self.phonebook.contact(&node);
        let contact = contact.ok_or(TransportError::UnknownPeer)?;
        let look_up = |name: String| tokio::spawn(async move { lookup(&name).await });
        let names = contact.wanted.addresses.clone().into_iter();
        let stale = contact.fresh_until.is_some_and(|until| until < now());
        let mut addresses = match &self.discovery {
            Some(discovery) if stale => discovery.find(&contact.wanted).await,
            _ => Vec::new(),
        };
        // All names at once: one that does not resolve takes no time from the others.
        for found in names.map(look_up).collect::<Vec<_>>() {
            addresses.extend(found.await.unwrap_or_default());
        }
        addresses.retain(|address| self.allow_private || is_public(address));
        self.endpoint
            .connect(node, &in_turn(addresses), lane)
            .await
            .map(drop)
    }
}

pub(crate) async fn lookup(name: &str) -> Vec<SocketAddr> {
    match timeout(RESOLVE, lookup_host(name)).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

/// The addresses that are tried, each once: as they stand, with IPv6 and IPv4 in turn (RFC 8305 §4).
fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut seen = BTreeSet::new();
    let first_is_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let fresh = addresses.into_iter().filter(|address| seen.insert(*address));
    let (first, second): (Vec<_>, Vec<_>) = fresh.partition(|address| address.is_ipv6() == first_is_ipv6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    loop {
        let before = turns.len();
        turns.extend(first.next());
        turns.extend(second.next());
        if turns.len() == before || turns.len() >= TRIED {
            turns.truncate(TRIED);
            return turns;
        }
    }
}

/// When each node is dialled: after pauses that double, up to five seconds, and are spread, so that nodes which lost
/// each other at once do not all come back at once.
#[derive(Default)]
struct Schedule {
    under_way: BTreeSet<NodeId>,
    /// When a node is due again, and after which pause.
    pauses: BTreeMap<NodeId, (Instant, Duration)>,
}

impl Schedule {
    /// Whom of these to dial now: who has waited longest comes first, so that everybody has a turn.
    fn next(&mut self, apart: impl Iterator<Item = NodeId>, now: Instant) -> Vec<NodeId> {
        // Not at once when a connection is made: one that ends at once every time has its pauses too.
        let under_way = &self.under_way;
        self.pauses
            .retain(|node, (due, _)| under_way.contains(node) || now < *due + BACKOFF.1);
        let mut due: Vec<_> = apart
            .filter(|node| !self.under_way.contains(node))
            .map(|node| (self.pauses.get(&node).map(|(due, _)| *due), node))
            .filter(|(due, _)| due.is_none_or(|due| due <= now))
            .collect();
        due.sort_unstable();
        due.truncate(DIALS.saturating_sub(self.under_way.len()));
        let due: Vec<_> = due.into_iter().map(|(_, node)| node).collect();
        self.under_way.extend(&due);
        due
    }

    /// An attempt has ended, well or not. `spread` is any number.
    fn ended(&mut self, node: NodeId, now: Instant, spread: u8) {
        self.under_way.remove(&node);
        let before = self.pauses.get(&node);
        let pause = before.map_or(BACKOFF.0, |(_, pause)| (*pause * 2).min(BACKOFF.1));
        let spread_out = pause * (256 + u32::from(spread)) / 512;
        self.pauses.insert(node, (now + spread_out, pause));
    }
}

/// Whether an address may be dialled without leave: no loopback, no private or link-local range.
pub(crate) fn is_public(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            !(ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_broadcast()
                || shared)
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(mapped) => is_public(&SocketAddr::new(IpAddr::V4(mapped), address.port())),
            None => {
                !(ip.is_loopback()
                    || ip.is_unspecified()
                    || ip.is_multicast()
                    || ip.is_unique_local()
                    || ip.is_unicast_link_local())
            }
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn nodes(numbers: impl IntoIterator<Item = u8>) -> Vec<NodeId> {
        numbers.into_iter().map(|number| [number; 16]).collect()
    }

    #[test]
    fn a_node_that_does_not_answer_holds_up_nobody() {
        let (mut schedule, begun) = (Schedule::default(), Instant::now());
        let twelve = nodes(0..12);
        let everybody = || twelve.iter().copied();
        assert_eq!(schedule.next(everybody(), begun), nodes(0..8));
        assert_eq!(schedule.next(everybody(), begun), nodes([]));
        // All places are taken; one is free, and is not for who has just had it.
        schedule.ended([3; 16], begun, 0);
        let later = begun + Duration::from_secs(1);
        assert_eq!(schedule.next(everybody(), later), nodes([8]));
        for number in [0, 1, 2, 4] {
            schedule.ended([number; 16], later, 0);
        }
        let later = later + Duration::from_secs(1);
        assert_eq!(schedule.next(everybody(), later), nodes([9, 10, 11, 3]));
    }

    #[test]
    fn pauses_double_up_to_five_seconds_and_are_spread() {
        let (mut schedule, mut now) = (Schedule::default(), Instant::now());
        let one = || nodes([1]).into_iter();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert_eq!(schedule.next(one(), now), nodes([1]));
            // It takes longer than any pause until nobody has answered.
            now += Duration::from_secs(10);
            assert_eq!(schedule.next(one(), now), nodes([]));
            schedule.ended([1; 16], now, 255);
            let due = schedule.pauses[&[1; 16]].0;
            assert_eq!(schedule.next(one(), due - Duration::from_millis(1)), nodes([]));
            pauses.push((due - now).as_millis());
            now = due;
        }
        assert_eq!(pauses, [99, 199, 399, 798, 1596, 3193, 4990, 4990]);
        schedule.ended([1; 16], now, 0);
        assert_eq!(schedule.pauses[&[1; 16]].0 - now, BACKOFF.1 / 2);
    }

    #[test]
    fn pauses_begin_anew_after_a_connection_that_lasted() {
        let (mut schedule, mut now) = (Schedule::default(), Instant::now());
        let one = || nodes([1]).into_iter();
        for pause in [100, 200] {
            // It is reached, and at once lost again.
            assert_eq!(schedule.next(one(), now), nodes([1]));
            schedule.ended([1; 16], now, 0);
            let due = schedule.pauses[&[1; 16]].0;
            assert_eq!(due - now, Duration::from_millis(pause / 2));
            now = due;
        }
        now += BACKOFF.1;
        assert_eq!(schedule.next(one(), now), nodes([1]));
        schedule.ended([1; 16], now, 0);
        assert_eq!(schedule.pauses[&[1; 16]].0 - now, BACKOFF.0 / 2);
    }

    #[test]
    fn addresses_of_both_families_take_turns() {
        let addresses = |text: &[&str]| -> Vec<SocketAddr> {
            text.iter().map(|address| address.parse().unwrap()).collect()
        };
        let listed = addresses(&[
            "1.1.1.1:1",
            "1.1.1.1:1",
            "1.1.1.2:1",
            "[2001::1]:1",
            "1.1.1.3:1",
            "[2001::2]:1",
        ]);
        let tried = [
            "1.1.1.1:1",
            "[2001::1]:1",
            "1.1.1.2:1",
            "[2001::2]:1",
            "1.1.1.3:1",
        ];
        assert_eq!(in_turn(listed), addresses(&tried));
        let many: Vec<_> = (1..20)
            .map(|port| SocketAddr::from(([1, 1, 1, 1], port)))
            .collect();
        assert_eq!(in_turn(many.clone()), many[..TRIED]);
        assert_eq!(in_turn(vec![]), []);
    }

    #[test]
    fn private_ranges_are_not_dialled_without_leave() {
        for private in [
            "127.0.0.1:1",
            "10.0.0.1:1",
            "192.168.1.1:1",
            "169.254.169.254:1",
            "100.64.0.1:1",
            "0.0.0.0:1",
        ] {
            assert!(!is_public(&private.parse().unwrap()), "{private}");
        }
        for private in [
            "[::1]:1",
            "[fe80::1]:1",
            "[fc00::1]:1",
            "[::ffff:10.0.0.1]:1",
            "[::]:1",
        ] {
            assert!(!is_public(&private.parse().unwrap()), "{private}");
        }
        for public in ["93.184.215.14:1", "[2001:4860::1]:1"] {
            assert!(is_public(&public.parse().unwrap()), "{public}");
        }
    }
}
