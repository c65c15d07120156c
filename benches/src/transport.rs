//! QUIC on loopback, nothing hashed and nothing stored: plain quinn, and the node's own bulk lane.
//!
//! Each end has a thread and a current-thread runtime of its own, as a node has.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc as channel;
use std::thread;
use std::time::{Duration, Instant};

use basoche_node::quic::{
    CloseCode, Endpoint, Event, Identity, Lane, NodeId, Options, PeerDirectory, Secrets,
};
use bytes::Bytes;
use quinn::{MtuDiscoveryConfig, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use tokio::sync::{mpsc, oneshot};

use crate::Outcome;
use crate::limits::pieces;

/// Largest UDP payload, in bytes: what real networks carry.
const DATAGRAM: u16 = 1452;
/// Flow control windows of the plain connection, in bytes.
const WINDOW: u32 = 32 << 20;
/// Bytes given to quinn at a time.
const PIECE: usize = 1 << 20;
const HOST: &str = "bench.example";

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn loopback() -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)
}

/// Joins a thread whose failure is the measurement's.
fn joined(thread: thread::JoinHandle<Outcome<()>>) -> Outcome<()> {
    thread
        .join()
        .map_err(|_| "a thread of the measurement panicked")?
}

/// quinn as its authors would tune it: large windows, segmentation offload, datagrams of [`DATAGRAM`].
fn tuned() -> TransportConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(DATAGRAM);
    let mut config = TransportConfig::default();
    config
        .receive_window(VarInt::from_u32(WINDOW))
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW))
        .initial_mtu(DATAGRAM)
        .mtu_discovery_config(Some(discovery))
        .enable_segmentation_offload(true);
    config
}

/// A socket with the node's buffers, as far as the kernel grants them.
fn endpoint(server: Option<quinn::ServerConfig>) -> std::io::Result<quinn::Endpoint> {
    let mut config = quinn::EndpointConfig::default();
    config
        .max_udp_payload_size(DATAGRAM)
        .map_err(std::io::Error::other)?;
    let socket = std::net::UdpSocket::bind(loopback())?;
    let buffers = socket2::SockRef::from(&socket);
    let bytes = Options::default().socket_buffer;
    buffers.set_recv_buffer_size(bytes)?;
    buffers.set_send_buffer_size(bytes)?;
    quinn::Endpoint::new(config, server, socket, Arc::new(quinn::TokioRuntime))
}

/// One stream of `bytes` bytes over plain quinn, from the request to the last byte.
pub(crate) fn plain(bytes: u64) -> Outcome<Duration> {
    let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned()])?;
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let (address, told) = channel::channel();
    let server = thread::spawn(move || -> Outcome<()> {
        let mut config = quinn::ServerConfig::with_single_cert(vec![certificate], key)?;
        config.transport_config(Arc::new(tuned()));
        runtime()?.block_on(async {
            let endpoint = endpoint(Some(config))?;
            address.send(endpoint.local_addr()?)?;
            let connection = endpoint.accept().await.ok_or("no connection came")?.await?;
            let (mut send, mut recv) = connection.accept_bi().await?;
            recv.read_to_end(64).await?;
            let piece = Bytes::from(vec![0x5a; PIECE]);
            for length in pieces(bytes) {
                send.write_chunk(piece.slice(..length)).await?;
            }
            send.finish()?;
            connection.closed().await;
            Ok(())
        })
    });
    let took = runtime()?.block_on(async {
        let mut client = quinn::ClientConfig::with_root_certificates(Arc::new(roots))?;
        client.transport_config(Arc::new(tuned()));
        let mut endpoint = endpoint(None)?;
        endpoint.set_default_client_config(client);
        let address = told.recv()?;
        let connection = endpoint.connect(address, HOST)?.await?;
        let started = Instant::now();
        let (mut send, mut recv) = connection.open_bi().await?;
        send.write_all(b"all").await?;
        send.finish()?;
        let mut chunks = [const { Bytes::new() }; 64];
        let mut received = 0;
        while let Some(count) = recv.read_chunks(&mut chunks).await? {
            received += chunks[..count]
                .iter()
                .map(|chunk| chunk.len() as u64)
                .sum::<u64>();
        }
        let took = started.elapsed();
        connection.close(VarInt::from_u32(0), b"");
        endpoint.wait_idle().await;
        complete(received, bytes).map(|()| took)
    });
    let took: Outcome<Duration> = took;
    let took = took?;
    joined(server)?;
    Ok(took)
}

fn complete(received: u64, bytes: u64) -> Outcome<()> {
    if received == bytes {
        Ok(())
    } else {
        Err(format!("{received} bytes of {bytes} arrived").into())
    }
}

/// Two nodes that know each other.
struct Two([([u8; 32], NodeId); 2]);

impl PeerDirectory for Two {
    fn node_of_key(&self, spki_sha256: &[u8; 32]) -> Option<NodeId> {
        self.0
            .iter()
            .find(|(key, _)| key == spki_sha256)
            .map(|(_, node)| *node)
    }
}

/// One reply of `bytes` bytes over the node's own transport, from the request to the last byte.
pub(crate) fn bulk_lane(bytes: u64) -> Outcome<Duration> {
    const SENDER: NodeId = [1; 16];
    const RECEIVER: NodeId = [2; 16];
    let identities = (Identity::generate("sender")?, Identity::generate("receiver")?);
    let directory = Arc::new(Two([
        (identities.0.spki_sha256()?, SENDER),
        (identities.1.spki_sha256()?, RECEIVER),
    ]));
    let (sender_identity, peers) = (identities.0, Arc::clone(&directory));
    let (address, told) = channel::channel();
    let (end, ended) = oneshot::channel::<()>();
    let server = thread::spawn(move || -> Outcome<()> {
        runtime()?.block_on(async {
            let (events, mut incoming) = mpsc::channel(64);
            let secrets = Secrets::generate()?;
            let endpoint = Endpoint::bind(Options::default(), &sender_identity, &secrets, peers, events)?;
            address.send(endpoint.local_addr().ok_or("no address")?)?;
            let mut reply = loop {
                match incoming.recv().await {
                    Some(Event::BulkRequest { reply, .. }) => break reply,
                    Some(_) => {}
                    None => return Err("the transport stopped".into()),
                }
            };
            let piece = Bytes::from(vec![0x5a; PIECE]);
            for length in pieces(bytes) {
                reply.write_chunk(piece.slice(..length)).await?;
            }
            reply.finish()?;
            // Whatever the receiver did, it is over.
            let _ = ended.await;
            Ok(())
        })
    });
    let took: Outcome<Duration> = runtime()?.block_on(async {
        let (events, mut incoming) = mpsc::channel(64);
        let secrets = Secrets::generate()?;
        let endpoint = Endpoint::bind(Options::default(), &identities.1, &secrets, directory, events)?;
        endpoint.connect(SENDER, &[told.recv()?], Lane::Bulk).await?;
        // Its Connected comes before any request is possible.
        incoming.recv().await.ok_or("the transport stopped")?;
        let started = Instant::now();
        let mut stream = endpoint.fetch(SENDER, Bytes::from_static(b"all")).await?;
        let mut received = 0;
        while let Some(chunk) = stream.read_chunk().await? {
            received += chunk.len() as u64;
        }
        let took = started.elapsed();
        endpoint.close(CloseCode::Normal).await;
        complete(received, bytes).map(|()| took)
    });
    drop(end);
    let took = took?;
    joined(server)?;
    Ok(took)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_crosses_both_transports() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let bytes = (3 << 20) + 1;
        assert!(!plain(bytes).unwrap().is_zero());
        assert!(!bulk_lane(bytes).unwrap().is_zero());
    }
}
