//! Any [`NorFlash`] driver as a [`Medium`].
//!
//! `embedded-storage` is what drivers implement; [`Medium`] is what the log needs. Between the two lie four things:
//! - *Segments*: the log wants few and large ones, so erase blocks are grouped to at least 64 KiB.
//! - *Sharing*: `NorFlash` reads through `&mut`, while the log reads through handles that can be cloned. What lies
//!   between is the platform's business (a `RefCell` on one core without interrupts that touch the flash, a critical
//!   section, a mutex), so the adapter asks for it as [`Share`] and brings the first.
//! - *Time*: `NorFlash::erase` blocks. A [`Driver`] may begin an erase and be asked how far it is; of one that cannot, the
//!   adapter erases one block in each poll, so that other work comes in between.
//! - *Durability*: `NorFlash` has no sync. A driver whose `write` returns before the chip says ready breaks the
//!   promise of [`sync`](Medium::sync), which here has nothing left to do.
//!
//! Only `NorFlash` is asked for, never `MultiwriteNorFlash`: no unit is programmed twice between two erases.

use core::cell::RefCell;
use core::ops::Range;

use embedded_storage::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

use crate::{Erase, EraseProgress, Error, Geometry, Medium, ReadAt};

/// Segments are at least this large, in bytes.
pub const SEGMENT_BYTES_MIN: u32 = 64 * 1024;

/// The largest `READ_SIZE` that the adapter takes, in bytes.
const READ_BYTES_MAX: usize = 64;

/// What [`Error::Io`] carries for a failing driver, which tells no more than that it failed.
const DRIVER_FAILED: i32 = -1;

/// A driver that erases in steps, if it can. What is given here does for one that cannot.
pub trait Driver: NorFlash {
    /// Begins to erase the block that begins at `at`; another one may be read and programmed meanwhile. One at a time.
    ///
    /// # Errors
    /// What the chip reports.
    fn start_erase(&mut self, at: u32) -> Result<(), Self::Error> {
        self.erase(at, at + u32::try_from(Self::ERASE_SIZE).unwrap_or(0))
    }

    /// How far it is. Where none was begun, it is done.
    ///
    /// # Errors
    /// What the chip reports: the erase is over, and the block holds anything.
    fn poll_erase(&mut self) -> Result<EraseProgress, Self::Error> {
        Ok(EraseProgress::Done)
    }
}

/// A driver that several handles use in turn.
pub trait Share: Clone {
    /// The driver.
    type Driver: Driver;

    /// Has the driver for itself while `act` runs. `act` never asks for it again.
    ///
    /// # Errors
    /// [`Error::DriverInUse`] where it cannot be had and waiting for it would be for ever.
    fn with<T>(&self, act: impl FnOnce(&mut Self::Driver) -> T) -> Result<T, Error>;
}

/// For one thread of execution: bare metal without interrupts that touch the flash, and tests.
impl<D: Driver> Share for &RefCell<D> {
    type Driver = D;

    fn with<T>(&self, act: impl FnOnce(&mut D) -> T) -> Result<T, Error> {
        self.try_borrow_mut().map(|mut driver| act(&mut driver)).map_err(|_| Error::DriverInUse)
    }
}

/// A part of a NOR chip as a medium.
#[derive(Clone, Debug)]
pub struct Nor<S: Share> {
    reader: NorReader<S>,
    erasing: Option<Erasing>,
}

/// The erase in progress: what is left of its segment.
#[derive(Clone, Debug)]
struct Erasing {
    segment: u32,
    blocks: Range<u32>,
    /// The chip is at the first of them.
    is_begun: bool,
}

impl<S: Share> Nor<S> {
    /// The part of the chip that lies in `region` (bytes from its start, whole erase blocks), with units of at least
    /// `unit_bytes_min`. What `region` has left beyond its last whole segment is not used.
    ///
    /// Some chips forbid to program a word twice where their ECC is on and have words larger than `WRITE_SIZE` says:
    /// for these ask for units as large as the ECC word.
    ///
    /// # Errors
    /// [`Error::Geometry`] where the region is no whole number of erase blocks, holds no segment or lies beyond the
    /// chip, and where the driver's sizes do not divide one another; [`Error::DriverInUse`].
    pub fn new(driver: S, region: Range<u32>, unit_bytes_min: u32) -> Result<Self, Error> {
        let erase_bytes = erase_bytes::<S>();
        let write_bytes = u32::try_from(S::Driver::WRITE_SIZE).map_err(|_| Error::Geometry)?;
        let capacity_bytes = driver.with(|driver| driver.capacity())?;
        let divides = |size: u32, whole: u32| size > 0 && whole.is_multiple_of(size);
        if !divides(erase_bytes, region.start)
            || !divides(erase_bytes, region.end)
            || region.end as usize > capacity_bytes
            || S::Driver::READ_SIZE > READ_BYTES_MAX
            || !divides(S::Driver::READ_SIZE as u32, erase_bytes)
        {
            return Err(Error::Geometry);
        }
        let segment_bytes = SEGMENT_BYTES_MIN.checked_next_multiple_of(erase_bytes).ok_or(Error::Geometry)?;
        let unit_bytes =
            write_bytes.max(unit_bytes_min).checked_next_power_of_two().ok_or(Error::Geometry)?;
        let segments = (region.len() as u32) / segment_bytes;
        let geometry = Geometry { segments, segment_bytes, unit_bytes, erase: Erase::Physical };
        if !geometry.is_valid() || !divides(write_bytes, unit_bytes) {
            return Err(Error::Geometry);
        }
        let reader = NorReader { driver, base: region.start, geometry };
        Ok(Self { reader, erasing: None })
    }
}

impl<S: Share> Medium for Nor<S> {
    type Reader = NorReader<S>;

    fn geometry(&self) -> Geometry {
        self.reader.geometry
    }

    fn reader(&self) -> NorReader<S> {
        self.reader.clone()
    }

    fn program(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.reader.geometry.check_program(segment, offset, bytes.len())?;
        if self.erasing.as_ref().is_some_and(|erasing| erasing.segment == segment) {
            return Err(Error::EraseBusy);
        }
        let at = self.reader.address(segment, offset);
        let done = self.reader.driver.with(|driver| driver.write(at, bytes))?;
        done.map_err(|error| translate(&error, segment, offset))
    }

    fn sync(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn start_erase(&mut self, segment: u32) -> Result<(), Error> {
        self.reader.geometry.check_read(segment, 0, 0)?;
        if self.erasing.is_some() {
            return Err(Error::EraseBusy);
        }
        let start = self.reader.address(segment, 0);
        let blocks = start..start + self.reader.geometry.segment_bytes;
        self.erasing = Some(Erasing { segment, blocks, is_begun: false });
        Ok(())
    }

    /// Goes on by one block: for a driver that erases in steps a look at the chip, for another one as long as the chip
    /// takes, of the order of 100 ms to 1 s.
    fn poll_erase(&mut self) -> Result<EraseProgress, Error> {
        let Some(mut erasing) = self.erasing.take() else {
            return Ok(EraseProgress::Done);
        };
        let at = erasing.blocks.start;
        let done = self.reader.driver.with(|driver| {
            if !erasing.is_begun {
                driver.start_erase(at)?;
            }
            driver.poll_erase()
        })?;
        erasing.is_begun =
            done.map_err(|error| translate(&error, erasing.segment, 0))? == EraseProgress::Busy;
        if !erasing.is_begun {
            erasing.blocks.start += erase_bytes::<S>();
        }
        if erasing.blocks.is_empty() {
            return Ok(EraseProgress::Done);
        }
        self.erasing = Some(erasing);
        Ok(EraseProgress::Busy)
    }
}

/// The handle that reads a [`Nor`].
#[derive(Clone, Debug)]
pub struct NorReader<S: Share> {
    driver: S,
    /// Where the first segment begins on the chip.
    base: u32,
    geometry: Geometry,
}

impl<S: Share> NorReader<S> {
    /// The address on the chip. The region was found to lie on it, so that this does not overflow.
    fn address(&self, segment: u32, offset: u32) -> u32 {
        self.base + segment * self.geometry.segment_bytes + offset
    }
}

impl<S: Share> ReadAt for NorReader<S> {
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        self.geometry.check_read(segment, offset, into.len())?;
        let at = self.address(segment, offset);
        let done = self.driver.with(|driver| read_any(driver, at, into))?;
        done.map_err(|error| translate(&error, segment, offset))
    }
}

/// Reads what need not be aligned to `READ_SIZE`.
fn read_any<D: NorFlash>(driver: &mut D, mut at: u32, mut into: &mut [u8]) -> Result<(), D::Error> {
    while !into.is_empty() {
        let within = at as usize % D::READ_SIZE;
        let whole = into.len() - into.len() % D::READ_SIZE;
        let done = if within == 0 && whole > 0 {
            driver.read(at, &mut into[..whole])?;
            whole
        } else {
            let mut granule = [0; READ_BYTES_MAX];
            driver.read(at - within as u32, &mut granule[..D::READ_SIZE])?;
            let len = into.len().min(D::READ_SIZE - within);
            into[..len].copy_from_slice(&granule[within..within + len]);
            len
        };
        at += done as u32;
        into = &mut into[done..];
    }
    Ok(())
}

/// The driver's erase block in bytes; 0, which no region fits, where it is none that a u32 can address.
fn erase_bytes<S: Share>() -> u32 {
    u32::try_from(S::Driver::ERASE_SIZE).unwrap_or(0)
}

fn translate(error: &impl NorFlashError, segment: u32, offset: u32) -> Error {
    match error.kind() {
        NorFlashErrorKind::NotAligned => Error::Misaligned { segment, offset },
        NorFlashErrorKind::OutOfBounds => Error::OutOfBounds { segment, offset },
        _ => Error::Io { code: DRIVER_FAILED },
    }
}
