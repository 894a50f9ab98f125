//! Chance that can be repeated: every test that draws prints its seed, and `PENSTOCK_SEED` sets it.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

/// What draws moments and sizes.
pub struct Random(penstock_exchange::random::Random);

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
        Self(penstock_exchange::random::Random::seeded(seed))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.bits()
    }

    /// A number in a range.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.bits() % (range.end - range.start)
    }
}
