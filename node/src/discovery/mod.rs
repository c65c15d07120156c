//! Where a node is reached when what the registry says of that is out of date: DNS, with DNSSEC. A hint, never an override: the
//! registry says who the node is, and whoever answers shows the key that it names. SPEC 10.1, DNS-1 to DNS-3.
//!
//! ```text
//! host of a stale address ──▶ SVCB _basoche.HOST ──▶ SRV _basoche._udp.HOST ──▶ HOST ──▶ AAAA, A
//! ```
//! A step is left for the next one only where it is proved that there is nothing; the first thing that is not proved ends it.

mod dns;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use basoche_protocol::id::{Digest, SubjectId};
use basoche_protocol::text::hex_encode;
use tokio::time::Instant;

use self::dns::{Answer, Dns};
use crate::operator::{Alarm, Monitor};

/// Parameters of a `SVCB` record, of those that RFC 9460 §14.3.1 leaves to private use: the id of the node and SHA-256 of the
/// SubjectPublicKeyInfo that it shows in TLS, each in lower-case hexadecimal.
pub const NODE_PARAMETER: u16 = 65_280;
/// See [`NODE_PARAMETER`].
pub const TLS_PARAMETER: u16 = 65_281;
/// What a `SVCB` record that names protocols must name.
const ALPN: &str = "basoche/1";
/// Hosts of one node that are asked for.
const HOSTS: usize = 4;
/// Records of one host that are followed, the best first.
const FOLLOWED: usize = 4;
/// For how long what was found, or not found, is not asked again.
const KEPT: Duration = Duration::from_secs(60);

/// Of which node, and what the registry says of it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The node.
    pub node: SubjectId,
    /// SHA-256 of the SubjectPublicKeyInfo that it shows in TLS.
    pub tls_spki_sha256: Digest,
    /// Its addresses, `host:port`, the best first.
    pub addresses: Vec<String>,
}

/// What DNS says of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Where it is, proved, the best first.
    pub addresses: Vec<SocketAddr>,
    /// What is wrong with an answer, if anything is.
    pub complaint: Option<Complaint>,
}

/// An answer that was not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// It is not proved by DNSSEC. DNS-2.
    Unproved(String),
    /// It says of the node what the registry says otherwise. DNS-3.
    Contradicts(String),
}

/// Asks a name server, and remembers what it said.
pub struct Discovery {
    dns: Dns,
    monitor: Arc<Monitor>,
    kept: Mutex<BTreeMap<SubjectId, (Instant, Found)>>,
}

impl Discovery {
    /// Asks `server`; `anchor` has `DNSKEY` lines of the root zone, that of the Internet if not given.
    ///
    /// # Errors
    /// What is wrong with the anchor, in words for whoever has written the configuration.
    pub fn new(server: SocketAddr, anchor: Option<&Path>, monitor: Arc<Monitor>) -> Result<Self, String> {
        Ok(Self {
            dns: Dns::new(server, anchor)?,
            monitor,
            kept: Mutex::default(),
        })
    }

    /// Where `wanted` is, by DNS. Asks once a minute at most; raises an alarm when what is wrong is not what was wrong before.
    pub async fn find(&self, wanted: &Wanted) -> Vec<SocketAddr> {
        let before = self.kept(|kept| kept.get(&wanted.node).cloned());
        if let Some((until, found)) = &before
            && Instant::now() < *until
        {
            return found.addresses.clone();
        }
        let found = self.ask(wanted).await;
        let complained = before.and_then(|(_, found)| found.complaint);
        match &found.complaint {
            Some(complaint) if complained.as_ref() != Some(complaint) => {
                let (alarm, what) = match complaint {
                    Complaint::Unproved(what) => (Alarm::DnsUnproved, what),
                    Complaint::Contradicts(what) => (Alarm::DnsContradicts, what),
                };
                alarm.raise(&self.monitor.meters, format_args!("node {}: {what}", wanted.node));
            }
            _ => {}
        }
        let addresses = found.addresses.clone();
        self.kept(|kept| kept.insert(wanted.node, (Instant::now() + KEPT, found)));
        addresses
    }

    fn kept<T>(&self, act: impl FnOnce(&mut BTreeMap<SubjectId, (Instant, Found)>) -> T) -> T {
        act(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What DNS says of `wanted` now. DNS-1.
    pub async fn ask(&self, wanted: &Wanted) -> Found {
        let mut found = Found::default();
        let mut asked = Vec::new();
        for address in &wanted.addresses {
            let Some((host, port)) = host_and_port(address) else {
                continue;
            };
            if asked.contains(&host) || asked.len() >= HOSTS {
                continue;
            }
            asked.push(host);
            match self.host(wanted, host, port).await {
                Ok(addresses) => found.addresses.extend(addresses),
                Err(complaint) => found.complaint = found.complaint.or(Some(complaint)),
            }
        }
        found
    }

    async fn host(&self, wanted: &Wanted, host: &str, port: u16) -> Result<Vec<SocketAddr>, Complaint> {
        let services = self.dns.services(&format!("_basoche.{host}")).await;
        let mut services = proved(services)?;
        // Aliases (priority 0) are not followed: a CNAME does what they do.
        services.retain(|service| service.priority != 0 && !service.strange && is_host(&service.target));
        services.retain(|service| {
            let names = service.alpn.as_ref();
            names.is_none_or(|names| names.iter().any(|name| name == ALPN))
        });
        services.sort_by_key(|service| service.priority);
        let mut targets = Vec::new();
        for service in services.into_iter().take(FOLLOWED) {
            let parameters = [
                (service.node, hex_encode(wanted.node.as_bytes()), "the node's id"),
                (service.tls, wanted.tls_spki_sha256.to_string(), "its TLS key"),
            ];
            for (said, known, what) in parameters {
                if said.is_some_and(|said| said != known.as_bytes()) {
                    let what = format!("_basoche.{host} SVCB: {what} is not the one in the registry");
                    return Err(Complaint::Contradicts(what));
                }
            }
            targets.push((service.target, service.port.unwrap_or(port)));
        }
        if targets.is_empty() {
            let servers = self.dns.servers(&format!("_basoche._udp.{host}")).await;
            let mut servers = proved(servers)?;
            servers.retain(|server| is_host(&server.target));
            servers.sort_by_key(|server| (server.priority, u16::MAX - server.weight));
            let followed = servers.into_iter().take(FOLLOWED);
            targets.extend(followed.map(|server| (server.target, server.port)));
        }
        if targets.is_empty() {
            targets.push((host.to_owned(), port));
        }
        let mut addresses = Vec::new();
        for (target, port) in targets {
            let found = proved(self.dns.addresses(&target).await)?;
            addresses.extend(found.into_iter().map(|ip| SocketAddr::new(ip, port)));
        }
        Ok(addresses)
    }
}

fn proved<T>(answer: Answer<T>) -> Result<Vec<T>, Complaint> {
    match answer {
        Answer::Proved(records) => Ok(records),
        Answer::Unproved(why) => Err(Complaint::Unproved(why)),
    }
}

/// The two parts of `host:port`, where the host is a name and no address.
fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let is_name = !host.contains(':') && host.parse::<std::net::IpAddr>().is_err();
    (is_name && !host.is_empty()).then_some((host.trim_end_matches('.'), port.parse().ok()?))
}

/// Whether a target is somewhere: a dot alone says that there is nothing.
fn is_host(target: &str) -> bool {
    !target.trim_end_matches('.').is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_asked_for_and_addresses_are_not() {
        assert_eq!(host_and_port("node.example:4433"), Some(("node.example", 4433)));
        assert_eq!(host_and_port("node.example.:1"), Some(("node.example", 1)));
        for other in [
            "192.0.2.1:4433",
            "[2001:db8::1]:4433",
            "node.example",
            ":4433",
            "node.example:65536",
        ] {
            assert_eq!(host_and_port(other), None, "{other}");
        }
        assert!(is_host("node.example.") && !is_host("."));
    }
}
