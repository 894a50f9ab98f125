//! What the console shows of slots and flash, as text.

use core::fmt::{self, Write};

use heapless::String;
use penstock_slots::{Condition, Failure, Kept, Pair, RECORD_PLACE_BYTES, Slot, State};

use crate::board::slot_name;

/// How many bytes stand in a line of a dump.
const LINE_BYTES: usize = 16;

/// The longest version, in bytes: `255.4095.4095`.
const VERSION_BYTES_MAX: usize = 16;

/// How a slot stands, in words.
#[derive(Clone, Copy, Debug)]
pub struct Stands(pub Condition);

impl fmt::Display for Stands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Condition::Empty => f.write_str("empty"),
            Condition::Trial { tries_left } => write!(f, "on trial, {tries_left} starts left"),
            Condition::Confirmed => f.write_str("confirmed"),
            Condition::Failed(Failure::Tries) => f.write_str("failed: it never proved itself"),
            Condition::Failed(Failure::Rejected) => f.write_str("failed: not what was signed"),
            Condition::Failed(Failure::RolledBack) => f.write_str("failed: somebody went back from it"),
        }
    }
}

/// A line for each slot: which is tried first, how it stands, what it held when it was written.
///
/// # Errors
/// What the writer reports.
pub fn slots(state: &State, out: &mut dyn Write) -> fmt::Result {
    for kept in [Kept::Firmware, Kept::System] {
        let pair = state.pair(kept);
        for slot in Slot::BOTH {
            let mark = if pair.preferred == slot { '*' } else { ' ' };
            let mut version = String::<VERSION_BYTES_MAX>::new();
            write!(version, "{}", pair.held(slot).version())?;
            let name = slot_name(kept, slot);
            writeln!(out, "{mark} {name:10}  {version:9} {}", Stands(pair.condition(slot)))?;
        }
    }
    writeln!(
        out,
        "* is tried first. Security versions from {} and {} on are started.",
        floor(state, Kept::Firmware),
        floor(state, Kept::System)
    )
}

const fn floor(state: &State, kept: Kept) -> u32 {
    state.pair(kept).floor
}

/// A line for each record in a sector of the boot state.
///
/// # Errors
/// What the writer reports.
pub fn records(sector: usize, bytes: &[u8], out: &mut dyn Write) -> fmt::Result {
    for (number, place) in bytes.chunks_exact(RECORD_PLACE_BYTES).enumerate() {
        let Some(state) = State::from_bytes(place) else { continue };
        let at = number * RECORD_PLACE_BYTES;
        write!(out, "{sector}:{at:05x} number {}:", state.sequence)?;
        for (name, kept) in [("firmware", Kept::Firmware), ("system", Kept::System)] {
            write!(out, " {name} ")?;
            pair(state.pair(kept), out)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn pair(pair: &Pair, out: &mut dyn Write) -> fmt::Result {
    let letter = |slot| match pair.condition(slot) {
        Condition::Empty => "empty",
        Condition::Trial { tries_left: 0 } => "trial-0",
        Condition::Trial { tries_left: 1 } => "trial-1",
        Condition::Trial { tries_left: 2 } => "trial-2",
        Condition::Trial { .. } => "trial-3",
        Condition::Confirmed => "confirmed",
        Condition::Failed(_) => "failed",
    };
    let first = pair.preferred.letter();
    write!(out, "a={} b={} first={first} floor={}", letter(Slot::A), letter(Slot::B), pair.floor)
}

/// Bytes of flash, sixteen a line, with where they stand and what they are as text.
///
/// # Errors
/// What the writer reports.
pub fn dump(mut at: u32, bytes: &[u8], out: &mut dyn Write) -> fmt::Result {
    for line in bytes.chunks(LINE_BYTES) {
        write!(out, "{at:08x} ")?;
        for byte in line {
            write!(out, " {byte:02x}")?;
        }
        for _ in line.len()..LINE_BYTES {
            out.write_str("   ")?;
        }
        out.write_str("  ")?;
        for byte in line {
            let shown = if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
            out.write_char(shown)?;
        }
        writeln!(out)?;
        at = at.saturating_add(LINE_BYTES as u32);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use penstock_slots::{Held, end_update, mark_good};

    use super::*;

    fn updated() -> State {
        let held = |version| Held { version, security: 1 };
        let state = mark_good(&State::new(1, 2), Kept::System, Slot::A, held(0x0100_0000)).unwrap();
        end_update(&state, Kept::System, Slot::A, held(0x0100_1000)).unwrap()
    }

    #[test]
    fn a_slot_is_told_with_what_it_holds_and_how_it_stands() {
        let mut text = String::new();
        slots(&updated(), &mut text).unwrap();
        let lines: alloc::vec::Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "* firmware-a  unknown   confirmed");
        assert_eq!(lines[2], "  system-a    1.0.0     confirmed");
        assert_eq!(lines[3], "* system-b    1.1.0     on trial, 3 starts left");
        assert_eq!(lines[4], "* is tried first. Security versions from 2 and 1 on are started.");
    }

    #[test]
    fn records_are_told_where_they_stand_and_what_is_none_is_not() {
        let mut sector = [0xFF; 4 * RECORD_PLACE_BYTES];
        let record = State { sequence: 9, ..updated() }.to_bytes();
        sector[RECORD_PLACE_BYTES..][..record.len()].copy_from_slice(&record);
        sector[2 * RECORD_PLACE_BYTES..][..40].copy_from_slice(&record[..40]);
        let mut text = String::new();
        records(1, &sector, &mut text).unwrap();
        assert_eq!(
            text,
            "1:00080 number 9: firmware a=confirmed b=confirmed first=a floor=2 system a=confirmed b=trial-3 first=b floor=1\n"
        );
    }

    #[test]
    fn a_dump_can_be_read_by_people() {
        let mut text = String::new();
        dump(0x100, b"PS-BTS-1\x00\xFF and so on", &mut text).unwrap();
        assert_eq!(
            text,
            "00000100  50 53 2d 42 54 53 2d 31 00 ff 20 61 6e 64 20 73  PS-BTS-1.. and s\n\
             00000110  6f 20 6f 6e                                      o on\n"
        );
    }
}
