//! Payloads as `FORMAT.md` draws them, in shapes of their own: what the log itself would never write has to be written
//! here, and what it does write is read to be changed.

use serde::{Deserialize, Serialize};

/// A segment or a group, an offset or a sequence number.
pub(crate) type Place = (u32, u32);
pub(crate) type Opened = (u32, u64);
type Meta = (u8, Vec<u8>, Vec<u8>);
type Stamp = (u64, u32, bool);
/// First, count, fate, attempts, reply code, time.
type Status = (u16, u16, u8, u16, u16, Stamp);
/// Segment, sequence, erase count, purpose, life.
pub(crate) type SegmentRecord = (u32, u64, u32, u8, Life);
/// Number, synced group, checkpoint, status segments, segments given up, landmarks.
pub(crate) type Root = (u64, u64, Option<Opened>, Vec<Opened>, Vec<Opened>, [Opened; 3]);
/// What a FOOTER says: three places, then id and time, and the bytes of events.
pub(crate) type Footer = ((u32, u32, u32), (u64, u64, u32));

/// Where a segment stands.
#[derive(Serialize, Deserialize)]
pub(crate) enum Life {
    Used,
    Retired,
    Clean(u64),
    Bad,
    Left(u64),
}

/// A note as a SUMMARY has it.
#[derive(Serialize, Deserialize)]
pub(crate) enum Note {
    Commit(u64, u64, u32, u32, u16, bool),
    Status(u64, u64, Status),
    Meta(u64, Meta),
    Segment(u64, SegmentRecord),
}

/// Where a segment stood when a checkpoint was taken.
#[derive(Serialize, Deserialize)]
pub(crate) enum SavedState {
    Free,
    Open(u32),
    Sealed,
    Erasable,
    Quarantined,
    Bad,
    Anchor,
    Left(u64),
}

/// A message in a checkpoint: id, COMMIT, size, recipients, status segment, fate, flags, attempts; then fates, spans and
/// copies.
pub(crate) type Saved =
    ((u64, Place, u32, u16, Option<u32>, u8, u8, u16), (Vec<u8>, Vec<u32>, Vec<(Place, Vec<u32>)>));

/// An item of a checkpoint.
#[derive(Serialize, Deserialize)]
pub(crate) enum Item {
    Head(u32, Vec<Opened>),
    /// Sequence, group and id that come next; used segments, boot; features; messages.
    Counters((u64, u64, u64), (u32, u32), (u32, u32, u32), u64),
    /// State, purpose, sequence, erase count, free since, recorded in; newest time, bytes of events, unreadable.
    Segment((SavedState, u8, u64, u32, u64, Option<u32>), (u64, u32, bool)),
    Meta(Meta, u32),
    Message(Box<Saved>),
    End,
}

/// Reads records that stand one after the other, up to bytes that are none.
pub(crate) fn all<'a, T: Deserialize<'a>>(mut bytes: &'a [u8]) -> Vec<T> {
    let mut records = Vec::new();
    while let Ok((record, rest)) = postcard::take_from_bytes(bytes) {
        records.push(record);
        bytes = rest;
    }
    records
}

/// Records one after the other.
pub(crate) fn joined<T: Serialize>(records: &[T]) -> Vec<u8> {
    records.iter().flat_map(|record| postcard::to_allocvec(record).unwrap()).collect()
}
