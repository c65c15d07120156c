//! The bulk lane: one bidirectional stream per request, the reply raw.

use std::{collections::VecDeque, future::Future, pin::pin, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    BulkError, CloseCode, Event, MAX_REQUEST, TransportError,
    connection::{Link, close_reason},
    endpoint::Shared,
    limits::{self, BROKEN_WINDOW, MAX_BROKEN_REQUESTS},
};

/// Chunks taken from quinn under one lock.
const CHUNKS: usize = 64;

/// The reply to a bulk request, to be written. Dropped before [`BulkReply::finish`], it resets the stream, so
/// that a reply given up half-way never looks complete.
#[derive(Debug)]
pub struct BulkReply {
    send: SendStream,
    stall: Duration,
    open: bool,
}

impl BulkReply {
    /// Writes a chunk, waiting while the peer reads more slowly.
    ///
    /// # Errors
    /// [`BulkError`]; then the reply cannot go on.
    pub async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), BulkError> {
        let mut rest = [chunk];
        // Asked beside the write: in quinn-proto 0.11.19 a write that waits for both the send window and the
        // stream's is not woken by STOP_SENDING.
        let mut stopped = pin!(self.send.stopped());
        while !rest[0].is_empty() {
            let stall = self.stall;
            tokio::select! {
                biased;
                stopped = &mut stopped => return Err(match stopped {
                    Ok(code) => BulkError::Reset(code.map_or(CloseCode::Aborted as u64, VarInt::into_inner)),
                    Err(error) => write_error(error.into()),
                }),
                written = moves(stall, self.send.write_chunks(&mut rest)) => {
                    written?.map_err(write_error)?;
                }
            }
        }
        Ok(())
    }

    /// Marks the end of the reply. It is on its way, not yet received.
    ///
    /// # Errors
    /// [`BulkError::Reset`] when the peer no longer wants it.
    pub fn finish(mut self) -> Result<(), BulkError> {
        self.open = false;
        self.send
            .finish()
            .map_err(|_| BulkError::Reset(CloseCode::Aborted as u64))
    }

    /// Gives the reply up and tells the peer why.
    pub fn reset(mut self, code: CloseCode) {
        self.abandon(code);
    }

    fn abandon(&mut self, code: CloseCode) {
        self.open = false;
        // An error means that the stream is over already.
        let _ = self.send.reset(code.into());
    }
}

impl Drop for BulkReply {
    fn drop(&mut self) {
        if self.open {
            self.abandon(CloseCode::Aborted);
        }
    }
}

/// The reply to a request made here, to be read. Dropped before its end, it tells the peer to stop.
#[derive(Debug)]
pub struct BulkStream {
    recv: RecvStream,
    stall: Duration,
    ready: VecDeque<Bytes>,
}

impl BulkStream {
    /// Next bytes of the reply, in order and never empty; `None` at its end. They share the buffers of the
    /// datagrams: copy what is kept.
    ///
    /// # Errors
    /// [`BulkError`]; what was read before is a prefix of the reply.
    pub async fn read_chunk(&mut self) -> Result<Option<Bytes>, BulkError> {
        if self.ready.is_empty() {
            let mut chunks = [const { Bytes::new() }; CHUNKS];
            let Some(count) = moves(self.stall, self.recv.read_chunks(&mut chunks))
                .await?
                .map_err(read_error)?
            else {
                return Ok(None);
            };
            self.ready.extend(chunks.into_iter().take(count));
        }
        Ok(self.ready.pop_front())
    }

    /// Fills the beginning of `buffer` with the next bytes and says how many; 0 at the end of the reply.
    /// The fastest way when the bytes are copied anyway.
    ///
    /// # Errors
    /// As [`Self::read_chunk`].
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, BulkError> {
        if let Some(chunk) = self.ready.front_mut() {
            let count = chunk.len().min(buffer.len());
            buffer[..count].copy_from_slice(&chunk.split_to(count));
            if chunk.is_empty() {
                self.ready.pop_front();
            }
            return Ok(count);
        }
        let read = moves(self.stall, self.recv.read(buffer))
            .await?
            .map_err(read_error)?;
        Ok(read.unwrap_or(0))
    }

    /// Gives the reply up and tells the peer why.
    pub fn stop(mut self, code: CloseCode) {
        // An error means that the stream is over already.
        let _ = self.recv.stop(code.into());
    }
}

async fn moves<T>(stall: Duration, future: impl Future<Output = T>) -> Result<T, BulkError> {
    timeout(stall, future).await.map_err(|_| BulkError::Stalled)
}

fn write_error(error: WriteError) -> BulkError {
    match error {
        WriteError::Stopped(code) => BulkError::Reset(code.into_inner()),
        WriteError::ConnectionLost(error) => BulkError::Closed(close_reason(error, None)),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => BulkError::Reset(CloseCode::Aborted as u64),
    }
}

fn read_error(error: ReadError) -> BulkError {
    match error {
        ReadError::Reset(code) => BulkError::Reset(code.into_inner()),
        ReadError::ConnectionLost(error) => BulkError::Closed(close_reason(error, None)),
        ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
            BulkError::Reset(CloseCode::Aborted as u64)
        }
    }
}

/// Makes a request on a bulk connection.
pub(super) async fn fetch(
    shared: &Shared,
    link: &Link,
    request: &[u8],
) -> Result<BulkStream, TransportError> {
    let lost = |error| TransportError::Closed(close_reason(error, None));
    if request.len() > MAX_REQUEST {
        return Err(TransportError::RequestTooLarge(request.len()));
    }
    let mut framed = BytesMut::with_capacity(4 + request.len());
    // Truncation: at most MAX_REQUEST.
    framed.put_u32(request.len() as u32);
    framed.put_slice(request);
    let written = timeout(shared.options.deadline, async {
        let (mut send, recv) = link.connection.open_bi().await.map_err(lost)?;
        match send.write_chunk(framed.freeze()).await {
            Ok(()) => {}
            Err(WriteError::ConnectionLost(error)) => return Err(lost(error)),
            Err(_) => return Err(TransportError::Busy),
        }
        // An error means that the peer refused the request: reading tells its code.
        let _ = send.finish();
        Ok(recv)
    });
    let recv = written.await.map_err(|_| TransportError::Busy)??;
    Ok(BulkStream {
        recv,
        stall: shared.options.stall,
        ready: VecDeque::new(),
    })
}

/// Turns the peer's streams into requests until the connection ends. The peer's stream credit bounds how many
/// are open, and each reply keeps its stream open.
pub(super) async fn serve(shared: &Arc<Shared>, link: &Arc<Link>, mut hello: SendStream) {
    limits::widen(&link.connection, &shared.options);
    // An error means that the connection is over already.
    let _ = hello.finish();
    drop(hello);
    let mut requests = JoinSet::new();
    let mut broken = VecDeque::new();
    loop {
        tokio::select! {
            stream = link.connection.accept_bi() => {
                let Ok((send, recv)) = stream else { return };
                requests.spawn(take_request(Arc::clone(shared), Arc::clone(link), send, recv));
            }
            Some(taken) = requests.join_next() => if !matches!(taken, Ok(true)) {
                let now = Instant::now();
                broken.retain(|at| now.duration_since(*at) < BROKEN_WINDOW);
                broken.push_back(now);
                if broken.len() > MAX_BROKEN_REQUESTS {
                    return link.close(CloseCode::Protocol, "too many broken requests");
                }
            },
            code = shared.closing() => return link.close(code, ""),
        }
    }
}

/// Reads one request; false when the peer broke it off.
async fn take_request(shared: Arc<Shared>, link: Arc<Link>, send: SendStream, mut recv: RecvStream) -> bool {
    let reply = BulkReply {
        send,
        stall: shared.options.stall,
        open: true,
    };
    let read = timeout(shared.options.deadline, recv.read_to_end(4 + MAX_REQUEST)).await;
    let request = match read {
        Ok(Ok(bytes)) => unframe(bytes.into()),
        Ok(Err(quinn::ReadToEndError::TooLong)) => Err(CloseCode::FrameTooLarge),
        Ok(Err(quinn::ReadToEndError::Read(_))) => Err(CloseCode::Protocol),
        Err(_) => Err(CloseCode::TooSlow),
    };
    match request {
        Ok(request) => {
            let (peer, conn) = (link.peer, link.id);
            shared
                .deliver(Event::BulkRequest {
                    peer,
                    conn,
                    request,
                    reply,
                })
                .await;
            true
        }
        Err(code) => {
            let _ = recv.stop(code.into());
            reply.reset(code);
            false
        }
    }
}

fn unframe(mut bytes: Bytes) -> Result<Bytes, CloseCode> {
    let (header, request) = bytes.split_first_chunk::<4>().ok_or(CloseCode::Protocol)?;
    if u32::from_be_bytes(*header) as usize != request.len() {
        return Err(CloseCode::Protocol);
    }
    Ok(bytes.split_off(4))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_its_length_and_nothing_after_it() {
        assert_eq!(
            unframe(Bytes::from_static(b"\0\0\0\x02ab")),
            Ok(Bytes::from_static(b"ab"))
        );
        assert_eq!(unframe(Bytes::from_static(b"\0\0\0\0")), Ok(Bytes::new()));
        for bad in [
            b"".as_slice(),
            b"\0\0\0",
            b"\0\0\0\x01",
            b"\0\0\0\x01ab",
            b"\xff\xff\xff\xffa",
        ] {
            assert_eq!(
                unframe(Bytes::copy_from_slice(bad)),
                Err(CloseCode::Protocol),
                "{bad:?}"
            );
        }
    }
}
