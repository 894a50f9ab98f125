//! Single keys from the terminal, as they are pressed: for what goes on until somebody has seen enough.

use std::io::{self, IsTerminal as _, Stdin};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

/// Ctrl-C, where it is not made a signal.
pub(crate) const CTRL_C: u8 = 3;
/// Ctrl-L, with which people have a screen drawn anew.
pub(crate) const CTRL_L: u8 = 12;

/// The terminal, giving its keys one by one and without echo. It is as it was when this goes.
pub(crate) struct Keys {
    stdin: Stdin,
    before: Option<Termios>,
}

impl Keys {
    /// Takes standard input. Where that is no terminal no key is ever pressed.
    pub(crate) fn take() -> Self {
        let stdin = io::stdin();
        let before = if stdin.is_terminal() { tcgetattr(&stdin).ok() } else { None };
        if let Some(before) = &before {
            let mut modes = before.clone();
            // Ctrl-C is a key like others, so that who listens can end in order.
            modes.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
            modes.special_codes[SpecialCodeIndex::VMIN] = 1;
            modes.special_codes[SpecialCodeIndex::VTIME] = 0;
            let _ = tcsetattr(&stdin, OptionalActions::Now, &modes);
        }
        Self { stdin, before }
    }

    /// The next key that is pressed within a time. Where there is no terminal the time passes.
    pub(crate) fn next(&self, within: Duration) -> Option<u8> {
        if self.before.is_none() {
            std::thread::sleep(within);
            return None;
        }
        let mut ready = [PollFd::new(&self.stdin, PollFlags::IN)];
        let timeout = Timespec { tv_sec: within.as_secs() as i64, tv_nsec: within.subsec_nanos().into() };
        if poll(&mut ready, Some(&timeout)).ok()? == 0 {
            return None;
        }
        let mut key = [0];
        // Not through the buffer of the library, which would take more than one.
        match rustix::io::read(&self.stdin, &mut key) {
            Ok(1) => Some(key[0]),
            // A line that is gone will press no more; whoever waits sees that by himself.
            _ => Some(CTRL_C),
        }
    }

    /// Whether somebody wants it to end within a time: by `q` or Ctrl-C.
    pub(crate) fn end_within(&self, within: Duration) -> bool {
        let until = std::time::Instant::now() + within;
        loop {
            let left = until.saturating_duration_since(std::time::Instant::now());
            match self.next(left) {
                Some(b'q' | CTRL_C) => return true,
                Some(_) if !left.is_zero() => {}
                _ => return false,
            }
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(&self.stdin, OptionalActions::Now, before);
        }
    }
}
