//! A canary as a message: who finds one in a mailbox reads what it is.

use std::fmt;

use penstock_smtp::Address;
use penstock_smtp::trace::Date;

/// What its return path begins with, before the token.
const LOCAL_PART: &str = "penstock-canary";
/// A token has this many hexadecimal digits.
const TOKEN_DIGITS: usize = 32;

/// What makes the return path of a canary nobody else's: 128 random bits. Who has not seen the canary cannot make a report
/// on it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token(u128);

impl Token {
    /// A new one; `None` where the system has no random bytes, which is the case only in the first moments of a boot.
    pub(in crate::deliver) fn draw() -> Option<Self> {
        let mut bytes = [0; 16];
        let flags = rustix::rand::GetRandomFlags::NONBLOCK;
        let drawn = rustix::rand::getrandom(&mut bytes, flags).ok()?;
        (drawn == bytes.len()).then_some(Self(u128::from_le_bytes(bytes)))
    }

    /// The return path of its canary.
    pub(in crate::deliver) fn return_path(self, host_name: &str) -> String {
        format!("{LOCAL_PART}+{self}@{host_name}")
    }

    /// The token of a return path. Servers may have changed the case.
    pub(super) fn of_return_path(address: &Address<'_>, host_name: &str) -> Option<Self> {
        let domain = address.domain()?;
        let (local, token) = address.local_part().split_once('+')?;
        let ours = local.eq_ignore_ascii_case(LOCAL_PART)
            && domain.strip_suffix('.').unwrap_or(domain).eq_ignore_ascii_case(host_name);
        let digits = token.len() == TOKEN_DIGITS && token.bytes().all(|byte| byte.is_ascii_hexdigit());
        if ours && digits { u128::from_str_radix(token, 16).ok().map(Self) } else { None }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0TOKEN_DIGITS$x}", self.0)
    }
}

/// It is a secret while its report is awaited.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The message to a probe mailbox.
pub(super) fn text(host_name: &str, mailbox: &str, token: Token, unix_ms: u64) -> String {
    own_message(
        host_name,
        mailbox,
        token,
        unix_ms,
        "Penstock canary, can be deleted",
        "Now and then it\r\n\
         sends a message like this one to see whether mail reaches mailboxes: the\r\n\
         server's report that it lies here is the proof.\r\n\
         \r\n\
         Nobody needs to read or answer it, and it can be deleted at once, best by a\r\n\
         rule of this mailbox.\r\n",
    )
}

/// A message of the service's own, whose report comes back to the token's return path. Who finds it reads what it is:
/// `words` go on behind what the service is. Each has a Message-ID of its own, since Exchange delivers none twice.
///
/// Automatic answers are unwanted (RFC 3834), in Exchange's own words too; these must not say `All` or `DR`, which would
/// suppress the report (MS-OXCMAIL, "X-Auto-Response-Suppress").
pub(in crate::deliver) fn own_message(
    host_name: &str,
    to: &str,
    token: Token,
    unix_ms: u64,
    subject: &str,
    words: &str,
) -> String {
    let date = Date(unix_ms);
    format!(
        "From: Penstock <{LOCAL_PART}@{host_name}>\r\n\
         To: <{to}>\r\n\
         Subject: {subject}\r\n\
         Date: {date}\r\n\
         Message-ID: <{token}@{host_name}>\r\n\
         Auto-Submitted: auto-generated\r\n\
         X-Auto-Response-Suppress: OOF, AutoReply, RN, NRN\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=us-ascii\r\n\
         \r\n\
         This is from Penstock at {host_name},\r\n\
         which takes the site's mail while the mail server is away. {words}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "box.example.org";

    fn token_of(address: &str) -> Option<Token> {
        Token::of_return_path(&Address::parse(address).unwrap(), HOST)
    }

    #[test]
    fn a_return_path_is_known_again_whatever_its_case() {
        let token = Token(0x0123_4567_89AB_CDEF);
        let path = token.return_path(HOST);
        assert_eq!(
            path,
            "penstock-canary+0000000000000000 0123456789abcdef@box.example.org".replace(' ', "")
        );
        for path in [path.clone(), path.to_uppercase(), format!("{path}.")] {
            assert_eq!(token_of(&path), Some(token), "{path}");
        }
        assert_eq!(format!("{token:?}"), "Token(…)", "it is in no log");
    }

    #[test]
    fn nothing_else_is_a_return_path() {
        let digits = "0".repeat(TOKEN_DIGITS);
        for address in [
            format!("penstock-canary@{HOST}"),
            format!("penstock-canary+@{HOST}"),
            format!("penstock-canary+{}@{HOST}", &digits[1..]),
            format!("penstock-canary+{digits}0@{HOST}"),
            format!("penstock-canary++{}@{HOST}", &digits[1..]),
            format!("penstock-canary+{}g@{HOST}", &digits[1..]),
            format!("other+{digits}@{HOST}"),
            format!("penstock-canary+{digits}@example.org"),
            format!("\"penstock-canary+{digits}\"@{HOST}"),
            "postmaster".to_owned(),
        ] {
            assert_eq!(token_of(&address), None, "{address}");
        }
    }

    #[test]
    fn no_two_tokens_are_the_same() {
        let (one, other) = (Token::draw().unwrap(), Token::draw().unwrap());
        assert!(one != other && one != Token(0));
    }

    #[test]
    fn a_canary_is_a_message_that_says_what_it_is() {
        let text = text(HOST, "probe@example.org", Token(1), 1_767_225_600_000);
        let message = mail_parser::MessageParser::default().parse(&text).unwrap();
        assert!(message.subject().unwrap().contains("can be deleted"));
        assert_eq!(message.message_id(), Some("00000000000000000000000000000001@box.example.org"));
        assert_eq!(message.date().unwrap().to_timestamp(), 1_767_225_600);
        assert!(!text.contains("Suppress: All") && !text.contains("DR"), "the report would be suppressed");
        assert!(text.lines().all(|line| line.len() <= 78), "RFC 5322 §2.1.1");
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    }
}
