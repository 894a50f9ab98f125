//! What a mount found, as text: for tests that compare one way of mounting with another.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use penstock_flash::Medium;

use crate::record::MessageId;
use crate::segment::{ANCHORS, Segment, State};
use crate::spool::Spool;

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Spool<M, B> {
    /// A line for each message, segment and value, and for each number that the log goes on from.
    pub fn inside(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let log = &self.log;
        // Not the next id: who reads everything also comes upon messages of which nothing is left. After a stop both
        // leave out more than that.
        lines.push(format!("durable up to group {}, {} segments used", log.synced_group, log.used_segments));
        // Of an anchor that is being erased a checkpoint knows more than the medium.
        for (number, row) in log.segments.iter().enumerate().skip(ANCHORS as usize) {
            let (state, live) = (row.state, (row.live, row.live_bytes));
            let suspect = if row.is_suspect { ", suspect" } else { "" };
            let content = match state {
                State::Sealed | State::Open => {
                    let Segment { purpose, newest, event_bytes, last_group, .. } = row;
                    format!("{purpose:?}, {newest:?}, events {event_bytes}, to {last_group}")
                }
                State::Free => format!("since {}", row.free_since),
                _ => String::new(),
            };
            let recorded_in = row.recorded_in;
            lines.push(format!(
                "segment {number}: {state:?}{suspect} sequence {}, erased {}, recorded in {recorded_in:?}, \
                 live {live:?} {content}",
                row.sequence, row.erase_count
            ));
        }
        for entry in self.index.iter_from(MessageId(0)) {
            let mut spans: Vec<u32> = self.index.segments_of(entry).collect();
            spans.sort_unstable();
            let runs = self.index.runs(entry);
            let copies = self.index.copies_of(entry);
            if entry.is_damaged() && !entry.is_live() {
                // It is only remembered, and of several places that are not whole any will do.
                lines.push(format!("message {} is done with and not whole, fates {runs:?}", entry.id));
                continue;
            }
            // Not whether older records of its fates may still count: who finds them must take it so, while a checkpoint
            // knows that all were written anew.
            lines.push(format!(
                "message {} at {:?} in {spans:?}: {} bytes, {} of {} open, {} attempts, damaged {}, told of in {:?}, \
                 fates {runs:?}, copies {copies:?}",
                entry.id,
                entry.commit,
                entry.size_bytes,
                entry.open,
                entry.recipients,
                entry.attempts,
                entry.is_damaged(),
                entry.status_segment()
            ));
        }
        for (meta, segment) in self.meta.save() {
            lines.push(format!("{meta:?} in {segment}"));
        }
        lines
    }
}
