//! Chips made of software, which behave as data sheets say (Intel P30 and StrataFlash, JS28F256): cells that only lose bits
//! when they are programmed, operations that take time, status bits, buffers, locks, suspended erases.
//!
//! What they do that a friendly model would not: they answer nothing but status while they are busy and ignore most
//! commands then; a buffer that is filled beyond its boundary is a command that was not understood; blocks are locked when
//! the power comes, where chips have locks; an erase makes no progress in the first [`RESUME_US`] after it was resumed; a
//! power cut leaves any subset of the bits that were to be programmed, and anything at all in a block that was being
//! erased. What a driver must not do and a real chip answers with nonsense is written down: [`FakeBus::violations`].

use std::cell::{Ref, RefCell};
use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use crate::bus::Bus;
use crate::chip::command;
use crate::status::Status;

/// Every access of the bus takes so long, in microseconds.
const ACCESS_US: u64 = 1;
/// How long an erase makes no progress after it was resumed, in microseconds.
pub const RESUME_US: u64 = 400;
/// How long a word, a buffer, a block take, and how long it takes to suspend or unlock, in microseconds.
const WORD_US: u64 = 60;
const BUFFER_US: u64 = 300;
const ERASE_US: u64 = 400_000;
const SUSPEND_US: u64 = 20;
const UNLOCK_US: u64 = 10;

/// What chips there are.
#[derive(Clone, Debug)]
pub struct Kind {
    /// The size of a chip: 2^n bytes.
    pub size_power: u8,
    /// The size of its blocks in bytes.
    pub block_bytes: u32,
    /// The size of its buffer: 2^n bytes; 0 for none.
    pub buffer_power: u8,
    /// Blocks are locked when the power comes.
    pub has_locks: bool,
    /// An erase may be suspended, and other blocks be read and programmed meanwhile.
    pub can_suspend: bool,
}

impl Default for Kind {
    /// A chip of 1 MiB with blocks of 64 KiB, a buffer of 64 bytes, and all that chips can do.
    fn default() -> Self {
        Self { size_power: 20, block_bytes: 64 * 1024, buffer_power: 6, has_locks: true, can_suspend: true }
    }
}

impl Kind {
    /// The table that such a chip shows; what is not in it reads zero.
    pub fn query(&self) -> Vec<u8> {
        let mut table = vec![0; 0x100];
        table[0x10..0x13].copy_from_slice(b"QRY");
        (table[0x13], table[0x15]) = (0x01, 0x31);
        // 64 µs, 512 µs, 512 ms; eight times that at the longest.
        table[0x1F..0x22].copy_from_slice(&[6, 9, 9]);
        table[0x23..0x26].copy_from_slice(&[3, 3, 3]);
        (table[0x27], table[0x2A], table[0x2C]) = (self.size_power, self.buffer_power, 1);
        let blocks = ((1 << self.size_power) / self.block_bytes - 1) as u16;
        table[0x2D..0x2F].copy_from_slice(&blocks.to_le_bytes());
        table[0x2F..0x31].copy_from_slice(&((self.block_bytes / 256) as u16).to_le_bytes());
        table[0x31..0x36].copy_from_slice(b"PRI14");
        table[0x36] = u8::from(self.can_suspend) << 1 | u8::from(self.has_locks) << 5;
        table[0x3A] = u8::from(self.can_suspend);
        table
    }
}

/// A bank of fake chips.
#[derive(Debug)]
pub struct FakeBus<const WIDTH_BYTES: u32, const CHIPS: u32>(RefCell<Bank>);

/// What is in the bank.
#[derive(Debug)]
struct Bank {
    chips: Vec<Chip>,
    now_us: u64,
    violations: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Array,
    Query,
    Identifier,
    Status,
}

/// What the next write is taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expects {
    Command,
    Word,
    Count { place: u32 },
    Data { place: u32, left: u32, words: Vec<(u32, u32)> },
    BufferConfirm { place: u32, words: Vec<(u32, u32)> },
    EraseConfirm { block: u32 },
    LockConfirm { block: u32 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Work {
    Program(Vec<(u32, u32)>),
    Erase(u32),
    Unlock(u32),
}

#[derive(Debug)]
struct Chip {
    kind: Kind,
    /// The width of its words in bytes.
    lane_bytes: u32,
    table: Vec<u8>,
    cells: Vec<u8>,
    locked: Vec<bool>,
    mode: Mode,
    expects: Expects,
    errors: u8,
    /// What goes on, and for how long still, in microseconds.
    work: Option<(Work, u64)>,
    /// For how long the work makes no progress, in microseconds.
    stalled_us: u64,
    /// The erase that is suspended, and what is left of it.
    suspended: Option<(u32, u64)>,
    /// Places and blocks where cells are worn out.
    bad: Vec<u32>,
    /// It never becomes ready.
    hangs: bool,
    supply_low: bool,
    /// Blocks that no unlocking helps.
    locked_for_good: bool,
    buffers: u32,
}

impl<const WIDTH_BYTES: u32, const CHIPS: u32> FakeBus<WIDTH_BYTES, CHIPS> {
    /// Chips of that kind, whose cells hold zeros.
    pub fn new(kind: &Kind) -> Self {
        let chip = |_| Chip {
            kind: kind.clone(),
            lane_bytes: WIDTH_BYTES / CHIPS,
            table: kind.query(),
            cells: vec![0; 1 << kind.size_power],
            locked: vec![kind.has_locks; (1 << kind.size_power) / kind.block_bytes as usize],
            mode: Mode::Array,
            expects: Expects::Command,
            errors: 0,
            work: None,
            stalled_us: 0,
            suspended: None,
            bad: Vec::new(),
            hangs: false,
            supply_low: false,
            locked_for_good: false,
            buffers: 0,
        };
        let chips = (0..CHIPS).map(chip).collect();
        Self(RefCell::new(Bank { chips, now_us: 0, violations: Vec::new() }))
    }

    /// What one chip shows when it is asked what it is.
    pub fn set_query(&mut self, chip: usize, table: &[u8]) {
        self.0.get_mut().chips[chip].table = table.to_vec();
    }

    /// Cells of one chip can be neither programmed at `at` (of the chip) nor erased in the block that begins there.
    pub fn wear_out(&mut self, chip: usize, at: u32) {
        self.0.get_mut().chips[chip].bad.push(at);
    }

    /// One chip never becomes ready again once it is busy.
    pub fn hang(&mut self, chip: usize) {
        self.0.get_mut().chips[chip].hangs = true;
    }

    /// The supply of one chip is too low to program.
    pub fn lower_supply(&mut self, chip: usize) {
        self.0.get_mut().chips[chip].supply_low = true;
    }

    /// The blocks of one chip stay locked, whatever it is told.
    pub fn lock_for_good(&mut self, chip: usize) {
        self.0.get_mut().chips[chip].locked_for_good = true;
    }

    /// What the driver did that it must not do.
    pub fn violations(&self) -> Vec<String> {
        self.0.borrow().violations.clone()
    }

    /// How many buffers the first chip has programmed.
    pub fn buffers(&self) -> u32 {
        self.0.borrow().chips[0].buffers
    }

    /// The cells of a chip.
    pub fn cells(&self, chip: usize) -> Ref<'_, [u8]> {
        Ref::map(self.0.borrow(), |bank| bank.chips[chip].cells.as_slice())
    }

    /// Lets time pass in which nobody uses the bus.
    pub fn pass(&mut self, us: u64) {
        self.0.get_mut().pass(us);
    }

    /// Takes the power away and gives it back. What was being programmed or erased is torn as `seed` decides.
    pub fn cut_power(mut self, seed: u64) -> Self {
        let mut random = Random(seed);
        self.0.get_mut().chips.iter_mut().for_each(|chip| chip.cut_power(&mut random));
        self
    }
}

impl<const WIDTH_BYTES: u32, const CHIPS: u32> Bus for FakeBus<WIDTH_BYTES, CHIPS> {
    const WIDTH_BYTES: u32 = WIDTH_BYTES;
    const CHIPS: u32 = CHIPS;

    fn read(&self, offset_bytes: u32) -> u32 {
        let mut bank = self.0.borrow_mut();
        let Bank { chips, violations, .. } = bank.after(ACCESS_US);
        let (lane_bits, at) = (8 * WIDTH_BYTES / CHIPS, offset_bytes / CHIPS);
        let lanes = chips.iter_mut().zip((0..).step_by(lane_bits as usize));
        lanes.fold(0, |word, (chip, shift)| word | chip.read(at, violations) << shift)
    }

    fn write(&mut self, offset_bytes: u32, word: u32) {
        let Bank { chips, violations, .. } = self.0.get_mut().after(ACCESS_US);
        let (lane_bits, at) = (8 * WIDTH_BYTES / CHIPS, offset_bytes / CHIPS);
        let mask = u32::MAX >> (32 - lane_bits);
        for (chip, shift) in chips.iter_mut().zip((0..).step_by(lane_bits as usize)) {
            chip.write(at, word >> shift & mask, violations);
        }
    }

    fn now_us(&self) -> u64 {
        self.0.borrow_mut().after(ACCESS_US).now_us
    }
}

impl Bank {
    fn pass(&mut self, us: u64) {
        self.now_us += us;
        self.chips.iter_mut().for_each(|chip| chip.pass(us));
    }

    fn after(&mut self, us: u64) -> &mut Self {
        self.pass(us);
        self
    }
}

impl Chip {
    fn block_of(&self, at: u32) -> u32 {
        at - at % self.kind.block_bytes
    }

    fn is_locked(&self, at: u32) -> bool {
        self.locked[(at / self.kind.block_bytes) as usize]
    }

    fn status(&self) -> u8 {
        let ready = if self.work.is_none() { Status::READY } else { 0 };
        let suspended =
            if self.suspended.is_some() && self.work.is_none() { Status::ERASE_SUSPENDED } else { 0 };
        ready | suspended | self.errors
    }

    fn read(&mut self, at: u32, violations: &mut Vec<String>) -> u32 {
        if self.work.is_some() {
            return u32::from(self.status());
        }
        match self.mode {
            Mode::Status => u32::from(self.status()),
            Mode::Query => self.table.get((at / self.lane_bytes) as usize).map_or(0, |byte| u32::from(*byte)),
            Mode::Identifier => match at % self.kind.block_bytes / self.lane_bytes {
                2 => u32::from(self.is_locked(at)),
                _ => 0x89,
            },
            Mode::Array => {
                if self.suspended.is_some_and(|(block, _)| block == self.block_of(at)) {
                    violations.push(format!("read at {at:#x} in the block whose erase is suspended"));
                }
                let bytes = &self.cells[at as usize..][..self.lane_bytes as usize];
                bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
            }
        }
    }

    fn write(&mut self, at: u32, word: u32, violations: &mut Vec<String>) {
        if self.work.is_some() {
            match word as u8 {
                command::SUSPEND if self.kind.can_suspend => self.suspend(),
                command::READ_STATUS => self.mode = Mode::Status,
                other => violations.push(format!("{other:#04x} at {at:#x} while the chip is busy")),
            }
            return;
        }
        match std::mem::replace(&mut self.expects, Expects::Command) {
            Expects::Command => self.command(at, word as u8, violations),
            Expects::Word => self.begin(Work::Program(vec![(at, word)]), WORD_US),
            Expects::Count { place } => {
                let left = word + 1;
                if left * self.lane_bytes > 1 << self.kind.buffer_power {
                    self.errors |= Status::ERASE_ERROR | Status::PROGRAM_ERROR;
                } else {
                    self.expects = Expects::Data { place, left, words: Vec::new() };
                }
            }
            Expects::Data { place, left, mut words } => {
                words.push((at, word));
                self.expects = if left > 1 {
                    Expects::Data { place, left: left - 1, words }
                } else {
                    Expects::BufferConfirm { place, words }
                };
            }
            Expects::BufferConfirm { place, words } => {
                let buffer = |at: u32| at >> self.kind.buffer_power;
                let in_one = words.iter().all(|(at, _)| buffer(*at) == buffer(place));
                if word as u8 == command::CONFIRM && in_one {
                    self.buffers += 1;
                    self.begin(Work::Program(words), BUFFER_US);
                } else {
                    violations.push(format!(
                        "a buffer from {:#x} was not in the one that was asked for, or not confirmed",
                        words[0].0
                    ));
                    self.errors |= Status::ERASE_ERROR | Status::PROGRAM_ERROR;
                }
            }
            Expects::EraseConfirm { block } => {
                if word as u8 == command::CONFIRM {
                    self.begin(Work::Erase(block), ERASE_US);
                } else {
                    self.errors |= Status::ERASE_ERROR | Status::PROGRAM_ERROR;
                }
            }
            Expects::LockConfirm { block } => match word as u8 {
                command::CONFIRM => self.begin(Work::Unlock(block), UNLOCK_US),
                _ => self.errors |= Status::ERASE_ERROR | Status::PROGRAM_ERROR,
            },
        }
    }

    fn command(&mut self, at: u32, command: u8, violations: &mut Vec<String>) {
        let block = self.block_of(at);
        self.mode = Mode::Status;
        match command {
            command::READ_ARRAY => self.mode = Mode::Array,
            command::READ_QUERY => self.mode = Mode::Query,
            command::READ_IDENTIFIER => self.mode = Mode::Identifier,
            command::READ_STATUS => {}
            command::CLEAR_STATUS => self.errors = 0,
            command::PROGRAM_WORD => self.expects = Expects::Word,
            command::PROGRAM_BUFFER if self.kind.buffer_power > 0 => {
                self.expects = Expects::Count { place: at }
            }
            command::ERASE => self.expects = Expects::EraseConfirm { block },
            command::LOCK_SETUP if self.kind.has_locks => self.expects = Expects::LockConfirm { block },
            command::CONFIRM => {
                if let Some((block, left_us)) = self.suspended.take() {
                    self.work = Some((Work::Erase(block), left_us));
                    self.stalled_us = RESUME_US;
                }
            }
            // Nothing goes on that could be suspended.
            command::SUSPEND => {}
            other => violations.push(format!("{other:#04x} at {at:#x} is no command")),
        }
    }

    fn begin(&mut self, work: Work, us: u64) {
        self.mode = Mode::Status;
        let (at, error) = match &work {
            Work::Program(words) => (words[0].0, Status::PROGRAM_ERROR),
            Work::Erase(block) => (*block, Status::ERASE_ERROR),
            Work::Unlock(block) => (*block, 0),
        };
        if error != 0 && self.is_locked(at) {
            self.errors |= error | Status::LOCKED;
        } else if error != 0 && self.supply_low {
            self.errors |= error | Status::SUPPLY_LOW;
        } else if error == Status::ERASE_ERROR && self.suspended.is_some() {
            self.errors |= Status::ERASE_ERROR | Status::PROGRAM_ERROR;
        } else {
            self.work = Some((work, us));
        }
    }

    fn suspend(&mut self) {
        if let Some((Work::Erase(block), left_us)) = self.work {
            self.suspended = Some((block, left_us));
            // For a moment it is still busy, with nothing that changes anything.
            self.work = Some((Work::Program(Vec::new()), SUSPEND_US));
        }
    }

    fn pass(&mut self, mut us: u64) {
        let stalled_us = self.stalled_us.min(us);
        self.stalled_us -= stalled_us;
        us -= stalled_us;
        let Some((work, left_us)) = self.work.take() else { return };
        if self.hangs || left_us > us {
            self.work = Some((work, left_us.saturating_sub(us).max(1)));
            return;
        }
        match work {
            Work::Program(words) => {
                for (at, word) in words {
                    if self.bad.contains(&at) {
                        self.errors |= Status::PROGRAM_ERROR;
                    } else {
                        self.program(at, word);
                    }
                }
            }
            Work::Erase(block) if self.bad.contains(&block) => self.errors |= Status::ERASE_ERROR,
            Work::Erase(block) => {
                self.cells[block as usize..][..self.kind.block_bytes as usize].fill(0xFF);
            }
            Work::Unlock(block) => {
                self.locked[(block / self.kind.block_bytes) as usize] = self.locked_for_good;
            }
        }
    }

    /// Programming only takes bits away.
    fn program(&mut self, at: u32, word: u32) {
        let bytes = word.to_le_bytes();
        let cells = &mut self.cells[at as usize..][..self.lane_bytes as usize];
        cells.iter_mut().zip(bytes).for_each(|(cell, byte)| *cell &= byte);
    }

    fn cut_power(&mut self, random: &mut Random) {
        let torn = match self.work.take() {
            Some((Work::Program(words), _)) => {
                words.into_iter().for_each(|(at, word)| self.program(at, word | random.next() as u32));
                None
            }
            Some((Work::Erase(block), _)) => Some(block),
            Some((Work::Unlock(_), _)) | None => None,
        };
        for block in torn.into_iter().chain(self.suspended.take().map(|(block, _)| block)) {
            let cells = &mut self.cells[block as usize..][..self.kind.block_bytes as usize];
            cells.iter_mut().for_each(|cell| *cell = random.next() as u8);
        }
        self.locked.fill(self.kind.has_locks);
        (self.mode, self.expects, self.errors, self.stalled_us) = (Mode::Array, Expects::Command, 0, 0);
    }
}

/// Steele, Lea and Flood's SplitMix64.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }
}
