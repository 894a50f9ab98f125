//! The clock of the system, and the chip that keeps the time while the power is off.
//!
//! When it starts, the kernel has set the system's clock by the chip. What is set here goes to both.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::{Timestamp, tz::TimeZone};
use nix::errno::Errno;
use nix::libc;
use rustix::time::{ClockId, Timespec, clock_settime};

use crate::init::Error;

/// The chip.
const DEVICE: &str = "/dev/rtc0";

/// What the clock shows, in Unix nanoseconds.
pub(super) fn now_ns() -> i128 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    }
}

/// Sets the clock by so much, in nanoseconds, and the chip after it.
pub(super) fn step(offset_ns: i128) -> Result<(), Error> {
    let to_ns = now_ns() + offset_ns;
    let time = Timespec {
        tv_sec: i64::try_from(to_ns.div_euclid(1_000_000_000)).unwrap_or(i64::MAX),
        tv_nsec: to_ns.rem_euclid(1_000_000_000) as _,
    };
    clock_settime(ClockId::Realtime, time).map_err(Error::system("set the clock"))
}

/// Lets the clock run faster or slower, by 0.5 ms in a second, until it has made up for so much, in nanoseconds.
#[allow(unsafe_code, reason = "no crate here has a safe call for it")]
pub(super) fn slew(offset_ns: i128) -> Result<(), Error> {
    // SAFETY: `timex` consists of integers, for all of which zero is a value.
    let mut change: libc::timex = unsafe { std::mem::zeroed() };
    change.modes = libc::ADJ_OFFSET_SINGLESHOT;
    // Within a second: it fits any `long`.
    change.offset = (offset_ns / 1000) as libc::c_long;
    // SAFETY: the kernel reads and fills the structure, which is ours and lives until the call returns.
    let state = unsafe { libc::adjtimex(&raw mut change) };
    if state < 0 { Err(Error::io("adjust the clock")(std::io::Error::last_os_error())) } else { Ok(()) }
}

/// What the chip takes: `struct rtc_time`, the same fields as `struct tm`.
#[repr(C)]
#[derive(Debug, Default, PartialEq, Eq)]
struct RtcTime {
    second: i32,
    minute: i32,
    hour: i32,
    day: i32,
    /// From 0.
    month: i32,
    /// From 1900.
    year: i32,
    /// Not used.
    rest: [i32; 3],
}

impl RtcTime {
    fn from_unix_s(unix_s: i64) -> Option<Self> {
        let date = TimeZone::UTC.to_datetime(Timestamp::from_second(unix_s).ok()?);
        Some(Self {
            second: date.second().into(),
            minute: date.minute().into(),
            hour: date.hour().into(),
            day: date.day().into(),
            month: i32::from(date.month()) - 1,
            year: i32::from(date.year()) - 1900,
            rest: [0; 3],
        })
    }
}

/// Sets the chip by the clock. A board without one has nothing to be set.
pub(super) fn keep() -> Result<(), Error> {
    let Ok(chip) = File::open(DEVICE) else { return Ok(()) };
    let unix_s = i64::try_from(now_ns().div_euclid(1_000_000_000)).unwrap_or(i64::MAX);
    let Some(time) = RtcTime::from_unix_s(unix_s) else { return Ok(()) };
    set(&chip, &time).map_err(|error| Error::io("set the clock chip")(error.into()))
}

mod calls {
    //! The macro of `nix` makes an unsafe function.
    #![allow(missing_docs, unreachable_pub, unsafe_code, reason = "made by a macro")]

    nix::ioctl_write_ptr!(rtc_set_time, b'p', 0x0A, super::RtcTime);
}

#[allow(unsafe_code, reason = "the kernel has no other way to set a chip")]
fn set(chip: &File, time: &RtcTime) -> Result<(), Errno> {
    // SAFETY: `chip` keeps the descriptor open during the call. RTC_SET_TIME reads one `rtc_time`, nine `int`s as `time` has
    // them, `repr(C)`; its size is part of the number of the call.
    unsafe { calls::rtc_set_time(chip.as_raw_fd(), time) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chip_is_given_the_date_as_it_counts() {
        assert_eq!(size_of::<RtcTime>(), 36, "the kernel's structure");
        let time = RtcTime { second: 40, minute: 19, hour: 3, day: 22, month: 10, year: 126, rest: [0; 3] };
        assert_eq!(RtcTime::from_unix_s(1_795_317_580), Some(time));
    }
}
