//! How fast the daemon's time runs, in builds for tests: `PENSTOCK_SPEED=20` lets twenty of its seconds pass in one of
//! the host's. The shipped build does not have it.

use std::env;
use std::sync::LazyLock;

use crate::Error;

/// The environment variable that says it: a whole number from 1 to [`SPEED_MAX`].
const VARIABLE: &str = "PENSTOCK_SPEED";
/// The host's timers are good to about a millisecond: at this speed, to a second of the daemon's.
const SPEED_MAX: u32 = 1000;

/// How many seconds of the daemon's time pass in one of the host's. Where the environment names none, as [`check`] says
/// at the start, it is 1.
pub(crate) fn speed() -> u32 {
    static SPEED: LazyLock<u32> = LazyLock::new(|| named().unwrap_or(1));
    *SPEED
}

/// Tells of a time that runs faster.
///
/// # Errors
/// [`Error::Faults`]: the environment names a speed that is none.
pub(crate) fn check() -> Result<(), Error> {
    let speed = named()?;
    if speed > 1 {
        tracing::warn!(speed, "time runs faster than the host's: this is a build for tests");
    }
    Ok(())
}

fn named() -> Result<u32, Error> {
    let Some(word) = env::var_os(VARIABLE) else { return Ok(1) };
    let speed = word.to_str().and_then(|word| word.parse().ok());
    speed
        .filter(|speed| (1..=SPEED_MAX).contains(speed))
        .ok_or_else(|| Error::Faults(format!("{VARIABLE} is {word:?}, not a number from 1 to {SPEED_MAX}")))
}
