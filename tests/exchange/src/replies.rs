//! What the server says, in its own words. `tests/exchange` follows what has been seen of Exchange; where the wording of
//! a reply is not on record, it is that of the nearest one that is.

use std::borrow::Cow;

/// A reply: a code, and lines of text separated by `\n`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    text: Cow<'static, str>,
}

impl Reply {
    pub(crate) const fn new(code: u16, text: &'static str) -> Self {
        Self { code, text: Cow::Borrowed(text) }
    }

    pub(crate) fn with(code: u16, text: String) -> Self {
        Self { code, text: Cow::Owned(text) }
    }

    /// Whether the channel is closed after it (RFC 5321 section 4.2.2: 421, and 221).
    pub(crate) fn closes(&self) -> bool {
        matches!(self.code, 421 | 221)
    }

    /// Whether it counts as a protocol error of the client.
    pub(crate) fn is_protocol_error(&self) -> bool {
        matches!(self.code, 500 | 501 | 503 | 504 | 555)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let mark = if lines.peek().is_some() { '-' } else { ' ' };
            out.extend_from_slice(format!("{}{mark}{line}\r\n", self.code).as_bytes());
        }
        out
    }
}

pub(crate) const SENDER_OK: Reply = Reply::new(250, "2.1.0 Sender OK");
pub(crate) const RECIPIENT_OK: Reply = Reply::new(250, "2.1.5 Recipient OK");
pub(crate) const START_INPUT: Reply = Reply::new(354, "Start mail input; end with <CRLF>.<CRLF>");
pub(crate) const RESETTING: Reply = Reply::new(250, "2.0.0 Resetting");
pub(crate) const TLS_READY: Reply = Reply::new(220, "2.0.0 SMTP server ready");
pub(crate) const NOOP: Reply = Reply::new(250, "2.0.0 OK");
pub(crate) const CANNOT_VERIFY: Reply = Reply::new(252, "2.1.5 Cannot VRFY user");
pub(crate) const GOODBYE: Reply = Reply::new(221, "2.0.0 Service closing transmission channel");
pub(crate) const HELP: Reply = Reply::new(
    214,
    "This server supports the following commands:\n\
     HELO EHLO RCPT MAIL QUIT HELP AUTH BDAT DATA NOOP RSET VRFY",
);

pub(crate) const UNRECOGNIZED: Reply = Reply::new(500, "5.3.3 Unrecognized command");
pub(crate) const LINE_TOO_LONG: Reply = Reply::new(500, "5.3.3 Line too long");
pub(crate) const BAD_ARGUMENTS: Reply = Reply::new(501, "5.5.4 Invalid arguments");
pub(crate) const BAD_SENDER: Reply = Reply::new(501, "5.1.7 Invalid address");
pub(crate) const BAD_RECIPIENT: Reply = Reply::new(501, "5.1.3 Invalid address");
pub(crate) const HELLO_FIRST: Reply = Reply::new(503, "5.5.2 Send hello first");
pub(crate) const NEED_MAIL: Reply = Reply::new(503, "5.5.2 Need mail command");
pub(crate) const NEED_RCPT: Reply = Reply::new(503, "5.5.2 Need rcpt command");
pub(crate) const SENDER_AGAIN: Reply = Reply::new(503, "5.5.2 Sender already specified");
pub(crate) const BINARY_NEEDS_BDAT: Reply = Reply::new(503, "5.5.2 DATA cannot be used with BODY=BINARYMIME");
pub(crate) const NO_AUTH: Reply = Reply::new(504, "5.7.4 Unrecognized authentication type");
pub(crate) const TOO_MANY_ERRORS: Reply =
    Reply::new(421, "4.7.0 Too many errors on this connection, closing transmission channel");

pub(crate) const INACTIVE: Reply =
    Reply::new(421, "4.3.2 Service not available, closing transmission channel");
pub(crate) const INACTIVE_AT_MAIL: Reply = Reply::new(412, "4.3.2 Service not active");
pub(crate) const CONNECTIONS: Reply = Reply::new(
    421,
    "4.3.2 The maximum number of concurrent connections has exceeded a limit, closing transmission channel",
);
pub(crate) const CONNECTIONS_PER_SOURCE: Reply = Reply::new(
    421,
    "4.3.2 The maximum number of concurrent connections has exceeded a per-source limit, closing transmission channel",
);
pub(crate) const TIMED_OUT: Reply = Reply::new(421, "4.4.1 Connection timed out");
pub(crate) const RATE: Reply =
    Reply::new(421, "4.4.2 Message submission rate for this client has exceeded the configured limit");

pub(crate) const TOO_MANY_RECIPIENTS: Reply = Reply::new(452, "4.5.3 Too many recipients");
pub(crate) const MAILBOX_THROTTLED: Reply =
    Reply::new(432, "4.3.2 STOREDRV.Storage; mailbox server thread limit exceeded");
pub(crate) const PROXY_TROUBLE: Reply =
    Reply::new(451, "4.7.0 Temporary server error. Please try again later. PRX2");
pub(crate) const NOT_REDUNDANT: Reply = Reply::new(451, "4.4.0 Message failed to be made redundant");

pub(crate) const UNABLE_TO_RELAY_DOMAIN: Reply =
    Reply::new(550, "5.7.54 SMTP; Unable to relay recipient in non-accepted domain");
pub(crate) const UNABLE_TO_RELAY: Reply = Reply::new(550, "5.7.1 Unable to relay");
pub(crate) const NOT_AUTHENTICATED: Reply = Reply::new(530, "5.7.1 Client was not authenticated");
pub(crate) const USER_UNKNOWN: Reply = Reply::new(550, "5.1.1 User unknown");
pub(crate) const SPAM: Reply = Reply::new(550, "5.7.1 Message rejected as spam by Content Filtering.");
pub(crate) const TOO_LARGE: Reply = Reply::new(552, "5.3.4 Message size exceeds fixed maximum message size");
pub(crate) const HEADER_TOO_LARGE: Reply = Reply::new(552, "5.3.4 Header size exceeds fixed maximum size");
pub(crate) const HOPS: Reply = Reply::new(554, "5.4.6 Hop count exceeded - possible mail loop");

/// Back pressure, with the resource that is short.
pub(crate) fn insufficient(resource: &str) -> Reply {
    Reply::with(452, format!("4.3.1 Insufficient system resources ({resource})"))
}
