//! The segments that mail never fills, and what each of them is for.
//!
//! They are opened in an order of need: mail stops first, then reclaim, status last. So there is always room to record
//! that mail was delivered, and always room to find more.

use crate::segment::{ANCHORS, SEGMENTS_MIN};

/// For status alone: one to write into, and one for what is written anew when another is given up.
pub(crate) const RESERVE_STATUS: u32 = 2;
/// What reclaim works with. A victim's worth ends in the segment at hand or spills into one more; while that one is
/// opened, the victim's own erase is still two barriers away.
const RESERVE_SCRATCH: u32 = 2;
/// Segments that only reclaim and status may take.
pub(crate) const RESERVE_MOVED: u32 = RESERVE_STATUS + RESERVE_SCRATCH;
/// One that may go bad.
const RESERVE_SPARE: u32 = 1;
/// Segments that are not counted among what mail may fill, besides those of two checkpoints: the one that counts, and the
/// one that takes its place. How large they are depends on the volume.
pub(crate) const RESERVE_SEGMENTS: u32 = ANCHORS + RESERVE_MOVED + RESERVE_SPARE;

/// The open segments of the three append points.
const HEADS: u32 = 3;
// Even the smallest volume holds the reserve, the heads, and as many segments again for mail.
const _: () = assert!(2 * (RESERVE_SEGMENTS + 1) <= SEGMENTS_MIN);
const _: () = assert!(RESERVE_SEGMENTS + HEADS < SEGMENTS_MIN);
// A victim's worth, and the segment that it spills into, without what status may need meanwhile.
const _: () = assert!(RESERVE_MOVED - RESERVE_STATUS >= 2 && RESERVE_STATUS >= 2);

/// The largest share of the segments that can be held erased for others, as a divisor: what is held is not mail's.
pub(crate) const ERASED_FLOOR_SHARE: u32 = 4;
