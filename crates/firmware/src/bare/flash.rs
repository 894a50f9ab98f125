//! The flash of the board: two interleaved chips of 16 bits on a bus of 32, bank by bank.

use core::cell::RefCell;

use heapless::Vec;
use penstock_flash_cfi::{Flash, Mapped};

use crate::Error;
use crate::bare::cpu::now_us;
use crate::bare::start::device;
use crate::board::{BOARD, Bank, ERASE_BYTES};
use crate::part::Part;

/// One bank.
pub type Chips = Flash<Mapped<4, 2>, 4, ERASE_BYTES>;

const BANKS_MAX: usize = 4;
const _: () = assert!(BOARD.banks.len() <= BANKS_MAX, "more banks than are kept");

/// All banks; one that does not answer is left out, with its reason.
#[derive(Debug)]
pub struct Banks(Vec<Result<RefCell<Chips>, Error>, BANKS_MAX>);

impl Banks {
    /// Asks the first `count` banks what they are. Once: the driver of a bank has it for itself.
    pub fn open(count: usize) -> Self {
        let open = |(number, bank): (usize, &Bank)| {
            // SAFETY: the device tree was compared with these banks; they are mapped as devices for as long as we run; `main`
            // opens them once; and we run from memory.
            #[allow(unsafe_code, reason = "chips are memory")]
            let bus = unsafe { Mapped::new(device(bank.base), bank.size_bytes as u32, now_us) };
            Chips::new(bus).map(RefCell::new).map_err(|error| Error::Bank(number, error))
        };
        Self(BOARD.banks.iter().enumerate().take(count.min(BANKS_MAX)).map(open).collect())
    }

    /// A partition.
    ///
    /// # Errors
    /// [`Error::NoPartition`]; [`Error::Bank`] if its bank does not answer.
    pub fn part(&self, name: &'static str) -> Result<Part<'_, Chips>, Error> {
        let place = BOARD.place(name).ok_or(Error::NoPartition(name))?;
        match self.0.get(place.bank).ok_or(Error::NoPartition(name))? {
            Ok(bank) => Ok(Part::new(bank, place.range)),
            Err(error) => Err(*error),
        }
    }

    /// The bank of that number.
    pub fn bank(&self, number: usize) -> Option<&RefCell<Chips>> {
        self.0.get(number)?.as_ref().ok()
    }
}
