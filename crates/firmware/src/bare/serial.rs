//! The serial port, 115,200 baud.

use core::fmt::{self, Write as _};
use core::sync::atomic::{AtomicU64, Ordering};

use arm_pl011_uart::{DataBits, LineConfig, Parity, StopBits, Uart, UniqueMmioPointer};

use crate::bare::one_core::OneCore;
use crate::bare::start::device;
use crate::journal::Journal;
use crate::tree::Serial;

const BAUD: u32 = 115_200;
/// Where its registers are; 0 until somebody knows.
static BASE: AtomicU64 = AtomicU64::new(0);

/// Tells where it is, and switches it on unless who was there before has done so.
pub fn open(serial: Serial, switch_on: bool) {
    BASE.store(serial.base, Ordering::Relaxed);
    let line = LineConfig { data_bits: DataBits::Bits8, parity: Parity::None, stop_bits: StopBits::One };
    if switch_on && let Some(mut uart) = uart() {
        // A clock that is too slow for this rate is no reason to be silent.
        let _ = uart.enable(line, BAUD, serial.clock_hz);
    }
}

fn uart() -> Option<Uart<'static>> {
    let base = match BASE.load(Ordering::Relaxed) {
        0 => return None,
        base => device(base),
    };
    // SAFETY: the device tree says that the registers of a PL011 are there, and they are mapped as a device for as long as we
    // run. Nothing else in this program accesses them, and the functions below, which drop what they get before they return,
    // do not run at the same time: there is one core and no interrupt, and a panic does not come back.
    #[allow(unsafe_code, reason = "registers are memory")]
    Some(Uart::new(unsafe { UniqueMmioPointer::new(base) }))
}

/// The next character that came, if one did. One that came damaged is none.
pub fn read() -> Option<u8> {
    uart()?.read_word().ok().flatten()
}

/// Sends bytes as they are.
pub fn write(bytes: &[u8]) {
    let Some(mut uart) = uart() else { return };
    for byte in bytes {
        while uart.is_tx_fifo_full() {
            core::hint::spin_loop();
        }
        uart.write_word(*byte);
    }
}

/// Waits until everything has left.
pub fn drain() {
    while uart().is_some_and(|uart| uart.is_busy()) {
        core::hint::spin_loop();
    }
}

/// Sends text, each end of a line as the two characters that a terminal wants.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text;

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (number, line) in text.split('\n').enumerate() {
            if number > 0 {
                write(b"\r\n");
            }
            write(line.as_bytes());
        }
        Ok(())
    }
}

/// Sends text as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl fmt::Write for Raw {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text.as_bytes());
        Ok(())
    }
}

/// What was said.
static JOURNAL: OneCore<Journal> = OneCore::new(Journal::new());

/// Sends a line, and keeps it.
pub fn say(line: fmt::Arguments<'_>) {
    // Neither fails, and what cannot be formatted is no reason to stop.
    let _ = writeln!(Text, "{line}");
    keep(line);
}

/// Keeps a line without sending it.
pub(super) fn keep(line: fmt::Arguments<'_>) {
    JOURNAL.with(|journal| writeln!(journal, "{line}"));
}

/// Writes the newest lines that were said.
pub(super) fn newest(lines: usize, out: &mut dyn fmt::Write) -> fmt::Result {
    JOURNAL.with(|journal| journal.newest(lines, out)).unwrap_or(Ok(()))
}
