//! The console of stage 0: as little as brings a firmware back.
//!
//! What can be typed are its rows of the one table (`penstock_console::parse_short`), and what they do is what they do in the
//! firmware ([`Lower`]); the editor and what explains the commands would not fit beside the rest into 128 KiB.

use core::fmt::{self, Write as _};

use heapless::String;
use penstock_console::{After, Failure, IDLE_MS, Place, Receiver, What, explain_short, parse_short};

use crate::bare::commands::{Lower, NOT_SO, NOT_THERE, Next, failure};
use crate::bare::serial::Text;
use crate::bare::{cpu, serial};
use crate::say;
use crate::work::{Stage0Work, Work};

/// The longest line, in bytes.
const LINE_BYTES_MAX: usize = 64;
/// Gives a line up.
const CTRL_C: u8 = 3;

/// Does what is typed until something else is to follow: what, if it is not that the box starts again.
pub(super) fn run(lower: &mut Lower<'_>) -> Option<Next> {
    say!("\nPenstock, stage 0. `help` lists what can be typed.");
    let mut line = Typed { is_plain: false };
    loop {
        let Some(typed) = line.ask(format_args!("stage0> ")) else {
            say!("\nNobody types: the box starts again.");
            return None;
        };
        let done = typed.and_then(|typed| line.answer(&typed, lower));
        match done {
            Ok(None) => {}
            Ok(Some(after)) => {
                say!("OK");
                if after == After::Leave {
                    return lower.next;
                }
            }
            Err(failure) => say!("ERR {failure}"),
        }
    }
}

fn write(text: fmt::Arguments<'_>) -> Result<(), Failure> {
    Text.write_fmt(text).map_err(|_| failure(NOT_THERE, "nobody reads this"))
}

/// How lines are typed.
struct Typed {
    /// By a program, which wants neither prompt nor echo.
    is_plain: bool,
}

impl Typed {
    /// Reads a line, with a prompt before it. `None` if nobody types. One that came damaged, or is too long, is not done.
    fn ask(&self, prompt: fmt::Arguments<'_>) -> Option<Result<String<LINE_BYTES_MAX>, Failure>> {
        let echo = |bytes: &[u8]| {
            if !self.is_plain {
                serial::write(bytes);
            }
        };
        if !self.is_plain {
            let _ = write(prompt);
        }
        let (mut line, mut fault) = (String::new(), None);
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
                b'\r' | CTRL_C => {
                    echo(b"\r\n");
                    if byte == CTRL_C {
                        return Some(Ok(String::new()));
                    }
                    return Some(fault.map_or(Ok(line), |(code, text)| Err(failure(code, text))));
                }
                // Behind the end of the line before.
                b'\n' => {}
                0x08 | 0x7F => {
                    if line.pop().is_some() {
                        echo(b"\x08 \x08");
                    }
                }
                b' '..=b'~' if line.push(char::from(byte)).is_ok() => echo(&[byte]),
                b' '..=b'~' => fault = Some(("PS-K021", "the line is too long")),
                _ => fault = Some(("PS-K022", "noise on the line: type it again")),
            }
        }
    }

    /// Does what a line says, if it says anything.
    fn answer(&mut self, line: &str, lower: &mut Lower<'_>) -> Result<Option<After>, Failure> {
        let Some(command) = parse_short(line)? else { return Ok(None) };
        let work = Stage0Work::of(command);
        let work = work.ok_or_else(|| failure(NOT_THERE, "stage 0 does not do that"))?;
        self.run(work, lower).map(Some)
    }

    fn run(&mut self, work: Stage0Work<'_>, lower: &mut Lower<'_>) -> Result<After, Failure> {
        match work {
            Stage0Work::Help(name) => explain_short(name, &mut Text)?,
            Stage0Work::Status => {
                write(format_args!(
                    "no firmware is started, and no mail is taken; what is on flash stays there\n"
                ))?;
                return lower.slots(&mut Text);
            }
            Stage0Work::Script(on) => self.is_plain = on,
            Stage0Work::Exit => return Ok(After::Leave),
            Stage0Work::Work(Work::Reflash(place)) => {
                let back = self
                    .ask(format_args!("`reflash` cannot be undone. To go on type the name of the slot: "));
                if !back.is_some_and(|back| back.is_ok_and(|back| back.trim_ascii() == place.name())) {
                    return Err(failure("PS-K023", "that is not it: nothing was done"));
                }
                return reflash(lower, place);
            }
            Stage0Work::Work(work) => return lower.run(work, &mut Text, &mut || {}),
        }
        Ok(After::Prompt)
    }
}

fn reflash(lower: &mut Lower<'_>, place: Place) -> Result<After, Failure> {
    let After::Receive { bytes_max } = lower.run(Work::Reflash(place), &mut Text, &mut || {})? else {
        return Ok(After::Prompt);
    };
    say!("Send it now, by XMODEM or YMODEM. Ctrl-C twice gives up.");
    receive(bytes_max, |block| lower.receive(block))?;
    write(format_args!("\n"))?;
    lower.received(&mut Text, &mut || {})
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
