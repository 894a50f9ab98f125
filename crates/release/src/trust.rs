//! Whether a hop is what it was: what casts doubt on it, and what proves it.
//!
//! Proof are canaries that were sent since the doubt arose, and arrived; or the operator's word.

use crate::breaker::{Accusers, Behalf, Breaker, Trip, Witness};
use crate::cause::Cause;
use crate::fingerprint::{Faces, Greeting, Sight};
use crate::reply::{Event, Evidence, Phase};
use crate::saved::SavedHop;

/// Canaries that have to arrive.
const ARRIVALS_MIN: u32 = 3;

/// Time between two canaries of a hop that has to prove itself, at first …
const CANARY_INTERVAL_MS: u64 = 10_000;

/// … for so long …
const CANARY_FAST_FOR_MS: u64 = 600_000;

/// … and after that: a directory takes hours to restore.
const CANARY_SLOW_INTERVAL_MS: u64 = 60_000;

/// Time between two canaries of a hop that has had to prove itself for so long.
pub(crate) const fn canary_interval_ms(for_ms: u64) -> u64 {
    if for_ms < CANARY_FAST_FOR_MS { CANARY_INTERVAL_MS } else { CANARY_SLOW_INTERVAL_MS }
}

/// What is thought of a hop beside its state.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    /// Why it has to prove itself, if it has.
    cause: Option<Cause>,
    arrivals: Arrivals,
    faces: Faces,
    accusers: Accusers,
    breaker: Breaker,
    /// Whether it has answered a probe well. A server that never did may dislike the empty sender.
    takes_probes: bool,
    /// Whether it has taken mail, or the operator has vouched for it. One that never did is believed whatever it refuses: there is nothing to compare with.
    took_mail: bool,
}

impl Trust {
    pub(crate) fn new(saved: &SavedHop) -> Self {
        Self {
            cause: saved.cause,
            faces: saved.faces.clone(),
            takes_probes: saved.takes_probes,
            took_mail: saved.took_mail,
            ..Self::default()
        }
    }

    /// Adds what outlives a restart.
    pub(crate) fn save(&self, saved: SavedHop) -> SavedHop {
        let Self { cause, faces, takes_probes, took_mail, .. } = self;
        SavedHop {
            cause: *cause,
            faces: faces.clone(),
            takes_probes: *takes_probes,
            took_mail: *took_mail,
            ..saved
        }
    }

    /// Why the hop has to prove itself, if it has.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// There is reason for doubt. What gave the first is what is told.
    pub(crate) fn doubt(&mut self, cause: Cause) {
        self.cause.get_or_insert(cause);
    }

    /// The hop is to prove itself from now on: what was proved before no longer counts.
    pub(crate) fn begin_proof(&mut self) {
        self.arrivals = Arrivals::default();
    }

    /// The hop takes mail, and there is no doubt, or no longer. Tells whether there was.
    pub(crate) fn believe(&mut self) -> bool {
        let was_doubted = self.cause.take().is_some();
        if was_doubted {
            self.faces.believe();
            self.breaker.forget();
            self.arrivals = Arrivals::default();
        }
        was_doubted
    }

    /// Looks at what a hop showed on a new connection. Tells whether anything is new, for the record.
    pub(crate) fn see(&mut self, greeting: &Greeting<'_>) -> Option<Sight> {
        let sight = self.faces.see(greeting.fingerprint());
        if let Sight::New(change) = sight {
            self.doubt(Cause::Fingerprint(change));
            // What arrived before may have come from another server.
            self.begin_proof();
        }
        (sight != Sight::Familiar).then_some(sight)
    }

    /// Whatever certificate it shows next is how it is.
    pub(crate) fn forget_certificates(&mut self) {
        self.faces.forget_certificates();
    }

    /// A canary was begun.
    pub(crate) fn canary_begun(&mut self, canary: u64) {
        self.arrivals.begun(canary);
    }

    /// A canary arrived. Tells whether that completes the proof.
    pub(crate) fn canary_arrived(&mut self, canary: u64, probe: u16, probes: u16) -> bool {
        self.arrivals.arrived(canary, probe);
        self.arrivals.are_proof(probes)
    }

    /// How many canaries have arrived, and how many have to.
    pub(crate) fn arrivals(&self, probes: u16) -> (u32, u32) {
        self.arrivals.count(probes)
    }

    /// A probe was answered well. Tells whether that is new.
    pub(crate) fn probe_taken(&mut self) -> bool {
        !core::mem::replace(&mut self.takes_probes, true)
    }

    /// It took mail. Tells whether that is new.
    pub(crate) fn mail_taken(&mut self) -> bool {
        !core::mem::replace(&mut self.took_mail, true)
    }

    /// Takes in what an attempt showed of recipients. Tells why nothing more should go, if that follows.
    pub(crate) fn witnessed(&mut self, witness: Witness<'_>, now_ms: u64) -> Option<Trip> {
        self.breaker.take(witness, now_ms).filter(|_| self.cause.is_none())
    }

    /// Whether it refused more than one recipient lately that is known to be there.
    pub(crate) fn is_directory_in_doubt(&self, now_ms: u64) -> bool {
        self.breaker.is_directory_in_doubt(now_ms)
    }

    /// The hop is in another state: who had brought it into the last one is of no more interest.
    pub(crate) fn forget_accusers(&mut self) {
        self.accusers.clear();
    }

    /// The hop answered as if it did not know the site, or this box; in a trial, or out of the blue. Whether that can be
    /// believed: a trial has to confirm it that no sender could have spoilt, or senders of several sources.
    pub(crate) fn is_accused(&mut self, evidence: &Evidence<'_>, behalf: Behalf, trial: bool) -> bool {
        let needs_login = matches!(evidence.event, Event::Reply(reply) if reply.code == 530);
        match behalf {
            _ if evidence.phase < Phase::Mail => trial,
            Behalf::Canary => trial,
            Behalf::Probe => evidence.phase == Phase::Mail && (self.takes_probes || needs_login),
            Behalf::Message(source) => self.accusers.add(source) || trial && !self.took_mail,
        }
    }
}

/// Canaries of a hop since it has to prove itself.
#[derive(Debug, Default)]
struct Arrivals {
    /// The first that was begun since: numbers only grow.
    first: Option<u64>,
    arrived: u32,
    /// To which probe mailboxes, a bit for each: there are at most [`PROBES_MAX`](crate::PROBES_MAX).
    mailboxes: u16,
}

impl Arrivals {
    /// A canary was begun.
    fn begun(&mut self, canary: u64) {
        self.first.get_or_insert(canary);
    }

    /// A canary arrived at a probe mailbox. One from before proves nothing about now.
    fn arrived(&mut self, canary: u64, probe: u16) {
        if self.first.is_some_and(|first| canary >= first) {
            self.arrived = self.arrived.saturating_add(1);
            self.mailboxes |= 1_u16.checked_shl(probe.into()).unwrap_or_default();
        }
    }

    /// How many have arrived, and how many are needed at least, with so many probe mailboxes.
    fn count(&self, probes: u16) -> (u32, u32) {
        (self.arrived, ARRIVALS_MIN.max(probes.into()))
    }

    /// Whether that is proof: three, and one from each mailbox.
    fn are_proof(&self, probes: u16) -> bool {
        let (arrived, needed) = self.count(probes);
        probes > 0 && arrived >= needed && self.mailboxes.count_ones() >= probes.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(probes: &[u16]) -> Arrivals {
        let mut arrivals = Arrivals::default();
        arrivals.begun(10);
        (10..).zip(probes).for_each(|(canary, probe)| arrivals.arrived(canary, *probe));
        arrivals
    }

    #[test]
    fn three_canaries_and_one_from_each_mailbox_are_proof() {
        for (probes, arrivals, proof) in [
            (1, &[0, 0][..], false),
            (1, &[0, 0, 0], true),
            (2, &[0, 0, 0, 0], false),
            (2, &[0, 0, 1], true),
            (3, &[0, 1, 2], true),
            (4, &[0, 1, 2], false),
            (4, &[0, 1, 2, 3], true),
            (0, &[0, 0, 0], false),
        ] {
            assert_eq!(arrived(arrivals).are_proof(probes), proof, "{probes}: {arrivals:?}");
        }
    }

    #[test]
    fn canaries_from_before_prove_nothing() {
        let mut arrivals = Arrivals::default();
        (1..9).for_each(|canary| arrivals.arrived(canary, 0));
        arrivals.begun(9);
        (1..9).for_each(|canary| arrivals.arrived(canary, 0));
        assert_eq!(arrivals.count(1), (0, 3));
    }
}
