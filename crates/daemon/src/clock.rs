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

/// A moment as RFC 5322 §3.3 writes it, in UTC: `Sun, 22 Nov 2026 03:19:40 +0000`.
pub(crate) fn rfc5322(unix_ms: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = unix_ms / 1000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_from_days(days);
    let weekday = DAYS[(days % 7) as usize];
    let month = MONTHS[(month - 1) as usize];
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{weekday}, {day} {month} {year} {hour:02}:{minute:02}:{second:02} +0000")
}

/// Year, month (1–12) and day (1–31) of a day counted from 1970-01-01. The algorithm of Howard Hinnant,
/// "chrono-compatible low-level date algorithms": years begin in March, so that the leap day comes last.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
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

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_s, date) in [
            (0, "Thu, 1 Jan 1970 00:00:00 +0000"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_767_225_600, "Thu, 1 Jan 2026 00:00:00 +0000"),
            (1_795_317_580, "Sun, 22 Nov 2026 03:19:40 +0000"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 +0000"),
            (4_107_542_400, "Mon, 1 Mar 2100 00:00:00 +0000"),
        ] {
            assert_eq!(rfc5322(unix_s * 1000), date);
        }
    }
}
