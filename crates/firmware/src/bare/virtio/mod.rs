//! Virtio devices, by MMIO, of both kinds of registers: the network and the disk.

mod disk;
mod net;

use alloc::alloc::{alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::ops::Range;
use core::ptr::NonNull;

use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

use crate::bare::start::device;

pub(super) use disk::{Disk, DiskMedium};
pub(super) use net::Net;

/// What a device is.
const DEVICE_ID: usize = 0x08;
/// Its status; 0 resets it.
const STATUS: usize = 0x70;

/// The first device of that kind. Only that one is touched: a transport that is given up resets its device, and it may be in
/// use.
fn find(devices: &[Range<u64>], kind: DeviceType) -> Option<MmioTransport<'static>> {
    let registers = devices.iter().find(|registers| {
        // SAFETY: the device tree says that the registers of a virtio device are there; this one is only read.
        #[allow(unsafe_code, reason = "registers are memory")]
        let id = unsafe { device::<u32>(registers.start).byte_add(DEVICE_ID).read_volatile() };
        id == kind as u32
    })?;
    let size = registers.end.saturating_sub(registers.start) as usize;
    // SAFETY: as above, of that size; they are mapped as a device for as long as we run, and there is one driver for a kind,
    // which is opened once.
    #[allow(unsafe_code, reason = "registers are memory")]
    unsafe {
        MmioTransport::new(device::<VirtIOHeader>(registers.start), size).ok()
    }
}

/// Resets all of them, so that none accesses memory that is somebody else's now.
pub(super) fn reset_all(devices: &[Range<u64>]) {
    for registers in devices {
        // SAFETY: the device tree says that the registers of a virtio device are there, and a reset is allowed at any time.
        #[allow(unsafe_code, reason = "registers are memory")]
        unsafe {
            device::<u32>(registers.start).byte_add(STATUS).write_volatile(0);
        }
    }
}

/// Devices see memory as we do: at the same addresses, and what is in caches.
struct Memory;

fn layout(pages: usize) -> Option<Layout> {
    Layout::from_size_align(pages.checked_mul(PAGE_SIZE)?, PAGE_SIZE).ok().filter(|layout| layout.size() > 0)
}

// SAFETY: memory comes from the heap, aligned to a page and zeroed, and is nobody else's until it is given back; RAM is
// mapped at its own addresses, so that a pointer is what the device is told.
#[allow(unsafe_code, reason = "devices are told addresses")]
unsafe impl Hal for Memory {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // SAFETY: the layout is not empty.
        let memory = layout(pages).and_then(|layout| NonNull::new(unsafe { alloc_zeroed(layout) }));
        // Address 0 means that there is none.
        memory.map_or((0, NonNull::dangling()), |memory| (memory.as_ptr() as PhysAddr, memory))
    }

    unsafe fn dma_dealloc(_: PhysAddr, memory: NonNull<u8>, pages: usize) -> i32 {
        if let Some(layout) = layout(pages) {
            // SAFETY: the caller promises that it comes from `dma_alloc` with as many pages.
            unsafe { dealloc(memory.as_ptr(), layout) };
        }
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        device(address)
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
