//! What only the firmware's console can do: it has drivers, and may be taking mail.

use core::fmt::Write;

use penstock_console::{After, Command, Failure, Machine};

use super::{Lower, NEEDS_LINUX, NOT_THERE, failure, look};
use crate::bare::taking::Taking;
use crate::bare::watchdog::Watchdog;
use crate::work::Work;

/// What it works on.
pub(in crate::bare) struct Upper<'a> {
    pub(in crate::bare) lower: Lower<'a>,
    pub(in crate::bare) taking: Taking<'a>,
    pub(in crate::bare) watchdog: Option<Watchdog>,
}

impl Upper<'_> {
    /// Tells the watchdog that all goes on.
    pub(in crate::bare) fn feed_watchdog(&self) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.feed();
        }
    }

    fn look(&mut self, command: Command<'_>, out: &mut dyn Write) -> Result<After, Failure> {
        match command {
            Command::Status => look::status(self, out),
            Command::Journal { lines } => look::journal(lines, out),
            Command::Counters => look::counters(self, out),
            Command::Dt => look::machine(self, out),
            Command::Mem => look::heap(self, out),
            Command::Clock => look::clock(self, out),
            Command::FlashInfo => look::flash_info(self, out),
            Command::FlashTest => look::flash_test(self, out),
            Command::FlashDump { partition, offset, bytes } => {
                look::flash_dump(self, (partition, offset, bytes), out)
            }
            Command::Spool | Command::Net => look::status(self, out),
            Command::Report => look::report(self, out),
            Command::ConfigShow { key } => look::config(self, key, out),
            _ => Err(failure(NEEDS_LINUX, "this needs Linux: `boot` goes there")),
        }
        .map(|()| After::Prompt)
    }

    fn start(&mut self) -> Result<After, Failure> {
        if !self.taking.is_running() {
            self.taking.start();
        }
        if self.taking.status().is_some() {
            Ok(After::Prompt)
        } else {
            Err(failure(NOT_THERE, "there is no network interface"))
        }
    }
}

impl Machine for Upper<'_> {
    fn prompt(&self) -> &'static str {
        if self.taking.is_running() { "rescue> " } else { "firmware> " }
    }

    fn run(&mut self, command: Command<'_>, out: &mut dyn Write) -> Result<After, Failure> {
        let Self { lower, watchdog, .. } = self;
        let mut feed = || watchdog.as_ref().map_or((), Watchdog::feed);
        if let Some(work) = Work::of(command) {
            return lower.run(work, out, &mut feed);
        }
        match command {
            Command::RescueStart => self.start(),
            Command::RescueStop => {
                self.taking.stop();
                Ok(After::Prompt)
            }
            _ => self.look(command, out),
        }
    }

    fn receive(&mut self, block: &[u8]) -> Result<(), Failure> {
        self.lower.receive(block)
    }

    fn received(&mut self, _: u64, out: &mut dyn Write) -> Result<After, Failure> {
        let Self { lower, watchdog, .. } = self;
        lower.received(out, &mut || watchdog.as_ref().map_or((), Watchdog::feed))
    }

    fn receive_ended(&mut self) {
        self.lower.receive_ended();
    }
}
