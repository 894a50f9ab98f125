//! The one language of a box's consoles.
//!
//! A field engineer has a serial cable and nothing else. What is typed means the same at all three levels, in userland,
//! in the firmware and in stage 0: [`COMMANDS`] is the one table of what can be typed, and userland's console takes names and
//! help from it. For the levels below Linux this crate is the console itself: [`Editor`] reads lines from bytes, [`parse`]
//! makes a [`Command`] of a line, [`Console`] frames the answers that a [`Machine`] writes, asks back before anything is
//! destroyed, and ends when nobody types. Stage 0, which has no room for that, takes its rows with [`parse_short`]. [`RescueWord`] is the word that stops a boot, [`Receiver`] takes a slot's bundle
//! over the line.
//!
//! No I/O and no clock: bytes and milliseconds come in, text goes out. What a command does is the machine's; no heap is used.

#![no_std]

#[cfg(test)]
extern crate std;

mod commands;
mod complete;
mod console;
mod editor;
mod failure;
mod framed;
mod help;
mod history;
mod levels;
mod parse;
mod report;
mod short;
mod similar;
mod table;
mod word;
mod words;
mod xmodem;

pub use commands::COMMANDS;
pub use console::{After, Console, Event, IDLE_MS, Machine};
pub use editor::{Editor, Key, LINE_BYTES_MAX, Line, Prompt};
pub use failure::{FAILURE_TEXT_BYTES_MAX, Failure};
pub use levels::{Level, Levels};
pub use parse::{Understood, parse};
pub use report::{REPORT_BEGINS, REPORT_ENDS, Report};
pub use short::{explain_short, parse_short};
pub use table::{Definition, Group, TypedBack};
pub use word::{RESCUE_WORD, RescueWord};
pub use words::{Command, DUMP_BYTES_MAX, DUMPED, Place};
pub use xmodem::{BLOCK_BYTES, Fault, Receiver, Step, What};
