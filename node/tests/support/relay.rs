//! A poor network in this process: a relay between nodes that treats what one sends to another as a bad link does.
//!
//! A node is dialled at its *front*, an address of the relay. Nodes dial from the socket that they listen with, so the
//! relay knows who sends; it passes a datagram on from the *back* of this pair, a socket of its own, as a NAT does, and
//! what is answered there leaves by the front. So each directed link has [`Faults`] of its own, and the nodes know
//! nothing of it. What becomes of the n-th datagram of a link follows from seed, link and n alone: see [`fate`].

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::runtime;
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep_until;

use super::seed::Dice;

/// Bytes that wait at the narrow end of a link with a rate; what comes beyond is dropped, as a router does.
pub(crate) const QUEUE_BYTES: u64 = 64 * 1024;
/// Longer than any datagram.
const DATAGRAM: usize = 65_536;
/// How much longer than its jitter a link holds back what is to be overtaken, in milliseconds.
const HELD_MS: u64 = 10;

/// What a link does to datagrams. The default passes each on at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// How long one takes, in milliseconds.
    pub(crate) delay_ms: u64,
    /// By how much that varies either way, in milliseconds; it alone changes no order.
    pub(crate) jitter_ms: u64,
    /// How many of a thousand are lost.
    pub(crate) lost: u64,
    /// How many of a thousand arrive twice.
    pub(crate) repeated: u64,
    /// How many of a thousand are held back, so that later ones overtake them.
    pub(crate) overtaken: u64,
    /// Bits per second, before all else; 0 for no limit.
    pub(crate) rate: u64,
}

impl Faults {
    /// A link on which nothing arrives.
    pub(crate) const DEAD: Self = Self {
        lost: 1000,
        delay_ms: 0,
        jitter_ms: 0,
        repeated: 0,
        overtaken: 0,
        rate: 0,
    };
}

/// What becomes of one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) lost: bool,
    pub(crate) repeated: bool,
    pub(crate) overtaken: bool,
    pub(crate) delay: Duration,
}

/// What becomes of the `number`th datagram, counted from 0, of the link `from`, `to`.
pub(crate) fn fate(seed: u64, (from, to): (usize, usize), number: u64, faults: &Faults) -> Fate {
    let link = Dice::new(seed, (from << 8 | to) as u64 + 1).next();
    let mut dice = Dice::new(link, number + 1);
    // Always as many throws: a change of one parameter changes nothing else.
    let mut happens = |thousandths: u64| dice.next() % 1000 < thousandths;
    let (lost, repeated, overtaken) = (
        happens(faults.lost),
        happens(faults.repeated),
        happens(faults.overtaken),
    );
    let jitter = dice.next() % (2 * faults.jitter_ms * 1000 + 1);
    let delay_us = (faults.delay_ms * 1000 + jitter).saturating_sub(faults.jitter_ms * 1000);
    Fate {
        lost,
        repeated,
        overtaken,
        delay: Duration::from_micros(delay_us),
    }
}

/// What a link has met: datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// All that were sent.
    pub(crate) seen: u64,
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) overtaken: u64,
    /// Dropped because [`QUEUE_BYTES`] waited already.
    pub(crate) overflowed: u64,
}

#[derive(Default)]
struct Link {
    faults: Faults,
    counts: Counts,
    /// When its narrow end is free again.
    free: Option<Instant>,
    /// When the last one that keeps the order arrives.
    last: Option<Instant>,
}

impl Link {
    /// When a datagram of so many bytes that is sent `now` arrives, and how often.
    fn take(
        &mut self,
        seed: u64,
        link: (usize, usize),
        bytes: usize,
        now: Instant,
    ) -> Option<(Instant, usize)> {
        let fate = fate(seed, link, self.counts.seen, &self.faults);
        self.counts.seen += 1;
        let mut passed = now;
        if self.faults.rate > 0 {
            let free = self.free.map_or(now, |free| free.max(now));
            let waiting = (free - now).as_secs_f64() * self.faults.rate as f64 / 8.0;
            if waiting > QUEUE_BYTES as f64 {
                self.counts.overflowed += 1;
                return None;
            }
            passed = free + Duration::from_secs_f64(bytes as f64 * 8.0 / self.faults.rate as f64);
            self.free = Some(passed);
        }
        if fate.lost {
            self.counts.lost += 1;
            return None;
        }
        self.counts.repeated += u64::from(fate.repeated);
        let mut due = passed + fate.delay;
        due = self.last.map_or(due, |last| last.max(due));
        if fate.overtaken {
            self.counts.overtaken += 1;
            due += Duration::from_millis(self.faults.jitter_ms + HELD_MS);
        } else {
            self.last = Some(due);
        }
        Some((due, 1 + usize::from(fate.repeated)))
    }
}

/// A datagram on its way: which one leaves first follows from `due`, then from `serial`.
struct Waiting {
    due: Instant,
    serial: u64,
    bytes: Arc<[u8]>,
    by: Arc<UdpSocket>,
    to: SocketAddr,
}

impl Waiting {
    fn key(&self) -> (Instant, u64) {
        (self.due, self.serial)
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

#[derive(Default)]
struct State {
    links: BTreeMap<(usize, usize), Link>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    serial: u64,
}

struct Shared {
    seed: u64,
    /// Where each node listens, and sends from.
    nodes: Vec<SocketAddr>,
    state: Mutex<State>,
    more: Notify,
}

impl Shared {
    /// Takes a datagram of one node to another; it leaves `by` this socket.
    fn take(&self, (from, to): (usize, usize), bytes: &[u8], by: &Arc<UdpSocket>) {
        let mut state = self.state.lock().unwrap();
        let link = state.links.entry((from, to)).or_default();
        let Some((due, times)) = link.take(self.seed, (from, to), bytes.len(), Instant::now()) else {
            return;
        };
        let bytes: Arc<[u8]> = bytes.into();
        for _ in 0..times {
            state.serial += 1;
            let waiting = Waiting {
                due,
                serial: state.serial,
                bytes: Arc::clone(&bytes),
                by: Arc::clone(by),
                to: self.nodes[to],
            };
            state.waiting.push(Reverse(waiting));
        }
        self.more.notify_one();
    }

    /// Sends each datagram when it is due.
    async fn deliver(&self) {
        loop {
            let mut due = Vec::new();
            let next = {
                let mut state = self.state.lock().unwrap();
                let now = Instant::now();
                loop {
                    match state.waiting.peek() {
                        Some(Reverse(first)) if first.due > now => break Some(first.due),
                        Some(_) => due.extend(state.waiting.pop()),
                        None => break None,
                    }
                }
            };
            for Reverse(one) in due {
                // An error is one more loss: the node is not there, or the machine has no room.
                let _ = one.by.send_to(&one.bytes, one.to).await;
            }
            match next {
                None => self.more.notified().await,
                Some(next) => tokio::select! {
                    () = sleep_until(next.into()) => {}
                    () = self.more.notified() => {}
                },
            }
        }
    }
}

/// The relay: it stops when dropped.
pub(crate) struct Relay {
    shared: Arc<Shared>,
    fronts: Vec<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// A relay between nodes that listen at these addresses, which passes everything on.
    pub(crate) fn new(seed: u64, nodes: &[SocketAddr]) -> Self {
        let shared = Arc::new(Shared {
            seed,
            nodes: nodes.to_vec(),
            state: Mutex::default(),
            more: Notify::new(),
        });
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let within = runtime.enter();
        let fronts: Vec<_> = nodes.iter().map(|_| socket().unwrap()).collect();
        for (to, front) in fronts.iter().enumerate() {
            let mut backs = Vec::new();
            for from in 0..nodes.len() {
                let back = socket().unwrap();
                runtime.spawn(listen(Arc::clone(&back), {
                    let (shared, front) = (Arc::clone(&shared), Arc::clone(front));
                    move |sender, bytes: &[u8]| {
                        if sender == shared.nodes[to] {
                            shared.take((to, from), bytes, &front);
                        }
                    }
                }));
                backs.push(back);
            }
            runtime.spawn(listen(Arc::clone(front), {
                let shared = Arc::clone(&shared);
                move |sender, bytes: &[u8]| {
                    if let Some(from) = shared.nodes.iter().position(|node| *node == sender) {
                        shared.take((from, to), bytes, &backs[from]);
                    }
                }
            }));
        }
        drop(within);
        let (stop, stopped) = oneshot::channel::<()>();
        let delivering = Arc::clone(&shared);
        let thread = spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = delivering.deliver() => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            shared,
            fronts: fronts.iter().map(|front| front.local_addr().unwrap()).collect(),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where a node is dialled.
    pub(crate) fn front(&self, node: usize) -> SocketAddr {
        self.fronts[node]
    }

    /// From now on this is what the link from one node to another does.
    pub(crate) fn set(&self, from: usize, to: usize, faults: Faults) {
        let mut state = self.shared.state.lock().unwrap();
        state.links.entry((from, to)).or_default().faults = faults;
    }

    /// The same for every link.
    pub(crate) fn set_all(&self, faults: Faults) {
        let nodes = self.fronts.len();
        (0..nodes).for_each(|from| (0..nodes).for_each(|to| self.set(from, to, faults)));
    }

    /// What a link has met so far.
    pub(crate) fn counts(&self, from: usize, to: usize) -> Counts {
        let state = self.shared.state.lock().unwrap();
        state
            .links
            .get(&(from, to))
            .map(|link| link.counts)
            .unwrap_or_default()
    }

    /// What all links have met so far.
    pub(crate) fn all_counts(&self) -> Counts {
        let state = self.shared.state.lock().unwrap();
        state.links.values().fold(Counts::default(), |sum, link| Counts {
            seen: sum.seen + link.counts.seen,
            lost: sum.lost + link.counts.lost,
            repeated: sum.repeated + link.counts.repeated,
            overtaken: sum.overtaken + link.counts.overtaken,
            overflowed: sum.overflowed + link.counts.overflowed,
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.take();
        // It panicked only if a test has failed already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A socket of the relay, with room for a burst.
fn socket() -> io::Result<Arc<UdpSocket>> {
    const BUFFER: usize = 4 << 20;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    Ok(Arc::new(UdpSocket::from_std(socket.into())?))
}

/// Hands everything that comes to a socket on, with its sender.
async fn listen(socket: Arc<UdpSocket>, take: impl Fn(SocketAddr, &[u8])) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        // An error tells of a datagram that nobody took, which is one more loss.
        if let Ok((length, sender)) = socket.recv_from(&mut buffer).await {
            take(sender, &buffer[..length]);
        }
    }
}
