//! Random numbers that can be repeated.

use std::time::{SystemTime, UNIX_EPOCH};

/// Numbers that follow from a seed: `KEYSTEAD_SEED` gives it, and each test that throws dice prints its own.
pub struct Dice(u64);

impl Dice {
    /// Says how to throw the same again; who runs the test sees it when the test fails.
    pub fn new() -> Dice {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var("KEYSTEAD_SEED").map_or_else(|_| now(), |seed| seed.parse().expect("a number"));
        println!("KEYSTEAD_SEED={seed} repeats this");
        Dice(seed)
    }

    /// A number from 0 to below 1: SplitMix64, of which the upper 53 bits are taken.
    pub fn throw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
