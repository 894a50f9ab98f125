//! The part of a pass that goes through status segments.
//!
//! A record has nothing but its CRC, so none is ever mended. What it said is in memory, if it could be read at the last
//! mount; where one has gone bad, all that is the newest word in its segment is written again from there. The segment
//! itself stays as it is: nothing that cannot be read is given up.

use alloc::vec::Vec;

use penstock_flash::{Medium, ReadAt};

use crate::Error;
use crate::frame::{ALIGN, Kind, Seed};
use crate::record::MessageId;
use crate::scrub::{Finding, REREADS, Scrub};
use crate::segment::{Layout, Lease, Purpose, State};
use crate::spool::Spool;
use crate::summary::read_ending;
use crate::walk::Window;

/// How much a walk reads at once, and passes over at once where there is no frame, in bytes.
const READ_BYTES: u32 = 64 * 1024;

/// The status segments still to be gone through.
#[derive(Debug)]
pub(crate) struct Records<R> {
    queue: Vec<u32>,
    walk: Option<Walk<R>>,
}

/// A step through them.
#[derive(Debug, Default)]
pub(crate) struct RecordStep {
    pub(crate) walked_bytes: u64,
    pub(crate) finding: Option<Finding>,
    pub(crate) over: bool,
}

/// A status segment that is being gone through.
#[derive(Debug)]
struct Walk<R> {
    window: Window<R>,
    layout: Layout,
    seed: Seed,
    offset: u32,
    end: u32,
    in_gap: bool,
    damaged: u32,
    /// What cannot be read was once durable: it is rot.
    was_durable: bool,
    _lease: Lease,
}

impl<R> Records<R> {
    /// `queue` is gone through from its end.
    pub(crate) fn new(queue: Vec<u32>) -> Self {
        Self { queue, walk: None }
    }
}

impl<R: ReadAt> Walk<R> {
    /// Goes past a frame, or a stretch without any. Whether it was a record that is whole; `None` at the end.
    fn step(&mut self) -> Option<bool> {
        if self.offset >= self.end {
            return None;
        }
        let offset = self.offset;
        let header = if self.in_gap { self.window.header(self.seed, offset) } else { self.try_header() };
        let Some(header) = header else {
            self.in_gap = true;
            self.pass_gap();
            return Some(false);
        };
        if core::mem::take(&mut self.in_gap) {
            self.damaged += 1;
        }
        let kind = Kind::from_u8(header.kind);
        if matches!(kind, Some(Kind::Summary | Kind::Footer | Kind::Proof)) {
            return None;
        }
        self.offset = offset + header.frame_bytes() as u32;
        let mut whole = self.window.payload(self.seed, offset, &header).is_some();
        for _ in 0..REREADS {
            if !whole {
                self.window.forget();
                whole = self.window.payload(self.seed, offset, &header).is_some();
            }
        }
        self.damaged += u32::from(!whole);
        if kind == Some(Kind::GroupEnd) {
            self.offset = self.layout.align_up(self.offset);
        }
        Some(whole)
    }

    fn try_header(&mut self) -> Option<crate::frame::Header> {
        (0..=REREADS).find_map(|again| {
            if again > 0 {
                self.window.forget();
            }
            self.window.header(self.seed, self.offset)
        })
    }

    /// Looks for the next frame, at most so far as is read at once.
    fn pass_gap(&mut self) {
        let from = self.offset;
        while self.offset < self.end && self.offset - from < READ_BYTES {
            self.offset = match self.window.get(self.offset, 1) {
                Ok(_) => self.offset.next_multiple_of(ALIGN as u32) + ALIGN as u32,
                // The next unit may be readable again.
                Err(_) => self.layout.align_up(self.offset + 1),
            };
            if self.window.header(self.seed, self.offset).is_some() {
                return;
            }
        }
    }
}

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Spool<M, B> {
    pub(crate) fn status_segments(&self) -> impl Iterator<Item = u32> {
        (0u32..)
            .zip(&self.log.segments)
            .filter(|(_, row)| {
                row.purpose == Purpose::Status && matches!(row.state, State::Open | State::Sealed)
            })
            .map(|(segment, _)| segment)
    }

    /// How much of a status segment may hold records.
    pub(crate) fn record_bytes(&self, segment: u32) -> u32 {
        self.log.programmed_end(segment).saturating_sub(self.log.layout.data_start())
    }

    /// Goes past a frame of a status segment, or begins the next segment.
    pub(crate) fn step_records(
        &mut self,
        scrub: &mut Scrub<M::Reader>,
        records: &mut Records<crate::scrub::Counted<M::Reader>>,
    ) -> Result<RecordStep, Error> {
        let Some(mut walk) = records.walk.take() else {
            let Some(segment) = records.queue.pop() else {
                return Ok(RecordStep { over: true, ..RecordStep::default() });
            };
            records.walk = self.begin_walk(scrub, segment);
            return Ok(RecordStep::default());
        };
        let from = walk.offset;
        let stepped = walk.step();
        if let Some(whole) = stepped {
            scrub.report.records += u64::from(whole);
            let walked_bytes = u64::from(walk.offset.min(walk.end) - from);
            records.walk = Some(walk);
            return Ok(RecordStep { walked_bytes, ..RecordStep::default() });
        }
        let walked_bytes = u64::from(walk.end.saturating_sub(from));
        let (segment, frames) = (walk.window.segment(), walk.damaged);
        if frames == 0 {
            return Ok(RecordStep { walked_bytes, ..RecordStep::default() });
        }
        let was_durable = walk.was_durable;
        drop(walk);
        if scrub.repairs() {
            self.rewrite_newest(segment)?;
        }
        if !was_durable {
            scrub.report.torn_records += u64::from(frames);
            return Ok(RecordStep { walked_bytes, ..RecordStep::default() });
        }
        if let Some(row) = self.log.segments.get_mut(segment as usize) {
            row.is_unreadable = true;
        }
        let finding = Some(Finding::Records { segment, frames });
        Ok(RecordStep { walked_bytes, finding, over: false })
    }

    fn begin_walk(
        &mut self,
        scrub: &Scrub<M::Reader>,
        segment: u32,
    ) -> Option<Walk<crate::scrub::Counted<M::Reader>>> {
        let (layout, seed) = (self.log.layout, self.log.seed(segment));
        let end = self.log.programmed_end(segment);
        let row = self.log.segments.get_mut(segment as usize)?;
        if row.purpose != Purpose::Status || !matches!(row.state, State::Open | State::Sealed) {
            // It was given up meanwhile.
            return None;
        }
        let was_durable = row.state == State::Open
            || matches!(read_ending(&scrub.reader, &layout, seed, segment), (Some(_), Some(_)));
        Some(Walk {
            window: Window::new(scrub.reader.clone(), segment, layout.segment_bytes, READ_BYTES as usize),
            layout,
            seed,
            offset: layout.data_start(),
            end,
            in_gap: false,
            damaged: 0,
            was_durable,
            _lease: row.lease(),
        })
    }

    /// Writes again from memory what is the newest word in a status segment. For want of room the next pass tries again.
    fn rewrite_newest(&mut self, segment: u32) -> Result<(), Error> {
        let there = |entry: &&crate::index::Entry| entry.has_status_in(segment);
        let ids: Vec<MessageId> =
            self.index.iter_from(MessageId(0)).filter(there).map(|entry| MessageId(entry.id)).collect();
        let written = self.in_reserve(|spool| {
            ids.into_iter().try_for_each(|id| spool.rewrite_fate(id))?;
            while spool.rewrite_some_state(segment)? {}
            Ok(())
        });
        match written {
            Ok(()) | Err(Error::Full) => self.sync(),
            Err(error) => Err(error),
        }
    }
}
