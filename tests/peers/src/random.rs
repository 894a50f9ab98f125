//! Chance that can be repeated: every test that draws prints its seed, and `PENSTOCK_SEED` sets it.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): small, fast, good enough to choose moments and sizes.
pub struct Random {
    state: u64,
}

impl Random {
    /// Seeded from `PENSTOCK_SEED` or else the clock. Prints the seed.
    pub fn announced() -> Self {
        let seed = match std::env::var("PENSTOCK_SEED") {
            Ok(seed) => seed.parse().expect("PENSTOCK_SEED is a number"),
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
        };
        println!("PENSTOCK_SEED={seed}");
        Self::seeded(seed)
    }

    /// Seeded with a number.
    pub fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in a range.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.bits() % (range.end - range.start)
    }
}
