//! Writing a status segment anew: what is still the newest word in it goes to the status head, then it is given up.

use alloc::vec::Vec;

use penstock_flash::Medium;

use super::range::Search;
use super::{RECORDS_A_STEP, STEP_BYTES, Victim, Work};
use crate::Error;
use crate::events::{EventSegment, Events, NextEvent};
use crate::index::Entry;
use crate::proof::Protection;
use crate::record::{Event, Life, MessageId, Stamp, Status};
use crate::segment::{Purpose, State};
use crate::spool::Spool;

/// Events are kept this long, by a trusted clock, in milliseconds: 90 days.
const EVENT_AGE_MAX_MS: u64 = 90 * 24 * 3600 * 1000;

/// A status segment is being written anew.
#[derive(Debug)]
pub(crate) struct Rewriting<R> {
    pub(super) victim: Victim,
    fates: Search,
    events: Option<Events<R>>,
    /// There are more events than there may be: only those of undelivered mail stay.
    crowded: bool,
    let_an_event_go: bool,
}

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Spool<M, B> {
    pub(super) fn begin_rewriting(&mut self, victim: u32) {
        let crowded = self.has_too_many_events();
        let segments = [EventSegment {
            segment: victim,
            seed: self.log.seed(victim),
            end: self.log.programmed_end(victim),
            _lease: self.log.segments[victim as usize].lease(),
        }];
        let events = Events::new(self.log.medium.reader(), self.log.layout, segments.into());
        let row = &self.log.segments[victim as usize];
        self.reclaim.work = Some(Work::Rewriting(Rewriting {
            victim: Victim { segment: victim, sequence: row.sequence },
            fates: Search::through(row.ids),
            events: (row.event_bytes > 0).then_some(events),
            crowded,
            let_an_event_go: false,
        }));
    }

    /// Writes the next records anew; when there are none left, retires the segment.
    pub(super) fn rewrite(&mut self, mut work: Rewriting<M::Reader>, now: Stamp) -> Result<(), Error> {
        let segment = work.victim.segment;
        if !Protection::StatusOutlivesCommit.is_on() {
            work.events = None;
            return self.finish_rewriting(&work);
        }
        if !work.fates.is_done() {
            let here = |entry: &Entry| entry.has_status_in(segment);
            for id in work.fates.next(&self.index, RECORDS_A_STEP, here) {
                self.rewrite_fate(id)?;
            }
        } else if !self.rewrite_some_state(segment)? && !self.rewrite_some_events(&mut work, now)? {
            return self.finish_rewriting(&work);
        }
        self.reclaim.work = Some(Work::Rewriting(work));
        Ok(())
    }

    fn finish_rewriting(&mut self, work: &Rewriting<M::Reader>) -> Result<(), Error> {
        let crowded = work.crowded && !work.let_an_event_go;
        self.reclaim.events_exempt_bytes = if crowded { self.event_bytes() } else { 0 };
        self.sync()?;
        let is_given_up = self.is_victim(work.victim);
        self.judge(Purpose::Status, is_given_up);
        if is_given_up { self.log.retire(work.victim.segment) } else { Ok(()) }
    }

    /// Writes the fates of a message again as they are.
    pub(crate) fn rewrite_fate(&mut self, id: MessageId) -> Result<(), Error> {
        let Some(entry) = self.index.get(id).copied() else { return Ok(()) };
        let mut segments: Vec<Option<u32>> = Vec::new();
        for (first, count, fate) in self.index.runs(&entry) {
            let status = Status { first, count, attempts: entry.attempts, ..Status::of_all(0, fate) };
            self.append_status(id, &status)?;
            segments.push(self.index.get(id).and_then(Entry::status_segment));
        }
        let is_in_one = segments.iter().all(|segment| *segment == segments[0]);
        if let Some(entry) = self.index.get_mut(id).filter(|_| is_in_one) {
            entry.gather_status();
        }
        Ok(())
    }

    /// Writes again the next of the state, and of what is known of segments, whose newest records stand in a status
    /// segment. Whether there was any.
    pub(crate) fn rewrite_some_state(&mut self, victim: u32) -> Result<bool, Error> {
        // What was written again is found elsewhere the next time.
        let metas = self.meta.in_segment(victim, RECORDS_A_STEP);
        if !metas.is_empty() {
            metas.into_iter().try_for_each(|meta| self.append_meta(meta))?;
            return Ok(true);
        }
        let rows = (0u32..).zip(&self.log.segments).filter(|(_, row)| row.recorded_in == Some(victim));
        let segments: Vec<u32> = rows.map(|(segment, _)| segment).take(RECORDS_A_STEP).collect();
        segments.iter().try_for_each(|segment| self.rewrite_life(*segment))?;
        Ok(!segments.is_empty())
    }

    /// Writes again where a segment stands in its life.
    pub(crate) fn rewrite_life(&mut self, segment: u32) -> Result<(), Error> {
        let Some(row) = self.log.segments.get(segment as usize) else { return Ok(()) };
        let life = match row.state {
            State::Sealed if row.last_group > 0 => Life::Left { last_group: row.last_group },
            State::Open | State::Sealed | State::Quarantined => Life::Used,
            State::Retired { .. } | State::Erasable => Life::Retired,
            State::Free => Life::Clean { since: row.free_since },
            State::Bad => Life::Bad,
            State::Anchor => return Ok(()),
        };
        self.log.record_life(segment, life).map(drop)
    }

    /// Writes again the next events that are not too old or too many, and those of mail that is not delivered.
    /// Whether there were any.
    fn rewrite_some_events(&mut self, work: &mut Rewriting<M::Reader>, now: Stamp) -> Result<bool, Error> {
        let Some(events) = &mut work.events else { return Ok(false) };
        for _ in 0..RECORDS_A_STEP {
            match events.next_within(STEP_BYTES as u32) {
                NextEvent::Found(event) if self.keeps(&event, work.crowded, now) => {
                    self.record_event(&event)?;
                }
                NextEvent::Found(_) => work.let_an_event_go = true,
                NextEvent::Later => break,
                NextEvent::None => {
                    // With it goes the lease on the segment.
                    work.events = None;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn keeps(&self, event: &Event, crowded: bool, now: Stamp) -> bool {
        let undelivered = event.message.and_then(|id| self.index.get(id)).is_some_and(Entry::is_live);
        // What was stamped by a clock that may have been wrong by years has no age.
        let has_age = now.trusted && event.at.trusted;
        let old = has_age && event.at.unix_ms.saturating_add(EVENT_AGE_MAX_MS) < now.unix_ms;
        undelivered || !(old || crowded)
    }
}

#[cfg(test)]
mod tests;
