//! Chance that can be repeated: one seed per run, printed, and taken from `BASOCHE_SEED` where it is set.

use std::time::Duration;

/// The seed of this run.
pub(crate) fn seed() -> u64 {
    match std::env::var("BASOCHE_SEED") {
        Ok(text) => text.parse().expect("BASOCHE_SEED is not a number"),
        Err(_) => u64::from_be_bytes(basoche_node::effects::random()),
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to choose moments and victims.
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice number `lane` of a seed: each thread has its own.
    pub(crate) fn new(seed: u64, lane: u64) -> Self {
        Self(seed ^ lane.wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// Once in `many` times.
    pub(crate) fn once_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    /// A duration between two numbers of microseconds.
    pub(crate) fn between_us(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(from + self.next() % (to - from))
    }

    /// Bytes without a pattern.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_be_bytes()[0]).collect()
    }

    /// The nodes in a new order.
    pub(crate) fn order(&mut self) -> [usize; 3] {
        let mut order = [0, 1, 2];
        order.swap(2, self.below(3));
        order.swap(1, self.below(2));
        order
    }
}
