//! Asking the network, by the interface that takes the mail. That goes on meanwhile: whoever asks waits, and nobody else.

use core::fmt::{self, Write};
use core::net::IpAddr;

use penstock_console::Failure;
use penstock_rescue::smoltcp::time::Duration;
use penstock_rescue::{Answer, Question, Unasked};

use super::{NOT_THERE, Upper, failure, lost};
use crate::bare::serial;
use crate::bare::taking::now;
use crate::hops::next_hops;

/// From one echo request to the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// Ctrl-C: enough was seen.
const ENOUGH: u8 = 3;

type Done = Result<(), Failure>;

/// What came of a question.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Good,
    Bad,
    /// Somebody has seen enough.
    GivenUp,
}

pub(super) fn arp(upper: &Upper<'_>, out: &mut dyn Write) -> Done {
    for neighbour in upper.taking.neighbours() {
        let [a, b, c, d, e, f] = neighbour.mac;
        let ago_s = (now() - neighbour.heard).secs();
        let address = neighbour.address;
        writeln!(out, "{address}  {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}  {ago_s} s ago")
            .map_err(lost)?;
    }
    Ok(())
}

pub(super) fn ping(upper: &mut Upper<'_>, (host, count): (IpAddr, u16), out: &mut dyn Write) -> Done {
    writeln!(out, "{host}, {count} times; Ctrl-C ends").map_err(lost)?;
    let (mut sent, mut answered) = (0_u16, 0_u16);
    for number in 1..=count {
        let next = now() + INTERVAL;
        sent += 1;
        let outcome = ask(upper, Question::Echo(host), format_args!("{number:>4}"), out)?;
        answered += u16::from(outcome == Outcome::Good);
        if outcome == Outcome::GivenUp || number < count && !waits(upper, |_| now() >= next) {
            break;
        }
    }
    writeln!(out, "{sent} sent, {answered} answered").map_err(lost)?;
    if answered == 0 {
        return Err(failure("PS-K031", format_args!("{host} does not answer")));
    }
    Ok(())
}

pub(super) fn smtp(upper: &mut Upper<'_>, out: &mut dyn Write) -> Done {
    let hops = upper.taking.settings().map(next_hops).unwrap_or_default();
    let mut unanswered = 0;
    for hop in &hops {
        let name = format_args!("{} ({})", hop.name, hop.written);
        let outcome = match hop.address {
            Some(address) => ask(upper, Question::Greeting(address), name, out)?,
            None => {
                writeln!(out, "{name}  is a name, which is not looked up here").map_err(lost)?;
                Outcome::Bad
            }
        };
        unanswered += usize::from(outcome != Outcome::Good);
        if outcome == Outcome::GivenUp {
            break;
        }
    }
    match (hops.len(), unanswered) {
        (0, _) => Err(failure(NOT_THERE, "the settings have no next hop")),
        (_, 0) => Ok(()),
        (all, some) => Err(failure("PS-K012", format_args!("{some} of {all} next hops did not greet"))),
    }
}

/// Asks, and says on a line who was asked and what came of it.
fn ask(
    upper: &mut Upper<'_>,
    question: Question,
    who: fmt::Arguments<'_>,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    upper.taking.ask(question).map_err(|why| {
        let why = match why {
            Unasked::NoNetwork => "there is no network here: `status` says why",
            Unasked::NoAddress => "the box has no address to ask that one from: `net`",
        };
        failure(NOT_THERE, why)
    })?;
    write!(out, "{who}  ").map_err(lost)?;
    let mut told = Ok(Outcome::Bad);
    let is_over = waits(upper, |upper| {
        let (text, outcome) = match upper.taking.answer() {
            Answer::Waiting => return false,
            Answer::Echoed { after } => (writeln!(out, "{} ms", Milliseconds(after)), Outcome::Good),
            Answer::Greeted { line, after } => {
                let outcome = if line.starts_with("220") { Outcome::Good } else { Outcome::Bad };
                (writeln!(out, "{line} ({} ms)", Milliseconds(after)), outcome)
            }
            Answer::Refused => (writeln!(out, "refuses the connection, or ends it"), Outcome::Bad),
            Answer::Silent => (writeln!(out, "no answer in time"), Outcome::Bad),
        };
        told = text.map_err(lost).map(|()| outcome);
        true
    });
    if is_over { told } else { writeln!(out, "given up").map_err(lost).map(|()| Outcome::GivenUp) }
}

/// Takes mail until something holds; whether it did before somebody had seen enough.
fn waits(upper: &mut Upper<'_>, mut holds: impl FnMut(&mut Upper<'_>) -> bool) -> bool {
    loop {
        upper.taking.poll();
        upper.feed_watchdog();
        if holds(upper) {
            return true;
        }
        if serial::read() == Some(ENOUGH) {
            return false;
        }
    }
}

/// A time in milliseconds, with a tenth.
struct Milliseconds(Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0.total_micros() / 100;
        write!(f, "{}.{}", tenths / 10, tenths % 10)
    }
}
