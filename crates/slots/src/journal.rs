//! Where the state stands in flash: two sectors, in each of them records behind each other.
//!
//! A record is never written over. When a sector is full the other one is erased and gone on in, so that the newest record
//! is never in the sector that is erased: whenever the power goes, the newest record that was complete counts.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::state::{STATE_BYTES, State};

/// How far apart records are; they never cross the edge of what a chip programs at once.
pub const RECORD_PLACE_BYTES: usize = 128;

/// The sectors of the boot state, as the journal needs them.
pub trait Sectors {
    /// What the flash reports.
    type Error;

    /// How many there are: two at least.
    fn count(&self) -> usize;

    /// How large each of them is, in bytes.
    fn len_bytes(&self) -> usize;

    /// Fills `into` from the beginning of a sector.
    ///
    /// # Errors
    /// What the flash reports.
    fn read(&mut self, sector: usize, offset: usize, into: &mut [u8]) -> Result<(), Self::Error>;

    /// Programs bytes that are erased.
    ///
    /// # Errors
    /// What the flash reports.
    fn program(&mut self, sector: usize, offset: usize, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Erases a sector.
    ///
    /// # Errors
    /// What the flash reports.
    fn erase(&mut self, sector: usize) -> Result<(), Self::Error>;
}

/// Why a state could not be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalError<E> {
    /// What the flash reports.
    Flash(E),
    /// It was written in several places and never read back as it was.
    NotReadBack,
    /// There are fewer than two sectors, or they hold no record.
    TooSmall,
}

impl<E> JournalError<E> {
    /// The stable code under which the console and the documents speak of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Flash(_) => "PS-B001",
            Self::NotReadBack => "PS-B002",
            Self::TooSmall => "PS-B003",
        }
    }
}

impl<E: fmt::Display> fmt::Display for JournalError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code())?;
        match self {
            Self::Flash(error) => write!(f, "the flash with the boot state fails: {error}"),
            Self::NotReadBack => f.write_str("the boot state does not read back as it was written"),
            Self::TooSmall => f.write_str("the boot state has no room"),
        }
    }
}

/// The boot state's place in flash.
#[derive(Debug)]
pub struct Journal<S> {
    sectors: S,
    newest: Option<State>,
    /// The sector in which that stands. It is never erased.
    newest_in: Option<usize>,
    /// The number of the next record: above all that was ever tried, so that one that was torn and one day reads as if it
    /// were whole is older than what was written instead of it.
    next_sequence: u64,
    /// Where the next record goes.
    next: Place,
    /// Something is written, and none of it is a record.
    is_corrupt: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    sector: usize,
    offset: usize,
    erase: bool,
}

/// So often a record is tried to be written before it is given up, each time in another place.
const ATTEMPTS: u64 = 4;

impl<S: Sectors> Journal<S> {
    /// Looks through all sectors. One that cannot be read counts as full of nothing.
    ///
    /// # Errors
    /// [`JournalError::TooSmall`].
    pub fn open(mut sectors: S) -> Result<Self, JournalError<S::Error>> {
        let (count, len_bytes) = (sectors.count(), sectors.len_bytes());
        if count < 2 || len_bytes < RECORD_PLACE_BYTES {
            return Err(JournalError::TooSmall);
        }
        let mut newest: Option<(usize, State)> = None;
        let mut bytes = vec![0; len_bytes];
        let mut used = Vec::with_capacity(count);
        for sector in 0..count {
            if sectors.read(sector, 0, &mut bytes).is_err() {
                used.push(len_bytes);
                continue;
            }
            for state in bytes.chunks_exact(RECORD_PLACE_BYTES).filter_map(State::from_bytes) {
                if newest.is_none_or(|(_, newest)| newest.sequence < state.sequence) {
                    newest = Some((sector, state));
                }
            }
            used.push(bytes.iter().rposition(|byte| *byte != 0xFF).map_or(0, |last| last + 1));
        }
        let newest_in = newest.map(|(sector, _)| sector);
        let newest = newest.map(|(_, state)| state);
        let current = newest_in.unwrap_or(0);
        let is_corrupt = newest.is_none() && used.iter().any(|used| *used > 0);
        let offset = used.get(current).copied().unwrap_or(len_bytes).next_multiple_of(RECORD_PLACE_BYTES);
        let next = if offset + RECORD_PLACE_BYTES <= len_bytes {
            Place { sector: current, offset, erase: false }
        } else {
            Place::begin((current + 1) % count)
        };
        // As many may have been tried behind the newest one, and been torn.
        let next_sequence = newest.map_or(0, |newest| newest.sequence).saturating_add(1 + ATTEMPTS);
        Ok(Self { sectors, newest, newest_in, next_sequence, next, is_corrupt })
    }

    /// The newest record; none on a box that is new, or whose records are all damaged.
    pub fn newest(&self) -> Option<&State> {
        self.newest.as_ref()
    }

    /// Whether there was something and none of it is a record: the defaults count then, and people are to be told.
    pub fn is_corrupt(&self) -> bool {
        self.is_corrupt
    }

    /// Writes a state down, as the newest one, and reads it back. Its number is given to it here.
    ///
    /// # Errors
    /// [`JournalError::NotReadBack`], [`JournalError::Flash`]: what counts at the next boot is the record before this one,
    /// or this one. Nothing may be done that relies on either.
    pub fn append(&mut self, state: &State) -> Result<(), JournalError<S::Error>> {
        let mut failed = JournalError::NotReadBack;
        for _ in 0..ATTEMPTS {
            if self.next.erase && self.newest_in == Some(self.next.sector) {
                return Err(failed);
            }
            let Place { sector, .. } = self.next;
            let state = State { sequence: self.next_sequence, ..*state };
            self.next_sequence = self.next_sequence.saturating_add(1);
            match self.try_append(&state) {
                Ok(true) => {
                    (self.newest, self.newest_in, self.is_corrupt) = (Some(state), Some(sector), false);
                    return Ok(());
                }
                Ok(false) => {}
                Err(error) => failed = JournalError::Flash(error),
            }
        }
        Err(failed)
    }

    /// Tries the next place. Whether it reads back. The place is used up all the same.
    fn try_append(&mut self, state: &State) -> Result<bool, S::Error> {
        let Place { sector, offset, erase } = self.next;
        if erase {
            // Should that fail, it is erased again.
            self.sectors.erase(sector)?;
        }
        self.next = self.behind(self.next);
        let bytes = state.to_bytes();
        self.sectors.program(sector, offset, &bytes)?;
        let mut back = [0; STATE_BYTES];
        self.sectors.read(sector, offset, &mut back)?;
        Ok(back == bytes)
    }

    /// Where a record goes behind one that goes to `place`.
    fn behind(&self, Place { sector, offset, .. }: Place) -> Place {
        let offset = offset + RECORD_PLACE_BYTES;
        if offset + RECORD_PLACE_BYTES <= self.sectors.len_bytes() {
            Place { sector, offset, erase: false }
        } else {
            Place::begin((sector + 1) % self.sectors.count())
        }
    }

    /// The sectors again.
    pub fn into_sectors(self) -> S {
        self.sectors
    }
}

impl Place {
    /// A sector is erased before it is begun, blank or not: what reads blank may be half erased.
    const fn begin(sector: usize) -> Self {
        Self { sector, offset: 0, erase: true }
    }
}
