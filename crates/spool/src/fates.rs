//! What is noted beside messages: what becomes of their recipients, events, and state under keys.

use penstock_flash::Medium;

use crate::Error;
use crate::frame::Kind;
use crate::index::Entry;
use crate::log::STATUS_FRAME_BYTES;
use crate::record::{
    self, EVENT_TEXT_BYTES_MAX, Event, Fate, META_VALUE_BYTES_MAX, MessageId, Meta, Stamp, Status,
};
use crate::segment::Purpose;
use crate::spool::Spool;
use crate::summary::{META_NOTE_BYTES, NOTE_BYTES_MAX, Note};

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Spool<M, B> {
    /// Notes what has become of recipients. It is durable after the next [`sync`](Self::sync).
    ///
    /// # Errors
    /// [`Error::NoSuchMessage`], [`Error::NoSuchRecipient`]; [`Error::AlreadyFinal`] if one of them has a final fate
    /// and this one is not; [`Error::ReadOnly`], [`Error::Write`].
    pub fn set_status(&mut self, id: MessageId, status: &Status) -> Result<(), Error> {
        let entry = *self.index.get(id).ok_or(Error::NoSuchMessage(id))?;
        let end = u32::from(status.first) + u32::from(status.count);
        if status.count == 0 || end > u32::from(entry.recipients) {
            return Err(Error::NoSuchRecipient(id));
        }
        let run = status.first..status.first + status.count;
        if !status.fate.is_final() && run.clone().any(|r| self.index.fate(&entry, r).is_final()) {
            return Err(Error::AlreadyFinal(id));
        }
        self.append_status(id, status)?;
        self.apply_status(id, status)
    }

    /// Puts recipients that were delivered back among those to be delivered, as the operator's replay wants it. It is
    /// durable after the next [`sync`](Self::sync).
    ///
    /// # Errors
    /// [`Error::NoSuchMessage`] and [`Error::Damaged`], also where the message, or a part of it, has just been given up
    /// to make room; [`Error::NoSuchRecipient`]; [`Error::NotDelivered`] if one of them was not; [`Error::Full`] if
    /// undelivered mail would take more room than there is; [`Error::ReadOnly`], [`Error::Write`].
    pub fn replay(&mut self, id: MessageId, first: u16, count: u16, at: Stamp) -> Result<(), Error> {
        // A segment that is half forgotten is retired whatever comes back to life in it.
        self.in_reserve(Self::finish_giving_up)?;
        let entry = *self.index.get(id).ok_or(Error::NoSuchMessage(id))?;
        if entry.is_damaged() {
            return Err(Error::Damaged(id));
        }
        let end = u32::from(first) + u32::from(count);
        if count == 0 || end > u32::from(entry.recipients) {
            return Err(Error::NoSuchRecipient(id));
        }
        if (first..first + count).any(|recipient| self.index.fate(&entry, recipient) != Fate::Delivered) {
            return Err(Error::NotDelivered(id));
        }
        if !entry.is_live() && !self.has_room_for(entry.flash_bytes()) {
            return Err(Error::Full);
        }
        let status = Status { first, count, fate: Fate::Queued, attempts: 0, reply_code: 0, at };
        // Finished mail makes room for what is appended. This message must not.
        let _kept = self.readable(&entry);
        self.append_status(id, &status)?;
        self.apply_status(id, &status)
    }

    /// Has a status that was appended count in memory.
    fn apply_status(&mut self, id: MessageId, status: &Status) -> Result<(), Error> {
        // To find room for it, reclaim may have moved the message itself.
        let entry = *self.index.get(id).ok_or(Error::NoSuchMessage(id))?;
        let was_live = entry.is_live();
        // What is live is counted, so it is discounted as it was before the fate changes.
        self.uncount_body(&entry);
        self.index.apply(id, status);
        let entry = *self.index.get(id).ok_or(Error::NoSuchMessage(id))?;
        self.count_body(id);
        let bytes = entry.flash_bytes();
        match (was_live, entry.is_live()) {
            (true, false) => {
                self.live_messages -= 1;
                self.live_bytes -= bytes.min(self.live_bytes);
                self.kept_bytes += bytes;
            }
            (false, true) => {
                self.live_messages += 1;
                self.live_bytes += bytes;
                self.kept_bytes -= bytes.min(self.kept_bytes);
            }
            (true, true) | (false, false) => {}
        }
        Ok(())
    }

    /// Appends a status record and remembers where the newest one of that message stands.
    pub(crate) fn append_status(&mut self, id: MessageId, status: &Status) -> Result<(), Error> {
        let mut payload = [0; 64];
        let len = record::encode(status, &mut payload)?;
        let appended = self.with_room(|log| {
            log.append(Purpose::Status, Kind::Status, 0, id.0, &payload[..len], NOTE_BYTES_MAX)
        })?;
        let note = Note::Status { group: appended.group, id: id.0, status: *status };
        self.log.note(Purpose::Status, &note);
        let before = self.index.get(id).and_then(Entry::status_segment);
        if let Some(before) = before {
            self.log.discount(before, STATUS_FRAME_BYTES);
        }
        if let Some(entry) = self.index.get_mut(id) {
            entry.record_status(appended.place.segment, status.count == entry.recipients);
            self.log.count(appended.place.segment, STATUS_FRAME_BYTES);
            self.log.note_id(appended.place.segment, id.0);
        }
        Ok(())
    }

    /// Appends an event. It is durable after the next [`sync`](Self::sync). A text that is too long is cut.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::ReadOnly`], [`Error::Write`].
    pub fn record_event(&mut self, event: &Event) -> Result<(), Error> {
        let mut event = event.clone();
        let end = (0..=EVENT_TEXT_BYTES_MAX.min(event.text.len()))
            .rev()
            .find(|at| event.text.is_char_boundary(*at));
        event.text.truncate(end.unwrap_or(0));
        let mut payload = [0; EVENT_TEXT_BYTES_MAX + 64];
        let len = record::encode(&event, &mut payload)?;
        let id = event.message.map_or(0, |id| id.0);
        let appended = self.with_room(|log| {
            log.append(Purpose::Status, Kind::Event, crate::frame::FLAG_SKIPPABLE, id, &payload[..len], 0)
        })?;
        let segment = appended.place.segment;
        self.log.note_time(segment, event.at);
        if let Some(row) = self.log.segments.get_mut(segment as usize) {
            row.event_bytes = row.event_bytes.saturating_add(appended.frame_bytes);
        }
        Ok(())
    }

    /// Puts a value under a key. It is durable after the next [`sync`](Self::sync). An empty value stands for none.
    ///
    /// # Errors
    /// [`Error::FieldTooLong`], [`Error::Full`], [`Error::ReadOnly`], [`Error::Write`].
    pub fn put_meta(&mut self, namespace: u8, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if self.meta(namespace, key) == Some(value) {
            return Ok(());
        }
        let meta = Meta { namespace, key: key.to_vec(), value: value.to_vec() };
        self.meta.check(&meta)?;
        if !self.keeps_index() && !self.is_settled() {
            // What the tail says of this key is not known, and would be written anew after it.
            self.sync()?;
        }
        self.append_meta(meta)
    }

    pub(crate) fn append_meta(&mut self, meta: Meta) -> Result<(), Error> {
        let mut payload = [0; META_VALUE_BYTES_MAX + 128];
        let len = record::encode(&meta, &mut payload)?;
        let note_bytes = META_NOTE_BYTES + meta.key.len() + meta.value.len();
        let appended =
            self.with_room(|log| log.append(Purpose::Status, Kind::Meta, 0, 0, &payload[..len], note_bytes))?;
        let segment = appended.place.segment;
        if let Some(before) = self.meta.segment_of(&meta) {
            self.log.discount(before, STATUS_FRAME_BYTES);
        }
        self.log.count(segment, STATUS_FRAME_BYTES);
        self.meta.apply(&meta, segment);
        self.log.note(Purpose::Status, &Note::Meta { group: appended.group, meta });
        Ok(())
    }

    /// The value under a key.
    pub fn meta(&self, namespace: u8, key: &[u8]) -> Option<&[u8]> {
        self.meta.get(namespace, key).filter(|value| !value.is_empty())
    }

    /// All keys and values of a namespace, in order of key.
    pub fn metas(&self, namespace: u8) -> impl Iterator<Item = (&[u8], &[u8])> {
        let all = self.meta.iter().filter(move |(n, _, value)| *n == namespace && !value.is_empty());
        all.map(|(_, key, value)| (key, value))
    }
}
