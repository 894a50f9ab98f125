//! What the log promised, and when: the other side of every check.
//!
//! Time is the number of the medium's operations. A note that was made before operation `n` may have reached flash by
//! any cut in `n` or later; one that was *sure* at `n`, because a sync had returned by then, must survive each of
//! them. So one ledger, kept while a workload runs once, says for every cut in it what must be there and what may.
//!
//! After a stop what was not sure is *in doubt*. The first sync after it settles the doubt: what the log shows then it
//! must show for ever after, events excepted.

use std::rc::Rc;

use penstock_flash::Medium;
use penstock_spool::{Error, Event, Fate, MessageId, Spool};

use crate::common::{Mail, stamp};

/// A moment that has not come.
const NEVER: u64 = u64::MAX;
/// The namespace of the state that workloads keep.
const NAMESPACE: u8 = 1;

/// When something was noted, when it became sure, and when it was sure to be gone.
#[derive(Clone, Copy, Debug)]
struct When {
    noted: u64,
    sure: u64,
    gone: u64,
    in_doubt: bool,
}

impl When {
    fn noted(now: u64) -> Self {
        Self { noted: now, sure: NEVER, gone: NEVER, in_doubt: false }
    }

    fn sure(now: u64) -> Self {
        Self { sure: now, ..Self::noted(now) }
    }

    fn is_sure(&self) -> bool {
        self.sure != NEVER
    }

    /// Neither sure to be there nor sure to be gone.
    fn is_open(&self) -> bool {
        self.sure == NEVER && self.gone == NEVER
    }

    fn as_of(self, cut: u64) -> Option<Self> {
        if self.noted > cut || self.gone <= cut {
            return None;
        }
        let sure = if self.sure <= cut { self.sure } else { NEVER };
        Some(Self { noted: self.noted, sure, gone: NEVER, in_doubt: sure == NEVER })
    }
}

/// A fate that was given to recipients.
#[derive(Clone, Copy, Debug)]
struct Change {
    first: u16,
    count: u16,
    fate: Fate,
    when: When,
}

/// A message that was committed.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) mail: Rc<Mail>,
    when: When,
    changes: Vec<Change>,
}

impl Story {
    /// Whether bits of it may read right now and wrong later, which costs nobody anything.
    fn is_on_the_brink(&self, look: Look) -> bool {
        !self.is_acknowledged() && (!look.settled || self.when.in_doubt)
    }

    fn recipients(&self) -> u16 {
        self.mail.recipients.len() as u16
    }

    pub(crate) fn is_acknowledged(&self) -> bool {
        self.when.is_sure()
    }

    /// The fates that a recipient may have: the one that is sure first, then those that may have followed.
    fn possible(&self, recipient: u16) -> impl Iterator<Item = Fate> {
        let mine = self.changes.iter().filter(move |change| {
            change.when.gone == NEVER && (change.first..change.first + change.count).contains(&recipient)
        });
        let sure = mine.clone().rev().find(|change| change.when.is_sure()).map_or(Fate::Queued, |c| c.fate);
        std::iter::once(sure).chain(mine.filter(|change| !change.when.is_sure()).map(|change| change.fate))
    }

    /// Whether all recipients may be done with.
    fn may_be_finished(&self) -> bool {
        (0..self.recipients()).all(|recipient| self.possible(recipient).any(Fate::is_final))
    }

    /// Whether all recipients are done with for sure.
    pub(crate) fn is_finished(&self) -> bool {
        (0..self.recipients()).all(|recipient| self.possible(recipient).all(Fate::is_final))
    }
}

#[derive(Clone, Debug)]
struct Put {
    key: u8,
    value: Vec<u8>,
    when: When,
}

#[derive(Clone, Debug)]
struct Told {
    number: u64,
    when: When,
}

/// A promise that was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Acknowledged and not there.
    Lost(MessageId),
    /// There, and cannot be read.
    Unreadable(MessageId, Error),
    /// Given out with other bytes or recipients than were taken.
    Altered(MessageId),
    /// There, though it was never committed, or is known to be gone.
    Stranger(MessageId),
    /// Told of as damaged, though nobody was told that it was taken. It is not given out.
    Leftover(MessageId),
    /// A final fate that was sure is not final any more.
    SentAgain(MessageId, u16),
    /// A fate that nobody noted, or an older one than the last that was sure.
    OtherFate(MessageId, u16, Fate),
    /// State is not the newest that was sure, nor one put later.
    OldState(u8),
    /// An event that was sure is not there.
    EventLost(u64),
    /// An event is there that nobody recorded.
    EventStranger,
}

impl Wrong {
    /// The message it concerns.
    pub(crate) fn message(&self) -> Option<MessageId> {
        match *self {
            Self::Lost(id)
            | Self::Unreadable(id, _)
            | Self::Altered(id)
            | Self::Stranger(id)
            | Self::Leftover(id)
            | Self::SentAgain(id, _)
            | Self::OtherFate(id, ..) => Some(id),
            Self::OldState(_) | Self::EventLost(_) | Self::EventStranger => None,
        }
    }
}

/// How closely to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Something was synced since the stop. Until then bits that a cut left on the brink may read right at the mount
    /// and wrong later, so that what was not acknowledged may turn out to be broken.
    pub(crate) settled: bool,
    /// Read every message through that is not finished.
    pub(crate) bodies: bool,
    /// Read finished messages too, as far as they are kept, and all events.
    pub(crate) closely: bool,
}

/// All that was promised to a workload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// In order of id.
    stories: Vec<(MessageId, Story)>,
    puts: Vec<Put>,
    told: Vec<Told>,
}

impl Ledger {
    /// The promises as a cut in that operation finds them; what was not sure by then is in doubt.
    pub(crate) fn as_of(&self, cut: u64) -> Self {
        let stories = self.stories.iter().filter_map(|(id, story)| {
            let when = story.when.as_of(cut)?;
            let changes = story.changes.iter();
            let changes =
                changes.filter_map(|c| c.when.as_of(cut).map(|when| Change { when, ..*c })).collect();
            Some((*id, Story { mail: Rc::clone(&story.mail), when, changes }))
        });
        let puts = self.puts.iter();
        let puts = puts.filter_map(|put| put.when.as_of(cut).map(|when| Put { when, ..put.clone() }));
        let told = self.told.iter();
        let told = told.filter_map(|told| told.when.as_of(cut).map(|when| Told { when, ..*told }));
        Self { stories: stories.collect(), puts: puts.collect(), told: told.collect() }
    }

    /// A message is about to be committed.
    pub(crate) fn committing(&mut self, id: MessageId, mail: Rc<Mail>, now: u64) {
        let at = self.stories.partition_point(|(known, _)| *known < id);
        self.stories.insert(at, (id, Story { mail, when: When::noted(now), changes: Vec::new() }));
    }

    /// It could not be committed.
    pub(crate) fn not_committed(&mut self, id: MessageId) {
        self.stories.retain(|(known, _)| *known != id);
    }

    /// A fate is about to be noted.
    pub(crate) fn fate(&mut self, id: MessageId, (first, count): (u16, u16), fate: Fate, now: u64) {
        let change = Change { first, count, fate, when: When::noted(now) };
        if let Some(story) = self.story_mut(id) {
            story.changes.push(change);
        }
    }

    /// A value is about to be put.
    pub(crate) fn put(&mut self, key: u8, value: Vec<u8>, now: u64) {
        self.puts.push(Put { key, value, when: When::noted(now) });
    }

    /// What was last put could not be put.
    pub(crate) fn not_put(&mut self) {
        self.puts.pop();
    }

    /// An event is about to be recorded; its text is [`event_text`] of its number.
    pub(crate) fn tell(&mut self, number: u64, now: u64) {
        self.told.push(Told { number, when: When::noted(now) });
    }

    /// What was last told could not be recorded.
    pub(crate) fn not_told(&mut self) {
        self.told.pop();
    }

    pub(crate) fn events(&self) -> usize {
        self.told.len()
    }

    pub(crate) fn story(&self, id: MessageId) -> Option<&Story> {
        let at = self.stories.binary_search_by_key(&id, |(known, _)| *known).ok()?;
        Some(&self.stories[at].1)
    }

    fn story_mut(&mut self, id: MessageId) -> Option<&mut Story> {
        let at = self.stories.binary_search_by_key(&id, |(known, _)| *known).ok()?;
        Some(&mut self.stories[at].1)
    }

    /// The highest id of a message that was committed.
    pub(crate) fn last_id(&self) -> MessageId {
        self.stories.last().map_or(MessageId(0), |(id, _)| *id)
    }

    fn whens(&mut self) -> impl Iterator<Item = &mut When> {
        let stories = self.stories.iter_mut().flat_map(|(_, story)| {
            std::iter::once(&mut story.when).chain(story.changes.iter_mut().map(|change| &mut change.when))
        });
        let puts = self.puts.iter_mut().map(|put| &mut put.when);
        stories.chain(puts).chain(self.told.iter_mut().map(|told| &mut told.when))
    }

    /// A sync has returned.
    pub(crate) fn synced(&mut self, now: u64) {
        self.whens().filter(|when| when.is_open() && !when.in_doubt).for_each(|when| when.sure = now);
    }

    /// Whether a stop left anything in doubt that no sync has settled.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.stories.iter().any(|(_, story)| {
            story.when.in_doubt && story.when.is_open()
                || story.changes.iter().any(|change| change.when.in_doubt && change.when.is_open())
        }) || self.puts.iter().any(|put| put.when.in_doubt && put.when.is_open())
    }

    /// The log was stopped without a sync: what is not sure is in doubt.
    pub(crate) fn stopped(&mut self) {
        self.whens().filter(|when| when.is_open()).for_each(|when| when.in_doubt = true);
    }

    /// A sync has returned after a stop: what is in doubt is from now on as the log shows it.
    pub(crate) fn settle<M: Medium>(&mut self, spool: &mut Spool<M, Vec<u8>>, now: u64) {
        let in_doubt = |when: &When| when.is_open() && when.in_doubt;
        for (id, story) in &mut self.stories {
            let fates = spool.fates(*id);
            let is_torn = |fates: &Vec<(u16, u16, Fate)>| fates.iter().all(|(.., fate)| *fate == Fate::Torn);
            if in_doubt(&story.when) {
                let is_there = fates.as_ref().is_some_and(|fates| !is_torn(fates));
                *(if is_there { &mut story.when.sure } else { &mut story.when.gone }) = now;
            }
            let mut any = false;
            for change in story.changes.iter_mut().filter(|change| in_doubt(&change.when)) {
                any = true;
                // Of a message that has been forgotten no fate is known but that they were all final.
                *(if fates.is_some() { &mut change.when.gone } else { &mut change.when.sure }) = now;
            }
            if any && let Some(fates) = fates {
                let seen = fates.into_iter().map(|(first, count, fate)| {
                    let when = When::sure(now);
                    Change { first, count, fate, when }
                });
                story.changes.extend(seen);
            }
        }
        let mut seen = Vec::new();
        for put in self.puts.iter_mut().filter(|put| in_doubt(&put.when)) {
            put.when.gone = now;
            if !seen.contains(&put.key) {
                seen.push(put.key);
            }
        }
        for key in seen {
            let value = spool.meta(NAMESPACE, &[key]).unwrap_or_default().to_vec();
            self.puts.push(Put { key, value, when: When::sure(now) });
        }
        // Events are not written anew: one that was not synced stays in doubt for good.
    }

    /// What of a ledger [`as_of`](Self::as_of) now is not as it must be.
    pub(crate) fn wrongs<M: Medium>(&self, spool: &mut Spool<M, Vec<u8>>, look: Look) -> Vec<Wrong> {
        let mut wrongs = Vec::new();
        for (id, story) in self.stories.iter().filter(|(_, story)| story.when.gone == NEVER) {
            check_message(spool, *id, story, look, &mut wrongs);
        }
        let known = |id: MessageId| self.story(id).is_some_and(|story| story.when.gone == NEVER);
        let all = spool.queue(MessageId(0)).chain(spool.kept(MessageId(0)));
        // A torn message is among the kept ones until its segment goes; it was never there.
        let is_torn = |id: MessageId| {
            spool.fates(id).is_some_and(|fates| fates.iter().all(|(.., fate)| *fate == Fate::Torn))
        };
        let strangers: Vec<MessageId> =
            all.map(|summary| summary.id).filter(|id| !known(*id) && !is_torn(*id)).collect();
        for id in strangers {
            let is_refused = matches!(read(spool, id), Err(Error::Damaged(_)));
            wrongs.push(if is_refused { Wrong::Leftover(id) } else { Wrong::Stranger(id) });
        }
        self.check_state(spool, &mut wrongs);
        if look.closely {
            self.check_events(spool, &mut wrongs);
        }
        wrongs
    }

    fn check_state<M: Medium>(&self, spool: &Spool<M, Vec<u8>>, wrongs: &mut Vec<Wrong>) {
        let mut keys: Vec<u8> = self.puts.iter().map(|put| put.key).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let seen = spool.meta(NAMESPACE, &[key]).unwrap_or_default();
            let puts = || self.puts.iter().filter(|put| put.key == key && put.when.gone == NEVER);
            let sure = puts().rev().find(|put| put.when.is_sure()).map_or(&[][..], |put| &put.value);
            let later = || puts().filter(|put| !put.when.is_sure()).any(|put| put.value == seen);
            if sure != seen && !later() {
                wrongs.push(Wrong::OldState(key));
            }
        }
    }

    fn check_events<M: Medium>(&self, spool: &mut Spool<M, Vec<u8>>, wrongs: &mut Vec<Wrong>) {
        let numbers: Vec<Option<u64>> = spool.events().map(|event| number_of(&event)).collect();
        let here = || self.told.iter().filter(|told| told.when.gone == NEVER);
        for told in here().filter(|told| told.when.is_sure() && !numbers.contains(&Some(told.number))) {
            wrongs.push(Wrong::EventLost(told.number));
        }
        let known = |number: &Option<u64>| here().any(|told| Some(told.number) == *number);
        if !numbers.iter().all(known) {
            wrongs.push(Wrong::EventStranger);
        }
    }
}

fn check_message<M: Medium>(
    spool: &mut Spool<M, Vec<u8>>,
    id: MessageId,
    story: &Story,
    look: Look,
    wrongs: &mut Vec<Wrong>,
) {
    let (Some(summary), Some(fates)) = (spool.summary(id), spool.fates(id)) else {
        if story.is_acknowledged() && !story.may_be_finished() {
            wrongs.push(Wrong::Lost(id));
        }
        return;
    };
    if fates.iter().all(|(.., fate)| *fate == Fate::Torn) {
        // Torn is what nobody was told of.
        if story.is_acknowledged() {
            wrongs.push(Wrong::Lost(id));
        }
        return;
    }
    for (first, count, fate) in fates {
        for recipient in first..first + count {
            if story.possible(recipient).any(|possible| possible == fate) {
                continue;
            }
            let was_final = story.possible(recipient).next().is_some_and(Fate::is_final);
            wrongs.push(if was_final && !fate.is_final() {
                Wrong::SentAgain(id, recipient)
            } else {
                Wrong::OtherFate(id, recipient, fate)
            });
        }
    }
    let is_finished = summary.open_recipients == 0;
    if !look.bodies || is_finished && (summary.damaged || !look.closely) {
        return;
    }
    match read(spool, id) {
        Ok(mail) if mail == *story.mail => {}
        Ok(_) => wrongs.push(Wrong::Altered(id)),
        // Of finished mail a part may be given up already.
        Err(_) if is_finished => {}
        Err(Error::Damaged(_)) if story.is_on_the_brink(look) => {}
        Err(error) => wrongs.push(Wrong::Unreadable(id, error)),
    }
}

/// Reads a message back whole.
pub(crate) fn read<M: Medium>(spool: &mut Spool<M, Vec<u8>>, id: MessageId) -> Result<Mail, Error> {
    let mut message = spool.open(id)?;
    let envelope = message.envelope()?;
    let mut body = Vec::new();
    while let Some(chunk) = message.next_chunk()? {
        body.extend_from_slice(chunk);
    }
    Ok(Mail { begin: envelope.begin, recipients: envelope.recipients, body })
}

/// The key under which a workload keeps state.
pub(crate) fn put_state<M: Medium>(
    spool: &mut Spool<M, Vec<u8>>,
    key: u8,
    value: &[u8],
) -> Result<(), Error> {
    spool.put_meta(NAMESPACE, &[key], value)
}

/// The event of a number.
pub(crate) fn event(number: u64, message: Option<MessageId>) -> Event {
    let text = format!("event {number} {}", "x".repeat(number as usize % 40));
    Event { at: stamp(1_700_000_000_000 + number), code: number as u16, message, text }
}

/// The number of an event that is as it was told.
fn number_of(seen: &Event) -> Option<u64> {
    let number = seen.text.split(' ').nth(1)?.parse().ok()?;
    (*seen == event(number, seen.message)).then_some(number)
}
