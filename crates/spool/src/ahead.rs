//! What a boot erases before its first write, erased ahead and in steps.
//!
//! A mount erases nothing, so whoever writes first pays for it: an anchor is begun anew, and the segments that are opened
//! next are erased once more, since a stop may have caught one of them at its opening. On a chip each of them takes the
//! better part of a second. A caller that must not wait so long has it done here before it writes.
//!
//! Nothing is written but the header of that anchor, as the first write would do it. What a stop leaves of an erase
//! here is what it leaves of one there: the segments stay free, in the same order, and so suspect at the next mount.

use penstock_flash::Medium;

use crate::Error;
use crate::lives::opening_order;
use crate::log::Log;
use crate::segment::ANCHORS;
use crate::spool::Spool;

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Spool<M, B> {
    /// Does a bounded piece of what the first write after a mount would erase at once. Whether there is more: once there is
    /// not, the next message needs no erase. To be called before anything is written; later there is nothing to do.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::ReadOnly`].
    pub fn step_erases_ahead(&mut self) -> Result<bool, Error> {
        self.log.step_erases_ahead()
    }
}

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Log<M, B> {
    fn step_erases_ahead(&mut self) -> Result<bool, Error> {
        if self.is_failed() {
            return Err(Error::ReadOnly);
        }
        if let Some(segment) = self.erasing {
            if let Some(erased) = self.poll_medium(segment)? {
                self.erasing = None;
                if segment < ANCHORS {
                    self.head_anchor(segment, erased)?;
                }
            }
            return Ok(true);
        }
        let next = if self.counters.groups > 0 { None } else { self.erased_first() };
        let Some(segment) = next else { return Ok(false) };
        if segment < ANCHORS {
            // What the other one holds must be durable before this one is erased.
            self.barrier()?;
            self.leave_anchor(segment);
        }
        let done = self.medium.start_erase(segment);
        self.check_write(done)?;
        self.erasing = Some(segment);
        Ok(true)
    }

    /// What is to be erased next before the first write, which opens two segments: one for mail, one for status.
    fn erased_first(&self) -> Option<u32> {
        if !self.has_anchor_with_room() {
            return self.anchor_to_begin();
        }
        let first = opening_order(&self.segments).min();
        let second = opening_order(&self.segments).filter(|free| Some(*free) > first).min();
        let is_suspect =
            |segment: &u32| self.segments.get(*segment as usize).is_some_and(|row| row.is_suspect);
        [first, second].into_iter().flatten().map(|(_, segment)| segment).find(is_suspect)
    }
}
