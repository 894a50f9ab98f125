//! What a reset forgets, step by step: the service has its part in it, and the box goes on meanwhile.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use penstock_daemon::control::types::ErrorBody;
use penstock_daemon::keeper::{Done, Reset};

use super::super::erase::Erasure;
use super::super::log::say;
use super::super::requests::Answer;
use super::super::service::Begin;
use super::super::{serial, told};
use super::{Keeper, refusal};

/// How long the service may take to let go of what a factory reset clears.
const FORGET_MAX: Duration = Duration::from_secs(60);

/// How far the destruction of all mail is.
pub(super) enum Erasing {
    /// The service has to end first.
    WhenStopped(PathBuf),
    Underway(Erasure),
}

impl Keeper {
    /// Begins to forget. What follows is done when the service has let go of its part.
    pub(super) fn reset(&mut self, what: Reset, serial: &str, answer: Answer) {
        let begun = serial::check(serial).and_then(|()| match what {
            _ if self.erasing.is_some() => Err(refusal("PS-I080", "the mail is being erased already")),
            _ if self.forgetting_since.is_some() => Err(refusal("PS-I080", "the box is being reset already")),
            _ if self.trial.is_some() => {
                Err(refusal("PS-I080", "settings are on trial: try again in a moment"))
            }
            Reset::Mail => self.begin_to_erase(),
            Reset::Settings => {
                say("factory reset, as the console asks: settings and state are cleared, the mail stays");
                self.forgetting_since = Some(Instant::now());
                if self.daemon.is_wanted() {
                    let reason = "factory reset".into();
                    self.daemon.begin(Begin { reason, forget: true, ..Begin::default() }, Instant::now());
                }
                let summary = "Settings and state are cleared; the mail stays. The box starts again and asks for settings.";
                Ok(Done { summary: summary.into() })
            }
        });
        answer.give(begun);
    }

    /// Begins to destroy all mail: the service has to end first.
    fn begin_to_erase(&mut self) -> Result<Done, ErrorBody> {
        let disk = self.kept.as_ref().map(|kept| &kept.settings.volume).filter(|volume| volume.is_device());
        let Some(disk) = disk.map(|volume| PathBuf::from(volume.path.as_str())) else {
            return Err(refusal("PS-I086", "no settings say on which disk the mail is"));
        };
        say("all mail is erased, as the console asks");
        self.daemon.retire("all mail is erased");
        self.health.rest();
        self.erasing = Some(Erasing::WhenStopped(disk));
        let summary =
            "All mail is being erased, which may take minutes; the box takes mail again afterwards.";
        Ok(Done { summary: summary.into() })
    }

    /// Goes on with the destruction of all mail, if that is under way.
    pub(super) fn erase(&mut self) {
        match &mut self.erasing {
            Some(Erasing::WhenStopped(disk)) if !self.daemon.runs() => {
                self.erasing = told(Erasure::begin(disk.clone())).map(Erasing::Underway);
            }
            Some(Erasing::Underway(erasure)) => {
                let Some(ended) = erasure.ended() else { return };
                self.erasing = None;
                match ended {
                    Ok(()) => say("all mail is erased"),
                    Err(error) => say(&format!("PS-I088: not all mail is erased: {error}")),
                }
                let erased = true;
                self.daemon.begin(Begin { erased, ..Begin::default() }, Instant::now());
                self.health.begin(self.daemon.ends(), Instant::now());
            }
            _ => {}
        }
    }

    /// Whether a reset is under way and the service has done its part, or cannot.
    pub(super) fn has_forgotten(&self) -> bool {
        let Some(since) = self.forgetting_since else { return false };
        let now = Instant::now();
        if now.duration_since(since) >= FORGET_MAX {
            say("PS-I085: the service did not let go of mode and states on the volume; they stay there");
            return true;
        }
        !self.daemon.is_wanted() || self.daemon.is_well(now)
    }
}
