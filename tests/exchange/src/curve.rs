//! A quantity that may change with time: a capacity, how full a drive is.

use std::fmt;

use crate::units::{duration, number, show};

/// What a quantity is at each moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Curve {
    /// The same at all times.
    Fixed(f64),
    /// Up from `low` to `high` and down again, in straight lines, once in `period_ms`.
    Wave {
        /// The least.
        low: f64,
        /// The most.
        high: f64,
        /// From one low to the next, in milliseconds.
        period_ms: u64,
    },
}

impl Curve {
    /// What it is at a time.
    pub(crate) fn at(&self, now_ms: u64) -> f64 {
        match *self {
            Self::Fixed(value) => value,
            Self::Wave { low, high, period_ms } => {
                let phase = (now_ms % period_ms) as f64 / period_ms as f64;
                let height = 1.0 - (2.0 * phase - 1.0).abs();
                low + (high - low) * height
            }
        }
    }

    /// `20`, or `wave 10 30 60s`.
    pub(crate) fn parse(words: &[&str]) -> Option<Self> {
        match words {
            [value] => percent_or_number(value).map(Self::Fixed),
            ["wave", low, high, period] => {
                let (low, high) = (percent_or_number(low)?, percent_or_number(high)?);
                let period_ms = duration(period).filter(|period_ms| *period_ms > 0)?;
                (low <= high).then_some(Self::Wave { low, high, period_ms })
            }
            _ => None,
        }
    }
}

fn percent_or_number(text: &str) -> Option<f64> {
    number(text.strip_suffix('%').unwrap_or(text))
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(value) => write!(f, "{value:.1}"),
            Self::Wave { low, high, period_ms } => {
                write!(f, "{low:.1} to {high:.1} every {}", show(*period_ms))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_rises_and_falls_once_in_its_period() {
        let wave = Curve::parse(&["wave", "10", "30", "60s"]).unwrap();
        assert_eq!([0, 15_000, 30_000, 45_000, 60_000].map(|ms| wave.at(ms)), [10.0, 20.0, 30.0, 20.0, 10.0]);
        for wrong in [&["wave", "30", "10", "60s"][..], &["wave", "1", "2", "0s"], &["x"], &[]] {
            assert_eq!(Curve::parse(wrong), None);
        }
    }
}
