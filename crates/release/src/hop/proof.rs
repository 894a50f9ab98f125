//! A hop in doubt: what brings it there, and what brings it out.

use super::{Hop, LONG_DOWN_MS, State};
use crate::Now;
use crate::breaker::{Trip, Witness};
use crate::cause::Cause;
use crate::config::{Config, PROBES_MAX};
use crate::fingerprint::Greeting;
use crate::reply::Evidence;

/// In less than so long no server is restored …
const LONG_UNWELL_MS: u64 = 30 * 60_000;

/// … and within so long all of its directory is back.
const DIRECTORY_DOUBT_MS: u64 = 24 * 3_600_000;

impl Hop {
    /// It takes mail from now on. Tells whether there had been a trouble that was real.
    pub(super) fn take_mail(&mut self, now: Now) -> bool {
        let was_real = core::mem::take(&mut self.confirmed) | self.trust.believe();
        self.flow.restart(self.state, now.mono_ms);
        self.see_unwell(now);
        self.enter(State::Healthy, now);
        self.last_reply = None;
        self.pace.restart();
        was_real
    }

    pub(super) fn begin_proof(&mut self, cause: Cause, now: Now) {
        self.enter(cause.state(), now);
        self.trust.begin_proof();
        self.next_trial_ms = now.mono_ms;
    }

    /// There is reason to doubt that the hop is itself: it gets no more mail before there is proof. Tells whether that is
    /// new.
    pub(crate) fn require_proof(&mut self, cause: Cause, now: Now) -> bool {
        let is_new = self.trust.cause().is_none();
        self.trust.doubt(cause);
        if self.state == State::Healthy {
            self.begin_proof(cause, now);
        }
        is_new
    }

    /// The operator says that it is itself, and that its databases are there. Tells whether either had been in doubt and is believed now. Of a hop that
    /// does not answer he cannot say anything; one that refuses is tried with mail, and may refuse that.
    pub(crate) fn confirm(&mut self, now: Now) -> bool {
        if self.state == State::Healthy && self.missing() != 0 {
            self.give_up_canaries();
            return true;
        }
        if self.trust.cause().is_none() || !self.state.can_be_confirmed() {
            return false;
        }
        // He has vouched for it: from now on it takes more than one sender to have it doubted.
        self.trust.mail_taken();
        self.give_up_canaries();
        self.take_mail(now)
    }

    /// Nobody waits any longer for canaries that stay out, which may have been the reason for doubt.
    fn give_up_canaries(&mut self) {
        self.canaries.give_up();
        self.flow.confirmed();
    }

    /// Looks whether mail that it took stays inside it. Tells the probe mailboxes to which canaries are missing, a bit each.
    /// `knows_places` if the mail of their databases can be held alone; else all of it has to wait.
    pub(crate) fn look_inside(&mut self, knows_places: bool, now: Now) -> u16 {
        self.canaries.look_for_missing(now.mono_ms);
        let missing = self.missing();
        if missing != 0 && (missing == self.all_probes() || !knows_places) {
            self.require_proof(Cause::CanaryMissing, now);
        } else if self.config.probes == 0 && self.flow.is_retry_queue_rising(now.mono_ms) {
            self.require_proof(Cause::RetryQueue, now);
        }
        missing
    }

    /// The probe mailboxes to which canaries are missing, a bit each. Where none ever came home, their reports may have no way
    /// back: that proves nothing either way. Those of probe mailboxes that the settings no longer have are forgotten.
    pub(crate) fn missing(&self) -> u16 {
        if self.flow.proves() { self.canaries.missing() & self.all_probes() } else { 0 }
    }

    /// A bit for each probe mailbox.
    fn all_probes(&self) -> u16 {
        ((1_u32 << self.config.probes.min(PROBES_MAX)) - 1) as u16
    }

    /// A canary has arrived. Tells whether the hop has proved itself with it.
    pub(crate) fn canary_arrived(&mut self, canary: u64, probe: u16, now: Now) -> bool {
        self.trust.canary_arrived(canary, probe, self.config.probes)
            && self.state.is_proving()
            && self.take_mail(now)
    }

    /// What it showed on a new connection. Tells whether there is something new to be saved.
    pub(crate) fn greeted(&mut self, greeting: &Greeting<'_>, now: Now) -> bool {
        let sight = self.trust.see(greeting);
        if let Some(cause) = self.trust.cause() {
            self.require_proof(cause, now);
        }
        sight.is_some()
    }

    /// Whatever certificate it shows next is how it is.
    pub(crate) fn forget_certificates(&mut self) {
        self.trust.forget_certificates();
    }

    /// Why it gets no mail before there is proof, if that is so.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.trust.cause()
    }

    /// Whether it may be without a part of its directory: it was away for long of late, or refuses recipients, more than
    /// one, that are known to be there.
    pub(crate) fn is_directory_in_doubt(&self, now_ms: u64) -> bool {
        now_ms < self.directory_from_ms || self.trust.is_directory_in_doubt(now_ms)
    }

    /// It is well again. If that took long it may have been restored, and not all of it yet.
    fn see_unwell(&mut self, now: Now) {
        let Some(since) = self.unwell_since.take() else { return };
        let by_calendar = now.unix_ms.zip(since.unix_ms).map(|(now, since)| now.saturating_sub(since));
        let for_ms = now.mono_ms.saturating_sub(since.mono_ms).max(by_calendar.unwrap_or_default());
        if for_ms > LONG_UNWELL_MS {
            self.directory_from_ms = now.mono_ms + DIRECTORY_DOUBT_MS;
        }
    }

    /// What an attempt showed of recipients. Tells to what nothing more should go for that.
    pub(crate) fn witnessed(&mut self, witness: Witness<'_>, now: Now) -> Option<Trip> {
        self.trust.witnessed(witness, now.mono_ms)
    }

    /// It took a message. Tells whether that is news to be saved.
    pub(crate) fn took_mail(&mut self) -> bool {
        self.trust.mail_taken()
    }

    /// It answered a probe well. Tells whether that is news to be saved.
    pub(crate) fn took_probe(&mut self) -> bool {
        self.trust.probe_taken()
    }

    /// A canary that was a trial proved nothing: a message is the next one, at once if the canary did not go at all.
    pub(crate) fn canary_failed(&mut self, evidence: Option<&Evidence<'_>>, config: &Config, now_ms: u64) {
        self.canary_failed = true;
        if let Some(evidence) = evidence {
            self.still(evidence, config, now_ms);
        }
    }

    /// Nobody answered for so long that it may be another server by now: by the clock of this run, or by one that could
    /// be trusted then and can be now.
    pub(super) fn see_absence(&mut self, now: Now) {
        let by_calendar = now.unix_ms.zip(self.since_unix_ms).map(|(now, since)| now.saturating_sub(since));
        let away_ms = now.mono_ms.saturating_sub(self.since_ms).max(by_calendar.unwrap_or_default());
        if self.state == State::Down && away_ms > LONG_DOWN_MS {
            self.trust.doubt(Cause::LongDown);
        }
    }
}
