//! Why the spool refused or failed.

use core::fmt;

use penstock_flash as flash;

use crate::MessageId;

/// Why the spool refused or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The medium failed while it was read.
    Read(flash::Error),
    /// The medium failed while it was written. From then on the spool only reads; see [`Error::ReadOnly`].
    Write(flash::Error),
    /// An earlier write failed, so nothing more is accepted. What is durable stays readable.
    ReadOnly,
    /// The medium holds no volume: no segment has a header.
    NotAVolume,
    /// The medium holds a volume of a format that this version does not know, or that uses features it does not know.
    UnknownFormat {
        /// The format's version.
        format: u16,
        /// Incompatible features it uses, as bits.
        features: u32,
    },
    /// The volume was made for another geometry than the medium now has.
    GeometryChanged {
        /// Segments and bytes per segment that the volume was made with.
        volume: (u32, u32),
        /// Segments and bytes per segment that the medium has.
        medium: (u32, u32),
    },
    /// The medium already holds a volume, and the caller did not say that it may be destroyed.
    AlreadyAVolume,
    /// The medium's geometry cannot carry a volume: too few segments, too small, or numbers that do not fit together.
    BadGeometry,
    /// The buffers handed over are too small or no multiple of the program unit.
    BadBuffer,
    /// No room for mail. Delivering or removing mail makes room.
    Full,
    /// The limit on the number of messages is reached.
    TooManyMessages,
    /// A field is longer than the format allows.
    FieldTooLong {
        /// Which field.
        field: &'static str,
        /// The most it may have, in bytes.
        max_bytes: usize,
    },
    /// More recipients than a message may have, or none at commit.
    RecipientCount,
    /// There is no such message.
    NoSuchMessage(MessageId),
    /// There is no such recipient in that message.
    NoSuchRecipient(MessageId),
    /// A recipient whose fate is final was to be set back without a replay.
    AlreadyFinal(MessageId),
    /// A recipient that was to be replayed was not delivered.
    NotDelivered(MessageId),
    /// The bytes of this message on flash are not those that were written. They are not given out.
    Damaged(MessageId),
    /// The open message belongs to a spool that was mounted anew since.
    Stale,
}

impl Error {
    /// The stable code under which documents, logs and the console speak of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Read(_) => "PS-S001",
            Self::Write(_) => "PS-S002",
            Self::ReadOnly => "PS-S003",
            Self::NotAVolume => "PS-S010",
            Self::UnknownFormat { .. } => "PS-S011",
            Self::GeometryChanged { .. } => "PS-S012",
            Self::AlreadyAVolume => "PS-S013",
            Self::BadGeometry => "PS-S014",
            Self::BadBuffer => "PS-S015",
            Self::Full => "PS-S020",
            Self::TooManyMessages => "PS-S021",
            Self::FieldTooLong { .. } => "PS-S022",
            Self::RecipientCount => "PS-S023",
            Self::NoSuchMessage(_) => "PS-S030",
            Self::NoSuchRecipient(_) => "PS-S031",
            Self::AlreadyFinal(_) => "PS-S032",
            Self::Damaged(_) => "PS-S033",
            Self::Stale => "PS-S034",
            Self::NotDelivered(_) => "PS-S035",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code())?;
        match self {
            Self::Read(e) => write!(f, "the volume cannot be read ({e})"),
            Self::Write(e) => write!(f, "the volume cannot be written ({e})"),
            Self::ReadOnly => {
                write!(f, "the volume takes nothing since a write failed; restart to try again")
            }
            Self::NotAVolume => write!(f, "this is no penstock volume"),
            Self::UnknownFormat { format, features } => {
                write!(f, "volume of format {format} with features {features:#x}, made by another version")
            }
            Self::GeometryChanged { volume, medium } => write!(
                f,
                "the volume has {} segments of {} bytes, the medium {} of {}",
                volume.0, volume.1, medium.0, medium.1
            ),
            Self::AlreadyAVolume => write!(f, "there is a penstock volume already; it is not overwritten"),
            Self::BadGeometry => write!(f, "a volume cannot be made on a medium of this shape"),
            Self::BadBuffer => write!(f, "the write buffers do not fit the medium"),
            Self::Full => write!(f, "no room for more mail until some is delivered or removed"),
            Self::TooManyMessages => write!(f, "the limit on the number of messages is reached"),
            Self::FieldTooLong { field, max_bytes } => write!(f, "{field} is longer than {max_bytes} bytes"),
            Self::RecipientCount => write!(f, "too many recipients, or none"),
            Self::NoSuchMessage(id) => write!(f, "there is no message {id}"),
            Self::NoSuchRecipient(id) => write!(f, "message {id} has no such recipient"),
            Self::AlreadyFinal(id) => write!(f, "the fate of that recipient of message {id} is final"),
            Self::NotDelivered(id) => write!(f, "that recipient of message {id} was not delivered"),
            Self::Damaged(id) => write!(f, "message {id} is damaged on flash and is not given out"),
            Self::Stale => write!(f, "the volume was mounted anew while the message came in"),
        }
    }
}

impl core::error::Error for Error {}
