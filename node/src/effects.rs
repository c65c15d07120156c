//! The clock and the random source: the only places where either is read.

use std::time::{SystemTime, UNIX_EPOCH};

use basoche_protocol::time::Instant;

/// The wall clock.
pub fn now() -> Instant {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Instant::from_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Fresh random bytes. A process without randomness can do nothing safely, so it stops.
#[allow(clippy::expect_used)]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random source failed");
    bytes
}
