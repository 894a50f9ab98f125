//! Both volumes: which of them takes a message, and how it gets there.
//!
//! The disk takes mail as long as it is well and has room. Else the NOR flash does, each message up to
//! [`NOR_MESSAGE_BYTES_MAX`]. Nothing is erased while a session waits: what the first write of a boot has to erase is erased
//! ahead and in steps once the first message is announced, and until then no message begins.
//!
//! A volume whose write failed takes nothing more until it is mounted anew, at the next start.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use core::fmt::{self, Write as _};

use penstock_flash::Medium;
use penstock_spool::{
    Begin, Buffers, EVENT_TEXT_BYTES_MAX, Error, Event, Incoming, Info, MessageId, Recipient, Spool, Stamp,
    Step,
};

use crate::backing::Backing;

/// The largest message that the NOR flash takes, in bytes, as in userland: a few large ones would leave no room for the many
/// small ones that an outage brings.
pub const NOR_MESSAGE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The room that there must be for a message of which nobody knows how long it is, in bytes.
const UNDECLARED_BYTES: u64 = 64 * 1024;
/// The longest that our own line on top of a message may be, in bytes: it does not count towards its size.
pub(crate) const TRACE_BYTES_MAX: usize = 1024;
/// The code of the event about each message that was taken here: part of what is on volumes, and never used for something
/// else.
pub const EVENT_RESCUED: u16 = 62;
/// How long that part of its text may be that is the same for all, in bytes.
const EVENT_REASON_BYTES_MAX: usize = EVENT_TEXT_BYTES_MAX - 160;
/// The memory for groups of mail: each is programmed in one step, so they are no larger than a step may be.
const HOT_BYTES: usize = 16 * 1024;
/// The memory for groups of status, and for those of mail that is moved, of which there is none here.
const OTHER_BYTES: usize = 4096;

/// A place for mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// The disk.
    Disk,
    /// The NOR flash.
    Nor,
}

impl Store {
    pub(crate) const ALL: [Self; 2] = [Self::Disk, Self::Nor];

    /// What stands before the number of a message, as userland has it.
    const fn letter(self) -> char {
        match self {
            Self::Disk => 'd',
            Self::Nor => 'n',
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Disk => "disk",
            Self::Nor => "nor",
        })
    }
}

/// The name of a message: `d-7`, `n-12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MailId(Store, MessageId);

impl fmt::Display for MailId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.letter(), self.1)
    }
}

/// What was done to a message beside the line on top of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Altered {
    /// Bare newlines in it became CR LF.
    pub(crate) bare_newlines: bool,
    /// So many fields were taken out that claimed to be ours.
    pub(crate) removed: u32,
}

/// What a volume is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeState {
    /// There is no medium.
    Absent,
    /// It could not be mounted.
    NotMounted(Error),
    /// It takes mail.
    Well,
    /// A write failed: it takes nothing more before the next start.
    Failed(Error),
}

impl fmt::Display for VolumeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::NotMounted(error) => write!(f, "not mounted: {error}"),
            Self::Well => f.write_str("well"),
            Self::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}

/// How far a volume is with what has to be erased before the first write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    /// Nobody wants anything of it yet. A box that starts again and again without mail wears out nothing.
    Asleep,
    Erasing,
    Ready,
}

type Log<D, N> = Spool<Backing<D, N>, Box<[u8]>>;

struct Volume<D: Medium, N: Medium> {
    spool: Option<Log<D, N>>,
    state: VolumeState,
    readiness: Readiness,
    /// Whether something waits for a sync.
    is_dirty: bool,
    /// Whether housekeeping may find something to do.
    is_untidy: bool,
    /// A message found no room on its way in. From then on only such are begun of which it is known that they are small: the
    /// others would leave what they filled, and fail again.
    ran_full: bool,
    boot: u32,
}

impl<D: Medium, N: Medium> Volume<D, N> {
    fn mount(medium: Option<Backing<D, N>>) -> Self {
        let mounted = medium.map(|medium| {
            let buffer = |bytes: usize| vec![0; bytes].into_boxed_slice();
            let buffers =
                Buffers { hot: buffer(HOT_BYTES), moved: buffer(OTHER_BYTES), status: buffer(OTHER_BYTES) };
            Spool::mount_append(medium, buffers)
        });
        let (spool, state) = match mounted {
            None => (None, VolumeState::Absent),
            Some(Ok(spool)) => (Some(spool), VolumeState::Well),
            Some(Err(error)) => (None, VolumeState::NotMounted(error)),
        };
        let boot = spool.as_ref().map_or(0, |spool| spool.info().boot);
        Self {
            spool,
            state,
            readiness: Readiness::Asleep,
            is_dirty: false,
            is_untidy: false,
            ran_full: false,
            boot,
        }
    }

    /// The spool, while it takes mail.
    fn well(&mut self) -> Result<&mut Log<D, N>, Error> {
        match (&mut self.spool, self.state) {
            (Some(spool), VolumeState::Well) => Ok(spool),
            _ => Err(Error::ReadOnly),
        }
    }

    /// Takes note of how something ended.
    fn look<T>(&mut self, done: Result<T, Error>) -> Result<T, Error> {
        if let (Err(error @ (Error::Write(_) | Error::ReadOnly)), VolumeState::Well) = (&done, self.state) {
            self.state = VolumeState::Failed(*error);
        }
        done
    }

    /// Whether it may have room for a message of that size, as far as that is known.
    fn may_hold(&mut self, bytes: Option<u64>) -> bool {
        if self.ran_full && bytes.is_none_or(|bytes| bytes > UNDECLARED_BYTES) {
            return false;
        }
        let free_bytes = self.well().map_or(0, |spool| spool.info().free_bytes());
        bytes.unwrap_or(UNDECLARED_BYTES) <= free_bytes
    }
}

/// Both volumes.
pub(crate) struct Volumes<D: Medium, N: Medium> {
    disk: Volume<D, N>,
    nor: Volume<D, N>,
    /// What is written about each message, in memory of its own.
    event: Event,
    /// How long the part of its text is that always stands there.
    event_text_len: usize,
}

impl<D: Medium, N: Medium> Volumes<D, N> {
    /// Mounts what there is. `reason` is why the box is in rescue, for the ledger.
    pub(crate) fn mount(disk: Option<D>, nor: Option<N>, reason: &str) -> Self {
        let mut text = String::with_capacity(EVENT_TEXT_BYTES_MAX);
        // Writing to a String does not fail.
        let _ = write!(text, "taken by the rescue, in plain text; no system ran: {reason}");
        let end = (0..=EVENT_REASON_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        Self {
            disk: Volume::mount(disk.map(Backing::Disk)),
            nor: Volume::mount(nor.map(Backing::Nor)),
            event_text_len: text.len(),
            event: Event { at: Stamp::default(), code: EVENT_RESCUED, message: None, text },
        }
    }

    fn volume(&self, store: Store) -> &Volume<D, N> {
        match store {
            Store::Disk => &self.disk,
            Store::Nor => &self.nor,
        }
    }

    fn volume_mut(&mut self, store: Store) -> &mut Volume<D, N> {
        match store {
            Store::Disk => &mut self.disk,
            Store::Nor => &mut self.nor,
        }
    }

    /// How a volume stands.
    pub(crate) fn state(&self, store: Store) -> (VolumeState, Option<Info>) {
        let volume = self.volume(store);
        (volume.state, volume.spool.as_ref().map(Spool::info))
    }

    /// The number of this boot in the life of the volumes.
    pub(crate) fn boot(&self) -> u32 {
        self.disk.boot.max(self.nor.boot)
    }

    /// Whether any volume takes mail.
    pub(crate) fn is_any_well(&self) -> bool {
        Store::ALL.iter().any(|store| self.volume(*store).state == VolumeState::Well)
    }

    /// The volume for a message of that size as far as is known, past those that failed it already.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] if none takes mail, [`Error::Full`] if those that do have no room for it.
    pub(crate) fn for_mail(&mut self, bytes: Option<u64>, not: &[Store]) -> Result<Store, Error> {
        let mut refused = Error::ReadOnly;
        for store in Store::ALL {
            if not.contains(&store) || self.volume(store).state != VolumeState::Well {
                continue;
            }
            refused = Error::Full;
            let is_too_large = store == Store::Nor && bytes.unwrap_or(0) > NOR_MESSAGE_BYTES_MAX;
            if !is_too_large && self.volume_mut(store).may_hold(bytes) {
                return Ok(store);
            }
        }
        Err(refused)
    }

    /// Whether a message can begin on a volume without an erase. If not, that is seen to from now on.
    pub(crate) fn is_ready(&mut self, store: Store) -> bool {
        let volume = self.volume_mut(store);
        if volume.readiness == Readiness::Asleep {
            volume.readiness = Readiness::Erasing;
        }
        volume.readiness == Readiness::Ready
    }

    /// Does a bounded piece of what waits: erases before the first write, which somebody waits for, and housekeeping after it
    /// if nothing else is to be done. Whether there is more.
    pub(crate) fn step(&mut self, now: Stamp, is_idle: bool) -> bool {
        let mut is_more = false;
        for store in Store::ALL {
            let volume = self.volume_mut(store);
            let (readiness, is_untidy) = (volume.readiness, volume.is_untidy && !volume.is_dirty && is_idle);
            let Ok(spool) = volume.well() else { continue };
            match readiness {
                Readiness::Asleep => {}
                Readiness::Erasing => {
                    let stepped = spool.step_erases_ahead();
                    if !volume.look(stepped).unwrap_or(false) {
                        volume.readiness = Readiness::Ready;
                    }
                    is_more = true;
                }
                Readiness::Ready if is_untidy => {
                    let stepped = spool.step(now);
                    volume.is_untidy = matches!(volume.look(stepped), Ok(Step::More));
                    is_more |= volume.is_untidy;
                }
                Readiness::Ready => {}
            }
        }
        is_more
    }

    /// Begins a message. Its name comes after all others, wherever those are.
    pub(crate) fn begin(
        &mut self,
        store: Store,
        (begin, recipients): (&Begin, &[Recipient]),
        declared_bytes: Option<u64>,
    ) -> Result<(Incoming, MailId), Error> {
        let next = |volume: &Volume<D, N>| volume.spool.as_ref().map_or(MessageId(0), Spool::next_id);
        let next = next(&self.disk).max(next(&self.nor));
        let volume = self.volume_mut(store);
        let spool = volume.well()?;
        spool.skip_ids(next);
        let begun = spool.begin(begin, recipients, declared_bytes);
        let incoming = volume.look(begun)?;
        let id = MailId(store, incoming.id());
        Ok((incoming, id))
    }

    /// Appends a piece of a message, which can only be given up if that fails.
    pub(crate) fn write(&mut self, store: Store, incoming: &mut Incoming, bytes: &[u8]) -> Result<(), Error> {
        if store == Store::Nor
            && incoming.size_bytes() + bytes.len() as u64 > NOR_MESSAGE_BYTES_MAX + TRACE_BYTES_MAX as u64
        {
            return Err(Error::Full);
        }
        let volume = self.volume_mut(store);
        let written = volume.well()?.write(incoming, bytes);
        volume.ran_full |= written == Err(Error::Full);
        volume.look(written)
    }

    /// Ends a message, and notes with it that it was taken here. It is in custody after the next [`sync`](Self::sync) that
    /// succeeds.
    pub(crate) fn commit(
        &mut self,
        store: Store,
        incoming: Incoming,
        altered: Altered,
        now: Stamp,
    ) -> Result<(), Error> {
        let volume = match store {
            Store::Disk => &mut self.disk,
            Store::Nor => &mut self.nor,
        };
        let committed = volume.well()?.commit(incoming);
        let id = volume.look(committed)?;
        volume.is_dirty = true;
        let event = &mut self.event;
        event.text.truncate(self.event_text_len);
        if !now.trusted {
            event.text.push_str("; the clock was not trusted");
        }
        if altered.bare_newlines {
            event.text.push_str("; bare CR or LF became CR LF");
        }
        if altered.removed > 0 {
            let _ = write!(
                event.text,
                "; Authentication-Results that claimed to be ours taken out: {}",
                altered.removed
            );
        }
        (event.at, event.message) = (now, Some(id));
        let recorded = volume.well()?.record_event(event);
        match volume.look(recorded) {
            // It is of use, and not owed.
            Err(Error::Full) => Ok(()),
            recorded => recorded,
        }
    }

    /// Gives up a message that is not to be.
    pub(crate) fn abort(&mut self, store: Store, incoming: Incoming) {
        if let Some(spool) = &mut self.volume_mut(store).spool {
            spool.abort(incoming);
        }
    }

    /// Makes durable what was committed on a volume.
    pub(crate) fn sync(&mut self, store: Store) -> Result<(), Error> {
        let volume = self.volume_mut(store);
        if !volume.is_dirty {
            return Ok(());
        }
        volume.is_dirty = false;
        volume.is_untidy = true;
        let synced = volume.well()?.sync();
        volume.look(synced)
    }

    /// Closes both volumes, as far as that goes: a start after it need not look for what a stop has torn. What was never
    /// written to is left as it is.
    pub(crate) fn close(self) {
        for volume in [self.disk, self.nor] {
            let was_used = volume.readiness == Readiness::Ready;
            if let (Some(spool), VolumeState::Well, true) = (volume.spool, volume.state, was_used) {
                // If it fails the stop is an unclean one, which every mount stands.
                let _ = spool.close();
            }
        }
    }
}
