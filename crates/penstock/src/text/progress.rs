//! How far something has come: on a terminal a line that changes, else a line now and then.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::human::{plain, size, wait};

/// How often the line on a terminal changes.
const REDRAW: Duration = Duration::from_millis(200);
/// How often a line is written where it stays.
const LINE: Duration = Duration::from_secs(10);

/// Tells on standard error how far something has come.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    begun: Instant,
    told: Instant,
    redraws: bool,
    quiet: bool,
    drawn: bool,
}

impl Progress {
    /// Of something that is called so. Programs are told nothing.
    pub(crate) fn new(what: &'static str, json: bool) -> Self {
        let now = Instant::now();
        let redraws = io::stderr().is_terminal();
        Self { what, begun: now, told: now, redraws, quiet: json, drawn: false }
    }

    /// So many bytes of so many are done.
    pub(crate) fn at(&mut self, done_bytes: u64, total_bytes: u64) {
        let pause = if self.redraws { REDRAW } else { LINE };
        if self.quiet || self.told.elapsed() < pause {
            return;
        }
        self.told = Instant::now();
        let line = line(self.what, done_bytes, total_bytes, self.begun.elapsed(), None);
        self.draw(&line);
    }

    /// The same, of something whose pace is known to somebody else.
    pub(crate) fn with_left(&mut self, done_bytes: u64, total_bytes: u64, left_in_s: Option<u64>) {
        let pause = if self.redraws { REDRAW } else { LINE };
        if self.quiet || self.told.elapsed() < pause {
            return;
        }
        self.told = Instant::now();
        let line = line(self.what, done_bytes, total_bytes, self.begun.elapsed(), Some(left_in_s));
        self.draw(&line);
    }

    /// The same, of something of which it is not known how much there is: so much is done.
    pub(crate) fn so_far(&mut self, done: &str) {
        let pause = if self.redraws { REDRAW } else { LINE };
        if self.quiet || self.told.elapsed() < pause {
            return;
        }
        self.told = Instant::now();
        let line = format!("{}: {done} so far", self.what);
        self.draw(&line);
    }

    fn draw(&mut self, line: &str) {
        self.drawn = true;
        // Nobody may be looking; what is done is done all the same.
        let _ = if self.redraws {
            write!(io::stderr().lock(), "\r\x1b[K{line}")
        } else {
            writeln!(io::stderr().lock(), "{line}")
        };
    }

    /// Something is to be said meanwhile.
    pub(crate) fn say(&mut self, text: &str) {
        if self.quiet {
            return;
        }
        self.clear();
        let _ = writeln!(io::stderr().lock(), "{}", plain(text));
    }

    fn clear(&mut self) {
        if self.redraws && std::mem::take(&mut self.drawn) {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

/// The line on a terminal goes when it is over.
impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(what: &str, done: u64, total: u64, elapsed: Duration, left: Option<Option<u64>>) -> String {
    let done = done.min(total);
    let percent = (u128::from(done) * 100).checked_div(u128::from(total)).unwrap_or(100);
    let seconds = elapsed.as_secs_f64().max(0.001);
    let rate = done as f64 / seconds;
    let left = left.unwrap_or_else(|| (rate > 0.0).then(|| ((total - done) as f64 / rate).ceil() as u64));
    let left = left.map_or(String::new(), |s| format!(", {} left", wait(s.saturating_mul(1000))));
    format!("{what}: {percent:3} %, {} of {}, {}/s{left}", size(done), size(total), size(rate as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_percent_rate_and_time_left() {
        assert_eq!(
            line("checking", 256 << 20, 1 << 30, Duration::from_secs(4), None),
            "checking:  25 %, 256.0 MiB of 1.0 GiB, 64.0 MiB/s, 12 s left"
        );
        assert_eq!(
            line("checking", 0, 1 << 30, Duration::from_secs(4), None),
            "checking:   0 %, 0 B of 1.0 GiB, 0 B/s"
        );
        assert_eq!(
            line("checking", 5, 5, Duration::ZERO, Some(Some(0))),
            "checking: 100 %, 5 B of 5 B, 4.9 KiB/s, 0 s left"
        );
        assert_eq!(line("x", 0, 0, Duration::from_secs(1), Some(None)), "x: 100 %, 0 B of 0 B, 0 B/s");
    }
}
