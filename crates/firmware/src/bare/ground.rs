//! Slots and boot state in flash, as stage 0 and firmware both use them.

use penstock_slots::{Journal, Kept, Rejected, Slot};

use crate::bare::begin::{Begun, say_error};
use crate::bare::flash::{Banks, Chips};
use crate::bare::{cpu, fail};
use crate::board::slot_name;
use crate::load::Loader;
use crate::part::Part;
use crate::{Error, say};

/// The boot state.
pub(super) fn boot_state(banks: &Banks) -> Result<Journal<Part<'_, Chips>>, Error> {
    Journal::open(banks.part("boot-state")?).map_err(|_| Error::NoPartition("boot-state"))
}

/// Reads a slot and verifies it, and says what came of it.
pub(super) fn load(
    (begun, banks): (&Begun, &Banks),
    loader: &mut Loader<'_>,
    (kept, slot): (Kept, Slot),
    floor: u32,
    pause: &mut dyn FnMut(),
) -> Result<(), Rejected> {
    let name = slot_name(kept, slot);
    let began = cpu::ticks();
    let part = banks.part(name).map_err(|error| {
        say_error(name, &error);
        Rejected::None
    })?;
    let loaded = loader.load(&part, (kept, slot), begun.keys(), floor, pause);
    match (&loaded, loader.loaded()) {
        (Ok(()), Some((_, manifest))) => {
            let (version, ms) = (manifest.held.version(), cpu::ms_since(began));
            say!("{}: verified {name} {version} in {ms} ms", fail::program());
        }
        (Err(rejected), _) => say!("{}: rejected {name}: {rejected}", fail::program()),
        (Ok(()), None) => {}
    }
    loaded
}
