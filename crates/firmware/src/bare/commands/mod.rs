//! What can be done at the consoles below Linux.

mod look;
mod lower;
mod network;
mod reflash;
mod upper;

use core::fmt;

use penstock_console::{Failure, Place};

pub(super) use lower::Lower;

pub(super) use upper::Upper;

/// What follows when the console was left by a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The boot, as it would have gone by itself.
    Boot,
    /// That slot, this once.
    BootOnce(Place),
    /// The box starts again.
    Restart,
    /// It is switched off.
    PowerOff,
}

/// Errors that bring their code, as the console wants them.
pub(super) fn failure(code: &'static str, error: impl fmt::Display) -> Failure {
    Failure::new(code, error)
}

/// What it needs is not there.
pub(super) const NOT_THERE: &str = "PS-W031";
/// The slot does not stand so that this could be done.
pub(super) const NOT_SO: &str = "PS-W032";
/// What was written does not read back.
pub(super) const NOT_READ_BACK: &str = "PS-W033";

/// The line is written to, and that does not fail.
pub(super) fn lost(_: fmt::Error) -> Failure {
    Failure::new(NOT_THERE, "nobody reads this")
}
