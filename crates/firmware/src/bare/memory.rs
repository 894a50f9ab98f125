//! Memory: the heap, what the plan gives out, and what outlasts a reset.

use core::ops::Range;
use core::ptr;
use core::slice;

use linked_list_allocator::LockedHeap;
use penstock_slots::{MAILBOX_BYTES, Mailbox};

use crate::bare::cpu::clean;
use crate::guard::Layout;
use crate::plan::Plan;
use crate::report::Report;

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

#[allow(unsafe_code, reason = "the linker knows where the program ends")]
mod linked {
    unsafe extern "C" {
        pub(super) static image_begin: u8;
        pub(super) static constants_begin: u8;
        pub(super) static data_begin: u8;
        pub(super) static vectors_begin: u8;
        pub(super) static vectors_end: u8;
        pub(super) static heap_begin: u8;
        pub(super) static heap_end: u8;
    }
}

/// Begins the heap behind the stack. Once, before anything is allocated.
pub fn begin_heap() {
    let own = own();
    let start = (&raw const linked::heap_begin).cast_mut();
    let size = own.end.saturating_sub(start as u64) as usize;
    // SAFETY: the linker script gives this program the memory from `heap_begin` to `heap_end` and puts nothing there; `main`
    // calls this once.
    #[allow(unsafe_code, reason = "memory that nobody has yet")]
    unsafe {
        HEAP.lock().init(start, size);
    }
}

/// How much of the heap is used and how much is free, in bytes.
pub fn heap_bytes() -> (usize, usize) {
    let heap = HEAP.lock();
    (heap.used(), heap.free())
}

/// All that is this program's: code, data, stack, heap.
pub fn own() -> Range<u64> {
    (&raw const linked::image_begin) as u64..(&raw const linked::heap_end) as u64
}

/// How the linker has laid it out.
pub(super) fn layout() -> Layout {
    let Range { start, end } = own();
    Layout {
        code: start,
        constants: (&raw const linked::constants_begin) as u64,
        data: (&raw const linked::data_begin) as u64,
        vectors: (&raw const linked::vectors_begin) as u64,
        rest: (&raw const linked::vectors_end) as u64,
        end,
    }
}

/// Memory that the plan gives to the caller.
///
/// # Safety
/// The caller guarantees that the range is memory, is not this program's own, and that nobody else has a reference to any of
/// it while this one lives. The plan keeps its ranges apart from each other and from both programs.
#[allow(unsafe_code, reason = "the promise that makes it sound is the caller's")]
pub unsafe fn take<'m>(range: &Range<u64>) -> &'m mut [u8] {
    let len = range.end.saturating_sub(range.start) as usize;
    // SAFETY: the caller's promise. Any bytes are bytes.
    unsafe { slice::from_raw_parts_mut(ptr::with_exposed_provenance_mut(range.start as usize), len) }
}

/// What the last reset left in the mailbox.
pub fn read_mailbox() -> Option<Mailbox> {
    Mailbox::from_bytes(mailbox())
}

/// Leaves something for the next boot.
pub fn write_mailbox(mailbox_is: &Mailbox) {
    mailbox().copy_from_slice(&mailbox_is.to_bytes());
    let start = Plan::mailbox();
    clean(&(start..start + MAILBOX_BYTES as u64));
}

fn mailbox<'m>() -> &'m mut [u8] {
    let start = Plan::mailbox();
    // SAFETY: the page is memory in the reserved range of the plan, which no program is linked into; only the two functions
    // above have it, each while it runs, on one core.
    #[allow(unsafe_code, reason = "memory that outlasts a reset")]
    unsafe {
        take(&(start..start + MAILBOX_BYTES as u64))
    }
}

/// Leaves a report for the next boot.
pub(crate) fn write_report(report: &mut Report) {
    let page = report.page();
    kept_report().copy_from_slice(page);
    clean(&Plan::report());
}

/// Reads what a failure before the last reset left.
pub fn with_kept_report<T>(look: impl FnOnce(Option<&str>) -> T) -> T {
    look(Report::read(kept_report()))
}

fn kept_report<'m>() -> &'m mut [u8] {
    // SAFETY: as for the mailbox; the page behind it.
    #[allow(unsafe_code, reason = "memory that outlasts a reset")]
    unsafe {
        take(&Plan::report())
    }
}
