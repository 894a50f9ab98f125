//! A box at whose serial line somebody sits.
#![allow(dead_code, reason = "each test uses what it needs")]

use std::fmt::Write;

use penstock_console::{After, Command, Console, Event, Failure, IDLE_MS, Level, Machine};

/// What a box did, and what it has to do it with.
#[derive(Default)]
pub(crate) struct Fake {
    /// The commands that were run, in order.
    pub(crate) ran: Vec<String>,
    /// What is answered to each.
    pub(crate) answer: String,
    /// What comes of each; success if nothing is said.
    pub(crate) fails: Option<Failure>,
    /// After a command, the console is left.
    pub(crate) leaves: bool,
    /// What came of a transfer.
    pub(crate) received: Vec<u8>,
    pub(crate) received_bytes: Option<u64>,
    pub(crate) receive_ended: u32,
    /// The flash refuses the block of this number.
    pub(crate) bad_block: Option<usize>,
    blocks: usize,
}

impl Machine for Fake {
    fn prompt(&self) -> &'static str {
        "firmware> "
    }

    fn run(&mut self, command: Command<'_>, out: &mut dyn Write) -> Result<After, Failure> {
        self.ran.push(format!("{command:?}"));
        out.write_str(&self.answer).unwrap();
        if let Some(failure) = &self.fails {
            return Err(failure.clone());
        }
        Ok(match command {
            Command::Reflash(_) => After::Receive { bytes_max: 64 * 1024 },
            _ if self.leaves => After::Leave,
            _ => After::Prompt,
        })
    }

    fn receive(&mut self, block: &[u8]) -> Result<(), Failure> {
        self.blocks += 1;
        if self.bad_block == Some(self.blocks) {
            return Err(Failure::new("PS-F011", "cells could not be programmed"));
        }
        self.received.extend_from_slice(block);
        Ok(())
    }

    fn received(&mut self, bytes: u64, out: &mut dyn Write) -> Result<After, Failure> {
        self.received_bytes = Some(bytes);
        writeln!(out, "{bytes} bytes came").unwrap();
        Ok(After::Prompt)
    }

    fn receive_ended(&mut self) {
        self.receive_ended += 1;
    }
}

/// A console with a box behind it and somebody before it.
pub(crate) struct Seat {
    pub(crate) console: Console,
    pub(crate) machine: Fake,
    pub(crate) screen: String,
    pub(crate) now_ms: u64,
    pub(crate) events: Vec<Event>,
}

impl Seat {
    /// At an open console.
    pub(crate) fn at(level: Level) -> Self {
        let mut seat = Self::closed(level);
        seat.console.open(seat.now_ms, &seat.machine, &mut seat.screen);
        seat.screen.clear();
        seat
    }

    /// At one that is closed.
    pub(crate) fn closed(level: Level) -> Self {
        let machine = Fake::default();
        let (screen, events) = (String::new(), Vec::new());
        Self { console: Console::new(level, IDLE_MS), machine, screen, now_ms: 1_000, events }
    }

    /// Types, and gives what appears on the screen for it.
    pub(crate) fn type_bytes(&mut self, bytes: &[u8]) -> String {
        let before = self.screen.len();
        for byte in bytes {
            let event = self.console.feed(*byte, self.now_ms, &mut self.machine, &mut self.screen);
            if event != Event::Nothing {
                self.events.push(event);
            }
        }
        self.screen[before..].to_owned()
    }

    /// Types a line, and gives what appears for it.
    pub(crate) fn type_line(&mut self, line: &str) -> String {
        self.type_bytes(format!("{line}\r").as_bytes())
    }

    /// Waits.
    pub(crate) fn wait(&mut self, ms: u64) -> String {
        (0..ms / 100).map(|_| self.wait_until(self.now_ms + 100)).collect()
    }

    /// It is so late.
    pub(crate) fn wait_until(&mut self, now_ms: u64) -> String {
        let before = self.screen.len();
        self.now_ms = now_ms;
        let event = self.console.poll(self.now_ms, &mut self.machine, &mut self.screen);
        if event != Event::Nothing {
            self.events.push(event);
        }
        self.screen[before..].to_owned()
    }
}

/// The lines that end an answer.
pub(crate) fn last_lines(shown: &str) -> Vec<&str> {
    let is_last = |line: &&str| *line == "OK" || line.starts_with("ERR ");
    shown.split("\r\n").filter(is_last).collect()
}
