//! Reading events back, oldest first, on any thread.

use alloc::collections::VecDeque;

use penstock_flash::ReadAt;

use crate::frame::{Kind, Seed};
use crate::record::{self, Event};
use crate::segment::{Layout, Lease};
use crate::walk::{WINDOW_BYTES, Window};

/// A status segment as it was when the reading began.
#[derive(Debug)]
pub(crate) struct EventSegment {
    pub(crate) segment: u32,
    pub(crate) seed: Seed,
    pub(crate) end: u32,
    pub(crate) _lease: Lease,
}

/// The events of a volume, oldest first. An event that cannot be read is passed over.
///
/// Reclaim moves old events behind newer ones; the order is that of their last writing.
#[derive(Debug)]
pub struct Events<R> {
    window: Window<R>,
    layout: Layout,
    segments: VecDeque<EventSegment>,
    offset: u32,
}

impl<R: ReadAt> Events<R> {
    pub(crate) fn new(reader: R, layout: Layout, segments: VecDeque<EventSegment>) -> Self {
        let first = segments.front().map_or(0, |s| s.segment);
        let window = Window::new(reader, first, layout.segment_bytes, WINDOW_BYTES);
        Self { window, layout, segments, offset: layout.data_start() }
    }

    /// The next event within so many bytes of the log.
    pub(crate) fn next_within(&mut self, mut bytes: u32) -> NextEvent {
        loop {
            let Some(current) = self.segments.front() else { return NextEvent::None };
            let (segment, seed, end) = (current.segment, current.seed, current.end);
            self.window.move_to(segment);
            while self.offset < end {
                let offset = self.offset;
                let Some(header) = self.window.header(seed, offset) else {
                    self.offset = self.layout.align_up(offset + 1);
                    match bytes.checked_sub(self.offset - offset) {
                        Some(left) => bytes = left,
                        None => return NextEvent::Later,
                    }
                    continue;
                };
                self.offset = offset + header.frame_bytes() as u32;
                match Kind::from_u8(header.kind) {
                    Some(Kind::GroupEnd) => self.offset = self.layout.align_up(self.offset),
                    Some(Kind::Summary) => break,
                    Some(Kind::Event) => {
                        let payload = self.window.payload(seed, offset, &header);
                        if let Some(event) = payload.and_then(record::decode) {
                            return NextEvent::Found(event);
                        }
                    }
                    _ => {}
                }
                match bytes.checked_sub(self.offset - offset) {
                    Some(left) => bytes = left,
                    None => return NextEvent::Later,
                }
            }
            self.segments.pop_front();
            self.offset = self.layout.data_start();
        }
    }
}

/// What a look at the next bytes of the log gave.
#[derive(Debug)]
pub(crate) enum NextEvent {
    Found(Event),
    /// None in these, but there is more of the log.
    Later,
    /// There are no more.
    None,
}

impl<R: ReadAt> Iterator for Events<R> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            match self.next_within(u32::MAX) {
                NextEvent::Found(event) => return Some(event),
                NextEvent::Later => {}
                NextEvent::None => return None,
            }
        }
    }
}
