//! The console of stage 0: as little as brings a firmware back.
//!
//! Its few words are those of the one language (`penstock-console`), and so are its answers; the table with all commands, and
//! the editor, would not fit beside the rest into 128 KiB.

use core::fmt::{self, Write as _};

use heapless::String;
use penstock_console::{Failure, IDLE_MS, Place, Receiver, What};

use crate::bare::begin::Begun;
use crate::bare::commands::{Coming, NOT_SO, NOT_THERE, failure};
use crate::bare::flash::Banks;
use crate::bare::ground::boot_state;
use crate::bare::serial::Text;
use crate::bare::{cpu, serial};
use crate::decide::state;
use crate::load::Loader;
use crate::{say, show};

/// The longest line, in bytes.
const LINE_BYTES_MAX: usize = 64;
const HELP: &str = "\
help            List what can be typed
slots           Tell how the slots stand
reflash SLOT    Overwrite a slot with a bundle that comes over this line, by XMODEM with CRC
restart         Start the box again; it does so by itself when nobody types for five minutes";

/// Does what is typed until the box is to start again.
pub(super) fn run(begun: &Begun, banks: &Banks, mut loader: Loader<'_>) {
    say!("\nPenstock, stage 0. `help` lists what can be typed.");
    while let Some(line) = ask(format_args!("stage0> ")) {
        let mut words = line.split_ascii_whitespace();
        let done = match (words.next(), words.next(), words.next()) {
            (None, ..) => continue,
            (Some("help" | "?"), None, _) => write(format_args!("{HELP}\n")),
            (Some("slots" | "status"), None, _) => slots(banks),
            (Some("reflash"), Some(slot), None) => reflash((begun, banks), &mut loader, slot),
            (Some("restart" | "reboot" | "boot" | "exit"), None, _) => {
                say!("OK");
                return;
            }
            _ => Err(failure("PS-K001", "stage 0 does not know that: `help` lists what it does")),
        };
        match done {
            Ok(()) => say!("OK"),
            Err(failure) => say!("ERR {failure}"),
        }
    }
    say!("\nNobody types: the box starts again.");
}

fn write(text: fmt::Arguments<'_>) -> Result<(), Failure> {
    Text.write_fmt(text).map_err(|_| failure(NOT_THERE, "nobody reads this"))
}

/// Reads a line, with a prompt before it. `None` if nobody types.
fn ask(prompt: fmt::Arguments<'_>) -> Option<String<LINE_BYTES_MAX>> {
    let _ = write(prompt);
    let mut line = String::new();
    let mut typed_us = cpu::now_us();
    loop {
        let Some(byte) = serial::read() else {
            if cpu::now_us().saturating_sub(typed_us) > IDLE_MS * 1000 {
                return None;
            }
            continue;
        };
        typed_us = cpu::now_us();
        match byte {
            b'\r' => {
                serial::write(b"\r\n");
                return Some(line);
            }
            0x08 | 0x7F if line.pop().is_some() => serial::write(b"\x08 \x08"),
            b' '..=b'~' if line.push(char::from(byte)).is_ok() => serial::write(&[byte]),
            _ => {}
        }
    }
}

fn slots(banks: &Banks) -> Result<(), Failure> {
    let journal = boot_state(banks).map_err(|error| failure(error.code(), error))?;
    show::slots(&state(&journal), &mut Text).map_err(|_| failure(NOT_THERE, "nobody reads this"))
}

fn reflash(ground: (&Begun, &Banks), loader: &mut Loader<'_>, slot: &str) -> Result<(), Failure> {
    let place = Place::ALL.into_iter().find(|place| place.name() == slot);
    let place = place.ok_or_else(|| failure("PS-K001", "that is no slot"))?;
    let part = ground.1.part(place.name()).map_err(|error| failure(error.code(), error))?;
    let back = ask(format_args!("`reflash` cannot be undone. To go on type the name of the slot: "));
    if back.is_none_or(|back| back.trim() != slot) {
        return Err(failure("PS-K023", "that is not it: nothing was done"));
    }
    say!("Send it now, by XMODEM or YMODEM. Ctrl-C gives up.");
    let mut coming = Coming { place, len_bytes: 0 };
    receive(part.size_bytes().min(loader.memory().len()) as u64, |block| coming.take(loader, block))?;
    write(format_args!("\n"))?;
    coming.write(ground, loader, &mut Text, || {})
}

/// Takes a file from the line, block by block.
fn receive(bytes_max: u64, mut take: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
    let now_ms = || cpu::now_us() / 1000;
    let mut receiver = Receiver::new(bytes_max, now_ms());
    loop {
        let step = match serial::read() {
            Some(byte) => receiver.feed(byte, now_ms()),
            None => receiver.poll(now_ms()),
        };
        serial::write(step.send.as_bytes());
        match step.what {
            What::Pending => {}
            What::Block => {
                let taken = take(receiver.block());
                let answer = if taken.is_ok() { receiver.taken(now_ms()) } else { receiver.refused() };
                serial::write(answer.send.as_bytes());
                taken?;
            }
            What::Finished if receiver.received() == 0 => return Err(failure(NOT_SO, "nothing was sent")),
            What::Finished => return Ok(()),
            What::Failed(fault) => return Err(failure(fault.code(), fault)),
        }
    }
}
