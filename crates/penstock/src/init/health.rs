//! Whether the box deserves to go on, or would be better off started again.
//!
//! A service that ends or hangs is started again within seconds, which needs no reset. If it is not well for long, the
//! trouble may be in the kernel or in a device, and nothing that runs here can put that right: then the watchdog is not
//! fed any more. If it ends as often as it is started, there is no need to wait for that: the firmware is to know of it, which
//! takes the mail itself when a system has failed often enough.

use std::time::{Duration, Instant};

/// How long the service may be unwell. A mount after a power cut takes seconds; the longest that is known, of a volume
/// that is full of rot, some minutes.
const UNWELL_MAX: Duration = Duration::from_secs(600);
/// How often in a row the service may end without having been well for [`STEADY`]. Since it is started less and less often,
/// that takes half a minute at least.
const ENDS_MAX: u32 = 8;
/// A service that is well for so long does not fail as often as it is started.
const STEADY: Duration = Duration::from_secs(10);
/// For so long after somebody asked for something the box is not started again under their hands.
const ATTENDED: Duration = Duration::from_secs(600);

/// How the box has been.
#[derive(Debug)]
pub(super) struct Health {
    well_at: Instant,
    /// Since when it has been well without an end, and how often it had ended by then.
    well_since: Option<(Instant, u32)>,
    /// How often it had ended when it began, or was last steady.
    ends_then: u32,
    /// Whether there is a service that could be well at all. A box without settings waits for them, however long.
    has_service: bool,
    attended_at: Option<Instant>,
}

impl Health {
    /// There is no service yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { well_at: now, well_since: None, ends_then: 0, has_service: false, attended_at: None }
    }

    /// From now on there is one, which has time to become well. Others have ended so often before.
    pub(super) fn begin(&mut self, ends: u32, now: Instant) {
        (self.has_service, self.well_at, self.well_since, self.ends_then) = (true, now, None, ends);
    }

    /// There is none any more.
    pub(super) fn rest(&mut self) {
        self.has_service = false;
    }

    /// The service is well, and has ended so often before.
    pub(super) fn well(&mut self, ends: u32, now: Instant) {
        self.well_at = now;
        match self.well_since {
            Some((since, then)) if then == ends => {
                if now.duration_since(since) >= STEADY {
                    self.ends_then = ends;
                }
            }
            _ => self.well_since = Some((now, ends)),
        }
    }

    /// Somebody looks after the box.
    pub(super) fn attended(&mut self, now: Instant) {
        self.attended_at = Some(now);
    }

    /// Whether the watchdog is to be fed.
    pub(super) fn deserves_food(&self, now: Instant) -> bool {
        !self.has_service || now.duration_since(self.well_at) < UNWELL_MAX
    }

    /// Whether the service ends as often as it is started, and nobody looks after that.
    pub(super) fn is_hopeless(&self, ends: u32, now: Instant) -> bool {
        let is_attended = self.attended_at.is_some_and(|at| now.duration_since(at) < ATTENDED);
        self.has_service && !is_attended && ends.saturating_sub(self.ends_then) >= ENDS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_service_that_stays_unwell_lets_the_watchdog_bite() {
        let start = Instant::now();
        let mut health = Health::new(start);
        assert!(health.deserves_food(start + 100 * UNWELL_MAX), "there is no service");
        health.begin(0, start);
        assert!(health.deserves_food(start + UNWELL_MAX - SECOND));
        assert!(!health.deserves_food(start + UNWELL_MAX));
        health.well(0, start + UNWELL_MAX);
        assert!(health.deserves_food(start + UNWELL_MAX + SECOND));
        health.rest();
        assert!(health.deserves_food(start + 100 * UNWELL_MAX));
    }

    #[test]
    fn a_service_that_ends_as_often_as_it_is_started_is_hopeless() {
        let now = Instant::now();
        let mut health = Health::new(now);
        assert!(!health.is_hopeless(ENDS_MAX, now), "there is none");
        health.begin(2, now);
        assert!(!health.is_hopeless(ENDS_MAX + 1, now), "two of them are of another time");
        assert!(health.is_hopeless(ENDS_MAX + 2, now));
        health.well(ENDS_MAX, now);
        assert!(health.is_hopeless(ENDS_MAX + 2, now), "it was well for a moment");
        health.well(ENDS_MAX, now + STEADY);
        assert!(!health.is_hopeless(ENDS_MAX + 2, now), "it was well for longer");
        health.rest();
        assert!(!health.is_hopeless(u32::MAX, now));
    }

    #[test]
    fn a_box_is_not_started_again_under_the_hands_of_who_repairs_it() {
        let now = Instant::now();
        let mut health = Health::new(now);
        health.begin(0, now);
        health.attended(now);
        assert!(!health.is_hopeless(ENDS_MAX, now + ATTENDED - SECOND));
        assert!(health.is_hopeless(ENDS_MAX, now + ATTENDED));
    }
}
