//! Every reply that the server gives, in one table: the sessions, the console, the documents and the tests share it.
//!
//! Two replies are made on the spot and are not here: the greeting (`220 host text`) and those to HELO and EHLO
//! (`250 host`, and the extensions).

use crate::reply::{Reply, Status};

/// A reply of the table, with its name and the occasion on which it is given.
#[derive(Clone, Copy, Debug)]
pub struct Standard {
    /// The name of the constant.
    pub name: &'static str,
    /// When it is given.
    pub when: &'static str,
    /// The reply itself.
    pub reply: Reply<'static>,
}

/// Declares each reply once, as a constant and as a row of [`TABLE`].
macro_rules! replies {
    ($($name:ident, $when:literal, $code:literal $class:literal $subject:literal $detail:literal, $text:literal;)*) => {
        $(
            #[doc = $when]
            pub const $name: Reply<'static> = Reply::new($code, Status::new($class, $subject, $detail), $text);
        )*

        /// All of them, in the order of a session.
        pub const TABLE: &[Standard] = &[
            Standard { name: "START_MAIL", when: START_MAIL_WHEN, reply: START_MAIL },
            $(Standard { name: stringify!($name), when: $when, reply: $name },)*
        ];
    };
}

const START_MAIL_WHEN: &str = "DATA, accepted";

/// DATA, accepted. The only reply without an enhanced status code (RFC 2034 §4).
pub const START_MAIL: Reply<'static> =
    Reply { code: 354, status: None, text: "Send the message, end it with <CR><LF>.<CR><LF>" };

replies! {
    // The good end of a command.
    SENDER_OK, "MAIL, accepted", 250 2 1 0, "Sender ok";
    RECIPIENT_OK, "RCPT, accepted", 250 2 1 5, "Recipient ok";
    MESSAGE_OK, "End of data, accepted: the message is ours", 250 2 0 0, "Message accepted";
    CHUNK_OK, "BDAT, and more chunks follow", 250 2 0 0, "Chunk taken";
    RESET_OK, "RSET", 250 2 0 0, "Reset";
    NOOP_OK, "NOOP", 250 2 0 0, "Ok";
    NOT_VERIFIED, "VRFY with any argument", 252 2 0 0, "Not verified; send a message to find out";
    ETRN_OK, "ETRN, accepted", 250 2 0 0, "Queue is being released";
    HELP, "HELP", 214 2 0 0, "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY ETRN STARTTLS HELP QUIT";
    BYE, "QUIT", 221 2 0 0, "Closing the connection";
    TLS_READY, "STARTTLS: the handshake comes next", 220 2 0 0, "Ready to start TLS";

    // Lines that are no commands.
    LINE_TOO_LONG, "A command line that is too long; the rest of it is swallowed", 500 5 5 2, "Line too long";
    LINE_ENDING, "A bare LF where a command is expected; all up to the next CR LF is swallowed",
        500 5 5 2, "Lines end in CR LF; ignoring all up to the next one";
    LINE_CONTROL, "A command with NUL, a bare CR or another control character",
        500 5 5 2, "Control character in command";
    LINE_NOT_ASCII, "A command with bytes above 0x7F that has no use for them, or that are not UTF-8",
        500 5 5 2, "Not ASCII";
    UNKNOWN, "A command that SMTP does not know, or an empty line", 500 5 5 1, "Command unknown";
    NOT_IMPLEMENTED, "A command that SMTP knows and we do not implement", 502 5 5 1, "Command not implemented";

    // Commands that cannot be understood.
    NAME_MISSING, "HELO or EHLO without a usable name", 501 5 5 4, "Say who you are: EHLO name";
    NO_ARGUMENT, "An argument where there must be none", 501 5 5 4, "No argument allowed";
    ETRN_SYNTAX, "ETRN without a node", 501 5 5 4, "Syntax: ETRN domain";
    BDAT_SYNTAX, "BDAT without the count of its octets: closes; with something else behind it: they are ignored",
        501 5 5 4, "Syntax: BDAT octets [LAST]";
    VRFY_ARGUMENT, "VRFY without an argument", 501 5 5 4, "Argument required";
    MAIL_SYNTAX, "MAIL without FROM: and a path", 501 5 5 2, "Syntax: MAIL FROM:<address>";
    RCPT_SYNTAX, "RCPT without TO: and a path", 501 5 5 2, "Syntax: RCPT TO:<address>";
    SENDER_SYNTAX, "MAIL with something that is no address", 501 5 1 7, "Bad sender address syntax";
    RECIPIENT_SYNTAX, "RCPT with something that is no address", 501 5 1 3, "Bad recipient address syntax";
    SENDER_NOT_ASCII, "MAIL with an address beyond ASCII and without SMTPUTF8", 553 5 6 7, "Sender address needs SMTPUTF8";
    RECIPIENT_NOT_ASCII, "RCPT with an address beyond ASCII in a transaction without SMTPUTF8",
        553 5 6 7, "Recipient address needs SMTPUTF8";
    PARAMETER_SYNTAX, "A parameter of MAIL or RCPT with a bad value, or twice", 501 5 5 4, "Bad parameter";
    PARAMETER_UNKNOWN, "A parameter of MAIL or RCPT that we did not offer", 555 5 5 4, "Parameter not supported";

    // Commands out of turn.
    HELLO_FIRST, "MAIL before HELO or EHLO", 503 5 5 1, "HELO or EHLO first";
    MAIL_TWICE, "MAIL within a transaction", 503 5 5 1, "Sender already given";
    MAIL_FIRST, "RCPT or DATA without MAIL", 503 5 5 1, "MAIL first";
    RECIPIENT_FIRST, "DATA or BDAT without RCPT", 503 5 5 1, "RCPT first";
    IN_TRANSACTION, "STARTTLS or ETRN within a transaction", 503 5 5 1, "Not within a transaction";
    CHUNKS_BEGUN, "RCPT or DATA after the first chunk of a message", 503 5 5 1, "The message has begun: BDAT or RSET";
    CHUNK_OF_NOTHING, "BDAT without a transaction, or after a chunk that was refused; its octets are ignored",
        503 5 5 1, "No message for this chunk, ignored";
    BDAT_NEEDED, "DATA for a message declared BINARYMIME", 503 5 5 1, "BINARYMIME needs BDAT";
    TLS_TWICE, "STARTTLS in a session that is encrypted", 503 5 5 1, "TLS is active already";
    NO_RECIPIENTS, "DATA or BDAT when every RCPT was refused", 554 5 5 1, "No valid recipients";

    // Bounds.
    RECIPIENTS_MAX, "RCPT beyond recipients_max in one transaction",
        452 4 5 3, "Too many recipients, send the message to the others separately";
    SIZE_DECLARED_TOO_LARGE, "MAIL with a SIZE beyond size_bytes_max", 552 5 3 4, "Message too large";
    MESSAGE_TOO_LARGE, "End of data of a message beyond size_bytes_max", 552 5 3 4, "Message too large";
    BARE_NEWLINE, "End of data of a message with a bare CR or LF, where the policy is to refuse",
        550 5 6 11, "Message has a bare CR or LF; lines end in CR LF";
    ERRORS_MAX, "After errors_max errors; closes", 421 4 7 0, "Too many errors, closing";
    IDLE_COMMANDS_MAX, "After idle_commands_max commands that led to no message; closes",
        421 4 7 0, "Too many commands without a message, closing";
    RECIPIENTS_TRIED_MAX, "RCPT beyond four times recipients_max in one transaction; closes",
        421 4 7 0, "Too many recipients, closing";
    TRANSACTIONS_MAX, "MAIL beyond transactions_max in one session; closes",
        421 4 7 0, "Enough messages in one session, connect again";
    LINE_ENDLESS, "A refused command line that does not end; closes", 421 4 7 0, "Endless line, closing";
    MESSAGE_ENDLESS, "A refused message that does not end; closes", 421 4 3 0, "Endless message, closing";
    NOT_SMTP, "A header field or an HTTP request where a command is expected; closes",
        421 4 7 0, "This is SMTP, and that was no command; closing";

    // The caller's.
    LOCAL_ERROR, "Something is wrong here; try again", 451 4 3 0, "Local error, try again later";
    STORAGE_FULL, "No room for the message now", 452 4 3 1, "Insufficient storage, try again later";
    SHUTTING_DOWN, "The service stops; closes", 421 4 3 2, "Service stopping, try again later";
    CONNECTIONS_MAX, "Instead of the greeting, with too many connections; closes",
        421 4 7 0, "Too many connections, try again later";
    RESOURCES_SHORT, "Instead of the greeting, when memory or file descriptors run short; closes",
        421 4 3 2, "Short of resources, try again later";
    NETWORK_PUT_OFF, "Instead of the greeting, from a network that is not allowed and may try elsewhere; closes",
        421 4 7 1, "Your network does not send mail here; look up our MX";
    NETWORK_REFUSED, "Instead of the greeting, from a network that is not allowed; closes",
        554 5 7 1, "Your network does not send mail here";
    SOURCE_ERRORS_MAX, "Too many errors from one source; closes",
        421 4 7 0, "Too many errors from your address, try again later";
    SOURCE_RATE_MAX, "MAIL or RCPT when its source has sent too much in the last minute",
        450 4 7 1, "Too much at once from your address, try again later";
    RATE_MAX, "MAIL or RCPT when all together have sent too much in the last minute",
        450 4 3 2, "Too much mail at once, try again later";
    TIMED_OUT, "The peer was silent for too long; closes", 421 4 4 2, "Timed out, closing";
    ETRN_HELD, "ETRN while mail is held back", 458 4 3 2, "Mail is held by the operator";
    HOPS_MAX, "End of data of a message with too many Received lines", 554 5 4 6, "Too many hops, mail loop";
    RELAY_DENIED, "RCPT for a domain that is not ours", 550 5 7 1, "Relaying denied";
    USER_UNKNOWN, "RCPT for somebody who is known not to exist", 550 5 1 1, "No such user here";
    USER_UNSURE, "RCPT for somebody who cannot be looked up now", 450 4 1 1, "User cannot be checked now";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::REPLY_LINE_BYTES_MAX;

    #[test]
    fn every_reply_is_one_printable_line_with_a_status_of_its_own_class() {
        for Standard { name, reply, .. } in TABLE {
            assert!((200..=599).contains(&reply.code), "{name}");
            assert!(std::format!("{reply}\r\n").len() <= REPLY_LINE_BYTES_MAX, "{name}");
            assert!(reply.text.bytes().all(|b| matches!(b, b' '..=b'~')), "{name}");
            match reply.status {
                Some(status) => assert_eq!(u16::from(status.class), reply.code / 100, "{name}"),
                None => assert_eq!(reply.code, 354, "{name}"),
            }
        }
    }
}
