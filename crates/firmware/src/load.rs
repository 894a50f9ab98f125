//! A slot in memory, and only in memory: what is verified is what is started.

use ed25519_dalek::VerifyingKey;
use embedded_storage::nor_flash::NorFlash;
use penstock_slots::{Kept, MANIFEST_BYTES, Manifest, Rejected, Slot, verify};

use crate::board::BOARD;
use crate::part::Part;

/// So much is read at once, in bytes, before somebody else has a turn.
const CHUNK_BYTES: usize = 256 << 10;

/// The place for one slot in memory.
#[derive(Debug)]
pub struct Loader<'m> {
    memory: &'m mut [u8],
    loaded: Option<(Slot, Manifest)>,
}

impl<'m> Loader<'m> {
    /// With memory for the largest slot.
    pub const fn new(memory: &'m mut [u8]) -> Self {
        Self { memory, loaded: None }
    }

    /// What was verified last, and is in memory.
    pub fn loaded(&self) -> Option<(Slot, Manifest)> {
        self.loaded
    }

    /// A part of it. `None` if it has no such part, or an empty one.
    pub fn part(&self, number: usize) -> Option<&[u8]> {
        let (_, manifest) = self.loaded.as_ref()?;
        let part = manifest.parts().get(number)?;
        let bytes = self.memory.get(part.offset as usize..)?.get(..part.len_bytes as usize)?;
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Where a part begins, in bytes from the beginning of the memory.
    pub fn offset(&self, number: usize) -> Option<u64> {
        let (_, manifest) = self.loaded.as_ref()?;
        manifest.parts().get(number).map(|part| u64::from(part.offset))
    }

    /// The memory, for a bundle that comes from elsewhere. What was loaded is forgotten.
    pub fn memory(&mut self) -> &mut [u8] {
        self.loaded = None;
        self.memory
    }

    /// Verifies what stands in the memory, which somebody put there for a slot. Its bytes, as far as the bundle goes.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn verify(
        &mut self,
        len_bytes: usize,
        (kept, slot): (Kept, Slot),
        keys: &[VerifyingKey],
        floor: u32,
    ) -> Result<&[u8], Rejected> {
        self.loaded = None;
        let came = self.memory.get(..len_bytes).ok_or(Rejected::Malformed)?;
        let verified = verify(came, keys, kept, BOARD.name, floor.max(BOARD.floor(kept)))?;
        self.loaded = Some((slot, verified.manifest));
        let extent = verified.manifest.extent_bytes() as usize;
        self.memory.get(..extent).ok_or(Rejected::Malformed)
    }

    /// Reads a slot as far as its bundle goes and verifies it. `pause` is called every now and then.
    ///
    /// # Errors
    /// [`Rejected`]; a chip that cannot be read has [`Rejected::None`].
    pub fn load<N: NorFlash>(
        &mut self,
        from: &Part<'_, N>,
        (kept, slot): (Kept, Slot),
        keys: &[VerifyingKey],
        floor: u32,
        mut pause: impl FnMut(),
    ) -> Result<(), Rejected> {
        self.loaded = None;
        let mut head = [0; MANIFEST_BYTES];
        from.read_at(0, &mut head).map_err(|_| Rejected::None)?;
        let extent = Manifest::from_slot(&head, keys)?.extent_bytes();
        let room = from.size_bytes().min(self.memory.len());
        let extent = usize::try_from(extent).ok().filter(|extent| *extent <= room);
        let bundle = self.memory.get_mut(..extent.ok_or(Rejected::Malformed)?).ok_or(Rejected::Malformed)?;
        for (number, chunk) in bundle.chunks_mut(CHUNK_BYTES).enumerate() {
            from.read_at(number * CHUNK_BYTES, chunk).map_err(|_| Rejected::None)?;
            pause();
        }
        // The beginning was read twice; what counts is what is in memory now.
        let verified = verify(bundle, keys, kept, BOARD.name, floor.max(BOARD.floor(kept)))?;
        pause();
        self.loaded = Some((slot, verified.manifest));
        Ok(())
    }
}
