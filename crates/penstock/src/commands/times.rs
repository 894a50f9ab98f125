//! Moments as people type them.

use jiff::civil;
use jiff::{Timestamp, Zoned};

use crate::failure::{Exit, Failure};

/// Which day a bare time of day is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Day {
    /// The next one on which it comes.
    Next,
    /// The last one on which it was.
    Last,
}

/// The moment that a text means, in ms since 1970: with a zone, or a date and a time here, or a time of day. `option` is what
/// it was given for.
pub(super) fn moment(option: &str, text: &str, day: Day, help: &str) -> Result<u64, Failure> {
    meant(text, day, &Zoned::now())
        .map_err(|why| Failure::new(Exit::Usage, "PS-D308", format!("{option} '{text}': {why}"), help))
}

fn meant(text: &str, day: Day, now: &Zoned) -> Result<u64, &'static str> {
    let zone = now.time_zone();
    let here = |when: civil::DateTime| zone.to_zoned(when).map(|zoned| zoned.timestamp());
    let moment = if let Ok(timestamp) = text.parse::<Timestamp>() {
        Ok(timestamp)
    } else if let Ok(when) = text.parse::<civil::DateTime>() {
        here(when)
    } else if let Ok(time) = text.parse::<civil::Time>() {
        let today = now.date().to_datetime(time);
        let one_day = jiff::Span::new().days(1);
        here(match day {
            Day::Next if today <= now.datetime() => today.saturating_add(one_day),
            Day::Last if today > now.datetime() => today.saturating_sub(one_day),
            Day::Next | Day::Last => today,
        })
    } else {
        return Err("no time");
    };
    let moment = moment.map_err(|_| "no time that there is")?;
    u64::try_from(moment.as_millisecond()).map_err(|_| "before 1970")
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn at(text: &str, day: Day) -> Option<String> {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let now = civil::date(2026, 3, 1).at(2, 0, 0, 0).to_zoned(berlin.clone()).unwrap();
        let ms = i64::try_from(meant(text, day, &now).ok()?).unwrap();
        Some(Timestamp::from_millisecond(ms).unwrap().to_zoned(berlin).datetime().to_string())
    }

    #[test]
    fn a_time_of_day_is_the_next_one_that_comes_or_the_last_one_that_was() {
        assert_eq!(at("06:00", Day::Next).as_deref(), Some("2026-03-01T06:00:00"));
        assert_eq!(at("01:30", Day::Next).as_deref(), Some("2026-03-02T01:30:00"));
        assert_eq!(at("06:00", Day::Last).as_deref(), Some("2026-02-28T06:00:00"));
        assert_eq!(at("01:30", Day::Last).as_deref(), Some("2026-03-01T01:30:00"));
    }

    #[test]
    fn a_date_is_meant_here_unless_it_has_a_zone() {
        for day in [Day::Next, Day::Last] {
            assert_eq!(at("2026-03-02 06:00", day).as_deref(), Some("2026-03-02T06:00:00"));
            assert_eq!(at("2026-03-02T06:00", day).as_deref(), Some("2026-03-02T06:00:00"));
            assert_eq!(at("2026-03-02", day).as_deref(), Some("2026-03-02T00:00:00"));
            assert_eq!(at("2026-03-02T06:00:00Z", day).as_deref(), Some("2026-03-02T07:00:00"));
            assert_eq!(at("2026-07-01T06:00:00Z", day).as_deref(), Some("2026-07-01T08:00:00"));
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["25:00", "soon", "", "2026-02-30 06:00", "1960-01-01 00:00"] {
            assert_eq!(at(text, Day::Last), None, "{text}");
        }
    }
}
