//! Questions to a name server whose answers are proved by DNSSEC (RFC 4035): the only owner of `hickory_resolver`.
//!
//! An answer counts if every record of it is *Secure*, a denial if all of its proof is. Everything else (unsigned, forged, expired,
//! late) is unproved, and says nothing.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts, ServerOrderingStrategy};
use hickory_resolver::net::dnssec::DnssecDnsHandle;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError, NetError, RetryDnsHandle};
use hickory_resolver::proto::dnssec::{Proof, TrustAnchors};
use hickory_resolver::proto::op::{DnsRequestOptions, DnsResponse, Query};
use hickory_resolver::proto::rr::rdata::SVCB;
use hickory_resolver::proto::rr::rdata::svcb::{SvcParamKey, SvcParamValue};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use tokio::time::timeout;

use super::{NODE_PARAMETER, TLS_PARAMETER};

/// Time for one exchange with the server, of which there are two at most for each of the questions behind a question.
const EXCHANGE: Duration = Duration::from_millis(800);
/// Time for one question, its proof included.
const QUESTION: Duration = Duration::from_secs(4);
/// Proofs that are remembered.
const PROOFS: usize = 256;
/// Iterations of NSEC3 beyond which a denial is unsigned, and beyond which it is wrong. RFC 9276 §3.2.
const ITERATIONS: (u16, u16) = (50, 100);
/// Aliases (CNAME) that are followed.
const ALIASES: usize = 4;
/// Records of one answer that are looked at.
const RECORDS: usize = 32;
/// Bytes of a trust anchor file.
const ANCHOR_BYTES: u64 = 64 * 1024;

/// What the server says, as far as it is proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer<T> {
    /// Records, at most [`RECORDS`]; none where it is proved that there are none.
    Proved(Vec<T>),
    /// Nothing that is proved.
    Unproved(String),
}

/// A `SVCB` record in service mode. RFC 9460.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) priority: u16,
    pub(super) target: String,
    pub(super) port: Option<u16>,
    /// The protocols that it names, if it names any.
    pub(super) alpn: Option<Vec<String>>,
    /// What it says of the node's id and of its TLS key, in hexadecimal.
    pub(super) node: Option<Vec<u8>>,
    pub(super) tls: Option<Vec<u8>>,
    /// It demands something that is not understood here.
    pub(super) strange: bool,
}

/// A `SRV` record. RFC 2782.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    pub(super) target: String,
}

type Validating = DnssecDnsHandle<RetryDnsHandle<NameServerPool<TokioRuntimeProvider>>>;

/// One name server, and whom its proofs must lead to.
pub(super) struct Dns(Validating);

impl Dns {
    /// `anchor` has `DNSKEY` lines of the root; the Internet's own are believed if none is given.
    pub(super) fn new(server: SocketAddr, anchor: Option<&Path>) -> Result<Self, String> {
        let anchors = anchor.map_or_else(|| Ok(TrustAnchors::default()), read_anchor)?;
        let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
        (udp.port, tcp.port) = (server.port(), server.port());
        let mut options = ResolverOpts::default();
        options.timeout = EXCHANGE;
        options.num_concurrent_reqs = 1;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        options.case_randomization = true;
        let tls = TlsConfig::new().map_err(|error| error.to_string())?;
        let pool = NameServerPool::from_config(
            [NameServerConfig::new(server.ip(), true, vec![udp, tcp])],
            Arc::new(PoolContext::new(options, tls)),
            TokioRuntimeProvider::default(),
        );
        let handle = DnssecDnsHandle::with_trust_anchor(RetryDnsHandle::new(pool, 1), Arc::new(anchors));
        let (soft, hard) = ITERATIONS;
        // A proof is made anew each time: a remembered one would outlive its signature.
        Ok(Self(
            handle
                .nsec3_iteration_limits(Some(soft), Some(hard))
                .validation_cache_size(PROOFS)
                .positive_validation_ttl(Duration::ZERO..=Duration::ZERO)
                .negative_validation_ttl(Duration::ZERO..=Duration::from_secs(1)),
        ))
    }

    pub(super) async fn services(&self, name: &str) -> Answer<Service> {
        self.ask(name, RecordType::SVCB, |data| match data {
            RData::SVCB(record) => Some(service(record)),
            _ => None,
        })
        .await
    }

    pub(super) async fn servers(&self, name: &str) -> Answer<Server> {
        self.ask(name, RecordType::SRV, |data| match data {
            RData::SRV(record) => Some(Server {
                priority: record.priority,
                weight: record.weight,
                port: record.port,
                target: record.target.to_ascii(),
            }),
            _ => None,
        })
        .await
    }

    /// IPv6 first. Each of them is proved; where one family is not, those of the other do.
    pub(super) async fn addresses(&self, name: &str) -> Answer<IpAddr> {
        let address = |data: &RData| match data {
            RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
            RData::A(ip) => Some(IpAddr::V4(ip.0)),
            _ => None,
        };
        let (six, four) = tokio::join!(
            self.ask(name, RecordType::AAAA, address),
            self.ask(name, RecordType::A, address)
        );
        match (six, four) {
            (Answer::Proved(mut six), Answer::Proved(four)) => {
                six.extend(four);
                Answer::Proved(six)
            }
            (Answer::Unproved(_), Answer::Proved(one)) | (Answer::Proved(one), Answer::Unproved(_))
                if !one.is_empty() =>
            {
                Answer::Proved(one)
            }
            (Answer::Unproved(why), _) | (_, Answer::Unproved(why)) => Answer::Unproved(why),
        }
    }

    async fn ask<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T> + Send,
    ) -> Answer<T> {
        let unproved = |why: &str| Answer::Unproved(format!("{name} {kind}: {why}"));
        let Ok(mut asked) = Name::from_ascii(name) else {
            return unproved("not a name");
        };
        asked.set_fqdn(true);
        let mut options = DnsRequestOptions::default();
        options.use_edns = true;
        options.edns_set_dnssec_ok = true;
        options.recursion_desired = true;
        options.case_randomization = true;
        let question = self.0.lookup(Query::query(asked.clone(), kind), options);
        match timeout(QUESTION, question.first_answer()).await {
            Err(_) | Ok(Err(NetError::Timeout)) => unproved("no answer in time"),
            Ok(Err(NetError::Dns(DnsError::Nsec { .. } | DnsError::DnssecBogus))) => {
                unproved("the signatures do not hold")
            }
            Ok(Err(error)) => unproved(&error.to_string()),
            Ok(Ok(response)) => match proved(&response, asked, kind) {
                Ok(records) => {
                    let data = records.into_iter().filter_map(|record| read(&record.data));
                    Answer::Proved(data.take(RECORDS).collect())
                }
                Err(why) => unproved(why),
            },
        }
    }
}

/// The records of that kind that an answer has of a name, aliases followed; none where their absence is proved.
fn proved(response: &DnsResponse, asked: Name, kind: RecordType) -> Result<Vec<&Record>, &'static str> {
    let said = |records: &[Record]| {
        let signed = records
            .iter()
            .filter(|record| record.record_type() != RecordType::RRSIG);
        signed.map(|record| record.proof).min()
    };
    match said(&response.answers) {
        Some(Proof::Secure) => {}
        Some(Proof::Bogus) => return Err("the signatures do not hold"),
        Some(Proof::Insecure | Proof::Indeterminate) => return Err("not signed"),
        None => {
            return match said(&response.authorities) {
                Some(Proof::Secure) => Ok(Vec::new()),
                _ => Err("that there is nothing is not proved"),
            };
        }
    }
    let mut name = asked;
    for _ in 0..=ALIASES {
        let of_it = || response.answers.iter().filter(|record| record.name == name);
        let found: Vec<_> = of_it().filter(|record| record.record_type() == kind).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let alias = of_it().find_map(|record| match &record.data {
            RData::CNAME(target) => Some(target.0.clone()),
            _ => None,
        });
        name = alias.ok_or("the answer is about another name")?;
    }
    Err("too many aliases")
}

fn service(record: &SVCB) -> Service {
    let mut service = Service {
        priority: record.svc_priority,
        target: record.target_name.to_ascii(),
        port: None,
        alpn: None,
        node: None,
        tls: None,
        strange: false,
    };
    for (key, value) in &record.svc_params {
        match value {
            SvcParamValue::Port(port) => service.port = Some(*port),
            SvcParamValue::Alpn(names) => service.alpn = Some(names.0.clone()),
            SvcParamValue::Mandatory(keys) => {
                let understood = |key: &SvcParamKey| {
                    matches!(
                        *key,
                        SvcParamKey::Alpn
                            | SvcParamKey::Port
                            | SvcParamKey::Key(NODE_PARAMETER)
                            | SvcParamKey::Key(TLS_PARAMETER)
                    )
                };
                service.strange |= !keys.0.iter().all(understood);
            }
            SvcParamValue::Unknown(bytes) => match *key {
                SvcParamKey::Key(NODE_PARAMETER) => service.node = Some(bytes.0.clone()),
                SvcParamKey::Key(TLS_PARAMETER) => service.tls = Some(bytes.0.clone()),
                _ => {}
            },
            _ => {}
        }
    }
    service
}

fn read_anchor(path: &Path) -> Result<TrustAnchors, String> {
    use std::io::Read;
    let fail = |what: String| format!("{}: {what}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| fail(error.to_string()))?;
    file.take(ANCHOR_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| fail(error.to_string()))?;
    let anchors: TrustAnchors = text.parse().map_err(|_| fail("not DNSKEY lines".into()))?;
    if anchors.is_empty() {
        return Err(fail(
            "no DNSKEY line of the root zone, whose name is a dot: as dnssec-keygen writes it".into(),
        ));
    }
    Ok(anchors)
}
