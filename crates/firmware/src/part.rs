//! A partition of a flash bank that others use too.

use core::cell::RefCell;
use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;
use penstock_slots::Sectors;

/// A part of a bank. One thread of execution, and nobody keeps the bank: it is borrowed for as long as a call takes.
#[derive(Debug)]
pub struct Part<'a, N> {
    bank: &'a RefCell<N>,
    range: Range<u32>,
}

impl<N> Clone for Part<'_, N> {
    fn clone(&self) -> Self {
        Self { bank: self.bank, range: self.range.clone() }
    }
}

impl<'a, N: NorFlash> Part<'a, N> {
    /// The bytes of a bank in `range`, which begins and ends with a sector.
    pub const fn new(bank: &'a RefCell<N>, range: Range<u32>) -> Self {
        Self { bank, range }
    }

    /// How large it is, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.range.len()
    }

    /// Its place in its bank.
    pub const fn range(&self) -> &Range<u32> {
        &self.range
    }

    /// The bank.
    pub const fn bank(&self) -> &'a RefCell<N> {
        self.bank
    }

    /// Where something of it is in the bank; beyond the bank if it is beyond the partition, so that the driver refuses it.
    fn at(&self, offset: usize, len: usize) -> u32 {
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.size_bytes());
        if fits { self.range.start + offset as u32 } else { u32::MAX }
    }

    /// Fills `into` from `offset`.
    ///
    /// # Errors
    /// What the driver reports.
    pub fn read_at(&self, offset: usize, into: &mut [u8]) -> Result<(), N::Error> {
        let at = self.at(offset, into.len());
        self.bank.borrow_mut().read(at, into)
    }

    /// Programs what is erased.
    ///
    /// # Errors
    /// What the driver reports.
    pub fn program_at(&self, offset: usize, bytes: &[u8]) -> Result<(), N::Error> {
        let at = self.at(offset, bytes.len());
        self.bank.borrow_mut().write(at, bytes)
    }

    /// Erases a sector, and waits for it.
    ///
    /// # Errors
    /// What the driver reports.
    pub fn erase_sector(&self, sector: usize) -> Result<(), N::Error> {
        let at = self.at(sector.saturating_mul(N::ERASE_SIZE), N::ERASE_SIZE);
        self.bank.borrow_mut().erase(at, at.saturating_add(N::ERASE_SIZE as u32))
    }
}

impl<N: NorFlash> Sectors for Part<'_, N> {
    type Error = N::Error;

    fn count(&self) -> usize {
        self.size_bytes() / N::ERASE_SIZE
    }

    fn len_bytes(&self) -> usize {
        N::ERASE_SIZE
    }

    fn read(&mut self, sector: usize, offset: usize, into: &mut [u8]) -> Result<(), N::Error> {
        self.read_at(sector * N::ERASE_SIZE + offset, into)
    }

    fn program(&mut self, sector: usize, offset: usize, bytes: &[u8]) -> Result<(), N::Error> {
        self.program_at(sector * N::ERASE_SIZE + offset, bytes)
    }

    fn erase(&mut self, sector: usize) -> Result<(), N::Error> {
        self.erase_sector(sector)
    }
}
