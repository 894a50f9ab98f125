//! Moving live mail out of a segment, and giving up a segment in which nothing is live.

use alloc::boxed::Box;
use alloc::vec::Vec;

use penstock_flash::Medium;

use super::range::Search;
use super::{Budget, MESSAGE_COST_BYTES, Victim, Work};
use crate::Error;
use crate::incoming::Incoming;
use crate::index::{Entry, Left};
use crate::proof::Branch;
use crate::reader::Message;
use crate::record::MessageId;
use crate::segment::Purpose;
use crate::spool::{Spool, Step};

/// What is live in a victim is being moved.
#[derive(Debug)]
pub(crate) struct MovingOut<R> {
    pub(super) victim: Victim,
    search: Search,
    /// Messages found and still to be moved, the next one last.
    queue: Vec<MessageId>,
    moving: Option<Box<Moving<R>>>,
    /// To spread wear, and not to free anything.
    is_for_wear: bool,
}

/// A message on its way to the moved head.
#[derive(Debug)]
pub(crate) struct Moving<R> {
    message: Message<R>,
    incoming: Incoming,
}

/// How far a message has come.
enum Progress {
    /// The budget is used up.
    More,
    /// Its COMMIT is appended.
    Done,
    /// It cannot be read.
    Damaged,
}

/// A segment in which nothing is live is being forgotten.
#[derive(Debug)]
pub(crate) struct GivingUp {
    pub(super) victim: Victim,
    search: Search,
    has_begun: bool,
}

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Spool<M, B> {
    pub(super) fn begin_moving_out(&mut self, victim: u32, is_for_wear: bool) {
        let row = &self.log.segments[victim as usize];
        self.reclaim.work = Some(Work::MovingOut(MovingOut {
            victim: Victim { segment: victim, sequence: row.sequence },
            search: Search::through(row.ids),
            queue: Vec::new(),
            moving: None,
            is_for_wear,
        }));
    }

    pub(super) fn begin_giving_up(&mut self, victim: u32) {
        let row = &self.log.segments[victim as usize];
        self.reclaim.work = Some(Work::GivingUp(GivingUp {
            victim: Victim { segment: victim, sequence: row.sequence },
            search: Search::through(row.ids),
            has_begun: false,
        }));
    }

    /// Moves as much as the budget allows.
    pub(super) fn move_out(&mut self, mut work: MovingOut<M::Reader>) -> Result<Step, Error> {
        let mut budget = Budget::of_a_step();
        while !budget.is_spent() {
            if let Some(mut moving) = work.moving.take() {
                match self.go_on_moving(&mut moving, &mut budget)? {
                    Progress::More => work.moving = Some(moving),
                    Progress::Done => {}
                    // The segment stays, so there is no point in moving the rest.
                    Progress::Damaged => return Ok(Step::Damaged(moving.message.id())),
                }
            } else if let Some(id) = work.queue.pop() {
                if self.index.get(id).is_some_and(Entry::is_live) {
                    work.moving = self.begin_moving(id, &mut budget)?;
                    if work.moving.is_none() {
                        return Ok(Step::Damaged(id));
                    }
                }
            } else if !work.search.is_done() {
                let (index, segment) = (&self.index, work.victim.segment);
                let is_live_here = |entry: &Entry| entry.is_live() && index.holds(entry, segment);
                work.queue = work.search.next(index, usize::MAX, is_live_here);
                budget.end();
                work.queue.reverse();
            } else {
                self.finish_moving_out(&work)?;
                return Ok(Step::More);
            }
        }
        self.reclaim.work = Some(Work::MovingOut(work));
        Ok(Step::More)
    }

    fn finish_moving_out(&mut self, work: &MovingOut<M::Reader>) -> Result<(), Error> {
        // What was moved must be durable, and known to be elsewhere, before the victim is given up.
        self.sync()?;
        let is_free_to_go =
            self.is_victim(work.victim) && self.log.segments[work.victim.segment as usize].live == 0;
        if !work.is_for_wear {
            self.judge(Purpose::Moved, is_free_to_go);
        }
        if is_free_to_go {
            self.begin_giving_up(work.victim.segment);
        }
        Ok(())
    }

    /// Begins to move a message; `None` if it cannot be read.
    fn begin_moving(
        &mut self,
        id: MessageId,
        budget: &mut Budget,
    ) -> Result<Option<Box<Moving<M::Reader>>>, Error> {
        let opened =
            self.open(id).and_then(|mut message| message.envelope().map(|envelope| (message, envelope)));
        let Ok((message, envelope)) = opened else {
            self.mark_damaged(id);
            return Ok(None);
        };
        budget.spend(MESSAGE_COST_BYTES + 64 * envelope.recipients.len());
        // The COMMIT carries the SHA-256 that the message came with, so that nothing which happens to its bytes on the
        // way can be vouched for.
        let mut incoming = Incoming::moved(id, self.log.boot(), message.sha256());
        match incoming.envelope(&mut self.log, &envelope.begin, &envelope.recipients) {
            Ok(()) => Ok(Some(Box::new(Moving { message, incoming }))),
            Err(error) => Err(self.stop_moving(&mut incoming, error)),
        }
    }

    fn go_on_moving(
        &mut self,
        moving: &mut Moving<M::Reader>,
        budget: &mut Budget,
    ) -> Result<Progress, Error> {
        let Moving { message, incoming } = moving;
        while !budget.is_spent() {
            let chunk = match message.next_chunk() {
                Ok(Some(chunk)) => chunk,
                // All of it was found to be what was written.
                Ok(None) => {
                    return match incoming.commit(&mut self.log) {
                        Ok(pending) => {
                            self.pending.push(pending);
                            Ok(Progress::Done)
                        }
                        Err(error) => Err(self.stop_moving(incoming, error)),
                    };
                }
                Err(_) => {
                    incoming.release(&mut self.log);
                    self.mark_damaged(message.id());
                    return Ok(Progress::Damaged);
                }
            };
            budget.spend(chunk.len());
            let mut rest = chunk;
            while !rest.is_empty() {
                match incoming.body(&mut self.log, rest) {
                    Ok(taken) => rest = &rest[taken..],
                    Err(error) => return Err(self.stop_moving(incoming, error)),
                }
            }
        }
        Ok(Progress::More)
    }

    /// Lets go of what was under way, so that another victim may be tried.
    fn stop_moving(&mut self, incoming: &mut Incoming, error: Error) -> Error {
        Branch::MovingStopped.reach();
        incoming.release(&mut self.log);
        self.judge(Purpose::Moved, false);
        error
    }

    /// Lets go of the victim at hand. What was moved out of it stays moved.
    pub(super) fn drop_work(&mut self) {
        if let Some(Work::MovingOut(MovingOut { moving: Some(mut moving), .. })) = self.reclaim.work.take() {
            moving.incoming.release(&mut self.log);
        }
    }

    /// Moves a message at once. Whether it could be read.
    pub(crate) fn move_now(&mut self, id: MessageId) -> Result<bool, Error> {
        let mut budget = Budget::unbounded();
        let Some(mut moving) = self.begin_moving(id, &mut budget)? else { return Ok(false) };
        Ok(matches!(self.go_on_moving(&mut moving, &mut budget)?, Progress::Done))
    }

    /// Forgets the finished messages that end in a segment, a piece of them at a time, and then retires it. Of those
    /// that only reach into it the rest stays; they can no longer be replayed.
    pub(super) fn give_up(&mut self, mut work: GivingUp) -> Result<(), Error> {
        let segment = work.victim.segment;
        // Once messages are forgotten the segment must be retired, or a later mount would find them without their fates.
        if !work.has_begun && !self.is_victim(work.victim) {
            return Ok(());
        }
        work.has_begun = true;
        self.forget_next_in(segment, &mut work.search);
        let done = if work.search.is_done() { self.log.retire(segment).map(|()| true) } else { Ok(false) };
        if done != Ok(true) {
            self.reclaim.work = Some(Work::GivingUp(work));
        }
        done.map(drop)
    }

    /// Forgets of the next piece of the finished messages what they have in a segment.
    pub(super) fn forget_next_in(&mut self, segment: u32, search: &mut Search) {
        let index = &self.index;
        let touched = search.next(index, usize::MAX, |entry| index.touches(entry, segment));
        for id in touched {
            match self.index.leave(id, segment) {
                Left::Nothing => {}
                Left::Part => {
                    if let Some(entry) = self.index.get_mut(id) {
                        entry.set_damaged(true);
                    }
                }
                Left::All => self.forget(id),
            }
        }
    }

    /// Whether a segment is being forgotten, perhaps half of it.
    pub(crate) fn is_giving_up(&self) -> bool {
        matches!(self.reclaim.work, Some(Work::GivingUp(_)))
    }

    /// Brings the giving up of a segment to its end, if there is one under way.
    pub(crate) fn finish_giving_up(&mut self) -> Result<(), Error> {
        while let Some(Work::GivingUp(work)) =
            self.reclaim.work.take_if(|work| matches!(work, Work::GivingUp(_)))
        {
            self.give_up(work)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
