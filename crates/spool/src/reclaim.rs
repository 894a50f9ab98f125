//! Finding space again: giving up kept mail, moving live mail together, writing status anew.
//!
//! A *victim* is a sealed segment. What is live in it is written again at the moved or the status head, only ever
//! from bytes whose CRCs and SHA-256 were right; when nothing in it is live it is retired, and the log erases it once
//! that is proven. What cannot be read is never given up: its segment is left alone.
//!
//! There is one victim at a time, and a step does a bounded piece of the work on it: so many bytes moved, so many
//! records written, so many entries of the index looked at. Between two steps mail comes and goes. So each step asks
//! anew what is live, and nothing is lost if the work on a victim is dropped half-way.
//!
//! | part | what it does |
//! |---|---|
//! | `bare` | room for a boot that has none to begin with |
//! | `choose` | which victim is next, and whether it is worth it |
//! | `range` | which messages stand in a segment |
//! | `moving` | live mail out of a victim; giving up what has none |
//! | `status` | a status segment written anew |

mod bare;
mod choose;
mod moving;
mod range;
mod status;

use penstock_flash::Medium;

use crate::Error;
use crate::log::Log;
use crate::record::Stamp;
use crate::segment::{Purpose, Segment, State};
use crate::spool::{Spool, Step};
use choose::Trial;
use moving::{GivingUp, MovingOut};
pub(crate) use range::IdRange;
use status::Rewriting;

/// How much of the bodies of messages a step of housekeeping moves, in bytes, and at most a chunk of 64 KiB more.
pub const STEP_BYTES: usize = 256 * 1024;
/// What a message costs a step beside its body, in bytes: on a disk it is requests that take the time.
const MESSAGE_COST_BYTES: usize = STEP_BYTES / 16;
/// How many entries of the index a step looks at.
const ENTRIES_A_STEP: usize = 16 * 1024;
/// How many records of a status segment a step writes anew, and the fates of at most one message more.
const RECORDS_A_STEP: usize = 256;

/// The reclaim that is going on.
#[derive(Debug)]
pub(crate) struct Reclaim<R> {
    work: Option<Work<R>>,
    moves: Trial,
    rewrites: Trial,
    /// The bytes of events that were left when the last attempt to have fewer found none to let go.
    events_exempt_bytes: u64,
    /// The erases since the mount that must have been before wear is levelled again.
    levelling_after: u64,
}

impl<R> Default for Reclaim<R> {
    fn default() -> Self {
        Self {
            work: None,
            moves: Trial::default(),
            rewrites: Trial::default(),
            events_exempt_bytes: 0,
            levelling_after: 0,
        }
    }
}

/// What is being done about a victim.
#[derive(Debug)]
enum Work<R> {
    MovingOut(MovingOut<R>),
    Rewriting(Rewriting<R>),
    GivingUp(GivingUp),
}

/// A segment as it was when it was chosen.
#[derive(Clone, Copy, Debug)]
struct Victim {
    segment: u32,
    sequence: u64,
}

/// What a step may still do.
struct Budget {
    bytes: usize,
}

impl Budget {
    fn of_a_step() -> Self {
        Self { bytes: STEP_BYTES }
    }

    fn unbounded() -> Self {
        Self { bytes: usize::MAX }
    }

    fn is_spent(&self) -> bool {
        self.bytes == 0
    }

    fn spend(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Lets nothing more be done.
    fn end(&mut self) {
        self.bytes = 0;
    }
}

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Spool<M, B> {
    /// Does a bounded piece of housekeeping: erases ahead, gives up what is kept beyond its bounds, moves live mail
    /// together where segments run short. To be called when nothing else waits.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::ReadOnly`].
    pub fn step(&mut self, now: Stamp) -> Result<Step, Error> {
        if self.log.is_failed() {
            return Ok(Step::Idle);
        }
        match self.in_reserve(|spool| spool.step_once(now)) {
            // Not even reclaim finds room: only deliveries make some.
            Err(Error::Full) => Ok(Step::Idle),
            done => done,
        }
    }

    fn step_once(&mut self, now: Stamp) -> Result<Step, Error> {
        // What could be built upon a tail that is not settled waits until something is written anyway.
        if self.is_settled() && self.log.step_erase()? {
            // Whatever it made durable may include messages.
            self.sync()?;
            return Ok(Step::More);
        }
        if self.keeps_index() && self.reclaim.work.is_some() {
            return self.go_on(now);
        }
        if self.retire_stale_checkpoint()? || self.step_checkpoint()? {
            return Ok(Step::More);
        }
        if !self.may_reclaim() || !self.choose_work(now) {
            return Ok(Step::Idle);
        }
        if !self.is_settled() {
            // Settling may need room and so give up segments, the victim among them. So it comes before the choice.
            self.drop_work();
            self.sync()?;
        }
        Ok(Step::More)
    }

    /// Goes on with the victim at hand.
    fn go_on(&mut self, now: Stamp) -> Result<Step, Error> {
        let Some(work) = self.reclaim.work.take() else { return Ok(Step::Idle) };
        let before = self.log.opened;
        let is_rewriting = matches!(work, Work::Rewriting(_));
        let done = match work {
            Work::MovingOut(work) => self.move_out(work),
            Work::Rewriting(work) => self.rewrite(work, now).map(|()| Step::More),
            Work::GivingUp(work) => self.give_up(work).map(|()| Step::More),
        };
        let opened = |head: Purpose| self.log.opened[head as usize] - before[head as usize];
        self.reclaim.moves.opened += opened(Purpose::Moved);
        if is_rewriting {
            self.reclaim.rewrites.opened += opened(Purpose::Status);
        }
        done
    }

    /// Runs something that appends, and finds room when there is none.
    pub(crate) fn with_room<T>(
        &mut self,
        mut append: impl FnMut(&mut Log<M, B>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        loop {
            match append(&mut self.log) {
                Err(Error::Full) if self.find_room()? => {}
                Err(Error::Full) => return self.in_reserve(|spool| append(&mut spool.log)),
                done => return done,
            }
        }
    }

    /// Runs something that may use the segments kept for reclaim and status.
    pub(crate) fn in_reserve<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = core::mem::replace(&mut self.log.may_use_reserve, true);
        let done = work(self);
        self.log.may_use_reserve = before;
        done
    }

    /// Frees a segment now. Whether it did.
    fn find_room(&mut self) -> Result<bool, Error> {
        if self.log.may_use_reserve {
            // This is reclaim itself, which finds no room.
            return Ok(false);
        }
        self.in_reserve(Self::reclaim_one)
    }

    pub(crate) fn reclaim_one(&mut self) -> Result<bool, Error> {
        self.make_room_by_root()?;
        if !self.is_settled() {
            self.sync()?;
        }
        let free = self.log.free_segments();
        // Each pass retires or moves something, or says that there is nothing.
        for _ in 0..self.log.segments.len() {
            while self.log.step_erase()? {}
            if self.log.free_segments() > free {
                return Ok(true);
            }
            if self.retire_stale_checkpoint()? {
                continue;
            }
            if self.reclaim.work.is_none() && self.may_reclaim() {
                self.choose_for_room();
            }
            if self.reclaim.work.is_none() || !self.keeps_index() {
                return Ok(false);
            }
            while self.reclaim.work.is_some() {
                match self.go_on(Stamp::default()) {
                    Ok(_) => {}
                    Err(Error::Full) => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(false)
    }

    /// Gives up the oldest segment in which nothing is live, at once. Whether there was one.
    pub(crate) fn give_up_oldest_kept(&mut self) -> Result<bool, Error> {
        if !self.may_reclaim() {
            return Ok(false);
        }
        if !self.is_giving_up() {
            let Some(victim) = self.oldest_kept() else { return Ok(false) };
            // What was under way with another victim begins anew the next time.
            self.drop_work();
            self.begin_giving_up(victim);
        }
        self.finish_giving_up()?;
        Ok(true)
    }

    /// Whether a victim may still be given up: mail that comes or is read, or a scrub, may have changed that since.
    fn is_victim(&self, victim: Victim) -> bool {
        let row = &self.log.segments[victim.segment as usize];
        row.sequence == victim.sequence && is_candidate(row)
    }
}

/// Whether a segment may be given up once nothing in it is live.
fn is_candidate(row: &Segment) -> bool {
    row.state == State::Sealed && row.held == 0 && !row.is_unreadable && !row.is_leased()
}

#[cfg(test)]
pub(crate) mod tests;
