//! The counters of a server's transport queues, as windows_exporter's `exchange` collector serves them.

/// One reading. What that version of the collector does not serve is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages in the submission queue.
    pub submission: Option<u64>,
    /// Messages in the queues to mailbox databases that are being delivered.
    pub active_mailbox: Option<u64>,
    /// Messages in the queues to mailbox databases that wait for another attempt.
    pub retry_mailbox: Option<u64>,
    /// Messages in the poison queue.
    pub poison: Option<u64>,
    /// Messages delivered since the service started.
    pub completed_total: Option<u64>,
    /// Messages submitted since the service started.
    pub submitted_total: Option<u64>,
}

/// How much is known of what happens to mail behind a hop's `250`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Nothing beyond what SMTP tells.
    #[default]
    Blind,
    /// Canaries arrive in probe mailboxes.
    Canary,
    /// Its queues can be read.
    Counters,
}

impl Grade {
    /// The grade as one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blind => "blind",
            Self::Canary => "canary",
            Self::Counters => "counters",
        }
    }
}
