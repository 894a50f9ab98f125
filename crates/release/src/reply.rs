//! What a server did, and when in the dialogue.

/// Where in the dialogue something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Name resolution and TCP.
    Connect,
    /// The greeting.
    Banner,
    /// EHLO or HELO.
    Ehlo,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA, until 354.
    Data,
    /// The message itself, and the reply to its final dot.
    EndOfData,
    /// The final dot has gone out to its last byte and nothing has come: the server may have taken the message.
    FinalDot,
}

/// A reply of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The three digits.
    pub code: u16,
    /// The enhanced status code (RFC 3463), if there is one: `4.3.1` is `(4, 3, 1)`.
    pub enhanced: Option<(u8, u16, u16)>,
    /// The text after it, the first line or all of them.
    pub text: &'a str,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The server answered.
    Reply(Reply<'a>),
    /// No connection, or it was closed or reset without an answer.
    Lost,
    /// Nothing came in the time that the phase has.
    TimedOut,
}

/// What happened, and where: from this the fate of a message, a recipient or the whole destination is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence<'a> {
    /// Where.
    pub phase: Phase,
    /// What.
    pub event: Event<'a>,
    /// How many recipients this transaction had accepted before it.
    pub accepted: u32,
}

impl<'a> Reply<'a> {
    /// Reads a reply's code and the text after it, which may begin with an enhanced status code.
    pub fn new(code: u16, text: &'a str) -> Self {
        let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
        match enhanced(first) {
            Some(status) => Self { code, enhanced: Some(status), text: rest },
            None => Self { code, enhanced: None, text },
        }
    }

    /// Whether the text holds `word`, whatever the case of its ASCII letters.
    pub(crate) fn says(&self, word: &str) -> bool {
        self.text.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// `class.subject.detail` as RFC 3463 section 2 has it: one digit, then one to three digits twice.
fn enhanced(word: &str) -> Option<(u8, u16, u16)> {
    let mut parts = word.split('.');
    let mut part =
        || parts.next().filter(|p| (1..=3).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()));
    let class = part()?.parse().ok().filter(|class| [2, 4, 5].contains(class))?;
    let status = (class, part()?.parse().ok()?, part()?.parse().ok()?);
    parts.next().is_none().then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enhanced_status_code_is_found_where_there_is_one() {
        let reply = Reply::new(452, "4.3.1 Insufficient system resources (UsedDiskSpace[C:\\])");
        assert_eq!(reply.enhanced, Some((4, 3, 1)));
        assert!(reply.says("useddiskspace"));
        for text in [
            "",
            "Ok",
            "4.3 Too short",
            "4.3.1.2 too long",
            "1.2.3 no such class",
            "4.3.1234 x",
            "192.168.0 x",
        ] {
            assert_eq!(Reply::new(452, text).enhanced, None, "{text:?}");
        }
    }
}
