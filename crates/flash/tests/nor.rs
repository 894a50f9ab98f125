//! A driver that keeps to `embedded-storage`'s rules to the letter, and what the adapter makes of it.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict, in its helpers too")]

use std::cell::RefCell;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use penstock_flash::nor::{Driver, Nor};
use penstock_flash::{Erase, EraseProgress, Error, Geometry, Medium, ReadAt};

/// A chip with 32 KiB erase blocks whose driver reads in words of `READ`, writes in words of `WRITE` bytes and
/// refuses all else.
struct Chip<const READ: usize, const WRITE: usize> {
    cells: Vec<u8>,
    erased_blocks: u32,
    broken: bool,
}

impl<const READ: usize, const WRITE: usize> Chip<READ, WRITE> {
    fn new(capacity: usize) -> RefCell<Self> {
        RefCell::new(Self { cells: vec![0; capacity], erased_blocks: 0, broken: false })
    }
}

impl<const READ: usize, const WRITE: usize> ErrorType for Chip<READ, WRITE> {
    type Error = NorFlashErrorKind;
}

impl<const READ: usize, const WRITE: usize> ReadNorFlash for Chip<READ, WRITE> {
    const READ_SIZE: usize = READ;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        bytes.copy_from_slice(&self.cells[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.cells.len()
    }
}

impl<const READ: usize, const WRITE: usize> NorFlash for Chip<READ, WRITE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = 32 * 1024;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        if self.broken {
            return Err(NorFlashErrorKind::Other);
        }
        self.cells[from as usize..to as usize].fill(0xFF);
        self.erased_blocks += (to - from) / Self::ERASE_SIZE as u32;
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        if self.broken {
            return Err(NorFlashErrorKind::Other);
        }
        self.cells[offset as usize..].iter_mut().zip(bytes).for_each(|(cell, byte)| *cell &= byte);
        Ok(())
    }
}

/// It cannot erase in steps.
impl<const READ: usize, const WRITE: usize> Driver for Chip<READ, WRITE> {}

const BLOCK: u32 = 32 * 1024;

#[test]
fn erase_blocks_become_segments_of_64_kib_within_the_region() {
    let chip = Chip::<1, 8>::new(9 * BLOCK as usize);
    let nor = Nor::new(&chip, 2 * BLOCK..9 * BLOCK, 1).unwrap();
    let expected = Geometry { segments: 3, segment_bytes: 2 * BLOCK, unit_bytes: 8, erase: Erase::Physical };
    assert_eq!(nor.geometry(), expected);
    assert_eq!(Nor::new(&chip, 0..2 * BLOCK, 20).unwrap().geometry().unit_bytes, 32);
}

#[test]
fn regions_and_sizes_that_do_not_fit_are_refused() {
    let chip = Chip::<1, 8>::new(8 * BLOCK as usize);
    for region in [0..BLOCK, 100..4 * BLOCK, 0..4 * BLOCK + 1, 6 * BLOCK..9 * BLOCK, 0..0] {
        assert_eq!(Nor::new(&chip, region.clone(), 1).err(), Some(Error::Geometry), "{region:?}");
    }
    assert_eq!(Nor::new(&chip, 0..4 * BLOCK, 8192).err(), Some(Error::Geometry), "units above 4 KiB");
    let odd = Chip::<1, 12>::new(8 * BLOCK as usize);
    assert_eq!(Nor::new(&odd, 0..4 * BLOCK, 1).err(), Some(Error::Geometry), "12 divides no power of two");
    let wide = Chip::<128, 128>::new(8 * BLOCK as usize);
    assert_eq!(Nor::new(&wide, 0..4 * BLOCK, 1).err(), Some(Error::Geometry), "reads above 64 bytes");
}

#[test]
fn a_segment_is_erased_block_by_block_then_programmed_and_read_at_any_offset() {
    let chip = Chip::<16, 8>::new(8 * BLOCK as usize);
    let mut nor = Nor::new(&chip, 2 * BLOCK..8 * BLOCK, 1).unwrap();
    nor.start_erase(1).unwrap();
    assert_eq!(nor.start_erase(2), Err(Error::EraseBusy));
    assert_eq!(nor.program(1, 0, &[0; 8]), Err(Error::EraseBusy));
    assert_eq!(nor.poll_erase(), Ok(EraseProgress::Busy));
    assert_eq!(nor.poll_erase(), Ok(EraseProgress::Done));
    assert_eq!(nor.poll_erase(), Ok(EraseProgress::Done), "with none begun, all is done");
    assert_eq!(chip.borrow().erased_blocks, 2);

    let bytes: Vec<u8> = (0..200).collect();
    nor.program(1, 24, &bytes).unwrap();
    nor.sync().unwrap();
    assert_eq!(chip.borrow().cells[(4 * BLOCK) as usize + 24..][..200], bytes, "at its place on the chip");
    let reader = nor.reader();
    let expected: Vec<u8> = [vec![0xFF; 24], bytes, vec![0xFF; 76]].concat();
    for offset in 0..70 {
        for len in 0..120 {
            let mut found = vec![0; len];
            reader.read(1, offset as u32, &mut found).unwrap();
            assert_eq!(found, expected[offset..offset + len], "offset {offset} len {len}");
        }
    }
    let mut last = [0; 3];
    reader.read(1, 2 * BLOCK - 3, &mut last).unwrap();
    assert_eq!(last, [0xFF; 3]);
}

#[test]
fn what_lies_beside_the_medium_or_its_units_never_reaches_the_driver() {
    let chip = Chip::<1, 8>::new(8 * BLOCK as usize);
    let mut nor = Nor::new(&chip, 0..4 * BLOCK, 1).unwrap();
    let beside = Err(Error::OutOfBounds { segment: 2, offset: 0 });
    assert_eq!(nor.program(2, 0, &[0; 8]), beside);
    assert_eq!(nor.start_erase(2), beside);
    assert_eq!(nor.reader().read(2, 0, &mut [0]), beside);
    assert_eq!(nor.program(0, 4, &[0; 8]), Err(Error::Misaligned { segment: 0, offset: 4 }));
}

#[test]
fn a_driver_that_fails_or_is_in_use_is_an_error_and_ends_an_erase() {
    let chip = Chip::<1, 8>::new(8 * BLOCK as usize);
    let mut nor = Nor::new(&chip, 0..4 * BLOCK, 1).unwrap();
    chip.borrow_mut().broken = true;
    assert_eq!(nor.program(0, 0, &[0; 8]), Err(Error::Io { code: -1 }));
    nor.start_erase(0).unwrap();
    assert_eq!(nor.poll_erase(), Err(Error::Io { code: -1 }));
    nor.start_erase(0).unwrap();
    let _held = chip.borrow_mut();
    assert_eq!(nor.reader().read(0, 0, &mut [0]), Err(Error::DriverInUse));
}
