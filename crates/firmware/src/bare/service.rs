//! What the firmware does when no system is started: it takes mail, and has a console.
//!
//! How long, depends on why. Where none can be started it stays; where one does not stay up the policy says for how long; and
//! who asked for it by the word has it until the console is left, or nobody types.

use core::cell::RefCell;
use core::fmt;

use penstock_console::{Console, Event, IDLE_MS, Level, Place};
use penstock_slots::{Cause, Mailbox};

use crate::bare::begin::{Begun, say_error};
use crate::bare::commands::{Lower, Next, Upper};
use crate::bare::flash::Banks;
use crate::bare::linux::{self, System};
use crate::bare::serial::Raw;
use crate::bare::taking::Taking;
use crate::bare::virtio::Disk;
use crate::bare::watchdog::Watchdog;
use crate::bare::{cpu, memory, psci, serial};
use crate::handover::Handover;
use crate::load::Loader;
use crate::{own, say};

/// How long the firmware may be busy until the watchdog bites, in milliseconds.
const WATCHDOG_MS: u32 = 60_000;

/// Why no system is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// None can be.
    NoSystem,
    /// One could, and does not stay up: it is tried again after this many seconds.
    Restless { turn_s: u64 },
    /// Somebody typed the word.
    Asked,
}

impl Why {
    /// For people, and the ledger.
    const fn text(self) -> &'static str {
        match self {
            Self::NoSystem => "no system can be started",
            Self::Restless { .. } => "the system does not stay up",
            Self::Asked => "the rescue was asked for at the console",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())?;
        match self {
            Self::Restless { turn_s } => write!(f, "; it is tried again in {} min", turn_s / 60),
            _ => Ok(()),
        }
    }
}

/// Takes mail until it is time for something else. `mailbox` is what a reset is to find that comes in between.
pub(super) fn run(
    begun: &Begun,
    banks: &Banks,
    loader: Loader<'_>,
    from: Handover,
    why: Why,
    mailbox: &Mailbox,
) -> ! {
    memory::write_mailbox(mailbox);
    say!("firmware: rescue: {why}");
    let watchdog = begun.machine.pci.as_ref().and_then(|pci| Watchdog::arm(pci, WATCHDOG_MS));
    if watchdog.is_none() {
        say!("firmware: this machine has no watchdog");
    }
    let identity = banks.part("identity").ok().and_then(|part| own::identity(&part));
    let serial_number = identity.as_ref().map(|identity| identity.serial);
    let disk = Disk::open(&begun.machine.virtio).map(RefCell::new);
    let mut taking = Taking::open(begun, banks, disk.as_ref(), identity, why.text());
    taking.start();
    let lower = Lower::new(begun, banks, loader, Some(from), (from.reason, from.mailbox), serial_number);
    let mut upper = Upper { lower, taking, watchdog };
    let next = serve(&mut upper, why);

    upper.taking.stop();
    while upper.taking.is_running() {
        upper.taking.poll();
        upper.feed_watchdog();
    }
    upper.taking.close();
    if next.is_some() || why == Why::Asked {
        memory::write_mailbox(&Mailbox { cause: Cause::Asked, ..Mailbox::NEW });
    }
    match next {
        Some(Next::PowerOff) => psci::off(),
        Some(Next::BootOnce(Place { slot, .. })) => {
            // Not counted: what a person starts by hand says nothing about the slot that the box starts by itself.
            let mailbox = Mailbox { cause: Cause::Watchdog, was_trial: true, ..Mailbox::NEW };
            let system = System { slot, is_trial: false, mailbox };
            let error = linux::start(begun, banks, &upper.lower.loader, system, &from);
            say_error("boot", &error);
        }
        Some(Next::Boot | Next::Restart) | None => {}
    }
    say!("firmware: the box starts again");
    psci::reset()
}

/// Mail and console, turn by turn, until the time is over or somebody wants something else.
fn serve(upper: &mut Upper<'_>, why: Why) -> Option<Next> {
    let now_ms = || cpu::now_us() / 1000;
    let end_ms = match why {
        Why::Restless { turn_s } => now_ms().saturating_add(turn_s.saturating_mul(1000)),
        Why::NoSystem | Why::Asked => u64::MAX,
    };
    let mut console = Console::new(Level::Firmware, IDLE_MS);
    if why == Why::Asked {
        console.open(now_ms(), upper, &mut Raw);
    } else {
        say!("firmware: 'rescue' and Enter opens the console");
    }
    loop {
        upper.taking.poll();
        upper.feed_watchdog();
        let event = match serial::read() {
            Some(byte) => console.feed(byte, now_ms(), upper, &mut Raw),
            None => console.poll(now_ms(), upper, &mut Raw),
        };
        if matches!(event, Event::Left | Event::Idle) {
            if let Some(next) = upper.lower.next {
                return Some(next);
            }
            if why == Why::Asked {
                return None;
            }
            if !upper.taking.is_running() {
                upper.taking.start();
            }
        }
        // Whoever is at the console is not sent away by the clock.
        if now_ms() >= end_ms && !console.is_open() {
            return None;
        }
    }
}
