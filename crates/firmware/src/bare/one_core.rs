//! What is shared by the whole program, of which one core runs one thread.

use core::cell::RefCell;

/// A value for a static.
pub(super) struct OneCore<T>(RefCell<T>);

// SAFETY: one core runs, without interrupts, and never two threads; what nests is told apart by the cell.
#[allow(unsafe_code, reason = "there is nobody to share it with")]
unsafe impl<T> Sync for OneCore<T> {}

impl<T> OneCore<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    /// Runs `act` with the value, unless somebody further up has it: a panic on its way out.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0.try_borrow_mut().ok().map(|mut value| act(&mut value))
    }

    /// Where it is in memory.
    pub(super) fn address(&self) -> u64 {
        self.0.as_ptr() as u64
    }
}
