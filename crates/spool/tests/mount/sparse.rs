//! A large medium in little memory: pages that hold one byte over and over are not kept, and all that is read is
//! counted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use penstock_flash::{Erase, EraseProgress, Error, Geometry, Medium, ReadAt};

const PAGE_BYTES: usize = 4096;

#[derive(Debug, Default)]
struct State {
    pages: HashMap<(u32, u32), Box<[u8]>>,
    read: Read,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Read {
    pub(crate) bytes: u64,
    pub(crate) requests: u64,
}

/// The medium and its reader alike. What was programmed is durable at once; tests of power cuts use the simulator.
#[derive(Clone, Debug)]
pub(crate) struct Sparse {
    geometry: Geometry,
    state: Arc<Mutex<State>>,
}

impl Sparse {
    pub(crate) fn new(geometry: Geometry) -> Self {
        Self { geometry, state: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What was read since this was asked last.
    pub(crate) fn take_read(&self) -> Read {
        std::mem::take(&mut self.lock().read)
    }

    /// What a byte that nothing was programmed to reads.
    fn blank(&self) -> u8 {
        if self.geometry.erase == Erase::Physical { 0xFF } else { 0 }
    }
}

/// A range of a segment page by page: the page, the offset in it, and the range in the buffer.
fn pages(offset: u32, len: usize) -> impl Iterator<Item = (u32, usize, std::ops::Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let from = offset as usize + at;
        let piece = (len - at).min(PAGE_BYTES - from % PAGE_BYTES);
        let range = at..at + piece;
        at += piece;
        (piece > 0).then_some(((from / PAGE_BYTES) as u32, from % PAGE_BYTES, range))
    })
}

impl ReadAt for Sparse {
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        self.geometry.check_read(segment, offset, into.len())?;
        let mut state = self.lock();
        state.read.bytes += into.len() as u64;
        state.read.requests += 1;
        for (page, at, range) in pages(offset, into.len()) {
            let into = &mut into[range];
            match state.pages.get(&(segment, page)) {
                Some(bytes) => into.copy_from_slice(&bytes[at..at + into.len()]),
                None => into.fill(self.blank()),
            }
        }
        Ok(())
    }
}

impl Medium for Sparse {
    type Reader = Self;

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn reader(&self) -> Self {
        self.clone()
    }

    fn program(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.geometry.check_program(segment, offset, bytes.len())?;
        // What the medium holds is not counted as memory that the spool takes.
        allocation_counter::opt_out(|| {
            let blank = self.blank();
            let mut state = self.lock();
            for (page, at, range) in pages(offset, bytes.len()) {
                let bytes = &bytes[range];
                if bytes.len() == PAGE_BYTES && bytes.iter().all(|byte| *byte == blank) {
                    state.pages.remove(&(segment, page));
                    continue;
                }
                let page =
                    state.pages.entry((segment, page)).or_insert_with(|| vec![blank; PAGE_BYTES].into());
                page[at..at + bytes.len()].copy_from_slice(bytes);
            }
        });
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn start_erase(&mut self, segment: u32) -> Result<(), Error> {
        if self.geometry.erase == Erase::Physical {
            self.lock().pages.retain(|(of, _), _| *of != segment);
        }
        Ok(())
    }

    fn poll_erase(&mut self) -> Result<EraseProgress, Error> {
        Ok(EraseProgress::Done)
    }
}
