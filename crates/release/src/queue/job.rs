//! A message, as its caller hands it in and as the queue keeps it.

use super::Kind;
use crate::ways::WaySet;

/// Attempts are counted up to here.
pub const ATTEMPTS_MAX: u32 = u8::MAX as u32;

/// A message as its caller knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number in the log: the higher, the younger.
    pub id: u64,
    /// Its size in bytes.
    pub size_bytes: u32,
    /// When it was accepted, in ms since 1970, if the clock could be trusted then.
    pub accepted_unix_ms: Option<u64>,
    /// The mailbox of its first open recipient, from [`Config::mailbox`](crate::Config::mailbox); 0 if it is not known.
    pub mailbox: u32,
    /// What the operator said of its recipients.
    pub priority: Priority,
    /// The ways of its open recipients; empty if they are not known, which is taken for the first.
    pub ways: WaySet,
}

impl Message {
    /// When it was accepted, in seconds since 1970; 0 if that is not known.
    fn accepted_unix_s(&self) -> u32 {
        self.accepted_unix_ms.map_or(0, |ms| u32::try_from(ms / 1_000).unwrap_or(u32::MAX))
    }
}

/// Which mail goes before other mail, by what the operator said of its mailboxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// These mailboxes first.
    First,
    /// Nothing was said.
    #[default]
    Normal,
    /// These mailboxes last.
    Last,
}

/// How many there are.
pub(super) const PRIORITIES: usize = 3;

/// A moment in whole seconds since the start, from 1; 0 is "never".
pub(crate) type Secs = u32;

/// A message with what is known of its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(Rust, packed(4))]
pub(crate) struct Job {
    pub(crate) id: u64,
    pub(crate) size_bytes: u32,
    /// Seconds since 1970, 0 if unknown.
    pub(crate) accepted_unix_s: u32,
    /// 0 if unknown.
    pub(crate) mailbox: u32,
    /// When its wait ends.
    pub(super) due: Secs,
    /// When it last failed.
    pub(crate) failed: Secs,
    /// When it first did harm.
    pub(crate) first_harm: Secs,
    pub(crate) attempts: u8,
    /// Harmful failures with others passing between.
    pub(crate) harms: u8,
    pub(crate) priority: Priority,
    /// Whether it came while mail was going out, and is no part of what had piled up.
    pub(crate) is_fresh_mail: bool,
}

/// A job that has not been tried, where the rest of it is known from where it lies.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
pub(super) struct Untried {
    id: u64,
    size_bytes: u32,
    pub(super) accepted_unix_s: u32,
    pub(super) mailbox: u32,
}

const _: () = assert!(size_of::<Untried>() == 20 && size_of::<Job>() == 36);

impl Job {
    pub(crate) fn new(message: Message, attempts: u32, is_fresh_mail: bool) -> Self {
        Self {
            id: message.id,
            size_bytes: message.size_bytes,
            accepted_unix_s: message.accepted_unix_s(),
            mailbox: message.mailbox,
            due: 0,
            failed: 0,
            first_harm: 0,
            attempts: u8::try_from(attempts).unwrap_or(u8::MAX),
            harms: 0,
            priority: message.priority,
            is_fresh_mail,
        }
    }

    /// The same, now that it is known whose it is, and since when it is here.
    pub(crate) fn known(self, message: Message) -> Self {
        let accepted_unix_s =
            if self.accepted_unix_s == 0 { message.accepted_unix_s() } else { self.accepted_unix_s };
        Self { mailbox: message.mailbox, priority: message.priority, accepted_unix_s, ..self }
    }

    pub(super) fn kind(&self) -> Kind {
        if self.is_fresh_mail { Kind::Fresh } else { Kind::Backlog }
    }

    /// Whether nothing is known of it but what was known when it was accepted.
    pub(super) fn is_untried(&self) -> bool {
        self.failed == 0 && self.attempts == 0
    }
}

impl Untried {
    pub(super) fn of(job: Job) -> Self {
        let Job { id, size_bytes, accepted_unix_s, mailbox, .. } = job;
        Self { id, size_bytes, accepted_unix_s, mailbox }
    }

    pub(super) fn job(self, priority: Priority, is_fresh_mail: bool) -> Job {
        let Self { id, size_bytes, accepted_unix_s, mailbox } = self;
        let (due, failed, first_harm, attempts, harms) = (0, 0, 0, 0, 0);
        Job {
            id,
            size_bytes,
            accepted_unix_s,
            mailbox,
            due,
            failed,
            first_harm,
            attempts,
            harms,
            priority,
            is_fresh_mail,
        }
    }
}

/// What has a number and a size.
pub(super) trait Numbered: Copy {
    fn id(&self) -> u64;
    fn size_bytes(&self) -> u32;
}

impl Numbered for Job {
    fn id(&self) -> u64 {
        self.id
    }

    fn size_bytes(&self) -> u32 {
        self.size_bytes
    }
}

impl Numbered for Untried {
    fn id(&self) -> u64 {
        self.id
    }

    fn size_bytes(&self) -> u32 {
        self.size_bytes
    }
}
