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
pub(crate) struct Lines {
    /// So many are written within that time.
    most: u32,
    within: Duration,
    span: Mutex<Span>,
}

#[derive(Debug)]
struct Span {
    from: Instant,
    written: u32,
    /// Since the last line that was written.
    untold: u64,
}

impl Default for Lines {
    fn default() -> Self {
        Self::new(LINES_PER_SECOND, Duration::from_secs(1))
    }
}

impl Lines {
    fn new(most: u32, within: Duration) -> Self {
        Self { most, within, span: Mutex::new(Span { from: Instant::now(), written: 0, untold: 0 }) }
    }

    /// Those of a state that lasts: one a minute.
    pub(crate) fn seldom() -> Self {
        Self::new(1, Duration::from_secs(60))
    }

    /// Whether the next line may be written, and then how many before it were not.
    pub(crate) fn take(&self) -> Option<u64> {
        let mut span = self.span.lock().unwrap_or_else(PoisonError::into_inner);
        if span.written >= self.most {
            if span.from.elapsed() < self.within {
                span.untold += 1;
                return None;
            }
            span.from = Instant::now();
            span.written = 0;
        }
        span.written += 1;
        Some(std::mem::take(&mut span.untold))
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
        let mut span = lines.span.lock().unwrap();
        span.from -= Duration::from_secs(1);
        drop(span);
        assert_eq!(lines.take(), Some(7));
    }
}
