//! What only the firmware's console can do: it has drivers, and may be taking mail.

use core::fmt::Write;

use penstock_console::{After, Command, Failure, Machine};

use super::{Lower, NOT_THERE, failure, look, network};
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

    fn work(&mut self, command: Command<'_>, out: &mut dyn Write) -> Result<(), Failure> {
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
            Command::Arp => network::arp(self, out),
            Command::Ping { host, count } => network::ping(self, (host, count), out),
            Command::Smtp => network::smtp(self, out),
            Command::RescueStart => self.start(),
            Command::RescueStop => {
                self.taking.stop();
                Ok(())
            }
            // What stage 0 does as well, and what the console does itself, comes nowhere near this.
            Command::Help(_)
            | Command::Script { .. }
            | Command::Exit
            | Command::Version
            | Command::Why
            | Command::Slots
            | Command::Verify(_)
            | Command::Boot(_)
            | Command::Trial(_)
            | Command::ResetTries(_)
            | Command::Reflash(_)
            | Command::StateDump
            | Command::Restart
            | Command::PowerOff => Err(failure(NOT_THERE, "the firmware does not do that")),
        }
    }

    fn start(&mut self) -> Result<(), Failure> {
        if !self.taking.is_running() {
            self.taking.start();
        }
        if self.taking.status().is_some() {
            Ok(())
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
        self.work(command, out).map(|()| After::Prompt)
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
