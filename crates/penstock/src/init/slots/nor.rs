//! Flash as an update needs it: a partition of a chip, or of one that is made of software.

use std::fmt;

use penstock_flash_linux::{Mtd, MtdError};
use penstock_slots::Sectors;

/// A partition of NOR flash.
pub(crate) trait Nor {
    /// What it reports, in words that begin with a code.
    type Error: fmt::Display;

    /// Its size.
    fn size_bytes(&self) -> u64;
    /// What is erased at once.
    fn erase_bytes(&self) -> u32;
    /// Reads.
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), Self::Error>;
    /// Programs what is erased.
    fn program(&self, offset: u64, bytes: &[u8]) -> Result<(), Self::Error>;
    /// Erases a sector, counted from 0.
    fn erase(&self, sector: u32) -> Result<(), Self::Error>;
}

impl Nor for Mtd {
    type Error = MtdError;

    fn size_bytes(&self) -> u64 {
        Self::size_bytes(self)
    }

    fn erase_bytes(&self) -> u32 {
        Self::erase_bytes(self)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), MtdError> {
        Self::read(self, offset, into)
    }

    fn program(&self, offset: u64, bytes: &[u8]) -> Result<(), MtdError> {
        Self::program(self, offset, bytes)
    }

    fn erase(&self, sector: u32) -> Result<(), MtdError> {
        Self::erase(self, sector)
    }
}

/// The sectors of a partition, as a journal wants them.
#[derive(Debug)]
pub(super) struct SectorsOf<F>(pub(super) F);

impl<F: Nor> SectorsOf<F> {
    fn at(&self, sector: usize, offset: usize) -> u64 {
        sector as u64 * u64::from(self.0.erase_bytes()) + offset as u64
    }
}

impl<F: Nor> Sectors for SectorsOf<F> {
    type Error = F::Error;

    fn count(&self) -> usize {
        (self.0.size_bytes() / u64::from(self.0.erase_bytes()).max(1)) as usize
    }

    fn len_bytes(&self) -> usize {
        self.0.erase_bytes() as usize
    }

    fn read(&mut self, sector: usize, offset: usize, into: &mut [u8]) -> Result<(), F::Error> {
        self.0.read(self.at(sector, offset), into)
    }

    fn program(&mut self, sector: usize, offset: usize, bytes: &[u8]) -> Result<(), F::Error> {
        self.0.program(self.at(sector, offset), bytes)
    }

    fn erase(&mut self, sector: usize) -> Result<(), F::Error> {
        self.0.erase(u32::try_from(sector).unwrap_or(u32::MAX))
    }
}
