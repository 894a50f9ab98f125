//! Why an update is not taken, or a slot is left as it is.

use std::fmt;

use penstock_daemon::control::types::ErrorBody;
use penstock_slots::{JournalError, Refusal, Rejected};

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SlotsError {
    /// Something else than our firmware has started the kernel: nobody knows which slot runs.
    NoFirmware,
    /// This system was built without keys.
    NoKeys,
    /// Another update is under way.
    Busy,
    /// The bundle ends too early.
    CutShort { came_bytes: u64, all_bytes: u64 },
    /// The bundle is larger than a slot.
    TooLarge { bundle_bytes: u64, slot_bytes: u64 },
    /// There is no memory for it.
    NoMemory { bundle_bytes: u64 },
    /// It cannot be read, or stopped coming.
    Unreadable(String),
    /// The box would not start it.
    Rejected(Rejected),
    /// It is not its turn.
    Refused(Refusal),
    /// What is known of the slots cannot be written down.
    State { code: &'static str, message: String },
    /// The slot cannot be written.
    Flash(String),
    /// The slot does not hold what was written.
    NotAsWritten { offset: u64 },
    /// Nothing is on trial.
    NoTrial,
    /// What runs was not verified: it is not in flash as it was signed.
    Rotten(Rejected),
}

impl SlotsError {
    /// The stable code under which documents and logs speak of this error.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::NoFirmware => "PS-U001",
            Self::NoKeys => "PS-U002",
            Self::Busy => "PS-U003",
            Self::CutShort { .. } => "PS-U004",
            Self::TooLarge { .. } => "PS-U005",
            Self::NoMemory { .. } => "PS-U006",
            Self::Unreadable(_) => "PS-U007",
            Self::Rejected(rejected) => rejected.code(),
            Self::Refused(refusal) => refusal.code(),
            Self::State { code, .. } => code,
            Self::Flash(_) => "PS-U010",
            Self::NotAsWritten { .. } => "PS-U011",
            Self::NoTrial => "PS-U012",
            Self::Rotten(_) => "PS-U013",
        }
    }

    /// What a person can do.
    const fn help(&self) -> &'static str {
        match self {
            Self::NoFirmware => "Start the box from its flash.",
            Self::NoKeys => "Build it with PENSTOCK_KEYS, as scripts/image does.",
            Self::Busy => "`penstock update status` tells how far it is.",
            Self::CutShort { .. } => "Nothing was changed. Copy the file anew and compare its SHA-256.",
            Self::TooLarge { .. } | Self::NoMemory { .. } | Self::Unreadable(_) => "Nothing was changed.",
            Self::Rejected(Rejected::Signature) => {
                "Nothing was changed. Take the bundle from who makes your boxes; one for development boxes is for those alone."
            }
            Self::Rejected(_) => "Nothing was changed.",
            Self::Refused(Refusal::OnTrial) => {
                "`penstock update status` tells what is waited for; `penstock update mark-good` and `rollback` decide now."
            }
            Self::Refused(_) | Self::State { .. } => "The box starts what it runs now.",
            Self::Flash(_) | Self::NotAsWritten { .. } => {
                "The box starts what it runs now; the other slot holds nothing. Try again; if it stays, the flash is worn."
            }
            Self::NoTrial => "",
            Self::Rotten(_) => "Update the other slot, or go back to it.",
        }
    }
}

impl fmt::Display for SlotsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is passed on says its code itself.
        match self {
            Self::Rejected(rejected) => return rejected.fmt(f),
            Self::Refused(refusal) => return refusal.fmt(f),
            Self::State { message, .. } => return f.write_str(message),
            _ => write!(f, "{}: ", self.code())?,
        }
        match self {
            Self::NoFirmware => {
                f.write_str("no firmware has started this system: which slot runs is not known")
            }
            Self::NoKeys => f.write_str("this system knows no keys: it takes no update"),
            Self::Busy => f.write_str("an update is under way"),
            Self::CutShort { came_bytes, all_bytes } => {
                write!(f, "the bundle is cut short: {came_bytes} of {all_bytes} bytes")
            }
            Self::TooLarge { bundle_bytes, slot_bytes } => {
                write!(f, "the bundle has {bundle_bytes} bytes, and a slot {slot_bytes}")
            }
            Self::NoMemory { bundle_bytes } => write!(f, "there is no memory for {bundle_bytes} bytes"),
            Self::Unreadable(why) => write!(f, "the bundle cannot be read: {why}"),
            Self::Flash(why) => write!(f, "the slot cannot be written: {why}"),
            Self::NotAsWritten { offset } => {
                write!(f, "the slot does not hold at byte {offset} what was written")
            }
            Self::NoTrial => f.write_str("nothing is on trial"),
            Self::Rotten(rejected) => {
                write!(f, "what runs does not stand in its slot as it was signed any more: {rejected}")
            }
            Self::Rejected(_) | Self::Refused(_) | Self::State { .. } => Ok(()),
        }
    }
}

impl From<Rejected> for SlotsError {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl From<Refusal> for SlotsError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<E: fmt::Display> From<JournalError<E>> for SlotsError {
    fn from(error: JournalError<E>) -> Self {
        Self::State { code: error.code(), message: error.to_string() }
    }
}

impl From<SlotsError> for ErrorBody {
    fn from(error: SlotsError) -> Self {
        let text = error.to_string();
        let message =
            text.strip_prefix(error.code()).map_or(text.as_str(), |rest| rest.trim_start_matches(": "));
        Self { code: error.code().into(), message: message.into(), help: error.help().into() }
    }
}
