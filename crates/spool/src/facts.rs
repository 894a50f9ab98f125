//! What a volume is and how its segments stand: for people who look after it, not for its daily work.

use penstock_flash::Medium;

use crate::record::MessageId;
use crate::segment::{Segment, State, read_header};
use crate::spool::Spool;

/// What a volume is, and how its segments stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The version of its format, as the newest segment says.
    pub format: u16,
    /// Features as bits: those that may be ignored, those without which it is not written, not mounted.
    pub features: [u32; 3],
    /// The size of a segment in bytes.
    pub segment_bytes: u32,
    /// The program unit in bytes.
    pub unit_bytes: u32,
    /// Its segments by what they are doing.
    pub segments: SegmentCounts,
    /// The lowest, mean and highest erase count of a segment.
    pub erase_counts: (u32, u32, u32),
    /// Undelivered messages that are damaged.
    pub damaged_messages: u64,
}

/// Segments by what they are doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentCounts {
    /// All of them.
    pub total: u32,
    /// Ready to be used.
    pub free: u32,
    /// Being written.
    pub open: u32,
    /// Full, or left by an unclean stop.
    pub sealed: u32,
    /// Given up, and not yet ready to be used again.
    pub retired: u32,
    /// Used, and without a header: left alone.
    pub quarantined: u32,
    /// Could not be erased or written: never used again.
    pub bad: u32,
    /// Tell a mount where to begin.
    pub anchors: u32,
    /// Among the sealed ones, those with something in them that cannot be read: left alone.
    pub unreadable: u32,
}

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Spool<M, B> {
    /// The segments that are left alone since something in them cannot be read, or is missing that was durable: by
    /// these a loss is told of where what was lost cannot be named.
    pub fn unreadable_segments(&self) -> impl Iterator<Item = u32> {
        let is_left_alone = |row: &Segment| {
            row.state == State::Quarantined || row.state == State::Sealed && row.is_unreadable
        };
        (0u32..)
            .zip(&self.log.segments)
            .filter(move |(_, row)| is_left_alone(row))
            .map(|(segment, _)| segment)
    }

    /// What the volume is, and how its segments stand. Reads one header.
    pub fn facts(&self) -> Facts {
        let rows = &self.log.segments;
        let mut segments = SegmentCounts { total: rows.len() as u32, ..SegmentCounts::default() };
        for row in rows {
            match row.state {
                State::Free => segments.free += 1,
                State::Open => segments.open += 1,
                State::Sealed => segments.sealed += 1,
                State::Retired { .. } | State::Erasable => segments.retired += 1,
                State::Quarantined => segments.quarantined += 1,
                State::Bad => segments.bad += 1,
                State::Anchor => segments.anchors += 1,
            }
            segments.unreadable += u32::from(row.state == State::Sealed && row.is_unreadable);
        }
        let erases = || rows.iter().map(|row| row.erase_count);
        let mean = erases().map(u64::from).sum::<u64>() / rows.len().max(1) as u64;
        let written = |row: &Segment| matches!(row.state, State::Open | State::Sealed);
        let newest = (0u32..).zip(rows).filter(|(_, row)| written(row)).max_by_key(|(_, row)| row.sequence);
        let header =
            newest.and_then(|(segment, _)| read_header(&self.log.medium.reader(), &self.log.layout, segment));
        Facts {
            format: header.as_ref().map_or(0, |header| header.format),
            features: header.map_or([0; 3], |header| {
                [header.features.compatible, header.features.append_compatible, header.features.incompatible]
            }),
            segment_bytes: self.log.geometry.segment_bytes,
            unit_bytes: self.log.geometry.unit_bytes,
            segments,
            erase_counts: (erases().min().unwrap_or(0), mean as u32, erases().max().unwrap_or(0)),
            damaged_messages: self.queue(MessageId(0)).filter(|summary| summary.damaged).count() as u64,
        }
    }
}
