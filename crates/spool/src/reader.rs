//! Reading a message back, on any thread, while the owner goes on writing.
//!
//! A [`Message`] holds leases on the segments it stands in, so that reclaim leaves them alone. Every frame is checked
//! by its CRCs, and the whole body against the SHA-256 in its COMMIT before the end is told: who passes the bytes on
//! before that must not let them be taken for a whole message until [`Message::next_chunk`] has said `Ok(None)`.

use alloc::vec::Vec;

use penstock_flash::ReadAt;
use sha2::{Digest, Sha256};

use crate::Error;
use crate::frame::{self, Header, Kind, Seed};
use crate::record::{
    self, Begin, Commit, Extent, ExtentsRecord, MessageId, Place, RECORD_BYTES_MAX, Recipient,
};
use crate::segment::{Layout, Lease};
use crate::walk::Window;

/// What the envelope of most messages takes, with the ends of groups between its frames.
const ENVELOPE_BYTES: usize = 1024;
/// The longest frame of a COMMIT, or of EXTENTS.
const COMMIT_FRAME_BYTES: usize = frame::frame_bytes(RECORD_BYTES_MAX);

/// Where the segments of a message can be read: their seeds, and the leases that keep them.
#[derive(Debug)]
pub(crate) struct Readable {
    pub(crate) seeds: Vec<(u32, Seed)>,
    pub(crate) _leases: Vec<Lease>,
}

impl Readable {
    fn seed(&self, segment: u32) -> Option<Seed> {
        self.seeds.iter().find(|(known, _)| *known == segment).map(|(_, seed)| *seed)
    }
}

/// The envelope of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// All but the recipients.
    pub begin: Begin,
    /// The recipients, in the order in which their fates are counted.
    pub recipients: Vec<Recipient>,
}

/// A message on flash.
#[derive(Debug)]
pub struct Message<R> {
    id: MessageId,
    window: Window<R>,
    layout: Layout,
    readable: Readable,
    commit: Commit,
    extents: Vec<Extent>,
    walk: Walk,
    sha256: Sha256,
    read_bytes: u64,
}

/// How far the frames of a message have been walked.
#[derive(Clone, Copy, Debug, Default)]
struct Walk {
    extent: usize,
    /// Offset in the segment; 0 where the extent has not been begun.
    offset: u32,
}

/// Reads the COMMIT at a place, if it is whole and that message's.
pub(crate) fn read_commit<R: ReadAt>(
    window: &mut Window<R>,
    seed: Seed,
    offset: u32,
    id: u64,
) -> Option<Commit> {
    let header = window.header(seed, offset)?;
    if header.kind != Kind::Commit as u8 || header.msg_id != id {
        return None;
    }
    record::decode(window.payload(seed, offset, &header)?)
}

/// All extents of a message, those in EXTENTS frames and those in its COMMIT, in order. They take no more than
/// `bytes_max` in all, since no byte is in two of them: so a chain that leads into itself comes to an end.
pub(crate) fn read_extents<R: ReadAt>(
    window: &mut Window<R>,
    seed_of: impl Fn(u32) -> Option<Seed>,
    commit: &Commit,
    id: u64,
    bytes_max: u64,
) -> Option<Vec<Extent>> {
    let mut bytes_left = bytes_max;
    let mut fits = |window: &Window<R>, extents: &[Extent]| {
        extents.iter().all(|extent| {
            let left = bytes_left.checked_sub(u64::from(extent.span_bytes));
            bytes_left = left.unwrap_or_default();
            left.is_some() && extent.span_bytes as usize >= frame::HEADER_BYTES && window.holds(extent)
        })
    };
    if !fits(window, &commit.extents) {
        return None;
    }
    let mut chain: Vec<Vec<Extent>> = Vec::new();
    let mut previous = commit.previous;
    while let Some(Place { segment, offset }) = previous {
        let seed = seed_of(segment)?;
        window.move_to(segment);
        let header = window.header(seed, offset)?;
        if header.kind != Kind::Extents as u8 || header.msg_id != id {
            return None;
        }
        let record: ExtentsRecord = record::decode(window.payload(seed, offset, &header)?)?;
        if record.extents.is_empty() || !fits(window, &record.extents) {
            return None;
        }
        previous = record.previous;
        chain.push(record.extents);
    }
    Some(chain.into_iter().rev().flatten().chain(commit.extents.iter().copied()).collect())
}

impl<R: ReadAt> Message<R> {
    pub(crate) fn open(
        reader: R,
        layout: Layout,
        id: MessageId,
        at: Place,
        size_bytes: u32,
        readable: Readable,
    ) -> Result<Self, Error> {
        // A small message is read with one request, from its beginning, which stands somewhat before its COMMIT; a
        // large one in pieces, after a look at its COMMIT.
        let message_bytes = size_bytes as usize + size_bytes as usize / 64 + ENVELOPE_BYTES;
        let is_small = message_bytes <= frame::PAYLOAD_BYTES_MAX;
        let first_read = if is_small { message_bytes + COMMIT_FRAME_BYTES } else { COMMIT_FRAME_BYTES };
        let mut window = Window::new(reader, at.segment, layout.segment_bytes, first_read);
        if is_small {
            // What cannot be read there is read again where it is needed.
            let _ = window.get(at.offset.saturating_sub(message_bytes as u32), frame::HEADER_BYTES);
        }
        let damaged = Error::Damaged(id);
        let seed = readable.seed(at.segment).ok_or(damaged)?;
        let commit = read_commit(&mut window, seed, at.offset, id.0).ok_or(damaged)?;
        let bytes_max = readable.seeds.len() as u64 * u64::from(layout.segment_bytes);
        let seed_of = |segment| readable.seed(segment);
        let extents = read_extents(&mut window, seed_of, &commit, id.0, bytes_max).ok_or(damaged)?;
        window.read_ahead(message_bytes.min(frame::PAYLOAD_BYTES_MAX) + COMMIT_FRAME_BYTES);
        Ok(Self {
            id,
            window,
            layout,
            readable,
            commit,
            extents,
            walk: Walk::default(),
            sha256: Sha256::new(),
            read_bytes: 0,
        })
    }

    /// Its name in the volume.
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// The length of the body in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.commit.size_bytes
    }

    /// The SHA-256 of the body, as recorded when it was taken.
    pub fn sha256(&self) -> [u8; 32] {
        self.commit.sha256
    }

    /// The number of recipients.
    pub fn recipient_count(&self) -> u16 {
        self.commit.recipients
    }

    /// The envelope. Reading it does not move [`next_chunk`](Self::next_chunk).
    ///
    /// # Errors
    /// [`Error::Damaged`] if any of it cannot be read as it was written.
    pub fn envelope(&mut self) -> Result<Envelope, Error> {
        let damaged = Error::Damaged(self.id);
        let mut walk = Walk::default();
        let mut begin: Option<Begin> = None;
        let mut recipients: Vec<Recipient> = Vec::new();
        let wanted = usize::from(self.commit.recipients);
        while begin.is_none() || recipients.len() < wanted {
            let (seed, offset, header) = self.next_frame(&mut walk).ok_or(damaged)?;
            let kind = Kind::from_u8(header.kind);
            if !matches!(kind, Some(Kind::Begin | Kind::Recipients)) {
                continue;
            }
            let payload = self.window.payload(seed, offset, &header).ok_or(damaged)?;
            if kind == Some(Kind::Begin) {
                begin = Some(record::decode(payload).ok_or(damaged)?);
            } else {
                let more: Vec<Recipient> = record::decode(payload).ok_or(damaged)?;
                recipients.extend(more);
            }
        }
        match begin {
            Some(begin) if recipients.len() == wanted => Ok(Envelope { begin, recipients }),
            _ => Err(damaged),
        }
    }

    /// The next piece of the body, at most 64 KiB; `Ok(None)` at its end, once all of it was found to be what was
    /// written.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is not. What was handed out before must then not be passed on as a message.
    pub fn next_chunk(&mut self) -> Result<Option<&[u8]>, Error> {
        let damaged = Error::Damaged(self.id);
        let mut walk = self.walk;
        let (seed, offset, header) = loop {
            match self.next_frame(&mut walk) {
                Some(found) if found.2.kind == Kind::Chunk as u8 => break found,
                Some(_) => {}
                None => {
                    let whole = self.read_bytes == self.commit.size_bytes
                        && self.sha256.clone().finalize().as_slice() == self.commit.sha256;
                    return if whole { Ok(None) } else { Err(damaged) };
                }
            }
        };
        self.walk = walk;
        let payload = self.window.payload(seed, offset, &header).ok_or(damaged)?;
        self.sha256.update(payload);
        self.read_bytes += payload.len() as u64;
        Ok(Some(payload))
    }

    /// Begins the body anew.
    pub fn rewind(&mut self) {
        self.walk = Walk::default();
        self.sha256 = Sha256::new();
        self.read_bytes = 0;
    }

    /// Reads all of it and says whether it is whole.
    pub(crate) fn verify(&mut self) -> bool {
        if self.envelope().is_err() {
            return false;
        }
        self.rewind();
        loop {
            match self.next_chunk() {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// The next frame of this message. Frames of others, ends of groups and what cannot be read are passed over: if
    /// that was a part of this message, its length and SHA-256 tell.
    fn next_frame(&mut self, walk: &mut Walk) -> Option<(Seed, u32, Header)> {
        while let Some(extent) = self.extents.get(walk.extent).copied() {
            let end = extent.offset.checked_add(extent.span_bytes)?;
            let seed = self.readable.seed(extent.segment)?;
            self.window.move_to(extent.segment);
            if walk.offset == 0 {
                walk.offset = extent.offset;
            }
            while walk.offset < end {
                let offset = walk.offset;
                let Some(header) = self.window.header(seed, offset) else {
                    walk.offset = self.layout.align_up(offset + 1);
                    continue;
                };
                walk.offset = offset + header.frame_bytes() as u32;
                if header.kind == Kind::GroupEnd as u8 {
                    walk.offset = self.layout.align_up(walk.offset);
                }
                if header.msg_id == self.id.0 && header.kind != Kind::GroupEnd as u8 {
                    return Some((seed, offset, header));
                }
            }
            walk.extent += 1;
            walk.offset = 0;
        }
        None
    }
}
