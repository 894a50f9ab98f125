//! The driver: reads, programs, erases.
//!
//! An erase is begun and then looked after in steps. Where the chips can, it is suspended for whoever wants to read or
//! program another block meanwhile, and goes on afterwards; where they cannot, it is waited for. A chip that is asked to
//! pause again and again never gets done (data sheets ask for some hundred microseconds between), so an erase that was
//! resumed is left alone for [`RESUMED_US_MIN`] before it is suspended again.

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use penstock_flash::EraseProgress;
use penstock_flash::nor::Driver;

use crate::bus::Bus;
use crate::chip::{Chip, command, patience_us};
use crate::error::Error;
use crate::query::{Locks, Query, Times};

/// How long an erase goes on at least before it is suspended again, in microseconds (Micron P30: 500).
const RESUMED_US_MIN: u64 = 500;
/// How long a chip may take to suspend an erase, in microseconds (Micron P30: 25).
const SUSPEND_US_MAX: u64 = 100;
/// How long a chip may take to unlock a block whose locks need no erase, in microseconds.
const UNLOCK_US_MAX: u64 = 100;

/// A bank of chips of which all blocks together, one of each chip, have `ERASE_BYTES`; `WORD_BYTES` is the width of the
/// bus, and the least that is programmed.
///
/// Both are constants because [`NorFlash`] has them so; [`Flash::new`] checks them against what the chips say.
#[derive(Debug)]
pub struct Flash<B: Bus, const WORD_BYTES: usize, const ERASE_BYTES: usize> {
    chip: Chip<B>,
    query: Query,
    erase: Erase,
    /// The block that was last found to be unlocked, by where it begins.
    unlocked: Option<u32>,
}

/// What has become of the erase that was begun last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Erase {
    /// It is over, and its owner knows.
    None,
    /// It goes on, and the bank reads as status.
    Running(Running),
    /// It is over, and its owner is told with the next poll.
    Ended(Result<(), Error>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Running {
    /// Where the block begins.
    block: u32,
    /// When it was begun or last resumed, in microseconds.
    since_us: u64,
    /// For how long it had run before that, in microseconds.
    before_us: u64,
}

impl<B: Bus, const WORD_BYTES: usize, const ERASE_BYTES: usize> Flash<B, WORD_BYTES, ERASE_BYTES> {
    const FITS: () = assert!(
        WORD_BYTES == B::WIDTH_BYTES as usize && ERASE_BYTES.is_power_of_two() && ERASE_BYTES >= WORD_BYTES,
        "words are as wide as the bus, and blocks a power of two of them"
    );

    /// Asks the chips what they are.
    ///
    /// # Errors
    /// [`Error::NoAnswer`], [`Error::Unlike`], [`Error::CommandSet`]; [`Error::Geometry`] also where a block has another
    /// size than `ERASE_BYTES`.
    pub fn new(bus: B) -> Result<Self, Error> {
        const { Self::FITS };
        let mut chip = Chip::new(bus);
        let query = chip.query()?;
        let of_all_chips = |bytes: u32| u64::from(bytes) * u64::from(B::CHIPS);
        let mut regions = query.regions.iter().filter(|region| region.blocks > 0);
        let blocks_fit = regions.all(|region| of_all_chips(region.block_bytes) == ERASE_BYTES as u64);
        let buffer_bytes = of_all_chips(query.buffer_bytes);
        let buffer_fits =
            buffer_bytes == 0 || (WORD_BYTES as u64..=ERASE_BYTES as u64).contains(&buffer_bytes);
        if blocks_fit && buffer_fits {
            Ok(Self { chip, query, erase: Erase::None, unlocked: None })
        } else {
            Err(Error::Geometry)
        }
    }

    /// What each chip says of itself.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// The bus again. An erase that goes on is left to the chips.
    pub fn release(self) -> B {
        self.chip.bus
    }

    fn check(&self, at: u32, len_bytes: usize, aligned_to: usize) -> Result<(), Error> {
        let end = u64::from(at) + len_bytes as u64;
        if end > self.capacity() as u64 {
            Err(Error::OutOfBounds)
        } else if !(at as usize).is_multiple_of(aligned_to) || !len_bytes.is_multiple_of(aligned_to) {
            Err(Error::NotAligned)
        } else {
            Ok(())
        }
    }

    const fn block_of(at: u32) -> u32 {
        at & !(ERASE_BYTES as u32 - 1)
    }

    /// Fails if something between `at` and `end` is being erased.
    fn check_beside_erase(&self, at: u32, end: u32) -> Result<(), Error> {
        match self.erase {
            Erase::Running(Running { block, .. }) if at < block + ERASE_BYTES as u32 && block < end => {
                Err(Error::EraseBusy)
            }
            _ => Ok(()),
        }
    }

    /// Lets `act` have the bank, in the mode in which it reads as memory. An erase that goes on is suspended meanwhile
    /// where the chips can do that for this, and brought to its end before it where they cannot.
    fn beside_erase<T>(
        &mut self,
        can_be_suspended: bool,
        act: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Erase::Running(running) = self.erase else { return act(self) };
        let is_suspended = can_be_suspended && self.suspend(running)?;
        if !is_suspended {
            let status = self.chip.wait(running.block, self.query.times.erase_us_max);
            self.erase = Erase::Ended(self.chip.end(status));
            return act(self);
        }
        let stopped_us = self.chip.bus.now_us();
        self.chip.read_array();
        let done = act(self);
        self.chip.tell(running.block, command::CONFIRM);
        self.chip.tell(running.block, command::READ_STATUS);
        let before_us = running.before_us + stopped_us.saturating_sub(running.since_us);
        self.erase = Erase::Running(Running { since_us: self.chip.bus.now_us(), before_us, ..running });
        done
    }

    /// Suspends an erase, unless it comes to its end before. Whether it is suspended now.
    fn suspend(&mut self, running: Running) -> Result<bool, Error> {
        let until_us = running.since_us + RESUMED_US_MIN;
        while !self.chip.status(running.block).is_ready() {
            if self.chip.bus.now_us() >= until_us {
                self.chip.tell(running.block, command::SUSPEND);
                self.chip.tell(running.block, command::READ_STATUS);
                let status = self.chip.wait(running.block, SUSPEND_US_MAX)?;
                return Ok(status.has_erase_suspended());
            }
            core::hint::spin_loop();
        }
        Ok(false)
    }

    /// Sees to it that a block may be changed.
    fn unlock(&mut self, block: u32) -> Result<(), Error> {
        let us_max = match self.query.locks {
            Locks::None => return Ok(()),
            Locks::Instant => UNLOCK_US_MAX,
            Locks::Legacy => self.query.times.erase_us_max,
        };
        if self.unlocked == Some(block) {
            return Ok(());
        }
        if self.chip.is_locked(block) {
            self.chip.unlock(block, us_max)?;
            if self.chip.is_locked(block) {
                return Err(Error::Locked);
            }
        }
        self.unlocked = Some(block);
        Ok(())
    }

    /// Programs whole words, a buffer at a time: from one boundary of buffers to the next.
    fn program(&mut self, mut at: u32, mut bytes: &[u8]) -> Result<(), Error> {
        let buffer_bytes = (self.query.buffer_bytes * B::CHIPS) as usize;
        let Times { word_us_max, buffer_us_max, .. } = self.query.times;
        while !bytes.is_empty() {
            let block = Self::block_of(at);
            self.unlock(block)?;
            let room = if buffer_bytes == 0 { WORD_BYTES } else { buffer_bytes - at as usize % buffer_bytes };
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            let mut words = now.chunks_exact(WORD_BYTES).map(word);
            match words.len() {
                1 => words.try_for_each(|word| self.chip.program_word(at, word, word_us_max))?,
                _ => {
                    let buffer = at - (at as usize % buffer_bytes) as u32;
                    self.chip.program_buffer(buffer, at, words, buffer_us_max)?;
                }
            }
            at += now.len() as u32;
            bytes = later;
        }
        Ok(())
    }

    fn read_memory(&self, at: u32, into: &mut [u8]) {
        let mut start = at & !(WORD_BYTES as u32 - 1);
        let mut skip = (at - start) as usize;
        let mut rest = into;
        while !rest.is_empty() {
            let word = self.chip.bus.read(start).to_le_bytes();
            let len = rest.len().min(WORD_BYTES - skip);
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(&word[skip..skip + len]);
            (rest, skip) = (later, 0);
            start += WORD_BYTES as u32;
        }
    }
}

/// The word that these bytes are on the bus.
fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

impl<B: Bus, const WORD_BYTES: usize, const ERASE_BYTES: usize> ErrorType
    for Flash<B, WORD_BYTES, ERASE_BYTES>
{
    type Error = Error;
}

impl<B: Bus, const WORD_BYTES: usize, const ERASE_BYTES: usize> ReadNorFlash
    for Flash<B, WORD_BYTES, ERASE_BYTES>
{
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        self.check(offset, bytes.len(), 1)?;
        self.check_beside_erase(offset, offset + bytes.len() as u32)?;
        self.beside_erase(self.query.can_suspend_erase, |flash| {
            flash.read_memory(offset, bytes);
            Ok(())
        })
    }

    fn capacity(&self) -> usize {
        (self.query.size_bytes * B::CHIPS) as usize
    }
}

impl<B: Bus, const WORD_BYTES: usize, const ERASE_BYTES: usize> NorFlash
    for Flash<B, WORD_BYTES, ERASE_BYTES>
{
    const WRITE_SIZE: usize = WORD_BYTES;
    const ERASE_SIZE: usize = ERASE_BYTES;

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.check(offset, bytes.len(), WORD_BYTES)?;
        self.check_beside_erase(offset, offset + bytes.len() as u32)?;
        self.beside_erase(self.query.can_program_suspended, |flash| flash.program(offset, bytes))
    }

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Error> {
        self.check(from, to.saturating_sub(from) as usize, ERASE_BYTES)?;
        for block in (from..to).step_by(ERASE_BYTES) {
            self.start_erase(block)?;
            while self.poll_erase()? == EraseProgress::Busy {
                core::hint::spin_loop();
            }
        }
        Ok(())
    }
}

impl<B: Bus, const WORD_BYTES: usize, const ERASE_BYTES: usize> Driver for Flash<B, WORD_BYTES, ERASE_BYTES> {
    fn start_erase(&mut self, block: u32) -> Result<(), Error> {
        self.check(block, ERASE_BYTES, ERASE_BYTES)?;
        if self.erase != Erase::None {
            return Err(Error::EraseBusy);
        }
        self.unlock(block)?;
        self.chip.tell(block, command::ERASE);
        self.chip.tell(block, command::CONFIRM);
        self.chip.tell(block, command::READ_STATUS);
        self.erase = Erase::Running(Running { block, since_us: self.chip.bus.now_us(), before_us: 0 });
        Ok(())
    }

    fn poll_erase(&mut self) -> Result<EraseProgress, Error> {
        let ended = match self.erase {
            Erase::None => return Ok(EraseProgress::Done),
            Erase::Ended(ended) => ended,
            Erase::Running(Running { block, since_us, before_us }) => {
                let ran_us = before_us + self.chip.bus.now_us().saturating_sub(since_us);
                // The clock is asked first: what was ready by then was ready in time.
                let status = self.chip.status(block);
                if !status.is_ready() && ran_us <= patience_us(self.query.times.erase_us_max) {
                    return Ok(EraseProgress::Busy);
                }
                self.chip.end(if status.is_ready() { Ok(status) } else { Err(Error::Timeout) })
            }
        };
        self.erase = Erase::None;
        ended.map(|()| EraseProgress::Done)
    }
}
