use heapless::String;

use crate::bounds::{DOMAIN_BYTES_MAX, KEYWORDS_BYTES_MAX};
use crate::envelope::decimal;

/// What the server's reply to EHLO offers, as far as the client makes use of it. After HELO: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What the server calls itself in that reply; graphic ASCII, cut at 255 bytes.
    pub host_name: String<DOMAIN_BYTES_MAX>,
    /// The server understood EHLO.
    pub extended: bool,
    /// Commands may be sent ahead of their replies (RFC 2920).
    pub pipelining: bool,
    /// A message's size may be declared (RFC 1870).
    pub size: bool,
    /// The largest message that the server takes, in bytes, if it names a limit.
    pub size_bytes_max: Option<u64>,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 2034.
    pub enhanced_status_codes: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 6531.
    pub smtp_utf8: bool,
    /// RFC 3030: messages may come in chunks.
    pub chunking: bool,
    /// RFC 3030: chunks may hold what is not made of lines.
    pub binary_mime: bool,
    /// Every keyword as it came, without parameters, a space after each: graphic ASCII, cut between keywords at
    /// [`KEYWORDS_BYTES_MAX`]. They show which server it is.
    pub keywords: String<KEYWORDS_BYTES_MAX>,
}

impl Capabilities {
    /// Reads the first line of the reply to EHLO or HELO, without its code.
    pub(crate) fn read_host_name(&mut self, line: &[u8]) {
        self.host_name.clear();
        for byte in line.iter().take_while(|byte| byte.is_ascii_graphic()).take(DOMAIN_BYTES_MAX) {
            let fits = self.host_name.push(char::from(*byte)).is_ok();
            debug_assert!(fits);
        }
    }

    /// Reads one of the following lines of the reply to EHLO, without its code.
    pub(crate) fn read_keyword(&mut self, line: &[u8]) {
        let Ok(line) = core::str::from_utf8(line) else { return };
        let mut words = line.split_ascii_whitespace();
        let keyword = words.next().unwrap_or_default();
        let room = KEYWORDS_BYTES_MAX - self.keywords.len();
        if keyword.len() < room && keyword.bytes().all(|byte| byte.is_ascii_graphic()) {
            let fits = self.keywords.push_str(keyword).and_then(|()| self.keywords.push(' '));
            debug_assert!(fits.is_ok());
        }
        let is = |name: &str| keyword.eq_ignore_ascii_case(name);
        if is("PIPELINING") {
            self.pipelining = true;
        } else if is("SIZE") {
            self.size = true;
            // Zero says: no fixed limit (RFC 1870 §3).
            self.size_bytes_max = words.next().and_then(decimal).filter(|bytes| *bytes > 0);
        } else if is("8BITMIME") {
            self.eight_bit_mime = true;
        } else if is("DSN") {
            self.dsn = true;
        } else if is("ENHANCEDSTATUSCODES") {
            self.enhanced_status_codes = true;
        } else if is("SMTPUTF8") {
            self.smtp_utf8 = true;
        } else if is("CHUNKING") {
            self.chunking = true;
        } else if is("BINARYMIME") {
            self.binary_mime = true;
        } else if is("STARTTLS") {
            self.starttls = true;
        }
    }
}
