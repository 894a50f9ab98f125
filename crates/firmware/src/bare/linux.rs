//! Handing over to Linux (`Documentation/arch/arm64/booting.rst`).

use penstock_slots::{Mailbox, Slot};

use crate::bare::begin::Begun;
use crate::bare::flash::Banks;
use crate::bare::watchdog::Watchdog;
use crate::bare::{cpu, fail, memory, virtio};
use crate::decide::trials;
use crate::edit::{Told, for_kernel};
use crate::handover::{Handover, reason_name};
use crate::load::Loader;
use crate::{Error, VERSION, kernel, own, say};

/// Where the parts of a system are, in the order of its manifest.
const KERNEL: usize = 0;
const INITRAMFS: usize = 1;
const COMMAND_LINE: usize = 2;

/// How long the kernel may take until init feeds the watchdog, in milliseconds.
const WATCHDOG_MS: u32 = 60_000;

/// What is started.
#[derive(Clone, Copy, Debug)]
pub(super) struct System {
    pub(super) slot: Slot,
    pub(super) is_trial: bool,
    /// What to leave in memory: that a reset which nobody announces is its own doing.
    pub(super) mailbox: Mailbox,
}

/// Unpacks the kernel that was verified and leaves for it. Returns only if it cannot be started.
pub(super) fn start(
    begun: &Begun,
    banks: &Banks,
    loader: &Loader<'_>,
    system: System,
    from: &Handover,
) -> Error {
    prepare(begun, banks, loader, system, from).err().unwrap_or(Error::NotKernel)
}

fn prepare(
    begun: &Begun,
    banks: &Banks,
    loader: &Loader<'_>,
    system: System,
    from: &Handover,
) -> Result<core::convert::Infallible, Error> {
    let plan = &begun.plan;
    let gzip = loader.part(KERNEL).ok_or(Error::NoPart("kernel"))?;
    let initramfs = loader.part(INITRAMFS).ok_or(Error::NoPart("initramfs"))?;
    let command_line = loader.part(COMMAND_LINE).and_then(|line| core::str::from_utf8(line).ok());
    let command_line = command_line.ok_or(Error::NoPart("command line"))?;

    let began = cpu::ticks();
    // SAFETY: the plan gives it to the kernel alone, which does not run yet.
    #[allow(unsafe_code, reason = "memory that nobody has yet")]
    let place = unsafe { memory::take(&plan.kernel) };
    let kernel = kernel::unpack(gzip, place)?;
    say!("firmware: unpacked the kernel in {} ms", cpu::ms_since(began));

    let identity = banks.part("identity").ok().and_then(|part| own::identity(&part));
    let now_ms = begun.now_s().saturating_mul(1000);
    let seed = banks.part("seed").ok().map(|part| own::seed(&part, begun.machine.seed, now_ms));
    if seed.is_none_or(|seed| !seed.is_rotated) {
        say!("firmware: no stored seed is used");
    }
    let initramfs_start = plan.slot.start + loader.offset(INITRAMFS).unwrap_or(0);
    let told = Told {
        command_line: command_line.trim_end_matches(['\n', '\0']),
        initramfs: initramfs_start..initramfs_start + initramfs.len() as u64,
        seed: seed.map(|seed| seed.bytes).or(begun.machine.seed),
        firmware_version: VERSION,
        firmware_slot: from.slot,
        system_slot: system.slot,
        trial: trials(system.is_trial, from.is_trial),
        reason: reason_name(from.reason),
        identity: identity.map(|identity| (identity.serial, identity.mac)),
    };
    let tree = for_kernel(begun.tree, &told)?;
    // SAFETY: the plan gives it to the kernel's tree alone.
    #[allow(unsafe_code, reason = "memory that nobody has yet")]
    let place = unsafe { memory::take(&plan.tree) };
    place.get_mut(..tree.len()).ok_or(Error::TreeTooLarge)?.copy_from_slice(&tree);

    virtio::reset_all(&begun.machine.virtio);
    let entry = plan.kernel.start + kernel.offset as u64;
    cpu::clean(&(entry..entry + kernel.len_bytes as u64));
    cpu::clean(&(told.initramfs));
    cpu::clean(&(plan.tree.start..plan.tree.start + tree.len() as u64));
    let watchdog = begun.machine.pci.as_ref().and_then(|pci| Watchdog::arm(pci, WATCHDOG_MS));
    if watchdog.is_none() {
        say!("firmware: this machine has no watchdog");
    }
    memory::write_mailbox(&system.mailbox);
    say!("firmware: starts system-{}, {} ms", system.slot.letter(), fail::since_reset_ms());
    // SAFETY: what was verified is a kernel for this processor, unpacked to where it asks to be and cleaned; no device of ours
    // accesses memory any more, and all that is this program's is in its own range.
    #[allow(unsafe_code, reason = "the firmware ends here")]
    unsafe {
        cpu::leave(entry, plan.tree.start, &memory::own())
    }
}
