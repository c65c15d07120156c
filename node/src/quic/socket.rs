//! The UDP socket. Receive errors, which anyone can provoke with an ICMP message and which come and go with the
//! network, neither end the endpoint nor make it spin.
//!
//! quinn ends an endpoint at the first receive error but ECONNRESET; its own socket hides errors by trying again
//! within one poll, for ever. So [`SystemSocket`] reports each error, and [`SteadySocket`] spends a bounded
//! number of polls on them, then rests for a moment.

use std::{
    fmt,
    future::Future,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit, UdpSocketState},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::Interest,
    net::UdpSocket,
    time::{Sleep, sleep},
};

/// Consecutive receive errors in one poll before the socket rests.
const ERRORS_PER_POLL: usize = 16;
/// How long it rests. Datagrams wait in the kernel meanwhile.
const REST: Duration = Duration::from_millis(20);

/// Binds a UDP socket with buffers of `buffer` bytes, as far as the kernel grants them.
pub(super) fn bind(address: SocketAddr, buffer: usize) -> io::Result<SystemSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_recv_buffer_size(buffer)?;
    socket.set_send_buffer_size(buffer)?;
    // Linux reports twice what it grants (socket(7)).
    let doubled = if cfg!(target_os = "linux") { 2 } else { 1 };
    for (name, granted) in [
        ("net.core.rmem_max", socket.recv_buffer_size()?),
        ("net.core.wmem_max", socket.send_buffer_size()?),
    ] {
        let granted = granted / doubled;
        if granted < buffer {
            tracing::warn!(
                asked = buffer,
                granted,
                "UDP buffer clamped by the kernel: raise {name}"
            );
        }
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    SystemSocket::new(socket.into())
}

/// A socket of the system, which reports every receive error.
#[derive(Debug)]
pub(super) struct SystemSocket {
    io: Arc<UdpSocket>,
    state: UdpSocketState,
}

impl SystemSocket {
    fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        Ok(Self {
            state: UdpSocketState::new((&socket).into())?,
            io: Arc::new(UdpSocket::from_std(socket)?),
        })
    }
}

impl AsyncUdpSocket for SystemSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(WritePoller {
            io: Arc::clone(&self.io),
            waiting: None,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        // `send` reports only WouldBlock; other errors count as lost datagrams.
        self.io.try_io(Interest::WRITABLE, || {
            self.state.send((&*self.io).into(), transmit)
        })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let received = self.io.try_io(Interest::READABLE, || {
                self.state.recv((&*self.io).into(), bufs, meta)
            });
            match received {
                // Readiness is cleared: the next turn registers the waker.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// Waits until the socket can be written, for one task.
struct WritePoller {
    io: Arc<UdpSocket>,
    waiting: Option<Waiting>,
}

impl UdpPoller for WritePoller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = Arc::clone(&self.io);
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(async move { io.writable().await }));
        let writable = ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(writable)
    }
}

impl fmt::Debug for WritePoller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WritePoller").finish_non_exhaustive()
    }
}

/// A socket whose receive errors are counted and survived.
#[derive(Debug)]
pub(super) struct SteadySocket {
    inner: Arc<dyn AsyncUdpSocket>,
    errors: AtomicU64,
    rest: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl SteadySocket {
    pub(super) fn new(inner: Arc<dyn AsyncUdpSocket>) -> Self {
        Self {
            inner,
            errors: AtomicU64::new(0),
            rest: Mutex::new(None),
        }
    }

    /// Receive errors so far.
    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}

impl AsyncUdpSocket for SteadySocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(timer) = rest.as_mut() {
            ready!(timer.as_mut().poll(cx));
            *rest = None;
        }
        for _ in 0..ERRORS_PER_POLL {
            let error = match self.inner.poll_recv(cx, bufs, meta) {
                Poll::Ready(Err(error)) => error,
                received => return received,
            };
            let count = self.errors.fetch_add(1, Ordering::Relaxed) + 1;
            if count.is_power_of_two() {
                tracing::warn!(%error, count, "UDP receive error");
            }
        }
        let timer = rest.insert(Box::pin(sleep(REST)));
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use std::{future::poll_fn, sync::atomic::AtomicUsize};

    use super::*;

    /// A socket that fails before it receives.
    #[derive(Debug)]
    pub(in crate::quic) struct Failing {
        pub(in crate::quic) inner: Arc<dyn AsyncUdpSocket>,
        pub(in crate::quic) kinds: &'static [io::ErrorKind],
        /// Errors still to come.
        pub(in crate::quic) left: AtomicUsize,
        pub(in crate::quic) polls: AtomicUsize,
    }

    impl Failing {
        pub(in crate::quic) fn new(kinds: &'static [io::ErrorKind], left: usize) -> Arc<Self> {
            let inner = Arc::new(bind("127.0.0.1:0".parse().unwrap(), 1 << 16).unwrap());
            Arc::new(Self {
                inner,
                kinds,
                left: left.into(),
                polls: 0.into(),
            })
        }
    }

    impl AsyncUdpSocket for Failing {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            Arc::clone(&self.inner).create_io_poller()
        }

        fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
            self.inner.try_send(transmit)
        }

        fn poll_recv(
            &self,
            cx: &mut Context<'_>,
            bufs: &mut [IoSliceMut<'_>],
            meta: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            self.polls.fetch_add(1, Ordering::Relaxed);
            let failed = self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            match failed {
                Ok(left) => Poll::Ready(Err(self.kinds[left % self.kinds.len()].into())),
                Err(_) => self.inner.poll_recv(cx, bufs, meta),
            }
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            self.inner.local_addr()
        }
    }

    #[tokio::test]
    async fn a_socket_that_always_fails_is_polled_a_bounded_number_of_times() {
        let failing = Failing::new(&[io::ErrorKind::NetworkDown], usize::MAX);
        let steady = SteadySocket::new(Arc::clone(&failing) as _);
        let (mut buffer, mut meta) = ([0; 1500], [RecvMeta::default()]);
        let received = tokio::time::timeout(
            REST * 10,
            poll_fn(|cx| {
                // Other events wake the endpoint all the time; they must not make it poll more.
                cx.waker().wake_by_ref();
                steady.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta)
            }),
        );
        assert!(received.await.is_err(), "an error got through");
        let polls = failing.polls.load(Ordering::Relaxed);
        assert!(
            (ERRORS_PER_POLL..=ERRORS_PER_POLL * 11).contains(&polls),
            "{polls} polls"
        );
        assert_eq!(steady.errors(), polls as u64);
    }

    #[tokio::test]
    async fn a_datagram_is_received_once_the_errors_stop() {
        let failing = Failing::new(
            &[io::ErrorKind::ConnectionRefused, io::ErrorKind::HostUnreachable],
            50,
        );
        let steady = SteadySocket::new(Arc::clone(&failing) as _);
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(b"datagram", steady.local_addr().unwrap()).unwrap();
        let (mut buffer, mut meta) = ([0; 1500], [RecvMeta::default()]);
        poll_fn(|cx| steady.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta))
            .await
            .unwrap();
        assert_eq!(&buffer[..meta[0].len], b"datagram");
        assert_eq!(steady.errors(), 50);
    }
}
