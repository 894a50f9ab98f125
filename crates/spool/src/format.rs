//! Making an empty volume.

use penstock_flash::{Erase, EraseProgress, Medium, UNIT_BYTES_MAX};

use crate::Error;
use crate::anchor::Anchors;
use crate::log::{Buffers, Log, Start};
use crate::segment::{Features, Layout, Segment, State, read_header};

/// Makes an empty volume.
///
/// Every segment is erased; `progress` is told the segments done and in all.
///
/// # Errors
/// [`Error::AlreadyAVolume`] unless `overwrite`; [`Error::BadGeometry`]; what the medium reports.
pub fn format<M: Medium>(
    medium: &mut M,
    volume: [u8; 16],
    overwrite: bool,
    mut progress: impl FnMut(u32, u32),
) -> Result<(), Error> {
    let geometry = medium.geometry();
    let layout = Layout::of(&geometry)?;
    let reader = medium.reader();
    let holds_one = (0..geometry.segments).any(|segment| read_header(&reader, &layout, segment).is_some());
    if holds_one && !overwrite {
        return Err(Error::AlreadyAVolume);
    }
    for segment in 0..geometry.segments {
        erase(medium, segment)?;
        if geometry.erase == Erase::Logical && read_header(&reader, &layout, segment).is_some() {
            // A header of an earlier volume would have a say in which volume this is.
            let blank = [0; UNIT_BYTES_MAX as usize];
            for offset in layout.header_offsets() {
                let blank = &blank[..layout.header_bytes() as usize];
                medium.program(segment, offset, blank).map_err(Error::Write)?;
            }
            erase(medium, segment)?;
        }
        progress(segment + 1, geometry.segments);
    }
    medium.sync().map_err(Error::Write)?;
    let start = Start {
        volume,
        segments: (0..geometry.segments).map(|_| Segment::new(State::Free)).collect(),
        next_sequence: 1,
        next_group: 1,
        synced_group: 0,
        next_msg_id: 1,
        used_segments: 0,
        boot: 0,
        features: Features::default(),
        anchors: Anchors::unknown(),
        landmarks: Default::default(),
    };
    // The anchors make it a volume, and opening the status head writes the first root.
    let page = || alloc::vec![0u8; 4096.max(layout.unit_bytes as usize)];
    let buffers = Buffers { hot: page(), moved: page(), status: page() };
    let mut log = Log::new(medium, buffers, start)?;
    log.format_anchors()?;
    log.append_nop()?;
    log.close()
}

fn erase<M: Medium>(medium: &mut M, segment: u32) -> Result<(), Error> {
    medium.start_erase(segment).map_err(Error::Write)?;
    while medium.poll_erase().map_err(Error::Write)? == EraseProgress::Busy {}
    Ok(())
}
