//! Every limit of the transport, in one place. quinn's defaults suit a client of the open Internet: unlimited
//! connection windows, 65 536 pending handshakes, 100 streams of each kind, migration (quinn-proto `config`).

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::{hkdf, hmac, rand};
use quinn::{
    EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TransportConfig, ValidationTokenConfig,
    VarInt, congestion::CubicConfig,
};
use quinn_proto::HashedConnectionIdGenerator;
use zeroize::ZeroizeOnDrop;

use super::TransportError;
use super::tokens::{ResetKey, TokenKey};

/// Longest frame on the control lane, in bytes.
pub const MAX_FRAME: usize = basoche_protocol::wire::limits::FRAME_BYTES;
/// Longest bulk request, in bytes.
pub const MAX_REQUEST: usize = 64 * 1024;

/// Requests one side may have open on a bulk connection at a time.
pub(super) const BULK_STREAMS: u32 = 64;
/// Broken requests within [`BROKEN_WINDOW`] after which a bulk connection is closed (the QUIC form of rapid reset).
pub(super) const MAX_BROKEN_REQUESTS: usize = 100;
/// See [`MAX_BROKEN_REQUESTS`].
pub(super) const BROKEN_WINDOW: Duration = Duration::from_secs(10);
/// Handshakes in progress beyond which new ones are ignored; the dialler retransmits.
pub(super) const MAX_HANDSHAKES: usize = 256;
/// Slowest pace at which a frame that has begun may arrive, in bytes per second, with [`Options::frame_stall`] to spare: a
/// link that loses 30 of 100 datagrams each way brings fifty times as much, with pauses of seconds.
pub(super) const MIN_FRAME_RATE: usize = 1024;
/// How long an address that is dialled has to answer before the next one is dialled beside it (RFC 8305 §5).
pub(super) const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// How long a closing endpoint lets queued frames reach the peers.
pub(super) const DRAIN: Duration = Duration::from_secs(10);
/// How long it then waits for quinn to repeat CONNECTION_CLOSE where it is lost.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// Window of the control lane and of connections whose lane is not known yet, in bytes, each way.
const CONTROL_WINDOW: u32 = 8 * 1024 * 1024;
/// Window of one stream: 4.5 Gb/s at 30 ms. On the control lane [`CONTROL_WINDOW`] is the lower one.
const STREAM_WINDOW: u32 = 16 * 1024 * 1024;
/// CUBIC starts here instead of 14 720 bytes, so that short documents go in one round trip.
const INITIAL_CONGESTION_WINDOW: u64 = 64 * 1024;
/// Taken for the round trip until one is measured. RFC 9002 has 333 ms, which makes a handshake wait 1, 2 and 4 s for
/// what is lost; now 300 ms, 600 ms and so on. Where a round trip takes longer, the first packet goes twice.
const INITIAL_ROUND_TRIP: Duration = Duration::from_millis(100);
/// Packets that may overtake one before it counts as lost. 3 (RFC 9002) halves the rate on paths that reorder; the
/// time threshold still finds real loss, so both lanes use it.
const PACKET_THRESHOLD: u32 = 32;
/// Round trips after which a packet that later ones have overtaken counts as lost. 9/8 (RFC 9002) takes for lost what
/// is late by a moment: 5 MiB at 50 ms with 5 of 100 datagrams held back for 30 ms take 33 s, with 3/2 20 s, and so 9 s.
/// What is really lost is sent again a round trip later: 5 MiB with 5 of 100 lost take 34 s instead of 36.
const TIME_THRESHOLD: f32 = 2.0;

/// How an endpoint listens, and what it allows.
#[derive(Clone, Debug)]
pub struct Options {
    /// UDP address; port 0 takes a free one. An IPv6 wildcard serves IPv4 too.
    pub listen: SocketAddr,
    /// Largest UDP payload sent or accepted, in bytes, 1200 to 1452.
    pub max_datagram: u16,
    /// A connection on which nothing arrives for so long, and for three probe timeouts, is lost. Half of this is also
    /// the longest that a link which is good again may look dead: a sender doubles its pauses between probes.
    pub idle_timeout: Duration,
    /// A silent connection is kept alive this often; less than half of `idle_timeout`.
    pub keep_alive: Duration,
    /// Time for each of: handshake (three times as long after a Retry, which shows heavy load), hello, request.
    pub deadline: Duration,
    /// A bulk reply on which nothing moves for so long is given up.
    pub stall: Duration,
    /// The longest pause of a frame that has begun, and how far it may lag behind 1 KiB/s in all. Long: where
    /// three of ten datagrams are lost, a sender's pauses between probes may double several times, and begin at seconds
    /// if the peer is busy; a connection that is dead ends by `idle_timeout` in any case.
    pub frame_stall: Duration,
    /// Age from which a connection was not dialled at the same time as a new one: the peer that dials again has lost it.
    pub settled: Duration,
    /// Frames queued per control connection, in bytes, beside the 8 MiB that quinn holds.
    pub queue_bytes: usize,
    /// Receive window of a bulk connection, in bytes: what a slow reader makes this node hold.
    pub bulk_receive_window: u32,
    /// Unacknowledged bytes of a bulk connection: what a slow peer makes this node hold.
    pub bulk_send_window: u32,
    /// SO_RCVBUF and SO_SNDBUF, in bytes; the kernel may grant less, which is logged.
    pub socket_buffer: usize,
    /// Connections, of both lanes and directions, beyond which new ones are refused as busy.
    pub max_connections: usize,
    /// Connections dialled by one peer, ready or not, beyond which new ones are refused as busy.
    pub max_per_peer: usize,
    /// Handshakes in progress beyond which an unproven address must first answer a Retry (RFC 9000 §8.1.2).
    pub retry_above: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
            max_datagram: 1452,
            idle_timeout: Duration::from_secs(15),
            keep_alive: Duration::from_secs(3),
            deadline: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            frame_stall: Duration::from_secs(120),
            settled: Duration::from_secs(20),
            queue_bytes: 8 * 1024 * 1024,
            bulk_receive_window: 32 * 1024 * 1024,
            bulk_send_window: 16 * 1024 * 1024,
            socket_buffer: 8 * 1024 * 1024,
            max_connections: 512,
            max_per_peer: 4,
            retry_above: 64,
        }
    }
}

impl Options {
    fn idle(&self) -> Result<IdleTimeout, TransportError> {
        IdleTimeout::try_from(self.idle_timeout)
            .map_err(|_| TransportError::Options("idle_timeout is too long"))
    }

    /// Refuses what would not work.
    pub(super) fn check(&self) -> Result<(), TransportError> {
        let refuse = |what| Err(TransportError::Options(what));
        if !(1200..=1452).contains(&self.max_datagram) {
            return refuse("max_datagram is not between 1200 and 1452");
        }
        if self.keep_alive.is_zero() || self.keep_alive * 2 >= self.idle_timeout {
            return refuse("keep_alive is not less than half of idle_timeout");
        }
        if self.queue_bytes < 2 * MAX_FRAME {
            return refuse("queue_bytes is less than two frames");
        }
        if self.bulk_receive_window < CONTROL_WINDOW || self.bulk_send_window < CONTROL_WINDOW {
            return refuse("a bulk window is less than 8 MiB");
        }
        self.idle().map(|_| ())
    }
}

/// Keys that outlive the process, so that a restarted node can tell its peers at once that their connections are
/// gone, and still accepts the Retry tokens it gave. The caller persists them; whoever has them can only cut
/// connections and skip Retry.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Secrets {
    /// Key of stateless resets and of connection ids.
    pub reset_key: [u8; 64],
    /// Key of Retry tokens.
    pub token_key: [u8; 64],
}

impl Secrets {
    /// New random keys.
    ///
    /// # Errors
    /// [`TransportError::Identity`] when the system has no randomness.
    pub fn generate() -> Result<Self, TransportError> {
        let mut secrets = Self {
            reset_key: [0; 64],
            token_key: [0; 64],
        };
        for key in [&mut secrets.reset_key, &mut secrets.token_key] {
            rand::fill(key).map_err(|_| TransportError::Identity("no randomness".into()))?;
        }
        Ok(secrets)
    }
}

/// Limits of the endpoint.
pub(super) fn endpoint_config(
    options: &Options,
    secrets: &Secrets,
) -> Result<EndpointConfig, TransportError> {
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, &secrets.reset_key);
    // A restarted node answers a packet with a stateless reset only if it recognises the connection id as one of
    // its own: the ids' key must outlive it as well.
    let tag = hmac::sign(&reset_key, b"basoche connection ids");
    let id_key = tag
        .as_ref()
        .iter()
        .take(8)
        .fold(0_u64, |key, byte| key << 8 | u64::from(*byte));

    let mut config = EndpointConfig::new(Arc::new(ResetKey(reset_key)));
    config
        .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(id_key)))
        .supported_versions(vec![1]) // QUIC v1 (RFC 9000), no drafts.
        .min_reset_interval(Duration::from_millis(20)) // One small reset per 20 ms, whoever asks.
        .max_udp_payload_size(options.max_datagram)
        .map_err(|_| TransportError::Options("max_datagram is out of range"))?;
    Ok(config)
}

/// Limits of what is accepted.
pub(super) fn server_config(
    crypto: Arc<dyn quinn::crypto::ServerConfig>,
    options: &Options,
    secrets: &Secrets,
) -> Result<ServerConfig, TransportError> {
    let token_key = hkdf::Salt::new(hkdf::HKDF_SHA256, b"basoche retry tokens").extract(&secrets.token_key);
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(0); // No NEW_TOKEN: under load every peer pays one Retry, and there is no token store.

    let mut config = ServerConfig::new(crypto, Arc::new(TokenKey(token_key)));
    config
        // The dialler opens one stream, the hello; the bulk lane then gets more.
        .transport_config(Arc::new(transport_config(options, 1)?))
        .validation_token_config(tokens)
        .retry_token_lifetime(Duration::from_secs(15))
        .migration(false) // Nodes do not roam; path validation would be work on demand for a peer.
        .max_incoming(1024)
        .incoming_buffer_size(64 * 1024) // Two or three datagrams of ClientHello, and room.
        .incoming_buffer_size_total(8 * 1024 * 1024);
    Ok(config)
}

/// Limits of one connection before its lane is known. `streams` is how many the peer may open.
pub(super) fn transport_config(options: &Options, streams: u32) -> Result<TransportConfig, TransportError> {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(options.max_datagram);
    // Not BBR, as quinn 0.11 has it. It brings 5 MiB at 50 ms and 5 % loss in 3 s, where CUBIC takes 35; but where nothing
    // is lost it gets stuck: 5 MiB at 10 Mbit/s take 26 s instead of 4, 50 MiB without a limit 100 s and more instead of 1.
    let mut congestion = CubicConfig::default();
    congestion.initial_window(INITIAL_CONGESTION_WINDOW);

    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0)) // Not used.
        .receive_window(VarInt::from_u32(CONTROL_WINDOW))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .send_window(u64::from(CONTROL_WINDOW))
        .max_idle_timeout(Some(options.idle()?))
        .keep_alive_interval(Some(options.keep_alive))
        .initial_rtt(INITIAL_ROUND_TRIP)
        .initial_mtu(1200) // Passes everywhere; discovery then raises it.
        .min_mtu(1200)
        .mtu_discovery_config(Some(discovery))
        .packet_threshold(PACKET_THRESHOLD)
        .time_threshold(TIME_THRESHOLD)
        .congestion_controller_factory(Arc::new(congestion))
        .crypto_buffer_size(16 * 1024) // Out-of-order handshake bytes; ours take 3 KiB.
        .datagram_receive_buffer_size(None) // No QUIC datagrams.
        .datagram_send_buffer_size(0)
        .allow_spin(false) // No round-trip times for onlookers.
        .enable_segmentation_offload(true);
    Ok(config)
}

/// Gives a connection the room of the bulk lane.
pub(super) fn widen(connection: &quinn::Connection, options: &Options) {
    connection.set_receive_window(VarInt::from_u32(options.bulk_receive_window));
    connection.set_send_window(u64::from(options.bulk_send_window));
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(BULK_STREAMS));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_accepted_and_each_bad_option_is_refused() {
        Options::default().check().unwrap();
        let bad = [
            Options {
                max_datagram: 1199,
                ..Options::default()
            },
            Options {
                max_datagram: 1453,
                ..Options::default()
            },
            Options {
                keep_alive: Duration::from_millis(7500),
                ..Options::default()
            },
            Options {
                keep_alive: Duration::ZERO,
                ..Options::default()
            },
            Options {
                idle_timeout: Duration::MAX,
                ..Options::default()
            },
            Options {
                queue_bytes: MAX_FRAME,
                ..Options::default()
            },
            Options {
                bulk_send_window: 1,
                ..Options::default()
            },
        ];
        for options in bad {
            assert!(
                matches!(options.check(), Err(TransportError::Options(_))),
                "{options:?}"
            );
        }
    }
}
