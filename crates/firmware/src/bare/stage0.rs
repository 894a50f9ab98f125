//! Stage 0: picks a firmware, verifies it in memory and starts it. Where there is none it waits for one on the serial line.

use core::cell::Cell;

use penstock_slots::{Journal, Kept, Rejected, Slot};

use crate::bare::begin::{Begun, say_error, say_failed, say_kept_report, say_reason};
use crate::bare::flash::{Banks, Chips};
use crate::bare::{cpu, fail, memory, psci};
use crate::board::slot_name;
use crate::decide::{Stage0, decide_stage0, state};
use crate::handover::{HANDOVER_BYTES, Handover, reason_name};
use crate::load::Loader;
use crate::part::Part;
use crate::{Error, say};

/// What the firmware is told stands here, in memory that is stage 0's.
static TOLD: Told = Told(Cell::new([0; HANDOVER_BYTES]));

#[repr(align(64))]
struct Told(Cell<[u8; HANDOVER_BYTES]>);

// SAFETY: one core runs.
#[allow(unsafe_code, reason = "a cell that one core has")]
unsafe impl Sync for Told {}

/// Runs stage 0.
pub fn main(tree_at: u64, reset_ticks: u64) -> ! {
    let begun = Begun::new(true, tree_at, reset_ticks);
    let mailbox = memory::read_mailbox();
    say_reason(mailbox.as_ref(), reason_name(mailbox.map(|mailbox| mailbox.cause)));
    say_kept_report();
    // Only the first: the others are none of its business.
    let banks = Banks::open(1);
    let mut loader = Loader::new(begun.slot_memory());
    let stage0 = boot_state(&banks).map(|mut journal| {
        let floor = state(&journal).firmware.floor;
        decide_stage0(&mut journal, mailbox, begun.now_s(), reset_ticks, |slot| {
            load(&begun, &banks, &mut loader, slot, floor)
        })
    });
    match stage0 {
        Ok(Stage0 { start: Some(told), mailbox, failed }) => {
            say_failed(failed);
            if loader.loaded().is_none_or(|(slot, _)| slot != told.slot) {
                // Verified, and then another one was looked at.
                let _ = load(&begun, &banks, &mut loader, told.slot, 0);
            }
            memory::write_mailbox(&mailbox);
            let error = start(&begun, &loader, &told);
            say_error("start", &error);
        }
        Ok(Stage0 { start: None, failed, .. }) => {
            say_failed(failed);
            say!("stage0: no firmware can be started");
        }
        Err(error) => say_error("boot-state", &error),
    }
    psci::reset()
}

fn boot_state(banks: &Banks) -> Result<Journal<Part<'_, Chips>>, Error> {
    Journal::open(banks.part("boot-state")?).map_err(|_| Error::NoPartition("boot-state"))
}

fn load(
    begun: &Begun,
    banks: &Banks,
    loader: &mut Loader<'_>,
    slot: Slot,
    floor: u32,
) -> Result<(), Rejected> {
    let name = slot_name(Kept::Firmware, slot);
    let began = cpu::ticks();
    let part = banks.part(name).map_err(|error| {
        say_error(name, &error);
        Rejected::None
    })?;
    let loaded = loader.load(&part, (Kept::Firmware, slot), begun.keys(), floor, || {});
    match (&loaded, loader.loaded()) {
        (Ok(()), Some((_, manifest))) => {
            let version = manifest.held.version();
            say!("stage0: verified {name} {version} in {} ms", cpu::ms_since(began));
        }
        (Err(rejected), _) => say!("stage0: rejected {name}: {rejected}"),
        (Ok(()), None) => {}
    }
    loaded
}

/// Copies the firmware to where it is linked and leaves for it. Returns only if it cannot be started.
fn start(begun: &Begun, loader: &Loader<'_>, told: &Handover) -> Error {
    let Some(image) = loader.part(0) else { return Error::NoPart("firmware") };
    let place = &begun.plan.firmware;
    // SAFETY: the plan gives it to the firmware alone, which does not run yet.
    #[allow(unsafe_code, reason = "memory that nobody has yet")]
    let memory = unsafe { memory::take(place) };
    let Some(there) = memory.get_mut(..image.len()) else { return Error::FirmwareTooLarge };
    there.copy_from_slice(image);
    cpu::clean(&(place.start..place.start + image.len() as u64));
    TOLD.0.set(told.to_bytes());
    say!("stage0: starts firmware-{}, {} ms", told.slot.letter(), fail::since_reset_ms());
    // SAFETY: what was verified is a firmware for this board, which is linked to this place and entered at its first byte; it
    // is cleaned, and stage 0 has no device that accesses memory.
    #[allow(unsafe_code, reason = "stage 0 ends here")]
    unsafe {
        cpu::leave(place.start, TOLD.0.as_ptr() as u64, &memory::own())
    }
}
