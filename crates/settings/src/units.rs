//! Durations and sizes as people write them: `"30s"`, `"10m"`, `"36MiB"`.
//!
//! One whole number and one unit; no fractions and no sums, so that a value has one obvious spelling.

use core::fmt;
use core::time::Duration;

/// Milliseconds in each unit of time, largest first.
const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Bytes in each unit of size, largest first.
const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A size in bytes that prints and parses with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl Bytes {
    pub(crate) const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    pub(crate) const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    pub(crate) const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// The size that `text` says, or `None` if it is no size.
    pub fn from_text(text: &str) -> Option<Self> {
        parse(text, &SIZE_UNITS).map(Self)
    }
}

/// Exact: the largest unit that leaves no remainder.
impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(self.0, &SIZE_UNITS, out)
    }
}

/// Prints a duration exactly, as the settings file would have it: the largest unit that leaves no remainder, down to
/// milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationText(pub Duration);

impl DurationText {
    /// The duration that `text` says, or `None` if it is none.
    pub fn parse(text: &str) -> Option<Duration> {
        parse(text, &TIME_UNITS).map(Duration::from_millis)
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), &TIME_UNITS, out)
    }
}

pub(crate) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) const fn mins(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

pub(crate) const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3600)
}

pub(crate) const fn days(n: u64) -> Duration {
    Duration::from_secs(n * 86_400)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn print(amount: u64, units: &[(&str, u64)], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    // Every unit divides nothing: it is "0s" and "0B", not "0d" and "0TiB".
    let fits = |(name, factor): &&(&str, u64)| {
        if amount == 0 { ["s", "B"].contains(name) } else { amount.is_multiple_of(*factor) }
    };
    let (name, factor) = units.iter().find(fits).copied().unwrap_or(("", 1));
    write!(out, "{}{name}", amount / factor)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_write_is_understood() {
        assert_eq!(Bytes::from_text("36MiB"), Some(Bytes(37_748_736)));
        assert_eq!(Bytes::from_text("0B"), Some(Bytes(0)));
        assert_eq!(DurationText::parse("5s"), Some(secs(5)));
        assert_eq!(DurationText::parse("30d"), Some(days(30)));
        assert_eq!(DurationText::parse("250ms"), Some(Duration::from_millis(250)));
    }

    #[test]
    fn what_could_mean_two_things_is_not() {
        for text in ["", "5", "s", "5 s", "-5s", "+5s", "1.5h", "1h30m", "5M", "99999999999999999999s", "٥s"]
        {
            assert_eq!(DurationText::parse(text), None, "{text:?}");
        }
        for text in ["36", "36MB", "36mib", "36 MiB", "16777216TiB", "0x10B"] {
            assert_eq!(Bytes::from_text(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_means_the_same_when_read(amount in 0u64..(1 << 53)) {
            prop_assert_eq!(Bytes::from_text(&Bytes(amount).to_string()), Some(Bytes(amount)));
            let duration = Duration::from_millis(amount);
            prop_assert_eq!(DurationText::parse(&DurationText(duration).to_string()), Some(duration));
        }
    }
}
