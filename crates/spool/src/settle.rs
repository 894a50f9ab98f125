//! The tail after an unclean stop: what stands there is written anew, and what was torn is said to be, before anything
//! durable builds upon it. What the tail is, a mount finds out.

use penstock_flash::Medium;

use crate::Error;
use crate::index::Entry;
use crate::mount::TailContent;
use crate::proof::{Branch, Protection};
use crate::record::{Fate, MessageId, Meta, Status};
use crate::spool::Spool;
use crate::summary::Note;

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Spool<M, B> {
    /// Writes the tail anew after an unclean stop, before anything durable builds upon it. A message that cannot be
    /// read now was never acknowledged: what was, is stable.
    ///
    /// All of it at once: up to the sync after it, no group and no header says that any of the tail is durable, so
    /// until then each mount finds the whole tail again, and after it none of it matters.
    pub(crate) fn settle_tail(&mut self) -> Result<(), Error> {
        if !self.tail.is_empty() && Protection::TailAnew.is_on() {
            let tail = core::mem::take(&mut self.tail);
            let done = self.in_reserve(|spool| spool.write_tail(&tail));
            if done.is_err() {
                self.tail = tail;
                return done;
            }
        }
        self.tail = TailContent::default();
        self.log.withholds_word = false;
        Ok(())
    }

    fn write_tail(&mut self, tail: &TailContent) -> Result<(), Error> {
        // These come first: to believe them at the next mount would let live bytes be erased.
        tail.disbelieved.iter().copied().try_for_each(|segment| self.rewrite_life(segment))?;
        // Without an index none is known.
        let messages = if self.keeps_index() { tail.messages.as_slice() } else { &[] };
        if !messages.is_empty() {
            self.log.erase_proven()?;
        }
        for id in messages {
            let Some(entry) = self.index.get(*id).copied().filter(Entry::is_live) else { continue };
            match self.move_now(*id) {
                Ok(true) => Branch::TailMoved.reach(),
                Ok(false) => {
                    Branch::TailFaded.reach();
                    self.set_status(*id, &Status::of_all(entry.recipients, Fate::Torn))?;
                }
                // What can be read now counts as it stands.
                Err(Error::Full) => Branch::TailNoRoom.reach(),
                Err(error) => return Err(error),
            }
        }
        for record in &tail.records {
            unless_full(self.rewrite_tail_record(record))?;
        }
        tail.left_open.iter().try_for_each(|segment| unless_full(self.rewrite_life(*segment)))
    }

    fn rewrite_tail_record(&mut self, record: &Note) -> Result<(), Error> {
        match record {
            Note::Status { id, status, .. } => {
                Branch::TailFates.reach();
                self.rewrite_tail_fate(MessageId(*id), status)
            }
            Note::Meta { meta, .. } => {
                Branch::TailState.reach();
                // By now it may have another value.
                let value = self.meta.get(meta.namespace, &meta.key).map(<[u8]>::to_vec);
                self.append_meta(Meta { value: value.unwrap_or_else(|| meta.value.clone()), ..meta.clone() })
            }
            Note::Segment { record, .. } => self.rewrite_life(record.segment),
            Note::Commit { .. } => Ok(()),
        }
    }

    /// Writes again what the tail says of a fate: as it is by now, or as it stood where messages are not known.
    fn rewrite_tail_fate(&mut self, id: MessageId, status: &Status) -> Result<(), Error> {
        if self.keeps_index() { self.rewrite_fate(id) } else { self.append_status(id, status) }
    }

    /// Whether nothing of the tail waits to be settled.
    pub(crate) fn is_settled(&self) -> bool {
        self.tail.is_empty() && self.torn.is_empty()
    }

    /// Says of torn messages that they never counted, before anything durable says that their groups were.
    pub(crate) fn record_torn(&mut self) -> Result<(), Error> {
        let torn = core::mem::take(&mut self.torn);
        self.in_reserve(|spool| {
            for id in torn {
                Branch::TornRecorded.reach();
                let recipients = spool.index.get(id).map_or(0, |entry| entry.recipients);
                match spool.append_status(id, &Status::of_all(recipients, Fate::Torn)) {
                    // Without room for that it will be told of as damaged.
                    Ok(()) | Err(Error::Full) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
    }
}

/// What has no room to be written anew stays as it stands.
fn unless_full(done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(Error::Full) => {
            Branch::TailNoRoom.reach();
            Ok(())
        }
        done => done,
    }
}

#[cfg(test)]
mod tests;
