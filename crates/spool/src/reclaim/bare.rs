//! Room for a boot that has none to begin with.
//!
//! Whatever is to be given up is told of in a status segment, and each boot opens one of its own. So boots that end
//! before they come to their first erase use up a segment each, and in the end none could be opened any more. Before
//! that, what is to be given up is told of in a root: anchors are erased and written without a segment to spare.

use penstock_flash::Medium;

use super::is_candidate;
use super::range::Search;
use crate::Error;
use crate::anchor::Opened;
use crate::proof::Branch;
use crate::record::MessageId;
use crate::reserve::RESERVE_MOVED;
use crate::segment::Purpose;
use crate::spool::Spool;
use crate::summary::Note;

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Spool<M, B> {
    /// Where few segments are left, frees some before the first status segment of this boot is opened.
    pub(crate) fn make_room_by_root(&mut self) -> Result<(), Error> {
        if !self.may_reclaim() {
            return Ok(());
        }
        while self.log.opened[Purpose::Status as usize] == 0
            && self.log.free_segments() <= RESERVE_MOVED
            && let Some(victim) = self.victim_for_root()
        {
            Branch::GivenUpByRoot.reach();
            if self.checkpointer.needs(victim) {
                self.checkpointer.lose();
            }
            self.log.give_up_by_root(victim)?;
            self.forget_all_in(victim);
            self.log.erase_given_up(victim)?;
        }
        Ok(())
    }

    /// What can be given up on the strength of what is durable, whatever becomes of the tail: what is retired already,
    /// and mail of which none is live and none is spoken of in the tail. The checkpoint last, which spares reading.
    fn victim_for_root(&self) -> Option<u32> {
        let (synced_group, anchors) = (self.log.synced_group, &self.log.anchors);
        let rank = |segment: u32| {
            let row = &self.log.segments[segment as usize];
            let life = Opened { segment, sequence: row.sequence };
            match row.purpose {
                _ if !anchors.may_give_up(&life) => None,
                _ if row.is_retired_by(synced_group) && !row.is_leased() => Some(0),
                _ if !is_candidate(row) => None,
                Purpose::Checkpoint => Some(if self.checkpointer.needs(segment) { 3 } else { 1 }),
                Purpose::Hot | Purpose::Moved if row.live == 0 && !self.tail_speaks_of(segment) => Some(2),
                _ => None,
            }
        };
        let ranked = (0..self.log.geometry.segments).filter_map(|segment| Some((rank(segment)?, segment)));
        let age = |segment: u32| self.log.segments[segment as usize].sequence;
        ranked.min_by_key(|(rank, segment)| (*rank, age(*segment))).map(|(_, segment)| segment)
    }

    /// Whether any message of the tail, or one whose fate stands there, may have been in a segment.
    fn tail_speaks_of(&self, segment: u32) -> bool {
        let ids = self.log.segments[segment as usize].ids;
        let fates = self.tail.records.iter().filter_map(|record| match record {
            Note::Status { id, .. } => Some(MessageId(*id)),
            _ => None,
        });
        self.tail.messages.iter().chain(&self.torn).copied().chain(fates).any(|id| ids.holds(id.0))
    }

    /// Forgets the finished messages in a segment that a durable root gives up.
    fn forget_all_in(&mut self, segment: u32) {
        let mut search = Search::through(self.log.segments[segment as usize].ids);
        while !search.is_done() {
            self.forget_next_in(segment, &mut search);
        }
    }
}

#[cfg(test)]
mod tests;
