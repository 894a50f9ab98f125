//! When the firmware itself fails: a report on the serial line and in memory, and a reset that counts.

use core::fmt::Write as _;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aarch64_rt::RegisterStateRef;
use penstock_slots::{Cause, Mailbox};

use crate::VERSION;
use crate::bare::{cpu, memory, psci, serial};
use crate::report::Report;

static IS_STAGE0: AtomicBool = AtomicBool::new(false);
static RESET_TICKS: AtomicU64 = AtomicU64::new(0);
/// A report is being written: what fails now fails in here.
static IS_FAILING: AtomicBool = AtomicBool::new(false);

/// Tells who runs, for reports.
pub fn open(is_stage0: bool, reset_ticks: u64) {
    IS_STAGE0.store(is_stage0, Ordering::Relaxed);
    RESET_TICKS.store(reset_ticks, Ordering::Relaxed);
}

/// Whether this program is stage 0.
pub fn is_stage0() -> bool {
    IS_STAGE0.load(Ordering::Relaxed)
}

/// The name of this program.
pub fn program() -> &'static str {
    if is_stage0() { "stage0" } else { "firmware" }
}

/// Milliseconds since the reset.
pub fn since_reset_ms() -> u64 {
    cpu::ms_since(RESET_TICKS.load(Ordering::Relaxed))
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    fail(|report| {
        let place = info.location().map_or(("?", 0), |place| (place.file(), place.line()));
        let _ = writeln!(report, "PS-W001: {} {VERSION} panicked", program());
        let _ = writeln!(report, "where: {}:{}", place.0, place.1);
        let _ = writeln!(report, "what: {}", info.message());
    })
}

pub(super) fn exception(what: &str, state: &RegisterStateRef<'_>) -> ! {
    fail(|report| {
        let (cause, address, level) = cpu::syndrome();
        let _ = writeln!(report, "PS-W002: {} {VERSION} met a {what}", program());
        let _ = writeln!(report, "esr {cause:#010x} far {address:#018x} el {level}");
        let _ = writeln!(report, "elr {:#018x} spsr {:#010x}", state.elr, state.spsr);
        let _ = writeln!(report, "fp {:#018x} lr {:#018x}", state.fp, state.sp);
        for (number, value) in state.registers.iter().enumerate() {
            let end = if number % 3 == 2 { "\n" } else { " " };
            let _ = write!(report, "x{number} {value:#018x}{end}");
        }
        let _ = writeln!(report);
    })
}

/// Something that has to be there is not, and nothing can be done about it here.
pub fn give_up(why: crate::Error) -> ! {
    fail(|report| {
        let _ = writeln!(report, "{why}");
        let _ = writeln!(report, "{} {VERSION} cannot go on", program());
    })
}

fn fail(tell: impl FnOnce(&mut Report)) -> ! {
    if IS_FAILING.swap(true, Ordering::Relaxed) {
        psci::reset();
    }
    let mut report = Report::new();
    tell(&mut report);
    let _ = writeln!(report, "when: {} ms after the reset", since_reset_ms());
    memory::write_report(&mut report);
    let before = memory::read_mailbox().unwrap_or(Mailbox::NEW);
    memory::write_mailbox(&Mailbox { cause: Cause::Firmware, ..before });
    let _ = serial::Text.write_str(core::str::from_utf8(report.text()).unwrap_or("?"));
    serial::say(format_args!("{}: reset", program()));
    psci::reset();
}
