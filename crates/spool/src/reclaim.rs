//! Finding space again: giving up kept mail, moving live mail together, writing status anew.
//!
//! A *victim* is a sealed segment. What is live in it is written again at the moved or the status head, only ever
//! from bytes whose CRCs and SHA-256 were right; when nothing in it is live it is retired, and the log erases it once
//! that is proven. What cannot be read is never given up: its segment is left alone.

use alloc::vec::Vec;

use penstock_flash::Medium;

use crate::Error;
use crate::events::{EventSegment, Events};
use crate::incoming::Incoming;
use crate::index::Entry;
use crate::log::{Log, RESERVE_MOVED};
use crate::proof::{Branch, Protection};
use crate::reader::Message;
use crate::record::{Event, Life, MessageId, Stamp, Status};
use crate::segment::{Purpose, Segment, State};
use crate::spool::{Spool, Step};

/// How much of a message a step of housekeeping moves, in bytes.
const STEP_BYTES: usize = 256 * 1024;
/// Housekeeping works towards this many free segments beyond those that mail may not take.
const FREE_AIM: u32 = 4;
/// A victim with more than this share of live bytes frees too little for what it costs.
const LIVE_SHARE_MAX: (u64, u64) = (9, 10);
/// A status segment with less than this share of live bytes is written anew before kept mail is given up.
const AIRY_SHARE_MAX: (u64, u64) = (1, 2);
/// How many such segments there must be: fewer would be written anew only to leave as many.
const AIRY_SEGMENTS: usize = 3;
/// Events are kept this long, by a trusted clock, in milliseconds: 90 days.
const EVENT_AGE_MAX_MS: u64 = 90 * 24 * 3600 * 1000;
/// Events may take this share of the volume, and no more than this in bytes, before the oldest go.
const EVENT_SHARE: u64 = 16;
const EVENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The reclaim that is going on.
#[derive(Debug)]
pub(crate) struct Reclaim<R> {
    victim: Option<u32>,
    /// Messages in the victim still to be moved, the next one last.
    queue: Vec<MessageId>,
    moving: Option<(Message<R>, Incoming)>,
    /// The bytes of events that were left when the last attempt to have fewer found none to let go.
    events_exempt_bytes: u64,
}

impl<R> Default for Reclaim<R> {
    fn default() -> Self {
        Self { victim: None, queue: Vec::new(), moving: None, events_exempt_bytes: 0 }
    }
}

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Spool<M, B> {
    /// Does a bounded piece of housekeeping: erases ahead, gives up what is kept beyond its bound, moves live mail
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
        if self.reclaim.victim.is_some() {
            return self.step_victim(now);
        }
        if self.keeps_too_much(now) && self.give_up_oldest_kept()? {
            return Ok(Step::More);
        }
        if self.log.free_segments() >= RESERVE_MOVED + FREE_AIM {
            return Ok(Step::Idle);
        }
        Ok(if self.choose_work()? { Step::More } else { Step::Idle })
    }

    /// Decides what to free next, the cheapest first: status segments that are mostly air, as one record a sync
    /// leaves them; then kept mail, for it costs nothing; then whatever is worth its copying. Whether there was any.
    fn choose_work(&mut self) -> Result<bool, Error> {
        let is_status = |row: &Segment| row.purpose == Purpose::Status;
        let mut victim = None;
        if self.victims(AIRY_SHARE_MAX, is_status).count() >= AIRY_SEGMENTS {
            victim = self.pick_victim(AIRY_SHARE_MAX, is_status);
        }
        if victim.is_none() && self.has_too_many_events() {
            victim = self.oldest_status();
        }
        if victim.is_none() {
            if self.give_up_oldest_kept()? {
                return Ok(true);
            }
            victim = self.pick_victim(LIVE_SHARE_MAX, |row| !is_status(row));
        }
        if let Some(victim) = victim {
            self.reclaim.queue = self.messages_in(victim);
        }
        self.reclaim.victim = victim;
        Ok(victim.is_some())
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
            if self.reclaim.victim.is_none() && !self.choose_work()? {
                return Ok(false);
            }
            while self.reclaim.victim.is_some() {
                match self.step_victim(Stamp::default()) {
                    Ok(_) => {}
                    Err(Error::Full) => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(false)
    }

    /// Whether more finished mail is kept than there may be, or older.
    fn keeps_too_much(&self, now: Stamp) -> bool {
        let is_old = |row: &Segment| row.newest_ms.saturating_add(self.options.kept_age_max_ms) < now.unix_ms;
        self.kept_bytes > self.options.kept_bytes_max
            || now.trusted && self.oldest_kept().is_some_and(|(_, row)| is_old(row))
    }

    /// The oldest segment in which nothing is live.
    fn oldest_kept(&self) -> Option<(u32, &Segment)> {
        (0u32..)
            .zip(&self.log.segments)
            .filter(|(_, row)| is_candidate(row) && row.purpose != Purpose::Status && row.live == 0)
            .min_by_key(|(_, row)| row.sequence)
    }

    /// Retires the oldest segment in which nothing is live, and forgets the messages that were kept in it.
    pub(crate) fn give_up_oldest_kept(&mut self) -> Result<bool, Error> {
        let oldest = self.oldest_kept();
        let Some((victim, _)) = oldest else { return Ok(false) };
        self.retire(victim)?;
        Ok(true)
    }

    /// Retires a segment in which nothing is live, and forgets the finished messages that end in it. Of those that
    /// only reach into it the rest stays; they can no longer be replayed.
    fn retire(&mut self, victim: u32) -> Result<(), Error> {
        for id in self.index.leave_segment(victim) {
            self.forget(id);
        }
        for id in self.messages_in(victim) {
            if let Some(entry) = self.index.get_mut(id) {
                entry.set_damaged(true);
            }
        }
        self.log.retire(victim)
    }

    /// The segments that may be given up and would not have to be copied to more than a share of their size.
    fn victims(
        &self,
        copied_share_max: (u64, u64),
        wanted: impl Fn(&Segment) -> bool,
    ) -> impl Iterator<Item = (u32, &Segment)> {
        let data_bytes = u64::from(self.log.layout.data_bytes());
        (0u32..).zip(&self.log.segments).filter(move |(_, row)| is_candidate(row) && wanted(row)).filter(
            move |(_, row)| self.copied_bytes(row) * copied_share_max.1 < data_bytes * copied_share_max.0,
        )
    }

    /// The one of them whose giving up frees the most for what it costs.
    fn pick_victim(&self, copied_share_max: (u64, u64), wanted: impl Fn(&Segment) -> bool) -> Option<u32> {
        let data_bytes = u64::from(self.log.layout.data_bytes());
        let newest = self.log.segments.iter().map(|row| row.sequence).max()?;
        let worth = |row: &Segment| {
            // Cost-benefit as in Rosenblum and Ousterhout, "The Design and Implementation of a Log-Structured File
            // System" (1992): what is freed, times age, over what is read and written.
            let copied = self.copied_bytes(row).min(data_bytes);
            (data_bytes - copied).saturating_mul((newest - row.sequence).saturating_add(1))
                / (data_bytes + copied)
        };
        self.victims(copied_share_max, wanted).max_by_key(|(_, row)| worth(row)).map(|(victim, _)| victim)
    }

    /// What would have to be written to give up a segment: what is used in it, and the groups that record its end,
    /// each at least a program unit.
    fn copied_bytes(&self, row: &Segment) -> u64 {
        row.live_bytes + u64::from(row.event_bytes) + 4 * u64::from(self.log.layout.unit_bytes)
    }

    /// The messages that have frames in a segment.
    fn messages_in(&self, segment: u32) -> Vec<MessageId> {
        self.index
            .iter_from(MessageId(0))
            .filter(|entry| self.index.segments_of(entry).any(|s| s == segment))
            .map(|entry| MessageId(entry.id))
            .collect()
    }

    fn step_victim(&mut self, now: Stamp) -> Result<Step, Error> {
        let Some(victim) = self.reclaim.victim else { return Ok(Step::Idle) };
        if self.log.segments[victim as usize].purpose == Purpose::Status {
            self.reclaim.victim = None;
            self.rewrite_status(victim, now)?;
            return Ok(Step::More);
        }
        if let Some((message, incoming)) = self.reclaim.moving.take() {
            return self.go_on_moving(message, incoming);
        }
        if let Some(id) = self.reclaim.queue.pop() {
            let live = self.index.get(id).is_some_and(Entry::is_live);
            return if live { self.begin_moving(id) } else { Ok(Step::More) };
        }
        self.reclaim.victim = None;
        // What was moved must be durable, and known to be elsewhere, before the victim is given up.
        self.sync()?;
        let row = &self.log.segments[victim as usize];
        if row.live == 0 && is_candidate(row) {
            self.retire(victim)?;
        }
        Ok(Step::More)
    }

    fn begin_moving(&mut self, id: MessageId) -> Result<Step, Error> {
        let opened =
            self.open(id).and_then(|mut message| message.envelope().map(|envelope| (message, envelope)));
        let Ok((message, envelope)) = opened else { return Ok(self.leave_damaged(id)) };
        let mut incoming = Incoming::new(id, self.log.boot(), Purpose::Moved);
        match incoming.envelope(&mut self.log, &envelope.begin, &envelope.recipients) {
            Ok(()) => {
                self.reclaim.moving = Some((message, incoming));
                Ok(Step::More)
            }
            Err(error) => self.stop_moving(incoming, error),
        }
    }

    fn go_on_moving(
        &mut self,
        mut message: Message<M::Reader>,
        mut incoming: Incoming,
    ) -> Result<Step, Error> {
        let mut moved = 0;
        while moved < STEP_BYTES {
            let id = message.id();
            let chunk = match message.next_chunk() {
                Ok(Some(chunk)) => chunk,
                Ok(None) => {
                    return match incoming.commit(&mut self.log) {
                        Ok(pending) => {
                            self.pending.push(pending);
                            Ok(Step::More)
                        }
                        Err(error) => self.stop_moving(incoming, error),
                    };
                }
                Err(_) => {
                    incoming.release(&mut self.log);
                    return Ok(self.leave_damaged(id));
                }
            };
            moved += chunk.len();
            let mut rest = chunk;
            while !rest.is_empty() {
                match incoming.body(&mut self.log, rest) {
                    Ok(taken) => rest = &rest[taken..],
                    Err(error) => return self.stop_moving(incoming, error),
                }
            }
        }
        self.reclaim.moving = Some((message, incoming));
        Ok(Step::More)
    }

    /// Gives up the present victim, so that another may be tried.
    fn stop_moving(&mut self, mut incoming: Incoming, error: Error) -> Result<Step, Error> {
        Branch::MovingStopped.reach();
        incoming.release(&mut self.log);
        self.reclaim = Reclaim::default();
        Err(error)
    }

    fn leave_damaged(&mut self, id: MessageId) -> Step {
        Branch::LeftDamaged.reach();
        if let Some(entry) = self.index.get_mut(id) {
            entry.set_damaged(true);
            let entry = *entry;
            for segment in self.index.segments_of(&entry) {
                self.log.segments[segment as usize].is_unreadable = true;
            }
        }
        Step::Damaged(id)
    }

    /// Writes again what in a status segment is still the newest word, and retires it.
    fn rewrite_status(&mut self, victim: u32, now: Stamp) -> Result<(), Error> {
        let stale: Vec<Entry> = self
            .index
            .iter_from(MessageId(0))
            .filter(|e| e.status_segment() == Some(victim) && Protection::StatusOutlivesCommit.is_on())
            .copied()
            .collect();
        for entry in stale {
            self.rewrite_fate(MessageId(entry.id))?;
        }
        self.rewrite_state(victim)?;
        for event in self.events_to_keep(victim, now) {
            self.record_event(&event)?;
        }
        self.sync()?;
        if is_candidate(&self.log.segments[victim as usize]) {
            self.log.retire(victim)?;
        }
        Ok(())
    }

    /// Writes the fates of a message again as they are.
    pub(crate) fn rewrite_fate(&mut self, id: MessageId) -> Result<(), Error> {
        let Some(entry) = self.index.get(id).copied() else { return Ok(()) };
        for (first, count, fate) in self.index.runs(&entry) {
            let status = Status { first, count, attempts: entry.attempts, ..Status::of_all(0, fate) };
            self.append_status(id, &status)?;
        }
        Ok(())
    }

    /// Writes again the state, and what is known of segments, whose newest records stand in a status segment.
    pub(crate) fn rewrite_state(&mut self, victim: u32) -> Result<(), Error> {
        for meta in self.meta.in_segment(victim) {
            self.append_meta(meta)?;
        }
        for segment in 0..self.log.geometry.segments {
            if self.log.segments[segment as usize].recorded_in == Some(victim) {
                let life = match self.log.segments[segment as usize].state {
                    State::Open | State::Sealed | State::Quarantined => Life::Used,
                    State::Retired { .. } | State::Erasable => Life::Retired,
                    State::Free => Life::Clean,
                };
                self.log.record_life(segment, life)?;
            }
        }
        Ok(())
    }

    /// Moves a message at once. Whether it could be read.
    pub(crate) fn move_now(&mut self, id: MessageId) -> Result<bool, Error> {
        let before = core::mem::take(&mut self.reclaim);
        let mut step = self.begin_moving(id);
        while let (Ok(Step::More), Some((message, incoming))) = (step, self.reclaim.moving.take()) {
            step = self.go_on_moving(message, incoming);
        }
        self.reclaim = before;
        Ok(step? == Step::More)
    }

    fn event_bytes(&self) -> u64 {
        self.log.segments.iter().map(|row| u64::from(row.event_bytes)).sum()
    }

    fn has_too_many_events(&self) -> bool {
        let segment_bytes = u64::from(self.log.geometry.segment_bytes);
        let share = (self.log.geometry.capacity_bytes() / EVENT_SHARE).max(2 * segment_bytes);
        let bound = share.min(EVENT_BYTES_MAX).max(self.reclaim.events_exempt_bytes + segment_bytes);
        self.event_bytes() > bound
    }

    fn oldest_status(&self) -> Option<u32> {
        (0u32..)
            .zip(&self.log.segments)
            .filter(|(_, row)| is_candidate(row) && row.purpose == Purpose::Status)
            .min_by_key(|(_, row)| row.sequence)
            .map(|(segment, _)| segment)
    }

    /// The events of a status segment that are not too old or too many, and those of mail that is not delivered.
    fn events_to_keep(&mut self, victim: u32, now: Stamp) -> Vec<Event> {
        let crowded = self.has_too_many_events();
        let segments = [EventSegment {
            segment: victim,
            seed: self.log.seed(victim),
            end: self.log.programmed_end(victim),
            _lease: self.log.segments[victim as usize].lease(),
        }];
        let events = Events::new(self.log.medium.reader(), self.log.layout, segments.into());
        let mut dropped = false;
        let kept = events
            .filter(|event| {
                let undelivered = event.message.and_then(|id| self.index.get(id)).is_some_and(Entry::is_live);
                let old = now.trusted && event.at.unix_ms.saturating_add(EVENT_AGE_MAX_MS) < now.unix_ms;
                let keep = undelivered || !(old || crowded);
                dropped |= !keep;
                keep
            })
            .collect();
        self.reclaim.events_exempt_bytes = if crowded && !dropped { self.event_bytes() } else { 0 };
        kept
    }
}

/// Whether a segment may be given up once nothing in it is live.
fn is_candidate(row: &Segment) -> bool {
    row.state == State::Sealed && !row.is_unreadable && !row.is_leased()
}
