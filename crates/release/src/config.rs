//! The numbers that release is bound by.

use alloc::string::String;
use alloc::vec::Vec;

use crate::HopId;
use crate::error::Error;
use crate::ways::{HopSet, WAYS_MAX};

/// How many next hops there may be.
pub const HOPS_MAX: usize = 16;

/// The longest time that any setting may be, so that sums of them cannot overflow: a thousand years.
const MS_MAX: u64 = 1_000 * 366 * 86_400_000;

/// One next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopConfig {
    /// What the operator calls it. A saved state is found again by this name.
    pub name: String,
    /// Hops with a higher number are used only while none with a lower one can take mail (as in RFC 2782).
    pub priority: u32,
    /// The share of the mail among hops of the same priority, above 0.
    pub weight: u32,
    /// How many probe mailboxes it has, one for each mailbox database: canaries go to them by turns.
    pub probes: u16,
}

/// Messages a minute to a hop of which nothing is known but what SMTP tells: the rate limit that Exchange's Edge role has.
pub const BLIND_PER_MINUTE_MAX: u32 = 600;

/// The most probe mailboxes of one hop.
pub const PROBES_MAX: u16 = 16;

/// Everything that is set from outside. Reasons for the defaults are where the operator's settings are documented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The destination: 1 to [`HOPS_MAX`] next hops.
    pub hops: Vec<HopConfig>,
    /// Through which hops mail may go: the first way is that of all mail of which nothing else is said. 1 to
    /// [`WAYS_MAX`](crate::WAYS_MAX), each with a hop at least.
    pub ways: Vec<HopSet>,
    /// Connections to each hop at once, probes included.
    pub connections_max: u32,
    /// Messages begun in a minute, all hops together. `None`: [`BLIND_PER_MINUTE_MAX`] and a window for what had piled up,
    /// as long as a hop proves nothing beyond its `250`; else as many as it is seen to bear.
    pub messages_per_minute_max: Option<u32>,
    /// How long a message waits after each failure; the last one repeats.
    pub retry_schedule_ms: Vec<u64>,
    /// How many percent each wait is varied up and down.
    pub retry_jitter_percent: u32,
    /// How often to probe a hop that is down, at first.
    pub probe_interval_ms: u64,
    /// For how long at that pace.
    pub probe_fast_for_ms: u64,
    /// How often after that.
    pub probe_slow_interval_ms: u64,
    /// How often to send one message to a hop that answers but does not take mail.
    pub probe_data_interval_ms: u64,
    /// The age at which a message is set aside.
    pub expire_after_ms: u64,
    /// Harmful failures of one message, with others passing between, after which it is set aside …
    pub poison_failures: u32,
    /// … if they span at least this long.
    pub poison_span_ms: u64,
    /// From which jitter is derived; different in each box.
    pub seed: u64,
}

impl Config {
    /// # Errors
    /// [`Error::Hops`], [`Error::Ways`], [`Error::Limits`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        let hops = &self.hops;
        let twins =
            hops.iter().enumerate().any(|(n, hop)| hops[..n].iter().any(|other| other.name == hop.name));
        if hops.is_empty()
            || hops.len() > HOPS_MAX
            || twins
            || hops.iter().any(|hop| hop.weight == 0 || hop.probes > PROBES_MAX)
        {
            return Err(Error::Hops);
        }
        let is_way = |way: &HopSet| (0..hops.len()).any(|n| way.has(HopId(n as u8))); // at most HOPS_MAX
        if !(1..=WAYS_MAX).contains(&self.ways.len()) || !self.ways.iter().all(is_way) {
            return Err(Error::Ways);
        }
        let times = [
            self.probe_interval_ms,
            self.probe_slow_interval_ms,
            self.probe_data_interval_ms,
            self.probe_fast_for_ms,
            self.expire_after_ms,
            self.poison_span_ms,
        ];
        let limits = self.connections_max > 0
            && self.retry_schedule_ms.iter().chain(&times).all(|ms| *ms <= MS_MAX)
            && self.messages_per_minute_max != Some(0)
            && !self.retry_schedule_ms.is_empty()
            && self.retry_jitter_percent <= 100
            && self.probe_interval_ms > 0
            && self.probe_slow_interval_ms > 0
            && self.probe_data_interval_ms > 0;
        if limits { Ok(()) } else { Err(Error::Limits) }
    }

    /// A mailbox as [`Message`](crate::Message) knows it: a hash of its address, whatever the case of its ASCII letters
    /// (RFC 5321 section 2.4 lets a server tell local parts apart by case; none in the field does). Never 0. It depends on
    /// the seed, so that nobody can find addresses that share the turns of a given one.
    pub fn mailbox(&self, address: &str) -> u32 {
        let hash = address.as_bytes().chunks(8).fold(self.seed, |hash, chunk| {
            let byte = |sum: u64, byte: &u8| sum << 8 | u64::from(byte.to_ascii_lowercase());
            mix(hash ^ chunk.iter().fold(0, byte))
        });
        ((hash >> 32) as u32).max(1)
    }

    /// How long `message` waits after its failure number `attempts` (from 1). Derived from the seed, so that messages
    /// that failed together do not return together and a test can foresee it.
    pub(crate) fn retry_wait_ms(&self, message: u64, attempts: u32) -> u64 {
        let step = (attempts.max(1) as usize - 1).min(self.retry_schedule_ms.len().saturating_sub(1));
        let wait = self.retry_schedule_ms.get(step).copied().unwrap_or_default();
        let spread = wait.saturating_mul(u64::from(self.retry_jitter_percent)) / 100;
        let draw = mix(self.seed ^ mix(message ^ (u64::from(attempts) << 56)));
        wait - spread + draw % (2 * spread + 1)
    }
}

/// SplitMix64's output function (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
