//! Whether the box deserves to go on, or would be better off started again.
//!
//! A service that ends or hangs is started again within seconds, which needs no reset. If it is not well for long, the
//! trouble may be in the kernel or in a device, and nothing that runs here can put that right: then the watchdog is not
//! fed any more.

use std::time::{Duration, Instant};

/// How long the service may be unwell. A mount after a power cut takes seconds; the longest that is known, of a volume
/// that is full of rot, some minutes.
const UNWELL_MAX: Duration = Duration::from_secs(600);

/// How the box has been.
#[derive(Debug)]
pub(super) struct Health {
    well_at: Instant,
    /// Whether there is a service that could be well at all. A box without settings waits for them, however long.
    has_service: bool,
}

impl Health {
    /// There is no service yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { well_at: now, has_service: false }
    }

    /// From now on there is one, which has time to become well.
    pub(super) fn begin(&mut self, now: Instant) {
        *self = Self { well_at: now, has_service: true };
    }

    /// There is none any more.
    pub(super) fn rest(&mut self) {
        self.has_service = false;
    }

    /// The service is well.
    pub(super) fn well(&mut self, now: Instant) {
        self.well_at = now;
    }

    /// Whether the watchdog is to be fed.
    pub(super) fn deserves_food(&self, now: Instant) -> bool {
        !self.has_service || now.duration_since(self.well_at) < UNWELL_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_stays_unwell_lets_the_watchdog_bite() {
        let start = Instant::now();
        let mut health = Health::new(start);
        assert!(health.deserves_food(start + 100 * UNWELL_MAX), "there is no service");
        health.begin(start);
        assert!(health.deserves_food(start + UNWELL_MAX - Duration::from_secs(1)));
        assert!(!health.deserves_food(start + UNWELL_MAX));
        health.well(start + UNWELL_MAX);
        assert!(health.deserves_food(start + UNWELL_MAX + Duration::from_secs(1)));
        health.rest();
        assert!(health.deserves_food(start + 100 * UNWELL_MAX));
    }
}
