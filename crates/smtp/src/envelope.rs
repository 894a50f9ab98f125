//! What MAIL and RCPT say, borrowed from wherever it stands: the server reads it from a command line, the client
//! writes it into one. The parameters are those of SIZE (RFC 1870), 8BITMIME (RFC 6152), BINARYMIME (RFC 3030), DSN
//! (RFC 3461) and SMTPUTF8 (RFC 6531).

use crate::address::{Address, is_beyond_ascii};
use crate::bounds::{ENVID_BYTES_MAX, ORCPT_BYTES_MAX};
use crate::error::Error;
use crate::replies;
use crate::reply::Reply;

/// The sender of a message and what was said with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailFrom<'a> {
    /// The reverse path.
    pub sender: Address<'a>,
    /// SIZE: the declared size of the message in bytes. For the client: the size that it has.
    pub size_bytes: Option<u64>,
    /// BODY.
    pub body: Option<BodyType>,
    /// SMTPUTF8: addresses and header fields may be UTF-8.
    pub smtp_utf8: bool,
    /// RET: how much of the message a report returns.
    pub ret: Option<Return>,
    /// ENVID: the sender's name for this transaction, still encoded.
    pub envid: Option<Xtext<'a>>,
}

impl<'a> MailFrom<'a> {
    /// A sender without parameters.
    pub const fn new(sender: Address<'a>) -> Self {
        Self { sender, size_bytes: None, body: None, smtp_utf8: false, ret: None, envid: None }
    }

    /// Reads the parameters after the path, or gives the reply that refuses them.
    pub(crate) fn with_parameters(mut self, parameters: &'a str) -> Result<Self, Reply<'static>> {
        each_parameter(parameters, |keyword, value| {
            if keyword.eq_ignore_ascii_case("SIZE") {
                set(&mut self.size_bytes, value.and_then(decimal))
            } else if keyword.eq_ignore_ascii_case("BODY") {
                set(&mut self.body, value.and_then(BodyType::parse))
            } else if keyword.eq_ignore_ascii_case("SMTPUTF8") {
                let is_first = value.is_none() && !core::mem::replace(&mut self.smtp_utf8, true);
                if is_first { Ok(()) } else { Err(replies::PARAMETER_SYNTAX) }
            } else if keyword.eq_ignore_ascii_case("RET") {
                set(&mut self.ret, value.and_then(Return::parse))
            } else if keyword.eq_ignore_ascii_case("ENVID") {
                set(&mut self.envid, value.and_then(|value| Xtext::parse(value).ok()))
            } else {
                Err(replies::PARAMETER_UNKNOWN)
            }
        })?;
        Ok(self)
    }

    /// Whether it has parameters that belong to DSN.
    pub const fn has_dsn(&self) -> bool {
        self.ret.is_some() || self.envid.is_some()
    }
}

/// One recipient and what was said with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient<'a> {
    /// The forward path. Never null.
    pub address: Address<'a>,
    /// NOTIFY: on which occasions the sender wants a report.
    pub notify: Option<Notify>,
    /// ORCPT: the address that the sender first wrote to.
    pub orcpt: Option<OriginalRecipient<'a>>,
}

impl<'a> Recipient<'a> {
    /// A recipient without parameters.
    pub const fn new(address: Address<'a>) -> Self {
        Self { address, notify: None, orcpt: None }
    }

    /// Reads the parameters after the path, or gives the reply that refuses them.
    pub(crate) fn with_parameters(mut self, parameters: &'a str) -> Result<Self, Reply<'static>> {
        each_parameter(parameters, |keyword, value| {
            if keyword.eq_ignore_ascii_case("NOTIFY") {
                set(&mut self.notify, value.and_then(Notify::parse))
            } else if keyword.eq_ignore_ascii_case("ORCPT") {
                set(&mut self.orcpt, value.and_then(|value| OriginalRecipient::parse(value).ok()))
            } else {
                Err(replies::PARAMETER_UNKNOWN)
            }
        })?;
        Ok(self)
    }

    /// Whether it has parameters that belong to DSN.
    pub const fn has_dsn(&self) -> bool {
        self.notify.is_some() || self.orcpt.is_some()
    }

    /// Whether it needs no SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.address.is_ascii() && self.orcpt.is_none_or(|orcpt| orcpt.as_str().is_ascii())
    }
}

/// BODY (RFC 6152, RFC 3030).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyType {
    /// `7BIT`.
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
    /// `BINARYMIME`: not made of lines, and sent by BDAT only.
    BinaryMime,
}

impl BodyType {
    fn parse(value: &str) -> Option<Self> {
        [Self::SevenBit, Self::EightBitMime, Self::BinaryMime]
            .into_iter()
            .find(|body| value.eq_ignore_ascii_case(body.keyword()))
    }

    /// The value of the parameter.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::SevenBit => "7BIT",
            Self::EightBitMime => "8BITMIME",
            Self::BinaryMime => "BINARYMIME",
        }
    }
}

/// RET (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// `FULL`: the whole message.
    Full,
    /// `HDRS`: the header section only.
    Headers,
}

impl Return {
    fn parse(value: &str) -> Option<Self> {
        [Self::Full, Self::Headers].into_iter().find(|ret| value.eq_ignore_ascii_case(ret.keyword()))
    }

    /// The value of the parameter.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        }
    }
}

/// NOTIFY (RFC 3461 §4.1): the occasions for a report. None of them is `NEVER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// `SUCCESS`.
    pub success: bool,
    /// `FAILURE`.
    pub failure: bool,
    /// `DELAY`.
    pub delay: bool,
}

impl Notify {
    /// `NEVER`.
    pub const NEVER: Self = Self { success: false, failure: false, delay: false };

    fn parse(value: &str) -> Option<Self> {
        if value.eq_ignore_ascii_case("NEVER") {
            return Some(Self::NEVER);
        }
        let mut notify = Self::NEVER;
        for occasion in value.split(',') {
            if occasion.eq_ignore_ascii_case("SUCCESS") {
                notify.success = true;
            } else if occasion.eq_ignore_ascii_case("FAILURE") {
                notify.failure = true;
            } else if occasion.eq_ignore_ascii_case("DELAY") {
                notify.delay = true;
            } else {
                return None;
            }
        }
        Some(notify)
    }

    /// The value of the parameter.
    pub const fn keyword(self) -> &'static str {
        match (self.success, self.failure, self.delay) {
            (false, false, false) => "NEVER",
            (true, false, false) => "SUCCESS",
            (false, true, false) => "FAILURE",
            (false, false, true) => "DELAY",
            (true, true, false) => "SUCCESS,FAILURE",
            (true, false, true) => "SUCCESS,DELAY",
            (false, true, true) => "FAILURE,DELAY",
            (true, true, true) => "SUCCESS,FAILURE,DELAY",
        }
    }
}

/// An ENVID: xtext (RFC 3461 §4), kept encoded, because it is only ever passed on. 1 to [`ENVID_BYTES_MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Xtext<'a>(&'a str);

impl<'a> Xtext<'a> {
    /// Checks `text`, which is still encoded.
    ///
    /// # Errors
    /// [`Error::Xtext`].
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        let valid = (1..=ENVID_BYTES_MAX).contains(&text.len()) && is_xtext(text.as_bytes());
        if valid { Ok(Self(text)) } else { Err(Error::Xtext) }
    }

    /// The encoded text.
    pub const fn as_str(&self) -> &'a str {
        self.0
    }
}

/// An ORCPT (RFC 3461 §4.2): `type;xtext`, kept encoded, because it is only ever passed on. At most
/// [`ORCPT_BYTES_MAX`] bytes. Of the type `utf-8` it may be UTF-8 (RFC 6533 §3), where SMTPUTF8 was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OriginalRecipient<'a>(&'a str);

impl<'a> OriginalRecipient<'a> {
    /// Checks `text`, which is still encoded.
    ///
    /// # Errors
    /// [`Error::Xtext`].
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        let (kind, address) = text.split_once(';').ok_or(Error::Xtext)?;
        let is_kind = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let valid = text.len() <= ORCPT_BYTES_MAX
            && !kind.is_empty()
            && kind.bytes().all(is_kind)
            && !address.is_empty()
            && (is_xtext(address.as_bytes())
                || (kind.eq_ignore_ascii_case("utf-8") && address.chars().all(is_unitext)));
        if valid { Ok(Self(text)) } else { Err(Error::Xtext) }
    }

    /// The encoded text, address type included.
    pub const fn as_str(&self) -> &'a str {
        self.0
    }
}

/// Printable ASCII without space, `=`, and with `+` only before two upper-case hexadecimal digits.
fn is_xtext(bytes: &[u8]) -> bool {
    let is_hex = |byte: Option<&u8>| byte.is_some_and(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
    bytes.iter().enumerate().all(|(at, byte)| match byte {
        b'+' => is_hex(bytes.get(at + 1)) && is_hex(bytes.get(at + 2)),
        b'=' => false,
        _ => byte.is_ascii_graphic(),
    })
}

/// What may stand in an address of the type `utf-8` (RFC 6533 §3): printable ASCII without space, `+` and `=`, and what is
/// printed beyond ASCII, as it is or as `\x{…}`.
fn is_unitext(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_graphic() && !matches!(c, '+' | '=') } else { is_beyond_ascii(c) }
}

/// 1 to 20 digits (RFC 1870 §3). What exceeds 64 bits is as much as they can say: too large for anybody.
pub(crate) fn decimal(value: &str) -> Option<u64> {
    let valid = (1..=20).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| value.parse().unwrap_or(u64::MAX))
}

/// Calls `apply` with each `KEYWORD=value` or `KEYWORD`.
fn each_parameter<'a>(
    parameters: &'a str,
    mut apply: impl FnMut(&'a str, Option<&'a str>) -> Result<(), Reply<'static>>,
) -> Result<(), Reply<'static>> {
    parameters.split_ascii_whitespace().try_for_each(|parameter| match parameter.split_once('=') {
        Some((keyword, value)) => apply(keyword, Some(value)),
        None => apply(parameter, None),
    })
}

/// Sets a parameter that was understood and was not set before.
fn set<T>(parameter: &mut Option<T>, value: Option<T>) -> Result<(), Reply<'static>> {
    if value.is_none() || parameter.is_some() {
        return Err(replies::PARAMETER_SYNTAX);
    }
    *parameter = value;
    Ok(())
}
