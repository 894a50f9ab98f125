//! A volume whose table of segments a test sets as it likes.

use alloc::vec;
use alloc::vec::Vec;

use penstock_flash::sim::{Sim, SimMedium};
use penstock_flash::{Erase, Geometry};

use super::*;
use crate::log::Buffers;
use crate::spool::MountOptions;

pub(crate) const NOR: Geometry =
    Geometry { segments: 64, segment_bytes: 16384, unit_bytes: 16, erase: Erase::Physical };

pub(crate) type SimSpool = Spool<SimMedium, Vec<u8>>;

pub(crate) fn spool(geometry: Geometry, options: MountOptions) -> SimSpool {
    let sim = Sim::new(geometry).unwrap();
    crate::format(&mut sim.medium(), [1; 16], false, |_, _| {}).unwrap();
    let buffers = Buffers { hot: vec![0; 16384], moved: vec![0; 8192], status: vec![0; 8192] };
    Spool::mount(sim.medium(), buffers, MountOptions { messages_max: 10_000, ..options }).unwrap()
}

/// Makes a segment one that is full, with so many live bytes in one message or record.
pub(crate) fn seal(
    spool: &mut SimSpool,
    segment: u32,
    purpose: Purpose,
    sequence: u64,
    live_bytes: u64,
) -> &mut Segment {
    let row = &mut spool.log.segments[segment as usize];
    row.begin_life(purpose, sequence);
    row.state = State::Sealed;
    (row.live, row.live_bytes) = (u32::from(live_bytes > 0), live_bytes);
    row
}

/// Stores a message with an empty body, which is durable then.
pub(crate) fn store(spool: &mut SimSpool, recipients: usize) -> crate::MessageId {
    let recipient = crate::Recipient { address: "recipient@example.org".into(), ..Default::default() };
    let recipients = vec![recipient; recipients];
    let incoming = spool.begin(&crate::Begin::default(), &recipients, Some(0)).unwrap();
    let id = spool.commit(incoming).unwrap();
    spool.sync().unwrap();
    id
}

impl SimSpool {
    /// Begins to give up a segment, as a step would go on with.
    pub(crate) fn give_up_later(&mut self, segment: u32) {
        self.begin_giving_up(segment);
    }
}
