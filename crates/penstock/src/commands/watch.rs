//! `penstock watch`: mail being released, until nothing is left to go.

use std::io::Write as _;
use std::time::{Duration, Instant};

use penstock_daemon::control::types::Status;

use super::top::{self, COLUMNS};
use super::write_json;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::text::Screen;
use crate::text::human::{count, counted, plain, size};
use crate::text::keys::{CTRL_C, CTRL_L, Keys};
use crate::text::picture::Picture;

/// How often the picture on a terminal changes.
const PICTURE_EVERY: Duration = Duration::from_secs(1);
/// How often there is a line where none is.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// How wide the bar is.
const BAR_COLUMNS: usize = 40;

/// How far it has come since it was first looked at. What comes in meanwhile makes the whole larger.
#[derive(Debug, Default)]
struct Course {
    whole_messages: u64,
    whole_bytes: u64,
}

impl Course {
    /// How much of the whole is done, of messages and of bytes, in thousandths.
    fn look(&mut self, status: &Status) -> (u64, u64) {
        let progress = &status.progress;
        self.whole_messages = self.whole_messages.max(progress.left_messages);
        self.whole_bytes = self.whole_bytes.max(progress.left_bytes);
        let share = |left: u64, whole: u64| {
            let done = u128::from(whole.saturating_sub(left)) * 1000;
            // Never all of it before it is all of it.
            u64::try_from(done.checked_div(u128::from(whole)).unwrap_or(1000)).unwrap_or(1000)
        };
        (share(progress.left_messages, self.whole_messages), share(progress.left_bytes, self.whole_bytes))
    }
}

pub(super) async fn run(
    client: &Client,
    interval: Option<Duration>,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let draws = screen.is_terminal() && !json;
    let interval = interval.unwrap_or(if draws { PICTURE_EVERY } else { LINE_EVERY });
    let columns = screen.width().unwrap_or(COLUMNS).saturating_sub(1).max(20);
    let keys = draws.then(Keys::take);
    let (mut picture, mut course, mut was_there) = (Picture::default(), Course::default(), false);
    loop {
        let began = Instant::now();
        let is_over = match client.status().await {
            Ok(status) => {
                was_there = true;
                let done = course.look(&status);
                if json {
                    write_json(&status.progress, screen)?;
                } else if draws {
                    let lines = lines(&status, &course, done);
                    screen.write_all(picture.turn_into(&lines, columns).as_bytes())?;
                } else {
                    writeln!(screen, "{}", line(&status, done))?;
                }
                status.progress.left_messages == 0
            }
            // A box that is started anew, or an update: it is looked for again, once it was there.
            Err(Failure::Told(Exit::Unreachable, why)) if was_there => {
                if draws {
                    let lines = [plain(&why.message), "It is looked for again; q leaves.".into()];
                    screen.write_all(picture.turn_into(&lines, columns).as_bytes())?;
                } else if !json {
                    writeln!(screen, "{}", plain(&why.message))?;
                }
                false
            }
            Err(failure) => return Err(failure),
        };
        screen.flush()?;
        if is_over {
            return Ok(());
        }
        let Some(keys) = &keys else {
            tokio::time::sleep(interval.saturating_sub(began.elapsed())).await;
            continue;
        };
        loop {
            match keys.next(interval.saturating_sub(began.elapsed())) {
                Some(b'q' | b'Q' | CTRL_C) => {
                    writeln!(screen)?;
                    screen.flush()?;
                    return Err(Failure::Silent(Exit::Failed));
                }
                Some(CTRL_L) => {
                    picture.forget();
                    break;
                }
                Some(_) => {}
                None => break,
            }
        }
    }
}

/// The picture on a terminal.
fn lines(status: &Status, course: &Course, (messages, bytes): (u64, u64)) -> Vec<String> {
    let progress = &status.progress;
    let of = |left: String, whole: String| format!("{left} of {whole} left");
    let mut lines = vec![
        format!("{}   q leaves", plain(&status.hostname)),
        String::new(),
        format!(
            "Messages  {}  {}",
            bar(messages),
            of(count(progress.left_messages), count(course.whole_messages))
        ),
        format!("Bytes     {}  {}", bar(bytes), of(size(progress.left_bytes), size(course.whole_bytes))),
        format!(
            "Rate      {} and {} a minute, {} under way",
            counted(progress.messages_per_minute.into(), "message"),
            size(progress.bytes_per_minute),
            progress.in_flight
        ),
        format!("Done      {}", top::done(status)),
        format!("Release   {}", top::mode(status)),
    ];
    lines.extend(top::hops(status));
    if let Some(still) = progress.still.as_ref().filter(|_| progress.left_messages > 0) {
        lines.push(format!("Still     {}", plain(still)));
    }
    if status.mail.held > 0 {
        lines.push(format!(
            "Held      {} for you: penstock quarantine list",
            counted(status.mail.held, "message")
        ));
    }
    lines
}

fn bar(thousandths: u64) -> String {
    let filled = (thousandths as usize * BAR_COLUMNS / 1000).min(BAR_COLUMNS);
    format!("[{}{}] {:3} %", "#".repeat(filled), ".".repeat(BAR_COLUMNS - filled), thousandths / 10)
}

/// The line where there is no terminal.
fn line(status: &Status, (messages, _): (u64, u64)) -> String {
    let progress = &status.progress;
    if progress.left_messages == 0 {
        let held = match status.mail.held {
            0 => String::new(),
            held => format!("; {} held for you", counted(held, "message")),
        };
        return format!("nothing is left to go{held}");
    }
    let when = if progress.estimate.is_some() { "done " } else { "" };
    let mut line = format!(
        "{} ({}) left, {} % gone; {when}{}",
        counted(progress.left_messages, "message"),
        size(progress.left_bytes),
        messages / 10,
        top::done(status)
    );
    for hop in status.hops.iter().filter(|hop| !hop.takes_mail) {
        line += &format!("; {} is {}", plain(&hop.name), plain(&hop.state));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_only_at_the_end() {
        assert_eq!(bar(0), format!("[{}]   0 %", ".".repeat(BAR_COLUMNS)));
        assert_eq!(bar(999), format!("[{}.]  99 %", "#".repeat(BAR_COLUMNS - 1)));
        assert_eq!(bar(1000), format!("[{}] 100 %", "#".repeat(BAR_COLUMNS)));
    }
}
