//! One connection: its hello, its frames, its end.

use std::{
    future::{Future, pending},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use quinn::{ConnectionError, ReadError, ReadExactError, RecvStream, SendStream, WriteError};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    CloseCode, CloseReason, ConnectionId, Event, Lane, MAX_FRAME, NodeId, Options, bulk,
    endpoint::Shared,
    limits::{DRAIN, MIN_FRAME_RATE},
    queue::Queue,
};

/// Eight random bytes drawn when an endpoint is bound: a peer with a new instance has restarted.
pub(super) type Instance = [u8; 8];

/// First bytes of each side on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) lane: Lane,
    pub(super) instance: Instance,
}

impl Hello {
    const LENGTH: usize = 9;

    pub(super) fn encode(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[0] = self.lane as u8;
        bytes[1..].copy_from_slice(&self.instance);
        bytes
    }

    /// Reads a hello.
    pub(super) async fn read(recv: &mut RecvStream) -> Result<Self, Broken> {
        let mut bytes = [0; Self::LENGTH];
        recv.read_exact(&mut bytes).await?;
        let [lane, instance @ ..] = bytes;
        let lane = match lane {
            0 => Lane::Control,
            1 => Lane::Bulk,
            _ => return Err(Broken::Rule(CloseCode::Protocol, "unknown lane")),
        };
        Ok(Self { lane, instance })
    }
}

/// Why reading or writing a stream stopped before its end.
#[derive(Debug)]
pub(super) enum Broken {
    /// The peer broke a rule, which closes the connection.
    Rule(CloseCode, &'static str),
    /// The connection is gone.
    Lost(ConnectionError),
    /// This endpoint gives up: nobody takes its events, or it is closing.
    Here,
}

impl From<ReadError> for Broken {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(error) => Self::Lost(error),
            _ => Self::Rule(CloseCode::Protocol, "stream reset"),
        }
    }
}

impl From<ReadExactError> for Broken {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::FinishedEarly(_) => Self::Rule(CloseCode::Protocol, "stream ends too early"),
            ReadExactError::ReadError(error) => error.into(),
        }
    }
}

impl From<WriteError> for Broken {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(error) => Self::Lost(error),
            _ => Self::Rule(CloseCode::Protocol, "stream stopped"),
        }
    }
}

/// An established connection.
pub(super) struct Link {
    pub(super) id: ConnectionId,
    pub(super) peer: NodeId,
    pub(super) hello: Hello,
    pub(super) outbound: bool,
    pub(super) connection: quinn::Connection,
    /// When it is too old to have been dialled at the same time as a new one.
    settled_at: Instant,
    /// Frames to send; unused on the bulk lane.
    pub(super) queue: Queue,
    /// The code this endpoint closed it with.
    closed_with: OnceLock<CloseCode>,
}

impl Link {
    pub(super) fn new(
        id: ConnectionId,
        peer: NodeId,
        hello: Hello,
        outbound: bool,
        connection: quinn::Connection,
        options: &Options,
    ) -> Self {
        let queue = Queue::new(options.queue_bytes);
        if hello.lane == Lane::Bulk {
            queue.close();
        }
        Self {
            id,
            peer,
            hello,
            outbound,
            connection,
            settled_at: Instant::now() + options.settled,
            queue,
            closed_with: OnceLock::new(),
        }
    }

    /// Whether it was there long before whatever is dialled now.
    pub(super) fn is_settled(&self) -> bool {
        Instant::now() >= self.settled_at
    }

    /// Whether this endpoint has closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.closed_with.get().is_some()
    }

    /// Closes the connection now; the first code stays.
    pub(super) fn close(&self, code: CloseCode, text: &str) {
        self.queue.close();
        let code = *self.closed_with.get_or_init(|| code);
        self.connection.close(code.into(), text.as_bytes());
    }
}

/// Serves a connection from `Connected` to `Closed`, on the streams of its hello.
pub(super) async fn serve(shared: &Arc<Shared>, link: &Arc<Link>, send: SendStream, recv: RecvStream) {
    let (peer, lane, conn) = (link.peer, link.hello.lane, link.id);
    if !shared.announce(link).await {
        link.close(shared.closing_code().unwrap_or(CloseCode::Normal), "");
        return shared.remove(link);
    }
    match lane {
        Lane::Control => serve_frames(shared, link, send, recv).await,
        Lane::Bulk => {
            drop(recv);
            bulk::serve(shared, link, send).await;
        }
    }
    let reason = close_reason(link.connection.closed().await, link.closed_with.get().copied());
    shared.remove(link);
    tracing::debug!(?conn, ?lane, %reason, "connection closed");
    shared
        .deliver(Event::Closed {
            peer,
            lane,
            conn,
            reason,
        })
        .await;
}

/// Carries frames both ways. A side that closes finishes its stream; the other reads to the end, finishes its
/// own, and the first then closes: so no frame that was queued before is lost with the connection.
async fn serve_frames(shared: &Arc<Shared>, link: &Arc<Link>, send: SendStream, mut recv: RecvStream) {
    let mut writer = tokio::spawn(write_frames(Arc::clone(shared), Arc::clone(link), send));
    let read = tokio::select! {
        // `recv` outlives the close below: dropped before, it would tell the peer to stop, without the reason.
        read = read_frames(shared, link, &mut recv) => read,
        never = async { shared.closing().await; link.queue.close(); pending().await } => never,
    };
    link.queue.close();
    match read {
        Ok(()) => {
            let flushed = timeout(DRAIN, &mut writer).await.is_ok();
            match shared.closing_code() {
                Some(code) => link.close(code, ""),
                None if flushed && timeout(DRAIN, link.connection.closed()).await.is_ok() => {}
                None => link.close(CloseCode::Normal, ""),
            }
        }
        Err(Broken::Rule(code, text)) => link.close(code, text),
        Err(Broken::Here) => link.close(shared.closing_code().unwrap_or(CloseCode::Normal), ""),
        Err(Broken::Lost(_)) => {}
    }
    writer.abort();
}

async fn write_frames(shared: Arc<Shared>, link: Arc<Link>, mut send: SendStream) {
    while let Some(mut batch) = link.queue.take().await {
        match send
            .write_all_chunks(&mut batch.chunks)
            .await
            .map_err(Broken::from)
        {
            Ok(()) => {}
            Err(Broken::Rule(code, text)) => return link.close(code, text),
            Err(_) => return,
        }
        if link.queue.written(batch.cost) {
            shared
                .deliver(Event::Writable {
                    peer: link.peer,
                    conn: link.id,
                })
                .await;
        }
    }
    // An error means that the stream is over already.
    let _ = send.finish();
}

async fn read_frames(shared: &Shared, link: &Link, recv: &mut RecvStream) -> Result<(), Broken> {
    while let Some(bytes) = read_frame(recv, shared.options.frame_stall).await? {
        let delivered = shared
            .deliver(Event::Frame {
                peer: link.peer,
                conn: link.id,
                bytes,
            })
            .await;
        // While closing, frames that find no room are dropped: nothing was acknowledged.
        if !delivered && shared.closing_code().is_none() {
            return Err(Broken::Here);
        }
    }
    Ok(())
}

/// How slowly a frame may come. On a link that loses much, a good peer's bytes pause for seconds and then go on: what
/// counts is that they go on, and how far.
struct Pace {
    stall: Duration,
    begun: Instant,
    /// When bytes last came.
    moved: Instant,
    bytes: usize,
}

impl Pace {
    fn begin(stall: Duration, bytes: usize) -> Self {
        let now = Instant::now();
        Self {
            stall,
            begun: now,
            moved: now,
            bytes,
        }
    }

    /// When the next bytes must have come: no pause is longer than `stall`, and all pauses together are so no more
    /// than what has come would take at [`MIN_FRAME_RATE`].
    fn deadline(&self) -> Instant {
        let earned = Duration::from_secs_f64(self.bytes as f64 / MIN_FRAME_RATE as f64);
        self.moved.min(self.begun + earned) + self.stall
    }

    /// Waits for the next bytes; how many came is what `count` says of them.
    async fn next<T>(
        &mut self,
        read: impl Future<Output = Result<Option<T>, ReadError>>,
        count: impl FnOnce(&T) -> usize,
    ) -> Result<T, Broken> {
        let read = timeout_at(self.deadline(), read).await;
        let read = read.map_err(|_| Broken::Rule(CloseCode::TooSlow, "frame does not advance"))??;
        let read = read.ok_or(Broken::Rule(CloseCode::Protocol, "stream ends inside a frame"))?;
        self.moved = Instant::now();
        self.bytes += count(&read);
        Ok(read)
    }
}

/// Reads one frame; `None` at the end of the stream. There is no limit on the silence before a frame.
async fn read_frame(recv: &mut RecvStream, stall: Duration) -> Result<Option<Bytes>, Broken> {
    let mut header = [0; 4];
    let Some(mut read) = recv.read(&mut header).await? else {
        return Ok(None);
    };
    let mut pace = Pace::begin(stall, read);
    while read < header.len() {
        read += pace.next(recv.read(&mut header[read..]), |count| *count).await?;
    }
    // Lossless: usize has at least 32 bits on every platform quinn runs on.
    let length = u32::from_be_bytes(header) as usize;
    if length == 0 {
        return Err(Broken::Rule(CloseCode::Protocol, "empty frame"));
    }
    if length > MAX_FRAME {
        return Err(Broken::Rule(CloseCode::FrameTooLarge, "frame too large"));
    }
    // Memory is taken as bytes arrive, and not as they are announced.
    let mut body = BytesMut::with_capacity(length.min(64 * 1024));
    while body.len() < length {
        let chunk = recv.read_chunk(length - body.len(), true);
        body.extend_from_slice(&pace.next(chunk, |chunk| chunk.bytes.len()).await?.bytes);
    }
    Ok(Some(body.freeze()))
}

/// Says why a connection ended; `here` is the code this endpoint closed it with.
pub(super) fn close_reason(error: ConnectionError, here: Option<CloseCode>) -> CloseReason {
    match error {
        ConnectionError::LocallyClosed => CloseReason::Here(here.unwrap_or(CloseCode::Normal)),
        ConnectionError::ApplicationClosed(close) => CloseReason::Peer {
            code: close.error_code.into_inner(),
            text: printable(&close.reason),
        },
        ConnectionError::Reset => CloseReason::Reset,
        ConnectionError::TimedOut => CloseReason::TimedOut,
        other => CloseReason::Transport(printable(other.to_string().as_bytes())),
    }
}

/// A text from outside, fit for a log line.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_is_nine_bytes() {
        let hello = Hello {
            lane: Lane::Bulk,
            instance: [1, 2, 3, 4, 5, 6, 7, 8],
        };
        assert_eq!(hello.encode(), [1, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(
            Hello {
                lane: Lane::Control,
                ..hello
            }
            .encode()[0],
            0
        );
    }

    #[test]
    fn a_peers_text_is_made_fit_for_a_log_line() {
        assert_eq!(printable(b"a\n\x1b[31mb\xff"), "a[31mb\u{fffd}");
        assert_eq!(printable(&[b'x'; 1000]).len(), 200);
    }

    #[test]
    fn every_close_code_is_found_by_its_number() {
        for (number, code) in CloseCode::ALL.iter().enumerate() {
            assert_eq!(CloseCode::from_number(number as u64), Some(*code));
            assert!(!code.text().is_empty());
        }
        assert_eq!(CloseCode::from_number(CloseCode::ALL.len() as u64), None);
    }
}
