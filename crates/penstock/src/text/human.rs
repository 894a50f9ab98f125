//! Figures as people say them, and foreign texts made harmless.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `1,204`
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 message`, `1,204 messages`
pub(crate) fn counted(n: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(n), if n == 1 { "" } else { "s" })
}

/// `312.4 MiB`
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would print as 1024.0 is 1.0 of the next.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A length of time in its two largest units: `3 d 4 h`, `5 h 12 min`, `4 s`.
pub(crate) fn span(ms: u64) -> String {
    let s = ms / 1000;
    let (days, hours, minutes, seconds) = (s / 86_400, s / 3600 % 24, s / 60 % 60, s % 60);
    let two = |large: u64, unit: &str, small: u64, small_unit: &str| {
        if small == 0 { format!("{large} {unit}") } else { format!("{large} {unit} {small} {small_unit}") }
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) if minutes < 10 => two(minutes, "min", seconds, "s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => two(hours, "h", minutes, "min"),
        (1..=9, _, _) => two(days, "d", hours, "h"),
        _ => format!("{} d", count(days)),
    }
}

/// A wait, which is never told as nothing: `4 s`, with what is left of a second counted as one.
pub(crate) fn wait(ms: u64) -> String {
    span(ms.div_ceil(1000) * 1000)
}

/// The time between two moments; nothing if the clock went back.
pub(crate) fn since(now_unix_ms: u64, then_unix_ms: u64) -> String {
    span(now_unix_ms.saturating_sub(then_unix_ms))
}

/// A moment in the local time zone: `2026-03-01 06:00:00`.
pub(crate) fn moment(unix_ms: u64) -> String {
    let timestamp = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    match timestamp {
        Some(timestamp) => timestamp.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => "?".into(),
    }
}

/// A moment that is near: `06:00` on the same day, with the date on others.
pub(crate) fn near_moment(now_unix_ms: u64, unix_ms: u64) -> String {
    let (now, then) = (moment(now_unix_ms), moment(unix_ms));
    let Some((day, time)) = then.split_once(' ') else { return then };
    let time = time.get(..5).unwrap_or(time);
    if now.starts_with(day) { time.into() } else { format!("{day} {time}") }
}

/// A text from elsewhere on one line, with everything taken from it that could steer a terminal or turn its reader.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        // Marks that change the direction of writing make an address look like another.
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}') {
            // Writing to a string cannot fail.
            let _ = write!(plain, "{}", c.escape_unicode());
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_their_thousands_marked() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(counted(1, "message"), "1 message");
        assert_eq!(counted(0, "message"), "0 messages");
    }

    #[test]
    fn sizes_have_one_place_and_never_print_1024() {
        assert_eq!([0, 1023, 1024, 1536].map(size), ["0 B", "1023 B", "1.0 KiB", "1.5 KiB"]);
        assert_eq!([1_048_575, 1 << 20, 3 << 40].map(size), ["1.0 MiB", "1.0 MiB", "3.0 TiB"]);
        assert_eq!(size(u64::MAX), "16384.0 PiB");
    }

    #[test]
    fn spans_have_two_units_and_long_ones_only_days() {
        let s = |s: u64| span(s * 1000);
        assert_eq!([s(0), s(59), s(60), s(61)], ["0 s", "59 s", "1 min", "1 min 1 s"]);
        assert_eq!([s(601), s(3600), s(18_720)], ["10 min", "1 h", "5 h 12 min"]);
        assert_eq!([s(86_400), s(273_600), s(86_400 * 1000)], ["1 d", "3 d 4 h", "1,000 d"]);
        assert_eq!(wait(1), "1 s");
    }

    #[test]
    fn a_clock_that_went_back_gives_no_negative_age() {
        assert_eq!(since(1_000, 2_000), "0 s");
    }

    #[test]
    fn what_a_stranger_wrote_cannot_steer_the_terminal() {
        assert_eq!(plain("550 \u{1b}[2Jgone\r\n"), "550 \\u{1b}[2Jgone\\u{d}\\u{a}");
        assert_eq!(plain("moc.\u{202e}evil@mia"), "moc.\\u{202e}evil@mia");
        assert_eq!(plain("böse@例え.jp"), "böse@例え.jp");
    }
}
