//! The grammar of commands: one line in, one [`Command`] or the reply that refuses it out. The order of commands is
//! the session's business, not ours.

use crate::address::Address;
use crate::bounds::DOMAIN_BYTES_MAX;
use crate::envelope::{MailFrom, Recipient, decimal};
use crate::replies;
use crate::reply::Reply;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    Hello {
        name: &'a str,
        extended: bool,
    },
    Mail(MailFrom<'a>),
    Rcpt(Recipient<'a>),
    Data,
    Bdat {
        octets: u64,
        last: bool,
    },
    /// A BDAT that cannot be understood, with the count of its octets if there is one.
    BadBdat {
        octets: Option<u64>,
    },
    Rset,
    Noop,
    StartTls,
    /// The node whose mail is to be sent.
    Etrn(&'a str),
    Vrfy,
    Help,
    Quit,
    /// Part of SMTP, but not of this server.
    NotImplemented,
    /// The peer does not speak SMTP: a browser that was made to connect here, or a client that sends a message
    /// although DATA was refused. What follows must not be taken for commands.
    Foreign,
}

impl<'a> Command<'a> {
    /// Reads `line`, which has no line ending any more. With `utf8` what is an address may be UTF-8.
    ///
    /// # Errors
    /// The reply that refuses it.
    pub(crate) fn parse(line: &'a [u8], utf8: bool) -> Result<Self, Reply<'static>> {
        let line = text(line)?;
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        let argument = argument.trim_matches([' ', '\t']);
        let verb_is = |name: &str| verb.eq_ignore_ascii_case(name);
        let plain = |command| if argument.is_empty() { Ok(command) } else { Err(replies::NO_ARGUMENT) };
        let has_address = ["MAIL", "RCPT", "VRFY"].into_iter().any(verb_is);
        if !(line.is_ascii() || utf8 && has_address) {
            Err(replies::LINE_NOT_ASCII)
        } else if verb_is("MAIL") {
            mail(argument)
        } else if verb_is("RCPT") {
            rcpt(argument)
        } else if verb_is("DATA") {
            plain(Command::Data)
        } else if verb_is("BDAT") {
            Ok(bdat(argument))
        } else if verb_is("EHLO") {
            hello(argument, true)
        } else if verb_is("HELO") {
            hello(argument, false)
        } else if verb_is("QUIT") {
            plain(Command::Quit)
        } else if verb_is("RSET") {
            plain(Command::Rset)
        } else if verb_is("NOOP") {
            Ok(Command::Noop)
        } else if verb_is("STARTTLS") {
            plain(Command::StartTls)
        } else if verb_is("ETRN") {
            etrn(argument)
        } else if verb_is("VRFY") {
            if argument.is_empty() { Err(replies::VRFY_ARGUMENT) } else { Ok(Command::Vrfy) }
        } else if verb_is("HELP") {
            Ok(Command::Help)
        } else if NOT_IMPLEMENTED.into_iter().any(verb_is) {
            Ok(Command::NotImplemented)
        } else if HTTP.into_iter().any(verb_is) || is_header_field(line) {
            Ok(Command::Foreign)
        } else {
            Err(replies::UNKNOWN)
        }
    }
}

/// Commands of RFC 5321 and its extensions that we know and do not implement.
const NOT_IMPLEMENTED: [&str; 8] = ["EXPN", "AUTH", "ATRN", "TURN", "SEND", "SOML", "SAML", "BURL"];

/// How an HTTP request begins.
const HTTP: [&str; 8] = ["GET", "POST", "HEAD", "PUT", "CONNECT", "OPTIONS", "PATCH", "DELETE"];

/// Whether `line` begins as a header field does, `Name:`.
fn is_header_field(line: &str) -> bool {
    let name_end = line.find(|byte: char| !byte.is_ascii_alphanumeric() && byte != '-').unwrap_or(line.len());
    name_end > 0 && line.as_bytes().get(name_end) == Some(&b':')
}

/// The line as text: UTF-8 without control characters, the tab excepted.
fn text(line: &[u8]) -> Result<&str, Reply<'static>> {
    let line = core::str::from_utf8(line).map_err(|_| replies::LINE_NOT_ASCII)?;
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return Err(replies::LINE_CONTROL);
    }
    Ok(line)
}

/// The count of octets, and whether they are the last ones.
fn bdat(argument: &str) -> Command<'_> {
    let mut words = argument.split_ascii_whitespace();
    let octets = words.next().and_then(decimal);
    match (octets, words.next(), words.next()) {
        (Some(octets), None, _) => Command::Bdat { octets, last: false },
        (Some(octets), Some(last), None) if last.eq_ignore_ascii_case("LAST") => {
            Command::Bdat { octets, last: true }
        }
        _ => Command::BadBdat { octets },
    }
}

/// The node may be a domain, `@` and a domain, or `#` and the name of a queue (RFC 1985 §5.1).
fn etrn(argument: &str) -> Result<Command<'_>, Reply<'static>> {
    let name = argument.strip_prefix(['@', '#']).unwrap_or(argument);
    let is_name = !name.is_empty()
        && name.len() <= DOMAIN_BYTES_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte));
    if is_name { Ok(Command::Etrn(argument)) } else { Err(replies::ETRN_SYNTAX) }
}

/// The name is only ever repeated in logs and Received lines. Real clients send all sorts, so everything is taken
/// that cannot be mistaken for the syntax around it.
fn hello(argument: &str, extended: bool) -> Result<Command<'_>, Reply<'static>> {
    let name = argument.split([' ', '\t']).next().unwrap_or_default();
    let is_safe = |byte: u8| byte.is_ascii_graphic() && !b"()<>\"\\;,".contains(&byte);
    if name.is_empty() || name.len() > DOMAIN_BYTES_MAX || !name.bytes().all(is_safe) {
        return Err(replies::NAME_MISSING);
    }
    Ok(Command::Hello { name, extended })
}

fn mail(argument: &str) -> Result<Command<'_>, Reply<'static>> {
    let path = after_keyword(argument, "FROM:").ok_or(replies::MAIL_SYNTAX)?;
    let (sender, parameters) = Address::split_off_path(path).map_err(|_| replies::SENDER_SYNTAX)?;
    if !sender.is_null() && sender.domain().is_none() {
        return Err(replies::SENDER_SYNTAX);
    }
    let parameters = spaced(parameters).ok_or(replies::SENDER_SYNTAX)?;
    MailFrom::new(sender).with_parameters(parameters).map(Command::Mail)
}

fn rcpt(argument: &str) -> Result<Command<'_>, Reply<'static>> {
    let path = after_keyword(argument, "TO:").ok_or(replies::RCPT_SYNTAX)?;
    let (address, parameters) = Address::split_off_path(path).map_err(|_| replies::RECIPIENT_SYNTAX)?;
    if address.is_null() {
        return Err(replies::RECIPIENT_SYNTAX);
    }
    let parameters = spaced(parameters).ok_or(replies::RECIPIENT_SYNTAX)?;
    Recipient::new(address).with_parameters(parameters).map(Command::Rcpt)
}

/// What follows `keyword`, without the spaces that some clients put after the colon.
fn after_keyword<'a>(argument: &'a str, keyword: &str) -> Option<&'a str> {
    let (head, rest) = argument.split_at_checked(keyword.len())?;
    let path = rest.trim_start_matches([' ', '\t']);
    (head.eq_ignore_ascii_case(keyword) && !path.is_empty()).then_some(path)
}

/// Parameters have a space before them.
fn spaced(parameters: &str) -> Option<&str> {
    (parameters.is_empty() || parameters.starts_with([' ', '\t'])).then_some(parameters)
}
