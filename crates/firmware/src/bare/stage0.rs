//! Stage 0: picks a firmware, verifies it in memory and starts it. Where there is none it waits for one on the serial line.

use penstock_console::Place;
use penstock_slots::{Cause, Kept, Mailbox};

use crate::bare::begin::{Begun, say_error, say_failed, say_kept_report, say_reason};
use crate::bare::commands::{Lower, Next};
use crate::bare::flash::Banks;
use crate::bare::ground::{boot_state, load};
use crate::bare::one_core::OneCore;
use crate::bare::{cpu, fail, memory, psci, stage0_console};
use crate::decide::{Stage0, decide_stage0, state};
use crate::gzip::{gunzip, is_gzip};
use crate::handover::{HANDOVER_BYTES, Handover, reason_name};
use crate::load::Loader;
use crate::{Error, say};

/// What the firmware is told stands here, in memory that is stage 0's.
static TOLD: OneCore<[u8; HANDOVER_BYTES]> = OneCore::new([0; HANDOVER_BYTES]);

/// Runs stage 0.
pub fn main(tree_at: u64, reset_ticks: u64) -> ! {
    let begun = Begun::new(true, tree_at, reset_ticks);
    let mailbox = memory::read_mailbox();
    say_reason(mailbox.as_ref(), reason_name(mailbox.map(|mailbox| mailbox.cause)));
    say_kept_report();
    // Only the first: the others are none of its business.
    let banks = Banks::open(1);
    let mut loader = Loader::new(begun.slot_memory());
    let verify = |loader: &mut Loader<'_>, slot, floor| {
        load((&begun, &banks), loader, (Kept::Firmware, slot), floor, &mut || {})
    };
    let decided = boot_state(&banks).map(|mut journal| {
        let floor = state(&journal).firmware.floor;
        let now_s = begun.now_s();
        let verify = |slot| verify(&mut loader, slot, floor);
        (decide_stage0(&mut journal, mailbox, now_s, reset_ticks, verify), floor)
    });
    match decided {
        Ok((Stage0 { start, mailbox, failed }, floor)) => {
            memory::write_mailbox(&mailbox);
            say_failed(failed);
            if let Some(told) = start {
                if loader.loaded().is_none_or(|(slot, _)| slot != told.slot) {
                    // It was verified, and then the other one was looked at. If it does not verify now, nothing is loaded.
                    let _ = verify(&mut loader, told.slot, floor);
                }
                let error = leave(&begun, &loader, &told);
                say_error("start", &error);
            }
        }
        Err(error) => say_error("boot-state", &error),
    }
    say!("stage0: no firmware can be started");
    let reason = mailbox.map(|mailbox| mailbox.cause);
    let mut lower = Lower::new(&begun, &banks, loader, None, (reason, mailbox), None);
    let next = stage0_console::run(&mut lower);
    if let Some(Next::BootOnce(Place { slot, .. })) = next {
        // Not counted: what a person starts by hand says nothing about the slot that the box starts by itself.
        memory::write_mailbox(&Mailbox { cause: Cause::Firmware, was_trial: true, ..Mailbox::NEW });
        let told = Handover { slot, is_trial: false, reason, reset_ticks, mailbox: None };
        let error = leave(&begun, &lower.loader, &told);
        say_error("boot", &error);
    }
    memory::write_mailbox(&Mailbox { cause: Cause::Asked, ..Mailbox::NEW });
    if next == Some(Next::PowerOff) {
        psci::off();
    }
    psci::reset()
}

/// Puts the firmware to where it is linked, out of its gzip if it is in one.
fn put(image: &[u8], place: &mut [u8]) -> Result<usize, Error> {
    if is_gzip(image) {
        return gunzip(image, place, Error::FirmwareTooLarge);
    }
    place.get_mut(..image.len()).ok_or(Error::FirmwareTooLarge)?.copy_from_slice(image);
    Ok(image.len())
}

/// Puts the firmware in place and leaves for it. Returns only if it cannot be started.
fn leave(begun: &Begun, loader: &Loader<'_>, told: &Handover) -> Error {
    let Some(image) = loader.part(0) else { return Error::NoPart("firmware") };
    let place = &begun.plan.firmware;
    // SAFETY: the plan gives it to the firmware alone, which does not run yet.
    #[allow(unsafe_code, reason = "memory that nobody has yet")]
    let memory = unsafe { memory::take(place) };
    let len_bytes = match put(image, memory) {
        Ok(len_bytes) => len_bytes as u64,
        Err(error) => return error,
    };
    cpu::clean(&(place.start..place.start + len_bytes));
    TOLD.with(|place| *place = told.to_bytes());
    say!("stage0: starts firmware-{}, {} ms", told.slot.letter(), fail::since_reset_ms());
    // SAFETY: what was verified is a firmware for this board, which is linked to this place and entered at its first byte; it
    // is cleaned, and stage 0 has no device that accesses memory.
    #[allow(unsafe_code, reason = "stage 0 ends here")]
    unsafe {
        cpu::leave(place.start, TOLD.address(), &memory::own())
    }
}
