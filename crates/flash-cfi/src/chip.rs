//! The bank as one chip: commands in all lanes, status from all of them, waiting.
//!
//! After each operation the bank is back in the mode in which it reads as memory, so that no other function has to know
//! what came before it.

use crate::bus::Bus;
use crate::error::Error;
use crate::query::Query;
use crate::status::Status;

/// Intel's commands, as one chip takes them.
pub(crate) mod command {
    pub(crate) const READ_ARRAY: u8 = 0xFF;
    pub(crate) const READ_QUERY: u8 = 0x98;
    pub(crate) const READ_IDENTIFIER: u8 = 0x90;
    pub(crate) const READ_STATUS: u8 = 0x70;
    pub(crate) const CLEAR_STATUS: u8 = 0x50;
    pub(crate) const PROGRAM_WORD: u8 = 0x40;
    pub(crate) const PROGRAM_BUFFER: u8 = 0xE8;
    pub(crate) const ERASE: u8 = 0x20;
    pub(crate) const CONFIRM: u8 = 0xD0;
    pub(crate) const SUSPEND: u8 = 0xB0;
    pub(crate) const LOCK_SETUP: u8 = 0x60;
}

/// The word at which the query is asked for.
const QUERY_WORD: u32 = 0x55;
/// Which word of a block tells whether that is locked.
const LOCK_WORD: u32 = 2;
/// The longest that an erase may still take that was begun before the driver, in microseconds, before [`PATIENCE`].
const REST_US_MAX: u64 = 1_000_000;
/// A chip that needs so many times the longest time that it claims will not become ready any more.
const PATIENCE: u64 = 4;
/// What is waited at least before a chip counts as dead, in microseconds: a claim of some microseconds is no match for
/// a host that was away.
const PATIENCE_US_MIN: u64 = 20_000;

/// All chips of a bank.
#[derive(Debug)]
pub(crate) struct Chip<B> {
    pub(crate) bus: B,
}

impl<B: Bus> Chip<B> {
    const LANE_BITS: u32 = 8 * B::WIDTH_BYTES / B::CHIPS;

    const FITS: () = assert!(
        (B::WIDTH_BYTES == 1 || B::WIDTH_BYTES == 2 || B::WIDTH_BYTES == 4)
            && B::CHIPS.is_power_of_two()
            && B::CHIPS <= B::WIDTH_BYTES,
        "a bus of 1, 2 or 4 bytes, shared by chips with whole bytes each"
    );

    pub(crate) fn new(bus: B) -> Self {
        const { Self::FITS };
        Self { bus }
    }

    /// The same value in the lane of each chip.
    pub(crate) fn in_all_lanes(value: u32) -> u32 {
        (0..B::CHIPS).fold(0, |word, lane| word | value << (lane * Self::LANE_BITS))
    }

    /// What each chip put into its lane, as far as it is the low byte.
    fn lanes(word: u32) -> impl Iterator<Item = u8> {
        (0..B::CHIPS).map(move |lane| (word >> (lane * Self::LANE_BITS)) as u8)
    }

    /// Gives all chips a command at that place.
    pub(crate) fn tell(&mut self, at: u32, command: u8) {
        self.bus.write(at, Self::in_all_lanes(u32::from(command)));
    }

    /// Back to reading as memory.
    pub(crate) fn read_array(&mut self) {
        self.tell(0, command::READ_ARRAY);
    }

    /// Forgets what the status says of earlier operations.
    pub(crate) fn clear_status(&mut self) {
        self.tell(0, command::CLEAR_STATUS);
    }

    /// The status of all chips: ready and suspended if all are, and every error that one of them has. The bank has to be
    /// in the mode in which it reads as status.
    pub(crate) fn status(&self, at: u32) -> Status {
        const ALL: u8 = Status::READY | Status::ERASE_SUSPENDED;
        let (mut all, mut any) = (ALL, 0);
        for lane in Self::lanes(self.bus.read(at)) {
            all &= lane;
            any |= lane & !ALL;
        }
        Status(all | any)
    }

    /// Waits until all chips are ready, for an operation that takes `us_max` at the longest.
    pub(crate) fn wait(&self, at: u32, us_max: u64) -> Result<Status, Error> {
        let until_us = self.bus.now_us() + patience_us(us_max);
        loop {
            let status = self.status(at);
            if status.is_ready() {
                return Ok(status);
            }
            // The clock is asked after the status: a host that was away between the two gets one more look.
            if self.bus.now_us() > until_us {
                let status = self.status(at);
                return if status.is_ready() { Ok(status) } else { Err(Error::Timeout) };
            }
            core::hint::spin_loop();
        }
    }

    /// What the chips say of themselves. They have to be alike.
    pub(crate) fn query(&mut self) -> Result<Query, Error> {
        self.come_to_rest()?;
        self.tell(QUERY_WORD * B::WIDTH_BYTES, command::READ_QUERY);
        let bus = &self.bus;
        let read =
            |lane: u32| Query::read(|at| (bus.read(at * B::WIDTH_BYTES) >> (lane * Self::LANE_BITS)) as u8);
        let first = read(0);
        let alike = (1..B::CHIPS).all(|lane| read(lane) == first);
        self.read_array();
        match first {
            Ok(_) if !alike => Err(Error::Unlike),
            other => other,
        }
    }

    /// Lets come to its end what the chips were at when only the processor was reset.
    fn come_to_rest(&mut self) -> Result<(), Error> {
        self.tell(0, command::READ_STATUS);
        let mut status = self.wait(0, REST_US_MAX).map_err(|_| Error::NoAnswer)?;
        if status.has_erase_suspended() {
            self.tell(0, command::CONFIRM);
            self.tell(0, command::READ_STATUS);
            status = self.wait(0, REST_US_MAX)?;
        }
        // Only where there is something to forget: QEMU's chips (7.2) forget with it that they are ready, and look busy for
        // ever to the next driver that comes, as firmware does behind stage 0.
        if status.verdict().is_err() {
            self.clear_status();
        }
        self.read_array();
        Ok(())
    }

    /// Whether a chip has the block locked that begins there.
    pub(crate) fn is_locked(&mut self, block: u32) -> bool {
        self.tell(block, command::READ_IDENTIFIER);
        let locked = Self::lanes(self.bus.read(block + LOCK_WORD * B::WIDTH_BYTES)).any(|lane| lane & 1 != 0);
        self.read_array();
        locked
    }

    /// Unlocks the block that begins there, which takes `us_max` at the longest.
    pub(crate) fn unlock(&mut self, block: u32, us_max: u64) -> Result<(), Error> {
        self.tell(block, command::LOCK_SETUP);
        self.tell(block, command::CONFIRM);
        self.tell(block, command::READ_STATUS);
        let status = self.wait(block, us_max);
        self.end(status)
    }

    /// Ends an operation: gives its verdict, forgets it, and reads as memory again.
    pub(crate) fn end(&mut self, status: Result<Status, Error>) -> Result<(), Error> {
        let verdict = status.and_then(Status::verdict);
        if verdict.is_err() {
            self.clear_status();
        }
        self.read_array();
        verdict
    }

    /// Programs one word.
    pub(crate) fn program_word(&mut self, at: u32, word: u32, us_max: u64) -> Result<(), Error> {
        self.tell(at, command::PROGRAM_WORD);
        self.bus.write(at, word);
        let status = self.wait(at, us_max);
        self.end(status)
    }

    /// Programs words that lie in one buffer, which begins at `buffer`. The commands go there: some chips want them anywhere
    /// in the block, others (Sharp LH28F640BF, and QEMU's since 7.2) where the buffer begins.
    pub(crate) fn program_buffer(
        &mut self,
        buffer: u32,
        at: u32,
        words: impl ExactSizeIterator<Item = u32>,
        us_max: u64,
    ) -> Result<(), Error> {
        let Some(count_less_one) = u32::try_from(words.len()).ok().and_then(|count| count.checked_sub(1))
        else {
            return Ok(());
        };
        // The buffer may still be in use: it is asked for until it is free.
        let until_us = self.bus.now_us() + patience_us(us_max);
        loop {
            self.tell(buffer, command::PROGRAM_BUFFER);
            if self.status(buffer).is_ready() {
                break;
            }
            if self.bus.now_us() > until_us {
                return self.end(Err(Error::Timeout));
            }
        }
        self.bus.write(buffer, Self::in_all_lanes(count_less_one));
        for (word, at) in words.zip((at..).step_by(B::WIDTH_BYTES as usize)) {
            self.bus.write(at, word);
        }
        self.tell(buffer, command::CONFIRM);
        let status = self.wait(buffer, us_max);
        self.end(status)
    }
}

/// How long is waited for what takes `us_max` at the longest.
pub(crate) fn patience_us(us_max: u64) -> u64 {
    us_max.saturating_mul(PATIENCE).max(PATIENCE_US_MIN)
}
