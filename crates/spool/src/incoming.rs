//! A message on its way into the log: its frames, extents and reservation, until its COMMIT.
//!
//! Used alike for mail that comes in and for mail that reclaim moves. The caller holds the [`Incoming`]; any number
//! may be open at once, and their frames interleave in the log.

use alloc::vec::Vec;

use penstock_flash::Medium;
use sha2::{Digest, Sha256};

use crate::Error;
use crate::frame::Kind;
use crate::index::{Entry, flash_bytes};
use crate::log::{Appended, Log};
use crate::record::{
    self, Begin, Commit, EXTENTS_MAX, Extent, Extents, ExtentsRecord, MessageId, Place, RECORD_BYTES_MAX,
    Recipient,
};
use crate::segment::Purpose;
use crate::summary::{NOTE_BYTES_MAX, Note};

/// What a RECIPIENTS frame holds at most; a frame for each recipient would double the envelope.
const RECIPIENTS_PAYLOAD_BYTES: usize = 1024;
/// The smallest piece of a body that is worth a frame of its own at the end of a group.
const CHUNK_BYTES_MIN: usize = 256;

/// A message that is being written. It exists once it is committed and synced.
///
/// Dropping it leaves its frames unused until the next mount; give it to `Spool::abort`.
#[derive(Debug)]
pub struct Incoming {
    pub(crate) id: MessageId,
    pub(crate) mount: u32,
    pub(crate) reserved_bytes: u64,
    purpose: Purpose,
    size_bytes: u64,
    recipients: u16,
    sha256: BodyHash,
    previous: Option<Place>,
    extents: Extents,
    /// The segments it has frames in, each held so that none is given up.
    segments: Vec<u32>,
}

/// What the COMMIT will carry.
#[derive(Debug)]
enum BodyHash {
    /// The SHA-256 of the body as it comes.
    Taken(Sha256),
    /// The SHA-256 that the message already has. What is written is what was checked against it.
    Known([u8; 32]),
}

/// A message whose COMMIT is appended but not yet durable.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) entry: Entry,
    /// The segments other than the COMMIT's.
    pub(crate) spans: Vec<u32>,
    pub(crate) reserved_bytes: u64,
    pub(crate) purpose: Purpose,
}

impl Incoming {
    /// A message that comes in.
    pub(crate) fn new(id: MessageId, mount: u32) -> Self {
        Self::with_hash(id, mount, Purpose::Hot, BodyHash::Taken(Sha256::new()))
    }

    /// A message that reclaim moves. It keeps the SHA-256 that it came with: what befalls its bytes on the way is found
    /// when they are read, and not vouched for.
    pub(crate) fn moved(id: MessageId, mount: u32, sha256: [u8; 32]) -> Self {
        Self::with_hash(id, mount, Purpose::Moved, BodyHash::Known(sha256))
    }

    fn with_hash(id: MessageId, mount: u32, purpose: Purpose, sha256: BodyHash) -> Self {
        Self {
            id,
            mount,
            reserved_bytes: 0,
            purpose,
            size_bytes: 0,
            recipients: 0,
            sha256,
            previous: None,
            extents: Extents::new(),
            segments: Vec::new(),
        }
    }

    /// The name it will have in the volume.
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// The bytes of the body so far.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// What it would take on flash with `more_bytes` more.
    pub(crate) fn flash_bytes_with(&self, more_bytes: u64) -> u64 {
        flash_bytes(self.size_bytes + more_bytes, u32::from(self.recipients))
    }

    /// Appends the envelope whole. Where it fails a part of it stands, so that the message can only be given up.
    pub(crate) fn envelope<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        log: &mut Log<M, B>,
        begin: &Begin,
        recipients: &[Recipient],
    ) -> Result<(), Error> {
        self.begin(log, begin)?;
        let mut rest = recipients;
        while !rest.is_empty() {
            let taken = self.recipients(log, rest)?;
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Appends the BEGIN, which is one frame: it stands or it does not.
    pub(crate) fn begin<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        log: &mut Log<M, B>,
        begin: &Begin,
    ) -> Result<(), Error> {
        let mut payload = [0; RECORD_BYTES_MAX];
        let len = record::encode(begin, &mut payload)?;
        let appended = self.append(log, Kind::Begin, &payload[..len])?;
        log.note_time(appended.place.segment, begin.received);
        Ok(())
    }

    /// Appends a frame of recipients, as many of the first of them as fit, and says how many those were.
    pub(crate) fn recipients<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        log: &mut Log<M, B>,
        recipients: &[Recipient],
    ) -> Result<usize, Error> {
        let mut payload = [0; RECIPIENTS_PAYLOAD_BYTES];
        let mut count = recipients.len().min(48);
        let len = loop {
            match record::encode(&&recipients[..count], &mut payload) {
                Ok(len) => break len,
                Err(error) if count == 1 => return Err(error),
                Err(_) => count = count.div_ceil(2),
            }
        };
        let total = usize::from(self.recipients) + count;
        let total = u16::try_from(total).map_err(|_| Error::RecipientCount)?;
        self.append(log, Kind::Recipients, &payload[..len])?;
        self.recipients = total;
        Ok(count)
    }

    /// Appends a piece of the body, as much of it as the group at hand takes, and says how much that was.
    pub(crate) fn body<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        log: &mut Log<M, B>,
        bytes: &[u8],
    ) -> Result<usize, Error> {
        let room = log.payload_room(self.purpose, bytes.len().min(CHUNK_BYTES_MIN))?;
        let piece = &bytes[..bytes.len().min(room)];
        self.append(log, Kind::Chunk, piece)?;
        if let BodyHash::Taken(sha256) = &mut self.sha256 {
            sha256.update(piece);
        }
        self.size_bytes += piece.len() as u64;
        Ok(piece.len())
    }

    /// Appends the COMMIT.
    pub(crate) fn commit<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        log: &mut Log<M, B>,
    ) -> Result<Pending, Error> {
        let size_bytes = u32::try_from(self.size_bytes).map_err(|_| Error::Full)?;
        let commit = Commit {
            size_bytes: self.size_bytes,
            sha256: match &self.sha256 {
                BodyHash::Taken(sha256) => sha256.clone().finalize().into(),
                BodyHash::Known(sha256) => *sha256,
            },
            recipients: self.recipients,
            previous: self.previous,
            extents: self.extents.to_vec(),
        };
        let mut payload = [0; RECORD_BYTES_MAX];
        let len = record::encode(&commit, &mut payload)?;
        let appended =
            log.append(self.purpose, Kind::Commit, 0, self.id.0, &payload[..len], NOTE_BYTES_MAX)?;
        let Place { segment, offset } = appended.place;
        self.hold(log, segment);
        self.segments.retain(|held| *held != segment);
        let (id, recipients, wide) = (self.id.0, self.recipients, !self.segments.is_empty());
        let note = Note::Commit { group: appended.group, id, offset, size_bytes, recipients, wide };
        log.note(self.purpose, &note);
        Ok(Pending {
            entry: Entry::new(id, appended.place, size_bytes, recipients),
            spans: core::mem::take(&mut self.segments),
            reserved_bytes: core::mem::take(&mut self.reserved_bytes),
            purpose: self.purpose,
        })
    }

    /// Lets go of the segments that were held for it.
    pub(crate) fn release<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>>(&mut self, log: &mut Log<M, B>) {
        for segment in self.segments.drain(..) {
            log.release(segment);
        }
    }

    fn append<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        log: &mut Log<M, B>,
        kind: Kind,
        payload: &[u8],
    ) -> Result<Appended, Error> {
        if self.extents.is_full() {
            self.chain_extents(log)?;
        }
        let appended = log.append(self.purpose, kind, 0, self.id.0, payload, NOTE_BYTES_MAX)?;
        self.hold(log, appended.place.segment);
        let Place { segment, offset } = appended.place;
        let end = offset + appended.frame_bytes;
        if let Some(last) = self.extents.last_mut() {
            let last_end = last.offset + last.span_bytes;
            if last.segment == segment && log.follows(last_end, offset) {
                last.span_bytes = end - last.offset;
                return Ok(appended);
            }
        }
        let extent = Extent { segment, offset, span_bytes: appended.frame_bytes };
        // There is room: a full list was chained above.
        let _ = self.extents.push(extent);
        Ok(appended)
    }

    /// Writes the extents collected so far as a frame of their own, which those to come refer to.
    fn chain_extents<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        log: &mut Log<M, B>,
    ) -> Result<(), Error> {
        let extents = self.extents.to_vec();
        debug_assert_eq!(extents.len(), EXTENTS_MAX);
        let mut payload = [0; RECORD_BYTES_MAX];
        let len = record::encode(&ExtentsRecord { previous: self.previous, extents }, &mut payload)?;
        let id = self.id.0;
        let appended = log.append(self.purpose, Kind::Extents, 0, id, &payload[..len], NOTE_BYTES_MAX)?;
        self.hold(log, appended.place.segment);
        self.previous = Some(appended.place);
        self.extents.clear();
        Ok(())
    }

    fn hold<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>>(&mut self, log: &mut Log<M, B>, segment: u32) {
        if self.segments.last() != Some(&segment) && !self.segments.contains(&segment) {
            self.segments.push(segment);
            log.hold(segment);
        }
    }
}
