//! How much mail may lie inside a hop, taken and not yet in mailboxes.
//!
//! A `250` says nothing of what comes after it. What a sender can bound is how much it has handed over and does not know
//! the end of: a *window*, as TCP has one, over three grades of knowledge.
//!
//! - *Counters*: the server's own queues, read every few seconds, and between two readings what was handed over since
//!   less what the server does in that time.
//! - *Canary*: everything that was handed over after the last canary that arrived. A queue is served in its order.
//! - *Blind*: nothing is known, so that so many messages of a backlog may go within ten minutes as fit any server.
//!
//! The window follows how long mail lies inside (its *delay*), not how many messages do: a server twice as fast may hold
//! twice as many. `DESIGN.md` has the law and what it was measured to do.

use crate::canary::{Canaries, Canary, Load};
use crate::counters::{Counters, Grade};
use crate::hop::State;
use crate::proofs::Proofs;
use crate::queues::Queues;
use crate::recent::Recent;

/// With what a window begins, after each recovery: no server is in trouble for so few.
const WINDOW_START: u32 = 30;

/// The least: below this a window would stop a server that is merely slow.
const WINDOW_MIN: u32 = 10;

/// The most, whatever the delay says; and what a blind sender gives within ten minutes.
pub(crate) const WINDOW_MAX: u32 = 1_500;

/// Below this delay the window grows, if it has kept mail back …
const DELAY_LOW_MS: u64 = 1_500;

/// … above this one it shrinks …
const DELAY_HIGH_MS: u64 = 4_000;

/// … to what gives this one.
const DELAY_TARGET_MS: u64 = 2_500;

/// Between two readings of counters: as often as Exchange looks at its own queues …
const COUNTING_INTERVAL_MS: u64 = 2_000;

/// … and while the window doubles: a server that is idle again so soon can take more, and each reading shows whether it is.
const COUNTING_STARTING_INTERVAL_MS: u64 = 500;

/// Between two canaries while the window keeps mail back, at least.
const CANARY_INTERVAL_MS: u64 = 2_000;

/// … and so many messages, or a part of the window.
const CANARY_MESSAGES_MIN: u64 = 8;
const CANARY_WINDOW_PARTS: u64 = 4;

/// … and at most.
const CANARY_INTERVAL_MAX_MS: u64 = 15_000;

/// Between two canaries while no proof has come yet.
const CANARY_FIRST_INTERVAL_MS: u64 = 10_000;

/// … and after so many that none did: their reports may have no way back.
const CANARY_FIRST_MAX: u32 = 18;
const CANARY_SELDOM_INTERVAL_MS: u64 = 600_000;

/// Between two canaries when the window keeps nothing back: one follows the mail of each minute.
const CANARY_IDLE_INTERVAL_MS: u64 = 60_000;

/// How much may go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Mail of any kind.
    Any,
    /// Only mail that has just come in; what had piled up may go from this moment on (monotonic ms).
    FreshOnly { backlog_from_ms: u64 },
    /// Nothing, before this moment if it is known, or before something is learned.
    Full { until_ms: Option<u64> },
}

/// What lies inside one hop.
#[derive(Debug)]
pub(crate) struct Flow {
    has_probes: bool,
    /// Whether a canary has ever come back: from then on that none does is a sign.
    proves: bool,
    /// Whether one has since the last recovery, or none is needed.
    is_proven: bool,
    window: u32,
    /// What the window may not exceed, since the server came under pressure by more.
    window_max: u32,
    /// Whether the window doubles, until it has found what the server does.
    starting: bool,
    /// Whether it has kept mail back since it was last looked at.
    limited: bool,
    /// When it last did.
    limited_ms: Option<u64>,
    /// Messages that the hop has taken.
    taken: u64,
    /// Messages on their way to it.
    going: u32,
    proofs: Proofs,
    queues: Queues,
    /// What was handed over of the backlog.
    backlog: Recent,
}

impl Flow {
    pub(crate) fn new(has_probes: bool, proves: bool, now_ms: u64) -> Self {
        Self {
            has_probes,
            proves: has_probes && proves,
            is_proven: !(has_probes && proves),
            window: WINDOW_START,
            window_max: WINDOW_MAX,
            starting: true,
            limited: false,
            limited_ms: None,
            taken: 0,
            going: 0,
            proofs: Proofs::default(),
            queues: Queues::default(),
            backlog: Recent::new(now_ms),
        }
    }

    /// How much is known at the moment.
    pub(crate) fn grade(&self, now_ms: u64) -> Grade {
        if self.queues.are_known(now_ms) {
            Grade::Counters
        } else if self.proves {
            Grade::Canary
        } else {
            Grade::Blind
        }
    }

    /// Messages that the hop has taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether canaries have ever come back from it.
    pub(crate) fn proves(&self) -> bool {
        self.proves
    }

    /// A message is on its way.
    pub(crate) fn begin(&mut self, is_backlog: bool, now_ms: u64) {
        self.going += 1;
        if is_backlog {
            self.backlog.add(now_ms);
        }
    }

    /// It was taken, or not.
    pub(crate) fn end(&mut self, taken: bool) {
        self.going = self.going.saturating_sub(1);
        self.taken += u64::from(taken);
    }

    /// The hop takes mail again, after that state.
    pub(crate) fn restart(&mut self, before: State, now_ms: u64) {
        self.window = WINDOW_START.min(self.window_max);
        self.starting = true;
        self.limited = false;
        self.proofs.restart(self.taken, now_ms);
        // One canary has to come home first, unless the hop cannot have become another one, or has just proved itself.
        let keeps_proof = before == State::Pressure && self.is_proven;
        self.is_proven = !self.proves || before.is_proving() || keeps_proof;
    }

    /// The operator has said that the hop is well: what canaries and queues say counts from what they say next.
    pub(crate) fn confirmed(&mut self) {
        self.proves = false;
        self.queues.forget();
    }

    /// Whether more and more mail waits inside it for mailbox databases.
    pub(crate) fn is_retry_queue_rising(&self, now_ms: u64) -> bool {
        self.queues.is_retry_queue_rising(now_ms)
    }

    /// The hop lacks resources: so much was too much, whatever the delay had said.
    pub(crate) fn pressure(&mut self, now_ms: u64) {
        if self.inside(now_ms) > u64::from(WINDOW_MIN) {
            let inside = u32::try_from(self.inside(now_ms)).unwrap_or(u32::MAX);
            self.window_max = (inside.min(self.window) * 7 / 10).clamp(WINDOW_MIN, WINDOW_MAX);
        }
    }

    /// Messages inside it, as far as is known.
    pub(crate) fn inside(&self, now_ms: u64) -> u64 {
        match self.queues.length(now_ms) {
            Some((queued, taken_then)) => queued + (self.taken - taken_then) + u64::from(self.going),
            None => self.proofs.unproven(self.taken, now_ms) + u64::from(self.going),
        }
    }

    /// Whether nothing of what it was given is known to be out of it, for so long that somebody may ask.
    pub(crate) fn is_stuck(&self, now_ms: u64) -> bool {
        self.grade(now_ms) == Grade::Canary
            && (!self.is_proven
                || self.inside(now_ms) >= u64::from(self.window) && self.proofs.is_silent(now_ms))
    }

    /// Whether it has what it bears, as far as is known.
    pub(crate) fn is_full(&self, now_ms: u64) -> bool {
        self.grade(now_ms) != Grade::Blind
            && (!self.is_proven || self.inside(now_ms) >= u64::from(self.window))
    }

    /// How much may go. `unbounded` if the operator has said how much.
    pub(crate) fn room(&mut self, canaries: &Canaries, unbounded: bool, now_ms: u64) -> Room {
        let grade = self.grade(now_ms);
        if grade == Grade::Canary {
            self.look_for_late(canaries, now_ms);
        }
        if grade == Grade::Blind {
            let backlog_from_ms = self.backlog.below_from_ms(WINDOW_MAX, now_ms);
            return match backlog_from_ms {
                at if at > now_ms && !unbounded => Room::FreshOnly { backlog_from_ms },
                _ => Room::Any,
            };
        }
        if !self.is_proven {
            return Room::Full { until_ms: None };
        }
        if !self.is_full(now_ms) {
            return Room::Any;
        }
        let inside = self.inside(now_ms);
        self.limited = true;
        self.limited_ms = Some(now_ms);
        let too_many = inside + 1 - u64::from(self.window);
        let done_in_ms = match grade {
            Grade::Counters => self.queues.done_in_ms(too_many),
            Grade::Canary | Grade::Blind => self.proofs.done_in_ms(too_many, now_ms),
        };
        let until_ms = done_in_ms.map(|ms| now_ms + ms);
        Room::Full { until_ms }
    }

    /// From when on a canary is wanted, if one is.
    pub(crate) fn canary_from_ms(&self, canaries: &Canaries, now_ms: u64) -> Option<u64> {
        if !self.has_probes {
            return None;
        }
        let Some(last) = canaries.last() else { return Some(now_ms) };
        let since = self.taken.saturating_sub(last.after);
        let interval_ms = if !self.proves && canaries.unanswered() >= CANARY_FIRST_MAX {
            CANARY_SELDOM_INTERVAL_MS
        } else if !self.proves || !self.is_proven {
            CANARY_FIRST_INTERVAL_MS
        } else if !self.is_at_work(now_ms) || self.grade(now_ms) == Grade::Counters {
            if since == 0 && self.proofs.without_proof(self.taken) == 0 {
                // What a database that is missing holds up must not wait for other mail to go before it is asked for.
                let ask_from_ms = canaries.ask_from_ms()?;
                return Some(ask_from_ms.max(last.begun_ms + CANARY_IDLE_INTERVAL_MS));
            }
            CANARY_IDLE_INTERVAL_MS
        } else if since >= (u64::from(self.window) / CANARY_WINDOW_PARTS).max(CANARY_MESSAGES_MIN)
            || (canaries.oldest_in_order().is_none() && self.limited)
        {
            CANARY_INTERVAL_MS
        } else {
            CANARY_INTERVAL_MAX_MS
        };
        Some(last.begun_ms + interval_ms)
    }

    /// Whether the next canary is to ask for a mailbox whose canaries are missing: no mail went that it could follow.
    pub(crate) fn asks_for_missing(&self, canaries: &Canaries) -> bool {
        self.is_proven && canaries.last().is_some_and(|last| last.after == self.taken)
    }

    /// Whether the window keeps mail back, now and then.
    fn is_at_work(&self, now_ms: u64) -> bool {
        self.limited_ms.is_some_and(|ms| now_ms < ms + CANARY_INTERVAL_MAX_MS)
    }

    /// What a canary that begins now meets with.
    pub(crate) fn load(&self, now_ms: u64) -> Load {
        Load { inside: self.inside(now_ms), window: self.window }
    }

    /// A canary has arrived.
    pub(crate) fn arrived(&mut self, canary: &Canary, now_ms: u64) {
        self.proves = self.has_probes;
        self.is_proven = true;
        let delay_ms = self.proofs.arrived(canary.begun_ms, canary.after, now_ms);
        if self.grade(now_ms) == Grade::Canary {
            // A short delay says something of the window only if the canary met with the work of all of it.
            let Load { inside, window } = canary.load;
            let met_all = window == self.window && inside * 4 >= u64::from(window) * 3;
            if delay_ms >= DELAY_LOW_MS || met_all {
                self.adjust(window, delay_ms);
            }
        }
    }

    /// Looks whether a canary that has not arrived is late already.
    fn look_for_late(&mut self, canaries: &Canaries, now_ms: u64) {
        let Some(oldest) = canaries.oldest_in_order() else { return };
        let delay_ms = (now_ms - oldest.begun_ms).saturating_sub(self.proofs.best_ms());
        if delay_ms > DELAY_HIGH_MS {
            self.adjust(oldest.load.window, delay_ms);
        }
    }

    /// How often the queues are to be read while there is mail.
    pub(crate) fn counting_interval_ms(&self, now_ms: u64) -> u64 {
        if self.starting && self.is_at_work(now_ms) {
            COUNTING_STARTING_INTERVAL_MS
        } else {
            COUNTING_INTERVAL_MS
        }
    }

    /// The queues were read.
    pub(crate) fn counted(&mut self, counters: &Counters, now_ms: u64) {
        if let Some(delay_ms) = self.queues.read(counters, self.taken, now_ms) {
            self.adjust(self.window, delay_ms);
        }
    }

    /// Changes the window by how long mail lies inside that was given under a window of that size.
    fn adjust(&mut self, window: u32, delay_ms: u64) {
        if delay_ms > DELAY_HIGH_MS {
            self.starting = false;
            let fitting = u64::from(window) * DELAY_TARGET_MS / delay_ms;
            let fitting = u32::try_from(fitting).unwrap_or(u32::MAX).max(WINDOW_MIN);
            self.window = self.window.min(fitting);
        } else if delay_ms >= DELAY_LOW_MS {
            self.starting = false;
        } else if self.limited {
            self.window = if self.starting { self.window * 2 } else { self.window + self.window / 8 + 1 };
            self.window_max = (self.window_max + self.window_max / 16 + 1).min(WINDOW_MAX);
        }
        self.window = self.window.min(self.window_max);
        self.limited = false;
    }
}
