//! Mail that the appliance has accepted, and what became of it.

use std::fmt::Write as _;

/// A message that comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// No other message of the same appliance has it: its Message-ID is made of it.
    pub number: u64,
    /// Its recipients.
    pub to: Vec<String>,
    /// About how long it is.
    pub len_bytes: usize,
    /// A word in its header, for a server that minds.
    pub mark: Option<String>,
    /// When it comes in.
    pub at_ms: u64,
    /// Whether its client waits for what the server says of it, where that can be had.
    pub waits: bool,
}

/// What became of a recipient's copy, as the appliance knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits.
    Queued,
    /// The server took custody of it.
    Delivered {
        /// When it said so.
        at_ms: u64,
    },
    /// It is the operator's.
    Quarantined {
        /// Since when.
        at_ms: u64,
        /// What the server said, or what the appliance found.
        why: String,
    },
    /// The server refused it while its client waited, who was told.
    Told {
        /// When.
        at_ms: u64,
        /// What the server said.
        why: String,
    },
}

/// A message in the appliance's custody.
#[derive(Clone, Debug)]
pub struct Held {
    /// The message.
    pub mail: Mail,
    /// When it was accepted.
    pub accepted_ms: u64,
    /// What became of each recipient's copy.
    pub fates: Vec<Fate>,
    /// How many attempts began.
    pub attempts: u32,
    /// How often the session ended when the server had the whole message and had said nothing yet: so often it may have
    /// been sent once more than it should.
    pub in_doubt: u32,
    /// Attempts that are on record for the time after a restart.
    pub(crate) noted_attempts: u32,
    /// Until when its client waits.
    pub(crate) awaited_until_ms: u64,
}

impl Mail {
    /// A message of 2 KiB for one recipient, there from the beginning.
    pub fn numbered(number: u64, to: impl Into<String>) -> Self {
        Self { number, to: vec![to.into()], len_bytes: 2048, mark: None, at_ms: 0, waits: false }
    }

    /// The same, when it comes in.
    pub fn at_ms(mut self, at_ms: u64) -> Self {
        self.at_ms = at_ms;
        self
    }

    /// The same, with a client that waits for what the server says.
    pub fn awaited(mut self) -> Self {
        self.waits = true;
        self
    }

    /// The same, with a word in its header.
    pub fn marked(mut self, mark: impl Into<String>) -> Self {
        self.mark = Some(mark.into());
        self
    }

    /// Its Message-ID.
    pub fn message_id(&self) -> String {
        format!("<{}@sender.example>", self.number)
    }

    /// The message itself.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!(
            "Message-ID: {}\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\nSubject: {}\r\n",
            self.message_id(),
            self.number
        );
        if let Some(mark) = &self.mark {
            // Writing to a String does not fail.
            let _ = write!(text, "X-Mark: {mark}\r\n");
        }
        let line = "x".repeat(76) + "\r\n";
        let lines = self.len_bytes.saturating_sub(text.len()).div_ceil(line.len());
        text.push_str("\r\n");
        text.push_str(&line.repeat(lines));
        text.into_bytes()
    }
}

impl Held {
    pub(crate) fn new(mail: Mail, accepted_ms: u64) -> Self {
        let fates = mail.to.iter().map(|_| Fate::Queued).collect();
        Self { mail, accepted_ms, fates, attempts: 0, in_doubt: 0, noted_attempts: 0, awaited_until_ms: 0 }
    }

    /// The numbers of the recipients that are open.
    pub(crate) fn open(&self) -> Vec<u16> {
        let open = self.fates.iter().enumerate().filter(|(_, fate)| **fate == Fate::Queued);
        open.filter_map(|(number, _)| u16::try_from(number).ok()).collect()
    }

    /// Whether its client was told that it is refused.
    pub(crate) fn is_told(&self) -> bool {
        self.fates.iter().any(|fate| matches!(fate, Fate::Told { .. }))
    }

    /// Whether every recipient has its fate.
    pub fn is_over(&self) -> bool {
        !self.fates.contains(&Fate::Queued)
    }
}
