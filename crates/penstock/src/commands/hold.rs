//! The times of `penstock hold`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use penstock_daemon::control::types::Mode;

use super::times::{Day, moment};
use crate::args::Hold;
use crate::failure::{Exit, Failure};

/// The hold that was asked for.
pub(super) fn mode(hold: &Hold) -> Result<Mode, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let until_unix_ms = match (hold.for_, &hold.until) {
        (Some(duration), _) => Some(u64::try_from((now + duration).as_millis()).unwrap_or(u64::MAX)),
        (None, Some(text)) => Some(future(text, now)?),
        (None, None) => None,
    };
    Ok(Mode::Hold { until_unix_ms })
}

/// The next moment that a text means, in ms since 1970.
fn future(text: &str, now: Duration) -> Result<u64, Failure> {
    let help = "Such as 06:00, '2026-03-01 06:00' or 2026-03-01T06:00:00Z; or say --for 2h.";
    let moment = moment("--until", text, Day::Next, help)?;
    if u128::from(moment) <= now.as_millis() {
        let message = format!("--until '{text}': has passed");
        return Err(Failure::new(Exit::Usage, "PS-D308", message, help));
    }
    Ok(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_ends_in_the_future() {
        let now = Duration::from_secs(1_772_323_200);
        assert_eq!(future("2026-03-01T06:00:00Z", now).ok(), Some(1_772_344_800_000));
        for text in ["2026-02-28T06:00:00Z", "2026-03-01T00:00:00Z", "soon"] {
            assert!(future(text, now).is_err(), "{text}");
        }
    }
}
