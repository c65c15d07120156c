//! Transport between nodes: QUIC with mutual TLS, SPEC "Transport".
//!
//! This module carries opaque frames and opaque bulk replies between nodes that the registry knows; what they
//! mean is the business of the session above. It owns `quinn`, `rustls` and `socket2`.
//!
//! Two connections per peer, each called a [`Lane`]. A connection begins with one bidirectional stream opened by
//! the dialler, on which each side writes one hello of nine bytes: the lane (0 control, 1 bulk) and the *instance*,
//! eight random bytes drawn when an endpoint is bound. On the control lane the same stream then carries frames
//! (length, 4 bytes big-endian, then 1 to [`MAX_FRAME`] bytes). On the bulk lane the hello stream ends, and each
//! further bidirectional stream, opened by either side, is one request (length, then up to [`MAX_REQUEST`] bytes,
//! end) and its raw reply.
//!
//! Between two nodes one connection per lane survives: see [`keep`]. When one replaces another, frames in flight
//! on the old one are lost, and `Connected` of the new may come before `Closed` of the old: compare `conn`, and
//! start the session afresh at each `Connected`.

mod bulk;
mod connection;
mod endpoint;
mod handshake;
mod limits;
mod queue;
mod socket;
mod tls;
mod tokens;

#[cfg(test)]
mod tests;

use std::{fmt, io, net::SocketAddr};

use bytes::Bytes;

pub use bulk::{BulkReply, BulkStream};
pub use endpoint::{ConnectionInfo, Endpoint, Keep, Stats, keep};
pub use limits::{MAX_FRAME, MAX_REQUEST, Options, Secrets};
pub use tls::{ALPN, Identity};

/// Subject id of a node in the registry.
pub type NodeId = [u8; 16];

/// Who a transport key belongs to, according to the registry as it is now.
pub trait PeerDirectory: Send + Sync + 'static {
    /// Node that may use the key with this SHA-256 of its SubjectPublicKeyInfo; `None` when the key is unknown,
    /// expired or revoked.
    ///
    /// Asked several times per handshake, from the transport's own tasks and under its lock: it answers at once
    /// and calls nothing of [`Endpoint`].
    fn node_of_key(&self, spki_sha256: &[u8; 32]) -> Option<NodeId>;
}

/// A connection of this endpoint, never reused while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Frames: small, ordered, always answered.
    Control = 0,
    /// Requests and their raw replies, as long as documents are.
    Bulk = 1,
}

/// What the transport reports. For one connection: `Connected`, then the rest, then `Closed`.
pub enum Event {
    /// A connection is ready, and the peer is the node the registry says.
    Connected {
        /// The node at the other end.
        peer: NodeId,
        /// Its lane.
        lane: Lane,
        /// Its name here.
        conn: ConnectionId,
        /// Whether this endpoint dialled it.
        outbound: bool,
    },
    /// A frame, complete and in order.
    Frame {
        /// The node it comes from.
        peer: NodeId,
        /// The control connection it came on.
        conn: ConnectionId,
        /// 1 to [`MAX_FRAME`] bytes.
        bytes: Bytes,
    },
    /// The queue of a connection that refused a frame as [`SendError::Full`] is half empty again.
    Writable {
        /// The node at the other end.
        peer: NodeId,
        /// The control connection.
        conn: ConnectionId,
    },
    /// A bulk request, complete.
    BulkRequest {
        /// The node that asks.
        peer: NodeId,
        /// The bulk connection it came on.
        conn: ConnectionId,
        /// Up to [`MAX_REQUEST`] bytes.
        request: Bytes,
        /// Where the reply goes. Dropped unfinished, it resets the stream.
        reply: BulkReply,
    },
    /// The connection is gone; unsent frames are lost.
    Closed {
        /// The node at the other end.
        peer: NodeId,
        /// Its lane.
        lane: Lane,
        /// Its name here.
        conn: ConnectionId,
        /// Who ended it, and why.
        reason: CloseReason,
    },
}

/// Shows sizes, never content.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected {
                lane, conn, outbound, ..
            } => {
                write!(f, "Connected({conn:?}, {lane:?}, outbound: {outbound})")
            }
            Self::Frame { conn, bytes, .. } => write!(f, "Frame({conn:?}, {} bytes)", bytes.len()),
            Self::Writable { conn, .. } => write!(f, "Writable({conn:?})"),
            Self::BulkRequest { conn, request, .. } => {
                write!(f, "BulkRequest({conn:?}, {} bytes)", request.len())
            }
            Self::Closed {
                lane, conn, reason, ..
            } => write!(f, "Closed({conn:?}, {lane:?}, {reason})"),
        }
    }
}

macro_rules! close_codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $text:literal;)+) => {
        /// Application codes on CONNECTION_CLOSE, RESET_STREAM and STOP_SENDING (RFC 9000 §20.2). Append-only.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum CloseCode { $($(#[doc = $doc])+ $name = $code,)+ }

        impl CloseCode {
            /// Every code, in ascending order.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The code with this number, if this version knows it.
            #[must_use]
            pub fn from_number(number: u64) -> Option<Self> {
                match number { $($code => Some(Self::$name),)+ _ => None }
            }

            /// What it says, for logs.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

close_codes! {
    /// Nothing is wrong and nothing is left to say.
    Normal = 0, "closed";
    /// The node stops or restarts; dial again.
    Restarting = 1, "the node is restarting";
    /// The registry knows no node with this key.
    UnknownPeer = 2, "unknown key";
    /// The registry has revoked this key or this node.
    Revoked = 3, "revoked";
    /// Another connection of the same lane is the one that is kept.
    Duplicate = 4, "another connection is kept";
    /// A frame or request is longer than its limit.
    FrameTooLarge = 5, "too large";
    /// The peer broke a rule of this module.
    Protocol = 6, "protocol error";
    /// Too many connections or requests; try later.
    Busy = 7, "busy";
    /// Something begun did not advance in time.
    TooSlow = 8, "too slow";
    /// The reply was given up before its end.
    Aborted = 9, "given up";
    /// The asker has had as much as one peer gets; try again tomorrow.
    Quota = 10, "over the quota";
    /// What was asked is not here, or not for the asker: which of the two is not told.
    NotGiven = 11, "not given";
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl From<CloseCode> for quinn::VarInt {
    fn from(code: CloseCode) -> Self {
        Self::from_u32(code as u32)
    }
}

/// Who ended a connection, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// This endpoint did.
    Here(CloseCode),
    /// The peer did, with an application code that [`CloseCode::from_number`] may know.
    Peer {
        /// The number sent.
        code: u64,
        /// The peer's text: untrusted, printable, at most 200 characters.
        text: String,
    },
    /// The peer no longer has the connection (stateless reset, RFC 9000 §10.3): it was killed and is back.
    Reset,
    /// Nothing came within the idle timeout.
    TimedOut,
    /// QUIC or TLS failed.
    Transport(String),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(code) => write!(f, "here: {code}"),
            Self::Peer { code, text } => {
                match CloseCode::from_number(*code) {
                    Some(known) => write!(f, "by the peer: {known}")?,
                    None => write!(f, "by the peer: code {code}")?,
                }
                if text.is_empty() {
                    Ok(())
                } else {
                    write!(f, " ({text})")
                }
            }
            Self::Reset => f.write_str("the peer has restarted"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Transport(text) => f.write_str(text),
        }
    }
}

/// Why an endpoint cannot be bound, a peer not reached or a request not made.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The UDP address cannot be taken.
    #[error("cannot listen on udp {address}: {source}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// An option is out of its range.
    #[error("transport option: {0}")]
    Options(&'static str),
    /// The node's own certificate or key is unusable.
    #[error("transport identity: {0}")]
    Identity(String),
    /// The address cannot be dialled.
    #[error("cannot dial {address}: {reason}")]
    Address {
        /// The address asked for.
        address: SocketAddr,
        /// quinn's reason.
        reason: String,
    },
    /// Nobody answered in time.
    #[error("no answer from {0}")]
    Unreachable(SocketAddr),
    /// The registry here knows no node with the key that answered.
    #[error("the key at this address is not in the registry")]
    UnknownPeer,
    /// The key that answered belongs to another node.
    #[error("another node answers at this address")]
    WrongPeer(NodeId),
    /// The peer does not know this node's key.
    #[error("the peer's registry does not know this node's key")]
    UnknownThere,
    /// The peer does not speak [`ALPN`].
    #[error("the peer does not speak this protocol version")]
    Incompatible,
    /// Another connection of this lane is kept: wait for its `Connected`, do not dial again.
    #[error("another connection to this peer is kept")]
    Duplicate,
    /// This lane of this peer is being dialled already.
    #[error("already dialling this peer")]
    AlreadyDialling,
    /// The connection ended before it was ready, or while the request was made.
    #[error("{0}")]
    Closed(CloseReason),
    /// There is no bulk connection to this peer: dial one.
    #[error("no bulk connection to this peer")]
    NotConnected,
    /// The peer grants no more requests at present.
    #[error("too many requests under way")]
    Busy,
    /// The request is longer than [`MAX_REQUEST`].
    #[error("a request of {0} bytes is over the limit")]
    RequestTooLarge(usize),
    /// This endpoint is closing.
    #[error("the transport is closing")]
    Closing,
}

/// Why a frame was not queued. It was not sent, not even in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The queue is full: [`Event::Writable`] says when to go on.
    #[error("the peer's queue is full")]
    Full,
    /// There is no such control connection, or it is closing.
    #[error("the connection is closed")]
    Closed,
    /// Empty, or longer than [`MAX_FRAME`].
    #[error("a frame of {0} bytes is out of range")]
    Size(usize),
}

/// Why a bulk reply ended before its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BulkError {
    /// The other side gave up this one stream, with this code.
    #[error("given up by the peer, code {0}")]
    Reset(u64),
    /// Nothing moved for [`Options::stall`].
    #[error("stalled")]
    Stalled,
    /// The connection is gone.
    #[error("{0}")]
    Closed(CloseReason),
}
