//! The relay itself: what arrives through it, and when, is what its faults say.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use super::support::relay::{Faults, QUEUE_BYTES, Relay, fate};

/// How much later than due something may come on a machine that is busy.
const LATE: Duration = Duration::from_millis(60);
/// How long nothing comes before a measurement ends.
const SILENCE: Duration = Duration::from_millis(700);
/// Between two datagrams, so that no socket's buffer overflows.
const PACE: Duration = Duration::from_micros(400);

/// What came, in this order: the number that a datagram bears, and how long it was under way.
struct Measured {
    came: Vec<(u64, Duration)>,
    relay: Relay,
}

impl Measured {
    /// Sends `count` datagrams of `bytes` from the first of two nodes to the second, and the same number back.
    fn of(seed: u64, faults: Faults, count: u64, bytes: usize, pace: Duration) -> Self {
        let nodes = [0; 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
        let addresses = [0, 1].map(|node: usize| nodes[node].local_addr().unwrap());
        let relay = Relay::new(seed, &addresses);
        relay.set(0, 1, faults);
        let front = relay.front(1);
        let begun = Instant::now();
        let came = scope(|scope| {
            let echo = scope.spawn(|| {
                // A node answers where it was asked from: there, and not at the asker's front, it is expected.
                nodes[1].set_read_timeout(Some(SILENCE * 2)).unwrap();
                let (mut buffer, mut came) = (vec![0; bytes], Vec::new());
                while let Ok((length, sender)) = nodes[1].recv_from(&mut buffer) {
                    came.push((
                        begun.elapsed(),
                        u64::from_be_bytes(buffer[..8].try_into().unwrap()),
                    ));
                    assert_ne!(sender, addresses[0]);
                    nodes[1].send_to(&buffer[..length], sender).unwrap();
                }
                came
            });
            let answers = scope.spawn(|| {
                nodes[0].set_read_timeout(Some(SILENCE * 2)).unwrap();
                let (mut buffer, mut answers) = (vec![0; bytes], 0);
                while let Ok((_, sender)) = nodes[0].recv_from(&mut buffer) {
                    assert_eq!(sender, front);
                    answers += 1;
                }
                answers
            });
            let mut sent = Vec::new();
            for number in 0..count {
                let mut datagram = vec![0; bytes];
                datagram[..8].copy_from_slice(&number.to_be_bytes());
                sent.push(begun.elapsed());
                nodes[0].send_to(&datagram, front).unwrap();
                if !pace.is_zero() {
                    sleep(pace);
                }
            }
            let came = echo.join().unwrap();
            // The way back is a link of its own, on which nothing happens.
            assert_eq!(answers.join().unwrap(), came.len());
            let under_way = |(at, number): (Duration, u64)| (number, at - sent[number as usize]);
            came.into_iter().map(under_way).collect()
        });
        Self { came, relay }
    }

    /// How often each number came.
    fn times(&self) -> BTreeMap<u64, usize> {
        let mut times = BTreeMap::new();
        for (number, _) in &self.came {
            *times.entry(*number).or_default() += 1;
        }
        times
    }

    /// How many came after a later one had.
    fn inverted(&self) -> usize {
        let mut highest = 0;
        let overtaken = |(number, _): &&(u64, Duration)| {
            highest = highest.max(*number);
            *number < highest
        };
        self.came.iter().filter(overtaken).count()
    }
}

const POOR: Faults = Faults {
    delay_ms: 50,
    jitter_ms: 20,
    lost: 100,
    repeated: 50,
    overtaken: 50,
    rate: 0,
};

#[test]
fn a_link_delays_within_its_jitter_and_keeps_the_order() {
    let _alone = super::alone();
    let faults = Faults {
        delay_ms: 50,
        jitter_ms: 20,
        ..Faults::default()
    };
    let measured = Measured::of(1, faults, 400, 100, Duration::from_millis(3));
    assert_eq!((measured.came.len(), measured.inverted()), (400, 0));
    let mut delays: Vec<_> = measured.came.iter().map(|(_, delay)| *delay).collect();
    delays.sort();
    println!(
        "relay: 50 ms ± 20: {:?}, {:?}, {:?}",
        delays[0], delays[200], delays[399]
    );
    assert!(delays[0] >= Duration::from_millis(30), "{:?}", delays[0]);
    assert!(
        delays[380] <= Duration::from_millis(70) + LATE,
        "{:?}",
        delays[380]
    );
    assert!(delays[380] - delays[20] >= Duration::from_millis(10), "no jitter");
}

#[test]
fn what_becomes_of_each_datagram_follows_from_the_seed() {
    let _alone = super::alone();
    const COUNT: u64 = 2000;
    let foreseen = |seed| {
        let fates = (0..COUNT).map(|number| fate(seed, (0, 1), number, &POOR));
        fates.collect::<Vec<_>>()
    };
    for seed in [1, 2] {
        let measured = Measured::of(seed, POOR, COUNT, 100, PACE);
        let fates = foreseen(seed);
        let times = measured.times();
        for (number, fate) in (0..).zip(&fates) {
            let expected = usize::from(!fate.lost) * (1 + usize::from(fate.repeated));
            assert_eq!(
                times.get(&number).copied().unwrap_or(0),
                expected,
                "{seed}: {number}"
            );
        }
        let counts = measured.relay.counts(0, 1);
        println!(
            "relay: seed {seed}: {counts:?}, {} out of order",
            measured.inverted()
        );
        assert_eq!(counts.seen, COUNT);
        assert!(counts.lost.abs_diff(COUNT / 10) <= COUNT / 40, "{counts:?}");
        assert!(
            counts.repeated.abs_diff(COUNT * 9 / 200) <= COUNT / 60,
            "{counts:?}"
        );
        // The copies of one that is held back come late too.
        assert!(
            measured.inverted() as u64 >= counts.overtaken * 8 / 10,
            "{counts:?}"
        );
        assert!(
            measured.inverted() as u64 <= counts.overtaken * 12 / 10,
            "{counts:?}"
        );
    }
    assert_ne!(foreseen(1), foreseen(2));
    // Another link of the same seed is another link.
    assert_ne!(fate(1, (0, 1), 0, &POOR).delay, fate(1, (1, 0), 0, &POOR).delay);
}

#[test]
fn a_rate_is_kept_and_what_does_not_fit_before_it_is_dropped() {
    let _alone = super::alone();
    let faults = Faults {
        rate: 1_000_000,
        ..Faults::default()
    };
    let measured = Measured::of(1, faults, 100, 1000, Duration::ZERO);
    let counts = measured.relay.counts(0, 1);
    let last = measured.came.iter().map(|(_, delay)| *delay).max().unwrap();
    println!("relay: 100 kB at 1 Mbit/s: {counts:?}, the last took {last:?}");
    // What had passed when the burst ended, and what waited then.
    let came = measured.came.len() as u64 * 1000;
    assert!((QUEUE_BYTES..QUEUE_BYTES + 20_000).contains(&came), "{came}");
    assert_eq!(counts.overflowed, 100 - measured.came.len() as u64);
    let due = Duration::from_secs_f64(QUEUE_BYTES as f64 * 8.0 / 1e6);
    assert!(
        last >= due * 9 / 10 && last <= due + 2 * LATE,
        "{last:?}, due {due:?}"
    );
}

/// Negative control: a link without faults shows none of them.
#[test]
fn a_good_link_changes_nothing() {
    let _alone = super::alone();
    let measured = Measured::of(1, Faults::default(), 1000, 100, PACE);
    assert_eq!(
        (measured.came.len(), measured.times().len(), measured.inverted()),
        (1000, 1000, 0)
    );
    let mut delays: Vec<_> = measured.came.iter().map(|(_, delay)| *delay).collect();
    delays.sort();
    assert!(delays[950] <= LATE, "{:?}", delays[950]);
}
