//! What to free next, and whether it is worth it.

use penstock_flash::{Erase, Medium};

use super::is_candidate;
use crate::record::Stamp;
use crate::segment::{Purpose, Segment, State};
use crate::spool::Spool;

/// Housekeeping works towards this many free segments beyond those that mail may not take.
const FREE_AIM: u32 = 4;
/// A victim with more than this share of live bytes frees too little for what it costs.
const LIVE_SHARE_MAX: (u64, u64) = (9, 10);
/// Of kept mail whose time is over, a segment goes with no more than this share of live bytes, which are copied.
/// So for each byte that a stubborn message makes reclaim write, kept mail gives up three.
const DUE_LIVE_SHARE_MAX: (u64, u64) = (1, 4);
/// A status segment with less than this share of live bytes is written anew before kept mail is given up.
const AIRY_SHARE_MAX: (u64, u64) = (1, 2);
/// How many such segments there must be: fewer would be written anew only to leave as many.
const AIRY_SEGMENTS: usize = 3;
/// Events may take this share of the volume, and no more than this in bytes, before the oldest go.
const EVENT_SHARE: u64 = 16;
const EVENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What seldom changes is moved only once in so many erases, each of which takes the segment that was free for
/// longest: so it is not moved back to where it was.
const ERASES_A_LEVELLING: u64 = 16;

/// What the note of a fate takes, about.
const STATUS_NOTE_BYTES: u64 = 24;

/// So many victims are tried before it is asked whether they were worth it.
const VICTIMS_A_TRIAL: u32 = 8;
/// So many segments must be opened before more are tried, or one segment's worth of mail delivered.
const SEGMENTS_A_PAUSE: u64 = 16;

/// Keeps reclaim from writing the same things anew for ever, where what is counted as live is less than what it takes:
/// counts are estimates, segments fill up with notes, and small groups leave air between them. So what counts in the
/// end is how many segments were given up, and how many opened for what had to be kept of them.
#[derive(Debug, Default)]
pub(super) struct Trial {
    tried: u32,
    given_up: u64,
    /// By steps of reclaim alone: what comes and goes between them opens segments too.
    pub(super) opened: u64,
    /// How the volume stood when a trial came to nothing: the live bytes, and the sequence number.
    futile_at: Option<(u64, u64)>,
}

impl Trial {
    fn judge(&mut self, is_given_up: bool, live_bytes: u64, sequence: u64) {
        self.tried += 1;
        self.given_up += u64::from(is_given_up);
        if self.tried < VICTIMS_A_TRIAL {
            return;
        }
        let is_futile = self.given_up <= self.opened;
        let futile_at = is_futile.then_some((live_bytes, sequence));
        *self = Self { futile_at, ..Self::default() };
    }

    /// Whether to wait until something has changed.
    fn is_futile(&self, live_bytes: u64, sequence: u64, segment_bytes: u64) -> bool {
        self.futile_at.is_some_and(|(live_bytes_then, sequence_then)| {
            live_bytes_then < live_bytes + segment_bytes && sequence < sequence_then + SEGMENTS_A_PAUSE
        })
    }
}

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Spool<M, B> {
    /// Begins something that ought to be done now. Whether there was any.
    pub(super) fn choose_work(&mut self, now: Stamp) -> bool {
        if self.keeps_too_much() {
            self.choose_due(|_| true);
        }
        if self.reclaim.work.is_none() && now.trusted {
            let age_max_ms = self.options.kept_age_max_ms;
            let is_over = |come_ms: u64| come_ms.saturating_add(age_max_ms) < now.unix_ms;
            let bounded = [Purpose::Hot, Purpose::Moved].map(|head| self.oldest_bounded(head));
            let is_bounded_over = |row: &Segment| {
                let of_row = bounded.iter().flatten().find(|(sequence, _)| *sequence == row.sequence);
                of_row.is_some_and(|(_, come_ms)| is_over(*come_ms))
            };
            self.choose_due(|row| row.newest.of_all_ms().map_or_else(|| is_bounded_over(row), is_over));
        }
        let aim = self.log.kept_back(Purpose::Hot) + FREE_AIM;
        if self.reclaim.work.is_none() && self.log.free_segments() < aim {
            self.choose_for_room();
        }
        if self.reclaim.work.is_none() {
            self.choose_for_wear();
        }
        self.reclaim.work.is_some()
    }

    /// Of the segments of a head whose own times do not say by when all that stands in them had come, the oldest that could
    /// be given up: its sequence number, and by when it had, in Unix ms. The others came later. `None` if nothing tells.
    ///
    /// All of it had come when the head went on to its next segment, and so before whatever came into a segment that was
    /// opened from then on.
    fn oldest_bounded(&self, head: Purpose) -> Option<(u64, u64)> {
        let of_head =
            |row: &&Segment| row.purpose == head && matches!(row.state, State::Open | State::Sealed);
        let rows = || self.log.segments.iter();
        let is_unknown = |row: &&Segment| is_candidate(row) && row.newest.of_all_ms().is_none();
        let oldest = rows().filter(of_head).filter(is_unknown).map(|row| row.sequence).min()?;
        let next = rows().filter(of_head).map(|row| row.sequence).filter(|next| *next > oldest).min()?;
        let later = rows().filter(|row| row.purpose == Purpose::Hot && row.sequence >= next);
        let in_use = later.filter(|row| matches!(row.state, State::Open | State::Sealed));
        Some((oldest, in_use.filter_map(|row| row.newest.trusted_ms()).min()?))
    }

    /// Whether more finished mail is kept than there may be.
    fn keeps_too_much(&self) -> bool {
        self.kept_bytes > self.options.kept_bytes_max
    }

    /// Gives up the oldest kept mail whose time is over, and moves out of its way what little is not finished.
    fn choose_due(&mut self, is_due: impl Fn(&Segment) -> bool) {
        let may_move = !self.is_futile(&self.reclaim.moves);
        let due = |row: &Segment| is_due(row) && row.purpose.holds_mail() && (row.live == 0 || may_move);
        let oldest = self.victims(DUE_LIVE_SHARE_MAX, due).min_by_key(|(_, row)| row.sequence);
        if let Some((victim, live)) = oldest.map(|(victim, row)| (victim, row.live)) {
            if live == 0 { self.begin_giving_up(victim) } else { self.begin_moving_out(victim, false) }
        }
    }

    /// Chooses what frees a segment, the cheapest first: status segments that are mostly air, as one record a sync
    /// leaves them; then kept mail, for it costs nothing; then whatever is worth its copying.
    pub(super) fn choose_for_room(&mut self) {
        let is_status = |row: &Segment| row.purpose == Purpose::Status;
        if !self.is_futile(&self.reclaim.rewrites)
            && self.victims(AIRY_SHARE_MAX, is_status).count() >= AIRY_SEGMENTS
            && let Some(victim) = self.pick_victim(AIRY_SHARE_MAX, is_status)
        {
            return self.begin_rewriting(victim);
        }
        if self.has_too_many_events()
            && let Some(victim) = self.oldest_status()
        {
            return self.begin_rewriting(victim);
        }
        if let Some(victim) = self.oldest_kept() {
            return self.begin_giving_up(victim);
        }
        if !self.is_futile(&self.reclaim.moves)
            && let Some(victim) = self.pick_victim(LIVE_SHARE_MAX, |row| row.purpose.holds_mail())
        {
            self.begin_moving_out(victim, false);
        }
    }

    /// Where cells wear: moves out of the least worn segment what has stood there while others were erased a thousand
    /// times, so that it takes its part again.
    fn choose_for_wear(&mut self) {
        if self.log.geometry.erase != Erase::Physical
            || self.log.counters.erases < self.reclaim.levelling_after
        {
            return;
        }
        let most = self.log.segments.iter().map(|row| row.erase_count).max().unwrap_or(0);
        let least = (0u32..)
            .zip(&self.log.segments)
            .filter(|(_, row)| is_candidate(row) && row.purpose.is_head())
            .min_by_key(|(_, row)| row.erase_count);
        let Some((victim, row)) = least else { return };
        if most - row.erase_count <= self.options.wear_gap_max {
            return;
        }
        let purpose = row.purpose;
        self.reclaim.levelling_after = self.log.counters.erases + ERASES_A_LEVELLING;
        match purpose {
            Purpose::Status => self.begin_rewriting(victim),
            Purpose::Hot | Purpose::Moved => self.begin_moving_out(victim, true),
            // These move by themselves.
            Purpose::Checkpoint | Purpose::Anchor => {}
        }
    }

    /// The oldest segment with mail in which nothing is live.
    pub(super) fn oldest_kept(&self) -> Option<u32> {
        let kept = self.segments_where(|row| is_candidate(row) && row.purpose.holds_mail() && row.live == 0);
        kept.min_by_key(|(_, row)| row.sequence).map(|(victim, _)| victim)
    }

    fn oldest_status(&self) -> Option<u32> {
        let status = self.segments_where(|row| is_candidate(row) && row.purpose == Purpose::Status);
        status.min_by_key(|(_, row)| row.sequence).map(|(victim, _)| victim)
    }

    fn segments_where(&self, wanted: impl Fn(&Segment) -> bool) -> impl Iterator<Item = (u32, &Segment)> {
        (0u32..).zip(&self.log.segments).filter(move |(_, row)| wanted(row))
    }

    /// The segments that may be given up and would not have to be copied to more than a share of their size.
    fn victims(
        &self,
        copied_share_max: (u64, u64),
        wanted: impl Fn(&Segment) -> bool,
    ) -> impl Iterator<Item = (u32, &Segment)> {
        let data_bytes = u64::from(self.log.layout.data_bytes());
        self.segments_where(move |row| {
            let is_cheap = self.copied_bytes(row) * copied_share_max.1 < data_bytes * copied_share_max.0;
            is_candidate(row) && wanted(row) && (row.live == 0 || is_cheap)
        })
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
        // A status segment may be full of notes long before it is full.
        let notes = if row.purpose != Purpose::Status { 0 } else { u64::from(row.live) * STATUS_NOTE_BYTES };
        let live_bytes = row.live_bytes.max(self.log.layout.bytes_for_notes(notes));
        live_bytes + u64::from(row.event_bytes) + 4 * u64::from(self.log.layout.unit_bytes)
    }

    pub(super) fn event_bytes(&self) -> u64 {
        self.log.segments.iter().map(|row| u64::from(row.event_bytes)).sum()
    }

    pub(super) fn has_too_many_events(&self) -> bool {
        let segment_bytes = u64::from(self.log.geometry.segment_bytes);
        let share = (self.log.geometry.capacity_bytes() / EVENT_SHARE).max(2 * segment_bytes);
        let bound = share.min(EVENT_BYTES_MAX).max(self.reclaim.events_exempt_bytes + segment_bytes);
        self.event_bytes() > bound
    }

    /// Takes note of what a victim has come to, by the head that takes what is kept of it.
    pub(super) fn judge(&mut self, head: Purpose, is_given_up: bool) {
        let (live_bytes, sequence) = (self.live_bytes, self.log.next_sequence);
        let trial =
            if head == Purpose::Status { &mut self.reclaim.rewrites } else { &mut self.reclaim.moves };
        trial.judge(is_given_up, live_bytes, sequence);
    }

    fn is_futile(&self, trial: &Trial) -> bool {
        let segment_bytes = u64::from(self.log.geometry.segment_bytes);
        trial.is_futile(self.live_bytes, self.log.next_sequence, segment_bytes)
    }
}

#[cfg(test)]
mod tests;
