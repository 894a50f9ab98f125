//! A message being read from flash, on a thread that may block.

use bytes::Bytes;
use penstock_spool::{Envelope, Error};

use super::{OpenMessage, STALLED_AFTER, Storage};

/// Up to this size a message is read whole, and so checked, before anything of it goes out.
const WHOLE_BYTES: u64 = 128 * 1024;

/// A message that is open, with the segments that hold it leased for as long as this lives.
pub(crate) struct Source {
    storage: Storage,
    open: Option<OpenMessage>,
    /// The whole body, if it is small: read and found right.
    whole: Option<Bytes>,
    /// Whether [`Source::next_chunk`] has given the whole body out.
    given: bool,
}

impl Source {
    /// Reads the envelope, and the body if it is small.
    pub(crate) async fn open(open: OpenMessage, storage: &Storage) -> Result<(Self, Envelope), Error> {
        let mut source = Self { storage: storage.clone(), open: Some(open), whole: None, given: false };
        let (envelope, whole) = source
            .read(|open| {
                let message = &mut open.message;
                let envelope = message.envelope()?;
                if message.size_bytes() > WHOLE_BYTES {
                    return Ok((envelope, None));
                }
                let mut body = Vec::with_capacity(usize::try_from(message.size_bytes()).unwrap_or(0));
                while let Some(chunk) = message.next_chunk()? {
                    body.extend_from_slice(chunk);
                }
                Ok((envelope, Some(Bytes::from(body))))
            })
            .await?;
        source.whole = whole;
        Ok((source, envelope))
    }

    /// The length of the body in bytes.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.message.size_bytes())
    }

    /// The SHA-256 of the body, as recorded when it was taken.
    pub(crate) fn sha256(&self) -> [u8; 32] {
        self.open.as_ref().map_or([0; 32], |open| open.message.sha256())
    }

    /// Begins the body anew.
    pub(crate) fn rewind(&mut self) {
        self.given = false;
        if let Some(open) = &mut self.open {
            open.message.rewind();
        }
    }

    /// The next piece of the body; `Ok(None)` at its end, once all of it was found to be what was written.
    ///
    /// # Errors
    /// [`Error::Damaged`]: what was given out must then not be taken for a message. [`Error::ReadOnly`]: the volume does
    /// not answer.
    pub(crate) async fn next_chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(whole) = &self.whole {
            let first = !std::mem::replace(&mut self.given, true);
            return Ok(Some(whole.clone()).filter(|whole| first && !whole.is_empty()));
        }
        self.read(|open| Ok(open.message.next_chunk()?.map(Bytes::copy_from_slice))).await
    }

    async fn read<T: Send + 'static>(
        &mut self,
        read: impl FnOnce(&mut OpenMessage) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        // It is there unless a read before this one was given up.
        let Some(mut open) = self.open.take() else { return Err(Error::ReadOnly) };
        let mut reading = tokio::task::spawn_blocking(move || {
            let done = read(&mut open);
            (open, done)
        });
        let Ok(read) = tokio::time::timeout(STALLED_AFTER, &mut reading).await else {
            // The volume counts as stuck for as long as this is.
            let stuck = self.storage.stuck();
            tokio::spawn(async move {
                let _ = reading.await;
                drop(stuck);
            });
            return Err(Error::ReadOnly);
        };
        // A reader that panicked is gone with its message; the runtime that is shutting down, too.
        let (open, done) = read.map_err(|_| Error::ReadOnly)?;
        self.open = Some(open);
        done
    }
}
