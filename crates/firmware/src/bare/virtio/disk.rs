//! The disk, as the spool wants one.
//!
//! The driver of the field waits for a device for ever, and mail that the disk does not take is to go to the NOR flash: here
//! a request has a time-out, after which the disk is reset and not used any more.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::mem;
use core::ops::Range;

use bitflags::bitflags;
use penstock_flash::{Erase, EraseProgress, Error, Geometry, Medium, ReadAt};
use penstock_spool::Shape;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::transport::{DeviceStatus, DeviceType, Transport as _};

use super::{Memory, find};
use crate::bare::cpu::now_us;

/// What a disk counts in, in bytes.
const SECTOR_BYTES: u64 = 512;
/// The program unit: what can be torn is never less, whatever the disk says of itself. As in userland.
const UNIT_BYTES: u32 = 4096;
/// How long a request may take before the disk counts as dead, in microseconds.
const REQUEST_US_MAX: u64 = 5_000_000;
/// What is not aligned is read by this way, so much at once, in bytes: what a mount reads at once, and a sector.
const BOUNCE_BYTES: usize = 64 * 1024 + SECTOR_BYTES as usize;
/// Where it is looked for what a volume on the disk is, in bytes: at the beginnings of all segments that it may have.
const SHAPE_STEP_BYTES: usize = 64 * 1024;
const SHAPE_STEPS: usize = 512;

const QUEUE: u16 = 0;
const QUEUE_LEN: usize = 16;
const READ: u32 = 0;
const WRITE: u32 = 1;
const FLUSH: u32 = 4;
/// What the status of a request is if all went well.
const DONE: u8 = 0;

/// What is reported where the disk says no more than that it failed, and where it says nothing.
const FAILED: Error = Error::Io { code: -5 };
const SILENT: Error = Error::Io { code: -110 };

bitflags! {
    #[derive(Clone, Copy, Debug)]
    struct Features: u64 {
        const READ_ONLY = 1 << 5;
        const FLUSH = 1 << 9;
        const VERSION_1 = 1 << 32;
    }
}

/// A request's own bytes, which the disk reads and writes.
#[derive(Default)]
struct Request {
    head: [u8; 16],
    status: [u8; 1],
}

/// The disk.
pub(crate) struct Disk {
    transport: MmioTransport<'static>,
    queue: VirtQueue<Memory, QUEUE_LEN>,
    request: Box<Request>,
    bounce: Vec<u8>,
    features: Features,
    sectors: u64,
    /// Why it is not used any more, or at least not written.
    dead: Option<Error>,
    unwritable: Option<Error>,
}

impl Disk {
    /// The first one of the machine.
    pub(crate) fn open(devices: &[Range<u64>]) -> Option<Self> {
        let mut transport = find(devices, DeviceType::Block)?;
        let features = transport.begin_init(Features::all());
        let half = |at| transport.read_config_space::<u32>(at);
        let sectors =
            transport.read_consistent(|| Ok(u64::from(half(0)?) | u64::from(half(4)?) << 32)).ok()?;
        let queue = VirtQueue::new(&mut transport, QUEUE, false, false).ok()?;
        transport.finish_init();
        Some(Self {
            transport,
            queue,
            request: Box::default(),
            bounce: vec![0; BOUNCE_BYTES],
            features,
            sectors,
            dead: None,
            unwritable: features.contains(Features::READ_ONLY).then_some(Error::Io { code: -30 }),
        })
    }

    /// How large it is, in bytes.
    pub(crate) const fn size_bytes(&self) -> u64 {
        self.sectors.saturating_mul(SECTOR_BYTES)
    }

    /// The shape of the volume on it, if there is one.
    fn geometry(&mut self) -> Result<Option<Geometry>, Error> {
        let mut head = [0; Shape::BYTES];
        let size_bytes = self.size_bytes();
        for at in (0..size_bytes).step_by(SHAPE_STEP_BYTES).take(SHAPE_STEPS) {
            self.read(at, &mut head)?;
            let Some(Shape { segment_bytes, .. }) = Shape::decode(&head) else { continue };
            let segments = size_bytes.checked_div(u64::from(segment_bytes)).unwrap_or(0);
            let segments = u32::try_from(segments).unwrap_or(u32::MAX);
            let geometry =
                Geometry { segments, segment_bytes, unit_bytes: UNIT_BYTES, erase: Erase::Logical };
            return Ok(geometry.is_valid().then_some(geometry));
        }
        Ok(None)
    }

    /// Fills `into` from any place.
    fn read(&mut self, mut at: u64, mut into: &mut [u8]) -> Result<(), Error> {
        while !into.is_empty() {
            let skip = at % SECTOR_BYTES;
            let whole = into.len() - into.len() % SECTOR_BYTES as usize;
            let done = if skip == 0 && whole > 0 {
                let (now, _) = into.split_at_mut(whole);
                self.transfer(READ, at / SECTOR_BYTES, Data::Into(now))?;
                whole
            } else {
                let len = into.len().min(BOUNCE_BYTES - skip as usize);
                let all = (skip as usize + len).next_multiple_of(SECTOR_BYTES as usize);
                // Out of its place while the disk has it.
                let mut bounce = mem::take(&mut self.bounce);
                let read = self.transfer(READ, at / SECTOR_BYTES, Data::Into(&mut bounce[..all]));
                into[..len].copy_from_slice(&bounce[skip as usize..skip as usize + len]);
                self.bounce = bounce;
                read?;
                len
            };
            at += done as u64;
            into = &mut into[done..];
        }
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Error> {
        if let Some(error) = self.unwritable {
            return Err(error);
        }
        self.transfer(WRITE, at / SECTOR_BYTES, Data::From(bytes))
    }

    /// After one that failed nothing is known of what was written, and another one does not bring it back.
    fn flush(&mut self) -> Result<(), Error> {
        if let Some(error) = self.unwritable {
            return Err(error);
        }
        // A disk without this has no cache that a power cut would empty.
        if !self.features.contains(Features::FLUSH) {
            return Ok(());
        }
        let done = self.transfer(FLUSH, 0, Data::None);
        self.unwritable = done.err();
        done
    }

    /// One request, from beginning to end.
    fn transfer(&mut self, kind: u32, sector: u64, data: Data<'_>) -> Result<(), Error> {
        if let Some(error) = self.dead {
            return Err(error);
        }
        let Self { queue, transport, request, .. } = self;
        let Request { head, status } = &mut **request;
        head[..4].copy_from_slice(&kind.to_le_bytes());
        head[4..8].fill(0);
        head[8..].copy_from_slice(&sector.to_le_bytes());
        *status = [!DONE];
        let done = match data {
            Data::None => exchange(queue, transport, &[&head[..]], &mut [&mut status[..]]),
            Data::Into(bytes) => exchange(queue, transport, &[&head[..]], &mut [bytes, &mut status[..]]),
            Data::From(bytes) => exchange(queue, transport, &[&head[..], bytes], &mut [&mut status[..]]),
        };
        if let Err(error) = done {
            self.dead = Some(error);
            return Err(error);
        }
        if request.status == [DONE] { Ok(()) } else { Err(FAILED) }
    }
}

/// What goes with a request.
enum Data<'a> {
    None,
    /// The disk writes to these.
    Into(&'a mut [u8]),
    /// The disk reads these.
    From(&'a [u8]),
}

/// Gives the disk a request and waits for it, but not for ever.
fn exchange<'a>(
    queue: &mut VirtQueue<Memory, QUEUE_LEN>,
    transport: &mut MmioTransport<'static>,
    inputs: &'a [&'a [u8]],
    outputs: &'a mut [&'a mut [u8]],
) -> Result<(), Error> {
    // SAFETY: the buffers are borrowed until this returns, which it does when the disk is done with them or was reset.
    #[allow(unsafe_code, reason = "the disk accesses memory")]
    let token = unsafe { queue.add(inputs, &mut *outputs) }.map_err(|_| FAILED)?;
    if queue.should_notify() {
        transport.notify(QUEUE);
    }
    let began_us = now_us();
    while !queue.can_pop() {
        if now_us().saturating_sub(began_us) > REQUEST_US_MAX {
            transport.set_status(DeviceStatus::empty());
            return Err(SILENT);
        }
        core::hint::spin_loop();
    }
    // SAFETY: the same buffers as in `add`, which returned this token.
    #[allow(unsafe_code, reason = "the disk accessed memory")]
    let popped = unsafe { queue.pop_used(token, inputs, outputs) };
    popped.map(drop).map_err(|_| FAILED)
}

/// The volume's part of the disk.
pub(crate) struct DiskMedium<'a> {
    reader: DiskReader<'a>,
}

/// A handle that reads.
#[derive(Clone)]
pub(crate) struct DiskReader<'a> {
    disk: &'a RefCell<Disk>,
    geometry: Geometry,
}

impl<'a> DiskMedium<'a> {
    /// The whole disk, in segments as the volume on it has them. `None` if there is no volume.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub(crate) fn new(disk: &'a RefCell<Disk>) -> Result<Option<Self>, Error> {
        let geometry = disk.borrow_mut().geometry()?;
        Ok(geometry.map(|geometry| Self { reader: DiskReader { disk, geometry } }))
    }
}

impl DiskReader<'_> {
    /// Runs `act` on the disk at the place of `offset` in a segment. Nobody else has the disk meanwhile.
    fn at<T>(&self, segment: u32, offset: u32, act: impl FnOnce(&mut Disk, u64) -> T) -> Result<T, Error> {
        let at = u64::from(segment) * u64::from(self.geometry.segment_bytes) + u64::from(offset);
        let mut disk = self.disk.try_borrow_mut().map_err(|_| Error::DriverInUse)?;
        Ok(act(&mut disk, at))
    }
}

impl ReadAt for DiskReader<'_> {
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        self.geometry.check_read(segment, offset, into.len())?;
        self.at(segment, offset, |disk, at| disk.read(at, into))?
    }
}

impl<'a> Medium for DiskMedium<'a> {
    type Reader = DiskReader<'a>;

    fn geometry(&self) -> Geometry {
        self.reader.geometry
    }

    fn reader(&self) -> DiskReader<'a> {
        self.reader.clone()
    }

    fn program(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.reader.geometry.check_program(segment, offset, bytes.len())?;
        if bytes.is_empty() {
            return Ok(());
        }
        self.reader.at(segment, offset, |disk, at| disk.write(at, bytes))?
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.reader.at(0, 0, |disk, _| disk.flush())?
    }

    fn start_erase(&mut self, segment: u32) -> Result<(), Error> {
        self.reader.geometry.check_read(segment, 0, 0)
    }

    /// Nothing is to be erased: a disk overwrites.
    fn poll_erase(&mut self) -> Result<EraseProgress, Error> {
        Ok(EraseProgress::Done)
    }
}
