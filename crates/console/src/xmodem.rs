//! A bundle over the serial line: the receiver of XMODEM with CRC, in blocks of 128 or 1024 bytes, and of YMODEM.
//!
//! What every terminal program can send. It is a state machine: bytes and time in, bytes to send back out. A block is
//! acknowledged after its owner has taken it ([`Receiver::taken`]), so that flash may be slow. Blocks that come twice count once;
//! damaged ones are asked for again; what never ends is given up. XMODEM knows no length: the last block is filled up, and
//! who takes the bundle knows from its manifest where it ends. YMODEM (`sb`) says it before.
//!
//! Only blocks with a CRC are taken: the older sum of bytes lets two flipped bits through, and nobody needs it any more.

use core::fmt;

use crc::{CRC_16_XMODEM, Crc, Table};

/// The longest block, in bytes.
pub const BLOCK_BYTES: usize = 1024;
const SHORT_BLOCK_BYTES: usize = 128;

const CRC: Crc<u16, Table<1>> = Crc::<u16, Table<1>>::new(&CRC_16_XMODEM);

const SOH: u8 = 0x01;
const STX: u8 = 0x02;
const CTRL_C: u8 = 0x03;
const EOT: u8 = 0x04;
const BS: u8 = 0x08;
const CAN: u8 = 0x18;

const NOTHING: &str = "";
const ACK: &str = "\x06";
const NAK: &str = "\x15";
/// Asks a sender to begin, with CRCs.
const BEGIN: &str = "C";
const ACK_BEGIN: &str = "\x06C";
/// Two are enough; those that get lost, and the marks that a terminal shows for them, are thought of.
const CANCEL: &str = "\x18\x18\x18\x18\x18\x08\x08\x08\x08\x08";

/// How often a sender is asked to begin, and how long it has for it each time: a minute to find the menu.
const BEGIN_TRIES: u32 = 20;
const BEGIN_MS: u64 = 3_000;
/// How long the next block may take.
const BLOCK_MS: u64 = 10_000;
/// How long the next byte of a block may take.
const BYTE_MS: u64 = 1_000;
/// The line is quiet when nothing came for so long.
const QUIET_MS: u64 = 500;
/// A line that is not quiet by then will not be.
const PURGE_MS: u64 = 5_000;
/// So many in a row, and then nothing, are no data: a sender was stopped in the middle of a block.
const CANCELS_WITHIN_BLOCK: u32 = 5;
/// How often in a row something may go wrong.
const FAULTS_MAX: u32 = 10;
/// How often the end of a batch is waited for, when the file is here.
const LAST_TRIES: u32 = 3;

/// Why nothing came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody sent anything.
    NoSender,
    /// Too much was damaged or missing, again and again.
    TooManyErrors,
    /// The sender gave up, or somebody typed Ctrl-C twice.
    Cancelled,
    /// It is longer than what it is for.
    TooLong,
    /// A block is missing that the sender believes was taken.
    OutOfStep,
    /// It ended before its length was reached.
    Short,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::NoSender, Self::TooManyErrors, Self::Cancelled, Self::TooLong, Self::OutOfStep, Self::Short];

    /// The stable code under which the console and the documents speak of it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoSender => "PS-X001",
            Self::TooManyErrors => "PS-X002",
            Self::Cancelled => "PS-X003",
            Self::TooLong => "PS-X004",
            Self::OutOfStep => "PS-X005",
            Self::Short => "PS-X006",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code())?;
        f.write_str(match self {
            Self::NoSender => "nobody sent anything by XMODEM",
            Self::TooManyErrors => "the line is too bad: block after block came damaged or not at all",
            Self::Cancelled => "the transfer was cancelled",
            Self::TooLong => "what was sent is longer than the slot",
            Self::OutOfStep => "a block is missing",
            Self::Short => "less was sent than was announced",
        })
    }
}

impl core::error::Error for Fault {}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// To be sent; often nothing.
    pub send: &'static str,
    /// What came of it.
    pub what: What,
}

/// What came of a byte, or of time that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It goes on.
    Pending,
    /// A block is here: [`Receiver::block`] has it, [`Receiver::taken`] goes on.
    Block,
    /// All is here.
    Finished,
    /// Nothing comes of it.
    Failed(Fault),
}

const fn going(send: &'static str) -> Step {
    Step { send, what: What::Pending }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A sender is asked to begin.
    Begin,
    /// The next block is to come.
    Between,
    /// Its number is.
    Number,
    /// And the complement of that.
    Complement,
    /// Its bytes.
    Data,
    /// And two bytes of checksum; the first is known when there is one.
    Checksum(Option<u8>),
    /// It is not yet known that its owner has taken it.
    Held,
    /// Something was wrong: the line has to become quiet.
    Purge { until_ms: u64 },
    /// The same, and then it is over.
    Failing { until_ms: u64, fault: Fault },
    /// The file is here; the sender of a batch is to say that there is no other.
    Last,
    /// It is over.
    Over,
}

/// Receives.
#[derive(Clone, Debug)]
pub struct Receiver {
    state: State,
    /// When to go on if nothing comes.
    deadline_ms: u64,
    block: [u8; BLOCK_BYTES],
    block_bytes: usize,
    filled: usize,
    /// The number and its complement, as they came.
    number: [u8; 2],
    expected: u8,
    received: u64,
    bytes_max: u64,
    /// The length that YMODEM announces.
    announced: Option<u64>,
    /// It is a batch: YMODEM.
    is_batch: bool,
    faults: u32,
    /// How many CAN, or Ctrl-C of a person, were the last bytes.
    cancels: u32,
    /// One end of the file was heard, which is asked for once more.
    is_ending: bool,
    /// The file is here.
    is_complete: bool,
}

impl Receiver {
    /// Receives at most so many bytes. The first call of [`Receiver::poll`] asks for them.
    pub const fn new(bytes_max: u64, now_ms: u64) -> Self {
        Self {
            state: State::Begin,
            deadline_ms: now_ms,
            block: [0; BLOCK_BYTES],
            block_bytes: 0,
            filled: 0,
            number: [0; 2],
            expected: 1,
            received: 0,
            bytes_max,
            announced: None,
            is_batch: false,
            faults: 0,
            cancels: 0,
            is_ending: false,
            is_complete: false,
        }
    }

    /// The block that has come: only what belongs to the file, where that is known.
    pub fn block(&self) -> &[u8] {
        let left = self.announced.map_or(u64::MAX, |bytes| bytes - self.received.min(bytes));
        let bytes = usize::try_from(left).map_or(self.block_bytes, |left| left.min(self.block_bytes));
        self.block.get(..bytes).unwrap_or_default()
    }

    /// How much was taken, in bytes.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// When [`Receiver::poll`] has something to do, if nothing comes before.
    pub const fn deadline_ms(&self) -> u64 {
        self.deadline_ms
    }

    /// The block was taken: the next one may come.
    pub fn taken(&mut self, now_ms: u64) -> Step {
        if self.state != State::Held {
            return going(NOTHING);
        }
        self.received += self.block().len() as u64;
        self.expected = self.expected.wrapping_add(1);
        self.faults = 0;
        self.wait(now_ms);
        going(ACK)
    }

    /// The block cannot be taken: the sender is told to stop. There is nothing to come any more.
    pub const fn refused(&mut self) -> Step {
        self.state = State::Over;
        Step { send: CANCEL, what: What::Pending }
    }

    /// Takes a byte.
    pub fn feed(&mut self, byte: u8, now_ms: u64) -> Step {
        self.cancels = match byte {
            CAN | CTRL_C => self.cancels.saturating_add(1),
            // Senders wipe out what a terminal shows of theirs.
            BS => self.cancels,
            _ => 0,
        };
        match self.state {
            State::Begin | State::Between | State::Last => return self.feed_between(byte, now_ms),
            State::Number => {
                self.number[0] = byte;
                self.state = State::Complement;
            }
            State::Complement => {
                self.number[1] = byte;
                self.filled = 0;
                self.state = State::Data;
            }
            State::Data => {
                if let Some(place) = self.block.get_mut(self.filled) {
                    *place = byte;
                }
                self.filled += 1;
                if self.filled >= self.block_bytes {
                    self.state = State::Checksum(None);
                }
            }
            State::Checksum(None) => self.state = State::Checksum(Some(byte)),
            State::Checksum(Some(first)) => {
                return self.judge(u16::from_be_bytes([first, byte]), now_ms);
            }
            State::Purge { .. } | State::Failing { .. } => {
                self.deadline_ms = now_ms + QUIET_MS;
                return going(NOTHING);
            }
            // A sender that waits for an answer has nothing to say.
            State::Held | State::Over => return going(NOTHING),
        }
        self.deadline_ms = now_ms + BYTE_MS;
        going(NOTHING)
    }

    fn feed_between(&mut self, byte: u8, now_ms: u64) -> Step {
        match byte {
            SOH | STX => {
                self.block_bytes = if byte == STX { BLOCK_BYTES } else { SHORT_BLOCK_BYTES };
                self.state = State::Number;
                self.deadline_ms = now_ms + BYTE_MS;
                going(NOTHING)
            }
            EOT if self.state == State::Last => going(ACK_BEGIN),
            EOT if self.state == State::Between => self.end(now_ms),
            // One alone may be noise.
            CAN | CTRL_C if self.cancels > 1 => self.fail(Fault::Cancelled, now_ms),
            _ => going(NOTHING),
        }
    }

    /// The file ends. A damaged byte may look like that, so it has to be said twice.
    fn end(&mut self, now_ms: u64) -> Step {
        if !core::mem::replace(&mut self.is_ending, true) {
            self.deadline_ms = now_ms + BLOCK_MS;
            return going(NAK);
        }
        if self.announced.is_some_and(|bytes| self.received < bytes) {
            return self.fail(Fault::Short, now_ms);
        }
        if self.is_batch {
            (self.state, self.faults, self.is_complete) = (State::Last, 0, true);
            self.deadline_ms = now_ms + BEGIN_MS;
            return going(ACK_BEGIN);
        }
        self.state = State::Over;
        Step { send: ACK, what: What::Finished }
    }

    /// A block is complete.
    fn judge(&mut self, checksum: u16, now_ms: u64) -> Step {
        let [number, complement] = self.number;
        let data = self.block.get(..self.block_bytes).unwrap_or_default();
        if number != !complement || CRC.checksum(data) != checksum {
            return self.purge(now_ms);
        }
        self.is_ending = false;
        let is_first = !self.has_blocks();
        if self.is_complete && number == 0 {
            // No other file is wanted: a second one is not even begun.
            self.state = State::Over;
            let send = if self.block[0] == 0 { ACK } else { CANCEL };
            return Step { send, what: What::Finished };
        }
        if is_first && number == 0 {
            return self.announce(now_ms);
        }
        if number == self.expected.wrapping_sub(1) && !is_first {
            // It came before; the answer to it was lost.
            self.wait(now_ms);
            return going(ACK);
        }
        if number != self.expected {
            return self.fail(Fault::OutOfStep, now_ms);
        }
        let left = self.announced.unwrap_or(self.bytes_max) - self.received;
        // Where the length was announced, the last block is filled up; else nobody can know.
        let too_long = if self.announced.is_some() { left == 0 } else { left < self.block_bytes as u64 };
        if too_long {
            return self.fail(Fault::TooLong, now_ms);
        }
        self.state = State::Held;
        self.deadline_ms = u64::MAX;
        Step { send: NOTHING, what: What::Block }
    }

    /// A block 0 says what comes: a name, a zero byte, and the length in decimal digits.
    fn announce(&mut self, now_ms: u64) -> Step {
        let data = self.block.get(..self.block_bytes).unwrap_or_default();
        let mut fields = data.split(|byte| *byte == 0);
        if fields.next().is_none_or(<[u8]>::is_empty) {
            return self.fail(Fault::Cancelled, now_ms);
        }
        let digits = fields.next().and_then(|field| field.split(|byte| *byte == b' ').next());
        let digits = digits.and_then(|digits| core::str::from_utf8(digits).ok());
        self.announced = digits.and_then(|digits| digits.parse().ok());
        self.is_batch = true;
        if self.announced.is_some_and(|bytes| bytes > self.bytes_max) {
            return self.fail(Fault::TooLong, now_ms);
        }
        self.wait(now_ms);
        going(ACK_BEGIN)
    }

    /// Goes on where time has passed and nothing came.
    pub fn poll(&mut self, now_ms: u64) -> Step {
        match self.state {
            State::Purge { until_ms } | State::Failing { until_ms, .. }
                if now_ms < self.deadline_ms.min(until_ms) =>
            {
                return going(NOTHING);
            }
            State::Purge { .. } | State::Failing { .. } => {}
            _ if now_ms < self.deadline_ms => return going(NOTHING),
            _ => {}
        }
        match self.state {
            State::Failing { fault, .. } => {
                self.state = State::Over;
                return Step { send: NOTHING, what: What::Failed(fault) };
            }
            State::Held | State::Over => return going(NOTHING),
            _ => {}
        }
        if self.cancels >= CANCELS_WITHIN_BLOCK {
            return self.fail(Fault::Cancelled, now_ms);
        }
        self.faults += 1;
        if self.is_complete && self.faults > LAST_TRIES {
            // The sender has gone, and the file is here.
            self.state = State::Over;
            return Step { send: NOTHING, what: What::Finished };
        }
        self.wait(now_ms);
        match self.state {
            State::Begin if self.faults > BEGIN_TRIES => self.fail(Fault::NoSender, now_ms),
            State::Between if self.faults > FAULTS_MAX => self.fail(Fault::TooManyErrors, now_ms),
            // Something was lost, or it was damaged and is over by now.
            State::Between if self.has_blocks() || self.is_ending => going(NAK),
            _ => going(BEGIN),
        }
    }

    /// Whether a block of the file was taken.
    const fn has_blocks(&self) -> bool {
        self.received > 0
    }

    /// The next block is to come: the first one, one of the file, or the one that ends a batch.
    const fn wait(&mut self, now_ms: u64) {
        (self.state, self.deadline_ms) = if self.is_complete {
            (State::Last, now_ms + BEGIN_MS)
        } else if self.has_blocks() || self.is_batch {
            (State::Between, now_ms + BLOCK_MS)
        } else {
            (State::Begin, now_ms + BEGIN_MS)
        };
    }

    /// Something was damaged: what is still coming belongs to it.
    const fn purge(&mut self, now_ms: u64) -> Step {
        self.state = State::Purge { until_ms: now_ms + PURGE_MS };
        self.deadline_ms = now_ms + QUIET_MS;
        going(NOTHING)
    }

    /// The sender is told to stop, and what it still sends is thrown away before anybody hears of it.
    const fn fail(&mut self, fault: Fault, now_ms: u64) -> Step {
        self.state = State::Failing { until_ms: now_ms + PURGE_MS, fault };
        self.deadline_ms = now_ms + QUIET_MS;
        going(CANCEL)
    }
}
