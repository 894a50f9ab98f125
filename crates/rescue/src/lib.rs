//! Takes mail while no system starts.
//!
//! The firmware of the box runs this when no Linux can be started: SMTP over smoltcp, with the server session of
//! [`penstock_smtp`] that the daemon runs too, onto the volumes of [`penstock_spool`], which the daemon finds when it is
//! back. Nothing is released from here. A `250` means what it means there: the message is on flash, was read back, and
//! survives a power cut.
//!
//! [`Rescue`] is generic over the network device and both media, takes the time as an argument, and goes on in bounded
//! steps: [`Rescue::poll`] from a loop is all that it needs, no interrupts and no threads. README.md has the decisions and
//! the memory.

#![no_std]

extern crate alloc;

mod backing;
mod clock;
mod connection;
mod envelope;
mod intake;
mod neighbours;
mod net;
mod pace;
mod probe;
mod rescue;
mod site;
mod status;
mod trouble;
mod volumes;

pub use clock::WallClock;
pub use envelope::RECIPIENTS_MAX;
pub use neighbours::Neighbour;
pub use net::{Lease, NetCounters};
pub use probe::{Answer, GREETING_BYTES_MAX, Question, Unasked};
pub use rescue::{Rescue, Start};
pub use smoltcp;
pub use status::{Counters, Mode, Status, VolumeStatus};
pub use trouble::Trouble;
pub use volumes::{EVENT_RESCUED, NOR_MESSAGE_BYTES_MAX, Store, VolumeState};

/// How many sessions there are at once.
pub const SESSIONS_MAX: usize = 16;
/// How many sockets listen: one more, which answers that there are too many.
pub(crate) const SOCKETS: usize = SESSIONS_MAX + 1;
