//! The time: a stamp for what is written down, and whether that can be believed.
//!
//! Schedules run on the monotonic clock ([`std::time::Instant`]) and never on this one.
//!
//! Who sets the clock knows whether it is right. On an appliance that is its first process, which says so in a file;
//! the daemon looks there every second. What is stamped in between is stamped with what was known before, and trust is
//! withdrawn before a clock is set. On any other host a clock is trusted that shows a time after [`FLOOR_UNIX_MS`].
//!
//! In builds for tests this time can run faster than the host's ([`host_time`]), so that a drain of hours is measured
//! in minutes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use penstock_spool::Stamp;
use tokio::time::MissedTickBehavior;
use tracing::info;

#[cfg(feature = "faults")]
use crate::speed::speed;

/// 2026-01-01 00:00:00 UTC in Unix milliseconds. No box with this software existed before, so a clock that shows less
/// has not been set since power came back. A host with a battery or a time service is beyond it; a box that starts in
/// 1970 is not.
const FLOOR_UNIX_MS: u64 = 1_767_225_600_000;

/// The line in the file that says that the clock is right.
const TRUSTED_LINE: &str = "trusted = true";
/// How often it is looked there.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How many seconds of the daemon's time pass in one of the host's.
#[cfg(not(feature = "faults"))]
const fn speed() -> u32 {
    1
}

/// How long the host waits for so much of the daemon's time: every wait of release and of its connections goes through
/// here. What the host's own devices may take is of its own time.
pub(crate) fn host_time(duration: Duration) -> Duration {
    duration / speed()
}

/// How much of the daemon's time has passed since a moment of the host's.
pub(crate) fn since(moment: Instant) -> Duration {
    moment.elapsed().saturating_mul(speed())
}

/// The clock of the daemon.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// The boot number that the volume gave out.
    boot: AtomicU32,
    /// Whether who sets the clock vouches for it.
    vouched: AtomicBool,
}

impl Clock {
    /// The clock of which a file says whether it is right, or without one that of the host.
    pub(crate) fn new(file: Option<&Path>) -> Self {
        let vouched = AtomicBool::new(file.is_none_or(is_vouched));
        Self { start: Instant::now(), boot: AtomicU32::new(0), vouched }
    }

    /// Looks into that file for good.
    pub(crate) async fn follow(self: Arc<Self>, file: PathBuf) {
        let mut tick = tokio::time::interval(LOOK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let vouched = is_vouched(&file);
            if self.vouched.swap(vouched, Relaxed) != vouched {
                info!(trusted = vouched, "whether the clock is trusted has changed");
            }
        }
    }

    /// Takes the number of this boot from a volume that was mounted; of several the highest.
    pub(crate) fn set_boot(&self, boot: u32) {
        self.boot.fetch_max(boot, Relaxed);
    }

    /// Now, for what is written down. *Trusted* means: somebody vouches for the clock, and it is not before
    /// [`FLOOR_UNIX_MS`].
    pub(crate) fn stamp(&self) -> Stamp {
        let ahead = self.start.elapsed().saturating_mul(speed() - 1);
        let since_epoch =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_add(ahead);
        let unix_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        Stamp {
            unix_ms,
            boot: self.boot.load(Relaxed),
            trusted: self.vouched.load(Relaxed) && unix_ms >= FLOOR_UNIX_MS,
        }
    }

    /// Milliseconds since the daemon started; never goes back.
    pub(crate) fn mono_ms(&self) -> u64 {
        u64::try_from(since(self.start).as_millis()).unwrap_or(u64::MAX)
    }

    /// The same of the host's own time, for what its devices may take.
    pub(crate) fn host_mono_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Whether the file says that the clock is right. Without it nobody says so.
fn is_vouched(file: &Path) -> bool {
    // In memory and short: it takes no longer than a call to the kernel.
    std::fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| line == TRUSTED_LINE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_trusted_when_who_sets_it_says_so() {
        assert!(Clock::new(None).stamp().trusted, "a host's own, which shows a time of this century");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clock");
        assert!(!Clock::new(Some(&file)).stamp().trusted, "nobody has said anything");
        for (text, trusted) in [
            ("trusted = false\n", false),
            ("source = \"none\"\ntrusted = true\n", true),
            ("trusted = tru", false),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(Clock::new(Some(&file)).stamp().trusted, trusted, "{text:?}");
        }
    }
}
