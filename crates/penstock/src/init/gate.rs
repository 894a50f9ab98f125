//! Whether this start has proved itself: the gate before the good word.
//!
//! All of it has to be so without a break, for as long as the settings say: the service takes mail and is heard of, the network
//! is up, and what was written on a volume in this run was read again. After that earlier failures do not count, and what is
//! on trial is good. What is on trial and fails again and again, or never becomes well, is gone back from at once instead of
//! by three starts: mail waits.

use std::time::{Duration, Instant};

/// So often the service may end by itself before what is on trial is given up.
const ENDS_MAX: u32 = 3;
/// How long what is on trial may take until the service is well for the first time: the longest mount that is known takes
/// some minutes.
const WELL_WITHIN: Duration = Duration::from_secs(600);

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    /// Whether there is a service that could be well.
    pub(super) has_service: bool,
    /// Whether it takes mail and has been heard of lately.
    pub(super) is_well: bool,
    /// How often it has ended by itself since the box was started.
    pub(super) ends: u32,
    /// Whether it has read again what it wrote.
    pub(super) volume_is_proven: bool,
    /// Whether the interface has a carrier and an address.
    pub(super) network_is_up: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet, and what is waited for.
    Wait(String),
    /// This start has proved itself. Said once.
    Passed,
    /// What is on trial is no good, and why. Said once.
    GiveUp(String),
}

/// The gate.
#[derive(Debug)]
pub(super) struct Gate {
    /// Since when there is a service.
    began: Option<Instant>,
    well_since: Option<Instant>,
    was_well: bool,
    ends_seen: u32,
    is_decided: bool,
}

impl Gate {
    pub(super) const fn new() -> Self {
        Self { began: None, well_since: None, was_well: false, ends_seen: 0, is_decided: false }
    }

    /// Whether it has decided.
    pub(super) const fn is_decided(&self) -> bool {
        self.is_decided
    }

    /// Looks. `is_trial` says whether there is something to be given up.
    pub(super) fn look(
        &mut self,
        sight: Sight,
        is_trial: bool,
        good_after: Duration,
        now: Instant,
    ) -> Verdict {
        if is_trial && !self.is_decided && sight.ends >= ENDS_MAX {
            self.is_decided = true;
            return Verdict::GiveUp(format!("the service has failed {} times", sight.ends));
        }
        if !sight.has_service {
            (self.began, self.well_since) = (None, None);
            return Verdict::Wait("settings, with which there is a service".into());
        }
        let began = *self.began.get_or_insert(now);
        self.was_well |= sight.is_well;
        if is_trial && !self.is_decided && !self.was_well && now.duration_since(began) >= WELL_WITHIN {
            self.is_decided = true;
            return Verdict::GiveUp(format!(
                "the service took no mail within {} min",
                WELL_WITHIN.as_secs() / 60
            ));
        }
        let missing = [
            (sight.is_well, "the service"),
            (sight.volume_is_proven, "a volume that gives back what was written"),
            (sight.network_is_up, "the network"),
        ];
        let missing: Vec<&str> = missing.iter().filter(|(there, _)| !there).map(|(_, what)| *what).collect();
        if sight.ends != self.ends_seen || !missing.is_empty() {
            self.ends_seen = sight.ends;
            self.well_since = None;
        }
        if !missing.is_empty() {
            return Verdict::Wait(missing.join(", "));
        }
        let since = *self.well_since.get_or_insert(now);
        let left = good_after.saturating_sub(now.duration_since(since));
        if !left.is_zero() {
            return Verdict::Wait(format!("{} s more in which all is well", left.as_secs().max(1)));
        }
        self.is_decided = true;
        Verdict::Passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD_AFTER: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);
    const WELL: Sight =
        Sight { has_service: true, is_well: true, ends: 0, volume_is_proven: true, network_is_up: true };

    fn passes(gate: &mut Gate, sight: Sight, now: Instant) -> bool {
        gate.look(sight, true, GOOD_AFTER, now) == Verdict::Passed
    }

    #[test]
    fn all_has_to_be_well_without_a_break() {
        for broken in [
            Sight { is_well: false, ..WELL },
            Sight { volume_is_proven: false, ..WELL },
            Sight { network_is_up: false, ..WELL },
            Sight { ends: 1, ..WELL },
        ] {
            let start = Instant::now();
            let mut gate = Gate::new();
            assert!(!passes(&mut gate, WELL, start));
            assert!(!passes(&mut gate, broken, start + GOOD_AFTER - SECOND), "{broken:?}");
            let after = Sight { ends: broken.ends, ..WELL };
            assert!(!passes(&mut gate, after, start + GOOD_AFTER), "the time began anew: {broken:?}");
            assert!(passes(&mut gate, after, start + 2 * GOOD_AFTER), "{broken:?}");
            assert!(gate.is_decided());
        }
    }

    #[test]
    fn what_is_waited_for_is_said() {
        let mut gate = Gate::new();
        let now = Instant::now();
        let Verdict::Wait(what) = gate.look(Sight { network_is_up: false, ..WELL }, false, GOOD_AFTER, now)
        else {
            panic!("it waits for the network")
        };
        assert_eq!(what, "the network");
        let Verdict::Wait(what) = gate.look(WELL, false, GOOD_AFTER, now) else { panic!("it waits") };
        assert!(what.contains("60 s"), "{what}");
        let nothing = Sight { has_service: false, ..WELL };
        assert!(matches!(gate.look(nothing, true, GOOD_AFTER, now + 100 * GOOD_AFTER), Verdict::Wait(_)));
    }

    #[test]
    fn a_service_that_fails_again_and_again_gives_a_trial_up_and_nothing_else() {
        let now = Instant::now();
        let failing = Sight { is_well: false, ends: ENDS_MAX, ..WELL };
        assert!(matches!(Gate::new().look(failing, true, GOOD_AFTER, now), Verdict::GiveUp(_)));
        assert!(matches!(Gate::new().look(failing, false, GOOD_AFTER, now), Verdict::Wait(_)));
        let fewer = Sight { ends: ENDS_MAX - 1, ..failing };
        assert!(matches!(Gate::new().look(fewer, true, GOOD_AFTER, now), Verdict::Wait(_)));
        let mut gate = Gate::new();
        let _ = gate.look(failing, true, GOOD_AFTER, now);
        assert!(matches!(gate.look(failing, true, GOOD_AFTER, now), Verdict::Wait(_)), "it is said once");
    }

    #[test]
    fn a_service_that_never_becomes_well_gives_a_trial_up() {
        let start = Instant::now();
        let silent = Sight { is_well: false, ..WELL };
        let mut gate = Gate::new();
        assert!(matches!(gate.look(silent, true, GOOD_AFTER, start), Verdict::Wait(_)));
        assert!(matches!(gate.look(silent, true, GOOD_AFTER, start + WELL_WITHIN), Verdict::GiveUp(_)));
        // One that was well once, and is not now, is started again: that counts by itself.
        let mut gate = Gate::new();
        let _ = gate.look(WELL, true, GOOD_AFTER, start);
        assert!(matches!(gate.look(silent, true, GOOD_AFTER, start + WELL_WITHIN), Verdict::Wait(_)));
    }
}
