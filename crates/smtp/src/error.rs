use core::fmt;

/// What a session or a parser cannot do, with a code that stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Called when it was not its turn: a verdict that nobody asked for, a command before the one it depends on.
    OutOfTurn,
    /// The output buffer has no room: send what is in [`output`](crate::client::Session::output) first.
    OutputFull,
    /// The reply's code does not fit the verdict: an acceptance must be 2xx, a refusal 4xx or 5xx.
    ReplyClass,
    /// The transaction already has as many recipients as the configuration allows.
    RecipientsMax,
    /// DATA without a recipient that the server accepted.
    NoRecipients,
    /// The message needs what the server does not offer: SMTPUTF8 for an address, or BINARYMIME.
    NotOffered,
    /// Fewer or more bytes than the chunk was announced with.
    ChunkLength,
    /// Not an address of RFC 5321, or longer than [`ADDRESS_BYTES_MAX`](crate::bounds::ADDRESS_BYTES_MAX).
    Address,
    /// Not xtext (RFC 3461 §4), or longer than its bound.
    Xtext,
    /// Not a name that may stand in EHLO or a greeting.
    HostName,
    /// The server sent something that is no reply.
    NotAReply,
    /// A line of the server's reply is too long, or there are too many.
    ReplyTooLong,
    /// The server replied to nothing, or with a code that has no meaning there.
    UnexpectedReply,
    /// The server, or somebody in between, sent something behind the 220 to STARTTLS and before the handshake.
    InputBeforeTls,
}

impl Error {
    /// The stable code, for logs and documentation.
    pub const fn code(self) -> &'static str {
        match self {
            Error::OutOfTurn => "PS-P01",
            Error::OutputFull => "PS-P02",
            Error::ReplyClass => "PS-P03",
            Error::RecipientsMax => "PS-P04",
            Error::NoRecipients => "PS-P05",
            Error::NotOffered => "PS-P06",
            Error::ChunkLength => "PS-P07",
            Error::Address => "PS-P10",
            Error::Xtext => "PS-P11",
            Error::HostName => "PS-P12",
            Error::NotAReply => "PS-P20",
            Error::ReplyTooLong => "PS-P21",
            Error::UnexpectedReply => "PS-P22",
            Error::InputBeforeTls => "PS-P23",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Error::OutOfTurn => "called out of turn",
            Error::OutputFull => "the output buffer has no room",
            Error::ReplyClass => "the reply's code does not fit the verdict",
            Error::RecipientsMax => "too many recipients in one transaction",
            Error::NoRecipients => "no recipient was accepted",
            Error::NotOffered => "the server does not offer what the message needs",
            Error::ChunkLength => "the chunk is not as long as was announced",
            Error::Address => "not a mail address",
            Error::Xtext => "not xtext, or too long",
            Error::HostName => "not a host name",
            Error::NotAReply => "the server sent something that is no SMTP reply",
            Error::ReplyTooLong => "the server's reply is too long",
            Error::UnexpectedReply => {
                "the server replied out of turn or with a code that has no meaning there"
            }
            Error::InputBeforeTls => "something came behind the answer to STARTTLS that was not encrypted",
        };
        write!(f, "{} {text}", self.code())
    }
}

impl core::error::Error for Error {}
