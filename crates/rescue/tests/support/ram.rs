//! A medium in memory that takes none later on, and whose erases take their time.

use std::cell::RefCell;
use std::rc::Rc;

use penstock_flash::{Erase, EraseProgress, Error, Geometry, Medium, ReadAt};

struct State {
    geometry: Geometry,
    bytes: Vec<u8>,
    /// The segment that is being erased, and how many polls that still takes.
    erasing: Option<(u32, u32)>,
    erase_polls: u32,
    polled: u64,
}

/// The chip itself; its clones are handles.
#[derive(Clone)]
pub(crate) struct Ram {
    state: Rc<RefCell<State>>,
}

impl Ram {
    pub(crate) fn new(geometry: Geometry, erase_polls: u32) -> Self {
        let bytes = vec![0xFF; geometry.capacity_bytes() as usize];
        Self {
            state: Rc::new(RefCell::new(State { geometry, bytes, erasing: None, erase_polls, polled: 0 })),
        }
    }

    /// Polls of erases so far.
    pub(crate) fn polled(&self) -> u64 {
        self.state.borrow().polled
    }

    /// From now on an erase takes so many polls.
    pub(crate) fn set_erase_polls(&self, polls: u32) {
        self.state.borrow_mut().erase_polls = polls;
    }
}

impl State {
    fn range(&self, segment: u32, offset: u32, len: usize) -> std::ops::Range<usize> {
        let at = segment as usize * self.geometry.segment_bytes as usize + offset as usize;
        at..at + len
    }
}

impl ReadAt for Ram {
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        let state = self.state.borrow();
        state.geometry.check_read(segment, offset, into.len())?;
        into.copy_from_slice(&state.bytes[state.range(segment, offset, into.len())]);
        Ok(())
    }
}

impl Medium for Ram {
    type Reader = Self;

    fn geometry(&self) -> Geometry {
        self.state.borrow().geometry
    }

    fn reader(&self) -> Self {
        self.clone()
    }

    fn program(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        let mut state = self.state.borrow_mut();
        state.geometry.check_program(segment, offset, bytes.len())?;
        assert!(state.erasing.is_none_or(|(other, _)| other != segment), "it is being erased");
        let range = state.range(segment, offset, bytes.len());
        let is_physical = state.geometry.erase == Erase::Physical;
        for (cell, byte) in state.bytes[range].iter_mut().zip(bytes) {
            *cell = if is_physical { *cell & byte } else { *byte };
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn start_erase(&mut self, segment: u32) -> Result<(), Error> {
        let mut state = self.state.borrow_mut();
        if state.erasing.is_some() {
            return Err(Error::EraseBusy);
        }
        state.erasing = Some((segment, state.erase_polls));
        Ok(())
    }

    fn poll_erase(&mut self) -> Result<EraseProgress, Error> {
        let mut state = self.state.borrow_mut();
        state.polled += 1;
        match state.erasing {
            Some((segment, polls)) if polls > 0 => {
                state.erasing = Some((segment, polls - 1));
                Ok(EraseProgress::Busy)
            }
            Some((segment, _)) => {
                state.erasing = None;
                if state.geometry.erase == Erase::Physical {
                    let range = state.range(segment, 0, state.geometry.segment_bytes as usize);
                    state.bytes[range].fill(0xFF);
                }
                Ok(EraseProgress::Done)
            }
            None => Ok(EraseProgress::Done),
        }
    }
}
