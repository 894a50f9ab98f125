//! The times of `penstock hold`.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::civil;
use jiff::{Timestamp, Zoned};
use penstock_daemon::control::types::Mode;

use crate::args::Hold;
use crate::failure::{Exit, Failure};

/// The hold that was asked for.
pub(super) fn mode(hold: &Hold) -> Result<Mode, Failure> {
    let until_unix_ms = match (hold.for_, &hold.until) {
        (Some(duration), _) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Some(u64::try_from((now + duration).as_millis()).unwrap_or(u64::MAX))
        }
        (None, Some(text)) => Some(future(text, &Zoned::now())?),
        (None, None) => None,
    };
    Ok(Mode::Hold { until_unix_ms })
}

/// The moment that a text means, in ms since 1970: with a zone, or a date and a time here, or the next time the clock
/// shows this.
fn future(text: &str, now: &Zoned) -> Result<u64, Failure> {
    let refuse = |why: &str| {
        Failure::new(
            Exit::Usage,
            "PS-D308",
            format!("--until '{text}': {why}"),
            "Such as 06:00, '2026-03-01 06:00' or 2026-03-01T06:00:00Z; or say --for 2h.",
        )
    };
    let zone = now.time_zone();
    let here = |when: civil::DateTime| zone.to_zoned(when).map(|zoned| zoned.timestamp());
    let moment = if let Ok(timestamp) = text.parse::<Timestamp>() {
        Ok(timestamp)
    } else if let Ok(when) = text.parse::<civil::DateTime>() {
        here(when)
    } else if let Ok(time) = text.parse::<civil::Time>() {
        let today = now.date().to_datetime(time);
        if today > now.datetime() {
            here(today)
        } else {
            here(today.saturating_add(jiff::Span::new().days(1)))
        }
    } else {
        return Err(refuse("no time"));
    };
    let moment = moment.map_err(|_| refuse("no time that there is"))?;
    if moment <= now.timestamp() {
        return Err(refuse("has passed"));
    }
    u64::try_from(moment.as_millisecond()).map_err(|_| refuse("has passed"))
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn until(text: &str) -> Option<String> {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let now = civil::date(2026, 3, 1).at(2, 0, 0, 0).to_zoned(berlin.clone()).unwrap();
        let ms = i64::try_from(future(text, &now).ok()?).unwrap();
        Some(Timestamp::from_millisecond(ms).unwrap().to_zoned(berlin).datetime().to_string())
    }

    #[test]
    fn a_time_of_day_is_the_next_one_that_comes() {
        assert_eq!(until("06:00").as_deref(), Some("2026-03-01T06:00:00"));
        assert_eq!(until("01:30").as_deref(), Some("2026-03-02T01:30:00"));
    }

    #[test]
    fn a_date_is_meant_here_unless_it_has_a_zone() {
        assert_eq!(until("2026-03-02 06:00").as_deref(), Some("2026-03-02T06:00:00"));
        assert_eq!(until("2026-03-02T06:00").as_deref(), Some("2026-03-02T06:00:00"));
        assert_eq!(until("2026-03-02T06:00:00Z").as_deref(), Some("2026-03-02T07:00:00"));
        assert_eq!(until("2026-07-01T06:00:00Z").as_deref(), Some("2026-07-01T08:00:00"));
    }

    #[test]
    fn what_has_passed_or_is_no_time_is_refused() {
        for text in ["2026-02-28 06:00", "2026-03-01T00:59:59Z", "25:00", "soon", "", "2026-02-30 06:00"] {
            assert_eq!(until(text), None, "{text}");
        }
    }
}
