//! The model: what was promised, and what may or may not be there because nobody was told yet.

use std::collections::{BTreeMap, BTreeSet};

use penstock_spool::{Error, Event, Fate, MessageId};

use crate::common::{Mail, TestSpool, read};

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Its COMMIT was given to the spool, and no sync has told of it: there whole, or not at all.
    Maybe,
    /// A sync said that it is safe.
    Acknowledged,
    /// It was not there after a stop, or it was finished and given up: it never waits for delivery again.
    Gone,
}

/// One message as the model knows it.
#[derive(Clone, Debug)]
struct Entry {
    mail: Mail,
    standing: Standing,
    /// For each recipient the fates that a mount may find. The last one is what the spool was told last.
    fates: Vec<Vec<Fate>>,
    /// Committed since the last mount: the next sync that succeeds must show it.
    is_of_this_mount: bool,
}

/// All that was promised.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    entries: BTreeMap<MessageId, Entry>,
    /// For each key the values that a mount may find, the last one being the newest.
    metas: BTreeMap<u8, Vec<Vec<u8>>>,
    /// What was recorded, by its number.
    events: BTreeMap<u16, Event>,
    /// Of these, what no sync followed since, and what one did.
    events_unsynced: BTreeSet<u16>,
    events_durable: BTreeSet<u16>,
    /// Something is in doubt since a stop: what a cut left on the brink may still turn out to be broken.
    is_unsettled: bool,
    /// Messages that a defect struck, also while they came in: they may be damaged, or lost.
    touched: BTreeSet<MessageId>,
    /// A defect struck whose reach is not known: then only what is given out is checked.
    pub(crate) is_wild: bool,
    /// A defect struck fates or state: they may be those from before.
    pub(crate) may_revert: bool,
}

impl Ledger {
    /// A message was begun: its id is none that was used before.
    pub(crate) fn begun(&self, id: MessageId) {
        let last = self.entries.keys().next_back();
        assert!(last.is_none_or(|last| *last < id) || self.is_wild, "id {id} was given out after {last:?}");
    }

    pub(crate) fn committed(&mut self, id: MessageId, mail: Mail) {
        let fates = mail.recipients.iter().map(|_| vec![Fate::Queued]).collect();
        let standing = Standing::Maybe;
        let entry = Entry { mail, standing, fates, is_of_this_mount: true };
        self.entries.insert(id, entry);
    }

    /// A fate was handed over, and perhaps taken.
    pub(crate) fn noted(&mut self, id: MessageId, first: u16, count: u16, fate: Fate) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        for fates in &mut entry.fates[usize::from(first)..usize::from(first + count)] {
            fates.push(fate);
        }
    }

    pub(crate) fn put(&mut self, key: u8, value: Vec<u8>) {
        self.metas.entry(key).or_insert_with(|| vec![Vec::new()]).push(value);
    }

    pub(crate) fn recorded(&mut self, event: Event) {
        self.events_unsynced.insert(event.code);
        self.events.insert(event.code, event);
    }

    /// A defect struck a message.
    pub(crate) fn touch(&mut self, id: MessageId) {
        self.touched.insert(id);
    }

    /// A sync succeeded: what the spool shows now is what it must show for ever.
    pub(crate) fn synced(&mut self, spool: &TestSpool) {
        for (id, entry) in &mut self.entries {
            let seen = seen_fates(spool, *id);
            let is_there = seen.as_ref().is_some_and(|fates| fates.iter().any(|fate| *fate != Fate::Torn));
            if is_there {
                if entry.standing == Standing::Maybe {
                    entry.standing = Standing::Acknowledged;
                }
            } else {
                let excused = self.is_wild || self.touched.contains(id) || entry.standing != Standing::Maybe;
                assert!(!entry.is_of_this_mount || excused, "message {id} was synced and does not show");
                entry.standing = Standing::Gone;
            }
            entry.is_of_this_mount = false;
            for (fates, seen) in entry.fates.iter_mut().zip(seen.into_iter().flatten()) {
                *fates = vec![seen];
            }
        }
        for (key, values) in &mut self.metas {
            *values = vec![spool.meta(1, &[*key]).unwrap_or_default().to_vec()];
        }
        self.events_durable.append(&mut self.events_unsynced);
        self.is_unsettled = false;
    }

    /// The spool was mounted anew: of what is in doubt it has decided for one possibility, for the time being.
    pub(crate) fn remounted(&mut self) {
        self.is_unsettled = true;
        self.events_unsynced.clear();
        self.entries.values_mut().for_each(|entry| entry.is_of_this_mount = false);
    }

    /// Whether the spool shows what it may, without reading mail. `fresh` right after a mount, when it may have decided
    /// for any of the possibilities; later it shows what it was told last.
    pub(crate) fn check(&mut self, spool: &TestSpool, fresh: bool) {
        let queued: Vec<MessageId> = spool.queue(MessageId(0)).map(|summary| summary.id).collect();
        for id in &queued {
            let known = self.entries.get(id);
            assert!(known.is_some(), "message {id} came from nowhere");
            let gone =
                known.is_some_and(|entry| entry.standing == Standing::Gone && !self.touched.contains(id));
            assert!(!gone || self.may_revert || self.is_wild, "message {id} came back");
        }
        if self.is_wild {
            return;
        }
        let may_revert = self.may_revert;
        let is_unsettled = self.is_unsettled;
        for (id, entry) in &mut self.entries {
            let Some(seen) = seen_fates(spool, *id) else {
                let finished = entry.fates.iter().all(|fates| fates.iter().any(|fate| fate.is_final()));
                let absent =
                    entry.standing != Standing::Acknowledged || finished || self.touched.contains(id);
                assert!(absent, "message {id} is lost");
                if fresh && !finished {
                    entry.standing = Standing::Gone;
                }
                continue;
            };
            if entry.standing != Standing::Acknowledged && seen.iter().all(|fate| *fate == Fate::Torn) {
                assert!(is_unsettled || entry.standing == Standing::Gone, "message {id} tore without a stop");
                entry.standing = Standing::Gone;
                continue;
            }
            assert_eq!(seen.len(), entry.fates.len(), "message {id} has other recipients");
            for (recipient, (fates, seen)) in entry.fates.iter_mut().zip(seen).enumerate() {
                let allowed = if fresh { fates.contains(&seen) } else { fates.last() == Some(&seen) };
                let excused = may_revert || self.touched.contains(id);
                assert!(
                    allowed || excused,
                    "recipient {recipient} of message {id} is {seen:?}, which is none of {fates:?}"
                );
                if fresh && fates.last() != Some(&seen) {
                    fates.push(seen);
                }
            }
        }
        for (key, values) in &mut self.metas {
            let seen = spool.meta(1, &[*key]).unwrap_or_default();
            let allowed = if fresh {
                values.iter().any(|v| v == seen)
            } else {
                values.last().is_some_and(|v| v == seen)
            };
            assert!(allowed || may_revert, "key {key} holds what it was never given, or lost it");
            if fresh {
                values.push(seen.to_vec());
            }
        }
    }

    /// Reads everything. What can be read is what was written; what was acknowledged can be read.
    pub(crate) fn read_all(&mut self, spool: &mut TestSpool) {
        let ids: BTreeSet<MessageId> =
            spool.queue(MessageId(0)).chain(spool.kept(MessageId(0))).map(|summary| summary.id).collect();
        for id in ids {
            self.read(spool, id);
        }
        self.read_events(spool);
    }

    pub(crate) fn read(&mut self, spool: &mut TestSpool, id: MessageId) {
        let Some(entry) = self.entries.get_mut(&id) else { panic!("message {id} came from nowhere") };
        match read(spool, id) {
            Ok(seen) => assert!(seen == entry.mail, "message {id} was altered"),
            Err(Error::Damaged(_)) => {
                let live = spool.summary(id).is_some_and(|summary| summary.open_recipients > 0);
                let in_doubt = self.is_unsettled && entry.standing != Standing::Acknowledged;
                assert!(
                    !live || in_doubt || self.touched.contains(&id) || self.is_wild,
                    "message {id} ({:?}) is there and cannot be read",
                    entry.standing
                );
            }
            Err(error) => assert!(self.is_wild || self.touched.contains(&id), "message {id}: {error}"),
        }
    }

    /// Events read as they were recorded; those of mail that still waits do not go.
    fn read_events(&self, spool: &mut TestSpool) {
        let mut seen = BTreeSet::new();
        for event in spool.events() {
            let known = self.events.get(&event.code);
            assert_eq!(known, Some(&event), "an event was altered");
            seen.insert(event.code);
        }
        if self.is_wild || self.may_revert {
            return;
        }
        for number in &self.events_durable {
            let about = self.events[number].message.and_then(|id| spool.summary(id));
            let needed = about.is_some_and(|summary| summary.open_recipients > 0);
            assert!(!needed || seen.contains(number), "event {number} about mail that waits is lost");
        }
    }
}

/// The fate of each recipient of a message, if the spool knows it.
fn seen_fates(spool: &TestSpool, id: MessageId) -> Option<Vec<Fate>> {
    let runs = spool.fates(id)?;
    Some(
        runs.into_iter().flat_map(|(_, count, fate)| std::iter::repeat_n(fate, usize::from(count))).collect(),
    )
}
