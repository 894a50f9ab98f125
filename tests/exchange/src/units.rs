//! Numbers as people write them in a scenario: `90s`, `36MB`, `40%`.

/// Milliseconds in a second.
pub const SECOND: u64 = 1000;
/// Milliseconds in a minute.
pub const MINUTE: u64 = 60 * SECOND;
/// Milliseconds in an hour.
pub const HOUR: u64 = 60 * MINUTE;
/// Milliseconds in a day.
pub const DAY: u64 = 24 * HOUR;

/// `500ms`, `90s`, `10m`, `48h`, `6d`, in milliseconds.
pub fn duration(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..)? {
        "ms" => 1.0,
        "s" => SECOND as f64,
        "m" => MINUTE as f64,
        "h" => HOUR as f64,
        "d" => DAY as f64,
        _ => return None,
    };
    // A year is more than any scenario lasts.
    let ms = number(digits)? * unit;
    (ms <= 366.0 * DAY as f64).then_some(ms as u64)
}

/// `300`, `256KB`, `36MB` (of 1,024 and 1,048,576 bytes, as Exchange means them), in bytes.
pub(crate) fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..)? {
        "" => 1.0,
        "KB" => 1024.0,
        "MB" => 1_048_576.0,
        _ => return None,
    };
    let bytes = number(digits)? * unit;
    (bytes <= 1e12).then_some(bytes as u64)
}

/// `40%`, or the same without the sign.
pub(crate) fn percent(text: &str) -> Option<f64> {
    number(text.strip_suffix('%').unwrap_or(text)).filter(|percent| *percent <= 100.0)
}

/// A number that is not negative.
pub(crate) fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0 && *number <= 1e15)
}

/// Milliseconds in the largest unit that leaves a number worth reading.
pub(crate) fn show(ms: u64) -> String {
    match ms {
        _ if ms >= 2 * DAY => format!("{:.1} d", ms as f64 / DAY as f64),
        _ if ms >= 2 * HOUR => format!("{:.1} h", ms as f64 / HOUR as f64),
        _ if ms >= 10 * MINUTE => format!("{:.1} min", ms as f64 / MINUTE as f64),
        _ => format!("{:.1} s", ms as f64 / SECOND as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_sizes_and_shares_are_read_as_people_write_them() {
        assert_eq!(duration("90s"), Some(90_000));
        assert_eq!(duration("0.5m"), Some(30_000));
        assert_eq!(duration("250ms"), Some(250));
        assert_eq!(duration("6d"), Some(6 * DAY));
        for wrong in ["", "s", "90", "-1s", "90 s", "1y", "1e30d", "NaNs"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        assert_eq!(size("36MB"), Some(37_748_736));
        assert_eq!(size("300"), Some(300));
        assert_eq!(size("1GB"), None);
        assert_eq!(percent("40%"), Some(40.0));
        assert_eq!(percent("140"), None);
    }
}
