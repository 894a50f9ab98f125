//! What stage 0 and firmware begin with alike.

use core::time::Duration;

use dtoolkit::fdt::Fdt;
use ed25519_dalek::VerifyingKey;
use penstock_console::RescueWord;
use penstock_slots::{KEYS, Mailbox};

use crate::bare::rtc::Rtc;
use crate::bare::{cpu, fail, memory, psci, serial};
use crate::board::{BOARD, keys};
use crate::plan::{KERNEL_ALIGN_BYTES, Plan};
use crate::tree::{Machine, find};
use crate::{Error, VERSION, say};

/// The machine, found.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) tree: Fdt<'static>,
    pub(super) machine: Machine,
    pub(super) plan: Plan,
    /// Who may sign what is started here; nobody, where none is known.
    pub(super) keys: Option<[VerifyingKey; KEYS]>,
}

impl Begun {
    /// Finds out what the machine is, from the device tree at that address. Whatever is missing ends in a reset, since there
    /// is nothing to go on with.
    pub(super) fn new(is_stage0: bool, tree_at: u64, reset_ticks: u64) -> Self {
        fail::open(is_stage0, reset_ticks);
        memory::begin_heap();
        // QEMU leaves the tree at the beginning of memory and says nothing.
        let tree_at = if tree_at == 0 { BOARD.memory.ram_base } else { tree_at };
        let most = tree_at..BOARD.memory.ram_base + KERNEL_ALIGN_BYTES;
        // SAFETY: the plan gives the first 2 MiB of memory to the tree and to nobody else, and this is done once.
        #[allow(unsafe_code, reason = "memory that was there before us")]
        let bytes: &'static [u8] = unsafe { memory::take(&most) };
        let found = find(bytes).and_then(|tree| Ok((tree, Machine::read(tree)?)));
        let (tree, machine) = found.unwrap_or_else(|why| fail::give_up(why));
        psci::open(machine.conduit);
        serial::open(machine.serial, is_stage0);
        let plan = Plan::new(&machine.ram).unwrap_or_else(|why| fail::give_up(why));
        let keys = keys();
        let begun = Self { tree, machine, plan, keys };
        say!("{}: {VERSION} on {}, {} ms", fail::program(), BOARD.name, fail::since_reset_ms());
        if begun.keys.is_none() {
            say!("{}: no key is compiled in, so that nothing is started", fail::program());
        }
        begun
    }

    /// The keys that are known.
    pub(super) fn keys(&self) -> &[VerifyingKey] {
        self.keys.as_ref().map_or(&[], <[_; KEYS]>::as_slice)
    }

    /// The clock on board, in seconds; 0 where there is none.
    pub(super) fn now_s(&self) -> u64 {
        self.machine.rtc.map_or(0, |base| Rtc::new(base).now_s())
    }

    /// The memory that a slot is read to.
    pub(super) fn slot_memory(&self) -> &'static mut [u8] {
        // SAFETY: the plan gives it to slots alone; each program calls this once, and keeps no other reference to it.
        #[allow(unsafe_code, reason = "memory that nobody has yet")]
        unsafe {
            memory::take(&self.plan.slot)
        }
    }
}

/// Listens on the serial line for the word that stops the boot.
#[derive(Debug)]
pub(super) struct Ear {
    word: RescueWord,
    heard: bool,
}

impl Ear {
    pub(super) const fn new() -> Self {
        Self { word: RescueWord::new(), heard: false }
    }

    /// Hears what came until now.
    pub(super) fn listen(&mut self) {
        while let Some(byte) = serial::read() {
            self.heard |= self.word.feed(byte);
        }
    }

    /// Hears what comes within that time.
    pub(super) fn listen_for(&mut self, time: Duration) {
        let end = cpu::now_us().saturating_add(time.as_micros() as u64);
        while !self.heard && cpu::now_us() < end {
            self.listen();
        }
    }

    /// Whether the word has come.
    pub(super) const fn has_heard(&self) -> bool {
        self.heard
    }
}

/// Why nothing can be written down, as a line.
pub(super) fn say_failed<E: core::fmt::Display>(failed: Option<penstock_slots::JournalError<E>>) {
    if let Some(error) = failed {
        say!("{}: {error}", fail::program());
    }
}

/// Tells what the reset before left.
pub(super) fn say_kept_report() {
    memory::with_kept_report(|report| {
        if let Some(line) = report.and_then(|report| report.lines().next()) {
            say!("{}: the report of a failure is kept: {line}", fail::program());
        }
    });
}

/// The mailbox as people read it.
pub(super) fn say_reason(mailbox: Option<&Mailbox>, reason: &str) {
    let resets = mailbox.map_or(0, |mailbox| mailbox.resets);
    say!("{}: reset by {reason}, {resets} failures before", fail::program());
}

/// An error of the boot as a line.
pub(super) fn say_error(what: &str, error: &Error) {
    say!("{}: {what}: {error}", fail::program());
}
