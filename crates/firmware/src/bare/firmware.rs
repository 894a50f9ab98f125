//! The firmware: picks a system, verifies it in memory and hands over to it; or takes the mail itself.

use core::time::Duration;

use penstock_slots::{Boot, Cause, Journal, Kept, Rejected, Slot};

use crate::bare::begin::{Begun, Ear, say_error, say_failed};
use crate::bare::flash::{Banks, Chips};
use crate::bare::linux::{self, System};
use crate::bare::{cpu, memory, psci};
use crate::board::{BOARD, slot_name};
use crate::decide::{decide, state};
use crate::handover::{HANDOVER_BYTES, Handover};
use crate::load::Loader;
use crate::part::Part;
use crate::{Error, say};

/// How long the word is waited for after a boot that failed.
const WINDOW: Duration = Duration::from_secs(3);

/// Runs the firmware. `handover_at` is where stage 0 left what it says.
pub fn main(handover_at: u64) -> ! {
    let from = handover(handover_at);
    let begun = Begun::new(false, 0, from.reset_ticks);
    let mut ear = Ear::new();
    if from.reason.is_some_and(Cause::is_failure) {
        say!("firmware: the last boot failed; 'rescue' and Enter within 3 s stops this one");
        ear.listen_for(WINDOW);
    }
    let banks = Banks::open(BOARD.banks.len());
    let mut loader = Loader::new(begun.slot_memory());
    match boot_state(&banks) {
        Ok(mut journal) => {
            let floor = state(&journal).system.floor;
            let decision = decide(&mut journal, Kept::System, from.mailbox, begun.now_s(), |slot| {
                load(&begun, &banks, &mut loader, &mut ear, slot, floor)
            });
            say_failed(decision.failed);
            ear.listen();
            if let Boot::Slot { slot, is_trial } = decision.choice.boot
                && !ear.has_heard()
            {
                if loader.loaded().is_none_or(|(loaded, _)| loaded != slot) {
                    let _ = load(&begun, &banks, &mut loader, &mut ear, slot, floor);
                }
                let system = System { slot, is_trial, mailbox: decision.choice.mailbox };
                let error = linux::start(&begun, &banks, &loader, system, &from);
                linux::say_not_started(slot, &error);
            }
        }
        Err(error) => say_error("boot-state", &error),
    }
    say!("firmware: nothing to start");
    psci::reset()
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

fn boot_state(banks: &Banks) -> Result<Journal<Part<'_, Chips>>, Error> {
    Journal::open(banks.part("boot-state")?).map_err(|_| Error::NoPartition("boot-state"))
}

fn load(
    begun: &Begun,
    banks: &Banks,
    loader: &mut Loader<'_>,
    ear: &mut Ear,
    slot: Slot,
    floor: u32,
) -> Result<(), Rejected> {
    let name = slot_name(Kept::System, slot);
    let began = cpu::ticks();
    let part = banks.part(name).map_err(|error| {
        say_error(name, &error);
        Rejected::None
    })?;
    let loaded = loader.load(&part, (Kept::System, slot), begun.keys(), floor, || ear.listen());
    match (&loaded, loader.loaded()) {
        (Ok(()), Some((_, manifest))) => {
            let version = manifest.held.version();
            say!("firmware: verified {name} {version} in {} ms", cpu::ms_since(began));
        }
        (Err(rejected), _) => say!("firmware: rejected {name}: {rejected}"),
        (Ok(()), None) => {}
    }
    loaded
}
