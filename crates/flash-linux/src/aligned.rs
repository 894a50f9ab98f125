//! Memory that direct I/O takes without a copy.

use core::fmt;
use core::ops::{Deref, DerefMut};

/// What direct I/O asks of memory, in bytes. Most devices ask for less; none that carries a volume asks for more.
pub const ALIGN_BYTES: usize = 4096;

/// A byte buffer of fixed length that begins at a multiple of [`ALIGN_BYTES`]. A slice of it that does so too is
/// programmed without a copy.
pub struct AlignedBuffer {
    /// Longer than asked for by one alignment. Its heap block never moves, since it never grows.
    storage: Box<[u8]>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// A buffer of `len_bytes` zeros.
    pub fn new(len_bytes: usize) -> Self {
        let storage = vec![0; len_bytes + ALIGN_BYTES - 1].into_boxed_slice();
        let start = storage.as_ptr().addr().next_multiple_of(ALIGN_BYTES) - storage.as_ptr().addr();
        Self { storage, start, len: len_bytes }
    }
}

/// Whether direct I/O takes these bytes as they lie.
pub(crate) fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(ALIGN_BYTES)
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.len]
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for AlignedBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuffer({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_aligned_zeroed_and_as_long_as_asked_for() {
        for len in [0, 1, 4095, 4096, 4097, 1 << 20] {
            let mut buffer = AlignedBuffer::new(len);
            assert!(is_aligned(&buffer));
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|byte| *byte == 0));
            buffer.fill(0xA5);
            let moved = Box::new(buffer);
            assert!(is_aligned(&moved) && moved.iter().all(|byte| *byte == 0xA5));
        }
    }
}
