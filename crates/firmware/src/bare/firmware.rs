//! The firmware: picks a system, verifies it in memory and hands over to it; or takes the mail itself.

use core::time::Duration;

use penstock_slots::{Boot, Cause, Kept, Mailbox, Rescue, Slot};

use crate::bare::begin::{Begun, Ear, say_error, say_failed};
use crate::bare::flash::Banks;
use crate::bare::ground::{self, boot_state};
use crate::bare::linux::{self, System};
use crate::bare::service::{self, Why};
use crate::bare::{cpu, guard, memory};
use crate::board::{BOARD, slot_name};
use crate::decide::{decide, state};
use crate::handover::{HANDOVER_BYTES, Handover};
use crate::load::Loader;
use crate::say;

/// How long the word is waited for after a boot that failed.
const WINDOW: Duration = Duration::from_secs(3);

/// Runs the firmware. `handover_at` is where stage 0 left what it says.
pub fn main(handover_at: u64) -> ! {
    let from = handover(handover_at);
    let begun = Begun::new(false, 0, from.reset_ticks);
    match guard::close() {
        Ok(()) => say!("firmware: code cannot be written, data is not executed"),
        // It worked so far, and mail waits.
        Err(error) => say_error("memory", &error),
    }
    let mut ear = Ear::new();
    if from.reason.is_some_and(Cause::is_failure) {
        say!("firmware: the last boot failed; 'rescue' and Enter within 3 s stops this one");
        ear.listen_for(WINDOW);
    }
    let banks = Banks::open(BOARD.banks.len());
    let mut loader = Loader::new(begun.slot_memory());
    let (why, mailbox) = choose(&begun, &banks, &mut loader, &mut ear, &from);
    service::run(&begun, &banks, loader, from, why, &mailbox)
}

/// Picks a system and leaves for it. Returns if none is started: with why, and what a reset is to find.
fn choose(
    begun: &Begun,
    banks: &Banks,
    loader: &mut Loader<'_>,
    ear: &mut Ear,
    from: &Handover,
) -> (Why, Mailbox) {
    let asked = Mailbox { cause: Cause::Asked, ..Mailbox::NEW };
    if ear.has_heard() {
        return (Why::Asked, asked);
    }
    let mut journal = match boot_state(banks) {
        Ok(journal) => journal,
        Err(error) => {
            say_error("boot-state", &error);
            return (Why::NoSystem, from.mailbox.unwrap_or(asked));
        }
    };
    let floor = state(&journal).system.floor;
    let mut load = |loader: &mut Loader<'_>, slot| {
        ground::load((begun, banks), loader, (Kept::System, slot), floor, &mut || ear.listen())
    };
    let decision = decide(&mut journal, Kept::System, from.mailbox, begun.now_s(), |slot| load(loader, slot));
    say_failed(decision.failed);
    let mailbox = decision.choice.mailbox;
    match decision.choice.boot {
        Boot::Slot { slot, is_trial } => {
            if loader.loaded().is_none_or(|(loaded, _)| loaded != slot) {
                // It was verified, and then the other one was looked at.
                let _ = load(loader, slot);
            }
            ear.listen();
            if ear.has_heard() {
                return (Why::Asked, asked);
            }
            let error = linux::start(begun, banks, loader, System { slot, is_trial, mailbox }, from);
            say_error(slot_name(Kept::System, slot), &error);
            (Why::NoSystem, mailbox)
        }
        Boot::Rescue(Rescue::Restless { turn_s }) => (Why::Restless { turn_s }, mailbox),
        Boot::Rescue(Rescue::NoSlot) => (Why::NoSystem, mailbox),
    }
}

/// What stage 0 says. Without it the firmware was not started by stage 0.
fn handover(at: u64) -> Handover {
    let memory = BOARD.memory;
    let inside = memory.stage0_base..memory.firmware_base - HANDOVER_BYTES as u64;
    let told = inside.contains(&at).then(|| {
        // SAFETY: this is stage 0's memory, which is gone and does not access it any more; nobody else has it.
        #[allow(unsafe_code, reason = "memory that was another program's")]
        let bytes: &[u8] = unsafe { memory::take(&(at..at + HANDOVER_BYTES as u64)) };
        Handover::from_bytes(bytes)
    });
    told.flatten().unwrap_or(Handover {
        slot: Slot::A,
        is_trial: false,
        reason: None,
        reset_ticks: cpu::ticks(),
        mailbox: None,
    })
}
