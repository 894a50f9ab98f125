//! Settings on trial: the service runs with them, and whether it is well decides whether they are kept.
//!
//! So nobody can set a box to something with which it takes no mail and then leave it so: not by mistake, and not by a power
//! cut, since flash has the settings from before until the trial is over.

use std::time::{Duration, Instant};

use penstock_daemon::control::types::{Trial as View, TrialState};

/// How long the service must be well without a break.
const WELL_FOR: Duration = Duration::from_secs(4);
/// How long it may take to become well: it may have to stop with sessions open, and to mount a volume after that.
const WELL_WITHIN: Duration = Duration::from_secs(120);

/// A trial that is under way.
#[derive(Debug)]
pub(super) struct Trial {
    number: u32,
    pub(super) by: String,
    began: Instant,
    well_since: Option<Instant>,
    /// How often the service had ended by itself before.
    ends_before: u32,
}

/// How the service is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight<'a> {
    /// Whether it takes mail and has been heard of lately.
    pub(super) is_well: bool,
    /// How often it has ended by itself.
    pub(super) ends: u32,
    /// How it ended last.
    pub(super) last_end: Option<&'a str>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet.
    Wait,
    /// The settings are good.
    Keep,
    /// They are not, and why.
    GoBack(String),
}

impl Trial {
    pub(super) fn new(number: u32, by: String, ends_before: u32, now: Instant) -> Self {
        Self { number, by, began: now, well_since: None, ends_before }
    }

    /// Looks at the service.
    pub(super) fn judge(&mut self, sight: Sight<'_>, now: Instant) -> Verdict {
        if sight.ends > self.ends_before {
            let how = sight.last_end.unwrap_or("nobody knows how");
            return Verdict::GoBack(format!("the service does not run with them: {how}"));
        }
        if !sight.is_well {
            self.well_since = None;
            if now.duration_since(self.began) >= WELL_WITHIN {
                let why = format!("the service took no mail within {} s", WELL_WITHIN.as_secs());
                return Verdict::GoBack(why);
            }
            return Verdict::Wait;
        }
        let since = *self.well_since.get_or_insert(now);
        if now.duration_since(since) >= WELL_FOR { Verdict::Keep } else { Verdict::Wait }
    }

    /// How often the service has ended by itself since it began.
    pub(super) fn ends_since(&self, ends: u32) -> u32 {
        ends.saturating_sub(self.ends_before)
    }

    /// The trial as it is told.
    pub(super) fn view(&self, state: TrialState, why: Option<String>) -> View {
        View { number: self.number, by: self.by.clone(), state, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(is_well: bool, ends: u32) -> Sight<'static> {
        Sight { is_well, ends, last_end: Some("exit status 1") }
    }

    #[test]
    fn settings_are_kept_once_the_service_was_well_for_a_while_without_a_break() {
        let began = Instant::now();
        let mut trial = Trial::new(1, "console".into(), 3, began);
        let second = Duration::from_secs(1);
        assert_eq!(trial.judge(sight(false, 3), began), Verdict::Wait);
        assert_eq!(trial.judge(sight(true, 3), began + second), Verdict::Wait);
        assert_eq!(trial.judge(sight(false, 3), began + 2 * second), Verdict::Wait);
        assert_eq!(trial.judge(sight(true, 3), began + 3 * second), Verdict::Wait);
        assert_eq!(
            trial.judge(sight(true, 3), began + 2 * second + WELL_FOR),
            Verdict::Wait,
            "there was a break"
        );
        assert_eq!(trial.judge(sight(true, 3), began + 3 * second + WELL_FOR), Verdict::Keep);
    }

    #[test]
    fn a_service_that_ends_or_never_becomes_well_takes_its_settings_with_it() {
        let began = Instant::now();
        let mut trial = Trial::new(1, "console".into(), 3, began);
        let Verdict::GoBack(why) = trial.judge(sight(false, 4), began) else { panic!("it ended") };
        assert!(why.contains("exit status 1"), "{why}");
        assert_eq!(trial.judge(sight(false, 3), began + WELL_WITHIN / 2), Verdict::Wait);
        assert!(matches!(trial.judge(sight(false, 3), began + WELL_WITHIN), Verdict::GoBack(_)));
    }
}
