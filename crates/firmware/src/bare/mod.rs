//! The machine itself: processor, memory, devices. All `unsafe` of the firmware is below this module.
//!
//! One core runs, without interrupts; the others wait in PSCI until the kernel calls them.

mod begin;
mod commands;
pub mod cpu;
pub mod fail;
pub mod firmware;
pub mod flash;
mod ground;
mod guard;
mod linux;
pub mod memory;
mod one_core;
pub mod psci;
pub mod rtc;
pub mod serial;
mod service;
pub mod stage0;
mod stage0_console;
mod start;
mod taking;
mod virtio;
pub mod watchdog;

/// Writes a line to the serial port.
#[macro_export]
macro_rules! say {
    ($($what:tt)*) => {
        $crate::bare::serial::say(format_args!($($what)*))
    };
}
