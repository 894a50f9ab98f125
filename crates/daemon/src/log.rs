//! Log lines: how they look, and how many of a kind there are.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use penstock_settings::{LogFormat, LogLevel, System};
use tracing::Level;

/// How many lines of a kind there are in a second. Below it each message has its line; beyond it the log would be what
/// limits the box.
const LINES_PER_SECOND: u32 = 50;

/// Writes the log to standard error, as the settings have it. To be called once.
pub fn start(system: &System) {
    let level = match system.log_level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    // A second call finds a log that is already there, which is what was wanted.
    let _ = match system.log_format {
        LogFormat::People => builder.with_target(false).with_ansi(is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

fn is_terminal() -> bool {
    use std::io::IsTerminal as _;
    std::io::stderr().is_terminal()
}

/// The lines of one kind.
#[derive(Debug)]
pub(crate) struct Lines(Mutex<Second>);

#[derive(Debug)]
struct Second {
    from: Instant,
    written: u32,
    /// Since the last line that was written.
    untold: u64,
}

impl Default for Lines {
    fn default() -> Self {
        Self(Mutex::new(Second { from: Instant::now(), written: 0, untold: 0 }))
    }
}

impl Lines {
    /// Whether the next line may be written, and then how many before it were not.
    pub(crate) fn take(&self) -> Option<u64> {
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if second.written >= LINES_PER_SECOND {
            if second.from.elapsed() < Duration::from_secs(1) {
                second.untold += 1;
                return None;
            }
            second.from = Instant::now();
            second.written = 0;
        }
        second.written += 1;
        Some(std::mem::take(&mut second.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_instead_of_told() {
        let lines = Lines::default();
        let told = (0..LINES_PER_SECOND + 7).filter(|_| lines.take() == Some(0)).count();
        assert_eq!(told, LINES_PER_SECOND as usize);
        let mut second = lines.0.lock().unwrap();
        second.from -= Duration::from_secs(1);
        drop(second);
        assert_eq!(lines.take(), Some(7));
    }
}
