//! The one source of chance in the simulator: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), which is small, has no
//! bad seeds and is the same on every machine.

/// A deterministic stream of numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream that belongs to `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 where `bound` is 0. The bias of at most `bound` / 2^64 does not matter here.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Fills `into` with random bytes.
    pub fn fill(&mut self, into: &mut [u8]) {
        for chunk in into.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }

    /// A byte in which each bit is set with a chance of `eighths` / 8.
    pub(super) fn mask(&mut self, eighths: u8) -> u8 {
        // Each lane of three random bits is one draw of 0..8, compared with the threshold.
        let draws = self.next_u64();
        let mut mask = 0;
        for bit in 0..8 {
            let draw = (draws >> (bit * 3)) & 7;
            mask |= u8::from(draw < u64::from(eighths)) << bit;
        }
        mask
    }
}
